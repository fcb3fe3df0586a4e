//! One incident: what people handle. Its state, who was told what, and how facts change it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::definition::roster::{Called, Contacted, ON_CALL};
use super::definition::{Flap, Severity};
use super::event::{Delivered, Moved, Seen};
use super::observation::Status;
use crate::id::ExecutionId;
use crate::time::Timestamp;

/// Entries of a history besides notes; beyond, those in the middle are left out.
const HISTORY_MAX: usize = 100;
/// Entries at the beginning of a history that are always kept.
const HISTORY_HEAD: usize = 20;
/// Notes in a history; beyond, the oldest are left out. Their bound is their own, so that no number of
/// them hides what happened.
const NOTES_MAX: usize = 50;
/// What happened when somebody wrote a note.
pub(super) const NOTE: &str = "note";
/// Changes between well and bad that are remembered.
const FLIPS_MAX: usize = 50;

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Bad, but not for long enough yet.
    Pending,
    /// People are told.
    Open,
    /// Somebody takes care.
    Acknowledged,
    /// Quiet for a while.
    Snoozed,
    /// Over.
    Resolved,
}

impl State {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Snoozed => "snoozed",
            Self::Resolved => "resolved",
        }
    }

    /// Whether it is open in the wider sense: opened, and not over.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Acknowledged | Self::Snoozed)
    }
}

/// What a notification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationEvent {
    /// Something is wrong, or got worse.
    Trigger,
    /// The same, to those who are told later.
    Escalation,
    /// It is still so.
    Reminder,
    /// Somebody takes care.
    Acknowledge,
    /// It is over.
    Resolve,
    /// Only to see whether notifications arrive.
    Test,
    /// What is open at a hand-over, to who is on call from now on.
    Digest,
}

impl NotificationEvent {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Escalation => "escalation",
            Self::Reminder => "reminder",
            Self::Acknowledge => "acknowledge",
            Self::Resolve => "resolve",
            Self::Test => "test",
            Self::Digest => "digest",
        }
    }

    /// Whether it opens an alert at the receiver.
    pub const fn rings(self) -> bool {
        matches!(self, Self::Trigger | Self::Escalation)
    }
}

/// The check behind something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Its execution; absent for what came from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionId>,
    /// The task in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Arc<str>>,
    /// When it was told.
    pub at: Timestamp,
    /// The version of the monitor's definition.
    pub version: Arc<str>,
}

/// A line of an incident's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub what: Arc<str>,
    /// Who did it; absent = the monitor itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Arc<str>>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Arc<str>>,
}

/// Who takes care.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who.
    pub who: Option<Arc<str>>,
    /// Since when.
    pub at: Timestamp,
    /// Even if it gets worse.
    pub until_clear: bool,
}

/// What one receiver knows of an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverState {
    /// An alert is open there: a trigger arrived, and no resolve since.
    #[serde(default)]
    pub ringing: bool,
    /// An alert may be open there: a trigger was given up whose end nobody knows, and the receiver
    /// knows incidents by a key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub perhaps: bool,
    /// The worst that was said, or tried to be said; absent = nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// When it last was told that something is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// It knows that somebody takes care.
    #[serde(default)]
    pub acknowledged: bool,
    /// The delivery that is under way; the next one waits for its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flight: Option<u32>,
    /// What is to be told together with others, and since when it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed: Option<(NotificationEvent, Timestamp)>,
    /// The step of the route that made it a receiver, from 0.
    #[serde(default)]
    pub step: u32,
    /// To be told again at once that it is still so: a snooze has ended.
    #[serde(default)]
    pub nudged: bool,
    /// Who is reached by it, where people on call were called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<Arc<str>>,
    /// Who was reached by it has handed over: it hears that somebody takes care, and the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
    /// In the place of a receiver that could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<Arc<str>>,
    /// What it calls the message or alert that told of it first, so that later ones refer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Arc<str>>,
}

impl ReceiverState {
    /// Whether it must hear that it is over, as an alert is or may be open there.
    pub const fn must_hear(&self) -> bool {
        self.ringing || self.perhaps
    }
}

/// A receiver by which somebody on call is told in a while, unless somebody acknowledges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// The receiver.
    pub to: Arc<str>,
    /// Who is reached by it.
    pub person: Arc<str>,
    /// When they were called.
    pub from: Timestamp,
    /// Milliseconds after that.
    pub after: i64,
    /// The step of the route that called them, from 0.
    pub step: u32,
}

