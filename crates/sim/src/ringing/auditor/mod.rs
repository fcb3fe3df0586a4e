//! The auditor of monitors: judges what was committed, and what receivers were told, by rules of
//! its own.
//!
//! It never asks a monitor how things stand. It reads the facts as JSON, follows each key with
//! counters of its own, and objects when an incident opens without cause or does not open with
//! one, when a page that is owed is not on its way, when one is told twice, when time was not
//! looked at, or when a check that did not run is not in the ledger.

mod owed;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use kernel::alert::definition::Silence;
use kernel::graph::{self, Message};
use kernel::{ExecutionId, Record, Timestamp, alert};
use serde_json::Value;

use super::file::{HOST, Rules};
use super::host::AnyInput;
use super::outside::{dedup_keys, text};
use crate::auditor::{Objection, Sent};
use watch::Watch;

/// Why a monitor decided something, as the outside knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Wake,
    Define,
    /// Somebody wants a check.
    ByHand,
    /// An execution ended: a check or a delivery.
    Ended {
        sequence: u32,
        child: String,
        completed: bool,
        /// What it saw: keys and statuses.
        seen: Option<Vec<(String, String)>>,
    },
    Acknowledge(String),
    Snooze(String, i64),
    Resolve(String),
    /// A receiver tells that something was done there about a key, then.
    ProviderEvent {
        key: String,
        receiver: String,
        deed: alert::ProviderAction,
        at: i64,
    },
    Silences(Vec<Quiet>),
    Parent(String, bool),
    /// Something about an execution.
    Other,
}

/// A silence: of one key, or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quiet {
    key: Option<String>,
    from: i64,
    to: i64,
}

impl Cause {
    pub(super) fn of(input: &AnyInput) -> Self {
        match input {
            AnyInput::Wake => Self::Wake,
            AnyInput::Message(Message::Ended { sequence, status, output, child, .. }) => {
                let output = output.parse();
                let seen = output["observations"].as_array().map(|rows| {
                    rows.iter().map(|row| (text(&row["key"]), text(&row["status"]))).collect()
                });
                let child = child.as_ref().map(ToString::to_string).unwrap_or_default();
                let completed = *status == graph::Status::Completed;
                Self::Ended { sequence: *sequence, child, completed, seen }
            }
            AnyInput::Monitor(input) => match input {
                alert::Input::Define(_) => Self::Define,
                alert::Input::Check { .. } => Self::ByHand,
                alert::Input::Acknowledge { incident, .. } => {
                    Self::Acknowledge(incident.to_string())
                }
                alert::Input::Snooze { incident, until, .. } => {
                    Self::Snooze(incident.to_string(), until.millis())
                }
                alert::Input::Resolve { incident, .. } => Self::Resolve(incident.to_string()),
                alert::Input::ProviderEvent(heard) => Self::ProviderEvent {
                    key: heard.incident.to_string(),
                    receiver: heard.receiver.to_string(),
                    deed: heard.deed,
                    at: heard.at.millis(),
                },
                alert::Input::Parent { monitor, down, .. } => {
                    Self::Parent(monitor.to_string(), *down)
                }
                alert::Input::Silences(silences) => {
                    let quiet = silences.iter().map(|it| Quiet::read(&serde_json::json!(it)));
                    Self::Silences(quiet.collect())
                }
                _ => Self::Other,
            },
            AnyInput::Message(_) | AnyInput::Execution(_) => Self::Other,
        }
    }
}

impl Quiet {
    fn read(silence: &Value) -> Self {
        let when = &silence["when"]["once"];
        Self {
            key: silence["matchers"][0]["v"][0].as_str().map(str::to_owned),
            from: when["from"].as_i64().unwrap_or(i64::MIN),
            to: when["to"].as_i64().unwrap_or(i64::MAX),
        }
    }

    fn hides(&self, key: &str, now: i64) -> bool {
        let fits = self.key.as_deref().is_none_or(|own| own == key);
        fits && self.from <= now && now < self.to
    }
}

/// One commit of a monitor, as anybody may see it in the store.
pub(super) struct Commit<'a> {
    pub(super) id: &'a ExecutionId,
    pub(super) now: Timestamp,
    pub(super) cause: &'a Cause,
    pub(super) events: &'a [Value],
    pub(super) sent: Vec<Sent>,
    pub(super) records: Vec<Record>,
    pub(super) wake_at: Option<Timestamp>,
}

/// What was seen so far.
pub(super) struct Auditor {
    watches: BTreeMap<String, Watch>,
    /// Deliveries by the name under which receivers know them.
    handed: BTreeMap<String, Handed>,
    /// Alerts that are open at receivers, by dedup key.
    open: BTreeSet<(String, String)>,
    /// What opened an alert: receiver, dedup key, and which episode of the key it was.
    opened: BTreeSet<(String, String, u32)>,
}

/// A delivery as receivers are to see it.
struct Handed {
    receiver: String,
    event: String,
    dedup_keys: Vec<String>,
    /// The keys of the monitor, and which episode of each.
    episodes: Vec<(String, u32)>,
    monitor: String,
}

