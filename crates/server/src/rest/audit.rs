//! The audit ledger: who changed what, who was refused, and who came in.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::response::{IntoResponse, Response};
use engine::AuditSearch;
use kernel::access::Permission;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::extract::Query;
use super::query::instant;
use crate::Api;
use crate::access::Routes;
use crate::ledger::SigningKey;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Audit, routes!(audit_lines))
        .on(Permission::Audit, routes!(audit_key))
}

/// In answers: `before` of the next page.
const NEXT: HeaderName = HeaderName::from_static("x-next-before");

/// Lines when nobody says how many.
const SIZE: u64 = 100;

#[derive(Debug, Deserialize, IntoParams)]
struct AuditParams {
    /// Only lines with greater numbers, oldest first, 500 at a time; 0 starts with the oldest.
    /// Without it the newest lines are returned, newest first.
    after: Option<u64>,
    /// How many of the newest; default 100, at most 500.
    size: Option<u64>,
    /// Only lines whose action or object contains this, and their outcomes. One request searches
    /// ten thousand lines; if there are more, the response header `x-next-before` has the value of
    /// `before` for the next request.
    object: Option<String>,
    /// Only lines with smaller numbers: `x-next-before` of the previous page.
    before: Option<u64>,
    /// Only lines of this time and later: milliseconds since 1970 or a time.
    from: Option<String>,
    /// Only earlier lines.
    to: Option<String>,
}

/// Shows lines of the audit ledger. `line` is the text, JSON, over which `hash` was made together
/// with `before`, the hash of the line before: `nightbell audit export --verify` checks them. The
/// header `x-next-before` is set if there are older lines.
#[utoipa::path(
    get, path = "/api/audit", tag = "access", params(AuditParams),
    responses(
        (status = 200, description = "The lines", body = Vec<serde_json::Value>),
        (status = 400, description = "A time cannot be read"),
    )
)]
async fn audit_lines(
    State(api): State<Api>,
    Query(params): Query<AuditParams>,
) -> Result<Response, Problem> {
    let audit = api.engine.audit();
    let AuditParams { after, size, object, before, from, to } = params;
    let time = |name: &str, text: Option<String>| text.map(|it| instant(name, &it)).transpose();
    let wanted = AuditSearch {
        object: object.filter(|it| !it.trim().is_empty()),
        from: time("from", from)?,
        to: time("to", to)?,
        before,
        size: size.unwrap_or(SIZE),
    };
    let is_narrowed = wanted.object.is_some()
        || wanted.from.is_some()
        || wanted.to.is_some()
        || wanted.before.is_some();
    match after {
        Some(_) if is_narrowed => {
            let message =
                "'after' goes through all lines: leave out 'object', 'before', 'from' and 'to'";
            Err(Problem::bad_request(message))
        }
        Some(number) => Ok(Json(audit.after(number).await?).into_response()),
        None => {
            let page = audit.newest(&wanted).await?;
            let mut response = Json(page.lines).into_response();
            if let Some(next) = page.next {
                response.headers_mut().insert(NEXT, next.into());
            }
            Ok(response)
        }
    }
}

/// Shows the key by which the head of the ledger is signed each hour. A line whose act is `sign` has the
/// number and the hash of an earlier line as its object, and in `signature`, in base64, the signature of
/// that text.
#[utoipa::path(
    get, path = "/api/audit/key", tag = "access",
    responses((status = 200, description = "`algorithm`, and `publicKey` in PEM", body = serde_json::Value))
)]
async fn audit_key(State(api): State<Api>) -> Json<Value> {
    let key = SigningKey::of(&api.engine);
    Json(json!({ "algorithm": "Ed25519", "publicKey": key.public() }))
}
