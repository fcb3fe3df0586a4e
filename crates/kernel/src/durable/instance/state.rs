//! The state of an instance, and how each fact changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::context::Start;
use super::event::{Continued, Event, Turned};
use crate::contradiction::CHECKED;
use crate::durable::DETACHED_TAG;
use crate::durable::action::TurnTrace;
use crate::durable::history::{
    Call, ExecutionCompleted, ExecutionRewound, ExecutionStarted, Fact, FailureDetails,
    HistoryEvent, LockRequest, LockWord, Outcome, ParentInstance, Unlock,
};
use crate::durable::status::Status;
use crate::graph::Parent;
use crate::id::ExecutionId;
use crate::time::Timestamp;

/// An instance: everything that its history says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The machine's id: hub and instance id.
    pub id: ExecutionId,
    /// How the present life was begun: name, version, input, labels, parent, …; `None` before the
    /// first.
    pub start: Option<Box<Start>>,
    /// Where it stands.
    pub status: Status,
    /// What its orchestrator shows.
    pub custom_status: Option<Arc<str>>,
    /// Its output; of a terminated one what the terminator gave.
    pub output: Option<Arc<str>>,
    /// Why it failed.
    pub failure: Option<Box<FailureDetails>>,
    /// When it was created; a next life does not change it.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The past: what a worker replays.
    pub history: Vec<HistoryEvent>,
    /// What happened since: the new events of the next turn.
    pub inbox: Vec<HistoryEvent>,
    /// Turns committed since it was created.
    pub turn: u64,
    /// The trace of the turns.
    pub trace: Option<TurnTrace>,
    /// A rewind waits for its turn: the history goes out with its end, and nothing else is new.
    pub rewinding: bool,
    /// A turn is owed though nothing is new: the history was replaced.
    pub(super) replay: bool,
    /// The instant of a scheduled start has come.
    pub(super) due: bool,
    /// It was suspended when this life began, so no worker has seen anything of this life. The server
    /// hands out no turn until somebody resumes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) held: bool,
    /// Activities under way, by their number in the queues.
    pub(super) activities: BTreeMap<u32, Activity>,
    /// Their numbers, by the action that asked.
    pub(super) numbers: BTreeMap<i32, u32>,
    /// Timers that have not fired: when, and which.
    pub(super) timers: BTreeSet<(Timestamp, i32)>,
    /// Children that have not ended, by the action that started them.
    pub(super) children: BTreeMap<i32, ExecutionId>,
    /// Locks asked for and not given back: critical section to entities.
    pub(super) locks: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// What this life was called before a rewind: children may still know it so.
    pub(super) formerly: Vec<Arc<str>>,
    /// Numbers given so far in the queues.
    pub(super) sequence: u32,
}

/// An activity under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// The id of the action that asked.
    #[serde(rename = "t")]
    pub task: i32,
    /// Where in the history it was asked for.
    #[serde(rename = "h")]
    pub(super) at: usize,
}

/// Who outside this dialect started an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The task or firing.
    pub by: Parent,
    /// The id under which it knows the instance.
    pub child: ExecutionId,
    /// It waits for the end; otherwise it hears only of the begin.
    pub waits: bool,
    /// How often it has asked the instance to try again.
    #[serde(default)]
    pub asked: u32,
}

impl Instance {
    /// An instance that has not begun.
    pub fn new(id: ExecutionId) -> Self {
        Self {
            id,
            start: None,
            status: Status::Pending,
            custom_status: None,
            output: None,
            failure: None,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            ended_at: None,
            history: Vec::new(),
            inbox: Vec::new(),
            turn: 0,
            trace: None,
            rewinding: false,
            replay: false,
            due: false,
            held: false,
            activities: BTreeMap::new(),
            numbers: BTreeMap::new(),
            timers: BTreeSet::new(),
            children: BTreeMap::new(),
            locks: BTreeMap::new(),
            formerly: Vec::new(),
            sequence: 0,
        }
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.start.is_some()
    }

