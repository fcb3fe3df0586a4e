//! The time limit of one evaluation: processor time of its thread, so that a busy neighbour fails
//! nobody's script, and a generous bound in wall time.

use std::time::{Duration, Instant};

use kernel::SCRIPT_WALL_FACTOR;
use rustix::time::{ClockId, clock_gettime};

/// When an evaluation that began on this thread has to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimit {
    begun: Instant,
    time: Duration,
    /// Processor time of the thread at the beginning. Asked for at the first look, as most
    /// evaluations are over before: until then all time counts.
    used_before: Option<Duration>,
}

impl TimeLimit {
    /// The evaluation begins now and may take this much processor time.
    pub(crate) fn begin(time: Duration) -> Self {
        Self { begun: Instant::now(), time, used_before: None }
    }

    /// Whether the time is over. To be asked now and then, always on the same thread.
    pub(crate) fn is_over(&mut self) -> bool {
        let elapsed = self.begun.elapsed();
        let used_before = match self.used_before {
            Some(used_before) => used_before,
            None => *self.used_before.insert(processor_time().saturating_sub(elapsed)),
        };
        if elapsed < self.time {
            return false;
        }
        elapsed >= self.time * SCRIPT_WALL_FACTOR
            || processor_time().saturating_sub(used_before) >= self.time
    }
}

/// Processor time that this thread has used.
fn processor_time() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(used).unwrap_or_default()
}
