//! `/api/event`: handlers come and go, and what they made of messages can be seen.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::Server;

fn handler(name: &str) -> Value {
    json!({
        "name": name, "event": "conductor:w:e", "active": true, "condition": "true",
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": "w" } }],
    })
}

#[tokio::test]
async fn handlers_come_and_go() {
    let server = Server::new().await;
    let post = |body: Value| server.send(Method::POST, "/api/event", body.to_string());
    let put = |body: Value| server.send(Method::PUT, "/api/event", body.to_string());
    let get = |path: &'static str| server.send(Method::GET, path, String::new());
    post(handler("a")).await.ok_text();
    assert_eq!(post(handler("a")).await.failed(409), "EventHandler with name a already exists!");
    assert_eq!(put(handler("b")).await.failed(404), "EventHandler with name b not found!");
    let mut asleep = handler("a");
    asleep["active"] = json!(false);
    put(asleep).await.ok_text();
    assert_eq!(get("/api/event").await.ok()[0]["name"], "a");
    assert_eq!(get("/api/event/conductor:w:e").await.ok(), json!([]));
    let all = get("/api/event/conductor:w:e?activeOnly=false").await.ok();
    assert_eq!(all[0]["actions"][0]["start_workflow"]["name"], "w");
    assert_eq!(get("/api/event/handler/a").await.ok()["active"], false);
    let tags = json!([{ "key": "team", "value": "night" }]);
    server.send(Method::PUT, "/api/event/a/tags", tags.to_string()).await.ok_text();
    assert_eq!(get("/api/event/a/tags").await.ok(), tags);
    server.send(Method::DELETE, "/api/event/a/tags", tags.to_string()).await.ok_text();
    assert_eq!(get("/api/event/a/tags").await.ok(), json!([]));
    assert_eq!(get("/api/event/queue/config").await.ok()["queues"], json!([]));
    server.send(Method::DELETE, "/api/event/a", String::new()).await.ok_text();
    assert_eq!(
        server.send(Method::DELETE, "/api/event/a", String::new()).await.failed(404),
        "EventHandler with name a not found!"
    );
}

#[tokio::test]
async fn everything_wrong_is_told_at_once() {
    let server = Server::new().await;
    let bad = json!({
        "event": "nowhere", "active": true, "condition": "oops", "evaluatorType": "javascript",
        "actions": [
            { "action": "start_workflow", "start_workflow": {} },
            { "action": "complete_task", "complete_task": { "workflowId": "${w}" } },
            { "action": "fail_task" },
            {},
        ],
    });
    let answer = server.send(Method::POST, "/api/event", bad.to_string()).await;
    answer.failed(400);
    let flaws = answer.json()["validationErrors"].clone();
    let pointers: Vec<&str> =
        flaws.as_array().expect("a list").iter().filter_map(|f| f["pointer"].as_str()).collect();
    assert_eq!(
        pointers,
        [
            "/name",
            "/event",
            "/condition",
            "/actions/0/start_workflow/name",
            "/actions/1/complete_task/taskRefName",
            "/actions/2/fail_task",
            "/actions/3/action",
        ]
    );
    let wrong = json!([{ "name": "a", "event": "a:b", "actions": [{ "action": "dance" }] }]);
    let answer = server.send(Method::POST, "/api/event", wrong.to_string()).await;
    answer.failed(400);
    assert_eq!(answer.json()["validationErrors"][0]["pointer"], "/0/actions/0/action");
    assert_eq!(server.send(Method::GET, "/api/event", String::new()).await.ok(), json!([]));
}

#[tokio::test]
async fn a_message_by_hand_starts_a_workflow_and_is_seen() {
    let server = Server::new().await;
    let workflow = json!([{
        "name": "w", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }],
    }]);
    server.register(workflow).await;
    server.send(Method::POST, "/api/event", handler("h").to_string()).await.ok_text();
    let message = json!({ "event": "conductor:w:e", "id": "m1", "payload": { "x": 1 } });
    let path = "/api/event/handleIncomingEvent";
    for _ in 0..2 {
        let answer = server.send(Method::POST, path, message.to_string()).await.ok();
        assert_eq!(answer, json!({ "id": "m1", "heeded": true }));
    }
    let wait = async {
        loop {
            let shown = server.send(Method::GET, "/api/event/execution/h", String::new()).await;
            let shown = shown.ok();
            if shown[0]["status"] == "COMPLETED" {
                return shown;
            }
            tokio::task::yield_now().await;
        }
    };
    let wait = tokio::time::timeout(std::time::Duration::from_secs(20), wait);
    let shown = wait.await.expect("it is handled in time");
    assert_eq!(shown.as_array().map(Vec::len), Some(1));
    assert_eq!(shown[0]["messageId"], "m1");
    assert_eq!(shown[0]["event"], "conductor:w:e");
    assert_eq!(shown[0]["action"], "start_workflow");
    let id = shown[0]["output"]["workflowId"].as_str().expect("a workflow was started");
    let path = format!("/api/workflow/{id}");
    let workflow = server.send(Method::GET, &path, String::new()).await.ok();
    assert_eq!(workflow["event"], "conductor:w:e");
    let listed = server.send(Method::GET, "/api/event/execution", String::new()).await.ok();
    assert_eq!(listed["results"][0]["numberOfMessages"], 1);
    let counted = server.get("/api/event/execution?countMax=9").await.ok();
    assert_eq!(counted["results"][0]["exact"], true);
    assert_eq!(listed["results"][0].get("exact"), None, "a member that nobody has asked for");
    let bounded = server.get("/api/event/execution?countMax=0").await.ok();
    assert_eq!(
        (&bounded["results"][0]["numberOfMessages"], &bounded["results"][0]["exact"]),
        (&json!(0), &json!(false)),
        "at least none"
    );
    assert_eq!(listed["results"][0]["numberOfActions"], 1);
    let nameless = server.send(Method::POST, "/api/event/handleIncomingEvent", "{}".into()).await;
    assert_eq!(nameless.failed(400), "the message names no event");
}

