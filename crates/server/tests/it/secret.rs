//! `/api/secrets` and `/api/environment`, and what workflows make of them.

use axum::http::Method;
use kernel::definition::TaskDef;
use serde_json::{Value, json};

use crate::support::{Server, line};

async fn put(server: &Server, path: &str, body: &str) -> crate::support::Answer {
    server.send(Method::PUT, path, body.to_owned()).await
}

#[tokio::test]
async fn secrets_are_written_listed_and_deleted_but_never_read() {
    let server = Server::new().await;
    put(&server, "/api/secrets/TOKEN", "\"s3cr\\u0065t\"").await.ok_text();
    put(&server, "/api/secrets/plain-text_1", "not JSON").await.ok_text();
    assert_eq!(server.get("/api/secrets").await.ok(), json!(["TOKEN", "plain-text_1"]));
    assert_eq!(
        server.post("/api/secrets", &json!({})).await.ok(),
        json!(["TOKEN", "plain-text_1"])
    );
    for path in ["/api/secrets-v2", "/api/secrets/v2"] {
        let named = server.get(path).await.ok();
        assert_eq!((&named[0]["name"], &named[0]["tags"]), (&json!("TOKEN"), &json!([])));
        let put_at = named[0]["updateTime"].as_i64().expect("it is known when it was written");
        assert!(server.engine.now().millis() - put_at < 600_000, "{put_at}");
    }
    let refused = server.get("/api/secrets/TOKEN").await.failed(403);
    assert_eq!(refused, "the secret TOKEN cannot be read: secrets are write-only");
    server.get("/api/secrets/OTHER").await.failed(404);
    assert_eq!(server.get("/api/secrets/TOKEN/exists").await.ok(), json!(true));
    assert_eq!(server.get("/api/secrets/OTHER/exists").await.ok(), json!(false));
    assert_eq!(server.engine.values().secret("TOKEN").as_deref(), Some("s3cret"));
    assert_eq!(server.engine.values().secret("plain-text_1").as_deref(), Some("not JSON"));
    server.delete("/api/secrets/TOKEN").await.ok_text();
    server.delete("/api/secrets/TOKEN").await.failed(404);
    assert_eq!(server.get("/api/secrets").await.ok(), json!(["plain-text_1"]));
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_the_rule() {
    let server = Server::new().await;
    let long = "n".repeat(256);
    for (path, body, why) in [
        ("/api/secrets/a.b", "x", "letters, digits"),
        ("/api/secrets/a%20b", "x", "letters, digits"),
        (&*format!("/api/secrets/{long}"), "x", "at most 255"),
        ("/api/secrets/EMPTY", "", "1 to 65536 bytes, not 0"),
        ("/api/secrets/EMPTY", "\"\"", "1 to 65536 bytes, not 0"),
        ("/api/secrets/LARGE", &"x".repeat(65_537), "not 65537"),
        ("/api/environment/a.b", "x", "letters, digits"),
    ] {
        let message = put(&server, path, body).await.failed(400);
        assert!(message.contains(why), "{path}: {message}");
    }
    assert_eq!(server.get("/api/secrets").await.ok(), json!([]));
}

#[tokio::test]
async fn what_the_server_was_started_with_wins_and_cannot_be_written_over() {
    let server = Server::new().await;
    // The house's own: the secret KEY and the value REGION.
    for (path, body) in [("/api/secrets/KEY", "mine"), ("/api/environment/REGION", "south")] {
        let message = put(&server, path, body).await.failed(409);
        assert!(message.contains("environment of the server"), "{message}");
        server.delete(path).await.failed(409);
        put(&server, &format!("{path}/tags"), "[]").await.failed(409);
    }
    assert_eq!(server.engine.values().secret("KEY").as_deref(), Some("hunter2"));
    assert_eq!(server.get("/api/environment/REGION").await.ok_text(), "north");
    assert_eq!(server.get("/api/secrets/KEY/exists").await.ok(), json!(true));
}

#[tokio::test]
async fn tags_are_added_replaced_and_removed() {
    let server = Server::new().await;
    for base in ["/api/secrets/A", "/api/environment/A"] {
        let tags = format!("{base}/tags");
        server.get(&tags).await.failed(404);
        put(&server, &tags, r#"[{"key":"team","value":"x"}]"#).await.failed(404);
        put(&server, base, "value").await.ok_text();
        let both = r#"[{"key":"team","value":"x","type":"METADATA"},{"key":"env","value":"dev"}]"#;
        put(&server, &tags, both).await.ok_text();
        put(&server, &tags, r#"[{"key":"team","value":"y"}]"#).await.ok_text();
        put(&server, base, "another").await.ok_text();
        let expected = json!([
            { "key": "env", "value": "dev", "type": "METADATA" },
            { "key": "team", "value": "y", "type": "METADATA" },
        ]);
        assert_eq!(server.get(&tags).await.ok(), expected);
        let gone = r#"[{"key":"env","value":"dev"},{"key":"team","value":"other"}]"#;
        server.send(Method::DELETE, &tags, gone.to_owned()).await.ok_text();
        assert_eq!(server.get(&tags).await.ok(), json!([expected[1]]));
        put(&server, &tags, &json!([{ "key": "k".repeat(256) }]).to_string()).await.failed(400);
    }
}

#[tokio::test]
async fn environment_values_are_shown_and_reach_tasks_that_are_scheduled_later() {
    let server = Server::new().await;
    put(&server, "/api/environment/STAGE", "test").await.ok_text();
    let listed = server.get("/api/environment").await.ok();
    let stage = json!({ "name": "STAGE", "value": "test", "tags": [] });
    assert_eq!(listed.as_array().expect("a list").last(), Some(&stage));
    let mut flow = line("flow", &["work"]);
    flow["tasks"][0]["inputParameters"] = json!({ "stage": "${workflow.env.STAGE}" });
    server.register(flow).await;
    let id = server.start("flow", &json!({})).await;
    assert_eq!(server.workflow(&id).await["tasks"][0]["inputData"]["stage"], "test");
    assert_eq!(server.delete("/api/environment/STAGE").await.ok_text(), "test");
    server.get("/api/environment/STAGE").await.failed(404);
}

/// A workflow whose worker is handed the secret `TOKEN` and what the start has under `_secrets`.
async fn handed(server: &Server) -> (String, Value) {
    put(server, "/api/secrets/TOKEN", "first-token").await.ok_text();
    let mut flow = line("flow", &["work", "next"]);
    flow["tasks"][0]["inputParameters"] = json!({
        "token": "${workflow.secrets.TOKEN}", "pin": "${workflow.input._secrets.pin}" });
    flow["tasks"][1]["inputParameters"] = json!({ "fresh": "${work.output._secrets.fresh}" });
    server.register(flow).await;
    let id = server.start("flow", &json!({ "_secrets": { "pin": 424_242, "on": true } })).await;
    let task = server.get("/api/tasks/poll/work?workerid=w").await.ok();
    assert_eq!(task["inputData"], json!({ "token": "first-token", "pin": 424_242 }));
    (id, task)
}

async fn report(server: &Server, task: &Value, output: Value, reason: &str) {
    let report = json!({
        "taskId": task["taskId"], "workflowInstanceId": task["workflowInstanceId"],
        "status": "COMPLETED", "outputData": output, "reasonForIncompletion": reason,
    });
    server.post("/api/tasks", &report).await.ok_text();
}

#[tokio::test]
async fn a_report_is_masked_even_if_the_secret_changed_or_went_meanwhile() {
    for gone in [false, true] {
        let server = Server::new().await;
        let (id, task) = handed(&server).await;
        if gone {
            server.delete("/api/secrets/TOKEN").await.ok_text();
        } else {
            put(&server, "/api/secrets/TOKEN", "second-token").await.ok_text();
        }
        let output = json!({ "echo": "<FIRST-TOKEN>", "pin": [424_242, 4_242_420, "#424242"] });
        report(&server, &task, output, "used first-token").await;
        let shown = &server.workflow(&id).await["tasks"][0];
        let expected = json!({ "echo": "<***>", "pin": ["***", 4_242_420, "#***"] });
        assert_eq!(shown["outputData"], expected);
        assert_eq!(shown["reasonForIncompletion"], "used ***");
    }
}

#[tokio::test]
async fn what_a_worker_reports_as_secret_reaches_the_next_worker_alone() {
    let server = Server::new().await;
    let (id, task) = handed(&server).await;
    let output = json!({ "_secrets": { "fresh": { "a": ["deep-secret", 7, null, true, ""] } } });
    report(&server, &task, output, "").await;
    let next = server.get("/api/tasks/poll/next?workerid=w").await.ok();
    let fresh = json!({ "a": ["deep-secret", 7, null, true, ""] });
    assert_eq!(next["inputData"]["fresh"], fresh);
    let shown = server.workflow(&id).await;
    assert!(!shown.to_string().contains("deep-secret"), "{shown}");
    assert!(!shown.to_string().contains("sealed:"), "{shown}");
    assert_eq!(shown["tasks"][1]["inputData"]["fresh"]["a"][0], "***");
    let stored = server.engine.store().load(&kernel::ExecutionId::new(&*id)).await;
    let stored = format!("{:?}", stored.expect("memory answers"));
    for value in ["deep-secret", "first-token", "424242"] {
        assert!(!stored.contains(value), "{value} in {stored}");
    }
}

#[tokio::test]
async fn a_definition_names_values_for_its_worker() {
    let server = Server::new().await;
    put(&server, "/api/secrets/BOTH", "the-secret-one").await.ok_text();
    put(&server, "/api/environment/BOTH", "the-open-one").await.ok_text();
    put(&server, "/api/environment/OPEN", "open").await.ok_text();
    let definition = json!({ "name": "work", "runtimeMetadata": ["BOTH", "OPEN", "NONE"] });
    let definition: TaskDef = serde_json::from_value(definition).expect("a definition");
    server.register_task(definition).await;
    server.register(line("flow", &["work"])).await;
    let id = server.start("flow", &json!({})).await;
    let task = server.get("/api/tasks/poll/work?workerid=w").await.ok();
    let expected = json!({ "BOTH": "the-secret-one", "OPEN": "open" });
    assert_eq!(task["runtimeMetadata"], expected);
    report(&server, &task, json!({ "both": "the-secret-one", "open": "open" }), "").await;
    let shown = server.workflow(&id).await;
    assert_eq!(shown["tasks"][0]["outputData"], json!({ "both": "***", "open": "open" }));
}
