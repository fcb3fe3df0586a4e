//! Projects: what a folder would change, and that applying it does just that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{Method, StatusCode};
use engine::memory::{Call, Fault, Memory};
use engine::store::StoreError;
use serde_json::{Value, json};

use crate::dice::{Dice, seeds};
use crate::support::{Server, line};

fn file(path: &str, text: &Value) -> Value {
    json!({ "path": path, "text": text.to_string() })
}

fn monitors(path: &str, text: &Value) -> Value {
    json!({ "path": path, "text": text.to_string(), "monitors": true })
}

async fn plan(server: &Server, project: &str, files: &[Value]) -> Value {
    server.post(&format!("/api/projects/{project}/plan"), &json!({ "files": files })).await.ok()
}

async fn apply(server: &Server, project: &str, files: &[Value]) -> Value {
    let request = json!({ "files": files, "yes": true });
    server.post(&format!("/api/projects/{project}/apply"), &request).await.ok()
}

fn schedule(name: &str, cron: &str) -> Value {
    json!({ "name": name, "cronExpression": cron, "zoneId": "UTC",
        "startWorkflowRequest": { "name": "w0" } })
}

fn hook(id: &str, starts: &str) -> Value {
    json!({ "name": id, "id": id, "verifier": "SIGNATURE_BASED",
        "secretValue": "${workflow.secrets.HOOK}", "workflowsToStart": { starts: 1 } })
}

fn heartbeat(key: &str, to: &str) -> Value {
    json!({ "receivers": { "noc": { "inbox": null }, "night": { "inbox": null } },
        "routes": [{ "to": to }],
        "monitors": { "backup": { "heartbeat": { "every": "1h", "key": key } } } })
}

/// The actions of a plan by object.
fn actions(plan: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let changes = plan["changes"].as_array().expect("changes").iter();
    changes
        .map(|it| (format!("{} {}", text(&it["kind"]), text(&it["name"])), text(&it["action"])))
        .collect()
}

#[tokio::test]
async fn a_plan_says_what_apply_does_and_after_it_is_empty() {
    let server = Server::new().await;
    let files = [
        file("w.json", &line("w0", &["a"])),
        file("s.json", &schedule("nightly", "0 0 3 * * *")),
        monitors("m.yaml", &heartbeat("k", "noc")),
    ];
    let planned = plan(&server, "p", &files).await;
    let expected = [
        ("monitors project:p/m.yaml", "create"),
        ("schedule nightly", "create"),
        ("workflow w0", "create"),
    ];
    let expected = expected.map(|(object, action)| (object.to_owned(), action.to_owned()));
    assert_eq!(actions(&planned), BTreeMap::from(expected));
    assert!(server.engine.definitions().workflow("w0", None).is_none(), "a plan changes nothing");
    let applied = apply(&server, "p", &files).await;
    assert_eq!((&applied["created"], &applied["removed"]), (&json!(3), &json!(0)));
    assert_eq!(plan(&server, "p", &files).await["changes"], json!([]));

    let fewer = [file("w.json", &line("w0", &["a", "b"]))];
    let planned = plan(&server, "p", &fewer).await;
    let refusal = planned["refusals"][0].as_str().expect("it removes much");
    assert_eq!(refusal, "it removes 2 of 3 objects; --yes lets it");
    assert_eq!(planned["notes"], json!(["monitor backup is removed"]));
    let request = json!({ "files": fewer });
    let message = server.post("/api/projects/p/apply", &request).await.failed(409);
    assert!(message.contains("2 of the 3"), "{message}");
    assert_eq!(apply(&server, "p", &fewer).await["removed"], 2);
    server.get("/api/scheduler/schedules/nightly").await.failed(404);
    server.get("/api/monitors/backup").await.failed(404);
    assert_eq!(plan(&server, "p", &fewer).await["changes"], json!([]));
}

#[tokio::test]
async fn only_what_a_project_owns_is_removed_and_another_must_be_adopted() {
    let server = Server::new().await;
    server.register(line("by-hand", &["a"])).await;
    apply(&server, "one", &[file("w.json", &line("w", &["a"]))]).await;
    let two = [file("v.json", &line("w", &["b"]))];
    let planned = plan(&server, "two", &two).await;
    assert_eq!(planned["changes"][0]["owner"], "one");
    let request = json!({ "files": two });
    let message = server.post("/api/projects/two/apply", &request).await.failed(409);
    assert!(message.contains("project one owns workflow w v1"), "{message}");
    let request = json!({ "files": two, "adopt": true });
    server.post("/api/projects/two/apply", &request).await.ok();
    apply(&server, "one", &[]).await;
    let definitions = server.engine.definitions();
    assert!(definitions.workflow("by-hand", None).is_some(), "nobody owns it");
    assert!(definitions.workflow("w", None).is_some(), "it is of project two by now");
    apply(&server, "two", &[]).await;
    assert!(definitions.workflow("w", None).is_none());
}

