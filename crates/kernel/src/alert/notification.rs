//! What a receiver is given, and what the ledgers keep: incidents as JSON.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::definition::roster::ON_CALL;
use super::definition::{MonitorDef, Route, Severity};
use super::explain;
use super::incident::{Evidence, Incident, NotificationEvent, State};
use super::monitor::{Delivery, Monitor};
use super::observation::{Status, plain};
use super::template::Template;
use super::{CHECK_KEY, MISSED_KEY, fingerprint};
use crate::time::Timestamp;

/// Everything that a receiver may want to say of a delivery.
///
/// `dedup_key` is the fingerprint of the incident, or of the group. A receiver that keeps one alert
/// per key sends one request for each of the group's `members`, each of which bears its own.
pub(super) fn payload(
    monitor: &Monitor,
    delivery: &Delivery,
    route: &Route,
    now: Timestamp,
) -> Value {
    let incidents: Vec<&Incident> =
        delivery.incidents.iter().filter_map(|(key, it)| monitor.numbered(key, *it)).collect();
    let members: Vec<Value> = incidents.iter().map(|it| member(monitor, it)).collect();
    let mut payload = match &members[..] {
        [Value::Object(one)] => one.clone(),
        _ => together(&incidents),
    };
    let spec = monitor.spec.as_deref();
    let mut set = |name: &str, value: Value| payload.insert(name.to_owned(), value);
    set("event", delivery.event.as_str().into());
    set("delivery", format!("{}/{}", monitor.name(), delivery.sequence).into());
    set("at", now.to_string().into());
    set("monitor", monitor.name().into());
    set("kind", json!(spec.map(|spec| spec.monitor.kind)));
    set("version", json!(spec.map(|spec| &spec.version)));
    let people = people(&incidents, &delivery.receiver);
    if !people.is_empty() {
        set("on_call", json!(people));
    }
    if let Some(reference) = reference(&incidents, &delivery.receiver) {
        set("reference", json!(reference));
    }
    if let Some(group) = &delivery.group {
        let display = route.display.get(group).unwrap_or(group);
        set("dedup_key", json!(fingerprint(monitor.name(), &format!("#group:{group}"))));
        set("title", title_of_group(monitor, delivery, display, incidents.len()).into());
        set("group", group_of(monitor, delivery, route, group, display, &members));
    }
    Value::Object(payload)
}

/// The people on call who are reached by a receiver.
fn people<'a>(incidents: &[&'a Incident], receiver: &str) -> BTreeSet<&'a Arc<str>> {
    let told = incidents.iter().filter_map(|it| it.told.get(receiver));
    told.flat_map(|told| &told.people).collect()
}

/// What a receiver calls the message that told of these first; none if there were several.
fn reference<'a>(incidents: &[&'a Incident], receiver: &str) -> Option<&'a Arc<str>> {
    let mut references =
        incidents.iter().map(|it| it.told.get(receiver).and_then(|it| it.reference.as_ref()));
    let first = references.next()??;
    references.all(|other| other == Some(first)).then_some(first)
}

/// What a receiver is given only to see whether notifications arrive.
pub(super) fn test_notification(receiver: &str, who: Option<&str>, now: Timestamp) -> Value {
    json!({
        "event": NotificationEvent::Test.as_str(),
        "dedup_key": fingerprint("#test", receiver),
        "delivery": format!("#test/{receiver}/{}", now.millis()),
        "at": now.to_string(),
        "monitor": "test",
        "key": "",
        "severity": Severity::Info.as_str(),
        "title": format!("Test of the receiver {receiver}"),
        "text": "Nothing is wrong. Somebody wanted to know whether this arrives.",
        "since": now.to_string(),
        "labels": {},
        "attrs": {},
        "who": who,
    })
}

fn title_of_group(monitor: &Monitor, delivery: &Delivery, display: &str, count: usize) -> String {
    let what = match delivery.event {
        NotificationEvent::Digest => {
            let rotation = display.strip_prefix(ON_CALL).unwrap_or(display);
            return format!("{}: {count} open at the hand-over of {rotation}", monitor.name());
        }
        NotificationEvent::Resolve => "recovered",
        NotificationEvent::Acknowledge => "acknowledged",
        NotificationEvent::Reminder => "still failing",
        NotificationEvent::Trigger | NotificationEvent::Escalation | NotificationEvent::Test => {
            "failing"
        }
    };
    let place = if display.is_empty() { String::new() } else { format!(" in {display}") };
    format!("{}: {count} {what}{place}", monitor.name())
}

