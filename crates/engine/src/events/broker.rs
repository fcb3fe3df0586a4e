//! The port to message brokers: publish, and subscribe with acknowledgement.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::definition::event_parts;

use crate::engine::WeakEngine;

/// Where messages come from or go to: `type:queue`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName {
    /// Which kind of broker: `conductor`, `nats`, `amqp`.
    pub kind: Arc<str>,
    /// The queue, in the words of its broker.
    pub queue: Arc<str>,
}

impl EventName {
    /// Reads `type:queue`; `None` if either is missing.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, queue) = event_parts(text)?;
        Some(Self { kind: kind.into(), queue: queue.into() })
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.queue)
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMessage {
    /// Where it came from.
    pub event: EventName,
    /// Tells it from all others of its queue; one that comes again bears the same.
    pub id: String,
    /// What it says, mostly JSON.
    pub payload: String,
}

/// One kind of message broker.
#[async_trait]
pub trait Broker: Send + Sync {
    /// The types under which events name it.
    fn kinds(&self) -> &'static [&'static str];

    /// Called once, before it is used, with the engine that it serves; for brokers that leave it to their
    /// readers to remember how far they have read.
    fn attach(&self, _engine: WeakEngine) {}

    /// Hands a message over; the broker has it when this returns. A broker that is away is told
    /// within seconds.
    async fn publish(&self, message: &EventMessage) -> Result<(), BrokerError>;

    /// Begins to listen to a queue. The answer ends with the connection.
    async fn subscribe(&self, event: &EventName) -> Result<Box<dyn Subscription>, BrokerError>;
}

/// Messages of one queue, as long as the connection holds.
#[async_trait]
pub trait Subscription: Send {
    /// The next message; may be dropped while waiting without losing one.
    ///
    /// # Errors
    /// Why no more will come.
    async fn next(&mut self) -> Result<Delivery, BrokerError>;
}

/// A message that its broker keeps until it is told what became of it.
pub struct Delivery {
    /// Its id, if its sender or the broker gave one that is the same when it comes again.
    pub id: Option<String>,
    /// What it says.
    pub payload: String,
    /// Tells the broker.
    pub receipt: Box<dyn Receipt>,
}

/// The way back to the broker for one message.
#[async_trait]
pub trait Receipt: Send {
    /// The message is ours now.
    async fn acknowledge(self: Box<Self>) -> Result<(), BrokerError>;

    /// The message could not be taken: it shall come again, here or elsewhere. Best effort.
    async fn give_back(self: Box<Self>);
}

/// Why a broker did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// It cannot be reached now, or has no connection configured.
    #[error("{0}")]
    Unavailable(String),
    /// The queue's name makes no sense to it.
    #[error("{0}")]
    Invalid(String),
}
