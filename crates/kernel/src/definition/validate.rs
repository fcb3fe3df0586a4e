//! Judges whole definitions: what must be there, what must be unique, what must fit together.
//!
//! The rules of single task types are in [`rules`](super::rules), those of `${…}` in
//! [`references`](super::references). What Conductor would only notice while an execution is under
//! way (a script that does not parse, a fork without its JOIN) is refused here, before anything
//! starts. What can come to an end all the same is at most a warning: a task that may never be
//! reached, or whose failure the author allows, may hold a broken script or an unknown reference.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::problem::{Problem, Problems, join};
use super::references::{self, References};
use super::rules::{Rules, Templates};
use super::task::TaskDef;
use super::workflow::{
    SubWorkflowDefinition, SubWorkflowParams, SubWorkflowVersion, WorkflowDef, WorkflowTask,
};
use crate::Scripts;

/// What looking through a workflow definition brought to light.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Reasons to refuse the definition; empty = it can run.
    pub problems: Vec<Problem>,
    /// What runs, but hardly as meant: expressions that will always give null.
    ///
    /// Definitions in use carry such leftovers in their output, in nested tasks and in inline
    /// sub-workflows, where Conductor does not look, so they are no reason to refuse; nor is a
    /// script that does not parse in a task that may never run.
    pub warnings: Vec<Problem>,
}

/// Reports everything that is wrong with a workflow definition; empty = it can run.
///
/// Knows no registered task definitions and keeps warnings to itself: see [`inspect_workflow`].
pub fn validate_workflow(def: &WorkflowDef, scripts: &dyn Scripts) -> Vec<Problem> {
    inspect_workflow(def, scripts, &|_, _| false).problems
}

/// Looks through a workflow definition, where required input may also come from a registered task
/// definition.
///
/// `templates` answers whether the registered [`TaskDef`] of a name has a key in its
/// `inputTemplate`.
pub fn inspect_workflow(
    def: &WorkflowDef,
    scripts: &dyn Scripts,
    templates: &Templates<'_>,
) -> Findings {
    let mut inspection = Inspection {
        scripts,
        templates,
        problems: Problems::default(),
        warnings: Problems::default(),
    };
    inspection.workflow(def, "");
    Findings { problems: inspection.problems.into_vec(), warnings: inspection.warnings.into_vec() }
}

/// Reports everything that is wrong with a task definition; empty = it can be registered.
pub fn validate_task_def(def: &TaskDef) -> Vec<Problem> {
    let mut problems = Problems::default();
    if def.name.trim().is_empty() {
        problems.push(Problem::new(
            "/name",
            "name-missing",
            "TaskDef name cannot be null or empty",
            "Give the task definition the name that workflows and workers use.",
        ));
    }
    check_characters(&def.name, "/name", &mut problems);
    if def.response_timeout_seconds < 1 {
        let message = format!(
            "TaskDef responseTimeoutSeconds: {} should be minimum 1 second",
            def.response_timeout_seconds
        );
        let hint = "Write 1 or more, or leave it out for an hour.";
        problems.push(
            Problem::new("/responseTimeoutSeconds", "value-out-of-range", message, hint)
                .with_value(def.response_timeout_seconds),
        );
    }
    check_timeout_order(def, &mut problems);
    check_numbers(def, "", &mut problems);
    problems.into_vec()
}

/// A walk through one document, inline sub-workflows included.
struct Inspection<'a> {
    scripts: &'a dyn Scripts,
    templates: &'a Templates<'a>,
    problems: Problems,
    warnings: Problems,
}

impl Inspection<'_> {
    /// Looks at a definition that stands at `base`; the document itself stands at "".
    fn workflow(&mut self, def: &WorkflowDef, base: &str) {
        check_head(def, base, &mut self.problems);
        let references = collect_references(def, base, &mut self.problems);
        let mut tasks = Vec::new();
        def.walk(|pointer, task| tasks.push((format!("{base}{pointer}"), task)));
        for (pointer, task) in &tasks {
            self.task(task, pointer, base, &references);
        }
        check_joins(&def.tasks, &format!("{base}/tasks"), None, &mut self.problems);
        for (key, value) in &def.output_parameters {
            let pointer = join(&format!("{base}/outputParameters"), key);
            references::check_value(value, &pointer, true, &references, &mut self.warnings);
        }
    }

    fn task(
        &mut self,
        task: &WorkflowTask,
        pointer: &str,
        base: &str,
        references: &References<'_>,
    ) {
        check_names(task, pointer, &mut self.problems);
        let place = &pointer[base.len()..];
        Rules {
            task,
            pointer,
            may_fail: task.optional || is_conditional(place) || !base.is_empty(),
            scripts: self.scripts,
            templates: self.templates,
            references,
            problems: &mut self.problems,
            warnings: &mut self.warnings,
        }
        .check();
        let is_nested = place.matches('/').count() > 2;
        let is_checked = base.is_empty() && !is_nested;
        let findings = if is_checked { &mut self.problems } else { &mut self.warnings };
        check_expressions(task, pointer, is_nested, references, findings);
        if let Some(params) = &task.sub_workflow_param
            && let Some(SubWorkflowDefinition::Inline(inner)) = &params.workflow_definition
        {
            self.workflow(inner, &format!("{pointer}/subWorkflowParam/workflowDefinition"));
        }
    }
}

