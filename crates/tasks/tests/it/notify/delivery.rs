//! Deliveries to stand-ins of the services: what is sent again, what is not, and what fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use engine::OutcomeStatus;
use engine::memory::Memory;
use engine::search::RecordSearch;
use engine::store::Store as _;
use kernel::graph::Status;
use serde_json::{Value, json};
use tasks::notify::Notify;
use tokio_util::sync::CancellationToken;

use super::{failed, input, notify, run, sent, tell};
use crate::house;
use crate::http::{handoff, server};

type Seen = Arc<Mutex<Vec<(String, Value)>>>;
type Answer = (u16, &'static str);

/// A service that gives these answers in turn, the last one for ever, and remembers the requests.
async fn service(answers: Vec<Answer>) -> (server::Server, Seen) {
    let seen = Seen::default();
    let memory = Arc::clone(&seen);
    let take = move |uri: Uri, _: HeaderMap, body: Bytes| async move {
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let mut seen = memory.lock().unwrap();
        let (status, body_back) = answers[seen.len().min(answers.len() - 1)];
        seen.push((uri.to_string(), body));
        let headers = [("retry-after", "7"), ("location", "/elsewhere")];
        (StatusCode::from_u16(status).unwrap(), headers, body_back).into_response()
    };
    (server::good(Router::new().fallback(take)).await, seen)
}

fn group() -> Value {
    let member = |key: &str| json!({"dedup_key": key, "key": key, "title": key});
    json!({
        "title": "three", "dedup_key": "g",
        "group": {"key": "r", "display": "R", "members": [member("a"), member("b"), member("c")]},
    })
}

fn keys(seen: &Seen) -> Vec<String> {
    let key = |(_, body): &(String, Value)| body["dedup_key"].as_str().unwrap().to_owned();
    seen.lock().unwrap().iter().map(key).collect()
}

#[tokio::test]
async fn a_delivery_says_what_came_of_it() {
    let (server, seen) = service(vec![(202, r#"{"status":"success","dedup_key":"f1"}"#)]).await;
    let settings = json!({"key": "R", "base_url": server.url("")});
    let outcome = tell("pagerduty", settings, json!({"title": "t", "dedup_key": "f1"})).await;
    let expected = json!({
        "reference": "f1", "status": 202, "requests": 1,
        "response": r#"{"status":"success","dedup_key":"f1"}"#,
    });
    assert_eq!(sent(&outcome), expected);
    assert_eq!(seen.lock().unwrap()[0].0, "/v2/enqueue");
}

#[tokio::test]
async fn what_was_taken_is_not_sent_again() {
    let ok = r#"{"status":"success"}"#;
    let (server, seen) = service(vec![(202, ok), (429, ""), (202, ok), (202, ok)]).await;
    let input = input("pagerduty", &json!({"key": "R", "base_url": server.url("")}), &group());
    let runner = notify();
    let first = run(&runner, &input).await;
    failed(&first, OutcomeStatus::FailedFor(Duration::from_secs(7)));
    assert_eq!(first.output.parse()["requests"], 2);
    let second = sent(&run(&runner, &input).await);
    assert_eq!(second["requests"], 2);
    assert_eq!(keys(&seen), ["a", "b", "b", "c"]);
    // It is over: whoever runs the task anew means it.
    sent(&run(&runner, &input).await);
    assert_eq!(keys(&seen).len(), 7);
}

#[tokio::test]
async fn one_refused_member_does_not_silence_the_others() {
    let (server, seen) = service(vec![(202, ""), (400, r#"{"message":"no"}"#), (202, "")]).await;
    let settings = json!({"key": "R", "base_url": server.url("")});
    let outcome = tell("pagerduty", settings, group()).await;
    let reason = failed(&outcome, OutcomeStatus::FailedTerminally);
    assert!(reason.starts_with("noc (pagerduty): 127.0.0.1: it answered 400"), "{reason}");
    assert_eq!(keys(&seen), ["a", "b", "c"]);
    let output = outcome.output.parse();
    assert_eq!(output["response"], r#"{"message":"no"}"#);
    assert_eq!(output["answers"][1], json!({"key": "b", "status": 400, "verdict": "permanent"}));
}

#[tokio::test]
async fn success_is_judged_by_the_body() {
    let (server, _) = service(vec![(200, r#"{"code":19021,"msg":"sign match fail"}"#)]).await;
    let outcome =
        tell("lark", json!({"url": server.url("/hook/t0k3n")}), json!({"title": "t"})).await;
    let reason = failed(&outcome, OutcomeStatus::FailedTerminally);
    assert!(reason.contains("clock") && !reason.contains("t0k3n"), "{reason}");
    let (server, _) = service(vec![(200, r#"{"code":11232,"msg":"frequency limited"}"#)]).await;
    let outcome = tell("lark", json!({"url": server.url("")}), json!({"title": "t"})).await;
    failed(&outcome, OutcomeStatus::Failed);
}

#[tokio::test]
async fn a_chat_that_moved_is_followed_once() {
    let moved = r#"{"ok":false,"error_code":400,"parameters":{"migrate_to_chat_id":-1001}}"#;
    let ok = r#"{"ok":true,"result":{"message_id":5,"chat":{"id":-1001}}}"#;
    let settings = |url: String| json!({"token": "1:abc", "chat": "-100", "base_url": url});
    let (server, seen) = service(vec![(400, moved), (200, ok)]).await;
    let output = sent(&tell("telegram", settings(server.url("")), json!({"title": "t"})).await);
    assert_eq!(output["reference"], "-1001:5");
    assert!(output["note"].as_str().unwrap().contains("-1001"), "{output}");
    assert_eq!(seen.lock().unwrap()[1].1["chat_id"], -1001);
    let (server, seen) = service(vec![(400, moved)]).await;
    let outcome = tell("telegram", settings(server.url("")), json!({"title": "t"})).await;
    failed(&outcome, OutcomeStatus::FailedTerminally);
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_embellishment_that_fails_costs_nothing() {
    let ok = r#"{"ok":true,"channel":"C1","ts":"2.0"}"#;
    let (server, seen) =
        service(vec![(200, ok), (200, r#"{"ok":false,"error":"message_not_found"}"#)]).await;
    let settings = json!({"token": "xoxb-1", "channel": "C1", "base_url": server.url("")});
    let over = json!({"title": "t", "event": "resolve", "reference": "C1:1.0"});
    let output = sent(&tell("slack", settings, over).await);
    assert_eq!((&output["reference"], &output["requests"]), (&json!("C1:2.0"), &json!(2)));
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].0, "/chat.postMessage");
    assert_eq!(seen[0].1["thread_ts"], "1.0");
    assert_eq!((seen[1].0.as_str(), &seen[1].1["ts"]), ("/chat.update", &json!("1.0")));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (server, seen) = service(vec![(307, "")]).await;
    let outcome = tell("webhook", json!({"url": server.url("/hook")}), json!({"title": "t"})).await;
    let reason = failed(&outcome, OutcomeStatus::FailedTerminally);
    assert!(reason.contains("redirect"), "{reason}");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_event_without_a_word_for_it_is_no_failure() {
    let settings = json!({"url": "http://127.0.0.1:9/"});
    let known = json!({"title": "t", "event": "acknowledge", "dedup_key": "k"});
    assert_eq!(sent(&tell("squadcast", settings, known).await)["requests"], 0);
}

#[tokio::test]
async fn nobody_there_is_worth_another_try() {
    // A port that nobody listens at: it was free a moment ago.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/t0k3n", listener.local_addr().unwrap());
    drop(listener);
    let reason = failed(
        &tell("slack", json!({"url": url}), json!({"title": "t"})).await,
        OutcomeStatus::Failed,
    );
    assert!(reason.contains("refused") && !reason.contains("t0k3n"), "{reason}");
    assert!(!reason.contains("may have arrived"), "{reason}");

    let url = "http://nobody.invalid/x";
    let reason = failed(
        &tell("slack", json!({"url": url}), json!({"title": "t"})).await,
        OutcomeStatus::Failed,
    );
    assert!(reason.contains("resolved"), "{reason}");
}

#[tokio::test]
async fn an_end_that_nobody_knows_is_said_to_be_one() {
    let server = server::raw(|mut stream, _| async move {
        server::request(&mut stream).await;
    })
    .await;
    let outcome = tell("slack", json!({"url": server.url("/")}), json!({"title": "t"})).await;
    let reason = failed(&outcome, OutcomeStatus::Failed);
    assert!(reason.contains("may have arrived"), "{reason}");
}

#[tokio::test]
async fn a_service_that_hangs_is_left_after_ten_seconds() {
    let server = server::raw(|mut stream, _| async move {
        server::request(&mut stream).await;
        server::closed(&mut stream).await;
    })
    .await;
    let outcome = tell("slack", json!({"url": server.url("/")}), json!({"title": "t"})).await;
    let reason = failed(&outcome, OutcomeStatus::Failed);
    assert!(reason.contains("may have arrived"), "{reason}");
}

#[tokio::test]
async fn a_cancelled_delivery_ends_at_once() {
    let server = server::raw(|mut stream, _| async move {
        server::request(&mut stream).await;
        server::closed(&mut stream).await;
    })
    .await;
    let cancel = CancellationToken::new();
    let runner = notify();
    let input = input("slack", &json!({"url": server.url("/")}), &json!({"title": "t"}));
    let running = engine::TaskRunner::run(&runner, handoff(&input), cancel.clone());
    let stop = async {
        while server.accepted() == 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(running, stop);
    failed(&outcome, OutcomeStatus::Failed);
}

#[tokio::test]
async fn what_can_never_be_sent_is_refused_with_its_reason() {
    let hook = json!({"url": "http://127.0.0.1:9/"});
    let cases = [
        (json!({}), "kind"),
        (json!({"kind": "pager"}), "notification"),
        (json!({"kind": "pager", "notification": {"title": "t"}}), "there is no kind"),
        (json!({"kind": "slack", "notification": {"title": "t"}}), "slack needs `url` or `token`"),
        (input("slack", &hook, &json!({})), "`title`"),
        (input("slack", &hook, &json!({"title": "t", "event": "boom"})), "`event` must be one of"),
        (input("slack", &hook, &json!({"title": "t", "severity": 9})), "`severity` must be one of"),
        (input("slack", &hook, &json!("text")), "must be an object"),
        (input("squadcast", &hook, &json!({"title": "t", "event": "resolve"})), "`dedup_key`"),
        (input("workflow", &json!({"name": "w"}), &json!({"title": "t"})), "SUB_WORKFLOW"),
        (
            input(
                "webhook",
                &json!({"url": "http://h/", "headers": {"a": "b\nc"}}),
                &json!({"title": "t"}),
            ),
            "`headers.a`",
        ),
    ];
    for (input, words) in cases {
        let reason = failed(&run(&notify(), &input).await, OutcomeStatus::FailedTerminally);
        assert!(reason.contains(words), "{input}: {reason}");
    }
}

/// The task in an engine: the inbox is a ledger of its store.
#[tokio::test]
async fn the_inbox_keeps_one_line_per_delivery() {
    let store = Arc::new(Memory::default());
    let runner = Arc::new(Notify::new(crate::http::http().client().clone()));
    let engine = house::open(Arc::clone(&store), vec![runner]).await;
    let notification = json!({
        "title": "The disk is full", "severity": "warning", "event": "reminder", "monitor": "disk",
        "labels": {"host": "db"}, "incident": "f1-3",
    });
    let task = json!({"name": "t", "taskReferenceName": "r", "type": "NOTIFY",
        "inputParameters": input("inbox", &json!({}), &notification)});
    let id = house::start(&engine, task, json!({"name": "t", "retryCount": 0})).await;
    let (status, output) = house::until(&engine, &id, |execution| {
        let output = execution.task(1).map(|task| task.output.parse());
        execution.status.is_closed().then_some((execution.status, output?))
    })
    .await;
    assert_eq!(status, Status::Completed);
    let page = store.records(&RecordSearch::newest("inbox")).await.unwrap();
    let [line] = &page.rows[..] else { panic!("{page:?}") };
    assert_eq!((line.ledger, &*line.subject, &*line.status), ("inbox", "disk", "reminder"));
    assert_eq!(output["reference"], *line.key);
    let body = line.body.parse();
    assert_eq!(body["title"], "[STILL WARNING] The disk is full");
    assert_eq!(body["incidents"], json!(["f1-3"]));
    assert_eq!(body["execution"], id.as_str());
    assert!(body["text"].as_str().unwrap().contains("host: db"), "{body}");
    engine.close().await.unwrap();
}
