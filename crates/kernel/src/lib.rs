//! DECIDES: the pure, deterministic core. No clock, no I/O, no randomness.

pub mod definition;
mod id;
mod json;
mod script;
mod time;

pub use id::{ExecutionId, TaskId};
pub use json::Json;
pub use script::{Form, ScriptError, ScriptErrorKind, Scripts};
pub use time::Timestamp;
