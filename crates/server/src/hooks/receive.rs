//! Payloads that come: who sent them is verified, then they start workflows and end waits.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json as AsJson;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, http};
use engine::store::Document;
use engine::{ActsOn, Author, Authored, Engine};
use kernel::access::{Need, Permission};
use kernel::expression::{Scope, evaluate};
use kernel::graph::{Report, TaskStatus, Verdict};
use kernel::{Json, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::replay::{self, Arrival, UnderWay};
use super::verify::{Demand, Doubt, Request, Verifier, answer_to, is_token, verify};
use super::{Webhook, Writing, find, save, secret};
use crate::Api;
use crate::access::{Routes, author_may};
use crate::problem::Problem;
use crate::rest::extract::{Path, RawBody, RawQuery, parse};
use crate::rest::workflow::{StartRequest, begin, caller_span};

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Need::Proof, routes!(receive, challenge))
        .on(Need::Proof, routes!(api_receive, api_challenge))
}

/// Deliveries remembered per webhook.
const HISTORY_MAX: usize = 20;
/// Bytes of a payload that the history shows.
const SHOWN_MAX: usize = 2000;
/// Waiting tasks that one payload may end.
const TASKS_MAX: usize = 1000;

/// One payload that came, as the history tells of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delivery {
    /// The id of the delivery.
    event_id: String,
    /// It started a workflow or completed a task.
    matched: bool,
    /// Executions that it started, and those in which a task waited for it.
    workflow_ids: Vec<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    /// The payload, truncated.
    payload: String,
    /// When it was received, in milliseconds since 1970.
    time_stamp: i64,
}

/// Receives a payload for a webhook: verifies its sender, starts workflows, and completes the tasks
/// that wait for it. A signed delivery that was received before is answered with `duplicate`, and
/// does nothing.
#[utoipa::path(
    post, path = "/webhook/{id}", tag = "webhook", request_body = serde_json::Value,
    params(("id" = String, Path, description = "The id of the webhook")),
    responses(
        (status = 200, description = "The outcome", body = serde_json::Value),
        (status = 401, description = "The sender did not authenticate"),
        (status = 403, description = "The sender's authentication is wrong"),
        (status = 404, description = "No such webhook"),
        (status = 409, description = "The same delivery is being processed"),
    )
)]
async fn receive(
    State(api): State<Api>,
    Extension(writing): Extension<Writing>,
    Extension(under_way): Extension<UnderWay>,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    let mut hook = find(&api.engine, &id).await?;
    let secret = secret_of(&api.engine, &hook)?;
    let now = api.engine.now().millis();
    let demand = Demand {
        verifier: hook.verifier,
        secret: &secret,
        header: hook.header_key.as_deref().unwrap_or_default(),
        headers: hook.headers.iter().map(|(name, value)| (&**name, &**value)).collect(),
    };
    let request = Request { headers: &headers, body: &body, now: now.div_euclid(1000) };
    verify(&demand, &request).map_err(doubted)?;
    if hook.verifier.needs_secret() && is_token(&body) {
        let message = "a single word is no payload: it may have been signed as a challenge";
        return Err(Problem::bad_request(message));
    }
    let payload = payload_of(&headers, &body)?;
    if !hook.url_verified {
        let _writing = writing.0.lock().await;
        // As it stands now: it may have been changed since it was read.
        hook = find(&api.engine, &id).await?;
        hook.url_verified = true;
        save(&api.engine, &hook, Author::Unchanged).await?;
    }
    if hook.verifier == Verifier::SlackBased
        && payload.get("type").and_then(Value::as_str) == Some("url_verification")
    {
        let challenge = payload.get("challenge").cloned().unwrap_or_default();
        return Ok(AsJson(json!({ "challenge": challenge })).into_response());
    }
    let signed = (&headers, &body[..], &payload);
    let taking = match replay::judge(&api.engine, &under_way, &hook, signed).await? {
        Arrival::New(taking) => Some(taking),
        Arrival::Unknowable => None,
        Arrival::Seen(event_id) => {
            tracing::info!(webhook = hook.name, event_id, "duplicate webhook delivery ignored");
            let told = json!({
                "eventId": event_id, "matched": false, "workflowIds": [], "problems": [],
                "duplicate": true,
            });
            return Ok(AsJson(told).into_response());
        }
    };
    let engine = api.engine.clone();
    let caller = caller_span(&headers);
    let delivery = to_its_end(async move {
        let delivery = deliver(&engine, &hook, payload, &body, (now, caller)).await?;
        if let Some(taking) = &taking {
            let record = replay::record(&engine, &hook, taking, &delivery.event_id);
            engine.store().put_records(vec![record]).await?;
        }
        remember(&engine, &id, &delivery).await?;
        Ok(delivery)
    })
    .await?;
    let told = json!({
        "eventId": delivery.event_id,
        "matched": delivery.matched,
        "workflowIds": delivery.workflow_ids,
        "problems": delivery.problems,
    });
    Ok(AsJson(told).into_response())
}

