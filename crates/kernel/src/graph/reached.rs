//! How far the flow has come: what an operator skipped stands in the record before the flow is there.

use super::execution::{Execution, Task};
use super::nodes::switch;
use super::plan::{BlockId, Kind, Owner};
use super::status::TaskStatus;

impl Execution {
    /// Whether the flow has come as far as a task. Only one that was skipped can stand in the record before that.
    pub(super) fn is_reached(&self, task: &Task) -> bool {
        let node = self.node_of(task);
        task.status != TaskStatus::Skipped || self.leads_to(node.block, node.index, &task.path)
    }

    /// Whether everything in a block before a place was passed, and what the block stands in leads to it.
    fn leads_to(&self, block: BlockId, index: usize, path: &[u32]) -> bool {
        let present = self.block(block);
        for node in present.nodes.iter().take(index).rev() {
            let Some(task) = self.attempt_at(*node, path) else { return false };
            if !self.is_passed(task) {
                return false;
            }
            if task.status != TaskStatus::Skipped {
                return true;
            }
        }
        let entered = |node| {
            let task: Option<&Task> = self.attempt_at(node, path);
            task.filter(|task| task.status.is_success() && task.status != TaskStatus::Skipped)
        };
        match present.owner {
            // What stands in a loop is never skipped ahead.
            Owner::Root | Owner::Body(_) => true,
            Owner::Branch(node) => entered(node).is_some(),
            Owner::Case(node) => {
                entered(node).is_some_and(|task| switch::chosen(self, task) == Some(block))
            }
        }
    }

    /// Whether the flow has gone on behind a task, or would.
    fn is_passed(&self, task: &Task) -> bool {
        let permissive = task.status.is_failure() && self.node_of(task).task.permissive;
        let chosen = match task.kind {
            Kind::Switch | Kind::Decision if task.status != TaskStatus::Skipped => {
                switch::chosen(self, task)
            }
            _ => None,
        };
        let inside = |block: BlockId| {
            let length = self.block(block).nodes.len();
            self.leads_to(block, length, &task.path)
        };
        (task.status.is_success() || permissive) && chosen.is_none_or(inside)
    }
}
