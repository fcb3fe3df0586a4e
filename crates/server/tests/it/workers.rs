//! What workers do: poll, report, log.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use kernel::definition::TaskDef;
use serde_json::{Value, json};

use crate::support::{Server, line, waiting};

/// Polls once, waiting as long as one may.
async fn poll(server: &Server, queue: &str) -> Value {
    server.get(&format!("/api/tasks/poll/{queue}?workerid=w1&timeout=5000")).await.ok()
}

fn result(task: &Value, status: &str, output: &Value) -> Value {
    json!({
        "workflowInstanceId": task["workflowInstanceId"], "taskId": task["taskId"],
        "status": status, "outputData": output, "workerId": "w1",
    })
}

#[tokio::test]
async fn workers_carry_a_workflow_to_its_end() {
    let server = Server::new().await;
    let mut orders = line("orders", &["pack", "ship"]);
    orders["tasks"][1]["inputParameters"] = json!({ "box": "${pack.output.box}" });
    server.register(orders).await;
    let id = server.start("orders", &json!({})).await;

    let pack = poll(&server, "pack").await;
    assert_eq!(pack["status"], "IN_PROGRESS");
    assert_eq!(pack["workerId"], "w1");
    assert_eq!(pack["pollCount"], 1);
    assert_eq!(pack["workflowInstanceId"], json!(id));
    let done = result(&pack, "COMPLETED", &json!({ "box": 12_345_678_901_234_567_890_u64 }));
    let answer = server.post("/api/tasks", &done).await;
    assert!(answer.content_type.starts_with("text/plain"), "{answer:?}");
    assert_eq!(json!(answer.ok_text()), pack["taskId"]);

    let batch = "/api/tasks/poll/batch/ship?workerid=w1&count=10&timeout=5000";
    let batch = server.get(batch).await.ok();
    assert_eq!(batch.as_array().map(Vec::len), Some(1));
    assert_eq!(batch[0]["inputData"], json!({ "box": 12_345_678_901_234_567_890_u64 }));
    server.post("/api/tasks", &result(&batch[0], "COMPLETED", &json!({}))).await.ok_text();
    assert_eq!(server.workflow(&id).await["status"], "COMPLETED");

    // A report that comes again, or too late, is taken and changes nothing.
    let late = result(&pack, "FAILED", &json!({}));
    assert_eq!(json!(server.post("/api/tasks", &late).await.ok_text()), pack["taskId"]);
    assert_eq!(server.workflow(&id).await["tasks"][0]["status"], "COMPLETED");
}

#[tokio::test]
async fn nothing_to_do_is_204_alone_and_an_empty_list_in_a_batch() {
    let server = Server::new().await;
    let answer = server.get("/api/tasks/poll/pack?timeout=0").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::NO_CONTENT, ""));
    let batch = server.get("/api/tasks/poll/batch/pack?count=5&timeout=0").await;
    assert_eq!(batch.ok(), json!([]));
    let batch = server.get("/api/tasks/poll/batch/pack?count=0&timeout=5000").await;
    assert_eq!(batch.ok(), json!([]));
}

#[tokio::test]
async fn a_poll_may_wait_five_seconds_and_no_longer() {
    let server = Server::new().await;
    for path in ["/api/tasks/poll/pack", "/api/tasks/poll/batch/pack"] {
        let answer = server.get(&format!("{path}?timeout=5001")).await;
        assert_eq!(answer.failed(400), "Long Poll Timeout value cannot be more than 5 seconds");
        server.get(&format!("{path}?timeout=soon")).await.failed(400);
    }
}

#[tokio::test]
async fn a_waiting_poll_is_answered_by_the_start() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let (task, id) = tokio::join!(biased; poll(&server, "pack"), async {
        // The poll waits by now: it was polled first, and only this future can wake it.
        server.start("orders", &json!({})).await
    });
    assert_eq!(task["workflowInstanceId"], json!(id));
}

#[tokio::test]
async fn a_domain_has_a_queue_of_its_own() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let start = json!({ "name": "orders", "taskToDomain": { "pack": "north" } });
    server.post("/api/workflow", &start).await.ok_text();
    let elsewhere = server.get("/api/tasks/poll/pack?timeout=0").await;
    assert_eq!(elsewhere.status, StatusCode::NO_CONTENT);
    let task = server.get("/api/tasks/poll/pack?domain=north&timeout=5000").await.ok();
    assert_eq!(task["domain"], "north");
}

