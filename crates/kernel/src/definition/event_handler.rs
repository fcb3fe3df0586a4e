//! Event handlers as their authors write them: which messages they subscribe to, and what they do then.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::choice::choice;
use super::coerce::with;
use super::ordered::OrderedMap;
use super::parse;
use super::problem::{Problem, Problems};
use super::shape::Shape::{
    self, Any, Boolean, Choice, Int, List, Long, Object, Record, Table, Text,
};
use super::workflow::IdempotencyStrategy;
use crate::{Form, Scripts};

/// What shall happen when a message comes to a queue; the key is the name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventHandler {
    /// The key. Required, not empty.
    #[serde(deserialize_with = "with::text")]
    pub name: String,
    /// For people.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where messages come from: `type:queue`. Required, not empty.
    #[serde(deserialize_with = "with::text")]
    pub event: String,
    /// A script over `$`, the message; what is not true skips the message. Absent = every message.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// How the condition is to be read; absent = JavaScript.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub evaluator_type: Option<String>,
    /// What is done, in order; 1 to [`EVENT_ACTIONS_MAX`].
    #[serde(deserialize_with = "with::or_default")]
    pub actions: Vec<EventAction>,
    /// Whether messages are heeded at all; not unless it is said.
    #[serde(deserialize_with = "with::boolean")]
    pub active: bool,
    /// Labels: objects of `key` and `value`.
    #[serde(deserialize_with = "with::or_default", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Audit: epoch milliseconds; 0 = unknown.
    #[serde(deserialize_with = "with::long")]
    pub create_time: i64,
    /// Audit: epoch milliseconds; 0 = never.
    #[serde(deserialize_with = "with::long")]
    pub update_time: i64,
    /// Audit.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Audit.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

/// A label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tag {
    /// What it is about.
    #[serde(deserialize_with = "with::text")]
    pub key: String,
    /// What it says.
    #[serde(deserialize_with = "with::text")]
    pub value: String,
}

/// Most actions of one handler.
pub const EVENT_ACTIONS_MAX: usize = 100;

/// One thing to do. Texts may hold `${…}`, which addresses the message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventAction {
    /// What to do; the member of the same name says how. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<EventActionType>,
    /// For [`EventActionType::StartWorkflow`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_workflow: Option<StartWorkflowAction>,
    /// For [`EventActionType::CompleteTask`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete_task: Option<TaskAction>,
    /// For [`EventActionType::FailTask`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_task: Option<TaskAction>,
    /// For [`EventActionType::TerminateWorkflow`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminate_workflow: Option<TerminateWorkflowAction>,
    /// For [`EventActionType::UpdateWorkflowVariables`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_workflow_variables: Option<UpdateVariablesAction>,
    /// Whether texts in the message that are JSON themselves count as what they hold.
    #[serde(rename = "expandInlineJSON", deserialize_with = "with::boolean")]
    pub expand_inline_json: bool,
}

choice! {
    /// What a handler can do.
    pub enum EventActionType {
        /// Start a workflow.
        StartWorkflow = "start_workflow",
        /// Complete a task.
        CompleteTask = "complete_task",
        /// Fail a task.
        FailTask = "fail_task",
        /// Terminate a workflow.
        TerminateWorkflow = "terminate_workflow",
        /// Set variables of a workflow.
        UpdateWorkflowVariables = "update_workflow_variables",
    }
}

/// Which workflow to start, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StartWorkflowAction {
    /// The name of a registered workflow. Required.
    #[serde(deserialize_with = "with::text")]
    pub name: String,
    /// Its version; absent = the latest.
    #[serde(deserialize_with = "with::optional_int", skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// The label that the execution gets.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Its input.
    #[serde(deserialize_with = "with::or_default")]
    pub input: Map<String, Value>,
    /// Task name (or `*`) to domains; absent = the message's member of the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_to_domain: Option<OrderedMap<String>>,
    /// With a strategy: a second start with the same key and name is not one.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// What becomes of a second start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_strategy: Option<IdempotencyStrategy>,
}

/// Which task to end, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskAction {
    /// The execution; needed where no task id is given.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<String>,
    /// The task by its reference name.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub task_ref_name: Option<String>,
    /// The task by its id.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Its output.
    #[serde(deserialize_with = "with::or_default")]
    pub output: Map<String, Value>,
    /// Why it fails.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub reason_for_incompletion: Option<String>,
}

/// Which workflow to terminate, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TerminateWorkflowAction {
    /// The execution. Required.
    #[serde(deserialize_with = "with::text")]
    pub workflow_id: String,
    /// Why.
    #[serde(deserialize_with = "with::optional_text", skip_serializing_if = "Option::is_none")]
    pub termination_reason: Option<String>,
}

