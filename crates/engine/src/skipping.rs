//! Skipped time, for a server that tests of workers run against: while nobody is at work, the clock is
//! set to whatever comes next.
//!
//! Time passes as everywhere else while a worker has a task, or one waits for a worker, or a call
//! runs, or an orchestrator thinks. When nothing of the kind is left, and nothing was committed for a
//! while, only the clock can make anything happen: it jumps to the next timer, schedule or retry.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use kernel::Timestamp;

use crate::clock::{Clock, SystemClock};
use crate::engine::Engine;
use crate::store::StoreError;

/// Machines of which the first is looked for that is not due yet.
const LOOKED_AT: usize = 256;

/// The machine's clock, and what was skipped.
#[derive(Default)]
pub struct SkippingClock(AtomicI64);

impl Clock for SkippingClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.0.load(Ordering::Acquire))
    }

    fn since_boot(&self) -> Option<Duration> {
        SystemClock.since_boot()
    }

    fn wall(&self) -> Timestamp {
        SystemClock.now()
    }
}

impl Engine {
    /// Skips time whenever nobody was at work for so long, until the engine stops. `clock` must be that
    /// of the engine.
    pub fn skip_time(&self, clock: Arc<SkippingClock>, quiet: Duration) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let mut seen = None;
            while engine.pauses(quiet).await {
                let commits = || engine.inner.counters.commits.load(Ordering::Relaxed);
                let before = commits();
                let is_quiet = || commits() == before && !engine.is_at_work();
                if seen.replace(before) != Some(before) || !is_quiet() {
                    continue;
                }
                match engine.next_instant().await {
                    // Somebody may have begun to work while the store was asked.
                    Ok(Some(at)) if is_quiet() => engine.skip_to(at, &clock).await,
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "next timer could not be read"),
                }
            }
        });
    }

    async fn skip_to(&self, at: Timestamp, clock: &SkippingClock) {
        let by = at.since(self.now());
        clock.0.fetch_add(by.max(0), Ordering::AcqRel);
        tracing::debug!(%at, "no work in progress: time is skipped");
        // What lay beyond the horizon is in the store only.
        if let Err(error) = self.refill_waker().await {
            tracing::warn!(%error, "timers could not be fetched");
        }
        self.inner.waker.clock_changed(None);
        self.inner.queues.clock_changed();
    }

    /// Whether anything happens without the clock.
    fn is_at_work(&self) -> bool {
        let inner = &self.inner;
        inner.queues.are_at_work(self.now())
            || !inner.running.lock().is_empty()
            || !inner.deciding.lock().is_empty()
    }

    /// When the clock alone makes something happen next.
    async fn next_instant(&self) -> Result<Option<Timestamp>, StoreError> {
        let now = self.now();
        let stored = self.inner.store.due(Timestamp::MAX, LOOKED_AT).await?;
        // What is due and stays so is not woken by the clock any more, such as what is in quarantine.
        let stored = stored.into_iter().map(|(at, _)| at).find(|at| *at > now);
        let kept = self.inner.waker.next().filter(|at| *at > now);
        let queued = self.inner.queues.next_ready(now);
        Ok([stored, kept, queued].into_iter().flatten().min())
    }
}
