//! Peers that send slowly, ask for more than they read, open more than they may, or invent names.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message as _;
use proto::{
    CreateInstanceRequest, GetWorkItemsRequest, OrchestratorAction, OrchestratorResponse,
    ScheduleTaskAction, WorkItem, orchestrator_action,
};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use super::underway::{connect, until};
use super::watch::{Watch, is_measured};
use super::wire::{self, Grpc, Http2};
use crate::live::Live;

/// What the server says that one connection by HTTP/2 may have open.
const STREAMS_MAX: u32 = 2000;
/// MiB that request bodies take together.
const BODIES: u64 = 384;
/// MiB that answers take together, but for the large ones.
const ANSWERS: u64 = 256;
/// MiB of unfinished answers of orchestrators, and of one that is being read.
const UNFINISHED: u64 = 256 + 64;
const GRPC: &str = "application/grpc";
const JSON: &str = "application/json";
/// How long anything may take here on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} never came"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_streams() {
    let watch = Watch::prepare("10,000 streams on five connections", 64).await;
    let mut live = Live::start(&[]).await;
    watch.begin(&live);
    let mut held = Vec::new();
    for _ in 0..10_000 / STREAMS_MAX {
        let mut one = Http2::connect(&live).await;
        let settings = in_time("settings", one.frame()).await.expect("a frame");
        assert_eq!(settings.kind, wire::SETTINGS);
        let told = settings.setting(wire::STREAMS);
        assert_eq!(told, Some(STREAMS_MAX), "streams of one connection are bounded");
        for _ in 0..STREAMS_MAX {
            one.begin("POST", "/api/workflow", JSON, false).await.expect("it is taken");
        }
        held.push(one);
    }
    // Who does not keep to it is refused, or loses the connection.
    let mut greedy = Http2::connect(&live).await;
    let refused = in_time("a refusal", async {
        for _ in 0..=STREAMS_MAX {
            if greedy.begin("POST", "/api/workflow", JSON, false).await.is_err() {
                return true;
            }
        }
        while let Ok(frame) = greedy.frame().await {
            let is_refused = frame.kind == wire::RESET && frame.reason() == Some(wire::REFUSED);
            if is_refused || frame.kind == wire::GO_AWAY {
                return true;
            }
            assert_ne!(frame.kind, wire::HEADERS, "nothing was asked for that has an answer");
        }
        true
    });
    assert!(refused.await);
    // Others are served.
    live.get("/api/workflow/search").await;
    watch.ends(&mut live).await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_by_grpc_that_trickle() {
    let watch = Watch::prepare("1,000 slow bodies by gRPC", 64).await;
    let mut live = Live::start(&[]).await;
    watch.begin(&live);
    let mut peers = JoinSet::new();
    let sent = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        let (mut peer, sent) = (Http2::connect(&live).await, sent.clone());
        peers.spawn(async move {
            let mut streams = Vec::new();
            for _ in 0..50 {
                let path = "/TaskHubSidecarService/StartInstance";
                let stream = peer.begin("POST", path, GRPC, false).await.expect("it is taken");
                // A message that says it has ten megabytes.
                let length = (10_u32 << 20).to_be_bytes();
                peer.data(stream, &[&[0][..], &length].concat()).await.expect("it is taken");
                streams.push(stream);
            }
            loop {
                for stream in &streams {
                    // It ends with the server.
                    if peer.data(*stream, &[0]).await.is_err() {
                        return;
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    in_time("every stream", async {
        while sent.load(Ordering::Relaxed) < 1000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let started = Grpc::new(&live).call("StartInstance", &instance("honest")).await;
    assert_eq!(started.status, None, "others are served");
    watch.ends(&mut live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_that_do_not_end() {
    let watch = Watch::prepare("large bodies that do not end", BODIES).await;
    let mut live = Live::start(&[]).await;
    watch.begin(&live);
    let length = 10 << 20;
    let head =
        format!("POST /api/workflow HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    let body: Arc<[u8]> = vec![b'x'; length - 1].into();
    let mut peers = JoinSet::new();
    let count = if is_measured() { 300 } else { 80 };
    for _ in 0..count {
        let (mut peer, body) = (connect(&live, &head).await, body.clone());
        peers.spawn(async move {
            // Those that find no room are told so, and closed.
            let _ = peer.write_all(&body).await;
            peer
        });
    }
    let held = in_time("the end of what is sent", peers.join_all()).await;
    live.begin_small().await;
    watch.ends(&mut live).await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_do_not_end() {
    let watch = Watch::prepare("1,000 long heads that do not end", 1000 / 8).await;
    let mut live = Live::start(&[]).await;
    watch.begin(&live);
    let filling: Arc<[u8]> = vec![b'y'; 400_000].into();
    let mut peers = JoinSet::new();
    for count in 0..1000 {
        let path = if count % 2 == 0 { "/health" } else { "/api/version" };
        let begin = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx: ");
        let (mut peer, filling) = (connect(&live, &begin).await, filling.clone());
        peers.spawn(async move {
            let _ = peer.write_all(&filling).await;
            peer
        });
    }
    let held = in_time("the end of what is sent", peers.join_all()).await;
    watch.ends(&mut live).await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_one_connection_does_not_read() {
    let watch = Watch::prepare("answers that one connection does not read", ANSWERS).await;
    let mut live = Live::start(&[]).await;
    let human = json!({ "name": "h", "taskReferenceName": "h", "type": "HUMAN" });
    live.define("large", json!([human])).await;
    // Below what counts as large by itself.
    let id = live.begin("large", &json!({ "text": "x".repeat(3_900_000) })).await;
    watch.begin(&live);
    let mut peer = Http2::connect(&live).await;
    let asked = if is_measured() { 1000 } else { 150 };
    for _ in 0..asked {
        let path = format!("/api/workflow/{id}");
        peer.begin("GET", &path, JSON, true).await.expect("it is taken");
    }
    // Of each the head is taken, and as much of one body as comes with it.
    let mut answered = 0;
    while answered < asked {
        let frame = in_time("an answer", peer.frame()).await.expect("a frame");
        answered += u32::from(frame.kind == wire::HEADERS);
        assert_ne!(frame.kind, wire::GO_AWAY);
    }
    live.begin_small().await;
    watch.ends(&mut live).await;
}

fn instance(id: &str) -> CreateInstanceRequest {
    let (instance_id, name) = (id.to_owned(), "o".to_owned());
    CreateInstanceRequest { instance_id, name, ..CreateInstanceRequest::default() }
}

/// One part of an answer, with one action that has so many bytes.
fn part(token: &str, index: i32, bytes: usize) -> OrchestratorResponse {
    let task = ScheduleTaskAction {
        name: "a".to_owned(),
        input: Some("x".repeat(bytes)),
        ..ScheduleTaskAction::default()
    };
    let kind = orchestrator_action::OrchestratorActionType::ScheduleTask(task);
    let action = OrchestratorAction { id: index, orchestrator_action_type: Some(kind) };
    OrchestratorResponse {
        actions: vec![action],
        completion_token: token.to_owned(),
        is_partial: true,
        chunk_index: Some(index),
        ..OrchestratorResponse::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_orchestrators_that_stay_unfinished() {
    let watch = Watch::prepare("unfinished answers of orchestrators", UNFINISHED).await;
    let mut live = Live::start(&[]).await;
    watch.begin(&live);
    let mut workers = Vec::new();
    let count = if is_measured() { 5 } else { 1 };
    for worker in 0..count {
        let client = Grpc::new(&live);
        for turn in 0..2 {
            let started =
                client.call("StartInstance", &instance(&format!("{worker}-{turn}"))).await;
            assert_eq!(started.status, None);
        }
        let wanted = GetWorkItemsRequest {
            max_concurrent_orchestration_work_items: 2,
            ..GetWorkItemsRequest::default()
        };
        let mut items = client.stream("GetWorkItems", &wanted).await;
        let mut turns = 0;
        while turns < 2 {
            let item = in_time("a turn", items.next()).await;
            let token = WorkItem::decode(&*item).expect("an item").completion_token;
            if token.is_empty() {
                continue;
            }
            turns += 1;
            // Fifteen parts are sixty megabytes, nearly as much as one answer may have.
            for index in 0..15 {
                let part = part(&token, index, 4_000_000);
                let answered = client.call("CompleteOrchestratorTask", &part);
                let status = in_time("an answer", answered).await.status;
                if status.as_deref() == Some("8") {
                    break;
                }
                assert_eq!(status, None, "worker {worker}, part {index}");
            }
        }
        workers.push((client, items));
    }
    watch.ends(&mut live).await;
    drop(workers);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_millions_of_empty_parts() {
    let watch = Watch::prepare("messages of 5 million empty parts", BODIES / 4).await;
    let mut live = Live::start(&[]).await;
    watch.begin(&live);
    // An empty action has two bytes on the wire, and hundreds in memory.
    let message: Arc<[u8]> = [0x12, 0].repeat((10 << 20) / 2 - 100).into();
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let (client, message) = (Grpc::new(&live), message.clone());
        calls.spawn(async move { client.call_raw("CompleteOrchestratorTask", &message).await });
    }
    while let Some(refused) = in_time("an answer", calls.join_next()).await {
        assert_eq!(refused.expect("no panic").status.as_deref(), Some("8"));
    }
    watch.ends(&mut live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn task_types_and_workers_that_are_invented() {
    let watch = Watch::prepare("invented task types, workers and paths", 64).await;
    let mut live = Live::start(&[]).await;
    watch.begin(&live);
    let invented = Arc::new(AtomicUsize::new(0));
    let mut peers = JoinSet::new();
    for _ in 0..50 {
        let (http, invented) = (live.http.clone(), invented.clone());
        let base = live.url("");
        peers.spawn(async move {
            loop {
                let number = invented.fetch_add(1, Ordering::Relaxed);
                let long = "label".repeat(30);
                let path = match number % 4 {
                    0 => format!("/invented/{number}/{long}"),
                    _ => format!(
                        "/api/tasks/poll/{number}-{long}?workerid={number}-{long}&domain=d{number}&timeout=1"
                    ),
                };
                // It ends with the server.
                if http.get(format!("{base}{path}")).send().await.is_err() {
                    return;
                }
            }
        });
    }
    let enough = if is_measured() { 20_000 } else { 2000 };
    in_time("enough names", async {
        while invented.load(Ordering::Relaxed) < enough {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    until(&live, "/api/tasks/queue/polldata/all", |polls| !polls.is_null()).await;
    let metrics = live.get("/metrics").await;
    let lines = metrics.as_str().map(|text| text.lines().count()).expect("text");
    assert!(lines < 20_000, "{lines} lines of metrics");
    watch.ends(&mut live).await;
    peers.shutdown().await;
}
