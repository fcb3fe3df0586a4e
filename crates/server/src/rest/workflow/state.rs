//! Changing a running execution from outside, telling how large it is, and finding many at once.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json as AsJson;
use axum::extract::State;
use engine::Engine;
use kernel::Json;
use kernel::access::Permission;
use kernel::graph::{Control, Execution};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::control::{act_for, checked_variables};
use super::read::{CorrelatedParams, LABELS_MAX, correlated_with, show};
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;
use crate::rest::execute::{ReturnStrategy, WAIT_MAX_SECONDS, references_of, settled};
use crate::rest::extract::{Answer, Body, LargeAnswer, Path, Query, Share, execution_id, object};
use crate::rest::tasks::{TaskResult, pending, report_result};
use crate::rest::view::{self, Lens};

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Run, routes!(update_state))
        .on(Permission::Read, routes!(workflow_size))
        .on(Permission::Read, routes!(correlated_batch))
}

/// A change of a running execution: the protocol's `WorkflowStateUpdate`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct StateUpdate {
    /// The open task that `taskResult` is about.
    task_reference_name: Option<String>,
    /// An update of the task, as a worker would send it; its ids are ignored.
    #[schema(value_type = Option<serde_json::Value>)]
    task_result: Option<TaskResult>,
    /// Variables to write, an object.
    #[schema(value_type = Option<serde_json::Value>)]
    variables: Option<Json>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct UpdateParams {
    /// Echoed in the response.
    request_id: Option<String>,
    /// Return as soon as one of these tasks has ended; reference names, comma-separated.
    wait_until_task_ref: Option<String>,
    /// Return the present state after so many seconds; default 10, at most 3600.
    wait_for_seconds: Option<u64>,
    /// What to return; default `TARGET_WORKFLOW`.
    return_strategy: Option<ReturnStrategy>,
}

/// Updates variables of a running execution, one of its tasks, or both, and returns when it has
/// ended or waits for something outside.
#[utoipa::path(
    post, path = "/api/workflow/{id}/state", tag = "workflow", request_body = StateUpdate,
    params(("id" = String, Path, description = "The id of the execution"), UpdateParams),
    responses(
        (status = 200, description = "The execution, or the task that it waits for", body = serde_json::Value),
        (status = 404, description = "No such execution, or no such task is open"),
    )
)]
async fn update_state(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Query(params): Query<UpdateParams>,
    Body(update): Body<Option<StateUpdate>>,
) -> Result<Answer, Problem> {
    let engine = &api.engine;
    let update = update.unwrap_or_default();
    let variables = update.variables.filter(|variables| !variables.is_null());
    let set = variables.map(|variables| object(variables, "'variables'")).transpose()?;
    if let Some(set) = &set {
        checked_variables(engine, &id, set).await?;
    }
    let reference = update.task_reference_name.filter(|reference| !reference.is_empty());
    // Everything is looked at before anything is changed.
    let report = match (reference, update.task_result) {
        (Some(reference), result) => {
            let task = pending(engine, &id, &reference).await?.ok_or_else(|| {
                Problem::not_found(format!(
                    "Found no running task {reference} of workflow {id} to update"
                ))
            })?;
            Some(result.unwrap_or_default().checked_for(&task)?)
        }
        (None, Some(_)) => {
            return Err(Problem::bad_request("'taskResult' needs 'taskReferenceName'"));
        }
        (None, None) => None,
    };
    if let Some(set) = set {
        act_for(engine, &actor, &id, Control::SetVariables { set }).await?;
    }
    if let Some(report) = report {
        report_result(engine, report).await?;
    }
    let references = references_of(params.wait_until_task_ref.as_deref());
    let seconds = params.wait_for_seconds.filter(|seconds| *seconds > 0).unwrap_or(10);
    let wait = Duration::from_secs(seconds.min(WAIT_MAX_SECONDS));
    let request_id = params.request_id.filter(|id| !id.is_empty());
    let request_id = request_id.unwrap_or_else(|| Engine::new_id().to_string());
    let strategy = params.return_strategy.unwrap_or_default();
    let id = execution_id(&id)?;
    settled(engine, &id, &references, wait, strategy, &request_id).await.map(Answer)
}

/// How large an execution is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the protocol's names")]
struct Size {
    /// Bytes of the execution in its JSON form, including tasks.
    size_bytes: usize,
    /// Always 0: executions are limited by their tasks and payloads, not as a whole.
    limit_bytes: u64,
    /// Always 0, as there is no limit.
    ratio: f64,
}

/// Shows the size of an execution with its tasks.
#[utoipa::path(
    get, path = "/api/workflow/{id}/size", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution")),
    responses((status = 200, description = "Its size", body = Size))
)]
async fn workflow_size(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<AsJson<Size>, Problem> {
    let lens = Lens::of(&api.engine);
    let look = |state: &Execution| view::workflow(state, true, lens).len();
    let size_bytes = show(&api.engine, &id, look).await?;
    Ok(AsJson(Size { size_bytes, limit_bytes: 0, ratio: 0.0 }))
}

/// Labels of several workflows.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct CorrelationRequest {
    /// The correlation ids.
    correlation_ids: Vec<String>,
    /// The names of the workflows.
    workflow_names: Vec<String>,
}

/// Lists the executions of several workflows with one of several correlation ids.
#[utoipa::path(
    post, path = "/api/workflow/correlated/batch", tag = "workflow",
    request_body = CorrelationRequest, params(CorrelatedParams),
    responses((status = 200, description = "The executions by label", body = serde_json::Value))
)]
async fn correlated_batch(
    State(api): State<Api>,
    Query(params): Query<CorrelatedParams>,
    Body(request): Body<Option<CorrelationRequest>>,
) -> Result<LargeAnswer, Problem> {
    let request = request.unwrap_or_default();
    if request.correlation_ids.is_empty() || request.workflow_names.is_empty() {
        let message = "'correlationIds' and 'workflowNames' must both name something";
        return Err(Problem::bad_request(message));
    }
    if request.correlation_ids.len().saturating_mul(request.workflow_names.len()) > LABELS_MAX {
        return Err(Problem::bad_request(format!(
            "more than {LABELS_MAX} pairs of a correlation id and a workflow name"
        )));
    }
    let (mut found, mut share) = (BTreeMap::new(), Share::default());
    for label in request.correlation_ids {
        let mut executions = Vec::new();
        for name in &request.workflow_names {
            executions.extend(correlated_with(&api, name, &label, &params, &mut share).await?);
        }
        found.insert(label, executions);
    }
    Ok(LargeAnswer(Json::of(&found), share))
}
