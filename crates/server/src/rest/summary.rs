//! Searches, and the protocol's `WorkflowSummary`.
//!
//! The store answers which executions match from its head rows; what a row does not hold (input,
//! output, failed task names) is read for the one page that is answered.

use std::collections::BTreeSet;

use axum::extract::State;
use engine::search::{Filter, Search, like};
use engine::store::Head;
use engine::{Brief, Engine};
use kernel::access::{Permission, Resource};
use kernel::durable::instance::Instance;
use kernel::graph::{Execution, Task};
use kernel::{ExecutionId, Json, MachineKind, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::candidates::Candidates;
use super::code;
use super::extract::{LargeAnswer, Query, Share, lenient};
use super::query::{self, Question, TaskFilter, WORKFLOW};
use super::workflow::show_among;
use crate::Api;
use crate::access::{Routes, Scope};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    let read = || Permission::Read.within(&[Resource::Workflow]);
    Routes::new()
        .on(read(), routes!(search_workflows))
        .on(read(), routes!(search_workflows_whole))
        .on(read(), routes!(search_workflows_by_tasks))
        .on(read(), routes!(search_workflows_by_tasks_whole))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct SearchParams {
    /// Rows to skip; default 0, at most 1000000.
    start: Option<u64>,
    /// Rows to return; default 100, at most 5000.
    size: Option<u64>,
    /// `startTime:DESC`, several joined by `|`; default: newest first.
    sort: Option<String>,
    /// Words that must all be found; `*` is everything.
    free_text: Option<String>,
    /// Conditions joined by AND: `workflowType = 'x' AND status IN (FAILED, TIMED_OUT)`.
    query: Option<String>,
    /// Kinds of runs, comma-separated: `workflow` (the default) and `orchestration`; `*` is both.
    classifier: Option<String>,
    /// Only executions that no other execution started.
    #[serde(default, deserialize_with = "lenient::flag")]
    top_level_only: bool,
    /// Search words as in the console, instead of all other conditions: `status:FAILED
    /// name:nightly* after:24h words`.
    find: Option<String>,
}

impl SearchParams {
    fn search(&self, engine: &Engine) -> Result<Search, Problem> {
        let Some(find) = &self.find else { return query::search(&self.question()) };
        if self.free_text.is_some() || self.query.is_some() || self.classifier.is_some() {
            return Err(apart_from_find());
        }
        let now = engine.now();
        let mut typed = engine::Question::read(find, now).map_err(engine::Error::from)?;
        typed.resolve(&engine.queues().stuck(now));
        let found = typed.search(&typed.statuses);
        // Order, page and the rest are as without it.
        let mut search = query::search(&Question { free_text: None, ..self.question() })?;
        (search.machine, search.beside) = (found.machine, found.beside);
        search.filters = found.filters;
        search.filters.extend(self.top_level_only.then_some(Filter::TopLevel));
        search.free_text = found.free_text;
        Ok(search)
    }

    fn question(&self) -> Question<'_> {
        Question {
            query: self.query.as_deref(),
            free_text: self.free_text.as_deref(),
            sort: self.sort.as_deref(),
            classifier: self.classifier.as_deref(),
            top_level: self.top_level_only,
            start: self.start.unwrap_or(0),
            size: self.size.unwrap_or(SIZE),
        }
    }
}

fn apart_from_find() -> Problem {
    Problem::bad_request("'find' stands instead of freeText, query and classifier")
        .with_hint("Write everything into find, such as status:FAILED name:nightly* words.")
}

/// Rows in a page of which the size is not given.
const SIZE: u64 = 100;

/// A page of an answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    total_hits: u64,
    results: Vec<Json>,
}

/// Searches executions; returns summaries.
#[utoipa::path(
    get, path = "/api/workflow/search", tag = "workflow", params(SearchParams),
    responses((status = 200, description = "One page, and the total number", body = serde_json::Value))
)]
async fn search_workflows(
    State(api): State<Api>,
    scope: Scope,
    Query(params): Query<SearchParams>,
) -> Result<LargeAnswer, Problem> {
    let mut search = params.search(&api.engine)?;
    scope.narrow(&api.engine, &mut search).await?;
    answer(&api, &search, false).await
}

