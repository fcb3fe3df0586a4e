//! Changing a running execution, its size, its output alone, and many by their labels.

use std::sync::Arc;

use serde_json::json;

use crate::support::{Server, line, waiting};

#[tokio::test]
async fn variables_and_a_task_are_changed_in_one_request() {
    let server = Server::new().await;
    let mut two = line("two", &["a", "b"]);
    two["variables"] = json!({ "kept": 1, "seen": false });
    server.register(two).await;
    let id = server.start("two", &json!({})).await;
    let path = format!("/api/workflow/{id}/state?waitUntilTaskRef=a&waitForSeconds=30&requestId=r");
    let update = json!({
        "taskReferenceName": "a",
        "taskResult": { "taskId": "any", "workflowInstanceId": "any", "status": "COMPLETED",
            "outputData": { "x": 1 } },
        "variables": { "seen": true },
    });
    let run = server.post(&path, &update).await.ok();
    assert_eq!(run["requestId"], "r");
    assert_eq!(run["variables"], json!({ "kept": 1, "seen": true }));
    assert_eq!(run["tasks"][0]["outputData"], json!({ "x": 1 }));
    assert_eq!(run["tasks"][1]["status"], "SCHEDULED");
}

#[tokio::test]
async fn a_refused_change_of_state_changes_nothing() {
    let server = Server::new().await;
    server.register(line("one", &["a"])).await;
    let id = server.start("one", &json!({})).await;
    let path = format!("/api/workflow/{id}/state");
    let set = json!({ "x": 1 });
    let none = json!({ "variables": set, "taskReferenceName": "none",
        "taskResult": { "status": "COMPLETED" } });
    server.post(&path, &none).await.failed(404);
    let bad = json!({ "variables": set, "taskReferenceName": "a",
        "taskResult": { "status": "DONE" } });
    server.post(&path, &bad).await.failed(400);
    let unnamed = json!({ "variables": set, "taskResult": { "status": "COMPLETED" } });
    server.post(&path, &unnamed).await.failed(400);
    server.post(&path, &json!({ "variables": [1] })).await.failed(400);
    server.post("/api/workflow/none/state", &json!({ "variables": set })).await.failed(404);
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["variables"], json!({}));
    assert_eq!(workflow["tasks"][0]["status"], "SCHEDULED");
}

#[tokio::test]
async fn the_size_is_that_of_the_whole_answer() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let id = server.start("w", &json!({ "text": "x".repeat(1000) })).await;
    let size = server.get(&format!("/api/workflow/{id}/size")).await.ok();
    assert!(size["sizeBytes"].as_u64().is_some_and(|bytes| bytes > 1000), "{size}");
    assert_eq!((&size["limitBytes"], &size["ratio"]), (&json!(0), &json!(0.0)));
    server.get("/api/workflow/none/size").await.failed(404);
}

#[tokio::test]
async fn executions_of_several_workflows_are_found_by_their_labels() {
    let server = Server::new().await;
    server.register(json!([waiting("v"), waiting("w")])).await;
    for (name, label) in [("v", "one"), ("w", "one"), ("w", "two")] {
        let path = format!("/api/workflow/{name}?correlationId={label}");
        server.post(&path, &json!({})).await.ok_text();
    }
    let path = "/api/workflow/correlated/batch?includeTasks=true";
    let ask = json!({ "correlationIds": ["one", "two", "none"], "workflowNames": ["v", "w"] });
    let found = server.post(path, &ask).await.ok();
    let count = |label: &str| found[label].as_array().map(Vec::len);
    assert_eq!((count("one"), count("two"), count("none")), (Some(2), Some(1), Some(0)));
    assert_eq!(found["two"][0]["tasks"][0]["taskType"], "WAIT");
    server.post(path, &json!({ "correlationIds": ["one"] })).await.failed(400);
}

#[tokio::test]
async fn a_workflow_is_run_for_its_output_alone() {
    let server = Arc::new(Server::new().await);
    server.register(line("one", &["a"])).await;
    let asking = tokio::spawn({
        let server = server.clone();
        async move { server.post("/api/workflow/execute/one?version=1", &json!({ "x": 1 })).await }
    });
    server.complete("a").await;
    assert_eq!(asking.await.expect("no panic").ok(), json!({ "done": true }));

    let echo = json!({ "name": "echo", "version": 1,
        "tasks": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }],
        "outputParameters": { "all": "${workflow.input}" } });
    server.register(echo).await;
    let output = server.get("/api/workflow/execute/echo?version=1&a=1&b=two").await.ok();
    assert_eq!(output, json!({ "all": { "a": "1", "b": "two" } }));
    server.get("/api/workflow/execute/none").await.failed(404);
}
