//! An engine in memory around the runners of a test.

use std::sync::Arc;
use std::time::Duration;

use engine::memory::Memory;
use engine::{Engine, Options, Parts, TaskRunner};
use kernel::graph::{Execution, Input, Start};
use kernel::{ExecutionId, Form, Json, ScriptError, Scripts};
use serde_json::{Value, json};
use tasks::javascript::{JavaScript, Limits};

/// JavaScript, for tasks that have their conditions evaluated by the engine.
struct OnlyJavaScript(JavaScript);

impl Scripts for OnlyJavaScript {
    fn javascript(&self, source: &str, form: Form, input: &Json) -> Result<Json, ScriptError> {
        self.0.run(source, form, input)
    }
    fn jq(&self, _: &str, _: &Json) -> Result<Vec<Json>, ScriptError> {
        unreachable!("no jq program runs in a decision here")
    }
    fn check_javascript(&self, _: &str, _: Form) -> Result<(), ScriptError> {
        Ok(())
    }
    fn check_jq(&self, _: &str) -> Result<(), ScriptError> {
        Ok(())
    }
}

/// Knows one secret, `mail`.
struct Mail;

impl engine::Values for Mail {
    fn secret(&self, name: &str) -> Option<String> {
        (name == "mail").then(|| "SG.from-the-store".to_owned())
    }
    fn environment(&self, _: &str) -> Option<String> {
        None
    }
}

/// An engine over a store, with these runners.
pub(crate) async fn open(store: Arc<Memory>, runners: Vec<Arc<dyn TaskRunner>>) -> Engine {
    let parts = Parts {
        store,
        clock: Arc::new(engine::SystemClock),
        scripts: Arc::new(OnlyJavaScript(JavaScript::new(Limits::default()))),
        runners,
        values: Arc::new(Mail),
        describe: |execution| Json::of(&json!({ "workflowId": execution.id })),
        options: Options::default(),
    };
    Engine::open(parts).await.expect("the store opens")
}

/// Registers a workflow of one task, and a definition of that task's name, and starts it.
pub(crate) async fn start(engine: &Engine, task: Value, policy: Value) -> ExecutionId {
    let definitions = engine.definitions();
    let policy = serde_json::from_value(policy).expect("the test writes a definition");
    definitions.put_tasks(vec![policy]).await.expect("the store takes it");
    let workflow = serde_json::from_value(json!({ "name": "w", "tasks": [task] }));
    let workflow = workflow.expect("the test writes a definition");
    definitions.put_workflows(vec![workflow]).await.expect("the store takes it");
    let id = Engine::new_id();
    let start = Start {
        plan: definitions.plan("w", None).expect("it is registered"),
        input: json!({}).into(),
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
    };
    engine.step(&id, Input::Start(Box::new(start))).await.expect("it starts");
    id
}

/// Waits until an execution looks as wanted, and answers what was seen.
pub(crate) async fn until<T: Send>(
    engine: &Engine,
    id: &ExecutionId,
    look: impl Fn(&Execution) -> Option<T> + Send + Sync,
) -> T {
    let mut changes = engine.watch(id);
    let wait = async {
        loop {
            let seen = engine.read(id, &look).await.expect("the store answers");
            if let Some(seen) = seen.expect("it exists") {
                return seen;
            }
            changes.changed().await.expect("the engine lives");
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.expect("it comes in time")
}
