//! `/api/monitors` and what belongs to them: incidents, silences, receivers, deliveries, and the
//! calls of those whom a heartbeat monitor waits for.

mod backtest;
mod calendar;
mod facets;
mod incident;
mod judgement;
mod keys;
mod late;
mod oncall;
mod overrides;
mod ping;
mod preview;
mod receiver;
mod rollups;
mod samples;
mod silence;
mod view;
mod wanted;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::monitors::{Applied, ApplyError};
use engine::search::{
    Counting, Filter, PAGE_MAX, RecordSearch, Search, Sort, SortField, TextField, TimeField,
};
use kernel::access::Permission;
use kernel::alert::definition::{
    ChecklistOptions, File, Known, Level, Loaded, Problem as Found, load_among, load_judged,
};
use kernel::alert::{Input, Monitor};
use kernel::definition::Problem as Flaw;
use kernel::{ExecutionId, MachineKind, Record, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::extract::{Path, Query, RawBody, lenient};
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;

pub(crate) use calendar::PATH as ON_CALL_CALENDAR;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(list))
        .on(Permission::Edit, routes!(add, replace))
        .on(Permission::Read, routes!(show))
        .on(Permission::Edit, routes!(put_one, delete))
        .on(Permission::Run, routes!(check))
        .on(Permission::Read, routes!(checks))
        .on(Permission::Read, routes!(history))
        .on(Permission::Read, routes!(receiver::deliveries))
        .merge(incident::routes())
        .merge(silence::routes())
        .merge(receiver::routes())
        .merge(ping::routes())
        .merge(preview::routes())
        .merge(samples::routes())
        .merge(keys::routes())
        .merge(late::routes())
        .merge(rollups::routes())
        .merge(backtest::routes())
        .merge(judgement::routes())
        .merge(oncall::routes())
        .merge(overrides::routes())
        .merge(calendar::routes())
}

/// The source of what clients define, unless they name another.
const SOURCE: &str = "api";
/// Sources that are files, which clients may not change.
const FILES: &str = "file:";

impl From<ApplyError> for Problem {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Unfit(reasons) => Self::conflict(reasons.join("; ")),
            ApplyError::Engine(error) => error.into(),
        }
    }
}

/// The ledger's line of an incident: of its id, or the latest of the key under which providers know
/// it, which is what stands in a page.
///
/// # Errors
/// 404 if there is none.
async fn incident_of(api: &Api, name: &str) -> Result<Record, Problem> {
    let search = RecordSearch { keys: vec![name.to_owned()], ..RecordSearch::newest("incident") };
    let mut found = api.engine.store().records(&search).await?.rows;
    let is_dedup_key = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if found.is_empty() && is_dedup_key {
        let key_begins = Some(format!("{name}-"));
        let search = RecordSearch { key_begins, size: 1, ..RecordSearch::newest("incident") };
        found = api.engine.store().records(&search).await?.rows;
    }
    found.into_iter().next().ok_or_else(|| {
        let shown: String = name.chars().take(100).collect();
        Problem::not_found(format!("there is no incident {shown}"))
            .with_hint("Name it by its id or its dedup key: see `nightbell incident list`.")
    })
}

#[derive(Debug, Deserialize, IntoParams)]
struct ListParams {
    /// Only monitors of this status: NEW, UP, PENDING, DOWN or UNKNOWN; several separated by
    /// commas.
    status: Option<String>,
    /// Only monitors of this name; `*` stands for any text.
    name: Option<String>,
    /// Only monitors of this kind, such as http; several separated by commas.
    kind: Option<String>,
    /// Only monitors that this source defines, such as api; several separated by commas.
    source: Option<String>,
    /// Only monitors with this label, such as team=data; several, separated by commas, must all
    /// match.
    label: Option<String>,
    /// Include the number of monitors of each kind, source and label.
    #[serde(default, deserialize_with = "lenient::flag")]
    facets: bool,
    /// Monitors to skip.
    start: Option<u64>,
    /// Monitors to return; 100 by default.
    size: Option<u64>,
    /// Include for each monitor how its checks ended, in intervals of this length, as
    /// `/api/monitors/{name}/rollups` does: 5m, 15m, 30m, 1h, 6h, 12h or 1d.
    rollups: Option<String>,
    /// With `rollups`: from the interval of this time on; default: a day ago.
    from: Option<String>,
    /// With `rollups`: intervals that begin before then; default: now.
    to: Option<String>,
}

