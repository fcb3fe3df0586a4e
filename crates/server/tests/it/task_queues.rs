//! Looking at queues, searching tasks, and updates by way of a queue.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Server, line, waiting};

async fn with_three_orders() -> Server {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    for _ in 0..3 {
        server.start("orders", &json!({})).await;
    }
    server
}

#[tokio::test]
async fn sizes_count_what_waits_and_not_what_is_held() {
    let server = with_three_orders().await;
    server.get("/api/tasks/poll/pack?timeout=5000&workerid=w1").await.ok();
    let sizes = server.get("/api/tasks/queue/sizes?taskType=pack&taskType=none").await.ok();
    assert_eq!(sizes, json!({ "pack": 2, "none": 0 }));
    let sizes = server.get("/api/tasks/queue/sizes?taskType=pack,none").await.ok();
    assert_eq!(sizes, json!({ "pack": 2, "none": 0 }));
    server.get("/api/tasks/queue/sizes").await.failed(400);
    assert_eq!(server.get("/api/tasks/queue/size?taskType=pack").await.ok(), json!(2));
    let elsewhere = "/api/tasks/queue/size?taskType=pack&domain=north&isolationGroupId=g";
    assert_eq!(server.get(elsewhere).await.ok(), json!(0));
    server.get("/api/tasks/queue/size").await.failed(400);
    assert_eq!(server.get("/api/tasks/queue/all").await.ok()["pack"], 2);
    let verbose = server.get("/api/tasks/queue/all/verbose").await.ok();
    assert_eq!(verbose["pack"]["a"], json!({ "size": 2, "uacked": 1 }));
}

#[tokio::test]
async fn polls_are_told_by_worker_and_domain() {
    let server = Server::new().await;
    let before = server.engine.now().millis();
    server.get("/api/tasks/poll/pack?timeout=0&workerid=w1").await;
    server.get("/api/tasks/poll/pack?timeout=0&workerid=w2&domain=north").await;
    server.get("/api/tasks/poll/ship?timeout=0").await;
    let polls = server.get("/api/tasks/queue/polldata?taskType=pack").await.ok();
    let polls = polls.as_array().expect("a list");
    assert_eq!(polls.len(), 2);
    for (worker, domain) in [("w1", Value::Null), ("w2", json!("north"))] {
        let poll = polls.iter().find(|poll| poll["workerId"] == worker).expect("a poll");
        assert_eq!((&poll["queueName"], &poll["domain"]), (&json!("pack"), &domain));
        assert!(poll["lastPollTime"].as_i64() >= Some(before));
    }
    let all = server.get("/api/tasks/queue/polldata/all").await.ok();
    assert_eq!(all.as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn what_workers_hold_is_handed_out_again_on_demand() {
    let server = with_three_orders().await;
    let held = server.get("/api/tasks/poll/pack?timeout=5000").await.ok();
    let path = "/api/tasks/queue/requeue/pack";
    assert_eq!(server.send(Method::POST, path, String::new()).await.ok_text(), "3");
    let batch = server.get("/api/tasks/poll/batch/pack?count=10&timeout=5000").await.ok();
    let ids: Vec<&Value> =
        batch.as_array().expect("a list").iter().map(|task| &task["taskId"]).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.contains(&&held["taskId"]));
    assert_eq!(
        server.send(Method::POST, "/api/tasks/queue/requeue/none", String::new()).await.ok_text(),
        "0"
    );
}

#[tokio::test]
async fn tasks_are_searched_with_conditions_on_them_and_on_their_workflow() {
    let server = with_three_orders().await;
    server.register(line("bills", &["pay", "file"])).await;
    let bill = server.start("bills", &json!({ "sum": 3 })).await;
    server.complete("pay").await;
    server.fail("file").await;

    let find = async |path: &str, query: &str| {
        let query: String = query.replace(' ', "%20").replace('=', "%3D").replace('\'', "%27");
        server.get(&format!("/api/tasks/{path}?query={query}&size=2")).await
    };
    let found = find("search", "workflowType = 'bills' AND status = FAILED_WITH_TERMINAL_ERROR");
    let found = found.await.ok();
    assert_eq!(found["totalHits"], 1);
    let summary = &found["results"][0];
    assert_eq!(summary["workflowId"], json!(bill));
    assert_eq!((&summary["taskType"], &summary["taskDefName"]), (&json!("file"), &json!("file")));
    assert_eq!(summary["status"], "FAILED_WITH_TERMINAL_ERROR");
    assert!(summary["startTime"].as_str().is_some_and(|time| time.ends_with('Z')));
    assert!(summary["input"].is_string() && summary["output"].is_string());

    let found = find("search-v2", "taskType = pack").await.ok();
    assert_eq!(found["totalHits"], 3);
    assert_eq!(found["results"].as_array().map(Vec::len), Some(2));
    assert_eq!(found["results"][0]["workflowTask"]["name"], "pack");
    // Of five they are counted until the page is full and one more is found.
    assert_eq!(find("search", "").await.ok()["totalHits"], 3);
    find("search", "colour = red").await.failed(400);
    server.get("/api/tasks/externalstoragelocation").await.failed(400);
    server.get("/api/tasks/external-storage-location").await.failed(400);
}

#[tokio::test]
async fn an_update_by_way_of_a_queue_is_done_when_it_is_answered() {
    let server = Server::new().await;
    server.register(waiting("signals")).await;
    let id = server.start("signals", &json!({})).await;
    let path = format!("/api/queue/update/{id}/wait/COMPLETED");
    assert_eq!(server.post(&path, &json!({ "a": 1 })).await.ok_text(), "");
    let shown = server.workflow(&id).await;
    assert_eq!((&shown["status"], &shown["output"]), (&json!("COMPLETED"), &json!({ "a": 1 })));
    server.post(&path, &json!({})).await.ok_text();

    let other = server.start("signals", &json!({})).await;
    let task = server.workflow(&other).await["tasks"][0]["taskId"].clone();
    let task = task.as_str().expect("an id").to_owned();
    // The task of another workflow is left alone.
    server.post(&format!("/api/queue/update/{id}/task/{task}/FAILED"), &json!({})).await.ok_text();
    assert_eq!(server.workflow(&other).await["status"], "RUNNING");
    let path = format!("/api/queue/update/{other}/task/{task}/FAILED");
    server.post(&path, &json!({})).await.ok_text();
    assert_eq!(server.workflow(&other).await["status"], "FAILED");

    let message = server.post(&format!("/api/queue/update/{id}/wait/SKIPPED"), &json!({})).await;
    assert_eq!(message.failed(400), "There is no queue for handling SKIPPED status");
    server.post("/api/queue/update/nobody/wait/FAILED", &json!({})).await.failed(404);
    assert_eq!(server.get("/api/queue/size").await.ok(), json!({ "COMPLETED": 0, "FAILED": 0 }));
    let names = server.get("/api/queue").await.ok();
    assert_eq!(server.get("/api/queue/").await.ok(), names);
}
