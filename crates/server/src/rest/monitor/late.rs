//! `/api/heartbeats/late`: jobs that did not call in time and do not ring yet.

use axum::Json;
use axum::extract::State;
use kernel::Timestamp;
use kernel::access::Permission;
use serde_json::{Value, json};
use utoipa_axum::routes;

use crate::Api;
use crate::access::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(late_heartbeats))
}

/// Heartbeats in one answer.
const LATE_MAX: usize = 100;

/// Lists the heartbeats whose ping is overdue and for which nobody is notified yet: within their
/// grace, or while the incident is pending. The most overdue come first.
#[utoipa::path(
    get, path = "/api/heartbeats/late", tag = "monitors",
    responses((status = 200, description = "`totalHits`, and of the first 100 `monitor`, `dueAt` and `missingFrom`: when \
        it counts as missing; null if it does already", body = serde_json::Value))
)]
async fn late_heartbeats(State(api): State<Api>) -> Json<Value> {
    let late = api.engine.late_heartbeats();
    let shown = late.iter().take(LATE_MAX).map(|it| {
        let missing_from = it.missing_from.map(Timestamp::millis);
        json!({ "monitor": it.name, "dueAt": it.due.millis(), "missingFrom": missing_from })
    });
    Json(json!({ "totalHits": late.len(), "results": shown.collect::<Vec<_>>() }))
}
