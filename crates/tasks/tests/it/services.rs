//! The tasks that call a known service, against stand-ins of the services.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use engine::{OutcomeStatus, TaskRunner};
use kernel::graph::Status;
use serde_json::{Value, json};
use tasks::ops_genie::OpsGenie;
use tasks::sendgrid::SendGrid;
use tokio_util::sync::CancellationToken;

use crate::house;
use crate::http::{completed, handoff, http, retriable, server, terminal};

/// A request as a service saw it: path, `Authorization`, body.
type Seen = Arc<Mutex<Vec<(String, String, Value)>>>;

/// A service that accepts everything and remembers it.
async fn service(answer: &'static str) -> (server::Server, Seen) {
    let seen = Seen::default();
    let memory = Arc::clone(&seen);
    let take = move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
        let authorization = headers["authorization"].to_str().unwrap().to_owned();
        assert_eq!(headers["content-type"], "application/json");
        let body = serde_json::from_slice(&body).unwrap();
        memory.lock().unwrap().push((uri.path().to_owned(), authorization, body));
        (StatusCode::ACCEPTED, [("x-message-id", "m-1")], answer)
    };
    (server::good(Router::new().fallback(take)).await, seen)
}

fn sendgrid(url: &str) -> SendGrid {
    SendGrid::new(http().client().clone(), url).unwrap()
}

fn ops_genie(url: &str) -> OpsGenie {
    OpsGenie::new(http().client().clone(), url).unwrap()
}

async fn run(runner: &dyn TaskRunner, input: &Value) -> engine::Outcome {
    runner.run(handoff(input), CancellationToken::new()).await
}

fn with(mut input: Value, name: &str, value: Value) -> Value {
    input[name] = value;
    input
}

fn mail() -> Value {
    json!({
        "from": "Alerts <alerts@example.com>", "to": "jane@example.com", "subject": "S",
        "contentType": "text/plain", "content": "C", "sendgridConfiguration": "SG.key",
    })
}

fn alert() -> Value {
    json!({"token": "t0k3n", "alias": "disk", "message": "full"})
}

