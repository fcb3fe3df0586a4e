//! Pictures of the console for people, of a server with something to see: phone and desktop, light and
//! dark. `cargo xtask screenshots` makes them; nothing compares them.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::live::Live;
use crate::picture;

/// Where they go.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/screenshots");
/// Names of windows with their width and height.
const WINDOWS: [(&str, u32, u32); 2] = [("phone", 360, 720), ("desktop", 1024, 640)];
/// Bytes of one: they lie in the repository.
const BYTES_MAX: usize = 60 * 1024;

/// A shop that is down, jobs that are well and late, and a run that waits for a worker.
async fn seeded() -> (Live, String, String) {
    let live = Live::start(&[]).await;
    let file = json!({
        "receivers": { "noc": { "inbox": null }, "oncall": { "inbox": null } },
        "routes": [ { "steps": [ { "to": "noc" }, { "to": "oncall", "after": "15m", "unless": "acked" } ] } ],
        "monitors": {
            "shop": { "heartbeat": { "every": "10m", "key": "k-shop" }, "labels": { "team": "web" },
                "severity": "critical", "runbook": "https://wiki.example/shop" },
            "etl-rows": { "heartbeat": { "every": "1h", "key": "k-etl" }, "labels": { "team": "data" } },
            "backup": { "heartbeat": { "every": "24h", "key": "k-backup" }, "labels": { "team": "ops" } },
            "mail": { "heartbeat": { "every": "5m", "key": "k-mail" } },
        }
    });
    live.post("/api/monitors", &file).await;
    let calls = [
        ("k-backup", "0", ""),
        ("k-mail", "0", ""),
        ("k-shop", "0", ""),
        ("k-etl", "1", "41,210 rows, 60,000 expected"),
        ("k-shop", "1", "HTTP 503 from shop/health"),
    ];
    for (key, code, text) in calls {
        let (status, said) =
            live.ask(reqwest::Method::POST, &format!("/ping/{key}/{code}"), text).await;
        assert_eq!(status, 200, "{said}");
    }
    let open = live.get("/api/incidents?monitor=etl-rows").await;
    let other = open["results"][0]["id"].as_str().expect("an incident").replace('/', "%2F");
    let deed = json!({ "who": "Ida", "why": "the export was cut" });
    live.post(&format!("/api/incidents/{other}/acknowledge"), &deed).await;
    let open = live.get("/api/incidents?monitor=shop").await;
    let incident = open["results"][0]["id"].as_str().expect("an incident").replace('/', "%2F");
    let note = json!({ "who": "Ola", "text": "deploy-shop ended just before" });
    live.post(&format!("/api/incidents/{incident}/note"), &note).await;
    live.define("nightly-etl", json!([
        { "name": "fetch", "taskReferenceName": "fetch", "type": "NOOP" },
        { "name": "f", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": [
            [{ "name": "parse", "taskReferenceName": "parse", "type": "NOOP" }],
            [{ "name": "l", "taskReferenceName": "pages", "type": "DO_WHILE", "items": "${workflow.input.pages}",
               "loopCondition": "true", "loopOver": [
                 { "name": "page", "taskReferenceName": "page", "type": "NOOP" } ] }] ] },
        { "name": "j", "taskReferenceName": "join", "type": "JOIN", "joinOn": ["parse", "pages"] },
        { "name": "load", "taskReferenceName": "load", "type": "SIMPLE" },
    ]))
    .await;
    let pages: Vec<u32> = (0..120).collect();
    let run = live.begin("nightly-etl", &json!({ "rows": 41210, "pages": pages })).await;
    for (name, cron, catch_up) in [
        ("nightly-etl", "0 0 3 * * *", "latest"),
        ("report", "0 15 */2 * * *", "all"),
        ("hourly-sync", "0 30 * * * *", "none"),
    ] {
        let schedule = json!({ "name": name, "cronExpression": cron, "zoneId": "Europe/Oslo", "catchUp": catch_up,
            "startWorkflowRequest": { "name": "nightly-etl", "version": 1 } });
        live.post("/api/scheduler/schedules", &schedule).await;
    }
    live.define("import", json!([
        { "name": "t", "taskReferenceName": "check", "type": "TERMINATE", "inputParameters": {
            "terminationStatus": "${workflow.input.status}", "terminationReason": "${workflow.input.why}" } },
    ]))
    .await;
    for (status, why) in [
        ("COMPLETED", "41,210 rows"),
        ("FAILED", "fetch: HTTP 503, attempt 5 of 5"),
        ("COMPLETED", "41,198 rows"),
        ("COMPLETED", "41,305 rows"),
    ] {
        live.begin("import", &json!({ "status": status, "why": why })).await;
    }
    until_waiting(&live, &run).await;
    (live, format!("/console/incidents/{incident}"), format!("/console/runs/{run}"))
}

/// Waits until nothing but a worker's task is left to do.
async fn until_waiting(live: &Live, run: &str) {
    loop {
        let why: Value = live.get(&format!("/api/workflow/{run}/why")).await;
        if why["waiting"].as_array().is_some_and(|it| it.iter().any(|it| it["taskType"] == "load"))
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes pictures into docs: `cargo xtask screenshots` runs it"]
async fn pictures_of_the_console() {
    let chromium = Chromium::start().await.expect("chromium and its driver are installed");
    let (live, incident, run) = seeded().await;
    chromium.without_scrollbars().await;
    let folder = PathBuf::from(FOLDER);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let pages = [
        ("now", "/console/".to_owned()),
        ("incident", incident),
        ("monitors", "/console/monitors".to_owned()),
        ("runs", "/console/runs".to_owned()),
        ("run", run),
        ("schedules", "/console/schedules?down=01:00&up=04:30".to_owned()),
    ];
    for (name, path) in pages {
        for (window, width, height) in WINDOWS {
            for theme in ["light", "dark"] {
                chromium.look_at(width, height, theme).await;
                chromium.open(&live.url(&path)).await;
                let picture = picture::small(&chromium.screenshot().await);
                assert!(picture.len() <= BYTES_MAX, "{name}, {window}: {} bytes", picture.len());
                let file = folder.join(format!("{name}-{window}-{theme}.png"));
                std::fs::write(file, picture).expect("a picture can be written");
            }
        }
    }
}
