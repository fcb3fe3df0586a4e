//! Users and groups as clients of Orkes see them.

use engine::{Access, GroupRecord, UserRecord};
use serde_json::{Value, json};

use super::words;

/// The id by which clients of Orkes know the user of an application.
const OF_APPLICATION: &str = "app:";

/// A user or an application by what a client calls it.
pub(super) fn name_of(id: &str) -> &str {
    id.strip_prefix(OF_APPLICATION).unwrap_or(id)
}

/// What clients call a user, or the user of an application.
pub(super) fn id_of(user: &UserRecord) -> String {
    if user.application { format!("{OF_APPLICATION}{}", user.id) } else { user.name.to_string() }
}

/// A user as clients of Orkes see it.
pub(super) fn user(access: &Access, user: &UserRecord) -> Value {
    let groups = access.groups_of(user).into_iter().filter_map(|name| access.group(&name).ok());
    let groups: Vec<Value> = groups.map(|group| self::group(&group)).collect();
    json!({
        "id": id_of(user),
        "name": user.label.as_ref().unwrap_or(&user.name),
        "roles": words::shown_roles(&user.roles),
        "groups": groups,
        "uuid": user.id,
        "applicationUser": user.application,
    })
}

/// A group as clients of Orkes see it.
pub(super) fn group(group: &GroupRecord) -> Value {
    json!({
        "id": group.name,
        "description": group.label.as_ref().unwrap_or(&group.name),
        "roles": words::shown_roles(&group.roles),
        "defaultAccess": {},
    })
}