/// Whom a rotation called whose incidents follow hand-overs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// As the route has it.
    #[serde(rename = "t")]
    pub target: Arc<str>,
    /// Who was called, or has heard of it in a digest.
    #[serde(rename = "p")]
    pub people: Vec<Arc<str>>,
    /// The step of the route that called it, from 0.
    #[serde(rename = "s", default, skip_serializing_if = "is_first")]
    pub step: u32,
    /// When the rotation is looked at again.
    #[serde(rename = "u")]
    pub until: Timestamp,
}

fn is_first(step: &u32) -> bool {
    *step == 0
}

impl Rung {
    /// When it is told.
    pub const fn at(&self) -> Timestamp {
        self.from.plus_millis(self.after)
    }
}

/// Why nobody is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppressed {
    /// Why.
    pub reason: Arc<str>,
    /// Until then, if that is known.
    pub until: Option<Timestamp>,
}

/// What people handle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// The key within the monitor.
    pub key: Arc<str>,
    /// The provider's key: see [`super::fingerprint`].
    pub fingerprint: Arc<str>,
    /// Its number within the monitor, from 1.
    pub number: u32,
    /// How often this key has had an incident, from 1, as far as is remembered.
    pub episode: u32,
    /// Where it stands.
    pub state: State,
    /// How bad it is now.
    pub severity: Severity,
    /// The worst it has been since it began.
    pub worst: Severity,
    /// Its labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// How it was at last.
    pub status: Status,
    /// What was measured at last.
    pub value: Option<Value>,
    /// In words, at last.
    pub text: Option<Arc<str>>,
    /// The row that was seen at last.
    pub attrs: Map<String, Value>,
    /// First bad.
    pub since: Timestamp,
    /// Opened.
    pub opened_at: Option<Timestamp>,
    /// Last bad.
    pub last_bad_at: Timestamp,
    /// First well after the last time it was bad.
    pub well_since: Option<Timestamp>,
    /// Over.
    pub resolved_at: Option<Timestamp>,
    /// Bad in a row.
    pub bad: u32,
    /// Well in a row.
    pub good: u32,
    /// Not mentioned in a row.
    pub absent: u32,
    /// Since when no check has reported it; absent = the last one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data_since: Option<Timestamp>,
    /// Changes between well and bad, latest last.
    pub flips: Vec<Timestamp>,
    /// Who takes care.
    pub acknowledged: Option<Acknowledged>,
    /// Quiet until then.
    pub snoozed_until: Option<Timestamp>,
    /// Of an alert that was received: it is over then unless it is sent again; [`Timestamp::MAX`] =
    /// it fires until it is said to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Where several senders tell of it: until when each says that it fires.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub senders: BTreeMap<Arc<str>, Timestamp>,
    /// Since when steps count: the first instant at which people were to be told.
    pub told_from: Option<Timestamp>,
    /// Steps of the route that were reached.
    pub steps: u32,
    /// By which receivers people who were called are told later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladder: Vec<Rung>,
    /// Whom rotations called whose incidents follow hand-overs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Held>,
    /// What each receiver knows.
    pub told: BTreeMap<Arc<str>, ReceiverState>,
    /// What receivers said last of what was done there, by their own clocks; what is not later
    /// counts no more, not for later incidents of the key either.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heard: BTreeMap<Arc<str>, Timestamp>,
    /// Why nobody is told at the moment.
    pub suppressed: Option<Suppressed>,
    /// The check that saw it first.
    pub first_evidence: Evidence,
    /// The check that saw it last.
    pub evidence: Evidence,
    /// The last check before, in which it was well.
    pub previous_ok: Option<Evidence>,
    /// What happened, oldest first.
    pub history: Vec<Entry>,
}

impl Incident {
    /// Its id: what people and ledgers call it.
    pub fn id(&self) -> String {
        format!("{}-{}", self.fingerprint, self.number)
    }

    /// Whether a text names it: its id, fingerprint or key.
    pub fn is_named(&self, name: &str) -> bool {
        name == &*self.key || name == &*self.fingerprint || name == self.id()
    }

    /// Whether some receiver rings, may ring or is about to hear of it.
    pub fn concerns_receivers(&self) -> bool {
        self.told.values().any(|told| told.must_hear() || told.flight.is_some())
    }