#[tokio::test]
async fn what_is_there_just_so_is_adopted() {
    let server = Server::new().await;
    server.register(line("w", &["a"])).await;
    let files = [file("w.json", &line("w", &["a"]))];
    assert_eq!(actions(&plan(&server, "p", &files).await)["workflow w"], "adopt");
    assert_eq!(apply(&server, "p", &files).await["adopted"], 1);
    assert_eq!(plan(&server, "p", &files).await["changes"], json!([]));
}

#[tokio::test]
async fn what_a_crash_cut_short_is_in_the_next_plan() {
    let server = Server::new().await;
    let files = [file("w.json", &line("w", &["a"])), file("v.json", &line("v", &["a"]))];
    apply(&server, "p", &files).await;
    // As after a crash between the commit of the definitions and that of what they became.
    let store = server.engine.store();
    let mut claimed = store.documents("owner").await.expect("memory answers").swap_remove(0);
    let mut owner: Value = serde_json::from_str(&claimed.text).expect("an owner");
    owner["applied"] = json!("");
    claimed.text = owner.to_string().into();
    store.put_document(claimed).await.expect("memory takes it");
    // And between the removal of an object and that of its owner.
    server.engine.definitions().delete_workflow("w", 1).await.expect("it is there");
    let fewer = [file("v.json", &line("v", &["a"]))];
    let expected = [("workflow v", "adopt"), ("workflow w", "remove")];
    let expected = expected.map(|(object, action)| (object.to_owned(), action.to_owned()));
    assert_eq!(actions(&plan(&server, "p", &fewer).await), BTreeMap::from(expected));
    apply(&server, "p", &fewer).await;
    assert_eq!(plan(&server, "p", &fewer).await["changes"], json!([]));
    assert_eq!(server.get("/api/projects/drift").await.ok(), json!([]));
}

#[tokio::test]
async fn a_monitor_that_others_depend_on_is_not_removed() {
    let server = Server::new().await;
    let needed = json!({ "monitors": { "net": { "heartbeat": { "every": "1h", "key": "n" } } } });
    let needs = json!({ "monitors": { "shop":
        { "heartbeat": { "every": "1h", "key": "s" }, "depends_on": ["net"] } } });
    apply(&server, "one", &[monitors("net.yaml", &needed)]).await;
    apply(&server, "two", &[monitors("shop.yaml", &needs)]).await;
    let refusals = plan(&server, "one", &[]).await["refusals"].to_string();
    assert!(refusals.contains("there is no monitor net"), "{refusals}");
    let request = json!({ "files": [], "yes": true });
    let message = server.post("/api/projects/one/apply", &request).await.failed(409);
    assert!(message.contains("there is no monitor net"), "{message}");
    server.get("/api/monitors/net").await.ok();
}

#[tokio::test]
async fn a_saved_plan_is_refused_when_the_server_has_moved() {
    let server = Server::new().await;
    let files = [file("w.json", &line("w", &["a"]))];
    let base = plan(&server, "p", &files).await["base"].clone();
    let request = json!({ "files": files, "base": base });
    server.register(line("other", &["a"])).await;
    server.post("/api/projects/p/apply", &request).await.ok();
    let next = [file("w.json", &line("w", &["b"]))];
    let base = plan(&server, "p", &next).await["base"].clone();
    server.register(line("w", &["by", "hand"])).await;
    let request = json!({ "files": next, "base": base });
    let message = server.post("/api/projects/p/apply", &request).await.failed(409);
    assert!(message.contains("since the plan was made"), "{message}");
    let present = server.engine.definitions().workflow("w", None).expect("it is there");
    assert_eq!(present.tasks.len(), 2, "nothing was applied");
}

