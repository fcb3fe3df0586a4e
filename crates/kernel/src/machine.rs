//! The one shape of every durable state machine here: inputs are decided into events, events are
//! folded into state, time is a single derived instant.
//!
//! `decide` takes the state by `&mut` and folds each fact as it is decided: what is decided is by
//! construction what is folded, and a step costs what it changes, not what the execution holds.
//! A caller whose commit fails throws the state away and folds it anew from history.

use crate::id::ExecutionId;
use crate::queue_row::Permit;
use crate::time::Timestamp;

/// A durable state machine.
pub trait Machine: Sized {
    /// What the world says: untrusted; may come late, twice or out of order.
    type Input;
    /// A fact; the only thing that changes state.
    type Event;
    /// What a decision may look at besides the state.
    type Context<'a>;

    /// Turns an input into facts, already folded into `self`, and work owed after their commit.
    ///
    /// # Errors
    /// [`Rejected`] changes nothing: the input does not fit the state.
    fn decide(
        &mut self,
        input: Self::Input,
        context: &Self::Context<'_>,
    ) -> Result<Decision<Self::Event>, Rejected>;

    /// Folds one fact.
    ///
    /// # Panics
    /// If the fact contradicts the state: the history is damaged, or the code that decided it is
    /// wrong. The state is to be thrown away, and the machine to be set aside.
    fn apply(&mut self, event: &Self::Event);

    /// The next instant at which time alone may change something.
    fn wake_at(&self) -> Option<Timestamp>;
}

/// What came of an input.
#[derive(Debug)]
pub struct Decision<E> {
    /// Facts, in order; empty if the input changed nothing.
    pub events: Vec<E>,
    /// Work owed once the facts are durable.
    pub effects: Vec<Effect>,
}

/// Work owed after a commit.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A task for a worker or a built-in runner; handed out at least once.
    Dispatch(Dispatch),
    /// The task waits or runs no longer: out of the queue with it; a runner is told, best effort.
    Withdraw {
        /// The task's sequence number.
        sequence: u32,
    },
    /// A worker holds the task now: it counts against limits and is not handed out.
    Hold {
        /// The task's sequence number.
        sequence: u32,
    },
    /// A message to another execution; received exactly once: the engine numbers what one commit
    /// sends after that commit's version.
    Send {
        /// The receiver.
        to: ExecutionId,
        /// The message.
        message: Box<crate::graph::Message>,
    },
    /// A line of the machine's ledger, written with the facts; one with the same key is replaced.
    Record(Record),
    /// An event for the world, written with the facts and published after them at least once: its
    /// id is the same each time.
    Publish(Publication),
    /// A result that other executions may use again; a loss costs work, nothing else.
    Reuse(CachedOutput),
    /// Nobody needs an execution any more that this machine started and that has ended; it may be
    /// forgotten, best effort.
    Forget(ExecutionId),
    /// What a check of a monitor answered, to be kept; a loss leaves a gap, nothing else.
    Sample(Box<crate::alert::Sample>),
    /// The execution takes a place at a gate, or waits there for one. It leaves with a
    /// [`Effect::Withdraw`] of the permit's number.
    Admit(PermitRequest),
}

/// An event on its way out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Publication {
    /// Where to, as EVENT tasks name it: `type:address`.
    pub sink: std::sync::Arc<str>,
    /// Names the event, so that who gets it twice can tell.
    pub id: std::sync::Arc<str>,
    /// The content, an object.
    pub payload: crate::json::Json,
}

/// A task's output that may stand for later runs of the same work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedOutput {
    /// The task definition's name.
    pub name: std::sync::Arc<str>,
    /// What makes two runs the same work.
    pub key: std::sync::Arc<str>,
    /// The output, an object.
    pub output: crate::json::Json,
    /// Not to be used from then on.
    pub until: Timestamp,
}

/// A place at a gate that lets only so many executions pass at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermitRequest {
    /// What for.
    pub permit: Permit,
    /// The gate.
    pub gate: std::sync::Arc<str>,
    /// How many it lets pass at once.
    pub limit: u32,
    /// 0 to 99; higher goes first.
    pub priority: u8,
    /// Since when it waits.
    pub since: Timestamp,
    /// It has its place already.
    pub held: bool,
}

/// A line of a ledger that outlives the state it came from: a firing of a schedule, a delivery of
/// a notification. Machines write ledgers and never read them; people and searches do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which ledger: `firing`, `delivery`, …
    pub ledger: &'static str,
    /// Names the line within its ledger, over all machines.
    pub key: std::sync::Arc<str>,
    /// What it is about, for searches: the schedule's or the monitor's name.
    pub subject: std::sync::Arc<str>,
    /// When it happened, or should have.
    pub at: Timestamp,
    /// Where it stands, in the ledger's own words: `EXECUTED`, `MISSED`, …
    pub status: std::sync::Arc<str>,
    /// Everything else, an object.
    pub body: crate::json::Json,
}

/// A task that is ready to be handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// The task's sequence number.
    pub sequence: u32,
    /// The queue: what workers poll, with `domain:` before it if the task has a domain.
    pub queue: std::sync::Arc<str>,
    /// The name under which limits count.
    pub name: std::sync::Arc<str>,
    /// 0 to 99; higher goes first.
    pub priority: u8,
    /// Not before.
    pub ready_at: Timestamp,
    /// How many of this name may be held at once; 0 = any number.
    pub concurrent_max: u32,
    /// How many may be handed out per window; 0 = any number.
    pub rate_max: u32,
    /// The window in seconds.
    pub rate_window_seconds: u32,
}

/// Why an input changed nothing; an answer rather than a failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The execution or task has ended, or the input was seen before: nothing left to do.
    #[error("{0}")]
    Stale(String),
    /// What the input names does not exist.
    #[error("{0}")]
    Unknown(String),
    /// The operation does not fit the present status.
    #[error("{0}")]
    Conflict(String),
    /// The operation can never be done to this execution.
    #[error("{0}")]
    Forbidden(String),
    /// The input itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// There is no room for it now; later perhaps.
    #[error("{0}")]
    Full(String),
}
