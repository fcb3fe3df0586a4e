//! A schedule's state and how each fact changes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::due::{Calendar, Planned};
use super::event::{Cause, Event, Fired, Order};
use super::expect::{Expectation, Watch, Watched};
use super::ledger;
use super::spec::ScheduleSpec;
use crate::graph::{Instead, Status};
use crate::id::ExecutionId;
use crate::json::Json;
use crate::time::Timestamp;

/// Runs of the past that may be begun, or followed to their end, at once: few enough to leave room
/// under [`Limits::open_max`](super::Limits::open_max) for what comes due meanwhile.
const BACKFILL_OPEN_MAX: usize = 500;

/// A schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Names it.
    pub id: ExecutionId,
    /// What it obeys; `None` before it is defined and after it is deleted.
    pub spec: Option<Box<ScheduleSpec>>,
    /// It fires no more for now.
    pub paused: bool,
    /// Why.
    pub paused_reason: Option<Arc<str>>,
    /// When it was first defined.
    pub created_at: Timestamp,
    /// When it was last defined, paused or resumed.
    pub updated_at: Timestamp,
    /// The instant of the last fact.
    pub now: Timestamp,
    /// What came due up to here is decided.
    pub cursor: Timestamp,
    /// The clock was set back: instants up to here had come before. They fire once more when they
    /// come, but what is late is not made up for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats_until: Option<Timestamp>,
    /// Numbers given so far.
    pub last_number: u32,
    /// Firings whose fate is not known yet, or that are followed to their end.
    pub open: BTreeMap<u32, Firing>,
    /// The firing that waits for the end of the one before.
    pub buffered: Option<Firing>,
    /// A stretch of the past that is being run.
    pub backfill: Option<Backfill>,
    /// What is known of runs that are held against what the schedule expects.
    #[serde(default, skip_serializing_if = "Watched::is_empty")]
    pub watched: Watched,
}

/// A firing of which more is to be heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Firing {
    /// Its number, from 1.
    pub number: u32,
    /// When it came due.
    pub planned: Timestamp,
    /// When its start was asked for.
    pub asked_at: Timestamp,
    /// What caused it.
    pub cause: Cause,
    /// The cron expression that named the instant.
    pub cron: Option<Arc<str>>,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// Who asked for it.
    pub by: Option<Arc<str>>,
    /// What is started, as the schedule said then.
    pub request: Json,
    /// It exists.
    pub started: bool,
    /// What exists in place of the execution that was asked for, under an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<Instead>,
    /// Its end is waited for.
    pub followed: bool,
    /// It was told to end, to make room.
    pub stopped: bool,
    /// How it is held against what the schedule expects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
}

/// A stretch of the past that is being run.
///
/// What lies after `cursor` and up to `to` is still to be run: whichever instants come first, the
/// stretch becomes shorter by each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// What lies up to here is done.
    pub cursor: Timestamp,
    /// Up to and including this.
    pub to: Timestamp,
    /// How many of its runs may be under way together; absent = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_once: Option<u32>,
    /// Who asked.
    pub by: Option<Arc<str>>,
    /// Which instants come first.
    #[serde(default)]
    pub order: Order,
    /// Instants that are left out, sorted.
    #[serde(default, skip_serializing_if = "none_left_out")]
    pub except: Arc<[Timestamp]>,
}

fn none_left_out(except: &[Timestamp]) -> bool {
    except.is_empty()
}

impl Backfill {
    /// Whether an instant is left out.
    pub(super) fn leaves_out(&self, at: Timestamp) -> bool {
        self.except.binary_search(&at).is_ok()
    }
}

impl Schedule {
    /// A schedule that has not been defined yet.
    pub fn new(id: ExecutionId) -> Self {
        let epoch = Timestamp::default();
        Self {
            id,
            spec: None,
            paused: false,
            paused_reason: None,
            created_at: epoch,
            updated_at: epoch,
            now: epoch,
            cursor: epoch,
            repeats_until: None,
            last_number: 0,
            open: BTreeMap::new(),
            buffered: None,
            backfill: None,
            watched: Watched::default(),
        }
    }

    /// Whether it obeys something: it was defined and not deleted.
    pub fn is_defined(&self) -> bool {
        self.spec.is_some()
    }

    /// Whether it was ever defined.
    pub fn has_begun(&self) -> bool {
        self.created_at != Timestamp::default()
    }

