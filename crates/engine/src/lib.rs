//! ACTS: loads, decides, commits and dispatches; owns timers, queues and leases.

mod cache;
mod clock;
pub mod conformance;
mod definitions;
mod delivery;
mod dispatcher;
pub mod durable;
mod engine;
pub mod events;
mod gates;
mod head;
mod hosted;
pub mod memory;
pub mod monitors;
mod outputs;
mod polling;
mod publishing;
mod queues;
mod rehearsal;
mod runner;
pub mod search;
mod starting;
pub mod store;
mod timers;
pub mod vault;
mod waker;

pub use clock::{Clock, SystemClock};
pub use definitions::Definitions;
pub use engine::{Counters, Engine, Error, Options, Parts, Seen, Values, WeakEngine};
pub use hosted::{Hosted, Stimulus};
pub use polling::PollRequest;
pub use queues::{Blocked, Poll, QueueState, Queues};
pub use rehearsal::{Mock, Mocks, REHEARSAL_STEPS_MAX};
pub use runner::{Handoff, Outcome, OutcomeStatus, TaskRunner};
pub use starting::Begun;
