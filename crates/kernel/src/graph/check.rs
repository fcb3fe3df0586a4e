//! What must hold of an execution before a fact is folded.

use super::event::Event;
use super::execution::Execution;
use crate::contradiction::consistent;

impl Execution {
    /// Stops at a fact that contradicts the state.
    ///
    /// Not looked at, as earlier releases may have written it without harm: whether an attempt that
    /// ends, or one that another repeats, has ended already; whether what is resumed was paused. A
    /// retried attempt may be forgotten (`keepLastN`), an end may follow an end (a failed execution
    /// that is terminated).
    pub(super) fn check(&self, event: &Event) {
        let begins = matches!(
            event,
            Event::At(_) | Event::Started(_) | Event::Snapshot(_) | Event::Branched(_)
        );
        consistent!(begins || self.is_started(), self.id, event, "it has not begun");
        let twice = matches!(event, Event::Branched(_)) && self.is_started();
        consistent!(!twice, self.id, event, "it has begun before");
        if let Some(sequence) = event.task() {
            let known = self.tasks.contains_key(&sequence);
            consistent!(known, self.id, event, "there is no task {sequence}");
        }
        match event {
            Event::Scheduled(scheduled) => {
                let (sequence, next) = (scheduled.sequence, self.next_sequence);
                let fresh = sequence >= next;
                consistent!(fresh, self.id, event, "number {sequence} is taken, {next} is next");
            }
            Event::Closed(closed) => {
                let status = closed.status;
                let over = status.is_closed();
                consistent!(over, self.id, event, "a task does not end {}", status.as_str());
            }
            Event::Ended(ended) => {
                let status = ended.status;
                let over = status.is_closed();
                consistent!(over, self.id, event, "an execution does not end {}", status.as_str());
            }
            Event::Collected { count } => {
                let held = self.inbox.len();
                let enough = *count as usize <= held;
                consistent!(enough, self.id, event, "{count} messages of {held}");
            }
            Event::Admitted => {
                consistent!(self.gate.is_some(), self.id, event, "it waits at no gate");
            }
            Event::Counted => {
                consistent!(self.acts_as.is_some(), self.id, event, "it acts as nobody");
            }
            _ => {}
        }
    }
}
