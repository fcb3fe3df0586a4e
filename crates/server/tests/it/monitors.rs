//! Monitors over the API: files, heartbeats, incidents and what people do about them.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::Server;

const FILE: &str = r#"{
  "receivers": { "noc": { "inbox": null } },
  "routes": [ { "to": "noc" } ],
  "monitors": {
    "backup": { "heartbeat": { "every": "1h", "key": "k-1" }, "labels": { "team": "data" } },
    "web": { "http": "http://127.0.0.1:1/health", "every": "24h" }
  }
}"#;

async fn save(server: &Server) -> Value {
    let file: Value = serde_json::from_str(FILE).expect("the test writes JSON");
    server.post("/api/monitors", &file).await.ok()
}

async fn open_incident(server: &Server) -> Value {
    let page = server.get("/api/incidents").await.ok();
    assert_eq!(page["totalHits"], 1, "{page}");
    page["results"][0].clone()
}

#[tokio::test]
async fn a_file_is_taken_whole_or_refused_with_line_and_column() {
    let server = Server::new().await;
    let saved = save(&server).await;
    assert_eq!((&saved["source"], &saved["defined"]), (&json!("api"), &json!(2)));
    let list = server.get("/api/monitors").await.ok();
    let names: Vec<_> = (0..2).map(|at| &list["results"][at]["name"]).collect();
    assert_eq!(names, ["backup", "web"]);
    assert_eq!(list["results"][0]["status"], "NEW");

    let bad = json!({ "monitors": { "web": { "http": "x", "every": "soon" } } });
    let refused = server.post("/api/monitors", &bad).await;
    refused.failed(400);
    let flaw = &refused.json()["validationErrors"][0];
    assert!(flaw["message"].as_str().is_some_and(|it| it.starts_with("line 1, column")), "{flaw}");
    let shown = server.get("/api/monitors/web").await.ok();
    assert_eq!(shown["definition"]["schedule"]["every"], 86_400_000, "nothing was changed");

    server.get("/api/monitors/nothing").await.failed(404);
    server.delete("/api/monitors/web").await.ok_text();
    server.get("/api/monitors/web").await.failed(404);
}

