//! `/api/secrets`: named secrets, written and never read.
//!
//! Both spellings of the protocol are answered, the open-source server's and the hosted one's. A
//! value goes in and never comes out: reading one is refused, whoever asks.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use engine::vault::{Listed, Shelf, Tag};
use kernel::access::Permission;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::extract::{Body, Path, RawBody, text_of};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

const SHELF: Shelf = Shelf::Secrets;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::NameSecrets, routes!(secret_names, list_secret_names))
        .on(Permission::NameSecrets, routes!(clear_local_cache))
        .on(Permission::NameSecrets, routes!(clear_shared_cache))
        .on(Permission::NameSecrets, routes!(secrets_with_tags))
        .on(Permission::NameSecrets, routes!(secrets_with_tags_slashed))
        .on(Permission::NameSecrets, routes!(secret))
        .on(Permission::WriteSecrets, routes!(put_secret, delete_secret))
        .on(Permission::NameSecrets, routes!(secret_exists))
        .on(Permission::NameSecrets, routes!(secret_tags))
        .on(Permission::WriteSecrets, routes!(put_secret_tags, delete_secret_tags))
}

/// A label: the protocol's `Tag`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct Label {
    /// The key.
    key: String,
    /// The value.
    #[serde(default)]
    value: String,
    /// `METADATA`, whatever was sent.
    #[serde(rename = "type", default, skip_deserializing)]
    kind: LabelKind,
}

#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum LabelKind {
    #[default]
    Metadata,
}

impl From<Tag> for Label {
    fn from(tag: Tag) -> Self {
        Self { key: tag.key, value: tag.value, kind: LabelKind::Metadata }
    }
}

/// A secret's name and labels: the protocol's `ExtendedSecret`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Named {
    name: String,
    tags: Vec<Label>,
    /// When its value was written, in milliseconds since 1970; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    update_time: Option<i64>,
    /// Set by the environment of the server, so it can be neither written nor deleted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
}

/// Lists the names of all secrets.
#[utoipa::path(
    get, path = "/api/secrets", tag = "secrets",
    responses((status = 200, description = "The names", body = Vec<String>))
)]
async fn secret_names(State(api): State<Api>) -> Json<Vec<String>> {
    Json(api.engine.vault().list(SHELF).into_iter().map(|listed| listed.name).collect())
}

/// Clears caches of secrets: does nothing, because changed secrets take effect at once.
#[utoipa::path(
    get, path = "/api/secrets/clearLocalCache", tag = "secrets",
    responses((status = 200, description = "Nothing to clear", body = serde_json::Value))
)]
async fn clear_local_cache() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "cleared": 0 }))
}

/// The same for the shared cache of secrets.
#[utoipa::path(
    get, path = "/api/secrets/clearRedisCache", tag = "secrets",
    responses((status = 200, description = "Nothing to clear", body = serde_json::Value))
)]
async fn clear_shared_cache() -> Json<serde_json::Value> {
    clear_local_cache().await
}

/// Lists the names of all secrets.
#[utoipa::path(
    post, path = "/api/secrets", tag = "secrets",
    responses((status = 200, description = "The names", body = Vec<String>))
)]
async fn list_secret_names(State(api): State<Api>) -> Json<Vec<String>> {
    secret_names(State(api)).await
}

/// Lists all secrets with their tags.
#[utoipa::path(
    get, path = "/api/secrets-v2", tag = "secrets",
    responses((status = 200, description = "Names, tags, and when each was written", body = Vec<Named>))
)]
async fn secrets_with_tags(State(api): State<Api>) -> Json<Vec<Named>> {
    let named = |listed: Listed| Named {
        name: listed.name,
        tags: listed.tags.into_iter().map(Label::from).collect(),
        update_time: listed.put_at.map(kernel::Timestamp::millis),
        read_only: listed.read_only,
    };
    Json(api.engine.vault().list(SHELF).into_iter().map(named).collect())
}

/// Lists all secrets with their tags.
#[utoipa::path(
    get, path = "/api/secrets/v2", tag = "secrets",
    responses((status = 200, description = "Names and tags", body = Vec<Named>))
)]
async fn secrets_with_tags_slashed(State(api): State<Api>) -> Json<Vec<Named>> {
    secrets_with_tags(State(api)).await
}

/// Not supported: values of secrets can be written, used and deleted, but not read.
#[utoipa::path(
    get, path = "/api/secrets/{key}", tag = "secrets",
    params(("key" = String, Path, description = "The name")),
    responses(
        (status = 403, description = "Secrets cannot be read"),
        (status = 404, description = "No such secret"),
    )
)]
async fn secret(State(api): State<Api>, Path(key): Path<String>) -> Result<(), Problem> {
    api.engine.vault().tags(SHELF, &key)?;
    let message = format!("the secret {key} cannot be read: secrets are write-only");
    Err(Problem::new(StatusCode::FORBIDDEN, "write-only", message).with_hint(format!(
        "Let a task use it as ${{workflow.secrets.{key}}}, or ask /api/secrets/{key}/exists."
    )))
}

