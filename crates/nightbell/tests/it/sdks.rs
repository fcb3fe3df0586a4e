//! The official SDKs against the real binary: they register, work, schedule, signal and search.
//!
//! `cargo xtask test` installs them and says where in the environment.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::live::Live;
use crate::skipped::skipped;

/// Names a Python that has the SDK.
pub(crate) const PYTHON: &str = "NIGHTBELL_TEST_PYTHON";

/// Names the folder of packages that has the JavaScript SDK.
pub(crate) const NODE_MODULES: &str = "NIGHTBELL_TEST_NODE_MODULES";

/// Names the folder that has the Java SDK, and our worker made with it.
pub(crate) const JAVA: &str = "NIGHTBELL_TEST_JAVA";

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_finds_all_that_it_asks_for() {
    let Some(python) = prepared(PYTHON) else { return };
    drive(Command::new(python), "python/sdk.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_finds_all_that_it_asks_for() {
    if prepared(NODE_MODULES).is_none() {
        return;
    }
    drive(Command::new("node"), "javascript/sdk.mjs").await;
}

/// What the test command prepared, or none, which is said.
pub(crate) fn prepared(variable: &str) -> Option<OsString> {
    let found = std::env::var_os(variable);
    if found.is_none() {
        skipped(&format!("{variable} names no SDK; cargo xtask test installs it"));
    }
    found
}

/// Runs a script against a server of its own; it must say that every check passed.
pub(crate) async fn drive(interpreter: Command, script: &str) {
    drive_against(&Live::start(&[]).await, interpreter, script).await;
}

/// Runs a script against this server.
#[expect(clippy::print_stderr, reason = "both sides' logs, if they disagree")]
pub(crate) async fn drive_against(live: &Live, mut interpreter: Command, script: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    interpreter.arg(&script).env("CONDUCTOR_SERVER_URL", live.url("/api"));
    interpreter.env("ENDPOINT", format!("127.0.0.1:{}", live.port()));
    // Its own folder stays as it is checked in.
    interpreter.env("PYTHONDONTWRITEBYTECODE", "1");
    let ran = tokio::task::spawn_blocking(move || interpreter.output());
    let output = ran.await.expect("the thread ends").expect("the interpreter runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    if output.status.success() && said.contains("all checks passed") {
        return;
    }
    // The end of what the script says comes last: long logs are cut to it.
    let check = said.lines().last().unwrap_or_default();
    let end = complained.trim_end().lines().rev().take(12).collect::<Vec<_>>();
    let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
    eprintln!("{said}\n{complained}\n{}", live.log_text());
    panic!("{}: {check}: {}\n{end}", script.display(), output.status);
}
