//! What the server knows of its own ability to watch and to tell, from what it did and not from what
//! it is: a commit was synced, checks that were due ran, deliveries were accepted.
//!
//! [`Engine::health`] answers from memory at once, also while the store hangs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kernel::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::board::{Board, Figures, LateHeartbeat};
use crate::clock::ClockEvent;
use crate::documents::DamagedDocument;
use crate::engine::{Engine, Error};
use crate::room::Room;
use crate::store::{Space, StoreError};

/// Without a synced commit for so long, nothing is known to be kept any more.
const SYNCED_MAX: Duration = Duration::from_mins(1);
/// After a failed write the store counts as failing for so long, whatever it takes meanwhile: on a
/// disk that is nearly full, small writes succeed between large ones that fail.
const FAILING_MIN: Duration = Duration::from_secs(10);
/// How long a check may be overdue.
const OVERDUE_MAX: i64 = 60_000;
/// How long that must last until it is believed: after a change of the clock everything is overdue.
const OVERDUE_SEEN: Duration = Duration::from_secs(30);
/// How long a receiver may not accept what it is sent.
const DELIVERY_MAX: i64 = 10 * 60_000;
/// How long an event of the clock is shown.
const CLOCK_SHOWN: i64 = 24 * 3_600_000;
/// Pause between two lines of the log about the same failure.
const LOG_PAUSE: Duration = Duration::from_mins(1);

/// How the server is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Why it cannot do its work; empty = it can.
    pub problems: Vec<Problem>,
    /// What needs a look before it becomes a problem, or concerns a part only.
    pub warnings: Vec<Problem>,
    /// Files of definitions that were refused, with the reasons; what they said before is in force.
    pub rejected: BTreeMap<Arc<str>, String>,
    /// Room on the disk of the store.
    pub space: Option<Space>,
    /// When that is used up if it goes on as in the last day.
    pub full_at: Option<Timestamp>,
    /// The dead man's switch, if there is one.
    pub dead_man: Option<DeadMan>,
}

/// How it stands with somebody outside who rings when this server no longer calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadMan {
    /// The host that is called; the whole address is a secret of a kind.
    pub host: String,
    /// When it last took a call.
    pub called_at: Option<Timestamp>,
    /// Why it did not take the last one.
    pub trouble: Option<String>,
}

/// Something that is wrong with the server itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Names the kind: `store`, `checks`, `deliveries`, `disk`, `clock`, `receiver`, `answers`,
    /// `files`, `traces`, `secrets`.
    pub code: &'static str,
    /// What is wrong, in a sentence.
    pub reason: String,
    /// Since when, if that is known.
    pub since: Option<Timestamp>,
}

impl Health {
    /// Whether it can do its work.
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty()
    }

    /// All problems in one text; empty if there are none.
    pub fn reason(&self) -> String {
        let reasons: Vec<&str> = self.problems.iter().map(|problem| &*problem.reason).collect();
        reasons.join("; ")
    }
}

/// What happened to the server, as far as it matters to its health.
pub(crate) struct Vitals {
    pub(crate) board: Board,
    began: Instant,
    /// When a write was last synced, in milliseconds since `began`.
    synced: AtomicU64,
    writes: Mutex<Writes>,
    write_failures: AtomicU64,
    clock: Mutex<Option<(Timestamp, ClockEvent)>>,
    clock_events: Mutex<BTreeMap<&'static str, u64>>,
    /// The check that is overdue, and since when that is seen.
    overdue: Mutex<Option<(Instant, Arc<str>, Timestamp)>>,
    space: Mutex<Option<Space>>,
    room: Mutex<Room>,
    dead_man: Mutex<Option<DeadMan>>,
    /// Secrets that are kept elsewhere and cannot be read.
    secrets: RwLock<Vec<Problem>>,
    /// By who reads them.
    rejected: RwLock<BTreeMap<&'static str, BTreeMap<Arc<str>, String>>>,
}

/// How writing goes.
#[derive(Default)]
struct Writes {
    /// Since when it fails.
    failing: Option<Timestamp>,
    failed: Option<Instant>,
    reason: String,
    logged: Option<Instant>,
    unlogged: u64,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            board: Board::default(),
            began: Instant::now(),
            synced: AtomicU64::new(0),
            writes: Mutex::default(),
            write_failures: AtomicU64::new(0),
            clock: Mutex::default(),
            clock_events: Mutex::default(),
            overdue: Mutex::default(),
            space: Mutex::default(),
            room: Mutex::default(),
            dead_man: Mutex::default(),
            secrets: RwLock::default(),
            rejected: RwLock::default(),
        }
    }
}

