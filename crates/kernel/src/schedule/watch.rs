//! Runs that begin late, take long or are not done in time: what is told of them, and when that is
//! over.

use std::sync::Arc;

use serde_json::json;

use super::decide::Draft;
use super::event::{Cause, Event};
use super::expect::Expectation;
use super::state::{Firing, Schedule};
use crate::alert::OWN_MONITOR;
use crate::graph::{Message, Observed, Status};
use crate::id::ExecutionId;
use crate::json::Json;
use crate::machine::Effect;
use crate::time::Timestamp;

impl Schedule {
    /// The key of an incident of [`OWN_MONITOR`].
    pub fn incident_key(&self, what: Expectation) -> Arc<str> {
        format!("{}#{}", self.id, what.as_str()).into()
    }

    /// When something is told of a firing, unless it changes before.
    pub(super) fn deadlines(&self) -> Vec<(Timestamp, u32, Expectation)> {
        let Some(expect) = self.spec.as_ref().and_then(|spec| spec.expect.as_ref()) else {
            return Vec::new();
        };
        let (within, slow) = (expect.start_within(), expect.slow_after(&self.watched));
        let mut deadlines = Vec::new();
        for firing in self.open.values().chain(&self.buffered).filter(|firing| !firing.stopped) {
            let Some(watch) = &firing.watch else { continue };
            let late = within.filter(|_| !firing.started && firing.cause == Cause::Due);
            let slow = watch.started_at.zip(slow).filter(|_| firing.cause != Cause::Backfill);
            let found = [
                (late.map(|within| firing.planned.plus_millis(within)), Expectation::Late),
                (slow.map(|(since, slow)| since.plus_millis(slow)), Expectation::Slow),
                (watch.done_by.filter(|_| expect.done_by.is_some()), Expectation::Overdue),
            ];
            let untold = found.into_iter().filter(|(_, what)| !watch.unmet.contains(what));
            deadlines.extend(untold.filter_map(|(at, what)| Some((at?, firing.number, what))));
        }
        let undone = self.watched.undone.filter(|_| expect.done_by.is_some());
        deadlines.extend(undone.map(|it| (it.by, it.number, Expectation::Overdue)));
        deadlines
    }

    fn known(&self, number: u32) -> Option<&Firing> {
        let buffered = self.buffered.as_ref().filter(|firing| firing.number == number);
        self.open.get(&number).or(buffered)
    }
}

