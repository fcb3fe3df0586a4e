//! What must hold of a monitor before a fact is folded.

use super::event::Event;
use super::monitor::Monitor;
use crate::contradiction::consistent;

impl Monitor {
    /// Stops at a fact that contradicts the state.
    ///
    /// A monitor that is set aside rings no more, so only what could never be told rightly counts.
    /// Not looked at, as the incident is none the worse for it: whether a receiver that is to be told
    /// is known, whether an incident that is dropped is there (it is to be gone), and from which state
    /// an incident moves.
    pub(super) fn check(&self, event: &Event) {
        if let Some(key) = event.incident() {
            let known = self.incidents.contains_key(key);
            consistent!(known, self.id, event, "no incident has its key");
        }
        match event {
            Event::Began { key, .. } => {
                let fresh = !self.incidents.contains_key(key);
                consistent!(fresh, self.id, event, "its key has an incident");
            }
            Event::Noted { key, number, .. } => {
                let known = self.remembered(key, *number).is_some();
                consistent!(known, self.id, event, "there is no incident {number} of its key");
            }
            Event::Checked { sequence, .. } => {
                let runs = self.check.as_ref().is_some_and(|check| check.sequence == *sequence);
                consistent!(runs, self.id, event, "check {sequence} does not run");
            }
            Event::Checking { sequence, .. } => self.check_number(event, *sequence),
            Event::Notified(notified) => self.check_number(event, notified.sequence),
            Event::Delivered(delivered) => self.check_delivery(event, delivered.sequence),
            Event::Resent { sequence } => self.check_delivery(event, *sequence),
            _ => {}
        }
    }

    /// Checks and deliveries are numbered together, and each number is given once.
    fn check_number(&self, event: &Event, sequence: u32) {
        let next = self.next_sequence;
        let fresh = sequence >= next;
        consistent!(fresh, self.id, event, "number {sequence} is taken, {next} is next");
    }

    fn check_delivery(&self, event: &Event, sequence: u32) {
        let known = self.deliveries.contains_key(&sequence);
        consistent!(known, self.id, event, "there is no delivery {sequence}");
    }
}