    /// Whether more is to come.
    pub fn is_open(&self) -> bool {
        self.start.is_some() && !self.status.is_closed()
    }

    /// Everything as one fact that stands for all before it.
    pub fn snapshot(&self) -> Event {
        Event::Snapshot(Box::new(self.clone()))
    }

    /// Folds one fact.
    ///
    /// # Panics
    /// If the fact contradicts the state, see `check`; the state is to be thrown away.
    pub fn apply(&mut self, event: &Event) {
        self.check(event);
        match event {
            Event::Started { at, start } => self.begin(*at, start),
            Event::Due { at } => {
                self.due = true;
                self.updated_at = *at;
            }
            Event::Received { events } => events.iter().for_each(|event| self.receive(event)),
            Event::Turned(turned) => self.turned(turned),
            Event::Continued(continued) => self.continued(continued),
            Event::Ended { id, at, end } => self.ended(*id, *at, end),
            Event::Rewinding { event } => self.rewinding(event),
            Event::Rewound { at, history, execution_id } => {
                self.rewound(*at, history, execution_id);
            }
            Event::Retried { asked } => {
                if let Some(caller) = self.start.as_mut().and_then(|start| start.caller.as_mut()) {
                    caller.asked = *asked;
                }
            }
            Event::Child { task, id } => {
                if let Some(child) = self.children.get_mut(task) {
                    *child = id.clone();
                }
            }
            Event::Snapshot(state) => *self = (**state).clone(),
        }
    }

    fn begin(&mut self, at: Timestamp, start: &Start) {
        let (turn, sequence) = (self.turn, self.sequence);
        *self = Self::new(self.id.clone());
        // Counted on, so that nothing handed out before can be taken for something new.
        (self.turn, self.sequence) = (turn, sequence);
        self.created_at = at;
        self.updated_at = at;
        self.due = start.scheduled_at.is_none_or(|scheduled| scheduled <= at);
        self.start = Some(Box::new(start.clone()));
        self.inbox.push(self.first_event(at, start));
    }

    /// What a life begins with.
    fn first_event(&self, at: Timestamp, start: &Start) -> HistoryEvent {
        let fact = Fact::ExecutionStarted(Box::new(ExecutionStarted {
            name: start.name.clone(),
            version: start.version.clone(),
            input: start.input.clone(),
            instance_id: self.instance_id(),
            execution_id: start.execution_id.clone(),
            parent: start.parent.clone(),
            scheduled_at: start.scheduled_at,
            trace: start.trace.clone(),
            tags: start.tags.clone(),
        }));
        HistoryEvent::inbound(at, fact)
    }

    fn receive(&mut self, event: &HistoryEvent) {
        match &event.fact {
            Fact::TaskCompleted { task, .. } | Fact::TaskFailed { task, .. } => {
                if let Some(number) = self.numbers.remove(task) {
                    self.activities.remove(&number);
                }
            }
            Fact::SubOrchestrationCompleted { task, .. }
            | Fact::SubOrchestrationFailed { task, .. } => {
                self.children.remove(task);
            }
            Fact::TimerFired { timer, fire_at } => {
                self.timers.remove(&(*fire_at, *timer));
            }
            Fact::ExecutionResumed { .. } if self.held => {
                // The worker never heard of the suspension.
                self.held = false;
                self.status = Status::Running;
                self.updated_at = event.at;
                return;
            }
            _ => {}
        }
        if self.is_open() {
            self.updated_at = event.at;
        }
        self.inbox.push(event.clone());
    }

