//! What is watched and who is told: checks that see what is so, or do not; receivers that keep one
//! alert per key, and do not always say what they did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::store::Commit;
use engine::{Handoff, Outcome, OutcomeStatus, TaskRunner};
use kernel::alert::Monitor;
use kernel::alert::definition::{ChecklistOptions, File, load};
use kernel::{ExecutionId, Json, MachineKind};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::ports::{HANGS, key_of};
use super::world::{State, World};
use crate::auditor::Objection;
use crate::random::Random;

/// Monitors and their keys.
pub(super) const MONITORS: [(&str, &[&str]); 3] =
    [("web", &[""]), ("net", &["a", "b"]), ("app", &[""])];
/// Those who are told.
pub(super) const RECEIVERS: [&str; 2] = ["pager", "chat"];

/// Everything that checks and deliveries meet.
pub(super) struct Outside {
    /// The file that defines it all, as people write it.
    text: String,
    /// What is so, by monitor and key.
    truth: BTreeMap<(&'static str, &'static str), &'static str>,
    /// Receivers that refuse for good.
    refusing: BTreeSet<&'static str>,
    /// Alerts that ring, by receiver and dedup key.
    ringing: BTreeMap<(String, String), Alert>,
    /// Deliveries that a commit owes.
    owed: BTreeSet<String>,
    /// Receivers of which something was refused for good: nobody has to tell them any more.
    given_up: BTreeSet<String>,
}

/// An alert at a receiver.
#[derive(Debug)]
struct Alert {
    /// The incident that began it, and the delivery.
    incident: String,
    /// Which time it is open: one that somebody resolved may be bad again before all have heard that.
    episode: Value,
    delivery: String,
    /// The receiver has said that it took it.
    is_known: bool,
}

impl Outside {
    pub(super) fn drawn(random: &mut Random) -> Self {
        let mut few = || if random.chance(40) { 2 } else { 1 };
        let (fails, recovers, missing) = (few(), few(), few());
        let depends = if random.chance(40) { ", depends_on: web" } else { "" };
        let route = *random
            .pick(&[
                "{ to: pager, remind: 5m }",
                "{ to: [pager, chat] }",
                "{ to: chat, wait: 20s }",
            ])
            .expect("there are routes");
        let text = format!(
            "receivers:\n  pager: {{ pagerduty: k }}\n  chat: {{ slack: \"https://s\" }}\n\
             routes:\n  - {route}\nmonitors:\n  \
             web: {{ http: \"http://web\", every: 20s, fail_after: {fails} }}\n  \
             net: {{ http: \"http://net\", every: 30s, recover_after: {recovers}, \
             missing: {missing}{depends} }}\n  \
             app: {{ http: \"http://app\", every: 25s, depends_on: net }}\n"
        );
        let keys = MONITORS.iter().flat_map(|(name, keys)| keys.iter().map(|key| (*name, *key)));
        Self {
            text,
            truth: keys.map(|place| (place, "ok")).collect(),
            refusing: BTreeSet::new(),
            ringing: BTreeMap::new(),
            owed: BTreeSet::new(),
            given_up: BTreeSet::new(),
        }
    }

    pub(super) fn file(&self) -> File {
        let loaded = load(&self.text, &ChecklistOptions::default());
        loaded.file.unwrap_or_else(|| panic!("{}\n{:?}", self.text, loaded.problems))
    }

    /// Something outside changes; what, in a few words.
    pub(super) fn change(&mut self, random: &mut Random) -> String {
        if random.chance(15) {
            let receiver = *random.pick(&RECEIVERS).expect("there are receivers");
            let refuses = self.refusing.insert(receiver);
            if !refuses {
                self.refusing.remove(receiver);
            }
            return format!("{receiver} refuses: {refuses}");
        }
        let places: Vec<_> = self.truth.keys().copied().collect();
        let place = *random.pick(&places).expect("there are monitors");
        let status = *random.pick(&["fail", "fail", "ok", "absent"]).expect("there are some");
        self.truth.insert(place, status);
        format!("{}/{} is {status}", place.0, place.1)
    }

    /// All is well from now on.
    pub(super) fn calm_down(&mut self) {
        self.truth.values_mut().for_each(|status| *status = "ok");
        self.refusing.clear();
    }