/// Which variables to set in which workflow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateVariablesAction {
    /// The execution. Required.
    #[serde(deserialize_with = "with::text")]
    pub workflow_id: String,
    /// The variables.
    #[serde(deserialize_with = "with::or_default")]
    pub variables: Map<String, Value>,
    /// Whether what a list is set to is added to its end.
    #[serde(deserialize_with = "with::optional_boolean", skip_serializing_if = "Option::is_none")]
    pub append_array: Option<bool>,
}

pub(super) static HANDLER: Shape = Record(&[
    ("name", Text),
    ("description", Text),
    ("event", Text),
    ("condition", Text),
    ("evaluatorType", Text),
    ("actions", List(&ACTION)),
    ("active", Boolean),
    ("tags", List(&TAG)),
    ("createTime", Long),
    ("updateTime", Long),
    ("createdBy", Text),
    ("updatedBy", Text),
]);

static TAG: Shape = Record(&[("key", Text), ("value", Text), ("type", Any)]);

static ACTION: Shape = Record(&[
    ("action", Choice(EventActionType::NAMES)),
    (
        "start_workflow",
        Record(&[
            ("name", Text),
            ("version", Int),
            ("correlationId", Text),
            ("input", Object),
            ("taskToDomain", Table(&Text)),
            ("idempotencyKey", Text),
            ("idempotencyStrategy", Choice(IdempotencyStrategy::NAMES)),
        ]),
    ),
    ("complete_task", TASK),
    ("fail_task", TASK),
    ("terminate_workflow", Record(&[("workflowId", Text), ("terminationReason", Text)])),
    (
        "update_workflow_variables",
        Record(&[("workflowId", Text), ("variables", Object), ("appendArray", Boolean)]),
    ),
    ("expandInlineJSON", Boolean),
]);

const TASK: Shape = Record(&[
    ("workflowId", Text),
    ("taskRefName", Text),
    ("taskId", Text),
    ("output", Object),
    ("reasonForIncompletion", Text),
]);

/// Reads a list of event handlers, or a single one as a list of one.
///
/// # Errors
/// Malformed JSON as one problem; otherwise every value of a wrong type. Pointers begin with the
/// index in a list.
pub fn parse_event_handlers(text: &str) -> Result<Vec<EventHandler>, Vec<Problem>> {
    parse::read_many(&parse::tree(text)?, &HANDLER)
}

/// Keys of event handlers that nothing reads and that look like a slip of one that is read.
pub fn unknown_handler_keys(text: &str) -> Vec<Problem> {
    parse::unknown_keys(text, &HANDLER)
}

/// Reads one event handler.
///
/// # Errors
/// As [`parse_event_handlers`].
pub fn parse_event_handler(text: &str) -> Result<EventHandler, Vec<Problem>> {
    parse::read(&parse::tree(text)?, &HANDLER, "")
}

/// How a condition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionForm {
    /// JavaScript over `$`.
    Script,
    /// The name of a member of the message.
    Member,
}

impl EventHandler {
    /// How the condition is read; `None` if the evaluator is none we know.
    pub fn condition_form(&self) -> Option<ConditionForm> {
        match self.evaluator_type.as_deref() {
            None | Some("" | "javascript" | "graaljs" | "js") => Some(ConditionForm::Script),
            Some("value-param") => Some(ConditionForm::Member),
            Some(_) => None,
        }
    }

    /// The condition, if there is one.
    pub fn condition(&self) -> Option<&str> {
        self.condition.as_deref().filter(|condition| !condition.trim().is_empty())
    }
}

/// Reports everything that is wrong with an event handler; empty = it can be registered.
pub fn validate_event_handler(handler: &EventHandler, scripts: &dyn Scripts) -> Vec<Problem> {
    let mut problems = Problems::default();
    if handler.name.trim().is_empty() {
        let hint = "Give the handler a name of its own.";
        problems.push(Problem::new("/name", "name-missing", "Missing event handler name", hint));
    }
    check_event(handler, &mut problems);
    check_condition(handler, scripts, &mut problems);
    if handler.actions.is_empty() {
        problems.push(Problem::new(
            "/actions",
            "field-required",
            "No actions specified. Please specify at-least one action",
            "Add what shall be done, such as start_workflow.",
        ));
    }
    if handler.actions.len() > EVENT_ACTIONS_MAX {
        let message = format!("{} actions are too many", handler.actions.len());
        let hint =
            format!("Up to {EVENT_ACTIONS_MAX} are taken; start a workflow that does the rest.");
        problems.push(Problem::new("/actions", "too-many-actions", message, hint));
    }
    for (index, action) in handler.actions.iter().enumerate() {
        check_action(action, &format!("/actions/{index}"), &mut problems);
    }
    check_tags(&handler.tags, &mut problems);
    problems.into_vec()
}

