//! The one function that says who is on call, with the shifts and gaps that follow from it.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::super::calendar::zone_of;
use super::{Entry, Override, Roster, Rotation};
use crate::cron::Zone;
use crate::time::Timestamp;

/// Changes that are looked through for the beginning and the end of a shift; beyond, it is said to
/// have none. There are at most a few for each day.
const CHANGES_MAX: usize = 2_000;
/// Shifts that are told of one stretch of time.
pub(super) const SHIFTS_MAX: usize = 20_000;

/// Somebody's time on call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shift {
    /// Who is on call; nobody in a gap, and where `else` says so.
    pub people: Vec<Arc<str>>,
    /// Since when; absent = for longer than can be told.
    #[serde(serialize_with = "shown")]
    pub since: Option<Timestamp>,
    /// Until when, exclusive; absent = for longer than can be told.
    #[serde(serialize_with = "shown")]
    pub until: Option<Timestamp>,
    /// When it began, before the stretch of time that was asked about too; absent = longer ago than
    /// can be told. Names the shift for good.
    #[serde(serialize_with = "shown")]
    pub begins: Option<Timestamp>,
    /// The layer that decides, from 0, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// What decides, in words.
    pub why: String,
    /// What decides.
    #[serde(skip)]
    pub by: By,
}

#[expect(clippy::ref_option, reason = "serde calls it by reference")]
fn shown<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => to.serialize_some(&at.to_string()),
        None => to.serialize_none(),
    }
}

/// What decides who is on call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The override of this place among those of all rotations.
    Override(usize),
    /// What the calendar has.
    Calendar,
    /// The layer of this place.
    Layer(usize),
    /// `else`.
    Otherwise,
    /// Nothing: there is a gap.
    Gap,
}

/// A stretch of time in which nobody is on call, and nobody said that this is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// From.
    pub from: Timestamp,
    /// Until, exclusive; the end of the stretch if it goes on beyond.
    pub to: Timestamp,
}

/// A rotation with what it is asked by.
struct Asked<'a> {
    rotation: &'a Rotation,
    overrides: Vec<(usize, &'a Override)>,
    zone: Zone,
}

impl Roster {
    fn asked(&self, rotation: &str) -> Option<Asked<'_>> {
        let found = self.rotations.get(rotation)?;
        let overrides = self.overrides.iter().enumerate();
        let overrides = overrides.filter(|(_, it)| *it.rotation == *rotation).collect();
        Some(Asked { rotation: found, overrides, zone: zone_of(&found.tz) })
    }

    /// Who is on call at an instant; `None` if there is no such rotation.
    pub fn on_call(&self, rotation: &str, at: Timestamp) -> Option<Shift> {
        Some(self.asked(rotation)?.shift(at))
    }

    /// Who is on call, without the beginning and the end of the shift.
    pub(super) fn decide(&self, rotation: &str, at: Timestamp) -> Option<(By, Vec<Arc<str>>)> {
        Some(self.asked(rotation)?.decide(at))
    }

    /// The shifts that overlap a stretch of time, in order, cut to it; at most 20,000.
    pub fn shifts(&self, rotation: &str, from: Timestamp, to: Timestamp) -> Vec<Shift> {
        let Some(asked) = self.asked(rotation) else { return Vec::new() };
        let (mut shifts, mut at) = (Vec::new(), from);
        while at < to && shifts.len() < SHIFTS_MAX {
            let (by, people) = asked.decide(at);
            let until = asked.until(at, by, &people).filter(|it| *it < to).unwrap_or(to);
            let begins = if at == from { asked.since(at, by, &people) } else { Some(at) };
            let shift = asked.told(by, people, Some(at), Some(until));
            shifts.push(Shift { begins, ..shift });
            at = until;
        }
        shifts
    }

    /// The gaps of a rotation between two instants, in order.
    pub fn gaps(&self, rotation: &str, from: Timestamp, to: Timestamp) -> Vec<Gap> {
        let shifts = self.shifts(rotation, from, to);
        let gaps = shifts.into_iter().filter(|shift| shift.by == By::Gap);
        gaps.filter_map(|it| Some(Gap { from: it.since?, to: it.until? })).collect()
    }

    /// Everybody who can be called of a rotation at an instant, each once: those on call, then the
    /// others by the turns of the layer that decides or that an override stands in for, then those
    /// of the layers below it, then `else`, then all others.
    pub(super) fn line(&self, rotation: &str, at: Timestamp) -> Vec<Arc<str>> {
        let Some(asked) = self.asked(rotation) else { return Vec::new() };
        let mut line = asked.decide(at).1;
        let layers = asked.rotation.layers.iter().rev();
        let in_force = layers.filter_map(|it| Some((it, it.place(at, &asked.zone)?)));
        for (layer, place) in in_force {
            let turns = layer.people.iter().cycle().skip(place).take(layer.people.len());
            line.extend(turns.cloned());
        }
        line.extend(asked.rotation.otherwise.iter().flatten().cloned());
        line.extend(asked.rotation.people().cloned());
        let mut seen = std::collections::BTreeSet::new();
        line.retain(|person| seen.insert(person.clone()));
        line
    }
}

