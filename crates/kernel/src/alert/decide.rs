//! The decisions of a monitor: one match over the input, and the draft that every decision is
//! made in.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::definition::{Kind, Spec};
use super::event::{Event, Moved, Outcome};
use super::incident::{Incident, State};
use super::input::{Context, Input};
use super::monitor::Monitor;
use super::notification;
use super::observation::{Observation, Status};
use super::observe::Coverage;
use super::rollup::{Counted, Counter, ROLLUP_LEDGER};
use super::{
    by_hand, check, clock, handover, heartbeat, observe, parents, provider_event, received, resend,
    settle,
};
use crate::graph::{Message, Observed};
use crate::json::Json;
use crate::machine::{Decision, Effect, Machine, Record, Rejected};
use crate::time::Timestamp;

/// Silences that one monitor keeps.
const SILENCES_MAX: usize = 500;

/// A decision in the making.
pub(super) struct Draft<'a> {
    pub(super) state: &'a mut Monitor,
    pub(super) now: Timestamp,
    /// Whether somebody checks parents that are asked for.
    pub(super) answers: bool,
    /// Since when the server has listened.
    pub(super) listening_since: Option<Timestamp>,
    events: Vec<Event>,
    effects: Vec<Effect>,
    /// Incidents whose line in the ledger is to be written anew.
    moved: BTreeSet<Arc<str>>,
}

impl<'a> Draft<'a> {
    fn new(state: &'a mut Monitor, context: &Context) -> Self {
        Self {
            state,
            now: context.now,
            answers: context.asks_parents,
            listening_since: context.listening_since,
            events: Vec::new(),
            effects: Vec::new(),
            moved: BTreeSet::new(),
        }
    }

    /// Decides a fact.
    pub(super) fn push(&mut self, event: Event) {
        self.begin();
        if let Event::Counted(counted) = &event {
            self.write_rollups(counted.at.unwrap_or(self.now));
        }
        self.state.apply(&event);
        self.events.push(event);
    }

    /// Counts a check that ended now, a call that came or did not, or an incident that opened.
    pub(super) fn count(&mut self, what: Counter, ms: Option<i64>) {
        // What could not tell took as long as it was waited for: that is no response time.
        let ms = ms.filter(|_| what != Counter::Unknown);
        self.push(Event::Counted(Counted::one(what, ms)));
    }

    /// Writes the rollups that are over at an instant, before something is counted in the next ones.
    fn write_rollups(&mut self, at: Timestamp) {
        for line in self.state.rollups.over_at(self.state.name(), at) {
            self.record(ROLLUP_LEDGER, line.key, line.at, line.step.as_str(), &line.body);
        }
    }

    /// Begins the facts of this decision with its instant, and with what a clock that was set back
    /// means for those before.
    fn begin(&mut self) {
        if !self.events.is_empty() {
            return;
        }
        let set_back = self.set_back_by();
        let at = Event::At(self.now);
        self.state.apply(&at);
        self.events.push(at);
        if let Some(by) = set_back {
            clock::set_back(self, by);
        }
    }

    fn set_back_by(&self) -> Option<i64> {
        self.state.updated_at.set_back_by(self.now)
    }

