//! Monitors that receive alerts: which one a key opens, and what comes in by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kernel::ExecutionId;
use kernel::alert::definition::{KEY_MIN, Kind, MonitorDef};
use kernel::alert::{Alert, Input, Monitor, Receiving, secret_alone};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::OWN_MONITOR;
use crate::engine::{Engine, Error};

/// A monitor that receives alerts, as its key opens it.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Its name.
    pub monitor: Arc<str>,
    /// Whether who has the key may see alerts and silences.
    pub may_read: bool,
    /// Whether who has the key may silence what the monitor receives.
    pub may_silence: bool,
    /// The jq program that makes alerts of payloads of any other form.
    pub map: Option<Arc<str>>,
    /// How alerts are told apart, and how many there may be.
    pub receiving: Receiving,
}

/// What the keys of a monitor open.
pub(super) struct Opening {
    /// The keys as the monitor has them: references to secrets, or written out.
    keys: Vec<String>,
    opens: Inbound,
    /// Whether the log was told of keys that are too short.
    is_told: AtomicBool,
}

impl Opening {
    fn of(monitor: &MonitorDef) -> Self {
        let settings = monitor.settings.parse();
        Self {
            keys: texts(&settings, "key").map(str::to_owned).collect(),
            opens: inbound(monitor, &settings),
            is_told: AtomicBool::new(false),
        }
    }
}

/// What became of alerts that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Alerts that were not taken, because too many fire.
    pub refused: usize,
}

impl Engine {
    /// The monitor that is opened by a key. It takes the same time whichever key is given.
    pub fn inbound(&self, key: &str) -> Option<Inbound> {
        let given = Sha256::digest(key.as_bytes());
        let openings = self.openings();
        let mut found = None;
        for opening in openings.iter() {
            for key in self.keys_of(opening) {
                // Digests that differ say nothing of what was given, however they are compared.
                if Sha256::digest(key.as_bytes()) == given {
                    found = Some(&opening.opens);
                }
            }
        }
        found.cloned()
    }

    /// What keys open; read anew when something was applied.
    fn openings(&self) -> Arc<Vec<Opening>> {
        let monitors = &self.inner.monitors;
        // Held until the end, so that nothing is kept of what has been replaced meanwhile.
        let sources = monitors.sources.read();
        if let Some(known) = &*monitors.openings.lock() {
            return known.clone();
        }
        let files = sources.iter().filter(|(source, _)| ***source != *OWN_MONITOR);
        let all = files.flat_map(|(_, file)| &file.monitors);
        let openings = all.filter(|it| it.kind == Kind::Alerts).map(Opening::of);
        let openings: Arc<Vec<Opening>> = Arc::new(openings.collect());
        *monitors.openings.lock() = Some(openings.clone());
        openings
    }

    /// The keys of a monitor, those that are there and long enough; of others the log tells once.
    fn keys_of(&self, opening: &Opening) -> Vec<String> {
        // Secrets may change at any time.
        let reveal = |key: &String| match secret_alone(key) {
            Some(name) => self.values().secret(name),
            // What stands for something else is no key itself; files that say so are refused.
            None => Some(key.clone()).filter(|key| !key.contains("${")),
        };
        let (keys, short): (Vec<String>, Vec<String>) =
            opening.keys.iter().filter_map(reveal).partition(|key| key.len() >= KEY_MIN);
        if !short.is_empty() && !opening.is_told.swap(true, Ordering::Relaxed) {
            let monitor = &opening.opens.monitor;
            tracing::warn!(%monitor, "a key of this monitor has fewer than {KEY_MIN} bytes and opens \
                nothing; `nightbell inbound create` makes one, or put a longer text into its secret");
        }
        keys
    }

    /// Lets a monitor hear alerts.
    ///
    /// # Errors
    /// As [`Engine::step`].
    pub async fn receive_alerts(
        &self,
        inbound: &Inbound,
        alerts: Vec<Alert>,
    ) -> Result<Received, Error> {
        let keys: BTreeSet<Arc<str>> = alerts
            .iter()
            .filter(|alert| alert.lease != kernel::alert::Lease::Over)
            .map(|alert| inbound.receiving.key_of(alert))
            .collect();
        let id = ExecutionId::monitor(&inbound.monitor);
        self.step(&id, Input::Alerts(alerts)).await?;
        let refused = |monitor: &Monitor| {
            let is_missing = |key: &&Arc<str>| !monitor.incidents.contains_key(*key);
            keys.iter().filter(is_missing).count() * usize::from(monitor.is_full())
        };
        let refused = self.monitor(&inbound.monitor, refused).await?.unwrap_or_default();
        Ok(Received { refused })
    }
}

fn inbound(monitor: &MonitorDef, settings: &Value) -> Inbound {
    let allows = |what: &str| texts(settings, "allow").any(|allowed| allowed == what);
    Inbound {
        monitor: monitor.name.clone(),
        may_read: allows("read") || allows("silence"),
        may_silence: allows("silence"),
        map: settings.get("map").and_then(Value::as_str).map(Into::into),
        receiving: Receiving::of(monitor),
    }
}

/// The texts of a setting that is one or a list.
fn texts<'a>(settings: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    let one = settings.get(name).filter(|it| it.is_string());
    let several = settings.get(name).and_then(Value::as_array);
    several.into_iter().flatten().chain(one).filter_map(Value::as_str)
}
