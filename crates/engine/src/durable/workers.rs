//! The crew: Durable Task workers that attend a task hub, what each can do, and what each has out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kernel::durable::entity::{self, Batch};
use kernel::durable::instance::{Input, Instance, Work};
use kernel::durable::{FailureDetails, WorkKind, WorkQueue, WorkToken};
use kernel::{ExecutionId, MachineKind, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::attempts::{Attempts, Failed, Next, Setback, Unfinished};
use super::hubs::{Hubs, Needs};
use super::profile::{Profile, Room};
use crate::engine::{Engine, Error};
use crate::machine::AnyMachine;
use crate::mutants::{self, Mutant};
use crate::queues::{Queues, Taker, TaskKey};
use crate::store::QueueRow;

/// How long a connected worker may keep a piece of work before another gets it.
///
/// What has effects is its worker's as long as it is connected, as hosts of the protocol's other
/// servers renew their locks (of five minutes, mostly) for as long as they run; a worker whose
/// connection ends loses at once what it has out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leases {
    /// A turn of an orchestrator. It has no effects, so it is done twice rather than never when an
    /// answer is lost or a worker has other things to do first.
    pub turn: Duration,
    /// An activity, or a batch of operations of an entity; absent = as long as the worker is
    /// connected.
    pub activity: Option<Duration>,
    /// How long what was given back stays away from workers if no other one can take it now; twice as
    /// long after each further attempt that fails, up to a minute.
    pub abandoned: Duration,
    /// Work fails after so many attempts at which its worker went away, failed, or answered what
    /// makes no sense: an activity, a turn with its instance, an operation of an entity. 0 = never.
    /// A lease that runs out counts as a tenth of an attempt; a turn that a
    /// worker gives back, as those do that run another version, does not count.
    pub attempts_max: u32,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            turn: Duration::from_mins(5),
            activity: None,
            abandoned: Duration::from_secs(1),
            attempts_max: 10,
        }
    }
}

/// A piece of work, handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkItem {
    /// A turn or an activity.
    Instance(Work),
    /// A batch of an entity.
    Batch(Batch),
}

impl WorkItem {
    /// What the worker is to send back.
    pub fn token(&self) -> &WorkToken {
        match self {
            Self::Instance(Work::Turn { token, .. } | Work::Activity { token, .. }) => token,
            Self::Batch(batch) => &batch.token,
        }
    }
}

/// A worker that attends, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Who.
    pub profile: Profile,
    /// Since when.
    pub since: Timestamp,
    /// What it has out.
    pub out: Room,
    /// How many pieces of work it was handed.
    pub handed: u64,
}

/// Why a piece of work is not being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// A worker has it.
    Out {
        /// What the worker calls itself.
        worker: Arc<str>,
        /// Since when.
        since: Timestamp,
    },
    /// No worker attends the hub.
    NoWorker,
    /// Workers attend, and none of them takes this.
    NotTaken {
        /// How many attend.
        workers: usize,
        /// The versions of it that they take.
        versions: Vec<Arc<str>>,
    },
    /// Those who take it have as much out as they take.
    Busy {
        /// How many take it.
        workers: usize,
    },
    /// It is about to be handed out, or was given back a moment ago.
    Soon,
}

/// Everybody who attends.
#[derive(Default)]
pub struct WorkerRegistry {
    state: Mutex<State>,
    /// Something was handed out after nothing was.
    handed: Notify,
}

#[derive(Default)]
struct State {
    workers: BTreeMap<u64, ConnectedWorker>,
    numbers: u64,
    hubs: Hubs,
    /// By key, so that what a worker leaves behind goes to others in the same order each time.
    out: BTreeMap<TaskKey, Out>,
    until: BTreeSet<(Timestamp, TaskKey)>,
    /// Attempts that failed at work that is still to be done.
    attempts: Attempts,
}

struct ConnectedWorker {
    profile: Profile,
    since: Timestamp,
    out: BTreeMap<WorkKind, usize>,
    handed: u64,
    /// Something that it had out is settled.
    freed: Arc<Notify>,
}