    /// Decides a fact with which deliveries may be remembered no longer: their executions go, too.
    pub(super) fn push_and_forget(&mut self, event: Event) {
        let known: Vec<u32> = self.state.deliveries.keys().copied().collect();
        self.push(event);
        for sequence in known {
            if !self.state.deliveries.contains_key(&sequence) {
                let execution = self.state.delivery_execution(sequence);
                self.effect(Effect::Forget(execution));
            }
        }
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// A line of a ledger about this monitor.
    pub(super) fn record(
        &mut self,
        ledger: &'static str,
        key: String,
        at: Timestamp,
        status: &str,
        body: &serde_json::Value,
    ) {
        self.effect(Effect::Record(Record {
            ledger,
            key: key.into(),
            subject: self.state.name().into(),
            at,
            status: status.into(),
            body: Json::of(body),
        }));
    }

    /// Writes something down in the history of an incident, and in the ledger's line of it.
    pub(super) fn note(
        &mut self,
        (key, number): (Arc<str>, u32),
        what: impl Into<Arc<str>>,
        who: Arc<str>,
        text: Option<Arc<str>>,
    ) {
        self.push(Event::Noted { key: key.clone(), number, what: what.into(), who, text });
        if let Some(incident) = self.state.remembered(&key, number).cloned() {
            self.write_line(&incident);
        }
    }

    /// Writes the ledger's line of an incident, if it has opened.
    fn write_line(&mut self, incident: &Incident) {
        let Some(at) = incident.opened_at else { return };
        let body = notification::ledger_line(incident);
        self.record("incident", incident.id(), at, incident.state.as_str(), &body);
    }

    /// Changes the state of an incident.
    pub(super) fn transition(&mut self, moved: Moved) {
        self.moved.insert(moved.key.clone());
        let opens = self.state.opens(&moved);
        self.push(Event::Moved(Box::new(moved)));
        if opens {
            self.count(Counter::Incident, None);
        }
    }

    /// Changes the state of an incident, by the monitor itself.
    pub(super) fn transition_to(&mut self, key: &Arc<str>, state: State, why: impl Into<Arc<str>>) {
        self.transition(Moved {
            key: key.clone(),
            state,
            who: None,
            why: why.into(),
            until: None,
            until_clear: false,
            at: None,
            occurred: None,
            told_there: false,
            nudges: false,
        });
    }

    pub(super) fn spec(&self) -> Arc<Spec> {
        self.state.spec.clone().expect("only a defined monitor decides anything")
    }

    /// Works out what is owed and hands over.
    fn settle(mut self) -> Decision<Event> {
        settle::settle(&mut self);
        self.state.plan_incidents();
        let moved = std::mem::take(&mut self.moved);
        for key in moved {
            let past = || self.state.past.iter().rev().find(|incident| incident.key == key);
            if let Some(incident) = self.state.incidents.get(&key).or_else(past).cloned() {
                self.write_line(&incident);
            }
        }
        Decision { events: self.events, effects: self.effects }
    }
}

impl Machine for Monitor {
    type Input = Input;
    type Event = Event;
    type Context<'a> = Context;

    fn decide(&mut self, input: Input, context: &Context) -> Result<Decision<Event>, Rejected> {
        let undefined = self.spec.is_none();
        let mut draft = Draft::new(self, context);
        match input {
            Input::Define(spec) => define(&mut draft, *spec)?,
            _ if undefined => {
                return Err(Rejected::Unknown(format!("there is no monitor {}", self.name())));
            }
            Input::Remove { who } => remove(&mut draft, who.as_ref())?,
            Input::Wake => wake(&mut draft),
            Input::Check { who } => check::by_hand(&mut draft, who.as_deref())?,
            Input::Message(Message::Observed(observed)) => told(&mut draft, *observed)?,
            Input::Message(message) => receive(&mut draft, message)?,
            Input::Observe { observations, complete, who } => {
                watched(&draft)?;
                let coverage = match (complete, observations.is_empty()) {
                    (false, _) => Coverage::Some,
                    (true, false) => Coverage::All,
                    (true, true) => Coverage::Nothing,
                };
                observe::observe(&mut draft, observations, coverage, None, who.as_deref());
            }
            Input::Alerts(alerts) => {
                watched(&draft)?;
                received::receive(&mut draft, alerts)?;
            }
            Input::Acknowledge { incident, who, why, until_clear } => {
                let (key, state) = open(&draft, &incident)?;
                if state == State::Acknowledged {
                    return Err(Rejected::Stale("the incident is acknowledged already".into()));
                }
                draft.transition(Moved {
                    key,
                    state: State::Acknowledged,
                    who: Some(who),
                    why: why.unwrap_or_else(|| "somebody takes care".into()),
                    until: None,
                    until_clear,
                    at: None,
                    occurred: None,
                    told_there: false,
                    nudges: false,
                });
            }
            Input::Snooze { incident, until, who, why } => {
                let (key, _) = open(&draft, &incident)?;
                if until <= context.now {
                    return Err(Rejected::Invalid(format!(
                        "the end of the snooze, {until}, has passed"
                    )));
                }
                let known = draft.state.incidents.get(&key).and_then(|it| it.snoozed_until);
                if known == Some(until) {
                    return Err(Rejected::Stale(format!("the incident is snoozed until {until}")));
                }
                draft.transition(Moved {
                    key,
                    state: State::Snoozed,
                    who: Some(who),
                    why: why.unwrap_or_else(|| format!("quiet until {until}").into()),
                    until: Some(until),
                    until_clear: false,
                    at: None,
                    occurred: None,
                    told_there: false,
                    nudges: false,
                });
            }
            Input::Resolve { incident, who, why } => {
                let (key, _) = open(&draft, &incident)?;
                draft.transition(Moved {
                    key,
                    state: State::Resolved,
                    who: Some(who),
                    why: why.unwrap_or_else(|| "resolved by hand".into()),
                    until: None,
                    until_clear: false,
                    at: None,
                    occurred: None,
                    told_there: false,
                    nudges: false,
                });
            }
            Input::Unacknowledge { incident, who, why } => {
                by_hand::unacknowledge(&mut draft, &incident, who, why)?;
            }
            Input::Note { incident, who, text } => {
                by_hand::note(&mut draft, &incident, who, &text)?;
            }
            Input::Escalate { incident, who, why } => {
                by_hand::escalate(&mut draft, &incident, who, why)?;
            }
            Input::ProviderEvent(heard) => provider_event::hear(&mut draft, heard)?,
            Input::Test { receiver, who } => {
                watched(&draft)?;
                settle::test(&mut draft, &receiver, who.as_deref());
            }
            Input::Resend { incident, receiver, who } => {
                let incident = incident.as_deref();
                resend::resend(&mut draft, incident, receiver.as_deref(), who.as_ref())?;
            }
            Input::Silences(mut silences) => {
                silences.retain(|silence| !silence.when.is_over(context.now));
                silences.truncate(SILENCES_MAX);
                if silences == draft.state.silences {
                    return Ok(draft.settle());
                }
                draft.push(Event::Silences(silences));
            }
            Input::Ping(ping) => {
                watched(&draft)?;
                heartbeat::ping(&mut draft, ping)?;
            }
            Input::Parent { monitor, down, failing } => {
                let failing = failing && !down;
                let known = (
                    draft.state.parents_down.contains(&monitor),
                    draft.state.parents_failing.contains(&monitor),
                );
                let spec = draft.spec();
                let needed = spec.monitor.depends_on.iter().chain(&spec.monitor.witness);
                let bad = down || failing;
                if !needed.into_iter().any(|needed| *needed == monitor) && bad {
                    let reason = format!("{} does not depend on {monitor}", draft.state.name());
                    return Err(Rejected::Unknown(reason));
                }
                if known != (down, failing) {
                    draft.push(Event::Parent { monitor, down, failing });
                }
            }
            Input::ParentsChecked => parents::answered(&mut draft),
        }
        Ok(draft.settle())
    }

