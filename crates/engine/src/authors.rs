//! Who wrote last what acts by itself: schedules, event handlers, triggers and webhooks.
//!
//! Such a document acts as its author. Who that is, is stored beside the document and with the same
//! commit, never in it: what is in a document is what its author says. What is not listed here was
//! written by the server itself, out of files, or before anybody was asked who they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::documents::Damaged;
use crate::engine::Engine;
use crate::store::{Document, Store, StoreError};

const KIND: &str = "author";
/// The id of no key.
const NOBODY: &str = "nobody";

/// Nor of this one: what was deleted acts as it, where some of what it did is still on its way.
const DELETED: &str = "deleted";

/// A kind of document that acts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Authored {
    /// Starts runs by the clock.
    Schedule,
    /// Acts on messages.
    EventHandler,
    /// Starts runs at a method and a path.
    Trigger,
    /// Starts runs with payloads of other systems.
    Webhook,
}

impl Authored {
    const ALL: [Self; 4] = [Self::Schedule, Self::EventHandler, Self::Trigger, Self::Webhook];

    /// Its name for people, and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::EventHandler => "event handler",
            Self::Trigger => "trigger",
            Self::Webhook => "webhook",
        }
    }
}

/// Who makes a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Author {
    /// Nobody has said. With access control what is written does nothing then: to forget the author
    /// lends nobody any rights.
    #[default]
    Unsaid,
    /// The server itself, or somebody who was not asked who they are.
    Server,
    /// This principal, by its id.
    Principal(Arc<str>),
    /// Whoever it was before: nothing that acts is different.
    Unchanged,
}

impl From<Option<Arc<str>>> for Author {
    fn from(principal: Option<Arc<str>>) -> Self {
        principal.map_or(Self::Server, Self::Principal)
    }
}

type ByDocument = BTreeMap<(Authored, Arc<str>), Arc<str>>;

/// Everybody who wrote something that acts by itself.
pub(crate) struct Authors(RwLock<ByDocument>);

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    principal: Option<Arc<str>>,
}

impl Authors {
    /// Reads them all.
    pub(crate) async fn open(store: &dyn Store, damaged: &Damaged) -> Result<Self, StoreError> {
        let mut authors = ByDocument::new();
        for document in store.documents(KIND).await? {
            let Some((word, name)) = document.name.split_once('/') else { continue };
            let Some(kind) = Authored::ALL.into_iter().find(|it| it.as_str() == word) else {
                continue;
            };
            let Some(stored) = damaged.read::<Stored>(&document) else { continue };
            if let Some(principal) = stored.principal {
                authors.insert((kind, name.into()), principal);
            }
        }
        Ok(Self(RwLock::new(authors)))
    }

    /// Who wrote a document; `None` for the server itself.
    pub(crate) fn of(&self, kind: Authored, name: &str) -> Option<Arc<str>> {
        self.0.read().get(&(kind, name.into())).cloned()
    }

    /// Everything with an author; not what was deleted.
    pub(crate) fn all(&self) -> Vec<(Authored, Arc<str>, Arc<str>)> {
        let authors = self.0.read();
        authors
            .iter()
            .filter(|(_, by)| &***by != DELETED)
            .map(|((kind, name), by)| (*kind, name.clone(), by.clone()))
            .collect()
    }

    /// What is to be stored when these are written by somebody.
    pub(crate) fn documents(&self, written: &[(Authored, Arc<str>)], by: &Author) -> Vec<Document> {
        let principal = match by {
            Author::Server => None,
            Author::Unsaid => Some(NOBODY.into()),
            Author::Principal(id) => Some(id.clone()),
            Author::Unchanged => return Vec::new(),
        };
        // Where nobody counts as the author, something else may be stored.
        let differs = |(kind, name): &&(Authored, Arc<str>)| {
            *by == Author::Unsaid || self.of(*kind, name) != principal
        };
        let document =
            |(kind, name): &(Authored, Arc<str>)| document(*kind, name, principal.clone());
        written.iter().filter(differs).map(document).collect()
    }

    /// This was deleted. Whatever it still does, it does as nobody. Answers whether it had an author.
    fn delete(&self, kind: Authored, name: &str) -> bool {
        let mut authors = self.0.write();
        let Some(author) = authors.get_mut(&(kind, name.into())) else { return false };
        *author = DELETED.into();
        true
    }

    /// These were written by somebody, and it may be stored or not.
    pub(crate) fn doubt(&self, written: Vec<(Authored, Arc<str>)>, by: &Author) {
        if *by != Author::Unchanged {
            self.take(written, &Author::Unsaid);
        }
    }

    /// These were written by somebody, and it is stored.
    pub(crate) fn take(&self, written: Vec<(Authored, Arc<str>)>, by: &Author) {
        let mut authors = self.0.write();
        for place in written {
            match by {
                Author::Server => _ = authors.remove(&place),
                Author::Unsaid => _ = authors.insert(place, NOBODY.into()),
                Author::Principal(id) => _ = authors.insert(place, id.clone()),
                Author::Unchanged => {}
            }
        }
    }
}

impl Engine {
    /// Forgets who wrote something that was deleted.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_author(&self, kind: Authored, name: &str) -> Result<(), StoreError> {
        let store = &self.inner.store;
        if !self.inner.authors.delete(kind, name) {
            return Ok(());
        }
        // Starts of a deleted schedule may be on their way, also beyond the end of this process. They
        // must not become the server's own.
        if kind == Authored::Schedule {
            return store.put_document(document(kind, name, Some(DELETED.into()))).await;
        }
        store.delete_document(KIND, &key(kind, name), 0).await.map(drop)
    }
}

fn key(kind: Authored, name: &str) -> String {
    format!("{}/{name}", kind.as_str())
}

fn document(kind: Authored, name: &str, principal: Option<Arc<str>>) -> Document {
    let text = serde_json::to_string(&Stored { principal }).expect("a text serializes to JSON");
    Document { kind: KIND.into(), name: key(kind, name).into(), version: 0, text: text.into() }
}
