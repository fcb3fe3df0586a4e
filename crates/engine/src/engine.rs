//! The engine: load, decide, commit, act. Everything else in this crate serves this file.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt as _;
use kernel::alert::Sample;
use kernel::graph::{Execution, Limits, Message, Status};
use kernel::{
    CachedOutput, Effect, ExecutionId, Json, MachineKind, Record, Rejected, RowKind, Scripts,
    Timestamp,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::access::Access;
use crate::audit::Audit;
use crate::authors::Authors;
use crate::batches::Batches;
use crate::before::Changes;
use crate::brief::LONG_BYTES;
use crate::cache::{Cache, Slot};
use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::definitions::Definitions;
use crate::delivery::Deliveries;
use crate::documents::Damaged;
use crate::doubts::Doubts;
use crate::durable::WorkerRegistry;
use crate::evaluation::{Evaluators, Watch};
use crate::events::Events;
use crate::feed::Feed;
use crate::gates;
use crate::health::Vitals;
use crate::idempotency::Lanes;
use crate::lineage::Lineages;
use crate::listening::Listening;
use crate::machine::{AnyMachine, Decided};
use crate::meter::Meters;
use crate::monitors::{Monitors, Receivers};
use crate::mutants::{self, Mutant};
use crate::pacing::{Counted, Delayed, Rates};
use crate::parts::{Counters, Options, Parts, Values};
use crate::pending_claims;
use crate::queues::{Queues, TaskKey};
use crate::removal::Forgotten;
use crate::runner::TaskRunner;
use crate::samples::Samples;
use crate::secret_uses::SecretUses;
use crate::state_change_events;
use crate::store::{Commit, MessageKey, Outgoing, QueueChange, QueueRow, Store, StoreError};
use crate::suspects::Suspects;
use crate::task_cache::Outputs;
use crate::traces::{Ending, Traces};
use crate::vault::{Key, Vault};
use crate::waker::Waker;

/// Why the engine did not do as asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The input does not fit the state.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The store cannot; later perhaps.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug was met in this execution; it is left alone until the server starts again.
    #[error("workflow {id} is quarantined after an internal error: {reason}")]
    Quarantined {
        /// The execution.
        id: ExecutionId,
        /// What was seen.
        reason: String,
    },
    /// Users' scripts cannot be evaluated now; later perhaps.
    #[error("{0}")]
    Unavailable(String),
    /// The engine is shutting down.
    #[error("the server is shutting down")]
    Closing,
}

impl Error {
    /// Whether the same may go well later without anybody doing anything: the store was away, others
    /// were first again and again, or there was no room for an evaluation. What is owed is tried
    /// again then, and never dropped.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Store(StoreError::Conflict) => !mutants::is(Mutant::ConflictFinal),
            Self::Store(error) => matches!(error, StoreError::Unavailable(_)),
            Self::Rejected(_) | Self::Quarantined { .. } | Self::Closing => false,
        }
    }
}

/// A running engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

/// An engine seen from inside it: held by what the engine itself owns, so that neither keeps the
/// other alive.
#[derive(Clone)]
pub struct WeakEngine(std::sync::Weak<Inner>);

impl WeakEngine {
    /// The engine; `None` once it is gone.
    pub fn upgrade(&self) -> Option<Engine> {
        self.0.upgrade().map(|inner| Engine { inner })
    }
}

