//! `/api/schema`: named schemas that definitions refer to, kept as documents of the kind `schema`.

use axum::Json;
use axum::extract::State;
use engine::Engine;
use engine::store::Document;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Path, Query, lenient};
use crate::Api;
use crate::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(schemas, save_schemas))
        .routes(routes!(latest_schema, delete_schemas))
        .routes(routes!(schema, delete_schema))
}

/// The kind of the documents: text = the protocol's `SchemaDef`, named and versioned as in it.
const KIND: &str = "schema";
/// Schemas in one request.
const SCHEMAS_MAX: usize = 1000;
/// Bytes of one schema.
const SIZE_MAX: usize = 1 << 20;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct SaveParams {
    /// Give each the version after its latest, whatever it says itself; default false.
    #[serde(default, deserialize_with = "lenient::flag")]
    new_version: bool,
}

/// Saves schemas, one or a list, each replacing its version; all or none.
#[utoipa::path(
    post, path = "/api/schema", tag = "schema", params(SaveParams),
    request_body = serde_json::Value,
    responses(
        (status = 200, description = "They are saved"),
        (status = 400, description = "What is wrong; none is saved"),
    )
)]
async fn save_schemas(
    State(api): State<Api>,
    Query(params): Query<SaveParams>,
    Body(body): Body<Value>,
) -> Result<(), Problem> {
    let list = match body {
        Value::Array(list) => list,
        one => vec![one],
    };
    if list.len() > SCHEMAS_MAX {
        return Err(Problem::bad_request(format!(
            "more than {SCHEMAS_MAX} schemas in one request"
        )));
    }
    let present = load(&api.engine).await?;
    let now = api.engine.now().millis();
    let mut documents: Vec<Document> = Vec::new();
    for (index, value) in list.into_iter().enumerate() {
        let mut schema =
            checked(value).map_err(|why| Problem::bad_request(format!("schema {index}: {why}")))?;
        let name = name_of(&schema).to_owned();
        let same_name = |document: &&Document| *document.name == *name;
        if params.new_version {
            let all = present.iter().chain(&documents).filter(same_name);
            let latest = all.map(|document| document.version).max().unwrap_or(0);
            schema.insert("version".to_owned(), (latest + 1).into());
        }
        let version = version_of(&schema);
        let earlier = present.iter().find(|d| same_name(d) && d.version == version);
        let created =
            earlier.and_then(|document| parse(document).get("createTime").and_then(Value::as_i64));
        schema.insert("createTime".to_owned(), created.unwrap_or(now).into());
        schema.insert("updateTime".to_owned(), now.into());
        let text = Value::Object(schema).to_string();
        if text.len() > SIZE_MAX {
            let message = format!("schema {index}: it is larger than {SIZE_MAX} bytes");
            return Err(Problem::bad_request(message));
        }
        documents.retain(|document| *document.name != *name || document.version != version);
        documents.push(Document {
            kind: KIND.into(),
            name: name.into(),
            version,
            text: text.into(),
        });
    }
    Ok(api.engine.store().put_documents(documents).await?)
}

/// Checks a schema and fills in what its author may leave out.
fn checked(value: Value) -> Result<Map<String, Value>, String> {
    let Value::Object(mut schema) = value else {
        return Err("it must be an object".to_owned());
    };
    schema.retain(|_, value| !value.is_null());
    if schema.get("name").and_then(Value::as_str).is_none_or(|name| name.trim().is_empty()) {
        return Err("it needs a name".to_owned());
    }
    let version = schema.entry("version").or_insert_with(|| 1.into());
    if version.as_u64().is_none_or(|version| version == 0 || version > u64::from(u32::MAX)) {
        return Err(format!("version {version} is not a whole number from 1"));
    }
    let kind = schema.entry("type").or_insert_with(|| "JSON".into());
    if !matches!(kind.as_str(), Some("JSON" | "AVRO" | "PROTOBUF")) {
        return Err(format!("type {kind} must be JSON, AVRO or PROTOBUF"));
    }
    let data = schema.get("data");
    if data.is_some_and(|data| !data.is_object()) {
        return Err("'data' must be an object".to_owned());
    }
    let refers = schema.get("externalRef").and_then(Value::as_str).is_some_and(|r| !r.is_empty());
    if data.is_none() && !refers {
        return Err("it needs 'data', the schema itself, or 'externalRef'".to_owned());
    }
    Ok(schema)
}

