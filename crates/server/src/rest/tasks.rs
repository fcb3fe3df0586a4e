//! `/api/tasks`: workers take tasks and report on them.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::PollRequest;
use engine::store::LogLine;
use kernel::graph::{Input, Report, TaskStatus, Verdict};
use kernel::{Json, TaskId};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::extract::{Answer, Body, Path, Query};
use super::view::{self, Lens};
use crate::Api;
use crate::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Api> {
    use axum::routing::{get, post};
    OpenApiRouter::new()
        .route("/api/tasks/poll/{type}", get(poll))
        .route("/api/tasks/poll/batch/{type}", get(poll_batch))
        .route("/api/tasks", post(update))
        .route("/api/tasks/update-v2", post(update_v2))
        .route("/api/tasks/{id}/log", get(log).post(add_log))
        .route("/api/tasks/{id}", get(show))
        .route("/api/tasks/queue/polldata", get(empty_list))
}

async fn empty_list() -> axum::Json<Vec<u8>> {
    axum::Json(Vec::new())
}

#[derive(Deserialize)]
struct PollParams {
    workerid: Option<String>,
    domain: Option<String>,
    count: Option<usize>,
    timeout: Option<u64>,
}

async fn take(
    api: &Api,
    name: &str,
    params: &PollParams,
    count: usize,
    wait: u64,
) -> Result<Vec<Json>, Problem> {
    let queue = match params.domain.as_deref().filter(|domain| !domain.is_empty()) {
        Some(domain) => format!("{domain}:{name}").into(),
        None => name.into(),
    };
    let request = PollRequest {
        queue,
        worker: params.workerid.as_deref().map(Into::into),
        count,
        wait: Duration::from_millis(wait),
    };
    let mut tasks = Vec::new();
    for id in api.engine.poll(request).await? {
        let lens = Lens::of(&api.engine);
        let shown = api
            .engine
            .read(&id.execution, |state| {
                state.task(id.sequence).map(|task| view::task(state, task, lens))
            })
            .await?;
        tasks.extend(shown.flatten());
    }
    Ok(tasks)
}

async fn poll(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<PollParams>,
) -> Result<Response, Problem> {
    let wait = params.timeout.unwrap_or(0);
    Ok(match take(&api, &name, &params, 1, wait).await?.pop() {
        Some(task) => Answer(task).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

async fn poll_batch(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<PollParams>,
) -> Result<Answer, Problem> {
    let count = params.count.unwrap_or(1).clamp(1, 1000);
    let tasks = take(&api, &name, &params, count, params.timeout.unwrap_or(100)).await?;
    Ok(Answer(Json::of(&tasks)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskResult {
    task_id: String,
    status: Option<String>,
    output_data: Option<Json>,
    reason_for_incompletion: Option<String>,
    callback_after_seconds: Option<i64>,
    worker_id: Option<String>,
    #[serde(default)]
    extend_lease: bool,
    logs: Option<Vec<Line>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    log: String,
    created_time: Option<i64>,
}

async fn report(api: &Api, result: TaskResult) -> Result<TaskId, Problem> {
    let unknown = || Problem::not_found(format!("Task not found for taskId: {}", result.task_id));
    let id = TaskId::parse(&result.task_id).ok_or_else(unknown)?;
    if let Some(logs) = result.logs.filter(|logs| !logs.is_empty()) {
        let now = api.engine.now();
        let lines = logs.into_iter().map(|line| LogLine {
            at: line.created_time.map_or(now, kernel::Timestamp::from_millis),
            text: line.log,
        });
        api.engine.store().append_log(&id.execution, id.sequence, lines.collect()).await?;
    }
    if result.extend_lease {
        api.engine.step(&id.execution, Input::Extend { sequence: id.sequence }).await?;
        return Ok(id);
    }
    let status = result.status.as_deref().unwrap_or("IN_PROGRESS");
    let verdict = match TaskStatus::parse(status) {
        Some(status) if status.is_closed() => Verdict::Done(status),
        Some(_) => Verdict::Again { after: result.callback_after_seconds.unwrap_or(0) },
        None => return Err(Problem::bad_request(format!("unknown status '{status}'"))),
    };
    let report = Report {
        sequence: id.sequence,
        verdict,
        output: Some(result.output_data.filter(Json::is_object).unwrap_or_default()),
        merge: false,
        reason: result.reason_for_incompletion.map(Into::into),
        worker: result.worker_id.map(Into::into),
        started_at: None,
        metadata: None,
    };
    api.engine.report(&id.execution, report).await?;
    Ok(id)
}

async fn update(State(api): State<Api>, Body(result): Body<TaskResult>) -> Result<String, Problem> {
    Ok(report(&api, result).await?.to_string())
}

async fn update_v2(
    State(api): State<Api>,
    Body(result): Body<TaskResult>,
) -> Result<Response, Problem> {
    let worker = result.worker_id.clone();
    let id = report(&api, result).await?;
    let queue = api
        .engine
        .read(&id.execution, |state| {
            state.task(id.sequence).map(|task| (task.task_type.to_string(), task.domain.clone()))
        })
        .await?
        .flatten();
    let Some((name, domain)) = queue else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let params = PollParams {
        workerid: worker,
        domain: domain.map(|d| d.to_string()),
        count: None,
        timeout: None,
    };
    Ok(match take(&api, &name, &params, 1, 0).await?.pop() {
        Some(task) => Answer(task).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Answer, Problem> {
    let unknown = || Problem::not_found(format!("Task not found for taskId: {id}"));
    let task = TaskId::parse(&id).ok_or_else(unknown)?;
    let lens = Lens::of(&api.engine);
    let shown = api
        .engine
        .read(&task.execution, |state| {
            state.task(task.sequence).map(|task| view::task(state, task, lens))
        })
        .await?;
    shown.flatten().map(Answer).ok_or_else(unknown)
}

async fn log(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let Some(task) = TaskId::parse(&id) else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let lines = api.engine.store().log(&task.execution, task.sequence).await?;
    if lines.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let lines: Vec<serde_json::Value> = lines
        .into_iter()
        .map(|line| serde_json::json!({ "log": line.text, "taskId": id, "createdTime": line.at }))
        .collect();
    Ok(axum::Json(lines).into_response())
}

async fn add_log(
    State(api): State<Api>,
    Path(id): Path<String>,
    text: String,
) -> Result<(), Problem> {
    if let Some(task) = TaskId::parse(&id) {
        let line = LogLine { at: api.engine.now(), text };
        api.engine.store().append_log(&task.execution, task.sequence, vec![line]).await?;
    }
    Ok(())
}
