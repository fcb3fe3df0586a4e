//! Steering executions: what is allowed when, and what follows.

use axum::http::Method;
use kernel::graph::TaskStatus;
use serde_json::{Value, json};

use crate::support::{Server, line, waiting};

#[tokio::test]
async fn pause_and_resume() {
    let server = Server::new().await;
    server.register(line("two", &["a", "b"])).await;
    let id = server.start("two", &json!({})).await;
    server.put(&format!("/api/workflow/{id}/resume")).await.failed(409);
    let paused = server.put(&format!("/api/workflow/{id}/pause")).await;
    assert_eq!(paused.ok_text(), "");
    server.put(&format!("/api/workflow/{id}/pause")).await.ok_text();
    assert_eq!(server.workflow(&id).await["status"], "PAUSED");
    server.put(&format!("/api/workflow/{id}/resume")).await.ok_text();
    server.complete("a").await;
    server.complete("b").await;
    assert_eq!(server.workflow(&id).await["status"], "COMPLETED");
    server.put(&format!("/api/workflow/{id}/pause")).await.failed(409);
    server.put("/api/workflow/nowhere/pause").await.failed(404);
}

#[tokio::test]
async fn decide_is_harmless_at_any_time() {
    let server = Server::new().await;
    server.register(line("one", &["a"])).await;
    let id = server.start("one", &json!({})).await;
    server.put(&format!("/api/workflow/decide/{id}")).await.ok_text();
    server.complete("a").await;
    server.put(&format!("/api/workflow/decide/{id}")).await.ok_text();
    server.put("/api/workflow/decide/nowhere").await.failed(404);
}

#[tokio::test]
async fn terminate_ends_once_and_for_all() {
    let server = Server::new().await;
    server.register(json!([waiting("w"), line("one", &["a"])])).await;
    let id = server.start("w", &json!({})).await;
    server.delete(&format!("/api/workflow/{id}?reason=no%20more")).await.ok_text();
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["status"], "TERMINATED");
    assert_eq!(workflow["reasonForIncompletion"], "no more");
    assert_eq!(workflow["tasks"][0]["status"], "CANCELED");
    server.delete(&format!("/api/workflow/{id}")).await.ok_text();

    let failed = server.start("one", &json!({})).await;
    server.fail("a").await;
    assert_eq!(server.workflow(&failed).await["status"], "FAILED");
    server.delete(&format!("/api/workflow/{failed}")).await.ok_text();
    assert_eq!(server.workflow(&failed).await["status"], "TERMINATED");

    let done = server.start("one", &json!({})).await;
    server.complete("a").await;
    server.delete(&format!("/api/workflow/{done}")).await.failed(409);
    server.delete("/api/workflow/nowhere").await.failed(404);
}

#[tokio::test]
async fn retry_wants_something_that_failed() {
    let server = Server::new().await;
    server.register(line("one", &["a"])).await;
    let id = server.start("one", &json!({})).await;
    let path = format!("/api/workflow/{id}/retry");
    server.post(&path, &json!(null)).await.failed(404);
    server.fail("a").await;
    let retried = server.post(&path, &json!(null)).await;
    assert_eq!((retried.status.as_u16(), &*retried.text), (204, ""));
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["status"], "RUNNING");
    assert!(workflow["lastRetriedTime"].as_i64().is_some_and(|at| at > 0));
    assert_eq!(workflow["tasks"][1]["retryCount"], 1);
    server.complete("a").await;
    server.post(&path, &json!(null)).await.failed(409);
    server.post("/api/workflow/nowhere/retry", &json!(null)).await.failed(404);
}

