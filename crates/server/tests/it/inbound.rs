//! Alerts of other systems: each protocol under `/inbound/{key}`, what the key opens, and what it does not.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Server};

const SEND: &str = "/inbound/k-send-0123456789abcdef";
const OPEN: &str = "/inbound/k-open-0123456789abcdef";

async fn server() -> Server {
    let server = Server::with_secrets(vec![("SEND", "k-send-0123456789abcdef")]).await;
    let file = json!({
        "receivers": { "noc": { "inbox": null }, "db": { "inbox": null } },
        "routes": [
            { "match": { "team": "db" }, "to": "db", "group_by": ["alertname"] }, { "to": "noc" }
        ],
        "monitors": {
            "prom": { "alerts": { "key": "${secret:SEND}", "ignore": ["replica"], "limit": 3 } },
            "grafana": { "alerts": { "key": ["k-open-0123456789abcdef"],
                "allow": ["read", "silence"], "map": "." } },
        }
    });
    server.post("/api/monitors", &file).await.ok();
    server
}

async fn post(server: &Server, path: &str, body: &Value) -> Answer {
    server.send(Method::POST, path, body.to_string()).await
}

async fn sends(server: &Server, to: &str, alerts: Value) -> Answer {
    post(server, &format!("{to}/api/v2/alerts"), &alerts).await
}

/// An instant so many days from now, as RFC 3339 writes it.
fn in_days(days: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)).to_string()
}

/// The open incidents of a monitor, by key.
async fn open(server: &Server, monitor: &str) -> Vec<String> {
    let shown = server.get(&format!("/api/monitors/{monitor}")).await.ok();
    let open = shown["openIncidents"].as_array().expect("a list");
    open.iter().map(|it| it["key"].as_str().expect("a key").to_owned()).collect()
}

#[tokio::test]
async fn prometheus_sends_alerts_that_become_incidents_and_end() {
    let server = server().await;
    let down = |replica: &str| {
        json!({ "labels": { "alertname": "Down", "replica": replica },
        "annotations": { "summary": "it is down" }, "generatorURL": "http://p/graph" })
    };
    assert_eq!(server.get("/api/monitors/prom").await.ok()["status"], "NEW");
    for replica in ["a", "b", "a"] {
        assert_eq!(sends(&server, SEND, json!([down(replica)])).await.status, 200);
    }
    assert_eq!(open(&server, "prom").await, ["Down"]);
    let shown = server.get("/api/monitors/prom").await.ok();
    assert_eq!((&shown["status"], &shown["kind"]), (&json!("DOWN"), &json!("alerts")));
    let incident = &shown["openIncidents"][0];
    assert_eq!(
        (&incident["text"], &incident["labels"]),
        (&json!("it is down"), &json!({ "alertname": "Down" }))
    );
    // It checks nothing.
    server.post("/api/monitors/prom/check", &json!({})).await.failed(409);

    let mut over = json!({ "labels": { "alertname": "Down" }, "endsAt": "2020-01-01T00:00:00Z" });
    assert_eq!(sends(&server, SEND, json!([over])).await.status, 200);
    assert!(open(&server, "prom").await.is_empty());
    assert_eq!(server.get("/api/monitors/prom").await.ok()["status"], "UP");

    // What is wrong is named, and all others are taken.
    over["labels"] = json!({});
    let refused = sends(&server, SEND, json!([over, down("a"), 7])).await;
    assert_eq!(refused.status, 400);
    let said = refused.json().as_str().expect("a text, as Alertmanager's").to_owned();
    assert!(said.contains("2 alerts were not taken: alert 0: an alert needs"), "{said}");
    assert!(said.ends_with("(alerts-invalid)"), "{said}");
    assert_eq!(open(&server, "prom").await, ["Down"]);
}

