//! Who may do what: permissions, the roles that bundle them, who asks, and the one decision.
//!
//! Everything here is a function of its arguments. The server turns a request into a [`Principal`]
//! and asks [`decide`]; keys are made of random bytes that the shell brings.

mod chain;
mod explain;
mod grant;
mod index;
mod key;
mod name;
mod permission;
mod resource;
mod role;

use std::sync::Arc;

use index::Granted;
use serde::{Deserialize, Serialize};

pub use chain::{ChainCheck, FIRST, chained};
pub use explain::{Granting, Means, Thing};
pub use grant::{BadSelector, DomainPattern, Grant, Pattern, Selector, Tag};
pub use key::{KeyHash, KeyText};
pub use name::check_name;
pub use permission::{Need, Permission, Permissions, Resources};
pub use resource::Resource;
pub use role::{Role, UnknownRole};

/// Whether credentials are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nobody is asked who they are, and everybody may do everything.
    #[default]
    Open,
    /// Credentials count if they are sent; whoever sends none may do everything. For moving over.
    Offered,
    /// Whoever sends no credentials may do nothing but what is public.
    On,
}

/// Roles on everything and grants on some things, compiled for decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    roles: Box<[Role]>,
    permissions: Permissions,
    granted: Granted,
}

impl Held {
    /// Compiles them.
    pub fn new(roles: Vec<Role>, grants: Vec<Grant>) -> Self {
        let permissions =
            roles.iter().fold(Permissions::NONE, |all, role| all | role.permissions());
        Self { roles: roles.into(), permissions, granted: Granted::new(grants) }
    }

    /// The roles that hold on everything.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The roles that hold on some things.
    pub fn grants(&self) -> &[Grant] {
        self.granted.all()
    }

    /// Whether one of the roles has the permission, on everything.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.has(permission)
    }
}

/// A group of users, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What people call it.
    pub name: Arc<str>,
    /// What each of its members has.
    pub held: Held,
}

/// Somebody who has proved who they are, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Names the principal for good: `key:4f1d0c8a2b6e`, `user:0b6e4f1d0c8a`.
    pub id: Arc<str>,
    /// What people call it.
    pub name: Arc<str>,
    /// Differs from the one before when everything that was opened for the principal has ended, as with
    /// a new password.
    pub generation: u64,
    own: Arc<Held>,
    groups: Box<[Arc<Group>]>,
}

impl Principal {
    /// A principal with these roles on everything.
    pub fn new(id: Arc<str>, name: Arc<str>, roles: Vec<Role>) -> Self {
        Self::with_grants(id, name, roles, Vec::new())
    }

    /// A principal with roles on everything, and with others on some things.
    pub fn with_grants(id: Arc<str>, name: Arc<str>, roles: Vec<Role>, grants: Vec<Grant>) -> Self {
        Self::in_groups(id, name, 0, Arc::new(Held::new(roles, grants)), Vec::new())
    }

    /// A principal that has what it was granted itself, and what its groups were.
    pub fn in_groups(
        id: Arc<str>,
        name: Arc<str>,
        generation: u64,
        own: Arc<Held>,
        groups: Vec<Arc<Group>>,
    ) -> Self {
        Self { id, name, generation, own, groups: groups.into() }
    }

    /// What it was granted itself.
    pub fn own(&self) -> &Held {
        &self.own
    }

    fn all_held(&self) -> impl Iterator<Item = &Held> {
        std::iter::once(&*self.own).chain(self.groups.iter().map(|group| &group.held))
    }

    /// Its groups.
    pub fn groups(&self) -> &[Arc<Group>] {
        &self.groups
    }

    /// The roles that it has on everything, its groups' among them; one may come several times.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        self.all_held().flat_map(|held| held.roles().iter().copied())
    }

    /// The roles that it has on some things, its groups' among them.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.all_held().flat_map(Held::grants)
    }

    /// Whether one of its roles has the permission, on everything.
    pub fn may(&self, permission: Permission) -> bool {
        self.all_held().any(|held| held.may(permission))
    }

    /// Whether it has one of the permissions on everything.
    pub fn may_all(&self, needed: Permissions) -> bool {
        self.all_held().any(|held| held.permissions.meets(needed))
    }

    /// Whether it has one of the permissions on a task hub.
    pub fn covers_hub(&self, needed: Permissions, hub: &str) -> bool {
        self.may_all(needed) || self.all_held().any(|held| held.granted.covers_hub(needed, hub))
    }

    /// Whether it has one of the permissions on tasks of a type, in a domain.
    pub fn covers_task(&self, needed: Permissions, task_type: &str, domain: Option<&str>) -> bool {
        self.may_all(needed)
            || self.all_held().any(|held| held.granted.covers_task(needed, task_type, domain))
    }

    /// Whether it has one of the permissions on a workflow definition and its runs.
    pub fn covers_workflow(
        &self,
        needed: Permissions,
        name: &str,
        has_tag: impl Fn(&Tag) -> bool,
    ) -> bool {
        self.may_all(needed)
            || self.all_held().any(|held| held.granted.covers_workflow(needed, name, &has_tag))
    }

    fn has_any(&self, resource: Resource, needed: Permissions) -> bool {
        self.all_held().any(|held| held.granted.has_any(resource, needed))
    }

    /// On which things of a kind it has one of the permissions; not those that it has on everything.
    pub fn selectors(
        &self,
        needed: Permissions,
        resource: Resource,
    ) -> impl Iterator<Item = &Selector> {
        let of_kind = move |grant: &&Grant| {
            grant.on.resource() == resource && grant.permissions().meets(needed)
        };
        self.grants().filter(of_kind).map(|grant| &grant.on)
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// It must say who asks.
    Unauthenticated,
    /// Whoever asks may not.
    Forbidden,
}

/// How far a request that passes may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything.
    All,
    /// Only what grants cover: whoever answers must look at each thing.
    Some,
}

/// Decides on a request: what it needs, and who asks (`None` without credentials).
///
/// # Errors
/// Why it is refused.
pub fn decide(mode: Mode, need: Need, who: Option<&Principal>) -> Result<Reach, Refusal> {
    match (need, who) {
        (Need::Public | Need::Proof, _) | (Need::Anyone, Some(_)) => Ok(Reach::All),
        (Need::OneOf(needed), Some(who)) if who.may_all(needed) => Ok(Reach::All),
        (Need::OneOf(_), Some(_)) => Err(Refusal::Forbidden),
        (Need::Within(needed, resources), Some(who)) => {
            let on_some = |it: &Resource| resources.has(*it) && who.has_any(*it, needed);
            if who.may_all(needed) {
                Ok(Reach::All)
            } else if Resource::ALL.iter().any(on_some) {
                Ok(Reach::Some)
            } else {
                Err(Refusal::Forbidden)
            }
        }
        (Need::Anyone | Need::OneOf(_) | Need::Within(..), None) => match mode {
            Mode::Open | Mode::Offered => Ok(Reach::All),
            Mode::On => Err(Refusal::Unauthenticated),
        },
    }
}