/// Cells of all monitors in one answer.
const LISTED_CELLS_MAX: u64 = 20_000;

/// Lists monitors: their status, what they wait for, and the ten worst of their open incidents.
#[utoipa::path(
    operation_id = "list_monitors", get, path = "/api/monitors", tag = "monitors", params(ListParams),
    responses(
        (status = 200, description = "`totalHits` and a page of `results`, by name; `statuses`: how many \
            monitors there are of each status, and with `facets` of each `kind`, `source` and `label`, \
            whatever is asked for", body = serde_json::Value),
        (status = 400, description = "The page is too large, or `rollups` is invalid"),
    )
)]
async fn list(
    State(api): State<Api>,
    Query(params): Query<ListParams>,
) -> Result<Json<Value>, Problem> {
    let size = page_size(params.size)?;
    let asked = asked_cells(&params, size, api.engine.now())?;
    let mut filters =
        vec![Filter::Closed(false), Filter::NotIn(TextField::Status, vec!["REMOVED".to_owned()])];
    if let Some(status) = params.status {
        let words = status.split(',').map(|word| word.trim().to_ascii_uppercase());
        filters.push(Filter::In(TextField::Status, words.collect()));
    }
    filters.extend(params.name.map(|name| Filter::In(TextField::Name, vec![name])));
    let (kind, source) = (params.kind.as_deref(), params.source.as_deref());
    let wanted = facets::Wanted::read(kind, source, params.label.as_deref())?;
    filters.extend(wanted.names(&api.engine).map(|names| Filter::In(TextField::Name, names)));
    let search = Search {
        machine: MachineKind::Monitor,
        beside: None,
        filters,
        free_text: None,
        sort: vec![Sort { by: SortField::Text(TextField::Name), descending: false }],
        start: params.start.unwrap_or(0),
        size,
        counting: Counting::Far,
    };
    let page = api.engine.store().search(&search).await?;
    let mut results = Vec::new();
    for head in &page.rows {
        let source = api.engine.source_of_monitor(&head.name);
        let shown = |it: &Monitor| view::monitor(it, source.as_deref(), api.engine.now());
        results.extend(api.engine.monitor(&head.name, shown).await?);
    }
    if let Some(asked) = asked {
        let names: Vec<String> = page.rows.iter().map(|head| head.name.to_string()).collect();
        let counted = api.engine.rollups_of(&names, asked.step(), asked.span()).await?;
        for shown in &mut results {
            let cells = shown["name"].as_str().and_then(|name| counted.get(name));
            shown["rollups"] = asked.shown(cells.unwrap_or(&BTreeMap::new()));
        }
    }
    let statuses = api.engine.figures().monitors;
    let mut answer = json!({ "totalHits": page.total, "results": results, "statuses": statuses });
    if params.facets {
        answer["facets"] = facets::counted(&api.engine);
    }
    Ok(Json(answer))
}

/// Which rollups a list of monitors is asked for, if any.
fn asked_cells(
    params: &ListParams,
    size: u64,
    now: Timestamp,
) -> Result<Option<rollups::Asked>, Problem> {
    let Some(step) = params.rollups.clone() else { return Ok(None) };
    let (from, to) = (params.from.clone(), params.to.clone());
    let asked = rollups::Asked::new(rollups::RollupParams { from, to, step: Some(step) }, now)?;
    let cells = asked.cells().saturating_mul(size);
    if cells > LISTED_CELLS_MAX {
        let message = format!(
            "{size} monitors with {} cells each are {cells}, more than {LISTED_CELLS_MAX}",
            asked.cells()
        );
        let hint = "Ask for fewer monitors (size), less time (from), or a longer step (rollups).";
        return Err(Problem::bad_request(message).with_hint(hint));
    }
    Ok(Some(asked))
}

