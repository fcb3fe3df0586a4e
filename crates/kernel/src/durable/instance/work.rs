//! Work as workers are given it, and what an instance waits for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::state::Instance;
use super::turn::child_flaw;
use crate::durable::action::TurnTrace;
use crate::durable::history::{Call, Fact, HistoryEvent};
use crate::durable::queue::{WorkKind, WorkQueue};
use crate::durable::status::Status;
use crate::durable::{DETACHED_TAG, TURN, WorkToken, message_size};
use crate::id::ExecutionId;
use crate::time::Timestamp;

/// A piece of work of an instance as a worker is given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A turn.
    Turn {
        /// To be given back with the answer.
        token: WorkToken,
        /// The history.
        past: Vec<HistoryEvent>,
        /// What is new, `OrchestratorStarted` first.
        new: Vec<HistoryEvent>,
        /// The instance's id.
        instance_id: Arc<str>,
        /// Which of its lives.
        execution_id: Arc<str>,
        /// What the answer before gave to be kept.
        trace: Option<TurnTrace>,
    },
    /// An activity.
    Activity {
        /// To be given back with the answer.
        token: WorkToken,
        /// What to run.
        call: Box<Call>,
        /// The id of the action that asked.
        task: i32,
        /// The instance's id.
        instance_id: Arc<str>,
        /// Which of its lives.
        execution_id: Arc<str>,
    },
}

/// What an instance waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Its scheduled start.
    Start(Timestamp),
    /// A worker for its orchestrator: the row of [`TURN`] in the queues.
    Turn(WorkQueue),
    /// An activity.
    Activity {
        /// Its number in the queues.
        sequence: u32,
        /// Where it stands.
        queue: WorkQueue,
    },
    /// A timer.
    Timer {
        /// When it fires.
        fire_at: Timestamp,
    },
    /// A child.
    Child(ExecutionId),
    /// An entity's answer.
    Answer {
        /// The entity.
        entity: Arc<str>,
        /// What it was asked to do.
        operation: Arc<str>,
    },
    /// Locks on entities.
    Lock {
        /// Names the request.
        critical_section_id: Arc<str>,
        /// The entities, in the order in which they are locked.
        entities: Vec<Arc<str>>,
    },
    /// An event: nothing else is under way.
    Event,
    /// A resume.
    Resume,
}

impl Instance {
    /// The task hub.
    pub fn hub(&self) -> &str {
        self.id.hub()
    }

    /// The id under which clients know it.
    pub fn instance_id(&self) -> Arc<str> {
        self.id.local_name().into()
    }

    /// The orchestrator's name; empty before it has begun.
    pub fn name(&self) -> Arc<str> {
        self.start.as_ref().map_or_else(|| "".into(), |start| start.name.clone())
    }

    /// Which of its lives this is; empty before it has begun.
    pub fn execution_id(&self) -> Arc<str> {
        self.start.as_ref().map_or_else(|| "".into(), |start| start.execution_id.clone())
    }

    /// Whether a turn stands in the queues or is out.
    pub fn wants_turn(&self) -> bool {
        self.is_open() && self.due && !self.held && (self.replay || !self.inbox.is_empty())
    }

    /// Whether a row of this number stands in the queues.
    pub fn is_queued(&self, sequence: u32) -> bool {
        if sequence == TURN { self.wants_turn() } else { self.activities.contains_key(&sequence) }
    }

    /// The numbers of its rows in the queues.
    pub fn queued(&self) -> Vec<u32> {
        let turn = self.wants_turn().then_some(TURN);
        turn.into_iter().chain(self.activities.keys().copied()).collect()
    }

    /// The machine that waits for its end.
    pub fn parent(&self) -> Option<ExecutionId> {
        let start = self.start.as_deref()?;
        if let Some(parent) = &start.parent {
            return Some(ExecutionId::instance(self.hub(), &parent.instance_id));
        }
        let caller = start.caller.as_ref().filter(|caller| caller.waits);
        caller.map(|caller| caller.by.execution.clone())
    }

    /// Where its turns stand.
    pub fn turn_queue(&self) -> WorkQueue {
        let version = self.start.as_ref().and_then(|start| start.version.as_deref());
        WorkQueue::new(self.hub(), WorkKind::Orchestration, &self.name(), version)
    }

    /// The call of an activity under way.
    pub fn activity(&self, sequence: u32) -> Option<(i32, &Call)> {
        let activity = self.activities.get(&sequence)?;
        match &self.history.get(activity.at)?.fact {
            Fact::TaskScheduled(call) => Some((activity.task, call)),
            _ => None,
        }
    }

    /// The number in the queues of the activity that an action asked for.
    pub fn sequence_of(&self, task: i32) -> Option<u32> {
        self.numbers.get(&task).copied()
    }

