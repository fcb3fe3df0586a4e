//! Idempotency keys of SUB_WORKFLOW and START_WORKFLOW, with a whole engine: what a task gets that
//! asks for an execution which is there already, and what it learns when there is none.

use std::sync::Arc;
use std::time::Duration;

use engine::memory::Memory;
use engine::{Begun, Engine};
use kernel::ExecutionId;
use kernel::definition::IdempotencyStrategy;
use kernel::graph::{Control, Execution, Input, Start, Status};
use serde_json::{Value, json};

use crate::house::{complete, ended, open, poll, register, start};

/// Workflow `child`, one task `a`; and workflow `asks`, which starts it with the key `k` and the
/// strategy of its name.
async fn house() -> Engine {
    let engine = open(Arc::new(Memory::new())).await;
    let task = json!([{ "name": "a", "taskReferenceName": "a", "type": "SIMPLE" }]);
    register(&engine, json!({ "name": "child", "tasks": task })).await;
    for strategy in IdempotencyStrategy::NAMES {
        let sub = json!({ "name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW",
            "subWorkflowParam": { "name": "child", "idempotencyKey": "${workflow.input.key}",
                "idempotencyStrategy": strategy } });
        register(&engine, json!({ "name": strategy, "tasks": [sub] })).await;
        let detached = json!({ "name": "child", "idempotencyKey": "${workflow.input.key}",
            "idempotencyStrategy": strategy });
        let detached = json!({ "name": "s", "taskReferenceName": "s", "type": "START_WORKFLOW",
            "inputParameters": { "startWorkflow": detached } });
        let name = format!("{strategy}-detached");
        register(&engine, json!({ "name": name, "tasks": [detached] })).await;
    }
    engine
}

/// Begins a `child` with the key `k` by hand.
async fn by_hand(engine: &Engine, strategy: IdempotencyStrategy) -> ExecutionId {
    let start = Start {
        plan: engine.definitions().plan("child", None).expect("it is registered"),
        input: json!({}).into(),
        correlation_id: None,
        priority: 0,
        task_to_domain: None,
        parent: None,
        asked_by: None,
        event: None,
        created_by: None,
        acts_as: None,
        idempotency_key: Some("k".into()),
        traceparent: None,
    };
    let begun = engine.begin(start, Some(strategy)).await.expect("it begins");
    assert!(matches!(begun, Begun::New(_)));
    begun.id().clone()
}

async fn ask(engine: &Engine, name: &str) -> ExecutionId {
    start(engine, name, json!({ "key": "k" })).await
}

