//! What the world says to a schedule, and what a decision may look at.

use std::sync::Arc;

use super::event::Order;
use super::spec::ScheduleSpec;
use crate::graph::Message;
use crate::time::Timestamp;

/// One input.
#[derive(Clone, Debug)]
pub enum Input {
    /// Create the schedule or replace what it obeys.
    Define(Box<ScheduleSpec>),
    /// Fire no more for now.
    Pause {
        /// Why, for people.
        reason: Option<Arc<str>>,
    },
    /// Go on; what came due meanwhile is not made up for.
    Resume,
    /// Fire now, due or not, paused or not.
    Trigger {
        /// Who asks.
        by: Option<Arc<str>>,
    },
    /// Fire for every instant of a stretch of the past, whatever the overlap policy.
    Backfill(Stretch),
    /// Begin no more runs of the past; those that are under way go on.
    EndBackfill,
    /// Look at the clock.
    Wake,
    /// What was started says something.
    Message(Message),
    /// Forget the schedule; what it has started goes on.
    Delete,
}

/// A stretch of the past that is to be run.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// From here on.
    pub from: Timestamp,
    /// Up to and including this.
    pub to: Timestamp,
    /// How many of its runs may be under way together; absent = all.
    pub at_once: Option<u32>,
    /// Which instants come first.
    pub order: Order,
    /// Instants that are left out, sorted; at most [`Stretch::EXCEPT_MAX`].
    pub except: Vec<Timestamp>,
    /// Who asks.
    pub by: Option<Arc<str>>,
}

impl Stretch {
    /// Instants that may be left out of one stretch.
    pub const EXCEPT_MAX: usize = 10_000;
}

/// Everything that a decision sees of the world.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The instant at which is decided.
    pub now: Timestamp,
    /// Bounds of everything.
    pub limits: &'a Limits,
}

/// Bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Firings in one commit; more follow in the next.
    pub firings_max: usize,
    /// Firings that are made up for after a time in which nobody looked; older ones are missed.
    pub catch_up_max: usize,
    /// Missed firings that get a line each; older ones share one.
    pub missed_lines_max: usize,
    /// How far missed firings are counted.
    pub counted_max: usize,
    /// Firings whose fate is not known yet, or that are followed to their end.
    pub open_max: usize,
    /// Milliseconds after which a firing counts as late.
    pub lateness_max: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            firings_max: 20,
            catch_up_max: 100,
            missed_lines_max: 20,
            counted_max: 10_000,
            open_max: 1000,
            lateness_max: 60_000,
        }
    }
}
