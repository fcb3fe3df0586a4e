//! Users and groups: created, granted, disabled, deleted, and known by their passwords.

use std::sync::Arc;

use kernel::Timestamp;
use kernel::access::{Principal, check_name};
use zeroize::Zeroizing;

use super::password::{LENGTH_MAX, LENGTH_MIN, PasswordHash};
use super::record::{GroupRecord, Rights, UserRecord};
use super::state::{Group, State, User};
use super::writing::Change;
use super::{Access, AccessError, GRANTS_MAX, GROUPS, Grantee, Record, USERS, random};

/// Bytes of what people call a user, or of what a group is for.
const LABEL_MAX: usize = 200;
/// Users at most, and groups.
pub(super) const USERS_MAX: usize = 10_000;
const GROUPS_MAX: usize = 1000;
/// Groups of one user at most.
pub(super) const GROUPS_OF_ONE_MAX: usize = 100;

/// A user to create.
#[derive(Debug, Default)]
pub struct NewUser {
    /// What the user signs in with.
    pub name: String,
    /// The password; without one, nobody signs in as this user yet.
    pub password: Option<Zeroizing<String>>,
    /// What the user is granted beside what groups are.
    pub rights: Rights,
    /// Names of groups.
    pub groups: Vec<String>,
    /// What people call the user, if that is something else.
    pub label: Option<Arc<str>>,
    /// It is a program, and comes in by its keys alone.
    pub application: bool,
}

impl Access {
    /// Every user by name, with when each was seen last since the start.
    pub fn users(&self) -> Vec<(UserRecord, Option<Timestamp>)> {
        let state = self.core.state.read();
        let mut users: Vec<_> =
            state.users.values().map(|it| (it.record.clone(), it.used.get())).collect();
        users.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        users
    }

    /// Every group by name.
    pub fn groups(&self) -> Vec<GroupRecord> {
        let state = self.core.state.read();
        let mut groups: Vec<_> = state.groups.values().map(|it| it.record.clone()).collect();
        groups.sort_by(|one, other| one.name.cmp(&other.name));
        groups
    }

