//! TERMINATE: the author ends the execution.

use serde_json::Value;

use super::super::draft::{Draft, End};
use super::super::status::Status;
use crate::json::Json;

pub(super) fn begin(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let input = task.input.parse();
    let text = |key: &str| input.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let wanted = text("terminationStatus").unwrap_or_default().to_uppercase();
    let status = match wanted.as_str() {
        "COMPLETED" => Status::Completed,
        "FAILED" => Status::Failed,
        "TERMINATED" => Status::Terminated,
        _ => {
            let reason = format!(
                "terminationStatus is '{wanted}': it must be COMPLETED, FAILED or TERMINATED"
            );
            return draft.close(sequence, End::failed_terminally(reason));
        }
    };
    let output = match input.get("workflowOutput") {
        None | Some(Value::Null) => Json::empty_object(),
        Some(object @ Value::Object(_)) => Json::of(object),
        Some(other) => Json::of(&serde_json::json!({ "output": other })),
    };
    let reason = text("terminationReason").map_or_else(
        || {
            let id = draft.state.task_id(sequence);
            format!("Workflow is {wanted} by TERMINATE task: {id}")
        },
        str::to_owned,
    );
    draft.close(sequence, End::completed(output.clone()));
    match status {
        Status::Completed => draft.end(status, Some(output), Some(reason.into())),
        _ => draft.fail_because_of(sequence, status, Some(output), reason),
    }
}
