//! ACTS: loads, decides, commits and dispatches; owns timers, queues and leases.

mod cache;
mod clock;
pub mod conformance;
mod definitions;
mod delivery;
mod dispatcher;
mod engine;
mod head;
mod hosted;
pub mod memory;
mod polling;
mod queues;
mod runner;
pub mod search;
pub mod store;
mod timers;
mod waker;

pub use clock::{Clock, SystemClock};
pub use definitions::Definitions;
pub use engine::{Counters, Engine, Error, Options, Parts, Seen, Values, WeakEngine};
pub use hosted::{Hosted, Stimulus};
pub use polling::PollRequest;
pub use queues::{Blocked, Poll, QueueState, Queues};
pub use runner::{Handoff, Outcome, OutcomeStatus, TaskRunner};
