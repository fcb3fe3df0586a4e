//! Runs and documents that try to do for somebody what they may not do themselves.

use axum::http::Method;
use engine::{Options, Rights};
use kernel::access::{Grant, Mode, Role};
use serde_json::{Value, json};

use crate::support::{Answer, Server, send_through, waiting};

/// A key: its id and its text.
struct Key {
    id: String,
    text: String,
}

/// A key with a role on everything (`editor`), or narrowed ones (`runner on kind=workflow,name=a`).
async fn key(server: &Server, grants: &[&str]) -> Key {
    let mut rights = Rights::default();
    for grant in grants {
        match grant.split_once(" on ") {
            Some((role, on)) => rights.grants.push(
                Grant::new(role.parse().expect("a role"), on.parse().expect("a selector"))
                    .expect("it is enforced"),
            ),
            None => rights.roles.push(grant.parse::<Role>().expect("a role")),
        }
    }
    let (engine, now) = (&server.engine, server.engine.now());
    let made = engine.access().create_key("mallory", rights, None, "test", now).await;
    let made = made.expect("memory takes all");
    Key { id: made.record.id.to_string(), text: made.text.to_string() }
}

async fn revoke(server: &Server, key: &Key) {
    let now = server.engine.now();
    server.engine.access().revoke_key(&key.id, "test", now).await.expect("there is one");
}

async fn ask(server: &Server, method: Method, path: &str, key: &Key, body: &Value) -> Answer {
    let bearer = format!("Bearer {}", key.text);
    let headers = [("authorization", bearer.as_str())];
    server.send_with(method, path, &headers, body.to_string()).await
}

async fn post(server: &Server, path: &str, key: &Key, body: &Value) -> Answer {
    ask(server, Method::POST, path, key, body).await
}

async fn start(server: &Server, key: &Key, name: &str, input: &Value) -> String {
    post(server, &format!("/api/workflow/{name}"), key, input).await.ok_text()
}

/// How many runs of a workflow there are, as an administrator sees it.
async fn runs_of(server: &Server, name: &str) -> u64 {
    let admin = key(server, &["admin"]).await;
    let path = format!("/api/workflow/search?query=workflowType%3D{name}");
    let found = ask(server, Method::GET, &path, &admin, &json!(null)).await.ok();
    found["totalHits"].as_u64().expect("a number")
}

/// Waits until a run has failed, and answers why.
async fn failure(server: &Server, id: &str) -> String {
    server.until(id, "FAILED").await;
    let id = kernel::ExecutionId::new(id);
    let why = server.engine.read(&id, |state| {
        let of_tasks = state.tasks().filter_map(|task| task.reason.as_deref());
        of_tasks.collect::<Vec<_>>().join("; ")
    });
    why.await.expect("memory answers").expect("it is there")
}

fn task(kind: &str, more: &Value) -> Value {
    let mut task = json!({ "name": "t", "taskReferenceName": "t", "type": kind });
    task.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    task
}

fn flow(name: &str, task: &Value) -> Value {
    json!({ "name": name, "version": 1, "tasks": [task] })
}

fn sub(name: &str) -> Value {
    task("SUB_WORKFLOW", &json!({ "subWorkflowParam": { "name": name } }))
}

fn detached(name: &str) -> Value {
    let start = json!({ "startWorkflow": { "name": name, "input": {} } });
    task("START_WORKFLOW", &json!({ "inputParameters": start }))
}

/// A server that asks for keys, with `victim`, and workflows of a tenant that reach for it.
async fn guarded() -> Server {
    let options = Options { checks_principals: true, ..Options::default() };
    let server = Server::with_options(options).await;
    let inline = json!({ "name": "mine-inline", "version": 1, "tasks": [detached("victim")] });
    server
        .register(json!([
            waiting("victim"),
            waiting("mine-wait"),
            flow("mine-sub", &sub("victim")),
            flow("mine-any", &sub("${workflow.input.name}")),
            flow("mine-start", &detached("victim")),
            flow("mine-deep", &sub("mine-start")),
            flow(
                "mine-def",
                &task(
                    "SUB_WORKFLOW",
                    &json!({
                        "subWorkflowParam": { "name": "x", "workflowDefinition": inline },
                    })
                ),
            ),
            flow("mine-good", &sub("mine-wait")),
        ]))
        .await;
    server.with(|settings| settings.auth = Mode::On)
}

