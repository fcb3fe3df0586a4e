//! `/api/metadata/workflow/{name}/rate-limit`: how many executions of a workflow may run at once.
//!
//! The limit is the `rateLimitConfig` of every version of the workflow; what runs already keeps the
//! one it began with.

use axum::extract::State;
use axum::{Extension, Json};
use engine::Engine;
use kernel::access::Permission;
use kernel::definition::{RateLimitConfig, WorkflowDef};
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::extract::{Body, Path};
use super::metadata::{Registering, apart, check_workflows, store};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(workflow_rate_limit)).on(
        Permission::Edit,
        routes!(put_workflow_rate_limit, post_workflow_rate_limit, delete_workflow_rate_limit),
    )
}

/// Shows the limit of a workflow.
#[utoipa::path(
    get, path = "/api/metadata/workflow/{name}/rate-limit", tag = "metadata",
    params(("name" = String, Path, description = "The name of the workflow")),
    responses(
        (status = 200, description = "The limit of the latest version", body = serde_json::Value),
        (status = 404, description = "No such workflow, or it has no limit"),
    )
)]
async fn workflow_rate_limit(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<RateLimitConfig>, Problem> {
    let versions = versions(&api.engine, &name)?;
    let limit = versions.last().and_then(|definition| definition.rate_limit_config.clone());
    limit
        .filter(|limit| limit.concurrent_exec_limit > 0)
        .map(Json)
        .ok_or_else(|| Problem::not_found(format!("the workflow {name} has no rate limit")))
}

/// Limits how many executions of a workflow run at once.
#[utoipa::path(
    put, path = "/api/metadata/workflow/{name}/rate-limit", tag = "metadata",
    request_body = serde_json::Value,
    params(("name" = String, Path, description = "The name of the workflow")),
    responses(
        (status = 200, description = "Set; it applies to executions that start from now on"),
        (status = 400, description = "Invalid limit; the response says why"),
        (status = 404, description = "No such workflow"),
    )
)]
async fn put_workflow_rate_limit(
    State(api): State<Api>,
    Extension(registering): Extension<Registering>,
    Path(name): Path<String>,
    Body(limit): Body<Value>,
) -> Result<(), Problem> {
    if limit.get("concurrentExecLimit").and_then(Value::as_i64).is_none_or(|most| most < 1) {
        let message = "'concurrentExecLimit' must be a whole number from 1";
        return Err(Problem::bad_request(message).with_hint("DELETE removes a limit."));
    }
    set(&api.engine, &registering, &name, &limit).await
}

/// The same with POST.
#[utoipa::path(
    post, path = "/api/metadata/workflow/{name}/rate-limit", tag = "metadata",
    request_body = serde_json::Value,
    params(("name" = String, Path, description = "The name of the workflow")),
    responses(
        (status = 200, description = "Set; it applies to executions that start from now on"),
        (status = 400, description = "Invalid limit; the response says why"),
        (status = 404, description = "No such workflow"),
    )
)]
async fn post_workflow_rate_limit(
    state: State<Api>,
    registering: Extension<Registering>,
    name: Path<String>,
    limit: Body<Value>,
) -> Result<(), Problem> {
    put_workflow_rate_limit(state, registering, name, limit).await
}

/// Removes the concurrency limit of a workflow.
#[utoipa::path(
    delete, path = "/api/metadata/workflow/{name}/rate-limit", tag = "metadata",
    params(("name" = String, Path, description = "The name of the workflow")),
    responses(
        (status = 200, description = "Limit removed"),
        (status = 404, description = "No such workflow"),
    )
)]
async fn delete_workflow_rate_limit(
    State(api): State<Api>,
    Extension(registering): Extension<Registering>,
    Path(name): Path<String>,
) -> Result<(), Problem> {
    set(&api.engine, &registering, &name, &Value::Null).await
}

/// The type of the tags that stand for limits.
const TAG_TYPE: &str = "RATE_LIMIT";

/// The limit of a workflow as the tag that older clients know it by.
pub(super) fn tag(engine: &Engine, name: &str) -> Option<Value> {
    let definition = engine.definitions().workflow(name, None)?;
    let limit = definition.rate_limit_config.as_ref()?;
    let shared_by_name = limit.rate_limit_key.as_deref().is_none_or(|key| key == name);
    (shared_by_name && limit.concurrent_exec_limit > 0)
        .then(|| json!({ "key": name, "type": TAG_TYPE, "value": limit.concurrent_exec_limit }))
}

/// Takes the tags that stand for limits out of what a client sends: what they set the limit to.
///
/// # Errors
/// 400 for one whose value is no limit.
pub(super) fn take_tags(body: Value) -> Result<(Vec<i64>, Value), Problem> {
    let list = match body {
        Value::Array(list) => list,
        Value::Null => Vec::new(),
        one => vec![one],
    };
    let (limits, others): (Vec<Value>, Vec<Value>) =
        list.into_iter().partition(|tag| tag.get("type").is_some_and(|kind| kind == TAG_TYPE));
    let limits = limits.iter().map(|tag| {
        let value = &tag["value"];
        let most = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
        most.filter(|most| *most > 0).ok_or_else(|| {
            Problem::bad_request(format!(
                "the value of a tag of the type {TAG_TYPE} must be from 1"
            ))
        })
    });
    Ok((limits.collect::<Result<_, _>>()?, others.into()))
}

/// Sets the limit of a workflow as a tag says it: shared by all that bear its name.
///
/// # Errors
/// As PUT.
pub(super) async fn set_by_tag(
    engine: &Engine,
    registering: &Registering,
    name: &str,
    most: Option<i64>,
) -> Result<(), Problem> {
    let limit = most.map(|most| json!({ "rateLimitKey": name, "concurrentExecLimit": most }));
    set(engine, registering, name, &limit.unwrap_or_default()).await
}

fn versions(engine: &Engine, name: &str) -> Result<Vec<std::sync::Arc<WorkflowDef>>, Problem> {
    let versions = engine.definitions().versions(name);
    if versions.is_empty() {
        return Err(Problem::not_found(format!("No such workflow found by name: {name}")));
    }
    Ok(versions)
}

async fn set(
    engine: &Engine,
    registering: &Registering,
    name: &str,
    limit: &Value,
) -> Result<(), Problem> {
    let _registering = registering.hold().await;
    let documents = versions(engine, name)?.into_iter().map(|definition| {
        let mut document = json!(*definition);
        document["rateLimitConfig"] = limit.clone();
        document
    });
    let text = Value::from(documents.collect::<Vec<_>>()).to_string();
    let checking = engine.clone();
    let definitions = apart(move || check_workflows(&checking, &text)).await?;
    store(engine, definitions).await
}
