//! `/api/batches`: one act on all runs that a search finds, in the background, each once.

use axum::Json;
use axum::extract::State;
use engine::search::{Counting, Filter, Search, TextField};
use engine::{BATCH_RUNS_MAX, Batch, BatchAct, BatchPreview};
use kernel::access::Permission;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::extract::{Body, Path, Query};
use crate::Api;
use crate::access::{Actor, Routes, Why};
use crate::problem::Problem;

/// Ids that a preview and an answer tell by default, and at most.
const SHOWN: usize = 20;
/// Bytes of the reason and of the words of a batch: both are kept with it.
const REASON_MAX: usize = 1000;
const FIND_MAX: usize = 2000;
/// Parents whose running sub-workflows are counted in one question.
const PARENTS_MAX: usize = 500;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(list_batches))
        .act(Permission::Run, routes!(begin_batch))
        .on(Permission::Run, routes!(preview_batch))
        .on(Permission::Read, routes!(show_batch))
        .act(Permission::Run, routes!(stop_batch))
}

fn shown(batch: &Batch) -> Value {
    let refusals = batch.refusals.iter();
    json!({
        "id": batch.id, "act": batch.act.as_str(), "find": batch.find, "reason": batch.reason,
        "by": batch.by, "state": batch.state.as_str(), "stoppedBy": batch.stopped_by,
        "createTime": batch.created_at.millis(), "endTime": batch.ended_at.map(kernel::Timestamp::millis),
        "runs": batch.runs, "passed": batch.passed, "done": batch.done, "refused": batch.refused(),
        "refusals": refusals.map(|it| json!({ "workflowId": it.run, "reason": it.why })).collect::<Vec<_>>(),
    })
}

/// What to do with which runs.
#[derive(Debug, Deserialize, ToSchema)]
struct BatchQuestion {
    /// `pause`, `resume`, `retry`, `restart` or `terminate`.
    act: String,
    /// Search words as in the console: `status:FAILED name:nightly*`. Without any, all runs to
    /// which the action applies.
    #[serde(default)]
    find: String,
}

/// Refuses a text that is too long.
fn bounded(name: &str, text: &str, most: usize) -> Result<(), Problem> {
    if text.len() <= most {
        return Ok(());
    }
    Err(Problem::bad_request(format!(
        "'{name}' has {} bytes, and at most {most} are kept",
        text.len()
    )))
}

/// Previews a batch: finds the runs that an action would change. Changes nothing; with the id in
/// the response a batch for exactly these runs can be started within five minutes.
#[utoipa::path(
    post, path = "/api/batches/preview", tag = "batches", request_body = BatchQuestion,
    responses(
        (status = 200, description = "`id`, `count`, the first `workflowIds`, and for `terminate` how many \
            sub-workflows end with them; for `retry` and `restart` `leftOut`, the sub-workflows that are found \
            and left to their parents", body = serde_json::Value),
        (status = 400, description = "The query is invalid, or matches nothing or too much"),
    )
)]
async fn preview_batch(
    State(api): State<Api>,
    actor: Actor,
    Body(asked): Body<BatchQuestion>,
) -> Result<Json<Value>, Problem> {
    let act = BatchAct::named(&asked.act).ok_or_else(|| {
        let words = BatchAct::ALL.map(BatchAct::as_str).join(", ");
        Problem::bad_request(format!("there is no act '{}'", asked.act))
            .with_hint(format!("There are {words}."))
    })?;
    bounded("find", &asked.find, FIND_MAX)?;
    let preview = api.engine.preview_batch(act, &asked.find, actor.acts_as()).await?;
    let below = match act {
        BatchAct::Terminate => Some(open_below(&api, &preview).await?),
        _ => None,
    };
    Ok(Json(json!({
        "id": preview.id, "act": act.as_str(), "find": preview.find, "count": preview.runs.len(),
        "workflowIds": preview.runs.iter().take(SHOWN).collect::<Vec<_>>(),
        "subWorkflows": below, "leftOut": preview.left_out, "until": preview.until.millis(),
    })))
}

