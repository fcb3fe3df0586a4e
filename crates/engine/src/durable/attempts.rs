//! Work that was handed out and not done: how often, why, and when it is offered again.
//!
//! What no worker survives, or none can do, would otherwise go round for ever, as fast as it can. Each
//! failed attempt makes the pause before the next one longer, and after so many attempts the work
//! fails. Attempts are remembered in memory alone: they begin anew when the server does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kernel::durable::WorkQueue;
use kernel::{ExecutionId, Timestamp};

use crate::queues::TaskKey;

/// Longest pause before work is offered again.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// Longest reason that is kept, in bytes.
const REASON_MAX: usize = 1000;
/// Work that was given up and is still shown; older entries make room.
const GIVEN_UP_MAX: usize = 100;
/// How many leases may run out for each attempt that may fail. A worker that is busy with other
/// things lets them run out, too, and harms nobody.
const LEASES_PER_ATTEMPT: u32 = 10;

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) enum Setback {
    /// The worker went away.
    Lost,
    /// The lease ran out while the worker was connected.
    Late,
    /// The worker gave it back, or nobody could take its answer. It may come again any number of
    /// times.
    GivenBack(String),
    /// The worker gave back what does not depend on its version: it could not do it.
    Refused,
    /// The worker failed, or answered what makes no sense.
    Failed(String),
}

/// A piece of work that was handed out and not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The instance or entity.
    pub machine: ExecutionId,
    /// The number of the row in the queues.
    pub sequence: u32,
    /// Where it stands.
    pub queue: WorkQueue,
    /// Attempts that failed.
    pub attempts: u32,
    /// Why the last one did.
    pub reason: Arc<str>,
    /// Who tried last, by what the worker calls itself; may be empty.
    pub worker: Arc<str>,
    /// When the first attempt failed.
    pub since: Timestamp,
    /// When the last one did.
    pub last_at: Timestamp,
    /// When it is offered again; absent if it was given up.
    pub next_at: Option<Timestamp>,
    /// Every worker that is connected and takes such work has given it back.
    pub refused_by_all: bool,
}

/// What is to be done after an attempt failed.
pub(crate) enum Next {
    /// Offer it again after this pause.
    Offer(Duration),
    /// It has failed: it was tried so often, and this is why the last attempt failed.
    GiveUp(u32, Arc<str>),
}

/// All attempts that failed.
#[derive(Default)]
pub(crate) struct Attempts {
    open: BTreeMap<TaskKey, Attempt>,
    given_up: VecDeque<Unfinished>,
}

struct Attempt {
    shown: Unfinished,
    /// Attempts that count against the bound.
    counted: u32,
    late: u32,
    /// Whoever tried last gave it back.
    given_back: bool,
    /// Workers that gave it back, by number.
    refused_by: BTreeSet<u64>,
    /// Operations of an entity that go out one at a time, so that one that no worker survives does
    /// not take others with it.
    single: usize,
}

/// An attempt that failed.
pub(crate) struct Failed<'a> {
    pub(crate) key: &'a TaskKey,
    pub(crate) queue: WorkQueue,
    /// The worker's number, and what it calls itself.
    pub(crate) worker: (u64, Arc<str>),
    /// Operations that were out, if it is a batch.
    pub(crate) operations: usize,
    pub(crate) setback: Setback,
    pub(crate) now: Timestamp,
}

