//! The audit ledger: who changed what, who was refused, and who came in.

use axum::Json;
use axum::extract::State;
use engine::AuditLine;
use kernel::access::Permission;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::extract::Query;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Audit, routes!(audit_lines))
}

/// Lines when nobody says how many.
const SIZE: u64 = 100;

#[derive(Debug, Deserialize, IntoParams)]
struct AuditParams {
    /// Only lines with greater numbers, oldest first, 500 at a time; 0 begins with the oldest. Without
    /// it the newest lines are answered, newest first.
    after: Option<u64>,
    /// How many of the newest; default 100, at most 500.
    size: Option<u64>,
}

/// Shows lines of the audit ledger. `line` is the text, JSON, over which `hash` was made together with
/// `before`, the hash of the line before: `nightbell audit export --verify` checks them.
#[utoipa::path(
    get, path = "/api/audit", tag = "access", params(AuditParams),
    responses((status = 200, description = "The lines", body = Vec<serde_json::Value>))
)]
async fn audit_lines(
    State(api): State<Api>,
    Query(params): Query<AuditParams>,
) -> Result<Json<Vec<AuditLine>>, Problem> {
    let audit = api.engine.audit();
    Ok(Json(match params.after {
        Some(number) => audit.after(number).await?,
        None => audit.newest(params.size.unwrap_or(SIZE)).await?,
    }))
}
