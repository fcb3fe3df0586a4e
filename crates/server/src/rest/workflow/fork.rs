//! Forking: a new execution goes on from a task of another one, which stays as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as Reply;
use axum::extract::State;
use axum::http::HeaderMap;
use engine::{Begun, Engine};
use kernel::access::Permission;
use kernel::graph::{BranchPoint, Edit, Execution, Plan};
use kernel::{ExecutionId, Json, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::read::show;
use super::start::inline_plan;
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;
use crate::rest::extract::{Body, Path, execution_id, lenient};
use crate::rest::metadata::apart;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Run, routes!(fork_workflow))
        .on(Permission::Read, routes!(list_forks))
}

/// A fork that is asked for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct ForkRequest {
    /// Before which task: its reference name, `REF__2` for the second iteration, `REF#2` for the
    /// second attempt.
    at: String,
    /// Changed values, by `REF.output.NAME`, `workflow.input.NAME` or `workflow.variables.NAME`;
    /// `output.NAME` is that of the task right before.
    #[schema(value_type = Option<serde_json::Value>)]
    set: Option<Json>,
    /// Another registered version of its definition.
    #[serde(deserialize_with = "lenient::number")]
    version: Option<i64>,
    /// Another definition, of the same name.
    #[schema(value_type = Option<serde_json::Value>)]
    workflow_def: Option<Box<RawValue>>,
    /// Its label; absent = that of the original.
    correlation_id: Option<String>,
    /// Name of the requester.
    created_by: Option<String>,
    /// Idempotency key: a second request with the same key for the same execution returns the first
    /// fork; also as the header `X-Idempotency-key`.
    idempotency_key: Option<String>,
    /// Only list what would be done again.
    dry_run: bool,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ForkResponse {
    /// The id of the fork; absent after a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    workflow_id: Option<ExecutionId>,
    /// The execution that it was forked from.
    #[schema(value_type = String)]
    forked_from: ExecutionId,
    /// Before which task.
    at: String,
    /// Whether the fork existed already, created with the same key.
    existing: bool,
    /// Tasks that acted outside in the original and act again in the fork.
    done_again: Vec<DoneAgain>,
}

/// A task that acts again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DoneAgain {
    task_id: String,
    reference_task_name: String,
    task_type: String,
    status: &'static str,
}

/// Forks an execution: starts a new one with the state that another had before a task, and
/// continues as a rerun would. Tasks that ended before are kept, edited by `set`; the other
/// execution, running or ended, is unchanged. Sub-workflows that have ended stay referenced; others
/// are started again.
#[utoipa::path(
    post, path = "/api/workflow/{id}/fork", tag = "workflow", request_body = ForkRequest,
    params(("id" = String, Path, description = "The id of the execution")),
    responses(
        (status = 200, description = "The fork", body = ForkResponse),
        (status = 400, description = "The execution has not reached the task, or `set` is wrong"),
        (status = 404, description = "No such execution or version"),
        (status = 409, description = "The version or definition does not fit the history that is kept"),
    )
)]
async fn fork_workflow(
    State(api): State<Api>,
    Path(id): Path<String>,
    actor: Actor,
    headers: HeaderMap,
    Body(mut request): Body<ForkRequest>,
) -> Result<Reply<ForkResponse>, Problem> {
    if request.workflow_def.as_ref().is_some_and(|raw| raw.get() != "null") {
        actor.must(&api, Permission::Edit, "a fork with a definition in `workflowDef`")?;
    }
    if actor.principal().is_some() {
        request.created_by = Some(actor.shown());
    }
    let from = execution_id(&id)?;
    let at: BranchPoint = request.at.parse().map_err(Problem::bad_request)?;
    let plan = plan_of(&api.engine, &id, &request).await?;
    let header = headers.get("x-idempotency-key").and_then(|value| value.to_str().ok());
    let key = request.idempotency_key.clone().or_else(|| header.map(str::to_owned));
    let given = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Arc::from);
    let fork = engine::Fork {
        from: from.clone(),
        at: at.clone(),
        edits: edits(request.set)?,
        plan,
        correlation_id: given(request.correlation_id),
        created_by: given(request.created_by),
        acts_as: actor.acts_as(),
        idempotency_key: given(key),
    };
    let (workflow_id, existing, done_again) = if request.dry_run {
        let done_again = api.engine.check_fork(fork, |state| done_again(state, &at)).await?;
        (None, false, done_again)
    } else {
        // Looked at first: the original may go on meanwhile.
        let done_again = show(&api.engine, &id, |state| done_again(state, &at)).await?;
        let begun = api.engine.fork(fork).await?;
        (Some(begun.id().clone()), matches!(begun, Begun::Existing(_)), done_again)
    };
    let at = at.to_string();
    Ok(Reply(ForkResponse { workflow_id, forked_from: from, at, existing, done_again }))
}

