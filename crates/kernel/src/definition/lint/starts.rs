//! Starts of workflows by what lies beside them: a version that is there, inputs that are declared.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::problem::{Problem, join, nearest};
use super::super::workflow::WorkflowDef;
use super::listed;
use super::paths::declared_inputs;

/// What starts a workflow: a task, a schedule, an event handler.
#[derive(Clone, Copy, Debug)]
pub struct WorkflowStart<'a> {
    /// The name of the workflow.
    pub name: &'a str,
    /// The version that is asked for, with the JSON pointer of where that is; absent or 0 = the latest.
    pub version: Option<(i64, &'a str)>,
    /// The input that is given, with the JSON pointer of where that is.
    pub input: Option<(&'a Map<String, Value>, &'a str)>,
}

/// Looks whether a start fits the definitions of its workflow: `unknown-version`, `unknown-input`.
/// Without a definition nobody can tell.
pub fn lint_start(start: WorkflowStart<'_>, definitions: &[&WorkflowDef]) -> Vec<Problem> {
    let mut found = Vec::new();
    if definitions.is_empty() {
        return found;
    }
    let wanted = start.version.filter(|(version, _)| *version > 0);
    let is_wanted =
        |it: &&&WorkflowDef| wanted.is_none_or(|(version, _)| i64::from(it.version) == version);
    let fitting: Vec<&&WorkflowDef> = definitions.iter().filter(is_wanted).collect();
    if let (Some((version, pointer)), true) = (wanted, fitting.is_empty()) {
        let there: BTreeSet<i32> = definitions.iter().map(|it| it.version).collect();
        let there: Vec<String> = there.iter().map(ToString::to_string).collect();
        let message = format!("there is no version {version} of the workflow {}", start.name);
        let hint =
            format!("There is {}; a start without a version takes the latest.", there.join(", "));
        found.push(Problem::new(pointer, "unknown-version", message, hint).with_value(version));
        return found;
    }
    if let Some((input, pointer)) = start.input {
        found.extend(undeclared(start.name, input, pointer, &fitting));
    }
    found
}

/// Inputs that look like a slip of one that is declared and not given. A declaration is documentation,
/// which is not always complete, so others are let pass.
fn undeclared(
    name: &str,
    input: &Map<String, Value>,
    pointer: &str,
    definitions: &[&&WorkflowDef],
) -> Vec<Problem> {
    // What one version does not declare it may take all the same.
    let declared: Option<Vec<BTreeSet<&str>>> =
        definitions.iter().map(|it| declared_inputs(it)).collect();
    let Some(declared) = declared else { return Vec::new() };
    let declared: BTreeSet<&str> = declared.into_iter().flatten().collect();
    let missing = || declared.iter().copied().filter(|it| !input.contains_key(*it));
    let slips =
        input.keys().filter(|key| !declared.contains(key.as_str()) && !key.starts_with('_'));
    let slips = slips.filter_map(|key| Some((key, nearest(key, missing())?)));
    slips
        .map(|(key, near)| {
            let message = format!(
                "the workflow {name} has no input {key}: it declares {}",
                listed(declared.iter().copied())
            );
            let hint = format!("Did you mean {near}?");
            Problem::new(join(pointer, key), "unknown-input", message, hint).at_word(key)
        })
        .collect()
}
