//! Output filters, and statuses that are accepted in the place of 2xx.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Redirect;
use axum::routing::{get as on_get, post};
use engine::{OutcomeStatus, TaskRunner};
use kernel::graph::Status;
use serde_json::{Value, json};
use tasks::http::{Http, Settings};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use crate::house;

use super::{completed, get, handoff, http, retriable, run, run_on, server, settings};

async fn token_server() -> server::Server {
    let issue = || async { r#"{"token": "t0k3n", "expires": 3600, "roles": ["a", "b"]}"# };
    let refuse = || async { (StatusCode::UNAUTHORIZED, r#"{"token": "none"}"#) };
    server::good(Router::new().route("/", post(issue)).route("/refuse", post(refuse))).await
}

async fn filtered(path: &str, filter: Value) -> engine::Outcome {
    let server = token_server().await;
    let mut task = handoff(&json!({
        "uri": server.url(path), "method": "POST", "outputFilter": filter,
    }));
    "call__3".clone_into(&mut task.reference);
    http().run(task, CancellationToken::new()).await
}

#[tokio::test]
async fn a_filter_takes_the_place_of_the_output() {
    let cases = [
        (
            json!({"_secrets": {"token": "${self.output.response.body.token}"}}),
            json!({"_secrets": {"token": "t0k3n"}}),
        ),
        (
            json!({"own": "${call.output.response.body.expires}", "short": "${output.response.statusCode}"}),
            json!({"own": 3600, "short": 200}),
        ),
        (
            json!({"text": "for ${self.output.response.body.expires} s", "kept": [1, null]}),
            json!({"text": "for 3600 s", "kept": [1, null]}),
        ),
        (json!({"roles": "${self.output.response.body.roles[1]}"}), json!({"roles": "b"})),
        (json!({"gone": "${self.output.response.nobody}"}), json!({"gone": null})),
        (
            json!("${output.response.body}"),
            json!({"token": "t0k3n", "expires": 3600, "roles": ["a", "b"]}),
        ),
        (json!("${self.output.response.body.token}"), json!({"result": "t0k3n"})),
        // What a task was given is not shown: its secrets are in place there.
        (
            json!({"input": "${self.input.uri}", "other": "${workflow.input.x}"}),
            json!({"input": null, "other": null}),
        ),
    ];
    for (filter, expected) in cases {
        let outcome = filtered("/", filter.clone()).await;
        assert_eq!(outcome.status, OutcomeStatus::Completed, "{outcome:?}");
        assert_eq!(outcome.output.parse(), expected, "{filter}");
    }
}

#[tokio::test]
async fn a_failure_is_shown_whole_and_null_is_no_filter() {
    let outcome = filtered("/refuse", json!({"_secrets": {"t": "${self.output}"}})).await;
    retriable(&outcome, "HTTP_STATUS");
    let outcome = filtered("/", Value::Null).await;
    assert_eq!(completed(&outcome)["body"]["token"], "t0k3n");
}

#[tokio::test]
async fn a_filter_may_stand_in_the_request() {
    let server = token_server().await;
    let outcome = run(json!({"http_request": {
        "uri": server.url("/"), "method": "POST",
        "outputFilter": {"status": "${self.output.response.statusCode}"},
    }}))
    .await;
    assert_eq!(outcome.output.parse(), json!({"status": 200}));
}

#[tokio::test]
async fn accepted_statuses_take_the_place_of_2xx() {
    let gone = || async { (StatusCode::GONE, "gone") };
    let router = Router::new().route("/", on_get(|| async { "fine" })).route("/gone", on_get(gone));
    let server = server::good(router).await;
    let input = |path, accepted| json!({"uri": server.url(path), "method": "GET", "acceptedStatusCodes": accepted});
    completed(&run(input("/gone", json!(["4xx"]))).await);
    completed(&run(input("/", json!(["4xx", "200-204"]))).await);
    let reason = retriable(&run(input("/", json!(["404", 410]))).await, "HTTP_STATUS");
    assert!(reason.contains("200 OK"), "{reason}");
}

#[tokio::test]
async fn a_redirect_to_another_host_gets_no_credentials() {
    let seen =
        |headers: HeaderMap| async move { headers.contains_key("authorization").to_string() };
    let other = server::good(Router::new().route("/", on_get(seen))).await;
    let target = other.url("/");
    let hop = move || async move { Redirect::temporary(&target) };
    let server = server::good(Router::new().route("/", on_get(hop))).await;
    let outcome = run(json!({
        "uri": server.url("/"), "method": "GET", "headers": {"Authorization": "Bearer s3cret"},
    }))
    .await;
    assert_eq!(completed(&outcome)["body"], "false");
    let direct = get(other.url("/")).await;
    assert_eq!(completed(&direct)["body"], "false");
}

#[tokio::test]
async fn who_asks_for_a_pause_gets_it() {
    let day = OutcomeStatus::FailedFor(Duration::from_hours(24));
    let cases = [
        ("429", "77", OutcomeStatus::FailedFor(Duration::from_secs(77))),
        ("503", "0", OutcomeStatus::FailedFor(Duration::ZERO)),
        ("503", "999999999", day),
        ("429", "Fri, 31 Dec 1999 23:59:59 GMT", OutcomeStatus::FailedFor(Duration::ZERO)),
        ("429", "Fri, 31 Dec 9998 23:59:59 GMT", day),
        ("429", "soon", OutcomeStatus::Failed),
        ("500", "7", OutcomeStatus::Failed),
    ];
    for (status, after, expected) in cases {
        let head =
            format!("HTTP/1.1 {status} No\r\nRetry-After: {after}\r\nContent-Length: 0\r\n\r\n");
        let server = server::answering(head).await;
        // With so little patience nothing is sent once more.
        let asked = json!({"uri": server.url("/"), "method": "GET", "readTimeOut": 999});
        assert_eq!(run(asked).await.status, expected, "{status} {after}");
        assert_eq!(server.accepted(), 1, "{status} {after}");
    }
}

#[tokio::test]
async fn a_busy_peer_is_called_once_more_whatever_the_method() {
    for (method, status, after, times, calls, completes) in [
        ("GET", 503, "", 1, 2, true),
        ("POST", 503, "Retry-After: 1\r\n", 1, 2, true),
        ("GET", 429, "Retry-After: 0\r\n", 2, 2, false),
        ("GET", 503, "Retry-After: 61\r\n", 1, 1, false),
        ("GET", 500, "", 1, 1, false),
        ("GET", 502, "Retry-After: 1\r\n", 1, 1, false),
    ] {
        let server = server::raw(move |mut stream, number| async move {
            server::request(&mut stream).await;
            let answer = if number < times {
                format!(
                    "HTTP/1.1 {status} No\r\n{after}Connection: close\r\nContent-Length: 0\r\n\r\n"
                )
            } else {
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}".to_owned()
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let asked = json!({"uri": server.url("/"), "method": method, "body": {"a": 1}});
        let outcome = run(asked).await;
        let what = format!("{method} {status} {after}");
        assert_eq!(outcome.status == OutcomeStatus::Completed, completes, "{what}: {outcome:?}");
        assert_eq!(server.accepted(), calls, "{what}");
    }
}

#[tokio::test]
async fn a_busy_peer_is_not_called_once_more_if_there_is_no_time_left_for_it() {
    let head = "HTTP/1.1 503 No\r\nRetry-After: 50\r\nContent-Length: 0\r\n\r\n".to_owned();
    let server = server::answering(head).await;
    let settings = Settings { call_ceiling: Duration::from_secs(45), ..settings() };
    let asked = json!({"uri": server.url("/"), "method": "GET"});
    // Far below the fifty seconds that the peer wants: it is not even waited for.
    let outcome = run_on(&Http::new(settings).unwrap(), asked).await;
    assert_eq!(outcome.status, OutcomeStatus::FailedFor(Duration::from_secs(50)), "{outcome:?}");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn the_retry_waits_for_as_long_as_the_peer_asked() {
    let server = server::raw(|mut stream, number| async move {
        server::request(&mut stream).await;
        // Once for the first attempt, and once more for the same.
        let answer = if number < 2 {
            "HTTP/1.1 429 No\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        } else {
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let engine = house::open(Arc::default(), vec![Arc::new(http())]).await;
    let task = json!({"name": "t", "taskReferenceName": "r", "type": "HTTP",
        "inputParameters": {"uri": server.url("/"), "method": "GET"}});
    let policy = json!({"name": "t", "retryCount": 1, "retryDelaySeconds": 0});
    let id = house::start(&engine, task, policy).await;
    let (status, delay) = house::until(&engine, &id, |execution| {
        let closed = execution.status.is_closed();
        closed.then(|| (execution.status, execution.task(2).map(|task| task.delay)))
    })
    .await;
    assert_eq!((status, delay), (Status::Completed, Some(1000)));
    engine.close().await.unwrap();
}