impl Vitals {
    /// A write was synced.
    pub(crate) fn wrote(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.synced.store(millis, Ordering::Relaxed);
    }

    /// How long no write was synced.
    pub(crate) fn unsynced_for(&self) -> Duration {
        let synced = Duration::from_millis(self.synced.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(synced)
    }

    /// A write failed. Only what makes the store unavailable says something about the next one.
    pub(crate) fn write_failed(&self, error: &StoreError, now: Timestamp) {
        let StoreError::Unavailable(reason) = error else { return };
        self.write_failures.fetch_add(1, Ordering::Relaxed);
        let mut writes = self.writes.lock();
        writes.failing.get_or_insert(now);
        writes.failed = Some(Instant::now());
        writes.reason.clone_from(reason);
        writes.unlogged += 1;
        if writes.logged.is_none_or(|logged| logged.elapsed() >= LOG_PAUSE) {
            let failures = std::mem::take(&mut writes.unlogged);
            writes.logged = Some(Instant::now());
            drop(writes);
            tracing::error!(
                %reason,
                failures,
                "store is not writable: no checks, starts or notifications until it is"
            );
        }
    }

    /// Whether writing fails; looks whether it has recovered.
    pub(crate) fn is_failing(&self) -> bool {
        let mut writes = self.writes.lock();
        let Some(failed) = writes.failed else { return false };
        let quiet = failed.elapsed() >= FAILING_MIN;
        if !quiet || self.unsynced_for() > failed.elapsed() {
            return true;
        }
        let after = failed.duration_since(self.began).as_secs();
        *writes = Writes::default();
        drop(writes);
        tracing::info!(last_failure_after_s = after, "store is writable again");
        false
    }

    /// Whether an error is worth a line of its own: those of a store that takes no writes are told
    /// together.
    pub(crate) fn is_news(error: &Error) -> bool {
        !matches!(error, Error::Store(StoreError::Unavailable(_)))
    }

    pub(crate) fn clock_changed(&self, event: ClockEvent, now: Timestamp) {
        *self.clock.lock() = Some((now, event));
        *self.clock_events.lock().entry(event.as_str()).or_default() += 1;
    }

    pub(crate) fn set_space(&self, space: Option<Space>, now: Timestamp) {
        if let Some(space) = space {
            self.room.lock().see(now, space.free);
        }
        *self.space.lock() = space;
    }

    pub(crate) fn space(&self) -> Option<Space> {
        *self.space.lock()
    }

    /// Looks whether checks that were due have run.
    pub(crate) fn look_for_overdue(&self, now: Timestamp) {
        let found = self.board.overdue(now).filter(|(_, due)| now.since(*due) > OVERDUE_MAX);
        let mut overdue = self.overdue.lock();
        let seen = overdue.as_ref().map_or_else(Instant::now, |(seen, ..)| *seen);
        *overdue = found.map(|(name, due)| (seen, name, due));
    }
}

impl Engine {
    /// Stored documents that cannot be read, and so are not in force.
    pub fn damaged_documents(&self) -> Vec<DamagedDocument> {
        self.inner.damaged.list()
    }

    /// Changes whenever one of these is found, replaced or deleted.
    pub fn damaged_documents_changed(&self) -> watch::Receiver<()> {
        self.inner.damaged.changed()
    }

    /// Whether requests should come to this server now, from memory at once.
    ///
    /// # Errors
    /// Why they should not: it is shutting down, or the store may not be its own any more.
    pub fn ready(&self) -> Result<(), String> {
        if self.inner.stopped_at.get().is_some() {
            return Err("the server is shutting down".to_owned());
        }
        self.inner.store.ready()
    }

    /// How the server is.
    pub fn health(&self) -> Health {
        let (vitals, now) = (&self.inner.vitals, self.now());
        let mut health = Health {
            space: vitals.space(),
            full_at: vitals.room.lock().full_at(),
            dead_man: vitals.dead_man.lock().clone(),
            ..Health::default()
        };
        let problems = &mut health.problems;
        let mut add = |code, since, reason| problems.push(Problem { code, reason, since });
        if vitals.is_failing() {
            let writes = vitals.writes.lock();
            let reason = format!("the store takes no writes: {}", writes.reason);
            add("store", writes.failing, reason);
        } else if vitals.unsynced_for() > SYNCED_MAX {
            let seconds = vitals.unsynced_for().as_secs();
            add("store", None, format!("nothing was written to the store for {seconds} s"));
        }
        if let Some((seen, name, due)) = vitals.overdue.lock().clone()
            && seen.elapsed() >= OVERDUE_SEEN
        {
            let reason = format!("the check of {name} that was due at {due} has not begun");
            add("checks", Some(due), reason);
        }
        // One that is a workflow may take its time, as when it waits for somebody.
        let answers_soon = |receiver: &str| {
            self.defined_receiver(receiver).is_none_or(|receiver| &*receiver.kind != "workflow")
        };
        if let Some((receiver, since)) = vitals.board.waits(answers_soon)
            && now.since(since) > DELIVERY_MAX
        {
            let reason = format!("the receiver {receiver} has accepted nothing since {since}");
            add("deliveries", Some(since), reason);
        }
        self.add_warnings(&mut health, now);
        health
    }

