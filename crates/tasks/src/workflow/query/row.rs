//! One execution in an answer: the members of the protocol's summary, with payloads as text.

use kernel::graph::Execution;
use serde::Serialize;

/// One execution in an answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    workflow_type: String,
    version: u32,
    workflow_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    start_time: String,
    update_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<String>,
    status: &'static str,
    /// Absent when there is no room for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    /// Absent when there is no room for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_for_incompletion: Option<String>,
    /// Milliseconds from beginning to end; 0 before the end.
    execution_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    failed_reference_task_names: String,
    failed_task_names: Vec<String>,
    priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_workflow_id: Option<String>,
    input_size: usize,
    output_size: usize,
}

impl Row {
    /// Shows an execution; its payloads only if they fit into the `room` that is left.
    pub(super) fn of(state: &Execution, room: &mut usize) -> Self {
        let definition = &state.plan().definition;
        let left = room.checked_sub(state.input.len() + state.output.len());
        let payloads = left.map(|_| (state.input.to_string(), state.output.to_string()));
        *room = left.unwrap_or(0);
        let (input, output) = payloads.unzip();
        let failed: Vec<&str> = state.failed_references().into_iter().collect();
        Self {
            workflow_type: definition.name.clone(),
            version: u32::try_from(definition.version).unwrap_or_default(),
            workflow_id: state.id.to_string(),
            correlation_id: state.correlation_id.as_deref().map(str::to_owned),
            start_time: state.created_at.to_string(),
            update_time: state.updated_at.to_string(),
            end_time: state.ended_at.map(|at| at.to_string()),
            status: state.status.as_str(),
            input,
            output,
            reason_for_incompletion: state.reason.as_deref().map(str::to_owned),
            execution_time: state.ended_at.map_or(0, |ended| ended.since(state.created_at)),
            event: state.event.as_deref().map(str::to_owned),
            failed_reference_task_names: failed.join(","),
            failed_task_names: state.failed_names().into_iter().map(str::to_owned).collect(),
            priority: state.priority,
            parent_workflow_id: state.parent.as_ref().map(|parent| parent.execution.to_string()),
            input_size: state.input.len(),
            output_size: state.output.len(),
        }
    }
}
