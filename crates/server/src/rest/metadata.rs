//! `/api/metadata`: registering, showing and forgetting definitions.
//!
//! A request is taken whole or refused whole, with everything that is wrong in it: half a list of
//! definitions would be a set that nobody has written.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use engine::Engine;
use kernel::access::{Permission, Resource};
use kernel::definition::{
    Findings, Problem as Flaw, TaskDef, WorkflowDef, inspect_workflow, parse_task_defs,
    parse_workflow, parse_workflows, validate_task_def,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::extract::{Path, Query, RawBody, lenient};
use crate::Api;
use crate::access::{Routes, Scope};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(workflows))
        .on(Permission::Edit, routes!(create_workflow, update_workflows))
        .on(Permission::Edit, routes!(validate_workflow))
        .on(Permission::Read, routes!(workflow_names))
        .on(Permission::Read, routes!(workflow_names_and_versions))
        .on(Permission::Read, routes!(latest_workflows))
        .on(Permission::Read.within(&[Resource::Workflow]), routes!(workflow))
        .on(Permission::Read, routes!(workflow_versions))
        .on(Permission::Edit, routes!(delete_workflow))
        .on(Permission::Read, routes!(task_defs))
        .on(Permission::Edit, routes!(create_task_defs, update_task_def))
        .on(Permission::Read, routes!(task_def))
        .on(Permission::Edit, routes!(delete_task_def))
}

/// Held from looking whether a definition exists until it is written, so that of two that create
/// the same one, one is refused.
#[derive(Clone, Default)]
pub(super) struct Registering(Arc<Mutex<()>>);

impl Registering {
    /// Nobody else registers anything meanwhile.
    pub(super) async fn hold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.lock().await
    }
}

#[derive(Debug, Deserialize, IntoParams)]
struct CreateParams {
    /// Replace an existing definition of this name and version; default false.
    #[serde(default, deserialize_with = "lenient::flag")]
    overwrite: bool,
}

/// Registers a new workflow definition.
#[utoipa::path(
    post, path = "/api/metadata/workflow", tag = "metadata", params(CreateParams),
    request_body = serde_json::Value,
    responses(
        (status = 200, description = "Registered"),
        (status = 400, description = "Invalid; the response lists every problem"),
        (status = 409, description = "The name and version are in use"),
    )
)]
async fn create_workflow(
    State(api): State<Api>,
    Extension(registering): Extension<Registering>,
    Query(params): Query<CreateParams>,
    RawBody(body): RawBody,
) -> Result<(), Problem> {
    let definition = read_workflow(&api.engine, body).await?.0;
    let _registering = registering.0.lock().await;
    if !params.overwrite && registered(&api.engine, &definition).is_some() {
        let (name, version) = (&definition.name, definition.version);
        return Err(Problem::conflict(format!("Workflow with {name}.{version} already exists!"))
            .with_hint("Raise the version, or add ?overwrite=true to replace it."));
    }
    store(&api.engine, vec![definition]).await
}

/// Registers workflow definitions, each replacing the one of its name and version; all or none.
#[utoipa::path(
    put, path = "/api/metadata/workflow", tag = "metadata", request_body = Vec<serde_json::Value>,
    responses(
        (status = 200, description = "The names that were registered", body = Registered),
        (status = 400, description = "Invalid; the response lists every problem, and none is registered"),
    )
)]
async fn update_workflows(
    State(api): State<Api>,
    Extension(registering): Extension<Registering>,
    RawBody(body): RawBody,
) -> Result<Json<Registered>, Problem> {
    let engine = api.engine.clone();
    let definitions = apart(move || check_workflows(&engine, text(&body)?)).await?;
    let names = definitions.iter().map(|definition| definition.name.clone()).collect();
    let _registering = registering.0.lock().await;
    store(&api.engine, definitions).await?;
    Ok(Json(Registered {
        bulk_error_results: BTreeMap::new(),
        bulk_successful_results: names,
        message: "Bulk Request has been processed.",
    }))
}

/// What was registered: the protocol's `BulkResponse`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Registered {
    /// Always empty: a request with an error is refused as a whole.
    bulk_error_results: BTreeMap<String, String>,
    bulk_successful_results: Vec<String>,
    message: &'static str,
}