/// Searches executions; returns them in full, without tasks.
#[utoipa::path(
    get, path = "/api/workflow/search-v2", tag = "workflow", params(SearchParams),
    responses((status = 200, description = "One page, and the total number", body = serde_json::Value))
)]
async fn search_workflows_whole(
    State(api): State<Api>,
    scope: Scope,
    Query(params): Query<SearchParams>,
) -> Result<LargeAnswer, Problem> {
    let mut search = params.search(&api.engine)?;
    scope.narrow(&api.engine, &mut search).await?;
    answer(&api, &search, true).await
}

async fn answer(api: &Api, search: &Search, whole: bool) -> Result<LargeAnswer, Problem> {
    let page = api.engine.store().search(search).await?;
    let mut share = Share::default();
    let results = show(api, &page.rows, whole, &mut share).await?;
    Ok(LargeAnswer(Json::of(&Found { total_hits: page.total, results }), share))
}

/// Shows executions, without those that were removed meanwhile. In a list one with a long history
/// is shown from its brief.
async fn show(
    api: &Api,
    heads: &[Head],
    whole: bool,
    share: &mut Share,
) -> Result<Vec<Json>, Problem> {
    let engine = &api.engine;
    let mut briefs = Vec::new();
    if !whole {
        let ids: Vec<ExecutionId> = heads.iter().map(|head| head.id.clone()).collect();
        briefs = engine.store().briefs(&ids).await?;
    }
    let mut shown = Vec::with_capacity(heads.len());
    for (at, head) in heads.iter().enumerate() {
        let brief = briefs.get_mut(at).and_then(Option::take).and_then(|(head, text)| {
            let brief: Brief = serde_json::from_str(&text).ok()?;
            Some(summary(&head, &brief))
        });
        shown.extend(match (brief, head.id.machine()) {
            (Some(brief), _) => Some(brief),
            (None, MachineKind::Instance) => {
                let look = |state: &Instance| {
                    if whole { code::workflow(state) } else { code::summary(state) }
                };
                engine.instance(&head.id, look).await?
            }
            (None, _) if whole => show_among(api, &head.id, false, share).await?,
            (None, _) => {
                let look = |state: &Execution| {
                    let (head, brief) = Brief::with_head(state);
                    summary(&head, &brief)
                };
                engine.read(&head.id, look).await?
            }
        });
    }
    Ok(shown)
}

/// Searches executions by their tasks; returns summaries.
#[utoipa::path(
    get, path = "/api/workflow/search-by-tasks", tag = "workflow", params(SearchParams),
    responses((status = 200, description = "One page, and the total number", body = serde_json::Value))
)]
async fn search_workflows_by_tasks(
    State(api): State<Api>,
    scope: Scope,
    Query(params): Query<SearchParams>,
) -> Result<LargeAnswer, Problem> {
    by_tasks(&api, &scope, &params, false).await
}

/// Searches executions by their tasks; returns them in full, without tasks.
#[utoipa::path(
    get, path = "/api/workflow/search-by-tasks-v2", tag = "workflow", params(SearchParams),
    responses((status = 200, description = "One page, and the total number", body = serde_json::Value))
)]
async fn search_workflows_by_tasks_whole(
    State(api): State<Api>,
    scope: Scope,
    Query(params): Query<SearchParams>,
) -> Result<LargeAnswer, Problem> {
    by_tasks(&api, &scope, &params, true).await
}

