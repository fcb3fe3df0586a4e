//! Copies of one request: when they go out and which of them counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get as on_get;
use serde_json::json;
use tasks::http::{Http, Settings};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Barrier, Notify};

use super::{completed, retriable, run, run_on, server, settings};

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test]
async fn of_hedged_copies_the_first_success_counts() {
    // One copy hangs, one fails, one is answered, once all three are there.
    let all = Arc::new(Barrier::new(3));
    let server = server::raw(move |mut stream, number| {
        let all = Arc::clone(&all);
        async move {
            server::request(&mut stream).await;
            all.wait().await;
            match number {
                0 => server::closed(&mut stream).await,
                1 => {
                    let answer = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                }
                _ => {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                    stream.write_all(answer).await.unwrap();
                }
            }
        }
    })
    .await;
    let outcome = run(json!({
        "uri": server.url("/"), "method": "GET", "readTimeOut": 0,
        "hedgingConfig": {"maxAttempts": 3},
    }))
    .await;
    completed(&outcome);
}

#[tokio::test]
async fn hedging_is_bounded_and_reports_a_failure() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let busy = move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        (StatusCode::SERVICE_UNAVAILABLE, "busy")
    };
    let server = server::good(Router::new().route("/", on_get(busy))).await;
    let outcome = run(json!({
        "uri": server.url("/"), "method": "GET", "hedgingConfig": {"maxAttempts": 1_000_000},
    }))
    .await;
    retriable(&outcome, "HTTP_STATUS");
    assert_eq!(calls.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_second_copy_goes_out_while_the_first_is_slow_and_ends_it() {
    let cancelled = Arc::new(Notify::new());
    let told = Arc::clone(&cancelled);
    let server = server::raw(move |mut stream, number| {
        let told = Arc::clone(&told);
        async move {
            server::request(&mut stream).await;
            if number == 0 {
                // Never answered; only a cancelled call closes it.
                server::closed(&mut stream).await;
                told.notify_one();
            } else {
                stream.write_all(FINE).await.unwrap();
            }
        }
    })
    .await;
    let outcome = run(json!({
        "uri": server.url("/"), "method": "GET", "readTimeOut": 0,
        "hedgingConfig": {"maxAttempts": 2, "delay": 20},
    }))
    .await;
    completed(&outcome);
    tokio::time::timeout(Duration::from_secs(30), cancelled.notified()).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_quick_answer_needs_no_second_copy() {
    let patient = Settings { hedge_after: Duration::from_hours(1), ..settings() };
    let http = Http::new(patient).unwrap();
    for (status, expected) in [(200, 1), (404, 1), (502, 3)] {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let answer = move || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            StatusCode::from_u16(status).unwrap()
        };
        let server = server::good(Router::new().route("/", on_get(answer))).await;
        let input = json!({
            "uri": server.url("/"), "method": "GET", "hedgingConfig": {"maxAttempts": 3},
        });
        run_on(&http, input).await;
        // A refusal would be the same again, a fault of the server need not be.
        assert_eq!(calls.load(Ordering::SeqCst), expected, "{status}");
    }
}

#[tokio::test]
async fn a_request_that_must_not_be_repeated_is_sent_once() {
    let server = server::raw(|mut stream, number| async move {
        server::request(&mut stream).await;
        if number == 0 {
            stream.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        } else {
            stream.write_all(FINE).await.unwrap();
        }
    })
    .await;
    let input = |config| json!({"uri": server.url("/"), "method": "POST", "hedgingConfig": config});
    retriable(&run(input(json!({"maxAttempts": 2, "delay": 0}))).await, "HTTP_STATUS");
    completed(&run(input(json!({"maxAttempts": 2, "nonIdempotent": true}))).await);
}
