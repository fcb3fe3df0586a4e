//! `nightbell event`.

use serde_json::{Value, json};

use crate::stand_in::StandIn;

fn handler() -> Value {
    json!({
        "name": "orders", "event": "kafka:orders", "active": true,
        "actions": [
            { "action": "start_workflow", "start_workflow": { "name": "check" } },
            { "action": "complete_task", "complete_task": { "taskId": "${payload.task}" } },
        ],
    })
}

#[test]
fn list_shows_what_is_done_about_what() {
    let list = json!([handler()]);
    let server = StandIn::start().says("GET /api/event", 200, list.clone());
    let outcome = server.run(&["event", "list"]).exits(0);
    assert_eq!(
        outcome.lines(),
        [
            "NAME STATUS EVENT ACTIONS DESCRIPTION",
            "orders ACTIVE kafka:orders start_workflow check, complete_task",
        ]
    );
    assert_eq!(server.run(&["event", "list", "--json"]).exits(0).json(), list);
    let server = StandIn::start().says("GET /api/event/kafka:orders", 200, json!([]));
    let outcome = server.run(&["event", "list", "--event", "kafka:orders"]).exits(0);
    assert!(outcome.stderr.contains("event create"), "{outcome:?}");
    assert_eq!(server.heard(), ["GET /api/event/kafka:orders?activeOnly=false"]);
}

#[test]
fn handlers_are_created_updated_and_deleted() {
    let text = handler().to_string();
    let server = StandIn::start()
        .says("POST /api/event", 200, Value::Null)
        .says("PUT /api/event", 200, Value::Null)
        .says("DELETE /api/event/orders", 200, Value::Null);
    let outcome = server.run_with_input(&["event", "create", "-f", "-"], &text).exits(0);
    assert!(outcome.stderr.contains("saved event handler orders"), "{outcome:?}");
    server.run_with_input(&["event", "update", "-f", "-"], &text).exits(0);
    server.run(&["event", "delete", "orders"]).exits(2);
    server.run(&["event", "delete", "orders", "--yes"]).exits(0);
    assert_eq!(
        server.heard(),
        [
            format!("POST /api/event {text}"),
            format!("PUT /api/event {text}"),
            "DELETE /api/event/orders".to_owned(),
        ]
    );
    assert_eq!(server.body(0), handler());

    let refusal = |message: &str| json!({ "status": 409, "message": message });
    let server = StandIn::start().says("POST /api/event", 409, refusal("it exists"));
    let outcome = server.run_with_input(&["event", "create", "-f", "-"], &text).exits(4);
    assert!(outcome.stderr.contains("event update"), "{outcome:?}");
    let server = StandIn::start().says("PUT /api/event", 404, refusal("it is not there"));
    let outcome = server.run_with_input(&["event", "update", "-f", "-"], &text).exits(3);
    assert!(outcome.stderr.contains("event create"), "{outcome:?}");
}

#[test]
fn messages_are_published_and_their_fate_is_shown() {
    let answer = json!({ "id": "m1", "heeded": false });
    let server = StandIn::start().says("POST /api/event/publish", 200, answer);
    let publish = ["event", "publish", "conductor:a:b", "-p", "{\"n\":1}", "--id", "m1"];
    let outcome = server.run(&publish).exits(0);
    assert_eq!(outcome.lines(), ["m1"]);
    assert!(
        outcome.stderr.contains("no active handler subscribes to conductor:a:b"),
        "{outcome:?}"
    );
    let expected = json!({ "event": "conductor:a:b", "payload": { "n": 1 }, "id": "m1" });
    assert_eq!(server.body(0), expected);

    let handled = json!([{
        "created": 0, "status": "FAILED", "messageId": "m1", "action": "start_workflow",
        "statusDescription": "no such workflow", "output": { "exception": "no such workflow" },
    }, {
        "created": 0, "status": "COMPLETED", "messageId": "m0", "action": "start_workflow",
        "output": { "workflowId": "run-1" },
    }]);
    let server = StandIn::start().says("GET /api/event/execution/orders", 200, handled);
    let outcome = server.run(&["event", "history", "orders", "--limit", "2"]).exits(0);
    let lines = outcome.lines();
    assert!(lines[1].ends_with("FAILED m1 start_workflow no such workflow"), "{lines:?}");
    assert!(lines[2].ends_with("COMPLETED m0 start_workflow run-1"), "{lines:?}");
    assert_eq!(server.heard(), ["GET /api/event/execution/orders?size=2"]);

    let counts = json!({ "totalHits": 1, "results": [{
        "name": "orders", "event": "kafka:orders", "numberOfMessages": 3, "numberOfActions": 6,
    }] });
    let server = StandIn::start().says("GET /api/event/execution", 200, counts);
    let outcome = server.run(&["event", "history"]).exits(0);
    assert_eq!(outcome.lines()[1], "orders kafka:orders 3 6");

    let queues = json!({ "types": ["conductor", "kafka"], "queues": [
        { "event": "kafka:orders", "trouble": "Kafka did not answer" },
        { "event": "kafka:news" },
    ] });
    let server = StandIn::start().says("GET /api/event/queue/config", 200, queues);
    let outcome = server.run(&["event", "queues"]).exits(0);
    assert_eq!(
        outcome.lines()[1..],
        ["kafka:orders SILENT Kafka did not answer", "kafka:news LISTENING"]
    );
    assert!(outcome.stderr.contains("conductor, kafka"), "{outcome:?}");
}
