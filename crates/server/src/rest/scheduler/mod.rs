//! `/api/scheduler`: schedules, what they will start, and what they have started.
//!
//! Operations that older clients ask for by GET are answered to GET and PUT alike.

mod backfill;
mod calendar;
mod firings;
mod many;
mod next;
mod view;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::{Author, Authored, Change, Engine};
use kernel::access::Permission;
use kernel::definition::Problem as Flaw;
use kernel::schedule::{Input, Schedule, ScheduleSpec, Tag, parse_schedules};
use kernel::{ExecutionId, Rejected};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::extract::{Body, Path, Query, RawBody};
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(many::list))
        .on(Permission::Edit, routes!(save))
        .on(Permission::Read, routes!(many::search))
        .on(Permission::Read, routes!(many::tagged))
        .on(Permission::Read, routes!(show))
        .on(Permission::Edit, routes!(delete))
        .act(Permission::Run, routes!(pause, pause_by_get))
        .act(Permission::Run, routes!(resume, resume_by_get))
        .act(Permission::Run, routes!(trigger))
        .act(Permission::Run, routes!(backfill::begin, backfill::end))
        .on(Permission::Read, routes!(backfill::count))
        .on(Permission::Read, routes!(next::of_schedule))
        .on(Permission::Read, routes!(next::outage))
        .on(Permission::Read, routes!(tags))
        .on(Permission::Edit, routes!(set_tags, remove_tags))
        .act(Permission::Run, routes!(many::bulk_pause))
        .act(Permission::Run, routes!(many::bulk_resume))
        .on(Permission::Read, routes!(next::few))
        .on(Permission::Read, routes!(calendar::show))
        .on(Permission::Read, routes!(firings::search))
        .act(Permission::Run, routes!(many::requeue))
        .act(Permission::Run, routes!(many::pause_all))
        .act(Permission::Run, routes!(many::resume_all))
}

/// Creates a schedule or replaces the one of its name; a list is accepted or refused as a whole.
#[utoipa::path(
    post, path = "/api/scheduler/schedules", tag = "scheduler", request_body = serde_json::Value,
    responses(
        (status = 200, description = "The schedule with its state", body = serde_json::Value),
        (status = 400, description = "Invalid; the response lists every problem, and nothing is stored"),
    )
)]
async fn save(
    State(api): State<Api>,
    actor: Actor,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Problem> {
    let text = std::str::from_utf8(&body).map_err(|error| {
        let at = error.valid_up_to();
        Problem::bad_request(format!("the request body is not UTF-8 after byte {at}"))
    })?;
    let specs = parse_schedules(text).map_err(Problem::invalid)?;
    let payload_max = api.engine.limits().payload_max;
    if let Some(large) = specs.iter().find(|s| s.start_workflow_request.len() > payload_max / 2) {
        let message = format!(
            "the startWorkflowRequest of '{}' is larger than half of {payload_max} bytes \
             (payload_max)",
            large.name
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", message));
    }
    let mut missing = Vec::new();
    for spec in &specs {
        missing.extend(starts_nothing(&api.engine, spec).await?);
    }
    if !missing.is_empty() {
        return Err(Problem::invalid(missing));
    }
    let mut saved = Vec::new();
    for spec in specs {
        let name = spec.name.to_string();
        define(&api.engine, spec, actor.acts_as().into()).await?;
        saved.push(read(&api.engine, &name, view::schedule).await?);
    }
    let is_list = text.trim_start().starts_with('[');
    Ok(Json(if is_list { saved.into() } else { saved.pop().unwrap_or(Value::Null) }))
}

/// Shows a schedule.
#[utoipa::path(
    operation_id = "show_schedule", get, path = "/api/scheduler/schedules/{name}", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule")),
    responses(
        (status = 200, description = "The schedule", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn show(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    read(&api.engine, &name, view::schedule).await.map(Json)
}

/// Deletes a schedule; workflows that it has started continue. Deleting one that does not exist is
/// not an error.
#[utoipa::path(
    operation_id = "delete_schedule", delete, path = "/api/scheduler/schedules/{name}", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule")),
    responses((status = 200, description = "Deleted"))
)]
async fn delete(State(api): State<Api>, Path(name): Path<String>) -> Result<(), Problem> {
    match say(&api.engine, &name, Input::Delete).await {
        Err(problem) if problem.status == StatusCode::NOT_FOUND => {}
        result => result?,
    }
    Ok(api.engine.forget_author(Authored::Schedule, &name).await?)
}

#[derive(Debug, Deserialize, IntoParams)]
struct PauseParams {
    /// Why, for people.
    reason: Option<String>,
}

/// Pauses a schedule: nothing fires until it is resumed.
#[utoipa::path(
    put, path = "/api/scheduler/schedules/{name}/pause", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule"), PauseParams),
    responses(
        (status = 200, description = "Paused"),
        (status = 404, description = "Not found"),
    )
)]
async fn pause(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<PauseParams>,
) -> Result<(), Problem> {
    say(&api.engine, &name, Input::Pause { reason: params.reason.map(Into::into) }).await
}

