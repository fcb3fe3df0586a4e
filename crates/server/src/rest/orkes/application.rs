//! Applications and their access keys.

use axum::extract::State;
use axum::{Extension, Json};
use engine::{Access, AccessError, Grantee, KeyRecord, NewUser, Rights, UserRecord};
use kernel::access::Permission;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::super::extract::{Body, Path};
use super::{shape, words};
use crate::Api;
use crate::access::{About, Actor, Routes};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Admin, routes!(applications, create_application))
        .on(Permission::Admin, routes!(application, update_application, delete_application))
        .on(Permission::Admin, routes!(application_of_key))
        .on(Permission::Admin, routes!(access_keys, create_access_key))
        .on(Permission::Admin, routes!(delete_access_key))
        .on(Permission::Admin, routes!(toggle_access_key))
        .on(Permission::Admin, routes!(add_role, remove_role))
}

/// An application to create, or what it is to be.
#[derive(Debug, Deserialize, ToSchema)]
struct ApplicationRequest {
    /// Letters, digits and `. _ @ + -`; upper and lower case are the same. It must not be the name
    /// of a user.
    name: String,
}

/// Keys of an application have its name.
fn find(access: &Access, id: &str) -> Result<UserRecord, Problem> {
    let found = access.user(shape::name_of(id)).map(|(user, _)| user);
    let found = found.ok().filter(|it| it.application);
    found.ok_or_else(|| AccessError::Missing(Grantee::User(id.to_owned())).into())
}

fn shown(application: &UserRecord) -> Value {
    json!({
        "id": application.id,
        "name": application.name,
        "createdBy": application.created_by,
        "createTime": application.created_at.millis(),
    })
}

fn shown_key(key: &KeyRecord) -> Value {
    let status = if key.revoked_at.is_none() { "ACTIVE" } else { "INACTIVE" };
    json!({ "id": key.id, "status": status, "createdAt": key.created_at.millis() })
}

fn about(application: &UserRecord, what: &str) -> Extension<About> {
    Extension(About(format!("application {}{what}", application.name).into()))
}

/// Lists applications: programs that authenticate with keys.
#[utoipa::path(
    get, path = "/api/applications", tag = "access",
    responses((status = 200, description = "The applications", body = Vec<serde_json::Value>))
)]
async fn applications(State(api): State<Api>) -> Json<Vec<Value>> {
    let users = api.engine.access().users().into_iter().map(|(user, _)| user);
    Json(users.filter(|user| user.application).map(|user| shown(&user)).collect())
}

/// Creates an application. It has no permissions until it is granted some.
#[utoipa::path(
    post, path = "/api/applications", tag = "access", request_body = ApplicationRequest,
    responses(
        (status = 200, description = "The application", body = serde_json::Value),
        (status = 400, description = "The name breaks the rule"),
        (status = 409, description = "The name is taken"),
    )
)]
async fn create_application(
    State(api): State<Api>,
    actor: Actor,
    Body(wanted): Body<ApplicationRequest>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let by = actor.shown();
    let wanted = NewUser { name: wanted.name, application: true, ..NewUser::default() };
    let made = api.engine.access().create_user(wanted, &by, api.engine.now()).await?;
    tracing::info!(application = %made.name, id = %made.id, by, "an application was created");
    Ok((about(&made, ""), Json(shown(&made))))
}

/// Shows an application.
#[utoipa::path(
    get, path = "/api/applications/{id}", tag = "access",
    params(("id" = String, Path, description = "The id or the name")),
    responses(
        (status = 200, description = "The application", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn application(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&find(api.engine.access(), &id)?)))
}

/// Renames an application; its keys and grants are kept.
#[utoipa::path(
    put, path = "/api/applications/{id}", tag = "access", request_body = ApplicationRequest,
    params(("id" = String, Path, description = "The id or the name")),
    responses(
        (status = 200, description = "The application", body = serde_json::Value),
        (status = 400, description = "The name breaks the rule"),
        (status = 404, description = "Not found"),
        (status = 409, description = "The name is taken"),
    )
)]
async fn update_application(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Body(wanted): Body<ApplicationRequest>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let access = api.engine.access();
    let found = find(access, &id)?;
    let renamed = access.rename_user(&found.id, &wanted.name, api.engine.now()).await?;
    let by = actor.shown();
    tracing::info!(application = %renamed.name, before = %found.name, by, "an application was renamed");
    Ok((about(&renamed, &format!(", before {}", found.name)), Json(shown(&renamed))))
}

