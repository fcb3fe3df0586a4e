//! Batches of operations of entities: to the worker, and its answer from it.

use kernel::durable::entity::{Batch, BatchResult};
use kernel::durable::{Call, EntityAction, OperationResult, WorkToken};
use proto::operation_action::OperationActionType;
use proto::operation_result::ResultType;
use tonic::Status;

use super::{failure, history, text, time, trace, version, wire_text};

/// A batch as every worker takes it: operations as history events.
pub(in crate::grpc) fn request(batch: &Batch) -> proto::EntityRequest {
    proto::EntityRequest {
        instance_id: batch.entity_id.to_string(),
        execution_id: batch.execution_id.to_string(),
        entity_state: wire_text(batch.state.as_ref()),
        operation_requests: batch.operations.iter().map(history::event).collect(),
    }
}

/// A worker's answer to a batch.
///
/// # Errors
/// `INVALID_ARGUMENT` that names the first part that makes no sense.
pub(in crate::grpc) fn result(
    token: WorkToken,
    answer: proto::EntityBatchResult,
) -> Result<BatchResult, Status> {
    Ok(BatchResult {
        token,
        results: answer.results.into_iter().map(operation).collect::<Result<_, _>>()?,
        actions: answer.actions.into_iter().map(action).collect::<Result<_, _>>()?,
        state: text(answer.entity_state),
        failure: answer.failure_details.map(|details| Box::new(failure::failure(details))),
    })
}

fn operation(result: proto::OperationResult) -> Result<OperationResult, Status> {
    match result.result_type {
        Some(ResultType::Success(done)) => Ok(OperationResult::Done { result: text(done.result) }),
        Some(ResultType::Failure(failed)) => {
            let failure = Box::new(failure::expected(failed.failure_details));
            Ok(OperationResult::Failed { failure })
        }
        None => Err(Status::invalid_argument("a result says neither success nor failure")),
    }
}

fn action(action: proto::OperationAction) -> Result<EntityAction, Status> {
    match action.operation_action_type {
        Some(OperationActionType::SendSignal(signal)) => Ok(EntityAction::Signal {
            entity: signal.instance_id.into(),
            operation: signal.name.into(),
            input: text(signal.input),
            scheduled_at: signal.scheduled_time.as_ref().map(time::not_before),
        }),
        Some(OperationActionType::StartNewOrchestration(start)) => Ok(EntityAction::Start {
            instance_id: start.instance_id.into(),
            call: Box::new(Call {
                name: start.name.into(),
                version: version(start.version),
                input: text(start.input),
                trace: trace(start.parent_trace_context),
                ..Call::default()
            }),
            scheduled_at: start.scheduled_time.as_ref().map(time::not_before),
        }),
        None => {
            let words = format!("action {}: it says nothing to do", action.id);
            Err(Status::invalid_argument(words))
        }
    }
}
