//! `/api/receivers` and `/api/deliveries`: who is told, whether it arrives, and what did.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use engine::search::RecordSearch;
use kernel::access::Permission;
use kernel::alert::definition::FALLBACK_AFTER;
use kernel::graph::{Execution, Status};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::extract::{Path, Query};
use super::{ByParams, page_size, view};
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(list))
        .on(Permission::Edit, routes!(test))
        .on(Permission::Respond, routes!(resend))
        .on(Permission::Read, routes!(inbox))
}

/// How long a test waits for its end before it answers that it goes on.
const WAIT: Duration = Duration::from_secs(30);

/// Lists receivers; secret settings are masked.
#[utoipa::path(
    operation_id = "list_receivers", get, path = "/api/receivers", tag = "receivers",
    responses((status = 200, description = "The receivers", body = Vec<serde_json::Value>))
)]
async fn list(State(api): State<Api>) -> Json<Value> {
    let file = api.engine.monitors_file();
    let broken = api.engine.broken_receivers();
    let shown = file.receivers.iter().map(|(name, receiver)| {
        let broken = broken.get(name).map(view::broken_receiver);
        json!({
            "status": if broken.is_some() { "BROKEN" } else { "OK" },
            "broken": broken,
            "fallbackAfter": receiver.fallback.as_ref().map(|_| {
                receiver.fallback_after.unwrap_or(FALLBACK_AFTER)
            }),
            "rate": receiver.rate,
            "name": name,
            "kind": receiver.kind,
            "settings": view::masked(receiver.settings.parse()),
            "fallback": receiver.fallback,
            "source": api.engine.source_of_receiver(name),
        })
    });
    Json(shown.collect())
}

