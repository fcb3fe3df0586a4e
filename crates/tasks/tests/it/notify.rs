//! The notifiers: what they send, what they make of answers, and deliveries to stand-ins.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(clippy::needless_pass_by_value, reason = "inputs are written on the spot")]

mod answering;
mod answers;
mod delivery;
mod golden;
mod mail;
mod settings;

use engine::{Outcome, OutcomeStatus, TaskRunner};
use serde_json::{Value, json};
use tasks::notify::Notify;
use tokio_util::sync::CancellationToken;

use crate::http::{handoff, http};

fn notify() -> Notify {
    Notify::new(http().client().clone())
}

fn input(kind: &str, settings: &Value, notification: &Value) -> Value {
    json!({"kind": kind, "settings": settings, "receiver": "noc", "notification": notification})
}

async fn run(runner: &Notify, input: &Value) -> Outcome {
    let running = runner.run(handoff(input), CancellationToken::new());
    // Only so that a hang fails the test instead of stopping it.
    let outcome = tokio::time::timeout(std::time::Duration::from_mins(1), running).await;
    outcome.expect("a delivery ends by itself")
}

async fn tell(kind: &str, settings: Value, notification: Value) -> Outcome {
    run(&notify(), &input(kind, &settings, &notification)).await
}

#[track_caller]
fn sent(outcome: &Outcome) -> Value {
    assert_eq!(outcome.status, OutcomeStatus::Completed, "{outcome:?}");
    assert_eq!(outcome.reason, None);
    outcome.output.parse()
}

/// Checks the status; answers the reason.
#[track_caller]
fn failed(outcome: &Outcome, status: OutcomeStatus) -> String {
    assert_eq!(outcome.status, status, "{outcome:?}");
    let reason = outcome.reason.clone().expect("a failure has a reason");
    assert_eq!(outcome.output.parse()["error"]["message"], reason);
    reason
}
