//! A wheel of timers: sets, moves and clears an instant in constant time, however many there are.
//!
//! A hierarchical timing wheel (Varghese and Lauck, 1987): each level is a ring of slots, and a slot
//! of one level is as long as the whole ring of the level below it. What comes nearer falls from
//! ring to ring until it lies in the lowest, whose slots are a millisecond.

use std::collections::{BTreeMap, HashMap};

use kernel::{ExecutionId, Timestamp};

/// Two to this many slots make a ring.
const SLOT_BITS: u32 = 8;
const SLOTS: usize = 1 << SLOT_BITS;
/// Rings: the highest reaches 8,900 years ahead.
const LEVELS: usize = 6;
/// The last instant that has a slot; what is later lies there too.
const LAST: i64 = (1 << (SLOT_BITS as usize * LEVELS)) - 1;
/// No entry.
const NONE: u32 = u32::MAX;

/// Instants by execution; an execution has one at most.
pub(crate) struct Wheel {
    /// Everything before this instant has been taken, in milliseconds since the epoch.
    base: i64,
    entries: Vec<Entry>,
    /// Entries that are not in use.
    free: Vec<u32>,
    of: HashMap<ExecutionId, u32>,
    /// The first entry of each slot, ring after ring.
    heads: Vec<u32>,
    /// Which slots are not empty, a bit for each.
    occupied: [[u64; SLOTS / 64]; LEVELS],
}

/// One instant, in the list of its slot.
struct Entry {
    id: ExecutionId,
    at: i64,
    slot: usize,
    before: u32,
    after: u32,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            base: 0,
            entries: Vec::new(),
            free: Vec::new(),
            of: HashMap::new(),
            heads: vec![NONE; SLOTS * LEVELS],
            occupied: [[0; SLOTS / 64]; LEVELS],
        }
    }
}

impl Wheel {
    /// Sets or moves the instant of an execution. One in the past is due at once.
    pub(crate) fn set(&mut self, id: &ExecutionId, at: Timestamp) {
        self.clear(id);
        let at = at.millis().clamp(0, LAST);
        let entry = Entry { id: id.clone(), at, slot: 0, before: NONE, after: NONE };
        let index = if let Some(index) = self.free.pop() {
            self.entries[index as usize] = entry;
            index
        } else {
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        };
        self.of.insert(id.clone(), index);
        self.link(index);
    }

    /// Clears the instant of an execution.
    pub(crate) fn clear(&mut self, id: &ExecutionId) {
        if let Some(index) = self.of.remove(id) {
            self.unlink(index);
            self.free.push(index);
        }
    }

    /// Goes back to an earlier instant; whatever is set stays set.
    pub(crate) fn turn_back(&mut self, now: Timestamp) {
        if self.base <= now.millis() {
            return;
        }
        let wheel = std::mem::take(self);
        self.base = now.millis().max(0);
        for (id, index) in &BTreeMap::from_iter(wheel.of) {
            self.set(id, Timestamp::from_millis(wheel.entries[*index as usize].at));
        }
    }

    /// Whether an execution has an instant.
    pub(crate) fn contains(&self, id: &ExecutionId) -> bool {
        self.of.contains_key(id)
    }

