//! Tells people directly, without the store, that the server cannot do its work: checks and
//! notifications are commits, so a full disk would silence all of them.
//!
//! What is needed for it is in memory: the definitions of receivers, and the runner that delivers to
//! them. Nothing is remembered; after a restart that finds the same problem, it is told again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kernel::alert::definition::File;
use kernel::alert::fingerprint;
use kernel::{Json, Timestamp};
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
/// Pause before a receiver that did not accept is tried again.
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

/// What a receiver was told last.
struct AlarmState {
    /// When it accepted the alarm; `None` if it has not.
    accepted: Option<Instant>,
    /// When it was tried last.
    tried: Instant,
}

impl Engine {
    /// Watches the health of the server, and tells the receivers for that when it is lost, from time
    /// to time while it is, and when it is back. Each is told by itself: one that does not accept is
    /// tried again and keeps it from no other.
    pub(crate) fn run_alarm(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let stop = engine.inner.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = engine.watch_health() => {}
            }
        });
    }

    async fn watch_health(&self) {
        let (mut bad_since, mut well_since) = (None, None);
        let mut told: BTreeMap<Arc<str>, AlarmState> = BTreeMap::new();
        let mut nobody: Option<Instant> = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let health = self.health();
            if health.is_healthy() {
                bad_since = None;
                let well_for = well_since.get_or_insert_with(Instant::now).elapsed();
                if well_for >= SETTLE {
                    told.retain(|_, told| told.accepted.is_some());
                    let due = told.iter().filter(|(_, told)| told.tried.elapsed() >= SETTLE);
                    let due: Vec<Arc<str>> = due.map(|(receiver, _)| receiver.clone()).collect();
                    let reason = "the server does its work again";
                    for (receiver, accepted) in self.sound("resolve", reason, due).await {
                        if accepted || self.defined_receiver(&receiver).is_none() {
                            told.remove(&receiver);
                        } else if let Some(told) = told.get_mut(&receiver) {
                            told.tried = Instant::now();
                        }
                    }
                }
                continue;
            }
            well_since = None;
            let bad_for = bad_since.get_or_insert_with(Instant::now).elapsed();
            if bad_for < self.inner.options.alarm_after {
                continue;
            }
            let reason = health.reason();
            let receivers = self.alarm_receivers(&self.monitors_file());
            if receivers.is_empty() && nobody.is_none_or(|at| at.elapsed() >= RETRY) {
                nobody = Some(Instant::now());
                tracing::error!(reason, "no alarm sent: the setting `alarm` names no receiver");
            }
            let (mut first, mut again) = (Vec::new(), Vec::new());
            for receiver in receivers {
                match told.get(&receiver) {
                    None => first.push(receiver),
                    Some(AlarmState { accepted: None, tried }) if tried.elapsed() >= RETRY => {
                        first.push(receiver);
                    }
                    Some(AlarmState { accepted: Some(at), tried })
                        if at.elapsed() >= REMIND && tried.elapsed() >= RETRY =>
                    {
                        again.push(receiver);
                    }
                    Some(_) => {}
                }
            }
            for (event, receivers) in [("trigger", first), ("reminder", again)] {
                for (receiver, accepted) in self.sound(event, &reason, receivers).await {
                    let now = Instant::now();
                    let before = told.get(&receiver).and_then(|told| told.accepted);
                    let accepted = if accepted { Some(now) } else { before };
                    told.insert(receiver, AlarmState { accepted, tried: now });
                }
            }
        }
    }

    /// Tells receivers at the same time; says which have accepted it.
    async fn sound(
        &self,
        event: &str,
        reason: &str,
        receivers: Vec<Arc<str>>,
    ) -> Vec<(Arc<str>, bool)> {
        let file = self.monitors_file();
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
        let (file, notification) = (&file, &notification);
        let deliveries = receivers.into_iter().map(|receiver| async move {
            let delivered = self.notify_directly(file, &receiver, notification).await;
            match &delivered {
                Ok(()) => {
                    tracing::warn!(%receiver, event, reason, "alarm about the server's state delivered");
                }
                Err(error) => {
                    tracing::error!(%receiver, reason, %error, "alarm delivery failed");
                }
            }
            (receiver, delivered.is_ok())
        });
        futures_util::future::join_all(deliveries).await
    }

    /// Who is told: the receivers that the configuration names, or else whoever the routes would
    /// tell of a critical incident of Nightbell's own monitor.
    fn alarm_receivers(&self, file: &File) -> Vec<Arc<str>> {
        let named = &self.inner.options.alarm;
        let mut receivers = if named.is_empty() { routed(file, self.now()) } else { named.clone() };
        let fallbacks = receivers.iter().filter_map(|it| file.receivers.get(it)?.fallback.clone());
        receivers.extend(fallbacks.collect::<Vec<_>>());
        receivers.retain(|it| {
            let kind = file.receivers.get(it).map(|receiver| &*receiver.kind);
            kind.is_some_and(|kind| !NEED_STORE.contains(&kind))
        });
        let mut seen = BTreeSet::new();
        receivers.retain(|receiver| seen.insert(receiver.clone()));
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
        // By this it would stand in line behind what the receiver is told otherwise.
        let managed = input.as_object_mut().and_then(|input| input.remove("delivery"));
        let secrets = managed.as_ref().and_then(|managed| managed.get("secrets")?.as_object());
        if let Some((name, _)) =
            secrets.and_then(|them| them.iter().find(|it| it.1.is_null() || it.1 == ""))
        {
            return Err(format!("the secret {name} is not set"));
        }
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
                traceparent: None,
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

/// The receivers of the first step that reaches anybody of the route that a critical incident of Nightbell's own monitor
/// takes; of people on call all by which they are reached.
fn routed(file: &File, now: Timestamp) -> Vec<Arc<str>> {
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
    let steps = route.map_or(&[][..], |route| &route.steps);
    let reached = steps.iter().map(|step| {
        let mut receivers = Vec::new();
        for name in &step.to {
            match file.roster.call(name, now) {
                Some(called) => receivers.extend(called.contacts.into_iter().map(|it| it.to)),
                None => receivers.push(name.clone()),
            }
        }
        receivers
    });
    reached.into_iter().find(|receivers| !receivers.is_empty()).unwrap_or_default()
}
