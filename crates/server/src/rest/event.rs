//! `/api/event`: event handlers, their tags, what they made of messages, and messages by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use engine::events::{BrokerError, EventMessage, EventName, LEDGER, PublishError, QueueState};
use engine::search::RecordSearch;
use engine::{Author, Change, Engine};
use kernel::Record;
use kernel::access::Permission;
use kernel::definition::{
    EventHandler, Problem as Flaw, Tag, parse_event_handlers, validate_event_handler,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::extract::{Body, Path, Query, RawBody, lenient};
use super::metadata::apart;
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(event_handlers))
        .on(Permission::Edit, routes!(create_event_handler, update_event_handler))
        .on(Permission::Read, routes!(event_handlers_of))
        .on(Permission::Edit, routes!(delete_event_handler))
        .on(Permission::Read, routes!(event_handler))
        .on(Permission::Read, routes!(empty_event_handler))
        .on(Permission::Read, routes!(event_tags))
        .on(Permission::Edit, routes!(put_event_tags, delete_event_tags))
        .on(Permission::Read, routes!(event_queues))
        .on(Permission::Read, routes!(event_queue))
        .on(Permission::Edit, routes!(put_event_queue, delete_event_queue))
        .on(Permission::Edit, routes!(test_connectivity))
        .on(Permission::Run, routes!(publish_event))
        .on(Permission::Read, routes!(event_statistics))
        .on(Permission::Read, routes!(event_messages))
        .on(Permission::Read, routes!(event_executions))
        .on(Permission::Read, routes!(event_executions_of))
        .on(Permission::Run, routes!(handle_incoming_event))
        .layer(Extension(Registering::default()))
}

/// Held from looking whether a handler exists until it is written, so that of two that create the
/// same one, one is refused.
#[derive(Clone, Default)]
struct Registering(Arc<Mutex<()>>);

/// Registers new event handlers, one or a list; all or none.
#[utoipa::path(
    post, path = "/api/event", tag = "event", request_body = serde_json::Value,
    responses(
        (status = 200, description = "Registered; active handlers receive messages from now on"),
        (status = 400, description = "Invalid; the response lists every problem"),
        (status = 409, description = "The name is in use"),
    )
)]
async fn create_event_handler(
    State(api): State<Api>,
    actor: Actor,
    Extension(registering): Extension<Registering>,
    RawBody(body): RawBody,
) -> Result<(), Problem> {
    let mut handlers = read_aside(&api.engine, body).await?;
    let _registering = registering.0.lock().await;
    for (at, handler) in handlers.iter().enumerate() {
        let twice = handlers[..at].iter().any(|earlier| earlier.name == handler.name);
        if twice || api.engine.event_handler(&handler.name).is_some() {
            let message = format!("EventHandler with name {} already exists!", handler.name);
            return Err(Problem::conflict(message).with_hint("Use PUT to replace it."));
        }
    }
    let now = api.engine.now().millis();
    for handler in &mut handlers {
        handler.create_time = now;
    }
    put(&api.engine, handlers, actor.acts_as().into()).await
}

/// Replaces an event handler.
#[utoipa::path(
    put, path = "/api/event", tag = "event", request_body = serde_json::Value,
    responses(
        (status = 200, description = "It is replaced, from the next message on"),
        (status = 400, description = "Invalid; the response lists every problem"),
        (status = 404, description = "Not found"),
    )
)]
async fn update_event_handler(
    State(api): State<Api>,
    actor: Actor,
    Extension(registering): Extension<Registering>,
    RawBody(body): RawBody,
) -> Result<(), Problem> {
    let mut handlers = read_aside(&api.engine, body).await?;
    let _registering = registering.0.lock().await;
    let now = api.engine.now().millis();
    for handler in &mut handlers {
        let earlier = named(&api.engine, &handler.name)?;
        handler.create_time = earlier.create_time;
        handler.update_time = now;
        if handler.tags.is_empty() {
            handler.tags.clone_from(&earlier.tags);
        }
    }
    put(&api.engine, handlers, actor.acts_as().into()).await
}

/// Registers handlers, which act as their author.
async fn put(engine: &Engine, handlers: Vec<EventHandler>, author: Author) -> Result<(), Problem> {
    Ok(engine.change(Change { handlers, author, ..Change::default() }).await?)
}

