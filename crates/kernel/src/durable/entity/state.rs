//! The state of an entity, and how each fact changes it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::durable::history::{EntityOperation, Fact, HistoryEvent, LockRequest};
use crate::durable::message::Origin;
use crate::durable::queue::{WorkKind, WorkQueue};
use crate::durable::{TURN, WorkToken, message_size};
use crate::id::ExecutionId;
use crate::time::Timestamp;

/// An entity: everything that its history says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// The machine's id: hub and entity id.
    pub id: ExecutionId,
    /// What it holds; absent = nothing, as before its first operation and after its deletion.
    pub state: Option<Arc<str>>,
    /// When it came to be; `None` before.
    pub born: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Who alone may use it.
    pub lock: Option<Lock>,
    /// Batches committed.
    pub batch: u64,
    /// Operations that go out with the next batch.
    pub(super) ready: VecDeque<Operation>,
    /// What stands behind a lock, or behind a request for one.
    pub(super) waiting: VecDeque<Queued>,
    /// Signals that are not due, by number.
    pub(super) scheduled: BTreeMap<u64, Operation>,
    /// Numbers given to scheduled signals.
    pub(super) numbers: u64,
    /// The last requests that were taken, against doing one twice.
    pub(super) seen: VecDeque<Arc<str>>,
}

/// A lock on an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The instance that holds it.
    pub holder: ExecutionId,
    /// The request; where it goes next, and who hears that all is locked.
    pub request: LockRequest,
    /// Which life of the holder asked.
    pub execution_id: Option<Arc<str>>,
    /// The holder asked in the form of an event, and wants to be told so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_event: bool,
}

/// An operation asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// When it came.
    pub at: Timestamp,
    /// What to do.
    pub operation: Box<EntityOperation>,
    /// An answer is wanted.
    pub answer: bool,
    /// Who asks.
    pub from: Origin,
}

/// What can stand in an entity's queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Queued {
    /// An operation.
    Operation(Operation),
    /// A request for the lock.
    Lock(Lock),
}