#[tokio::test]
async fn what_was_changed_behind_a_project_is_drift() {
    let server = Server::new().await;
    let files =
        [file("w.json", &line("w", &["a"])), file("s.json", &schedule("nightly", "0 0 3 * * *"))];
    apply(&server, "p", &files).await;
    assert_eq!(server.get("/api/projects/drift").await.ok(), json!([]));
    server.register(line("w", &["a", "b"])).await;
    server.delete("/api/scheduler/schedules/nightly").await.ok_text();
    let drift = server.get("/api/projects/drift").await.ok();
    let told = |at: usize| (drift[at]["name"].clone(), drift[at]["removed"].clone());
    assert_eq!((told(0), told(1)), ((json!("w"), json!(false)), (json!("nightly"), json!(true))));
    let expected = [("schedule nightly", "create"), ("workflow w", "update")];
    let expected = expected.map(|(object, action)| (object.to_owned(), action.to_owned()));
    assert_eq!(actions(&plan(&server, "p", &files).await), BTreeMap::from(expected));
    apply(&server, "p", &files).await;
    assert_eq!(server.get("/api/projects/drift").await.ok(), json!([]));
}

#[tokio::test]
async fn a_plan_names_whom_it_touches() {
    let server = Server::new().await;
    let files = [
        file("w.json", &line("w0", &["a", "b"])),
        file("s.json", &schedule("nightly", "0 0 3 * * *")),
        monitors("m.yaml", &heartbeat("k", "noc")),
    ];
    // What a plan brings is not missing.
    let misses = async |files: &[Value]| {
        plan(&server, "p", files).await.to_string().contains("which does not exist")
    };
    assert!(!misses(&files).await && misses(&files[1..]).await);
    apply(&server, "p", &files).await;
    let (one, two) = (server.start("w0", &json!({})).await, server.start("w0", &json!({})).await);
    server.complete("a").await;
    server.send(Method::POST, "/ping/k/3", String::new()).await.ok_text();
    let mut secret = line("w0", &["a", "c"]);
    secret["tasks"][1]["inputParameters"] = json!({ "k": "${workflow.secrets.PD_KEY}" });
    // In Oslo the clock goes back from three to two once a year.
    let mut oslo = schedule("nightly", "0 30 2 * * *");
    oslo["zoneId"] = json!("Europe/Oslo");
    let next = [
        file("w.json", &secret),
        file("s.json", &oslo),
        monitors("m.yaml", &heartbeat("k", "night")),
    ];
    let planned = plan(&server, "p", &next).await;
    let notes: BTreeSet<String> = planned["changes"]
        .as_array()
        .expect("changes")
        .iter()
        .flat_map(|it| it["notes"].as_array().cloned().unwrap_or_default())
        .map(|it| it.as_str().unwrap_or_default().to_owned())
        .collect();
    let of =
        |begin: &str| notes.iter().find(|it| it.starts_with(begin)).cloned().unwrap_or_default();
    let running = of("2 running keep the old plan; 1 could be upgraded, 1 not");
    assert!(running.contains("task 'b' is open"), "{notes:?}");
    let fires = of("fires next");
    assert!(fires.contains("T03:00:00") && fires.contains(":30:00"), "{notes:?}");
    let clock = of("a change of the clock touches it: ");
    assert!(clock.contains("T02:30:00 ") || clock.contains("T03:00:00 "), "{notes:?}");
    let told = planned["notes"].to_string();
    assert!(told.contains("secret PD_KEY is not on the server"), "{told}");
    assert!(told.contains("\"monitor backup rings elsewhere: noc → night\""), "{told}");
    // The incident that is open bears the key of its ping.
    assert!(told.contains("incident backup rings elsewhere: noc → night"), "{told}");
    assert!(of("2 tasks changed").ends_with("same version: --bump makes it v2"), "{notes:?}");

    let without = plan(&server, "p", &next[..2]).await["notes"].to_string();
    assert!(without.contains("monitor backup is removed, resolves its open incident"), "{without}");

    let request = json!({ "files": next, "upgradeRunning": true });
    assert_eq!(server.post("/api/projects/p/apply", &request).await.ok()["upgraded"], 1);
    let last = |workflow: &Value| workflow["workflowDefinition"]["tasks"][1]["name"].clone();
    let plans = [last(&server.workflow(&one).await), last(&server.workflow(&two).await)];
    let plans: BTreeSet<String> = plans.iter().map(ToString::to_string).collect();
    assert_eq!(plans, BTreeSet::from(["\"b\"".to_owned(), "\"c\"".to_owned()]));
}

