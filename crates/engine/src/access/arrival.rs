//! Users who come in by an OpenID provider: found by who they are there, created at their first login, and
//! moved into and out of the groups that the provider decides about.

use std::sync::Arc;

use kernel::Timestamp;
use kernel::access::Principal;

use super::people::{GROUPS_OF_ONE_MAX, USERS_MAX, name_of, new_id};
use super::record::{Identity, UserRecord};
use super::state::State;
use super::{Access, AccessError, Record};

/// Somebody whom a provider has vouched for.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Who it is.
    pub identity: Identity,
    /// What the user is called who is created; one who is there already keeps their name.
    pub name: String,
    /// The names of the groups that the provider decides about.
    pub managed: Vec<String>,
    /// Those of them that the user is in.
    pub groups: Vec<String>,
    /// Whether a user of this name, whom no provider knows yet, is this user from now on.
    pub links: bool,
    /// Whether they are let in at all; else a user who is there already leaves the groups.
    pub is_admitted: bool,
}

impl Access {
    /// Who comes in: the user of this identity, in the groups that the provider says. A group that does
    /// not exist counts for nothing.
    ///
    /// # Errors
    /// The user is disabled, or not admitted, whoever they were before; or is not there, and the name breaks
    /// the rule or is taken; or nobody would be an administrator any more; the store's.
    pub async fn arrive(
        &self,
        arrival: Arrival,
        now: Timestamp,
    ) -> Result<Arc<Principal>, AccessError> {
        let writing = self.core.begin().await?;
        let (former, user) = {
            let state = self.core.state.read();
            let former = found(&state, &arrival)?;
            let mut user = match &former {
                Some(former) => former.clone(),
                None => created(&state, &arrival, now)?,
            };
            user.identity = Some(arrival.identity.clone());
            user.groups = groups(&state, &user, &arrival)?;
            (former, user)
        };
        let is_same = |it: &UserRecord| it.identity == user.identity && it.groups == user.groups;
        if !former.as_ref().is_some_and(is_same) {
            self.write(Record::User(user.clone()), now, &writing).await?;
        }
        if !arrival.is_admitted {
            return Err(AccessError::NotAdmitted(user.name.to_string()));
        }
        let state = self.core.state.read();
        // Nobody else has changed anything: the right to is still held.
        let user = state.users.get(&user.id).expect("it was there, or was written");
        user.used.set(now);
        Ok(user.principal.clone())
    }
}

/// The user who is this at the provider, or who is to be from now on.
fn found(state: &State, arrival: &Arrival) -> Result<Option<UserRecord>, AccessError> {
    let named = || {
        let user = state.user(&name_of(&arrival.name, "user").ok()?)?;
        let links = arrival.links && arrival.is_admitted;
        let is_free = user.record.identity.is_none() && !user.record.application;
        (links && is_free).then_some(user)
    };
    let Some(user) = state.identified(&arrival.identity).or_else(named) else { return Ok(None) };
    if !user.record.is_enabled() {
        return Err(AccessError::Disabled(user.record.name.to_string()));
    }
    Ok(Some(user.record.clone()))
}

fn created(state: &State, arrival: &Arrival, now: Timestamp) -> Result<UserRecord, AccessError> {
    let name = name_of(&arrival.name, "user")?;
    if !arrival.is_admitted {
        return Err(AccessError::NotAdmitted(name));
    }
    if state.user(&name).is_some() {
        return Err(AccessError::Taken(name, "user"));
    }
    if state.users.len() >= USERS_MAX {
        return Err(AccessError::Full("10,000 users"));
    }
    Ok(UserRecord {
        id: new_id(|id| state.users.contains_key(id)),
        name: name.into(),
        label: None,
        application: false,
        roles: Vec::new(),
        grants: Vec::new(),
        groups: Vec::new(),
        password: None,
        password_at: None,
        identity: None,
        generation: 0,
        created_at: now,
        created_by: arrival.identity.issuer.clone(),
        disabled_at: None,
        disabled_by: None,
    })
}

/// The ids of the groups that the user is in from now on: those that only we decide about, and those of the
/// others that the provider says.
fn groups(
    state: &State,
    user: &UserRecord,
    arrival: &Arrival,
) -> Result<Vec<Arc<str>>, AccessError> {
    let id = |name: &String| state.group(&name.to_ascii_lowercase()).map(|it| it.record.id.clone());
    let managed: Vec<Arc<str>> = arrival.managed.iter().filter_map(id).collect();
    let is_ours = |it: &&Arc<str>| state.groups.contains_key(*it) && !managed.contains(it);
    let mut groups: Vec<Arc<str>> = user.groups.iter().filter(is_ours).cloned().collect();
    groups.extend(arrival.groups.iter().filter_map(id));
    groups.sort_unstable();
    groups.dedup();
    if groups.len() > GROUPS_OF_ONE_MAX {
        return Err(AccessError::Full("100 groups of this user"));
    }
    // What differs only in its order, or in groups that are gone, need not be written.
    let mut former: Vec<Arc<str>> = user.groups.clone();
    former.retain(|it| state.groups.contains_key(it));
    former.sort_unstable();
    former.dedup();
    Ok(if former == groups { user.groups.clone() } else { groups })
}
