//! The command line against a real server: what is watched, what is wrong, who is told and who is
//! not.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::live::Live;
use crate::stand_in::{Nightbell, Outcome};

/// How long a change may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server, and a page that it watches.
struct Ringing {
    live: Live,
    status: Arc<AtomicU16>,
    page: String,
}

impl Ringing {
    async fn start() -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let shown = status.clone();
        let answer = move || async move {
            let status = shown.load(Ordering::Relaxed);
            (StatusCode::from_u16(status).unwrap(), format!("{{\"queue\": {status}}}"))
        };
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let page = format!("http://{}/health", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { live: Live::start(&[]).await, status, page }
    }

    fn command(&self, arguments: &[&str]) -> Nightbell {
        Nightbell::new(arguments).env("NIGHTBELL_URL", &self.live.url("")).env("USER", "ann")
    }

    fn run(&self, line: &str) -> Outcome {
        self.command(&line.split(' ').collect::<Vec<_>>()).run()
    }

    fn file(&self) -> String {
        let refused = "http://127.0.0.1:1/hook";
        format!(
            "receivers:\n  desk: {{ inbox: {{ name: desk }} }}\n  \
             gone: {{ webhook: {{ url: \"{refused}\" }} }}\n\
             routes:\n  - {{ to: desk }}\n\
             monitors:\n  web: {{ http: {{ url: \"{}\", expect: \"status < 400\" }}, every: 24h,\n         \
             labels: {{ team: web }} }}\n  \
             backup: {{ heartbeat: {{ every: 24h, key: k-1, min_run: 1h }} }}\n",
            self.page
        )
    }

    fn apply(&self) {
        let apply = self.command(&["monitor", "apply", "-f", "watch.yaml"]);
        let applied = apply.file("watch.yaml", &self.file()).run().exits(0);
        assert!(applied.stderr.contains("2 defined or changed, 0 removed"), "{applied:?}");
    }

    /// Checks the page, and waits until the check has ended.
    async fn check(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
        let count = |shown: &Value| shown["checkCount"].as_u64().unwrap();
        let before = count(&self.live.get("/api/monitors/web").await);
        let id = self.run("monitor check web").exits(0).stdout;
        assert_eq!(id.trim().len(), 36, "the run of the check: {id}");
        self.until("/api/monitors/web", |shown| count(shown) > before).await;
    }

