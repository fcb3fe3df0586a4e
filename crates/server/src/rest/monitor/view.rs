//! Monitors and their incidents as JSON: names in camel case, instants in milliseconds.

use engine::monitors::{Broken, standing};
use engine::store::Head;
use kernel::alert::definition::{Kind, Recurring, Silence};
use kernel::alert::{Incident, Monitor, State};
use kernel::{Record, Timestamp};
use serde_json::{Map, Value, json};

/// Open incidents that lists of monitors show of each.
const LISTED_INCIDENTS: usize = 10;
/// Incidents of one kind (open, pending) that are shown with a monitor.
const SHOWN_INCIDENTS: usize = 100;

/// A monitor in lists.
pub(super) fn monitor(monitor: &Monitor, source: Option<&str>, now: Timestamp) -> Value {
    bounded_monitor(monitor, source, now, LISTED_INCIDENTS)
}

fn bounded_monitor(
    monitor: &Monitor,
    source: Option<&str>,
    now: Timestamp,
    incidents_max: usize,
) -> Value {
    let (open, open_count) = worst(monitor, incidents_max, |it| it.state.is_open());
    let spec = monitor.spec.as_ref();
    json!({
        "name": monitor.name(),
        "kind": spec.map(|spec| spec.monitor.kind),
        "status": standing(monitor),
        "reason": monitor.error,
        "waitsFor": waits_for(monitor, now),
        "nextCheckAt": monitor.next_at.map(Timestamp::millis),
        "lastAnswerAt": monitor.last_answer.as_ref().map(|it| it.at.millis())
            .or(monitor.beat.last_ping_at.map(Timestamp::millis)),
        "openIncidents": open,
        "openIncidentCount": open_count,
        "source": source,
    })
}

/// The worst incidents of a monitor that stand so, at most so many, those of equal severity by their
/// keys; and how many there are.
fn worst(
    monitor: &Monitor,
    most: usize,
    stands_so: impl Fn(&Incident) -> bool,
) -> (Vec<Value>, usize) {
    let mut found: Vec<&Incident> = monitor.incidents.values().filter(|it| stands_so(it)).collect();
    found.sort_by_key(|it| std::cmp::Reverse(it.severity));
    let shown = found.iter().take(most).map(|it| incident(monitor, it));
    (shown.collect(), found.len())
}

/// Everything about a monitor; of its incidents the worst hundred of each kind.
pub(super) fn whole_monitor(it: &Monitor, source: Option<&str>, now: Timestamp) -> Value {
    let mut shown = bounded_monitor(it, source, now, SHOWN_INCIDENTS);
    let (pending, pending_count) = worst(it, SHOWN_INCIDENTS, |it| !it.state.is_open());
    let spec = it.spec.as_ref();
    let millis = |at: Option<Timestamp>| at.map(Timestamp::millis);
    let more = json!({
        "version": spec.map(|spec| &spec.version),
        "origin": origin(source, spec.and_then(|spec| spec.monitor.origin.as_deref())),
        "definition": spec.map(|spec| masked(json!(spec.monitor))),
        "createdAt": it.created_at.millis(),
        "updatedAt": it.updated_at.millis(),
        "checkCount": it.check_count,
        "missedCount": it.missed_count,
        "errors": it.errors,
        "watermark": millis(it.watermark),
        "running": it.check.as_ref().map(|check| json!({
            "workflowId": it.check_execution(check.sequence),
            "startedAt": check.started_at.millis(),
            "from": check.window.from.millis(),
            "to": check.window.to.millis(),
        })),
        "heartbeat": spec.filter(|spec| spec.monitor.kind == Kind::Heartbeat).map(|_| json!({
            "expectedAt": it.beat.expected.map(|(at, _)| at.millis()),
            "lateAt": it.beat.expected.map(|(_, deadline)| deadline.millis()),
            "runningSince": it.beat.running.as_ref().map(|(since, _)| since.millis()),
            "lastPingAt": millis(it.beat.last_ping_at),
            "lastSuccessAt": millis(it.beat.last_success_at),
            "text": it.beat.text,
        })),
        "parentsDown": it.parents_down,
        "dependents": spec.map(|spec| &spec.dependents),
        "silences": it.silences.iter().map(|it| silence(it, None, now)).collect::<Vec<_>>(),
        "pending": pending,
        "pendingCount": pending_count,
    });
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    shown
}

