//! Holds of tasks by workers, given out at once and written a moment later.
//!
//! That a worker has taken a task matters only for as long as nothing else is known of the task.
//! Most are done within milliseconds, and then one commit holds both facts; what lasts longer is
//! written after [`WRITE_AFTER`]. In memory it holds from the first instant. A server that dies in
//! between hands the task out again, as it does whenever a worker's answer is lost. Decision 0012
//! weighs this.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::join_all;
use kernel::graph::Input;
use kernel::{Effect, ExecutionId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::before::Changes;
use crate::cache::{Shared, Slot};
use crate::engine::{Engine, Error};
use crate::machine::{AnyInput, AnyMachine, Decided};
use crate::store::QueueChange;

/// How long a hold may be known to this process alone.
const WRITE_AFTER: Duration = Duration::from_millis(100);
/// Pause before a hold is written again that the store did not take.
const AGAIN: Duration = Duration::from_millis(500);
/// Holds written in one go.
const BATCH_MAX: usize = 256;

/// What was decided on an execution and is not in the store: part of its next commit.
#[derive(Clone)]
pub(crate) struct Unwritten {
    /// Commits before it. If there are more by now, it was among them.
    pub(crate) version: u64,
    /// The facts as a history row.
    pub(crate) events: String,
    /// What changes in the queues.
    pub(crate) queue: Vec<QueueChange>,
}

impl Unwritten {
    /// One history row of what comes first and what follows.
    pub(crate) fn followed_by(&self, events: &str) -> String {
        join_rows(&[&self.events, events])
    }
}

/// JSON arrays as one.
pub(crate) fn join_rows(rows: &[impl AsRef<str>]) -> String {
    let within = |row: &'_ str| row.len().checked_sub(2).map(|length| 1..=length);
    let mut joined = String::with_capacity(rows.iter().map(|row| row.as_ref().len()).sum());
    joined.push('[');
    for row in rows.iter().map(AsRef::as_ref) {
        let Some(inside) = within(row).and_then(|range| row.get(range)) else { continue };
        if !inside.is_empty() {
            if joined.len() > 1 {
                joined.push(',');
            }
            joined.push_str(inside);
        }
    }
    joined.push(']');
    joined
}

/// Executions with something unwritten, in the order in which it is due. Each is kept in memory.
#[derive(Default)]
pub(crate) struct Ledger {
    due: Mutex<VecDeque<(Instant, ExecutionId, Shared)>>,
    added: Notify,
}

impl Ledger {
    fn add(&self, after: Duration, id: ExecutionId, slot: Shared) {
        let mut due = self.due.lock();
        due.push_back((Instant::now() + after, id, slot));
        if due.len() == 1 {
            self.added.notify_one();
        }
    }

    /// The next ones that are due by then; all but in their order.
    fn take(&self, by: Option<Instant>) -> Vec<(ExecutionId, Shared)> {
        let mut due = self.due.lock();
        let ripe = due.iter().take(BATCH_MAX);
        let count = ripe.take_while(|(at, ..)| by.is_none_or(|by| *at <= by)).count();
        due.drain(..count).map(|(_, id, slot)| (id, slot)).collect()
    }

    fn next(&self) -> Option<Instant> {
        self.due.lock().front().map(|(at, ..)| *at)
    }
}

/// Whether all that was decided is that a worker holds a task.
pub(crate) fn may_wait(input: &AnyInput, decided: &Decided) -> bool {
    let by_worker = matches!(input, AnyInput::Execution(input)
        if matches!(**input, Input::Claim { worker: Some(_), .. }));
    let holds_only = decided.effects.iter().all(|effect| matches!(effect, Effect::Hold { .. }));
    by_worker && holds_only && decided.plans.is_empty() && decided.text.is_none()
}

impl Engine {
    /// Puts what was decided into effect without writing it.
    pub(crate) fn write_later(
        &self,
        id: &ExecutionId,
        shared: &Shared,
        slot: &mut Slot,
        state: AnyMachine,
        decided: Decided,
    ) {
        let work = self.work(id, &state, slot.version, decided.effects);
        let events = decided.events.unwrap_or_else(|| "[]".to_owned());
        match &mut slot.unwritten {
            Some(unwritten) => {
                unwritten.events = unwritten.followed_by(&events);
                unwritten.queue.extend(work.queue.iter().cloned());
            }
            unwritten @ None => {
                let (version, queue) = (slot.version, work.queue.clone());
                *unwritten = Some(Unwritten { version, events, queue });
                self.inner.unwritten.add(WRITE_AFTER, id.clone(), shared.clone());
            }
        }
        self.follow_up(id, &state, work, slot.version);
        slot.state = Some(state);
    }

    pub(crate) fn run_claims_writer(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                let unwritten = &engine.inner.unwritten;
                let added = unwritten.added.notified();
                let next = unwritten.next();
                let due = async {
                    match next {
                        Some(next) => tokio::time::sleep_until(next).await,
                        None => added.await,
                    }
                };
                tokio::select! {
                    biased;
                    () = engine.inner.stop.cancelled() => return,
                    () = due => {}
                }
                let ripe = unwritten.take(Some(Instant::now()));
                join_all(ripe.into_iter().map(|(id, slot)| engine.write_now(id, slot))).await;
            }
        });
    }

    /// Writes all that is unwritten: the last thing before the store is closed.
    pub(crate) async fn write_all_claims(&self) {
        loop {
            let batch = self.inner.unwritten.take(None);
            if batch.is_empty() {
                return;
            }
            let write = |(id, slot): (ExecutionId, Shared)| async move {
                if let Err(error) = self.write_slot(&id, &slot).await {
                    tracing::warn!(workflow = %id, %error, "task claim lost at shutdown");
                }
            };
            join_all(batch.into_iter().map(write)).await;
        }
    }

    async fn write_now(&self, id: ExecutionId, shared: Shared) {
        if let Err(error) = self.write_slot(&id, &shared).await {
            tracing::debug!(workflow = %id, %error, "task claim not persisted; retrying");
            self.inner.unwritten.add(AGAIN, id, shared);
        }
    }

    async fn write_slot(&self, id: &ExecutionId, shared: &Shared) -> Result<(), Error> {
        let mut slot = shared.lock().await;
        let result = self.commit_unwritten(id, &mut slot).await;
        self.settle_slot(id, slot);
        result
    }

    async fn commit_unwritten(&self, id: &ExecutionId, slot: &mut Slot) -> Result<(), Error> {
        if slot.unwritten.is_none() || self.is_quarantined(id) {
            return Ok(());
        }
        // Loading shows whether it is still unwritten.
        self.load(id, slot).await?;
        let Some(state) = slot.state.take_if(|_| slot.unwritten.is_some()) else { return Ok(()) };
        let nothing = Decided {
            events: None,
            plans: Vec::new(),
            text: None,
            is_news: false,
            effects: Vec::new(),
        };
        self.persist(id, slot, state, nothing, Vec::new(), Changes::default()).await
    }
}

#[cfg(test)]
mod tests {
    use super::join_rows;

    #[test]
    fn rows_are_joined() {
        for (first, second, whole) in [
            ("[]", "[]", "[]"),
            ("[1]", "[]", "[1]"),
            ("[]", "[2]", "[2]"),
            ("[1]", "[2,3]", "[1,2,3]"),
            ("[\"ü\"]", "[]", "[\"ü\"]"),
        ] {
            assert_eq!(join_rows(&[first, second]), whole);
        }
    }
}
