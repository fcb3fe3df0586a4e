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
mod oracle;
mod outcome;
mod random;
mod report;
mod scenarios;
mod server;
mod verdicts;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use regex::Regex;
use serde_json::json;

use crate::{root, say};

use case::Case;
use oracle::Oracle;
use outcome::Outcome;
use verdicts::Verdicts;

const HELP: &str = "\
Runs the same workflows on a real Conductor server and on Nightbell, and compares them.

Usage: cargo xtask differential [OPTION]…

  --conductor HOST:PORT   a Conductor server that is running already
  --jar FILE              conductor-server-3.32.3-boot.jar, started on a free port (about 35 s)
  --java FILE             the Java 21 or newer that starts it (default: java)
  --nightbell FILE        the binary to compare (default: target/debug/nightbell)
  --definitions DIR       run every definition found in the .json and .md files below DIR, and in the
                          json! literals of its .rs files (more than once for several folders)
  --scenarios DIR         play the kernel's scenarios in the .md files of DIR
  --generate COUNT        run COUNT generated definitions (default: 50 if nothing else is named)
  --seed NUMBER           the first seed of the generated ones (default: 1)
  --minutes NUMBER        stop after that time
  --only PATTERN          only the cases in whose name the pattern is found
  --parallel COUNT        cases under way at once (default: 4)
  --show                  print both transcripts of each case
  --out FILE              where all differences go (default: target/differential.json)
  --judge FILE            run nothing: judge what an earlier run wrote by the rules of today (more than
                          once for several runs)
";

/// What was asked for on the command line.
#[derive(Default)]
struct Options {
    conductor: Option<String>,
    jar: Option<PathBuf>,
    java: Option<PathBuf>,
    nightbell: Option<PathBuf>,
    definitions: Vec<PathBuf>,
    scenarios: Option<PathBuf>,
    generate: Option<u64>,
    seed: Option<u64>,
    minutes: Option<u64>,
    only: Option<String>,
    parallel: Option<usize>,
    show: bool,
    out: Option<PathBuf>,
    judge: Vec<PathBuf>,
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
            "--definitions" => options.definitions.push(value.into()),
            "--scenarios" => options.scenarios = Some(value.into()),
            "--out" => options.out = Some(value.into()),
            "--judge" => options.judge.push(value.into()),
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
    let file = options.out.clone().unwrap_or_else(|| root().join("target/differential.json"));
    if !options.judge.is_empty() {
        return report::judge(&options.judge, &verdicts, &file);
    }
    let stand_in = server::stand_in().await?;
    let (mut cases, mut skipped) = (VecDeque::new(), Vec::new());
    let mut add = |found: corpus::Found| {
        cases.extend(found.cases);
        skipped.extend(found.skipped);
        cases.len()
    };
    let mut first = 0;
    for folder in &options.definitions {
        first = add(corpus::read(folder, &stand_in, first)?);
    }
    if let Some(folder) = &options.scenarios {
        add(scenarios::read(folder, &stand_in)?);
    }
    let generated = options.generate.unwrap_or(if cases.is_empty() { 50 } else { 0 });
    let seed = options.seed.unwrap_or(1);
    cases.extend((seed..seed + generated).map(generate::case));
    if let Some(only) = &options.only {
        let only = Regex::new(only)?;
        cases.retain(|case| only.is_match(&case.name));
    }
    let parallel = options.parallel.unwrap_or(4).max(1);
    let end = options.minutes.map(|minutes| Instant::now() + Duration::from_secs(minutes * 60));
    let conductor = Oracle::start(&options).await?;
    let nightbell = server::Server::nightbell(options.nightbell.as_deref()).await?;
    say(&format!("{} cases; {} definitions left out", cases.len(), skipped.len()));
    let run = Arc::new(Run {
        conductor,
        nightbell: nightbell.address.clone(),
        verdicts,
        show: options.show,
        end,
        queue: Mutex::new(cases),
        outcomes: Mutex::new(Vec::new()),
    });
    let mut runners = Vec::new();
    for _ in 0..parallel {
        let (run, skipped, file) = (run.clone(), skipped.clone(), file.clone());
        runners.push(tokio::spawn(async move {
            while run.end.is_none_or(|end| Instant::now() < end) {
                let Some(case) = lock(&run.queue).pop_front() else { break };
                let outcome = run.one(&case).await;
                let mut outcomes = lock(&run.outcomes);
                outcomes.push(outcome);
                if outcomes.len().is_multiple_of(20) {
                    say(&format!("{} cases done", outcomes.len()));
                    // The end writes it again, and says if it cannot be written.
                    let _ = report::write(&outcomes, &skipped, &run.verdicts, &file);
                }
            }
        }));
    }
    for runner in runners {
        runner.await?;
    }
    let restarts = run.conductor.restarts.load(Ordering::Relaxed);
    if restarts > 0 {
        say(&format!("Conductor was started again {restarts} times"));
    }
    let outcomes = std::mem::take(&mut *lock(&run.outcomes));
    report::publish(&outcomes, &skipped, &run.verdicts, &file)
}

/// A case that breaks, or differs without a verdict, is played so often before that counts: a
/// mistake differs each time, a race does not.
const PLAYS_MAX: u64 = 2;

/// What the runners share.
struct Run {
    conductor: Oracle,
    nightbell: String,
    verdicts: Arc<Verdicts>,
    show: bool,
    end: Option<Instant>,
    queue: Mutex<VecDeque<Case>>,
    outcomes: Mutex<Vec<Outcome>>,
}

impl Run {
    async fn one(&self, case: &Case) -> Outcome {
        let mut before: Vec<String> = Vec::new();
        let mut played = 0;
        loop {
            played += 1;
            let begun = Instant::now();
            let mut outcome = self.play(case).await;
            outcome.played = played;
            outcome.seconds = begun.elapsed().as_secs();
            let places: Vec<_> = outcome.unexplained().map(|found| found.path.clone()).collect();
            if places.is_empty() && outcome.broken.is_none() {
                outcome.passing = before;
                return outcome;
            }
            if played >= PLAYS_MAX {
                return outcome;
            }
            before = places;
        }
    }

    async fn play(&self, case: &Case) -> Outcome {
        let traits = case.traits();
        let conductor = self.conductor.address().await;
        let (theirs, ours) = tokio::join!(
            drive::play(case, &conductor, drive::Pace::Conductor),
            drive::play(case, &self.nightbell, drive::Pace::Nightbell)
        );
        let (theirs, ours) = match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => (theirs, ours),
            (Err(error), _) => {
                let mut why = format!("Conductor: {error:#}");
                if let Err(error) = self.conductor.revive(&conductor).await {
                    why = format!("{why}; it cannot be started again: {error:#}");
                }
                return Outcome::broken(&case.name, &traits, &why);
            }
            (_, Err(error)) => {
                return Outcome::broken(&case.name, &traits, &format!("Nightbell: {error:#}"));
            }
        };
        if self.show {
            say(&format!("── {}{traits}\n{:#}", case.name, json!(case.workflows)));
            say(&format!("── {} on Conductor\n{theirs:#}", case.name));
            say(&format!("── {} on Nightbell\n{ours:#}", case.name));
        }
        let differences = compare::transcripts(&theirs, &ours);
        Outcome::judged(&case.name, &traits, differences, Some(&self.verdicts))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
