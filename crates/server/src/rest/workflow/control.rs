//! Steering executions: pause, end, try again, remove.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use engine::{Author, Engine, Error, FORBIDDEN};
use kernel::access::{Permission, Resource};
use kernel::graph::{Amendment, Control, Execution, Input, Status};
use kernel::{ExecutionId, Json, Rejected, TaskId};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::read::{room_for, show, show_whole};
use crate::Api;
use crate::access::{Actor, Routes, Scope};
use crate::problem::Problem;
use crate::rest::extract::{
    Body, LargeAnswer, Object, Path, Query, execution_id, lenient, object, unreadable,
};

pub(super) fn routes() -> Routes {
    let run = || Permission::Run.within(&[Resource::Workflow]);
    Routes::new()
        .on(Permission::Run, routes!(decide_workflow))
        .act(run(), routes!(pause_workflow))
        .act(run(), routes!(resume_workflow))
        .act(Permission::Run, routes!(skip_task))
        .act(Permission::Run, routes!(rerun_workflow))
        .act(run(), routes!(restart_workflow))
        .act(run(), routes!(retry_workflow))
        .act(run(), routes!(reset_callbacks))
        .act(run(), routes!(terminate_workflow))
        .on(Permission::Edit, routes!(remove_workflow))
        .on(Permission::Edit, routes!(terminate_and_remove_workflow))
        .act(Permission::Run, routes!(set_variables))
}

/// Does what neither gives an execution other data nor has it do something else.
async fn act(engine: &Engine, id: &str, control: Control) -> Result<(), Problem> {
    Ok(engine.steer(&execution_id(id)?, control, &Author::Unsaid).await?)
}

/// Does it for somebody, who must be allowed what the execution is allowed.
pub(super) async fn act_for(
    engine: &Engine,
    actor: &Actor,
    id: &str,
    control: Control,
) -> Result<(), Problem> {
    steer(engine, actor, &execution_id(id)?, control).await
}

async fn steer(
    engine: &Engine,
    actor: &Actor,
    id: &ExecutionId,
    control: Control,
) -> Result<(), Problem> {
    engine.steer(id, control, &actor.acts_as().into()).await.map_err(|error| match error {
        // All else that is refused so is something that is not there.
        Error::Rejected(Rejected::Forbidden(why)) if why.starts_with(FORBIDDEN) => {
            Problem::new(StatusCode::FORBIDDEN, "forbidden", why)
        }
        error => error.into(),
    })
}

/// Evaluates the timers of an execution now and continues it.
#[utoipa::path(
    put, path = "/api/workflow/decide/{id}", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution")),
    responses((status = 200, description = "Done"))
)]
async fn decide_workflow(State(api): State<Api>, Path(id): Path<String>) -> Result<(), Problem> {
    match api.engine.step(&execution_id(&id)?, Input::Wake).await {
        Err(Error::Rejected(Rejected::Stale(_))) => Ok(()),
        result => Ok(result?),
    }
}

/// Pauses an execution: no more tasks are scheduled until it is resumed.
#[utoipa::path(
    put, path = "/api/workflow/{id}/pause", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution")),
    responses((status = 200, description = "Done"))
)]
async fn pause_workflow(
    State(api): State<Api>,
    scope: Scope,
    Path(id): Path<String>,
) -> Result<(), Problem> {
    scope.must_cover_run(&api.engine, &id).await?;
    act(&api.engine, &id, Control::Pause).await
}

