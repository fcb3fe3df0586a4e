//! The web console over a store that holds much: 100,000 runs, a run of 10,000 tasks, a loop of 10,000
//! iterations, 2,000 monitors and 100,000 messages. Pages stay small, hold few elements, and ask the store seldom; how
//! long they take is for `cargo xtask bench`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::StatusCode;
use engine::memory::{Call, Memory};
use engine::store::{Commit, Head, Store};
use kernel::{ExecutionId, Json, Record, Timestamp};
use serde_json::{Value, json};

use crate::console::{Browser, is_whole};
use crate::support::Server;

const RUNS: u32 = 100_000;
const TASKS: usize = 10_000;
const MONITORS: usize = 2_000;
const EVENTS: u32 = 100_000;

/// Bytes of a page as it is sent, elements in it, and questions to the store.
const BYTES_MAX: usize = 15 * 1024;
const ELEMENTS_MAX: usize = 3_000;
const READS_MAX: u32 = 12;

/// The head of an ended run, as a list shows it.
fn ended(number: u32, now: Timestamp) -> Commit {
    let failed = number.is_multiple_of(100);
    let at = now.plus_millis(-i64::from(RUNS - number) * 1000);
    let head = Head {
        id: ExecutionId::new(format!("{number:08}-0000-4000-8000-000000000000")),
        version: 1,
        name: format!("nightly-{}", number % 40).into(),
        definition_version: 1,
        status: if failed { "FAILED" } else { "COMPLETED" },
        closed: true,
        correlation_id: None,
        parent: None,
        priority: 0,
        created_at: at,
        updated_at: at,
        ended_at: Some(at),
        wake_at: None,
        reason: failed.then(|| "the disk is full".into()),
        failed_references: "".into(),
        event: None,
        input_size: 2,
        output_size: 2,
    };
    Commit {
        head,
        expect: 0,
        events: "[]".to_owned(),
        forget: false,
        plans: Vec::new(),
        queue: Vec::new(),
        send: Vec::new(),
        received: Vec::new(),
        records: Vec::new(),
        deferrable: false,
        text: None,
        brief: None,
    }
}

/// What a handler did with a message, as the engine writes it.
fn heard(number: u32, now: Timestamp) -> Record {
    Record {
        ledger: "event",
        key: format!("message-{number}_0/heard").into(),
        subject: "heard".into(),
        at: now.plus_millis(i64::from(number) - i64::from(EVENTS)),
        status: "COMPLETED".into(),
        body: Json::of(
            &json!({ "messageId": format!("message-{number}"), "action": "start_workflow",
            "event": "conductor:shop:orders", "output": { "workflowId": format!("run-{number}") } }),
        ),
    }
}

