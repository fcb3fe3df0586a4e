//! Prepares what the tests need, then runs every check in the order in which failures are cheap.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::{root, say, services, tidy};

/// The official Python SDK, pinned so that a new release cannot break an old commit.
const PYTHON_PACKAGES: [&str; 1] = ["conductor-python==2.0.0"];

/// Runs every check; with a filter only the tests whose names hold it.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut skipped = Vec::new();
    services::prepare(&mut skipped);
    let python = python(&mut skipped);
    if arguments.is_empty() {
        step("format", cargo().args(["fmt", "--all", "--check"]))?;
        say("── tidy");
        tidy::run()?;
        let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        step("lints", cargo().args(clippy))?;
    }
    // The tests drive the real binary: it is built once, with what the tests build.
    let mut tests = cargo();
    tests.args(["test", "--workspace"]).args(arguments);
    if let Some(python) = &python {
        tests.env("NIGHTBELL_TEST_PYTHON", python);
    }
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

/// A Python with the SDKs, in the build folder; `None` with a note if it cannot be had.
fn python(skipped: &mut Vec<String>) -> Option<PathBuf> {
    let folder = target().join("test-python");
    let python = folder.join("bin/python");
    let marker = folder.join(".complete");
    let wanted = PYTHON_PACKAGES.join(" ");
    if std::fs::read_to_string(&marker).is_ok_and(|found| found == wanted) {
        return Some(python);
    }
    say("── preparing Python packages");
    match install(&folder, &python).and_then(|()| Ok(std::fs::write(&marker, wanted)?)) {
        Ok(()) => Some(python),
        Err(error) => {
            skipped.push(format!("tests with the Python SDK ({error:#})"));
            None
        }
    }
}

fn install(folder: &Path, python: &Path) -> anyhow::Result<()> {
    quiet(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    quiet(Command::new(python).args(pip).args(PYTHON_PACKAGES))
}

fn quiet(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} cannot be run"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}", said.lines().last().unwrap_or("failed without a word"));
    }
    Ok(())
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