impl Draft<'_> {
    /// Tells what is not as expected by now.
    pub(super) fn watch(&mut self) {
        let now = self.context.now;
        for (_, number, what) in self.state.deadlines().into_iter().filter(|(at, ..)| *at <= now) {
            self.unmet(number, what);
        }
    }

    /// Firings came due while the server was not there, and none of them is made up for.
    pub(super) fn watch_missed(&mut self, number: u32, planned: Timestamp, zone: &str) {
        let Some(spec) = self.state.spec.as_deref() else { return };
        let (late, by) = (spec.expects(Expectation::Late), spec.done_by(planned, Some(zone)));
        if late {
            self.unmet(number, Expectation::Late);
        }
        self.undone(number, by);
    }

    /// The run of a firing has begun to exist.
    pub(super) fn watch_started(&mut self, number: u32) {
        if self.state.watched.is_met_by(Expectation::Late, number) {
            self.met(Expectation::Late, "a run has begun");
        }
    }

    /// The run of a firing that is settled could not be started, or did not complete.
    pub(super) fn watch_failed(&mut self, firing: &Firing) {
        let by = firing.watch.as_ref().filter(|watch| !watch.unmet.contains(&Expectation::Overdue));
        let by = by.filter(|_| !firing.stopped).and_then(|watch| watch.done_by);
        self.undone(firing.number, by);
        self.watch_slow();
    }

    /// The run of a firing that is settled has completed.
    pub(super) fn watch_completed(&mut self, number: u32) {
        if self.state.watched.is_met_by(Expectation::Overdue, number) {
            self.met(Expectation::Overdue, "a run is done");
        }
        self.watch_slow();
    }

    /// A run whose end is known ended again: somebody has had it tried again.
    pub(super) fn watch_again(&mut self, number: u32, status: Status) -> bool {
        let undone = self.state.watched.undone.is_some_and(|undone| undone.number == number);
        let overdue = self.state.watched.unmet.get(&Expectation::Overdue) == Some(&number);
        if status != Status::Completed || !(undone || overdue) {
            return false;
        }
        self.push(Event::Recovered { number });
        self.watch_completed(number);
        true
    }

    /// What is expected no more was told, and is over.
    pub(super) fn watch_defined(&mut self) {
        for what in Expectation::ALL {
            if !self.state.spec.as_ref().is_some_and(|spec| spec.expects(what)) {
                self.met(what, "the schedule does not expect this any more");
            }
        }
    }

    /// The schedule is about to be deleted.
    pub(super) fn watch_deleted(&mut self) {
        for what in Expectation::ALL {
            self.met(what, "the schedule was deleted");
        }
    }

    /// No run is slow any more, if that is so.
    fn watch_slow(&mut self) {
        let slow = |firing: &Firing| {
            firing.watch.as_ref().is_some_and(|watch| watch.unmet.contains(&Expectation::Slow))
        };
        if !self.state.open.values().any(slow) {
            self.met(Expectation::Slow, "no run takes longer than usual");
        }
    }

    pub(super) fn undone(&mut self, number: u32, by: Option<Timestamp>) {
        let expects = |what| self.state.spec.as_ref().is_some_and(|spec| spec.expects(what));
        let by = by.filter(|_| expects(Expectation::Overdue));
        match by {
            Some(by) if by > self.context.now => self.push(Event::Undone { number, by }),
            Some(_) => self.unmet(number, Expectation::Overdue),
            None => {}
        }
    }

    fn unmet(&mut self, number: u32, what: Expectation) {
        let text = self.in_words(number, what);
        self.push(Event::Unmet { number, what });
        let status = if what == Expectation::Slow { "warn" } else { "fail" };
        self.observe(what, status, text, Some(number));
    }

    fn met(&mut self, what: Expectation, text: &str) {
        if let Some(number) = self.state.watched.unmet.get(&what).copied() {
            self.push(Event::Met { what });
            self.observe(what, "ok", text.to_owned(), Some(number));
        }
    }

    fn observe(&mut self, what: Expectation, status: &str, text: String, number: Option<u32>) {
        let spec = self.state.spec.as_deref();
        let firing = number.and_then(|number| self.state.known(number));
        let attrs = json!({
            "schedule": spec.map(|spec| spec.name.clone()),
            "workflow": spec.map(super::spec::ScheduleSpec::workflow_name),
            "firing": number,
            "due": firing.map(|firing| firing.planned.to_string()),
            "run": firing.filter(|it| it.started).map(|it| self.state.run_of(it).to_string()),
        });
        let observed = Observed {
            key: self.state.incident_key(what),
            status: status.into(),
            text: text.into(),
            attrs: Json::of(&attrs),
        };
        let message = Box::new(Message::Observed(Box::new(observed)));
        self.effects.push(Effect::Send { to: ExecutionId::monitor(OWN_MONITOR), message });
    }

    /// What is not as expected, for people.
    fn in_words(&self, number: u32, what: Expectation) -> String {
        let Some(spec) = self.state.spec.as_deref() else { return String::new() };
        let expect = spec.expect.clone().unwrap_or_default();
        let (name, now) = (&spec.name, self.context.now);
        let firing = self.state.known(number);
        let run = match firing {
            Some(firing) => format!("the run of schedule {name} that came due {}", firing.planned),
            None => format!("a run of schedule {name}"),
        };
        let given = |text: Option<Arc<str>>| text.unwrap_or_default();
        match what {
            Expectation::Late => {
                let within = given(expect.start_within);
                let why = match firing {
                    Some(firing) if self.state.open.contains_key(&firing.number) => {
                        "it was asked for and has not begun"
                    }
                    Some(_) => "it waits for the end of the run before",
                    None => "it came due while the server was not there",
                };
                format!("{run} did not begin within {within}: {why}")
            }
            Expectation::Slow => {
                let since = firing.and_then(|it| it.watch.as_ref()).and_then(|it| it.started_at);
                let so_far = span_in_words(since.map_or(0, |since| now.since(since)));
                let usual = self.state.watched.usual().map_or_else(String::new, |usual| {
                    let [median, longest] = [usual.median, usual.longest].map(span_in_words);
                    format!("usually {median} (longest {longest}), ")
                });
                format!("{run} takes long: {usual}now {so_far}")
            }
            Expectation::Overdue => {
                let by = given(expect.done_by);
                let why = match firing {
                    Some(firing) if firing.started => "it is under way",
                    Some(_) => "it has not begun",
                    None => "it did not complete, and none after it has",
                };
                format!("{run} is not done by {by}: {why}")
            }
        }
    }
}

/// A span of time for people, by its two largest units.
fn span_in_words(millis: i64) -> String {
    const UNITS: [(&str, i64); 4] =
        [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)];
    let found = UNITS.iter().position(|(_, size)| millis >= *size);
    let Some(found) = found else { return format!("{} ms", millis.max(0)) };
    let (unit, size) = UNITS[found];
    let (count, rest) = (millis / size, millis % size);
    match UNITS.get(found + 1).map(|(unit, size)| (rest / size, unit)) {
        Some((more, smaller)) if more > 0 && count < 10 => {
            format!("{count} {unit} {more} {smaller}")
        }
        _ => format!("{count} {unit}"),
    }
}