#[tokio::test]
async fn files_with_mistakes_are_told_all_at_once_and_nothing_is_applied() {
    let server = Server::new().await;
    let files = [
        file("good.json", &line("w", &["a"])),
        file("bad.json", &json!({ "name": "x", "tasks": [{ "type": "SIMPLE" }] })),
        json!({ "path": "worse.json", "text": "{" }),
        monitors("m.yaml", &json!({ "monitors": { "m": { "every": "soon" } } })),
        file("again.json", &line("w", &["b"])),
        file("twice.json", &json!([line("v", &["b"]), line("v", &["c"])])),
    ];
    let request = json!({ "files": files });
    for verb in ["plan", "apply"] {
        let refused = server.post(&format!("/api/projects/p/{verb}"), &request).await;
        refused.failed(400);
        let told = refused.json()["validationErrors"].to_string();
        let twice = "twice.json: defines workflow v v1 twice";
        for name in ["bad.json", "worse.json", "m.yaml", "again.json: defines workflow w v1", twice]
        {
            assert!(told.contains(name), "{name} in {told}");
        }
    }
    assert!(server.engine.definitions().workflow("w", None).is_none());
    let missing = heartbeat("k", "nobody-there");
    let request = json!({ "files": [monitors("m.yaml", &missing)] });
    server.post("/api/projects/p/apply", &request).await.failed(400);
    server.post("/api/projects/a%20b/plan", &json!({ "files": [] })).await.failed(400);
}

/// A random folder: of each kind some objects, each in one of a few variants, two to a file at times.
fn folder(dice: &mut Dice) -> Vec<Value> {
    let mut files = Vec::new();
    for at in 0..3_usize {
        let variant = dice.below(4);
        if variant > 0 {
            let tasks: Vec<String> = (0..variant).map(|it| format!("t{it}")).collect();
            let tasks: Vec<&str> = tasks.iter().map(String::as_str).collect();
            files.push(file(&format!("w{at}.json"), &line(&format!("w{at}"), &tasks)));
        }
        if dice.below(2) == 0 {
            let cron = format!("0 {} 3 * * *", dice.below(3));
            files.push(file(&format!("s{at}.json"), &schedule(&format!("s{at}"), &cron)));
        }
        if dice.below(2) == 0 {
            let task = json!([{ "name": format!("d{at}"), "retryCount": dice.below(3),
                "ownerEmail": "a@b.c" }]);
            files.push(file(&format!("{at}.taskdefs.json"), &task));
        }
        if dice.below(2) == 0 {
            let handler = json!({ "name": format!("h{at}"), "event": format!("conductor:e{}", dice.below(2)),
                "active": true,
                "actions": [{ "action": "start_workflow", "start_workflow": { "name": "w0" } }] });
            files.push(file(&format!("h{at}.json"), &handler));
        }
        if dice.below(2) == 0 {
            let trigger = json!({ "name": format!("g{at}"), "method": "POST",
                "path": format!("/jobs/{at}/{}", dice.below(2)), "start": { "name": "w0" } });
            files.push(file(&format!("g{at}.json"), &trigger));
        }
        if dice.below(2) == 0 {
            let schema = json!({ "name": format!("o{at}"), "version": 1,
                "type": "JSON", "data": { "minProperties": dice.below(2) } });
            files.push(file(&format!("o{at}.json"), &schema));
        }
        if dice.below(2) == 0 {
            let webhook = hook(&format!("k{at}"), &format!("w{}", dice.below(2)));
            files.push(file(&format!("k{at}.json"), &webhook));
        }
        if dice.below(2) == 0 {
            let every = format!("{}h", 1 + dice.below(2));
            let monitor = json!({ "monitors": { format!("m{at}"):
                { "heartbeat": { "every": every, "key": format!("key-{at}") } } } });
            files.push(monitors(&format!("m{at}.yaml"), &monitor));
        }
    }
    files
}

