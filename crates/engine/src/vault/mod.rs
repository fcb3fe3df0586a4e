//! The vault: named secrets and environment values, kept in the store, secrets sealed.
//!
//! Two sources answer for a name. What the process was started with, or reads elsewhere as its
//! configuration says ([`Values`], read-only), wins; what users have written comes after it. Writing a name that the first source holds is refused,
//! so that no write is silently without effect.
//!
//! Former values of a secret are remembered, sealed as well: a task that was handed the value before
//! it changed may still report it, and it is masked then.

mod guard;
mod mask;
mod reference;
mod seal;

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::{Json, Timestamp};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub use guard::RunMask;
pub use mask::LENGTH_MIN as MASKED_LENGTH_MIN;
use seal::wiped;
pub use seal::{BadKey, Key};

use crate::clock::Clock;
use crate::documents::Damaged;
use crate::parts::Values;
use crate::store::{Document, Store, StoreError};

/// What a name may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    /// Only for the hands of whoever does a task.
    Secrets,
    /// Values that anybody may see.
    Environment,
}

impl Shelf {
    fn kind(self) -> &'static str {
        match self {
            Self::Secrets => "secret",
            Self::Environment => "environment",
        }
    }
}

/// A label of a stored value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// What is said.
    pub key: String,
    /// What of it.
    pub value: String,
}

/// A name on a shelf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: String,
    /// It is one of the process's own values.
    pub read_only: bool,
    /// Its labels.
    pub tags: Vec<Tag>,
    /// When its value was written; `None` if that is not known: it is the process's own, or was written by a
    /// release that did not keep it.
    pub put_at: Option<Timestamp>,
}