/// Where a monitor is defined: its file, or what a client called its own, and the line there.
pub(super) fn origin(source: Option<&str>, origin: Option<&str>) -> Option<String> {
    let source = source.map(|source| source.strip_prefix("file:").unwrap_or(source));
    match (source, origin) {
        (Some(source), Some(origin)) => Some(format!("{source}, {origin}")),
        (source, origin) => source.or(origin).map(str::to_owned),
    }
}

/// Why and since when a receiver does not take what it is told.
pub(super) fn broken_receiver(broken: &Broken) -> Value {
    json!({
        "since": broken.since.millis(), "reason": broken.reason, "givenUp": broken.dead,
    })
}

/// What a monitor waits for, in words.
fn waits_for(monitor: &Monitor, now: Timestamp) -> Vec<String> {
    let mut waits = Vec::new();
    if let Some(check) = &monitor.check {
        waits.push(format!("a check has been running since {}", check.started_at));
    }
    if let Some((at, deadline)) = monitor.beat.expected {
        waits.push(format!("a call is due at {at}, and late from {deadline} on"));
    }
    if let Some(at) = monitor.next_at {
        waits.push(format!("the next check at {at}"));
    }
    if !monitor.parents_down.is_empty() {
        waits.push(format!("{} to come back", monitor.parents_down.join(", ")));
    }
    for silence in &monitor.silences {
        if let Some(until) = silence.when.in_force_until(now) {
            let until =
                if until < Timestamp::MAX { until.to_string() } else { "deleted".to_owned() };
            waits.push(format!("the silence {} to be over ({until})", silence.id));
        }
    }
    waits
}

/// An incident in lists.
pub(super) fn incident(monitor: &Monitor, incident: &Incident) -> Value {
    let millis = |at: Option<Timestamp>| at.map(Timestamp::millis);
    let told = incident.told.iter().filter(|(_, it)| it.at.is_some());
    json!({
        "id": incident.id(),
        "monitor": monitor.name(),
        "key": incident.key,
        "fingerprint": incident.fingerprint,
        "episode": incident.episode,
        "state": incident.state,
        "severity": incident.severity,
        "worst": incident.worst,
        "status": incident.status,
        "text": incident.text,
        "noDataSince": millis(incident.no_data_since),
        "value": incident.value,
        "labels": incident.labels,
        "since": incident.since.millis(),
        "openedAt": millis(incident.opened_at),
        "resolvedAt": millis(incident.resolved_at),
        "snoozedUntil": millis(incident.snoozed_until),
        "acknowledgedAt": incident.acknowledged.as_ref().map(|it| it.at.millis()),
        "acknowledgedBy": incident.acknowledged.as_ref().and_then(|it| it.who.clone()),
        "suppressed": incident.suppressed.as_ref().map(|it| &it.reason),
        "told": told.map(|(receiver, _)| receiver).collect::<Vec<_>>(),
        "nextStep": next_step(monitor, incident),
    })
}

/// The step of its route that comes by time alone, if one does.
fn next_step(monitor: &Monitor, incident: &Incident) -> Option<Value> {
    let is_acknowledged = match incident.state {
        State::Open => false,
        State::Acknowledged => true,
        _ => return None,
    };
    let route = monitor.route_of(incident).filter(|_| incident.suppressed.is_none())?;
    let (next, from) = (incident.steps as usize, incident.told_from?);
    let (at, step) = (route.due(next, from)?, route.steps.get(next)?);
    let (to, unless) = (&step.to, step.unless_acked);
    (!(unless && is_acknowledged))
        .then(|| json!({ "at": at.millis(), "to": to, "unlessAcknowledged": unless }))
}

/// An incident in lists, with what happened to it.
pub(super) fn incident_with_history(monitor: &Monitor, it: &Incident) -> Value {
    let mut shown = incident(monitor, it);
    shown["history"] = camel(json!(it.history));
    shown
}

/// An incident with what led to it.
pub(super) fn whole_incident(monitor: &Monitor, it: &Incident) -> Value {
    let mut shown = incident_with_history(monitor, it);
    shown["attrs"] = json!(it.attrs);
    shown["evidence"] = camel(json!({ "first": it.first_evidence, "latest": it.evidence,
        "previous_ok": it.previous_ok }));
    shown
}

