//! The log lines of tasks.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use engine::Engine;
use engine::store::{KeptLine, LOG_LINES_MAX, LogLine, LogWindow};
use kernel::access::{Permission, Resource};
use kernel::expression::mask_secrets;
use kernel::{TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{show, task_id, unknown};
use crate::Api;
use crate::access::{Routes, Scope};
use crate::problem::Problem;
use crate::rest::extract::{Path, Query, RawBody, text_of};

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

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct LogParams {
    /// Only the last so many lines; at most 1000.
    tail: Option<usize>,
    /// Only lines before this one: `before` of an earlier response.
    before: Option<u64>,
    /// Only lines with this text in them; the case of ASCII letters does not matter.
    find: Option<String>,
}

impl LogParams {
    fn is_window(&self) -> bool {
        self.tail.is_some() || self.before.is_some() || self.find.is_some()
    }
}

/// Some lines of a log.
#[derive(Debug, Serialize, ToSchema)]
struct Window {
    /// The lines, oldest first.
    lines: Vec<Line>,
    /// Value of `before` for the lines before these; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
}

/// Shows the log of a task, oldest line first. With a parameter the response is a window of the
/// log: an object with `lines`, and `before` if there are earlier ones.
#[utoipa::path(
    get, path = "/api/tasks/{id}/log", tag = "tasks",
    params(("id" = String, Path, description = "The id of the task"), LogParams),
    responses(
        (status = 200, description = "The lines, or a window of them", body = Vec<Line>),
        (status = 204, description = "No log lines"),
    )
)]
async fn task_log(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(params): Query<LogParams>,
) -> Result<Response, Problem> {
    let tail = params.tail.unwrap_or(LOG_LINES_MAX).min(LOG_LINES_MAX);
    let is_window = params.is_window();
    // One more tells whether there are earlier ones.
    let window = LogWindow { tail: Some(tail + 1), before: params.before, find: params.find };
    let mut kept = match TaskId::parse(&id) {
        Some(task) => api.engine.store().log(&task.execution, &[task.sequence], &window).await?,
        None => Vec::new(),
    };
    let excess = kept.len().saturating_sub(tail);
    kept.drain(..excess);
    let before = kept.first().filter(|_| excess > 0).map(|kept| kept.number);
    let shown = |kept: KeptLine| {
        let log = mask_secrets(&kept.line.text).into_owned();
        Line { log, task_id: id.clone(), created_time: kept.line.at }
    };
    // What is masked is not found, either.
    let lines: Vec<Line> = kept.into_iter().map(shown).filter(|it| window.finds(&it.log)).collect();
    if is_window {
        return Ok(Json(Window { lines, before }).into_response());
    }
    if lines.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(Json(lines).into_response())
}

/// Appends the body, text or a JSON string, to the log of a task.
#[utoipa::path(
    post, path = "/api/tasks/{id}/log", tag = "tasks", request_body = String,
    params(("id" = String, Path, description = "The id of the task")),
    responses(
        (status = 200, description = "Added"),
        (status = 404, description = "No such task"),
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
