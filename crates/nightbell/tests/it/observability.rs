//! What operators put on a dashboard and are rung for: real `promtool` and a real Prometheus read what
//! a server exports, and what `deploy/` makes of it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::live::{Live, binary};
use crate::service::{Service, find, folder, free_port, write};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file)
}

fn promtool() -> Option<PathBuf> {
    find("/usr/bin/promtool", "prometheus")
}

/// Runs `promtool` on an input, and gives what it said; it must be content.
fn content(program: &Path, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(deployed("prometheus")).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {said}\n{input}");
    said
}

/// A server on which something of everything has happened, and the folder that it loads.
struct Busy {
    live: Live,
    folder: TempDir,
}

impl Busy {
    async fn start() -> Self {
        let folder = folder();
        let task =
            |kind: &str| json!({ "name": "pack", "taskReferenceName": "pack", "type": kind });
        let flow = |name: &str, kind: &str| json!({ "name": name, "version": 1, "schemaVersion": 2, "tasks": [task(kind)] });
        let schedule = json!({ "name": "each-second", "cronExpression": "* * * * * *",
            "startWorkflowRequest": { "name": "tick" } });
        for (file, text) in [
            ("orders.json", flow("orders", "SIMPLE").to_string()),
            ("tick.json", flow("tick", "NOOP").to_string()),
            ("schedule.json", schedule.to_string()),
            ("watch.yaml", watched().await),
        ] {
            write(folder.path(), file, &text);
        }
        let live = Live::start(&["--load", folder.path().to_str().unwrap()]).await;
        // One order is packed, one waits for a worker, and one look at the clock is due.
        for _ in 0..2 {
            live.begin("orders", &json!({})).await;
        }
        let packed = live.poll("pack?workerid=w&timeout=5000").await;
        live.report(&packed[0], json!({ "status": "COMPLETED" })).await;
        let nap = json!([{ "name": "nap", "taskReferenceName": "nap", "type": "WAIT",
            "inputParameters": { "duration": "1 seconds" } }]);
        live.define("naps", nap).await;
        live.begin("naps", &json!({})).await;
        write(folder.path(), "tick.json", "{");
        Self { live, folder }
    }

    async fn scrape(&self) -> String {
        let answer = self.live.http.get(self.live.url("/metrics")).send().await.unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
        answer.text().await.unwrap()
    }

