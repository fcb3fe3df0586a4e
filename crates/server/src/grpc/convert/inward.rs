//! Histories from the wire: what an orchestrator carries over into its next life, and what it keeps
//! when it is rewound.

use kernel::Timestamp;
use kernel::durable::{
    Call, EntityOperation, ExecutionCompleted, ExecutionRewound, ExecutionStarted, Fact,
    HistoryEvent, INBOUND, LockRequest, Outcome, ParentInstance, Unlock,
};
use proto::OrchestrationStatus;
use proto::history_event::EventType;

use super::{entity_event, failure, tags, text, time, trace, version};

/// One line of a history; `None` for what has no effect on anybody.
pub(in crate::grpc) fn event(event: proto::HistoryEvent) -> Option<HistoryEvent> {
    let at = event.timestamp.as_ref().map(time::instant).unwrap_or_default();
    let fact = fact(event.event_type?)?;
    let id = if matches!(fact, Fact::ExecutionStarted(_)) { INBOUND } else { event.event_id };
    Some(HistoryEvent { id, at, fact })
}

fn fact(event: EventType) -> Option<Fact> {
    Some(match event {
        EventType::OrchestratorStarted(_) => Fact::OrchestratorStarted,
        EventType::ExecutionStarted(event) => Fact::ExecutionStarted(Box::new(started(event))),
        EventType::ExecutionCompleted(event) => {
            Fact::ExecutionCompleted(Box::new(ExecutionCompleted {
                outcome: outcome(event.orchestration_status())?,
                result: text(event.result),
                failure: event.failure_details.map(|details| Box::new(failure::failure(details))),
            }))
        }
        EventType::ExecutionTerminated(event) => {
            Fact::ExecutionTerminated { input: text(event.input), recurse: event.recurse }
        }
        EventType::ExecutionSuspended(event) => {
            Fact::ExecutionSuspended { input: text(event.input) }
        }
        EventType::ExecutionResumed(event) => Fact::ExecutionResumed { input: text(event.input) },
        EventType::ExecutionRewound(event) => Fact::ExecutionRewound(Box::new(rewound(event))),
        EventType::TaskScheduled(event) => Fact::TaskScheduled(Box::new(Call {
            name: event.name.into(),
            version: version(event.version),
            input: text(event.input),
            tags: tags(event.tags),
            trace: trace(event.parent_trace_context),
        })),
        EventType::TaskCompleted(event) => {
            Fact::TaskCompleted { task: event.task_scheduled_id, result: text(event.result) }
        }
        EventType::TaskFailed(event) => Fact::TaskFailed {
            task: event.task_scheduled_id,
            failure: Box::new(failure::expected(event.failure_details)),
        },
        EventType::SubOrchestrationInstanceCreated(event) => Fact::SubOrchestrationCreated {
            instance_id: event.instance_id.into(),
            call: Box::new(Call {
                name: event.name.into(),
                version: version(event.version),
                input: text(event.input),
                tags: tags(event.tags),
                trace: trace(event.parent_trace_context),
            }),
        },
        EventType::SubOrchestrationInstanceCompleted(event) => Fact::SubOrchestrationCompleted {
            task: event.task_scheduled_id,
            result: text(event.result),
        },
        EventType::SubOrchestrationInstanceFailed(event) => Fact::SubOrchestrationFailed {
            task: event.task_scheduled_id,
            failure: Box::new(failure::expected(event.failure_details)),
        },
        EventType::TimerCreated(event) => Fact::TimerCreated { fire_at: moment(event.fire_at) },
        EventType::TimerFired(event) => {
            Fact::TimerFired { fire_at: moment(event.fire_at), timer: event.timer_id }
        }
        EventType::EventSent(event) => Fact::EventSent {
            locks: entity_event::locks(&event.instance_id, &event.name, event.input.as_deref()),
            instance_id: event.instance_id.into(),
            name: event.name.into(),
            input: text(event.input),
        },
        EventType::EventRaised(event) => {
            Fact::EventRaised { name: event.name.into(), input: text(event.input) }
        }
        EventType::EntityOperationSignaled(event) => {
            Fact::EntitySignaled(Box::new(signaled(event)))
        }
        EventType::EntityOperationCalled(event) => Fact::EntityCalled(Box::new(called(event))),
        EventType::EntityOperationCompleted(event) => Fact::EntityOperationCompleted {
            request_id: event.request_id.into(),
            output: text(event.output),
            as_event: false,
        },
        EventType::EntityOperationFailed(event) => Fact::EntityOperationFailed {
            request_id: event.request_id.into(),
            failure: Box::new(failure::expected(event.failure_details)),
            as_event: false,
        },
        EventType::EntityLockRequested(event) => Fact::EntityLockRequested(Box::new(lock(event))),
        EventType::EntityLockGranted(event) => Fact::EntityLockGranted {
            critical_section_id: event.critical_section_id.into(),
            as_event: false,
        },
        EventType::EntityUnlockSent(event) => Fact::EntityUnlockSent(Box::new(unlock(event))),
        EventType::OrchestratorCompleted(_)
        | EventType::GenericEvent(_)
        | EventType::HistoryState(_)
        | EventType::ContinueAsNew(_) => return None,
    })
}

