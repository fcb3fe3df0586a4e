//! Users and groups for administrators.

use axum::extract::State;
use axum::{Extension, Json};
use engine::{GroupRecord, NewUser, UserRecord};
use kernel::Timestamp;
use kernel::access::Permission;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::access::rights;
use super::extract::{Body, Path};
use crate::Api;
use crate::access::{About, Actor, Routes};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Admin, routes!(users, create_user))
        .on(Permission::Admin, routes!(user, delete_user))
        .on(Permission::Admin, routes!(disable_user))
        .on(Permission::Admin, routes!(enable_user))
        .on(Permission::Admin, routes!(set_password))
        .on(Permission::Admin, routes!(groups, create_group))
        .on(Permission::Admin, routes!(group, delete_group))
        .on(Permission::Admin, routes!(add_member, remove_member))
}

/// A user to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserRequest {
    /// The name to sign in with: letters, digits and `. _ @ + -`; upper and lower case are the
    /// same.
    name: String,
    /// The password, of 12 characters at least; without one, nobody can sign in as this user with a
    /// password yet.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    password: Option<Zeroizing<String>>,
    /// Roles in addition to those of the groups.
    #[serde(default)]
    roles: Vec<String>,
    /// Selectors that narrow the roles, such as `hub=sales`; without any they hold for everything.
    #[serde(default)]
    on: Vec<String>,
    /// Names of groups.
    #[serde(default)]
    groups: Vec<String>,
}

/// Lists all users, without their passwords.
#[utoipa::path(
    operation_id = "list_users", get, path = "/api/access/users", tag = "access",
    responses((status = 200, description = "The users", body = Vec<serde_json::Value>))
)]
async fn users(State(api): State<Api>) -> Json<Vec<Value>> {
    let users = api.engine.access().users().into_iter();
    Json(users.map(|(user, seen)| shown(&api, &user, seen)).collect())
}

/// Creates a user.
#[utoipa::path(
    post, path = "/api/access/users", tag = "access", request_body = UserRequest,
    responses(
        (status = 200, description = "The user", body = serde_json::Value),
        (status = 400, description = "Invalid; the response says why"),
        (status = 404, description = "No such group"),
        (status = 409, description = "The name is taken"),
    )
)]
async fn create_user(
    State(api): State<Api>,
    actor: Actor,
    Body(wanted): Body<UserRequest>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let UserRequest { name, password, roles, on, groups } = wanted;
    let rights = rights(&roles, &on)?;
    let by = actor.shown();
    let wanted = NewUser { name, password, rights, groups, ..NewUser::default() };
    let made = api.engine.access().create_user(wanted, &by, api.engine.now()).await?;
    tracing::info!(user = %made.name, id = %made.id, by, "a user was created");
    let about = About(format!("user {}", made.name).into());
    Ok((Extension(about), Json(shown(&api, &made, None))))
}

/// Shows a user.
#[utoipa::path(
    get, path = "/api/access/users/{name}", tag = "access",
    params(("name" = String, Path, description = "The name or the id")),
    responses(
        (status = 200, description = "The user", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn user(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let (user, seen) = api.engine.access().user(&name)?;
    Ok(Json(shown(&api, &user, seen)))
}

/// Deletes a user: sessions, tokens and keys end at once.
#[utoipa::path(
    delete, path = "/api/access/users/{name}", tag = "access",
    params(("name" = String, Path, description = "The name or the id")),
    responses(
        (status = 200, description = "The user as it was", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn delete_user(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let user = api.engine.access().delete_user(&name, api.engine.now()).await?;
    tracing::info!(user = %user.name, id = %user.id, by = actor.shown(), "a user was deleted");
    Ok(Json(shown(&api, &user, None)))
}

/// Disables a user: sessions and tokens end, and keys are refused until the user is enabled again.
#[utoipa::path(
    post, path = "/api/access/users/{name}/disable", tag = "access",
    params(("name" = String, Path, description = "The name or the id")),
    responses(
        (status = 200, description = "The user", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn disable_user(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let by = actor.shown();
    let user = api.engine.access().disable_user(&name, &by, api.engine.now()).await?;
    tracing::info!(user = %user.name, id = %user.id, by, "a user was disabled");
    Ok(Json(shown(&api, &user, None)))
}

/// Enables a disabled user again.
#[utoipa::path(
    post, path = "/api/access/users/{name}/enable", tag = "access",
    params(("name" = String, Path, description = "The name or the id")),
    responses(
        (status = 200, description = "The user", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn enable_user(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let user = api.engine.access().enable_user(&name, api.engine.now()).await?;
    tracing::info!(user = %user.name, id = %user.id, by = actor.shown(), "a user was enabled");
    Ok(Json(shown(&api, &user, None)))
}

/// A password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordRequest {
    /// The password, of 12 characters at least.
    #[schema(value_type = String)]
    password: Zeroizing<String>,
}

/// Sets the password of a user: sessions and tokens end at once.
#[utoipa::path(
    put, path = "/api/access/users/{name}/password", tag = "access", request_body = PasswordRequest,
    params(("name" = String, Path, description = "The name or the id")),
    responses(
        (status = 200, description = "The user", body = serde_json::Value),
        (status = 400, description = "The password breaks the rule"),
        (status = 404, description = "Not found"),
    )
)]
async fn set_password(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
    Body(wanted): Body<PasswordRequest>,
) -> Result<Json<Value>, Problem> {
    let access = api.engine.access();
    let user = access.set_password(&name, wanted.password, api.engine.now()).await?;
    tracing::info!(user = %user.name, id = %user.id, by = actor.shown(), "a password was set");
    Ok(Json(shown(&api, &user, None)))
}

/// A user as it may be shown.
fn shown(api: &Api, user: &UserRecord, seen: Option<Timestamp>) -> Value {
    let millis = |at: Option<Timestamp>| at.map(Timestamp::millis);
    json!({
        "id": format!("user:{}", user.id),
        "name": user.name,
        "label": user.label,
        "application": user.application,
        "status": if user.is_enabled() { "ENABLED" } else { "DISABLED" },
        "roles": user.roles,
        "grants": user.grants,
        "groups": api.engine.access().groups_of(user),
        "hasPassword": user.has_password(),
        "identity": user.identity,
        "passwordAt": millis(user.password_at),
        "createdAt": user.created_at.millis(),
        "createdBy": user.created_by,
        "disabledAt": millis(user.disabled_at),
        "disabledBy": user.disabled_by,
        "seenAt": millis(seen),
    })
}

/// A group to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GroupRequest {
    /// Its name: letters, digits and `. _ @ + -`; upper and lower case are the same.
    name: String,
    /// Roles of its members.
    #[serde(default)]
    roles: Vec<String>,
    /// Selectors that narrow the roles, such as `hub=sales`; without any they hold for everything.
    #[serde(default)]
    on: Vec<String>,
}

/// Lists all groups with their members.
#[utoipa::path(
    operation_id = "list_groups", get, path = "/api/access/groups", tag = "access",
    responses((status = 200, description = "The groups", body = Vec<serde_json::Value>))
)]
async fn groups(State(api): State<Api>) -> Json<Vec<Value>> {
    let groups = api.engine.access().groups();
    Json(groups.iter().map(|group| shown_group(&api, group)).collect())
}

/// Creates a group.
#[utoipa::path(
    post, path = "/api/access/groups", tag = "access", request_body = GroupRequest,
    responses(
        (status = 200, description = "The group", body = serde_json::Value),
        (status = 400, description = "Invalid; the response says why"),
        (status = 409, description = "The name is taken"),
    )
)]
async fn create_group(
    State(api): State<Api>,
    actor: Actor,
    Body(wanted): Body<GroupRequest>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let rights = rights(&wanted.roles, &wanted.on)?;
    let (by, now) = (actor.shown(), api.engine.now());
    let group = api.engine.access().create_group(&wanted.name, rights, &by, now).await?;
    tracing::info!(group = %group.name, id = %group.id, by, "a group was created");
    let about = About(format!("group {}", group.name).into());
    Ok((Extension(about), Json(shown_group(&api, &group))))
}

