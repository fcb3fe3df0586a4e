//! Webhooks: places where other systems leave payloads that start workflows and end waits, and
//! where providers of alerts, chats and phones tell what people did about incidents.
//!
//! A webhook is a document of the kind `webhook`, named by its id; what came to it lately are
//! documents of their own, so that a delivery never rewrites the webhook.
#![allow(unused_qualifications, reason = "the macros that describe paths write types out in full")]

mod answering;
mod file;
mod pressed;
mod provider;
mod receive;
mod replay;
mod secret;
mod verify;

pub(crate) use file::{differing, document_of, prepare, remove};
pub use file::{is_webhook, read_webhooks, webhook_schema};
pub(crate) use secret::{is_reference, reveal};
pub(crate) use verify::{Demand, Doubt, Request as Signed, Verifier, equal, verify};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use engine::store::Document;
use engine::{Author, Authored, Change as Changes, Engine};
use kernel::access::Permission;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use utoipa_axum::routes;

use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;
use crate::rest::extract::{Body, Path};
use crate::rest::tags::{self, Change, Resource, Tag, Tagging};

/// The paths of webhooks: their definitions, and where payloads come in. A definition may hold headers
/// that prove a sender, so that only those see it who may write it.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Edit, routes!(webhooks))
        .on(Permission::Edit, routes!(create_webhook))
        .on(Permission::Edit, routes!(webhook))
        .on(Permission::Edit, routes!(update_webhook, delete_webhook))
        .on(Permission::Read, routes!(webhook_tags))
        .on(Permission::Edit, routes!(put_webhook_tags, delete_webhook_tags))
        .merge(receive::routes())
        .merge(provider::routes())
        .merge(answering::routes())
        .layer(Extension(Writing::default()))
        .layer(Extension(replay::UnderWay::default()))
        .layer(Extension(Tagging::default()))
}

/// Held from reading a webhook until it is written.
#[derive(Clone, Default)]
struct Writing(Arc<Mutex<()>>);

/// The kind of the documents that hold webhooks.
const KIND: &str = "webhook";
/// Webhooks at most.
const COUNT_MAX: usize = 1000;
/// Workflows, and headers, in one webhook.
const ENTRIES_MAX: usize = 100;

/// A webhook: the protocol's `WebhookConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the protocol's names")]
pub struct Webhook {
    name: String,
    #[serde(default)]
    id: String,
    /// Workflows whose tasks may wait for its payloads, with their versions; 0 = any.
    #[serde(default)]
    receiver_workflow_names_to_versions: BTreeMap<String, Option<i64>>,
    /// Workflows to start, with their versions (0 = the latest); among them the members
    /// `idempotencyKey` and `idempotencyStrategy`.
    #[serde(default)]
    workflows_to_start: Map<String, Value>,
    /// A payload has come whose sender was verified.
    #[serde(default)]
    url_verified: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_platform: Option<String>,
    verifier: Verifier,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header_key: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Where the secret is; shown as `***`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    /// Seconds for which a signed delivery is remembered, so that it counts only once; 0 = not at
    /// all, for senders that sign the same text again on purpose. A member of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replay_window_seconds: Option<u32>,
    /// Only shown: what came lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    webhook_execution_history: Option<Value>,
}

/// Members of `workflowsToStart` that are no workflows.
const KEY: &str = "idempotencyKey";
const STRATEGY: &str = "idempotencyStrategy";

