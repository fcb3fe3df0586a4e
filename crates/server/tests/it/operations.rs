//! Health, version, metrics, the description of the API, and what nothing answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use engine::memory::Memory;
use engine::store::{Document, Store as _};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use crate::support::{Server, line};

/// Kinds that are read only when somebody asks for them: what is damaged is left out, reported, and can
/// be deleted or written again.
#[tokio::test]
async fn a_damaged_document_is_left_out_reported_and_can_be_deleted() {
    let store = Arc::new(Memory::default());
    let kinds = ["webhook", "trigger", "status_page", "status_posts", "owner"];
    let document = |kind: &str| Document {
        kind: kind.into(),
        name: "workflow/1/d".into(),
        version: 0,
        text: "{".into(),
    };
    store.put_documents(kinds.map(document).to_vec()).await.expect("the store takes it");
    let server = Server::with_store(store).await;
    server::look_at_documents(&server.engine).await.expect("it never fails over one of them");
    let told = server.get("/health").await.text;
    for kind in kinds {
        assert!(told.contains(&format!("{kind} 'workflow/1/d' (version 0) is damaged")), "{told}");
    }
    for path in ["/api/metadata/webhook", "/api/triggers", "/api/status-pages"] {
        assert_eq!(server.get(path).await.ok(), json!([]), "{path}");
    }
    for path in ["metadata/webhook", "triggers", "status-pages"] {
        let path = format!("/api/{path}/workflow%2F1%2Fd");
        server.send(Method::DELETE, &path, String::new()).await.ok_text();
    }
    let left: Vec<_> = server.engine.damaged_documents().into_iter().map(|it| it.kind).collect();
    assert_eq!(left, ["owner".into()], "a page goes with its posts");
}

#[tokio::test]
async fn health_tells_what_the_store_holds() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    server.start("orders", &json!({})).await;
    for path in ["/health", "/api/health"] {
        let health = server.get(path).await.ok();
        assert_eq!(health["healthy"], true);
        assert_eq!(health["store"]["running"], 1);
        assert_eq!(health["quarantined"]["count"], 0);
    }
    server.engine.close().await.expect("memory closes");
    let health = server.get("/health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health.json()["healthy"], false);
}

