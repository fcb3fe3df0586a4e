//! What waits in the queues, and who polls them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use engine::Engine;
use engine::store::QueueRow;
use kernel::access::Permission;
use kernel::graph::{Report, Verdict};
use kernel::{RowKind, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::poll::queue_of;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;
use crate::rest::extract::{Path, Query, RawQuery};
use crate::rest::view::{self, Lens};

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(task_queue_sizes))
        .on(Permission::Read, routes!(task_queue_size))
        .on(Permission::Read, routes!(task_queues))
        .on(Permission::Read, routes!(task_queues_verbose))
        .on(Permission::Read, routes!(polls_of_queue))
        .on(Permission::Read, routes!(polls_of_all_queues))
        .act(Permission::Run, routes!(requeue_tasks))
}

/// Tasks that wait, by queue.
fn waiting(engine: &Engine) -> BTreeMap<Arc<str>, u64> {
    engine.queues().states().into_iter().map(|queue| (queue.name, queue.waiting)).collect()
}

/// Counts the tasks that wait in several queues.
#[utoipa::path(
    get, path = "/api/tasks/queue/sizes", tag = "tasks",
    params(("taskType" = Vec<String>, Query, description = "The queues; repeated or comma-separated")),
    responses(
        (status = 200, description = "Counts by queue", body = BTreeMap<String, u64>),
        (status = 400, description = "No queue is given"),
    )
)]
async fn task_queue_sizes(
    State(api): State<Api>,
    RawQuery(pairs): RawQuery,
) -> Result<Json<BTreeMap<String, u64>>, Problem> {
    let waiting = waiting(&api.engine);
    let named = pairs.iter().filter(|(name, _)| name == "taskType");
    let sizes: BTreeMap<String, u64> = named
        .flat_map(|(_, value)| value.split(','))
        .map(|queue| (queue.to_owned(), waiting.get(queue).copied().unwrap_or(0)))
        .collect();
    if sizes.is_empty() {
        return Err(Problem::bad_request("the query parameter 'taskType' is missing")
            .with_hint("Use /api/tasks/queue/all for all queues."));
    }
    Ok(Json(sizes))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct SizeParams {
    /// The task type.
    task_type: String,
    /// The domain of its workers.
    domain: Option<String>,
    /// The isolation group of its definition.
    isolation_group_id: Option<String>,
    /// The execution name space of its definition.
    execution_namespace: Option<String>,
}

/// Counts the tasks that wait in a queue.
#[utoipa::path(
    get, path = "/api/tasks/queue/size", tag = "tasks", params(SizeParams),
    responses((status = 200, description = "The count", body = u64))
)]
async fn task_queue_size(State(api): State<Api>, Query(params): Query<SizeParams>) -> Json<u64> {
    let mut name = queue_of(&params.task_type, params.domain.as_deref()).to_string();
    for (mark, suffix) in [('@', params.execution_namespace), ('-', params.isolation_group_id)] {
        if let Some(suffix) = suffix {
            name.push(mark);
            name.push_str(&suffix);
        }
    }
    Json(waiting(&api.engine).get(name.as_str()).copied().unwrap_or(0))
}

/// Counts the tasks that wait, for every queue.
#[utoipa::path(
    get, path = "/api/tasks/queue/all", tag = "tasks",
    responses((status = 200, description = "Counts by queue", body = BTreeMap<String, u64>))
)]
async fn task_queues(State(api): State<Api>) -> Json<BTreeMap<Arc<str>, u64>> {
    Json(waiting(&api.engine))
}

/// What a queue holds.
#[derive(Debug, Serialize, ToSchema)]
struct Depth {
    /// Waiting tasks.
    size: u64,
    /// Tasks in progress.
    uacked: u64,
}

/// The only shard there is, in a protocol that has shards.
const SHARD: &str = "a";

/// Counts the waiting tasks and those in progress, for every queue.
#[utoipa::path(
    get, path = "/api/tasks/queue/all/verbose", tag = "tasks",
    responses((status = 200, description = "Counts by queue and shard", body = BTreeMap<String, BTreeMap<String, Depth>>))
)]
async fn task_queues_verbose(
    State(api): State<Api>,
) -> Json<BTreeMap<Arc<str>, BTreeMap<&'static str, Depth>>> {
    let states = api.engine.queues().states().into_iter();
    let depths = states.map(|queue| {
        let depth = Depth { size: queue.waiting, uacked: queue.held };
        (queue.name, BTreeMap::from([(SHARD, depth)]))
    });
    Json(depths.collect())
}

