//! Who is connected: the workers of code that hold a stream of work items open.
#![allow(unused_qualifications, reason = "the macros that describe paths write types out in full")]

use axum::Json;
use axum::extract::State;
use engine::durable::{NameFilter, Room, Worker};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::rest::extract::Query;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Which workers.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only those of this task hub.
    task_hub: Option<String>,
}

/// Lists the workers of code that are connected, by the age of their streams.
#[utoipa::path(
    get, path = "/api/workers", tag = "workers", params(Which),
    responses((status = 200, description = "The workers", body = Vec<Connected>))
)]
async fn list(State(api): State<Api>, Query(which): Query<Which>) -> Json<Vec<Connected>> {
    let workers = api.engine.workers(which.task_hub.as_deref());
    Json(workers.iter().map(Connected::of).collect())
}

/// A connected worker.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Connected {
    /// What it calls itself; may be empty.
    worker_id: String,
    /// The task hub that it works for.
    task_hub: String,
    /// What software it is; may be empty.
    user_agent: String,
    /// When its stream began, in milliseconds since 1970.
    since: i64,
    /// Pieces of work sent to it so far.
    handed: u64,
    /// Pieces of work sent to it and not answered.
    outstanding: usize,
    /// What it does, by kind of work.
    work: [Share; 3],
}

/// What a worker does of one kind of work.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Share {
    /// `orchestration`, `activity` or `entity`.
    kind: &'static str,
    /// The names that it takes, with their versions; absent = every name.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Vec<String>>,
    /// How many it takes at a time; absent = any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    /// Pieces of work sent to it and not answered.
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
