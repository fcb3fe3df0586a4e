//! Figures about monitors and schedules, kept as commits go by: what metrics and health show without
//! asking the store.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kernel::alert::definition::{Kind, Severity};
use kernel::alert::{DeliveryStatus, Monitor, NotificationEvent, State};
use kernel::schedule::Schedule;
use kernel::{ExecutionId, Record, Timestamp};
use parking_lot::Mutex;

use crate::head;

/// Schedules whose runs are shown one by one; further ones are left out, so that the number of time
/// series stays bounded.
pub const SCHEDULES_MAX: usize = 500;
/// Receivers that are counted one by one; deliveries to further ones count as those to `other`.
pub const RECEIVERS_MAX: usize = 200;

/// Notifications by receiver and outcome.
type Deliveries = BTreeMap<(Arc<str>, Arc<str>), u64>;

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct Board {
    monitors: Mutex<AllWatched>,
    schedules: Mutex<BTreeMap<Arc<str>, Runs>>,
    deliveries: Mutex<Deliveries>,
    firings: Mutex<BTreeMap<Arc<str>, u64>>,
    checks_missed: AtomicU64,
}

/// All monitors, and what they come to together: figures do not walk through them.
#[derive(Debug, Default)]
struct AllWatched {
    each: HashMap<ExecutionId, Watched>,
    /// Those with deliveries that are not accepted yet.
    owing: HashSet<ExecutionId>,
    /// Monitors by where they stand.
    standing: BTreeMap<&'static str, u64>,
    /// Open incidents by severity.
    open: BTreeMap<&'static str, u64>,
}

/// What a monitor is to the board.
#[derive(Debug)]
struct Watched {
    name: Arc<str>,
    standing: &'static str,
    /// Open incidents by severity.
    open: BTreeMap<&'static str, u64>,
    next_at: Option<Timestamp>,
    /// When the call of a heartbeat is due, and from when on it counts as missing.
    expected: Option<(Timestamp, Timestamp)>,
    /// Since when the call of a heartbeat has been missing that does not ring yet.
    missing_since: Option<Timestamp>,
    /// Deliveries that are not accepted yet: to whom, and since when.
    waits: Vec<(Arc<str>, Timestamp)>,
}

/// A heartbeat that was not called in time and does not ring yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateHeartbeat {
    /// The monitor.
    pub name: Arc<str>,
    /// When its call was due.
    pub due: Timestamp,
    /// When it counts as missing; absent if it does already, and more of that has to come before it rings.
    pub missing_from: Option<Timestamp>,
}

/// When a schedule ran last and runs next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// The last instant that was fired.
    pub last: Option<Timestamp>,
    /// The next one; absent = paused, or never.
    pub next: Option<Timestamp>,
}

/// Figures for metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Monitors by where they stand.
    pub monitors: BTreeMap<&'static str, u64>,
    /// Open incidents by severity.
    pub incidents: BTreeMap<&'static str, u64>,
    /// Checks that were due and did not run, since start.
    pub checks_missed: u64,
    /// Deliveries by receiver and outcome, since start.
    pub deliveries: BTreeMap<(Arc<str>, Arc<str>), u64>,
    /// Firings of schedules by outcome, since start.
    pub firings: BTreeMap<Arc<str>, u64>,
    /// Schedules by name.
    pub schedules: BTreeMap<Arc<str>, Runs>,
}

impl AllWatched {
    /// Puts a monitor in the place of what was known of it; `None` removes it.
    fn set(&mut self, id: &ExecutionId, watched: Option<Watched>) {
        if let Some(watched) = &watched {
            *self.standing.entry(watched.standing).or_default() += 1;
            for (severity, count) in &watched.open {
                *self.open.entry(severity).or_default() += count;
            }
        }
        if watched.as_ref().is_some_and(|it| !it.waits.is_empty()) {
            self.owing.insert(id.clone());
        } else {
            self.owing.remove(id);
        }
        let before = match watched {
            Some(watched) => self.each.insert(id.clone(), watched),
            None => self.each.remove(id),
        };
        let Some(before) = before else { return };
        *self.standing.entry(before.standing).or_default() -= 1;
        for (severity, count) in before.open {
            *self.open.entry(severity).or_default() -= count;
        }
    }
}

impl Board {
    /// Notes how a monitor stands, after it was loaded or has changed.
    pub(crate) fn note_monitor(&self, monitor: &Monitor) {
        if monitor.spec.is_none() || monitor.removed {
            return self.monitors.lock().set(&monitor.id, None);
        }
        let mut open = BTreeMap::new();
        for incident in monitor.incidents.values().filter(|it| it.state.is_open()) {
            *open.entry(incident.severity.as_str()).or_default() += 1;
        }
        let waits = monitor.deliveries.values().filter(|delivery| {
            delivery.status == DeliveryStatus::Queued && delivery.event != NotificationEvent::Test
        });
        let waits = waits.map(|delivery| (delivery.receiver.clone(), delivery.at)).collect();
        let is_heartbeat =
            monitor.spec.as_ref().is_some_and(|it| it.monitor.kind == Kind::Heartbeat);
        let pending = monitor.incidents.values().filter(|it| it.state == State::Pending);
        let pending = pending.map(|it| it.since).min();
        let watched = Watched {
            name: monitor.name().into(),
            standing: head::monitor_status(monitor),
            open,
            next_at: monitor.next_at,
            expected: monitor.beat.expected.filter(|_| is_heartbeat),
            missing_since: pending.filter(|_| is_heartbeat),
            waits,
        };
        self.monitors.lock().set(&monitor.id, Some(watched));
    }

