//! Kafka: one cluster as a client sees it, and `KAFKA_PUBLISH`, which writes a record to a topic.
//!
//! Records go to the partition of their key; without a key, to one after the other. A topic that is
//! not there is made if the cluster makes topics by itself. What went wrong once is looked up anew
//! the next time: a moved leader, a new partition, brokers at other addresses.

mod address;
mod partition;
mod publish;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rskafka::BackoffConfig;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use rskafka::record::Record;
use tokio::sync::Mutex;

pub(crate) use address::Address;
use address::Mechanism;
pub use publish::KafkaPublish;
pub(crate) use publish::now;

/// Longest wait for a cluster to answer, unless somebody asks for another.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// A cluster that did not answer is not asked again for so long.
const DOWN: Duration = Duration::from_secs(1);
/// How long what is known of a topic is believed.
const KNOWN: Duration = Duration::from_mins(1);
/// Topics that are known at once; more begin anew.
const TOPICS_MAX: usize = 1000;
/// Longest name of a topic, in bytes.
const TOPIC_MAX: usize = 249;

/// Says what is wrong with an address, without repeating a password.
///
/// # Errors
/// That.
pub fn check(address: &str) -> Result<(), String> {
    Address::parse(address).map(drop)
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// It may go well later.
    #[error("{0}")]
    Away(String),
    /// It never will.
    #[error("{0}")]
    Invalid(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let said = match &error {
            // The words of the client name every detail of the protocol.
            Error::ServerError { protocol_error, error_message, .. } => {
                let more = error_message.as_ref().map_or(String::new(), |more| format!(": {more}"));
                format!("Kafka: {protocol_error}{more}")
            }
            other => format!("Kafka: {other}"),
        };
        match error {
            Error::ServerError {
                protocol_error:
                    ProtocolError::InvalidTopicException
                    | ProtocolError::MessageTooLarge
                    | ProtocolError::RecordListTooLarge,
                ..
            } => Self::Invalid(said),
            _ => Self::Away(said),
        }
    }
}

/// Where a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// A cluster; connected when it is first needed.
pub(crate) struct Cluster {
    address: Address,
    line: Mutex<Line>,
    turn: AtomicUsize,
}

/// What there is of connections.
#[derive(Default)]
struct Line {
    client: Option<Arc<Client>>,
    topics: BTreeMap<String, Topic>,
    down: Option<(Instant, Trouble)>,
}

/// What is known of a topic.
struct Topic {
    partitions: Vec<i32>,
    writers: BTreeMap<i32, Arc<PartitionClient>>,
    since: Instant,
}

impl Cluster {
    pub(crate) fn new(address: Address) -> Self {
        Self { address, line: Mutex::default(), turn: AtomicUsize::new(0) }
    }

    /// Writes a record; the cluster has it when this returns. `find` bounds the way to the
    /// partition's leader, `write` what comes then.
    pub(crate) async fn produce(
        &self,
        topic: &str,
        record: Record,
        find: Duration,
        write: Duration,
    ) -> Result<Written, Trouble> {
        let written = async {
            let writer = within(find, self.writer(topic, record.key.as_deref())).await??;
            let produced = writer.produce(vec![record], Compression::NoCompression);
            let offsets = within(write, produced).await??;
            let offset = offsets.first().copied().unwrap_or(-1);
            Ok(Written { partition: writer.partition(), offset })
        };
        let written = written.await;
        if matches!(written, Err(Trouble::Away(_))) {
            self.forget().await;
        }
        written
    }

