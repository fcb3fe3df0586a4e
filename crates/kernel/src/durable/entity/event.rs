//! Facts of an entity.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::state::{Entity, Lock, Queued};
use crate::time::Timestamp;

/// One fact.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Something came.
    Came {
        /// When.
        at: Timestamp,
        /// What.
        item: Queued,
    },
    /// A scheduled signal is due, and stands at the end of the queue now.
    Due {
        /// When.
        at: Timestamp,
        /// Its number.
        number: u64,
    },
    /// A worker's batch was taken.
    Batched(Box<Batched>),
    /// The request at the head holds the lock.
    Locked {
        /// When.
        at: Timestamp,
        /// The lock.
        lock: Lock,
    },
    /// The lock was given back, or taken back.
    Unlocked {
        /// When.
        at: Timestamp,
    },
    /// A lock is not wanted any more.
    Withdrawn {
        /// When.
        at: Timestamp,
        /// Its request.
        critical_section_id: Arc<str>,
        /// The life that asked; absent = any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        execution_id: Option<Arc<str>>,
    },
    /// What waited becomes ready, up to the next lock request.
    Released {
        /// When.
        at: Timestamp,
    },
    /// Everything, in place of all before.
    Snapshot(Box<Entity>),
}

/// What a batch changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batched {
    /// When.
    pub at: Timestamp,
    /// Operations done.
    pub done: usize,
    /// The state from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Arc<str>>,
}