/// Looks through the tasks of the executions that match until the page is full. The total then says
/// that there is more.
async fn by_tasks(
    api: &Api,
    scope: &Scope,
    params: &SearchParams,
    whole: bool,
) -> Result<LargeAnswer, Problem> {
    if params.find.is_some() {
        return Err(Problem::bad_request("'find' finds runs, and cannot be asked of their tasks")
            .with_hint("Write the conditions on tasks and runs into query."));
    }
    let question = params.question();
    let mut asked = query::search_by_tasks(&question)?;
    scope.narrow(&api.engine, &mut asked.executions).await?;
    if asked.tasks.is_empty() {
        return answer(api, &asked.executions, whole).await;
    }
    let (start, end) = (question.start, question.start.saturating_add(question.size));
    let mut candidates = Candidates::of(&api.engine, asked.executions);
    let (mut total, mut page) = (0, Vec::new());
    while total <= end
        && let Some(head) = candidates.next().await?
    {
        let matches = |state: &Execution| {
            state.tasks().any(|task| asked.tasks.iter().all(|filter| holds(filter, state, task)))
        };
        if api.engine.read(&head.id, matches).await? == Some(true) {
            if (start..end).contains(&total) {
                page.push(head);
            }
            total += 1;
        }
    }
    let mut share = Share::default();
    let results = show(api, &page, whole, &mut share).await?;
    Ok(LargeAnswer(Json::of(&Found { total_hits: total, results }), share))
}

/// Whether a condition holds for a task.
pub(super) fn holds(filter: &TaskFilter, state: &Execution, task: &Task) -> bool {
    let any = |patterns: &[String], text: &str| patterns.iter().any(|p| like(p, text));
    match filter {
        TaskFilter::Type(types) => any(types, &task.task_type),
        TaskFilter::Name(names) => any(names, &task.name),
        TaskFilter::Status(wanted, statuses) => statuses.contains(&task.status) == *wanted,
        TaskFilter::Id(ids) => any(ids, &state.task_id(task.sequence).to_string()),
        TaskFilter::Reference(references) => any(references, &task.reference),
    }
}

/// The protocol's `WorkflowSummary`: times and payloads are texts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary<'a> {
    pub(super) workflow_type: &'a str,
    pub(super) version: i32,
    pub(super) workflow_id: &'a ExecutionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) correlation_id: Option<&'a str>,
    pub(super) start_time: String,
    pub(super) update_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_time: Option<String>,
    pub(super) status: &'static str,
    pub(super) input: &'a str,
    pub(super) output: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason_for_incompletion: Option<&'a str>,
    pub(super) execution_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<&'a str>,
    pub(super) failed_reference_task_names: String,
    pub(super) priority: u8,
    pub(super) failed_task_names: BTreeSet<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_by: Option<&'a str>,
    pub(super) task_to_domain: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idempotency_key: Option<&'a str>,
    pub(super) parent_workflow_id: &'a str,
    pub(super) classifier: &'static str,
    pub(super) input_size: usize,
    pub(super) output_size: usize,
}

/// An execution in a line of a list.
fn summary(head: &Head, brief: &Brief) -> Json {
    let references: Vec<&str> = brief.failed_references.iter().map(String::as_str).collect();
    Json::of(&Summary {
        workflow_type: &head.name,
        version: brief.version,
        workflow_id: &head.id,
        correlation_id: head.correlation_id.as_deref(),
        start_time: instant(head.created_at),
        update_time: instant(head.updated_at),
        end_time: head.ended_at.map(instant),
        status: head.status,
        input: &brief.input,
        output: &brief.output,
        reason_for_incompletion: brief.reason.as_deref(),
        execution_time: head.ended_at.map_or(0, |ended| ended.since(head.created_at)),
        event: head.event.as_deref(),
        failed_reference_task_names: references.join(","),
        priority: head.priority,
        failed_task_names: brief.failed_names.iter().map(String::as_str).collect(),
        created_by: brief.created_by.as_deref(),
        task_to_domain: brief.task_to_domain.clone().unwrap_or_default(),
        idempotency_key: brief.idempotency_key.as_deref(),
        parent_workflow_id: brief.parent.as_ref().map(ExecutionId::as_str).unwrap_or_default(),
        classifier: WORKFLOW,
        input_size: head.input_size as usize,
        output_size: head.output_size as usize,
    })
}

/// `2026-01-31T12:00:00.000Z`, always with three digits of milliseconds.
pub(super) fn instant(at: Timestamp) -> String {
    format!("{:.3}", jiff::Timestamp::from(at))
}
