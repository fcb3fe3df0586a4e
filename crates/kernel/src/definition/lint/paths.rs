//! Paths in `${…}` that begin with something known and go on to what is never there.

use std::collections::BTreeSet;

use super::super::problem::{Problem, nearest};
use super::super::workflow::{WorkflowDef, WorkflowTask};
use super::{Beside, Found, each_text, listed, paths_of};
use crate::graph::{TASK_FIELDS, WORKFLOW_FIELDS};

/// Fields of the workflow that are resolved, beside those that are shown with it.
const MORE_WORKFLOW_FIELDS: [&str; 8] = [
    "workflowName",
    "createTime",
    "startTime",
    "idempotencyKey",
    "taskToDomain",
    "priority",
    "secrets",
    "env",
];

pub(super) fn check(
    def: &WorkflowDef,
    base: &str,
    tasks: &[(String, &WorkflowTask)],
    beside: &Beside<'_>,
    found: &mut Found,
) {
    let inputs = declared_inputs(def);
    let variables = variables(def, tasks);
    each_text(def, base, tasks, &mut |pointer, text| {
        for path in paths_of(text) {
            let problem = match path.as_slice() {
                ["workflow", "input", name, ..] => undeclared(name, inputs.as_ref()),
                ["workflow", "variables", name, ..] => never_set(name, variables.as_ref()),
                ["workflow", field, ..] => unknown_field("workflow", field, true),
                [root, field, rest @ ..] => tasks
                    .iter()
                    .find(|(_, task)| task.task_reference_name == *root)
                    .and_then(|(_, task)| of_task(task, field, rest, beside)),
                _ => None,
            };
            if let Some((word, code, message, hint)) = problem {
                let problem = Problem::new(pointer, code, message, hint).with_value(text);
                found.warnings.push(problem.at_word(word));
            }
        }
    });
}

/// What is wrong: the word, its code, the message, the hint.
type Wrong = (String, &'static str, String, String);

/// The inputs that the definition says it has; `None` if it does not say.
pub(super) fn declared_inputs(def: &WorkflowDef) -> Option<BTreeSet<&str>> {
    let schema = def.input_schema.as_ref();
    let properties = schema
        .and_then(|schema| schema.data.as_ref()?.get("properties")?.as_object())
        .map(|properties| properties.keys().map(String::as_str).collect::<Vec<_>>());
    // A schema that is kept elsewhere may have any.
    if schema.is_some() && properties.is_none() {
        return None;
    }
    if def.input_parameters.is_empty() && properties.is_none() {
        return None;
    }
    let listed = def.input_parameters.iter().map(String::as_str);
    let defaults = def.input_template.keys().map(String::as_str);
    Some(listed.chain(defaults).chain(properties.into_iter().flatten()).collect())
}

fn undeclared(name: &str, inputs: Option<&BTreeSet<&str>>) -> Option<Wrong> {
    // What the engine itself adds to an input.
    if name.starts_with('_') {
        return None;
    }
    let inputs = inputs.filter(|inputs| !inputs.contains(name))?;
    let message = format!(
        "workflow.input.{name} is not among the declared inputs ({}): it is null unless a start \
         gives it",
        listed(inputs.iter().copied())
    );
    let hint = nearest(name, inputs.iter().copied()).map_or_else(
        || format!("Add {name} to inputParameters, or refer to an input that is declared."),
        |near| format!("Did you mean {near}? Otherwise add {name} to inputParameters."),
    );
    Some((name.to_owned(), "undeclared-input", message, hint))
}

/// The variables that something sets; `None` if not all of them are known.
fn variables<'a>(
    def: &'a WorkflowDef,
    tasks: &[(String, &'a WorkflowTask)],
) -> Option<BTreeSet<&'a str>> {
    let mut names: BTreeSet<&str> = def.variables.keys().map(String::as_str).collect();
    for (_, task) in tasks {
        match task.task_type.as_str() {
            "SET_VARIABLE" => names.extend(task.input_parameters.keys().map(String::as_str)),
            // Tasks that are only known at run time may set variables, and so may event handlers.
            "DYNAMIC" | "FORK_JOIN_DYNAMIC" => return None,
            _ => {}
        }
    }
    (!names.is_empty()).then_some(names)
}

fn never_set(name: &str, variables: Option<&BTreeSet<&str>>) -> Option<Wrong> {
    let variables = variables.filter(|variables| !variables.contains(name))?;
    // Handlers of events and the API set variables, too: only what looks like a slip is told.
    let near = nearest(name, variables.iter().copied())?;
    let message = format!("no task of this workflow sets the variable {name}");
    let hint = format!("Did you mean {near}?");
    Some((name.to_owned(), "variable-never-set", message, hint))
}

fn unknown_field(of: &str, field: &str, is_workflow: bool) -> Option<Wrong> {
    let known: Vec<&str> = if is_workflow {
        WORKFLOW_FIELDS.into_iter().chain(MORE_WORKFLOW_FIELDS).collect()
    } else {
        TASK_FIELDS.to_vec()
    };
    if known.contains(&field) {
        return None;
    }
    let message = format!("{of} has no {field}: ${{{of}.{field}}} is always null");
    let hint = nearest(field, known.iter().copied()).map_or_else(
        || format!("There are {}.", known.join(", ")),
        |near| format!("Did you mean {near}?"),
    );
    Some((field.to_owned(), "unknown-field", message, hint))
}

fn of_task(task: &WorkflowTask, field: &str, rest: &[&str], beside: &Beside<'_>) -> Option<Wrong> {
    let reference = &task.task_reference_name;
    if field != "output" {
        return unknown_field(reference, field, false);
    }
    let [member, rest @ ..] = rest else { return None };
    let unknown = |at: &str, name: &str, known: &[&str]| {
        let message = format!(
            "{reference} ({}) never answers {at}{name}: its output has {}",
            task.task_type,
            listed(known.iter().copied())
        );
        let hint = nearest(name, known.iter().copied()).map_or_else(
            || format!("Write ${{{reference}.output.{at}{}}}, for example.", known[0]),
            |near| format!("Did you mean {near}?"),
        );
        (name.to_owned(), "unknown-output", message, hint)
    };
    match outputs(task, beside) {
        Outputs::Any => None,
        Outputs::Listed(known) => {
            // A list of outputs is documentation, which is not always complete.
            let is_slip =
                !known.contains(member) && nearest(member, known.iter().copied()).is_some();
            is_slip.then(|| unknown("", member, &known))
        }
        Outputs::Only(known) if !known.contains(member) => Some(unknown("", member, known)),
        Outputs::Only(_) => {
            let known = answer_of_call(task)?;
            let [part, ..] = rest else { return None };
            (*member == "response" && !known.contains(part))
                .then(|| unknown("response.", part, known))
        }
    }
}

/// The members of an output.
enum Outputs<'a> {
    /// Only a run can tell.
    Any,
    /// Those that somebody wrote down.
    Listed(Vec<&'a str>),
    /// No others.
    Only(&'static [&'static str]),
}

