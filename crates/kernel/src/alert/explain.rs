//! Why there is an incident, what was done about it, and what it waits for.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::definition::{Kind, Severity};
use super::event::Window;
use super::incident::{Entry, Evidence, Incident, State};
use super::monitor::{Delivery, Monitor};
use super::observation::{self, plain};
use super::received::Receiving;
use super::text::cut;
use crate::json::Json;
use crate::time::Timestamp;

/// Differences that are told.
const CHANGES_MAX: usize = 20;
/// Characters of a value in a difference.
const SHOWN_MAX: usize = 100;

/// Everything that is known of an incident.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation<'a> {
    /// Its id.
    pub id: String,
    /// The incident.
    pub incident: &'a Incident,
    /// What showed it first, a check, a ping or a message: execution and step of a check, definition
    /// version.
    pub cause: &'a Evidence,
    /// What showed it last.
    pub latest: &'a Evidence,
    /// The last check before, in which it was well.
    pub previous_ok: Option<&'a Evidence>,
    /// What differs from then.
    pub changed: Vec<String>,
    /// The row that was seen.
    pub row: &'a Map<String, Value>,
    /// The rule that made it an incident, in words.
    pub rule: String,
    /// The span that the running check covers.
    pub checking: Option<Window>,
    /// What happened.
    pub history: &'a [Entry],
    /// Every delivery that is remembered.
    pub deliveries: Vec<&'a Delivery>,
    /// What it waits for, in words.
    pub waits_for: Vec<String>,
}

/// Explains the incident of an id, a fingerprint or a key.
pub fn explain<'a>(monitor: &'a Monitor, name: &str) -> Option<Explanation<'a>> {
    let incident = monitor.incident(name)?;
    let about = |delivery: &&Delivery| {
        delivery
            .incidents
            .iter()
            .any(|(key, number)| *key == incident.key && *number == incident.number)
    };
    Some(Explanation {
        id: incident.id(),
        incident,
        cause: &incident.first_evidence,
        latest: &incident.evidence,
        previous_ok: incident.previous_ok.as_ref(),
        changed: changed(monitor, incident),
        row: &incident.attrs,
        rule: rule(monitor, incident),
        checking: monitor.check.as_ref().map(|check| check.window),
        history: &incident.history,
        deliveries: monitor.deliveries.values().filter(about).collect(),
        waits_for: waits_for(monitor, incident),
    })
}

/// What changed in the definition between the last check in which it was well and the first in which
/// it was not; absent if no such check is known.
pub(super) fn definition_changed(monitor: &Monitor, incident: &Incident) -> Option<Vec<String>> {
    let (before, after) =
        (&incident.previous_ok.as_ref()?.version, &incident.first_evidence.version);
    if before == after {
        return Some(Vec::new());
    }
    let definition = |version: &Arc<str>| {
        let spec = monitor.spec.as_ref().filter(|spec| spec.version == *version);
        let former = || monitor.definitions.iter().find(|(known, _)| known == version);
        spec.map(|spec| json!(spec.monitor)).or_else(|| Some(former()?.1.parse()))
    };
    let (Some(then), Some(now)) = (definition(before), definition(after)) else {
        return Some(vec![format!("the definition changed from {before} to {after}")]);
    };
    let (mut then, mut now) = (flat(&then), flat(&now));
    // Where it stands in its file is no change of what it means.
    for members in [&mut then, &mut now] {
        members.remove("origin");
    }
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let differ = names.into_iter().filter(|name| then.get(*name) != now.get(*name));
    let mut told: Vec<String> = differ
        .take(CHANGES_MAX)
        .map(|name| {
            let (before, after) = (shown(then.get(name)), shown(now.get(name)));
            format!("the definition changed: {name} was {before}, is {after}")
        })
        .collect();
    if told.is_empty() {
        told.push("the routes or fallbacks changed".to_owned());
    }
    Some(told)
}

/// The members of an object, those of its settings among them.
fn flat(definition: &Value) -> Map<String, Value> {
    let mut members = definition.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(settings)) = members.remove("settings") {
        members.extend(settings);
    }
    members
}

/// A value in a difference.
fn shown(value: Option<&Value>) -> String {
    match value {
        None => "not set".to_owned(),
        Some(value) => cut(&plain(value).unwrap_or_else(|| value.to_string()), SHOWN_MAX),
    }
}