fn page_size(size: Option<u64>) -> Result<u64, Problem> {
    let size = size.unwrap_or(100);
    if size > PAGE_MAX {
        let message = format!("size {size} is larger than the largest page of {PAGE_MAX}");
        return Err(Problem::bad_request(message));
    }
    Ok(size)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct SaveParams {
    /// Name of the source that the file defines, so that a later file can replace it; default
    /// `api`.
    source: Option<String>,
    /// Only validate it.
    #[serde(default)]
    dry_run: bool,
}

/// Adds the definitions of a monitors file (YAML or JSON) to its source; those of the same name are
/// replaced.
#[utoipa::path(
    operation_id = "add_monitors", post, path = "/api/monitors", tag = "monitors", params(SaveParams), request_body = String,
    responses(
        (status = 200, description = "The outcome", body = serde_json::Value),
        (status = 400, description = "Invalid; the response lists every problem, and nothing is changed"),
        (status = 409, description = "It does not fit what another source defines"),
    )
)]
async fn add(
    State(api): State<Api>,
    Query(params): Query<SaveParams>,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Problem> {
    let source = source_of(params.source)?;
    let mut known = api.engine.monitors_known_beside(&source);
    let before = api.engine.monitors_of(&source).unwrap_or_default();
    known.extend_by(before.clone());
    let loaded = read_file(&api, text_of(&body)?, known).await?;
    if params.dry_run {
        return Ok(Json(verdict(&loaded)));
    }
    let (file, warnings) = taken(loaded)?;
    let applied = api.engine.apply_monitors(&source, with(before, file)).await?;
    Ok(Json(outcome(&source, applied, &warnings)))
}

/// Replaces all definitions of a source by those of a monitors file (YAML or JSON).
#[utoipa::path(
    put, path = "/api/monitors", tag = "monitors", params(SaveParams), request_body = String,
    responses(
        (status = 200, description = "The outcome", body = serde_json::Value),
        (status = 400, description = "Invalid; the response lists every problem, and nothing is changed"),
        (status = 409, description = "It does not fit what another source defines"),
    )
)]
async fn replace(
    State(api): State<Api>,
    Query(params): Query<SaveParams>,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Problem> {
    let source = source_of(params.source)?;
    let known = api.engine.monitors_known_beside(&source);
    let loaded = read_file(&api, text_of(&body)?, known).await?;
    if params.dry_run {
        return Ok(Json(verdict(&loaded)));
    }
    let (file, warnings) = taken(loaded)?;
    let applied = api.engine.apply_monitors(&source, file).await?;
    Ok(Json(outcome(&source, applied, &warnings)))
}

fn source_of(source: Option<String>) -> Result<String, Problem> {
    const LENGTH_MAX: usize = 100;
    let source = source.unwrap_or_else(|| SOURCE.to_owned());
    if source.starts_with(FILES) || source.len() > LENGTH_MAX {
        let message =
            format!("a source has at most {LENGTH_MAX} bytes and does not begin with {FILES}");
        return Err(Problem::bad_request(message));
    }
    Ok(source)
}

fn text_of(body: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Problem::bad_request(format!("the request body is not UTF-8 after byte {at}"))
    })
}

/// Reads a file that may speak of what is known, its settings judged by those who will use them.
async fn read_file(api: &Api, text: &str, mut known: Known) -> Result<Loaded, Problem> {
    api.engine.add_known(&mut known, text).await?;
    Ok(load_judged(text, &ChecklistOptions::default(), &known, &api.engine))
}

/// The file that was read, with its warnings.
///
/// # Errors
/// 400 with everything that is wrong with it.
fn taken(loaded: Loaded) -> Result<(File, Vec<Found>), Problem> {
    let Loaded { file, problems, .. } = loaded;
    if let Some(file) = file {
        return Ok((file, problems));
    }
    let errors = problems.into_iter().filter(|problem| problem.level == Level::Error);
    Err(Problem::invalid(errors.map(|problem| flaw(&problem)).collect()))
}

fn flaw(problem: &Found) -> Flaw {
    let pointer = format!("/{}", problem.path.replace('.', "/"));
    let message = format!("line {}, column {}: {}", problem.line, problem.column, problem.message);
    Flaw::new(pointer, "monitor-invalid", message, "")
}

fn verdict(loaded: &Loaded) -> Value {
    json!({ "valid": loaded.file.is_some(), "problems": loaded.problems })
}

fn outcome(source: &str, applied: Applied, warnings: &[Found]) -> Value {
    json!({ "source": source, "defined": applied.defined, "removed": applied.removed,
        "warnings": warnings })
}

