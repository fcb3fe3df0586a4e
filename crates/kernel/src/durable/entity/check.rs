//! What must hold of an entity before a fact is folded.

use super::event::Event;
use super::state::{Entity, Queued};
use crate::contradiction::consistent;

impl Entity {
    /// Stops at a fact that contradicts the state.
    ///
    /// Not looked at: whether a wish for a lock that is withdrawn was there, and whether anything
    /// waited that becomes ready. Folding comes to the same.
    pub(super) fn check(&self, event: &Event) {
        match event {
            Event::Due { number, .. } => {
                let known = self.scheduled.contains_key(number);
                consistent!(known, self.id, event, "there is no scheduled signal {number}");
            }
            Event::Batched(batched) => {
                let (done, ready) = (batched.done, self.ready.len());
                let enough = done <= ready;
                consistent!(enough, self.id, event, "{done} operations of {ready} are done");
            }
            Event::Locked { lock, .. } => {
                consistent!(self.lock.is_none(), self.id, event, "it is locked already");
                let first = match self.waiting.front() {
                    Some(Queued::Lock(first)) => first == lock,
                    _ => false,
                };
                consistent!(first, self.id, event, "the request is not the first that waits");
            }
            Event::Unlocked { .. } => {
                consistent!(self.lock.is_some(), self.id, event, "it is not locked");
            }
            Event::Came { .. }
            | Event::Withdrawn { .. }
            | Event::Released { .. }
            | Event::Snapshot(_) => {}
        }
    }
}
