//! `/api/tasks`: what workers and operators do with single tasks.

mod log;
mod poll;
mod queues;
mod search;
mod update;

use axum::extract::State;
use engine::Engine;
use kernel::access::Permission;
use kernel::graph::{Execution, Task};
use kernel::{ExecutionId, TaskId};
use utoipa_axum::routes;

pub(super) use queues::{queued, show_queued};
pub(super) use update::{Outcome, TaskResult, pending, report_on, report_result};

use super::extract::{Answer, Path};
use super::view::{self, Lens};
use super::workflow::external_storage;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

/// The paths of this folder.
pub(super) fn routes() -> Routes {
    Routes::new()
        .merge(poll::routes())
        .merge(update::routes())
        .merge(log::routes())
        .merge(queues::routes())
        .merge(search::routes())
        .on(Permission::Read | Permission::Work, routes!(task_storage_location))
        .on(Permission::Read | Permission::Work, routes!(task_storage_location_dashed))
        .on(Permission::Read, routes!(get_task))
}

/// Shows a task.
#[utoipa::path(
    get, path = "/api/tasks/{id}", tag = "tasks",
    params(("id" = String, Path, description = "The id of the task")),
    responses(
        (status = 200, description = "The task", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn get_task(State(api): State<Api>, Path(id): Path<String>) -> Result<Answer, Problem> {
    let lens = Lens::of(&api.engine);
    show(&api.engine, &id, |state, task| view::task(state, task, lens)).await.map(Answer)
}

/// Not supported: there is no external payload storage.
#[utoipa::path(
    get, path = "/api/tasks/externalstoragelocation", tag = "tasks",
    responses((status = 400, description = "Not supported"))
)]
async fn task_storage_location() -> Problem {
    external_storage()
}

/// Not supported: there is no external payload storage.
#[utoipa::path(
    get, path = "/api/tasks/external-storage-location", tag = "tasks",
    responses((status = 400, description = "Not supported"))
)]
async fn task_storage_location_dashed() -> Problem {
    external_storage()
}

/// Looks at a task.
///
/// # Errors
/// 404 if there is none.
async fn show<R>(
    engine: &Engine,
    id: &str,
    look: impl FnOnce(&Execution, &Task) -> R,
) -> Result<R, Problem> {
    let task = task_id(id)?;
    let look = |state: &Execution| state.task(task.sequence).map(|task| look(state, task));
    let shown = engine.read(&task.execution, look).await?.flatten();
    shown.ok_or_else(|| unknown(id))
}

/// Takes a task id from a request.
///
/// # Errors
/// 404 for what cannot be one: nothing of that name exists.
fn task_id(text: &str) -> Result<TaskId, Problem> {
    let id = TaskId::parse(text);
    id.filter(|id| id.execution.as_str().len() <= ExecutionId::LENGTH_MAX)
        .ok_or_else(|| unknown(text))
}

/// 404 in the protocol's words.
fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().take(ExecutionId::LENGTH_MAX + 11).collect();
    Problem::not_found(format!("Task not found for taskId: {shown}"))
}
