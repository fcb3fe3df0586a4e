//! The web console in a real browser: wide and narrow, light and dark, with scripts and without.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::chromium::Chromium;
use crate::live::Live;
use crate::sdks::{NODE_MODULES, prepared};

/// How a page is looked at, in this order and without being loaded again: width and theme, and what of
/// axe. All is asked once at each width; in the other theme only colors are others.
const LOOKS: [(u32, &str, &str); 6] = [
    (360, "light", ALL),
    (360, "dark", COLORS),
    (320, "dark", NOTHING),
    // What is left of 1,280 pixels when somebody enlarges the page to 200 %.
    (640, "dark", NOTHING),
    (1280, "dark", ALL),
    (1280, "light", COLORS),
];
/// Only whether all of it fits into the width.
const NOTHING: &str = "";
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

/// A page that is not there.
const MISSING: &str = "nothing-is-here";

/// Everything on the page that is folded, unfolded: axe looks at what can be seen.
const UNFOLD: &str = "document.querySelectorAll('details').forEach((it) => { it.open = true; })";

/// Forms that are refused: the page, what is wrongly filled in, and the button that is pressed. Typed text
/// stays, and what is wrong stands beside it.
const REFUSED: [(&str, &str, &str); 9] = [
    ("incidents", "[name=q]", "main [role=search] button"),
    ("runs", "[name=q]", "main [role=search] button"),
    ("definitions/workflow/etl/edit", "[name=definition]", "[value=check]"),
    ("definitions/workflow/etl/start", "[name=input]", "main form button"),
    ("definitions/workflow/etl/rehearse", "[name=mocks]", "main form button"),
    ("monitors/web/edit", "[name=definition]", "[value=check]"),
    ("monitors/web/try", "[name=file]", "form:has([name=file]) button"),
    ("schedules/nightly", "[name=cron]", "form:has([name=cron]) button"),
    ("silences", "[name=match]", "form:has([name=match]) button"),
];
/// What is filled in there.
const WRONG: &str = "{ half:a wo";

/// Pages below `/console/` that show no one thing in particular.
const OTHERS: [&str; 51] = [
    "handover",
    "login",
    "definitions/workflow/once/2",
    "incidents?state=all",
    "incidents?q=label%3Ateam%3Ddata+silenced%3Ano+receiver%3Anoc",
    "monitors?q=status%3Adown+kind%3Ahttp",
    "monitors/web",
    "monitors/web/try",
    "silences",
    "silences?hid=s",
    "confirm?act=snooze&found=1&q=disk",
    "confirm?act=terminate&found=1&find=name%3Aetl",
    "confirm?act=trigger&id=nightly",
    "confirm?act=backfill&id=nightly&from=2026-01-01T00%3A00%3A00Z&to=2026-01-03T00%3A00%3A00Z",
    "deliveries",
    "receivers",
    "receivers/noc",
    "runs?hours=24",
    "batches",
    "entities",
    "schedules?span=week",
    "schedules?span=month",
    "schedules/nightly",
    "schedules/nightly?cron=0+0+3+*+*+*&zone=Europe/Oslo",
    "entities/north/mail/ida%40shop",
    "definitions",
    "definitions/task",
    "definitions/event",
    "definitions/webhook",
    "definitions/trigger",
    "definitions/schema",
    "definitions/task/load",
    "definitions/event/orders",
    "definitions/trigger/jobs",
    "definitions/trigger/jobs/edit",
    "definitions/schema/order",
    "definitions/workflow/once/1..2",
    "definitions/workflow/etl/start",
    "definitions/workflow/etl/edit",
    "definitions/workflow/etl/rehearse",
    "system/health",
    "system/workers",
    "system/events?handler=orders&event=conductor%3Ashop%3Aorders",
    "system/secrets?name=API_KEY",
    "system/audit",
    "system/access",
    "system/settings",
    "help",
    "zone",
    "name",
    MISSING,
];

/// Somebody's phone: where messages for it are sent, and what comes of the first one.
async fn phone() -> (String, oneshot::Receiver<String>) {
    let (told, message) = oneshot::channel();
    let told = Arc::new(Mutex::new(Some(told)));
    let take = move |body: String| async move {
        if let Some(told) = told.lock().expect("nobody fails here").take() {
            let _ = told.send(body);
        }
        // As ntfy says that it has taken one; who says nothing is taken for broken.
        axum::Json(json!({ "id": "m" }))
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let router = axum::Router::new().fallback(take);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), message)
}

