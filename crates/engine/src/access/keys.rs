//! Keys in memory: as small as can be, as there may be ten thousand of them.
//!
//! What is stored ([`KeyRecord`]) is put together again for whoever asks for it. Keys that were granted the
//! same roles share what is compiled of them, and who made them is held once.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use kernel::Timestamp;
use kernel::access::{Held, KeyHash, Principal, Role};

use super::record::KeyRecord;
use super::state::Used;

/// What the id of a key's principal begins with.
pub(super) const PREFIX: &str = "key:";

/// A key in memory.
#[derive(Debug)]
pub(super) struct Key {
    /// Its id is the key's, after a prefix.
    pub(super) principal: Arc<Principal>,
    /// Where the key's own name begins in that of the principal, in bytes: behind the name of its user.
    name_at: u32,
    /// The id of the user whose key it is.
    pub(super) user: Option<Arc<str>>,
    hash: KeyHash,
    created_at: Timestamp,
    created_by: Arc<str>,
    /// The end that it has or has had; most have none.
    end: Option<Box<End>>,
    /// It makes the first administrator, revoked or not.
    pub(super) bootstrap: bool,
    pub(super) used: Used,
}

#[derive(Debug)]
struct End {
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    revoked_by: Option<Arc<str>>,
}

impl Key {
    /// What names it.
    pub(super) fn id(&self) -> &str {
        self.principal.id.strip_prefix(PREFIX).unwrap_or_default()
    }

    /// Whether this is its secret. Takes the same time for any.
    pub(super) fn is_proved_by(&self, hash: KeyHash) -> bool {
        self.hash == hash
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.end.as_ref().is_some_and(|it| it.revoked_at.is_some())
    }

    /// As [`KeyRecord::is_valid`].
    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        let expires_at = self.end.as_ref().and_then(|it| it.expires_at);
        !self.is_revoked() && expires_at.is_none_or(|end| now < end)
    }

    pub(super) fn is_bootstrap(&self) -> bool {
        self.bootstrap && !self.is_revoked()
    }

    /// What is stored of it.
    pub(super) fn record(&self) -> KeyRecord {
        // A key of a user has nothing of its own: what is compiled for it is the user's.
        let own = self.user.is_none().then(|| self.principal.own());
        let end = self.end.as_deref();
        KeyRecord {
            id: self.id().into(),
            name: self.principal.name[self.name_at as usize..].into(),
            roles: own.map_or_else(Vec::new, |it| it.roles().to_vec()),
            grants: own.map_or_else(Vec::new, |it| it.grants().to_vec()),
            user: self.user.clone(),
            hash: self.hash,
            created_at: self.created_at,
            created_by: self.created_by.clone(),
            expires_at: end.and_then(|it| it.expires_at),
            revoked_at: end.and_then(|it| it.revoked_at),
            revoked_by: end.and_then(|it| it.revoked_by.clone()),
            bootstrap: self.bootstrap,
        }
    }
}

/// A key, found by its id.
#[derive(Clone, Debug)]
struct ById(Arc<Key>);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.id()
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById {}

/// All keys. Copying them copies references.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    by_id: HashSet<ById>,
    /// What keys have that were only granted these roles, on everything.
    plain: BTreeMap<Box<[Role]>, Arc<Held>>,
    /// Who has made keys.
    makers: HashSet<Arc<str>>,
}

impl Keys {
    pub(super) fn get(&self, id: &str) -> Option<&Arc<Key>> {
        self.by_id.get(id).map(|it| &it.0)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.by_id.iter().map(|it| &it.0)
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    /// What a key without a user has.
    pub(super) fn held(&mut self, record: &KeyRecord) -> Arc<Held> {
        let compiled = || Arc::new(Held::new(record.roles.clone(), record.grants.clone()));
        if !record.grants.is_empty() {
            return compiled();
        }
        self.plain.entry(record.roles.clone().into()).or_insert_with(compiled).clone()
    }

    /// Keeps a key, whose name is the last part of its principal's; when it was used last is still known.
    pub(super) fn put(&mut self, record: KeyRecord, principal: Arc<Principal>) {
        let used = self.get(&record.id).map(|former| former.used.clone()).unwrap_or_default();
        let created_by = self.makers.get(&*record.created_by).cloned().unwrap_or_else(|| {
            self.makers.insert(record.created_by.clone());
            record.created_by.clone()
        });
        let name_at = principal.name.len() - record.name.len();
        let (expires_at, revoked_at) = (record.expires_at, record.revoked_at);
        let end = || Box::new(End { expires_at, revoked_at, revoked_by: record.revoked_by });
        let key = Key {
            principal,
            name_at: u32::try_from(name_at).expect("names are short"),
            user: record.user,
            hash: record.hash,
            created_at: record.created_at,
            created_by,
            end: (expires_at.is_some() || revoked_at.is_some()).then(end),
            bootstrap: record.bootstrap,
            used,
        };
        // A set keeps what it has.
        self.by_id.replace(ById(Arc::new(key)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::record::KeyRecord;
    use super::super::state::State;

    fn stored(more: &Value) -> Value {
        let mut key: Value =
            serde_json::from_str(include_str!("../../tests/golden/access/key.json")).expect("JSON");
        for (name, value) in more.as_object().expect("an object") {
            key[name] = value.clone();
        }
        key
    }

    #[test]
    fn what_is_stored_of_a_key_is_put_together_again() {
        let golden = include_str!("../../tests/golden/access/key-of-user.json");
        let of_user: Value = serde_json::from_str(golden).expect("JSON");
        for text in [
            stored(&json!({})),
            stored(&json!({ "roles": ["viewer", "runner"], "grants": [] })),
            stored(&json!({ "revokedAt": 5, "revokedBy": "ann" })),
            of_user,
        ] {
            let record: KeyRecord = serde_json::from_value(text).expect("a key");
            let (id, expected) = (record.id.clone(), json!(record));
            let mut state = State::of(false);
            state.put_key(record);
            let kept = state.keys.get(&id).expect("it is kept");
            assert_eq!(json!(kept.record()), expected);
        }
    }

    #[test]
    fn keys_with_the_same_roles_share_what_is_compiled() {
        let mut state = State::of(false);
        for id in ["000000000001", "000000000002"] {
            let text = stored(&json!({ "id": id, "roles": ["viewer"], "grants": [] }));
            state.put_key(serde_json::from_value(text).expect("a key"));
        }
        let kept = |id| state.keys.get(id).expect("it is kept");
        let [one, other] = ["000000000001", "000000000002"].map(kept);
        assert!(std::ptr::eq(one.principal.own(), other.principal.own()));
    }
}
