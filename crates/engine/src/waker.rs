//! The one timer of the engine: which execution is to look at the clock next.
//!
//! Only what is due within a horizon is in memory; the rest waits in the store's index and is
//! fetched in time.

use std::collections::{BTreeSet, HashMap};

use kernel::{ExecutionId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Instants at which executions want to be woken.
#[derive(Default)]
pub(crate) struct Waker {
    state: Mutex<State>,
    sooner: Notify,
}

#[derive(Default)]
struct State {
    order: BTreeSet<(Timestamp, ExecutionId)>,
    at: HashMap<ExecutionId, Timestamp>,
    horizon: Timestamp,
}

impl Waker {
    /// Sets, moves or clears the instant of an execution.
    pub(crate) fn set(&self, id: &ExecutionId, at: Option<Timestamp>) {
        let mut state = self.state.lock();
        if let Some(before) = state.at.remove(id) {
            state.order.remove(&(before, id.clone()));
        }
        let Some(at) = at.filter(|at| *at <= state.horizon) else { return };
        let first = state.order.first().map(|(first, _)| *first);
        state.at.insert(id.clone(), at);
        state.order.insert((at, id.clone()));
        if first.is_none_or(|first| at < first) {
            self.sooner.notify_one();
        }
    }

    /// Takes everything due.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<ExecutionId> {
        let mut state = self.state.lock();
        let mut due = Vec::new();
        while state.order.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, id)) = state.order.pop_first() {
                state.at.remove(&id);
                due.push(id);
            }
        }
        due
    }

    /// The soonest instant.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.state.lock().order.first().map(|(at, _)| *at)
    }

    /// From now on instants up to here are kept.
    pub(crate) fn extend(&self, horizon: Timestamp) {
        self.state.lock().horizon = horizon;
    }

    /// Adds what the store knows, unless something newer is known.
    pub(crate) fn add_stored(&self, due: Vec<(Timestamp, ExecutionId)>) {
        let mut state = self.state.lock();
        for (at, id) in due {
            if !state.at.contains_key(&id) {
                state.at.insert(id.clone(), at);
                state.order.insert((at, id));
            }
        }
        self.sooner.notify_one();
    }

    /// Resolves when something became due sooner than was known.
    pub(crate) async fn sooner(&self) {
        self.sooner.notified().await;
    }
}
