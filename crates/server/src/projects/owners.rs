//! Who owns what: a document for each object that a project has applied.

use std::collections::BTreeMap;

use engine::Engine;
use serde::{Deserialize, Serialize};

use super::object::Object;
use crate::problem::Problem;

/// The kind of these documents.
pub(super) const KIND: &str = "owner";

/// Who owns an object, and what it was when it was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// The project.
    pub(super) project: String,
    /// What the object was on the server right after.
    pub(super) applied: String,
    /// Of a file of monitors: what its text was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) text: String,
    /// Of what `--load` has read: the path of it that led there, as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
}

impl Owner {
    /// It as a document of a change.
    pub(super) fn document(&self, object: &Object) -> (&'static str, String, String) {
        (KIND, object.key(), serde_json::to_string(self).unwrap_or_default())
    }
}

/// All owned objects.
///
/// # Errors
/// The store's.
pub(super) async fn all(engine: &Engine) -> Result<BTreeMap<Object, Owner>, Problem> {
    let mut owners = BTreeMap::new();
    for document in engine.store().documents(KIND).await? {
        let Some(owner) = engine.catalogue().read::<Owner>(&document) else { continue };
        match Object::of_key(&document.name) {
            Some(object) => drop(owners.insert(object, owner)),
            None => engine.catalogue().set_aside(&document, "its name is of no object"),
        }
    }
    Ok(owners)
}

/// Forgets who owns an object.
///
/// # Errors
/// The store's.
pub(super) async fn forget(engine: &Engine, object: &Object) -> Result<(), Problem> {
    engine.catalogue().delete(KIND, &object.key()).await?;
    Ok(())
}
