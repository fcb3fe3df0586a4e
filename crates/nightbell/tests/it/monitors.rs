//! Monitors from a file, with the real binary: a job that calls, an incident, its notifications, a
//! crash, a file that breaks and is mended.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::live::Live;
use crate::stand_in::Nightbell;

/// How long a change may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const FILE: &str = "
receivers:
  desk: { workflow: { name: tell } }
routes:
  - { to: desk }
monitors:
  backup: { heartbeat: { every: 1h, key: k-1 } }
";

fn write(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!(".{name}.new"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, folder.join(name)).unwrap();
}

/// Waits until an answer is as wanted.
async fn until(live: &Live, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = live.get(path).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{path}: {answer}; log: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ping(live: &Live, path: &str) {
    let answer = live.http.get(live.url(path)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_rings_once_over_a_crash_and_resolves() {
    let folder = tempfile::tempdir().unwrap();
    let tell = json!({ "name": "tell", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }] });
    write(folder.path(), "tell.json", &tell.to_string());
    write(folder.path(), "watch.yaml", FILE);
    write(folder.path(), "compose.yaml", "services: { web: { image: nginx } }\n");
    let mut live = Live::start(&["--load", folder.path().to_str().unwrap()]).await;

    ping(&live, "/ping/k-1/start").await;
    ping(&live, "/ping/k-1/3").await;
    let open = until(&live, "/api/incidents", |page| page["totalHits"] == 1).await;
    assert_eq!(open["results"][0]["monitor"], "backup");
    live.kill();
    live.launch().await;
    let sent = |count: u64| move |page: &Value| page["totalHits"] == count;
    until(&live, "/api/deliveries?status=sent", sent(1)).await;
    ping(&live, "/ping/k-1").await;
    let sent = until(&live, "/api/deliveries?status=sent", sent(2)).await;
    let events: Vec<_> = (0..2).map(|at| &sent["results"][at]["event"]).collect();
    assert_eq!(events, ["resolve", "trigger"]);
    assert_eq!(live.get("/api/deliveries").await["totalHits"], 2, "none is doubled");

    let url = live.url("");
    let listed = Nightbell::new(&["monitor", "list", "--url", &url]).run().exits(0);
    assert!(listed.stdout.contains("backup"), "{listed:?}");

    // A file that breaks changes nothing but opens an incident; mended, it resolves.
    write(folder.path(), "watch.yaml", &FILE.replace("every: 1h", "every: soon"));
    let path = "/api/incidents?monitor=nightbell";
    let open = until(&live, path, |page| page["totalHits"] == 1).await;
    let text = open["results"][0]["text"].as_str().unwrap();
    assert!(text.contains("watch.yaml:7:"), "{text}");
    assert_eq!(live.get("/api/monitors/backup").await["status"], "UP");
    write(folder.path(), "watch.yaml", FILE);
    until(&live, path, |page| page["totalHits"] == 0).await;
    std::fs::remove_file(folder.path().join("watch.yaml")).unwrap();
    until(&live, "/api/monitors?name=backup", |page| page["totalHits"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_leads_to_its_incident() {
    let (page, mut pages) = tokio::sync::mpsc::unbounded_channel();
    let take = move |axum::Json(body): axum::Json<Value>| async move {
        page.send(body).expect("the test listens");
        axum::Json(json!({ "accepted": true }))
    };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let pager = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/page", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = tempfile::tempdir().unwrap();
    let desk = format!("desk: {{ webhook: {{ url: \"http://{pager}/page\" }} }}");
    write(folder.path(), "watch.yaml", &FILE.replace("desk: { workflow: { name: tell } }", &desk));
    let loaded = folder.path().to_str().unwrap();
    let live = Live::start(&["--load", loaded, "--public-url", "https://nightbell.example/"]).await;
    ping(&live, "/ping/k-1/3").await;
    let page = tokio::time::timeout(PATIENCE, pages.recv()).await.expect("a page in time");
    let page = page.expect("the stand-in runs");
    let incident = page["incident"].as_str().expect("the page names its incident");
    let link = format!("https://nightbell.example/console/incidents/{incident}");
    assert_eq!(page["link"], json!(link), "{page}");
    let open = live.get("/api/incidents").await;
    assert_eq!(open["results"][0]["id"], json!(incident), "{open}");
}

/// Two servers with one store: the second takes over what the first knew, and repeats nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_by_takes_over_and_pages_nobody_again() {
    let folder = tempfile::tempdir().unwrap();
    let tell = json!({ "name": "tell", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }] });
    write(folder.path(), "tell.json", &tell.to_string());
    write(folder.path(), "watch.yaml", FILE);
    let files = folder.path().to_str().unwrap().to_owned();
    let mut first = Live::start(&["--load", &files]).await;
    let store = format!("sqlite:{}", first.store().display());
    let second = tokio::spawn(async move {
        let arguments = ["--load", &files, "--standby", "on", "--store", &store];
        Live::start(&arguments).await
    });

    ping(&first, "/ping/k-1/3").await;
    until(&first, "/api/deliveries?status=sent", |page| page["totalHits"] == 1).await;
    assert!(!second.is_finished(), "the store is in use");
    first.kill();
    let second = second.await.unwrap();
    assert_eq!(second.get("/api/incidents").await["totalHits"], 1);
    ping(&second, "/ping/k-1").await;
    let path = "/api/deliveries?status=sent";
    let sent = until(&second, path, |page| page["totalHits"] == 2).await;
    let events: Vec<_> = (0..2).map(|at| &sent["results"][at]["event"]).collect();
    assert_eq!(events, ["resolve", "trigger"]);
    assert_eq!(second.get("/api/deliveries").await["totalHits"], 2, "none is doubled");
}

/// What an earlier start has loaded and a later one does not is watched no more.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_loaded_any_more_is_retired() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| FILE.replace("backup", name).replace("k-1", &format!("k-{name}"));
    for name in ["one", "two"] {
        write(folder.path(), &format!("{name}.yaml"), &file(name));
    }
    let tell = json!({ "name": "tell", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }] });
    write(folder.path(), "tell.json", &tell.to_string());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let tell = path("tell.json");
    let mut first = Live::start(&["--load", &path("one.yaml"), "--load", &tell]).await;
    let store = format!("sqlite:{}", first.store().display());
    ping(&first, "/ping/k-one/3").await;
    until(&first, "/api/incidents", |page| page["totalHits"] == 1).await;
    first.kill();
    let two = path("two.yaml");
    let second = Live::start(&["--load", &two, "--load", &tell, "--store", &store]).await;
    until(&second, "/api/incidents", |page| page["totalHits"] == 0).await;
    let over = second.get("/api/incidents?state=resolved").await;
    assert_eq!(over["results"][0]["monitor"], "one");
    let listed = second.get("/api/monitors").await;
    let names: Vec<_> =
        listed["results"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["two"]);
}

