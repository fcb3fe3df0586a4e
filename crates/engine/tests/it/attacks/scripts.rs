//! Scripts that cannot be stopped: nobody but their own workflow suffers, also after a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::memory::Memory;
use engine::{Engine, Error, Options, Parts, SystemClock, evaluation};
use kernel::graph::{Control, Input, Status};
use kernel::{ExecutionId, Form, Json, ScriptError, Scripts};
use serde_json::json;

use crate::house::{self, complete, poll, register, start};

/// Far longer than anything here takes; what must happen, happens before.
const LIVENESS: Duration = Duration::from_secs(20);

/// An interpreter that does not end a script which says so, until it is told to.
#[derive(Default)]
struct Stubborn {
    is_released: AtomicBool,
}

impl Scripts for Stubborn {
    fn javascript(&self, source: &str, _: Form, _: &Json) -> Result<Json, ScriptError> {
        while source.contains("endless") && !self.is_released.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Json::of(&true))
    }
    fn jq(&self, _: &str, _: &Json) -> Result<Vec<Json>, ScriptError> {
        Ok(Vec::new())
    }
    fn check_javascript(&self, _: &str, _: Form) -> Result<(), ScriptError> {
        Ok(())
    }
    fn check_jq(&self, _: &str) -> Result<(), ScriptError> {
        Ok(())
    }
}

/// Lets the threads of a test end with it.
struct Release(Arc<Stubborn>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.is_released.store(true, Ordering::Relaxed);
    }
}

async fn open(store: &Arc<Memory>, scripts: &Release, evaluation: evaluation::Options) -> Engine {
    let parts = Parts {
        store: store.clone(),
        clock: Arc::new(SystemClock),
        scripts: scripts.0.clone(),
        runners: Vec::new(),
        values: Arc::new(house::NoValues),
        describe: |execution| Json::of(&json!({ "workflowId": execution.id })),
        options: Options { evaluation, ..Options::default() },
    };
    Engine::open(parts).await.expect("the store opens")
}

fn scripts() -> Release {
    Release(Arc::default())
}

/// Gives up what takes longer than moments.
fn hurried() -> evaluation::Options {
    evaluation::Options {
        time: Duration::from_millis(10),
        grace: Duration::from_millis(10),
        ..evaluation::Options::default()
    }
}

/// Gives up nothing while a test runs.
fn patient() -> evaluation::Options {
    evaluation::Options { time: Duration::from_hours(1), ..evaluation::Options::default() }
}

/// A worker's task, then a script.
async fn register_all(engine: &Engine) {
    let inline = |reference: &str, script: &str| {
        json!({
            "name": reference, "taskReferenceName": reference, "type": "INLINE",
            "inputParameters": {"evaluatorType": "javascript", "expression": script},
        })
    };
    let work = json!({
        "name": "work", "taskReferenceName": "work", "type": "SIMPLE",
        "taskDefinition": {"name": "work", "retryCount": 0},
    });
    register(engine, json!({"name": "endless", "tasks": [inline("script", "endless")]})).await;
    register(engine, json!({"name": "brief", "tasks": [inline("script", "brief")]})).await;
    let tasks = json!([work, inline("script", "endless")]);
    register(engine, json!({"name": "later", "tasks": tasks})).await;
}

async fn status(engine: &Engine, id: &ExecutionId) -> Status {
    engine.read(id, |state| state.status).await.expect("it is read").expect("it exists")
}

async fn terminate(engine: &Engine, id: &ExecutionId) -> Result<(), Error> {
    let control = Control::Terminate { reason: Some("enough".into()), failure_workflow: false };
    let ended = engine.step(id, Input::Control(control));
    tokio::time::timeout(LIVENESS, ended).await.expect("nobody waits behind a script")
}

/// Has the script of a "later" begin, and answers once it runs.
async fn let_it_run(engine: &Engine) {
    let task = poll(engine, "work").await;
    let reporting = engine.clone();
    tokio::spawn(async move { complete(&reporting, &task, json!({})).await });
    let runs = async {
        while engine.evaluations().busy == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIVENESS, runs).await.expect("the script runs");
}

#[tokio::test]
async fn a_script_that_does_not_end_fails_its_task_and_nothing_else() {
    let (store, scripts) = (Arc::new(Memory::new()), scripts());
    let engine = open(&store, &scripts, hurried()).await;
    register_all(&engine).await;
    let begun = tokio::time::timeout(LIVENESS, start(&engine, "endless", json!({}))).await;
    let id = begun.expect("nobody waits for ever");
    let reason = engine.read(&id, |state| state.reason.clone()).await.expect("it is read");
    let reason = reason.flatten().expect("a reason");
    assert!(reason.contains("did not end within its limit"), "{reason}");
    assert_eq!(status(&engine, &id).await, Status::Failed);
    let standing = engine.evaluations();
    assert_eq!((standing.stuck, standing.given_up, standing.refuses), (1, 1, false));
    let brief = start(&engine, "brief", json!({})).await;
    assert_eq!(status(&engine, &brief).await, Status::Completed);
    tokio::time::timeout(LIVENESS, engine.close()).await.expect("it closes").expect("cleanly");
}

