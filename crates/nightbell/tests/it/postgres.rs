//! The server on PostgreSQL: it is killed and goes on, a second one is refused, and the commands of the
//! store work on it.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::database::Database;
use crate::live::Live;
use crate::stand_in::Nightbell;

const PATIENCE: Duration = Duration::from_mins(1);
const KEY: (&str, &str) = ("NIGHTBELL_SECRET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");

async fn until(live: &Live, path: &str, is: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = live.get(path).await;
        if is(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{path}: {answer:#}; {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_goes_on_where_it_was() {
    let Some(database) = Database::start().await else { return };
    let url =
        format!("{}?sslmode=disable&lease=2", database.url().replace("tester", "tester:pa55"));
    let mut live = Live::start_as("serve", &["--store", &url], &[KEY]).await;
    assert_eq!(live.get("/health/ready").await, json!({ "ready": true }));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let page = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let broken = axum::Router::new().fallback(|| async { axum::http::StatusCode::BAD_GATEWAY });
    tokio::spawn(async move { axum::serve(listener, broken).await });
    let check = json!({ "url": page, "expect": "status < 400" });
    let file = json!({ "monitors": { "web": { "http": check, "every": "24h" } } });
    let (status, answer) = live.ask(Method::PUT, "/api/monitors", file.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    live.post("/api/monitors/web/check", &json!({})).await;
    let open = until(&live, "/api/incidents", |page| page["totalHits"] == 1).await;
    live.define(
        "two",
        json!([
            { "name": "first", "taskReferenceName": "first", "type": "SIMPLE" },
            { "name": "second", "taskReferenceName": "second", "type": "SIMPLE" }
        ]),
    )
    .await;
    let id = live.begin("two", &json!({ "word": "disk" })).await;
    let tasks = live.poll("first?count=1&timeout=5000").await;
    live.report(&tasks[0], json!({ "status": "COMPLETED", "outputData": {} })).await;

    let second = Nightbell::new(&["serve", "--store", &url, "--listen", "127.0.0.1:0"]);
    let refused = second.env(KEY.0, KEY.1).run().exits(1);
    assert!(refused.stderr.contains("is in use by another server"), "{refused:?}");

    live.kill();
    live.launch().await;
    let after = live.get("/api/incidents").await;
    assert_eq!(after["results"][0]["id"], open["results"][0]["id"], "the incident survives");
    let tasks = live.poll("second?count=1&timeout=5000").await;
    assert_eq!(tasks.len(), 1, "{}", live.log_text());
    live.report(&tasks[0], json!({ "status": "COMPLETED", "outputData": {} })).await;
    assert_eq!(live.ended(&id, PATIENCE).await["status"], "COMPLETED");
    let found = live.get("/api/workflow/search?freeText=disk").await;
    assert_eq!(found["totalHits"], 1, "{found}");
    let health = live.get("/health").await;
    assert!(health["store"]["executions"].as_u64() > Some(0), "{health}");
    assert!(live.stop().await.success());
    let log = live.log_text();
    assert!(log.contains("schema nightbell of database postgres"), "{log}");
    assert!(!log.contains("pa55") && !refused.stderr.contains("pa55"), "{log}");
}
