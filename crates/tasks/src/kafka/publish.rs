//! `KAFKA_PUBLISH`: writes one record to a topic of the cluster that its input names.
//!
//! Input: `kafka_request` with `bootStrapServers` (also a URL with a login, see the setting
//! `kafka_url`), `topic`, `value` (written as JSON, a text in quotes), `key`, `keySerializer`,
//! `headers`, `requestTimeoutMs`, `maxBlockMs`. Output: `topic`, `partition` and `offset`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Handoff, Outcome, OutcomeStatus, TaskRunner};
use kernel::Json;
use parking_lot::Mutex;
use rskafka::chrono::{DateTime, Utc};
use rskafka::record::Record;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Address, Cluster, PATIENCE, Trouble};
use crate::input::{Members, Wrong, failed, failed_for_good};
use crate::outgoing::{Dialer, refusal_of};

/// Clusters to which connections are kept.
const CLUSTERS_MAX: usize = 10;
/// Before the name of each serializer.
const SERIALIZERS: &str = "org.apache.kafka.common.serialization.";

/// Runs tasks of type `KAFKA_PUBLISH`.
#[derive(Default)]
pub struct KafkaPublish {
    /// Judges the addresses that inputs name.
    dialer: Dialer,
    /// By the address as written, most recently used last.
    clusters: Mutex<Vec<(String, Arc<Cluster>)>>,
}

impl KafkaPublish {
    /// A runner that connects only where the dialer may.
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer, clusters: Mutex::default() }
    }

    /// Judges the brokers of an address. The client's library resolves them again, so none of their
    /// addresses may be refused, and none may be unknown now to be found later. What the cluster says
    /// of its other brokers is believed.
    async fn judge(&self, servers: &str) -> Result<(), Trouble> {
        let brokers = Address::parse(servers).map_err(Trouble::Invalid)?.brokers;
        for broker in &brokers {
            let Some((host, port)) = broker.rsplit_once(':') else { continue };
            let port = port.parse().unwrap_or_default();
            self.dialer.judge_all(host, port).await.map_err(|error| match refusal_of(&error) {
                Some(refusal) => Trouble::Invalid(refusal.to_string()),
                None => Trouble::Away(format!("the broker {host} cannot be looked up: {error}")),
            })?;
        }
        Ok(())
    }

    fn cluster(&self, servers: &str) -> Result<Arc<Cluster>, String> {
        let mut clusters = self.clusters.lock();
        let known = clusters.iter().position(|(known, _)| known == servers);
        let (name, cluster) = match known {
            Some(at) => clusters.remove(at),
            None => (servers.to_owned(), Arc::new(Cluster::new(Address::parse(servers)?))),
        };
        if clusters.len() >= CLUSTERS_MAX {
            clusters.remove(0);
        }
        clusters.push((name, cluster.clone()));
        Ok(cluster)
    }
}

#[async_trait]
impl TaskRunner for KafkaPublish {
    fn task_type(&self) -> &'static str {
        "KAFKA_PUBLISH"
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        let order = match Order::read(&task.input) {
            Ok(order) => order,
            Err(Wrong(why)) => return failed_for_good(why),
        };
        match self.judge(&order.servers).await {
            Ok(()) => {}
            Err(Trouble::Invalid(why)) => {
                return failed_for_good(format!("`bootStrapServers`: {why}"));
            }
            Err(Trouble::Away(why)) => return failed(format!("the record was not written: {why}")),
        }
        let cluster = match self.cluster(&order.servers) {
            Ok(cluster) => cluster,
            Err(why) => return failed_for_good(format!("`bootStrapServers`: {why}")),
        };
        let Order { topic, record, find, write, .. } = order;
        let produced = tokio::select! {
            biased;
            () = cancelled.cancelled() => return failed("cancelled"),
            produced = cluster.produce(&topic, record, find, write) => produced,
        };
        match produced {
            Ok(written) => {
                let output = json!({
                    "topic": topic, "partition": written.partition, "offset": written.offset,
                });
                let status = if task.async_complete {
                    OutcomeStatus::InProgress { again_after: None }
                } else {
                    OutcomeStatus::Completed
                };
                Outcome { status, output: Json::of(&output), reason: None }
            }
            Err(Trouble::Invalid(why)) => failed_for_good(why),
            Err(Trouble::Away(why)) => failed(format!("the record was not written: {why}")),
        }
    }
}

/// What to write and where, as the input says.
struct Order {
    servers: String,
    topic: String,
    record: Record,
    find: Duration,
    write: Duration,
}

impl Order {
    fn read(input: &Json) -> Result<Self, Wrong> {
        let Some(request) = Members::of(input)?.get("kafka_request").cloned() else {
            return Err(Wrong("`kafka_request` is missing".to_owned()));
        };
        let request = Members::within(request, "`kafka_request`")?;
        let servers = match request.get("bootStrapServers") {
            Some(Value::Array(_)) => request.texts("bootStrapServers")?.join(","),
            _ => request.required("bootStrapServers")?,
        };
        let topic = request.required("topic")?;
        let value = request.get("value").ok_or_else(|| Wrong("`value` is missing".to_owned()))?;
        let mut headers = BTreeMap::new();
        if let Some(given) = request.get("headers") {
            let Value::Object(given) = given else {
                return Err(Wrong("`headers` must be an object".to_owned()));
            };
            let bytes = |value: &Value| text_of(value).into_bytes();
            headers.extend(given.iter().map(|(name, value)| (name.clone(), bytes(value))));
        }
        let patience = |name: &str| -> Result<Duration, Wrong> {
            Ok(request.count(name)?.map_or(PATIENCE, Duration::from_millis))
        };
        let record = Record {
            key: key_of(&request)?,
            value: Some(value.to_string().into_bytes()),
            headers,
            timestamp: now(),
        };
        let (find, write) = (patience("maxBlockMs")?, patience("requestTimeoutMs")?);
        Ok(Self { servers, topic, record, find, write })
    }
}

/// The key as its serializer writes it.
fn key_of(request: &Members) -> Result<Option<Vec<u8>>, Wrong> {
    let Some(key) = request.get("key") else { return Ok(None) };
    let text = text_of(key);
    let serializer = request.text("keySerializer")?.unwrap_or_default();
    let number = |what: &str| Wrong(format!("`key` must be {what} for the {serializer}: {text}"));
    let bytes = match serializer.strip_prefix(SERIALIZERS).unwrap_or(&serializer) {
        "" | "StringSerializer" => text.as_bytes().to_vec(),
        "IntegerSerializer" => {
            text.parse::<i32>().map_err(|_| number("an int"))?.to_be_bytes().to_vec()
        }
        "LongSerializer" => {
            text.parse::<i64>().map_err(|_| number("a long"))?.to_be_bytes().to_vec()
        }
        _ => {
            let known = "StringSerializer, IntegerSerializer and LongSerializer";
            return Err(Wrong(format!(
                "there is no `keySerializer` {serializer}; there are {known} of {SERIALIZERS}"
            )));
        }
    };
    Ok(Some(bytes))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The moment in the words of the client's clock.
pub(crate) fn now() -> DateTime<Utc> {
    let millis = jiff::Timestamp::now().as_millisecond();
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}
