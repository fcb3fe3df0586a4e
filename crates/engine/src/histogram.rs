//! Histograms of durations, counted by upper bound.
//!
//! An observation is two relaxed additions: no lock, no allocation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kernel::Timestamp;

/// Upper bounds of classes of what the disk does.
const WRITES: &[Duration] = &[
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(10),
];
/// Of what somebody over a network answers.
const CALLS: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
/// Of what waits its turn, and of what comes late.
const WAITS: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(30),
];

/// How often something took how long.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// By class; the last is that of what lies beyond all bounds.
    classes: Box<[AtomicU64]>,
    /// Nanoseconds of all together; enough for centuries.
    sum: AtomicU64,
}

/// What a [`Histogram`] held at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Upper bounds of the classes, rising.
    pub bounds: &'static [Duration],
    /// Observations by class, one class more than bounds.
    pub classes: Vec<u64>,
    /// Seconds of all together.
    pub sum: f64,
}

impl Observed {
    /// All observations.
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }
}

impl Histogram {
    /// Classes for writes to a disk: 0.1 ms to 10 s.
    pub fn of_writes() -> Self {
        Self::new(WRITES)
    }

    /// Classes for calls and answers: 1 ms to 30 s.
    pub fn of_calls() -> Self {
        Self::new(CALLS)
    }

    /// Classes for what waits or comes late: 1 ms to half an hour.
    pub fn of_waits() -> Self {
        Self::new(WAITS)
    }

    fn new(bounds: &'static [Duration]) -> Self {
        let classes = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, classes, sum: AtomicU64::new(0) }
    }

    /// Counts something that took so long.
    pub fn observe(&self, took: Duration) {
        let class = self.bounds.partition_point(|bound| *bound < took);
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Counts something that waited from one instant to another; nothing if the clock went back.
    pub fn observe_since(&self, since: Timestamp, now: Timestamp) {
        let millis = u64::try_from(now.since(since)).unwrap_or_default();
        self.observe(Duration::from_millis(millis));
    }

    /// What was counted so far.
    pub fn observed(&self) -> Observed {
        let classes = self.classes.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let sum = Duration::from_nanos(self.sum.load(Ordering::Relaxed)).as_secs_f64();
        Observed { bounds: self.bounds, classes, sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_observation_is_in_the_first_class_that_holds_it() {
        let histogram = Histogram::of_calls();
        let cases = [0, 1, 2, 10, 11, 30_000, 30_001, 86_400_000];
        for millis in cases {
            histogram.observe(Duration::from_millis(millis));
        }
        let observed = histogram.observed();
        assert_eq!(observed.classes, [2, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(observed.count(), cases.len() as u64);
        assert!((observed.sum - 86_460.025).abs() < 1e-6, "{}", observed.sum);
    }

    #[test]
    fn bounds_rise() {
        for bounds in [WRITES, CALLS, WAITS] {
            assert!(bounds.is_sorted_by(|one, next| one < next), "{bounds:?}");
        }
    }

    #[test]
    fn what_a_clock_that_was_set_back_makes_of_a_wait_counts_as_none() {
        let (histogram, at) = (Histogram::of_waits(), Timestamp::from_millis(5000));
        histogram.observe_since(at, Timestamp::from_millis(1000));
        histogram.observe_since(at, Timestamp::from_millis(6000));
        let observed = histogram.observed();
        assert_eq!((observed.classes[0], observed.classes[6], observed.sum), (1, 1, 1.0));
    }
}
