//! EVENT and event handlers over real brokers.

mod service;
#[cfg(feature = "sqs")]
mod sqs;

use std::sync::Arc;
use std::time::Duration;

use engine::events::{EventMessage, EventName};
use engine::memory::Memory;
use engine::store::Store;
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
    open_over(settings, Arc::new(Memory::default())).await
}

async fn open_over(settings: Settings, store: Arc<dyn Store>) -> Engine {
    let client = Client::new(tasks::http::Settings::default()).expect("a client");
    let events = EventTask::new(&settings, &client).expect("the settings make sense");
    let parts = Parts {
        store,
        clock: Arc::new(SystemClock),
        scripts: Arc::new(NoScripts),
        runners: vec![
            Arc::new(events),
            #[cfg(feature = "kafka")]
            Arc::new(tasks::kafka::KafkaPublish::default()),
        ],
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
    start(engine, definition).await
}

/// Registers a workflow and starts it.
async fn start(engine: &Engine, definition: Value) -> ExecutionId {
    let name = definition["name"].as_str().expect("it has a name").to_owned();
    register(engine, definition).await;
    let id = Engine::new_id();
    let start = Start {
        plan: engine.definitions().plan(&name, None).expect("it is registered"),
        input: Json::empty_object(),
        correlation_id: Some("label".into()),
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

async fn subscribe(engine: &Engine, event: &str) {
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
    arrived_at(engine, text, "/got/text").await
}

/// As [`arrived`], by a record of Kafka.
#[cfg(feature = "kafka")]
async fn arrived_in(engine: &Engine, text: &str) -> Value {
    arrived_at(engine, text, "/got/payload/text").await
}

async fn arrived_at(engine: &Engine, text: &str, place: &str) -> Value {
    until(async || {
        let search = engine::search::RecordSearch::newest(engine::events::LEDGER);
        let page = engine.store().records(&search).await.expect("memory answers");
        for row in page.rows {
            let body = row.body.parse();
            let Some(id) = body["output"]["workflowId"].as_str() else { continue };
            let look = |state: &Execution| (state.status, state.input.parse());
            let found = engine.read(&ExecutionId::new(id), look).await.expect("memory answers");
            if let Some((Status::Completed, input)) = found
                && input.pointer(place).is_some_and(|found| *found == *text)
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
    subscribe(&engine, "conductor:sender:e").await;
    subscribe(&engine, "conductor:sender:other").await;
    for (sink, text) in [("conductor", "a"), ("conductor:other", "b")] {
        let id = send(&engine, sink, text).await;
        let output = ended(&engine, &id).await;
        let input = arrived(&engine, text).await;
        assert_eq!(input["got"], output, "the message is the output");
        assert_eq!(output["workflowInstanceId"], json!(id));
        assert_eq!(output["workflowType"], "sender");
        assert_eq!(output["workflowVersion"], 1);
        assert_eq!(output["correlationId"], "label");
        assert_eq!(output["taskToDomain"], json!({}));
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
        ("sqs:queue", "there is no broker for 'sqs'; there is conductor"),
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
    subscribe(&engine, "nats:orders.new").await;
    subscribe(&engine, "jsm:orders.kept").await;
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
    subscribe(&engine, "conductor:sender:e").await;
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
    subscribe(&engine, "amqp_queue:orders").await;
    arrived(&engine, "first").await;
    let exchange = "amqp_exchange:news?exchangeType=topic&routingKey=a.b&bindQueueName=reader";
    subscribe(&engine, exchange).await;
    listening(&engine).await;
    send(&engine, exchange, "second").await;
    arrived(&engine, "second").await;

    let definition = json!({
        "name": "waits", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "e", "taskReferenceName": "e", "type": "WAIT" }],
    });
    assert!(engine.listen_for_updates("amqp:updates_"));
    listening(&engine).await;
    let id = start(&engine, definition).await;
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

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_carries_events_and_is_read_on_where_it_was_left() {
    let Some(mut kafka) = Service::kafka() else { return };
    let servers = format!("127.0.0.1:{}", kafka.port);
    let settings = Settings { kafka_url: Some(servers.clone()), ..Settings::default() };
    let store = Arc::new(Memory::default());
    let engine = open_over(settings.clone(), store.clone()).await;
    subscribe(&engine, "kafka:orders").await;
    // The broker is not there yet: the queue says so, and the task waits.
    until(async || {
        let queues = engine.event_queues();
        queues.iter().all(|q| q.trouble.as_deref().is_some_and(|t| t != "connecting")).then_some(())
    })
    .await;
    let early = send(&engine, "kafka:early", "early").await;
    let told = until(async || {
        let look = |state: &Execution| state.latest("e").and_then(|task| task.reason.clone());
        engine.read(&early, look).await.expect("memory answers").flatten()
    });
    assert!(told.await.contains("could not be published to kafka:early"));
    kafka.start();
    listening(&engine).await;
    for text in ["first", "second", "third"] {
        let id = send(&engine, "kafka:orders", text).await;
        let input = arrived_in(&engine, text).await;
        assert_eq!(input["got"]["key"], format!("{id}-1"), "the message's id is the record's key");
        assert_eq!(input["conductor.event.messageId"], format!("{id}-1"));
    }
    ended(&engine, &early).await;

    // KAFKA_PUBLISH: a record of its own making.
    let publish = json!({
        "name": "publisher", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "e", "taskReferenceName": "e", "type": "KAFKA_PUBLISH",
            "inputParameters": { "kafka_request": {
                "bootStrapServers": servers, "topic": "orders",
                "value": { "text": "published", "n": [1, 2.5] },
                "key": 12, "keySerializer":
                    "org.apache.kafka.common.serialization.IntegerSerializer",
                "headers": { "X-From": "here", "X-Number": 7 },
                "requestTimeoutMs": 5000, "maxBlockMs": 5000 } } }],
    });
    let id = start(&engine, publish).await;
    let output = ended(&engine, &id).await;
    assert_eq!(output["topic"], "orders");
    assert!(output["offset"].as_i64().is_some_and(|offset| offset >= 0), "{output}");
    let input = arrived_in(&engine, "published").await;
    assert_eq!(input["got"]["payload"], json!({ "text": "published", "n": [1, 2.5] }));
    assert_eq!(input["got"]["key"], "\0\0\0\u{c}");
    assert_eq!(input["got"]["headers"], json!({ "X-From": "here", "X-Number": "7" }));

    // What comes while the server is away is there when it comes back, and nothing comes twice.
    let others = open(settings.clone()).await;
    engine.close().await.expect("it closes");
    let id = send(&others, "kafka:orders", "meanwhile").await;
    ended(&others, &id).await;
    others.close().await.expect("it closes");
    kafka.kill();
    store.open_again();
    let engine = open_over(settings, store).await;
    kafka.start();
    let input = arrived_in(&engine, "meanwhile").await;
    assert_eq!(input["conductor.event.messageId"], format!("{id}-1"));
    send(&engine, "kafka:orders", "last").await;
    arrived_in(&engine, "last").await;
    let search = engine::search::RecordSearch::newest(engine::events::LEDGER);
    let page = engine.store().records(&search).await.expect("memory answers");
    assert_eq!(page.total, 6, "each record was handled once");
    engine.close().await.expect("it closes");
}

#[cfg(feature = "sqs")]
#[tokio::test]
async fn sqs_carries_events() {
    use tasks::events::{Credentials, SqsSettings};

    let service = sqs::StandIn::start().await;
    let credentials = Credentials {
        access_key_id: "AKID".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: Some("token".to_owned()),
    };
    let region = Some("eu-test-1".to_owned());
    let url = service.url.clone();
    let settings = SqsSettings { url, region, credentials: Some(credentials) };
    let engine = open(Settings { sqs: Some(settings), ..Settings::default() }).await;
    // Nobody listens yet: the service keeps the message.
    let id = send(&engine, "sqs:orders", "first").await;
    ended(&engine, &id).await;
    assert_eq!(
        *service.seen.operations.lock(),
        ["GetQueueUrl", "CreateQueue", "SendMessage"],
        "what is not there is made"
    );
    let authorization = service.seen.authorization.lock().clone();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{authorization}");
    let scope = "/eu-test-1/sqs/aws4_request, SignedHeaders=content-type;host;x-amz-date;\
                 x-amz-security-token;x-amz-target, Signature=";
    assert!(authorization.contains(scope), "{authorization}");
    subscribe(&engine, "sqs:orders").await;
    let input = arrived(&engine, "first").await;
    assert_eq!(input["conductor.event.messageId"], format!("{id}-1"), "it is known again");
    service.put("orders", "m-7", r#"{"text": "theirs"}"#);
    assert_eq!(arrived(&engine, "theirs").await["conductor.event.messageId"], "m-7");
    until(async || (service.waiting("orders") == 0).then_some(())).await;

    // A queue by its URL, and one that keeps the order.
    for queue in ["https://elsewhere/1/named", "https://elsewhere/1/line.fifo"] {
        let id = send(&engine, &format!("sqs:{queue}"), "by url").await;
        ended(&engine, &id).await;
    }
    assert_eq!((service.waiting("named"), service.waiting("line.fifo")), (1, 1));

    // What the service refuses is told; one that is away is asked again.
    for (code, reason) in [
        ("com.amazonaws.sqs#InvalidMessageContents", "InvalidMessageContents said so"),
        ("com.amazon.coral.service#AccessDeniedException", "AccessDeniedException said so"),
    ] {
        *service.seen.refuses.lock() = Some(code);
        let id = send(&engine, "sqs:orders", "refused").await;
        let told = until(async || {
            let look = |state: &Execution| state.latest("e").and_then(|task| task.reason.clone());
            engine.read(&id, look).await.expect("memory answers").flatten()
        });
        let told = told.await;
        assert!(told.contains(reason), "{told}");
    }
    *service.seen.refuses.lock() = None;
    let event = EventName::parse("sqs:no queue").expect("it is type:queue");
    let message = EventMessage { event, id: "1".into(), payload: "{}".into() };
    let told = engine.publish_event(message).await.expect_err("it is refused").to_string();
    assert!(told.contains("'no queue' is no queue of SQS"), "{told}");
    engine.close().await.expect("it closes");
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn what_cannot_be_published_to_kafka_is_told() {
    let settings = Settings { kafka_url: Some("127.0.0.1:1".into()), ..Settings::default() };
    let engine = open(settings).await;
    let request = |change: Value| {
        let mut request = json!({ "bootStrapServers": "127.0.0.1:1", "topic": "t", "value": "v" });
        for (name, value) in change.as_object().expect("an object") {
            request[name] = value.clone();
        }
        request
    };
    let cases = [
        (json!({}), "FAILED", "the record was not written: Kafka"),
        (json!({ "topic": "" }), "FAILED_WITH_TERMINAL_ERROR", "`topic` is missing"),
        (json!({ "topic": "a b" }), "FAILED_WITH_TERMINAL_ERROR", "'a b' is no topic of Kafka"),
        (json!({ "value": null }), "FAILED_WITH_TERMINAL_ERROR", "`value` is missing"),
        (
            json!({ "bootStrapServers": "sasl://a" }),
            "FAILED_WITH_TERMINAL_ERROR",
            "`bootStrapServers`: `sasl` is none of kafka, kafkas",
        ),
        (json!({ "headers": [1] }), "FAILED_WITH_TERMINAL_ERROR", "`headers` must be an object"),
        (
            json!({ "key": "x", "keySerializer": "LongSerializer" }),
            "FAILED_WITH_TERMINAL_ERROR",
            "`key` must be a long for the LongSerializer: x",
        ),
        (
            json!({ "key": "x", "keySerializer": "my.Own" }),
            "FAILED_WITH_TERMINAL_ERROR",
            "there is no `keySerializer` my.Own",
        ),
        (json!({ "maxBlockMs": -1 }), "FAILED_WITH_TERMINAL_ERROR", "`maxBlockMs` must be"),
    ];
    for (change, status, reason) in cases {
        let definition = json!({
            "name": "publisher", "version": 1, "schemaVersion": 2,
            "tasks": [{ "name": "e", "taskReferenceName": "e", "type": "KAFKA_PUBLISH",
                "inputParameters": { "kafka_request": request(change) } }],
        });
        let id = start(&engine, definition).await;
        let (found, told) = until(async || {
            let look = |state: &Execution| {
                let task = state.latest("e")?;
                Some((task.status.as_str(), task.reason.clone()?))
            };
            engine.read(&id, look).await.expect("memory answers").flatten()
        })
        .await;
        assert_eq!(found, status, "{told}");
        assert!(told.contains(reason), "{told}");
    }
    let event = EventName::parse("kafka:no/topic").expect("it is type:queue");
    let message = EventMessage { event, id: "1".into(), payload: "{}".into() };
    let told = engine.publish_event(message).await.expect_err("it is refused").to_string();
    assert!(told.contains("'no/topic' is no topic of Kafka"), "{told}");
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
