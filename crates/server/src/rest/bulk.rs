//! `/api/workflow/bulk`: one operation on many executions, each for itself.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use engine::Engine;
use kernel::Json as Payload;
use kernel::access::Permission;
use kernel::graph::Control;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::extract::{Body, LargeAnswer, Query, Share, execution_id, lenient, unknown_workflow};
use super::workflow::{self, RemoveParams, RestartParams, Steering};
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .act(Permission::Run, routes!(pause_many))
        .act(Permission::Run, routes!(resume_many))
        .act(Permission::Run, routes!(restart_many))
        .act(Permission::Run, routes!(retry_many))
        .act(Permission::Run, routes!(terminate_many))
        .on(Permission::Edit, routes!(remove_many))
        .on(Permission::Edit, routes!(delete_many))
        .on(Permission::Edit, routes!(terminate_remove_many))
        .on(Permission::Read, routes!(show_many))
}

/// Executions in one request.
const IDS_MAX: usize = 1000;

/// What became of each.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BulkResponse {
    /// Errors by id.
    bulk_error_results: BTreeMap<String, String>,
    /// Ids of successful results.
    #[schema(value_type = Vec<serde_json::Value>)]
    bulk_successful_results: Vec<Payload>,
    /// A constant text.
    message: &'static str,
}

impl BulkResponse {
    fn new() -> Self {
        Self {
            bulk_error_results: BTreeMap::new(),
            bulk_successful_results: Vec::new(),
            message: "Bulk Request has been processed.",
        }
    }

    fn add(&mut self, id: String, result: Result<Payload, Problem>) {
        match result {
            Ok(shown) => self.bulk_successful_results.push(shown),
            Err(problem) => {
                self.bulk_error_results.insert(id, problem.message);
            }
        }
    }
}

/// What is done to each.
enum Operation {
    Control(Control),
    Restart { use_latest: bool },
    Retry,
    Terminate(Steering),
    Remove { only_ended: bool },
    TerminateRemove(Steering),
}

impl Operation {
    async fn act(&self, engine: &Engine, actor: &Actor, id: &str) -> Result<(), Problem> {
        match self {
            Self::Control(control) => {
                let by = actor.acts_as().into();
                Ok(engine.steer(&execution_id(id)?, control.clone(), &by).await?)
            }
            Self::Restart { use_latest } => workflow::restart(engine, actor, id, *use_latest).await,
            Self::Retry => workflow::retry(engine, id, false).await,
            Self::Terminate(params) => workflow::terminate(engine, id, params).await,
            Self::Remove { only_ended } => workflow::remove(engine, id, *only_ended).await,
            Self::TerminateRemove(params) => {
                workflow::terminate_and_remove(engine, id, params).await
            }
        }
    }
}

/// Does something to each, one after the other.
async fn each(
    api: &Api,
    actor: &Actor,
    ids: Vec<String>,
    operation: Operation,
) -> Result<Json<BulkResponse>, Problem> {
    let mut response = BulkResponse::new();
    for id in checked(ids)? {
        let result = operation.act(&api.engine, actor, &id).await.map(|()| Payload::of(&id));
        response.add(id, result);
    }
    Ok(Json(response))
}

fn checked(ids: Vec<String>) -> Result<Vec<String>, Problem> {
    if ids.is_empty() {
        return Err(Problem::bad_request("WorkflowIds list cannot be null."));
    }
    if ids.len() > IDS_MAX {
        let count = ids.len();
        return Err(Problem::bad_request(format!(
            "Cannot process more than {IDS_MAX} workflows; there are {count}. Please use multiple \
             requests."
        )));
    }
    Ok(ids)
}

/// Pauses several executions.
#[utoipa::path(
    put, path = "/api/workflow/bulk/pause", tag = "bulk", request_body = Vec<String>,
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
async fn pause_many(
    State(api): State<Api>,
    actor: Actor,
    Body(ids): Body<Vec<String>>,
) -> Result<Json<BulkResponse>, Problem> {
    each(&api, &actor, ids, Operation::Control(Control::Pause)).await
}

/// Resumes several paused executions.
#[utoipa::path(
    put, path = "/api/workflow/bulk/resume", tag = "bulk", request_body = Vec<String>,
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
async fn resume_many(
    State(api): State<Api>,
    actor: Actor,
    Body(ids): Body<Vec<String>>,
) -> Result<Json<BulkResponse>, Problem> {
    each(&api, &actor, ids, Operation::Control(Control::Resume)).await
}

