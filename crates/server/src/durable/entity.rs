//! Entities: what they hold, and signals to them.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use engine::Engine;
use engine::durable::EntityQuery;
use kernel::access::{Permission, Resource};
use kernel::durable::entity::{Entity, Signal};
use kernel::{ExecutionId, Json, Timestamp};
use serde::Serialize;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::code::payload;
use super::list::{not_a_token, page_size, paged, token};
use super::refusal::Refusal;
use crate::Api;
use crate::access::Routes;
use crate::rest::extract::{Answer, Path, RawBody, parse};

pub(super) fn routes() -> Routes {
    let (read, run) = (Permission::Read, Permission::Run);
    let within = |permission: Permission| permission.within(&[Resource::Hub]);
    Routes::new()
        .on(within(read), routes!(entities))
        .on(within(read), routes!(entities_named))
        .on(within(run), routes!(signal_entity_without_key, delete_entity_without_key))
        .on(within(read), routes!(entity))
        .on(within(run), routes!(signal_entity, delete_entity))
}

/// Stands in an address for an empty key.
const EMPTY_KEY: &str = "$";

/// The id of an entity by its name and key.
fn entity_id(name: &str, key: &str) -> Result<String, Refusal> {
    if name.contains('@') {
        return Err(Refusal::bad_request("The name of an entity has no '@' in it."));
    }
    let key = if key == EMPTY_KEY { "" } else { key };
    Ok(format!("@{name}@{key}"))
}

/// Shows the state of an entity.
#[utoipa::path(
    get, path = "/runtime/webhooks/durabletask/entities/{name}/{key}", tag = "durable",
    params(
        ("name" = String, Path, description = "The name of the entity, in any case"),
        ("key" = String, Path, description = "Its key; $ for an empty one"),
    ),
    responses(
        (status = 200, description = "The state of the entity", body = serde_json::Value),
        (status = 404, description = "The entity does not exist or has no state"),
    )
)]
async fn entity(
    State(api): State<Api>,
    caller: Caller,
    Path((name, key)): Path<(String, String)>,
) -> Result<Answer, Refusal> {
    let hub = caller.own_hub()?;
    let look = |entity: &Entity| entity.state.clone();
    match api.engine.entity(hub, &entity_id(&name, &key)?, look).await?.flatten() {
        Some(state) => Ok(Answer(payload(Some(&state)))),
        None => Err(Refusal::new(StatusCode::NOT_FOUND, "There is no such entity.")),
    }
}

/// Signals an entity: the body is the input of the operation.
#[utoipa::path(
    post, path = "/runtime/webhooks/durabletask/entities/{name}/{key}", tag = "durable",
    request_body = serde_json::Value,
    params(
        ("name" = String, Path, description = "The name of the entity, in any case"),
        ("key" = String, Path, description = "Its key; $ for an empty one"),
        ("op" = Option<String>, Query, description = "The operation"),
    ),
    responses(
        (status = 202, description = "Accepted"),
        (status = 400, description = "The body is not JSON"),
    )
)]
async fn signal_entity(
    State(api): State<Api>,
    caller: Caller,
    Path((name, key)): Path<(String, String)>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<StatusCode, Refusal> {
    let operation = caller.text("op").unwrap_or_default().to_owned();
    let input = operand(&headers, &body)?;
    signal(&api.engine, &caller, &entity_id(&name, &key)?, &operation, input).await
}

/// Signals the entity with an empty key: the body is the input of the operation.
#[utoipa::path(
    post, path = "/runtime/webhooks/durabletask/entities/{name}", tag = "durable",
    request_body = serde_json::Value,
    params(
        ("name" = String, Path, description = "The name of the entity, in any case"),
        ("op" = Option<String>, Query, description = "The operation"),
    ),
    responses(
        (status = 202, description = "Accepted"),
        (status = 400, description = "The body is not JSON"),
    )
)]
async fn signal_entity_without_key(
    state: State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<StatusCode, Refusal> {
    signal_entity(state, caller, Path((name, EMPTY_KEY.to_owned())), headers, body).await
}

/// Signals the entity with an empty key to delete its state.
#[utoipa::path(
    delete, path = "/runtime/webhooks/durabletask/entities/{name}", tag = "durable",
    params(("name" = String, Path, description = "The name of the entity, in any case")),
    responses((status = 202, description = "Accepted"))
)]
async fn delete_entity_without_key(
    state: State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    delete_entity(state, caller, Path((name, EMPTY_KEY.to_owned()))).await
}

