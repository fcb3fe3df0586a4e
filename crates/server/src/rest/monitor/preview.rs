//! Trying before it counts: one check that moves nothing, and who would be told of what has not
//! happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use kernel::access::Permission;
use kernel::alert::definition::{File, Severity};
use kernel::alert::{Supposed, next_checks, next_checks_with, who_is_told};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::extract::{Body, Path, Query, RawBody};
use super::{read_file, taken, text_of, unknown, view, with};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;
use crate::rest::query::instant;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Edit, routes!(preview))
        .on(Permission::Read, routes!(next))
        .on(Permission::Read, routes!(test_route))
}

/// Times that are told of a monitor's schedule.
const NEXT: usize = 5;

/// Runs one check of a monitor and shows its consequences: the status of each key, who would be
/// notified, and when the next check is due. Changes no incident and sends nothing.
///
/// The body may be a monitors file that redefines the monitor; without one the monitor is checked
/// as it is defined.
#[utoipa::path(
    operation_id = "preview_monitor", post, path = "/api/monitors/{name}/preview", tag = "monitors",
    request_body = String,
    params(("name" = String, Path, description = "The name of the monitor")),
    responses(
        (status = 200, description = "The result of the preview", body = serde_json::Value),
        (status = 400, description = "Invalid file; the response lists every problem"),
        (status = 404, description = "Not found"),
        (status = 409, description = "It is a heartbeat, which makes no checks"),
    )
)]
async fn preview(
    State(api): State<Api>,
    Path(name): Path<String>,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Problem> {
    let engine = &api.engine;
    let mut file: File = engine.monitors_file();
    let mut warnings = Vec::new();
    let text = text_of(&body)?;
    if !text.trim().is_empty() {
        let mut known = engine.monitors_known_beside("");
        known.extend_by(file.clone());
        let (given, found) = taken(read_file(&api, text, known).await?)?;
        warnings = found;
        file = with(file, given);
    }
    let Some(monitor) = file.monitors.iter().find(|it| *it.name == *name) else {
        return Err(unknown(&name));
    };
    let now = engine.now();
    let next: Vec<Value> = next_checks(monitor, now, NEXT)
        .into_iter()
        .map(|at| {
            let hides = file.silences.iter().filter(|it| it.when.in_force_until(at).is_some());
            let named = |it: &&kernel::alert::definition::Silence| {
                it.matchers.iter().all(|it| *it.label == *"monitor" && it.matches(&name))
            };
            let silenced: Vec<&Arc<str>> = hides.filter(named).map(|it| &it.id).collect();
            json!({ "at": at.millis(), "silencedBy": silenced })
        })
        .collect();
    let seen = engine.preview_check(&file, &name).await?;
    let mut shown = view::camel(json!(seen));
    shown["monitor"] = name.into();
    shown["next"] = next.into();
    shown["warnings"] = json!(warnings);
    Ok(Json(shown))
}

/// Times that are told at most.
const NEXT_MAX: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
struct NextParams {
    /// How many times to list: 1 to 1000, 5 by default.
    limit: Option<usize>,
    /// After this time: milliseconds since 1970, or a time such as 2026-01-31T08:00:00Z; default:
    /// now.
    after: Option<String>,
}

/// Lists the next checks of a monitor, and the silences that hide all of it then.
#[utoipa::path(
    operation_id = "next_checks", get, path = "/api/monitors/{name}/next", tag = "monitors",
    params(("name" = String, Path, description = "The name of the monitor"), NextParams),
    responses(
        (status = 200, description = "`at` and `silences` (`id`, `until`, `comment`) of each check, in order",
            body = Vec<serde_json::Value>),
        (status = 400, description = "The limit or the time is wrong"),
        (status = 404, description = "Not found"),
        (status = 409, description = "It is a heartbeat, which makes no checks"),
    )
)]
async fn next(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<NextParams>,
) -> Result<Json<Value>, Problem> {
    let limit = params.limit.unwrap_or(NEXT);
    if !(1..=NEXT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is 1 to {NEXT_MAX}, and not {limit}")));
    }
    let after = params.after.map(|text| instant("after", &text)).transpose()?;
    let after = after.unwrap_or_else(|| api.engine.now());
    let file = api.engine.monitors_file();
    let Some(monitor) = file.monitors.iter().find(|it| *it.name == *name) else {
        return Err(unknown(&name));
    };
    if !monitor.kind.checks() {
        let message = format!("{name} waits to be called; it checks nothing");
        return Err(Problem::conflict(message));
    }
    let silences = api.engine.silences();
    let silences = file.silences.iter().chain(&silences);
    Ok(Json(json!(next_checks_with(monitor, silences, after, limit))))
}

/// An incident that might be.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Question {
    monitor: Option<Arc<str>>,
    key: Option<Arc<str>>,
    severity: Option<String>,
    labels: BTreeMap<Arc<str>, Arc<str>>,
    at: Option<jiff::Timestamp>,
}

/// Shows who would be notified of an incident with these labels, and by which route.
///
/// Members: `monitor`, `key`, `severity`, `labels` (default: those of the monitor; columns of its
/// row can be given as well), `at`.
#[utoipa::path(
    operation_id = "test_route", post, path = "/api/routes/test", tag = "receivers",
    request_body = serde_json::Value,
    responses(
        (status = 200, description = "The route, its steps, and labels that no monitor has",
            body = serde_json::Value),
        (status = 400, description = "Invalid request; the response says why"),
        (status = 404, description = "No such monitor"),
    )
)]
async fn test_route(
    State(api): State<Api>,
    Body(question): Body<Question>,
) -> Result<Json<Value>, Problem> {
    let severity = question.severity.map(|word| {
        Severity::parse(&word).ok_or_else(|| {
            Problem::bad_request(format!("there is no severity {word:?}"))
                .with_hint("Write info, warning, error or critical.")
        })
    });
    let supposed = Supposed {
        monitor: question.monitor,
        key: question.key.unwrap_or_default(),
        severity: severity.transpose()?,
        labels: question.labels,
        at: question.at.map_or_else(|| api.engine.now(), Into::into),
    };
    let mut file = api.engine.monitors_file();
    file.silences.extend(api.engine.silences());
    let told = who_is_told(&file, &supposed).map_err(Problem::not_found)?;
    Ok(Json(view::camel(json!(told))))
}
