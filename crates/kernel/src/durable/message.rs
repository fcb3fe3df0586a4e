//! What instances and entities say to each other.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::history::{
    EntityOperation, ExecutionRewound, Fact, FailureDetails, LockRequest, ParentInstance,
};
use super::instance::Start;
use crate::id::ExecutionId;

/// One letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrchestrationMessage {
    /// To an instance: begin.
    Start(Box<Start>),
    /// To an instance: this happened.
    Happened {
        /// What.
        fact: Box<Fact>,
        /// Only for this life of the instance; absent = for any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        execution_id: Option<Arc<str>>,
    },
    /// To the parent: a child has ended.
    ChildEnded {
        /// What the parent knows of the child.
        parent: ParentInstance,
        /// The child's instance id.
        instance_id: Arc<str>,
        /// Its output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Arc<str>>,
        /// Why it failed; absent if it did not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Box<FailureDetails>>,
    },
    /// To an instance: end.
    Terminate {
        /// The output to end with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
        /// Your children, too.
        recurse: bool,
        /// Only if you are this one's child; absent = whoever you are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child_of: Option<ParentInstance>,
    },
    /// To a child: you failed; try again.
    Rewind(Box<ExecutionRewound>),
    /// To an entity: do this.
    Operate {
        /// What.
        operation: Box<EntityOperation>,
        /// An answer is wanted.
        answer: bool,
        /// Who asks.
        from: Origin,
    },
    /// To an entity: be locked.
    Lock {
        /// The request.
        request: Box<LockRequest>,
        /// Who asks.
        from: Origin,
    },
    /// To an entity: be unlocked by whoever locked.
    Unlock {
        /// Names the request that locked.
        critical_section_id: Arc<str>,
        /// Who had the lock.
        holder: ExecutionId,
    },
    /// To an entity: whoever asked for a lock is no more.
    Release {
        /// Names the request.
        critical_section_id: Arc<str>,
        /// Who asked.
        holder: ExecutionId,
        /// Which of its lives asked: one that is rewound asks again. Absent = any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        execution_id: Option<Arc<str>>,
    },
}

/// Who says something to an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The machine; absent for a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<ExecutionId>,
    /// Which of its lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<Arc<str>>,
    /// It asks in the form of an event, and wants to be answered so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_event: bool,
    /// As whom what the operation starts acts: the id of a principal; absent = the server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_as: Option<Arc<str>>,
}

impl Origin {
    /// Somebody outside.
    pub const CLIENT: Self =
        Self { sender: None, execution_id: None, as_event: false, acts_as: None };
}
