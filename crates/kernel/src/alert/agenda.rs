//! Which incidents of a monitor an instant or a fact concerns, so that a monitor with thousands of
//! them need not go through all of them for each.
//!
//! It is kept for monitors that receive alerts. Everything in it follows from the incidents: it is
//! not stored, and made anew when facts come that may concern all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::event::Event;
use super::incident::Incident;
use super::monitor::Monitor;
use crate::time::Timestamp;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Agenda {
    /// Whether it speaks of all incidents but those touched since.
    is_whole: bool,
    /// When time alone may change something, and of which incident.
    due: BTreeSet<(Timestamp, Arc<str>)>,
    /// The same by incident.
    at: BTreeMap<Arc<str>, Timestamp>,
    /// Incidents of which something waits to be told with others.
    owed: BTreeSet<Arc<str>>,
    /// Incidents that changed since they were looked at.
    touched: BTreeSet<Arc<str>>,
    /// Incidents by their numbers: some, and no wrong ones.
    numbers: BTreeMap<u32, Arc<str>>,
}

impl Agenda {
    /// Something concerns all incidents: they are all to be looked at.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Makes sure that all incidents are known by their numbers.
    pub(super) fn number(&mut self, incidents: &BTreeMap<Arc<str>, Incident>) {
        // None of those that are known is wrong, so as many as there are is all of them.
        if self.numbers.len() != incidents.len() {
            self.numbers = incidents.iter().map(|(key, it)| (it.number, key.clone())).collect();
        }
    }

    /// The incident of a number, see [`Self::number`].
    pub(super) fn numbered(&self, number: u32) -> Option<Arc<str>> {
        self.numbers.get(&number).cloned()
    }

    /// An incident changed.
    pub(super) fn touch(&mut self, key: &Arc<str>) {
        if self.is_whole {
            self.touched.insert(key.clone());
        }
    }

    /// The incidents to look at now; `None` = all of them.
    fn concerned(&self, now: Timestamp) -> Option<BTreeSet<Arc<str>>> {
        if !self.is_whole {
            return None;
        }
        let mut keys = self.touched.clone();
        let mut group = false;
        for key in self.due(now) {
            // What waits with it may be told with it.
            group |= self.owed.contains(key);
            keys.insert(key.clone());
        }
        if group {
            keys.extend(self.owed.iter().cloned());
        }
        Some(keys)
    }

    /// Incidents about which time may have changed something by now.
    fn due(&self, now: Timestamp) -> impl Iterator<Item = &Arc<str>> {
        self.due.iter().take_while(move |(at, _)| *at <= now).map(|(_, key)| key)
    }

    fn set(&mut self, key: &Arc<str>, at: Option<Timestamp>, owes: bool) {
        let before = match at {
            Some(at) => self.at.insert(key.clone(), at),
            None => self.at.remove(key),
        };
        if before != at {
            if let Some(before) = before {
                self.due.remove(&(before, key.clone()));
            }
            self.due.extend(at.map(|at| (at, key.clone())));
        }
        if owes {
            self.owed.insert(key.clone());
        } else {
            self.owed.remove(key);
        }
    }
}

impl Monitor {
    /// Notes in the agenda whom a fact concerns; asked before the fact is folded.
    pub(super) fn concern(&mut self, event: &Event) {
        if !self.is_indexed() {
            return;
        }
        match event {
            Event::Began { key, .. } => {
                self.agenda.numbers.insert(self.next_number, key.clone());
                self.agenda.touch(key);
            }
            Event::Dropped { key } => {
                if let Some(incident) = self.incidents.get(key) {
                    self.agenda.numbers.remove(&incident.number);
                }
                self.agenda.touch(key);
            }
            Event::Notified(notified) => {
                notified.keys.iter().for_each(|key| self.agenda.touch(key));
            }
            Event::Delivered(delivered) => {
                let about = self.deliveries.get(&delivered.sequence);
                for (key, _) in about.iter().flat_map(|delivery| &delivery.incidents) {
                    self.agenda.touch(key);
                }
            }
            // Folding it names the incidents.
            Event::Prolonged { .. }
            | Event::At(_)
            | Event::Planned(_)
            | Event::Checking { .. }
            | Event::Checked { .. }
            | Event::Missed
            | Event::Counted(_)
            | Event::Pinged(_)
            | Event::Expected { .. }
            | Event::Noted { .. }
            | Event::RunOver => {}
            Event::Snapshot(_)
            | Event::Defined(_)
            | Event::Removed
            | Event::Resent { .. }
            | Event::Parent { .. }
            | Event::ParentsAsked { .. }
            | Event::ParentsAnswered
            | Event::ClockSetBack { .. }
            | Event::Silences(_) => self.agenda.clear(),
            Event::Seen(_)
            | Event::Absent { .. }
            | Event::Moved(_)
            | Event::Stepped { .. }
            | Event::Contacted { .. }
            | Event::HandedOver { .. }
            | Event::Rerouted { .. }
            | Event::FellBack { .. }
            | Event::Owed { .. }
            | Event::Suppressed { .. }
            | Event::Released { .. } => {
                if let Some(key) = event.incident() {
                    self.agenda.touch(key);
                }
            }
        }
    }

    /// The incidents that may owe something now.
    pub(super) fn concerned(&self, now: Timestamp) -> Vec<Arc<str>> {
        let some = if self.is_indexed() { self.agenda.concerned(now) } else { None };
        match some {
            Some(keys) => keys.into_iter().filter(|key| self.incidents.contains_key(key)).collect(),
            None => self.incidents.keys().cloned().collect(),
        }
    }

    /// The incidents about which time alone may have changed something by now.
    pub(super) fn due_incidents(&self, now: Timestamp) -> Vec<Arc<str>> {
        if self.is_indexed() && self.agenda.is_whole {
            // In the order of their keys, as all others.
            let due: BTreeSet<Arc<str>> = self.agenda.due(now).cloned().collect();
            return due.into_iter().collect();
        }
        self.incidents.keys().cloned().collect()
    }

    /// Brings the agenda up to date, after everything was looked at that it names.
    pub(super) fn plan_incidents(&mut self) {
        if !self.is_indexed() {
            return;
        }
        let mut agenda = std::mem::take(&mut self.agenda);
        let touched = std::mem::take(&mut agenda.touched);
        if agenda.is_whole {
            for key in &touched {
                let incident = self.incidents.get(key);
                let at = incident.and_then(|incident| self.incident_wake_at(incident));
                agenda.set(key, at, incident.is_some_and(owes));
            }
        } else {
            for (key, incident) in &self.incidents {
                agenda.set(key, self.incident_wake_at(incident), owes(incident));
            }
            agenda.is_whole = true;
        }
        self.agenda = agenda;
    }

    /// The next instant at which time alone may change something about some incident.
    pub(super) fn incidents_wake_at(&self) -> Option<Timestamp> {
        if self.is_indexed() && self.agenda.is_whole && self.agenda.touched.is_empty() {
            return self.agenda.due.first().map(|(at, _)| *at);
        }
        self.incidents.values().filter_map(|incident| self.incident_wake_at(incident)).min()
    }
}

/// Whether something of it waits to be told with others.
fn owes(incident: &Incident) -> bool {
    incident.told.values().any(|told| told.owed.is_some())
}
