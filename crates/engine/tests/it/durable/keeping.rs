//! What retention leaves of instances and entities, and what can be done after it.

use std::sync::Arc;

use engine::Engine;
use engine::durable::InstanceQuery;
use engine::memory::Memory;
use engine::store::{Retention, Store};
use kernel::durable::Status;
use kernel::durable::entity::{Entity, Signal};
use kernel::{ExecutionId, Timestamp};

use super::worker::{PATIENCE, ended, start, text, work};
use crate::house;

/// Keeps as many of what has ended.
fn at_most(count_max: u64) -> Retention {
    Retention { count_max, age_max_seconds: 0, disk_max_bytes: 0 }
}

async fn tell_counter(engine: &Engine, request: &str, operation: &str) {
    let signal = Signal {
        request_id: request.into(),
        operation: operation.into(),
        input: None,
        scheduled_at: None,
        acts_as: None,
    };
    engine.signal_entity("hub", "@counter@a", signal).await.expect("it is taken");
}

/// Waits until the counter holds this, or nothing.
async fn counter_holds(engine: &Engine, wanted: Option<&str>) {
    let id = ExecutionId::entity("hub", "@counter@a");
    let mut changes = engine.watch(&id);
    let wait = async {
        loop {
            let state = |entity: &Entity| entity.state.clone();
            let held = engine.entity("hub", "@counter@a", state).await.expect("it answers");
            if held.flatten().as_deref() == wanted {
                return;
            }
            changes.changed().await.expect("the engine lives");
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it comes to that in time");
}

#[tokio::test]
async fn ended_instances_are_forgotten_and_their_ids_are_free() {
    let store = Arc::new(Memory::new());
    let engine = house::open(store.clone()).await;
    let worker = work(&engine, "hub");
    let first = start(&engine, "one", "chain").await;
    assert_eq!(ended(&engine, &first).await.0, Status::Completed);
    let open = start(&engine, "open", "waits for ever").await;
    // The chain and its child go; what is under way does not.
    let pruned = engine.prune_finished(&at_most(1), Timestamp::MAX).await.expect("it prunes");
    assert_eq!(pruned.executions, 1, "the child ended first");
    let pruned = engine.prune_finished(&old(), Timestamp::MAX).await.expect("it prunes");
    assert_eq!(pruned.executions, 1, "the parent");
    assert_eq!(engine.instance(&first, |_| ()).await.expect("it answers"), None);
    assert!(engine.instance(&open, |_| ()).await.expect("it answers").is_some());
    let all = InstanceQuery { size: 10, ..InstanceQuery::default() };
    let page = engine.instances("hub", &all).await.expect("it answers");
    assert_eq!((page.total, &page.rows[0].id), (1, &open));
    // The same id begins a life of its own, to the same end.
    let again = start(&engine, "one", "chain").await;
    assert_eq!(again, first);
    assert_eq!(ended(&engine, &again).await, (Status::Completed, text("\"leaf\"")));
    worker.abort();
}

/// Keeps nothing that has ended.
fn old() -> Retention {
    Retention { count_max: 0, age_max_seconds: 1, disk_max_bytes: 0 }
}

#[tokio::test]
async fn entities_that_hold_nothing_are_forgotten_and_begin_anew() {
    let store = Arc::new(Memory::new());
    let engine = house::open(store.clone()).await;
    let worker = work(&engine, "hub");
    tell_counter(&engine, "1", "add").await;
    counter_holds(&engine, Some("1")).await;
    let pruned = store.prune(&old(), Timestamp::MAX, 100).await.expect("it prunes");
    assert_eq!(pruned.executions, 0, "a state is kept however old it is");
    tell_counter(&engine, "2", "delete").await;
    counter_holds(&engine, None).await;
    let pruned = store.prune(&old(), Timestamp::MAX, 100).await.expect("it prunes");
    assert_eq!(pruned.executions, 1);
    assert_eq!(store.statistics().await.expect("it counts").entities, 0);
    tell_counter(&engine, "3", "add").await;
    counter_holds(&engine, Some("1")).await;
    worker.abort();
}
