//! The crew: workers of code that attend a task hub, what each can do, and what each has out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kernel::durable::entity::{Batch, Entity};
use kernel::durable::instance::{Input, Instance, Work};
use kernel::durable::{FailureDetails, WorkKind, WorkQueue, WorkToken};
use kernel::{ExecutionId, MachineKind, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::hubs::{Hubs, Needs};
use crate::engine::{Engine, Error};
use crate::hosted::Hosted;
use crate::queues::{Queues, TaskKey};
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
    /// How long what was given back stays away from workers, so that another may take it.
    pub abandoned: Duration,
    /// What was taken back so often, because its worker went away or was too slow, has failed: an
    /// activity by itself, a turn with its instance; 0 = never.
    pub handouts_max: u32,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            turn: Duration::from_mins(5),
            activity: None,
            abandoned: Duration::from_secs(1),
            handouts_max: 100,
        }
    }
}

/// Who attends, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The task hub.
    pub hub: Arc<str>,
    /// What it calls itself; may be empty.
    pub name: Arc<str>,
    /// What it is: SDK and version; may be empty.
    pub agent: Arc<str>,
    /// What it can do; absent = everything.
    pub filters: Option<WorkFilters>,
    /// How much it takes at once.
    pub room: Room,
}

/// How many pieces of work of each kind may be out at once; 0 = any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Turns.
    pub orchestrations: usize,
    /// Activities.
    pub activities: usize,
    /// Batches of entities.
    pub entities: usize,
}

/// What a worker can do; what is not listed it cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkFilters {
    /// Orchestrators.
    pub orchestrations: Vec<NameFilter>,
    /// Activities.
    pub activities: Vec<NameFilter>,
    /// Entities, by name; case does not matter.
    pub entities: Vec<Arc<str>>,
}

/// A name, and which versions of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameFilter {
    /// The name.
    pub name: Arc<str>,
    /// Its versions; none = any. An empty one stands for what has no version.
    pub versions: Vec<Arc<str>>,
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
pub struct Crew {
    state: Mutex<State>,
    /// Something was handed out after nothing was.
    handed: Notify,
}

#[derive(Default)]
struct State {
    workers: BTreeMap<u64, Present>,
    numbers: u64,
    hubs: Hubs,
    out: HashMap<TaskKey, Out>,
    until: BTreeSet<(Timestamp, TaskKey)>,
    /// How often work that is still to be done was taken back.
    lost: HashMap<TaskKey, u32>,
}

struct Present {
    profile: Profile,
    since: Timestamp,
    out: BTreeMap<WorkKind, usize>,
    handed: u64,
    /// Something that it had out is settled.
    freed: Arc<Notify>,
}

struct Out {
    worker: u64,
    kind: WorkKind,
    token: WorkToken,
    since: Timestamp,
    /// When another gets it; absent = when the worker goes away.
    until: Option<Timestamp>,
}

impl Crew {
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
            state.lost.remove(key);
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

    /// Takes a piece of work back; `None` if it is not out. Tells under which token it was, and how
    /// often it was taken back by now.
    fn take_back(&self, key: &TaskKey) -> Option<(WorkToken, u32)> {
        let mut state = self.state.lock();
        let out = state.let_go(key)?;
        let lost = state.lost.entry(key.clone()).or_default();
        *lost += 1;
        Some((out.token, *lost))
    }

    /// The token under which a piece of work is out now.
    pub(crate) fn token(&self, key: &TaskKey) -> Option<WorkToken> {
        self.state.lock().out.get(key).map(|out| out.token.clone())
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
    workers: &'a BTreeMap<u64, Present>,
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

impl Present {
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

impl Profile {
    /// Whether the worker can do what stands in a queue.
    pub fn takes(&self, queue: &WorkQueue) -> bool {
        let Some(filters) = &self.filters else { return true };
        let version = queue.version.as_deref().unwrap_or_default();
        let any = |filters: &[NameFilter]| {
            filters.iter().any(|filter| {
                let versions = &filter.versions;
                filter.name == queue.name
                    && (versions.is_empty() || versions.iter().any(|one| **one == *version))
            })
        };
        match queue.kind {
            WorkKind::Orchestration => any(&filters.orchestrations),
            WorkKind::Activity => any(&filters.activities),
            WorkKind::Entity => {
                filters.entities.iter().any(|name| name.eq_ignore_ascii_case(&queue.name))
            }
        }
    }
}

/// Pieces of work handed out in one go.
const CLAIM_MAX: usize = 64;
/// A worker looks again after this long even if nobody said that something came.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How often leases are looked at.
const LEASES: Duration = Duration::from_millis(500);

fn is_work(id: &ExecutionId) -> bool {
    matches!(id.machine(), MachineKind::Instance | MachineKind::Entity)
}

/// A worker's presence: as long as it lives, the worker is handed work. When it is dropped, what
/// the worker has out goes to others; its answers still count if they come first.
pub struct Attendance {
    engine: Engine,
    worker: u64,
    hub: Arc<str>,
}

impl Engine {
    /// A worker begins to attend.
    pub fn attend(&self, profile: Profile) -> Attendance {
        let mut state = self.inner.crew.state.lock();
        state.numbers += 1;
        let (worker, hub) = (state.numbers, profile.hub.clone());
        let (since, out) = (self.now(), BTreeMap::new());
        let freed = Arc::new(Notify::new());
        state.workers.insert(worker, Present { profile, since, out, handed: 0, freed });
        Attendance { engine: self.clone(), worker, hub }
    }

    /// The workers that attend, of one hub or of all, by age.
    pub fn workers(&self, hub: Option<&str>) -> Vec<Worker> {
        let state = self.inner.crew.state.lock();
        let all = state.workers.values();
        let mine = all.filter(|worker| hub.is_none_or(|hub| *worker.profile.hub == *hub));
        mine.map(Present::shown).collect()
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
            (workers, 0, _) => Service::NotTaken { workers },
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
        let key = (row.execution.clone(), row.sequence);
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
                    tracing::warn!(machine = %key.0, "a worker has kept its work too long");
                    engine.lose(&key).await;
                }
            }
        });
    }

    /// A worker has lost a piece of work; a turn that is lost again and again fails its instance, an
    /// activity fails by itself.
    async fn lose(&self, key: &TaskKey) {
        let Some((token, lost)) = self.inner.crew.take_back(key) else { return };
        let most = self.inner.options.leases.handouts_max;
        if most > 0 && lost >= most {
            self.give_up(token, lost).await;
        }
        self.offer_again(key, Duration::ZERO);
    }

    async fn give_up(&self, token: WorkToken, lost: u32) {
        let message = format!(
            "it was handed out {lost} times, and no worker answered: they went away or took too long"
        );
        let mut failure = Box::new(FailureDetails::new("NeverCompleted", message));
        failure.non_retriable = true;
        let id = token.machine().clone();
        let input = match &token {
            WorkToken::Turn { .. } => Input::Fail { failure },
            WorkToken::Activity { .. } => Input::ActivityCompleted { token, result: Err(failure) },
            // An entity has no way to fail; it is tried for ever.
            WorkToken::Batch { .. } => return,
        };
        if let Err(error) = self.step(&id, input).await {
            tracing::warn!(instance = %id, %error, "lost work could not be given up");
        }
    }
}

