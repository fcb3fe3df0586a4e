//! Queues of tasks that are ready, and the limits on how many may be out at once.
//!
//! The rows are durable in the store; this is their mirror, rebuilt at start. What is held is
//! counted from the rows themselves, so a limit cannot drift from what it limits, and a slot that
//! becomes free wakes whoever waits for it.

mod stuck;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kernel::graph::WEBHOOK_QUEUE;
use kernel::{ExecutionId, RowKind, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::gates;
use crate::histogram::{Histogram, Observed};
use crate::store::QueueRow;
pub use stuck::{STUCK_RUNS_MAX, StuckGroup};

/// Names a task across executions.
pub(crate) type TaskKey = (ExecutionId, u32);

/// Order within a queue: priority, then age, then arrival.
type Rank = (Reverse<u8>, Timestamp, u64);

/// All queues.
#[derive(Default)]
pub struct Queues {
    state: Mutex<State>,
    /// How long tasks waited until they were handed out, by [`Taker`].
    waits: Waits,
}

/// Who takes tasks from a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// A worker in another process.
    Worker,
    /// The server, which runs built-in tasks itself.
    Server,
}

struct Waits([Histogram; 2]);

impl Default for Waits {
    fn default() -> Self {
        Self([Histogram::of_waits(), Histogram::of_waits()])
    }
}

#[derive(Default)]
struct State {
    queues: BTreeMap<Arc<str>, Queue>,
    rows: HashMap<TaskKey, Placed>,
    names: HashMap<Arc<str>, Usage>,
    /// Tasks that are out, by queue; none is there with 0.
    out: BTreeMap<Arc<str>, u64>,
    arrivals: u64,
    /// So many queues are looked through for what can be forgotten; see [`State::sweep`].
    sweep_at: usize,
    /// Polls remembered, over all queues.
    polls: usize,
    /// Places at gates that are taken ahead of their commit.
    reserved: BTreeSet<TaskKey>,
    /// Who holds the places of a gate, by arrival.
    places: BTreeMap<Arc<str>, BTreeMap<u64, ExecutionId>>,
}

struct Placed {
    row: QueueRow,
    arrival: u64,
    /// Being handed out; the hold is not committed yet.
    taken: bool,
}

#[derive(Default)]
struct Queue {
    waiting: BTreeMap<Rank, TaskKey>,
    /// Not ready yet, soonest first.
    delayed: BTreeSet<(Timestamp, u64, TaskKey)>,
    added: Arc<Notify>,
    polls: BTreeMap<Arc<str>, Poll>,
    polled_at: Option<Timestamp>,
}

/// How much of a name is out.
#[derive(Default)]
struct Usage {
    out: u32,
    handed_out: VecDeque<Timestamp>,
    /// Queues that hold tasks of this name: a freed slot wakes them.
    queues: BTreeSet<Arc<str>>,
}

/// The last poll of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The queue.
    pub queue: Arc<str>,
    /// The worker; empty if it gave no name.
    pub worker: Arc<str>,
    /// When it last asked.
    pub at: Timestamp,
}

/// What a queue holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// The queue.
    pub name: Arc<str>,
    /// Tasks that wait, ready or not.
    pub waiting: u64,
    /// Tasks that are held.
    pub held: u64,
    /// Since when the one waits that became ready first, or will be; absent if none waits.
    pub oldest: Option<Timestamp>,
}

/// Why a task is not handed out, as far as the queues know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// No worker has polled the queue since the start. What was polled before is not known.
    NeverPolled,
    /// No worker has polled for a while.
    NotPolledSince(Timestamp),
    /// As many as allowed are out.
    Concurrency {
        /// The limit.
        limit: u32,
    },
    /// As many as allowed were handed out in the window.
    Rate {
        /// The limit.
        limit: u32,
        /// The window in seconds.
        window_seconds: u32,
        /// When the next may go.
        until: Timestamp,
    },
    /// It is simply its turn later: so many are before it.
    Behind {
        /// Tasks before it.
        count: u64,
    },
}

