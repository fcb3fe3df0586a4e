//! JSON schemas (draft 7) of the files that people write, for their editors: completion, and a
//! misspelt key underlined while it is written.
//!
//! They are made from the tables by which the files are read, or are held against what readers ask
//! for by a test, so that they say what is read. They refuse keys that are not known, which readers
//! of Conductor's documents must not; what only judging finds (references, expressions, names) is the
//! matter of `nightbell check`.

use serde_json::{Map, Value, json};

pub use crate::alert::definition::editor::{checklists, monitors};
pub use crate::definition::editor::{event_handlers, task_definitions, workflows};
pub use crate::definition::schema::schemas;
pub use crate::schedule::editor::schedules;
pub use crate::status_page::status_pages;

/// A schema with its definitions, under a title.
pub fn document(title: &str, root: Value, definitions: Vec<(&str, Value)>) -> Value {
    let mut document = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": title,
        "definitions": definitions.into_iter().map(|(name, it)| (name.to_owned(), it)).collect::<Map<_, _>>(),
    });
    if let (Value::Object(document), Value::Object(root)) = (&mut document, root) {
        document.extend(root);
    }
    document
}

/// What a definition of the same document says.
pub fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{name}") })
}

/// One of these, or a list of them: told by what it is, so that an editor says what is wrong with it
/// and not that it is neither.
pub fn one_or_list(of: &Value) -> Value {
    json!({ "if": { "type": "array" }, "then": { "items": of }, "else": of })
}

/// A map with these keys and no others.
pub fn record<K: Into<String>>(
    keys: impl IntoIterator<Item = (K, Value)>,
    required: &[&str],
) -> Value {
    let keys: Map<String, Value> = keys.into_iter().map(|(name, of)| (name.into(), of)).collect();
    let mut record = json!({ "type": "object", "properties": keys, "additionalProperties": false });
    if !required.is_empty() {
        record["required"] = json!(required);
    }
    record
}

/// A map with these keys and no others, of which those that are not required may be null.
pub fn nullable_record<K: Into<String>>(
    keys: impl IntoIterator<Item = (K, Value)>,
    required: &[&str],
) -> Value {
    let keys = keys.into_iter().map(|(name, of)| {
        let name = name.into();
        let of = if required.contains(&&*name) { of } else { nullable(of) };
        (name, of)
    });
    record(keys, required)
}

/// This, or null, which tools write where there is nothing.
pub fn nullable(of: Value) -> Value {
    let Value::Object(mut schema) = of else { return of };
    let (null, key) = match (schema.contains_key("type"), schema.contains_key("enum")) {
        (false, false) if schema.is_empty() => return schema.into(),
        (true, false) => (json!("null"), "type"),
        (false, true) => (Value::Null, "enum"),
        _ => return json!({ "if": { "type": "null" }, "then": {}, "else": schema }),
    };
    let mut names = match schema.remove(key) {
        Some(Value::Array(names)) => names,
        other => other.into_iter().collect(),
    };
    if !names.contains(&null) {
        names.push(null);
    }
    schema.insert(key.to_owned(), names.into());
    schema.into()
}

/// A map whose keys are free.
pub fn table(of: &Value) -> Value {
    json!({ "type": "object", "additionalProperties": of })
}

/// A list.
pub fn list(of: &Value) -> Value {
    json!({ "type": "array", "items": of })
}

/// One of some words.
pub fn word(words: &[&str]) -> Value {
    json!({ "enum": words })
}

/// What YAML lets one write for a text: also numbers and truths.
pub fn text() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

/// A text, or several.
pub fn texts() -> Value {
    json!({ "type": ["string", "number", "boolean", "array"], "items": text() })
}

/// A duration: `30s`, `1h30m`; a number is seconds.
pub fn span() -> Value {
    json!({ "type": ["string", "number"], "pattern": "^ *[0-9.]+ *[A-Za-z]*( *[0-9.]+ *[A-Za-z]+)* *$" })
}

/// A whole number, perhaps as text.
pub fn whole() -> Value {
    json!({ "type": ["integer", "string"], "pattern": "^[0-9]+$" })
}
