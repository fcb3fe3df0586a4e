//! The facts of a monitor; its history is a list of these, and a format: fields are only ever
//! added. Keys are short because every check is stored under them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::definition::roster::Called;
use super::definition::{Severity, Silence, Spec};
use super::incident::{NotificationEvent, State};
use super::monitor::Monitor;
use super::observation::Status;
use super::rollup::Counted;
use crate::json::Json;
use crate::time::Timestamp;

/// One fact. The first of every commit is [`Event::At`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The instant of the facts that follow.
    At(Timestamp),
    /// Everything so far, in one.
    Snapshot(Box<Monitor>),
    /// What is obeyed from now on.
    Defined(Box<Spec>),
    /// Nothing is watched any more.
    Removed,
    /// When the next check is due.
    Planned(Option<Timestamp>),
    /// A check was started.
    Checking {
        /// Its number.
        #[serde(rename = "s")]
        sequence: u32,
        /// The span that it covers.
        #[serde(rename = "w")]
        window: Window,
    },
    /// A check ended, or was given up.
    Checked {
        /// Its number.
        #[serde(rename = "s")]
        sequence: u32,
        /// What came of it.
        #[serde(rename = "o")]
        outcome: Outcome,
    },
    /// A check that was due did not run.
    Missed,
    /// Checks that ended, or did not run, are counted.
    Counted(Counted),
    /// A key was bad for the first time: an incident may come of it.
    Began {
        /// The key.
        #[serde(rename = "k")]
        key: Arc<str>,
        /// The incident's labels.
        #[serde(rename = "l", default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<Arc<str>, Arc<str>>,
    },
    /// A key with an incident was observed.
    Seen(Box<Seen>),
    /// A check did not mention a key with an incident.
    Absent {
        /// The key.
        #[serde(rename = "k")]
        key: Arc<str>,
        /// The check.
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        check: Option<u32>,
        /// Nobody can tell from that how it is; otherwise it counts as well.
        #[serde(rename = "n", default, skip_serializing_if = "std::ops::Not::not")]
        no_data: bool,
    },
    /// A pending incident came to nothing, or a resolved one is told to all: into the past with it.
    Dropped {
        /// The key.
        #[serde(rename = "k")]
        key: Arc<str>,
    },
    /// An incident changed its state.
    Moved(Box<Moved>),
    /// Somebody wrote something down about an incident, be it over or not.
    Noted {
        /// The key.
        #[serde(rename = "k")]
        key: Arc<str>,
        /// The incident's number.
        #[serde(rename = "n")]
        number: u32,
        /// What is said of it in the history.
        #[serde(rename = "a")]
        what: Arc<str>,
        /// Who.
        #[serde(rename = "w")]
        who: Arc<str>,
        /// In their words.
        #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
        text: Option<Arc<str>>,
    },
    /// A step of the route is reached.
    Stepped {
        /// The key.
        #[serde(rename = "k")]
        key: Arc<str>,
        /// Steps reached, this one included.
        #[serde(rename = "n")]
        steps: u32,
        /// Who is to be told from now on; none if the step was skipped.
        #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
        to: Vec<Arc<str>>,
        /// Who is on call, where the step calls rotations; those who are reached at once are among
        /// `to`.
        #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
        called: Vec<Called>,
        /// Somebody asked for it.
        #[serde(rename = "h", default, skip_serializing_if = "std::ops::Not::not")]
        by_hand: bool,
    },
    /// People who were called are told by further receivers, as nobody has acknowledged.
    Contacted {
        /// The key.
        #[serde(rename = "k")]
        key: Arc<str>,
        /// The receivers.
        #[serde(rename = "t")]
        to: Vec<Arc<str>>,
    },
    /// A rotation that was called, and whose incidents follow hand-overs, was looked at again.
    HandedOver {
        /// The key.
        #[serde(rename = "k")]
        key: Arc<str>,
        /// Who is on call now; how they are reached only if they are called.
        #[serde(rename = "c")]
        called: Box<Called>,
        /// They are called in the place of who was before.
        #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
        moves: bool,
    },
    /// It got worse, and another route is for that: its steps begin.
    Rerouted {
        /// The key.
        #[serde(rename = "k")]
        key: Arc<str>,
    },
    /// A receiver is to be told because another one cannot be.
    FellBack {
        /// The key.
        #[serde(rename = "k")]
        key: Arc<str>,
        /// Who is told instead.
        #[serde(rename = "t")]
        to: Arc<str>,
        /// Who cannot be.
        #[serde(rename = "f")]
        from: Arc<str>,
    },
    /// Something is to be told together with what else comes in a while.
    Owed {
        /// The key.
        #[serde(rename = "k")]
        key: Arc<str>,
        /// To whom.
        #[serde(rename = "t")]
        to: Arc<str>,
        /// What.
        #[serde(rename = "e")]
        event: NotificationEvent,
    },
    /// What would be told is not, for now.
    Suppressed {
        /// The key.
        #[serde(rename = "k")]
        key: Arc<str>,
        /// Why.
        #[serde(rename = "r")]
        reason: Arc<str>,
        /// Until then, if that is known.
        #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Nothing keeps an incident quiet any more.
    Released {
        /// The key.
        #[serde(rename = "k")]
        key: Arc<str>,
    },
    /// A delivery was started.
    Notified(Box<Notified>),
    /// A delivery ended.
    Delivered(Box<Delivered>),
    /// A delivery that was given up is to be told anew.
    Resent {
        /// Its number.
        #[serde(rename = "s")]
        sequence: u32,
    },
    /// A monitor that this one needs went down or came back.
    Parent {
        /// Which.
        #[serde(rename = "m")]
        monitor: Arc<str>,
        /// Whether it is down.
        #[serde(rename = "d")]
        down: bool,
        /// Whether it is not down yet, but failed its last check.
        #[serde(rename = "f", default, skip_serializing_if = "std::ops::Not::not")]
        failing: bool,
    },
    /// The monitors that this one depends on are to be checked before anybody is told.
    ParentsAsked {
        /// The answer is waited for until then.
        #[serde(rename = "u")]
        until: Timestamp,
    },
    /// They were checked, or did not answer in time.
    ParentsAnswered,
    /// The wall clock was set back: instants that were noted since then are moved.
    ClockSetBack {
        /// By at least so many milliseconds.
        #[serde(rename = "b")]
        by: i64,
    },
    /// The silences that may concern this monitor.
    Silences(Vec<Silence>),
    /// A job called.
    Pinged(Box<Pinged>),
    /// When the next call of a job is due, and by when at the latest.
    Expected {
        /// Due then.
        #[serde(rename = "a")]
        at: Timestamp,
        /// Late from then on.
        #[serde(rename = "d")]
        deadline: Timestamp,
    },
    /// A run that had begun is waited for no longer.
    RunOver,
    /// Alerts were sent again: what they say holds until another instant.
    Prolonged {
        /// Until then.
        #[serde(rename = "u")]
        until: Timestamp,
        /// The numbers of their incidents.
        #[serde(rename = "n")]
        numbers: Vec<u32>,
        /// Which of several senders says it.
        #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
        by: Option<Arc<str>>,
        /// To it they are over; what the others say holds until then.
        #[serde(rename = "e", default, skip_serializing_if = "std::ops::Not::not")]
        ended: bool,
    },
}