/// A law and how it was broken.
type Verdict<T = ()> = Result<T, (&'static str, String)>;

fn broken<T>(law: &'static str, what: impl Into<String>) -> Verdict<T> {
    Err((law, what.into()))
}

impl Auditor {
    pub(super) fn new(rules: &BTreeMap<&'static str, Rules>) -> Self {
        let watches =
            rules.iter().map(|(name, rules)| ((*name).to_owned(), Watch::new(rules.clone())));
        Self {
            watches: watches.collect(),
            handed: BTreeMap::new(),
            open: BTreeSet::new(),
            opened: BTreeSet::new(),
        }
    }

    /// Judges a commit.
    pub(super) fn committed(&mut self, commit: &Commit<'_>) -> Result<(), Objection> {
        let (id, now) = (commit.id, commit.now.millis());
        let Some(watch) = self.watches.get_mut(id.name()) else { return Ok(()) };
        let judged = watch.judge(commit).and_then(|started| {
            for (sequence, told) in started {
                let delivery = &watch.deliveries[&sequence];
                let name = text(&told["delivery"]);
                let handed = Handed {
                    receiver: delivery.receiver.clone(),
                    event: delivery.event.clone(),
                    dedup_keys: dedup_keys(&told),
                    episodes: delivery.members.clone(),
                    monitor: id.name().to_owned(),
                };
                watch.keeps_its_keys(&handed.episodes, &handed.dedup_keys)?;
                if self.handed.insert(name.clone(), handed).is_some() {
                    return broken("none is doubled", format!("two deliveries are called {name}"));
                }
            }
            watch.is_on_its_way(now, commit.wake_at.map(Timestamp::millis))
        });
        judged.map_err(|(law, what)| Objection::new(id.as_str(), law, what))
    }

    /// Judges a decision that changed nothing.
    pub(super) fn idle(&self, id: &ExecutionId, cause: &Cause) -> Result<(), Objection> {
        let Some(watch) = self.watches.get(id.name()) else { return Ok(()) };
        watch.may_ignore(cause).map_err(|(law, what)| Objection::new(id.as_str(), law, what))
    }

    /// Judges a look at the clock that has been decided, if there was anything to decide.
    pub(super) fn looked(
        &self,
        id: &ExecutionId,
        now: Timestamp,
        wake_at: Option<Timestamp>,
    ) -> Result<(), Objection> {
        let Some(watch) = self.watches.get(id.name()) else { return Ok(()) };
        let judged = watch
            .is_up_to_date(now.millis())
            .and_then(|()| watch.is_on_its_way(now.millis(), wake_at.map(Timestamp::millis)));
        judged.map_err(|(law, what)| Objection::new(id.as_str(), law, what))
    }

    /// Judges what monitors were told of each other and of silences, when nobody has anything left
    /// to tell them.
    pub(super) fn all_is_told(
        &self,
        silences: &[Silence],
        now: Timestamp,
    ) -> Result<(), Objection> {
        let now = now.millis();
        let in_force: Vec<Quiet> = silences
            .iter()
            .map(|silence| Quiet::read(&serde_json::json!(silence)))
            .filter(|silence| silence.to > now)
            .collect();
        let host_down = self.watches.get(HOST).is_some_and(Watch::is_down);
        for (name, watch) in &self.watches {
            let known: Vec<&Quiet> = watch.silences.iter().filter(|it| it.to > now).collect();
            if known != in_force.iter().collect::<Vec<_>>() {
                let what = format!("it knows {known:?}, not {in_force:?}");
                return Err(Objection::new(name, "silences are known", what));
            }
            if watch.rules.needs_host && watch.host_down != host_down {
                let what = format!("{HOST} is down: {host_down}");
                return Err(Objection::new(name, "dependents are told", what));
            }
        }
        Ok(())
    }

    /// A receiver took what it was told.
    pub(super) fn taken(&mut self, receiver: &str, told: &Value) -> Result<(), Objection> {
        let (name, event) = (text(&told["delivery"]), text(&told["event"]));
        let object = |law, what: String| Err(Objection::new(receiver, law, what));
        let Some(handed) = self.handed.get(&name) else {
            return object("nothing is told before its commit", format!("nobody owes {told}"));
        };
        let keys = dedup_keys(told);
        if handed.receiver != receiver || handed.event != event || handed.dedup_keys != keys {
            let what = format!("{name} has changed on its way: {told}");
            return object("a redelivery is the same", what);
        }
        for (dedup_key, (key, episode)) in keys.iter().zip(&handed.episodes) {
            let alert = (receiver.to_owned(), dedup_key.clone());
            if event == "resolve" {
                self.open.remove(&alert);
            } else if event != "acknowledge" && self.open.insert(alert) {
                let rung = (receiver.to_owned(), dedup_key.clone(), *episode);
                if !self.opened.insert(rung) {
                    let what = format!("{key} of {} rang before: {told}", handed.monitor);
                    return object("seen exactly once", what);
                }
            }
        }
        Ok(())
    }

    /// What has not come to its end; looked at since then.
    pub(super) fn unsettled(&self, since: i64) -> Option<String> {
        let mut all = self.watches.iter();
        all.find_map(|(name, watch)| Some(format!("{name}: {}", watch.unsettled(since)?)))
    }

    /// Judges the end of everything: what rang somewhere rings no more, but where somebody could
    /// not be told.
    pub(super) fn finish(&self, ringing: &BTreeSet<(String, String)>) -> Result<(), Objection> {
        if *ringing != self.open {
            let what = format!("{ringing:?} ring, not {:?}", self.open);
            return Err(Objection::new("", "the auditor saw everything", what));
        }
        for (receiver, dedup_key) in ringing {
            let excused = |watch: &Watch| {
                watch.dead.iter().any(|(to, key)| {
                    to == receiver && watch.dedup_keys.get(key).is_some_and(|it| it == dedup_key)
                })
            };
            if !self.watches.values().any(excused) {
                let what = format!("{dedup_key} rings for ever");
                return Err(Objection::new(receiver, "whoever was told hears the end", what));
            }
        }
        Ok(())
    }
}