fn done_again(state: &Execution, at: &BranchPoint) -> Vec<DoneAgain> {
    let tasks = state.done_again_by_fork(at).unwrap_or_default();
    let shown = tasks.into_iter().map(|task| DoneAgain {
        task_id: state.task_id(task.sequence).to_string(),
        reference_task_name: task.reference.to_string(),
        task_type: task.task_type.to_string(),
        status: task.status.as_str(),
    });
    shown.collect()
}

fn edits(set: Option<Json>) -> Result<Vec<Edit>, Problem> {
    let Some(set) = set.filter(|set| !set.is_null()) else { return Ok(Vec::new()) };
    let Value::Object(members) = set.parse() else {
        return Err(Problem::bad_request("'set' must be an object of values by path"));
    };
    let edit = |(path, value): (String, Value)| Edit { path: path.into(), value: Json::of(&value) };
    Ok(members.into_iter().map(edit).collect())
}

/// The plan that is asked for in place of the original's.
async fn plan_of(
    engine: &Engine,
    id: &str,
    request: &ForkRequest,
) -> Result<Option<Arc<Plan>>, Problem> {
    let name = show(engine, id, |state| state.plan().definition.name.clone()).await?;
    if let Some(definition) = request.workflow_def.clone().filter(|raw| raw.get() != "null") {
        let engine = engine.clone();
        return apart(move || inline_plan(&engine, &name, &definition)).await.map(Some);
    }
    let Some(version) = request.version.filter(|version| *version != 0) else { return Ok(None) };
    let plan = u32::try_from(version)
        .ok()
        .and_then(|version| engine.definitions().plan(&name, Some(version)));
    let missing = || {
        Problem::not_found(format!("No such workflow found by name: {name}, version: {version}"))
    };
    plan.map(Some).ok_or_else(missing)
}

/// A fork that there is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Fork {
    /// Its id.
    workflow_id: String,
    /// Its status; `REMOVED` if it no longer exists.
    status: &'static str,
    /// When it was started.
    #[schema(value_type = i64)]
    forked_at: Timestamp,
    /// Before which task it was forked, and further details.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    about: BTreeMap<String, Value>,
}

/// The newest forks of an execution.
///
/// # Errors
/// The store's.
pub(in crate::rest) async fn forks(
    engine: &Engine,
    id: &ExecutionId,
) -> Result<Vec<Fork>, Problem> {
    let forks = engine.forks_of(id).await?.into_iter().map(|fork| Fork {
        workflow_id: fork.record.key.to_string(),
        status: fork.status.unwrap_or("REMOVED"),
        forked_at: fork.record.at,
        about: serde_json::from_str(fork.record.body.text()).unwrap_or_default(),
    });
    Ok(forks.collect())
}

/// Lists the forks of an execution, newest first, at most 100.
#[utoipa::path(
    get, path = "/api/workflow/{id}/forks", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution")),
    responses((status = 200, description = "The forks", body = Vec<Fork>))
)]
async fn list_forks(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Reply<Vec<Fork>>, Problem> {
    show(&api.engine, &id, |_| ()).await?;
    Ok(Reply(forks(&api.engine, &execution_id(&id)?).await?))
}
