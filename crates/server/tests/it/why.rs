//! Why an execution waits.

use kernel::definition::TaskDef;
use serde_json::{Value, json};

use crate::support::{Server, line, waiting};

async fn why(server: &Server, id: &str) -> Value {
    server.get(&format!("/api/workflow/{id}/why")).await.ok()
}

#[tokio::test]
async fn a_queued_task_says_what_keeps_it() {
    let server = Server::new().await;
    server
        .register_task(TaskDef { concurrent_exec_limit: Some(1), ..TaskDef::named("limited") })
        .await;
    let rated = TaskDef {
        rate_limit_per_frequency: 1,
        rate_limit_frequency_in_seconds: 3600,
        ..TaskDef::named("rated")
    };
    server.register_task(rated).await;
    let names = ["fetch", "limited", "rated"];
    server.register(json!(names.map(|name| line(name, &[name])))).await;

    let id = server.start("fetch", &json!({})).await;
    let answer = why(&server, &id).await;
    assert_eq!(answer["workflowId"], id);
    assert_eq!(answer["status"], "RUNNING");
    let waiting = &answer["waiting"][0];
    assert_eq!(waiting["reference"], "fetch");
    assert_eq!(waiting["code"], "no-worker");
    assert_eq!(waiting["reason"], "no worker has polled 'fetch' since the server started");
    assert!(waiting["since"].is_i64());

    for (name, code, part) in [
        ("limited", "concurrency-limit", "limit of 1 at once"),
        ("rated", "rate-limit", "rate limit of 1 per 3600 s"),
    ] {
        server.start(name, &json!({})).await;
        let held = server.start(name, &json!({})).await;
        server.take(name).await;
        let waiting = why(&server, &held).await["waiting"][0].clone();
        assert_eq!(waiting["code"], code, "{waiting}");
        assert!(waiting["reason"].as_str().is_some_and(|r| r.contains(part)), "{waiting}");
    }
}

#[tokio::test]
async fn a_task_in_a_domain_names_its_queue() {
    let server = Server::new().await;
    let policy = TaskDef {
        execution_name_space: Some("space".to_owned()),
        isolation_group_id: Some("group".to_owned()),
        ..TaskDef::named("fetch")
    };
    server.register_task(policy).await;
    server.register(line("fetch", &["fetch"])).await;
    let request = json!({ "name": "fetch", "taskToDomain": { "*": "north" } });
    let id = server.post("/api/workflow", &request).await.ok_text();
    let waiting = why(&server, &id).await["waiting"][0].clone();
    assert_eq!(
        waiting["reason"],
        "no worker has polled 'north:fetch@space-group' since the server started"
    );
    server.take("north:fetch@space-group").await;
    assert_eq!(why(&server, &id).await["waiting"][0]["code"], "in-progress");
}

#[tokio::test]
async fn its_place_in_the_queue_is_told() {
    let server = Server::new().await;
    server.register(line("fetch", &["fetch"])).await;
    server.start("fetch", &json!({})).await;
    server.complete("fetch").await;
    let first = server.start("fetch", &json!({})).await;
    let second = server.start("fetch", &json!({})).await;
    let third = server.start("fetch", &json!({})).await;
    for (id, part) in [(first, "the next"), (second, "1 task is"), (third, "2 tasks are")] {
        let waiting = why(&server, &id).await["waiting"][0].clone();
        assert_eq!(waiting["code"], "queued");
        assert!(waiting["reason"].as_str().is_some_and(|r| r.contains(part)), "{waiting}");
    }
}

#[tokio::test]
async fn what_has_ended_waits_for_nothing_and_says_why_it_ended() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let id = server.start("w", &json!({})).await;
    assert_eq!(why(&server, &id).await["waiting"][0]["code"], "signal");
    server.delete(&format!("/api/workflow/{id}?reason=enough")).await.ok_text();
    let answer = why(&server, &id).await;
    assert_eq!(answer["waiting"], json!([]));
    assert_eq!(answer["reason"], "enough");
}
