//! Histories for the wire: for workers that replay them, and for clients that read them.

use kernel::durable::{
    Call, DELIVERABLE_MAX, EntityOperation, ExecutionCompleted, ExecutionRewound, ExecutionStarted,
    Fact, HistoryEvent, LockRequest, Outcome, ParentInstance, Unlock,
};
use proto::OrchestrationStatus;
use proto::history_event::EventType;

use super::{entity_event, failure, state, time, wire_tags, wire_text, wire_trace};

/// One line of a history.
pub(in crate::grpc) fn event(event: &HistoryEvent) -> proto::HistoryEvent {
    proto::HistoryEvent {
        event_id: event.id,
        timestamp: Some(time::wire(event.at)),
        event_type: Some(event_type(&event.fact)),
    }
}

/// The same for a client. The first event of an instance bears the number 0 there: tools that export
/// histories look for it. An output that no message can carry is left out: a build before this one
/// stored such.
pub(in crate::grpc) fn for_client(mut event: proto::HistoryEvent) -> proto::HistoryEvent {
    match &mut event.event_type {
        Some(EventType::ExecutionStarted(_)) => event.event_id = 0,
        Some(EventType::ExecutionCompleted(end)) => {
            let length = end.result.as_ref().map_or(0, String::len);
            if length > DELIVERABLE_MAX {
                end.result = Some(state::left_out("output", length));
            }
        }
        _ => {}
    }
    event
}

fn event_type(fact: &Fact) -> EventType {
    match fact {
        Fact::OrchestratorStarted => {
            EventType::OrchestratorStarted(proto::OrchestratorStartedEvent {})
        }
        Fact::ExecutionStarted(begun) => EventType::ExecutionStarted(started(begun)),
        Fact::ExecutionCompleted(ended) => EventType::ExecutionCompleted(completed(ended)),
        Fact::ExecutionTerminated { input, recurse } => {
            EventType::ExecutionTerminated(proto::ExecutionTerminatedEvent {
                input: wire_text(input.as_ref()),
                recurse: *recurse,
            })
        }
        Fact::ExecutionSuspended { input } => {
            EventType::ExecutionSuspended(proto::ExecutionSuspendedEvent {
                input: wire_text(input.as_ref()),
            })
        }
        Fact::ExecutionResumed { input } => {
            EventType::ExecutionResumed(proto::ExecutionResumedEvent {
                input: wire_text(input.as_ref()),
            })
        }
        Fact::ExecutionRewound(told) => EventType::ExecutionRewound(rewound(told)),
        Fact::TaskScheduled(call) => EventType::TaskScheduled(scheduled(call)),
        Fact::TaskCompleted { task, result } => {
            EventType::TaskCompleted(proto::TaskCompletedEvent {
                task_scheduled_id: *task,
                result: wire_text(result.as_ref()),
            })
        }
        Fact::TaskFailed { task, failure } => EventType::TaskFailed(proto::TaskFailedEvent {
            task_scheduled_id: *task,
            failure_details: Some(failure::wire(failure)),
        }),
        Fact::SubOrchestrationCreated { instance_id, call } => {
            EventType::SubOrchestrationInstanceCreated(child(instance_id, call))
        }
        Fact::SubOrchestrationCompleted { task, result } => {
            let event = proto::SubOrchestrationInstanceCompletedEvent {
                task_scheduled_id: *task,
                result: wire_text(result.as_ref()),
            };
            EventType::SubOrchestrationInstanceCompleted(event)
        }
        Fact::SubOrchestrationFailed { task, failure } => {
            let event = proto::SubOrchestrationInstanceFailedEvent {
                task_scheduled_id: *task,
                failure_details: Some(failure::wire(failure)),
            };
            EventType::SubOrchestrationInstanceFailed(event)
        }
        Fact::TimerCreated { fire_at } => EventType::TimerCreated(proto::TimerCreatedEvent {
            fire_at: Some(time::wire(*fire_at)),
        }),
        Fact::TimerFired { fire_at, timer } => EventType::TimerFired(proto::TimerFiredEvent {
            fire_at: Some(time::wire(*fire_at)),
            timer_id: *timer,
        }),
        Fact::EventSent { instance_id, name, input, .. } => {
            EventType::EventSent(proto::EventSentEvent {
                instance_id: instance_id.to_string(),
                name: name.to_string(),
                input: wire_text(input.as_ref()),
            })
        }
        Fact::EventRaised { name, input } => EventType::EventRaised(proto::EventRaisedEvent {
            name: name.to_string(),
            input: wire_text(input.as_ref()),
        }),
        Fact::EntitySignaled(operation) => EventType::EntityOperationSignaled(signaled(operation)),
        Fact::EntityCalled(operation) => EventType::EntityOperationCalled(called(operation)),
        Fact::EntityLockRequested(request) => EventType::EntityLockRequested(lock(request)),
        Fact::EntityLockGranted { critical_section_id, as_event: true } => {
            EventType::EventRaised(entity_event::locked(critical_section_id))
        }
        Fact::EntityOperationCompleted { request_id, output, as_event: true } => {
            EventType::EventRaised(entity_event::answered(request_id, output.as_deref()))
        }
        Fact::EntityOperationFailed { request_id, failure, as_event: true } => {
            EventType::EventRaised(entity_event::failed(request_id, failure))
        }
        Fact::EntityLockGranted { critical_section_id, .. } => {
            EventType::EntityLockGranted(proto::EntityLockGrantedEvent {
                critical_section_id: critical_section_id.to_string(),
            })
        }
        Fact::EntityUnlockSent(unlock) => EventType::EntityUnlockSent(unlocked(unlock)),
        Fact::EntityOperationCompleted { request_id, output, .. } => {
            EventType::EntityOperationCompleted(proto::EntityOperationCompletedEvent {
                request_id: request_id.to_string(),
                output: wire_text(output.as_ref()),
            })
        }
        Fact::EntityOperationFailed { request_id, failure, .. } => {
            EventType::EntityOperationFailed(proto::EntityOperationFailedEvent {
                request_id: request_id.to_string(),
                failure_details: Some(failure::wire(failure)),
            })
        }
    }
}