    fn turned(&mut self, turned: &Turned) {
        let started = HistoryEvent::inbound(turned.started, Fact::OrchestratorStarted);
        self.history.push(started);
        if self.status == Status::Pending {
            self.status = Status::Running;
        }
        let processed = turned.processed;
        for event in self.inbox.drain(..processed) {
            match event.fact {
                Fact::ExecutionSuspended { .. } => self.status = Status::Suspended,
                Fact::ExecutionResumed { .. } => self.status = Status::Running,
                _ => {}
            }
            self.history.push(event);
        }
        for event in &turned.events {
            self.note_asked(event, self.history.len());
            self.history.push(event.clone());
        }
        self.custom_status.clone_from(&turned.custom_status);
        self.trace.clone_from(&turned.trace);
        self.updated_at = turned.at;
        self.turn += 1;
        self.replay = false;
    }

    /// What the line of the history at `at` has under way.
    fn note_asked(&mut self, event: &HistoryEvent, at: usize) {
        match &event.fact {
            Fact::TaskScheduled(_) => {
                self.sequence += 1;
                self.activities.insert(self.sequence, Activity { task: event.id, at });
                self.numbers.insert(event.id, self.sequence);
            }
            Fact::TimerCreated { fire_at } => {
                self.timers.insert((*fire_at, event.id));
            }
            Fact::SubOrchestrationCreated { instance_id, call }
                if !call.tags.contains_key(DETACHED_TAG) =>
            {
                let child = self.child_id(instance_id, call);
                self.children.insert(event.id, child);
            }
            Fact::EntityLockRequested(request) => self.note_lock(request),
            Fact::EntityUnlockSent(unlock) => self.note_unlock(unlock),
            Fact::EventSent { locks: Some(word), .. } => match &**word {
                LockWord::Requested(request) => self.note_lock(request),
                LockWord::GivenBack(unlock) => self.note_unlock(unlock),
            },
            _ => {}
        }
    }

    fn note_lock(&mut self, request: &LockRequest) {
        let entities = request.lock_set.iter().cloned().collect();
        self.locks.insert(request.critical_section_id.clone(), entities);
    }

    fn note_unlock(&mut self, unlock: &Unlock) {
        // What users' code gives back it may never have had.
        let Some(held) = self.locks.get_mut(&unlock.critical_section_id) else { return };
        if let Some(target) = &unlock.target {
            held.remove(target);
        }
        if held.is_empty() {
            self.locks.remove(&unlock.critical_section_id);
        }
    }

    /// Whether it is suspended, or will be once a worker has looked at everything that is new.
    pub fn is_suspended(&self) -> bool {
        last_pause(&self.inbox)
            .or_else(|| if self.rewinding { last_pause(&self.history) } else { None })
            .unwrap_or(self.status == Status::Suspended)
    }

    /// The machine that a child is.
    pub(super) fn child_id(&self, instance_id: &str, call: &Call) -> ExecutionId {
        if call.name.starts_with(crate::durable::WORKFLOW) {
            ExecutionId::new(instance_id)
        } else {
            ExecutionId::instance(self.hub(), instance_id)
        }
    }

    fn continued(&mut self, continued: &Continued) {
        let mut start = self.start.take().expect(CHECKED);
        start.execution_id = continued.execution_id.clone();
        start.input.clone_from(&continued.input);
        start.scheduled_at = None;
        if continued.version.is_some() {
            start.version.clone_from(&continued.version);
        }
        let tags = continued.tags.iter().map(|(name, value)| (name.clone(), value.clone()));
        start.tags.extend(tags);
        // A suspension outlasts the life that it came to.
        self.held = self.is_suspended();
        let arrived = std::mem::take(&mut self.inbox);
        self.forget_work();
        self.formerly.clear();
        self.history.clear();
        self.status = if self.held { Status::Suspended } else { Status::Running };
        self.updated_at = continued.at;
        self.inbox.push(self.first_event(continued.at, &start));
        self.inbox.extend(continued.carryover.iter().cloned());
        // Answers to the life before would be taken for answers to this one.
        let stays = |event: &HistoryEvent| !is_answer(&event.fact) && !is_pause(&event.fact);
        self.inbox.extend(arrived.into_iter().filter(stays));
        self.start = Some(start);
    }