    /// A piece of work, as it is handed out at `now`; `None` if there is no such work any more.
    pub fn work(&self, sequence: u32, now: Timestamp) -> Option<Work> {
        let (instance_id, execution_id) = (self.instance_id(), self.execution_id());
        let instance = self.id.clone();
        if sequence != TURN {
            let (task, call) = self.activity(sequence)?;
            let token =
                WorkToken::Activity { instance, execution_id: execution_id.clone(), sequence };
            let call = Box::new(call.clone());
            return Some(Work::Activity { token, call, task, instance_id, execution_id });
        }
        if !self.wants_turn() {
            return None;
        }
        // A rewind is told of alone; what came since follows in the next turn.
        let taken = if self.rewinding { 1 } else { self.portion() };
        // Never before what is history: the orchestrator's clock does not go back.
        let at = self.history.last().map_or(now, |last| last.at.max(now));
        let token = WorkToken::Turn {
            instance,
            execution_id: execution_id.clone(),
            turn: self.turn,
            taken,
            at,
        };
        let mut new = vec![HistoryEvent::inbound(at, Fact::OrchestratorStarted)];
        new.extend(self.inbox.iter().take(taken).cloned());
        let past = self.history.clone();
        let trace = self.trace.clone();
        Some(Work::Turn { token, past, new, instance_id, execution_id, trace })
    }

    /// How many events of the inbox go out with the next turn.
    ///
    /// A suspension always begins a turn. SDKs that were told of it set aside the lines of the history
    /// that confirm their actions, and ask for an action that was not confirmed before in every turn
    /// until they are resumed.
    fn portion(&self) -> usize {
        let suspends = |event: &HistoryEvent| matches!(event.fact, Fact::ExecutionSuspended { .. });
        let before = self.inbox.iter().skip(1).take_while(|event| !suspends(event)).count();
        let inbox = self.inbox.iter().take(before + 1);
        message_size::portion(inbox.map(|event| message_size::of_fact(&event.fact)))
    }

    /// What it waits for; nothing if it has ended.
    pub fn waiting(&self) -> Vec<Waiting> {
        if !self.is_open() {
            return Vec::new();
        }
        if !self.due {
            let at = self.start.as_ref().and_then(|start| start.scheduled_at);
            return at.map(Waiting::Start).into_iter().collect();
        }
        let mut waits = Vec::new();
        if self.wants_turn() {
            waits.push(Waiting::Turn(self.turn_queue()));
        }
        if self.status == Status::Suspended {
            waits.push(Waiting::Resume);
        }
        for sequence in self.activities.keys().copied() {
            if let Some(queue) = self.activity_queue(sequence) {
                waits.push(Waiting::Activity { sequence, queue });
            }
        }
        waits.extend(self.children.values().cloned().map(Waiting::Child));
        let timers = self.timers.iter().map(|(fire_at, _)| Waiting::Timer { fire_at: *fire_at });
        waits.extend(timers);
        waits.extend(self.unanswered_calls());
        waits.extend(self.ungranted_locks().into_iter().filter_map(|(fact, _)| match fact {
            Fact::EntityLockRequested(request) => Some(Waiting::Lock {
                critical_section_id: request.critical_section_id,
                entities: request.lock_set,
            }),
            _ => None,
        }));
        if waits.is_empty() {
            waits.push(Waiting::Event);
        }
        waits
    }

    /// Calls of entities that have no answer.
    fn unanswered_calls(&self) -> impl Iterator<Item = Waiting> {
        let answer = |event: &HistoryEvent| match &event.fact {
            Fact::EntityOperationCompleted { request_id, .. }
            | Fact::EntityOperationFailed { request_id, .. } => Some(request_id.clone()),
            _ => None,
        };
        let answered: BTreeSet<Arc<str>> =
            self.history.iter().chain(&self.inbox).filter_map(answer).collect();
        self.history.iter().filter_map(move |event| match &event.fact {
            Fact::EntityCalled(call) if !answered.contains(&call.request_id) => {
                Some(Waiting::Answer {
                    entity: call.target.clone()?,
                    operation: call.operation.clone(),
                })
            }
            _ => None,
        })
    }

    /// Where an activity stands. One without a version of its own goes to workers of its
    /// orchestrator's version.
    pub fn activity_queue(&self, sequence: u32) -> Option<WorkQueue> {
        let (_, call) = self.activity(sequence)?;
        let own = self.start.as_ref().and_then(|start| start.version.as_deref());
        let version = call.version.as_deref().or(own);
        Some(WorkQueue::new(self.hub(), WorkKind::Activity, &call.name, version))
    }

    /// The children that its history names, ended or not.
    pub fn children(&self) -> Vec<ExecutionId> {
        let child = |event: &HistoryEvent| match &event.fact {
            Fact::SubOrchestrationCreated { instance_id, call } => {
                Some(self.child_id(instance_id, call))
            }
            _ => None,
        };
        self.history.iter().filter_map(child).collect()
    }

    /// Those of them that are its own, with the actions that asked for them.
    pub(super) fn own_children(&self) -> Vec<(i32, ExecutionId)> {
        let child = |event: &HistoryEvent| match &event.fact {
            Fact::SubOrchestrationCreated { instance_id, call }
                if !call.tags.contains_key(DETACHED_TAG) =>
            {
                let child = self.child_id(instance_id, call);
                child_flaw(&child).is_none().then_some((event.id, child))
            }
            _ => None,
        };
        self.history.iter().filter_map(child).collect()
    }

    /// When time alone may change something.
    pub fn wake_at(&self) -> Option<Timestamp> {
        if !self.is_open() {
            return None;
        }
        let start = self.start.as_ref().and_then(|start| start.scheduled_at);
        let start = start.filter(|_| !self.due);
        let timer = self.timers.first().map(|(at, _)| *at);
        [start, timer].into_iter().flatten().min()
    }
}
