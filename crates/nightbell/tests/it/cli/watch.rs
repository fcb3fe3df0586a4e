//! `nightbell run watch` and `run start --wait`: following a run to its end.

use serde_json::{Value, json};

use crate::stand_in::StandIn;

fn run(status: &str, tasks: &[(&str, &str)]) -> Value {
    let tasks: Vec<_> = tasks
        .iter()
        .map(|(reference, status)| {
            json!({ "taskId": reference, "referenceTaskName": reference, "status": status })
        })
        .collect();
    json!({
        "workflowId": "id-1", "status": status, "tasks": tasks, "output": { "total": 3 },
        "startTime": 1_000, "endTime": 13_000,
    })
}

fn why(reference: &str, reason: &str) -> Value {
    let task = json!({ "taskId": reference, "reference": reference, "reason": reason });
    json!({ "workflowId": "id-1", "status": "RUNNING", "waiting": [task] })
}

/// A run that goes on in three looks and ends in the fourth.
fn server(end: Value) -> StandIn {
    let first = run("RUNNING", &[("a", "SCHEDULED")]);
    let second = run("RUNNING", &[("a", "COMPLETED"), ("b", "IN_PROGRESS")]);
    StandIn::start()
        .says("GET /api/workflow/id-1", 200, first.clone())
        .says("GET /api/workflow/id-1", 200, first)
        .says("GET /api/workflow/id-1", 200, second)
        .says("GET /api/workflow/id-1", 200, end)
        .says("GET /api/workflow/id-1/why", 200, why("a", "no worker polls"))
        .says("GET /api/workflow/id-1/why", 200, why("a", "no worker polls"))
        .says("GET /api/workflow/id-1/why", 200, why("b", "the worker works"))
}

#[test]
fn watch_prints_a_line_for_each_change() {
    let end = run("COMPLETED", &[("a", "COMPLETED"), ("b", "COMPLETED")]);
    let outcome = server(end).run(&["run", "watch", "id-1"]).exits(0);
    assert_eq!(
        outcome.stdout,
        "RUNNING 0/1 tasks, a: no worker polls (12 s)\n\
         RUNNING 1/2 tasks, b: the worker works (12 s)\n\
         COMPLETED 2/2 tasks (12 s)\n"
    );
}

#[test]
fn watch_of_a_run_that_fails_is_exit_code_5() {
    for status in ["FAILED", "TIMED_OUT", "TERMINATED"] {
        let mut end = run(status, &[("a", "FAILED")]);
        end["reasonForIncompletion"] = json!("disk full");
        let outcome = server(end).run(&["run", "watch", "id-1"]).exits(5);
        assert_eq!(
            outcome.stderr,
            format!(
                "error: run id-1 is {status}: disk full\n\
                 hint: `nightbell run show id-1 --tasks` shows where\n"
            )
        );
    }
}

#[test]
fn watch_as_json_is_a_document_a_line() {
    let end = run("COMPLETED", &[("a", "COMPLETED"), ("b", "COMPLETED")]);
    let outcome = server(end).run(&["run", "watch", "id-1", "--json"]).exits(0);
    let lines: Vec<Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1]["tasksDone"], 1);
    assert_eq!(lines[1]["tasksKnown"], 2);
    assert_eq!(lines[1]["waiting"]["reason"], "the worker works");
    assert_eq!(lines[2]["status"], "COMPLETED");
}

#[test]
fn watch_of_an_unknown_run_is_exit_code_3() {
    StandIn::start().run(&["run", "watch", "id-9"]).exits(3);
}

#[test]
fn watch_survives_a_server_that_is_restarted() {
    let server = StandIn::start()
        .says("GET /api/workflow/id-1", 200, run("RUNNING", &[("a", "SCHEDULED")]))
        .says("GET /api/workflow/id-1", 503, json!(""))
        .says("GET /api/workflow/id-1", 503, json!(""))
        .says("GET /api/workflow/id-1", 200, run("COMPLETED", &[("a", "COMPLETED")]))
        .says("GET /api/workflow/id-1/why", 200, why("a", "no worker polls"));
    let outcome = server.run(&["run", "watch", "id-1"]).exits(0);
    assert_eq!(outcome.stderr, "the server does not answer; trying again\n");
    assert!(outcome.stdout.ends_with("COMPLETED 1/1 tasks (12 s)\n"), "{outcome:?}");
}

#[test]
fn attempts_that_were_replaced_do_not_count() {
    let mut end = run("COMPLETED", &[("a", "FAILED"), ("a", "COMPLETED")]);
    end["tasks"][0]["retried"] = json!(true);
    let server = StandIn::start().says("GET /api/workflow/id-1", 200, end);
    let outcome = server.run(&["run", "watch", "id-1"]).exits(0);
    assert_eq!(outcome.stdout, "COMPLETED 1/1 tasks (12 s)\n");
}

#[test]
fn start_with_wait_prints_the_output_and_nothing_else() {
    let end = run("COMPLETED", &[("a", "COMPLETED"), ("b", "COMPLETED")]);
    let server = server(end).says("POST /api/workflow", 200, json!("id-1"));
    let outcome = server.run(&["run", "start", "flow", "--wait"]).exits(0);
    assert_eq!(outcome.json(), json!({ "total": 3 }));
    assert!(outcome.stderr.starts_with("started id-1\nRUNNING 0/1 tasks, a: no worker polls"));
}

#[test]
fn start_with_wait_fails_with_the_run() {
    let server =
        server(run("FAILED", &[("a", "FAILED")])).says("POST /api/workflow", 200, json!("id-1"));
    let outcome = server.run(&["run", "start", "flow", "--wait", "--json"]).exits(5);
    // Whoever asked for JSON gets the whole run, also of a failure.
    assert_eq!(outcome.json()["status"], "FAILED");
}
