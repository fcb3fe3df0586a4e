//! What happens to a machine whose facts contradict each other.
//!
//! A fact that cannot follow those before it means that the history is damaged, or that the code which
//! decided it is wrong. To ignore it would be to go on with a state that lies. So folding stops, in
//! release builds as well: the engine sets that one machine aside (quarantine), with the reason, and
//! all others go on. Each machine has a `check` of what must hold before a fact is folded.
//!
//! What comes late or twice is none of this: decisions answer it with
//! [`Rejected`](crate::Rejected), and it never becomes a fact.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::id::ExecutionId;

/// Stops folding, unless something holds: `consistent!(holds, machine's id, fact, "why not")`.
macro_rules! consistent {
    ($holds:expr, $machine:expr, $event:expr, $($why:tt)+) => {
        if !$holds {
            $crate::contradiction::stop(&$machine, $event, format_args!($($why)+));
        }
    };
}

pub(crate) use consistent;

/// Why folding may take for granted what a fact names: a machine's `check` has seen to it.
pub(crate) const CHECKED: &str = "a fact is checked before it is folded";

/// Stops folding.
///
/// # Panics
/// Always; the message has the machine, the kind of the fact and why, and nothing of payloads.
#[cold]
#[track_caller]
pub(crate) fn stop(machine: &ExecutionId, event: &impl Serialize, why: fmt::Arguments<'_>) -> ! {
    let kind = match serde_json::to_value(event) {
        Ok(Value::String(kind)) => kind,
        Ok(Value::Object(members)) => members.keys().next().cloned().unwrap_or_default(),
        _ => "?".to_owned(),
    };
    panic!("the history of {machine} contradicts itself at a fact '{kind}': {why}");
}
