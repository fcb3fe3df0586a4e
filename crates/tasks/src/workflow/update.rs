//! `UPDATE_TASK`: reports on a waiting task of this or another execution.

use std::sync::Arc;

use async_trait::async_trait;
use engine::{ActsOn, Engine, Handoff, Outcome, Requirement, TaskRunner, WeakEngine};
use kernel::access::Permission;
use kernel::graph::{Execution, Input, Report, Task, TaskStatus, Verdict};
use kernel::{ExecutionId, Json, TaskId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Served, Trouble, execution_id, unknown};
use crate::input::{Members, completed, wrong};

/// Runs tasks of type `UPDATE_TASK`.
///
/// The updated task names this one as its worker. That is for people, and it lets a second run of
/// the same attempt see that the first one did its work.
#[derive(Default)]
pub struct UpdateTask(Served);

const TYPE: &str = "UPDATE_TASK";

#[async_trait]
impl TaskRunner for UpdateTask {
    fn task_type(&self) -> &'static str {
        TYPE
    }

    fn takes_secrets(&self) -> bool {
        false
    }

    fn attach(&self, engine: WeakEngine) {
        self.0.attach(engine);
    }

    fn requires(&self) -> Requirement {
        Requirement::EachThing
    }

    async fn run(&self, task: Handoff, _cancelled: CancellationToken) -> Outcome {
        self.update(&task).await.map_or_else(|trouble| trouble.outcome(TYPE), completed)
    }
}

impl UpdateTask {
    async fn update(&self, task: &Handoff) -> Result<Json, Trouble> {
        let input = Members::of(&task.input)?;
        let status = status(&input.required("taskStatus")?)?;
        let output = match input.get("taskOutput") {
            None => None,
            Some(value @ Value::Object(_)) => Some(Json::of(value)),
            Some(_) => return Err(wrong("taskOutput", "an object").into()),
        };
        let engine = self.0.engine()?;
        let target = target(&input)?;
        let own = execution_id(&task.execution_id)?;
        engine.must_be_allowed(&own, Permission::Run, ActsOn::Run(&target)).await?;
        let found = find(&engine, &input, &task.task_id).await?;
        let id = found.id.to_string();
        let mut answer = json!({ "updatedTaskId": id });
        if let Some(output) = &output {
            answer["taskOutput"] = output.parse();
        }
        if found.is_done(&task.task_id) {
            return Ok(Json::of(&answer));
        }
        let report = Report {
            sequence: found.id.sequence,
            verdict: Verdict::Done(status),
            output,
            merge: input.flag("mergeOutput", false)?,
            reason: input.text("reasonForIncompletion")?.map(Arc::from),
            worker: Some(task.task_id.as_str().into()),
            started_at: None,
            metadata: None,
        };
        engine.step(&found.id.execution, Input::Report(Box::new(report))).await?;
        Ok(Json::of(&answer))
    }
}

fn status(text: &str) -> Result<TaskStatus, Trouble> {
    match text.to_ascii_uppercase().as_str() {
        "COMPLETED" => Ok(TaskStatus::Completed),
        "FAILED" => Ok(TaskStatus::Failed),
        "FAILED_WITH_TERMINAL_ERROR" => Ok(TaskStatus::FailedWithTerminalError),
        _ => Err(Trouble::Lasting(format!(
            "`taskStatus` must be COMPLETED, FAILED or FAILED_WITH_TERMINAL_ERROR, not '{text}'"
        ))),
    }
}

/// The task to report on.
struct Found {
    id: TaskId,
    closed: bool,
    worker: Option<Arc<str>>,
}

impl Found {
    fn of(state: &Execution, task: &Task) -> Self {
        Self {
            id: state.task_id(task.sequence),
            closed: task.status.is_closed(),
            worker: task.worker.clone(),
        }
    }

    /// Whether an earlier run of the attempt `by` has ended it.
    fn is_done(&self, by: &str) -> bool {
        self.closed && self.worker.as_deref() == Some(by)
    }
}

/// The workflow whose task is meant.
fn target(input: &Members) -> Result<ExecutionId, Trouble> {
    if let Some(text) = input.text("taskId")? {
        let missing = || Trouble::Lasting(format!("there is no task with the id {text}"));
        return TaskId::parse(&text).map(|id| id.execution).ok_or_else(missing);
    }
    let needed = "`taskId` is missing, or `workflowId` and `taskRefName`";
    let workflow = input.text("workflowId")?;
    execution_id(&workflow.ok_or_else(|| Trouble::Lasting(needed.to_owned()))?)
}

async fn find(engine: &Engine, input: &Members, own: &str) -> Result<Found, Trouble> {
    if let Some(text) = input.text("taskId")? {
        let missing = || Trouble::Lasting(format!("there is no task with the id {text}"));
        let id = TaskId::parse(&text).ok_or_else(missing)?;
        let look = |state: &Execution| state.task(id.sequence).map(|task| Found::of(state, task));
        return engine.read(&id.execution, look).await?.flatten().ok_or_else(missing);
    }
    let (Some(workflow), Some(reference)) = (input.text("workflowId")?, input.text("taskRefName")?)
    else {
        let needed = "`taskId` is missing, or `workflowId` and `taskRefName`";
        return Err(Trouble::Lasting(needed.to_owned()));
    };
    let id = execution_id(&workflow)?;
    let found = engine.read(&id, |state| by_reference(state, &reference, own)).await?;
    found.ok_or_else(|| unknown(&id))?.ok_or_else(|| {
        let reason = format!("workflow {id} has not reached a task of reference name {reference}");
        // It may get there: a task that waits in parallel is scheduled at its own pace.
        Trouble::Passing(reason)
    })
}

/// The one that this attempt ended before, else the open task of exactly this reference name, else
/// an open one in any iteration, else the latest, whose end is then told.
fn by_reference(state: &Execution, reference: &str, own: &str) -> Option<Found> {
    let named = |task: &&Task| {
        *task.reference == *reference || *state.node_of(task).reference == *reference
    };
    let done = state.tasks().filter(named).map(|task| Found::of(state, task));
    if let Some(done) = done.into_iter().find(|found| found.is_done(own)) {
        return Some(done);
    }
    let exact = state.open_tasks().find(|task| *task.reference == *reference);
    let open = exact.or_else(|| state.open_tasks().find(named));
    open.or_else(|| state.latest(reference)).map(|task| Found::of(state, task))
}
