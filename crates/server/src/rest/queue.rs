//! `/api/queue`: completing and failing tasks from outside, as if by a message.
//!
//! The protocol puts such an update into a queue of its own; here it is committed before the
//! answer, so these queues are always empty.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use kernel::TaskId;
use kernel::access::Permission;
use utoipa_axum::routes;

use super::extract::{Object, Path, execution_id};
use super::tasks::{Outcome, pending, report_on};
use super::workflow;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(update_queue_sizes))
        .on(Permission::Read, routes!(update_queues))
        .on(Permission::Read, routes!(update_queues_slashed))
        .on(Permission::Run, routes!(queue_update))
        .on(Permission::Run, routes!(queue_update_by_task_id))
}

/// The statuses that there is a queue for.
const STATUSES: [&str; 2] = ["COMPLETED", "FAILED"];

/// Counts the updates that wait to be processed: always 0, because they are applied at once.
#[utoipa::path(
    get, path = "/api/queue/size", tag = "queue",
    responses((status = 200, description = "Counts by status", body = BTreeMap<String, u64>))
)]
async fn update_queue_sizes() -> Json<BTreeMap<&'static str, u64>> {
    Json(STATUSES.iter().map(|status| (*status, 0)).collect())
}

/// Lists the statuses that tasks can be given, with the name of the queue of each.
#[utoipa::path(
    get, path = "/api/queue", tag = "queue",
    responses((status = 200, description = "Names by status", body = BTreeMap<String, String>))
)]
async fn update_queues() -> Json<BTreeMap<&'static str, &'static str>> {
    Json(STATUSES.iter().map(|status| (*status, *status)).collect())
}

/// The same at another path.
#[utoipa::path(
    get, path = "/api/queue/", tag = "queue",
    responses((status = 200, description = "Names by status", body = BTreeMap<String, String>))
)]
async fn update_queues_slashed() -> Json<BTreeMap<&'static str, &'static str>> {
    update_queues().await
}

/// Completes or fails the open task of a reference name; nothing happens if there is none.
#[utoipa::path(
    post, path = "/api/queue/update/{workflowId}/{reference}/{status}", tag = "queue",
    request_body = serde_json::Value,
    params(
        ("workflowId" = String, Path, description = "The id of the execution"),
        ("reference" = String, Path, description = "The reference name of the task"),
        ("status" = String, Path, description = "COMPLETED or FAILED"),
    ),
    responses(
        (status = 200, description = "Applied, if such a task was open"),
        (status = 404, description = "No such workflow"),
    )
)]
async fn queue_update(
    State(api): State<Api>,
    Path((workflow, reference, status)): Path<(String, String, String)>,
    Object(output): Object,
) -> Result<(), Problem> {
    let outcome = outcome(&status)?;
    if let Some(task) = pending(&api.engine, &workflow, &reference).await? {
        report_on(&api.engine, &task, outcome, output, None).await?;
    }
    Ok(())
}

/// Completes or fails a task; nothing happens if it is not open.
#[utoipa::path(
    post, path = "/api/queue/update/{workflowId}/task/{taskId}/{status}", tag = "queue",
    request_body = serde_json::Value,
    params(
        ("workflowId" = String, Path, description = "The id of the execution"),
        ("taskId" = String, Path, description = "The id of the task"),
        ("status" = String, Path, description = "COMPLETED or FAILED"),
    ),
    responses(
        (status = 200, description = "Applied, if the task is open"),
        (status = 404, description = "No such workflow"),
    )
)]
async fn queue_update_by_task_id(
    State(api): State<Api>,
    Path((id, task, status)): Path<(String, String, String)>,
    Object(output): Object,
) -> Result<(), Problem> {
    let outcome = outcome(&status)?;
    let execution = execution_id(&id)?;
    let task = TaskId::parse(&task).filter(|task| task.execution == execution);
    let is_open = workflow::show(&api.engine, &id, |state| {
        let task = task.as_ref().and_then(|task| state.task(task.sequence));
        task.is_some_and(|task| !task.status.is_closed())
    });
    if let (true, Some(task)) = (is_open.await?, &task) {
        report_on(&api.engine, task, outcome, output, None).await?;
    }
    Ok(())
}

fn outcome(status: &str) -> Result<Outcome, Problem> {
    if STATUSES.contains(&status) {
        return Outcome::parse(status);
    }
    let message = format!("There is no queue for handling {status} status");
    Err(Problem::bad_request(message).with_hint("Use COMPLETED or FAILED."))
}
