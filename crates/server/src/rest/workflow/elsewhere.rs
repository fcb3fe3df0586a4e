//! Going on elsewhere: at another task, or with another version of the definition.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use kernel::Json;
use kernel::access::Permission;
use kernel::graph::Control;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::control::{act_for, payload};
use super::read::show;
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;
use crate::rest::extract::{Body, Object, Path, Query, lenient, object};

pub(super) fn routes() -> Routes {
    Routes::new()
        .act(Permission::Run, routes!(jump_to_task))
        .act(Permission::Run, routes!(upgrade_workflow))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct JumpParams {
    /// The reference name, for clients that leave it out of the path.
    task_reference_name: Option<String>,
}

/// Jumps to another task of a running execution. Backwards, to a task that was reached before: what
/// followed it is reset, and it starts again. Forwards, to a task of the main sequence: all tasks
/// between are skipped. Members of the body override the task's input.
#[utoipa::path(
    post, path = "/api/workflow/{id}/jump/{reference}", tag = "workflow",
    request_body = serde_json::Value,
    params(
        ("id" = String, Path, description = "The id of the execution"),
        ("reference" = String, Path, description = "The reference name; `__2` after it means the second iteration"),
        JumpParams,
    ),
    responses(
        (status = 200, description = "Done"),
        (status = 400, description = "No such task, or it cannot be jumped to"),
        (status = 409, description = "The execution is not running"),
    )
)]
async fn jump_to_task(
    State(api): State<Api>,
    actor: Actor,
    Path((id, reference)): Path<(String, String)>,
    Query(params): Query<JumpParams>,
    Object(input): Object,
) -> Result<(), Problem> {
    let reference = params.task_reference_name.unwrap_or(reference).into();
    let input = (!input.is_empty_object()).then_some(input);
    act_for(&api.engine, &actor, &id, Control::Jump { reference, input }).await
}

/// Another version of a running execution's definition.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct UpgradeRequest {
    /// The name of the definition; it must be the execution's own.
    name: Option<String>,
    /// The version; absent or 0 = the latest.
    #[serde(deserialize_with = "lenient::number")]
    version: Option<i64>,
    /// Outputs of tasks that are skipped, by reference name.
    #[schema(value_type = Option<serde_json::Value>)]
    task_output: Option<Json>,
    /// Members that override the execution's input.
    #[schema(value_type = Option<serde_json::Value>)]
    workflow_input: Option<Json>,
}

/// Upgrades a running execution to another version of its definition. Tasks that are new and before
/// its present position are skipped.
#[utoipa::path(
    post, path = "/api/workflow/{id}/upgrade", tag = "workflow", request_body = UpgradeRequest,
    params(("id" = String, Path, description = "The id of the execution")),
    responses(
        (status = 200, description = "Done"),
        (status = 404, description = "No such execution or version"),
        (status = 409, description = "The execution has ended, or the version does not fit it"),
    )
)]
async fn upgrade_workflow(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Body(request): Body<Option<UpgradeRequest>>,
) -> Result<(), Problem> {
    let request = request.unwrap_or_default();
    let present = show(&api.engine, &id, |state| state.plan().definition.name.clone()).await?;
    let name = request.name.filter(|name| !name.is_empty()).unwrap_or(present);
    let version = request.version.filter(|version| *version != 0);
    let plan = match version.map(u32::try_from) {
        None => api.engine.definitions().plan(&name, None),
        Some(Ok(version)) => api.engine.definitions().plan(&name, Some(version)),
        Some(Err(_)) => None,
    };
    let plan = plan.ok_or_else(|| {
        let version = version.map_or_else(String::new, |version| format!(", version: {version}"));
        Problem::not_found(format!("No such workflow found by name: {name}{version}"))
    })?;
    let given = |json: Option<Json>| json.filter(|json| !json.is_null());
    let input = given(request.workflow_input)
        .map(|input| payload(&api.engine, input, "'workflowInput'"))
        .transpose()?;
    let outputs = given(request.task_output).unwrap_or_else(Json::empty_object);
    let outputs = object(outputs, "'taskOutput'")?;
    let outputs: BTreeMap<Arc<str>, Json> = serde_json::from_str(outputs.text())
        .map_err(|error| Problem::bad_request(format!("'taskOutput': {error}")))?;
    for (reference, output) in &outputs {
        payload(&api.engine, output.clone(), &format!("the output of '{reference}'"))?;
    }
    act_for(&api.engine, &actor, &id, Control::Upgrade { plan, input, outputs }).await
}
