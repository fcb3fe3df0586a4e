//! Messages for running executions: what `PULL_WORKFLOW_MESSAGES` tasks take.

use axum::extract::State;
use engine::Engine;
use kernel::access::Permission;
use kernel::graph::{Input, Post};
use utoipa_axum::routes;

use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;
use crate::rest::extract::{Object, Path, execution_id};

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Run, routes!(post_message))
}

/// Puts a message into the inbox of a running execution, and returns its id.
#[utoipa::path(
    post, path = "/api/workflow/{id}/messages", tag = "workflow",
    request_body = serde_json::Value,
    params(("id" = String, Path, description = "The id of the execution")),
    responses(
        (status = 200, description = "The id of the message", body = String),
        (status = 404, description = "No such execution"),
        (status = 409, description = "The execution is not running"),
        (status = 429, description = "The inbox is full"),
    )
)]
async fn post_message(
    State(api): State<Api>,
    Path(id): Path<String>,
    Object(payload): Object,
) -> Result<String, Problem> {
    let message = Engine::new_id();
    let post = Post { id: message.as_str().into(), payload };
    api.engine.step(&execution_id(&id)?, Input::Post(post)).await?;
    Ok(message.to_string())
}
