//! Registering, showing and forgetting definitions.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Server, line};

async fn create(server: &Server, definition: &Value) {
    let answer = server.post("/api/metadata/workflow", definition).await;
    assert_eq!(answer.ok_text(), "");
}

#[tokio::test]
async fn scripts_are_compiled_away_from_the_threads_that_serve() {
    let server = Server::new().await;
    let inline = |number: usize| {
        json!({ "name": "s", "taskReferenceName": format!("s{number}"), "type": "INLINE",
            "inputParameters": { "evaluatorType": "javascript", "expression": "aside" } })
    };
    let many: Vec<Value> = (0..3000).map(inline).collect();
    let workflow = json!({ "name": "many", "version": 1, "schemaVersion": 2, "tasks": many,
        "ownerEmail": "owner@example.com" });
    let handler = json!({ "name": "h", "event": "conductor:x", "active": true,
        "evaluatorType": "javascript", "condition": "aside",
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": "many" } }] });
    let trigger = json!({ "name": "t", "method": "GET", "path": "/orders/{number}",
        "show": { "name": "many", "correlationId": "${request.path.number}",
            "queryExpression": "aside" } });
    let doors = [
        (Method::POST, "/api/metadata/workflow", workflow.clone()),
        (Method::PUT, "/api/metadata/workflow", json!([workflow])),
        (Method::POST, "/api/metadata/workflow/validate", workflow.clone()),
        (Method::POST, "/api/workflow", json!({ "name": "adhoc", "workflowDef": workflow })),
        (Method::POST, "/api/event", handler.clone()),
        (Method::PUT, "/api/event", handler),
        (Method::POST, "/api/triggers", trigger),
    ];
    for (method, path, body) in doors {
        let answer = server.send(method, path, body.to_string()).await;
        assert_eq!(answer.status, 200, "{path}: {}", &answer.text[..answer.text.len().min(300)]);
    }
}

#[tokio::test]
async fn a_created_workflow_is_shown_as_it_was_written_with_its_time() {
    let server = Server::new().await;
    let mut orders = line("orders", &["pack"]);
    orders["description"] = json!("packs");
    orders["createTime"] = json!(7);
    orders["unheardOf"] = json!(true);
    let before = server.engine.now().millis();
    create(&server, &orders).await;
    let shown = server.get("/api/metadata/workflow/orders").await.ok();
    assert_eq!(shown["description"], "packs");
    assert_eq!(shown["tasks"][0]["taskReferenceName"], "pack");
    assert!(shown["createTime"].as_i64() >= Some(before), "{shown}");
    assert_eq!(shown["updateTime"], 0);
    assert!(shown.get("unheardOf").is_none());
}

#[tokio::test]
async fn creating_what_is_there_is_a_conflict_unless_it_overwrites() {
    let server = Server::new().await;
    create(&server, &line("orders", &["pack"])).await;
    let other = line("orders", &["ship"]);
    let refused = server.post("/api/metadata/workflow", &other).await;
    assert_eq!(refused.failed(409), "Workflow with orders.1 already exists!");
    let refused = server.post("/api/metadata/workflow?overwrite=false", &other).await;
    refused.failed(409);
    let shown = server.get("/api/metadata/workflow/orders").await.ok();
    assert_eq!(shown["tasks"][0]["name"], "pack");

    server.post("/api/metadata/workflow?overwrite=true", &other).await.ok_text();
    let replaced = server.get("/api/metadata/workflow/orders").await.ok();
    assert_eq!(replaced["tasks"][0]["name"], "ship");
    assert_eq!(replaced["createTime"], shown["createTime"]);
    assert_ne!(replaced["updateTime"], 0);
}

#[tokio::test]
async fn of_many_that_create_the_same_workflow_one_succeeds() {
    let server = Server::new().await;
    let router = server::router(server.api());
    let attempts = (0..8).map(|_| {
        let request = http::Request::post("/api/metadata/workflow")
            .body(axum::body::Body::from(line("orders", &["pack"]).to_string()))
            .expect("a request");
        tokio::spawn(tower::ServiceExt::oneshot(router.clone(), request))
    });
    let mut created = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        let response = attempt.await.expect("no panic").expect("handlers do not fail");
        created += u32::from(response.status() == 200);
    }
    assert_eq!(created, 1);
}

#[tokio::test]
async fn every_flaw_is_told_at_once_and_nothing_is_stored() {
    let server = Server::new().await;
    create(&server, &line("kept", &["pack"])).await;
    let bad = json!({
        "name": "", "schemaVersion": 1, "tasks": [
            { "name": "a", "taskReferenceName": "same", "type": "SIMPLE" },
            { "name": "b", "taskReferenceName": "same", "type": "SIMPLE" },
            { "name": "c", "taskReferenceName": "c", "type": "SWITCH" },
        ],
    });
    for path in ["/api/metadata/workflow", "/api/metadata/workflow/validate"] {
        let answer = server.post(path, &bad).await;
        let message = answer.failed(400);
        assert_eq!(message, "Validation failed, check below errors for detail.");
        let body = answer.json();
        let pointers: Vec<&str> = body["validationErrors"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|flaw| {
                assert!(flaw["message"].is_string() && flaw["hint"].is_string(), "{flaw}");
                flaw["pointer"].as_str().expect("a pointer")
            })
            .collect();
        for expected in ["/name", "/schemaVersion"] {
            assert!(pointers.contains(&expected), "{expected} in {pointers:?}");
        }
        assert!(pointers.iter().any(|p| p.starts_with("/tasks/1")), "{pointers:?}");
        assert!(pointers.iter().any(|p| p.starts_with("/tasks/2")), "{pointers:?}");
    }
    let names = server.get("/api/metadata/workflow/names").await.ok();
    assert_eq!(names, json!(["kept"]));
}

#[tokio::test]
async fn a_list_with_one_bad_definition_is_refused_whole() {
    let server = Server::new().await;
    create(&server, &line("first", &["pack"])).await;
    let list = json!([line("first", &["ship"]), line("second", &[]), line("third", &["pack"])]);
    let answer = server.send(Method::PUT, "/api/metadata/workflow", list.to_string()).await;
    answer.failed(400);
    assert_eq!(answer.json()["validationErrors"][0]["pointer"], "/1/tasks");
    assert_eq!(server.get("/api/metadata/workflow/names").await.ok(), json!(["first"]));
    let first = server.get("/api/metadata/workflow/first").await.ok();
    assert_eq!(first["tasks"][0]["name"], "pack");
}

#[tokio::test]
async fn a_list_replaces_and_adds() {
    let server = Server::new().await;
    create(&server, &line("first", &["pack"])).await;
    let list = json!([line("first", &["ship"]), line("second", &["pack"])]);
    let answer = server.send(Method::PUT, "/api/metadata/workflow", list.to_string()).await.ok();
    assert_eq!(answer["bulkSuccessfulResults"], json!(["first", "second"]));
    assert_eq!(answer["bulkErrorResults"], json!({}));
    let first = server.get("/api/metadata/workflow/first").await.ok();
    assert_eq!(first["tasks"][0]["name"], "ship");
}

#[tokio::test]
async fn malformed_bodies_are_told_by_place() {
    let server = Server::new().await;
    let path = "/api/metadata/workflow";
    for (body, expected) in [
        ("", "malformed JSON"),
        ("{\n\"name\": ", "line 2"),
        ("[1, 2]", "expected a definition"),
        ("{\"tasks\": 3}", "/tasks"),
    ] {
        let answer = server.send(Method::POST, path, body.to_owned()).await;
        answer.failed(400);
        assert!(answer.text.contains(expected), "{expected} in {}", answer.text);
    }
    let mut negative = line("orders", &["pack"]);
    negative["version"] = json!(-1);
    let answer = server.post(path, &negative).await;
    answer.failed(400);
    assert_eq!(answer.json()["validationErrors"][0]["pointer"], "/version");
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    server.send(Method::POST, path, nested).await.failed(400);
}

#[tokio::test]
async fn validation_stores_nothing_and_tells_what_is_hardly_meant() {
    let server = Server::new().await;
    let mut orders = line("orders", &["pack"]);
    orders["outputParameters"] = json!({ "x": "${nobody.output.x}" });
    let answer = server.post("/api/metadata/workflow/validate", &orders).await.ok();
    assert_eq!(answer["warnings"][0]["pointer"], "/outputParameters/x");
    assert_eq!(server.get("/api/metadata/workflow").await.ok(), json!([]));
}

#[tokio::test]
async fn required_input_may_come_from_a_registered_task_definition() {
    let server = Server::new().await;
    let task = json!({ "name": "fetch", "taskReferenceName": "fetch", "type": "HTTP" });
    let workflow = json!({ "name": "pages", "tasks": [task] });
    server.post("/api/metadata/workflow", &workflow).await.failed(400);
    let template = json!({ "name": "fetch", "inputTemplate": { "http_request": {} } });
    server.post("/api/metadata/taskdefs", &template).await.ok_text();
    create(&server, &workflow).await;
}

#[tokio::test]
async fn versions_live_side_by_side() {
    let server = Server::new().await;
    create(&server, &line("orders", &["one"])).await;
    let mut second = line("orders", &["two"]);
    second["version"] = json!(2);
    second["metadata"] = json!({ "classifier": "Bots" });
    create(&server, &second).await;
    create(&server, &line("bills", &["pay"])).await;

    let path = "/api/metadata/workflow";
    let task = async |query: &str| {
        let shown = server.get(&format!("{path}/orders{query}")).await.ok();
        shown["tasks"][0]["name"].clone()
    };
    assert_eq!(task("").await, "two");
    assert_eq!(task("?version=1").await, "one");
    assert_eq!(task("?version=0").await, "two");

    assert_eq!(server.get(&format!("{path}/names")).await.ok(), json!(["bills", "orders"]));
    let all = server.get(path).await.ok();
    assert_eq!(all.as_array().map(Vec::len), Some(3));
    let bots = server.get(&format!("{path}?classifier=bots")).await.ok();
    assert_eq!(bots.as_array().map(Vec::len), Some(1));
    let plain = server.get(&format!("{path}?classifier=workflow")).await.ok();
    assert_eq!(plain.as_array().map(Vec::len), Some(2));

    let latest = server.get(&format!("{path}/latest-versions")).await.ok();
    let latest: Vec<(&Value, &Value)> =
        latest.as_array().expect("a list").iter().map(|d| (&d["name"], &d["version"])).collect();
    assert_eq!(latest, [(&json!("bills"), &json!(1)), (&json!("orders"), &json!(2))]);

    let versions = server.get(&format!("{path}/orders/versions")).await.ok();
    assert_eq!(versions[1]["version"], 2);
    assert!(versions[1].get("tasks").is_none());
    let named = server.get(&format!("{path}/names-and-versions")).await.ok();
    assert_eq!(named["orders"], versions);
    assert_eq!(server.get(&format!("{path}/nobody/versions")).await.ok(), json!([]));
}

#[tokio::test]
async fn forgotten_workflows_are_gone_and_those_never_known_are_not_found() {
    let server = Server::new().await;
    create(&server, &line("orders", &["pack"])).await;
    let id = server.start("orders", &json!({})).await;
    server.delete("/api/metadata/workflow/orders/1").await.ok_text();
    let missing = server.get("/api/metadata/workflow/orders").await;
    let expected = "No such workflow found by name: orders, version: null";
    assert_eq!(missing.failed(404), expected);
    let missing = server.delete("/api/metadata/workflow/orders/1").await;
    assert_eq!(missing.failed(404), "No such workflow definition: orders version: 1");
    server.delete("/api/metadata/workflow/orders/one").await.failed(400);
    server.post("/api/workflow/orders", &json!({})).await.failed(404);
    // What runs has its own copy.
    server.complete("pack").await;
    server.until(&id, "COMPLETED").await;
}

#[tokio::test]
async fn task_definitions_are_taken_as_a_list_or_alone() {
    let server = Server::new().await;
    let path = "/api/metadata/taskdefs";
    let list = json!([{ "name": "pack", "retryCount": 1 }, { "name": "ship" }]);
    server.post(path, &list).await.ok_text();
    server.post(path, &json!({ "name": "bill" })).await.ok_text();
    let all = server.get(path).await.ok();
    let names: Vec<&Value> = all.as_array().expect("a list").iter().map(|d| &d["name"]).collect();
    assert_eq!(names, ["bill", "pack", "ship"]);

    let pack = server.get(&format!("{path}/pack")).await.ok();
    assert_eq!(pack["retryCount"], 1);
    assert_eq!(pack["responseTimeoutSeconds"], 3600);
    let update = json!({ "name": "pack", "retryCount": 5 }).to_string();
    server.send(Method::PUT, path, update).await.ok_text();
    let updated = server.get(&format!("{path}/pack")).await.ok();
    assert_eq!(updated["retryCount"], 5);
    assert_eq!(updated["createTime"], pack["createTime"]);
    assert_ne!(updated["updateTime"], 0);

    let unknown = json!({ "name": "fold" }).to_string();
    let unknown = server.send(Method::PUT, path, unknown).await;
    assert_eq!(unknown.failed(404), "No such task by name fold");
    let unknown = server.get(&format!("{path}/fold")).await;
    assert_eq!(unknown.failed(404), "No such taskType found by name: fold");
    server.delete(&format!("{path}/pack")).await.ok_text();
    server.delete(&format!("{path}/pack")).await.failed(404);
    server.get(&format!("{path}/pack")).await.failed(404);
}

#[tokio::test]
async fn bad_task_definitions_are_told_all_at_once() {
    let server = Server::new().await;
    let list = json!([
        { "name": "good" },
        { "name": "", "responseTimeoutSeconds": 0 },
        { "name": "late", "timeoutSeconds": 10, "responseTimeoutSeconds": 20 },
    ]);
    let answer = server.post("/api/metadata/taskdefs", &list).await;
    answer.failed(400);
    let body = answer.json();
    let flaws = body["validationErrors"].as_array().expect("a list");
    let at = |prefix: &str| {
        flaws
            .iter()
            .filter(|f| f["pointer"].as_str().is_some_and(|p| p.starts_with(prefix)))
            .count()
    };
    assert_eq!((at("/0"), at("/2")), (0, 1), "{body}");
    assert!(at("/1") >= 2, "{body}");
    assert_eq!(server.get("/api/metadata/taskdefs").await.ok(), json!([]));
}

#[tokio::test]
async fn a_rate_limit_is_set_shown_and_removed() {
    let server = Server::new().await;
    let path = "/api/metadata/workflow/w/rate-limit";
    server.get(path).await.failed(404);
    let mut second = line("w", &["a"]);
    second["version"] = json!(2);
    server.register(json!([line("w", &["a"]), second])).await;
    server.get(path).await.failed(404);
    let put = |limit: Value| server.send(Method::PUT, path, limit.to_string());
    put(json!({ "rateLimitKey": "all", "concurrentExecLimit": 1 })).await.ok_text();
    let shown = server.get(path).await.ok();
    assert_eq!(
        shown,
        json!({ "rateLimitKey": "all", "concurrentExecLimit": 1, "policy": "QUEUE" })
    );
    for version in [1, 2] {
        let shown = server.get(&format!("/api/metadata/workflow/w?version={version}")).await.ok();
        assert_eq!(shown["rateLimitConfig"]["concurrentExecLimit"], 1);
    }
    let first = server.start("w", &json!({})).await;
    let held = server.start("w", &json!({})).await;
    assert_eq!(server.workflow(&first).await["rateLimited"], false);
    assert_eq!(server.workflow(&held).await["rateLimited"], true);
    put(json!({ "concurrentExecLimit": 0 })).await.failed(400);
    put(json!({ "concurrentExecLimit": 1, "policy": "PERHAPS" })).await.failed(400);
    server
        .send(Method::POST, path, json!({ "concurrentExecLimit": 3 }).to_string())
        .await
        .ok_text();
    assert_eq!(server.get(path).await.ok()["concurrentExecLimit"], 3);
    server.delete(path).await.ok_text();
    server.get(path).await.failed(404);
    server.delete("/api/metadata/workflow/none/rate-limit").await.failed(404);
}
