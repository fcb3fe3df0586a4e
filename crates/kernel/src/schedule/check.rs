//! What must hold of a schedule before a fact is folded.

use super::event::Event;
use super::state::Schedule;
use crate::contradiction::consistent;

impl Schedule {
    /// Stops at a fact that contradicts the state.
    ///
    /// Not looked at: whether a schedule that is paused, resumed or deleted was not so already, nor
    /// whether one that fires is defined. Folding comes to the same, so earlier releases may have
    /// written it without harm.
    pub(super) fn check(&self, event: &Event) {
        match event {
            Event::Fired(fired) | Event::Buffered(fired) => {
                let (number, last) = (fired.number, self.last_number);
                let fresh = number > last;
                consistent!(fresh, self.id, event, "number {number} is taken, {last} was the last");
            }
            Event::Released { number } => {
                let waits = self.buffered.as_ref().is_some_and(|firing| firing.number == *number);
                consistent!(waits, self.id, event, "firing {number} does not wait");
            }
            Event::Started { number, .. }
            | Event::Refused { number }
            | Event::Stopped { number }
            | Event::Ended { number, .. } => {
                let open = self.open.contains_key(number);
                consistent!(open, self.id, event, "firing {number} is not open");
            }
            Event::BackfillDone => {
                consistent!(self.backfill.is_some(), self.id, event, "no backfill has begun");
            }
            Event::At(_)
            | Event::Snapshot(_)
            | Event::Defined { .. }
            | Event::Paused { .. }
            | Event::Resumed
            | Event::Missed { .. }
            | Event::Skipped { .. }
            | Event::BackfillBegun { .. }
            | Event::Unmet { .. }
            | Event::Met { .. }
            | Event::Undone { .. }
            | Event::Recovered { .. }
            | Event::ClockSetBack { .. }
            | Event::Deleted => {}
        }
    }
}
