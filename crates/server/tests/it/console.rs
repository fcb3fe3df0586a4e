//! The web console, page by page: every address answers with a whole page, text is never markup, a GET
//! never acts, and what cannot be taken back needs a preview.

use std::io::Read as _;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use console::{ASSETS, POLICY};
use engine::AuditSearch;
use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use kernel::access::{Mode, Role};
use serde_json::json;
use server::ConsoleServing;
use tower::ServiceExt;

use crate::support::{Answer, Server, send_through};

/// A browser without a picture, at one server.
pub(crate) struct Browser {
    pub(crate) server: Server,
    router: Router,
}

impl Browser {
    pub(crate) fn at(server: Server) -> Self {
        let router = server::router(server.api());
        Self { server, router }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        send_through(self.router.clone(), method, path, headers, body.to_owned()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    /// Sends a form as pages do: with their token.
    pub(crate) async fn form(&self, path: &str, headers: &[(&str, &str)], form: &str) -> Answer {
        let page = self.send(Method::GET, "/console/zone", headers, "").await;
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let form = format!("{form}&csrf={}", hidden(&page.text, "csrf"));
        self.send(Method::POST, path, &[&kind[..], headers].concat(), &form).await
    }

    /// Sends the form of an act.
    pub(crate) async fn act(&self, form: &str) -> Answer {
        self.form("/console/act", &[], form).await
    }

    /// A page as it is sent to a browser, and how many bytes that are.
    pub(crate) async fn packed(&self, path: &str) -> (Answer, usize) {
        let request = Request::get(path).header("accept-encoding", "gzip").body(Body::empty());
        let response = self.router.clone().oneshot(request.expect("a request")).await;
        let (parts, body) = response.expect("handlers do not fail").into_parts();
        let packed = body.collect().await.expect("a body in memory").to_bytes();
        assert_eq!(parts.headers["content-encoding"], "gzip", "{path} is compressed");
        let mut text = String::new();
        GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("it is compressed UTF-8");
        let content_type = parts.headers["content-type"].to_str().expect("text").to_owned();
        let (status, headers) = (parts.status, parts.headers);
        (Answer { status, content_type, headers, text }, packed.len())
    }
}

/// What nobody may see as markup.
const NASTY: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

/// A server with something on every page, and the addresses of all of them.
async fn seeded() -> (Browser, Vec<String>) {
    let server = Server::new().await;
    let file = json!({
        "receivers": { "noc": { "inbox": null } },
        "routes": [ { "to": "noc" } ],
        "monitors": {
            "backup": { "heartbeat": { "every": "1h", "key": "k-1" }, "labels": { "team": NASTY } },
            "web": { "http": "http://127.0.0.1:1/health", "every": "24h", "depends_on": ["backup"] }
        }
    });
    server.post("/api/monitors", &file).await.ok();
    server.send(Method::POST, "/ping/k-1/3", NASTY.to_owned()).await.ok_text();
    let incident = server.get("/api/incidents").await.ok()["results"][0]["id"].clone();
    let incident = incident.as_str().expect("an incident has an id").replace('/', "%2F");
    for version in [1, 2] {
        server
            .register(json!([{ "name": "etl", "version": version, "description": NASTY, "tasks": [
                { "name": "fetch", "taskReferenceName": "fetch", "type": "SIMPLE" },
                { "name": "f", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": [
                    [{ "name": "a", "taskReferenceName": "left<b>", "type": "SIMPLE" }],
                    [{ "name": "b", "taskReferenceName": "right", "type": "SIMPLE" }] ] },
                { "name": "j", "taskReferenceName": "join", "type": "JOIN", "joinOn": ["left<b>", "right"] },
            ] }]))
            .await;
    }
    let good = server.start("etl", &json!({})).await;
    for queue in ["fetch", "a", "b"] {
        server.complete(queue).await;
    }
    server.until(&good, "COMPLETED").await;
    let run = server.start("etl", &json!({ "text": NASTY })).await;
    server
        .register(json!([{ "name": "waits", "version": 1, "tasks": [
            { "name": "load", "taskReferenceName": "load", "type": "SIMPLE" } ] }]))
        .await;
    server.start("waits", &json!({})).await;
    let schedule = json!({ "name": "nightly", "cronExpression": "0 0 2 * * *",
        "startWorkflowRequest": { "name": "etl", "version": 1 } });
    server.post("/api/scheduler/schedules", &schedule).await.ok();
    let handler = json!({ "name": "orders", "event": "conductor:shop:orders", "active": true,
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": "waits" } }] });
    server.post("/api/event", &handler).await.ok_text();
    let message = json!({ "event": "conductor:shop:orders", "payload": NASTY });
    server.post("/api/event/publish", &message).await.ok();
    let silence =
        json!({ "name": "s", "match": { "monitor": "web" }, "for": "2h", "comment": NASTY });
    server.post("/api/silences", &silence).await.ok();
    let mut pages: Vec<String> = [
        "",
        "incidents",
        "incidents?state=all",
        "incidents?q=severity%3Acritical+label%3Ateam+receiver%3Anoc+silenced%3Ano+nasty",
        "monitors",
        "monitors?status=DOWN",
        "monitors?q=status%3Adown%2Cunknown+kind%3Ahttp+web",
        "monitors/backup",
        "monitors/backup/edit",
        "monitors/web?keys=all",
        "monitors/web/try",
        "silences?match=monitor%3Dweb&for=1h&from=2026-01-31T08%3A00%3A00Z&hours=Sat+02%3A00-04%3A00",
        "silences",
        "silences?match=monitor%3Dbackup&for=1h",
        "silences?hid=s",
        "handover",
        "handover?hours=168",
        "deliveries",
        "receivers",
        "receivers/noc",
        "runs",
        "runs?q=status%3ARUNNING+name%3Aetl",
        "runs?q=nothing-has-this-word",
        "runs?hours=24",
        "batches",
        "entities",
        "schedules",
        "schedules?day=2026-03-29",
        "schedules?span=month",
        "confirm?act=trigger&id=nightly",
        "confirm?act=backfill&id=nightly&from=2026-01-01T00%3A00%3A00Z&to=2026-01-03T00%3A00%3A00Z",
        "schedules?span=week&down=01%3A00&up=03%3A30",
        "schedules/nightly",
        "schedules/nightly?cron=0+0+3+*+*+*&zone=Europe/Oslo",
        "definitions",
        "definitions/workflow",
        "definitions/task",
        "definitions/event",
        "definitions/webhook",
        "definitions/trigger",
        "definitions/schema",
        "definitions/workflow/etl",
        "definitions/workflow/etl/1",
        "definitions/workflow/etl/1..2",
        "definitions/workflow/etl/start",
        "definitions/workflow/etl/edit",
        "definitions/workflow/etl/edit?version=1",
        "definitions/workflow/etl/rehearse",
        "definitions/workflow/etl/1/start",
        "system",
        "system/health",
        "system/queues",
        "system/workers",
        "system/events",
        "system/events?handler=orders&event=conductor%3Ashop%3Aorders",
        "system/secrets",
        "system/secrets?name=API_KEY",
        "confirm?act=terminate&found=1&find=name%3Aetl",
        "confirm?act=snooze&found=1&q=team",
        "system/audit",
        "system/audit?object=%2Fapi%2Fmonitors%2Fweb&from=2026-01-01T00%3A00%3A00Z",
        "system/access",
        "login",
        "help",
        "zone",
        "name",
    ]
    .map(|page| format!("/console/{page}"))
    .into();
    pages.push(format!("/console/incidents/{incident}"));
    server
        .register(json!([{ "name": "once", "version": 1, "tasks": [
            { "name": "n", "taskReferenceName": "n", "type": "NOOP" } ] }]))
        .await;
    let once = server.start("once", &json!({})).await;
    server.until(&once, "COMPLETED").await;
    let asked = json!({ "act": "restart", "find": "name:once" });
    let found = server.post("/api/batches/preview", &asked).await.ok();
    let order = json!({ "preview": found["id"], "reason": NASTY, "who": NASTY });
    server.post("/api/batches", &order).await.ok();
    pages.push(format!("/console/batches/{}", found["id"].as_str().expect("an id")));
    for view in ["graph", "table", "timeline", "tasks", "history", "data", "logs"] {
        pages.push(format!("/console/runs/{run}?view={view}&task=1"));
    }
    pages.push(format!("/console/runs/{run}/with/{good}"));
    pages.push(format!("/console/runs/{run}/with/last-good"));
    pages.push(format!("/console/confirm?act=terminate&id={run}"));
    (Browser::at(server), pages)
}

/// What is true of every page, whatever it shows.
pub(crate) fn is_whole(path: &str, page: &Answer) {
    let html = &page.text;
    assert_eq!(page.headers["content-security-policy"], POLICY, "{path}");
    // With none, browsers would say `Origin: null` with our own forms, which the guard refuses.
    assert_eq!(page.headers["referrer-policy"], "same-origin", "{path}");
    assert!(page.content_type.starts_with("text/html"), "{path}: {}", page.content_type);
    assert_eq!(html.matches("<h1").count(), 1, "{path}");
    assert_eq!(html.matches("<main").count(), 1, "{path}");
    for markup in
        ["<script>", "<img", "onerror=a", "style=", "<style", "javascript:", " onclick", "hx-on"]
    {
        // What people wrote has its quotes and angles escaped, so that these are ours alone.
        let shown = html.replace("onerror=alert(2)", "");
        assert!(!shown.contains(markup), "{path}: {markup}");
    }
    for foreign in ["src=\"http", "href=\"//", "src=\"//", "action=\"http"] {
        assert!(!html.contains(foreign), "{path}: {foreign}");
    }
    assert_eq!(html.matches("<form").count(), html.matches("</form>").count(), "{path}");
    for form in html.split("<form").skip(1).filter(|form| {
        let head = form.split('>').next().unwrap_or_default();
        head.contains("method=\"post\"") && !head.contains("action=\"/console/log")
    }) {
        let form = form.split("</form>").next().unwrap_or_default();
        assert_eq!(hidden(form, "csrf").len(), 64, "{path}: {form}");
    }
    let mut depth = 0_i32;
    for part in html.split('<') {
        if part.starts_with("form") {
            depth += 1;
        } else if part.starts_with("/form") {
            depth -= 1;
        }
        assert!(depth <= 1, "{path}: a form within a form");
    }
    for input in html.split("<input").skip(1) {
        let tag = input.split('>').next().unwrap_or_default();
        let named = tag.contains("type=\"hidden\"")
            || tag.contains("aria-label")
            || tag.contains("id=\"find\"");
        let before = html.split(&format!("<input{tag}")).next().unwrap_or_default();
        let labelled = before.rfind("<label").is_some_and(|at| !before[at..].contains("</label>"));
        assert!(named || labelled, "{path}: a field without a label: {tag}");
    }
}

#[tokio::test]
async fn every_address_answers_with_a_whole_page_that_is_small() {
    let (browser, pages) = seeded().await;
    for path in &pages {
        let (page, bytes) = browser.packed(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        is_whole(path, &page);
        assert!(bytes <= 15 * 1024, "{path}: {bytes} bytes");
        let has = |words: &str| page.text.contains(words);
        assert_eq!(has("As JSON"), has("As command"), "{path}: {}", page.text);
    }
    for missing in [
        "/console/nothing",
        "/console/runs/none",
        "/console/incidents/none",
        "/console/monitors/none",
        "/console/receivers/none",
        "/console/schedules/none",
        "/console/definitions/none",
        "/console/definitions/workflow/none",
        "/console/system/none",
        "/console/batches/none",
        "/console/entities/h/n/k",
        "/status/shop",
        "/console/runs/x/with/y",
    ] {
        let page = browser.get(missing).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{missing}: {}", page.text);
        is_whole(missing, &page);
    }
    // Both kinds of mistake in a search are answered beside a heading.
    for wrong in ["/console/runs?q=colour%3Ared", "/console/runs?after=x"] {
        let page = browser.get(wrong).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{wrong}");
        is_whole(wrong, &page);
    }
    // What is quiet while a monitor is down, on both their pages.
    let needed = browser.get("/console/monitors/backup").await.text;
    assert!(needed.contains("href=\"/console/monitors/web\">web</a>"), "{needed}");
    let quiet = browser.get("/console/monitors/web").await.text;
    assert!(quiet.contains("Quiet while down"), "{quiet}");
    // Who was told is a press away from all that they were told of.
    let incidents = browser.get("/console/incidents").await.text;
    assert!(incidents.contains("?q=receiver%3Anoc\">receiver:noc</a>"), "{incidents}");
    // Links of a page lead to pages.
    let now = browser.get("/console/").await.text;
    assert!(now.contains("no worker has polled <code>load</code>"), "{now}");
    for href in now.split("href=\"/console").skip(1) {
        let href = href.split('"').next().unwrap_or_default().replace("&amp;", "&");
        let answer = browser.get(&format!("/console{href}")).await;
        assert!(
            answer.status.is_success() || answer.status.is_redirection(),
            "{href}: {}",
            answer.status
        );
    }
}

#[tokio::test]
async fn assets_are_kept_for_ever_and_the_root_leads_browsers_to_the_console() {
    let browser = Browser::at(Server::new().await);
    let page = browser.get("/console/").await;
    let assets: Vec<&str> = page.text.split('"').filter(|it| it.starts_with(ASSETS)).collect();
    assert_eq!(assets.len(), 4, "{assets:?}");
    for path in assets {
        let asset = browser.get(path).await;
        assert_eq!(asset.status, StatusCode::OK, "{path}");
        assert!(asset.headers["cache-control"].to_str().is_ok_and(|it| it.contains("immutable")));
    }
    browser.get("/console/assets/console.css").await.failed(404);
    let html = [("accept", "text/html,*/*;q=0.8")];
    let root = browser.send(Method::GET, "/", &html, "").await;
    assert_eq!(
        (root.status, &root.headers["location"]),
        (StatusCode::SEE_OTHER, &"/console/".parse().unwrap())
    );
    browser.get("/").await.failed(404);
    // Whoever has the page gets it once.
    let tag = page.headers["etag"].to_str().expect("a tag").to_owned();
    let help = browser.get("/console/help").await;
    let again = [("if-none-match", help.headers["etag"].to_str().expect("a tag"))];
    let again = browser.send(Method::GET, "/console/help", &again, "").await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{tag}");
}

/// The value of a hidden field.
pub(crate) fn hidden<'a>(page: &'a str, name: &str) -> &'a str {
    let field = page.split(&format!("name=\"{name}\" value=\"")).nth(1);
    field.and_then(|it| it.split('"').next()).unwrap_or_else(|| panic!("no {name} in {page}"))
}

#[tokio::test]
async fn forms_act_and_what_cannot_be_taken_back_needs_its_preview() {
    let (browser, _) = seeded().await;
    let server = &browser.server;
    let incident = server.get("/api/incidents").await.ok()["results"][0].clone();
    let id = incident["id"].as_str().expect("an id").replace('/', "%2F");
    // Acknowledged twice: the second thumb is no mistake, and one press takes it back.
    let said = [
        (format!("said=acknowledge&of={id}"), "Acknowledged: nobody is reminded"),
        ("said=already".to_owned(), "Somebody had acknowledged it already"),
    ];
    for (said, sentence) in said {
        let done =
            browser.act(&format!("act=acknowledge&id={id}&back=/console/incidents/{id}")).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
        let to = done.headers["location"].to_str().expect("an address");
        assert_eq!(to, format!("/console/incidents/{id}?{said}"));
        let page = browser.get(to).await.text;
        assert!(page.contains(sentence), "{page}");
        assert_eq!(page.contains("Undo: "), said.contains("of="), "{page}");
    }
    // What others should know stays text.
    let note = "text=%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let done = browser.act(&format!("act=note&id={id}&{note}&back=/console/incidents/{id}")).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    let shown = browser.get(&format!("/console/incidents/{id}")).await.text;
    assert!(shown.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{shown}");
    let refused = browser.act(&format!("act=escalate&id={id}")).await;
    assert!(refused.text.contains("previewed"), "{}", refused.text);
    let preview = browser.get(&format!("/console/confirm?act=escalate&id={id}")).await;
    let token = hidden(&preview.text, "token").to_owned();
    let refused = browser.act(&format!("act=escalate&id={id}&token={token}")).await;
    assert!(refused.text.contains("everybody on its route was told"), "{}", refused.text);
    let run = server.start("etl", &json!({})).await;
    let other = server.start("etl", &json!({})).await;
    let status = async |id: &str| server.workflow(id).await["status"].clone();
    // Without a preview, or with the preview of something else, nothing happens.
    let refused = browser.act(&format!("act=terminate&id={run}")).await;
    assert!(refused.text.contains("previewed"), "{}", refused.text);
    let preview = browser.get(&format!("/console/confirm?act=terminate&id={other}")).await;
    let token = hidden(&preview.text, "token");
    let refused = browser.act(&format!("act=terminate&id={run}&token={token}")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(status(&run).await, "RUNNING");
    let preview = browser.get(&format!("/console/confirm?act=terminate&id={run}")).await;
    assert!(preview.text.contains("Terminates 1 run."), "{}", preview.text);
    assert_eq!(status(&run).await, "RUNNING", "a preview does nothing");
    let token = hidden(&preview.text, "token");
    let done = browser.act(&format!("act=terminate&id={run}&token={token}&why=broken")).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    assert_eq!(status(&run).await, "TERMINATED");
    assert_eq!(status(&other).await, "RUNNING");
    // A GET never acts, wherever it leads.
    browser.get(&format!("/console/act?act=pause&id={other}")).await;
    assert_eq!(status(&other).await, "RUNNING");
    browser.act(&format!("act=pause&id={other}&back=//evil.example")).await;
    assert_eq!(status(&other).await, "PAUSED");
    let led = browser.act(&format!("act=resume&id={other}&back=//evil.example")).await;
    assert_eq!(led.headers["location"], format!("/console/?said=resume&of={other}"));
    // The form that starts a workflow leads to its run.
    let started = browser.act("act=start&id=etl&input=%7B%22a%22%3A1%7D").await;
    let to = started.headers["location"].to_str().expect("an address").to_owned();
    assert!(browser.get(&to).await.text.contains("etl"), "{to}");
    // Another site cannot send the form.
    let foreign = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("origin", "http://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ];
    let form = format!("act=pause&id={other}");
    let refused = browser.send(Method::POST, "/console/act", &foreign, &form).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(status(&other).await, "RUNNING");
    // Nor one that says nothing of where it comes from, without the token of a page of ours.
    let own = hidden(&preview.text, "csrf");
    let wrong = own.replace(['0', '1'], "2");
    for csrf in ["", &wrong, &own[2..]] {
        let silent = [("content-type", "application/x-www-form-urlencoded")];
        let form = format!("act=pause&id={other}&csrf={csrf}");
        let refused = browser.send(Method::POST, "/console/act", &silent, &form).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{csrf}: {}", refused.text);
        assert!(refused.text.contains("has no token"), "{}", refused.text);
        assert_eq!(status(&other).await, "RUNNING");
    }
    // From a link in a chat the page opens all the same.
    let link = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    let page = browser.send(Method::GET, &format!("/console/incidents/{id}"), &link, "").await;
    assert_eq!(page.status, StatusCode::OK);
}

#[tokio::test]
async fn all_that_a_search_finds_is_acted_on_as_a_batch() {
    let browser = Browser::at(Server::new().await);
    let server = &browser.server;
    server.register(crate::support::waiting("waits")).await;
    for _ in 0..3 {
        server.start("waits", &json!({})).await;
    }
    let preview = browser.get("/console/confirm?act=terminate&found=1&find=name%3Awaits").await;
    assert!(preview.text.contains("Terminate: 3 runs"), "{}", preview.text);
    let [batch, runs, token] = ["batch", "runs", "token"].map(|it| hidden(&preview.text, it));
    let refused = browser.act(&format!("act=terminate&batch={batch}&runs=4&token={token}")).await;
    assert!(refused.text.contains("previewed"), "{}", refused.text);
    let form = format!("act=terminate&batch={batch}&runs={runs}&token={token}&why=over");
    // Sent twice it is one batch.
    for _ in 0..2 {
        let done = browser.act(&form).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
        assert_eq!(done.headers["location"], format!("/console/batches/{batch}"));
    }
    let through = async {
        while server.get(&format!("/api/batches/{batch}")).await.ok()["state"] == "RUNNING" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), through).await.expect("it ends");
    let page = browser.get(&format!("/console/batches/{batch}")).await.text;
    assert!(page.contains("3 done") && page.contains("over"), "{page}");
    let list = browser.get("/console/batches").await.text;
    assert!(list.contains("terminate 3 runs"), "{list}");
    // What has ended is left out of the next, and nothing is left.
    let none = browser.get("/console/confirm?act=terminate&found=1&find=name%3Awaits").await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST, "{}", none.text);
}

#[tokio::test]
async fn the_setting_says_to_whom_the_console_is_served() {
    let proxied = [("x-forwarded-for", "203.0.113.7")];
    let ask = async |mode: ConsoleServing, headers: &[(&str, &str)]| {
        let server = Server::new().await.with(|settings| settings.console = mode);
        server.send_with(Method::GET, "/console/", headers, String::new()).await
    };
    assert_eq!(ask(ConsoleServing::Auto, &[]).await.status, StatusCode::OK);
    let far = ask(ConsoleServing::Auto, &proxied).await;
    assert_eq!(far.status, StatusCode::FORBIDDEN);
    assert!(far.text.contains("own machine"), "{}", far.text);
    assert_eq!(ask(ConsoleServing::On, &proxied).await.status, StatusCode::OK);
    assert_eq!(ask(ConsoleServing::Off, &[]).await.status, StatusCode::NOT_FOUND);
    let server = Server::new().await.with(|settings| settings.auth = Mode::Offered);
    let sign_in = server.send_with(Method::GET, "/console/", &proxied, String::new()).await;
    assert_eq!(sign_in.status, StatusCode::UNAUTHORIZED);
    assert!(sign_in.text.contains("action=\"/console/login\""), "{}", sign_in.text);
    assert_eq!(server.get("/console/").await.status, StatusCode::OK, "this machine need not");
    let server = Server::new().await.with(|settings| settings.console = ConsoleServing::ReadOnly);
    let browser = Browser::at(server);
    let page = browser.get("/console/definitions/workflow/etl/start").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.text);
    assert_eq!(browser.act("act=pause&id=x").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn with_access_control_a_page_shows_and_does_what_its_reader_may() {
    let server = Server::new().await;
    let new_key = async |role: Role| {
        let access = server.engine.access();
        let made = access.create_key(role.as_str(), vec![role], None, "test", server.engine.now());
        made.await.expect("memory takes all").text.to_string()
    };
    let (viewer, responder) = (new_key(Role::Viewer).await, new_key(Role::Responder).await);
    let admin = new_key(Role::Admin).await;
    let file =
        json!({ "monitors": { "backup": { "heartbeat": { "every": "1h", "key": "k-1" } } } });
    server.post("/api/monitors", &file).await.ok();
    server.send(Method::POST, "/ping/k-1/3", "full".to_owned()).await.ok_text();
    let incident = server.get("/api/incidents").await.ok()["results"][0]["id"].clone();
    let id = incident.as_str().expect("an id").replace('/', "%2F");
    let browser = Browser::at(server.with(|settings| settings.auth = Mode::On));
    let path = format!("/console/incidents/{id}");
    let login = browser.get(&path).await;
    assert_eq!(login.status, StatusCode::UNAUTHORIZED);
    is_whole(&path, &login);
    assert!(
        login.text.contains("action=\"/console/login\"") && login.text.contains("name=\"key\"")
    );
    assert!(login.text.contains(&format!("name=\"next\" value=\"{path}\"")), "{}", login.text);
    assert!(!login.text.contains("backup:"), "nothing of what runs is told");
    assert_eq!(browser.get("/console/login").await.status, StatusCode::OK);
    let by = async |key: &str, method: Method, path: &str, body: &str| {
        let bearer = format!("Bearer {key}");
        let headers =
            [("authorization", &*bearer), ("content-type", "application/x-www-form-urlencoded")];
        browser.send(method, path, &headers, body).await
    };
    let seen = by(&viewer, Method::GET, &path, "").await;
    assert_eq!(seen.status, StatusCode::OK);
    assert!(!seen.text.contains("value=\"acknowledge\""), "a viewer has no such button");
    let form = format!("act=acknowledge&id={id}");
    let refused = by(&viewer, Method::POST, "/console/act", &form).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    is_whole("/console/act", &refused);
    let seen = by(&responder, Method::GET, &path, "").await;
    assert!(seen.text.contains("value=\"acknowledge\""));
    let done = by(&responder, Method::POST, "/console/act", &form).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    let seen = by(&viewer, Method::GET, &path, "").await;
    assert!(seen.text.contains("Acknowledged by responder (key:"), "{}", seen.text);
    // The ledger names the path of the API that was asked, and who asked.
    let lines = browser
        .server
        .engine
        .audit()
        .newest(&AuditSearch { size: 20, ..AuditSearch::default() })
        .await
        .expect("memory answers")
        .lines;
    let line = lines.iter().find(|it| {
        it.line.contains("/api/incidents/{id}/acknowledge") && it.line.contains("responder")
    });
    assert!(line.is_some(), "{lines:?}");
    let audit = by(&viewer, Method::GET, "/console/system/audit", "").await;
    assert_eq!(audit.status, StatusCode::FORBIDDEN);
    // Who may do what is for administrators.
    let access = by(&admin, Method::GET, "/console/system/access", "").await;
    assert_eq!(access.status, StatusCode::OK, "{}", access.text);
    is_whole("/console/system/access", &access);
    assert!(access.text.contains("responder"), "{}", access.text);
    let refused = by(&viewer, Method::GET, "/console/system/access", "").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let system = by(&viewer, Method::GET, "/console/system/health", "").await;
    assert!(!system.text.contains("/console/system/access"), "no way leads there");
}

#[tokio::test]
async fn a_monitor_is_edited_in_a_form_that_says_what_is_wrong_where() {
    let (browser, _) = seeded().await;
    let send = async |name: &str, text: &str, does: &str| {
        let encoded = text
            .replace('%', "%25")
            .replace('&', "%26")
            .replace('+', "%2B")
            .replace('\n', "%0D%0A");
        let form = format!("definition={encoded}&does={does}");
        browser.form(&format!("/console/monitors/{name}/edit"), &[], &form).await
    };
    let every = async || {
        browser.server.get("/api/monitors/web").await.ok()["definition"]["schedule"]["every"]
            .clone()
    };
    let wrong = send("web", "http: http://127.0.0.1:1/\nevery: soon", "save").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    is_whole("/console/monitors/web/edit", &wrong);
    assert!(
        wrong.text.contains("line 2, column") && wrong.text.contains("every: soon</textarea>"),
        "{}",
        wrong.text
    );
    let good = "http: http://127.0.0.1:1/\nevery: 12h";
    let checked = send("web", good, "check").await;
    assert!(checked.text.contains("Nothing is wrong with it"), "{}", checked.text);
    assert_eq!(every().await, 86_400_000, "nothing is saved yet");
    let saved = send("web", good, "save").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
    assert_eq!(saved.headers["location"], "/console/monitors/web?said=saved");
    assert_eq!(every().await, 43_200_000);
}

#[tokio::test]
async fn a_status_page_is_for_anybody_and_names_nothing_of_what_runs() {
    let server = Server::new().await;
    let file = json!({ "monitors": {
        "inner-backup": { "heartbeat": { "every": "1h", "key": "k-1" } },
        "inner-idle": { "heartbeat": { "every": "1h", "key": "k-2" } } } });
    server.post("/api/monitors", &file).await.ok();
    server.send(Method::POST, "/ping/k-1", "secret-words".to_owned()).await.ok_text();
    let component = |label: &str, monitor: &str| json!({ "label": label, "monitor": monitor });
    let mut page = json!({ "name": "shop", "title": NASTY, "public": true, "zone": "Europe/Oslo", "groups": [
        { "title": "Nightly", "components": [component("Backup", "inner-backup"), component(NASTY, "gone")] } ] });
    server.post("/api/status-pages", &page).await.ok();
    let path = "/status/shop";
    let server = server.with(|settings| {
        (settings.auth, settings.console) = (Mode::On, ConsoleServing::Off);
    });
    let browser = Browser::at(server);
    let engine = browser.server.engine.clone();
    let shown = browser.get(path).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    is_whole(path, &shown);
    assert_eq!(shown.headers["cache-control"], "public, max-age=30");
    assert_eq!(shown.headers["vary"], "Accept-Encoding");
    assert!(!shown.text.contains("<script"), "{}", shown.text);
    for inner in ["inner-", "k-1", "secret-words", "gone", "Nightbell", "/console/\""] {
        assert!(!shown.text.contains(inner), "{inner}: {}", shown.text);
    }
    assert!(shown.text.contains("90 days: 89 not checked"), "{}", shown.text);
    assert!(shown.text.contains("100 % in 90 days"), "{}", shown.text);
    assert!(shown.text.contains("nobody can tell"), "a monitor that is not there: {}", shown.text);

    // What is posted and changed is there at once, although a page is kept for a while.
    let post =
        engine.post_on_status_page("shop", NASTY, Some("Ida")).await.expect("memory takes it");
    let shown = browser.get(path).await;
    is_whole(path, &shown);
    assert!(shown.text.contains("&lt;img") && !shown.text.contains("Ida"), "{}", shown.text);
    assert!(engine.delete_status_post("shop", post.id).await.expect("memory answers"));
    assert!(!browser.get(path).await.text.contains("Posts"));
    // One that is not public is not told from one that is not there.
    page["public"] = false.into();
    let pages = kernel::status_page::parse_status_pages(&page.to_string()).expect("a page");
    let change = engine::status_pages_change(&pages, engine::Change::default());
    engine.change(change).await.expect("memory takes it");
    let hidden = browser.get(path).await;
    assert_eq!(hidden.status, StatusCode::NOT_FOUND);
    assert_eq!(hidden.text, browser.get("/status/none").await.text.replace("none", "shop"));
    assert_eq!(browser.get("/status/shop/x").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn status_pages_are_kept_as_documents_and_posts_by_people() {
    let server = Server::new().await;
    let page = json!({ "name": "shop", "title": "Shop", "public": false, "groups": [
        { "title": "Web", "components": [{ "label": "Orders", "monitor": "web" }] } ] });
    let path = "/api/status-pages/shop";
    assert_eq!(server.post("/api/status-pages", &page).await.ok(), json!([page]));
    assert_eq!(server.get(path).await.ok(), page);
    assert_eq!(server.get("/api/status-pages").await.ok(), json!([page]));
    let mut unsaid = page.clone();
    unsaid.as_object_mut().expect("an object").remove("public");
    let refused = server.post("/api/status-pages", &unsaid).await;
    assert_eq!(refused.json()["validationErrors"][0]["pointer"], "/public", "{}", refused.text);
    for text in [" ".to_owned(), "a".repeat(4001)] {
        server.post(&format!("{path}/posts"), &json!({ "text": text })).await.failed(400);
    }
    for at in 1..=51 {
        let post = json!({ "text": format!("No. {at}"), "by": "Ida" });
        assert_eq!(server.post(&format!("{path}/posts"), &post).await.ok()["id"], at);
    }
    let posts = server.get(&format!("{path}/posts")).await.ok();
    assert_eq!(
        (posts[0]["text"].as_str(), posts.as_array().map(Vec::len)),
        (Some("No. 51"), Some(50))
    );
    server.send(Method::DELETE, &format!("{path}/posts/51"), String::new()).await.ok_text();
    server.send(Method::DELETE, &format!("{path}/posts/51"), String::new()).await.failed(404);
    server.send(Method::DELETE, path, String::new()).await.ok_text();
    for gone in [path.to_owned(), format!("{path}/posts")] {
        server.get(&gone).await.failed(404);
    }
    server.post(&format!("{path}/posts"), &json!({ "text": "a" })).await.failed(404);
    // What was posted does not come back with another page of the name.
    server.post("/api/status-pages", &page).await.ok();
    assert_eq!(server.get(&format!("{path}/posts")).await.ok(), json!([]));
}

/// The next piece of a stream of events.
async fn piece(body: &mut Body) -> Option<String> {
    let frame = tokio::time::timeout(std::time::Duration::from_mins(1), body.frame()).await;
    let frame = frame.expect("something comes within a minute")?.expect("the stream is whole");
    Some(String::from_utf8(frame.into_data().expect("data").to_vec()).expect("UTF-8"))
}

/// Opens the feed; the first piece is read.
async fn listen(browser: &Browser, query: &str, last: Option<&str>) -> (Body, String) {
    let request = Request::get(format!("/console/feed?{query}"));
    let request = last.into_iter().fold(request, |it, last| it.header("last-event-id", last));
    let response = browser.router.clone().oneshot(request.body(Body::empty()).expect("a request"));
    let response = response.await.expect("handlers do not fail");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let first = piece(&mut body).await.expect("a stream begins at once");
    (body, first)
}

#[tokio::test]
async fn the_feed_tells_what_was_committed_and_goes_on_where_it_broke_off() {
    let browser = Browser::at(Server::new().await);
    let server = &browser.server;
    server
        .register(json!([{ "name": "waits", "version": 1, "tasks": [
            { "name": "load", "taskReferenceName": "load", "type": "SIMPLE" } ] }]))
        .await;
    let (mut runs, first) = listen(&browser, "topics=run", None).await;
    assert!(first.starts_with("retry: ") && !first.contains("event:"), "{first}");
    let begin = first.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
    let run = server.start("waits", &json!({})).await;
    let told = piece(&mut runs).await.expect("it goes on");
    assert!(told.starts_with("event: commit\nid: "), "{told}");
    assert!(told.contains(&format!("\"topic\":\"run\",\"id\":\"{run}\"")), "{told}");
    let seen = told.lines().nth(1).and_then(|line| line.strip_prefix("id: ")).expect("an id");
    drop(runs);
    // What happened while the page was hidden is told when it comes back; of others nothing.
    server.start("waits", &json!({})).await;
    server.complete("load").await;
    server.until(&run, "COMPLETED").await;
    let (_, missed) = listen(&browser, &format!("topics=run&id={run}"), Some(seen)).await;
    assert_eq!(missed.matches("\"topic\"").count(), 1, "{missed}");
    assert!(missed.contains(&run), "{missed}");
    // A stream that broke off before anything was told on it goes on, too.
    let (_, missed) = listen(&browser, &format!("topics=run&id={run}"), Some(begin)).await;
    assert!(missed.contains("event: commit"), "{missed}");
    let (_, none) = listen(&browser, "topics=monitor", Some(seen)).await;
    assert!(!none.contains("event:"), "{none}");
    // Numbers of another process mean nothing: everything is to be looked at.
    let (mut last, reload) = listen(&browser, "topics=run", Some("1-1")).await;
    assert!(reload.contains("event: reload"), "{reload}");
    server.engine.stop();
    while piece(&mut last).await.is_some() {}
}

/// The line of an incident's history that an act of somebody wrote.
async fn acknowledged_by(browser: &Browser, id: &str) -> String {
    let shown = browser.server.get(&format!("/api/incidents/{id}")).await.ok();
    shown["acknowledgedBy"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn records_name_whoever_says_who_they_are() {
    let (browser, _) = seeded().await;
    let incident = browser.server.get("/api/incidents").await.ok()["results"][0].clone();
    let id = incident["id"].as_str().expect("an id").replace('/', "%2F");
    let chosen =
        browser.form("/console/name", &[], "name=Ida+%C3%98&back=/console/incidents").await;
    assert_eq!(chosen.status, StatusCode::SEE_OTHER, "{}", chosen.text);
    assert_eq!(chosen.headers["location"], "/console/incidents?said=name");
    let cookie = chosen.headers["set-cookie"].to_str().expect("text");
    let cookie = cookie.split(';').next().expect("a cookie").to_owned();
    let act = format!("act=acknowledge&id={id}");
    browser.form("/console/act", &[("cookie", cookie.as_str())], &act).await;
    assert_eq!(acknowledged_by(&browser, &id).await, "Ida Ø");
    // What would be two lines of a record is nobody's name.
    let two = browser.form("/console/name", &[], "name=a%0Ab").await;
    assert_eq!(two.status, StatusCode::BAD_REQUEST);
    // Taken back with one press, and acknowledged by somebody who has not said who they are.
    browser.act(&format!("act=unacknowledge&id={id}")).await;
    browser.act(&act).await;
    assert_eq!(acknowledged_by(&browser, &id).await, "console");
}