/// A server with something to see; the addresses of its main pages, and those of an incident and a run.
async fn seeded() -> (Live, Vec<String>, String, String) {
    let live = Live::start(&["--public-url", "http://bell.test"]).await;
    let (phone, message) = phone().await;
    let file = json!({
        "receivers": { "noc": { "inbox": null }, "phone": { "ntfy": { "url": phone, "topic": "t", "ack": true } } },
        "routes": [ { "to": ["noc", "phone"] } ],
        "monitors": {
            "backup": { "heartbeat": { "every": "1h", "key": "k-1" }, "labels": { "team": "data" } },
            "restore": { "heartbeat": { "every": "1h", "key": "k-2" } },
            "web": { "http": "http://127.0.0.1:1/health", "every": "24h" }
        }
    });
    live.post("/api/monitors", &file).await;
    let ping = live.http.post(live.url("/ping/k-1/3")).body("disk <b>full</b>").send().await;
    assert!(ping.expect("it answers").status().is_success());
    let message = tokio::time::timeout(Duration::from_secs(30), message).await;
    let message = message.expect("somebody is told").expect("the message comes");
    let answer = message.split("http://bell.test").find(|it| it.starts_with("/a/"));
    let answer = answer.and_then(|it| it.split('"').next()).expect("a link that acknowledges");
    let incidents = live.get("/api/incidents").await;
    let incident = incidents["results"][0]["id"].as_str().expect("an incident").replace('/', "%2F");
    let ping = live.http.post(live.url("/ping/k-2/3")).body("no space").send().await;
    assert!(ping.expect("it answers").status().is_success());
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
    let handler = json!({ "name": "orders", "event": "conductor:shop:orders", "active": true,
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": "etl" } }] });
    live.post("/api/event", &handler).await;
    let task = json!([{ "name": "load", "retryCount": 2, "ownerEmail": "a@b.c" }]);
    live.post("/api/metadata/taskdefs", &task).await;
    let hook = json!({ "name": "hook", "verifier": "HEADER_BASED", "sourcePlatform": "Custom",
        "headers": { "source": "portal" }, "workflowsToStart": { "etl": 1 } });
    let hook = live.post("/api/metadata/webhook", &hook).await["id"].clone();
    let hook = hook.as_str().expect("an id").to_owned();
    let trigger =
        json!({ "name": "jobs", "method": "POST", "path": "/jobs", "start": { "name": "etl" } });
    live.post("/api/triggers", &trigger).await;
    let schema =
        json!({ "name": "order", "version": 1, "type": "JSON", "data": { "type": "object" } });
    live.post("/api/schema", &schema).await;
    let secret = live.http.put(live.url("/api/secrets/API_KEY")).json("of the shop").send().await;
    assert!(secret.expect("it answers").status().is_success());
    let silence = json!({ "name": "s", "match": { "monitor": "web" }, "for": "2h" });
    live.post("/api/silences", &silence).await;
    let signal = "/runtime/webhooks/durabletask/entities/mail/ida%40shop?op=send&taskHub=north";
    let (status, said) = live.ask(reqwest::Method::POST, signal, "{}").await;
    assert_eq!(status, 202, "{said}");
    live.define("once", json!([{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }])).await;
    live.begin("once", &json!({})).await;
    let once = json!({ "act": "restart", "find": "name:once" });
    let batch = live.post("/api/batches/preview", &once).await["id"].clone();
    live.post("/api/batches", &json!({ "preview": batch })).await;
    let batch = batch.as_str().expect("an id").to_owned();
    live.post(
        "/api/metadata/workflow",
        &json!({ "name": "once", "version": 2, "tasks": [
        { "name": "n", "taskReferenceName": "other", "type": "NOOP" } ] }),
    )
    .await;
    let former = live.begin("etl", &json!({ "rows": 7 })).await;
    let page = json!({ "name": "shop", "title": "Shop", "public": true, "groups": [
        { "title": "Nightly", "components": [{ "label": "Backup", "monitor": "backup" }] } ] });
    live.post("/api/status-pages", &page).await;
    live.post("/api/status-pages/shop/posts", &json!({ "text": "We look into it." })).await;
    let mut pages: Vec<String> = OTHERS.map(|page| format!("/console/{page}")).into();
    for view in ["table", "tasks", "data", "logs"] {
        pages.push(format!("/console/runs/{run}?view={view}"));
    }
    pages.push(format!("/console/runs/{run}/with/{former}"));
    pages.extend([
        "/status/shop".to_owned(),
        answer.to_owned(),
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
        format!("/console/definitions/webhook/{hook}"),
        "/console/schedules?down=01%3A00&up=03%3A30".to_owned(),
        format!("/console/batches/{batch}"),
        "/console/definitions/workflow/etl".to_owned(),
        "/console/silences?match=monitor%3Dbackup&for=1h".to_owned(),
        "/console/system/queues".to_owned(),
        format!("/console/confirm?act=terminate&id={run}"),
    ]);
    let incident = format!("/console/incidents/{incident}");
    (live, pages, incident, run)
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

/// Waits until an expression is true on a page whose scripts have run: from then on keys mean
/// something.
async fn until_loaded(chromium: &Chromium, expression: &str) {
    until(chromium, &format!("return document.readyState === 'complete' && {expression}")).await;
}

/// What axe finds wrong with the page that is open, folded parts included, and whether it fits into the width.
async fn flaws(chromium: &Chromium, axe: &str, path: &str) -> String {
    let mut wrong = String::new();
    chromium.script(axe).await;
    chromium.script(UNFOLD).await;
    for (width, theme, rules) in LOOKS {
        chromium.look(width, theme).await;
        let wide = chromium.script("return document.documentElement.scrollWidth").await;
        if wide.as_u64() > Some(u64::from(width)) {
            let _ = writeln!(wrong, "{path} at {width}: scrolls sideways, {wide} wide");
        }
        if rules == NOTHING {
            continue;
        }
        let found = chromium.later(&AXE.replace("RULES", rules)).await;
        for finding in found.as_array().into_iter().flatten() {
            let _ = writeln!(wrong, "{path} at {width}, {theme}: {finding}");
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_works_in_a_browser() {
    let Some(modules) = prepared(NODE_MODULES) else { return };
    let Some(chromium) = Chromium::start().await else { return };
    let axe = PathBuf::from(modules).join("axe-core/axe.min.js");
    let axe = std::fs::read_to_string(axe).expect("axe-core is installed with the SDKs");
    let (mut live, pages, incident, run) = seeded().await;
    let mut wrong = String::new();
    for path in &pages {
        chromium.look(LOOKS[0].0, LOOKS[0].1).await;
        chromium.open(&live.url(path)).await;
        wrong += &flaws(&chromium, &axe, path).await;
    }
    for (path, field, button) in REFUSED {
        chromium.look(LOOKS[0].0, LOOKS[0].1).await;
        chromium.open(&live.url(&format!("/console/{path}"))).await;
        let fill = format!(
            "{UNFOLD}; window.before = true; document.querySelector('main {field}').value = {WRONG:?};
             document.querySelector('{button}').click()"
        );
        chromium.script(&fill).await;
        until_loaded(&chromium, "!window.before").await;
        let shown = format!("return document.querySelector('main {field}')?.value");
        assert_eq!(chromium.script(&shown).await, WRONG, "{path}: what was typed stays");
        let refusal = chromium.script("return !!document.querySelector('main .bad')").await;
        assert_eq!(refusal, true, "{path}: it is said what is wrong");
        wrong += &flaws(&chromium, &axe, path).await;
    }
    assert!(wrong.is_empty(), "{wrong}");
    // The browser complains of what was refused, too.
    let mut complaints = chromium.complaints().await;
    complaints.retain(|it| !it.contains(MISSING) && !it.contains("400 (Bad Request)"));
    assert!(complaints.is_empty(), "{complaints:#?}");

    somebody_else_acts(&chromium, &live, &run).await;
    below_the_top_nothing_moves(&chromium, &live).await;
    by_keys_alone(&chromium, &live).await;
    many_by_keys_alone(&chromium, &live).await;
    pressed_twice(&chromium, &live, &incident).await;
    nine_tabs(&chromium, &live, &run).await;

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

    the_server_goes_and_comes_back(&chromium, &mut live, &run).await;

    // Without scripts, on a phone: from the link in a page to one press.
    chromium.look(360, "dark").await;
    chromium.without_scripts().await;
    for path in &pages {
        chromium.open(&live.url(path)).await;
        let source = chromium.source().await;
        assert!(source.contains("<h1>") && source.contains("</main>"), "{path}: {source}");
    }
    chromium.open(&live.url(&incident)).await;
    assert!(chromium.source().await.contains("Nobody has acknowledged"));
    chromium.click("form.act button").await;
    // The driver may answer before the page that answers the press is there.
    let done = async {
        while !chromium.source().await.contains("Acknowledged: nobody is reminded") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(30), done).await.is_ok();
    assert!(seen, "{}", chromium.source().await);
    let shown: Value = live.get(&incident.replace("/console/", "/api/")).await;
    assert_eq!(shown["state"], "acknowledged");
}

/// Whether the page has its stream: nothing is said of a lost one.
const CONNECTED: &str = "return !document.querySelector('#lost:not([hidden])')";

/// Pauses or resumes a run, as somebody else would.
async fn steer(live: &Live, run: &str, what: &str) {
    let done = live.http.put(live.url(&format!("/api/workflow/{run}/{what}"))).send().await;
    assert!(done.expect("it answers").status().is_success());
}

/// Somebody else acts: the open page shows it, and what somebody types, reads and has opened stays.
async fn somebody_else_acts(chromium: &Chromium, live: &Live, run: &str) {
    chromium.look(360, "light").await;
    chromium.open(&live.url(&format!("/console/runs/{run}"))).await;
    until(chromium, CONNECTED).await;
    let at = "window.kept = document.querySelector('h1'); document.getElementById('find').focus();
        document.activeElement.value = 'half a wo';
        document.querySelectorAll('details').forEach((it) => { it.open = it.kept = true; });
        window.scrollTo(0, 200); return window.scrollY";
    let scrolled = chromium.script(at).await;
    assert_eq!(scrolled, 200, "the page is longer than the window");
    steer(live, run, "pause").await;
    until(chromium, "return document.querySelector('#live').innerText.includes('paused')").await;
    let kept = "return [document.activeElement.id, document.activeElement.value,
        window.kept === document.querySelector('h1'),
        window.scrollY, [...document.querySelectorAll('details')].filter((it) => it.kept).every((it) => it.open)]";
    assert_eq!(
        chromium.script(kept).await,
        json!(["find", "half a wo", true, 200, true]),
        "not loaded again"
    );
    steer(live, run, "resume").await;
}

/// Who has scrolled into a list keeps its rows; what is newer waits behind a word.
async fn below_the_top_nothing_moves(chromium: &Chromium, live: &Live) {
    chromium.look(360, "light").await;
    chromium.open(&live.url("/console/runs")).await;
    until(chromium, CONNECTED).await;
    let first = "return document.querySelector('#live tbody a.id').href";
    let before = chromium.script(first).await;
    chromium.script("window.scrollTo(0, 300)").await;
    live.begin("etl", &json!({})).await;
    until(chromium, "return !!document.querySelector('.newer')").await;
    assert_eq!(chromium.script(first).await, before);
    chromium.script("window.scrollTo(0, 0)").await;
    live.begin("etl", &json!({})).await;
    until(chromium, "return !document.querySelector('.newer')").await;
    assert_ne!(chromium.script(first).await, before);
}

/// From the list of incidents to an acknowledgement without a pointer.
async fn by_keys_alone(chromium: &Chromium, live: &Live) {
    chromium.look(1280, "light").await;
    chromium.open(&live.url("/console/")).await;
    chromium.press("gi").await;
    until_loaded(chromium, "location.pathname === '/console/incidents'").await;
    chromium.press("j").await;
    let link = "return document.activeElement.innerText === 'restore'";
    assert_eq!(chromium.script(link).await, true, "the newest incident has the focus");
    chromium.press("\u{e007}").await;
    until_loaded(chromium, "document.querySelector('h1').innerText.startsWith('restore')").await;
    chromium.press("a").await;
    let button = "return document.activeElement.innerText";
    assert_eq!(chromium.script(button).await, "Acknowledge");
    chromium.press("\u{e007}").await;
    let said = "document.body.innerText.includes('Acknowledged: nobody is reminded')";
    until_loaded(chromium, said).await;
    other_keys(chromium, live).await;
    // Letters that somebody types are letters.
    chromium.press("/gr?").await;
    let typed = "return [location.pathname.startsWith('/console/incidents/'),
        document.activeElement.value]";
    assert_eq!(chromium.script(typed).await, json!([true, "gr?"]));
}

/// Back to the row before, to Escalate, to what is folded; times in the other zone; and none of it when switched off.
async fn other_keys(chromium: &Chromium, live: &Live) {
    let back = chromium.script("return location.href").await;
    let back = back.as_str().expect("an address");
    chromium.press("e").await;
    let focused = "return document.activeElement.innerText";
    assert!(chromium.script(focused).await.as_str().is_some_and(|it| it.starts_with("Escalate")));
    chromium.open(&live.url("/console/incidents")).await;
    chromium.press("jjk").await;
    assert_eq!(chromium.script(focused).await, "restore");
    chromium.open(&live.url("/console/zone")).await;
    let choose = "const it = document.querySelector('input[name=zone]'); it.value = 'Europe/Oslo';
        it.form.querySelector('button').click()";
    chromium.script(choose).await;
    let zone = |zone: &str| {
        format!("document.querySelector('footer').innerText.includes('Times in {zone}')")
    };
    until_loaded(chromium, &zone("Europe/Oslo")).await;
    for other in ["UTC", "Europe/Oslo", "UTC"] {
        chromium.press("z").await;
        until_loaded(chromium, &zone(other)).await;
    }
    chromium.open(&live.url("/console/help")).await;
    chromium.script("document.querySelector('[data-keys]').click()").await;
    chromium.script("document.activeElement.blur()").await;
    chromium.press("gr").await;
    assert_eq!(chromium.script("return location.pathname").await, "/console/help");
    chromium.script("document.querySelector('[data-keys]').click()").await;
    chromium.open(back).await;
}

/// From the list of runs to the preview of an act on some of them without a pointer, and back.
async fn many_by_keys_alone(chromium: &Chromium, live: &Live) {
    chromium.open(&live.url("/console/")).await;
    chromium.press("gr").await;
    until_loaded(chromium, "location.pathname === '/console/runs'").await;
    chromium.press("jx").await;
    let ticked = "return document.querySelectorAll('#live tbody input:checked').length";
    assert_eq!(chromium.script(ticked).await, 1, "the row that has the focus is selected");
    let mut focused = Value::Null;
    for _ in 0..60 {
        chromium.press("\u{e004}").await;
        focused = chromium.script("return document.activeElement.innerText").await;
        if focused.as_str().is_some_and(|it| it.starts_with("Terminate")) {
            break;
        }
    }
    assert!(focused.as_str().is_some_and(|it| it.starts_with("Terminate")), "{focused}");
    chromium.press("\u{e007}").await;
    until_loaded(chromium, "location.pathname === '/console/confirm'").await;
    // The first act of the page is the one that was asked for; the next leaves it.
    chromium.press(".").await;
    chromium.press("\u{e004}").await;
    assert_eq!(chromium.script("return document.activeElement.innerText").await, "Leave it");
    chromium.press("\u{e007}").await;
    until_loaded(chromium, "location.pathname === '/console/runs'").await;
}

/// Two presses are one act, and what people write is text.
async fn pressed_twice(chromium: &Chromium, live: &Live, incident: &str) {
    chromium.open(&live.url(incident)).await;
    let markup = "return [document.querySelector('#live b') === null,
        document.querySelector('#live').innerText.includes('disk <b>full</b>')]";
    assert_eq!(chromium.script(markup).await, json!([true, true]));
    // `s` opens what is folded around the button.
    chromium.press("s").await;
    let snooze = "const it = document.activeElement; return [it.innerText, it.offsetHeight > 0]";
    assert_eq!(chromium.script(snooze).await, json!(["Snooze", true]));
    let twice = "const note = document.querySelector('textarea[name=text]');
        note.value = 'seen'; const press = note.form.querySelector('button');
        press.click(); press.click()";
    chromium.script(twice).await;
    until_loaded(chromium, "document.body.innerText.includes('The note is in the history')").await;
    let shown: Value = live.get(&incident.replace("/console/", "/api/")).await;
    let notes = shown["history"].as_array().into_iter().flatten();
    assert_eq!(notes.filter(|it| it["what"] == "note").count(), 1, "{shown}");
}

/// More tabs than connections that a browser holds to one server: the last one loads and acts.
async fn nine_tabs(chromium: &Chromium, live: &Live, run: &str) {
    for _ in 0..8 {
        chromium.tab().await;
        chromium.open(&live.url(&format!("/console/runs/{run}"))).await;
        until(chromium, CONNECTED).await;
    }
    let health = chromium
        .later(
            "const done = arguments[arguments.length - 1];
            fetch('/health').then((it) => done(it.status), (error) => done(String(error)))",
        )
        .await;
    assert_eq!(health, 200, "a connection is left for the ninth tab");
}

/// The server is gone: the page says how old it is. It is back: the page shows what happened since.
async fn the_server_goes_and_comes_back(chromium: &Chromium, live: &mut Live, run: &str) {
    chromium.open(&live.url(&format!("/console/runs/{run}"))).await;
    until(chromium, CONNECTED).await;
    chromium.script("window.kept = true").await;
    live.stop().await;
    let lost = "return document.querySelector('#lost:not([hidden])')?.innerText.includes('s old')";
    until(chromium, lost).await;
    live.launch().await;
    steer(live, run, "pause").await;
    until(chromium, "return document.querySelector('#live').innerText.includes('paused')").await;
    until(chromium, CONNECTED).await;
    assert_eq!(chromium.script("return window.kept").await, true, "the page was not loaded again");
    // The browser tells of requests that nobody answered.
    chromium.complaints().await;
}
