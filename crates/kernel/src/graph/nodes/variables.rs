//! SET_VARIABLE: every member of the input becomes a workflow variable.

use super::super::draft::{Draft, End};
use super::super::event::Event;
use super::super::object::merged;
use crate::json::Json;

pub(super) fn begin(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let set = task.input.clone();
    let end = if let Some(reason) = too_large(draft, &set) {
        End::failed_terminally(reason)
    } else {
        if !set.is_empty_object() {
            draft.push(Event::Variables { set });
        }
        End::done()
    };
    draft.close(sequence, end);
}

fn too_large(draft: &Draft<'_>, set: &Json) -> Option<String> {
    let limit = draft.context.limits.variables_max;
    let size = merged(&draft.state.variables, set).len();
    (size > limit).then(|| {
        format!("variables of {size} bytes exceed the limit of {limit} bytes (variables_max)")
    })
}
