//! Listening: the queues that active handlers subscribe to are consumed, at once when that changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kernel::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::broker::{Broker, BrokerError, Delivery, EventMessage, EventName, Subscription};
use crate::engine::Engine;

/// The consumer of one queue.
pub(super) struct Listener {
    cancel: CancellationToken,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

/// A queue that is consumed, or should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueState {
    /// `type:queue`.
    pub event: String,
    /// Why no messages come at the moment; absent = they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Since when they do not come, in milliseconds since 1970.
    #[serde(rename = "troubleSince", skip_serializing_if = "Option::is_none")]
    pub trouble_since: Option<Timestamp>,
}

/// Why messages do not come.
struct Trouble {
    why: String,
    since: Timestamp,
}

/// Waits before a broken connection is tried again: doubled from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(15);
/// Wait before a message that the store did not take is tried again.
const STORE_RETRY: Duration = Duration::from_millis(500);

impl Engine {
    /// Every queue that is heeded from outside, by name.
    pub fn event_queues(&self) -> Vec<QueueState> {
        let listeners = self.inner.events.listeners.lock();
        let state = |(event, listener): (&EventName, &Listener)| {
            let trouble = listener.trouble.lock();
            QueueState {
                event: event.to_string(),
                trouble: trouble.as_ref().map(|it| it.why.clone()),
                trouble_since: trouble.as_ref().map(|it| it.since),
            }
        };
        listeners.iter().map(state).collect()
    }

    /// Begins to consume what is heeded now, and ends what no longer is.
    pub(super) fn follow_queues(&self) {
        let events = &self.inner.events;
        let mut wanted: BTreeSet<EventName> = events.updates.read().keys().cloned().collect();
        let handlers = events.handlers.read();
        let active = handlers.values().filter(|handler| handler.active);
        wanted.extend(active.filter_map(|handler| EventName::parse(&handler.event)));
        drop(handlers);
        let brokers = events.brokers.read();
        let mut listeners = events.listeners.lock();
        listeners.retain(|event, listener| {
            let keep = wanted.contains(event);
            if !keep {
                listener.cancel.cancel();
            }
            keep
        });
        for event in wanted {
            let Some(broker) = brokers.get(&*event.kind) else {
                if &*event.kind != "conductor" {
                    tracing::warn!(%event, "no broker is configured for this event");
                }
                continue;
            };
            if listeners.contains_key(&event) {
                continue;
            }
            let cancel = self.inner.stop.child_token();
            let connecting = Trouble { why: "connecting".to_owned(), since: self.now() };
            let trouble = Arc::new(Mutex::new(Some(connecting)));
            let listener = Listener { cancel: cancel.clone(), trouble: trouble.clone() };
            listeners.insert(event.clone(), listener);
            let (engine, broker) = (self.clone(), broker.clone());
            self.inner.tasks.spawn(async move {
                // Dropped in the middle of anything: a message not acknowledged comes again.
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => {}
                    () = engine.listen(&*broker, &event, &trouble) => {}
                }
            });
        }
    }

    async fn listen(
        &self,
        broker: &dyn Broker,
        event: &EventName,
        trouble: &Mutex<Option<Trouble>>,
    ) {
        let mut wait = RETRY_FIRST;
        loop {
            let error = match broker.subscribe(event).await {
                Ok(subscription) => {
                    tracing::info!(%event, "subscribed to event queue");
                    *trouble.lock() = None;
                    wait = RETRY_FIRST;
                    self.consume(subscription, event).await
                }
                Err(error) => error,
            };
            let why = error.to_string();
            {
                let mut trouble = trouble.lock();
                if trouble.as_ref().is_none_or(|told| told.why != why) {
                    tracing::warn!(%event, %error, "event queue subscription failed; retrying");
                }
                let since = trouble.as_ref().map_or_else(|| self.now(), |told| told.since);
                *trouble = Some(Trouble { why, since });
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_LAST);
        }
    }

    /// Takes messages until the connection ends.
    async fn consume(
        &self,
        mut subscription: Box<dyn Subscription>,
        event: &EventName,
    ) -> BrokerError {
        loop {
            let delivery = match subscription.next().await {
                Ok(delivery) => delivery,
                Err(error) => return error,
            };
            if let Err(error) = self.take(delivery, event).await {
                return error;
            }
        }
    }

    /// Writes a message down and only then says so to its broker.
    async fn take(&self, delivery: Delivery, event: &EventName) -> Result<(), BrokerError> {
        let id = delivery.id.unwrap_or_else(|| Self::new_id().to_string());
        let sender = self.inner.lineages.sender_of(&id);
        let message = EventMessage { event: event.clone(), id, payload: delivery.payload };
        loop {
            match self.receive_from(sender.clone(), message.clone()).await {
                Ok(_) => return delivery.receipt.acknowledge().await,
                Err(crate::store::StoreError::Closed) => {
                    delivery.receipt.give_back().await;
                    return Err(BrokerError::Unavailable("the server is stopping".to_owned()));
                }
                Err(error) => {
                    tracing::warn!(%event, %error, "store unavailable; message delayed");
                    tokio::time::sleep(STORE_RETRY).await;
                }
            }
        }
    }
}
