//! Whatever is accepted can be opened again: documents of every kind, damaged at random, are sent; what is
//! answered with 2xx is the same after a restart, and no answer is a failure of the server.

use axum::http::Method;
use engine::Options;
use engine::vault::Key;
use kernel::definition::TaskDef;
use serde_json::{Map, Value, json};

use crate::dice::{Dice, seeds};
use crate::support::{Server, waiting};

/// Documents of each kind that are sent for each seed.
const EACH: usize = 40;

/// A kind of document: how one is sent, in which each `NAME` becomes a name of its own.
struct Kind {
    method: Method,
    path: &'static str,
    good: Value,
}

fn kinds() -> Vec<Kind> {
    let post = |path, good| Kind { method: Method::POST, path, good };
    let put = |path, good| Kind { method: Method::PUT, path, good };
    let start = json!({ "name": "w", "version": 1, "input": { "a": "${request.body.a}" },
        "instanceId": "${request.path.id}", "defaults": { "b": 1 } });
    let flow = json!({ "name": "NAME", "version": 1, "schemaVersion": 2, "ownerEmail": "a@b.c",
        "inputParameters": ["a"], "outputParameters": { "o": "${t.output.o}" },
        "timeoutSeconds": 60, "timeoutPolicy": "TIME_OUT_WF", "failureWorkflow": "w",
        "inputTemplate": { "a": 1 }, "variables": { "v": [] }, "maskedFields": ["m"],
        "rateLimitConfig": { "rateLimitKey": "${workflow.input.k}", "concurrentExecLimit": 3 },
        "inputSchema": { "name": "s", "version": 1, "type": "JSON" },
        "metadata": { "k": { "l": 1 } }, "restartable": true, "enforceSchema": false,
        "tasks": [
            { "name": "t", "taskReferenceName": "t", "type": "SIMPLE", "optional": true,
              "inputParameters": { "x": "${workflow.input.a}" }, "retryCount": 2, "startDelay": 1,
              "asyncComplete": false, "taskDefinition": { "name": "t", "retryCount": 1 } },
            { "name": "s", "taskReferenceName": "s", "type": "SWITCH", "evaluatorType": "value-param",
              "expression": "e", "inputParameters": { "e": "${t.output.e}" },
              "decisionCases": { "a": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }] },
              "defaultCase": [] },
            { "name": "l", "taskReferenceName": "l", "type": "DO_WHILE", "loopCondition": "$.l < 3",
              "loopOver": [{ "name": "i", "taskReferenceName": "i", "type": "INLINE",
                  "inputParameters": { "evaluatorType": "javascript", "expression": "1" } }] },
            { "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN", "forkTasks": [
                [{ "name": "u", "taskReferenceName": "u", "type": "SUB_WORKFLOW",
                   "subWorkflowParam": { "name": "w", "version": 1, "taskToDomain": { "*": "d" } } }]] },
            { "name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["u"] } ] });
    let task = json!([{ "name": "NAME", "retryCount": 3, "retryLogic": "FIXED", "retryDelaySeconds": 1,
        "timeoutSeconds": 60, "responseTimeoutSeconds": 30, "timeoutPolicy": "RETRY", "pollTimeoutSeconds": 9,
        "inputKeys": ["a"], "outputKeys": ["b"], "inputTemplate": { "a": 1 }, "concurrentExecLimit": 2,
        "rateLimitPerFrequency": 5, "rateLimitFrequencyInSeconds": 1, "backoffScaleFactor": 2,
        "ownerEmail": "a@b.c", "isolationGroupId": "g", "inputSchema": { "name": "s", "type": "JSON" } }]);
    let handler = json!({ "name": "NAME", "event": "conductor:NAME", "active": true,
        "condition": "$.a > 1", "evaluatorType": "javascript", "actions": [
            { "action": "start_workflow", "expandInlineJSON": true, "start_workflow": {
                "name": "w", "version": 1, "correlationId": "${c}", "input": { "a": "${a}" } } },
            { "action": "complete_task", "complete_task": {
                "workflowId": "${w}", "taskRefName": "t", "output": { "o": "${o}" } } } ] });
    let schedule = json!({ "name": "NAME", "cronExpression": "0 0 2 * * *", "zoneId": "Europe/Oslo",
        "paused": true, "runCatchupScheduleInstances": false, "scheduleStartTime": 1,
        "scheduleEndTime": 4_102_444_800_000_i64, "description": "d", "overlap": "skip", "catchUp": "latest",
        "expect": { "startWithin": "10m" },
        "startWorkflowRequest": { "name": "w", "version": 1, "input": { "a": 1 }, "correlationId": "c",
            "taskToDomain": { "t": "d" }, "priority": 3, "idempotencyKey": "k" } });
    let hook = json!({ "name": "NAME", "verifier": "HEADER_BASED", "sourcePlatform": "Custom",
        "headers": { "source": "portal" }, "receiverWorkflowNamesToVersions": { "w": 1 },
        "workflowsToStart": { "w": 1 }, "evaluatorType": "javascript", "expression": "$.a" });
    let monitors = json!({
        "receivers": { "noc-NAME": { "inbox": null }, "web-NAME": { "webhook": "http://127.0.0.1:1/x" } },
        "people": { "ann-NAME": "noc-NAME" },
        "rotations": { "r-NAME": { "tz": "Europe/Oslo", "layers": [{ "people": ["ann-NAME"], "every": "1w",
            "from": "2026-01-05 08:00" }] } },
        "routes": [{ "match": { "team": "t" }, "steps": [{ "to": "noc-NAME" },
            { "to": "web-NAME", "after": "10m", "unless": "acked" }], "remind": "1h" }],
        "silences": [{ "name": "s-NAME", "match": { "monitor": "m-NAME" }, "from": "2026-01-01T00:00:00Z",
            "to": "2026-01-02T00:00:00Z" }],
        "monitors": {
            "m-NAME": { "heartbeat": { "every": "1h", "key": "k-NAME", "grace": "5m" }, "severity": "error",
                "labels": { "team": "t" }, "runbook": "https://a.b/c" },
            "h-NAME": { "http": { "url": "http://127.0.0.1:1/x", "expect": "status == 200" }, "every": "24h",
                "fail_after": 3, "tz": "UTC", "depends_on": ["m-NAME"], "timeout": "3s" },
            "q-NAME": { "sql": { "url": "postgres://a@127.0.0.1:1/x", "query": "select 1 as n" }, "every": "24h",
                "per": ["n"], "fail_when": "n > 1", "warn_when": "n > 0", "for": "5m" } } });
    let silence = json!({ "name": "NAME", "match": { "monitor": "m", "severity": ["error", "critical"] },
        "from": "2026-01-31T08:00:00Z", "to": "2099-01-31T08:00:00Z", "comment": "c" });
    let page = json!({ "name": "NAME", "title": "Shop", "public": true, "description": "d", "groups": [
        { "title": "g", "components": [{ "label": "l", "monitor": "m" }] } ] });
    let post_of_page =
        json!({ "text": "We look into it.", "title": "t", "state": "investigating" });
    let over =
        json!({ "who": "ann", "from": "2099-12-24 09:00", "to": "2099-12-26 09:00", "tz": "UTC" });
    let text = |of: &Value| of.to_string();
    let files = json!({ "yes": true, "files": [
        { "path": "w.json", "text": text(&waiting("p-NAME")) },
        { "path": "d.taskdefs.json", "text": text(&json!([{ "name": "d-NAME", "retryCount": 1, "ownerEmail": "a@b.c" }])) } ] });
    vec![
        post("/api/metadata/workflow", flow.clone()),
        put("/api/metadata/workflow", json!([flow])),
        post("/api/metadata/taskdefs", task),
        post("/api/event", handler),
        post("/api/scheduler/schedules", schedule),
        post(
            "/api/schema",
            json!({ "name": "NAME", "version": 1, "type": "JSON", "externalRef": "e",
            "data": { "type": "object", "required": ["a"], "properties": { "a": { "type": "string" } } } }),
        ),
        put("/api/secrets/NAME", json!("value")),
        put("/api/environment/NAME", json!("value")),
        post("/api/metadata/webhook", hook),
        post(
            "/api/triggers",
            json!({ "name": "NAME", "method": "POST", "path": "/jobs/NAME/{id}",
            "start": start, "auth": "none" }),
        ),
        post("/api/monitors?source=NAME", monitors),
        post("/api/silences", silence),
        post("/api/status-pages", page),
        post("/api/status-pages/shop/posts", post_of_page),
        post("/api/oncall/primary/overrides", over),
        post("/api/projects/NAME/apply", files),
        put(
            "/api/metadata/workflow/w/tags",
            json!([{ "key": "k", "value": "v", "type": "METADATA" }]),
        ),
        put("/api/metadata/task/t/tags", json!([{ "key": "k", "value": "v" }])),
        post(
            "/api/metadata/workflow/w/rate-limit",
            json!({ "rateLimitKey": "k", "concurrentExecLimit": 9 }),
        ),
        post(
            "/api/access/groups",
            json!({ "name": "NAME", "roles": ["viewer"], "on": ["hub=sales"] }),
        ),
        post(
            "/api/access/users",
            json!({ "name": "NAME", "password": "correct horse battery",
            "roles": ["viewer"], "groups": ["night"] }),
        ),
        post(
            "/api/access/keys",
            json!({ "name": "NAME", "roles": ["runner"], "on": ["kind=workflow,name=w"],
            "expiresAt": 4_102_444_800_000_i64 }),
        ),
        post(
            "/api/access/grants",
            json!({ "group": "night", "roles": ["viewer"], "on": ["hub=NAME"] }),
        ),
        post(
            "/api/workflow",
            json!({ "name": "w", "version": 1, "input": { "a": { "b": [1, null] } },
            "correlationId": "NAME", "priority": 5, "taskToDomain": { "t": "d" }, "idempotencyKey": "NAME",
            "idempotencyStrategy": "FAIL", "createdBy": "c", "externalInputPayloadStoragePath": null }),
        ),
        post(
            "/api/workflow",
            json!({ "name": "NAME", "workflowDef": waiting("NAME"), "input": {} }),
        ),
    ]
}

/// What is asked before and after the restart: everything that was accepted is in one of them.
const LISTS: [&str; 17] = [
    "/api/metadata/workflow",
    "/api/metadata/taskdefs",
    "/api/event",
    "/api/scheduler/schedules",
    "/api/schema",
    "/api/secrets",
    "/api/environment",
    "/api/metadata/webhook",
    "/api/triggers",
    "/api/monitors?size=1000",
    "/api/silences",
    "/api/status-pages",
    "/api/oncall/primary/overrides",
    "/api/metadata/workflow/w/tags",
    "/api/access/groups",
    "/api/access/users",
    "/api/access/keys",
];

/// Values that people and programs send by mistake.
fn odd(dice: &mut Dice) -> Value {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(4_294_967_296_u64),
        json!(""),
        json!(" "),
        json!("x".repeat(3000)),
        json!("né ☃ \u{0} \n"),
        json!("a/b"),
        json!("../.."),
        json!("${workflow.input.x}"),
        json!("${"),
        json!("*"),
        json!("1h"),
        json!("99999999999d"),
        json!("2026-02-30"),
        json!([]),
        json!({}),
        json!([null]),
        json!([[], {}]),
        json!({ "": null }),
        json!({ "name": "w", "version": 1 }),
    ];
    dice.one(&values).clone()
}

/// Damages something in a document: a value, a key, a length.
fn damage(value: &mut Value, dice: &mut Dice) {
    let deeper = dice.below(5) > 0;
    match value {
        Value::Object(members) if deeper && !members.is_empty() => {
            let names: Vec<String> = members.keys().cloned().collect();
            let name = dice.one(&names).clone();
            match dice.below(8) {
                0 => _ = members.remove(&name),
                1 => _ = members.insert(format!("{name}x"), odd(dice)),
                2 => {
                    let other = dice.one(&names);
                    members[&name] = members[other].clone();
                }
                _ => damage(&mut members[&name], dice),
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = dice.below(items.len());
            match dice.below(6) {
                0 => _ = items.remove(at),
                1 => items.push(items[at].clone()),
                _ => damage(&mut items[at], dice),
            }
        }
        other => *other = odd(dice),
    }
}

/// A document with a name of its own, with so many mistakes.
fn document(kind: &Kind, name: &str, mistakes: usize, dice: &mut Dice) -> (String, Value) {
    let text = kind.good.to_string().replace("NAME", name);
    let mut document: Value = serde_json::from_str(&text).expect("JSON");
    for _ in 0..mistakes {
        damage(&mut document, dice);
    }
    (kind.path.replace("NAME", name), document)
}

/// What is only true of a process or an instant, which a restart may change.
fn without_moments(mut value: Value) -> Value {
    const MOMENTS: [&str; 6] =
        ["lastUsed", "lastUsedAt", "nextCheck", "nextRunTime", "age", "problem"];
    match &mut value {
        Value::Object(members) => {
            members.retain(|name, _| !MOMENTS.contains(&name.as_str()));
            let members = std::mem::take(members).into_iter();
            Value::from(members.map(|(k, v)| (k, without_moments(v))).collect::<Map<_, _>>())
        }
        Value::Array(items) => std::mem::take(items).into_iter().map(without_moments).collect(),
        _ => value,
    }
}

/// All that a server shows of what it was sent.
async fn everything(server: &Server, runs: &[String]) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let runs = runs.iter().map(|id| format!("/api/workflow/{id}"));
    for path in LISTS.map(str::to_owned).into_iter().chain(runs) {
        let shown = server.get(&path).await.ok();
        all.push((path, without_moments(shown)));
    }
    all
}

/// Options with the key of secrets, which a server has again after a restart.
fn sealing() -> Options {
    Options { key: Some(Key::new([7; Key::LENGTH])), ..Options::default() }
}

/// A server with what documents refer to.
async fn prepared() -> Server {
    let server = Server::with_options(sealing()).await;
    server.register(waiting("w")).await;
    server.register_task(TaskDef::named("t")).await;
    let roster = json!({
        "receivers": { "ann": { "inbox": null } }, "people": { "ann": "ann" },
        "rotations": { "primary": { "layers": [{ "people": ["ann"] }] } },
        "monitors": { "m": { "heartbeat": { "every": "1h", "key": "k-m" } } },
    });
    server.post("/api/monitors?source=team", &roster).await.ok();
    let groups = json!([{ "title": "g", "components": [{ "label": "l", "monitor": "m" }] }]);
    let page = json!({ "name": "shop", "title": "Shop", "public": true, "groups": groups });
    server.post("/api/status-pages", &page).await.ok();
    server.post("/api/access/groups", &json!({ "name": "night", "roles": ["viewer"] })).await.ok();
    server
}

async fn what_is_accepted_can_be_opened_again(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let server = prepared().await;
        let (mut dice, mut runs) = (Dice::new(seed), Vec::new());
        for (number, kind) in kinds().iter().enumerate() {
            for at in 0..EACH {
                let name = format!("n{number}-{at}");
                // The first one is good: what is tried with the others is not refused for another reason.
                let mistakes = if at == 0 { 0 } else { dice.below(4) };
                let (path, document) = document(kind, &name, mistakes, &mut dice);
                let sent = document.to_string();
                let answer = server.send(kind.method.clone(), &path, sent.clone()).await;
                let (status, text) = (answer.status, &answer.text);
                assert!(!status.is_server_error(), "{seed}: {path} {sent}: {status} {text}");
                assert!(at > 0 || status.is_success(), "{path} {sent}: {status} {text}");
                if status.is_success() && path == "/api/workflow" {
                    runs.push(answer.text);
                }
            }
        }
        let before = everything(&server, &runs).await;
        let again = server.restarted_with(sealing()).await;
        server::look_at_documents(&again.engine).await.expect("the store is there");
        let damaged = again.engine.damaged_documents();
        assert!(damaged.is_empty(), "{seed}: {damaged:#?}");
        let after = everything(&again, &runs).await;
        for ((path, before), (_, after)) in before.iter().zip(&after) {
            assert_eq!(before, after, "{seed}: {path}");
        }
    }
}

#[tokio::test]
async fn whatever_is_accepted_can_be_opened_again() {
    what_is_accepted_can_be_opened_again(0..2).await;
}

#[tokio::test]
#[ignore = "takes minutes; NIGHTBELL_TEST_SEEDS says how many"]
async fn whatever_is_accepted_of_many_can_be_opened_again() {
    what_is_accepted_can_be_opened_again(seeds(200)).await;
}
