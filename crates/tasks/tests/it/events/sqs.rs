//! A stand-in for Amazon SQS: the operations that are used, over its JSON protocol, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// The service.
pub(crate) struct StandIn {
    pub(crate) url: String,
    pub(crate) seen: Arc<Seen>,
}

/// What it has and what it was told.
#[derive(Default)]
pub(crate) struct Seen {
    queues: Mutex<BTreeMap<String, VecDeque<Value>>>,
    /// Messages that somebody has, by receipt.
    hidden: Mutex<BTreeMap<String, (String, Value)>>,
    /// Operations, in the order of their coming, without polls.
    pub(crate) operations: Mutex<Vec<String>>,
    /// The header of the last request.
    pub(crate) authorization: Mutex<String>,
    /// Answered to everything while it is there.
    pub(crate) refuses: Mutex<Option<&'static str>>,
    came: Notify,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let router = Router::new().route("/", post(answer)).with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    /// The messages of a queue that nobody has taken.
    pub(crate) fn waiting(&self, queue: &str) -> usize {
        let hidden = self.seen.hidden.lock().values().filter(|(of, _)| of == queue).count();
        self.seen.queues.lock().get(queue).map_or(0, VecDeque::len) + hidden
    }

    /// Puts a message there, as somebody else would.
    pub(crate) fn put(&self, queue: &str, id: &str, body: &str) {
        let message = json!({ "MessageId": id, "Body": body });
        self.seen.queues.lock().entry(queue.to_owned()).or_default().push_back(message);
        self.seen.came.notify_waiters();
    }
}

async fn answer(
    State(seen): State<Arc<Seen>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let header = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let order: Value = serde_json::from_slice(&body).expect("the body is JSON");
    let operation = header("x-amz-target");
    let operation = operation.strip_prefix("AmazonSQS.").unwrap_or_default().to_owned();
    assert_eq!(header("content-type"), "application/x-amz-json-1.0");
    *seen.authorization.lock() = header("authorization");
    if operation != "ReceiveMessage" {
        seen.operations.lock().push(operation.clone());
    }
    if let Some(code) = *seen.refuses.lock() {
        return refusal(code);
    }
    let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
    let queue = text("QueueUrl").rsplit('/').next().unwrap_or_default().to_owned();
    let url = |name: &str| json!({ "QueueUrl": format!("https://elsewhere/1/{name}") });
    let answer = match operation.as_str() {
        "GetQueueUrl" if !seen.queues.lock().contains_key(&text("QueueName")) => {
            return refusal("com.amazonaws.sqs#QueueDoesNotExist");
        }
        "GetQueueUrl" => url(&text("QueueName")),
        "CreateQueue" => {
            seen.queues.lock().insert(text("QueueName"), VecDeque::new());
            url(&text("QueueName"))
        }
        "SendMessage" => {
            let message = json!({
                "MessageId": "given-by-sqs", "Body": order["MessageBody"],
                "MessageAttributes": order["MessageAttributes"],
                "group": order["MessageGroupId"], "once": order["MessageDeduplicationId"],
            });
            seen.queues.lock().entry(queue).or_default().push_back(message);
            seen.came.notify_waiters();
            json!({ "MessageId": "given-by-sqs" })
        }
        "ReceiveMessage" => receive(&seen, &queue).await,
        "DeleteMessage" => {
            let known = seen.hidden.lock().remove(&text("ReceiptHandle"));
            assert!(known.is_some(), "what is deleted was received");
            json!({})
        }
        other => panic!("the operation {other} is not expected"),
    };
    (StatusCode::OK, answer.to_string())
}

async fn receive(seen: &Seen, queue: &str) -> Value {
    loop {
        let came = seen.came.notified();
        let next = seen.queues.lock().get_mut(queue).and_then(VecDeque::pop_front);
        if let Some(mut message) = next {
            let mut hidden = seen.hidden.lock();
            let receipt = format!("receipt-{queue}-{}", hidden.len());
            message["ReceiptHandle"] = receipt.as_str().into();
            hidden.insert(receipt, (queue.to_owned(), message.clone()));
            return json!({ "Messages": [message] });
        }
        came.await;
    }
}

fn refusal(code: &str) -> (StatusCode, String) {
    let body = json!({ "__type": code, "message": "said so" });
    (StatusCode::BAD_REQUEST, body.to_string())
}
