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
use crate::store::{Document, Store, StoreError};

const KIND: &str = "author";
/// The id of no key.
const NOBODY: &str = "nobody";

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

    /// Everything with an author.
    pub(crate) fn all(&self) -> Vec<(Authored, Arc<str>, Arc<str>)> {
        let authors = self.0.read();
        authors.iter().map(|((kind, name), by)| (*kind, name.clone(), by.clone())).collect()
    }

    /// What is to be stored when these are written by somebody.
    pub(crate) fn documents(&self, written: &[(Authored, Arc<str>)], by: &Author) -> Vec<Document> {
        let principal = match by {
            Author::Server => None,
            Author::Unsaid => Some(NOBODY.into()),
            Author::Principal(id) => Some(id.clone()),
            Author::Unchanged => return Vec::new(),
        };
        let differs = |(kind, name): &&(Authored, Arc<str>)| self.of(*kind, name) != principal;
        let document = |(kind, name): &(Authored, Arc<str>)| Document {
            kind: KIND.into(),
            name: format!("{}/{name}", kind.as_str()).into(),
            version: 0,
            text: serde_json::to_string(&Stored { principal: principal.clone() })
                .expect("a text serializes to JSON")
                .into(),
        };
        written.iter().filter(differs).map(document).collect()
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
