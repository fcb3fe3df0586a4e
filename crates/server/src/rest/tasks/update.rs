//! Taking reports on tasks: from workers by task id, from people and systems by reference name.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::store::LogLine;
use engine::{Engine, PollRequest};
use kernel::access::{Permission, Resource};
use kernel::graph::{Execution, Input, Kind, Report, TaskStatus, Verdict};
use kernel::{ExecutionId, Json, Rejected, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::poll::{one, take};
use super::{log, task_id, unknown};
use crate::Api;
use crate::access::{Routes, Scope};
use crate::problem::Problem;
use crate::rest::execute::{ReturnStrategy, settled, takes_signals};
use crate::rest::extract::{
    Answer, Body, LargeAnswer, Object, Path, Query, execution_id, lenient, object, unknown_workflow,
};
use crate::rest::view;
use crate::rest::workflow;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(
            (Permission::Work | Permission::Run).within(&[Resource::Task, Resource::Workflow]),
            routes!(update_task),
        )
        .on(Permission::Work.within(&[Resource::Task]), routes!(update_task_and_poll))
        .on(Permission::Run, routes!(update_task_by_reference))
        .on(Permission::Run, routes!(update_task_by_reference_and_show))
        .on(Permission::Run, routes!(signal))
        .on(Permission::Run, routes!(signal_and_wait))
}

/// What a worker reports: the protocol's `TaskResult`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::rest) struct TaskResult {
    /// An existing execution. The task id alone identifies the task.
    workflow_instance_id: Option<String>,
    /// The task.
    task_id: Option<String>,
    /// `IN_PROGRESS`, `COMPLETED`, `FAILED`, `FAILED_WITH_TERMINAL_ERROR` or `CANCELED`.
    status: Option<String>,
    /// The output, an object; replaces that of earlier updates.
    #[schema(value_type = Option<serde_json::Value>)]
    output_data: Option<Json>,
    /// Why it is not done or failed.
    #[schema(value_type = Option<String>)]
    reason_for_incompletion: Option<Arc<str>>,
    /// With `IN_PROGRESS`: make the task available again after so many seconds.
    #[serde(deserialize_with = "lenient::number")]
    callback_after_seconds: Option<i64>,
    /// Who reports.
    #[schema(value_type = Option<String>)]
    worker_id: Option<Arc<str>>,
    /// Lines for the task's log.
    logs: Option<Vec<ReportedLine>>,
    /// Not supported: there is no external payload storage.
    external_output_payload_storage_path: Option<String>,
    /// Heartbeat: restarts the response timeout and changes nothing else.
    extend_lease: Option<bool>,
    /// An execution that the worker started for this task; shown as the task's `subWorkflowId`.
    sub_workflow_id: Option<String>,
    /// Opaque notes of the worker.
    #[schema(value_type = Option<serde_json::Value>)]
    execution_metadata: Option<Json>,
}

#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct ReportedLine {
    log: Option<String>,
    /// Milliseconds since 1970.
    #[serde(deserialize_with = "lenient::number")]
    created_time: Option<i64>,
}

/// What a report says became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rest) enum Outcome {
    /// Not done yet.
    InProgress,
    /// It ended so.
    Ended(TaskStatus),
}

impl Outcome {
    /// Reads the protocol's word.
    ///
    /// # Errors
    /// 400 with the words there are.
    pub(in crate::rest) fn parse(text: &str) -> Result<Self, Problem> {
        Ok(Self::Ended(match text {
            "IN_PROGRESS" => return Ok(Self::InProgress),
            "COMPLETED" => TaskStatus::Completed,
            "FAILED" => TaskStatus::Failed,
            "FAILED_WITH_TERMINAL_ERROR" => TaskStatus::FailedWithTerminalError,
            "CANCELED" => TaskStatus::Canceled,
            _ => {
                return Err(Problem::bad_request(format!(
                    "a report cannot have the status '{text}'; it can have IN_PROGRESS, \
                     COMPLETED, FAILED, FAILED_WITH_TERMINAL_ERROR and CANCELED"
                )));
            }
        }))
    }

    fn verdict(self, callback_after: i64) -> Verdict {
        match self {
            Self::InProgress => Verdict::Again { after: callback_after },
            Self::Ended(status) => Verdict::Done(status),
        }
    }
}

