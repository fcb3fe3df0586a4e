//! What schedules will do, computed by the code that does it.

use axum::Json;
use axum::extract::State;
use kernel::Timestamp;
use kernel::cron::{Cron, DstRule, Zone, ZoneError};
use kernel::schedule::{Fate, Limits, Schedule};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::{Api, Path, Problem, Query, flawed, read};
use crate::rest::query::instant;

/// Instants in one preview.
const LIMIT_MAX: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
pub(super) struct FewParams {
    /// Six fields, or a macro such as `@daily`.
    cron_expression: Option<String>,
    /// Nothing before: milliseconds since 1970, or a time such as 2026-01-31T08:00:00Z.
    schedule_start_time: Option<String>,
    /// Nothing after.
    schedule_end_time: Option<String>,
    /// How many; 5 by default, at most 1000.
    limit: Option<usize>,
    /// The time zone; UTC by default.
    zone_id: Option<String>,
    /// `once` or `spring`: how to treat times that daylight saving changes leave out or repeat.
    dst: Option<String>,
}

/// Lists the next times of a cron expression.
#[utoipa::path(
    get, path = "/api/scheduler/nextFewSchedules", tag = "scheduler", params(FewParams),
    responses(
        (status = 200, description = "Milliseconds since 1970", body = Vec<i64>),
        (status = 400, description = "Invalid expression; the response says why"),
    )
)]
pub(super) async fn few(
    State(api): State<Api>,
    Query(params): Query<FewParams>,
) -> Result<Json<Vec<i64>>, Problem> {
    let text = params.cron_expression.unwrap_or_default();
    let cron =
        Cron::parse(&text).map_err(|error| flawed("cronExpression", error.message, error.hint))?;
    let zone = Zone::named(params.zone_id.as_deref().unwrap_or("UTC"))
        .map_err(|error| flawed("zoneId", error.to_string(), ZoneError::HINT.to_owned()))?;
    let rule = match params.dst.as_deref().map(DstRule::parse) {
        None => DstRule::Once,
        Some(Some(rule)) => rule,
        Some(None) => {
            let message = "dst: expected once or spring".to_owned();
            return Err(flawed("dst", message, "Leave it out for once.".to_owned()));
        }
    };
    let bound = |name: &str, text: Option<String>| -> Result<Option<Timestamp>, Problem> {
        let bound = text.map(|text| instant(name, &text)).transpose()?;
        Ok(bound.filter(|at| *at != Timestamp::default()))
    };
    let start = bound("scheduleStartTime", params.schedule_start_time)?;
    let end = bound("scheduleEndTime", params.schedule_end_time)?;
    let now = api.engine.now();
    let mut after = start.map_or(now, |start| now.max(start.plus_millis(-1)));
    let mut found = Vec::new();
    while found.len() < params.limit.unwrap_or(5).min(LIMIT_MAX)
        && let Some(next) = cron.next(after, &zone, rule)
        && end.is_none_or(|end| next <= end)
    {
        found.push(next.millis());
        after = next;
    }
    Ok(Json(found))
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct NextParams {
    /// How many; 5 by default, at most 1000.
    limit: Option<usize>,
    /// Only those later than this: milliseconds since 1970, or a time such as 2026-01-31T08:00:00Z.
    after: Option<String>,
    /// Only those earlier than this.
    before: Option<String>,
}

/// Lists the next firings of a schedule; none while it is paused.
#[utoipa::path(
    get, path = "/api/scheduler/schedules/{name}/next", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule"), NextParams),
    responses(
        (status = 200, description = "Instants with the expressions that name them", body = Vec<serde_json::Value>),
        (status = 400, description = "A time is invalid"),
        (status = 404, description = "Not found"),
    )
)]
pub(super) async fn of_schedule(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<NextParams>,
) -> Result<Json<Vec<Value>>, Problem> {
    let limit = params.limit.unwrap_or(5).min(LIMIT_MAX);
    let bound = |name, text: Option<String>| text.map(|text| instant(name, &text)).transpose();
    let (after, before) = (bound("after", params.after)?, bound("before", params.before)?);
    let after = after.map_or(api.engine.now(), |after| after.max(api.engine.now()));
    let planned = read(&api.engine, &name, |state| state.upcoming(after, limit)).await?;
    let planned = planned.into_iter().filter(|it| before.is_none_or(|before| it.at < before));
    let shown = planned.map(|planned| {
        json!({
            "scheduledTime": planned.at.millis(),
            "cronExpression": planned.cron.as_ref(),
            "zoneId": planned.zone.as_ref(),
        })
    });
    Ok(Json(shown.collect()))
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct OutageParams {
    /// Start of the outage: milliseconds since 1970, or a time such as 2026-01-31T08:00:00Z.
    from: String,
    /// End of the outage; at most 31 days later.
    to: String,
}

/// How long an outage may be, in milliseconds.
const OUTAGE_MAX: i64 = 31 * 86_400_000;

/// Shows what would happen to the firings of a schedule if the server were down for a while.
/// Changes nothing: it is evaluated on a copy of the schedule.
#[utoipa::path(
    get, path = "/api/scheduler/schedules/{name}/outage", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule"), OutageParams),
    responses(
        (status = 200, description = "Firings with their `fate`: `MADE_UP`, `WAITS`, `SKIPPED` or `MISSED`",
            body = Vec<serde_json::Value>),
        (status = 400, description = "The times are invalid"),
        (status = 404, description = "Not found"),
    )
)]
pub(super) async fn outage(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<OutageParams>,
) -> Result<Json<Vec<Value>>, Problem> {
    let away = away(&params.from, &params.to)?;
    read(&api.engine, &name, |state| fates(state, away)).await.map(Json)
}

/// When a server would be away.
///
/// # Errors
/// The times are not understood, or no outage.
pub(super) fn away(from: &str, to: &str) -> Result<(Timestamp, Timestamp), Problem> {
    let (from, to) = (instant("from", from)?, instant("to", to)?);
    if to <= from || to.since(from) > OUTAGE_MAX {
        return Err(Problem::bad_request("an outage ends after it begins, within 31 days"));
    }
    Ok((from, to))
}

/// What would become of the firings of a schedule meanwhile.
pub(super) fn fates(state: &Schedule, (from, to): (Timestamp, Timestamp)) -> Vec<Value> {
    let found = state.outage(from, to, &Limits::default());
    let shown = found.into_iter().map(|it| {
        json!({
            "fate": word(it.fate), "scheduledTime": it.first.millis(),
            "lastScheduledTime": it.last.millis(), "count": it.count, "reason": it.reason,
        })
    });
    shown.collect()
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::MadeUp => "MADE_UP",
        Fate::Waits => "WAITS",
        Fate::Skipped => "SKIPPED",
        Fate::Missed => "MISSED",
    }
}
