//! What must hold of an instance before a fact is folded.

use super::event::Event;
use super::state::Instance;
use crate::contradiction::consistent;

impl Instance {
    /// Stops at a fact that contradicts the state.
    ///
    /// What came in ([`Event::Received`]) says what others and users' code did, in whatever order:
    /// answers to what nobody asked, locks given back that were never held. It is kept as it came.
    pub(super) fn check(&self, event: &Event) {
        let begins = matches!(event, Event::Started { .. } | Event::Snapshot(_));
        consistent!(begins || self.has_begun(), self.id, event, "it has not begun");
        match event {
            Event::Turned(turned) => {
                let (processed, new) = (turned.processed, self.inbox.len());
                let enough = processed <= new;
                consistent!(enough, self.id, event, "{processed} events of {new} were looked at");
                consistent!(self.is_open(), self.id, event, "it has ended");
            }
            Event::Continued(_) | Event::Ended { .. } => {
                consistent!(self.is_open(), self.id, event, "it has ended");
            }
            Event::Rewinding { .. } => {
                consistent!(!self.is_open(), self.id, event, "it has not ended");
            }
            Event::Rewound { .. } => {
                consistent!(self.rewinding, self.id, event, "no rewind was asked for");
            }
            Event::Child { task, .. } => {
                let known = self.children.contains_key(task);
                consistent!(known, self.id, event, "action {task} has no child");
            }
            Event::Started { .. }
            | Event::Due { .. }
            | Event::Received { .. }
            | Event::Retried { .. }
            | Event::Snapshot(_) => {}
        }
    }
}
