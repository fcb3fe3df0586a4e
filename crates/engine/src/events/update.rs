//! Queues of updates: messages that say by themselves which task they complete or fail.
//!
//! Such a message names a task in its member `externalId`, a JSON text with `workflowId` and
//! `taskRefName` or `taskId`; the whole message becomes the task's output.

use kernel::graph::{Execution, Kind, TaskStatus};
use kernel::{ExecutionId, TaskId};
use serde_json::{Map, Value, json};

use super::action::{Done, Failure, execution_id, object};
use super::broker::EventName;
use super::handling::Handling;
use crate::engine::Engine;

/// What a queue of updates stands for in the ledger, in place of a handler.
pub(super) const UPDATER: &str = "task-update-queue";

impl Engine {
    /// Listens to two queues whose messages complete and fail tasks: `prefix` followed by
    /// `COMPLETED` and by `FAILED`. `false` if the prefix is not of the form `type:name`.
    pub fn listen_for_updates(&self, prefix: &str) -> bool {
        let named = |status: TaskStatus| {
            Some((EventName::parse(&format!("{prefix}{}", status.as_str()))?, status))
        };
        let (Some(completed), Some(failed)) =
            (named(TaskStatus::Completed), named(TaskStatus::Failed))
        else {
            return false;
        };
        self.inner.events.updates.write().extend([completed, failed]);
        self.follow_queues();
        true
    }

    /// Completes or fails the task that a message names.
    pub(super) async fn update_by_message(
        &self,
        payload: &str,
        status: TaskStatus,
        handling: &mut Handling,
    ) -> Done {
        let message: Value = serde_json::from_str(payload)
            .map_err(|error| Failure::Final(format!("the message is not JSON: {error}")))?;
        let external = member(&message, "externalId");
        let external = external.filter(|text| !text.is_empty()).ok_or_else(|| {
            Failure::Final("No external Id found in the payload (externalId)".to_owned())
        })?;
        let external: Value = serde_json::from_str(external)
            .map_err(|error| Failure::Final(format!("the externalId is not JSON: {error}")))?;
        let text = |name: &str| member(&external, name).filter(|text| !text.is_empty());
        let workflow = text("workflowId")
            .ok_or_else(|| Failure::Final("No workflow id found in the message".to_owned()))?;
        let workflow = execution_id(workflow)?;
        let task = if let Some(task) = handling.task() {
            task
        } else {
            let task = self.task_of(&workflow, text("taskId"), text("taskRefName")).await?;
            handling.set_target(task.to_string().into());
            self.remember(handling).await?;
            task
        };
        self.end_task_once(&task, status, object(message), true, None).await?;
        Ok(shown(&task))
    }

    async fn task_of(
        &self,
        workflow: &ExecutionId,
        id: Option<&str>,
        reference: Option<&str>,
    ) -> Result<TaskId, Failure> {
        if let Some(id) = id {
            let task = TaskId::parse(id).filter(|task| task.execution == *workflow);
            return task.ok_or_else(|| {
                Failure::Final(format!("No task found with taskId: {id}, workflowId: {workflow}"))
            });
        }
        if let Some(reference) = reference {
            return self.open_task(workflow, reference).await;
        }
        let look = |state: &Execution| {
            let wait = state.open_tasks().find(|task| task.kind == Kind::Wait);
            wait.map(|task| state.task_id(task.sequence))
        };
        match self.read(workflow, look).await? {
            None => Err(Failure::Later(format!("No workflow found with ID: {workflow}"))),
            Some(None) => Err(Failure::Later(format!("workflow {workflow} has no open WAIT task"))),
            Some(Some(task)) => Ok(task),
        }
    }
}

fn shown(task: &TaskId) -> Map<String, Value> {
    object(json!({ "workflowId": task.execution, "taskId": task.to_string() }))
}

/// The first text member of a name, at any depth.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    match value {
        Value::Object(members) => members
            .get(name)
            .and_then(Value::as_str)
            .or_else(|| members.values().find_map(|value| member(value, name))),
        Value::Array(items) => items.iter().find_map(|value| member(value, name)),
        _ => None,
    }
}