fn changed(monitor: &Monitor, incident: &Incident) -> Vec<String> {
    let mut changed = Vec::new();
    match &incident.previous_ok {
        // An alert is not known before it fires, so that says nothing.
        None if monitor.is_indexed() => {}
        None if monitor.beat.last_success_at.is_some_and(|at| at < incident.since) => {
            let at = monitor.beat.last_success_at.unwrap_or(incident.since);
            let seconds = incident.since.since(at) / 1000;
            changed.push(format!("well at {at}, bad {seconds} s later at {}", incident.since));
        }
        None => changed.push("no earlier time is known at which it was well".to_owned()),
        Some(ok) => {
            let seconds = incident.since.since(ok.at) / 1000;
            changed.push(format!("well at {}, bad {seconds} s later at {}", ok.at, incident.since));
            changed.extend(definition_changed(monitor, incident).unwrap_or_default());
        }
    }
    if incident.worst != incident.severity {
        let (worst, now) = (incident.worst.as_str(), incident.severity.as_str());
        changed.push(format!("it was {worst} and is {now} now"));
    }
    changed
}

/// What differs between what was seen of an incident's key at last and what a check returned in
/// which it was well; names of the row with what they were and are.
pub fn since_then(monitor: &Monitor, incident: &Incident, returned: &Json) -> Vec<String> {
    let Some(spec) = &monitor.spec else { return Vec::new() };
    let Ok(reading) = observation::read(returned, &spec.monitor) else { return Vec::new() };
    let then = reading.observations.into_iter().find(|it| it.key == incident.key);
    let Some(then) = then else {
        return vec!["it was not mentioned in the check before".to_owned()];
    };
    let row = |value: Option<&Value>, text: Option<&Arc<str>>, attrs: &Map<String, Value>| {
        let mut row = attrs.clone();
        row.extend(value.map(|value| ("value".to_owned(), value.clone())));
        row.extend(text.map(|text| ("text".to_owned(), json!(text))));
        row
    };
    let now = row(incident.value.as_ref(), incident.text.as_ref(), &incident.attrs);
    let then = row(then.value.as_ref(), then.text.as_ref(), &then.attrs);
    let names: BTreeSet<&String> = now.keys().chain(then.keys()).collect();
    let differ = names.into_iter().filter(|name| now.get(*name) != then.get(*name));
    differ
        .take(CHANGES_MAX)
        .map(|name| format!("{name} {} → {}", shown(then.get(name)), shown(now.get(name))))
        .collect()
}

/// The settings by which a kind of check tells well from bad.
const JUDGING: [&str; 7] =
    ["expect", "contains", "max_age", "warn_at", "tls_expiry", "min_run", "max_run"];

/// The settings by which a heartbeat monitor knows when the next ping is due.
const EXPECTING: [&str; 6] = ["cron", "every", "period", "at", "grace", "start_grace"];

fn rule(monitor: &Monitor, incident: &Incident) -> String {
    let Some(spec) = &monitor.spec else { return String::new() };
    let rule = &spec.monitor;
    let settings = rule.settings.parse();
    match (&*incident.key, rule.on_missed) {
        (super::CHECK_KEY, _) => {
            return format!("{} checks in a row could not tell (on_error)", rule.on_error.after);
        }
        (super::MISSED_KEY, Some(missed)) => {
            return format!("{} checks that were due did not run (on_missed)", missed.after);
        }
        (super::LIMIT_KEY, _) => {
            let limit = Receiving::of(rule).limit;
            return format!(
                "opens when alerts are refused because {limit} fire already (limit); resolves when \
                 no more than nine tenths of them fire"
            );
        }
        _ => {}
    }
    let mut words = Vec::new();
    let mut told = |names: &[&str]| {
        for name in names {
            if let Some(setting) = settings.get(*name) {
                let setting = plain(setting).unwrap_or_else(|| setting.to_string());
                words.push(format!("{name} {setting}"));
            }
        }
    };
    if rule.kind == Kind::Heartbeat {
        told(&EXPECTING);
    }
    told(&JUDGING);
    if rule.kind == Kind::Heartbeat {
        words.push("a ping that is late or tells of a failure is bad".to_owned());
    }
    if let Some(condition) = &rule.fail_when {
        words.push(format!("fails when {condition}"));
    }
    if let Some(condition) = &rule.warn_when {
        words.push(format!("warns when {condition}"));
    }
    // They come judged by who sends them, and what has no end has none of its own.
    if rule.kind == Kind::Alerts {
        words.push("opens and resolves as its sender says".to_owned());
        words.push(if incident.until == Some(Timestamp::MAX) {
            "its sender set no end".to_owned()
        } else {
            let seconds = Receiving::of(rule).resolve_timeout / 1000;
            format!(
                "or resolves when it is not sent again by its endsAt, or within {seconds} s if it \
                 has none (resolve_timeout)"
            )
        });
        return words.join("; ");
    }
    words.push(format!("opens after {} bad in a row (fail_after)", rule.fail_after));
    if rule.hold > 0 {
        words.push(format!("and {} s (for)", rule.hold / 1000));
    }
    words.push(format!("resolves after {} good in a row (recover_after)", rule.recover_after));
    match rule.missing_max() {
        // Nothing but a ping says anything of the job.
        _ if rule.kind == Kind::Heartbeat => {}
        Some(1) => words.push("or 1 check that does not mention it (missing)".to_owned()),
        Some(most) => words.push(format!("or {most} checks that do not mention it (missing)")),
        None => {
            words.push("stays open while no check reports it (missing is not set)".to_owned());
        }
    }
    if rule.quiet_for > 0 {
        words.push(format!("once quiet for {} s (resolve.quiet_for)", rule.quiet_for / 1000));
    }
    words.join("; ")
}