/// What a task of its type answers.
fn outputs<'a>(task: &'a WorkflowTask, beside: &'a Beside<'_>) -> Outputs<'a> {
    // Somebody else completes it, with whatever output.
    if task.async_complete {
        return Outputs::Any;
    }
    match task.task_type.as_str() {
        "HTTP" if is_filtered(task) => Outputs::Any,
        "HTTP" => Outputs::Only(&["response", "error"]),
        "INLINE" | "LAMBDA" => Outputs::Only(&["result", "error"]),
        "JSON_JQ_TRANSFORM" => Outputs::Only(&["result", "resultList", "error"]),
        "SWITCH" => Outputs::Only(&["evaluationResult", "selectedCase"]),
        "DECISION" => Outputs::Only(&["caseOutput"]),
        "SIMPLE" | "" => match beside.tasks.get(task.name.as_str()) {
            Some(def) if !def.output_keys.is_empty() => {
                Outputs::Listed(def.output_keys.iter().map(String::as_str).collect())
            }
            _ => Outputs::Any,
        },
        "SUB_WORKFLOW" => of_sub_workflow(task, beside),
        _ => Outputs::Any,
    }
}

fn of_sub_workflow<'a>(task: &'a WorkflowTask, beside: &'a Beside<'_>) -> Outputs<'a> {
    let named = || {
        let params = task.sub_workflow_param.as_ref()?;
        if params.workflow_definition.is_some() {
            return None;
        }
        let versions = beside.workflows.as_ref()?.get(params.name.as_deref()?)?;
        // Without outputParameters the output is that of the last task; a name alone says nothing.
        if versions.is_empty() || versions.iter().any(|it| it.output_parameters.is_empty()) {
            return None;
        }
        let of_all = versions.iter().flat_map(|it| it.output_parameters.keys());
        let known = of_all.map(String::as_str).chain(["subWorkflowId"]);
        Some(known.collect())
    };
    named().map_or(Outputs::Any, Outputs::Listed)
}

/// Whether the task's author chose what is shown of the answer.
fn is_filtered(task: &WorkflowTask) -> bool {
    let request = task.input_parameters.get("http_request");
    task.input_parameters.contains_key("outputFilter")
        || request.is_some_and(|request| request.get("outputFilter").is_some())
}

/// The parts of the answer of a call.
fn answer_of_call(task: &WorkflowTask) -> Option<&'static [&'static str]> {
    (task.task_type == "HTTP").then_some(&["headers", "statusCode", "body", "reasonPhrase"])
}
