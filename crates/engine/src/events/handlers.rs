//! The registered event handlers: parsed in memory, durable in the store.

use std::sync::Arc;

use kernel::definition::EventHandler;

use super::broker::EventName;
use crate::authors::{Author, Authored};
use crate::engine::Engine;
use crate::store::{Document, StoreError};

const KIND: &str = "event_handler";

impl Engine {
    /// Reads what is registered.
    pub(crate) async fn open_events(&self) -> Result<(), StoreError> {
        for document in self.inner.store.documents(KIND).await? {
            let Some(handler) = self.inner.damaged.read::<EventHandler>(&document) else {
                continue;
            };
            let handler = Arc::new(handler);
            self.inner.events.handlers.write().insert(document.name.clone(), handler);
        }
        self.recover_inbox().await?;
        self.follow_queues();
        Ok(())
    }

    /// Every event handler, by name.
    pub fn event_handlers(&self) -> Vec<Arc<EventHandler>> {
        self.inner.events.handlers.read().values().cloned().collect()
    }

    /// An event handler.
    pub fn event_handler(&self, name: &str) -> Option<Arc<EventHandler>> {
        self.inner.events.handlers.read().get(name).cloned()
    }

    /// Registers event handlers that act as the server itself, each replacing the one of its name;
    /// all or none. The queues that they subscribe to are consumed when this returns.
    ///
    /// # Errors
    /// The store's.
    pub async fn put_event_handlers(&self, handlers: Vec<EventHandler>) -> Result<(), StoreError> {
        let authors = &self.inner.authors;
        let of = |it: &EventHandler| (Authored::EventHandler, Arc::from(it.name.as_str()));
        let written: Vec<_> = handlers.iter().map(of).collect();
        let mut all = documents(&handlers);
        all.extend(authors.documents(&written, &Author::Server));
        self.inner.store.put_documents(all).await?;
        authors.take(written, &Author::Server);
        self.take_event_handlers(handlers);
        Ok(())
    }

    /// Obeys handlers that are in the store now.
    pub(crate) fn take_event_handlers(&self, handlers: Vec<EventHandler>) {
        if handlers.is_empty() {
            return;
        }
        let mut registered = self.inner.events.handlers.write();
        for handler in handlers {
            self.inner.damaged.mended(KIND, &handler.name, 0);
            registered.insert(handler.name.as_str().into(), Arc::new(handler));
        }
        drop(registered);
        self.catalogue().has_changed(KIND);
        self.follow_queues();
    }

    /// Forgets an event handler; `false` if there was none.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_event_handler(&self, name: &str) -> Result<bool, StoreError> {
        let found = self.inner.store.delete_document(KIND, name, 0).await?;
        self.inner.damaged.mended(KIND, name, 0);
        self.inner.events.handlers.write().remove(name);
        self.catalogue().has_changed(KIND);
        self.follow_queues();
        self.forget_author(Authored::EventHandler, name).await?;
        Ok(found)
    }

    /// The active handlers of an event, by name.
    pub(super) fn heeding(&self, event: &EventName) -> Vec<Arc<EventHandler>> {
        let event = event.to_string();
        let handlers = self.inner.events.handlers.read();
        handlers.values().filter(|h| h.active && h.event == event).cloned().collect()
    }
}

/// Handlers as they are stored.
pub(crate) fn documents(handlers: &[EventHandler]) -> Vec<Document> {
    let stored = handlers.iter().map(|handler| Document {
        kind: KIND.into(),
        name: handler.name.as_str().into(),
        version: 0,
        text: serde_json::to_string(handler).expect("a handler serializes to JSON").into(),
    });
    stored.collect()
}
