//! The loops that follow the clock: waking executions, and removing what is not kept.

use std::time::Duration;

use kernel::{ExecutionId, Rejected, Timestamp};

use crate::engine::{Engine, Error};
use crate::health::Vitals;
use crate::machine::{AnyInput, AnyMachine};
use crate::mutants::{self, Mutant};
use crate::store::{Pruned, Retention, StoreError};

/// How far ahead instants are kept in memory.
const HORIZON_SECONDS: i64 = 600;
/// How often the store is asked for what comes next.
const REFILL: Duration = Duration::from_mins(4);
/// Instants fetched in one go.
const REFILL_MAX: usize = 1_000_000;
/// Pause before an execution is woken again that could not be.
const AGAIN_MILLIS: i64 = 1000;
/// How often what is not kept is removed.
const PRUNE: Duration = Duration::from_secs(30);
/// How often the ledgers are trimmed.
const TRIM: Duration = Duration::from_mins(10);
/// Executions removed in one go.
const PRUNE_BATCH: usize = 500;

impl Engine {
    pub(crate) fn run_waker(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let mut refill = tokio::time::interval(REFILL);
            refill.tick().await;
            loop {
                let wait = engine.inner.waker.next().map(|at| at.since(engine.now()));
                if wait.is_some_and(|millis| millis <= 0) {
                    engine.wake_due();
                    // Lets those woken get on before the clock is looked at again.
                    tokio::task::yield_now().await;
                    continue;
                }
                let millis = wait.map_or(u64::MAX / 2, |millis| millis as u64);
                tokio::select! {
                    biased;
                    () = engine.inner.stop.cancelled() => return,
                    () = engine.inner.waker.sooner() => {}
                    () = tokio::time::sleep(Duration::from_millis(millis)) => {}
                    _ = refill.tick() => {
                        if let Err(error) = engine.refill_waker().await {
                            tracing::warn!(%error, "timers could not be fetched");
                        }
                    }
                }
            }
        });
    }

    fn wake_due(&self) {
        let now = self.now();
        for (at, id) in self.inner.waker.due(now) {
            self.inner.meters.timers.observe_since(at, now);
            let engine = self.clone();
            self.inner.tasks.spawn(async move { engine.wake(id).await });
        }
    }

    async fn wake(&self, id: ExecutionId) {
        match self.step(&id, AnyInput::Wake).await {
            Ok(()) => {
                // Nothing may have been due: the instant still stands.
                match self.look(&id, AnyMachine::wake_at).await {
                    Ok(Some(at)) => {
                        let floor = |at: Timestamp| {
                            if at <= self.now() { self.now().plus_millis(1) } else { at }
                        };
                        self.inner.waker.set(&id, at.map(floor));
                    }
                    Ok(None) => {}
                    Err(error) if error.is_transient() => {
                        self.inner.waker.set(&id, Some(self.now().plus_millis(AGAIN_MILLIS)));
                    }
                    Err(_) => {}
                }
            }
            Err(
                Error::Rejected(Rejected::Stale(_) | Rejected::Unknown(_))
                | Error::Closing
                | Error::Quarantined { .. },
            ) => {}
            Err(error) => {
                if Vitals::is_news(&error) {
                    tracing::warn!(workflow = %id, %error, "timer of an execution could not be processed");
                }
                self.inner.waker.set(&id, Some(self.now().plus_millis(AGAIN_MILLIS)));
            }
        }
    }

    pub(crate) async fn refill_waker(&self) -> Result<(), StoreError> {
        let horizon = self.now().plus_seconds(HORIZON_SECONDS);
        self.inner.waker.extend(horizon);
        let due = self.inner.store.due(horizon, REFILL_MAX).await?;
        if !mutants::is(Mutant::TimersForgotten) {
            self.inner.waker.add_stored(due);
        }
        Ok(())
    }

    pub(crate) fn run_pruner(&self) {
        let retention = self.inner.options.retention.clone();
        let keeps_all = Retention { count_max: 0, age_max_seconds: 0, disk_max_bytes: 0 };
        if retention == keeps_all {
            return;
        }
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = engine.inner.stop.cancelled() => return,
                    () = tokio::time::sleep(PRUNE) => engine.prune(&retention).await,
                }
            }
        });
    }

    /// Keeps the ledgers within their bound.
    pub(crate) fn run_trimmer(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = engine.inner.stop.cancelled() => return,
                    () = tokio::time::sleep(TRIM) => {}
                }
                let most = engine.inner.options.records_max;
                if let Err(error) = engine.inner.store.trim_records(most).await {
                    tracing::warn!(%error, "ledgers could not be trimmed");
                }
            }
        });
    }

    /// Removes some of the finished machines that the retention does not keep at the time `now`, the
    /// oldest first; [`Pruned::more`] says whether to call again.
    ///
    /// # Errors
    /// The store's.
    pub async fn prune_finished(
        &self,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<Pruned, StoreError> {
        let pruned = self.inner.store.prune(retention, now, PRUNE_BATCH).await;
        // One that failed may have removed some before.
        if pruned.as_ref().map_or(true, |pruned| pruned.executions > 0) {
            self.inner.cache.forget_ended();
        }
        pruned
    }

    async fn prune(&self, retention: &Retention) {
        loop {
            match self.prune_finished(retention, self.now()).await {
                Ok(pruned) if pruned.more && !self.inner.stop.is_cancelled() => {}
                Ok(pruned) => {
                    if pruned.executions > 0 {
                        tracing::info!(
                            executions = pruned.executions,
                            bytes = pruned.bytes,
                            "removed finished executions beyond the retention"
                        );
                    }
                    return;
                }
                Err(error) => return tracing::warn!(%error, "retention could not be applied"),
            }
        }
    }
}