    fn look(&self, monitor: &str) -> Vec<Value> {
        let rows = self.truth.iter();
        let rows = rows.filter(|((name, _), status)| *name == monitor && **status != "absent");
        rows.map(|((_, key), status)| json!({ "key": key, "status": status, "text": status }))
            .collect()
    }

    /// A receiver takes a notification.
    fn take(&mut self, receiver: &str, told: &Value) -> Result<(), Objection> {
        let (delivery, event) = (text(&told["delivery"]), text(&told["event"]));
        if !self.owed.contains(&delivery) {
            let what = format!("nobody owes {told}");
            return Err(Objection::new(receiver, "nothing is told before its commit", what));
        }
        for (key, incident, episode) in members(told) {
            let alert = (receiver.to_owned(), key);
            if event == "resolve" {
                self.ringing.remove(&alert);
                continue;
            }
            if event == "acknowledge" {
                continue;
            }
            let before = self.ringing.get(&alert).filter(|it| it.incident == incident);
            let again = before
                .is_some_and(|it| it.is_known && it.delivery != delivery && it.episode == episode);
            if event == "trigger" && again {
                let what = format!("it rings by {before:?}, and again: {told}");
                return Err(Objection::new(receiver, "an incident is told once", what));
            }
            if before.is_none() {
                let delivery = delivery.clone();
                let alerting = Alert { incident, episode, delivery, is_known: false };
                self.ringing.insert(alert, alerting);
            }
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Dedup key, incident and episode of each incident that a notification tells of.
fn members(told: &Value) -> Vec<(String, String, Value)> {
    let of = |it: &Value| (text(&it["dedup_key"]), text(&it["incident"]), it["episode"].clone());
    match told["group"]["members"].as_array() {
        Some(members) => members.iter().map(of).collect(),
        None => vec![of(told)],
    }
}

/// The store took a commit: deliveries that it owes, and ends of deliveries that are known now.
pub(super) fn committed(state: &mut State, commit: &Commit) {
    if commit.head.id.machine() != MachineKind::Monitor {
        return;
    }
    for outgoing in &commit.send {
        let body: Value = serde_json::from_str(&outgoing.body).unwrap_or_default();
        let told = &body["start"]["input"]["notification"];
        if let Some(delivery) = told["delivery"].as_str() {
            state.outside.owed.insert(delivery.to_owned());
        }
    }
    for record in commit.records.iter().filter(|it| it.ledger == "delivery") {
        if &*record.status == "dead" {
            let body = record.body.parse();
            state.outside.given_up.insert(text(&body["receiver"]));
        }
    }
}

/// Monitors of which something is still to come.
pub(super) fn unsettled(state: &State) -> Option<String> {
    if let Some(misled) = misled(state) {
        return Some(misled);
    }
    for (id, shadow) in &state.auditor.machines {
        let Some(monitor) = shadow.monitor().filter(|_| !state.quarantined.contains(id)) else {
            continue;
        };
        for incident in monitor.incidents.values() {
            // What a monitor owes that was removed is still sent, when its route no longer waits.
            let under_way = incident.told.values().any(|told| {
                told.flight.is_some() || (monitor.removed && told.ringing && told.owed.is_some())
            });
            if incident.state.is_open() || under_way {
                return Some(format!("{id} has {} {:?}", incident.key, incident.state));
            }
        }
    }
    None
}

/// A monitor that does not know how one is on which it depends.
pub(super) fn misled(state: &State) -> Option<String> {
    let machines = state.auditor.machines.iter();
    let monitors = machines.filter(|(id, _)| !state.quarantined.contains(*id));
    for (id, monitor) in monitors.filter_map(|(id, it)| Some((id, it.monitor()?))) {
        let Some(spec) = monitor.spec.as_ref().filter(|_| !monitor.removed) else { continue };
        for parent in &spec.monitor.depends_on {
            if !knows(state, monitor, parent) {
                let knows = (&monitor.parents_down, &monitor.parents_failing);
                return Some(format!("{id} does not know how {parent} is: {knows:?}"));
            }
        }
    }
    None
}

/// Whether a monitor knows how one is on which it depends.
fn knows(state: &State, monitor: &Monitor, parent: &Arc<str>) -> bool {
    let shadow = state.auditor.machines.get(&ExecutionId::monitor(parent));
    let Some(parent_is) = shadow.and_then(|it| it.monitor()) else { return true };
    let (down, failing) = (parent_is.is_down(), parent_is.is_failing());
    let known = (monitor.parents_down.contains(parent), monitor.parents_failing.contains(parent));
    known == (down, failing && !down)
}

/// Nothing rings any more, but where somebody could not be told.
pub(super) fn finish(state: &State) -> Result<(), Objection> {
    let outside = &state.outside;
    for ((receiver, key), alert) in &outside.ringing {
        if !outside.given_up.contains(receiver) {
            let what = format!("{key} rings for ever: {alert:?}");
            return Err(Objection::new(receiver, "whoever was told hears the end", what));
        }
    }
    Ok(())
}

/// Checks by HTTP.
pub(super) struct Looks(pub(super) Arc<World>);

#[async_trait]
impl TaskRunner for Looks {
    fn task_type(&self) -> &'static str {
        "CHECK_HTTP"
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        self.0.judge(|state, _| state.auditor.begins(key_of(&task)));
        let (millis, fails, hangs) = {
            let state = &mut *self.0.state.lock();
            let fails = state.random.chance(state.faults.work_fails / 2);
            let hangs = !state.calm && state.random.chance(2);
            (state.random.between(0, 300), fails, hangs)
        };
        let millis = if hangs { HANGS } else { millis as u64 };
        let _ = tokio::time::timeout(Duration::from_millis(millis), cancelled.cancelled()).await;
        self.0.count("a check ran");
        let monitor = text(&task.input.parse()["monitor"]);
        let rows = self.0.state.lock().outside.look(&monitor);
        self.0.say(|| format!("{monitor} is looked at: fails {fails}, {rows:?}"));
        let status = if fails { OutcomeStatus::Failed } else { OutcomeStatus::Completed };
        let output =
            if fails { Json::empty_object() } else { json!({ "observations": rows }).into() };
        Outcome { status, output, reason: None }
    }
}

/// Tells receivers.
pub(super) struct Tells(pub(super) Arc<World>);

#[async_trait]
impl TaskRunner for Tells {
    fn task_type(&self) -> &'static str {
        "NOTIFY"
    }

    async fn run(&self, task: Handoff, _: CancellationToken) -> Outcome {
        self.0.judge(|state, _| state.auditor.begins(key_of(&task)));
        let input = task.input.parse();
        let (receiver, told) = (text(&input["receiver"]), &input["notification"]);
        let (millis, refuses, mute) = {
            let state = &mut *self.0.state.lock();
            let mute = !state.calm && state.random.chance(state.faults.mute);
            let refuses = state.outside.refusing.contains(&*receiver);
            (state.random.between(0, 500), refuses, mute)
        };
        tokio::time::sleep(Duration::from_millis(millis as u64)).await;
        self.0.say(|| format!("{receiver} is told {told}: refuses {refuses}, mute {mute}"));
        let output = json!({ "reference": told["delivery"], "response": "ok" });
        if refuses {
            let reason = Some("404".to_owned());
            let output = Json::empty_object();
            return Outcome { status: OutcomeStatus::FailedTerminally, output, reason };
        }
        if key_of(&task).is_none() {
            self.0.count("the alarm was heard");
            return Outcome {
                status: OutcomeStatus::Completed,
                output: output.into(),
                reason: None,
            };
        }
        self.0.count(&format!("told {}", text(&told["event"])));
        self.0.judge(|state, _| state.outside.take(&receiver, told));
        if mute {
            let status = OutcomeStatus::Failed;
            let reason = Some("the answer was lost".to_owned());
            return Outcome { status, output: Json::empty_object(), reason };
        }
        let mut state = self.0.state.lock();
        let delivery = text(&told["delivery"]);
        for alert in state.outside.ringing.values_mut() {
            alert.is_known |= alert.delivery == delivery;
        }
        Outcome { status: OutcomeStatus::Completed, output: output.into(), reason: None }
    }
}