fn started(event: proto::ExecutionStartedEvent) -> ExecutionStarted {
    let instance = event.orchestration_instance.unwrap_or_default();
    ExecutionStarted {
        name: event.name.into(),
        version: version(event.version),
        input: text(event.input),
        instance_id: instance.instance_id.into(),
        execution_id: instance.execution_id.unwrap_or_default().into(),
        parent: event.parent_instance.map(parent),
        scheduled_at: event.scheduled_start_timestamp.as_ref().map(time::not_before),
        trace: trace(event.parent_trace_context),
        tags: tags(event.tags),
    }
}

fn parent(parent: proto::ParentInstanceInfo) -> ParentInstance {
    let instance = parent.orchestration_instance.unwrap_or_default();
    ParentInstance {
        task: parent.task_scheduled_id,
        name: parent.name.unwrap_or_default().into(),
        version: version(parent.version),
        instance_id: instance.instance_id.into(),
        execution_id: instance.execution_id.unwrap_or_default().into(),
    }
}

fn rewound(event: proto::ExecutionRewoundEvent) -> ExecutionRewound {
    ExecutionRewound {
        reason: text(event.reason),
        parent_execution_id: text(event.parent_execution_id),
        instance_id: text(event.instance_id),
        trace: trace(event.parent_trace_context),
        name: text(event.name),
        version: version(event.version),
        input: text(event.input),
        parent: event.parent_instance.map(parent),
        formerly: Vec::new(),
        tags: tags(event.tags),
        acts_as: None,
    }
}

/// How a life of an instance ends; `None` if the word says that it has not.
pub(in crate::grpc) fn outcome(status: OrchestrationStatus) -> Option<Outcome> {
    match status {
        OrchestrationStatus::Completed => Some(Outcome::Completed),
        OrchestrationStatus::ContinuedAsNew => Some(Outcome::ContinuedAsNew),
        OrchestrationStatus::Failed => Some(Outcome::Failed),
        OrchestrationStatus::Canceled => Some(Outcome::Canceled),
        OrchestrationStatus::Terminated => Some(Outcome::Terminated),
        OrchestrationStatus::Running
        | OrchestrationStatus::Pending
        | OrchestrationStatus::Suspended => None,
    }
}

/// An operation that nobody waits for.
pub(in crate::grpc) fn signaled(event: proto::EntityOperationSignaledEvent) -> EntityOperation {
    EntityOperation {
        request_id: event.request_id.into(),
        operation: event.operation.into(),
        scheduled_at: event.scheduled_time.as_ref().map(time::not_before),
        input: text(event.input),
        parent_instance_id: None,
        parent_execution_id: None,
        target: text(event.target_instance_id),
    }
}

/// An operation that somebody waits for.
pub(in crate::grpc) fn called(event: proto::EntityOperationCalledEvent) -> EntityOperation {
    EntityOperation {
        request_id: event.request_id.into(),
        operation: event.operation.into(),
        scheduled_at: event.scheduled_time.as_ref().map(time::not_before),
        input: text(event.input),
        parent_instance_id: text(event.parent_instance_id),
        parent_execution_id: text(event.parent_execution_id),
        target: text(event.target_instance_id),
    }
}

/// A request for locks.
pub(in crate::grpc) fn lock(event: proto::EntityLockRequestedEvent) -> LockRequest {
    LockRequest {
        critical_section_id: event.critical_section_id.into(),
        lock_set: event.lock_set.into_iter().map(Into::into).collect(),
        position: usize::try_from(event.position).unwrap_or_default(),
        parent_instance_id: text(event.parent_instance_id),
    }
}

/// A lock given back.
pub(in crate::grpc) fn unlock(event: proto::EntityUnlockSentEvent) -> Unlock {
    Unlock {
        critical_section_id: event.critical_section_id.into(),
        parent_instance_id: text(event.parent_instance_id),
        target: text(event.target_instance_id),
    }
}

fn moment(at: Option<proto::Timestamp>) -> Timestamp {
    at.as_ref().map(time::not_before).unwrap_or_default()
}
