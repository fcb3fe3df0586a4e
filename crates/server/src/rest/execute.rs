//! Starting a workflow and waiting for it: the answer comes with the commit that makes it ready.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use engine::{CommitNotice, Engine};
use futures_util::future::select_all;
use kernel::access::Permission;
use kernel::graph::{Execution, Kind, Status, Task};
use kernel::{ExecutionId, Json};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::extract::{Answer, Body, Object, Path, Query, RawQuery, object, unreadable};
use super::view::{self, Lens};
use super::workflow::{StartRequest, begin, show};
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Run, routes!(execute_workflow))
        .on(Permission::Run, routes!(execute_for_output, execute_for_output_by_get))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct ExecuteParams {
    /// Echoed in the response.
    request_id: Option<String>,
    /// Return as soon as one of these tasks has ended; reference names, comma-separated.
    wait_until_task_ref: Option<String>,
    /// Return the present state after so many seconds; default 10, at most 3600.
    wait_for_seconds: Option<u64>,
    /// What to return; default `TARGET_WORKFLOW`.
    return_strategy: Option<ReturnStrategy>,
}

/// What of an execution, or of what holds it up, is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ReturnStrategy {
    /// The requested execution.
    #[default]
    TargetWorkflow,
    /// The execution, perhaps a sub-workflow, whose task is being waited for.
    BlockingWorkflow,
    /// The task that is being waited for.
    BlockingTask,
    /// The same.
    BlockingTaskInput,
}

/// Starts a workflow and returns when it has ended or waits for something outside.
#[utoipa::path(
    post, path = "/api/workflow/execute/{name}/{version}", tag = "workflow",
    request_body = StartRequest,
    params(
        ("name" = String, Path, description = "The name of the workflow"),
        ("version" = i64, Path, description = "Its version; 0 = the latest"),
        ExecuteParams,
    ),
    responses((status = 200, description = "The execution, or the task that it waits for", body = serde_json::Value))
)]
async fn execute_workflow(
    State(api): State<Api>,
    actor: Actor,
    Path((name, version)): Path<(String, i64)>,
    Query(params): Query<ExecuteParams>,
    headers: HeaderMap,
    Body(body): Body<Json>,
) -> Result<Answer, Problem> {
    let mut request = request_of(body, &name)?.with_caller(&headers).by(&api, &actor)?;
    request.name = Some(name);
    request.version = Some(version);
    let id = begin(&api.engine, request).await?;
    let references = references_of(params.wait_until_task_ref.as_deref());
    let seconds = params.wait_for_seconds.filter(|seconds| *seconds > 0).unwrap_or(10);
    let wait = Duration::from_secs(seconds.min(WAIT_MAX_SECONDS));
    let request_id = params
        .request_id
        .filter(|id| !id.is_empty())
        .unwrap_or_else(|| Engine::new_id().to_string());
    let strategy = params.return_strategy.unwrap_or_default();
    settled(&api.engine, &id, &references, wait, strategy, &request_id).await.map(Answer)
}

/// The reference names in a comma-separated list.
pub(super) fn references_of(list: Option<&str>) -> Vec<String> {
    let names = list.unwrap_or_default().split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// What headers say of an execution that is run for its output.
struct Wishes {
    references: Vec<String>,
    wait: Duration,
    idempotency: (Option<String>, Option<String>),
}

impl Wishes {
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let seconds = match text("waitForSeconds").map(str::trim).filter(|text| !text.is_empty()) {
            None => 0,
            Some(text) => text.parse().map_err(|_| {
                Problem::bad_request("the header waitForSeconds must be a whole number of seconds")
            })?,
        };
        let seconds = if seconds == 0 { 10 } else { seconds };
        Ok(Self {
            references: references_of(text("waitUntilTaskRef")),
            wait: Duration::from_secs(seconds.min(WAIT_MAX_SECONDS)),
            idempotency: (
                text("X-Idempotency-key").map(str::to_owned),
                text("X-on-conflict").map(str::to_owned),
            ),
        })
    }
}

