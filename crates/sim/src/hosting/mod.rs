//! The engine that ships, in a simulated world: one process that hosts executions, schedules,
//! monitors, orchestrations and entities together, over a store that conflicts, fails, hangs and
//! loses answers; workers and people outside, whom the end of the process does not end.
//!
//! The engine runs on one thread, on tokio's paused clock: time passes only when nothing else is to
//! be done, and then at once. A seed decides everything, so the same seed tells the same story. The
//! process dies by dropping its runtime with every task in it; the next one finds the store.

mod auditor;
mod coders;
mod faults;
mod operators;
mod people;
mod ports;
mod program;
mod shadow;
mod store;
mod watching;
mod workers;
mod world;

use std::collections::BTreeMap;

use crate::world::Failure;

/// What a run has seen, to know that the seeds reach what they should, and to compare runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Processes that lived, one after the other.
    pub lives: u64,
    /// Commits that the store took.
    pub commits: u64,
    /// Everything that was committed and seen outside, in its order, as one number.
    pub story: u64,
    /// What happened, and how often.
    pub counts: BTreeMap<String, u64>,
}

/// Runs one seed.
///
/// # Errors
/// What is wrong, and how it came to it.
pub fn run(seed: u64) -> Result<Tally, Box<Failure>> {
    world::run(seed, false)
}

/// Runs one seed in which a decision on one execution and one run of a task panic.
///
/// # Errors
/// As [`run`]; that anything else does not end right is wrong.
pub fn run_with_panics(seed: u64) -> Result<Tally, Box<Failure>> {
    world::run(seed, true)
}
