//! Finds what a workflow definition says that runs, but is surely not meant: names that nothing
//! gives, paths that are never there, cases that are never taken.
//!
//! Validation refuses what cannot run. What is found here runs and gives null, or goes past the
//! task that should have rung, and nobody notices before the night on which it matters.

mod inputs;
mod names;
mod paths;
mod script;
mod scripts;
mod starts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::problem::{Problem, Problems, join};
use super::references::expressions;
use super::task::TaskDef;
use super::workflow::{CacheConfig, SubWorkflowDefinition, WorkflowDef, WorkflowTask};

pub use starts::{WorkflowStart, lint_start};

/// What lies beside a definition, as far as it is known.
#[derive(Debug, Default)]
pub struct Beside<'a> {
    /// All definitions of workflows by their names, in any version; `None` = nobody here knows which
    /// there are.
    pub workflows: Option<BTreeMap<&'a str, Vec<&'a WorkflowDef>>>,
    /// Task definitions by their names.
    pub tasks: BTreeMap<&'a str, &'a TaskDef>,
}

/// What was found in one definition.
#[derive(Debug, Default)]
pub struct Lint {
    /// Surely not meant.
    pub warnings: Vec<Problem>,
    /// Perhaps meant: worth a look.
    pub notes: Vec<Problem>,
}

/// Looks for what runs but is surely not meant; inline definitions of sub-workflows included.
///
/// Codes: `undeclared-input`, `unknown-field`, `unknown-output`, `variable-never-set`,
/// `unknown-workflow`, `unknown-version`, `unknown-input`, `unknown-task`, `unknown-script-input`,
/// `missing-input`, `misspelt-property`, `case-never-taken`, `answer-without-case`, `switch-without-default`.
pub fn lint_workflow(def: &WorkflowDef, beside: &Beside<'_>) -> Lint {
    let mut findings = Found::default();
    lint(def, "", beside, &mut findings);
    Lint { warnings: findings.warnings.into_vec(), notes: findings.notes.into_vec() }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    warnings: Problems,
    notes: Problems,
}

fn lint(def: &WorkflowDef, base: &str, beside: &Beside<'_>, found: &mut Found) {
    let mut tasks = Vec::new();
    def.walk(|pointer, task| tasks.push((format!("{base}{pointer}"), task)));
    paths::check(def, base, &tasks, beside, found);
    names::check(def, base, &tasks, beside, found);
    let references = tasks.iter().map(|(_, task)| &*task.task_reference_name).collect();
    for (pointer, task) in &tasks {
        scripts::check(task, pointer, &references, beside, found);
        inputs::check(task, pointer, beside, found);
        if let Some(params) = &task.sub_workflow_param
            && let Some(SubWorkflowDefinition::Inline(inner)) = &params.workflow_definition
        {
            let base = format!("{pointer}/subWorkflowParam/workflowDefinition");
            lint(inner, &base, beside, found);
        }
    }
}

/// Calls `visit` with each text of a definition that may hold expressions, and its place.
fn each_text(
    def: &WorkflowDef,
    base: &str,
    tasks: &[(String, &WorkflowTask)],
    visit: &mut dyn FnMut(&str, &str),
) {
    for (pointer, task) in tasks {
        let input = format!("{pointer}/inputParameters");
        for (key, value) in &task.input_parameters {
            each_text_below(value, &join(&input, key), visit);
        }
        if let Some(items) = &task.items {
            each_text_below(items, &format!("{pointer}/items"), visit);
        }
        if let Some(params) = &task.sub_workflow_param {
            let texts = [("name", &params.name), ("idempotencyKey", &params.idempotency_key)];
            for (field, text) in texts {
                if let Some(text) = text {
                    visit(&format!("{pointer}/subWorkflowParam/{field}"), text);
                }
            }
        }
        if let Some(sink) = &task.sink {
            visit(&format!("{pointer}/sink"), sink);
        }
        if let Some(def) = &task.task_definition {
            let template = format!("{pointer}/taskDefinition/inputTemplate");
            for (key, value) in &def.input_template {
                each_text_below(value, &join(&template, key), visit);
            }
        }
        for (change, events) in task.on_state_change.iter() {
            for (index, event) in events.iter().enumerate() {
                let payload = format!(
                    "{}/{index}/payload",
                    join(&format!("{pointer}/onStateChange"), change)
                );
                for (key, value) in event.payload.iter().flatten() {
                    each_text_below(value, &join(&payload, key), visit);
                }
            }
        }
        each_of_cache(task.cache_config.as_ref(), pointer, visit);
    }
    if let Some(name) = &def.failure_workflow {
        visit(&format!("{base}/failureWorkflow"), name);
    }
    if let Some(key) = def.rate_limit_config.as_ref().and_then(|it| it.rate_limit_key.as_ref()) {
        visit(&format!("{base}/rateLimitConfig/rateLimitKey"), key);
    }
    each_of_cache(def.cache_config.as_ref(), base, visit);
    for (key, value) in &def.variables {
        each_text_below(value, &join(&format!("{base}/variables"), key), visit);
    }
    for (key, value) in &def.output_parameters {
        each_text_below(value, &join(&format!("{base}/outputParameters"), key), visit);
    }
}

fn each_of_cache(config: Option<&CacheConfig>, pointer: &str, visit: &mut dyn FnMut(&str, &str)) {
    if let Some(key) = config.and_then(|it| it.key.as_ref()) {
        visit(&format!("{pointer}/cacheConfig/key"), key);
    }
}

fn each_text_below(value: &Value, pointer: &str, visit: &mut dyn FnMut(&str, &str)) {
    match value {
        Value::String(text) => visit(pointer, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                each_text_below(item, &format!("{pointer}/{index}"), visit);
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                // A definition handed on as data has references of its own.
                if !matches!(key.as_str(), "workflowDef" | "workflowDefinition") {
                    each_text_below(value, &join(pointer, key), visit);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The first steps of a path, `a.b['c'].d` as `a`, `b`, `c`, `d`; it ends before what is computed,
/// a wildcard, an index or a filter.
fn steps(path: &str) -> Vec<&str> {
    let path = path.trim();
    let mut rest = path.strip_prefix("$.").unwrap_or(path);
    let mut steps = Vec::new();
    loop {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (step, after) = rest.split_at(end);
        let is_name = |step: &str| {
            !step.is_empty() && step.chars().all(|c| c.is_alphanumeric() || "_-".contains(c))
        };
        if end > 0 || steps.is_empty() {
            if !is_name(step) {
                return steps;
            }
            steps.push(step);
        }
        rest = if let Some(after) = after.strip_prefix('.') {
            after
        } else if let Some((name, after)) = quoted(after) {
            steps.push(name);
            after.strip_prefix('.').unwrap_or(after)
        } else {
            return steps;
        };
    }
}

/// `['name']` at the beginning of a path, and what follows it.
fn quoted(path: &str) -> Option<(&str, &str)> {
    let inner = path.strip_prefix('[')?;
    let quote = inner.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let (name, after) = inner[1..].split_once(quote)?;
    Some((name, after.strip_prefix(']')?))
}

/// The steps of each `${…}` of a text.
fn paths_of(text: &str) -> impl Iterator<Item = Vec<&str>> {
    expressions(text).into_iter().map(steps).filter(|steps| !steps.is_empty())
}

/// A list for people: `a, b and c`, or the first of many.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const LISTED: usize = 12;
    let names: BTreeSet<&str> = names.into_iter().collect();
    let more = names.len().saturating_sub(LISTED);
    let mut text = names.into_iter().take(LISTED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}
