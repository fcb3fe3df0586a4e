//! `nightbell schema`.

use serde_json::{Value, json};

use crate::stand_in::StandIn;

fn order(version: u32) -> Value {
    json!({ "name": "order", "version": version, "type": "JSON", "updateTime": 0 })
}

#[test]
fn list_shows_the_latest_or_every_version() {
    let server =
        StandIn::start().says("GET /api/schema", 200, json!([order(1), order(3), order(2)]));
    let heads = "NAME VERSION TYPE CHANGED ELSEWHERE";
    assert_eq!(server.run(&["schema", "list"]).exits(0).lines(), [heads, "order 3 JSON"]);
    let all = server.run(&["schema", "list", "--versions"]).exits(0);
    assert_eq!(all.lines(), [heads, "order 3 JSON", "order 2 JSON", "order 1 JSON"]);
    assert_eq!(server.run(&["schema", "list", "--json"]).exits(0).json(), json!([order(3)]));
    assert_eq!(server.heard()[0], "GET /api/schema?short=true");
}

#[test]
fn create_and_update_mind_what_is_there() {
    let there = || {
        StandIn::start().says("GET /api/schema/order/1", 200, order(1)).says(
            "POST /api/schema",
            200,
            Value::Null,
        )
    };
    let text = order(1).to_string();
    let run = |server: &StandIn, arguments: &[&str], text: &str| {
        server.run_with_input(&[&["schema"], arguments, &["-f", "-"]].concat(), text)
    };
    let outcome = run(&there(), &["create"], &text).exits(4);
    assert!(outcome.stderr.contains("version 1 of the schema order"), "{outcome:?}");
    assert!(outcome.stderr.contains("schema update"), "{outcome:?}");
    run(&there(), &["update"], &text).exits(0);
    let outcome = run(&there(), &["update"], &order(2).to_string()).exits(3);
    assert!(outcome.stderr.contains("schema create"), "{outcome:?}");
    // The versions are the server's to give.
    let server = there();
    run(&server, &["create", "--new-version"], &text).exits(0);
    assert_eq!(server.heard(), [format!("POST /api/schema?newVersion=true [{text}]")]);
    let server = there();
    let two = json!([order(2), order(3)]);
    run(&server, &["create"], &two.to_string()).exits(0);
    assert_eq!(server.body(2), two, "all at once");
}

#[test]
fn delete_asks_and_names_its_versions() {
    let server = StandIn::start().says("DELETE /api/schema/order/2", 200, Value::Null).says(
        "DELETE /api/schema/order",
        200,
        Value::Null,
    );
    server.run(&["schema", "delete", "order", "--version", "2"]).exits(2);
    server.run(&["schema", "delete", "order", "--yes"]).exits(2);
    server.run(&["schema", "delete", "order", "--version", "2", "--yes"]).exits(0);
    server.run(&["schema", "delete", "order", "--all-versions", "--yes"]).exits(0);
    server.run(&["schema", "delete", "other", "--all-versions", "--yes"]).exits(3);
    assert_eq!(server.heard().len(), 3);
}
