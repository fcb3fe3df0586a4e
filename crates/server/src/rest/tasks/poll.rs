//! Handing tasks to workers.
//!
//! This and `update` are what a busy server does most: payloads go from state to socket as the
//! text they are.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::{Engine, PollRequest};
use kernel::access::{Permission, Resource};
use kernel::graph::{Execution, Task, TaskStatus};
use kernel::{Json, TaskId};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;
use utoipa_axum::routes;

use crate::Api;
use crate::access::{Routes, Scope};
use crate::problem::Problem;
use crate::rest::extract::{Answer, Path, Query};
use crate::rest::view::{self, Lens};

pub(super) fn routes() -> Routes {
    let work = || Permission::Work.within(&[Resource::Task]);
    Routes::new().on(work(), routes!(poll_one)).on(work(), routes!(poll_batch))
}

#[derive(Debug, Deserialize, IntoParams)]
struct PollParams {
    /// The worker's name.
    #[param(value_type = Option<String>)]
    workerid: Option<Arc<str>>,
    /// The worker's domain.
    domain: Option<String>,
    /// Milliseconds to wait for a task; default 100, at most 5000.
    timeout: Option<u64>,
}

#[derive(Debug, Deserialize, IntoParams)]
struct BatchParams {
    /// The worker's name.
    #[param(value_type = Option<String>)]
    workerid: Option<Arc<str>>,
    /// The worker's domain.
    domain: Option<String>,
    /// Maximum number of tasks; default 1, at most 1000.
    count: Option<usize>,
    /// Milliseconds to wait for the first task; default 100, at most 5000.
    timeout: Option<u64>,
}

/// Milliseconds waited if the worker does not say.
const WAIT: u64 = 100;
/// Milliseconds beyond which a wait is refused, as the protocol has it.
const WAIT_MAX: u64 = 5000;
/// Tasks in one answer.
const COUNT_MAX: usize = 1000;

/// Polls a queue for a task, waiting up to the timeout.
#[utoipa::path(
    get, path = "/api/tasks/poll/{type}", tag = "tasks",
    params(("type" = String, Path, description = "The type, which is the name of the task"), PollParams),
    responses(
        (status = 200, description = "A task, now IN_PROGRESS for this worker", body = serde_json::Value),
        (status = 204, description = "No task is available"),
    )
)]
async fn poll_one(
    State(api): State<Api>,
    scope: Scope,
    Path(name): Path<String>,
    Query(params): Query<PollParams>,
) -> Result<Response, Problem> {
    scope.must_cover_polls(&name, params.domain.as_deref())?;
    let request = PollRequest {
        queue: asked_queue(&name, params.domain.as_deref())?,
        worker: params.workerid,
        count: 1,
        wait: wait(params.timeout)?,
    };
    Ok(one(take(&api.engine, request).await?))
}

/// Polls a queue for several tasks, waiting up to the timeout for the first.
#[utoipa::path(
    get, path = "/api/tasks/poll/batch/{type}", tag = "tasks",
    params(("type" = String, Path, description = "The type, which is the name of the task"), BatchParams),
    responses(
        (status = 200, description = "Tasks, now IN_PROGRESS for this worker", body = Vec<serde_json::Value>),
        (status = 400, description = "The timeout is too long"),
    )
)]
async fn poll_batch(
    State(api): State<Api>,
    scope: Scope,
    Path(name): Path<String>,
    Query(params): Query<BatchParams>,
) -> Result<Answer, Problem> {
    scope.must_cover_polls(&name, params.domain.as_deref())?;
    let count = params.count.unwrap_or(1).min(COUNT_MAX);
    let wait = wait(params.timeout)?;
    let request = PollRequest {
        queue: asked_queue(&name, params.domain.as_deref())?,
        worker: params.workerid,
        count,
        wait: if count == 0 { Duration::ZERO } else { wait },
    };
    Ok(Answer(Json::of(&take(&api.engine, request).await?)))
}

fn wait(timeout: Option<u64>) -> Result<Duration, Problem> {
    let millis = timeout.unwrap_or(WAIT);
    if millis > WAIT_MAX {
        let message = "Long Poll Timeout value cannot be more than 5 seconds";
        return Err(Problem::bad_request(message).with_hint("Poll again when nothing came."));
    }
    Ok(Duration::from_millis(millis))
}

/// The queue of a task type in a domain.
pub(super) fn queue_of(name: &str, domain: Option<&str>) -> Arc<str> {
    match domain.map(str::trim).filter(|domain| !domain.is_empty()) {
        Some(domain) => format!("{domain}:{name}").into(),
        None => name.into(),
    }
}

/// Bytes of a queue's name that can be polled for.
const QUEUE_NAME_MAX: usize = 1000;

/// The queue that a worker names; it is remembered, whether or not anything will ever be in it.
fn asked_queue(name: &str, domain: Option<&str>) -> Result<Arc<str>, Problem> {
    let queue = queue_of(name, domain);
    if queue.len() > QUEUE_NAME_MAX {
        let message =
            format!("task type and domain are longer than {QUEUE_NAME_MAX} bytes together");
        return Err(Problem::bad_request(message));
    }
    Ok(queue)
}

/// The first of the tasks, or 204.
pub(super) fn one(tasks: Vec<Json>) -> Response {
    match tasks.into_iter().next() {
        Some(task) => Answer(task).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// Takes tasks and shows them as their worker sees them.
pub(super) async fn take(engine: &Engine, request: PollRequest) -> Result<Vec<Json>, Problem> {
    let taken = engine.poll(request).await?;
    let mut shown = Vec::with_capacity(taken.len());
    for id in &taken {
        match hand(engine, id).await {
            Ok(task) => shown.extend(task),
            // The others are held as well, and must not be lost with this one.
            Err(error) if taken.len() > 1 => {
                tracing::warn!(task = %id, %error, "polled task could not be read");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(shown)
}

/// A task as the worker that took it sees it; `None` if it was withdrawn meanwhile.
async fn hand(engine: &Engine, id: &TaskId) -> Result<Option<Json>, engine::Error> {
    if engine.fail_without_secret(id).await? {
        return Ok(None);
    }
    let lens = Lens::of(engine);
    let look = |state: &Execution| {
        let task = state.task(id.sequence)?;
        let is_held = task.status == TaskStatus::InProgress;
        is_held.then(|| {
            let input = engine.resolve_for_worker(state, task);
            let shown = view::task_with_input(state, task, input, lens);
            with_runtime_metadata(engine, state, task, shown)
        })
    };
    Ok(engine.read(&id.execution, look).await?.flatten())
}

/// Adds the values that the task's definition names; they are never part of the state.
fn with_runtime_metadata(engine: &Engine, state: &Execution, task: &Task, shown: Json) -> Json {
    let names = state.policy_of(task).map_or(&[][..], |policy| &policy.runtime_metadata);
    if names.is_empty() {
        return shown;
    }
    let values: Map<String, Value> = names
        .iter()
        .filter_map(|name| {
            Some((name.clone(), Value::String(engine.value_for_worker(state, task, name)?)))
        })
        .collect();
    let mut members: Map<String, Value> = match shown.parse() {
        Value::Object(members) => members,
        _ => return shown,
    };
    members.insert("runtimeMetadata".to_owned(), Value::Object(values));
    Json::of(&members)
}