/// Deletes an application: its keys end at once.
#[utoipa::path(
    delete, path = "/api/applications/{id}", tag = "access",
    params(("id" = String, Path, description = "The id or the name")),
    responses(
        (status = 200, description = "The application as it was", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn delete_application(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let access = api.engine.access();
    let id = find(access, &id)?.id;
    let gone = access.delete_user(&id, api.engine.now()).await?;
    tracing::info!(application = %gone.name, %id, by = actor.shown(), "an application was deleted");
    Ok((about(&gone, ""), Json(shown(&gone))))
}

/// Shows the application of an access key.
#[utoipa::path(
    get, path = "/api/applications/key/{id}", tag = "access",
    params(("id" = String, Path, description = "The id of the key")),
    responses(
        (status = 200, description = "The application", body = serde_json::Value),
        (status = 404, description = "Not a key of an application"),
    )
)]
async fn application_of_key(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let access = api.engine.access();
    let key = access.keys().into_iter().map(|(key, _)| key).find(|key| *key.id == *id);
    let missing = || Problem::from(AccessError::Missing(Grantee::Key(id.clone())));
    let owner = key.and_then(|key| key.user).ok_or_else(missing)?;
    Ok(Json(shown(&find(access, &owner)?)))
}

fn keys_of(access: &Access, application: &UserRecord) -> Vec<KeyRecord> {
    let keys = access.keys().into_iter().map(|(key, _)| key);
    keys.filter(|key| key.user.as_ref() == Some(&application.id)).collect()
}

fn key_of(access: &Access, application: &UserRecord, id: &str) -> Result<KeyRecord, Problem> {
    let found = keys_of(access, application).into_iter().find(|key| *key.id == *id);
    found.ok_or_else(|| AccessError::Missing(Grantee::Key(id.to_owned())).into())
}

/// Lists the access keys of an application, revoked ones as inactive.
#[utoipa::path(
    get, path = "/api/applications/{id}/accessKeys", tag = "access",
    params(("id" = String, Path, description = "The id or the name")),
    responses(
        (status = 200, description = "The keys, without their secrets", body = Vec<serde_json::Value>),
        (status = 404, description = "No such application"),
    )
)]
async fn access_keys(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Vec<Value>>, Problem> {
    let access = api.engine.access();
    let keys = keys_of(access, &find(access, &id)?);
    Ok(Json(keys.iter().map(shown_key).collect()))
}

/// Creates an access key. Its secret is in this response, and nowhere else.
#[utoipa::path(
    post, path = "/api/applications/{id}/accessKeys", tag = "access",
    params(("id" = String, Path, description = "The id or the name")),
    responses(
        (status = 200, description = "The key with its secret", body = serde_json::Value),
        (status = 404, description = "No such application"),
    )
)]
async fn create_access_key(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let (access, by) = (api.engine.access(), actor.shown());
    let found = find(access, &id)?;
    let made = access.create_key_of(&found.id, "access key", None, &by, api.engine.now()).await?;
    let key = &made.record.id;
    tracing::info!(%key, application = %found.name, by, "a key was made");
    let answer = json!({ "id": key, "secret": made.text.as_str() });
    Ok((about(&found, &format!(": key:{key}")), Json(answer)))
}

/// Revokes an access key.
#[utoipa::path(
    delete, path = "/api/applications/{id}/accessKeys/{key}", tag = "access",
    params(
        ("id" = String, Path, description = "The id or the name of the application"),
        ("key" = String, Path, description = "The id of the key"),
    ),
    responses(
        (status = 200, description = "The key", body = serde_json::Value),
        (status = 404, description = "No such application or key"),
    )
)]
async fn delete_access_key(
    State(api): State<Api>,
    actor: Actor,
    Path((id, key)): Path<(String, String)>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    revoke(&api, &actor, &id, &key).await
}

