//! The durations that the engine measures for metrics.

use crate::engine::Engine;
use crate::histogram::Histogram;

/// How an attempt to tell a receiver something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The receiver has it.
    Accepted,
    /// It did not take it now; it is sent again.
    Failed,
    /// It will never take it.
    Refused,
}

impl AttemptOutcome {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Failed, Self::Refused];

    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// The durations that the engine measures, since start.
#[derive(Debug)]
pub struct Meters {
    /// From a commit's being handed to the store until it was durable.
    pub commits: Histogram,
    /// How long after its instant a timer was seen to be due.
    pub timers: Histogram,
    /// How long after they were due checks began.
    pub checks: Histogram,
    /// From a notification's being owed until its receiver had it.
    pub notifications: Histogram,
    /// Attempts to tell a receiver, by how they ended, as [`AttemptOutcome::ALL`].
    pub deliveries: [Histogram; AttemptOutcome::ALL.len()],
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            commits: Histogram::of_writes(),
            timers: Histogram::of_waits(),
            checks: Histogram::of_waits(),
            notifications: Histogram::of_waits(),
            deliveries: AttemptOutcome::ALL.map(|_| Histogram::of_calls()),
        }
    }
}

impl Engine {
    /// The durations that it has measured since it started.
    pub fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    /// How many executions are left alone after an internal error.
    pub fn quarantined_count(&self) -> usize {
        self.inner.quarantine.lock().len()
    }
}
