//! What a test needs to have an engine: a store that outlives it, runners, simple scripts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::memory::Memory;
use engine::vault::Key;
use engine::{
    Clock, Engine, Handoff, Options, Outcome, OutcomeStatus, Parts, PollRequest, TaskRunner,
};
use kernel::graph::{Input, Plan, Report, Start, Status, TaskStatus, Verdict};
use kernel::{ExecutionId, Form, Json, ScriptError, Scripts, TaskId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Scripts that answer their own source as JSON.
struct Literal;

impl Scripts for Literal {
    fn javascript(&self, source: &str, _: Form, _: &Json) -> Result<Json, ScriptError> {
        Ok(Json::from_text(source.to_owned()).expect("the test writes JSON"))
    }
    fn jq(&self, program: &str, _: &Json) -> Result<Vec<Json>, ScriptError> {
        Ok(vec![Json::from_text(program.to_owned()).expect("the test writes JSON")])
    }
    fn check_javascript(&self, _: &str, _: Form) -> Result<(), ScriptError> {
        Ok(())
    }
    fn check_jq(&self, _: &str) -> Result<(), ScriptError> {
        Ok(())
    }
}

/// Answers its input.
pub(crate) struct Echo;

#[async_trait]
impl TaskRunner for Echo {
    fn task_type(&self) -> &'static str {
        "ECHO"
    }
    async fn run(&self, task: Handoff, _: CancellationToken) -> Outcome {
        assert!(!task.reference.starts_with("panic"), "asked to");
        Outcome { status: OutcomeStatus::Completed, output: task.input, reason: None }
    }
}

pub(crate) struct NoValues;

impl engine::Values for NoValues {
    fn secret(&self, name: &str) -> Option<String> {
        (name == "KEY").then(|| "hunter2".to_owned())
    }
    fn environment(&self, _: &str) -> Option<String> {
        None
    }
}

/// An engine over a store.
pub(crate) async fn open(store: Arc<Memory>) -> Engine {
    open_with(store, Arc::new(engine::SystemClock), vec![Arc::new(Echo)]).await
}

/// An engine over a store, with a clock and runners.
pub(crate) async fn open_with(
    store: Arc<Memory>,
    clock: Arc<dyn Clock>,
    runners: Vec<Arc<dyn TaskRunner>>,
) -> Engine {
    open_as(store, clock, runners, Options::default()).await
}

/// An engine over a store that behaves as told.
pub(crate) async fn open_as(
    store: Arc<Memory>,
    clock: Arc<dyn Clock>,
    runners: Vec<Arc<dyn TaskRunner>>,
    options: Options,
) -> Engine {
    let parts = Parts {
        store,
        clock,
        scripts: Arc::new(Literal),
        runners,
        values: Arc::new(NoValues),
        describe: |execution| Json::of(&json!({ "workflowId": execution.id })),
        // One that stays over restarts, as a server's does.
        options: Options { key: options.key.or_else(|| Some(Key::new([7; 32]))), ..options },
    };
    Engine::open(parts).await.expect("the store opens")
}

/// Registers a definition.
pub(crate) async fn register(engine: &Engine, definition: Value) {
    let definition = serde_json::from_value(definition).expect("the test writes a definition");
    engine.definitions().put_workflows(vec![definition]).await.expect("the store takes it");
}

/// Starts a workflow.
pub(crate) async fn start(engine: &Engine, name: &str, input: Value) -> ExecutionId {
    let id = Engine::new_id();
    let plan = engine.definitions().plan(name, None).expect("it is registered");
    let start = start_of(plan, input);
    engine.step(&id, Input::Start(Box::new(start))).await.expect("it starts");
    id
}

/// What starts a plan.
pub(crate) fn start_of(plan: Arc<Plan>, input: Value) -> Start {
    Start {
        plan,
        input: input.into(),
        correlation_id: None,
        priority: 0,
        task_to_domain: None,
        parent: None,
        asked_by: None,
        event: None,
        created_by: None,
        acts_as: None,
        idempotency_key: None,
        traceparent: None,
    }
}

/// Takes one task as a worker.
pub(crate) async fn poll(engine: &Engine, queue: &str) -> TaskId {
    let request = PollRequest {
        queue: queue.into(),
        worker: Some("w".into()),
        count: 1,
        wait: Duration::from_secs(10),
    };
    let polled = engine.poll(request).await.expect("the store answers");
    polled.into_iter().next().expect("a task comes in time")
}

/// Completes a task as a worker.
pub(crate) async fn complete(engine: &Engine, task: &TaskId, output: Value) {
    let report = Report {
        sequence: task.sequence,
        verdict: Verdict::Done(TaskStatus::Completed),
        output: Some(output.into()),
        merge: false,
        reason: None,
        worker: Some("w".into()),
        started_at: None,
        metadata: None,
    };
    engine.report(&task.execution, report).await.expect("the report is taken");
}

/// Waits until an execution has ended.
pub(crate) async fn ended(engine: &Engine, id: &ExecutionId) -> (Status, Value) {
    let mut changes = engine.watch(id);
    let wait = async {
        loop {
            let look = |e: &kernel::graph::Execution| (e.status, e.output.parse());
            let (status, output) =
                engine.read(id, look).await.expect("the store answers").expect("it exists");
            if status.is_closed() {
                return (status, output);
            }
            changes.changed().await.expect("the engine lives");
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it ends in time")
}
