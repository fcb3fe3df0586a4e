//! Alerts that other systems send: which incident each is about, how long it may stay unsaid, and
//! how many there may be.
//!
//! A sender such as Prometheus says again and again that an alert fires, each time until when that
//! holds: a lease. What is not said again in time is over. What only prolongs a lease is written when
//! half of it has passed, with the texts that have changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::decide::Draft;
use super::definition::{Kind, MonitorDef, Severity, parse_span};
use super::event::Event;
use super::incident::{Incident, State};
use super::monitor::Monitor;
use super::observation::{ATTRS_MAX, Observation, Status, TEXT_MAX, bounded, bounded_key};
use super::text::cut;
use super::{LIMIT_KEY, observe};
use crate::machine::Rejected;
use crate::time::Timestamp;

/// Alerts that one monitor may have firing at once.
pub const ALERTS_MAX: usize = 20_000;
/// Milliseconds that an alert without an end is taken to fire unless it is sent again.
pub const RESOLVE_TIMEOUT: i64 = 5 * 60_000;
/// Milliseconds for which every alert is kept after the server began to listen: its sender could not
/// say it meanwhile.
pub const AFTER_START: i64 = 5 * 60_000;
/// Characters of what tells the senders of an alert apart, and how many of them are.
const SENDER_MAX: usize = 100;
const SENDERS_MAX: usize = 16;
/// Labels of an alert.
pub const LABELS_MAX: usize = 100;
/// Bytes of all names and values of an alert's labels.
pub const LABEL_BYTES_MAX: usize = 8192;

/// The annotation under which it is kept since when an alert fires, as its sender says; a time of RFC 3339.
pub const STARTS: &str = "startsAt";

/// The label that names an alert.
const NAME: &str = "alertname";

/// One alert, as its sender tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alert {
    /// What it is about: the same labels, less those that the monitor ignores, are the same alert.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// The sender's own name for it, in the place of its labels.
    pub key: Option<Arc<str>>,
    /// What else is said: `summary`, `description`, `runbook_url`, …
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
    /// How bad it is; absent = what its label `severity` says, or the monitor.
    pub severity: Option<Severity>,
    /// How it stands.
    pub lease: Lease,
}

/// Until when what an alert says holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lease {
    /// It fires, for as long as the monitor takes for granted.
    #[default]
    Usual,
    /// It fires until this instant; it is over if that has passed.
    Until(Timestamp),
    /// It fires until it is said to be over.
    Open,
    /// It is over.
    Over,
}

impl Alert {
    /// Whether it is too large to be taken.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        // An empty label is none, and an empty name no name.
        let has_labels = self.labels.values().any(|value| !value.is_empty());
        if !has_labels && self.key.as_deref().is_none_or(str::is_empty) {
            return Err("an alert needs at least one label that is not empty".to_owned());
        }
        if self.labels.len() > LABELS_MAX {
            let count = self.labels.len();
            return Err(format!("an alert has {count} labels, more than {LABELS_MAX}"));
        }
        let bytes: usize = self.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > LABEL_BYTES_MAX {
            return Err(format!(
                "the labels of an alert take {bytes} bytes, more than {LABEL_BYTES_MAX}"
            ));
        }
        if let Some(name) = self.labels.keys().find(|name| !is_name(name)) {
            let name = cut(name, 100);
            return Err(format!("{name:?} cannot be the name of a label"));
        }
        Ok(())
    }
}

/// Names of labels: anything printable that is not empty, as Prometheus allows since version 3.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(char::is_control)
}

/// Whether a name can be written without quotes.
fn is_plain(name: &str) -> bool {
    let is_word = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    name.bytes().all(is_word) && name.bytes().next().is_some_and(|it| !it.is_ascii_digit())
}

/// What a monitor's settings say of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiving {
    /// Labels that do not tell alerts apart.
    pub ignore: BTreeSet<Arc<str>>,
    /// Milliseconds that an alert without an end is taken to fire.
    pub resolve_timeout: i64,
    /// Alerts that may fire at once.
    pub limit: usize,
}

