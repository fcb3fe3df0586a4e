//! Monitors in a simulated world: as they are, and broken on purpose.

use std::collections::BTreeMap;

use sim::ringing::mutant::Mutant;
use sim::ringing::{Real, run, run_killed_at};

/// Seeds in which everything goes wrong at once.
const SEEDS: u64 = 200;
/// Seeds in which the process dies at every point in turn.
const WALKED: u64 = 2;
/// Points that are tried at least, of each of these.
const POINTS_MIN: u64 = 300;
/// Seeds that a mutant may live through.
const MUTANT_SEEDS: u64 = 150;

#[test]
fn no_incident_is_lost_and_none_is_doubled() {
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
                "seed {seed}: {}\nrun `cargo run -p sim -- --ringing --seed {seed}` for what led \
                 to it",
                failure.objection
            ),
        }
    }
    // A simulation that never gets somewhere says nothing about it.
    assert!(deaths > SEEDS, "{deaths} deaths");
    for name in [
        "checking",
        "checked",
        "missed",
        "began",
        "absent",
        "dropped",
        "moved",
        "stepped",
        "fell_back",
        "owed",
        "suppressed",
        "released",
        "delivered",
        "perhaps taken",
        "resent",
        "heard",
        "parent",
        "taken trigger",
        "taken escalation",
        "taken reminder",
        "taken acknowledge",
        "taken resolve",
    ] {
        assert!(counts.get(name).is_some_and(|count| *count > 20), "{name} is rare: {counts:?}");
    }
}

#[test]
fn it_may_be_killed_between_any_two_steps() {
    for seed in 0..WALKED {
        let points = run_killed_at(seed, u64::MAX, &Real).map_or(0, |tally| tally.points);
        assert!(points > POINTS_MIN, "seed {seed} has {points} points only");
        let mut died = 0;
        for point in 1..=points {
            match run_killed_at(seed, point, &Real) {
                Ok(tally) => died += tally.deaths,
                Err(failure) => panic!(
                    "seed {seed}: {}\nrun `cargo run -p sim -- --ringing --seed {seed} --kill-at \
                     {point}` for what led to it",
                    failure.objection
                ),
            }
        }
        assert!(died > POINTS_MIN, "it died {died} times");
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 0..5 {
        assert_eq!(run(seed, &Real).ok(), run(seed, &Real).ok());
    }
}

#[test]
fn every_broken_monitor_is_caught() {
    let lives = |mutant: &Mutant| (0..MUTANT_SEEDS).all(|seed| run(seed, mutant).is_ok());
    let missed: Vec<Mutant> = Mutant::ALL.into_iter().filter(lives).collect();
    assert!(missed.is_empty(), "the auditor does not notice {missed:?}");
}
