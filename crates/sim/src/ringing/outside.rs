//! Everything outside of the process: what is true of the keys, sources that show it or do not,
//! and receivers that keep one alert per key, as providers with dedup keys do. A chat is taken to do
//! so too, but it must not hear of an end without a beginning.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::file::{MONITORS, RECEIVERS};
use crate::random::Random;

/// How something outside behaves when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// It cannot at the moment.
    Busy,
    /// It never will.
    Refuses,
    /// It does what it is asked, but its answer is lost.
    Mute,
    /// It does nothing and answers nothing.
    Hangs,
}

/// What came back from outside.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Output(Value),
    Failed {
        terminal: bool,
        after: Option<i64>,
    },
    /// Not now: again after so many seconds, in the same attempt.
    Again {
        after: i64,
    },
}

pub(super) struct Outside {
    /// What is so, by monitor and key; a key that is absent is not reported.
    truth: BTreeMap<(&'static str, &'static str), &'static str>,
    sources: BTreeMap<&'static str, Mood>,
    receivers: BTreeMap<&'static str, Mood>,
    /// Alerts that ring at receivers, by their dedup keys.
    pub(super) ringing: BTreeSet<(String, String)>,
}

impl Outside {
    pub(super) fn new() -> Self {
        let keys = MONITORS.iter().flat_map(|(name, keys)| keys.iter().map(|key| (*name, *key)));
        Self {
            truth: keys.map(|place| (place, "ok")).collect(),
            sources: MONITORS.iter().map(|(name, _)| (*name, Mood::Well)).collect(),
            receivers: RECEIVERS.iter().map(|(name, _)| (*name, Mood::Well)).collect(),
            ringing: BTreeSet::new(),
        }
    }

    /// Something outside changes; what, in a few words.
    pub(super) fn change(&mut self, random: &mut Random) -> String {
        match random.below(10) {
            0..6 => {
                let places: Vec<_> = self.truth.keys().copied().collect();
                let place = *random.pick(&places).expect("there are monitors");
                let statuses = ["fail", "fail", "fail", "ok", "ok", "unknown", "absent"];
                let status = random.pick(&statuses).copied().unwrap_or("ok");
                self.truth.insert(place, status);
                format!("{}/{} is {status}", place.0, place.1)
            }
            6 | 7 => {
                let (name, _) = *random.pick(&MONITORS).expect("there are monitors");
                let moods = [Mood::Well, Mood::Well, Mood::Busy, Mood::Hangs];
                let mood = random.pick(&moods).copied().unwrap_or(Mood::Well);
                self.sources.insert(name, mood);
                format!("the source of {name} is {mood:?}")
            }
            _ => {
                let (name, _) = *random.pick(&RECEIVERS).expect("there are receivers");
                let moods =
                    [Mood::Well, Mood::Well, Mood::Busy, Mood::Refuses, Mood::Mute, Mood::Hangs];
                let mood = random.pick(&moods).copied().unwrap_or(Mood::Well);
                self.receivers.insert(name, mood);
                format!("{name} is {mood:?}")
            }
        }
    }

    /// All is well from now on.
    pub(super) fn calm_down(&mut self) {
        self.truth.values_mut().for_each(|status| *status = "ok");
        let moods = self.sources.values_mut().chain(self.receivers.values_mut());
        moods.for_each(|mood| *mood = Mood::Well);
    }

    /// A check looks; `None` if it gets no answer at all.
    pub(super) fn look(&self, monitor: &str) -> Option<Answer> {
        match self.sources.get(monitor) {
            Some(Mood::Hangs) => return None,
            Some(Mood::Busy) => return Some(Answer::Failed { terminal: false, after: None }),
            _ => {}
        }
        let rows = self
            .truth
            .iter()
            .filter(|((name, _), status)| *name == monitor && **status != "absent");
        let rows: Vec<Value> = rows
            .map(|((_, key), status)| json!({ "key": key, "status": status, "text": status }))
            .collect();
        Some(Answer::Output(json!({ "observations": rows })))
    }

    /// A receiver is told something: whether it did as asked, and what came back, if anything.
    pub(super) fn tell(
        &mut self,
        receiver: &str,
        notification: &Value,
        random: &mut Random,
    ) -> (bool, Option<Answer>) {
        let after = random.between(1, 60);
        match self.receivers.get(receiver).copied().unwrap_or(Mood::Well) {
            Mood::Busy => return (false, Some(Answer::Again { after })),
            Mood::Refuses => return (false, Some(Answer::Failed { terminal: true, after: None })),
            Mood::Hangs => return (false, None),
            Mood::Mute => {}
            Mood::Well => {
                self.take(receiver, notification);
                let output = json!({ "reference": notification["delivery"], "response": "ok" });
                return (true, Some(Answer::Output(output)));
            }
        }
        self.take(receiver, notification);
        (true, random.chance(50).then_some(Answer::Again { after }))
    }

    fn take(&mut self, receiver: &str, notification: &Value) {
        for key in dedup_keys(notification) {
            let alert = (receiver.to_owned(), key);
            match notification["event"].as_str() {
                Some("resolve") => {
                    self.ringing.remove(&alert);
                }
                Some("trigger" | "escalation" | "reminder") => {
                    self.ringing.insert(alert);
                }
                _ => {}
            }
        }
    }
}

/// The dedup keys of a notification: one for each incident that it tells of.
pub(super) fn dedup_keys(notification: &Value) -> Vec<String> {
    members(notification).iter().map(|it| text(&it["dedup_key"])).collect()
}

/// The incidents that a notification tells of.
pub(super) fn members(notification: &Value) -> Vec<&Value> {
    match notification["group"]["members"].as_array() {
        Some(members) => members.iter().collect(),
        None => vec![notification],
    }
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
