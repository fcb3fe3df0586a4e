//! Runs the same workflows on a real Conductor server and on Nightbell and compares what clients see.
//!
//! Each case registers its definitions on both servers under the same names, starts one execution,
//! plays the same worker and the same operator, and compares the answers and the executions once
//! ids and times are replaced. A difference that no rule of `verdicts.json` explains fails the run.

mod case;
mod compare;
mod corpus;
mod drive;
mod generate;
mod normalize;
mod outcome;
mod random;
mod report;
mod server;
mod verdicts;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Context;

use crate::say;

use case::Case;
use outcome::Outcome;
use verdicts::Verdicts;

const HELP: &str = "\
Runs the same workflows on a real Conductor server and on Nightbell, and compares them.

Usage: cargo xtask differential [OPTION]…

  --conductor HOST:PORT   a Conductor server that is running already
  --jar FILE              conductor-server-3.32.3-boot.jar, started on a free port (about 35 s)
  --java FILE             the Java 21 or newer that starts it (default: java)
  --nightbell FILE        the binary to compare (default: target/debug/nightbell)
  --definitions DIR       run every definition found in the .json and .md files below DIR
  --generate COUNT        run COUNT generated definitions (default: 50 if no --definitions)
  --seed NUMBER           the first seed of the generated ones (default: 1)
  --minutes NUMBER        stop after that time
  --only TEXT             only the cases whose name contains TEXT
  --parallel COUNT        cases under way at once (default: 4)
  --show                  print both transcripts of each case
";

/// What was asked for on the command line.
#[derive(Default)]
struct Options {
    conductor: Option<String>,
    jar: Option<PathBuf>,
    java: Option<PathBuf>,
    nightbell: Option<PathBuf>,
    definitions: Option<PathBuf>,
    generate: Option<u64>,
    seed: Option<u64>,
    minutes: Option<u64>,
    only: Option<String>,
    parallel: Option<usize>,
    show: bool,
}

/// Runs the cases that the command line names; fails on a difference without a verdict.
pub(crate) fn run() -> anyhow::Result<()> {
    let Some(options) = options(std::env::args().skip(2))? else {
        say(HELP);
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(compare_servers(options))
}

fn options(arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Options>> {
    let mut options = Options::default();
    let mut arguments = arguments;
    while let Some(name) = arguments.next() {
        if name == "--help" || name == "-h" {
            return Ok(None);
        }
        if name == "--show" {
            options.show = true;
            continue;
        }
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--conductor" => options.conductor = Some(value),
            "--jar" => options.jar = Some(value.into()),
            "--java" => options.java = Some(value.into()),
            "--nightbell" => options.nightbell = Some(value.into()),
            "--definitions" => options.definitions = Some(value.into()),
            "--generate" => options.generate = Some(value.parse()?),
            "--seed" => options.seed = Some(value.parse()?),
            "--minutes" => options.minutes = Some(value.parse()?),
            "--only" => options.only = Some(value),
            "--parallel" => options.parallel = Some(value.parse()?),
            _ => anyhow::bail!("there is no option {name}; see cargo xtask differential --help"),
        }
    }
    Ok(Some(options))
}

async fn compare_servers(options: Options) -> anyhow::Result<()> {
    let verdicts = Arc::new(Verdicts::read()?);
    let stand_in = server::stand_in().await?;
    let mut cases = VecDeque::new();
    let mut skipped = Vec::new();
    if let Some(folder) = &options.definitions {
        let found = corpus::read(folder, &stand_in)?;
        cases.extend(found.cases);
        skipped = found.skipped;
    }
    let generated = options.generate.unwrap_or(if cases.is_empty() { 50 } else { 0 });
    let seed = options.seed.unwrap_or(1);
    cases.extend((seed..seed + generated).map(generate::case));
    if let Some(only) = &options.only {
        cases.retain(|case| case.name.contains(only.as_str()));
    }
    let conductor = match &options.conductor {
        Some(address) => server::Server::running(address),
        None => server::Server::conductor(options.jar.as_deref(), options.java.as_deref()).await?,
    };
    let nightbell = server::Server::nightbell(options.nightbell.as_deref()).await?;
    say(&format!("{} cases; {} definitions left out", cases.len(), skipped.len()));
    let end = options
        .minutes
        .map(|minutes| std::time::Instant::now() + std::time::Duration::from_secs(minutes * 60));
    let queue = Arc::new(Mutex::new(cases));
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let mut runners = Vec::new();
    for _ in 0..options.parallel.unwrap_or(4).max(1) {
        let (queue, outcomes, verdicts) = (queue.clone(), outcomes.clone(), verdicts.clone());
        let (conductor, nightbell) = (conductor.address.clone(), nightbell.address.clone());
        let show = options.show;
        runners.push(tokio::spawn(async move {
            while end.is_none_or(|end| std::time::Instant::now() < end) {
                let Some(case) = lock(&queue).pop_front() else { break };
                let outcome = one(&case, &conductor, &nightbell, &verdicts, show).await;
                let mut outcomes = lock(&outcomes);
                outcomes.push(outcome);
                if outcomes.len().is_multiple_of(50) {
                    say(&format!("{} cases done", outcomes.len()));
                }
            }
        }));
    }
    for runner in runners {
        runner.await?;
    }
    let outcomes = std::mem::take(&mut *lock(&outcomes));
    report::publish(&outcomes, &skipped, &verdicts)
}

async fn one(
    case: &Case,
    conductor: &str,
    nightbell: &str,
    verdicts: &Verdicts,
    show: bool,
) -> Outcome {
    let (theirs, ours) = tokio::join!(
        drive::play(case, conductor, drive::Pace::Conductor),
        drive::play(case, nightbell, drive::Pace::Nightbell)
    );
    let (theirs, ours) = match (theirs, ours) {
        (Ok(theirs), Ok(ours)) => (theirs, ours),
        (Err(error), _) => return Outcome::broken(case, &format!("Conductor: {error:#}")),
        (_, Err(error)) => return Outcome::broken(case, &format!("Nightbell: {error:#}")),
    };
    if show {
        say(&format!("── {} on Conductor\n{theirs:#}", case.name));
        say(&format!("── {} on Nightbell\n{ours:#}", case.name));
    }
    let differences = compare::transcripts(&theirs, &ours);
    Outcome::judged(case, differences, verdicts)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
