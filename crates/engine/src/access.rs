//! Keys, users and groups of access control: in the store as documents, and in memory as requests need
//! them.
//!
//! A key is a document of the kind `access_key`, without its secret. A revoked one stays, so that what it
//! did can still be told. Users and groups are of the kinds `access_user` and `access_group`. All of them
//! are in memory: a request is decided without a read of the store.

mod arrival;
mod keys;
mod password;
mod people;
mod record;
mod state;
mod upsert;
mod writing;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel::Timestamp;
use kernel::access::{Grant, KeyText, Principal, Role};
use serde::Serialize;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::documents::Damaged;
use crate::store::{Document, Store, StoreError};
use keys::{Key, PREFIX};
use state::State;
use writing::{Change, Core, Writing};

pub use arrival::Arrival;
pub use password::LENGTH_MAX as PASSWORD_MAX;
pub use people::NewUser;
pub use record::{GroupRecord, Identity, KeyRecord, Rights, UserRecord};
pub use upsert::Described;

const KEYS: &str = "access_key";
const USERS: &str = "access_user";
const GROUPS: &str = "access_group";
/// Keys at most, revoked ones included.
const COUNT_MAX: usize = 10_000;
/// Keys that are read at once.
const READ_AT_ONCE: usize = 250;
/// Narrowed grants of one key, user or group at most.
const GRANTS_MAX: usize = 1000;
/// Bytes of the longest name of a key.
const NAME_MAX: usize = 100;
/// Its name, for those who list keys.
const BOOTSTRAP: &str = "bootstrap";

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

/// Why something about access control was not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccessError {
    /// The name of a key breaks the rule.
    #[error("a key has a name of 1 to {NAME_MAX} bytes without control characters")]
    Name,
    /// The name of a user or a group breaks the rule.
    #[error(
        "'{0}' is no name of a {1}: 1 to 100 letters, digits and . _ @ + -, beginning with a letter or a \
         digit, and not 12 hexadecimal digits"
    )]
    PersonName(String, &'static str),
    /// What people call a user, or what a group is for, breaks the rule.
    #[error("a display name and a description have at most 200 bytes, without control characters")]
    Label,
    /// Only people have passwords.
    #[error("'{0}' is an application: it comes in by its keys, and has no password")]
    Application(String),
    /// Somebody has the name.
    #[error("there is a {1} '{0}' already")]
    Taken(String, &'static str),
    /// The password breaks the rule.
    #[error("a password has {min} characters to {max} bytes, and is not the name", min = password::LENGTH_MIN, max = password::LENGTH_MAX)]
    Password,
    /// The user who signs in is disabled.
    #[error("the user '{0}' is disabled")]
    Disabled(String),
    /// Somebody came in by a provider who is no user, and none is to be created.
    #[error("there is no user '{0}', and this login creates none")]
    NotAdmitted(String),
    /// Whoever changes their own password has lost the right to meanwhile.
    #[error("the user was disabled or given another password meanwhile")]
    Superseded,
    /// It would be allowed nothing.
    #[error("a key needs a role")]
    Roles,
    /// A key of a user has nothing of its own.
    #[error("a key of a user has what the user has, and takes no roles of its own")]
    OfUser,
    /// It would have too many grants.
    #[error(
        "a key, a user or a group has at most {GRANTS_MAX} grants on selectors; grant on a pattern such as \
         'hub=team-*'"
    )]
    Grants,
    /// It does not have what is to be taken from it.
    #[error("{who} does not have this: {missing}")]
    NotGranted {
        /// Which key, user or group.
        who: String,
        /// What it does not have.
        missing: String,
    },
    /// It would have ended already.
    #[error("a key cannot have expired when it is made")]
    Expired,
    /// There is no room.
    #[error("there are {0} already; no more are kept")]
    Full(&'static str),
    /// There is no such key, user or group.
    #[error("there is no {0}")]
    Missing(Grantee),
    /// A user is no member of a group.
    #[error("the user '{0}' is not in the group '{1}'")]
    NotMember(String, String),
    /// Nobody could change access control any more.
    #[error("nobody would be an administrator any more")]
    LastAdministrator,
    /// Too many passwords are being checked.
    #[error("too many sign in at this moment")]
    Busy,
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<password::Busy> for AccessError {
    fn from(_: password::Busy) -> Self {
        Self::Busy
    }
}

/// Whom something is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantee {
    /// The key of this id.
    Key(String),
    /// The user of this name or id.
    User(String),
    /// The group of this name or id.
    Group(String),
}

