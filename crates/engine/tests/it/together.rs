//! Inputs that come while a commit is under way: decided in their order and committed as one, and each
//! answered for itself.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use engine::memory::{Call, Fault, Memory};
use engine::store::StoreError;
use engine::{Engine, Error};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use kernel::graph::{Report, Status, TaskStatus, Verdict};
use kernel::{ExecutionId, Rejected, TaskId};
use serde_json::{Value, json};

use crate::house::{ended, open, poll, register, start, start_of};

/// Holds up the commits of a store, and makes one of them fail.
#[derive(Default)]
struct Door {
    is_shut: Mutex<bool>,
    opened: Condvar,
    has_waiting: AtomicBool,
    /// Which commit fails, counted from the first, and how.
    failing: Mutex<Option<(usize, Fault)>>,
    commits: AtomicUsize,
    loads: AtomicUsize,
}

impl Door {
    fn store(self: &Arc<Self>) -> Arc<Memory> {
        let door = self.clone();
        Arc::new(Memory::with_faults(move |call| door.pass(call)))
    }

    fn pass(&self, call: &Call<'_>) -> Option<Fault> {
        match call {
            Call::Commit(_) => {
                let mut shut = self.is_shut.lock().expect("nobody panics here");
                while *shut {
                    self.has_waiting.store(true, Ordering::Release);
                    shut = self.opened.wait(shut).expect("nobody panics here");
                }
                drop(shut);
                let number = self.commits.fetch_add(1, Ordering::AcqRel) + 1;
                let mut failing = self.failing.lock().expect("nobody panics here");
                failing.take_if(|(at, _)| *at == number).map(|(_, fault)| fault)
            }
            Call::Read("load") => {
                self.loads.fetch_add(1, Ordering::AcqRel);
                None
            }
            _ => None,
        }
    }

    fn commits(&self) -> usize {
        self.commits.load(Ordering::Acquire)
    }

    /// Holds up the commit of `first` until all others have come, and answers what came of each. The
    /// commit after that of `first` goes wrong as told.
    async fn together(
        &self,
        first: BoxFuture<'static, Result<(), Error>>,
        others: Vec<BoxFuture<'static, Result<(), Error>>>,
        fault: Option<Fault>,
    ) -> Vec<Result<(), Error>> {
        let second = self.commits() + 2;
        *self.failing.lock().expect("nobody panics here") = fault.map(|fault| (second, fault));
        self.has_waiting.store(false, Ordering::Release);
        *self.is_shut.lock().expect("nobody panics here") = true;
        let mut all = vec![first];
        assert!((&mut all[0]).now_or_never().is_none(), "its commit has to wait");
        while !self.has_waiting.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        all.extend(others);
        for other in &mut all[1..] {
            assert!(other.now_or_never().is_none(), "it has to wait");
        }
        *self.is_shut.lock().expect("nobody panics here") = false;
        self.opened.notify_all();
        join_all(all).await
    }
}

fn report(
    engine: &Engine,
    task: &TaskId,
    status: TaskStatus,
) -> BoxFuture<'static, Result<(), Error>> {
    let report = Report {
        sequence: task.sequence,
        verdict: Verdict::Done(status),
        output: Some(json!({ "by": task.sequence }).into()),
        merge: false,
        reason: None,
        worker: Some("w".into()),
        started_at: None,
        metadata: None,
    };
    let (engine, id) = (engine.clone(), task.execution.clone());
    async move { engine.report(&id, report).await.map(drop) }.boxed()
}

fn simple(name: &str) -> Value {
    json!({ "name": name, "taskReferenceName": name, "type": "SIMPLE" })
}

