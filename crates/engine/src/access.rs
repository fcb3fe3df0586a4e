//! Keys of access control: kept in the store as hashes, and in memory as requests need them.
//!
//! A key is a document of the kind `access_key`. A revoked one stays, so that what it did can still
//! be told. All of them are in memory: a request is decided without a read of the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use kernel::Timestamp;
use kernel::access::{Grant, KeyHash, KeyText, Permission, Principal, Role};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::documents::Damaged;
use crate::store::{Document, Store, StoreError};

const KIND: &str = "access_key";
/// Keys at most, revoked ones included.
const COUNT_MAX: usize = 10_000;
/// Narrowed grants of one key at most.
const GRANTS_MAX: usize = 1000;
/// Bytes of the longest name.
const NAME_MAX: usize = 100;
/// Its name, for those who list keys.
const BOOTSTRAP: &str = "bootstrap";

/// A key as it is kept: everything but its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRecord {
    /// Names it; no secret.
    pub id: Arc<str>,
    /// What people call it.
    pub name: Arc<str>,
    /// The roles that it has on everything.
    pub roles: Vec<Role>,
    /// The roles that it has on some things.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// Recognizes it.
    hash: KeyHash,
    /// When it was made, and by whom.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Arc<str>,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Who revoked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<Arc<str>>,
    /// It makes the first administrator, and ends with that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bootstrap: bool,
}

impl KeyRecord {
    /// Whether it counts at this time.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Roles on everything, and roles on some things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// On everything.
    pub roles: Vec<Role>,
    /// On some things.
    pub grants: Vec<Grant>,
}

impl Rights {
    fn sorted(mut self) -> Self {
        self.roles.sort_unstable();
        self.roles.dedup();
        self.grants.sort_unstable();
        self.grants.dedup();
        self
    }

    fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.grants.is_empty()
    }
}

impl From<Vec<Role>> for Rights {
    fn from(roles: Vec<Role>) -> Self {
        Self { roles, grants: Vec::new() }
    }
}

/// A key in memory.
#[derive(Debug)]
struct Entry {
    record: KeyRecord,
    principal: Arc<Principal>,
    /// When it was used last, in milliseconds since 1970; 0 if not since the start.
    used_at: AtomicI64,
}

impl Entry {
    fn new(record: KeyRecord) -> Self {
        let id = format!("key:{}", record.id).into();
        let principal = Principal::with_grants(
            id,
            record.name.clone(),
            record.roles.clone(),
            record.grants.clone(),
        );
        Self { record, principal: Arc::new(principal), used_at: AtomicI64::new(0) }
    }

    fn is_bootstrap(&self) -> bool {
        self.record.bootstrap && self.record.revoked_at.is_none()
    }
}

/// Who a credential proves its sender to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proved {
    /// Somebody.
    Known(Arc<Principal>),
    /// Somebody whose key has run out.
    Expired,
    /// Nobody.
    Unknown,
}

/// A key that was just made.
#[derive(Debug)]
pub struct NewKey {
    /// What is kept of it.
    pub record: KeyRecord,
    /// The key itself, which nobody can be told again.
    pub text: Zeroizing<String>,
}

/// Why a key was not made or revoked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccessError {
    /// The name breaks the rule.
    #[error("a key has a name of 1 to {NAME_MAX} bytes without control characters")]
    Name,
    /// It would be allowed nothing.
    #[error("a key needs a role")]
    Roles,
    /// It would have too many grants.
    #[error(
        "a key has at most {GRANTS_MAX} grants on selectors; grant on a pattern such as 'hub=team-*'"
    )]
    Grants,
    /// It does not have what is to be taken from it.
    #[error("the key {id} does not have this: {missing}")]
    NotGranted {
        /// Which key.
        id: String,
        /// What it does not have.
        missing: String,
    },
    /// It would have ended already.
    #[error("a key cannot have expired when it is made")]
    Expired,
    /// There is no room.
    #[error("there are {COUNT_MAX} keys already, revoked ones included")]
    Full,
    /// There is no such key.
    #[error("there is no key with the id {0}")]
    Missing(String),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The keys.
pub struct Access {
    store: Arc<dyn Store>,
    keys: RwLock<HashMap<Arc<str>, Arc<Entry>>>,
    /// Whether one of them makes the first administrator and was not revoked.
    has_bootstrap: AtomicBool,
    /// Held from looking at the keys until one is written.
    writing: tokio::sync::Mutex<()>,
    /// Changes whenever a key may have lost something.
    revoked: watch::Sender<()>,
}

impl Access {
    /// Reads every key; one that is damaged counts no more.
    pub(crate) async fn open(store: Arc<dyn Store>, damaged: &Damaged) -> Result<Self, StoreError> {
        let documents = store.documents(KIND).await?;
        let records = documents.iter().filter_map(|it| damaged.read::<KeyRecord>(it));
        let keys: HashMap<_, _> =
            records.map(|it| (it.id.clone(), Arc::new(Entry::new(it)))).collect();
        Ok(Self {
            store,
            has_bootstrap: AtomicBool::new(keys.values().any(|it| it.is_bootstrap())),
            keys: RwLock::new(keys),
            writing: tokio::sync::Mutex::default(),
            revoked: watch::Sender::new(()),
        })
    }

