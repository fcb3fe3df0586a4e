//! ACTS: loads, decides, commits and dispatches; owns timers, queues and leases.

mod runner;
pub mod search;
pub mod store;

pub use runner::{Handoff, Outcome, OutcomeStatus, TaskRunner};