/// Splits `type:queue`; `None` if either is missing.
pub fn event_parts(event: &str) -> Option<(&str, &str)> {
    event.split_once(':').filter(|(kind, queue)| !kind.is_empty() && !queue.is_empty())
}

fn check_event(handler: &EventHandler, problems: &mut Problems) {
    let hint = "Write type:queue, such as conductor:workflow:event or nats:subject.";
    if handler.event.trim().is_empty() {
        problems.push(Problem::new("/event", "field-required", "Missing event location", hint));
    } else if handler.active && event_parts(&handler.event).is_none() {
        // What is not active may stand as a draft.
        let message = format!("the event '{}' has no type and queue", handler.event);
        let problem = Problem::new("/event", "value-invalid", message, hint);
        problems.push(problem.with_value(handler.event.as_str()));
    }
}

fn check_condition(handler: &EventHandler, scripts: &dyn Scripts, problems: &mut Problems) {
    let form = handler.condition_form();
    if form.is_none() {
        let evaluator = handler.evaluator_type.as_deref().unwrap_or_default();
        let message = format!("there is no evaluator '{evaluator}'");
        let hint = "Use javascript or value-param.";
        let problem = Problem::new("/evaluatorType", "value-invalid", message, hint);
        problems.push(problem.with_value(evaluator));
    }
    if let (Some(ConditionForm::Script), Some(condition)) = (form, handler.condition())
        && let Err(error) = scripts.check_javascript(condition, Form::Statements)
    {
        let message = format!("Expression is not well formatted: {error}");
        let hint = "Correct the JavaScript at the place named.";
        problems.push(Problem::new("/condition", "script-syntax", message, hint));
    }
}

fn check_action(action: &EventAction, pointer: &str, problems: &mut Problems) {
    let Some(kind) = action.action else {
        let message = "the action does not say what to do";
        let hint = format!("Set action to one of {}.", EventActionType::NAMES.join(", "));
        problems.push(Problem::new(format!("{pointer}/action"), "field-required", message, hint));
        return;
    };
    let place = format!("{pointer}/{kind}");
    let blank = |text: &Option<String>| text.as_deref().is_none_or(|text| text.trim().is_empty());
    let names_task = |task: &TaskAction| {
        !blank(&task.task_id) || (!blank(&task.workflow_id) && !blank(&task.task_ref_name))
    };
    // Whether the details are there, and what they lack.
    let lacks = match kind {
        EventActionType::StartWorkflow => action
            .start_workflow
            .as_ref()
            .map(|start| start.name.trim().is_empty().then_some(("name", "a name"))),
        EventActionType::CompleteTask => action.complete_task.as_ref().map(|task| {
            (!names_task(task)).then_some(("taskRefName", "workflowId and taskRefName, or taskId"))
        }),
        EventActionType::FailTask => action.fail_task.as_ref().map(|task| {
            (!names_task(task)).then_some(("taskRefName", "workflowId and taskRefName, or taskId"))
        }),
        EventActionType::TerminateWorkflow => action.terminate_workflow.as_ref().map(|terminate| {
            terminate.workflow_id.trim().is_empty().then_some(("workflowId", "a workflowId"))
        }),
        EventActionType::UpdateWorkflowVariables => {
            action.update_workflow_variables.as_ref().map(|update| {
                update.workflow_id.trim().is_empty().then_some(("workflowId", "a workflowId"))
            })
        }
    };
    match lacks {
        Some(None) => {}
        Some(Some((field, what))) => {
            let message = format!("{kind} needs {what}");
            let hint = format!("Add {what}; it may be an expression such as ${{field}}.");
            let place = format!("{place}/{field}");
            problems.push(Problem::new(place, "field-required", message, hint));
        }
        None => {
            let message = format!("the action {kind} has no member {kind}");
            let hint = format!("Add {kind} with what it needs.");
            problems.push(Problem::new(place, "field-required", message, hint));
        }
    }
}

fn check_tags(tags: &[Tag], problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (index, tag) in tags.iter().enumerate() {
        let (message, hint) = if tag.key.trim().is_empty() {
            ("the tag has no key".to_owned(), "Give the tag a key.")
        } else if !seen.insert((&tag.key, &tag.value)) {
            (format!("the tag '{}' is there twice", tag.key), "Remove one of them.")
        } else {
            continue;
        };
        let pointer = format!("/tags/{index}/key");
        problems.push(Problem::new(pointer, "value-invalid", message, hint));
    }
}