impl Receiving {
    /// Those of a monitor.
    pub fn of(monitor: &MonitorDef) -> Self {
        let settings = monitor.settings.parse();
        let timeout = settings.get("resolve_timeout").and_then(Value::as_str);
        let limit = settings.get("limit").and_then(Value::as_u64);
        Self {
            ignore: texts(&settings, "ignore").collect(),
            resolve_timeout: timeout
                .and_then(|text| parse_span(text).ok())
                .filter(|span| *span > 0)
                .unwrap_or(RESOLVE_TIMEOUT),
            limit: limit
                .and_then(|limit| usize::try_from(limit).ok())
                .map_or(ALERTS_MAX, |limit| limit.clamp(1, ALERTS_MAX)),
        }
    }

    /// The key under which a monitor knows an alert.
    pub fn key_of(&self, alert: &Alert) -> Arc<str> {
        match alert.key.as_deref().filter(|key| !key.is_empty()) {
            Some(key) => bounded_key(key),
            None => bounded_key(&notation(&self.labels_of(alert))),
        }
    }

    fn labels_of(&self, alert: &Alert) -> BTreeMap<Arc<str>, Arc<str>> {
        let mut labels = alert.labels.clone();
        // An empty label is none.
        labels.retain(|name, value| !value.is_empty() && !self.ignore.contains(name));
        labels
    }

    /// Which of several senders of the same alerts says it: what is ignored of its labels.
    fn sender_of(&self, alert: &Alert) -> Option<Arc<str>> {
        let values = self.ignore.iter().filter_map(|name| Some(&**alert.labels.get(name)?));
        let values: Vec<&str> = values.collect();
        (!values.is_empty()).then(|| cut(&values.join(","), SENDER_MAX).into())
    }

    fn observation(&self, alert: &Alert, monitor: &MonitorDef, now: Timestamp) -> Observation {
        let until = match alert.lease {
            Lease::Usual => now.plus_millis(self.resolve_timeout),
            Lease::Until(until) => until,
            Lease::Open => Timestamp::MAX,
            Lease::Over => now,
        };
        let (key, labels) = (self.key_of(alert), self.labels_of(alert));
        let said = labels.get("severity").and_then(|said| severity_named(said));
        let name = labels.get(NAME).map_or("", |name| &**name);
        let text = ["summary", "message", "description", "title"]
            .iter()
            .find_map(|name| alert.annotations.get(*name))
            .map_or(name, |text| text);
        let attrs: Map<String, Value> = alert
            .annotations
            .iter()
            .map(|(name, value)| (name.to_string(), cut(value, ATTRS_MAX / 4).into()))
            .collect();
        let over = until <= now;
        Observation {
            key,
            status: if over { Status::Ok } else { Status::Fail },
            value: None,
            text: Some(cut(text, TEXT_MAX).into()),
            attrs: bounded(attrs),
            severity: Some(alert.severity.or(said).unwrap_or(monitor.severity)),
            labels,
            until: (!over).then_some(until),
        }
    }
}

/// The name in `${secret:NAME}`, if a setting is that and nothing else.
pub fn secret_alone(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${secret:")?.strip_suffix('}')?;
    Some(name).filter(|name| !name.is_empty() && !name.contains(['$', '{', '}']))
}

/// The texts of a setting that is one or a list.
pub(super) fn texts<'a>(settings: &'a Value, name: &str) -> impl Iterator<Item = Arc<str>> + 'a {
    let several = settings.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let one = settings.get(name).filter(|it| it.is_string());
    several.iter().chain(one).filter_map(Value::as_str).map(Arc::from)
}

/// Labels as Prometheus writes them: `Down{instance="a:80",job="node"}`. Names that are no plain words
/// are quoted: otherwise a name could read as several labels with their values.
fn notation(labels: &BTreeMap<Arc<str>, Arc<str>>) -> String {
    let named = |name: &str| if is_plain(name) { name.to_owned() } else { quoted(name) };
    let name = labels.get(NAME).map(|name| named(name)).unwrap_or_default();
    let rest = labels.iter().filter(|(label, _)| ***label != *NAME);
    let rest: Vec<String> =
        rest.map(|(label, value)| format!("{}={}", named(label), quoted(value))).collect();
    // Labels that are all ignored are no key of their own: the empty one is the monitor itself.
    let is_name_enough = rest.is_empty() && !name.is_empty();
    if is_name_enough { name } else { format!("{name}{{{}}}", rest.join(",")) }
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{text}\"")
}

