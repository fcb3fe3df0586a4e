//! Workflows that are made to grow without bound, by themselves.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use engine::events::{
    Broker, BrokerError, Delivery, EventMessage, EventName, Receipt, Subscription,
};
use engine::memory::Memory;
use engine::{
    Engine, Error, Handoff, Options, Outcome, OutcomeStatus, SystemClock, TaskRunner, WeakEngine,
};
use kernel::definition::EventHandler;
use kernel::graph::{Execution, Limits, Status};
use kernel::{ExecutionId, Rejected};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::house::{ended, open, open_as, register, start, start_of};

/// Announces something under the id of its task, as EVENT does.
struct Announce {
    event: EventName,
    engine: OnceLock<WeakEngine>,
}

impl Announce {
    fn by(event: &str) -> Self {
        Self { event: EventName::parse(event).expect("type:queue"), engine: OnceLock::new() }
    }
}

/// A handler that starts the workflow `w`.
fn starts_w(name: &str, event: &str) -> EventHandler {
    let handler = json!({ "name": name, "event": event, "active": true,
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": "w" } }] });
    serde_json::from_value(handler).expect("a handler")
}

#[async_trait]
impl TaskRunner for Announce {
    fn task_type(&self) -> &'static str {
        "ANNOUNCE"
    }

    fn attach(&self, engine: WeakEngine) {
        let _ = self.engine.set(engine);
    }

    async fn run(&self, task: Handoff, _: CancellationToken) -> Outcome {
        let engine = self.engine.get().and_then(WeakEngine::upgrade).expect("the engine lives");
        let event = self.event.clone();
        let message = EventMessage { event, id: task.task_id.clone(), payload: "{}".to_owned() };
        let id = ExecutionId::new(task.execution_id.as_str());
        engine.publish_event_of(&id, message).await.expect("it is taken");
        Outcome { status: OutcomeStatus::Completed, output: task.input, reason: None }
    }
}

async fn open_limited(limits: Limits, starts_per_minute: u32) -> Engine {
    let options = Options { limits, starts_per_minute, ..Options::default() };
    open_as(Arc::new(Memory::default()), Arc::new(SystemClock), Vec::new(), options).await
}

fn again(reference: &str) -> Value {
    json!({ "name": reference, "taskReferenceName": reference, "type": "START_WORKFLOW",
        "inputParameters": { "startWorkflow": { "name": "w" } } })
}

fn human(reference: &str) -> Value {
    json!({ "name": reference, "taskReferenceName": reference, "type": "HUMAN" })
}

/// Fails its workflow.
fn failing(reference: &str) -> Value {
    json!({ "name": reference, "taskReferenceName": reference, "type": "TERMINATE",
        "inputParameters": { "terminationStatus": "FAILED", "terminationReason": "as asked" } })
}

fn definition(name: &str, tasks: &[Value]) -> Value {
    json!({ "name": name, "version": 1, "schemaVersion": 2, "tasks": tasks })
}

fn started(engine: &Engine) -> u64 {
    engine.counters().started.load(std::sync::atomic::Ordering::Relaxed)
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

/// Waits until starts are put off, which must come before many have begun.
async fn slows_down(engine: &Engine, most: u64) {
    until("starts are put off", || {
        let begun = started(engine);
        assert!(begun < most, "{begun} executions have begun, and none was put off");
        engine.delayed_starts() > 0
    })
    .await;
}

#[tokio::test]
async fn workflows_that_start_each_other_by_events_slow_down() {
    let runner: Arc<dyn TaskRunner> = Arc::new(Announce::by("conductor:again"));
    let (store, clock) = (Arc::new(Memory::default()), Arc::new(SystemClock));
    let engine = open_as(store, clock, vec![runner], Options::default()).await;
    let announce = json!({ "name": "a", "taskReferenceName": "a", "type": "ANNOUNCE" });
    register(&engine, definition("w", &[announce])).await;
    let handlers = ["one", "two"].map(|name| starts_w(name, "conductor:again"));
    engine.put_event_handlers(Vec::from(handlers)).await.expect("the store takes them");
    start(&engine, "w", json!({})).await;
    slows_down(&engine, 2000).await;
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn failure_workflows_of_each_other_slow_down() {
    let engine = open(Arc::new(Memory::default())).await;
    let fails = |name: &str, failure: &str| {
        let mut definition = definition(name, &[failing("t")]);
        definition["failureWorkflow"] = failure.into();
        definition
    };
    register(&engine, fails("w", "v")).await;
    register(&engine, fails("v", "w")).await;
    // They end by themselves after as many as may be nested.
    let most = u64::from(Limits::default().depth_max);
    start(&engine, "w", json!({})).await;
    slows_down(&engine, most).await;
    engine.close().await.expect("it closes");
}

/// A queue outside, where anybody may leave messages.
#[derive(Default)]
struct Outside {
    messages: Mutex<Vec<EventMessage>>,
    arrived: tokio::sync::Notify,
}

#[derive(Clone)]
struct Queue(Arc<Outside>);

struct Reader(Arc<Outside>);

struct Done;

#[async_trait]
impl Broker for Queue {
    fn kinds(&self) -> &'static [&'static str] {
        &["outside"]
    }

    async fn publish(&self, message: &EventMessage) -> Result<(), BrokerError> {
        self.0.messages.lock().expect("no panic").push(message.clone());
        self.0.arrived.notify_one();
        Ok(())
    }

    async fn subscribe(&self, _: &EventName) -> Result<Box<dyn Subscription>, BrokerError> {
        Ok(Box::new(Reader(self.0.clone())))
    }
}

#[async_trait]
impl Subscription for Reader {
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        loop {
            let message = self.0.messages.lock().expect("no panic").pop();
            match message {
                Some(EventMessage { id, payload, .. }) => {
                    return Ok(Delivery { id: Some(id), payload, receipt: Box::new(Done) });
                }
                None => self.0.arrived.notified().await,
            }
        }
    }
}

#[async_trait]
impl Receipt for Done {
    async fn acknowledge(self: Box<Self>) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn give_back(self: Box<Self>) {}
}

#[tokio::test]
async fn workflows_that_start_each_other_by_a_broker_slow_down() {
    let runner: Arc<dyn TaskRunner> = Arc::new(Announce::by("outside:again"));
    let (store, clock) = (Arc::new(Memory::default()), Arc::new(SystemClock));
    let engine = open_as(store, clock, vec![runner], Options::default()).await;
    engine.attach_brokers(&[Arc::new(Queue(Arc::default()))]);
    let announce = json!({ "name": "a", "taskReferenceName": "a", "type": "ANNOUNCE" });
    register(&engine, definition("w", &[announce])).await;
    let handlers = ["one", "two"].map(|name| starts_w(name, "outside:again"));
    engine.put_event_handlers(Vec::from(handlers)).await.expect("the store takes them");
    start(&engine, "w", json!({})).await;
    slows_down(&engine, 2000).await;
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn a_stranger_does_not_slow_down_whom_the_id_of_a_message_names() {
    let outside = Queue(Arc::default());
    let (store, clock) = (Arc::new(Memory::default()), Arc::new(SystemClock));
    let engine = open_as(store, clock, Vec::new(), Options::default()).await;
    engine.attach_brokers(&[Arc::new(outside.clone())]);
    register(&engine, definition("w", &[human("h")])).await;
    let handlers = vec![starts_w("one", "outside:again"), starts_w("two", "conductor:again")];
    engine.put_event_handlers(handlers).await.expect("the store takes them");
    let mut named = start(&engine, "w", json!({})).await;
    // Each bears the id of a task of what the one before has started. Were it believed, the
    // twentieth and all after it would have to wait, and with them whatever the first starts.
    for round in 0_u64..40 {
        let (kind, handler) =
            if round.is_multiple_of(2) { ("outside", "one") } else { ("conductor", "two") };
        let event = EventName::parse(&format!("{kind}:again")).expect("type:queue");
        let id = format!("{named}-1");
        let child = ExecutionId::new(id.as_str()).derive(&format!("event/{handler}"), 0);
        let message = EventMessage { event, id, payload: "{}".to_owned() };
        if kind == "outside" {
            outside.publish(&message).await.expect("it is taken");
        } else {
            engine.receive_event(message).await.expect("it is taken");
        }
        let begun = async {
            while engine.read(&child, |_| ()).await.expect("the store answers").is_none() {
                assert_eq!(engine.delayed_starts(), 0, "round {round} is put off");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), begun).await.expect("it begins");
        named = child;
    }
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn sub_workflows_that_multiply_slow_down() {
    let engine = open(Arc::new(Memory::default())).await;
    let sub = |reference: &str| {
        json!({ "name": reference, "taskReferenceName": reference, "type": "SUB_WORKFLOW",
            "subWorkflowParam": { "name": "w", "version": 1 } })
    };
    let join = json!({ "name": "j", "taskReferenceName": "j", "type": "JOIN",
        "joinOn": ["one", "two", "three", "four"] });
    let branches = json!([[sub("one")], [sub("two")], [sub("three")], [sub("four")]]);
    let fork = json!({ "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN",
        "forkTasks": branches });
    register(&engine, definition("w", &[fork, join])).await;
    start(&engine, "w", json!({})).await;
    slows_down(&engine, 20_000).await;
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn deleting_a_definition_ends_the_starts_that_wait() {
    let engine = open(Arc::new(Memory::default())).await;
    register(&engine, definition("w", &[again("one"), again("two")])).await;
    start(&engine, "w", json!({})).await;
    slows_down(&engine, 2000).await;
    engine.definitions().delete_workflow("w", 1).await.expect("the store answers");
    // They were due in up to a minute and more.
    until("nothing waits any more", || engine.delayed_starts() == 0).await;
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn a_loop_that_never_ends_fails_at_its_bound() {
    let engine = open_limited(Limits { iterations_max: 300, ..Limits::default() }, 0).await;
    let set = json!({ "name": "s", "taskReferenceName": "s", "type": "SET_VARIABLE" });
    // It keeps one iteration, so the number of its tasks bounds nothing.
    let forever = json!({ "name": "l", "taskReferenceName": "l", "type": "DO_WHILE",
        "inputParameters": { "keepLastN": 1 }, "loopCondition": "true", "loopOver": [set] });
    register(&engine, definition("w", &[forever])).await;
    let id = start(&engine, "w", json!({})).await;
    assert_eq!(ended(&engine, &id).await.0, Status::Failed);
    let reason = engine.read(&id, |state| state.reason.clone()).await.expect("the store answers");
    let reason = reason.flatten().expect("a reason");
    assert!(reason.contains("300 iterations"), "{reason}");
    assert!(reason.contains("loop_iterations_max"), "{reason}");
    engine.close().await.expect("it closes");
}

async fn begin(engine: &Engine, name: &str) -> Result<ExecutionId, Error> {
    let plan = engine.definitions().plan(name, None).expect("it is registered");
    Ok(engine.begin(start_of(plan, json!({})), None).await?.id().clone())
}

async fn refused(engine: &Engine, name: &str) -> String {
    match begin(engine, name).await {
        Err(Error::Rejected(Rejected::Full(why))) => why,
        other => panic!("it is not refused: {other:?}"),
    }
}

#[tokio::test]
async fn one_definition_has_a_bounded_number_of_open_executions() {
    let engine = open_limited(Limits { executions_max: 2, ..Limits::default() }, 0).await;
    register(&engine, definition("w", &[human("h")])).await;
    register(&engine, definition("other", &[again("one")])).await;
    let mut roomy = definition("roomy", &[human("h")]);
    roomy["rateLimitConfig"] = json!({ "rateLimitKey": "k", "concurrentExecLimit": 5 });
    register(&engine, roomy).await;
    let first = begin(&engine, "w").await.expect("it begins");
    begin(&engine, "w").await.expect("it begins");
    let why = refused(&engine, "w").await;
    assert!(why.contains("workflow_open_max"), "{why}");
    // Whoever asks for it by a task hears the same, and does not wait for ever.
    let asking = begin(&engine, "other").await.expect("another definition has places of its own");
    assert_eq!(ended(&engine, &asking).await.0, Status::Failed);
    let look = |state: &Execution| state.reason.clone();
    let reason = engine.read(&asking, look).await.expect("the store answers").flatten();
    assert!(reason.expect("a reason").contains("workflow_open_max"));
    for _ in 0..5 {
        begin(&engine, "roomy").await.expect("its author has said how many");
    }
    // An end makes room.
    let end = kernel::graph::Control::Terminate { reason: None, failure_workflow: false };
    engine.step(&first, kernel::graph::Input::Control(end)).await.expect("it ends");
    begin(&engine, "w").await.expect("there is room");
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn one_definition_is_started_only_so_often() {
    let engine = open_limited(Limits::default(), 3).await;
    register(&engine, definition("w", &[human("h")])).await;
    register(&engine, definition("asking", &[again("one")])).await;
    for _ in 0..3 {
        begin(&engine, "w").await.expect("it begins");
    }
    let why = refused(&engine, "w").await;
    assert!(why.contains("workflow_starts_per_minute"), "{why}");
    // A task waits, and can say why.
    let asking = begin(&engine, "asking").await.expect("another definition has starts of its own");
    let child = engine
        .read(&asking, |state| state.open_tasks().next().and_then(|task| task.child.clone()))
        .await
        .expect("the store answers")
        .flatten()
        .expect("a child is asked for");
    until("the start is put off", || engine.delay_of(&child).is_some()).await;
    let (_, why) = engine.delay_of(&child).expect("it is put off");
    assert!(why.contains("workflow_starts_per_minute"), "{why}");
    engine.close().await.expect("it closes");
}
