//! What goes wrong with the process, its store and those outside, and how often.

use crate::random::Random;

/// Chances, of the store in a thousand calls, else in a hundred; 0 = never.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// A commit is refused as if another had been first.
    pub(super) conflict: u32,
    /// From some commit on all are refused like that for a while.
    pub(super) rival: u32,
    /// A call fails, and nothing is done.
    pub(super) fails: u32,
    /// A write is done, and its answer is an error.
    pub(super) unknown: u32,
    /// A call takes its time: up to seconds.
    pub(super) hangs: u32,
    /// From some call on nothing works for a while.
    pub(super) outage: u32,
    /// The process dies before or after a call.
    pub(super) death: u32,
    /// A worker dies with its task.
    pub(super) worker_dies: u32,
    /// A report never arrives.
    pub(super) report_lost: u32,
    /// A report arrives twice.
    pub(super) report_repeated: u32,
    /// A report is held up.
    pub(super) report_late: u32,
    /// Something of a worker's or a runner's fails.
    pub(super) work_fails: u32,
    /// A runner does what it should, and does not say so.
    pub(super) mute: u32,
}

impl Faults {
    /// Nothing goes wrong.
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// A random mixture: each seed has about half of them.
    pub(super) fn drawn(random: &mut Random) -> Self {
        let mut some = |most: i64| {
            if random.chance(50) { 0 } else { random.between(1, most) as u32 }
        };
        Self {
            conflict: some(120),
            fails: some(60),
            unknown: some(60),
            hangs: some(40),
            outage: some(3),
            death: some(8),
            worker_dies: some(15),
            report_lost: some(15),
            report_repeated: some(30),
            report_late: some(30),
            work_fails: some(30),
            mute: some(20),
            // Last, so that seeds keep what they had before.
            rival: some(4),
        }
    }
}
