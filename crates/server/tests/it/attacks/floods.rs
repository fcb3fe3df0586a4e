//! Names and questions that are invented to cost the server memory or time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use engine::PollRequest;
use engine::memory::{Call, Memory};
use futures_util::future::join_all;
use kernel::graph::TaskStatus;
use serde_json::json;
use server::rest::extract::LargeAnswers;
use tower::ServiceExt;

use crate::support::{Server, line};

async fn poll(server: &Server, queue: &str, worker: &str) {
    let request = PollRequest {
        queue: queue.into(),
        worker: Some(worker.into()),
        count: 1,
        wait: Duration::ZERO,
    };
    server.engine.poll(request).await.expect("memory answers");
}

#[tokio::test]
async fn invented_task_types_do_not_fill_the_memory_or_the_metrics() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    server.start("orders", &json!({})).await;
    // Many at once: a poll that finds nothing takes a tick of the clock.
    for first in (0..25_000).step_by(500) {
        let names: Vec<_> = (first..first + 500).map(|it| format!("invented-{it}")).collect();
        join_all(names.iter().map(|name| poll(&server, name, "w"))).await;
    }
    let known = server.engine.queues().states().len();
    assert!(known <= 21_001, "{known} queues are remembered");
    // What was polled last is known, and what holds something.
    let now = server.engine.now();
    assert!(server.engine.queues().polled_lately("invented-24999", now));
    assert!(!server.engine.queues().polled_lately("invented-1", now));
    let metrics = server.get("/metrics").await.ok_text();
    let shown: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("nightbell_queue_waiting{")).collect();
    assert_eq!(shown.len(), 1001);
    assert!(shown.contains(&"nightbell_queue_waiting{queue=\"pack\"} 1"), "it holds a task");
    assert!(shown.contains(&"nightbell_queue_waiting{queue=\"(other)\"} 0"));
    let long = "x".repeat(1001);
    server.get(&format!("/api/tasks/poll/{long}?timeout=0")).await.failed(400);
}

#[tokio::test]
async fn invented_workers_do_not_fill_the_memory() {
    let server = Server::new().await;
    for first in (0..1500).step_by(500) {
        let workers = (first..first + 500).map(|it| format!("{it}-{}", "long".repeat(100)));
        let workers: Vec<_> = workers.collect();
        join_all(workers.iter().map(|worker| poll(&server, "pack", worker))).await;
    }
    let polls = server.engine.queues().polls(Some("pack"));
    assert_eq!(polls.len(), 1000);
    assert!(polls.iter().all(|poll| poll.worker.len() <= 200));
    assert!(!polls.iter().any(|poll| poll.worker.starts_with("0-")), "the first is forgotten");
}

#[tokio::test]
async fn a_path_of_nobody_reads_nothing_however_many_triggers_there_are() {
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = reads.clone();
    let store = Memory::with_faults(move |call| {
        if matches!(call, Call::Read("documents")) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        None
    });
    let server = Server::with_store(Arc::new(store)).await;
    server.register(line("orders", &["pack"])).await;
    let trigger = |number: usize| {
        json!({ "name": format!("t{number}"), "method": "POST",
            "path": format!("/jobs/{number}/{{id}}"), "start": { "name": "orders" } })
    };
    let triggers: Vec<_> = (0..900).map(trigger).collect();
    server.post("/api/triggers", &json!(triggers)).await.ok();
    let hook = json!({ "name": "h", "verifier": "SIGNATURE_BASED", "secretValue": "x" });
    let hook = server.post("/api/metadata/webhook", &hook).await.ok();
    let hook = format!("/webhook/{}", hook["id"].as_str().expect("an id"));
    // The first to ask reads them all.
    server.get("/nobody").await.failed(404);
    server.get("/webhook/nobody").await.failed(404);
    let before = reads.load(Ordering::Relaxed);
    for path in ["/nobody", "/jobs/1", "/jobs/900/x", "/jobs/1/2/3", "/webhook/nobody"] {
        server.get(path).await.failed(404);
    }
    assert_eq!(server.post("/jobs/899/x", &json!({})).await.status, 202);
    server.post(&hook, &json!({})).await.failed(401);
    assert_eq!(reads.load(Ordering::Relaxed), before, "all is in memory");
    // What changes is seen at once.
    assert_eq!(server.delete("/api/triggers/t899").await.status, 200);
    server.post("/jobs/899/x", &json!({})).await.failed(404);
    server.post("/api/triggers", &trigger(900)).await.ok();
    assert_eq!(server.post("/jobs/900/x", &json!({})).await.status, 202);
}

