//! Several definitions as one change: all of it or nothing, whatever fails and wherever it is cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use engine::memory::{Call, Fault, Memory};
use engine::store::{Store, StoreError};
use engine::{Author, Authored, Change, Engine};
use kernel::ExecutionId;
use kernel::definition::{EventHandler, TaskDef, WorkflowDef};
use kernel::schedule::{ScheduleSpec, parse_schedules};
use serde_json::json;

use crate::house::open;

/// A parent that runs a child, the task definition of the child's task, what starts the parent.
fn change(mark: &str) -> Change {
    let child = json!({ "name": "child", "version": 1, "description": mark,
        "tasks": [{ "name": "work", "taskReferenceName": "work", "type": "SIMPLE" }] });
    let parent = json!({ "name": "parent", "version": 1, "description": mark,
        "tasks": [{ "name": "c", "taskReferenceName": "c", "type": "SUB_WORKFLOW",
                    "subWorkflowParam": { "name": "child" } }] });
    let workflow = |value| serde_json::from_value::<WorkflowDef>(value).expect("a workflow");
    let task = json!({ "name": "work", "description": mark });
    let handler = json!({ "name": "on", "event": "conductor:x", "description": mark, "actions": [],
                          "active": false });
    Change {
        tasks: vec![serde_json::from_value::<TaskDef>(task).expect("a task")],
        workflows: vec![workflow(parent), workflow(child)],
        handlers: vec![serde_json::from_value::<EventHandler>(handler).expect("a handler")],
        schedules: vec![schedule(mark)],
        ..Change::default()
    }
}

fn schedule(mark: &str) -> ScheduleSpec {
    let text = json!({ "name": "nightly", "cronExpression": "0 0 2 * * *", "description": mark,
                       "startWorkflowRequest": { "name": "parent" } });
    parse_schedules(&text.to_string()).expect("a schedule").remove(0)
}

/// What each definition says of itself now: parent, child, task, handler, schedule.
async fn marks(engine: &Engine) -> Vec<Option<String>> {
    let registered = engine.definitions();
    let of = |name: &str| registered.workflow(name, None).and_then(|it| it.description.clone());
    let id = ExecutionId::schedule("nightly");
    let spec = engine.look(&id, |it| it.schedule().and_then(|it| it.spec.clone())).await;
    let spec = spec.expect("the store answers").flatten();
    vec![
        of("parent"),
        of("child"),
        registered.task("work").and_then(|it| it.description.clone()),
        engine.event_handler("on").and_then(|it| it.description.clone()),
        spec.and_then(|it| it.description.as_deref().map(str::to_owned)),
    ]
}

#[tokio::test]
async fn a_change_is_one_write_and_a_refused_one_is_none() {
    let (fails, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (failing, counted) = (fails.clone(), writes.clone());
    let store = Arc::new(Memory::with_faults(move |call| {
        let Call::Write("put_documents") = call else { return None };
        counted.fetch_add(1, Ordering::SeqCst);
        let error = StoreError::Unavailable("the disk is full".into());
        failing.load(Ordering::SeqCst).then_some(Fault::Before(error))
    }));
    let engine = open(store.clone()).await;
    writes.store(0, Ordering::SeqCst);
    engine.change(change("one")).await.expect("the store takes it");
    assert_eq!(writes.load(Ordering::SeqCst), 1, "all documents are one write");
    assert_eq!(marks(&engine).await, vec![Some("one".to_owned()); 5]);
    let former = engine.definitions().plan("parent", None).expect("it is registered");

    fails.store(true, Ordering::SeqCst);
    engine.change(change("two")).await.expect_err("the store does not take it");
    assert_eq!(marks(&engine).await, vec![Some("one".to_owned()); 5]);
    fails.store(false, Ordering::SeqCst);
    engine.change(change("two")).await.expect("the store takes it");
    assert_eq!(marks(&engine).await, vec![Some("two".to_owned()); 5]);
    let plan = engine.definitions().plan("parent", None).expect("it is registered");
    assert_ne!(plan.hash, former.hash, "the plan is of the new state");
    // What the schedule was to be told is told, and not told again.
    assert!(store.documents("schedule_change").await.expect("it answers").is_empty());
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn what_a_crash_keeps_from_a_schedule_it_hears_at_the_next_start() {
    let fails = Arc::new(AtomicBool::new(false));
    let failing = fails.clone();
    let store = Arc::new(Memory::with_faults(move |call| {
        let Call::Commit(commit) = call else { return None };
        let cut =
            failing.load(Ordering::SeqCst) && commit.head.id == ExecutionId::schedule("nightly");
        cut.then_some(Fault::Before(StoreError::Unavailable("the process ends here".into())))
    }));
    let engine = open(store.clone()).await;
    engine.change(change("one")).await.expect("the store takes it");
    fails.store(true, Ordering::SeqCst);
    engine.change(change("two")).await.expect_err("the schedule could not be told");
    engine.close().await.expect("it closes");

    fails.store(false, Ordering::SeqCst);
    store.open_again();
    let engine = open(store).await;
    assert_eq!(marks(&engine).await, vec![Some("two".to_owned()); 5]);
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn what_is_perhaps_written_acts_as_nobody_until_that_is_known() {
    let fails = Arc::new(AtomicBool::new(false));
    let failing = fails.clone();
    let store = Arc::new(Memory::with_faults(move |call| {
        let Call::Write("put_documents") = call else { return None };
        let error = StoreError::Unavailable("the connection broke".into());
        failing.load(Ordering::SeqCst).then_some(Fault::After(error))
    }));
    let engine = open(store.clone()).await;
    let by = |id: &str, mark| Change { author: Author::Principal(id.into()), ..change(mark) };
    let author = |engine: &Engine| engine.author_of(Authored::EventHandler, "on");
    engine.change(by("key:a", "one")).await.expect("the store takes it");
    assert_eq!(author(&engine).as_deref(), Some("key:a"));
    fails.store(true, Ordering::SeqCst);
    engine.change(by("key:b", "two")).await.expect_err("it is in doubt");
    assert_eq!(author(&engine).as_deref(), Some("nobody"));
    fails.store(false, Ordering::SeqCst);
    engine.close().await.expect("it closes");
    store.open_again();
    let engine = open(store).await;
    assert_eq!(author(&engine).as_deref(), Some("key:b"));
    engine.close().await.expect("it closes");
}