    /// What a receiver should be told next and from when on, as things stand.
    pub fn due(
        &self,
        told: &ReceiverState,
        remind: Option<i64>,
    ) -> Option<(NotificationEvent, Timestamp)> {
        use NotificationEvent::{Acknowledge, Escalation, Reminder, Resolve, Trigger};
        if told.flight.is_some() {
            return None;
        }
        let now = Timestamp::from_millis(i64::MIN);
        let first = if told.step > 0 { Escalation } else { Trigger };
        let reached = told.step < self.steps;
        match self.state {
            State::Pending | State::Snoozed => None,
            State::Resolved => told.must_hear().then_some((Resolve, now)),
            State::Acknowledged if told.severity.is_none() => {
                (reached && !told.left).then_some((first, now))
            }
            State::Acknowledged => {
                (told.must_hear() && !told.acknowledged).then_some((Acknowledge, now))
            }
            State::Open if told.left => None,
            State::Open => match told.severity {
                None => reached.then_some((first, now)),
                Some(_) if told.nudged => Some((if told.ringing { Reminder } else { first }, now)),
                Some(severity) if self.severity > severity => Some((Trigger, now)),
                Some(_) => {
                    let due = told.at?.plus_millis(remind?);
                    Some((if told.ringing { Reminder } else { first }, due))
                }
            },
        }
    }

    /// Whether it goes up and down so often that being well does not count yet.
    pub(super) fn is_unsettled(&self, flap: Option<&Flap>, now: Timestamp) -> bool {
        let Some(flap) = flap else { return false };
        let recent = self.flips.iter().filter(|at| now.since(**at) < flap.within).count();
        let settled = self.well_since.is_some_and(|well| now.since(well) >= flap.settle);
        recent >= flap.changes as usize && !settled
    }

    pub(super) fn note(
        &mut self,
        at: Timestamp,
        what: impl Into<Arc<str>>,
        who: Option<Arc<str>>,
        why: Option<Arc<str>>,
    ) {
        let what = what.into();
        let is_note = &*what == NOTE;
        let (most, head) = if is_note { (NOTES_MAX, 0) } else { (HISTORY_MAX, HISTORY_HEAD) };
        let entries = self.history.iter().enumerate();
        let alike = entries.filter(|(_, entry)| (&*entry.what == NOTE) == is_note);
        let alike: Vec<usize> = alike.map(|(at, _)| at).collect();
        if let Some(oldest) = alike.get(head).filter(|_| alike.len() >= most) {
            self.history.remove(*oldest);
        }
        self.history.push(Entry { at, what, who, why });
    }

    pub(super) fn see(&mut self, seen: &Seen, evidence: Evidence) {
        let now = evidence.at;
        self.no_data_since = None;
        if let Some(until) = seen.until {
            self.say_until(until, seen.by.as_ref());
        }
        if let Some(value) = &seen.value {
            self.value = Some(value.clone()).filter(|value| !value.is_null());
        }
        if let Some(text) = &seen.text {
            self.text = Some(text.clone()).filter(|text| !text.is_empty());
        }
        if let Some(attrs) = &seen.attrs {
            self.attrs.clone_from(attrs);
        }
        match seen.status {
            Status::Unknown => return,
            Status::Ok => {
                self.good += 1;
                self.be_well(now);
            }
            Status::Warn | Status::Fail => {
                if self.well_since.take().is_some() {
                    self.flip(now);
                }
                self.bad += 1;
                (self.good, self.absent) = (0, 0);
                self.last_bad_at = now;
                self.severity = seen.severity.unwrap_or(self.severity);
                self.worst = self.worst.max(self.severity);
            }
        }
        self.status = seen.status;
        self.evidence = evidence;
    }

    /// A check did not mention it: it counts as well, or nobody can tell.
    pub(super) fn miss(&mut self, no_data: bool, now: Timestamp) {
        self.no_data_since.get_or_insert(now);
        if no_data {
            self.note(now, "no data", None, Some("not reported any more".into()));
        } else {
            self.absent += 1;
            self.be_well(now);
        }
    }

    fn be_well(&mut self, now: Timestamp) {
        self.bad = 0;
        if self.well_since.is_none() {
            self.well_since = Some(now);
            self.flip(now);
        }
    }

    fn flip(&mut self, now: Timestamp) {
        if self.flips.len() >= FLIPS_MAX {
            self.flips.remove(0);
        }
        self.flips.push(now);
    }

