//! Commits that fail, or that only seem to: what they owe takes effect exactly if they were written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::memory::{Call, Fault, Memory};
use engine::store::{QueueChange, Store, StoreError};
use engine::{Engine, Error};
use kernel::ExecutionId;
use kernel::graph::Input;
use serde_json::json;

use crate::house::{open, poll, register, start, start_of};

fn away() -> StoreError {
    StoreError::Unavailable("the disk is full".to_owned())
}

async fn with_simple_tasks(engine: &Engine) {
    let task = |name: &str| json!({ "name": name, "taskReferenceName": name, "type": "SIMPLE" });
    register(engine, json!({ "name": "one", "version": 1, "tasks": [task("greet")] })).await;
    let branches = json!([[task("first")], [task("second")]]);
    let fork = json!({ "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN", "forkTasks": branches });
    let join = json!({ "name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["first", "second"] });
    register(engine, json!({ "name": "two", "version": 1, "tasks": [fork, join] })).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_written_without_an_answer_is_handed_out() {
    let lost = Arc::new(AtomicBool::new(true));
    let faults = {
        let lost = lost.clone();
        move |call: &Call<'_>| match call {
            Call::Commit(commit)
                if !commit.queue.is_empty() && lost.swap(false, Ordering::SeqCst) =>
            {
                Some(Fault::After(away()))
            }
            _ => None,
        }
    };
    let store = Arc::new(Memory::with_faults(faults));
    let engine = open(store.clone()).await;
    with_simple_tasks(&engine).await;
    let id = ExecutionId::new("mine");
    let plan = engine.definitions().plan("one", None).expect("it is registered");
    let begun = engine.step(&id, Input::Start(Box::new(start_of(plan, json!({}))))).await;
    assert!(matches!(begun, Err(Error::Store(StoreError::Unavailable(_)))), "{begun:?}");
    assert_eq!(poll(&engine, "greet").await.execution, id);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_could_not_be_written_is_not_lost_beside_another() {
    let fails = Arc::new(AtomicBool::new(false));
    let faults = {
        let fails = fails.clone();
        move |call: &Call<'_>| match call {
            Call::Commit(commit) if fails.load(Ordering::SeqCst) => {
                let held =
                    |change: &QueueChange| matches!(change, QueueChange::Put(row) if row.held);
                commit.queue.iter().any(held).then(|| Fault::Before(away()))
            }
            _ => None,
        }
    };
    let store = Arc::new(Memory::with_faults(faults));
    let engine = open(store.clone()).await;
    with_simple_tasks(&engine).await;
    let id = start(&engine, "two", json!({})).await;
    fails.store(true, Ordering::SeqCst);
    let first = poll(&engine, "first").await;
    // By now its hold was to be written, and was not.
    tokio::time::sleep(Duration::from_millis(150)).await;
    let second = poll(&engine, "second").await;
    fails.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let rows = store.queued().await.expect("it answers");
    let mut held: Vec<u32> = rows.iter().filter(|row| row.held).map(|row| row.sequence).collect();
    held.sort_unstable();
    assert_eq!(rows.len(), held.len(), "{rows:?}");
    assert_eq!(held, [first.sequence, second.sequence], "both are held, as {id} knows");
}
