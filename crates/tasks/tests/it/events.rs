//! EVENT and event handlers over real brokers.

mod service;

use std::sync::Arc;
use std::time::Duration;

use engine::events::{EventMessage, EventName};
use engine::memory::Memory;
use engine::{Engine, Options, Parts, SystemClock};
use kernel::graph::{Execution, Input, Start, Status};
use kernel::{ExecutionId, Json, ScriptError, Scripts};
use serde_json::{Value, json};
use tasks::events::{EventTask, Settings};
use tasks::http::Client;

use self::service::Service;

struct NoValues;

impl engine::Values for NoValues {
    fn secret(&self, _: &str) -> Option<String> {
        None
    }
    fn environment(&self, _: &str) -> Option<String> {
        None
    }
}

struct NoScripts;

impl Scripts for NoScripts {
    fn javascript(&self, _: &str, _: kernel::Form, _: &Json) -> Result<Json, ScriptError> {
        Ok(Json::null())
    }
    fn jq(&self, _: &str, input: &Json) -> Result<Vec<Json>, ScriptError> {
        Ok(vec![input.clone()])
    }
    fn check_javascript(&self, _: &str, _: kernel::Form) -> Result<(), ScriptError> {
        Ok(())
    }
    fn check_jq(&self, _: &str) -> Result<(), ScriptError> {
        Ok(())
    }
}

async fn open(settings: Settings) -> Engine {
    let client = Client::new(tasks::http::Settings::default()).expect("a client");
    let events = EventTask::new(&settings, &client).expect("the settings make sense");
    let parts = Parts {
        store: Arc::new(Memory::default()),
        clock: Arc::new(SystemClock),
        scripts: Arc::new(NoScripts),
        runners: vec![Arc::new(events)],
        values: Arc::new(NoValues),
        describe: |execution| Json::of(&json!({ "workflowId": execution.id })),
        options: Options::default(),
    };
    let engine = Engine::open(parts).await.expect("the store opens");
    let target = json!({
        "name": "target", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }],
        "outputParameters": { "got": "${workflow.input.got}" },
    });
    register(&engine, target).await;
    engine
}

async fn register(engine: &Engine, definition: Value) {
    let definition = serde_json::from_value(definition).expect("the test writes a definition");
    engine.definitions().put_workflows(vec![definition]).await.expect("memory takes all");
}

/// Starts a workflow that sends an event, and answers the event task's id.
async fn send(engine: &Engine, sink: &str, text: &str) -> ExecutionId {
    let definition = json!({
        "name": "sender", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "e", "taskReferenceName": "e", "type": "EVENT", "sink": sink,
            "inputParameters": { "text": text } }],
    });
    register(engine, definition).await;
    let id = Engine::new_id();
    let start = Start {
        plan: engine.definitions().plan("sender", None).expect("it is registered"),
        input: Json::empty_object(),
        correlation_id: Some("label".into()),
        priority: 0,
        task_to_domain: None,
        parent: None,
        asked_by: None,
        event: None,
        created_by: None,
        idempotency_key: None,
    };
    engine.step(&id, Input::Start(Box::new(start))).await.expect("it starts");
    id
}

async fn heed(engine: &Engine, event: &str) {
    let handler = json!({
        "name": event, "event": event, "active": true,
        "actions": [{ "action": "start_workflow", "start_workflow": {
            "name": "target", "input": { "got": "${$}" } } }],
    });
    let handler = serde_json::from_value(handler).expect("the test writes a handler");
    engine.put_event_handlers(vec![handler]).await.expect("memory takes it");
}

/// Looks until there is something to see.
async fn until<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let wait = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.expect("it comes in time")
}

/// Waits until every queue is listened to.
async fn listening(engine: &Engine) {
    until(async || engine.event_queues().iter().all(|q| q.trouble.is_none()).then_some(())).await;
}

/// What the target was started with by a message whose text is this.
async fn arrived(engine: &Engine, text: &str) -> Value {
    until(async || {
        let search = engine::search::RecordSearch::newest(engine::events::LEDGER);
        let page = engine.store().records(&search).await.expect("memory answers");
        for row in page.rows {
            let body = row.body.parse();
            let Some(id) = body["output"]["workflowId"].as_str() else { continue };
            let look = |state: &Execution| (state.status, state.input.parse());
            let found = engine.read(&ExecutionId::new(id), look).await.expect("memory answers");
            if let Some((Status::Completed, input)) = found
                && input["got"]["text"] == *text
            {
                return Some(input);
            }
        }
        None
    })
    .await
}

async fn ended(engine: &Engine, id: &ExecutionId) -> Value {
    let (status, output) = until(async || {
        let look = |state: &Execution| {
            let output = state.latest("e").map(|task| task.output.parse()).unwrap_or_default();
            (state.status, output)
        };
        let seen = engine.read(id, look).await.expect("memory answers").expect("it is there");
        seen.0.is_closed().then_some(seen)
    })
    .await;
    assert_eq!(status, Status::Completed, "{output}");
    output
}

