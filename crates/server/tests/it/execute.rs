//! Starting and waiting for the end in one request.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{Answer, Server, line, waiting};

async fn execute(server: &Server, query: &str, body: &Value) -> Answer {
    server.post(&format!("/api/workflow/execute/{query}"), body).await
}

#[tokio::test]
async fn the_answer_comes_with_the_end() {
    let server = Arc::new(Server::new().await);
    server.register(line("one", &["a"])).await;
    let asking = tokio::spawn({
        let server = server.clone();
        let body =
            json!({ "name": "one", "version": 1, "input": { "x": 1 }, "correlationId": "c" });
        async move { execute(&server, "one/1?requestId=r1&waitForSeconds=30", &body).await.ok() }
    });
    server.complete("a").await;
    let run = asking.await.expect("no panic");
    assert_eq!(run["responseType"], "TARGET_WORKFLOW");
    assert_eq!(run["requestId"], "r1");
    assert_eq!(run["targetWorkflowId"], run["workflowId"]);
    assert_eq!(run["targetWorkflowStatus"], "COMPLETED");
    assert_eq!(run["status"], "COMPLETED");
    assert_eq!(run["signalTimeout"], false);
    assert_eq!(run["input"], json!({ "x": 1 }));
    assert_eq!(run["output"], json!({ "done": true }));
    assert_eq!(run["correlationId"], "c");
    assert_eq!(run["variables"], json!({}));
    assert_eq!(run["tasks"][0]["taskType"], "a");
    assert!(run["createTime"].is_i64() && run["updateTime"].is_i64());
}

#[tokio::test]
async fn a_named_task_is_waited_for() {
    let server = Arc::new(Server::new().await);
    server.register(line("two", &["a", "b"])).await;
    let asking = tokio::spawn({
        let server = server.clone();
        let path = "two/0?waitUntilTaskRef=x,%20a&waitForSeconds=30&returnStrategy=BLOCKING_TASK";
        async move { execute(&server, path, &json!({})).await.ok() }
    });
    server.complete("a").await;
    let run = asking.await.expect("no panic");
    assert_eq!(run["responseType"], "BLOCKING_TASK");
    assert_eq!(run["targetWorkflowStatus"], "RUNNING");
    assert_eq!(run["referenceTaskName"], "a");
    assert_eq!(run["status"], "COMPLETED");
    assert_eq!(run["output"], json!({ "done": true }));
    assert_eq!(run["workflowType"], "two");
}

#[tokio::test]
async fn an_open_wait_is_answered_at_once() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let run = execute(&server, "w/1?waitForSeconds=30", &json!({})).await.ok();
    assert_eq!(run["status"], "RUNNING");
    assert_eq!(run["signalTimeout"], false);
    assert!(run["requestId"].as_str().is_some_and(|id| !id.is_empty()));
}

#[tokio::test]
async fn an_open_wait_in_a_sub_workflow_is_found() {
    let server = Server::new().await;
    let parent = json!({ "name": "parent", "version": 1, "tasks": [{
        "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "w" },
    }]});
    server.register(json!([parent, waiting("w")])).await;
    let query = "parent/1?waitForSeconds=30&returnStrategy=BLOCKING_WORKFLOW";
    let run = execute(&server, query, &json!({})).await.ok();
    assert_eq!(run["responseType"], "BLOCKING_WORKFLOW");
    assert_ne!(run["workflowId"], run["targetWorkflowId"]);
    assert_eq!(run["tasks"][0]["taskType"], "WAIT");
    let parent = server.workflow(run["targetWorkflowId"].as_str().expect("text")).await;
    assert_eq!(parent["tasks"][0]["subWorkflowId"], run["workflowId"]);
}

#[tokio::test]
async fn when_time_is_up_the_present_state_is_answered() {
    let server = Server::new().await;
    server.register(line("one", &["a"])).await;
    let run = execute(&server, "one/1?waitForSeconds=1", &json!({})).await.ok();
    assert_eq!(run["signalTimeout"], true);
    assert_eq!(run["status"], "RUNNING");
    assert_eq!(run["tasks"][0]["status"], "SCHEDULED");
}

#[tokio::test]
async fn the_body_is_a_request_or_plain_input() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let cases = [
        (json!({ "input": { "a": 1 } }), json!({ "a": 1 })),
        (json!({ "name": "w", "priority": 4 }), json!({})),
        (
            json!({ "input": { "a": 1 }, "unknown": 1 }),
            json!({ "input": { "a": 1 }, "unknown": 1 }),
        ),
        (json!({ "name": "anna" }), json!({ "name": "anna" })),
        (json!({ "a": 1 }), json!({ "a": 1 })),
        (json!(null), json!({})),
    ];
    for (body, expected) in cases {
        assert_eq!(execute(&server, "w/1", &body).await.ok()["input"], expected, "{body}");
    }
    let inline = json!({ "name": "adhoc", "workflowDef": waiting("adhoc"), "input": {} });
    let run = execute(&server, "adhoc/1", &inline).await.ok();
    assert_eq!(run["tasks"][0]["workflowType"], "adhoc");
}

#[tokio::test]
async fn faults_are_answered_before_anything_starts() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    execute(&server, "none/1", &json!({})).await.failed(404);
    execute(&server, "w/2", &json!({})).await.failed(404);
    execute(&server, "w/latest", &json!({})).await.failed(400);
    execute(&server, "w/1", &json!([])).await.failed(400);
    execute(&server, "w/1?returnStrategy=NONE", &json!({})).await.failed(400);
    execute(&server, "w/1?waitForSeconds=soon", &json!({})).await.failed(400);
    assert_eq!(server.get("/api/workflow/search").await.ok()["totalHits"], 0);
}
