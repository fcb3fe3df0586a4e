//! `/api/admin`: looking under the hood, and knocking on it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use engine::{Engine, Error};
use kernel::access::Permission;
use kernel::graph::Input;
use kernel::{ExecutionId, Rejected};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::extract::{Answer, Path, Query, execution_id};
use super::tasks::{queued, show_queued};
use super::workflow;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(configuration))
        .on(Permission::Read, routes!(pending_tasks))
        .on(Permission::Run, routes!(sweep_workflow))
        .on(Permission::Run, routes!(verify_and_repair_workflow))
        .on(Permission::Read, routes!(event_queues))
}

/// Shows the version and the limits that the server runs with.
#[utoipa::path(
    get, path = "/api/admin/config", tag = "admin",
    responses((status = 200, description = "Values by name", body = BTreeMap<String, serde_json::Value>))
)]
async fn configuration(State(api): State<Api>) -> Json<Value> {
    let limits = api.engine.limits();
    Json(json!({
        "version": api.settings.version,
        "body_max": api.settings.body_max,
        "payload_max": limits.payload_max,
        "tasks_max": limits.tasks_max,
        "loop_iterations_max": limits.iterations_max,
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
struct TasksParams {
    /// Tasks to skip; default 0.
    start: Option<usize>,
    /// Tasks to list; default 100, at most 5000.
    count: Option<usize>,
}

/// Tasks in one answer.
const COUNT_MAX: usize = 5000;

/// Lists the open tasks of a type, in the order in which they are handed out.
#[utoipa::path(
    get, path = "/api/admin/task/{type}", tag = "admin",
    params(("type" = String, Path, description = "The task type"), TasksParams),
    responses((status = 200, description = "The tasks", body = Vec<serde_json::Value>))
)]
async fn pending_tasks(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<TasksParams>,
) -> Result<Answer, Problem> {
    let rows = queued(&api.engine, &name);
    let from = params.start.unwrap_or(0).min(rows.len());
    let count = params.count.unwrap_or(100).min(COUNT_MAX);
    let page = &rows[from..rows.len().min(from + count)];
    Ok(Answer(kernel::Json::of(&show_queued(&api.engine, page).await?)))
}

/// Evaluates the timers of an execution now.
#[utoipa::path(
    post, path = "/api/admin/sweep/requeue/{id}", tag = "admin",
    params(("id" = String, Path, description = "The id of the execution")),
    responses(
        (status = 200, description = "`true.` and the id", body = String),
        (status = 404, description = "No such workflow"),
    )
)]
async fn sweep_workflow(State(api): State<Api>, Path(id): Path<String>) -> Result<String, Problem> {
    wake(&api.engine, &execution_id(&id)?).await?;
    Ok(format!("true.{id}"))
}

/// Evaluates the timers of an execution now, and reports whether that changed anything. Queues and
/// executions are always consistent: they change in one commit.
#[utoipa::path(
    post, path = "/api/admin/consistency/verifyAndRepair/{id}", tag = "admin",
    params(("id" = String, Path, description = "The id of the execution")),
    responses(
        (status = 200, description = "`true` or `false`", body = String),
        (status = 404, description = "No such workflow"),
    )
)]
async fn verify_and_repair_workflow(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<String, Problem> {
    let version = async || -> Result<u64, Problem> {
        let head = api.engine.store().head(&execution_id(&id)?).await?;
        Ok(head.map_or(0, |head| head.version))
    };
    let before = version().await?;
    wake(&api.engine, &execution_id(&id)?).await?;
    Ok((version().await? != before).to_string())
}

async fn wake(engine: &Engine, id: &ExecutionId) -> Result<(), Problem> {
    workflow::show(engine, id.as_str(), |_| ()).await?;
    match engine.step(id, Input::Wake).await {
        Ok(()) | Err(Error::Rejected(Rejected::Stale(_))) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Lists the event queues in Conductor's form: always empty; see `/api/event/queue/config`.
#[utoipa::path(
    get, path = "/api/admin/queues", tag = "admin",
    params(("verbose" = Option<bool>, Query, description = "With sizes")),
    responses((status = 200, description = "Queues by name", body = BTreeMap<String, serde_json::Value>))
)]
async fn event_queues() -> Json<BTreeMap<String, Value>> {
    Json(BTreeMap::new())
}
