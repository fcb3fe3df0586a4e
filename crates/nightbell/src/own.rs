//! Tells Nightbell's own monitor of what is wrong outside the engine: an incident for each, until it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::Engine;
use engine::monitors::{ApplyError, OWN_MONITOR};
use kernel::alert::{Monitor, Observation, Status};

/// What is wrong, by the keys of its incidents.
pub(crate) type Wrongs = BTreeMap<Arc<str>, (Status, String)>;

/// Tells all that is wrong of one kind, whose keys begin with `prefix`. Incidents of that kind which are
/// not among them end with the text `over`.
///
/// # Errors
/// The store's.
pub(crate) async fn tell(
    engine: &Engine,
    prefix: &str,
    wrongs: &Wrongs,
    over: &str,
) -> Result<(), ApplyError> {
    let open = |monitor: &Monitor| -> BTreeSet<Arc<str>> {
        let incidents = monitor.incidents.values().filter(|it| it.key.starts_with(prefix));
        incidents.map(|incident| incident.key.clone()).collect()
    };
    let open = engine.monitor(OWN_MONITOR, open).await?.unwrap_or_default();
    for key in open.into_iter().filter(|key| !wrongs.contains_key(key)) {
        engine.observe_own(Observation { key, ..Observation::of(Status::Ok, over) }).await?;
    }
    for (key, (status, text)) in wrongs {
        let key = key.clone();
        let seen = Observation { key, ..Observation::of(*status, text.clone()) };
        engine.observe_own(seen).await?;
    }
    Ok(())
}
