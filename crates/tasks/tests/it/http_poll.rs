//! Polling: what a condition sees and says, how long the pauses are, and what a restart changes.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get as on_get;
use engine::memory::Memory;
use engine::{Outcome, OutcomeStatus, TaskRunner};
use kernel::graph::{Status, TaskStatus};
use serde_json::{Value, json};
use tasks::http_poll::{HttpPoll, Settings};
use tasks::javascript::{JavaScript, Limits};
use tokio_util::sync::CancellationToken;

use crate::house;
use crate::http::{handoff, http, retriable, server, terminal};

fn runner() -> HttpPoll {
    let limits = Limits { time: Duration::from_secs(20), ..Limits::default() };
    HttpPoll::new(http().client().clone(), JavaScript::new(limits), Settings::default())
}

async fn poll(input: &Value, runs: u32) -> Outcome {
    let mut task = handoff(input);
    task.runs = runs;
    runner().run(task, CancellationToken::new()).await
}

/// Answers an object; counts how often.
async fn job() -> (server::Server, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let answer = move || async move {
        let n = counted.fetch_add(1, Ordering::SeqCst) + 1;
        json!({"n": n, "state": "RUNNING", "list": [1, 2]}).to_string()
    };
    (server::good(Router::new().route("/", on_get(answer))).await, calls)
}

fn again(seconds: u64) -> OutcomeStatus {
    OutcomeStatus::InProgress { again_after: Some(Duration::from_secs(seconds)) }
}

#[tokio::test]
async fn a_condition_sees_the_answer_and_the_input_and_decides() {
    use OutcomeStatus::{Completed, Failed, FailedTerminally};
    let (server, _) = job().await;
    let cases = [
        ("$.output.response.body.state === 'RUNNING'", Completed),
        ("(function(){ return $.output.response.body.list.length > 1; })();", Completed),
        ("$.output.body.list[1] == 2 && $.output.statusCode == 200", Completed),
        ("$.output.response.headers['Content-Type'].length == 1", Completed),
        ("$.input.http_request.method == 'GET' && $.limit == 5", Completed),
        ("if ($.output.response.body.n > 0) { true; } else { false; }", Completed),
        ("1", Completed),
        ("$.output.response.body.state === 'DONE'", again(60)),
        ("0", again(60)),
        ("$.output.response.body.missing", again(60)),
        ("null", again(60)),
        ("-1", Failed),
        ("2", FailedTerminally),
        ("'true'", FailedTerminally),
        ("$.output.response.body", FailedTerminally),
        ("$.output.nobody.home.here", FailedTerminally),
        ("not ( JavaScript", FailedTerminally),
    ];
    for (condition, expected) in cases {
        let outcome = poll(
            &json!({
                "http_request": {
                    "uri": server.url("/"), "method": "GET", "terminationCondition": condition,
                },
                "limit": 5,
            }),
            0,
        )
        .await;
        assert_eq!(outcome.status, expected, "{condition}: {outcome:?}");
        // Whatever the verdict, the answer is there to be looked at.
        assert_eq!(outcome.output.parse()["response"]["statusCode"], 200, "{condition}");
        let fails = matches!(expected, Failed | FailedTerminally);
        assert_eq!(outcome.reason.is_some(), fails, "{condition}");
    }
}

#[tokio::test]
async fn pauses_follow_the_strategy() {
    let (server, _) = job().await;
    let cases = [
        (json!({}), 0, 60),
        (json!({}), 900, 60),
        (json!({"pollingInterval": "7"}), 0, 7),
        (json!({"pollingInterval": 0}), 0, 1),
        (json!({"pollingInterval": 7, "pollingStrategy": "FIXED"}), 5, 7),
        (json!({"pollingInterval": 7, "pollingStrategy": "LINEAR_BACKOFF"}), 0, 7),
        (json!({"pollingInterval": 7, "pollingStrategy": "linear_backoff"}), 2, 21),
        (json!({"pollingInterval": 7, "pollingStrategy": "EXPONENTIAL_BACKOFF"}), 0, 7),
        (json!({"pollingInterval": 7, "pollingStrategy": "EXPONENTIAL_BACKOFF"}), 3, 56),
        (json!({"pollingInterval": 7, "pollingStrategy": "EXPONENTIAL_BACKOFF"}), 900, 3600),
        (json!({"pollingInterval": 7200, "pollingStrategy": "LINEAR_BACKOFF"}), 3, 7200),
    ];
    for (schedule, runs, expected) in cases {
        let mut input = json!({
            "uri": server.url("/"), "method": "GET", "terminationCondition": "false",
        });
        for (name, value) in schedule.as_object().unwrap() {
            input[name] = value.clone();
        }
        // The members may stand in the request or, for a flat input, in the input itself.
        for input in [json!({"http_request": input}), input] {
            let outcome = poll(&input, runs).await;
            assert_eq!(outcome.status, again(expected), "{input} after {runs}");
        }
    }
}