/// What a source defines once more is added to it.
fn with(mut before: File, file: File) -> File {
    before.sources.extend(file.sources);
    before.receivers.extend(file.receivers);
    if !file.routes.is_empty() {
        before.routes = file.routes;
    }
    before.monitors.retain(|old| file.monitors.iter().all(|new| new.name != old.name));
    before.monitors.extend(file.monitors);
    before.silences.retain(|old| file.silences.iter().all(|new| new.id != old.id));
    before.silences.extend(file.silences);
    before.ping_keys.extend(file.ping_keys);
    before.roster.extend(file.roster);
    before
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct PutParams {
    /// Only validate it.
    #[serde(default)]
    dry_run: bool,
}

/// Defines one monitor (YAML or JSON), with the members that it has under its name in a monitors
/// file.
#[utoipa::path(
    put, path = "/api/monitors/{name}", tag = "monitors", request_body = String,
    params(("name" = String, Path, description = "The name of the monitor"), PutParams),
    responses(
        (status = 200, description = "What came of it; with `dryRun` whether it is `valid`, its `problems`, and the \
            `definition` as it would be shown", body = serde_json::Value),
        (status = 400, description = "Invalid; the response lists every problem, and nothing is changed"),
        (status = 409, description = "Another source defines it"),
    )
)]
async fn put_one(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<PutParams>,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Problem> {
    let lines = text_of(&body)?.lines().map(|line| format!("    {line}\n"));
    let text = format!("monitors:\n  {}:\n{}", json!(name), lines.collect::<String>());
    let source = match api.engine.source_of_monitor(&name) {
        // What a file would say may be judged here, and is changed there.
        Some(source) if params.dry_run || !source.starts_with(FILES) => source.to_string(),
        _ => SOURCE.to_owned(),
    };
    let before = api.engine.monitors_of(&source).unwrap_or_default();
    let mut known = api.engine.monitors_known_beside(&source);
    known.extend_by(before.clone());
    let mut loaded = read_file(&api, &text, known).await?;
    for problem in &mut loaded.problems {
        problem.line = problem.line.saturating_sub(2).max(1);
        problem.column = problem.column.saturating_sub(4).max(1);
    }
    if params.dry_run {
        let mut told = verdict(&loaded);
        let defined = loaded.file.iter().flat_map(|file| &file.monitors);
        let mut defined = defined.filter(|it| *it.name == *name).map(|it| view::masked(json!(it)));
        told["definition"] = defined.next().unwrap_or_default();
        return Ok(Json(told));
    }
    let (file, warnings) = taken(loaded)?;
    let applied = api.engine.apply_monitors(&source, with(before, file)).await?;
    Ok(Json(outcome(&source, applied, &warnings)))
}

/// Shows a monitor.
#[utoipa::path(
    operation_id = "show_monitor", get, path = "/api/monitors/{name}", tag = "monitors",
    params(("name" = String, Path, description = "The name of the monitor")),
    responses(
        (status = 200, description = "The monitor", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn show(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let source = api.engine.source_of_monitor(&name);
    let now = api.engine.now();
    read(&api, &name, |it| view::whole_monitor(it, source.as_deref(), now)).await.map(Json)
}

/// Removes a monitor; its open incidents are resolved.
#[utoipa::path(
    operation_id = "delete_monitor", delete, path = "/api/monitors/{name}", tag = "monitors",
    params(("name" = String, Path, description = "The name of the monitor")),
    responses(
        (status = 200, description = "Deleted"),
        (status = 404, description = "Not found"),
        (status = 409, description = "A file defines it, or another monitor needs it"),
    )
)]
async fn delete(State(api): State<Api>, Path(name): Path<String>) -> Result<(), Problem> {
    let Some(source) = api.engine.source_of_monitor(&name) else { return Err(unknown(&name)) };
    if source.starts_with(FILES) {
        let message = format!("the monitor {name} is defined by {source}");
        return Err(Problem::conflict(message).with_hint("Take it out of the file."));
    }
    let mut file = api.engine.monitors_of(&source).unwrap_or_default();
    file.monitors.retain(|monitor| *monitor.name != *name);
    api.engine.apply_monitors(&source, file).await?;
    Ok(())
}

#[derive(Debug, Deserialize, IntoParams)]
struct ByParams {
    /// Name of the requester, for the record.
    by: Option<String>,
}

/// Runs a check of a monitor now, regardless of its schedule.
#[utoipa::path(
    post, path = "/api/monitors/{name}/check", tag = "monitors",
    params(("name" = String, Path, description = "The name of the monitor"), ByParams),
    responses(
        (status = 200, description = "Check started", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "A check is running, or the monitor is a heartbeat"),
    )
)]
async fn check(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
    Query(params): Query<ByParams>,
) -> Result<Json<Value>, Problem> {
    read(&api, &name, |_| ()).await?;
    say(&api, &name, Input::Check { who: actor.if_told(params.by) }).await?;
    let running = |it: &Monitor| {
        let sequence = it.check.as_ref().map(|check| check.sequence);
        // It may have ended already.
        let sequence = sequence.or_else(|| it.answered.back().copied());
        json!({ "monitor": it.name(), "workflowId": sequence.map(|number| it.check_execution(number)) })
    };
    read(&api, &name, running).await.map(Json)
}

