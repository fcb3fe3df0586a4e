//! Tags of definitions.

use axum::http::Method;
use kernel::definition::TaskDef;
use serde_json::{Value, json};

use crate::support::{Server, line};

async fn server() -> Server {
    let server = Server::new().await;
    server.register(json!([line("w", &["a"])])).await;
    server.register_task(TaskDef::named("a")).await;
    server
}

#[tokio::test]
async fn tags_are_added_replaced_and_deleted() {
    let server = server().await;
    for path in ["/api/metadata/workflow/w/tags", "/api/metadata/task/a/tags"] {
        assert_eq!(server.get(path).await.ok(), json!([]));
        let one = json!({ "key": "team", "value": "docs", "type": "METADATA" });
        server.post(path, &one).await.ok_text();
        let two = json!([{ "key": "env", "value": "test" }, { "key": "team", "value": "ops" }]);
        server.post(path, &two).await.ok_text();
        let all = json!([{ "key": "env", "value": "test" }, { "key": "team", "value": "ops" }]);
        assert_eq!(server.get(path).await.ok(), all);
        let delete = json!({ "key": "env", "value": "other" }).to_string();
        server.send(Method::DELETE, path, delete).await.failed(404);
        let delete = json!({ "key": "env", "value": "test" }).to_string();
        server.send(Method::DELETE, path, delete).await.ok_text();
        assert_eq!(server.get(path).await.ok(), json!([{ "key": "team", "value": "ops" }]));
        let put = json!([{ "key": "limit", "value": 5 }]).to_string();
        server.send(Method::PUT, path, put).await.ok_text();
        assert_eq!(server.get(path).await.ok(), json!([{ "key": "limit", "value": "5" }]));
    }
}

#[tokio::test]
async fn tags_survive_a_new_version_and_are_found() {
    let server = server().await;
    let tag = json!([{ "key": "team", "value": "docs" }]);
    server.post("/api/metadata/workflow/w/tags", &tag).await.ok_text();
    server.post("/api/metadata/task/a/tags", &tag).await.ok_text();
    let mut next = line("w", &["a"]);
    next["version"] = json!(2);
    server.register(json!([next])).await;
    assert_eq!(server.get("/api/metadata/workflow/w/tags").await.ok(), tag);
    assert_eq!(server.get("/api/metadata/tags").await.ok(), tag);
    let grouped = server.get("/api/metadata/tags/grouped").await.ok();
    let types: Vec<&Value> =
        grouped.as_array().expect("a list").iter().map(|group| &group["resourceType"]).collect();
    assert_eq!(types, ["WORKFLOW_DEF", "TASK_DEF"]);
    assert_eq!(grouped[0]["countPerResourceType"], 1);
    let path = "/api/metadata/tags/resources?tagKey=team&tagValue=docs&resourceType=";
    let found = server.get(&format!("{path}WORKFLOW_DEF")).await.ok();
    assert_eq!(found, json!([{ "id": "w", "displayName": "w" }]));
    assert_eq!(server.get(&format!("{path}WEBHOOK")).await.ok(), json!([]));
    server.get(&format!("{path}GARDEN")).await.failed(400);
}

#[tokio::test]
async fn what_cannot_be_tagged_is_refused() {
    let server = server().await;
    let tag = json!({ "key": "team", "value": "docs" });
    server.post("/api/metadata/workflow/none/tags", &tag).await.failed(404);
    server.post("/api/metadata/task/none/tags", &tag).await.failed(404);
    let path = "/api/metadata/workflow/w/tags";
    for bad in [json!({ "key": "" , "value": "x" }), json!({ "key": "k" }), json!(["k"])] {
        server.post(path, &json!([tag, bad])).await.failed(400);
    }
    assert_eq!(server.get(path).await.ok(), json!([]), "none of a refused list is kept");
}

#[tokio::test]
async fn a_tag_may_be_a_rate_limit() {
    let server = server().await;
    let path = "/api/metadata/workflow/w/tags";
    server.post(path, &json!({ "key": "team", "value": "docs" })).await.ok_text();
    let limit = json!({ "key": "w", "type": "RATE_LIMIT", "value": 5 });
    server.post(path, &limit).await.ok_text();
    let both = json!([{ "key": "team", "value": "docs" }, limit]);
    assert_eq!(server.get(path).await.ok(), both);
    let config = server.get("/api/metadata/workflow/w/rate-limit").await.ok();
    assert_eq!((&config["concurrentExecLimit"], &config["rateLimitKey"]), (&json!(5), &json!("w")));
    let other = json!({ "key": "w", "type": "RATE_LIMIT", "value": 6 }).to_string();
    server.send(Method::DELETE, path, other).await.failed(404);
    server.send(Method::DELETE, path, limit.to_string()).await.ok_text();
    assert_eq!(server.get(path).await.ok(), json!([{ "key": "team", "value": "docs" }]));
    server.get("/api/metadata/workflow/w/rate-limit").await.failed(404);
    let none = json!({ "key": "w", "type": "RATE_LIMIT", "value": 0 });
    server.post(path, &none).await.failed(400);
}
