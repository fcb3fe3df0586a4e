//! Secrets that are kept elsewhere: read before they are needed, held in memory, and read again and again.
//!
//! The configuration alone says which secret comes from where. The engine asks for them by its port
//! [`Values`]; what cannot be read counts as it was last read, for a bounded time (decision 0075).

mod local;
#[cfg(test)]
mod tests;
mod vault;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use engine::Values;
use parking_lot::RwLock;
use tasks::http;
use tokio::sync::Notify;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::config::{Config, Place, VaultDocument};
use crate::values::FromEnvironment;
use vault::Vault;
pub(crate) use watch::keep;

/// Bytes of the longest secret.
const LENGTH_MAX: usize = engine::vault::VALUE_MAX;
/// Former values that are remembered.
const FORMER_MAX: usize = 3;
/// Names the trouble of all secrets in Vault; a secret cannot be called so.
const ALL_IN_VAULT: &str = "vault:*";
/// How long the start waits for secrets: monitors must run also while Vault is away.
const START_MAX: Duration = Duration::from_secs(10);

/// Why a secret could not be read. No text repeats a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Where it is kept there is none: its value ends at once.
    Gone(String),
    /// It cannot be read, as when Vault says that this server may not.
    Unreadable(String),
    /// Where it is kept cannot be asked for any secret.
    Away(String),
}

impl Trouble {
    fn reason(&self) -> &str {
        let (Self::Gone(why) | Self::Unreadable(why) | Self::Away(why)) = self;
        why
    }
}

/// What reading a secret came to.
type Found = Result<Zeroizing<String>, Trouble>;

/// The secrets of the configuration, and those of the environment.
pub(crate) struct Outside {
    places: BTreeMap<String, Place>,
    vault: Option<Vault>,
    refresh: Duration,
    stale_max: Duration,
    held: RwLock<BTreeMap<String, Held>>,
    /// How many have no value now.
    lacking: AtomicUsize,
    /// They are to be read now.
    asked: Notify,
}

/// What is known of one secret.
struct Held {
    value: Option<Zeroizing<String>>,
    /// Newest first.
    former: Vec<Zeroizing<String>>,
    read_at: Option<Instant>,
    trouble: Option<Trouble>,
}

impl Held {
    fn unread() -> Self {
        let trouble = Some(Trouble::Away("it has not been read yet".to_owned()));
        Self { value: None, former: Vec::new(), read_at: None, trouble }
    }

    fn take(&mut self, found: Found, now: Instant, stale_max: Duration) {
        match found {
            Ok(value) => {
                self.replace(Some(value));
                (self.read_at, self.trouble) = (Some(now), None);
            }
            Err(trouble) => {
                let is_old = |at: Instant| now.saturating_duration_since(at) >= stale_max;
                if matches!(trouble, Trouble::Gone(_)) || self.read_at.is_none_or(is_old) {
                    self.replace(None);
                }
                self.trouble = Some(trouble);
            }
        }
    }

    fn replace(&mut self, value: Option<Zeroizing<String>>) {
        if self.value == value {
            return;
        }
        if let Some(before) = std::mem::replace(&mut self.value, value) {
            self.former.retain(|it| *it != before);
            self.former.insert(0, before);
            self.former.truncate(FORMER_MAX);
        }
    }
}

impl Outside {
    /// The secrets as configured; nothing is read yet.
    ///
    /// # Errors
    /// Some are to come from Vault, and it is not said where that is, or how to log in.
    pub(crate) fn of(config: &Config, calls: http::Settings) -> anyhow::Result<Arc<Self>> {
        let places = config.secrets.0.clone();
        let is_in_vault = |place: &Place| matches!(place, Place::Vault { .. });
        let vault =
            if places.values().any(is_in_vault) { Some(Vault::of(config, calls)?) } else { None };
        local::tell_of_files(places.values());
        let held = places.keys().map(|name| (name.clone(), Held::unread())).collect();
        Ok(Arc::new(Self {
            lacking: AtomicUsize::new(places.len()),
            places,
            vault,
            refresh: config.secrets_refresh,
            stale_max: config.secrets_stale_max,
            held: RwLock::new(held),
            asked: Notify::new(),
        }))
    }

    /// Reads all for the first time; what cannot be read in time is told, and read later.
    pub(crate) async fn begin(&self) {
        if tokio::time::timeout(START_MAX, self.look(Instant::now())).await.is_err() {
            tracing::warn!(
                "secrets that are kept elsewhere could not be read in {START_MAX:?}; the start goes on"
            );
        }
    }

