//! The state of a monitor, how each fact changes it, and the one instant at which time matters.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::agenda::Agenda;
use super::definition::{Route, Severity, Silence, Spec};
use super::event::{Delivered, Event, Moved, Notified, Outcome, Seen, Window};
use super::heartbeat::Beat;
use super::incident::{Evidence, Incident, NotificationEvent, ReceiverState, State, Suppressed};
use super::observation::Status;
use super::parents::Asked;
use super::rollup::Rollups;
use super::route::{self, Subject};
use super::{fingerprint, is_own};
use crate::contradiction::CHECKED;
use crate::id::ExecutionId;
use crate::json::Json;
use crate::time::Timestamp;

/// Incidents of the past that are remembered.
const PAST_MAX: usize = 50;
/// Ended deliveries that a monitor remembers, and whose executions are kept …
pub const DELIVERIES_KEPT: usize = 100;
/// … for so many milliseconds, unless their incident is open still: 30 days.
pub const DELIVERIES_AGE: i64 = 30 * 24 * 3_600_000;
/// Characters of a reason that are kept.
pub(super) const REASON_MAX: usize = 1000;
/// Former definitions that a monitor remembers, and the bytes of each at most.
const DEFINITIONS_MAX: usize = 5;
const DEFINITION_BYTES_MAX: usize = 16 << 10;
/// Executions of checks that told how things are that are kept; older ones are forgotten unless an
/// incident speaks of them.
pub const CHECKS_KEPT: usize = 20;
/// Milliseconds for which executions of checks that could not tell are kept: a week.
pub const FAILED_CHECKS_AGE: i64 = 7 * 24 * 3_600_000;
/// How many of these are kept at most.
pub const FAILED_CHECKS_KEPT: usize = 100;

/// A monitor: what it obeys, its check, its incidents and what they owe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Monitor {
    /// `monitor:NAME`.
    pub id: ExecutionId,
    /// What it obeys; absent before it is defined.
    pub spec: Option<Arc<Spec>>,
    /// Nothing is watched any more.
    pub removed: bool,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was first defined.
    pub created_at: Timestamp,
    /// When the next check is due.
    pub next_at: Option<Timestamp>,
    /// The check that runs.
    pub check: Option<Check>,
    /// Until when everything has been looked at.
    pub watermark: Option<Timestamp>,
    /// Checks in a row that could not tell.
    pub errors: u32,
    /// Why the last one could not.
    pub error: Option<Arc<str>>,
    /// Checks that ended.
    pub check_count: u64,
    /// Checks that were due and did not run.
    pub missed_count: u64,
    /// The last check that told how things are.
    pub last_answer: Option<Evidence>,
    /// The one before it.
    pub answer_before: Option<Evidence>,
    /// The latest checks that told how things are and whose executions are kept, oldest first.
    #[serde(default)]
    pub answered: VecDeque<u32>,
    /// The latest checks that could not tell and whose executions are kept, with the instants of
    /// their ends, oldest first.
    #[serde(default)]
    pub failed: VecDeque<(u32, Timestamp)>,
    /// What the next check is given.
    pub memory: Option<Json>,
    /// What a heartbeat monitor knows of its job.
    pub beat: Beat,
    /// Monitors that this one needs and that are down.
    pub parents_down: Vec<Arc<str>>,
    /// Those of them that are not down yet, but failed their last check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents_failing: Vec<Arc<str>>,
    /// Whether they were asked how they are before a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// The silences that may concern it.
    pub silences: Vec<Silence>,
    /// Incidents by key, those resolved included until all have heard of it.
    pub incidents: BTreeMap<Arc<str>, Incident>,
    /// Incidents that are over, oldest first.
    pub past: VecDeque<Incident>,
    /// Deliveries under way, and some of those that ended.
    pub deliveries: BTreeMap<u32, Delivery>,
    /// What it obeyed before, oldest first: versions, and the monitor's definition.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub definitions: VecDeque<(Arc<str>, Json)>,
    /// The number of the next check or delivery.
    pub next_sequence: u32,
    /// The number of the next incident.
    pub next_number: u32,
    /// How checks ended in the stretches of time that are not over.
    #[serde(default, skip_serializing_if = "Rollups::is_empty")]
    pub rollups: Rollups,
    /// Which incidents are to be looked at, where there may be many.
    #[serde(skip)]
    pub(super) agenda: Agenda,
}

