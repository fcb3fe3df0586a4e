//! The past of executions: their commits, and how they stood after each.

use axum::Json as AsJson;
use axum::extract::State;
use engine::Past;
use kernel::access::{Permission, Resource};
use kernel::graph::Execution;
use kernel::{Json, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use crate::Api;
use crate::access::{Routes, Scope};
use crate::problem::Problem;
use crate::rest::extract::{LargeAnswer, Path, Query, Share, execution_id, unknown_workflow};
use crate::rest::view::{self, Lens};

/// Commits of a page, unless another number is asked for, and at most.
const SIZE: usize = 100;
const SIZE_MAX: usize = 1000;

pub(super) fn routes() -> Routes {
    let read = || Permission::Read.within(&[Resource::Workflow]);
    Routes::new().on(read(), routes!(workflow_history)).on(read(), routes!(workflow_at))
}

async fn past(api: &Api, scope: &Scope, id: &str) -> Result<Past, Problem> {
    scope.must_cover_run(&api.engine, id).await?;
    let id_read = execution_id(id)?;
    let is_graph = api.engine.read(&id_read, |_| ()).await?.is_some();
    let past = if is_graph { api.engine.past(&id_read).await? } else { None };
    past.ok_or_else(|| unknown_workflow(id))
}

#[derive(Debug, Deserialize, IntoParams)]
struct HistoryParams {
    /// The number of the first commit of the page; default: the first that is kept.
    from: Option<u64>,
    /// Commits per page; 100 by default, 1,000 at most.
    size: Option<usize>,
}

/// Lists the commits of an execution in order: their times and the kinds of their events.
#[utoipa::path(
    get, path = "/api/workflow/{id}/history", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution"), HistoryParams),
    responses(
        (status = 200, description = "`first` and `last` commit that are kept, and a page of `commits`",
            body = serde_json::Value),
        (status = 400, description = "The size is too large"),
        (status = 404, description = "No such execution"),
    )
)]
async fn workflow_history(
    State(api): State<Api>,
    scope: Scope,
    Path(id): Path<String>,
    Query(params): Query<HistoryParams>,
) -> Result<AsJson<Value>, Problem> {
    let size = params.size.unwrap_or(SIZE);
    if !(1..=SIZE_MAX).contains(&size) {
        return Err(Problem::bad_request(format!("size is from 1 to {SIZE_MAX}, not {size}")));
    }
    let past = past(&api, &scope, &id).await?;
    let commits = past.commits(params.from.unwrap_or(0), size)?;
    let commits = commits.iter().map(|commit| {
        let facts = commit.facts.iter();
        let facts: Vec<Value> =
            facts.map(|it| json!({ "kind": it.kind, "task": it.sequence })).collect();
        json!({ "version": commit.version, "at": commit.at.map(Timestamp::millis), "facts": facts })
    });
    let commits: Vec<Value> = commits.collect();
    Ok(AsJson(json!({
        "workflowId": id, "first": past.first, "last": past.last, "commits": commits,
    })))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct AtParams {
    /// Whether to include its tasks; default true.
    #[param(default = true)]
    include_tasks: Option<bool>,
}

/// Shows an execution as it was after a commit, and what it waited for then, as far as its own
/// state says: the state of queues is not kept.
#[utoipa::path(
    get, path = "/api/workflow/{id}/at/{version}", tag = "workflow",
    params(
        ("id" = String, Path, description = "The id of the execution"),
        ("version" = u64, Path, description = "The number of the commit, from 1"),
        AtParams,
    ),
    responses(
        (status = 200, description = "`workflow` and what it was `waiting` for", body = serde_json::Value),
        (status = 404, description = "No such execution or commit, or it is no longer kept"),
    )
)]
async fn workflow_at(
    State(api): State<Api>,
    scope: Scope,
    Path((id, version)): Path<(String, u64)>,
    Query(params): Query<AtParams>,
) -> Result<LargeAnswer, Problem> {
    let has_tasks = params.include_tasks.unwrap_or(true);
    let past = past(&api, &scope, &id).await?;
    let state = api.engine.state_at(&past, version).await?;
    let Some(state) = state.as_ref().and_then(|it| it.execution()).filter(|it| it.is_started())
    else {
        let Past { first, last, .. } = past;
        let message = format!("commits {first} to {last} of {id} are kept, and {version} is none");
        return Err(Problem::not_found(message));
    };
    let share =
        Share::of(&api.settings.large_answers, view::payload_bytes(state, has_tasks)).await?;
    Ok(LargeAnswer(shown(state, version, has_tasks), share))
}

fn shown(state: &Execution, version: u64, has_tasks: bool) -> Json {
    let at = state.updated_at;
    let workflow = view::workflow(state, has_tasks, Lens { now: at, engine: None });
    let waiting = state.waiting(at);
    Json::of(&json!({
        "version": version, "at": at.millis(), "workflow": workflow, "waiting": waiting,
    }))
}