    /// Where it stands, in the words of executions.
    pub fn status(&self) -> Status {
        match (&self.spec, self.paused) {
            (None, _) => Status::Terminated,
            (Some(_), true) => Status::Paused,
            (Some(_), false) => Status::Running,
        }
    }

    /// The id of a firing: its line in the ledger, and `_executionId` of what it starts.
    pub fn firing_id(&self, number: u32) -> ExecutionId {
        self.id.derive(&format!("firing/{}", self.created_at.millis()), number)
    }

    /// The id under which a firing asks for its execution.
    pub fn run_id(&self, number: u32) -> ExecutionId {
        self.id.derive(&format!("run/{}", self.created_at.millis()), number)
    }

    /// The id of the execution that a firing has, as far as that is known.
    pub(super) fn run_of(&self, firing: &Firing) -> ExecutionId {
        let instead = firing.instead.as_ref().map(|instead| instead.id.clone());
        instead.unwrap_or_else(|| self.run_id(firing.number))
    }

    /// The next instants after `after`, as it stands; none while it is paused.
    pub fn upcoming(&self, after: Timestamp, count_max: usize) -> Vec<Planned> {
        match &self.spec {
            Some(spec) if !self.paused => {
                let after = after.max(self.cursor);
                Calendar::of(spec).between(after, Timestamp::MAX, count_max)
            }
            _ => Vec::new(),
        }
    }

    /// Everything as one fact that stands for all before it.
    pub fn snapshot(&self) -> Event {
        Event::Snapshot(Box::new(self.clone()))
    }

