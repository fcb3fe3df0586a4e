//! Prepares what the tests need, then runs every check in the order in which failures are cheap.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::{root, say, sdks, services, tidy};

/// Runs every check; with a filter only the tests whose names hold it.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut skipped = Vec::new();
    services::prepare(&mut skipped);
    let sdks = sdks::prepare(&mut skipped);
    if arguments.is_empty() {
        step("format", cargo().args(["fmt", "--all", "--check"]))?;
        say("── tidy");
        tidy::run()?;
        let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        step("lints", cargo().args(clippy))?;
        // What measures is compiled by nothing else here; its dependencies are those of the tests.
        let bench = [
            "clippy",
            "--package",
            "xtask",
            "--features",
            "bench,differential",
            "--all-targets",
            "--quiet",
        ];
        step("lints of the chores", cargo().args(bench).args(["--", "-D", "warnings"]))?;
    }
    // The tests drive the real binary: it is built once, with what the tests build.
    let mut tests = cargo();
    tests.args(["test", "--workspace"]).args(arguments).envs(sdks);
    step("tests", &mut tests)?;
    for what in &skipped {
        say(&format!("skipped: {what}"));
    }
    say(if skipped.is_empty() { "everything passed" } else { "everything that ran passed" });
    Ok(())
}

/// Builds the binary and the load generators for speed, then measures.
pub(crate) fn build_and_bench() -> anyhow::Result<()> {
    step("build", cargo().args(["build", "--release", "--package", "nightbell"]))?;
    let measure =
        ["run", "--release", "--package", "xtask", "--features", "bench", "--", "measure"];
    step("bench", cargo().args(measure))
}

/// Builds the binary for speed, then runs the tests that attack: those of the binary drive that one, the
/// others the parts in their own process.
pub(crate) fn build_and_attack(arguments: &[String]) -> anyhow::Result<()> {
    let mut skipped = Vec::new();
    services::prepare(&mut skipped);
    let sdks = sdks::prepare(&mut skipped);
    step("build", cargo().args(["build", "--release", "--package", "nightbell"]))?;
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--", "attacks"]).args(arguments).envs(sdks);
    tests.env("NIGHTBELL_TEST_BINARY", root().join("target/release/nightbell"));
    step("attacks", &mut tests)?;
    for what in &skipped {
        say(&format!("skipped: {what}"));
    }
    Ok(())
}

/// Builds the binary, then compares it with a real Conductor server.
pub(crate) fn build_and_compare(arguments: &[String]) -> anyhow::Result<()> {
    step("build", cargo().args(["build", "--package", "nightbell"]))?;
    let compare = ["run", "--package", "xtask", "--features", "differential", "--", "compare"];
    step("differential", cargo().args(compare).args(arguments))
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn step(name: &str, command: &mut Command) -> anyhow::Result<()> {
    say(&format!("── {name}"));
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("{name}: cannot be run"))?;
    if !status.success() {
        bail!("{name}: failed ({status})");
    }
    say(&format!("── {name}: passed in {} s", begun.elapsed().as_secs()));
    Ok(())
}