#[derive(Debug, Deserialize, IntoParams)]
struct VersionParams {
    /// Absent or 0 = the latest.
    version: Option<i64>,
}

/// Starts a workflow with the body as its input, waits as the headers `waitForSeconds` and
/// `waitUntilTaskRef` say, and returns its output alone. The headers `X-Workflow-Id` and
/// `X-Workflow-Status` have the id and the status of the execution.
#[utoipa::path(
    post, path = "/api/workflow/execute/{name}", tag = "workflow",
    request_body = serde_json::Value,
    params(("name" = String, Path, description = "The name of the workflow"), VersionParams),
    responses((status = 200, description = "The output so far", body = serde_json::Value))
)]
async fn execute_for_output(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
    Query(params): Query<VersionParams>,
    headers: HeaderMap,
    Object(input): Object,
) -> Result<Response, Problem> {
    run_for_output(&api, &actor, name, params.version, &headers, input).await
}

/// The same with GET; all query parameters but `version` are the input, as strings.
#[utoipa::path(
    get, path = "/api/workflow/execute/{name}", tag = "workflow",
    params(("name" = String, Path, description = "The name of the workflow"), VersionParams),
    responses((status = 200, description = "The output so far", body = serde_json::Value))
)]
async fn execute_for_output_by_get(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
    Query(params): Query<VersionParams>,
    RawQuery(pairs): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let input: std::collections::BTreeMap<String, String> =
        pairs.into_iter().filter(|(name, _)| name != "version").collect();
    run_for_output(&api, &actor, name, params.version, &headers, Json::of(&input)).await
}

async fn run_for_output(
    api: &Api,
    actor: &Actor,
    name: String,
    version: Option<i64>,
    headers: &HeaderMap,
    input: Json,
) -> Result<Response, Problem> {
    let wishes = Wishes::read(headers)?;
    let (key, strategy) = wishes.idempotency;
    let request = StartRequest::with_input(input).with_idempotency(key, strategy.as_deref())?;
    let request = request.with_caller(headers);
    let (mut request, engine) = (request.by(api, actor)?, &api.engine);
    request.name = Some(name);
    request.version = version;
    let id = begin(engine, request).await?;
    until_settled(engine, &id, &wishes.references, wishes.wait).await?;
    let look = |state: &Execution| (state.status, state.output.clone());
    let (status, output) = show(engine, id.as_str(), look).await?;
    let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    let headers = [
        (HeaderName::from_static("x-workflow-id"), value(id.as_str())),
        (HeaderName::from_static("x-workflow-status"), value(status.as_str())),
    ];
    Ok((headers, Answer(output)).into_response())
}

/// Longest wait for an answer.
pub(super) const WAIT_MAX_SECONDS: u64 = 3600;

/// Clients send either a start request or the plain input.
fn request_of(body: Json, name: &str) -> Result<StartRequest, Problem> {
    const FIELDS: [&str; 11] = [
        "name",
        "version",
        "correlationId",
        "input",
        "taskToDomain",
        "workflowDef",
        "externalInputPayloadStoragePath",
        "priority",
        "createdBy",
        "idempotencyKey",
        "idempotencyStrategy",
    ];
    let body = object(body, "the request body")?;
    let members: std::collections::BTreeMap<String, Json> =
        serde_json::from_str(body.text()).map_err(|error| unreadable(&error))?;
    let named = |key: &str| members.get(key).filter(|value| !value.is_null());
    let is_request = members.keys().all(|key| FIELDS.contains(&key.as_str()))
        && (named("input").is_some_and(Json::is_object)
            || named("workflowDef").is_some_and(Json::is_object)
            || named("name").is_some_and(|value| *value == Json::of(&name)));
    if is_request {
        return serde_json::from_str(body.text()).map_err(|error| unreadable(&error));
    }
    Ok(StartRequest::with_input(body))
}

