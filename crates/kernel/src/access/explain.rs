//! Which role or grant of somebody decides: for people who ask, not for requests.

use super::Principal;
use super::grant::{Grant, Selector, Tag};
use super::permission::{Permission, Permissions};
use super::role::Role;

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
pub enum Granting<'a> {
    /// A role on everything.
    Role(Role),
    /// A role on some things.
    Grant(&'a Grant),
}

impl Principal {
    /// What gives a permission on a thing: the first role on everything, else the first grant;
    /// `None` if nothing does.
    pub fn granting(&self, permission: Permission, thing: &Thing) -> Option<Granting<'_>> {
        let needed = Permissions::of(&[permission]);
        let role = self.roles.iter().find(|role| role.permissions().meets(needed));
        role.map(|role| Granting::Role(*role)).or_else(|| {
            let mut grants = self.grants.iter();
            let grant = grants.find(|it| it.permissions().meets(needed) && fits(&it.on, thing));
            grant.map(Granting::Grant)
        })
    }
}

fn fits(on: &Selector, thing: &Thing) -> bool {
    match (on, thing) {
        (Selector::Hub(hub), Thing::Hub(name)) => hub.fits(name),
        (Selector::Task { name, domain }, Thing::Task { name: of, domain: within }) => {
            name.fits(of) && domain.as_ref().is_none_or(|it| it.fits(within.as_deref()))
        }
        (Selector::Workflow { name, tag }, Thing::Workflow { name: of, tags }) => {
            name.as_ref().is_none_or(|name| name.fits(of))
                && tag.as_ref().is_none_or(|tag| tags.contains(tag))
        }
        _ => false,
    }
}
