//! Runs the compiled tests, several binaries at once: those that drive a server mostly wait, and others
//! compute meanwhile.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{root, say};

/// How many binaries run at once.
const LANES: usize = 2;

/// The crate whose tests drive the server, and wait for it.
const WAITS: &str = "nightbell";

/// How much of a binary's output is shown where it ended without a list of its failures.
const TAIL: usize = 200;

/// A binary with tests.
#[derive(Debug)]
pub(crate) struct Binary {
    program: PathBuf,
    /// The folder of its crate, in which cargo would run it.
    folder: PathBuf,
    /// What cargo calls the target: `it` are integration tests.
    target: String,
}

/// A line of what cargo tells in JSON.
#[derive(Debug, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact(Artifact),
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    doctest: bool,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

/// Compiles by the command `cargo test …`; answers what there is to run.
///
/// # Errors
/// It does not compile, or a crate has examples in its documentation that nothing here would run.
pub(crate) fn compile(tests: &mut Command) -> anyhow::Result<Vec<Binary>> {
    tests.args(["--no-run", "--message-format=json-render-diagnostics"]).stdout(Stdio::piped());
    let mut cargo = tests.spawn().context("cargo cannot be run")?;
    let told = cargo.stdout.take().context("cargo tells nothing")?;
    let mut binaries = Vec::new();
    for line in BufReader::new(told).lines() {
        let line = line.context("what cargo tells cannot be read")?;
        binaries.extend(binary(&line, &root())?);
    }
    let status = cargo.wait().context("cargo does not end")?;
    if !status.success() {
        bail!("the tests do not compile ({status})");
    }
    Ok(binaries)
}

/// The binary with tests that a line of cargo tells of.
fn binary(line: &str, root: &Path) -> anyhow::Result<Option<Binary>> {
    let message = serde_json::from_str(line).with_context(|| format!("cargo: {line}"))?;
    let Message::CompilerArtifact(artifact) = message else { return Ok(None) };
    let folder = artifact.manifest_path.parent().unwrap_or(root).to_owned();
    if artifact.target.doctest && folder.starts_with(root.join("crates")) {
        bail!("{} has doctests, which do not run here: doctest = false", folder.display());
    }
    let program = artifact.executable.filter(|_| artifact.profile.test);
    Ok(program.map(|program| Binary { program, folder, target: artifact.target.name }))
}

/// Runs all of them. Their output is kept in `target/test-output`; that of those that fail is shown.
///
/// # Errors
/// Names those that fail.
pub(crate) fn run(mut binaries: Vec<Binary>, variables: &[(&str, PathBuf)]) -> anyhow::Result<()> {
    let output = crate::sdks::target().join("test-output");
    std::fs::create_dir_all(&output).with_context(|| output.display().to_string())?;
    // What takes longest is not begun last.
    binaries.sort_by_key(|binary| !binary.waits());
    let queue = Mutex::new(VecDeque::from(binaries));
    let failed = Mutex::new(Vec::new());
    // The lock is not held while the binary runs.
    let next = || lock(&queue).pop_front();
    let lane = || {
        while let Some(binary) = next() {
            if let Err(error) = binary.run(&output, variables) {
                say(&format!("{error:#}"));
                lock(&failed).push(binary.title());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(lane);
        }
    });
    let failed = lock(&failed);
    if failed.is_empty() {
        return Ok(());
    }
    bail!("tests failed in {}; all that they said is in {}", failed.join(", "), output.display())
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Binary {
    /// The crate and the target.
    fn title(&self) -> String {
        format!("{} {}", self.of(), self.target)
    }

    fn of(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn waits(&self) -> bool {
        self.of() == WAITS
    }

    /// How many of its tests run at once: of those that wait, more than there are cores.
    fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        if self.waits() { 3 * cores } else { cores }
    }

    fn run(&self, output: &Path, variables: &[(&str, PathBuf)]) -> anyhow::Result<()> {
        let begun = Instant::now();
        let program = self.program.file_name().unwrap_or_default();
        let file = output.join(program).with_extension("txt");
        let status = self.start(&file, variables).with_context(|| self.title())?;
        let said = std::fs::read(&file).with_context(|| file.display().to_string())?;
        let said = String::from_utf8_lossy(&said);
        let result = said.lines().rev().find_map(|line| line.strip_prefix("test result: "));
        let (title, time) = (self.title(), begun.elapsed().as_secs());
        if status.success() {
            let result = result.and_then(|it| it.split("; finished").next()).unwrap_or("no tests");
            say(&format!("   {title}: {result} ({time} s)"));
            return Ok(());
        }
        bail!("── {title}: failed after {time} s ({status})\n{}", failures(&said))
    }

    fn start(&self, file: &Path, variables: &[(&str, PathBuf)]) -> anyhow::Result<ExitStatus> {
        let out = File::create(file).with_context(|| file.display().to_string())?;
        let mut tests = Command::new(&self.program);
        tests.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        tests.envs(variables.iter().map(|(name, value)| (name, value)));
        if std::env::var_os("RUST_TEST_THREADS").is_none() {
            tests.env("RUST_TEST_THREADS", self.threads().to_string());
        }
        let status = tests.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out).status();
        status.with_context(|| self.program.display().to_string())
    }
}

/// What a reader wants of a failure: what the failed tests said and their names, or the end of all.
fn failures(said: &str) -> &str {
    if let Some(at) = said.find("\nfailures:\n") {
        return &said[at..];
    }
    let end = said.trim_end_matches('\n');
    let from = end.rmatch_indices('\n').nth(TAIL - 1).map_or(0, |(at, _)| at + 1);
    &said[from..]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{binary, failures};

    fn artifact(doctest: bool, test: bool) -> String {
        serde_json::json!({
            "reason": "compiler-artifact", "package_id": "path+file:///p/crates/engine#0.1.0",
            "manifest_path": "/p/crates/engine/Cargo.toml",
            "target": { "kind": ["test"], "name": "it", "doctest": doctest },
            "profile": { "test": test }, "filenames": [], "executable": "/p/target/it-1",
        })
        .to_string()
    }

    #[test]
    fn binaries_with_tests_are_found_with_the_folder_of_their_crate() {
        let root = Path::new("/p");
        let found = binary(&artifact(false, true), root).unwrap().unwrap();
        assert_eq!(found.title(), "engine it");
        assert_eq!(found.program, Path::new("/p/target/it-1"));
        assert!(binary(&artifact(false, false), root).unwrap().is_none());
        assert!(binary(r#"{"reason":"build-finished","success":true}"#, root).unwrap().is_none());
        binary("half a line", root).unwrap_err();
    }

    #[test]
    fn examples_in_documentation_that_would_not_run_are_refused() {
        let error = binary(&artifact(true, false), Path::new("/p")).unwrap_err();
        assert!(error.to_string().contains("doctest = false"), "{error}");
        // Those of others are theirs.
        assert!(binary(&artifact(true, false), Path::new("/elsewhere")).unwrap().is_none());
    }

    #[test]
    fn of_a_failure_the_list_is_shown_and_of_a_crash_the_end() {
        let listed = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nno\n";
        assert_eq!(failures(listed), "\nfailures:\n\n---- b stdout ----\nno\n");
        let lines: Vec<String> = (0..300).map(|line| format!("line {line}")).collect();
        let crashed = lines.join("\n");
        assert!(failures(&crashed).starts_with("line 100\n"));
        assert_eq!(failures("memory is corrupt\n"), "memory is corrupt\n");
    }
}
