//! Visits every task of a definition, nested ones included, each with its place in the document.

use super::workflow::{WorkflowDef, WorkflowTask};

impl WorkflowDef {
    /// Visits all tasks depth first, in the author's order, each with its JSON pointer (RFC 6901).
    ///
    /// Only the lists that a task's type runs are entered: the `loopOver` of a SWITCH is dead text.
    /// An inline definition of a sub-workflow is a document of its own and is not entered.
    pub fn walk<'a>(&'a self, mut visit: impl FnMut(&str, &'a WorkflowTask)) {
        let mut pointer = String::from("/tasks");
        walk_list(&self.tasks, &mut pointer, &mut visit);
    }

    /// All tasks, in the order of [`walk`](Self::walk).
    pub fn collect_tasks(&self) -> Vec<&WorkflowTask> {
        let mut tasks = Vec::new();
        self.walk(|_, task| tasks.push(task));
        tasks
    }

    /// The task with this reference name, wherever it is nested.
    pub fn task_by_reference(&self, reference: &str) -> Option<&WorkflowTask> {
        self.collect_tasks().into_iter().find(|task| task.task_reference_name == reference)
    }
}

impl WorkflowTask {
    /// The lists of tasks that this task runs, each with its JSON pointer relative to the task.
    pub fn children(&self) -> Vec<(String, &[WorkflowTask])> {
        match self.task_type.as_str() {
            "SWITCH" | "DECISION" => self
                .decision_cases
                .iter()
                .map(|(case, tasks)| {
                    (format!("/decisionCases/{}", escape_pointer(case)), tasks.as_slice())
                })
                .chain([("/defaultCase".to_owned(), self.default_case.as_slice())])
                .collect(),
            "FORK_JOIN" => self
                .fork_tasks
                .iter()
                .enumerate()
                .map(|(index, tasks)| (format!("/forkTasks/{index}"), tasks.as_slice()))
                .collect(),
            "DO_WHILE" => vec![("/loopOver".to_owned(), self.loop_over.as_slice())],
            _ => Vec::new(),
        }
    }
}

/// Escapes one segment of a JSON pointer.
pub fn escape_pointer(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

fn walk_list<'a>(
    tasks: &'a [WorkflowTask],
    pointer: &mut String,
    visit: &mut dyn FnMut(&str, &'a WorkflowTask),
) {
    let list = pointer.len();
    for (index, task) in tasks.iter().enumerate() {
        pointer.push('/');
        pointer.push_str(&index.to_string());
        visit(pointer, task);
        let place = pointer.len();
        for (children, tasks) in task.children() {
            pointer.push_str(&children);
            walk_list(tasks, pointer, visit);
            pointer.truncate(place);
        }
        pointer.truncate(list);
    }
}
