//! Tags: labels of definitions, kept beside them so that a new version keeps its tags.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use engine::Engine;
use engine::store::Document;
use kernel::access::Permission;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::extract::{Body, Path, Query};
use super::metadata::Registering;
use super::rate_limit;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(workflow_tags))
        .on(Permission::Edit, routes!(add_workflow_tags, put_workflow_tags, delete_workflow_tags))
        .on(Permission::Read, routes!(old_workflow_tags))
        .on(Permission::Edit, routes!(add_old_workflow_tag, delete_old_workflow_tag))
        .on(Permission::Read, routes!(task_tags))
        .on(Permission::Edit, routes!(add_task_tags, put_task_tags, delete_task_tags))
        .on(Permission::Read, routes!(all_tags))
        .on(Permission::Read, routes!(grouped_tags))
        .on(Permission::Read, routes!(tagged_resources))
        .layer(Extension(Tagging::default()))
}

/// The kind of the documents that hold tags. Their name is the resource's, after its type.
const KIND: &str = "tags";
/// Tags of one resource.
const TAGS_MAX: usize = 100;
/// Bytes of a tag's key or value.
const TEXT_MAX: usize = 500;

/// What can have tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Resource {
    /// All versions of a workflow.
    WorkflowDef,
    /// A task definition.
    TaskDef,
    /// A webhook, by its id.
    Webhook,
}

impl Resource {
    const ALL: [Self; 3] = [Self::WorkflowDef, Self::TaskDef, Self::Webhook];

    fn as_str(self) -> &'static str {
        match self {
            Self::WorkflowDef => "WORKFLOW_DEF",
            Self::TaskDef => "TASK_DEF",
            Self::Webhook => "WEBHOOK",
        }
    }
}

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub(crate) struct Tag {
    /// The key.
    key: String,
    /// The value; numbers and booleans are stored as text.
    #[serde(deserialize_with = "text")]
    value: String,
}

fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
        _ => Err(serde::de::Error::custom("'value' must be a text")),
    }
}

/// Held from reading tags until they are written.
#[derive(Clone, Default)]
pub(crate) struct Tagging(Arc<Mutex<()>>);

/// What becomes of the tags that are there when others are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Those of the same key give way.
    Add,
    /// All give way.
    Replace,
    /// Those given go away; 404 if one is not there.
    Delete,
}

/// Reads one tag or a list of them, as clients send them.
pub(crate) fn read(body: Value) -> Result<Vec<Tag>, Problem> {
    let list = match body {
        Value::Array(list) => list,
        Value::Null => Vec::new(),
        one => vec![one],
    };
    let mut tags: Vec<Tag> = Vec::new();
    for (index, value) in list.into_iter().enumerate() {
        let tag: Tag = serde_json::from_value(value).map_err(|error| {
            Problem::bad_request(format!("tag {index}: {error}"))
                .with_hint("A tag is an object with the texts 'key' and 'value'.")
        })?;
        if tag.key.trim().is_empty() || tag.key.len() > TEXT_MAX || tag.value.len() > TEXT_MAX {
            return Err(Problem::bad_request(format!(
                "tag {index}: key and value must be at most {TEXT_MAX} bytes, and a key not empty"
            )));
        }
        tags.retain(|earlier| earlier.key != tag.key);
        tags.push(tag);
    }
    Ok(tags)
}

/// Every resource's tags, by type and name.
async fn load(engine: &Engine) -> Result<BTreeMap<(Resource, String), Vec<Tag>>, Problem> {
    let mut found = BTreeMap::new();
    for document in engine.store().documents(KIND).await? {
        let Some((word, name)) = document.name.split_once('/') else { continue };
        let Some(resource) = Resource::ALL.into_iter().find(|r| r.as_str() == word) else {
            continue;
        };
        let tags = serde_json::from_str(&document.text).unwrap_or_default();
        found.insert((resource, name.to_owned()), tags);
    }
    Ok(found)
}

impl Tag {
    /// Its key and its value.
    pub(crate) fn parts(&self) -> (&str, &str) {
        (&self.key, &self.value)
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, key: &str, value: &str) -> bool {
        self.key == key && self.value == value
    }
}

/// The tags of every resource of a type, by its name.
pub(crate) async fn of_all(
    engine: &Engine,
    resource: Resource,
) -> Result<BTreeMap<String, Vec<Tag>>, Problem> {
    let all = load(engine).await?.into_iter();
    Ok(all.filter(|((of, _), _)| *of == resource).map(|((_, name), tags)| (name, tags)).collect())
}