/// Queues remembered without asking whether anybody needs them.
const SWEEP_MIN: usize = 1024;
/// How long a queue that is not polled any more is remembered at least.
const POLLED_KEPT_MILLIS: i64 = 24 * 3_600_000;
/// Queues remembered although they hold nothing and nobody listens to them at the moment: those that
/// were polled last. Polls name queues, and may name any.
const IDLE_MAX: usize = 10_000;
/// Workers remembered per queue.
const WORKERS_MAX: usize = 1000;
/// Workers remembered over all queues. Beyond, each queue remembers the one that polled last in the
/// place of another.
const POLLS_MAX: usize = 50_000;
/// Bytes of a worker's name that are remembered.
const WORKER_NAME_MAX: usize = 200;
/// A queue nobody has polled for this long counts as unattended.
const ATTENDED_MILLIS: i64 = 60_000;
/// What "lately" means for choosing a domain (Conductor's active-worker window).
const LATELY_MILLIS: i64 = 10_000;

impl Queues {
    /// Adds or replaces a task.
    pub(crate) fn put(&self, row: QueueRow, now: Timestamp) {
        self.state.lock().put(row, now);
    }

    /// Removes a task; a slot may become free.
    pub(crate) fn remove(&self, key: &TaskKey) {
        self.state.lock().remove(key);
    }

    /// Marks a task as held.
    pub(crate) fn hold(&self, key: &TaskKey) {
        self.state.lock().hold(key);
    }

    /// All rows that are wanted, in no order; held are those that are out, written or not.
    pub fn rows(&self, wanted: impl Fn(&QueueRow) -> bool) -> Vec<QueueRow> {
        let state = self.state.lock();
        let rows = state.rows.values().filter(|placed| wanted(&placed.row));
        rows.map(|placed| QueueRow { held: placed.is_out(), ..placed.row.clone() }).collect()
    }

    /// A task by its key, for changing it.
    pub(crate) fn row(&self, key: &TaskKey) -> Option<QueueRow> {
        self.state.lock().rows.get(key).map(|placed| placed.row.clone())
    }

    /// Takes a place at a gate for an execution if one is free and nobody waits before it; it is
    /// given up by removing it, unless a row comes in its place. Answers the same when asked again.
    pub(crate) fn place(&self, gate: &str, limit: u32, key: TaskKey, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        if let Some(placed) = state.rows.get(&key) {
            return placed.is_out();
        }
        let out = state.names.get(gate).map_or(0, |usage| usage.out);
        let waiting = state.queues.get(gate).is_some_and(|queue| !queue.waiting.is_empty());
        if out >= limit || waiting {
            return false;
        }
        state.put(gates::held(key.clone(), gate.into(), limit, now), now);
        state.reserved.insert(key);
        true
    }

    /// Gives back a place that was taken ahead of a commit which then failed; names its gate.
    pub(crate) fn unreserve(&self, key: &TaskKey) -> Option<Arc<str>> {
        let mut state = self.state.lock();
        if !state.reserved.contains(key) {
            return None;
        }
        let gate = state.rows.get(key).map(|placed| placed.row.queue.clone());
        state.remove(key);
        gate
    }

    /// Forgets a gate that nobody holds a place of or waits at; `false` if there is somebody.
    pub(crate) fn forget_gate(&self, gate: &str) -> bool {
        let mut state = self.state.lock();
        let held = state.names.get(gate).is_some_and(|usage| usage.out > 0);
        if held || state.queues.get(gate).is_some_and(Queue::waits) {
            return false;
        }
        state.names.remove(gate);
        state.queues.remove(gate);
        true
    }

    /// Who holds the places of a gate, at most `count` of them.
    pub fn holders(&self, gate: &str, count: usize) -> Vec<ExecutionId> {
        let state = self.state.lock();
        let holders = state.places.get(gate).into_iter().flat_map(BTreeMap::values);
        holders.take(count).cloned().collect()
    }

    /// The gates at which somebody waits.
    pub(crate) fn gates(&self) -> BTreeSet<Arc<str>> {
        let state = self.state.lock();
        let places = state.rows.values().filter(|placed| placed.is_permit());
        places.map(|placed| placed.row.queue.clone()).collect()
    }

    /// The tasks of a queue that are not held, in the order in which they would be taken, with the
    /// names under which they stand there.
    pub(crate) fn list(&self, queue: &str) -> Vec<(TaskKey, Arc<str>)> {
        let state = self.state.lock();
        let Some(queue) = state.queues.get(queue) else { return Vec::new() };
        let keys = queue.waiting.values().chain(queue.delayed.iter().map(|(_, _, key)| key));
        keys.filter_map(|key| Some((key.clone(), state.rows.get(key)?.row.name.clone()))).collect()
    }

