//! Who is connected: the Durable Task workers that hold a stream of work items open.
#![allow(unused_qualifications, reason = "the macros that describe paths write types out in full")]

use axum::Json;
use axum::extract::State;
use engine::durable::{NameFilter, Room, Unfinished, Worker};
use kernel::access::Permission;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::Api;
use crate::access::Routes;
use crate::rest::extract::Query;

pub(crate) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(list)).on(Permission::Read, routes!(unfinished))
}

/// Which workers.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only those of this task hub.
    task_hub: Option<String>,
}

/// Lists the Durable Task workers that are connected, by the age of their streams.
#[utoipa::path(
    get, path = "/api/workers", tag = "workers", params(Which),
    responses((status = 200, description = "The workers", body = Vec<Connected>))
)]
async fn list(State(api): State<Api>, Query(which): Query<Which>) -> Json<Vec<Connected>> {
    let workers = api.engine.workers(which.task_hub.as_deref());
    Json(workers.iter().map(Connected::of).collect())
}

/// Lists work items that were handed out and not completed: those that are retried, longest first,
/// then those that were given up since the server started.
#[utoipa::path(
    get, path = "/api/workers/unfinished", tag = "workers", params(Which),
    responses((status = 200, description = "The work", body = Vec<Tried>))
)]
async fn unfinished(State(api): State<Api>, Query(which): Query<Which>) -> Json<Vec<Tried>> {
    let work = api.engine.unfinished(which.task_hub.as_deref());
    Json(work.iter().map(Tried::of).collect())
}

/// A piece of work that was handed out and not done.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Tried {
    /// The task hub.
    task_hub: String,
    /// `orchestration`, `activity` or `entity`.
    kind: &'static str,
    /// The name of the orchestrator, activity or entity.
    name: String,
    /// Its version, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// The instance that waits for it, or the entity.
    instance_id: String,
    /// Attempts that failed.
    attempts: u32,
    /// Why the last one failed.
    reason: String,
    /// The worker that tried last; may be empty.
    worker_id: String,
    /// Every connected worker that accepts such work items has abandoned it.
    refused_by_all: bool,
    /// When the first attempt failed, in milliseconds since 1970.
    since: i64,
    /// When the last attempt failed.
    last_at: i64,
    /// When it is offered again; absent if it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_at: Option<i64>,
    /// It was given up: there is no further attempt.
    given_up: bool,
}

impl Tried {
    fn of(work: &Unfinished) -> Self {
        Self {
            task_hub: work.queue.hub.to_string(),
            kind: work.queue.kind.as_str(),
            name: work.queue.name.to_string(),
            version: work.queue.version.as_ref().map(ToString::to_string),
            instance_id: work.machine.local_name().to_owned(),
            attempts: work.attempts,
            reason: work.reason.to_string(),
            worker_id: work.worker.to_string(),
            refused_by_all: work.refused_by_all,
            since: work.since.millis(),
            last_at: work.last_at.millis(),
            next_at: work.next_at.map(kernel::Timestamp::millis),
            given_up: work.next_at.is_none(),
        }
    }
}

/// A connected worker.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Connected {
    /// The id that the worker reports; may be empty.
    worker_id: String,
    /// The task hub that it works for.
    task_hub: String,
    /// Its user agent; may be empty.
    user_agent: String,
    /// When its stream began, in milliseconds since 1970.
    since: i64,
    /// Work items sent to it so far.
    handed: u64,
    /// Work items sent to it and not answered.
    outstanding: usize,
    /// What it accepts, by kind of work item.
    work: [Share; 3],
}

/// What a worker does of one kind of work.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Share {
    /// `orchestration`, `activity` or `entity`.
    kind: &'static str,
    /// The names that it accepts, with their versions; absent = every name.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Vec<String>>,
    /// How many it accepts at a time; absent = any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    /// Work items sent to it and not answered.
    outstanding: usize,
}

impl Connected {
    fn of(worker: &Worker) -> Self {
        let profile = &worker.profile;
        let filters = profile.filters.as_ref();
        let Room { orchestrations, activities, entities } = profile.room;
        let out = worker.out;
        let share = |kind, names, limit: usize, outstanding| Share {
            kind,
            names,
            limit: (limit > 0).then_some(limit),
            outstanding,
        };
        Self {
            worker_id: profile.name.to_string(),
            task_hub: profile.hub.to_string(),
            user_agent: profile.agent.to_string(),
            since: worker.since.millis(),
            handed: worker.handed,
            outstanding: out.orchestrations + out.activities + out.entities,
            work: [
                share(
                    "orchestration",
                    filters.map(|filters| names(&filters.orchestrations)),
                    orchestrations,
                    out.orchestrations,
                ),
                share(
                    "activity",
                    filters.map(|filters| names(&filters.activities)),
                    activities,
                    out.activities,
                ),
                share(
                    "entity",
                    filters.map(|f| f.entities.iter().map(ToString::to_string).collect()),
                    entities,
                    out.entities,
                ),
            ],
        }
    }
}

fn names(filters: &[NameFilter]) -> Vec<String> {
    let shown = |filter: &NameFilter| match filter.versions.as_slice() {
        [] => filter.name.to_string(),
        versions => format!("{} ({})", filter.name, versions.join(", ")),
    };
    filters.iter().map(shown).collect()
}