#[tokio::test]
async fn secrets_are_filled_in_for_the_worker_alone() {
    let server = Server::new().await;
    let mut orders = line("orders", &["pack"]);
    let input = json!({ "key": "${workflow.secrets.KEY}", "text": "k=${workflow.secrets.KEY}" });
    orders["tasks"][0]["inputParameters"] = input;
    server.register(orders).await;
    let runtime = vec!["KEY".to_owned(), "REGION".to_owned(), "NOBODY".to_owned()];
    server.register_task(TaskDef { runtime_metadata: runtime, ..TaskDef::named("pack") }).await;
    let id = server.start("orders", &json!({})).await;
    let task = poll(&server, "pack").await;
    assert_eq!(task["inputData"], json!({ "key": "hunter2", "text": "k=hunter2" }));
    assert_eq!(task["runtimeMetadata"], json!({ "KEY": "hunter2", "REGION": "north" }));

    let shown = server.workflow(&id).await.to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
    let path = format!("/api/tasks/{}", task["taskId"].as_str().expect("an id"));
    let shown = server.get(&path).await.ok_text();
    assert!(!shown.contains("hunter2"), "{shown}");
    let path = "/api/tasks/search-v2?query=taskType%3Dpack";
    assert!(!server.get(path).await.ok_text().contains("hunter2"));
}

#[tokio::test]
async fn a_task_in_progress_comes_back_after_its_callback() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let id = server.start("orders", &json!({})).await;
    let task = poll(&server, "pack").await;
    let mut busy = result(&task, "IN_PROGRESS", &json!({ "half": true }));
    busy["callbackAfterSeconds"] = json!(3600);
    busy["reasonForIncompletion"] = json!("still packing");
    server.post("/api/tasks", &busy).await.ok_text();
    let shown = server.workflow(&id).await["tasks"][0].clone();
    assert_eq!(shown["status"], "SCHEDULED");
    assert_eq!(shown["callbackAfterSeconds"], 3600);
    assert_eq!(shown["outputData"], json!({ "half": true }));
    assert_eq!(shown["reasonForIncompletion"], "still packing");
    let nothing = server.get("/api/tasks/poll/pack?timeout=0").await;
    assert_eq!(nothing.status, StatusCode::NO_CONTENT);

    let path = format!("/api/workflow/{id}/resetcallbacks");
    server.send(Method::POST, &path, String::new()).await;
    let again = poll(&server, "pack").await;
    assert_eq!(again["taskId"], task["taskId"]);
    assert_eq!(again["pollCount"], 2);
}

#[tokio::test]
async fn a_lease_is_extended_without_touching_anything_else() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let id = server.start("orders", &json!({})).await;
    let task = poll(&server, "pack").await;
    let lease = json!({
        "taskId": task["taskId"], "extendLease": true, "status": "COMPLETED",
        "outputData": { "lost": true },
    });
    for path in ["/api/tasks", "/api/tasks/update-v2"] {
        let answer = server.post(path, &lease).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
    let shown = server.workflow(&id).await["tasks"][0].clone();
    assert_eq!(shown["status"], "IN_PROGRESS");
    assert_eq!(shown["outputData"], json!({}));
}

#[tokio::test]
async fn failures_are_tried_again_unless_they_are_terminal() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let definition = TaskDef { retry_count: 1, retry_delay_seconds: 0, ..TaskDef::named("pack") };
    server.register_task(definition).await;
    let id = server.start("orders", &json!({})).await;
    let first = poll(&server, "pack").await;
    let mut failed = result(&first, "FAILED", &json!({ "why": "rain" }));
    failed["reasonForIncompletion"] = json!("it rained");
    server.post("/api/tasks", &failed).await.ok_text();
    let second = poll(&server, "pack").await;
    assert_eq!(second["retryCount"], 1);
    assert_eq!(second["retriedTaskId"], first["taskId"]);
    let terminal = result(&second, "FAILED_WITH_TERMINAL_ERROR", &json!({}));
    server.post("/api/tasks", &terminal).await.ok_text();
    let shown = server.workflow(&id).await;
    assert_eq!(shown["status"], "FAILED");
    assert_eq!(shown["tasks"][0]["reasonForIncompletion"], "it rained");

    let id = server.start("orders", &json!({})).await;
    let task = poll(&server, "pack").await;
    server.post("/api/tasks", &result(&task, "CANCELED", &json!({}))).await.ok_text();
    assert_eq!(server.workflow(&id).await["status"], "TERMINATED");
}

