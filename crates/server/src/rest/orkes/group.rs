//! Groups and their members, as clients of Orkes call for them.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::{Extension, Json};
use engine::{Access, Described};
use kernel::access::Permission;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::super::extract::{Body, Path};
use super::{shape, words};
use crate::Api;
use crate::access::{About, Actor, Routes};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Admin, routes!(orkes_groups))
        .on(Permission::Admin, routes!(orkes_group, upsert_group, orkes_delete_group))
        .on(Permission::Admin, routes!(users_in_group, add_users, remove_users))
        .on(Permission::Admin, routes!(add_user, remove_user))
        .on(Permission::Admin, routes!(permissions_of_group))
}

fn about(group: &str, what: &str) -> Extension<About> {
    Extension(About(format!("group {group}{what}").into()))
}

/// Lists groups, in the form of Orkes.
#[utoipa::path(
    get, path = "/api/groups", tag = "access",
    responses((status = 200, description = "The groups", body = Vec<serde_json::Value>))
)]
async fn orkes_groups(State(api): State<Api>) -> Json<Vec<Value>> {
    Json(api.engine.access().groups().iter().map(shape::group).collect())
}

/// Shows a group, in the form of Orkes.
#[utoipa::path(
    get, path = "/api/groups/{id}", tag = "access",
    params(("id" = String, Path, description = "The name")),
    responses(
        (status = 200, description = "The group", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn orkes_group(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(shape::group(&api.engine.access().group(&id)?)))
}

/// What a group is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UpsertGroup {
    /// What it is for.
    #[serde(default)]
    description: Option<String>,
    /// All roles: `ADMIN`, `METADATA_MANAGER`, `WORKFLOW_MANAGER`, `USER_READ_ONLY`, `USER`, …
    #[serde(default)]
    roles: Vec<String>,
    /// Must be empty: objects have no owners here.
    #[serde(default)]
    #[schema(value_type = Object)]
    default_access: Option<BTreeMap<String, Vec<String>>>,
}

