//! DECIDES: the pure, deterministic core. No clock, no I/O, no randomness.

pub mod definition;
pub mod expression;
pub mod graph;
mod id;
mod json;
mod machine;
mod script;
mod time;

pub use id::{ExecutionId, MachineKind, TaskId};
pub use json::Json;
pub use machine::{Decision, Dispatch, Effect, Machine, Record, Rejected};
pub use script::{Form, ScriptError, ScriptErrorKind, Scripts};
pub use time::Timestamp;
