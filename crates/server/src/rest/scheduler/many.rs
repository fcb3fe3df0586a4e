//! Lists of schedules, and operations on many.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use engine::Engine;
use engine::search::{Filter, PAGE_MAX, Search, Sort, SortField, TextField};
use kernel::MachineKind;
use kernel::schedule::{Input, Schedule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{Api, Body, Problem, Query, say, view};
use crate::rest::extract::lenient;

/// Why a schedule is paused that was paused with all others.
const ALL_PAUSED: &str = "all schedules are paused";

/// Schedules in one request.
const NAMES_MAX: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListParams {
    /// Only schedules that start this workflow.
    workflow_name: Option<String>,
}

/// Lists all schedules, by name.
#[utoipa::path(
    operation_id = "list_schedules", get, path = "/api/scheduler/schedules", tag = "scheduler", params(ListParams),
    responses((status = 200, description = "The schedules", body = Vec<serde_json::Value>))
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(params): Query<ListParams>,
) -> Result<Json<Vec<Value>>, Problem> {
    let wanted =
        |state: &Schedule| params.workflow_name.as_ref().is_none_or(|name| starts(state) == *name);
    all(&api.engine, |state| wanted(state).then(|| view::schedule(state))).await.map(Json)
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct TagParams {
    /// `key:value`, or the key alone.
    tag: Option<String>,
}

/// Lists the schedules that have a tag.
#[utoipa::path(
    get, path = "/api/scheduler/schedules/tags", tag = "scheduler", params(TagParams),
    responses(
        (status = 200, description = "The schedules", body = Vec<serde_json::Value>),
        (status = 400, description = "No tag is given"),
    )
)]
pub(super) async fn tagged(
    State(api): State<Api>,
    Query(params): Query<TagParams>,
) -> Result<Json<Vec<Value>>, Problem> {
    let tag = params.tag.filter(|tag| !tag.is_empty());
    let tag = tag
        .ok_or_else(|| Problem::bad_request("no tag is named").with_hint("Add ?tag=key:value."))?;
    let (key, value) = match tag.split_once(':') {
        Some((key, value)) => (key, Some(value)),
        None => (tag.as_str(), None),
    };
    let wanted = |state: &Schedule| {
        let tags = state.spec.iter().flat_map(|spec| &spec.tags);
        let mut of_key = tags.filter(|tag| *tag.key == *key);
        of_key.any(|tag| value.is_none_or(|value| *tag.value == *value))
    };
    all(&api.engine, |state| wanted(state).then(|| view::schedule(state))).await.map(Json)
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SearchParams {
    /// Only schedules that start this workflow.
    workflow_name: Option<String>,
    /// Only schedules whose name contains this; `*` matches any characters.
    schedule_name: Option<String>,
    /// The same as `scheduleName`.
    name: Option<String>,
    /// `true`: only paused schedules; `false`: only others.
    #[serde(deserialize_with = "optional_flag")]
    #[param(value_type = Option<bool>)]
    paused: Option<bool>,
    /// Words that all occur in the schedule; `*` is everything.
    free_text: Option<String>,
    /// Schedules to skip.
    start: Option<usize>,
    /// Schedules to return; 100 by default.
    size: Option<usize>,
    /// `name`, `createTime`, `updatedTime` or `nextRunTime`, with `:ASC` or `:DESC`.
    sort: Option<String>,
}

fn optional_flag<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<bool>, D::Error> {
    lenient::flag(input).map(Some)
}

/// Searches schedules.
#[utoipa::path(
    operation_id = "search_schedules", get, path = "/api/scheduler/schedules/search", tag = "scheduler", params(SearchParams),
    responses((status = 200, description = "`totalHits` and a page of `results`", body = serde_json::Value))
)]
pub(super) async fn search(
    State(api): State<Api>,
    Query(params): Query<SearchParams>,
) -> Result<Json<Value>, Problem> {
    let by = sort(params.sort.as_deref().unwrap_or("name:ASC"))?;
    let size = params.size.unwrap_or(100);
    if size as u64 > PAGE_MAX {
        let message = format!("size {size} is larger than the largest page of {PAGE_MAX}");
        return Err(Problem::bad_request(message));
    }
    let mut found = all(&api.engine, |state| matches(&params, state)).await?;
    let (field, descending) = by;
    found.sort_by(|a, b| {
        let order = match field {
            "name" => a["name"].as_str().cmp(&b["name"].as_str()),
            time => a[time].as_i64().cmp(&b[time].as_i64()),
        };
        if descending { order.reverse() } else { order }
    });
    let total = found.len();
    let results: Vec<Value> =
        found.into_iter().skip(params.start.unwrap_or(0)).take(size).collect();
    Ok(Json(json!({ "totalHits": total, "results": results })))
}