#[tokio::test]
async fn events_stay_in_the_house() {
    let engine = open(Settings::default()).await;
    heed(&engine, "conductor:sender:e").await;
    heed(&engine, "conductor:sender:other").await;
    for (sink, text) in [("conductor", "a"), ("conductor:other", "b")] {
        let id = send(&engine, sink, text).await;
        let output = ended(&engine, &id).await;
        let input = arrived(&engine, text).await;
        assert_eq!(input["got"], output, "the message is the output");
        assert_eq!(output["workflowInstanceId"], json!(id));
        assert_eq!(output["workflowType"], "sender");
        assert_eq!(output["workflowVersion"], 1);
        assert_eq!(output["correlationId"], "label");
        assert_eq!(output["asyncComplete"], false);
        assert_eq!(output["sink"], sink);
        assert_eq!(output["event_produced"], input["conductor.event.name"]);
        assert_eq!(input["conductor.event.messageId"], format!("{id}-1"));
    }
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn a_sink_that_leads_nowhere_fails_the_task() {
    let engine = open(Settings::default()).await;
    for (sink, reason) in [
        ("nonsense", "Invalid / Unsupported sink specified: nonsense"),
        ("kafka:topic", "there is no broker for 'kafka'; there is conductor"),
    ] {
        let id = send(&engine, sink, "x").await;
        let told = until(async || {
            let look = |state: &Execution| state.latest("e").and_then(|task| task.reason.clone());
            engine.read(&id, look).await.expect("memory answers").flatten()
        });
        let told = told.await;
        assert!(told.contains(reason), "{told}");
    }
    engine.close().await.expect("it closes");
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_carries_events_and_mends_itself() {
    let Some(mut nats) = Service::nats() else { return };
    let url = format!("nats://127.0.0.1:{}", nats.port);
    let engine = open(Settings { nats_url: Some(url), ..Settings::default() }).await;
    heed(&engine, "nats:orders.new").await;
    heed(&engine, "jsm:orders.kept").await;
    // The server is not there yet: the queues say so, the task waits, and all else goes on.
    until(async || {
        let queues = engine.event_queues();
        queues.iter().all(|q| q.trouble.as_deref().is_some_and(|t| t != "connecting")).then_some(())
    })
    .await;
    let early = send(&engine, "jsm:orders.early", "early").await;
    let told = until(async || {
        let look = |state: &Execution| state.latest("e").and_then(|task| task.reason.clone());
        engine.read(&early, look).await.expect("memory answers").flatten()
    });
    assert!(told.await.contains("could not be published to jsm:orders.early"));
    heed(&engine, "conductor:sender:e").await;
    send(&engine, "conductor", "house").await;
    arrived(&engine, "house").await;
    nats.start();
    listening(&engine).await;
    send(&engine, "nats:orders.new", "core").await;
    arrived(&engine, "core").await;
    send(&engine, "jsm:orders.kept", "kept").await;
    arrived(&engine, "kept").await;
    ended(&engine, &early).await;
    nats.kill();
    nats.start();
    send(&engine, "jsm:orders.kept", "again").await;
    arrived(&engine, "again").await;
    for name in ["nats:orders.new", "jsm:orders.kept"] {
        assert!(engine.delete_event_handler(name).await.expect("memory answers"));
    }
    assert!(engine.event_queues().is_empty());
    engine.close().await.expect("it closes");
}

#[cfg(feature = "amqp")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amqp_carries_events_and_updates() {
    let Some(rabbit) = Service::rabbit() else { return };
    let url = format!("amqp://guest:guest@127.0.0.1:{}/%2f", rabbit.port);
    let engine = open(Settings { amqp_url: Some(url), ..Settings::default() }).await;
    // Nobody listens yet: the broker keeps the message.
    let id = send(&engine, "amqp_queue:orders", "first").await;
    ended(&engine, &id).await;
    heed(&engine, "amqp_queue:orders").await;
    arrived(&engine, "first").await;
    let exchange = "amqp_exchange:news?exchangeType=topic&routingKey=a.b&bindQueueName=reader";
    heed(&engine, exchange).await;
    listening(&engine).await;
    send(&engine, exchange, "second").await;
    arrived(&engine, "second").await;

    let definition = json!({
        "name": "waits", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "e", "taskReferenceName": "e", "type": "WAIT" }],
    });
    register(&engine, definition).await;
    assert!(engine.listen_for_updates("amqp:updates_"));
    listening(&engine).await;
    let id = Engine::new_id();
    let start = Start {
        plan: engine.definitions().plan("waits", None).expect("it is registered"),
        input: Json::empty_object(),
        correlation_id: None,
        priority: 0,
        task_to_domain: None,
        parent: None,
        asked_by: None,
        event: None,
        created_by: None,
        idempotency_key: None,
    };
    engine.step(&id, Input::Start(Box::new(start))).await.expect("it starts");
    let external = json!({ "workflowId": id, "taskRefName": "e" }).to_string();
    let message = EventMessage {
        event: EventName::parse("amqp:updates_COMPLETED").expect("it is type:queue"),
        id: "update-1".to_owned(),
        payload: json!({ "externalId": external, "from": "outside" }).to_string(),
    };
    engine.publish_event(message).await.expect("the broker takes it");
    assert_eq!(ended(&engine, &id).await["from"], "outside");
    engine.close().await.expect("it closes");
}

#[cfg(feature = "amqp")]
#[tokio::test]
async fn options_that_make_no_sense_are_told() {
    let settings = Settings { amqp_url: Some("amqp://127.0.0.1:1".into()), ..Settings::default() };
    let engine = open(settings).await;
    for (queue, reason) in [
        ("amqp:q?durable=perhaps", "the option 'durable' cannot be 'perhaps'"),
        ("amqp:q?colour=red", "there is no option 'colour'"),
        ("amqp:?durable=true", "a name of 1 to 255 bytes is missing"),
    ] {
        let event = EventName::parse(queue).expect("it is type:queue");
        let message = EventMessage { event, id: "1".into(), payload: "{}".into() };
        let told = engine.publish_event(message).await.expect_err("it is refused").to_string();
        assert!(told.contains(reason), "{told}");
    }
    engine.close().await.expect("it closes");
}
