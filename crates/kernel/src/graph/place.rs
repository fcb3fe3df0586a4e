//! Where a node stands among others: inside what, and what is inside it.

use super::execution::{Execution, Task};
use super::plan::{Kind, Node, NodeId, Owner};

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

    /// The place of the definition that a task belongs to: its own or, of what a dynamic fork added, that
    /// of the fork.
    pub fn authored_place(&self, task: &Task) -> &Node {
        let is_authored = |node: &NodeId| self.plan().shape.node(*node).is_some();
        let node = std::iter::once(task.node).chain(self.owners(task.node)).find(is_authored);
        self.node(node.unwrap_or(task.node))
    }

    /// The loops around a task, innermost first, as many as its path has iterations.
    pub fn loops_around(&self, task: &Task) -> impl Iterator<Item = &Node> {
        let owners = self.owners(task.node).map(|owner| self.node(owner));
        owners.filter(|node| node.kind == Kind::DoWhile)
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
