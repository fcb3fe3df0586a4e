//! Numbers for properties: the same for a seed each time.

/// Numbers that follow from a seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// One below `sides`.
    pub(super) fn throw(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// One of some.
    pub(super) fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.throw(choices.len() as u64) as usize]
    }
}

/// How many seeds the long form of a property tries: as many as are asked for.
pub(super) fn many(default: u64) -> u64 {
    let asked = std::env::var("NIGHTBELL_TEST_SEEDS").ok();
    asked.and_then(|it| it.parse().ok()).unwrap_or(default)
}
