//! Commands that change runs, one or many.

use serde_json::{Value, json};

use crate::stand_in::StandIn;

#[test]
fn one_run_is_one_request() {
    for (arguments, request) in [
        ("pause 1", "PUT /api/workflow/1/pause"),
        ("resume 1", "PUT /api/workflow/1/resume"),
        ("terminate 1", "DELETE /api/workflow/1"),
        ("terminate 1 --reason tired", "DELETE /api/workflow/1?reason=tired"),
        ("restart 1", "POST /api/workflow/1/restart"),
        ("restart 1 --latest", "POST /api/workflow/1/restart?useLatestDefinitions=true"),
        ("retry 1", "POST /api/workflow/1/retry"),
        (
            "retry 1 --resume-sub-workflows",
            "POST /api/workflow/1/retry?resumeSubworkflowTasks=true",
        ),
        ("delete 1 --yes", "DELETE /api/workflow/1/remove?archiveWorkflow=false"),
        ("skip-task 1 ref", "PUT /api/workflow/1/skiptask/ref"),
    ] {
        let server = StandIn::start().says(request, 204, json!(null));
        let arguments: Vec<_> = std::iter::once("run").chain(arguments.split(' ')).collect();
        let outcome = server.run(&arguments).exits(0);
        assert_eq!(server.heard(), [request]);
        assert_eq!(outcome.stdout, "", "messages are not data");
        assert_ne!(outcome.stderr, "");
    }
}

