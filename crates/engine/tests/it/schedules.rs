//! Schedules over kills of the process: what is late or slow is told once, and a backfill runs each
//! instant once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::memory::{Call, Fault, Memory};
use engine::monitors::OWN_MONITOR;
use engine::search::RecordSearch;
use engine::stage::{VirtualClock, in_virtual_time};
use engine::store::{Store, StoreError};
use engine::{AnyMachine, Engine, PollRequest};
use kernel::schedule::{Input, Schedule, Stretch, schedule_from_value};
use kernel::{ExecutionId, Timestamp};
use serde_json::{Value, json};

use crate::house::{complete, open_with, poll, register};

fn at(text: &str) -> Timestamp {
    text.parse::<jiff::Timestamp>().expect("the test writes a time").into()
}

/// A process on a store: an engine with a workflow of one worker's task.
async fn process(store: &Arc<Memory>, clock: &Arc<VirtualClock>) -> Engine {
    clock.begin();
    let engine = open_with(store.clone(), clock.clone(), Vec::new()).await;
    let task = json!({ "name": "greet", "taskReferenceName": "greet", "type": "SIMPLE" });
    register(&engine, json!({ "name": "one", "version": 1, "tasks": [task] })).await;
    engine
}

async fn define(engine: &Engine, members: Value) -> ExecutionId {
    let mut document = json!({ "name": "beat", "startWorkflowRequest": { "name": "one" } });
    for (name, value) in members.as_object().expect("members are an object") {
        document[name] = value.clone();
    }
    let spec = schedule_from_value(&document).expect("the test writes a schedule");
    let id = ExecutionId::schedule("beat");
    engine.step(&id, Input::Define(Box::new(spec))).await.expect("it fits");
    id
}

/// The keys of the open incidents of Nightbell's own monitor.
async fn open_incidents(engine: &Engine) -> Vec<String> {
    let look = |machine: &AnyMachine| {
        let monitor = machine.monitor()?;
        let open = monitor.incidents.values().filter(|it| it.state.is_open());
        Some(open.map(|it| it.key.to_string()).collect())
    };
    let found = engine.look(&ExecutionId::monitor(OWN_MONITOR), look).await;
    found.expect("the store answers").flatten().unwrap_or_default()
}

async fn until_open(engine: &Engine, keys: &[&str]) {
    let wait = async {
        while open_incidents(engine).await != keys {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_mins(5), wait).await;
    let open = open_incidents(engine).await;
    assert!(found.is_ok(), "{keys:?} are not the open incidents: {open:?}");
}

#[test]
fn a_slow_run_is_told_while_it_runs_although_the_process_is_killed() {
    // Until the process is killed, nothing that is told can be written.
    let deaf = Arc::new(AtomicBool::new(true));
    let is_deaf = deaf.clone();
    let store = Arc::new(Memory::with_faults(move |call: &Call<'_>| match call {
        Call::Commit(commit)
            if is_deaf.load(Ordering::SeqCst)
                && commit.head.id == ExecutionId::monitor(OWN_MONITOR) =>
        {
            Some(Fault::Before(StoreError::Unavailable("the disk is full".to_owned())))
        }
        _ => None,
    }));
    let clock = Arc::new(VirtualClock::new(at("2026-11-23T00:00:30Z")));
    in_virtual_time(async {
        let engine = process(&store, &clock).await;
        let expect = json!({ "slowerThan": "40s", "startWithin": "10s" });
        let daily = json!({ "cronExpression": "0 1 0 * * *", "expect": expect });
        let id = define(&engine, daily).await;
        let told =
            |machine: &AnyMachine| machine.schedule().map(|it| (it.now, it.watched.unmet.len()));
        let wait = async {
            loop {
                match engine.look(&id, told).await.expect("the store answers").flatten() {
                    Some((now, 1)) => break now,
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        let slow_at = tokio::time::timeout(Duration::from_mins(5), wait).await;
        let late = slow_at.expect("it is slow").since(at("2026-11-23T00:01:40Z"));
        assert!((0..2000).contains(&late), "it is slow {late} ms after it should be");
        assert_eq!(open_incidents(&engine).await, [""; 0]);
    });
    clock.end(60_000);
    deaf.store(false, Ordering::SeqCst);
    in_virtual_time(async {
        let engine = process(&store, &clock).await;
        until_open(&engine, &["schedule:beat#slow"]).await;
        let task = poll(&engine, "greet").await;
        complete(&engine, &task, json!({})).await;
        until_open(&engine, &[]).await;
    });
}

#[test]
fn a_backfill_runs_each_instant_once_however_often_the_process_is_killed() {
    const HOURS: usize = 24;
    for each in [1, 3, 10] {
        let store = Arc::new(Memory::new());
        let clock = Arc::new(VirtualClock::new(at("2026-11-23T10:00:30Z")));
        let (mut ran, mut processes) = (BTreeSet::new(), 0);
        while ran.len() < HOURS {
            processes += 1;
            assert!(processes <= HOURS + 1, "it comes to no end: {ran:?}");
            let first = processes == 1;
            let tasks = in_virtual_time(async {
                let engine = process(&store, &clock).await;
                if first {
                    let id = define(&engine, json!({ "cronExpression": "0 0 * * * *" })).await;
                    let stretch = Stretch {
                        from: at("2026-11-22T00:00:00Z"),
                        to: at("2026-11-22T23:59:59Z"),
                        at_once: Some(4),
                        ..Stretch::default()
                    };
                    engine.step(&id, Input::Backfill(stretch)).await.expect("it begins");
                }
                let mut tasks = Vec::new();
                // Killed after so many, with whatever was on its way then.
                while tasks.len() < each && ran.len() + tasks.len() < HOURS {
                    let task = poll(&engine, "greet").await;
                    complete(&engine, &task, json!({})).await;
                    tasks.push(task.execution);
                }
                tasks
            });
            clock.end(1000);
            for run in tasks {
                assert!(ran.insert(run.clone()), "{run} ran twice");
            }
        }
        in_virtual_time(async {
            let engine = process(&store, &clock).await;
            let over = |machine: &AnyMachine| {
                machine
                    .schedule()
                    .is_some_and(|it: &Schedule| it.backfill.is_none() && it.open.is_empty())
            };
            let id = ExecutionId::schedule("beat");
            let wait = async {
                while engine.look(&id, over).await.expect("the store answers") != Some(true) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            tokio::time::timeout(Duration::from_mins(1), wait).await.expect("it is over");
            let request = PollRequest {
                queue: "greet".into(),
                worker: None,
                count: 1,
                wait: Duration::from_secs(1),
            };
            let more = engine.poll(request).await.expect("the store answers");
            assert!(more.is_empty(), "{more:?} is one too many");
            let search = RecordSearch::newest("firing");
            let lines = store.records(&search).await.expect("the store answers");
            let instants: BTreeSet<_> = lines.rows.iter().map(|line| line.at).collect();
            assert!(lines.rows.iter().all(|line| &*line.status == "EXECUTED"), "{lines:?}");
            assert_eq!((lines.rows.len(), instants.len()), (HOURS, HOURS));
        });
    }
}
