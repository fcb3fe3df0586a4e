//! The official Python SDK against the real binary: it registers, works and watches.
//!
//! `cargo xtask test` prepares a Python with the SDK and names it in `NIGHTBELL_TEST_PYTHON`.

use std::process::Command;

use crate::live::Live;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_registers_works_and_completes() {
    let Some(python) = std::env::var_os("NIGHTBELL_TEST_PYTHON") else {
        println!(
            "skipped: NIGHTBELL_TEST_PYTHON names no Python with the SDK; cargo xtask test does"
        );
        return;
    };
    let live = Live::start(&[]).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/sdk.py");
    let url = live.url("/api");
    let ran = tokio::task::spawn_blocking(move || {
        Command::new(python).arg(script).env("CONDUCTOR_SERVER_URL", url).output()
    });
    let output = ran.await.expect("the thread ends").expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}\n{}", live.log_text());
    assert!(said.contains("all checks passed"), "{said}\n{complained}");
}