/// As [`read`], away from the threads that serve.
async fn read_aside(
    engine: &Engine,
    body: axum::body::Bytes,
) -> Result<Vec<EventHandler>, Problem> {
    let engine = engine.clone();
    apart(move || read(&engine, &body)).await
}

/// Reads handlers that can be registered.
fn read(engine: &Engine, body: &[u8]) -> Result<Vec<EventHandler>, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Problem::bad_request(format!("the request body is not UTF-8 after byte {at}"))
    })?;
    let handlers = parse_event_handlers(text).map_err(Problem::invalid)?;
    let is_list = text.trim_start().starts_with('[');
    let mut flaws: Vec<Flaw> = Vec::new();
    for (index, handler) in handlers.iter().enumerate() {
        let prefix = if is_list { format!("/{index}") } else { String::new() };
        let found = validate_event_handler(handler, engine.scripts());
        flaws.extend(found.into_iter().map(|flaw| flaw.under(&prefix)));
    }
    if flaws.is_empty() { Ok(handlers) } else { Err(Problem::invalid(flaws)) }
}

/// The handler of a name.
fn named(engine: &Engine, name: &str) -> Result<Arc<EventHandler>, Problem> {
    engine
        .event_handler(name)
        .ok_or_else(|| Problem::not_found(format!("EventHandler with name {name} not found!")))
}

/// Lists all event handlers.
#[utoipa::path(
    get, path = "/api/event", tag = "event",
    responses((status = 200, description = "The handlers, by name", body = Vec<serde_json::Value>))
)]
async fn event_handlers(State(api): State<Api>) -> Json<Vec<Arc<EventHandler>>> {
    Json(api.engine.event_handlers())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct OfEventParams {
    /// Leave out handlers that are not active; default true.
    #[serde(default = "yes", deserialize_with = "lenient::flag")]
    active_only: bool,
}

fn yes() -> bool {
    true
}

/// Lists the event handlers of an event.
#[utoipa::path(
    get, path = "/api/event/{event}", tag = "event",
    params(("event" = String, Path, description = "The event, type:queue"), OfEventParams),
    responses((status = 200, description = "The handlers, by name", body = Vec<serde_json::Value>))
)]
async fn event_handlers_of(
    State(api): State<Api>,
    Path(event): Path<String>,
    Query(params): Query<OfEventParams>,
) -> Json<Vec<Arc<EventHandler>>> {
    let mut handlers = api.engine.event_handlers();
    handlers.retain(|h| h.event == event && (h.active || !params.active_only));
    Json(handlers)
}

/// Shows an event handler.
#[utoipa::path(
    get, path = "/api/event/handler/{name}", tag = "event",
    params(("name" = String, Path, description = "The name of the handler")),
    responses(
        (status = 200, description = "The handler", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn event_handler(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Arc<EventHandler>>, Problem> {
    named(&api.engine, &name).map(Json)
}

/// Shows an empty event handler, as a template.
#[utoipa::path(
    get, path = "/api/event/handler/", tag = "event",
    responses((status = 200, description = "An empty handler", body = serde_json::Value))
)]
async fn empty_event_handler() -> Json<EventHandler> {
    Json(EventHandler::default())
}

/// Deletes an event handler; workflows that it has started continue.
#[utoipa::path(
    delete, path = "/api/event/{event}", tag = "event",
    params(("event" = String, Path, description = "The name of the handler")),
    responses(
        (status = 200, description = "Deleted"),
        (status = 404, description = "Not found"),
    )
)]
async fn delete_event_handler(
    State(api): State<Api>,
    Extension(registering): Extension<Registering>,
    Path(name): Path<String>,
) -> Result<(), Problem> {
    let _registering = registering.0.lock().await;
    if api.engine.delete_event_handler(&name).await? {
        return Ok(());
    }
    Err(Problem::not_found(format!("EventHandler with name {name} not found!")))
}

