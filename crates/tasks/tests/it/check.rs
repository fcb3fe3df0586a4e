//! The checks of monitors, against real servers and against stand-ins that fail as servers do.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(clippy::needless_pass_by_value, reason = "inputs are written on the spot")]

mod attacks;
mod composite;
mod dovecot;
mod email;
mod influx;
mod job;
mod net;
mod prometheus;
mod service;
mod sql;
mod web;

use std::time::Duration;

use engine::{Outcome, OutcomeStatus};
use serde_json::{Value, json};
use tasks::registry::{Settings, runners};
use tokio_util::sync::CancellationToken;

use crate::http::{handoff, settings};

/// 2026-03-10T12:00:00Z, on which day clocks in New York show 08:00.
const NOON: i64 = 1_773_144_000_000;

/// Runs a check with these settings and these members beside them.
async fn run(kind: &str, check: Value, beside: Value) -> Outcome {
    let mut input = json!({
        "settings": check, "monitor": "m",
        "window": { "from_ms": NOON - 300_000, "to_ms": NOON, "seconds": 300 },
    });
    for (name, value) in beside.as_object().unwrap() {
        input[name] = value.clone();
    }
    let mut known = Settings { http: settings(), ..Settings::default() };
    let jane = json!({ "user": "jane" }).as_object().unwrap().clone();
    known.check.sources.put("reports", jane);
    known.sql.urls_in_inputs = true;
    let runners = runners(&known).unwrap();
    let runner = runners.iter().find(|runner| runner.task_type() == kind).expect("it is known");
    let running = runner.run(handoff(&input), CancellationToken::new());
    tokio::time::timeout(Duration::from_mins(1), running).await.expect("a check ends by itself")
}

/// What asks sources about the past.
fn history() -> tasks::check::History {
    let known = Settings { http: settings(), ..Settings::default() };
    tasks::registry::history(&known).unwrap()
}

/// All observations.
#[track_caller]
fn all(outcome: &Outcome) -> Vec<Value> {
    assert_eq!(outcome.status, OutcomeStatus::Completed, "{outcome:?}");
    outcome.output.parse()["observations"].as_array().unwrap().clone()
}

/// The only observation, and that its status is this.
#[track_caller]
fn only(outcome: &Outcome, status: &str) -> Value {
    let mut all = all(outcome);
    assert_eq!(all.len(), 1, "{outcome:?}");
    let only = all.remove(0);
    assert_eq!(only["status"], status, "{outcome:?}");
    only
}

/// Why nobody can tell.
#[track_caller]
fn unknown(outcome: &Outcome, part: &str) {
    assert_eq!(outcome.status, OutcomeStatus::Failed, "{outcome:?}");
    let reason = outcome.reason.as_deref().unwrap();
    assert!(reason.contains(part), "{reason:?} does not say {part:?}");
}

/// That the settings are at fault.
#[track_caller]
fn wrong(outcome: &Outcome, part: &str) {
    assert_eq!(outcome.status, OutcomeStatus::FailedTerminally, "{outcome:?}");
    let reason = outcome.reason.as_deref().unwrap();
    assert!(reason.contains(part), "{reason:?} does not say {part:?}");
}