/// Restarts several ended executions.
#[utoipa::path(
    post, path = "/api/workflow/bulk/restart", tag = "bulk", request_body = Vec<String>,
    params(RestartParams),
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
async fn restart_many(
    State(api): State<Api>,
    actor: Actor,
    Query(params): Query<RestartParams>,
    Body(ids): Body<Vec<String>>,
) -> Result<Json<BulkResponse>, Problem> {
    let use_latest = params.use_latest_definitions;
    each(&api, &actor, ids, Operation::Restart { use_latest }).await
}

/// Retries the failed tasks of several ended executions.
#[utoipa::path(
    post, path = "/api/workflow/bulk/retry", tag = "bulk", request_body = Vec<String>,
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
async fn retry_many(
    State(api): State<Api>,
    actor: Actor,
    Body(ids): Body<Vec<String>>,
) -> Result<Json<BulkResponse>, Problem> {
    each(&api, &actor, ids, Operation::Retry).await
}

/// Terminates several executions.
#[utoipa::path(
    post, path = "/api/workflow/bulk/terminate", tag = "bulk", request_body = Vec<String>,
    params(Steering),
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
async fn terminate_many(
    State(api): State<Api>,
    actor: Actor,
    Query(params): Query<Steering>,
    Body(ids): Body<Vec<String>>,
) -> Result<Json<BulkResponse>, Problem> {
    each(&api, &actor, ids, Operation::Terminate(params)).await
}

/// Removes several executions.
#[utoipa::path(
    delete, path = "/api/workflow/bulk/remove", tag = "bulk", request_body = Vec<String>,
    params(RemoveParams),
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
async fn remove_many(
    State(api): State<Api>,
    actor: Actor,
    Query(params): Query<RemoveParams>,
    Body(ids): Body<Vec<String>>,
) -> Result<Json<BulkResponse>, Problem> {
    let only_ended = params.archive_workflow;
    each(&api, &actor, ids, Operation::Remove { only_ended }).await
}

/// Removes several executions for good, whatever their state.
#[utoipa::path(
    post, path = "/api/workflow/bulk/delete", tag = "bulk", request_body = Vec<String>,
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
async fn delete_many(
    State(api): State<Api>,
    actor: Actor,
    Body(ids): Body<Vec<String>>,
) -> Result<Json<BulkResponse>, Problem> {
    each(&api, &actor, ids, Operation::Remove { only_ended: false }).await
}

/// Terminates several executions and removes them.
#[utoipa::path(
    delete, path = "/api/workflow/bulk/terminate-remove", tag = "bulk",
    request_body = Vec<String>, params(Steering),
    responses((status = 200, description = "The outcome for each", body = BulkResponse))
)]
async fn terminate_remove_many(
    State(api): State<Api>,
    actor: Actor,
    Query(params): Query<Steering>,
    Body(ids): Body<Vec<String>>,
) -> Result<Json<BulkResponse>, Problem> {
    each(&api, &actor, ids, Operation::TerminateRemove(params)).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct ShowParams {
    /// Default true.
    #[serde(default = "yes", deserialize_with = "lenient::flag")]
    include_tasks: bool,
}

fn yes() -> bool {
    true
}

/// Shows several executions.
#[utoipa::path(
    post, path = "/api/workflow/bulk/search", tag = "bulk", request_body = Vec<String>,
    params(ShowParams),
    responses((status = 200, description = "The executions found", body = BulkResponse))
)]
async fn show_many(
    State(api): State<Api>,
    Query(params): Query<ShowParams>,
    Body(ids): Body<Vec<String>>,
) -> Result<LargeAnswer, Problem> {
    let (mut response, mut share) = (BulkResponse::new(), Share::default());
    for id in checked(ids)? {
        let result = match execution_id(&id) {
            // That there is no memory for more is said of the whole request.
            Ok(found) => workflow::show_among(&api, &found, params.include_tasks, &mut share)
                .await?
                .ok_or_else(|| unknown_workflow(&id)),
            Err(problem) => Err(problem),
        };
        response.add(id, result);
    }
    Ok(LargeAnswer(Payload::of(&response), share))
}