/// The handlings of a handler, once there are so many and all have ended.
async fn handlings(server: &Server, handler: &str, count: usize) -> Vec<Value> {
    let path = format!("/api/event/execution/{handler}");
    let wait = async {
        loop {
            let shown = server.get(&path).await.ok();
            let shown = shown.as_array().expect("a list").clone();
            let open = shown.iter().any(|handling| handling["status"] == "IN_PROGRESS");
            if shown.len() == count && !open {
                return shown;
            }
            tokio::task::yield_now().await;
        }
    };
    let wait = tokio::time::timeout(std::time::Duration::from_secs(20), wait);
    wait.await.expect("they are handled in time")
}

#[tokio::test]
async fn messages_are_published_and_listed_with_their_fate() {
    let server = Server::new().await;
    server.register(json!([crate::support::waiting("w")])).await;
    server.post("/api/event", &handler("a")).await.ok_text();
    let message = json!({ "event": "conductor:w:e", "id": "m1", "payload": { "n": 1 } });
    let answer = server.post("/api/event/publish", &message).await.ok();
    assert_eq!(answer, json!({ "id": "m1", "heeded": true }));
    handlings(&server, "a", 1).await;
    let listed = server.get("/api/event/message/conductor:w:e").await.ok();
    assert_eq!(listed[0]["id"], "m1");
    assert_eq!(
        (&listed[0]["status"], &listed[0]["eventType"]),
        (&json!("HANDLED"), &json!("MESSAGE"))
    );
    assert_eq!(listed[0]["eventTarget"], "conductor:w:e");
    assert_eq!(listed[0]["eventExecutions"][0]["action"], "start_workflow");
    assert_eq!(server.get("/api/event/message/conductor:other").await.ok(), json!([]));
    let counted = server.get("/api/event/message").await.ok();
    assert_eq!(counted, server.get("/api/event/execution").await.ok());

    let nowhere = json!({ "event": "kafka:t", "payload": 1 });
    let told = server.post("/api/event/publish", &nowhere).await.failed(400);
    assert!(told.contains("there is no broker for 'kafka'"), "{told}");
    server.post("/api/event/publish", &json!({ "payload": 1 })).await.failed(400);
    let test = async |sink: &str| {
        let body = json!({ "sink": sink, "input": { "a": 1 } });
        server.post("/api/event/queue/connectivity", &body).await.ok()
    };
    assert_eq!(test("conductor:nobody").await, json!({ "successful": true }));
    assert_eq!(test("nats:subject").await["successful"], false);
    for method in [Method::PUT, Method::DELETE] {
        let path = "/api/event/queue/config/nats/orders";
        let told = server.send(method, path, "{}".into()).await.failed(501);
        assert_eq!(told, "connections to brokers cannot be changed by a request");
    }
}

#[tokio::test]
async fn an_idempotency_key_of_an_action_is_honoured() {
    let server = Server::new().await;
    server.register(json!([crate::support::waiting("w")])).await;
    for (name, strategy) in [("existing", "RETURN_EXISTING"), ("fail", "FAIL")] {
        let event = format!("conductor:{name}");
        let handler = json!({
            "name": name, "event": event, "active": true,
            "actions": [{ "action": "start_workflow", "start_workflow": {
                "name": "w", "idempotencyKey": "${order}", "idempotencyStrategy": strategy } }],
        });
        server.post("/api/event", &handler).await.ok_text();
        for (count, (id, order)) in (1..).zip([("m1", "o1"), ("m2", "o2"), ("m3", "o1")]) {
            let order = format!("{name}/{order}");
            let message = json!({ "event": event, "id": format!("{name}-{id}"), "payload": { "order": order } });
            server.post("/api/event/publish", &message).await.ok();
            handlings(&server, name, count).await;
        }
        let handled = handlings(&server, name, 3).await;
        let of = |id: &str| {
            let id = format!("{name}-{id}");
            handled.iter().find(|handling| handling["messageId"] == *id).expect("it is there")
        };
        let run = &of("m1")["output"]["workflowId"];
        assert_eq!(of("m1")["status"], "COMPLETED");
        assert_ne!(&of("m2")["output"]["workflowId"], run, "another key is another run");
        if strategy == "FAIL" {
            assert_eq!(of("m3")["status"], "FAILED");
            let reason = of("m3")["statusDescription"].as_str().expect("a reason");
            assert!(reason.contains("was started with the same idempotencyKey"), "{reason}");
        } else {
            assert_eq!(&of("m3")["output"]["workflowId"], run, "the same key is the same run");
        }
    }
}