impl From<&str> for Grantee {
    /// `user:NAME`, `group:NAME`, or the id of a key, as in `key:ID` or alone.
    fn from(text: &str) -> Self {
        match text.split_once(':') {
            Some(("user", name)) => Self::User(name.to_ascii_lowercase()),
            Some(("group", name)) => Self::Group(name.to_ascii_lowercase()),
            Some(("key", id)) => Self::Key(id.to_owned()),
            _ => Self::Key(text.to_owned()),
        }
    }
}

impl std::fmt::Display for Grantee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |text: &str| text.chars().take(NAME_MAX).collect::<String>();
        match self {
            Self::Key(id) => write!(f, "key with the id {}", short(id)),
            Self::User(name) => write!(f, "user '{}'", short(name)),
            Self::Group(name) => write!(f, "group '{}'", short(name)),
        }
    }
}

/// Who holds what: a key, a user or a group.
#[derive(Clone, Debug)]
pub struct Holder {
    /// `key:ID`, `user:ID` or `group:ID`.
    pub id: Arc<str>,
    /// What people call it.
    pub name: Arc<str>,
    /// What it was granted.
    pub rights: Rights,
}

impl Holder {
    fn new(kind: &str, id: &str, name: &Arc<str>, roles: &[Role], grants: &[Grant]) -> Self {
        Self {
            id: format!("{kind}:{id}").into(),
            name: name.clone(),
            rights: Rights { roles: roles.to_vec(), grants: grants.to_vec() },
        }
    }

    fn of_key(key: &KeyRecord) -> Self {
        Self::new("key", &key.id, &key.name, &key.roles, &key.grants)
    }

    fn of_user(user: &UserRecord) -> Self {
        Self::new("user", &user.id, &user.name, &user.roles, &user.grants)
    }

    fn of_group(group: &GroupRecord) -> Self {
        Self::new("group", &group.id, &group.name, &group.roles, &group.grants)
    }
}

/// One record that is written.
#[derive(Clone)]
enum Record {
    Key(KeyRecord),
    User(UserRecord),
    Group(GroupRecord),
}

impl Record {
    fn document(&self) -> Document {
        fn written(kind: &str, id: &Arc<str>, record: &impl Serialize) -> Document {
            let text = serde_json::to_string(record).expect("a record serializes to JSON");
            Document { kind: kind.into(), name: id.clone(), version: 0, text: text.into() }
        }
        match self {
            Self::Key(key) => written(KEYS, &key.id, key),
            Self::User(user) => written(USERS, &user.id, user),
            Self::Group(group) => written(GROUPS, &group.id, group),
        }
    }

    fn put(self, state: &mut State) {
        match self {
            Self::Key(key) => state.put_key(key),
            Self::User(user) => state.put_user(user),
            Self::Group(group) => state.put_group(group),
        }
    }
}

/// Keys, users and groups.
pub struct Access {
    core: Arc<Core>,
    passwords: password::Pool,
}

