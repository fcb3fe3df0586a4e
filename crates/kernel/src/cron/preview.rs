//! What an expression will do, for people: every firing, and what changes of the clock do to it.

use jiff::civil::DateTime;

use super::{Cron, DstRule, Zone};
use crate::time::Timestamp;

/// One line of a preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The instant; for a time that is left out, when the clock passed it.
    pub at: Timestamp,
    /// What the clock shows then.
    pub local: DateTime,
    /// The clock's distance from UTC, as `+02:00`.
    pub offset: String,
    /// What the clock does around it.
    pub mark: Mark,
}

/// What a change of the clock does to an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Nothing.
    Regular,
    /// The time named does not exist that day: it runs at the first instant that does.
    Delayed {
        /// The first local time named that was left out.
        named: DateTime,
    },
    /// The time named does not exist that day, and nothing runs.
    LeftOut,
    /// The clock shows this time twice; it runs the first time only.
    OnlyFirst,
    /// The clock shows this time twice; this is the first.
    First,
    /// The clock shows this time twice; this is the second.
    Again,
}

impl Mark {
    /// Whether something runs.
    pub fn runs(&self) -> bool {
        *self != Self::LeftOut
    }

    /// The mark in words; empty for a regular one.
    pub fn describe(&self) -> String {
        match self {
            Self::Regular => String::new(),
            Self::Delayed { named } => {
                format!("gap: {} does not exist, runs at the first instant after", named.time())
            }
            Self::LeftOut => "gap: does not exist, does not run".to_owned(),
            Self::OnlyFirst => "overlap: comes twice, runs the first time".to_owned(),
            Self::First => "overlap: comes twice, runs now and again".to_owned(),
            Self::Again => "overlap: comes twice, runs again".to_owned(),
        }
    }
}

/// Changes of the clock between two firings that are looked at.
const CHANGES_MAX: usize = 200;

impl Cron {
    /// What happens after `after` and up to `until`, in order; at most `count_max` lines.
    pub fn preview(
        &self,
        after: Timestamp,
        until: Timestamp,
        zone: &Zone,
        rule: DstRule,
        count_max: usize,
    ) -> Vec<Occurrence> {
        let mut found = Vec::new();
        let mut from = after;
        while found.len() < count_max {
            let next = self.next(from, zone, rule).filter(|at| *at <= until);
            if self.follows_the_clock(rule) {
                let room = count_max - found.len();
                found.extend(self.left_out(from, next.unwrap_or(until), zone, room));
            }
            let Some(at) = next else { break };
            found.push(self.occurrence(at, zone, rule));
            from = at;
        }
        found.truncate(count_max);
        found
    }

    /// Tells an instant that this expression names.
    fn occurrence(&self, at: Timestamp, zone: &Zone, rule: DstRule) -> Occurrence {
        let local = zone.local(at);
        let mark = self.mark(at, local, zone, rule);
        Occurrence { at, local, offset: zone.offset_text(at), mark }
    }

    fn mark(&self, at: Timestamp, local: DateTime, zone: &Zone, rule: DstRule) -> Mark {
        let instant = jiff::Timestamp::from(at);
        let follows = self.follows_the_clock(rule);
        if !follows
            && let Some(change) = zone.last_change(instant)
            && change.at == instant
            && let Some(named) = self.locals(change.before, change.after, 1).first()
        {
            return Mark::Delayed { named: *named };
        }
        let ambiguous = zone.0.to_ambiguous_timestamp(local);
        let jiff::tz::AmbiguousOffset::Fold { before, .. } = ambiguous.offset() else {
            return Mark::Regular;
        };
        match follows {
            false => Mark::OnlyFirst,
            true if zone.0.to_offset(instant) == before => Mark::First,
            true => Mark::Again,
        }
    }

    /// Times that changes of the clock after `from` and up to `until` leave out.
    fn left_out(
        &self,
        from: Timestamp,
        until: Timestamp,
        zone: &Zone,
        count_max: usize,
    ) -> Vec<Occurrence> {
        let mut found = Vec::new();
        let mut at = jiff::Timestamp::from(from);
        for _ in 0..CHANGES_MAX {
            let Some(change) = zone.next_change(at).filter(|change| change.at <= until.into())
            else {
                break;
            };
            at = change.at;
            let instant = Timestamp::from(at);
            for local in self.locals(change.before, change.after, count_max - found.len()) {
                let offset = zone.offset_text(instant.plus_millis(-1));
                found.push(Occurrence { at: instant, local, offset, mark: Mark::LeftOut });
            }
        }
        found
    }
}
