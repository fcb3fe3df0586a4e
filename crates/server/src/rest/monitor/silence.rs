//! `/api/silences`: who is not told what, and when; and what a silence would hide.

use axum::Json;
use axum::extract::State;
use engine::Engine;
use engine::search::{PAGE_MAX, RecordSearch};
use kernel::access::Permission;
use kernel::alert::definition::{Labels, Silence, unknown_matchers};
use kernel::alert::{Monitor, silenced};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::extract::{Body, Path, Query};
use super::{read_alone, view};
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(list))
        .on(Permission::Respond, routes!(add))
        .on(Permission::Read, routes!(preview))
        .on(Permission::Read, routes!(show))
        .on(Permission::Read, routes!(hidden))
        .on(Permission::Respond, routes!(put, delete))
}

/// Lists silences: those created through the API, and those of files.
#[utoipa::path(
    operation_id = "list_silences", get, path = "/api/silences", tag = "silences",
    responses((status = 200, description = "The silences", body = Vec<serde_json::Value>))
)]
async fn list(State(api): State<Api>) -> Json<Value> {
    Json(all(&api).into())
}

fn all(api: &Api) -> Vec<Value> {
    let now = api.engine.now();
    let mut shown: Vec<Value> =
        api.engine.silences().iter().map(|it| view::silence(it, None, now)).collect();
    for source in api.engine.monitor_sources() {
        let file = api.engine.monitors_of(&source).unwrap_or_default();
        shown.extend(file.silences.iter().map(|it| view::silence(it, Some(&source), now)));
    }
    shown
}

/// Incidents that a silence is said to have hidden.
const HIDDEN_MAX: usize = 100;
/// Bytes of a silence's name.
const LENGTH_MAX: usize = 100;

/// Reads a silence as files write it; without a time it begins now.
fn silence(api: &Api, id: Option<&str>, mut body: Value) -> Result<Silence, Problem> {
    let Value::Object(members) = &mut body else {
        return Err(Problem::bad_request("a silence is a JSON object"));
    };
    let given = members.remove("id");
    let id = id.map(str::to_owned).or_else(|| Some(given?.as_str()?.to_owned()));
    let named = members.get("name").and_then(Value::as_str).map(str::to_owned);
    let id = id.or(named).unwrap_or_else(|| Engine::new_id().as_str().to_owned());
    if id.is_empty() || id.len() > LENGTH_MAX {
        return Err(Problem::bad_request(format!("the name has 1 to {LENGTH_MAX} bytes")));
    }
    members.insert("name".to_owned(), id.into());
    if !members.contains_key("from") && !members.contains_key("hours") {
        members.insert("from".to_owned(), api.engine.now().to_string().into());
    }
    let file = read_alone(&json!({ "silences": [body] }).to_string())?;
    file.silences.into_iter().next().ok_or_else(|| Problem::bad_request("there is no silence"))
}

#[derive(Debug, Deserialize, IntoParams)]
struct KeepParams {
    /// Store it even if no monitor has the labels that it matches.
    #[serde(default)]
    force: bool,
}

/// Creates a silence, or replaces the one of its name.
///
/// `match` says what it hides, by label (a value, a list, or `{"not": …}`), with `monitor`, `key`
/// and `severity` among the labels. `from` with `to` or `for`, or `hours` with `tz`, say when; an
/// end is needed.
#[utoipa::path(
    operation_id = "add_silence", post, path = "/api/silences", tag = "silences", request_body = serde_json::Value,
    params(KeepParams),
    responses(
        (status = 200, description = "The silence", body = serde_json::Value),
        (status = 400, description = "Invalid, for example a label that no monitor has; the response says why"),
    )
)]
async fn add(
    State(api): State<Api>,
    actor: Actor,
    Query(params): Query<KeepParams>,
    Body(body): Body<Value>,
) -> Result<Json<Value>, Problem> {
    keep(&api, &actor, silence(&api, None, body)?, params.force).await
}

/// Creates a silence of this name, or replaces it.
#[utoipa::path(
    put, path = "/api/silences/{id}", tag = "silences", request_body = serde_json::Value,
    params(("id" = String, Path, description = "The name of the silence")),
    responses(
        (status = 200, description = "The silence", body = serde_json::Value),
        (status = 400, description = "Invalid; the response says why"),
    )
)]
async fn put(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Query(params): Query<KeepParams>,
    Body(body): Body<Value>,
) -> Result<Json<Value>, Problem> {
    keep(&api, &actor, silence(&api, Some(&id), body)?, params.force).await
}