    async fn until(&self, path: &str, is: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let answer = self.live.get(path).await;
            if is(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "{path}: {answer:#}; {}", self.live.log_text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn monitors_are_applied_whole_listed_checked_and_deleted() {
    let ringing = Ringing::start().await;
    ringing.apply();
    let lines = ringing.run("monitor list").exits(0).lines();
    assert!(lines[1].starts_with("backup heartbeat NEW 0"), "{lines:?}");
    assert!(lines[2].starts_with("web http NEW 0"), "{lines:?}");
    let shown = ringing.run("monitor show web").exits(0).json();
    assert_eq!((&shown["origin"], &shown["source"]), (&json!("line 7"), &json!("api")));
    ringing.check(200).await;
    let up = ringing.run("monitor list --status up -o json").exits(0).json();
    assert_eq!(up[0]["name"], "web");
    ringing.run("monitor check backup").exits(4);
    ringing.run("monitor check nothing").exits(3);

    // Every mistake with its place, those of a receiver's settings too; and nothing is changed.
    let bad = "receivers:\n  desk:\n    slack:\n      url: hooks.slack.com/x\n      chanel: ops\n  \
               pd: { pagerduty: { key: k, api: v3 } }\nmonitors:\n  web: { http: x, every: soon }\n";
    let verb = |verb: &[&str]| ringing.command(verb).file("bad.yaml", bad).run();
    for refused in
        [verb(&["monitor", "apply", "-f", "bad.yaml"]), verb(&["monitor", "validate", "bad.yaml"])]
    {
        let refused = refused.exits(1);
        for words in [
            ("line 4, column 12", "4:12", "`url` is no URL"),
            ("line 6, column 35", "6:35", "`api` must be one of v1, v2"),
            ("line 8, column 26", "8:26", "is no duration"),
        ] {
            let place = refused.stderr.contains(words.0) || refused.stderr.contains(words.1);
            assert!(place && refused.stderr.contains(words.2), "{words:?}: {refused:#?}");
        }
    }
    let shown = ringing.run("monitor show web").exits(0).json();
    assert_eq!(shown["definition"]["schedule"]["every"], 86_400_000);

    // What is only unknown is passed over with a warning.
    let odd = "receivers:\n  odd:\n    inbox:\n      nam: x\nmonitors:\n  \
               m: { influx: { server: nowhere, flux: f }, every: 24h }\n";
    let odd = ringing.command(&["monitor", "apply", "--source", "odd", "-f", "-"]).input(odd).run();
    let odd = odd.exits(0);
    assert!(odd.stderr.contains("4:7: warning: receivers.odd.inbox.nam: unknown"), "{odd:?}");
    assert!(odd.stderr.contains("6:18: warning: monitors.m.influx.server"), "{odd:?}");

    ringing.run("monitor delete web").exits(2);
    ringing.run("monitor delete web --yes").exits(0);
    ringing.run("monitor show web").exits(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_explained_and_handled() {
    let ringing = Ringing::start().await;
    ringing.apply();
    ringing.check(200).await;
    ringing.check(503).await;
    let open = ringing.until("/api/incidents", |page| page["totalHits"] == 1).await;
    let id = open["results"][0]["id"].as_str().unwrap();
    ringing.until("/api/deliveries?status=sent", |page| page["totalHits"] == 1).await;
    let lines = ringing.run("incident list").exits(0).lines();
    assert!(lines[1].starts_with(id) && lines[1].contains(" web open critical "), "{lines:?}");

    let why = ringing.run(&format!("incident explain {id}")).exits(0).lines();
    let told = |wanted: &str| why.iter().any(|line| line.contains(wanted));
    for wanted in [
        "monitor web",
        "defined line 7",
        "rule expect status < 400",
        "opens after 1 bad in a row (fail_after)",
        "changed well at 2",
        "changed code: 200 then, 503 at last",
        "trigger to desk: sent",
    ] {
        assert!(told(wanted), "{wanted:?} is not in {why:#?}");
    }
    // The run and the task behind it are there to be looked at, and the row is what they saw.
    let why = ringing.run(&format!("incident explain {id} -o json")).exits(0).json();
    let run = why["cause"]["execution"].as_str().unwrap();
    let shown = ringing.run(&format!("run show {run} --json")).exits(0).json();
    assert_eq!(shown["tasks"][0]["taskId"], why["cause"]["step"]);
    assert_eq!(why["row"]["code"], 503);
    assert_eq!(why["previousOk"]["version"], why["cause"]["version"]);

    let done = ringing.run(&format!("incident acknowledge {id} --why reading --until-clear"));
    assert!(done.exits(0).stderr.contains("is acknowledged"));
    ringing.run(&format!("incident acknowledge {id}")).exits(4);
    ringing.run(&format!("incident snooze {id}")).exits(2);
    ringing.run(&format!("incident snooze {id} --for soon")).exits(1);
    ringing.run(&format!("incident snooze {id} --for 2h")).exits(0);
    let history = ringing.run(&format!("incident show {id}")).exits(0).json();
    let entry =
        &history["history"].as_array().unwrap().iter().find(|it| it["what"] == "acknowledged");
    assert_eq!(
        (&entry.unwrap()["who"], &entry.unwrap()["why"]),
        (&json!("ann"), &json!("reading"))
    );
    ringing.run(&format!("incident resolve {id} --why fixed")).exits(0);
    ringing.run(&format!("incident resolve {id}")).exits(4);
    let over = ringing.run("incident list --state resolved -o json").exits(0).json();
    assert_eq!(over[0]["id"], id);
    assert!(ringing.run("incident list").exits(0).stderr.contains("no incidents"));
    ringing.run("incident explain nothing").exits(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_is_tried_made_and_taken_back() {
    let ringing = Ringing::start().await;
    ringing.apply();
    ringing.check(500).await;
    ringing.until("/api/incidents", |page| page["totalHits"] == 1).await;
    let hidden = ringing.run("silence preview --match team=web --for 2h").exits(0).lines();
    assert!(hidden[1].contains(" web open "), "{hidden:?}");
    let hidden = ringing.run("silence preview --match team=data --for 2h -o json").exits(0);
    assert_eq!(hidden.json(), json!([]));

    let line = "silence add --match monitor=web --for 2h --comment moving --name move";
    assert_eq!(ringing.run(line).exits(0).stdout.trim(), "move");
    let weekly = [
        "silence",
        "add",
        "--match",
        "team=web",
        "--hours",
        "Sat 02:00-04:00",
        "--tz",
        "Europe/Oslo",
        "--name",
        "weekly",
    ];
    ringing.command(&weekly).run().exits(0);
    let lines = ringing.run("silence list").exits(0).lines();
    assert!(lines.iter().any(|line| line.starts_with("move yes ") && line.contains("ann moving")));
    assert!(
        lines.iter().any(|line| line.starts_with("weekly ") && line.contains("Sat 02:00-04:00"))
    );

    // Well and bad again while silenced: nobody is told before the silence is taken back.
    ringing.check(200).await;
    ringing.check(500).await;
    let quiet = |page: &Value| page["results"][0]["suppressed"].is_string();
    ringing.until("/api/incidents", quiet).await;
    ringing.run("silence delete move weekly").exits(0);
    ringing.until("/api/incidents", |page| page["results"][0]["suppressed"].is_null()).await;
    ringing.run("silence delete move").exits(3);
    ringing.run("silence add --match web --for 2h").exits(2);
    ringing.run("silence add --match team=web --hours sometimes").exits(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_tested_and_the_ledger_has_it() {
    let ringing = Ringing::start().await;
    ringing.apply();
    let lines = ringing.run("receiver list").exits(0).lines();
    assert!(lines[1].starts_with("desk inbox"), "{lines:?}");
    let sent = ringing.run("receiver test desk").exits(0);
    assert!(sent.stderr.contains("desk took the notification"), "{sent:?}");
    let refused = ringing.run("receiver test gone").exits(5);
    assert!(refused.stderr.contains("gone did not take the notification"), "{refused:?}");
    ringing.run("receiver test nobody").exits(3);
    let sent = ringing.until("/api/deliveries?status=sent", |page| page["totalHits"] == 1).await;
    let line = &sent["results"][0];
    assert_eq!((&line["event"], &line["receiver"]), (&json!("test"), &json!("desk")));
    assert_eq!(line["title"], "Test of the receiver desk");
    let queued = ringing.live.get("/api/deliveries?status=queued").await;
    assert_eq!(queued["results"][0]["receiver"], "gone");
}

/// The sources, receivers and incidents of monitors are task types of any definition.
#[tokio::test(flavor = "multi_thread")]
async fn a_definition_looks_rings_and_opens_an_incident() {
    let ringing = Ringing::start().await;
    ringing.apply();
    let task = |name: &str, kind: &str, input: Value| json!({ "name": name, "taskReferenceName": name, "type": kind, "inputParameters": input });
    let seen = "${look.output.observations[0].status}";
    let tasks = json!([
        task("look", "CHECK_HTTP", json!({ "settings": { "url": ringing.page } })),
        task(
            "ring",
            "NOTIFY",
            json!({ "kind": "inbox", "receiver": "flow",
            "notification": { "title": "the page is ${look.output.observations[0].status}" } })
        ),
        task(
            "raise",
            "INCIDENT",
            json!({ "monitor": "orders-import", "key": "page",
            "status": seen, "text": "seen by a flow" })
        ),
    ]);
    ringing.live.define("rounds", tasks).await;
    for (status, state) in [(500, json!("open")), (200, json!("resolved"))] {
        ringing.status.store(status, Ordering::Relaxed);
        let id = ringing.live.begin("rounds", &json!({})).await;
        let run = ringing.live.ended(&id, PATIENCE).await;
        assert_eq!(run["status"], "COMPLETED", "{run:#}");
        let told = |page: &Value| page["results"][0]["state"] == state;
        let page = ringing.until("/api/incidents?monitor=orders-import&state=all", told).await;
        assert_eq!(page["totalHits"], 1, "{page:#}");
        let incident = ringing
            .live
            .get(&format!("/api/incidents/{}", page["results"][0]["id"].as_str().unwrap()))
            .await;
        let first = &incident["history"][0];
        if status == 500 {
            assert!(first["why"].as_str().unwrap().contains(&format!("the run {id}")), "{first}");
            assert_eq!(incident["attrs"]["execution"], id);
        }
    }
    let sent = ringing.until("/api/deliveries?status=sent", |page| page["totalHits"] == 2).await;
    assert!(sent["results"].as_array().unwrap().iter().all(|it| it["monitor"] == "orders-import"));
    let wrong = json!([task("raise", "INCIDENT", json!({ "text": "about what?" }))]);
    ringing.live.define("wrong", wrong).await;
    let id = ringing.live.begin("wrong", &json!({})).await;
    let run = ringing.live.ended(&id, PATIENCE).await;
    let reason = run["reasonForIncompletion"].as_str().unwrap();
    assert!(reason.contains("`monitor` or `key` must say what it is about"), "{reason}");
}
