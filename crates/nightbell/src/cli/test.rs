//! `nightbell test`: tests that lie beside definitions, without server and network.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use kernel::Scripts;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::offline;
use super::output::{Output, clean};
use crate::scripts::Engines;
use crate::testing::coverage::Coverage;
use crate::testing::report::FileReport;
use crate::testing::{self, Options};

/// What to test, and what to tell of it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Test files, or folders with some [default: this folder]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only tests with this in their name
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write the messages of tests with `messages: snapshot` instead of comparing them
    #[arg(long)]
    accept: bool,
    /// Print what happened in each test, with virtual times
    #[arg(long)]
    trace: bool,
    /// Run again whenever a file changes, until the command is stopped
    #[arg(long, conflicts_with_all = ["junit", "fail_under"])]
    watch: bool,
    /// Report which parts of the definitions no test covers; into FILE: JSON (`.json`), `LCOV`
    /// (`.info`, `.lcov`) or text
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    #[allow(clippy::option_option, reason = "asked for or not, and then with a file or without")]
    coverage: Option<Option<PathBuf>>,
    /// Fail if the coverage is lower, in percent
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    fail_under: Option<f64>,
    /// Files that are run in parallel [default: the number of processors]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Write the results as `JUnit` XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A test has failed (5), files are wrong (1).
pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let engine = runtime.block_on(offline::engine())?;
    let scripts: Arc<dyn Scripts> =
        Engines::new(tasks::javascript::Limits::default(), tasks::jq::Limits::default());
    let built_in = offline::task_types()?;
    let here = vec![PathBuf::from(".")];
    let paths = if arguments.paths.is_empty() { &here } else { &arguments.paths };
    let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let options = Options {
        filter: arguments.filter.clone(),
        accept: arguments.accept,
        jobs: arguments.jobs.map_or_else(processors, NonZeroUsize::get),
    };
    let once = || {
        let run = testing::run(&engine, &scripts, &built_in, paths, &options);
        let testing::Outcome { reports, coverage, doubts } = run.map_err(Failure::error)?;
        for doubt in doubts {
            output.note(clean(&doubt.to_string()));
        }
        tell(&reports, &coverage, arguments, output)?;
        verdict(&reports, &coverage, arguments)
    };
    if !arguments.watch {
        return once();
    }
    loop {
        let (before, _) = looked(paths);
        if let Err(error) = once() {
            output.note(format_args!("{error:#}"));
        } else {
            output.note("all passed");
        }
        loop {
            let (state, took) = looked(paths);
            if state != before {
                break;
            }
            std::thread::sleep(LOOK.max(took * LOOK_SHARE));
        }
        output.redraw()?;
    }
}

/// How often `--watch` looks at the files: a look at a hundred of them takes a fraction of a millisecond.
const LOOK: Duration = Duration::from_millis(40);
/// A look at many files is followed by a pause of so many times what it took.
const LOOK_SHARE: u32 = 20;
/// Folders that hold what others have built or brought, and snapshots, which tests write themselves.
const NOT_WATCHED: [&str; 3] = ["target", "node_modules", "__snapshots__"];

/// The state of the files, and how long it took to see it.
fn looked(paths: &[PathBuf]) -> (Vec<(PathBuf, Option<SystemTime>)>, Duration) {
    let begun = Instant::now();
    (state_of(paths), begun.elapsed())
}

/// All files below the paths with when they last changed; what cannot be read is not there.
fn state_of(paths: &[PathBuf]) -> Vec<(PathBuf, Option<SystemTime>)> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for path in paths {
        // A file is tested with what lies beside it.
        let folder = if path.is_dir() { Some(&**path) } else { path.parent() };
        folders.extend(
            folder.map(|it| if it.as_os_str().is_empty() { ".".into() } else { it.into() }),
        );
    }
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir()
                && !name.as_encoded_bytes().starts_with(b".")
                && NOT_WATCHED.iter().all(|it| name != *it)
            {
                folders.push(path);
            } else if kind.is_file() {
                files.push((path, entry.metadata().and_then(|it| it.modified()).ok()));
            }
        }
    }
    files.sort();
    files
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').parse().ok().filter(|it| (0.0..=100.0).contains(it));
    number.ok_or_else(|| format!("{text:?} is no percentage from 0 to 100"))
}

fn tell(
    reports: &[FileReport],
    coverage: &Coverage,
    arguments: &Arguments,
    output: &Output,
) -> anyhow::Result<()> {
    let wrong = |file: &PathBuf, error: &dyn std::fmt::Display| {
        Failure::error(format!("{}: {error}", file.display()))
    };
    if let Some(file) = &arguments.junit {
        testing::write_junit(file, reports).map_err(|error| wrong(file, &error))?;
    }
    if let Some(Some(file)) = &arguments.coverage {
        coverage.write(file).map_err(|error| wrong(file, &error))?;
    }
    let is_asked = arguments.coverage.is_some() || arguments.fail_under.is_some();
    if output.is_json() {
        let mut all = json!({ "files": reports });
        if is_asked {
            all["coverage"] = coverage.json();
        }
        return output.json(&all);
    }
    for report in reports {
        let text = report.text(arguments.trace);
        if !text.is_empty() {
            output.line(text.trim_end_matches('\n'))?;
        }
    }
    if matches!(arguments.coverage, Some(None)) {
        output.line(coverage.text().trim_end_matches('\n'))?;
    }
    Ok(())
}

fn verdict(
    reports: &[FileReport],
    coverage: &Coverage,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let count: usize = reports.iter().map(|report| report.tests.len()).sum();
    let failed: usize = reports.iter().map(FileReport::failed).sum();
    let wrong = reports.iter().filter(|report| !report.wrong.is_empty()).count();
    if wrong > 0 {
        let message =
            format!("{wrong} of {} test files are wrong, or what they test", reports.len());
        return Err(Failure::error(message).into());
    }
    if count == 0 {
        let message = match &arguments.filter {
            Some(text) => format!("no test has {text:?} in its name"),
            None => "there are no tests: files named *.test.yaml beside definitions".to_owned(),
        };
        return Err(Failure::error(message).into());
    }
    if failed > 0 {
        let message = format!("{failed} of {count} tests failed");
        return Err(Failure::new(Exit::WorkflowFailed, message).into());
    }
    if let Some(least) = arguments.fail_under.filter(|least| coverage.percent() < *least) {
        let message = format!("coverage is {:.1} %, less than {least} %", coverage.percent());
        let hint = "`--coverage` tells what no test has seen";
        return Err(Failure::new(Exit::WorkflowFailed, message).with_hint(hint).into());
    }
    Ok(())
}