/// A check that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its number.
    pub sequence: u32,
    /// When it was started.
    pub started_at: Timestamp,
    /// The span that it covers.
    pub window: Window,
}

/// A delivery: one notification on its way to one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its number.
    pub sequence: u32,
    /// To whom.
    pub receiver: Arc<str>,
    /// What.
    pub event: NotificationEvent,
    /// About which incidents: keys, and their numbers.
    pub incidents: Vec<(Arc<str>, u32)>,
    /// The group, if they are told as one.
    pub group: Option<Arc<str>>,
    /// When it was started.
    pub at: Timestamp,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it did not arrive.
    pub reason: Option<Arc<str>>,
    /// What the provider calls it.
    pub reference: Option<Arc<str>>,
    /// The title under which it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Arc<str>>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Under way.
    Queued,
    /// The receiver took it.
    Sent,
    /// It was given up.
    Dead,
    /// It was given up, and somebody had it sent again since: another delivery tells it.
    Resent,
}

impl DeliveryStatus {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Dead => "dead",
            Self::Resent => "resent",
        }
    }
}

/// Keeps what was obeyed until now, so that people can be told what has changed.
fn remember(known: &mut VecDeque<(Arc<str>, Json)>, before: &Spec, after: &Spec) {
    let definition = Json::of(&before.monitor);
    if before.version == after.version || definition.len() > DEFINITION_BYTES_MAX {
        return;
    }
    known.retain(|(version, _)| *version != before.version);
    known.push_back((before.version.clone(), definition));
    while known.len() > DEFINITIONS_MAX {
        known.pop_front();
    }
}

impl Delivery {
    /// One that begins.
    pub(super) fn queued(
        notified: &Notified,
        incidents: Vec<(Arc<str>, u32)>,
        at: Timestamp,
    ) -> Self {
        Self {
            sequence: notified.sequence,
            receiver: notified.receiver.clone(),
            event: notified.event,
            incidents,
            group: notified.group.clone(),
            at,
            status: DeliveryStatus::Queued,
            ended_at: None,
            reason: None,
            reference: None,
            title: notified.title.clone(),
        }
    }
}