fn group_of(
    monitor: &Monitor,
    delivery: &Delivery,
    route: &Route,
    group: &Arc<str>,
    display: &Arc<str>,
    members: &[Value],
) -> Value {
    let told = |incident: &&Incident| {
        incident.state.is_open()
            && incident.told.contains_key(&delivery.receiver)
            && monitor.group_of(incident, route) == **group
    };
    json!({
        "key": group,
        "display": display,
        "members": members,
        // Zero: nothing of the group that this receiver was told of is open any more.
        "open_count": monitor.incidents.values().filter(told).count(),
    })
}

/// What several incidents have in common.
fn together(incidents: &[&Incident]) -> Map<String, Value> {
    let severity = incidents.iter().map(|it| it.severity).max().unwrap_or(Severity::Info);
    let since = incidents.iter().map(|incident| incident.since).min();
    let mut labels = incidents.first().map(|it| it.labels.clone()).unwrap_or_default();
    labels.retain(|name, value| incidents.iter().all(|it| it.labels.get(name) == Some(value)));
    let mut out = Map::new();
    out.insert("severity".to_owned(), severity.as_str().into());
    out.insert("labels".to_owned(), json!(labels));
    out.insert("since".to_owned(), json!(since.map(|since| since.to_string())));
    out
}

/// One incident.
fn member(monitor: &Monitor, incident: &Incident) -> Value {
    let template = |pick: fn(&MonitorDef) -> &Option<Arc<str>>| {
        let text = pick(&monitor.spec.as_ref()?.monitor).as_deref()?;
        Some(render(monitor, incident, text))
    };
    let title = match template(|it| &it.summary) {
        // The author's words are about what is watched, not about a check that cannot tell.
        Some(summary) if &*incident.key == CHECK_KEY => {
            format!("{summary} (the check cannot tell)")
        }
        Some(summary) if incident.no_data_since.is_some() => {
            format!("{summary} (not reported any more)")
        }
        Some(summary) => summary,
        None => default_title(monitor, incident),
    };
    // Whom a step called is no reason of what is told.
    let last = incident.history.iter().rev().find(|it| !it.what.starts_with(ON_CALL));
    json!({
        "dedup_key": incident.fingerprint,
        "incident": incident.id(),
        "key": incident.key,
        "episode": incident.episode,
        "state": incident.state,
        "severity": incident.severity,
        "status": if incident.no_data_since.is_some() { Status::Unknown } else { incident.status },
        "title": title,
        "text": words(incident),
        "description": template(|it| &it.description),
        "runbook": template(|it| &it.runbook),
        "value": incident.value,
        "unit": unit(monitor).filter(|_| incident.value.is_some()),
        "zone": monitor.spec.as_ref().map(|spec| &spec.monitor.schedule.tz)
            .filter(|zone| !zone.is_empty()),
        "definition_changed": explain::definition_changed(monitor, incident),
        "labels": incident.labels,
        "attrs": incident.attrs,
        "since": incident.since.to_string(),
        "opened_at": incident.opened_at.map(|at| at.to_string()),
        "resolved_at": incident.resolved_at.map(|at| at.to_string()),
        "acknowledged_by": incident.acknowledged.as_ref().and_then(|it| it.who.clone()),
        "who": last.and_then(|entry| entry.who.clone()),
        "why": last.and_then(|entry| entry.why.clone()),
        "provenance": {
            "first": evidence(&incident.first_evidence),
            "last": evidence(&incident.evidence),
            "previous_ok": incident.previous_ok.as_ref().map(evidence),
        },
    })
}

/// What is wrong with what, in a line: `shop down: 503, expected status < 400`.
fn default_title(monitor: &Monitor, incident: &Incident) -> String {
    let name = monitor.name();
    let what = match (incident.no_data_since, incident.text.as_deref()) {
        (Some(_), _) => ": not reported any more".to_owned(),
        (None, text) => text.map(|text| format!(": {text}")).unwrap_or_default(),
    };
    if monitor.broken_receiver(incident).is_some() {
        return incident.text.as_deref().unwrap_or(name).to_owned();
    }
    let subject = match &*incident.key {
        "" => name.to_owned(),
        CHECK_KEY if incident.state == State::Resolved => {
            return format!("{name} can be checked again");
        }
        MISSED_KEY if incident.state == State::Resolved => {
            return format!("{name} is checked again");
        }
        CHECK_KEY => return format!("{name} cannot be checked{what}"),
        MISSED_KEY => return format!("{name} was not checked{what}"),
        key => format!("{name} {}", shown_key(key)),
    };
    if incident.state == State::Resolved && incident.status.is_bad() {
        // Nobody has seen it well: what was seen last is no news, why it is over is.
        let end = incident.history.iter().rev().find(|it| *it.what == *State::Resolved.as_str());
        let why = end.and_then(|end| end.why.as_deref()).unwrap_or("resolved");
        return format!("{subject} is over: {why}");
    }
    if incident.state == State::Resolved {
        return format!("{subject} recovered{what}");
    }
    let server = monitor.spec.as_ref().is_some_and(|spec| spec.monitor.watches_server());
    let how = match (incident.status, server) {
        (Status::Warn, _) => "degraded",
        (_, true) => "down",
        (_, false) => "failing",
    };
    format!("{subject} {how}{what}")
}