    /// Changes the state.
    pub(super) fn go(&mut self, moved: &Moved, now: Timestamp) {
        let from = self.state;
        self.state = moved.state;
        if let (Some(receiver), Some(occurred)) = (&moved.at, moved.occurred) {
            self.heard.insert(receiver.clone(), occurred);
        }
        self.snoozed_until = None;
        match moved.state {
            State::Pending => self.begin_again(now),
            State::Open => {
                self.opened_at.get_or_insert(now);
                if self.acknowledged.take().is_some() {
                    // The steps begin anew: who was to be told only if nobody cared is told now.
                    self.begin_steps();
                }
                for told in self.told.values_mut() {
                    told.acknowledged = false;
                    told.nudged = from == State::Snoozed || moved.nudges;
                }
            }
            State::Acknowledged => {
                self.ladder.clear();
                self.acknowledged = Some(Acknowledged {
                    who: moved.who.clone(),
                    at: now,
                    until_clear: moved.until_clear,
                });
                let there = moved.at.as_ref().filter(|_| !moved.told_there);
                if let Some(told) = there.and_then(|at| self.told.get_mut(at)) {
                    told.acknowledged = true;
                }
            }
            State::Snoozed => self.snoozed_until = moved.until,
            State::Resolved => {
                self.ladder.clear();
                self.held.clear();
                // Also where it was done: it may have been told anew since, before we heard of it.
                self.resolved_at = Some(now);
            }
        }
        for told in self.told.values_mut() {
            told.owed = None;
        }
        self.note(now, moved.state.as_str(), moved.who.clone(), Some(moved.why.clone()));
    }

    /// A step of its route is reached: these are told from now on, and these were called.
    pub(super) fn step(
        &mut self,
        steps: u32,
        to: &[Arc<str>],
        called: &[Called],
        by_hand: bool,
        now: Timestamp,
    ) {
        self.told_from.get_or_insert(now);
        self.steps = steps;
        self.call(steps.saturating_sub(1), to, called, by_hand, now);
    }

    /// The steps of its route begin anew.
    pub(super) fn begin_steps(&mut self) {
        (self.told_from, self.steps) = (None, 0);
        self.ladder.clear();
        self.held.clear();
    }

    /// These are told from now on, and these were called.
    fn call(
        &mut self,
        step: u32,
        to: &[Arc<str>],
        called: &[Called],
        by_hand: bool,
        now: Timestamp,
    ) {
        // A provider that hears that somebody takes care goes quiet: whoever is called on for help does not
        // hear it.
        let acknowledged = by_hand && self.state == State::Acknowledged;
        let known: BTreeSet<Arc<str>> = self.told.keys().cloned().collect();
        for receiver in to {
            let told = self.told.entry(receiver.clone()).or_insert_with(|| ReceiverState {
                acknowledged,
                step,
                ..ReceiverState::default()
            });
            told.left = false;
        }
        for call in called {
            self.held.retain(|held| held.target != call.target);
            self.held.extend(call.until.map(|until| Held {
                target: call.target.clone(),
                people: call.people.clone(),
                step,
                until,
            }));
            let people =
                if call.people.is_empty() { "nobody".to_owned() } else { call.people.join(", ") };
            let what = format!("{} called {people}", call.target);
            self.note(now, what, None, Some(call.why.clone()));
            for Contacted { to, person, after } in &call.contacts {
                if *after > 0 && self.state == State::Open {
                    let (to, person, after) = (to.clone(), person.clone(), *after);
                    self.ladder.push(Rung { to, person, from: now, after, step });
                } else if let Some(told) = self.told.get_mut(to).filter(|_| *after == 0 || by_hand)
                    && !told.people.contains(person)
                {
                    told.people.push(person.clone());
                    // Somebody else was told there: for this one it is new.
                    told.nudged |= known.contains(to);
                }
            }
        }
    }

    /// A rotation was looked at again: others are on call, and called if the incident moves.
    pub(super) fn hand_over(&mut self, called: &Called, moves: bool, now: Timestamp) {
        let Some(at) = self.held.iter().position(|held| held.target == called.target) else {
            return;
        };
        let former = self.held.remove(at);
        if !moves {
            let Called { target, people, .. } = called.clone();
            let held = called.until.map(|until| Held { target, people, until, ..former });
            self.held.extend(held);
            return;
        }
        let has_left =
            |person: &Arc<str>| former.people.contains(person) && !called.people.contains(person);
        self.ladder.retain(|rung| rung.step != former.step || !has_left(&rung.person));
        for told in self.told.values_mut().filter(|told| !told.people.is_empty()) {
            told.people.retain(|person| !has_left(person));
            told.left |= told.people.is_empty();
        }
        let at_once = called.contacts.iter().filter(|it| it.after == 0);
        let to: Vec<Arc<str>> = at_once.map(|it| it.to.clone()).collect();
        self.call(former.step, &to, std::slice::from_ref(called), false, now);
    }