impl Access {
    /// Reads everything; what is damaged counts no more.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        damaged: &Damaged,
        has_provider: bool,
    ) -> Result<Self, StoreError> {
        let mut state = State::of(has_provider);
        for group in store.documents(GROUPS).await?.iter().filter_map(|it| damaged.read(it)) {
            state.put_group(group);
        }
        for user in store.documents(USERS).await?.iter().filter_map(|it| damaged.read(it)) {
            state.put_user(user);
        }
        let mut after: Arc<str> = "".into();
        loop {
            let some = store.documents_after(KEYS, &after, READ_AT_ONCE).await?;
            for key in some.iter().filter_map(|it| damaged.read(it)) {
                state.put_key(key);
            }
            match some.last() {
                Some(last) if some.len() == READ_AT_ONCE => after = last.name.clone(),
                _ => break,
            }
        }
        Ok(Self { core: Core::new(store, state), passwords: password::Pool::default() })
    }

    /// Who holds this key. Takes the same time for any secret.
    pub fn holder(&self, key: &KeyText<'_>, now: Timestamp) -> Proved {
        let state = self.core.state.read();
        match state.keys.get(key.id()) {
            Some(found) if found.is_proved_by(key.hash()) => proved(&state, found, now),
            _ => Proved::Unknown,
        }
    }

    /// Who a principal is by its id (`key:ID`, `user:ID`), for whoever has proved it before.
    pub fn principal(&self, id: &str, now: Timestamp) -> Proved {
        let state = self.core.state.read();
        if let Some(key) = id.strip_prefix(PREFIX) {
            return state.keys.get(key).map_or(Proved::Unknown, |key| proved(&state, key, now));
        }
        let user = id.strip_prefix("user:").and_then(|id| state.users.get(id));
        match user.filter(|it| it.record.is_enabled()) {
            Some(user) => {
                user.used.set(now);
                Proved::Known(user.principal.clone())
            }
            None => Proved::Unknown,
        }
    }

    /// As [`Self::principal`], for whoever has proved it when the principal had this generation.
    pub fn standing(&self, id: &str, generation: u64, now: Timestamp) -> Proved {
        match self.principal(id, now) {
            Proved::Known(who) if who.generation != generation => Proved::Unknown,
            proved => proved,
        }
    }

    /// What the principal of this id may do while it counts, whether or not it does; for people who look.
    pub fn inspect(&self, id: &str) -> Option<Arc<Principal>> {
        let state = self.core.state.read();
        match id.split_once(':')? {
            ("key", id) => state.keys.get(id).map(|it| it.principal.clone()),
            ("user", id) => state.users.get(id).map(|it| it.principal.clone()),
            _ => None,
        }
    }

    fn key(&self, id: &str) -> Result<Arc<Key>, AccessError> {
        let found = self.core.state.read().keys.get(id).cloned();
        found.ok_or_else(|| AccessError::Missing(Grantee::Key(id.into())))
    }

    /// Every key, oldest first, with when it was used last since the start.
    pub fn keys(&self) -> Vec<(KeyRecord, Option<Timestamp>)> {
        let state = self.core.state.read();
        let mut keys: Vec<_> = state.keys.all().map(|key| (key.record(), key.used.get())).collect();
        keys.sort_by(|(one, _), (other, _)| {
            (one.created_at, &one.id).cmp(&(other.created_at, &other.id))
        });
        keys
    }

    /// Whether the user of a key counts; that of a key without one always does.
    pub fn user_counts(&self, key: &KeyRecord) -> bool {
        self.core.state.read().user_counts(key.user.as_ref())
    }

    /// Changes whenever somebody may have lost a permission: what they hold open must end.
    pub fn revoked(&self) -> watch::Receiver<()> {
        self.core.revoked.subscribe()
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
        if rights.is_empty() {
            return Err(AccessError::Roles);
        }
        check_key(name, &rights, expires_at, now)?;
        let writing = self.core.begin().await?;
        self.make(name, rights, None, expires_at, by, now, false, &writing).await
    }

    /// Makes a key of a user: it has what the user has at each moment, and counts while the user does.
    ///
    /// # Errors
    /// There is no such user; as [`Self::create_key`].
    pub async fn create_key_of(
        &self,
        user: &str,
        name: &str,
        expires_at: Option<Timestamp>,
        by: &str,
        now: Timestamp,
    ) -> Result<NewKey, AccessError> {
        check_key(name, &Rights::default(), expires_at, now)?;
        let writing = self.core.begin().await?;
        let user = self.user_of(user)?.record.id.clone();
        self.make(name, Rights::default(), Some(user), expires_at, by, now, false, &writing).await
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of the record")]
    async fn make(
        &self,
        name: &str,
        rights: Rights,
        user: Option<Arc<str>>,
        expires_at: Option<Timestamp>,
        by: &str,
        now: Timestamp,
        bootstrap: bool,
        writing: &Writing,
    ) -> Result<NewKey, AccessError> {
        if self.core.state.read().keys.len() >= COUNT_MAX && !bootstrap {
            return Err(AccessError::Full("10,000 keys, revoked ones included,"));
        }
        let text = loop {
            let text = Zeroizing::new(KeyText::write(random(), random()));
            let id = KeyText::parse(&text).expect("it was just written").id().to_owned();
            if self.core.state.read().keys.get(&id).is_none() {
                break text;
            }
        };
        let key = KeyText::parse(&text).expect("it was just written");
        let record = KeyRecord {
            id: key.id().into(),
            name: name.into(),
            roles: rights.roles,
            grants: rights.grants,
            user,
            hash: key.hash(),
            created_at: now,
            created_by: by.into(),
            expires_at,
            revoked_at: None,
            revoked_by: None,
            bootstrap,
        };
        self.write(Record::Key(record.clone()), now, writing).await?;
        Ok(NewKey { record, text })
    }

    /// Revokes a key: the next request with it, or with a token that was made with it, is refused.
    /// One that is revoked already stays as it is.
    ///
    /// # Errors
    /// There is no such key, or it is the last administrator's; the store's.
    pub async fn revoke_key(
        &self,
        id: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<KeyRecord, AccessError> {
        let writing = self.core.begin().await?;
        let mut record = self.key(id)?.record();
        if record.revoked_at.is_some() {
            return Ok(record);
        }
        record.revoked_at = Some(now);
        record.revoked_by = Some(by.into());
        self.write(Record::Key(record.clone()), now, &writing).await?;
        Ok(record)
    }

    /// Who holds what: every key that counts, every user and every group.
    pub fn holders(&self, now: Timestamp) -> Vec<Holder> {
        let keys = self.keys().into_iter().map(|(key, _)| key);
        let keys = keys.filter(|key| key.is_valid(now)).map(|key| Holder::of_key(&key));
        let state = self.core.state.read();
        let users = state.users.values().map(|it| Holder::of_user(&it.record));
        let groups = state.groups.values().map(|it| Holder::of_group(&it.record));
        keys.chain(users).chain(groups).collect()
    }

    /// What one holds; also of a key that counts no more.
    ///
    /// # Errors
    /// There is no such one.
    pub fn holder_of(&self, whom: &Grantee) -> Result<Holder, AccessError> {
        Ok(match whom {
            Grantee::Key(id) => Holder::of_key(&self.key(id)?.record()),
            Grantee::User(name) => Holder::of_user(&self.user_of(name)?.record),
            Grantee::Group(name) => Holder::of_group(&self.group_of(name)?.record),
        })
    }

    /// Grants a key, a user or a group more; what it has already is no error.
    ///
    /// # Errors
    /// There is no such one, the key was revoked or is a user's, or it would have too many grants; the
    /// store's.
    pub async fn grant(
        &self,
        whom: impl Into<Grantee>,
        more: Rights,
        now: Timestamp,
    ) -> Result<Holder, AccessError> {
        self.change_rights(&whom.into(), now, |mut rights| {
            rights.roles.extend(more.roles);
            rights.grants.extend(more.grants);
            Ok(rights.sorted())
        })
        .await
    }

    /// Takes rights from a key, a user or a group; the next request is decided without them. All of them,
    /// or nothing.
    ///
    /// # Errors
    /// There is no such one, the key was revoked, it does not have one of them, or nobody would be an
    /// administrator any more; the store's.
    pub async fn withdraw(
        &self,
        whom: impl Into<Grantee>,
        less: Rights,
        now: Timestamp,
    ) -> Result<Holder, AccessError> {
        let whom = whom.into();
        self.change_rights(&whom, now, |mut rights| {
            let missing = |missing: String| {
                Err(AccessError::NotGranted { who: format!("the {whom}"), missing })
            };
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
        whom: &Grantee,
        now: Timestamp,
        change: impl FnOnce(Rights) -> Result<Rights, AccessError>,
    ) -> Result<Holder, AccessError> {
        let writing = self.core.begin().await?;
        let changed = |roles: &[Role], grants: &[Grant]| {
            let rights = change(Rights { roles: roles.to_vec(), grants: grants.to_vec() })?;
            if rights.grants.len() > GRANTS_MAX {
                return Err(AccessError::Grants);
            }
            Ok((rights.roles, rights.grants))
        };
        let record = match whom {
            Grantee::Key(id) => {
                let mut key = self.key(id)?.record();
                if key.revoked_at.is_some() {
                    return Err(AccessError::Missing(whom.clone()));
                }
                if key.user.is_some() {
                    return Err(AccessError::OfUser);
                }
                (key.roles, key.grants) = changed(&key.roles, &key.grants)?;
                Record::Key(key)
            }
            Grantee::User(name) => {
                let mut user = self.user_of(name)?.record.clone();
                (user.roles, user.grants) = changed(&user.roles, &user.grants)?;
                Record::User(user)
            }
            Grantee::Group(name) => {
                let mut group = self.group_of(name)?.record.clone();
                (group.roles, group.grants) = changed(&group.roles, &group.grants)?;
                Record::Group(group)
            }
        };
        self.write(record, now, &writing).await?;
        self.holder_of(whom)
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
        let writing = self.core.begin().await?;
        if self.core.state.read().has_administrator(now, false) {
            return Ok(None);
        }
        let found = found.and_then(KeyText::parse);
        let is_known = |found| matches!(self.holder(&found, now), Proved::Known(_));
        if found.is_some_and(is_known) {
            return Ok(None);
        }
        let former: Vec<Arc<Key>> = {
            let state = self.core.state.read();
            let open = state.keys.all().filter(|it| it.is_bootstrap() && it.is_valid(now));
            open.cloned().collect()
        };
        let rights = Rights::from(vec![Role::Admin]);
        let made = self.make(BOOTSTRAP, rights, None, None, "server", now, true, &writing).await?;
        for key in former {
            let mut record = key.record();
            record.revoked_at = Some(now);
            record.revoked_by = Some("server".into());
            self.write(Record::Key(record), now, &writing).await?;
        }
        Ok(Some(made))
    }

    /// Whether a key to make the first administrator with still counts.
    pub fn has_bootstrap(&self) -> bool {
        self.core.has_bootstrap.load(Ordering::Relaxed)
    }

    /// Whether the key of this id is such a one.
    pub fn is_bootstrap(&self, id: &str) -> bool {
        self.core.state.read().keys.get(id).is_some_and(|key| key.is_bootstrap())
    }

    /// Ends it, because there is an administrator now.
    ///
    /// # Errors
    /// The store's.
    pub async fn end_bootstrap(&self, by: &str, now: Timestamp) -> Result<(), AccessError> {
        let ids: Vec<Arc<str>> = {
            let state = self.core.state.read();
            let open = state.keys.all().filter(|it| it.is_bootstrap() && it.is_valid(now));
            open.map(|it| it.id().into()).collect()
        };
        for id in ids {
            self.revoke_key(&id, by, now).await?;
        }
        Ok(())
    }

    /// Writes a record to the store, and then lets it count.
    async fn write(
        &self,
        record: Record,
        now: Timestamp,
        writing: &Writing,
    ) -> Result<(), AccessError> {
        self.core.write(Change::Put(Box::new(record)), now, writing).await
    }
}

fn check_key(
    name: &str,
    rights: &Rights,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), AccessError> {
    if name.trim().is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(AccessError::Name);
    }
    if rights.grants.len() > GRANTS_MAX {
        return Err(AccessError::Grants);
    }
    if expires_at.is_some_and(|end| end <= now) {
        return Err(AccessError::Expired);
    }
    Ok(())
}

fn proved(state: &State, key: &Key, now: Timestamp) -> Proved {
    if key.is_revoked() || !state.user_counts(key.user.as_ref()) {
        return Proved::Unknown;
    }
    if !key.is_valid(now) {
        return Proved::Expired;
    }
    key.used.set(now);
    Proved::Known(key.principal.clone())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