struct Out {
    worker: u64,
    /// What the worker calls itself, which is still to be told when it has gone.
    name: Arc<str>,
    kind: WorkKind,
    queue: WorkQueue,
    token: WorkToken,
    since: Timestamp,
    /// When another gets it; absent = when the worker goes away.
    until: Option<Timestamp>,
}

impl WorkerRegistry {
    /// A row was put into a queue of work.
    fn added(&self, queue: &Arc<str>, queues: &Queues) {
        let mut state = self.state.lock();
        let State { hubs, workers, .. } = &mut *state;
        hubs.add(queue, &Needed { queues, workers });
    }

    /// Whatever was out under this key is done, or void.
    pub(crate) fn settled(&self, key: &TaskKey) {
        if is_work(&key.0) {
            let mut state = self.state.lock();
            state.attempts.settled(key);
            state.let_go(key);
        }
    }

    /// The row has left the queues: there is no such work any more.
    pub(crate) fn withdrawn(&self, key: &TaskKey) {
        if is_work(&key.0) {
            let mut state = self.state.lock();
            state.attempts.forget(key);
            state.let_go(key);
        }
    }

    fn wakeups(&self, worker: u64, queues: &Queues) -> Option<(Arc<Notify>, Arc<Notify>)> {
        let mut state = self.state.lock();
        let State { hubs, workers, .. } = &mut *state;
        let present = workers.get(&worker)?;
        let added = hubs.added(&present.profile.hub, &Needed { queues, workers });
        Some((added, present.freed.clone()))
    }

    /// The queues from which a worker can take something now, with how much.
    fn wanted(&self, worker: u64) -> Vec<(WorkKind, Arc<str>, usize)> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(present) = state.workers.get(&worker) else { return Vec::new() };
        let room: BTreeMap<WorkKind, usize> =
            WorkKind::ALL.into_iter().map(|kind| (kind, present.room(kind))).collect();
        let queues = state.hubs.look(&present.profile.hub);
        let mine = queues.filter(|(kind, queue, _)| room[kind] > 0 && present.profile.takes(queue));
        mine.map(|(kind, _, name)| (kind, name.clone(), room[&kind])).collect()
    }

    fn hand_out(&self, worker: u64, key: TaskKey, out: Out) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        // Whoever had it before has it no longer.
        state.let_go(&key);
        let Some(present) = state.workers.get_mut(&worker) else { return false };
        *present.out.entry(out.kind).or_default() += 1;
        present.handed += 1;
        if let Some(until) = out.until {
            if state.until.is_empty() {
                self.handed.notify_one();
            }
            state.until.insert((until, key.clone()));
        }
        state.out.insert(key, out);
        true
    }

    /// What is out longer than its lease.
    fn expired(&self, now: Timestamp) -> Vec<TaskKey> {
        let state = self.state.lock();
        let late = state.until.iter().take_while(|(until, _)| *until <= now);
        late.map(|(_, key)| key.clone()).collect()
    }

    fn is_idle(&self) -> bool {
        self.state.lock().until.is_empty()
    }

    /// Takes a piece of work back that was not done; `None` if it is not out, or not under this
    /// token. Tells under which token it was, and what is to be done next.
    fn take_back(
        &self,
        key: &TaskKey,
        token: Option<&WorkToken>,
        setback: Setback,
        now: Timestamp,
        leases: &Leases,
    ) -> Option<(WorkToken, Next)> {
        let mut state = self.state.lock();
        let is_it = |out: &&Out| token.is_none_or(|token| out.token == *token);
        let out = state.out.get(key).filter(is_it)?;
        let worker = state.workers.get(&out.worker);
        let name = worker.map_or_else(|| out.name.clone(), |it| it.profile.name.clone());
        let out = state.let_go(key)?;
        let operations = match &out.token {
            WorkToken::Batch { taken, .. } => *taken,
            _ => 0,
        };
        let (worker, queue) = ((out.worker, name), out.queue.clone());
        let failed = Failed { key, queue, worker, operations, setback, now };
        let mut next = state.attempts.failed(failed, leases.abandoned, leases.attempts_max);
        if matches!(next, Next::Offer(_)) && state.somebody_else(key, out.worker) {
            state.attempts.offered_at_once(key, now);
            next = Next::Offer(Duration::ZERO);
        }
        Some((out.token, next))
    }

    /// The token under which a piece of work is out now.
    pub(crate) fn token(&self, key: &TaskKey) -> Option<WorkToken> {
        self.state.lock().out.get(key).map(|out| out.token.clone())
    }

    /// The worker that has a piece of work out under this very token.
    fn holder(&self, token: &WorkToken) -> Option<u64> {
        let key = (token.machine().clone(), token.sequence());
        let state = self.state.lock();
        state.out.get(&key).filter(|out| out.token == *token).map(|out| out.worker)
    }

    /// Takes back what is out under this very token, without counting it.
    pub(crate) fn give_back(&self, token: &WorkToken) -> bool {
        let key = (token.machine().clone(), token.sequence());
        let mut state = self.state.lock();
        let same = state.out.get(&key).is_some_and(|out| out.token == *token);
        same && state.let_go(&key).is_some()
    }
}

