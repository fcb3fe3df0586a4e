//! The next instant that an expression names in a zone, under either rule for changes of the clock.
//!
//! Every search is bounded: by the years that a matching day is looked for, and by the changes of
//! the clock until then.

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::AmbiguousOffset;

use super::{Cron, DstRule, Zone};
use crate::time::Timestamp;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

impl Cron {
    /// The first instant after `after`; `None` if there is none within 41 years.
    pub fn next(&self, after: Timestamp, zone: &Zone, rule: DstRule) -> Option<Timestamp> {
        let whole = after.millis().div_euclid(1000) * 1000;
        let after = jiff::Timestamp::from_millisecond(whole).ok()?;
        let found = if self.follows_the_clock(rule) {
            self.next_by_clock(after, zone, rule)
        } else {
            self.next_once(after, zone)
        };
        found.map(Timestamp::from)
    }

    /// Local times in their order, each at its first instant. That instant never decreases from one
    /// local time to the next, so the first that is late enough is the answer.
    fn next_once(&self, after: jiff::Timestamp, zone: &Zone) -> Option<jiff::Timestamp> {
        let start = zone.0.to_datetime(after).checked_add(SECOND).ok()?;
        let found = first_instant(self.next_local(start)?, zone)?;
        if found > after {
            return Some(found);
        }
        // The clock was set back, and what it shows now has been before. To look for that first would
        // cost each search as much again as all the rest of it.
        let change = zone.last_change(after)?;
        first_instant(self.next_local(start.max(change.before))?, zone)
    }

    /// Stretches without a change of the clock, one after the other.
    fn next_by_clock(
        &self,
        after: jiff::Timestamp,
        zone: &Zone,
        rule: DstRule,
    ) -> Option<jiff::Timestamp> {
        let mut from = after.checked_add(SECOND).ok()?;
        let horizon = zone.0.to_datetime(from).year().saturating_add(super::YEARS_MAX);
        loop {
            let offset = zone.0.to_offset(from);
            let start = offset.to_datetime(from);
            if start.year() > horizon {
                return None;
            }
            let found = self.next_local(start)?;
            let found = offset.to_timestamp(found).ok()?;
            match zone.next_change(from) {
                Some(change) if change.at <= found => from = change.at,
                _ if rule == DstRule::Spring && self.overlooks(found, zone) => {
                    from = found.checked_add(SECOND).ok()?;
                }
                _ => return Some(found),
            }
        }
    }

    /// Whether Spring passes over an instant. Where a gap ends within an hour (Lord Howe's, of half
    /// an hour), its search leaves the hour before by looking for the first minute named, and so
    /// finds none of the others in what is left of the hour.
    fn overlooks(&self, at: jiff::Timestamp, zone: &Zone) -> bool {
        let Some(change) = zone.last_change(at).filter(|change| change.before < change.after)
        else {
            return false;
        };
        let (local, end) = (zone.0.to_datetime(at), change.after);
        let Ok(hour_before) = change.before.checked_sub(SECOND) else { return false };
        end.minute() > 0
            && (local.date(), local.hour()) == (end.date(), end.hour())
            && super::first(self.minutes) != Some(local.minute())
            && super::has(self.hours, hour_before.hour())
            && self.matches_day(hour_before.date())
    }

    /// Local times named from `start` on and before `end`; at most `count_max`.
    pub(super) fn locals(&self, start: DateTime, end: DateTime, count_max: usize) -> Vec<DateTime> {
        let mut found = Vec::new();
        let mut from = start;
        while found.len() < count_max
            && let Some(local) = self.next_local(from).filter(|local| *local < end)
        {
            found.push(local);
            let Ok(next) = local.checked_add(SECOND) else { break };
            from = next;
        }
        found
    }
}

/// The first instant at which the clock shows a time, or has passed it.
pub(super) fn first_instant(local: DateTime, zone: &Zone) -> Option<jiff::Timestamp> {
    match zone.0.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // By the later offset it lies just before the change that leaves it out.
            let near = after.to_timestamp(local).ok()?;
            zone.next_change(near).map(|change| change.at)
        }
    }
}