    /// Takes up to `count` tasks that may go now. They count as out until they are held, removed
    /// or put back. How long they waited is measured if somebody is named who takes them.
    pub(crate) fn take(
        &self,
        queue: &str,
        count: usize,
        now: Timestamp,
        taker: Option<Taker>,
    ) -> Vec<TaskKey> {
        let waits = taker.map(|taker| self.waits_of(taker));
        self.state.lock().take(queue, count, now, waits)
    }

    fn waits_of(&self, taker: Taker) -> &Histogram {
        &self.waits.0[taker as usize]
    }

    /// How long tasks waited, from when they were ready until they were handed out.
    pub fn waited(&self, taker: Taker) -> Observed {
        self.waits_of(taker).observed()
    }

    /// Gives back a task that could not be handed out.
    pub(crate) fn put_back(&self, key: &TaskKey, now: Timestamp) {
        let mut state = self.state.lock();
        if let Some(row) = state.rows.get(key).map(|placed| placed.row.clone()) {
            state.put(row, now);
        }
    }

    /// The word that something came. Whoever waits listens before it looks, so that nothing comes
    /// in between unheard.
    pub(crate) fn added(&self, queue: &str) -> Arc<Notify> {
        self.state.lock().queue(queue).added.clone()
    }

    /// How long until time alone may help, asked after there was nothing to take.
    pub(crate) fn next(&self, queue: &str, now: Timestamp) -> Option<Duration> {
        let at = self.state.lock().next_at(queue, now);
        at.map(|at| Duration::from_millis(at.since(now).max(1) as u64))
    }

    /// Whether somebody has a task, or one is ready for somebody. What waits for a webhook waits for
    /// others, and a place at a gate is no work.
    pub(crate) fn are_at_work(&self, now: Timestamp) -> bool {
        let state = self.state.lock();
        let mut rows = state
            .rows
            .values()
            .filter(|placed| !placed.is_permit() && !placed.row.queue.starts_with(WEBHOOK_QUEUE));
        rows.any(|placed| placed.is_out() || placed.row.ready_at <= now)
    }

    /// When the next task becomes ready that is not yet.
    pub(crate) fn next_ready(&self, now: Timestamp) -> Option<Timestamp> {
        let state = self.state.lock();
        let queues = state.queues.values();
        let delayed = queues.filter_map(|queue| queue.delayed.first().map(|(at, ..)| *at));
        delayed.filter(|at| *at > now).min()
    }

    /// The clock was set forward: all who wait for tasks that were not ready look again.
    pub(crate) fn clock_changed(&self) {
        let state = self.state.lock();
        for queue in state.queues.values().filter(|queue| !queue.delayed.is_empty()) {
            queue.added.notify_waiters();
            queue.added.notify_one();
        }
    }

    /// Remembers that a worker asked.
    pub(crate) fn polled(&self, queue: &str, worker: &str, now: Timestamp) {
        let worker = &worker[..worker.floor_char_boundary(WORKER_NAME_MAX)];
        let mut state = self.state.lock();
        state.sweep(now);
        let remembered = state.polls;
        let name: Arc<str> = queue.into();
        let queue = state.queue(queue);
        queue.polled_at = Some(now);
        if let Some(poll) = queue.polls.get_mut(worker) {
            poll.at = now;
            return;
        }
        let is_full = queue.polls.len() >= WORKERS_MAX || remembered >= POLLS_MAX;
        let oldest = queue.polls.values().min_by_key(|poll| poll.at).filter(|_| is_full);
        let oldest = oldest.map(|poll| poll.worker.clone());
        let replaced = oldest.is_some_and(|oldest| queue.polls.remove(&oldest).is_some());
        let worker: Arc<str> = worker.into();
        queue.polls.insert(worker.clone(), Poll { queue: name, worker, at: now });
        if !replaced {
            state.polls += 1;
        }
    }

    /// Whether some worker asked this queue lately.
    pub fn polled_lately(&self, queue: &str, now: Timestamp) -> bool {
        let state = self.state.lock();
        let polled_at = state.queues.get(queue).and_then(|queue| queue.polled_at);
        polled_at.is_some_and(|at| now.since(at) <= LATELY_MILLIS)
    }

