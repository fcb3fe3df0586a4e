//! Hands over the key that makes the first administrator, once access control begins.
//!
//! There is such a key only while there is no administrator. It is written to a file for its owner
//! alone, or shown once on a terminal, and never logged. If a start finds that the file has gone, or
//! that it shows a terminal another one, the former key ends: the place where the last one was put is
//! the one to look at.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use engine::Engine;

use crate::config::{Config, StoreUrl};
use crate::{exposed, secret_key};

/// What to do with it.
const NEXT: &str = "NIGHTBELL_KEY=KEY nightbell key create NAME --role admin";
/// Bytes of a file that are looked at.
const LENGTH_MAX: u64 = 4096;

/// Makes the key, if there is no administrator.
///
/// # Errors
/// The file cannot be read or written; the store's.
pub(crate) async fn begin(engine: &Engine, config: &Config) -> anyhow::Result<()> {
    let shows = config.bootstrap_key_file.is_none() && io::stderr().is_terminal();
    let file = if shows { None } else { place(config) };
    let found = file.as_deref().map(read).transpose()?.flatten();
    let made = engine.access().bootstrap_key(found.as_deref(), engine.now()).await?;
    let Some(made) = made else {
        if let Some(file) = file.filter(|_| engine.access().has_bootstrap()) {
            exposed::tell_of_file(&file, "the bootstrap key");
            tracing::warn!(
                "there is no administrator yet: make one with the bootstrap key in {}",
                file.display()
            );
        }
        return Ok(());
    };
    if let Some(file) = file {
        let shown = file.display();
        secret_key::write(&file, &made.text)
            .with_context(|| format!("cannot write the bootstrap key to {shown}"))?;
        tracing::warn!(
            "there is no administrator yet: make one with the bootstrap key in {shown}, by `{NEXT}`"
        );
    } else if !shows {
        anyhow::bail!(
            "there is no administrator yet: name a file for the bootstrap key (bootstrap_key_file)"
        );
    } else {
        let text = made.text.as_str();
        writeln!(
            io::stderr(),
            "\nThere is no administrator yet. Make one with the bootstrap key, which is shown this \
             once:\n\n  {text}\n\nby: {NEXT}\n"
        )?;
    }
    Ok(())
}

/// Where the key is written; nowhere if nothing is configured and the store is no file beside which to
/// write it.
fn place(config: &Config) -> Option<PathBuf> {
    match (&config.bootstrap_key_file, &config.store) {
        (Some(file), _) => Some(file.clone()),
        (None, StoreUrl::Sqlite(path)) => {
            let mut file = path.clone().into_os_string();
            file.push(".bootstrap-key");
            Some(file.into())
        }
        (None, StoreUrl::Postgres(_)) => None,
    }
}

/// What lies in the file; `None` if there is none.
fn read(file: &Path) -> anyhow::Result<Option<String>> {
    use std::io::Read as _;
    let opened = match std::fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot read the bootstrap key in {}", file.display()));
        }
    };
    let mut bytes = Vec::new();
    opened.take(LENGTH_MAX).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
}
