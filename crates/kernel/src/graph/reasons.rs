//! Which tasks failed, and the sentences that say why a task or an execution did.

use std::collections::BTreeSet;

use super::execution::{Execution, Task};
use super::plan::Kind;
use super::status::TaskStatus;
use super::timing;
use crate::definition::TaskDef;

pub(super) fn failure_reason(state: &Execution, task: &Task) -> String {
    let id = state.task_id(task.sequence);
    let status = task.status.as_str();
    let reason = task.reason.as_deref().unwrap_or("none given");
    format!("Task {id} ({}) failed with status: {status} and reason: '{reason}'", task.reference)
}

pub(super) fn timeout_reason(task: &Task, policy: &TaskDef, timeout: timing::Timeout) -> String {
    use timing::Timeout::{Attempt, Poll, Response, Total};
    match timeout {
        Total => format!(
            "all attempts together took longer than totalTimeoutSeconds ({} s)",
            policy.total_timeout_seconds
        ),
        Attempt => {
            format!("the attempt took longer than timeoutSeconds ({} s)", policy.timeout_seconds)
        }
        Poll => format!(
            "no worker polled '{}' within pollTimeoutSeconds ({} s)",
            task.task_type,
            policy.poll_timeout_seconds.unwrap_or(0)
        ),
        Response => format!(
            "worker '{}' was not heard of within responseTimeoutSeconds ({} s)",
            task.worker.as_deref().unwrap_or("unknown"),
            policy.response_timeout_seconds
        ),
    }
}

impl Execution {
    /// Reference names of the tasks that had failed when the execution ended, without repeats.
    pub fn failed_references(&self) -> BTreeSet<&str> {
        self.failed_tasks().map(|task| &*task.reference).collect()
    }

    /// Names of the tasks that had failed when the execution ended, without repeats.
    pub fn failed_names(&self) -> BTreeSet<&str> {
        self.failed_tasks().map(Task::definition_name).collect()
    }

    /// As the protocol counts: every attempt that failed, those that were repeated too, but none
    /// that timed out or was cancelled, and no loop on account of its body.
    fn failed_tasks(&self) -> impl Iterator<Item = &Task> {
        let ended = self.end_count > 0;
        self.tasks().filter(move |task| match task.status {
            TaskStatus::Failed => ended && task.kind != Kind::DoWhile,
            TaskStatus::FailedWithTerminalError => ended,
            _ => false,
        })
    }
}