/// Waits until a look at an execution gives something.
async fn seen<R>(engine: &Engine, id: &ExecutionId, look: impl Fn(&Execution) -> Option<R>) -> R {
    let mut changes = engine.watch(id);
    let wait = async {
        loop {
            if let Some(seen) = engine.read(id, &look).await.expect("it is read").flatten() {
                return seen;
            }
            changes.changed().await.expect("the engine lives");
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it is seen in time")
}

/// The child that a task has, once it is known.
async fn child(engine: &Engine, parent: &ExecutionId) -> ExecutionId {
    let known = |state: &Execution| {
        state.task(1).filter(|task| task.child_started).and_then(|task| task.child.clone())
    };
    seen(engine, parent, known).await
}

async fn status(engine: &Engine, id: &ExecutionId) -> Status {
    engine.read(id, |state| state.status).await.expect("it is read").expect("it exists")
}

async fn reason(engine: &Engine, id: &ExecutionId) -> String {
    assert_eq!(ended(engine, id).await.0, Status::Failed);
    let reason = |state: &Execution| state.task(1).and_then(|task| task.reason.clone());
    let reason = engine.read(id, reason).await.expect("it is read").flatten();
    reason.expect("a task that failed says why").to_string()
}

async fn terminate(engine: &Engine, id: &ExecutionId) {
    let end = Control::Terminate { reason: None, failure_workflow: false };
    engine.step(id, Input::Control(end)).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_with_one_key_share_one_execution_and_all_hear_its_end() {
    let engine = house().await;
    let asks = (0..8).map(|_| {
        let engine = engine.clone();
        tokio::spawn(async move { ask(&engine, "RETURN_EXISTING").await })
    });
    let (mut parents, mut children) = (Vec::new(), Vec::new());
    for asked in asks.collect::<Vec<_>>() {
        let parent = asked.await.expect("no panic");
        children.push(child(&engine, &parent).await);
        parents.push(parent);
    }
    assert!(children.iter().all(|child| *child == children[0]), "{children:?}");
    let mut owners = 0;
    for parent in &parents {
        let own = |state: &Execution| state.task(1).is_some_and(|task| !task.adopted);
        owners += u32::from(engine.read(parent, own).await.expect("it is read") == Some(true));
    }
    assert_eq!(owners, 1, "one has started it");
    complete(&engine, &poll(&engine, "a").await, json!({ "r": 1 })).await;
    let expected = json!({ "r": 1, "subWorkflowId": children[0].as_str() });
    for parent in &parents {
        assert_eq!(ended(&engine, parent).await, (Status::Completed, expected.clone()));
    }
    let late = ask(&engine, "RETURN_EXISTING").await;
    assert_eq!(ended(&engine, &late).await, (Status::Completed, expected), "told at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_parent_ends_what_it_has_started_and_nothing_else() {
    let engine = house().await;
    let there = by_hand(&engine, IdempotencyStrategy::Fail).await;
    let parent = ask(&engine, "RETURN_EXISTING").await;
    assert_eq!(child(&engine, &parent).await, there);
    terminate(&engine, &parent).await;
    complete(&engine, &poll(&engine, "a").await, json!({})).await;
    assert_eq!(ended(&engine, &there).await.0, Status::Completed, "it went on");

    let parent = start(&engine, "RETURN_EXISTING", json!({ "key": "another" })).await;
    let own = child(&engine, &parent).await;
    terminate(&engine, &parent).await;
    assert_eq!(ended(&engine, &own).await.0, Status::Terminated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_repetition_that_is_forbidden_fails_the_task() {
    let engine = house().await;
    let there = by_hand(&engine, IdempotencyStrategy::Fail).await;
    for strategy in ["FAIL", "FAIL_ON_RUNNING", "FAIL-detached", "FAIL_ON_RUNNING-detached"] {
        let parent = ask(&engine, strategy).await;
        let reason = reason(&engine, &parent).await;
        assert!(reason.contains(there.as_str()), "{strategy}: {reason}");
    }
    complete(&engine, &poll(&engine, "a").await, json!({})).await;
    ended(&engine, &there).await;
    let parent = ask(&engine, "FAIL").await;
    assert!(reason(&engine, &parent).await.contains("same idempotencyKey"), "it was there");
    let parent = ask(&engine, "FAIL_ON_RUNNING").await;
    assert_ne!(child(&engine, &parent).await, there, "nothing of the key runs");
    complete(&engine, &poll(&engine, "a").await, json!({})).await;
    assert_eq!(ended(&engine, &parent).await.0, Status::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_detached_start_gives_the_id_of_what_is_there() {
    let engine = house().await;
    let first = ask(&engine, "RETURN_EXISTING-detached").await;
    let (_, first) = ended(&engine, &first).await;
    let second = ask(&engine, "RETURN_EXISTING-detached").await;
    assert_eq!(ended(&engine, &second).await, (Status::Completed, first.clone()));
    let id = ExecutionId::new(first["workflowId"].as_str().expect("an id"));
    assert_eq!(status(&engine, &id).await, Status::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_waits_for_itself_nor_for_what_is_no_more() {
    let engine = open(Arc::new(Memory::new())).await;
    let sub = json!([{ "name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "ring", "idempotencyKey": "k",
            "idempotencyStrategy": "RETURN_EXISTING" } }]);
    register(&engine, json!({ "name": "ring", "tasks": sub })).await;
    let outer = start(&engine, "ring", json!({})).await;
    let reason = reason(&engine, &outer).await;
    assert!(reason.contains("waits for this task"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_may_not_begin_and_what_is_no_more_is_told() {
    let engine = open(Arc::new(Memory::new())).await;
    let task = json!([{ "name": "a", "taskReferenceName": "a", "type": "SIMPLE",
        "retryCount": 0 }]);
    let limit = json!({ "rateLimitKey": "k", "concurrentExecLimit": 1, "policy": "REJECT" });
    register(&engine, json!({ "name": "one", "tasks": task, "rateLimitConfig": limit })).await;
    let sub = json!([{ "name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "one" } }]);
    register(&engine, json!({ "name": "outer", "tasks": sub })).await;
    let first = start(&engine, "outer", json!({})).await;
    let own = child(&engine, &first).await;
    let second = start(&engine, "outer", json!({})).await;
    assert!(reason(&engine, &second).await.contains("limit of 1"));

    terminate(&engine, &own).await;
    ended(&engine, &first).await;
    assert!(engine.remove(&own).await.expect("the store takes it"));
    let again = Input::Control(Control::Retry { descend: true });
    engine.step(&first, again).await.expect("it is tried again");
    let gone = |state: &Execution| {
        state.task(1).filter(|task| task.status.is_closed()).and_then(|task| task.reason.clone())
    };
    let reason = seen(&engine, &first, gone).await;
    assert!(reason.contains("is no more"), "{reason}");
    let (end, output): (Status, Value) = ended(&engine, &first).await;
    assert_eq!(end, Status::Failed, "{output}");
}
