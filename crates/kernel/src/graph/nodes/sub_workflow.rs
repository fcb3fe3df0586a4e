//! SUB_WORKFLOW and START_WORKFLOW: executions that start executions, waited for or not.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::adoption::Instead;
use super::super::draft::{Draft, End};
use super::super::event::{Event, Parent};
use super::super::execution::{Execution, Task};
use super::super::input::{Idempotency, Message, StartMessage};
use super::super::object::{ObjectText, merged};
use super::super::plan::Node;
use super::super::scope::View;
use super::super::status::{Status, TaskStatus};
use crate::definition::{
    IdempotencyStrategy, SubWorkflowDefinition, SubWorkflowParams, SubWorkflowVersion,
};
use crate::expression::{Template, disown};
use crate::json::Json;

/// A SUB_WORKFLOW's input: what will be started, and the child's input under `workflowInput`.
pub(in super::super) fn shown_input(node: &Node, input: &Json, view: &View<'_>) -> Json {
    let default = SubWorkflowParams::default();
    let params = node.task.sub_workflow_param.as_ref().unwrap_or(&default);
    let text = |text: &str| Template::compile(&Value::String(text.to_owned())).render(view);
    let mut shown: Vec<(&str, Json)> = Vec::new();
    let mut add = |name: &'static str, value: Json| {
        if !value.is_null() {
            shown.push((name, value));
        }
    };
    match &params.workflow_definition {
        Some(SubWorkflowDefinition::Inline(definition)) => {
            add("subWorkflowDefinition", Json::of(definition));
        }
        Some(SubWorkflowDefinition::Expression(expression)) => {
            add("subWorkflowDefinition", text(expression));
        }
        None => {}
    }
    add("subWorkflowName", text(params.name.as_deref().unwrap_or(&node.task.name)));
    match &params.version {
        Some(SubWorkflowVersion::Number(number)) => add("subWorkflowVersion", Json::of(number)),
        Some(SubWorkflowVersion::Expression(expression)) => {
            add("subWorkflowVersion", text(expression));
        }
        None => {}
    }
    if let Some(domains) = &params.task_to_domain {
        add(
            "subWorkflowTaskToDomain",
            Template::compile(&Value::Object(domains.clone())).render(view),
        );
    }
    if let Some(priority) = &params.priority {
        add("priority", Template::compile(priority).render(view));
    }
    if let Some(key) = &params.idempotency_key {
        add("idempotencyKey", text(key));
    }
    if let Some(strategy) = &params.idempotency_strategy {
        add("idempotencyStrategy", Json::of(strategy));
    }
    add("workflowInput", input.clone());
    // An input may itself have a member of one of these names: it goes to the child only.
    let names: Vec<&str> = shown.iter().map(|(name, _)| *name).collect();
    let mut object = ObjectText::new();
    object.members_besides(input, &names);
    for (name, value) in &shown {
        object.member(name, value.text());
    }
    object.finish()
}

/// What [`shown_input`] wrote.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    sub_workflow_name: Option<Value>,
    sub_workflow_version: Option<Value>,
    sub_workflow_definition: Option<Value>,
    sub_workflow_task_to_domain: Option<Map<String, Value>>,
    priority: Option<Value>,
    idempotency_key: Option<Value>,
    idempotency_strategy: Option<Value>,
    workflow_input: Option<Box<RawValue>>,
}

pub(in super::super) fn begin(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let message = match start_message(draft.state, task) {
        Ok(message) => message,
        Err(reason) => return draft.close(sequence, End::failed_terminally(reason)),
    };
    let child = task.child.clone();
    draft.push(Event::Begun { sequence, until: None });
    if let Some(child) = child {
        draft.send(child, Message::Start(Box::new(message)));
    }
}