/// Something that waits to be done, by what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending<'a> {
    /// A worker: it goes out with the next batch, or is out.
    Ready(&'a Operation),
    /// A lock, or a request for one.
    Behind(&'a Queued),
    /// Its time.
    Scheduled(&'a Operation),
}

/// A batch as a worker is given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// To be given back with the answer.
    pub token: WorkToken,
    /// The entity's id: `@name@key`.
    pub entity_id: Arc<str>,
    /// 32 hexadecimal digits that name the entity's life.
    pub execution_id: Arc<str>,
    /// What it holds.
    pub state: Option<Arc<str>>,
    /// What to do: [`Fact::EntitySignaled`] and [`Fact::EntityCalled`] only.
    pub operations: Vec<HistoryEvent>,
}

/// Operations handed out at once; together at most [`PORTION_MAX`](crate::durable::PORTION_MAX).
const BATCH_MAX: usize = 500;
/// Requests remembered against doing one twice.
const SEEN_MAX: usize = 100;

impl Entity {
    /// An entity that nobody has used yet.
    pub fn new(id: ExecutionId) -> Self {
        Self {
            id,
            state: None,
            born: None,
            updated_at: Timestamp::default(),
            lock: None,
            batch: 0,
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            scheduled: BTreeMap::new(),
            numbers: 0,
            seen: VecDeque::new(),
        }
    }

    /// Whether anything is known of it.
    pub fn has_begun(&self) -> bool {
        self.born.is_some()
    }

    /// Whether it holds nothing, nobody has locked it, and nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.state.is_none() && self.lock.is_none() && self.backlog() == 0
    }

    /// What waits to be done, scheduled signals included.
    pub fn backlog(&self) -> usize {
        self.ready.len() + self.waiting.len() + self.scheduled.len()
    }

    /// What waits to be done, as it would be: what goes out with the next batch, then what stands behind a
    /// lock, then signals that are not due.
    pub fn pending(&self) -> impl Iterator<Item = Pending<'_>> {
        let ready = self.ready.iter().map(Pending::Ready);
        let behind = self.waiting.iter().map(Pending::Behind);
        ready.chain(behind).chain(self.scheduled.values().map(Pending::Scheduled))
    }

    /// The entity's id in its hub: `@name@key`.
    pub fn entity_id(&self) -> Arc<str> {
        self.id.local_name().into()
    }

    /// Its name, in lower case.
    pub fn name(&self) -> &str {
        let id = self.id.local_name();
        id.strip_prefix('@').and_then(|id| id.split_once('@')).map_or(id, |(name, _)| name)
    }

    /// Whether a batch stands in the queues or is out.
    pub fn wants_batch(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a row of this number stands in the queues.
    pub fn is_queued(&self, sequence: u32) -> bool {
        sequence == TURN && self.wants_batch()
    }

    /// Where its batches stand.
    pub fn queue(&self) -> WorkQueue {
        WorkQueue::new(self.id.hub(), WorkKind::Entity, self.name(), None)
    }

    /// The batch as it is handed out; `None` if there is nothing to do.
    pub fn work(&self) -> Option<Batch> {
        self.work_of(BATCH_MAX)
    }

    /// The same, of at most so many operations. All act as the same principal: what a worker asks for in
    /// its answer belongs to the batch, and no operation lends another its rights.
    pub fn work_of(&self, most: usize) -> Option<Batch> {
        let born = self.born?;
        if self.ready.is_empty() {
            return None;
        }
        let operation = |operation: &Operation| {
            let asked = operation.operation.clone();
            let fact = if operation.answer {
                Fact::EntityCalled(asked)
            } else {
                Fact::EntitySignaled(asked)
            };
            HistoryEvent::inbound(operation.at, fact)
        };
        let acts_as = self.acts_as();
        let alike = self.ready.iter().take_while(|it| it.from.acts_as.as_ref() == acts_as);
        let weights = alike.map(|it| message_size::of_operation(&it.operation));
        let count = message_size::portion(weights.take(most.min(BATCH_MAX)));
        let operations: Vec<_> = self.ready.iter().take(count).map(operation).collect();
        let (entity, batch, taken) = (self.id.clone(), self.batch, operations.len());
        let token = WorkToken::Batch { entity, born, batch, taken };
        let seed = format!("{}", born.millis());
        let execution_id = crate::durable::instance::life(self.id.local_name(), &seed);
        let state = self.state.clone();
        Some(Batch { token, entity_id: self.entity_id(), execution_id, state, operations })
    }

    /// As whom the operations act that go out with the next batch, or are out.
    pub(super) fn acts_as(&self) -> Option<&Arc<str>> {
        self.ready.front().and_then(|first| first.from.acts_as.as_ref())
    }

    /// When time alone may change something.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.scheduled.values().filter_map(|operation| operation.operation.scheduled_at).min()
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
            Event::Came { at, item } => self.came(*at, item),
            Event::Due { at, number } => {
                self.updated_at = *at;
                if let Some(operation) = self.scheduled.remove(number) {
                    self.line_up(Queued::Operation(operation));
                }
            }
            Event::Batched(batched) => {
                self.updated_at = batched.at;
                self.state.clone_from(&batched.state);
                self.batch += 1;
                self.ready.drain(..batched.done);
            }
            Event::Locked { at, lock } => {
                self.updated_at = *at;
                self.waiting.pop_front();
                self.lock = Some(lock.clone());
                // What the holder sent ahead of its lock goes before all else.
                let mut others = VecDeque::new();
                for item in std::mem::take(&mut self.waiting) {
                    match item {
                        Queued::Operation(operation)
                            if operation.from.sender.as_ref() == Some(&lock.holder) =>
                        {
                            self.ready.push_back(operation);
                        }
                        item => others.push_back(item),
                    }
                }
                self.waiting = others;
            }
            Event::Unlocked { at } => {
                self.updated_at = *at;
                self.lock = None;
            }
            Event::Withdrawn { at, critical_section_id, execution_id } => {
                self.updated_at = *at;
                let asked = |lock: &Lock| {
                    lock.request.critical_section_id == *critical_section_id
                        && (execution_id.is_none() || lock.execution_id == *execution_id)
                };
                self.waiting.retain(|item| match item {
                    Queued::Lock(lock) => !asked(lock),
                    Queued::Operation(_) => true,
                });
            }
            Event::Released { at } => {
                self.updated_at = *at;
                while let Some(Queued::Operation(_)) = self.waiting.front() {
                    if let Some(Queued::Operation(operation)) = self.waiting.pop_front() {
                        self.ready.push_back(operation);
                    }
                }
            }
            Event::Snapshot(state) => *self = (**state).clone(),
        }
    }

    fn came(&mut self, at: Timestamp, item: &Queued) {
        self.born.get_or_insert(at);
        self.updated_at = at;
        if let Queued::Operation(operation) = item {
            self.seen.push_back(operation.operation.request_id.clone());
            if self.seen.len() > SEEN_MAX {
                self.seen.pop_front();
            }
            if operation.operation.scheduled_at.is_some_and(|due| due > at) {
                self.numbers += 1;
                self.scheduled.insert(self.numbers, operation.clone());
                return;
            }
        }
        self.line_up(item.clone());
    }

    fn line_up(&mut self, item: Queued) {
        let ready = match (&item, &self.lock) {
            (Queued::Lock(_), _) => false,
            (Queued::Operation(operation), Some(lock)) => {
                operation.from.sender.as_ref() == Some(&lock.holder)
            }
            (Queued::Operation(_), None) => self.waiting.is_empty(),
        };
        match item {
            Queued::Operation(operation) if ready => self.ready.push_back(operation),
            item => self.waiting.push_back(item),
        }
    }

    /// How many requests for the lock stand before that of a critical section; `None` if it does not
    /// stand here.
    pub fn locks_before(&self, critical_section_id: &str) -> Option<usize> {
        let mut requests = self.waiting.iter().filter_map(|item| match item {
            Queued::Lock(lock) => Some(&lock.request),
            Queued::Operation(_) => None,
        });
        requests.position(|request| *request.critical_section_id == *critical_section_id)
    }

    /// The lock request that may have the lock now.
    pub(super) fn next_lock(&self) -> Option<&Lock> {
        match self.waiting.front() {
            Some(Queued::Lock(lock)) if self.lock.is_none() && self.ready.is_empty() => Some(lock),
            _ => None,
        }
    }

    /// Whether what waits may become ready.
    pub(super) fn is_held_up(&self) -> bool {
        self.lock.is_none() && matches!(self.waiting.front(), Some(Queued::Operation(_)))
    }
}
