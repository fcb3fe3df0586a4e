//! Looking under the hood.

use axum::http::Method;
use serde_json::json;

use crate::support::{Server, line};

#[tokio::test]
async fn the_configuration_tells_version_and_limits() {
    let server = Server::new().await;
    let config = server.get("/api/admin/config").await.ok();
    assert_eq!(config["version"], server.get("/api/version").await.ok_text());
    assert!(config["payload_max"].is_number(), "{config}");
}

#[tokio::test]
async fn open_tasks_are_listed_by_type_in_their_order() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    for priority in [1, 9, 5] {
        let start = json!({ "name": "orders", "priority": priority });
        server.post("/api/workflow", &start).await.ok_text();
    }
    let tasks = server.get("/api/admin/task/pack?count=2").await.ok();
    assert_eq!(tasks[0]["workflowPriority"], 9);
    assert_eq!(tasks[1]["workflowPriority"], 5);
    assert!(tasks.get(2).is_none());
    let rest = server.get("/api/admin/task/pack?start=2").await.ok();
    assert_eq!(rest[0]["workflowPriority"], 1);
    assert_eq!(server.get("/api/admin/task/pack?start=9").await.ok(), json!([]));
    assert_eq!(server.get("/api/admin/task/none").await.ok(), json!([]));
    assert_eq!(server.get("/api/admin/queues?verbose=true").await.ok(), json!({}));
}

#[tokio::test]
async fn a_sweep_changes_nothing_that_is_not_due() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let id = server.start("orders", &json!({})).await;
    let post = async |path: String| server.send(Method::POST, &path, String::new()).await;
    let swept = post(format!("/api/admin/sweep/requeue/{id}")).await;
    assert_eq!(swept.ok_text(), format!("true.{id}"));
    let repaired = post(format!("/api/admin/consistency/verifyAndRepair/{id}")).await;
    assert_eq!(repaired.ok_text(), "false");
    server.complete("pack").await;
    post(format!("/api/admin/sweep/requeue/{id}")).await.ok_text();
    assert_eq!(server.workflow(&id).await["status"], "COMPLETED");
    post("/api/admin/sweep/requeue/nobody".to_owned()).await.failed(404);
    post("/api/admin/consistency/verifyAndRepair/nobody".to_owned()).await.failed(404);
}
