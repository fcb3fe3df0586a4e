//! `nightbell webhook`.

use serde_json::{Value, json};

use crate::stand_in::StandIn;

fn pushes(id: &str) -> Value {
    json!({ "id": id, "name": "pushes", "verifier": "HMAC_BASED", "urlVerified": true,
        "receiverWorkflowNamesToVersions": { "review": 1 },
        "workflowsToStart": { "build": 1, "idempotencyKey": "${id}" } })
}

/// What somebody writes who makes it.
fn written() -> String {
    json!({ "name": "pushes", "verifier": "HMAC_BASED" }).to_string()
}

#[test]
fn list_and_get_show_where_payloads_go() {
    let server = StandIn::start()
        .says("GET /api/metadata/webhook", 200, json!([pushes("7")]))
        .says("GET /api/metadata/webhook/7", 200, pushes("7"));
    assert_eq!(
        server.run(&["webhook", "list"]).exits(0).lines(),
        [
            "NAME PATH VERIFIER VERIFIED STARTS TELLS",
            "pushes /webhook/7 HMAC_BASED yes build review",
        ]
    );
    for name in ["pushes", "7"] {
        assert_eq!(server.run(&["webhook", "get", name]).exits(0).json(), pushes("7"));
    }
    server.run(&["webhook", "get", "other"]).exits(3);
}

#[test]
fn create_prints_the_path_and_update_finds_the_id() {
    let none = || StandIn::start().says("GET /api/metadata/webhook", 200, json!([]));
    let create = ["webhook", "create", "-f", "-"];
    let update = ["webhook", "update", "-f", "-"];
    let server = none().says("POST /api/metadata/webhook", 200, pushes("7"));
    let outcome = server.run_with_input(&create, &written()).exits(0);
    assert_eq!(outcome.stdout, "/webhook/7\n");
    let outcome = none().run_with_input(&update, &written()).exits(3);
    assert!(outcome.stderr.contains("webhook create"), "{outcome:?}");

    let one = || {
        StandIn::start().says("GET /api/metadata/webhook", 200, json!([pushes("7")])).says(
            "PUT /api/metadata/webhook/7",
            200,
            pushes("7"),
        )
    };
    let outcome = one().run_with_input(&create, &written()).exits(4);
    assert!(outcome.stderr.contains("webhook update"), "{outcome:?}");
    one().run_with_input(&update, &written()).exits(0);
    one().run_with_input(&update, &pushes("7").to_string()).exits(0);

    let two = json!([pushes("7"), pushes("8")]);
    let server = StandIn::start().says("GET /api/metadata/webhook", 200, two);
    let outcome = server.run_with_input(&update, &written()).exits(4);
    assert!(outcome.stderr.contains("2 webhooks are called pushes"), "{outcome:?}");
}

#[test]
fn delete_asks_and_takes_names_and_ids() {
    let server = StandIn::start()
        .says("GET /api/metadata/webhook", 200, json!([pushes("7")]))
        .says("DELETE /api/metadata/webhook/7", 200, Value::Null);
    server.run(&["webhook", "delete", "pushes"]).exits(2);
    for name in ["pushes", "7"] {
        server.run(&["webhook", "delete", name, "--yes"]).exits(0);
    }
    server.run(&["webhook", "delete", "other", "--yes"]).exits(3);
}
