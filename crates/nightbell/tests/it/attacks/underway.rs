//! The server under attack: while each is under way, health is answered and SIGTERM ends the process.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::watch::Watch;
use crate::live::Live;

fn task(kind: &str, input: &Value) -> Value {
    json!({ "name": "t", "taskReferenceName": "t", "type": kind, "inputParameters": input })
}

async fn connect(live: &Live, request: &str) -> TcpStream {
    let address = (Ipv4Addr::LOCALHOST, live.port());
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("it is taken");
    stream
}

/// Waits until something has begun that a workflow or its log shows.
async fn until(live: &Live, path: &str, is_so: impl Fn(&Value) -> bool) {
    let wait = async {
        while !is_so(&live.get(path).await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_mins(1), wait).await;
    waited.unwrap_or_else(|_| panic!("{path} never shows it; {}", live.log_text()));
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_and_programs_that_do_not_end() {
    let watch = Watch::prepare("scripts and programs that do not end").await;
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
async fn templates_that_grow() {
    let watch = Watch::prepare("templates that grow").await;
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
    let watch = Watch::prepare("workflows that start themselves").await;
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
    let watch = Watch::prepare("loops without end").await;
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
    let watch = Watch::prepare("1,100 connections with half a request").await;
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
    let watch = Watch::prepare("4,000 long polls on two connections").await;
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
    let watch = Watch::prepare("large answers that nobody reads").await;
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
    let watch = Watch::prepare("peers that never answer").await;
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
