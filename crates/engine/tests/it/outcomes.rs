//! Commits that fail, or that only seem to: what they owe takes effect exactly if they were written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use engine::memory::{Call, Fault, Memory};
use engine::monitors::OWN_MONITOR;
use engine::store::{Commit, Document, QueueChange, Store, StoreError};
use engine::{AnyMachine, Engine, Error};
use kernel::alert::definition::{ChecklistOptions, load};
use kernel::alert::{Input as Watch, Monitor, Observation, Status as Seen};
use kernel::graph::{Control, Input, Report, Status, TaskStatus, Verdict};
use kernel::{ExecutionId, TaskId, schedule};
use serde_json::{Value, json};

use crate::house::{ended, open, poll, register, start, start_of};

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
    let mut held: Vec<u32> =
        rows.iter().filter(|row| row.held).map(|row| row.kind.number()).collect();
    held.sort_unstable();
    assert_eq!(rows.len(), held.len(), "{rows:?}");
    assert_eq!(held, [first.sequence, second.sequence], "both are held, as {id} knows");
}

/// A store whose commits of a kind go wrong so many times once `begin` was called.
struct Troubled {
    store: Arc<Memory>,
    left: Arc<AtomicUsize>,
}

impl Troubled {
    fn new(fault: Fault, concerns: impl Fn(&Commit) -> bool + Send + 'static) -> Self {
        let left = Arc::new(AtomicUsize::new(0));
        let count = left.clone();
        let store = Memory::with_faults(move |call| {
            let Call::Commit(commit) = call else { return None };
            let take = |left: usize| left.checked_sub(1);
            let goes_wrong = concerns(commit)
                && count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
            goes_wrong.then(|| fault.clone())
        });
        Self { store: Arc::new(store), left }
    }

    fn begin(&self, times: usize) {
        self.left.store(times, Ordering::SeqCst);
    }

