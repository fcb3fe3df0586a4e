//! Every deliberately broken kernel is found out.

use sim::mutant::Mutant;
use sim::world;

const SEEDS: u64 = 200;

#[test]
fn every_mutant_is_caught() {
    let missed: Vec<Mutant> = Mutant::ALL
        .into_iter()
        .filter(|mutant| (0..SEEDS).all(|seed| world::run(seed, mutant).is_ok()))
        .collect();
    assert!(missed.is_empty(), "the auditor does not notice {missed:?}");
}
