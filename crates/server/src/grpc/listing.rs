//! Lists of instances and entities, page by page. A token tells the number of rows before the page,
//! and of ids also the last of them, as clients expect.

use engine::Engine;
use engine::durable::{EntityQuery, InstanceQuery};
use engine::search::PAGE_MAX;
use kernel::durable::Status as Stands;
use kernel::{ExecutionId, Timestamp};
use prost::Message;
use proto::{
    EntityMetadata, InstanceQuery as WireQuery, ListInstanceIdsRequest, ListInstanceIdsResponse,
    OrchestrationState, OrchestrationStatus, QueryEntitiesResponse, QueryInstancesResponse,
};
use tonic::Status;

use super::convert::{state, time};
use super::status;

/// Rows of a page if the caller names no number.
const PAGE: u64 = 100;
/// Bytes of a page: callers take messages of 4 MiB. At least one row is answered in any case.
const PAGE_BYTES_MAX: usize = 3 << 20;

/// A page of instances.
pub(super) async fn instances(
    engine: &Engine,
    hub: &str,
    wanted: WireQuery,
) -> Result<QueryInstancesResponse, Status> {
    let named = &wanted.task_hub_names;
    if !named.is_empty() && !named.iter().any(|name| name == hub) {
        return Ok(QueryInstancesResponse::default());
    }
    let start = offset(wanted.continuation_token.as_deref())?;
    let size = page_size(wanted.max_instance_count);
    let query = InstanceQuery {
        statuses: stands(&wanted.runtime_status),
        created_from: moment(wanted.created_time_from.as_ref()),
        created_to: moment(wanted.created_time_to.as_ref()),
        id_prefix: wanted.instance_id_prefix.clone().filter(|prefix| !prefix.is_empty()),
        start,
        size,
        ..InstanceQuery::default()
    };
    let page = engine.instances(hub, &query).await.map_err(status::of)?;
    let payloads = wanted.fetch_inputs_and_outputs;
    let mut rows: Vec<OrchestrationState> = Vec::new();
    let (mut bytes, mut seen) = (0, 0);
    for head in &page.rows {
        let found = engine.instance(&head.id, |one| state::instance(one, payloads)).await;
        let found = found.map_err(status::of)?.flatten();
        bytes += found.as_ref().map_or(0, Message::encoded_len);
        if bytes > PAGE_BYTES_MAX && !rows.is_empty() {
            break;
        }
        seen += 1;
        rows.extend(found);
    }
    let continuation_token = more(start + seen, page.total);
    Ok(QueryInstancesResponse { orchestration_state: rows, continuation_token })
}

/// A page of ids of instances that have ended.
pub(super) async fn ids(
    engine: &Engine,
    hub: &str,
    wanted: ListInstanceIdsRequest,
) -> Result<ListInstanceIdsResponse, Status> {
    let start = offset(wanted.last_instance_key.as_deref())?;
    let mut statuses = stands(&wanted.runtime_status);
    if wanted.runtime_status.is_empty() {
        statuses = Stands::ALL.into_iter().filter(|status| status.is_closed()).collect();
    }
    let query = InstanceQuery {
        statuses,
        // Any instant at all: those that have not ended have none.
        ended_from: moment(wanted.completed_time_from.as_ref()).or(Some(Timestamp::default())),
        ended_to: moment(wanted.completed_time_to.as_ref()),
        start,
        size: page_size(wanted.page_size),
        ..InstanceQuery::default()
    };
    let page = engine.instances(hub, &query).await.map_err(status::of)?;
    let instance_ids: Vec<String> =
        page.rows.iter().map(|head| head.id.local_name().to_owned()).collect();
    let next = more(start + page.rows.len() as u64, page.total);
    let last_instance_key =
        next.zip(instance_ids.last()).map(|(next, last)| format!("{next}:{last}"));
    Ok(ListInstanceIdsResponse { instance_ids, last_instance_key })
}

/// A page of entities.
pub(super) async fn entities(
    engine: &Engine,
    hub: &str,
    wanted: proto::EntityQuery,
) -> Result<QueryEntitiesResponse, Status> {
    let start = offset(wanted.continuation_token.as_deref())?;
    let query = EntityQuery {
        id_prefix: wanted.instance_id_starts_with.clone().filter(|prefix| !prefix.is_empty()),
        modified_from: moment(wanted.last_modified_from.as_ref()),
        modified_to: moment(wanted.last_modified_to.as_ref()),
        transient: wanted.include_transient,
        start,
        size: page_size(wanted.page_size.unwrap_or_default()),
    };
    let page = engine.entities(hub, &query).await.map_err(status::of)?;
    let mut rows: Vec<EntityMetadata> = Vec::new();
    let (mut bytes, mut seen) = (0, 0);
    for head in &page.rows {
        let found =
            entity(engine, &head.id, wanted.include_state, wanted.include_transient).await?;
        bytes += found.as_ref().map_or(0, Message::encoded_len);
        if bytes > PAGE_BYTES_MAX && !rows.is_empty() {
            break;
        }
        seen += 1;
        rows.extend(found);
    }
    let continuation_token = more(start + seen, page.total);
    Ok(QueryEntitiesResponse { entities: rows, continuation_token })
}

async fn entity(
    engine: &Engine,
    id: &ExecutionId,
    with_state: bool,
    transient: bool,
) -> Result<Option<EntityMetadata>, Status> {
    let look = |one: &kernel::durable::entity::Entity| state::entity(one, with_state, transient);
    let found = engine.entity(id.hub(), id.local_name(), look).await;
    Ok(found.map_err(status::of)?.flatten())
}

/// Where instances are to stand; what the protocol does not know is left out.
pub(super) fn stands(statuses: &[i32]) -> Vec<Stands> {
    let known = statuses.iter().filter_map(|one| OrchestrationStatus::try_from(*one).ok());
    known.map(state::status).collect()
}

/// An instant of a query.
pub(super) fn moment(at: Option<&proto::Timestamp>) -> Option<Timestamp> {
    at.map(time::not_before)
}

fn page_size(wanted: i32) -> u64 {
    u64::try_from(wanted).ok().filter(|size| *size > 0).map_or(PAGE, |size| size.min(PAGE_MAX))
}

/// The rows before a page. `0` and nothing both mean the first.
fn offset(token: Option<&str>) -> Result<u64, Status> {
    let token = token.unwrap_or_default();
    match token.split(':').next().unwrap_or_default() {
        "" => Ok(0),
        rows => rows.parse().map_err(|_| {
            let words = format!("'{token}' is not a continuation token of this server");
            Status::invalid_argument(words)
        }),
    }
}

/// The token of the next page; `None` at the end.
fn more(seen: u64, total: u64) -> Option<String> {
    (seen < total).then(|| seen.to_string())
}
