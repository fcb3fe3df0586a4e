//! `/api/access/sessions`: who is signed in, and the end of that by an administrator.
#![allow(unused_qualifications, reason = "the macros that describe paths write types out in full")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use kernel::Timestamp;
use kernel::access::Permission;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::{Authorizer, Routes};
use crate::Api;
use crate::problem::Problem;
use crate::rest::extract::Query;

/// The paths of those who keep an eye on sessions.
pub(crate) fn routes() -> Routes {
    Routes::new().on(Permission::Admin, routes!(list_sessions, end_sessions))
}

/// Lists the sessions of browsers and command lines: user, start, and last use. Requests with a key
/// in a header have no session.
#[utoipa::path(
    get, path = "/api/access/sessions", tag = "access",
    responses((status = 200, description = "`who` (`user:ID` or `key:ID`), `kind` (`browser` or `command-line`), \
        `openedAt` and `usedAt` of each", body = Vec<serde_json::Value>))
)]
async fn list_sessions(
    State(api): State<Api>,
    State(authorizer): State<Arc<Authorizer>>,
) -> Json<Vec<Value>> {
    let now = api.engine.now();
    let ago = |it: Duration| -> Timestamp {
        now.plus_millis(-i64::try_from(it.as_millis()).unwrap_or(i64::MAX))
    };
    let sessions = authorizer.sessions.each(Instant::now());
    let shown = sessions.iter().map(|it| {
        json!({
            "who": it.principal,
            "kind": if it.is_browser { "browser" } else { "command-line" },
            "openedAt": ago(it.opened).millis(),
            "usedAt": ago(it.used).millis(),
        })
    });
    Json(shown.collect())
}

#[derive(Debug, Deserialize, IntoParams)]
struct EndParams {
    /// Whose sessions, in the form of the list: `user:ID` or `key:ID`.
    who: String,
}

/// Ends all sessions of a user: their browsers and command lines have to sign in again. Keys stay
/// valid.
#[utoipa::path(
    delete, path = "/api/access/sessions", tag = "access", params(EndParams),
    responses(
        (status = 200, description = "The sessions were ended; their number", body = serde_json::Value),
        (status = 404, description = "The user has no session"),
    )
)]
async fn end_sessions(
    State(authorizer): State<Arc<Authorizer>>,
    Query(params): Query<EndParams>,
) -> Result<Json<Value>, Problem> {
    let sessions = authorizer.sessions.each(Instant::now());
    let count = sessions.iter().filter(|it| *it.principal == *params.who).count();
    if count == 0 {
        return Err(Problem::not_found("nobody is signed in under this id")
            .with_hint("GET /api/access/sessions lists who is."));
    }
    authorizer.sessions.close_all(&params.who);
    Ok(Json(json!({ "ended": count })))
}
