//! FORK_JOIN and FORK_JOIN_DYNAMIC: several branches at once, written by the author or listed by
//! the input.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::draft::{Draft, End, Flow};
use super::super::event::Event;
use super::super::execution::{Execution, Task};
use super::super::object::merged;
use super::super::plan::{BlockId, Kind, Node, Owner, embed};
use super::super::schema;
use super::super::scope::View;
use super::super::status::Status;
use crate::definition::{SubWorkflowParams, SubWorkflowVersion, TaskDef, WorkflowTask};
use crate::expression::{Overrun, disown};
use crate::json::Json;

/// Ends the fork itself, reaches the first node of each branch, and leaves the JOIN to the walk.
pub(in super::super) fn begin(draft: &mut Draft<'_>, sequence: u32) {
    if !is_joined(draft, sequence) {
        let reason = "a fork must be directly followed by a JOIN task";
        return draft.fail(Status::Failed, reason);
    }
    draft.close(sequence, End::done());
    start_branches(draft, sequence);
}

pub(in super::super) fn begin_dynamic(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let node = draft.state.node_of(task);
    let branches = match Listed::read(node, &task.input, draft) {
        Ok(branches) => branches,
        Err(reason) => {
            let reason = format!("dynamic fork '{}': {reason}", task.reference);
            draft.close(sequence, End::failed_terminally(reason.as_str()));
            return draft.fail(Status::Failed, reason);
        }
    };
    let (tasks, inputs) = branches.0.into_iter().unzip();
    draft.push(Event::Forked { sequence, tasks, inputs });
    begin(draft, sequence);
}

/// Whether the input of a dynamic fork lists branches. One that does not is never scheduled: the
/// author's mistake ends the execution before it.
pub(in super::super) fn check(node: &Node, input: &Json, draft: &Draft<'_>) -> Result<(), String> {
    Listed::read(node, input, draft)
        .map(drop)
        .map_err(|reason| format!("dynamic fork '{}': {reason}", node.reference))
}

/// Whether a JOIN comes next: in the fork's block, or after the SWITCH whose case the fork ends.
fn is_joined(draft: &Draft<'_>, sequence: u32) -> bool {
    let Some(task) = draft.state.task(sequence) else { return false };
    let mut node = draft.state.node_of(task);
    loop {
        let block = draft.state.block(node.block);
        if let Some(next) = block.nodes.get(node.index + 1) {
            return draft.state.node(*next).kind == Kind::Join;
        }
        let Owner::Case(owner) = block.owner else { return false };
        node = draft.state.node(owner);
    }
}

fn start_branches(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let path = task.path.clone();
    for block in branches_of(draft.state, sequence) {
        if draft.state.status != Status::Running {
            return;
        }
        // Each branch is begun before any goes on, so that tasks are numbered as they start.
        if let Some(first) = draft.state.block(block).nodes.first().copied()
            && draft.visit(first, &path) == Flow::Passes
        {
            draft.later(block, 1, path.clone());
        }
    }
}

/// After an operator changed the past: every branch is looked at again.
pub(in super::super) fn revisit(draft: &mut Draft<'_>, sequence: u32) -> Flow {
    let Some(task) = draft.state.task(sequence) else { return Flow::Stops };
    let path = task.path.clone();
    for block in branches_of(draft.state, sequence) {
        draft.later(block, 0, path.clone());
    }
    Flow::Passes
}

/// The branches of a fork task.
pub(in super::super) fn branches_of(state: &Execution, sequence: u32) -> Vec<BlockId> {
    let Some(task) = state.task(sequence) else { return Vec::new() };
    match task.kind {
        Kind::DynamicFork => task.branches.clone(),
        _ => state.node_of(task).blocks.clone(),
    }
}

impl Execution {
    /// The branches of a dynamic fork, as tasks that say also which input each was given.
    pub fn forked(&self, fork: &Task) -> Vec<WorkflowTask> {
        let first = |block: &BlockId| self.block(*block).nodes.first().copied();
        let branches = fork.branches.iter().filter_map(first);
        let branches = branches.map(|id| {
            let mut task = self.authored(id);
            let given = self.branch_inputs.get(&id).map(Json::parse);
            if let Some(Value::Object(given)) = given {
                task.input_parameters.extend(given);
            }
            task
        });
        branches.collect()
    }
}

