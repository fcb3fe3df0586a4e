//! Keys, users and groups in memory, compiled: a request is decided without a read of the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kernel::Timestamp;
use kernel::access::{Group as Compiled, Held, Permission, Principal};

use super::keys::{Key, Keys, PREFIX};
use super::record::{GroupRecord, Identity, KeyRecord, UserRecord};

/// When something was used last, in milliseconds since 1970; 0 if not since the start.
#[derive(Debug, Default)]
pub(super) struct Used(AtomicI64);

/// What is used while a copy takes its place may be missing in that.
impl Clone for Used {
    fn clone(&self) -> Self {
        Self(AtomicI64::new(self.0.load(Ordering::Relaxed)))
    }
}

impl Used {
    pub(super) fn set(&self, now: Timestamp) {
        self.0.store(now.millis(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Timestamp> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Timestamp::from_millis(millis)),
        }
    }
}

/// A user in memory.
#[derive(Debug)]
pub(super) struct User {
    pub(super) record: UserRecord,
    pub(super) principal: Arc<Principal>,
    pub(super) used: Used,
    own: Arc<Held>,
}

/// A group in memory.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) record: GroupRecord,
    compiled: Arc<Compiled>,
}

/// Everything, by ids. Copying it copies references.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) keys: Keys,
    pub(super) users: BTreeMap<Arc<str>, Arc<User>>,
    pub(super) groups: BTreeMap<Arc<str>, Arc<Group>>,
    /// Ids of users, by names.
    names: HashMap<Arc<str>, Arc<str>>,
    /// Whether users come in by a provider.
    has_provider: bool,
}

impl State {
    /// Nobody yet; whether users come in by a provider.
    pub(super) fn of(has_provider: bool) -> Self {
        Self { has_provider, ..Self::default() }
    }

    /// The user of a name, or else of an id, as it is kept or as it is shown (`user:ID`).
    pub(super) fn user(&self, who: &str) -> Option<&Arc<User>> {
        let who = who.strip_prefix("user:").unwrap_or(who);
        self.users.get(self.names.get(who).map_or(who, |id| id))
    }

    /// The user who is this at a provider.
    pub(super) fn identified(&self, identity: &Identity) -> Option<&Arc<User>> {
        self.users.values().find(|it| it.record.identity.as_ref() == Some(identity))
    }

    /// The group of a name, or else of an id, as it is kept or as it is shown (`group:ID`).
    pub(super) fn group(&self, which: &str) -> Option<&Arc<Group>> {
        let which = which.strip_prefix("group:").unwrap_or(which);
        let named = self.groups.values().find(|it| *it.record.name == *which);
        named.or_else(|| self.groups.get(which))
    }

    /// The members of a group.
    pub(super) fn members<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Arc<User>> {
        self.users.values().filter(move |it| it.record.groups.iter().any(|id| **id == *group))
    }

    pub(super) fn put_key(&mut self, record: KeyRecord) {
        let principal = self.principal_of(&record);
        self.keys.put(record, principal);
    }

    pub(super) fn remove_key(&mut self, id: &str) {
        self.keys.remove(id);
    }

    pub(super) fn put_user(&mut self, record: UserRecord) {
        let id = record.id.clone();
        let used = self.users.get(&id).map(|former| former.used.clone()).unwrap_or_default();
        let own = Arc::new(Held::new(record.roles.clone(), record.grants.clone()));
        if let Some(former) = self.users.get(&id) {
            self.names.remove(&former.record.name);
        }
        self.names.insert(record.name.clone(), id.clone());
        let principal = self.compile(&record, own.clone());
        self.users.insert(id.clone(), Arc::new(User { record, principal, used, own }));
        self.renew_keys_of(&BTreeSet::from([id]));
    }

    pub(super) fn remove_user(&mut self, id: &str) {
        if let Some(user) = self.users.remove(id) {
            self.names.remove(&user.record.name);
            self.renew_keys_of(&BTreeSet::from([user.record.id.clone()]));
        }
    }

    pub(super) fn put_group(&mut self, record: GroupRecord) {
        let held = Held::new(record.roles.clone(), record.grants.clone());
        let compiled = Arc::new(Compiled { name: record.name.clone(), held });
        let id = record.id.clone();
        self.groups.insert(id.clone(), Arc::new(Group { record, compiled }));
        self.renew_members_of(&id);
    }

    pub(super) fn remove_group(&mut self, id: &str) {
        self.groups.remove(id);
        self.renew_members_of(id);
    }

    fn renew_members_of(&mut self, group: &str) {
        let members: Vec<Arc<User>> = self.members(group).cloned().collect();
        let ids: BTreeSet<Arc<str>> = members.iter().map(|it| it.record.id.clone()).collect();
        for member in members {
            let principal = self.compile(&member.record, member.own.clone());
            let (record, used, own) =
                (member.record.clone(), member.used.clone(), member.own.clone());
            self.users.insert(record.id.clone(), Arc::new(User { record, principal, used, own }));
        }
        self.renew_keys_of(&ids);
    }

    fn renew_keys_of(&mut self, users: &BTreeSet<Arc<str>>) {
        let is_theirs = |key: &&Arc<Key>| key.user.as_ref().is_some_and(|it| users.contains(it));
        let theirs: Vec<KeyRecord> =
            self.keys.all().filter(is_theirs).map(|key| key.record()).collect();
        for record in theirs {
            self.put_key(record);
        }
    }

    fn compile(&self, user: &UserRecord, own: Arc<Held>) -> Arc<Principal> {
        let id = format!("user:{}", user.id).into();
        let groups = user.groups.iter().filter_map(|id| self.groups.get(id));
        let groups = groups.map(|group| group.compiled.clone()).collect();
        let name = user.name.clone();
        Arc::new(Principal::in_groups(id, name, user.generation, own, groups))
    }

    /// Who a key is. One of a user has what the user has, and says by its name whose it is.
    fn principal_of(&mut self, key: &KeyRecord) -> Arc<Principal> {
        let id = format!("{PREFIX}{}", key.id).into();
        let Some(user) = &key.user else {
            let own = self.keys.held(key);
            return Arc::new(Principal::in_groups(id, key.name.clone(), 0, own, Vec::new()));
        };
        let Some(user) = self.users.get(user) else {
            return Arc::new(Principal::new(id, key.name.clone(), Vec::new()));
        };
        let name = format!("{}/{}", user.record.name, key.name).into();
        let (generation, groups) = (user.record.generation, user.principal.groups().to_vec());
        Arc::new(Principal::in_groups(id, name, generation, user.own.clone(), groups))
    }

    /// Whether the user of a key counts; without one it always does.
    pub(super) fn user_counts(&self, user: Option<&Arc<str>>) -> bool {
        user.is_none_or(|id| self.users.get(id).is_some_and(|user| user.record.is_enabled()))
    }

    /// Whether somebody can come in who may do everything; by a bootstrap key only if that is asked for.
    pub(super) fn has_administrator(&self, now: Timestamp, by_bootstrap: bool) -> bool {
        let by_key = |key: &Arc<Key>| {
            key.principal.may(Permission::Admin)
                && key.is_valid(now)
                && (by_bootstrap || !key.bootstrap)
                && self.user_counts(key.user.as_ref())
        };
        let by_login = |user: &Arc<User>| {
            user.principal.may(Permission::Admin)
                && user.record.is_enabled()
                && (user.record.has_password()
                    || self.has_provider && user.record.identity.is_some())
        };
        self.keys.all().any(by_key) || self.users.values().any(by_login)
    }
}
