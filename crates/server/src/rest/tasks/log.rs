//! The log lines of tasks.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use engine::Engine;
use engine::store::LogLine;
use kernel::access::{Permission, Resource};
use kernel::expression::mask_secrets;
use kernel::{TaskId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{show, task_id, unknown};
use crate::Api;
use crate::access::{Routes, Scope};
use crate::problem::Problem;
use crate::rest::extract::{Path, RawBody, text_of};

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(task_log))
        .on(Permission::Work.within(&[Resource::Task]), routes!(add_to_task_log))
}

/// A line: the protocol's `TaskExecLog`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Line {
    log: String,
    task_id: String,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    created_time: Timestamp,
}

/// Shows the log of a task, oldest line first.
#[utoipa::path(
    get, path = "/api/tasks/{id}/log", tag = "tasks",
    params(("id" = String, Path, description = "The id of the task")),
    responses(
        (status = 200, description = "The lines", body = Vec<Line>),
        (status = 204, description = "There are none"),
    )
)]
async fn task_log(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let Some(task) = TaskId::parse(&id) else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let lines = api.engine.store().log(&task.execution, task.sequence).await?;
    if lines.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let shown: Vec<Line> = lines
        .into_iter()
        .map(|line| Line {
            log: mask_secrets(&line.text).into_owned(),
            task_id: id.clone(),
            created_time: line.at,
        })
        .collect();
    Ok(Json(shown).into_response())
}

/// Adds the body, text or a JSON string, to the log of a task.
#[utoipa::path(
    post, path = "/api/tasks/{id}/log", tag = "tasks", request_body = String,
    params(("id" = String, Path, description = "The id of the task")),
    responses(
        (status = 200, description = "It is added"),
        (status = 404, description = "There is no such task"),
    )
)]
async fn add_to_task_log(
    State(api): State<Api>,
    scope: Scope,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<(), Problem> {
    show(&api.engine, &id, |_, _| ()).await?;
    let task = task_id(&id)?;
    if !scope.covers_task(&api.engine, &task.execution, task.sequence).await? {
        return Err(unknown(&id));
    }
    let text = text_of(&headers, String::from_utf8_lossy(&body)).into_owned();
    append(&api.engine, &task, vec![LogLine { at: api.engine.now(), text }]).await
}

/// Longest line kept, in bytes; what follows is cut off.
const LINE_MAX: usize = 64 << 10;

/// Adds lines to the log of a task; empty ones are left out.
pub(super) async fn append(
    engine: &Engine,
    task: &TaskId,
    mut lines: Vec<LogLine>,
) -> Result<(), Problem> {
    lines.retain(|line| !line.text.is_empty());
    if lines.is_empty() {
        return Ok(());
    }
    // Before they are cut: half a secret would not be found.
    engine.mask_lines(task, &mut lines).await?;
    for line in &mut lines {
        if line.text.len() > LINE_MAX {
            line.text.truncate(line.text.floor_char_boundary(LINE_MAX));
            line.text.push('…');
        }
    }
    Ok(engine.store().append_log(&task.execution, task.sequence, lines).await?)
}
