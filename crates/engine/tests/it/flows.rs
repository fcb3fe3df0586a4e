//! Whole executions: workers, built-in tasks, children, timers, restarts of the engine.

use std::sync::Arc;
use std::time::Duration;

use engine::memory::Memory;
use engine::store::Store as _;
use kernel::graph::Status;
use serde_json::json;

use crate::house::{complete, ended, open, poll, register, start};

#[tokio::test]
async fn a_worker_carries_a_workflow_to_its_end() {
    let engine = open(Arc::new(Memory::new())).await;
    register(
        &engine,
        json!({ "name": "two", "tasks": [
        { "name": "a", "taskReferenceName": "a", "type": "SIMPLE",
          "inputParameters": { "n": "${workflow.input.n}" } },
        { "name": "b", "taskReferenceName": "b", "type": "SIMPLE",
          "inputParameters": { "from_a": "${a.output.x}" } },
    ], "outputParameters": { "result": "${b.output.y}" } }),
    )
    .await;
    let id = start(&engine, "two", json!({ "n": 7 })).await;
    let task = poll(&engine, "a").await;
    assert_eq!(task.execution, id);
    complete(&engine, &task, json!({ "x": 1 })).await;
    let task = poll(&engine, "b").await;
    let input = engine
        .read(&id, |execution| execution.task(task.sequence).map(|task| task.input.parse()))
        .await
        .expect("the store answers")
        .flatten();
    assert_eq!(input, Some(json!({ "from_a": 1 })));
    complete(&engine, &task, json!({ "y": "done" })).await;
    assert_eq!(ended(&engine, &id).await, (Status::Completed, json!({ "result": "done" })));
}

