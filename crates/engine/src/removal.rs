//! Removing executions: one that somebody wants gone, and those that nobody needs any more, which
//! go a little later, many in one write.
//!
//! What belongs to one execution lies on a dozen pages of a store, and those that ended about the
//! same time share them: together they cost hardly more than one alone.

use std::time::Duration;

use kernel::{ExecutionId, Permit, RowKind};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::cache::Slot;
use crate::engine::{Engine, Error};
use crate::machine::AnyMachine;
use crate::store::StoreError;

/// How long more are gathered after the first.
const GATHER: Duration = Duration::from_secs(1);

/// Executions removed in one write, so that others get their turn in between.
const TOGETHER: usize = 64;

/// Executions that nobody needs and that are still there. After a crash the retention gets them.
#[derive(Default)]
pub(crate) struct Forgotten {
    waiting: Mutex<Vec<ExecutionId>>,
    some: Notify,
}

impl Engine {
    /// Removes an execution and all that is known of it; `false` if there was none.
    ///
    /// # Errors
    /// The store's.
    pub async fn remove(&self, id: &ExecutionId) -> Result<bool, Error> {
        let shared = self.inner.cache.slot(id);
        let mut slot = self.lock_to_end(id, &shared).await;
        let removed = self.remove_from_store(id, &mut slot).await;
        // Also where the outcome is not known: it is read again.
        slot.state = None;
        if let Ok((_, tasks)) = &removed {
            slot.unwritten = None;
            self.forget_rows(id, tasks);
            self.inner.waker.set(id, None);
            self.release(id).await;
        }
        self.settle_slot(id, slot);
        removed.map(|(found, _)| found)
    }

    /// Removes it, and answers whether it was there and which of its tasks were queued.
    async fn remove_from_store(
        &self,
        id: &ExecutionId,
        slot: &mut Slot,
    ) -> Result<(bool, Vec<u32>), Error> {
        // What has ended waits in no queue: its history need not be read to know that. Whoever owes
        // something by a commit that was written after all is read, and its messages go out.
        let ended = slot.state.is_none()
            && !self.is_doubted(id)
            && self.inner.store.head(id).await?.is_none_or(|head| head.closed);
        // What is quarantined unread stays so.
        let mut is_unread = self.inner.suspects.is_unread(id);
        if !is_unread && !ended {
            match self.load(id, slot).await {
                Err(Error::Quarantined { .. }) => is_unread = true,
                loaded => loaded?,
            }
        }
        let tasks: Vec<u32> = if is_unread {
            let rows = self.inner.queues.rows(|row| row.execution == *id);
            rows.into_iter().map(|row| row.kind.number()).collect()
        } else {
            slot.state.as_ref().map_or_else(Vec::new, AnyMachine::queued)
        };
        Ok((self.inner.store.remove(id).await?, tasks))
    }

    fn forget_rows(&self, id: &ExecutionId, tasks: &[u32]) {
        let permits = Permit::ALL.map(RowKind::Permit);
        for kind in tasks.iter().map(|number| RowKind::of(*number)).chain(permits) {
            let key = (id.clone(), kind.number());
            if matches!(kind, RowKind::Permit(_)) {
                self.leave_place(&key);
            } else {
                self.inner.queues.remove(&key);
                self.inner.crew.withdrawn(&key);
            }
        }
    }

    /// Removes an execution that nobody needs, before long.
    pub(crate) fn forget(&self, execution: ExecutionId) {
        self.inner.forgotten.waiting.lock().push(execution);
        self.inner.forgotten.some.notify_one();
    }

    pub(crate) fn run_forgetter(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = engine.inner.stop.cancelled() => return,
                    () = engine.inner.forgotten.some.notified() => {}
                }
                tokio::select! {
                    biased;
                    () = engine.inner.stop.cancelled() => return,
                    () = tokio::time::sleep(GATHER) => engine.remove_forgotten().await,
                }
            }
        });
    }

    /// Removes all that was forgotten. What cannot be removed now is left to the retention.
    pub(crate) async fn remove_forgotten(&self) {
        let all = std::mem::take(&mut *self.inner.forgotten.waiting.lock());
        for together in all.chunks(TOGETHER) {
            match self.remove_together(together.to_vec()).await {
                Ok(()) | Err(Error::Closing | Error::Store(StoreError::Closed)) => {}
                Err(error) => {
                    tracing::debug!(%error, "removal of obsolete executions failed; retention will remove them");
                }
            }
        }
    }

    async fn remove_together(&self, ids: Vec<ExecutionId>) -> Result<(), Error> {
        let (doubted, ids): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| self.is_doubted(id));
        let left = self.inner.store.remove_ended(ids.clone()).await;
        self.inner.cache.forget(&ids);
        for left in left?.into_iter().chain(doubted) {
            self.remove(&left).await?;
        }
        Ok(())
    }
}