/// Updates a task with the result of a worker. An update of a task that has ended is accepted and
/// changes nothing.
#[utoipa::path(
    post, path = "/api/tasks", tag = "tasks", request_body = TaskResult,
    responses(
        (status = 200, description = "The id of the task", body = String),
        (status = 404, description = "No such task"),
    )
)]
async fn update_task(
    State(api): State<Api>,
    scope: Scope,
    Body(result): Body<Option<TaskResult>>,
) -> Result<String, Problem> {
    let result = Checked::new(result.unwrap_or_default())?;
    result.must_be_within(&api.engine, &scope).await?;
    let id = result.task.to_string();
    result.apply(&api.engine).await?;
    Ok(id)
}

/// Updates a task with the result of a worker, and returns the next task of the same queue.
#[utoipa::path(
    post, path = "/api/tasks/update-v2", tag = "tasks", request_body = TaskResult,
    responses(
        (status = 200, description = "The next task", body = serde_json::Value),
        (status = 204, description = "No task is available, or the reported task is still in progress"),
        (status = 404, description = "No such task"),
    )
)]
async fn update_task_and_poll(
    State(api): State<Api>,
    scope: Scope,
    Body(result): Body<Option<TaskResult>>,
) -> Result<Response, Problem> {
    let result = Checked::new(result.unwrap_or_default())?;
    result.must_be_within(&api.engine, &scope).await?;
    let queue = api.engine.queue_of(&result.task);
    let worker = result.worker.clone();
    let ended = matches!(result.act, Act::Report(Outcome::Ended(_)));
    result.apply(&api.engine).await?;
    let Some(queue) = queue.filter(|_| ended) else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let request = PollRequest { queue, worker, count: 1, wait: Duration::ZERO };
    Ok(one(take(&api.engine, request).await?))
}

/// A worker's report that makes sense.
pub(in crate::rest) struct Checked {
    task: TaskId,
    /// What the reporter took for the task's execution, where that is another one.
    elsewhere: Option<ExecutionId>,
    act: Act,
    output: Option<Json>,
    reason: Option<Arc<str>>,
    callback_after: i64,
    worker: Option<Arc<str>>,
    metadata: Option<Json>,
    lines: Vec<ReportedLine>,
}

enum Act {
    Extend,
    Report(Outcome),
}

impl TaskResult {
    /// Checks a report on this task, whatever task it names itself.
    ///
    /// # Errors
    /// 400 with what is wrong.
    pub(in crate::rest) fn checked_for(self, task: &TaskId) -> Result<Checked, Problem> {
        let named = Self { task_id: Some(task.to_string()), workflow_instance_id: None, ..self };
        Checked::new(named)
    }
}

/// Takes a report that was checked before.
///
/// # Errors
/// The engine's.
pub(in crate::rest) async fn report_result(
    engine: &Engine,
    result: Checked,
) -> Result<(), Problem> {
    result.apply(engine).await
}

/// The output with the execution that the worker started, under the name that SUB_WORKFLOW gives it.
fn with_child(output: Json, child: Option<String>) -> Json {
    let Some(child) = child.filter(|child| !child.trim().is_empty()) else { return output };
    let mut members = output.parse();
    if let Some(members) = members.as_object_mut() {
        members.insert(view::CHILD.to_owned(), child.into());
    }
    Json::from(&members)
}

impl Checked {
    fn new(result: TaskResult) -> Result<Self, Problem> {
        let id = result.task_id.filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| Problem::bad_request("Task Id cannot be null or empty"))?;
        let task = task_id(&id)?;
        if result.external_output_payload_storage_path.is_some_and(|path| !path.is_empty()) {
            return Err(workflow::external_storage());
        }
        let act = if result.extend_lease == Some(true) {
            Act::Extend
        } else {
            Act::Report(Outcome::parse(result.status.as_deref().unwrap_or_default())?)
        };
        let named = result.workflow_instance_id.filter(|id| !id.is_empty());
        let elsewhere = named.filter(|id| **id != *task.execution.as_str()).map(ExecutionId::new);
        Ok(Self {
            task,
            elsewhere,
            act,
            output: Some(with_child(
                object(result.output_data.unwrap_or_default(), "'outputData'")?,
                result.sub_workflow_id,
            )),
            reason: result.reason_for_incompletion,
            callback_after: result.callback_after_seconds.unwrap_or(0).max(0),
            worker: result.worker_id.filter(|worker| !worker.is_empty()),
            metadata: result.execution_metadata.filter(|notes| !notes.is_empty_object()),
            lines: result.logs.unwrap_or_default(),
        })
    }

    /// Checks that the reporter may report on the task.
    ///
    /// # Errors
    /// 404 if it may not, as if there were none; so it is, too, if it names an execution of which it may
    /// not know whether there is one.
    async fn must_be_within(&self, engine: &Engine, scope: &Scope) -> Result<(), Problem> {
        let (execution, sequence) = (&self.task.execution, self.task.sequence);
        if !scope.covers_task(engine, execution, sequence).await? {
            return Err(unknown(&self.task.to_string()));
        }
        match &self.elsewhere {
            Some(named) if !scope.is_all() => Err(unknown_workflow(named.as_str())),
            _ => Ok(()),
        }
    }

    async fn apply(self, engine: &Engine) -> Result<(), Problem> {
        if let Some(named) = &self.elsewhere
            && engine.read(named, |_| ()).await?.is_none()
        {
            return Err(unknown_workflow(named.as_str()));
        }
        let (execution, sequence) = (&self.task.execution, self.task.sequence);
        match self.act {
            Act::Extend => match engine.step(execution, Input::Extend { sequence }).await {
                Ok(()) | Err(engine::Error::Rejected(Rejected::Stale(_))) => {}
                Err(error) => return Err(error.into()),
            },
            Act::Report(outcome) => {
                let report = Report {
                    sequence,
                    verdict: outcome.verdict(self.callback_after),
                    output: self.output,
                    merge: false,
                    reason: self.reason,
                    worker: self.worker,
                    started_at: None,
                    metadata: self.metadata,
                };
                engine.report(execution, report).await?;
            }
        }
        if self.lines.is_empty() {
            return Ok(());
        }
        let now = engine.now();
        let lines = self.lines.into_iter().map(|line| LogLine {
            at: line.created_time.filter(|at| *at > 0).map_or(now, Timestamp::from_millis),
            text: line.log.unwrap_or_default(),
        });
        log::append(engine, &self.task, lines.collect()).await
    }
}

