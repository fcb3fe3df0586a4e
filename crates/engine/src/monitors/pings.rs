//! The calls of jobs: which heartbeat monitor a key or a slug means, and monitors that calls make.

use std::sync::Arc;

use kernel::alert::definition::{File, Kind, MonitorDef, PingKey};
use kernel::alert::secret_alone;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{ApplyError, OWN_MONITOR};
use crate::engine::Engine;

/// Monitors that calls with a ping key have made are a source of its own: this, with the key's name
/// behind it.
pub(super) const MADE: &str = "pings:";

/// What became of a call for a slug that there is not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Making {
    /// The monitor was made, or somebody else has just made it.
    Made(Arc<str>),
    /// The ping key makes none, or this is no slug.
    Refused,
    /// A monitor of this name is there, and is none that the ping key opens.
    Taken,
    /// As many were made as may be.
    Full(usize),
}

impl Engine {
    /// The heartbeat monitor that is called by this key: the setting `key`, or else its name.
    pub fn monitor_of_ping(&self, key: &str) -> Option<Arc<str>> {
        let sources = self.inner.monitors.sources.read();
        // Those that were made because somebody spoke of them wait for nobody, and those that calls
        // have made for calls with the same ping key.
        let files = sources
            .iter()
            .filter(|(source, _)| ***source != *OWN_MONITOR && !source.starts_with(MADE));
        let monitors = files.flat_map(|(_, file)| &file.monitors);
        let mut called = monitors.filter(|it| it.kind == Kind::Heartbeat);
        let given = digest(key);
        let is_key = |monitor: &&MonitorDef| {
            let settings = monitor.settings.parse();
            match settings.get("key").and_then(Value::as_str) {
                None => *monitor.name == *key,
                Some(own) => self.is_the_key(own, &given),
            }
        };
        called.find(is_key).map(|monitor| monitor.name.clone())
    }

    /// The name of the ping key that is given.
    pub fn ping_key(&self, given: &str) -> Option<Arc<str>> {
        let given = digest(given);
        let sources = self.inner.monitors.sources.read();
        let mut keys = sources.values().flat_map(|file| &file.ping_keys);
        keys.find(|(_, key)| self.is_the_key(&key.key, &given)).map(|(name, _)| name.clone())
    }

    /// Whether a key as a file has it, written out or as a secret, is the one that is given.
    fn is_the_key(&self, written: &str, given: &Digested) -> bool {
        // Digests that differ say nothing of what was given, however they are compared.
        match secret_alone(written) {
            None => digest(written) == *given,
            Some(secret) => {
                let own = self.values().secret(secret).filter(|own| !own.is_empty());
                own.is_some_and(|own| digest(&own) == *given)
            }
        }
    }

    /// The heartbeat monitor that a ping key opens by this slug: of the file that has the key, or made
    /// by a call with it.
    pub fn monitor_of_slug(&self, ping_key: &str, slug: &str) -> Option<Arc<str>> {
        let sources = self.inner.monitors.sources.read();
        let of_file = sources.values().find(|file| file.ping_keys.contains_key(ping_key));
        let made = sources.get(&*made_by(ping_key));
        let is_slug = |it: &&MonitorDef| it.slug().is_some_and(|own| *own == *slug);
        let monitors = of_file?.monitors.iter().chain(made.into_iter().flat_map(|it| &it.monitors));
        let found = monitors.filter(is_slug).map(|it| it.name.clone()).next();
        drop(sources);
        found
    }

    /// Makes the heartbeat monitor that a ping key says of a slug.
    ///
    /// # Errors
    /// As [`Engine::apply_monitors`].
    pub async fn make_by_ping(&self, ping_key: &str, slug: &str) -> Result<Making, ApplyError> {
        let _alone = self.inner.monitors.making.lock().await;
        if let Some(monitor) = self.monitor_of_slug(ping_key, slug) {
            return Ok(Making::Made(monitor));
        }
        let key: Option<PingKey> = {
            let sources = self.inner.monitors.sources.read();
            sources.values().find_map(|file| file.ping_keys.get(ping_key).cloned())
        };
        let Some((key, monitor)) = key.and_then(|key| Some((key.clone(), key.monitor(slug)?)))
        else {
            return Ok(Making::Refused);
        };
        if self.source_of_monitor(slug).is_some() {
            return Ok(Making::Taken);
        }
        let source = made_by(ping_key);
        let mut file: File = self.monitors_of(&source).unwrap_or_default();
        if file.monitors.len() >= key.limit() {
            return Ok(Making::Full(key.limit()));
        }
        let name = monitor.name.clone();
        file.monitors.push(monitor);
        self.apply_monitors(&source, file).await?;
        tracing::info!(monitor = %name, ping_key, "monitor created by a ping");
        Ok(Making::Made(name))
    }
}

type Digested = [u8; 32];

fn digest(key: &str) -> Digested {
    Sha256::digest(key.as_bytes()).into()
}

fn made_by(ping_key: &str) -> String {
    format!("{MADE}{ping_key}")
}