#[tokio::test]
async fn a_script_that_does_not_end_is_given_up_on_a_thread_that_was_idle() {
    let (store, scripts) = (Arc::new(Memory::new()), scripts());
    let engine = open(&store, &scripts, hurried()).await;
    register_all(&engine).await;
    start(&engine, "brief", json!({})).await;
    // Long enough for nobody to look at the idle thread any more.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = tokio::time::timeout(LIVENESS, start(&engine, "endless", json!({}))).await;
    let id = begun.expect("nobody waits for ever");
    assert_eq!(status(&engine, &id).await, Status::Failed);
    tokio::time::timeout(LIVENESS, engine.close()).await.expect("it closes").expect("cleanly");
}

#[tokio::test]
async fn nothing_is_evaluated_while_too_many_scripts_do_not_end() {
    let (store, scripts) = (Arc::new(Memory::new()), scripts());
    let options = evaluation::Options { stuck_max: 1, ..hurried() };
    let engine = open(&store, &scripts, options).await;
    register_all(&engine).await;
    let plan = engine.definitions().plan("endless", None).expect("it is registered");
    let begin = |plan| Input::Start(Box::new(house::start_of(plan, json!({}))));
    let first = engine.step(&Engine::new_id(), begin(plan)).await;
    assert!(matches!(first, Err(Error::Unavailable(_))), "{first:?}");
    assert!(engine.evaluations().refuses);
    let plan = engine.definitions().plan("brief", None).expect("it is registered");
    let refused = engine.step(&Engine::new_id(), begin(plan.clone())).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    scripts.0.is_released.store(true, Ordering::Relaxed);
    let ends = async {
        while engine.evaluations().refuses {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIVENESS, ends).await.expect("the thread ends once its script does");
    engine.step(&Engine::new_id(), begin(plan)).await.expect("all is well again");
}

#[tokio::test]
async fn operators_end_and_remove_workflows_whose_script_runs() {
    let (store, scripts) = (Arc::new(Memory::new()), scripts());
    let engine = open(&store, &scripts, patient()).await;
    register_all(&engine).await;
    let id = start(&engine, "later", json!({})).await;
    let_it_run(&engine).await;
    terminate(&engine, &id).await.expect("it is terminated");
    assert_eq!(status(&engine, &id).await, Status::Terminated);

    let id = start(&engine, "later", json!({})).await;
    let_it_run(&engine).await;
    let removed = tokio::time::timeout(LIVENESS, engine.remove(&id)).await;
    assert!(removed.expect("nobody waits behind a script").expect("it is removed"));
    tokio::time::timeout(LIVENESS, engine.close()).await.expect("it closes").expect("cleanly");
}

#[tokio::test]
async fn a_workflow_on_which_the_server_ends_three_times_is_quarantined_until_it_is_ended() {
    let (store, scripts) = (Arc::new(Memory::new()), scripts());
    let first = open(&store, &scripts, patient()).await;
    register_all(&first).await;
    let id = start(&first, "later", json!({})).await;
    let sound = start(&first, "later", json!({})).await;
    for end in 0..4 {
        // Each but the first begins as if the one before had been killed while the script ran.
        let engine = match end {
            0 => first.clone(),
            _ => open(&store, &scripts, patient()).await,
        };
        assert!(engine.quarantined().is_empty());
        let reporting = engine.clone();
        let task = kernel::TaskId::new(id.clone(), 1);
        tokio::spawn(async move { complete(&reporting, &task, json!({})).await });
        let runs = async {
            while engine.evaluations().busy == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LIVENESS, runs).await.expect("the script runs");
    }
    let engine = open(&store, &scripts, patient()).await;
    let quarantined: Vec<ExecutionId> = engine.quarantined().into_iter().map(|q| q.0).collect();
    assert_eq!(quarantined, std::slice::from_ref(&id));
    let seen = engine.read(&id, |_| ()).await;
    assert!(matches!(seen, Err(Error::Quarantined { .. })), "{seen:?}");
    assert_eq!(status(&engine, &sound).await, Status::Running);
    terminate(&engine, &id).await.expect("operators may end it");
    assert!(engine.quarantined().is_empty());
    assert_eq!(status(&engine, &id).await, Status::Terminated);
}
