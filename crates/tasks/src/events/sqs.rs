//! Amazon SQS, or a server that speaks as it does: `sqs:queue`, or `sqs:` and the queue's URL.
//!
//! A queue that is not there is made. Messages are polled for with long waits, hidden from others
//! while they are taken, and then deleted. To a queue whose name ends in `.fifo`, messages go in
//! one group and are recognised by their id when they are sent twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ::http::Method;
use ::http::header::{HeaderName, HeaderValue};
use async_trait::async_trait;
use engine::events::{
    Broker, BrokerError, Delivery, EventMessage, EventName, Receipt, Subscription,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::aws::{Call, Credentials, Scope, date};
use crate::http::{Client, Request};

/// Longest wait for the service to answer, beyond what it is asked to wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the service waits for a message before it says that there is none, in seconds.
const POLL_SECONDS: u64 = 20;
/// How long a message is hidden from others while it is taken, in seconds.
const HIDDEN_SECONDS: u64 = 60;
/// Messages of one poll: the most that the service gives.
const BATCH: u64 = 10;
/// Attribute that tells a message of ours from all others when it is sent twice.
const MESSAGE_ID: &str = "nightbell-message-id";
/// Queues whose URLs are known at once; more begin anew.
const QUEUES_MAX: usize = 1000;

/// Where the service is, and who calls.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The endpoint: `https://sqs.eu-west-1.amazonaws.com`.
    pub url: String,
    /// The region where the endpoint's name has none; absent = `us-east-1`.
    pub region: Option<String>,
    /// Whose key signs; absent = nothing is signed, which only stand-ins of the service accept.
    pub credentials: Option<Credentials>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("region", &self.region).finish_non_exhaustive()
    }
}

/// The service.
#[derive(Clone)]
pub(super) struct Sqs {
    service: Arc<Service>,
}

struct Service {
    client: Client,
    endpoint: Url,
    region: String,
    credentials: Option<Credentials>,
    /// By name.
    queues: Mutex<BTreeMap<String, String>>,
}

impl Sqs {
    /// # Errors
    /// The endpoint is no URL.
    pub(super) fn new(settings: &Settings, client: Client) -> Result<Self, String> {
        let wrong = |error| format!("the address of SQS is no URL: {error}");
        let endpoint = Url::parse(&settings.url).map_err(wrong)?;
        let region = region_of(&endpoint).or_else(|| settings.region.clone());
        let service = Service {
            client,
            endpoint,
            region: region.unwrap_or_else(|| "us-east-1".to_owned()),
            credentials: settings.credentials.clone(),
            queues: Mutex::default(),
        };
        Ok(Self { service: Arc::new(service) })
    }
}

/// The region in a name such as `sqs.eu-west-1.amazonaws.com`.
fn region_of(endpoint: &Url) -> Option<String> {
    let host = endpoint.host_str()?;
    let (_, rest) = host.split_once("sqs.")?;
    let (region, _) = rest.split_once(".amazonaws.")?;
    Some(region.to_owned())
}

#[async_trait]
impl Broker for Sqs {
    fn kinds(&self) -> &'static [&'static str] {
        &["sqs"]
    }

    async fn publish(&self, message: &EventMessage) -> Result<(), BrokerError> {
        let queue = self.service.queue(&message.event).await?;
        let mut order = json!({
            "QueueUrl": queue,
            "MessageBody": message.payload,
            "MessageAttributes": {
                MESSAGE_ID: { "DataType": "String", "StringValue": message.id },
            },
        });
        if queue.strip_suffix(FIFO).is_some() {
            order["MessageGroupId"] = "nightbell".into();
            order["MessageDeduplicationId"] = message.id.as_str().into();
        }
        self.service.call("SendMessage", &order, PATIENCE).await.map_err(|refusal| {
            self.service.queues.lock().remove(&*message.event.queue);
            refusal.error
        })?;
        Ok(())
    }

    async fn subscribe(&self, event: &EventName) -> Result<Box<dyn Subscription>, BrokerError> {
        let queue = self.service.queue(event).await?;
        let service = self.service.clone();
        Ok(Box::new(Queue { service, url: queue.into(), ahead: VecDeque::new() }))
    }
}