/// A workflow of so many tasks side by side, each held by a worker.
async fn forked(engine: &Engine, count: usize) -> (ExecutionId, Vec<TaskId>) {
    let names: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
    let branches: Vec<Value> = names.iter().map(|name| json!([simple(name)])).collect();
    let tasks = json!([
        { "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN", "forkTasks": branches },
        { "name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": names },
    ]);
    register(engine, json!({ "name": "forked", "tasks": tasks })).await;
    let id = start(engine, "forked", json!({})).await;
    let mut held = Vec::new();
    for name in &names {
        held.push(poll(engine, name).await);
    }
    (id, held)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn inputs_that_come_during_a_commit_share_the_next() {
    let door = Arc::new(Door::default());
    let engine = open(door.store()).await;
    let (id, held) = forked(&engine, 21).await;
    let reports = |held: &[TaskId]| {
        held.iter().map(|task| report(&engine, task, TaskStatus::Completed)).collect()
    };
    let before = door.commits();
    let first = report(&engine, &held[0], TaskStatus::Completed);
    let answers = door.together(first, reports(&held[1..]), None).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    // That the workers hold the tasks may have been written before: once for all.
    assert!(door.commits() - before <= 3, "{} commits", door.commits() - before);
    let (status, output) = ended(&engine, &id).await;
    assert_eq!(status, Status::Completed);
    for task in held {
        assert!(output.to_string().contains(&format!(r#"{{"by":{}}}"#, task.sequence)), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_input_is_answered_for_itself() {
    let door = Arc::new(Door::default());
    let engine = open(door.store()).await;
    let (id, held) = forked(&engine, 4).await;
    let nobody = TaskId::new(id.clone(), 4711);
    let others = [&held[1], &nobody, &held[2]]
        .map(|task| report(&engine, task, TaskStatus::Completed))
        .into_iter()
        .collect();
    let first = report(&engine, &held[0], TaskStatus::Completed);
    let answers = door.together(first, others, None).await;
    assert!(matches!(answers[2], Err(Error::Rejected(Rejected::Unknown(_)))), "{answers:?}");
    assert!([0, 1, 3].iter().all(|number| answers[*number].is_ok()), "{answers:?}");
    report(&engine, &held[3], TaskStatus::Completed).await.expect("it is taken");
    assert_eq!(ended(&engine, &id).await.0, Status::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_fails_is_told_to_all_and_leaves_nothing_behind() {
    let away = || StoreError::Unavailable("the disk is full".to_owned());
    for (fault, is_written) in [(Fault::Before(away()), false), (Fault::After(away()), true)] {
        let door = Arc::new(Door::default());
        let engine = open(door.store()).await;
        let (id, held) = forked(&engine, 4).await;
        let others =
            held[1..].iter().map(|it| report(&engine, it, TaskStatus::Completed)).collect();
        let first = report(&engine, &held[0], TaskStatus::Completed);
        let answers = door.together(first, others, Some(fault)).await;
        assert!(answers[0].is_ok(), "{answers:?}");
        for answer in &answers[1..] {
            assert!(matches!(answer, Err(Error::Store(StoreError::Unavailable(_)))), "{answers:?}");
        }
        let look = |it: &kernel::graph::Execution| it.task(held[1].sequence).map(|it| it.status);
        let status = engine.read(&id, look).await.expect("it answers").flatten();
        let expected = if is_written { TaskStatus::Completed } else { TaskStatus::InProgress };
        assert_eq!(status, Some(expected), "what is shown is what is stored");
        for task in &held[1..] {
            report(&engine, task, TaskStatus::Completed).await.expect("it is taken, or was");
        }
        assert_eq!(ended(&engine, &id).await.0, Status::Completed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_conflict_is_decided_again_for_all() {
    let door = Arc::new(Door::default());
    let engine = open(door.store()).await;
    let (id, held) = forked(&engine, 4).await;
    let others = held[1..].iter().map(|it| report(&engine, it, TaskStatus::Completed)).collect();
    let first = report(&engine, &held[0], TaskStatus::Completed);
    let conflict = Some(Fault::Before(StoreError::Conflict));
    let answers = door.together(first, others, conflict).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(ended(&engine, &id).await.0, Status::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_input_whose_decision_panics_does_not_take_others_with_it() {
    let door = Arc::new(Door::default());
    let engine = open(door.store()).await;
    // A script that is no JSON makes the tests' evaluator panic.
    let inline = json!({ "name": "i", "taskReferenceName": "i", "type": "INLINE",
        "inputParameters": { "evaluatorType": "javascript", "expression": "no JSON" } });
    let tasks = json!([
        { "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN", "forkTasks": [
            [simple("a")], [simple("b")], [simple("c"), inline], [simple("d")],
        ] },
        { "name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["a", "b", "i", "d"] },
    ]);
    register(&engine, json!({ "name": "forked", "tasks": tasks })).await;
    let id = start(&engine, "forked", json!({})).await;
    let mut held = Vec::new();
    for name in ["a", "b", "c", "d"] {
        held.push(poll(&engine, name).await);
    }
    let others = held[1..].iter().map(|it| report(&engine, it, TaskStatus::Completed)).collect();
    let first = report(&engine, &held[0], TaskStatus::Completed);
    let answers = door.together(first, others, None).await;
    assert!(answers[0].is_ok() && answers[1].is_ok(), "{answers:?}");
    for answer in &answers[2..] {
        assert!(matches!(answer, Err(Error::Quarantined { .. })), "{answers:?}");
    }
    let look = |it: &kernel::graph::Execution| it.task(held[1].sequence).map(|it| it.status);
    let status = engine.read(&id, look).await.expect("it answers").flatten();
    assert_eq!(status, Some(TaskStatus::Completed), "what came before is kept");
}

#[tokio::test]
async fn what_begins_and_ends_here_is_not_read_from_the_store() {
    let door = Arc::new(Door::default());
    let engine = open(door.store()).await;
    let echo = |name: &str| json!({ "name": name, "taskReferenceName": name, "type": "ECHO" });
    register(&engine, json!({ "name": "child", "tasks": [echo("e")] })).await;
    let child = json!({ "name": "c", "taskReferenceName": "c", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "child" } });
    register(&engine, json!({ "name": "parent", "tasks": [child, echo("e")] })).await;
    let plan = engine.definitions().plan("parent", None).expect("it is registered");
    let started = engine.begin(start_of(plan, json!({})), None).await.expect("it starts");
    assert_eq!(ended(&engine, started.id()).await.0, Status::Completed);
    // One at most: the engine's own monitor, which is looked for at every start.
    assert!(door.loads.load(Ordering::Acquire) <= 1);
}
