//! Reads one monitor of a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::calendar::Schedule;
use super::kinds::{self, KINDS, KindRule};
use super::reader::text_map;
use super::reader::{self, Object, Report, parsed};
use super::yaml::{Content, Node};
use super::{Budget, Composite, Flap, Kind, MonitorDef, OnError, WindowRule, parse_span};
use crate::alert::received::{ALERTS_MAX, secret_alone, texts};
use crate::alert::template::Template;
use crate::json::Json;

/// Bytes of a name.
const NAME_MAX: usize = 150;

/// Reads a monitor.
pub(super) fn read(
    name: &str,
    key: &Node,
    node: &Node,
    path: String,
    report: &mut Report,
) -> Option<MonitorDef> {
    if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        let message = format!("a name has 1 to {NAME_MAX} bytes, none of them unprintable");
        report.error(key.place, &path, message);
    }
    let mut object = Object::of(node, path, report)?;
    let rule = kind(key, &mut object, report);
    let schedule = schedule(&mut object, report);
    // Without a kind nobody can say which keys are known.
    let (rule, settings_node) = rule?;
    let settings = kinds::settings(rule, settings_node, &mut object, report);
    let mut monitor = MonitorDef::new(name, rule.kind, Json::of(&settings));
    monitor.schedule = schedule;
    if rule.kind == Kind::Heartbeat {
        beat_schedule(&mut monitor.schedule, &settings);
        let cron = settings.get("cron").and_then(serde_json::Value::as_str);
        if let Some(Err(message)) = cron.map(super::calendar::check_cron) {
            let path = format!("{}.cron", object.path_of(rule.name));
            report.error(settings_node.place, &path, message);
        }
    }
    if rule.kind == Kind::Alerts {
        received(&settings, settings_node, &object, report);
    }
    if rule.kind == Kind::Composite
        && let Err(message) = Composite::of(&monitor.settings.parse())
    {
        report.error(settings_node.place, &object.path_of(rule.name), message);
    }
    check_schedule(&monitor, key, &object, report);
    rest(&mut monitor, &mut object, report);
    monitor.origin = Some(format!("line {}", key.place.line).into());
    object.finish(report);
    Some(monitor)
}

fn kind<'a>(
    key: &Node,
    object: &mut Object<'a>,
    report: &mut Report,
) -> Option<(&'static KindRule, &'a Node)> {
    let found: Vec<(&'static KindRule, &'a Node)> =
        KINDS.iter().filter_map(|rule| Some((rule, object.get(rule.name)?))).collect();
    if let [found] = found[..] {
        return Some(found);
    }
    let names: Vec<&str> = KINDS.iter().map(|rule| rule.name).collect();
    let message = if found.is_empty() {
        format!("a monitor needs one of {}", names.join(", "))
    } else {
        let found: Vec<&str> = found.iter().map(|(rule, _)| rule.name).collect();
        format!("a monitor looks at one thing, not at {}", found.join(" and "))
    };
    report.error(key.place, &object.path, message);
    None
}

fn schedule(object: &mut Object<'_>, report: &mut Report) -> Schedule {
    let active = object.read("active", report, reader::hours);
    Schedule {
        every: object.read("every", report, reader::span),
        cron: object.read("cron", report, cron),
        at: object.read("at", report, reader::clock),
        until: object.read("until", report, reader::clock),
        tz: object.read("tz", report, reader::zone).unwrap_or_default(),
        active: active.unwrap_or_default(),
        phase: None,
    }
}

fn cron(node: &Node, path: &str, report: &mut Report) -> Option<Arc<str>> {
    parsed(node, path, report, |text| super::calendar::check_cron(text).map(|()| text.into()))
}

/// When a heartbeat's job is to call stands among its settings.
fn beat_schedule(schedule: &mut Schedule, settings: &serde_json::Map<String, serde_json::Value>) {
    let text = |name: &str| settings.get(name).and_then(serde_json::Value::as_str);
    let every = text("every").or_else(|| text("period")).and_then(|text| parse_span(text).ok());
    schedule.every = every.or(schedule.every);
    schedule.cron = text("cron").map(Arc::from).or(schedule.cron.take());
    schedule.at = text("at").and_then(super::Clock::parse).or(schedule.at);
}

