//! Kafka: `kafka:topic`. Every partition of a topic is read, each in its order.
//!
//! How far a partition has been read is kept in the server's own store, beside what came of it, not
//! in a group of the cluster: nothing is lost when the server is away, and nobody else takes part.
//! The first time that a topic is listened to, its reading begins with what comes from then on.
//! A handler sees a record as `{"key": …, "headers": {…}, "payload": …}`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use engine::events::{
    Broker, BrokerError, Delivery, EventMessage, EventName, Receipt, Subscription,
};
use engine::store::Document;
use engine::{Engine, WeakEngine};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{OffsetAt, PartitionClient};
use rskafka::record::{Record, RecordAndOffset};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::kafka::{Address, Cluster, PATIENCE, Trouble, now};

/// Kind of the documents that say how far partitions have been read; the name is `topic/partition`.
const POSITIONS: &str = "kafka_position";
/// Header that tells a message of ours from all others when it is written twice.
const MESSAGE_ID: &str = "nightbell-message-id";
/// Records that are read ahead of their acknowledgement, per topic.
const AHEAD: usize = 64;
/// Most bytes of one fetch; a single larger record comes nevertheless.
const FETCH_MAX: i32 = 4 << 20;
/// How long the broker waits for something to fetch, in milliseconds.
const FETCH_WAIT_MS: i32 = 500;
/// Pause where a fetch has nothing to show although there is more, such as the ends of transactions.
const NOTHING: Duration = Duration::from_millis(500);
/// How often it is looked whether a topic has got more partitions.
const LOOK: Duration = Duration::from_secs(30);

/// A cluster.
pub(super) struct Kafka {
    cluster: Arc<Cluster>,
    engine: OnceLock<WeakEngine>,
}

impl Kafka {
    pub(super) fn new(address: Address) -> Self {
        Self { cluster: Arc::new(Cluster::new(address)), engine: OnceLock::new() }
    }

    fn engine(&self) -> Result<Engine, BrokerError> {
        let engine = self.engine.get().and_then(WeakEngine::upgrade);
        engine.ok_or_else(|| away("the server is stopping"))
    }
}

#[async_trait]
impl Broker for Kafka {
    fn kinds(&self) -> &'static [&'static str] {
        &["kafka"]
    }

    fn attach(&self, engine: WeakEngine) {
        // There is one engine; a second one would have brokers of its own.
        drop(self.engine.set(engine));
    }

    async fn publish(&self, message: &EventMessage) -> Result<(), BrokerError> {
        let id = message.id.as_bytes().to_vec();
        let record = Record {
            key: Some(id.clone()),
            value: Some(message.payload.as_bytes().to_vec()),
            headers: BTreeMap::from([(MESSAGE_ID.to_owned(), id)]),
            timestamp: now(),
        };
        let topic = &*message.event.queue;
        self.cluster.produce(topic, record, PATIENCE, PATIENCE).await.map_err(told)?;
        Ok(())
    }

    async fn subscribe(&self, event: &EventName) -> Result<Box<dyn Subscription>, BrokerError> {
        let engine = self.engine()?;
        let topic: Arc<str> = event.queue.clone();
        let partitions = self.cluster.partitions(&topic).await.map_err(told)?;
        let positions = positions(&engine, &topic).await?;
        let (mut begins, mut new) = (Vec::new(), Vec::new());
        for partition in &partitions {
            let client = self.cluster.reader(&topic, *partition).await.map_err(told)?;
            let at = if let Some(at) = positions.get(partition) {
                *at
            } else {
                // A partition that a topic got later is read whole.
                let from = if positions.is_empty() { OffsetAt::Latest } else { OffsetAt::Earliest };
                let at = client.get_offset(from).await.map_err(|e| told(e.into()))?;
                new.push(position(&topic, *partition, at));
                at
            };
            begins.push((client, *partition, at));
        }
        // All in one: a topic of which some partitions are known is one that was listened to before.
        engine.store().put_documents(new).await.map_err(unstored)?;
        let (records, coming) = mpsc::channel(AHEAD);
        let mut readers = JoinSet::new();
        for (client, partition, at) in begins {
            let place = Place { topic: topic.clone(), partition };
            let reader = Reader { client, place, engine: self.engine.get().cloned() };
            readers.spawn(reader.read(at, records.clone()));
        }
        readers.spawn(watch(self.cluster.clone(), topic, partitions.len(), records));
        Ok(Box::new(Records { coming, _readers: readers }))
    }
}

/// How far each partition of a topic has been read: the next offset.
async fn positions(engine: &Engine, topic: &str) -> Result<BTreeMap<i32, i64>, BrokerError> {
    let documents = engine.store().documents(POSITIONS).await.map_err(unstored)?;
    let of_topic = documents.iter().filter_map(|document| {
        let (of, partition) = document.name.rsplit_once('/')?;
        (of == topic).then_some(())?;
        Some((partition.parse().ok()?, document.text.parse().ok()?))
    });
    Ok(of_topic.collect())
}

/// The document that says how far a partition has been read.
fn position(topic: &str, partition: i32, next: i64) -> Document {
    Document {
        kind: POSITIONS.into(),
        name: format!("{topic}/{partition}").into(),
        version: 0,
        text: next.to_string().into(),
    }
}