/// Resumes a paused execution.
#[utoipa::path(
    put, path = "/api/workflow/{id}/resume", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution")),
    responses((status = 200, description = "Done"))
)]
async fn resume_workflow(
    State(api): State<Api>,
    scope: Scope,
    Path(id): Path<String>,
) -> Result<(), Problem> {
    scope.must_cover_run(&api.engine, &id).await?;
    act(&api.engine, &id, Control::Resume).await
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct SkipRequest {
    /// The input to record.
    #[schema(value_type = Option<serde_json::Value>)]
    task_input: Option<Json>,
    /// The output that later tasks see.
    #[schema(value_type = Option<serde_json::Value>)]
    task_output: Option<Json>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct SkipParams {
    /// The input to record, a JSON object; the body takes precedence.
    task_input: Option<String>,
    /// The output that later tasks see, a JSON object; the body takes precedence.
    task_output: Option<String>,
}

/// Skips a task that has not been scheduled yet.
#[utoipa::path(
    put, path = "/api/workflow/{id}/skiptask/{reference}", tag = "workflow",
    request_body = SkipRequest,
    params(
        ("id" = String, Path, description = "The id of the execution"),
        ("reference" = String, Path, description = "The reference name of the task"),
        SkipParams,
    ),
    responses((status = 200, description = "Done"))
)]
async fn skip_task(
    State(api): State<Api>,
    actor: Actor,
    Path((id, reference)): Path<(String, String)>,
    Query(params): Query<SkipParams>,
    Body(request): Body<Option<SkipRequest>>,
) -> Result<(), Problem> {
    let request = request.unwrap_or_default();
    let payload = |body: Option<Json>, query: Option<String>, what: &str| {
        let from_query = |text| Json::from_text(text).map_err(|error| unreadable(&error));
        let given = match (body, query) {
            (Some(body), _) => Some(body),
            (None, Some(text)) => Some(from_query(text)?),
            (None, None) => None,
        };
        given.map(|json| object(json, what)).transpose()
    };
    let skip = Control::Skip {
        reference: reference.into(),
        input: payload(request.task_input, params.task_input, "'taskInput'")?,
        output: payload(request.task_output, params.task_output, "'taskOutput'")?,
    };
    act_for(&api.engine, &actor, &id, skip).await
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct RerunRequest {
    /// The task to rerun from, in this execution or a sub-workflow; absent = from the beginning.
    re_run_from_task_id: Option<String>,
    /// New input of the execution.
    #[schema(value_type = Option<serde_json::Value>)]
    workflow_input: Option<Json>,
    /// New input of the task.
    #[schema(value_type = Option<serde_json::Value>)]
    task_input: Option<Json>,
    /// A new label of the execution.
    correlation_id: Option<String>,
}

/// Reruns an execution from a task, under the same id.
#[utoipa::path(
    post, path = "/api/workflow/{id}/rerun", tag = "workflow", request_body = RerunRequest,
    params(("id" = String, Path, description = "The id of the execution")),
    responses((status = 200, description = "The id of the execution", body = String))
)]
async fn rerun_workflow(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Body(request): Body<Option<RerunRequest>>,
) -> Result<String, Problem> {
    let request = request.unwrap_or_default();
    let input = request.workflow_input.filter(|input| !input.is_null());
    let label = request.correlation_id.filter(|label| !label.is_empty());
    let Some(task) = request.re_run_from_task_id.filter(|task| !task.is_empty()) else {
        let input = input.map(|input| object(input, "'workflowInput'")).transpose()?;
        let correlation_id = label.map(Arc::from);
        let restart = Control::Restart { plan: None, input, correlation_id };
        act_for(&api.engine, &actor, &id, restart).await?;
        return Ok(id);
    };
    let amendment = Amendment {
        // The protocol's clients send an empty object when they mean none.
        input: input
            .filter(|input| !input.is_empty_object())
            .map(|input| payload(&api.engine, input, "'workflowInput'"))
            .transpose()?,
        correlation_id: label.map(Arc::from),
    };
    let input = request.task_input.filter(|input| !input.is_null());
    let input = input.map(|input| object(input, "'taskInput'")).transpose()?;
    let found = task_below(&api.engine, &id, &task).await?;
    let (sequence, below) = (found.sequence, found.execution.as_str() != id);
    if below && !amendment.is_empty() {
        let amend = Control::Amend(amendment.clone());
        act_for(&api.engine, &actor, &id, amend).await?;
    }
    let amendment = if below { Amendment::default() } else { amendment };
    let rerun = Control::Rerun { sequence, input, amendment };
    steer(&api.engine, &actor, &found.execution, rerun).await?;
    Ok(id)
}

/// An object that may be an input.
pub(super) fn payload(engine: &Engine, given: Json, what: &str) -> Result<Json, Problem> {
    let given = object(given, what)?;
    let max = engine.limits().payload_max;
    if given.len() > max {
        let length = given.len();
        let message = format!("{what} of {length} bytes exceeds the limit of {max} (payload_max)");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", message));
    }
    Ok(given)
}