fn start_message(state: &Execution, task: &Task) -> Result<StartMessage, String> {
    let shown: Shown = serde_json::from_str(task.input.text())
        .map_err(|error| format!("the sub-workflow's parameters are not usable: {error}"))?;
    let mut name = match shown.sub_workflow_name {
        Some(Value::String(name)) => name,
        _ => String::new(),
    };
    let definition = match shown.sub_workflow_definition {
        // An expression may also give the name of a registered definition.
        Some(Value::String(registered)) => {
            name = registered;
            None
        }
        Some(Value::Object(mut definition)) => {
            mark_dynamic(&mut definition);
            if let Some(Value::String(own)) = definition.get("name") {
                name.clone_from(own);
            }
            // An author's text is pinned with references: what still spells a secret out is data.
            let mut definition = Value::Object(definition);
            disown(&mut definition);
            serde_json::value::to_raw_value(&definition).ok().map(Arc::from)
        }
        Some(Value::Null) | None => None,
        Some(_) => return Err("the sub-workflow's definition must be an object".to_owned()),
    };
    if name.is_empty() {
        return Err("the sub-workflow has no name: set subWorkflowParam.name".to_owned());
    }
    let mut input = match shown.workflow_input {
        Some(raw) => Json::from_text(raw.get().to_owned()).ok().filter(Json::is_object),
        // A DYNAMIC task that became a sub-workflow may give all it has.
        None => Some(task.input.clone()),
    }
    .unwrap_or_default();
    if definition.is_some() {
        let mark = serde_json::json!({ "_systemMetadata": { "dynamic": true } });
        input = merged(&input, &mark.into());
    }
    let idempotency = idempotency(shown.idempotency_key, shown.idempotency_strategy)?;
    let domains = shown.sub_workflow_task_to_domain.map(|domains| Json::of(&domains));
    let parent = Parent { execution: state.id.clone(), sequence: task.sequence };
    Ok(StartMessage {
        name: name.into(),
        version: shown.sub_workflow_version.as_ref().and_then(number).filter(|v| *v > 0),
        definition,
        input,
        correlation_id: state.correlation_id.clone(),
        priority: shown.priority.as_ref().and_then(number).map_or(0, priority),
        task_to_domain: domains.or_else(|| state.task_to_domain.clone()),
        asked_by: Some(parent.clone()),
        parent: Some(parent),
        idempotency,
        event: None,
        created_by: None,
        acts_as: state.acts_as.clone(),
        failure_of: None,
    })
}

/// Readers of executions tell a definition that was never registered by this member.
fn mark_dynamic(definition: &mut Map<String, Value>) {
    let metadata = definition.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(metadata) = metadata {
        metadata.insert("dynamic".to_owned(), Value::Bool(true));
    }
}

/// Numbers arrive as numbers or as text.
fn number(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => {
            number.as_u64().or_else(|| number.as_f64().map(|n| n as u64))?.try_into().ok()
        }
        _ => None,
    }
}

fn priority(number: u32) -> u8 {
    number.min(99) as u8
}

/// Longest idempotency key, in bytes.
const KEY_MAX: usize = 1000;

/// The key and strategy that a task's input names. A key that resolves to nothing is none.
fn idempotency(key: Option<Value>, strategy: Option<Value>) -> Result<Option<Idempotency>, String> {
    let strategy: Option<IdempotencyStrategy> =
        serde_json::from_value(strategy.unwrap_or_default())
            .map_err(|error| format!("'idempotencyStrategy' is not usable: {error}"))?;
    let key = match key {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => text,
        Some(other @ (Value::Number(_) | Value::Bool(_))) => other.to_string(),
        Some(_) => return Err("'idempotencyKey' must be a text".to_owned()),
    };
    if key.len() > KEY_MAX {
        let length = key.len();
        return Err(format!("the idempotencyKey of {length} bytes is longer than {KEY_MAX} bytes"));
    }
    Ok(Some(Idempotency { key: key.into(), strategy }))
}

/// The input of START_WORKFLOW.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartRequest {
    name: String,
    version: Option<Value>,
    input: Option<Box<RawValue>>,
    correlation_id: Option<String>,
    task_to_domain: Option<Map<String, Value>>,
    workflow_def: Option<Value>,
    priority: Option<Value>,
    idempotency_key: Option<Value>,
    idempotency_strategy: Option<Value>,
}

