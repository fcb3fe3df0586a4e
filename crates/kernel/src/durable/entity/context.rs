//! What the world says to an entity, and what a decision may look at.

use std::sync::Arc;

use crate::durable::action::{EntityAction, OperationResult};
use crate::durable::{FailureDetails, WorkToken};
use crate::graph::{Limits, Message};
use crate::id::ExecutionId;
use crate::time::Timestamp;

/// One input.
#[derive(Clone, Debug)]
pub enum Input {
    /// Look at the clock.
    Wake,
    /// Another machine says something.
    Message(Message),
    /// A client wants something done.
    Signal(Signal),
    /// A worker has done a batch.
    BatchCompleted(Box<BatchResult>),
    /// No worker can do what was handed out: its operations fail, and the entity goes on with what
    /// comes next, its state as it was.
    GiveUp {
        /// The hand-out; must be [`WorkToken::Batch`].
        token: WorkToken,
        /// What those are told who wait for an answer.
        failure: Box<FailureDetails>,
    },
    /// Whoever holds or wants the lock is no more.
    Release {
        /// Who.
        holder: ExecutionId,
    },
}

/// A client's signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Names the request, so that it is not done twice; a GUID.
    pub request_id: Arc<str>,
    /// What to do.
    pub operation: Arc<str>,
    /// With what.
    pub input: Option<Arc<str>>,
    /// Not before.
    pub scheduled_at: Option<Timestamp>,
    /// As whom what the operation starts acts: the id of a principal; `None` for the server itself.
    pub acts_as: Option<Arc<str>>,
}

/// A worker's answer to a batch.
#[derive(Clone, Debug)]
pub struct BatchResult {
    /// Which hand-out; must be [`WorkToken::Batch`].
    pub token: WorkToken,
    /// One per operation done, in order; operations without one come again.
    pub results: Vec<OperationResult>,
    /// What the operations ask for.
    pub actions: Vec<EntityAction>,
    /// The state from now on; absent = the entity has none any more.
    pub state: Option<Arc<str>>,
    /// The batch as a whole failed: nothing was done, and it comes again.
    pub failure: Option<Box<FailureDetails>>,
}

/// Everything that a decision sees of the world.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The instant at which is decided.
    pub now: Timestamp,
    /// Bounds: `payload_max` of each payload, `tasks_max` of operations that wait.
    pub limits: &'a Limits,
}
