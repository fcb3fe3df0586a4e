//! What would become of firings if nobody looked for a while: a copy of the schedule is asked, so that the
//! answer is what it would do.

use super::context::{Context, Input, Limits};
use super::state::Schedule;
use crate::machine::{Effect, Machine as _, Record};
use crate::time::Timestamp;

/// Decisions of the copy; each makes up for as many firings as one commit may have.
const DECISIONS_MAX: usize = 20;

/// What would become of a firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is made up for as soon as somebody looks again.
    MadeUp,
    /// It is made up for when the one before has ended.
    Waits,
    /// The one before has not ended, so it starts nothing.
    Skipped,
    /// It is not made up for.
    Missed,
}

/// Firings of an outage that share their fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// What becomes of them.
    pub fate: Fate,
    /// The first of them.
    pub first: Timestamp,
    /// The last; often the first.
    pub last: Timestamp,
    /// How many these are.
    pub count: u64,
    /// Why, of those that are missed.
    pub reason: Option<String>,
}

impl Schedule {
    /// What becomes of the instants after `from` and up to `to` if nobody looks before `to`, and no run of
    /// the schedule is under way then. Nothing of one that is paused.
    pub fn outage(&self, from: Timestamp, to: Timestamp, limits: &Limits) -> Vec<Outage> {
        let mut copy = Self::new(self.id.clone());
        copy.spec.clone_from(&self.spec);
        let Some(spec) = copy.spec.as_mut().filter(|_| !self.paused) else { return Vec::new() };
        // What is expected of runs is not asked here.
        spec.expect = None;
        (copy.created_at, copy.now, copy.cursor) = (self.created_at, from, from);
        let context = Context { now: to, limits };
        let mut told = Vec::new();
        for _ in 0..DECISIONS_MAX {
            match copy.decide(Input::Wake, &context) {
                Ok(decision) if !decision.events.is_empty() => {
                    told.extend(decision.effects.into_iter().filter_map(told_by));
                }
                _ => break,
            }
        }
        told.sort_by_key(|it| it.first);
        told
    }
}

fn told_by(effect: Effect) -> Option<Outage> {
    let Effect::Record(Record { at, status, body, .. }) = effect else { return None };
    let body = body.parse();
    let reason = body["reason"].as_str();
    let fate = match (&*status, reason) {
        ("MISSED", _) => Fate::Missed,
        ("SKIPPED", _) => Fate::Skipped,
        ("POLLED", Some(_)) => Fate::Waits,
        _ => Fate::MadeUp,
    };
    Some(Outage {
        fate,
        first: at,
        last: body["lastPlannedAt"].as_i64().map_or(at, Timestamp::from_millis),
        count: body["count"].as_u64().unwrap_or(1),
        reason: reason.filter(|_| fate == Fate::Missed).map(str::to_owned),
    })
}
