//! What goes wrong, and how often.
//!
//! Each seed switches on a random half of the faults, with random strength: two faults that hide
//! each other when both always happen get their turns alone.

use crate::random::Random;

/// Chances in a hundred; 0 = never.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The process dies before a commit is durable.
    pub crash_before_commit: u32,
    /// The process dies when the commit is durable but nobody has seen anything of it.
    pub crash_after_commit: u32,
    /// Another node commits first: the decision is thrown away and made again.
    pub conflict: u32,
    /// A state is dropped from memory, and folded from history when it is needed again.
    pub forget: u32,
    /// A worker's report never arrives.
    pub report_lost: u32,
    /// A report arrives twice.
    pub report_repeated: u32,
    /// A report is held up, and arrives after others that were sent later.
    pub report_late: u32,
    /// A worker dies with its task: only the lease brings the task back.
    pub worker_dies: u32,
    /// A claim arrives again for a task that is held.
    pub claim_again: u32,
    /// The clock jumps far ahead.
    pub clock_jump: u32,
    /// An operator acts.
    pub operator: u32,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// A random mixture.
    pub fn drawn(random: &mut Random) -> Self {
        let mut some = |most: i64| {
            if random.chance(50) { 0 } else { random.between(1, most) as u32 }
        };
        Self {
            crash_before_commit: some(5),
            crash_after_commit: some(5),
            conflict: some(15),
            forget: some(30),
            report_lost: some(10),
            report_repeated: some(30),
            report_late: some(30),
            worker_dies: some(10),
            claim_again: some(20),
            clock_jump: some(6),
            operator: some(14),
        }
    }
}
