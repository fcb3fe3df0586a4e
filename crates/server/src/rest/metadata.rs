//! `/api/metadata`: definitions of workflows and tasks.

use axum::extract::State;
use axum::http::StatusCode;
use kernel::definition::{
    TaskDef, WorkflowDef, inspect_workflow, parse_task_defs, parse_workflows, validate_task_def,
};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::extract::{Path, Query, RawBody};
use crate::Api;
use crate::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Api> {
    use axum::routing::{get, post};
    OpenApiRouter::new()
        .route("/api/metadata/workflow", post(create).put(update).get(list))
        .route("/api/metadata/workflow/{name}", get(show))
        .route("/api/metadata/taskdefs", post(put_tasks).put(put_tasks).get(list_tasks))
        .route("/api/metadata/taskdefs/{name}", get(show_task))
}

fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|_| Problem::bad_request("the body is not UTF-8"))
}

fn read(api: &Api, bytes: &[u8]) -> Result<Vec<WorkflowDef>, Problem> {
    let mut definitions = parse_workflows(text(bytes)?).map_err(Problem::invalid)?;
    let templates = |task: &str, key: &str| {
        api.engine
            .definitions()
            .task(task)
            .is_some_and(|task| task.input_template.contains_key(key))
    };
    let mut problems = Vec::new();
    for definition in &mut definitions {
        problems.extend(inspect_workflow(definition, api.engine.scripts(), &templates).problems);
        definition.create_time = api.engine.now().millis();
    }
    if problems.is_empty() { Ok(definitions) } else { Err(Problem::invalid(problems)) }
}

async fn create(State(api): State<Api>, RawBody(body): RawBody) -> Result<(), Problem> {
    Ok(api.engine.definitions().put_workflows(read(&api, &body)?).await?)
}

async fn update(
    State(api): State<Api>,
    RawBody(body): RawBody,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let definitions = read(&api, &body)?;
    let names: Vec<String> = definitions.iter().map(|d| d.name.clone()).collect();
    api.engine.definitions().put_workflows(definitions).await?;
    Ok(axum::Json(serde_json::json!({ "bulkSuccessfulResults": names, "bulkErrorResults": {} })))
}

async fn list(State(api): State<Api>) -> axum::Json<Vec<WorkflowDef>> {
    axum::Json(api.engine.definitions().workflows().iter().map(|d| (**d).clone()).collect())
}

#[derive(Deserialize)]
struct Version {
    version: Option<u32>,
}

async fn show(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<Version>,
) -> Result<axum::Json<WorkflowDef>, Problem> {
    let found = api.engine.definitions().workflow(&name, query.version);
    found
        .map(|d| axum::Json((*d).clone()))
        .ok_or_else(|| Problem::not_found(format!("No such workflow found by name: {name}")))
}

async fn put_tasks(State(api): State<Api>, RawBody(body): RawBody) -> Result<StatusCode, Problem> {
    let tasks = parse_task_defs(text(&body)?).map_err(Problem::invalid)?;
    let problems: Vec<_> = tasks.iter().flat_map(validate_task_def).collect();
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    api.engine.definitions().put_tasks(tasks).await?;
    Ok(StatusCode::OK)
}

async fn list_tasks(State(api): State<Api>) -> axum::Json<Vec<TaskDef>> {
    axum::Json(api.engine.definitions().tasks().iter().map(|d| (**d).clone()).collect())
}

async fn show_task(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<axum::Json<TaskDef>, Problem> {
    let found = api.engine.definitions().task(&name);
    found
        .map(|d| axum::Json((*d).clone()))
        .ok_or_else(|| Problem::not_found(format!("No such taskType found by name: {name}")))
}
