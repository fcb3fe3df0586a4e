//! `dev --clock skip`: a server for tests of workers, on which waiting takes no time; and the schemas
//! that every server has for editors.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::live::Live;
use crate::sdks::{PYTHON, drive_against, prepared};
use crate::stand_in::Nightbell;

const DAY: i64 = 24 * 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_of_days_is_over_at_once() {
    let live = Live::start_as("dev", &["--clock", "skip"], &[]).await;
    let task = json!({ "name": "rest", "taskReferenceName": "rest", "type": "WAIT", "inputParameters": { "duration": "3 days" } });
    let worker = json!({ "name": "greet", "taskReferenceName": "greet", "type": "SIMPLE" });
    let definition =
        json!({ "name": "patient", "version": 1, "schemaVersion": 2, "tasks": [task, worker] });
    live.post("/api/metadata/workflow", &definition).await;
    let id = live.begin("patient", &json!({})).await;
    let tasks = live.poll("greet?count=1&timeout=5000").await;
    live.report(&tasks[0], json!({ "status": "COMPLETED", "outputData": {} })).await;
    let run = live.ended(&id, Duration::from_secs(30)).await;
    assert_eq!(run["status"], "COMPLETED");
    let took = run["endTime"].as_i64().unwrap() - run["startTime"].as_i64().unwrap();
    assert!((3 * DAY..4 * DAY).contains(&took), "it took {took} ms: {run}");

    let schema = live.http.get(live.url("/schemas/tests.json")).send().await.unwrap();
    assert_eq!(schema.headers()["content-type"], "application/schema+json");
    assert!(schema.text().await.unwrap().contains("\"Nightbell: tests\""));
    let missing = live.http.get(live.url("/schemas/nothing.json")).send().await.unwrap();
    assert_eq!(missing.status(), 404);
}

/// The timer of an orchestration is one as others are: its worker sees the days go by.
#[tokio::test(flavor = "multi_thread")]
async fn an_orchestration_that_sleeps_for_days_ends_at_once() {
    let Some(python) = prepared(PYTHON) else { return };
    let live = Live::start_as("dev", &["--clock", "skip"], &[]).await;
    drive_against(&live, Command::new(python), "python/durable_skip.py").await;
}

#[test]
fn nobody_is_rung_by_skipped_time() {
    let monitors = "receivers:\n  noc: { webhook: { url: \"http://127.0.0.1:1/\" } }\nroutes:\n- to: noc\n\
        monitors:\n  shop: { http: \"http://127.0.0.1:1/\", every: 1m }\n";
    let arguments = ["dev", "--clock", "skip", "--listen", "127.0.0.1:0", "--load", "m.yaml"];
    let outcome = Nightbell::new(&arguments).file("m.yaml", monitors).run().exits(1);
    for words in ["monitors-while-time-is-skipped", "m.yaml", "nightbell test"] {
        assert!(outcome.stderr.contains(words), "{words}: {outcome:?}");
    }
}