/// Waits until an execution has ended or is held up by a task from which only the outside can free
/// it, or that was asked for, there or in its sub-workflows; then shows it.
pub(super) async fn settled(
    engine: &Engine,
    id: &ExecutionId,
    references: &[String],
    wait: Duration,
    strategy: ReturnStrategy,
    request_id: &str,
) -> Result<Json, Problem> {
    let standing = until_settled(engine, id, references, wait).await?;
    let answer = Answering { engine, id, strategy, request_id, timed_out: !standing.is_settled() };
    answer.show(standing).await
}

async fn until_settled(
    engine: &Engine,
    id: &ExecutionId,
    references: &[String],
    wait: Duration,
) -> Result<Standing, Problem> {
    crate::connections::body_is_done();
    let mut deadline = tokio::time::Instant::now() + wait;
    loop {
        let mut watched = Vec::new();
        let standing = look(engine, id, references, &mut watched).await?;
        let in_time = tokio::time::Instant::now() < deadline;
        if standing.is_settled() || !in_time {
            return Ok(standing);
        }
        let changed = select_all(watched.iter_mut().map(|watch| Box::pin(watch.changed())));
        tokio::select! {
            biased;
            _ = changed => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = engine.stopped() => deadline = tokio::time::Instant::now(),
        }
    }
}

/// Where an execution stands, for somebody who waits for it.
struct Standing {
    closed: bool,
    /// What holds it up.
    blocking: Option<(ExecutionId, u32)>,
}

impl Standing {
    fn is_settled(&self) -> bool {
        self.closed || self.blocking.is_some()
    }
}

/// Executions looked through, sub-workflows included.
const LOOKED_AT_MAX: usize = 256;

/// Looks through an execution and the sub-workflows it waits for, and watches them all.
async fn look(
    engine: &Engine,
    id: &ExecutionId,
    references: &[String],
    watched: &mut Vec<watch::Receiver<CommitNotice>>,
) -> Result<Standing, Problem> {
    let mut standing = Standing { closed: false, blocking: None };
    let mut ahead = vec![id.clone()];
    while let Some(next) = ahead.pop() {
        // Watched before it is looked at: a change in between is not missed.
        watched.push(engine.watch(&next));
        let look = |state: &Execution| {
            let blocking = state.tasks().find(|task| holds_up(task, references));
            let children = state.open_tasks().filter(|task| task.kind == Kind::SubWorkflow);
            let mut children: Vec<_> = children.filter_map(|task| task.child.clone()).collect();
            children.reverse();
            (state.status.is_closed(), blocking.map(|task| task.sequence), children)
        };
        let Some((closed, blocking, children)) = engine.read(&next, look).await? else {
            if next == *id {
                return Err(super::extract::unknown_workflow(id.as_str()));
            }
            continue;
        };
        standing.closed |= closed && next == *id;
        if let Some(sequence) = blocking {
            standing.blocking = Some((next, sequence));
            break;
        }
        let room = LOOKED_AT_MAX.saturating_sub(watched.len() + ahead.len());
        ahead.extend(children.into_iter().take(room));
    }
    Ok(standing)
}

fn holds_up(task: &Task, references: &[String]) -> bool {
    if task.status.is_closed() {
        return references.iter().any(|reference| **reference == *task.reference);
    }
    gives_back(task)
}

/// Whether a task gives the execution back to whoever runs it: YIELD and a WAIT without an end do,
/// and one with an end whose author says `yield`.
fn gives_back(task: &Task) -> bool {
    let asked = || {
        let wish = task.input.parse().get("yield").cloned();
        wish.is_some_and(|wish| wish == true || wish == "true")
    };
    match task.kind {
        Kind::Yield => task.begun,
        Kind::Wait => task.begun && (task.until.is_none() || asked()),
        _ => false,
    }
}

/// Whether a signal ends a task.
pub(super) fn takes_signals(task: &Task) -> bool {
    matches!(task.kind, Kind::Wait | Kind::Yield | Kind::Human) && task.begun
}

/// Shows what was waited for in the form that was asked for.
struct Answering<'a> {
    engine: &'a Engine,
    id: &'a ExecutionId,
    strategy: ReturnStrategy,
    request_id: &'a str,
    timed_out: bool,
}

