//! What an orchestrator decided, from the wire.

use kernel::durable::{Action, ActionKind, Call, Completion, EntityMessage, TurnTrace};
use proto::orchestrator_action::OrchestratorActionType;
use proto::send_entity_message_action::EntityMessageType;
use tonic::Status;

use super::{entity_event, failure, inward, tags, text, time, trace, version};

/// All actions of a turn.
///
/// # Errors
/// `INVALID_ARGUMENT` that names the first action that makes no sense.
pub(in crate::grpc) fn actions(
    actions: Vec<proto::OrchestratorAction>,
) -> Result<Vec<Action>, Status> {
    let read = |action: proto::OrchestratorAction| {
        let id = action.id;
        let kind = action.orchestrator_action_type.ok_or("it says nothing to do").and_then(kind);
        match kind {
            Ok(kind) => Ok(Action { id, kind }),
            Err(reason) => Err(Status::invalid_argument(format!("action {id}: {reason}"))),
        }
    };
    actions.into_iter().map(read).collect()
}

fn kind(action: OrchestratorActionType) -> Result<ActionKind, &'static str> {
    Ok(match action {
        OrchestratorActionType::ScheduleTask(task) => ActionKind::ScheduleTask(Box::new(Call {
            name: task.name.into(),
            version: version(task.version),
            input: text(task.input),
            tags: tags(task.tags),
            trace: trace(task.parent_trace_context),
        })),
        OrchestratorActionType::CreateSubOrchestration(child) => {
            ActionKind::CreateSubOrchestration {
                instance_id: child.instance_id.into(),
                call: Box::new(Call {
                    name: child.name.into(),
                    version: version(child.version),
                    input: text(child.input),
                    tags: tags(child.tags),
                    trace: trace(child.parent_trace_context),
                }),
            }
        }
        OrchestratorActionType::CreateTimer(timer) => {
            let fire_at = timer.fire_at.as_ref().ok_or("a timer without fireAt")?;
            ActionKind::CreateTimer { fire_at: time::not_before(fire_at) }
        }
        OrchestratorActionType::SendEvent(event) => {
            let instance_id = event.instance.ok_or("an event for nobody")?.instance_id;
            if instance_id.starts_with('@') {
                let says = entity_event::message(&instance_id, &event.name, event.data.as_deref());
                return Ok(ActionKind::SendEntityEvent {
                    entity: instance_id.into(),
                    name: event.name.into(),
                    input: text(event.data),
                    says: says.map_err(Into::into),
                });
            }
            ActionKind::SendEvent {
                instance_id: instance_id.into(),
                name: event.name.into(),
                input: text(event.data),
            }
        }
        OrchestratorActionType::CompleteOrchestration(end) => {
            ActionKind::Complete(Box::new(completion(end)?))
        }
        OrchestratorActionType::TerminateOrchestration(end) => ActionKind::Terminate {
            instance_id: end.instance_id.into(),
            reason: text(end.reason),
            recurse: end.recurse,
        },
        OrchestratorActionType::SendEntityMessage(message) => {
            let message = message.entity_message_type.ok_or("a message without words")?;
            ActionKind::SendEntityMessage(entity_message(message))
        }
        OrchestratorActionType::RewindOrchestration(rewind) => ActionKind::Rewind {
            history: rewind.new_history.into_iter().filter_map(inward::event).collect(),
        },
    })
}

fn completion(end: proto::CompleteOrchestrationAction) -> Result<Completion, &'static str> {
    let outcome = inward::outcome(end.orchestration_status());
    Ok(Completion {
        outcome: outcome.ok_or("its orchestrationStatus is not an end")?,
        result: text(end.result),
        failure: end.failure_details.map(|details| Box::new(failure::failure(details))),
        new_version: version(end.new_version),
        carryover: end.carryover_events.into_iter().filter_map(inward::event).collect(),
        tags: tags(end.tags),
    })
}

fn entity_message(message: EntityMessageType) -> EntityMessage {
    match message {
        EntityMessageType::EntityOperationSignaled(event) => {
            EntityMessage::Signaled(Box::new(inward::signaled(event)))
        }
        EntityMessageType::EntityOperationCalled(event) => {
            EntityMessage::Called(Box::new(inward::called(event)))
        }
        EntityMessageType::EntityLockRequested(event) => {
            EntityMessage::LockRequested(Box::new(inward::lock(event)))
        }
        EntityMessageType::EntityUnlockSent(event) => {
            EntityMessage::UnlockSent(Box::new(inward::unlock(event)))
        }
    }
}

/// The span that all turns of an instance share, from the wire.
pub(in crate::grpc) fn turn_trace(
    trace: Option<proto::OrchestrationTraceContext>,
) -> Option<TurnTrace> {
    trace.map(|trace| TurnTrace {
        span_id: text(trace.span_id),
        started: trace.span_start_time.map(|at| (at.seconds, at.nanos)),
    })
}

/// The same, for the wire.
pub(in crate::grpc) fn wire_turn_trace(trace: &TurnTrace) -> proto::OrchestrationTraceContext {
    proto::OrchestrationTraceContext {
        span_id: super::wire_text(trace.span_id.as_ref()),
        span_start_time: trace.started.map(|(seconds, nanos)| proto::Timestamp { seconds, nanos }),
    }
}
