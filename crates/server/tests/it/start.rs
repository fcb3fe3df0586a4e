//! Starting, and everything a start can be refused for.

use axum::http::Method;
use serde_json::json;

use crate::support::{Server, line, waiting};

#[tokio::test]
async fn a_start_answers_the_id_as_plain_text() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let request = json!({
        "name": "orders", "version": 1, "correlationId": "c-1", "priority": 7,
        "input": { "order": 12_345_678_901_234_567_890_u64 }, "taskToDomain": { "pack": "north" },
        "createdBy": "anna",
    });
    let answer = server.post("/api/workflow", &request).await;
    assert!(answer.content_type.starts_with("text/plain"), "{answer:?}");
    let workflow = server.workflow(&answer.ok_text()).await;
    assert_eq!(workflow["status"], "RUNNING");
    assert_eq!(workflow["correlationId"], "c-1");
    assert_eq!(workflow["priority"], 7);
    assert_eq!(workflow["input"], json!({ "order": 12_345_678_901_234_567_890_u64 }));
    assert_eq!(workflow["taskToDomain"], json!({ "pack": "north" }));
    assert_eq!(workflow["createdBy"], "anna");
    assert_eq!(workflow["tasks"][0]["domain"], "north");
}

#[tokio::test]
async fn a_start_by_name_takes_the_body_as_input() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let path = "/api/workflow/orders?version=1&correlationId=c-2&priority=";
    let id = server.post(path, &json!({ "a": [1, 2] })).await.ok_text();
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["input"], json!({ "a": [1, 2] }));
    assert_eq!(workflow["correlationId"], "c-2");
    assert_eq!(workflow["priority"], 0);

    let empty = server.send(Method::POST, "/api/workflow/orders", String::new()).await.ok_text();
    assert_eq!(server.workflow(&empty).await["input"], json!({}));
}

#[tokio::test]
async fn numbers_may_be_texts_and_version_zero_is_the_latest() {
    let server = Server::new().await;
    let mut newer = line("orders", &["ship"]);
    newer["version"] = json!(2);
    server.register(json!([line("orders", &["pack"]), newer])).await;
    for (version, expected) in [(json!("1"), 1), (json!(0), 2), (json!(null), 2), (json!(""), 2)] {
        let request = json!({ "name": "orders", "version": version, "priority": "3" });
        let id = server.post("/api/workflow", &request).await.ok_text();
        assert_eq!(server.workflow(&id).await["workflowVersion"], expected);
    }
}

#[tokio::test]
async fn an_inline_definition_is_run_and_embedded() {
    let server = Server::new().await;
    let request = json!({ "name": "adhoc", "workflowDef": waiting("adhoc"), "input": { "x": 1 } });
    let id = server.post("/api/workflow", &request).await.ok_text();
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["workflowName"], "adhoc");
    assert_eq!(workflow["workflowDefinition"]["tasks"][0]["type"], "WAIT");
    server.post("/api/workflow/adhoc", &json!({})).await.failed(404);
}

#[tokio::test]
async fn all_that_is_wrong_with_an_inline_definition_is_told_at_once() {
    let server = Server::new().await;
    let definition = json!({ "tasks": [
        { "name": "a", "taskReferenceName": "twice", "type": "SIMPLE" },
        { "name": "b", "taskReferenceName": "twice", "type": "SIMPLE" },
        { "name": "c", "taskReferenceName": "c", "type": "INLINE",
          "inputParameters": { "evaluatorType": "javascript", "expression": "oops" } },
    ]});
    let request = json!({ "name": "adhoc", "workflowDef": definition });
    let answer = server.post("/api/workflow", &request).await;
    let message = answer.failed(400);
    assert_eq!(message, "Validation failed, check below errors for detail.");
    let errors = answer.json()["validationErrors"].as_array().expect("a list").clone();
    assert!(errors.len() >= 2, "{errors:?}");
    for error in &errors {
        let path = error["path"].as_str().expect("a path");
        assert!(path.starts_with("workflowDef.tasks["), "{error}");
        assert!(error["pointer"].as_str().is_some_and(|p| p.starts_with("/workflowDef/")));
        assert!(error["message"].is_string() && error["hint"].is_string(), "{error}");
    }
}