fn name_of(schema: &Map<String, Value>) -> &str {
    schema.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn version_of(schema: &Map<String, Value>) -> u32 {
    let version = schema.get("version").and_then(Value::as_u64);
    version.and_then(|version| u32::try_from(version).ok()).unwrap_or(1)
}

async fn load(engine: &Engine) -> Result<Vec<Document>, Problem> {
    Ok(engine.store().documents(KIND).await?)
}

fn parse(document: &Document) -> Value {
    serde_json::from_str(&document.text).unwrap_or_default()
}

fn missing(name: &str, version: Option<u32>) -> Problem {
    let version = version.map_or_else(String::new, |version| format!(" and version {version}"));
    Problem::not_found(format!("No such schema found by name: {name}{version}"))
}

#[derive(Debug, Deserialize, IntoParams)]
struct ListParams {
    /// Leave the schemas themselves (`data`) out; default false.
    #[serde(default, deserialize_with = "lenient::flag")]
    short: bool,
}

/// Lists every version of every schema.
#[utoipa::path(
    get, path = "/api/schema", tag = "schema", params(ListParams),
    responses((status = 200, description = "The schemas", body = Vec<serde_json::Value>))
)]
async fn schemas(
    State(api): State<Api>,
    Query(params): Query<ListParams>,
) -> Result<Json<Vec<Value>>, Problem> {
    let documents = load(&api.engine).await?;
    let shown = documents.iter().map(|document| {
        let mut schema = parse(document);
        if params.short
            && let Some(members) = schema.as_object_mut()
        {
            members.remove("data");
        }
        schema
    });
    Ok(Json(shown.collect()))
}

/// Shows the latest version of a schema.
#[utoipa::path(
    get, path = "/api/schema/{name}", tag = "schema",
    params(("name" = String, Path, description = "The name of the schema")),
    responses(
        (status = 200, description = "The schema", body = serde_json::Value),
        (status = 404, description = "There is none"),
    )
)]
async fn latest_schema(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let documents = load(&api.engine).await?;
    let of_name = documents.iter().filter(|document| *document.name == *name);
    let latest = of_name.max_by_key(|document| document.version);
    latest.map(|document| Json(parse(document))).ok_or_else(|| missing(&name, None))
}

/// Shows one version of a schema.
#[utoipa::path(
    get, path = "/api/schema/{name}/{version}", tag = "schema",
    params(
        ("name" = String, Path, description = "The name of the schema"),
        ("version" = u32, Path, description = "The version"),
    ),
    responses(
        (status = 200, description = "The schema", body = serde_json::Value),
        (status = 404, description = "There is none"),
    )
)]
async fn schema(
    State(api): State<Api>,
    Path((name, version)): Path<(String, u32)>,
) -> Result<Json<Value>, Problem> {
    let documents = load(&api.engine).await?;
    let found = documents.iter().find(|d| *d.name == *name && d.version == version);
    found.map(|document| Json(parse(document))).ok_or_else(|| missing(&name, Some(version)))
}

/// Forgets every version of a schema.
#[utoipa::path(
    delete, path = "/api/schema/{name}", tag = "schema",
    params(("name" = String, Path, description = "The name of the schema")),
    responses(
        (status = 200, description = "They are forgotten"),
        (status = 404, description = "There is none"),
    )
)]
async fn delete_schemas(State(api): State<Api>, Path(name): Path<String>) -> Result<(), Problem> {
    let mut found = false;
    for document in load(&api.engine).await?.iter().filter(|document| *document.name == *name) {
        found |= api.engine.store().delete_document(KIND, &name, document.version).await?;
    }
    if found { Ok(()) } else { Err(missing(&name, None)) }
}

/// Forgets one version of a schema.
#[utoipa::path(
    delete, path = "/api/schema/{name}/{version}", tag = "schema",
    params(
        ("name" = String, Path, description = "The name of the schema"),
        ("version" = u32, Path, description = "The version"),
    ),
    responses(
        (status = 200, description = "It is forgotten"),
        (status = 404, description = "There is none"),
    )
)]
async fn delete_schema(
    State(api): State<Api>,
    Path((name, version)): Path<(String, u32)>,
) -> Result<(), Problem> {
    if api.engine.store().delete_document(KIND, &name, version).await? {
        return Ok(());
    }
    Err(missing(&name, Some(version)))
}
