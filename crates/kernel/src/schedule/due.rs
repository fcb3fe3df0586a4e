//! Which instants a schedule names. A line that cannot be read names none and stops no other.

use std::sync::Arc;

use jiff::civil::DateTime;

use super::spec::ScheduleSpec;
use crate::cron::{Cron, DstRule, Mark, Zone};
use crate::time::Timestamp;

/// An instant that a schedule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The instant.
    pub at: Timestamp,
    /// The expression that names it; of several, the first.
    pub cron: Arc<str>,
    /// Its zone.
    pub zone: Arc<str>,
}

/// An instant of a schedule, or one that a change of the clock leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// The instant; of a time that is left out, when the clock passed it.
    pub at: Timestamp,
    /// What the clock of its zone shows then.
    pub local: DateTime,
    /// What the clock does around it.
    pub mark: Mark,
    /// The expression that names it.
    pub cron: Arc<str>,
    /// Its zone.
    pub zone: Arc<str>,
}

/// The lines of a schedule, read.
pub(super) struct Calendar {
    lines: Vec<Line>,
    rule: DstRule,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

struct Line {
    cron: Cron,
    zone: Zone,
    text: Arc<str>,
    place: Arc<str>,
}

impl Calendar {
    pub(super) fn of(spec: &ScheduleSpec) -> Self {
        let lines = spec.lines().into_iter().filter_map(|line| {
            let cron = Cron::parse(&line.cron_expression).ok()?;
            let zone = Zone::named(&line.zone_id).ok()?;
            Some(Line { cron, zone, text: line.cron_expression, place: line.zone_id })
        });
        Self {
            lines: lines.collect(),
            rule: spec.dst,
            start: spec.schedule_start_time,
            end: spec.schedule_end_time,
        }
    }

    /// Whether it names times again and again, rather than a few times of the day.
    pub(super) fn is_frequent(&self) -> bool {
        self.lines.iter().any(|line| line.cron.is_frequent())
    }

    /// The first instant after `after`, within the bounds of the schedule.
    pub(super) fn next(&self, after: Timestamp) -> Option<Planned> {
        let mut cursors = self.cursors(after);
        self.advance(&mut cursors)
    }

    /// Instants after `after` and up to `until`, in order; at most `count_max`.
    pub(super) fn between(
        &self,
        after: Timestamp,
        until: Timestamp,
        count_max: usize,
    ) -> Vec<Planned> {
        let mut found = Vec::new();
        let mut cursors = self.cursors(after);
        while found.len() < count_max
            && let Some(planned) = self.advance(&mut cursors).filter(|next| next.at <= until)
        {
            found.push(planned);
        }
        found
    }

    /// What each line names from `from` to `to`, both included, or would name but for a change of the clock; at
    /// most `count_max` of each line, in no order of all.
    pub(super) fn foresee(
        &self,
        from: Timestamp,
        to: Timestamp,
        count_max: usize,
    ) -> Vec<Foreseen> {
        let after = self.start.map_or(from, |start| from.max(start)).plus_millis(-1);
        let until = self.end.map_or(to, |end| to.min(end));
        let mut found = Vec::new();
        for line in &self.lines {
            let named = line.cron.preview(after, until, &line.zone, self.rule, count_max);
            found.extend(named.into_iter().map(|it| Foreseen {
                at: it.at,
                local: it.local,
                mark: it.mark,
                cron: line.text.clone(),
                zone: line.place.clone(),
            }));
        }
        found
    }

    /// The last instants after `after` and up to `until`, in order; at most `count_max`.
    pub(super) fn last_between(
        &self,
        after: Timestamp,
        until: Timestamp,
        count_max: usize,
    ) -> Vec<Planned> {
        // A schedule names no two instants within one second.
        let mut window = i64::try_from(count_max).unwrap_or(i64::MAX).saturating_mul(1000);
        loop {
            let from = after.max(until.plus_millis(window.saturating_neg()));
            let mut found = self.between(from, until, usize::MAX);
            if found.len() >= count_max || from == after {
                return found.split_off(found.len().saturating_sub(count_max));
            }
            window = window.saturating_mul(2);
        }
    }

    /// Where each line stands.
    fn cursors(&self, after: Timestamp) -> Vec<Option<Timestamp>> {
        let after = self.start.map_or(after, |start| after.max(start.plus_millis(-1)));
        self.lines.iter().map(|line| line.cron.next(after, &line.zone, self.rule)).collect()
    }

    fn advance(&self, cursors: &mut [Option<Timestamp>]) -> Option<Planned> {
        let at = cursors.iter().flatten().min().copied()?;
        if self.end.is_some_and(|end| at > end) {
            return None;
        }
        let mut found = None;
        for (line, cursor) in self.lines.iter().zip(cursors) {
            if *cursor == Some(at) {
                *cursor = line.cron.next(at, &line.zone, self.rule);
                found.get_or_insert_with(|| Planned {
                    at,
                    cron: line.text.clone(),
                    zone: line.place.clone(),
                });
            }
        }
        found
    }
}