/// Sends a test notification to a receiver and returns its response. A test that does not arrive at
/// once is retried like any delivery.
#[utoipa::path(
    post, path = "/api/receivers/{name}/test", tag = "receivers",
    params(("name" = String, Path, description = "The name of the receiver"), ByParams),
    responses(
        (status = 200, description = "The outcome so far", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn test(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
    Query(params): Query<ByParams>,
) -> Result<Json<Value>, Problem> {
    let missing = || Problem::not_found(format!("there is no receiver {name}"));
    if !api.engine.monitors_file().receivers.contains_key(&*name) {
        return Err(missing());
    }
    let by = actor.if_told(params.by);
    let id = api.engine.test_receiver(&name, by.as_deref()).await?.ok_or_else(missing)?;
    let mut changes = api.engine.watch(&id);
    let deadline = tokio::time::Instant::now() + WAIT;
    loop {
        let look = |it: &Execution| {
            let latest = it.tasks().last();
            let reason = it.reason.clone().or_else(|| latest.and_then(|it| it.reason.clone()));
            // A try that failed and is made again says why; one that only waits its turn does not.
            let failed = latest.is_some_and(|it| it.reason.is_some());
            (it.status, it.output.parse(), reason, failed)
        };
        let expired = tokio::time::Instant::now() >= deadline;
        let Some((status, output, reason, failed)) = api.engine.read(&id, look).await? else {
            if expired {
                return Err(Problem::not_found("the test has not begun, or was removed meanwhile"));
            }
            let _ = tokio::time::timeout_at(deadline, changes.changed()).await;
            continue;
        };
        if status.is_closed() || failed || expired {
            return Ok(Json(json!({
                "receiver": name,
                "workflowId": id.as_str(),
                "status": status.as_str(),
                "delivered": status == Status::Completed,
                "reference": output.get("reference"),
                "reason": reason,
            })));
        }
        let _ = tokio::time::timeout_at(deadline, changes.changed()).await;
    }
}

/// Resends the dead deliveries to a receiver that still matter: of open incidents, and resolves
/// that the receiver has not received. For when the receiver has been repaired.
#[utoipa::path(
    operation_id = "resend_to_receiver", post, path = "/api/receivers/{name}/resend",
    tag = "receivers",
    params(("name" = String, Path, description = "The name of the receiver"), ByParams),
    responses(
        (status = 200, description = "`monitors`: the number of monitors that had something to resend",
            body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn resend(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
    Query(params): Query<ByParams>,
) -> Result<Json<Value>, Problem> {
    if !api.engine.monitors_file().receivers.contains_key(&*name) {
        return Err(Problem::not_found(format!("there is no receiver {name}")));
    }
    let by = actor.if_told(params.by);
    let monitors = api.engine.resend_to(&name, by.as_deref()).await?;
    Ok(Json(json!({ "receiver": name, "monitors": monitors })))
}

#[derive(Debug, Deserialize, IntoParams)]
struct PageParams {
    /// Lines to skip.
    start: Option<u64>,
    /// Lines to return; 100 by default.
    size: Option<u64>,
}

/// Lists what a receiver of the kind `inbox` was told. Receivers with the same `name` share an inbox.
#[utoipa::path(
    operation_id = "list_inbox", get, path = "/api/receivers/{name}/inbox", tag = "receivers",
    params(("name" = String, Path, description = "The name of the receiver"), PageParams),
    responses(
        (status = 200, description = "`totalHits` and a page of `results`, newest first",
            body = serde_json::Value),
        (status = 404, description = "No such receiver"),
        (status = 409, description = "It is no inbox"),
    )
)]
async fn inbox(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<PageParams>,
) -> Result<Json<Value>, Problem> {
    let file = api.engine.monitors_file();
    let Some(receiver) = file.receivers.get(&*name) else {
        return Err(Problem::not_found(format!("there is no receiver {name}")));
    };
    if &*receiver.kind != "inbox" {
        let message = format!("the receiver {name} is no inbox: it is told elsewhere");
        return Err(Problem::conflict(message)
            .with_hint("`nightbell receiver list` shows kinds; /api/deliveries what was sent."));
    }
    let settings = receiver.settings.parse();
    let own = settings["name"].as_str().map(str::trim).filter(|own| !own.is_empty());
    let search = RecordSearch {
        subjects: vec![own.unwrap_or(&name).to_owned()],
        start: params.start.unwrap_or(0),
        size: page_size(params.size)?,
        ..RecordSearch::newest("inbox")
    };
    let page = api.engine.store().records(&search).await?;
    let results = page.rows.iter().map(|line| {
        let monitor = line.body.parse()["monitor"].clone();
        let mut shown = view::line(line);
        shown["monitor"] = monitor;
        shown
    });
    let results: Vec<Value> = results.collect();
    Ok(Json(json!({ "totalHits": page.total, "results": results })))
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct DeliveryParams {
    /// Only deliveries about this monitor.
    monitor: Option<String>,
    /// Only deliveries of this status: `queued`, `sent`, `dead`, `resent` (dead, and sent again) or
    /// `suppressed`.
    status: Option<String>,
    /// Lines to skip.
    start: Option<u64>,
    /// Lines to return; 100 by default.
    size: Option<u64>,
}

/// Lists deliveries: what was sent to whom, the response, and what was suppressed and why.
#[utoipa::path(
    get, path = "/api/deliveries", tag = "receivers", params(DeliveryParams),
    responses((status = 200, description = "`totalHits` and a page of `results`, newest first",
        body = serde_json::Value))
)]
pub(super) async fn deliveries(
    State(api): State<Api>,
    Query(params): Query<DeliveryParams>,
) -> Result<Json<Value>, Problem> {
    let search = RecordSearch {
        subjects: params.monitor.into_iter().collect(),
        statuses: params.status.into_iter().collect(),
        start: params.start.unwrap_or(0),
        size: page_size(params.size)?,
        ..RecordSearch::newest("delivery")
    };
    let page = api.engine.store().records(&search).await?;
    let results: Vec<Value> = page.rows.iter().map(view::line).collect();
    Ok(Json(json!({ "totalHits": page.total, "results": results })))
}
