//! What a firing tells: the marks in the input of what it starts, and its line in the ledger.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::spec::ScheduleSpec;
use super::state::{Firing, Schedule};
use crate::json::Json;
use crate::machine::Record;
use crate::time::Timestamp;

/// The ledger of firings.
const LEDGER: &str = "firing";

/// Characters of a reason that are kept.
const REASON_MAX: usize = 999;

/// The request with the marks that tell a workflow what started it.
pub(super) fn stamped(state: &Schedule, firing: &Firing) -> Json {
    let Value::Object(mut request) = firing.request.parse() else { return firing.request.clone() };
    let mut input = match request.remove("input") {
        Some(Value::Object(input)) => input,
        _ => Map::new(),
    };
    let mut mark = |name: &str, value: Value| input.insert(name.to_owned(), value);
    mark("_startedByScheduler", name(state).as_ref().into());
    mark("_scheduledTime", firing.planned.millis().into());
    mark("_executedTime", firing.asked_at.millis().into());
    mark("_executionId", state.firing_id(firing.number).as_str().into());
    if let (Some(cron), Some(zone)) = (&firing.cron, &firing.zone) {
        mark("_schedulerCron", format!("{cron} {zone}").into());
    }
    request.insert("input".to_owned(), Value::Object(input));
    Json::of(&request)
}

/// The line of a firing that may start something.
pub(super) fn line(
    state: &Schedule,
    firing: &Firing,
    status: &'static str,
    reason: Option<&str>,
) -> Record {
    let mut body = body(state, firing.number, firing.cause.as_str());
    body["workflowId"] = state.run_of(firing).as_str().into();
    body["workflowName"] = member(&firing.request, "name");
    body["executedAt"] = firing.asked_at.millis().into();
    body["plannedAt"] = firing.planned.millis().into();
    body["request"] = firing.request.parse();
    let texts = [("cron", &firing.cron), ("zone", &firing.zone), ("by", &firing.by)];
    for (name, text) in texts {
        if let Some(text) = text {
            body[name] = text.as_ref().into();
        }
    }
    record(state, firing.number, firing.planned, status, body, reason)
}

/// The line of firings that started nothing: one, or all from `planned` to `last`.
pub(super) struct Idle<'a> {
    pub(super) number: u32,
    pub(super) planned: Timestamp,
    pub(super) last: Timestamp,
    pub(super) count: usize,
    pub(super) status: &'static str,
    pub(super) cause: &'static str,
    pub(super) reason: &'a str,
}

/// The line of firings that started nothing.
pub(super) fn idle(state: &Schedule, spec: Option<&ScheduleSpec>, idle: &Idle<'_>) -> Record {
    let mut body = body(state, idle.number, idle.cause);
    body["plannedAt"] = idle.planned.millis().into();
    if let Some(spec) = spec {
        body["workflowName"] = member(&spec.start_workflow_request, "name");
    }
    if idle.count > 1 {
        body["count"] = idle.count.into();
        body["lastPlannedAt"] = idle.last.millis().into();
    }
    record(state, idle.number, idle.planned, idle.status, body, Some(idle.reason))
}

fn body(state: &Schedule, number: u32, cause: &str) -> Value {
    json!({ "number": number, "schedule": name(state), "cause": cause })
}

fn record(
    state: &Schedule,
    number: u32,
    at: Timestamp,
    status: &'static str,
    mut body: Value,
    reason: Option<&str>,
) -> Record {
    if let Some(reason) = reason {
        body["reason"] = reason.chars().take(REASON_MAX).collect::<String>().into();
    }
    Record {
        ledger: LEDGER,
        key: state.firing_id(number).as_str().into(),
        subject: name(state),
        at,
        status: status.into(),
        body: body.into(),
    }
}

/// The schedule's name, also after it is deleted.
fn name(state: &Schedule) -> Arc<str> {
    state.spec.as_ref().map_or_else(|| state.id.name().into(), |spec| spec.name.clone())
}

fn member(request: &Json, name: &str) -> Value {
    request.parse().get(name).cloned().unwrap_or(Value::Null)
}