    /// Who holds this key. Takes the same time for any secret.
    pub fn holder(&self, key: &KeyText<'_>, now: Timestamp) -> Proved {
        match self.entry(key.id()) {
            Some(entry) if entry.record.hash == key.hash() => proved(&entry, now),
            _ => Proved::Unknown,
        }
    }

    /// Who the key of this id stands for, for whoever has proved it before.
    pub fn principal(&self, id: &str, now: Timestamp) -> Proved {
        self.entry(id).map_or(Proved::Unknown, |entry| proved(&entry, now))
    }

    /// What the key of this id may do while it counts, be it revoked or not; for people who look.
    pub fn inspect(&self, id: &str) -> Option<Arc<Principal>> {
        self.entry(id).map(|entry| entry.principal.clone())
    }

    fn entry(&self, id: &str) -> Option<Arc<Entry>> {
        self.keys.read().get(id).cloned()
    }

    /// Every key, oldest first, with when it was used last since the start.
    pub fn keys(&self) -> Vec<(KeyRecord, Option<Timestamp>)> {
        let used = |entry: &Entry| match entry.used_at.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Timestamp::from_millis(millis)),
        };
        let entries = self.keys.read();
        let mut keys: Vec<_> =
            entries.values().map(|entry| (entry.record.clone(), used(entry))).collect();
        keys.sort_by(|(one, _), (other, _)| {
            (one.created_at, &one.id).cmp(&(other.created_at, &other.id))
        });
        keys
    }

    /// Changes whenever somebody may have lost a permission: what they hold open must end.
    pub fn revoked(&self) -> watch::Receiver<()> {
        self.revoked.subscribe()
    }

    /// Makes a key.
    ///
    /// # Errors
    /// The name, the roles or the end break a bound; the store's.
    pub async fn create_key(
        &self,
        name: &str,
        rights: impl Into<Rights>,
        expires_at: Option<Timestamp>,
        by: &str,
        now: Timestamp,
    ) -> Result<NewKey, AccessError> {
        let rights = rights.into().sorted();
        if name.trim().is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
            return Err(AccessError::Name);
        }
        if rights.is_empty() {
            return Err(AccessError::Roles);
        }
        if rights.grants.len() > GRANTS_MAX {
            return Err(AccessError::Grants);
        }
        if expires_at.is_some_and(|end| end <= now) {
            return Err(AccessError::Expired);
        }
        let _writing = self.writing.lock().await;
        if self.keys.read().len() >= COUNT_MAX {
            return Err(AccessError::Full);
        }
        self.make(name, rights, expires_at, by, now, false).await
    }

    async fn make(
        &self,
        name: &str,
        rights: Rights,
        expires_at: Option<Timestamp>,
        by: &str,
        now: Timestamp,
        bootstrap: bool,
    ) -> Result<NewKey, AccessError> {
        let text = loop {
            let text = Zeroizing::new(KeyText::write(random(), random()));
            let id = KeyText::parse(&text).expect("it was just written").id().to_owned();
            if !self.keys.read().contains_key(&*id) {
                break text;
            }
        };
        let key = KeyText::parse(&text).expect("it was just written");
        let record = KeyRecord {
            id: key.id().into(),
            name: name.into(),
            roles: rights.roles,
            grants: rights.grants,
            hash: key.hash(),
            created_at: now,
            created_by: by.into(),
            expires_at,
            revoked_at: None,
            revoked_by: None,
            bootstrap,
        };
        self.save(record.clone()).await?;
        Ok(NewKey { record, text })
    }

    /// Revokes a key: the next request with it, or with a token that was made with it, is refused.
    /// One that is revoked already stays as it is.
    ///
    /// # Errors
    /// There is no such key; the store's.
    pub async fn revoke_key(
        &self,
        id: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<KeyRecord, AccessError> {
        let _writing = self.writing.lock().await;
        let missing = || AccessError::Missing(id.chars().take(NAME_MAX).collect());
        let mut record = self.entry(id).ok_or_else(missing)?.record.clone();
        if record.revoked_at.is_some() {
            return Ok(record);
        }
        record.revoked_at = Some(now);
        record.revoked_by = Some(by.into());
        self.save(record.clone()).await?;
        Ok(record)
    }

    /// Grants a key more; what it has already is no error.
    ///
    /// # Errors
    /// There is no such key, it was revoked, or it would have too many grants; the store's.
    pub async fn grant(&self, id: &str, more: Rights) -> Result<KeyRecord, AccessError> {
        self.change_rights(id, |mut rights| {
            rights.roles.extend(more.roles);
            rights.grants.extend(more.grants);
            Ok(rights.sorted())
        })
        .await
    }

    /// Takes rights from a key; the next request with it is decided without them. All of them, or
    /// nothing.
    ///
    /// # Errors
    /// There is no such key, it was revoked, or it does not have one of them; the store's.
    pub async fn withdraw(&self, id: &str, less: Rights) -> Result<KeyRecord, AccessError> {
        self.change_rights(id, |mut rights| {
            let missing = |missing: String| Err(AccessError::NotGranted { id: id.into(), missing });
            if let Some(role) = less.roles.iter().find(|it| !rights.roles.contains(it)) {
                return missing(format!("{role} on everything"));
            }
            if let Some(grant) = less.grants.iter().find(|it| !rights.grants.contains(it)) {
                return missing(grant.to_string());
            }
            rights.roles.retain(|it| !less.roles.contains(it));
            rights.grants.retain(|it| !less.grants.contains(it));
            Ok(rights)
        })
        .await
    }

    async fn change_rights(
        &self,
        id: &str,
        change: impl FnOnce(Rights) -> Result<Rights, AccessError>,
    ) -> Result<KeyRecord, AccessError> {
        let _writing = self.writing.lock().await;
        let missing = || AccessError::Missing(id.chars().take(NAME_MAX).collect());
        let mut record = self.entry(id).ok_or_else(missing)?.record.clone();
        if record.revoked_at.is_some() {
            return Err(missing());
        }
        let former = Rights { roles: record.roles.clone(), grants: record.grants.clone() };
        let rights = change(former)?;
        if rights.grants.len() > GRANTS_MAX {
            return Err(AccessError::Grants);
        }
        (record.roles, record.grants) = (rights.roles, rights.grants);
        self.save(record.clone()).await?;
        Ok(record)
    }

    /// The key that makes the first administrator; `None` while there is an administrator.
    ///
    /// `found` is what lies where the administrator will look for it; if that is no key that counts,
    /// another takes its place.
    ///
    /// # Errors
    /// The store's.
    pub async fn bootstrap_key(
        &self,
        found: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<NewKey>, AccessError> {
        let _writing = self.writing.lock().await;
        let valid: Vec<KeyRecord> = {
            let keys = self.keys.read();
            let admins = keys.values().filter(|it| it.principal.may(Permission::Admin));
            admins.filter(|it| it.record.is_valid(now)).map(|it| it.record.clone()).collect()
        };
        if valid.iter().any(|it| !it.bootstrap) {
            return Ok(None);
        }
        let found = found.and_then(KeyText::parse);
        if found.is_some_and(|found| matches!(self.holder(&found, now), Proved::Known(_))) {
            return Ok(None);
        }
        for mut record in valid {
            record.revoked_at = Some(now);
            record.revoked_by = Some("server".into());
            self.save(record).await?;
        }
        self.make(BOOTSTRAP, vec![Role::Admin].into(), None, "server", now, true).await.map(Some)
    }

    /// Whether a key to make the first administrator with still counts.
    pub fn has_bootstrap(&self) -> bool {
        self.has_bootstrap.load(Ordering::Relaxed)
    }

    /// Whether the key of this id is such a one.
    pub fn is_bootstrap(&self, id: &str) -> bool {
        self.entry(id).is_some_and(|entry| entry.is_bootstrap())
    }

    /// Ends it, because there is an administrator now.
    ///
    /// # Errors
    /// The store's.
    pub async fn end_bootstrap(&self, by: &str, now: Timestamp) -> Result<(), AccessError> {
        let ids: Vec<Arc<str>> = {
            let keys = self.keys.read();
            let open = keys.values().filter(|it| it.record.bootstrap && it.record.is_valid(now));
            open.map(|it| it.record.id.clone()).collect()
        };
        for id in ids {
            self.revoke_key(&id, by, now).await?;
        }
        Ok(())
    }

    /// Writes a key to the store, and then lets it count.
    async fn save(&self, record: KeyRecord) -> Result<(), AccessError> {
        let text = serde_json::to_string(&record).expect("a key serializes to JSON");
        let document =
            Document { kind: KIND.into(), name: record.id.clone(), version: 0, text: text.into() };
        self.store.put_document(document).await?;
        self.take(record);
        Ok(())
    }

    fn take(&self, record: KeyRecord) {
        let entry = Arc::new(Entry::new(record));
        let mut keys = self.keys.write();
        if let Some(former) = keys.insert(entry.record.id.clone(), entry.clone()) {
            entry.used_at.store(former.used_at.load(Ordering::Relaxed), Ordering::Relaxed);
            self.revoked.send_replace(());
        }
        let has_bootstrap = keys.values().any(|it| it.is_bootstrap());
        self.has_bootstrap.store(has_bootstrap, Ordering::Relaxed);
    }
}

fn proved(entry: &Entry, now: Timestamp) -> Proved {
    if entry.record.revoked_at.is_some() {
        return Proved::Unknown;
    }
    if !entry.record.is_valid(now) {
        return Proved::Expired;
    }
    entry.used_at.store(now.millis(), Ordering::Relaxed);
    Proved::Known(entry.principal.clone())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
