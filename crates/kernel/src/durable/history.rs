//! The history of an instance: the facts that a worker replays, as data of our own.
//!
//! Payloads are opaque texts, never parsed: what a worker wrote is what it reads again. The fields
//! are those of the Durable Task protocol; the server translates.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::ExecutionId;
use crate::json::Json;
use crate::time::Timestamp;
use crate::trace::TraceParent;

/// The id of every event that no action of the orchestrator made.
pub const INBOUND: i32 = -1;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// The id of the action that made it; [`INBOUND`] for all others.
    #[serde(rename = "i", default = "inbound", skip_serializing_if = "is_inbound")]
    pub id: i32,
    /// When it happened.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// What happened.
    #[serde(rename = "f")]
    pub fact: Fact,
}

impl HistoryEvent {
    /// Something from outside.
    pub fn inbound(at: Timestamp, fact: Fact) -> Self {
        Self { id: INBOUND, at, fact }
    }
}

fn inbound() -> i32 {
    INBOUND
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls takes a reference")]
fn is_inbound(id: &i32) -> bool {
    *id == INBOUND
}

/// What happened. `task` is always the id of the action that asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A turn began; its time is the orchestrator's present.
    OrchestratorStarted,
    /// The instance began.
    ExecutionStarted(Box<ExecutionStarted>),
    /// The instance ended. Workers see it only when it is rewound.
    ExecutionCompleted(Box<ExecutionCompleted>),
    /// Somebody wants it to end.
    ExecutionTerminated {
        /// The output to end with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Arc<str>>,
        /// Its children shall end, too.
        recurse: bool,
    },
    /// Somebody wants it to pause.
    ExecutionSuspended {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Arc<str>>,
    },
    /// Somebody wants it to go on.
    ExecutionResumed {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Arc<str>>,
    },
    /// It failed, and somebody wants it to try again what failed.
    ExecutionRewound(Box<ExecutionRewound>),
    /// An activity was asked for.
    TaskScheduled(Box<Call>),
    /// An activity is done.
    TaskCompleted {
        /// Which.
        task: i32,
        /// Its result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Arc<str>>,
    },
    /// An activity failed.
    TaskFailed {
        /// Which.
        task: i32,
        /// Why.
        failure: Box<FailureDetails>,
    },
    /// A child was asked for.
    SubOrchestrationCreated {
        /// Its instance id.
        instance_id: Arc<str>,
        /// What it shall run.
        call: Box<Call>,
    },
    /// A child is done.
    SubOrchestrationCompleted {
        /// Which.
        task: i32,
        /// Its output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Arc<str>>,
    },
    /// A child failed.
    SubOrchestrationFailed {
        /// Which.
        task: i32,
        /// Why.
        failure: Box<FailureDetails>,
    },
    /// A timer was asked for.
    TimerCreated {
        /// Not before.
        fire_at: Timestamp,
    },
    /// A timer has fired.
    TimerFired {
        /// When it was to.
        fire_at: Timestamp,
        /// Which: the id of the action.
        timer: i32,
    },
    /// An event was sent to another instance.
    EventSent {
        /// To whom.
        instance_id: Arc<str>,
        /// The event's name.
        name: Arc<str>,
        /// What it carries.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Arc<str>>,
        /// What it says of locks, if it is a message to an entity in the form of an event.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        locks: Option<Box<LockWord>>,
    },
    /// An event came.
    EventRaised {
        /// Its name, as the caller spelled it; names differ in more than case.
        name: Arc<str>,
        /// What it carries.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Arc<str>>,
    },
    /// An entity shall do something, and nobody waits.
    EntitySignaled(Box<EntityOperation>),
    /// An entity shall do something and answer.
    EntityCalled(Box<EntityOperation>),
    /// Entities shall be locked.
    EntityLockRequested(Box<LockRequest>),
    /// All entities of a lock request are locked.
    EntityLockGranted {
        /// Names the request.
        critical_section_id: Arc<str>,
        /// It was asked for in the form of an event, and is told so.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        as_event: bool,
    },
    /// A lock was given back.
    EntityUnlockSent(Box<Unlock>),
    /// An entity has answered.
    EntityOperationCompleted {
        /// Names the call.
        request_id: Arc<str>,
        /// The answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<str>>,
        /// It was asked for in the form of an event, and is told so.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        as_event: bool,
    },
    /// An entity could not do what was asked.
    EntityOperationFailed {
        /// Names the call.
        request_id: Arc<str>,
        /// Why.
        failure: Box<FailureDetails>,
        /// It was asked for in the form of an event, and is told so.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        as_event: bool,
    },
}

impl Fact {
    /// Whether it records what an action of the orchestrator asked for; its line bears the action's
    /// id.
    pub(super) fn is_asked_for(&self) -> bool {
        matches!(
            self,
            Self::TaskScheduled(_)
                | Self::SubOrchestrationCreated { .. }
                | Self::TimerCreated { .. }
                | Self::EventSent { .. }
                | Self::EntitySignaled(_)
                | Self::EntityCalled(_)
                | Self::EntityLockRequested(_)
                | Self::EntityUnlockSent(_)
        )
    }
}

