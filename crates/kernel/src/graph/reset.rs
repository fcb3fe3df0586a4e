//! Forgetting: what stood after a task that is done again, and iterations that are not kept.

use super::execution::{Execution, Task};
use super::plan::{BlockId, Kind, NodeId, Owner};
use super::status::TaskStatus;
use crate::contradiction::CHECKED;
use crate::json::Json;

impl Execution {
    /// Forgets everything that the flow reached after a task and sets the task back to its first
    /// state; if a `fresh` one is to take its place, forgets it, too. Other branches stay as they
    /// are.
    pub(super) fn rewind(&mut self, sequence: u32, input: Option<&Json>, fresh: bool) {
        let from = self.tasks.get(&sequence).cloned().expect(CHECKED);
        let doomed: Vec<u32> = self
            .tasks
            .values()
            .filter(|task| self.follows(task, &from))
            .map(|t| t.sequence)
            .collect();
        for doomed in doomed {
            if let Some(task) = self.tasks.remove(&doomed) {
                self.unindex(&task);
                let before = task.retries.and_then(|before| self.tasks.get_mut(&before));
                if let Some(before) = before {
                    before.retried = false;
                }
            }
        }
        // A child begins anew under an id that no task has or will have.
        let child = from.child.as_ref().map(|_| self.id.derive("child", self.next_sequence));
        self.next_sequence += u32::from(child.is_some());
        self.join_cursors.clear();
        if fresh {
            if let Some(task) = self.tasks.remove(&sequence) {
                self.unindex(&task);
            }
            return self.reindex_references();
        }
        self.touch(sequence, |task| task.child = child);
        self.set_back(sequence, input);
    }

    /// Sets a task back to its first state.
    pub(super) fn set_back(&mut self, sequence: u32, input: Option<&Json>) {
        let now = self.updated_at;
        self.touch(sequence, |task| {
            task.status = TaskStatus::Scheduled;
            task.retried = false;
            task.begun = false;
            task.alerted = false;
            task.reason = None;
            task.worker = None;
            task.output = Json::empty_object();
            task.scheduled_at = now;
            task.first_scheduled_at = now;
            task.started_at = None;
            task.ended_at = None;
            task.until = None;
            task.delay = 0;
            task.callback_after = 0;
            task.poll_count = 0;
            task.iteration = 0;
            task.kept_from = 1;
            task.branches = Vec::new();
            task.child_started = false;
            task.child_version = None;
            task.adopted = false;
            task.asked = 0;
            if let Some(input) = input {
                task.input = input.clone();
            }
        });
        if let Some(task) = self.tasks.get(&sequence) {
            let items = self.items_of(task.node, &task.input);
            self.touch(sequence, |task| task.items = items);
        }
        self.reindex_references();
    }

    /// Whether the flow has gone on after a task and came to grief. A JOIN does not count: it was
    /// there before the task ended.
    pub(super) fn has_failed_behind(&self, task: &Task) -> bool {
        self.tasks.values().any(|later| {
            let joins = matches!(later.kind, Kind::Join | Kind::ExclusiveJoin);
            let failed = later.status.is_failure() && !later.retried && !joins;
            failed && later.sequence != task.sequence && self.follows(later, task)
        })
    }

    /// Whether the flow reached a task after, or within, or again at `from`.
    pub(super) fn follows(&self, task: &Task, from: &Task) -> bool {
        let again = task.node == from.node && task.sequence > from.sequence;
        let within = again || self.is_within(task.node, from.node);
        if within && task.path.starts_with(&from.path) {
            return true;
        }
        let (mut node, mut path) = (from.node, &from.path[..]);
        loop {
            let (block, index) = (self.node(node).block, self.node(node).index);
            if task.path.starts_with(path) && self.stands_after(task.node, block, index) {
                return true;
            }
            node = match self.block(block).owner {
                Owner::Root => return false,
                Owner::Case(owner) | Owner::Branch(owner) => owner,
                Owner::Body(owner) => {
                    let Some((iteration, outer)) = path.split_last() else { return false };
                    let later = task.path.get(outer.len()).is_some_and(|n| n > iteration);
                    if later && task.path.starts_with(outer) && self.is_within(task.node, owner) {
                        return true;
                    }
                    path = outer;
                    owner
                }
            };
        }
    }

    /// Whether a node stands in a block after a place, or inside one that does.
    fn stands_after(&self, node: NodeId, block: BlockId, index: usize) -> bool {
        std::iter::once(node).chain(self.owners(node)).any(|id| {
            let node = self.node(id);
            node.block == block && node.index > index
        })
    }

    /// The last iteration of a loop up to which all tasks of all iterations have ended.
    pub(super) fn closed_through(&self, sequence: u32) -> u32 {
        let Some(depth) = self.task(sequence).map(|task| task.path.len()) else { return 0 };
        self.tasks
            .range(sequence..)
            .filter(|(inner, it)| !it.status.is_closed() && self.runs_inside(**inner, sequence))
            .map(|(_, inner)| inner.path[depth].saturating_sub(1))
            .min()
            .unwrap_or(u32::MAX)
    }

    pub(super) fn forget_iterations(&mut self, sequence: u32, through: u32) {
        let task = self.tasks.get(&sequence).expect(CHECKED);
        if through < task.kept_from {
            return;
        }
        let depth = task.path.len();
        let doomed: Vec<u32> = self
            .tasks
            .range(sequence..)
            .filter(|(inner, _)| self.runs_inside(**inner, sequence))
            .filter(|(_, inner)| inner.path[depth] <= through)
            .map(|(inner, _)| *inner)
            .collect();
        for sequence in doomed {
            if let Some(task) = self.tasks.remove(&sequence) {
                self.unindex(&task);
                self.by_reference.remove(&task.reference);
            }
        }
    }
}