/// A server over such a store, what counts the questions to it, and the addresses of the two long runs.
async fn full() -> (Browser, Arc<AtomicU32>, [String; 2]) {
    let reads = Arc::new(AtomicU32::new(0));
    let counted = reads.clone();
    let store = Arc::new(Memory::with_faults(move |call| {
        if let Call::Read(_) = call {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        None
    }));
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    for number in 0..RUNS {
        store.commit(ended(number, now)).await.expect("memory takes it");
    }
    let server = Server::with_store(store).await;
    let handler = json!({ "name": "heard", "event": "conductor:shop:orders", "active": false,
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": "long" } }] });
    server.post("/api/event", &handler).await.ok_text();
    let simple = |at: usize| json!({ "name": "load", "taskReferenceName": format!("load{at}"), "type": "SIMPLE" });
    server
        .register(json!([
            { "name": "wide", "version": 1, "tasks": [
                { "name": "f", "taskReferenceName": "fork", "type": "FORK_JOIN_DYNAMIC",
                  "inputParameters": { "tasks": "${workflow.input.tasks}", "inputs": {} },
                  "dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs" },
                { "name": "j", "taskReferenceName": "join", "type": "JOIN" } ] },
            { "name": "long", "version": 1, "tasks": [
                { "name": "l", "taskReferenceName": "pages", "type": "DO_WHILE",
                  "items": "${workflow.input.pages}", "loopCondition": "true", "loopOver": [
                    { "name": "p", "taskReferenceName": "page", "type": "NOOP" } ] } ] },
        ]))
        .await;
    let tasks: Vec<Value> = (0..TASKS).map(simple).collect();
    let wide = server.start("wide", &json!({ "tasks": tasks })).await;
    let long = server.start("long", &json!({ "pages": (0..TASKS).collect::<Vec<_>>() })).await;
    until_ended(&server, &long).await;
    let monitor = |at: usize| {
        let beat = json!({ "heartbeat": { "every": "1h", "key": format!("k-{at}") } });
        (format!("job-{at:04}"), beat)
    };
    let mut monitors: serde_json::Map<String, Value> = (0..MONITORS).map(monitor).collect();
    let alerts = json!({ "alerts": { "key": "k-0123456789abcdef0123", "limit": 2000 } });
    monitors.insert("prom".to_owned(), alerts);
    server.post("/api/monitors", &json!({ "monitors": monitors })).await.ok();
    let alert = |at: usize| json!({ "labels": { "alertname": format!("a{at}") } });
    let firing: Vec<Value> = (0..500).map(alert).collect();
    let sent = server.post("/inbound/k-0123456789abcdef0123/api/v2/alerts", &json!(firing)).await;
    assert_eq!(sent.status, StatusCode::OK, "{}", sent.text);
    let heard = (0..EVENTS).map(|number| heard(number, now)).collect();
    server.engine.store().put_records(heard).await.expect("memory takes them");
    let pages = [wide, long].map(|id| format!("/console/runs/{id}"));
    (Browser::at(server), reads, pages)
}

/// Waits for the end of a run; a head row alone is read for that.
async fn until_ended(server: &Server, id: &str) {
    let id = ExecutionId::new(id);
    let ended = async {
        while !server
            .engine
            .store()
            .head(&id)
            .await
            .expect("memory answers")
            .is_some_and(|it| it.closed)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(2), ended).await.expect("the loop ends");
}

#[tokio::test]
async fn pages_over_much_are_small_and_ask_little() {
    let (browser, reads, [wide, long]) = full().await;
    let mut pages: Vec<String> = [
        "",
        "incidents",
        "incidents?monitor=prom&start=450",
        "monitors",
        "monitors?range=90d&start=1950",
        "monitors?status=DOWN",
        "monitors?q=job-19*",
        "monitors/prom",
        "runs",
        "runs?q=status%3AFAILED",
        "runs?q=status%3AFAILED+name%3Anightly-3*",
        "system/queues",
        "schedules",
        "definitions",
        "handover",
        "system/events",
        "system/events?handler=heard&event=conductor%3Ashop%3Aorders",
        "confirm?act=retry&found=1&find=status%3AFAILED",
    ]
    .map(|page| format!("/console/{page}"))
    .into();
    for run in [&wide, &long] {
        for view in ["graph", "table", "timeline", "tasks", "history", "data", "logs"] {
            pages.push(format!("{run}?view={view}"));
        }
        pages.push(format!("{run}?view=tasks&start=9900&task=9999"));
        pages.push(format!("{run}/with/{}", run.rsplit('/').next().expect("an id")));
    }
    // Of the loop all early commits are kept as one.
    for view in ["graph", "timeline", "tasks", "data"] {
        pages.push(format!("{wide}?view={view}&at=2"));
    }
    let mut wrong = Vec::new();
    for path in &pages {
        let before = reads.load(Ordering::Relaxed);
        let (page, bytes) = browser.packed(path).await;
        let asked = reads.load(Ordering::Relaxed) - before;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        is_whole(path, &page);
        let tags = page.text.split('<').skip(1);
        let elements = tags.filter(|it| it.starts_with(|c: char| c.is_ascii_alphabetic())).count();
        if bytes > BYTES_MAX || elements > ELEMENTS_MAX || asked > READS_MAX {
            wrong.push(format!("{path}: {bytes} bytes, {elements} elements, {asked} questions"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What they say is exact, or says that it is not.
    let runs = browser.get("/console/runs").await.text;
    assert!(runs.contains("99,000") || runs.contains("99,001"), "completed runs are counted");
    let monitors = browser.get("/console/monitors").await.text;
    assert!(monitors.contains("2,001"), "{monitors}");
    let tasks = browser.get(&format!("{wide}?view=tasks")).await.text;
    assert!(tasks.contains("1 to 100 here"), "{tasks}");
}