#[derive(Debug, Deserialize, IntoParams)]
struct PageParams {
    /// Lines to skip.
    start: Option<u64>,
    /// Lines to return; 100 by default.
    size: Option<u64>,
}

/// Lists the retained executions of a monitor's checks, newest first.
#[utoipa::path(
    get, path = "/api/monitors/{name}/checks", tag = "monitors",
    params(("name" = String, Path, description = "The name of the monitor"), PageParams),
    responses(
        (status = 200, description = "`totalHits` and a page of `results`", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn checks(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<PageParams>,
) -> Result<Json<Value>, Problem> {
    let run = read(&api, &name, |it| it.spec.as_ref().map(|spec| spec.check.name.clone())).await?;
    let correlation = ExecutionId::monitor(&name).as_str().to_owned();
    let search = Search {
        filters: vec![
            Filter::In(TextField::CorrelationId, vec![correlation]),
            Filter::In(TextField::Name, run.iter().map(ToString::to_string).collect()),
        ],
        sort: vec![Sort { by: SortField::Time(TimeField::Created), descending: true }],
        start: params.start.unwrap_or(0),
        size: page_size(params.size)?,
        ..Search::default()
    };
    let page = api.engine.store().search(&search).await?;
    let results: Vec<Value> = page.rows.iter().map(view::check).collect();
    Ok(Json(json!({ "totalHits": page.total, "results": results })))
}

/// Shows the history of a monitor from the ledgers: incidents, deliveries, and checks that did not
/// run.
#[utoipa::path(
    get, path = "/api/monitors/{name}/history", tag = "monitors",
    params(("name" = String, Path, description = "The name of the monitor"), PageParams),
    responses((status = 200, description = "The newest lines of each ledger",
        body = serde_json::Value))
)]
async fn history(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<PageParams>,
) -> Result<Json<Value>, Problem> {
    let mut shown = BTreeMap::new();
    for (ledger, title) in
        [("incident", "incidents"), ("delivery", "deliveries"), ("check", "missed")]
    {
        let search = RecordSearch {
            subjects: vec![name.clone()],
            start: params.start.unwrap_or(0),
            size: page_size(params.size)?,
            ..RecordSearch::newest(ledger)
        };
        let page = api.engine.store().records(&search).await?;
        let rows: Vec<Value> = page.rows.iter().map(view::line).collect();
        shown.insert(title, rows);
    }
    Ok(Json(json!(shown)))
}

fn unknown(name: &str) -> Problem {
    const SHOWN_MAX: usize = 200;
    let shown: String = name.chars().take(SHOWN_MAX).collect();
    Problem::not_found(format!("there is no monitor {shown}"))
}

/// The id of a monitor of this name.
///
/// # Errors
/// 404 for what can be no name.
fn id_of(name: &str) -> Result<ExecutionId, Problem> {
    let id = ExecutionId::monitor(name);
    if name.is_empty() || id.as_str().len() > ExecutionId::LENGTH_MAX {
        return Err(unknown(name));
    }
    Ok(id)
}

/// Lets a monitor hear something.
async fn say(api: &Api, name: &str, input: Input) -> Result<(), Problem> {
    Ok(api.engine.step(&id_of(name)?, input).await?)
}

/// Looks at a monitor.
async fn read<R>(api: &Api, name: &str, look: impl FnOnce(&Monitor) -> R) -> Result<R, Problem> {
    id_of(name)?;
    api.engine.monitor(name, look).await?.ok_or_else(|| unknown(name))
}

/// 400 for what a person wrote, read by the reader of files.
fn refused(problems: &[Found]) -> Problem {
    let status = StatusCode::BAD_REQUEST;
    let told: Vec<&str> = problems.iter().map(|problem| &*problem.message).collect();
    Problem::new(status, "bad-request", told.join("; "))
}

/// Reads a document that stands in a section of a file.
fn read_alone(text: &str) -> Result<File, Problem> {
    let loaded = load_among(text, &ChecklistOptions::default(), &Known::default());
    loaded.file.ok_or_else(|| refused(&loaded.problems))
}