impl Monitor {
    /// A monitor of which nothing is known yet.
    pub fn new(id: ExecutionId) -> Self {
        Self {
            id,
            spec: None,
            removed: false,
            updated_at: Timestamp::default(),
            created_at: Timestamp::default(),
            next_at: None,
            check: None,
            watermark: None,
            errors: 0,
            error: None,
            check_count: 0,
            missed_count: 0,
            last_answer: None,
            answer_before: None,
            answered: VecDeque::new(),
            failed: VecDeque::new(),
            memory: None,
            beat: Beat::default(),
            parents_down: Vec::new(),
            parents_failing: Vec::new(),
            asked: None,
            silences: Vec::new(),
            incidents: BTreeMap::new(),
            past: VecDeque::new(),
            deliveries: BTreeMap::new(),
            definitions: VecDeque::new(),
            next_sequence: 1,
            next_number: 1,
            rollups: Rollups::default(),
            agenda: Agenda::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.id.name()
    }

    /// Everything so far in one fact, so that what came before may be forgotten.
    pub fn snapshot(&self) -> Event {
        Event::Snapshot(Box::new(self.clone()))
    }

    /// Whether it counts as down for monitors that need it: something of its own is open.
    pub fn is_down(&self) -> bool {
        !self.removed && self.incidents.iter().any(|(key, it)| !is_own(key) && it.state.is_open())
    }

    /// The incident of an id, a fingerprint or a key, those that are over included; the monitor's
    /// own name stands for the incident without a key.
    pub fn incident(&self, name: &str) -> Option<&Incident> {
        let past = || self.past.iter().rev().find(|incident| incident.is_named(name));
        let open = self.incidents.values().find(|incident| incident.is_named(name));
        let own = !name.is_empty() && name == self.name();
        open.or_else(past).or_else(|| if own { self.incident("") } else { None })
    }

    /// The execution of a check.
    pub fn check_execution(&self, sequence: u32) -> ExecutionId {
        self.id.derive("check", sequence)
    }

    /// The executions of checks that nobody needs once one more has ended so.
    pub(super) fn forgettable(&self, outcome: &Outcome, now: Timestamp) -> Vec<ExecutionId> {
        let full = self.answered.len() >= CHECKS_KEPT;
        let answered = matches!(outcome, Outcome::Answered { .. });
        let oldest = self.answered.front().copied().filter(|_| answered && full);
        let failed = self.failed.iter().take(self.outdated(now)).map(|(sequence, _)| *sequence);
        let executions = oldest.into_iter().chain(failed).map(|it| self.check_execution(it));
        executions.filter(|execution| !self.speaks_of(execution)).collect()
    }

    /// How many of the checks that could not tell are kept no longer once one more has ended.
    fn outdated(&self, now: Timestamp) -> usize {
        let old = self.failed.iter().take_while(|(_, at)| now.since(*at) >= FAILED_CHECKS_AGE);
        old.count().max((self.failed.len() + 1).saturating_sub(FAILED_CHECKS_KEPT))
    }

    /// Whether some incident has an execution as its evidence.
    fn speaks_of(&self, execution: &ExecutionId) -> bool {
        let speaks = |evidence: &Evidence| evidence.execution.as_ref() == Some(execution);
        self.incidents.values().chain(&self.past).any(|incident| {
            speaks(&incident.first_evidence)
                || speaks(&incident.evidence)
                || incident.previous_ok.as_ref().is_some_and(speaks)
        })
    }

    /// The execution of a delivery.
    pub fn delivery_execution(&self, sequence: u32) -> ExecutionId {
        self.id.derive("notify", sequence)
    }

    /// What an incident's route is: the first that fits, or the monitor's own receivers; none for
    /// what is not bad enough to tell.
    pub fn route_of(&self, incident: &Incident) -> Option<Route> {
        self.route_at(incident, self.updated_at)
    }

    /// The same at an instant. Hours of routes are those in which it was first to be told, so that
    /// its steps are those of one route.
    pub(super) fn route_at(&self, incident: &Incident, now: Timestamp) -> Option<Route> {
        let spec = self.spec.as_ref()?;
        if let Some(receiver) = self.broken_receiver(incident) {
            return self.route_around(receiver);
        }
        let at = incident.told_from.unwrap_or(now);
        let (_, route) = route::choose(&spec.monitor, &spec.routes, self.subject(incident), at)?;
        Some(route)
    }

    /// When the hours of a route begin for which an incident waits, as none takes it before.
    pub(super) fn hours_begin(&self, incident: &Incident) -> Option<Timestamp> {
        let climbs = matches!(incident.state, State::Open | State::Acknowledged);
        let waits = climbs && incident.told_from.is_none();
        let spec = self.spec.as_ref().filter(|_| waits)?;
        if self.broken_receiver(incident).is_some() {
            return None;
        }
        let subject = self.subject(incident);
        route::waits_until(&spec.monitor, &spec.routes, subject, self.updated_at)
    }

    /// What matchers see of an incident.
    pub(super) fn subject<'a>(&'a self, incident: &'a Incident) -> Subject<'a> {
        Subject {
            monitor: self.name(),
            key: &incident.key,
            severity: incident.worst,
            labels: &incident.labels,
        }
    }

    /// The group of an incident: the values of the labels that make groups.
    pub(super) fn group_of(&self, incident: &Incident, route: &Route) -> String {
        let labels = route.group_by.as_deref().unwrap_or_default();
        let values: Vec<&str> = labels.iter().map(|label| self.value_of(incident, label)).collect();
        values.join(", ")
    }

    /// What a matcher sees under a label's name.
    pub(super) fn value_of<'a>(&'a self, incident: &'a Incident, label: &str) -> &'a str {
        self.subject(incident).value_of(label)
    }

    /// Milliseconds after which a check that still runs is given up.
    pub(super) fn patience(&self) -> i64 {
        const MINUTE: i64 = 60_000;
        let Some(spec) = &self.spec else { return MINUTE };
        spec.monitor.timeout.unwrap_or_else(|| spec.monitor.usual_timeout())
    }

    /// The next instant at which time alone may change something.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let give_up = self.check.as_ref().map(|it| it.started_at.plus_millis(self.patience()));
        let planned = self.next_at.filter(|_| !self.removed);
        let beat = if self.removed { None } else { self.beat.wake_at(self.spec.as_deref()) };
        let incidents = self.incidents_wake_at();
        let asked = self.asked.and_then(|asked| asked.until);
        [give_up, planned, beat, asked].into_iter().flatten().chain(incidents).min()
    }

