//! `PULL_WORKFLOW_MESSAGES`: takes the oldest messages out of the execution's inbox.
//!
//! The inbox is part of the state: a message is there from the commit that took it until the
//! commit that ends the task that shows it, so each is seen by exactly one task, whatever crashes.
//! Tasks that wait are served in the order in which they were scheduled.

use serde_json::{Value, json};

use super::super::context::Context;
use super::super::draft::{Draft, End};
use super::super::event::Event;
use super::super::execution::Execution;
use super::super::input::Post;
use super::super::plan::Kind;
use super::super::status::Status;
use crate::json::Json;
use crate::machine::{Decision, Rejected};

/// Messages that one task takes at most.
const BATCH_MAX: usize = 100;
/// Bytes of an output around its messages.
const AROUND: usize = 256;

pub(super) fn begin(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let wanted = match Wanted::read(&task.input) {
        Ok(wanted) => wanted,
        Err(reason) => return draft.close(sequence, End::failed_terminally(reason)),
    };
    draft.push(Event::Begun { sequence, until: None });
    if !wanted.blocking || !draft.state.inbox.is_empty() {
        collect(draft, sequence, wanted.batch);
    }
}

/// What a task's input asks for.
struct Wanted {
    batch: usize,
    blocking: bool,
}

impl Wanted {
    fn read(input: &Json) -> Result<Self, String> {
        let input = input.parse();
        let batch = match input.get("batchSize") {
            None | Some(Value::Null) => 1,
            Some(value) => {
                let number = match value {
                    Value::String(text) => text.trim().parse().ok(),
                    other => other.as_f64(),
                };
                let whole = number.filter(|n: &f64| n.fract() == 0.0 && *n >= 1.0);
                let whole = whole.ok_or_else(|| {
                    format!("'batchSize' is {value}: it must be a whole number from 1 up")
                })?;
                (whole as usize).min(BATCH_MAX)
            }
        };
        let blocking = match input.get("blocking") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("true") => true,
            Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("false") => false,
            Some(other) => return Err(format!("'blocking' is {other}: it must be true or false")),
        };
        Ok(Self { batch, blocking })
    }
}

/// Ends a task with the oldest messages.
fn collect(draft: &mut Draft<'_>, sequence: u32, batch: usize) {
    let messages: Vec<Json> = draft.state.inbox.iter().take(batch).cloned().collect();
    let count = messages.len() as u32;
    let output = Output { messages: &messages, count };
    let end = End::completed(Json::of(&output));
    if count > 0 {
        draft.push(Event::Collected { count });
    }
    draft.close(sequence, end);
}

#[derive(serde::Serialize)]
struct Output<'a> {
    messages: &'a [Json],
    count: u32,
}

/// A message has come from outside: the first task that waits for one takes it.
pub(in super::super) fn post(
    state: &mut Execution,
    post: &Post,
    context: &Context<'_>,
) -> Result<Decision<Event>, Rejected> {
    if state.status != Status::Running {
        let status = state.status.as_str();
        let id = &state.id;
        return Err(Rejected::Conflict(format!(
            "workflow {id} is {status}: only a running workflow takes messages"
        )));
    }
    let message = Json::of(&json!({
        "id": post.id,
        "workflowId": state.id,
        "payload": post.payload.parse(),
        "receivedAt": context.now.to_string(),
    }));
    check_room(state, &message, context)?;
    let mut draft = Draft::new(state, context);
    draft.push(Event::Posted { message });
    serve(&mut draft);
    Ok(draft.settle())
}

fn check_room(state: &Execution, message: &Json, context: &Context<'_>) -> Result<(), Rejected> {
    // Whatever is taken together must fit into the output of one task.
    let count_max = context.limits.inbox_max;
    let bytes_max = context.limits.payload_max.saturating_sub(AROUND);
    if message.len() > bytes_max {
        return Err(Rejected::Invalid(format!(
            "the message of {} bytes exceeds the limit of {bytes_max} bytes (payload_max)",
            message.len()
        )));
    }
    let (count, id) = (state.inbox.len(), &state.id);
    if count >= count_max {
        return Err(Rejected::Full(format!(
            "the inbox of workflow {id} holds {count} messages that no task has taken yet: the \
             limit is {count_max} (inbox_max)"
        )));
    }
    let bytes: usize = state.inbox.iter().map(Json::len).sum();
    if bytes + message.len() > bytes_max {
        return Err(Rejected::Full(format!(
            "the inbox of workflow {id} holds {bytes} bytes that no task has taken yet: with this \
             message it would exceed the limit of {bytes_max} (payload_max)"
        )));
    }
    Ok(())
}

/// Gives what is in the inbox to the tasks that wait for it.
pub(in super::super) fn serve(draft: &mut Draft<'_>) {
    let waiting = draft.state.open_tasks().filter(|task| task.kind == Kind::Pull && task.begun);
    let waiting: Vec<u32> = waiting.map(|task| task.sequence).collect();
    for sequence in waiting {
        if draft.state.inbox.is_empty() {
            return;
        }
        let Some(task) = draft.state.task(sequence) else { continue };
        // Its input was readable when it began; a rerun may have changed it since.
        let batch = Wanted::read(&task.input).map_or(1, |wanted| wanted.batch);
        collect(draft, sequence, batch);
        draft.continue_after(sequence);
    }
}
