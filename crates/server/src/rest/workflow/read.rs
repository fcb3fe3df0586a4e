//! Showing executions.

use std::collections::BTreeMap;

use axum::extract::State;
use engine::Engine;
use engine::search::{Counting, Filter, PAGE_MAX, Search, TextField, TimeField};
use engine::store::Head;
use kernel::access::{Permission, Resource};
use kernel::graph::{Execution, Status, TaskStatus};
use kernel::{ExecutionId, Json, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::start::external_storage;
use crate::Api;
use crate::access::{Routes, Scope};
use crate::problem::Problem;
use crate::rest::extract::{
    Answer, Body, LargeAnswer, Path, Query, RawQuery, Share, execution_id, lenient,
    unknown_workflow,
};
use crate::rest::metadata::apart;
use crate::rest::view::{self, Lens, Slice};

pub(super) fn routes() -> Routes {
    let read = || Permission::Read.within(&[Resource::Workflow]);
    Routes::new()
        .on(read(), routes!(get_workflow))
        .on(read(), routes!(get_workflow_status))
        .on(read(), routes!(list_workflow_tasks))
        .on(read(), routes!(list_correlated))
        .on(read(), routes!(list_correlated_many))
        .on(read(), routes!(list_running))
        .on(Permission::Read, routes!(external_storage_location))
        .on(Permission::Read, routes!(external_storage_location_dashed))
}

/// Looks at an execution.
///
/// # Errors
/// 404 if there is none.
pub(in crate::rest) async fn show<R>(
    engine: &Engine,
    id: &str,
    look: impl FnOnce(&Execution) -> R,
) -> Result<R, Problem> {
    let shown = engine.read(&execution_id(id)?, look).await?;
    shown.ok_or_else(|| unknown_workflow(id))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct GetParams {
    /// Default true.
    #[serde(default = "yes", deserialize_with = "lenient::flag")]
    include_tasks: bool,
    /// Whether to mask secrets wherever they occur, also where a worker told one that its task was not
    /// given: for what leaves this server. Default false: what a task tells of its own is masked anyway.
    #[serde(default, deserialize_with = "lenient::flag")]
    mask_secrets: bool,
}

fn yes() -> bool {
    true
}

/// Shows an execution with its tasks.
#[utoipa::path(
    get, path = "/api/workflow/{id}", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution"), GetParams),
    responses((status = 200, description = "The execution", body = serde_json::Value))
)]
async fn get_workflow(
    State(api): State<Api>,
    scope: Scope,
    Path(id): Path<String>,
    Query(params): Query<GetParams>,
) -> Result<LargeAnswer, Problem> {
    scope.must_cover_run(&api.engine, &id).await?;
    let share = room_for(&api, &id, params.include_tasks).await?;
    let shown = show_whole(&api, &id, params.include_tasks, share).await?;
    if !params.mask_secrets {
        return Ok(shown);
    }
    let mask = api.engine.mask_of(&execution_id(&id)?).await?;
    let LargeAnswer(json, share) = shown;
    let masked = apart(move || Ok(mask.json(json))).await?;
    Ok(LargeAnswer(masked, share))
}

/// Waits until there is memory for showing an execution: before it is changed, where that is asked
/// for too.
///
/// # Errors
/// 404 if there is none; 503 if other large answers take too much memory for too long.
pub(in crate::rest) async fn room_for(
    api: &Api,
    id: &str,
    with_tasks: bool,
) -> Result<Share, Problem> {
    let bytes = |state: &Execution| view::payload_bytes(state, with_tasks);
    let bytes = show(&api.engine, id, bytes).await?;
    Share::of(&api.settings.large_answers, bytes).await
}

/// Shows an execution for which there is memory.
///
/// # Errors
/// 404 if there is none.
pub(in crate::rest) async fn show_whole(
    api: &Api,
    id: &str,
    with_tasks: bool,
    share: Share,
) -> Result<LargeAnswer, Problem> {
    let lens = Lens::of(&api.engine);
    let json = show(&api.engine, id, |state| view::workflow(state, with_tasks, lens)).await?;
    Ok(LargeAnswer(json, share))
}

