//! The HTTP task against real servers on the loopback interface.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(clippy::needless_pass_by_value, reason = "inputs are written on the spot")]

mod answers;
mod attacks;
mod failures;
mod filters;
mod hedging;
mod requests;
pub(crate) mod server;
pub(crate) mod tls;

use std::time::Duration;

use engine::{Handoff, Outcome, OutcomeStatus, TaskRunner};
use kernel::Json;
use serde_json::{Value, json};
use tasks::http::{Http, Settings};
use tokio_util::sync::CancellationToken;

/// Settings that no proxy of the machine can disturb.
pub(crate) fn settings() -> Settings {
    Settings { environment_proxy: false, ..Settings::default() }
}

pub(crate) fn http() -> Http {
    Http::new(settings()).unwrap()
}

pub(crate) fn handoff(input: &Value) -> Handoff {
    Handoff {
        task_id: "task".to_owned(),
        execution_id: "execution".to_owned(),
        reference: "call".to_owned(),
        input: Json::of(input),
        attempt: 0,
        runs: 0,
        traceparent: None,
        async_complete: false,
    }
}

async fn run_on(http: &Http, input: Value) -> Outcome {
    let running = http.run(handoff(&input), CancellationToken::new());
    // Only so that a hang fails the test instead of stopping it.
    let outcome = tokio::time::timeout(Duration::from_secs(30), running).await;
    outcome.expect("a call ends by itself")
}

async fn run(input: Value) -> Outcome {
    run_on(&http(), input).await
}

async fn get(url: String) -> Outcome {
    run(json!({"uri": url, "method": "GET"})).await
}

#[track_caller]
pub(crate) fn completed(outcome: &Outcome) -> Value {
    assert_eq!(outcome.status, OutcomeStatus::Completed, "{outcome:?}");
    assert_eq!(outcome.reason, None);
    outcome.output.parse()["response"].clone()
}

/// Checks the status and the code; answers the reason.
#[track_caller]
pub(crate) fn failed(outcome: &Outcome, status: OutcomeStatus, code: &str) -> String {
    assert_eq!(outcome.status, status, "{outcome:?}");
    let output = outcome.output.parse();
    assert_eq!(output["error"]["code"], code, "{outcome:?}");
    assert!(output["response"].is_string(), "{outcome:?}");
    let reason = outcome.reason.clone().expect("a failure has a reason");
    assert_eq!(output["error"]["message"], reason);
    reason
}

#[track_caller]
pub(crate) fn retriable(outcome: &Outcome, code: &str) -> String {
    failed(outcome, OutcomeStatus::Failed, code)
}

#[track_caller]
pub(crate) fn terminal(outcome: &Outcome, code: &str) -> String {
    failed(outcome, OutcomeStatus::FailedTerminally, code)
}