    /// The partitions of a topic, as the cluster says now.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<Vec<i32>, Trouble> {
        check_topic(topic)?;
        let found = within(PATIENCE, async {
            let mut line = self.line.lock().await;
            let client = self.client(&mut line).await?;
            drop(line);
            partitions_of(&client, topic).await
        });
        let found = found.await.and_then(|found| found);
        if found.is_err() {
            self.forget().await;
        }
        found
    }

    /// What reads a partition.
    pub(crate) async fn reader(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<PartitionClient, Trouble> {
        let mut line = self.line.lock().await;
        let client = self.client(&mut line).await?;
        drop(line);
        let reader = client.partition_client(topic, partition, UnknownTopicHandling::Error);
        Ok(within(PATIENCE, reader).await??)
    }

    /// The partition where a record with this key goes.
    async fn writer(
        &self,
        name: &str,
        key: Option<&[u8]>,
    ) -> Result<Arc<PartitionClient>, Trouble> {
        check_topic(name)?;
        let mut line = self.line.lock().await;
        let client = self.client(&mut line).await?;
        let known = line.topics.get(name).is_some_and(|topic| topic.since.elapsed() < KNOWN);
        if !known {
            let partitions = partitions_of(&client, name).await?;
            if line.topics.len() >= TOPICS_MAX {
                line.topics.clear();
            }
            let topic = Topic { partitions, writers: BTreeMap::new(), since: Instant::now() };
            line.topics.insert(name.to_owned(), topic);
        }
        let gone = || Trouble::Away(format!("Kafka: the topic {name} has no partitions"));
        let topic = line.topics.get_mut(name).ok_or_else(gone)?;
        let count = topic.partitions.len();
        let at = match key {
            Some(key) => partition::of_key(key, count),
            None => self.turn.fetch_add(1, Ordering::Relaxed) % count.max(1),
        };
        let partition = *topic.partitions.get(at).ok_or_else(gone)?;
        if let Some(writer) = topic.writers.get(&partition) {
            return Ok(writer.clone());
        }
        let writer = client.partition_client(name, partition, UnknownTopicHandling::Error).await?;
        let writer = Arc::new(writer);
        topic.writers.insert(partition, writer.clone());
        Ok(writer)
    }

    /// The one client, made anew where it is lost.
    async fn client(&self, line: &mut Line) -> Result<Arc<Client>, Trouble> {
        if let Some(client) = &line.client {
            return Ok(client.clone());
        }
        if let Some((since, trouble)) = &line.down
            && since.elapsed() < DOWN
        {
            return Err(trouble.clone());
        }
        let made = match self.builder() {
            Ok(builder) => {
                let made = within(PATIENCE, builder.build()).await;
                made.and_then(|made| made.map_err(Trouble::from))
            }
            Err(trouble) => Err(trouble),
        };
        match made {
            Ok(client) => {
                let client = Arc::new(client);
                (line.client, line.down) = (Some(client.clone()), None);
                Ok(client)
            }
            Err(trouble) => {
                line.down = Some((Instant::now(), trouble.clone()));
                Err(trouble)
            }
        }
    }

    fn builder(&self) -> Result<ClientBuilder, Trouble> {
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
            deadline: Some(PATIENCE),
        };
        let builder = ClientBuilder::new(self.address.brokers.clone());
        let mut builder = builder.client_id("nightbell").backoff_config(backoff);
        if self.address.tls {
            let config = tls::trusting(Vec::new());
            let config = config.map_err(|e| Trouble::Away(format!("TLS cannot be set up: {e}")))?;
            builder = builder.tls_config(Arc::new(config));
        }
        if let Some(login) = &self.address.login {
            let credentials = Credentials::new(login.user.clone(), login.password.clone());
            builder = builder.sasl_config(match login.mechanism {
                Mechanism::Plain => SaslConfig::Plain(credentials),
                Mechanism::ScramSha256 => SaslConfig::ScramSha256(credentials),
                Mechanism::ScramSha512 => SaslConfig::ScramSha512(credentials),
            });
        }
        Ok(builder)
    }

    /// The next one to come looks everything up anew.
    async fn forget(&self) {
        let mut line = self.line.lock().await;
        line.client = None;
        line.topics.clear();
    }
}

/// The partitions of a topic, which may come to be by being asked for.
async fn partitions_of(client: &Client, topic: &str) -> Result<Vec<i32>, Trouble> {
    if let Some(partitions) = listed(client, topic).await? {
        return Ok(partitions);
    }
    client.partition_client(topic, 0, UnknownTopicHandling::Retry).await?;
    let gone = || Trouble::Away(format!("Kafka: there is no topic {topic}"));
    listed(client, topic).await?.ok_or_else(gone)
}

async fn listed(client: &Client, topic: &str) -> Result<Option<Vec<i32>>, Trouble> {
    let topics = client.list_topics().await?;
    let found = topics.into_iter().find(|found| found.name == topic);
    let partitions = found.map(|found| found.partitions.into_iter().collect::<Vec<_>>());
    Ok(partitions.filter(|partitions| !partitions.is_empty()))
}

/// Refuses what no cluster takes as a topic's name.
fn check_topic(name: &str) -> Result<(), Trouble> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty()
        || name.len() > TOPIC_MAX
        || matches!(name, "." | "..")
        || !name.chars().all(fits)
    {
        return Err(Trouble::Invalid(format!(
            "'{name}' is no topic of Kafka: 1 to {TOPIC_MAX} letters, digits, dots, _ and -"
        )));
    }
    Ok(())
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Trouble> {
    let late = |_| Trouble::Away(format!("Kafka did not answer within {} ms", limit.as_millis()));
    tokio::time::timeout(limit, work).await.map_err(late)
}
