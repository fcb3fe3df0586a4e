//! Runs seeds, and shows what led to a failing one: `cargo run -p sim -- --seed 7 --seeds 1000`.

#![allow(clippy::print_stdout, reason = "a command line tool speaks")]

use std::process::ExitCode;

use sim::hosting;
use sim::mutant::{Kernel, Mutant, Real};
use sim::orchestrating::mutant::Mutant as Lost;
use sim::orchestrating::{self, Keeper};
use sim::ringing::mutant::Mutant as Broken;
use sim::ringing::{self, Watcher};
use sim::world;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let number =
        |name: &str, default: u64| value(name).map_or(Ok(default), |text| text.parse::<u64>());
    let numbers = (number("--seed", 0), number("--seeds", 1), number("--kill-at", 0));
    let (Ok(seed), Ok(seeds), Ok(kill_at)) = numbers else {
        println!(
            "usage: sim [--hosting [--panics] | --ringing | --orchestrating] [--seed N] [--seeds M] [--kill-at POINT] [--mutant NAME] [--keep-going]"
        );
        return ExitCode::from(2);
    };
    let mutant = value("--mutant")
        .and_then(|name| Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == *name));
    let kernel: &dyn Kernel = mutant.as_ref().map_or(&Real, |mutant| mutant);
    let broken = value("--mutant")
        .and_then(|name| Broken::ALL.into_iter().find(|mutant| format!("{mutant:?}") == *name));
    let watcher: &dyn Watcher = broken.as_ref().map_or(&ringing::Real, |mutant| mutant);
    let lost = value("--mutant")
        .and_then(|name| Lost::ALL.into_iter().find(|mutant| format!("{mutant:?}") == *name));
    let keeper: &dyn Keeper = lost.as_ref().map_or(&orchestrating::Real, |mutant| mutant);
    let orchestrates = arguments.iter().any(|argument| argument == "--orchestrating");
    let hosts = arguments.iter().any(|argument| argument == "--hosting");
    let panics = arguments.iter().any(|argument| argument == "--panics");
    let rings = arguments.iter().any(|argument| argument == "--ringing");
    let host = |seed| {
        let run = if panics { hosting::run_with_panics } else { hosting::run };
        broken_engine(value("--mutant").map(String::as_str), || run(seed))
            .map(|tally| format!("{tally:?}"))
    };
    let run = |seed| match (rings, orchestrates, kill_at) {
        (true, _, 0) => ringing::run(seed, watcher).map(|tally| format!("{tally:?}")),
        (true, _, at) => {
            ringing::run_killed_at(seed, at, watcher).map(|tally| format!("{tally:?}"))
        }
        (_, true, 0) => orchestrating::run(seed, keeper).map(|tally| format!("{tally:?}")),
        (_, true, at) => {
            orchestrating::run_killed_at(seed, at, keeper).map(|tally| format!("{tally:?}"))
        }
        _ => world::run(seed, kernel).map(|tally| format!("{tally:?}")),
    };
    let keep_going = arguments.iter().any(|argument| argument == "--keep-going");
    let mut failures = 0_u64;
    for seed in seed..seed.saturating_add(seeds) {
        match if hosts { host(seed) } else { run(seed) } {
            Ok(tally) if seeds == 1 => println!("seed {seed}: {tally}"),
            Ok(_) => {}
            Err(failure) if keep_going => {
                failures += 1;
                println!("seed {seed}: {}", failure.objection);
            }
            Err(failure) => {
                failure.trace.iter().for_each(|line| println!("{line}"));
                println!("seed {seed}: {}", failure.objection);
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{seeds} seeds, {failures} failures");
    if failures > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Lets the engine make the mistake of this name, if there is one.
#[cfg(feature = "mutants")]
fn broken_engine<R>(name: Option<&str>, run: impl FnOnce() -> R) -> R {
    use engine::mutants::{Mutant, with};
    let named = |mutant: &Mutant| name.is_some_and(|name| format!("{mutant:?}") == name);
    with(Mutant::ALL.into_iter().find(named), run)
}

#[cfg(not(feature = "mutants"))]
fn broken_engine<R>(_: Option<&str>, run: impl FnOnce() -> R) -> R {
    run()
}