#[tokio::test]
async fn an_update_answers_with_the_next_task() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    for _ in 0..2 {
        server.start("orders", &json!({})).await;
    }
    let first = poll(&server, "pack").await;
    let path = "/api/tasks/update-v2";
    let second = server.post(path, &result(&first, "COMPLETED", &json!({}))).await.ok();
    assert_ne!(second["taskId"], first["taskId"]);
    assert_eq!(second["workerId"], "w1");
    let none = server.post(path, &result(&second, "COMPLETED", &json!({}))).await;
    assert_eq!((none.status, none.text.as_str()), (StatusCode::NO_CONTENT, ""));
    let mut stray = result(&second, "COMPLETED", &json!({}));
    stray["taskId"] = json!("nobody-1");
    stray["workflowInstanceId"] = json!("nobody");
    server.post(path, &stray).await.failed(404);
}

#[tokio::test]
async fn reports_that_make_no_sense_are_refused() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let id = server.start("orders", &json!({})).await;
    let task = poll(&server, "pack").await;
    let good = result(&task, "COMPLETED", &json!({}));
    for (member, value, expected) in [
        ("taskId", json!(null), "Task Id cannot be null"),
        ("status", json!(null), "status ''"),
        ("status", json!("DONE"), "'DONE'"),
        ("outputData", json!([1]), "'outputData' must be a JSON object"),
        ("externalOutputPayloadStoragePath", json!("s3://x"), "not supported"),
        ("callbackAfterSeconds", json!("soon"), "whole number"),
    ] {
        let mut bad = good.clone();
        bad[member] = value;
        let message = server.post("/api/tasks", &bad).await.failed(400);
        assert!(message.contains(expected), "{expected} in {message}");
    }
    for body in ["", "{", "[]", "7"] {
        server.send(Method::POST, "/api/tasks", body.to_owned()).await.failed(400);
    }
    for stray in ["nobody-1", "nobody", &format!("{id}-99")] {
        let report = json!({ "taskId": stray, "status": "COMPLETED" });
        server.post("/api/tasks", &report).await.failed(404);
        let message = server.get(&format!("/api/tasks/{stray}")).await.failed(404);
        assert_eq!(message, format!("Task not found for taskId: {stray}"));
    }
    assert_eq!(server.workflow(&id).await["tasks"][0]["status"], "IN_PROGRESS");
}