/// Checks a workflow definition without registering it.
#[utoipa::path(
    post, path = "/api/metadata/workflow/validate", tag = "metadata",
    request_body = serde_json::Value,
    responses(
        (status = 200, description = "Valid; warnings name what is probably a mistake", body = serde_json::Value),
        (status = 400, description = "Invalid; the response lists every problem"),
    )
)]
async fn validate_workflow(
    State(api): State<Api>,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Problem> {
    let warnings = read_workflow(&api.engine, body).await?.1;
    let warnings: Vec<Value> = warnings
        .iter()
        .map(|flaw| {
            json!({
                "path": flaw.path, "pointer": flaw.pointer, "message": flaw.message,
                "hint": flaw.hint, "code": flaw.code,
            })
        })
        .collect();
    Ok(Json(json!({ "warnings": warnings })))
}

#[derive(Debug, Deserialize, IntoParams)]
struct ListParams {
    /// Only workflows of this kind: `workflow`, `agent`, or what `metadata.classifier` says.
    classifier: Option<String>,
}

/// Lists every version of every workflow definition.
#[utoipa::path(
    get, path = "/api/metadata/workflow", tag = "metadata", params(ListParams),
    responses((status = 200, description = "The definitions", body = Vec<serde_json::Value>))
)]
async fn workflows(
    State(api): State<Api>,
    Query(params): Query<ListParams>,
) -> Json<Vec<Arc<WorkflowDef>>> {
    let mut definitions = api.engine.definitions().workflows();
    if let Some(wanted) = params.classifier.as_deref().map(str::trim).filter(|c| !c.is_empty()) {
        definitions.retain(|def| classifier(&def.metadata).eq_ignore_ascii_case(wanted));
    }
    Json(definitions)
}

/// The kind of a workflow, as its metadata tell it.
fn classifier(metadata: &Map<String, Value>) -> &str {
    let is_set = |key: &str| metadata.get(key).is_some_and(|value| !value.is_null());
    match metadata.get("classifier").and_then(Value::as_str) {
        Some(named) if !named.trim().is_empty() => named,
        _ if is_set("agent_sdk") || is_set("agentDef") => "agent",
        _ => "workflow",
    }
}

/// Lists the names of all workflows.
#[utoipa::path(
    get, path = "/api/metadata/workflow/names", tag = "metadata",
    responses((status = 200, description = "The names, sorted", body = Vec<String>))
)]
async fn workflow_names(State(api): State<Api>) -> Json<Vec<String>> {
    let mut names: Vec<String> =
        api.engine.definitions().workflows().iter().map(|def| def.name.clone()).collect();
    names.dedup();
    Json(names)
}

/// One version of a workflow: the protocol's `WorkflowDefSummary`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct VersionSummary {
    name: String,
    version: i32,
    create_time: i64,
    update_time: i64,
}

impl VersionSummary {
    fn of(definition: &WorkflowDef) -> Self {
        Self {
            name: definition.name.clone(),
            version: definition.version,
            create_time: definition.create_time,
            update_time: definition.update_time,
        }
    }
}

/// Lists the versions of all workflows, without the definitions.
#[utoipa::path(
    get, path = "/api/metadata/workflow/names-and-versions", tag = "metadata",
    responses((status = 200, description = "Versions by name", body = BTreeMap<String, Vec<VersionSummary>>))
)]
async fn workflow_names_and_versions(
    State(api): State<Api>,
) -> Json<BTreeMap<String, Vec<VersionSummary>>> {
    let mut names: BTreeMap<String, Vec<VersionSummary>> = BTreeMap::new();
    for definition in api.engine.definitions().workflows() {
        names.entry(definition.name.clone()).or_default().push(VersionSummary::of(&definition));
    }
    Json(names)
}

/// Lists the latest version of every workflow.
#[utoipa::path(
    get, path = "/api/metadata/workflow/latest-versions", tag = "metadata",
    responses((status = 200, description = "The definitions", body = Vec<serde_json::Value>))
)]
async fn latest_workflows(State(api): State<Api>) -> Json<Vec<Arc<WorkflowDef>>> {
    let latest: BTreeMap<String, Arc<WorkflowDef>> =
        api.engine.definitions().workflows().into_iter().map(|d| (d.name.clone(), d)).collect();
    Json(latest.into_values().collect())
}

#[derive(Debug, Deserialize, IntoParams)]
struct VersionParams {
    /// Absent or 0 = the latest.
    version: Option<u32>,
}

