//! Files that were refused while the server runs: `/health` lists them, and each opens an incident on
//! Nightbell's own monitor until it is good again or gone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use engine::Engine;
use engine::monitors::ApplyError;
use kernel::alert::Status;

use crate::own::{self, Wrongs};

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
        tracing::error!(%error, "state of the files could not be reported to Nightbell's own monitor");
    }
    told.is_ok()
}

async fn tell_incidents(
    engine: &Engine,
    prefix: &str,
    refused: &Mistakes,
) -> Result<(), ApplyError> {
    let wrong = |(file, mistakes): (&PathBuf, &Vec<String>)| {
        let key: Arc<str> = format!("{prefix}{}", file.display()).into();
        (key, (Status::Fail, mistakes.join("; ")))
    };
    let wrongs: Wrongs = refused.iter().map(wrong).collect();
    own::tell(engine, prefix, &wrongs, "the file is good again, or gone").await
}
