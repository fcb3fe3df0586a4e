//! What clients ask of entities: signal, look, clean.

use std::sync::Arc;

use engine::Engine;
use kernel::durable::entity::{Entity, Signal};
use proto::{
    CleanEntityStorageRequest, CleanEntityStorageResponse, GetEntityRequest, GetEntityResponse,
    SignalEntityRequest,
};
use tonic::Status;

use super::convert::{state, text, time};
use super::status;

/// How long an entity that holds nothing is kept, in seconds: it remembers which requests it took,
/// and callers repeat theirs for a while.
const EMPTY_KEPT_SECONDS: i64 = 3600;

/// Tells an entity to do something.
pub(super) async fn signal(
    engine: &Engine,
    hub: &str,
    request: SignalEntityRequest,
    acts_as: Option<Arc<str>>,
) -> Result<(), Status> {
    let id = Some(request.request_id).filter(|id| !id.is_empty());
    let scheduled_at = request.scheduled_time.as_ref().map(time::not_before);
    let signal = Signal {
        request_id: id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()).into(),
        operation: request.name.into(),
        input: text(request.input),
        scheduled_at: scheduled_at.filter(|at| *at > engine.now()),
        acts_as,
    };
    engine.signal_entity(hub, &request.instance_id, signal).await.map_err(status::of)
}

/// Looks at an entity; one without a state does not exist for clients.
pub(super) async fn get(
    engine: &Engine,
    hub: &str,
    request: &GetEntityRequest,
) -> Result<GetEntityResponse, Status> {
    let look = |entity: &Entity| state::entity(entity, request.include_state, false);
    let found = engine.entity(hub, &request.instance_id, look).await.map_err(status::of)?;
    let entity = found.flatten();
    Ok(GetEntityResponse { exists: entity.is_some(), entity })
}

/// Removes what entities leave behind, all in one call.
pub(super) async fn clean(
    engine: &Engine,
    hub: &str,
    request: &CleanEntityStorageRequest,
) -> Result<CleanEntityStorageResponse, Status> {
    let count = |count: u64| i32::try_from(count).unwrap_or(i32::MAX);
    let mut cleaned = CleanEntityStorageResponse::default();
    if request.release_orphaned_locks {
        let released = engine.release_orphaned_locks(hub).await.map_err(status::of)?;
        cleaned.orphaned_locks_released = count(released);
    }
    if request.remove_empty_entities {
        let before = engine.now().plus_seconds(-EMPTY_KEPT_SECONDS);
        let removed = engine.remove_empty_entities(hub, before).await.map_err(status::of)?;
        cleaned.empty_entities_removed = count(removed);
    }
    Ok(cleaned)
}
