//! What search and lists know of an execution, taken from its state.

use kernel::graph::{Event, Execution};
use kernel::{Json, MachineKind};

use crate::store::Head;

/// The head row of a state.
pub(crate) fn of(state: &Execution, version: u64) -> Head {
    let definition = &state.plan().definition;
    let failed: Vec<&str> = if state.status.is_closed() {
        state.failed_references().into_iter().take(FAILED_MAX).collect()
    } else {
        Vec::new()
    };
    Head {
        id: state.id.clone(),
        version,
        name: definition.name.as_str().into(),
        definition_version: u32::try_from(definition.version).unwrap_or(1),
        status: state.status.as_str(),
        closed: state.status.is_closed(),
        correlation_id: state.correlation_id.clone(),
        // What a schedule or a monitor started stands by itself in lists.
        parent: state
            .parent
            .as_ref()
            .map(|parent| parent.execution.clone())
            .filter(|parent| parent.machine() == MachineKind::Execution),
        priority: state.priority,
        created_at: state.created_at,
        updated_at: state.updated_at,
        ended_at: state.ended_at,
        wake_at: state.wake_at(),
        reason: state.reason.as_ref().map(|reason| cut(reason, REASON_MAX).into()),
        failed_references: failed.join(",").into(),
        event: state.event.clone(),
        input_size: size(&state.input),
        output_size: size(&state.output),
    }
}

/// The searchable text, when something of it has changed: at the begin and at the end.
pub(crate) fn text(state: &Execution, events: &[Event]) -> Option<String> {
    let changed = events.iter().any(|e| matches!(e, Event::Started(_) | Event::Ended(_)));
    changed.then(|| {
        let parts = [
            state.plan().definition.name.as_str(),
            state.correlation_id.as_deref().unwrap_or_default(),
            state.reason.as_deref().unwrap_or_default(),
            cut(state.input.text(), TEXT_MAX),
            cut(state.output.text(), TEXT_MAX),
        ];
        parts.join("\n")
    })
}

/// Failed references named in a head.
const FAILED_MAX: usize = 50;
/// Bytes of the reason kept in a head.
const REASON_MAX: usize = 2000;
/// Bytes of input and of output that free text search sees.
const TEXT_MAX: usize = 16 << 10;

fn size(json: &Json) -> u32 {
    u32::try_from(json.len()).unwrap_or(u32::MAX)
}

fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}