/// Stores a secret, replacing the one of this name.
#[utoipa::path(
    put, path = "/api/secrets/{key}", tag = "secrets", request_body = String,
    params(("key" = String, Path, description = "The name: letters, digits, _ and -")),
    responses(
        (status = 200, description = "Stored"),
        (status = 400, description = "The name or the value break a rule"),
        (status = 409, description = "It is set by the environment of the server"),
    )
)]
async fn put_secret(
    State(api): State<Api>,
    Path(key): Path<String>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<(), Problem> {
    let value = value_of(&headers, &body)?;
    Ok(api.engine.vault().put(SHELF, &key, &value).await?)
}

/// Deletes a secret.
#[utoipa::path(
    delete, path = "/api/secrets/{key}", tag = "secrets",
    params(("key" = String, Path, description = "The name")),
    responses(
        (status = 200, description = "Deleted"),
        (status = 404, description = "No such secret"),
        (status = 409, description = "It is set by the environment of the server"),
    )
)]
async fn delete_secret(State(api): State<Api>, Path(key): Path<String>) -> Result<(), Problem> {
    Ok(api.engine.vault().delete(SHELF, &key).await?)
}

/// Checks whether a secret of this name exists.
#[utoipa::path(
    get, path = "/api/secrets/{key}/exists", tag = "secrets",
    params(("key" = String, Path, description = "The name")),
    responses((status = 200, description = "Whether it exists", body = bool))
)]
async fn secret_exists(State(api): State<Api>, Path(key): Path<String>) -> Json<bool> {
    Json(api.engine.vault().tags(SHELF, &key).is_ok())
}

/// Lists the tags of a secret.
#[utoipa::path(
    get, path = "/api/secrets/{key}/tags", tag = "secrets",
    params(("key" = String, Path, description = "The name")),
    responses(
        (status = 200, description = "The tags", body = Vec<Label>),
        (status = 404, description = "No such secret"),
    )
)]
async fn secret_tags(
    State(api): State<Api>,
    Path(key): Path<String>,
) -> Result<Json<Vec<Label>>, Problem> {
    tags(&api, SHELF, &key)
}

/// Adds tags to a secret; those of the same key are replaced.
#[utoipa::path(
    put, path = "/api/secrets/{key}/tags", tag = "secrets", request_body = Vec<Label>,
    params(("key" = String, Path, description = "The name")),
    responses(
        (status = 200, description = "Tags added"),
        (status = 404, description = "No such secret"),
    )
)]
async fn put_secret_tags(
    State(api): State<Api>,
    Path(key): Path<String>,
    Body(labels): Body<Vec<Label>>,
) -> Result<(), Problem> {
    put_tags(&api, SHELF, &key, labels).await
}

/// Removes tags from a secret.
#[utoipa::path(
    delete, path = "/api/secrets/{key}/tags", tag = "secrets", request_body = Vec<Label>,
    params(("key" = String, Path, description = "The name")),
    responses(
        (status = 200, description = "Deleted, or there were none"),
        (status = 404, description = "No such secret"),
    )
)]
async fn delete_secret_tags(
    State(api): State<Api>,
    Path(key): Path<String>,
    Body(labels): Body<Vec<Label>>,
) -> Result<(), Problem> {
    delete_tags(&api, SHELF, &key, labels).await
}

/// The labels of a name.
///
/// # Errors
/// 404 if there is no such name.
pub(super) fn tags(api: &Api, shelf: Shelf, key: &str) -> Result<Json<Vec<Label>>, Problem> {
    let tags = api.engine.vault().tags(shelf, key)?;
    Ok(Json(tags.into_iter().map(Label::from).collect()))
}

/// Adds labels to a name.
///
/// # Errors
/// 404 if there is no such name, 409 if it is read-only.
pub(super) async fn put_tags(
    api: &Api,
    shelf: Shelf,
    key: &str,
    labels: Vec<Label>,
) -> Result<(), Problem> {
    let change = |tags: &mut Vec<Tag>| {
        for label in labels {
            tags.retain(|tag| tag.key != label.key);
            tags.push(Tag { key: label.key, value: label.value });
        }
    };
    Ok(api.engine.vault().set_tags(shelf, key, change).await?)
}

/// Removes labels from a name: those of the same key, and of the same value if one is given.
///
/// # Errors
/// 404 if there is no such name, 409 if it is read-only.
pub(super) async fn delete_tags(
    api: &Api,
    shelf: Shelf,
    key: &str,
    labels: Vec<Label>,
) -> Result<(), Problem> {
    let change = |tags: &mut Vec<Tag>| {
        tags.retain(|tag| {
            !labels.iter().any(|label| {
                tag.key == label.key && (label.value.is_empty() || tag.value == label.value)
            })
        });
    };
    Ok(api.engine.vault().set_tags(shelf, key, change).await?)
}

/// The value in a body.
///
/// # Errors
/// 400 if it is not UTF-8.
pub(super) fn value_of(headers: &HeaderMap, body: &[u8]) -> Result<String, Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Problem::bad_request("the value is not text in UTF-8"))?;
    Ok(text_of(headers, text.into()).into_owned())
}