/// Every object that users have defined, with what it is.
async fn everything(server: &Server) -> BTreeMap<String, String> {
    let engine = &server.engine;
    let mut all = BTreeMap::new();
    let definitions = engine.definitions();
    for it in definitions.workflows().iter().filter(|it| !it.name.contains(':')) {
        all.insert(format!("workflow {}", it.name), format!("{:?}", it.tasks));
    }
    for it in definitions.tasks() {
        all.insert(format!("task {}", it.name), it.retry_count.to_string());
    }
    for it in engine.event_handlers() {
        all.insert(format!("handler {}", it.name), it.event.clone());
    }
    for it in server.get("/api/scheduler/schedules").await.ok().as_array().expect("a list") {
        let name = it["name"].as_str().expect("a name");
        all.insert(
            format!("schedule {name}"),
            format!("{} {}", it["cronSchedules"], it["cronExpression"]),
        );
    }
    for it in server.get("/api/triggers").await.ok().as_array().expect("a list") {
        all.insert(
            format!("trigger {}", it["name"].as_str().expect("a name")),
            it["path"].to_string(),
        );
    }
    for it in definitions.schemas() {
        all.insert(format!("schema {}", it.name), format!("{} {:?}", it.version, it.data));
    }
    for it in server.get("/api/metadata/webhook").await.ok().as_array().expect("a list") {
        let id = it["id"].as_str().expect("an id");
        all.insert(format!("webhook {id}"), it["workflowsToStart"].to_string());
    }
    for source in engine.monitor_sources().iter().filter(|it| it.starts_with("project:")) {
        all.insert(format!("monitors {source}"), format!("{:?}", engine.monitors_of(source)));
    }
    all
}

/// A server whose store takes so many writes and no more, until it is told otherwise.
async fn breaking(left: &Arc<AtomicUsize>) -> Server {
    let left = left.clone();
    let store = Memory::with_faults(move |call| {
        if matches!(call, Call::Read(_)) {
            return None;
        }
        let took = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1));
        took.err().map(|_| Fault::Before(StoreError::Unavailable("the disk is full".into())))
    });
    Server::with_store(Arc::new(store)).await
}

/// Whatever the store refuses, the next apply makes it whole: in the same process, and after a restart.
#[tokio::test]
async fn what_the_store_broke_off_is_made_whole_by_the_next_apply() {
    let text = |description: &str| {
        let mut flow = line("w0", &["a"]);
        flow["description"] = json!(description);
        [
            file("w.json", &json!([flow, line("v", &["a"])])),
            file(
                "s.json",
                &schedule(
                    "nightly",
                    if description == "one" { "0 0 3 * * *" } else { "0 0 4 * * *" },
                ),
            ),
            monitors("m.yaml", &heartbeat("k", if description == "one" { "noc" } else { "night" })),
        ]
    };
    let (one, other) = (text("one"), text("two"));
    let two = &other[..];
    let wanted = Server::new().await;
    apply(&wanted, "p", &one).await;
    apply(&wanted, "p", two).await;
    let wanted = everything(&wanted).await;
    let request = json!({ "files": two, "yes": true });
    let mut refused = 0;
    for writes in 0..100 {
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let server = breaking(&left).await;
        apply(&server, "p", &one).await;
        left.store(writes, Ordering::SeqCst);
        let applied = server.post("/api/projects/p/apply", &request).await;
        left.store(usize::MAX, Ordering::SeqCst);
        let is_whole = applied.status == StatusCode::OK;
        refused += usize::from(!is_whole);
        let server = if writes % 2 == 0 { server } else { server.restarted().await };
        apply(&server, "p", two).await;
        assert_eq!(plan(&server, "p", two).await["changes"], json!([]), "{writes} writes");
        assert_eq!(server.get("/api/projects/drift").await.ok(), json!([]), "{writes} writes");
        assert_eq!(everything(&server).await, wanted, "{writes} writes");
        if is_whole {
            assert!(refused > 2, "only {refused} writes were refused");
            return;
        }
    }
    panic!("it is never whole");
}

#[tokio::test]
async fn plan_equals_effect_for_random_folders() {
    plan_equals_effect(0..8).await;
}

#[tokio::test]
#[ignore = "takes minutes; NIGHTBELL_TEST_SEEDS says how many"]
async fn plan_equals_effect_for_many_random_folders() {
    plan_equals_effect(seeds(200)).await;
}

async fn plan_equals_effect(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let server = Server::new().await;
        let mut dice = Dice::new(seed);
        let mut before = everything(&server).await;
        for step in 0..15 {
            let files = folder(&mut dice);
            let planned = actions(&plan(&server, "p", &files).await);
            apply(&server, "p", &files).await;
            let after = everything(&server).await;
            let mut effect = BTreeMap::new();
            for name in before.keys().chain(after.keys()) {
                let action = match (before.get(name), after.get(name)) {
                    (None, _) => "create",
                    (_, None) => "remove",
                    (was, is) if was != is => "update",
                    _ => continue,
                };
                effect.insert(name.clone(), action.to_owned());
            }
            assert_eq!(planned, effect, "seed {seed}, step {step}");
            let again = plan(&server, "p", &files).await;
            assert_eq!(again["changes"], json!([]), "seed {seed}, step {step}");
            assert_eq!(server.get("/api/projects/drift").await.ok(), json!([]));
            before = after;
        }
    }
}

