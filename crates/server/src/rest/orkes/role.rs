//! The roles that there are, in Orkes' words.

use std::collections::BTreeMap;

use axum::Json;
use kernel::access::Need;
use serde_json::Value;
use utoipa_axum::routes;

use super::super::extract::Path;
use super::words;
use crate::access::Routes;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Need::Anyone, routes!(orkes_roles))
        .on(Need::Anyone, routes!(system_roles))
        .on(Need::Anyone, routes!(custom_roles))
        .on(Need::Anyone, routes!(orkes_role))
}

/// Lists the roles with what each may do.
#[utoipa::path(
    get, path = "/api/roles", tag = "access",
    responses((status = 200, description = "The roles", body = Vec<serde_json::Value>))
)]
async fn orkes_roles() -> Json<Vec<Value>> {
    Json(words::all_roles().map(words::shown_role).collect())
}

/// Lists the roles by name, with what each may do.
#[utoipa::path(
    get, path = "/api/roles/system", tag = "access",
    responses((status = 200, description = "The roles", body = serde_json::Value))
)]
async fn system_roles() -> Json<BTreeMap<&'static str, Value>> {
    Json(words::all_roles().map(|name| (name, words::shown_role(name))).collect())
}

/// Lists custom roles: always empty, because custom roles are not supported.
#[utoipa::path(
    get, path = "/api/roles/custom", tag = "access",
    responses((status = 200, description = "An empty list", body = Vec<serde_json::Value>))
)]
async fn custom_roles() -> Json<[Value; 0]> {
    Json([])
}

/// Shows a role.
#[utoipa::path(
    get, path = "/api/roles/{name}", tag = "access",
    params(("name" = String, Path, description = "Such as `USER_READ_ONLY`")),
    responses(
        (status = 200, description = "The role", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn orkes_role(Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    if words::role(&name).is_err() {
        return Err(Problem::not_found(format!("there is no role '{name}'"))
            .with_hint("GET /api/roles lists them; roles of one's own cannot be made."));
    }
    Ok(Json(words::shown_role(&name)))
}