impl Answering<'_> {
    async fn show(&self, standing: Standing) -> Result<Json, Problem> {
        use ReturnStrategy::{BlockingTask, BlockingTaskInput, BlockingWorkflow, TargetWorkflow};
        let target = show(self.engine, self.id.as_str(), |state| state.status).await?;
        match (self.strategy, standing.blocking) {
            (TargetWorkflow, _) | (_, None) => {
                let run = |state: &Execution| self.run(state, target);
                show(self.engine, self.id.as_str(), run).await
            }
            (BlockingWorkflow, Some((id, _))) => {
                show(self.engine, id.as_str(), |state| self.run(state, target)).await
            }
            (BlockingTask | BlockingTaskInput, Some((id, sequence))) => {
                let task = |state: &Execution| {
                    state.task(sequence).map(|task| self.task_run(state, task, target))
                };
                let shown = show(self.engine, id.as_str(), task).await?;
                shown.ok_or_else(|| Problem::conflict("the task was removed meanwhile"))
            }
        }
    }

    fn run(&self, state: &Execution, target: Status) -> Json {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Run<'a> {
            #[serde(flatten)]
            common: Common<'a>,
            priority: u8,
            variables: Json,
            tasks: Json,
            #[serde(skip_serializing_if = "Option::is_none")]
            created_by: Option<&'a str>,
            create_time: kernel::Timestamp,
            status: Status,
            update_time: kernel::Timestamp,
        }
        Json::of(&Run {
            common: self.common(
                state,
                target,
                state.shown(&state.input),
                state.shown(&state.output),
            ),
            priority: state.priority,
            variables: state.shown(&state.variables),
            tasks: view::task_list(state, Lens::of(self.engine)),
            created_by: state.created_by.as_deref(),
            create_time: state.created_at,
            status: state.status,
            update_time: state.updated_at,
        })
    }

    fn task_run(&self, state: &Execution, task: &Task, target: Status) -> Json {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct TaskRun<'a> {
            #[serde(flatten)]
            common: Common<'a>,
            task_type: &'a str,
            task_id: String,
            reference_task_name: &'a str,
            retry_count: u32,
            task_def_name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            retried_task_id: Option<String>,
            workflow_type: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason_for_incompletion: Option<&'a str>,
            priority: u8,
            #[serde(skip_serializing_if = "Option::is_none")]
            created_by: Option<&'a str>,
            create_time: kernel::Timestamp,
            update_time: kernel::Timestamp,
            status: kernel::graph::TaskStatus,
        }
        let (input, output) = (state.shown(&task.input), state.shown(&state.output_of(task)));
        Json::of(&TaskRun {
            common: self.common(state, target, input, output),
            task_type: &task.task_type,
            task_id: state.task_id(task.sequence).to_string(),
            reference_task_name: &task.reference,
            retry_count: task.attempt,
            task_def_name: &task.name,
            retried_task_id: task.retries.map(|retried| state.task_id(retried).to_string()),
            workflow_type: &state.plan().definition.name,
            reason_for_incompletion: task.reason.as_deref(),
            priority: state.priority,
            created_by: task.worker.as_deref(),
            create_time: task.started_at.unwrap_or_default(),
            update_time: task.updated_at,
            status: task.status,
        })
    }

    fn common<'a>(
        &'a self,
        state: &'a Execution,
        target: Status,
        input: Json,
        output: Json,
    ) -> Common<'a> {
        Common {
            response_type: self.strategy,
            target_workflow_id: self.id,
            target_workflow_status: target,
            request_id: self.request_id,
            workflow_id: &state.id,
            correlation_id: state.correlation_id.as_deref(),
            input,
            output,
            signal_timeout: self.timed_out,
        }
    }
}

/// What every answer has: the protocol's `SignalResponse`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Common<'a> {
    response_type: ReturnStrategy,
    target_workflow_id: &'a ExecutionId,
    target_workflow_status: Status,
    request_id: &'a str,
    workflow_id: &'a ExecutionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    input: Json,
    output: Json,
    signal_timeout: bool,
}
