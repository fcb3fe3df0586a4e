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
    service_asking("7", answers).await
}

/// The same, which asks for a pause.
async fn service_asking(retry_after: &'static str, answers: Vec<Answer>) -> (server::Server, Seen) {
    let seen = Seen::default();
    let memory = Arc::clone(&seen);
    let take = move |uri: Uri, _: HeaderMap, body: Bytes| async move {
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let mut seen = memory.lock().unwrap();
        let (status, body_back) = answers[seen.len().min(answers.len() - 1)];
        seen.push((uri.to_string(), body));
        let headers = [("retry-after", retry_after), ("location", "/elsewhere")];
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
    let ok = r#"{"status":"success"}"#;
    let (server, seen) = service(vec![(202, ok), (400, r#"{"message":"no"}"#), (202, ok)]).await;
    let settings = json!({"key": "R", "base_url": server.url("")});
    let outcome = tell("pagerduty", settings, group()).await;
    let reason = failed(&outcome, OutcomeStatus::FailedTerminally);
    assert!(reason.starts_with("noc (pagerduty): 127.0.0.1: it answered 400"), "{reason}");
    assert_eq!(keys(&seen), ["a", "b", "c"]);
    let output = outcome.output.parse();
    assert_eq!(output["response"], r#"{"message":"no"}"#);
    assert_eq!(output["answers"][1], json!({"key": "b", "status": 400, "verdict": "permanent"}));
}

/// A backlog in the line ends each run after its first call: the next run goes on behind it.
#[tokio::test]
async fn one_refused_member_does_not_hold_up_the_others_in_a_slow_line() {
    let ok = r#"{"status":"success"}"#;
    let (server, seen) = service(vec![(400, r#"{"message":"no"}"#), (202, ok)]).await;
    let settings = json!({"key": "R", "base_url": server.url("")});
    // Another rate begins the line anew: so each run has a turn, and a second call has to wait.
    let rate = |run: u64| json!({"rate": {"count": 1, "per": 600_000 + run}});
    let runner = notify();
    for number in 0..2 {
        let waits = run(&runner, &managed("pagerduty", &settings, group(), &rate(number))).await;
        assert!(again(&waits).is_some(), "run {number}: {waits:?}");
    }
    let last = run(&runner, &managed("pagerduty", &settings, group(), &rate(2))).await;
    let reason = failed(&last, OutcomeStatus::FailedTerminally);
    assert!(reason.contains("it answered 400"), "{reason}");
    assert_eq!(keys(&seen), ["a", "b", "c"]);
    // Who runs it anew has put something right: what was refused is sent again, and only that.
    sent(&run(&runner, &managed("pagerduty", &settings, group(), &rate(3))).await);
    assert_eq!(keys(&seen), ["a", "b", "c", "a"]);
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

/// The token is asked for before each message; what keeps it from being given is said, and tried again only
/// where that may help.
#[tokio::test]
async fn an_app_of_lark_signs_in_before_it_sends() {
    let settings = |url: String| {
        json!({"app_id": "cli_1", "app_secret": "s3cret", "chat": "oc_1", "style": "card",
            "base_url": url})
    };
    let token = r#"{"code":0,"msg":"ok","tenant_access_token":"t-1","expire":7200}"#;
    let ok = r#"{"code":0,"msg":"success","data":{"message_id":"om_1"}}"#;
    let heard: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let memory = heard.clone();
    let take = move |headers: HeaderMap, body: Bytes| async move {
        let by = headers.get("authorization").map_or("", |it| it.to_str().unwrap());
        let answer = if by.is_empty() { token } else { ok };
        memory.lock().unwrap().push((by.to_owned(), serde_json::from_slice(&body).unwrap()));
        answer
    };
    let server = server::good(Router::new().fallback(take)).await;
    let output = sent(&tell("lark", settings(server.url("")), json!({"title": "t"})).await);
    assert_eq!(output["reference"], "om_1");
    {
        let heard = heard.lock().unwrap();
        let [(nobody, asked), (by, told)] = &heard[..] else { panic!("two requests: {heard:?}") };
        assert_eq!(asked, &json!({"app_id": "cli_1", "app_secret": "s3cret"}));
        assert_eq!((nobody.as_str(), by.as_str()), ("", "Bearer t-1"));
        assert_eq!(
            (&told["receive_id"], &told["msg_type"]),
            (&json!("oc_1"), &json!("interactive"))
        );
        let card: Value = serde_json::from_str(told["content"].as_str().unwrap()).unwrap();
        assert_eq!(card["header"]["title"]["content"], "CRITICAL t");
        assert!(told["uuid"].as_str().is_some_and(|it| !it.is_empty() && it.len() <= 50), "{told}");
    }
    let wrong = r#"{"code":10014,"msg":"app secret invalid"}"#;
    let (server, seen) = service(vec![(200, wrong)]).await;
    let outcome = tell("lark", settings(server.url("")), json!({"title": "t"})).await;
    let reason = failed(&outcome, OutcomeStatus::FailedTerminally);
    assert!(reason.contains("app_secret") && !reason.contains("s3cret"), "{reason}");
    assert_eq!(seen.lock().unwrap().len(), 1, "nothing is sent without a token");
    let (server, _) = service(vec![(503, "")]).await;
    let outcome = tell("lark", settings(server.url("")), json!({"title": "t"})).await;
    failed(&outcome, OutcomeStatus::FailedFor(Duration::from_secs(7)));
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
    // By the inbox it is found; the monitor is in it.
    assert_eq!((line.ledger, &*line.subject, &*line.status), ("inbox", "noc", "reminder"));
    assert_eq!(line.body.parse()["monitor"], "disk");
    assert_eq!(output["reference"], *line.key);
    let body = line.body.parse();
    assert_eq!(body["title"], "STILL WARNING The disk is full");
    assert_eq!(body["incidents"], json!(["f1-3"]));
    assert_eq!(body["execution"], id.as_str());
    assert!(body["text"].as_str().unwrap().contains("host: db"), "{body}");
    engine.close().await.unwrap();
}

/// As deliveries of monitors are made: in the line of their receiver.
fn managed(kind: &str, settings: &Value, notification: Value, delivery: &Value) -> Value {
    let mut input = input(kind, settings, &notification);
    input["delivery"] = delivery.clone();
    input
}

fn numbered(number: usize) -> Value {
    json!({
        "title": format!("disk {number} is full"), "dedup_key": format!("k{number}"),
        "monitor": "disks", "delivery": format!("disks/{number}"),
    })
}

/// The pause until it is run again, if it is to be.
fn again(outcome: &engine::Outcome) -> Option<Duration> {
    match outcome.status {
        OutcomeStatus::InProgress { again_after } => again_after,
        OutcomeStatus::Completed => None,
        other => panic!("{other:?}: {outcome:?}"),
    }
}

#[tokio::test]
async fn a_delivery_that_fails_is_run_again_and_its_receiver_left_alone() {
    let (server, seen) = service(vec![(503, ""), (200, "ok")]).await;
    let settings = json!({"url": server.url("/")});
    let runner = notify();
    let first = run(&runner, &managed("slack", &settings, numbered(1), &json!({}))).await;
    let pause = again(&first).expect("it is made again");
    assert!(pause >= Duration::from_secs(7), "{pause:?}: the service asked for 7 s");
    assert!(first.reason.as_deref().unwrap().contains("503"), "{first:?}");
    // The pause that the service asked for counts for what else it is to be told.
    let other = run(&runner, &managed("slack", &settings, numbered(2), &json!({}))).await;
    let left = again(&other).expect("it waits, too");
    assert!(left > Duration::ZERO && left <= pause.mul_f64(1.1), "{left:?} of {pause:?}");
    assert_eq!((other.reason, seen.lock().unwrap().len()), (None, 1));
    // A test goes at once; that it arrives is known to the line, too.
    let mut test = numbered(3);
    test["event"] = "test".into();
    sent(&run(&runner, &managed("slack", &settings, test, &json!({}))).await);
    let other = run(&runner, &managed("slack", &settings, numbered(2), &json!({}))).await;
    sent(&other);
}

/// `Retry-After` may say a day. Nobody may have to wait for its end, and that the receiver takes
/// nothing is known at once.
#[tokio::test]
async fn a_service_that_asks_for_a_day_is_broken_and_asked_again_within_minutes() {
    for (status, receiver) in [(503, "away"), (429, "full")] {
        let (server, _) = service_asking("86400", vec![(status, "")]).await;
        let runner = Arc::new(Notify::new(crate::http::http().client().clone()));
        let engine = house::open(Arc::new(Memory::default()), vec![runner]).await;
        let mut input = managed("slack", &json!({"url": server.url("/")}), numbered(1), &json!({}));
        input["receiver"] = receiver.into();
        let task = json!({"name": "t", "taskReferenceName": "r", "type": "NOTIFY",
            "inputParameters": input});
        let id = house::start(&engine, task, json!({"name": "t", "retryCount": 0})).await;
        // Its callback is what it waits for.
        let seconds = house::until(&engine, &id, |execution| {
            let task = execution.task(1)?;
            let tried = task.output.parse()["requests"] == 1;
            tried.then_some(task.callback_after)
        });
        let seconds = seconds.await;
        assert!((1..=331).contains(&seconds), "{receiver}: {seconds} s");
        assert!(engine.broken_receivers().contains_key(receiver), "{receiver}");
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_must_be_sent_again_goes_at_the_receivers_rate() {
    let (server, seen) = service(vec![(202, r#"{"status":"success"}"#)]).await;
    let settings = json!({"key": "R", "base_url": server.url("")});
    // One in five minutes; what is further away than a look is only known to be so.
    let rate = json!({"rate": {"count": 2, "per": 600_000}});
    let runner = warm("http://127.0.0.1:9/").await;
    let mut waits = Vec::new();
    for number in 0..5 {
        let input = managed("pagerduty", &settings, numbered(number), &rate);
        waits.extend(again(&run(&runner, &input).await));
    }
    let told = keys(&seen);
    assert_eq!(told, ["k0", "k1"], "two in ten minutes, and these at once");
    assert_eq!(waits.len(), 3, "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(50)), "{waits:?}");
}

/// A runner that has loaded the certificates of the system, which takes seconds on a busy machine.
async fn warm(url: &str) -> Notify {
    let runner = notify();
    let input = input("webhook", &json!({"url": url}), &json!({"title": "t", "event": "test"}));
    // What comes of it is not asked.
    drop(run(&runner, &input).await);
    runner
}

#[tokio::test]
async fn a_storm_is_told_in_summaries_that_name_every_message() {
    let (server, seen) = service(vec![(200, "ok")]).await;
    let settings = json!({"url": server.url("/"), "title": "one: {{ title }}"});
    // One in five hundred seconds, so that all but the first wait; then as fast as can be.
    let slow = json!({"rate": {"count": 1, "per": 500_000}});
    let fast = json!({"rate": {"count": 10_000, "per": 1}});
    let runner = notify();
    let count = 30;
    for number in 0..count {
        run(&runner, &managed("slack", &settings, numbered(number), &slow)).await;
    }
    assert_eq!(seen.lock().unwrap().len(), 1);
    let mut open: Vec<usize> = (1..count).collect();
    for _ in 0..10 {
        let mut left = Vec::new();
        for number in open {
            let input = managed("slack", &settings, numbered(number), &fast);
            if again(&run(&runner, &input).await).is_some() {
                left.push(number);
            }
        }
        open = left;
        if open.is_empty() {
            break;
        }
    }
    assert!(open.is_empty(), "{open:?} were not told");
    let seen = seen.lock().unwrap();
    let said: Vec<String> = seen.iter().map(|(_, body)| body.to_string()).collect();
    for number in 0..count {
        let named = format!("disk {number} is full");
        assert_eq!(said.iter().filter(|it| it.contains(&named)).count(), 1, "{named} in {said:?}");
    }
    assert!(said.len() < 15, "{} messages", said.len());
    assert!(said[1].contains("20 messages at once: 20 CRITICAL"), "{}", said[1]);
}

#[tokio::test]
async fn a_storm_is_told_one_by_one_where_alerts_have_keys() {
    let (server, seen) = service(vec![(202, r#"{"status":"success"}"#)]).await;
    let settings = json!({"key": "R", "base_url": server.url("")});
    let fast = json!({"rate": {"count": 10_000, "per": 1}});
    let runner = notify();
    for number in 0..30 {
        sent(&run(&runner, &managed("pagerduty", &settings, numbered(number), &fast)).await);
    }
    let mut told = keys(&seen);
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 30);
}

#[tokio::test]
async fn groups_are_told_in_their_order_however_they_are_run() {
    let (server, seen) = service(vec![(200, "ok")]).await;
    let settings = json!({"url": server.url("/")});
    let runner = warm("http://127.0.0.1:9/").await;
    let group = |number: usize| {
        let mut told = numbered(number);
        if number > 0 {
            told["follows"] = format!("disks/{}", number - 1).into();
        }
        managed("slack", &settings, told, &json!({}))
    };
    let inputs = [group(2), group(1), group(0)];
    let (last, middle, first) =
        tokio::join!(run(&runner, &inputs[0]), run(&runner, &inputs[1]), run(&runner, &inputs[2]));
    for outcome in [last, middle, first] {
        sent(&outcome);
    }
    let seen = seen.lock().unwrap();
    let texts: Vec<&str> = seen.iter().map(|(_, body)| body["text"].as_str().unwrap()).collect();
    let order = ["disk 0", "disk 1", "disk 2"];
    assert!(texts.iter().zip(order).all(|(text, disk)| text.contains(disk)), "{texts:?}");
}

#[tokio::test]
async fn a_secret_that_is_not_set_is_named_and_nothing_is_sent() {
    let (server, seen) = service(vec![(200, r#"{"code":0}"#)]).await;
    let settings = json!({"url": server.url("/"), "sign": null});
    let secrets = json!({"secrets": {"LARK_SIGN": null}});
    let outcome = run(&notify(), &managed("lark", &settings, numbered(1), &secrets)).await;
    let reason = failed(&outcome, OutcomeStatus::FailedTerminally);
    assert!(reason.contains("the secret LARK_SIGN is not set"), "{reason}");
    // Also where nobody says which secret it was.
    let outcome = tell("lark", settings, json!({"title": "t"})).await;
    let reason = failed(&outcome, OutcomeStatus::FailedTerminally);
    assert!(reason.contains("unsigned"), "{reason}");
    assert_eq!(seen.lock().unwrap().len(), 0);
}

/// What was told of spans: their names, and what was recorded of them.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

impl tracing::field::Visit for Spans {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.lock().unwrap().push(format!("{field}={value:?}"));
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Spans {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        if attributes.metadata().target().starts_with("tasks") {
            self.0.lock().unwrap().push(attributes.metadata().name().to_owned());
            attributes.record(&mut self.clone());
        }
    }

    fn on_record(
        &self,
        _: &tracing::span::Id,
        values: &tracing::span::Record<'_>,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        values.record(&mut self.clone());
    }
}

#[tokio::test]
async fn a_trace_tells_of_each_attempt_at_a_delivery() {
    use tracing_subscriber::layer::SubscriberExt as _;
    let spans = Spans::default();
    let listener = tracing_subscriber::registry().with(spans.clone());
    let _listens = tracing::subscriber::set_default(listener);
    let (server, _) = service(vec![(200, "ok")]).await;
    let notification = json!({"title": "card 4111", "incident": "f1-3"});
    let outcome = tell("webhook", json!({"url": server.url("/s3cret")}), notification).await;
    sent(&outcome);
    let told = spans.0.lock().unwrap().clone();
    assert_eq!(told, ["delivery", "attempt=0", "run=0", "receiver=\"noc\"", "incident=\"f1-3\""]);
}
