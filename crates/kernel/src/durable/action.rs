//! What a worker's turn or batch asks for.

use std::sync::Arc;

use super::history::{
    Call, EntityOperation, FailureDetails, HistoryEvent, LockRequest, LockWord, Outcome, Tags,
    TraceContext, Unlock,
};
use crate::time::Timestamp;

/// One action of an orchestrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its number, from the worker; greater than all before it in the same life.
    pub id: i32,
    /// What.
    pub kind: ActionKind,
}

/// What an orchestrator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// Run an activity.
    ScheduleTask(Box<Call>),
    /// Start a child.
    CreateSubOrchestration {
        /// Its id; empty = one made of the parent's.
        instance_id: Arc<str>,
        /// What it runs. A name that begins with [`WORKFLOW`](super::WORKFLOW) names a definition.
        call: Box<Call>,
    },
    /// Wake me.
    CreateTimer {
        /// Not before; what is past fires at once.
        fire_at: Timestamp,
    },
    /// Send an event to another instance.
    SendEvent {
        /// To whom.
        instance_id: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// What it carries.
        input: Option<Arc<str>>,
    },
    /// Say something to an entity in the form of an event, as SDKs do for older backends. The
    /// history shows the event as it was written, and the entity's answer comes as an event, too.
    SendEntityEvent {
        /// The entity.
        entity: Arc<str>,
        /// The event's name.
        name: Arc<str>,
        /// What it carries.
        input: Option<Arc<str>>,
        /// What that says, or why it says nothing.
        says: Result<EntityMessage, Arc<str>>,
    },
    /// End, or begin anew.
    Complete(Box<Completion>),
    /// End another instance.
    Terminate {
        /// Which.
        instance_id: Arc<str>,
        /// The output to end with.
        reason: Option<Arc<str>>,
        /// Its children shall end, too.
        recurse: bool,
    },
    /// Say something to an entity.
    SendEntityMessage(EntityMessage),
    /// Replace the history, as the answer to a rewind.
    Rewind {
        /// What of it stays.
        history: Vec<HistoryEvent>,
    },
}

/// The end of a life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// How.
    pub outcome: Outcome,
    /// The output; of a continue-as-new the next input.
    pub result: Option<Arc<str>>,
    /// Why it failed.
    pub failure: Option<Box<FailureDetails>>,
    /// The version from now on.
    pub new_version: Option<Arc<str>>,
    /// Events that the next life begins with.
    pub carryover: Vec<HistoryEvent>,
    /// Labels to add.
    pub tags: Tags,
}

/// What an orchestrator says to an entity; `target` (or the lock set) says to which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityMessage {
    /// Do this.
    Signaled(Box<EntityOperation>),
    /// Do this and answer.
    Called(Box<EntityOperation>),
    /// Be locked.
    LockRequested(Box<LockRequest>),
    /// Be unlocked.
    UnlockSent(Box<Unlock>),
}

impl EntityMessage {
    /// What it says of locks; `None` if it speaks of something else.
    pub fn lock_word(&self) -> Option<LockWord> {
        match self {
            Self::LockRequested(request) => Some(LockWord::Requested((**request).clone())),
            Self::UnlockSent(unlock) => Some(LockWord::GivenBack((**unlock).clone())),
            Self::Signaled(_) | Self::Called(_) => None,
        }
    }
}

/// What an entity's operations ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityAction {
    /// Signal an entity.
    Signal {
        /// Which: `@name@key`.
        entity: Arc<str>,
        /// What to do.
        operation: Arc<str>,
        /// With what.
        input: Option<Arc<str>>,
        /// Not before.
        scheduled_at: Option<Timestamp>,
    },
    /// Start an orchestration.
    Start {
        /// Its id; empty = one is made.
        instance_id: Arc<str>,
        /// What it runs.
        call: Box<Call>,
        /// Not before.
        scheduled_at: Option<Timestamp>,
    },
}

/// What came of one operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationResult {
    /// It is done.
    Done {
        /// The answer.
        result: Option<Arc<str>>,
    },
    /// It failed; its effects on the state were taken back by the worker.
    Failed {
        /// Why.
        failure: Box<FailureDetails>,
    },
}

/// The trace of an instance's turns: kept for the worker, and given back to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TurnTrace {
    /// The span that all turns share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<Arc<str>>,
    /// When it began: seconds and nanoseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<(i64, i32)>,
}

impl Call {
    /// A call without labels and trace.
    pub fn new(name: impl Into<Arc<str>>, input: Option<Arc<str>>) -> Self {
        Self { name: name.into(), input, ..Self::default() }
    }

    /// The same, within a trace.
    #[must_use]
    pub fn traced(self, trace: Option<TraceContext>) -> Self {
        Self { trace, ..self }
    }
}
