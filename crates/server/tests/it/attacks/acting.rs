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

#[tokio::test]
async fn a6_nobody_gives_other_data_to_the_run_of_somebody_who_may_do_more() {
    let server = guarded().await;
    let (admin, runner) = (key(&server, &["admin"]).await, key(&server, &["runner"]).await);
    let begun =
        async |key: &Key| start(&server, key, "victim", &json!({ "by": "its starter" })).await;
    let ended = async |key: &Key| {
        let id = begun(key).await;
        ask(&server, Method::DELETE, &format!("/api/workflow/{id}"), key, &json!(null)).await;
        server.until(&id, "TERMINATED").await;
        id
    };
    let of_run = |id: &str, more: &str| format!("/api/workflow/{id}/{more}");
    let task = async |id: &str| {
        let path = format!("/api/workflow/{id}");
        let run = ask(&server, Method::GET, &path, &admin, &json!(null)).await.ok();
        run["tasks"][0]["taskId"].as_str().expect("a task").to_owned()
    };
    let (live, over) = (begun(&admin).await, ended(&admin).await);
    let first = task(&over).await;
    let evil = json!({ "value": "mallory's" });
    for (path, body) in [
        (of_run(&over, "rerun"), json!({ "reRunFromTaskId": first, "taskInput": evil })),
        (of_run(&over, "rerun"), json!({ "reRunFromTaskId": first, "workflowInput": evil })),
        (of_run(&over, "rerun"), json!({ "workflowInput": evil })),
        (of_run(&over, "rerun"), json!({ "correlationId": "mallory's" })),
        (of_run(&over, "restart?useLatestDefinitions=true"), json!(null)),
        (of_run(&live, "variables"), evil.clone()),
        (of_run(&live, "state"), json!({ "variables": evil })),
        (of_run(&live, "jump/wait"), evil.clone()),
        (of_run(&live, "upgrade"), json!({ "workflowInput": evil })),
    ] {
        let why = post(&server, &path, &runner, &body).await.failed(403);
        assert!(why.contains("write-secrets"), "{path}: {why}");
    }
    let skip = of_run(&live, "skiptask/wait");
    ask(&server, Method::PUT, &skip, &runner, &json!({ "taskOutput": evil })).await.failed(403);
    let latest = "/api/workflow/bulk/restart?useLatestDefinitions=true";
    let told = post(&server, latest, &runner, &json!([over])).await.ok();
    assert!(told["bulkErrorResults"][&over].is_string(), "{told}");
    let path = format!("/api/workflow/{live}");
    let run = ask(&server, Method::GET, &path, &admin, &json!(null)).await.ok();
    assert!(!run.to_string().contains("mallory's"), "{run}");

    // As it was begun it may begin again; and whoever may do as much may give it anything.
    let again = post(&server, &of_run(&over, "restart"), &runner, &json!(null)).await;
    assert_eq!(again.status, 204, "{}", again.text);
    let other = key(&server, &["runner", "secrets"]).await;
    post(&server, &of_run(&live, "variables"), &other, &evil).await.ok();
    for id in [ended(&runner).await, ended(&key(&server, &["editor"]).await).await] {
        let given = json!({ "reRunFromTaskId": task(&id).await, "taskInput": evil });
        post(&server, &of_run(&id, "rerun"), &runner, &given).await.ok_text();
    }
    // Narrowed grants are compared, too.
    let of_narrow = key(&server, &[NARROW]).await;
    let id = start(&server, &of_narrow, "mine-wait", &json!({})).await;
    post(&server, &of_run(&id, "variables"), &runner, &evil).await.ok();
}

