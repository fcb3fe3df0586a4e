//! Searching tasks.
//!
//! There is no index of tasks: conditions on executions (`workflowType`, `startTime`, …, free text
//! and order) are answered by the store, and what they leave is looked through until the page is
//! full. A search that finds too little in too many executions is refused with the advice to narrow
//! it.

use std::collections::HashSet;

use axum::extract::State;
use engine::PAYLOAD_MAX;
use kernel::access::Permission;
use kernel::graph::{Execution, Task};
use kernel::{ExecutionId, Json};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::routes;

use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;
use crate::rest::candidates::Candidates;
use crate::rest::extract::{LargeAnswer, Query, Share};
use crate::rest::query::{self, Question};
use crate::rest::summary::{holds, instant};
use crate::rest::view::{self, Lens};

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(search_tasks))
        .on(Permission::Read, routes!(search_tasks_whole))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct SearchParams {
    /// Tasks to skip; default 0, at most 1000000.
    start: Option<u64>,
    /// Tasks to return; default 100, at most 5000.
    size: Option<u64>,
    /// The order of the executions, `startTime:DESC`; default: newest first. The tasks of one
    /// execution are in the order in which they were scheduled.
    sort: Option<String>,
    /// Words that must all be found in the execution; `*` is everything.
    free_text: Option<String>,
    /// Conditions joined by AND: `taskType = 'HTTP' AND status IN (FAILED, TIMED_OUT)`. `status` is
    /// the task's; other fields than taskType, taskDefName, taskId, referenceTaskName and status
    /// are those of the execution.
    query: Option<String>,
}

/// Tasks in a page of which the size is not given.
const SIZE: u64 = 100;

/// Searches tasks; returns summaries.
#[utoipa::path(
    get, path = "/api/tasks/search", tag = "tasks", params(SearchParams),
    responses(
        (status = 200, description = "One page, and the total as far as it was counted", body = serde_json::Value),
        (status = 400, description = "The page could not be filled from the 5000 newest executions; narrow the query"),
    )
)]
async fn search_tasks(
    State(api): State<Api>,
    Query(params): Query<SearchParams>,
) -> Result<LargeAnswer, Problem> {
    find(&api, &params, |bytes| bytes.min(PAYLOAD_MAX), summary).await
}

/// Searches tasks; returns them in full.
#[utoipa::path(
    get, path = "/api/tasks/search-v2", tag = "tasks", params(SearchParams),
    responses(
        (status = 200, description = "One page, and the total as far as it was counted", body = serde_json::Value),
        (status = 400, description = "The page could not be filled from the 5000 newest executions; narrow the query"),
    )
)]
async fn search_tasks_whole(
    State(api): State<Api>,
    Query(params): Query<SearchParams>,
) -> Result<LargeAnswer, Problem> {
    let lens = Lens::of(&api.engine);
    find(&api, &params, |bytes| bytes, |state, task| view::task(state, task, lens)).await
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    total_hits: u64,
    results: Vec<Json>,
}

/// Finds the page. `bytes` says how much of a payload of so many bytes is shown.
async fn find(
    api: &Api,
    params: &SearchParams,
    bytes: impl Fn(usize) -> usize,
    show: impl Fn(&Execution, &Task) -> Json,
) -> Result<LargeAnswer, Problem> {
    let question = Question {
        query: params.query.as_deref(),
        free_text: params.free_text.as_deref(),
        sort: params.sort.as_deref(),
        start: params.start.unwrap_or(0),
        size: params.size.unwrap_or(SIZE),
        ..Question::default()
    };
    let asked = query::search_by_tasks(&question)?;
    let page = question.start..question.start.saturating_add(question.size);
    let mut candidates = Candidates::of(&api.engine, asked.executions);
    let mut found = Found { total_hits: 0, results: Vec::new() };
    let mut share = Share::default();
    // Of those behind the page it is only told that there are some.
    while found.total_hits <= page.end
        && let Some(head) = candidates.next().await?
    {
        let (mut on_page, mut size) = (HashSet::new(), 0_usize);
        let look = |state: &Execution| {
            let matches = |task: &&Task| asked.tasks.iter().all(|f| holds(f, state, task));
            for task in state.tasks().filter(matches) {
                if page.contains(&found.total_hits) {
                    on_page.insert(task.sequence);
                    size += bytes(task.input.len()) + bytes(task.output.len());
                }
                found.total_hits += 1;
            }
        };
        api.engine.read(&head.id, look).await?;
        if on_page.is_empty() {
            continue;
        }
        share.add(&api.settings.large_answers, size).await?;
        let look = |state: &Execution| {
            let tasks = state.tasks().filter(|task| on_page.contains(&task.sequence));
            found.results.extend(tasks.map(|task| show(state, task)));
        };
        api.engine.read(&head.id, look).await?;
    }
    Ok(LargeAnswer(Json::of(&found), share))
}

/// The protocol's `TaskSummary`: times and payloads are texts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    workflow_id: &'a ExecutionId,
    workflow_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    scheduled_time: String,
    start_time: String,
    update_time: String,
    end_time: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_for_incompletion: Option<&'a str>,
    execution_time: i64,
    queue_wait_time: i64,
    task_def_name: &'a str,
    task_type: &'a str,
    task_reference_name: &'a str,
    input: &'a str,
    output: &'a str,
    task_id: String,
    workflow_priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
}

/// What a summary shows of a payload.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(PAYLOAD_MAX)]
}

fn summary(state: &Execution, task: &Task) -> Json {
    let started = task.started_at.unwrap_or_default();
    let (input, output) = (state.shown(&task.input), state.shown(&state.output_of(task)));
    Json::of(&Summary {
        workflow_id: &state.id,
        workflow_type: &state.plan().definition.name,
        correlation_id: state.correlation_id.as_deref(),
        scheduled_time: instant(task.scheduled_at),
        start_time: instant(started),
        update_time: instant(task.updated_at),
        end_time: instant(task.ended_at.unwrap_or_default()),
        status: task.status.as_str(),
        reason_for_incompletion: task.reason.as_deref(),
        execution_time: task.ended_at.map_or(0, |ended| ended.since(started).max(0)),
        queue_wait_time: task.started_at.map_or(0, |at| at.since(task.scheduled_at).max(0)),
        task_def_name: &task.name,
        task_type: &task.task_type,
        task_reference_name: &task.reference,
        input: beginning(input.text()),
        output: beginning(output.text()),
        task_id: state.task_id(task.sequence).to_string(),
        workflow_priority: state.priority,
        domain: task.domain.as_deref(),
    })
}