#[tokio::test]
async fn readiness_ends_with_the_shutdown() {
    let server = Server::new().await;
    assert_eq!(server.get("/health/ready").await.ok(), json!({ "ready": true }));
    server.engine.stop();
    let ready = server.get("/health/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["reason"], "the server is shutting down");
}

#[tokio::test]
async fn the_version_is_plain_text() {
    let answer = Server::new().await.get("/api/version").await;
    assert!(answer.content_type.starts_with("text/plain"), "{answer:?}");
    assert_eq!(answer.ok_text(), env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn tokens_are_not_found_so_that_clients_go_without() {
    let server = Server::new().await;
    let key = json!({ "keyId": "a", "keySecret": "b" });
    for path in ["/token", "/api/token"] {
        server.post(path, &key).await.failed(404);
    }
}

#[tokio::test]
async fn what_nothing_answers_is_told_in_the_usual_shape() {
    let server = Server::new().await;
    let message = server.get("/api/nothing/here").await.failed(404);
    assert!(message.contains("GET /api/nothing/here"), "{message}");
    let message = server.delete("/api/tasks").await.failed(405);
    assert!(message.contains("DELETE"), "{message}");
    server.put("/api/metadata/workflow/names").await.failed(405);
    let request = Request::delete("/health").body(Body::empty()).expect("a request");
    let response = server.router().oneshot(request).await.expect("an answer");
    let allowed = response.headers()["allow"].to_str().expect("text").to_owned();
    assert!(allowed.contains("GET"), "{allowed}");
}

#[tokio::test]
async fn a_bug_in_a_handler_is_an_answer_and_harms_no_other() {
    let server = Server::new().await;
    let mut broken = line("broken", &["burst"]);
    broken["tasks"][0]["inputParameters"] = json!({ "x": "${workflow.secrets.PANIC}" });
    server.register(json!([broken, line("orders", &["pack"])])).await;
    let id = server.start("broken", &json!({})).await;
    let answer = server.get("/api/tasks/poll/burst?timeout=5000").await;
    assert_eq!(answer.failed(500), "internal error; the server's log says more");
    assert_eq!(answer.json()["code"], "internal");
    assert_eq!(server.workflow(&id).await["status"], "RUNNING");
    server.start("orders", &json!({})).await;
    server.get("/api/tasks/poll/pack?timeout=5000").await.ok();
}

async fn ask(router: &Router, method: Method, path: &str) -> String {
    let request = Request::builder().method(method).uri(path).body(Body::empty());
    let response = router.clone().oneshot(request.expect("a request")).await.expect("an answer");
    let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
    String::from_utf8(body.to_vec()).expect("answers are UTF-8")
}

#[tokio::test]
async fn metrics_count_requests_workflows_and_queues() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    server.start("orders", &json!({})).await;
    let router = server::router(server.api());
    ask(&router, Method::GET, "/api/tasks/one").await;
    ask(&router, Method::GET, "/api/tasks/two").await;
    ask(&router, Method::GET, "/api/tasks/poll/batch/pack").await;
    ask(&router, Method::PATCH, "/nowhere").await;
    let text = ask(&router, Method::GET, "/metrics").await;
    let lines: Vec<&str> = text.lines().collect();
    for expected in [
        "nightbell_http_requests_total{method=\"GET\",path=\"/api/tasks/{id}\",status=\"4xx\"} 2",
        "nightbell_http_requests_total{method=\"GET\",path=\"/api/tasks/poll/batch/{type}\",status=\"2xx\"} 1",
        "nightbell_http_requests_total{method=\"(other)\",path=\"(other)\",status=\"4xx\"} 1",
        "nightbell_workflows_started_total 1",
        "nightbell_tasks_polled_total 1",
        "nightbell_executions_running 1",
        "nightbell_queue_waiting{queue=\"pack\"} 0",
        "nightbell_queue_held{queue=\"pack\"} 1",
        "nightbell_store_up 1",
    ] {
        assert!(lines.contains(&expected), "{expected} in\n{text}");
    }
}

#[tokio::test]
async fn everything_is_described_once() {
    let server = Server::new().await;
    let document = server.get("/openapi.json").await.ok();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    assert_eq!(document["info"]["title"], "Nightbell");
    let paths = document["paths"].as_object().expect("paths");
    for (method, path) in [
        ("post", "/api/workflow"),
        ("post", "/api/workflow/execute/{name}/{version}"),
        ("get", "/api/workflow/search"),
        ("put", "/api/workflow/bulk/pause"),
        ("post", "/api/metadata/workflow"),
        ("put", "/api/metadata/workflow"),
        ("get", "/api/metadata/workflow"),
        ("post", "/api/metadata/workflow/validate"),
        ("get", "/api/metadata/workflow/{name}"),
        ("get", "/api/metadata/workflow/{name}/versions"),
        ("get", "/api/metadata/workflow/names"),
        ("get", "/api/metadata/workflow/names-and-versions"),
        ("get", "/api/metadata/workflow/latest-versions"),
        ("delete", "/api/metadata/workflow/{name}/{version}"),
        ("post", "/api/metadata/taskdefs"),
        ("put", "/api/metadata/taskdefs"),
        ("get", "/api/metadata/taskdefs"),
        ("get", "/api/metadata/taskdefs/{name}"),
        ("delete", "/api/metadata/taskdefs/{name}"),
        ("get", "/api/tasks/poll/{type}"),
        ("get", "/api/tasks/poll/batch/{type}"),
        ("post", "/api/tasks"),
        ("post", "/api/tasks/update-v2"),
        ("post", "/api/tasks/{workflowId}/{reference}/{status}"),
        ("post", "/api/tasks/{workflowId}/{reference}/{status}/sync"),
        ("post", "/api/tasks/{workflowId}/{status}/signal"),
        ("post", "/api/tasks/{workflowId}/{status}/signal/sync"),
        ("get", "/api/tasks/{id}"),
        ("get", "/api/tasks/{id}/log"),
        ("post", "/api/tasks/{id}/log"),
        ("get", "/api/tasks/queue/sizes"),
        ("get", "/api/tasks/queue/size"),
        ("get", "/api/tasks/queue/all"),
        ("get", "/api/tasks/queue/all/verbose"),
        ("get", "/api/tasks/queue/polldata"),
        ("get", "/api/tasks/queue/polldata/all"),
        ("post", "/api/tasks/queue/requeue/{type}"),
        ("get", "/api/tasks/search"),
        ("get", "/api/tasks/search-v2"),
        ("get", "/api/queue/size"),
        ("post", "/api/queue/update/{workflowId}/{reference}/{status}"),
        ("post", "/api/queue/update/{workflowId}/task/{taskId}/{status}"),
        ("get", "/api/admin/config"),
        ("get", "/api/admin/task/{type}"),
        ("post", "/api/admin/sweep/requeue/{id}"),
        ("post", "/api/admin/consistency/verifyAndRepair/{id}"),
        ("get", "/api/admin/queues"),
        ("get", "/health"),
        ("get", "/api/health"),
        ("get", "/api/version"),
        ("get", "/metrics"),
    ] {
        assert!(paths.get(path).is_some_and(|item| item.get(method).is_some()), "{method} {path}");
    }
    let operations = || paths.values().flat_map(|item| item.as_object().expect("methods").values());
    let names: BTreeSet<&str> =
        operations().map(|o| o["operationId"].as_str().expect("a name")).collect();
    assert_eq!(names.len(), operations().count(), "operations with the same name");
    for operation in operations() {
        assert!(operation["summary"].is_string(), "{operation}");
    }
}

#[tokio::test]
async fn the_page_of_the_api_needs_nothing_from_elsewhere() {
    let answer = Server::new().await.get("/docs").await;
    assert!(answer.content_type.starts_with("text/html"), "{answer:?}");
    let page = answer.ok_text();
    for expected in ["/api/tasks/poll/batch/{type}", "/api/workflow/{id}/tasks", "openapi.json"] {
        assert!(page.contains(expected), "{expected}");
    }
    for foreign in ["http://", "https://", "<script src", "<link"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}
