//! JSON schemas that unfold without end.

use kernel::Json;
use serde_json::{Map, Value, json};
use tasks::schema::Schemas;

use super::in_time;

/// A schema whose parts each refer twice to the next one.
fn doubling(depth: usize) -> Value {
    let part = |next: usize| {
        let reference = json!({"$ref": format!("#/$defs/p{next}")});
        json!({"allOf": [reference.clone(), reference]})
    };
    let mut parts: Map<String, Value> =
        (0..depth).map(|number| (format!("p{number}"), part(number + 1))).collect();
    parts.insert(format!("p{depth}"), json!({"type": "object"}));
    json!({"$defs": parts, "$ref": "#/$defs/p0"})
}

#[test]
fn references_that_double_are_refused_and_others_are_not() {
    let check = |schema: Value, document: Value| {
        in_time(move || {
            let (schema, document) = (Json::from(schema), Json::from(document));
            Schemas::default().violations(&schema, &document)
        })
        .expect("it ends")
    };
    assert_eq!(check(doubling(8), json!({})), Ok(Vec::new()));
    let error = check(doubling(40), json!({})).expect_err("too much work");
    assert!(error.message.contains("unfold"), "{error}");
}

/// What a reference leads to hangs on the names around it, and each draft reads these in its own way.
#[test]
fn references_that_double_are_refused_under_every_name() {
    let check = |schema: Value| {
        let schema = Json::from(schema);
        in_time(move || Schemas::default().violations(&schema, &Json::from(json!({}))))
            .expect("it ends")
    };
    let named = |depth: usize, name: &str, id: &str, base: &str| {
        let text = doubling(depth).to_string().replace("\"#/", &format!("\"{base}#/"));
        let mut schema: Value = serde_json::from_str(&text).unwrap();
        schema[name] = id.into();
        schema
    };
    let around = |inner: Value| json!({ "$id": "http://x/root", "allOf": [inner] });
    // Beside a reference, older drafts read nothing.
    let old = |mut inner: Value| {
        let reference = inner.as_object_mut().unwrap().remove("$ref").unwrap();
        inner["allOf"] = json!([{ "$ref": reference }]);
        json!({ "$schema": "http://json-schema.org/draft-04/schema#", "allOf": [inner] })
    };
    let anchored = |depth: usize| {
        let text = doubling(depth).to_string();
        let mut schema: Value = serde_json::from_str(&text.replace("#/$defs/", "#")).unwrap();
        for (name, part) in schema["$defs"].as_object_mut().unwrap() {
            part["$anchor"] = name.as_str().into();
        }
        json!({ "allOf": [{ "$id": "i" }], "anyOf": [schema] })
    };
    let cases: [(&str, &dyn Fn(usize) -> Value); 8] = [
        ("inner", &|n| json!({ "allOf": [named(n, "$id", "http://x/i", "")] })),
        ("relative to none", &|n| json!({ "allOf": [named(n, "$id", "i", "")] })),
        ("relative", &|n| around(named(n, "$id", "i", "i"))),
        ("absolute", &|n| around(named(n, "$id", "i", "http://x/i"))),
        ("relative to absolute", &|n| around(named(n, "$id", "http://x/i", "i"))),
        ("root", &|n| named(n, "$id", "http://x/root", "http://x/root")),
        ("draft 4", &|n| old(named(n, "id", "http://x/i", ""))),
        ("anchors", &anchored),
    ];
    for (what, schema) in cases {
        assert_eq!(check(schema(6)), Ok(Vec::new()), "{what}");
        let error = check(schema(40)).expect_err(what);
        assert!(error.message.contains("unfold"), "{what}: {error}");
    }
    // Where nobody can tell, it is refused.
    let escaped = around(named(40, "$id", "http://x/%69", "i"));
    assert!(check(escaped).is_err());
}

#[test]
fn schemas_that_come_with_the_validator_may_be_referred_to_from_named_ones() {
    let meta = "http://json-schema.org/draft-07/schema#";
    let schema = json!({
        "$schema": meta,
        "$id": "http://x/root",
        "properties": { "a": { "$ref": meta }, "b": { "$ref": meta } },
    });
    let found = Schemas::default().violations(&Json::from(schema), &Json::from(json!({"a": true})));
    assert_eq!(found, Ok(Vec::new()));
}

#[test]
fn patterns_are_weighed_against_the_document() {
    let schema = json!({"items": {"pattern": "^(?:(a?){1500}|b)*x?$"}});
    let document = json!(["a".repeat(3_000_000)]);
    let result =
        in_time(move || Schemas::default().violations(&Json::from(schema), &Json::from(document)));
    assert!(result.expect("it ends").is_err());
}