    /// The names of the members of a group, by its id.
    pub fn members(&self, group: &str) -> Vec<Arc<str>> {
        let state = self.core.state.read();
        let mut names: Vec<Arc<str>> =
            state.members(group).map(|it| it.record.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// The names of the groups that a user is in.
    pub fn groups_of(&self, user: &UserRecord) -> Vec<Arc<str>> {
        let state = self.core.state.read();
        let groups = user.groups.iter().filter_map(|id| state.groups.get(id));
        let mut names: Vec<Arc<str>> = groups.map(|it| it.record.name.clone()).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn user_of(&self, who: &str) -> Result<Arc<User>, AccessError> {
        let found = self.core.state.read().user(&who.to_ascii_lowercase()).cloned();
        found.ok_or_else(|| AccessError::Missing(Grantee::User(who.into())))
    }

    pub(super) fn group_of(&self, which: &str) -> Result<Arc<Group>, AccessError> {
        let found = self.core.state.read().group(&which.to_ascii_lowercase()).cloned();
        found.ok_or_else(|| AccessError::Missing(Grantee::Group(which.into())))
    }

    /// What the user is called who is the principal of this id (`user:ID`), or whose key it is (`key:ID`).
    pub fn user_name(&self, id: &str) -> Option<Arc<str>> {
        let state = self.core.state.read();
        let user = match id.split_once(':')? {
            ("user", id) => state.users.get(id)?,
            ("key", id) => state.users.get(&state.keys.get(id)?.record().user?)?,
            _ => return None,
        };
        Some(user.record.name.clone())
    }

    /// A user by name or id, with when they were seen last since the start.
    ///
    /// # Errors
    /// There is no such user.
    pub fn user(&self, who: &str) -> Result<(UserRecord, Option<Timestamp>), AccessError> {
        let user = self.user_of(who)?;
        Ok((user.record.clone(), user.used.get()))
    }

    /// A group by name or id.
    ///
    /// # Errors
    /// There is no such group.
    pub fn group(&self, which: &str) -> Result<GroupRecord, AccessError> {
        Ok(self.group_of(which)?.record.clone())
    }

    /// Creates a user.
    ///
    /// # Errors
    /// The name or the password breaks a rule, the name is taken, or there is no such group; the store's.
    pub async fn create_user(
        &self,
        wanted: NewUser,
        by: &str,
        now: Timestamp,
    ) -> Result<UserRecord, AccessError> {
        let name = name_of(&wanted.name, "user")?;
        let rights = wanted.rights.sorted();
        if rights.grants.len() > GRANTS_MAX {
            return Err(AccessError::Grants);
        }
        let password = match wanted.password {
            None => None,
            Some(password) => {
                check_password(&password, &name)?;
                Some(self.passwords.hash(password).await?)
            }
        };
        let writing = self.core.begin().await?;
        let (id, groups) = {
            let state = self.core.state.read();
            if state.user(&name).is_some() {
                return Err(AccessError::Taken(name, "user"));
            }
            if state.users.len() >= USERS_MAX {
                return Err(AccessError::Full("10,000 users"));
            }
            let groups = ids_of_groups(&state, &wanted.groups)?;
            (new_id(|id| state.users.contains_key(id)), groups)
        };
        let user = UserRecord {
            id,
            name: name.into(),
            label: checked_label(wanted.label)?,
            application: wanted.application,
            roles: rights.roles,
            grants: rights.grants,
            groups,
            password_at: password.is_some().then_some(now),
            password,
            identity: None,
            generation: 0,
            created_at: now,
            created_by: by.into(),
            disabled_at: None,
            disabled_by: None,
        };
        self.write(Record::User(user.clone()), now, &writing).await?;
        Ok(user)
    }

    fn group_id(&self, name: &str) -> Result<Arc<str>, AccessError> {
        Ok(self.group_of(name)?.record.id.clone())
    }

    pub(super) async fn change_user(
        &self,
        who: &str,
        now: Timestamp,
        change: impl FnOnce(&mut UserRecord) -> Result<(), AccessError>,
    ) -> Result<UserRecord, AccessError> {
        let writing = self.core.begin().await?;
        let mut user = self.user_of(who)?.record.clone();
        change(&mut user)?;
        self.write(Record::User(user.clone()), now, &writing).await?;
        Ok(user)
    }

    /// Gives a user another password; whatever was opened with the one before has ended.
    ///
    /// # Errors
    /// There is no such user, or the password breaks the rule; the store's.
    pub async fn set_password(
        &self,
        who: &str,
        password: Zeroizing<String>,
        now: Timestamp,
    ) -> Result<UserRecord, AccessError> {
        // By the id: a name may be somebody else's by the time the hash is made.
        let user = self.user_of(who)?.record.clone();
        if user.application {
            return Err(AccessError::Application(user.name.to_string()));
        }
        check_password(&password, &user.name)?;
        let hash = self.passwords.hash(password).await?;
        self.change_user(&user.id, now, |user| {
            put_password(user, hash, now);
            Ok(())
        })
        .await
    }

    /// As [`Self::set_password`], for a user who has proved the former one when the user had this
    /// generation.
    ///
    /// # Errors
    /// The user was disabled or given another password meanwhile; as [`Self::set_password`].
    pub async fn replace_password(
        &self,
        id: &str,
        generation: u64,
        password: Zeroizing<String>,
        now: Timestamp,
    ) -> Result<UserRecord, AccessError> {
        check_password(&password, &self.user_of(id)?.record.name)?;
        let hash = self.passwords.hash(password).await?;
        self.change_user(id, now, |user| {
            if !user.is_enabled() || user.generation != generation {
                return Err(AccessError::Superseded);
            }
            put_password(user, hash, now);
            Ok(())
        })
        .await
    }

    /// Disables a user: sessions, tokens and keys count no more from now on.
    ///
    /// # Errors
    /// There is no such user, or it is the last administrator; the store's.
    pub async fn disable_user(
        &self,
        who: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<UserRecord, AccessError> {
        self.change_user(who, now, |user| {
            if user.disabled_at.is_none() {
                user.disabled_at = Some(now);
                user.disabled_by = Some(by.into());
                user.generation += 1;
            }
            Ok(())
        })
        .await
    }

    /// Lets a user in again; keys count again, and sessions are opened anew.
    ///
    /// # Errors
    /// There is no such user; the store's.
    pub async fn enable_user(&self, who: &str, now: Timestamp) -> Result<UserRecord, AccessError> {
        self.change_user(who, now, |user| {
            user.disabled_at = None;
            user.disabled_by = None;
            Ok(())
        })
        .await
    }

    /// Deletes a user: sessions, tokens and keys count no more from now on, and never again.
    ///
    /// # Errors
    /// There is no such user, or it is the last administrator; the store's.
    pub async fn delete_user(&self, who: &str, now: Timestamp) -> Result<UserRecord, AccessError> {
        let writing = self.core.begin().await?;
        let user = self.user_of(who)?.record.clone();
        let change = Change::Remove(USERS, user.id.clone());
        self.core.write(change, now, &writing).await?;
        Ok(user)
    }

    /// Creates a group.
    ///
    /// # Errors
    /// The name breaks the rule or is taken; the store's.
    pub async fn create_group(
        &self,
        name: &str,
        rights: impl Into<Rights>,
        by: &str,
        now: Timestamp,
    ) -> Result<GroupRecord, AccessError> {
        let name = name_of(name, "group")?;
        let rights = rights.into().sorted();
        if rights.grants.len() > GRANTS_MAX {
            return Err(AccessError::Grants);
        }
        let writing = self.core.begin().await?;
        let id = {
            let state = self.core.state.read();
            if state.group(&name).is_some() {
                return Err(AccessError::Taken(name, "group"));
            }
            if state.groups.len() >= GROUPS_MAX {
                return Err(AccessError::Full("1,000 groups"));
            }
            new_id(|id| state.groups.contains_key(id))
        };
        let group = GroupRecord {
            id,
            name: name.into(),
            label: None,
            roles: rights.roles,
            grants: rights.grants,
            created_at: now,
            created_by: by.into(),
        };
        self.write(Record::Group(group.clone()), now, &writing).await?;
        Ok(group)
    }

    /// Deletes a group; its members lose what it was granted at once.
    ///
    /// # Errors
    /// There is no such group, or nobody would be an administrator any more; the store's.
    pub async fn delete_group(
        &self,
        which: &str,
        now: Timestamp,
    ) -> Result<GroupRecord, AccessError> {
        let writing = self.core.begin().await?;
        let group = self.group_of(which)?.record.clone();
        let change = Change::Remove(GROUPS, group.id.clone());
        self.core.write(change, now, &writing).await?;
        Ok(group)
    }

    /// Adds a user to a group; one who is in it already is no error.
    ///
    /// # Errors
    /// There is no such user or group, or the user is in too many; the store's.
    pub async fn add_member(
        &self,
        group: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<UserRecord, AccessError> {
        let id = self.group_id(group)?;
        self.change_user(user, now, |user| {
            // Of groups that are gone nothing need be kept.
            let state = self.core.state.read();
            user.groups.retain(|it| state.groups.contains_key(it) && *it != id);
            user.groups.push(id);
            if user.groups.len() > GROUPS_OF_ONE_MAX {
                return Err(AccessError::Full("100 groups of this user"));
            }
            Ok(())
        })
        .await
    }

    /// Removes a user from a group.
    ///
    /// # Errors
    /// There is no such user or group, the user is not in it, or nobody would be an administrator any
    /// more; the store's.
    pub async fn remove_member(
        &self,
        group: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<UserRecord, AccessError> {
        let found = self.group_of(group)?.record.clone();
        self.change_user(user, now, |user| {
            if !user.groups.contains(&found.id) {
                let (user, group) = (user.name.to_string(), found.name.to_string());
                return Err(AccessError::NotMember(user, group));
            }
            user.groups.retain(|it| *it != found.id);
            Ok(())
        })
        .await
    }

    /// Who signs in with a name and a password; `None` if they do not belong together, or the user is
    /// disabled. Takes as long for names that nobody has.
    ///
    /// # Errors
    /// Too many sign in at this moment.
    pub async fn login(
        &self,
        name: &str,
        password: Zeroizing<String>,
        now: Timestamp,
    ) -> Result<Option<Arc<Principal>>, AccessError> {
        if password.len() > LENGTH_MAX {
            return Ok(None);
        }
        let found = check_name(name).and_then(|name| self.core.state.read().user(&name).cloned());
        let found = found.filter(|it| it.record.is_enabled());
        let hash = found.as_ref().and_then(|it| it.record.password.clone());
        let fits = self.passwords.fits(hash, password).await?;
        let Some(found) = found.filter(|_| fits) else { return Ok(None) };
        // Disabled or given another password meanwhile, it is somebody else's.
        let state = self.core.state.read();
        let user = state
            .users
            .get(&found.record.id)
            .filter(|it| it.record.is_enabled() && it.record.generation == found.record.generation);
        Ok(user.map(|user| {
            user.used.set(now);
            user.principal.clone()
        }))
    }
}

/// The ids of groups by their names.
pub(super) fn ids_of_groups(state: &State, names: &[String]) -> Result<Vec<Arc<str>>, AccessError> {
    let id = |name: &String| {
        let found = state.group(&name.to_ascii_lowercase());
        let found = found.ok_or_else(|| AccessError::Missing(Grantee::Group(name.clone())))?;
        Ok(found.record.id.clone())
    };
    let mut ids: Vec<Arc<str>> = names.iter().map(id).collect::<Result<_, AccessError>>()?;
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > GROUPS_OF_ONE_MAX {
        return Err(AccessError::Full("100 groups of this user"));
    }
    Ok(ids)
}

/// What people call somebody, if it can be kept.
pub(super) fn checked_label(label: Option<Arc<str>>) -> Result<Option<Arc<str>>, AccessError> {
    let fits = |it: &str| it.len() <= LABEL_MAX && !it.chars().any(char::is_control);
    match label {
        Some(label) if !fits(&label) => Err(AccessError::Label),
        label => Ok(label.filter(|label| !label.trim().is_empty())),
    }
}

fn put_password(user: &mut UserRecord, hash: PasswordHash, now: Timestamp) {
    user.password = Some(hash);
    user.password_at = Some(now);
    user.generation += 1;
}

pub(super) fn name_of(text: &str, kind: &'static str) -> Result<String, AccessError> {
    let short = || text.chars().take(100).collect();
    check_name(text).ok_or_else(|| AccessError::PersonName(short(), kind))
}

fn check_password(password: &str, name: &str) -> Result<(), AccessError> {
    let fits = password.chars().count() >= LENGTH_MIN
        && password.len() <= LENGTH_MAX
        && !password.eq_ignore_ascii_case(name);
    if fits { Ok(()) } else { Err(AccessError::Password) }
}

/// An id that nobody has, and nobody had: it is one of 2^48.
pub(super) fn new_id(is_taken: impl Fn(&str) -> bool) -> Arc<str> {
    loop {
        let id = random::<6>().iter().fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
        if !is_taken(&id) {
            return id.into();
        }
    }
}
