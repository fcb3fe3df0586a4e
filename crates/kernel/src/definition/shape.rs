//! What type every field must have, as one table, so that type errors carry a JSON pointer.
//!
//! Serde stops at the first mismatch and cannot say where it is. This stage runs before it, over
//! the parsed tree, and reports every mismatch; what it lets pass, serde takes.

use serde_json::Value;

use super::coerce;
use super::problem::{Problem, Problems, join, nearest};
use super::task::{RetryLogic, SchemaType, TaskTimeoutPolicy};
use super::workflow::{IdempotencyStrategy, JoinMode, RateLimitPolicy, WorkflowTimeoutPolicy};

/// The type of a field. `null` stands for any of them, except inside a list.
pub(super) enum Shape {
    Any,
    Boolean,
    Int,
    Long,
    Text,
    Choice(&'static [&'static str]),
    Object,
    /// A number or one whole `${…}`.
    Version,
    /// A workflow definition or one whole `${…}`.
    Definition,
    List(&'static Shape),
    Table(&'static Shape),
    Record(&'static [Field]),
}

/// A field's name on the wire and its type.
pub(super) type Field = (&'static str, Shape);

use Shape::{
    Any, Boolean, Choice, Definition, Int, List, Long, Object, Record, Table, Text, Version,
};

pub(super) static WORKFLOW: Shape = Record(&[
    ("name", Text),
    ("description", Text),
    ("version", Int),
    ("tasks", List(&TASK)),
    ("inputParameters", List(&Text)),
    ("outputParameters", Object),
    ("failureWorkflow", Text),
    ("failureWorkflowVersion", Int),
    ("schemaVersion", Int),
    ("restartable", Boolean),
    ("workflowStatusListenerEnabled", Boolean),
    ("workflowStatusListenerSink", Text),
    ("ownerEmail", Text),
    ("timeoutPolicy", Choice(WorkflowTimeoutPolicy::NAMES)),
    ("timeoutSeconds", Long),
    ("variables", Object),
    ("inputTemplate", Object),
    ("rateLimitConfig", RATE_LIMIT),
    ("inputSchema", SCHEMA),
    ("outputSchema", SCHEMA),
    ("enforceSchema", Boolean),
    ("metadata", Object),
    ("cacheConfig", CACHE),
    ("maskedFields", List(&Text)),
    ("secretsInData", List(&Text)),
    ("keepHistory", Boolean),
    ("ownerApp", Text),
    ("createTime", Long),
    ("updateTime", Long),
    ("createdBy", Text),
    ("updatedBy", Text),
]);

pub(super) static TASK: Shape = Record(&[
    ("name", Text),
    ("taskReferenceName", Text),
    ("description", Text),
    ("inputParameters", Object),
    ("type", Text),
    ("dynamicTaskNameParam", Text),
    ("caseValueParam", Text),
    ("caseExpression", Text),
    ("scriptExpression", Text),
    ("decisionCases", Table(&List(&TASK))),
    ("dynamicForkJoinTasksParam", Text),
    ("dynamicForkTasksParam", Text),
    ("dynamicForkTasksInputParamName", Text),
    ("defaultCase", List(&TASK)),
    ("forkTasks", List(&List(&TASK))),
    ("startDelay", Int),
    ("subWorkflowParam", SUB_WORKFLOW),
    ("joinOn", List(&Text)),
    ("sink", Text),
    ("optional", Boolean),
    ("taskDefinition", TASK_DEF),
    ("rateLimited", Boolean),
    ("defaultExclusiveJoinTask", List(&Text)),
    ("asyncComplete", Boolean),
    ("loopCondition", Text),
    ("loopOver", List(&TASK)),
    ("items", Any),
    ("retryCount", Int),
    ("evaluatorType", Text),
    ("expression", Text),
    ("onStateChange", Table(&List(&STATE_CHANGE))),
    ("joinStatus", Text),
    ("cacheConfig", CACHE),
    ("permissive", Boolean),
    ("joinMode", Choice(JoinMode::NAMES)),
    ("metadata", Object),
]);

const SUB_WORKFLOW: Shape = Record(&[
    ("name", Text),
    ("version", Version),
    ("taskToDomain", Table(&Text)),
    ("workflowDefinition", Definition),
    ("idempotencyKey", Text),
    ("idempotencyStrategy", Choice(IdempotencyStrategy::NAMES)),
    ("priority", Any),
]);

static STATE_CHANGE: Shape = Record(&[("type", Text), ("payload", Object)]);

const RATE_LIMIT: Shape = Record(&[
    ("rateLimitKey", Text),
    ("concurrentExecLimit", Int),
    ("policy", Choice(RateLimitPolicy::NAMES)),
]);

const CACHE: Shape = Record(&[("key", Text), ("ttlInSecond", Int)]);

const SCHEMA: Shape = Record(&[
    ("name", Text),
    ("version", Int),
    ("type", Choice(SchemaType::NAMES)),
    ("data", Object),
    ("externalRef", Text),
    ("ownerApp", Text),
    ("createTime", Long),
    ("updateTime", Long),
    ("createdBy", Text),
    ("updatedBy", Text),
]);

pub(super) const TASK_DEF: Shape = Record(&[
    ("name", Text),
    ("description", Text),
    ("retryCount", Int),
    ("timeoutSeconds", Long),
    ("inputKeys", List(&Text)),
    ("outputKeys", List(&Text)),
    ("runtimeMetadata", List(&Text)),
    ("timeoutPolicy", Choice(TaskTimeoutPolicy::NAMES)),
    ("retryLogic", Choice(RetryLogic::NAMES)),
    ("retryDelaySeconds", Int),
    ("responseTimeoutSeconds", Long),
    ("concurrentExecLimit", Int),
    ("inputTemplate", Object),
    ("rateLimitPerFrequency", Int),
    ("rateLimitFrequencyInSeconds", Int),
    ("isolationGroupId", Text),
    ("executionNameSpace", Text),
    ("ownerEmail", Text),
    ("pollTimeoutSeconds", Int),
    ("backoffScaleFactor", Int),
    ("maxRetryDelaySeconds", Int),
    ("backoffJitterMs", Int),
    ("baseType", Text),
    ("totalTimeoutSeconds", Long),
    ("taskStatusListenerEnabled", Boolean),
    ("inputSchema", SCHEMA),
    ("outputSchema", SCHEMA),
    ("enforceSchema", Boolean),
    ("ownerApp", Text),
    ("createTime", Long),
    ("updateTime", Long),
    ("createdBy", Text),
    ("updatedBy", Text),
]);

/// Reports every value that does not have its declared type.
pub(super) fn check(value: &Value, shape: &Shape, pointer: &str, problems: &mut Problems) {
    if value.is_null() {
        return;
    }
    match (shape, value) {
        (Any, _) | (Object, Value::Object(_)) => {}
        (List(item), Value::Array(items)) => {
            for (index, value) in items.iter().enumerate() {
                let pointer = format!("{pointer}/{index}");
                if value.is_null() {
                    problems.push(mismatch(value, item, &pointer));
                } else {
                    check(value, item, &pointer, problems);
                }
            }
        }
        (Table(item), Value::Object(entries)) => {
            for (key, value) in entries {
                check(value, item, &join(pointer, key), problems);
            }
        }
        (Record(fields), Value::Object(entries)) => {
            for (name, shape) in *fields {
                if let Some(value) = entries.get(*name) {
                    check(value, shape, &join(pointer, name), problems);
                }
            }
        }
        (Definition, Value::Object(_)) => check(value, &WORKFLOW, pointer, problems),
        _ if !is_scalar(value, shape) => problems.push(mismatch(value, shape, pointer)),
        _ => {}
    }
}

/// What exports note, in the words of whoever exports: nothing goes by it.
const NOTED: [&str; 5] = ["ownerApp", "createTime", "updateTime", "createdBy", "updatedBy"];

/// Reports every key that is not declared and is almost one that is, and not there. The wire format
/// ignores unknown keys; a slip is ignored with them.
pub(super) fn unknown_keys(value: &Value, shape: &Shape, pointer: &str, problems: &mut Problems) {
    match (shape, value) {
        (List(item), Value::Array(items)) => {
            for (index, value) in items.iter().enumerate() {
                unknown_keys(value, item, &format!("{pointer}/{index}"), problems);
            }
        }
        (Table(item), Value::Object(entries)) => {
            for (key, value) in entries {
                unknown_keys(value, item, &join(pointer, key), problems);
            }
        }
        (Record(fields), Value::Object(entries)) => {
            let known = || fields.iter().map(|(name, _)| *name);
            let missing = || known().filter(|name| !entries.contains_key(*name));
            for key in entries.keys().filter(|key| !known().any(|name| name == key.as_str())) {
                let Some(near) = nearest(key, missing()).filter(|near| !NOTED.contains(near))
                else {
                    continue;
                };
                let message = format!("{key} is no key that is read here: it has no effect");
                let hint = format!("Did you mean {near}?");
                problems.push(Problem::new(join(pointer, key), "unknown-key", message, hint));
            }
            for (name, shape) in *fields {
                if let Some(value) = entries.get(*name) {
                    unknown_keys(value, shape, &join(pointer, name), problems);
                }
            }
        }
        (Definition, Value::Object(_)) => unknown_keys(value, &WORKFLOW, pointer, problems),
        _ => {}
    }
}

/// Whether a value reads as the scalar that the shape asks for.
fn is_scalar(value: &Value, shape: &Shape) -> bool {
    let is_expression = || value.as_str().is_some_and(coerce::is_expression);
    match shape {
        Boolean => coerce::boolean(value).is_some(),
        Int => coerce::int(value).is_some(),
        Long => coerce::long(value).is_some(),
        Text => coerce::text(value).is_some(),
        Choice(names) => coerce::index_of(value, names).is_some(),
        Version => coerce::int(value).is_some() || is_expression(),
        Definition => is_expression(),
        Any => true,
        Object | List(_) | Table(_) | Record(_) => false,
    }
}

fn mismatch(value: &Value, shape: &Shape, pointer: &str) -> Problem {
    let expected = match shape {
        Any => "a value".to_owned(),
        Boolean => "true or false".to_owned(),
        Int => "a 32-bit integer".to_owned(),
        Long => "an integer".to_owned(),
        Text => "text".to_owned(),
        Choice(names) => format!("one of {}", names.join(", ")),
        Object | Table(_) | Record(_) => "an object".to_owned(),
        Version => "a 32-bit integer or a ${…} expression".to_owned(),
        Definition => "a workflow definition or a ${…} expression".to_owned(),
        List(_) => "a list".to_owned(),
    };
    let place = pointer.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("document");
    let hint = match (shape, value.as_str()) {
        (Choice(names), Some(text)) => match nearest(text, names.iter().copied()) {
            Some(name) => format!("Did you mean {name}?"),
            None => format!("Write {expected}."),
        },
        _ => format!("Write {expected} at {pointer}, or leave it out."),
    };
    let message = format!("{place}: expected {expected}, got {}", describe(value));
    Problem::new(pointer, "wrong-type", message, hint).with_value(value.clone())
}

/// A value in a few words.
fn describe(value: &Value) -> String {
    const SHOWN_MAX: usize = 60;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() > SHOWN_MAX => {
            format!("the text \"{}…\"", text.chars().take(SHOWN_MAX).collect::<String>())
        }
        Value::String(text) => format!("the text \"{text}\""),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}
