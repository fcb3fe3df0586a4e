//! Instances and entities as clients see them.

use kernel::durable::Status;
use kernel::durable::entity::Entity;
use kernel::durable::instance::Instance;
use prost::Message;
use proto::{EntityMetadata, OrchestrationState, OrchestrationStatus};

use super::{failure, time, wire_tags, wire_text};

/// An instance; with input, output and what it shows if payloads are wanted. `None` before it began.
pub(in crate::grpc) fn instance(instance: &Instance, payloads: bool) -> Option<OrchestrationState> {
    let start = instance.start.as_ref()?;
    let payload = |text| wire_text(text).filter(|_| payloads);
    Some(fitting(OrchestrationState {
        instance_id: instance.instance_id().to_string(),
        name: start.name.to_string(),
        version: wire_text(start.version.as_ref()),
        orchestration_status: wire_status(instance.status).into(),
        scheduled_start_timestamp: start.scheduled_at.map(time::wire),
        created_timestamp: Some(time::wire(instance.created_at)),
        last_updated_timestamp: Some(time::wire(instance.updated_at)),
        input: payload(start.input.as_ref()),
        output: payload(instance.output.as_ref()),
        custom_status: wire_text(instance.custom_status.as_ref()),
        failure_details: instance.failure.as_deref().map(failure::wire),
        execution_id: Some(start.execution_id.to_string()),
        completed_timestamp: instance.ended_at.map(time::wire),
        parent_instance_id: wire_text(start.parent.as_ref().map(|parent| &parent.instance_id)),
        tags: wire_tags(&start.tags),
    }))
}

/// Bytes of an instance in an answer. SDKs take messages of 4 MiB unless they are told otherwise, and
/// one that is larger is lost as a whole.
const INSTANCE_BYTES_MAX: usize = (4 << 20) - (16 << 10);
/// What is smaller is never left out: it would help nobody.
const LEFT_OUT_MIN: usize = 64 << 10;

/// The same, if it fits into a message. Else its input, its custom status or its output is left out,
/// in this order, and a text in its place says so.
fn fitting(mut state: OrchestrationState) -> OrchestrationState {
    let mut bytes = state.encoded_len();
    let payloads = [
        ("input", &mut state.input),
        ("custom status", &mut state.custom_status),
        ("output", &mut state.output),
    ];
    for (what, payload) in payloads {
        let length = payload.as_ref().map_or(0, String::len);
        if bytes > INSTANCE_BYTES_MAX && length > LEFT_OUT_MIN {
            bytes -= length;
            *payload = Some(left_out(what, length));
        }
    }
    if bytes > INSTANCE_BYTES_MAX {
        state.failure_details = state.failure_details.map(failure::brief);
    }
    state
}

/// What stands in the place of a payload that is left out: JSON, as payloads are.
pub(in crate::grpc) fn left_out(what: &str, bytes: usize) -> String {
    let words = format!(
        "[the {what} of {bytes} bytes is left out: it does not fit into a message of \
         {INSTANCE_BYTES_MAX} bytes; GET /runtime/webhooks/durabletask/instances/ID shows it]"
    );
    serde_json::Value::from(words).to_string()
}

/// An entity that holds something, or any entity if `transient` ones are wanted.
pub(in crate::grpc) fn entity(
    entity: &Entity,
    state: bool,
    transient: bool,
) -> Option<EntityMetadata> {
    (transient || entity.state.is_some()).then(|| EntityMetadata {
        instance_id: entity.entity_id().to_string(),
        last_modified_time: Some(time::wire(entity.updated_at)),
        backlog_queue_size: i32::try_from(entity.backlog()).unwrap_or(i32::MAX),
        locked_by: entity.lock.as_ref().map(|lock| lock.holder.local_name().to_owned()),
        serialized_state: wire_text(entity.state.as_ref()).filter(|_| state),
    })
}

/// Where an instance stands, for the wire.
pub(in crate::grpc) fn wire_status(status: Status) -> OrchestrationStatus {
    match status {
        Status::Pending => OrchestrationStatus::Pending,
        Status::Running => OrchestrationStatus::Running,
        Status::Suspended => OrchestrationStatus::Suspended,
        Status::Completed => OrchestrationStatus::Completed,
        Status::Failed => OrchestrationStatus::Failed,
        Status::Canceled => OrchestrationStatus::Canceled,
        Status::Terminated => OrchestrationStatus::Terminated,
    }
}

/// Where an instance is to stand, from the wire; one that continued as new is running.
pub(in crate::grpc) fn status(status: OrchestrationStatus) -> Status {
    match status {
        OrchestrationStatus::Pending => Status::Pending,
        OrchestrationStatus::Running | OrchestrationStatus::ContinuedAsNew => Status::Running,
        OrchestrationStatus::Suspended => Status::Suspended,
        OrchestrationStatus::Completed => Status::Completed,
        OrchestrationStatus::Failed => Status::Failed,
        OrchestrationStatus::Canceled => Status::Canceled,
        OrchestrationStatus::Terminated => Status::Terminated,
    }
}