/// The same at Conductor's other path.
#[utoipa::path(
    post, path = "/api/webhook/{id}", tag = "webhook", request_body = serde_json::Value,
    params(("id" = String, Path, description = "The id of the webhook")),
    responses((status = 200, description = "The outcome", body = serde_json::Value))
)]
async fn api_receive(
    state: State<Api>,
    writing: Extension<Writing>,
    under_way: Extension<UnderWay>,
    path: Path<String>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, Problem> {
    receive(state, writing, under_way, path, headers, body).await
}

/// Answers a provider's test of the address: Twitter's `crc_token` is signed, everything else gets
/// a plain 200.
#[utoipa::path(
    get, path = "/webhook/{id}", tag = "webhook",
    params(
        ("id" = String, Path, description = "The id of the webhook"),
        ("crc_token" = Option<String>, Query, description = "To be signed, by Twitter's verifier"),
    ),
    responses(
        (status = 200, description = "The webhook exists", body = serde_json::Value),
        (status = 400, description = "`crc_token` could be a payload, and is not signed"),
        (status = 404, description = "No such webhook"),
    )
)]
async fn challenge(
    State(api): State<Api>,
    Path(id): Path<String>,
    RawQuery(pairs): RawQuery,
) -> Result<AsJson<Value>, Problem> {
    let hook = find(&api.engine, &id).await?;
    let token = pairs.iter().find(|(name, _)| name == "crc_token").map(|(_, token)| token);
    match token {
        Some(token) if hook.verifier == Verifier::Twitter => {
            let secret = secret_of(&api.engine, &hook)?;
            let answer = answer_to(token, &secret).ok_or_else(|| {
                let message = "crc_token is not a token: 1 to 100 letters, digits, - and _";
                Problem::bad_request(message)
            })?;
            Ok(AsJson(json!({ "response_token": answer })))
        }
        _ => Ok(AsJson(json!({}))),
    }
}

/// The same at Conductor's other path.
#[utoipa::path(
    get, path = "/api/webhook/{id}", tag = "webhook",
    params(("id" = String, Path, description = "The id of the webhook")),
    responses((status = 200, description = "The webhook exists", body = serde_json::Value))
)]
async fn api_challenge(
    state: State<Api>,
    path: Path<String>,
    query: RawQuery,
) -> Result<AsJson<Value>, Problem> {
    challenge(state, path, query).await
}

fn secret_of(engine: &Engine, hook: &Webhook) -> Result<String, Problem> {
    let kept = hook.secret_value.as_deref().unwrap_or_default();
    match secret::reveal(engine, kept) {
        Some(value) => Ok(value),
        None if !hook.verifier.needs_secret() => Ok(String::new()),
        None => Err(doubted(Doubt::Unusable(format!("there is no secret for {kept}")))),
    }
}

