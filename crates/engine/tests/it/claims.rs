//! That a worker holds a task: in force at once, written with what comes next or a moment later.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::memory::Memory;
use engine::store::Store;
use engine::{Engine, PollRequest};
use kernel::TaskId;
use kernel::graph::{Status, TaskStatus};
use serde_json::json;

use crate::house::{complete, ended, open, poll, register, start};

async fn with_a_simple_task(engine: &Engine) {
    let task = json!({ "name": "greet", "taskReferenceName": "greet", "type": "SIMPLE" });
    register(engine, json!({ "name": "one", "version": 1, "tasks": [task] })).await;
}

fn commits(engine: &Engine) -> u64 {
    engine.counters().commits.load(Ordering::Relaxed)
}

async fn status_of(engine: &Engine, task: &TaskId) -> Option<TaskStatus> {
    let look = |state: &kernel::graph::Execution| state.task(task.sequence).map(|t| t.status);
    engine.read(&task.execution, look).await.expect("the store answers").flatten()
}

/// A task that is there now.
async fn polled_at_once(engine: &Engine) -> Option<TaskId> {
    let request = PollRequest {
        queue: "greet".into(),
        worker: Some("second".into()),
        count: 1,
        wait: Duration::ZERO,
    };
    engine.poll(request).await.expect("the store answers").pop()
}

/// The commits that a store holds of an execution.
async fn stored(store: &Memory, task: &TaskId) -> (u64, String) {
    let stored = store.load(&task.execution).await.expect("it answers").expect("it is there");
    (stored.version, stored.history.concat())
}

#[tokio::test]
async fn a_hold_counts_at_once_and_is_written_with_the_report() {
    let store = Arc::new(Memory::new());
    let engine = open(store.clone()).await;
    with_a_simple_task(&engine).await;
    let id = start(&engine, "one", json!({})).await;
    let before = commits(&engine);
    let task = poll(&engine, "greet").await;
    assert_eq!(status_of(&engine, &task).await, Some(TaskStatus::InProgress));
    assert_eq!(polled_at_once(&engine).await, None, "nobody else is given it");
    complete(&engine, &task, json!({})).await;
    assert_eq!(ended(&engine, &id).await.0, Status::Completed);
    // At most one more: the test may be slower than the moment for which a hold may wait.
    assert!(commits(&engine) - before <= 2);
    let (version, history) = stored(&store, &task).await;
    assert_eq!(version, 1 + commits(&engine) - before);
    let position = |word: &str| history.find(word).unwrap_or_else(|| panic!("{word}: {history}"));
    assert!(position("\"claimed\"") < position("\"closed\""), "{history}");
}

#[tokio::test]
async fn a_hold_that_lasts_is_written_and_survives_the_process() {
    let store = Arc::new(Memory::new());
    let engine = open(store.clone()).await;
    with_a_simple_task(&engine).await;
    start(&engine, "one", json!({})).await;
    let before = commits(&engine);
    let task = poll(&engine, "greet").await;
    let written = async {
        while commits(&engine) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written).await.expect("it is written");
    // Another engine over the same store, as after a kill.
    let after = open(store).await;
    assert_eq!(status_of(&after, &task).await, Some(TaskStatus::InProgress));
    assert_eq!(polled_at_once(&after).await, None, "the first worker still holds it");
    complete(&after, &task, json!({})).await;
    assert_eq!(ended(&after, &task.execution).await.0, Status::Completed);
}

#[tokio::test]
async fn a_shutdown_writes_what_is_held() {
    let store = Arc::new(Memory::new());
    let engine = open(store).await;
    with_a_simple_task(&engine).await;
    start(&engine, "one", json!({})).await;
    let before = commits(&engine);
    poll(&engine, "greet").await;
    engine.close().await.expect("it closes");
    assert_eq!(commits(&engine) - before, 1);
}

#[tokio::test]
async fn a_hold_that_was_never_written_is_given_out_again() {
    let store = Arc::new(Memory::new());
    let engine = open(store.clone()).await;
    with_a_simple_task(&engine).await;
    let id = start(&engine, "one", json!({})).await;
    // As a kill right after a poll leaves it: the store knows only of the start.
    let task = TaskId::new(id.clone(), 1);
    let killed = open(store).await;
    assert_eq!(poll(&killed, "greet").await, task);
    complete(&killed, &task, json!({ "by": "second" })).await;
    assert_eq!(ended(&killed, &id).await.0, Status::Completed);
    // The first worker's report comes late, and changes nothing.
    complete(&killed, &task, json!({ "by": "first" })).await;
}
