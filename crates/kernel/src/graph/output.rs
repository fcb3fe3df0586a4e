//! What tasks give: kept as reported, but for those whose output is made of other tasks'.
//!
//! A JOIN shows what its branches gave and a DO_WHILE what its iterations gave. Neither is stored:
//! it would be the same text twice, and for a long loop the square of its length.

use std::collections::BTreeMap;

use super::execution::{Execution, Task};
use super::nodes;
use super::object::ObjectText;
use super::plan::Kind;
use super::status::TaskStatus;
use crate::json::Json;

impl Execution {
    /// A task's output; that of a JOIN or DO_WHILE is made of their branches' and bodies', and a
    /// SUB_WORKFLOW shows its child's id as soon as there is a child.
    pub fn output_of(&self, task: &Task) -> Json {
        match task.kind {
            Kind::Join => self.join_output(task),
            Kind::DoWhile => self.loop_output(task),
            Kind::SubWorkflow => self.sub_workflow_output(task),
            _ => task.output.clone(),
        }
    }

    fn sub_workflow_output(&self, task: &Task) -> Json {
        // What a child gives at its end names it; one that was cut short gave nothing.
        let told = task.status.is_closed() && task.status != TaskStatus::Canceled;
        let Some(child) = self.child_of(task).filter(|_| !told) else { return task.output.clone() };
        let mut object = ObjectText::new();
        object.members_besides(&task.output, &["subWorkflowId"]);
        object.member("subWorkflowId", Json::of(child).text());
        object.finish()
    }

    fn join_output(&self, task: &Task) -> Json {
        let mut object = ObjectText::new();
        for reference in &self.joined(task) {
            if let Some(branch) = self.latest(reference) {
                let output = self.output_of(branch);
                if !output.is_empty_object() {
                    object.member(reference, output.text());
                }
            }
        }
        object.members_of(&task.output);
        object.finish()
    }

    fn loop_output(&self, task: &Task) -> Json {
        let depth = task.path.len();
        let mut iterations: BTreeMap<u32, ObjectText> = BTreeMap::new();
        // Numbers only grow: an iteration's tasks come after the loop's own.
        for inner in self.tasks_from(task.sequence) {
            let direct = inner.path.len() == depth + 1 && !inner.retried;
            if !direct || !self.runs_inside(inner.sequence, task.sequence) {
                continue;
            }
            // What a dynamic fork adds is seen through its JOIN.
            let mut between = self.owners(inner.node).take_while(|owner| *owner != task.node);
            if between.any(|owner| self.node(owner).kind == Kind::DynamicFork) {
                continue;
            }
            let object = iterations.entry(inner.path[depth]).or_insert_with(ObjectText::new);
            object.member(&self.node(inner.node).reference, self.output_of(inner).text());
        }
        let mut object = ObjectText::new();
        for (iteration, members) in iterations {
            object.member(&iteration.to_string(), members.finish().text());
        }
        object.members_of(&task.output);
        object.member("iteration", &task.iteration.to_string());
        if let Some(position) = nodes::loop_position(task) {
            object.members_of(&position);
        }
        object.finish()
    }

    /// A member of a task's output, where that takes less than making all of the output: what a
    /// body reads of its own loop.
    pub(super) fn part_of_output(task: &Task, member: &str) -> Option<Json> {
        match (task.kind, member) {
            (Kind::DoWhile, "iteration") => Some(Json::of(&task.iteration)),
            (Kind::DoWhile, "loopIndex" | "loopItem") => {
                let position = nodes::loop_position(task)?;
                position.parse().get(member).map(Json::of)
            }
            _ => None,
        }
    }
}
