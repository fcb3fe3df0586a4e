//! Calls of the official SDKs beside the usual paths: answered, or refused with the reason.

use serde_json::json;

use crate::support::Server;

fn waiting() -> serde_json::Value {
    let task = json!({ "name": "wait", "taskReferenceName": "wait", "type": "SIMPLE" });
    json!([{ "name": "w", "version": 1, "tasks": [task] }, { "name": "w", "version": 2, "tasks": [task] }])
}

#[tokio::test]
async fn a_version_is_started_by_its_path() {
    let server = Server::new().await;
    server.register(waiting()).await;
    let first =
        server.post("/api/workflow/start/w/1?priority=3", &json!({ "a": 1 })).await.ok_text();
    let shown = server.workflow(&first).await;
    assert_eq!((&shown["workflowVersion"], &shown["priority"]), (&json!(1), &json!(3)), "{shown}");
    assert_eq!(shown["input"]["a"], 1);
    let latest = server.post("/api/workflow/start/w/0", &json!({})).await.ok_text();
    assert_eq!(server.workflow(&latest).await["workflowVersion"], 2);
    server.post("/api/workflow/start/w/9", &json!({})).await.failed(404);
}

#[tokio::test]
async fn many_are_deleted_at_once() {
    let server = Server::new().await;
    server.register(waiting()).await;
    let (one, other) = (server.start("w", &json!({})).await, server.start("w", &json!({})).await);
    let done = server.post("/api/workflow/bulk/delete", &json!([one, other, "none"])).await.ok();
    assert_eq!(done["bulkSuccessfulResults"].as_array().map(Vec::len), Some(2), "{done}");
    assert!(done["bulkErrorResults"]["none"].is_string(), "{done}");
    server.get(&format!("/api/workflow/{one}")).await.failed(404);
}

#[tokio::test]
async fn tags_are_found_at_the_older_path_too() {
    let server = Server::new().await;
    server.register(waiting()).await;
    let (old, new) = ("/api/metadata/tags/workflow/w", "/api/metadata/workflow/w/tags");
    let tag = json!({ "key": "team", "value": "data" });
    server.post(old, &tag).await.ok_text();
    assert_eq!(server.get(new).await.ok(), server.get(old).await.ok());
    assert_eq!(server.get(old).await.ok()[0]["value"], "data");
    let delete = http::Method::DELETE;
    server.send(delete, old, tag.to_string()).await.ok_text();
    assert_eq!(server.get(old).await.ok(), json!([]));
}

#[tokio::test]
async fn caches_of_secrets_are_accepted_as_cleared() {
    let server = Server::new().await;
    server.get("/api/secrets/clearLocalCache").await.ok();
    server.get("/api/secrets/clearRedisCache").await.ok();
}

#[tokio::test]
async fn what_has_no_counterpart_is_refused_with_the_reason() {
    let server = Server::new().await;
    let import = server.post("/api/metadata/workflow-importer/import-bpm", &json!({})).await;
    assert!(import.failed(501).contains("BPMN"));
    let upload = server.post("/api/metadata/workflow-task-defs/upload", &json!(null)).await;
    assert!(upload.failed(501).contains("object storage"));
    server.get("/api/scheduler/test/timeout").await.failed(501);
}

#[tokio::test]
async fn a_worker_names_the_execution_that_it_started() {
    let server = Server::new().await;
    server.register(waiting()).await;
    let id = server.start("w", &json!({})).await;
    let task = server.take("wait").await;
    let result = json!({ "workflowInstanceId": id, "taskId": task.to_string(), "status": "COMPLETED",
        "outputData": { "a": 1 }, "subWorkflowId": "child-1" });
    server.post("/api/tasks", &result).await.ok_text();
    let shown = server.workflow(&id).await;
    assert_eq!(shown["tasks"][0]["subWorkflowId"], "child-1", "{shown}");
    assert_eq!(shown["tasks"][0]["outputData"], json!({ "a": 1, "subWorkflowId": "child-1" }));
}