/// How many running sub-workflows the runs of a preview have.
async fn open_below(api: &Api, preview: &BatchPreview) -> Result<u64, Problem> {
    let mut below = 0;
    for parents in preview.runs.chunks(PARENTS_MAX) {
        let parents = parents.iter().map(|id| id.as_str().to_owned()).collect();
        let filters = vec![Filter::In(TextField::Parent, parents), Filter::Closed(false)];
        let search = Search { filters, size: 1, counting: Counting::Far, ..Search::default() };
        below += api.engine.store().search(&search).await?.total;
    }
    Ok(below)
}

/// A batch to begin.
#[derive(Debug, Deserialize, ToSchema)]
struct BatchOrder {
    /// The id of the preview.
    preview: String,
    /// Reason, for the record; terminated runs show it.
    reason: Option<String>,
    /// Name of the requester; only without access control.
    who: Option<String>,
}

/// Starts a batch for the runs of a preview, and returns at once: it continues in the background,
/// also after a restart of the server. One preview starts one batch only.
#[utoipa::path(
    post, path = "/api/batches", tag = "batches", request_body = BatchOrder,
    responses(
        (status = 200, description = "The batch", body = serde_json::Value),
        (status = 400, description = "The reason is too long"),
        (status = 409, description = "It was not previewed in the last five minutes"),
    )
)]
async fn begin_batch(
    State(api): State<Api>,
    actor: Actor,
    said: Why,
    Body(order): Body<BatchOrder>,
) -> Result<Json<Value>, Problem> {
    bounded("reason", order.reason.as_deref().unwrap_or_default(), REASON_MAX)?;
    said.note(order.reason.as_deref());
    let reason = order.reason.filter(|reason| !reason.trim().is_empty()).map(Into::into);
    let by = actor.if_told(order.who);
    let batch = api.engine.begin_batch(&order.preview, reason, by, actor.acts_as()).await?;
    Ok(Json(shown(&batch)))
}

/// Lists batches, the newest first; a hundred are kept.
#[utoipa::path(
    get, path = "/api/batches", tag = "batches",
    responses((status = 200, description = "The batches", body = Vec<serde_json::Value>))
)]
async fn list_batches(State(api): State<Api>) -> Json<Vec<Value>> {
    let batches = api.engine.batches();
    let without_refusals = |batch: &Batch| {
        let mut shown = shown(batch);
        shown["refusals"].take();
        shown
    };
    Json(batches.iter().map(without_refusals).collect())
}

#[derive(Debug, Deserialize, IntoParams)]
struct BatchParams {
    /// Runs to skip.
    start: Option<usize>,
    /// Runs to return; 20 by default.
    size: Option<usize>,
}

/// Shows a batch: its progress, what was refused and why, and a page of its runs in order.
#[utoipa::path(
    get, path = "/api/batches/{id}", tag = "batches",
    params(("id" = String, Path, description = "The id of the batch"), BatchParams),
    responses(
        (status = 200, description = "The batch", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn show_batch(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(params): Query<BatchParams>,
) -> Result<Json<Value>, Problem> {
    let runs = api.engine.batch_runs(&id).await?;
    let batch = api.engine.batch(&id).ok_or_else(|| {
        Problem::not_found("there is no such batch").with_hint("See `nightbell batch list`.")
    })?;
    let mut shown = shown(&batch);
    let page = runs.iter().skip(params.start.unwrap_or(0));
    let page = page.take(params.size.unwrap_or(SHOWN).min(BATCH_RUNS_MAX));
    shown["workflowIds"] = page.map(|id| Value::from(id.as_str())).collect();
    Ok(Json(shown))
}

/// Who stops it.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct BatchEnd {
    /// Name of the requester; only without access control.
    #[serde(default)]
    who: Option<String>,
}

/// Stops a batch. What was done stays done, and up to a hundred runs that are in progress are still
/// changed.
#[utoipa::path(
    post, path = "/api/batches/{id}/stop", tag = "batches", request_body = BatchEnd,
    params(("id" = String, Path, description = "The id of the batch")),
    responses(
        (status = 200, description = "The batch", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "It has ended"),
    )
)]
async fn stop_batch(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Body(end): Body<Option<BatchEnd>>,
) -> Result<Json<Value>, Problem> {
    let by = actor.if_told(end.unwrap_or_default().who);
    Ok(Json(shown(&api.engine.stop_batch(&id, by).await?)))
}