/// What needs queues and hubs to be remembered. The queues are asked while the crew is locked, and
/// never the other way round.
struct Needed<'a> {
    queues: &'a Queues,
    workers: &'a BTreeMap<u64, ConnectedWorker>,
}

impl Needs for Needed<'_> {
    fn waits(&self, queue: &str) -> bool {
        self.queues.waits(queue)
    }

    fn attended(&self, hub: &str) -> bool {
        self.workers.values().any(|worker| *worker.profile.hub == *hub)
    }
}

impl State {
    fn unfinished(&self, key: &TaskKey) -> Option<Unfinished> {
        self.attempts.of(key, |queue, refused_by| {
            let mut takers = self.workers.iter().filter(|(_, worker)| {
                worker.profile.hub == queue.hub && worker.profile.takes(queue)
            });
            !refused_by.is_empty() && takers.all(|(number, _)| refused_by.contains(number))
        })
    }

    /// Whether this worker gave a piece of work back and another one, which did not, can take it now.
    /// Workers of two versions share a hub while a release goes out: chance must not hand the same
    /// work to the wrong one again and again, with a longer pause after each time.
    fn somebody_else(&self, key: &TaskKey, worker: u64) -> bool {
        let Some((queue, refused_by)) = self.attempts.refused(key) else { return false };
        refused_by.contains(&worker)
            && self.workers.iter().any(|(number, other)| {
                !refused_by.contains(number)
                    && other.profile.hub == queue.hub
                    && other.profile.takes(queue)
                    && other.room(queue.kind) > 0
            })
    }

    fn let_go(&mut self, key: &TaskKey) -> Option<Out> {
        let out = self.out.remove(key)?;
        if let Some(until) = out.until {
            self.until.remove(&(until, key.clone()));
        }
        if let Some(present) = self.workers.get_mut(&out.worker) {
            let count = present.out.entry(out.kind).or_default();
            *count = count.saturating_sub(1);
            present.freed.notify_one();
        }
        Some(out)
    }
}

impl ConnectedWorker {
    /// How much more it takes.
    fn room(&self, kind: WorkKind) -> usize {
        let most = match kind {
            WorkKind::Orchestration => self.profile.room.orchestrations,
            WorkKind::Activity => self.profile.room.activities,
            WorkKind::Entity => self.profile.room.entities,
        };
        let most = if most == 0 { usize::MAX } else { most };
        most.saturating_sub(self.out.get(&kind).copied().unwrap_or(0)).min(CLAIM_MAX)
    }