async fn revoke(
    api: &Api,
    actor: &Actor,
    id: &str,
    key: &str,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let (access, by) = (api.engine.access(), actor.shown());
    let found = find(access, id)?;
    let key = key_of(access, &found, key)?.id;
    let revoked = access.revoke_key(&key, &by, api.engine.now()).await?;
    tracing::info!(%key, application = %found.name, by, "a key was revoked");
    Ok((about(&found, &format!(": key:{key}")), Json(shown_key(&revoked))))
}

/// Toggles an access key: revokes it; a revoked key stays revoked.
#[utoipa::path(
    post, path = "/api/applications/{id}/accessKeys/{key}/status", tag = "access",
    params(
        ("id" = String, Path, description = "The id or the name of the application"),
        ("key" = String, Path, description = "The id of the key"),
    ),
    responses(
        (status = 200, description = "The key", body = serde_json::Value),
        (status = 404, description = "No such application or key"),
        (status = 409, description = "The key was revoked, which cannot be undone"),
    )
)]
async fn toggle_access_key(
    State(api): State<Api>,
    actor: Actor,
    Path((id, key)): Path<(String, String)>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let access = api.engine.access();
    if key_of(access, &find(access, &id)?, &key)?.revoked_at.is_some() {
        let message = "the key was revoked, which cannot be taken back";
        return Err(Problem::conflict(message).with_hint("Make another key of the application."));
    }
    revoke(&api, &actor, &id, &key).await
}

/// Gives an application a role; `USER` and `WORKER` allow nothing by themselves.
#[utoipa::path(
    post, path = "/api/applications/{id}/roles/{role}", tag = "access",
    params(
        ("id" = String, Path, description = "The id or the name of the application"),
        ("role" = String, Path, description = "`ADMIN`, `METADATA_MANAGER`, `UNRESTRICTED_WORKER`, …"),
    ),
    responses(
        (status = 200, description = "The application as a user", body = serde_json::Value),
        (status = 400, description = "Unknown role"),
        (status = 404, description = "No such application"),
    )
)]
async fn add_role(
    State(api): State<Api>,
    actor: Actor,
    Path((id, role)): Path<(String, String)>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let access = api.engine.access();
    let found = find(access, &id)?;
    if let Some(role) = words::role(&role)? {
        let whom = Grantee::User(found.id.to_string());
        access.grant(whom, Rights::from(vec![role]), api.engine.now()).await?;
        tracing::info!(application = %found.name, %role, by = actor.shown(), "permissions granted");
    }
    let shown = shape::user(access, &find(access, &found.id)?);
    Ok((about(&found, &format!(": {role}")), Json(shown)))
}

/// Removes a role from an application; one that it does not have is not an error.
#[utoipa::path(
    delete, path = "/api/applications/{id}/roles/{role}", tag = "access",
    params(
        ("id" = String, Path, description = "The id or the name of the application"),
        ("role" = String, Path, description = "`ADMIN`, `METADATA_MANAGER`, `UNRESTRICTED_WORKER`, …"),
    ),
    responses(
        (status = 200, description = "The application as a user", body = serde_json::Value),
        (status = 400, description = "Unknown role"),
        (status = 404, description = "No such application"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn remove_role(
    State(api): State<Api>,
    actor: Actor,
    Path((id, role)): Path<(String, String)>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let access = api.engine.access();
    let found = find(access, &id)?;
    if let Some(role) = words::role(&role)?.filter(|role| found.roles.contains(role)) {
        let whom = Grantee::User(found.id.to_string());
        access.withdraw(whom, Rights::from(vec![role]), api.engine.now()).await?;
        tracing::info!(application = %found.name, %role, by = actor.shown(), "permissions revoked");
    }
    let shown = shape::user(access, &find(access, &found.id)?);
    Ok((about(&found, &format!(": without {role}")), Json(shown)))
}
