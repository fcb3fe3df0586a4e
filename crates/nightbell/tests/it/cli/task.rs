//! `nightbell task`.

use serde_json::json;

use crate::stand_in::StandIn;

#[test]
fn list_shows_what_a_definition_promises() {
    let definitions = json!([
        { "name": "b", "retryCount": 0, "timeoutSeconds": 90, "description": "second" },
        {
            "name": "a", "retryCount": 3, "retryLogic": "EXPONENTIAL_BACKOFF",
            "retryDelaySeconds": 60, "responseTimeoutSeconds": 3600, "concurrentExecLimit": 5,
            "rateLimitPerFrequency": 100, "rateLimitFrequencyInSeconds": 60,
        },
    ]);
    let server = StandIn::start().says("GET /api/metadata/taskdefs", 200, definitions.clone());
    let outcome = server.run(&["task", "list"]).exits(0);
    assert_eq!(
        outcome.lines(),
        [
            "NAME RETRIES TIMEOUT RESPONSE AT ONCE RATE DESCRIPTION",
            "a 3 exponential 1 min 1 h 5 100/60 s",
            "b none 1 min 30 s 1 h second",
        ]
    );
    assert_eq!(server.run(&["task", "list", "--json"]).exits(0).json(), definitions);
}

#[test]
fn definitions_are_read_written_and_removed() {
    let server = StandIn::start()
        .says("GET /api/metadata/taskdefs/a", 200, json!({ "name": "a" }))
        .says("POST /api/metadata/taskdefs", 200, json!(null))
        .says("PUT /api/metadata/taskdefs", 200, json!(null))
        .says("DELETE /api/metadata/taskdefs/a", 200, json!(null));
    assert_eq!(server.run(&["task", "get", "a"]).exits(0).json(), json!({ "name": "a" }));
    let two = r#"[{"name":"a"},{"name":"b"}]"#;
    server.run_with_input(&["task", "create", "-f", "-"], two).exits(0);
    server.run_with_input(&["task", "update", "-f", "-"], two).exits(0);
    server.run(&["task", "delete", "a"]).exits(2);
    server.run(&["task", "delete", "a", "--yes"]).exits(0);
    assert_eq!(
        server.heard()[1..],
        [
            format!("POST /api/metadata/taskdefs {two}"),
            r#"PUT /api/metadata/taskdefs {"name":"a"}"#.to_owned(),
            r#"PUT /api/metadata/taskdefs {"name":"b"}"#.to_owned(),
            "DELETE /api/metadata/taskdefs/a".to_owned(),
        ]
    );
}

#[test]
fn update_of_an_unknown_definition_is_exit_code_3() {
    let server = StandIn::start().refuses("PUT /api/metadata/taskdefs", 404, "No such task");
    server.run_with_input(&["task", "update", "-f", "-"], r#"{"name":"a"}"#).exits(3);
}

#[test]
fn poll_takes_tasks_as_a_worker() {
    let tasks = json!([{
        "taskId": "t-1", "referenceTaskName": "greet_ref", "workflowType": "flow",
        "workflowInstanceId": "id-1", "scheduledTime": 0, "inputData": { "name": "Ann" },
    }]);
    let server = StandIn::start().says("GET /api/tasks/poll/batch/greet", 200, tasks).says(
        "GET /api/tasks/poll/batch/none",
        200,
        json!([]),
    );
    let outcome = server
        .run(&["task", "poll", "greet", "--count", "2", "--timeout", "500", "--domain", "eu"])
        .exits(0);
    assert_eq!(
        outcome.lines(),
        ["ID TASK WORKFLOW RUN SCHEDULED INPUT", r#"t-1 greet_ref flow id-1 {"name":"Ann"}"#]
    );
    let query = "count=2&timeout=500&workerid=nightbell-cli&domain=eu";
    assert_eq!(server.heard(), [format!("GET /api/tasks/poll/batch/greet?{query}")]);
    let outcome = server.run(&["task", "poll", "greet", "--json"]).exits(0);
    assert_eq!(outcome.json()[0]["taskId"], "t-1");
    let outcome = server.run(&["task", "poll", "none"]).exits(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", "no task waits\n"));
}

#[test]
fn complete_reports_a_task_by_its_id() {
    let server = StandIn::start()
        .says("GET /api/tasks/t-1", 200, json!({ "taskId": "t-1", "workflowInstanceId": "id-1" }))
        .says("POST /api/tasks", 200, json!("t-1"));
    let arguments =
        ["task", "complete", "t-1", "--data", r#"{"n":1}"#, "--log", "well", "--worker-id", "me"];
    let outcome = server.run(&arguments).exits(0);
    assert_eq!(outcome.stderr, "reported t-1 as COMPLETED\n");
    let mut body = server.body(1);
    assert!(body["logs"][0]["createdTime"].take().is_i64());
    let expected = json!({
        "workflowInstanceId": "id-1", "taskId": "t-1", "workerId": "me", "status": "COMPLETED",
        "outputData": { "n": 1 },
        "logs": [{ "log": "well", "taskId": "t-1", "createdTime": null }],
    });
    assert_eq!(body, expected);
    server.run(&["task", "complete", "t-9"]).exits(3);
}

#[test]
fn fail_reports_the_open_task_of_a_name() {
    let tasks = json!([
        { "taskId": "t-1", "referenceTaskName": "a", "status": "FAILED" },
        { "taskId": "t-2", "referenceTaskName": "a", "status": "IN_PROGRESS" },
        { "taskId": "t-3", "referenceTaskName": "b", "status": "SCHEDULED" },
    ]);
    let server = StandIn::start()
        .says("GET /api/workflow/id-1", 200, json!({ "tasks": tasks }))
        .says("POST /api/tasks", 200, json!("t-2"));
    let arguments = ["task", "fail", "--run", "id-1", "--ref", "a", "--reason", "no disk"];
    server.run(&arguments).exits(0);
    let body = server.body(1);
    assert_eq!(body["taskId"], "t-2");
    assert_eq!(body["status"], "FAILED");
    assert_eq!(body["reasonForIncompletion"], "no disk");
    let arguments: Vec<_> = arguments.into_iter().chain(["--terminal", "--json"]).collect();
    let outcome = server.run(&arguments).exits(0);
    let status = "FAILED_WITH_TERMINAL_ERROR";
    assert_eq!(outcome.json(), json!({ "taskId": "t-2", "workflowId": "id-1", "status": status }));
    server.run(&["task", "fail", "--run", "id-1", "--ref", "z"]).exits(3);
}

#[test]
fn logs_are_lines_with_times() {
    let server = StandIn::start()
        .says("GET /api/tasks/t-1/log", 200, json!([{ "log": "one", "createdTime": 1_000 }]))
        .says("GET /api/tasks/t-2/log", 204, json!(null));
    let outcome = server.run(&["task", "logs", "t-1"]).exits(0);
    assert_eq!(outcome.stdout, "1970-01-01T00:00:01.000Z  one\n");
    let outcome = server.run(&["task", "logs", "t-2"]).exits(0);
    assert_eq!(outcome.stderr, "the task has logged nothing\n");
    assert_eq!(server.run(&["task", "logs", "t-2", "--json"]).exits(0).json(), json!([]));
}