/// Lists the tags of an event handler.
#[utoipa::path(
    get, path = "/api/event/{event}/tags", tag = "event",
    params(("event" = String, Path, description = "The name of the handler")),
    responses(
        (status = 200, description = "The tags", body = Vec<serde_json::Value>),
        (status = 404, description = "No such handler"),
    )
)]
async fn event_tags(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Vec<Tag>>, Problem> {
    Ok(Json(named(&api.engine, &name)?.tags.clone()))
}

/// Sets the tags of an event handler, replacing those it has.
#[utoipa::path(
    put, path = "/api/event/{event}/tags", tag = "event", request_body = Vec<serde_json::Value>,
    params(("event" = String, Path, description = "The name of the handler")),
    responses(
        (status = 200, description = "Tags set"),
        (status = 404, description = "No such handler"),
    )
)]
async fn put_event_tags(
    State(api): State<Api>,
    Extension(registering): Extension<Registering>,
    Path(name): Path<String>,
    Body(tags): Body<Vec<Tag>>,
) -> Result<(), Problem> {
    retag(&api.engine, &registering, &name, |_| tags).await
}

/// Removes tags from an event handler; those that it does not have are ignored.
#[utoipa::path(
    delete, path = "/api/event/{event}/tags", tag = "event",
    request_body = Vec<serde_json::Value>,
    params(("event" = String, Path, description = "The name of the handler")),
    responses(
        (status = 200, description = "Tags removed"),
        (status = 404, description = "No such handler"),
    )
)]
async fn delete_event_tags(
    State(api): State<Api>,
    Extension(registering): Extension<Registering>,
    Path(name): Path<String>,
    Body(tags): Body<Vec<Tag>>,
) -> Result<(), Problem> {
    let keep = |mut present: Vec<Tag>| {
        present.retain(|tag| !tags.contains(tag));
        present
    };
    retag(&api.engine, &registering, &name, keep).await
}

async fn retag(
    engine: &Engine,
    registering: &Registering,
    name: &str,
    change: impl FnOnce(Vec<Tag>) -> Vec<Tag>,
) -> Result<(), Problem> {
    let _registering = registering.0.lock().await;
    let mut handler = (*named(engine, name)?).clone();
    handler.tags = change(std::mem::take(&mut handler.tags));
    let (aside, tagged) = (engine.clone(), handler.clone());
    let flaws = apart(move || Ok(validate_event_handler(&tagged, aside.scripts()))).await?;
    let flaws: Vec<Flaw> = flaws.into_iter().filter(|f| f.pointer.starts_with("/tags")).collect();
    if !flaws.is_empty() {
        return Err(Problem::invalid(flaws));
    }
    handler.update_time = engine.now().millis();
    // What it does stays as it is.
    put(engine, vec![handler], Author::Unchanged).await
}

/// Lists the queues that the server consumes, with the error of those that fail. Connections are
/// configured with the server, so nothing can be stored here.
#[utoipa::path(
    operation_id = "event_queue_states", get, path = "/api/event/queue/config", tag = "event",
    responses((status = 200, description = "The types of events there are, and the queues", body = serde_json::Value))
)]
async fn event_queues(State(api): State<Api>) -> Json<Value> {
    let queues = api.engine.event_queues();
    Json(json!({ "types": api.engine.event_kinds(), "queues": queues }))
}

/// Shows whether a queue is consumed, or the error.
#[utoipa::path(
    get, path = "/api/event/queue/config/{queueType}/{queueName}", tag = "event",
    params(
        ("queueType" = String, Path, description = "The type, such as nats"),
        ("queueName" = String, Path, description = "The queue"),
    ),
    responses(
        (status = 200, description = "The status of the queue", body = serde_json::Value),
        (status = 404, description = "No active handler subscribes to it"),
    )
)]
async fn event_queue(
    State(api): State<Api>,
    Path((kind, queue)): Path<(String, String)>,
) -> Result<Json<QueueState>, Problem> {
    let event = format!("{kind}:{queue}");
    let found = api.engine.event_queues().into_iter().find(|state| state.event == event);
    found.map(Json).ok_or_else(|| {
        Problem::not_found(format!("the queue {event} is not listened to"))
            .with_hint("Register an active event handler for it.")
    })
}