/// Pauses a schedule, with the method of older clients.
#[utoipa::path(
    get, path = "/api/scheduler/schedules/{name}/pause", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule"), PauseParams),
    responses((status = 200, description = "Paused"))
)]
async fn pause_by_get(
    api: State<Api>,
    name: Path<String>,
    params: Query<PauseParams>,
) -> Result<(), Problem> {
    pause(api, name, params).await
}

/// Resumes a paused schedule. Firings that were due meanwhile are not made up for.
#[utoipa::path(
    put, path = "/api/scheduler/schedules/{name}/resume", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule")),
    responses(
        (status = 200, description = "Resumed"),
        (status = 404, description = "Not found"),
    )
)]
async fn resume(State(api): State<Api>, Path(name): Path<String>) -> Result<(), Problem> {
    say(&api.engine, &name, Input::Resume).await
}

/// Resumes a paused schedule, with the method of older clients.
#[utoipa::path(
    get, path = "/api/scheduler/schedules/{name}/resume", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule")),
    responses((status = 200, description = "Resumed"))
)]
async fn resume_by_get(api: State<Api>, name: Path<String>) -> Result<(), Problem> {
    resume(api, name).await
}

#[derive(Debug, Deserialize, IntoParams)]
struct TriggerParams {
    /// Name of the requester, for the record.
    by: Option<String>,
}

/// Fires a schedule now, whether or not it is due or paused. The overlap policy applies.
#[utoipa::path(
    post, path = "/api/scheduler/schedules/{name}/trigger", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule"), TriggerParams),
    responses(
        (status = 200, description = "Accepted", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "The previous firing has not ended, and the overlap policy does not allow another"),
    )
)]
async fn trigger(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
    Query(params): Query<TriggerParams>,
) -> Result<Json<Value>, Problem> {
    say(&api.engine, &name, Input::Trigger { by: actor.if_told(params.by) }).await?;
    read(&api.engine, &name, |state| {
        let number = state.last_number;
        let mut asked = json!({
            "scheduleName": state.id.name(),
            "executionId": state.firing_id(number).as_str(),
        });
        let request = state.spec.as_ref().map(|spec| spec.start_workflow_request.parse());
        let keyed = request.is_some_and(|request| !request["idempotencyStrategy"].is_null());
        // Under an idempotency key it may be the id of another one: the firing's line will tell.
        if !keyed {
            asked["workflowId"] = state.run_id(number).as_str().into();
        }
        asked
    })
    .await
    .map(Json)
}

/// Shows the labels of a schedule.
#[utoipa::path(
    get, path = "/api/scheduler/schedules/{name}/tags", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule")),
    responses((status = 200, description = "The labels", body = Vec<serde_json::Value>))
)]
async fn tags(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    read(&api.engine, &name, |state| json!(state.spec.as_ref().map(|spec| &spec.tags)))
        .await
        .map(Json)
}

