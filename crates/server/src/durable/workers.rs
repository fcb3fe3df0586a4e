//! The workers of code that are connected now.

use axum::Json as AsJson;
use axum::extract::State;
use engine::durable::{NameFilter, Room, Worker};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::problem::Problem;
use crate::rest::extract::Query;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(workers))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct WorkersParams {
    /// Only those of this task hub.
    task_hub: Option<String>,
}

/// A worker that is connected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Shown {
    task_hub: String,
    /// What it calls itself; may be empty.
    name: String,
    /// What it is: SDK and version; may be empty.
    agent: String,
    /// When it connected, RFC 3339.
    since: String,
    /// What it is doing now.
    out: Amounts,
    /// What it takes at once; 0 = any number.
    limits: Amounts,
    /// Pieces of work that it was handed so far.
    handed: u64,
    /// What it can do; absent = everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<Filters>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Amounts {
    orchestrations: usize,
    activities: usize,
    entities: usize,
}

/// Names, with a version after an `@` where only that one is meant.
#[derive(Debug, Serialize, ToSchema)]
struct Filters {
    orchestrations: Vec<String>,
    activities: Vec<String>,
    entities: Vec<String>,
}

/// Lists the workers of code that are connected now.
#[utoipa::path(
    get, path = "/api/workers", tag = "durable", params(WorkersParams),
    responses((status = 200, description = "The workers, by age", body = Vec<Shown>))
)]
async fn workers(
    State(api): State<Api>,
    Query(params): Query<WorkersParams>,
) -> Result<AsJson<Vec<Shown>>, Problem> {
    let workers = api.engine.workers(params.task_hub.as_deref());
    Ok(AsJson(workers.into_iter().map(shown).collect()))
}

fn shown(worker: Worker) -> Shown {
    let amounts = |room: Room| Amounts {
        orchestrations: room.orchestrations,
        activities: room.activities,
        entities: room.entities,
    };
    let profile = worker.profile;
    Shown {
        task_hub: profile.hub.to_string(),
        name: profile.name.to_string(),
        agent: profile.agent.to_string(),
        since: worker.since.to_string(),
        out: amounts(worker.out),
        limits: amounts(profile.room),
        handed: worker.handed,
        filters: profile.filters.map(|filters| Filters {
            orchestrations: filters.orchestrations.iter().flat_map(names).collect(),
            activities: filters.activities.iter().flat_map(names).collect(),
            entities: filters.entities.iter().map(ToString::to_string).collect(),
        }),
    }
}

fn names(filter: &NameFilter) -> Vec<String> {
    if filter.versions.is_empty() {
        return vec![filter.name.to_string()];
    }
    filter.versions.iter().map(|version| format!("{}@{version}", filter.name)).collect()
}
