//! Events: messages from queues, made durable, matched with handlers, acted upon exactly once.
//!
//! A message is first written to the inbox, and only then acknowledged to whoever brought it. From
//! there it is handled by every handler that is active at that moment, however often the process
//! dies on the way: what an action begins has an id that follows from the message, the handler and
//! the action's place, what it ends is looked up once and remembered, and each handling is a line
//! of the ledger [`LEDGER`] that says how it stands.

mod action;
mod broker;
mod handlers;
mod handling;
mod inbox;
mod listen;
mod payload;
mod update;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kernel::definition::EventHandler;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

pub use broker::{Broker, BrokerError, Delivery, EventMessage, EventName, Receipt, Subscription};
pub(crate) use handlers::documents;
pub use handling::LEDGER;
pub(crate) use inbox::HERE;
pub use inbox::PublishError;
pub use listen::QueueState;

use crate::engine::Engine;

/// What the engine knows of events.
pub(crate) struct Events {
    handlers: RwLock<BTreeMap<Arc<str>, Arc<EventHandler>>>,
    brokers: RwLock<BTreeMap<&'static str, Arc<dyn Broker>>>,
    updates: RwLock<BTreeMap<EventName, kernel::graph::TaskStatus>>,
    listeners: Mutex<BTreeMap<EventName, listen::Listener>>,
    /// Messages being handled; whether one came again meanwhile.
    working: Mutex<HashMap<String, bool>>,
    at_once: Arc<Semaphore>,
    /// Places for messages whose handlers have to wait before they may start something.
    delayed: Arc<Semaphore>,
}

/// Messages handled at once; more wait where they are.
const AT_ONCE_MAX: usize = 256;
/// Messages beside these that wait because their handlers start workflows too fast.
const DELAYED_MAX: usize = 4096;

impl Default for Events {
    fn default() -> Self {
        Self {
            handlers: RwLock::default(),
            brokers: RwLock::default(),
            updates: RwLock::default(),
            listeners: Mutex::default(),
            working: Mutex::default(),
            at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            delayed: Arc::new(Semaphore::new(DELAYED_MAX)),
        }
    }
}

impl Engine {
    /// Makes brokers known, each under its types; called before the engine begins to run tasks.
    pub fn attach_brokers(&self, brokers: &[Arc<dyn Broker>]) {
        let mut known = self.inner.events.brokers.write();
        for broker in brokers {
            for kind in broker.kinds() {
                known.insert(kind, broker.clone());
            }
        }
    }
}