pub(in super::super) fn begin_detached(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let (request, idempotency) = match detached(&task.input).and_then(with_idempotency) {
        Ok(asked) => asked,
        Err(reason) => return draft.close(sequence, End::failed_terminally(reason)),
    };
    let state = &*draft.state;
    let definition = request.workflow_def.filter(|definition| !definition.is_null());
    let definition = definition.and_then(|mut definition| {
        // As above.
        disown(&mut definition);
        serde_json::value::to_raw_value(&definition).ok().map(Arc::from)
    });
    let raw = |raw: Box<RawValue>| Json::from_text(String::from(Box::<str>::from(raw))).ok();
    let message = StartMessage {
        name: request.name.into(),
        version: request.version.as_ref().and_then(number).filter(|version| *version > 0),
        definition,
        input: request.input.and_then(raw).filter(Json::is_object).unwrap_or_default(),
        correlation_id: request
            .correlation_id
            .filter(|label| !label.trim().is_empty())
            .map(Arc::from)
            .or_else(|| state.correlation_id.clone()),
        priority: request.priority.as_ref().and_then(number).map_or(0, priority),
        task_to_domain: request
            .task_to_domain
            .map(|domains| Json::of(&domains))
            .or_else(|| state.task_to_domain.clone()),
        parent: None,
        asked_by: Some(Parent { execution: state.id.clone(), sequence }),
        idempotency,
        event: None,
        created_by: None,
        acts_as: state.acts_as.clone(),
        failure_of: None,
    };
    let child = task.child.clone();
    draft.push(Event::Begun { sequence, until: None });
    if let Some(child) = child {
        draft.send(child, Message::Start(Box::new(message)));
    }
}

fn with_idempotency(
    mut request: StartRequest,
) -> Result<(StartRequest, Option<Idempotency>), String> {
    let idempotency =
        idempotency(request.idempotency_key.take(), request.idempotency_strategy.take())?;
    Ok((request, idempotency))
}

fn detached(input: &Json) -> Result<StartRequest, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wrapped {
        start_workflow: Option<StartRequest>,
    }
    let wrapped: Wrapped = serde_json::from_str(input.text())
        .map_err(|error| format!("'startWorkflow' is not a start request: {error}"))?;
    wrapped
        .start_workflow
        .filter(|request| !request.name.trim().is_empty())
        .ok_or_else(|| "START_WORKFLOW needs 'startWorkflow' with a name in its input".to_owned())
}

/// A child that was asked for exists.
pub(in super::super) fn started(
    draft: &mut Draft<'_>,
    sequence: u32,
    instead: Option<Instead>,
    version: Option<i32>,
) {
    use super::super::plan::Kind;
    let Some(task) = draft.state.task(sequence) else { return };
    if task.kind == Kind::StartWorkflow {
        let id = instead.map(|instead| instead.id).or_else(|| task.child.clone());
        let output = serde_json::json!({ "workflowId": id });
        draft.close(sequence, End::completed(output.into()));
        draft.continue_after(sequence);
    } else {
        let version = version.filter(|_| names_no_version(&task.input));
        draft.push(Event::ChildStarted { sequence, instead, version });
    }
}

/// Whether a task left it open which version of a registered definition it gets, as one that a
/// fork makes at run time may; elsewhere the plan has settled it.
fn names_no_version(input: &Json) -> bool {
    let shown: Result<Shown, _> = serde_json::from_str(input.text());
    shown.is_ok_and(|shown| {
        shown.sub_workflow_definition.is_none_or(|definition| definition.is_null())
            && shown.sub_workflow_version.as_ref().and_then(number).is_none_or(|number| number == 0)
    })
}

/// A child that was asked for cannot be.
pub(in super::super) fn refused(
    draft: &mut Draft<'_>,
    sequence: u32,
    reason: Arc<str>,
    for_good: bool,
) {
    let end = if for_good { End::failed_terminally(reason) } else { End::failed(reason) };
    draft.close(sequence, end);
    draft.continue_after(sequence);
}

/// A child has ended.
pub(in super::super) fn ended(
    draft: &mut Draft<'_>,
    sequence: u32,
    status: Status,
    output: &Json,
    reason: Option<&str>,
) {
    let Some(task) = draft.state.task(sequence) else { return };
    let child = task.child.clone();
    let status = match status {
        Status::Completed => TaskStatus::Completed,
        Status::TimedOut => TaskStatus::TimedOut,
        Status::Terminated => TaskStatus::Canceled,
        _ => TaskStatus::Failed,
    };
    let id = child.as_ref().map_or_else(String::new, ToString::to_string);
    let mut object = ObjectText::new();
    object.members_of(output);
    object.member("subWorkflowId", Json::of(&id).text());
    let reason = (status != TaskStatus::Completed).then(|| {
        let reason = reason.unwrap_or("it gave no reason");
        Arc::from(format!("sub-workflow {id} ended as {}: {reason}", status.as_str()))
    });
    draft.close(sequence, End { status, output: Some(object.finish()), reason });
    draft.continue_after(sequence);
}