/// Shows a schedule that a search asks for.
fn matches(params: &SearchParams, state: &Schedule) -> Option<Value> {
    let named = |wanted: &Option<String>| {
        wanted.as_ref().is_none_or(|wanted| {
            let (wanted, name) = (wanted.to_lowercase(), state.id.name().to_lowercase());
            if wanted.contains('*') {
                engine::search::like(&wanted, &name)
            } else {
                name.contains(&wanted)
            }
        })
    };
    let fits = named(&params.schedule_name)
        && named(&params.name)
        && params.paused.is_none_or(|paused| paused == state.paused)
        && params.workflow_name.as_ref().is_none_or(|name| starts(state) == *name);
    if !fits {
        return None;
    }
    let shown = view::schedule(state);
    let words = params.free_text.as_deref().unwrap_or_default().to_lowercase();
    let text = if words.is_empty() { String::new() } else { shown.to_string().to_lowercase() };
    let mut words = words.split_whitespace().filter(|word| *word != "*");
    words.all(|word| text.contains(word)).then_some(shown)
}

fn sort(text: &str) -> Result<(&str, bool), Problem> {
    let (field, direction) = text.split_once([':', ' ']).unwrap_or((text, "ASC"));
    let field = if field == "updateTime" { "updatedTime" } else { field };
    let known = ["name", "createTime", "updatedTime", "nextRunTime"];
    match direction.to_ascii_uppercase().as_str() {
        "ASC" if known.contains(&field) => Ok((field, false)),
        "DESC" if known.contains(&field) => Ok((field, true)),
        _ => {
            let hint = format!("Write one of {}, with :ASC or :DESC.", known.join(", "));
            Err(Problem::bad_request(format!("cannot sort by '{text}'")).with_hint(hint))
        }
    }
}

/// What became of each.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BulkResponse {
    /// Errors by name.
    bulk_error_results: BTreeMap<String, String>,
    /// Ids of successful results.
    bulk_successful_results: Vec<String>,
    message: &'static str,
}