/// Shows one of several executions of an answer, once there is memory for it; `None` if it is gone.
///
/// # Errors
/// As [`Share::add`].
pub(in crate::rest) async fn show_among(
    api: &Api,
    id: &ExecutionId,
    with_tasks: bool,
    share: &mut Share,
) -> Result<Option<Json>, Problem> {
    let bytes = |state: &Execution| view::payload_bytes(state, with_tasks);
    let Some(bytes) = api.engine.read(id, bytes).await? else { return Ok(None) };
    share.add(&api.settings.large_answers, bytes).await?;
    let lens = Lens::of(&api.engine);
    Ok(api.engine.read(id, |state| view::workflow(state, with_tasks, lens)).await?)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct StatusParams {
    /// Default false.
    #[serde(default, deserialize_with = "lenient::flag")]
    include_output: bool,
    /// Default false.
    #[serde(default, deserialize_with = "lenient::flag")]
    include_variables: bool,
}

/// Shows the status of an execution.
#[utoipa::path(
    get, path = "/api/workflow/{id}/status", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution"), StatusParams),
    responses((status = 200, description = "Its status", body = serde_json::Value))
)]
async fn get_workflow_status(
    State(api): State<Api>,
    scope: Scope,
    Path(id): Path<String>,
    Query(params): Query<StatusParams>,
) -> Result<Answer, Problem> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Standing<'a> {
        workflow_id: &'a ExecutionId,
        #[serde(skip_serializing_if = "Option::is_none")]
        correlation_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<Json>,
        #[serde(skip_serializing_if = "Option::is_none")]
        variables: Option<Json>,
        status: Status,
    }
    scope.must_cover_run(&api.engine, &id).await?;
    let look = |state: &Execution| {
        Json::of(&Standing {
            workflow_id: &state.id,
            correlation_id: state.correlation_id.as_deref(),
            output: params.include_output.then(|| state.shown(&state.output)),
            variables: params.include_variables.then(|| state.shown(&state.variables)),
            status: state.status,
        })
    };
    show(&api.engine, &id, look).await.map(Answer)
}

/// Lists the tasks of an execution, a page at a time.
#[utoipa::path(
    get, path = "/api/workflow/{id}/tasks", tag = "workflow",
    params(
        ("id" = String, Path, description = "The id of the execution"),
        ("start" = Option<u32>, Query, description = "Tasks to skip; default 0"),
        ("count" = Option<u32>, Query, description = "Tasks to list; default 15"),
        ("status" = Option<Vec<String>>, Query, description = "Only tasks of these statuses"),
        ("payloads" = Option<bool>, Query, description = "`false` leaves out `inputData`, `outputData`, `workflowTask` and `taskDefinition`; default `true`"),
    ),
    responses((status = 200, description = "One page, and the total number", body = serde_json::Value))
)]
async fn list_workflow_tasks(
    State(api): State<Api>,
    scope: Scope,
    Path(id): Path<String>,
    RawQuery(pairs): RawQuery,
) -> Result<LargeAnswer, Problem> {
    scope.must_cover_run(&api.engine, &id).await?;
    let mut slice = Slice { start: 0, count: 15, payloads: true };
    let mut statuses = Vec::new();
    for (name, value) in &pairs {
        let number = || {
            let wrong = |_| Problem::bad_request(format!("'{name}' must be a whole number from 0"));
            value.trim().parse::<usize>().map_err(wrong)
        };
        match name.as_str() {
            "start" => slice.start = number()?,
            "count" => slice.count = number()?,
            "payloads" => {
                let wrong = || Problem::bad_request("'payloads' must be true or false");
                slice.payloads = lenient::truth(value).ok_or_else(wrong)?;
            }
            "status" => {
                for word in value.split(',') {
                    statuses.push(task_status(word)?);
                }
            }
            _ => {}
        }
    }
    let lens = Lens::of(&api.engine);
    let keep = |status| statuses.is_empty() || statuses.contains(&status);
    // Of a large execution a small page is no large answer.
    let share = match slice.count {
        0..=TASKS_UNCOUNTED => Share::default(),
        _ => room_for(&api, &id, slice.payloads).await?,
    };
    let look = |state: &Execution| view::tasks(state, lens, slice, keep);
    Ok(LargeAnswer(show(&api.engine, &id, look).await?, share))
}

/// Tasks in a page of which the size is not looked at.
const TASKS_UNCOUNTED: usize = 15;

fn task_status(word: &str) -> Result<TaskStatus, Problem> {
    TaskStatus::parse(&word.trim().to_ascii_uppercase()).ok_or_else(|| {
        let known = TaskStatus::ALL.map(TaskStatus::as_str).join(", ");
        Problem::bad_request(format!("there is no task status '{word}'; there are {known}"))
    })
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
pub(super) struct CorrelatedParams {
    /// Include executions that have ended; default false.
    #[serde(default, deserialize_with = "lenient::flag")]
    include_closed: bool,
    /// Default false.
    #[serde(default, deserialize_with = "lenient::flag")]
    include_tasks: bool,
}

/// Lists the executions of a workflow with a correlation id.
#[utoipa::path(
    get, path = "/api/workflow/{name}/correlated/{correlationId}", tag = "workflow",
    params(
        ("name" = String, Path, description = "The name of the workflow"),
        ("correlationId" = String, Path, description = "The label"),
        CorrelatedParams,
    ),
    responses((status = 200, description = "The executions", body = serde_json::Value))
)]
async fn list_correlated(
    State(api): State<Api>,
    scope: Scope,
    Path((name, correlation_id)): Path<(String, String)>,
    Query(params): Query<CorrelatedParams>,
) -> Result<LargeAnswer, Problem> {
    scope.must_cover_workflow(&api.engine, &name).await?;
    let mut share = Share::default();
    let found = correlated_with(&api, &name, &correlation_id, &params, &mut share).await?;
    Ok(LargeAnswer(Json::of(&found), share))
}

