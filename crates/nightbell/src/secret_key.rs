//! Finds the key that seals secrets: given, in a file that was named, or in a file beside the
//! store, which is made on the first start.
//!
//! A key that is not the store's is refused before anything is written. The file is for its owner
//! alone; one that others can read is refused, because the key in it must be taken for known.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use engine::store::Store;
use engine::vault::{self, Key};
use zeroize::Zeroizing;

use crate::config::{Config, StoreUrl};
use crate::exposed;

/// The key for a store, which is the store's own or, at the first start, becomes it.
///
/// # Errors
/// The key cannot be read, is malformed or known to others, or is not the store's.
pub(crate) async fn find(config: &Config, store: &dyn Store) -> anyhow::Result<Key> {
    let (key, source) = if let Some(given) = given(config)? {
        given
    } else {
        let file = beside(&config.store)?;
        let key = match file.try_exists() {
            Ok(false) => make(&file, store).await?,
            _ => read(&file)?,
        };
        (key, file.display().to_string())
    };
    vault::prove(store, &key).await.with_context(|| {
        format!("the key from {source} cannot be used with this store; nothing was changed")
    })?;
    Ok(key)
}

/// The key that the configuration gives, with where it is from.
///
/// # Errors
/// It is given twice, or cannot be read.
pub(crate) fn given(config: &Config) -> anyhow::Result<Option<(Key, String)>> {
    match (&config.secret_key, &config.secret_key_file) {
        (Some(_), Some(_)) => {
            bail!("both secret_key and secret_key_file are set: leave one of them out")
        }
        (Some(key), None) => Ok(Some((key.0.clone(), "the setting secret_key".to_owned()))),
        (None, Some(file)) => Ok(Some((read(file)?, file.display().to_string()))),
        (None, None) => Ok(None),
    }
}

/// The key of a store that several servers share.
///
/// # Errors
/// None is given, or as [`given`].
pub(crate) fn shared(config: &Config) -> anyhow::Result<Key> {
    match given(config)? {
        Some((key, _)) => Ok(key),
        None => bail!(NOT_GIVEN),
    }
}

const NOT_GIVEN: &str = "a store that several servers share needs the same key on each: \
                         set secret_key_file or secret_key (NIGHTBELL_SECRET_KEY)";

/// The file that is used when nothing is said.
fn beside(store: &StoreUrl) -> anyhow::Result<PathBuf> {
    match store {
        StoreUrl::Sqlite(path) => {
            let mut file = path.clone().into_os_string();
            file.push(".key");
            Ok(file.into())
        }
        StoreUrl::Postgres(_) => bail!(NOT_GIVEN),
    }
}

fn read(file: &Path) -> anyhow::Result<Key> {
    let shown = file.display();
    let opened = File::open(file).with_context(|| format!("cannot read the key file {shown}"))?;
    let mode = opened.metadata()?.permissions().mode();
    let shared = if exposed::is_credential(file) { 0o007 } else { 0o077 };
    if mode & shared != 0 {
        bail!(
            "the key file {shown} can be read by others (mode {:03o}): run `chmod 600 {shown}`, \
             and take the key for known if they may have read it",
            mode & 0o777
        );
    }
    let mut text = Zeroizing::new(String::new());
    let read = opened.take(LENGTH_MAX).read_to_string(&mut text);
    read.with_context(|| format!("cannot read the key file {shown}"))?;
    Key::parse(&text).with_context(|| {
        format!("the key file {shown} is malformed; it must hold 32 bytes in base64 or hexadecimal")
    })
}

/// More than any notation of a key needs.
const LENGTH_MAX: u64 = 4096;

async fn make(file: &Path, store: &dyn Store) -> anyhow::Result<Key> {
    let shown = file.display();
    if vault::has_key(store).await? {
        bail!(
            "the key file {shown} is missing, and the store was sealed with the key in it: \
             put the file back, or name it with secret_key_file"
        );
    }
    let bytes = Zeroizing::new(Key::random());
    let written = Zeroizing::new(Key::write(*bytes));
    write(file, &written).with_context(|| format!("cannot make the key file {shown}"))?;
    tracing::info!(
        "generated the key that seals secrets: {shown}; keep a copy apart from the store"
    );
    Ok(Key::new(*bytes))
}

/// Writes a file for its owner alone, whole or not at all.
pub(crate) fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // Left by a start that was cut short.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    opened.write_all(text.as_bytes())?;
    opened.write_all(b"\n")?;
    opened.sync_all()?;
    std::fs::rename(&new, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