#[tokio::test]
async fn a_status_page_is_planned_applied_and_removed_with_its_project() {
    let server = Server::new().await;
    let page = |title: &str| {
        json!({ "name": "shop", "title": title, "public": true, "groups": [
            { "title": "Web", "components": [{ "label": "Orders", "monitor": "web" }] } ] })
    };
    let files = [file("status.json", &page("Shop"))];
    let planned = plan(&server, "p", &files).await;
    assert_eq!(actions(&planned), [("status_page shop".to_owned(), "create".to_owned())].into());
    apply(&server, "p", &files).await;
    assert_eq!(server.get("/api/status-pages/shop").await.ok(), page("Shop"));
    assert_eq!(actions(&plan(&server, "p", &files).await), BTreeMap::new(), "all is so already");
    let planned = plan(&server, "p", &[file("status.json", &page("Our shop"))]).await;
    assert_eq!(actions(&planned)["status_page shop"], "update");
    apply(&server, "p", &[file("w.json", &line("w0", &["a"]))]).await;
    server.get("/api/status-pages/shop").await.failed(404);
}

#[tokio::test]
async fn schemas_and_webhooks_are_planned_applied_and_removed_with_their_project() {
    let server = Server::new().await;
    let schema = |least: u32| json!({ "name": "order", "version": 2, "type": "JSON", "data": { "minProperties": least } });
    let files = |least, starts| {
        [file("order.json", &schema(least)), file("pay.json", &hook("pay", starts))]
    };
    let all = ["schema order", "webhook pay"];
    let each = |action: &str| all.map(|it| (it.to_owned(), action.to_owned())).into();
    assert_eq!(actions(&plan(&server, "p", &files(1, "w0")).await), each("create"));
    apply(&server, "p", &files(1, "w0")).await;
    assert_eq!(server.get("/api/schema/order/2").await.ok()["data"]["minProperties"], 1);
    let shown = server.get("/api/metadata/webhook/pay").await.ok();
    assert_eq!(
        (&shown["secretValue"], &shown["workflowsToStart"]["w0"]),
        (&json!("***"), &json!(1))
    );
    assert_eq!(plan(&server, "p", &files(1, "w0")).await["changes"], json!([]));
    // What the server shows can be a file: its secret stays.
    let mut copied = shown;
    copied["webhookExecutionHistory"].take();
    let copies = [file("order.json", &schema(1)), file("pay.json", &copied)];
    assert_eq!(plan(&server, "p", &copies).await["changes"], json!([]));

    assert_eq!(actions(&plan(&server, "p", &files(2, "w1")).await), each("update"));
    apply(&server, "p", &files(2, "w1")).await;
    assert_eq!(server.get("/api/schema/order/2").await.ok()["data"]["minProperties"], 2);
    let mut changed = hook("pay", "w2");
    changed["secretValue"] = json!("***");
    server.send(Method::PUT, "/api/metadata/webhook/pay", changed.to_string()).await.ok();
    let drift = server.get("/api/projects/drift").await.ok();
    assert_eq!((&drift[0]["kind"], &drift[0]["name"]), (&json!("webhook"), &json!("pay")));

    apply(&server, "p", &[file("w.json", &line("w0", &["a"]))]).await;
    server.get("/api/schema/order/2").await.failed(404);
    server.get("/api/metadata/webhook/pay").await.failed(404);
}

#[tokio::test]
async fn a_webhook_of_a_file_says_its_address_and_not_its_secret() {
    let server = Server::new().await;
    for (member, value, word) in [
        ("id", json!("a/b"), "cannot be the id"),
        ("id", json!(""), "cannot be the id"),
        ("secretValue", json!("hunter2"), "no file should"),
        ("verifier", json!("NONE"), "HEADER_BASED"),
    ] {
        let mut wrong = hook("pay", "w0");
        wrong[member] = value;
        let request = json!({ "files": [file("pay.json", &wrong)] });
        let answer = server.post("/api/projects/p/plan", &request).await;
        answer.failed(400);
        assert!(answer.text.contains(word), "{member}: {}", answer.text);
        assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    }
    assert_eq!(server.get("/api/metadata/webhook").await.ok(), json!([]));
}
