//! The server under attack: while each is under way, health is answered and SIGTERM ends the process.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::watch::{Watch, is_measured};
use crate::live::Live;

/// MiB that evaluations take: on each of the threads there may be, and on four that were given up, the
/// memory of a script, and the input and the output of a task.
pub(super) fn evaluations() -> u64 {
    let cores = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    ((2 * cores).clamp(4, 32) + 4) * (64 + 2 * 10)
}

/// MiB of starts of 4 MiB: as they came, parsed, and rendered.
const STARTS: u64 = 4 * 3 * 10;
/// MiB of machines that are made faster than they end.
const GROWTH: u64 = 128;
/// MiB of answers above 4 MiB: 512, and half as much again while they are made.
const LARGE_ANSWERS: u64 = 768;

pub(super) fn task(kind: &str, input: &Value) -> Value {
    json!({ "name": "t", "taskReferenceName": "t", "type": kind, "inputParameters": input })
}

pub(super) async fn connect(live: &Live, request: &str) -> TcpStream {
    let address = (Ipv4Addr::LOCALHOST, live.port());
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("it is taken");
    stream
}

/// Waits until something has begun that a workflow or its log shows.
pub(super) async fn until(live: &Live, path: &str, is_so: impl Fn(&Value) -> bool) {
    let wait = async {
        while !is_so(&live.get(path).await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // A script that cannot be interrupted ends by itself, which takes minutes on a busy machine.
    let waited = tokio::time::timeout(Duration::from_mins(5), wait).await;
    waited.unwrap_or_else(|_| panic!("{path} never shows it; {}", live.log_text()));
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_and_programs_that_do_not_end() {
    let watch = Watch::prepare("scripts and programs that do not end", evaluations()).await;
    let mut live = Live::start(&["--script-time", "60s"]).await;
    let script = "[].sort.call({length: 4000000})";
    let text =
        "var x = 'x'.repeat(2e7); var a = x + 'a', b = x + 'b'; for (;;) if (a === b) break; 1";
    let inline = |script: &str| json!({ "evaluatorType": "javascript", "expression": script });
    let generator = vec!["(1,1)"; 34].join("|");
    let jq = json!({ "queryExpression": format!("last({generator})") });
    // Whoever starts them does not wait for their ends.
    let wait = json!({ "name": "w", "taskReferenceName": "w", "type": "WAIT",
        "inputParameters": { "duration": "1 seconds" } });
    live.define("array", json!([wait, task("INLINE", &inline(script))])).await;
    live.define("text", json!([wait, task("INLINE", &inline(text))])).await;
    live.define("jq", json!([wait, task("JSON_JQ_TRANSFORM", &jq)])).await;
    watch.begin(&live);
    for _ in 0..3 {
        for name in ["text", "jq", "array"] {
            live.begin(name, &json!({})).await;
        }
    }
    until(&live, "/health", |health| health["evaluations"]["busy"].as_u64() > Some(0)).await;
    watch.ends(&mut live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regular_expressions_that_do_not_end() {
    let watch = Watch::prepare("regular expressions that do not end", evaluations()).await;
    let mut live = Live::start(&["--script-time", "60s"]).await;
    let script = "/^(a|a)*$/.test('a'.repeat(60) + 'b')";
    let inline = json!({ "evaluatorType": "javascript", "expression": script });
    let program = "[range(1e6) | (\"a\" * 20000) | test(\"^(?:(a?){40}|b)*x?$\")] | length";
    let wait = json!({ "name": "w", "taskReferenceName": "w", "type": "WAIT",
        "inputParameters": { "duration": "1 seconds" } });
    live.define("script", json!([wait, task("INLINE", &inline)])).await;
    let jq = task("JSON_JQ_TRANSFORM", &json!({ "queryExpression": program }));
    live.define("jq", json!([wait, jq])).await;
    watch.begin(&live);
    for name in ["script", "jq", "script", "jq"] {
        live.begin(name, &json!({})).await;
    }
    until(&live, "/health", |health| health["evaluations"]["busy"].as_u64() >= Some(2)).await;
    watch.ends(&mut live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_that_unfold() {
    let watch = Watch::prepare("schemas that unfold", evaluations()).await;
    let mut live = Live::start(&[]).await;
    let noop = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    live.define_checked("checked", &unfolding(12), json!([noop])).await;
    let input = elements();
    watch.begin(&live);
    let address = live.url("/api/workflow/checked");
    let starts = (0..4).map(|_| {
        let (http, address, input) = (live.http.clone(), address.clone(), input.clone());
        tokio::spawn(async move { while http.post(&address).json(&input).send().await.is_ok() {} })
    });
    let starts: Vec<_> = starts.collect();
    until(&live, "/health", |health| health["evaluations"]["busy"].as_u64() > Some(0)).await;
    watch.ends(&mut live).await;
    for start in starts {
        start.abort();
    }
}

/// What is just within the bound for [`unfolding`] of 12, and so as much work as there can be; without
/// optimization a tenth of it is as much.
pub(super) fn elements() -> Value {
    let count = if is_measured() { 100 } else { 10 };
    json!({ "list": vec![json!({}); count] })
}

/// A schema whose parts each refer twice to the next one, over every element of a list.
pub(super) fn unfolding(depth: usize) -> Value {
    let part = |next: usize| {
        let reference = json!({ "$ref": format!("#/$defs/p{next}") });
        json!({ "allOf": [reference.clone(), reference] })
    };
    let mut parts: serde_json::Map<String, Value> =
        (0..depth).map(|number| (format!("p{number}"), part(number + 1))).collect();
    parts.insert(format!("p{depth}"), json!({ "type": "object" }));
    let items = json!({ "items": { "$ref": "#/$defs/p0" } });
    json!({ "$defs": parts, "properties": { "list": items } })
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_that_grow() {
    let watch = Watch::prepare("templates that grow", STARTS).await;
    let mut live = Live::start(&[]).await;
    let members = (0..500).map(|at| (format!("m{at}"), json!("y${workflow.input.b}")));
    let grown = Value::Object(members.collect());
    live.define("grow", json!([task("SET_VARIABLE", &grown)])).await;
    watch.begin(&live);
    let input = json!({ "b": "b".repeat(4 << 20) });
    for _ in 0..4 {
        live.begin("grow", &input).await;
    }
    watch.ends(&mut live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_that_start_themselves() {
    let watch = Watch::prepare("workflows that start themselves", GROWTH).await;
    let mut live = Live::start(&[]).await;
    let again = |reference: &str| {
        json!({ "name": "again", "taskReferenceName": reference, "type": "START_WORKFLOW",
            "inputParameters": { "startWorkflow": { "name": "bomb" } } })
    };
    let sub = |reference: &str| {
        json!({ "name": "sub", "taskReferenceName": reference, "type": "SUB_WORKFLOW",
            "subWorkflowParam": { "name": "tree", "version": 1 } })
    };
    let join = json!({ "name": "j", "taskReferenceName": "j", "type": "JOIN",
        "joinOn": ["one", "two"] });
    let fork = json!({ "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN",
        "forkTasks": [[sub("one")], [sub("two")]] });
    live.define("bomb", json!([again("one"), again("two")])).await;
    live.define("tree", json!([fork, join])).await;
    watch.begin(&live);
    for name in ["bomb", "tree"] {
        live.begin(name, &json!({})).await;
    }
    watch.ends(&mut live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loops_without_end() {
    let watch = Watch::prepare("loops without end", GROWTH).await;
    let mut live = Live::start(&[]).await;
    let noop = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    let forever = json!({ "name": "l", "taskReferenceName": "l", "type": "DO_WHILE",
        "inputParameters": { "keepLastN": 1 }, "loopCondition": "true", "loopOver": [noop] });
    live.define("loop", json!([forever])).await;
    watch.begin(&live);
    for _ in 0..4 {
        live.begin("loop", &json!({})).await;
    }
    watch.ends(&mut live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eleven_hundred_connections_with_half_a_request() {
    let watch = Watch::prepare("1,100 connections with half a request", 1100 / 8).await;
    let mut live = Live::start(&[]).await;
    watch.begin(&live);
    let half = "POST /api/workflow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{";
    let mut held = Vec::new();
    for _ in 0..1100 {
        held.push(connect(&live, half).await);
    }
    // Others are served.
    live.get("/api/workflow/search").await;
    watch.ends(&mut live).await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_waits_on_few_connections() {
    let watch = Watch::prepare("4,000 long polls on two connections", 0).await;
    let mut live = Live::start(&[]).await;
    watch.begin(&live);
    let mut waits = Vec::new();
    for number in 0..2 {
        let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
        for _ in 0..2000 {
            let url = live.url(&format!("/api/tasks/poll/batch/t{number}?timeout=5000"));
            let client = client.clone();
            waits.push(tokio::spawn(async move {
                // Each waits for as long as a poll may, again and again.
                while client.get(&url).send().await.is_ok() {}
            }));
        }
    }
    let all = |polls: &Value| polls.as_array().is_some_and(|polls| polls.len() >= 2);
    until(&live, "/api/tasks/queue/polldata/all", all).await;
    live.get("/api/workflow/search").await;
    watch.ends(&mut live).await;
    for wait in waits {
        wait.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_that_nobody_reads() {
    let watch = Watch::prepare("large answers that nobody reads", LARGE_ANSWERS).await;
    let mut live = Live::start(&[]).await;
    let simple = |at: usize| {
        let name = format!("s{at}");
        json!({ "name": name, "taskReferenceName": name, "type": "SIMPLE" })
    };
    live.define("large", (0..8).map(simple).collect()).await;
    let id = live.begin("large", &json!({})).await;
    let output = json!({ "status": "COMPLETED", "outputData": { "text": "x".repeat(5 << 20) } });
    for at in 0..7 {
        let polled = live.poll(&format!("s{at}?timeout=5000")).await;
        live.report(&polled[0], output.clone()).await;
    }
    watch.begin(&live);
    let ask = format!("GET /api/workflow/{id} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut unread = Vec::new();
    for _ in 0..40 {
        unread.push(connect(&live, &ask).await);
    }
    watch.ends(&mut live).await;
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_never_answer() {
    let watch = Watch::prepare("peers that never answer", 0).await;
    let mut live = Live::start(&[]).await;
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = silent.local_addr().expect("an address");
    let call = json!({ "http_request": { "uri": format!("http://{address}/"), "method": "GET",
        "readTimeOut": 1_000_000_000 } });
    live.define("call", json!([task("HTTP", &call)])).await;
    watch.begin(&live);
    for _ in 0..200 {
        live.begin("call", &json!({})).await;
    }
    let (mut called, _) = silent.accept().await.expect("a call");
    called.read_u8().await.expect("a request");
    watch.ends(&mut live).await;
}
