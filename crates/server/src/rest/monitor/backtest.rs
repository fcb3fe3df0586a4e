//! `/api/monitors/{name}/backtest`: what a backtest of a monitor needs besides samples; and one that is made here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::search::{PAGE_MAX, RecordSearch};
use kernel::Timestamp;
use kernel::access::Permission;
use kernel::alert::definition::{File, Receiver};
use kernel::alert::{Sample, Sampled};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::extract::{Path, Query, RawBody};
use super::super::query::instant;
use super::{judgement, read, read_file, taken, text_of, unknown, view, with};
use crate::Api;
use crate::access::Routes;
use crate::backtests::Past;
use crate::problem::Problem;

/// Days of one answer.
const DAYS_MAX: i64 = 400;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(backtest))
        .on(Permission::Edit, routes!(try_on_the_past))
}

#[derive(Debug, Deserialize, IntoParams)]
struct BacktestParams {
    /// From then on: milliseconds since 1970, or a time such as 2026-01-31T08:00:00Z.
    from: String,
    /// Before then; default: now.
    to: Option<String>,
}

/// Shows what a backtest of a monitor needs besides samples: the definitions (without secrets and
/// addresses), and the ledgers of its incidents, its deliveries and the checks that did not run.
#[utoipa::path(
    operation_id = "monitor_backtest", get, path = "/api/monitors/{name}/backtest", tag = "monitors",
    params(("name" = String, Path, description = "The name of the monitor"), BacktestParams),
    responses(
        (status = 200, description = "`file`, `incidents`, `deliveries`, `missed` and `judgements`",
            body = serde_json::Value),
        (status = 400, description = "A time is invalid, or the span is too long"),
        (status = 404, description = "No such monitor"),
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
    let mut told = record(&api, &name, (from, to)).await?;
    told["file"] = bare(file_of(&api), &name);
    Ok(Json(told))
}

/// Everything that is defined, with silences that are kept apart.
fn file_of(api: &Api) -> File {
    let mut file = api.engine.monitors_file();
    file.silences.extend(api.engine.silences());
    file
}

/// What the ledgers say of a monitor in a stretch of time.
async fn record(
    api: &Api,
    name: &str,
    (from, to): (Timestamp, Timestamp),
) -> Result<Value, Problem> {
    if to.since(from) > DAYS_MAX * 24 * 3_600_000 {
        let message = format!("a backtest is of {DAYS_MAX} days at most");
        return Err(Problem::bad_request(message));
    }
    let mut told = json!({ "from": from.millis(), "to": to.millis() });
    told["judgements"] = ledger_of(api, judgement::LEDGER, name, (from, to)).await?.into();
    for (ledger, title) in
        [("incident", "incidents"), ("delivery", "deliveries"), ("check", "missed")]
    {
        told[title] = ledger_of(api, ledger, name, (from, to)).await?.into();
    }
    Ok(told)
}

#[derive(Debug, Deserialize, IntoParams)]
struct TrialParams {
    /// What happened since then: milliseconds since 1970, or a time such as 2026-01-31T08:00:00Z.
    from: String,
    /// The time zone in which night is from 22:00 to 06:00; default: that of the monitor, or of the
    /// server.
    zone: Option<String>,
}

/// Samples of one backtest, of all monitors that it needs, and their bytes.
const SAMPLES_MAX: usize = 60_000;
const SAMPLE_BYTES_MAX: usize = 64 << 20;

