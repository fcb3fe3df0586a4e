//! JSON schemas: what is found, where, and what a hostile schema may not do.

use kernel::Json;
use serde_json::{Value, json};
use tasks::schema::Schemas;

fn violations(schema: &Value, document: &Value) -> Result<Vec<String>, String> {
    Schemas::default()
        .violations(&Json::of(schema), &Json::of(document))
        .map(|found| found.iter().map(ToString::to_string).collect())
        .map_err(|error| error.message)
}

#[test]
fn every_violation_is_named_with_its_place_and_without_the_value() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.com/product.schema.json",
        "type": "object",
        "properties": {
            "id": { "type": "integer" },
            "tags": { "type": "array", "items": { "$ref": "#/$defs/tag" } },
        },
        "required": ["id", "name"],
        "$defs": { "tag": { "type": "string", "pattern": "^[a-z]+$" } },
    });
    assert_eq!(violations(&schema, &json!({ "id": 1, "name": "n" })), Ok(vec![]));
    let document = json!({ "id": "hunter2", "tags": ["ok", "NOT", 3] });
    let found = violations(&schema, &document).expect("a good schema");
    let places: Vec<&str> = found.iter().filter_map(|v| v.split(": ").next()).collect();
    for place in ["/", "/id", "/tags/1", "/tags/2"] {
        assert!(places.contains(&place), "{place} in {found:?}");
    }
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(!found.concat().contains("hunter2"), "values are not told: {found:?}");
}

#[test]
fn a_wrong_schema_is_an_error() {
    for schema in [
        json!({ "type": "nothing" }),
        json!({ "$ref": "https://example.com/elsewhere.json" }),
        json!({ "$ref": "file:///etc/passwd" }),
        json!({ "pattern": "(" }),
        json!({ "$ref": "#/nowhere" }),
    ] {
        assert!(violations(&schema, &json!({})).is_err(), "{schema}");
    }
}

#[test]
fn what_has_no_end_is_bounded() {
    let many = json!({ "items": { "type": "string" } });
    let document: Value = (0..5000).collect();
    assert_eq!(violations(&many, &document).map(|found| found.len()), Ok(100));
    let endless = json!({ "pattern": "^(?=(a+)+$)(a+)+b\\1$" });
    let found = violations(&endless, &json!("a".repeat(5000))).expect("it ends");
    assert_eq!(found.len(), 1);
    let recursive = json!({ "properties": { "next": { "$ref": "#" } }, "required": ["v"] });
    let document = json!({ "v": 1, "next": { "v": 2, "next": {} } });
    assert_eq!(violations(&recursive, &document).map(|found| found.len()), Ok(1));
    let itself = json!({ "$ref": "#" });
    let _either = violations(&itself, &json!({}));
}
