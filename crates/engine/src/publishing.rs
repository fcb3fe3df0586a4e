//! Events that executions announce, on their way to whoever delivers them.
//!
//! An event is committed with the facts that it tells of, as a message to its sink, and deleted once
//! it has been published: none is lost, and one that was under way when the process died goes out
//! again under the same id. Events to one sink go one after the other.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use kernel::{ExecutionId, Publication};

use crate::engine::{Engine, Error};
use crate::store::{MessageKey, Outgoing, StoreError};

/// Delivers events to the world.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes one event; what is published twice has the same id.
    ///
    /// # Errors
    /// Why not, in a sentence; it is tried again.
    async fn publish(&self, event: &Publication) -> Result<(), String>;
}

/// Where the engine finds its publisher.
#[derive(Default)]
pub(crate) struct Sinks(OnceLock<Arc<dyn Publisher>>);

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
    /// Names who delivers events; the first one named stays. Without one events are dropped with a
    /// warning.
    pub fn publish_through(&self, publisher: Arc<dyn Publisher>) {
        if self.inner.sinks.0.set(publisher).is_err() {
            tracing::warn!("events are delivered by the publisher that was named first");
        }
    }

    /// Publishes a committed event and then forgets it.
    pub(crate) async fn publish_committed(&self, outgoing: &Outgoing) -> Result<(), Error> {
        let event: Publication = serde_json::from_str(&outgoing.body)
            .map_err(|error| StoreError::Corrupt(format!("event {:?}: {error}", outgoing.key)))?;
        let mut pause = PAUSE;
        for attempt in 1..=TRIES_MAX {
            let result = match self.inner.sinks.0.get() {
                Some(publisher) => publisher.publish(&event).await,
                None => Err("nobody delivers events here".to_owned()),
            };
            let Err(reason) = result else { break };
            tracing::warn!(event = %event.id, sink = %event.sink, attempt, reason, "not published");
            if attempt == TRIES_MAX || self.inner.sinks.0.get().is_none() {
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