impl Attempts {
    /// Notes an attempt that failed. `pause` is the first pause, `most` the number of attempts that
    /// may fail; 0 = any number.
    pub(crate) fn failed(&mut self, failed: Failed<'_>, pause: Duration, most: u32) -> Next {
        let Failed { key, queue, worker: (number, worker), operations, setback, now } = failed;
        let attempt = self.open.entry(key.clone()).or_insert_with(|| Attempt {
            shown: Unfinished {
                machine: key.0.clone(),
                sequence: key.1,
                queue,
                attempts: 0,
                reason: "".into(),
                worker: "".into(),
                since: now,
                last_at: now,
                next_at: None,
                refused_by_all: false,
            },
            counted: 0,
            late: 0,
            given_back: false,
            refused_by: BTreeSet::new(),
            single: 0,
        });
        attempt.shown.attempts += 1;
        attempt.shown.last_at = now;
        attempt.shown.worker = worker;
        attempt.single = attempt.single.max(operations);
        let (reason, counts) = match &setback {
            Setback::Lost => ("the worker went away", true),
            Setback::Late => ("the worker kept it longer than its lease", false),
            Setback::GivenBack(reason) => (reason.as_str(), false),
            Setback::Refused => ("the worker gave it back", true),
            Setback::Failed(reason) => (reason.as_str(), true),
        };
        attempt.shown.reason = reason[..reason.floor_char_boundary(REASON_MAX)].into();
        attempt.counted += u32::from(counts);
        attempt.given_back = matches!(setback, Setback::GivenBack(_) | Setback::Refused);
        match setback {
            Setback::Late => attempt.late += 1,
            Setback::GivenBack(_) | Setback::Refused => {
                attempt.refused_by.insert(number);
            }
            Setback::Lost | Setback::Failed(_) => {}
        }
        let late_max = most.saturating_mul(LEASES_PER_ATTEMPT);
        if most > 0 && (attempt.counted >= most || attempt.late >= late_max) {
            let (attempts, reason) = (attempt.shown.attempts, attempt.shown.reason.clone());
            let shown = Unfinished { next_at: None, ..attempt.shown.clone() };
            if self.given_up.len() >= GIVEN_UP_MAX {
                self.given_up.pop_front();
            }
            self.given_up.push_back(shown);
            return Next::GiveUp(attempts, reason);
        }
        let attempts = attempt.shown.attempts;
        // A worker that was stopped for a new version harms nobody, and a lease is pause enough.
        let at_once = match setback {
            Setback::Late => true,
            Setback::Lost => attempts == 1,
            _ => false,
        };
        if at_once {
            attempt.shown.next_at = Some(now);
            return Next::Offer(Duration::ZERO);
        }
        let doublings = attempts.saturating_sub(1).min(16);
        let pause = pause.saturating_mul(1 << doublings).min(PAUSE_MAX.max(pause));
        let millis = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        attempt.shown.next_at = Some(now.plus_millis(millis));
        Next::Offer(pause)
    }

    /// What was out is done, or void.
    pub(crate) fn settled(&mut self, key: &TaskKey) {
        let Some(attempt) = self.open.get_mut(key) else { return };
        if attempt.single <= 1 {
            self.open.remove(key);
            return;
        }
        attempt.single -= 1;
        (attempt.counted, attempt.late, attempt.shown.attempts) = (0, 0, 0);
    }

    /// The work is no more, whatever it was.
    pub(crate) fn forget(&mut self, key: &TaskKey) {
        self.open.remove(key);
    }

    /// How many operations of an entity may go out at once.
    pub(crate) fn operations_max(&self, key: &TaskKey) -> usize {
        if self.open.contains_key(key) { 1 } else { usize::MAX }
    }

    /// A piece of work, if attempts at it failed. `refuses_all` tells whether these workers are all
    /// that would take it.
    pub(crate) fn of(
        &self,
        key: &TaskKey,
        refuses_all: impl Fn(&WorkQueue, &BTreeSet<u64>) -> bool,
    ) -> Option<Unfinished> {
        let attempt = self.open.get(key).filter(|attempt| attempt.shown.attempts > 0)?;
        let refused_by_all = refuses_all(&attempt.shown.queue, &attempt.refused_by);
        Some(Unfinished { refused_by_all, ..attempt.shown.clone() })
    }

    /// Where such work stands, and the workers that gave it back.
    pub(crate) fn refused(&self, key: &TaskKey) -> Option<(&WorkQueue, &BTreeSet<u64>)> {
        self.open.get(key).map(|attempt| (&attempt.shown.queue, &attempt.refused_by))
    }

    /// It is offered at once after all, to a worker that has not given it back.
    pub(crate) fn offered_at_once(&mut self, key: &TaskKey, now: Timestamp) {
        if let Some(attempt) = self.open.get_mut(key) {
            attempt.shown.next_at = Some(now);
        }
    }

    /// The keys of all such work.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &TaskKey> {
        self.open.iter().filter(|(_, attempt)| attempt.shown.attempts > 0).map(|(key, _)| key)
    }

    /// Work of a hub that was given back by whoever tried last.
    pub(crate) fn given_back(&self, hub: &str) -> Vec<TaskKey> {
        let mine = self
            .open
            .iter()
            .filter(|(_, attempt)| attempt.given_back && *attempt.shown.queue.hub == *hub);
        mine.map(|(key, _)| key.clone()).collect()
    }

    /// What was given up last, newest last.
    pub(crate) fn given_up(&self) -> impl Iterator<Item = &Unfinished> {
        self.given_up.iter()
    }
}