/// Backtests a monitor: evaluates it on the recorded results of its checks, and compares that with
/// what happened: which incidents are gone or new, and who would have been paged. Changes nothing
/// and sends nothing.
///
/// The body may be a file of monitors that defines the monitor anew; without one it is evaluated as
/// it is defined. One backtest runs at a time, on one core; `nightbell monitor backtest` runs it on
/// the client.
#[utoipa::path(
    operation_id = "try_monitor_on_the_past", post, path = "/api/monitors/{name}/backtest",
    tag = "monitors", request_body = String,
    params(("name" = String, Path, description = "The name of the monitor"), TrialParams),
    responses(
        (status = 200, description = "`then` and `now` (incidents, pages, pages at night, who was paged), \
            `gone`, `new` and `notes`", body = serde_json::Value),
        (status = 400, description = "Invalid file (the response lists every problem), or too many samples to evaluate"),
        (status = 404, description = "No such monitor"),
        (status = 409, description = "It waits to be called, nothing is kept of that time, or another \
            backtest is being made"),
    )
)]
async fn try_on_the_past(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<TrialParams>,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Problem> {
    let here = "`nightbell monitor backtest` makes it at the client.";
    let Some(backtests) = api.settings.backtests.clone() else {
        return Err(Problem::conflict("this server makes no backtests").with_hint(here));
    };
    let span = (instant("from", &params.from)?, api.engine.now());
    let mut file = file_of(&api);
    let Some(stored) = file.monitors.iter().find(|it| *it.name == *name).cloned() else {
        return Err(unknown(&name));
    };
    let mut notes = Vec::new();
    let text = text_of(&body)?;
    if !text.trim().is_empty() {
        let mut known = api.engine.monitors_known_beside("");
        known.extend_by(file.clone());
        let (given, warnings) = taken(read_file(&api, text, known).await?)?;
        notes.extend(warnings.iter().map(ToString::to_string));
        file = with(file, given);
    }
    if !file.monitors.iter().any(|it| *it.name == *name && it.kind.checks()) {
        let message = format!("{name} waits to be called: there are no answers of checks to try");
        return Err(Problem::conflict(message));
    }
    let Ok(turn) = backtests.turn.try_acquire_owned() else {
        let message = "another backtest is being made here";
        return Err(Problem::conflict(message).with_hint("Try again in some seconds."));
    };
    let backtester = backtests.backtester;
    let from = span.0.plus_millis(-backtester.warm_up(&file, &name));
    let samples = samples_of(&api, backtester.needed(&file, &name), (from, span.1)).await?;
    for (other, of) in samples.iter().filter(|(other, _)| **other != name) {
        if of.is_empty() {
            notes.push(format!("{other}, on which it depends, has no samples: it counts as well"));
        }
    }
    let record = record(&api, &name, span).await?;
    let past =
        Past { file, stored, monitor: name, samples, record, span, zone: params.zone, notes };
    let work = move || {
        let made = backtester.run(past);
        drop(turn);
        made
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(report)) => Ok(Json(report)),
        Ok(Err(why)) => Err(Problem::conflict(why)),
        Err(error) => {
            tracing::error!(%error, "backtest aborted");
            let message = "the backtest broke off; the server's log says why";
            let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message);
            Err(problem.with_hint(here))
        }
    }
}

/// What checks of some monitors answered in a stretch of time.
async fn samples_of(
    api: &Api,
    monitors: BTreeSet<String>,
    (from, to): (Timestamp, Timestamp),
) -> Result<BTreeMap<String, Vec<Sample>>, Problem> {
    let too_many = |what: String| {
        Problem::bad_request(format!("the answers of that time are more than {what}"))
            .with_hint("Try a shorter time; `nightbell monitor backtest` has no such bound.")
    };
    let (mut count, mut bytes) = (0, 0);
    let mut all = BTreeMap::new();
    for name in monitors {
        let mut samples: Vec<Sample> = Vec::new();
        loop {
            let last = samples.last();
            let (begin, after) = last.map_or((from, 0), |it| (it.started_at, it.number));
            let page = api.engine.samples(&name, (begin, to), after, (PAGE, PAGE_BYTES)).await?;
            count += page.samples.len();
            bytes += page.samples.iter().map(answered).sum::<usize>();
            if count > SAMPLES_MAX {
                return Err(too_many(format!("{SAMPLES_MAX} checks")));
            }
            if bytes > SAMPLE_BYTES_MAX {
                return Err(too_many(format!("{} MiB", SAMPLE_BYTES_MAX >> 20)));
            }
            samples.extend(page.samples);
            if !page.more {
                break;
            }
        }
        all.insert(name, samples);
    }
    Ok(all)
}

/// Checks and bytes that are read in one go.
const PAGE: usize = 10_000;
const PAGE_BYTES: usize = 8 << 20;

/// Bytes of what a check answered.
fn answered(sample: &Sample) -> usize {
    match &sample.outcome {
        Sampled::Output(output) => output.len(),
        Sampled::Unknown(why) => why.len(),
        Sampled::TooLong(_) => 0,
    }
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
