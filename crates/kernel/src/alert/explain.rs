//! Why there is an incident, what was done about it, and what it waits for.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::definition::Severity;
use super::event::Window;
use super::incident::{Entry, Evidence, Incident, State};
use super::monitor::{Delivery, Monitor};
use super::observation::{self, cut, plain};
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
    /// The check that saw it first: execution, step, definition version.
    pub cause: &'a Evidence,
    /// The check that saw it last.
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
        changed: changed(incident),
        row: &incident.attrs,
        rule: rule(monitor, incident),
        checking: monitor.check.as_ref().map(|check| check.window),
        history: &incident.history,
        deliveries: monitor.deliveries.values().filter(about).collect(),
        waits_for: waits_for(monitor, incident),
    })
}

fn changed(incident: &Incident) -> Vec<String> {
    let mut changed = Vec::new();
    match &incident.previous_ok {
        None => changed.push("no earlier check is known in which it was well".to_owned()),
        Some(ok) => {
            let seconds = incident.since.since(ok.at) / 1000;
            changed.push(format!("well at {}, bad {seconds} s later at {}", ok.at, incident.since));
            if ok.version != incident.first_evidence.version {
                let (before, after) = (&ok.version, &incident.first_evidence.version);
                changed.push(format!("the definition changed from {before} to {after}"));
            }
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
    let shown = |value: Option<&Value>| {
        value.map_or_else(|| "nothing".to_owned(), |value| cut(&value.to_string(), SHOWN_MAX))
    };
    let differ = names.into_iter().filter(|name| now.get(*name) != then.get(*name));
    differ
        .take(CHANGES_MAX)
        .map(|name| {
            let (before, after) = (shown(then.get(name)), shown(now.get(name)));
            format!("{name}: {before} then, {after} at last")
        })
        .collect()
}

/// The settings by which a kind of check tells well from bad.
const JUDGING: [&str; 7] =
    ["expect", "contains", "max_age", "warn_at", "tls_expiry", "min_run", "max_run"];

fn rule(monitor: &Monitor, incident: &Incident) -> String {
    let Some(spec) = &monitor.spec else { return String::new() };
    let rule = &spec.monitor;
    match (&*incident.key, rule.on_missed) {
        (super::CHECK_KEY, _) => {
            return format!("{} checks in a row could not tell (on_error)", rule.on_error.after);
        }
        (super::MISSED_KEY, Some(missed)) => {
            return format!("{} checks that were due did not run (on_missed)", missed.after);
        }
        _ => {}
    }
    let mut words = Vec::new();
    let settings = rule.settings.parse();
    for name in JUDGING {
        if let Some(setting) = settings.get(name) {
            words.push(format!("{name} {}", plain(setting).unwrap_or_else(|| setting.to_string())));
        }
    }
    if let Some(condition) = &rule.fail_when {
        words.push(format!("fails when {condition}"));
    }
    if let Some(condition) = &rule.warn_when {
        words.push(format!("warns when {condition}"));
    }
    words.push(format!("opens after {} bad in a row (fail_after)", rule.fail_after));
    if rule.hold > 0 {
        words.push(format!("and {} s (for)", rule.hold / 1000));
    }
    words.push(format!("resolves after {} good in a row (recover_after)", rule.recover_after));
    words.push(format!("or {} checks that do not mention it (missing)", rule.missing));
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
    waits.extend(deliveries_awaited(monitor, incident));
    if let Some(at) = monitor.next_at {
        waits.push(format!("the next check at {at}"));
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
            None => "no route matches: nobody is told".to_owned(),
        }];
    };
    if incident.suppressed.is_some() {
        return waits;
    }
    if let (State::Open | State::Acknowledged, Some(from), Some(step)) =
        (incident.state, incident.told_from, route.steps.get(incident.steps as usize))
    {
        let unless = if step.unless_acked { " unless acknowledged" } else { "" };
        let (to, at) = (step.to.join(", "), from.plus_millis(step.after));
        waits.push(format!("the next step tells {to} at {at}{unless}"));
    }
    for (receiver, told) in &incident.told {
        if let Some(sequence) = told.flight {
            waits.push(format!("delivery {sequence} to {receiver} is under way"));
        } else if let Some((event, since)) = told.owed {
            let at = since.plus_millis(route.wait);
            waits.push(format!("{receiver} hears {} with its group at {at}", event.as_str()));
        } else if let Some((event, at)) = incident.due(told, route.remind)
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