/// Sets the labels of a schedule, replacing those it has.
#[utoipa::path(
    put, path = "/api/scheduler/schedules/{name}/tags", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule")),
    request_body = Vec<serde_json::Value>,
    responses((status = 200, description = "Labels set"))
)]
async fn set_tags(
    State(api): State<Api>,
    Path(name): Path<String>,
    Body(tags): Body<Vec<Tag>>,
) -> Result<(), Problem> {
    retag(&api.engine, &name, |spec| spec.tags = tags).await
}

/// Removes labels from a schedule.
#[utoipa::path(
    delete, path = "/api/scheduler/schedules/{name}/tags", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule")),
    request_body = Vec<serde_json::Value>,
    responses((status = 200, description = "Labels removed"))
)]
async fn remove_tags(
    State(api): State<Api>,
    Path(name): Path<String>,
    Body(tags): Body<Vec<Tag>>,
) -> Result<(), Problem> {
    retag(&api.engine, &name, |spec| spec.tags.retain(|tag| !tags.contains(tag))).await
}

async fn retag(
    engine: &Engine,
    name: &str,
    change: impl FnOnce(&mut ScheduleSpec),
) -> Result<(), Problem> {
    let spec = read(engine, name, |state| state.spec.clone()).await?;
    let Some(mut spec) = spec else { return Err(unknown(name)) };
    change(&mut spec);
    spec.paused = None;
    // What it starts, and when, stays as it is.
    define(engine, *spec, Author::Unchanged).await
}

/// That a new schedule would start what does not exist. One that exists may be changed all the same.
async fn starts_nothing(engine: &Engine, spec: &ScheduleSpec) -> Result<Option<Flaw>, Problem> {
    let Some(missing) = engine.missing_workflow(spec) else { return Ok(None) };
    match read(engine, &spec.name, |_| ()).await {
        Ok(()) => Ok(None),
        Err(problem) if problem.status == StatusCode::NOT_FOUND => {
            let hint = "Register the workflow first, or mend the name.";
            let pointer = "/startWorkflowRequest/name";
            Ok(Some(Flaw::new(pointer, "unknown-workflow", missing, hint)))
        }
        Err(problem) => Err(problem),
    }
}

/// Writes a schedule, which acts as its author.
async fn define(engine: &Engine, spec: ScheduleSpec, author: Author) -> Result<(), Problem> {
    id_of(&spec.name)?;
    Ok(engine.change(Change { schedules: vec![spec], author, ..Change::default() }).await?)
}

/// The id of a schedule of this name.
///
/// # Errors
/// 404 for what can be no name.
fn id_of(name: &str) -> Result<ExecutionId, Problem> {
    if name.is_empty() || name.len() > ScheduleSpec::NAME_MAX {
        return Err(unknown(name));
    }
    Ok(ExecutionId::schedule(name))
}

fn unknown(name: &str) -> Problem {
    let shown: String = name.chars().take(ScheduleSpec::NAME_MAX).collect();
    Problem::not_found(format!("No such schedule found by name: {shown}"))
}

/// Lets a schedule hear something.
async fn say(engine: &Engine, name: &str, input: Input) -> Result<(), Problem> {
    match engine.step(&id_of(name)?, input).await {
        Err(engine::Error::Rejected(Rejected::Unknown(_))) => Err(unknown(name)),
        result => Ok(result?),
    }
}

/// Looks at a schedule.
async fn read<R>(
    engine: &Engine,
    name: &str,
    look: impl FnOnce(&Schedule) -> R,
) -> Result<R, Problem> {
    let look = |hosted: &engine::AnyMachine| {
        hosted.schedule().filter(|schedule| schedule.is_defined()).map(look)
    };
    engine.look(&id_of(name)?, look).await?.flatten().ok_or_else(|| unknown(name))
}

/// 400 for a query parameter, in the shape of all that is wrong with documents.
fn flawed(parameter: &str, message: String, hint: String) -> Problem {
    Problem::invalid(vec![Flaw::new(format!("/{parameter}"), "parameter-invalid", message, hint)])
}