    /// A scrape in which everything shows that has happened.
    async fn full_scrape(&self) -> String {
        let begun = Instant::now();
        loop {
            let text = self.scrape().await;
            let missing = HAPPENED
                .iter()
                .find(|(series, least)| value(&text, series).is_none_or(|value| value < *least));
            let Some(missing) = missing else { return text };
            let log = || self.live.log_text();
            assert!(begun.elapsed() < PATIENCE, "{missing:?} is not in\n{text}\n{}", log());
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What [`Busy`] leads to, and how often at least.
const HAPPENED: [(&str, f64); 24] = [
    ("nightbell_monitors{state=\"down\"}", 1.0),
    ("nightbell_incidents_open{severity=\"critical\"}", 1.0),
    ("nightbell_check_lateness_seconds_count", 1.0),
    ("nightbell_timer_lateness_seconds_count", 1.0),
    ("nightbell_deliveries_total{receiver=\"desk\",outcome=\"sent\"}", 1.0),
    ("nightbell_deliveries_total{receiver=\"gone\",outcome=\"dead\"}", 1.0),
    ("nightbell_delivery_duration_seconds_count{outcome=\"accepted\"}", 1.0),
    ("nightbell_delivery_duration_seconds_count{outcome=\"refused\"}", 1.0),
    ("nightbell_delivery_latency_seconds_count", 1.0),
    ("nightbell_receivers_broken", 1.0),
    ("nightbell_receiver_broken{receiver=\"gone\"}", 1.0),
    ("nightbell_receiver_broken{receiver=\"desk\"}", 0.0),
    ("nightbell_schedule_firings_total{outcome=\"executed\"}", 1.0),
    ("nightbell_schedule_last_run_timestamp_seconds{schedule=\"each-second\"}", 1.0),
    ("nightbell_schedule_next_run_timestamp_seconds{schedule=\"each-second\"}", 1.0),
    ("nightbell_queue_waiting{queue=\"pack\"}", 1.0),
    ("nightbell_queue_wait_seconds_count{taker=\"worker\"}", 1.0),
    ("nightbell_queue_wait_seconds_count{taker=\"server\"}", 1.0),
    ("nightbell_files_rejected", 1.0),
    ("nightbell_disk_free_bytes", 1.0),
    ("nightbell_commit_duration_seconds_count", 1.0),
    ("nightbell_store_transaction_duration_seconds_count", 1.0),
    ("nightbell_store_sync_duration_seconds_count", 1.0),
    ("process_open_fds", 1.0),
];

/// A page that is never well, one receiver that takes everything and one that refuses for good.
async fn watched() -> String {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let page = listener.local_addr().unwrap();
    let bad = || async { (StatusCode::BAD_REQUEST, "never") };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(bad)).await });
    format!(
        "receivers:\n  desk: {{ inbox: {{ name: desk }} }}\n  \
         gone: {{ webhook: {{ url: \"http://{page}/hook\" }} }}\n\
         routes:\n  - {{ to: [desk, gone] }}\n\
         monitors:\n  web: {{ http: {{ url: \"http://{page}/\", expect: \"status < 400\" }}, every: 1s }}\n"
    )
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

/// The names of all samples.
fn samples(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// The metrics that a query speaks of.
fn named(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("nightbell_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

/// The name of the family of a sample, as it is documented.
fn family(sample: &str) -> &str {
    let of = |suffix| sample.strip_suffix(suffix).filter(|it: &&str| it.ends_with("_seconds"));
    ["_bucket", "_sum", "_count"].into_iter().find_map(of).unwrap_or(sample)
}

/// A Prometheus that looks at servers each second, with our rules.
pub(crate) struct Prometheus {
    url: String,
    http: reqwest::Client,
    _service: Service,
}

impl Prometheus {
    /// Starts it with jobs (`scrape_configs`).
    pub(crate) async fn start(program: PathBuf, http: reqwest::Client, jobs: &Value) -> Self {
        let (folder, port) = (folder(), free_port());
        let rules = deployed("prometheus/nightbell-alerts.yaml").canonicalize().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs: {jobs}\n",
            rules.display()
        );
        let config = write(folder.path(), "prometheus.yml", &config);
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let start = move || Service::start(folder, command, port);
        let service = tokio::task::spawn_blocking(start).await.unwrap();
        let url = format!("http://127.0.0.1:{port}");
        Self { url, http, _service: service }
    }

    /// Asks until the answer is what is waited for, and gives that.
    pub(crate) async fn until<T>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        is: impl Fn(&Value) -> Option<T>,
    ) -> T {
        let begun = Instant::now();
        loop {
            let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.url), query);
            let answer = self.http.get(url.unwrap()).send().await;
            let answer: Value = answer.unwrap().json().await.unwrap_or_default();
            let bad = answer["errorType"] == "bad_data" || answer["errorType"] == "execution";
            assert!(!bad, "{query:?}: {answer}");
            if let Some(found) = is(&answer["data"]) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{path} {query:?}: {answer:#}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What the panels of the dashboard ask, with a value for each variable.
fn asked_by_dashboard() -> Vec<String> {
    let text = std::fs::read_to_string(deployed("grafana/nightbell.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|it| it["targets"].as_array().into_iter().flatten());
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries.map(|it| it.replace("$__rate_interval", "1m").replace("$instance", ".*")).collect()
}

/// The commands that a text tells people to type: `nightbell` and the words after it.
fn commands(text: &str) -> Vec<Vec<String>> {
    let is_word = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase());
    let found = text.match_indices("nightbell ").map(|(at, told)| {
        let rest = text[at + told.len()..].split([')', ':', '.', ',']).next().unwrap_or_default();
        rest.split_whitespace().take_while(is_word).take(2).map(str::to_owned).collect()
    });
    found.collect()
}

#[test]
fn the_rules_ring_for_what_they_should() {
    let Some(promtool) = promtool() else { return };
    let said = content(&promtool, &["check", "rules", "nightbell-alerts.yaml"], "");
    assert!(said.contains("24 rules found"), "{said}");
    content(&promtool, &["test", "rules", "nightbell-alerts.test.yaml"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_reads_what_is_exported_and_knows_all_that_is_asked() {
    let (Some(promtool), Some(program)) = (promtool(), find("/usr/bin/prometheus", "prometheus"))
    else {
        return;
    };
    let busy = Busy::start().await;
    let text = busy.full_scrape().await;
    let said = content(&promtool, &["check", "metrics"], &text);
    assert_eq!(said.trim(), "", "promtool has something to say");

    // Everything that a panel or a rule asks for is there, and everything that is there is on a panel.
    let exported = samples(&text);
    let asked = asked_by_dashboard();
    assert!(asked.len() > 60, "{}", asked.len());
    let on_panels: BTreeSet<String> = asked.iter().flat_map(|query| named(query)).collect();
    let unknown: Vec<&String> = on_panels.difference(&exported).collect();
    assert!(unknown.is_empty(), "panels ask for what is not exported: {unknown:?}");
    let shown: BTreeSet<&str> = on_panels.iter().map(|it| family(it)).collect();
    let hidden: Vec<&String> = exported.iter().filter(|it| !shown.contains(family(it))).collect();
    assert!(hidden.is_empty(), "on no panel: {hidden:?}");

    let target = format!("127.0.0.1:{}", busy.live.port());
    let jobs = json!([{ "job_name": "nightbell", "static_configs": [{ "targets": [target] }] }]);
    let prometheus = Prometheus::start(program, busy.live.http.clone(), &jobs).await;
    let read = |targets: &Value| {
        let target = &targets["activeTargets"][0];
        assert_eq!(target["lastError"].as_str().unwrap_or_default(), "", "{target:#}");
        (target["health"] == "up").then_some(())
    };
    prometheus.until("/api/v1/targets", &[], read).await;
    for query in &asked {
        // What compares with zero may rightly find nothing.
        let may_be_empty = query.contains("> 0");
        let found = |data: &Value| {
            let rows = data["result"].as_array()?;
            (may_be_empty || !rows.is_empty()).then_some(())
        };
        prometheus.until("/api/v1/query", &[("query", query)], found).await;
    }

    let rules = |data: &Value| {
        let rules = data["groups"][0]["rules"].as_array()?.clone();
        let state = |name: &str| {
            rules.iter().find(|rule| rule["name"] == name).map(|it| it["state"].clone())
        };
        let rings = state("NightbellDeadMan")? == "firing";
        // They ring after a while.
        let begins = ["NightbellFileRejected", "NightbellReceiverBroken"].iter();
        let begun = begins.clone().all(|name| state(name).is_some_and(|it| it != "inactive"));
        (rings && begun).then_some(rules)
    };
    let rules = prometheus.until("/api/v1/rules", &[], rules).await;
    let mut told = BTreeSet::new();
    for rule in &rules {
        let name = rule["name"].as_str().unwrap();
        assert_eq!(rule["health"], "ok", "{rule:#}");
        let unknown: Vec<String> =
            named(rule["query"].as_str().unwrap()).difference(&exported).cloned().collect();
        assert!(unknown.is_empty(), "{name} asks for what is not exported: {unknown:?}");
        for part in ["summary", "description", "action"] {
            let text = rule["annotations"][part].as_str().unwrap_or_default();
            assert!(text.len() > 20, "{name} has no {part}");
            told.extend(commands(text));
        }
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["page", "ticket", "none"].contains(&severity), "{name}: {severity}");
    }
    // What people are told to type exists.
    assert!(told.contains(&vec!["receiver".to_owned(), "resend".to_owned()]), "{told:?}");
    for command in told {
        let help = Command::new(binary()).args(&command).arg("--help").output().unwrap();
        assert!(help.status.success(), "there is no command {command:?}");
    }
    drop(busy.folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_level_debug_the_log_tells_of_steps_and_commits() {
    for (format, parts) in [
        ("text", ["step{", "commit{", "time.busy="]),
        ("json", ["\"name\":\"step\"", "\"name\":\"commit\"", "\"time.busy\":"]),
    ] {
        let level = ("NIGHTBELL_LOG_LEVEL", "info,engine=debug");
        let live = Live::start_as("serve", &[], &[level, ("NIGHTBELL_LOG_FORMAT", format)]).await;
        let tasks = json!([{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }]);
        live.define("flow", tasks).await;
        let id = live.begin("flow", &json!({ "card": "4111-1111" })).await;
        live.ended(&id, PATIENCE).await;
        let begun = Instant::now();
        let is_told = |log: &str| {
            let of_run =
                |line: &&str| line.contains(&id) && parts.iter().all(|it| line.contains(it));
            log.lines().any(|line| of_run(&line))
        };
        while !is_told(&live.log_text()) {
            assert!(begun.elapsed() < PATIENCE, "{}", live.log_text());
            tokio::time::sleep(LOOK).await;
        }
        assert!(!live.log_text().contains("4111"), "no payload is logged: {}", live.log_text());
    }
}
