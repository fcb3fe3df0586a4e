//! What definitions promise, with a whole engine: limits on executions, reuse of outputs,
//! announcements, starts that come twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use engine::events::{Broker, BrokerError, EventMessage, EventName, Subscription};
use engine::memory::Memory;
use engine::store::Store;
use engine::{Begun, Engine, Error};
use kernel::definition::IdempotencyStrategy;
use kernel::graph::{Control, Input, Start, Status};
use kernel::{ExecutionId, Rejected};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::house::{complete, ended, open, poll, register, start};

fn start_of(engine: &Engine, name: &str, key: Option<&str>) -> Start {
    Start {
        plan: engine.definitions().plan(name, None).expect("it is registered"),
        input: json!({}).into(),
        correlation_id: None,
        priority: 0,
        task_to_domain: None,
        parent: None,
        asked_by: None,
        event: None,
        created_by: None,
        acts_as: None,
        idempotency_key: key.map(Arc::from),
        traceparent: None,
    }
}

async fn running(engine: &Engine, ids: &[ExecutionId]) -> usize {
    let mut count = 0;
    for id in ids {
        let look = |e: &kernel::graph::Execution| !e.status.is_closed() && !e.is_held_back();
        let runs = engine.read(id, look).await.expect("the store answers").expect("it exists");
        count += usize::from(runs);
    }
    count
}