/// Why the vault did not do as asked. No message repeats a value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VaultError {
    /// The name breaks the rule.
    #[error("a {kind} is named with letters, digits, _ and - (at most {NAME_MAX}), not '{name}'")]
    Name {
        /// `secret` or `environment`.
        kind: &'static str,
        /// The name, cut.
        name: String,
    },
    /// The value is empty or too large.
    #[error("the value of the {kind} {name} must have 1 to {VALUE_MAX} bytes, not {length}")]
    Length {
        /// `secret` or `environment`.
        kind: &'static str,
        /// The name.
        name: String,
        /// Bytes of the value.
        length: usize,
    },
    /// The labels are too many or too long.
    #[error("a {0} has at most {TAGS_MAX} tags with keys and values of at most {NAME_MAX} bytes")]
    Tags(&'static str),
    /// The shelf is full.
    #[error("there are {COUNT_MAX} values of the kind {0} already; delete some first")]
    Full(&'static str),
    /// The name belongs to the process.
    #[error(
        "the {kind} {name} is set by the configuration or the environment of the server, which win \
         over what is stored"
    )]
    ReadOnly {
        /// `secret` or `environment`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// There is nothing of this name.
    #[error("there is no {kind} of the name {name}")]
    Missing {
        /// `secret` or `environment`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Bytes of the longest name, tag key and tag value.
pub const NAME_MAX: usize = 255;
/// Bytes of the longest value.
pub const VALUE_MAX: usize = 64 << 10;
/// Labels of one value.
pub const TAGS_MAX: usize = 100;
/// Values on one shelf.
pub const COUNT_MAX: usize = 10_000;
/// Former values that are remembered.
const FORMER_MAX: usize = 3;

/// Named secrets and environment values.
pub struct Vault {
    store: Arc<dyn Store>,
    damaged: Arc<Damaged>,
    clock: Arc<dyn Clock>,
    outside: Arc<dyn Values>,
    key: Key,
    secrets: RwLock<Kept>,
    environment: RwLock<Kept>,
    /// One write at a time, so that memory and store change in the same order.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Kept {
    entries: BTreeMap<String, Entry>,
    /// Values of secrets that were deleted while this process runs.
    gone: BTreeMap<String, Vec<Zeroizing<String>>>,
}

/// What a name stands for; overwritten when it is forgotten.
#[derive(Clone, Default)]
struct Entry {
    value: Zeroizing<String>,
    /// Newest first.
    former: Vec<Zeroizing<String>>,
    tags: Vec<Tag>,
    put_at: Option<Timestamp>,
}

// Values are overwritten where they are forgotten, and whoever adds to this has to say so here.
const _: fn(&Kept, &Entry) = |kept, entry| {
    let Kept { entries: _, gone } = kept;
    gone.values().for_each(wiped);
    let Entry { value, former, tags: _, put_at: _ } = entry;
    wiped(value);
    wiped(former);
};

/// An entry as the store keeps it.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Tag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    put_at: Option<Timestamp>,
}

impl Vault {
    /// Reads what is kept.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        damaged: Arc<Damaged>,
        clock: Arc<dyn Clock>,
        outside: Arc<dyn Values>,
        key: Key,
    ) -> Result<Self, StoreError> {
        let vault = Self {
            key,
            store,
            damaged,
            clock,
            outside,
            secrets: RwLock::default(),
            environment: RwLock::default(),
            writing: tokio::sync::Mutex::default(),
        };
        for shelf in [Shelf::Secrets, Shelf::Environment] {
            for document in vault.store.documents(shelf.kind()).await? {
                // A secret that cannot be read is none: a task that needs it says so.
                let entry = match vault.read(shelf, &document) {
                    Ok(entry) => entry,
                    Err(reason) => {
                        vault.damaged.set_aside(&document, &reason);
                        continue;
                    }
                };
                if vault.is_outside(shelf, &document.name) {
                    let (kind, name) = (&document.kind, &document.name);
                    tracing::warn!(
                        "the configuration or the environment of the server hides the stored {kind} {name}"
                    );
                }
                vault.kept(shelf).write().entries.insert(document.name.to_string(), entry);
            }
        }
        Ok(vault)
    }

    /// A key for another purpose, derived from the store's.
    pub fn derive_key(&self, purpose: &str) -> Zeroizing<[u8; Key::LENGTH]> {
        self.key.derive(purpose)
    }

    /// The value of a name. A secret is only for the hands of whoever does a task.
    pub fn get(&self, shelf: Shelf, name: &str) -> Option<String> {
        let value = |entry: &Entry| String::clone(&entry.value);
        let kept = || self.kept(shelf).read().entries.get(name).map(value);
        // Never the stored one in the place of one that cannot be read now.
        let stored = || if self.lacks(shelf, name) { None } else { kept() };
        self.outside(shelf, name).or_else(stored)
    }

    /// Every name, in order.
    pub fn list(&self, shelf: Shelf) -> Vec<Listed> {
        let outside = match shelf {
            Shelf::Secrets => self.outside.secret_names(),
            Shelf::Environment => self.outside.environment_names(),
        };
        let kept = self.kept(shelf).read();
        let listed = |(name, entry): (&String, &Entry)| Listed {
            name: name.clone(),
            read_only: false,
            tags: entry.tags.clone(),
            put_at: entry.put_at,
        };
        let mut all: BTreeMap<&str, Listed> =
            kept.entries.iter().map(|it| (&**it.0, listed(it))).collect();
        for name in &outside {
            let own = all.entry(name).or_insert_with(|| listed((name, &Entry::default())));
            (own.read_only, own.put_at) = (true, None);
        }
        all.into_values().collect()
    }

    /// Keeps a value under a name, in the place of the one that was there.
    ///
    /// # Errors
    /// The name or the value break a bound, the name is read-only; the store's.
    pub async fn put(&self, shelf: Shelf, name: &str, value: &str) -> Result<(), VaultError> {
        let kind = shelf.kind();
        check_name(shelf, name)?;
        if value.is_empty() || value.len() > VALUE_MAX {
            return Err(VaultError::Length { kind, name: name.to_owned(), length: value.len() });
        }
        self.change(shelf, name, |entry| {
            let mut entry = entry.unwrap_or_default();
            let old = std::mem::replace(&mut entry.value, value.to_owned().into());
            entry.put_at = Some(self.clock.now());
            if shelf == Shelf::Secrets && !old.is_empty() && *old != value {
                entry.former.insert(0, old);
                entry.former.truncate(FORMER_MAX);
            }
            Ok(entry)
        })
        .await
    }

    /// Forgets a name.
    ///
    /// # Errors
    /// There is no such name, it is read-only; the store's.
    pub async fn delete(&self, shelf: Shelf, name: &str) -> Result<(), VaultError> {
        let _writing = self.writing.lock().await;
        let missing = || VaultError::Missing { kind: shelf.kind(), name: cut(name) };
        let is_damaged = self.damaged.names(shelf.kind()).iter().any(|it| **it == *name);
        if !is_damaged && !self.kept(shelf).read().entries.contains_key(name) {
            self.check_writable(shelf, name)?;
            return Err(missing());
        }
        // The store first: what it still holds must not be forgotten.
        self.store.delete_document(shelf.kind(), name, 0).await?;
        self.damaged.mended(shelf.kind(), name, 0);
        let mut kept = self.kept(shelf).write();
        if let Some(entry) = kept.entries.remove(name)
            && shelf == Shelf::Secrets
        {
            let gone = kept.gone.entry(name.to_owned()).or_default();
            gone.insert(0, entry.value);
            gone.extend(entry.former);
            gone.truncate(FORMER_MAX);
        }
        Ok(())
    }

    /// The labels of a name.
    ///
    /// # Errors
    /// There is no such name.
    pub fn tags(&self, shelf: Shelf, name: &str) -> Result<Vec<Tag>, VaultError> {
        if let Some(entry) = self.kept(shelf).read().entries.get(name) {
            return Ok(entry.tags.clone());
        }
        if self.is_outside(shelf, name) {
            return Ok(Vec::new());
        }
        Err(VaultError::Missing { kind: shelf.kind(), name: cut(name) })
    }

    /// Changes the labels of a name.
    ///
    /// # Errors
    /// There is no such name, it is read-only, the labels break a bound; the store's.
    pub async fn set_tags(
        &self,
        shelf: Shelf,
        name: &str,
        change: impl FnOnce(&mut Vec<Tag>),
    ) -> Result<(), VaultError> {
        self.change(shelf, name, |entry| {
            let missing = || VaultError::Missing { kind: shelf.kind(), name: cut(name) };
            let mut entry = entry.ok_or_else(missing)?;
            change(&mut entry.tags);
            let fits = |tag: &Tag| tag.key.len() <= NAME_MAX && tag.value.len() <= NAME_MAX;
            if entry.tags.len() > TAGS_MAX || !entry.tags.iter().all(fits) {
                return Err(VaultError::Tags(shelf.kind()));
            }
            Ok(entry)
        })
        .await
    }

    async fn change(
        &self,
        shelf: Shelf,
        name: &str,
        change: impl FnOnce(Option<Entry>) -> Result<Entry, VaultError>,
    ) -> Result<(), VaultError> {
        let _writing = self.writing.lock().await;
        self.check_writable(shelf, name)?;
        let (entry, count) = {
            let kept = self.kept(shelf).read();
            (kept.entries.get(name).cloned(), kept.entries.len())
        };
        if entry.is_none() && count >= COUNT_MAX {
            return Err(VaultError::Full(shelf.kind()));
        }
        let entry = change(entry)?;
        self.store.put_document(self.write(shelf, name, &entry)).await?;
        self.damaged.mended(shelf.kind(), name, 0);
        self.kept(shelf).write().entries.insert(name.to_owned(), entry);
        Ok(())
    }

    fn check_writable(&self, shelf: Shelf, name: &str) -> Result<(), VaultError> {
        if self.is_outside(shelf, name) {
            return Err(VaultError::ReadOnly { kind: shelf.kind(), name: name.to_owned() });
        }
        Ok(())
    }

    /// Every value that a secret has or is known to have had, the present one first.
    fn values_of(&self, name: &str) -> Vec<String> {
        let kept = self.secrets.read();
        let entry = kept.entries.get(name);
        let stored = entry.into_iter().flat_map(|e| std::iter::once(&e.value).chain(&e.former));
        let gone = kept.gone.get(name).into_iter().flatten();
        let outside = self.outside(Shelf::Secrets, name);
        let before = self.outside.former_secrets(name);
        let others = before.iter().chain(stored).chain(gone);
        outside.into_iter().chain(others.map(|value| String::clone(value))).collect()
    }

    fn kept(&self, shelf: Shelf) -> &RwLock<Kept> {
        match shelf {
            Shelf::Secrets => &self.secrets,
            Shelf::Environment => &self.environment,
        }
    }

    fn outside(&self, shelf: Shelf, name: &str) -> Option<String> {
        match shelf {
            Shelf::Secrets => self.outside.secret(name),
            Shelf::Environment => self.outside.environment(name),
        }
    }

    /// Whether a name belongs to the process, even if there is no value for it now.
    fn is_outside(&self, shelf: Shelf, name: &str) -> bool {
        self.outside(shelf, name).is_some() || self.lacks(shelf, name)
    }

    /// Whether a name belongs to the process, and there is no value for it now.
    fn lacks(&self, shelf: Shelf, name: &str) -> bool {
        shelf == Shelf::Secrets && self.outside.lacking(name).is_some()
    }

    fn write(&self, shelf: Shelf, name: &str, entry: &Entry) -> Document {
        let purpose = purpose(shelf, name);
        let seal = |value: &Zeroizing<String>| self.key.seal(&purpose, value);
        let (value, sealed) = match shelf {
            Shelf::Secrets => (None, Some(seal(&entry.value))),
            Shelf::Environment => (Some(String::clone(&entry.value)), None),
        };
        let former = entry.former.iter().map(seal).collect();
        let (tags, put_at) = (entry.tags.clone(), entry.put_at);
        let written = Written { value, sealed, former, tags, put_at };
        document(shelf.kind(), name, &written)
    }

    fn read(&self, shelf: Shelf, document: &Document) -> Result<Entry, String> {
        let written: Written =
            serde_json::from_str(&document.text).map_err(|error| error.to_string())?;
        let purpose = purpose(shelf, &document.name);
        let open = |sealed: &String| {
            let opened = self.key.open(&purpose, sealed).map(Zeroizing::new);
            opened.ok_or_else(|| "it was sealed with another key".to_owned())
        };
        let value = match (shelf, &written.sealed, written.value) {
            (Shelf::Secrets, Some(sealed), _) => open(sealed)?,
            (Shelf::Environment, _, Some(value)) => value.into(),
            _ => return Err("it has no value".to_owned()),
        };
        let former = written.former.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Entry { value, former, tags: written.tags, put_at: written.put_at })
    }
}

