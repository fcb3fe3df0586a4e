//! Schedules and their firings as the protocol shows them.

use kernel::Record;
use kernel::schedule::{CatchUp, Cause, Order, Schedule};
use serde_json::{Map, Value, json};

/// The protocol's `WorkflowSchedule`, with our additions.
pub(super) fn schedule(state: &Schedule) -> Value {
    let Some(spec) = &state.spec else { return Value::Null };
    let Ok(Value::Object(mut shown)) = serde_json::to_value(spec) else { return Value::Null };
    let mut set = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    set("createTime", state.created_at.millis().into());
    set("updatedTime", state.updated_at.millis().into());
    set("paused", state.paused.into());
    set("runCatchupScheduleInstances", (spec.catch_up == CatchUp::All).into());
    if let Some(next) = state.upcoming(state.cursor, 1).first() {
        set("nextRunTime", next.at.millis().into());
    }
    if let Some(backfill) = &state.backfill {
        let open = state.open.values().filter(|it| it.cause == Cause::Backfill).count();
        let order = if backfill.order == Order::Newest { "newest" } else { "oldest" };
        // What lies between is still to be run.
        let left = json!({
            "after": backfill.cursor.millis(), "to": backfill.to.millis(), "order": order,
            "atOnce": backfill.at_once, "open": open, "leftOut": backfill.except.len(),
            "by": backfill.by,
        });
        set("backfill", left);
    }
    if let Some(usual) = state.watched.usual() {
        let usual = json!({
            "medianMs": usual.median, "longestMs": usual.longest, "runs": usual.count,
        });
        set("usual", usual);
    }
    if !state.watched.unmet.is_empty() {
        let unmet = state.watched.unmet.keys().map(|what| what.as_str());
        set("unmet", unmet.collect::<Vec<_>>().into());
    }
    match &state.paused_reason {
        Some(reason) => _ = set("pausedReason", reason.as_ref().into()),
        None => _ = shown.remove("pausedReason"),
    }
    Value::Object(shown)
}

/// The protocol's `WorkflowScheduleExecution`, with our additions.
pub(super) fn firing(record: &Record) -> Value {
    let body = match record.body.parse() {
        Value::Object(body) => body,
        _ => Map::new(),
    };
    let member = |name: &str| body.get(name).cloned().unwrap_or(Value::Null);
    let mut shown = json!({
        "executionId": record.key.as_ref(),
        "scheduleName": record.subject.as_ref(),
        "scheduledTime": record.at.millis(),
        "executionTime": member("executedAt"),
        "workflowName": member("workflowName"),
        "workflowId": member("workflowId"),
        "state": record.status.as_ref(),
        "zoneId": member("zone"),
        "reason": member("reason"),
        "startWorkflowRequest": member("request"),
        "cronExpression": member("cron"),
        "cause": member("cause"),
        "triggeredBy": member("by"),
        "count": member("count"),
        "lastScheduledTime": member("lastPlannedAt"),
    });
    if let Value::Object(shown) = &mut shown {
        shown.retain(|_, value| !value.is_null());
    }
    shown
}
