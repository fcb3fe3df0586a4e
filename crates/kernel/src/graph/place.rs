//! Where a node stands among others: inside what, and what is inside it.

use super::execution::Execution;
use super::plan::{Node, NodeId, Owner};

impl Execution {
    /// Every node of a loop's body, nested blocks included.
    pub(super) fn body_nodes(&self, outer: &Node) -> Vec<NodeId> {
        let mut found = Vec::new();
        let mut blocks = outer.blocks.clone();
        while let Some(block) = blocks.pop() {
            for id in &self.block(block).nodes {
                found.push(*id);
                blocks.extend(&self.node(*id).blocks);
            }
        }
        found
    }

    /// Whether a node stands somewhere inside another, what dynamic forks added included.
    pub(super) fn is_within(&self, node: NodeId, outer: NodeId) -> bool {
        self.owners(node).any(|owner| owner == outer)
    }

    /// The nodes around a node, innermost first.
    pub(super) fn owners(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(node), |node| match self.block(self.node(*node).block).owner {
            Owner::Root => None,
            Owner::Case(owner) | Owner::Branch(owner) | Owner::Body(owner) => Some(owner),
        })
        .skip(1)
    }

    /// Whether a task belongs to an iteration of a loop.
    pub(super) fn runs_inside(&self, task: u32, outer: u32) -> bool {
        let (Some(task), Some(outer)) = (self.task(task), self.task(outer)) else {
            return false;
        };
        task.path.len() > outer.path.len()
            && task.path.starts_with(&outer.path)
            && self.is_within(task.node, outer.node)
    }
}