impl Webhook {
    /// The workflows to start, and the key and strategy against starting twice.
    #[allow(clippy::type_complexity, reason = "one caller takes it apart at once")]
    fn starts(&self) -> (Vec<(&String, Option<i64>)>, (Option<&str>, Option<&str>)) {
        let workflows = self
            .workflows_to_start
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), KEY | STRATEGY))
            .map(|(name, version)| (name, number(version)))
            .collect();
        let text = |key: &str| self.workflows_to_start.get(key).and_then(Value::as_str);
        (workflows, (text(KEY), text(STRATEGY)))
    }

    /// Every workflow that it starts, or whose tasks may wait for it.
    fn workflows(&self) -> BTreeSet<&str> {
        let started = self.starts().0.into_iter().map(|(name, _)| name.as_str());
        let waiting = self.receiver_workflow_names_to_versions.keys();
        started.chain(waiting.map(String::as_str)).collect()
    }

    /// As it may be shown.
    fn shown(mut self) -> Self {
        self.secret_value = self.secret_value.map(|_| secret::HIDDEN.to_owned());
        self
    }

    /// Refuses what cannot work, and takes the secret to where secrets are. `former` is the webhook
    /// that this one replaces.
    fn checked(mut self, engine: &Engine, former: Option<&Self>) -> Result<Self, Problem> {
        self.judge().map_err(Problem::bad_request)?;
        let given = self.secret_value.take().filter(|secret| !secret.is_empty());
        self.secret_value = match given {
            Some(hidden) if hidden == secret::HIDDEN => {
                former.and_then(|former| former.secret_value.clone())
            }
            None => former.and_then(|former| former.secret_value.clone()),
            Some(secret) => Some(secret::keep(engine, &secret)),
        };
        self.webhook_execution_history = None;
        Ok(self)
    }

    /// In place of another: whether a sender was verified stays known if it would be verified alike.
    fn in_place_of(mut self, former: Option<&Self>) -> Self {
        self.url_verified = former.is_some_and(|former| {
            let same = self.verifier == former.verifier && self.secret_value == former.secret_value;
            former.url_verified && same && self.headers == former.headers
        });
        self
    }

    /// Why it cannot work.
    fn judge(&self) -> Result<(), String> {
        let bad = |why: String| Err(why);
        if self.name.trim().is_empty() {
            return bad("a webhook needs a name".to_owned());
        }
        let count = self.receiver_workflow_names_to_versions.len() + self.workflows_to_start.len();
        if count > ENTRIES_MAX || self.headers.len() > ENTRIES_MAX {
            return bad(format!("a webhook names at most {ENTRIES_MAX} workflows and headers"));
        }
        for (name, version) in &self.workflows_to_start {
            let fits = match name.as_str() {
                KEY | STRATEGY => version.is_string() || version.is_null(),
                _ => version.is_null() || number(version).is_some_and(|version| version >= 0),
            };
            if !fits {
                return bad(format!("'{name}' in workflowsToStart cannot be {version}"));
            }
        }
        if self.starts().1.0.is_some() {
            let strategy = self.starts().1.1.unwrap_or("FAIL");
            if !matches!(strategy, "FAIL" | "RETURN_EXISTING" | "FAIL_ON_RUNNING") {
                return bad(format!("there is no idempotencyStrategy '{strategy}'"));
            }
        }
        if self.verifier == Verifier::HeaderBased && self.headers.is_empty() {
            return bad("HEADER_BASED needs 'headers' that senders must give".to_owned());
        }
        if self.replay_window_seconds.is_some_and(|seconds| seconds > replay::WINDOW_SECONDS_MAX) {
            let most = replay::WINDOW_SECONDS_MAX;
            return bad(format!("replayWindowSeconds is at most {most}, which is a day"));
        }
        let names = self.headers.keys().chain(&self.header_key);
        for name in names.filter(|name| !name.is_empty()) {
            if axum::http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                return bad(format!("'{name}' cannot be the name of a header"));
            }
        }
        Ok(())
    }
}

/// A whole number, also when it is written as text.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// All webhooks by their ids.
async fn all(engine: &Engine) -> Result<Arc<BTreeMap<String, Webhook>>, Problem> {
    let catalogue = engine.catalogue().clone();
    let read = move |document: &Document| {
        let hook: Webhook = catalogue.read(document)?;
        Some((hook.id.clone(), hook))
    };
    let view =
        engine.catalogue().view(KIND, move |documents| documents.iter().filter_map(read).collect());
    Ok(view.await?)
}

/// Reads all webhooks.
pub(crate) async fn look(engine: &Engine) -> Result<(), Problem> {
    all(engine).await.map(drop)
}

async fn find(engine: &Engine, id: &str) -> Result<Webhook, Problem> {
    let all = all(engine).await?;
    all.get(id).cloned().ok_or_else(|| missing(id))
}

fn missing(id: &str) -> Problem {
    let shown: String = id.chars().take(100).collect();
    Problem::not_found(format!("there is no webhook with the id {shown}"))
}

/// Writes a webhook, which acts as its author.
async fn save(engine: &Engine, hook: &Webhook, author: Author) -> Result<(), Problem> {
    let text = serde_json::to_string(hook).expect("a webhook serializes to JSON");
    let change = Changes {
        documents: vec![(KIND, hook.id.clone(), text)],
        authored: vec![(Authored::Webhook, hook.id.as_str().into())],
        author,
        ..Changes::default()
    };
    Ok(engine.change(change).await?)
}

fn read(body: Value) -> Result<Webhook, Problem> {
    // The documentation shows a list of one in places.
    let body = match body {
        Value::Array(mut list) if list.len() == 1 => list.remove(0),
        body => body,
    };
    serde_json::from_value(body).map_err(|error| {
        Problem::bad_request(format!("the webhook: {error}"))
            .with_hint(format!("The verifiers are {}.", Verifier::NAMES))
    })
}

/// Lists all webhooks.
#[utoipa::path(
    get, path = "/api/metadata/webhook", tag = "webhook",
    responses((status = 200, description = "The webhooks", body = Vec<serde_json::Value>))
)]
async fn webhooks(State(api): State<Api>) -> Result<Json<Vec<Webhook>>, Problem> {
    Ok(Json(all(&api.engine).await?.values().cloned().map(Webhook::shown).collect()))
}

