//! Names of workflows and tasks that nothing beside the definition defines.

use serde_json::Value;

use super::super::problem::{Problem, nearest};
use super::super::workflow::{WorkflowDef, WorkflowTask};
use super::{Beside, Found};

pub(super) fn check(
    def: &WorkflowDef,
    base: &str,
    tasks: &[(String, &WorkflowTask)],
    beside: &Beside<'_>,
    found: &mut Found,
) {
    if let Some(name) = &def.failure_workflow {
        workflow(name, &format!("{base}/failureWorkflow"), beside, found);
    }
    for (pointer, task) in tasks {
        match task.task_type.as_str() {
            "SUB_WORKFLOW" => {
                if let Some(params) = &task.sub_workflow_param
                    && params.workflow_definition.is_none()
                    && let Some(name) = &params.name
                {
                    workflow(name, &format!("{pointer}/subWorkflowParam/name"), beside, found);
                }
            }
            "START_WORKFLOW" => {
                let request = task.input_parameters.get("startWorkflow");
                if let Some(name) = request.and_then(|it| it.get("name")).and_then(Value::as_str) {
                    let pointer = format!("{pointer}/inputParameters/startWorkflow/name");
                    workflow(name, &pointer, beside, found);
                }
            }
            "SIMPLE" | "" => worker_task(task, pointer, beside, found),
            _ => {}
        }
    }
}

fn workflow(name: &str, pointer: &str, beside: &Beside<'_>, found: &mut Found) {
    let Some(known) = &beside.workflows else { return };
    // What is computed, and what workers run as code, is in no file.
    if name.contains("${") || name.starts_with("orchestration:") || known.contains_key(name) {
        return;
    }
    let hint = nearest(name, known.keys().copied()).map_or_else(
        || "Add its definition to the folder, or correct the name.".to_owned(),
        |near| format!("Did you mean {near}?"),
    );
    let message = format!("there is no workflow {name}");
    found.warnings.push(Problem::new(pointer, "unknown-workflow", message, hint).with_value(name));
}

/// A task of workers needs no definition, so only what looks like a slip is told.
fn worker_task(task: &WorkflowTask, pointer: &str, beside: &Beside<'_>, found: &mut Found) {
    let name = task.name.as_str();
    if task.task_definition.is_some() || name.contains("${") || beside.tasks.contains_key(name) {
        return;
    }
    let Some(near) = nearest(name, beside.tasks.keys().copied()) else { return };
    // Families of names that differ in a number are no slips: step_1, step_2.
    let letters = |name: &str| name.replace(|c: char| c.is_ascii_digit(), "");
    if letters(near) == letters(name) {
        return;
    }
    let message = format!("there is no task definition {name}: it runs without retries and limits");
    let hint = format!("Did you mean {near}?");
    let problem = Problem::new(format!("{pointer}/name"), "unknown-task", message, hint);
    found.warnings.push(problem.with_value(name));
}
