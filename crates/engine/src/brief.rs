//! What lists show of an execution beyond its head, kept where reading its history would cost much.
//!
//! A short history is read faster than a copy of half of it is written, so only executions with
//! [`LONG_BYTES`] of history and more have a brief. It is written with the commit that changes it.

use std::collections::BTreeSet;

use kernel::graph::{Event, Execution, TaskStatus};
use kernel::{ExecutionId, Json};
use serde::{Deserialize, Serialize};

use crate::store::Head;

/// Bytes of history from which on a brief is kept.
pub const LONG_BYTES: usize = 64 << 10;

/// Bytes of an input or output that lists show; what follows is cut off, also where there is no
/// brief.
pub const PAYLOAD_MAX: usize = 64 << 10;

/// Bytes of all names of failed tasks together.
const NAMES_MAX: usize = 16 << 10;

/// What lists show of an execution beyond its head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    /// The version of its definition, as authored.
    pub version: i32,
    /// The beginning of its input, masked.
    pub input: String,
    /// The beginning of its output, masked.
    pub output: String,
    /// Why it ended as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// References of tasks that failed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed_references: BTreeSet<String>,
    /// Names of tasks that failed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed_names: BTreeSet<String>,
    /// Who started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Domains of its tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_to_domain: Option<Json>,
    /// The key under which it was started once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// What started it, of any kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ExecutionId>,
}

impl Brief {
    /// Head and brief of a state, as the store would give them.
    pub fn with_head(state: &Execution) -> (Head, Self) {
        (crate::head::of(state, 0), Self::of(state))
    }

    /// The brief of a state.
    pub fn of(state: &Execution) -> Self {
        let owned = |text: &std::sync::Arc<str>| text.to_string();
        Self {
            version: state.plan().definition.version,
            input: payload(state, &state.input),
            output: payload(state, &state.output),
            reason: state.reason.as_ref().map(owned),
            failed_references: some(state.failed_references()),
            failed_names: some(state.failed_names()),
            created_by: state.created_by.as_ref().map(owned),
            task_to_domain: state.task_to_domain.clone(),
            idempotency_key: state.idempotency_key.as_ref().map(owned),
            parent: state.parent.as_ref().map(|parent| parent.execution.clone()),
        }
    }
}

fn payload(state: &Execution, payload: &Json) -> String {
    let shown = state.shown(payload);
    let text = shown.text();
    text[..text.floor_char_boundary(PAYLOAD_MAX)].to_owned()
}

/// The first of the names, as many as there is room for.
fn some(names: BTreeSet<&str>) -> BTreeSet<String> {
    let mut room = NAMES_MAX;
    let fits = |name: &&str| {
        let left = room.checked_sub(name.len());
        room = left.unwrap_or(room);
        left.is_some()
    };
    names.into_iter().take_while(fits).map(str::to_owned).collect()
}

/// Whether facts may change the brief: all may that are not of tasks alone.
pub(crate) fn is_changed(events: &[Event]) -> bool {
    events.iter().any(|event| match event {
        // What failed counts in an execution that had ended before.
        Event::Closed(closed) => {
            matches!(closed.status, TaskStatus::Failed | TaskStatus::FailedWithTerminalError)
        }
        Event::At(_)
        | Event::Scheduled(_)
        | Event::Forked { .. }
        | Event::Begun { .. }
        | Event::Claimed { .. }
        | Event::Progressed(_)
        | Event::Iterated { .. }
        | Event::Variables { .. }
        | Event::Alerted { .. }
        | Event::Yielded
        | Event::ChildStarted { .. }
        | Event::Watched { .. }
        | Event::Posted { .. }
        | Event::Collected { .. } => false,
        _ => true,
    })
}
