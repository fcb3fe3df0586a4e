//! What definitions promise, seen through the API: schemas, masks, keys in headers, limits.

use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn an_input_that_does_not_fit_is_refused_with_every_violation() {
    let server = Server::new().await;
    let schema = json!({ "name": "s", "type": "JSON", "data": { "required": ["id", "name"] } });
    let task = json!({ "name": "a", "taskReferenceName": "a", "type": "SIMPLE" });
    server.register(json!([{ "name": "strict", "tasks": [task], "inputSchema": schema }])).await;
    let answer = server.post("/api/workflow/strict", &json!({ "other": 1 })).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let errors = &answer.json()["validationErrors"];
    assert_eq!(errors.as_array().map(Vec::len), Some(2), "{errors}");
    assert_eq!(errors[0]["pointer"], "/input");
    assert_eq!(errors[1]["message"], "name is missing");
    server.post("/api/workflow/strict", &json!({ "id": 1, "name": "n" })).await.ok_text();
}

#[tokio::test]
async fn masked_fields_are_hidden_from_people_and_not_from_workers() {
    let server = Server::new().await;
    let task = json!({ "name": "a", "taskReferenceName": "a", "type": "SIMPLE",
        "inputParameters": { "token": "${workflow.input.token}", "n": 1,
                             "_masked": { "x": "${workflow.input.token}" } } });
    server
        .register(json!([{ "name": "shy", "tasks": [task], "maskedFields": ["token"],
            "outputParameters": { "list": [{ "token": "${a.output.token}" }] } }]))
        .await;
    let input = json!({ "token": "hunter2", "plain": "seen" });
    let id = server.post("/api/workflow/shy", &input).await.ok_text();
    let task = server.get("/api/tasks/poll/a?workerid=w").await.json();
    assert_eq!(task["inputData"]["token"], "hunter2", "the worker needs it");
    assert_eq!(task["inputData"]["_masked"]["x"], "hunter2");
    let result = json!({ "workflowInstanceId": id, "taskId": task["taskId"],
        "status": "COMPLETED", "outputData": { "token": "hunter2-new" } });
    server.post("/api/tasks", &result).await.ok_text();
    let shown = server.workflow(&id).await;
    assert_eq!(shown["status"], "COMPLETED");
    assert_eq!(shown["input"], json!({ "token": "***", "plain": "seen" }));
    assert_eq!(shown["output"], json!({ "list": [{ "token": "***" }] }));
    assert_eq!(shown["tasks"][0]["inputData"], json!({ "token": "***", "n": 1, "_masked": "***" }));
    for path in [
        format!("/api/workflow/{id}"),
        format!("/api/workflow/{id}/tasks"),
        format!("/api/workflow/{id}/status?includeOutput=true&includeVariables=true"),
        format!("/api/tasks/{}", task["taskId"].as_str().expect("an id")),
        "/api/workflow/search?freeText=seen".to_owned(),
        "/api/tasks/search".to_owned(),
    ] {
        let text = server.get(&path).await.ok_text();
        assert!(!text.contains("hunter2"), "{path}: {text}");
    }
    let found = server.get("/api/workflow/search?freeText=hunter2").await.json();
    assert_eq!(found["totalHits"], 0, "what is hidden is not found");
}

#[tokio::test]
async fn a_key_may_come_in_headers() {
    let server = Server::new().await;
    let task = json!({ "name": "a", "taskReferenceName": "a", "type": "SIMPLE" });
    server.register(json!([{ "name": "order", "tasks": [task] }])).await;
    let start = async |strategy: &str| {
        let headers = [("X-Idempotency-key", "k1"), ("X-on-conflict", strategy)];
        server.send_with(Method::POST, "/api/workflow/order", &headers, "{}".to_owned()).await
    };
    let first = start("RETURN_EXISTING").await.ok_text();
    assert_eq!(start("RETURN_EXISTING").await.ok_text(), first);
    assert!(start("FAIL").await.failed(409).contains(&first));
    assert!(start("FAIL_ON_RUNNING").await.failed(409).contains(&first));
    server.delete(&format!("/api/workflow/{first}")).await;
    server.until(&first, "TERMINATED").await;
    assert_ne!(start("FAIL_ON_RUNNING").await.ok_text(), first);
    assert!(start("WHATEVER").await.failed(400).contains("X-on-conflict"));
}

#[tokio::test]
async fn an_execution_at_its_limit_says_what_it_waits_for() {
    let server = Server::new().await;
    let limit = json!({ "rateLimitKey": "${workflow.input.k}", "concurrentExecLimit": 1 });
    let task = json!({ "name": "a", "taskReferenceName": "first", "type": "SIMPLE" });
    server.register(json!([{ "name": "few", "tasks": [task], "rateLimitConfig": limit }])).await;
    let holder = server.post("/api/workflow/few", &json!({ "k": "x" })).await.ok_text();
    let waits = server.post("/api/workflow/few", &json!({ "k": "x" })).await.ok_text();
    let other = server.post("/api/workflow/few", &json!({ "k": "y" })).await.ok_text();
    let why = server.get(&format!("/api/workflow/{waits}/why")).await.json();
    let waiting = &why["waiting"][0];
    assert_eq!(
        (&waiting["code"], &waiting["reference"]),
        (&json!("workflow-limit"), &json!("first"))
    );
    assert_eq!(waiting["limitedBy"], json!({ "key": "x", "limit": 1, "holders": [holder] }));
    let shown = server.workflow(&waits).await;
    assert_eq!((&shown["status"], &shown["rateLimited"]), (&json!("RUNNING"), &json!(true)));
    assert_eq!((&shown["rateLimitKey"], &shown["tasks"]), (&json!("x"), &json!([])));
    assert_eq!(server.workflow(&other).await["rateLimited"], false);
}