/// Connections are settings of the server, where their passwords are.
fn not_by_request() -> Problem {
    let message = "connections to brokers cannot be changed by a request";
    Problem::new(StatusCode::NOT_IMPLEMENTED, "not-implemented", message).with_hint(
        "They are settings of the server: nats_url, amqp_url, kafka_url, sqs_url. A queue is \
         listened to while an active event handler names it.",
    )
}

/// Not supported: queues are configured by the server's settings and the event handlers.
#[utoipa::path(
    put, path = "/api/event/queue/config/{queueType}/{queueName}", tag = "event",
    params(
        ("queueType" = String, Path, description = "The type, such as nats"),
        ("queueName" = String, Path, description = "The queue"),
    ),
    responses((status = 501, description = "Not supported; the response says where to configure it"))
)]
async fn put_event_queue(_: Path<(String, String)>) -> Problem {
    not_by_request()
}

/// Not supported: queues are configured by the server's settings and the event handlers.
#[utoipa::path(
    delete, path = "/api/event/queue/config/{queueType}/{queueName}", tag = "event",
    params(
        ("queueType" = String, Path, description = "The type, such as nats"),
        ("queueName" = String, Path, description = "The queue"),
    ),
    responses((status = 501, description = "Not supported; the response says where to configure it"))
)]
async fn delete_event_queue(_: Path<(String, String)>) -> Problem {
    not_by_request()
}

/// A message as clients give it.
struct Given {
    event: EventName,
    id: String,
    payload: String,
}

impl Given {
    fn read(body: &BTreeMap<String, Value>) -> Result<Self, Problem> {
        let event = body.get("event").and_then(Value::as_str).and_then(EventName::parse);
        let event = event.ok_or_else(|| {
            Problem::bad_request("the message names no event")
                .with_hint("Add \"event\": \"type:queue\", as the event handler has it.")
        })?;
        let id = match body.get("id") {
            None | Some(Value::Null) => Engine::new_id().to_string(),
            Some(Value::String(id)) if !id.is_empty() => id.clone(),
            Some(_) => return Err(Problem::bad_request("'id' must be a text that is not empty")),
        };
        let payload = match body.get("payload") {
            Some(Value::String(text)) => text.clone(),
            Some(payload) => payload.to_string(),
            None => json!(body).to_string(),
        };
        Ok(Self { event, id, payload })
    }
}

/// Publishes a message; the response comes when the broker has it. A message of the type
/// `conductor` goes to the event handlers of this server.
///
/// The body names its `event` (type:queue); `payload` is its content (default: the rest of the
/// body); the same `id` twice is the same message, where the broker deduplicates.
#[utoipa::path(
    post, path = "/api/event/publish", tag = "event", request_body = serde_json::Value,
    responses(
        (status = 200, description = "Its id", body = serde_json::Value),
        (status = 400, description = "It does not name an event, or the broker does not support publishing"),
        (status = 503, description = "The broker is unavailable"),
    )
)]
async fn publish_event(
    State(api): State<Api>,
    Body(body): Body<BTreeMap<String, Value>>,
) -> Result<Json<Value>, Problem> {
    let Given { event, id, payload } = Given::read(&body)?;
    if &*event.kind == "conductor" {
        let message = EventMessage { event, id: id.clone(), payload };
        let heeded = api.engine.receive_event(message).await?;
        return Ok(Json(json!({ "id": id, "heeded": heeded })));
    }
    let message = EventMessage { event, id: id.clone(), payload };
    api.engine.publish_event(message).await.map_err(unpublished)?;
    Ok(Json(json!({ "id": id })))
}

fn unpublished(error: PublishError) -> Problem {
    match error {
        PublishError::Store(error) => error.into(),
        PublishError::Broker(error @ BrokerError::Invalid(_)) => {
            Problem::bad_request(error.to_string())
        }
        PublishError::Broker(error) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "broker-away", error.to_string())
        }
    }
}

