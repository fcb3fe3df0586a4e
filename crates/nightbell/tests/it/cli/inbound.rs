//! `nightbell inbound`.

use serde_json::{Value, json};

use crate::stand_in::StandIn;

fn monitor(key: &Value) -> Value {
    json!({ "name": "prom", "kind": "alerts", "status": "UP", "source": "api", "openIncidents": [],
        "definition": { "settings": { "key": key } } })
}

fn missing() -> Value {
    json!({ "status": 404, "code": "not-found", "message": "there is no monitor prom" })
}

#[test]
fn create_makes_a_monitor_and_prints_its_key_once() {
    let server = StandIn::start()
        .says("GET /api/monitors/prom", 404, missing())
        .says("GET /api/secrets/inbound-prom/exists", 200, json!(false))
        .says("POST /api/monitors", 200, json!({ "defined": 1 }))
        .says("POST /api/monitors?dryRun=true", 200, json!({ "valid": true }))
        .says("PUT /api/secrets/inbound-prom", 200, json!(null));
    let made = server.run(&["inbound", "create", "prom", "--ignore", "replica"]).exits(0);
    let key = made.stdout.trim();
    assert!(key.starts_with("nbi_") && key.len() == 47, "{key}");
    assert!(made.stderr.contains(&format!("path_prefix: /inbound/{key}")), "{}", made.stderr);
    let made = server.run(&["inbound", "create", "prom", "-o", "json"]).exits(0).json();
    let url = made["pagerDuty"].as_str().expect("an address");
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with("/v2/enqueue"), "{url}");
    assert_ne!(made["key"], key, "each has a key of its own");

    let server = StandIn::start().says("GET /api/monitors/prom", 200, monitor(&json!("x")));
    server.run(&["inbound", "create", "prom"]).exits(4);
}

#[test]
fn list_and_show_name_no_key() {
    let page = json!({ "results": [monitor(&json!("***")), { "name": "shop", "kind": "http" }] });
    let server = StandIn::start()
        .says("GET /api/monitors", 200, page)
        .says("GET /api/monitors/prom", 200, monitor(&json!("${secret:P}")))
        .says("GET /api/monitors/shop", 200, json!({ "name": "shop", "kind": "http" }))
        .says("GET /api/secrets/P/exists", 200, json!(false))
        .says("GET /api/secrets/P/exists", 200, json!(true));
    // Without its key nothing can be sent to it.
    for key in ["no secret P", "set"] {
        let listed = server.run(&["inbound", "list"]).exits(0);
        let row = format!("prom UP 0 {key} api");
        assert_eq!(listed.lines(), ["NAME STATUS FIRING KEY DEFINED IN", &row]);
    }
    let shown = server.run(&["inbound", "show", "prom"]).exits(0);
    assert!(shown.stdout.contains("path_prefix: /inbound/KEY"), "{}", shown.stdout);
    server.run(&["inbound", "show", "shop"]).exits(4);
}

#[test]
fn rotate_and_revoke_change_the_secret_of_the_key() {
    let server = StandIn::start()
        .says("GET /api/monitors/prom", 200, monitor(&json!(["${secret:NEW}", "${secret:OLD}"])))
        .says("PUT /api/secrets/NEW", 200, json!(null))
        .says("DELETE /api/secrets/NEW", 200, json!(null))
        .says("DELETE /api/secrets/OLD", 200, json!(null));
    let rotated = server.run(&["inbound", "rotate", "prom", "--yes"]).exits(0);
    assert!(rotated.stdout.starts_with("nbi_"), "{}", rotated.stdout);
    server.run(&["inbound", "revoke", "prom", "--yes"]).exits(0);

    let server = StandIn::start().says("GET /api/monitors/prom", 200, monitor(&json!("***")));
    for verb in ["rotate", "revoke"] {
        let refused = server.run(&["inbound", verb, "prom", "--yes"]).exits(4);
        assert!(refused.stderr.contains("${secret:NAME}"), "{}", refused.stderr);
    }
}
