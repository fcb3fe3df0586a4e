//! What observations make of incidents: when one opens, gets worse, and is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Map;

use super::decide::Draft;
use super::definition::{MonitorDef, Severity};
use super::event::{Event, Seen};
use super::incident::{Incident, State};
use super::observation::{Observation, Status, plain};
use super::received::ALERTS_MAX;
use super::route;
use super::{CHECK_KEY, LIMIT_KEY, MISSED_KEY, is_own};
use crate::time::Timestamp;

/// Incidents of one monitor; while there are so many, no further key gets one.
pub(super) const INCIDENTS_MAX: usize = 2000;

/// Milliseconds after which a key is over that other keys' reports do not mention any more, if the
/// absence of a report is not itself good news: a day.
const NO_DATA_MAX: i64 = 24 * 3_600_000;

/// What observations say of the keys that are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    /// Nothing.
    Some,
    /// That they are not reported.
    All,
    /// That nothing at all is reported.
    Nothing,
}

/// What was seen, by a check or by somebody else.
pub(super) fn observe(
    draft: &mut Draft<'_>,
    observations: Vec<Observation>,
    coverage: Coverage,
    check: Option<u32>,
    who: Option<&str>,
) {
    let blind = blind(draft);
    let mut mentioned = BTreeSet::new();
    for mut observation in observations {
        if coverage == Coverage::Nothing && observation.status == Status::Unknown {
            continue;
        }
        mentioned.insert(observation.key.clone());
        if observation.status.is_bad() && blind {
            observation.status = Status::Unknown;
        }
        let severity = severity_of(&draft.spec().monitor, observation.status);
        judge(draft, observation, severity, check, who);
    }
    if coverage == Coverage::Some || blind {
        return;
    }
    let absent = draft.state.incidents.values().filter(|incident| {
        incident.state != State::Resolved
            && !incident.key.starts_with('#')
            && !mentioned.contains(&incident.key)
    });
    for key in absent.map(|incident| incident.key.clone()).collect::<Vec<_>>() {
        not_reported(draft, &key, coverage, check, who);
    }
}

/// A check did not report a key. Where a report is bad news by itself (the query finds what is
/// wrong), that is good news. Where the rows are measurements, nobody knows: see
/// [`MonitorDef::missing_max`].
fn not_reported(
    draft: &mut Draft<'_>,
    key: &Arc<str>,
    coverage: Coverage,
    check: Option<u32>,
    who: Option<&str>,
) {
    if draft.spec().monitor.missing_max().is_some() {
        draft.push(Event::Absent { key: key.clone(), check, no_data: false });
        return recover(draft, key, who);
    }
    let Some(incident) = draft.state.incidents.get(key) else { return };
    let (state, since) = (incident.state, incident.no_data_since);
    if since.is_none() {
        draft.push(Event::Absent { key: key.clone(), check, no_data: true });
    }
    if coverage == Coverage::Nothing {
        return;
    }
    if state == State::Pending {
        come_to_nothing(draft, key, NOT_REPORTED);
    } else if let Some(since) = since
        && draft.now.since(since) >= NO_DATA_MAX
    {
        draft.transition_to(key, State::Resolved, format!("{NOT_REPORTED} since {since}"));
    }
}

/// What became of a key that checks do not mention.
const NOT_REPORTED: &str = "not reported any more";

/// The worst of what a check saw, in the light of witnesses.
pub(super) fn worst(draft: &Draft<'_>, observations: &[Observation]) -> Status {
    let worst = observations.iter().map(|it| it.status).max().unwrap_or(Status::Ok);
    if worst.is_bad() && blind(draft) { Status::Unknown } else { worst }
}

/// Whether our own network fails, so that nothing bad can be believed.
fn blind(draft: &Draft<'_>) -> bool {
    let spec = draft.spec();
    spec.monitor.witness.iter().any(|witness| draft.state.parents_down.contains(witness))
}

/// How bad a status is, if it is bad.
pub(super) fn severity_of(monitor: &MonitorDef, status: Status) -> Option<Severity> {
    match status {
        Status::Fail => Some(monitor.severity),
        Status::Warn => Some(monitor.severity.min(Severity::Warning)),
        Status::Ok | Status::Unknown => None,
    }
}

/// A check told how things are: checks work again.
pub(super) fn answered(draft: &mut Draft<'_>) {
    for key in [CHECK_KEY, MISSED_KEY] {
        if draft.state.incidents.contains_key(key) {
            let observation = Observation { key: key.into(), ..Observation::of(Status::Ok, "") };
            judge(draft, observation, None, None, None);
        }
    }
}

