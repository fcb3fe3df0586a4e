//! Robopager's checklist: a map from names to checks of the type `email` or `batchy`, read as
//! monitors and one `PagerDuty` receiver each.
//!
//! Times of day may be the numbers that YAML 1.1 makes of them. `delivery_time` is one in the zone
//! of `etl.cfg`, `check_time` one of the server's own zone, as it always was. A warning is shown and
//! pages nobody; that a check cannot tell does page, which it never did.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::span::scaled;
use super::calendar::{Active, Clock, Schedule};
use super::reader::{self, Object, Report, parsed};
use super::yaml::{Content, Node};
use super::{File, Kind, MonitorDef, OnError, Receiver, Severity};
use crate::json::Json;

/// How often an email check looks again after its time, so that late mail resolves.
const LOOK_AGAIN: i64 = 300_000;
/// Checks in a row that cannot tell before somebody is paged, if they come often.
const ERRORS_MAX: u32 = 3;
/// Checks further apart than this page for the first one that cannot tell.
const OFTEN: i64 = 1_800_000;
/// How often an incident is told that has a key in each hour: a minute less, so that no hour of the
/// clock is passed over. Twice in an hour is the same incident.
const HOURLY: i64 = 59 * 60_000;

/// What `etl.cfg` and the server say about a checklist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChecklistOptions {
    /// The zone of `delivery_time`.
    pub delivery_tz: Arc<str>,
    /// The zone of `check_time`: the server's.
    pub check_tz: Arc<str>,
    /// The mailbox's account.
    pub account: Arc<str>,
    /// Where batchy is, such as `http://etl:8050`.
    pub batchy: Arc<str>,
    /// Whether a batchy job's age is that of its last start, as the original had it; otherwise of
    /// its last end, as its documentation says.
    pub since_start: bool,
    /// Which of the pager's interfaces the keys are for: `v1` or `v2`.
    pub pagerduty_api: Arc<str>,
    /// Where the pager is, if not at its own address.
    pub pagerduty_url: Option<Arc<str>>,
    /// A new incident in each hour, instead of one until it is over.
    pub hourly: bool,
    /// Milliseconds that this server leaves to others before it pages.
    pub offset: i64,
    /// Only checks of these types; none = all.
    pub only: Vec<Arc<str>>,
}

impl Default for ChecklistOptions {
    fn default() -> Self {
        Self {
            delivery_tz: "UTC".into(),
            check_tz: "UTC".into(),
            account: "robopager".into(),
            batchy: "http://localhost:8050".into(),
            since_start: false,
            pagerduty_api: "v1".into(),
            pagerduty_url: None,
            hourly: false,
            offset: 0,
            only: Vec::new(),
        }
    }
}

impl ChecklistOptions {
    /// The receiver that pages a service of the pager, by its integration key.
    pub fn pagerduty(&self, service: &str) -> Receiver {
        let mut settings = json!({ "key": service, "api": self.pagerduty_api });
        if let Some(url) = &self.pagerduty_url {
            settings["base_url"] = json!(url);
        }
        if self.hourly {
            settings["incident_key"] = "hour".into();
            settings["tz"] = json!(self.check_tz);
        }
        Receiver::new("pagerduty", Json::from(settings))
    }
}

/// What every check of a checklist may say.
pub(super) const OF_CHECK: [&str; 5] =
    ["type", "pd_description", "pd_service", "check_time", "poll_sec"];
/// What it says besides, by its type: the keys, and those that it needs.
pub(super) const OF_TYPE: [(&str, &[&str], &[&str]); 2] = [
    ("email", &["delivery_time", "senders", "subjects"], &["check_time", "senders", "subjects"]),
    ("batchy", &["wf_name", "latency_min"], &["check_time", "wf_name", "latency_min"]),
];

/// Whether a document is a checklist: names that lead to maps with a `type`, and no section of a
/// monitors file.
pub(super) fn is_checklist(root: &Node) -> bool {
    const SECTIONS: [&str; 6] =
        ["sources", "receivers", "routes", "monitors", "silences", "maintenance"];
    let Content::Map(members) = &root.content else { return false };
    let typed = |node: &Node| match &node.content {
        Content::Map(members) => members.iter().any(|(key, _)| key.text() == Some("type")),
        _ => false,
    };
    let section = |node: &Node| node.text().is_some_and(|name| SECTIONS.contains(&name));
    members.iter().any(|(_, value)| typed(value))
        && !members.iter().any(|(key, value)| section(key) && !typed(value))
}