impl Event {
    /// The key of the incident that was there before and that the fact is about.
    pub(super) fn incident(&self) -> Option<&Arc<str>> {
        match self {
            Self::Absent { key, .. }
            | Self::Stepped { key, .. }
            | Self::Contacted { key, .. }
            | Self::HandedOver { key, .. }
            | Self::Rerouted { key }
            | Self::FellBack { key, .. }
            | Self::Owed { key, .. }
            | Self::Suppressed { key, .. }
            | Self::Released { key } => Some(key),
            Self::Seen(seen) => Some(&seen.key),
            Self::Moved(moved) => Some(&moved.key),
            Self::At(_)
            | Self::Snapshot(_)
            | Self::Defined(_)
            | Self::Removed
            | Self::Planned(_)
            | Self::Checking { .. }
            | Self::Checked { .. }
            | Self::Missed
            | Self::Counted(_)
            | Self::Began { .. }
            | Self::Dropped { .. }
            | Self::Noted { .. }
            | Self::Notified(_)
            | Self::Delivered(_)
            | Self::Resent { .. }
            | Self::Parent { .. }
            | Self::ParentsAsked { .. }
            | Self::ParentsAnswered
            | Self::ClockSetBack { .. }
            | Self::Silences(_)
            | Self::Pinged(_)
            | Self::Expected { .. }
            | Self::RunOver
            | Self::Prolonged { .. } => None,
        }
    }
}