const NARROW: &str = "runner on kind=workflow,name=mine-*";

#[tokio::test]
async fn a1_a_run_starts_nothing_that_its_starter_may_not_start() {
    let server = guarded().await;
    let key = key(&server, &[NARROW]).await;
    post(&server, "/api/workflow/victim", &key, &json!({})).await.failed(404);
    for (name, input) in [
        ("mine-sub", json!({})),
        ("mine-any", json!({ "name": "victim" })),
        ("mine-start", json!({})),
        ("mine-deep", json!({})),
        ("mine-def", json!({})),
    ] {
        let id = start(&server, &key, name, &input).await;
        let why = failure(&server, &id).await;
        assert!(why.contains("FORBIDDEN") && why.contains("mallory"), "{name}: {why}");
    }
    assert_eq!(runs_of(&server, "victim").await, 0);
    // What it may start goes on, in the same ways, as the same.
    start(&server, &key, "mine-any", &json!({ "name": "mine-wait" })).await;
    let admin = self::key(&server, &["admin"]).await;
    let acts_as = async || {
        let path = "/api/workflow/search-v2?query=workflowType%3Dmine-wait";
        let found = ask(&server, Method::GET, path, &admin, &json!(null)).await.ok();
        found["results"][0]["actsAs"].as_str().map(str::to_owned)
    };
    let begun = async {
        loop {
            match acts_as().await {
                Some(found) => return found,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let patience = std::time::Duration::from_secs(30);
    let found = tokio::time::timeout(patience, begun).await.expect("the sub-workflow begins");
    assert_eq!(found, format!("key:{}", key.id));
}

#[tokio::test]
async fn a2_a_definition_sent_along_does_no_more_than_its_sender() {
    let server = guarded().await;
    let key = key(&server, &[NARROW]).await;
    let sent = json!({ "name": "mine-own", "workflowDef": flow("mine-own", &detached("victim")) });
    post(&server, "/api/workflow", &key, &sent).await.failed(403);
    // Nor do the fields by which somebody else could be named.
    let more =
        json!({ "name": "mine-start", "actsAs": "key:0", "acts_as": null, "createdBy": "a" });
    let id = post(&server, "/api/workflow", &key, &more).await.ok_text();
    assert!(failure(&server, &id).await.contains("FORBIDDEN"));
    assert_eq!(runs_of(&server, "victim").await, 0);
}

#[tokio::test]
async fn a3_what_a_revoked_key_has_started_starts_nothing_more() {
    let server = guarded().await;
    let key = key(&server, &["runner"]).await;
    let wait = json!({ "name": "w", "taskReferenceName": "w", "type": "WAIT" });
    let later = json!({ "name": "later", "version": 1, "tasks": [wait, detached("victim")] });
    server.register(later).await;
    let (before, after) = (
        start(&server, &key, "later", &json!({})).await,
        start(&server, &key, "later", &json!({})).await,
    );
    let go_on = async |id: &str| {
        let id = kernel::ExecutionId::new(id);
        let report = kernel::graph::Report {
            sequence: 1,
            verdict: kernel::graph::Verdict::Done(kernel::graph::TaskStatus::Completed),
            output: None,
            merge: false,
            reason: None,
            worker: None,
            started_at: None,
            metadata: None,
        };
        server.engine.report(&id, report).await.expect("it waits");
    };
    go_on(&before).await;
    server.until(&before, "COMPLETED").await;
    revoke(&server, &key).await;
    go_on(&after).await;
    let why = failure(&server, &after).await;
    assert!(why.contains("FORBIDDEN") && why.contains("revoked"), "{why}");
    assert_eq!(runs_of(&server, "victim").await, 1);
}

/// A trigger, a webhook, an event handler and a schedule that start `victim`.
fn documents() -> Vec<(Method, &'static str, Value)> {
    let handler = json!({
        "name": "h", "event": "conductor:e", "active": true,
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": "victim" } }],
    });
    vec![
        (
            Method::POST,
            "/api/triggers",
            json!({ "name": "t", "method": "POST", "path": "/go", "auth": "none",
                    "start": { "name": "victim" } }),
        ),
        (Method::POST, "/api/event", json!([handler])),
        (
            Method::POST,
            "/api/scheduler/schedules",
            json!({ "name": "s", "cronExpression": "0 0 0 1 1 ?",
                    "startWorkflowRequest": { "name": "victim" } }),
        ),
    ]
}

#[tokio::test]
async fn a4_what_somebody_has_written_does_nothing_for_them_once_their_key_is_revoked() {
    let server = guarded().await;
    let router = server::router(server.api());
    let (author, runner) = (key(&server, &["editor"]).await, key(&server, &["runner"]).await);
    for (method, path, document) in documents() {
        let written = ask(&server, method, path, &author, &document).await;
        assert!(written.status.is_success(), "{path}: {}", written.text);
    }
    let hook = json!({
        "name": "w", "verifier": "HEADER_BASED", "headers": { "x-proof": "1" },
        "receiverWorkflowNamesToVersions": {}, "workflowsToStart": { "victim": 1 },
    });
    let hook = post(&server, "/api/metadata/webhook", &author, &hook).await.ok();
    let hook = format!("/webhook/{}", hook["id"].as_str().expect("an id"));
    let set_off = async || {
        let router = || router.clone();
        let headers = [("x-proof", "1")];
        let body = || "{}".to_owned();
        let called = send_through(router(), Method::POST, "/go", &[], body()).await;
        let came = send_through(router(), Method::POST, &hook, &headers, body()).await;
        let fired = post(&server, "/api/scheduler/schedules/s/trigger", &runner, &json!({})).await;
        assert!(fired.status.is_success(), "{}", fired.text);
        let message = json!({ "event": "conductor:e", "payload": {} });
        let told = post(&server, "/api/event/publish", &runner, &message).await;
        assert!(told.status.is_success(), "{}", told.text);
        (called.status.as_u16(), came.text)
    };
    let until = async |count: u64| {
        let counted = async {
            while runs_of(&server, "victim").await < count {
                tokio::task::yield_now().await;
            }
        };
        let patience = std::time::Duration::from_secs(30);
        tokio::time::timeout(patience, counted).await.expect("they are started");
    };
    let (called, came) = set_off().await;
    assert_eq!(called, 202, "{came}");
    until(4).await;
    revoke(&server, &author).await;
    let (called, came) = set_off().await;
    assert_eq!(called, 503, "a trigger that does nothing");
    assert!(came.contains("author may not") && !came.contains("mallory"), "{came}");
    // Whoever writes one again lends it their rights; nothing else has started meanwhile.
    let other = key(&server, &["editor"]).await;
    let (method, path, schedule) = documents().pop().expect("the schedule");
    let written = ask(&server, method, path, &other, &schedule).await;
    assert!(written.status.is_success(), "{}", written.text);
    post(&server, "/api/scheduler/schedules/s/trigger", &runner, &json!({})).await.ok_text();
    until(5).await;
    assert_eq!(runs_of(&server, "victim").await, 5);
    let admin = key(&server, &["admin"]).await;
    let weak = ask(&server, Method::GET, "/api/access/check", &admin, &json!(null)).await.ok();
    let told: Vec<&str> = weak
        .as_array()
        .expect("a list")
        .iter()
        .filter(|it| it["code"] == "author-without-key")
        .filter_map(|it| it["subject"].as_str())
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.contains(&"trigger t") && told.contains(&"event handler h"), "{told:?}");
}

#[tokio::test]
async fn a5_without_access_control_runs_act_as_the_server() {
    let server = Server::new().await;
    server.register(json!([waiting("victim"), flow("mine-start", &detached("victim"))])).await;
    let id = server.start("mine-start", &json!({})).await;
    server.until(&id, "COMPLETED").await;
    let id = kernel::ExecutionId::new(id);
    let acts_as = server.engine.read(&id, |state| state.acts_as.clone()).await;
    assert_eq!(acts_as.expect("memory answers"), Some(None));
}
