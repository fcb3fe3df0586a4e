//! Skipped time: waiting takes none while nobody is at work, and time stands by while somebody is.

use std::sync::Arc;
use std::time::Duration;

use engine::memory::Memory;
use engine::{Engine, SkippingClock};
use kernel::ExecutionId;
use kernel::schedule::{Input, schedule_from_value};
use serde_json::json;

use crate::house::{complete, ended, open_with, poll, register, start};

const QUIET: Duration = Duration::from_millis(25);
const DAY: i64 = 24 * 3_600_000;

async fn open() -> Engine {
    let clock = Arc::new(SkippingClock::default());
    let engine = open_with(Arc::new(Memory::default()), clock.clone(), Vec::new()).await;
    engine.skip_time(clock, QUIET);
    engine
}

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it comes in time")
}

#[tokio::test]
async fn waits_and_retries_take_no_time_and_work_takes_its_own() {
    let engine = open().await;
    let definition = json!({
        "name": "order", "version": 1, "timeoutSeconds": 20 * 86_400, "timeoutPolicy": "TIME_OUT_WF",
        "tasks": [
            { "name": "rest", "taskReferenceName": "rest", "type": "WAIT", "inputParameters": { "duration": "3 days" } },
            { "name": "ship", "taskReferenceName": "ship", "type": "SIMPLE" },
            { "name": "rest", "taskReferenceName": "again", "type": "WAIT", "inputParameters": { "duration": "2 days" } },
        ],
    });
    register(&engine, definition).await;
    let began = engine.now();
    let id = start(&engine, "order", json!({})).await;
    let task = patiently(poll(&engine, "ship")).await;
    let handed_out = engine.now();
    assert!(handed_out.since(began) >= 3 * DAY, "the first rest was waited for");
    // Somebody has the task: the clock does not run away to the end of the workflow.
    tokio::time::sleep(QUIET * 8).await;
    assert!(engine.now().since(handed_out) < DAY, "{}", engine.now());
    complete(&engine, &task, json!({})).await;
    assert_eq!(patiently(ended(&engine, &id)).await.0.as_str(), "COMPLETED");
    let took = engine.now().since(began);
    assert!((5 * DAY..6 * DAY).contains(&took), "it took {took} ms");
}

#[tokio::test]
async fn schedules_fire_one_after_the_other() {
    let engine = open().await;
    let task = json!({ "name": "greet", "taskReferenceName": "greet", "type": "SIMPLE" });
    register(&engine, json!({ "name": "one", "version": 1, "tasks": [task] })).await;
    let spec = json!({ "name": "beat", "cronExpression": "0 0 6 * * *", "startWorkflowRequest": { "name": "one" } });
    let spec = schedule_from_value(&spec).expect("the test writes a schedule");
    let id = ExecutionId::schedule("beat");
    engine.step(&id, Input::Define(Box::new(spec))).await.expect("it fits");
    let mut days = Vec::new();
    for _ in 0..3 {
        let task = patiently(poll(&engine, "greet")).await;
        days.push(engine.now().millis() / DAY);
        complete(&engine, &task, json!({})).await;
    }
    assert_eq!([days[1] - days[0], days[2] - days[1]], [1, 1], "each day once: {days:?}");
}
