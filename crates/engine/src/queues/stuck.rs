//! Stuck groups: tasks that wait for the same reason in the same queue, with the runs that they keep.

use std::collections::BTreeSet;
use std::sync::Arc;

use kernel::{ExecutionId, Timestamp};

use super::{Blocked, Queues, State};

/// Runs that a group names.
pub const STUCK_RUNS_MAX: usize = 1000;
/// Rows that are looked at of all queues: whoever asks holds their lock.
const ROWS_MAX: usize = 20_000;

/// Tasks of one queue that nobody is handed for now, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckGroup {
    /// The queue, or the gate of a workflow's limit.
    pub queue: Arc<str>,
    /// What keeps the first of them.
    pub blocked: Blocked,
    /// Tasks that are ready and wait there.
    pub tasks: u64,
    /// The runs that they belong to, in the order of the queue; at most [`STUCK_RUNS_MAX`].
    pub runs: Vec<ExecutionId>,
    /// There are more runs than these.
    pub has_more: bool,
    /// Since when the one waits that became ready first.
    pub oldest: Option<Timestamp>,
}

impl Blocked {
    /// The reason's word, as `why` has it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NeverPolled | Self::NotPolledSince(_) => "no-worker",
            Self::Concurrency { .. } => "concurrency-limit",
            Self::Rate { .. } => "rate-limit",
            Self::Behind { .. } => "queued",
        }
    }
}

impl Queues {
    /// The queues whose first task is not handed out although it is ready: nobody polls, or a limit is
    /// reached. The one with the most tasks comes first.
    pub fn stuck(&self, now: Timestamp) -> Vec<StuckGroup> {
        let mut state = self.state.lock();
        let waiting = state.queues.iter().filter(|(_, queue)| !queue.waiting.is_empty());
        let names: Vec<Arc<str>> = waiting.map(|(name, _)| name.clone()).collect();
        let mut budget = ROWS_MAX;
        let mut groups: Vec<StuckGroup> =
            names.iter().filter_map(|name| state.stuck(name, now, &mut budget)).collect();
        drop(state);
        groups.sort_by(|one, other| {
            other.tasks.cmp(&one.tasks).then_with(|| one.queue.cmp(&other.queue))
        });
        groups
    }
}

impl State {
    fn stuck(&mut self, name: &Arc<str>, now: Timestamp, budget: &mut usize) -> Option<StuckGroup> {
        let first = self.queues.get(name)?.waiting.values().next()?.clone();
        let row = self.rows.get(&first)?.row.clone();
        let limit = self.limit(&row, now);
        let queue = self.queues.get(name)?;
        let blocked = match (limit, queue.polled_at) {
            (Some(limit), _) => limit,
            // Places at a gate are given, not polled for.
            (None, _) if kernel::graph::is_gate(name) => return None,
            (None, None) => Blocked::NeverPolled,
            (None, Some(at)) if now.since(at) > super::ATTENDED_MILLIS => {
                Blocked::NotPolledSince(at)
            }
            (None, Some(_)) => return None,
        };
        let (mut runs, mut known) = (Vec::new(), BTreeSet::new());
        let mut looked_at = 0;
        for (execution, _) in queue.waiting.values().take(*budget) {
            looked_at += 1;
            if known.insert(execution) {
                if runs.len() == STUCK_RUNS_MAX {
                    break;
                }
                runs.push(execution.clone());
            }
        }
        let has_more = known.len() > runs.len() || looked_at < queue.waiting.len();
        *budget -= looked_at;
        Some(StuckGroup {
            queue: name.clone(),
            blocked,
            tasks: queue.waiting.len() as u64,
            runs,
            has_more,
            oldest: queue.oldest(),
        })
    }
}
