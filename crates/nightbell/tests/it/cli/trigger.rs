//! `nightbell trigger`.

use serde_json::{Value, json};

use crate::stand_in::StandIn;

fn order() -> Value {
    json!({ "name": "order", "method": "post", "path": "/orders/{n}", "start": { "name": "handle" } })
}

#[test]
fn list_shows_what_answers_where() {
    let state = json!({ "name": "state", "method": "GET", "path": "/orders/{n}",
        "description": "where it stands", "show": { "name": "handle" } });
    let server = StandIn::start().says("GET /api/triggers", 200, json!([order(), state]));
    assert_eq!(
        server.run(&["trigger", "list"]).exits(0).lines(),
        [
            "NAME METHOD PATH DOES WORKFLOW DESCRIPTION",
            "order POST /orders/{n} start handle",
            "state GET /orders/{n} show handle where it stands",
        ]
    );
    assert_eq!(server.run(&["trigger", "list", "--json"]).exits(0).json()[0], order());
    let none = StandIn::start().says("GET /api/triggers", 200, json!([]));
    assert!(none.run(&["trigger", "list"]).exits(0).stderr.contains("no triggers"));
}

#[test]
fn create_and_update_mind_what_is_there() {
    let there = || {
        StandIn::start().says("GET /api/triggers/order", 200, order()).says(
            "POST /api/triggers",
            200,
            json!([order()]),
        )
    };
    let text = order().to_string();
    let outcome = there().run_with_input(&["trigger", "create", "-f", "-"], &text).exits(4);
    assert!(outcome.stderr.contains("trigger update"), "{outcome:?}");
    let server = there();
    let outcome = server.run_with_input(&["trigger", "update", "-f", "-"], &text).exits(0);
    assert!(outcome.stderr.contains("saved trigger order"), "{outcome:?}");
    assert_eq!(server.body(1), order());

    let missing = || StandIn::start().says("POST /api/triggers", 200, json!([order()]));
    let outcome = missing().run_with_input(&["trigger", "update", "-f", "-"], &text).exits(3);
    assert!(outcome.stderr.contains("trigger create"), "{outcome:?}");
    let many = json!([order(), { "name": "other" }]);
    let server = missing();
    server.run_with_input(&["trigger", "create", "-f", "-"], &many.to_string()).exits(0);
    assert_eq!(server.body(2), many, "all at once");

    let wrong = json!({ "status": 400, "message": "Validation failed", "validationErrors": [
        { "pointer": "/path", "path": "path", "message": "the path is ours", "hint": "Another." },
    ] });
    let server = StandIn::start().says("POST /api/triggers", 400, wrong);
    let outcome = server.run_with_input(&["trigger", "create", "-f", "-"], &text).exits(1);
    assert!(outcome.stderr.contains("/path: the path is ours"), "{outcome:?}");
}

#[test]
fn delete_asks_and_tells_what_is_not_there() {
    let server = StandIn::start().says("DELETE /api/triggers/a", 200, Value::Null);
    server.run(&["trigger", "delete", "a"]).exits(2);
    server.run(&["trigger", "delete", "a", "--yes"]).exits(0);
    server.run(&["trigger", "delete", "b", "--yes"]).exits(3);
    assert_eq!(server.heard(), ["DELETE /api/triggers/a", "DELETE /api/triggers/b"]);
}
