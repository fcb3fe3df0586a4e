//! The schema registry.

use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn schemas_are_saved_shown_and_deleted() {
    let server = Server::new().await;
    let schema = |version: u32| {
        json!({ "name": "order", "version": version, "type": "JSON",
            "data": { "type": "object", "required": [format!("v{version}")] } })
    };
    server.post("/api/schema", &json!([schema(1), schema(2)])).await.ok_text();
    server.post("/api/schema", &json!({ "name": "other", "data": {} })).await.ok_text();
    let latest = server.get("/api/schema/order").await.ok();
    assert_eq!(latest["version"], 2);
    assert_eq!(latest["data"]["required"], json!(["v2"]));
    assert!(latest["createTime"].is_i64(), "{latest}");
    let first = server.get("/api/schema/order/1").await.ok();
    assert_eq!(first["data"]["required"], json!(["v1"]));
    let other = server.get("/api/schema/other").await.ok();
    assert_eq!((&other["version"], &other["type"]), (&json!(1), &json!("JSON")));
    assert_eq!(server.get("/api/schema").await.ok().as_array().map(Vec::len), Some(3));
    let short = server.get("/api/schema?short=true").await.ok();
    assert!(short[0].get("data").is_none(), "{short}");

    server.post("/api/schema?newVersion=true", &schema(1)).await.ok_text();
    assert_eq!(server.get("/api/schema/order").await.ok()["version"], 3);
    server.delete("/api/schema/order/3").await.ok_text();
    server.delete("/api/schema/order/3").await.failed(404);
    assert_eq!(server.get("/api/schema/order").await.ok()["version"], 2);
    server.delete("/api/schema/order").await.ok_text();
    server.get("/api/schema/order").await.failed(404);
    server.get("/api/schema/order/1").await.failed(404);
    server.delete("/api/schema/order").await.failed(404);
}

#[tokio::test]
async fn a_request_with_a_fault_saves_nothing() {
    let server = Server::new().await;
    let good = json!({ "name": "good", "data": {} });
    let bad = [
        json!({ "data": {} }),
        json!({ "name": "bad" }),
        json!({ "name": "bad", "data": [] }),
        json!({ "name": "bad", "data": {}, "version": 0 }),
        json!({ "name": "bad", "data": {}, "version": "one" }),
        json!({ "name": "bad", "data": {}, "type": "XML" }),
        json!(7),
    ];
    for bad in bad {
        let message = server.post("/api/schema", &json!([good, bad])).await.failed(400);
        assert!(message.starts_with("schema 1: "), "{message}");
    }
    assert_eq!(server.get("/api/schema").await.ok(), json!([]));
}

#[tokio::test]
async fn a_saved_schema_is_in_force_at_once() {
    let server = Server::new().await;
    let reference = json!({ "name": "order", "version": 1, "type": "JSON" });
    let task = json!({ "name": "noop", "taskReferenceName": "noop", "type": "NOOP" });
    server.register(json!([{ "name": "strict", "tasks": [task], "inputSchema": reference }])).await;
    let schema = json!({ "name": "order", "version": 1, "data": { "required": ["id"] } });
    server.post("/api/schema", &schema).await.ok_text();
    let refused = server.post("/api/workflow/strict", &json!({})).await;
    refused.failed(400);
    assert!(refused.text.contains("id is missing"), "{}", refused.text);
    server.post("/api/workflow/strict", &json!({ "id": 1 })).await.ok_text();
}

#[tokio::test]
async fn a_schema_that_could_not_be_read_again_is_refused() {
    let server = Server::new().await;
    let schema = json!({ "name": "x", "version": 1, "data": {}, "ownerApp": [] });
    let message = server.post("/api/schema", &schema).await.failed(400);
    assert!(message.starts_with("schema 0: "), "{message}");
    assert_eq!(server.get("/api/schema").await.ok(), json!([]));
}
