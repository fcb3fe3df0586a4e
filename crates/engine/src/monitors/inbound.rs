//! Monitors that receive alerts: which one a key opens, and what comes in by it.

use std::collections::BTreeSet;
use std::sync::Arc;

use kernel::ExecutionId;
use kernel::alert::definition::{Kind, MonitorDef};
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
        let sources = self.inner.monitors.sources.read();
        let files = sources.iter().filter(|(source, _)| ***source != *OWN_MONITOR);
        let monitors = files.flat_map(|(_, file)| &file.monitors);
        let mut found = None;
        for monitor in monitors.filter(|it| it.kind == Kind::Alerts) {
            let settings = monitor.settings.parse();
            for key in self.keys_of(&settings) {
                // Digests that differ say nothing of what was given, however they are compared.
                if Sha256::digest(key.as_bytes()) == given {
                    found = Some(inbound(monitor, &settings));
                }
            }
        }
        found
    }

    /// The keys of a monitor, those that are there.
    fn keys_of(&self, settings: &Value) -> Vec<String> {
        let reveal = |key: &str| match secret_alone(key) {
            Some(name) => self.values().secret(name),
            // What stands for something else is no key itself; files that say so are refused.
            None => Some(key.to_owned()).filter(|key| !key.contains("${")),
        };
        let keys = texts(settings, "key").filter_map(reveal);
        keys.filter(|key| !key.is_empty()).collect()
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