#[tokio::test]
async fn metrics_tell_of_monitors_incidents_and_deliveries() {
    let server = Server::new().await;
    save(&server).await;
    server.send(Method::POST, "/ping/k-1/3", "disk full".to_owned()).await.ok_text();
    let wanted = [
        "nightbell_monitors{state=\"down\"} 1",
        "nightbell_monitors{state=\"new\"} 1",
        "nightbell_monitors{state=\"unknown\"} 0",
        "nightbell_incidents_open{severity=\"critical\"} 1",
        "nightbell_incidents_open{severity=\"info\"} 0",
        "nightbell_checks_missed_total 0",
        "nightbell_check_lateness_seconds_count 0",
        "nightbell_check_lateness_seconds_bucket{le=\"+Inf\"} 0",
        "nightbell_healthy 1",
        "nightbell_problem{kind=\"store\"} 0",
        "nightbell_files_rejected 0",
        "nightbell_clock_events_total{kind=\"back\"} 0",
    ];
    let text = server.get("/metrics").await.text;
    for line in wanted {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    let health = server.get("/health").await.ok();
    // The machine may have stood still for a while, which is a warning: no more than that.
    assert_eq!((&health["healthy"], &health["problems"]), (&json!(true), &json!([])));

    // What is kept as sums follows: well again, defined anew, and gone.
    let shown = async || {
        let text = server.get("/metrics").await.text;
        let wanted = ["nightbell_monitors{state=\"", "nightbell_incidents_open{severity=\""];
        let lines = text.lines().filter(|it| wanted.iter().any(|name| it.starts_with(name)));
        let counted = lines.filter(|line| !line.ends_with(" 0"));
        let short = |line: &str| line.split('"').skip(1).collect::<String>().replace('}', "");
        counted.map(short).collect::<Vec<_>>()
    };
    assert_eq!(shown().await, ["down 1", "new 1", "critical 1"]);
    server.get("/ping/k-1").await.ok_text();
    assert_eq!(shown().await, ["new 1", "up 1"]);
    save(&server).await;
    assert_eq!(shown().await, ["new 1", "up 1"]);
    server.send(Method::POST, "/ping/k-1/3", "disk full".to_owned()).await.ok_text();
    assert_eq!(shown().await, ["down 1", "new 1", "critical 1"]);
    server.delete("/api/monitors/backup").await.ok_text();
    assert_eq!(shown().await, ["new 1"]);
    server.delete("/api/monitors/web").await.ok_text();
    assert_eq!(shown().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_heartbeat_that_fails_is_an_incident_that_people_handle() {
    let server = Server::new().await;
    save(&server).await;
    assert_eq!(server.get("/ping/k-1/start?rid=7").await.ok_text(), "OK");
    assert_eq!(server.get("/ping/k-1?rid=7").await.ok_text(), "OK");
    assert_eq!(server.get("/api/monitors/backup").await.ok()["status"], "UP");
    server.get("/ping/nobody").await.failed(404);
    server.get("/ping/backup").await.failed(404);
    server.get("/ping/k-1/late").await.failed(404);

    server.send(Method::POST, "/ping/k-1/3", "disk full".to_owned()).await.ok_text();
    let incident = open_incident(&server).await;
    assert_eq!((&incident["state"], &incident["text"]), (&json!("open"), &json!("disk full")));
    let path = |verb: &str| {
        format!("/api/incidents/{}/{verb}", incident["id"].as_str().expect("it has one"))
    };

    let deed = json!({ "who": "ada", "why": "on it" });
    let acknowledged = server.post(&path("acknowledge"), &deed).await.ok();
    assert_eq!(acknowledged["acknowledgedBy"], "ada");
    server.post(&path("acknowledge"), &deed).await.failed(409);
    server.post(&path("snooze"), &deed).await.failed(400);
    let snoozed = server.post(&path("snooze"), &json!({ "who": "ada", "for": "2h" })).await.ok();
    assert_eq!(snoozed["state"], "snoozed");

    // Notes are in the history, newest last; they change nothing else.
    let noted = server.post(&path("note"), &json!({ "who": "bo", "text": " disk is full " })).await;
    assert_eq!(noted.ok()["state"], "snoozed");
    let last = noted.json()["history"].as_array().expect("a history").last().cloned();
    let last = last.expect("it has lines");
    assert_eq!(
        (&last["what"], &last["who"], &last["why"]),
        (&json!("note"), &json!("bo"), &json!("disk is full"))
    );
    server.post(&path("note"), &json!({ "text": "  " })).await.failed(400);
    server.post(&path("note"), &json!({ "text": "é".repeat(1001) })).await.failed(400);
    let refused = server.post(&path("escalate"), &deed).await.failed(409);
    assert!(refused.contains("snoozed"), "{refused}");

    let why = server.get(&path("explain")).await.ok();
    assert_eq!(why["monitor"], "backup");
    assert!(why["rule"].as_str().is_some_and(|rule| rule.contains("fail_after")), "{why}");
    assert!(!why["deliveries"].as_array().expect("a list").is_empty(), "{why}");

    server.post(&path("resolve"), &deed).await.ok();
    assert_eq!(server.get("/api/incidents").await.ok()["totalHits"], 0);
    let over = server.get("/api/incidents?state=resolved").await.ok();
    assert_eq!(over["results"][0]["id"], incident["id"]);
    server.get("/api/incidents/nothing").await.failed(404);
    // What was found out later is written down, too, and is in the ledger.
    server.post(&path("note"), &json!({ "text": "a log grew" })).await.ok();
    server.post(&path("escalate"), &deed).await.failed(409);
    let history = server.get("/api/monitors/backup/history").await.ok();
    let lines = history["incidents"][0]["history"].as_array().expect("a history").clone();
    assert!(lines.iter().any(|it| it["why"] == "a log grew"), "{lines:?}");
}

#[tokio::test]
async fn who_escalates_tells_the_next_step_before_its_time() {
    let server = Server::new().await;
    let file = json!({
        "receivers": { "noc": { "inbox": null }, "boss": { "inbox": null } },
        "routes": [ { "steps": [ { "to": "noc" }, { "to": "boss", "after": "4h" } ] } ],
        "monitors": { "backup": { "heartbeat": { "every": "1h", "key": "k-1" } } }
    });
    server.post("/api/monitors", &file).await.ok();
    server.send(Method::POST, "/ping/k-1/3", "disk full".to_owned()).await.ok_text();
    let incident = open_incident(&server).await;
    let next = &incident["nextStep"];
    assert_eq!((&next["to"], &next["unlessAcknowledged"]), (&json!(["boss"]), &json!(false)));
    let list = server.get("/console/incidents").await.text;
    assert!(list.contains("next: boss in "), "{list}");
    let path = format!("/api/incidents/{}/escalate", incident["id"].as_str().expect("it has one"));
    server.post(&path, &json!({ "who": "ada", "why": "it is bad" })).await.ok();
    assert_eq!(open_incident(&server).await["nextStep"], Value::Null);
    let told = server.get("/api/monitors/backup/history").await.ok();
    let told = told["deliveries"].as_array().expect("a list").clone();
    let to_boss = |it: &&Value| it["receiver"] == "boss" && it["event"] == "escalation";
    assert_eq!(told.iter().filter(to_boss).count(), 1, "{told:?}");
    let refused = server.post(&path, &json!({ "who": "ada" })).await.failed(409);
    assert!(refused.contains("everybody on its route was told"), "{refused}");
}

#[tokio::test]
async fn a_list_of_monitors_is_one_request_and_bounded() {
    let server = Server::new().await;
    let file = json!({ "monitors": {
        "prom": { "alerts": { "key": "k-0123456789abcdef0123", "limit": 200 } },
        "job": { "heartbeat": { "every": "1h", "key": "k-1" } },
    } });
    server.post("/api/monitors", &file).await.ok();
    server.get("/ping/k-1").await.ok_text();
    let alert = |n: u32| {
        let severity = if n == 119 { "critical" } else { "warning" };
        json!({ "labels": { "alertname": format!("a{n:03}"), "severity": severity } })
    };
    let alerts: Vec<Value> = (0..120).map(alert).collect();
    let sent = server.post("/inbound/k-0123456789abcdef0123/api/v2/alerts", &json!(alerts)).await;
    assert_eq!(sent.status, 200, "{}", sent.text);

    let list = server.get("/api/monitors?rollups=1h").await.ok();
    let (job, prom) = (&list["results"][0], &list["results"][1]);
    assert_eq!((&job["name"], &prom["name"]), (&json!("job"), &json!("prom")));
    assert_eq!((&list["statuses"]["DOWN"], &list["statuses"]["UP"]), (&json!(1), &json!(1)));
    // The same as one by one.
    let alone = server.get("/api/monitors/job/rollups?step=1h").await.ok();
    assert_eq!((&job["rollups"]["total"], &alone["total"]["ok"]), (&alone["total"], &json!(1)));
    assert_eq!(job["rollups"]["cells"], alone["cells"]);
    // The worst first, and how many there are.
    let open = prom["openIncidents"].as_array().expect("a list");
    assert_eq!((open.len(), &prom["openIncidentCount"]), (10, &json!(120)));
    assert_eq!(
        (&open[0]["severity"], &open[1]["severity"]),
        (&json!("critical"), &json!("warning"))
    );
    let shown = server.get("/api/monitors/prom").await.ok();
    assert_eq!(shown["openIncidents"].as_array().map(Vec::len), Some(100));
    assert_eq!(shown["openIncidentCount"], 120);

    assert!(server.get("/api/monitors").await.ok()["results"][0].get("rollups").is_none());
    server.get("/api/monitors?rollups=7m").await.failed(400);
    let many = server.get("/api/monitors?rollups=5m&size=100").await.failed(400);
    assert!(many.contains("20000"), "{many}");
}

#[tokio::test]
async fn a_silence_tells_what_it_would_hide_and_is_taken_back() {
    let server = Server::new().await;
    save(&server).await;
    server.get("/ping/k-1/fail").await.ok_text();
    let silence = json!({ "match": { "team": "data" }, "for": "2h", "comment": "moving" });
    let hidden = server.post("/api/silences/preview", &silence).await.ok();
    assert_eq!(hidden[0]["monitor"], "backup");
    let other = json!({ "match": { "team": "web" }, "for": "2h" });
    assert_eq!(server.post("/api/silences/preview", &other).await.ok(), json!([]));

    let made = server.post("/api/silences", &silence).await.ok();
    let id = made["id"].as_str().expect("it has one");
    assert_eq!(server.get("/api/silences").await.ok()[0]["comment"], "moving");
    let shown = server.get("/api/monitors/backup").await.ok();
    assert_eq!(shown["silences"][0]["id"], id);
    server.delete(&format!("/api/silences/{id}")).await.ok_text();
    server.delete(&format!("/api/silences/{id}")).await.failed(404);
    server.post("/api/silences", &json!({ "match": 3 })).await.failed(400);
}

#[tokio::test]
async fn a_silence_that_can_hide_nothing_or_has_no_end_is_refused() {
    let server = Server::new().await;
    save(&server).await;
    let misspelt = json!({ "match": { "montor": "web" }, "for": "1h" });
    let refused = server.post("/api/silences", &misspelt).await;
    refused.failed(400);
    let message = refused.json()["message"].as_str().expect("a message").to_owned();
    assert_eq!(
        message,
        "this would hide nothing: no monitor has a label \"montor\"; there are monitor, key, \
         severity, team; is monitor meant?"
    );
    let endless = server.post("/api/silences", &json!({ "match": { "monitor": "web" } })).await;
    endless.failed(400);
    assert!(endless.json()["message"].as_str().is_some_and(|it| it.contains("needs an end")));
    assert_eq!(server.get("/api/silences").await.ok(), json!([]), "none is kept");

    let early = json!({ "match": { "region": "north" }, "for": "1h" });
    server.post("/api/silences?force=true", &early).await.ok();
    let doubtful = json!({ "match": { "monitor": "wbe" }, "for": "1h" });
    let made = server.post("/api/silences", &doubtful).await.ok();
    assert_eq!(made["warnings"], json!(["no monitor is called \"wbe\"; is web meant?"]));
}

#[tokio::test]
async fn who_would_be_told_is_told_before_it_happens() {
    let server = Server::new().await;
    let file = json!({
        "receivers": { "noc": { "inbox": null }, "data": { "inbox": null, "fallback": "noc" } },
        "routes": [ { "match": { "team": "data" }, "to": "data" }, { "to": "noc" } ],
        "monitors": { "web": { "http": "https://w", "every": "24h", "labels": { "team": "data" } } },
    });
    server.post("/api/monitors", &file).await.ok();
    let ask = async |question: Value| server.post("/api/routes/test", &question).await;
    let told = ask(json!({ "monitor": "web" })).await.ok();
    assert_eq!((&told["route"], &told["steps"][0]["to"]), (&json!("routes[0]"), &json!(["data"])));
    assert_eq!(told["steps"][0]["fallbacks"], json!({ "data": "noc" }));
    let told = ask(json!({ "labels": { "team": "dta" } })).await.ok();
    assert_eq!(told["steps"][0]["to"], json!(["noc"]));
    assert_eq!(told["passedOver"], json!(["routes[0] wants team data; it is \"dta\""]));
    assert_eq!(told["warnings"], json!(["no monitor has the team \"dta\"; is data meant?"]));
    ask(json!({ "monitor": "wbe" })).await.failed(404);
    ask(json!({ "severity": "fatal" })).await.failed(400);
    ask(json!({ "label": {} })).await.failed(400);
}

#[tokio::test]
async fn receivers_show_no_secrets() {
    let server = Server::new().await;
    let file = json!({ "receivers": {
        "a": { "pagerduty": { "key": "0123456789abcdef" } },
        "b": { "pagerduty": { "key": "${secret:KEY}" }, "fallback": "a" },
    } });
    server.post("/api/monitors", &file).await.ok();
    let receivers = server.get("/api/receivers").await.ok();
    assert_eq!(receivers[0]["settings"]["key"], "***");
    assert_eq!(receivers[1]["settings"]["key"], "${secret:KEY}");
    assert_eq!(receivers[1]["fallback"], "a");
    server.post("/api/receivers/c/test", &Value::Null).await.failed(404);
}

#[tokio::test]
async fn rollups_tell_how_checks_ended_by_stretches_of_time() {
    let server = Server::new().await;
    let file = json!({ "monitors": { "job": { "heartbeat": { "every": "1h", "key": "k-9" } } } });
    server.post("/api/monitors", &file).await.ok();
    for call in ["", "/3", "", "/log"] {
        server.send(Method::POST, &format!("/ping/k-9{call}"), String::new()).await.ok_text();
    }
    for step in ["", "?step=30m", "?step=1h", "?step=12h", "?step=1d"] {
        let told = server.get(&format!("/api/monitors/job/rollups{step}")).await.ok();
        let total = &told["total"];
        let counts =
            ["checks", "ok", "fail", "unknown", "missed", "incidents"].map(|it| total[it].as_u64());
        assert_eq!(counts, [3, 2, 1, 0, 0, 1].map(Some), "{step}: {told}");
        assert_eq!(total["uptime"], 66.666, "rounded down");
        let cells = told["cells"].as_array().expect("cells");
        assert_eq!(cells.iter().filter_map(|it| it["checks"].as_u64()).sum::<u64>(), 3, "{told}");
    }
    let before =
        server.get("/api/monitors/job/rollups?step=1h&to=2020-01-01T00:00:00Z&from=0").await;
    before.failed(400);
    let before = "/api/monitors/job/rollups?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z";
    let before = server.get(before).await.ok();
    assert_eq!((&before["cells"], &before["total"]["uptime"]), (&json!([]), &json!(null)));
    server.get("/api/monitors/job/rollups?step=7m").await.failed(400);
    server.get("/api/monitors/none/rollups").await.failed(404);
}

#[tokio::test]
async fn the_next_checks_are_told_with_what_silences_them() {
    let server = Server::new().await;
    save(&server).await;
    let next = async |path: &str| server.get(&format!("/api/monitors/{path}")).await;
    let silence = json!({ "match": { "monitor": "web" }, "for": "1d", "comment": "moving" });
    let silence = server.post("/api/silences", &silence).await.ok();
    let told = next("web/next?limit=3").await.ok();
    let day = 86_400_000;
    let at = |index: usize| told[index]["at"].as_i64().expect("a time");
    assert_eq!((at(1) - at(0), at(2) - at(0)), (day, 2 * day));
    assert_eq!(told[0]["silences"][0]["id"], silence["id"]);
    assert_eq!(told[0]["silences"][0]["comment"], "moving");
    assert_eq!(told[2]["silences"], json!([]));
    let later = next(&format!("web/next?limit=1&after={}", at(0))).await.ok();
    assert_eq!(later[0]["at"], at(1));
    next("backup/next").await.failed(409);
    next("nothing/next").await.failed(404);
    next("web/next?limit=0").await.failed(400);
    next("web/next?after=x").await.failed(400);
}

#[tokio::test]
async fn incidents_are_found_by_what_they_are_and_acknowledgements_are_taken_back() {
    let server = Server::new().await;
    save(&server).await;
    server.send(Method::POST, "/ping/k-1/3", "disk full".to_owned()).await.ok_text();
    let id = open_incident(&server).await["id"].as_str().expect("an id").to_owned();
    let count = async |query: &str| {
        let found = server.get(&format!("/api/incidents?{query}")).await.ok();
        assert_eq!(found["exact"], true, "{found}");
        found["totalHits"].as_u64().expect("a count")
    };
    let severity = open_incident(&server).await["severity"].as_str().expect("a word").to_owned();
    for query in [
        format!("severity={severity},info").as_str(),
        "label=team%3Ddata",
        "label=team",
        "text=FULL%20backup",
        "silenced=false",
        "label=team&text=disk&silenced=false",
    ] {
        assert_eq!(count(query).await, 1, "{query}");
    }
    for query in [
        "severity=info",
        "label=team%3Dweb",
        "text=empty",
        "silenced=true",
        "receiver=nobody",
        "text=disk&start=1&size=0&severity=info",
    ] {
        assert_eq!(count(query).await, 0, "{query}");
    }
    let act = async |what: &str| {
        server
            .post(
                &format!("/api/incidents/{}/{what}", id.replace('/', "%2F")),
                &json!({ "who": "Ida" }),
            )
            .await
    };
    act("unacknowledge").await.failed(409);
    act("acknowledge").await.ok();
    let shown = act("unacknowledge").await.ok();
    assert_eq!(
        (&shown["state"], &shown["acknowledgedAt"]),
        (&json!("open"), &Value::Null),
        "{shown}"
    );
}

#[tokio::test]
async fn a_silence_tells_what_it_hid() {
    let server = Server::new().await;
    save(&server).await;
    let silence = json!({ "name": "s:x", "match": { "monitor": "backup" }, "for": "2h" });
    server.post("/api/silences", &silence).await.ok();
    server.send(Method::POST, "/ping/k-1/3", "disk full".to_owned()).await.ok_text();
    let id = open_incident(&server).await["id"].clone();
    let hidden = server.get("/api/silences/s%3Ax/hidden").await.ok();
    assert_eq!(
        (hidden.as_array().map(Vec::len), &hidden[0]["incident"]),
        (Some(1), &id),
        "{hidden}"
    );
    // Another, with a name that this one's begins with.
    assert_eq!(server.get("/api/silences/s/hidden").await.ok(), json!([]));
}

#[tokio::test]
async fn a_ping_key_calls_monitors_by_their_slugs_and_makes_those_that_it_may() {
    const KEY: &str = "a-key-that-nobody-guesses";
    let server = Server::new().await;
    let file = json!({
        "ping_keys": {
            "jobs": { "key": KEY, "create": { "heartbeat": { "every": "1d" }, "labels": { "team": "ops" } },
                      "limit": 1 },
            "closed": "another-key-that-nobody-guesses",
        },
        "monitors": {
            "backup": { "heartbeat": { "every": "1h" } },
            "Start": { "heartbeat": { "every": "1h", "slug": "start" } },
            "own": { "heartbeat": { "every": "1h", "key": "k-1" } },
            "web": { "http": "http://127.0.0.1:1/", "every": "24h" },
        },
    });
    server.post("/api/monitors", &file).await.ok();
    let call = |path: &str| format!("/ping/{KEY}/{path}");
    let status = async |name: &str| {
        server.get(&format!("/api/monitors/{name}")).await.ok()["status"]
            .as_str()
            .map(str::to_owned)
    };
    assert_eq!(server.get(&call("backup/start?rid=1")).await.ok_text(), "OK");
    assert_eq!(server.get(&call("backup?rid=1")).await.ok_text(), "OK");
    assert_eq!(status("backup").await.as_deref(), Some("UP"));
    let text = format!("begin {} end", "x".repeat(20_000));
    server.send(Method::POST, &call("backup/7"), text).await.ok_text();
    assert_eq!(status("backup").await.as_deref(), Some("DOWN"));
    let shown = server.get("/api/monitors/backup").await.ok();
    let said = shown["heartbeat"]["text"].as_str().expect("it says something").to_owned();
    assert!(said.ends_with("x end") && said.chars().count() == 10_000, "the end of it is kept");
    assert_eq!(
        server.get(&call("start")).await.ok_text(),
        "OK",
        "a slug that is a signal elsewhere"
    );
    assert_eq!(status("Start").await.as_deref(), Some("UP"));

    // Nobody else's: a monitor with a key of its own, no heartbeat, another key, no slug at all.
    for path in ["own", "web", "nothing", "nothing/fail", "backup/late"] {
        server.get(&call(path)).await.failed(404);
    }
    server.get("/ping/nobody-has-this-key/backup/fail").await.failed(404);
    server.get("/ping/another-key-that-nobody-guesses/new?create=1").await.failed(404);
    // In a source of its own, which any file's monitor of that name would replace.
    server.get(&call("web?create=1")).await.failed(409);
    server.get(&call("no%20slug?create=1")).await.failed(404);
    let made = server.get(&call("host-1/start?create=1")).await;
    assert_eq!((made.status.as_u16(), made.text), (201, "Created".to_owned()));
    assert_eq!(server.get(&call("host-1?create=1")).await.ok_text(), "OK");
    let shown = server.get("/api/monitors/host-1").await.ok();
    assert_eq!(shown["definition"]["labels"]["team"], "ops");
    assert!(shown["origin"].as_str().is_some_and(|it| it.contains("pings:jobs")), "{shown}");
    server.get("/ping/host-1").await.failed(404);
    server.get(&call("host-2?create=1")).await.failed(409);
    server.delete("/api/monitors/host-1").await.ok_text();
    let made = server.get(&call("host-2/log?create=1")).await;
    assert_eq!(made.status.as_u16(), 201, "there is room again");
    let written = json!({ "monitors": { "host-2": { "heartbeat": { "every": "2h" } } } });
    server.post("/api/monitors", &written).await.ok();
    let shown = server.get("/api/monitors/host-2").await.ok();
    assert_eq!(shown["definition"]["schedule"]["every"], 7_200_000, "what is written counts");
    assert_eq!(server.get(&call("host-2")).await.ok_text(), "OK");
}

#[tokio::test]
async fn a_composite_monitor_needs_others_and_not_itself() {
    let server = Server::new().await;
    let file = json!({ "monitors": {
        "web": { "heartbeat": { "every": "1h" } },
        "shop": { "composite": "web", "every": "24h" },
    } });
    server.post("/api/monitors", &file).await.ok();
    let itself = json!({ "monitors": { "a": { "composite": "shop", "every": "1m" } } });
    server.send(Method::POST, "/api/monitors?source=other", itself.to_string()).await.ok_text();
    let around = json!({ "monitors": { "shop": { "composite": "a", "every": "24h" } } });
    let message = server.post("/api/monitors", &around).await.failed(409);
    assert!(message.contains("composed of itself"), "over files, too: {message}");
    let needed = server.delete("/api/monitors/web").await.failed(409);
    assert!(needed.contains("there is no monitor web"), "{needed}");
}

#[tokio::test]
async fn badges_show_what_a_public_status_page_shows() {
    let server = Server::new().await;
    save(&server).await;
    server.get("/ping/k-1").await.ok_text();
    let component = |label: &str, monitor: &str| json!({ "label": label, "monitor": monitor });
    let mut page = json!({ "name": "shop", "title": "The <shop>", "public": true, "groups": [
        { "title": "Nightly", "components": [component("Back & up", "backup")] },
        { "title": "Web", "components": [component("Pages", "web"), component("Copy", "backup")] } ] });
    server.post("/api/status-pages", &page).await.ok();
    let badge = async |path: &str| server.get(&format!("/badge/{path}")).await;
    let well = badge("shop/Back%20%26%20up.svg").await;
    assert!(well.ok_text().contains("<title>Back &amp; up: up</title>"), "{}", well.text);
    assert_eq!(well.content_type, "image/svg+xml; charset=utf-8");
    assert_eq!(well.headers["cache-control"], "public, max-age=30");
    assert_eq!(
        well.headers["cross-origin-resource-policy"], "cross-origin",
        "pages of others show it"
    );
    assert!(badge("shop/Web.svg").await.ok_text().contains("unknown"), "the worst of a group");
    server.get("/ping/k-1/fail").await.ok_text();
    let down = badge("shop/Nightly.json").await.ok();
    let said = (&down["schemaVersion"], &down["label"], &down["message"]);
    assert_eq!(said, (&json!(1), &json!("Nightly"), &json!("down")));
    let whole = badge("shop.svg").await.ok_text();
    assert!(whole.contains("The &lt;shop&gt;: down") && !whole.contains("<shop>"), "{whole}");
    for path in ["shop/backup.svg", "shop/Pages", "shop/Pages.png", "shop", "none.svg"] {
        badge(path).await.failed(404);
    }
    page["public"] = false.into();
    server.post("/api/status-pages", &page).await.ok();
    let hidden = badge("shop.svg").await.failed(404);
    assert_eq!(hidden, badge("none.svg").await.failed(404), "it is not told that there is one");
}
