//! What can be done on the pages of definitions, schedules, entities, events, secrets, queues, silences and
//! monitors, and what they tell.

use axum::http::StatusCode;
use kernel::durable::entity::Signal;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::console::{Browser, hidden, is_whole};
use crate::support::{Answer, Server, line};

/// A form or a query.
fn pairs(pairs: &[(&str, &str)]) -> String {
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

pub(crate) async fn post(browser: &Browser, path: &str, fields: &[(&str, &str)]) -> Answer {
    let answer = browser.form(path, &[], &pairs(fields)).await;
    if !answer.status.is_redirection() {
        is_whole(path, &answer);
    }
    answer
}

pub(crate) async fn act(browser: &Browser, fields: &[(&str, &str)]) -> Answer {
    post(browser, "/console/act", fields).await
}

/// The page that is shown after an act.
pub(crate) async fn after(browser: &Browser, done: &Answer) -> String {
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    shown(browser, done.headers["location"].to_str().expect("an address")).await
}

pub(crate) async fn shown(browser: &Browser, path: &str) -> String {
    let page = browser.get(path).await;
    assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
    is_whole(path, &page);
    page.text
}

pub(crate) fn has(page: &str, words: &str) {
    assert!(page.contains(words), "no “{words}” in {page}");
}

pub(crate) fn has_not(page: &str, words: &str) {
    assert!(!page.contains(words), "“{words}” in {page}");
}

#[tokio::test]
async fn events_tell_what_handlers_were_given_and_a_test_is_published() {
    let server = Server::new().await;
    server.register(line("w", &["a"])).await;
    let handler = json!({ "name": "orders", "event": "conductor:shop:orders", "active": true,
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": "w" } }] });
    server.post("/api/event", &handler).await.ok_text();
    let browser = Browser::at(server);
    let empty = shown(&browser, "/console/system/events").await;
    has(&empty, "<td class=\"n\">0</td>");
    let fields = [("act", "publish"), ("id", "conductor:shop:orders"), ("input", "{\"order\": 7}")];
    let done = act(&browser, &fields).await;
    let handled = async {
        loop {
            let done = browser.server.get("/api/event/execution/orders").await.ok();
            if done[0]["status"] == "COMPLETED" {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), handled).await.expect("it is handled");
    let page = after(&browser, &done).await;
    assert_eq!(
        page.matches("<td class=\"n\">1</td>").count(),
        2,
        "one message, one action: {page}"
    );
    has(&page, "Messages of conductor:shop:orders");
    // Messages are payloads: no cache keeps them.
    let messages = "/console/system/events?event=conductor%3Ashop%3Aorders";
    let messages = browser.get(messages).await;
    assert_eq!(messages.headers["cache-control"], "no-store");
    has(&page, "/console/runs/");
    let did = shown(&browser, "/console/system/events?handler=orders").await;
    has(&did, "What orders did");
    has(&did, "start_workflow");
    has(&did, "/console/runs/");
    let wrong = act(&browser, &[("act", "publish"), ("id", "nowhere"), ("input", "{}")]).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    has(&wrong.text, "names no event");
}

fn signal(operation: &str) -> Signal {
    Signal {
        request_id: engine::Engine::new_id().to_string().into(),
        operation: operation.into(),
        input: None,
        scheduled_at: None,
        acts_as: None,
    }
}

#[tokio::test]
async fn entities_of_all_hubs_come_in_pages_and_take_signals() {
    let server = Server::new().await;
    for number in 0..101 {
        let hub = if number % 2 == 0 { "north" } else { "south" };
        let id = format!("@counter@{number}");
        server.engine.signal_entity(hub, &id, signal("add")).await.expect("memory takes it");
    }
    server.engine.signal_entity("north", "@Mail@ida@shop", signal("add")).await.expect("it does");
    let browser = Browser::at(server);
    let first = shown(&browser, "/console/entities").await;
    has(&first, "/console/entities/north/mail/ida%40shop\">ida@shop</a>");
    let next = first.split("rel=\"next\" href=\"").nth(1).and_then(|it| it.split('"').next());
    let second = shown(&browser, next.expect("there is a second page")).await;
    let keys = |page: &str| page.matches("href=\"/console/entities/").count();
    assert_eq!((keys(&first), keys(&second)), (100, 2));
    has_not(&second, "rel=\"next\"");
    let found = shown(&browser, "/console/entities?q=MAIL").await;
    assert_eq!(keys(&found), 1, "{found}");
    let wrong = browser.get("/console/entities?after=x").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);

    let path = "/console/entities/north/mail/ida%40shop";
    let page = shown(&browser, path).await;
    has(&page, "<code>add</code>");
    let id = hidden(&page, "id").to_owned();
    let fields = [("act", "signal-entity"), ("id", &*id), ("back", path)];
    let bad = [&fields[..], &[("op", "set"), ("input", "{")]].concat();
    assert_eq!(act(&browser, &bad).await.status, StatusCode::BAD_REQUEST);
    let good = [&fields[..], &[("op", "set"), ("input", "\"a\"")]].concat();
    let page = after(&browser, &act(&browser, &good).await).await;
    has(&page, "<code>set</code>");
    let preview = pairs(&[("act", "delete-entity"), ("id", &id), ("back", path)]);
    let preview = shown(&browser, &format!("/console/confirm?{preview}")).await;
    let delete = [("act", "delete-entity"), ("id", &id), ("back", path)];
    assert_eq!(act(&browser, &delete).await.status, StatusCode::BAD_REQUEST, "no preview");
    let done = [&delete[..], &[("token", hidden(&preview, "token"))]].concat();
    let page = after(&browser, &act(&browser, &done).await).await;
    has(&page, "<code>delete</code>");
    let foreign = act(&browser, &[("act", "signal-entity"), ("id", "run-1"), ("op", "x")]).await;
    assert_eq!(foreign.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn secrets_are_set_and_deleted_and_never_shown() {
    let server = Server::new().await;
    let task = json!({ "name": "call", "taskReferenceName": "call", "type": "SIMPLE",
        "inputParameters": { "key": "${workflow.secrets.API_KEY}" } });
    server.register(json!([{ "name": "caller", "version": 1, "tasks": [task] }])).await;
    let browser = Browser::at(server);
    let empty = act(&browser, &[("act", "put-secret"), ("id", "API_KEY"), ("value", "")]).await;
    assert_eq!(empty.status, StatusCode::BAD_REQUEST);
    let back = ("back", "/console/system/secrets");
    let value = "\" hunter 3 \"";
    let fields = [("act", "put-secret"), ("id", "API_KEY"), ("value", value), back];
    let page = after(&browser, &act(&browser, &fields).await).await;
    let kept = browser.server.engine.values().secret("API_KEY");
    assert_eq!(kept.as_deref(), Some(value), "to the letter");
    has(&page, "<code>API_KEY</code>");
    has_not(&page, "hunter");
    has_not(&page, "unknown");
    has(&page, "type=\"password\" name=\"value\" autocomplete=\"off\"");
    let preview = shown(&browser, "/console/confirm?act=delete-secret&id=API_KEY").await;
    has(&preview, "href=\"/console/definitions/workflow/caller\"");
    let token = hidden(&preview, "token");
    let delete = [("act", "delete-secret"), ("id", "API_KEY"), ("token", token), back];
    let page = after(&browser, &act(&browser, &delete).await).await;
    has_not(&page, "<code>API_KEY</code>");
    assert_eq!(browser.server.engine.values().secret("API_KEY"), None);
}

#[tokio::test]
async fn queues_lead_to_their_runs_and_limits_name_their_holders() {
    let server = Server::new().await;
    let mut one = line("one", &["work"]);
    one["rateLimitConfig"] =
        json!({ "rateLimitKey": "k", "concurrentExecLimit": 1, "policy": "QUEUE" });
    server.register(json!([line("waits", &["load"]), one])).await;
    server.start("waits", &json!({})).await;
    server.until_queued("load", 1).await;
    let first = server.start("one", &json!({})).await;
    server.until_queued("work", 1).await;
    let second = server.start("one", &json!({})).await;
    let browser = Browser::at(server);
    let page = shown(&browser, "/console/system/queues").await;
    has(&page, "/console/runs?q=why%3Ano-worker%20queue%3Aload");
    has(&page, "Limits that are reached");
    has(&page, &format!("title=\"{first}\""));
    has_not(&page, &format!("title=\"{second}\""));
    let link = page.split("href=\"").find(|it| it.contains("find=why%3Ano-worker%20queue%3Aload"));
    let link = link.and_then(|it| it.split('"').next()).expect("a way to end them");
    let preview = shown(&browser, &link.replace("&amp;", "&")).await;
    has(&preview, "Terminate 1 run?");
}

#[tokio::test]
async fn a_definition_is_changed_where_mistakes_have_lines_and_nothing_is_overwritten() {
    let server = Server::new().await;
    server.register(line("etl", &["fetch"])).await;
    let browser = Browser::at(server);
    let path = "/console/definitions/workflow/etl/edit";
    let page = shown(&browser, path).await;
    let seen = hidden(&page, "seen").to_owned();
    let send = async |text: &str, does: &str| {
        post(&browser, path, &[("definition", text), ("seen", &seen), ("does", does)]).await
    };
    let text = |from: &str, to: &str| {
        let text = serde_json::to_string_pretty(&line("etl", &["fetch"])).expect("it is JSON");
        text.replace(from, to)
    };
    let broken = send("{\n  \"name\": <b>\n", "save").await;
    assert_eq!(broken.status, StatusCode::BAD_REQUEST);
    has(&broken.text, "line 2 column");
    has(&broken.text, "&lt;b&gt;");
    let nameless = send(&text("\"etl\"", "\"other\""), "save").await;
    assert_eq!(nameless.status, StatusCode::BAD_REQUEST);
    has(&nameless.text, "its name is 'other'");
    let wrong = send(&text("\"taskReferenceName\": \"fetch\",", ""), "save").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "{}", wrong.text);
    has(&wrong.text, "line 5, column");
    let good = text("\"version\": 1", "\"version\": 1, \"description\": \"now with words\"");
    let looked = send(&good, "check").await;
    assert_eq!(looked.status, StatusCode::OK, "{}", looked.text);
    has(&looked.text, "<ins>+   &quot;description&quot;: &quot;now with words&quot;");
    let description = async || {
        let it = browser.server.get("/api/metadata/workflow/etl").await.ok();
        it["description"].clone()
    };
    assert_eq!(description().await, Value::Null, "nothing is saved yet");
    let saved = send(&good, "save").await;
    has(&after(&browser, &saved).await, "now with words");
    // Whoever began with the text of before is shown what it would take back.
    let late =
        send(&text("\"version\": 1", "\"version\": 1, \"description\": \"mine\""), "save").await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{}", late.text);
    has(&late.text, "It has changed meanwhile");
    assert_eq!(description().await, "now with words");
    // Labels, which its versions share.
    let tag = [
        ("id", "etl"),
        ("kind", "workflow"),
        ("tag", "team:data"),
        ("back", "/console/definitions/workflow/etl"),
    ];
    let page = after(&browser, &act(&browser, &[&tag[..], &[("act", "tag")]].concat()).await).await;
    has(&page, "<code>team:data</code>");
    let page =
        after(&browser, &act(&browser, &[&tag[..], &[("act", "untag")]].concat()).await).await;
    has_not(&page, "<code>team:data</code>");
}

#[tokio::test]
async fn a_workflow_is_rehearsed_with_given_answers() {
    let server = Server::new().await;
    server.register(line("etl", &["fetch", "load"])).await;
    let browser = Browser::at(server);
    let path = "/console/definitions/workflow/etl/rehearse";
    let form = shown(&browser, path).await;
    has(&form, "&quot;load&quot;");
    let mocks = r#"{"fetch": [{"status": "FAILED", "output": {}}, {"output": {"rows": 7}}]}"#;
    let stopped = post(&browser, path, &[("input", "{}"), ("mocks", mocks)]).await;
    assert_eq!(stopped.status, StatusCode::OK, "{}", stopped.text);
    has(&stopped.text, "for want of an answer of load");
    has(&stopped.text, "try 2");
    has(&stopped.text, "{&quot;rows&quot;:7}");
    let unknown = r#"{"lod": [{"output": {}}]}"#;
    for (mocks, words) in [("{", "Answers: it is no JSON"), (unknown, "no task 'lod'")] {
        let refused = post(&browser, path, &[("mocks", mocks)]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        has(&refused.text, words);
    }
    assert_eq!(browser.server.get("/api/workflow/search").await.ok()["totalHits"], 0);
}

#[tokio::test]
async fn a_run_is_edited_and_started_again() {
    let server = Server::new().await;
    server.register(line("w", &["a"])).await;
    let first = server.start("w", &json!({ "rows": 41210 })).await;
    server.start("w", &json!({ "rows": 7 })).await;
    let browser = Browser::at(server);
    let form = format!("/console/definitions/workflow/w/1/start?from={first}");
    has(&shown(&browser, &format!("/console/runs/{first}")).await, &form);
    let page = shown(&browser, &form).await;
    has(&page, "41210");
    has(&page, &format!("href=\"/console/runs/{first}\""));
    let none = browser.get("/console/definitions/workflow/w/1/start?from=none").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    has(&shown(&browser, "/console/runs").await, "Start a workflow");
    has(&shown(&browser, "/console/").await, "this server started");
}

#[tokio::test]
async fn what_was_typed_to_start_a_workflow_stays_when_it_is_refused() {
    let server = Server::new().await;
    let mut etl = line("etl", &["fetch"]);
    etl["inputSchema"] = json!({ "name": "in", "type": "JSON", "data": { "required": ["rows"],
        "properties": { "rows": { "type": "integer" }, "dry": { "type": "boolean" },
            "day": { "type": "string", "description": "<b>when</b>" } } } });
    server.register(etl).await;
    let browser = Browser::at(server);
    let path = "/console/definitions/workflow/etl/start";
    let form = shown(&browser, path).await;
    for field in ["name=\"number.rows\"", "name=\"flag.dry\"", "name=\"text.day\""] {
        has(&form, field);
    }
    has(&form, "rows (needed)");
    has(&form, "&lt;b&gt;when&lt;/b&gt;");
    let start = [("act", "start"), ("id", "etl"), ("text.day", "<i>today"), ("correlation", "c-1")];
    let typed = [&start[..], &[("number.rows", "7"), ("input", "{\"more\": <b>}")]].concat();
    let refused = act(&browser, &typed).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    for kept in ["{&quot;more&quot;: &lt;b&gt;}", "&lt;i&gt;today", "value=\"7\"", "value=\"c-1\""]
    {
        has(&refused.text, kept);
    }
    let typed = [&start[..], &[("number.rows", "many"), ("input", "{}")]].concat();
    let refused = act(&browser, &typed).await;
    has(&refused.text, "is no number");
    let typed =
        [&start[..], &[("number.rows", "7"), ("flag.dry", "true"), ("input", "{\"a\": 1}")]]
            .concat();
    let started = act(&browser, &typed).await;
    after(&browser, &started).await;
    let found = browser.server.get("/api/workflow/search").await.ok();
    let run = found["results"][0]["workflowId"].as_str().expect("a run").to_owned();
    let input = browser.server.workflow(&run).await["input"].clone();
    assert_eq!(input, json!({ "a": 1, "rows": 7, "dry": true, "day": "<i>today" }));

    // The same of a task that somebody completes by hand.
    let task = browser.server.workflow(&run).await["tasks"][0]["taskId"].clone();
    let task = task.as_str().expect("a task");
    let preview = pairs(&[("act", "complete-task"), ("id", task)]);
    let preview = shown(&browser, &format!("/console/confirm?{preview}")).await;
    let token = hidden(&preview, "token");
    let fields = [
        ("act", "complete-task"),
        ("id", task),
        ("token", token),
        ("input", "<b>"),
        ("why", "by hand"),
    ];
    let again = act(&browser, &fields).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    has(&again.text, "is no JSON");
    has(&again.text, "&lt;b&gt;</textarea>");
    has(&again.text, "value=\"by hand\"");
    let done = [
        ("act", "complete-task"),
        ("id", task),
        ("token", hidden(&again.text, "token")),
        ("input", "{\"rows\": 7}"),
    ];
    after(&browser, &act(&browser, &done).await).await;
    browser.server.until(&run, "COMPLETED").await;
    let page = shown(&browser, "/console/definitions/workflow/etl").await;
    has(&page, "Of the last 1 that ended, 100 % completed");
}

#[tokio::test]
async fn schedules_tell_of_changes_of_the_clock_and_run_for_the_past() {
    let server = Server::new().await;
    server.register(json!([line("w", &["a"]), line("v", &["b"])])).await;
    let schedule = |name: &str, cron: &str, workflow: &str| {
        json!({ "name": name, "cronExpression": cron, "zoneId": "Europe/Oslo",
            "startWorkflowRequest": { "name": workflow } })
    };
    for (name, cron, workflow) in [
        ("early", "0 30 2 * * *", "w"),
        ("late", "0 0 4 * * *", "v"),
        ("often", "0 * * * * *", "v"),
    ] {
        let body = schedule(name, cron, workflow);
        server.post("/api/scheduler/schedules", &body).await.ok();
    }
    server.put("/api/scheduler/schedules/often/pause").await.ok_text();
    let calendar = async |from: &str, to: &str| {
        let path = format!("/api/scheduler/calendar?from={from}&to={to}&size=2");
        server.get(&path).await.ok()
    };
    let spring = calendar("2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z").await;
    assert_eq!(
        (&spring["totalHits"], spring["results"].as_array().map(Vec::len)),
        (&json!(3), Some(2))
    );
    assert_eq!(spring["results"][0]["planned"][0]["note"], "02:30 does not exist → 03:00");
    assert_eq!(spring["results"][1]["planned"][0]["note"], Value::Null);
    let now = server.engine.now();
    let (from, to) = (now.plus_millis(-3_600_000), now.plus_millis(3 * 86_400_000));
    let (from, to) = (from.to_string(), to.to_string());
    // Two that run at once.
    for name in ["early", "late"] {
        let path = format!("/api/scheduler/schedules/{name}/trigger");
        server.post(&path, &json!({})).await.ok();
    }
    server.until_queued("a", 1).await;
    server.until_queued("b", 1).await;
    let told = async {
        loop {
            let found = calendar(&from, &to).await;
            let is_told = |at: usize| found["results"][at]["past"][0]["runStatus"] == "RUNNING";
            if is_told(0) && is_told(1) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    let limit = std::time::Duration::from_secs(30);
    let found = tokio::time::timeout(limit, told).await.expect("both are told");
    let early = &found["results"][0];
    assert!(early["past"][0]["startTime"].is_i64() && early["past"][0]["endTime"].is_null());
    let planned = early["planned"].as_array().expect("a list");
    assert!(planned.len() >= 2 && planned.iter().all(|it| it["fires"] == true), "{early}");
    server.get("/api/scheduler/calendar?from=2027-03-28T00:00:00Z&to=1").await.failed(400);

    let browser = Browser::at(server);
    let page = shown(&browser, "/console/schedules?day=2027-03-28").await;
    has(&page, "2027-03-28: 02:30 does not exist → 03:00");
    let today = shown(&browser, "/console/schedules").await;
    has(&today, "overlaps late at");
    let supposed = shown(&browser, "/console/schedules?down=00%3A00&up=00%3A00").await;
    has(&supposed, "Down from");

    let trigger = shown(&browser, "/console/confirm?act=trigger&id=early").await;
    has(&trigger, "Starts w once. If the run before has not ended, it runs beside it.");
    let stretch = [
        ("act", "backfill"),
        ("id", "early"),
        ("from", "2026-01-01T00:00:00Z"),
        ("to", "2026-01-03T00:00:00Z"),
    ];
    let preview = shown(&browser, &format!("/console/confirm?{}", pairs(&stretch))).await;
    has(&preview, "Starts 2 runs of w");
    let token = hidden(&preview, "token");
    let longer = [&stretch[..3], &[("to", "2026-01-09T00:00:00Z"), ("token", token)]].concat();
    assert_eq!(act(&browser, &longer).await.status, StatusCode::BAD_REQUEST, "another stretch");
    let back = ("back", "/console/schedules/early");
    let fields = [&stretch[..], &[("token", token), back]].concat();
    after(&browser, &act(&browser, &fields).await).await;
    browser.server.until_queued("a", 3).await;
}

#[tokio::test]
async fn a_silence_is_drawn_and_ends_later() {
    let server = Server::new().await;
    let file = json!({ "monitors": { "web": { "http": "http://127.0.0.1:1/", "every": "24h" } } });
    server.post("/api/monitors", &file).await.ok();
    let silence = json!({ "name": "s", "match": { "monitor": ["web", "gone"] }, "for": "2h",
        "by": "Ida", "comment": "deploy" });
    server.post("/api/silences", &silence).await.ok();
    let before = server.get("/api/silences/s").await.ok();
    let browser = Browser::at(server);
    let page = shown(&browser, "/console/silences").await;
    has(&page, "value=\"extend-silence\"");
    has(&page, "path class=\"odd\"");
    let fields =
        [("act", "extend-silence"), ("id", "s"), ("for", "4h"), ("back", "/console/silences")];
    after(&browser, &act(&browser, &fields).await).await;
    let later = browser.server.get("/api/silences/s").await.ok();
    let to = |it: &Value| it["to"].as_i64().expect("an end");
    assert_eq!(to(&later) - to(&before), 4 * 3_600_000);
    for member in ["match", "from", "by", "comment"] {
        assert_eq!(later[member], before[member], "{member}");
    }
    let none = act(&browser, &[("act", "extend-silence"), ("id", "s"), ("for", "9y")]).await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST);
    // One that comes each week.
    let weekly = [
        ("act", "silence"),
        ("id", "new"),
        ("match", "monitor=web"),
        ("for", "2h"),
        ("hours", "Sat 02:00-04:00"),
        ("tz", "Europe/Oslo"),
    ];
    let page = after(&browser, &act(&browser, &weekly).await).await;
    has(&page, "Sat 02:00-04:00 Europe/Oslo");
    has(&page, "aria-label=\"each week, Sat 02:00-04:00\"");
}

#[tokio::test]
async fn versions_of_a_schema_differ_and_a_trigger_is_changed() {
    let server = Server::new().await;
    server.register(line("w", &["a"])).await;
    for (version, kind) in [(1, "string"), (2, "number")] {
        let schema = json!({ "name": "order", "version": version, "type": "JSON",
            "data": { "type": "object", "properties": { "id": { "type": kind } } } });
        let made = server.post("/api/schema", &schema).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    }
    let trigger = json!([{ "name": "new", "method": "POST", "path": "/jobs/{id}",
        "start": { "name": "w", "correlationId": "${request.path.id}" } }]);
    server.post("/api/triggers", &trigger).await.ok();
    let browser = Browser::at(server);
    let page = shown(&browser, "/console/definitions/schema/order").await;
    has(&page, "/console/definitions/schema/order/1..2\">changes from 1");
    let page = shown(&browser, "/console/definitions/schema/order/1..2").await;
    has(&page, "<ins>");
    let path = "/console/definitions/trigger/new/edit";
    let seen = hidden(&shown(&browser, path).await, "seen").to_owned();
    let changed = json!({ "name": "new", "method": "POST", "path": "/orders/{id}",
        "start": { "name": "w", "correlationId": "${request.path.id}" } });
    let text = changed.to_string();
    let fields = [("definition", &*text), ("seen", &*seen), ("does", "save")];
    after(&browser, &post(&browser, path, &fields).await).await;
    let stored = browser.server().get("/api/triggers/new").await.ok();
    assert_eq!(stored["path"], "/orders/{id}", "{stored}");
}

#[tokio::test]
async fn monitors_are_found_by_kind_label_and_source() {
    let server = Server::new().await;
    let beat = |key: &str| json!({ "heartbeat": { "every": "1h", "key": key }, "labels": { "team": "data" } });
    let web = json!({ "http": "http://127.0.0.1:1/", "every": "24h", "labels": { "team": "web" } });
    let file = json!({ "monitors": { "backup": beat("k-1"), "etl": beat("k-2"), "shop": web } });
    server.post("/api/monitors?source=teams", &file).await.ok();
    let found = async |query: &str| -> Vec<String> {
        let found = server.get(&format!("/api/monitors?{query}")).await.ok();
        let names = found["results"].as_array().into_iter().flatten();
        names.map(|it| it["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(found("kind=http").await, ["shop"]);
    assert_eq!(found("label=team%3Ddata&name=e*").await, ["etl"]);
    assert_eq!(found("kind=heartbeat&source=teams").await, ["backup", "etl"]);
    assert!(found("source=other").await.is_empty());
    server.get("/api/monitors?label=team").await.failed(400);
    let facets = server.get("/api/monitors?facets=true&size=1").await.ok()["facets"].clone();
    let kinds = json!([{ "value": "heartbeat", "count": 2 }, { "value": "http", "count": 1 }]);
    assert_eq!(facets["kind"], kinds);
    assert_eq!(facets["label"][0], json!({ "value": "team=data", "count": 2 }));
    let browser = Browser::at(server);
    let page = shown(&browser, "/console/monitors?q=kind%3Aheartbeat+status%3Anew%2Cup").await;
    has(&page, "/console/monitors/backup\"");
    has_not(&page, "/console/monitors/shop\"");
    has(&page, "/console/silences?match=monitor%3Dbackup");
    let page = shown(&browser, "/console/monitors?q=label%3Ateam%3Dweb").await;
    has_not(&page, "/console/monitors/backup\"");
}