    /// All that was to go wrong did.
    fn is_over(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

/// Conflicts in a row after which a decision is given up, twice over, and some.
const CONFLICTS: usize = 40;

fn echo(name: &str) -> Value {
    json!({ "name": name, "taskReferenceName": name, "type": "ECHO" })
}

#[tokio::test(start_paused = true)]
async fn a_message_is_kept_however_often_its_receipt_conflicts() {
    let conflicts = |commit: &Commit| !commit.received.is_empty();
    let troubled = Troubled::new(Fault::Before(StoreError::Conflict), conflicts);
    let engine = open(troubled.store.clone()).await;
    register(&engine, json!({ "name": "child", "tasks": [echo("e")] })).await;
    let child = json!({ "name": "c", "taskReferenceName": "c", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "child" } });
    register(&engine, json!({ "name": "parent", "tasks": [child] })).await;
    troubled.begin(CONFLICTS);
    let id = start(&engine, "parent", json!({})).await;
    assert_eq!(ended(&engine, &id).await.0, Status::Completed);
    assert!(troubled.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_result_is_kept_however_often_its_report_conflicts() {
    let conflicts = |commit: &Commit| commit.expect > 0;
    let troubled = Troubled::new(Fault::Before(StoreError::Conflict), conflicts);
    let engine = open(troubled.store.clone()).await;
    register(&engine, json!({ "name": "one", "tasks": [echo("e")] })).await;
    troubled.begin(CONFLICTS);
    let id = start(&engine, "one", json!({})).await;
    assert_eq!(ended(&engine, &id).await.0, Status::Completed);
    assert!(troubled.is_over());
}

/// Waits until a monitor is so, as it is after a while at the latest.
async fn comes(engine: &Engine, monitor: &str, is: impl Fn(&Monitor) -> bool) {
    let id = ExecutionId::monitor(monitor);
    let wait = async {
        let look = |machine: &AnyMachine| machine.monitor().is_some_and(&is);
        while !matches!(engine.look(&id, look).await, Ok(Some(true))) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it comes in time");
}

#[tokio::test(start_paused = true)]
async fn a_firing_that_failed_is_an_incident_although_the_answer_was_lost() {
    // What became of the firing is written, and then the incident cannot be for a while.
    let failed = |commit: &Commit| commit.records.iter().any(|record| &*record.status == "FAILED");
    let troubled = Troubled::new(Fault::After(away()), failed);
    let engine = open(troubled.store.clone()).await;
    let spec = json!({ "name": "beat", "cronExpression": "0 0 0 1 1 *",
        "startWorkflowRequest": { "name": "nowhere", "version": 1 } });
    let spec = schedule::schedule_from_value(&spec).expect("the test writes a schedule");
    let id = ExecutionId::schedule("beat");
    engine.step(&id, schedule::Input::Define(Box::new(spec))).await.expect("it fits");
    troubled.begin(1);
    engine.step(&id, schedule::Input::Trigger { by: None }).await.expect("it fires");
    comes(&engine, OWN_MONITOR, |it| it.incidents.contains_key("schedule:beat")).await;
    assert!(troubled.is_over());
}

#[tokio::test(start_paused = true)]
async fn an_incident_of_a_schedule_is_told_when_the_store_is_there_again() {
    let own = |commit: &Commit| commit.head.id == ExecutionId::monitor(OWN_MONITOR);
    let troubled = Troubled::new(Fault::Before(away()), own);
    let engine = open(troubled.store.clone()).await;
    let told = Observation { key: "a".into(), ..Observation::of(Seen::Ok, "fine") };
    engine.observe_own(told).await.expect("it is made");
    let spec = json!({ "name": "beat", "cronExpression": "0 0 0 1 1 *",
        "startWorkflowRequest": { "name": "nowhere", "version": 1 } });
    let spec = schedule::schedule_from_value(&spec).expect("the test writes a schedule");
    let id = ExecutionId::schedule("beat");
    engine.step(&id, schedule::Input::Define(Box::new(spec))).await.expect("it fits");
    troubled.begin(3);
    engine.step(&id, schedule::Input::Trigger { by: None }).await.expect("it fires");
    comes(&engine, OWN_MONITOR, |it| it.incidents.contains_key("schedule:beat")).await;
    assert!(troubled.is_over());
}

#[tokio::test(start_paused = true)]
async fn what_depends_on_another_hears_of_it_when_the_store_is_there_again() {
    let child = |commit: &Commit| commit.head.id == ExecutionId::monitor("api");
    let troubled = Troubled::new(Fault::Before(away()), child);
    let engine = open(troubled.store.clone()).await;
    let text = "receivers: { noc: { slack: 'http://n' } }\nmonitors:\n  \
        web: { heartbeat: { every: 1h } }\n  api: { heartbeat: { every: 1h }, depends_on: web }";
    let loaded = load(text, &ChecklistOptions::default());
    let file = loaded.file.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    engine.apply_monitors("file", file).await.expect("it fits");
    for (status, is_down) in [(Seen::Fail, true), (Seen::Ok, false)] {
        troubled.begin(3);
        let observations = vec![Observation::of(status, "as the test says")];
        let input = Watch::Observe { observations, complete: false, who: None };
        engine.step(&ExecutionId::monitor("web"), input).await.expect("it is taken");
        comes(&engine, "api", |it| it.parents_down.is_empty() != is_down).await;
        assert!(troubled.is_over());
    }
}

fn done(task: &TaskId) -> Report {
    Report {
        sequence: task.sequence,
        verdict: Verdict::Done(TaskStatus::Completed),
        output: None,
        merge: false,
        reason: None,
        worker: Some("w".into()),
        started_at: None,
        metadata: None,
    }
}

/// A script that is no JSON makes the tests' evaluator panic.
fn bug() -> Value {
    json!({ "name": "i", "taskReferenceName": "i", "type": "INLINE",
        "inputParameters": { "evaluatorType": "javascript", "expression": "no JSON" } })
}

async fn is_released(engine: &Engine, id: &ExecutionId) {
    assert!(engine.quarantine_of(id).is_some());
    let end = Control::Terminate { reason: None, failure_workflow: false };
    let told = engine.step(id, Input::Control(end)).await;
    assert!(matches!(told, Err(Error::Store(StoreError::Unavailable(_)))), "{told:?}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(engine.quarantine_of(id), None, "it has ended");
    let status = engine.read(id, |it| it.status).await.expect("it is not left alone any more");
    assert_eq!(status, Some(Status::Terminated));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_written_without_an_answer_lifts_the_quarantine() {
    let ends = |commit: &Commit| commit.head.status == "TERMINATED";
    let troubled = Troubled::new(Fault::After(away()), ends);
    let engine = open(troubled.store.clone()).await;
    let greet = json!({ "name": "greet", "taskReferenceName": "greet", "type": "SIMPLE" });
    register(&engine, json!({ "name": "bug", "tasks": [greet, bug()] })).await;
    let id = start(&engine, "bug", json!({})).await;
    let task = poll(&engine, "greet").await;
    let reported = engine.report(&id, done(&task)).await;
    assert!(matches!(reported, Err(Error::Quarantined { .. })), "{reported:?}");
    troubled.begin(1);
    is_released(&engine, &id).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_quarantined_unread_is_read_to_know_whether_it_has_ended() {
    let ends = |commit: &Commit| commit.head.status == "TERMINATED";
    let troubled = Troubled::new(Fault::After(away()), ends);
    let engine = open(troubled.store.clone()).await;
    with_simple_tasks(&engine).await;
    let id = start(&engine, "one", json!({})).await;
    engine.stop();
    drop(engine);
    // As three abnormal ends leave it.
    let note = |kind: &str, name: &str, text: &str| Document {
        kind: kind.into(),
        name: name.into(),
        version: 0,
        text: text.into(),
    };
    let noted = note("server-deciding", id.as_str(), r#"{"ends":3,"pending":false}"#);
    troubled.store.put_document(noted).await.expect("it is taken");
    let engine = open(troubled.store.clone()).await;
    assert!(engine.read(&id, |_| ()).await.is_err(), "it is not looked at");
    troubled.begin(1);
    is_released(&engine, &id).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_said_to_a_quarantined_workflow_waits_for_the_next_start() {
    let store = Arc::new(Memory::new());
    let engine = open(store.clone()).await;
    let simple = |name: &str| json!({ "name": name, "taskReferenceName": name, "type": "SIMPLE" });
    register(&engine, json!({ "name": "child", "tasks": [simple("slow")] })).await;
    let child = json!({ "name": "c", "taskReferenceName": "c", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "child" } });
    let fork = json!({ "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN",
        "forkTasks": [[child], [simple("greet"), bug()]] });
    let join =
        json!({ "name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["c", "i"] });
    register(&engine, json!({ "name": "parent", "tasks": [fork, join] })).await;
    let id = start(&engine, "parent", json!({})).await;
    let (slow, greet) = (poll(&engine, "slow").await, poll(&engine, "greet").await);
    let reported = engine.report(&id, done(&greet)).await;
    assert!(matches!(reported, Err(Error::Quarantined { .. })), "{reported:?}");
    engine.report(&slow.execution, done(&slow)).await.expect("the child is sound");
    assert_eq!(ended(&engine, &slow.execution).await.0, Status::Completed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let kept = store.undelivered(10).await.expect("it answers");
    assert!(kept.iter().any(|message| message.to == id), "{kept:?}");
    engine.stop();
    drop(engine);
    // The next one has not met the bug yet.
    let engine = open(store.clone()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let look = |it: &kernel::graph::Execution| {
        it.tasks().any(|task| &*task.reference == "c" && task.status == TaskStatus::Completed)
    };
    assert_eq!(engine.read(&id, look).await.expect("it answers"), Some(true));
    let kept = store.undelivered(10).await.expect("it answers");
    assert!(kept.is_empty(), "{kept:?}");
}