#[tokio::test]
async fn a7_a_project_that_is_applied_again_acts_as_whoever_applies_it() {
    let server = guarded().await;
    let (old, new) = (key(&server, &["editor"]).await, key(&server, &["editor"]).await);
    let [trigger, handler, schedule] = documents().try_into().expect("three documents");
    let handler = (handler.0, handler.1, handler.2[0].clone());
    let file = |(_, path, document): (Method, &str, Value)| {
        let path = format!("{}.json", path.replace('/', "-"));
        json!({ "path": path, "text": document.to_string() })
    };
    let files = [file(trigger), file(handler), file(schedule)];
    let request = json!({ "files": files, "yes": true });
    let applied = post(&server, "/api/projects/p/apply", &old, &request).await.ok();
    assert_eq!(applied["created"], 3, "{applied}");
    let plan = async |key: &Key| post(&server, "/api/projects/p/plan", key, &request).await.ok();
    assert_eq!(plan(&old).await["notes"], json!([]));
    revoke(&server, &old).await;
    assert_eq!(server.engine.without_author().len(), 3);
    let planned = plan(&new).await;
    assert_eq!(planned["changes"], json!([]), "what it says is the same");
    let note = planned["notes"][0].as_str().expect("a note");
    assert!(note.contains("and 2 more") && note.contains("will act as you"), "{note}");
    post(&server, "/api/projects/p/apply", &new, &request).await.ok();
    assert_eq!(server.engine.without_author(), []);
    let called = send_through(server::router(server.api()), Method::POST, "/go", &[], "{}".into());
    assert_eq!(called.await.status, 202);
    // What is deleted warns nobody, and does nothing either.
    revoke(&server, &new).await;
    assert_eq!(server.engine.without_author().len(), 3);
    let admin = key(&server, &["admin"]).await;
    for path in ["/api/triggers/t", "/api/event/h", "/api/scheduler/schedules/s"] {
        let gone = ask(&server, Method::DELETE, path, &admin, &json!(null)).await;
        assert!(gone.status.is_success(), "{path}: {}", gone.text);
    }
    assert_eq!(server.engine.without_author(), []);
    assert_ne!(server.engine.author_of(engine::Authored::Schedule, "s"), None, "not the server");
}

#[tokio::test]
async fn a8_triggers_that_show_and_webhooks_that_are_waited_for_ask_their_author() {
    let server = guarded().await;
    let router = server::router(server.api());
    let (author, admin) = (key(&server, &["editor"]).await, key(&server, &["admin"]).await);
    let matches = json!({ "matches": { "$['go']": "on" } });
    let mut wait = task("WAIT_FOR_WEBHOOK", &json!({ "inputParameters": matches }));
    wait["taskReferenceName"] = json!("w");
    server.register(flow("hooked", &wait)).await;
    let show = json!({ "name": "shown", "method": "GET", "path": "/shown/{id}", "auth": "none",
                       "show": { "name": "victim", "instanceId": "${request.path.id}" } });
    let shown = post(&server, "/api/triggers", &author, &show).await;
    assert!(shown.status.is_success(), "{}", shown.text);
    let hook = json!({
        "name": "w", "verifier": "HEADER_BASED", "headers": { "x-proof": "1" },
        "receiverWorkflowNamesToVersions": { "hooked": 1 },
    });
    let hook = post(&server, "/api/metadata/webhook", &author, &hook).await.ok();
    let hook = format!("/webhook/{}", hook["id"].as_str().expect("an id"));
    let victim = start(&server, &admin, "victim", &json!({})).await;
    let hooked = start(&server, &admin, "hooked", &json!({})).await;
    let look = format!("/shown/{victim}");
    let look = async || send_through(router.clone(), Method::GET, &look, &[], String::new()).await;
    let send = async || {
        let body = json!({ "go": "on" }).to_string();
        send_through(router.clone(), Method::POST, &hook, &[("x-proof", "1")], body).await.ok()
    };
    let seen = look().await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    revoke(&server, &author).await;
    assert_eq!(look().await.status, 503);
    let told = send().await;
    assert_eq!(told["matched"], false, "{told}");
    assert!(told["problems"][0].as_str().expect("why").contains("author may not"), "{told}");
    server.until(&hooked, "RUNNING").await;
}