/// Whether a store was used with a key before: then only that key will do.
///
/// # Errors
/// The store's.
pub async fn has_key(store: &dyn Store) -> Result<bool, StoreError> {
    Ok(!store.documents(PROOF).await?.is_empty())
}

/// Checks that a key is the one that a store was used with; a store that was used with none takes
/// it for good.
///
/// # Errors
/// [`WrongKey::Other`] if it is another; nothing is changed then. The store's.
pub async fn prove(store: &dyn Store, key: &Key) -> Result<(), WrongKey> {
    let Some(document) = store.documents(PROOF).await?.into_iter().next() else {
        let proof = json!({ "key": key.id(), "proof": key.seal(PROOF, PROOF) });
        return Ok(store.put_document(document(PROOF, "key", &proof)).await?);
    };
    let proof: Value = serde_json::from_str(&document.text).unwrap_or_default();
    let opened = proof["proof"].as_str().and_then(|proof| key.open(PROOF, proof));
    if opened.as_deref() == Some(PROOF) {
        return Ok(());
    }
    let needed = proof["key"].as_str().unwrap_or("unknown").to_owned();
    Err(WrongKey::Other { given: key.id(), needed })
}

/// A key cannot be used with a store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WrongKey {
    /// The store was used with another one.
    #[error("the secret key (id {given}) is not the one that the store was sealed with ({needed})")]
    Other {
        /// The id of the key that was given.
        given: String,
        /// The id of the key that is needed.
        needed: String,
    },
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The kind of the document that proves which key a store was used with.
const PROOF: &str = "vault";

fn purpose(shelf: Shelf, name: &str) -> String {
    format!("{}/{name}", shelf.kind())
}

fn document(kind: &str, name: &str, value: &impl Serialize) -> Document {
    let text = Json::of(value).text().into();
    Document { kind: kind.into(), name: name.into(), version: 0, text }
}

/// Whether a secret or a value of the environment can have this name.
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(allowed)
}

fn check_name(shelf: Shelf, name: &str) -> Result<(), VaultError> {
    if !is_name(name) {
        return Err(VaultError::Name { kind: shelf.kind(), name: cut(name) });
    }
    Ok(())
}

/// A name as it is repeated in messages.
fn cut(name: &str) -> String {
    name.chars().take(NAME_MAX).collect()
}
