//! DECIDES: the pure, deterministic core. No clock, no I/O, no randomness.

pub mod access;
pub mod alert;
mod contradiction;
pub mod cron;
pub mod definition;
pub mod durable;
pub mod editor;
pub mod expression;
pub mod graph;
mod id;
mod json;
mod machine;
mod place;
mod queue_row;
pub mod rewrite;
pub mod schedule;
mod script;
pub mod status_page;
mod time;
pub mod trace;

pub use id::{ExecutionId, MachineKind, TaskId};
pub use json::Json;
pub use machine::{
    CachedOutput, Decision, Dispatch, Effect, Machine, PermitRequest, Publication, Record, Rejected,
};
pub use place::Place;
pub use queue_row::{Permit, RowKind};
pub use script::{
    Form, SCRIPT_WALL_FACTOR, ScriptError, ScriptErrorKind, Scripts, VIOLATIONS_MAX, Violation,
};
pub use time::Timestamp;
