//! Commits of which nobody knows whether they were written: the store failed, or its answer was lost.
//!
//! Whoever asked is told of the failure. But if the commit was written after all, what it owes (rows
//! in queues, messages, timers) is in the store, and only a restart would put it into effect. So it
//! is kept until the store has answered what is there, and put into effect then.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::ExecutionId;
use parking_lot::Mutex;

use crate::engine::{Engine, Error, Work};
use crate::machine::AnyMachine;
use crate::mutants::{self, Mutant};
use crate::store::StoreError;

/// Pause before the store is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// What follows from commits whose outcome is not known, by machine. A machine is read anew before
/// anything else is decided on it, so it has one at most.
#[derive(Default)]
pub(crate) struct Doubts(Mutex<BTreeMap<ExecutionId, Doubt>>);

struct Doubt {
    /// The version that the commit would have made.
    version: u64,
    work: Work,
}

impl Engine {
    /// A commit failed: if it may have been written, somebody finds out.
    pub(crate) fn doubt(&self, id: &ExecutionId, error: &StoreError, version: u64, work: Work) {
        if !matches!(error, StoreError::Unavailable(_)) || mutants::is(Mutant::OutcomeIgnored) {
            return;
        }
        self.inner.doubts.0.lock().insert(id.clone(), Doubt { version, work });
        let (engine, id) = (self.clone(), id.clone());
        self.inner.tasks.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = engine.inner.stop.cancelled() => return,
                    () = tokio::time::sleep(AGAIN) => {}
                }
                match engine.look(&id, |_| ()).await {
                    Err(error @ (Error::Store(StoreError::Unavailable(_)) | Error::Unavailable(_))) => {
                        tracing::debug!(%id, %error, "whether a commit was written is not known yet");
                    }
                    _ => return,
                }
            }
        });
    }

    /// Whether a commit of a machine may have been written, which only reading it shows.
    pub(crate) fn is_doubted(&self, id: &ExecutionId) -> bool {
        self.inner.doubts.0.lock().contains_key(id)
    }

    /// A machine was read: what a commit owes that was written after all takes effect.
    pub(crate) fn clear_up(&self, id: &ExecutionId, state: &AnyMachine, version: u64) {
        let Some(doubt) = self.inner.doubts.0.lock().remove(id) else { return };
        if version < doubt.version {
            return;
        }
        tracing::info!(%id, version, "a commit was written although the store failed");
        self.follow_up(id, state, doubt.work, version);
        if let Some(monitor) = state.monitor() {
            self.tell_dependents(id);
            if !monitor.asks().is_empty() {
                self.ask_parents(id, monitor.asks().to_vec());
            }
        }
    }
}
