//! Names of workflows and tasks that nothing beside the definition defines, and starts that do not fit
//! what it does.

use serde_json::Value;

use super::super::problem::{Problem, nearest};
use super::super::workflow::{SubWorkflowVersion, WorkflowDef, WorkflowTask};
use super::starts::{WorkflowStart, lint_start};
use super::{Beside, Found};

pub(super) fn check(
    def: &WorkflowDef,
    base: &str,
    tasks: &[(String, &WorkflowTask)],
    beside: &Beside<'_>,
    found: &mut Found,
) {
    if let Some(name) = &def.failure_workflow {
        let at = format!("{base}/failureWorkflowVersion");
        let version = def.failure_workflow_version.map(|version| (i64::from(version), &*at));
        let start = WorkflowStart { name, version, input: None };
        workflow(start, &format!("{base}/failureWorkflow"), beside, found);
    }
    for (pointer, task) in tasks {
        match task.task_type.as_str() {
            "SUB_WORKFLOW" => sub_workflow(task, pointer, beside, found),
            "START_WORKFLOW" => started(task, pointer, beside, found),
            "SIMPLE" | "" => worker_task(task, pointer, beside, found),
            _ => {}
        }
    }
}

fn sub_workflow(task: &WorkflowTask, pointer: &str, beside: &Beside<'_>, found: &mut Found) {
    let Some(params) =
        task.sub_workflow_param.as_ref().filter(|it| it.workflow_definition.is_none())
    else {
        return;
    };
    let Some(name) = &params.name else { return };
    let (version_at, input_at) =
        (format!("{pointer}/subWorkflowParam/version"), format!("{pointer}/inputParameters"));
    let version = match &params.version {
        Some(SubWorkflowVersion::Number(version)) => Some((i64::from(*version), &*version_at)),
        Some(SubWorkflowVersion::Expression(_)) | None => None,
    };
    let start = WorkflowStart { name, version, input: Some((&task.input_parameters, &input_at)) };
    workflow(start, &format!("{pointer}/subWorkflowParam/name"), beside, found);
}

fn started(task: &WorkflowTask, pointer: &str, beside: &Beside<'_>, found: &mut Found) {
    let Some(request) = task.input_parameters.get("startWorkflow") else { return };
    let Some(name) = request.get("name").and_then(Value::as_str) else { return };
    let at = |field: &str| format!("{pointer}/inputParameters/startWorkflow/{field}");
    let (version_at, input_at) = (at("version"), at("input"));
    let version = request.get("version").and_then(Value::as_i64).map(|it| (it, &*version_at));
    let input = request.get("input").and_then(Value::as_object).map(|it| (it, &*input_at));
    workflow(WorkflowStart { name, version, input }, &at("name"), beside, found);
}

fn workflow(start: WorkflowStart<'_>, pointer: &str, beside: &Beside<'_>, found: &mut Found) {
    let (Some(known), name) = (&beside.workflows, start.name) else { return };
    // What is computed, and what workers run as code, is in no file.
    if name.contains("${") || name.starts_with("orchestration:") {
        return;
    }
    if let Some(definitions) = known.get(name) {
        found.warnings.extend(lint_start(start, definitions));
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
