//! Who is on call: people and how they are reached, rotations of layers, overrides.
//!
//! [`Roster::on_call`] alone says who is on call at an instant: routing, previews, calendars, tests
//! and the lint of gaps all ask it. It is a function of the roster and the instant, so whoever asks
//! gets the same answer. All arithmetic is on the wall clock of the rotation's zone: a hand-over at
//! 09:00 stays at 09:00 when the clocks change.

mod call;
mod entry;
mod ical;
mod layer;
mod read;
mod shift;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::calendar::Active;
use super::is_default;
use crate::time::Timestamp;

pub use call::{Called, Contacted, ON_CALL, Target};
pub use entry::{Entry, Rule, Unit};
pub use ical::entries as read_calendar;
pub(super) use read::{Speaks, read, reserved};
pub use shift::{By, Gap, Shift};

/// Days ahead for which somebody must be on call, so that nobody is told of a gap.
pub const GAP_DAYS: i64 = 180;

/// People, rotations and overrides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Roster {
    /// People by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people: BTreeMap<Arc<str>, Person>,
    /// Rotations by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rotations: BTreeMap<Arc<str>, Rotation>,
    /// Who stands in for others, and when; of several at an instant the last decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

/// Somebody who can be on call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// How they are reached, in the order of `after`.
    pub contact: Vec<Contact>,
}

/// One rung of a contact ladder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Receivers.
    pub to: Vec<Arc<str>>,
    /// Milliseconds after the person was called; told only while nobody has acknowledged.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after: i64,
}

/// Who is on call by turns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rotation {
    /// The zone of its times; empty = UTC.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tz: Arc<str>,
    /// Layers; of those that are in force the last decides.
    pub layers: Vec<Layer>,
    /// Entries of a calendar; where there are any, these decide instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calendar: Vec<Entry>,
    /// Who is on call when no layer is in force; nobody on purpose if it is empty. Absent: that is a
    /// gap, in which all people of the rotation are called.
    #[serde(rename = "else", default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Vec<Arc<str>>>,
    /// What a hand-over does to open incidents; absent: they stay with whom they called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<Follow>,
}

/// What a hand-over does to the open incidents for which a rotation was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follow {
    /// They stay, and the next person is told which there are.
    Digest,
    /// They call the next person; those that somebody has acknowledged stay, as with a digest.
    Move,
}

/// People who take turns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// In the order of their turns.
    pub people: Vec<Arc<str>>,
    /// The first hand-over, in minutes of the zone's wall clock since 1970-01-01 00:00: before it the
    /// layer is not in force. Absent = always; only where one person needs no turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<i64>,
    /// Minutes of the wall clock from one hand-over to the next; whole hours.
    #[serde(default = "week", skip_serializing_if = "is_week")]
    pub every: i64,
    /// Only within these hours; none = always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<Active>,
    /// Only turns in which such hours begin count, and these belong to the turn in which they begin.
    #[serde(default, skip_serializing_if = "is_default")]
    pub count_active: bool,
}

/// Minutes in a day.
const DAY: i64 = 24 * 60;
/// Minutes in a week.
const WEEK: i64 = 7 * DAY;

fn week() -> i64 {
    WEEK
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it by reference")]
fn is_week(minutes: &i64) -> bool {
    *minutes == WEEK
}

/// Somebody stands in for whoever has the turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Of which rotation.
    pub rotation: Arc<str>,
    /// Who is on call instead.
    pub who: Vec<Arc<str>>,
    /// From.
    pub from: Timestamp,
    /// Until, exclusive.
    pub to: Timestamp,
}

impl Override {
    /// Whether both stand in for the same turn: in the same rotation, from and to the same instants.
    pub fn is_at(&self, other: &Self) -> bool {
        (&self.rotation, self.from, self.to) == (&other.rotation, other.from, other.to)
    }
}

impl Roster {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.people.is_empty() && self.rotations.is_empty() && self.overrides.is_empty()
    }

    /// Adds another; what both define is taken from the other.
    pub fn extend(&mut self, other: Self) {
        self.people.extend(other.people);
        self.rotations.extend(other.rotations);
        for own in other.overrides {
            self.put_override(own);
        }
    }

    /// Adds an override as the last, which decides; it takes the place of one of the same rotation from and
    /// to the same instants. Returns whether there was one.
    pub fn put_override(&mut self, own: Override) -> bool {
        let count = self.overrides.len();
        self.overrides.retain(|it| !it.is_at(&own));
        let replaced = self.overrides.len() < count;
        self.overrides.push(own);
        replaced
    }

    /// The receivers by which people are reached.
    pub fn receivers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.people.values().flat_map(|person| person.contact.iter().flat_map(|it| &it.to))
    }

    /// What of it concerns those who are told by these names: the rotations that are called, the
    /// people in them, and their overrides.
    #[must_use]
    pub fn of_called<'a>(&self, told: impl IntoIterator<Item = &'a Arc<str>>) -> Self {
        let targets = told.into_iter().filter_map(|to| Target::parse(to));
        let names: BTreeSet<&str> = targets.map(|target| target.rotation).collect();
        let rotations: BTreeMap<_, _> = self
            .rotations
            .iter()
            .filter(|(name, _)| names.contains(&***name))
            .map(|(name, rotation)| (name.clone(), rotation.clone()))
            .collect();
        let overrides: Vec<Override> =
            self.overrides.iter().filter(|it| names.contains(&*it.rotation)).cloned().collect();
        let in_rotations = rotations.values().flat_map(Rotation::people);
        let named: BTreeSet<Arc<str>> =
            in_rotations.chain(overrides.iter().flat_map(|it| &it.who)).cloned().collect();
        let known = self.people.iter().filter(|(name, _)| named.contains(*name));
        let people = known.map(|(name, person)| (name.clone(), person.clone())).collect();
        Self { people, rotations, overrides }
    }
}

impl Rotation {
    /// Everybody in it, those of overrides not among them; names may occur more than once.
    pub fn people(&self) -> impl Iterator<Item = &Arc<str>> {
        let layers = self.layers.iter().flat_map(|layer| &layer.people);
        let layers = layers.chain(self.calendar.iter().flat_map(|entry| &entry.people));
        layers.chain(self.otherwise.iter().flatten())
    }
}
