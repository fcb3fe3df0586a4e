//! `/api/oncall`: who is on call now and at other times, by the function that routes ask.

use axum::Json;
use axum::extract::State;
use kernel::Timestamp;
use kernel::access::Permission;
use kernel::alert::definition::{Roster, nearest_hint};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::extract::{Path, Query};
use super::super::metadata::apart;
use super::super::query::instant;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

const DAY: i64 = 86_400_000;
/// What is answered without `to`: four weeks.
const SPAN: i64 = 28 * DAY;
/// The longest stretch of time that is answered: two years.
const SPAN_MAX: i64 = 732 * DAY;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(on_call)).on(Permission::Read, routes!(shifts))
}

#[derive(Debug, Deserialize, IntoParams)]
struct AtParams {
    /// When: milliseconds since 1970, or a time such as 2026-12-24T03:00:00Z; now by default.
    at: Option<String>,
}

/// Shows who is on call in each rotation, and who comes next.
#[utoipa::path(
    operation_id = "list_on_call", get, path = "/api/oncall", tag = "receivers", params(AtParams),
    responses(
        (status = 200, description = "`results`: of each rotation its name and zone, `people`, `since`, \
            `until`, the `layer` that decides, `why`, and the shift that is `next`",
            body = serde_json::Value),
        (status = 400, description = "Invalid time; the response says why"),
    )
)]
async fn on_call(
    State(api): State<Api>,
    Query(params): Query<AtParams>,
) -> Result<Json<Value>, Problem> {
    let at = time("at", params.at.as_deref())?.unwrap_or_else(|| api.engine.now());
    let roster = api.engine.monitors_file().roster;
    let results = apart(move || Ok(present(&roster, at))).await?;
    Ok(Json(json!({ "at": at.to_string(), "results": results })))
}

/// Who is on call in each rotation.
fn present(roster: &Roster, at: Timestamp) -> Vec<Value> {
    let shifts = roster.rotations.iter().filter_map(|(name, rotation)| {
        let shift = roster.on_call(name, at)?;
        let next = shift.until.and_then(|until| roster.on_call(name, until));
        let mut shown = json!(shift);
        shown["rotation"] = json!(name);
        shown["tz"] = json!(rotation.tz);
        shown["next"] = json!(next);
        Some(shown)
    });
    shifts.collect()
}

#[derive(Debug, Deserialize, IntoParams)]
struct SpanParams {
    /// Start: milliseconds since 1970, or a time; default: now.
    from: Option<String>,
    /// End; default four weeks later, at most two years later.
    to: Option<String>,
}

/// Lists the shifts of a rotation within a period of time, and the gaps in which nobody is on call.
#[utoipa::path(
    operation_id = "list_shifts", get, path = "/api/oncall/{name}/shifts", tag = "receivers",
    params(("name" = String, Path, description = "The name of the rotation"), SpanParams),
    responses(
        (status = 200, description = "`shifts`, in order, and `gaps`", body = serde_json::Value),
        (status = 400, description = "Invalid times; the response says why"),
        (status = 404, description = "No such rotation"),
    )
)]
async fn shifts(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<SpanParams>,
) -> Result<Json<Value>, Problem> {
    let from = time("from", params.from.as_deref())?.unwrap_or_else(|| api.engine.now());
    let to = time("to", params.to.as_deref())?.unwrap_or_else(|| from.plus_millis(SPAN));
    if !(0..=SPAN_MAX).contains(&to.since(from)) {
        return Err(Problem::bad_request("to must be after from, and two years later at most"));
    }
    let roster = api.engine.monitors_file().roster;
    apart(move || {
        let Some(rotation) = roster.rotations.get(&*name) else {
            return Err(no_rotation(&name, &roster));
        };
        let gaps: Vec<Value> = roster
            .gaps(&name, from, to)
            .into_iter()
            .map(|gap| json!({ "from": gap.from.to_string(), "to": gap.to.to_string() }))
            .collect();
        let shifts = roster.shifts(&name, from, to);
        Ok(Json(json!({ "rotation": name, "tz": rotation.tz, "shifts": shifts, "gaps": gaps })))
    })
    .await
}

/// 404 for a rotation that is not there.
pub(super) fn no_rotation(name: &str, roster: &Roster) -> Problem {
    let shown: String = name.chars().take(100).collect();
    let hint = nearest_hint(&shown, roster.rotations.keys().map(|it| &**it));
    Problem::not_found(format!("there is no rotation {shown:?}{hint}"))
        .with_hint("`nightbell oncall who` lists them.")
}

pub(super) fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    text.map(|text| instant(name, text)).transpose()
}