/// Creates or changes a group.
#[utoipa::path(
    put, path = "/api/groups/{id}", tag = "access", request_body = UpsertGroup,
    params(("id" = String, Path, description = "The name")),
    responses(
        (status = 200, description = "The group", body = serde_json::Value),
        (status = 400, description = "Invalid; the response says why"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn upsert_group(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Body(wanted): Body<UpsertGroup>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    if wanted.default_access.is_some_and(|it| it.values().any(|accesses| !accesses.is_empty())) {
        let message = "'defaultAccess' is not enforced: what somebody makes belongs to nobody here";
        return Err(Problem::bad_request(message).with_hint(
            "Grant the group what it needs by name or tag, with /api/auth/authorization.",
        ));
    }
    let roles = words::roles(&wanted.roles)?;
    let label = wanted.description.filter(|label| *label != id).map(Into::into);
    let described = Described { name: id, label, roles, groups: None };
    let by = actor.shown();
    let group = api.engine.access().upsert_group(described, &by, api.engine.now()).await?;
    tracing::info!(group = %group.name, id = %group.id, by, "a group was created or changed");
    Ok((about(&group.name, ""), Json(shape::group(&group))))
}

/// Deletes a group; its members lose its grants at once.
#[utoipa::path(
    delete, path = "/api/groups/{id}", tag = "access",
    params(("id" = String, Path, description = "The name")),
    responses(
        (status = 200, description = "The group as it was", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn orkes_delete_group(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let group = api.engine.access().delete_group(&id, api.engine.now()).await?;
    tracing::info!(group = %group.name, id = %group.id, by = actor.shown(), "a group was deleted");
    Ok(Json(shape::group(&group)))
}

fn members(access: &Access, id: &str) -> Result<Vec<Value>, Problem> {
    let group = access.group(id)?;
    let users = access.members(&group.id).into_iter().filter_map(|name| access.user(&name).ok());
    Ok(users.map(|(user, _)| shape::user(access, &user)).collect())
}

/// Lists the members of a group.
#[utoipa::path(
    get, path = "/api/groups/{id}/users", tag = "access",
    params(("id" = String, Path, description = "The name of the group")),
    responses(
        (status = 200, description = "The users", body = Vec<serde_json::Value>),
        (status = 404, description = "No such group"),
    )
)]
async fn users_in_group(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Vec<Value>>, Problem> {
    Ok(Json(members(api.engine.access(), &id)?))
}

/// Adds users to a group, one after the other.
#[utoipa::path(
    post, path = "/api/groups/{id}/users", tag = "access", request_body = Vec<String>,
    params(("id" = String, Path, description = "The name of the group")),
    responses(
        (status = 200, description = "The members", body = Vec<serde_json::Value>),
        (status = 404, description = "No such group or user; the users before it were added"),
    )
)]
async fn add_users(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Body(users): Body<Vec<String>>,
) -> Result<(Extension<About>, Json<Vec<Value>>), Problem> {
    let access = api.engine.access();
    for user in &users {
        access.add_member(&id, shape::name_of(user), api.engine.now()).await?;
    }
    let by = actor.shown();
    tracing::info!(group = id, users = users.join(", "), by, "users were added to a group");
    Ok((about(&id, &format!(" with {}", users.join(", "))), Json(members(access, &id)?)))
}

/// Removes users from a group, one after the other.
#[utoipa::path(
    delete, path = "/api/groups/{id}/users", tag = "access", request_body = Vec<String>,
    params(("id" = String, Path, description = "The name of the group")),
    responses(
        (status = 200, description = "The members", body = Vec<serde_json::Value>),
        (status = 404, description = "No such group, or a user is not in it; the users before it were removed"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn remove_users(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Body(users): Body<Vec<String>>,
) -> Result<(Extension<About>, Json<Vec<Value>>), Problem> {
    let access = api.engine.access();
    for user in &users {
        access.remove_member(&id, shape::name_of(user), api.engine.now()).await?;
    }
    let by = actor.shown();
    tracing::info!(group = id, users = users.join(", "), by, "users were removed from a group");
    Ok((about(&id, &format!(" without {}", users.join(", "))), Json(members(access, &id)?)))
}

/// Adds a user to a group.
#[utoipa::path(
    post, path = "/api/groups/{id}/users/{user}", tag = "access",
    params(
        ("id" = String, Path, description = "The name of the group"),
        ("user" = String, Path, description = "The name of the user, or app:ID"),
    ),
    responses(
        (status = 200, description = "The members", body = Vec<serde_json::Value>),
        (status = 404, description = "No such group or user"),
    )
)]
async fn add_user(
    state: State<Api>,
    actor: Actor,
    Path((id, user)): Path<(String, String)>,
) -> Result<(Extension<About>, Json<Vec<Value>>), Problem> {
    add_users(state, actor, Path(id), Body(vec![user])).await
}

/// Removes a user from a group.
#[utoipa::path(
    delete, path = "/api/groups/{id}/users/{user}", tag = "access",
    params(
        ("id" = String, Path, description = "The name of the group"),
        ("user" = String, Path, description = "The name of the user, or app:ID"),
    ),
    responses(
        (status = 200, description = "The members", body = Vec<serde_json::Value>),
        (status = 404, description = "No such group or user, or the user is not in it"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn remove_user(
    state: State<Api>,
    actor: Actor,
    Path((id, user)): Path<(String, String)>,
) -> Result<(Extension<About>, Json<Vec<Value>>), Problem> {
    remove_users(state, actor, Path(id), Body(vec![user])).await
}

/// Lists the grants of a group.
#[utoipa::path(
    get, path = "/api/groups/{id}/permissions", tag = "access",
    params(("id" = String, Path, description = "The name of the group")),
    responses(
        (status = 200, description = "Targets, and what is allowed on each", body = serde_json::Value),
        (status = 404, description = "No such group"),
    )
)]
async fn permissions_of_group(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(words::granted(&api.engine.access().group(&id)?.grants)))
}
