//! What the world says to an instance, and what a decision may look at.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::state::Caller;
use crate::durable::action::{Action, TurnTrace};
use crate::durable::history::{ParentInstance, Tags, TraceContext};
use crate::durable::status::Status;
use crate::durable::{FailureDetails, WorkToken};
use crate::graph::{Limits, Message};
use crate::time::Timestamp;

/// One input.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin.
    Start(Box<Start>),
    /// Look at the clock.
    Wake,
    /// Another machine says something.
    Message(Message),
    /// A worker has done a turn.
    TurnCompleted(Box<TurnResult>),
    /// A worker has done an activity.
    ActivityCompleted {
        /// Which hand-out.
        token: WorkToken,
        /// The result, or why it failed.
        result: Result<Option<Arc<str>>, Box<FailureDetails>>,
    },
    /// Somebody raises an event.
    Raise {
        /// Its name.
        name: Arc<str>,
        /// What it carries.
        input: Option<Arc<str>>,
    },
    /// Pause.
    Suspend {
        /// Why.
        reason: Option<Arc<str>>,
    },
    /// Go on.
    Resume {
        /// Why.
        reason: Option<Arc<str>>,
    },
    /// End.
    Terminate {
        /// The output to end with.
        output: Option<Arc<str>>,
        /// Children, too.
        recurse: bool,
        /// End at once, whether or not a worker hears of it.
        at_once: bool,
    },
    /// Try again what failed.
    Rewind {
        /// Why.
        reason: Option<Arc<str>>,
    },
    /// Begin anew under the same id, once it has ended.
    Restart {
        /// Names the new life, 32 hexadecimal digits.
        execution_id: Arc<str>,
    },
    /// The server gives it up: what a worker would have to be sent exceeds a bound, or a turn was
    /// handed out too often.
    Fail {
        /// Why.
        failure: Box<FailureDetails>,
    },
}

/// A start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The orchestrator's name.
    pub name: Arc<str>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// The input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
    /// Names this life of the instance: 32 hexadecimal digits.
    pub execution_id: Arc<str>,
    /// Not to be begun before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<Timestamp>,
    /// The caller's labels.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// The instance that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentInstance>,
    /// It does not answer its parent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detached: bool,
    /// Instances above it.
    #[serde(default)]
    pub depth: u32,
    /// The task of a graph, or the schedule, that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
    /// What an instance of the same id may stand at to be replaced; one that runs is ended for it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub replaces: BTreeSet<Status>,
    /// As whom what it starts acts: the id of a principal; absent = the server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_as: Option<Arc<str>>,
}

impl Start {
    /// A start of a root instance with nothing but a name and an input.
    pub fn new(name: &str, input: Option<Arc<str>>, execution_id: Arc<str>) -> Self {
        Self {
            name: name.into(),
            version: None,
            input,
            execution_id,
            scheduled_at: None,
            tags: Tags::new(),
            trace: None,
            parent: None,
            detached: false,
            depth: 0,
            caller: None,
            replaces: BTreeSet::new(),
            acts_as: None,
        }
    }

    /// The statuses of what has ended: an instance that stands so may be replaced without harm.
    pub fn closed_statuses() -> BTreeSet<Status> {
        Status::ALL.into_iter().filter(|status| status.is_closed()).collect()
    }
}

/// A worker's answer to a turn, whole.
#[derive(Clone, Debug)]
pub struct TurnResult {
    /// Which hand-out; must be [`WorkToken::Turn`].
    pub token: WorkToken,
    /// What the orchestrator asks for.
    pub actions: Vec<Action>,
    /// The custom status from now on; replaces what was, absent and empty clear it.
    pub custom_status: Option<Arc<str>>,
    /// How many of the new events were looked at, `OrchestratorStarted` included; absent = all. The
    /// others come again.
    pub processed: Option<usize>,
    /// The trace to give back with the next turn.
    pub trace: Option<TurnTrace>,
}

/// Everything that a decision sees of the world.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The instant at which is decided.
    pub now: Timestamp,
    /// Bounds: `payload_max` of each payload, `tasks_max` of activities and inbox.
    pub limits: &'a Limits,
}
