//! What the server calls, and what it is told from there: secrets, databases, itself.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use serde_json::{Value, json};

use crate::live::Live;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const SECRET: &str = "pd-TOP-SECRET-123456";
/// What a stranger writes where a feed shows it.
const TITLE: &str = "Fix ${workflow.secrets.PD_KEY} please";

/// What was posted: the header `x-title`, and the body.
type Posted = Arc<Mutex<Vec<(String, Value)>>>;

/// A server with a feed in which a stranger has written, and a place to post to.
async fn strangers() -> (String, Posted) {
    let posted = Posted::default();
    let notes = posted.clone();
    let answer = move |request: Request| {
        let notes = notes.clone();
        async move {
            if request.uri().path() == "/feed" {
                return json!({ "items": [{ "title": TITLE }] }).to_string();
            }
            let title = request.headers().get("x-title").cloned();
            let title = title.and_then(|title| title.to_str().map(str::to_owned).ok());
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let body = serde_json::from_slice(&body).unwrap();
            notes.lock().unwrap().push((title.unwrap_or_default(), body));
            String::new()
        }
    };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (url, posted)
}

fn http(reference: &str, input: &Value) -> Value {
    json!({ "name": reference, "taskReferenceName": reference, "type": "HTTP",
        "inputParameters": { "http_request": input } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_is_sent_on_names_no_secret() {
    let (url, posted) = strangers().await;
    let live = Live::start_as("serve", &[], &[("NIGHTBELL_SECRET_PD_KEY", SECRET)]).await;
    let feed = http("f", &json!({ "uri": format!("{url}/feed"), "method": "GET" }));
    let title = "${f.output.response.body.items[0].title}";
    let post = http(
        "post",
        &json!({ "uri": format!("{url}/post"), "method": "POST", "headers": { "X-Title": title },
            "body": { "text": format!("New: {title}"), "key": "${workflow.secrets.PD_KEY}" } }),
    );
    live.define("news", json!([feed, post])).await;
    let id = live.begin("news", &json!({})).await;
    let ended = live.ended(&id, PATIENCE).await;
    assert_eq!(ended["status"], "COMPLETED", "{ended}");
    let (header, body) = posted.lock().unwrap().remove(0);
    assert_eq!(header, TITLE);
    // The author's own reference shows that there is a secret to be had.
    assert_eq!(body, json!({ "text": format!("New: {TITLE}"), "key": SECRET }));
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_only_read_sources_of_which_nothing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let source = |name: &str, tasks: &str| {
        let file = folder.path().join("watched.db");
        format!("[sources.{name}]\nurl = \"sqlite:{}?mode=rwc\"\n{tasks}\n", file.display())
    };
    let config = folder.path().join("nightbell.toml");
    let sources = [
        source("open", "tasks = \"write\""),
        source("silent", ""),
        source("closed", "tasks = \"off\""),
    ];
    std::fs::write(&config, sources.concat()).unwrap();
    let live = Live::start(&["--config", config.to_str().unwrap()]).await;
    let read = ("SELECT", "SELECT 1 AS one");
    for (name, (kind, statement), right) in [
        ("open", ("UPDATE", "CREATE TABLE t (id INTEGER)"), None),
        ("silent", read, None),
        ("silent", ("UPDATE", "DELETE FROM t"), Some("tasks = \"write\" in [sources.silent]")),
        ("closed", read, Some("tasks = \"read\" in [sources.closed]")),
    ] {
        let task = json!({ "name": "sql", "taskReferenceName": "sql", "type": "JDBC",
            "inputParameters": { "connection": name, "type": kind, "statement": statement } });
        let asking = format!("{name}-{kind}");
        live.define(&asking, json!([task])).await;
        let id = live.begin(&asking, &json!({})).await;
        let ended = live.ended(&id, PATIENCE).await;
        let Some(right) = right else {
            assert_eq!(ended["status"], "COMPLETED", "{name}: {ended}");
            continue;
        };
        assert_eq!(ended["status"], "FAILED", "{name}: {ended}");
        let reason = ended["reasonForIncompletion"].as_str().unwrap_or_default();
        assert!(reason.contains(right), "{name}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_mans_switch_does_not_call_the_server_itself() {
    let mut live = Live::start(&[]).await;
    live.kill();
    let own = live.url("/health");
    live.tell(&["--deadman-url", &own]);
    live.launch().await;
    let begun = Instant::now();
    while !live.log_text().contains("outgoing_own") {
        let log = live.log_text();
        assert!(begun.elapsed() < PATIENCE, "it was called, or never tried: {log}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
