//! What happens to the process, and how often.

use crate::random::Random;

/// Chances in a hundred; 0 = never.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// The process dies at one of the points at which a death matters.
    pub(super) death: u32,
    /// It dies, and stays away for minutes or hours.
    pub(super) outage: u32,
    /// A commit is refused because another came first: the decision is made again.
    pub(super) conflict: u32,
    /// A state is dropped from memory, and folded from history when it is needed again.
    pub(super) forget: u32,
    /// A monitor's history is replaced by what it comes to.
    pub(super) snapshot: u32,
    /// The waker is late.
    pub(super) late: u32,
}

impl Faults {
    /// A random mixture.
    pub(super) fn drawn(random: &mut Random) -> Self {
        let mut some = |most: i64| {
            if random.chance(40) { 0 } else { random.between(1, most) as u32 }
        };
        Self {
            death: some(5),
            outage: some(2),
            conflict: some(15),
            forget: some(30),
            snapshot: some(10),
            late: some(40),
        }
    }
}