/// A file of monitors may be JSON as well, and is watched like any other.
#[tokio::test(flavor = "multi_thread")]
async fn json_is_read_as_yaml_is_and_a_bad_receiver_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = |key: &str| {
        format!(
            "{{ \"receivers\": {{ \"pd\": {{ \"pagerduty\": {{ {key} }} }} }},\n  \
             \"monitors\": {{ \"job\": {{ \"heartbeat\": {{ \"every\": \"1h\" }} }} }} }}"
        )
    };
    write(folder.path(), "watch.json", &file("\"key\": \"k\""));
    let live = Live::start(&["--load", folder.path().to_str().unwrap()]).await;
    assert_eq!(live.get("/api/monitors/job").await["status"], "NEW");
    write(folder.path(), "watch.json", &file("\"key\": \"k\", \"api\": \"v9\""));
    let path = "/api/incidents?monitor=nightbell";
    let open = until(&live, path, |page| page["totalHits"] == 1).await;
    let text = open["results"][0]["text"].as_str().unwrap();
    let told = "watch.json:1:60: error: receivers.pd.pagerduty.api: `api` must be one of v1, v2";
    assert!(text.contains(told), "{text}");
    write(folder.path(), "watch.json", "{ \"monitors\": ");
    let broken = |page: &Value| {
        let text = page["results"][0]["text"].as_str();
        text.is_some_and(|text| text.contains("not readable as YAML"))
    };
    until(&live, path, broken).await;
    assert_eq!(live.get("/api/receivers").await[0]["settings"]["key"], "***");
    std::fs::remove_file(folder.path().join("watch.json")).unwrap();
    until(&live, "/api/monitors?name=job", |page| page["totalHits"] == 0).await;
    until(&live, path, |page| page["totalHits"] == 0).await;
}

#[test]
fn a_start_with_a_receiver_that_can_never_be_told_is_refused() {
    let file = "receivers:\n  noc: { slack: { token: xoxb-1 } }\nmonitors: {}\n";
    let started = Nightbell::new(&["serve", "--listen", "127.0.0.1:0", "--load", "watch.yaml"])
        .file("watch.yaml", file)
        .run()
        .exits(1);
    let told = "watch.yaml:2:26: error: receivers.noc.slack.token: slack with a `token` needs a \
                `channel`";
    assert!(started.stderr.contains(told), "{started:?}");
}

/// A disk that fills up is told while it can still be: the server goes on, and somebody hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn less_room_than_disk_free_min_is_told_before_the_disk_is_full() {
    let (sender, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let answer = move |body: String| async move { sender.send(body).unwrap() };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/page", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = tempfile::tempdir().unwrap();
    let file = format!(
        "receivers: {{ desk: {{ webhook: {{ url: \"{url}\" }} }} }}\nroutes: [{{ to: desk }}]\n\
         monitors: {{}}\n"
    );
    write(folder.path(), "watch.yaml", &file);
    let load = folder.path().to_str().unwrap();
    let live = Live::start(&["--load", load, "--disk-free-min", "900000GiB"]).await;
    let page = tokio::time::timeout(PATIENCE, calls.recv()).await.expect("it is told in time");
    let page = page.unwrap();
    assert!(page.contains("less than disk_free_min (921600000 MiB)"), "{page}");
    let health = live.get("/health").await;
    assert_eq!((&health["healthy"], &health["status"]), (&json!(true), &json!("degraded")));
    assert!(health["warnings"].to_string().contains("disk_free_min"), "{health}");
    let incidents = live.get("/api/incidents?monitor=nightbell&state=open").await;
    assert_eq!(incidents["results"][0]["severity"], "warning", "{incidents}");
}

/// Whoever waits outside for our calls hears from us at once, and again after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn the_dead_mans_switch_is_called() {
    let (sender, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let answer = move |uri: axum::http::Uri| async move { sender.send(uri.to_string()).unwrap() };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/ping/our-uuid", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut live = Live::start(&["--deadman-url", &url]).await;
    for _ in 0..2 {
        let call = tokio::time::timeout(PATIENCE, calls.recv()).await.expect("it calls in time");
        assert_eq!(call.as_deref(), Some("/ping/our-uuid"));
        live.kill();
        live.launch().await;
    }
}