#[tokio::test]
async fn retry_descends_into_the_failed_child() {
    let server = Server::new().await;
    let parent = json!({ "name": "parent", "version": 1, "tasks": [{
        "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "child" },
    }]});
    server.register(json!([parent, line("child", &["work"])])).await;
    let id = server.start("parent", &json!({})).await;
    let first = server.take("work").await;
    server.report(&first, TaskStatus::FailedWithTerminalError, &json!({})).await;
    server.until(&id, "FAILED").await;
    let path = format!("/api/workflow/{id}/retry?resumeSubworkflowTasks=true");
    assert_eq!(server.post(&path, &json!(null)).await.status.as_u16(), 204);
    let second = server.take("work").await;
    assert_eq!(second.execution, first.execution);
    server.report(&second, TaskStatus::Completed, &json!({})).await;
    server.until(&id, "COMPLETED").await;
}

#[tokio::test]
async fn restart_begins_anew_under_the_same_id() {
    let server = Server::new().await;
    server.register(line("one", &["a"])).await;
    let id = server.start("one", &json!({ "x": 1 })).await;
    let path = format!("/api/workflow/{id}/restart");
    server.post(&path, &json!(null)).await.failed(409);
    server.complete("a").await;
    assert_eq!(server.post(&path, &json!(null)).await.status.as_u16(), 204);
    let workflow = server.workflow(&id).await;
    assert_eq!((&workflow["status"], &workflow["input"]), (&json!("RUNNING"), &json!({ "x": 1 })));
    assert_eq!(workflow["tasks"].as_array().map(Vec::len), Some(1));
    server.complete("a").await;

    let mut changed = line("one", &["b"]);
    changed["version"] = json!(2);
    server.register(changed).await;
    let latest = format!("{path}?useLatestDefinitions=true");
    assert_eq!(server.post(&latest, &json!(null)).await.status.as_u16(), 204);
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["workflowVersion"], 2);
    assert_eq!(workflow["tasks"][0]["taskType"], "b");
    server.post("/api/workflow/nowhere/restart", &json!(null)).await.failed(404);
}

#[tokio::test]
async fn what_is_not_restartable_is_404() {
    let server = Server::new().await;
    let mut definition = line("once", &["a"]);
    definition["restartable"] = json!(false);
    server.register(definition).await;
    let id = server.start("once", &json!({})).await;
    server.complete("a").await;
    server.post(&format!("/api/workflow/{id}/restart"), &json!(null)).await.failed(404);
}

#[tokio::test]
async fn rerun_from_the_beginning_takes_new_input() {
    let server = Server::new().await;
    server.register(line("one", &["a"])).await;
    let id = server.start("one", &json!({ "x": 1 })).await;
    let path = format!("/api/workflow/{id}/rerun");
    server.post(&path, &json!({})).await.failed(409);
    server.complete("a").await;
    let request = json!({ "workflowInput": { "x": 2 }, "correlationId": "again" });
    assert_eq!(server.post(&path, &request).await.ok_text(), id);
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["input"], json!({ "x": 2 }));
    assert_eq!(workflow["correlationId"], "again");
    assert_eq!(workflow["status"], "RUNNING");
}

#[tokio::test]
async fn rerun_from_a_task_goes_back_to_it() {
    let server = Server::new().await;
    server.register(line("three", &["a", "b", "c"])).await;
    let id = server.start("three", &json!({})).await;
    for queue in ["a", "b", "c"] {
        server.complete(queue).await;
    }
    let path = format!("/api/workflow/{id}/rerun");
    let second = server.workflow(&id).await["tasks"][1]["taskId"].clone();
    let request = json!({ "reRunFromTaskId": second, "taskInput": { "n": 9 } });
    assert_eq!(server.post(&path, &request).await.ok_text(), id);
    let tasks = server.workflow(&id).await["tasks"].clone();
    assert_eq!(tasks.as_array().map(Vec::len), Some(2));
    assert_eq!(tasks[1]["taskId"], second);
    assert_eq!(tasks[1]["inputData"], json!({ "n": 9 }));
    server.complete("b").await;
    server.complete("c").await;

    for unknown in ["nothing", "no-such-1", &format!("{id}-77")] {
        let request = json!({ "reRunFromTaskId": unknown });
        server.post(&path, &request).await.failed(400);
    }
    let both = json!({ "reRunFromTaskId": second, "workflowInput": [1] });
    server.post(&path, &both).await.failed(400);
}

