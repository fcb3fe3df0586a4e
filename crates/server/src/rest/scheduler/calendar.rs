//! `/api/scheduler/calendar`: all that schedules have fired, and all that they will, between two instants.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use engine::Engine;
use engine::search::{
    Counting, Filter, PAGE_MAX, RecordSearch, Search, Sort, SortField, TextField,
};
use kernel::schedule::{Foreseen, Schedule};
use kernel::{MachineKind, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::{Api, Problem, Query, next, view};
use crate::rest::query::instant;

/// The longest stretch of time, in milliseconds.
const SPAN_MAX: i64 = 62 * 86_400_000;
/// Schedules of a page.
const SIZE_MAX: u64 = 100;
/// Instants of one schedule that are computed.
const FORESEEN_MAX: usize = 300;
/// Firings of the past of all schedules.
const PAST_MAX: u64 = 2000;
/// Their runs that are looked at.
const RUNS_MAX: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct CalendarParams {
    /// Start: milliseconds since 1970, or a time such as 2026-01-31T08:00:00Z.
    from: String,
    /// End, exclusive; at most 62 days later.
    to: String,
    /// Schedules to skip.
    start: Option<u64>,
    /// Schedules to return, by name; 100 by default and at most.
    size: Option<u64>,
    /// With `up`: preview of an outage that begins here, as `outage` does.
    down: Option<String>,
    /// End of the outage; at most 31 days later.
    up: Option<String>,
}

/// Lists the past and planned firings of schedules between two times, by schedule.
///
/// `past` has the firings of the ledger, with `startTime`, `endTime` and `runStatus` of their runs;
/// `planned` what is still to come, as the code that fires computes it. Where a change of the clock
/// matters, a `note` says how, also of times of the day that do not exist and do not run (`fires`
/// is false). `more` is set where a schedule has more firings than are listed.
#[utoipa::path(
    operation_id = "schedule_calendar", get, path = "/api/scheduler/calendar", tag = "scheduler", params(CalendarParams),
    responses(
        (status = 200, description = "`totalHits` schedules and a page of `results`", body = serde_json::Value),
        (status = 400, description = "The times are invalid or too far apart"),
    )
)]
pub(super) async fn show(
    State(api): State<Api>,
    Query(params): Query<CalendarParams>,
) -> Result<Json<Value>, Problem> {
    let (from, to) = (instant("from", &params.from)?, instant("to", &params.to)?);
    if to <= from || to.since(from) > SPAN_MAX {
        return Err(Problem::bad_request("a calendar ends after it begins, within 62 days"));
    }
    let size = params.size.unwrap_or(SIZE_MAX);
    if size > SIZE_MAX {
        let message = format!("size {size} is larger than the largest page of {SIZE_MAX}");
        return Err(Problem::bad_request(message));
    }
    let search = Search {
        machine: MachineKind::Schedule,
        filters: vec![Filter::Closed(false)],
        sort: vec![Sort { by: SortField::Text(TextField::Name), descending: false }],
        start: params.start.unwrap_or(0),
        size,
        ..Search::default()
    };
    let page = api.engine.store().search(&search).await?;
    let away = params.down.as_deref().zip(params.up.as_deref());
    let away = away.map(|(down, up)| next::away(down, up)).transpose()?;
    let now = api.engine.now();
    let look = |state: &Schedule| {
        let mut shown = view::schedule(state);
        let foreseen = foreseen(state, from, to);
        shown["more"] = (foreseen.len() >= FORESEEN_MAX).into();
        let told = foreseen.iter().filter(|it| {
            // What was to come is in the ledger now; what a change of the clock did stays to be told.
            (it.at >= now && !state.paused) || !it.note().is_empty()
        });
        shown["planned"] = told.map(|it| planned(it, now)).collect();
        if let Some(away) = away {
            shown["fates"] = next::fates(state, away).into();
        }
        shown
    };
    let mut results = Vec::new();
    for head in &page.rows {
        let seen = |hosted: &engine::AnyMachine| {
            hosted.schedule().filter(|state| state.is_defined()).map(look)
        };
        results.extend(api.engine.look(&head.id, seen).await?.flatten());
    }
    let names: Vec<String> =
        results.iter().filter_map(|it| it["name"].as_str().map(str::to_owned)).collect();
    let mut past = past(&api.engine, names, from, to).await?;
    for shown in &mut results {
        let of = shown["name"].as_str().and_then(|name| past.remove(name));
        shown["past"] = of.unwrap_or_default().into();
    }
    Ok(Json(json!({ "totalHits": page.total, "results": results })))
}

fn foreseen(state: &Schedule, from: Timestamp, to: Timestamp) -> Vec<Foreseen> {
    let Some(spec) = &state.spec else { return Vec::new() };
    spec.foresee(from, to.plus_millis(-1), FORESEEN_MAX)
}

fn planned(it: &Foreseen, now: Timestamp) -> Value {
    let mut shown = json!({
        "scheduledTime": it.at.millis(), "fires": it.mark.runs() && it.at >= now,
        "cronExpression": it.cron, "zoneId": it.zone,
    });
    let note = it.note();
    if !note.is_empty() {
        shown["note"] = note.into();
    }
    shown
}

/// The firings of the past, by schedule, with the times of their runs.
async fn past(
    engine: &Engine,
    subjects: Vec<String>,
    from: Timestamp,
    to: Timestamp,
) -> Result<BTreeMap<String, Vec<Value>>, Problem> {
    if subjects.is_empty() {
        return Ok(BTreeMap::new());
    }
    let search = RecordSearch {
        subjects,
        after: Some(from.plus_millis(-1)),
        before: Some(to),
        size: PAST_MAX.min(PAGE_MAX),
        ..RecordSearch::newest("firing")
    };
    let lines = engine.store().records(&search).await?.rows;
    let mut firings: Vec<Value> = lines.iter().map(view::firing).collect();
    let runs: Vec<String> = firings
        .iter()
        .filter_map(|it| it["workflowId"].as_str().map(str::to_owned))
        .take(RUNS_MAX)
        .collect();
    if !runs.is_empty() {
        let search = Search {
            size: runs.len() as u64,
            filters: vec![Filter::In(TextField::Id, runs)],
            counting: Counting::Next,
            ..Search::default()
        };
        let heads = engine.store().search(&search).await?.rows;
        let runs: BTreeMap<&str, _> = heads.iter().map(|it| (it.id.as_str(), it)).collect();
        for firing in &mut firings {
            let run = firing["workflowId"].as_str().and_then(|run| runs.get(run)).copied();
            if let Some(run) = run {
                firing["startTime"] = run.created_at.millis().into();
                firing["endTime"] = run.ended_at.map(Timestamp::millis).into();
                firing["runStatus"] = run.status.into();
            }
        }
    }
    let mut by_name: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for firing in firings {
        let name = firing["scheduleName"].as_str().unwrap_or_default().to_owned();
        by_name.entry(name).or_default().push(firing);
    }
    Ok(by_name)
}