#[tokio::test]
async fn polls_are_counted_up_to_their_limit() {
    let (server, _) = job().await;
    let input = |most: Value| {
        json!({"http_request": {"uri": server.url("/"), "method": "GET",
            "terminationCondition": "false", "maxPollCount": most}})
    };
    assert_eq!(poll(&input(json!(3)), 1).await.status, again(60));
    assert_eq!(poll(&input(Value::Null), 998).await.status, again(60));
    for (most, runs, words) in [(json!(3), 2, "3 polls"), (Value::Null, 999, "1000 polls")] {
        let outcome = poll(&input(most), runs).await;
        assert_eq!(outcome.status, OutcomeStatus::Failed);
        let reason = outcome.reason.unwrap();
        assert!(reason.contains(words) && reason.contains("maxPollCount"), "{reason}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_success_fails_the_task_as_it_does_for_http() {
    let server = server::answering("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").await;
    let mut input = json!({"http_request": {"uri": server.url("/"), "method": "GET",
        "terminationCondition": "$.output.response.statusCode == 200"}});
    retriable(&poll(&input, 0).await, "HTTP_STATUS");
    input["http_request"]["acceptedStatusCodes"] = json!(["2xx", "404"]);
    assert_eq!(poll(&input, 0).await.status, again(60));

    let busy = "HTTP/1.1 429 No\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n";
    let server = server::answering(busy).await;
    input["http_request"]["uri"] = json!(server.url("/"));
    let outcome = poll(&input, 0).await;
    assert_eq!(outcome.status, OutcomeStatus::FailedFor(Duration::from_secs(9)));
}

#[tokio::test]
async fn what_cannot_be_polled_is_refused_without_a_call() {
    let (server, calls) = job().await;
    let whole = json!({"uri": server.url("/"), "method": "GET", "terminationCondition": "true"});
    let cases = [
        ("terminationCondition", Value::Null),
        ("terminationCondition", json!({})),
        ("terminationCondition", json!(" ")),
        ("pollingStrategy", json!("SOMETIMES")),
        ("pollingInterval", json!("soon")),
        ("pollingInterval", json!(-5)),
        ("maxPollCount", json!(1.5)),
    ];
    for (name, value) in cases {
        let mut input = whole.clone();
        input[name] = value;
        let reason = terminal(&poll(&json!({"http_request": input}), 0).await, "INVALID_INPUT");
        assert!(reason.contains(name), "{reason}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_filter_applies_to_what_is_shown_and_not_to_the_condition() {
    let (server, _) = job().await;
    for (condition, expected) in [("false", again(60)), ("true", OutcomeStatus::Completed)] {
        let input = json!({
            "http_request": {
                "uri": server.url("/"), "method": "GET",
                "terminationCondition": format!("$.output.response.body.list.length == 2 && {condition}"),
            },
            "outputFilter": {"_secrets": {"state": "${self.output.response.body.state}"}},
        });
        let outcome = poll(&input, 0).await;
        assert_eq!(outcome.status, expected);
        assert_eq!(outcome.output.parse(), json!({"_secrets": {"state": "RUNNING"}}));
    }
}

fn task(server: &server::Server, condition: &str, most: u32) -> Value {
    json!({"name": "t", "taskReferenceName": "r", "type": "HTTP_POLL", "inputParameters": {
        "http_request": {"uri": server.url("/"), "method": "GET", "pollingInterval": 1,
            "terminationCondition": condition, "maxPollCount": most},
    }})
}

#[tokio::test]
async fn polling_goes_on_until_the_condition_holds() {
    let (server, calls) = job().await;
    let engine = house::open(Arc::default(), vec![Arc::new(runner())]).await;
    let task = task(&server, "$.output.response.body.n >= 2", 5);
    let id = house::start(&engine, task, json!({"name": "t"})).await;
    let (status, output) = house::until(&engine, &id, |execution| {
        execution.status.is_closed().then(|| (execution.status, execution.output.parse()))
    })
    .await;
    assert_eq!(status, Status::Completed);
    assert_eq!(output["response"]["body"]["n"], 2);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    engine.close().await.unwrap();
}

#[test]
fn a_crash_does_not_start_the_count_anew() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let (serving, crashing) = (runtime(), runtime());
    let (server, calls) = serving.block_on(job());
    let store = Arc::new(Memory::new());
    let id = crashing.block_on(async {
        let engine = house::open(Arc::clone(&store), vec![Arc::new(runner())]).await;
        let policy = json!({"name": "t", "retryCount": 0});
        let id = house::start(&engine, task(&server, "false", 2), policy).await;
        house::until(&engine, &id, |execution| {
            let task = execution.task(1)?;
            (task.poll_count == 1 && task.status == TaskStatus::Scheduled).then_some(())
        })
        .await;
        id
    });
    // Everything that the engine was doing stops in the middle; the store is all that is left.
    crashing.shutdown_background();

    runtime().block_on(async {
        let engine = house::open(store, vec![Arc::new(runner())]).await;
        let (reason, polls) = house::until(&engine, &id, |execution| {
            let task = execution.task(1)?;
            let ended = execution.status.is_closed();
            ended.then(|| Some((task.reason.clone()?, task.poll_count))).flatten()
        })
        .await;
        assert!(reason.contains("2 polls"), "{reason}");
        assert_eq!(polls, 2);
    });
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}