/// A task of an execution or of a sub-workflow somewhere below it.
async fn task_below(engine: &Engine, id: &str, task: &str) -> Result<TaskId, Problem> {
    let status = show(engine, id, |state| state.status).await?;
    if !status.is_closed() {
        return Err(Problem::conflict(format!(
            "workflow {id} is {}: only a workflow that has ended can be rerun",
            status.as_str()
        )));
    }
    let missing = || Problem::bad_request(format!("Task {task} not found"));
    let found = TaskId::parse(task).ok_or_else(missing)?;
    let mut above = found.execution.clone();
    for _ in 0..=engine.limits().depth_max {
        if above.as_str() == id {
            return Ok(found);
        }
        let parent =
            |state: &Execution| state.parent.as_ref().map(|parent| parent.execution.clone());
        match engine.read(&above, parent).await?.flatten() {
            Some(parent) => above = parent,
            None => break,
        }
    }
    Err(missing())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct RestartParams {
    /// Use the definition as it is registered now; default false.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub(in crate::rest) use_latest_definitions: bool,
}

/// Restarts an ended execution under the same id.
#[utoipa::path(
    post, path = "/api/workflow/{id}/restart", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution"), RestartParams),
    responses((status = 204, description = "Done"))
)]
async fn restart_workflow(
    State(api): State<Api>,
    scope: Scope,
    actor: Actor,
    Path(id): Path<String>,
    Query(params): Query<RestartParams>,
) -> Result<StatusCode, Problem> {
    scope.must_cover_run(&api.engine, &id).await?;
    restart(&api.engine, &actor, &id, params.use_latest_definitions).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begins an ended execution anew.
pub(in crate::rest) async fn restart(
    engine: &Engine,
    actor: &Actor,
    id: &str,
    use_latest: bool,
) -> Result<(), Problem> {
    let mut plan = None;
    if use_latest {
        let look = |state: &Execution| state.plan().definition.name.clone();
        let name = show(engine, id, look).await?;
        let latest = engine.definitions().plan(&name, None);
        plan = Some(latest.ok_or_else(|| {
            Problem::not_found(format!("Unable to find latest definition for {id}"))
        })?);
    }
    let restart = Control::Restart { plan, input: None, correlation_id: None };
    act_for(engine, actor, id, restart).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct RetryParams {
    /// Retry the failed tasks of failed sub-workflows, instead of starting new sub-workflows.
    #[serde(default, deserialize_with = "lenient::flag")]
    resume_subworkflow_tasks: bool,
}

/// Retries the failed tasks of an ended execution.
#[utoipa::path(
    post, path = "/api/workflow/{id}/retry", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution"), RetryParams),
    responses((status = 204, description = "Done"))
)]
async fn retry_workflow(
    State(api): State<Api>,
    scope: Scope,
    Path(id): Path<String>,
    Query(params): Query<RetryParams>,
) -> Result<StatusCode, Problem> {
    scope.must_cover_run(&api.engine, &id).await?;
    retry(&api.engine, &id, params.resume_subworkflow_tasks).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries the failed tasks of an ended execution again.
pub(in crate::rest) async fn retry(
    engine: &Engine,
    id: &str,
    descend: bool,
) -> Result<(), Problem> {
    let result = act(engine, id, Control::Retry { descend }).await;
    // A completed workflow has no failed task, which the protocol tells from one that still runs.
    match result {
        Err(problem) if problem.status == StatusCode::NOT_FOUND => {
            match show(engine, id, |state| state.status).await {
                Ok(Status::Completed) => Err(Problem::conflict(problem.message)),
                _ => Err(problem),
            }
        }
        result => result,
    }
}

/// Resets callbacks: makes tasks available now whose workers asked for a callback later.
#[utoipa::path(
    post, path = "/api/workflow/{id}/resetcallbacks", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution")),
    responses((status = 204, description = "Done"))
)]
async fn reset_callbacks(
    State(api): State<Api>,
    scope: Scope,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    scope.must_cover_run(&api.engine, &id).await?;
    act(&api.engine, &id, Control::ResetCallbacks).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Steering {
    /// Why, for the record.
    pub(in crate::rest) reason: Option<String>,
    /// Start the failure workflow too; default false.
    #[serde(default, deserialize_with = "lenient::flag")]
    pub(in crate::rest) trigger_failure_workflow: bool,
}

/// Terminates an execution and its sub-workflows.
#[utoipa::path(
    delete, path = "/api/workflow/{id}", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution"), Steering),
    responses((status = 200, description = "Done"))
)]
async fn terminate_workflow(
    State(api): State<Api>,
    scope: Scope,
    Path(id): Path<String>,
    Query(params): Query<Steering>,
) -> Result<(), Problem> {
    scope.must_cover_run(&api.engine, &id).await?;
    terminate(&api.engine, &id, &params).await
}

