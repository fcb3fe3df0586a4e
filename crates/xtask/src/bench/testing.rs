//! `nightbell test`: how many tests of workflows, and how many checks of a staged monitor, one core
//! does in a second. What the command needs for itself is measured apart and taken off.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::ensure;

use super::figures::Samples;
use super::house::Folder;
use super::server::binary;

/// Tests of one workflow: four tasks, two of them scripts.
const TESTS: usize = 2_000;
/// Checks of one monitor, each of one row that is well.
const CHECKS: usize = 20_000;

const FLOW: &str = r#"{ "name": "flow", "version": 1, "schemaVersion": 2, "ownerEmail": "bench@nightbell.dev",
  "tasks": [
    { "name": "fetch", "taskReferenceName": "fetch", "type": "HTTP",
      "inputParameters": { "http_request": { "uri": "http://shop.test", "method": "GET" } } },
    { "name": "count", "taskReferenceName": "count", "type": "INLINE", "inputParameters": {
      "evaluatorType": "javascript", "all": "${fetch.output.response.body}", "expression": "$.all.length" } },
    { "name": "twice", "taskReferenceName": "twice", "type": "INLINE", "inputParameters": {
      "evaluatorType": "javascript", "n": "${count.output.result}", "expression": "$.n * 2" } },
    { "name": "tell", "taskReferenceName": "tell", "type": "SIMPLE" }
  ], "outputParameters": { "n": "${twice.output.result}" } }"#;
const MONITORS: &str = "monitors:\n  net:\n    sql: \"SELECT 1\"\n    server: db\n    every: 1m\n    fail_when: loss >= 15\n";

/// Measures once.
pub(super) fn measure(samples: &mut Samples) -> anyhow::Result<()> {
    let folder = Folder::make()?;
    let path = &folder.0;
    std::fs::write(path.join("flow.json"), FLOW)?;
    std::fs::write(path.join("monitors.yaml"), MONITORS)?;
    let mut flows = String::from("uses: [flow.json]\ntests:\n");
    for number in 0..TESTS {
        let _ = write!(
            flows,
            "- name: test {number}\n  workflow: flow\n  mocks:\n    \
             fetch: {{ output: {{ response: {{ body: [1, 2, 3] }} }} }}\n    tell: {{ output: {{}} }}\n  \
             expect: {{ exactly: {{ n: 6 }} }}\n"
        );
    }
    std::fs::write(path.join("flows.test.yaml"), flows)?;
    let checks = format!(
        "uses: [monitors.yaml]\ntests:\n- name: all is well\n  monitor: net\n  \
         series: {{ loss: 0x{} }}\n  expect: {{ incidents: [] }}\n",
        CHECKS - 1
    );
    std::fs::write(path.join("checks.test.yaml"), checks)?;
    let least = seconds(path, &["flows.test.yaml", "--filter", "test 1999"])?;
    let flows = seconds(path, &["flows.test.yaml"])? - least;
    let checks = seconds(path, &["checks.test.yaml"])? - least;
    samples.take("test.least", least * 1000.0);
    samples.take("test.workflows", (TESTS - 1) as f64 / flows);
    samples.take("test.checks", CHECKS as f64 / checks);
    Ok(())
}

/// Seconds of a run on one thread that passes.
fn seconds(folder: &Path, arguments: &[&str]) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut command = Command::new(binary());
    command.args(["test", "--jobs", "1"]).args(arguments).current_dir(folder);
    let status = command.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "nightbell test {arguments:?} ended with {status}");
    Ok(begun.elapsed().as_secs_f64())
}
