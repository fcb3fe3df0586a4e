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

#[test]
fn patterns_are_weighed_against_the_document() {
    let schema = json!({"items": {"pattern": "^(?:(a?){1500}|b)*x?$"}});
    let document = json!(["a".repeat(3_000_000)]);
    let result =
        in_time(move || Schemas::default().violations(&Json::from(schema), &Json::from(document)));
    assert!(result.expect("it ends").is_err());
}