fn waits_for(monitor: &Monitor, incident: &Incident) -> Vec<String> {
    let mut waits = Vec::new();
    if let Some(suppressed) = &incident.suppressed {
        let until = suppressed.until.map(|at| format!(", until {at}")).unwrap_or_default();
        waits.push(format!("nobody is told: {}{until}", suppressed.reason));
    }
    if let Some(since) = incident.no_data_since.filter(|_| incident.state.is_open()) {
        waits.push(format!("no data: not reported any more since {since}"));
    }
    if let Some(at) = monitor.ack_expires_at(incident) {
        waits.push(format!("the acknowledgement expires at {at}"));
    }
    if let Some(until) = incident.snoozed_until {
        waits.push(format!("snoozed until {until}"));
    }
    let rule = monitor.spec.as_ref().map(|spec| &spec.monitor);
    match incident.state {
        State::Pending => {
            let needed = rule.map_or(1, |rule| rule.fail_after);
            waits.push(format!("bad {} times of {needed} in a row", incident.bad));
        }
        State::Resolved => {}
        State::Open | State::Acknowledged | State::Snoozed => {
            let needed = rule.map_or(1, |rule| rule.recover_after);
            waits.push(format!("well {} times of {needed} in a row", incident.good));
        }
    }
    if incident.state != State::Resolved {
        waits.extend(lease(incident));
        waits.extend(monitor.beat.expected.map(|(at, deadline)| {
            format!("the next ping is due at {at}, and late from {deadline} on")
        }));
    }
    waits.extend(deliveries_awaited(monitor, incident));
    if let Some(at) = monitor.next_at {
        waits.push(format!("the next check at {at}"));
    }
    waits
}

/// Until when an alert fires unless it is sent again, and which of several senders say so.
fn lease(incident: &Incident) -> Vec<String> {
    let Some(until) = incident.until else { return Vec::new() };
    if until == Timestamp::MAX {
        return vec!["its sender saying that it is over".to_owned()];
    }
    let mut waits = vec![format!("it is over at {until}, unless it is sent again")];
    if incident.senders.len() > 1 {
        let said = incident.senders.iter().map(|(by, until)| format!("{by} until {until}"));
        waits.push(format!("it fires by {}", said.collect::<Vec<_>>().join(", ")));
    }
    waits
}

/// What receivers are still to be told, and when.
fn deliveries_awaited(monitor: &Monitor, incident: &Incident) -> Vec<String> {
    let mut waits = Vec::new();
    let Some(route) = monitor.route_of(incident) else {
        let rings_from = monitor.spec.as_ref().and_then(|spec| spec.monitor.rings_from);
        return vec![match rings_from.filter(|from| incident.worst < *from) {
            Some(from) => format!("it was never {} (rings_from): nobody is told", from.as_str()),
            None => match monitor.hours_begin(incident) {
                Some(at) => format!("the hours of its route, which begin at {at}"),
                None => "no route matches: nobody is told".to_owned(),
            },
        }];
    };
    if incident.suppressed.is_some() {
        return waits;
    }
    let next = incident.steps as usize;
    let due = incident.told_from.and_then(|from| route.due(next, from));
    if let (State::Open | State::Acknowledged, Some(at), Some(step)) =
        (incident.state, due, route.steps.get(next))
    {
        let unless = if step.unless_acked { " unless acknowledged" } else { "" };
        let to = step.to.join(", ");
        waits.push(format!("the next step tells {to} at {at}{unless}"));
    }
    for (receiver, told) in &incident.told {
        if let Some(sequence) = told.flight {
            waits.push(format!("delivery {sequence} to {receiver} is under way"));
        } else if let Some((event, since)) = told.owed {
            let at = since.plus_millis(route.wait);
            waits.push(format!("{receiver} hears {} with its group at {at}", event.as_str()));
        } else if let Some((event, at)) = monitor.due(incident, receiver, told, route.remind)
            && at > Timestamp::from_millis(0)
        {
            waits.push(format!("{receiver} hears {} at {at}", event.as_str()));
        }
    }
    waits
}

impl Explanation<'_> {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.incident.severity
    }
}
