//! What `${…}` sees of an execution: the workflow, its tasks by reference, and the environment.

use std::sync::Arc;

use super::context::Context;
use super::execution::{Execution, Task};
use super::object::ObjectText;
use crate::expression::Scope;
use crate::json::Json;

/// An execution as expressions see it.
pub(super) struct View<'a> {
    state: &'a Execution,
    context: &'a Context<'a>,
    task: Option<u32>,
}

impl<'a> View<'a> {
    /// `task` is the one whose expressions are resolved.
    pub(super) fn new(state: &'a Execution, context: &'a Context<'a>, task: Option<u32>) -> Self {
        Self { state, context, task }
    }

    fn workflow(&self, field: &str) -> Option<Json> {
        let state = self.state;
        let definition = &state.plan().definition;
        let parent = state.parent.as_ref();
        Some(match field {
            "input" => state.input.clone(),
            "output" => state.output.clone(),
            "variables" => state.variables.clone(),
            "status" => text(state.status.as_str()),
            "workflowId" => text(state.id.as_str()),
            "workflowType" | "workflowName" => text(&definition.name),
            "version" => Json::of(&definition.version),
            "schemaVersion" => Json::of(&definition.schema_version),
            "correlationId" => optional(state.correlation_id.as_ref()),
            "reasonForIncompletion" => optional(state.reason.as_ref()),
            "parentWorkflowId" => Json::of(&parent.map(|parent| &parent.execution)),
            "parentWorkflowTaskId" => Json::of(&parent.map(|parent| {
                crate::id::TaskId::new(parent.execution.clone(), parent.sequence).to_string()
            })),
            "createTime" | "startTime" => Json::of(&state.created_at),
            "idempotencyKey" => optional(state.idempotency_key.as_ref()),
            "taskToDomain" => state.task_to_domain.clone().unwrap_or_default(),
            "priority" => Json::of(&state.priority),
            _ => return None,
        })
    }

    fn task(&self, task: &Task, field: &str) -> Option<Json> {
        let state = self.state;
        Some(match field {
            "input" => task.input.clone(),
            "output" => state.output_of(task),
            "status" => text(task.status.as_str()),
            "taskType" => text(&task.task_type),
            "referenceTaskName" => text(&task.reference),
            "retryCount" => Json::of(&task.attempt),
            "correlationId" => optional(state.correlation_id.as_ref()),
            "pollCount" => Json::of(&task.poll_count),
            "taskDefName" => text(&task.name),
            "scheduledTime" => Json::of(&task.scheduled_at),
            "startTime" => Json::of(&task.started_at.unwrap_or_default()),
            "endTime" => Json::of(&task.ended_at.unwrap_or_default()),
            "workflowInstanceId" => text(state.id.as_str()),
            "taskId" => text(&state.task_id(task.sequence).to_string()),
            "reasonForIncompletion" => optional(task.reason.as_ref()),
            "callbackAfterSeconds" => Json::of(&task.callback_after),
            "workerId" => optional(task.worker.as_ref()),
            "iteration" => Json::of(&iteration_of(task)),
            _ => return None,
        })
    }
}

/// The iteration that a task belongs to; of a loop, the one it is in. 0 outside loops.
pub fn iteration_of(task: &Task) -> u32 {
    if task.iteration > 0 { task.iteration } else { task.path.last().copied().unwrap_or(0) }
}

fn text(text: &str) -> Json {
    Json::of(&text)
}

fn optional(text: Option<&Arc<str>>) -> Json {
    Json::of(&text)
}

/// The fields of a workflow that are shown with it.
pub(crate) const WORKFLOW_FIELDS: [&str; 12] = [
    "input",
    "output",
    "variables",
    "status",
    "workflowId",
    "workflowType",
    "version",
    "schemaVersion",
    "correlationId",
    "reasonForIncompletion",
    "parentWorkflowId",
    "parentWorkflowTaskId",
];

/// The fields of a task.
pub(crate) const TASK_FIELDS: [&str; 18] = [
    "input",
    "output",
    "status",
    "taskType",
    "referenceTaskName",
    "retryCount",
    "correlationId",
    "pollCount",
    "taskDefName",
    "scheduledTime",
    "startTime",
    "endTime",
    "workflowInstanceId",
    "taskId",
    "reasonForIncompletion",
    "callbackAfterSeconds",
    "workerId",
    "iteration",
];

impl Scope for View<'_> {
    fn field(&self, root: &str, field: &str) -> Option<Json> {
        if root == "workflow" {
            return self.workflow(field);
        }
        self.task(self.state.latest(root)?, field)
    }

    fn part(&self, root: &str, field: &str, member: &str) -> Option<Json> {
        if field != "output" || root == "workflow" {
            return None;
        }
        Execution::part_of_output(self.state.latest(root)?, member)
    }

    fn document(&self, root: &str) -> Option<Json> {
        let mut object = ObjectText::new();
        let mut add = |field: &str, value: Option<Json>| {
            if let Some(value) = value {
                object.member(field, value.text());
            }
        };
        if root == "workflow" {
            for field in WORKFLOW_FIELDS {
                add(field, self.workflow(field));
            }
        } else {
            let task = self.state.latest(root)?;
            for field in TASK_FIELDS {
                add(field, self.task(task, field));
            }
        }
        Some(object.finish())
    }

    fn bytes_max(&self) -> usize {
        self.context.limits.payload_max
    }

    fn bare(&self, name: &str) -> Option<Json> {
        match name {
            "CPEWF_TASK_ID" => {
                let id = self.state.task_id(self.task?);
                Some(text(&id.to_string()))
            }
            // Only what is declared for workflows is shown, never the process's own environment.
            _ => self.context.world.environment(name).map(|value| text(&value)),
        }
    }
}
