//! Looks again and again whether the server can still do its work: whether the clock was set, whether
//! the store takes writes, whether checks that were due have run, whether the disk is filling up.

use std::sync::Arc;
use std::time::Duration;

use kernel::alert::{Observation, Status};
use kernel::{ExecutionId, Json, MachineKind, Record};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock::{ClockEvent, ClockWatch};
use crate::engine::{Engine, Error};
use crate::health::low_space;
use crate::machine::AnyInput;
use crate::monitors::{OWN_MONITOR, TELL_AGAIN};
use crate::search::{Counting, Filter, PAGE_MAX, RecordSearch, Search, TimeField};
use crate::store::{Document, StoreError};

/// Pause between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How far the wall clock may go apart from the other between two looks.
pub(crate) const UNNOTICED: Duration = Duration::from_secs(2);
/// Pause between two looks at the store.
const LOOK_AT_STORE: Duration = Duration::from_secs(5);
/// Without a write for so long, one is made to see whether it can be.
const PROBE_AFTER: Duration = Duration::from_secs(20);
/// How long such a write may take.
const PROBE_MAX: Duration = Duration::from_secs(10);
/// Documents of which the only one says when the store was last tried.
const PROBE: &str = "heartbeat";
/// Machines that are woken at the same time.
const AT_ONCE: usize = 64;
/// The key of the incident about a disk that is filling up.
const DISK_KEY: &str = "disk";