    fn add_warnings(&self, health: &mut Health, now: Timestamp) {
        let vitals = &self.inner.vitals;
        health.rejected = vitals
            .rejected
            .read()
            .values()
            .flatten()
            .map(|(file, why)| (file.clone(), why.clone()))
            .collect();
        if let Some(space) = health.space.filter(|it| it.free < self.inner.options.disk_free_min) {
            let reason = low_space(space, self.inner.options.disk_free_min);
            health.warnings.push(Problem { code: "disk", since: None, reason });
        }
        if let Some((at, event)) = *vitals.clock.lock()
            && now.since(at) < CLOCK_SHOWN
        {
            let (code, since, reason) = ("clock", Some(at), event.to_string());
            health.warnings.push(Problem { code, reason, since });
        }
        for (receiver, broken) in self.broken_receivers() {
            let (code, since) = ("receiver", Some(broken.since));
            let reason = format!("{receiver} takes no notifications: {}", broken.reason);
            health.warnings.push(Problem { code, reason, since });
        }
        for (receiver, (since, reason)) in self.unheard_answers() {
            let reason = format!("answers to messages of {receiver} are not heard: {reason}");
            health.warnings.push(Problem { code: "answers", reason, since: Some(since) });
        }
        health.warnings.extend(self.trace_warnings());
        health.warnings.extend(vitals.secrets.read().iter().cloned());
        if !health.rejected.is_empty() {
            let files: Vec<&str> = health.rejected.keys().map(|file| &**file).collect();
            let reason = format!("files were refused, see rejectedFiles: {}", files.join(", "));
            health.warnings.push(Problem { code: "files", since: None, reason });
        }
    }

    /// Files that are refused now, with the reasons, of those that `reader` reads; what it said
    /// before is forgotten.
    pub fn set_rejected_files(&self, reader: &'static str, files: BTreeMap<Arc<str>, String>) {
        self.inner.vitals.rejected.write().insert(reader, files);
    }

    /// What is wrong now with reading secrets that are kept elsewhere; what was said before is forgotten.
    pub fn set_secret_troubles(&self, troubles: Vec<(String, Timestamp)>) {
        let problem = |(reason, since)| Problem { code: "secrets", reason, since: Some(since) };
        *self.inner.vitals.secrets.write() = troubles.into_iter().map(problem).collect();
    }

    /// Tells how the dead man's switch took the last call.
    pub fn set_dead_man(&self, dead_man: DeadMan) {
        *self.inner.vitals.dead_man.lock() = Some(dead_man);
    }

    /// Figures about monitors and schedules, from memory.
    pub fn figures(&self) -> Figures {
        self.inner.vitals.board.figures()
    }

    /// Heartbeats that were not called in time and do not ring yet, the latest first; from memory.
    pub fn late_heartbeats(&self) -> Vec<LateHeartbeat> {
        self.inner.vitals.board.late(self.now())
    }

    /// Writes that failed because the store is unavailable, since start.
    pub fn write_failures(&self) -> u64 {
        self.inner.vitals.write_failures.load(Ordering::Relaxed)
    }

    /// Events of the clock by kind, since start.
    pub fn clock_events(&self) -> BTreeMap<&'static str, u64> {
        let mut events: BTreeMap<&'static str, u64> =
            ["forward", "back", "stalled"].map(|kind| (kind, 0)).into();
        events.extend(self.inner.vitals.clock_events.lock().clone());
        events
    }
}

/// What there is to say of a disk that is nearly full.
pub(crate) fn low_space(space: Space, free_min: u64) -> String {
    let mib = |bytes: u64| bytes >> 20;
    format!(
        "{} MiB of {} MiB are free where the store is, less than disk_free_min ({} MiB)",
        mib(space.free),
        mib(space.size),
        mib(free_min)
    )
}
