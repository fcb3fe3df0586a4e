//! Reads definitions from text: malformed JSON is told by line and column, wrong types by pointer.
//!
//! Two stages: the text becomes a tree whose types are all checked, then the tree becomes a
//! definition. The tree's depth is bounded by the JSON parser (128 levels), and with it every
//! recursion here and in validation.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::problem::{PROBLEMS_MAX, Problem, Problems};
use super::shape::{self, Shape};
use super::task::TaskDef;
use super::workflow::WorkflowDef;

/// Reads one workflow definition.
///
/// # Errors
/// Malformed JSON as one problem; otherwise every value of a wrong type.
pub fn parse_workflow(text: &str) -> Result<WorkflowDef, Vec<Problem>> {
    read(&tree(text)?, &shape::WORKFLOW, "")
}

/// Reads a list of workflow definitions, or a single one as a list of one.
///
/// # Errors
/// As [`parse_workflow`]; pointers begin with the index in a list.
pub fn parse_workflows(text: &str) -> Result<Vec<WorkflowDef>, Vec<Problem>> {
    read_many(&tree(text)?, &shape::WORKFLOW)
}

/// Reads a list of task definitions, or a single one as a list of one.
///
/// # Errors
/// As [`parse_workflow`]; pointers begin with the index in a list.
pub fn parse_task_defs(text: &str) -> Result<Vec<TaskDef>, Vec<Problem>> {
    read_many(&tree(text)?, &shape::TASK_DEF)
}

/// Keys of workflow definitions that nothing reads and that look like a slip of one that is read.
pub fn unknown_workflow_keys(text: &str) -> Vec<Problem> {
    unknown_keys(text, &shape::WORKFLOW)
}

/// Keys of task definitions that nothing reads and that look like a slip of one that is read.
pub fn unknown_task_def_keys(text: &str) -> Vec<Problem> {
    unknown_keys(text, &shape::TASK_DEF)
}

/// Keys of a document, or of a list of them, that nothing reads and that look like a slip of one that
/// is read, and those that an object has twice. What is no JSON has none.
pub(super) fn unknown_keys(text: &str, shape: &Shape) -> Vec<Problem> {
    let mut problems = Problems::default();
    super::repeated::keys(text, &mut problems);
    match tree(text) {
        Ok(Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                shape::unknown_keys(item, shape, &format!("/{index}"), &mut problems);
            }
        }
        Ok(document) => shape::unknown_keys(&document, shape, "", &mut problems),
        Err(_) => {}
    }
    problems.into_vec()
}

/// Reads a workflow definition that is part of another document, such as a start request.
///
/// # Errors
/// Every value of a wrong type, with pointers relative to `value`.
pub fn workflow_from_value(value: &Value) -> Result<WorkflowDef, Vec<Problem>> {
    read(value, &shape::WORKFLOW, "")
}

/// Reads a document, or each of a list of them.
///
/// # Errors
/// Malformed JSON as one problem; otherwise what `read` says of each that is wrong, at most [`PROBLEMS_MAX`].
/// Pointers begin with the index in a list.
pub fn read_each<T>(
    text: &str,
    mut read: impl FnMut(Value) -> Result<T, Box<Problem>>,
) -> Result<Vec<T>, Vec<Problem>> {
    let documents: Vec<(String, Value)> = match tree(text)? {
        Value::Array(items) => {
            let each = items.into_iter().enumerate();
            each.map(|(index, item)| (format!("/{index}"), item)).collect()
        }
        one => vec![(String::new(), one)],
    };
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for (at, document) in documents {
        match read(document) {
            Ok(found) => all.push(found),
            Err(problem) => {
                let pointer = format!("{at}{}", problem.pointer);
                problems.push(Problem { pointer, ..*problem });
            }
        }
    }
    problems.truncate(PROBLEMS_MAX);
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

pub(super) fn tree(text: &str) -> Result<Value, Vec<Problem>> {
    serde_json::from_str(text).map_err(|error| vec![malformed(&error)])
}

fn malformed(error: &serde_json::Error) -> Problem {
    let full = error.to_string();
    let reason = full.split(" at line ").next().unwrap_or(&full);
    let hint = match error.classify() {
        Category::Eof => "The text ends too early: look for a missing bracket or quote.",
        _ if reason.contains("recursion") => "Nest less deeply: 128 levels are the most.",
        _ => "Look there for a missing or extra comma, quote or bracket.",
    };
    let message =
        format!("malformed JSON at line {}, column {}: {reason}", error.line(), error.column());
    Problem::new("", "malformed-json", message, hint)
}

pub(super) fn read_many<T: DeserializeOwned>(
    tree: &Value,
    shape: &Shape,
) -> Result<Vec<T>, Vec<Problem>> {
    let Value::Array(items) = tree else {
        return read(tree, shape, "").map(|definition| vec![definition]);
    };
    let mut definitions = Vec::with_capacity(items.len());
    let mut problems = Problems::default();
    for (index, item) in items.iter().enumerate() {
        match read(item, shape, &format!("/{index}")) {
            Ok(definition) => definitions.push(definition),
            Err(found) => problems.extend(found),
        }
    }
    let problems = problems.into_vec();
    if problems.is_empty() { Ok(definitions) } else { Err(problems) }
}

pub(super) fn read<T: DeserializeOwned>(
    tree: &Value,
    shape: &Shape,
    pointer: &str,
) -> Result<T, Vec<Problem>> {
    if !tree.is_object() {
        return Err(vec![Problem::new(
            pointer,
            "wrong-type",
            "expected a definition, which is an object",
            "Wrap the definition in { and }.",
        )]);
    }
    let mut problems = Problems::default();
    shape::check(tree, shape, pointer, &mut problems);
    let problems = problems.into_vec();
    if !problems.is_empty() {
        return Err(problems);
    }
    // The table has let everything pass, so a refusal here means that table and type differ;
    // still an answer, only without a place.
    T::deserialize(tree).map_err(|error| {
        let hint = "Compare the definition with the documentation of its fields.";
        vec![Problem::new(pointer, "wrong-type", error.to_string(), hint)]
    })
}
