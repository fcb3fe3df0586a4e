//! The kernel as it is, over many seeds.

use std::collections::BTreeMap;

use sim::mutant::Real;
use sim::world;

const SEEDS: u64 = 240;

#[test]
fn two_hundred_seeds_pass() {
    let mut events: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        match world::run(seed, &Real) {
            Ok(tally) => {
                for (name, count) in tally.events {
                    *events.entry(name).or_default() += count;
                }
            }
            Err(failure) => panic!(
                "seed {seed}: {}\nrun `cargo run -p sim -- --seed {seed}` for what led to it",
                failure.objection
            ),
        }
    }
    // A simulation that never gets somewhere says nothing about it.
    for name in [
        "started",
        "scheduled",
        "forked",
        "begun",
        "claimed",
        "progressed",
        "closed",
        "iterated",
        "variables",
        "paused",
        "resumed",
        "alerted",
        "yielded",
        "revived",
        "reopened",
        "rewound",
        "child_started",
        "ended",
    ] {
        assert!(
            events.get(name).is_some_and(|count| *count > 5),
            "{name} hardly occurs: {events:?}"
        );
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 0..5 {
        let story = || world::run(seed, &Real).map(|tally| (tally.commits, tally.events)).ok();
        assert_eq!(story(), story());
    }
}