    /// The last poll of every worker of a queue; of all queues if none is named.
    pub fn polls(&self, queue: Option<&str>) -> Vec<Poll> {
        let state = self.state.lock();
        state
            .queues
            .iter()
            .filter(|(name, _)| queue.is_none_or(|wanted| &***name == wanted))
            .flat_map(|(_, queue)| queue.polls.values().cloned())
            .collect()
    }

    /// What every queue holds, by name.
    pub fn states(&self) -> Vec<QueueState> {
        let state = self.state.lock();
        let empty =
            |name: &Arc<str>| QueueState { name: name.clone(), waiting: 0, held: 0, oldest: None };
        let mut states: BTreeMap<&Arc<str>, QueueState> = BTreeMap::new();
        for (name, queue) in &state.queues {
            let waiting = (queue.waiting.len() + queue.delayed.len()) as u64;
            let shown = QueueState { waiting, oldest: queue.oldest(), ..empty(name) };
            states.insert(name, shown);
        }
        for (name, out) in &state.out {
            states.entry(name).or_insert_with(|| empty(name)).held = *out;
        }
        states.retain(|name, _| !kernel::graph::is_gate(name));
        states.into_values().collect()
    }

    /// Whether something waits in a queue, ready or not.
    pub(crate) fn waits(&self, queue: &str) -> bool {
        self.state.lock().queues.get(queue).is_some_and(Queue::waits)
    }

    /// Why a waiting task is not handed out; `None` if it is held or not there.
    pub fn blocked(&self, key: &TaskKey, now: Timestamp) -> Option<Blocked> {
        let mut state = self.state.lock();
        let placed = state.rows.get(key).filter(|placed| !placed.is_out())?;
        let (row, rank) = (placed.row.clone(), placed.rank());
        if let Some(limit) = state.limit(&row, now) {
            return Some(limit);
        }
        let queue = state.queues.get(&row.queue)?;
        match queue.polled_at {
            None => Some(Blocked::NeverPolled),
            Some(at) if now.since(at) > ATTENDED_MILLIS => Some(Blocked::NotPolledSince(at)),
            Some(_) => {
                let count = queue.waiting.range(..rank).count() as u64;
                Some(Blocked::Behind { count })
            }
        }
    }
}

impl QueueRow {
    /// Where it stands in the queues.
    pub(crate) fn key(&self) -> TaskKey {
        (self.execution.clone(), self.kind.number())
    }

    /// Whether it stands for no work.
    pub(crate) fn is_permit(&self) -> bool {
        matches!(self.kind, RowKind::Permit(_))
    }
}

impl Placed {
    fn is_out(&self) -> bool {
        self.row.held || self.taken
    }

    fn is_permit(&self) -> bool {
        self.row.is_permit()
    }

    fn rank(&self) -> Rank {
        (Reverse(self.row.priority), self.row.ready_at, self.arrival)
    }
}

impl Queue {
    fn waits(&self) -> bool {
        !self.waiting.is_empty() || !self.delayed.is_empty()
    }

    /// When the first became ready of those that wait, or will be: of each priority the first one is
    /// looked at.
    fn oldest(&self) -> Option<Timestamp> {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut oldest = self.delayed.first().map(|(at, _, _)| *at);
        let mut next = self.waiting.first_key_value();
        while let Some(((priority, at, _), _)) = next {
            oldest = Some(oldest.map_or(*at, |oldest| oldest.min(*at)));
            let last: Rank = (*priority, Timestamp::MAX, u64::MAX);
            next = self.waiting.range((Excluded(last), Unbounded)).next();
        }
        oldest
    }

    /// Whether only what polls of it told would be lost with it: it holds nothing, and nobody
    /// listens to it.
    fn is_idle(&self) -> bool {
        !self.waits() && Arc::strong_count(&self.added) == 1
    }

    /// Whether nothing would be lost with it: what polls of it told is old.
    fn is_forgettable(&self, now: Timestamp) -> bool {
        let polled = self.polled_at.is_some_and(|at| now.since(at) <= POLLED_KEPT_MILLIS);
        !polled && self.is_idle()
    }
}

impl State {
    fn queue(&mut self, name: &str) -> &mut Queue {
        if !self.queues.contains_key(name) {
            self.queues.insert(name.into(), Queue::default());
        }
        self.queues.get_mut(name).expect("it was just put there")
    }

