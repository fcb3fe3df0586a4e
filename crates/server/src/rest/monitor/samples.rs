//! `/api/monitors/{name}/samples`: what a monitor's checks answered, before it was judged.

use axum::Json;
use axum::extract::State;
use kernel::Timestamp;
use kernel::access::Permission;
use kernel::alert::{Sample, Sampled};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::extract::{Path, Query};
use super::super::query::instant;
use super::read;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

/// Samples of a page, unless another number is asked for, and at most.
const SIZE: usize = 1000;
const SIZE_MAX: usize = 10_000;
/// Bytes of a page, more or less.
const BYTES_MAX: usize = 8 << 20;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(samples))
}

#[derive(Debug, Deserialize, IntoParams)]
struct SampleParams {
    /// Checks that started then or later: milliseconds since 1970, or a time such as
    /// 2026-01-31T08:00:00Z. All that are kept by default.
    from: Option<String>,
    /// Checks that started before then; default: now.
    to: Option<String>,
    /// Checks per page; 1,000 by default, 10,000 at most.
    size: Option<usize>,
    /// `cursor` of the previous page.
    cursor: Option<String>,
}

/// Lists the recorded results of a monitor's checks, before evaluation, oldest first, as far as
/// they are retained.
#[utoipa::path(
    operation_id = "monitor_samples", get, path = "/api/monitors/{name}/samples", tag = "monitors",
    params(("name" = String, Path, description = "The name of the monitor"), SampleParams),
    responses(
        (status = 200, description = "`samples`, and the `cursor` of the next page if there is one",
            body = serde_json::Value),
        (status = 400, description = "A time, the size or the cursor cannot be read"),
        (status = 404, description = "No such monitor"),
    )
)]
async fn samples(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<SampleParams>,
) -> Result<Json<Value>, Problem> {
    read(&api, &name, |_| ()).await?;
    let at = |name, text: Option<String>| text.map(|text| instant(name, &text)).transpose();
    let from = at("from", params.from)?.unwrap_or_default();
    let to = at("to", params.to)?.unwrap_or(Timestamp::MAX);
    let size = params.size.unwrap_or(SIZE);
    if !(1..=SIZE_MAX).contains(&size) {
        return Err(Problem::bad_request(format!("size is from 1 to {SIZE_MAX}, not {size}")));
    }
    let (from, after) = match params.cursor.as_deref() {
        None => (from, 0),
        Some(cursor) => place(cursor).ok_or_else(|| {
            let message = "the cursor is not one of these answers";
            Problem::bad_request(message).with_hint("Begin without one.")
        })?,
    };
    let page = api.engine.samples(&name, (from, to), after, (size, BYTES_MAX)).await?;
    let last = page.samples.last().filter(|_| page.more);
    let cursor = last.map(|it| format!("{}-{}", it.started_at.millis(), it.number));
    let samples: Vec<Value> = page.samples.iter().map(shown).collect();
    Ok(Json(json!({ "samples": samples, "cursor": cursor })))
}

/// Where a page goes on: an instant, and the number of a check that started then.
fn place(cursor: &str) -> Option<(Timestamp, u64)> {
    let (millis, number) = cursor.split_once('-')?;
    Some((Timestamp::from_millis(millis.parse().ok()?), number.parse().ok()?))
}

fn shown(sample: &Sample) -> Value {
    let mut shown = json!({
        "number": sample.number,
        "check": sample.sequence,
        "startedAt": sample.started_at.millis(),
        "endedAt": sample.ended_at.millis(),
        "from": sample.window.from.millis(),
        "to": sample.window.to.millis(),
        "definition": sample.version,
    });
    match &sample.outcome {
        Sampled::Output(output) => shown["output"] = output.parse(),
        Sampled::Unknown(reason) => shown["unknown"] = json!(reason),
        Sampled::TooLong(bytes) => shown["tooLong"] = json!(bytes),
    }
    shown
}