/// Whether a task at this place (a pointer from its definition on) runs only if a SWITCH chooses it.
fn is_conditional(place: &str) -> bool {
    // A case's name stands between two slashes and has none itself.
    place.split('/').any(|segment| matches!(segment, "decisionCases" | "defaultCase"))
}

fn check_head(def: &WorkflowDef, base: &str, problems: &mut Problems) {
    if def.name.trim().is_empty() {
        problems.push(Problem::new(
            format!("{base}/name"),
            "name-missing",
            "WorkflowDef name cannot be null or empty",
            "Give the workflow a name; executions are started by it.",
        ));
    }
    check_characters(&def.name, &format!("{base}/name"), problems);
    if def.tasks.is_empty() {
        problems.push(Problem::new(
            format!("{base}/tasks"),
            "tasks-missing",
            "WorkflowTask list cannot be empty",
            "Add at least one task.",
        ));
    }
    if def.schema_version != 2 {
        problems.push(
            Problem::new(
                format!("{base}/schemaVersion"),
                "schema-version",
                "workflowDef schemaVersion: 2 is only supported",
                "Write 2, or leave it out.",
            )
            .with_value(def.schema_version),
        );
    }
}

/// Control characters would break logs, headers and paths; everything else has been seen in use.
fn check_characters(name: &str, pointer: &str, problems: &mut Problems) {
    if name.chars().any(char::is_control) {
        problems.push(
            Problem::new(
                pointer,
                "name-invalid",
                format!("Invalid name {name:?}: it holds a control character"),
                "Use letters, digits, spaces and signs such as _ - < > { } #.",
            )
            .with_value(name),
        );
    }
}

/// Gathers the reference names of the whole tree and reports those used twice.
fn collect_references<'a>(
    def: &'a WorkflowDef,
    base: &str,
    problems: &mut Problems,
) -> References<'a> {
    let mut places: BTreeMap<&str, String> = BTreeMap::new();
    let mut open = false;
    def.walk(|pointer, task| {
        open |= task.task_type == "FORK_JOIN_DYNAMIC";
        let name = task.task_reference_name.as_str();
        if name.is_empty() {
            return;
        }
        let Some(first) = places.get(name) else {
            places.insert(name, format!("{base}{pointer}"));
            return;
        };
        let message = format!(
            "taskReferenceName: {name} should be unique across tasks for a given \
             workflowDefinition: {}",
            def.name
        );
        let hint = format!("{first} has it already; rename one of them and what refers to it.");
        let pointer = format!("{base}{pointer}/taskReferenceName");
        problems.push(Problem::new(pointer, "duplicate-reference", message, hint).with_value(name));
    });
    References::new(places.keys().copied().collect::<BTreeSet<_>>(), open)
}

fn check_names(task: &WorkflowTask, pointer: &str, problems: &mut Problems) {
    if task.name.is_empty() {
        problems.push(Problem::new(
            format!("{pointer}/name"),
            "name-missing",
            "WorkflowTask name cannot be empty or null",
            "Give the task a name: the one that workers poll, or any for a built-in type.",
        ));
    }
    if task.task_reference_name.is_empty() {
        problems.push(Problem::new(
            format!("{pointer}/taskReferenceName"),
            "reference-missing",
            "WorkflowTask taskReferenceName name cannot be empty or null",
            "Give the task a taskReferenceName that is unique in the workflow.",
        ));
    }
    check_characters(&task.name, &format!("{pointer}/name"), problems);
    let reference = format!("{pointer}/taskReferenceName");
    check_characters(&task.task_reference_name, &reference, problems);
    if task.task_type.is_empty() {
        problems.push(Problem::new(
            format!("{pointer}/type"),
            "type-missing",
            "WorkTask type cannot be null or empty",
            "Write a type, or leave the field out for SIMPLE.",
        ));
    }
    if task.start_delay < 0 {
        problems.push(
            Problem::new(
                format!("{pointer}/startDelay"),
                "value-out-of-range",
                "startDelay must be greater than or equal to 0",
                "Write the seconds to wait, or leave it out.",
            )
            .with_value(task.start_delay),
        );
    }
    if let Some(def) = &task.task_definition {
        // An embedded definition often lacks what a registered one must have: the server fills it.
        check_numbers(def, &format!("{pointer}/taskDefinition"), problems);
    }
}

