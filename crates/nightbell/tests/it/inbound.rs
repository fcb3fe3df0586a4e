//! Alerts from a real Prometheus, and a real `amtool` over what became of them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::live::Live;
use crate::service::{Service, find, folder, free_port, write};

/// How long something may take that is waited for, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);
const KEY: &str = "k-prom-0123456789abcdef";

/// What the receiver was told: event and key.
type Deliveries = Arc<Mutex<Vec<(String, String)>>>;

/// A receiver that takes everything.
async fn receiver() -> (String, Deliveries) {
    let told = Deliveries::default();
    let taken = told.clone();
    let take = move |Json(body): Json<Value>| async move {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        taken.lock().push((text("event"), text("key")));
        Json(json!({}))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().fallback(post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, told)
}

fn file(receiver: &str) -> String {
    json!({
        "receivers": { "hook": { "webhook": { "url": receiver } } },
        "routes": [{ "match": { "job": ["node", "db*"] }, "to": "hook" }, { "to": "hook" }],
        "monitors": { "prom": { "alerts": {
            "key": KEY, "ignore": ["replica"], "allow": ["read", "silence"]
        } } }
    })
    .to_string()
}

/// A Prometheus that evaluates a rule each second, which fires while a file says so.
fn prometheus(program: PathBuf, live: &Live, replica: &str) -> (Service, u16, PathBuf) {
    let (folder, port) = (folder(), free_port());
    let rule = |value: u8| {
        format!(
            "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Down\n    expr: vector({value}) > 0\n    \
             labels: {{ severity: page }}\n    annotations: {{ summary: \"down: {{{{ $value }}}}\" }}\n"
        )
    };
    let rules = write(folder.path(), "rules.yml", &rule(1));
    write(folder.path(), "quiet.yml", &rule(0));
    let config = format!(
        "global: {{ evaluation_interval: 1s, external_labels: {{ replica: {replica} }} }}\n\
         rule_files: [\"{}\"]\nalerting:\n  alertmanagers:\n  - path_prefix: /inbound/{KEY}\n    \
         static_configs: [{{ targets: [\"127.0.0.1:{}\"] }}]\n",
        rules.display(),
        live.port()
    );
    let config = write(folder.path(), "prometheus.yml", &config);
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.args(["--web.enable-lifecycle", "--rules.alert.resend-delay=1s"]);
    let path = folder.path().to_owned();
    (Service::start(folder, command, port), port, path)
}

async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_real_prometheus_page_once_whatever_is_killed() {
    let Some(program) = find("/usr/bin/prometheus", "prometheus") else { return };
    let (url, told) = receiver().await;
    let folder = folder();
    let file = write(folder.path(), "monitors.json", &file(&url));
    let mut live = Live::start(&["--load", file.to_str().unwrap()]).await;
    let start = |replica: &str| prometheus(program.clone(), &live, replica);
    let both = [start("a"), start("b")];
    let told_of = || told.lock().clone();
    until("it pages", async || !told_of().is_empty()).await;
    let sent = async |live: &Live, port: u16| {
        let url = format!("http://127.0.0.1:{port}/metrics");
        let text = live.http.get(url).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find(|it| it.starts_with("prometheus_notifications_sent_total"));
        line.and_then(|it| it.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    // Each says it again and again, also to a server that was killed meanwhile.
    for _ in 0..2 {
        for (_, port, _) in &both {
            let before = sent(&live, *port).await;
            until("it is sent again", async || sent(&live, *port).await > before + 1.0).await;
        }
        live.kill();
        live.launch().await;
    }
    for (_, port, _) in &both {
        let before = sent(&live, *port).await;
        until("it is sent again", async || sent(&live, *port).await > before + 1.0).await;
    }
    let paged = vec![("trigger".to_owned(), r#"Down{severity="page"}"#.to_owned())];
    assert_eq!(told_of(), paged);
    let shown = live.get("/api/monitors/prom").await;
    assert_eq!(shown["openIncidents"].as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!(shown["openIncidents"][0]["severity"], "critical");

    // The rule fires no more: each says so, and it ends once.
    for (_, port, folder) in &both {
        std::fs::copy(folder.join("quiet.yml"), folder.join("rules.yml")).unwrap();
        let reload = live.http.post(format!("http://127.0.0.1:{port}/-/reload")).send().await;
        assert!(reload.unwrap().status().is_success());
    }
    until("it is over", async || told_of().len() > 1).await;
    for (_, port, _) in &both {
        let before = sent(&live, *port).await;
        until("the end is sent again", async || sent(&live, *port).await > before).await;
    }
    assert_eq!(told_of()[1..], [("resolve".to_owned(), paged[0].1.clone())]);
    assert!(!live.log_text().contains(KEY), "the key is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_amtool_adds_shows_and_silences() {
    let Some(program) = find("/usr/bin/amtool", "prometheus-alertmanager") else { return };
    let (url, told) = receiver().await;
    let folder = folder();
    let file = write(folder.path(), "monitors.json", &file(&url));
    let live = Live::start(&["--load", file.to_str().unwrap()]).await;
    let at = format!("--alertmanager.url={}", live.url(&format!("/inbound/{KEY}")));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        let output = command.arg(&at).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let is_ok = output.status.success();
        // It warns of versions that differ from its own.
        (is_ok, text(if is_ok { &output.stdout } else { &output.stderr }))
    };
    let ok = |arguments: &[&str]| {
        let (is_ok, said) = run(arguments);
        assert!(is_ok, "{arguments:?}: {said}");
        said
    };
    ok(&["alert", "add", "Slow", "job=node", "--annotation=summary=9 s"]);
    until("it is told", async || told.lock().len() == 1).await;
    let listed = ok(&["alert", "query", "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["labels"], json!({ "alertname": "Slow", "job": "node" }));
    assert!(ok(&["alert", "query", "job=~n.*"]).contains("Slow"));
    assert!(!ok(&["alert", "query", "job=other"]).contains("Slow"));

    let id = ok(&["silence", "add", "job=~node|db", "-d", "1h", "-c", "moving", "-a", "ann"]);
    let id = id.trim();
    assert!(ok(&["silence", "query", "-q"]).contains(id));
    assert!(!ok(&["alert", "query"]).contains("Slow"), "what is silenced is not shown");
    assert!(ok(&["alert", "query", "--silenced"]).contains("Slow"));
    let shown = ok(&["silence", "query", "--created-by=ann (key of prom)", "-q"]);
    assert_eq!(shown.trim(), id);
    ok(&["silence", "update", "-d", "2h", id]);
    assert!(ok(&["silence", "query"]).contains("ann (key of prom)"));
    assert!(!ok(&["silence", "query"]).contains("(key of prom) (key of prom)"));
    ok(&["silence", "expire", id]);
    assert!(ok(&["silence", "query", "--expired", "-q"]).contains(id));
    assert!(!ok(&["silence", "query", "-q"]).contains(id));
    let (is_ok, said) = run(&["silence", "add", "job=~n[ao]de", "-c", "x", "-a", "ann"]);
    assert!(!is_ok && said.contains("class of characters"), "{said}");
    ok(&["cluster", "show"]);
    assert!(ok(&["config", "routes", "show"]).contains("receiver: hook"));
    assert_eq!(ok(&["config", "routes", "test", "job=node"]).trim(), "hook");
}

/// An Alertmanager that others write their rules for goes on, and hands on what it would have told.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_alertmanager_sends_its_webhooks() {
    let package = "prometheus-alertmanager";
    let Some(program) = find("/usr/bin/prometheus-alertmanager", package) else { return };
    let Some(amtool) = find("/usr/bin/amtool", package) else { return };
    let (url, told) = receiver().await;
    let own = folder();
    let file = write(own.path(), "monitors.json", &file(&url));
    let live = Live::start(&["--load", file.to_str().unwrap()]).await;
    let (folder, port) = (folder(), free_port());
    let config = format!(
        "route: {{ receiver: bell, group_by: [alertname], group_wait: 1s, group_interval: 1s }}\n\
         receivers:\n- name: bell\n  webhook_configs:\n  - url: \"{}\"\n    send_resolved: true\n",
        live.url(&format!("/inbound/{KEY}/webhook"))
    );
    let config = write(folder.path(), "alertmanager.yml", &config);
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.path={}", folder.path().join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.arg("--cluster.listen-address=");
    let _service = Service::start(folder, command, port);
    let add = |more: &[&str]| {
        let mut command = Command::new(&amtool);
        command.arg(format!("--alertmanager.url=http://127.0.0.1:{port}"));
        command.args(["alert", "add", "Down", "job=db", "--annotation=summary=it is down"]);
        let output = command.args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let (begun, key) = (jiff::Timestamp::now(), "Down{job=\"db\"}".to_owned());
    add(&[]);
    until("it is told", async || told.lock().contains(&("trigger".to_owned(), key.clone()))).await;
    let shown = live.get("/api/monitors/prom").await;
    assert_eq!(shown["openIncidents"][0]["text"], "it is down");
    let ended = (begun + jiff::SignedDuration::from_millis(1)).to_string();
    add(&[&format!("--start={begun}"), &format!("--end={ended}")]);
    until("it is over", async || told.lock().contains(&("resolve".to_owned(), key.clone()))).await;
}
