//! Starting a workflow and waiting for it: the answer comes with the commit that makes it ready.

use std::time::Duration;

use axum::extract::State;
use engine::{Engine, Seen};
use futures_util::future::select_all;
use kernel::graph::{Execution, Kind, Status, Task};
use kernel::{ExecutionId, Json};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Answer, Body, Path, Query, object, unreadable};
use super::view::{self, Lens};
use super::workflow::{StartRequest, begin, show};
use crate::Api;
use crate::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(execute_workflow))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct ExecuteParams {
    /// Echoed in the answer.
    request_id: Option<String>,
    /// Answer as soon as one of these tasks has ended; reference names, comma-separated.
    wait_until_task_ref: Option<String>,
    /// Answer with the present state after so many seconds; default 10, at most 3600.
    wait_for_seconds: Option<u64>,
    /// What to answer; default `TARGET_WORKFLOW`.
    return_strategy: Option<ReturnStrategy>,
}

/// What of an execution, or of what holds it up, is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ReturnStrategy {
    /// The execution that was asked for.
    #[default]
    TargetWorkflow,
    /// The execution, perhaps a sub-workflow, whose task is being waited for.
    BlockingWorkflow,
    /// The task that is being waited for.
    BlockingTask,
    /// The same.
    BlockingTaskInput,
}

/// Starts a workflow and answers when it has ended or waits for the outside.
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
    Path((name, version)): Path<(String, i64)>,
    Query(params): Query<ExecuteParams>,
    Body(body): Body<Json>,
) -> Result<Answer, Problem> {
    let mut request = request_of(body, &name)?;
    request.name = Some(name);
    request.version = Some(version);
    let id = begin(&api.engine, request).await?;
    let references = params.wait_until_task_ref.unwrap_or_default();
    let references: Vec<String> = references
        .split(',')
        .map(|reference| reference.trim().to_owned())
        .filter(|reference| !reference.is_empty())
        .collect();
    let seconds = params.wait_for_seconds.filter(|seconds| *seconds > 0).unwrap_or(10);
    let wait = Duration::from_secs(seconds.min(WAIT_MAX_SECONDS));
    let request_id = params
        .request_id
        .filter(|id| !id.is_empty())
        .unwrap_or_else(|| Engine::new_id().to_string());
    let strategy = params.return_strategy.unwrap_or_default();
    settled(&api.engine, &id, &references, wait, strategy, &request_id).await.map(Answer)
}

/// Longest wait for an answer.
const WAIT_MAX_SECONDS: u64 = 3600;

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
    let mut deadline = tokio::time::Instant::now() + wait;
    loop {
        let mut watched = Vec::new();
        let standing = look(engine, id, references, &mut watched).await?;
        let in_time = tokio::time::Instant::now() < deadline;
        if standing.is_settled() || !in_time {
            let answer =
                Answering { engine, id, strategy, request_id, timed_out: !standing.is_settled() };
            return answer.show(standing).await;
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
    watched: &mut Vec<watch::Receiver<Seen>>,
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
    task.kind == Kind::Wait && task.begun && task.until.is_none()
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
