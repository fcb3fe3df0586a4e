//! Facts of an instance.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::context::Start;
use super::state::Instance;
use crate::durable::action::TurnTrace;
use crate::durable::history::{ExecutionCompleted, HistoryEvent, Tags};
use crate::id::ExecutionId;
use crate::time::Timestamp;

/// One fact.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A life began; whatever was before under the same id is no more.
    Started {
        /// When.
        at: Timestamp,
        /// How.
        start: Box<Start>,
    },
    /// The instant of a scheduled start has come.
    Due {
        /// When.
        at: Timestamp,
    },
    /// Something came in.
    Received {
        /// What.
        events: Vec<HistoryEvent>,
    },
    /// A worker's turn was taken.
    Turned(Box<Turned>),
    /// The next life began.
    Continued(Box<Continued>),
    /// It ended.
    Ended {
        /// The id of the action that ended it; -1 if the server did.
        id: i32,
        /// When.
        at: Timestamp,
        /// How.
        end: Box<ExecutionCompleted>,
    },
    /// What failed is to be tried again: the whole history goes to a worker.
    Rewinding {
        /// What the worker is told.
        event: HistoryEvent,
    },
    /// A worker has said what of the history stays.
    Rewound {
        /// When.
        at: Timestamp,
        /// The history from now on.
        history: Vec<HistoryEvent>,
        /// The life from now on.
        execution_id: Arc<str>,
    },
    /// The graph task that started it has asked it to try again.
    Retried {
        /// How often by now.
        asked: u32,
    },
    /// A child has another id than the one asked for.
    Child {
        /// The action that started it.
        task: i32,
        /// The child.
        id: ExecutionId,
    },
    /// Everything, in place of all before.
    Snapshot(Box<Instance>),
}

/// What a turn changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Turned {
    /// The orchestrator's present in the turn.
    pub started: Timestamp,
    /// When it was committed.
    pub at: Timestamp,
    /// Events of the inbox that are history now.
    pub processed: usize,
    /// What the actions made, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<HistoryEvent>,
    /// The custom status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_status: Option<Arc<str>>,
    /// The trace of the turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TurnTrace>,
}

/// How the next life begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Continued {
    /// When.
    pub at: Timestamp,
    /// Names it.
    pub execution_id: Arc<str>,
    /// Its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
    /// Its version; absent = as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// Labels to add.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Events that the orchestrator takes along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carryover: Vec<HistoryEvent>,
}
