//! Inputs without which a task fails whenever it runs. Definitions that lack them can be registered, as they can
//! with Conductor, so they are not refused.

use serde_json::Value;

use super::super::problem::{Problem, nearest};
use super::super::workflow::WorkflowTask;
use super::{Beside, Found};

/// Looks for a task that lacks such an input: `missing-input`.
pub(super) fn check(task: &WorkflowTask, pointer: &str, beside: &Beside<'_>, found: &mut Found) {
    if let Some(scheme) = wrong_scheme(task) {
        let what = &task.task_reference_name;
        let message = format!("{what} calls {scheme}://, and only http and https can be called");
        let place = format!("{pointer}/inputParameters");
        let hint = "Write http:// or https://.";
        found.warnings.push(Problem::new(place, "unknown-scheme", message, hint).at_word(scheme));
    }
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
        // The list of tasks alone must be there; a list of inputs for one task goes before it.
        "FORK_JOIN_DYNAMIC" if !given("forkTaskInputs") => {
            let lists = [
                ("dynamicForkTasksParam", &task.dynamic_fork_tasks_param),
                ("dynamicForkJoinTasksParam", &task.dynamic_fork_join_tasks_param),
            ];
            let mut named = lists.iter().filter_map(|(by, name)| Some((by, name.as_deref()?)));
            match named.next().filter(|(_, name)| !given(name)) {
                Some((by, name)) => (name, format!("By {by}, the input {name} lists the tasks.")),
                None => return,
            }
        }
        "WAIT" => return wait(task, pointer, found),
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

/// Looks for a WAIT that waits for somebody to end it because the name of its input is misspelt.
fn wait(task: &WorkflowTask, pointer: &str, found: &mut Found) {
    const READ: [&str; 2] = ["duration", "until"];
    let inputs = &task.input_parameters;
    if READ.iter().any(|name| inputs.contains_key(*name)) {
        return;
    }
    for name in inputs.keys() {
        let Some(near) = nearest(name, READ) else { continue };
        let what = &task.task_reference_name;
        let message = format!(
            "{what} does not read the input {name}, so it waits until somebody ends it from outside"
        );
        let place = format!("{pointer}/inputParameters/{name}");
        let hint = format!("Did you mean {near}?");
        found.warnings.push(Problem::new(place, "missing-input", message, hint).at_word(name));
    }
}

/// The scheme of an address that is written out and that HTTP tasks do not call.
fn wrong_scheme(task: &WorkflowTask) -> Option<&str> {
    if !matches!(&*task.task_type, "HTTP" | "HTTP_POLL") {
        return None;
    }
    let inputs = &task.input_parameters;
    let request = inputs.get("http_request").and_then(Value::as_object);
    let uri = request.and_then(|it| it.get("uri")).or_else(|| inputs.get("uri"))?.as_str()?;
    let (scheme, _) = uri.split_once("://")?;
    let is_written = scheme.chars().all(|c| c.is_ascii_alphanumeric());
    let is_called = ["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it));
    (is_written && !is_called).then_some(scheme)
}