    fn ended(&mut self, id: i32, at: Timestamp, end: &ExecutionCompleted) {
        let fact = Fact::ExecutionCompleted(Box::new(end.clone()));
        self.history.push(HistoryEvent { id, at, fact });
        self.status = end.outcome.into();
        self.output.clone_from(&end.result);
        self.failure.clone_from(&end.failure);
        self.ended_at = Some(at);
        self.updated_at = at;
        // One that failed may be rewound, and is not told again what it was told.
        let failed = self.status == Status::Failed;
        self.inbox.retain(|event| failed && outlives_failure(&event.fact));
        self.rewinding = false;
        self.replay = false;
        self.held = false;
        self.forget_work();
    }

    fn forget_work(&mut self) {
        self.activities.clear();
        self.numbers.clear();
        self.timers.clear();
        self.children.clear();
        self.locks.clear();
    }

    fn rewinding(&mut self, event: &HistoryEvent) {
        self.status = Status::Running;
        self.output = None;
        self.failure = None;
        self.ended_at = None;
        self.rewinding = true;
        // What was handed out before it failed is void.
        self.turn += 1;
        self.inbox.insert(0, event.clone());
        self.updated_at = event.at;
    }

    fn rewound(&mut self, at: Timestamp, history: &[HistoryEvent], execution_id: &Arc<str>) {
        // What came while the worker was at it stays new.
        let rewinds = |event: &HistoryEvent| matches!(event.fact, Fact::ExecutionRewound(_));
        self.inbox.retain(|event| !rewinds(event));
        self.history = history.to_vec();
        if last_pause(history) == Some(true) {
            // A worker that replays this finds itself suspended.
            self.status = Status::Suspended;
        }
        self.rewinding = false;
        self.replay = true;
        self.turn += 1;
        self.updated_at = at;
        if let Some(start) = self.start.as_mut() {
            let before = std::mem::replace(&mut start.execution_id, execution_id.clone());
            self.formerly.push(before);
        }
        self.forget_work();
        // In their order: a retry is asked for under the id of what failed.
        for (at, event) in history.iter().enumerate() {
            self.note_asked(event, at);
            match &event.fact {
                Fact::TaskCompleted { task, .. } | Fact::TaskFailed { task, .. } => {
                    self.activities.retain(|_, activity| activity.task != *task);
                }
                Fact::SubOrchestrationCompleted { task, .. }
                | Fact::SubOrchestrationFailed { task, .. } => {
                    self.children.remove(task);
                }
                Fact::TimerFired { timer, .. } => self.timers.retain(|(_, id)| id != timer),
                _ => {}
            }
        }
        // They were taken back when it ended.
        self.locks.clear();
        let open = self.activities.iter().map(|(number, activity)| (activity.task, *number));
        self.numbers = open.collect();
        self.apply_parent_of(history);
        for (event, _) in self.ungranted_locks() {
            self.note_asked(&HistoryEvent::inbound(at, event), 0);
        }
    }

    /// Requests for locks that the history shows, and no answer to them.
    pub(super) fn ungranted_locks(&self) -> Vec<(Fact, bool)> {
        // A worker that speaks in events shows the answer as one, of the request's name.
        let grants = |fact: &Fact, request: &LockRequest| match fact {
            Fact::EntityLockGranted { critical_section_id: name, .. }
            | Fact::EventRaised { name, .. } => *name == request.critical_section_id,
            _ => false,
        };
        let granted = |request| self.history.iter().any(|event| grants(&event.fact, request));
        let asked = self.history.iter().filter_map(|event| match &event.fact {
            Fact::EntityLockRequested(request) => Some((&**request, false)),
            Fact::EventSent { locks: Some(word), .. } => match &**word {
                LockWord::Requested(request) => Some((request, true)),
                LockWord::GivenBack(_) => None,
            },
            _ => None,
        });
        let ungranted = asked.filter(|(request, _)| !granted(request));
        let fact = |request: &LockRequest| Fact::EntityLockRequested(Box::new(request.clone()));
        ungranted.map(|(request, as_event)| (fact(request), as_event)).collect()
    }

