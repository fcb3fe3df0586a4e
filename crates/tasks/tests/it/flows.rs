//! What a test needs to have an engine with built-in tasks.

use std::sync::Arc;
use std::time::Duration;

use engine::memory::Memory;
use engine::{Engine, Options, Parts, SystemClock, TaskRunner, Values};
use kernel::graph::{Control, Execution, Input, Start, Status};
use kernel::{ExecutionId, Form, Json, ScriptError, Scripts};
use serde_json::{Value, json};

struct NoScripts;

impl Scripts for NoScripts {
    fn javascript(&self, _: &str, _: Form, input: &Json) -> Result<Json, ScriptError> {
        Ok(input.clone())
    }
    fn jq(&self, _: &str, input: &Json) -> Result<Vec<Json>, ScriptError> {
        Ok(vec![input.clone()])
    }
    fn check_javascript(&self, _: &str, _: Form) -> Result<(), ScriptError> {
        Ok(())
    }
    fn check_jq(&self, _: &str) -> Result<(), ScriptError> {
        Ok(())
    }
}

struct NoValues;

impl Values for NoValues {
    fn secret(&self, _: &str) -> Option<String> {
        None
    }
    fn environment(&self, _: &str) -> Option<String> {
        None
    }
}

/// An engine over an empty store.
pub(crate) async fn open(runners: Vec<Arc<dyn TaskRunner>>) -> Engine {
    open_with(runners, Options::default()).await
}

/// The same with other options.
pub(crate) async fn open_with(runners: Vec<Arc<dyn TaskRunner>>, options: Options) -> Engine {
    let describe = |state: &Execution| {
        let tasks: Vec<&str> = state.tasks().map(|task| &*task.reference).collect();
        let status = state.status.as_str();
        Json::of(&json!({ "status": status, "tasks": tasks, "workflowId": state.id }))
    };
    let parts = Parts {
        store: Arc::new(Memory::default()),
        clock: Arc::new(SystemClock),
        scripts: Arc::new(NoScripts),
        runners,
        values: Arc::new(NoValues),
        describe,
        options,
    };
    Engine::open(parts).await.expect("the store is empty")
}

/// Registers a definition of these tasks; `ref` names each.
pub(crate) async fn register(engine: &Engine, name: &str, tasks: Value) {
    let mut tasks = tasks;
    for task in tasks.as_array_mut().expect("a list of tasks") {
        let reference = task["ref"].take();
        task["name"] = reference.clone();
        task["taskReferenceName"] = reference;
    }
    let definition = json!({ "name": name, "tasks": tasks });
    let definition = serde_json::from_value(definition).expect("the test writes a definition");
    engine.definitions().put_workflows(vec![definition]).await.expect("the store takes it");
}

/// Starts a workflow.
pub(crate) async fn start(engine: &Engine, name: &str, input: Value) -> ExecutionId {
    start_as(engine, name, input, None).await
}

/// Starts a workflow that acts as a principal.
pub(crate) async fn start_as(
    engine: &Engine,
    name: &str,
    input: Value,
    acts_as: Option<&str>,
) -> ExecutionId {
    let id = Engine::new_id();
    let start = Start {
        plan: engine.definitions().plan(name, None).expect("it is registered"),
        input: input.into(),
        correlation_id: Some(format!("about {name}").into()),
        priority: 0,
        task_to_domain: None,
        parent: None,
        asked_by: None,
        event: None,
        created_by: None,
        acts_as: acts_as.map(Into::into),
        idempotency_key: None,
        traceparent: None,
    };
    engine.step(&id, Input::Start(Box::new(start))).await.expect("it starts");
    id
}

/// Ends an execution from outside.
pub(crate) async fn terminate(engine: &Engine, id: &ExecutionId) {
    let end = Control::Terminate { reason: Some("enough".into()), failure_workflow: false };
    engine.step(id, Input::Control(end)).await.expect("it can be ended");
}

/// How an execution stands: status, output, reason.
pub(crate) async fn stands(engine: &Engine, id: &ExecutionId) -> (Status, Value, String) {
    let look = |state: &Execution| {
        let reason = state.reason.as_deref().unwrap_or_default().to_owned();
        (state.status, state.output.parse(), reason)
    };
    engine.read(id, look).await.expect("memory answers").expect("it exists")
}

/// Waits until an execution has ended.
pub(crate) async fn ended(engine: &Engine, id: &ExecutionId) -> (Status, Value, String) {
    let mut changes = engine.watch(id);
    let wait = async {
        loop {
            let stands = stands(engine, id).await;
            if stands.0.is_closed() {
                return stands;
            }
            changes.changed().await.expect("the engine lives");
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it ends in time")
}

/// Runs one task with this input to its end, as a workflow of its own.
pub(crate) async fn run(engine: &Engine, task_type: &str, input: Value) -> (Status, Value, String) {
    let name = format!("only {task_type}");
    let task = json!([{ "ref": "it", "type": task_type, "inputParameters": input }]);
    register(engine, &name, task).await;
    let id = start(engine, &name, json!({})).await;
    ended(engine, &id).await
}
