//! The one timer of the engine: which execution is to look at the clock next.
//!
//! Only what is due within a horizon is in memory; the rest waits in the store's index and is
//! fetched in time.

use kernel::{ExecutionId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::wheel::Wheel;

/// Instants at which executions want to be woken.
#[derive(Default)]
pub(crate) struct Waker {
    state: Mutex<State>,
    sooner: Notify,
}

#[derive(Default)]
struct State {
    wheel: Wheel,
    horizon: Timestamp,
}

impl Waker {
    /// Sets, moves or clears the instant of an execution.
    pub(crate) fn set(&self, id: &ExecutionId, at: Option<Timestamp>) {
        let mut state = self.state.lock();
        let Some(at) = at.filter(|at| *at <= state.horizon) else { return state.wheel.clear(id) };
        let first = state.wheel.next();
        state.wheel.set(id, at);
        if first.is_none_or(|first| at < first) {
            self.sooner.notify_one();
        }
    }

    /// Takes everything due, and when it was.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<(Timestamp, ExecutionId)> {
        self.state.lock().wheel.take(now)
    }

    /// When to ask again for what is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.state.lock().wheel.next()
    }

    /// From now on instants up to here are kept.
    pub(crate) fn extend(&self, horizon: Timestamp) {
        self.state.lock().horizon = horizon;
    }

    /// Adds what the store knows, unless something newer is known.
    pub(crate) fn add_stored(&self, due: Vec<(Timestamp, ExecutionId)>) {
        let mut state = self.state.lock();
        for (at, id) in due {
            if !state.wheel.contains(&id) {
                state.wheel.set(&id, at);
            }
        }
        self.sooner.notify_one();
    }

    /// The clock was set, back to `set_back` if it is given: what is waited for comes sooner or later
    /// than was thought.
    pub(crate) fn clock_changed(&self, set_back: Option<Timestamp>) {
        if let Some(now) = set_back {
            let mut state = self.state.lock();
            state.wheel.turn_back(now);
        }
        self.sooner.notify_one();
    }

    /// Resolves when something became due sooner than was known.
    pub(crate) async fn sooner(&self) {
        self.sooner.notified().await;
    }
}