    fn shown(&self) -> Worker {
        let out = |kind| self.out.get(&kind).copied().unwrap_or(0);
        Worker {
            profile: self.profile.clone(),
            since: self.since,
            out: Room {
                orchestrations: out(WorkKind::Orchestration),
                activities: out(WorkKind::Activity),
                entities: out(WorkKind::Entity),
            },
            handed: self.handed,
        }
    }
}

/// Pieces of work handed out in one go.
const CLAIM_MAX: usize = 64;
/// A worker looks again after this long even if nobody said that something came.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// A worker that left work to others looks at it again after this long, should they not come for it.
const LEFT_TO_OTHERS: Duration = Duration::from_millis(100);
/// How often leases are looked at.
const LEASES: Duration = Duration::from_millis(500);

fn is_work(id: &ExecutionId) -> bool {
    matches!(id.machine(), MachineKind::Instance | MachineKind::Entity)
}

/// A worker's presence: as long as it lives, the worker is handed work. When it is dropped, what
/// the worker has out goes to others; its answers still count if they come first.
pub struct WorkerSession {
    engine: Engine,
    worker: u64,
    name: Arc<str>,
    hub: Arc<str>,
}

impl Engine {
    /// A worker begins to attend.
    pub fn attend(&self, profile: Profile) -> WorkerSession {
        let mut state = self.inner.crew.state.lock();
        state.numbers += 1;
        let (worker, hub) = (state.numbers, profile.hub.clone());
        let name = profile.name.clone();
        let (since, out) = (self.now(), BTreeMap::new());
        let freed = Arc::new(Notify::new());
        state.workers.insert(worker, ConnectedWorker { profile, since, out, handed: 0, freed });
        let waiting = state.attempts.given_back(&hub);
        let waiting: Vec<TaskKey> =
            waiting.into_iter().filter(|key| !state.out.contains_key(key)).collect();
        drop(state);
        // It may be the one that can do what others could not. What is on its way to a worker is not
        // put off any more.
        let put_off =
            |key: &TaskKey| self.inner.queues.row(key).is_some_and(|it| it.ready_at > since);
        for key in waiting.into_iter().filter(put_off) {
            self.offer_again(&key, Duration::ZERO);
        }
        WorkerSession { engine: self.clone(), worker, name, hub }
    }

    /// The workers that attend, of one hub or of all, by age.
    pub fn workers(&self, hub: Option<&str>) -> Vec<Worker> {
        let state = self.inner.crew.state.lock();
        let all = state.workers.values();
        let mine = all.filter(|worker| hub.is_none_or(|hub| *worker.profile.hub == *hub));
        mine.map(ConnectedWorker::shown).collect()
    }

    /// Work that was handed out and not done, of one hub or of all: what is still tried, then what was
    /// given up since the server started, the longest first.
    pub fn unfinished(&self, hub: Option<&str>) -> Vec<Unfinished> {
        let state = self.inner.crew.state.lock();
        let open = state.attempts.keys().filter_map(|key| state.unfinished(key));
        let mut open: Vec<Unfinished> = open.collect();
        open.sort_by(|a, b| (a.since, &a.machine).cmp(&(b.since, &b.machine)));
        open.extend(state.attempts.given_up().cloned());
        open.retain(|it| hub.is_none_or(|hub| *it.queue.hub == *hub));
        open
    }

    /// What is known of failed attempts at a piece of work in the queues.
    pub fn attempts_at(&self, id: &ExecutionId, sequence: u32) -> Option<Unfinished> {
        self.inner.crew.state.lock().unfinished(&(id.clone(), sequence))
    }

    /// The worker that has a piece of work out under this very token, by the number of its
    /// [`WorkerSession`].
    pub fn holder(&self, token: &WorkToken) -> Option<u64> {
        self.inner.crew.holder(token)
    }