impl Attendance {
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
            let (added, freed) = (added.notified(), freed.notified());
            tokio::pin!(added, freed);
            added.as_mut().enable();
            let wanted = crew.wanted(self.worker);
            let items = self.take(&wanted).await?;
            if !items.is_empty() {
                return Ok(items);
            }
            let now = engine.now();
            let queues =
                wanted.iter().filter_map(|(_, queue, _)| engine.inner.queues.next(queue, now));
            let idle = queues.min().unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN);
            tokio::select! {
                biased;
                () = engine.inner.stop.cancelled() => return Ok(Vec::new()),
                () = added => {}
                () = freed => {}
                () = tokio::time::sleep(idle) => {}
            }
        }
    }

    /// The hub that the worker attends.
    pub fn hub(&self) -> &Arc<str> {
        &self.hub
    }

    async fn take(&self, wanted: &[(WorkKind, Arc<str>, usize)]) -> Result<Vec<WorkItem>, Error> {
        let (engine, now) = (&self.engine, self.engine.now());
        let mut left: BTreeMap<WorkKind, usize> = BTreeMap::new();
        let mut taken = Vec::new();
        for (kind, queue, room) in wanted {
            let left = left.entry(*kind).or_insert(*room);
            if *left > 0 {
                let keys = engine.inner.queues.take(queue, *left, now);
                *left -= keys.len();
                taken.extend(keys.into_iter().map(|key| (*kind, key)));
            }
        }
        let keys = taken.iter().map(|(_, key)| key.clone()).collect();
        let mut open = Taken { engine, keys };
        let read = taken.into_iter().map(|(kind, key)| async move {
            let look = |hosted: &Hosted| work_of(hosted, key.1, now);
            (kind, key.clone(), engine.look(&key.0, look).await)
        });
        let mut items = Vec::new();
        let mut failure = None;
        for (kind, key, found) in futures_util::future::join_all(read).await {
            open.keys.remove(&key);
            match found.map(Option::flatten) {
                Ok(Some(item)) => {
                    if self.note(kind, key.clone(), &item) {
                        items.push(item);
                    } else {
                        engine.offer_again(&key, Duration::ZERO);
                    }
                }
                // It ended meanwhile.
                Ok(None) => engine.inner.queues.remove(&key),
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
            _ => Ok(items),
        }
    }

    fn note(&self, kind: WorkKind, key: TaskKey, item: &WorkItem) -> bool {
        let leases = &self.engine.inner.options.leases;
        let lease = match kind {
            WorkKind::Orchestration => Some(leases.turn),
            WorkKind::Activity | WorkKind::Entity => leases.activity,
        };
        let since = self.engine.now();
        let until = lease
            .map(|lease| since.plus_millis(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)));
        let (worker, token) = (self.worker, item.token().clone());
        self.engine.inner.crew.hand_out(worker, key, Out { worker, kind, token, since, until })
    }
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

impl Drop for Attendance {
    fn drop(&mut self) {
        let keys: Vec<TaskKey> = {
            let mut state = self.engine.inner.crew.state.lock();
            state.workers.remove(&self.worker);
            let mine = state.out.iter().filter(|(_, out)| out.worker == self.worker);
            mine.map(|(key, _)| key.clone()).collect()
        };
        let alive = tokio::runtime::Handle::try_current().is_ok();
        if keys.is_empty() || !alive || self.engine.inner.tasks.is_closed() {
            return;
        }
        let engine = self.engine.clone();
        self.engine.inner.tasks.spawn(async move {
            for key in keys {
                engine.lose(&key).await;
            }
        });
    }
}

fn work_of(hosted: &Hosted, sequence: u32, now: Timestamp) -> Option<WorkItem> {
    if let Some(instance) = hosted.instance() {
        return instance.work(sequence, now).map(WorkItem::Instance);
    }
    let batch = hosted.entity().and_then(Entity::work)?;
    Some(WorkItem::Batch(batch))
}
