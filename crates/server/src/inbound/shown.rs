//! Incidents as Alertmanager shows alerts, alone and in groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::Timestamp;
use kernel::alert::definition::Route;
use kernel::alert::{Incident, LIMIT_KEY, Monitor, STARTS, State};
use serde_json::{Map, Value, json};

/// Who is named as the receiver of what is told to nobody: everything has one in Alertmanager.
pub(super) const NOBODY: &str = "nobody";

/// The annotation under which the link of an alert's sender is kept.
pub(super) const LINK: &str = "generatorURL";

type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// An alert that is shown.
pub(super) struct Shown {
    pub(super) value: Value,
    /// Nothing keeps it quiet.
    pub(super) is_active: bool,
    pub(super) is_silenced: bool,
    pub(super) is_inhibited: bool,
    /// The receivers in whose groups it is.
    pub(super) groups_of: Vec<Arc<str>>,
    /// The labels of its group.
    group: Labels,
}

/// Whether an incident is an alert that fires.
pub(super) fn is_alert(incident: &Incident) -> bool {
    incident.state != State::Resolved && *incident.key != *LIMIT_KEY
}

/// An alert that fires.
pub(super) fn alert(monitor: &Monitor, incident: &Incident, now: Timestamp) -> Shown {
    let route = monitor.route_of(incident).unwrap_or_default();
    let receivers = receivers(&route);
    let silenced: Vec<&str> = monitor.silenced_by(incident, now).map(|it| &*it.id).collect();
    let inhibited = monitor.inhibited_by();
    let is_snoozed = incident.state == State::Snoozed;
    let is_quiet = is_snoozed || !silenced.is_empty() || !inhibited.is_empty();
    let mut annotations: Map<String, Value> = incident.attrs.clone();
    let link = annotations.remove(LINK).unwrap_or_default();
    // Its sender knows longer than we do.
    let starts = annotations.remove(STARTS);
    let starts = starts.and_then(|it| it.as_str()?.parse::<jiff::Timestamp>().ok());
    let starts = starts.map_or(incident.since, |at| incident.since.min(at.into()));
    let until = incident.until.filter(|until| *until < Timestamp::MAX);
    // An alert has an end everywhere; who asks again sees a later one.
    let ends = until.unwrap_or_else(|| now.plus_millis(kernel::alert::RESOLVE_TIMEOUT));
    let value = json!({
        "annotations": annotations,
        "endsAt": ends.to_string(),
        "fingerprint": incident.fingerprint.get(..16),
        "generatorURL": link.as_str().unwrap_or_default(),
        "labels": incident.labels,
        "receivers": receivers.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "startsAt": starts.to_string(),
        "status": {
            "inhibitedBy": inhibited,
            "silencedBy": silenced,
            "state": if is_quiet { "suppressed" } else { "active" },
        },
        "updatedAt": incident.last_bad_at.to_string(),
    });
    let (is_silenced, is_inhibited) = (is_snoozed || !silenced.is_empty(), !inhibited.is_empty());
    let group = group(&route, incident);
    let groups_of = if receivers.is_empty() { vec![NOBODY.into()] } else { receivers };
    Shown { is_active: !is_quiet, is_silenced, is_inhibited, groups_of, group, value }
}

/// Those whom a route tells, in order.
pub(super) fn receivers(route: &Route) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for name in route.steps.iter().flat_map(|step| &step.to) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// The labels with which an alert is told; all of them if it is told alone.
fn group(route: &Route, incident: &Incident) -> Labels {
    let Some(names) = &route.group_by else { return incident.labels.clone() };
    let named =
        names.iter().filter_map(|name| Some((name.clone(), incident.labels.get(name)?.clone())));
    named.collect()
}

/// The groups of alerts, one for each receiver and the labels with which it is told.
pub(super) fn groups(alerts: Vec<Shown>) -> Vec<Value> {
    let mut groups: BTreeMap<(Arc<str>, Labels), Vec<Value>> = BTreeMap::new();
    for alert in alerts {
        for receiver in alert.groups_of {
            let place = (receiver, alert.group.clone());
            groups.entry(place).or_default().push(alert.value.clone());
        }
    }
    let group = |((receiver, labels), alerts)| json!({ "labels": labels, "receiver": { "name": receiver }, "alerts": alerts });
    groups.into_iter().map(group).collect()
}