pub(super) fn doubted(doubt: Doubt) -> Problem {
    match doubt {
        Doubt::Unproven(why) => Problem::new(StatusCode::UNAUTHORIZED, "unverified", why),
        Doubt::Wrong(why) => Problem::new(StatusCode::FORBIDDEN, "unverified", why),
        Doubt::Unusable(why) => {
            tracing::warn!(why, "webhook cannot verify its senders");
            let message = "the webhook cannot verify its senders: see the server's log";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "webhook-unusable", message)
        }
    }
}

/// The fields of a form, in their order.
pub(super) fn form(body: &[u8]) -> Result<Vec<(String, String)>, Problem> {
    let bad = |why: String| Problem::bad_request(format!("the form: {why}"));
    let text = std::str::from_utf8(body).unwrap_or_default();
    let uri: http::Uri = format!("/?{text}")
        .parse()
        .map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
    let fields = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri);
    fields.map(|fields| fields.0).map_err(|error| bad(error.body_text()))
}

/// The payload as an object: JSON, or the fields of a form. Other JSON stands under `payload`.
fn payload_of(headers: &HeaderMap, body: &Bytes) -> Result<Value, Problem> {
    let content_type = headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if content_type.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        let fields = form(body)?.into_iter().map(|(name, value)| (name, value.into()));
        return Ok(Value::Object(fields.collect()));
    }
    match parse::<Value>(body)? {
        Value::Null => Ok(json!({})),
        payload @ Value::Object(_) => Ok(payload),
        other => Ok(json!({ "payload": other })),
    }
}

/// Does work to its end even if the sender hangs up, as some do after three seconds: half of it would
/// be done again when the sender tries again.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work).await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(engine::Error::Closing.into()),
    })
}

/// Lets a payload do what its webhook says: when it came, and from which span.
async fn deliver(
    engine: &Engine,
    hook: &Webhook,
    payload: Value,
    body: &[u8],
    (now, caller): (i64, Option<Arc<str>>),
) -> Result<Delivery, Problem> {
    let event_id = Engine::new_id().to_string();
    let mut delivery = Delivery {
        event_id,
        matched: false,
        workflow_ids: Vec::new(),
        problems: Vec::new(),
        payload: String::from_utf8_lossy(body).chars().take(SHOWN_MAX).collect(),
        time_stamp: now,
    };
    let input = Json::of(&payload);
    let mut refused = BTreeSet::new();
    for workflow in hook.workflows() {
        if !may_run(engine, hook, workflow).await? {
            refused.insert(workflow);
            // Who that is, is nothing for other systems.
            let why = "the webhook's author may not run it; the server's log says more";
            delivery.problems.push(format!("{workflow}: {why}"));
        }
    }
    let waiting = waiting_for(engine, hook, &payload);
    for (task, workflow) in waiting.into_iter().filter(|(_, it)| !refused.contains(*it)) {
        let report = Report {
            sequence: task.sequence,
            verdict: Verdict::Done(TaskStatus::Completed),
            output: Some(input.clone()),
            merge: false,
            reason: None,
            worker: None,
            started_at: None,
            metadata: None,
        };
        match engine.report(&task.execution, report).await {
            Ok(()) => delivery.workflow_ids.push(task.execution.to_string()),
            Err(
                error @ (engine::Error::Store(_)
                | engine::Error::Unavailable(_)
                | engine::Error::Closing),
            ) => {
                return Err(error.into());
            }
            Err(error) => delivery.problems.push(format!("{workflow}: {error}")),
        }
    }
    let (starts, idempotency) = hook.starts();
    for (name, version) in starts {
        if refused.contains(name.as_str()) {
            continue;
        }
        let mut request = StartRequest::with_input(input.clone());
        request.name = Some(name.clone());
        request.version = version;
        request.acts_as = engine.author_of(Authored::Webhook, &hook.id);
        request.traceparent.clone_from(&caller);
        let (key, strategy) = idempotency;
        let key = key.map(|key| rendered(key, &input)).filter(|key| !key.is_empty());
        let begun = match request.with_idempotency(key, strategy) {
            Ok(request) => begin(engine, request).await,
            Err(problem) => Err(problem),
        };
        match begun {
            Ok(id) => delivery.workflow_ids.push(id.to_string()),
            // The provider shall send it again.
            Err(problem) if problem.status.is_server_error() => return Err(problem),
            Err(problem) => {
                tracing::warn!(
                    webhook = hook.name,
                    workflow = name,
                    why = problem.message,
                    "webhook could not start a workflow"
                );
                delivery.problems.push(format!("{name}: {}", problem.message));
            }
        }
    }
    delivery.matched = !delivery.workflow_ids.is_empty();
    Ok(delivery)
}

