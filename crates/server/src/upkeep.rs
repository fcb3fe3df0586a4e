//! The port through which whoever runs the server learns its settings, has its files read again and its store
//! backed up: the binary knows these.

use std::fmt;

use async_trait::async_trait;
use kernel::Timestamp;

/// A setting as it is in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key.
    pub key: &'static str,
    /// Its value, with passwords masked.
    pub value: String,
    /// Where the value came from: `default`, a place in a file, a variable or an option.
    pub origin: String,
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The name of its file.
    pub file: String,
    /// When it was made.
    pub at: Timestamp,
    /// Its size.
    pub bytes: u64,
}

/// What is known of backups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backups {
    /// Why this server makes none, if it does not.
    pub why_not: Option<String>,
    /// The folder in which they are.
    pub folder: Option<String>,
    /// The newest.
    pub last: Option<Backup>,
    /// Since when one is being made.
    pub running_since: Option<Timestamp>,
    /// Why the one that was tried last came to nothing.
    pub failure: Option<String>,
}

/// Knows the settings, the files and the store of this process.
#[async_trait]
pub trait Upkeep: fmt::Debug + Send + Sync {
    /// Every setting, in the order in which people should meet them.
    fn settings(&self) -> &[Setting];

    /// Reads certificates and the files of `--load` again, as SIGHUP does; returns when that is done.
    ///
    /// # Errors
    /// The server is ending.
    async fn reload(&self) -> Result<(), String>;

    /// What is known of backups.
    fn backups(&self) -> Backups;

    /// Begins to back the store up.
    ///
    /// # Errors
    /// Why none is begun.
    fn back_up(&self) -> Result<(), String>;
}