    /// When an acknowledgement counts no more, if there is one that ends so.
    pub(super) fn ack_expires_at(&self, incident: &Incident) -> Option<Timestamp> {
        let acknowledged = incident.acknowledged.as_ref().filter(|it| !it.until_clear)?;
        let after = self.route_of(incident)?.ack_expires?;
        (incident.state == State::Acknowledged).then(|| acknowledged.at.plus_millis(after))
    }

    pub(super) fn incident_wake_at(&self, incident: &Incident) -> Option<Timestamp> {
        let snoozed = incident.snoozed_until;
        let lease = incident.until.filter(|until| {
            *until < Timestamp::MAX && incident.state != State::Resolved && !self.removed
        });
        let expires = self.ack_expires_at(incident);
        let handover = incident.next_handover().filter(|_| !self.removed);
        if let Some(suppressed) = &incident.suppressed {
            let waits = [suppressed.until, snoozed, expires, lease, handover];
            return waits.into_iter().flatten().min();
        }
        let route = self.route_of(incident).unwrap_or_default();
        let from = incident.told_from.filter(|_| incident.state != State::Resolved);
        let step = from.and_then(|from| route.due(incident.steps as usize, from));
        let step = step.filter(|_| incident.state.is_open() && incident.state != State::Snoozed);
        let overdue = incident.told.iter().filter_map(|(receiver, told)| {
            self.overdue(incident, receiver, told, &route).map(|(_, at)| at)
        });
        // What was owed and is due no more (it got better again) is nothing to wake up for.
        let told = incident.told.iter().filter_map(|(receiver, told)| {
            let (event, at) = self.due(incident, receiver, told, route.remind)?;
            Some(match told.owed {
                Some((owed, since)) if owed == event => since.plus_millis(route.wait),
                _ => at,
            })
        });
        let rung = incident.next_rung();
        // While parents are asked, their answer is what it waits for.
        let is_asking = self.asked.is_some_and(|asked| asked.until.is_some());
        let hours = if is_asking { None } else { self.hours_begin(incident) };
        let waits = [snoozed, expires, lease, step, rung, hours, handover];
        waits.into_iter().flatten().chain(told).chain(overdue).min()
    }

