//! `/api/monitors/{name}/backtest`: what a backtest of a monitor needs besides samples.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use engine::search::{PAGE_MAX, RecordSearch};
use kernel::Timestamp;
use kernel::access::Permission;
use kernel::alert::definition::{File, Receiver};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::extract::{Path, Query};
use super::super::query::instant;
use super::{judgement, read, view};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

/// Days of one answer.
const DAYS_MAX: i64 = 400;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(backtest))
}

#[derive(Debug, Deserialize, IntoParams)]
struct BacktestParams {
    /// From then on: milliseconds since 1970, or a time such as 2026-01-31T08:00:00Z.
    from: String,
    /// Before then; until now by default.
    to: Option<String>,
}

/// Tells what a backtest of a monitor needs besides samples: what is defined (without secrets and
/// addresses), and what the ledgers say of its incidents, its deliveries and the checks that did not
/// run.
#[utoipa::path(
    operation_id = "monitor_backtest", get, path = "/api/monitors/{name}/backtest", tag = "monitors",
    params(("name" = String, Path, description = "The name of the monitor"), BacktestParams),
    responses(
        (status = 200, description = "`file`, `incidents`, `deliveries`, `missed` and `judgements`",
            body = serde_json::Value),
        (status = 400, description = "A time cannot be read, or the stretch is too long"),
        (status = 404, description = "There is no such monitor"),
    )
)]
async fn backtest(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<BacktestParams>,
) -> Result<Json<Value>, Problem> {
    read(&api, &name, |_| ()).await?;
    let from = instant("from", &params.from)?;
    let to = params.to.map(|to| instant("to", &to)).transpose()?;
    let to = to.unwrap_or_else(|| api.engine.now());
    if to.since(from) > DAYS_MAX * 24 * 3_600_000 {
        let message = format!("a backtest is of {DAYS_MAX} days at most");
        return Err(Problem::bad_request(message));
    }
    let mut file = api.engine.monitors_file();
    file.silences.extend(api.engine.silences());
    let mut told = json!({ "file": bare(file, &name), "from": from.millis(), "to": to.millis() });
    told["judgements"] = ledger_of(&api, judgement::LEDGER, &name, (from, to)).await?.into();
    for (ledger, title) in
        [("incident", "incidents"), ("delivery", "deliveries"), ("check", "missed")]
    {
        told[title] = ledger_of(&api, ledger, &name, (from, to)).await?.into();
    }
    Ok(Json(told))
}

/// The lines of a ledger in a stretch of time, oldest first.
async fn ledger_of(
    api: &Api,
    ledger: &'static str,
    name: &str,
    (from, to): (Timestamp, Timestamp),
) -> Result<Vec<Value>, Problem> {
    let mut lines = Vec::new();
    loop {
        let search = RecordSearch {
            subjects: vec![name.to_owned()],
            after: Some(from.plus_millis(-1)),
            before: Some(to),
            start: lines.len() as u64,
            size: PAGE_MAX,
            descending: false,
            ..RecordSearch::newest(ledger)
        };
        let page = api.engine.store().records(&search).await?;
        let last = page.rows.len() < PAGE_MAX as usize;
        lines.extend(page.rows.iter().map(view::line));
        if last {
            return Ok(lines);
        }
    }
}

/// What concerns a monitor: itself and what it depends on, without what may be secret.
fn bare(mut file: File, name: &str) -> Value {
    let mut needed = BTreeSet::from([Arc::<str>::from(name)]);
    loop {
        let known = file.monitors.iter().filter(|it| needed.contains(&it.name));
        let more: Vec<Arc<str>> =
            known.flat_map(|it| it.depends_on.iter().chain(&it.witness).cloned()).collect();
        let before = needed.len();
        needed.extend(more);
        if needed.len() == before {
            break;
        }
    }
    file.monitors.retain(|it| needed.contains(&it.name));
    file.sources.clear();
    for monitor in &mut file.monitors {
        monitor.settings = view::masked(monitor.settings.parse()).into();
    }
    for receiver in file.receivers.values_mut() {
        let Receiver { kind, fallback, fallback_after, rate, .. } = receiver.clone();
        let settings = kernel::Json::empty_object();
        *receiver = Receiver { fallback, fallback_after, rate, ..Receiver::new(kind, settings) };
    }
    json!(file)
}
