//! `/api/schema`: named schemas that definitions refer to.

use axum::Json;
use axum::extract::State;
use kernel::access::Permission;
use kernel::definition::{SchemaDef, schema_from_value};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::extract::{Body, Path, Query, lenient};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(schemas))
        .on(Permission::Edit, routes!(save_schemas))
        .on(Permission::Read, routes!(latest_schema))
        .on(Permission::Edit, routes!(delete_schemas))
        .on(Permission::Read, routes!(schema))
        .on(Permission::Edit, routes!(delete_schema))
}

/// Schemas in one request.
const SCHEMAS_MAX: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct SaveParams {
    /// Give each the version after its latest, ignoring the version in the body; default false.
    #[serde(default, deserialize_with = "lenient::flag")]
    new_version: bool,
}

/// Saves schemas, one or a list, each replacing its version; all or none.
#[utoipa::path(
    post, path = "/api/schema", tag = "schema", params(SaveParams),
    request_body = serde_json::Value,
    responses(
        (status = 200, description = "Saved"),
        (status = 400, description = "Invalid; the response says why, and none is saved"),
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
    let definitions = api.engine.definitions();
    let present = definitions.schemas();
    let now = api.engine.now().millis();
    let mut schemas: Vec<SchemaDef> = Vec::new();
    for (index, value) in list.into_iter().enumerate() {
        let refused = |why: &str| Problem::bad_request(format!("schema {index}: {why}"));
        let mut schema = schema_from_value(value).map_err(|(_, why)| refused(&why))?;
        let of_name = present.iter().map(|schema| &**schema).chain(&schemas);
        let mut of_name = of_name.filter(|other| other.name == schema.name);
        if params.new_version {
            schema.version = of_name.map(|other| other.version).max().unwrap_or(0) + 1;
            schema.create_time = now;
        } else {
            let earlier = of_name.find(|other| other.version == schema.version);
            schema.create_time = earlier.map_or(now, |earlier| earlier.create_time);
        }
        schema.update_time = now;
        schemas.retain(|other| other.name != schema.name || other.version != schema.version);
        schemas.push(schema);
    }
    Ok(definitions.put_schemas(schemas).await?)
}

fn shown(schema: &SchemaDef) -> Value {
    serde_json::to_value(schema).unwrap_or_default()
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
    let schemas = api.engine.definitions().schemas();
    let shown = schemas.iter().map(|schema| {
        let mut schema = shown(schema);
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
        (status = 404, description = "Not found"),
    )
)]
async fn latest_schema(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let latest = api.engine.definitions().schema(&name, 0);
    latest.map(|schema| Json(shown(&schema))).ok_or_else(|| missing(&name, None))
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
        (status = 404, description = "Not found"),
    )
)]
async fn schema(
    State(api): State<Api>,
    Path((name, version)): Path<(String, u32)>,
) -> Result<Json<Value>, Problem> {
    let wanted = i32::try_from(version).ok().filter(|version| *version > 0);
    let found = wanted.and_then(|version| api.engine.definitions().schema(&name, version));
    found.map(|schema| Json(shown(&schema))).ok_or_else(|| missing(&name, Some(version)))
}

/// Deletes every version of a schema.
#[utoipa::path(
    delete, path = "/api/schema/{name}", tag = "schema",
    params(("name" = String, Path, description = "The name of the schema")),
    responses(
        (status = 200, description = "Deleted"),
        (status = 404, description = "Not found"),
    )
)]
async fn delete_schemas(State(api): State<Api>, Path(name): Path<String>) -> Result<(), Problem> {
    let definitions = api.engine.definitions();
    let mut found = false;
    for schema in definitions.schemas().iter().filter(|schema| schema.name == name) {
        let version = u32::try_from(schema.version).unwrap_or(1);
        found |= definitions.delete_schema(&name, version).await?;
    }
    if found { Ok(()) } else { Err(missing(&name, None)) }
}

/// Deletes one version of a schema.
#[utoipa::path(
    delete, path = "/api/schema/{name}/{version}", tag = "schema",
    params(
        ("name" = String, Path, description = "The name of the schema"),
        ("version" = u32, Path, description = "The version"),
    ),
    responses(
        (status = 200, description = "Deleted"),
        (status = 404, description = "Not found"),
    )
)]
async fn delete_schema(
    State(api): State<Api>,
    Path((name, version)): Path<(String, u32)>,
) -> Result<(), Problem> {
    if api.engine.definitions().delete_schema(&name, version).await? {
        return Ok(());
    }
    Err(missing(&name, Some(version)))
}