    /// Folds one fact.
    ///
    /// # Panics
    /// If the fact contradicts the state, see `check`; the state is to be thrown away.
    pub fn apply(&mut self, event: &Event) {
        self.check(event);
        self.concern(event);
        let now = self.updated_at;
        match event {
            Event::At(at) => self.updated_at = *at,
            Event::Snapshot(monitor) => self.clone_from(monitor),
            Event::Defined(spec) => {
                match &self.spec {
                    None => self.created_at = now,
                    Some(before) => remember(&mut self.definitions, before, spec),
                }
                self.spec = Some(Arc::new((**spec).clone()));
                self.removed = false;
            }
            Event::Removed => (self.removed, self.next_at) = (true, None),
            Event::Planned(at) => self.next_at = *at,
            Event::Checking { sequence, window } => {
                self.next_sequence = sequence + 1;
                let check = Check { sequence: *sequence, started_at: now, window: *window };
                self.check = Some(check);
            }
            Event::Checked { sequence, outcome } => self.checked(*sequence, outcome),
            Event::Missed => self.missed_count += 1,
            Event::Counted(counted) => self.rollups.count(counted, counted.at.unwrap_or(now)),
            Event::Began { key, labels } => self.begin(key, labels),
            Event::Seen(seen) => self.seen(seen),
            Event::Parent { monitor, down, failing } => {
                let stands =
                    [(&mut self.parents_down, *down), (&mut self.parents_failing, *failing)];
                for (known, is_so) in stands {
                    known.retain(|known| known != monitor);
                    if is_so {
                        known.push(monitor.clone());
                        known.sort();
                    }
                }
            }
            Event::ParentsAsked { until } => {
                let before = self.asked.map(|asked| asked.at);
                self.asked = Some(Asked { at: now, until: Some(*until), before });
            }
            Event::ParentsAnswered => {
                if let Some(asked) = &mut self.asked {
                    asked.until = None;
                }
            }
            Event::ClockSetBack { by } => self.clock_set_back(*by),
            Event::Silences(silences) => self.silences.clone_from(silences),
            Event::Pinged(pinged) => self.beat.ping(pinged, now),
            Event::Expected { at, deadline } => self.beat.expected = Some((*at, *deadline)),
            Event::RunOver => self.beat.running = None,
            Event::Prolonged { until, numbers, by, ended } => {
                self.prolong(*until, numbers, by.as_ref(), *ended);
            }
            Event::Notified(notified) => self.notified(notified),
            Event::Delivered(delivered) => self.delivered(delivered),
            Event::Resent { sequence } => self.resent(*sequence),
            Event::Absent { key, .. }
            | Event::Dropped { key }
            | Event::Stepped { key, .. }
            | Event::Contacted { key, .. }
            | Event::HandedOver { key, .. }
            | Event::FellBack { key, .. }
            | Event::Rerouted { key }
            | Event::Owed { key, .. }
            | Event::Suppressed { key, .. }
            | Event::Released { key } => self.apply_to_incident(key, event),
            Event::Moved(moved) => self.moved(moved),
            Event::Noted { key, number, what, who, text } => {
                if let Some(incident) = self.remembered_mut(key, *number) {
                    incident.note(now, what.clone(), Some(who.clone()), text.clone());
                }
            }
        }
    }

    /// An incident that is known, be it over or not.
    pub(super) fn remembered(&self, key: &str, number: u32) -> Option<&Incident> {
        let open = self.incidents.get(key).into_iter();
        open.chain(&self.past).find(|it| *it.key == *key && it.number == number)
    }

    fn remembered_mut(&mut self, key: &str, number: u32) -> Option<&mut Incident> {
        let open = self.incidents.get_mut(key).into_iter();
        open.chain(&mut self.past).find(|it| *it.key == *key && it.number == number)
    }

    fn apply_to_incident(&mut self, key: &Arc<str>, event: &Event) {
        let now = self.updated_at;
        if matches!(event, Event::Dropped { .. }) {
            if let Some(incident) = self.incidents.remove(key)
                && incident.state == State::Resolved
            {
                self.past.push_back(incident);
                while self.past.len() > PAST_MAX {
                    self.past.pop_front();
                }
            }
            return;
        }
        let incident = self.incidents.get_mut(key).expect(CHECKED);
        match event {
            Event::Absent { no_data, .. } => incident.miss(*no_data, now),
            Event::Stepped { steps, to, called, by_hand, .. } => {
                incident.step(*steps, to, called, *by_hand, now);
            }
            Event::Contacted { to, .. } => incident.contact(to, now),
            Event::HandedOver { called, moves, .. } => incident.hand_over(called, *moves, now),
            Event::FellBack { to, from, .. } => {
                let told =
                    ReceiverState { instead_of: Some(from.clone()), ..ReceiverState::default() };
                incident.told.entry(to.clone()).or_insert(told);
                incident.note(
                    now,
                    format!("{from} cannot be told: {to} is told instead"),
                    None,
                    None,
                );
            }
            Event::Owed { to, event, .. } => {
                if let Some(told) = incident.told.get_mut(to) {
                    told.owed = Some((*event, now));
                }
            }
            Event::Suppressed { reason, until, .. } => {
                incident.suppressed = Some(Suppressed { reason: reason.clone(), until: *until });
                incident.note(now, "suppressed", None, Some(reason.clone()));
            }
            Event::Rerouted { .. } => incident.begin_steps(),
            Event::Released { .. } => {
                incident.suppressed = None;
                incident.note(now, "no longer suppressed", None, None);
            }
            _ => {}
        }
    }

