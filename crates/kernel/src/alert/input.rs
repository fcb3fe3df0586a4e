//! What the world says to a monitor.

use std::sync::Arc;

use super::definition::{Silence, Spec};
use super::observation::Observation;
use super::received::Alert;
use crate::graph::Message;
use crate::time::Timestamp;

/// What a decision may look at besides the state.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The instant at which is decided.
    pub now: Timestamp,
    /// Whether somebody checks the parents of a monitor that asks for it, see [`Monitor::asks`], and
    /// answers with [`Input::ParentsChecked`]. Where nobody does, pages do not wait for it.
    ///
    /// [`Monitor::asks`]: super::Monitor::asks
    pub asks_parents: bool,
    /// Since when the server has listened without a break: what could not be said before is not held
    /// against anybody for a while. Absent = it has always listened.
    pub listening_since: Option<Timestamp>,
}

/// One input.
#[derive(Clone, Debug)]
pub enum Input {
    /// Obey this from now on.
    Define(Box<Spec>),
    /// Watch no more; what is open resolves.
    Remove {
        /// Who wants it.
        who: Option<Arc<str>>,
    },
    /// Look at the clock.
    Wake,
    /// Check now, whatever the schedule says.
    Check {
        /// Who wants it.
        who: Option<Arc<str>>,
    },
    /// An execution that this monitor started says something.
    Message(Message),
    /// Somebody else observed something: another system, an operator, Nightbell itself.
    Observe {
        /// What was seen.
        observations: Vec<Observation>,
        /// Keys that are not among them count as absent.
        complete: bool,
        /// Who says so.
        who: Option<Arc<str>>,
    },
    /// Alerts that another system sends.
    Alerts(Vec<Alert>),
    /// Somebody takes care of an incident.
    Acknowledge {
        /// Its key, fingerprint or id.
        incident: Arc<str>,
        /// Who.
        who: Arc<str>,
        /// Why, or what is done.
        why: Option<Arc<str>>,
        /// Stay acknowledged even if it gets worse.
        until_clear: bool,
    },
    /// Somebody does not take care after all: an acknowledgement is taken back.
    Unacknowledge {
        /// Its key, fingerprint or id.
        incident: Arc<str>,
        /// Who.
        who: Arc<str>,
        /// Why.
        why: Option<Arc<str>>,
    },
    /// Be quiet about an incident for a while.
    Snooze {
        /// Its key, fingerprint or id.
        incident: Arc<str>,
        /// Until then.
        until: Timestamp,
        /// Who.
        who: Arc<str>,
        /// Why.
        why: Option<Arc<str>>,
    },
    /// An incident is over because somebody says so.
    Resolve {
        /// Its key, fingerprint or id.
        incident: Arc<str>,
        /// Who.
        who: Arc<str>,
        /// Why.
        why: Option<Arc<str>>,
    },
    /// Somebody writes down what others should know of an incident, also of one that is over.
    Note {
        /// Its key, fingerprint or id.
        incident: Arc<str>,
        /// Who.
        who: Arc<str>,
        /// What they should know; at most [`NOTE_MAX`](super::NOTE_MAX) bytes.
        text: Arc<str>,
    },
    /// The next step of the route that tells somebody new is taken now, whatever its delay and whether
    /// or not somebody takes care.
    Escalate {
        /// Its key, fingerprint or id.
        incident: Arc<str>,
        /// Who.
        who: Arc<str>,
        /// Why.
        why: Option<Arc<str>>,
    },
    /// A receiver tells what was done there about an incident.
    ProviderEvent(ProviderEvent),
    /// Somebody wants to know whether notifications arrive at a receiver.
    Test {
        /// The receiver.
        receiver: Arc<str>,
        /// Who.
        who: Option<Arc<str>>,
    },
    /// What was given up is to be sent again: somebody has put right why it did not arrive.
    Resend {
        /// Only what was about this incident: its key, fingerprint or id.
        incident: Option<Arc<str>>,
        /// Only what this receiver was to be told.
        receiver: Option<Arc<str>>,
        /// Who wants it.
        who: Option<Arc<str>>,
    },
    /// All silences that may concern this monitor, in the place of those known.
    Silences(Vec<Silence>),
    /// A call of whom a heartbeat monitor waits for.
    Ping(Ping),
    /// A monitor that this one depends on, or that is its witness, went down or came back.
    Parent {
        /// Which.
        monitor: Arc<str>,
        /// Whether it is down.
        down: bool,
        /// Whether it is down, or failed its last check and may be about to go down.
        failing: bool,
    },
    /// Those monitors that this one asked for were checked, and [`Input::Parent`] has said how they
    /// are.
    ParentsChecked,
}

/// What a receiver tells of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderEvent {
    /// The incident's key, fingerprint or id.
    pub incident: Arc<str>,
    /// The receiver.
    pub receiver: Arc<str>,
    /// What was done.
    pub deed: ProviderAction,
    /// Who did it, if it was somebody.
    pub who: Option<Arc<str>>,
    /// What they said about it.
    pub why: Option<Arc<str>>,
    /// When, by the receiver's clock.
    pub at: Timestamp,
    /// Whether the receiver is to be told itself that somebody takes care: a chat in which one of
    /// many pressed a button does not know it yet, a provider with alerts of its own does.
    pub told_there: bool,
}

/// What was done about an incident at a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderAction {
    /// Somebody takes care.
    Acknowledge,
    /// Nobody takes care any more.
    Unacknowledge,
    /// It is over.
    Resolve,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// What it says.
    pub kind: PingKind,
    /// The caller's name for this run, which tells overlapping runs apart.
    pub run: Option<Arc<str>>,
    /// What the caller wrote.
    pub text: Option<Arc<str>>,
}

/// What a call says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingKind {
    /// The job begins.
    Start,
    /// The job ended well.
    Success,
    /// The job ended badly.
    Fail,
    /// The job ended with this code; 0 is well.
    Exit(i32),
    /// Only a line for the record.
    Log,
}
