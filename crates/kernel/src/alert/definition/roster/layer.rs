//! One layer: whose turn it is at an instant, and when that may change.
//!
//! Hand-overs and hours are minutes of the wall clock. An instant is compared with the instants of
//! these, never with their numbers, so that an hour which the clock shows twice is no second turn.

use jiff::ToSpan;
use jiff::civil::DateTime;

use super::{Layer, WEEK};
use crate::cron::Zone;
use crate::time::Timestamp;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
/// Minutes from a Monday's midnight to [`EPOCH`], a Thursday.
const FROM_MONDAY: i64 = 3 * 24 * 60;

/// Minutes of the wall clock since [`EPOCH`].
pub(super) fn minutes_of(local: DateTime) -> i64 {
    local.duration_since(EPOCH).as_secs().div_euclid(60)
}

/// What the clock shows at a minute.
pub(super) fn local_of(minutes: i64) -> Option<DateTime> {
    EPOCH.checked_add(minutes.minutes()).ok()
}

fn instant(minutes: i64, zone: &Zone) -> Option<Timestamp> {
    zone.instant(local_of(minutes)?)
}

/// The beginning of the week of a minute, on Monday.
fn week_of(minutes: i64) -> i64 {
    (minutes + FROM_MONDAY).div_euclid(WEEK) * WEEK - FROM_MONDAY
}

impl Layer {
    /// Whether turns are taken at all.
    fn has_turns(&self) -> bool {
        self.people.iter().any(|person| *person != self.people[0])
    }

    /// Its hours as minutes from the beginning of a week, none if it is always in force.
    fn hours(&self) -> Vec<(i64, i64)> {
        let mut hours: Vec<(i64, i64)> =
            self.active.iter().flat_map(|active| active.of_week()).collect();
        hours.sort_unstable();
        if !self.counts_hours() && covers_week(&hours) {
            hours.clear();
        }
        hours
    }

    /// Whether its turns are told by the hours.
    fn counts_hours(&self) -> bool {
        self.count_active && !self.active.is_empty() && self.has_turns()
    }

    /// Its hours of some weeks around a minute, as minutes of the wall clock.
    fn around(&self, minutes: i64) -> Vec<(i64, i64)> {
        let week = week_of(minutes);
        let hours = self.hours();
        let in_week = |at: i64| {
            let begin = week + at * WEEK;
            hours.iter().map(move |(from, to)| (begin + from, begin + to))
        };
        (-1..=2).flat_map(in_week).collect()
    }

    /// Who of its people has the turn; `None` if it is not in force.
    pub(super) fn place(&self, at: Timestamp, zone: &Zone) -> Option<usize> {
        if self.people.is_empty() || self.begins(zone).is_some_and(|begin| at < begin) {
            return None;
        }
        let local = minutes_of(zone.local(at));
        let mut hours = None;
        if !self.hours().is_empty() {
            let holds = |(from, to): &(i64, i64)| {
                let (Some(from), Some(to)) = (instant(*from, zone), instant(*to, zone)) else {
                    return false;
                };
                from <= at && at < to
            };
            // Of hours that overlap, those that began last.
            hours = Some(self.around(local).into_iter().filter(holds).map(|it| it.0).max()?);
        }
        if !self.has_turns() {
            return Some(0);
        }
        let first = self.first.unwrap_or_default();
        let turn = match hours.filter(|_| self.counts_hours()) {
            Some(begun) => self.counted(((begun - first).div_euclid(self.every)).max(0)),
            None => self.turn(at, local, zone),
        };
        let count = i64::try_from(self.people.len()).ok()?;
        usize::try_from(turn.rem_euclid(count)).ok()
    }

    fn begins(&self, zone: &Zone) -> Option<Timestamp> {
        instant(self.first?, zone)
    }

    /// The instant of a hand-over.
    fn handover(&self, turn: i64, zone: &Zone) -> Option<Timestamp> {
        instant(self.first.unwrap_or_default().checked_add(turn.checked_mul(self.every)?)?, zone)
    }

    /// The number of the turn at an instant, from 0.
    fn turn(&self, at: Timestamp, local: i64, zone: &Zone) -> i64 {
        let mut turn = (local - self.first.unwrap_or_default()).div_euclid(self.every);
        // Where the clock was set back it shows times that have been before.
        while self.handover(turn + 1, zone).is_some_and(|next| next <= at) {
            turn += 1;
        }
        while turn > 0 && self.handover(turn, zone).is_some_and(|this| this > at) {
            turn -= 1;
        }
        turn.max(0)
    }

    /// How many of the first turns have hours that begin in them: they repeat after some weeks.
    fn counted(&self, turns: i64) -> i64 {
        let period = WEEK / gcd(WEEK, self.every);
        let first = self.first.unwrap_or_default();
        let begins: Vec<i64> = self.hours().into_iter().map(|(from, _)| from).collect();
        let has_hours = |turn: i64| {
            let from = first + turn * self.every;
            let week = week_of(from);
            let to = from + self.every;
            // Of a turn of a week or more, any of the hours begins in it.
            self.every >= WEEK
                || begins.iter().any(|it| {
                    let next = if week + it < from { week + it + WEEK } else { week + it };
                    next < to
                })
        };
        let count = |turns: i64| (0..turns).filter(|turn| has_hours(*turn)).count() as i64;
        turns.div_euclid(period) * count(period) + count(turns.rem_euclid(period))
    }

    /// Instants near another at which its answer may change, in no order: those at and before it as
    /// far back as the last, those after it as far as the next.
    pub(super) fn edges(&self, at: Timestamp, zone: &Zone, found: &mut Vec<Timestamp>) {
        let begins = self.begins(zone);
        found.extend(begins);
        if begins.is_some_and(|begin| at < begin) {
            return;
        }
        let local = minutes_of(zone.local(at));
        let mut near: Vec<Timestamp> = Vec::new();
        for (from, to) in self.around(local) {
            near.extend([from, to].into_iter().filter_map(|it| instant(it, zone)));
        }
        if self.has_turns() && !self.counts_hours() {
            let turn = self.turn(at, local, zone);
            near.extend((turn..=turn + 2).filter_map(|turn| self.handover(turn, zone)));
        }
        found.extend(near.into_iter().filter(|it| begins.is_none_or(|begin| *it > begin)));
    }
}

/// Whether hours of a week, sorted, leave nothing of it out.
fn covers_week(hours: &[(i64, i64)]) -> bool {
    let Some((start, _)) = hours.first() else { return true };
    // What begins late in the week goes on into the next one.
    let carried = hours.iter().map(|(_, to)| to - WEEK).max().unwrap_or_default();
    let mut until = carried.max(0);
    if *start > until {
        return false;
    }
    for (from, to) in hours {
        if *from > until {
            return false;
        }
        until = until.max(*to);
    }
    until >= WEEK
}

fn gcd(one: i64, other: i64) -> i64 {
    if other == 0 { one } else { gcd(other, one % other) }
}