#[tokio::test]
async fn beyond_the_limit_new_alerts_are_refused_and_the_monitor_says_so() {
    let server = server().await;
    let named = |at: u32| json!({ "labels": { "alertname": format!("A{at}") } });
    let many = sends(&server, SEND, (0..5).map(named).collect()).await;
    assert_eq!(many.status, 429);
    let said = many.json().to_string();
    assert!(said.contains("2 alerts were not taken") && said.contains("inbound-full"), "{said}");
    assert_eq!(open(&server, "prom").await, ["#limit", "A0", "A1", "A2"]);
    // Those that fire are heard.
    assert_eq!(sends(&server, SEND, json!([named(0), named(2)])).await.status, 200);
    let over = json!([{ "labels": { "alertname": "A1" }, "endsAt": "2020-01-01T00:00:00Z" }]);
    assert_eq!(sends(&server, SEND, over).await.status, 200);
    // `#limit` ends when there is room, which takes until receivers have heard that an alert is over.
    let mut fire = open(&server, "prom").await;
    fire.retain(|name| name != "#limit");
    assert_eq!(fire, ["A0", "A2"]);
    let too_many: Value = (0..20_001).map(named).collect();
    assert_eq!(sends(&server, OPEN, too_many).await.status, 413);
    assert!(open(&server, "grafana").await.is_empty());
}

#[tokio::test]
async fn a_key_opens_its_monitor_and_by_itself_only_lets_alerts_in() {
    let server = server().await;
    let unknown = sends(&server, "/inbound/k-other-0123456789abcdef", json!([])).await;
    assert_eq!(unknown.status, 404);
    assert!(!unknown.text.contains("k-other"), "a key is not repeated: {}", unknown.text);
    assert!(unknown.text.contains("inbound-unknown"));
    for path in ["alerts", "alerts/groups", "status", "receivers", "silences", "silence/x"] {
        let answer = server.get(&format!("{SEND}/api/v2/{path}")).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text.contains("inbound-read-off"), "{path}: {}", answer.text);
    }
    let silence = json!({ "matchers": [], "startsAt": "", "endsAt": "" });
    let refused = post(&server, &format!("{SEND}/api/v2/silences"), &silence).await;
    assert!(refused.status == 403 && refused.text.contains("inbound-silence-off"));
    let refused = server.delete(&format!("{SEND}/api/v2/silence/x")).await;
    assert_eq!(refused.status, 403);
    // A key that is written out is shown nowhere.
    let shown = server.get("/api/monitors/grafana").await;
    assert!(!shown.text.contains("k-open"), "{}", shown.text);
}

#[tokio::test]
async fn alerts_are_shown_as_alertmanager_shows_them() {
    let server = server().await;
    let alerts = json!([
        { "labels": { "alertname": "Slow", "team": "db", "severity": "warning" },
          "annotations": { "summary": "9 s" }, "generatorURL": "http://p/1" },
        { "labels": { "alertname": "Slow", "team": "web" } },
    ]);
    assert_eq!(sends(&server, OPEN, alerts).await.status, 200);
    let all = server.get(&format!("{OPEN}/api/v2/alerts")).await.ok();
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    let slow = &server.get(&format!("{OPEN}/api/v2/alerts?filter=team%3D~%22d.%22")).await.ok()[0];
    assert_eq!(slow["labels"]["severity"], "warning");
    assert_eq!(
        (&slow["annotations"], &slow["generatorURL"]),
        (&json!({ "summary": "9 s" }), &json!("http://p/1"))
    );
    assert_eq!(
        (&slow["receivers"], &slow["status"]["state"]),
        (&json!([{ "name": "db" }]), &json!("active"))
    );
    let none = server.get(&format!("{OPEN}/api/v2/alerts?filter=team%3Dx")).await.ok();
    assert_eq!(none, json!([]));
    let wrong = server.get(&format!("{OPEN}/api/v2/alerts?filter=team%3D~%22(%22")).await;
    assert_eq!(wrong.status, 400);
    let only = server.get(&format!("{OPEN}/api/v2/alerts?receiver=no.")).await.ok();
    assert_eq!(only[0]["labels"]["team"], "web");

    let groups = server.get(&format!("{OPEN}/api/v2/alerts/groups")).await.ok();
    let named: Vec<_> =
        (0..2).map(|at| (&groups[at]["receiver"]["name"], &groups[at]["labels"])).collect();
    assert_eq!(named[0], (&json!("db"), &json!({ "alertname": "Slow" })));
    assert_eq!(named[1].0, "noc");
    let status = server.get(&format!("{OPEN}/api/v2/status")).await.ok();
    assert_eq!(status["cluster"]["status"], "disabled");
    assert!(status["versionInfo"]["version"].as_str().is_some_and(|it| it.split('.').count() == 3));
    let receivers = server.get(&format!("{OPEN}/api/v2/receivers")).await.ok();
    assert_eq!(receivers, json!([{ "name": "db" }, { "name": "noc" }]));

    // Grafana and `amtool config routes` read the routes out of the status.
    let text = status["config"]["original"].as_str().expect("a text");
    let (_, text) = text.split_once("\nroute: ").expect("a route");
    let (route, receivers) = text.split_once("\nreceivers: ").expect("receivers");
    assert_eq!(
        serde_json::from_str::<Value>(route).expect("JSON is YAML"),
        json!({ "receiver": "nobody", "routes": [
            { "receiver": "db", "continue": false, "matchers": ["team=\"db\""],
              "group_by": ["alertname"] },
            { "receiver": "noc", "continue": false, "group_by": ["..."] },
        ] })
    );
    assert_eq!(
        serde_json::from_str::<Value>(receivers).expect("JSON is YAML"),
        json!([{ "name": "db" }, { "name": "noc" }, { "name": "nobody" }])
    );
    // karma asks for the version so.
    let version = server.get(&format!("{OPEN}/metrics")).await.ok_text();
    assert!(version.contains("\nalertmanager_build_info{version=\"0.27.0\""), "{version}");
}

