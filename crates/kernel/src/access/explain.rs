//! Which role or grant of somebody decides: for people who ask, not for requests.

use std::fmt;

use super::grant::{Grant, Selector, Tag};
use super::permission::{Permission, Permissions};
use super::role::Role;
use super::{Held, Principal};

/// Something that a permission may be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    /// Everything that there is.
    Everything,
    /// A task hub.
    Hub(String),
    /// Tasks of a type.
    Task {
        /// The type.
        name: String,
        /// Their domain, if they have one.
        domain: Option<String>,
    },
    /// A workflow definition with its runs.
    Workflow {
        /// Its name.
        name: String,
        /// Its tags.
        tags: Vec<Tag>,
    },
}

/// What allows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means<'a> {
    /// A role on everything.
    Role(Role),
    /// A role on some things.
    Grant(&'a Grant),
}

/// What allows something, and by which group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granting<'a> {
    /// What it is.
    pub means: Means<'a>,
    /// The name of the group that has it; `None` if the principal has it itself.
    pub group: Option<&'a str>,
}

impl Held {
    fn granting(&self, permission: Permission, thing: &Thing) -> Option<Means<'_>> {
        let needed = Permissions::of(&[permission]);
        let role = self.roles.iter().find(|role| role.permissions().meets(needed));
        role.map(|role| Means::Role(*role)).or_else(|| {
            let mut grants = self.granted.all().iter();
            let grant = grants.find(|it| it.permissions().meets(needed) && fits(&it.on, thing));
            grant.map(Means::Grant)
        })
    }
}

impl Principal {
    /// Everything that gives a permission on a thing: what the principal has itself, then what each of
    /// its groups has; of each the first role on everything, else the first grant.
    pub fn granting(&self, permission: Permission, thing: &Thing) -> Vec<Granting<'_>> {
        let own = self.own.granting(permission, thing);
        let own = own.map(|means| Granting { means, group: None });
        let by_groups = self.groups.iter().filter_map(|group| {
            let means = group.held.granting(permission, thing)?;
            Some(Granting { means, group: Some(&group.name) })
        });
        own.into_iter().chain(by_groups).collect()
    }
}

impl fmt::Display for Granting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.means {
            Means::Role(role) => write!(f, "{role} on everything")?,
            Means::Grant(grant) => write!(f, "{grant}")?,
        }
        match self.group {
            Some(group) => write!(f, ", by the group '{group}'"),
            None => Ok(()),
        }
    }
}

fn fits(on: &Selector, thing: &Thing) -> bool {
    match thing {
        Thing::Everything => false,
        Thing::Hub(name) => on.is_on_hub(name),
        Thing::Task { name, domain } => on.is_on_task(name, domain.as_deref()),
        Thing::Workflow { name, tags } => on.is_on_workflow(name, &|tag: &Tag| tags.contains(tag)),
    }
}
