//! Searching tasks.
//!
//! There is no index of tasks: conditions on executions (`workflowType`, `startTime`, …, free text
//! and order) are answered by the store, and what they leave is looked through. A search that
//! would look through too many executions is refused with the advice to narrow it.

use axum::extract::State;
use engine::Engine;
use engine::search::{PAGE_MAX, Search};
use kernel::graph::{Execution, Task};
use kernel::{ExecutionId, Json};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::problem::Problem;
use crate::rest::extract::{Answer, Query};
use crate::rest::query::{self, Question};
use crate::rest::summary::{holds, instant};
use crate::rest::view::{self, Lens};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(search_tasks)).routes(routes!(search_tasks_whole))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct SearchParams {
    /// Tasks to skip; default 0.
    start: Option<u64>,
    /// Tasks to answer; default 100, at most 5000.
    size: Option<u64>,
    /// The order of the executions, `startTime:DESC`; newest first without. The tasks of one
    /// stand in the order in which they were scheduled.
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

/// Searches tasks and answers summaries.
#[utoipa::path(
    get, path = "/api/tasks/search", tag = "tasks", params(SearchParams),
    responses(
        (status = 200, description = "The page and the number of all", body = serde_json::Value),
        (status = 400, description = "Too many executions would have to be looked through"),
    )
)]
async fn search_tasks(
    State(api): State<Api>,
    Query(params): Query<SearchParams>,
) -> Result<Answer, Problem> {
    find(&api.engine, &params, summary).await.map(Answer)
}

/// Searches tasks and answers them whole.
#[utoipa::path(
    get, path = "/api/tasks/search-v2", tag = "tasks", params(SearchParams),
    responses(
        (status = 200, description = "The page and the number of all", body = serde_json::Value),
        (status = 400, description = "Too many executions would have to be looked through"),
    )
)]
async fn search_tasks_whole(
    State(api): State<Api>,
    Query(params): Query<SearchParams>,
) -> Result<Answer, Problem> {
    let lens = Lens::of(&api.engine);
    find(&api.engine, &params, |state, task| view::task(state, task, lens)).await.map(Answer)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    total_hits: u64,
    results: Vec<Json>,
}

async fn find(
    engine: &Engine,
    params: &SearchParams,
    show: impl Fn(&Execution, &Task) -> Json,
) -> Result<Json, Problem> {
    let question = Question {
        query: params.query.as_deref(),
        free_text: params.free_text.as_deref(),
        sort: params.sort.as_deref(),
        start: params.start.unwrap_or(0),
        size: params.size.unwrap_or(SIZE),
        ..Question::default()
    };
    let asked = query::search_by_tasks(&question)?;
    let all = Search { start: 0, size: PAGE_MAX, ..asked.executions };
    let candidates = engine.store().search(&all).await?;
    if candidates.total > PAGE_MAX {
        let message = format!("more than {PAGE_MAX} executions would have to be looked through");
        return Err(Problem::bad_request(message)
            .with_hint("Narrow the search, for example by workflowType or startTime."));
    }
    let page = question.start..question.start.saturating_add(question.size);
    let mut found = Found { total_hits: 0, results: Vec::new() };
    for head in candidates.rows {
        let look = |state: &Execution| {
            let matches = |task: &&Task| asked.tasks.iter().all(|f| holds(f, state, task));
            for task in state.tasks().filter(matches) {
                if page.contains(&found.total_hits) {
                    found.results.push(show(state, task));
                }
                found.total_hits += 1;
            }
        };
        engine.read(&head.id, look).await?;
    }
    Ok(Json::of(&found))
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
        input: input.text(),
        output: output.text(),
        task_id: state.task_id(task.sequence).to_string(),
        workflow_priority: state.priority,
        domain: task.domain.as_deref(),
    })
}