/// A branch's own parameters with the given input put over them.
pub(in super::super) fn combined(
    node: &Node,
    view: &View<'_>,
    given: &Json,
) -> Result<Json, Overrun> {
    if node.task.input_parameters.is_empty() {
        return Ok(given.clone());
    }
    Ok(merged(&node.input.try_render(view)?, given))
}

/// The branches that an input lists.
struct Listed(Vec<(WorkflowTask, Json)>);

impl Listed {
    fn read(node: &Node, input: &Json, draft: &Draft<'_>) -> Result<Self, String> {
        let input = match input.parse() {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let task = &node.task;
        let set = |name: &Option<String>| name.clone().filter(|name| !name.trim().is_empty());
        // A list of inputs counts also where the task says under which name a list of tasks would be.
        let listed = if input.get(INPUTS).is_some_and(Value::is_array) {
            Self::same_task(node, &input, draft)?
        } else if let Some(list) = set(&task.dynamic_fork_tasks_param) {
            let inputs = set(&task.dynamic_fork_tasks_input_param_name).unwrap_or_default();
            Self::tasks(&input, &list, &inputs)?
        } else if let Some(list) = set(&task.dynamic_fork_join_tasks_param) {
            Self::join_tasks(&input, &list)?
        } else {
            Self::same_task(node, &input, draft)?
        };
        listed.checked(draft)
    }

    /// A list of tasks, and a map from reference name to input.
    fn tasks(input: &Map<String, Value>, list: &str, inputs: &str) -> Result<Self, String> {
        let empty = Value::Object(Map::new());
        let inputs = match input.get(inputs) {
            None | Some(Value::Null) => &empty,
            Some(inputs @ Value::Object(_)) => inputs,
            Some(_) => {
                return Err(format!(
                    "Input '{inputs}' is invalid: it must be an object, reference name to input"
                ));
            }
        };
        list_of(input, list)?
            .iter()
            .enumerate()
            .map(|(index, value)| {
                let mut value = value.clone();
                disown(&mut value);
                let mut task: WorkflowTask = serde_json::from_value(value).map_err(|error| {
                    format!("Input '{list}' is invalid: element {index} is not a task: {error}")
                })?;
                if task.task_reference_name.trim().is_empty() {
                    return Err(format!(
                        "Input '{list}' is invalid: element {index} has no taskReferenceName"
                    ));
                }
                if task.name.is_empty() {
                    task.name.clone_from(&task.task_reference_name);
                }
                let given = inputs.get(&task.task_reference_name).unwrap_or(&empty);
                Ok((task, object_input(given)))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The deprecated form: everything about a branch in one object.
    fn join_tasks(input: &Map<String, Value>, list: &str) -> Result<Self, String> {
        let list = match input.get(list) {
            Some(Value::Object(wrapped)) if wrapped.contains_key("dynamicTasks") => {
                list_of(wrapped, "dynamicTasks")?
            }
            _ => list_of(input, list)?,
        };
        list.iter()
            .enumerate()
            .map(|(index, value)| {
                let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
                let (name, reference) = (text("taskName"), text("referenceName"));
                if name.is_empty() || reference.is_empty() {
                    return Err(format!("branch {index} needs taskName and referenceName"));
                }
                let task_type = Some(text("type")).filter(|t| !t.is_empty()).unwrap_or("SIMPLE");
                let task = WorkflowTask {
                    name: name.to_owned(),
                    task_reference_name: reference.to_owned(),
                    task_type: task_type.to_owned(),
                    ..WorkflowTask::default()
                };
                Ok((task, object_input(value.get("input").unwrap_or(&Value::Null))))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// One task, or one sub-workflow, once per element of a list.
    ///
    /// Who names no task gets branches that are named after a built-in type, or else after the fork.
    fn same_task(
        node: &Node,
        input: &Map<String, Value>,
        draft: &Draft<'_>,
    ) -> Result<Self, String> {
        let text = |key: &str| input.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
        let workflow = text("forkTaskWorkflow");
        let given_type = text("forkTaskType");
        let is_builtin = |task_type: &str| {
            Kind::of(task_type) != Kind::Dispatched || draft.context.world.is_builtin(task_type)
        };
        let label = text("forkTaskName")
            .or(given_type.filter(|given| is_builtin(given)))
            .unwrap_or(&node.reference);
        let (name, task_type) = match workflow {
            Some(workflow) => (workflow, "SUB_WORKFLOW"),
            None => (label, given_type.unwrap_or("SIMPLE")),
        };
        let version = input.get("forkTaskWorkflowVersion").and_then(|version| match version {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_i64().and_then(|number| i32::try_from(number).ok()),
        });
        // With a second dynamic fork around, names alone would collide.
        let mut forks = draft.state.tasks().filter(|task| task.kind == Kind::DynamicFork);
        let prefix = if forks.nth(1).is_some() {
            format!("_{}_{label}_", node.reference)
        } else {
            format!("_{label}_")
        };
        let branches = list_of(input, INPUTS)?.iter().enumerate().map(|(index, value)| {
            let mut given = match value {
                Value::Object(members) => members.clone(),
                other => Map::from_iter([("input".to_owned(), other.clone())]),
            };
            given.insert("__index".to_owned(), index.into());
            let task = WorkflowTask {
                name: name.to_owned(),
                task_reference_name: format!("{prefix}{index}"),
                task_type: task_type.to_owned(),
                optional: node.task.optional,
                sub_workflow_param: workflow.map(|workflow| SubWorkflowParams {
                    name: Some(workflow.to_owned()),
                    version: version.map(SubWorkflowVersion::Number),
                    ..SubWorkflowParams::default()
                }),
                ..WorkflowTask::default()
            };
            (task, Json::of(&given))
        });
        Ok(Self(branches.collect()))
    }

    /// No reference twice, not more than allowed, and every task with its definition.
    fn checked(mut self, draft: &Draft<'_>) -> Result<Self, String> {
        let branches_max = draft.context.limits.branches_max;
        if self.0.len() > branches_max {
            return Err(format!("{} branches exceed the limit of {branches_max}", self.0.len()));
        }
        let mut seen = BTreeSet::new();
        for (task, _) in &mut self.0 {
            if !seen.insert(task.task_reference_name.clone()) {
                return Err(format!("two branches are named '{}'", task.task_reference_name));
            }
            let world = draft.context.world;
            embed(task, &|task| {
                let registered = world.task_def(&task.name).map(|def| (*def).clone());
                registered.or_else(|| (task.task_type == "SIMPLE").then(|| unregistered(task)))
            });
            schema::resolve_nested(task, &|name, version| world.schema(name, version));
        }
        Ok(self)
    }
}

/// The input that lists what each branch gets, where all branches do the same.
const INPUTS: &str = "forkTaskInputs";

/// What holds for a worker's task in a branch that nobody has registered: unlike one that stands in
/// the definition, it is not tried again.
fn unregistered(task: &WorkflowTask) -> TaskDef {
    TaskDef { retry_count: 0, ..TaskDef::named(&task.name) }
}

fn list_of<'a>(input: &'a Map<String, Value>, name: &str) -> Result<&'a Vec<Value>, String> {
    let invalid = |what: &str| Err(format!("Input '{name}' is invalid: {what}"));
    match input.get(name) {
        Some(Value::Array(list)) => Ok(list),
        None | Some(Value::Null) => invalid("it must be a list, but there is nothing"),
        Some(_) => invalid("it must be a list"),
    }
}

fn object_input(value: &Value) -> Json {
    match value {
        Value::Object(_) => Json::of(value),
        Value::Null => Json::empty_object(),
        other => Json::of(&serde_json::json!({ "input": other })),
    }
}
