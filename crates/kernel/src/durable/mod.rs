//! Orchestrations that workers run as code, and entities: Durable Task's model.
//!
//! ```text
//!            first turn           suspend / resume
//!   PENDING ────────────▶ RUNNING ◀──────────────▶ SUSPENDED
//!                          │    ▲                     │
//!                      end ▼    │ rewind (FAILED)     ▼ end
//!            COMPLETED  FAILED  CANCELED  TERMINATED ◀┘
//! ```
//!
//! An *instance* keeps the history that its worker replays, and an inbox of what happened since. A
//! *turn* hands both to a worker; its answer, a list of actions, is committed with what they cause.
//! An *entity* keeps a state and a queue of operations; a *batch* hands them out. Which hand-out an
//! answer belongs to is in its token, so nothing needs to be stored when work is handed out.

mod action;
pub mod entity;
mod history;
pub mod instance;
mod message;
mod message_size;
mod queue;
mod status;
mod token;

pub use action::{
    Action, ActionKind, Completion, EntityAction, EntityMessage, OperationResult, TurnTrace,
};
pub use history::{
    Call, EntityOperation, ExecutionCompleted, ExecutionRewound, ExecutionStarted, Fact,
    FailureDetails, HistoryEvent, INBOUND, LockRequest, LockWord, Outcome, ParentInstance, Tags,
    TraceContext, Unlock,
};
pub use message::{OrchestrationMessage, Origin};
pub use message_size::{DELIVERABLE_MAX, PORTION_MAX};
pub use queue::{DURABLE_QUEUE, WorkKind, WorkQueue};
pub use status::Status;
pub use token::{NotAToken, WorkToken};

/// The number of the row in the queues that stands for a turn or a batch; activities count from 1.
pub const TURN: u32 = crate::RowKind::Turn.number();
/// The hub of those who name none.
pub const DEFAULT_HUB: &str = "default";
/// Before the name of a sub-orchestration: it names a registered definition, not an orchestrator.
pub const WORKFLOW: &str = "workflow:";
/// Before the name of a sub-workflow or of what a schedule starts: it names an orchestrator. A hub
/// other than the default stands before the name, with a slash: `orchestration:hub/name`.
pub const ORCHESTRATION: &str = "orchestration:";
/// A child with this label does not answer its parent.
pub const DETACHED_TAG: &str = "FireAndForget";

/// The longest id of an instance or entity that a client may choose, in bytes.
pub const ID_MAX: usize = 100;
/// The longest id of any instance with its hub, in bytes: SDKs make ids of children of their
/// parents', so that they grow with the depth.
pub const MACHINE_ID_MAX: usize = 600;
