//! Tells people directly, without the store, that the server cannot do its work: checks and
//! notifications are commits, so a full disk would silence all of them.
//!
//! What is needed for it is in memory: the definitions of receivers, and the runner that delivers to
//! them. Nothing is remembered; after a restart that finds the same problem, it is told again.

use std::sync::Arc;
use std::time::Duration;

use kernel::Json;
use kernel::alert::definition::File;
use kernel::alert::fingerprint;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::monitors::OWN_MONITOR;
use crate::runner::{Handoff, OutcomeStatus};

/// Pause between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is told again while it lasts.
const REMIND: Duration = Duration::from_hours(1);
/// Pause before it is tried again to tell somebody, when nobody could be told.
const RETRY: Duration = Duration::from_mins(1);
/// How long all must be well before that is told.
const SETTLE: Duration = Duration::from_mins(1);
/// Attempts at one receiver.
const ATTEMPTS: u32 = 3;
/// Pause between two of them.
const AGAIN: Duration = Duration::from_secs(5);
/// How long one attempt may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(30);
/// The key of the alarm, among those of Nightbell's own monitor.
const KEY: &str = "server";
/// Kinds of receivers that are executions or rows of the store themselves.
const NEED_STORE: [&str; 2] = ["workflow", "inbox"];

impl Engine {
    /// Watches the health of the server, and tells the receivers for that when it is lost, from time
    /// to time while it is, and when it is back.
    pub(crate) fn run_alarm(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let (mut bad_since, mut well_since) = (None, None);
            // When somebody was last told, and when that was last tried.
            let (mut told, mut tried): (Option<Instant>, Option<Instant>) = (None, None);
            loop {
                tokio::select! {
                    biased;
                    () = engine.inner.stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
                let health = engine.health();
                if health.is_healthy() {
                    bad_since = None;
                    let well_for = well_since.get_or_insert_with(Instant::now).elapsed();
                    if well_for >= SETTLE && told.take().is_some() {
                        tried = None;
                        engine.sound("resolve", "the server does its work again").await;
                    }
                    continue;
                }
                well_since = None;
                let bad_for = bad_since.get_or_insert_with(Instant::now).elapsed();
                let pause = if told.is_some() { REMIND } else { RETRY };
                let due = tried.is_none_or(|at| at.elapsed() >= pause);
                if bad_for >= engine.inner.options.alarm_after && due {
                    tried = Some(Instant::now());
                    let event = if told.is_some() { "reminder" } else { "trigger" };
                    if engine.sound(event, &health.reason()).await > 0 {
                        told = Some(Instant::now());
                    }
                }
            }
        });
    }

    /// Tells all receivers of alarms; says how many have accepted it.
    async fn sound(&self, event: &str, reason: &str) -> usize {
        let file = self.monitors_file();
        let receivers = self.alarm_receivers(&file);
        if receivers.is_empty() {
            tracing::error!(reason, "nobody can be told of this: no receiver is named by alarm");
        }
        let now = self.now();
        let notification = json!({
            "event": event,
            "dedup_key": fingerprint(OWN_MONITOR, KEY),
            "delivery": format!("{OWN_MONITOR}/{KEY}/{}", now.millis()),
            "at": now.to_string(),
            "monitor": OWN_MONITOR,
            "key": KEY,
            "severity": "critical",
            "title": format!("{OWN_MONITOR}: {reason}"),
            "text": format!("{reason}. The server sent this directly, without its store."),
            "since": now.to_string(),
            "labels": {},
            "attrs": {},
        });
        let mut accepted = 0;
        for receiver in receivers {
            match self.notify_directly(&file, &receiver, &notification).await {
                Ok(()) => {
                    accepted += 1;
                    tracing::warn!(%receiver, event, reason, "told directly of the server's state");
                }
                Err(error) => {
                    tracing::error!(%receiver, reason, %error, "the alarm was not delivered");
                }
            }
        }
        accepted
    }

    /// Who is told: the receivers that the configuration names, or else whoever the routes would
    /// tell of a critical incident of Nightbell's own monitor.
    fn alarm_receivers(&self, file: &File) -> Vec<Arc<str>> {
        let named = &self.inner.options.alarm;
        let mut receivers = if named.is_empty() { routed(file) } else { named.clone() };
        let fallbacks = receivers.iter().filter_map(|it| file.receivers.get(it)?.fallback.clone());
        receivers.extend(fallbacks.collect::<Vec<_>>());
        receivers.retain(|it| {
            let kind = file.receivers.get(it).map(|receiver| &*receiver.kind);
            kind.is_some_and(|kind| !NEED_STORE.contains(&kind))
        });
        receivers.dedup();
        receivers
    }

    /// Delivers one notification to one receiver from memory, without an execution.
    ///
    /// # Errors
    /// Why it was not accepted, in a sentence.
    pub async fn notify_directly(
        &self,
        file: &File,
        receiver: &str,
        notification: &Value,
    ) -> Result<(), String> {
        let defined = file.receivers.get(receiver);
        let defined = defined.ok_or_else(|| format!("there is no receiver {receiver}"))?;
        let runner = self.inner.runners.get("NOTIFY").cloned();
        let runner = runner.ok_or("this server delivers no notifications")?;
        let definition = defined.definition(receiver);
        // What the receiver's author wrote may name secrets; what the notification says may not.
        let written = Json::of(&definition["tasks"][0]["inputParameters"]);
        let mut input = self.inner.vault.resolve_written(&written).parse();
        input["notification"] = notification.clone();
        let input = Json::of(&input);
        let id = notification["delivery"].as_str().unwrap_or_default();
        let mut problem = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(AGAIN).await;
            }
            let handoff = Handoff {
                task_id: format!("{id}/{receiver}"),
                execution_id: format!("{id}/{receiver}"),
                reference: "notify".to_owned(),
                input: input.clone(),
                attempt,
                runs: 0,
                async_complete: false,
            };
            let run = runner.run(handoff, CancellationToken::new());
            let Ok(outcome) = tokio::time::timeout(ATTEMPT_MAX, run).await else {
                problem = format!("no answer within {} s", ATTEMPT_MAX.as_secs());
                continue;
            };
            match outcome.status {
                OutcomeStatus::Completed => return Ok(()),
                OutcomeStatus::FailedTerminally => {
                    return Err(outcome.reason.unwrap_or_else(|| "it was refused".to_owned()));
                }
                _ => problem = outcome.reason.unwrap_or_else(|| "it was not accepted".to_owned()),
            }
        }
        Err(problem)
    }
}

/// The receivers of the first step of the route that a critical incident of Nightbell's own monitor
/// takes.
fn routed(file: &File) -> Vec<Arc<str>> {
    let value = |label: &str| match label {
        "monitor" => OWN_MONITOR,
        "key" => KEY,
        "severity" => "critical",
        _ => "",
    };
    let fits = |route: &&kernel::alert::definition::Route| {
        route.matchers.iter().all(|matcher| matcher.matches(value(&matcher.label)))
    };
    let route = file.routes.iter().find(fits);
    route.and_then(|route| route.steps.first()).map(|step| step.to.clone()).unwrap_or_default()
}
