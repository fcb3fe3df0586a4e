//! What a schedule will do between two instants, with what changes of the clock do to it, and which runs meet.

use super::due::{Calendar, Foreseen};
use super::spec::ScheduleSpec;
use crate::cron::Mark;
use crate::time::Timestamp;

impl Foreseen {
    /// What a change of the clock does to it, in words; empty for nothing.
    pub fn note(&self) -> String {
        match &self.mark {
            Mark::Delayed { named } => format!(
                "{} does not exist → {}",
                named.strftime("%H:%M"),
                self.local.strftime("%H:%M")
            ),
            mark => mark.describe(),
        }
    }
}

impl ScheduleSpec {
    /// Its instants between two others, both included, in order, each once; at most so many. Lines that cannot
    /// be read name none.
    pub fn foresee(&self, from: Timestamp, to: Timestamp, most: usize) -> Vec<Foreseen> {
        let mut found = Calendar::of(self).foresee(from, to, most);
        found.sort_by_key(|it| (it.at, !it.mark.runs()));
        found.dedup_by(|later, first| later.at == first.at);
        found.truncate(most);
        found
    }
}

/// How often spans of one list meet those of another, and the first two that do. Both are in order.
pub fn overlaps([one, other]: [&[(Timestamp, Timestamp)]; 2]) -> Option<(usize, [Timestamp; 2])> {
    let (mut count, mut first, mut begin) = (0, None, 0);
    for (from, to) in one {
        while other.get(begin).is_some_and(|(_, ends)| ends <= from) {
            begin += 1;
        }
        // Each firing counts once, however many it meets.
        if let Some((meets, _)) = other.get(begin).filter(|(begins, _)| begins < to) {
            count += 1;
            first = first.or(Some([*from, *meets]));
        }
    }
    first.map(|first| (count, first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::parse_schedule;

    #[test]
    fn a_time_that_does_not_exist_is_told_with_the_one_in_its_place() {
        let schedule = parse_schedule(
            r#"{"name": "yearly", "cronExpression": "0 30 2 * * *", "zoneId": "Europe/Oslo",
                "startWorkflowRequest": {"name": "w"}}"#,
        )
        .expect("it can be read");
        let day = |text: &str| text.parse::<jiff::Timestamp>().expect("an instant").into();
        let spring = schedule.foresee(day("2026-03-28T22:00:00Z"), day("2026-03-30T22:00:00Z"), 10);
        let told: Vec<_> = spring.iter().map(Foreseen::note).collect();
        assert_eq!(told, ["02:30 does not exist → 03:00", ""]);
        assert_eq!(
            schedule.foresee(day("2026-03-28T22:00:00Z"), day("2026-04-30T22:00:00Z"), 5).len(),
            5
        );
    }

    #[test]
    fn each_that_meets_another_counts_once() {
        let at = Timestamp::from_millis;
        let one = [(at(0), at(10)), (at(20), at(30)), (at(40), at(50))];
        let other = [(at(5), at(6)), (at(7), at(25)), (at(50), at(60))];
        assert_eq!(overlaps([&one, &other]), Some((2, [at(0), at(5)])));
        assert_eq!(overlaps([&one[2..], &other]), None);
    }
}
