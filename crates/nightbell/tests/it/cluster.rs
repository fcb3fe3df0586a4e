//! Several servers that share a store: any of them answers, one is killed, stalls or stops, and another
//! takes its place.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::database::shared;
use crate::live::Live;
use crate::stand_in::Nightbell;

const PATIENCE: Duration = Duration::from_mins(1);
const KEY: (&str, &str) = ("NIGHTBELL_SECRET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
const OTHER_KEY: (&str, &str) =
    ("NIGHTBELL_SECRET_KEY", "HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");

/// A server that shares the store at a URL with others.
async fn server(url: &str, key: (&str, &str)) -> Live {
    let arguments = ["--store", url, "--peer-listen", "127.0.0.1:0"];
    Live::start_as("serve", &arguments, &[key]).await
}

/// Waits until a server answers a question so.
async fn until(live: &Live, path: &str, is: impl Fn(u16, &Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        // One that begins anew listens again in a moment.
        let seen = match live.http.get(live.url(path)).send().await {
            Ok(answer) => {
                let (status, text) = (answer.status().as_u16(), answer.text().await);
                let text = text.expect("a whole answer");
                let answer = serde_json::from_str(&text).unwrap_or(Value::String(text));
                if is(status, &answer) {
                    return answer;
                }
                format!("{status}: {answer:#}")
            }
            Err(error) => error.to_string(),
        };
        assert!(begun.elapsed() < PATIENCE, "{path}: {seen}; {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_ready(live: &Live) {
    until(live, "/health/ready", |status, _| status == 200).await;
}

fn roles(cluster: &Value) -> Vec<&str> {
    let nodes = cluster["nodes"].as_array().expect("a list").iter();
    let mut roles: Vec<_> =
        nodes.filter(|it| it["alive"] == true).filter_map(|it| it["role"].as_str()).collect();
    roles.sort_unstable();
    roles
}

/// A page that is broken, and a receiver that counts what it is told.
async fn outside() -> (String, Arc<AtomicU32>) {
    let told = Arc::new(AtomicU32::new(0));
    let heard = told.clone();
    let app = axum::Router::new()
        .route("/", axum::routing::get(|| async { axum::http::StatusCode::BAD_GATEWAY }))
        .route(
            "/hook",
            axum::routing::post(move || {
                heard.fetch_add(1, Ordering::SeqCst);
                async {}
            }),
        );
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, told)
}

fn signal(live: &Live, name: &str) {
    let told = Command::new("kill").args([name, &live.pid().to_string()]).status();
    assert!(told.expect("kill runs").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn any_server_answers_and_another_leads_when_the_leader_goes() {
    let Some(database) = shared().await else { return };
    let url = format!("{}?sslmode=disable&lease=2&schema=shared", database.url());
    let (page, told) = outside().await;
    let mut first = server(&url, KEY).await;
    is_ready(&first).await;
    let (second, third) = tokio::join!(server(&url, KEY), server(&url, KEY));
    is_ready(&second).await;
    is_ready(&third).await;
    let cluster = until(&third, "/api/cluster", |_, it| roles(it).len() == 3).await;
    assert_eq!(roles(&cluster), ["follower", "follower", "leader"], "{cluster:#}");
    let shown = Nightbell::new(&["cluster", "status", "--url", &second.url("")]).run().exits(0);
    assert_eq!(shown.stdout.matches("follower").count(), 2, "{shown:?}");

    // What one server is told, the others know.
    let file = json!({
        "receivers": { "desk": { "webhook": { "url": format!("{page}hook") } } },
        "routes": [{ "to": "desk" }],
        "monitors": { "web": {
            "http": { "url": page, "expect": "status < 400" }, "every": "24h"
        } }
    });
    let (status, answer) = second.ask(Method::PUT, "/api/monitors", file.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    third.post("/api/monitors/web/check", &json!({})).await;
    until(&first, "/api/incidents", |_, page| page["totalHits"] == 1).await;
    let begun = Instant::now();
    while told.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < PATIENCE, "nobody was notified: {}", first.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let task = |name: &str| json!({ "name": name, "taskReferenceName": name, "type": "SIMPLE" });
    second.define("three", json!([task("one"), task("two"), task("three")])).await;
    let id = third.begin("three", &json!({})).await;
    let tasks = second.poll("one?count=1&timeout=5000").await;
    third.report(&tasks[0], json!({ "status": "COMPLETED", "outputData": {} })).await;
    let metrics = second.http.get(second.url("/metrics")).send().await.expect("it answers");
    let metrics = metrics.text().await.expect("text");
    assert!(metrics.contains("nightbell_cluster_leader 0\n"), "{metrics}");

    // The leader is killed: another takes its place before the lease is over, and what was acknowledged
    // is there. A poll that waits at a follower goes on at the new leader.
    let waiting = {
        let (http, url) = (third.http.clone(), third.url("/api/tasks/poll/batch/four"));
        tokio::spawn(async move {
            loop {
                let asked = http.get(format!("{url}?count=1&timeout=5000")).send().await;
                let answer = asked.expect("an answer").error_for_status().expect("a good one");
                let tasks: Value = answer.json().await.expect("JSON");
                if tasks[0].is_object() {
                    return tasks;
                }
            }
        })
    };
    let load = "nightbell_cluster_requests_forwarding 1\n";
    let begun = Instant::now();
    loop {
        let metrics = third.http.get(third.url("/metrics")).send().await.expect("it answers");
        let metrics = metrics.text().await.expect("text");
        if metrics.contains(load) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{metrics}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.kill();
    let (status, tasks) =
        second.ask(Method::GET, "/api/tasks/poll/batch/two?count=1&timeout=5000", "").await;
    assert_eq!(
        status,
        200,
        "{tasks}\nsecond:\n{}\nthird:\n{}",
        second.log_text(),
        third.log_text()
    );
    third.report(&tasks[0], json!({ "status": "COMPLETED", "outputData": {} })).await;
    third.define("late", json!([task("four")])).await;
    let late = second.begin("late", &json!({})).await;
    let found = waiting.await.expect("no poll fails");
    assert_eq!(found[0]["workflowInstanceId"], late, "{found}; {}", third.log_text());
    third.report(&found[0], json!({ "status": "COMPLETED", "outputData": {} })).await;

    // The leader stalls for longer than its lease: what it does afterwards counts for nothing, and it
    // comes back as one that follows.
    first.launch().await;
    is_ready(&first).await;
    let leads = |live: &Live| live.log_text().contains("this server leads");
    let (mut leader, follower) = if leads(&second) { (second, third) } else { (third, second) };
    signal(&leader, "-STOP");
    until(&follower, "/api/cluster", |_, it| {
        it["nodes"].as_array().is_some_and(|nodes| {
            let stalled = format!("process {})", leader.pid());
            nodes.iter().any(|it| {
                it["role"] == "leader" && !it["name"].as_str().unwrap_or("").ends_with(&stalled)
            })
        })
    })
    .await;
    signal(&leader, "-CONT");
    is_ready(&leader).await;
    let tasks = leader.poll("three?count=1&timeout=5000").await;
    assert_eq!(tasks.len(), 1, "{}", leader.log_text());
    leader.report(&tasks[0], json!({ "status": "COMPLETED", "outputData": {} })).await;
    let run = follower.ended(&id, PATIENCE).await;
    assert_eq!(run["status"], "COMPLETED");
    assert_eq!(run["tasks"].as_array().map(Vec::len), Some(3), "no task ran twice: {run:#}");
    until(&first, "/api/cluster", |_, it| roles(it).len() == 3).await;
    assert!(leader.log_text().contains("it begins anew"), "{}", leader.log_text());

    // Those that stop leave at once, and the last one serves.
    assert!(leader.stop().await.success());
    let mut follower = follower;
    assert!(follower.stop().await.success());
    let cluster = until(&first, "/api/cluster", |_, it| roles(it).len() == 1).await;
    assert_eq!(cluster["nodes"].as_array().map(Vec::len), Some(1), "{cluster:#}");
    assert_eq!(first.get("/api/incidents").await["totalHits"], 1);
    assert!(first.stop().await.success());
    assert_eq!(told.load(Ordering::SeqCst), 1, "nobody is notified twice");
}

/// A key counts at every server, and at none from the moment on in which it is revoked at one of them; also
/// not when the one that knew goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_counts_at_none_of_several_servers() {
    let Some(database) = shared().await else { return };
    let url = format!("{}?sslmode=disable&lease=2&schema=keys", database.url());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bootstrap");
    let file = file.to_str().expect("a name of text");
    let arguments = ["--store", &url, "--peer-listen", "127.0.0.1:0"];
    let variables = [KEY, ("NIGHTBELL_AUTH", "on"), ("NIGHTBELL_BOOTSTRAP_KEY_FILE", file)];
    let mut first = Live::start_as("serve", &arguments, &variables).await;
    is_ready(&first).await;
    let second = Live::start_as("serve", &arguments, &variables).await;
    is_ready(&second).await;
    let bootstrap = std::fs::read_to_string(file).expect("the bootstrap key");
    let ask = async |live: &Live, method: Method, path: &str, key: &str, body: &Value| {
        let request = live.http.request(method, live.url(path)).bearer_auth(key.trim());
        let answer = request.json(body).send().await.expect("it answers");
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap_or_default())
    };
    let made = json!({ "name": "worker", "roles": ["viewer", "worker"] });
    let (status, made) = ask(&second, Method::POST, "/api/access/keys", &bootstrap, &made).await;
    assert_eq!(status, 200, "{made}");
    let text = |it: &Value| it.as_str().expect("a text").to_owned();
    let (id, key) = (text(&made["keyId"]), text(&made["keySecret"]));
    let given = json!({ "keyId": id, "keySecret": key });
    let token = text(&first.post("/api/token", &given).await["token"]);
    let path = "/api/metadata/workflow";
    for live in [&first, &second] {
        for credential in [&key, &token] {
            assert_eq!(ask(live, Method::GET, path, credential, &Value::Null).await.0, 200);
        }
    }
    let revoked = format!("/api/access/keys/{id}");
    let (status, answer) = ask(&second, Method::DELETE, &revoked, &bootstrap, &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    for live in [&first, &second] {
        for credential in [&key, &token] {
            let (status, answer) = ask(live, Method::GET, path, credential, &Value::Null).await;
            assert_eq!((status, &answer["error"]), (401, &json!("INVALID_TOKEN")), "{answer}");
        }
    }
    first.kill();
    is_ready(&second).await;
    for credential in [&key, &token] {
        let (status, answer) = ask(&second, Method::GET, path, credential, &Value::Null).await;
        assert_eq!((status, &answer["error"]), (401, &json!("INVALID_TOKEN")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_one_of_several_says_why() {
    let Some(database) = shared().await else { return };
    let url = format!("{}?sslmode=disable&lease=1&schema=strangers", database.url());
    let first = server(&url, KEY).await;
    is_ready(&first).await;
    let stranger = server(&url, OTHER_KEY).await;
    let why = until(&stranger, "/health/ready", |status, it| {
        status == 503 && it["reason"].as_str().is_some_and(|it| it.contains("another key"))
    })
    .await;
    assert_eq!(why["ready"], false);
    let (status, answer) = stranger.ask(Method::GET, "/api/incidents", "").await;
    assert_eq!((status, &answer["code"]), (503, &json!("no-leader")), "{answer}");

    let refused = |arguments: &[&str]| {
        let all = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        Nightbell::new(&all).env(KEY.0, KEY.1).run()
    };
    let file = refused(&["--store", "sqlite:x.db", "--peer-listen", "127.0.0.1:0"]).exits(2);
    assert!(file.stderr.contains("cannot share a store in a file"), "{file:?}");
    let nowhere = refused(&["--store", &url, "--peer-listen", "0.0.0.0:0"]).exits(2);
    assert!(nowhere.stderr.contains("set peer_address"), "{nowhere:?}");
    let alone = refused(&["--store", &url]).exits(1);
    assert!(alone.stderr.contains("--peer-listen"), "{alone:?}");
}

/// Before an upgrade the server that leads lets another one lead, and follows; what was begun goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_drained_lets_another_one_lead() {
    let Some(database) = shared().await else { return };
    let url = format!("{}?sslmode=disable&lease=2&schema=drained", database.url());
    let first = server(&url, KEY).await;
    is_ready(&first).await;
    let drain = |live: &Live| Nightbell::new(&["cluster", "drain", "--url", &live.url("")]).run();
    let alone = drain(&first).exits(4);
    assert!(alone.stderr.contains("no other server shares the store"), "{alone:?}");
    let task = json!({ "name": "kept", "taskReferenceName": "kept", "type": "SIMPLE" });
    first.define("kept", json!([task])).await;
    let id = first.begin("kept", &json!({})).await;

    let second = server(&url, KEY).await;
    is_ready(&second).await;
    let drained = drain(&second).exits(0);
    let told = format!("(process {}) leads now", second.pid());
    assert!(drained.stderr.contains(&told), "{drained:?}");
    let cluster = until(&first, "/api/cluster", |_, it| roles(it).len() == 2).await;
    assert_eq!(roles(&cluster), ["follower", "leader"], "{cluster:#}");
    assert!(
        first.log_text().contains("let another one lead; it begins anew"),
        "{}",
        first.log_text()
    );
    let tasks = first.poll("kept?count=1&timeout=5000").await;
    assert_eq!(tasks[0]["workflowInstanceId"], id, "{tasks:?}");
}