/// Ends the subscription when there are other partitions than were there when it began: it begins
/// anew with all of them.
async fn watch(cluster: Arc<Cluster>, topic: Arc<str>, count: usize, records: Sender) {
    loop {
        tokio::time::sleep(LOOK).await;
        match cluster.partitions(&topic).await {
            Ok(partitions) if partitions.len() == count => {}
            // Whoever reads tells what is wrong.
            Err(_) => {}
            Ok(_) => {
                let changed = format!("the partitions of {topic} have changed");
                drop(records.send(Err(away(changed))).await);
                return;
            }
        }
    }
}

type Sender = mpsc::Sender<Result<Delivery, BrokerError>>;

/// A partition.
#[derive(Clone)]
struct Place {
    topic: Arc<str>,
    partition: i32,
}

/// Whoever reads a partition.
struct Reader {
    client: PartitionClient,
    place: Place,
    engine: Option<WeakEngine>,
}

impl Reader {
    /// Reads on until something goes wrong or nobody listens.
    async fn read(self, mut at: i64, records: Sender) {
        loop {
            let fetched = self.client.fetch_records(at, 1..FETCH_MAX, FETCH_WAIT_MS).await;
            let (mut fetched, end) = match fetched {
                Ok(fetched) => fetched,
                Err(error) => match self.recovered(error, at).await {
                    Ok(from) => {
                        at = from;
                        continue;
                    }
                    Err(error) => {
                        drop(records.send(Err(error)).await);
                        return;
                    }
                },
            };
            fetched.sort_by_key(|record| record.offset);
            let before = at;
            // A compressed batch comes whole, also what was read before.
            for record in fetched.into_iter().filter(|record| record.offset >= before) {
                at = record.offset + 1;
                let delivery = self.delivery(record);
                if records.send(Ok(delivery)).await.is_err() {
                    return;
                }
            }
            if at == before && end > at {
                tokio::time::sleep(NOTHING).await;
            }
        }
    }

    /// Where to go on when a fetch has failed.
    async fn recovered(&self, error: Error, at: i64) -> Result<i64, BrokerError> {
        let gone = matches!(
            error,
            Error::ServerError { protocol_error: ProtocolError::OffsetOutOfRange, .. }
        );
        if !gone {
            return Err(told(error.into()));
        }
        let earliest = self.client.get_offset(OffsetAt::Earliest).await;
        let earliest = earliest.map_err(|error| told(error.into()))?;
        let Place { topic, partition } = &self.place;
        tracing::warn!(%topic, partition, at, earliest, "next offset is no longer in the topic; continuing with the earliest one");
        Ok(earliest)
    }

    fn delivery(&self, read: RecordAndOffset) -> Delivery {
        let RecordAndOffset { record, offset } = read;
        let Place { topic, partition } = &self.place;
        // With its time: a topic that is deleted and made anew counts from 0 again.
        let id = match record.headers.get(MESSAGE_ID) {
            Some(id) if !id.is_empty() => String::from_utf8_lossy(id).into_owned(),
            _ => format!("{topic}:{partition}:{offset}:{}", record.timestamp.timestamp_millis()),
        };
        let receipt =
            Taken { engine: self.engine.clone(), place: self.place.clone(), next: offset + 1 };
        Delivery { id: Some(id), payload: wrapped(&record), receipt: Box::new(receipt) }
    }
}

/// A record as a handler sees it.
fn wrapped(record: &Record) -> String {
    #[derive(Serialize)]
    struct Wrapped<'a> {
        key: Cow<'a, str>,
        headers: BTreeMap<&'a str, Cow<'a, str>>,
        payload: Payload<'a>,
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Payload<'a> {
        Json(&'a RawValue),
        Text(Cow<'a, str>),
        None,
    }
    let value = record.value.as_deref().map(String::from_utf8_lossy);
    let payload = match &value {
        None => Payload::None,
        Some(text) => match serde_json::from_str(text) {
            Ok(json) => Payload::Json(json),
            Err(_) => Payload::Text(Cow::Borrowed(text)),
        },
    };
    let wrapped = Wrapped {
        key: String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value)))
            .collect(),
        payload,
    };
    serde_json::to_string(&wrapped).expect("texts and JSON serialize to JSON")
}

struct Records {
    coming: mpsc::Receiver<Result<Delivery, BrokerError>>,
    /// They end when this is dropped.
    _readers: JoinSet<()>,
}

#[async_trait]
impl Subscription for Records {
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        self.coming.recv().await.unwrap_or_else(|| Err(away("the readers have ended")))
    }
}

/// The way to say that a record is taken: the position moves behind it.
struct Taken {
    engine: Option<WeakEngine>,
    place: Place,
    next: i64,
}

#[async_trait]
impl Receipt for Taken {
    async fn acknowledge(self: Box<Self>) -> Result<(), BrokerError> {
        let engine = self.engine.as_ref().and_then(WeakEngine::upgrade);
        let engine = engine.ok_or_else(|| away("the server is stopping"))?;
        let position = position(&self.place.topic, self.place.partition, self.next);
        engine.store().put_document(position).await.map_err(unstored)
    }

    /// The position stays; whoever listens next reads it again.
    async fn give_back(self: Box<Self>) {}
}

fn away(reason: impl Into<String>) -> BrokerError {
    BrokerError::Unavailable(reason.into())
}

fn unstored(error: impl std::fmt::Display) -> BrokerError {
    away(format!("the store does not say how far a topic has been read: {error}"))
}

fn told(trouble: Trouble) -> BrokerError {
    match trouble {
        Trouble::Away(why) => BrokerError::Unavailable(why),
        Trouble::Invalid(why) => BrokerError::Invalid(why),
    }
}