#[tokio::test]
async fn who_is_told_and_since_when_is_shown_as_its_sender_and_the_routes_say() {
    let server = Server::new().await;
    let file = json!({
        "receivers": { "team": { "inbox": null }, "oncall": { "inbox": null } },
        "routes": [{ "match": { "severity": "critical" },
            "steps": [{ "to": "team" }, { "to": "oncall", "after": "5m" }] }],
        "monitors": { "am": { "alerts": { "key": "k-open-0123456789abcdef", "allow": "silence" } } }
    });
    server.post("/api/monitors", &file).await.ok();
    let alerts = json!([
        { "labels": { "alertname": "A", "severity": "critical" }, "startsAt": "2026-01-02T03:04:05.678Z" },
        { "labels": { "alertname": "B", "severity": "warning" } },
    ]);
    assert_eq!(sends(&server, OPEN, alerts).await.status, 200);
    let get = async |path: &str| server.get(&format!("{OPEN}/api/v2/{path}")).await;
    let all = get("alerts").await.ok();
    assert_eq!(all[0]["startsAt"], "2026-01-02T03:04:05.678Z");
    assert_eq!(all[0]["annotations"], json!({}));
    let names = |groups: &Value| -> Vec<String> {
        let groups = groups.as_array().expect("a list");
        groups
            .iter()
            .map(|it| it["receiver"]["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    // What nobody is told of is the one that somebody should see.
    assert_eq!(names(&get("alerts/groups").await.ok()), ["nobody", "oncall", "team"]);
    assert_eq!(names(&get("alerts/groups?receiver=te.m").await.ok()), ["team"]);
    assert_eq!(get("alerts?receiver=(").await.status, 400);
    assert_eq!(get("alerts?active=FALSE").await.ok(), json!([]));
    assert_eq!(get("alerts?active=false&active=true").await.ok().as_array().map(Vec::len), Some(2));

    // Whoever is asleep is quiet.
    let shown = server.get("/api/monitors/am").await.ok();
    let id = shown["openIncidents"][0]["id"].as_str().expect("an id");
    let snooze = json!({ "for": "1h", "who": "ann" });
    server.post(&format!("/api/incidents/{id}/snooze"), &snooze).await.ok();
    assert_eq!(get("alerts?silenced=false").await.ok().as_array().map(Vec::len), Some(1));
}

/// karma forwards what its page sends, and with it where that page is from.
#[tokio::test]
async fn pages_of_others_that_have_the_key_may_use_it() {
    let server = server().await;
    let silence = json!({ "matchers": [{ "name": "a", "value": "b" }], "endsAt": in_days(1) });
    let from = [
        ("content-type", "application/json"),
        ("origin", "http://karma:8090"),
        ("sec-fetch-site", "cross-site"),
    ];
    let path = format!("{OPEN}/api/v2/silences");
    let made = server.send_with(Method::POST, &path, &from, silence.to_string()).await.ok();
    let id = made["silenceID"].as_str().expect("an id");
    let path = format!("{OPEN}/api/v2/silence/{id}");
    assert_eq!(server.send_with(Method::DELETE, &path, &from, String::new()).await.status, 200);
    // Without one, nothing is let.
    let path = "/api/silences";
    assert_eq!(server.send_with(Method::POST, path, &from, silence.to_string()).await.status, 403);
}

#[tokio::test]
async fn silences_go_both_ways_and_stay_with_the_monitor_of_the_key() {
    let server = server().await;
    let down = json!([{ "labels": { "alertname": "Down", "severity": "page" } }]);
    for to in [OPEN, SEND] {
        assert_eq!(sends(&server, to, down.clone()).await.status, 200);
    }
    let matchers = json!([
        { "name": "severity", "value": "page", "isRegex": false, "isEqual": true },
        { "name": "alertname", "value": "Down|Up.*", "isRegex": true },
    ]);
    let silence = json!({ "matchers": matchers, "startsAt": "2020-01-01T00:00:00Z",
        "endsAt": in_days(7), "createdBy": "ann", "comment": "moving" });
    let path = format!("{OPEN}/api/v2/silences");
    let id =
        post(&server, &path, &silence).await.ok()["silenceID"].as_str().expect("an id").to_owned();
    let shown = server.get(&format!("{OPEN}/api/v2/silence/{id}")).await.ok();
    assert_eq!(shown["status"]["state"], "active");
    assert_eq!(
        shown["matchers"][0],
        json!({ "name": "severity", "value": "page", "isRegex": false, "isEqual": true })
    );
    assert_eq!(shown["matchers"][1]["value"], "Down|Up.*");
    assert_eq!(shown["createdBy"], "ann (key of grafana)");
    let alert = server.get(&format!("{OPEN}/api/v2/alerts")).await.ok();
    assert_eq!(
        alert[0]["status"],
        json!({ "state": "suppressed", "silencedBy": [id], "inhibitedBy": [] })
    );
    assert_eq!(server.get(&format!("{OPEN}/api/v2/alerts?silenced=false")).await.ok(), json!([]));
    // The same alert in another monitor is not silenced by it.
    let other = server.get("/api/monitors/prom").await.ok();
    assert_eq!(other["silences"], json!([]));

    let mut longer = silence.clone();
    longer["id"] = json!(id);
    longer["comment"] = json!("still");
    // The page in which it is changed sends back whom it showed.
    longer["createdBy"] = json!("ann (key of grafana)");
    assert_eq!(post(&server, &path, &longer).await.ok()["silenceID"], json!(id));
    let again = server.get(&format!("{OPEN}/api/v2/silence/{id}")).await.ok();
    assert_eq!(again["startsAt"], shown["startsAt"]);
    assert_eq!(again["createdBy"], "ann (key of grafana)");
    let listed = server.get(&format!("{path}?filter=severity%3Dpage")).await.ok();
    assert_eq!(
        (listed.as_array().map(Vec::len), &listed[0]["comment"]),
        (Some(1), &json!("still"))
    );
    for other in ["severity%3Dx", "severity!%3Dx", "nope!%3Dx", "severity%3D~%22page%22"] {
        let found = server.get(&format!("{path}?filter={other}")).await.ok();
        let is_same = other.ends_with("%22page%22");
        assert_eq!(found.as_array().map(Vec::len), Some(usize::from(is_same)), "{other}");
    }

    for (what, reason) in [
        (json!({ "name": "a", "value": "x[0-9]", "isRegex": true }), "class of characters"),
        (json!({ "name": "a", "value": "", "isRegex": false }), "empty text"),
        (json!({ "name": "a" }), "needs the text value"),
    ] {
        let mut wrong = silence.clone();
        wrong["matchers"] = json!([what]);
        let refused = post(&server, &path, &wrong).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text.contains(reason), "{}", refused.text);
    }
    let mut past = silence.clone();
    past["endsAt"] = json!("2020-01-02T00:00:00Z");
    assert_eq!(post(&server, &path, &past).await.status, 400);

    let mut long = silence.clone();
    long["endsAt"] = json!(in_days(400));
    let refused = post(&server, &path, &long).await;
    assert!(refused.status == 400 && refused.text.contains("more than a year"), "{}", refused.text);

    // Silences of others are shown, without who made them and why, and not for this key to end or to
    // change: not even those that are for its monitor alone.
    let others = json!({ "name": "others", "match": { "monitor": "grafana" }, "for": "2h",
        "by": "ann", "comment": "do not tell" });
    server.post("/api/silences", &others).await.ok();
    assert_eq!(server.get(&path).await.ok().as_array().map(Vec::len), Some(2));
    let shown = server.get(&format!("{OPEN}/api/v2/silence/others")).await.ok();
    assert_eq!((&shown["createdBy"], &shown["comment"]), (&json!(""), &json!("")));
    let mut overwriting = silence.clone();
    overwriting["id"] = json!("others");
    assert_eq!(post(&server, &path, &overwriting).await.status, 404);
    assert_eq!(server.delete(&format!("{OPEN}/api/v2/silence/others")).await.status, 404);
    let own = format!("{OPEN}/api/v2/silence/{id}");
    for _ in 0..2 {
        assert_eq!(server.delete(&own).await.status, 200);
    }
    // It is shown for a day, and whoever has it open still makes another.
    assert_eq!(server.get(&own).await.ok()["status"]["state"], "expired");
    let alert = server.get(&format!("{OPEN}/api/v2/alerts?silenced=false")).await.ok();
    assert_eq!(
        alert.as_array().map(Vec::len),
        Some(0),
        "the silence of the whole monitor is there"
    );
    let renewed = post(&server, &path, &longer).await.ok()["silenceID"].clone();
    assert_ne!(renewed, json!(id));
    assert_eq!(server.get(&path).await.ok().as_array().map(Vec::len), Some(3));
    // One of the whole monitor has a matcher there all the same.
    let others = server.get(&format!("{OPEN}/api/v2/silence/others")).await.ok();
    assert_eq!(others["matchers"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn one_key_cannot_use_up_the_silences_of_the_server() {
    let server = server().await;
    let path = format!("{OPEN}/api/v2/silences");
    let silence = json!({ "endsAt": in_days(1), "matchers": [{ "name": "a", "value": "b" }] });
    let first = post(&server, &path, &silence).await.ok()["silenceID"].clone();
    for _ in 1..50 {
        post(&server, &path, &silence).await.ok();
    }
    let refused = post(&server, &path, &silence).await;
    assert_eq!(refused.status, 409);
    assert!(refused.text.contains("50 silences already"), "{}", refused.text);
    // Those that are there can be changed, and people go on making theirs.
    let mut changed = silence.clone();
    changed["id"] = first.clone();
    assert_eq!(post(&server, &path, &changed).await.ok()["silenceID"], first);
    let others = json!({ "name": "others", "match": { "monitor": "grafana" }, "for": "2h" });
    server.post("/api/silences", &others).await.ok();
    // Whoever makes and ends them again and again leaves no more of them.
    let expire = async |id: &Value| {
        let id = id.as_str().expect("an id");
        server.delete(&format!("{OPEN}/api/v2/silence/{id}")).await.status
    };
    assert_eq!(expire(&first).await, 200);
    for _ in 0..70 {
        let made = post(&server, &path, &silence).await.ok()["silenceID"].clone();
        assert_eq!(expire(&made).await, 200);
    }
    let kept = server.get(&path).await.ok().as_array().map(Vec::len);
    assert!(kept.is_some_and(|kept| (50..=102).contains(&kept)), "{kept:?}");
}

#[tokio::test]
async fn without_a_key_nothing_is_read_and_with_one_only_what_is_bounded() {
    let server = server().await;
    let list = format!("[{}0]", "0,".repeat(300_000));
    for path in ["api/v2/alerts", "api/v2/silences", "webhook", "oncall", "json", "v2/enqueue"] {
        // What is no JSON would be refused as such if it was read first.
        let path = format!("/inbound/k-other-0123456789abcdef/{path}");
        assert_eq!(server.send(Method::POST, &path, "{".to_owned()).await.status, 404, "{path}");
        let path = path.replace("/api/v2/silences", "/oncall").replace("k-other", "k-open");
        let refused = server.send(Method::POST, &path, list.clone()).await;
        assert!([400, 413].contains(&refused.status.as_u16()) || path.ends_with("/json"), "{path}");
    }
    let silences = format!("{OPEN}/api/v2/silences");
    assert_eq!(server.send(Method::POST, &silences, list.clone()).await.status, 413);
    let many = server.send(Method::POST, &format!("{OPEN}/api/v2/alerts"), list.clone()).await;
    assert!(many.status == 413 && many.text.contains("300001 alerts"), "{}", many.text);
    // One alert that is too large is refused by itself.
    let alerts =
        format!(r#"[{{"labels":{{"alertname":"A","x":{list}}}}},{{"labels":{{"a":"b"}}}}]"#);
    let large = server.send(Method::POST, &format!("{OPEN}/api/v2/alerts"), alerts).await;
    assert!(large.status == 400 && large.text.contains("alert 0: it takes"), "{}", large.text);
    assert_eq!(open(&server, "grafana").await, [r#"{a="b"}"#]);
}

#[tokio::test]
async fn short_keys_open_nothing_and_no_key_is_repeated() {
    let server = Server::with_secrets(vec![("SHORT", "k-short")]).await;
    let file = json!({ "receivers": { "noc": { "inbox": null }, "db": { "inbox": null } },
        "routes": [{ "match": { "monitor": "other" }, "to": "db" }, { "to": "noc" }],
        "monitors": { "a": { "alerts": { "key": ["${secret:SHORT}", "k-open-0123456789abcdef"],
            "allow": ["read"] } } } });
    server.post("/api/monitors", &file).await.ok();
    assert_eq!(sends(&server, "/inbound/k-short", json!([])).await.status, 404);
    // Those whom only other monitors tell are not shown.
    let receivers = server.get(&format!("{OPEN}/api/v2/receivers")).await.ok();
    assert_eq!(receivers, json!([{ "name": "noc" }]));
    // What opens something changes with what is applied.
    let mut other = file.clone();
    other["monitors"]["a"]["alerts"]["key"] = json!("k-next-0123456789abcdef");
    server.post("/api/monitors", &other).await.ok();
    assert_eq!(sends(&server, OPEN, json!([])).await.status, 404);
    assert_eq!(sends(&server, "/inbound/k-next-0123456789abcdef", json!([])).await.status, 200);

    for (method, path) in [
        (Method::GET, format!("{OPEN}/api/v1/alerts")),
        (Method::PUT, format!("{OPEN}/api/v2/alerts")),
        (Method::DELETE, "/ping/k-open-0123456789abcdef".to_owned()),
    ] {
        let refused = server.send(method, &path, String::new()).await;
        assert!([404, 405].contains(&refused.status.as_u16()), "{path}: {}", refused.status);
        assert!(!refused.text.contains("k-open"), "{}", refused.text);
    }
}

#[tokio::test]
async fn webhooks_of_alertmanager_grafana_and_oncall_are_taken() {
    let server = server().await;
    let webhook = |status: &str| {
        json!({ "version": "4", "status": status, "groupKey": "{}", "receiver": "nb",
            "alerts": [{ "status": status, "labels": { "alertname": "Down" }, "annotations": {},
                "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z" }] })
    };
    let path = format!("{SEND}/webhook");
    assert_eq!(post(&server, &path, &webhook("firing")).await.ok(), json!({ "taken": 1 }));
    assert_eq!(open(&server, "prom").await, ["Down"]);
    post(&server, &path, &webhook("resolved")).await.ok();
    assert!(open(&server, "prom").await.is_empty());
    assert_eq!(post(&server, &path, &json!({ "alerts": 3 })).await.code(400), "alerts-invalid");
    // It is not sent again, so what can be read of it counts.
    let mut some = webhook("firing");
    some["alerts"].as_array_mut().expect("a list").insert(0, json!({ "status": "firing" }));
    let answer = post(&server, &path, &some).await;
    assert!(answer.text.contains("1 alerts were not taken: alert 0: "), "{}", answer.text);
    assert_eq!(answer.code(400), "alerts-invalid");
    assert_eq!(open(&server, "prom").await, ["Down"]);
    post(&server, &path, &webhook("resolved")).await.ok();

    let path = format!("{SEND}/oncall");
    let alert = |state: &str| json!({ "alert_uid": "u-1", "title": "down", "state": state });
    post(&server, &path, &alert("alerting")).await.ok();
    assert_eq!(open(&server, "prom").await, ["u-1"]);
    post(&server, &path, &alert("ok")).await.ok();
    assert!(open(&server, "prom").await.is_empty());
    assert_eq!(post(&server, &path, &json!({})).await.code(400), "alerts-invalid");
}

#[tokio::test]
async fn callers_of_pagerduty_need_not_change() {
    let server = server().await;
    let path = format!("{SEND}/v2/enqueue");
    let event = |action: &str| {
        json!({ "routing_key": "R0UT1NGK3Y", "event_action": action, "dedup_key": "disk/web1",
            "client": "monit",
            "payload": { "summary": "disk full", "source": "web1", "severity": "error" } })
    };
    let taken = post(&server, &path, &event("trigger")).await;
    assert_eq!(taken.status, 202);
    assert_eq!(
        taken.json(),
        json!({ "status": "success", "message": "Event processed", "dedup_key": "disk/web1" })
    );
    let shown = server.get("/api/monitors/prom").await.ok();
    let incident = &shown["openIncidents"][0];
    assert_eq!((&incident["severity"], &incident["text"]), (&json!("error"), &json!("disk full")));
    assert_eq!(incident["labels"]["source"], "web1");
    for _ in 0..2 {
        assert_eq!(post(&server, &path, &event("acknowledge")).await.status, 202);
    }
    let shown = server.get("/api/monitors/prom").await.ok();
    assert_eq!(shown["openIncidents"][0]["acknowledgedBy"], "monit (key of prom)");
    assert_eq!(post(&server, &path, &event("resolve")).await.status, 202);
    assert!(open(&server, "prom").await.is_empty());
    let wrong = post(&server, &path, &json!({ "event_action": "trigger" })).await;
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.json()["status"], "invalid event");
    assert!(wrong.json()["errors"].as_array().is_some_and(|errors| errors.len() == 2));
    let broken = server.send_with(Method::POST, &path, &[], "{\"routing_key\": ".to_owned()).await;
    assert_eq!(broken.status, 400);
    assert_eq!(
        (&broken.json()["status"], &broken.json()["errors"][0]),
        (&json!("Unrecognized object"), &json!("JSON parse error"))
    );
    let large = json!({ "routing_key": "x", "payload": "x".repeat(600_000) });
    assert_eq!(post(&server, &path, &large).await.code(413), "body-too-large");

    let path = format!("{SEND}/generic/2010-04-15/create_event.json");
    let event = json!({ "service_key": "s", "event_type": "trigger", "description": "FAILURE" });
    let taken = post(&server, &path, &event).await.ok();
    let key = taken["incident_key"].as_str().expect("a key of ours").to_owned();
    assert_eq!(open(&server, "prom").await, std::slice::from_ref(&key));
    let over = json!({ "service_key": "s", "event_type": "resolve", "incident_key": key });
    post(&server, &path, &over).await.ok();
    assert!(open(&server, "prom").await.is_empty());
}

#[tokio::test]
async fn any_json_becomes_what_the_program_makes_of_it() {
    let server = server().await;
    // Programs answer what they are given here.
    let made = json!([{ "key": "nightly", "text": "it failed", "severity": "p2" }]);
    let path = format!("{OPEN}/json");
    assert_eq!(post(&server, &path, &made).await.ok(), json!({ "taken": 1 }));
    let shown = server.get("/api/monitors/grafana").await.ok();
    let incident = &shown["openIncidents"][0];
    assert_eq!((&incident["key"], &incident["severity"]), (&json!("nightly"), &json!("error")));
    post(&server, &path, &json!({ "key": "nightly", "status": "resolved" })).await.ok();
    assert!(open(&server, "grafana").await.is_empty());
    assert_eq!(post(&server, &path, &json!({ "text": "x" })).await.code(400), "alerts-invalid");
    assert_eq!(
        post(&server, &format!("{SEND}/json"), &json!({})).await.code(409),
        "inbound-map-missing"
    );
}