    /// Why a piece of work in the queues is not being done.
    pub fn service(&self, id: &ExecutionId, sequence: u32, queue: &WorkQueue) -> Service {
        let state = self.inner.crew.state.lock();
        if let Some(out) = state.out.get(&(id.clone(), sequence)) {
            let worker = state.workers.get(&out.worker);
            let worker = worker.map_or_else(|| "".into(), |it| it.profile.name.clone());
            return Service::Out { worker, since: out.since };
        }
        let present = state.workers.values().filter(|it| it.profile.hub == queue.hub);
        let (mut all, mut takers, mut free) = (0, 0, 0);
        for worker in present {
            all += 1;
            if worker.profile.takes(queue) {
                takers += 1;
                free += usize::from(worker.room(queue.kind) > 0);
            }
        }
        match (all, takers, free) {
            (0, ..) => Service::NoWorker,
            (workers, 0, _) => {
                let mine = state.workers.values().filter(|it| it.profile.hub == queue.hub);
                let versions: BTreeSet<_> =
                    mine.flat_map(|it| it.profile.versions(queue)).collect();
                Service::NotTaken { workers, versions: versions.into_iter().collect() }
            }
            (_, workers, 0) => Service::Busy { workers },
            _ => Service::Soon,
        }
    }

    /// The token under which a turn (no task) or an activity is out now: for SDKs that do not send
    /// tokens back.
    pub async fn token_of(
        &self,
        id: &ExecutionId,
        task: Option<i32>,
    ) -> Result<Option<WorkToken>, Error> {
        let sequence = match task {
            None => Some(kernel::durable::TURN),
            Some(task) => {
                let look = |state: &Instance| state.sequence_of(task);
                self.instance(id, look).await?.flatten()
            }
        };
        Ok(sequence.and_then(|sequence| self.inner.crew.token(&(id.clone(), sequence))))
    }

    /// Puts a row into the queues, and tells the crew if it is work for it.
    pub(crate) fn put_row(&self, row: QueueRow, now: Timestamp) {
        let queue = is_work(&row.execution).then(|| row.queue.clone());
        let key = row.key();
        self.inner.queues.put(row, now);
        if let Some(queue) = queue {
            self.inner.crew.settled(&key);
            self.inner.crew.added(&queue, &self.inner.queues);
        }
    }

    /// Work that was out is to be done by somebody, not before `delay` is over.
    pub(crate) fn offer_again(&self, key: &TaskKey, delay: Duration) {
        let now = self.now();
        let Some(mut row) = self.inner.queues.row(key) else { return };
        let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        row.ready_at = now.plus_millis(millis);
        let queue = row.queue.clone();
        self.inner.queues.put(row, now);
        self.inner.crew.added(&queue, &self.inner.queues);
    }

    /// Takes back what is out longer than its lease.
    pub(crate) fn run_leases(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                let crew = &engine.inner.crew;
                let pause = async {
                    if crew.is_idle() {
                        crew.handed.notified().await;
                    }
                    tokio::time::sleep(LEASES).await;
                };
                tokio::select! {
                    biased;
                    () = engine.inner.stop.cancelled() => return,
                    () = pause => {}
                }
                for key in engine.inner.crew.expired(engine.now()) {
                    tracing::warn!(machine = %key.0, "lease of a work item expired");
                    engine.set_back(&key, None, Setback::Late).await;
                }
            }
        });
    }

    /// An attempt at a piece of work has failed: it is offered again after a while, or fails. `false`
    /// if it was not out, or not under this token.
    pub(crate) async fn set_back(
        &self,
        key: &TaskKey,
        token: Option<&WorkToken>,
        setback: Setback,
    ) -> bool {
        let leases = &self.inner.options.leases;
        let back = self.inner.crew.take_back(key, token, setback, self.now(), leases);
        let pause = match back {
            None => return false,
            Some((_, Next::Offer(pause))) => pause,
            Some((token, Next::GiveUp(attempts, reason))) => {
                if self.give_up(token, attempts, &reason).await {
                    // What comes next has a row of its own, which somebody may have by now.
                    return true;
                }
                leases.abandoned
            }
        };
        self.offer_again(key, pause);
        true
    }

    /// `false` if it could not be.
    async fn give_up(&self, token: WorkToken, attempts: u32, reason: &str) -> bool {
        let message = format!("it was tried {attempts} times and never done; last: {reason}");
        let mut failure = Box::new(FailureDetails::new("NeverCompleted", message));
        failure.non_retriable = true;
        let id = token.machine().clone();
        tracing::warn!(machine = %id, attempts, reason, "work item failed after too many attempts");
        let failed = self.fail_work(token, failure).await;
        if let Err(error) = &failed {
            tracing::warn!(machine = %id, %error, "work item could not be marked as failed");
        }
        failed.is_ok()
    }

    /// Fails a piece of work: an activity, a turn with its instance, operations of an entity.
    ///
    /// # Errors
    /// As [`Engine::step`].
    pub async fn fail_work(
        &self,
        token: WorkToken,
        failure: Box<FailureDetails>,
    ) -> Result<(), Error> {
        let id = token.machine().clone();
        match token {
            WorkToken::Turn { .. } => self.step(&id, Input::Fail { failure }).await,
            WorkToken::Activity { .. } => {
                let input = Input::ActivityCompleted { token, result: Err(failure) };
                self.step(&id, input).await
            }
            WorkToken::Batch { .. } => {
                self.step(&id, entity::Input::GiveUp { token, failure }).await
            }
        }
    }
}