/// Shows a group.
#[utoipa::path(
    get, path = "/api/access/groups/{name}", tag = "access",
    params(("name" = String, Path, description = "The name or the id")),
    responses(
        (status = 200, description = "The group", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn group(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    Ok(Json(shown_group(&api, &api.engine.access().group(&name)?)))
}

/// Deletes a group; its members lose its grants at once.
#[utoipa::path(
    delete, path = "/api/access/groups/{name}", tag = "access",
    params(("name" = String, Path, description = "The name or the id")),
    responses(
        (status = 200, description = "The group as it was", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn delete_group(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let group = api.engine.access().delete_group(&name, api.engine.now()).await?;
    tracing::info!(group = %group.name, id = %group.id, by = actor.shown(), "a group was deleted");
    Ok(Json(shown_group(&api, &group)))
}

/// Adds a user to a group; its grants take effect at the user's next request.
#[utoipa::path(
    put, path = "/api/access/groups/{name}/members/{user}", tag = "access",
    params(
        ("name" = String, Path, description = "The name or the id of the group"),
        ("user" = String, Path, description = "The name or the id of the user"),
    ),
    responses(
        (status = 200, description = "The group", body = serde_json::Value),
        (status = 404, description = "No such group or user"),
    )
)]
async fn add_member(
    State(api): State<Api>,
    actor: Actor,
    Path((name, user)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let access = api.engine.access();
    let user = access.add_member(&name, &user, api.engine.now()).await?;
    let group = access.group(&name)?;
    let by = actor.shown();
    tracing::info!(group = %group.name, user = %user.name, by, "a user was added to a group");
    Ok(Json(shown_group(&api, &group)))
}

/// Removes a user from a group; its grants end at the user's next request.
#[utoipa::path(
    delete, path = "/api/access/groups/{name}/members/{user}", tag = "access",
    params(
        ("name" = String, Path, description = "The name or the id of the group"),
        ("user" = String, Path, description = "The name or the id of the user"),
    ),
    responses(
        (status = 200, description = "The group", body = serde_json::Value),
        (status = 404, description = "No such group or user, or the user is not in it"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn remove_member(
    State(api): State<Api>,
    actor: Actor,
    Path((name, user)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let access = api.engine.access();
    let user = access.remove_member(&name, &user, api.engine.now()).await?;
    let group = access.group(&name)?;
    let by = actor.shown();
    tracing::info!(group = %group.name, user = %user.name, by, "a user was removed from a group");
    Ok(Json(shown_group(&api, &group)))
}

/// A group as it may be shown.
fn shown_group(api: &Api, group: &GroupRecord) -> Value {
    json!({
        "id": format!("group:{}", group.id),
        "name": group.name,
        "label": group.label,
        "roles": group.roles,
        "grants": group.grants,
        "members": api.engine.access().members(&group.id),
        "createdAt": group.created_at.millis(),
        "createdBy": group.created_by,
    })
}
