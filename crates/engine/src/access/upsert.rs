//! Users, applications and groups as somebody else describes them: made, or changed into that by one write.

use std::sync::Arc;

use kernel::Timestamp;
use kernel::access::Role;

use super::people::{checked_label, ids_of_groups, name_of};
use super::record::{GroupRecord, Rights, UserRecord};
use super::{Access, AccessError, NewUser, Record};

/// What a user or a group is to be; grants on selectors stay as they are.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// What people call it, or what it is for.
    pub label: Option<Arc<str>>,
    /// All roles on everything.
    pub roles: Vec<Role>,
    /// All groups of a user, by name; absent = those that the user is in.
    pub groups: Option<Vec<String>>,
}

impl Access {
    /// Makes a user, or changes the one of this name.
    ///
    /// # Errors
    /// As [`Self::create_user`]; nobody would be an administrator any more.
    pub async fn upsert_user(
        &self,
        wanted: Described,
        by: &str,
        now: Timestamp,
    ) -> Result<UserRecord, AccessError> {
        let Described { name, label, roles, groups } = wanted;
        let name = name_of(&name, "user")?;
        let found = self.user_of(&name).map(|user| user.record.id.clone());
        let Ok(id) = found else {
            let (rights, groups) = (roles.into(), groups.unwrap_or_default());
            let user = NewUser { name, rights, groups, label, ..NewUser::default() };
            return self.create_user(user, by, now).await;
        };
        let label = checked_label(label)?;
        self.change_user(&id, now, |user| {
            if let Some(groups) = groups {
                user.groups = ids_of_groups(&self.core.state.read(), &groups)?;
            }
            user.label = label;
            user.roles = Rights::from(roles).sorted().roles;
            Ok(())
        })
        .await
    }

    /// Makes a group, or changes the one of this name.
    ///
    /// # Errors
    /// As [`Self::create_group`]; nobody would be an administrator any more.
    pub async fn upsert_group(
        &self,
        wanted: Described,
        by: &str,
        now: Timestamp,
    ) -> Result<GroupRecord, AccessError> {
        let label = checked_label(wanted.label)?;
        let name = name_of(&wanted.name, "group")?;
        let roles = Rights::from(wanted.roles).sorted().roles;
        if self.group_of(&name).is_err() {
            self.create_group(&name, roles.clone(), by, now).await?;
        }
        let writing = self.core.begin().await?;
        let mut group = self.group_of(&name)?.record.clone();
        if group.roles != roles || group.label != label {
            (group.roles, group.label) = (roles, label);
            self.write(Record::Group(group.clone()), now, &writing).await?;
        }
        Ok(group)
    }

    /// Gives a user another name; keys, grants and groups stay.
    ///
    /// # Errors
    /// There is no such user, or the name breaks the rule or is taken; the store's.
    pub async fn rename_user(
        &self,
        who: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<UserRecord, AccessError> {
        let name = name_of(name, "user")?;
        self.change_user(who, now, |user| {
            let taken = self.core.state.read().user(&name).map(|it| it.record.id.clone());
            if taken.is_some_and(|id| id != user.id) {
                return Err(AccessError::Taken(name, "user"));
            }
            user.name = name.into();
            Ok(())
        })
        .await
    }
}
