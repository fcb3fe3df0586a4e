//! Letters that a commit owes, and what was sent instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::ExecutionId;
use kernel::durable::{Fact, OrchestrationMessage};

use super::{Text, Verdict, objection};

/// What a letter comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// Begin: what, with which input, and for whom.
    Start { name: Arc<str>, input: Text, parent: Option<(Arc<str>, i32)>, detached: bool },
    /// An event.
    Raised { name: Arc<str>, input: Text },
    /// An operation, by what it carries.
    Operate { input: Text, answer: bool },
    /// A wish for a lock.
    Lock { section: Arc<str>, position: usize },
    /// A lock given back.
    Unlock { section: Arc<str> },
    /// A lock, or the wish, dropped.
    Release { section: Arc<str> },
    /// End.
    Terminate { recurse: bool },
    /// A child has ended: the output of one that completed.
    Ended { task: i32, child: Arc<str>, output: Option<Text> },
    /// Try again.
    Rewind { task: i32 },
    /// An operation is done, or failed.
    Answer { request: Arc<str>, done: Option<Text> },
    /// All is locked.
    Granted { section: Arc<str> },
    /// Anything else: nothing owes it.
    Strange(String),
}

impl Owed {
    /// What a letter that was sent comes to.
    pub(super) fn read(letter: &OrchestrationMessage) -> Self {
        match letter {
            OrchestrationMessage::Start(start) => Self::Start {
                name: start.name.clone(),
                input: start.input.clone(),
                parent: start.parent.as_ref().map(|it| (it.instance_id.clone(), it.task)),
                detached: start.detached,
            },
            OrchestrationMessage::Happened { fact, .. } => match &**fact {
                Fact::EventRaised { name, input } => {
                    Self::Raised { name: name.clone(), input: input.clone() }
                }
                Fact::EntityOperationCompleted { request_id, output, .. } => {
                    Self::Answer { request: request_id.clone(), done: Some(output.clone()) }
                }
                Fact::EntityOperationFailed { request_id, .. } => {
                    Self::Answer { request: request_id.clone(), done: None }
                }
                Fact::EntityLockGranted { critical_section_id, .. } => {
                    Self::Granted { section: critical_section_id.clone() }
                }
                other => Self::Strange(format!("{other:?}")),
            },
            OrchestrationMessage::ChildEnded { parent, instance_id, result, failure } => {
                Self::Ended {
                    task: parent.task,
                    child: instance_id.clone(),
                    output: failure.is_none().then(|| result.clone()),
                }
            }
            OrchestrationMessage::Terminate { recurse, .. } => {
                Self::Terminate { recurse: *recurse }
            }
            OrchestrationMessage::Rewind(rewound) => {
                Self::Rewind { task: rewound.parent.as_ref().map_or(-1, |parent| parent.task) }
            }
            OrchestrationMessage::Operate { operation, answer, .. } => {
                Self::Operate { input: operation.input.clone(), answer: *answer }
            }
            OrchestrationMessage::Lock { request, .. } => Self::Lock {
                section: request.critical_section_id.clone(),
                position: request.position,
            },
            OrchestrationMessage::Unlock { critical_section_id, .. } => {
                Self::Unlock { section: critical_section_id.clone() }
            }
            OrchestrationMessage::Release { critical_section_id, .. } => {
                Self::Release { section: critical_section_id.clone() }
            }
        }
    }
}

/// What was sent must be what is owed: to each receiver the same, in the same order.
pub(super) fn compare(
    id: &ExecutionId,
    owed: &[(ExecutionId, Owed)],
    sent: &[(ExecutionId, Owed)],
) -> Verdict {
    let by_receiver = |letters: &[(ExecutionId, Owed)]| {
        let mut sorted: BTreeMap<ExecutionId, Vec<Owed>> = BTreeMap::new();
        for (to, letter) in letters {
            sorted.entry(to.clone()).or_default().push(letter.clone());
        }
        sorted
    };
    let (owed, sent) = (by_receiver(owed), by_receiver(sent));
    if owed == sent {
        return Ok(());
    }
    let what = format!("owed is {owed:?}\n  sent was {sent:?}");
    Err(objection(id, "messages are owed", what))
}