impl WorkerSession {
    /// Waits until there is work that the worker can do and has room for, and takes it. What is
    /// answered is out until it is completed, abandoned, taken back by its lease, or this is
    /// dropped. Nothing is answered once the server stops.
    ///
    /// # Errors
    /// The store's.
    pub async fn claim(&self) -> Result<Vec<WorkItem>, Error> {
        let engine = &self.engine;
        loop {
            let crew = &engine.inner.crew;
            let Some((added, freed)) = crew.wakeups(self.worker, &engine.inner.queues) else {
                return Ok(Vec::new());
            };
            let (news, freed) = (added.notified(), freed.notified());
            tokio::pin!(news, freed);
            news.as_mut().enable();
            let wanted = crew.wanted(self.worker);
            let taken = self.take(&wanted).await?;
            if !taken.items.is_empty() {
                return Ok(taken.items);
            }
            let now = engine.now();
            let queues =
                wanted.iter().filter_map(|(_, queue, _)| engine.inner.queues.next(queue, now));
            let idle = if taken.left_to_others {
                // What it has just left there is no news for itself, though it is told of it.
                LEFT_TO_OTHERS
            } else {
                queues.min().unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN)
            };
            tokio::select! {
                biased;
                () = engine.inner.stop.cancelled() => return Ok(Vec::new()),
                () = news, if !taken.left_to_others => {}
                () = freed => {}
                () = tokio::time::sleep(idle) => {}
            }
        }
    }

    /// Tells this attendance from all others of this process.
    pub fn number(&self) -> u64 {
        self.worker
    }

    /// The hub that the worker attends.
    pub fn hub(&self) -> &Arc<str> {
        &self.hub
    }

    async fn take(&self, wanted: &[(WorkKind, Arc<str>, usize)]) -> Result<Look, Error> {
        let (engine, now) = (&self.engine, self.engine.now());
        let mut left: BTreeMap<WorkKind, usize> = BTreeMap::new();
        let (mut taken, mut for_others) = (Vec::new(), Vec::new());
        for (kind, queue, room) in wanted {
            let Some(of) = WorkQueue::parse(queue) else { continue };
            let left = left.entry(*kind).or_insert(*room);
            while *left > 0 {
                let keys = engine.inner.queues.take(queue, *left, now, Some(Taker::Worker));
                if keys.is_empty() {
                    break;
                }
                let state = engine.inner.crew.state.lock();
                for key in keys {
                    // What is for others does not stand in the way of what is behind it.
                    if state.somebody_else(&key, self.worker) {
                        for_others.push(key);
                    } else {
                        *left -= 1;
                        taken.push((*kind, of.clone(), key));
                    }
                }
            }
        }
        for key in &for_others {
            engine.offer_again(key, Duration::ZERO);
        }
        let left_to_others = !for_others.is_empty();
        let keys = taken.iter().map(|(.., key)| key.clone()).collect();
        let mut open = Taken { engine, keys };
        let read = taken.into_iter().map(|(kind, queue, key)| async move {
            let operations = engine.inner.crew.state.lock().attempts.operations_max(&key);
            let look = |machine: &AnyMachine| work_of(machine, key.1, operations, now);
            (kind, queue, key.clone(), engine.look(&key.0, look).await)
        });
        let mut items = Vec::new();
        let mut failure = None;
        for (kind, queue, key, found) in futures_util::future::join_all(read).await {
            open.keys.remove(&key);
            match found.map(Option::flatten) {
                Ok(Some(item)) => {
                    if self.note(kind, queue, key.clone(), &item) {
                        items.push(item);
                    } else {
                        engine.offer_again(&key, Duration::ZERO);
                    }
                }
                // It ended meanwhile.
                Ok(None) => engine.inner.queues.remove(&key),
                // It is left alone until an operator ends it.
                Err(Error::Quarantined { .. }) => engine.inner.queues.remove(&key),
                Err(error) => {
                    engine.offer_again(&key, engine.inner.options.leases.abandoned);
                    failure = Some(error);
                }
            }
        }
        let count = items.len() as u64;
        engine.inner.counters.polled.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
        match failure {
            Some(error) if items.is_empty() => Err(error),
            _ => Ok(Look { items, left_to_others }),
        }
    }

    fn note(&self, kind: WorkKind, queue: WorkQueue, key: TaskKey, item: &WorkItem) -> bool {
        let leases = &self.engine.inner.options.leases;
        let lease = match kind {
            WorkKind::Orchestration => Some(leases.turn),
            WorkKind::Activity | WorkKind::Entity => leases.activity,
        };
        let since = self.engine.now();
        let until = lease
            .map(|lease| since.plus_millis(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)));
        let (worker, token) = (self.worker, item.token().clone());
        let name = self.name.clone();
        let out = Out { worker, name, kind, queue, token, since, until };
        self.engine.inner.crew.hand_out(worker, key, out)
    }
}