    /// When to look next: the soonest instant, or one before it at which the wheel has to turn.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.next_slot().map(|(at, _)| Timestamp::from_millis(at))
    }

    /// Takes everything that is due, soonest first.
    pub(crate) fn take(&mut self, now: Timestamp) -> Vec<(Timestamp, ExecutionId)> {
        let mut due = Vec::new();
        while let Some((at, slot)) = self.next_slot().filter(|(at, _)| *at <= now.millis()) {
            self.base = at;
            let mut index = std::mem::replace(&mut self.heads[slot], NONE);
            self.mark(slot, false);
            while index != NONE {
                let entry = &self.entries[index as usize];
                let after = entry.after;
                if slot < SLOTS {
                    self.of.remove(&entry.id);
                    due.push((Timestamp::from_millis(entry.at), entry.id.clone()));
                    self.free.push(index);
                } else {
                    self.link(index);
                }
                index = after;
            }
        }
        due
    }

    /// The soonest slot that is not empty, and when it begins.
    fn next_slot(&self) -> Option<(i64, usize)> {
        // A lower ring is all within the present slot of the higher ones, so it comes first.
        (0..LEVELS).find_map(|level| {
            let words = self.occupied[level].iter().enumerate();
            let mut found = words.filter(|(_, word)| **word != 0);
            let slot = found.next().map(|(at, word)| at * 64 + word.trailing_zeros() as usize)?;
            let shift = SLOT_BITS * level as u32;
            let ring = self.base >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
            let at = ring | (slot as i64) << shift;
            Some((at.max(self.base), level * SLOTS + slot))
        })
    }

    /// Puts an entry into the list of its slot: the ring is that of the highest digit in which its
    /// instant differs from the base.
    fn link(&mut self, index: u32) {
        let at = self.entries[index as usize].at.max(self.base);
        let differs = (at ^ self.base) as u64;
        let level = (differs | 1).ilog2() / SLOT_BITS;
        let digit = (at >> (SLOT_BITS * level)) as usize % SLOTS;
        let slot = level as usize * SLOTS + digit;
        let head = std::mem::replace(&mut self.heads[slot], index);
        if head != NONE {
            self.entries[head as usize].before = index;
        }
        let entry = &mut self.entries[index as usize];
        (entry.slot, entry.before, entry.after) = (slot, NONE, head);
        self.mark(slot, true);
    }

    fn unlink(&mut self, index: u32) {
        let entry = &self.entries[index as usize];
        let (slot, before, after) = (entry.slot, entry.before, entry.after);
        if after != NONE {
            self.entries[after as usize].before = before;
        }
        if before == NONE {
            self.heads[slot] = after;
            self.mark(slot, after != NONE);
        } else {
            self.entries[before as usize].after = after;
        }
    }

    fn mark(&mut self, slot: usize, occupied: bool) {
        let (level, digit) = (slot / SLOTS, slot % SLOTS);
        let bit = 1 << (digit % 64);
        let word = &mut self.occupied[level][digit / 64];
        if occupied {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, done slowly.
    #[derive(Default)]
    struct Slow(BTreeMap<ExecutionId, i64>);

    impl Slow {
        fn take(&mut self, now: i64) -> Vec<(Timestamp, ExecutionId)> {
            let due = self.0.iter().filter(|(_, at)| **at <= now);
            let due = due.map(|(id, at)| (Timestamp::from_millis(*at), id.clone())).collect();
            self.0.retain(|_, at| *at > now);
            due
        }
    }

    /// Xorshift: the same numbers each time.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }
    }

    #[test]
    fn a_wheel_takes_what_a_slow_search_takes() {
        for seed in 1..200_u64 {
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ seed);
            let (mut wheel, mut slow) = (Wheel::default(), Slow::default());
            let mut now = 1_790_000_000_000_i64;
            for _ in 0..400 {
                let id = ExecutionId::new(format!("x{}", dice.below(40)));
                // Near and far, and sometimes in the past.
                let far = 1 << dice.below(36);
                let at = now - 50 + dice.below(far + 100) as i64;
                match dice.below(10) {
                    0 => {
                        wheel.clear(&id);
                        slow.0.remove(&id);
                    }
                    1..=7 => {
                        wheel.set(&id, Timestamp::from_millis(at));
                        slow.0.insert(id.clone(), at);
                    }
                    _ => {
                        now += dice.below(far + 1) as i64;
                        let mut taken = wheel.take(Timestamp::from_millis(now));
                        let mut expected = slow.take(now);
                        // Those of one millisecond, and those that were late, have no order.
                        taken.sort();
                        expected.sort();
                        assert_eq!(taken, expected, "seed {seed} at {now}");
                    }
                }
                assert_eq!(wheel.contains(&id), slow.0.contains_key(&id));
                let soonest = slow.0.values().min().copied();
                let next = wheel.next().map(Timestamp::millis);
                assert_eq!(next.is_some(), soonest.is_some());
                if let (Some(next), Some(soonest)) = (next, soonest) {
                    assert!(next <= soonest.max(wheel.base), "never too late: {next} {soonest}");
                }
            }
        }
    }

    #[test]
    fn a_wheel_that_is_turned_back_waits_by_the_earlier_clock() {
        let hour = 3_600_000;
        let now = 1_790_000_000_000;
        let at = |millis: i64| Timestamp::from_millis(now + millis);
        let (first, soon, far) =
            (ExecutionId::new("a"), ExecutionId::new("b"), ExecutionId::new("c"));
        let mut wheel = Wheel::default();
        wheel.set(&first, at(2 * hour));
        wheel.set(&far, at(3 * hour));
        assert_eq!(wheel.take(at(2 * hour)), [(at(2 * hour), first)]);
        wheel.turn_back(at(0));
        wheel.set(&soon, at(10));
        assert!(wheel.next().is_some_and(|next| next <= at(10)));
        assert_eq!(wheel.take(at(10)), [(at(10), soon)]);
        assert!(wheel.take(at(2 * hour)).is_empty());
        assert_eq!(wheel.take(at(3 * hour)), [(at(3 * hour), far)]);
    }

    #[test]
    fn due_ones_come_in_their_order() {
        let mut wheel = Wheel::default();
        let now = 1_790_000_000_000;
        let at = |n: i64| Timestamp::from_millis(now + 37 * n);
        let ids: Vec<_> = (0..1000).map(|n| (at(n), ExecutionId::new(format!("x{n}")))).collect();
        for (at, id) in ids.iter().rev() {
            wheel.set(id, *at);
        }
        assert_eq!(wheel.take(at(500)), ids[..=500]);
        assert_eq!(wheel.take(Timestamp::MAX), ids[501..]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn what_never_comes_harms_nobody() {
        let mut wheel = Wheel::default();
        let (never, soon) = (ExecutionId::new("never"), ExecutionId::new("soon"));
        wheel.set(&never, Timestamp::MAX);
        wheel.set(&soon, Timestamp::from_millis(1_790_000_000_000));
        let at = Timestamp::from_millis;
        assert_eq!(wheel.take(at(1_790_000_000_001)), [(at(1_790_000_000_000), soon)]);
        assert!(wheel.contains(&never));
    }
}