/// The execution of a check.
pub(super) fn check(head: &Head) -> Value {
    json!({
        "workflowId": head.id.as_str(),
        "workflowName": head.name,
        "status": head.status,
        "startTime": head.created_at.millis(),
        "endTime": head.ended_at.map(Timestamp::millis),
        "reason": head.reason,
    })
}

/// A line of a ledger.
pub(super) fn line(record: &Record) -> Value {
    let mut shown = camel(record.body.parse());
    if let Value::Object(shown) = &mut shown {
        shown.insert("monitor".to_owned(), json!(record.subject));
        shown.insert("status".to_owned(), json!(record.status));
        shown.insert("at".to_owned(), json!(record.at.millis()));
    }
    shown
}

/// A silence; `source` is the file that defines it, if one does.
pub(super) fn silence(silence: &Silence, source: Option<&str>, now: Timestamp) -> Value {
    let matchers: Map<String, Value> = silence
        .matchers
        .iter()
        .map(|matcher| {
            let values = match &matcher.values[..] {
                [one] => json!(one),
                many => json!(many),
            };
            let shown = if matcher.negated { json!({ "not": values }) } else { values };
            (matcher.label.to_string(), shown)
        })
        .collect();
    let mut shown = json!({
        "id": silence.id,
        "match": matchers,
        "inForceUntil": silence.when.in_force_until(now).map(|until| {
            if until < Timestamp::MAX { json!(until.millis()) } else { json!("deleted") }
        }),
        "over": silence.when.is_over(now),
        "by": silence.by,
        "comment": silence.comment,
        "source": source,
    });
    match &silence.when {
        Recurring::Once { from, to } => {
            shown["from"] = from.millis().into();
            shown["to"] = json!(to.map(Timestamp::millis));
        }
        Recurring::Weekly { hours, tz } => {
            const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
            let bits = json!(hours.days).as_u64().unwrap_or(0);
            let days = DAYS.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
            let days: Vec<&str> = days.map(|(_, day)| *day).collect();
            let clock = |minutes: i64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
            let span = format!("{}-{}", clock(hours.from.minutes()), clock(hours.to.minutes()));
            shown["hours"] = format!("{} {span}", days.join(",")).trim().into();
            shown["tz"] = if tz.is_empty() { "UTC" } else { &**tz }.into();
        }
    }
    shown
}

/// Members whose names are the user's own.
const FREE: [&str; 6] = ["row", "attrs", "labels", "response", "value", "fallbacks"];

/// The same with names in camel case, those of users left as they are.
pub(super) fn camel(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(camel).collect(),
        Value::Object(members) => {
            let renamed = members.into_iter().map(|(name, value)| {
                let free = FREE.contains(&&*name);
                (camel_name(&name), if free { value } else { camel(value) })
            });
            Value::Object(renamed.collect())
        }
        other => other,
    }
}

fn camel_name(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
        name
    })
}

/// Settings without what may be a secret written out; references stay.
pub(super) fn masked(value: Value) -> Value {
    const SECRET: [&str; 8] =
        ["password", "token", "secret", "key", "bearer", "authorization", "sign", "url"];
    const NOT_SECRET: [&str; 2] = ["monitor_key", "dedup_key"];
    match value {
        Value::Array(items) => items.into_iter().map(masked).collect(),
        Value::Object(members) => {
            let shown = members.into_iter().map(|(name, value)| {
                let lower = name.to_ascii_lowercase();
                let secret = SECRET.iter().any(|word| lower.contains(word));
                let shown = match &value {
                    Value::String(text)
                        if secret
                            && !NOT_SECRET.contains(&&*lower)
                            && !text.contains("${")
                            && (lower != "url" || may_hold_credentials(text)) =>
                    {
                        "***".into()
                    }
                    Value::Array(several) if secret => several.iter().map(unless_open).collect(),
                    _ => masked(value),
                };
                (name, shown)
            });
            Value::Object(shown.collect())
        }
        other => other,
    }
}

/// One of several secrets: shown only if it is a reference.
fn unless_open(value: &Value) -> Value {
    match value {
        Value::String(text) if !text.contains("${") => "***".into(),
        other => masked(other.clone()),
    }
}

/// Addresses of chat hooks are secrets as a whole; plain ones are not.
fn may_hold_credentials(url: &str) -> bool {
    url.contains('@') || url.contains('?') || url.contains("hook")
}