async fn each(
    engine: &Engine,
    names: Vec<String>,
    input: &Input,
) -> Result<Json<BulkResponse>, Problem> {
    if names.len() > NAMES_MAX {
        let count = names.len();
        let message = format!("at most {NAMES_MAX} schedules in one request; there are {count}");
        return Err(Problem::bad_request(message));
    }
    let mut response =
        BulkResponse { message: "Bulk Request has been processed.", ..BulkResponse::default() };
    for name in names {
        match say(engine, &name, input.clone()).await {
            Ok(()) => response.bulk_successful_results.push(name),
            Err(problem) => _ = response.bulk_error_results.insert(name, problem.message),
        }
    }
    Ok(Json(response))
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct BulkPauseParams {
    /// Why, for people.
    reason: Option<String>,
}

/// Pauses several schedules.
#[utoipa::path(
    put, path = "/api/scheduler/bulk/pause", tag = "scheduler", request_body = Vec<String>,
    params(BulkPauseParams),
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
pub(super) async fn bulk_pause(
    State(api): State<Api>,
    Query(params): Query<BulkPauseParams>,
    Body(names): Body<Vec<String>>,
) -> Result<Json<BulkResponse>, Problem> {
    let reason = params.reason.map(Into::into);
    each(&api.engine, names, &Input::Pause { reason }).await
}

/// Resumes several paused schedules.
#[utoipa::path(
    put, path = "/api/scheduler/bulk/resume", tag = "scheduler", request_body = Vec<String>,
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
pub(super) async fn bulk_resume(
    State(api): State<Api>,
    Body(names): Body<Vec<String>>,
) -> Result<Json<BulkResponse>, Problem> {
    each(&api.engine, names, &Input::Resume).await
}

/// Evaluates the timers of every schedule now. There is nothing to requeue: timers are derived from
/// the state.
#[utoipa::path(
    get, path = "/api/scheduler/admin/requeue", tag = "scheduler",
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
pub(super) async fn requeue(State(api): State<Api>) -> Result<Json<BulkResponse>, Problem> {
    let names = all(&api.engine, |state| Some(state.id.name().to_owned())).await?;
    each_of_all(&api.engine, names, &Input::Wake).await
}

/// Pauses every schedule that is not paused.
#[utoipa::path(
    get, path = "/api/scheduler/admin/pause", tag = "scheduler",
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
pub(super) async fn pause_all(State(api): State<Api>) -> Result<Json<BulkResponse>, Problem> {
    let running = |state: &Schedule| (!state.paused).then(|| state.id.name().to_owned());
    let names = all(&api.engine, running).await?;
    each_of_all(&api.engine, names, &Input::Pause { reason: Some(ALL_PAUSED.into()) }).await
}

/// Resumes every schedule that was paused together with all others.
#[utoipa::path(
    get, path = "/api/scheduler/admin/resume", tag = "scheduler",
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
pub(super) async fn resume_all(State(api): State<Api>) -> Result<Json<BulkResponse>, Problem> {
    let paused = |state: &Schedule| {
        let with_all = state.paused_reason.as_deref() == Some(ALL_PAUSED);
        with_all.then(|| state.id.name().to_owned())
    };
    let names = all(&api.engine, paused).await?;
    each_of_all(&api.engine, names, &Input::Resume).await
}

async fn each_of_all(
    engine: &Engine,
    names: Vec<String>,
    input: &Input,
) -> Result<Json<BulkResponse>, Problem> {
    let mut whole =
        BulkResponse { message: "Bulk Request has been processed.", ..BulkResponse::default() };
    for names in names.chunks(NAMES_MAX) {
        let Json(part) = each(engine, names.to_vec(), input).await?;
        whole.bulk_error_results.extend(part.bulk_error_results);
        whole.bulk_successful_results.extend(part.bulk_successful_results);
    }
    Ok(Json(whole))
}

fn starts(state: &Schedule) -> String {
    state.spec.as_ref().map_or_else(String::new, |spec| spec.workflow_name())
}

/// Looks at every schedule, by name. One that cannot be read is left out and logged.
async fn all<R>(engine: &Engine, look: impl Fn(&Schedule) -> Option<R>) -> Result<Vec<R>, Problem> {
    let mut found = Vec::new();
    let mut search = Search {
        machine: MachineKind::Schedule,
        filters: vec![Filter::Closed(false)],
        sort: vec![Sort { by: SortField::Text(TextField::Name), descending: false }],
        size: PAGE_MAX,
        ..Search::default()
    };
    loop {
        let page = engine.store().search(&search).await?;
        for head in &page.rows {
            let shown = engine
                .look(&head.id, |hosted| {
                    hosted.schedule().filter(|state| state.is_defined()).and_then(&look)
                })
                .await;
            match shown {
                Ok(shown) => found.extend(shown.flatten()),
                Err(error) => {
                    tracing::warn!(schedule = head.id.name(), %error, "a schedule cannot be read");
                }
            }
        }
        search.start += PAGE_MAX;
        if search.start >= page.total {
            return Ok(found);
        }
    }
}
