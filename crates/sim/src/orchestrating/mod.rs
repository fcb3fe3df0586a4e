//! Orchestrations and entities in a simulated world: workers replay histories as SDKs do, die, answer
//! late, twice, with what cannot be; clients raise, pause, end, rewind and begin anew; the process
//! dies between any two steps.
//!
//! [`run`] lets everything go wrong at once; [`run_killed_at`] kills the process at one certain point
//! and lets all else be, so that a test can go through every point in turn.

mod auditor;
mod clients;
mod faults;
mod host;
pub mod mutant;
mod program;
mod replay;
mod workers;
mod world;

use crate::ringing::Tally;
use crate::world::Failure;

pub use mutant::{Keeper, Real};

/// Runs one seed, with everything going wrong that the seed wants.
///
/// # Errors
/// What is wrong, and how it came to it.
pub fn run(seed: u64, keeper: &dyn Keeper) -> Result<Tally, Box<Failure>> {
    world::World::new(seed, keeper, None).run(seed)
}

/// Runs one seed in which the process never dies but at this point, counted from 1.
///
/// # Errors
/// What is wrong, and how it came to it.
pub fn run_killed_at(seed: u64, point: u64, keeper: &dyn Keeper) -> Result<Tally, Box<Failure>> {
    world::World::new(seed, keeper, Some(point)).run(seed)
}