    /// Whether an incident opens by this, rather than anew.
    pub(super) fn opens(&self, moved: &Moved) -> bool {
        let before = self.incidents.get(&moved.key).map(|incident| incident.state);
        before == Some(State::Pending) && moved.state == State::Open
    }

    fn moved(&mut self, moved: &Moved) {
        let again = moved.state == State::Pending;
        let previous_ok = again.then(|| self.last_ok_of(&moved.key));
        let incident = self.incidents.get_mut(&moved.key).expect(CHECKED);
        incident.go(moved, self.updated_at);
        if let Some(previous_ok) = previous_ok {
            incident.previous_ok = previous_ok;
        }
    }

    fn checked(&mut self, sequence: u32, outcome: &Outcome) {
        let check = self.check.take_if(|check| check.sequence == sequence).expect(CHECKED);
        self.check_count += 1;
        self.failed.drain(..self.outdated(self.updated_at));
        match outcome {
            Outcome::Answered { memory, step } => {
                let mut evidence = self.evidence(Some(sequence));
                evidence.step.clone_from(step);
                self.answer_before = self.last_answer.replace(evidence);
                self.errors = 0;
                self.error = None;
                self.watermark = Some(check.window.to);
                self.answered.push_back(sequence);
                while self.answered.len() > CHECKS_KEPT {
                    self.answered.pop_front();
                }
                if memory.is_some() {
                    self.memory.clone_from(memory);
                }
            }
            Outcome::Unknown { reason } => {
                self.errors += 1;
                self.error = Some(reason.clone());
                self.failed.push_back((sequence, self.updated_at));
            }
        }
        self.forget_deliveries();
    }

    /// What stands behind a fact that is folded now.
    fn evidence(&self, check: Option<u32>) -> Evidence {
        let step = self.last_answer.as_ref().and_then(|answer| {
            let execution = self.check_execution(check?);
            answer.step.clone().filter(|_| answer.execution.as_ref() == Some(&execution))
        });
        Evidence {
            execution: check.map(|sequence| self.check_execution(sequence)),
            step,
            at: self.updated_at,
            version: self.spec.as_ref().map_or_else(|| "".into(), |spec| spec.version.clone()),
        }
    }

    fn begin(&mut self, key: &Arc<str>, labels: &BTreeMap<Arc<str>, Arc<str>>) {
        let now = self.updated_at;
        let before = self.past.iter().rev().find(|incident| incident.key == *key);
        let evidence = self.evidence(None);
        let incident = Incident {
            key: key.clone(),
            fingerprint: fingerprint(self.name(), key),
            number: self.next_number,
            episode: before.map_or(1, |before| before.episode + 1),
            state: State::Pending,
            severity: Severity::Info,
            worst: Severity::Info,
            labels: labels.clone(),
            status: Status::Unknown,
            value: None,
            text: None,
            attrs: serde_json::Map::new(),
            since: now,
            opened_at: None,
            last_bad_at: now,
            well_since: None,
            resolved_at: None,
            bad: 0,
            good: 0,
            absent: 0,
            no_data_since: None,
            flips: before.map(|before| before.flips.clone()).unwrap_or_default(),
            acknowledged: None,
            snoozed_until: None,
            until: None,
            senders: BTreeMap::new(),
            told_from: None,
            steps: 0,
            ladder: Vec::new(),
            held: Vec::new(),
            told: BTreeMap::new(),
            heard: before.map(|before| before.heard.clone()).unwrap_or_default(),
            suppressed: None,
            first_evidence: evidence.clone(),
            evidence,
            previous_ok: self.last_ok_of(key),
            history: Vec::new(),
        };
        self.next_number += 1;
        self.incidents.insert(key.clone(), incident);
    }