/// Shows a workflow definition.
#[utoipa::path(
    get, path = "/api/metadata/workflow/{name}", tag = "metadata",
    params(("name" = String, Path, description = "The name of the workflow"), VersionParams),
    responses(
        (status = 200, description = "The definition", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn workflow(
    State(api): State<Api>,
    scope: Scope,
    Path(name): Path<String>,
    Query(params): Query<VersionParams>,
) -> Result<Json<Arc<WorkflowDef>>, Problem> {
    if !scope.covers_workflow(&api.engine, &name).await? {
        return Err(no_version(&name, params.version));
    }
    let found = api.engine.definitions().workflow(&name, params.version);
    found.map(Json).ok_or_else(|| no_version(&name, params.version))
}

fn no_version(name: &str, version: Option<u32>) -> Problem {
    let version = version.map_or_else(|| "null".to_owned(), |version| version.to_string());
    Problem::not_found(format!("No such workflow found by name: {name}, version: {version}"))
}

/// Lists the versions of a workflow, oldest first, without the definitions.
#[utoipa::path(
    get, path = "/api/metadata/workflow/{name}/versions", tag = "metadata",
    params(("name" = String, Path, description = "The name of the workflow")),
    responses((status = 200, description = "The versions; none if there is no such workflow", body = Vec<VersionSummary>))
)]
async fn workflow_versions(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Json<Vec<VersionSummary>> {
    let versions = api.engine.definitions().versions(&name);
    Json(versions.iter().map(|definition| VersionSummary::of(definition)).collect())
}

/// Deletes one version of a workflow definition; its executions continue.
#[utoipa::path(
    delete, path = "/api/metadata/workflow/{name}/{version}", tag = "metadata",
    params(
        ("name" = String, Path, description = "The name of the workflow"),
        ("version" = u32, Path, description = "The version"),
    ),
    responses(
        (status = 200, description = "Deleted"),
        (status = 404, description = "Not found"),
    )
)]
async fn delete_workflow(
    State(api): State<Api>,
    Path((name, version)): Path<(String, u32)>,
) -> Result<(), Problem> {
    if api.engine.definitions().delete_workflow(&name, version).await? {
        return Ok(());
    }
    Err(Problem::not_found(format!("No such workflow definition: {name} version: {version}")))
}

/// Registers task definitions, a list or a single one, each replacing the one of its name.
#[utoipa::path(
    post, path = "/api/metadata/taskdefs", tag = "metadata",
    request_body = Vec<serde_json::Value>,
    responses(
        (status = 200, description = "Registered"),
        (status = 400, description = "Invalid; the response lists every problem, and none is registered"),
    )
)]
async fn create_task_defs(State(api): State<Api>, RawBody(body): RawBody) -> Result<(), Problem> {
    let definitions = check_task_defs(text(&body)?)?;
    store_tasks(&api.engine, definitions).await
}

/// Replaces a registered task definition.
#[utoipa::path(
    put, path = "/api/metadata/taskdefs", tag = "metadata", request_body = serde_json::Value,
    responses(
        (status = 200, description = "Replaced"),
        (status = 400, description = "Invalid; the response lists every problem"),
        (status = 404, description = "Not found"),
    )
)]
async fn update_task_def(State(api): State<Api>, RawBody(body): RawBody) -> Result<(), Problem> {
    let definitions = check_task_defs(text(&body)?)?;
    let [definition] = definitions.as_slice() else {
        return Err(Problem::bad_request("expected one task definition")
            .with_hint("Use POST to register a list."));
    };
    if api.engine.definitions().task(&definition.name).is_none() {
        let message = format!("No such task by name {}", definition.name);
        return Err(Problem::not_found(message).with_hint("Use POST to register a new one."));
    }
    store_tasks(&api.engine, definitions).await
}

/// Lists all task definitions.
#[utoipa::path(
    get, path = "/api/metadata/taskdefs", tag = "metadata",
    responses((status = 200, description = "The definitions", body = Vec<serde_json::Value>))
)]
async fn task_defs(State(api): State<Api>) -> Json<Vec<Arc<TaskDef>>> {
    Json(api.engine.definitions().tasks())
}