    /// How a child knows it, by the action that asked for it.
    pub(super) fn as_parent(&self, start: &Start, task: i32) -> ParentInstance {
        ParentInstance {
            task,
            name: start.name.clone(),
            version: start.version.clone(),
            instance_id: self.instance_id(),
            execution_id: start.execution_id.clone(),
        }
    }

    /// Whether the life of the parent that was rewound, by whichever of its names, waits for it.
    pub(super) fn is_child_rewound_by(&self, rewound: &ExecutionRewound) -> bool {
        let Some(parent) = &rewound.parent else { return false };
        let known = self.start.as_ref().and_then(|start| start.parent.as_ref());
        let same_life = known.is_some_and(|it| {
            it.execution_id == parent.execution_id || rewound.formerly.contains(&it.execution_id)
        });
        same_life && self.is_child_of(parent)
    }

    /// Whether this action of a parent started it, in whichever life of the parent.
    pub(super) fn is_child_of(&self, parent: &ParentInstance) -> bool {
        let mine = self.start.as_ref().filter(|start| !start.detached);
        let mine = mine.and_then(|start| start.parent.as_ref());
        mine.is_some_and(|it| it.instance_id == parent.instance_id && it.task == parent.task)
    }

    /// The parent may have been given another life by its own rewind.
    fn apply_parent_of(&mut self, history: &[HistoryEvent]) {
        let parent = history.iter().find_map(|event| match &event.fact {
            Fact::ExecutionStarted(started) => started.parent.clone(),
            _ => None,
        });
        if let (Some(start), Some(parent)) = (self.start.as_mut(), parent) {
            start.parent = Some(parent);
        }
    }
}

/// Whether a fact answers something that the orchestrator asked.
fn is_answer(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::TaskCompleted { .. }
            | Fact::TaskFailed { .. }
            | Fact::SubOrchestrationCompleted { .. }
            | Fact::SubOrchestrationFailed { .. }
            | Fact::TimerFired { .. }
            | Fact::EntityOperationCompleted { .. }
            | Fact::EntityOperationFailed { .. }
            | Fact::EntityLockGranted { .. }
            | Fact::ExecutionStarted(_)
            | Fact::ExecutionRewound(_)
    )
}

/// Whether the last of these that suspends or resumes suspends; `None` if none does either.
fn last_pause(events: &[HistoryEvent]) -> Option<bool> {
    events.iter().rev().find_map(|event| match event.fact {
        Fact::ExecutionSuspended { .. } => Some(true),
        Fact::ExecutionResumed { .. } => Some(false),
        _ => None,
    })
}

/// Whether a fact suspends or resumes.
fn is_pause(fact: &Fact) -> bool {
    matches!(fact, Fact::ExecutionSuspended { .. } | Fact::ExecutionResumed { .. })
}

/// Whether an entity answers.
pub(super) fn is_entity_answer(fact: &Fact) -> bool {
    matches!(fact, Fact::EntityOperationCompleted { .. } | Fact::EntityOperationFailed { .. })
}

/// Whether a fact that no worker has looked at is still news once a failed instance is rewound.
/// What was under way is done again, and tells again how it ended.
fn outlives_failure(fact: &Fact) -> bool {
    is_entity_answer(fact)
        || matches!(
            fact,
            Fact::EventRaised { .. }
                | Fact::ExecutionSuspended { .. }
                | Fact::ExecutionResumed { .. }
        )
}

/// How an instance ended, for whoever waits.
pub(super) fn failed(outcome: Outcome) -> bool {
    outcome != Outcome::Completed
}
