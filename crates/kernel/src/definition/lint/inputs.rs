//! Inputs without which a task fails whenever it runs. Definitions that lack them can be registered, as they can
//! with Conductor, so they are not refused.

use serde_json::Value;

use super::super::problem::Problem;
use super::super::workflow::WorkflowTask;
use super::{Beside, Found};

/// Looks for a task that lacks such an input: `missing-input`.
pub(super) fn check(task: &WorkflowTask, pointer: &str, beside: &Beside<'_>, found: &mut Found) {
    let templates = [task.task_definition.as_deref(), beside.tasks.get(&*task.name).copied()];
    let in_template =
        |name: &str| templates.iter().flatten().any(|it| it.input_template.contains_key(name));
    let given = |name: &str| {
        task.input_parameters.get(name).is_some_and(|it| !it.is_null()) || in_template(name)
    };
    let has_method = || match task.input_parameters.get("http_request") {
        Some(Value::Object(request)) => {
            request.get("method").is_some_and(|it| !it.is_null()) || given("method")
        }
        // What it will be is known only when it runs.
        Some(_) => true,
        None => in_template("http_request") || given("method"),
    };
    let (name, hint) = match &*task.task_type {
        "HTTP" | "HTTP_POLL" if !has_method() => {
            ("method", "Write \"method\": \"GET\", or another one, beside uri.".to_owned())
        }
        "INLINE" if !given("expression") => {
            ("expression", "Write the script: \"expression\": \"$.value > 3\".".to_owned())
        }
        "LAMBDA" if !given("scriptExpression") => {
            let hint = "Write the script: \"scriptExpression\": \"return $.value > 3;\".";
            ("scriptExpression", hint.to_owned())
        }
        "DYNAMIC" => match task.dynamic_task_name_param.as_deref() {
            Some(name) if !given(name) => {
                (name, format!("By dynamicTaskNameParam, the input {name} names the task to run."))
            }
            _ => return,
        },
        _ => return,
    };
    let what = &task.task_reference_name;
    let message = format!("{what} has no input {name}, so it fails whenever it runs");
    let place = format!("{pointer}/taskReferenceName");
    found.warnings.push(Problem::new(place, "missing-input", message, hint).at_word(what));
}
