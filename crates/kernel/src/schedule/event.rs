//! The facts of a schedule; its history is a list of these, and a format: fields are only added.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::expect::Expectation;
use super::spec::ScheduleSpec;
use super::state::Schedule;
use crate::graph::Instead;
use crate::time::Timestamp;

/// One fact. The first of every commit is [`Event::At`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The instant of the facts that follow.
    At(Timestamp),
    /// Everything up to here, in place of the history before.
    Snapshot(Box<Schedule>),
    /// What it obeys from now on.
    Defined {
        /// The document.
        #[serde(rename = "p")]
        spec: Box<ScheduleSpec>,
        /// It names other instants than before: what came due until now is of no interest.
        #[serde(rename = "a", default, skip_serializing_if = "is_false")]
        anew: bool,
    },
    /// It fires no more for now.
    Paused {
        /// Why.
        #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
    },
    /// It goes on from now.
    Resumed,
    /// A start was asked for.
    Fired(Box<Fired>),
    /// A firing waits for the end of the one before.
    Buffered(Box<Fired>),
    /// The firing that waited waits no more: its start was asked for.
    Released {
        /// Its number.
        #[serde(rename = "n")]
        number: u32,
    },
    /// Firings came due while nobody looked, or while it was paused, and are not made up for.
    Missed {
        /// The number of the line that tells it.
        #[serde(rename = "n")]
        number: u32,
        /// The last of them.
        #[serde(rename = "t")]
        last: Timestamp,
    },
    /// A firing did not start anything.
    Skipped {
        /// Its number.
        #[serde(rename = "n")]
        number: u32,
        /// When it came due.
        #[serde(rename = "t")]
        planned: Timestamp,
        /// What caused it.
        #[serde(rename = "w")]
        cause: Cause,
    },
    /// What was asked for exists.
    Started {
        /// The firing's number.
        #[serde(rename = "n")]
        number: u32,
        /// What there is in its place, under an idempotency key.
        #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
        instead: Option<Instead>,
    },
    /// What was asked for cannot be.
    Refused {
        /// The firing's number.
        #[serde(rename = "n")]
        number: u32,
    },
    /// What was started was told to end, to make room.
    Stopped {
        /// The firing's number.
        #[serde(rename = "n")]
        number: u32,
    },
    /// What was started has ended.
    Ended {
        /// The firing's number.
        #[serde(rename = "n")]
        number: u32,
        /// It completed, and what is expected of runs counts that.
        #[serde(rename = "d", default, skip_serializing_if = "is_false")]
        done: bool,
        /// How long that took, in milliseconds, if it says what is usual.
        #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
        took: Option<i64>,
    },
    /// A run is not as expected, and that was told.
    Unmet {
        /// The firing's number.
        #[serde(rename = "n")]
        number: u32,
        /// What was expected.
        #[serde(rename = "x")]
        what: Expectation,
    },
    /// It was told that this is over.
    Met {
        /// What was expected.
        #[serde(rename = "x")]
        what: Expectation,
    },
    /// A firing is settled without a run that completed, and one is to be done by a time to come.
    Undone {
        /// The firing's number.
        #[serde(rename = "n")]
        number: u32,
        /// By when.
        #[serde(rename = "t")]
        by: Timestamp,
    },
    /// The run of such a firing was tried again and completed.
    Recovered {
        /// The firing's number.
        #[serde(rename = "n")]
        number: u32,
    },
    /// A stretch of the past is to be run.
    BackfillBegun {
        /// From here on.
        #[serde(rename = "f")]
        from: Timestamp,
        /// Up to and including this.
        #[serde(rename = "t")]
        to: Timestamp,
        /// How many of its runs may be under way together; absent = all.
        #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
        at_once: Option<u32>,
        /// Who asked.
        #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
        by: Option<Arc<str>>,
        /// Which instants come first.
        #[serde(rename = "r", default, skip_serializing_if = "Order::is_oldest")]
        order: Order,
        /// Instants that are left out, sorted.
        #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
        except: Vec<Timestamp>,
    },
    /// Its last firing was asked for, or somebody has ended it.
    BackfillDone,
    /// The wall clock was set back: instants after this one are to fire, also those that have fired
    /// by the clock as it stood before.
    ClockSetBack {
        /// The first instant by the new clock.
        #[serde(rename = "c")]
        cursor: Timestamp,
    },
    /// It is no more.
    Deleted,
}

/// A firing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fired {
    /// Its number, from 1.
    #[serde(rename = "n")]
    pub number: u32,
    /// When it came due.
    #[serde(rename = "t")]
    pub planned: Timestamp,
    /// What caused it.
    #[serde(rename = "w")]
    pub cause: Cause,
    /// The cron expression that named the instant.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<Arc<str>>,
    /// Its zone.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
    /// Who asked for it.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
    /// Its end is waited for.
    #[serde(rename = "f", default, skip_serializing_if = "is_false")]
    pub followed: bool,
    /// It is held against what the schedule expects.
    #[serde(rename = "x", default, skip_serializing_if = "is_false")]
    pub watched: bool,
    /// By when it is to be done.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub done_by: Option<Timestamp>,
}

/// Which instants of a stretch of the past come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The oldest.
    #[default]
    Oldest,
    /// The newest.
    Newest,
}

impl Order {
    /// The names.
    pub const NAMES: &'static [&'static str] = &["oldest", "newest"];

    /// Reads a name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "oldest" => Some(Self::Oldest),
            "newest" => Some(Self::Newest),
            _ => None,
        }
    }

    fn is_oldest(&self) -> bool {
        *self == Self::Oldest
    }
}

/// What causes a firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The clock.
    Due,
    /// Somebody's word.
    Trigger,
    /// A stretch of the past that is run.
    Backfill,
}

impl Cause {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Trigger => "trigger",
            Self::Backfill => "backfill",
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !*flag
}
