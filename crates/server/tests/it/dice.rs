//! Numbers that follow from a seed, for properties that are tried on many random things.

use std::ops::Range;

/// The numbers of one seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, below a bound.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    /// One of some things.
    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Names how many seeds the long forms of properties try.
const SEEDS: &str = "NIGHTBELL_TEST_SEEDS";

/// The seeds of a long form: as many as were asked for, or a few.
pub(crate) fn seeds(few: u64) -> Range<u64> {
    0..std::env::var(SEEDS).ok().and_then(|count| count.parse().ok()).unwrap_or(few)
}
