//! Putting another plan under a state: tasks find their places by reference name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Execution, Task};
use crate::graph::plan::{NodeId, Plan, Shape};

impl Execution {
    /// Whether another plan fits what has happened so far.
    ///
    /// # Errors
    /// The task that it does not fit, in words.
    pub fn check_upgrade(&self, plan: &Plan) -> Result<(), String> {
        let version = plan.definition.version;
        for task in self.tasks() {
            let reference = &self.node_of(task).reference;
            let open = !task.status.is_closed();
            let Some(next) = self.place_in(plan, task) else {
                if open {
                    return Err(format!(
                        "task '{}' is open and version {version} has no such task",
                        task.reference
                    ));
                }
                continue;
            };
            let Some(node) = plan.shape.node(next) else { continue };
            if node.kind != self.node_of(task).kind || node.depth != task.path.len() {
                return Err(format!(
                    "task '{}' has another type in version {version}, or other loops around it",
                    task.reference
                ));
            }
            if open && self.names_around(task) != plan.shape.names_around(next) {
                return Err(format!(
                    "task '{reference}' is open and stands inside other tasks in version {version}"
                ));
            }
        }
        Ok(())
    }

    /// The place of a task in another plan. What a dynamic fork added has none.
    fn place_in(&self, plan: &Plan, task: &Task) -> Option<NodeId> {
        let node = self.plan().shape.node(task.node)?;
        plan.node_named(&node.reference)
    }

    fn names_around(&self, task: &Task) -> Vec<Arc<str>> {
        self.owners(task.node).map(|owner| self.node(owner).reference.clone()).collect()
    }

    /// Obeys another plan from now on. Tasks that it has no place for have ended; they keep a place
    /// of their own, so that they can still be shown.
    pub(super) fn upgrade(&mut self, plan: &Arc<Plan>) {
        let mut grafts = Shape::after(&plan.shape);
        let mut kept: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let places: Vec<(u32, NodeId)> = self
            .tasks
            .values()
            .map(|task| {
                let place = self.place_in(plan, task).unwrap_or_else(|| {
                    let node = self.node(task.node);
                    *kept.entry(task.node).or_insert_with(|| grafts.keep(&node.task, node.depth))
                });
                (task.sequence, place)
            })
            .collect();
        self.plan = Some(plan.clone());
        self.grafts = grafts;
        self.branch_inputs.clear();
        self.join_cursors.clear();
        for (sequence, place) in places {
            if let Some(task) = self.tasks.get_mut(&sequence) {
                task.node = place;
                task.branches.clear();
            }
            self.index(sequence);
        }
        self.reindex_references();
    }
}