fn check_expressions(
    task: &WorkflowTask,
    pointer: &str,
    lenient: bool,
    references: &References<'_>,
    problems: &mut Problems,
) {
    let input = format!("{pointer}/inputParameters");
    for (key, value) in &task.input_parameters {
        references::check_value(value, &join(&input, key), lenient, references, problems);
    }
    if let Some(items) = &task.items {
        let pointer = format!("{pointer}/items");
        references::check_value(items, &pointer, lenient, references, problems);
    }
    if let Some(params) = &task.sub_workflow_param {
        for (field, text) in sub_workflow_texts(params) {
            let pointer = format!("{pointer}/subWorkflowParam/{field}");
            references::check_text(text, &pointer, lenient, references, problems);
        }
    }
}

/// The fields of a sub-workflow's parameters that may hold expressions.
fn sub_workflow_texts(params: &SubWorkflowParams) -> impl Iterator<Item = (&'static str, &str)> {
    let version = match &params.version {
        Some(SubWorkflowVersion::Expression(text)) => Some(text.as_str()),
        _ => None,
    };
    let definition = match &params.workflow_definition {
        Some(SubWorkflowDefinition::Expression(text)) => Some(text.as_str()),
        _ => None,
    };
    [
        ("name", params.name.as_deref()),
        ("version", version),
        ("workflowDefinition", definition),
        ("idempotencyKey", params.idempotency_key.as_deref()),
        ("priority", params.priority.as_ref().and_then(Value::as_str)),
    ]
    .into_iter()
    .filter_map(|(field, text)| Some((field, text?)))
}

/// Every fork must be followed by its JOIN.
///
/// The last task of a SWITCH case is followed by what follows the SWITCH, so `after` is handed
/// down; a branch of a fork and the body of a loop end where they end.
fn check_joins(
    tasks: &[WorkflowTask],
    pointer: &str,
    after: Option<&WorkflowTask>,
    problems: &mut Problems,
) {
    for (index, task) in tasks.iter().enumerate() {
        let next = tasks.get(index + 1).or(after);
        let place = format!("{pointer}/{index}");
        let is_fork = matches!(task.task_type.as_str(), "FORK_JOIN" | "FORK_JOIN_DYNAMIC");
        if is_fork && next.is_none_or(|next| next.task_type != "JOIN") {
            let message = format!(
                "{} task {} is not followed by a JOIN task",
                task.task_type, task.task_reference_name
            );
            let hint = "Put a JOIN task directly behind the fork.";
            problems.push(Problem::new(place.as_str(), "fork-without-join", message, hint));
        }
        let after = match task.task_type.as_str() {
            "SWITCH" | "DECISION" => next,
            _ => None,
        };
        for (children, tasks) in task.children() {
            check_joins(tasks, &format!("{place}{children}"), after, problems);
        }
    }
}

fn check_timeout_order(def: &TaskDef, problems: &mut Problems) {
    if def.timeout_seconds > 0 && def.response_timeout_seconds > def.timeout_seconds {
        let message = format!(
            "TaskDef: {} responseTimeoutSeconds: {} must be less than timeoutSeconds: {}",
            def.name, def.response_timeout_seconds, def.timeout_seconds
        );
        let hint = format!("Write {} or less, or raise timeoutSeconds.", def.timeout_seconds);
        problems.push(
            Problem::new("/responseTimeoutSeconds", "timeout-order", message, hint)
                .with_value(def.response_timeout_seconds),
        );
    }
    if def.timeout_seconds > 0
        && def.total_timeout_seconds > 0
        && def.timeout_seconds > def.total_timeout_seconds
    {
        let message = format!(
            "TaskDef: {} timeoutSeconds: {} must be less than or equal to totalTimeoutSeconds: {}",
            def.name, def.timeout_seconds, def.total_timeout_seconds
        );
        let hint =
            "All attempts together need at least the time of one: raise totalTimeoutSeconds.";
        problems.push(
            Problem::new("/totalTimeoutSeconds", "timeout-order", message, hint)
                .with_value(def.total_timeout_seconds),
        );
    }
}

fn check_numbers(def: &TaskDef, base: &str, problems: &mut Problems) {
    // A negative timeoutSeconds or retryDelaySeconds counts as 0, as in Conductor.
    let at_least_zero = [
        ("retryCount", i64::from(def.retry_count)),
        ("pollTimeoutSeconds", i64::from(def.poll_timeout_seconds.unwrap_or(0))),
        ("maxRetryDelaySeconds", i64::from(def.max_retry_delay_seconds)),
        ("backoffJitterMs", i64::from(def.backoff_jitter_ms)),
        ("totalTimeoutSeconds", def.total_timeout_seconds),
    ];
    for (field, number) in at_least_zero {
        if number < 0 {
            problems.push(
                Problem::new(
                    format!("{base}/{field}"),
                    "value-out-of-range",
                    format!("TaskDef {field}: {number} must be >= 0"),
                    "Write 0 or more, or leave it out.",
                )
                .with_value(number),
            );
        }
    }
    if def.backoff_scale_factor < 1 {
        problems.push(
            Problem::new(
                format!("{base}/backoffScaleFactor"),
                "value-out-of-range",
                "Backoff scale factor. Applicable for LINEAR_BACKOFF",
                "Write 1 or more, or leave it out.",
            )
            .with_value(def.backoff_scale_factor),
        );
    }
}
