//! What lies ahead of a task by the clock: when it would be tried again, and what ends it.

use super::execution::{Execution, Task};
use super::timing::{Timeout, deadline, retry_pause};
use crate::definition::TaskDef;
use crate::time::Timestamp;

/// A retry that has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Its number, from 1.
    pub number: u32,
    /// When it begins at the earliest: if the attempt before it fails at once. Jitter and what a
    /// worker asks for come on top.
    pub at: Timestamp,
}

/// Retries that are told.
const RETRIES_MAX: usize = 10;

impl Execution {
    /// Retries that the author allows; `None` if nobody has said.
    pub fn retries_allowed(&self, task: &Task) -> Option<i32> {
        let node = self.node_of(task);
        node.task.retry_count.or(self.policy_of(task).map(|policy| policy.retry_count))
    }

    /// The retries that are left to an open attempt if it fails now and so do they, the first ten; none
    /// for what is closed or never tried again.
    pub fn retries_ahead(&self, task: &Task, now: Timestamp) -> Vec<Retry> {
        if task.status.is_closed() || self.node_of(task).kind.is_control() {
            return Vec::new();
        }
        let fallback = TaskDef { retry_count: 0, ..TaskDef::default() };
        let policy = self.policy_of(task).unwrap_or(&fallback);
        let allowed = u32::try_from(self.retries_allowed(task).unwrap_or(0)).unwrap_or(0);
        let ends_at = task.first_scheduled_at.plus_seconds(policy.total_timeout_seconds);
        let begins = task.scheduled_at.plus_millis(task.delay);
        let (mut at, mut retries) = (begins.max(now), Vec::new());
        for attempt in (task.attempt..allowed).take(RETRIES_MAX) {
            at = at.plus_millis(retry_pause(policy, attempt).max(1));
            if policy.total_timeout_seconds > 0 && ends_at <= at {
                break;
            }
            retries.push(Retry { number: attempt + 1, at });
        }
        retries
    }

    /// When each limit of an open task strikes, the soonest first.
    pub fn deadlines(&self, task: &Task) -> Vec<(Timeout, Timestamp)> {
        let Some(policy) = self.policy_of(task).filter(|_| !task.status.is_closed()) else {
            return Vec::new();
        };
        let all = [Timeout::Total, Timeout::Attempt, Timeout::Poll, Timeout::Response];
        let strikes = |limit| deadline(task, policy, limit).map(|at| (limit, at));
        let mut deadlines: Vec<_> = all.into_iter().filter_map(strikes).collect();
        deadlines.sort_by_key(|(_, at)| *at);
        deadlines
    }
}
