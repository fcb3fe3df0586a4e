//! Named schemas (`SchemaDef`) as their authors write them: checked, and completed with what they may
//! leave out.

use serde_json::{Map, Value, json};

use super::parse::read_each;
use super::{Problem, SchemaDef};
use crate::editor;

/// Bytes of one schema, at most.
pub const SCHEMA_SIZE_MAX: usize = 1 << 20;

/// Whether a document is a schema rather than another definition.
pub fn is_schema(document: &Value) -> bool {
    let has_data = document.get("data").is_some_and(Value::is_object);
    (has_data || document.get("externalRef").is_some()) && document.get("tasks").is_none()
}

/// Reads one schema, and completes it: version 1 and type JSON are the defaults.
///
/// # Errors
/// What is wrong with it: the member, and the reason.
pub fn schema_from_value(value: Value) -> Result<SchemaDef, (&'static str, String)> {
    if value.to_string().len() > SCHEMA_SIZE_MAX {
        return Err(("", format!("it is larger than {SCHEMA_SIZE_MAX} bytes")));
    }
    let checked = checked(value)?;
    serde_json::from_value(Value::Object(checked)).map_err(|error| ("", error.to_string()))
}

fn checked(value: Value) -> Result<Map<String, Value>, (&'static str, String)> {
    let Value::Object(mut schema) = value else {
        return Err(("", "it must be an object".to_owned()));
    };
    schema.retain(|_, value| !value.is_null());
    if schema.get("name").and_then(Value::as_str).is_none_or(|name| name.trim().is_empty()) {
        return Err(("name", "it needs a name".to_owned()));
    }
    let version = schema.entry("version").or_insert_with(|| 1.into());
    if version.as_u64().is_none_or(|version| version == 0 || i32::try_from(version).is_err()) {
        return Err(("version", format!("version {version} is not a whole number from 1")));
    }
    let kind = schema.entry("type").or_insert_with(|| "JSON".into());
    if !matches!(kind.as_str(), Some("JSON" | "AVRO" | "PROTOBUF")) {
        return Err(("type", format!("type {kind} must be JSON, AVRO or PROTOBUF")));
    }
    let data = schema.get("data");
    if data.is_some_and(|data| !data.is_object()) {
        return Err(("data", "'data' must be an object".to_owned()));
    }
    let refers = schema.get("externalRef").and_then(Value::as_str).is_some_and(|r| !r.is_empty());
    if data.is_none() && !refers {
        return Err(("", "it needs 'data', the schema itself, or 'externalRef'".to_owned()));
    }
    Ok(schema)
}

/// Reads a schema or a list of them.
///
/// # Errors
/// Malformed JSON as one problem; otherwise everything that is wrong. Pointers begin with the index in
/// a list.
pub fn parse_schemas(text: &str) -> Result<Vec<SchemaDef>, Vec<Problem>> {
    read_each(text, |value| {
        schema_from_value(value).map_err(|(member, message)| {
            let at = if member.is_empty() { String::new() } else { format!("/{member}") };
            let hint = "A schema has name, version, type and data.";
            Box::new(Problem::new(at, "invalid-schema", message, hint))
        })
    })
}

/// The schema of a file of schemas for editors: one, or a list.
pub fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let schema = editor::nullable_record(
        [
            ("name", json!({ "type": "string", "minLength": 1 })),
            ("version", json!({ "type": "integer", "minimum": 1 })),
            ("type", editor::word(&["JSON", "AVRO", "PROTOBUF"])),
            ("data", json!({ "type": "object" })),
            ("externalRef", text()),
            ("ownerApp", text()),
            ("createTime", json!({ "type": "integer" })),
            ("updateTime", json!({ "type": "integer" })),
            ("createdBy", text()),
            ("updatedBy", text()),
        ],
        &["name"],
    );
    let root = editor::one_or_list(&editor::reference("schema"));
    editor::document("Nightbell: schemas", root, vec![("schema", schema)])
}
