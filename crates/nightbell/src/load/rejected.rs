//! Files that were refused while the server runs: `/health` lists them, and each opens an incident on
//! Nightbell's own monitor until it is good again or gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::Engine;
use engine::monitors::{ApplyError, OWN_MONITOR};
use kernel::alert::{Monitor, Observation, Status};

/// What is wrong with files, by file.
pub(super) type Mistakes = BTreeMap<PathBuf, Vec<String>>;

/// Files of monitors and files of all other definitions are told apart: each kind is read by itself.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Monitors,
    Definitions,
}

impl Of {
    /// What the keys of the incidents begin with.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Monitors => "file:",
            Self::Definitions => "definitions:",
        }
    }
}

/// Tells which files of a kind are refused now; those that are not among them are good, or gone. Answers
/// whether all could be told.
pub(super) async fn tell(engine: &Engine, of: Of, refused: &Mistakes) -> bool {
    let text = |mistakes: &Vec<String>| mistakes.join("; ");
    let shown = refused.iter().map(|(file, it)| (file.display().to_string().into(), text(it)));
    engine.set_rejected_files(of.prefix(), shown.collect());
    let told = tell_incidents(engine, of.prefix(), refused).await;
    if let Err(error) = &told {
        tracing::error!(%error, "Nightbell's own monitor could not be told of its files");
    }
    told.is_ok()
}

async fn tell_incidents(
    engine: &Engine,
    prefix: &str,
    refused: &Mistakes,
) -> Result<(), ApplyError> {
    let key = |file: &Path| -> Arc<str> { format!("{prefix}{}", file.display()).into() };
    let bad: BTreeMap<Arc<str>, &Vec<String>> =
        refused.iter().map(|(file, mistakes)| (key(file), mistakes)).collect();
    let open = |monitor: &Monitor| -> BTreeSet<Arc<str>> {
        let incidents = monitor.incidents.values().filter(|it| it.key.starts_with(prefix));
        incidents.map(|incident| incident.key.clone()).collect()
    };
    let open = engine.monitor(OWN_MONITOR, open).await?.unwrap_or_default();
    for key in open.into_iter().filter(|key| !bad.contains_key(key)) {
        let text = "the file is good again, or gone";
        engine.observe_own(Observation { key, ..Observation::of(Status::Ok, text) }).await?;
    }
    for (key, mistakes) in bad {
        let seen = Observation { key, ..Observation::of(Status::Fail, mistakes.join("; ")) };
        engine.observe_own(seen).await?;
    }
    Ok(())
}