pub(crate) struct Inner {
    pub(crate) access: Access,
    /// Who wrote what acts by itself.
    pub(crate) authors: Authors,
    pub(crate) audit: Audit,
    pub(crate) secret_uses: SecretUses,
    /// Documents that could not be read at the start.
    pub(crate) damaged: Arc<Damaged>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) scripts: Arc<dyn Scripts>,
    pub(crate) runners: BTreeMap<&'static str, Arc<dyn TaskRunner>>,
    pub(crate) vault: Vault,
    pub(crate) describe: fn(&Execution) -> Json,
    pub(crate) options: Options,
    pub(crate) definitions: Definitions,
    pub(crate) catalogue: Catalogue,
    pub(crate) queues: Queues,
    pub(crate) waker: Waker,
    /// Holds by workers that are not in the store yet.
    pub(crate) unwritten: pending_claims::Ledger,
    pub(crate) deliveries: Deliveries,
    /// What follows from commits whose outcome is not known.
    pub(crate) doubts: Doubts,
    pub(crate) outputs: Outputs,
    pub(crate) lanes: Lanes,
    pub(crate) monitors: Monitors,
    pub(crate) samples: Samples,
    /// Held while posts of status pages change.
    pub(crate) posting: tokio::sync::Mutex<()>,
    pub(crate) batches: Batches,
    /// Absent if runs are not exported as traces.
    pub(crate) traces: Option<Traces>,
    pub(crate) receivers: Receivers,
    pub(crate) events: Events,
    pub(crate) crew: WorkerRegistry,
    pub(crate) forgotten: Forgotten,
    pub(crate) evaluators: Evaluators,
    /// Decisions that wait for an evaluator, by execution.
    pub(crate) deciding: Mutex<HashMap<ExecutionId, Arc<Watch>>>,
    pub(crate) suspects: Suspects,
    pub(crate) lineages: Lineages,
    pub(crate) rates: Rates,
    pub(crate) rates_of_principals: Rates,
    pub(crate) delayed: Delayed,
    pub(crate) cache: Cache,
    watchers: Mutex<HashMap<ExecutionId, watch::Sender<CommitNotice>>>,
    feed: Feed,
    /// When it was opened, by its clock.
    pub(crate) opened_at: Timestamp,
    pub(crate) listening: Listening,
    pub(crate) running: Mutex<HashMap<TaskKey, Run>>,
    pub(crate) quarantine: Mutex<BTreeMap<ExecutionId, String>>,
    pub(crate) stop: CancellationToken,
    /// When that began.
    pub(crate) stopped_at: OnceLock<tokio::time::Instant>,
    pub(crate) tasks: TaskTracker,
    pub(crate) closed: AtomicBool,
    pub(crate) counters: Counters,
    pub(crate) meters: Meters,
    pub(crate) vitals: Vitals,
}

/// What whoever watches an execution sees of a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitNotice {
    /// Commits so far; 0 before the first one seen.
    pub version: u64,
    /// Where the execution stands after it.
    pub status: Status,
}

/// A built-in task that is running in this process.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) cancel: CancellationToken,
    pub(crate) started_at: Timestamp,
}

/// How long a shutdown waits for evaluations.
const CLOSE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
/// How long for those that began meanwhile.
const CLOSE_AGAIN: std::time::Duration = std::time::Duration::from_millis(250);