#[tokio::test]
async fn logs_come_with_reports_and_alone() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    server.start("orders", &json!({})).await;
    let task = poll(&server, "pack").await;
    let path = format!("/api/tasks/{}/log", task["taskId"].as_str().expect("an id"));
    assert_eq!(server.get(&path).await.status, StatusCode::NO_CONTENT);

    server.send(Method::POST, &path, "found a \"box\"".to_owned()).await.ok_text();
    server.send(Method::POST, &path, r#""as a JSON string""#.to_owned()).await.ok_text();
    server.send(Method::POST, &path, String::new()).await.ok_text();
    let mut done = result(&task, "COMPLETED", &json!({}));
    done["logs"] = json!([{ "log": "packed", "createdTime": 1234 }, { "log": "x".repeat(70_000) }]);
    server.post("/api/tasks", &done).await.ok_text();

    let lines = server.get(&path).await.ok();
    assert_eq!(lines.as_array().map(Vec::len), Some(4));
    assert_eq!(lines[0]["log"], "found a \"box\"");
    assert_eq!(lines[0]["taskId"], task["taskId"]);
    assert_eq!(lines[1]["log"], "as a JSON string");
    assert_eq!(lines[2]["log"], "packed");
    assert_eq!(lines[2]["createdTime"], 1234);
    assert!(lines[3]["log"].as_str().is_some_and(|text| text.len() < 66_000));

    let stray = server.send(Method::POST, "/api/tasks/nobody-1/log", "x".to_owned()).await;
    stray.failed(404);
    assert_eq!(server.get("/api/tasks/nobody-1/log").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_task_is_updated_by_its_reference_and_outputs_are_merged() {
    let server = Server::new().await;
    server.register(waiting("signals")).await;
    let id = server.start("signals", &json!({})).await;
    let path = |status: &str| format!("/api/tasks/{id}/wait/{status}");
    let first = server.post(&path("IN_PROGRESS"), &json!({ "a": 1, "b": 1 })).await.ok_text();
    let again = server.post(&path("COMPLETED"), &json!({ "b": 2 })).await.ok_text();
    assert_eq!(first, again);
    let shown = server.workflow(&id).await;
    assert_eq!(shown["status"], "COMPLETED");
    assert_eq!(shown["tasks"][0]["taskId"], json!(first));
    assert_eq!(shown["tasks"][0]["outputData"], json!({ "a": 1, "b": 2 }));

    assert_eq!(server.post(&path("COMPLETED"), &json!({})).await.ok_text(), "");
    let sync = format!("{}/sync", path("COMPLETED"));
    server.post(&sync, &json!({})).await.failed(404);
    server.post(&path("DONE"), &json!({})).await.failed(400);
    server.post("/api/tasks/nobody/wait/COMPLETED", &json!({})).await.failed(404);
    let list = server.send(Method::POST, &path("COMPLETED"), "[1]".to_owned()).await;
    list.failed(400);
}

#[tokio::test]
async fn an_update_by_reference_can_answer_the_workflow() {
    let server = Server::new().await;
    server.register(waiting("signals")).await;
    let id = server.start("signals", &json!({})).await;
    let path = format!("/api/tasks/{id}/wait/COMPLETED/sync?workerid=anna");
    let shown = server.post(&path, &json!({ "ok": true })).await.ok();
    assert_eq!(shown["workflowId"], json!(id));
    assert_eq!(shown["status"], "COMPLETED");
    assert_eq!(shown["tasks"][0]["workerId"], "anna");
}

#[tokio::test]
async fn a_task_in_a_loop_is_found_by_its_plain_reference() {
    let server = Server::new().await;
    let wait = json!({ "name": "wait", "taskReferenceName": "wait", "type": "WAIT" });
    server
        .register(json!({ "name": "loops", "tasks": [{
            "name": "loop", "taskReferenceName": "loop", "type": "DO_WHILE",
            "loopCondition": "false", "loopOver": [wait],
        }] }))
        .await;
    let id = server.start("loops", &json!({})).await;
    let answer = server.post(&format!("/api/tasks/{id}/wait/COMPLETED"), &json!({})).await;
    assert_ne!(answer.ok_text(), "");
    assert_eq!(server.workflow(&id).await["status"], "COMPLETED");
}

#[tokio::test]
async fn a_signal_reaches_the_wait_task_of_a_sub_workflow() {
    let server = Server::new().await;
    let child = json!({
        "name": "child", "taskReferenceName": "child", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "signals", "version": 1 },
    });
    server.register(json!([waiting("signals"), { "name": "outer", "tasks": [child] }])).await;
    let id = server.start("outer", &json!({})).await;
    let inner = async {
        let execution = kernel::ExecutionId::new(id.as_str());
        let mut watch = server.engine.watch(&execution);
        loop {
            let shown = server.workflow(&id).await;
            if shown["tasks"][0]["status"] == "IN_PROGRESS" {
                return shown["tasks"][0]["subWorkflowId"].as_str().expect("an id").to_owned();
            }
            watch.changed().await.expect("the engine lives");
        }
    };
    let limit = Duration::from_secs(30);
    let inner = tokio::time::timeout(limit, inner).await.expect("the child starts");
    let path = format!("/api/tasks/{id}/COMPLETED/signal/sync?returnStrategy=TARGET_WORKFLOW");
    let answer = server.post(&path, &json!({ "word": "go" })).await.ok();
    assert_eq!(answer["responseType"], "TARGET_WORKFLOW");
    assert_eq!(answer["workflowId"], json!(id));
    assert_eq!(answer["status"], "COMPLETED");
    let shown = server.workflow(&inner).await;
    assert_eq!(shown["tasks"][0]["outputData"], json!({ "word": "go" }));

    server.post(&path, &json!({})).await.failed(404);
    let silent = server.post(&format!("/api/tasks/{id}/COMPLETED/signal"), &json!({})).await;
    assert_eq!(silent.ok_text(), "");
    server.post("/api/tasks/nobody/COMPLETED/signal", &json!({})).await.failed(404);
}

#[tokio::test]
async fn a_report_names_a_workflow_that_exists() {
    let server = Server::new().await;
    server.register(json!([line("w", &["a"])])).await;
    server.start("w", &json!({})).await;
    let task = server.take("a").await;
    let mut report = json!({
        "taskId": task.to_string(), "workflowInstanceId": "nowhere", "status": "COMPLETED",
    });
    let told = server.post("/api/tasks", &report).await.failed(404);
    assert_eq!(told, "No such workflow found by id: nowhere");
    server.post("/api/tasks/update-v2", &report).await.failed(404);
    report["workflowInstanceId"] = json!(task.execution);
    server.post("/api/tasks", &report).await.ok_text();
    server.until(task.execution.as_str(), "COMPLETED").await;
}