/// The tags of one resource.
pub(crate) async fn of(
    engine: &Engine,
    resource: Resource,
    name: &str,
) -> Result<Vec<Tag>, Problem> {
    Ok(load(engine).await?.remove(&(resource, name.to_owned())).unwrap_or_default())
}

/// Changes the tags of one resource.
pub(crate) async fn change(
    engine: &Engine,
    tagging: &Tagging,
    (resource, name): (Resource, &str),
    change: Change,
    given: Vec<Tag>,
) -> Result<(), Problem> {
    let _tagging = tagging.0.lock().await;
    let mut tags = of(engine, resource, name).await?;
    match change {
        Change::Replace => tags = given,
        Change::Add => {
            tags.retain(|tag| given.iter().all(|new| new.key != tag.key));
            tags.extend(given);
        }
        Change::Delete => {
            for tag in given {
                let before = tags.len();
                tags.retain(|present| *present != tag);
                if tags.len() == before {
                    let Tag { key, value } = tag;
                    return Err(Problem::not_found(format!("'{name}' has no tag {key}:{value}")));
                }
            }
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(Problem::bad_request(format!("'{name}' would have more than {TAGS_MAX} tags")));
    }
    let (store, key) = (engine.store(), format!("{}/{name}", resource.as_str()));
    if tags.is_empty() {
        store.delete_document(KIND, &key, 0).await?;
        return Ok(());
    }
    let text = serde_json::to_string(&tags).expect("tags serialize to JSON");
    let document = Document { kind: KIND.into(), name: key.into(), version: 0, text: text.into() };
    Ok(store.put_document(document).await?)
}

fn known_workflow(engine: &Engine, name: &str) -> Result<(), Problem> {
    match engine.definitions().workflow(name, None) {
        Some(_) => Ok(()),
        None => Err(Problem::not_found(format!("No such workflow found by name: {name}"))),
    }
}

fn known_task(engine: &Engine, name: &str) -> Result<(), Problem> {
    match engine.definitions().task(name) {
        Some(_) => Ok(()),
        None => Err(Problem::not_found(format!("No such taskType found by name: {name}"))),
    }
}

/// Lists the tags of a workflow.
#[utoipa::path(
    get, path = "/api/metadata/workflow/{name}/tags", tag = "metadata",
    params(("name" = String, Path, description = "The name of the workflow")),
    responses(
        (status = 200, description = "The tags", body = Vec<Tag>),
        (status = 404, description = "No such workflow"),
    )
)]
async fn workflow_tags(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Vec<Value>>, Problem> {
    known_workflow(&api.engine, &name)?;
    let tags = of(&api.engine, Resource::WorkflowDef, &name).await?;
    let tags = tags.iter().map(|tag| json!(tag));
    Ok(Json(tags.chain(rate_limit::tag(&api.engine, &name)).collect()))
}

/// Adds tags to a workflow, one or a list; those of the same key are replaced.
#[utoipa::path(
    post, path = "/api/metadata/workflow/{name}/tags", tag = "metadata",
    request_body = Vec<Tag>,
    params(("name" = String, Path, description = "The name of the workflow")),
    responses(
        (status = 200, description = "Tags added"),
        (status = 404, description = "No such workflow"),
    )
)]
async fn add_workflow_tags(
    State(api): State<Api>,
    Extension(tagging): Extension<Tagging>,
    Extension(registering): Extension<Registering>,
    Path(name): Path<String>,
    Body(body): Body<Value>,
) -> Result<(), Problem> {
    known_workflow(&api.engine, &name)?;
    let (limits, body) = rate_limit::take_tags(body)?;
    if let Some(most) = limits.last() {
        rate_limit::set_by_tag(&api.engine, &registering, &name, Some(*most)).await?;
    }
    if body.as_array().is_some_and(Vec::is_empty) {
        return Ok(());
    }
    let place = (Resource::WorkflowDef, name.as_str());
    change(&api.engine, &tagging, place, Change::Add, read(body)?).await
}

/// Replaces the tags of a workflow.
#[utoipa::path(
    put, path = "/api/metadata/workflow/{name}/tags", tag = "metadata",
    request_body = Vec<Tag>,
    params(("name" = String, Path, description = "The name of the workflow")),
    responses(
        (status = 200, description = "Replaced"),
        (status = 404, description = "No such workflow"),
    )
)]
async fn put_workflow_tags(
    State(api): State<Api>,
    Extension(tagging): Extension<Tagging>,
    Extension(registering): Extension<Registering>,
    Path(name): Path<String>,
    Body(body): Body<Value>,
) -> Result<(), Problem> {
    known_workflow(&api.engine, &name)?;
    let (limits, body) = rate_limit::take_tags(body)?;
    if let Some(most) = limits.last() {
        rate_limit::set_by_tag(&api.engine, &registering, &name, Some(*most)).await?;
    }
    let place = (Resource::WorkflowDef, name.as_str());
    change(&api.engine, &tagging, place, Change::Replace, read(body)?).await
}