    /// The last check in which a key without an open incident was well: it has none, so the last
    /// answer before the present one saw it so, unless an incident that somebody resolved by hand
    /// knows better.
    fn last_ok_of(&self, key: &str) -> Option<Evidence> {
        if is_own(key) {
            return self.last_answer.clone();
        }
        let past = || self.past.iter().rev().find(|incident| *incident.key == *key);
        let last = self.incidents.get(key).or_else(past);
        let answer = self.answer_before.clone();
        let saw_it_bad = |incident: &&Incident| {
            let execution = answer.as_ref().and_then(|answer| answer.execution.as_ref());
            incident.status.is_bad() && incident.evidence.execution.as_ref() == execution
        };
        match last.filter(saw_it_bad) {
            Some(incident) => incident.previous_ok.clone(),
            None => answer,
        }
    }

    fn seen(&mut self, seen: &Seen) {
        let evidence = self.evidence(seen.check);
        let incident = self.incidents.get_mut(&seen.key).expect(CHECKED);
        if incident.bad == 0 && incident.good == 0 && seen.status.is_bad() {
            incident.first_evidence = evidence.clone();
        }
        incident.see(seen, evidence);
    }

    fn notified(&mut self, notified: &Notified) {
        let now = self.updated_at;
        self.next_sequence = notified.sequence + 1;
        let mut incidents = Vec::new();
        for key in &notified.keys {
            let Some(incident) = self.incidents.get_mut(key) else { continue };
            incidents.push((key.clone(), incident.number));
            let severity = incident.severity;
            let Some(told) = incident.told.get_mut(&notified.receiver) else { continue };
            told.flight = Some(notified.sequence);
            told.owed = None;
            told.nudged = false;
            match notified.event {
                NotificationEvent::Acknowledge => told.acknowledged = true,
                NotificationEvent::Resolve
                | NotificationEvent::Test
                | NotificationEvent::Digest => {}
                NotificationEvent::Trigger
                | NotificationEvent::Escalation
                | NotificationEvent::Reminder => {
                    told.severity = told.severity.max(Some(severity));
                    told.at = Some(now);
                }
            }
        }
        incidents.extend(notified.about.iter().cloned());
        let delivery = Delivery::queued(notified, incidents, now);
        self.deliveries.insert(notified.sequence, delivery);
    }

    fn delivered(&mut self, delivered: &Delivered) {
        let now = self.updated_at;
        let delivery = self.deliveries.get_mut(&delivered.sequence).expect(CHECKED);
        delivery.status = if delivered.sent { DeliveryStatus::Sent } else { DeliveryStatus::Dead };
        delivery.ended_at = Some(now);
        delivery.reason.clone_from(&delivered.reason);
        delivery.reference.clone_from(&delivered.reference);
        let (event, receiver) = (delivery.event, delivery.receiver.clone());
        for (key, number) in &delivery.incidents {
            let known = self.incidents.get_mut(key).filter(|it| it.number == *number);
            let Some(incident) = known else { continue };
            incident.hear(&receiver, event, delivered, now);
        }
        self.forget_deliveries();
    }

    /// What was given up is to be told anew: its receiver counts as not told.
    fn resent(&mut self, sequence: u32) {
        let now = self.updated_at;
        let delivery = self.deliveries.get_mut(&sequence).expect(CHECKED);
        delivery.status = DeliveryStatus::Resent;
        let (event, receiver) = (delivery.event, delivery.receiver.clone());
        for (key, number) in &delivery.incidents {
            let known = self.incidents.get_mut(key).filter(|it| it.number == *number);
            let Some(incident) = known else { continue };
            incident.tell_again(&receiver, event, now);
        }
    }

    /// Forgets ended deliveries by age and number, the one that ended first before the others.
    fn forget_deliveries(&mut self) {
        let now = self.updated_at;
        let is_open = |(key, number): &(Arc<str>, u32)| {
            self.incidents.get(key).is_some_and(|incident| incident.number == *number)
        };
        let ended = self.deliveries.values().filter_map(|it| Some((it.ended_at?, it)));
        let mut ended: Vec<(Timestamp, u32, bool)> =
            ended.map(|(at, it)| (at, it.sequence, it.incidents.iter().any(is_open))).collect();
        ended.sort_unstable();
        let beyond = ended.len().saturating_sub(DELIVERIES_KEPT);
        for (place, (at, sequence, open)) in ended.into_iter().enumerate() {
            if place < beyond || (now.since(at) >= DELIVERIES_AGE && !open) {
                self.deliveries.remove(&sequence);
            }
        }
    }
}
