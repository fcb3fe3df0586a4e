//! One operation on many executions.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Server, line, waiting};

async fn bulk(server: &Server, method: Method, path: &str, ids: &Value) -> Value {
    server.send(method, &format!("/api/workflow/bulk/{path}"), ids.to_string()).await.ok()
}

#[tokio::test]
async fn each_is_answered_for_itself() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let first = server.start("w", &json!({})).await;
    let second = server.start("w", &json!({})).await;
    let ids = json!([first, "nowhere", second]);
    for (method, path, status) in [
        (Method::PUT, "pause", "PAUSED"),
        (Method::PUT, "resume", "RUNNING"),
        (Method::POST, "terminate?reason=enough", "TERMINATED"),
        (Method::POST, "retry", "RUNNING"),
        (Method::POST, "terminate", "TERMINATED"),
        (Method::POST, "restart?useLatestDefinitions=true", "RUNNING"),
    ] {
        let answer = bulk(&server, method, path, &ids).await;
        assert_eq!(answer["bulkSuccessfulResults"], json!([first, second]), "{path}: {answer}");
        assert_eq!(answer["message"], "Bulk Request has been processed.");
        let error = answer["bulkErrorResults"]["nowhere"].as_str().expect("a message");
        assert!(error.contains("nowhere"), "{path}: {error}");
        assert_eq!(server.workflow(&first).await["status"], status, "{path}");
    }
    let answer = bulk(&server, Method::DELETE, "remove", &ids).await;
    assert_eq!(answer["bulkSuccessfulResults"], json!([]));
    assert_eq!(answer["bulkErrorResults"].as_object().map(serde_json::Map::len), Some(3));
    let answer = bulk(&server, Method::DELETE, "terminate-remove?reason=x", &ids).await;
    assert_eq!(answer["bulkSuccessfulResults"], json!([first, second]));
    server.get(&format!("/api/workflow/{first}")).await.failed(404);
}

#[tokio::test]
async fn several_are_shown_whole() {
    let server = Server::new().await;
    server.register(line("one", &["a"])).await;
    let id = server.start("one", &json!({})).await;
    let ids = json!([id, "nowhere"]);
    let answer = bulk(&server, Method::POST, "search", &ids).await;
    assert_eq!(answer["bulkSuccessfulResults"][0]["workflowId"], id);
    assert_eq!(answer["bulkSuccessfulResults"][0]["tasks"][0]["taskType"], "a");
    assert!(answer["bulkErrorResults"]["nowhere"].is_string());
    let answer = bulk(&server, Method::POST, "search?includeTasks=false", &ids).await;
    assert_eq!(answer["bulkSuccessfulResults"][0]["tasks"], json!([]));
}

#[tokio::test]
async fn the_list_is_bounded_and_must_not_be_empty() {
    let server = Server::new().await;
    let many: Vec<String> = (0..1001).map(|n| format!("id-{n}")).collect();
    let send = async |body: Value| {
        server.send(Method::PUT, "/api/workflow/bulk/pause", body.to_string()).await
    };
    assert!(send(json!(many)).await.failed(400).contains("1000"));
    send(json!(many[..1000])).await.ok();
    send(json!([])).await.failed(400);
    send(json!(null)).await.failed(400);
    send(json!({ "a": 1 })).await.failed(400);
}

#[tokio::test]
async fn a_batch_is_previewed_begun_kept_and_told() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let id = server.start("w", &json!({})).await;
    let preview = async |act: &str, find: &str| {
        server.post("/api/batches/preview", &json!({ "act": act, "find": find })).await
    };
    preview("delete", "").await.failed(400);
    preview("retry", "").await.failed(400);
    preview("pause", "colour:red").await.failed(400);
    preview("terminate", "queue:,").await.failed(400);
    preview("pause", &"a".repeat(2001)).await.failed(400);
    let found = preview("terminate", "name:w").await.ok();
    assert_eq!((&found["count"], &found["subWorkflows"]), (&json!(1), &json!(0)), "{found}");
    assert_eq!(found["workflowIds"], json!([id]));
    let begin = async |preview: &Value| {
        server
            .post("/api/batches", &json!({ "preview": preview, "reason": "over", "who": "Ida" }))
            .await
    };
    begin(&json!("none")).await.failed(409);
    let begun = begin(&found["id"]).await.ok();
    assert_eq!((&begun["runs"], &begun["by"]), (&json!(1), &json!("Ida")), "{begun}");
    server.until(&id, "TERMINATED").await;
    let path = format!("/api/batches/{}", begun["id"].as_str().expect("an id"));
    let through = async {
        while server.get(&path).await.ok()["state"] == "RUNNING" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), through).await.expect("it ends");
    server.post(&format!("{path}/stop"), &json!({})).await.failed(409);
    let again = server.restarted().await;
    let kept = again.get(&path).await.ok();
    assert_eq!((&kept["done"], &kept["workflowIds"]), (&json!(1), &json!([id])), "{kept}");
    assert_eq!(again.get("/api/batches").await.ok()[0]["id"], begun["id"]);
    again.get("/api/batches/none").await.failed(404);
}