/// So many checks that were due did not run, which may be an incident of its own.
pub(super) fn did_not_run(draft: &mut Draft<'_>, count: u32, reason: &str) {
    let Some(rule) = draft.spec().monitor.on_missed else { return };
    let mut attrs = Map::new();
    attrs.insert("count".to_owned(), count.into());
    let observation =
        Observation { key: MISSED_KEY.into(), attrs, ..Observation::of(Status::Fail, reason) };
    judge(draft, observation, Some(rule.severity), None, None);
}

/// A check could not tell. Nothing opens and nothing resolves, but that it cannot tell may be an
/// incident of its own.
pub(super) fn could_not_tell(draft: &mut Draft<'_>, sequence: u32) {
    let rule = draft.spec().monitor.on_error;
    let (errors, reason) = (draft.state.errors, draft.state.error.clone());
    if rule.after == 0 || errors < rule.after {
        return;
    }
    let mut attrs = Map::new();
    attrs.insert("errors".to_owned(), errors.into());
    let observation = Observation {
        key: CHECK_KEY.into(),
        attrs,
        ..Observation::of(Status::Fail, reason.unwrap_or_else(|| "unknown".into()))
    };
    judge(draft, observation, Some(rule.severity), Some(sequence), None);
}

/// An alert that somebody else has judged already.
pub(super) fn hear(draft: &mut Draft<'_>, seen: Observation, by: Option<Arc<str>>) {
    let severity = seen.severity.filter(|_| seen.status.is_bad());
    judge_of(draft, seen, severity, None, None, by);
}

/// An alert was not sent again in time.
pub(super) fn expire(draft: &mut Draft<'_>, key: &Arc<str>, why: String) {
    let Some(incident) = draft.state.incidents.get(key) else { return };
    if incident.state == State::Pending {
        return come_to_nothing(draft, key, &why);
    }
    draft.transition_to(key, State::Resolved, why);
}

/// Whether alerts are refused because too many fire.
pub(super) fn say_full(draft: &mut Draft<'_>, status: Status, text: String) {
    let severity = draft.spec().monitor.severity;
    let seen = Observation { key: LIMIT_KEY.into(), ..Observation::of(status, text) };
    judge(draft, seen, Some(severity).filter(|_| status.is_bad()), None, None);
}

/// One key was observed.
fn judge(
    draft: &mut Draft<'_>,
    observation: Observation,
    severity: Option<Severity>,
    check: Option<u32>,
    who: Option<&str>,
) {
    judge_of(draft, observation, severity, check, who, None);
}

/// One key was observed, by one of several senders.
fn judge_of(
    draft: &mut Draft<'_>,
    observation: Observation,
    severity: Option<Severity>,
    check: Option<u32>,
    who: Option<&str>,
    by: Option<Arc<str>>,
) {
    let (key, status) = (observation.key.clone(), observation.status);
    let known = draft.state.incidents.get(&key);
    let most = if draft.state.is_indexed() { ALERTS_MAX + 1 } else { INCIDENTS_MAX };
    if known.is_none() && (!status.is_bad() || draft.state.incidents.len() >= most) {
        return;
    }
    if known.is_some_and(|incident| incident.state == State::Resolved) {
        if !status.is_bad() {
            return;
        }
        draft.transition_to(
            &key,
            State::Pending,
            "bad again before all had heard that it was over",
        );
    } else if known.is_none() {
        let labels = labels(draft, &observation);
        draft.push(Event::Began { key: key.clone(), labels });
    }
    let Some(before) = draft.state.incidents.get(&key) else { return };
    let seen = Seen { by, ..seen(before, observation, severity, check) };
    let (worst, route) = (before.worst, draft.state.route_at(before, draft.now));
    draft.push(Event::Seen(Box::new(seen)));
    let after = draft.state.incidents.get(&key);
    if after.is_some_and(|it| it.steps > 0 && draft.state.route_at(it, draft.now) != route) {
        draft.push(Event::Rerouted { key: key.clone() });
    }
    match status {
        Status::Unknown => {}
        Status::Ok => recover(draft, &key, who),
        Status::Warn | Status::Fail => worsen(draft, &key, worst, who),
    }
}

/// What is new in an observation.
fn seen(
    incident: &Incident,
    observation: Observation,
    severity: Option<Severity>,
    check: Option<u32>,
) -> Seen {
    let value = observation.value.unwrap_or_default();
    let text = observation.text.unwrap_or_else(|| "".into());
    let same_value = incident.value.clone().unwrap_or_default() == value;
    let same_text = incident.text.as_deref().unwrap_or_default() == &*text;
    let same_attrs = incident.attrs == observation.attrs;
    Seen {
        key: observation.key,
        status: observation.status,
        severity,
        value: Some(value).filter(|_| !same_value),
        text: Some(text).filter(|_| !same_text),
        attrs: Some(observation.attrs).filter(|_| !same_attrs),
        check,
        until: observation.until,
        by: None,
    }
}