fn check_schedule(monitor: &MonitorDef, key: &Node, object: &Object<'_>, report: &mut Report) {
    let Schedule { every, cron, at, until, .. } = &monitor.schedule;
    let mut error = |name: &str, message: &str| {
        let place = object.peek(name).map_or(key.place, |node| node.place);
        report.error(place, &object.path, message);
    };
    let written = ["every", "cron", "at"].iter().any(|name| object.peek(name).is_some());
    if !written && monitor.kind.checks() {
        error("", "when? write every: 5m, at: \"03:15\" or cron");
    }
    if cron.is_some() && (every.is_some() || at.is_some()) {
        error("cron", "cron stands alone, without every and at");
    }
    if until.is_some() && (at.is_none() || every.is_none()) {
        error("until", "until needs at and every");
    }
    if every.is_some_and(|every| every < 1000) {
        error("every", "every is at least 1s");
    }
}

/// Settings that judge what a check sees, or say when it looks: alerts come judged.
const OF_CHECKS: [&str; 20] = [
    "every",
    "cron",
    "at",
    "until",
    "active",
    "window",
    "per",
    "fail_when",
    "warn_when",
    "fail_after",
    "for",
    "recover_after",
    "missing",
    "resolve",
    "flap",
    "on_error",
    "on_missed",
    "timeout",
    "keep",
    "history",
];
/// How long a check may take whose source may be waited for longer than checks usually are: a little
/// longer than that.
fn outlasting(monitor: &MonitorDef) -> Option<i64> {
    const MARGIN: i64 = 5000;
    let settings = monitor.settings.parse();
    let source = parse_span(settings.get("timeout")?.as_str()?).ok()?;
    (source + MARGIN > monitor.usual_timeout()).then_some(source + MARGIN)
}

/// Bytes of a key of a monitor that receives alerts: it is all that a sender has to show.
pub const KEY_MIN: usize = 20;

/// What only a monitor that receives alerts must observe.
fn received(
    settings: &serde_json::Map<String, serde_json::Value>,
    node: &Node,
    object: &Object<'_>,
    report: &mut Report,
) {
    for name in OF_CHECKS {
        if let Some(node) = object.peek(name) {
            let message = format!("{name} has no effect: alerts come judged by who sends them");
            report.error(node.place, &object.path_of(name), message);
        }
    }
    if let Some(node) = object.peek("witness") {
        let message = "alerts have no witness: what is sent once while it is down would be lost";
        report.error(node.place, &object.path_of("witness"), message);
    }
    let path = object.path_of("alerts");
    let settings = serde_json::Value::Object(settings.clone());
    for key in texts(&settings, "key").filter(|key| secret_alone(key).is_none()) {
        if key.contains("${") {
            let message = "a key is ${secret:NAME} alone, or a text without ${";
            report.error(node.place, &path, message);
        } else if key.len() < KEY_MIN || key.contains('/') || key.contains(char::is_whitespace) {
            let message = format!(
                "a key has {KEY_MIN} characters at least, and neither slashes nor spaces; better \
                 write ${{secret:NAME}}"
            );
            report.error(node.place, &path, message);
        }
    }
    for allowed in texts(&settings, "allow").filter(|it| !ALLOWED.contains(&&**it)) {
        let message = format!("allow knows {}, not {allowed:?}", ALLOWED.join(" and "));
        report.error(node.place, &path, message);
    }
    let limit = settings.get("limit").and_then(serde_json::Value::as_i64);
    let most = i64::try_from(ALERTS_MAX).unwrap_or(i64::MAX);
    if limit.is_some_and(|limit| !(1..=most).contains(&limit)) {
        report.error(node.place, &path, format!("limit is 1 to {ALERTS_MAX}"));
    }
}