/// How bad what other systems call so is.
pub fn severity_named(text: &str) -> Option<Severity> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "critical" | "crit" | "page" | "fatal" | "emergency" | "disaster" | "p1" => {
            Severity::Critical
        }
        "error" | "err" | "major" | "high" | "p2" => Severity::Error,
        "warning" | "warn" | "minor" | "average" | "moderate" | "p3" => Severity::Warning,
        "info" | "information" | "informational" | "notice" | "low" | "none" | "debug" | "p4"
        | "p5" => Severity::Info,
        _ => return None,
    })
}

impl Monitor {
    /// Whether it receives alerts, of which there may be many: what concerns which of them is kept.
    pub(super) fn is_indexed(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.monitor.kind == Kind::Alerts)
    }

    /// Whether some alerts were not taken because too many fire.
    pub fn is_full(&self) -> bool {
        self.incidents.get(LIMIT_KEY).is_some_and(|incident| incident.state != State::Resolved)
    }

    /// What these incidents say, by their numbers, holds until another instant.
    pub(super) fn prolong(
        &mut self,
        until: Timestamp,
        numbers: &[u32],
        by: Option<&Arc<str>>,
        ended: bool,
    ) {
        let now = self.updated_at;
        self.agenda.number(&self.incidents);
        for number in numbers {
            let Some(key) = self.agenda.numbered(*number) else { continue };
            let Some(incident) = self.incidents.get_mut(&key) else { continue };
            self.agenda.touch(&key);
            match by {
                Some(by) if ended => {
                    incident.senders.remove(by);
                    incident.until = Some(until);
                }
                _ => {
                    incident.say_until(until, by);
                    incident.last_bad_at = now;
                }
            }
        }
    }
}

impl Incident {
    /// One of its senders, or its only one, says until when it fires.
    pub(super) fn say_until(&mut self, until: Timestamp, by: Option<&Arc<str>>) {
        self.until = self.until.max(Some(until));
        if let Some(by) = by
            && (self.senders.len() < SENDERS_MAX || self.senders.contains_key(by))
        {
            self.senders.insert(by.clone(), until);
        }
    }

    /// Until when other senders than this one say that it fires, if they do; at least to the end of
    /// the grace, in which none of them may have had the time to say so.
    fn others(
        &self,
        by: Option<&str>,
        now: Timestamp,
        grace: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let others = self.senders.iter().filter(|(sender, _)| Some(&***sender) != by);
        let said = others.map(|(_, until)| *until).max()?;
        Some(grace.map_or(said, |grace| said.max(grace)))
            .filter(|until| by.is_some() && *until > now)
    }
}

/// Until when incidents last that are said again, by which sender, and whether they are over to it.
type Prolongation = (Timestamp, Option<Arc<str>>, bool);

/// Alerts came.
pub(super) fn receive(draft: &mut Draft<'_>, alerts: Vec<Alert>) -> Result<(), Rejected> {
    let spec = draft.spec();
    if spec.monitor.kind != Kind::Alerts {
        let name = draft.state.name();
        return Err(Rejected::Conflict(format!("{name} does not receive alerts")));
    }
    let (now, receiving, grace) = (draft.now, Receiving::of(&spec.monitor), grace(draft));
    let mut prolonged: BTreeMap<Prolongation, Vec<u32>> = BTreeMap::new();
    let mut left_out = 0_usize;
    for alert in alerts {
        let by = receiving.sender_of(&alert);
        let seen = receiving.observation(&alert, &spec.monitor, now);
        let known = draft.state.incidents.get(&seen.key);
        let fires = known.filter(|incident| incident.state != State::Resolved);
        let others = fires.and_then(|incident| incident.others(by.as_deref(), now, grace));
        match (fires, seen.until) {
            (Some(incident), Some(until)) => {
                match said_again(incident, by.as_deref(), &seen, until, now) {
                    Again::Nothing => {}
                    Again::Longer => {
                        let group = prolonged.entry((until, by, false)).or_default();
                        group.push(incident.number);
                    }
                    Again::News => observe::hear(draft, seen, by),
                }
            }
            // Another sender says that it fires still.
            (Some(incident), None) if let Some(until) = others => {
                prolonged.entry((until, by, true)).or_default().push(incident.number);
            }
            (None, Some(_)) if known.is_none() && is_full(draft.state, &receiving) => left_out += 1,
            _ => observe::hear(draft, seen, by),
        }
    }
    for ((until, by, ended), numbers) in prolonged {
        draft.push(Event::Prolonged { until, numbers, by, ended });
    }
    look_at_limit(draft, &receiving, left_out);
    Ok(())
}