/// Lists the executions of a workflow with one of several correlation ids.
#[utoipa::path(
    post, path = "/api/workflow/{name}/correlated", tag = "workflow", request_body = Vec<String>,
    params(("name" = String, Path, description = "The name of the workflow"), CorrelatedParams),
    responses((status = 200, description = "The executions by label", body = serde_json::Value))
)]
async fn list_correlated_many(
    State(api): State<Api>,
    scope: Scope,
    Path(name): Path<String>,
    Query(params): Query<CorrelatedParams>,
    Body(labels): Body<Vec<String>>,
) -> Result<LargeAnswer, Problem> {
    scope.must_cover_workflow(&api.engine, &name).await?;
    if labels.len() > LABELS_MAX {
        return Err(Problem::bad_request(format!("more than {LABELS_MAX} correlation ids")));
    }
    let (mut found, mut share) = (BTreeMap::new(), Share::default());
    for label in labels {
        let executions = correlated_with(&api, &name, &label, &params, &mut share).await?;
        found.insert(label, executions);
    }
    Ok(LargeAnswer(Json::of(&found), share))
}

/// Correlation ids in one request.
pub(super) const LABELS_MAX: usize = 1000;

pub(super) async fn correlated_with(
    api: &Api,
    name: &str,
    correlation_id: &str,
    params: &CorrelatedParams,
    share: &mut Share,
) -> Result<Vec<Json>, Problem> {
    let mut filters = vec![
        Filter::In(TextField::Name, vec![name.to_owned()]),
        Filter::In(TextField::CorrelationId, vec![correlation_id.to_owned()]),
    ];
    if !params.include_closed {
        filters.push(Filter::In(TextField::Status, vec![Status::Running.as_str().to_owned()]));
    }
    let search = Search { filters, size: PAGE_MAX, ..Search::default() };
    let page = api.engine.store().search(&search).await?;
    let mut found = Vec::new();
    for head in page.rows {
        // A `*` in a filter matches anything; here it is meant literally.
        let exact = *head.name == *name && head.correlation_id.as_deref() == Some(correlation_id);
        if !exact {
            continue;
        }
        found.extend(show_among(api, &head.id, params.include_tasks, share).await?);
    }
    Ok(found)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct RunningParams {
    /// Default 1.
    version: Option<u32>,
    /// With `endTime`: executions in any state that were created between the two, in milliseconds.
    start_time: Option<i64>,
    end_time: Option<i64>,
}

/// Lists the ids of the executions of a workflow that have not ended.
#[utoipa::path(
    get, path = "/api/workflow/running/{name}", tag = "workflow",
    params(("name" = String, Path, description = "The name of the workflow"), RunningParams),
    responses((status = 200, description = "The ids", body = Vec<String>))
)]
async fn list_running(
    State(api): State<Api>,
    scope: Scope,
    Path(name): Path<String>,
    Query(params): Query<RunningParams>,
) -> Result<axum::Json<Vec<ExecutionId>>, Problem> {
    scope.must_cover_workflow(&api.engine, &name).await?;
    let version = params.version.filter(|version| *version > 0).unwrap_or(1);
    let mut filters =
        vec![Filter::In(TextField::Name, vec![name.clone()]), Filter::Version(vec![version])];
    match (params.start_time.unwrap_or(0), params.end_time.unwrap_or(0)) {
        (0, _) | (_, 0) => filters.push(Filter::Closed(false)),
        (from, to) => {
            let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(to));
            filters.push(Filter::After(TimeField::Created, from.plus_millis(-1)));
            filters.push(Filter::Before(TimeField::Created, to.plus_millis(1)));
        }
    }
    let mut ids = Vec::new();
    for page in 0..PAGES_MAX {
        let start = page * PAGE_MAX;
        let search = Search {
            filters: filters.clone(),
            start,
            size: PAGE_MAX,
            counting: Counting::Next,
            ..Search::default()
        };
        let rows: Vec<Head> = api.engine.store().search(&search).await?.rows;
        let is_last = (rows.len() as u64) < PAGE_MAX;
        ids.extend(rows.into_iter().filter(|head| *head.name == *name).map(|head| head.id));
        if is_last {
            break;
        }
    }
    Ok(axum::Json(ids))
}

/// Pages of ids in one answer.
const PAGES_MAX: u64 = 20;

/// Not supported: there is no external payload storage.
#[utoipa::path(
    get, path = "/api/workflow/externalstoragelocation", tag = "workflow",
    responses((status = 400, description = "Not supported"))
)]
async fn external_storage_location() -> Problem {
    external_storage()
}

/// Not supported: there is no external payload storage.
#[utoipa::path(
    get, path = "/api/workflow/external-storage-location", tag = "workflow",
    responses((status = 400, description = "Not supported"))
)]
async fn external_storage_location_dashed() -> Problem {
    external_storage()
}
