//! What `--load` keeps a server like: definitions that its files do not hold any more are removed.
//!
//! The files of `--load` are the project `load`. It owns what nobody else does; files of monitors
//! go with their file anyhow.

use engine::{Change, Engine};

use super::Defined;
use super::object::Object;
use super::owners::{self, Owner};
use super::wanted::Wanted;
use crate::problem::Problem;

/// The project of the files of `--load`.
const LOAD: &str = "load";

/// Notes that the files of `--load` define these, and removes what they defined before and do not
/// any more; or tells only what that is, unless it `removes`. Answers what was removed, in words.
///
/// # Errors
/// The store's; what was not removed is the next time.
pub async fn prune_loaded<'a>(
    engine: &Engine,
    defined: impl Iterator<Item = &'a Defined> + Send,
    removes: bool,
) -> Result<Vec<String>, Problem> {
    let mut wanted = std::collections::BTreeSet::new();
    for defined in defined {
        let of_file = Wanted { defined: defined.clone(), ..Wanted::default() };
        wanted.extend(of_file.objects());
    }
    let owners = owners::all(engine).await?;
    let mut documents = Vec::new();
    for object in &wanted {
        let owner = owners.get(object);
        if owner.is_some_and(|owner| owner.project != LOAD) {
            continue;
        }
        let applied = object.present(engine).await?.unwrap_or_default();
        if owner.is_none_or(|owner| owner.applied != applied) {
            let owner = Owner { project: LOAD.to_owned(), applied, ..Owner::default() };
            documents.push(owner.document(object));
        }
    }
    engine.change(Change { documents, ..Change::default() }).await?;
    let gone =
        owners.iter().filter(|(object, owner)| owner.project == LOAD && !wanted.contains(object));
    let mut removed = Vec::new();
    for object in gone.map(|(object, _)| object).collect::<Vec<&Object>>() {
        if !removes {
            removed.push(object.to_string());
            continue;
        }
        if object.remove(engine).await? {
            removed.push(object.to_string());
        }
        owners::forget(engine, object).await?;
    }
    Ok(removed)
}