/// How an instance began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionStarted {
    /// The orchestrator's name.
    pub name: Arc<str>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// The input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
    /// The instance's id.
    pub instance_id: Arc<str>,
    /// Names this life of the instance: another after a restart and after each continue-as-new.
    pub execution_id: Arc<str>,
    /// Who waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentInstance>,
    /// Not to be begun before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<Timestamp>,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// The caller's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: Tags,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionCompleted {
    /// How.
    pub outcome: Outcome,
    /// Its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Arc<str>>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Box<FailureDetails>>,
}

/// What a rewind tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionRewound {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// The life of the parent after its own rewind; only for children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_execution_id: Option<Arc<str>>,
    /// The child's instance id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<Arc<str>>,
    /// The trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// What the child runs, should it have to be made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// Its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
    /// Who waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentInstance>,
    /// What that life of the parent was called before: the child may know it so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formerly: Vec<Arc<str>>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: Tags,
    /// As whom it acts, should it have to be made anew. Workers are not told, and cannot say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_as: Option<Arc<str>>,
}

/// Something to be run by a worker, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The name.
    pub name: Arc<str>,
    /// The version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// The input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
    /// The caller's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: Tags,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// Labels.
pub type Tags = BTreeMap<Arc<str>, Arc<str>>;

/// Who waits for a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentInstance {
    /// The id of the action that asked for the child.
    pub task: i32,
    /// The parent's orchestrator.
    pub name: Arc<str>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// Its instance id.
    pub instance_id: Arc<str>,
    /// Which of its lives asked.
    pub execution_id: Arc<str>,
}

/// An operation of an entity, asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityOperation {
    /// Names the request, for its answer and against doing it twice; a GUID.
    pub request_id: Arc<str>,
    /// What to do.
    pub operation: Arc<str>,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<Timestamp>,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
    /// Who asks; set in what the entity sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_instance_id: Option<Arc<str>>,
    /// Which of its lives; set in what the entity sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_execution_id: Option<Arc<str>>,
    /// The entity; set in the history of whoever asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Arc<str>>,
}

/// A request to lock entities, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRequest {
    /// Names the request.
    pub critical_section_id: Arc<str>,
    /// The entities, in the order in which they are locked.
    pub lock_set: Vec<Arc<str>>,
    /// Whose turn it is.
    pub position: usize,
    /// Who asks; set in what the entity sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_instance_id: Option<Arc<str>>,
}

impl LockRequest {
    /// Whose turn it is after this: the next entity that is not locked by the same request already.
    pub(super) fn next(&self) -> Option<(usize, &Arc<str>)> {
        // Ids of one entity may differ in the case of its name.
        let id = |id: &Arc<str>| ExecutionId::entity("", id);
        let visited: Vec<_> = self.lock_set.iter().take(self.position + 1).map(id).collect();
        let mut rest = self.lock_set.iter().enumerate().skip(self.position + 1);
        rest.find(|(_, entity)| !visited.contains(&id(entity)))
    }
}

/// What an event to an entity says of locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockWord {
    /// They are asked for.
    Requested(LockRequest),
    /// One is given back.
    GivenBack(Unlock),
}

/// A lock given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlock {
    /// Names the request that locked.
    pub critical_section_id: Arc<str>,
    /// Who had it; set in what the entity sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_instance_id: Option<Arc<str>>,
    /// The entity; set in the history of whoever asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Arc<str>>,
}

/// A place in a distributed trace, W3C.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// `traceparent`.
    pub parent: Arc<str>,
    /// The span.
    pub span_id: Arc<str>,
    /// `tracestate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Arc<str>>,
}

impl TraceContext {
    /// Bytes of the longest `tracestate` that is kept: what everybody must pass on, says W3C.
    pub const STATE_MAX: usize = 512;

    /// The span of a caller, by the headers `traceparent` and `tracestate`; `None` if it names none. A
    /// `tracestate` that is empty or too long is left out.
    pub fn of_caller(parent: &str, state: Option<&str>) -> Option<Self> {
        let caller = TraceParent::parse(parent.trim())?;
        let state = state.map(str::trim);
        let state = state.filter(|text| !text.is_empty() && text.len() <= Self::STATE_MAX);
        Some(Self {
            parent: caller.to_string().into(),
            span_id: caller.span.to_string().into(),
            state: state.map(Into::into),
        })
    }
}

/// Why something failed, as the worker told: kept whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureDetails {
    /// The error's type, in the worker's language.
    pub error_type: Arc<str>,
    /// What it says.
    pub message: Arc<str>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Arc<str>>,
    /// What caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<Box<FailureDetails>>,
    /// A retry cannot help.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub non_retriable: bool,
    /// More, an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<Json>,
}

impl FailureDetails {
    /// A failure that the server itself finds.
    pub fn new(error_type: &str, message: impl Into<Arc<str>>) -> Self {
        Self { error_type: error_type.into(), message: message.into(), ..Self::default() }
    }
}

/// How a life of an instance ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should.
    Completed,
    /// It failed.
    Failed,
    /// It was given up.
    Canceled,
    /// Somebody ended it.
    Terminated,
    /// It begins anew with another input.
    ContinuedAsNew,
}