fn started(begun: &ExecutionStarted) -> proto::ExecutionStartedEvent {
    proto::ExecutionStartedEvent {
        name: begun.name.to_string(),
        version: wire_text(begun.version.as_ref()),
        input: wire_text(begun.input.as_ref()),
        orchestration_instance: Some(proto::OrchestrationInstance {
            instance_id: begun.instance_id.to_string(),
            execution_id: Some(begun.execution_id.to_string()),
        }),
        parent_instance: begun.parent.as_ref().map(parent),
        scheduled_start_timestamp: begun.scheduled_at.map(time::wire),
        parent_trace_context: wire_trace(begun.trace.as_ref()),
        orchestration_span_id: None,
        tags: wire_tags(&begun.tags),
    }
}

fn parent(parent: &ParentInstance) -> proto::ParentInstanceInfo {
    proto::ParentInstanceInfo {
        task_scheduled_id: parent.task,
        name: Some(parent.name.to_string()),
        version: wire_text(parent.version.as_ref()),
        orchestration_instance: Some(proto::OrchestrationInstance {
            instance_id: parent.instance_id.to_string(),
            execution_id: Some(parent.execution_id.to_string()),
        }),
    }
}

fn completed(ended: &ExecutionCompleted) -> proto::ExecutionCompletedEvent {
    proto::ExecutionCompletedEvent {
        orchestration_status: outcome(ended.outcome).into(),
        result: wire_text(ended.result.as_ref()),
        failure_details: ended.failure.as_deref().map(failure::wire),
    }
}

fn outcome(outcome: Outcome) -> OrchestrationStatus {
    match outcome {
        Outcome::Completed => OrchestrationStatus::Completed,
        Outcome::Failed => OrchestrationStatus::Failed,
        Outcome::Canceled => OrchestrationStatus::Canceled,
        Outcome::Terminated => OrchestrationStatus::Terminated,
        Outcome::ContinuedAsNew => OrchestrationStatus::ContinuedAsNew,
    }
}

fn rewound(told: &ExecutionRewound) -> proto::ExecutionRewoundEvent {
    proto::ExecutionRewoundEvent {
        reason: wire_text(told.reason.as_ref()),
        parent_execution_id: wire_text(told.parent_execution_id.as_ref()),
        instance_id: wire_text(told.instance_id.as_ref()),
        parent_trace_context: wire_trace(told.trace.as_ref()),
        name: wire_text(told.name.as_ref()),
        version: wire_text(told.version.as_ref()),
        input: wire_text(told.input.as_ref()),
        parent_instance: told.parent.as_ref().map(parent),
        tags: wire_tags(&told.tags),
    }
}

fn scheduled(call: &Call) -> proto::TaskScheduledEvent {
    proto::TaskScheduledEvent {
        name: call.name.to_string(),
        version: wire_text(call.version.as_ref()),
        input: wire_text(call.input.as_ref()),
        parent_trace_context: wire_trace(call.trace.as_ref()),
        tags: wire_tags(&call.tags),
    }
}

fn child(instance_id: &str, call: &Call) -> proto::SubOrchestrationInstanceCreatedEvent {
    proto::SubOrchestrationInstanceCreatedEvent {
        instance_id: instance_id.to_owned(),
        name: call.name.to_string(),
        version: wire_text(call.version.as_ref()),
        input: wire_text(call.input.as_ref()),
        parent_trace_context: wire_trace(call.trace.as_ref()),
        tags: wire_tags(&call.tags),
    }
}

fn signaled(operation: &EntityOperation) -> proto::EntityOperationSignaledEvent {
    proto::EntityOperationSignaledEvent {
        request_id: operation.request_id.to_string(),
        operation: operation.operation.to_string(),
        scheduled_time: operation.scheduled_at.map(time::wire),
        input: wire_text(operation.input.as_ref()),
        target_instance_id: wire_text(operation.target.as_ref()),
    }
}

fn called(operation: &EntityOperation) -> proto::EntityOperationCalledEvent {
    proto::EntityOperationCalledEvent {
        request_id: operation.request_id.to_string(),
        operation: operation.operation.to_string(),
        scheduled_time: operation.scheduled_at.map(time::wire),
        input: wire_text(operation.input.as_ref()),
        parent_instance_id: wire_text(operation.parent_instance_id.as_ref()),
        parent_execution_id: wire_text(operation.parent_execution_id.as_ref()),
        target_instance_id: wire_text(operation.target.as_ref()),
    }
}

fn lock(request: &LockRequest) -> proto::EntityLockRequestedEvent {
    proto::EntityLockRequestedEvent {
        critical_section_id: request.critical_section_id.to_string(),
        lock_set: request.lock_set.iter().map(ToString::to_string).collect(),
        position: i32::try_from(request.position).unwrap_or(i32::MAX),
        parent_instance_id: wire_text(request.parent_instance_id.as_ref()),
    }
}

fn unlocked(unlock: &Unlock) -> proto::EntityUnlockSentEvent {
    proto::EntityUnlockSentEvent {
        critical_section_id: unlock.critical_section_id.to_string(),
        parent_instance_id: wire_text(unlock.parent_instance_id.as_ref()),
        target_instance_id: wire_text(unlock.target.as_ref()),
    }
}
