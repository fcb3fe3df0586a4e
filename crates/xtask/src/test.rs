//! Prepares what the tests need, then runs every check in the order in which failures are cheap.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::{root, say, sdks, services, suite, supply, tidy};

/// Tells tests that what they need must be there.
const ALL_REQUIRED: &str = "NIGHTBELL_TEST_SERVICES";

/// Runs every check; with a filter only the tests whose names hold it. In CI nothing may be skipped.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut skipped = Vec::new();
    services::prepare(&mut skipped);
    let mut variables = sdks::prepare(&mut skipped);
    if is_ci() {
        if !skipped.is_empty() {
            bail!("in CI every test runs, but there would be skipped: {}", skipped.join("; "));
        }
        variables.push((ALL_REQUIRED, "1".into()));
    }
    if arguments.is_empty() {
        step("format", cargo().args(["fmt", "--all", "--check"]))?;
        say("── tidy");
        tidy::run()?;
        say("── supply");
        supply::run()?;
    }
    // The tests drive the real binary: it is built once, with what the tests build.
    let mut tests = cargo();
    tests.args(["test", "--workspace"]);
    if arguments.is_empty() {
        lint(&mut tests);
        let binaries = timed("lints and build", || suite::compile(&mut tests))?;
        timed("tests", || suite::run(binaries, &variables))?;
    } else {
        step("tests", tests.args(arguments).envs(variables))?;
    }
    for what in &skipped {
        say(&format!("skipped: {what}"));
    }
    say(if skipped.is_empty() { "everything passed" } else { "everything that ran passed" });
    Ok(())
}

/// Whether this runs in CI, by the variable that services of CI set, and `.ci/run` where there is none.
fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|set| !set.is_empty() && set != "false")
}

/// Has the project's own crates compiled by clippy, which is the compiler with lints, so that these cost
/// no pass of their own; with what measures, which nothing else here compiles (decision 0049).
fn lint(tests: &mut Command) {
    tests.args(["--features", "xtask/bench,xtask/differential"]);
    // What an incremental compiler keeps for the next time costs a clean clone minutes and gigabytes.
    tests.env("CARGO_INCREMENTAL", "0");
    tests.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
    // In the way in which `cargo clippy -- -D warnings` hands it on.
    let end = "__CLIPPY_HACKERY__";
    tests.env("CLIPPY_ARGS", format!("-D{end}warnings{end}"));
}

/// Builds the binary and the load generators for speed, then measures.
pub(crate) fn build_and_bench() -> anyhow::Result<()> {
    step("build", released(cargo().args(["build", "--release", "--package", "nightbell"])))?;
    let measure =
        ["run", "--release", "--package", "xtask", "--features", "bench", "--", "measure"];
    step("bench", released(cargo().args(measure)))
}

/// Makes pictures of the console in a real browser, of a server with something to see.
pub(crate) fn screenshots() -> anyhow::Result<()> {
    let pictures =
        ["test", "--package", "nightbell", "--test", "it", "screenshots", "--", "--ignored"];
    step("screenshots", cargo().args(pictures))
}

/// Builds the binary as it is given to others: for speed, and without the names of this machine's folders.
pub(crate) fn build_release() -> anyhow::Result<()> {
    step("build", released(cargo().args(["build", "--release", "--package", "nightbell"])))?;
    let binary = std::fs::read(release()).context("the binary cannot be read")?;
    for folder in [root(), cargo_home()?] {
        let folder = folder.display().to_string();
        let found = binary.windows(folder.len()).filter(|it| *it == folder.as_bytes()).count();
        if found > 0 {
            bail!(
                "the binary names {folder} {found} times: what compiles it is not told to leave it out"
            );
        }
    }
    Ok(())
}

