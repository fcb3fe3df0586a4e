//! Events that executions announce, on their way to whoever delivers them.
//!
//! An event is committed with the facts that it tells of, as a message to its sink, and deleted once
//! it has been published: none is lost, and one that was under way when the process died goes out
//! again under the same id. Events to one sink go one after the other.

use std::time::Duration;

use kernel::access::Permission;
use kernel::{ExecutionId, Publication};

use crate::acting::ActsOn;
use crate::engine::{Engine, Error};
use crate::events::{BrokerError, EventMessage, EventName, HERE, PublishError};
use crate::store::{MessageKey, Outgoing, StoreError};

/// Receivers that are sinks begin so; no execution's id does.
const PREFIX: &str = "sink:";
/// Times that an event is tried before it is dropped, loudly.
const TRIES_MAX: u32 = 8;
/// Pause after the first failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// An event as a message in the store.
pub(crate) fn outgoing(key: MessageKey, event: &Publication) -> Outgoing {
    let body = serde_json::to_string(event).expect("an event serializes to JSON");
    Outgoing { key, to: ExecutionId::new(format!("{PREFIX}{}", event.sink)), body }
}

/// Whether a message is an event for the world.
pub(crate) fn is_event(outgoing: &Outgoing) -> bool {
    outgoing.to.as_str().starts_with(PREFIX)
}

impl Engine {
    /// Publishes a committed event and then forgets it.
    pub(crate) async fn publish_committed(&self, outgoing: &Outgoing) -> Result<(), Error> {
        let event: Publication = serde_json::from_str(&outgoing.body)
            .map_err(|error| StoreError::Corrupt(format!("event {:?}: {error}", outgoing.key)))?;
        let sender = &outgoing.key.sender;
        match self.must_be_allowed(sender, Permission::Run, ActsOn::Everything).await {
            Err(Error::Rejected(why)) => {
                tracing::warn!(event = %event.id, sink = %event.sink, %why, "event not published");
                self.inner.store.discard(&outgoing.key).await?;
                return Ok(());
            }
            allowed => allowed?,
        }
        let mut pause = PAUSE;
        for attempt in 1..=TRIES_MAX {
            let published = self.publish_event_of(sender, message_of(&event)).await;
            let Err(error) = published else { break };
            tracing::warn!(event = %event.id, sink = %event.sink, attempt, %error, "event not published");
            let hopeless = matches!(error, PublishError::Broker(BrokerError::Invalid(_)));
            if attempt == TRIES_MAX || hopeless {
                break;
            }
            tokio::select! {
                biased;
                () = self.inner.stop.cancelled() => return Err(Error::Closing),
                () = tokio::time::sleep(pause) => pause *= 2,
            }
        }
        self.inner.store.discard(&outgoing.key).await?;
        Ok(())
    }
}

/// The event as brokers take it. A sink without a type is a queue of our own.
fn message_of(event: &Publication) -> EventMessage {
    let here = || EventName { kind: HERE.into(), queue: event.sink.clone() };
    EventMessage {
        event: EventName::parse(&event.sink).unwrap_or_else(here),
        id: event.id.to_string(),
        payload: event.payload.text().to_owned(),
    }
}