    fn apply(&mut self, event: &Event) {
        Self::apply(self, event);
    }

    fn wake_at(&self) -> Option<Timestamp> {
        Self::wake_at(self)
    }
}

fn watched(draft: &Draft<'_>) -> Result<(), Rejected> {
    if draft.state.removed {
        return Err(Rejected::Stale(format!("the monitor {} was removed", draft.state.name())));
    }
    Ok(())
}

/// The open incident of a name.
pub(super) fn open(draft: &Draft<'_>, name: &str) -> Result<(Arc<str>, State), Rejected> {
    match draft.state.incident(name) {
        Some(incident) if incident.state.is_open() => Ok((incident.key.clone(), incident.state)),
        Some(incident) => {
            Err(Rejected::Stale(format!("the incident {name} is {}", incident.state.as_str())))
        }
        None => Err(Rejected::Unknown(format!("{} has no incident {name}", draft.state.name()))),
    }
}

fn define(draft: &mut Draft<'_>, spec: Spec) -> Result<(), Rejected> {
    if *spec.monitor.name != *draft.state.name() {
        let (given, own) = (&spec.monitor.name, draft.state.name());
        return Err(Rejected::Invalid(format!("a definition of {given} was given to {own}")));
    }
    let before = draft.state.spec.clone().filter(|_| !draft.state.removed);
    if before.as_deref() == Some(&spec) {
        return Ok(());
    }
    let replan = before.as_ref().is_none_or(|before| {
        before.monitor.schedule != spec.monitor.schedule
            || before.monitor.kind != spec.monitor.kind
            || (spec.monitor.kind == Kind::Heartbeat
                && before.monitor.settings != spec.monitor.settings)
    });
    let needed: Vec<Arc<str>> =
        spec.monitor.depends_on.iter().chain(&spec.monitor.witness).cloned().collect();
    draft.push(Event::Defined(Box::new(spec)));
    let known = draft.state.parents_down.iter().chain(&draft.state.parents_failing);
    for parent in known.cloned().collect::<Vec<_>>() {
        if !needed.contains(&parent) {
            draft.push(Event::Parent { monitor: parent, down: false, failing: false });
        }
    }
    handover::look_anew(draft);
    if replan {
        check::plan(draft, draft.now);
        heartbeat::plan(draft);
    }
    Ok(())
}

fn remove(draft: &mut Draft<'_>, who: Option<&Arc<str>>) -> Result<(), Rejected> {
    watched(draft)?;
    draft.push(Event::Removed);
    // Retention may forget a monitor that is removed, with what it counts.
    draft.write_rollups(Timestamp::MAX);
    check::abandon(draft, "the monitor was removed");
    let keys: Vec<(Arc<str>, State)> =
        draft.state.incidents.values().map(|it| (it.key.clone(), it.state)).collect();
    for (key, state) in keys {
        if state.is_open() {
            draft.transition(Moved {
                key,
                state: State::Resolved,
                who: who.cloned(),
                why: "removed".into(),
                until: None,
                until_clear: false,
                at: None,
                occurred: None,
                told_there: false,
                nudges: false,
            });
        } else if state == State::Pending {
            observe::come_to_nothing(draft, &key, "removed");
        }
    }
    Ok(())
}

fn wake(draft: &mut Draft<'_>) {
    if draft.set_back_by().is_some() {
        draft.begin();
    }
    parents::look_at_clock(draft);
    if !draft.state.removed {
        check::look_at_clock(draft);
        heartbeat::look_at_clock(draft);
        received::look_at_clock(draft);
        handover::look_at_clock(draft);
    }
    let now = draft.now;
    let over = |until: Option<Timestamp>| until.is_some_and(|until| until <= now);
    // Where there are thousands, only those whose time has come.
    let due = draft.state.due_incidents(now);
    for key in &due {
        if over(draft.state.incidents.get(key).and_then(|it| it.snoozed_until)) {
            draft.transition_to(key, State::Open, "the snooze is over");
        }
    }
    for key in due {
        let incident = draft.state.incidents.get(&key);
        if over(incident.and_then(|incident| draft.state.ack_expires_at(incident))) {
            draft.transition(Moved {
                key,
                state: State::Open,
                who: None,
                why: "the acknowledgement has expired (ack_expires)".into(),
                until: None,
                until_clear: false,
                at: None,
                occurred: None,
                told_there: false,
                nudges: true,
            });
        }
    }
}

/// Another machine says how something is.
fn told(draft: &mut Draft<'_>, observed: Observed) -> Result<(), Rejected> {
    watched(draft)?;
    let Some(status) = Status::parse(&observed.status) else {
        let message = format!("there is no status {:?}", observed.status);
        return Err(Rejected::Invalid(message));
    };
    let attrs = match observed.attrs.parse() {
        serde_json::Value::Object(attrs) => attrs,
        _ => serde_json::Map::new(),
    };
    let attrs = attrs.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let observation =
        Observation { key: observed.key, attrs, ..Observation::of(status, observed.text) };
    observe::observe(draft, vec![observation], Coverage::Some, None, None);
    Ok(())
}

/// A check or a delivery has something to say.
fn receive(draft: &mut Draft<'_>, message: Message) -> Result<(), Rejected> {
    let stale = |sequence: u32| {
        Rejected::Stale(format!("nothing with the number {sequence} is waited for"))
    };
    let (sequence, status, output, reason, child) = match message {
        Message::Started { .. } | Message::Revived { .. } => return Ok(()),
        Message::Refused { sequence, reason, .. } => {
            (sequence, None, Json::null(), Some(reason), None)
        }
        Message::Ended { sequence, status, output, reason, child, .. } => {
            (sequence, Some(status), output, reason, child)
        }
        Message::Start(_)
        | Message::Terminate { .. }
        | Message::Retry { .. }
        | Message::Durable(_)
        | Message::Observed(_)
        | Message::Watch { .. } => {
            return Err(Rejected::Invalid("a monitor is not started by a message".into()));
        }
    };
    let checking = draft.state.check.as_ref().is_some_and(|check| check.sequence == sequence);
    let is_child = |id: crate::id::ExecutionId| child.as_ref().is_none_or(|child| *child == id);
    let completed = status == Some(crate::graph::Status::Completed);
    if checking && is_child(draft.state.check_execution(sequence)) {
        let reason = reason.unwrap_or_else(|| match status {
            Some(status) => format!("the check ended as {}", status.as_str()).into(),
            None => "the check could not be started".into(),
        });
        let result = if completed { Ok(&output) } else { Err(&*reason) };
        check::ended(draft, sequence, result);
        return Ok(());
    }
    if draft.state.deliveries.contains_key(&sequence)
        && is_child(draft.state.delivery_execution(sequence))
    {
        return settle::delivered(draft, sequence, status, &output, reason).ok_or(stale(sequence));
    }
    Err(stale(sequence))
}

/// Nobody can tell how things are, because of this.
pub(super) fn unknown(reason: &str) -> Outcome {
    let reason = super::text::cut(reason, super::monitor::REASON_MAX);
    Outcome::Unknown { reason: reason.into() }
}