/// Ends an execution and its sub-workflows.
pub(in crate::rest) async fn terminate(
    engine: &Engine,
    id: &str,
    params: &Steering,
) -> Result<(), Problem> {
    let reason = params.reason.as_deref().filter(|reason| !reason.is_empty()).map(Arc::from);
    let failure_workflow = params.trigger_failure_workflow;
    act(engine, id, Control::Terminate { reason, failure_workflow }).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct RemoveParams {
    /// Refuse executions that have not ended; default true.
    #[serde(default = "yes", deserialize_with = "lenient::flag")]
    pub(in crate::rest) archive_workflow: bool,
}

fn yes() -> bool {
    true
}

/// Removes an execution with its tasks, logs and history.
#[utoipa::path(
    delete, path = "/api/workflow/{id}/remove", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution"), RemoveParams),
    responses((status = 200, description = "Done"))
)]
async fn remove_workflow(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(params): Query<RemoveParams>,
) -> Result<(), Problem> {
    remove(&api.engine, &id, params.archive_workflow).await
}

/// Removes an execution. One that has not ended is refused, or else ended first.
pub(in crate::rest) async fn remove(
    engine: &Engine,
    id: &str,
    only_ended: bool,
) -> Result<(), Problem> {
    let (status, children) = show(engine, id, |state| (state.status, open_children(state))).await?;
    if !status.is_closed() {
        if only_ended {
            return Err(Problem::bad_request(format!(
                "Cannot archive workflow: {id} with status: {}",
                status.as_str()
            ))
            .with_hint("Terminate it first, or pass archiveWorkflow=false."));
        }
        let reason = Some("removed by an operator".to_owned());
        let params = Steering { reason, trigger_failure_workflow: false };
        end_with_children(engine, id, children, &params).await?;
    }
    engine.remove(&execution_id(id)?).await?;
    Ok(())
}

/// Sub-workflows that an execution has started and waits for.
fn open_children(state: &Execution) -> Vec<ExecutionId> {
    state.open_tasks().filter_map(|task| task.own_child().cloned()).collect()
}

/// Ends an execution and, without leaving it to messages that would be removed with it, the
/// sub-workflows it waits for.
async fn end_with_children(
    engine: &Engine,
    id: &str,
    children: Vec<ExecutionId>,
    params: &Steering,
) -> Result<(), Problem> {
    terminate(engine, id, params).await?;
    for child in children {
        let reason = Some(Arc::from(format!("parent workflow {id} was removed")));
        let end = Control::Terminate { reason, failure_workflow: false };
        match engine.step(&child, Input::Control(end)).await {
            // It has ended, or has never begun: nothing is left to end.
            Ok(()) | Err(Error::Rejected(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Terminates an execution and removes it.
#[utoipa::path(
    delete, path = "/api/workflow/{id}/terminate-remove", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution"), Steering),
    responses((status = 200, description = "Done"))
)]
async fn terminate_and_remove_workflow(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(params): Query<Steering>,
) -> Result<(), Problem> {
    terminate_and_remove(&api.engine, &id, &params).await
}

/// Ends an execution and removes it.
pub(in crate::rest) async fn terminate_and_remove(
    engine: &Engine,
    id: &str,
    params: &Steering,
) -> Result<(), Problem> {
    let children = show(engine, id, open_children).await?;
    end_with_children(engine, id, children, params).await?;
    engine.remove(&execution_id(id)?).await?;
    Ok(())
}

/// Updates variables of a running execution, and returns the execution.
#[utoipa::path(
    post, path = "/api/workflow/{id}/variables", tag = "workflow",
    request_body = serde_json::Value,
    params(("id" = String, Path, description = "The id of the execution")),
    responses((status = 200, description = "The execution", body = serde_json::Value))
)]
async fn set_variables(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Object(set): Object,
) -> Result<LargeAnswer, Problem> {
    checked_variables(&api.engine, &id, &set).await?;
    let share = room_for(&api, &id, true).await?;
    act_for(&api.engine, &actor, &id, Control::SetVariables { set }).await?;
    show_whole(&api, &id, true, share).await
}

/// Refuses variables that would be too large together with those that are there.
pub(super) async fn checked_variables(
    engine: &Engine,
    id: &str,
    set: &Json,
) -> Result<(), Problem> {
    let max = engine.limits().variables_max;
    let length = show(engine, id, |state| length_with(&state.variables, set)).await?;
    if length > max {
        return Err(Problem::bad_request(format!(
            "the variables would be {length} bytes, more than the limit of {max} (variables_max)"
        )));
    }
    Ok(())
}

/// Bytes of an object once the members of another are put over it.
fn length_with(base: &Json, set: &Json) -> usize {
    let members = |json: &Json| {
        serde_json::from_str::<std::collections::BTreeMap<String, Json>>(json.text())
            .unwrap_or_default()
    };
    let mut merged = members(base);
    merged.extend(members(set));
    Json::of(&merged).len()
}