/// Removes tags of a workflow, one or a list.
#[utoipa::path(
    delete, path = "/api/metadata/workflow/{name}/tags", tag = "metadata",
    request_body = Vec<Tag>,
    params(("name" = String, Path, description = "The name of the workflow")),
    responses(
        (status = 200, description = "Removed"),
        (status = 404, description = "No such workflow, or it has no such tag"),
    )
)]
async fn delete_workflow_tags(
    State(api): State<Api>,
    Extension(tagging): Extension<Tagging>,
    Extension(registering): Extension<Registering>,
    Path(name): Path<String>,
    Body(body): Body<Value>,
) -> Result<(), Problem> {
    known_workflow(&api.engine, &name)?;
    let (limits, body) = rate_limit::take_tags(body)?;
    if let Some(most) = limits.last() {
        let present = rate_limit::tag(&api.engine, &name);
        if present.is_none_or(|tag| tag["value"] != *most) {
            return Err(Problem::not_found(format!("'{name}' has no rate limit of {most}")));
        }
        rate_limit::set_by_tag(&api.engine, &registering, &name, None).await?;
    }
    if body.as_array().is_some_and(Vec::is_empty) {
        return Ok(());
    }
    let place = (Resource::WorkflowDef, name.as_str());
    change(&api.engine, &tagging, place, Change::Delete, read(body)?).await
}

/// Lists the tags of a workflow, at the path of older SDKs.
#[utoipa::path(
    get, path = "/api/metadata/tags/workflow/{name}", tag = "metadata",
    params(("name" = String, Path, description = "The name of the workflow")),
    responses(
        (status = 200, description = "The tags", body = Vec<Tag>),
        (status = 404, description = "No such workflow"),
    )
)]
async fn old_workflow_tags(
    state: State<Api>,
    name: Path<String>,
) -> Result<Json<Vec<Value>>, Problem> {
    workflow_tags(state, name).await
}

/// Adds a tag to a workflow, at the path of older SDKs.
#[utoipa::path(
    post, path = "/api/metadata/tags/workflow/{name}", tag = "metadata", request_body = Tag,
    params(("name" = String, Path, description = "The name of the workflow")),
    responses(
        (status = 200, description = "Tag added"),
        (status = 404, description = "No such workflow"),
    )
)]
async fn add_old_workflow_tag(
    state: State<Api>,
    tagging: Extension<Tagging>,
    registering: Extension<Registering>,
    name: Path<String>,
    body: Body<Value>,
) -> Result<(), Problem> {
    add_workflow_tags(state, tagging, registering, name, body).await
}

/// Removes a tag of a workflow, at the path of older SDKs.
#[utoipa::path(
    delete, path = "/api/metadata/tags/workflow/{name}", tag = "metadata", request_body = Tag,
    params(("name" = String, Path, description = "The name of the workflow")),
    responses(
        (status = 200, description = "Tag removed"),
        (status = 404, description = "No such workflow or tag"),
    )
)]
async fn delete_old_workflow_tag(
    state: State<Api>,
    tagging: Extension<Tagging>,
    registering: Extension<Registering>,
    name: Path<String>,
    body: Body<Value>,
) -> Result<(), Problem> {
    delete_workflow_tags(state, tagging, registering, name, body).await
}

/// Lists the tags of a task definition.
#[utoipa::path(
    get, path = "/api/metadata/task/{name}/tags", tag = "metadata",
    params(("name" = String, Path, description = "The name of the task")),
    responses(
        (status = 200, description = "The tags", body = Vec<Tag>),
        (status = 404, description = "No such task definition"),
    )
)]
async fn task_tags(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Vec<Tag>>, Problem> {
    known_task(&api.engine, &name)?;
    of(&api.engine, Resource::TaskDef, &name).await.map(Json)
}

/// Adds tags to a task definition, one or a list; those of the same key are replaced.
#[utoipa::path(
    post, path = "/api/metadata/task/{name}/tags", tag = "metadata",
    request_body = Vec<Tag>,
    params(("name" = String, Path, description = "The name of the task")),
    responses(
        (status = 200, description = "Tags added"),
        (status = 404, description = "No such task definition"),
    )
)]
async fn add_task_tags(
    State(api): State<Api>,
    Extension(tagging): Extension<Tagging>,
    Path(name): Path<String>,
    Body(body): Body<Value>,
) -> Result<(), Problem> {
    known_task(&api.engine, &name)?;
    let place = (Resource::TaskDef, name.as_str());
    change(&api.engine, &tagging, place, Change::Add, read(body)?).await
}

