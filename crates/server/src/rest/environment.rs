//! `/api/environment`: named values that definitions use and anybody may see.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use engine::vault::Shelf;
use kernel::access::Permission;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::extract::{Body, Path, RawBody};
use super::secret::{Label, delete_tags, put_tags, tags, value_of};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

const SHELF: Shelf = Shelf::Environment;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(variables))
        .on(Permission::Read, routes!(variable))
        .on(Permission::Edit, routes!(put_variable, delete_variable))
        .on(Permission::Read, routes!(variable_tags))
        .on(Permission::Edit, routes!(put_variable_tags, delete_variable_tags))
}

/// A named value: the protocol's `EnvironmentVariable`.
#[derive(Debug, Serialize, ToSchema)]
struct Variable {
    name: String,
    value: String,
    tags: Vec<Label>,
}

/// Lists all environment values.
#[utoipa::path(
    get, path = "/api/environment", tag = "environment",
    responses((status = 200, description = "Names, values and tags", body = Vec<Variable>))
)]
async fn variables(State(api): State<Api>) -> Json<Vec<Variable>> {
    let vault = api.engine.vault();
    let variables = vault.list(SHELF).into_iter().filter_map(|listed| {
        let value = vault.get(SHELF, &listed.name)?;
        let tags = listed.tags.into_iter().map(Label::from).collect();
        Some(Variable { name: listed.name, value, tags })
    });
    Json(variables.collect())
}

/// Shows an environment value.
#[utoipa::path(
    get, path = "/api/environment/{key}", tag = "environment",
    params(("key" = String, Path, description = "The name")),
    responses(
        (status = 200, description = "The value", body = String),
        (status = 404, description = "No such value"),
    )
)]
async fn variable(State(api): State<Api>, Path(key): Path<String>) -> Result<String, Problem> {
    let vault = api.engine.vault();
    vault.tags(SHELF, &key)?;
    Ok(vault.get(SHELF, &key).unwrap_or_default())
}

/// Stores an environment value, replacing the one of this name. Running workflows see it in the
/// tasks that they schedule from now on.
#[utoipa::path(
    put, path = "/api/environment/{key}", tag = "environment", request_body = String,
    params(("key" = String, Path, description = "The name: letters, digits, _ and -")),
    responses(
        (status = 200, description = "Stored"),
        (status = 400, description = "The name or the value break a rule"),
        (status = 409, description = "It is set by the environment of the server"),
    )
)]
async fn put_variable(
    State(api): State<Api>,
    Path(key): Path<String>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<(), Problem> {
    let value = value_of(&headers, &body)?;
    Ok(api.engine.vault().put(SHELF, &key, &value).await?)
}

/// Deletes an environment value.
#[utoipa::path(
    delete, path = "/api/environment/{key}", tag = "environment",
    params(("key" = String, Path, description = "The name")),
    responses(
        (status = 200, description = "Deleted; its former value", body = String),
        (status = 404, description = "No such value"),
        (status = 409, description = "It is set by the environment of the server"),
    )
)]
async fn delete_variable(
    State(api): State<Api>,
    Path(key): Path<String>,
) -> Result<String, Problem> {
    let vault = api.engine.vault();
    let value = vault.get(SHELF, &key).unwrap_or_default();
    vault.delete(SHELF, &key).await?;
    Ok(value)
}

/// Lists the tags of an environment value.
#[utoipa::path(
    get, path = "/api/environment/{key}/tags", tag = "environment",
    params(("key" = String, Path, description = "The name")),
    responses(
        (status = 200, description = "The tags", body = Vec<Label>),
        (status = 404, description = "No such value"),
    )
)]
async fn variable_tags(
    State(api): State<Api>,
    Path(key): Path<String>,
) -> Result<Json<Vec<Label>>, Problem> {
    tags(&api, SHELF, &key)
}

/// Adds tags to an environment value; those of the same key are replaced.
#[utoipa::path(
    put, path = "/api/environment/{key}/tags", tag = "environment", request_body = Vec<Label>,
    params(("key" = String, Path, description = "The name")),
    responses(
        (status = 200, description = "Tags added"),
        (status = 404, description = "No such value"),
    )
)]
async fn put_variable_tags(
    State(api): State<Api>,
    Path(key): Path<String>,
    Body(labels): Body<Vec<Label>>,
) -> Result<(), Problem> {
    put_tags(&api, SHELF, &key, labels).await
}

/// Removes tags from an environment value.
#[utoipa::path(
    delete, path = "/api/environment/{key}/tags", tag = "environment", request_body = Vec<Label>,
    params(("key" = String, Path, description = "The name")),
    responses(
        (status = 200, description = "Deleted, or there were none"),
        (status = 404, description = "No such value"),
    )
)]
async fn delete_variable_tags(
    State(api): State<Api>,
    Path(key): Path<String>,
    Body(labels): Body<Vec<Label>>,
) -> Result<(), Problem> {
    delete_tags(&api, SHELF, &key, labels).await
}