async fn keep(
    api: &Api,
    actor: &Actor,
    mut silence: Silence,
    force: bool,
) -> Result<Json<Value>, Problem> {
    if actor.principal().is_some() {
        silence.by = Some(actor.shown().into());
    }
    let file = api.engine.monitors_file();
    let monitors = file.monitors.iter().map(|it| it.name.clone()).collect();
    let unknown = unknown_matchers(&silence.matchers, &monitors, &Labels::of(&file.monitors));
    let (labels, values): (Vec<_>, Vec<_>) =
        unknown.into_iter().partition(|(_, _, no_label)| *no_label);
    if let Some((_, message, _)) = labels.into_iter().next().filter(|_| !force) {
        return Err(Problem::bad_request(format!("this would hide nothing: {message}"))
            .with_hint("Add ?force=true (--force) if the monitors that have it come later."));
    }
    let mut shown = view::silence(&silence, None, api.engine.now());
    let warnings = values.into_iter().map(|(_, message, _)| Value::from(message));
    shown["warnings"] = warnings.collect();
    api.engine.put_silence(silence).await?;
    Ok(Json(shown))
}

/// Shows a silence.
#[utoipa::path(
    operation_id = "show_silence", get, path = "/api/silences/{id}", tag = "silences",
    params(("id" = String, Path, description = "The name of the silence")),
    responses(
        (status = 200, description = "The silence", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let found = all(&api).into_iter().find(|silence| silence["id"] == *id);
    found.map(Json).ok_or_else(|| unknown(&id))
}

/// Deletes a silence: open incidents that it has hidden are notified now.
#[utoipa::path(
    operation_id = "delete_silence", delete, path = "/api/silences/{id}", tag = "silences",
    params(("id" = String, Path, description = "The name of the silence")),
    responses(
        (status = 200, description = "Ended"),
        (status = 404, description = "Not found"),
        (status = 409, description = "A file defines it"),
    )
)]
async fn delete(State(api): State<Api>, Path(id): Path<String>) -> Result<(), Problem> {
    if api.engine.delete_silence(&id).await? {
        return Ok(());
    }
    match all(&api).into_iter().find(|silence| silence["id"] == *id) {
        Some(silence) => {
            let source = silence["source"].as_str().unwrap_or_default().to_owned();
            Err(Problem::conflict(format!("the silence {id} is defined by {source}")))
        }
        None => Err(unknown(&id)),
    }
}

/// Lists the incidents that a silence has suppressed, newest first, among the 5,000 newest
/// suppressed notifications.
#[utoipa::path(
    get, path = "/api/silences/{id}/hidden", tag = "silences",
    params(("id" = String, Path, description = "The name of the silence, also of one that is over")),
    responses((status = 200, description = "`incident`, `monitor`, `key`, and since when it was hidden",
        body = Vec<serde_json::Value>))
)]
async fn hidden(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let search = RecordSearch {
        statuses: vec!["suppressed".to_owned()],
        size: PAGE_MAX,
        ..RecordSearch::newest("delivery")
    };
    let lines = api.engine.store().records(&search).await?.rows;
    let by = format!("silenced by {id}");
    let hidden = lines.iter().map(view::line).filter(|line| {
        let rest = line["reason"].as_str().and_then(|reason| reason.strip_prefix(&by));
        // A comment begins with a space; a name such as `s:x` goes on.
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
    });
    Ok(Json(hidden.take(HIDDEN_MAX).collect()))
}

fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().take(100).collect();
    Problem::not_found(format!("there is no silence {shown}"))
}

/// Lists the open incidents that a silence would hide, without creating it.
#[utoipa::path(
    post, path = "/api/silences/preview", tag = "silences", request_body = serde_json::Value,
    responses(
        (status = 200, description = "The incidents", body = Vec<serde_json::Value>),
        (status = 400, description = "Invalid; the response says why"),
    )
)]
async fn preview(State(api): State<Api>, Body(body): Body<Value>) -> Result<Json<Value>, Problem> {
    let silence = silence(&api, Some("preview"), body)?;
    let mut hidden = Vec::new();
    for monitor in api.engine.monitors_file().monitors {
        let look = |it: &Monitor| -> Vec<Value> {
            silenced(it, &silence).map(|incident| view::incident(it, incident)).collect()
        };
        hidden.extend(api.engine.monitor(&monitor.name, look).await?.unwrap_or_default());
    }
    Ok(Json(hidden.into()))
}