/// The last poll of a worker: the protocol's `PollData`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PollData {
    /// The task type.
    queue_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    worker_id: String,
    /// Milliseconds since 1970.
    #[schema(value_type = i64)]
    last_poll_time: Timestamp,
}

fn polls(engine: &Engine, task_type: Option<&str>) -> Vec<PollData> {
    let polls = engine.queues().polls(None).into_iter().map(|poll| {
        let (domain, name) = match poll.queue.split_once(':') {
            Some((domain, name)) => (Some(domain.to_owned()), name),
            None => (None, &*poll.queue),
        };
        PollData {
            queue_name: name.to_owned(),
            domain,
            worker_id: poll.worker.to_string(),
            last_poll_time: poll.at,
        }
    });
    polls.filter(|poll| task_type.is_none_or(|wanted| wanted == poll.queue_name)).collect()
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct PollDataParams {
    /// The task type.
    task_type: String,
}

/// Lists the workers that have polled for a task type, in any domain, with the time of the last
/// poll.
#[utoipa::path(
    get, path = "/api/tasks/queue/polldata", tag = "tasks", params(PollDataParams),
    responses((status = 200, description = "The last poll of every worker", body = Vec<PollData>))
)]
async fn polls_of_queue(
    State(api): State<Api>,
    Query(params): Query<PollDataParams>,
) -> Json<Vec<PollData>> {
    Json(polls(&api.engine, Some(&params.task_type)))
}

/// Lists the workers that have polled, with the time of the last poll.
#[utoipa::path(
    get, path = "/api/tasks/queue/polldata/all", tag = "tasks",
    responses((status = 200, description = "The last poll of every worker of every queue", body = Vec<PollData>))
)]
async fn polls_of_all_queues(State(api): State<Api>) -> Json<Vec<PollData>> {
    Json(polls(&api.engine, None))
}

/// Requeues the tasks of a type that are in progress, whether or not workers still work on them,
/// and returns how many tasks of the type are open.
#[utoipa::path(
    post, path = "/api/tasks/queue/requeue/{type}", tag = "tasks",
    params(("type" = String, Path, description = "The task type")),
    responses((status = 200, description = "The count", body = String))
)]
async fn requeue_tasks(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<String, Problem> {
    let mut count = 0_u64;
    for row in queued(&api.engine, &name) {
        let RowKind::Task(sequence) = row.kind else { continue };
        // What runs in this process is not lost, and would run twice.
        if api.engine.running_since(&row.execution, sequence).is_some() {
            continue;
        }
        count += 1;
        if !row.held {
            continue;
        }
        let report = Report {
            sequence,
            verdict: Verdict::Again { after: 0 },
            output: None,
            merge: false,
            reason: None,
            worker: None,
            started_at: None,
            metadata: None,
        };
        match api.engine.report(&row.execution, report).await {
            // Gone meanwhile, or left alone after an internal error.
            Ok(()) | Err(engine::Error::Rejected(_) | engine::Error::Quarantined { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(count.to_string())
}

/// The open tasks of a type in all its queues, in the order in which they are handed out.
pub(in crate::rest) fn queued(engine: &Engine, name: &str) -> Vec<QueueRow> {
    let of_type = |row: &QueueRow| {
        let queue = row.queue.split_once(':').map_or(&*row.queue, |(_, name)| name);
        *row.name == *name || queue == name
    };
    let mut rows = engine.queues().rows(of_type);
    rows.sort_by_key(|row| (std::cmp::Reverse(row.priority), row.ready_at, row.kind));
    rows
}

/// The tasks of rows as clients see them.
pub(in crate::rest) async fn show_queued(
    engine: &Engine,
    rows: &[QueueRow],
) -> Result<Vec<kernel::Json>, Problem> {
    let lens = Lens::of(engine);
    let mut shown = Vec::with_capacity(rows.len());
    for row in rows {
        let look = |state: &kernel::graph::Execution| {
            state.task(row.kind.number()).map(|task| view::task(state, task, lens))
        };
        shown.extend(engine.read(&row.execution, look).await?.flatten());
    }
    Ok(shown)
}