impl Engine {
    pub(crate) fn run_watchdog(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let clock = engine.inner.clock.clone();
            let mut watch = ClockWatch::new(&*clock, UNNOTICED);
            while engine.pauses(LOOK).await {
                if let Some(event) = watch.look(&*clock) {
                    engine.clock_changed(event);
                }
                engine.listening_since();
                engine.inner.vitals.look_for_overdue(engine.now());
            }
        });
        // Each by itself: a store that hangs keeps up neither the look at the clock nor the next try.
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let mut tried = Instant::now();
            while engine.pauses(LOOK_AT_STORE).await {
                let idle = engine.inner.vitals.unsynced_for().min(tried.elapsed());
                if engine.inner.vitals.is_failing() || idle >= PROBE_AFTER {
                    tried = Instant::now();
                    engine.probe_store().await;
                }
            }
        });
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let mut scarce = None;
            while engine.pauses(LOOK_AT_STORE).await {
                engine.inner.vitals.set_space(engine.inner.store.space(), engine.now());
                if !engine.inner.vitals.is_failing() {
                    engine.watch_space(&mut scarce).await;
                }
            }
        });
    }

    /// Waits for so long; `false` once the engine stops.
    pub(crate) async fn pauses(&self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.inner.stop.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    /// Writes something, only to see whether it can be written.
    async fn probe_store(&self) {
        let document = Document {
            kind: PROBE.into(),
            name: "store".into(),
            version: 0,
            text: json!({ "at": self.now().millis() }).to_string().into(),
        };
        let write = self.inner.store.put_document(document);
        let written = tokio::time::timeout(PROBE_MAX, write).await.unwrap_or_else(|_| {
            let seconds = PROBE_MAX.as_secs();
            Err(StoreError::Unavailable(format!("a write took longer than {seconds} s")))
        });
        match written {
            Ok(()) => self.inner.vitals.wrote(),
            Err(error) => self.inner.vitals.write_failed(&error, self.now()),
        }
    }

    /// Opens an incident before the disk is full, while it can still be written and told.
    async fn watch_space(&self, scarce: &mut Option<bool>) {
        let Some(space) = self.inner.vitals.space() else { return };
        let bound = self.inner.options.disk_free_min;
        let is_scarce = space.free < bound;
        if *scarce == Some(is_scarce) {
            return;
        }
        if scarce.is_none() && !is_scarce {
            // Perhaps it was told before a restart.
            let told = |monitor: &kernel::alert::Monitor| monitor.incidents.contains_key(DISK_KEY);
            match self.monitor(OWN_MONITOR, told).await {
                Ok(Some(true)) => {}
                Ok(_) => return *scarce = Some(false),
                Err(_) => return,
            }
        }
        let observation = if is_scarce {
            tracing::warn!("{}", low_space(space, bound));
            Observation::of(Status::Warn, low_space(space, bound))
        } else {
            Observation::of(Status::Ok, "there is room again where the store is")
        };
        let observation = Observation { key: DISK_KEY.into(), ..observation };
        match self.observe_own(observation).await {
            Ok(()) => *scarce = Some(is_scarce),
            Err(error) => {
                tracing::warn!(%error, "incident about low disk space could not be updated");
            }
        }
    }

    /// Makes everything that follows the clock look at it again.
    fn clock_changed(&self, event: ClockEvent) {
        let now = self.now();
        tracing::warn!(%now, "{event}");
        self.inner.vitals.clock_changed(event, now);
        let back = matches!(event, ClockEvent::SetBack(_));
        self.inner.waker.clock_changed(back.then_some(now));
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            if back {
                engine.wake_set_back().await;
            }
            let line = Record {
                ledger: "check",
                key: format!("{OWN_MONITOR}/clock/{}", now.millis()).into(),
                subject: OWN_MONITOR.into(),
                at: now,
                status: "CLOCK".into(),
                body: Json::of(&json!({ "event": event.as_str(), "reason": event.to_string() })),
            };
            if let Err(error) = engine.inner.store.put_records(vec![line]).await {
                tracing::warn!(%error, "change of the system clock could not be recorded");
            }
            if let Err(error) = engine.refill_waker().await {
                tracing::warn!(%error, "timers could not be fetched");
            }
        });
    }

    /// Wakes every machine whose last fact lies in the future: the clock was set back since, and its
    /// timers lie too far ahead.
    pub(crate) async fn wake_set_back(&self) {
        let kinds = [MachineKind::Monitor, MachineKind::Schedule, MachineKind::Execution];
        let mut ids = Vec::new();
        for kind in kinds {
            match self.changed_after_now(kind).await {
                Ok(found) => ids.extend(found),
                Err(error) => {
                    tracing::warn!(%error, "timers could not be adjusted to the new clock");
                }
            }
        }
        let mut under_way = JoinSet::new();
        for id in ids {
            if under_way.len() >= AT_ONCE {
                under_way.join_next().await;
            }
            let engine = self.clone();
            under_way.spawn(async move {
                // One that has ended meanwhile, or waits for nothing, refuses.
                if let Err(error) = engine.step(&id, AnyInput::Wake).await
                    && !matches!(error, Error::Rejected(_))
                {
                    tracing::warn!(%id, %error, "timers could not be adjusted to the new clock yet; retrying");
                    engine.inner.waker.set(&id, Some(engine.now().plus_millis(WAKE_AGAIN)));
                }
            });
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn changed_after_now(
        &self,
        machine: MachineKind,
    ) -> Result<Vec<ExecutionId>, StoreError> {
        let now = self.now();
        let mut ids: Vec<ExecutionId> = Vec::new();
        loop {
            let search = Search {
                machine,
                filters: vec![Filter::Closed(false), Filter::After(TimeField::Updated, now)],
                start: ids.len() as u64,
                size: PAGE_MAX,
                counting: Counting::Next,
                ..Search::default()
            };
            let page = self.inner.store.search(&search).await?;
            let last = page.rows.is_empty();
            ids.extend(page.rows.into_iter().map(|head| head.id));
            if last || ids.len() as u64 >= page.total {
                return Ok(ids);
            }
        }
    }

    /// Fills the board with schedules; monitors are looked at when their files are applied.
    pub(crate) async fn open_board(&self) -> Result<(), StoreError> {
        let search = Search {
            machine: MachineKind::Schedule,
            filters: vec![Filter::Closed(false)],
            size: crate::board::SCHEDULES_MAX as u64,
            ..Search::default()
        };
        for head in self.inner.store.search(&search).await?.rows {
            // Whatever is loaded is noted.
            drop(self.look(&head.id, |_| ()).await);
        }
        let newest = RecordSearch { size: PAGE_MAX, ..RecordSearch::newest("firing") };
        for record in self.inner.store.records(&newest).await?.rows {
            if &*record.status == "EXECUTED" {
                self.inner.vitals.board.ran(&record.subject, record.at);
            }
        }
        Ok(())
    }

    /// Checks the monitors on which another depends, before that one tells anybody, and says so.
    pub(crate) fn ask_parents(&self, id: &ExecutionId, parents: Vec<Arc<str>>) {
        let (engine, id) = (self.clone(), id.clone());
        self.inner.tasks.spawn(async move {
            let mut under_way = JoinSet::new();
            for parent in parents {
                let (engine, child) = (engine.clone(), id.clone());
                under_way.spawn(async move { engine.check_parent(&parent, &child).await });
            }
            let all = async { while under_way.join_next().await.is_some() {} };
            let all = tokio::time::timeout(PARENTS_MAX, all);
            let have_answered = tokio::select! {
                biased;
                () = engine.inner.stop.cancelled() => return,
                // The machine waits no longer either.
                all = all => all.is_ok(),
            };
            if have_answered {
                let answer = kernel::alert::Input::ParentsChecked;
                // One that waits for its parents no longer refuses. Otherwise it goes on by its own
                // timer, later than it could have.
                if let Err(error) = engine.step(&id, answer).await
                    && !matches!(error, Error::Rejected(_))
                {
                    tracing::warn!(%id, %error, "notification still held back although the checks of the parents have ended");
                }
            }
        });
    }

    /// Lets a monitor be checked once from now on, and tells the one that asked how it is. Tried until
    /// whoever asked waits no longer: without an answer, a page would go out that nobody needs.
    async fn check_parent(&self, parent: &str, child: &ExecutionId) {
        let mut first = None;
        loop {
            let answered = match self.check_once_from(parent, child, &mut first).await {
                Ok(()) => self.answer_dependent(parent, child).await,
                Err(error) => Err(error),
            };
            match answered {
                Err(error) if error.is_transient() => {
                    tracing::debug!(monitor = %child, parent, %error, "parent monitor could not be checked yet; retrying");
                    if !self.pauses(TELL_AGAIN).await {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(monitor = %child, parent, %error, "parent monitor could not be checked before its dependent");
                    return;
                }
                Ok(()) => return,
            }
        }
    }

    /// Waits until a monitor has been checked that began no earlier than `first`, the number of the
    /// next check when this was asked for.
    async fn check_once_from(
        &self,
        parent: &str,
        child: &ExecutionId,
        first: &mut Option<u32>,
    ) -> Result<(), Error> {
        let id = ExecutionId::monitor(parent);
        let mut commits = self.watch(&id);
        loop {
            let look = |monitor: &kernel::alert::Monitor| {
                let ended =
                    [monitor.answered.back().copied(), monitor.failed.back().map(|it| it.0)];
                (monitor.next_sequence, monitor.check.is_some(), ended.into_iter().flatten().max())
            };
            let Some((next, running, ended)) = self.monitor(parent, look).await? else {
                return Ok(());
            };
            // One that began before the question may have seen how it was then.
            let first = *first.get_or_insert(next);
            if ended.is_some_and(|ended| ended >= first) {
                return Ok(());
            }
            if running {
                if commits.changed().await.is_err() {
                    return Err(Error::Closing);
                }
                continue;
            }
            let who = Some(format!("{} depends on it", child.name()).into());
            match self.step(&id, kernel::alert::Input::Check { who }).await {
                Err(Error::Rejected(_)) if !self.is_checking(parent).await? => {
                    // Another question came first, it waits to be called, was removed, or cannot be
                    // checked now.
                    return Ok(());
                }
                Ok(()) | Err(Error::Rejected(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Tells a monitor how another is on which it depends. Others that depend on it hear only of
    /// changes, and of those from the monitor itself: many may ask at the same time.
    async fn answer_dependent(&self, parent: &str, child: &ExecutionId) -> Result<(), Error> {
        // Whoever tells all dependents may have looked at it before, and must not have the last word.
        let _in_turn = self.inner.monitors.telling.read().await;
        let stands = |monitor: &kernel::alert::Monitor| (monitor.is_down(), monitor.is_failing());
        let Some((down, failing)) = self.monitor(parent, stands).await? else { return Ok(()) };
        let answer = kernel::alert::Input::Parent { monitor: parent.into(), down, failing };
        match self.step(child, answer).await {
            Err(Error::Rejected(_)) => Ok(()),
            result => result,
        }
    }

    async fn is_checking(&self, monitor: &str) -> Result<bool, Error> {
        let checking = self.monitor(monitor, |monitor| monitor.check.is_some()).await?;
        Ok(checking == Some(true))
    }
}

/// Milliseconds until a machine is woken again that could not be woken by the new clock.
const WAKE_AGAIN: i64 = 1000;
/// How long parents may take; a little less than a page waits for them.
const PARENTS_MAX: Duration = Duration::from_secs(29);