#[test]
fn many_runs_are_one_bulk_request() {
    for (arguments, request) in [
        ("pause", "PUT /api/workflow/bulk/pause"),
        ("resume", "PUT /api/workflow/bulk/resume"),
        ("terminate --reason tired", "POST /api/workflow/bulk/terminate?reason=tired"),
        ("restart --latest", "POST /api/workflow/bulk/restart?useLatestDefinitions=true"),
        ("retry", "POST /api/workflow/bulk/retry"),
        ("delete", "DELETE /api/workflow/bulk/remove?archiveWorkflow=false"),
    ] {
        let answer = json!({ "bulkSuccessfulResults": ["1", "2"], "bulkErrorResults": {} });
        let server = StandIn::start().says(request, 200, answer);
        let arguments: Vec<_> =
            std::iter::once("run").chain(arguments.split(' ')).chain(["1", "2", "1"]).collect();
        // Without --yes and without a terminal to ask, nothing happens.
        let outcome = server.run(&arguments).exits(2);
        assert!(outcome.stderr.contains("2 runs"), "{outcome:?}");
        assert!(server.heard().is_empty());
        let arguments: Vec<_> = arguments.into_iter().chain(["--yes", "--json"]).collect();
        let outcome = server.run(&arguments).exits(0);
        assert_eq!(outcome.json(), json!({ "succeeded": ["1", "2"], "failed": {} }));
        assert_eq!(server.heard(), [format!(r#"{request} ["1","2"]"#)]);
    }
}

#[test]
fn failures_among_many_are_told() {
    let answer = json!({
        "bulkSuccessfulResults": ["1"],
        "bulkErrorResults": { "2": "it is over" },
    });
    let server = StandIn::start().says("PUT /api/workflow/bulk/pause", 200, answer);
    let outcome = server.run(&["run", "pause", "1", "2", "--yes"]).exits(1);
    assert_eq!(outcome.stderr, "paused 1\nerror: could not pause 1 of 2 runs\n  2: it is over\n");
}

#[test]
fn ids_come_from_standard_input_in_portions_that_the_server_takes() {
    let answer = json!({ "bulkSuccessfulResults": [], "bulkErrorResults": {} });
    let server = StandIn::start().says("POST /api/workflow/bulk/retry", 200, answer);
    let ids: Vec<_> = (0..1500).map(|number| number.to_string()).collect();
    server.run_with_input(&["run", "retry", "--yes", "-"], &ids.join("\n")).exits(0);
    let sizes = [0, 1].map(|number| server.body(number).as_array().map(Vec::len));
    assert_eq!(sizes, [Some(1000), Some(500)]);
    server.run_with_input(&["run", "retry", "--yes", "-"], "\n").exits(2);
}

#[test]
fn deleting_one_run_needs_a_yes() {
    let server = StandIn::start();
    let outcome = server.run(&["run", "delete", "1"]).exits(2);
    assert_eq!(
        outcome.stderr,
        "error: refusing to delete this run without --yes\n  1\n\
         hint: add --yes to skip the confirmation\n"
    );
    assert!(server.heard().is_empty());
}

#[test]
fn runs_are_upgraded_each_by_itself() {
    let one = "POST /api/workflow/1/upgrade";
    let server = StandIn::start().says(one, 200, json!(null)).says(
        "POST /api/workflow/2/upgrade",
        409,
        json!({ "message": "it is over" }),
    );
    server
        .run(&["run", "upgrade", "1", "--to", "3", "--task-output", r#"fetch={"rows":[]}"#])
        .exits(0);
    assert_eq!(server.body(0), json!({ "version": 3, "taskOutput": { "fetch": { "rows": [] } } }));
    let outcome = server.run(&["run", "upgrade", "1", "--task-output", "fetch"]).exits(2);
    assert!(outcome.stderr.contains("REF=JSON"), "{outcome:?}");
    // Of several, each that does not fit is named, and the others are upgraded.
    server.run(&["run", "upgrade", "1", "2"]).exits(2);
    let outcome = server.run(&["run", "upgrade", "1", "2", "--yes"]).exits(1);
    assert_eq!(
        outcome.stderr,
        "upgraded 1\nerror: could not upgrade 1 of 2 runs\n  2: it is over\n"
    );
    server.run(&["run", "upgrade", "2"]).exits(4);
}

fn run() -> Value {
    json!({
        "workflowId": "1", "status": "FAILED",
        "tasks": [
            { "taskId": "t-1", "referenceTaskName": "a", "status": "FAILED", "retried": true },
            { "taskId": "t-2", "referenceTaskName": "a", "status": "FAILED" },
        ],
    })
}

#[test]
fn rerun_finds_the_last_attempt_of_a_task_by_its_name() {
    let server = StandIn::start().says("GET /api/workflow/1", 200, run()).says(
        "POST /api/workflow/1/rerun",
        200,
        json!("1"),
    );
    let arguments = ["run", "rerun", "1", "--from", "a", "--task-input", r#"{"n":1}"#];
    let outcome = server.run(&arguments).exits(0);
    assert_eq!(outcome.stdout, "1\n");
    assert_eq!(server.body(1), json!({ "reRunFromTaskId": "t-2", "taskInput": { "n": 1 } }));
    server.run(&["run", "rerun", "1", "--from", "t-1"]).exits(0);
    assert_eq!(server.body(3), json!({ "reRunFromTaskId": "t-1" }));
    let outcome = server.run(&["run", "rerun", "1", "--from", "z"]).exits(3);
    assert_eq!(outcome.stderr, "error: run 1 has no task z\nhint: it has a\n");
}

#[test]
fn rerun_from_the_start_takes_a_new_input() {
    let server = StandIn::start().says("GET /api/workflow/1", 200, run()).says(
        "POST /api/workflow/1/rerun",
        200,
        json!("1"),
    );
    server.run(&["run", "rerun", "1", "-i", r#"{"n":2}"#]).exits(0);
    assert_eq!(server.body(1), json!({ "workflowInput": { "n": 2 } }));
}

#[test]
fn rerun_asks_before_what_has_completed_is_replaced() {
    let mut completed = run();
    completed["status"] = json!("COMPLETED");
    let server = StandIn::start().says("GET /api/workflow/1", 200, completed).says(
        "POST /api/workflow/1/rerun",
        200,
        json!("1"),
    );
    let refused = server.run(&["run", "rerun", "1", "--from", "t-2"]).exits(2);
    assert!(refused.stderr.contains("the output of the run"), "{refused:?}");
    assert!(refused.stderr.contains("task a (FAILED)"), "{refused:?}");
    assert_eq!(server.heard(), ["GET /api/workflow/1?includeTasks=true"]);
    server.run(&["run", "rerun", "1", "--from", "t-2", "--yes"]).exits(0);
}

fn fork(answer: &Value) -> StandIn {
    StandIn::start().says("POST /api/workflow/1/fork", 200, answer.clone())
}

#[test]
fn a_fork_asks_before_tasks_act_again() {
    let answer = json!({ "workflowId": "2", "existing": false, "doneAgain": [
        { "referenceTaskName": "ring", "taskType": "HTTP", "status": "COMPLETED" } ] });
    let server = fork(&answer);
    let arguments = ["run", "fork", "1", "--at", "ring"];
    let refused = server.run(&arguments).exits(2);
    assert!(refused.stderr.contains("task ring (HTTP, COMPLETED)"), "{refused:?}");
    assert!(refused.stderr.contains("add --yes"), "{refused:?}");
    assert_eq!(server.body(0), json!({ "at": "ring", "dryRun": true }));
    assert_eq!(server.heard().len(), 1, "nothing but the trial");
    let done = server.run(&[&arguments[..], &["--yes"]].concat()).exits(0);
    assert_eq!(done.stdout, "2\n");
    let key = server.body(2)["idempotencyKey"].clone();
    assert!(key.as_str().is_some_and(|key| !key.is_empty()), "a repetition is no second fork");
    assert_eq!(server.body(2), json!({ "at": "ring", "idempotencyKey": key }));
}

#[test]
fn a_dry_fork_only_lists() {
    let answer = json!({ "doneAgain": [
        { "referenceTaskName": "ring", "taskType": "HTTP", "status": "COMPLETED" } ] });
    let server = fork(&answer);
    let listed = server.run(&["run", "fork", "1", "--at", "ring", "--dry-run"]).exits(0);
    assert_eq!(listed.stdout, "task ring (HTTP, COMPLETED)\n");
    assert_eq!(server.heard().len(), 1);
}

#[test]
fn a_fork_takes_values_and_a_key() {
    let server = fork(&json!({ "workflowId": "2", "existing": true, "doneAgain": [] }));
    let arguments = [
        "run",
        "fork",
        "1",
        "--at",
        "b#2",
        "--set",
        "a.output.n=3",
        "--set",
        "workflow.input.s=x=y",
        "--version",
        "2",
        "--idempotency-key",
        "k",
    ];
    let done = server.run(&arguments).exits(0);
    let set = json!({ "a.output.n": 3, "workflow.input.s": "x=y" });
    let expected = json!({ "at": "b#2", "set": set, "version": 2, "idempotencyKey": "k" });
    assert_eq!(server.body(1), expected);
    assert!(done.stderr.contains("there before"), "{done:?}");
    let refused = server.run(&["run", "fork", "1", "--at", "b", "--set", "n"]).exits(2);
    assert!(refused.stderr.contains("has no value"), "{refused:?}");
}
