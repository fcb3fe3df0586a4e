//! A process: what it holds in memory, loses when it dies, and finds again in the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kernel::{Effect, ExecutionId, Timestamp};

use crate::store::{MessageKey, Outgoing, Store, TaskKey};

/// What a death wipes out.
pub(crate) struct Memory<S> {
    /// Machines that were folded, or that have decided.
    pub(crate) states: BTreeMap<ExecutionId, S>,
    /// Whom to wake, and when.
    pub(crate) wake_at: BTreeMap<ExecutionId, Timestamp>,
    /// Messages on their way, by receiver, in order.
    pub(crate) deliveries: BTreeMap<ExecutionId, VecDeque<MessageKey>>,
    /// Tasks that were handed over.
    pub(crate) taken: BTreeSet<TaskKey>,
}

impl<S> Default for Memory<S> {
    fn default() -> Self {
        Self {
            states: BTreeMap::new(),
            wake_at: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            taken: BTreeSet::new(),
        }
    }
}

impl<S> Memory<S> {
    /// What a new process finds: only what was committed.
    pub(crate) fn found(store: &Store) -> Self {
        let mut memory = Self::default();
        for (id, stored) in &store.executions {
            memory.wake(id, stored.wake_at);
        }
        let mut outbox: Vec<(&MessageKey, &Outgoing)> = store.outbox.iter().collect();
        outbox.sort_by_key(|(_, outgoing)| outgoing.order);
        for (key, outgoing) in outbox {
            memory.post(outgoing.to.clone(), key.clone());
        }
        memory
    }

    /// From now on a machine is to be woken then, or not at all.
    pub(crate) fn wake(&mut self, id: &ExecutionId, at: Option<Timestamp>) {
        match at {
            Some(at) => self.wake_at.insert(id.clone(), at),
            None => self.wake_at.remove(id),
        };
    }

    /// Machines that are to be woken.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<ExecutionId> {
        let due = self.wake_at.iter().filter(|(_, at)| **at <= now);
        due.map(|(id, _)| id.clone()).collect()
    }

    /// Tasks that may be handed over.
    pub(crate) fn ready(&self, store: &Store, now: Timestamp) -> Vec<TaskKey> {
        let rows = store
            .rows
            .iter()
            .filter(|(key, row)| !row.held && row.ready_at <= now && !self.taken.contains(*key));
        rows.map(|(key, _)| key.clone()).collect()
    }

    /// A message is on its way.
    pub(crate) fn post(&mut self, to: ExecutionId, key: MessageKey) {
        self.deliveries.entry(to).or_default().push_back(key);
    }

    /// The message that a receiver gets next.
    pub(crate) fn next_message(&mut self, to: &ExecutionId) -> Option<MessageKey> {
        let key = self.deliveries.get(to).and_then(VecDeque::front).cloned();
        if key.is_none() {
            self.deliveries.remove(to);
        }
        key
    }

    /// A receiver has got its next message.
    pub(crate) fn delivered(&mut self, to: &ExecutionId) {
        if let Some(queue) = self.deliveries.get_mut(to) {
            queue.pop_front();
            if queue.is_empty() {
                self.deliveries.remove(to);
            }
        }
    }
}

/// What came of an input, whatever the machine.
pub(crate) struct Decided {
    /// The facts as one history row.
    pub(crate) events: String,
    /// Nothing is to be committed.
    pub(crate) is_empty: bool,
    /// Work owed.
    pub(crate) effects: Vec<Effect>,
    /// Plans that the facts pin: hash and text.
    pub(crate) plans: Vec<(Arc<str>, Arc<str>)>,
}

impl Decided {
    /// Facts and work.
    pub(crate) fn of<E: serde::Serialize>(events: &[E], effects: Vec<Effect>) -> Self {
        Self {
            events: serde_json::to_string(events).expect("events serialize to JSON"),
            is_empty: events.is_empty() && effects.is_empty(),
            effects,
            plans: Vec::new(),
        }
    }

    /// All of it as text, to be compared.
    pub(crate) fn shown(&self) -> String {
        format!("{} {:?}", self.events, self.effects)
    }
}