/// Tests a sink by sending it a message.
#[utoipa::path(
    post, path = "/api/event/queue/connectivity", tag = "event", request_body = serde_json::Value,
    responses(
        (status = 200, description = "Whether the broker accepted the message, or why not", body = serde_json::Value),
        (status = 400, description = "The body does not name a sink"),
    )
)]
async fn test_connectivity(
    State(api): State<Api>,
    Body(body): Body<BTreeMap<String, Value>>,
) -> Result<Json<Value>, Problem> {
    let sink = body.get("sink").and_then(Value::as_str).and_then(EventName::parse);
    let event = sink.ok_or_else(|| {
        Problem::bad_request("the body names no sink").with_hint("Add \"sink\": \"type:queue\".")
    })?;
    let payload = body.get("input").cloned().unwrap_or_else(|| json!({})).to_string();
    let message = EventMessage { event, id: Engine::new_id().to_string(), payload };
    Ok(Json(match api.engine.publish_event(message).await {
        Ok(()) => json!({ "successful": true }),
        Err(PublishError::Store(error)) => return Err(error.into()),
        Err(PublishError::Broker(error)) => {
            json!({ "successful": false, "reason": error.to_string() })
        }
    }))
}

/// Counts the messages and actions of each event handler; the same as `/api/event/execution`.
#[utoipa::path(
    get, path = "/api/event/message", tag = "event", params(CountParams),
    responses((status = 200, description = "One entry per handler", body = serde_json::Value))
)]
async fn event_statistics(
    state: State<Api>,
    params: Query<CountParams>,
) -> Result<Json<Value>, Problem> {
    event_executions(state, params).await
}

/// Lists the messages of an event with the results of its handlers, newest first.
#[utoipa::path(
    get, path = "/api/event/message/{event}", tag = "event",
    params(("event" = String, Path, description = "The event, type:queue"), HandlingParams),
    responses((status = 200, description = "One entry per message", body = Vec<serde_json::Value>))
)]
async fn event_messages(
    State(api): State<Api>,
    Path(event): Path<String>,
    Query(params): Query<HandlingParams>,
) -> Result<Json<Vec<Value>>, Problem> {
    let handlers = api.engine.event_handlers();
    let handlers = handlers.iter().filter(|handler| handler.event == event);
    let subjects: Vec<String> = handlers.map(|handler| handler.name.clone()).collect();
    if subjects.is_empty() {
        return Ok(Json(Vec::new()));
    }
    let search = params.search(&api.engine, subjects);
    let page = api.engine.store().records(&search).await?;
    let mut messages: Vec<(String, i64, Vec<Value>)> = Vec::new();
    for record in &page.rows {
        let handling = shown(record);
        let id = handling["messageId"].as_str().unwrap_or_default().to_owned();
        let at = record.at.millis();
        match messages.iter_mut().find(|(known, ..)| *known == id) {
            Some((_, first, handlings)) => {
                *first = at.min(*first);
                handlings.push(handling);
            }
            None => messages.push((id, at, vec![handling])),
        }
    }
    let messages = messages.into_iter().map(|(id, at, handlings)| {
        let open = handlings.iter().any(|handling| handling["status"] == "IN_PROGRESS");
        let payload = handlings.iter().find_map(|handling| handling["output"]["msg"].as_str());
        let mut message = json!({
            "id": id, "createdAt": at, "eventTarget": event, "eventType": "MESSAGE",
            "status": if open { "RECEIVED" } else { "HANDLED" },
        });
        if let Some(payload) = payload {
            message["payload"] = payload.into();
        }
        message["eventExecutions"] = handlings.into();
        message
    });
    Ok(Json(messages.collect()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct CountParams {
    /// Where counts of a handler end: with more lines than that, its `exact` is false and its numbers are
    /// the least that they can be. Default: all are counted.
    count_max: Option<u64>,
}

/// Counts the messages and actions of each event handler.
#[utoipa::path(
    get, path = "/api/event/execution", tag = "event", params(CountParams),
    responses((status = 200, description = "One entry per handler", body = serde_json::Value))
)]
async fn event_executions(
    State(api): State<Api>,
    Query(CountParams { count_max }): Query<CountParams>,
) -> Result<Json<Value>, Problem> {
    let counted_max = count_max.map_or(u64::MAX, |most| most.saturating_add(1));
    let mut results = Vec::new();
    for handler in api.engine.event_handlers() {
        let of_handler = |statuses: &[&str]| RecordSearch {
            subjects: vec![handler.name.clone()],
            statuses: statuses.iter().map(|status| (*status).to_owned()).collect(),
            size: 0,
            counted_max,
            ..RecordSearch::newest(LEDGER)
        };
        let all = api.engine.store().records(&of_handler(&[])).await?.total;
        let exact = all < counted_max;
        let (all, skipped) = if exact {
            (all, api.engine.store().records(&of_handler(&["SKIPPED"])).await?.total)
        } else {
            (all - 1, 0)
        };
        // Every action of a message is a line; a skipped message is one.
        // The two are counted one after the other: a message may have come between.
        let acted = all.saturating_sub(skipped);
        let messages = acted.div_ceil(handler.actions.len().max(1) as u64) + skipped;
        let mut result = json!({
            "name": handler.name, "event": handler.event, "active": handler.active,
            "numberOfMessages": messages, "numberOfActions": acted,
        });
        if count_max.is_some() {
            // A member of ours, for those who have asked for it.
            result["exact"] = exact.into();
        }
        results.push(result);
    }
    Ok(Json(json!({ "totalHits": results.len(), "results": results })))
}

#[derive(Debug, Deserialize, IntoParams)]
struct HandlingParams {
    /// Only those of the last so many milliseconds.
    #[serde(default, deserialize_with = "lenient::number")]
    from: Option<i64>,
    /// How many to skip.
    #[serde(default)]
    start: u64,
    /// How many to return, at most 1000; default 100.
    size: Option<u64>,
}

impl HandlingParams {
    fn search(&self, engine: &Engine, subjects: Vec<String>) -> RecordSearch {
        let since = self.from.filter(|from| *from > 0);
        RecordSearch {
            subjects,
            after: since.map(|from| engine.now().plus_millis(from.saturating_neg())),
            start: self.start,
            size: self.size.unwrap_or(HANDLINGS).min(HANDLINGS_MAX),
            counted_max: 0,
            ..RecordSearch::newest(LEDGER)
        }
    }
}

/// Lists the messages and actions of an event handler, newest first.
#[utoipa::path(
    get, path = "/api/event/execution/{name}", tag = "event",
    params(("name" = String, Path, description = "The name of the handler"), HandlingParams),
    responses((status = 200, description = "One entry per message and action", body = Vec<serde_json::Value>))
)]
async fn event_executions_of(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<HandlingParams>,
) -> Result<Json<Vec<Value>>, Problem> {
    let search = params.search(&api.engine, vec![name]);
    let page = api.engine.store().records(&search).await?;
    Ok(Json(page.rows.iter().map(shown).collect()))
}

