//! ACTS: loads, decides, commits and dispatches; owns timers, queues and leases.

pub mod conformance;
pub mod memory;
mod runner;
pub mod search;
pub mod store;

pub use runner::{Handoff, Outcome, OutcomeStatus, TaskRunner};