    /// Has them read now.
    pub(crate) fn look_again(&self) {
        self.asked.notify_one();
    }

    /// Reads all.
    pub(crate) async fn look(&self, now: Instant) {
        let mut found: Vec<(&str, Found)> = Vec::with_capacity(self.places.len());
        let mut in_vault: Vec<(&str, &VaultDocument, &str)> = Vec::new();
        for (name, place) in &self.places {
            match place {
                Place::Vault { document, field } => {
                    in_vault.push((name.as_str(), document, field.as_str()));
                }
                place => found.push((name.as_str(), local::read(place).await)),
            }
        }
        self.take(found, now);
        if let Some(vault) = &self.vault {
            let documents: BTreeSet<&VaultDocument> = in_vault.iter().map(|it| it.1).collect();
            let read = vault.read_all(&documents, now).await;
            let mut found = Vec::with_capacity(in_vault.len());
            for (name, document, field) in in_vault {
                if let Some(read) = read.get(document) {
                    found.push((name, vault::field(read, document, field)));
                }
            }
            self.take(found, now);
        }
    }

    fn take(&self, found: Vec<(&str, Found)>, now: Instant) {
        let mut all = self.held.write();
        for (name, found) in found {
            if let Some(held) = all.get_mut(name) {
                held.take(found, now, self.stale_max);
            }
        }
        let lacking = all.values().filter(|held| held.value.is_none()).count();
        self.lacking.store(lacking, Ordering::Relaxed);
    }

    /// What is wrong now, by what names it: one trouble for all that Vault keeps while that is away.
    fn troubles(&self) -> BTreeMap<String, Wrong> {
        let mut troubles = BTreeMap::<String, Wrong>::new();
        let all = self.held.read();
        for (name, held) in &*all {
            let Some(trouble) = &held.trouble else { continue };
            let key = if matches!(trouble, Trouble::Away(_)) { ALL_IN_VAULT } else { name };
            let wrong = troubles.entry(key.to_owned()).or_insert_with(|| Wrong::new(trouble));
            let list = if held.value.is_some() { &mut wrong.stale } else { &mut wrong.lacking };
            list.push(name.clone());
        }
        troubles
    }
}

/// A trouble, and which secrets it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wrong {
    reason: String,
    /// They count as they were last read.
    stale: Vec<String>,
    /// They have no value.
    lacking: Vec<String>,
}

impl Wrong {
    fn new(trouble: &Trouble) -> Self {
        let reason = trouble.reason().to_owned();
        Self { reason, stale: Vec::new(), lacking: Vec::new() }
    }

    /// In a sentence.
    fn text(&self) -> String {
        let mut text = self.reason.clone();
        for (names, what) in [
            (&self.lacking, "tasks that need them fail"),
            (&self.stale, "they count as they were last read"),
        ] {
            if !names.is_empty() {
                // Writing to a text cannot fail.
                let _ = write!(text, "; of secrets {}: {what}", shortened(names));
            }
        }
        text
    }
}

/// Some names of many.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

impl Values for Outside {
    fn secret(&self, name: &str) -> Option<String> {
        match self.held.read().get(name) {
            Some(held) => held.value.as_deref().cloned(),
            None => FromEnvironment.secret(name),
        }
    }

    fn environment(&self, name: &str) -> Option<String> {
        FromEnvironment.environment(name)
    }

    fn secret_names(&self) -> Vec<String> {
        let mut names = FromEnvironment.secret_names();
        names.extend(self.places.keys().cloned());
        names.sort();
        names.dedup();
        names
    }

    fn environment_names(&self) -> Vec<String> {
        FromEnvironment.environment_names()
    }

    fn lacking(&self, name: &str) -> Option<String> {
        let all = self.held.read();
        let held = all.get(name).filter(|held| held.value.is_none())?;
        let why = held.trouble.as_ref().map_or("it has not been read yet", Trouble::reason);
        Some(format!("the secret {name} cannot be read: {why}"))
    }

    fn lacks_any(&self) -> bool {
        self.lacking.load(Ordering::Relaxed) > 0
    }

    fn former_secrets(&self, name: &str) -> Vec<Zeroizing<String>> {
        self.held.read().get(name).map(|held| held.former.clone()).unwrap_or_default()
    }
}