    /// Forgets queues that nobody needs, if there are many: names are what clients make them. How
    /// many are many is twice what the last look left, so that looking costs nothing that counts.
    fn sweep(&mut self, now: Timestamp) {
        if self.queues.len() < self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        self.queues.retain(|_, queue| !queue.is_forgettable(now));
        let idle = self.queues.iter().filter(|(_, queue)| queue.is_idle());
        let mut idle: Vec<_> = idle.map(|(name, queue)| (queue.polled_at, name.clone())).collect();
        if let Some(surplus) = idle.len().checked_sub(IDLE_MAX) {
            idle.sort_unstable();
            for (_, name) in &idle[..surplus] {
                self.queues.remove(name);
            }
        }
        self.polls = self.queues.values().map(|queue| queue.polls.len()).sum();
        self.sweep_at = 2 * self.queues.len();
    }

    fn put(&mut self, row: QueueRow, now: Timestamp) {
        let key = row.key();
        self.remove(&key);
        self.arrivals += 1;
        let placed = Placed { row, arrival: self.arrivals, taken: false };
        let name = placed.row.name.clone();
        if placed.row.held {
            self.goes_out(name, placed.row.queue.clone());
            if placed.is_permit() {
                let holders = self.places.entry(placed.row.name.clone()).or_default();
                holders.insert(placed.arrival, placed.row.execution.clone());
            }
        } else {
            if placed.row.concurrent_max > 0 {
                let usage = self.names.entry(name).or_default();
                usage.queues.insert(placed.row.queue.clone());
            }
            self.sweep(now);
            let (rank, arrival, ready_at) = (placed.rank(), placed.arrival, placed.row.ready_at);
            let limited_by_time = ready_at > now || placed.row.rate_max > 0;
            let queue = self.queue(&placed.row.queue);
            if ready_at > now {
                queue.delayed.insert((ready_at, arrival, key.clone()));
            } else {
                queue.waiting.insert(rank, key.clone());
            }
            if limited_by_time {
                // All who wait must learn when to look again: the first may be gone by then.
                queue.added.notify_waiters();
            }
            queue.added.notify_one();
        }
        self.rows.insert(key, placed);
    }

    fn remove(&mut self, key: &TaskKey) {
        let Some(placed) = self.rows.remove(key) else { return };
        self.reserved.remove(key);
        if let Some(holders) = self.places.get_mut(&placed.row.name) {
            holders.remove(&placed.arrival);
            if holders.is_empty() {
                self.places.remove(&placed.row.name);
            }
        }
        if placed.is_out() {
            self.free(&placed.row.name);
            if let Some(out) = self.out.get_mut(&placed.row.queue) {
                *out -= 1;
                if *out == 0 {
                    self.out.remove(&placed.row.queue);
                }
            }
        } else if let Some(queue) = self.queues.get_mut(&placed.row.queue) {
            queue.waiting.remove(&placed.rank());
            queue.delayed.remove(&(placed.row.ready_at, placed.arrival, key.clone()));
        }
    }

    fn goes_out(&mut self, name: Arc<str>, queue: Arc<str>) {
        self.names.entry(name).or_default().out += 1;
        *self.out.entry(queue).or_default() += 1;
    }

    fn free(&mut self, name: &Arc<str>) {
        let Some(usage) = self.names.get_mut(name) else { return };
        usage.out = usage.out.saturating_sub(1);
        for queue in &usage.queues {
            if let Some(queue) = self.queues.get(queue) {
                queue.added.notify_one();
            }
        }
        if usage.out == 0 && usage.queues.is_empty() && usage.handed_out.is_empty() {
            self.names.remove(name);
        }
    }

    fn hold(&mut self, key: &TaskKey) {
        let Some(placed) = self.rows.get_mut(key) else { return };
        let was_out = placed.is_out();
        placed.row.held = true;
        placed.taken = false;
        if !was_out {
            let (name, queue, rank) =
                (placed.row.name.clone(), placed.row.queue.clone(), placed.rank());
            let delayed = (placed.row.ready_at, placed.arrival, key.clone());
            if let Some(queue) = self.queues.get_mut(&queue) {
                queue.waiting.remove(&rank);
                queue.delayed.remove(&delayed);
            }
            self.goes_out(name, queue);
        }
    }

