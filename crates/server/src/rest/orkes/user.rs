//! Users, as clients of Orkes call for them.

use axum::extract::State;
use axum::{Extension, Json};
use engine::Described;
use kernel::access::{Permission, Permissions, Tag};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::super::extract::{Body, Path, Query};
use super::super::tags;
use super::{shape, words};
use crate::Api;
use crate::access::{About, Actor, Routes};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Admin, routes!(orkes_users))
        .on(Permission::Admin, routes!(orkes_user, upsert_user, orkes_delete_user))
        .on(Permission::Admin, routes!(permissions_of_user))
        .on(Permission::Admin, routes!(check_permissions))
}

/// Which users.
#[derive(Debug, Deserialize, IntoParams)]
struct Which {
    /// Whether to include those of applications: `true`, in upper or lower case.
    #[serde(default)]
    apps: String,
}

/// Lists users, in the form of Orkes.
#[utoipa::path(
    get, path = "/api/users", tag = "access", params(Which),
    responses((status = 200, description = "The users", body = Vec<serde_json::Value>))
)]
async fn orkes_users(State(api): State<Api>, Query(which): Query<Which>) -> Json<Vec<Value>> {
    let access = api.engine.access();
    let users = access.users().into_iter().map(|(user, _)| user);
    let has_applications = which.apps.eq_ignore_ascii_case("true");
    let users = users.filter(|user| has_applications || !user.application);
    Json(users.map(|user| shape::user(access, &user)).collect())
}

/// Shows a user, in the form of Orkes.
#[utoipa::path(
    get, path = "/api/users/{id}", tag = "access",
    params(("id" = String, Path, description = "The name of the user")),
    responses(
        (status = 200, description = "The user", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn orkes_user(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let access = api.engine.access();
    Ok(Json(shape::user(access, &access.user(shape::name_of(&id))?.0)))
}

/// What a user is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UpsertUser {
    /// The display name of the user.
    #[serde(default)]
    name: Option<String>,
    /// All roles: `ADMIN`, `METADATA_MANAGER`, `WORKFLOW_MANAGER`, `USER_READ_ONLY`, `USER`, …
    #[serde(default)]
    roles: Vec<String>,
    /// All groups; absent = unchanged.
    #[serde(default)]
    groups: Option<Vec<String>>,
}

/// Creates or changes a user. The password is set elsewhere; without one the user authenticates
/// with keys or by single sign-on.
#[utoipa::path(
    put, path = "/api/users/{id}", tag = "access", request_body = UpsertUser,
    params(("id" = String, Path, description = "The name of the user")),
    responses(
        (status = 200, description = "The user", body = serde_json::Value),
        (status = 400, description = "Invalid; the response says why"),
        (status = 404, description = "No such group"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn upsert_user(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Body(wanted): Body<UpsertUser>,
) -> Result<(Extension<About>, Json<Value>), Problem> {
    let (access, by) = (api.engine.access(), actor.shown());
    let label = wanted.name.filter(|name| *name != id).map(Into::into);
    let roles = words::roles(&wanted.roles)?;
    let described = Described { name: id, label, roles, groups: wanted.groups };
    let user = access.upsert_user(described, &by, api.engine.now()).await?;
    tracing::info!(user = %user.name, id = %user.id, by, "a user was created or changed");
    let about = About(format!("user {}", user.name).into());
    Ok((Extension(about), Json(shape::user(access, &user))))
}

/// Deletes a user: sessions, tokens and keys end at once.
#[utoipa::path(
    delete, path = "/api/users/{id}", tag = "access",
    params(("id" = String, Path, description = "The name of the user")),
    responses(
        (status = 200, description = "The user as it was", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "No administrator would be left"),
    )
)]
async fn orkes_delete_user(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let access = api.engine.access();
    let user = access.delete_user(shape::name_of(&id), api.engine.now()).await?;
    tracing::info!(user = %user.name, id = %user.id, by = actor.shown(), "a user was deleted");
    Ok(Json(shape::user(access, &user)))
}

/// Lists the grants of a user, without those of their groups.
#[utoipa::path(
    get, path = "/api/users/{id}/permissions", tag = "access",
    params(("id" = String, Path, description = "The name of the user")),
    responses(
        (status = 200, description = "Targets, and what is allowed on each", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn permissions_of_user(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let (user, _) = api.engine.access().user(shape::name_of(&id))?;
    Ok(Json(words::granted(&user.grants)))
}

/// What may be done to one thing.
#[derive(Debug, Deserialize, IntoParams)]
struct Thing {
    /// `WORKFLOW_DEF` or `TASK_DEF`.
    #[serde(rename = "type")]
    kind: String,
    /// Its name.
    id: String,
}

/// Lists the accesses of a user to a definition, by all roles and grants.
#[utoipa::path(
    get, path = "/api/users/{user}/checkPermissions", tag = "access",
    params(("user" = String, Path, description = "The name of the user"), Thing),
    responses(
        (status = 200, description = "Each access, and whether it is allowed", body = serde_json::Value),
        (status = 400, description = "The target is neither a workflow nor a task definition"),
        (status = 404, description = "No such user"),
    )
)]
async fn check_permissions(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(Thing { kind, id: thing }): Query<Thing>,
) -> Result<Json<Value>, Problem> {
    let access = api.engine.access();
    let (user, _) = access.user(shape::name_of(&id))?;
    let gone = || Problem::not_found("the user was deleted meanwhile");
    let who = access.inspect(&format!("user:{}", user.id)).ok_or_else(gone)?;
    let of = |permission| Permissions::of(&[permission]);
    let edits = who.may(Permission::Edit);
    let (read, execute) = match kind.as_str() {
        "WORKFLOW_DEF" => {
            let tags = tags::of(&api.engine, tags::Resource::WorkflowDef, &thing).await?;
            let has = |tag: &Tag| tags.iter().any(|it| it.is(&tag.key, &tag.value));
            let may = |permission| who.covers_workflow(of(permission), &thing, has);
            (may(Permission::Read), may(Permission::Run))
        }
        "TASK_DEF" => {
            let reads = who.may(Permission::Read);
            (reads, who.covers_task(of(Permission::Work), &thing, None))
        }
        kind => {
            let message =
                format!("permissions are told on WORKFLOW_DEF and TASK_DEF, not on '{kind}'");
            return Err(Problem::bad_request(message));
        }
    };
    Ok(Json(json!({
        "READ": read, "EXECUTE": execute, "CREATE": edits, "UPDATE": edits, "DELETE": edits,
    })))
}