/// Waits until the store knows that so many tasks of a queue are held: that is written a moment
/// after a poll.
async fn held(store: &Memory, queue: &str, count: usize) {
    let written = async {
        loop {
            let rows = store.queued().await.expect("the store answers");
            if rows.iter().filter(|row| &*row.queue == queue && row.held).count() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written).await.expect("they are written");
}

async fn limited(engine: &Engine, policy: &str) {
    let limit = json!({ "rateLimitKey": "k", "concurrentExecLimit": 2, "policy": policy });
    let tasks = json!([{ "name": "a", "taskReferenceName": "a", "type": "SIMPLE" }]);
    register(engine, json!({ "name": "few", "rateLimitConfig": limit, "tasks": tasks })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_holds_under_concurrent_starts_and_after_a_restart() {
    let store = Arc::new(Memory::new());
    let engine = open(store.clone()).await;
    limited(&engine, "QUEUE").await;
    let starts = (0..8).map(|_| {
        let engine = engine.clone();
        tokio::spawn(async move { start(&engine, "few", json!({})).await })
    });
    let mut ids = Vec::new();
    for begun in starts.collect::<Vec<_>>() {
        ids.push(begun.await.expect("it starts"));
    }
    let (first, second) = (poll(&engine, "a").await, poll(&engine, "a").await);
    assert_eq!(running(&engine, &ids).await, 2);
    let gate = kernel::graph::gate_name("few", "k");
    let mut holders = engine.queues().holders(&gate, 10);
    holders.sort();
    let mut expected = vec![first.execution.clone(), second.execution.clone()];
    expected.sort();
    assert_eq!(holders, expected, "who holds the places is known");
    let is_gate = |queue: &engine::QueueState| kernel::graph::is_gate(&queue.name);
    assert!(!engine.queues().states().iter().any(is_gate), "a gate is no queue of tasks");

    held(&store, "a", 2).await;
    engine.stop();
    drop(engine);
    let engine = open(store).await;
    assert_eq!(running(&engine, &ids).await, 2, "as before");
    complete(&engine, &first, json!({})).await;
    let third = poll(&engine, "a").await;
    assert_eq!(running(&engine, &ids).await, 2);
    // One that ends while it waits gives up its turn, and nothing is stuck.
    let waits = |id: &&ExecutionId| {
        **id != first.execution && **id != second.execution && **id != third.execution
    };
    let waiting: Vec<ExecutionId> = ids.iter().filter(waits).cloned().collect();
    let end = Control::Terminate { reason: None, failure_workflow: false };
    engine.step(&waiting[0], Input::Control(end)).await.expect("it ends");
    complete(&engine, &second, json!({})).await;
    complete(&engine, &third, json!({})).await;
    for _ in 1..waiting.len() {
        let task = poll(&engine, "a").await;
        assert!(running(&engine, &ids).await <= 2);
        complete(&engine, &task, json!({})).await;
    }
    for id in &ids {
        ended(&engine, id).await;
    }
    assert_eq!(engine.queues().holders(&gate, 10), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_without_a_queue_refuses_exactly_those_beyond_it() {
    let engine = open(Arc::new(Memory::new())).await;
    limited(&engine, "REJECT").await;
    let starts = (0..8).map(|_| {
        let engine = engine.clone();
        let start = start_of(&engine, "few", None);
        tokio::spawn(async move { engine.begin(start, None).await })
    });
    let (mut begun, mut refused) = (0, 0);
    for start in starts.collect::<Vec<_>>() {
        match start.await.expect("no panic") {
            Ok(_) => begun += 1,
            Err(Error::Rejected(Rejected::Conflict(_))) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((begun, refused), (2, 6));
    let task = poll(&engine, "a").await;
    complete(&engine, &task, json!({})).await;
    ended(&engine, &task.execution).await;
    let again = engine.begin(start_of(&engine, "few", None), None).await;
    assert!(again.is_ok(), "there is room again");
}

#[tokio::test]
async fn a_child_that_may_not_begin_fails_its_task() {
    let engine = open(Arc::new(Memory::new())).await;
    limited(&engine, "REJECT").await;
    let child = json!({ "name": "c", "taskReferenceName": "c", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "few" } });
    register(&engine, json!({ "name": "parent", "tasks": [child] })).await;
    for _ in 0..2 {
        start(&engine, "few", json!({})).await;
    }
    let id = start(&engine, "parent", json!({})).await;
    assert_eq!(ended(&engine, &id).await.0, Status::Failed);
}

#[tokio::test]
async fn an_output_is_used_again() {
    let engine = open(Arc::new(Memory::new())).await;
    let cache = json!({ "key": "${env}", "ttlInSecond": 3600 });
    let task = json!({ "name": "a", "taskReferenceName": "a", "type": "SIMPLE",
        "inputParameters": { "env": "${workflow.input.env}" }, "cacheConfig": cache });
    register(&engine, json!({ "name": "cached", "tasks": [task] })).await;
    start(&engine, "cached", json!({ "env": "qa" })).await;
    let task = poll(&engine, "a").await;
    complete(&engine, &task, json!({ "r": 1 })).await;
    let again = start(&engine, "cached", json!({ "env": "qa" })).await;
    let expected = json!({ "r": 1, "_cachedResponse": true });
    assert_eq!(ended(&engine, &again).await, (Status::Completed, expected));
    let other = start(&engine, "cached", json!({ "env": "prod" })).await;
    assert_eq!(poll(&engine, "a").await.execution, other, "another key is other work");
}

/// A broker that refuses the first event, and tells of the others.
struct Reluctant {
    tries: AtomicUsize,
    told: mpsc::UnboundedSender<EventMessage>,
}

#[async_trait]
impl Broker for Reluctant {
    fn kinds(&self) -> &'static [&'static str] {
        &["x"]
    }

    async fn publish(&self, message: &EventMessage) -> Result<(), BrokerError> {
        if self.tries.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(BrokerError::Unavailable("not now".to_owned()));
        }
        self.told.send(message.clone()).map_err(|e| BrokerError::Unavailable(e.to_string()))
    }

    async fn subscribe(&self, _: &EventName) -> Result<Box<dyn Subscription>, BrokerError> {
        Err(BrokerError::Invalid("nobody listens".to_owned()))
    }
}

#[tokio::test]
async fn changes_of_state_are_published_in_order_and_tried_again() {
    let engine = open(Arc::new(Memory::new())).await;
    let (told, mut heard) = mpsc::unbounded_channel();
    engine.attach_brokers(&[Arc::new(Reluctant { tries: AtomicUsize::new(0), told })]);
    let announce = json!({ "onScheduled,onSuccess": [{ "type": "x:y", "payload": { "n": 1 } }] });
    let task = json!({ "name": "a", "taskReferenceName": "a", "type": "SIMPLE",
        "onStateChange": announce });
    register(&engine, json!({ "name": "loud", "tasks": [task] })).await;
    let id = start(&engine, "loud", json!({})).await;
    let task = poll(&engine, "a").await;
    complete(&engine, &task, json!({})).await;
    for change in ["onScheduled", "onSuccess"] {
        let event = heard.recv().await.expect("the engine lives");
        let payload: Value = serde_json::from_str(&event.payload).expect("it is JSON");
        assert_eq!((event.event.to_string(), &payload["n"]), ("x:y".to_owned(), &json!(1)));
        assert_eq!(payload["stateChange"], change);
        assert_eq!(payload["workflowInstanceId"], id.as_str());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_starts_once_however_many_ask_and_after_a_restart() {
    use IdempotencyStrategy::{Fail, FailOnRunning, ReturnExisting};
    let store = Arc::new(Memory::new());
    let engine = open(store.clone()).await;
    let tasks = json!([{ "name": "a", "taskReferenceName": "a", "type": "SIMPLE" }]);
    register(&engine, json!({ "name": "order", "tasks": tasks })).await;
    let starts = (0..16).map(|_| {
        let engine = engine.clone();
        let start = start_of(&engine, "order", Some("k"));
        tokio::spawn(async move { engine.begin(start, Some(ReturnExisting)).await })
    });
    let mut found = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        found.push(start.await.expect("no panic").expect("it starts or is there"));
    }
    let id = found[0].id().clone();
    assert!(found.iter().all(|begun| *begun.id() == id));
    assert_eq!(found.iter().filter(|begun| matches!(begun, Begun::New(_))).count(), 1);

    engine.stop();
    drop(engine);
    let engine = open(store).await;
    let begin =
        async |strategy| engine.begin(start_of(&engine, "order", Some("k")), Some(strategy)).await;
    let refused = |result: Result<Begun, Error>| matches!(result, Err(Error::Rejected(Rejected::Conflict(reason))) if reason.contains(id.as_str()));
    assert!(refused(begin(Fail).await), "it runs");
    assert!(refused(begin(FailOnRunning).await), "it runs");
    let pause = engine.step(&id, Input::Control(Control::Pause)).await;
    assert!(pause.is_ok() && refused(begin(FailOnRunning).await), "a paused one counts");
    engine.step(&id, Input::Control(Control::Resume)).await.expect("it goes on");
    complete(&engine, &poll(&engine, "a").await, json!({})).await;
    ended(&engine, &id).await;
    assert!(refused(begin(Fail).await), "it was there");
    assert_eq!(begin(ReturnExisting).await.ok(), Some(Begun::Existing(id.clone())));
    let second = begin(FailOnRunning).await.expect("nothing of the key runs");
    assert!(matches!(&second, Begun::New(new) if *new != id));
    assert!(begin(FailOnRunning).await.is_err(), "the second runs");
    assert_eq!(begin(ReturnExisting).await.ok().map(|b| b.id().clone()), Some(second.id().clone()));
}