/// Builds the binary for speed, then runs the tests that attack: those of the binary drive that one and
/// hold it to the bounds of the contract, the others the parts in their own process.
pub(crate) fn build_and_attack(arguments: &[String]) -> anyhow::Result<()> {
    let mut skipped = Vec::new();
    services::prepare(&mut skipped);
    let sdks = sdks::prepare(&mut skipped);
    build_release()?;
    let figures = root().join("target/attacks.txt");
    std::fs::write(&figures, "").context("the figures cannot be kept")?;
    let mut tests = cargo();
    // One by one: what is measured is the attack, not the test beside it.
    tests.args(["test", "--workspace", "--no-fail-fast", "--", "attacks", "--test-threads=1"]);
    tests.args(arguments);
    tests.envs(sdks).env("NIGHTBELL_TEST_BINARY", release());
    tests.env("NIGHTBELL_ATTACK_FIGURES", &figures);
    let passed = step("attacks", &mut tests);
    say(&std::fs::read_to_string(&figures).unwrap_or_default());
    for what in &skipped {
        say(&format!("skipped: {what}"));
    }
    passed
}

/// Builds the binary for speed, then lets every fault happen to clusters of it, once or as often as said.
pub(crate) fn build_and_fault(arguments: &[String]) -> anyhow::Result<()> {
    let rounds = match arguments {
        [] => "1",
        [rounds] if rounds.parse::<u32>().is_ok_and(|it| it > 0) => rounds,
        _ => bail!("usage: cargo xtask faults [ROUNDS]"),
    };
    let mut skipped = Vec::new();
    services::prepare(&mut skipped);
    build_release()?;
    let mut tests = cargo();
    tests.args(["test", "--package", "nightbell", "--test", "it", "--", "faults::", "--ignored"]);
    tests.args(["--nocapture", "--test-threads=1"]);
    tests.env("NIGHTBELL_TEST_BINARY", release()).env("NIGHTBELL_FAULT_ROUNDS", rounds);
    let passed = step("faults", &mut tests);
    for what in &skipped {
        say(&format!("skipped: {what}"));
    }
    passed
}

fn release() -> PathBuf {
    root().join("target/release/nightbell")
}

/// Where the sources of other crates lie.
fn cargo_home() -> anyhow::Result<PathBuf> {
    let given = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let usual = || std::env::home_dir().map(|home| home.join(".cargo"));
    given.or_else(usual).context("neither CARGO_HOME nor HOME is set")
}

/// Has the folders of this machine left out of what is built; a panic then names `crates/engine/src/…`
/// and `/registry/…/tokio-1.0.0/src/…`.
fn released(command: &mut Command) -> &mut Command {
    let Ok(home) = cargo_home() else { return command };
    let registry = home.join("registry/src").display().to_string();
    let (home, here) = (home.display().to_string(), root().display().to_string());
    // Of several that fit the last one counts.
    let folders = [(here, "."), (home, "/cargo"), (registry, "/registry")];
    let rust = folders.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}"));
    let c = folders.iter().map(|(from, to)| format!("-ffile-prefix-map={from}={to}"));
    let given = std::env::var("CFLAGS").into_iter();
    let c: Vec<String> = given.chain(c).collect();
    command
        .env("CARGO_ENCODED_RUSTFLAGS", rust.collect::<Vec<_>>().join("\u{1f}"))
        .env("CFLAGS", c.join(" "))
}

/// Builds the binary, then compares it with a real Conductor server.
pub(crate) fn build_and_compare(arguments: &[String]) -> anyhow::Result<()> {
    step("build", cargo().args(["build", "--package", "nightbell"]))?;
    let compare = ["run", "--package", "xtask", "--features", "differential", "--", "compare"];
    step("differential", cargo().args(compare).args(arguments))
}

/// The cargo that runs this, in the folder of the project.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn step(name: &str, command: &mut Command) -> anyhow::Result<()> {
    timed(name, || {
        let status = command.status().context("cannot be run")?;
        if !status.success() {
            bail!("failed ({status})");
        }
        Ok(())
    })
}

/// Does something under its name, and says how long it took.
fn timed<T>(name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    say(&format!("── {name}"));
    let begun = Instant::now();
    let done = work().with_context(|| name.to_owned())?;
    say(&format!("── {name}: passed in {} s", begun.elapsed().as_secs()));
    Ok(done)
}
