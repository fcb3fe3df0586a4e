//! NATS: `nats:subject[:group]` through its core, `jsm:subject[:consumer]` through `JetStream`.
//!
//! The core keeps nothing: what is published while nobody listens is gone. `JetStream` keeps messages
//! until they are acknowledged; a stream and a durable consumer are made where there are none.

use std::time::Duration;

use async_nats::jetstream::{self, AckKind, consumer, stream};
use async_nats::{Client, ConnectOptions, HeaderMap, Subscriber, header};
use async_trait::async_trait;
use engine::events::{
    Broker, BrokerError, Delivery, EventMessage, EventName, Receipt, Subscription,
};
use futures_util::StreamExt;
use tokio::sync::Mutex;

/// Longest wait for the server to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How long `JetStream` waits for an acknowledgement before a message comes again.
const ACK_WAIT: Duration = Duration::from_mins(1);

/// A NATS server or cluster.
pub(super) struct Nats {
    url: String,
    client: Mutex<Option<Client>>,
}

impl Nats {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), client: Mutex::default() }
    }

    /// The one connection, made when it is first needed; it mends itself.
    async fn client(&self) -> Result<Client, BrokerError> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            if client.connection_state() == async_nats::connection::State::Connected {
                return Ok(client.clone());
            }
            return Err(away("the connection to NATS is lost; it is being made anew"));
        }
        let servers: Vec<&str> = self.url.split(',').map(str::trim).collect();
        let options = ConnectOptions::new().name("nightbell").connection_timeout(CONNECT);
        let made = async_nats::connect_with_options(servers, options);
        let made = within(made).await?.map_err(|error| away(format!("NATS: {error}")))?;
        *client = Some(made.clone());
        Ok(made)
    }
}

#[async_trait]
impl Broker for Nats {
    fn kinds(&self) -> &'static [&'static str] {
        &["nats", "jsm"]
    }

    async fn publish(&self, message: &EventMessage) -> Result<(), BrokerError> {
        let client = self.client().await?;
        let (subject, _) = parts(&message.event)?;
        if &*message.event.kind == "nats" {
            let sent = async {
                let payload = message.payload.clone().into();
                let headers = headers(message);
                client.publish_with_headers(subject, headers, payload).await.map_err(told)?;
                client.flush().await.map_err(told)
            };
            return within(sent).await?;
        }
        let context = jetstream::new(client);
        within(async {
            stream_of(&context, &subject).await?;
            let payload = message.payload.clone().into();
            let ack = context.publish_with_headers(subject, headers(message), payload);
            ack.await.map_err(told)?.await.map_err(told)?;
            Ok(())
        })
        .await?
    }

    async fn subscribe(&self, event: &EventName) -> Result<Box<dyn Subscription>, BrokerError> {
        let client = self.client().await?;
        let (subject, name) = parts(event)?;
        if &*event.kind == "nats" {
            let subscriber = within(async {
                let subscriber = match name {
                    Some(group) => client.queue_subscribe(subject, group).await,
                    None => client.subscribe(subject).await,
                };
                client.flush().await.map_err(told)?;
                subscriber.map_err(told)
            });
            return Ok(Box::new(Core(subscriber.await??)));
        }
        let name = name.unwrap_or_else(|| format!("nightbell_{}", stream_name(&subject)));
        let context = jetstream::new(client);
        let messages = within(async {
            let stream = stream_of(&context, &subject).await?;
            let config = consumer::pull::Config {
                durable_name: Some(name.clone()),
                filter_subject: subject,
                ack_policy: consumer::AckPolicy::Explicit,
                ack_wait: ACK_WAIT,
                deliver_policy: consumer::DeliverPolicy::New,
                ..consumer::pull::Config::default()
            };
            let consumer = stream.get_or_create_consumer(&name, config).await.map_err(told)?;
            consumer.messages().await.map_err(told)
        });
        Ok(Box::new(Stream(messages.await??)))
    }
}

/// Subject and what follows it.
fn parts(event: &EventName) -> Result<(String, Option<String>), BrokerError> {
    let (subject, name) = match event.queue.split_once(':') {
        Some((subject, name)) => (subject, Some(name.to_owned())),
        None => (&*event.queue, None),
    };
    if subject.is_empty() || subject.contains(char::is_whitespace) {
        return Err(BrokerError::Invalid(format!("'{subject}' is no subject of NATS")));
    }
    Ok((subject.to_owned(), name.filter(|name| !name.is_empty())))
}

fn headers(message: &EventMessage) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_MESSAGE_ID, message.id.as_str());
    headers
}

/// The stream that keeps a subject; made if there is none.
async fn stream_of(
    context: &jetstream::Context,
    subject: &str,
) -> Result<stream::Stream, BrokerError> {
    if let Ok(name) = context.stream_by_subject(subject).await {
        return context.get_stream(name).await.map_err(told);
    }
    let config = stream::Config {
        name: stream_name(subject),
        subjects: vec![subject.to_owned()],
        ..stream::Config::default()
    };
    context.get_or_create_stream(config).await.map_err(told)
}

/// A name for a stream that is known by its subject.
fn stream_name(subject: &str) -> String {
    subject.replace('.', "_").replace('*', "ANY").replace('>', "ALL").to_uppercase()
}

fn away(reason: impl Into<String>) -> BrokerError {
    BrokerError::Unavailable(reason.into())
}

fn told(error: impl std::fmt::Display) -> BrokerError {
    away(format!("NATS: {error}"))
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, BrokerError> {
    let late = |_| away(format!("NATS did not answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, work).await.map_err(late)
}

struct Core(Subscriber);

#[async_trait]
impl Subscription for Core {
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        let message = self.0.next().await.ok_or_else(|| away("the subscription has ended"))?;
        Ok(Delivery {
            id: id_of(message.headers.as_ref()),
            payload: String::from_utf8_lossy(&message.payload).into_owned(),
            receipt: Box::new(Forgotten),
        })
    }
}

fn id_of(headers: Option<&HeaderMap>) -> Option<String> {
    headers?.get(header::NATS_MESSAGE_ID).map(ToString::to_string)
}

/// The core forgets a message when it has sent it.
struct Forgotten;

#[async_trait]
impl Receipt for Forgotten {
    async fn acknowledge(self: Box<Self>) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn give_back(self: Box<Self>) {}
}

struct Stream(consumer::pull::Stream);

#[async_trait]
impl Subscription for Stream {
    async fn next(&mut self) -> Result<Delivery, BrokerError> {
        let message = self.0.next().await.ok_or_else(|| away("the subscription has ended"))?;
        let message = message.map_err(told)?;
        let id = id_of(message.headers.as_ref()).or_else(|| {
            let info = message.info().ok()?;
            Some(format!("{}:{}", info.stream, info.stream_sequence))
        });
        Ok(Delivery {
            id,
            payload: String::from_utf8_lossy(&message.payload).into_owned(),
            receipt: Box::new(Kept(message)),
        })
    }
}

struct Kept(jetstream::Message);

#[async_trait]
impl Receipt for Kept {
    async fn acknowledge(self: Box<Self>) -> Result<(), BrokerError> {
        self.0.ack().await.map_err(told)
    }

    async fn give_back(self: Box<Self>) {
        // Not answered, it comes again after the acknowledgement's time; this is only sooner.
        let _ = self.0.ack_with(AckKind::Nak(None)).await;
    }
}