#[tokio::test]
async fn refused_starts_say_why() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let cases = [
        (json!({ "name": "nobody" }), 404, "No such workflow found by name: nobody"),
        (json!({ "name": "orders", "version": 9 }), 404, "found by name: orders, version: 9"),
        (json!({ "name": "orders", "version": -1 }), 404, "found by name: orders, version: -1"),
        (json!({}), 400, "Validation failed"),
        (json!({ "name": "orders", "priority": 100 }), 400, "priority must be"),
        (json!({ "name": "orders", "priority": "high" }), 400, "expected a whole number"),
        (json!({ "name": "orders", "input": [1] }), 400, "'input' must be a JSON object"),
        (json!({ "name": "orders", "taskToDomain": { "a": 1 } }), 400, "'taskToDomain'"),
        (json!({ "name": "orders", "externalInputPayloadStoragePath": "s3://x" }), 400, "external"),
        (json!({ "name": { "a": 1 } }), 400, "line 1, column"),
        (json!([1, 2]), 400, "line 1, column"),
    ];
    for (request, status, part) in cases {
        let message = server.post("/api/workflow", &request).await.failed(status);
        assert!(message.contains(part), "{request}: {message}");
    }
}

#[tokio::test]
async fn malformed_json_is_told_by_line_and_column() {
    let server = Server::new().await;
    let body = "{\n  \"name\": \"orders\",\n  \"input\": {,}\n}".to_owned();
    let answer = server.send(Method::POST, "/api/workflow", body).await;
    let message = answer.failed(400);
    assert!(
        message.contains("malformed JSON") && message.contains("line 3, column 13"),
        "{message}"
    );
    assert_eq!(answer.json()["code"], "malformed-json");
    assert_eq!(answer.json()["retryable"], false);
}

#[tokio::test]
async fn a_body_that_is_nested_too_deeply_is_refused() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let nested = |depth: usize| {
        format!("{{\"text\":\"[[\\\"[[\",\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
    };
    let send = async |body| server.send(Method::POST, "/api/workflow/orders", body).await;
    send(nested(99)).await.ok_text();
    let message = send(nested(100)).await.failed(400);
    assert!(message.contains("100 levels"), "{message}");
    send(nested(1_000_000)).await.failed(400);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let server = Server::new().await.with_body_max(1000);
    server.register(line("orders", &["pack"])).await;
    let large = json!({ "text": "x".repeat(1000) });
    let answer = server.post("/api/workflow/orders", &large).await;
    assert!(answer.failed(413).contains("1000 bytes"), "{answer:?}");
    server.post("/api/workflow/orders", &json!({ "text": "x" })).await.ok_text();
}

#[tokio::test]
async fn a_payload_over_the_limit_is_refused() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let large = json!({ "text": "x".repeat(10 << 20) });
    let message = server.post("/api/workflow/orders", &large).await.failed(413);
    assert!(message.contains("payload_max"), "{message}");
}

#[tokio::test]
async fn a_key_with_a_strategy_starts_once() {
    let server = Server::new().await;
    server.register(json!([waiting("a"), waiting("b")])).await;
    let request = |name: &str, strategy: &str| json!({ "name": name, "idempotencyKey": "k", "idempotencyStrategy": strategy });
    let first = server.post("/api/workflow", &request("a", "RETURN_EXISTING")).await.ok_text();
    let again = server.post("/api/workflow", &request("a", "RETURN_EXISTING")).await.ok_text();
    assert_eq!(first, again);
    let message = server.post("/api/workflow", &request("a", "FAIL")).await.failed(409);
    assert!(message.contains(&first), "{message}");
    let other = server.post("/api/workflow", &request("b", "FAIL")).await.ok_text();
    assert_ne!(first, other);
    assert_eq!(server.workflow(&first).await["idempotencyKey"], "k");

    let without = json!({ "name": "a", "idempotencyKey": "k" });
    assert_ne!(server.post("/api/workflow", &without).await.ok_text(), first);
}