/// The keys by which senders reach a monitor, as they are written.
pub(super) fn keys(monitor: &MonitorDef) -> Vec<Arc<str>> {
    let settings = monitor.settings.parse();
    let keys = texts(&settings, "key").filter(|_| monitor.kind == Kind::Alerts);
    keys.collect()
}

/// What the key of a monitor may be allowed beyond sending alerts.
const ALLOWED: [&str; 2] = ["read", "silence"];

/// Everything that all kinds have in common.
fn rest(monitor: &mut MonitorDef, object: &mut Object<'_>, report: &mut Report) {
    let interval = monitor.schedule.interval();
    monitor.window =
        object.read("window", report, |node, path, report| window(node, path, interval, report));
    monitor.per = object.read("per", report, reader::texts).unwrap_or_default();
    monitor.labels = object.read("labels", report, labels).unwrap_or_default();
    let columns = kinds::columns(monitor.kind, &monitor.settings.parse());
    let condition = |node: &Node, path: &str, report: &mut Report| {
        condition(node, path, columns.as_deref(), report)
    };
    monitor.fail_when = object.read("fail_when", report, condition);
    monitor.warn_when = object.read("warn_when", report, condition);
    monitor.severity = object.read("severity", report, reader::severity).unwrap_or_default();
    monitor.fail_after = object.read("fail_after", report, reader::count).unwrap_or(1);
    monitor.hold = object.read("for", report, reader::span_or_zero).unwrap_or_default();
    monitor.recover_after = object.read("recover_after", report, reader::count).unwrap_or(1);
    monitor.missing = object.read("missing", report, reader::count);
    monitor.quiet_for = object.read("resolve", report, resolve).unwrap_or_default();
    monitor.flap = object.read("flap", report, flap);
    monitor.depends_on = object.read("depends_on", report, reader::texts).unwrap_or_default();
    monitor.witness = object.read("witness", report, reader::texts).unwrap_or_default();
    monitor.on_error = object
        .read("on_error", report, |node, path, report| {
            on_error(node, path, OnError::default(), report)
        })
        .unwrap_or_default();
    let missed = OnError { after: 1, ..OnError::default() };
    monitor.on_missed = object
        .read("on_missed", report, |node, path, report| on_error(node, path, missed, report))
        .filter(|rule| rule.after > 0);
    monitor.remind = object.read("remind", report, reader::span);
    monitor.to = object.read("to", report, reader::texts).unwrap_or_default();
    told(monitor, object, report);
    monitor.summary = object.read("summary", report, template);
    monitor.description = object.read("description", report, template);
    monitor.runbook = object.read("runbook", report, template);
    monitor.unit = object.read("unit", report, reader::text);
    monitor.timeout = object.read("timeout", report, reader::span).or_else(|| outlasting(monitor));
    monitor.budget = object.read("budget", report, budget);
    kept(monitor, object, report);
}

/// What is kept of what its checks answer.
fn kept(monitor: &mut MonitorDef, object: &mut Object<'_>, report: &mut Report) {
    monitor.keep = object.read("keep", report, reader::texts).unwrap_or_default();
    let off = object.read("history", report, |node, path, report| {
        parsed(node, path, report, |text| match text {
            "off" | "false" => Ok(true),
            "on" | "true" => Ok(false),
            _ => Err(format!("{text:?} is neither on nor off")),
        })
    });
    monitor.history_off = off.unwrap_or_default();
    if let Some(node) = object.peek("keep").filter(|_| monitor.history_off) {
        let message = "keep is without effect: history is off";
        report.warn("keeps-nothing", node.place, &object.path_of("keep"), message);
    }
}

/// From which severity on anybody is told, and after which while.
fn told(monitor: &mut MonitorDef, object: &mut Object<'_>, report: &mut Report) {
    monitor.to_after = object.read("to_after", report, reader::span_or_zero).unwrap_or_default();
    if let Some(node) = object.peek("to_after").filter(|_| monitor.to.is_empty()) {
        let message = "to_after needs to; a route's own steps wait with after";
        report.error(node.place, &object.path_of("to_after"), message);
    }
    monitor.rings_from = object.read("rings_from", report, reader::severity);
    let severest = [monitor.severity, monitor.on_error.severity]
        .into_iter()
        .chain(monitor.on_missed.map(|rule| rule.severity))
        .max();
    if let Some(node) = object.peek("rings_from").filter(|_| monitor.rings_from > severest) {
        let message = format!(
            "nobody is ever told: what is found here is {} at worst",
            severest.unwrap_or_default().as_str()
        );
        report.warn("never-tells", node.place, &object.path_of("rings_from"), message);
    }
}