#[tokio::test]
async fn a_mail_goes_out_as_the_service_wants_it() {
    let (server, seen) = service("").await;
    // The address may end in a slash.
    let outcome = run(&sendgrid(&server.url("/")), &mail()).await;
    let response = completed(&outcome);
    assert_eq!(response["statusCode"], 202);
    assert_eq!(response["headers"]["X-Message-Id"], json!(["m-1"]));
    let (path, authorization, body) = seen.lock().unwrap().remove(0);
    assert_eq!((path.as_str(), authorization.as_str()), ("/v3/mail/send", "Bearer SG.key"));
    let expected = json!({
        "personalizations": [{"to": [{"email": "jane@example.com"}]}],
        "from": {"email": "alerts@example.com", "name": "Alerts"},
        "subject": "S",
        "content": [{"type": "text/plain", "value": "C"}],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_mail_may_go_to_several() {
    let (server, seen) = service("").await;
    for to in [json!("a@h.org, B <b@h.org>"), json!(["a@h.org", "\"B\" <b@h.org>"])] {
        completed(&run(&sendgrid(&server.url("")), &with(mail(), "to", to)).await);
        let (_, _, body) = seen.lock().unwrap().remove(0);
        let expected = json!([{"email": "a@h.org"}, {"email": "b@h.org", "name": "B"}]);
        assert_eq!(body["personalizations"][0]["to"], expected);
    }
}

#[tokio::test]
async fn a_configuration_is_the_name_of_a_secret() {
    let (server, seen) = service("").await;
    let engine = house::open(Arc::default(), vec![Arc::new(sendgrid(&server.url("")))]).await;
    let send = |name: &'static str| {
        let input = with(mail(), "sendgridConfiguration", json!(name));
        let task = json!({"name": "t", "taskReferenceName": "r", "type": "SENDGRID",
            "inputParameters": input});
        let engine = &engine;
        async move {
            let id = house::start(engine, task, json!({"name": "t", "retryCount": 0})).await;
            house::until(engine, &id, |execution| {
                let shown = execution.task(1).map(|task| {
                    format!("{} {} {:?}", task.input.text(), task.output.text(), task.reason)
                });
                execution.status.is_closed().then_some((execution.status, shown?))
            })
            .await
        }
    };
    let (status, shown) = send("mail").await;
    assert_eq!(status, Status::Completed);
    assert!(!shown.contains("SG.from-the-store"), "{shown}");
    assert_eq!(seen.lock().unwrap().remove(0).1, "Bearer SG.from-the-store");
    let (status, shown) = send("nobody").await;
    assert_eq!(status, Status::Failed);
    assert!(shown.contains("There is no secret"), "{shown}");
    engine.close().await.unwrap();
}

#[tokio::test]
async fn an_alert_goes_out_as_the_service_wants_it() {
    let (server, seen) =
        service(r#"{"result": "Request will be processed", "requestId": "q"}"#).await;
    let outcome = run(
        &ops_genie(&server.url("")),
        &json!({
            "token": "t0k3n", "alias": "disk-full", "message": "m", "description": "d",
            "responders": [{"type": "team", "name": "ops"}, "someone@h.org"],
            "visibleTo": "a@h.org, b@h.org", "details": {"disk": "sda", "used": 97},
            "actions": ["Restart"], "priority": "p2", "entity": "db", "tags": "urgent,disk",
        }),
    )
    .await;
    assert_eq!(completed(&outcome)["body"]["requestId"], "q");
    let (path, authorization, body) = seen.lock().unwrap().remove(0);
    assert_eq!((path.as_str(), authorization.as_str()), ("/v2/alerts", "GenieKey t0k3n"));
    let expected = json!({
        "alias": "disk-full", "message": "m", "description": "d",
        "responders": [{"type": "team", "name": "ops"}, {"type": "user", "username": "someone@h.org"}],
        "visibleTo": [{"type": "user", "username": "a@h.org"}, {"type": "user", "username": "b@h.org"}],
        "details": {"disk": "sda", "used": "97"},
        "actions": ["Restart"], "priority": "P2", "entity": "db", "tags": ["urgent", "disk"],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn an_alert_takes_what_can_only_be_meant_one_way() {
    let (server, seen) = service("{}").await;
    let cases = [
        ("message", Value::Null, "message", json!("disk")),
        ("message", json!("x".repeat(200)), "message", json!("x".repeat(130))),
        (
            "responders",
            json!(r#"[{"type": "team", "id": "1"}]"#),
            "responders",
            json!([{"type": "team", "id": "1"}]),
        ),
        (
            "responders",
            json!({"type": "team", "id": "1"}),
            "responders",
            json!([{"type": "team", "id": "1"}]),
        ),
        ("visibleTo", json!(""), "visibleTo", Value::Null),
        ("visibleTo", Value::Null, "visibleTo", Value::Null),
        ("details", json!("text"), "details", json!({"details": "text"})),
        ("details", json!(r#"{"a": {"b": 1}}"#), "details", json!({"a": r#"{"b":1}"#})),
        ("tags", json!([1, true, null, "x"]), "tags", json!(["1", "true", "x"])),
        ("priority", json!(""), "priority", Value::Null),
    ];
    for (name, given, shown, expected) in cases {
        completed(&run(&ops_genie(&server.url("")), &with(alert(), name, given.clone())).await);
        let (_, _, body) = seen.lock().unwrap().remove(0);
        assert_eq!(body[shown], expected, "{name} {given}");
    }
}

#[tokio::test]
async fn input_that_no_service_takes_is_refused_without_a_call() {
    let (server, seen) = service("").await;
    let mails = ["from", "to", "subject", "contentType", "content", "sendgridConfiguration"];
    let mails = mails.map(|name| (name, Value::Null)).into_iter().chain([
        ("contentType", json!("text/markdown")),
        ("from", json!("nobody")),
        ("to", json!("a@h.org,")),
        ("to", json!([{}])),
        ("to", json!("a b@h.org")),
        ("subject", json!({})),
        // A line break would make a header of its own.
        ("sendgridConfiguration", json!("SG.a\r\nX: y")),
    ]);
    for (name, value) in mails {
        let outcome = run(&sendgrid(&server.url("")), &with(mail(), name, value.clone())).await;
        let reason = terminal(&outcome, "INVALID_INPUT");
        let place = reason.contains(name) || reason.contains("Authorization");
        assert!(place, "{name} {value}: {reason}");
    }
    for (name, value) in
        [("token", Value::Null), ("token", json!("a\nb")), ("priority", json!("high"))]
    {
        let outcome = run(&ops_genie(&server.url("")), &with(alert(), name, value)).await;
        terminal(&outcome, "INVALID_INPUT");
    }
    let nothing = run(&ops_genie(&server.url("")), &json!({"token": "t"})).await;
    assert!(terminal(&nothing, "INVALID_INPUT").contains("`message`"));
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn refusals_of_a_service_fail_the_task_and_may_be_tried_again() {
    let failed = OutcomeStatus::Failed;
    let cases = [
        ("400 Bad Request", "", failed),
        ("401 Unauthorized", "", failed),
        (
            "429 Too Many Requests",
            "Retry-After: 7\r\n",
            OutcomeStatus::FailedFor(Duration::from_secs(7)),
        ),
        ("429 Too Many Requests", "", failed),
        ("500 Internal Server Error", "", failed),
        (
            "503 Service Unavailable",
            "Retry-After: 1\r\n",
            OutcomeStatus::FailedFor(Duration::from_secs(1)),
        ),
    ];
    for (status, header, expected) in cases {
        let body = r#"{"errors":[{"message":"said why"}]}"#;
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\n{header}Content-Length: {length}\r\n\r\n{body}");
        let server = server::answering(answer).await;
        let url = server.url("");
        let runs: [(&dyn TaskRunner, Value); 2] =
            [(&sendgrid(&url), mail()), (&ops_genie(&url), alert())];
        for (runner, input) in runs {
            let outcome = run(runner, &input).await;
            assert_eq!(outcome.status, expected, "{status}");
            let reason = outcome.reason.clone().unwrap();
            assert!(reason.contains("said why") && reason.contains(&status[..3]), "{reason}");
            let shown = format!("{}{reason}", outcome.output.text());
            assert!(!shown.contains("SG.key") && !shown.contains("t0k3n"), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_service_that_hangs_is_left_when_the_task_is_cancelled() {
    let server = server::raw(|mut stream, _| async move {
        server::request(&mut stream).await;
        server::closed(&mut stream).await;
    })
    .await;
    let cancel = CancellationToken::new();
    let runner = ops_genie(&server.url(""));
    let running = runner.run(handoff(&alert()), cancel.clone());
    let stop = async {
        while server.accepted() == 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(running, stop);
    retriable(&outcome, "CANCELLED");
}

#[test]
fn an_address_that_is_none_stops_the_start() {
    for url in ["", "example.com", "ftp://example.com"] {
        let settings =
            tasks::registry::Settings { ops_genie_url: url.to_owned(), ..Default::default() };
        let error = tasks::registry::runners(&settings).err().expect("a problem");
        assert!(error.to_string().contains("OPS_GENIE"), "{error}");
    }
}
