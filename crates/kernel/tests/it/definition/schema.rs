//! Files of named schemas: what may be left out, and what is wrong with its place.

use kernel::definition::parse_schemas;

#[test]
fn version_and_type_may_be_left_out() {
    let found = parse_schemas(r#"{ "name": "order", "data": {} }"#).expect("it is valid");
    assert_eq!((found[0].name.as_str(), found[0].version), ("order", 1));
    assert_eq!(serde_json::to_value(&found[0]).expect("it is JSON")["type"], "JSON");
}

#[test]
fn each_mistake_of_a_list_has_its_place() {
    let text = r#"[{ "name": "a", "data": {} }, { "name": "b", "data": {}, "type": "XML" },
        { "data": {} }, { "name": "c", "data": [] }, { "name": "d", "version": 0, "data": {} },
        { "name": "e" }, 7]"#;
    let problems = parse_schemas(text).expect_err("six of seven are wrong");
    let places: Vec<&str> = problems.iter().map(|it| &*it.pointer).collect();
    assert_eq!(places, ["/1/type", "/2/name", "/3/data", "/4/version", "/5", "/6"]);
    let problems = parse_schemas("[{").expect_err("it ends too early");
    assert_eq!(problems[0].code, "malformed-json");
}
