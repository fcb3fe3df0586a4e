//! `nightbell test`: tests that lie beside definitions, without server and network.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use kernel::Scripts;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::offline;
use super::output::Output;
use crate::scripts::Engines;
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
    /// Write the messages of tests with `messages: snapshot` in the place of comparing them
    #[arg(long)]
    accept: bool,
    /// Print what happened in each test, with virtual times
    #[arg(long)]
    trace: bool,
    /// Write what came of it as JUnit XML
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
    let options = Options {
        filter: arguments.filter.clone(),
        accept: arguments.accept,
        ..Options::default()
    };
    let reports = testing::run(&engine, &scripts, &built_in, paths, &options);
    let reports = reports.map_err(Failure::error)?;
    if let Some(file) = &arguments.junit {
        testing::write_junit(file, &reports)
            .map_err(|error| Failure::error(format!("{}: {error}", file.display())))?;
    }
    tell(&reports, arguments, output)?;
    verdict(&reports, arguments)
}

fn tell(reports: &[FileReport], arguments: &Arguments, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(&json!({ "files": reports }));
    }
    for report in reports {
        let text = report.text(arguments.trace);
        if !text.is_empty() {
            output.line(text.trim_end_matches('\n'))?;
        }
    }
    Ok(())
}

fn verdict(reports: &[FileReport], arguments: &Arguments) -> anyhow::Result<()> {
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
    Ok(())
}
