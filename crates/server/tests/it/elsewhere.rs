//! Jumps, upgrades, and reruns with another input.

use serde_json::json;

use crate::support::{Server, line};

#[tokio::test]
async fn a_running_execution_jumps_ahead_and_back() {
    let server = Server::new().await;
    server.register(line("three", &["a", "b", "c"])).await;
    let id = server.start("three", &json!({})).await;
    let jump = |task: &str| format!("/api/workflow/{id}/jump/{task}");
    let old = server.take("a").await;
    server.post(&jump("c"), &json!({ "by": "operator" })).await.ok_text();
    let workflow = server.workflow(&id).await;
    let statuses: Vec<_> = workflow["tasks"]
        .as_array()
        .expect("tasks")
        .iter()
        .map(|task| (task["referenceTaskName"].clone(), task["status"].clone()))
        .collect();
    let expected = [("a", "SKIPPED"), ("b", "SKIPPED"), ("c", "SCHEDULED")];
    assert_eq!(statuses, expected.map(|(task, status)| (json!(task), json!(status))));
    assert_eq!(workflow["tasks"][2]["inputData"], json!({ "by": "operator" }));

    server.post(&jump("%7BtaskReferenceName%7D?taskReferenceName=a"), &json!({})).await.ok_text();
    let gone = json!({ "taskId": old.to_string(), "status": "COMPLETED" });
    server.post("/api/tasks", &gone).await.failed(404);
    for queue in ["a", "b", "c"] {
        server.complete(queue).await;
    }
    server.until(&id, "COMPLETED").await;
    server.post(&jump("a"), &json!({})).await.failed(409);
    server.post("/api/workflow/none/jump/a", &json!({})).await.failed(404);
}

#[tokio::test]
async fn a_running_execution_is_upgraded_and_stays_so_when_it_is_read_anew() {
    let server = Server::new().await;
    server.register(line("flow", &["a", "b"])).await;
    let id = server.start("flow", &json!({ "x": 1 })).await;
    server.complete("a").await;
    let mut next = line("flow", &["first", "b", "last"]);
    next["version"] = json!(2);
    next["outputParameters"] = json!({ "from": "${first.output.v}", "in": "${workflow.input}" });
    server.register(next).await;
    let path = format!("/api/workflow/{id}/upgrade");
    let unknown = json!({ "name": "flow", "version": 3 });
    server.post(&path, &unknown).await.failed(404);
    let other = json!({ "name": "flow", "version": 2, "taskOutput": { "none": {} } });
    server.post(&path, &other).await.failed(400);
    let upgrade = json!({ "name": "flow", "version": 2, "taskOutput": { "first": { "v": 5 } },
        "workflowInput": { "y": 2 } });
    server.post(&path, &upgrade).await.ok_text();
    assert_eq!(server.workflow(&id).await["workflowVersion"], 2);
    server.complete("b").await;
    server.complete("last").await;
    server.until(&id, "COMPLETED").await;
    // What has ended is no longer in memory: this is folded from the history.
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["output"], json!({ "from": 5, "in": { "x": 1, "y": 2 } }));
    assert_eq!(workflow["input"], json!({ "x": 1, "y": 2 }));
    server.post(&path, &upgrade).await.failed(409);
}

#[tokio::test]
async fn a_version_that_does_not_fit_is_refused() {
    let server = Server::new().await;
    server.register(json!([line("flow", &["a"]), line("other", &["a"])])).await;
    let id = server.start("flow", &json!({})).await;
    let mut next = line("flow", &["b"]);
    next["version"] = json!(2);
    server.register(next).await;
    let path = format!("/api/workflow/{id}/upgrade");
    let message = server.post(&path, &json!({ "version": 2 })).await.failed(409);
    assert!(message.contains("'a'"), "{message}");
    server.post(&path, &json!({ "name": "other" })).await.failed(400);
    assert_eq!(server.workflow(&id).await["workflowVersion"], 1);
}

#[tokio::test]
async fn a_rerun_from_a_task_takes_another_input_and_label() {
    let server = Server::new().await;
    let mut two = line("two", &["a", "b"]);
    two["tasks"][1]["inputParameters"] = json!({ "x": "${workflow.input.x}" });
    server.register(two).await;
    let id = server.start("two", &json!({ "x": 1 })).await;
    server.complete("a").await;
    server.fail("b").await;
    server.until(&id, "FAILED").await;
    let task = server.workflow(&id).await["tasks"][0]["taskId"].clone();
    let rerun = json!({ "reRunFromTaskId": task, "workflowInput": { "x": 2 },
        "correlationId": "again" });
    let path = format!("/api/workflow/{id}/rerun");
    assert_eq!(server.post(&path, &rerun).await.ok_text(), id);
    server.complete("a").await;
    server.complete("b").await;
    server.until(&id, "COMPLETED").await;
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["tasks"][1]["inputData"], json!({ "x": 2 }));
    assert_eq!(
        (&workflow["correlationId"], &workflow["input"]),
        (&json!("again"), &json!({ "x": 2 }))
    );
}