/// A key as people read it: without the escapes that keep its parts apart.
fn shown_key(key: &str) -> String {
    let (mut shown, mut characters) = (String::new(), key.chars().peekable());
    while let Some(c) = characters.next() {
        match c {
            '\\' if characters.peek() == Some(&':') => shown.extend(characters.next()),
            ':' => shown.push_str(", "),
            c => shown.push(c),
        }
    }
    shown
}

/// What a value is counted in, if that is known.
fn unit(monitor: &Monitor) -> Option<&str> {
    let own = &monitor.spec.as_ref()?.monitor;
    own.unit.as_deref().or_else(|| own.watches_server().then_some("ms"))
}

/// What is known of an incident in words; that it is not reported any more is no news of how it is.
pub(super) fn words(incident: &Incident) -> Option<String> {
    let last = incident.text.as_deref();
    let Some(since) = incident.no_data_since else { return last.map(str::to_owned) };
    let last = last.map(|last| format!("; last report: {last}")).unwrap_or_default();
    Some(format!("not reported any more since {since}{last}"))
}

/// Where something comes from.
pub(super) fn evidence(evidence: &Evidence) -> Value {
    json!({
        "execution": evidence.execution,
        "step": evidence.step,
        "at": evidence.at.to_string(),
        "version": evidence.version,
    })
}

/// A template about an incident.
fn render(monitor: &Monitor, incident: &Incident, text: &str) -> String {
    let Ok(template) = Template::parse(text) else { return text.to_owned() };
    template.render(&|name| match name {
        "monitor" => Some(monitor.name().to_owned()),
        "key" => Some(incident.key.to_string()),
        "severity" => Some(incident.severity.as_str().to_owned()),
        "state" => Some(incident.state.as_str().to_owned()),
        "status" => Some(incident.status.as_str().to_owned()),
        "since" => Some(incident.since.to_string()),
        "text" => Some(words(incident).unwrap_or_default()),
        "value" => Some(incident.value.as_ref().and_then(plain).unwrap_or_default()),
        "unit" => Some(unit(monitor).unwrap_or_default().to_owned()),
        // A column that is there and null is known to be empty.
        _ => match incident.attrs.get(name) {
            Some(value) => Some(plain(value).unwrap_or_default()),
            None => incident.labels.get(name).map(ToString::to_string),
        },
    })
}

/// An incident in its ledger.
pub(super) fn ledger_line(incident: &Incident) -> Value {
    json!({
        "id": incident.id(),
        "fingerprint": incident.fingerprint,
        "key": incident.key,
        "episode": incident.episode,
        "state": incident.state,
        "severity": incident.severity,
        "worst": incident.worst,
        "labels": incident.labels,
        "text": words(incident),
        "value": incident.value,
        "since": incident.since.millis(),
        "opened_at": incident.opened_at.map(Timestamp::millis),
        "resolved_at": incident.resolved_at.map(Timestamp::millis),
        "acknowledged": incident.acknowledged,
        "evidence": evidence(&incident.first_evidence),
        "history": incident.history,
    })
}

/// A delivery in its ledger.
pub(super) fn delivery_line(monitor: &Monitor, delivery: &Delivery) -> Value {
    let known =
        |(key, number): &(Arc<str>, u32)| format!("{}-{number}", fingerprint(monitor.name(), key));
    let incidents: Vec<&Incident> =
        delivery.incidents.iter().filter_map(|(key, it)| monitor.numbered(key, *it)).collect();
    let people = people(&incidents, &delivery.receiver);
    let mut line = json!({
        "sequence": delivery.sequence,
        "title": delivery.title,
        "receiver": delivery.receiver,
        "event": delivery.event,
        "group": delivery.group,
        "keys": delivery.incidents.iter().map(|(key, _)| key).collect::<Vec<_>>(),
        "incidents": delivery.incidents.iter().map(known).collect::<Vec<_>>(),
        "execution": monitor.delivery_execution(delivery.sequence),
        "ended_at": delivery.ended_at.map(Timestamp::millis),
        "reason": delivery.reason,
        "reference": delivery.reference,
    });
    if !people.is_empty() {
        line["on_call"] = json!(people);
    }
    line
}
