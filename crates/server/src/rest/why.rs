//! Why an execution stands where it stands: our own answer to the most asked question.

use axum::extract::State;
use engine::{Blocked, Engine};
use kernel::access::{Permission, Resource};
use kernel::graph::{Execution, Waiting};
use kernel::{ExecutionId, Json, Timestamp};
use serde::Serialize;
use utoipa_axum::routes;

use super::extract::{Answer, Path};
use super::view::BranchedFrom;
use super::workflow::{Fork, forks, show};
use crate::Api;
use crate::access::{Routes, Scope};
use crate::durable;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Read.within(&[Resource::Workflow]), routes!(explain_workflow))
}

/// Explains what an execution or an orchestration instance waits for.
#[utoipa::path(
    get, path = "/api/workflow/{id}/why", tag = "workflow",
    params(("id" = String, Path, description = "The id of the execution")),
    responses((status = 200, description = "Every waiting task with its reason", body = serde_json::Value))
)]
async fn explain_workflow(
    State(api): State<Api>,
    scope: Scope,
    Path(id): Path<String>,
) -> Result<Answer, Problem> {
    scope.must_cover_run(&api.engine, &id).await?;
    match why(&api.engine, &id).await {
        Ok(why) => Ok(Answer(Json::of(&why))),
        // Instances of code are asked for in the same way.
        Err(missing) => durable::why(&api.engine, &id).await?.map(Answer).ok_or(missing),
    }
}

/// Where an execution stands, and everything that it waits for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Why {
    workflow_id: ExecutionId,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The execution that it began as a fork of.
    #[serde(skip_serializing_if = "Option::is_none")]
    branched_from: Option<Json>,
    /// What was forked from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    forks: Vec<Fork>,
    pub(crate) waiting: Vec<Waiting>,
}

/// Says what an execution waits for, with what the queues know.
///
/// # Errors
/// 404 if there is none; the store's.
pub(crate) async fn why(engine: &Engine, id: &str) -> Result<Why, Problem> {
    if let Some(reason) = engine.quarantine_of(&ExecutionId::new(id)) {
        let workflow_id = ExecutionId::new(id);
        let reason = Some(format!("quarantined: {reason}"));
        return Ok(Why {
            workflow_id,
            status: "QUARANTINED",
            reason,
            branched_from: None,
            forks: Vec::new(),
            waiting: Vec::new(),
        });
    }
    let now = engine.now();
    let look = |state: &Execution| {
        let about = state.open_tasks().map(|task| (state.queue_of(task), task.child.clone()));
        let about: Vec<_> = about.collect();
        let why = Why {
            workflow_id: state.id.clone(),
            status: state.status.as_str(),
            reason: state.reason.as_deref().map(str::to_owned),
            branched_from: state.branched_from.as_ref().map(|it| Json::of(&BranchedFrom::of(it))),
            forks: Vec::new(),
            waiting: state.waiting(now),
        };
        (why, about, state.gate_name())
    };
    let (mut why, about, gate) = show(engine, id, look).await?;
    why.forks = forks(engine, &why.workflow_id).await?;
    if let Some(gate) = gate {
        for limited in why.waiting.iter_mut().filter_map(|waiting| waiting.limited_by.as_mut()) {
            limited.holders = engine.queues().holders(&gate, HOLDERS_MAX);
        }
    }
    for (waiting, (queue, child)) in why.waiting.iter_mut().zip(about) {
        explain(engine, &why.workflow_id, waiting, &queue, now);
        if let Some((until, reason)) = child.and_then(|child| engine.delay_of(&child)) {
            (waiting.code, waiting.until) = ("start-delayed", Some(until));
            waiting.reason = format!("the start is put off until {until}: {reason}");
        }
    }
    Ok(why)
}

/// Executions named as the holders of a limit's places.
const HOLDERS_MAX: usize = 20;

/// Adds what only the queues know.
fn explain(engine: &Engine, id: &ExecutionId, waiting: &mut Waiting, queue: &str, now: Timestamp) {
    if waiting.code != "queued" {
        return;
    }
    if let Some(since) = engine.running_since(id, waiting.sequence) {
        waiting.code = "in-progress";
        waiting.since = since;
        waiting.reason = format!("held by the engine since {since}");
        return;
    }
    let Some(blocked) = engine.queues().blocked(&(id.clone(), waiting.sequence), now) else {
        return;
    };
    (waiting.code, waiting.reason) = blocked_words(&blocked, queue);
    if let Blocked::Rate { until, .. } = blocked {
        waiting.until = Some(until);
    }
}

/// What keeps a task from being handed out: a word, and a sentence.
pub(crate) fn blocked_words(blocked: &Blocked, queue: &str) -> (&'static str, String) {
    match blocked {
        Blocked::NeverPolled => {
            let reason = format!("no worker has polled '{queue}' since the server started");
            ("no-worker", reason)
        }
        Blocked::NotPolledSince(at) => {
            ("no-worker", format!("no worker has polled '{queue}' since {at}"))
        }
        Blocked::Concurrency { limit } => {
            ("concurrency-limit", format!("the limit of {limit} at once is reached"))
        }
        Blocked::Rate { limit, window_seconds, until } => (
            "rate-limit",
            format!("the rate limit of {limit} per {window_seconds} s is reached, next at {until}"),
        ),
        Blocked::Behind { count: 0 } => {
            ("queued", format!("is the next in '{queue}' that a worker gets"))
        }
        Blocked::Behind { count: 1 } => ("queued", format!("1 task is before it in '{queue}'")),
        Blocked::Behind { count } => {
            ("queued", format!("{count} tasks are before it in '{queue}'"))
        }
    }
}