/// Signals an entity to delete its state.
#[utoipa::path(
    delete, path = "/runtime/webhooks/durabletask/entities/{name}/{key}", tag = "durable",
    params(
        ("name" = String, Path, description = "The name of the entity, in any case"),
        ("key" = String, Path, description = "Its key; $ for an empty one"),
    ),
    responses((status = 202, description = "Accepted"))
)]
async fn delete_entity(
    State(api): State<Api>,
    caller: Caller,
    Path((name, key)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    signal(&api.engine, &caller, &entity_id(&name, &key)?, "delete", None).await
}

async fn signal(
    engine: &Engine,
    caller: &Caller,
    id: &str,
    operation: &str,
    input: Option<Json>,
) -> Result<StatusCode, Refusal> {
    let signal = Signal {
        request_id: Uuid::new_v4().to_string().into(),
        operation: operation.into(),
        input: input.map(|input| input.text().into()),
        scheduled_at: None,
        acts_as: caller.acts_as(),
    };
    engine.signal_entity(caller.own_hub()?, id, signal).await?;
    Ok(StatusCode::ACCEPTED)
}

/// What a body says: JSON if it is declared as that, or else a text.
fn operand(headers: &HeaderMap, body: &Bytes) -> Result<Option<Json>, Refusal> {
    if body.is_empty() {
        return Ok(None);
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Ok(Some(Json::of(&String::from_utf8_lossy(body))));
    }
    let input = parse::<Json>(body).map_err(|problem| {
        Refusal::bad_request(format!("Could not parse JSON content: {}", problem.message))
    })?;
    Ok(Some(input))
}

/// An entity as a list shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    entity_id: Name,
    last_operation_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Json>,
}

#[derive(Debug, Serialize)]
struct Name {
    name: String,
    key: String,
}

/// Lists entities, a page at a time.
#[utoipa::path(
    get, path = "/runtime/webhooks/durabletask/entities", tag = "durable",
    params(
        ("lastOperationTimeFrom" = Option<String>, Query, description = "Only those used then or later"),
        ("lastOperationTimeTo" = Option<String>, Query, description = "Only those not used since"),
        ("fetchState" = Option<bool>, Query, description = "Show what they hold; default false"),
        ("top" = Option<u64>, Query, description = "Entities in a page; default 100, at most 1000"),
    ),
    responses((status = 200, description = "One page; the response header has the continuation token of the next one", body = Vec<serde_json::Value>))
)]
async fn entities(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    list(&api.engine, &caller, &headers, "").await
}

/// Lists the entities of a name, a page at a time.
#[utoipa::path(
    get, path = "/runtime/webhooks/durabletask/entities/{name}", tag = "durable",
    params(("name" = String, Path, description = "The name of the entities, in any case")),
    responses((status = 200, description = "One page; the response header has the continuation token of the next one", body = Vec<serde_json::Value>))
)]
async fn entities_named(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    list(&api.engine, &caller, &headers, &name.to_lowercase()).await
}

async fn list(
    engine: &Engine,
    caller: &Caller,
    headers: &HeaderMap,
    name: &str,
) -> Result<Response, Refusal> {
    let hub = caller.own_hub()?;
    let after = token(headers)?;
    if after.as_ref().is_some_and(|token| !token.starts_with('@')) {
        return Err(not_a_token());
    }
    let query = EntityQuery {
        id_prefix: Some(if name.is_empty() { String::new() } else { format!("@{name}@") }),
        modified_from: caller.instant("lastOperationTimeFrom"),
        modified_to: caller.instant("lastOperationTimeTo").map(|to| to.plus_millis(1)),
        transient: false,
        after: after.map(|id| ExecutionId::entity(hub, &id)),
        size: page_size(caller),
    };
    let page = engine.entities(hub, &query).await?;
    let last = page.rows.last().filter(|_| (page.rows.len() as u64) < page.total);
    let next = last.map(|last| last.id.local_name().to_owned()).unwrap_or_default();
    let with_state = caller.flag("fetchState") == Some(true);
    let mut found = Vec::new();
    for head in page.rows {
        let look = |it: &Entity| (it.state.clone(), it.updated_at);
        let entity = engine.look(&head.id, |hosted| hosted.entity().map(look)).await?;
        let Some((Some(state), at)) = entity.flatten() else { continue };
        let id = head.id.local_name().trim_start_matches('@');
        let Some((given, key)) = id.split_once('@') else { continue };
        found.push(Shown {
            entity_id: Name { name: given.to_owned(), key: key.to_owned() },
            last_operation_time: precise(at),
            state: with_state.then(|| payload(Some(&state))),
        });
    }
    Ok(paged(&next, Json::of(&found)))
}

fn precise(at: Timestamp) -> String {
    format!("{:.3}", jiff::Timestamp::from(at))
}
