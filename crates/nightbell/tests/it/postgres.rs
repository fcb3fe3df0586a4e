//! The server on PostgreSQL: it is killed and goes on, a second one is refused, and the commands of the
//! store work on it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::database::shared;
use crate::live::Live;
use crate::pool::Pool;
use crate::relay::Relay;
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
    let Some(database) = shared().await else { return };
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

/// A page that is broken, and a receiver that counts what it is told about each incident.
async fn outside() -> (String, Arc<Mutex<Vec<Value>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let app = axum::Router::new()
        .route("/", axum::routing::get(|| async { axum::http::StatusCode::BAD_GATEWAY }))
        .route(
            "/hook",
            axum::routing::post(move |axum::Json(body): axum::Json<Value>| {
                heard.lock().expect("no test panics there").push(body);
                async {}
            }),
        );
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, told)
}

fn copied(from: &str, to: &str) -> Value {
    let arguments = ["store", "copy", "--from", from, "--to", to, "-o", "json"];
    let copied = Nightbell::new(&arguments).run().exits(0);
    assert!(!copied.stderr.contains("pa55") && !copied.stdout.contains("pa55"), "{copied:?}");
    copied.json()
}

fn digests(of: &Value) -> Vec<(&Value, &Value)> {
    let tables = of["tables"].as_array().expect("it lists tables");
    tables.iter().map(|it| (&it["rows"], &it["digest"])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_on_with_what_was_copied() {
    let Some(database) = shared().await else { return };
    let (page, told) = outside().await;
    let mut live = Live::start_as("serve", &[], &[KEY]).await;
    let file = json!({
        "receivers": { "desk": { "webhook": { "url": format!("{page}hook") } } },
        "routes": [{ "to": "desk" }],
        "monitors": { "web": {
            "http": { "url": page, "expect": "status < 400" }, "every": "24h"
        } }
    });
    let (status, answer) = live.ask(Method::PUT, "/api/monitors", file.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    live.post("/api/monitors/web/check", &json!({})).await;
    let open = until(&live, "/api/incidents", |page| page["totalHits"] == 1).await;
    let begun = Instant::now();
    while told.lock().expect("no test panics there").is_empty() {
        assert!(begun.elapsed() < PATIENCE, "nobody was notified: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let first = json!({ "name": "first", "taskReferenceName": "first", "type": "SIMPLE" });
    live.define("remote", json!([first])).await;
    let remote = live.begin("remote", &json!({ "word": "disk" })).await;
    let wait = json!({
        "name": "wait", "taskReferenceName": "wait", "type": "WAIT",
        "inputParameters": { "duration": "2 seconds" }
    });
    live.define("later", json!([wait])).await;
    let later = live.begin("later", &json!({})).await;
    let from = format!("sqlite:{}", live.store().display());
    let used = ["store", "copy", "--from", &from, "--to", "sqlite:other.db"];
    let refused = Nightbell::new(&used).run().exits(4);
    assert!(refused.stderr.contains("is in use by a server"), "{refused:?}");
    assert!(live.stop().await.success());

    let url = format!("{}?sslmode=disable&lease=2&schema=copied", database.url())
        .replace("tester", "tester:pa55");
    let there = copied(&from, &url);
    assert!(there["key"].as_str().is_some_and(|it| it.contains("nightbell.db.key")), "{there}");
    live.launch_with(&["--store", &url]).await;
    assert_eq!(live.ended(&later, PATIENCE).await["status"], "COMPLETED", "its timer went along");
    let after = live.get("/api/incidents").await;
    assert_eq!(after["results"][0]["id"], open["results"][0]["id"], "the incident is the same");
    live.post("/api/monitors/web/check", &json!({})).await;
    let tasks = live.poll("first?count=1&timeout=5000").await;
    assert_eq!(tasks.len(), 1, "the queue went along: {}", live.log_text());
    live.report(&tasks[0], json!({ "status": "COMPLETED", "outputData": {} })).await;
    assert_eq!(live.ended(&remote, PATIENCE).await["status"], "COMPLETED");
    assert!(live.stop().await.success());

    let back = format!("sqlite:{}", live.store().with_file_name("back.db").display());
    let first = copied(&url, &back);
    let again = format!("sqlite:{}", live.store().with_file_name("again.db").display());
    assert_eq!(digests(&first), digests(&copied(&back, &again)));
    live.launch_with(&["--store", &back]).await;
    let found = live.get("/api/workflow/search?freeText=disk").await;
    assert_eq!(found["totalHits"], 1, "{found}");
    assert_eq!(live.get("/api/incidents").await["totalHits"], 1);
    assert!(live.stop().await.success());
    let told = told.lock().expect("no test panics there");
    assert_eq!(told.len(), 1, "nobody is notified twice: {told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_by_takes_over_whatever_happens_to_the_database_meanwhile() {
    let Some(database) = shared().await else { return };
    let url = |port: u16| {
        format!(
            "postgres://tester@127.0.0.1:{port}/postgres?sslmode=disable&lease=1&schema=standby"
        )
    };
    let direct = url(database.port());
    let mut first = Live::start_as("serve", &["--store", &direct], &[KEY]).await;
    first
        .define("wait", json!([{ "name": "t", "taskReferenceName": "t", "type": "SIMPLE" }]))
        .await;
    let id = first.begin("wait", &json!({})).await;

    let relay = Relay::start(database.port()).await;
    let way = url(relay.port());
    let standby = tokio::spawn(async move {
        Live::start_as("serve", &["--store", &way, "--standby", "on"], &[KEY]).await
    });
    // It looks, is told that the store is in use, and looks again.
    relay.is_asked(3).await;
    // Now the database is away for it, and the first ends meanwhile.
    relay.cut();
    relay.is_asked(2).await;
    assert!(!standby.is_finished(), "it waits");
    first.kill();
    relay.mend();
    let mut standby = standby.await.expect("it took over");
    assert_eq!(standby.get("/health/ready").await, json!({ "ready": true }));
    assert_eq!(standby.poll("t?count=1&timeout=5000").await[0]["workflowInstanceId"], *id);
    let log = standby.log_text();
    assert!(log.contains("standing by: ") && log.contains("is in use by another server"), "{log}");
    assert!(standby.stop().await.success());

    let other = ("NIGHTBELL_SECRET_KEY", "BBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let wrong = Nightbell::new(&["serve", "--store", &direct, "--listen", "127.0.0.1:0"]);
    let wrong = wrong.env(other.0, other.1).run().exits(1);
    let told = "cannot be used with this store; nothing was changed";
    assert!(wrong.stderr.contains(told), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_works_through_a_pool() {
    let Some(database) = shared().await else { return };
    let Some(pool) = Pool::start(database).await else { return };
    let url = format!("{}&lease=2&schema=through_a_pool", pool.url());
    let mut live = Live::start_as("serve", &["--store", &url], &[KEY]).await;
    live.define("one", json!([{ "name": "t", "taskReferenceName": "t", "type": "SIMPLE" }])).await;
    let ids = [live.begin("one", &json!({})).await, live.begin("one", &json!({})).await];
    let second = Nightbell::new(&["serve", "--store", &url, "--listen", "127.0.0.1:0"]);
    let refused = second.env(KEY.0, KEY.1).run().exits(1);
    assert!(refused.stderr.contains("is in use by another server"), "{refused:?}");
    live.kill();
    live.launch().await;
    for task in live.poll("t?count=2&timeout=5000").await {
        live.report(&task, json!({ "status": "COMPLETED", "outputData": {} })).await;
    }
    for id in ids {
        assert_eq!(live.ended(&id, PATIENCE).await["status"], "COMPLETED");
    }
    assert!(live.stop().await.success());
}
