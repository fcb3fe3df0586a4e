//! `/api/monitors/{name}/keys`: how each key of a monitor stands, and stood lately.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use kernel::Timestamp;
use kernel::access::Permission;
use kernel::alert::{Cells, Monitor, StandingKey, State as IncidentState, Status, by_key};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::extract::{Path, Query};
use super::read;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

/// Keys of an answer, unless another number is asked for, and at most.
const SIZE: usize = 100;
const SIZE_MAX: usize = 1000;
/// Cells of the stretch of time.
const CELLS: usize = 48;
const MINUTE: i64 = 60_000;
/// Stretches of time, in milliseconds: the longest of which not too much has to be read is told of.
const STRETCHES: [i64; 5] = [24 * 60 * MINUTE, 6 * 60 * MINUTE, 60 * MINUTE, 10 * MINUTE, 48_000];
/// Checks that are read, and bytes of what they answered.
const CHECKS_MAX: usize = 500;
const BYTES_MAX: usize = 4 << 20;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(keys))
}

#[derive(Debug, Deserialize, IntoParams)]
struct KeysParams {
    /// Keys to return; 100 by default, 1,000 at most.
    size: Option<usize>,
}

/// Lists the status of each key of a monitor, since when it holds, and its history of up to 24
/// hours: results of checks, evaluated by the definition in force. The worst come first.
#[utoipa::path(
    operation_id = "monitor_keys", get, path = "/api/monitors/{name}/keys", tag = "monitors",
    params(("name" = String, Path, description = "The name of the monitor"), KeysParams),
    responses(
        (status = 200, description = "`from`, `to`, `step` (milliseconds of a cell), `checks`, `isWhole` (whether \
            all checks of that time were read), `keyCount` and `keys`: `key`, `status`, `value`, `text`, `seenAt`, \
            `since`, `sinceIsKnown`, `incident` and `cells`", body = serde_json::Value),
        (status = 400, description = "The size is too large"),
        (status = 404, description = "No such monitor"),
    )
)]
async fn keys(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<KeysParams>,
) -> Result<Json<Value>, Problem> {
    let size = params.size.unwrap_or(SIZE);
    if size > SIZE_MAX {
        return Err(Problem::bad_request(format!("size is at most {SIZE_MAX}, not {size}")));
    }
    let (monitor, incidents) = read(&api, &name, |it| {
        (it.spec.as_ref().map(|spec| spec.monitor.clone()), open_incidents(it))
    })
    .await?;
    let now = api.engine.now();
    let (mut cells, mut samples, mut is_whole) = (ending(now, STRETCHES[0]), Vec::new(), true);
    if let Some(monitor) = monitor.as_ref().filter(|it| it.kind.checks()) {
        let every = monitor.schedule.interval().max(1);
        let fits = |stretch: i64| stretch / every <= CHECKS_MAX as i64;
        let shortest = STRETCHES.len() - 1;
        let stretches = STRETCHES.iter().enumerate();
        for (_, stretch) in stretches.filter(|(at, it)| *at == shortest || fits(**it)) {
            cells = ending(now, *stretch);
            let span = (cells.from, now.plus_millis(1));
            let page = api.engine.samples(&name, span, 0, (CHECKS_MAX, BYTES_MAX)).await?;
            (samples, is_whole) = (page.samples, !page.more);
            if is_whole {
                break;
            }
        }
    }
    let judged = monitor.map(|monitor| by_key(&monitor, &samples, cells)).unwrap_or_default();
    let shown: Vec<Value> = judged.iter().take(size).map(|it| shown(it, &incidents)).collect();
    Ok(Json(json!({
        "from": cells.from.millis(),
        "to": now.millis(),
        "step": cells.step,
        "checks": samples.len(),
        "isWhole": is_whole,
        "keyCount": judged.len(),
        "keys": shown,
    })))
}

/// Cells whose last one is that of now.
fn ending(now: Timestamp, stretch: i64) -> Cells {
    let step = stretch / CELLS as i64;
    let last = now.millis().div_euclid(step);
    let from = Timestamp::from_millis((last - CELLS as i64 + 1) * step);
    Cells { from, step, count: CELLS }
}

/// The ids of incidents by key that are not over.
fn open_incidents(monitor: &Monitor) -> BTreeMap<Arc<str>, String> {
    let open = monitor.incidents.values().filter(|it| it.state != IncidentState::Resolved);
    open.map(|it| (it.key.clone(), it.id())).collect()
}

fn shown(it: &StandingKey, incidents: &BTreeMap<Arc<str>, String>) -> Value {
    let cells: Vec<Option<&str>> = it.cells.iter().map(|cell| cell.map(Status::as_str)).collect();
    json!({
        "key": it.key,
        "status": it.status,
        "value": it.value,
        "text": it.text,
        "seenAt": it.seen_at.millis(),
        "since": it.since.millis(),
        "sinceIsKnown": it.since_is_known,
        "incident": incidents.get(&it.key),
        "cells": cells,
    })
}
