//! Lists of instances and entities, page by page. A token tells the last row of the page before, so
//! that nothing is left out when rows are removed between two pages.

use engine::Engine;
use engine::durable::{EntityQuery, InstanceQuery};
use engine::search::{Mark, PAGE_MAX};
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
    let size = page_size(wanted.max_instance_count);
    let mut query = InstanceQuery {
        statuses: stands(&wanted.runtime_status)?,
        created_from: moment(wanted.created_time_from.as_ref()),
        created_to: moment(wanted.created_time_to.as_ref()),
        id_prefix: wanted.instance_id_prefix.clone().filter(|prefix| !prefix.is_empty()),
        size,
        ..InstanceQuery::default()
    };
    query.after = mark(hub, &query, wanted.continuation_token.as_deref())?;
    let page = engine.instances(hub, &query).await.map_err(status::of)?;
    let payloads = wanted.fetch_inputs_and_outputs;
    let mut rows: Vec<OrchestrationState> = Vec::new();
    let (mut bytes, mut seen) = (0, 0_usize);
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
    let last = page.rows[..seen].last().filter(|_| (seen as u64) < page.total);
    let continuation_token = last.map(|last| token(&query.mark_of(last)));
    Ok(QueryInstancesResponse { orchestration_state: rows, continuation_token })
}

/// A page of ids of instances that have ended.
pub(super) async fn ids(
    engine: &Engine,
    hub: &str,
    wanted: ListInstanceIdsRequest,
) -> Result<ListInstanceIdsResponse, Status> {
    let mut statuses = stands(&wanted.runtime_status)?;
    if wanted.runtime_status.is_empty() {
        statuses = Stands::ALL.into_iter().filter(|status| status.is_closed()).collect();
    }
    let mut query = InstanceQuery {
        statuses,
        // Any instant at all: those that have not ended have none.
        ended_from: moment(wanted.completed_time_from.as_ref()).or(Some(Timestamp::default())),
        ended_to: moment(wanted.completed_time_to.as_ref()),
        size: page_size(wanted.page_size),
        ..InstanceQuery::default()
    };
    query.after = mark(hub, &query, wanted.last_instance_key.as_deref())?;
    let page = engine.instances(hub, &query).await.map_err(status::of)?;
    let instance_ids: Vec<String> =
        page.rows.iter().map(|head| head.id.local_name().to_owned()).collect();
    let last = page.rows.last().filter(|_| (page.rows.len() as u64) < page.total);
    let last_instance_key = last.map(|last| token(&query.mark_of(last)));
    Ok(ListInstanceIdsResponse { instance_ids, last_instance_key })
}

/// A page of entities.
pub(super) async fn entities(
    engine: &Engine,
    hub: &str,
    wanted: proto::EntityQuery,
) -> Result<QueryEntitiesResponse, Status> {
    let after = wanted.continuation_token.as_deref().filter(|token| !is_first(token));
    if let Some(token) = after.filter(|token| !token.starts_with('@')) {
        return Err(not_a_token(token));
    }
    let query = EntityQuery {
        id_prefix: wanted.instance_id_starts_with.clone().filter(|prefix| !prefix.is_empty()),
        modified_from: moment(wanted.last_modified_from.as_ref()),
        modified_to: moment(wanted.last_modified_to.as_ref()),
        transient: wanted.include_transient,
        after: after.map(|id| ExecutionId::entity(hub, id)),
        size: page_size(wanted.page_size.unwrap_or_default()),
    };
    let page = engine.entities(hub, &query).await.map_err(status::of)?;
    let mut rows: Vec<EntityMetadata> = Vec::new();
    let (mut bytes, mut seen) = (0, 0_usize);
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
    let last = page.rows[..seen].last().filter(|_| (seen as u64) < page.total);
    let continuation_token = last.map(|last| last.id.local_name().to_owned());
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

/// Where instances are to stand.
///
/// # Errors
/// `INVALID_ARGUMENT` for a status that the protocol does not know: left out, it would mean all.
pub(super) fn stands(statuses: &[i32]) -> Result<Vec<Stands>, Status> {
    let read = |one: &i32| {
        let unknown = |_| Status::invalid_argument(format!("{one} is no orchestration status"));
        OrchestrationStatus::try_from(*one).map(state::status).map_err(unknown)
    };
    statuses.iter().map(read).collect()
}

/// An instant of a query.
pub(super) fn moment(at: Option<&proto::Timestamp>) -> Option<Timestamp> {
    at.map(time::not_before)
}

fn page_size(wanted: i32) -> u64 {
    u64::try_from(wanted).ok().filter(|size| *size > 0).map_or(PAGE, |size| size.min(PAGE_MAX))
}

/// Whether a token means the first page.
fn is_first(token: &str) -> bool {
    matches!(token, "" | "0")
}

fn not_a_token(token: &str) -> Status {
    Status::invalid_argument(format!("'{token}' is not a continuation token of this server"))
}

/// Where the page before ended: `<milliseconds>:<instance id>`; `None` for the first page.
fn mark(hub: &str, query: &InstanceQuery, token: Option<&str>) -> Result<Option<Mark>, Status> {
    let Some(token) = token.filter(|token| !is_first(token)) else { return Ok(None) };
    let read = token.split_once(':').and_then(|(at, id)| Some((at.parse().ok()?, id)));
    let (at, id) = read.ok_or_else(|| not_a_token(token))?;
    Ok(Some(query.mark(ExecutionId::instance(hub, id), Timestamp::from_millis(at))))
}

/// What [`mark`] reads.
fn token(mark: &Mark) -> String {
    let at = mark.at.map_or(0, |(_, at)| at.millis());
    format!("{at}:{}", mark.id.local_name())
}
