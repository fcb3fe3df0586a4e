//! `/api/admin`: what the server runs with, and what is done for it: its files are read again, its store is
//! backed up.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::Timestamp;
use kernel::access::Permission;
use serde_json::{Value, json};
use utoipa_axum::routes;

use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;
use crate::upkeep::{Backups, Upkeep};

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Admin, routes!(effective_settings))
        .on(Permission::Admin, routes!(reload))
        .on(Permission::Admin, routes!(backups, back_up))
}

fn known(api: &Api) -> Result<Arc<dyn Upkeep>, Problem> {
    let known = api.settings.upkeep.clone();
    known.ok_or_else(|| Problem::conflict("this server does not know how it was started"))
}

/// Lists every setting in effect, and where its value came from; passwords are masked.
#[utoipa::path(
    get, path = "/api/admin/settings", tag = "admin",
    responses((status = 200, description = "`key`, `value` and `origin` of each", body = Vec<serde_json::Value>))
)]
async fn effective_settings(State(api): State<Api>) -> Result<Json<Vec<Value>>, Problem> {
    let upkeep = known(&api)?;
    let shown = upkeep
        .settings()
        .iter()
        .map(|it| json!({ "key": it.key, "value": it.value, "origin": it.origin }));
    Ok(Json(shown.collect()))
}

/// Reads the certificate and the files of `--load` again, as SIGHUP does, and returns when that is
/// done. Files that are refused are listed in `/health`. Settings are read at start only.
#[utoipa::path(
    post, path = "/api/admin/reload", tag = "admin",
    responses((status = 200, description = "Reloaded"))
)]
async fn reload(State(api): State<Api>) -> Result<(), Problem> {
    known(&api)?.reload().await.map_err(Problem::conflict)
}

/// Shows the state of backups: the newest, and whether one is running.
#[utoipa::path(
    get, path = "/api/admin/backup", tag = "admin",
    responses((status = 200, description = "`folder`, `last` (`file`, `at`, `bytes`), `runningSince`, `failure`, and \
        `whyNot` if this server makes none", body = serde_json::Value))
)]
async fn backups(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    let backups = known(&api)?.backups();
    Ok(Json(shown(&backups)))
}

/// Starts a backup of the store into the folder of the setting `backup_dir`. The server keeps
/// working meanwhile.
#[utoipa::path(
    post, path = "/api/admin/backup", tag = "admin",
    responses(
        (status = 202, description = "Started; the response is that of GET", body = serde_json::Value),
        (status = 409, description = "Not started; the response says why"),
    )
)]
async fn back_up(State(api): State<Api>) -> Result<(StatusCode, Json<Value>), Problem> {
    let upkeep = known(&api)?;
    upkeep.back_up().map_err(Problem::conflict)?;
    Ok((StatusCode::ACCEPTED, Json(shown(&upkeep.backups()))))
}

/// Backups as they are told.
pub(crate) fn shown(backups: &Backups) -> Value {
    let Backups { why_not, folder, last, running_since, failure } = backups;
    json!({
        "whyNot": why_not,
        "folder": folder,
        "last": last.as_ref().map(|it| {
            json!({ "file": it.file, "at": it.at.millis(), "bytes": it.bytes })
        }),
        "runningSince": running_since.map(Timestamp::millis),
        "failure": failure,
    })
}