/// Reads a checklist.
pub(super) fn read(root: &Node, options: &ChecklistOptions, report: &mut Report) -> File {
    let mut file = File::default();
    let Some(top) = Object::of(root, String::new(), report) else { return file };
    for (name, key, node) in top.members() {
        let Some(mut object) = Object::of(node, name.to_owned(), report) else { continue };
        let Some((kind, monitor)) = check(name, key, &mut object, options, report) else {
            continue;
        };
        let description = object.read("pd_description", report, reader::text);
        let service = object.read("pd_service", report, reader::text);
        if service.is_none() {
            let message = "without pd_service nobody is paged";
            report.warn("never-tells", key.place, &object.path, message);
        }
        object.finish_leniently(report);
        if !options.only.is_empty() && !options.only.iter().any(|only| **only == *kind) {
            continue;
        }
        let mut monitor = monitor;
        // Written by people who did not write templates.
        monitor.summary = description.map(|text| text.replace("{{", "{ {").into());
        monitor.origin = Some(format!("checklist, line {}", key.place.line).into());
        if let Some(service) = service {
            let receiver: Arc<str> = format!("robopager:{name}").into();
            file.receivers.insert(receiver.clone(), options.pagerduty(&service));
            monitor.to = vec![receiver];
            monitor.to_after = options.offset;
            monitor.rings_from = Some(Severity::Error);
            monitor.remind = options.hourly.then_some(HOURLY);
        }
        let often = monitor.schedule.interval() <= OFTEN;
        monitor.on_error =
            OnError { after: if often { ERRORS_MAX } else { 1 }, severity: Severity::Error };
        file.monitors.push(monitor);
    }
    file
}

fn check(
    name: &str,
    key: &Node,
    object: &mut Object<'_>,
    options: &ChecklistOptions,
    report: &mut Report,
) -> Option<(&'static str, MonitorDef)> {
    let kind = object.read("type", report, reader::text);
    let check_time = object.read("check_time", report, reader::clock);
    let poll = object.read("poll_sec", report, |node, path, report| {
        parsed(node, path, report, |text| scaled(text, "s"))
    });
    let poll = poll.filter(|poll| *poll > 0);
    if object.peek("check_time").is_none() {
        report.error(key.place, &object.path, "check_time is missing");
    }
    match kind.as_deref() {
        Some("email") => {
            object.know("poll_sec");
            let settings = email(object, options, key, report);
            let mut monitor = MonitorDef::new(name, Kind::Email, Json::of(&settings));
            monitor.schedule = Schedule {
                every: Some(poll.unwrap_or(LOOK_AGAIN).max(1000)),
                at: check_time,
                tz: options.check_tz.clone(),
                ..Schedule::default()
            };
            Some(("email", monitor))
        }
        Some("batchy") => {
            let settings = batchy(object, options, key, report);
            let mut monitor = MonitorDef::new(name, Kind::Job, Json::of(&settings));
            monitor.schedule = batchy_schedule(check_time, poll, options);
            Some(("batchy", monitor))
        }
        other => {
            let place = object.peek("type").map_or(key.place, |node| node.place);
            let message = match other {
                Some(other) => format!("{other:?} is no type of a check; write email or batchy"),
                None => "type is missing; write email or batchy".to_owned(),
            };
            report.error(place, &object.path, message);
            None
        }
    }
}

fn email(
    object: &mut Object<'_>,
    options: &ChecklistOptions,
    key: &Node,
    report: &mut Report,
) -> Map<String, Value> {
    let delivery = object.read("delivery_time", report, reader::clock);
    let mut settings = Map::new();
    for (name, setting) in [("senders", "from"), ("subjects", "subjects")] {
        let values = object.read(name, report, reader::texts).unwrap_or_default();
        if values.is_empty() {
            report.error(key.place, &object.path, format!("an email check needs {name}"));
        }
        settings.insert(setting.to_owned(), json!(values));
    }
    let since = delivery.unwrap_or_default();
    settings.insert("account".to_owned(), json!(options.account));
    settings.insert("folder".to_owned(), "all".into());
    settings.insert("since".to_owned(), since.to_string().into());
    settings.insert("tz".to_owned(), json!(options.delivery_tz));
    settings
}

fn batchy(
    object: &mut Object<'_>,
    options: &ChecklistOptions,
    key: &Node,
    report: &mut Report,
) -> Map<String, Value> {
    let workflow = object.read("wf_name", report, reader::text);
    let latency = object.read("latency_min", report, |node, path, report| {
        parsed(node, path, report, |text| match scaled(text, "m")? {
            0 => Err("latency_min must be more than 0".to_owned()),
            latency => Ok(latency),
        })
    });
    for (name, present) in [
        ("wf_name", object.peek("wf_name").is_some()),
        ("latency_min", object.peek("latency_min").is_some()),
    ] {
        if !present {
            report.error(key.place, &object.path, format!("a batchy check needs {name}"));
        }
    }
    let Value::Object(settings) = json!({
        "batchy": options.batchy,
        "workflow": workflow,
        "step": "global",
        "max_age": format!("{}s", latency.unwrap_or(60_000) / 1000),
        "since": if options.since_start { "start" } else { "end" },
        "warn_at": "80%",
        "tz": "UTC",
    }) else {
        return Map::new();
    };
    settings
}

/// Polls from `check_time` to midnight; without `poll_sec`, once a day.
fn batchy_schedule(
    check_time: Option<Clock>,
    poll: Option<i64>,
    options: &ChecklistOptions,
) -> Schedule {
    let tz = options.check_tz.clone();
    match (poll, check_time) {
        (Some(poll), Some(from)) => Schedule {
            every: Some(poll.max(1000)),
            active: vec![Active { from, to: Clock::DAY_END, days: super::Days::default() }],
            tz,
            ..Schedule::default()
        },
        _ => Schedule { at: check_time, tz, ..Schedule::default() },
    }
}
