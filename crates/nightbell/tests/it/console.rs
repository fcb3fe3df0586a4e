//! The web console in a real browser: wide and narrow, light and dark, with scripts and without.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::live::Live;
use crate::sdks::{NODE_MODULES, prepared};

/// How a page is looked at, in this order and without being loaded again: width and theme, and what of
/// axe. All is asked once at each width; in the other theme only colors are others.
const LOOKS: [(u32, &str, &str); 4] =
    [(360, "light", ALL), (360, "dark", COLORS), (1280, "dark", ALL), (1280, "light", COLORS)];
/// WCAG 2.2, levels A and AA.
const ALL: &str =
    "{ type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }";
const COLORS: &str = "{ type: 'rule', values: ['color-contrast'] }";

/// Asks axe for what it finds wrong by the rules in the place of `RULES`.
const AXE: &str = "const done = arguments[arguments.length - 1];
    axe.run(document, { runOnly: RULES, resultTypes: ['violations'] })
      .then((found) => done(found.violations.map((it) =>
        it.id + ': ' + it.nodes.map((node) => node.html.slice(0, 160) + ' ' + (node.any[0] || node.all[0] || {}).message).join(' | '))),
      (error) => done([String(error)]));";

/// A server with something to see; the addresses of its main pages, and those of an incident and a run.
async fn seeded() -> (Live, Vec<String>, String, String) {
    let live = Live::start(&[]).await;
    let file = json!({
        "receivers": { "noc": { "inbox": null } },
        "routes": [ { "to": "noc" } ],
        "monitors": {
            "backup": { "heartbeat": { "every": "1h", "key": "k-1" }, "labels": { "team": "data" } },
            "web": { "http": "http://127.0.0.1:1/health", "every": "24h" }
        }
    });
    live.post("/api/monitors", &file).await;
    let ping = live.http.post(live.url("/ping/k-1/3")).body("disk <b>full</b>").send().await;
    assert!(ping.expect("it answers").status().is_success());
    let incidents = live.get("/api/incidents").await;
    let incident = incidents["results"][0]["id"].as_str().expect("an incident").replace('/', "%2F");
    live.define("etl", json!([
        { "name": "f", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": [
            [{ "name": "parse", "taskReferenceName": "parse", "type": "SIMPLE" }],
            [{ "name": "w", "taskReferenceName": "wait", "type": "WAIT", "inputParameters": { "duration": "1 h" } }] ] },
        { "name": "j", "taskReferenceName": "join", "type": "JOIN", "joinOn": ["parse", "wait"] },
    ]))
    .await;
    let run = live.begin("etl", &json!({ "rows": 41210 })).await;
    let schedule = json!({ "name": "nightly", "cronExpression": "0 0 2 * * *",
        "startWorkflowRequest": { "name": "etl", "version": 1 } });
    live.post("/api/scheduler/schedules", &schedule).await;
    let page = json!({ "name": "shop", "title": "Shop", "public": true, "groups": [
        { "title": "Nightly", "components": [{ "label": "Backup", "monitor": "backup" }] } ] });
    live.post("/api/status-pages", &page).await;
    live.post("/api/status-pages/shop/posts", &json!({ "text": "We look into it." })).await;
    let pages = [
        "/status/shop".to_owned(),
        "/console/".to_owned(),
        "/console/incidents".to_owned(),
        format!("/console/incidents/{incident}"),
        "/console/monitors".to_owned(),
        "/console/monitors/backup?range=90d".to_owned(),
        "/console/monitors/web/edit".to_owned(),
        "/console/runs".to_owned(),
        format!("/console/runs/{run}?view=graph&task=2"),
        format!("/console/runs/{run}?view=timeline"),
        format!("/console/runs/{run}?view=history"),
        format!("/console/runs/{run}?at=1"),
        "/console/schedules".to_owned(),
        "/console/definitions/workflow/etl".to_owned(),
        "/console/silences?match=monitor%3Dbackup&for=1h".to_owned(),
        "/console/system/queues".to_owned(),
        format!("/console/confirm?act=terminate&id={run}"),
    ];
    let incident = format!("/console/incidents/{incident}");
    (live, pages.into(), incident, run)
}

/// Waits until a page says something, without being loaded again.
async fn until(chromium: &Chromium, script: &str) {
    let said = async {
        while chromium.script(script).await != true {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), said)
        .await
        .unwrap_or_else(|_| panic!("{script}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_works_in_a_browser() {
    let Some(modules) = prepared(NODE_MODULES) else { return };
    let Some(chromium) = Chromium::start().await else { return };
    let axe = PathBuf::from(modules).join("axe-core/axe.min.js");
    let axe = std::fs::read_to_string(axe).expect("axe-core is installed with the SDKs");
    let (live, pages, incident, run) = seeded().await;
    let mut wrong = String::new();
    for path in &pages {
        chromium.look(LOOKS[0].0, LOOKS[0].1).await;
        chromium.open(&live.url(path)).await;
        chromium.script(&axe).await;
        for (width, theme, rules) in LOOKS {
            chromium.look(width, theme).await;
            let wide = chromium.script("return document.documentElement.scrollWidth").await;
            if wide.as_u64() > Some(u64::from(width)) {
                let _ = writeln!(wrong, "{path} at {width}: scrolls sideways, {wide} wide");
            }
            let found = chromium.later(&AXE.replace("RULES", rules)).await;
            for finding in found.as_array().into_iter().flatten() {
                let _ = writeln!(wrong, "{path} at {width}, {theme}: {finding}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");

    // Somebody else acts: the open page shows it, and the field in which somebody types stays.
    chromium.look(1280, "light").await;
    chromium.open(&live.url(&format!("/console/runs/{run}"))).await;
    until(&chromium, "return !document.querySelector('#lost:not([hidden])')").await;
    chromium
        .script(
            "window.kept = document.querySelector('h1'); document.getElementById('find').focus()",
        )
        .await;
    let paused = live.http.put(live.url(&format!("/api/workflow/{run}/pause"))).send().await;
    assert!(paused.expect("it answers").status().is_success());
    until(&chromium, "return document.querySelector('#live').innerText.includes('paused')").await;
    let kept = "return document.activeElement.id === 'find' && window.kept === document.querySelector('h1')";
    assert_eq!(chromium.script(kept).await, true, "the page was not loaded again");

    // Nothing was refused by the policy, no script has failed, and nobody else was asked for anything.
    let complaints = chromium.complaints().await;
    assert!(complaints.is_empty(), "{complaints:#?}");
    let ours = live.url("/");
    let foreign: Vec<String> = chromium
        .requested()
        .await
        .into_iter()
        .filter(|url| {
            !url.starts_with(&ours) && !url.starts_with("data:") && !url.starts_with("chrome")
        })
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");

    // Without scripts, on a phone: from the link in a page to one press.
    chromium.look(360, "dark").await;
    chromium.without_scripts().await;
    chromium.open(&live.url(&incident)).await;
    assert!(chromium.source().await.contains("Nobody has acknowledged"));
    chromium.click("form.act button").await;
    let source = chromium.source().await;
    assert!(source.contains("Acknowledged: nobody is reminded"), "{source}");
    let shown: Value = live.get(&incident.replace("/console/", "/api/")).await;
    assert_eq!(shown["state"], "acknowledged");
}
