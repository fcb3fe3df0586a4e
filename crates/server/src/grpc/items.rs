//! Pieces of work as they go to a worker.

use engine::Engine;
use engine::durable::WorkItem;
use kernel::durable::FailureDetails;
use kernel::durable::instance::Work;
use prost::Message;
use proto::work_item::Request;
use proto::{
    ActivityRequest, HealthPing, OrchestrationInstance, OrchestratorEntityParameters,
    OrchestratorRequest,
};

use super::convert::{action, entity, history, wire_tags, wire_text, wire_trace};
use super::status;
use super::stream::Feeder;

/// A history beyond this many bytes is fetched in pieces by workers that can.
const STREAMED_BYTES_MIN: usize = 1 << 20;
/// The largest message that SDKs take unless they are told otherwise. A larger one would end the
/// worker's stream, for all items on it.
const ITEM_BYTES_MAX: usize = (4 << 20) - (4 << 10);

/// What is sent for a piece of work; `None` if it cannot be sent to anybody, which is dealt with.
pub(super) async fn message(
    feeder: &Feeder,
    item: &WorkItem,
    streams_history: bool,
) -> Option<proto::WorkItem> {
    let token = feeder.tokens.seal(item.token());
    let mut message = proto::WorkItem { request: Some(request(item)), completion_token: token };
    let mut bytes = message.encoded_len();
    if streams_history
        && bytes > STREAMED_BYTES_MIN
        && let Some(Request::OrchestratorRequest(turn)) = &mut message.request
    {
        turn.past_events.clear();
        turn.requires_history_streaming = true;
        bytes = message.encoded_len();
    }
    if bytes <= ITEM_BYTES_MAX {
        return Some(message);
    }
    too_large(&feeder.engine, item, bytes).await;
    None
}

/// A sign of life.
pub(super) fn ping() -> proto::WorkItem {
    proto::WorkItem {
        request: Some(Request::HealthPing(HealthPing {})),
        completion_token: String::new(),
    }
}

fn request(item: &WorkItem) -> Request {
    match item {
        WorkItem::Instance(Work::Turn { past, new, instance_id, execution_id, trace, .. }) => {
            Request::OrchestratorRequest(OrchestratorRequest {
                instance_id: instance_id.to_string(),
                execution_id: Some(execution_id.to_string()),
                past_events: past.iter().map(history::event).collect(),
                new_events: new.iter().map(history::event).collect(),
                // Its presence says that the server has entities; messages are never out of order.
                entity_parameters: Some(OrchestratorEntityParameters {
                    entity_message_reorder_window: Some(proto::Duration::default()),
                }),
                requires_history_streaming: false,
                properties: std::collections::BTreeMap::new(),
                orchestration_trace_context: trace.as_ref().map(action::wire_turn_trace),
            })
        }
        WorkItem::Instance(Work::Activity { call, task, instance_id, execution_id, .. }) => {
            Request::ActivityRequest(ActivityRequest {
                name: call.name.to_string(),
                version: wire_text(call.version.as_ref()),
                input: wire_text(call.input.as_ref()),
                orchestration_instance: Some(OrchestrationInstance {
                    instance_id: instance_id.to_string(),
                    execution_id: Some(execution_id.to_string()),
                }),
                task_id: *task,
                parent_trace_context: wire_trace(call.trace.as_ref()),
                tags: wire_tags(&call.tags),
            })
        }
        WorkItem::Batch(batch) => Request::EntityRequestV2(entity::request(batch)),
    }
}

/// Fails what no worker could be sent, so that it does not wait for ever.
async fn too_large(engine: &Engine, item: &WorkItem, bytes: usize) {
    let what = match item {
        WorkItem::Instance(Work::Turn { .. }) => "a turn with its history",
        WorkItem::Instance(Work::Activity { .. }) => "the activity with its input",
        WorkItem::Batch(_) => "the entity with its state and operations",
    };
    let words = format!(
        "{what} has {bytes} bytes; workers take messages of at most {ITEM_BYTES_MAX} bytes. Pass \
         less, continue as new more often, or use a worker that streams histories"
    );
    let token = item.token().clone();
    tracing::warn!(machine = %token.machine(), bytes, "work item too large to be sent; it is failed");
    let mut failure = FailureDetails::new("WorkItemTooLarge", words);
    failure.non_retriable = true;
    let failed = engine.fail_work(token.clone(), Box::new(failure)).await;
    if let Err(error) = failed {
        tracing::warn!(machine = %token.machine(), error = %status::of(error), "oversized work item could not be failed");
    }
}