#[tokio::test]
async fn rerun_finds_the_task_of_a_sub_workflow() {
    let server = Server::new().await;
    let sub = |name: &str, child: &str| {
        json!({ "name": name, "version": 1, "tasks": [{
            "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
            "subWorkflowParam": { "name": child },
        }]})
    };
    server
        .register(json!([sub("top", "middle"), sub("middle", "leaf"), line("leaf", &["work"])]))
        .await;
    let id = server.start("top", &json!({})).await;
    let first = server.take("work").await;
    server.report(&first, TaskStatus::FailedWithTerminalError, &json!({})).await;
    server.until(&id, "FAILED").await;
    let request = json!({ "reRunFromTaskId": first.to_string() });
    let path = format!("/api/workflow/{id}/rerun");
    assert_eq!(server.post(&path, &request).await.ok_text(), id);
    server.until(&id, "RUNNING").await;
    let again = server.take("work").await;
    assert_eq!(again, first);
    server.report(&again, TaskStatus::Completed, &json!({})).await;
    server.until(&id, "COMPLETED").await;

    let other = server.start("leaf", &json!({})).await;
    server.complete("work").await;
    let foreign = json!({ "reRunFromTaskId": format!("{other}-1") });
    server.post(&path, &foreign).await.failed(400);
}

#[tokio::test]
async fn skipped_tasks_show_what_was_given_for_them() {
    let server = Server::new().await;
    server.register(line("three", &["a", "b", "c"])).await;
    let id = server.start("three", &json!({})).await;
    let skip = async |reference: &str, query: &str, body: Value| {
        let path = format!("/api/workflow/{id}/skiptask/{reference}{query}");
        server.send(Method::PUT, &path, body.to_string()).await
    };
    let body = json!({ "taskInput": { "i": 1 }, "taskOutput": { "o": 2 } });
    skip("b", "", body).await.ok_text();
    let query = "?taskInput=%7B%22q%22%3A3%7D";
    skip("c", query, json!(null)).await.ok_text();
    let tasks = server.workflow(&id).await["tasks"].clone();
    assert_eq!(tasks[1]["status"], "SKIPPED");
    assert_eq!(
        (&tasks[1]["inputData"], &tasks[1]["outputData"]),
        (&json!({ "i": 1 }), &json!({ "o": 2 }))
    );
    assert_eq!(tasks[2]["inputData"], json!({ "q": 3 }));
    skip("a", "", json!({})).await.failed(409);
    skip("x", "", json!({})).await.failed(400);
    skip("c", "?taskInput=%7B", json!({})).await.failed(400);
    skip("c", "", json!({ "taskInput": 1 })).await.failed(400);
    server.complete("a").await;
    assert_eq!(server.workflow(&id).await["status"], "COMPLETED");
    skip("b", "", json!({})).await.failed(409);
}

#[tokio::test]
async fn callbacks_are_reset_while_it_runs() {
    let server = Server::new().await;
    server.register(line("one", &["a"])).await;
    let id = server.start("one", &json!({})).await;
    let taken = server.take("a").await;
    let report = kernel::graph::Report {
        sequence: taken.sequence,
        verdict: kernel::graph::Verdict::Again { after: 3600 },
        output: None,
        merge: false,
        reason: None,
        worker: None,
        started_at: None,
        metadata: None,
    };
    server.engine.report(&taken.execution, report).await.expect("the task is there");
    assert_eq!(server.workflow(&id).await["tasks"][0]["callbackAfterSeconds"], 3600);
    let path = format!("/api/workflow/{id}/resetcallbacks");
    assert_eq!(server.post(&path, &json!(null)).await.status.as_u16(), 204);
    assert_eq!(server.workflow(&id).await["tasks"][0]["callbackAfterSeconds"], 0);
    server.complete("a").await;
    server.post(&path, &json!(null)).await.failed(409);
}