    /// Moves what has become ready to where it can be taken.
    fn ripen(&mut self, name: &str, now: Timestamp) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        while queue.delayed.first().is_some_and(|(at, _, _)| *at <= now) {
            let Some((_, _, key)) = queue.delayed.pop_first() else { return };
            if let Some(placed) = self.rows.get(&key) {
                queue.waiting.insert(placed.rank(), key);
            }
        }
    }

    fn take(
        &mut self,
        name: &str,
        count: usize,
        now: Timestamp,
        waits: Option<&Histogram>,
    ) -> Vec<TaskKey> {
        self.ripen(name, now);
        let mut taken = Vec::new();
        // Names at their limit are passed over, so that they do not block others in the queue.
        let mut full: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut after: Option<Rank> = None;
        while taken.len() < count {
            use std::ops::Bound::{Excluded, Unbounded};
            let Some(queue) = self.queues.get(name) else { break };
            let from = after.map_or(Unbounded, Excluded);
            let Some((rank, key)) = queue.waiting.range((from, Unbounded)).next() else { break };
            let (rank, key) = (*rank, key.clone());
            after = Some(rank);
            let Some(row) = self.rows.get(&key).map(|placed| placed.row.clone()) else { continue };
            if full.contains(&row.name) {
                continue;
            }
            if self.limit(&row, now).is_some() {
                full.insert(row.name);
                // A queue usually has one name: nothing further can go.
                if full.len() > FULL_NAMES_MAX || self.is_single(name) {
                    break;
                }
                continue;
            }
            self.hand_out(&key, &row, rank, now);
            if let Some(waits) = waits {
                waits.observe_since(row.ready_at, now);
            }
            taken.push(key);
        }
        taken
    }

    /// Whether only one name waits in a queue, as far as a look at both ends tells.
    fn is_single(&self, queue: &str) -> bool {
        let name_of = |key: &TaskKey| self.rows.get(key).map(|placed| placed.row.name.clone());
        self.queues.get(queue).is_some_and(|queue| {
            let first = queue.waiting.values().next().and_then(name_of);
            let last = queue.waiting.values().next_back().and_then(name_of);
            first == last && queue.waiting.len() > FULL_SCAN_MAX
        })
    }

    fn hand_out(&mut self, key: &TaskKey, row: &QueueRow, rank: Rank, now: Timestamp) {
        if let Some(queue) = self.queues.get_mut(&row.queue) {
            queue.waiting.remove(&rank);
        }
        if let Some(placed) = self.rows.get_mut(key) {
            placed.taken = true;
        }
        self.goes_out(row.name.clone(), row.queue.clone());
        if row.rate_max > 0 {
            self.names.entry(row.name.clone()).or_default().handed_out.push_back(now);
        }
    }

    /// The limit that keeps a task from being handed out now.
    fn limit(&mut self, row: &QueueRow, now: Timestamp) -> Option<Blocked> {
        let usage = self.names.get_mut(&row.name)?;
        if row.concurrent_max > 0 && usage.out >= row.concurrent_max {
            return Some(Blocked::Concurrency { limit: row.concurrent_max });
        }
        if row.rate_max == 0 {
            return None;
        }
        let window = i64::from(row.rate_window_seconds.max(1));
        // What lies further ahead than that was noted before the clock was set back.
        let counts =
            |at: &Timestamp| at.plus_seconds(window) > now && *at <= now.plus_seconds(window);
        while usage.handed_out.front().is_some_and(|at| !counts(at)) {
            usage.handed_out.pop_front();
        }
        let over = usage.handed_out.len().checked_sub(row.rate_max as usize)?;
        let until = usage.handed_out.get(over)?.plus_seconds(window);
        Some(Blocked::Rate { limit: row.rate_max, window_seconds: row.rate_window_seconds, until })
    }

    fn next_at(&mut self, name: &str, now: Timestamp) -> Option<Timestamp> {
        let queue = self.queues.get(name)?;
        let delayed = queue.delayed.first().map(|(at, _, _)| *at);
        let waiting: Vec<QueueRow> = queue
            .waiting
            .values()
            .take(FULL_NAMES_MAX)
            .filter_map(|key| self.rows.get(key).map(|placed| placed.row.clone()))
            .collect();
        let rate = waiting
            .iter()
            .filter_map(|row| match self.limit(row, now) {
                Some(Blocked::Rate { until, .. }) => Some(until),
                _ => None,
            })
            .min();
        [delayed, rate].into_iter().flatten().min()
    }
}

/// Names at their limit that one look passes over.
const FULL_NAMES_MAX: usize = 64;
/// Up to this many waiting tasks are looked through for one whose name is not at its limit.
const FULL_SCAN_MAX: usize = 256;