/// `{ pages: 1, per: 1d }`
fn budget(node: &Node, path: &str, report: &mut Report) -> Option<Budget> {
    let mut object = Object::of(node, path.to_owned(), report)?;
    let pages = object.read("pages", report, reader::count_or_zero);
    let per = object.read("per", report, reader::span);
    if object.peek("pages").is_none() || object.peek("per").is_none() {
        report.error(
            node.place,
            path,
            "a budget needs pages and per, such as { pages: 1, per: 1d }",
        );
    }
    object.finish(report);
    Some(Budget { pages: pages?, per: per? })
}

fn window(node: &Node, path: &str, interval: i64, report: &mut Report) -> Option<WindowRule> {
    let mut object = Object::of(node, path.to_owned(), report)?;
    let lookback = object.read("lookback", report, reader::span).unwrap_or(interval);
    let catch_up = object.read("catch_up", report, reader::span);
    let catch_up = catch_up.unwrap_or_else(|| lookback.max(3_600_000));
    if catch_up < lookback {
        report.error(node.place, path, "catch_up is less than lookback");
    }
    object.finish(report);
    Some(WindowRule { lookback, catch_up })
}

fn labels(node: &Node, path: &str, report: &mut Report) -> Option<BTreeMap<Arc<str>, Arc<str>>> {
    let Content::Map(members) = &node.content else { return text_map(node, path, report) };
    for (key, value) in members {
        let path = format!("{path}.{}", key.text().unwrap_or_default());
        if let Some(Err(message)) = value.text().map(Template::parse) {
            report.error(value.place, &path, message);
        }
        if let Some(name @ ("monitor" | "key" | "severity")) = key.text() {
            report.error(key.place, &path, format!("every incident has a {name} of its own"));
        }
    }
    text_map(node, path, report)
}

/// A condition; `columns` are the names that there are, if the kind has always the same.
fn condition(
    node: &Node,
    path: &str,
    columns: Option<&[&str]>,
    report: &mut Report,
) -> Option<Arc<str>> {
    parsed(node, path, report, |text| {
        kinds::condition_on(text, columns)?;
        Ok(text.into())
    })
}

fn template(node: &Node, path: &str, report: &mut Report) -> Option<Arc<str>> {
    parsed(node, path, report, |text| Template::parse(text).map(|_| text.into()))
}

fn resolve(node: &Node, path: &str, report: &mut Report) -> Option<i64> {
    let mut object = Object::of(node, path.to_owned(), report)?;
    let quiet_for = object.read("quiet_for", report, reader::span_or_zero);
    object.finish(report);
    quiet_for
}

fn flap(node: &Node, path: &str, report: &mut Report) -> Option<Flap> {
    let mut object = Object::of(node, path.to_owned(), report)?;
    let within = object.read("within", report, reader::span).unwrap_or(3_600_000);
    let flap = Flap {
        changes: object.read("changes", report, reader::count).unwrap_or(4),
        within,
        settle: object.read("settle", report, reader::span).unwrap_or(within / 6),
    };
    if flap.changes > 50 {
        report.error(node.place, path, "at most 50 changes are remembered");
    }
    object.finish(report);
    Some(flap)
}

fn on_error(node: &Node, path: &str, default: OnError, report: &mut Report) -> Option<OnError> {
    let mut object = Object::of(node, path.to_owned(), report)?;
    let rule = OnError {
        after: object.read("after", report, reader::count_or_zero).unwrap_or(default.after),
        severity: object.read("severity", report, reader::severity).unwrap_or(default.severity),
    };
    object.finish(report);
    Some(rule)
}