    /// When a rotation is looked at again that was called.
    pub(super) fn next_handover(&self) -> Option<Timestamp> {
        let held = self.held.iter().filter(|_| self.state.is_open());
        held.map(|held| held.until).filter(|until| *until < Timestamp::MAX).min()
    }

    /// The rungs that are due are done; those of these receivers are told.
    pub(super) fn contact(&mut self, to: &[Arc<str>], now: Timestamp) {
        let (due, later): (Vec<Rung>, Vec<Rung>) =
            std::mem::take(&mut self.ladder).into_iter().partition(|rung| rung.at() <= now);
        self.ladder = later;
        for rung in due {
            if !to.contains(&rung.to) {
                continue;
            }
            let known = self.told.contains_key(&rung.to);
            let told = self
                .told
                .entry(rung.to.clone())
                .or_insert_with(|| ReceiverState { step: rung.step, ..ReceiverState::default() });
            if !told.people.contains(&rung.person) {
                told.people.push(rung.person.clone());
                told.nudged |= known;
            }
            if !known {
                let (person, to) = (&rung.person, &rung.to);
                let what = format!("{ON_CALL} {person} is told by {to}, too");
                self.note(now, what, None, Some("nobody has acknowledged".into()));
            }
        }
    }

    /// When the next rung of a contact ladder is told.
    pub(super) fn next_rung(&self) -> Option<Timestamp> {
        let rungs = self.ladder.iter().filter(|_| self.state == State::Open);
        rungs.map(Rung::at).min()
    }

    /// A delivery about it ended.
    pub(super) fn hear(
        &mut self,
        receiver: &Arc<str>,
        event: NotificationEvent,
        delivered: &Delivered,
        now: Timestamp,
    ) {
        let state = self.state;
        if let Some(told) = self.told.get_mut(receiver) {
            told.flight = told.flight.filter(|flight| *flight != delivered.sequence);
            match event {
                NotificationEvent::Trigger | NotificationEvent::Escalation => {
                    told.ringing |= delivered.sent;
                    told.perhaps |= delivered.perhaps;
                    if delivered.sent && told.reference.is_none() {
                        told.reference.clone_from(&delivered.reference);
                    }
                }
                NotificationEvent::Resolve => {
                    (told.ringing, told.perhaps) = (false, false);
                    (told.severity, told.at) = (None, None);
                    told.reference = None;
                }
                NotificationEvent::Acknowledge
                | NotificationEvent::Reminder
                | NotificationEvent::Test
                | NotificationEvent::Digest => {}
            }
            if event == NotificationEvent::Resolve && state == State::Pending {
                self.told.remove(receiver);
            }
        }
        let took = if delivered.sent { "took" } else { "did not take" };
        let what = format!("{receiver} {took} {}", event.as_str());
        self.note(now, what, None, delivered.reason.clone());
    }

    /// A receiver is to be told anew of what it did not take.
    pub(super) fn tell_again(
        &mut self,
        receiver: &Arc<str>,
        event: NotificationEvent,
        now: Timestamp,
    ) {
        let Some(told) = self.told.get_mut(receiver) else { return };
        if told.flight.is_some() {
            return;
        }
        match event {
            NotificationEvent::Acknowledge => told.acknowledged = false,
            // That is told by itself: nothing is owed for it.
            NotificationEvent::Resolve | NotificationEvent::Test | NotificationEvent::Digest => {
                return;
            }
            // It rings there already: a reminder will do.
            _ if told.ringing => told.nudged = true,
            _ => (told.severity, told.at, told.acknowledged) = (None, None, false),
        }
        self.note(now, format!("{} is sent to {receiver} again", event.as_str()), None, None);
    }

    /// It is bad again before all had heard that it was over.
    fn begin_again(&mut self, now: Timestamp) {
        self.episode += 1;
        (self.bad, self.good, self.absent) = (0, 0, 0);
        (self.no_data_since, self.until) = (None, None);
        self.senders.clear();
        (self.since, self.last_bad_at) = (now, now);
        (self.opened_at, self.resolved_at, self.acknowledged) = (None, None, None);
        self.begin_steps();
        self.worst = Severity::Info;
        self.severity = Severity::Info;
        // Where an alert still rings nothing is said anew; all others may hear of it.
        self.told.retain(|_, told| told.must_hear() || told.flight.is_some());
        for told in self.told.values_mut() {
            told.acknowledged = false;
            if !told.ringing && told.flight.is_none() {
                // Whether it has heard is not known: it is told again, and hears the end once.
                (told.severity, told.at) = (None, None);
            }
        }
    }
}