/// What a worker found in the queues.
struct Look {
    /// What it was handed.
    items: Vec<WorkItem>,
    /// There was work that it gave back before, and that another worker can take now.
    left_to_others: bool,
}

/// Work taken from the queues and not noted as out yet: if the claim is given up meanwhile, because
/// the worker went away, it goes back.
struct Taken<'a> {
    engine: &'a Engine,
    keys: BTreeSet<TaskKey>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for key in std::mem::take(&mut self.keys) {
            self.engine.offer_again(&key, Duration::ZERO);
        }
    }
}

impl Drop for WorkerSession {
    fn drop(&mut self) {
        let keys: Vec<TaskKey> = {
            let mut state = self.engine.inner.crew.state.lock();
            state.workers.remove(&self.worker);
            let mine = state.out.iter().filter(|(_, out)| out.worker == self.worker);
            mine.map(|(key, _)| key.clone()).collect()
        };
        let alive = tokio::runtime::Handle::try_current().is_ok();
        let stays = mutants::is(Mutant::LeaseForgotten);
        if keys.is_empty() || stays || !alive || self.engine.inner.tasks.is_closed() {
            return;
        }
        let engine = self.engine.clone();
        self.engine.inner.tasks.spawn(async move {
            for key in keys {
                engine.set_back(&key, None, Setback::Lost).await;
            }
        });
    }
}

fn work_of(
    machine: &AnyMachine,
    sequence: u32,
    operations: usize,
    now: Timestamp,
) -> Option<WorkItem> {
    if let Some(instance) = machine.instance() {
        return instance.work(sequence, now).map(WorkItem::Instance);
    }
    let batch = machine.entity().and_then(|entity| entity.work_of(operations))?;
    Some(WorkItem::Batch(batch))
}
