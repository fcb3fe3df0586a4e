//! Monitors that this one depends on are asked how they are before anybody is told of an incident.
//!
//! What depends on a router may be checked before the router itself is, and would page first. So
//! when something is to be told for the first time, the parents are to be checked now; the page
//! waits for that, but never longer than [`ANSWER_MAX`], or twice that if others were being asked
//! already when its incident opened.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::decide::Draft;
use super::event::Event;
use super::incident::State;
use super::is_own;
use super::monitor::Monitor;
use crate::time::Timestamp;

/// Milliseconds for which a page waits for the parents at most.
const ANSWER_MAX: i64 = 30_000;

/// How the question after the parents stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// When they were asked last.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// Their answer is waited for until then; absent = it came, or did not come in time.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When they were asked the question before this one, which is over.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
}

impl Monitor {
    /// Whether a monitor that depends on this one should hold its pages: something is open here, or
    /// the last check was bad and may yet lead to an incident.
    pub fn is_failing(&self) -> bool {
        let may_open = |state, bad: bool| state == State::Pending && bad && self.errors == 0;
        let incidents = self.incidents.iter().filter(|(key, _)| !is_own(key));
        self.is_down()
            || !self.removed
                && incidents.map(|(_, it)| it).any(|it| may_open(it.state, it.status.is_bad()))
    }

    /// The monitors that are to be checked now, because a page waits for how they are.
    pub fn asks(&self) -> &[Arc<str>] {
        let asks = self.asked.is_some_and(|asked| asked.until.is_some());
        let spec = self.spec.as_ref().filter(|_| asks && !self.removed);
        spec.map_or(&[], |spec| &spec.monitor.depends_on)
    }
}

/// Whether an incident that is about to be told of has to wait for the parents; asks them if nobody
/// has since it opened.
pub(super) fn must_wait(draft: &mut Draft<'_>, key: &str) -> bool {
    let has_parents = !draft.spec().monitor.depends_on.is_empty();
    let Some(incident) = draft.state.incidents.get(key) else { return false };
    let first = incident.state == State::Open && incident.steps == 0 && incident.told.is_empty();
    let Some(opened_at) = incident.opened_at.filter(|_| first && has_parents) else { return false };
    let waits = |asked: &Asked| asked.until.is_some_and(|until| until > draft.now);
    match &draft.state.asked {
        // A later question is none of its business.
        Some(asked) if asked.before.is_some_and(|before| before >= opened_at) => false,
        Some(asked) if waits(asked) => true,
        Some(asked) if asked.at >= opened_at => false,
        _ if !draft.answers => false,
        _ => {
            let until = draft.now.plus_millis(ANSWER_MAX);
            draft.push(Event::ParentsAsked { until });
            true
        }
    }
}

/// The parents were checked, or did not answer in time.
pub(super) fn answered(draft: &mut Draft<'_>) {
    if draft.state.asked.is_some_and(|asked| asked.until.is_some()) {
        draft.push(Event::ParentsAnswered);
    }
}

/// The clock moved.
pub(super) fn look_at_clock(draft: &mut Draft<'_>) {
    let until = draft.state.asked.and_then(|asked| asked.until);
    if until.is_some_and(|until| until <= draft.now) {
        answered(draft);
    }
}
