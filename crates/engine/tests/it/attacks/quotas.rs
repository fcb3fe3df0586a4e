//! A principal that starts more than it may.

use std::sync::Arc;

use engine::memory::Memory;
use engine::{Engine, Error, Options, SystemClock};
use kernel::graph::{Control, Input, Limits, Start, Status};
use kernel::{ExecutionId, Rejected};
use serde_json::{Value, json};

use crate::house::{ended, open_as, register, start_of};

async fn open(store: &Arc<Memory>, open_max: u32, per_minute: u32) -> Engine {
    let options = Options {
        limits: Limits { principal_open_max: open_max, ..Limits::default() },
        principal_starts_per_minute: per_minute,
        ..Options::default()
    };
    open_as(store.clone(), Arc::new(SystemClock), Vec::new(), options).await
}

fn waits(name: &str) -> Value {
    let task = json!({ "name": "h", "taskReferenceName": "h", "type": "HUMAN" });
    json!({ "name": name, "version": 1, "schemaVersion": 2, "tasks": [task] })
}

/// Starts another one, as whom it acts itself.
fn starts_another(name: &str, other: &str) -> Value {
    let task = json!({ "name": "s", "taskReferenceName": "s", "type": "START_WORKFLOW",
        "inputParameters": { "startWorkflow": { "name": other } } });
    json!({ "name": name, "version": 1, "schemaVersion": 2, "tasks": [task] })
}

async fn begin(engine: &Engine, name: &str, by: Option<&str>) -> Result<ExecutionId, Error> {
    let plan = engine.definitions().plan(name, None).expect("it is registered");
    let start = Start { acts_as: by.map(Into::into), ..start_of(plan, json!({})) };
    Ok(engine.begin(start, None).await?.id().clone())
}

async fn refused(engine: &Engine, name: &str, by: &str) -> String {
    match begin(engine, name, Some(by)).await {
        Err(Error::Rejected(Rejected::Full(why))) => why,
        other => panic!("it is not refused: {other:?}"),
    }
}

async fn terminate(engine: &Engine, id: &ExecutionId) {
    let end = Control::Terminate { reason: None, failure_workflow: false };
    engine.step(id, Input::Control(end)).await.expect("it ends");
}

#[tokio::test]
async fn a_principal_has_a_bounded_number_of_open_runs() {
    let store = Arc::new(Memory::default());
    let engine = open(&store, 2, 0).await;
    register(&engine, waits("w")).await;
    register(&engine, waits("v")).await;
    register(&engine, starts_another("s", "w")).await;
    let first = begin(&engine, "w", Some("key:a")).await.expect("it begins");
    begin(&engine, "v", Some("key:a")).await.expect("it begins");
    // Of whatever definition.
    let why = refused(&engine, "w", "key:a").await;
    assert!(why.contains("principal_open_max") && why.contains("key:a"), "{why}");
    begin(&engine, "w", Some("key:b")).await.expect("another has places of its own");
    for _ in 0..3 {
        begin(&engine, "w", None).await.expect("the server itself has no limit");
    }
    // What a run starts counts as well; its task is refused.
    let asking = begin(&engine, "s", Some("key:b")).await.expect("it begins");
    assert_eq!(ended(&engine, &asking).await.0, Status::Failed);
    let reason = engine.read(&asking, |state| state.reason.clone()).await;
    let reason = reason.expect("the store answers").flatten().expect("a reason");
    assert!(reason.contains("principal_open_max"), "{reason}");
    // What was counted is counted after a restart, and an end makes room.
    engine.close().await.expect("it closes");
    store.open_again();
    let engine = open(&store, 2, 0).await;
    refused(&engine, "v", "key:a").await;
    terminate(&engine, &first).await;
    begin(&engine, "w", Some("key:a")).await.expect("there is room");
    refused(&engine, "w", "key:a").await;
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn a_principal_starts_so_many_runs_in_a_minute() {
    let engine = open(&Arc::new(Memory::default()), 0, 3).await;
    register(&engine, waits("w")).await;
    register(&engine, waits("v")).await;
    for name in ["w", "v", "w"] {
        begin(&engine, name, Some("key:a")).await.expect("it begins");
    }
    let why = refused(&engine, "v", "key:a").await;
    assert!(why.contains("principal_starts_per_minute"), "{why}");
    assert_eq!(engine.starts_refused(), 1);
    begin(&engine, "w", Some("key:b")).await.expect("another has starts of its own");
    begin(&engine, "w", None).await.expect("the server itself has no limit");
    engine.close().await.expect("it closes");
}