    /// When time alone may change something.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let spec = self.spec.as_ref()?;
        if self.backfill_room() > 0 {
            return Some(self.now);
        }
        let told = self.deadlines().into_iter().map(|(at, ..)| at).min();
        if self.paused {
            return told;
        }
        let next = Calendar::of(spec).next(self.cursor).map(|planned| planned.at);
        next.into_iter().chain(told).min()
    }

    /// Whether a firing other than those told to end has not ended, as far as is known.
    pub(super) fn is_busy(&self) -> bool {
        self.in_the_way().next().is_some()
    }

    /// The firings that the overlap policy minds: not those told to end, nor those of the past.
    pub(super) fn in_the_way(&self) -> impl Iterator<Item = &Firing> {
        self.open.values().filter(|firing| !firing.stopped && firing.cause != Cause::Backfill)
    }

    /// How many runs of the past may begin now.
    pub(super) fn backfill_room(&self) -> usize {
        match &self.backfill {
            None => 0,
            Some(Backfill { at_once, .. }) => {
                let open = self.open.values().filter(|firing| firing.cause == Cause::Backfill);
                let most = at_once.map_or(BACKFILL_OPEN_MAX, |most| most as usize);
                // What is open anyway leaves less room: no instant is to meet `open_max`.
                let room = BACKFILL_OPEN_MAX.saturating_sub(self.open.len());
                most.saturating_sub(open.count()).min(room)
            }
        }
    }

    /// The instants that it names from one to another, both included, at most so many.
    pub fn instants(&self, from: Timestamp, to: Timestamp, most: usize) -> Vec<Timestamp> {
        let Some(spec) = self.spec.as_deref() else { return Vec::new() };
        let planned = Calendar::of(spec).between(from.plus_millis(-1), to, most);
        planned.into_iter().map(|planned| planned.at).collect()
    }

    /// Folds one fact.
    ///
    /// # Panics
    /// If the fact contradicts the state, see `check`; the state is to be thrown away.
    pub fn apply(&mut self, event: &Event) {
        self.check(event);
        match event {
            Event::At(now) => self.now = *now,
            Event::Snapshot(state) => self.clone_from(state),
            Event::Defined { spec, anew } => self.define(spec, *anew),
            Event::Paused { reason } => {
                self.paused = true;
                self.paused_reason.clone_from(reason);
                self.updated_at = self.now;
            }
            Event::Resumed => {
                self.paused = false;
                self.paused_reason = None;
                self.cursor = self.cursor.max(self.now);
                self.updated_at = self.now;
            }
            Event::Fired(fired) => {
                self.passed(fired.cause, fired.planned);
                let firing = self.firing(fired);
                self.open.insert(fired.number, firing);
            }
            Event::Buffered(fired) => {
                self.passed(fired.cause, fired.planned);
                self.buffered = Some(self.firing(fired));
            }
            Event::Released { number } => {
                if let Some(mut firing) = self.buffered.take() {
                    firing.asked_at = self.now;
                    firing.request = ledger::stamped(self, &firing);
                    self.open.insert(*number, firing);
                }
            }
            Event::Missed { number, last } => {
                self.last_number = self.last_number.max(*number);
                self.cursor = self.cursor.max(*last);
            }
            Event::Skipped { number, planned, cause } => {
                self.last_number = self.last_number.max(*number);
                self.passed(*cause, *planned);
            }
            Event::Started { number, instead } => {
                let now = self.now;
                if let Some(firing) = self.open.get_mut(number) {
                    firing.started = true;
                    if let Some(watch) = &mut firing.watch {
                        watch.started_at = Some(now);
                    }
                    firing.instead.clone_from(instead);
                    if !firing.followed {
                        self.open.remove(number);
                    }
                }
            }
            Event::Stopped { number } => {
                if let Some(firing) = self.open.get_mut(number) {
                    firing.stopped = true;
                }
            }
            Event::Refused { number } => {
                self.open.remove(number);
            }
            Event::Ended { number, done, took } => {
                self.open.remove(number);
                if let Some(took) = took {
                    self.watched.add(*took);
                }
                if *done {
                    self.watched.done(*number);
                }
            }
            Event::Unmet { number, what } => self.unmet(*number, *what),
            Event::Met { what } => {
                self.watched.unmet.remove(what);
            }
            Event::Undone { number, by } => self.watched.undo(*number, *by),
            Event::Recovered { number } => self.watched.done(*number),
            Event::BackfillBegun { from, to, at_once, by, order, except } => {
                self.backfill = Some(Backfill {
                    cursor: from.plus_millis(-1),
                    to: *to,
                    at_once: *at_once,
                    by: by.clone(),
                    order: *order,
                    except: except.as_slice().into(),
                });
            }
            Event::BackfillDone => self.backfill = None,
            Event::ClockSetBack { cursor } => {
                self.repeats_until = self.repeats_until.max(Some(self.cursor));
                self.cursor = *cursor;
            }
            Event::Deleted => {
                self.spec = None;
                self.backfill = None;
                self.buffered = None;
                self.watched = Watched::default();
            }
        }
    }

    fn unmet(&mut self, number: u32, what: Expectation) {
        let told = self.watched.unmet.entry(what).or_insert(number);
        *told = number.max(*told);
        if what == Expectation::Overdue {
            self.watched.done(number);
        }
        let buffered = self.buffered.as_mut().filter(|firing| firing.number == number);
        let firing = self.open.get_mut(&number).or(buffered);
        if let Some(watch) = firing.and_then(|firing| firing.watch.as_mut())
            && !watch.unmet.contains(&what)
        {
            watch.unmet.push(what);
        }
    }

    fn define(&mut self, spec: &ScheduleSpec, anew: bool) {
        if !self.has_begun() {
            self.created_at = self.now;
        }
        if self.spec.is_none() {
            (self.paused, self.paused_reason) = (false, None);
        }
        if anew {
            self.cursor = self.now;
            self.repeats_until = None;
        }
        if let Some(paused) = spec.paused {
            if self.paused && !paused {
                self.cursor = self.cursor.max(self.now);
            }
            self.paused = paused;
            self.paused_reason = if paused { spec.paused_reason.clone() } else { None };
        }
        self.updated_at = self.now;
        self.spec = Some(Box::new(spec.clone()));
    }

    /// What caused a firing goes on behind it.
    fn passed(&mut self, cause: Cause, planned: Timestamp) {
        match (cause, &mut self.backfill) {
            (Cause::Due, _) => self.cursor = self.cursor.max(planned),
            (Cause::Backfill, Some(backfill)) => match backfill.order {
                Order::Oldest => backfill.cursor = planned,
                Order::Newest => backfill.to = planned.plus_millis(-1),
            },
            (Cause::Trigger | Cause::Backfill, _) => {}
        }
    }

    fn firing(&mut self, fired: &Fired) -> Firing {
        self.last_number = self.last_number.max(fired.number);
        let mut firing = Firing {
            number: fired.number,
            planned: fired.planned,
            asked_at: self.now,
            cause: fired.cause,
            cron: fired.cron.clone(),
            zone: fired.zone.clone(),
            by: fired.by.clone(),
            request: self
                .spec
                .as_ref()
                .map_or_else(Json::empty_object, |spec| spec.start_workflow_request.clone()),
            started: false,
            instead: None,
            followed: fired.followed,
            stopped: false,
            watch: fired.watched.then(|| Watch { done_by: fired.done_by, ..Watch::default() }),
        };
        firing.request = ledger::stamped(self, &firing);
        firing
    }
}
