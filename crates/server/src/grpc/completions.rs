//! What workers answer: results of turns, activities and batches, and what they give back undone.

use engine::Engine;
use engine::durable::Answer;
use kernel::ExecutionId;
use kernel::durable::WorkToken;
use kernel::durable::instance::TurnResult;
use proto::{ActivityResponse, EntityBatchResult, OrchestratorResponse};
use tonic::Status;

use super::chunks::Chunks;
use super::convert::{action, entity, failure, text};
use super::status;

/// Takes the answer to a turn, or one of its chunks.
pub(super) async fn turn(
    engine: &Engine,
    chunks: &Chunks,
    hub: &str,
    answer: OrchestratorResponse,
) -> Result<(), Status> {
    let Some(answer) = chunks.add(answer)? else { return Ok(()) };
    let token = token(engine, hub, &answer.completion_token, &answer.instance_id, None).await?;
    if answer.requires_history || answer.is_partial {
        engine.offer_once_more(&token);
        return Ok(());
    }
    // Some SDKs say 0 where they mean all.
    let processed = answer.num_events_processed.and_then(|count| usize::try_from(count).ok());
    let processed = processed.filter(|count| *count > 0);
    let actions = action::actions(answer.actions).inspect_err(|_| {
        engine.abandon(&token);
    })?;
    let result = TurnResult {
        token,
        actions,
        custom_status: text(answer.custom_status),
        processed,
        trace: action::turn_trace(answer.orchestration_trace_context),
    };
    told(engine.complete_turn(result).await.map_err(status::of)?)
}

/// Takes the result of an activity.
pub(super) async fn activity(
    engine: &Engine,
    hub: &str,
    answer: ActivityResponse,
) -> Result<(), Status> {
    let task = Some(answer.task_id);
    let token = token(engine, hub, &answer.completion_token, &answer.instance_id, task).await?;
    let result = match answer.failure_details {
        Some(details) => Err(Box::new(failure::failure(details))),
        None => Ok(text(answer.result)),
    };
    told(engine.complete_activity(token, result).await.map_err(status::of)?)
}

/// Takes the answer to a batch of operations.
pub(super) async fn batch(engine: &Engine, answer: EntityBatchResult) -> Result<(), Status> {
    let token = read(&answer.completion_token)?;
    if answer.requires_state {
        engine.offer_once_more(&token);
        return Ok(());
    }
    let result = entity::result(token.clone(), answer).inspect_err(|_| {
        engine.abandon(&token);
    })?;
    told(engine.complete_batch(result).await.map_err(status::of)?)
}

/// A worker gives a piece of work back; it goes to another after a moment. What is not out any more
/// needs no giving back.
pub(super) fn abandon(engine: &Engine, chunks: &Chunks, token: &str) -> Result<(), Status> {
    chunks.forget(token);
    engine.abandon(&read(token)?);
    Ok(())
}

fn told(answer: Answer) -> Result<(), Status> {
    match answer {
        Answer::Taken => Ok(()),
        Answer::TooLate(why) => Err(Status::failed_precondition(why)),
    }
}

/// The token of an answer. An SDK that sends none back means what is out at the time.
async fn token(
    engine: &Engine,
    hub: &str,
    token: &str,
    instance_id: &str,
    task: Option<i32>,
) -> Result<WorkToken, Status> {
    if !token.is_empty() {
        return read(token);
    }
    let id = ExecutionId::instance(hub, instance_id);
    let found = engine.token_of(&id, task).await.map_err(status::of)?;
    found.ok_or_else(|| {
        let what = task.map_or_else(|| "a turn".to_owned(), |task| format!("activity {task}"));
        let words = format!("no completion token, and {what} of '{instance_id}' is not handed out");
        Status::failed_precondition(words)
    })
}

fn read(token: &str) -> Result<WorkToken, Status> {
    token
        .parse()
        .map_err(|error: kernel::durable::NotAToken| Status::invalid_argument(error.to_string()))
}