/// The span that a check covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// From, inclusive.
    #[serde(rename = "f")]
    pub from: Timestamp,
    /// To, exclusive.
    #[serde(rename = "t")]
    pub to: Timestamp,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It told how things are.
    Answered {
        /// What the next check is given.
        #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
        memory: Option<Json>,
        /// The task that saw it.
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<Arc<str>>,
    },
    /// Nobody can tell.
    Unknown {
        /// Why.
        #[serde(rename = "r")]
        reason: Arc<str>,
    },
}

/// See [`Event::Seen`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// The key.
    #[serde(rename = "k")]
    pub key: Arc<str>,
    /// How it is, in the light of witnesses.
    #[serde(rename = "s")]
    pub status: Status,
    /// How bad that is, if it is bad.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// What was measured, if it changed.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// In words, if they changed.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Arc<str>>,
    /// The row, if it changed.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub attrs: Option<Map<String, Value>>,
    /// The check that saw it.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub check: Option<u32>,
    /// Until when that holds, if it was received.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Which of several senders says it.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
}

/// See [`Event::Moved`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Moved {
    /// The key.
    #[serde(rename = "k")]
    pub key: Arc<str>,
    /// Whereto.
    #[serde(rename = "to")]
    pub state: State,
    /// Who did it; absent = the monitor itself.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Arc<str>>,
    /// Why.
    #[serde(rename = "y")]
    pub why: Arc<str>,
    /// Snoozed until then.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Acknowledged even if it gets worse.
    #[serde(rename = "c", default, skip_serializing_if = "std::ops::Not::not")]
    pub until_clear: bool,
    /// The receiver at which it was done.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Arc<str>>,
    /// When it was done there, by that receiver's clock.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub occurred: Option<Timestamp>,
    /// That receiver is told of it like every other: more people read it there than the one who did it.
    #[serde(rename = "l", default, skip_serializing_if = "std::ops::Not::not")]
    pub told_there: bool,
    /// Who was told is told again that it is still so.
    #[serde(rename = "n", default, skip_serializing_if = "std::ops::Not::not")]
    pub nudges: bool,
}

/// See [`Event::Notified`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Notified {
    /// The delivery's number.
    #[serde(rename = "s")]
    pub sequence: u32,
    /// To whom.
    #[serde(rename = "t")]
    pub receiver: Arc<str>,
    /// What.
    #[serde(rename = "e")]
    pub event: NotificationEvent,
    /// About which incidents.
    #[serde(rename = "k")]
    pub keys: Vec<Arc<str>>,
    /// The group, if they are told as one.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Arc<str>>,
    /// Its title.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Arc<str>>,
    /// About which incidents that are over and told to all others: keys, and their numbers.
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<(Arc<str>, u32)>,
}

/// See [`Event::Delivered`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivered {
    /// The delivery's number.
    #[serde(rename = "s")]
    pub sequence: u32,
    /// Whether the receiver took it.
    #[serde(rename = "o")]
    pub sent: bool,
    /// Why not.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// What the provider calls it.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Arc<str>>,
    /// It was given up, and an alert may be open under its key all the same.
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    pub perhaps: bool,
}

/// See [`Event::Pinged`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pinged {
    /// A run began.
    #[serde(rename = "b", default, skip_serializing_if = "std::ops::Not::not")]
    pub start: bool,
    /// How it ended, if it did.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The caller's name for the run.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Arc<str>>,
    /// What the caller wrote.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Arc<str>>,
}
