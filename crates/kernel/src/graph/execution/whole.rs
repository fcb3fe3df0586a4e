//! The state as a whole: as one fact, and as the beginning of another execution.

use std::collections::BTreeSet;

use super::{Execution, Task};
use crate::graph::event::Event;
use crate::graph::object::merged;
use crate::graph::plan::Kind;
use crate::graph::snapshot::{Origin, Snapshot};
use crate::graph::status::{Status, TaskStatus};
use crate::id::ExecutionId;
use crate::json::Json;
use crate::time::Timestamp;

impl Execution {
    /// Becomes what a snapshot holds; indexes are made anew.
    pub(super) fn restore(&mut self, snapshot: &Snapshot) {
        *self = snapshot.state.clone();
        self.plan = Some(snapshot.plan.plan.clone().expect("plans are bound before folding"));
        self.index_anew();
    }

    /// Makes every index and cache anew.
    fn index_anew(&mut self) {
        self.open.clear();
        self.open_joins.clear();
        self.timers.clear();
        self.join_cursors.clear();
        self.reindex_references();
        let sequences: Vec<u32> = self.tasks.keys().copied().collect();
        for sequence in sequences {
            let items = self.tasks.get(&sequence).and_then(|t| self.items_of(t.node, &t.input));
            if let Some(task) = self.tasks.get_mut(&sequence) {
                (task.items, task.timer) = (items, None);
            }
            self.index(sequence);
        }
    }

    /// All of it as one fact, which stands for every fact before it.
    ///
    /// # Panics
    /// If it has not begun.
    pub fn snapshot(&self) -> Event {
        let plan = self.plan().clone().into();
        Event::Snapshot(Box::new(Snapshot { plan, state: self.clone() }))
    }
    /// The tasks that go when the flow goes back before a task, that one included.
    pub(in crate::graph) fn undone_before(&self, first: &Task) -> BTreeSet<u32> {
        let undone = self.tasks.values().filter(|task| self.follows(task, first));
        undone.map(|task| task.sequence).chain([first.sequence]).collect()
    }

    /// The state of a new execution that goes on from here as if `first` and what follows it had
    /// not been reached. Nobody waits for it, and it holds no place of this one.
    pub(in crate::graph) fn branched(
        &self,
        id: &ExecutionId,
        first: &Task,
        origin: Origin,
        now: Timestamp,
    ) -> Self {
        let undone = self.undone_before(first);
        let variables = self.variables_without(&undone);
        let mut branch = Self {
            id: id.clone(),
            status: Status::Running,
            output: Json::empty_object(),
            variables,
            parent: None,
            watchers: Vec::new(),
            idempotency_key: None,
            traceparent: None,
            created_at: now,
            updated_at: now,
            ended_at: None,
            retried_at: None,
            reason: None,
            gate: None,
            counts: false,
            branched_from: Some(origin),
            yielded: false,
            asked: 0,
            end_count: 0,
            ..self.clone()
        };
        branch.inbox.clear();
        for sequence in &undone {
            let before = branch.tasks.remove(sequence).and_then(|task| task.retries);
            // The attempt that the first new one repeats stays one that was repeated.
            let before = before.filter(|before| Some(*before) != first.retries);
            if let Some(before) = before.and_then(|before| branch.tasks.get_mut(&before)) {
                before.retried = false;
            }
        }
        for task in branch.tasks.values_mut() {
            if task.status.is_closed() {
                // What it gave counts here, too, but it lives with the other execution.
                task.adopted |= task.child.is_some();
            } else if task.child.is_some() {
                task.child = Some(id.derive("child", task.sequence));
                task.child_started = false;
                task.child_version = None;
                task.adopted = false;
                task.asked = 0;
            }
        }
        branch.index_anew();
        branch
    }

    /// The variables as they were before tasks that wrote them are undone. What nobody knows of any
    /// more (forgotten iterations) and what was set from outside stays.
    fn variables_without(&self, undone: &BTreeSet<u32>) -> Json {
        let wrote =
            |task: &&Task| task.kind == Kind::SetVariable && task.status == TaskStatus::Completed;
        let (gone, kept): (Vec<&Task>, Vec<&Task>) =
            self.tasks.values().filter(wrote).partition(|task| undone.contains(&task.sequence));
        let mut former = Json::of(&self.plan().definition.variables);
        for task in kept {
            former = merged(&former, &task.input);
        }
        let (former, mut variables) = (former.parse(), self.variables.parse());
        let members = variables.as_object_mut();
        let names = gone.iter().flat_map(|task| match task.input.parse() {
            serde_json::Value::Object(set) => set.into_iter().map(|(name, _)| name).collect(),
            _ => Vec::new(),
        });
        if let Some(members) = members {
            for name in names {
                match former.get(&name) {
                    Some(value) => members.insert(name, value.clone()),
                    None => members.remove(&name),
                };
            }
        }
        Json::of(&variables)
    }
}
