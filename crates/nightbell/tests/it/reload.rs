//! `--load`: definitions from files, applied whole or not at all, while the server runs.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::live::Live;
use crate::stand_in::Nightbell;

/// How long a change may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn flow(name: &str, description: &str) -> Value {
    json!({ "name": name, "version": 1, "schemaVersion": 2, "description": description,
            "tasks": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }] })
}

fn write(folder: &Path, name: &str, text: &str) {
    // As careful editors do: a new file that takes the place of the old one.
    let new = folder.join(format!(".{name}.new"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, folder.join(name)).unwrap();
}

async fn until_described(live: &Live, name: &str, wanted: &str) {
    let begun = Instant::now();
    loop {
        let all = live.get("/api/metadata/workflow").await;
        let found = all.as_array().unwrap().iter().find(|flow| flow["name"] == name);
        if found.is_some_and(|flow| flow["description"] == wanted) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{name}: {found:?}; log: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_logged(live: &Live, words: &[&str]) {
    let begun = Instant::now();
    while !live.log_text().lines().any(|line| words.iter().all(|word| line.contains(word))) {
        assert!(begun.elapsed() < PATIENCE, "{words:?} is not in: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What an administrator does for a server from afar: files that are not watched are read again, the store is
/// backed up, and what it runs with is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_reloaded_and_backed_up_by_the_api_and_tells_its_settings() {
    let (folder, backups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(folder.path(), "a.json", &flow("a", "one").to_string());
    let (load, to) = (folder.path().to_str().unwrap(), backups.path().join("kept"));
    let to = to.to_str().unwrap();
    let mut live = Live::start(&["--load", load, "--backup-dir", to]).await;
    let settings = live.get("/api/admin/settings").await;
    let of = |key: &str| {
        let found = settings.as_array().unwrap().iter().find(|it| it["key"] == key);
        found.map(|it| (it["value"].as_str().unwrap(), it["origin"].as_str().unwrap()))
    };
    assert_eq!(of("backup_dir"), Some((to, "--backup-dir")));
    assert_eq!(of("console"), Some(("auto", "default")));
    // Read again when the answer comes, whoever else watches the folder.
    write(folder.path(), "a.json", &flow("a", "two").to_string());
    assert_eq!(live.ask(reqwest::Method::POST, "/api/admin/reload", "").await.0, 200);
    let all = live.get("/api/metadata/workflow").await;
    assert_eq!(all[0]["description"], "two", "{all}");
    assert!(live.get("/api/health").await["backup"]["last"].is_null());
    // One that was cut off is no backup, and goes with the next.
    let cut_off = Path::new(to).join("nightbell-20260101T000000Z.db.partial");
    std::fs::create_dir(to).unwrap();
    std::fs::write(&cut_off, "half").unwrap();
    assert_eq!(live.ask(reqwest::Method::POST, "/api/admin/backup", "").await.0, 202);
    let begun = Instant::now();
    let kept = loop {
        let told = live.get("/api/admin/backup").await;
        assert_eq!(told["failure"], Value::Null);
        if told["runningSince"].is_null() {
            break told["last"].clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{told}; log: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(!cut_off.exists());
    // It is a store: another server opens it, and has what this one had.
    let file = format!("sqlite:{to}/{}", kept["file"].as_str().unwrap());
    live.stop().await;
    let key = format!("{}.key", live.store().display());
    let other = Live::start(&["--store", &file, "--secret-key-file", &key]).await;
    until_described(&other, "a", "two").await;
    assert!(
        other.get("/api/admin/backup").await["whyNot"].as_str().unwrap().contains("backup_dir")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_is_applied_and_what_is_broken_is_not() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.json", &flow("a", "one").to_string());
    write(folder.path(), "input-a.json", "{\"this is\": \"an input\"}");
    write(folder.path(), "notes.txt", "not a definition");
    let live = Live::start(&["--load", folder.path().to_str().unwrap()]).await;
    until_described(&live, "a", "one").await;

    write(folder.path(), "a.json", &flow("a", "two").to_string());
    until_described(&live, "a", "two").await;
    // The ledger names the file, each time that it was applied, after the start.
    let begun = Instant::now();
    loop {
        let lines = live.get("/api/audit?after=0").await;
        let lines = lines.as_array().unwrap();
        let said = lines.iter().map(|it| it["line"].as_str().unwrap());
        let said: Vec<Value> = said.map(|it| serde_json::from_str(it).unwrap()).collect();
        let loads: Vec<_> = said.iter().filter(|it| it["act"] == "load").collect();
        let named = loads.iter().all(|it| it["object"].as_str().unwrap().contains("a.json"));
        if loads.len() == 2 {
            assert!(said[0]["act"] == "start" && said[0]["who"] == "server" && named, "{said:?}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{said:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    write(folder.path(), "a.json", "{\"name\": \"a\",\n \"tasks\": [}");
    until_logged(&live, &["ERROR", "a.json", "line 2, column 12"]).await;
    // One mistake among two: neither is applied.
    let mut broken = flow("b", "broken");
    broken["tasks"] = json!([{ "name": "s", "taskReferenceName": "s", "type": "SWITCH" }]);
    write(folder.path(), "b.json", &json!([flow("good", "beside"), broken]).to_string());
    until_logged(&live, &["ERROR", "b.json", "/tasks/0/expression"]).await;
    until_described(&live, "a", "two").await;
    let all = live.get("/api/metadata/workflow").await;
    // The server's own definitions have a colon in their names.
    let is_users = |it: &&Value| !it["name"].as_str().unwrap().contains(':');
    assert_eq!(all.as_array().unwrap().iter().filter(is_users).count(), 1, "{all}");

    write(folder.path(), "b.json", &flow("b", "mended").to_string());
    until_described(&live, "b", "mended").await;
    // Another file that says the same of itself is not applied, whichever comes first.
    write(folder.path(), "copy.json", &flow("b", "copied").to_string());
    until_logged(&live, &["ERROR", "error: /name: defines workflow b v1", "b.json"]).await;
    until_described(&live, "b", "mended").await;
    std::fs::remove_file(folder.path().join("copy.json")).unwrap();
    let below = folder.path().join("below");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(below.join("c.json"), flow("c", "new").to_string()).unwrap();
    until_described(&live, "c", "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_file_defined_goes_with_it_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        write(folder.path(), &format!("{name}.json"), &flow(name, "").to_string());
    }
    let path = folder.path().to_str().unwrap();
    let mut live = Live::start(&["--load", path, "--load-prune", "on"]).await;
    live.define("by-hand", flow("x", "")["tasks"].clone()).await;
    let remove = |name: &str| std::fs::remove_file(folder.path().join(name)).unwrap();
    // Nothing goes while a file has a mistake.
    write(folder.path(), "a.json", "{");
    until_logged(&live, &["ERROR", "a.json"]).await;
    remove("b.json");
    until_logged(&live, &["WARN", "b.json", "the file is gone"]).await;
    until_described(&live, "b", "").await;
    // What is changed in another way is brought back with the next reading, whatever it is about.
    let otherwise = json!([flow("c", "by hand")]).to_string();
    let put = live.ask(reqwest::Method::PUT, "/api/metadata/workflow", otherwise).await;
    assert_eq!(put.0, 200, "{put:?}");
    until_described(&live, "c", "by hand").await;
    write(folder.path(), "a.json", &flow("a", "mended").to_string());
    until_logged(&live, &["removed", "workflow b v1"]).await;
    until_described(&live, "c", "").await;
    // Also what goes while nobody looks.
    live.stop().await;
    remove("c.json");
    live.launch().await;
    let all = live.get("/api/metadata/workflow").await;
    let names = all.as_array().unwrap().iter().map(|flow| flow["name"].as_str().unwrap());
    let names: Vec<&str> = names.filter(|name| !name.contains(':')).collect();
    assert_eq!(names, ["a", "by-hand"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_are_judged_by_the_task_definitions_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let call = json!({ "name": "z_call", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "fetch", "taskReferenceName": "fetch", "type": "HTTP" }] });
    let fetch = json!([{ "name": "fetch", "inputTemplate": { "uri": "http://127.0.0.1:1/", "method": "GET" } }]);
    std::fs::write(folder.path().join("a.json"), call.to_string()).unwrap();
    std::fs::write(folder.path().join("taskdefs.json"), fetch.to_string()).unwrap();
    let live = Live::start(&["--load", folder.path().to_str().unwrap()]).await;
    let all = live.get("/api/metadata/workflow").await;
    assert_eq!(all[0]["name"], "z_call");
}

#[test]
fn a_broken_folder_is_refused_with_all_mistakes_and_nothing_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("nightbell.db").display());
    let definitions = folder.path().join("definitions");
    std::fs::create_dir(&definitions).unwrap();
    std::fs::write(definitions.join("good.json"), flow("good", "").to_string()).unwrap();
    std::fs::write(definitions.join("bad.json"), "{\"name\": \"bad\",\n \"tasks\": [}").unwrap();
    let mut twice = flow("twice", "");
    let task = twice["tasks"][0].clone();
    twice["tasks"] = json!([task, task]);
    std::fs::write(definitions.join("twice.json"), twice.to_string()).unwrap();
    let serve = |load: &Path| {
        let load = load.to_str().unwrap().to_owned();
        Nightbell::new(&["serve", "--listen", "127.0.0.1:0", "--store", &store, "--load", &load])
            .run()
    };
    let outcome = serve(&definitions).exits(1);
    for words in [["bad.json", "line 2, column 12"], ["twice.json", "/tasks/1/taskReferenceName"]] {
        let told = outcome.stderr.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(told, "{words:?} is not in {outcome:?}");
    }
    let outcome = serve(&folder.path().join("nowhere")).exits(1);
    assert!(outcome.stderr.contains("nowhere"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_files_define_is_refused_with_both_places() {
    let folder = tempfile::tempdir().unwrap();
    let definitions = folder.path().join("definitions");
    std::fs::create_dir(&definitions).unwrap();
    let put = |name: &str, value: &Value| {
        std::fs::write(definitions.join(name), value.to_string()).unwrap();
    };
    let mut second = flow("flow", "other");
    second["version"] = 2.into();
    let task = json!([{ "name": "fetch" }]);
    put("a.json", &flow("flow", "one"));
    put("b.json", &second);
    put("a.taskdefs.json", &task);
    let load = definitions.to_str().unwrap().to_owned();
    // Versions live side by side, and a file that is named twice is one file.
    let file = definitions.join("a.json").to_str().unwrap().to_owned();
    let live = Live::start(&["--load", &load, "--load", &file]).await;
    let all = live.get("/api/metadata/workflow").await;
    assert_eq!(all.as_array().unwrap().len(), 2, "{all}");
    drop(live);

    put("c.json", &flow("flow", "two"));
    put("b.taskdefs.json", &task);
    put("d.json", &json!([flow("d", "one"), flow("d", "two")]));
    let store = format!("sqlite:{}", folder.path().join("nightbell.db").display());
    let serve = ["serve", "--listen", "127.0.0.1:0", "--store", &store, "--load", &load];
    let outcome = tokio::task::spawn_blocking({
        let serve = serve.map(str::to_owned);
        move || Nightbell::new(&serve.each_ref().map(String::as_str)).run()
    });
    let outcome = outcome.await.unwrap().exits(1);
    for words in [
        ["c.json:1:", "error: /name: defines workflow flow v1, as ", "a.json does"],
        ["b.taskdefs.json:1:", "error: /0/name: defines task fetch, as ", "a.taskdefs.json does"],
        ["d.json:1:", "error: /1/name: defines workflow d v1", " twice"],
    ] {
        let told = outcome.stderr.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(told, "{words:?} is not in {outcome:?}");
    }
}

/// What is refused while the server runs is an incident, and `/health` lists it, until it is mended.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_file_is_an_incident_and_is_listed_until_it_is_good() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.json", &flow("a", "one").to_string());
    write(folder.path(), "other.yaml", "tasks: []\n");
    let live = Live::start(&["--load", folder.path().to_str().unwrap()]).await;
    until_logged(&live, &["WARN", "passed over", "other.yaml"]).await;
    let health = live.get("/health").await;
    assert_eq!((&health["healthy"], &health["rejectedFiles"]), (&json!(true), &json!({})));

    write(folder.path(), "a.json", "{\"name\": \"a\",\n \"tasks\": [}");
    let incidents = until_incidents(&live, 1).await;
    let key = incidents[0]["key"].as_str().unwrap_or_default();
    assert!(key.starts_with("definitions:") && key.ends_with("a.json"), "{incidents}");
    let health = live.get("/health").await;
    assert_eq!((&health["healthy"], &health["status"]), (&json!(true), &json!("degraded")));
    let (file, reason) = health["rejectedFiles"].as_object().unwrap().iter().next().unwrap();
    assert!(file.ends_with("a.json") && reason.as_str().unwrap().contains("line 2"), "{health}");

    write(folder.path(), "a.json", &flow("a", "two").to_string());
    until_incidents(&live, 0).await;
    let health = live.get("/health").await;
    assert_eq!((&health["healthy"], &health["rejectedFiles"]), (&json!(true), &json!({})));

    std::fs::remove_file(folder.path().join("a.json")).unwrap();
    until_logged(&live, &["WARN", "the file is gone", "stays in force", "a.json"]).await;
}

/// A slip in the only section of a file is no reason to take the file for none of ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_monitors_file_that_does_not_look_like_one_any_more_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let monitors = "monitors:\n  a: { heartbeat: { every: 1h } }\n";
    write(folder.path(), "m.yaml", monitors);
    let live =
        Live::start(&["--load", folder.path().to_str().unwrap(), "--load-prune", "on"]).await;
    for wrong in [monitors.replace("monitors", "monitrs"), String::new()] {
        write(folder.path(), "m.yaml", &wrong);
        until_incidents(&live, 1).await;
        let health = live.get("/health").await;
        let refused = health["rejectedFiles"].as_object().unwrap();
        assert!(refused.keys().any(|file| file.ends_with("m.yaml")), "{health}");
        assert_eq!(live.get("/api/monitors/a").await["kind"], "heartbeat");
        write(folder.path(), "m.yaml", monitors);
        until_incidents(&live, 0).await;
    }
}

/// SIGHUP reads what no event tells of: the file that a link leads to, as a mounted volume has it.
#[tokio::test(flavor = "multi_thread")]
async fn what_sighup_refuses_stays_refused_when_another_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (elsewhere, linked, watched) =
        (folder.path().join("elsewhere"), folder.path().join("linked"), folder.path().join("w"));
    for folder in [&elsewhere, &linked, &watched] {
        std::fs::create_dir(folder).unwrap();
    }
    write(&elsewhere, "a.json", &flow("a", "one").to_string());
    let link = linked.join("a.json");
    std::os::unix::fs::symlink(elsewhere.join("a.json"), &link).unwrap();
    write(&watched, "b.json", &flow("b", "one").to_string());
    let (named, all) = (link.to_str().unwrap(), watched.to_str().unwrap());
    let live = Live::start(&["--load", named, "--load", all]).await;
    write(&elsewhere, "a.json", "{\"name\": \"a\",\n \"tasks\": [}");
    live.hang_up();
    until_incidents(&live, 1).await;
    // One after the other: when the second is applied, all is told that came of the first.
    for description in ["two", "three"] {
        write(&watched, "b.json", &flow("b", description).to_string());
        until_described(&live, "b", description).await;
    }
    until_incidents(&live, 1).await;
    let health = live.get("/health").await;
    let refused = health["rejectedFiles"].as_object().unwrap();
    assert!(refused.keys().any(|file| file.ends_with("a.json")), "{health}");
    write(&elsewhere, "a.json", &flow("a", "two").to_string());
    live.hang_up();
    until_incidents(&live, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_a_folder_that_links_to_itself_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("definitions");
    let hidden = root.join(".github");
    std::fs::create_dir_all(&hidden).unwrap();
    write(&root, "a.json", &flow("a", "one").to_string());
    write(&root, "other.yaml", "tasks: []\n");
    std::fs::write(hidden.join("ci.yaml"), "jobs: {}\n").unwrap();
    for name in ["again", "once-more"] {
        std::os::unix::fs::symlink(&root, root.join(name)).unwrap();
    }
    let live = Live::start(&["--load", root.to_str().unwrap()]).await;
    until_logged(&live, &["WARN", "passed over", "other.yaml"]).await;
    assert_eq!(live.log_text().matches("passed over").count(), 1, "{}", live.log_text());
}

async fn until_incidents(live: &Live, count: usize) -> Value {
    let begun = Instant::now();
    loop {
        let page = live.get("/api/incidents?state=open").await;
        if page["results"].as_array().is_some_and(|found| found.len() == count) {
            return page["results"].clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{page}; log: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
