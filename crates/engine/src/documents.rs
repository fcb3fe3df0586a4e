//! Reads stored documents; one that cannot be read is set aside and reported, and never keeps the
//! server from starting.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::store::Document;

/// A stored document that cannot be read. It stays in the store until it is replaced or deleted.
#[derive(Clone, Debug)]
pub struct DamagedDocument {
    /// What it should be: `workflow`, `schema`, `monitors`, …
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its version; 0 where there are none.
    pub version: u32,
    /// Why it cannot be read.
    pub reason: String,
}

/// What was set aside, at the start or when it was read first.
#[derive(Default)]
pub(crate) struct Damaged {
    documents: Mutex<Vec<DamagedDocument>>,
    changed: watch::Sender<()>,
}

impl Damaged {
    /// Reads a document; `None` if it is damaged, which is logged and remembered.
    pub(crate) fn read<T: DeserializeOwned>(&self, document: &Document) -> Option<T> {
        match serde_json::from_str(&document.text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.set_aside(document, &error.to_string());
                None
            }
        }
    }

    /// Remembers a document that cannot be used.
    pub(crate) fn set_aside(&self, document: &Document, reason: &str) {
        let Document { kind, name, version, .. } = document;
        let mut documents = self.documents.lock();
        let is_it =
            |it: &&mut DamagedDocument| (&it.kind, &it.name, it.version) == (kind, name, *version);
        // Views of documents are made anew whenever one of their kind changes.
        match documents.iter_mut().find(is_it) {
            Some(known) if known.reason == reason => return,
            Some(known) => reason.clone_into(&mut known.reason),
            None => documents.push(DamagedDocument {
                kind: kind.clone(),
                name: name.clone(),
                version: *version,
                reason: reason.to_owned(),
            }),
        }
        drop(documents);
        tracing::error!(
            %kind, %name, version, %reason,
            "a stored document is damaged and not in force; save it again or delete it"
        );
        self.changed.send_replace(());
    }

    /// Forgets a document that was replaced or deleted.
    pub(crate) fn mended(&self, kind: &str, name: &str, version: u32) {
        let mut documents = self.documents.lock();
        let before = documents.len();
        documents.retain(|damaged| {
            (&*damaged.kind, &*damaged.name, damaged.version) != (kind, name, version)
        });
        let is_less = documents.len() < before;
        drop(documents);
        if is_less {
            self.changed.send_replace(());
        }
    }

    /// The names of what was set aside and is still there, of one kind.
    pub(crate) fn names(&self, kind: &str) -> Vec<Arc<str>> {
        let damaged = self.documents.lock();
        let of_kind = damaged.iter().filter(|damaged| *damaged.kind == *kind);
        of_kind.map(|damaged| damaged.name.clone()).collect()
    }

    pub(crate) fn list(&self) -> Vec<DamagedDocument> {
        self.documents.lock().clone()
    }

    /// Changes whenever a document is set aside or mended.
    pub(crate) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
