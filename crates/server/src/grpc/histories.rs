//! Histories in pieces.

use std::pin::Pin;

use engine::Engine;
use futures_util::{Stream, stream};
use kernel::ExecutionId;
use kernel::durable::HistoryEvent;
use prost::Message;
use proto::{HistoryChunk, StreamInstanceHistoryRequest};
use tonic::Status;

use super::convert::history;
use super::status;

/// The answer of a stream of history.
pub(super) type Chunks = Pin<Box<dyn Stream<Item = Result<HistoryChunk, Status>> + Send>>;

/// Bytes of a piece; a larger event goes alone.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// The history of an instance; of none that exists it is empty. It is read once, so that all pieces
/// belong together; they are made one after the other as they are sent.
pub(super) async fn stream(
    engine: &Engine,
    hub: &str,
    request: &StreamInstanceHistoryRequest,
) -> Result<Chunks, Status> {
    let id = ExecutionId::instance(hub, &request.instance_id);
    let wanted = request.execution_id.as_deref().filter(|id| !id.is_empty());
    let look = |instance: &kernel::durable::instance::Instance| {
        let is_it = wanted.is_none_or(|wanted| *instance.execution_id() == *wanted);
        is_it.then(|| instance.history.clone())
    };
    let found = engine.instance(&id, look).await.map_err(status::of)?;
    let mut events = found.flatten().unwrap_or_default().into_iter().peekable();
    let whole = request.for_work_item_processing;
    Ok(Box::pin(stream::iter(std::iter::from_fn(move || chunk(&mut events, whole).map(Ok)))))
}

fn chunk(
    events: &mut std::iter::Peekable<std::vec::IntoIter<HistoryEvent>>,
    whole: bool,
) -> Option<HistoryChunk> {
    let (mut chunk, mut bytes) = (HistoryChunk::default(), 0);
    while let Some(event) = events.peek().map(history::event) {
        let event = if whole { event } else { history::for_client(event) };
        bytes += event.encoded_len();
        if bytes > CHUNK_BYTES_MAX && !chunk.events.is_empty() {
            break;
        }
        chunk.events.push(event);
        events.next();
    }
    (!chunk.events.is_empty()).then_some(chunk)
}