/// How the name of a queue ends that keeps the order of its messages.
const FIFO: &str = ".fifo";

/// A message as the service gives it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    #[serde(rename = "MessageId")]
    id: String,
    receipt_handle: String,
    #[serde(default)]
    body: String,
    #[serde(default, rename = "MessageAttributes")]
    attributes: BTreeMap<String, Attribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    #[serde(default)]
    string_value: Option<String>,
}

/// Why the service did not do as asked.
struct Refusal {
    /// Its name for that; empty if it did not answer.
    code: String,
    error: BrokerError,
}

impl Service {
    /// The URL of a queue, which is made if there is none.
    async fn queue(&self, event: &EventName) -> Result<String, BrokerError> {
        let name = &*event.queue;
        if name.starts_with("http://") || name.starts_with("https://") {
            return Ok(name.to_owned());
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let stem = name.strip_suffix(FIFO).unwrap_or(name);
        if stem.is_empty() || name.len() > 80 || !stem.chars().all(fits) {
            return Err(BrokerError::Invalid(format!(
                "'{name}' is no queue of SQS: 1 to 80 letters, digits, - and _, at the end .fifo"
            )));
        }
        if let Some(url) = self.queues.lock().get(name) {
            return Ok(url.clone());
        }
        let found = self.call("GetQueueUrl", &json!({ "QueueName": name }), PATIENCE).await;
        let found = match found {
            Err(refusal) if refusal.code.ends_with("NonExistentQueue") => {
                let mut order = json!({ "QueueName": name });
                if name.strip_suffix(FIFO).is_some() {
                    order["Attributes"] = json!({ "FifoQueue": "true" });
                }
                self.call("CreateQueue", &order, PATIENCE).await
            }
            // Older words for the same.
            Err(refusal) if refusal.code.ends_with("QueueDoesNotExist") => {
                self.call("CreateQueue", &json!({ "QueueName": name }), PATIENCE).await
            }
            found => found,
        };
        let found = found.map_err(|refusal| refusal.error)?;
        let url = found["QueueUrl"].as_str();
        let url = url.ok_or_else(|| away(format!("SQS does not say where {name} is")))?;
        let mut queues = self.queues.lock();
        if queues.len() >= QUEUES_MAX {
            queues.clear();
        }
        queues.insert(name.to_owned(), url.to_owned());
        Ok(url.to_owned())
    }

    /// One operation of the service's JSON protocol.
    async fn call(
        &self,
        operation: &str,
        order: &Value,
        patience: Duration,
    ) -> Result<Value, Refusal> {
        let unsent = |error: BrokerError| Refusal { code: String::new(), error };
        let request = self.request(operation, order, patience).map_err(unsent)?;
        let answer =
            self.client.send(&request).await.map_err(|problem| {
                unsent(away(format!("SQS, {operation}: {}", problem.message)))
            })?;
        let body = answer.body().parse();
        if answer.status.is_success() {
            return Ok(body);
        }
        let code = body["__type"].as_str().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default().to_owned();
        let more = ["message", "Message"].iter().find_map(|name| body[*name].as_str());
        let status = answer.status;
        let said = format!("SQS, {operation}: {status} {code} {}", more.unwrap_or_default());
        let said = said.trim_end().to_owned();
        let error = match code.as_str() {
            "InvalidMessageContents"
            | "InvalidParameterValue"
            | "InvalidParameterValueException"
            | "UnsupportedOperation" => BrokerError::Invalid(said),
            _ => BrokerError::Unavailable(said),
        };
        Err(Refusal { code, error })
    }

    fn request(
        &self,
        operation: &str,
        order: &Value,
        patience: Duration,
    ) -> Result<Request, BrokerError> {
        let body = order.to_string();
        let mut request = Request::new(Method::POST, self.endpoint.clone());
        request.connect_timeout = Some(PATIENCE);
        request.read_timeout = Some(patience);
        let at = date(Timestamp::now());
        let host = self.endpoint.host_str().unwrap_or_default();
        let host = match self.endpoint.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let target = format!("AmazonSQS.{operation}");
        let mut headers = vec![
            ("content-type", "application/x-amz-json-1.0"),
            ("host", host.as_str()),
            ("x-amz-date", at.as_str()),
            ("x-amz-target", target.as_str()),
        ];
        let mut authorization = None;
        if let Some(credentials) = &self.credentials {
            if let Some(token) = &credentials.session_token {
                headers.insert(3, ("x-amz-security-token", token));
            }
            let path = self.endpoint.path();
            let call = Call { method: "POST", path, headers: &headers, body: body.as_bytes() };
            let scope = Scope { at: &at, region: &self.region, service: "sqs" };
            authorization = Some(credentials.authorization(&call, &scope));
        }
        let authorization = authorization.as_deref().map(|value| ("authorization", value));
        // The connection itself says which host it means.
        let sent = headers.into_iter().filter(|(name, _)| *name != "host").chain(authorization);
        for (name, value) in sent {
            let value = HeaderValue::from_str(value)
                .map_err(|_| BrokerError::Invalid(format!("{name} fits no header")))?;
            request.headers.insert(HeaderName::from_static(name), value);
        }
        request.body = Some(body.into());
        Ok(request)
    }
}

struct Queue {
    service: Arc<Service>,
    url: Arc<str>,
    ahead: VecDeque<Message>,
}

#[async_trait]
impl Subscription for Queue {
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        let message = loop {
            if let Some(message) = self.ahead.pop_front() {
                break message;
            }
            let order = json!({
                "QueueUrl": &*self.url,
                "MaxNumberOfMessages": BATCH,
                "WaitTimeSeconds": POLL_SECONDS,
                "VisibilityTimeout": HIDDEN_SECONDS,
                "MessageAttributeNames": [MESSAGE_ID],
            });
            let patience = Duration::from_secs(POLL_SECONDS) + PATIENCE;
            let answer = self.service.call("ReceiveMessage", &order, patience).await;
            let mut answer = answer.map_err(|refusal| refusal.error)?;
            let messages = answer["Messages"].take();
            if !messages.is_null() {
                let broken = |error| away(format!("SQS answers rubbish: {error}"));
                self.ahead = serde_json::from_value(messages).map_err(broken)?;
            }
        };
        let id = message.attributes.get(MESSAGE_ID);
        let id = id.and_then(|id| id.string_value.clone()).unwrap_or(message.id);
        let (service, url) = (self.service.clone(), self.url.clone());
        let receipt = Hidden { service, url, handle: message.receipt_handle };
        Ok(Delivery { id: Some(id), payload: message.body, receipt: Box::new(receipt) })
    }
}

/// A message that others do not see for a while.
struct Hidden {
    service: Arc<Service>,
    url: Arc<str>,
    handle: String,
}

#[async_trait]
impl Receipt for Hidden {
    async fn acknowledge(self: Box<Self>) -> Result<(), BrokerError> {
        let order = json!({ "QueueUrl": &*self.url, "ReceiptHandle": self.handle });
        let deleted = self.service.call("DeleteMessage", &order, PATIENCE).await;
        deleted.map(drop).map_err(|refusal| refusal.error)
    }

    async fn give_back(self: Box<Self>) {
        let order = json!({
            "QueueUrl": &*self.url, "ReceiptHandle": self.handle, "VisibilityTimeout": 0,
        });
        // Not answered, it comes again when its time is over; this is only sooner.
        drop(self.service.call("ChangeMessageVisibility", &order, PATIENCE).await);
    }
}

fn away(reason: impl Into<String>) -> BrokerError {
    BrokerError::Unavailable(reason.into())
}
