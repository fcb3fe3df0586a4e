//! Completion tokens: what a worker sends back to say which piece of work it has done.
//!
//! A token says by itself what was handed out, so a worker may answer after the server has started
//! anew, and handing out again makes no stored fact. Only the first answer to a turn, an activity or
//! a batch counts; the state tells.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::id::{ExecutionId, MachineKind};
use crate::time::Timestamp;

/// Names one hand-out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WorkToken {
    /// A turn of an orchestrator.
    Turn {
        /// The instance.
        instance: ExecutionId,
        /// Which of its lives.
        execution_id: Arc<str>,
        /// How many turns were committed before.
        turn: u64,
        /// How many events of the inbox were handed out.
        taken: usize,
        /// The orchestrator's present in this turn.
        at: Timestamp,
    },
    /// An activity.
    Activity {
        /// The instance.
        instance: ExecutionId,
        /// Which of its lives.
        execution_id: Arc<str>,
        /// The activity's number in the queues.
        sequence: u32,
    },
    /// A batch of operations of an entity.
    Batch {
        /// The entity.
        entity: ExecutionId,
        /// When the entity came to be: one of the same id after it is another.
        born: Timestamp,
        /// How many batches were committed before.
        batch: u64,
        /// How many operations were handed out.
        taken: usize,
    },
}

impl WorkToken {
    /// The machine that handed it out.
    pub fn machine(&self) -> &ExecutionId {
        match self {
            Self::Turn { instance, .. } | Self::Activity { instance, .. } => instance,
            Self::Batch { entity, .. } => entity,
        }
    }

    /// The number of the row in the queues.
    pub fn sequence(&self) -> u32 {
        match self {
            Self::Activity { sequence, .. } => *sequence,
            Self::Turn { .. } | Self::Batch { .. } => super::TURN,
        }
    }
}

/// The text is not a token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the completion token was not made by this server")]
pub struct NotAToken;

impl fmt::Display for WorkToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn { instance, execution_id, turn, taken, at } => {
                write!(f, "t.{execution_id}.{turn}.{taken}.{}.{instance}", at.millis())
            }
            Self::Activity { instance, execution_id, sequence } => {
                write!(f, "a.{execution_id}.{sequence}.{instance}")
            }
            Self::Batch { entity, born, batch, taken } => {
                write!(f, "b.{}.{batch}.{taken}.{entity}", born.millis())
            }
        }
    }
}

impl FromStr for WorkToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        read(text).ok_or(NotAToken)
    }
}

fn read(text: &str) -> Option<WorkToken> {
    let (kind, rest) = text.split_once('.')?;
    let of = |id: &str, kind: MachineKind| {
        let id = ExecutionId::new(id);
        (id.machine() == kind).then_some(id)
    };
    let time = |text: &str| text.parse().ok().map(Timestamp::from_millis);
    match kind {
        "t" => {
            let mut parts = rest.splitn(5, '.');
            let execution_id = parts.next()?.into();
            let (turn, taken) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let at = time(parts.next()?)?;
            let instance = of(parts.next()?, MachineKind::Instance)?;
            Some(WorkToken::Turn { instance, execution_id, turn, taken, at })
        }
        "a" => {
            let mut parts = rest.splitn(3, '.');
            let execution_id = parts.next()?.into();
            let sequence = parts.next()?.parse().ok()?;
            let instance = of(parts.next()?, MachineKind::Instance)?;
            Some(WorkToken::Activity { instance, execution_id, sequence })
        }
        "b" => {
            let mut parts = rest.splitn(4, '.');
            let born = time(parts.next()?)?;
            let (batch, taken) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let entity = of(parts.next()?, MachineKind::Entity)?;
            Some(WorkToken::Batch { entity, born, batch, taken })
        }
        _ => None,
    }
}
