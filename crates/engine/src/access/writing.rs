//! Changes of access control: written to the store and taken into memory as one, whatever becomes of
//! whoever asked for them.
//!
//! A handler ends with the connection of its client, at any await. If that fell between the store and the
//! memory, somebody who was disabled in the store would go on in memory, and the next change would write
//! the former state back. So a task of its own does both, and holds the lock until it is done. A store
//! that cannot tell whether it has written is asked what it holds before anything else is changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kernel::Timestamp;
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedMutexGuard, watch};

use super::record::{GroupRecord, KeyRecord, UserRecord};
use super::state::State;
use super::{AccessError, GROUPS, KEYS, Record, USERS};
use crate::store::{Store, StoreError};

/// The right to change something: nobody else changes anything while a copy of it is there.
pub(super) type Writing = Arc<OwnedMutexGuard<()>>;

/// The kind and the id of a document.
type DocumentId = (&'static str, Arc<str>);

/// What happens to one document.
#[derive(Clone)]
pub(super) enum Change {
    Put(Box<Record>),
    Remove(&'static str, Arc<str>),
}

impl Change {
    fn document(&self) -> DocumentId {
        match self {
            Self::Put(record) => match &**record {
                Record::Key(key) => (KEYS, key.id.clone()),
                Record::User(user) => (USERS, user.id.clone()),
                Record::Group(group) => (GROUPS, group.id.clone()),
            },
            Self::Remove(kind, id) => (kind, id.clone()),
        }
    }

    async fn store(&self, store: &dyn Store) -> Result<(), StoreError> {
        match self {
            Self::Put(record) => store.put_document(record.document()).await,
            Self::Remove(kind, id) => store.delete_document(kind, id, 0).await.map(drop),
        }
    }

    fn apply(self, state: &mut State) {
        match self {
            Self::Put(record) => record.put(state),
            Self::Remove(kind, id) => remove(state, kind, &id),
        }
    }
}

fn remove(state: &mut State, kind: &str, id: &str) {
    match kind {
        USERS => state.remove_user(id),
        GROUPS => state.remove_group(id),
        _ => state.remove_key(id),
    }
}

/// The store, and what of it is in memory.
pub(super) struct Core {
    store: Arc<dyn Store>,
    pub(super) state: RwLock<State>,
    /// Whether one of the keys makes the first administrator and was not revoked.
    pub(super) has_bootstrap: AtomicBool,
    /// Changes whenever somebody may have lost something.
    pub(super) revoked: watch::Sender<()>,
    /// Held from looking at the records until one is written.
    writing: Arc<tokio::sync::Mutex<()>>,
    /// Documents of which the store could not tell whether it has written them.
    unsure: Mutex<BTreeSet<DocumentId>>,
}

impl Core {
    pub(super) fn new(store: Arc<dyn Store>, state: State) -> Arc<Self> {
        let has_bootstrap = state.keys.all().any(|it| it.is_bootstrap());
        Arc::new(Self {
            store,
            has_bootstrap: AtomicBool::new(has_bootstrap),
            state: RwLock::new(state),
            revoked: watch::Sender::new(()),
            writing: Arc::default(),
            unsure: Mutex::default(),
        })
    }

    /// Waits until nobody else changes anything, and memory has what the store has.
    ///
    /// # Errors
    /// The store's, if it cannot say what it has.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<Writing, AccessError> {
        let writing: Writing = Arc::new(self.writing.clone().lock_owned().await);
        if !self.unsure.lock().is_empty() {
            let (core, held) = (self.clone(), writing.clone());
            let settling = async move {
                let settled = core.settle().await;
                drop(held);
                settled
            };
            tokio::spawn(settling).await.map_err(|_| StoreError::Closed)??;
        }
        Ok(writing)
    }

    /// Writes a change to the store, and then lets it count; also if nobody waits for it any more.
    ///
    /// # Errors
    /// Nobody could be an administrator any more; the store's.
    pub(super) async fn write(
        self: &Arc<Self>,
        change: Change,
        now: Timestamp,
        writing: &Writing,
    ) -> Result<(), AccessError> {
        let (core, writing) = (self.clone(), writing.clone());
        let changing = async move {
            let changed = core.change(change, now).await;
            drop(writing);
            changed
        };
        tokio::spawn(changing).await.map_err(|_| StoreError::Closed)?
    }

    async fn change(&self, change: Change, now: Timestamp) -> Result<(), AccessError> {
        let document = change.document();
        let mut next = self.state.read().clone();
        let had_administrator = next.has_administrator(now, true);
        change.clone().apply(&mut next);
        if had_administrator && !next.has_administrator(now, true) {
            return Err(AccessError::LastAdministrator);
        }
        if let Err(error) = change.store(&*self.store).await {
            self.unsure.lock().insert(document);
            // If it cannot say now, it is asked again before the next change.
            if let Err(error) = self.settle().await {
                tracing::error!(%error, "unknown whether a change of access control was committed; the state is read again from the store");
            }
            return Err(error.into());
        }
        self.take(next);
        Ok(())
    }

    /// Asks the store for what it could not tell before.
    async fn settle(&self) -> Result<(), StoreError> {
        let unsure = self.unsure.lock().clone();
        for (kind, id) in unsure {
            let documents = self.store.documents(kind).await?;
            let text = documents.into_iter().find(|it| it.name == id).map(|it| it.text);
            let mut next = self.state.read().clone();
            match text.and_then(|text| record(kind, &text)) {
                Some(record) => Change::Put(Box::new(record)).apply(&mut next),
                None => remove(&mut next, kind, &id),
            }
            self.take(next);
            self.unsure.lock().remove(&(kind, id));
        }
        Ok(())
    }

    fn take(&self, next: State) {
        let has_bootstrap = next.keys.all().any(|it| it.is_bootstrap());
        *self.state.write() = next;
        self.has_bootstrap.store(has_bootstrap, Ordering::Relaxed);
        self.revoked.send_replace(());
    }
}

/// What is stored; what is damaged counts no more.
fn record(kind: &str, text: &str) -> Option<Record> {
    fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
        serde_json::from_str(text).ok()
    }
    match kind {
        USERS => read::<UserRecord>(text).map(Record::User),
        GROUPS => read::<GroupRecord>(text).map(Record::Group),
        _ => read::<KeyRecord>(text).map(Record::Key),
    }
}