/// Shows a task definition.
#[utoipa::path(
    get, path = "/api/metadata/taskdefs/{name}", tag = "metadata",
    params(("name" = String, Path, description = "The name of the task")),
    responses(
        (status = 200, description = "The definition", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn task_def(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Arc<TaskDef>>, Problem> {
    let found = api.engine.definitions().task(&name);
    let missing = || Problem::not_found(format!("No such taskType found by name: {name}"));
    found.map(Json).ok_or_else(missing)
}

/// Deletes a task definition; executions that pinned it keep it.
#[utoipa::path(
    delete, path = "/api/metadata/taskdefs/{name}", tag = "metadata",
    params(("name" = String, Path, description = "The name of the task")),
    responses(
        (status = 200, description = "Deleted"),
        (status = 404, description = "Not found"),
    )
)]
async fn delete_task_def(State(api): State<Api>, Path(name): Path<String>) -> Result<(), Problem> {
    if api.engine.definitions().delete_task(&name).await? {
        return Ok(());
    }
    Err(Problem::not_found(format!("No such task definition: {name}")))
}

fn text(body: &Bytes) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Problem::bad_request(format!("the request body is not UTF-8 after byte {at}"))
    })
}

/// Does work that may take long (scripts are compiled, years of shifts counted) away from the threads that
/// serve.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "work apart from requests failed");
        let message = "internal error; the server's log says why";
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
    })
}

/// Reads one workflow definition, with what is hardly meant as it is written.
async fn read_workflow(engine: &Engine, body: Bytes) -> Result<(WorkflowDef, Vec<Flaw>), Problem> {
    let engine = engine.clone();
    apart(move || {
        let definition = parse_workflow(text(&body)?).map_err(Problem::invalid)?;
        let findings = inspect(&engine, &definition);
        if !findings.problems.is_empty() {
            return Err(Problem::invalid(findings.problems));
        }
        Ok((definition, findings.warnings))
    })
    .await
}

pub(super) fn check_workflows(engine: &Engine, text: &str) -> Result<Vec<WorkflowDef>, Problem> {
    let definitions = parse_workflows(text).map_err(Problem::invalid)?;
    refuse_if_any(text, definitions.iter().map(|def| inspect(engine, def).problems))?;
    Ok(definitions)
}

fn check_task_defs(text: &str) -> Result<Vec<TaskDef>, Problem> {
    let definitions = parse_task_defs(text).map_err(Problem::invalid)?;
    refuse_if_any(text, definitions.iter().map(validate_task_def))?;
    Ok(definitions)
}

/// Gathers what is wrong with each definition of a document, which is a list or a single one.
fn refuse_if_any(text: &str, found: impl Iterator<Item = Vec<Flaw>>) -> Result<(), Problem> {
    let is_list = text.trim_start().starts_with('[');
    let mut flaws = Vec::new();
    for (index, of_one) in found.enumerate() {
        let prefix = if is_list { format!("/{index}") } else { String::new() };
        flaws.extend(of_one.into_iter().map(|flaw| flaw.under(&prefix)));
    }
    if flaws.is_empty() { Ok(()) } else { Err(Problem::invalid(flaws)) }
}

fn inspect(engine: &Engine, definition: &WorkflowDef) -> Findings {
    let templates = |name: &str, key: &str| {
        let registered = engine.definitions().task(name);
        registered.is_some_and(|task| task.input_template.contains_key(key))
    };
    let mut findings = inspect_workflow(definition, engine.scripts(), &templates);
    if definition.version < 0 {
        let message = format!("WorkflowDef version: {} cannot be negative", definition.version);
        let flaw = Flaw::new("/version", "value-out-of-range", message, "Count from 1.");
        findings.problems.push(flaw.with_value(definition.version));
    }
    findings
}

/// The definition that one replaces.
fn registered(engine: &Engine, definition: &WorkflowDef) -> Option<Arc<WorkflowDef>> {
    let found = engine.definitions().workflow(&definition.name, Some(definition.version as u32))?;
    // Version 0 asks for the latest, which need not be version 0.
    (found.version == definition.version).then_some(found)
}

pub(super) async fn store(
    engine: &Engine,
    mut definitions: Vec<WorkflowDef>,
) -> Result<(), Problem> {
    let now = engine.now().millis();
    for definition in &mut definitions {
        let earlier = registered(engine, definition);
        definition.create_time = earlier.as_ref().map_or(now, |earlier| earlier.create_time);
        definition.update_time = if earlier.is_some() { now } else { 0 };
    }
    Ok(engine.definitions().put_workflows(definitions).await?)
}

async fn store_tasks(engine: &Engine, mut definitions: Vec<TaskDef>) -> Result<(), Problem> {
    let now = engine.now().millis();
    for definition in &mut definitions {
        let earlier = engine.definitions().task(&definition.name);
        definition.create_time = earlier.as_ref().map_or(now, |earlier| earlier.create_time);
        definition.update_time = if earlier.is_some() { now } else { 0 };
    }
    Ok(engine.definitions().put_tasks(definitions).await?)
}
