//! Which documents name what: told from an index that stays true after each change, and asks the store for
//! nothing as long as there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::Method;
use engine::memory::{Call, Memory};
use serde_json::{Value, json};

use crate::support::Server;

async fn uses(server: &Server, what: &str) -> Vec<String> {
    let told = server.get(&format!("/api/uses/{what}")).await.ok();
    let line = |it: &Value| {
        let text = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("kind"), text("name"))
    };
    told.as_array().expect("a list").iter().map(line).collect()
}

#[tokio::test]
async fn what_is_used_stays_true_after_each_change_and_is_read_once() {
    let reads = Arc::new(AtomicU32::new(0));
    let counted = reads.clone();
    let store = Memory::with_faults(move |call| {
        if let Call::Read("documents") = call {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        None
    });
    let server = Server::with_store(Arc::new(store)).await;
    let none: [&str; 0] = [];
    assert_eq!(uses(&server, "workflow/etl").await, none);
    let sub = json!([{ "name": "etl", "version": 1, "tasks": [
        { "name": "n", "taskReferenceName": "n", "type": "NOOP" }] }, { "name": "parent", "version": 1, "failureWorkflow": "etl", "tasks": [
        { "name": "load", "taskReferenceName": "load", "type": "SIMPLE",
          "inputParameters": { "key": "${workflow.secrets.API_KEY}" } }] }]);
    server.register(sub).await;
    assert_eq!(uses(&server, "workflow/etl").await, ["workflow parent"]);
    let after = reads.load(Ordering::Relaxed);
    for (what, user) in [("task/load", 1), ("secret/API_KEY", 1), ("secret/API", 0)] {
        assert_eq!(uses(&server, what).await.len(), user, "{what}");
    }
    let counts = server.get("/api/uses/secret").await.ok();
    assert_eq!(counts, json!({ "API_KEY": 1 }));
    assert_eq!(reads.load(Ordering::Relaxed), after, "nothing has changed, so nothing is read");
    // Each of the kinds that may name something, added and taken away.
    let handler = json!({ "name": "orders", "event": "conductor:shop:orders", "active": true,
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": "etl" } }] });
    server.post("/api/event", &handler).await.ok_text();
    let monitors = json!({ "receivers": { "noc": { "inbox": null } }, "routes": [{ "to": "noc" }],
        "monitors": { "rows": { "workflow": "etl", "every": "24h" } } });
    server.post("/api/monitors", &monitors).await.ok();
    let trigger = json!([{ "name": "new", "method": "POST", "path": "/jobs/{id}",
        "start": { "name": "etl", "correlationId": "${request.path.id}" } }]);
    server.post("/api/triggers", &trigger).await.ok();
    let all = ["workflow parent", "event_handler orders", "trigger new", "monitors api"];
    assert_eq!(uses(&server, "workflow/etl").await, all);
    assert_eq!(uses(&server, "receiver/noc").await, ["monitors api"]);
    server.delete("/api/event/orders").await.ok_text();
    server.delete("/api/triggers/new").await.ok_text();
    server.send(Method::PUT, "/api/monitors", "monitors: {}".to_owned()).await.ok();
    assert_eq!(uses(&server, "workflow/etl").await, ["workflow parent"]);
    server.delete("/api/metadata/workflow/parent/1").await.ok_text();
    assert_eq!(uses(&server, "workflow/etl").await, none);
    server.get("/api/uses/colour/red").await.failed(400);
}