/// What an alert that fires already says.
enum Again {
    /// Nothing that must be written.
    Nothing,
    /// That its lease is longer.
    Longer,
    /// Something else.
    News,
}

/// What an alert says, but for when it began: several senders of it do not begin at the same instant.
fn said(attrs: &Map<String, Value>) -> BTreeMap<&String, &Value> {
    attrs.iter().filter(|(name, _)| **name != *STARTS).collect()
}

fn said_again(
    incident: &Incident,
    by: Option<&str>,
    seen: &Observation,
    until: Timestamp,
    now: Timestamp,
) -> Again {
    let text = seen.text.as_deref().unwrap_or_default();
    let is_same = incident.text.as_deref().unwrap_or_default() == text
        && said(&incident.attrs) == said(&seen.attrs);
    let is_urgent = incident.status != seen.status
        || Some(incident.severity) != seen.severity
        || incident.state == State::Pending;
    let known = match by {
        Some(by) => incident.senders.get(by).copied().unwrap_or(now),
        None => incident.until.unwrap_or(Timestamp::MAX),
    };
    // While half of the lease is left, there is another chance to write it.
    let can_wait = known < Timestamp::MAX && known.since(now) >= until.since(now) / 2;
    match (is_urgent, is_same) {
        (true, _) => Again::News,
        (false, true) if known >= until || can_wait => Again::Nothing,
        (false, true) => Again::Longer,
        // What is sent again and again has a text of its own each time, with a value in it.
        (false, false) if can_wait => Again::Nothing,
        (false, false) => Again::News,
    }
}

/// Whether no further alert may fire; that there are too many is none itself.
fn is_full(monitor: &Monitor, receiving: &Receiving) -> bool {
    alerts_of(monitor) >= receiving.limit
}

fn alerts_of(monitor: &Monitor) -> usize {
    monitor.incidents.len() - usize::from(monitor.incidents.contains_key(LIMIT_KEY))
}

/// Opens an incident about alerts that were not taken, and ends it when there is room again.
fn look_at_limit(draft: &mut Draft<'_>, receiving: &Receiving, left_out: usize) {
    let (limit, count) = (receiving.limit, alerts_of(draft.state));
    let is_full = draft.state.is_full();
    if left_out > 0 && !is_full {
        let text = format!(
            "alerts are not taken: {limit} fire already, which is the limit; {left_out} were \
             refused at once"
        );
        observe::say_full(draft, Status::Fail, text);
    } else if left_out == 0 && is_full && count < limit && count <= limit - limit / 10 {
        observe::say_full(draft, Status::Ok, "there is room for alerts again".to_owned());
    }
}

/// Until when every alert is kept, if the server has not listened for long.
fn grace(draft: &Draft<'_>) -> Option<Timestamp> {
    let end = draft.listening_since.map(|since| since.plus_millis(AFTER_START));
    end.filter(|end| *end > draft.now)
}

/// The clock moved: what was not said again in time is over.
pub(super) fn look_at_clock(draft: &mut Draft<'_>) {
    if draft.spec().monitor.kind != Kind::Alerts {
        return;
    }
    let (now, grace) = (draft.now, grace(draft));
    let (mut over, mut kept) = (Vec::new(), Vec::new());
    for key in draft.state.due_incidents(now) {
        let Some(incident) = draft.state.incidents.get(&key) else { continue };
        let ended = incident.until.filter(|until| *until <= now);
        match ended.filter(|_| incident.state != State::Resolved) {
            Some(_) if grace.is_some() => kept.push(incident.number),
            Some(until) => over.push((key, until)),
            None => {}
        }
    }
    if let Some(until) = grace.filter(|_| !kept.is_empty()) {
        draft.push(Event::Prolonged { until, numbers: kept, by: None, ended: false });
    }
    for (key, until) in over {
        observe::expire(draft, &key, format!("not sent again by {until}"));
    }
    look_at_limit(draft, &Receiving::of(&draft.spec().monitor), 0);
}
