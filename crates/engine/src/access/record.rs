//! What is stored of access control: keys, users and groups, each a document of its own.
//!
//! A release reads what every earlier one has written: `tests/golden/access` has an example of each.

use std::sync::Arc;

use kernel::Timestamp;
use kernel::access::{Grant, KeyHash, Role};
use serde::{Deserialize, Serialize};

use super::password::PasswordHash;

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
    /// The id of the user whose key it is. It has what the user has, and nothing of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// Recognizes it.
    pub(super) hash: KeyHash,
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
    /// Whether it counts at this time, as far as the key itself says.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A user: somebody who signs in with a name and a password.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserRecord {
    /// Names the user for good: nobody has the id of somebody who was deleted.
    pub id: Arc<str>,
    /// What the user signs in with, as [`kernel::access::check_name`] takes it.
    pub name: Arc<str>,
    /// What people call the user, if that is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Arc<str>>,
    /// It is a program, and comes in by its keys alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub application: bool,
    /// The roles on everything.
    pub roles: Vec<Role>,
    /// The roles on some things.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// The ids of the groups; one that is gone counts for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Arc<str>>,
    /// Recognizes the password; without one, nobody signs in as this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<PasswordHash>,
    /// Since when it is this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_at: Option<Timestamp>,
    /// Who the user is at a provider; without it, nobody signs in as this user by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Grows with each password and whenever the user is disabled: whatever was opened before has ended.
    #[serde(default)]
    pub generation: u64,
    /// When the user was created.
    pub created_at: Timestamp,
    /// Who created the user.
    pub created_by: Arc<str>,
    /// Since when the user is disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
    /// Who disabled the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_by: Option<Arc<str>>,
}

impl UserRecord {
    /// Whether the user is not disabled.
    pub fn is_enabled(&self) -> bool {
        self.disabled_at.is_none()
    }

    /// Whether there is a password to sign in with.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

/// Who somebody is at an OpenID provider, for good: names and addresses change, this does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The provider, as it calls itself (`iss`).
    pub issuer: Arc<str>,
    /// What it calls the user (`sub`).
    pub subject: Arc<str>,
}

/// A group: what it is granted, each of its members has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRecord {
    /// Names it for good.
    pub id: Arc<str>,
    /// What people call it, as [`kernel::access::check_name`] takes it.
    pub name: Arc<str>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Arc<str>>,
    /// The roles on everything.
    pub roles: Vec<Role>,
    /// The roles on some things.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Who created it.
    pub created_by: Arc<str>,
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
    pub(super) fn sorted(mut self) -> Self {
        self.roles.sort_unstable();
        self.roles.dedup();
        self.grants.sort_unstable();
        self.grants.dedup();
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.grants.is_empty()
    }
}

impl From<Vec<Role>> for Rights {
    fn from(roles: Vec<Role>) -> Self {
        Self { roles, grants: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::{GroupRecord, KeyRecord, UserRecord};

    /// What is stored is read, and written again as it was.
    fn stays<T: DeserializeOwned + Serialize>(text: &str) {
        let read: T = serde_json::from_str(text).expect("an earlier release has written it");
        let written = serde_json::to_value(&read).expect("it serializes to JSON");
        assert_eq!(written, serde_json::from_str::<Value>(text).expect("JSON"));
    }

    #[test]
    fn what_earlier_releases_stored_is_read() {
        stays::<KeyRecord>(include_str!("../../tests/golden/access/key.json"));
        stays::<KeyRecord>(include_str!("../../tests/golden/access/key-of-user.json"));
        stays::<UserRecord>(include_str!("../../tests/golden/access/user.json"));
        stays::<UserRecord>(include_str!("../../tests/golden/access/user-disabled.json"));
        stays::<UserRecord>(include_str!("../../tests/golden/access/user-of-provider.json"));
        stays::<UserRecord>(include_str!("../../tests/golden/access/application.json"));
        stays::<GroupRecord>(include_str!("../../tests/golden/access/group.json"));
        stays::<GroupRecord>(include_str!("../../tests/golden/access/group-labelled.json"));
    }
}
