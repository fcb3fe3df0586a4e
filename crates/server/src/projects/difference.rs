//! What differs between a project's files and the server, object by object.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::object::Object;
use super::owners::Owner;

/// What is done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The object is created.
    Create,
    /// The object is updated.
    Update,
    /// The object exists unchanged, and belongs to the project from now on.
    Adopt,
    /// The project owns it and does not define it any more.
    Remove,
}

/// A plan as those who apply it need it.
pub(super) struct Difference {
    pub(super) changes: BTreeMap<Object, Action>,
    pub(super) owners: BTreeMap<Object, Owner>,
    pub(super) base: String,
    /// Objects that the project owns now.
    pub(super) owned: usize,
}

impl Difference {
    /// What another project owns of that which is changed.
    pub(super) fn foreign<'a>(&'a self, project: &str) -> Vec<(&'a Object, &'a str)> {
        let changed = self.changes.keys().filter_map(|object| {
            let owner = self.owners.get(object).filter(|it| it.project != project)?;
            Some((object, &*owner.project))
        });
        changed.collect()
    }

    pub(super) fn removed(&self) -> impl Iterator<Item = &Object> {
        self.changes.iter().filter(|(_, action)| **action == Action::Remove).map(|(it, _)| it)
    }

    /// Whether more than a fifth of what the project owns would be removed.
    pub(super) fn removes_much(&self) -> bool {
        self.removed().count() * 5 > self.owned
    }
}