#[tokio::test]
async fn large_answers_that_nobody_reads_share_a_bounded_memory() {
    let answers = LargeAnswers::new(8, Duration::from_millis(20));
    let server = Server::new().await.with(|settings| settings.large_answers = answers);
    server.register(line("w", &["pack", "ship"])).await;
    let id = server.start("w", &json!({})).await;
    let pack = server.take("pack").await;
    let large = json!({ "text": "x".repeat(5 << 20) });
    server.report(&pack, TaskStatus::Completed, &large).await;
    let path = format!("/api/workflow/{id}");
    let ask = || Request::get(&path).body(Body::empty()).expect("a request");
    let unread = server::router(server.api()).oneshot(ask()).await.expect("it answers");
    assert_eq!(unread.status(), 200);
    assert_eq!(server.get(&path).await.code(503), "large-answers-busy");
    // What is small goes on, and so does what is large once the first has been read.
    server.get(&format!("{path}?includeTasks=false")).await.ok();
    server.get("/api/version").await.ok_text();
    drop(unread);
    assert_eq!(server.get(&path).await.ok()["status"], "RUNNING");
}

#[tokio::test]
async fn answers_of_many_executions_share_the_memory_of_large_ones() {
    let answers = LargeAnswers::new(12, Duration::from_millis(20));
    let server = Server::new().await.with(|settings| settings.large_answers = answers);
    server.register(line("w", &["pack", "ship"])).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let start = json!({ "name": "w", "correlationId": "many", "input": {} });
        let id = server.post("/api/workflow", &start).await.ok_text();
        let pack = server.take("pack").await;
        let large = json!({ "text": "x".repeat(5 << 20) });
        server.report(&pack, TaskStatus::Completed, &large).await;
        ids.push(id);
    }
    // Two fit together, three never will.
    let two = server.post("/api/workflow/bulk/search", &json!(ids[..2])).await.ok();
    assert_eq!(two["bulkSuccessfulResults"].as_array().map(Vec::len), Some(2));
    for (path, body) in [
        ("/api/workflow/bulk/search", json!(ids)),
        ("/api/workflow/w/correlated?includeTasks=true", json!(["many"])),
        (
            "/api/workflow/correlated/batch?includeTasks=true",
            json!({ "correlationIds": ["many"], "workflowNames": ["w"] }),
        ),
    ] {
        let refused = server.post(path, &body).await;
        assert_eq!(refused.code(413), "answer-too-large", "{path}");
    }
    let path = "/api/workflow/w/correlated/many?includeTasks=true";
    assert_eq!(server.get(path).await.code(413), "answer-too-large");
    server.get("/api/workflow/w/correlated/many").await.ok();
    // One alone, by every way that shows it whole, waits for those that are not read.
    let whole = |path: String| Request::get(path).body(Body::empty()).expect("a request");
    let first = whole(format!("/api/workflow/{}", ids[0]));
    let second = whole(format!("/api/workflow/{}/tasks?count=100", ids[1]));
    let router = server::router(server.api());
    let unread = [
        router.clone().oneshot(first).await.expect("it answers"),
        router.oneshot(second).await.expect("it answers"),
    ];
    assert!(unread.iter().all(|answer| answer.status() == 200));
    let set = server.post(&format!("/api/workflow/{}/variables", ids[2]), &json!({ "a": 1 })).await;
    assert_eq!(set.code(503), "large-answers-busy");
    drop(unread);
    server.get(&format!("/api/workflow/{}", ids[2])).await.ok();
}

#[tokio::test]
async fn a_search_with_too_many_patterns_is_the_clients_fault() {
    let server = Server::new().await;
    let list = |value: &str, count: usize| vec![value; count].join(",");
    for query in [
        format!("workflowId IN ({})", list("a*b", 999)),
        format!("workflowType IN ({}) AND correlationId IN ({})", list("a*", 150), list("b*", 150)),
    ] {
        let path = format!("/api/workflow/search?query={}", query.replace(' ', "%20"));
        let refused = server.send(Method::GET, &path, String::new()).await;
        assert_eq!(refused.code(400), "bad-query");
        assert!(refused.failed(400).contains("200"), "{}", refused.text);
    }
    let words = vec!["a-b"; 60].join("+");
    let path = format!("/api/workflow/search?freeText={words}");
    assert_eq!(server.get(&path).await.code(400), "bad-query");
    let ids = format!("/api/workflow/search?query=workflowId%20IN%20({})", list("a", 1000));
    assert_eq!(server.get(&ids).await.ok()["totalHits"], 0);
}

#[tokio::test]
async fn a_store_that_fails_tells_strangers_no_path_and_what_is_not_there_is_not_retried() {
    use engine::memory::Fault;
    use engine::store::StoreError;
    let store = Memory::with_faults(|call| {
        let error =
            || StoreError::Unavailable("/var/lib/nightbell/nightbell.db: broken".to_owned());
        matches!(call, Call::Read("search")).then(|| Fault::Before(error()))
    });
    let server = Server::with_store(Arc::new(store)).await;
    let failed = server.get("/api/workflow/search").await;
    assert_eq!(failed.code(503), "store-unavailable");
    assert!(!failed.text.contains("/var/lib"), "{}", failed.text);
    assert_eq!(failed.json()["retryable"], true);
    let absent = server.put("/api/event/queue/config/nats/x").await;
    absent.failed(501);
    assert_eq!(absent.json()["retryable"], false);
}