#[derive(Debug, Deserialize, IntoParams)]
struct ByReferenceParams {
    /// Who reports.
    #[param(value_type = Option<String>)]
    workerid: Option<Arc<str>>,
}

/// Updates the open task of a reference name; the body is merged into its output.
#[utoipa::path(
    post, path = "/api/tasks/{workflowId}/{reference}/{status}", tag = "tasks",
    request_body = serde_json::Value,
    params(
        ("workflowId" = String, Path, description = "The id of the execution"),
        ("reference" = String, Path, description = "The reference name, with or without iteration"),
        ("status" = String, Path, description = "What became of it"),
        ByReferenceParams,
    ),
    responses(
        (status = 200, description = "The id of the task; empty if no such task is open", body = String),
        (status = 404, description = "No such workflow"),
    )
)]
async fn update_task_by_reference(
    State(api): State<Api>,
    Path((workflow, reference, status)): Path<(String, String, String)>,
    Query(params): Query<ByReferenceParams>,
    Object(output): Object,
) -> Result<String, Problem> {
    let outcome = Outcome::parse(&status)?;
    let Some(task) = pending(&api.engine, &workflow, &reference).await? else {
        return Ok(String::new());
    };
    report_on(&api.engine, &task, outcome, output, params.workerid).await?;
    Ok(task.to_string())
}

/// Updates the open task of a reference name, and returns the execution.
#[utoipa::path(
    post, path = "/api/tasks/{workflowId}/{reference}/{status}/sync", tag = "tasks",
    request_body = serde_json::Value,
    params(
        ("workflowId" = String, Path, description = "The id of the execution"),
        ("reference" = String, Path, description = "The reference name, with or without iteration"),
        ("status" = String, Path, description = "What became of it"),
        ByReferenceParams,
    ),
    responses(
        (status = 200, description = "The execution", body = serde_json::Value),
        (status = 404, description = "No such workflow, or no such task is open"),
    )
)]
async fn update_task_by_reference_and_show(
    State(api): State<Api>,
    Path((workflow, reference, status)): Path<(String, String, String)>,
    Query(params): Query<ByReferenceParams>,
    Object(output): Object,
) -> Result<LargeAnswer, Problem> {
    let outcome = Outcome::parse(&status)?;
    let task = pending(&api.engine, &workflow, &reference).await?.ok_or_else(|| {
        Problem::not_found(format!(
            "Found no running task {reference} of workflow {workflow} to update"
        ))
    })?;
    let share = workflow::room_for(&api, &workflow, true).await?;
    report_on(&api.engine, &task, outcome, output, params.workerid).await?;
    workflow::show_whole(&api, &workflow, true, share).await
}

