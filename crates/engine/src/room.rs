//! How the room on the disk of the store shrinks, and when it would be used up.

use std::collections::VecDeque;

use kernel::Timestamp;

/// How far back is looked, and how far two looks are apart at least, in milliseconds.
const KEPT: i64 = 24 * 3_600_000;
const APART: i64 = 10 * 60_000;
/// Less time than this tells nothing of a day.
const TOLD_AFTER: i64 = 3_600_000;
/// What is further away than this is not told: ten years.
const TOLD_MAX: f64 = 10.0 * 365.0 * 86_400_000.0;

/// What was free within the last day.
#[derive(Debug, Default)]
pub(crate) struct Room {
    seen: VecDeque<(Timestamp, u64)>,
}

impl Room {
    /// So much is free now.
    pub(crate) fn see(&mut self, now: Timestamp, free: u64) {
        // A clock that was set back begins anew.
        if self.seen.back().is_some_and(|(at, _)| now < *at) {
            self.seen.clear();
        }
        if self.seen.back().is_some_and(|(at, _)| now.since(*at) < APART) {
            return;
        }
        self.seen.push_back((now, free));
        while self.seen.front().is_some_and(|(at, _)| now.since(*at) > KEPT) {
            self.seen.pop_front();
        }
    }

    /// When nothing is left if it goes on as in the last day; `None` if nothing says so.
    pub(crate) fn full_at(&self) -> Option<Timestamp> {
        let ((first, before), (last, free)) = (self.seen.front()?, self.seen.back()?);
        let (took, used) = (last.since(*first), before.checked_sub(*free)?);
        if took < TOLD_AFTER || used == 0 {
            return None;
        }
        let left = *free as f64 / used as f64 * took as f64;
        (left <= TOLD_MAX).then(|| last.plus_millis(left as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shrinks_is_used_up_at_a_time_that_can_be_told() {
        let hour = |hours: i64| Timestamp::from_millis(hours * 3_600_000);
        let mut room = Room::default();
        room.see(hour(0), 1000);
        assert_eq!(room.full_at(), None, "one look tells nothing");
        room.see(hour(0).plus_millis(APART), 900);
        assert_eq!(room.full_at(), None, "ten minutes tell nothing of a day");
        room.see(hour(2), 800);
        assert_eq!(room.full_at(), Some(hour(10)), "200 in 2 hours, 800 are left");
        room.see(hour(3), 1200);
        assert_eq!(room.full_at(), None, "there is more than before");
        // Only the last day counts.
        room.see(hour(30), 600);
        room.see(hour(33), 400);
        assert_eq!(room.full_at(), Some(hour(39)));
        room.see(hour(5), 300);
        assert_eq!(room.full_at(), None, "the clock was set back");
    }
}
