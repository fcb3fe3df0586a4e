//! Orchestrations and entities in a simulated world: as they are, and broken on purpose.

use std::collections::BTreeMap;

use sim::orchestrating::mutant::Mutant;
use sim::orchestrating::{Real, run, run_killed_at};

/// Seeds in which everything goes wrong at once.
const SEEDS: u64 = 300;
/// Seeds in which the process dies at every point in turn.
const WALKED: u64 = 1;
/// Points that are tried at least, of each of these.
const POINTS_MIN: u64 = 200;
/// Seeds that a mutant may live through.
const MUTANT_SEEDS: u64 = 300;

#[test]
fn nothing_is_lost_and_nothing_is_done_twice() {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut deaths = 0;
    for seed in 0..SEEDS {
        match run(seed, &Real) {
            Ok(tally) => {
                deaths += tally.deaths;
                for (name, count) in tally.counts {
                    *counts.entry(name).or_default() += count;
                }
            }
            Err(failure) => panic!(
                "seed {seed}: {}\nrun `cargo run -p sim -- --orchestrating --seed {seed}` for \
                 what led to it",
                failure.objection
            ),
        }
    }
    // A simulation that never gets somewhere says nothing about it.
    assert!(deaths > SEEDS, "{deaths} deaths");
    for name in [
        "started",
        "due",
        "received",
        "turned",
        "continued",
        "ended",
        "rewinding",
        "rewound",
        "came",
        "batched",
        "locked",
        "unlocked",
        "withdrawn",
        "released",
        "a worker died",
        "a forged token",
        "an answer came too late",
        "an answer that contradicts itself",
        "an activity failed",
        "an operation failed",
        "a worker asked again",
    ] {
        assert!(counts.get(name).is_some_and(|count| *count > 20), "{name} is rare: {counts:?}");
    }
    assert!(counts.contains_key("a worker that cannot rewind"), "{counts:?}");
}

#[test]
fn it_may_be_killed_between_any_two_steps() {
    for seed in 0..WALKED {
        let points = run_killed_at(seed, u64::MAX, &Real).map_or(0, |tally| tally.points);
        assert!(points > POINTS_MIN, "seed {seed} has {points} points only");
        for point in 1..=points {
            if let Err(failure) = run_killed_at(seed, point, &Real) {
                panic!(
                    "seed {seed}: {}\nrun `cargo run -p sim -- --orchestrating --seed {seed} \
                     --kill-at {point}` for what led to it",
                    failure.objection
                );
            }
        }
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 0..5 {
        assert_eq!(run(seed, &Real).ok(), run(seed, &Real).ok());
    }
}

#[test]
fn every_broken_keeper_is_caught() {
    // What contradicts itself does not even fold.
    let passes = |seed, mutant: &Mutant| {
        matches!(std::panic::catch_unwind(|| run(seed, mutant).is_ok()), Ok(true))
    };
    let lives = |mutant: &Mutant| (0..MUTANT_SEEDS).all(|seed| passes(seed, mutant));
    let missed: Vec<Mutant> = Mutant::ALL.into_iter().filter(lives).collect();
    assert!(missed.is_empty(), "the auditor does not notice {missed:?}");
}