    /// As [`Board::note_monitor`], of a schedule.
    pub(crate) fn note_schedule(&self, schedule: &Schedule) {
        let name = schedule.id.name();
        let mut schedules = self.schedules.lock();
        if !schedule.is_defined() {
            schedules.remove(name);
        } else if schedules.len() < SCHEDULES_MAX || schedules.contains_key(name) {
            let runs = schedules.entry(name.into()).or_default();
            // A backfill wakes it at once; that is no run of its own.
            runs.next = schedule.upcoming(schedule.now, 1).first().map(|planned| planned.at);
        }
    }

    /// Counts what a commit wrote into ledgers.
    pub(crate) fn count(&self, records: &[Record]) {
        for record in records {
            match record.ledger {
                "delivery" if &*record.status != "queued" => self.count_delivery(record),
                "firing" if &*record.status != "POLLED" => self.count_firing(record),
                "check" if &*record.status == "MISSED" => {
                    let count =
                        record.body.parse().get("count").and_then(serde_json::Value::as_u64);
                    self.checks_missed.fetch_add(count.unwrap_or(1), Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }

    fn count_delivery(&self, record: &Record) {
        let body = record.body.parse();
        let receiver = body.get("receiver").and_then(serde_json::Value::as_str).unwrap_or("none");
        let mut deliveries = self.deliveries.lock();
        let full = deliveries.len() >= RECEIVERS_MAX * 4;
        let key = (Arc::from(receiver), record.status.clone());
        let key = if full && !deliveries.contains_key(&key) {
            ("other".into(), record.status.clone())
        } else {
            key
        };
        *deliveries.entry(key).or_default() += 1;
    }

    fn count_firing(&self, record: &Record) {
        let body = record.body.parse();
        let count = body.get("count").and_then(serde_json::Value::as_u64).unwrap_or(1);
        *self.firings.lock().entry(record.status.clone()).or_default() += count;
        if &*record.status == "EXECUTED" {
            self.ran(&record.subject, record.at);
        }
    }

    /// A schedule was fired at an instant.
    pub(crate) fn ran(&self, schedule: &str, at: Timestamp) {
        if let Some(runs) = self.schedules.lock().get_mut(schedule) {
            runs.last = runs.last.max(Some(at));
        }
    }

    /// The check that is overdue the longest: the monitor, and when it was due.
    pub(crate) fn overdue(&self, now: Timestamp) -> Option<(Arc<str>, Timestamp)> {
        let monitors = self.monitors.lock();
        let due = monitors.each.values().filter_map(|it| Some((it.next_at?, &it.name)));
        due.min().filter(|(at, _)| *at < now).map(|(at, name)| (name.clone(), at))
    }

    /// Heartbeats that were not called in time and do not ring yet, the latest first.
    pub(crate) fn late(&self, now: Timestamp) -> Vec<LateHeartbeat> {
        let monitors = self.monitors.lock();
        let late = monitors.each.values().filter_map(|it| {
            if it.open.values().any(|count| *count > 0) {
                return None;
            }
            let in_grace = it.expected.filter(|(due, _)| *due < now);
            let (due, missing_from) = match (it.missing_since, in_grace) {
                (Some(since), _) => (since, None),
                (None, Some((due, deadline))) => (due, Some(deadline)),
                (None, None) => return None,
            };
            Some(LateHeartbeat { name: it.name.clone(), due, missing_from })
        });
        let mut late: Vec<LateHeartbeat> = late.collect();
        late.sort_by(|one, other| (one.due, &one.name).cmp(&(other.due, &other.name)));
        late
    }

    /// The delivery that has waited the longest, of those to receivers that `counts` names: to whom,
    /// and since when.
    pub(crate) fn waits(&self, counts: impl Fn(&str) -> bool) -> Option<(Arc<str>, Timestamp)> {
        let monitors = self.monitors.lock();
        let owing = monitors.owing.iter().filter_map(|id| monitors.each.get(id));
        let waits = owing.flat_map(|it| &it.waits);
        waits.filter(|(receiver, _)| counts(receiver)).min_by_key(|(_, since)| *since).cloned()
    }

    /// Everything, for metrics.
    pub(crate) fn figures(&self) -> Figures {
        // Those without any are told too: a series that is missing rings nobody.
        let mut monitors: BTreeMap<&'static str, u64> =
            ["NEW", "UP", "PENDING", "DOWN", "UNKNOWN"].map(|standing| (standing, 0)).into();
        let severities = [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];
        let mut incidents: BTreeMap<&'static str, u64> =
            severities.map(|severity| (severity.as_str(), 0)).into();
        {
            let watched = self.monitors.lock();
            monitors.extend(&watched.standing);
            incidents.extend(&watched.open);
        }
        Figures {
            monitors,
            incidents,
            checks_missed: self.checks_missed.load(Ordering::Relaxed),
            deliveries: self.deliveries.lock().clone(),
            firings: self.firings.lock().clone(),
            schedules: self.schedules.lock().clone(),
        }
    }
}