impl Engine {
    /// Opens the engine over what the store holds, and sets everything going again that was.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(parts: Parts) -> Result<Self, StoreError> {
        // Without a key a new one is made that ends with the process.
        let key = parts.options.key.clone().unwrap_or_else(|| Key::new(Key::random()));
        let damaged = Arc::new(Damaged::default());
        let definitions =
            Definitions::open(parts.store.clone(), damaged.clone(), key.clone()).await?;
        let vault = Vault::open(
            parts.store.clone(),
            damaged.clone(),
            parts.clock.clone(),
            parts.values,
            key,
        )
        .await?;
        let access =
            Access::open(parts.store.clone(), &damaged, parts.options.has_provider).await?;
        let authors = Authors::open(&*parts.store, &damaged).await?;
        let monitors = Monitors::open(&*parts.store, &damaged).await?;
        let suspects = Suspects::open(&*parts.store).await?;
        let batches = Batches::open(&*parts.store, &damaged).await?;
        let now = parts.clock.now();
        let traces =
            Traces::open(&*parts.store, &damaged, parts.options.traces.clone(), now).await?;
        let listening = Listening::new(&*parts.clock, parts.options.upkeep);
        let runners = parts.runners.iter().map(|runner| (runner.task_type(), runner.clone()));
        let inner = Arc::new(Inner {
            access,
            authors,
            audit: Audit::open(parts.store.clone()).await?,
            catalogue: Catalogue::new(parts.store.clone(), damaged.clone()),
            secret_uses: SecretUses::default(),
            damaged,
            runners: runners.collect(),
            store: parts.store,
            clock: parts.clock,
            scripts: parts.scripts,
            vault,
            describe: parts.describe,
            definitions,
            queues: Queues::default(),
            waker: Waker::default(),
            unwritten: pending_claims::Ledger::default(),
            deliveries: Deliveries::default(),
            doubts: Doubts::default(),
            outputs: Outputs::default(),
            lanes: Lanes::default(),
            monitors,
            samples: Samples::default(),
            posting: tokio::sync::Mutex::default(),
            batches,
            traces,
            receivers: Receivers::default(),
            events: Events::default(),
            crew: WorkerRegistry::default(),
            forgotten: Forgotten::default(),
            evaluators: Evaluators::new(parts.options.evaluation.clone()),
            deciding: Mutex::default(),
            suspects,
            lineages: Lineages::default(),
            rates: Rates::new(Counted::Definition, parts.options.starts_per_minute),
            rates_of_principals: Rates::new(
                Counted::Principal,
                parts.options.principal_starts_per_minute,
            ),
            delayed: Delayed::default(),
            cache: Cache::new(parts.options.cache_bytes),
            options: parts.options,
            watchers: Mutex::default(),
            feed: Feed::new(now),
            opened_at: now,
            listening,
            running: Mutex::default(),
            quarantine: Mutex::default(),
            stop: CancellationToken::new(),
            stopped_at: OnceLock::new(),
            tasks: TaskTracker::new(),
            closed: AtomicBool::new(false),
            counters: Counters::default(),
            meters: Meters::default(),
            vitals: Vitals::default(),
        });
        let engine = Self { inner };
        for runner in engine.inner.runners.values() {
            runner.attach(engine.weak());
        }
        engine.quarantine_suspects();
        engine.recover().await?;
        engine.open_events().await?;
        engine.resume_changes().await?;
        engine.run_waker();
        engine.run_claims_writer();
        engine.run_dispatcher();
        engine.run_forgetter();
        engine.run_sampler();
        engine.run_batches();
        if engine.inner.options.upkeep {
            engine.run_watchdog();
            engine.run_alarm();
            engine.run_pruner();
            engine.run_trimmer();
            engine.run_sample_sweeper();
            engine.run_leases();
        }
        engine.resume_monitors();
        Ok(engine)
    }

    pub(crate) fn weak(&self) -> WeakEngine {
        WeakEngine(Arc::downgrade(&self.inner))
    }

    /// The keys of access control.
    pub fn access(&self) -> &Access {
        &self.inner.access
    }

    /// The audit ledger.
    pub fn audit(&self) -> &Audit {
        &self.inner.audit
    }

    /// What is registered.
    pub fn definitions(&self) -> &Definitions {
        &self.inner.definitions
    }

    /// Documents that are kept in memory as their readers need them.
    pub fn catalogue(&self) -> &Catalogue {
        &self.inner.catalogue
    }

    /// A number that grows whenever a definition changes that may name others: of a workflow, a task, an
    /// event handler, a trigger, a webhook or monitors.
    pub fn definition_changes(&self) -> u64 {
        const KINDS: [&str; 4] = ["event_handler", "trigger", "webhook", "monitors"];
        self.inner.definitions.changes() + self.catalogue().changes(&KINDS)
    }

    /// The queues.
    pub fn queues(&self) -> &Queues {
        &self.inner.queues
    }

    /// The store, for questions that need no decision.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// Secrets and environment, for runners whose input names one.
    pub fn values(&self) -> &dyn Values {
        &self.inner.vault
    }

    /// What runs users' scripts, for checking definitions.
    pub fn scripts(&self) -> &dyn Scripts {
        &*self.inner.scripts
    }

    /// The bounds of executions.
    pub fn limits(&self) -> &Limits {
        &self.inner.options.limits
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// What the engine has done since it started.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// Executions in memory.
    pub fn cached(&self) -> usize {
        self.inner.cache.len()
    }

    /// Executions left alone after an internal error, with what was seen.
    pub fn quarantined(&self) -> Vec<(ExecutionId, String)> {
        let quarantine = self.inner.quarantine.lock();
        quarantine.iter().map(|(id, reason)| (id.clone(), reason.clone())).collect()
    }

    /// When it was opened, by its clock.
    pub fn opened_at(&self) -> Timestamp {
        self.inner.opened_at
    }

    /// A new random id for a root execution; later ones sort after earlier ones.
    pub fn new_id() -> ExecutionId {
        ExecutionId::new(uuid::Uuid::now_v7().to_string())
    }

    /// When a built-in task that is running here was begun: its claim is recorded only if it runs
    /// for a while.
    pub fn running_since(&self, id: &ExecutionId, sequence: u32) -> Option<Timestamp> {
        self.inner.running.lock().get(&(id.clone(), sequence)).map(|run| run.started_at)
    }

    /// The newest commits of all machines.
    pub fn feed(&self) -> &Feed {
        &self.inner.feed
    }

    /// Tells of every commit of an execution from now on.
    pub fn watch(&self, id: &ExecutionId) -> watch::Receiver<CommitNotice> {
        let mut watchers = self.inner.watchers.lock();
        if watchers.len() >= WATCHERS_SWEEP {
            watchers.retain(|_, sender| sender.receiver_count() > 0);
        }
        watchers
            .entry(id.clone())
            .or_insert_with(|| watch::channel(CommitNotice::default()).0)
            .subscribe()
    }

    /// Looks at an execution; `None` if there is none.
    ///
    /// # Errors
    /// The store's.
    pub async fn read<R>(
        &self,
        id: &ExecutionId,
        look: impl FnOnce(&Execution) -> R,
    ) -> Result<Option<R>, Error> {
        Ok(self.look(id, |state| state.execution().map(look)).await?.flatten())
    }

    /// Looks at whatever machine an id names; `None` if there is none.
    ///
    /// # Errors
    /// The store's.
    pub async fn look<R>(
        &self,
        id: &ExecutionId,
        look: impl FnOnce(&AnyMachine) -> R,
    ) -> Result<Option<R>, Error> {
        if self.inner.suspects.is_unread(id)
            && let Some(reason) = self.quarantine_of(id)
        {
            return Err(Error::Quarantined { id: id.clone(), reason });
        }
        let shared = self.inner.cache.slot(id);
        let mut slot = shared.lock().await;
        let loaded = self.load(id, &mut slot).await;
        let answer = loaded.map(|()| slot.state.as_ref().filter(|s| s.exists()).map(look));
        self.settle_slot(id, slot);
        answer
    }

    /// Looks at an execution that is in memory and not at work; `None` says nothing. The store is not
    /// asked, so that a list may look at each of its rows.
    pub fn glance<R>(&self, id: &ExecutionId, look: impl FnOnce(&Execution) -> R) -> Option<R> {
        if self.is_quarantined(id) {
            return None;
        }
        let slot = self.inner.cache.peek(id)?;
        slot.glance(|state| state.execution().filter(|it| it.is_started()).map(look)).flatten()
    }

    /// A whole execution with its tasks, as a failure workflow is given it; `None` if there is none.
    ///
    /// # Errors
    /// The store's.
    pub async fn describe(&self, id: &ExecutionId) -> Result<Option<Json>, Error> {
        self.read(id, self.inner.describe).await
    }

    /// Commits what was decided, after what is unwritten, and puts it into effect.
    pub(crate) async fn persist(
        &self,
        id: &ExecutionId,
        slot: &mut Slot,
        state: AnyMachine,
        decided: Decided,
        received: Vec<MessageKey>,
        changes: Changes,
    ) -> Result<(), Error> {
        let version = slot.version + 1;
        let mut events = decided.events.unwrap_or_else(|| "[]".to_owned());
        let mut queue = Vec::new();
        if let Some(unwritten) = &slot.unwritten {
            events = unwritten.followed_by(&events);
            queue.clone_from(&unwritten.queue);
        }
        // A snapshot once as much was written as it would hold: linear in the end, and what is
        // folded is never much more than what there is.
        let grown = slot.bytes + events.len() - slot.snapshot_bytes;
        let is_long = grown > slot.snapshot_bytes.max(state.snapshot_bytes_min());
        let forget = is_long && state.is_open() && !state.keeps_history();
        if forget {
            events = state.snapshot();
        }
        let mut work = self.work(id, &state, version, decided.effects);
        work.ending = self.tell_traces(id, changes.ends).await;
        // What was put and is changed again is written once.
        let changed =
            |earlier: &QueueChange| work.queue.iter().any(|later| later.kind() == earlier.kind());
        queue.retain(|earlier| !changed(earlier));
        queue.extend(work.queue.iter().cloned());
        let size = events.len();
        let bytes = if forget { size } else { slot.bytes + size };
        let brief = match (bytes >= LONG_BYTES, slot.bytes >= LONG_BYTES) {
            (true, was_long) if decided.is_news || !was_long => state.brief(),
            (false, true) => state.brief().map(|_| String::new()),
            _ => None,
        };
        let commit = Commit {
            head: state.head(version),
            expect: slot.version + u64::from(slot.version > 2 && mutants::is(Mutant::VersionWrong)),
            plans: decided.plans,
            events,
            forget,
            queue,
            send: work.send.clone(),
            received: if mutants::is(Mutant::ReceiptForgotten) { Vec::new() } else { received },
            records: work.records.clone(),
            deferrable: state.is_deferrable(),
            text: decided.text,
            brief,
        };
        // From here on the state in memory is ahead of the store: on any failure it is dropped.
        let rows = 1 + commit.queue.len() + commit.send.len() + commit.records.len();
        let span = tracing::debug_span!("commit", version, rows, bytes = size);
        let begun = std::time::Instant::now();
        let written = self.inner.store.commit(commit).instrument(span).await;
        if let Err(error) = mutants::believed(written) {
            slot.state = mutants::is(Mutant::StateKept).then_some(state);
            self.inner.vitals.write_failed(&error, self.now());
            self.forget_places(id);
            self.doubt(id, &error, version, (work, changes));
            return Err(error.into());
        }
        self.inner.meters.commits.observe(begun.elapsed());
        self.inner.vitals.wrote();
        state.note(&self.inner.vitals.board);
        self.inner.vitals.board.count(&work.records);
        slot.unwritten = None;
        (slot.is_known, slot.is_presumed_new) = (true, false);
        slot.version = version;
        if forget {
            (slot.bytes, slot.snapshot_bytes) = (size, size);
        } else {
            slot.bytes += size;
        }
        self.inner.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.follow_up(id, &state, work, version);
        self.follow_changes(id, &state, changes).await;
        slot.state = Some(state);
        Ok(())
    }

    /// Turns effects into what the commit writes and what follows it.
    pub(crate) fn work(
        &self,
        id: &ExecutionId,
        state: &AnyMachine,
        version: u64,
        effects: Vec<Effect>,
    ) -> Work {
        let mut work = Work::default();
        for effect in effects {
            match effect {
                Effect::Dispatch(dispatch) => {
                    // Withdrawn again within the same decision.
                    if state.is_queued(dispatch.sequence) && !mutants::is(Mutant::DispatchLost) {
                        work.queue.push(QueueChange::Put(QueueRow {
                            execution: id.clone(),
                            kind: RowKind::of(dispatch.sequence),
                            queue: dispatch.queue,
                            name: dispatch.name,
                            priority: dispatch.priority,
                            ready_at: dispatch.ready_at,
                            held: false,
                            concurrent_max: dispatch.concurrent_max,
                            rate_max: dispatch.rate_max,
                            rate_window_seconds: dispatch.rate_window_seconds,
                        }));
                    }
                }
                Effect::Withdraw { sequence } => {
                    work.queue.push(QueueChange::Remove { kind: RowKind::of(sequence) });
                }
                Effect::Hold { sequence } => {
                    let key = (id.clone(), sequence);
                    let row = self.inner.queues.row(&key);
                    if let Some(row) = row.filter(|_| !mutants::is(Mutant::HoldUnwritten)) {
                        work.queue.push(QueueChange::Put(QueueRow { held: true, ..row }));
                    }
                }
                Effect::Send { .. } if mutants::is(Mutant::MessageLost) => {}
                Effect::Send { to, mut message } => {
                    if let Message::Start(start) = &mut *message
                        && state.authors_inputs()
                    {
                        // A schedule's document is its author's, as a definition is.
                        start.input = self.refer(id.as_str(), &start.input);
                    }
                    // Unique per sender: the commit's version, then the place in the commit.
                    let sequence = (version << 20) + work.send.len() as u64;
                    let key = MessageKey { sender: id.clone(), sequence };
                    let body = serde_json::to_string(&message).expect("messages serialize to JSON");
                    work.send.push(Outgoing { key, to, body });
                }
                Effect::Record(record) => work.records.push(record),
                Effect::Publish(publication) => {
                    let sequence = (version << 20) + work.send.len() as u64;
                    let key = MessageKey { sender: id.clone(), sequence };
                    work.send.push(state_change_events::outgoing(key, &publication));
                }
                Effect::Reuse(left) => work.left.push(left),
                Effect::Forget(execution) => work.forget.push(execution),
                Effect::Sample(sample) => work.samples.push(*sample),
                Effect::Admit(admission) => {
                    work.queue.push(QueueChange::Put(gates::row(id, admission)));
                }
            }
        }
        work
    }

    /// What becomes visible once the commit is durable.
    pub(crate) fn follow_up(&self, id: &ExecutionId, state: &AnyMachine, work: Work, version: u64) {
        let now = self.inner.clock.now();
        for change in work.queue {
            match change {
                QueueChange::Put(row) if row.is_permit() => self.take_place(row, now),
                QueueChange::Put(row) if row.held => self.inner.queues.hold(&row.key()),
                QueueChange::Put(row) => self.put_row(row, now),
                QueueChange::Remove { kind } => {
                    let key = (id.clone(), kind.number());
                    if matches!(kind, RowKind::Permit(_)) {
                        self.leave_place(&key);
                        continue;
                    }
                    if mutants::is(Mutant::WithdrawalForgotten) {
                        continue;
                    }
                    self.inner.queues.remove(&key);
                    self.inner.crew.withdrawn(&key);
                    if let Some(run) = self.inner.running.lock().remove(&key) {
                        run.cancel.cancel();
                    }
                }
            }
        }
        for left in work.left {
            self.inner.outputs.keep(left, now);
        }
        for record in &work.records {
            self.delivery_recorded(record);
        }
        for execution in work.forget {
            self.forget(execution);
        }
        self.keep_samples(id, work.samples);
        self.inner.waker.set(id, state.wake_at().filter(|_| !mutants::is(Mutant::TimerUnset)));
        for outgoing in work.send {
            self.deliver(outgoing);
        }
        if let Some(watcher) = self.inner.watchers.lock().get(id) {
            watcher.send_replace(CommitNotice { version, status: state.status() });
        }
        self.inner.feed.note(id, version);
        // The cursor of traces may pass it now.
        drop(work.ending);
    }

    /// Fills a slot from the store. What cannot be folded is quarantined.
    pub(crate) async fn load(&self, id: &ExecutionId, slot: &mut Slot) -> Result<(), Error> {
        if slot.state.is_some() {
            return Ok(());
        }
        match AssertUnwindSafe(self.load_stored(id, slot)).catch_unwind().await {
            Ok(loaded) => Ok(loaded?),
            Err(panic) => Err(self.cannot_be_read(id, &*panic)),
        }
    }

    async fn load_stored(&self, id: &ExecutionId, slot: &mut Slot) -> Result<(), StoreError> {
        (slot.version, slot.bytes, slot.snapshot_bytes) = (0, 0, 0);
        (slot.is_known, slot.is_presumed_new) = (true, false);
        let mut state = AnyMachine::new(id.clone());
        if let Some(stored) = self.inner.store.load(id).await? {
            for row in &stored.history {
                state.fold(row, &self.inner.definitions).await?;
                slot.bytes += row.len();
            }
            if (stored.history.len() as u64) < stored.version {
                slot.snapshot_bytes = stored.history.first().map_or(0, String::len);
            }
            slot.version = stored.version;
        }
        slot.is_of_this_life |= slot.version == 0;
        // More commits than it knew of: it was in the one that seemed to fail.
        if slot.unwritten.take_if(|unwritten| unwritten.version != slot.version).is_none()
            && let Some(unwritten) = &slot.unwritten
        {
            state.fold(&unwritten.events, &self.inner.definitions).await?;
        }
        state.note(&self.inner.vitals.board);
        self.clear_up(id, &state, slot.version).await;
        slot.state = Some(state);
        Ok(())
    }

    /// Rebuilds queues, timers and deliveries from the store.
    async fn recover(&self) -> Result<(), StoreError> {
        let now = self.now();
        for mut row in self.inner.store.queued().await? {
            // Whatever ran in the former process runs no more.
            if self.inner.runners.contains_key(&*row.queue) {
                row.held = false;
            }
            // These were ready when they were written. The clock may have been ahead then, and nobody
            // writes them anew by the right one.
            let machine = row.execution.machine();
            if row.is_permit() || matches!(machine, MachineKind::Instance | MachineKind::Entity) {
                row.ready_at = row.ready_at.min(now);
            }
            if !mutants::is(Mutant::QueuesForgotten) {
                self.put_row(row, now);
            }
        }
        self.open_gates();
        self.refill_waker().await?;
        let mut seen = std::collections::BTreeSet::new();
        for outgoing in self.inner.store.undelivered(usize::MAX).await? {
            if seen.insert(outgoing.key.clone()) && !mutants::is(Mutant::MailForgotten) {
                self.deliver(outgoing);
            }
        }
        Ok(())
    }

    /// Begins a shutdown: whoever waits for a task or an end is answered at once, and nothing new
    /// is begun. Inputs are still taken until [`Engine::close`].
    pub fn stop(&self) {
        self.inner.stopped_at.get_or_init(tokio::time::Instant::now);
        self.inner.stop.cancel();
    }

    /// Resolves when a shutdown has begun.
    pub async fn stopped(&self) {
        self.inner.stop.cancelled().await;
    }

    /// Stops taking inputs, lets what is being done finish, and closes the store. Built-in tasks
    /// that still run are cancelled; they run again after the next start.
    ///
    /// # Errors
    /// The store's.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.stop();
        self.drain_runs().await;
        self.inner.closed.store(true, Ordering::Release);
        self.inner.tasks.close();
        let mut patience = CLOSE_PATIENCE;
        while tokio::time::timeout(patience, self.inner.tasks.wait()).await.is_err() {
            // They are decided again after the next start.
            self.inner.deciding.lock().values().for_each(|watch| watch.interrupt());
            patience = CLOSE_AGAIN;
        }
        self.write_all_claims().await;
        self.remove_forgotten().await;
        if let Err(error) = self.write_samples(true).await {
            tracing::warn!(%error, "failed to write the last samples of checks at shutdown");
        }
        self.ends_well().await;
        self.inner.store.close().await
    }
}

/// Watched executions beyond which those that nobody watches any more are forgotten.
const WATCHERS_SWEEP: usize = 1024;

/// What a commit writes besides facts, and what follows it.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) queue: Vec<QueueChange>,
    send: Vec<Outgoing>,
    records: Vec<Record>,
    left: Vec<CachedOutput>,
    forget: Vec<ExecutionId>,
    samples: Vec<Sample>,
    /// The end that it writes, for as long as it may be written.
    ending: Option<Ending>,
}
