//! Documents that are asked for far more often than they change: what their readers make of them is
//! kept in memory until one of them changes.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::documents::Damaged;
use crate::store::{Document, Store, StoreError};

/// The documents of some kinds, each kind with the view that its reader made of it.
///
/// A kind that is read here must be written here only, or readers see what was.
#[derive(Clone)]
pub struct Catalogue {
    store: Arc<dyn Store>,
    damaged: Arc<Damaged>,
    kinds: Arc<Mutex<HashMap<&'static str, Kind>>>,
}

#[derive(Default)]
struct Kind {
    /// How often its documents have changed since the start.
    changes: u64,
    view: Option<Arc<dyn Any + Send + Sync>>,
}

impl Catalogue {
    pub(crate) fn new(store: Arc<dyn Store>, damaged: Arc<Damaged>) -> Self {
        Self { store, damaged, kinds: Arc::default() }
    }

    /// Reads a stored document; `None` if it is damaged. It is set aside then: it stays in the store,
    /// and is reported until it is replaced or deleted.
    pub fn read<T: DeserializeOwned>(&self, document: &Document) -> Option<T> {
        self.damaged.read(document)
    }

    /// Sets a document aside that can be read and cannot be used.
    pub fn set_aside(&self, document: &Document, reason: &str) {
        self.damaged.set_aside(document, reason);
    }

    /// A document was replaced or deleted: if it was damaged, it is no more.
    pub(crate) fn mended(&self, kind: &str, name: &str) {
        self.damaged.mended(kind, name, 0);
    }

    /// What `make` made of all documents of a kind, by name, since the last change; it is called
    /// only if there was one, and away from the threads that serve: it may compile what users wrote.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Panics
    /// As `make` does.
    pub async fn view<T: Send + Sync + 'static>(
        &self,
        kind: &'static str,
        make: impl FnOnce(&[Document]) -> T + Send + 'static,
    ) -> Result<Arc<T>, StoreError> {
        let changes = {
            let mut kinds = self.kinds.lock();
            let kind = kinds.entry(kind).or_default();
            if let Some(Ok(view)) = kind.view.clone().map(Arc::downcast) {
                return Ok(view);
            }
            kind.changes
        };
        let documents = self.store.documents(kind).await?;
        let view = match tokio::task::spawn_blocking(move || make(&documents)).await {
            Ok(view) => Arc::new(view),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is ending.
            Err(_) => return Err(StoreError::Closed),
        };
        let mut kinds = self.kinds.lock();
        let kind = kinds.entry(kind).or_default();
        // What changed while it was read may be missing in it: the next reader makes another.
        if kind.changes == changes {
            kind.view = Some(view.clone());
        }
        Ok(view)
    }

    /// Inserts or replaces a document.
    ///
    /// # Errors
    /// The store's.
    pub async fn put(
        &self,
        kind: &'static str,
        name: &str,
        text: String,
    ) -> Result<(), StoreError> {
        let document =
            Document { kind: kind.into(), name: name.into(), version: 0, text: text.into() };
        let store = self.store.clone();
        self.change(kind, name, async move { store.put_document(document).await }).await
    }

    /// Removes a document; `false` if there was none.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self, kind: &'static str, name: &str) -> Result<bool, StoreError> {
        let (store, whose) = (self.store.clone(), name.to_owned());
        let deleting = async move { store.delete_document(kind, &whose, 0).await };
        self.change(kind, name, deleting).await
    }

    /// Makes a change, and forgets the view of its kind once it is made, or may have been. Both
    /// happen even if whoever asked goes away meanwhile.
    async fn change<T: Send + 'static>(
        &self,
        kind: &'static str,
        name: &str,
        change: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (catalogue, name) = (self.clone(), name.to_owned());
        let changing = async move {
            let result = change.await;
            if result.is_ok() {
                catalogue.mended(kind, &name);
            }
            catalogue.has_changed(kind);
            result
        };
        tokio::spawn(changing).await.map_err(|_| StoreError::Closed)?
    }

    /// How often documents of these kinds have changed since the start.
    pub(crate) fn changes(&self, of: &[&'static str]) -> u64 {
        let kinds = self.kinds.lock();
        of.iter().filter_map(|kind| kinds.get(kind)).map(|kind| kind.changes).sum()
    }

    /// Forgets the view of a kind, because its documents have changed or may have.
    pub(crate) fn has_changed(&self, kind: &'static str) {
        let mut kinds = self.kinds.lock();
        let kind = kinds.entry(kind).or_default();
        kind.changes += 1;
        kind.view = None;
    }
}
