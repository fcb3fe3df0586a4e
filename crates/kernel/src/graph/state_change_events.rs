//! Tells the world of what becomes of a task, where the author asked for it (`onStateChange`).
//!
//! The events belong to the facts that they tell of and are committed with them, so none is lost,
//! and none is told of what never happened. Every attempt of a task is told of.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::context::Context;
use super::event::Event;
use super::execution::{Execution, Task};
use super::plan::Kind;
use super::scope::View;
use super::status::TaskStatus;
use crate::definition::StateChangeEvent;
use crate::expression::Template;
use crate::json::Json;
use crate::machine::Publication;

const SCHEDULED: &str = "onScheduled";
const STARTED: &str = "onStart";
const SUCCEEDED: &str = "onSuccess";
const FAILED: &str = "onFailed";
const CANCELED: &str = "onCancelled";

/// What a fact changes about a task that is told, asked before it is folded.
pub(super) fn changes(state: &Execution, event: &Event) -> [Option<(u32, &'static str)>; 2] {
    let begins = |sequence: u32| {
        let task = state.task(sequence)?;
        (wanted(state, task) && task.started_at.is_none()).then_some((sequence, STARTED))
    };
    match event {
        // Whether anybody wants to hear of a new task shows when it is there.
        Event::Scheduled(scheduled) => [Some((scheduled.sequence, SCHEDULED)), None],
        Event::Claimed { sequence, .. } => [begins(*sequence), None],
        Event::Begun { sequence, .. } => [begins(*sequence), None],
        Event::Closed(closed) => {
            let change = match closed.status {
                TaskStatus::Completed => SUCCEEDED,
                TaskStatus::Canceled => CANCELED,
                TaskStatus::Failed
                | TaskStatus::FailedWithTerminalError
                | TaskStatus::TimedOut
                | TaskStatus::CompletedWithErrors => FAILED,
                TaskStatus::Skipped | TaskStatus::Scheduled | TaskStatus::InProgress => {
                    return [None, None];
                }
            };
            // What is done quickly is not seen to begin before it ends.
            let done = closed.started_at.is_some()
                || state.task(closed.sequence).is_some_and(|t| t.kind != Kind::Dispatched);
            let begins = begins(closed.sequence).filter(|_| done && change != CANCELED);
            [begins, Some((closed.sequence, change))]
        }
        _ => [None, None],
    }
}

fn wanted(state: &Execution, task: &Task) -> bool {
    !state.node_of(task).task.on_state_change.is_empty()
}

/// The events that an author wants about a change, asked after the fact has been folded.
pub(super) fn publications(
    state: &Execution,
    sequence: u32,
    change: &str,
    context: &Context<'_>,
) -> Vec<Publication> {
    let Some(task) = state.task(sequence).filter(|task| wanted(state, task)) else {
        return Vec::new();
    };
    let written = &state.node_of(task).task.on_state_change;
    let asked = written
        .iter()
        .filter(|(changes, _)| changes.split(',').any(|name| name.trim() == change))
        .flat_map(|(_, events)| events);
    let view = View::new(state, context, Some(sequence));
    asked
        .enumerate()
        .map(|(index, event)| Publication {
            sink: sink(state, event, &view),
            id: format!(
                "{}-{change}-{index}-{}",
                state.task_id(sequence),
                state.updated_at.millis()
            )
            .into(),
            payload: payload(state, task, change, event, &view),
        })
        .collect()
}

/// Where an event goes: `type:address` as it is, a lone name below the workflow's own.
fn sink(state: &Execution, event: &StateChangeEvent, view: &View<'_>) -> Arc<str> {
    let written = Template::compile(&Value::String(event.event_type.clone())).render(view).parse();
    let name = match &written {
        Value::String(name) => name.trim(),
        _ => "",
    };
    let workflow = &state.plan().definition.name;
    match name.strip_prefix("conductor:").unwrap_or(name) {
        address if address.contains(':') => name.into(),
        address => format!("conductor:{workflow}:{address}").into(),
    }
}

/// The author's payload, and what tells whence the event comes.
fn payload(
    state: &Execution,
    task: &Task,
    change: &str,
    event: &StateChangeEvent,
    view: &View<'_>,
) -> Json {
    let authors = Value::Object(event.payload.clone().unwrap_or_default());
    let mut members = match Template::compile(&authors).render(view).parse() {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let definition = &state.plan().definition;
    let status = if change == STARTED { TaskStatus::InProgress } else { task.status }.as_str();
    let facts = json!({
        "workflowInstanceId": state.id,
        "workflowType": definition.name,
        "workflowVersion": definition.version,
        "correlationId": state.correlation_id,
        "taskId": state.task_id(task.sequence).to_string(),
        "taskType": task.task_type,
        "taskReferenceName": task.reference,
        "taskStatus": status,
        "retryCount": task.attempt,
        "reasonForIncompletion": task.reason,
        "stateChange": change,
    });
    if let Value::Object(facts) = facts {
        for (name, fact) in facts {
            members.entry(name).or_insert(fact);
        }
    }
    Json::of(&members)
}