/// Creates a webhook and returns it with its id: payloads go to `/webhook/{id}`.
#[utoipa::path(
    post, path = "/api/metadata/webhook", tag = "webhook", request_body = serde_json::Value,
    responses(
        (status = 200, description = "The webhook", body = serde_json::Value),
        (status = 400, description = "Invalid; the response says why"),
    )
)]
async fn create_webhook(
    State(api): State<Api>,
    actor: Actor,
    Extension(writing): Extension<Writing>,
    Body(body): Body<Value>,
) -> Result<Json<Webhook>, Problem> {
    let mut hook = read(body)?.checked(&api.engine, None)?;
    let _writing = writing.0.lock().await;
    if all(&api.engine).await?.len() >= COUNT_MAX {
        return Err(Problem::conflict(format!("there are {COUNT_MAX} webhooks already")));
    }
    hook.id = uuid::Uuid::new_v4().to_string();
    hook.url_verified = false;
    save(&api.engine, &hook, actor.acts_as().into()).await?;
    Ok(Json(hook.shown()))
}

/// Shows a webhook and its recent deliveries.
#[utoipa::path(
    get, path = "/api/metadata/webhook/{id}", tag = "webhook",
    params(("id" = String, Path, description = "The id of the webhook")),
    responses(
        (status = 200, description = "The webhook", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn webhook(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Webhook>, Problem> {
    let mut hook = find(&api.engine, &id).await?.shown();
    let mut history = receive::history(&api.engine, &id).await?;
    history.reverse();
    hook.webhook_execution_history =
        Some(serde_json::to_value(history).expect("deliveries serialize to JSON"));
    Ok(Json(hook))
}

/// Replaces a webhook; a secret that is left out or written as `***` is kept.
#[utoipa::path(
    put, path = "/api/metadata/webhook/{id}", tag = "webhook", request_body = serde_json::Value,
    params(("id" = String, Path, description = "The id of the webhook")),
    responses(
        (status = 200, description = "The webhook", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn update_webhook(
    State(api): State<Api>,
    actor: Actor,
    Extension(writing): Extension<Writing>,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Result<Json<Webhook>, Problem> {
    let _writing = writing.0.lock().await;
    let former = find(&api.engine, &id).await?;
    let hook = read(body)?.checked(&api.engine, Some(&former))?;
    let hook = Webhook { id, ..hook.in_place_of(Some(&former)) };
    save(&api.engine, &hook, actor.acts_as().into()).await?;
    Ok(Json(hook.shown()))
}

/// Deletes a webhook, its tags and its history.
#[utoipa::path(
    delete, path = "/api/metadata/webhook/{id}", tag = "webhook",
    params(("id" = String, Path, description = "The id of the webhook")),
    responses(
        (status = 200, description = "Deleted"),
        (status = 404, description = "Not found"),
    )
)]
async fn delete_webhook(
    State(api): State<Api>,
    Extension(writing): Extension<Writing>,
    Extension(tagging): Extension<Tagging>,
    Path(id): Path<String>,
) -> Result<(), Problem> {
    let _writing = writing.0.lock().await;
    // One that is damaged can be deleted, too.
    if !remove(&api.engine, &id).await? {
        return Err(missing(&id));
    }
    let place = (Resource::Webhook, id.as_str());
    tags::change(&api.engine, &tagging, place, Change::Replace, Vec::new()).await
}

/// Lists the tags of a webhook.
#[utoipa::path(
    get, path = "/api/metadata/webhook/{id}/tags", tag = "webhook",
    params(("id" = String, Path, description = "The id of the webhook")),
    responses((status = 200, description = "The tags", body = Vec<Tag>))
)]
async fn webhook_tags(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Vec<Tag>>, Problem> {
    find(&api.engine, &id).await?;
    tags::of(&api.engine, Resource::Webhook, &id).await.map(Json)
}

/// Adds tags to a webhook; those of the same key are replaced.
#[utoipa::path(
    put, path = "/api/metadata/webhook/{id}/tags", tag = "webhook", request_body = Vec<Tag>,
    params(("id" = String, Path, description = "The id of the webhook")),
    responses((status = 200, description = "Tags added"))
)]
async fn put_webhook_tags(
    State(api): State<Api>,
    Extension(tagging): Extension<Tagging>,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Result<(), Problem> {
    find(&api.engine, &id).await?;
    let place = (Resource::Webhook, id.as_str());
    tags::change(&api.engine, &tagging, place, Change::Add, tags::read(body)?).await
}

/// Removes tags of a webhook.
#[utoipa::path(
    delete, path = "/api/metadata/webhook/{id}/tags", tag = "webhook", request_body = Vec<Tag>,
    params(("id" = String, Path, description = "The id of the webhook")),
    responses((status = 200, description = "Removed"))
)]
async fn delete_webhook_tags(
    State(api): State<Api>,
    Extension(tagging): Extension<Tagging>,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Result<(), Problem> {
    find(&api.engine, &id).await?;
    let place = (Resource::Webhook, id.as_str());
    tags::change(&api.engine, &tagging, place, Change::Delete, tags::read(body)?).await
}
