//! Overrides that people make one at a time, beside the files: a source of its own, which decides after
//! all others.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::alert::definition::File;
use kernel::alert::definition::roster::{Override, Roster};

use super::ApplyError;
use crate::engine::Engine;

/// The source of overrides that people make one at a time.
pub const OVERRIDES: &str = "overrides";
/// Overrides that people make one at a time, at most.
pub const OVERRIDES_MAX: usize = 1000;
/// Milliseconds for which one that is over is kept: three months, as calendars show them.
const KEPT: i64 = 92 * 86_400_000;

/// All sources in the order in which they count: the overrides that people make stand above those of
/// files, whatever these are called.
pub(super) fn in_turn(
    sources: &BTreeMap<Arc<str>, File>,
) -> impl Iterator<Item = (&Arc<str>, &File)> {
    let is_own = |source: &str| source == OVERRIDES;
    let others = sources.iter().filter(move |(source, _)| !is_own(source));
    others.chain(sources.get_key_value(OVERRIDES))
}

/// Why an override does not count: a file may take away a rotation or a person whatever somebody has
/// once put in for them.
pub fn unmet(own: &Override, roster: &Roster) -> Option<String> {
    if !roster.rotations.contains_key(&own.rotation) {
        return Some(format!("there is no rotation {}", own.rotation));
    }
    let gone = own.who.iter().find(|name| !roster.people.contains_key(*name))?;
    Some(format!("there is no person {gone}"))
}

impl Engine {
    /// Lets somebody stand in for whoever has the turn; takes the place of an override of the same rotation
    /// from and to the same instants. Returns whether there was one among those that people made.
    ///
    /// # Errors
    /// [`ApplyError::Unfit`] if its rotation or people are not there, or there are [`OVERRIDES_MAX`] already.
    pub async fn put_override(&self, own: Override) -> Result<bool, ApplyError> {
        if let Some(why) = unmet(&own, &self.monitors_file().roster) {
            return Err(ApplyError::Unfit(vec![why]));
        }
        let since = self.now().plus_millis(-KEPT);
        let mut replaced = false;
        self.change_overrides(|roster| {
            roster.overrides.retain(|it| it.to > since);
            replaced = roster.put_override(own);
            if roster.overrides.len() > OVERRIDES_MAX {
                let why = format!("there are {OVERRIDES_MAX} overrides already: remove one first");
                return Err(ApplyError::Unfit(vec![why]));
            }
            Ok(true)
        })
        .await?;
        Ok(replaced)
    }

    /// Takes back an override that somebody made. Returns whether there was one.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_override(&self, own: &Override) -> Result<bool, ApplyError> {
        self.change_overrides(|roster| {
            let count = roster.overrides.len();
            roster.overrides.retain(|it| !it.is_at(own));
            Ok(roster.overrides.len() < count)
        })
        .await
    }

    /// Changes the overrides that people made, nobody else meanwhile. Returns what `change` does: whether it
    /// changed anything.
    async fn change_overrides(
        &self,
        change: impl FnOnce(&mut Roster) -> Result<bool, ApplyError>,
    ) -> Result<bool, ApplyError> {
        let alone = self.inner.monitors.applying.lock().await;
        let mut file = self.monitors_of(OVERRIDES).unwrap_or_default();
        let changed = change(&mut file.roster)?;
        if changed {
            let of_source = BTreeMap::from([(Arc::from(OVERRIDES), file)]);
            self.apply_alone(of_source, |_| false, &alone).await?;
        }
        Ok(changed)
    }
}
