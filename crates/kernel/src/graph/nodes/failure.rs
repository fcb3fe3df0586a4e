//! The workflow that an author wants to run when an execution has failed.

use serde_json::Value;

use super::super::context::Context;
use super::super::execution::Execution;
use super::super::input::StartMessage;
use super::super::object::ObjectText;
use super::super::scope::View;
use crate::expression::Template;
use crate::id::ExecutionId;
use crate::json::Json;

/// The id and name of the failure workflow; `None` if the author wants none.
pub(in super::super) fn target(
    state: &Execution,
    context: &Context<'_>,
) -> Option<(ExecutionId, String)> {
    let mut written = state.plan().definition.failure_workflow.clone()?;
    // Conductor's own form has no braces: `$workflow.input.onFailure`.
    if let Some(path) = written.strip_prefix("$workflow.") {
        written = format!("${{workflow.{path}}}");
    }
    let view = View::new(state, context, None);
    let name = match Template::compile(&Value::String(written)).render(&view).parse() {
        Value::String(name) => name.trim().to_owned(),
        _ => String::new(),
    };
    let id = id(state, state.end_count + 1);
    (!name.is_empty()).then_some((id, name))
}

/// The id of the failure workflow that the end of this number, from 1, starts.
fn id(state: &Execution, end: u32) -> ExecutionId {
    state.id.derive("failure", end)
}

impl Execution {
    /// Whether one of its ends has started this execution as its failure workflow.
    pub fn has_begun_failure_workflow(&self, other: &ExecutionId) -> bool {
        (1..=self.end_count).any(|end| id(self, end) == *other)
    }
}

/// The start of the failure workflow of an execution that has ended, on account of `culprit` if of
/// a task. The engine adds the whole failed execution to its input.
pub(in super::super) fn message(
    state: &Execution,
    name: &str,
    culprit: Option<u32>,
) -> StartMessage {
    let text = |text: &str| Json::of(&text);
    let mut input = ObjectText::new();
    input.members_of(&state.input);
    input.member("workflowId", text(state.id.as_str()).text());
    input.member("reason", text(state.reason.as_deref().unwrap_or_default()).text());
    input.member("failureStatus", text(state.status.as_str()).text());
    if let Some(culprit) = culprit {
        input.member("failureTaskId", text(&state.task_id(culprit).to_string()).text());
    }
    let version = state.plan().definition.failure_workflow_version;
    StartMessage {
        name: name.into(),
        version: version.and_then(|version| u32::try_from(version).ok()).filter(|v| *v > 0),
        definition: None,
        input: input.finish(),
        correlation_id: state.correlation_id.clone(),
        priority: 0,
        task_to_domain: state.task_to_domain.clone(),
        parent: None,
        asked_by: None,
        event: None,
        created_by: None,
        acts_as: state.acts_as.clone(),
        idempotency: None,
        failure_of: Some(state.id.clone()),
    }
}