/// Handlings in one answer unless asked otherwise.
const HANDLINGS: u64 = 100;
/// Most handlings in one answer.
const HANDLINGS_MAX: u64 = 1000;

/// A handling as the protocol's `EventExecution`.
fn shown(record: &Record) -> Value {
    let mut shown = Map::from_iter([
        ("id".to_owned(), Value::from(&*record.key)),
        ("name".to_owned(), Value::from(&*record.subject)),
        ("created".to_owned(), record.at.millis().into()),
        ("status".to_owned(), Value::from(&*record.status)),
    ]);
    if let Value::Object(body) = record.body.parse() {
        if let Some(reason) = body.get("output").and_then(|output| output.get("exception")) {
            shown.insert("statusDescription".to_owned(), reason.clone());
        }
        shown.extend(body);
    }
    Value::Object(shown)
}

/// Accepts a message as if it had come through a queue; it is durable when the response is sent.
///
/// The body names its `event` (type:queue); `payload` is its content (default: the rest of the
/// body); the same `id` twice is the same message.
#[utoipa::path(
    post, path = "/api/event/handleIncomingEvent", tag = "event",
    request_body = serde_json::Value,
    responses(
        (status = 200, description = "Its id, and whether any active handler subscribes to it", body = serde_json::Value),
        (status = 400, description = "It does not name an event"),
    )
)]
async fn handle_incoming_event(
    State(api): State<Api>,
    Body(body): Body<BTreeMap<String, Value>>,
) -> Result<Json<Value>, Problem> {
    let Given { event, id, payload } = Given::read(&body)?;
    let message = EventMessage { event, id: id.clone(), payload };
    let heeded = api.engine.receive_event(message).await?;
    Ok(Json(json!({ "id": id, "heeded": heeded })))
}