#[tokio::test]
async fn variables_are_written_and_bounded() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let id = server.start("w", &json!({})).await;
    let path = format!("/api/workflow/{id}/variables");
    server.post(&path, &json!({ "a": 1, "b": 2 })).await.ok();
    let workflow = server.post(&path, &json!({ "b": 3 })).await.ok();
    assert_eq!(workflow["variables"], json!({ "a": 1, "b": 3 }));
    let large = json!({ "c": "x".repeat(256 << 10) });
    assert!(server.post(&path, &large).await.failed(400).contains("variables_max"));
    server.post(&path, &json!([1])).await.failed(400);
    server.delete(&format!("/api/workflow/{id}")).await.ok_text();
    server.post(&path, &json!({ "b": 3 })).await.failed(409);
}

#[tokio::test]
async fn only_what_has_ended_is_removed_unless_told() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let id = server.start("w", &json!({})).await;
    let message = server.delete(&format!("/api/workflow/{id}/remove")).await.failed(400);
    assert!(message.contains("RUNNING"), "{message}");
    server.delete(&format!("/api/workflow/{id}/remove?archiveWorkflow=false")).await.ok_text();
    server.get(&format!("/api/workflow/{id}")).await.failed(404);
    server.delete(&format!("/api/workflow/{id}/remove")).await.failed(404);

    let ended = server.start("w", &json!({})).await;
    server.delete(&format!("/api/workflow/{ended}")).await.ok_text();
    server.delete(&format!("/api/workflow/{ended}/remove")).await.ok_text();
    server.get(&format!("/api/workflow/{ended}")).await.failed(404);
}

#[tokio::test]
async fn removing_a_parent_leaves_no_child_running() {
    let server = Server::new().await;
    let parent = json!({ "name": "parent", "version": 1, "tasks": [{
        "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "child" },
    }]});
    server.register(json!([parent, line("child", &["work"])])).await;
    let id = server.start("parent", &json!({})).await;
    let child = server.take("work").await.execution;
    let path = format!("/api/workflow/{id}/terminate-remove?reason=x");
    server.delete(&path).await.ok_text();
    server.get(&format!("/api/workflow/{id}")).await.failed(404);
    assert_eq!(server.workflow(child.as_str()).await["status"], "TERMINATED");
    server.delete(&path).await.failed(404);
}

#[tokio::test]
async fn messages_reach_the_task_that_waits_for_them() {
    let server = Server::new().await;
    let pull = json!({ "name": "p", "taskReferenceName": "p", "type": "PULL_WORKFLOW_MESSAGES" });
    server.register(json!([{ "name": "listens", "tasks": [pull] }, waiting("w")])).await;
    let id = server.start("listens", &json!({})).await;
    let path = format!("/api/workflow/{id}/messages");
    server.post(&path, &json!([1])).await.failed(400);
    let message = server.post(&path, &json!({ "text": "hello" })).await.ok_text();
    server.until(&id, "COMPLETED").await;
    let output = server.workflow(&id).await["output"].clone();
    assert_eq!(output["count"], 1);
    assert_eq!(output["messages"][0]["id"], json!(message));
    assert_eq!(output["messages"][0]["workflowId"], json!(id));
    assert_eq!(output["messages"][0]["payload"], json!({ "text": "hello" }));
    let received = output["messages"][0]["receivedAt"].as_str().expect("an instant");
    received.parse::<jiff::Timestamp>().expect("an instant");
    server.post(&path, &json!({})).await.failed(409);
    server.post("/api/workflow/nowhere/messages", &json!({})).await.failed(404);

    let id = server.start("w", &json!({})).await;
    let path = format!("/api/workflow/{id}/messages");
    for _ in 0..1000 {
        server.post(&path, &json!({})).await.ok_text();
    }
    let full = server.post(&path, &json!({})).await.failed(429);
    assert!(full.contains("inbox_max"), "{full}");
}