/// Whether whoever wrote the webhook may start a workflow, or go on with its runs, now.
async fn may_run(engine: &Engine, hook: &Webhook, workflow: &str) -> Result<bool, Problem> {
    let on = ActsOn::Workflow(workflow);
    author_may(engine, Authored::Webhook, &hook.id, Permission::Run, on).await
}

/// The tasks that wait for a payload, among those of the workflows that the webhook serves.
fn waiting_for<'h>(engine: &Engine, hook: &'h Webhook, payload: &Value) -> Vec<(TaskId, &'h str)> {
    let mut found = Vec::new();
    for (workflow, version) in &hook.receiver_workflow_names_to_versions {
        let any = version.is_none_or(|version| version <= 0);
        for (task, awaited) in engine.awaiting(workflow) {
            let serves = any || *version == Some(i64::from(awaited.version));
            if serves && awaited.fits(payload) {
                found.push((task, workflow.as_str()));
            }
            if found.len() >= TASKS_MAX {
                tracing::warn!(
                    webhook = hook.name,
                    "webhook payload matches more waiting tasks than one delivery may complete"
                );
                return found;
            }
        }
    }
    found
}

/// A text whose expressions speak of the payload as `workflow.input`.
fn rendered(text: &str, input: &Json) -> String {
    struct Payload<'a>(&'a Json);
    impl Scope for Payload<'_> {
        fn field(&self, root: &str, field: &str) -> Option<Json> {
            (root == "workflow" && field == "input").then(|| self.0.clone())
        }
        fn document(&self, root: &str) -> Option<Json> {
            (root == "workflow").then(|| Json::of(&json!({ "input": self.0.parse() })))
        }
        fn bare(&self, _: &str) -> Option<Json> {
            None
        }
    }
    match evaluate(text, &Payload(input)).parse() {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn kind_of(id: &str) -> String {
    format!("webhook-delivery/{id}")
}

/// The deliveries of a webhook that are remembered, the oldest first.
pub(super) async fn history(engine: &Engine, id: &str) -> Result<Vec<Delivery>, Problem> {
    let documents = engine.store().documents(&kind_of(id)).await?;
    Ok(documents.iter().filter_map(|d| serde_json::from_str(&d.text).ok()).collect())
}

/// Remembers a delivery, and forgets the oldest beyond a number.
async fn remember(engine: &Engine, id: &str, delivery: &Delivery) -> Result<(), Problem> {
    let (store, kind) = (engine.store(), kind_of(id));
    let text = serde_json::to_string(delivery).expect("a delivery serializes to JSON");
    let document = Document {
        kind: kind.as_str().into(),
        // Later ids sort after earlier ones.
        name: delivery.event_id.as_str().into(),
        version: 0,
        text: text.into(),
    };
    store.put_document(document).await?;
    let documents = store.documents(&kind).await?;
    let old = documents.len().saturating_sub(HISTORY_MAX);
    for document in documents.iter().take(old) {
        store.delete_document(&kind, &document.name, 0).await?;
    }
    Ok(())
}

/// Forgets every delivery of a webhook.
pub(super) async fn forget(engine: &Engine, id: &str) -> Result<(), Problem> {
    let kind = kind_of(id);
    for document in engine.store().documents(&kind).await? {
        engine.store().delete_document(&kind, &document.name, 0).await?;
    }
    Ok(())
}
