//! Commits of which nobody knows whether they were written: the store failed, or its answer was lost.
//!
//! Whoever asked is told of the failure. But if the commit was written after all, what it owes (rows
//! in queues, messages, timers) is in the store, and only a restart would put it into effect. So it
//! is kept until the store has answered what is there, and put into effect then.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::ExecutionId;
use parking_lot::Mutex;

use crate::before::Changes;
use crate::engine::{Engine, Work};
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
    changes: Changes,
}

impl Engine {
    /// A commit failed: if it may have been written, somebody finds out.
    pub(crate) fn doubt(
        &self,
        id: &ExecutionId,
        error: &StoreError,
        version: u64,
        (work, changes): (Work, Changes),
    ) {
        if !matches!(error, StoreError::Unavailable(_)) || mutants::is(Mutant::OutcomeIgnored) {
            return;
        }
        self.inner.doubts.0.lock().insert(id.clone(), Doubt { version, work, changes });
        let (engine, id) = (self.clone(), id.clone());
        self.inner.tasks.spawn(async move {
            while engine.pauses(AGAIN).await {
                // Also what is quarantined unread: it was read to be decided on.
                let shared = engine.inner.cache.slot(&id);
                let mut slot = shared.lock().await;
                let read = engine.load(&id, &mut slot).await;
                engine.settle_slot(&id, slot);
                match read {
                    Err(error) if error.is_transient() => {
                        tracing::debug!(%id, %error, "outcome of a commit is still unknown; retrying");
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

    /// A machine was read: what follows from a commit takes effect that was written after all.
    pub(crate) async fn clear_up(&self, id: &ExecutionId, state: &AnyMachine, version: u64) {
        let doubt = self.inner.doubts.0.lock().remove(id);
        let Some(doubt) = doubt.filter(|doubt| version >= doubt.version) else { return };
        tracing::info!(%id, version, "commit was written although the store had reported a failure");
        self.follow_up(id, state, doubt.work, version);
        self.follow_changes(id, state, doubt.changes).await;
    }
}
