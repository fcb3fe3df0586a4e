//! The end of a server, and the beginning of one that must not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::json;

use crate::live::Live;
use crate::stand_in::Nightbell;

const PATIENCE: Duration = Duration::from_mins(1);

/// A service that takes its time; counts its calls.
async fn slow_service(pause: Duration) -> (String, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let router = Router::new().route(
        "/",
        get(move || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(pause).await;
            "done"
        }),
    );
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_finished_and_nothing_is_lost() {
    const RUNS: usize = 20;
    let (url, calls) = slow_service(Duration::from_millis(500)).await;
    let mut live = Live::start(&[]).await;
    live.post("/api/metadata/taskdefs", &json!([{ "name": "call", "retryCount": 0 }])).await;
    let call = json!({ "name": "call", "taskReferenceName": "call", "type": "HTTP",
        "inputParameters": { "uri": url, "method": "GET", "readTimeOut": 20_000 } });
    let work = json!({ "name": "work", "taskReferenceName": "work", "type": "SIMPLE" });
    let wait = json!({ "name": "wait", "taskReferenceName": "wait", "type": "WAIT",
        "inputParameters": { "duration": "1 seconds" } });
    live.define("call", json!([call, wait])).await;
    live.define("work", json!([work, wait])).await;
    let (mut calling, mut working) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        calling.push(live.begin("call", &json!({})).await);
        working.push(live.begin("work", &json!({})).await);
    }
    let held = live.poll(&format!("work?count={RUNS}&timeout=5000")).await;
    assert_eq!(held.len(), RUNS);
    let begun = std::time::Instant::now();
    while calls.load(Ordering::SeqCst) < RUNS {
        assert!(begun.elapsed() < PATIENCE, "{} calls", calls.load(Ordering::SeqCst));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let status = live.stop().await;
    assert_eq!(status.code(), Some(0), "its log: {}", live.log_text());
    assert!(live.log_text().contains("stopped"), "its log: {}", live.log_text());
    live.launch().await;
    // A worker does not notice: what it took before, it reports now.
    for task in &held {
        live.report(task, json!({ "status": "COMPLETED", "outputData": {} })).await;
    }
    for id in calling.iter().chain(&working) {
        let ended = live.ended(id, PATIENCE).await;
        assert_eq!(ended["status"], "COMPLETED", "{ended}");
        assert_eq!(ended["tasks"].as_array().unwrap().len(), 2, "{ended}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), RUNS, "a call that was under way was made again");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_is_answered_when_the_server_stops() {
    let mut live = Live::start(&[]).await;
    live.define("work", json!([{ "name": "w", "taskReferenceName": "w", "type": "SIMPLE" }])).await;
    let (http, url) =
        (live.http.clone(), live.url("/api/workflow/execute/work/1?waitForSeconds=3000"));
    let waiting = tokio::spawn(async move { http.post(url).body("{}").send().await });
    let begun = std::time::Instant::now();
    while live.get("/api/workflow/search").await["totalHits"] == 0 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(live.stop().await.code(), Some(0));
    let answer = waiting.await.unwrap().expect("an answer, not a cut").text().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["targetWorkflowStatus"], "RUNNING");
    assert_eq!(answer["signalTimeout"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_is_refused() {
    let live = Live::start(&[]).await;
    let store = format!("sqlite:{}", live.store().display());
    let outcome = Nightbell::new(&["serve", "--listen", "127.0.0.1:0", "--store", &store]).run();
    let outcome = outcome.exits(1);
    assert!(outcome.stderr.contains("in use by another process"), "{outcome:?}");
    assert!(outcome.stderr.contains("nightbell.db"), "{outcome:?}");

    let address = format!("127.0.0.1:{}", live.port());
    let outcome = Nightbell::new(&["serve", "--listen", &address]).run().exits(1);
    assert!(outcome.stderr.contains(&format!("cannot listen on {address}")), "{outcome:?}");
    assert!(outcome.stderr.contains("in use"), "{outcome:?}");
    assert_eq!(live.get("/health").await["healthy"], true);
}

/// A process that was told to stop before it served anything ends at once, and well.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_by_stops_when_it_is_told_to() {
    let live = Live::start(&[]).await;
    let store = format!("sqlite:{}", live.store().display());
    for name in ["TERM", "INT"] {
        let mut standby = std::process::Command::new(crate::live::binary());
        standby.args(["serve", "--listen", "127.0.0.1:0", "--standby", "on", "--store", &store]);
        let mut child = standby.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let pid = child.id().to_string();
        let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("standing by") {
            line.clear();
            assert!(std::io::BufRead::read_line(&mut log, &mut line).unwrap() > 0, "it ended");
        }
        let told = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(told.unwrap().success());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut log, &mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}: {rest}");
    }
    assert_eq!(live.get("/health").await["healthy"], true);
}
