//! What `--load` keeps a server like: definitions that its files do not hold any more are removed.
//!
//! The files of `--load` are the project `load`. It owns what nobody else does; files of monitors
//! go with their file anyhow.

use std::collections::BTreeMap;

use engine::{Change, Engine};

use super::Defined;
use super::object::Object;
use super::owners::{self, Owner};
use super::wanted::Wanted;
use crate::problem::Problem;

/// The project of the files of `--load`.
const LOAD: &str = "load";

/// What files do not define any more, in words.
#[derive(Debug, Default)]
pub struct Pruned {
    /// What was removed.
    pub removed: Vec<String>,
    /// What stays, as it may be defined by files that were not found.
    pub kept: Vec<String>,
}

/// Notes that the files of `--load` define these, each with the path of it that leads to its file, and
/// removes what they defined before and do not any more, if that `is_gone` from the path that led there.
/// That path is not known of what an earlier release has noted.
///
/// # Errors
/// The store's; what was not removed is the next time.
pub async fn prune_loaded(
    engine: &Engine,
    defined: Vec<(Option<String>, &Defined)>,
    is_gone: impl Fn(Option<&str>) -> bool + Send + Sync,
) -> Result<Pruned, Problem> {
    let mut wanted: BTreeMap<Object, Option<String>> = BTreeMap::new();
    for (path, defined) in defined {
        let of_file = Wanted { defined: defined.clone(), ..Wanted::default() };
        wanted.extend(of_file.objects().into_iter().map(|object| (object, path.clone())));
    }
    let owners = owners::all(engine).await?;
    let mut documents = Vec::new();
    for (object, path) in &wanted {
        let owner = owners.get(object);
        if owner.is_some_and(|owner| owner.project != LOAD) {
            continue;
        }
        let applied = object.present(engine).await?.unwrap_or_default();
        let path = path.clone();
        let new = Owner { project: LOAD.to_owned(), applied, path, ..Owner::default() };
        if owner != Some(&new) {
            documents.push(new.document(object));
        }
    }
    engine.change(Change { documents, ..Change::default() }).await?;
    let mut pruned = Pruned::default();
    for (object, owner) in &owners {
        if owner.project != LOAD || wanted.contains_key(object) {
            continue;
        }
        if !is_gone(owner.path.as_deref()) {
            pruned.kept.push(object.to_string());
            continue;
        }
        if object.remove(engine).await? {
            pruned.removed.push(object.to_string());
        }
        owners::forget(engine, object).await?;
    }
    Ok(pruned)
}