/// Replaces the tags of a task definition.
#[utoipa::path(
    put, path = "/api/metadata/task/{name}/tags", tag = "metadata",
    request_body = Vec<Tag>,
    params(("name" = String, Path, description = "The name of the task")),
    responses(
        (status = 200, description = "Replaced"),
        (status = 404, description = "No such task definition"),
    )
)]
async fn put_task_tags(
    State(api): State<Api>,
    Extension(tagging): Extension<Tagging>,
    Path(name): Path<String>,
    Body(body): Body<Value>,
) -> Result<(), Problem> {
    known_task(&api.engine, &name)?;
    let place = (Resource::TaskDef, name.as_str());
    change(&api.engine, &tagging, place, Change::Replace, read(body)?).await
}

/// Removes tags of a task definition, one or a list.
#[utoipa::path(
    delete, path = "/api/metadata/task/{name}/tags", tag = "metadata",
    request_body = Vec<Tag>,
    params(("name" = String, Path, description = "The name of the task")),
    responses(
        (status = 200, description = "Removed"),
        (status = 404, description = "No such task definition, or it has no such tag"),
    )
)]
async fn delete_task_tags(
    State(api): State<Api>,
    Extension(tagging): Extension<Tagging>,
    Path(name): Path<String>,
    Body(body): Body<Value>,
) -> Result<(), Problem> {
    known_task(&api.engine, &name)?;
    let place = (Resource::TaskDef, name.as_str());
    change(&api.engine, &tagging, place, Change::Delete, read(body)?).await
}

/// Lists every tag in use.
#[utoipa::path(
    get, path = "/api/metadata/tags", tag = "metadata",
    responses((status = 200, description = "The tags, sorted, each once", body = Vec<Tag>))
)]
async fn all_tags(State(api): State<Api>) -> Result<Json<BTreeSet<Tag>>, Problem> {
    Ok(Json(load(&api.engine).await?.into_values().flatten().collect()))
}

/// How many resources of a type have a tag.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Grouped {
    tag_key: String,
    tag_value: String,
    resource_type: Resource,
    count_per_resource_type: usize,
}

/// Counts the resources of every tag by their type.
#[utoipa::path(
    get, path = "/api/metadata/tags/grouped", tag = "metadata",
    responses((status = 200, description = "The counts", body = Vec<Grouped>))
)]
async fn grouped_tags(State(api): State<Api>) -> Result<Json<Vec<Grouped>>, Problem> {
    let mut counts: BTreeMap<(Tag, Resource), usize> = BTreeMap::new();
    for ((resource, _), tags) in load(&api.engine).await? {
        for tag in tags {
            *counts.entry((tag, resource)).or_default() += 1;
        }
    }
    let grouped = counts.into_iter().map(|((tag, resource_type), count)| Grouped {
        tag_key: tag.key,
        tag_value: tag.value,
        resource_type,
        count_per_resource_type: count,
    });
    Ok(Json(grouped.collect()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct ResourcesParams {
    tag_key: String,
    tag_value: String,
    /// `WORKFLOW_DEF`, `TASK_DEF` or `WEBHOOK`.
    resource_type: Resource,
}

/// Something that has a tag.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Tagged {
    id: String,
    display_name: String,
}

/// Lists the resources of a type that have a tag.
#[utoipa::path(
    get, path = "/api/metadata/tags/resources", tag = "metadata", params(ResourcesParams),
    responses((status = 200, description = "The resources", body = Vec<Tagged>))
)]
async fn tagged_resources(
    State(api): State<Api>,
    Query(params): Query<ResourcesParams>,
) -> Result<Json<Vec<Tagged>>, Problem> {
    let wanted = Tag { key: params.tag_key, value: params.tag_value };
    let mut found = Vec::new();
    for ((resource, name), tags) in load(&api.engine).await? {
        if resource == params.resource_type && tags.contains(&wanted) {
            found.push(Tagged { display_name: name.clone(), id: name });
        }
    }
    Ok(Json(found))
}
