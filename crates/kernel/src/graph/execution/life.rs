//! The lives of an execution: it ends, and may run again after that.

use super::Execution;
use crate::graph::event::Ended;
use crate::json::Json;
use crate::graph::status::Status;
use crate::time::Timestamp;

impl Execution {
    /// When it last began to run, at first or after an end: what ended before is of another life.
    pub fn life_began_at(&self) -> Timestamp {
        self.revived_at.unwrap_or(self.created_at)
    }

    /// Whether it had ended before it ended and did not run in between: somebody terminated it then.
    pub fn has_ended_twice(&self) -> bool {
        self.end_count > self.revivals + 1
    }

    pub(super) fn end(&mut self, ended: &Ended) {
        self.status = ended.status;
        self.output = ended.output.clone();
        self.reason.clone_from(&ended.reason);
        self.ended_at = Some(self.updated_at);
        self.end_count += 1;
        // Nobody is left to take them, and what has ended costs no memory.
        self.inbox.clear();
    }

    pub(super) fn revive(&mut self) {
        self.status = Status::Running;
        self.retried_at = Some(self.updated_at);
        self.revived_at = Some(self.updated_at);
        self.revivals += 1;
        self.ended_at = None;
        self.reason = None;
        self.output = Json::empty_object();
        self.watchers.clear();
        self.pass_gate();
    }
}