#[tokio::test]
async fn built_in_tasks_and_children_run_by_themselves() {
    let engine = open(Arc::new(Memory::new())).await;
    register(
        &engine,
        json!({ "name": "child", "tasks": [
        { "name": "e", "taskReferenceName": "e", "type": "ECHO",
          "inputParameters": { "twice": "${workflow.input.n}" } },
    ] }),
    )
    .await;
    register(
        &engine,
        json!({ "name": "parent", "tasks": [
        { "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN", "forkTasks": [
            [{ "name": "c1", "taskReferenceName": "c1", "type": "SUB_WORKFLOW",
               "subWorkflowParam": { "name": "child" }, "inputParameters": { "n": 1 } }],
            [{ "name": "c2", "taskReferenceName": "c2", "type": "SUB_WORKFLOW",
               "subWorkflowParam": { "name": "child" }, "inputParameters": { "n": 2 } }],
        ] },
        { "name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["c1", "c2"] },
    ], "outputParameters": { "one": "${c1.output.twice}", "two": "${c2.output.twice}" } }),
    )
    .await;
    let id = start(&engine, "parent", json!({})).await;
    assert_eq!(ended(&engine, &id).await, (Status::Completed, json!({ "one": 1, "two": 2 })));
}

#[tokio::test]
async fn a_definition_inside_another_may_name_what_is_not_there() {
    let engine = open(Arc::new(Memory::new())).await;
    let echo = json!({ "name": "e", "taskReferenceName": "e", "type": "ECHO",
        "inputParameters": { "x": "${elsewhere.output.x}" } });
    let inline = json!({ "name": "inline", "version": 1, "schemaVersion": 2, "tasks": [echo] });
    let task = json!({ "name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "inline", "workflowDefinition": inline } });
    register(
        &engine,
        json!({ "name": "outer", "tasks": [task],
        "outputParameters": { "x": "${s.output.x}", "ran": "${s.status}" } }),
    )
    .await;
    let id = start(&engine, "outer", json!({})).await;
    let expected = json!({ "x": null, "ran": "COMPLETED" });
    assert_eq!(ended(&engine, &id).await, (Status::Completed, expected));
}

#[tokio::test]
async fn a_wait_ends_by_the_clock() {
    let engine = open(Arc::new(Memory::new())).await;
    register(
        &engine,
        json!({ "name": "w", "tasks": [
        { "name": "w", "taskReferenceName": "w", "type": "WAIT",
          "inputParameters": { "duration": "1s" } },
    ] }),
    )
    .await;
    let id = start(&engine, "w", json!({})).await;
    assert_eq!(ended(&engine, &id).await.0, Status::Completed);
}

#[test]
fn everything_goes_on_after_a_crash() {
    let store = Arc::new(Memory::new());
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let crashing = runtime();
    let (waiting, queued) = crashing.block_on(async {
        let engine = open(store.clone()).await;
        register(
            &engine,
            json!({ "name": "long", "tasks": [
            { "name": "a", "taskReferenceName": "a", "type": "SIMPLE" },
            { "name": "w", "taskReferenceName": "w", "type": "WAIT",
              "inputParameters": { "duration": "1s" } },
            { "name": "b", "taskReferenceName": "b", "type": "SIMPLE" },
        ] }),
        )
        .await;
        let waiting = start(&engine, "long", json!({})).await;
        let task = poll(&engine, "a").await;
        complete(&engine, &task, json!({})).await;
        (waiting, start(&engine, "long", json!({})).await)
    });
    // Everything that the engine was doing stops in the middle; the store is all that is left.
    crashing.shutdown_background();

    runtime().block_on(async {
        let engine = open(store).await;
        let task = poll(&engine, "a").await;
        assert_eq!(task.execution, queued);
        complete(&engine, &task, json!({})).await;
        for _ in 0..2 {
            let task = poll(&engine, "b").await;
            complete(&engine, &task, json!({})).await;
        }
        for id in [waiting, queued] {
            assert_eq!(ended(&engine, &id).await.0, Status::Completed);
        }
    });
}

#[tokio::test]
async fn a_long_execution_is_kept_as_a_snapshot_and_what_followed() {
    let store = Arc::new(Memory::new());
    let engine = open(store.clone()).await;
    let items: Vec<u32> = (0..200).collect();
    register(
        &engine,
        json!({ "name": "long", "tasks": [
            { "name": "loop", "taskReferenceName": "loop", "type": "DO_WHILE", "items": items,
              "loopCondition": "true", "loopOver": [
                { "name": "e", "taskReferenceName": "e", "type": "ECHO",
                  "inputParameters": { "item": "${loop.output.loopItem}", "text": "x".repeat(2000) } },
            ] },
            { "name": "b", "taskReferenceName": "b", "type": "SIMPLE" },
        ] }),
    )
    .await;
    let id = start(&engine, "long", json!({})).await;
    let task = poll(&engine, "b").await;
    let stored = store.load(&id).await.expect("the store answers").expect("it is there");
    assert!(stored.version > 200, "a commit or more per iteration");
    assert!(stored.history[0].starts_with(r#"[{"snapshot":"#), "what is old is in a snapshot");
    engine.stop();

    let reopened = open(store).await;
    complete(&reopened, &task, json!({ "done": true })).await;
    assert_eq!(ended(&reopened, &id).await, (Status::Completed, json!({ "done": true })));
    let tasks = reopened.read(&id, |execution| execution.tasks().count()).await;
    assert_eq!(tasks.expect("the store answers"), Some(202), "every task is still known");
}

/// Whoever wants to step through all of it says so, and pays for it.
#[tokio::test]
async fn a_long_execution_that_keeps_its_history_has_no_snapshot() {
    let store = Arc::new(Memory::new());
    let engine = open(store.clone()).await;
    let items: Vec<u32> = (0..200).collect();
    let echo = json!({ "name": "e", "taskReferenceName": "e", "type": "ECHO",
        "inputParameters": { "text": "x".repeat(2000) } });
    let definition = json!({ "name": "kept", "keepHistory": true, "tasks": [
        { "name": "loop", "taskReferenceName": "loop", "type": "DO_WHILE", "items": items,
          "loopCondition": "true", "loopOver": [echo] } ] });
    register(&engine, definition).await;
    let id = start(&engine, "kept", json!({})).await;
    assert_eq!(ended(&engine, &id).await.0, Status::Completed);
    let stored = store.load(&id).await.expect("the store answers").expect("it is there");
    assert!(stored.history.len() > 200, "a commit or more per iteration");
    assert!(stored.history.iter().all(|it| !it.contains(r#"{"snapshot":"#)));
}

#[tokio::test]
async fn a_runner_that_panics_fails_its_task_alone() {
    let engine = open(Arc::new(Memory::new())).await;
    register(
        &engine,
        json!({ "name": "p", "tasks": [
        { "name": "e", "taskReferenceName": "panic", "type": "ECHO" },
    ] }),
    )
    .await;
    let id = start(&engine, "p", json!({})).await;
    assert_eq!(ended(&engine, &id).await.0, Status::Failed);
}

#[tokio::test]
async fn a_workflow_that_is_its_own_failure_workflow_comes_to_an_end() {
    let mut options = engine::Options::default();
    options.limits.depth_max = 3;
    let store = Arc::new(Memory::new());
    let clock = Arc::new(engine::SystemClock);
    let engine = crate::house::open_as(store.clone(), clock, Vec::new(), options).await;
    let fails = |name: &str, failure: &str| {
        json!({ "name": name, "failureWorkflow": failure, "tasks": [
            { "name": "t", "taskReferenceName": "t", "type": "TERMINATE", "inputParameters": {
                "terminationStatus": "FAILED", "terminationReason": "as asked" } } ] })
    };
    // Its own, or each the other's.
    for definition in [fails("own", "own"), fails("ping", "pong"), fails("pong", "ping")] {
        register(&engine, definition).await;
    }
    for name in ["own", "ping"] {
        let before = store.statistics().await.expect("it counts").executions;
        let mut id = start(&engine, name, json!({})).await;
        for _ in 0..=3 {
            let mut changes = engine.watch(&id);
            while engine.read(&id, |_| ()).await.expect("it answers").is_none() {
                let changed = tokio::time::timeout(Duration::from_secs(20), changes.changed());
                changed.await.expect("it is started in time").expect("the engine lives");
            }
            assert_eq!(ended(&engine, &id).await.0, Status::Failed, "{name}");
            id = id.derive("failure", 1);
        }
        // Nothing is owed any more once the last one was refused.
        while !store.undelivered(1).await.expect("it answers").is_empty() {
            tokio::task::yield_now().await;
        }
        let after = store.statistics().await.expect("it counts").executions;
        assert_eq!(after - before, 4, "{name}: the first, and three in its wake");
        assert!(engine.read(&id, |_| ()).await.expect("it answers").is_none());
    }
}
