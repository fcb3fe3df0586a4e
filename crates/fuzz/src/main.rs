//! Feeds targets with the inputs of ever new seeds: `fuzz SECONDS [TARGET…]`, all targets in turn without a name.
//!
//! The input that a target gives way to is left in `target/fuzz`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use fuzz::{Mutations, TARGETS, Target};

/// Inputs of a seed.
const INPUTS: usize = 1_000;
/// How long one input may take.
const SLOWEST: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().context("usage: fuzz SECONDS [TARGET...]")?;
    let each =
        Duration::from_secs(seconds.parse().context("SECONDS is a number, for each target")?);
    let names: Vec<String> = arguments.collect();
    let wanted: Vec<&Target> = match &*names {
        [] => TARGETS.iter().collect(),
        names => {
            let known = TARGETS.iter().map(|it| it.name).collect::<Vec<_>>().join(", ");
            let found = names.iter().map(|name| fuzz::target(name));
            found.collect::<Option<_>>().with_context(|| format!("the targets are {known}"))?
        }
    };
    let mut failed = false;
    for target in wanted {
        let (inputs, failures) = feed(target, each)?;
        failed |= failures > 0;
        writeln!(
            std::io::stdout(),
            "{:<12} {inputs:>10} inputs {failures:>3} failures",
            target.name
        )?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Feeds a target for a time: how many inputs, and how many of them it gave way to.
fn feed(target: &Target, time: Duration) -> anyhow::Result<(usize, usize)> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut seed = u64::try_from(since.as_micros()).unwrap_or_default();
    let (begun, mut inputs, mut failures) = (Instant::now(), 0, 0);
    while begun.elapsed() < time {
        seed += 1;
        for input in Mutations::new(target, seed).take(INPUTS) {
            let at = Instant::now();
            let fed = std::panic::catch_unwind(|| (target.feed)(&input));
            inputs += 1;
            if fed.is_err() || at.elapsed() > SLOWEST {
                failures += 1;
                let folder = Path::new("target/fuzz");
                fs::create_dir_all(folder)?;
                fs::write(folder.join(format!("{}-{seed}-{failures}", target.name)), &input)?;
            }
        }
    }
    Ok((inputs, failures))
}
