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
use crate::stand_in::{Nightbell, Outcome, StandIn};

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
    assert_eq!((&shown["origin"], &shown["source"]), (&json!("api, line 7"), &json!("api")));
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

    // A setting that nobody knows is refused; a source that is not known yet is a warning.
    let odd = |setting: &str| {
        let file = format!(
            "receivers:\n  odd:\n    inbox:\n      {setting}: x\nmonitors:\n  \
             m: {{ influx: {{ server: nowhere, flux: f }}, every: 24h }}\n"
        );
        let apply = ringing.command(&["monitor", "apply", "--source", "odd", "-f", "-"]);
        apply.input(&file).run()
    };
    let refused = odd("nam").exits(1);
    assert!(refused.stderr.contains("line 4, column 12: unknown setting `nam`"), "{refused:?}");
    let taken = odd("name").exits(0);
    assert!(taken.stderr.contains("6:18: warning: monitors.m.influx.server"), "{taken:?}");
    assert!(taken.stderr.contains("2:3: warning: receivers.odd: no route"), "{taken:?}");

    ringing.run("monitor delete web").exits(2);
    ringing.run("monitor delete web --yes").exits(0);
    ringing.run("monitor show web").exits(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_without_people_leaves_the_incident_open_that_somebody_resolved() {
    let ringing = Ringing::start().await;
    ringing.apply();
    ringing.check(503).await;
    let lines = ringing.run("monitor list").exits(0).lines();
    let why = "503 Service Unavailable, expected status < 400";
    assert!(lines[2].starts_with("web http DOWN 1") && lines[2].ends_with(why), "{lines:?}");
    let open = ringing.until("/api/incidents", |page| page["totalHits"] == 1).await;
    let id = open["results"][0]["id"].as_str().unwrap();
    ringing.run(&format!("incident resolve {id} --why restarted")).exits(0);
    ringing.until("/api/incidents", |page| page["totalHits"] == 0).await;
    // It was not mended: the next check opens another.
    ringing.check(503).await;
    ringing.until("/api/incidents", |page| page["totalHits"] == 1).await;
    let incidents = |options: &str| {
        let line = format!("monitor backtest web --since 1h -o json{options}");
        let report = ringing.run(&line).exits(0).json()[0].clone();
        (report["then"]["incidents"].clone(), report["now"]["incidents"].clone())
    };
    assert_eq!(incidents(""), (json!(2), json!(2)));
    assert_eq!(incidents(" --people recorded"), (json!(2), json!(2)));
    assert_eq!(incidents(" --people none"), (json!(2), json!(1)));
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
    let samples = ringing.run("monitor samples web --from 1h -o json").exits(0).json();
    let codes = (0..2).map(|at| &samples[at]["output"]["observations"][0]["attrs"]["code"]);
    assert_eq!(codes.collect::<Vec<_>>(), [200, 503], "{samples:#}");
    let page = ringing.live.get("/api/monitors/web/samples?size=1").await;
    let cursor = page["cursor"].as_str().expect("there is another page");
    let next = ringing.live.get(&format!("/api/monitors/web/samples?size=1&cursor={cursor}")).await;
    assert_eq!((&next["samples"][0], &next["cursor"]), (&samples[1], &Value::Null));
    let lines = ringing.run("monitor samples web -o csv").exits(0).lines();
    assert!(lines.len() == 3 && lines[2].contains(",fail,"), "{lines:?}");
    ringing.run("monitor samples nothing").exits(3);
    let spans = ringing.run("monitor uptime web -o json").exits(0).json();
    let total = &spans[0]["total"];
    let counts = ["checks", "ok", "fail", "incidents"].map(|name| total[name].as_u64().unwrap());
    assert_eq!((counts, &total["uptime"]), ([2, 1, 1, 1], &json!(50.0)), "{spans:#}");
    let lines = ringing.run("monitor uptime web --from 1h --step 30m").exits(0).lines();
    assert!(lines.last().unwrap().starts_with("all 50 % 2 1 0 0 0 1 "), "{lines:?}");
    ringing.run("monitor uptime nothing").exits(3);
    ringing.run("monitor uptime web --from 1h --step 7m").exits(2);

    // The same definition finds what was found; one that waits for a second failure does not.
    let found = ringing.run("monitor backtest web --since 1h -o json").exits(0).json();
    assert_eq!((&found[0]["then"]["pages"], &found[0]["now"]["pages"]), (&json!(1), &json!(1)));
    assert_eq!((&found[0]["gone"], &found[0]["new"]), (&json!([]), &json!([])), "{found:#}");
    let real = &ringing.live.get("/api/incidents").await["results"][0];
    assert_eq!(found[0]["incidents"][0]["opensAt"], real["openedAt"], "to the millisecond");
    let patient = ringing.file().replace("labels: {", "fail_after: 2, labels: {");
    let trial = ["monitor", "backtest", "web", "-f", "watch.yaml", "--since", "1h", "--compare"];
    let lines = ringing.command(&trial).file("watch.yaml", &patient).run().exits(0).lines();
    assert!(lines[0].starts_with("web, ") && lines[0].ends_with("2 checks"), "{lines:?}");
    assert!(lines[2].starts_with("then 1 1 ") && lines[3].starts_with("now 0 0 "), "{lines:?}");
    assert_eq!(lines[4], "paged: desk 1 → 0");
    assert!(lines[5].starts_with("gone: 1, new: 0 "), "{lines:?}");
    assert!(lines[7].starts_with("gone - "), "{lines:?}");
    // A file may call people whom the server does not know.
    let called = ringing.file().replace("- { to: desk }", "- { to: \"oncall:primary\" }")
        + "people: { ann: desk }\nrotations: { primary: { layers: [ { people: [ann] } ] } }\n";
    let lines = ringing.command(&trial).file("watch.yaml", &called).run().exits(0).lines();
    assert_eq!(lines[4], "paged: desk 1 → 1 (ann 0 → 1)", "{lines:?}");
    ringing.run("monitor backtest backup").exits(1);
    // The page of the monitor says the same.
    let text = json!({ "http": { "url": ringing.page, "expect": "status < 400" }, "every": "24h",
        "fail_after": 2, "labels": { "team": "web" } });
    let text: Vec<String> = text.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    let (http, edit) = (&ringing.live.http, ringing.live.url("/console/monitors/web/edit"));
    let page = http.get(&edit).send().await.unwrap().text().await.unwrap();
    let proof = page.split("name=\"csrf\" value=\"").nth(1).and_then(|it| it.split('"').next());
    let (proof, text) = (proof.unwrap(), text.concat());
    let form = format!("csrf={proof}&definition={text}&since=24h&does=backtest");
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let sent = http.post(&edit).header(kind.0, kind.1).body(form).send().await;
    let page = sent.unwrap().text().await.unwrap();
    assert!(page.contains("by this definition 0 pages, 0 at night"), "{page}");
    assert!(page.contains("Gone 1<") && page.contains("told desk after"), "{page}");
    // What people say of it counts.
    ringing.run(&format!("incident judge {id}")).exits(2);
    ringing.run(&format!("incident judge {id} --real --noise")).exits(2);
    ringing.run("incident judge nothing --real").exits(3);
    ringing.run(&format!("incident judge {id} --real --why outage")).exits(0);
    ringing.run("incident missed web gone --from 20m --to 30m").exits(1);
    ringing.run("incident missed web gone --from 30m --to 20m").exits(0);
    let lines = ringing.command(&trial).file("watch.yaml", &patient).run().exits(0).lines();
    let judged = "judged: precision 1 → -, recall 0.5 → 0; real and untold: 1 → 2; unjudged: 0 → 0";
    assert!(lines[5].starts_with("gone: 1 (0 noise, 1 real, 0 not judged), new: 0 "), "{lines:?}");
    assert!(lines[6].starts_with("gone and real: - 2"), "{lines:?}");
    assert_eq!(lines[7], judged, "{lines:?}");
    let shown = ringing.run(&format!("incident show {id}")).exits(0).json();
    assert_eq!(
        (&shown["judged"]["verdict"], &shown["judged"]["who"]),
        (&json!("real"), &json!("ann"))
    );
    ringing.run("monitor backtest nothing").exits(3);
    ringing.run("monitor samples web --from soon").exits(2);
    let lines = ringing.run("incident list").exits(0).lines();
    assert!(lines[1].starts_with(id) && lines[1].contains(" web open critical "), "{lines:?}");

    let why = ringing.run(&format!("incident explain {id}")).exits(0).lines();
    let told = |wanted: &str| why.iter().any(|line| line.contains(wanted));
    for wanted in [
        "monitor web",
        "defined api, line 7",
        "text 503 Service Unavailable, expected status < 400",
        "failed status < 400",
        "body {\"queue\": 503}",
        "rule expect status < 400",
        "opens after 1 bad in a row (fail_after)",
        "changed well at 2",
        "changed code 200 → 503",
        "trigger to desk: sent",
    ] {
        assert!(told(wanted), "{wanted:?} is not in {why:#?}");
    }
    // What the inbox was told is there to be read.
    let told = ringing.run("receiver inbox desk").exits(0).lines();
    assert!(told.iter().any(|line| line.contains(" trigger ") && line.contains("web")), "{told:?}");
    let told = ringing.run("receiver inbox desk --limit 1 -o json").exits(0).json();
    assert_eq!(told["results"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(told["results"][0]["monitor"], "web", "{told}");
    ringing.run("receiver inbox nobody").exits(3);
    // The run and the task behind it are there to be looked at, and the row is what they saw.
    let why = ringing.run(&format!("incident explain {id} -o json")).exits(0).json();
    let run = why["cause"]["execution"].as_str().unwrap();
    let shown = ringing.run(&format!("run show {run} --json")).exits(0).json();
    assert_eq!(shown["tasks"][0]["taskId"], why["cause"]["step"]);
    assert_eq!(why["row"]["code"], 503);
    assert_eq!(why["previousOk"]["version"], why["cause"]["version"]);

    // Who has only a page at hand names the incident by the key in it.
    let (dedup_key, _) = id.rsplit_once('-').unwrap();
    let same = ringing.run(&format!("incident explain {dedup_key} -o json")).exits(0).json();
    assert_eq!(same["id"], id);
    ringing.run(&format!("incident explain {}", dedup_key.replace(['a', 'b', '1'], "0"))).exits(3);

    let done = ringing.run(&format!("incident acknowledge {id} --why reading --until-clear"));
    assert!(done.exits(0).stderr.contains("is acknowledged"));
    ringing.run(&format!("incident acknowledge {id}")).exits(4);
    ringing.run(&format!("incident snooze {id}")).exits(2);
    ringing.run(&format!("incident snooze {id} --for soon")).exits(1);
    ringing.run(&format!("incident snooze {id} --for 2h")).exits(0);
    ringing.run(&format!("incident escalate {id}")).exits(4);
    ringing.run(&format!("incident note {id} \u{e9}")).exits(0);
    ringing.run(&format!("incident note {id}")).exits(2);
    let history = ringing.run(&format!("incident show {id}")).exits(0).json();
    let note = history["history"].as_array().unwrap().iter().find(|it| it["what"] == "note");
    assert_eq!((&note.unwrap()["who"], &note.unwrap()["why"]), (&json!("ann"), &json!("\u{e9}")));
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
    let wrong = ringing.run("silence add --match montor=web").exits(1);
    assert!(wrong.stderr.contains("is monitor meant?"), "{wrong:?}");
    let short = ringing.run("silence add --match monitor=web -o json").exits(0);
    let made = short.json();
    assert_eq!(made["to"].as_i64().unwrap() - made["from"].as_i64().unwrap(), 3_600_000);
    ringing.run("silence add --match team=web --hours sometimes").exits(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_judges_one_check_and_moves_nothing() {
    let ringing = Ringing::start().await;
    ringing.apply();
    ringing.status.store(503, Ordering::Relaxed);
    let lines = ringing.run("monitor preview web").exits(0).lines();
    assert_eq!(lines[0], "monitor web");
    let verdict = "fail at once desk 503 Service Unavailable, expected status < 400";
    assert!(lines[2].contains(verdict), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("next 2")).count(), 5, "{lines:?}");
    // As another file would have it, which is not applied.
    let file = ringing.file().replace("expect: \"status < 400\"", "expect: \"body.queu < 1\"");
    let preview = ["monitor", "preview", "-f", "watch.yaml", "-o", "json"];
    let seen = ringing.command(&preview).file("watch.yaml", &file).run().exits(0);
    assert!(seen.stderr.contains("backup waits to be called"), "{seen:?}");
    let doubt = seen.json()[0]["doubt"].as_str().unwrap().to_owned();
    assert!(doubt.contains("has no body.queu; body has queue"), "{doubt}");

    ringing.run("monitor preview backup").exits(4);
    ringing.run("monitor preview nothing").exits(3);
    for path in ["/api/incidents", "/api/deliveries", "/api/workflow/search"] {
        assert_eq!(ringing.live.get(path).await["totalHits"], 0, "{path}");
    }
    let shown = ringing.run("monitor show web").exits(0).json();
    assert_eq!((&shown["checkCount"], &shown["status"]), (&json!(0), &json!("NEW")));
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_tested_on_the_server_and_on_files() {
    let ringing = Ringing::start().await;
    ringing.apply();
    let lines = ringing.run("route test --monitor web").exits(0).lines();
    assert_eq!(lines, ["severity critical team=web", "route routes[0]", "tells desk at once"]);
    let told = ringing.run("route test team=wbe").exits(0);
    assert!(told.stderr.contains("no monitor has the team \"wbe\"; is web meant?"), "{told:?}");
    ringing.run("route test --monitor wbe").exits(3);
    let narrow = ringing.file().replace("- { to: desk }", "- { match: { team: data }, to: desk }");
    let test = |words: &[&str]| {
        let test = [&["route", "test", "-f", "watch.yaml"], words].concat();
        Nightbell::new(&test).file("watch.yaml", &narrow).run()
    };
    assert!(test(&["team=data"]).exits(0).stdout.contains("tells desk at once"));
    let nobody = test(&["--monitor", "web"]).exits(5);
    assert!(nobody.stderr.contains("nobody would be told: no route matches"), "{nobody:?}");
    assert!(nobody.stdout.contains("passed over: routes[0] wants team data; it is \"web\""));
}

#[test]
fn files_are_judged_without_a_server() {
    let file = "receivers:\n  desk: { inbox: { name: desk } }\nroutes:\n  - { to: desk }\n\
                monitors:\n  web: { http: 'https://w', every: 24h, labels: { team: web } }\n";
    let judge = |text: &str, options: &[&str]| {
        let validate = [&["monitor", "validate", "watch.yaml"], options].concat();
        Nightbell::new(&validate).file("watch.yaml", text).run()
    };
    assert!(judge(file, &["--strict"]).exits(0).stderr.contains("watch.yaml: valid"));
    let refused = judge(&file.replace("every: 24h", "evry: 24h"), &[]).exits(1);
    assert!(refused.stderr.contains("unknown key \"evry\"; is every meant?"), "{refused:?}");
    let odd =
        file.replace("- { to: desk }", "- { to: desk }\n  - { match: { team: wbe }, to: desk }");
    let warned = judge(&odd, &[]).exits(0);
    assert!(warned.stderr.contains("routes[1]: nothing reaches this route"), "{warned:?}");
    let strict = judge(&odd, &["--strict"]).exits(1);
    assert!(strict.stderr.contains("no monitor has the team \"wbe\""), "{strict:?}");
    let both = Nightbell::new(&["monitor", "validate", "-f", "watch.yaml"]);
    both.file("watch.yaml", file).run().exits(0);
}

#[test]
fn a_file_that_is_named_twice_is_judged_once() {
    let flow = json!({ "name": "flow", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }] });
    let validate = Nightbell::new(&["monitor", "validate", "a.json", "."]);
    validate.file("a.json", &flow.to_string()).run().exits(0);
}

/// The server judges every file of monitors, wherever it was found, and nothing else.
#[test]
fn the_server_judges_files_of_folders_and_standard_input() {
    let flow = json!({ "name": "flow", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }] });
    let file = "receivers:\n  desk: { inbox: { name: desk } }\nroutes:\n  - { to: desk }\n";
    let judged = |level: &str, message: &str| {
        json!({ "problems": [{ "level": level, "line": 2, "column": 3, "path": "receivers.desk",
            "message": message }] })
    };
    let server = StandIn::start()
        .says("POST /api/monitors", 200, judged("error", "the folder's"))
        .says("POST /api/monitors", 200, judged("warning", "the input's"));
    let refused = Nightbell::new(&["monitor", "validate", "all", "-", "--online"])
        .env("NIGHTBELL_URL", &server.url())
        .file("all/watch.yaml", file)
        .file("all/flow.json", &flow.to_string())
        .input(&file.replace("desk", "home"))
        .run()
        .exits(1);
    let heard = server.heard();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].contains("desk") && heard[1].contains("home"), "{heard:?}");
    for told in ["watch.yaml:2:3: error", "the folder's", "standard input:2:3: warning"] {
        assert!(refused.stderr.contains(told), "{told} is not in {refused:?}");
    }
    assert!(refused.stderr.contains("flow.json: judged here alone"), "{refused:?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_its_secret_is_shown_everywhere_and_sent_again_when_it_is_set() {
    let ringing = Ringing::start().await;
    let file = format!(
        "receivers:\n  hook: {{ webhook: {{ url: \"{0}\", bearer: \"${{secret:HOOK}}\" }} }}\n\
         routes:\n  - {{ to: hook }}\n\
         monitors:\n  web: {{ http: {{ url: \"{0}\" }}, every: 24h }}\n",
        ringing.page
    );
    ringing.command(&["monitor", "apply", "-f", "w.yaml"]).file("w.yaml", &file).run().exits(0);
    let health = ringing.live.get("/health").await;
    assert_eq!((&health["healthy"], &health["healthResults"]), (&json!(true), &json!([])));
    ringing.check(503).await;
    let page = ringing.until("/api/deliveries?status=dead", |page| page["totalHits"] == 1).await;
    let reason = page["results"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("hook (webhook): the secret HOOK is not set"), "{reason}");
    let named = |health: &Value| health["healthResults"][0]["name"] == "receiver hook";
    let health = ringing.until("/health", named).await;
    assert_eq!((&health["healthy"], &health["status"]), (&json!(true), &json!("degraded")));
    let own = ringing.until("/api/incidents?monitor=nightbell", |it| it["totalHits"] == 1).await;
    assert_eq!(own["results"][0]["key"], "receiver:hook");
    let lines = ringing.run("receiver list").exits(0).lines();
    assert!(lines[1].starts_with("hook webhook BROKEN"), "{lines:?}");
    let (_, metrics) = ringing.live.ask(reqwest::Method::GET, "/metrics", "").await;
    let metrics = metrics.as_str().unwrap();
    let counted = "nightbell_deliveries_total{receiver=\"hook\",outcome=\"dead\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(ringing.live.log_text().contains("a notification was given up"));
    // The runs of checks and notifications are none of the user's workflows.
    let failed = ringing.live.get("/api/workflow/search?query=status%3DFAILED").await;
    assert_eq!(failed["totalHits"], 0, "{failed:#}");
    let own = "/api/workflow/search?query=workflowType%20IN%20(nightbell_notify:hook)";
    assert_eq!(ringing.live.get(own).await["totalHits"], 1);

    ringing.status.store(200, Ordering::Relaxed);
    ringing.command(&["secret", "put", "HOOK", "-f", "-"]).input("s3cret").run().exits(0);
    let sent = ringing.run("receiver resend hook").exits(0);
    assert!(sent.stderr.contains("of a monitor is sent again"), "{sent:?}");
    ringing.until("/api/deliveries?status=sent", |page| page["totalHits"] == 1).await;
    ringing.until("/health", |health| health["healthResults"] == json!([])).await;
    let sent = ringing.run("receiver resend hook").exits(0);
    assert!(sent.stderr.contains("nothing that hook did not take"), "{sent:?}");
    ringing.run("receiver resend nobody").exits(3);
}
