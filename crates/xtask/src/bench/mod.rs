//! Measures: the performance table of the project, each figure the median of three rounds.
//!
//! The rounds go through all the parts in turn, so that a neighbour who is busy for a minute spoils
//! one round of everything rather than all rounds of one thing. A part that fails is told and left
//! out; the rest is still worth having.

mod alerts;
mod auth;
mod console;
mod disk;
mod figures;
mod growth;
mod house;
mod inprocess;
mod machine;
mod monitors;
mod orchestration;
mod payload;
mod remote;
mod report;
mod server;
mod starts;
mod stored;
mod testing;
mod timers;

use crate::say;

use figures::Samples;
use inprocess::Steps;

/// Rounds of everything.
const ROUNDS: usize = 3;

/// The parts, in the order in which a round goes through them.
const PARTS: [&str; 13] = [
    "disk",
    "engine",
    "remote",
    "orchestration",
    "stored",
    "console",
    "paints",
    "timers",
    "growth",
    "monitors",
    "alerts",
    "auth",
    "test",
];

/// Runs the parts that are named behind the command, or all, and writes the report. `stored:1000000`
/// stores so many workflows instead of the usual number; `stored:1000000:FOLDER` keeps the filled
/// store there, and takes it from there the next time.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut named: Vec<String> = std::env::args().skip(2).collect();
    let mut wish = stored::Wish::default();
    for name in &mut named {
        if let Some((part @ "stored", asked)) = name.split_once(':') {
            wish = stored::Wish::parse(asked)?;
            *name = part.to_owned();
        }
    }
    if let Some(unknown) = named.iter().find(|name| !PARTS.contains(&name.as_str())) {
        anyhow::bail!("there is no part '{unknown}'; the parts are {}", PARTS.join(", "));
    }
    let wanted = |part: &&str| named.is_empty() || named.iter().any(|name| name == part);
    let parts: Vec<&str> = PARTS.into_iter().filter(wanted).collect();
    let runtime = house::runtime();
    let begun = machine::Load::now();
    let mut samples = Samples::default();
    samples.take("binary", server::binary_mib());
    let filled = if parts.contains(&"stored") || parts.contains(&"console") {
        told("filling", runtime.block_on(stored::fill(&wish, &mut samples)))
    } else {
        None
    };
    for round in 1..=ROUNDS {
        for part in &parts {
            say(&format!("round {round} of {ROUNDS}: {part}"));
            let done = runtime.block_on(Box::pin(measure(part, filled.as_ref(), &mut samples)));
            let _ = told(part, done);
        }
    }
    report::publish(&samples, &machine::facts(&begun), named.is_empty())
}

async fn measure(
    part: &str,
    filled: Option<&stored::Filled>,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    match part {
        "disk" => disk::probe(samples),
        "engine" => {
            inprocess::three_steps("inline", Steps::Inline, 20_000, samples).await?;
            inprocess::three_steps("dispatched", Steps::Dispatched, 10_000, samples).await
        }
        "remote" => {
            remote::three_steps("remote", 8_000, 11, samples).await?;
            remote::three_steps("remote_1k", 6_000, 1024, samples).await
        }
        "orchestration" => {
            orchestration::native(4_000, samples).await?;
            orchestration::python(samples).await
        }
        "stored" => match filled {
            Some(filled) => stored::ask(filled, samples).await,
            None => Ok(()),
        },
        "console" => match filled {
            Some(filled) => console::open(filled, samples).await,
            None => Ok(()),
        },
        "paints" => console::paint(samples),
        "timers" => timers::waits(samples).await,
        "monitors" => monitors::watch(samples).await,
        "alerts" => alerts::fire(samples).await,
        "auth" => auth::cost(samples).await,
        "test" => testing::measure(samples).await,
        _ => growth::loops(samples).await,
    }
}

/// What came of it, if anything; otherwise says why not.
fn told<T>(part: &str, result: anyhow::Result<T>) -> Option<T> {
    result.inspect_err(|error| say(&format!("{part} could not be measured: {error:#}"))).ok()
}
