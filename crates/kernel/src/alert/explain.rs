//! Why there is an incident, what was done about it, and what it waits for.

use serde::Serialize;
use serde_json::{Map, Value};

use super::definition::Severity;
use super::event::Window;
use super::incident::{Entry, Evidence, Incident, State};
use super::monitor::{Delivery, Monitor};
use crate::time::Timestamp;

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

fn rule(monitor: &Monitor, incident: &Incident) -> String {
    let Some(spec) = &monitor.spec else { return String::new() };
    let rule = &spec.monitor;
    if &*incident.key == super::CHECK_KEY {
        return format!("{} checks in a row could not tell (on_error)", rule.on_error.after);
    }
    let mut words = Vec::new();
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
        return vec!["no route matches: nobody is told".to_owned()];
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