/// Signals an execution: completes or fails the first WAIT, YIELD or HUMAN task that it waits for,
/// there or in its sub-workflows; nothing happens if there is none.
#[utoipa::path(
    post, path = "/api/tasks/{workflowId}/{status}/signal", tag = "tasks",
    request_body = serde_json::Value,
    params(
        ("workflowId" = String, Path, description = "The id of the execution"),
        ("status" = String, Path, description = "What becomes of the task"),
    ),
    responses(
        (status = 200, description = "Applied, if such a task was open"),
        (status = 404, description = "No such workflow"),
    )
)]
async fn signal(
    State(api): State<Api>,
    Path((workflow, status)): Path<(String, String)>,
    Object(output): Object,
) -> Result<(), Problem> {
    let outcome = Outcome::parse(&status)?;
    if let Some(task) = blocking(&api.engine, &workflow).await? {
        report_on(&api.engine, &task, outcome, output, None).await?;
    }
    Ok(())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct SignalParams {
    /// What to return; default `TARGET_WORKFLOW`.
    return_strategy: Option<ReturnStrategy>,
    /// Return the present state after so many milliseconds; default 5000.
    timeout_millis: Option<u64>,
}

/// Longest wait after a signal.
const SIGNAL_WAIT_MAX: Duration = Duration::from_hours(1);

/// Signals as above, and returns when the execution has ended or waits again.
#[utoipa::path(
    post, path = "/api/tasks/{workflowId}/{status}/signal/sync", tag = "tasks",
    request_body = serde_json::Value,
    params(
        ("workflowId" = String, Path, description = "The id of the execution"),
        ("status" = String, Path, description = "What becomes of the task"),
        SignalParams,
    ),
    responses(
        (status = 200, description = "The execution, or the task that it waits for", body = serde_json::Value),
        (status = 404, description = "No such workflow, or it is not waiting"),
    )
)]
async fn signal_and_wait(
    State(api): State<Api>,
    Path((workflow, status)): Path<(String, String)>,
    Query(params): Query<SignalParams>,
    Object(output): Object,
) -> Result<Answer, Problem> {
    let outcome = Outcome::parse(&status)?;
    let task = blocking(&api.engine, &workflow).await?.ok_or_else(|| {
        Problem::not_found(format!("Found no blocked task in workflow {workflow} to signal"))
    })?;
    report_on(&api.engine, &task, outcome, output, None).await?;
    let id = execution_id(&workflow)?;
    let wait = Duration::from_millis(params.timeout_millis.unwrap_or(5000)).min(SIGNAL_WAIT_MAX);
    let request_id = Engine::new_id().to_string();
    let strategy = params.return_strategy.unwrap_or_default();
    settled(&api.engine, &id, &[], wait, strategy, &request_id).await.map(Answer)
}

/// The open task of a reference name: of exactly this one, else of one in any iteration.
///
/// # Errors
/// 404 if there is no such execution.
pub(in crate::rest) async fn pending(
    engine: &Engine,
    workflow: &str,
    reference: &str,
) -> Result<Option<TaskId>, Problem> {
    let look = |state: &Execution| {
        let exact = state.open_tasks().find(|task| *task.reference == *reference);
        let found = exact.or_else(|| {
            state.open_tasks().find(|task| *state.node_of(task).reference == *reference)
        });
        found.map(|task| state.task_id(task.sequence))
    };
    workflow::show(engine, workflow, look).await
}

/// Reports on a task in the name of somebody other than its worker: `output` is added to what is
/// there.
pub(in crate::rest) async fn report_on(
    engine: &Engine,
    task: &TaskId,
    outcome: Outcome,
    output: Json,
    worker: Option<Arc<str>>,
) -> Result<(), Problem> {
    let report = Report {
        sequence: task.sequence,
        verdict: outcome.verdict(0),
        output: Some(output),
        merge: true,
        reason: None,
        worker,
        started_at: None,
        metadata: None,
    };
    Ok(engine.report(&task.execution, report).await?)
}

/// Executions looked through for a task that takes a signal.
const LOOKED_AT_MAX: usize = 256;

/// The first open task of an execution that takes a signal, else of the sub-workflows it waits for.
async fn blocking(engine: &Engine, workflow: &str) -> Result<Option<TaskId>, Problem> {
    let look = |state: &Execution| {
        let wait = state.open_tasks().find(|task| takes_signals(task));
        let children = state.open_tasks().filter(|task| task.kind == Kind::SubWorkflow);
        let mut children: Vec<ExecutionId> = children.filter_map(|t| t.child.clone()).collect();
        children.reverse();
        (wait.map(|task| state.task_id(task.sequence)), children)
    };
    let (mut found, mut ahead) = workflow::show(engine, workflow, look).await?;
    let mut looked_at = 1;
    while found.is_none() && looked_at < LOOKED_AT_MAX {
        let Some(next) = ahead.pop() else { break };
        looked_at += 1;
        if let Some((wait, children)) = engine.read(&next, look).await? {
            found = wait;
            ahead.extend(children);
        }
    }
    Ok(found)
}