impl Asked<'_> {
    fn decide(&self, at: Timestamp) -> (By, Vec<Arc<str>>) {
        let mut overrides = self.overrides.iter().rev();
        if let Some((place, it)) = overrides.find(|(_, it)| it.from <= at && at < it.to) {
            return (By::Override(*place), it.who.clone());
        }
        let entries = self.rotation.calendar.iter();
        let mut lasting: Vec<(Timestamp, &Entry)> =
            entries.filter_map(|entry| Some((entry.lasts(at)?, entry))).collect();
        if !lasting.is_empty() {
            lasting.sort_by_key(|(since, _)| *since);
            let mut people: Vec<Arc<str>> = Vec::new();
            for person in lasting.into_iter().flat_map(|(_, entry)| &entry.people) {
                if !people.contains(person) {
                    people.push(person.clone());
                }
            }
            return (By::Calendar, people);
        }
        for (number, layer) in self.rotation.layers.iter().enumerate().rev() {
            if let Some(place) = layer.place(at, &self.zone) {
                return (By::Layer(number), vec![layer.people[place].clone()]);
            }
        }
        match &self.rotation.otherwise {
            Some(people) => (By::Otherwise, people.clone()),
            None => (By::Gap, Vec::new()),
        }
    }

    fn shift(&self, at: Timestamp) -> Shift {
        let (by, people) = self.decide(at);
        let (since, until) = (self.since(at, by, &people), self.until(at, by, &people));
        self.told(by, people, since, until)
    }

    fn told(
        &self,
        by: By,
        people: Vec<Arc<str>>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Shift {
        let why = match by {
            By::Override(place) => {
                let known = self.overrides.iter().find(|(it, _)| *it == place);
                known.map_or_else(String::new, |(_, it)| {
                    format!("an override from {} to {}", it.from, it.to)
                })
            }
            By::Calendar => "the calendar".to_owned(),
            By::Layer(number) => format!("layers[{number}]"),
            By::Otherwise if people.is_empty() => {
                "no layer is in force, and else says that nobody is on call".to_owned()
            }
            By::Otherwise => "else: no layer is in force".to_owned(),
            By::Gap => "a gap: no layer is in force, and there is no else".to_owned(),
        };
        let layer = match by {
            By::Layer(number) => Some(number),
            By::Override(_) | By::Calendar | By::Otherwise | By::Gap => None,
        };
        Shift { people, since, until, begins: since, layer, why, by }
    }

    /// Instants near another at which what decides may give way.
    fn edges(&self, at: Timestamp, by: By) -> Vec<Timestamp> {
        let mut found = Vec::new();
        // What stands behind whatever decides changes nothing.
        let (overrides, layers) = match by {
            By::Override(place) => (place, self.rotation.layers.len()),
            By::Calendar => (0, self.rotation.layers.len()),
            By::Layer(number) => (0, number),
            By::Otherwise | By::Gap => (0, 0),
        };
        for (_, it) in self.overrides.iter().filter(|(place, _)| *place >= overrides) {
            found.extend([it.from, it.to]);
        }
        let is_override = matches!(by, By::Override(_));
        for entry in self.rotation.calendar.iter().filter(|_| !is_override) {
            found.extend(entry.spans(at).into_iter().flat_map(|(from, to)| [from, to]));
        }
        for layer in &self.rotation.layers[layers..] {
            layer.edges(at, &self.zone, &mut found);
        }
        found
    }

    /// The next instant at which somebody else is on call, or by something else.
    fn until(&self, at: Timestamp, by: By, people: &[Arc<str>]) -> Option<Timestamp> {
        let mut at = at;
        for _ in 0..CHANGES_MAX {
            at = self.edges(at, by).into_iter().filter(|it| *it > at).min()?;
            let (now_by, now) = self.decide(at);
            if now_by != by || now != people {
                return Some(at);
            }
        }
        None
    }

    /// The instant since which the same people are on call, by the same.
    fn since(&self, at: Timestamp, by: By, people: &[Arc<str>]) -> Option<Timestamp> {
        let mut at = at;
        for _ in 0..CHANGES_MAX {
            let edge = self.edges(at, by).into_iter().filter(|it| *it <= at).max()?;
            at = edge.plus_millis(-1);
            let (then_by, then) = self.decide(at);
            if then_by != by || then != people {
                return Some(edge);
            }
        }
        None
    }
}