/// The labels of an incident that begins.
fn labels(draft: &Draft<'_>, observation: &Observation) -> BTreeMap<Arc<str>, Arc<str>> {
    if is_own(&observation.key) {
        return route::labels_without_row(&draft.spec().monitor, &observation.key);
    }
    // A column that is there and null is known to be empty.
    let column = |name: &str| match observation.attrs.get(name) {
        Some(value) => Some(plain(value).unwrap_or_default()),
        None => observation.labels.get(name).map(ToString::to_string),
    };
    let mut labels = observation.labels.clone();
    labels.extend(route::labels(&draft.spec().monitor, &observation.key, column));
    labels
}

fn worsen(draft: &mut Draft<'_>, key: &Arc<str>, worst: Severity, who: Option<&str>) {
    let (spec, now) = (draft.spec(), draft.now);
    let Some(incident) = draft.state.incidents.get(key) else { return };
    let worse = incident.worst > worst;
    match incident.state {
        State::Pending => {
            if enough(&spec.monitor, incident, now) {
                let why = why_open(incident, who);
                draft.transition_to(key, State::Open, why);
            }
        }
        State::Acknowledged | State::Snoozed if worse => {
            let kept = incident.acknowledged.as_ref().is_some_and(|it| it.until_clear);
            if !(kept && incident.state == State::Acknowledged) {
                let why =
                    format!("it got worse: {} is now {}", worst.as_str(), incident.worst.as_str());
                draft.transition_to(key, State::Open, why);
            }
        }
        State::Open | State::Acknowledged | State::Snoozed | State::Resolved => {}
    }
}

/// Whether it has been bad for long enough to be an incident.
fn enough(monitor: &MonitorDef, incident: &Incident, now: Timestamp) -> bool {
    match &*incident.key {
        CHECK_KEY | LIMIT_KEY => true,
        MISSED_KEY => {
            let at_once = incident.attrs.get("count").and_then(serde_json::Value::as_u64);
            let after = monitor.on_missed.map_or(1, |rule| rule.after);
            incident.bad >= after || at_once >= Some(after.into())
        }
        _ => incident.bad >= monitor.fail_after && now.since(incident.since) >= monitor.hold,
    }
}

fn why_open(incident: &Incident, who: Option<&str>) -> String {
    let text = incident.text.as_deref().unwrap_or(incident.status.as_str());
    let by = who.map(|who| format!(", says {who}")).unwrap_or_default();
    match incident.bad {
        1 => format!("{text}{by}"),
        times => format!("{text} ({times} times in a row){by}"),
    }
}

/// A key was well, or not mentioned: it may be over.
fn recover(draft: &mut Draft<'_>, key: &Arc<str>, who: Option<&str>) {
    let (spec, now) = (draft.spec(), draft.now);
    let own = is_own(key);
    let Some(incident) = draft.state.incidents.get(key) else { return };
    if incident.state == State::Pending {
        return come_to_nothing(draft, key, "it was well again in time");
    }
    let monitor = &spec.monitor;
    let well = incident.good >= monitor.recover_after;
    let gone = monitor.missing_max().is_some_and(|most| incident.absent >= most);
    let quiet = now.since(incident.last_bad_at) >= monitor.quiet_for;
    let settled = !incident.is_unsettled(monitor.flap.as_ref(), now);
    if !(own || (well || gone) && quiet && settled) {
        return;
    }
    let why = match (own, well) {
        (true, _) if **key == *LIMIT_KEY => "there is room for alerts again".to_owned(),
        (true, _) => "checks answer again".to_owned(),
        (_, true) if draft.state.is_indexed() => "its sender says that it is over".to_owned(),
        (_, true) => format!("well{}", who.map(|who| format!(", says {who}")).unwrap_or_default()),
        _ => match incident.no_data_since {
            Some(since) => format!("{NOT_REPORTED} since {since}"),
            None => NOT_REPORTED.to_owned(),
        },
    };
    draft.transition_to(key, State::Resolved, why);
}

/// A pending incident is none; one that some receiver still believes in is over once more.
pub(super) fn come_to_nothing(draft: &mut Draft<'_>, key: &Arc<str>, why: &str) {
    let believed = draft.state.incidents.get(key).is_some_and(Incident::concerns_receivers);
    if believed {
        draft.transition_to(key, State::Resolved, why);
    } else {
        draft.push(Event::Dropped { key: key.clone() });
    }
}
