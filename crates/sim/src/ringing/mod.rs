//! Monitors in a simulated world: what is bad comes and goes, receivers take what they are told,
//! refuse it or fall silent, and the process dies between any two steps of *check → incident →
//! delivery*.
//!
//! Checks and deliveries are real executions, so that nothing of the way is left out: the monitor's
//! commit, the messages, the rows in queues, the hand-over to a runner, its report. [`run`] lets
//! everything go wrong at once; [`run_killed_at`] kills the process at one certain point and lets
//! all else be, so that a test can go through every point in turn.

mod auditor;
mod faults;
mod file;
mod host;
pub mod mutant;
mod outside;
mod people;
mod world;

use std::collections::BTreeMap;

use crate::world::Failure;

pub use mutant::{Real, Watcher};

/// What a run has seen, to know that the seeds reach what they should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Points at which the process could have died.
    pub points: u64,
    /// Times that it died.
    pub deaths: u64,
    /// Kinds of a monitor's facts, notifications taken and the like, and how many of each.
    pub counts: BTreeMap<String, u64>,
}

/// Runs one seed, with everything going wrong that the seed wants.
///
/// # Errors
/// What is wrong, and how it came to it.
pub fn run(seed: u64, kernel: &dyn Watcher) -> Result<Tally, Box<Failure>> {
    world::World::new(seed, kernel, None).run(seed)
}

/// Runs one seed in which the process never dies but at this point, counted from 1.
///
/// # Errors
/// What is wrong, and how it came to it.
pub fn run_killed_at(seed: u64, point: u64, kernel: &dyn Watcher) -> Result<Tally, Box<Failure>> {
    world::World::new(seed, kernel, Some(point)).run(seed)
}
