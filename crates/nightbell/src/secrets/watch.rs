//! Reads the secrets again and again, and tells when some cannot be read: in `/health`, and by an incident.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use kernel::Timestamp;
use kernel::alert::Status;
use tokio::time::Instant;

use super::{Outside, Wrong};
use crate::own::{self, Wrongs};

/// The longest pause while something is wrong.
const AGAIN: Duration = Duration::from_secs(10);
/// What the keys of the incidents begin with.
const KEY: &str = "secret:";

/// Keeps the secrets up to date for as long as the engine lives.
pub(crate) fn keep(outside: Arc<Outside>, engine: Engine) {
    if outside.places.is_empty() {
        return;
    }
    tokio::spawn(async move {
        let mut told = Announced::default();
        loop {
            told.tell(&engine, outside.troubles()).await;
            let is_well = told.since.is_empty() && told.is_complete;
            let pause = if is_well { outside.refresh } else { outside.refresh.min(AGAIN) };
            tokio::select! {
                biased;
                () = engine.stopped() => return,
                () = outside.asked.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            outside.look(Instant::now()).await;
        }
    });
}

/// What was told.
#[derive(Default)]
struct Announced {
    wrong: Option<BTreeMap<String, Wrong>>,
    since: BTreeMap<String, Timestamp>,
    /// The monitor heard of all of it.
    is_complete: bool,
}

impl Announced {
    async fn tell(&mut self, engine: &Engine, wrong: BTreeMap<String, Wrong>) {
        if self.is_complete && self.wrong.as_ref() == Some(&wrong) {
            return;
        }
        let now = engine.now();
        self.since.retain(|name, _| wrong.contains_key(name));
        for (name, what) in &wrong {
            if !self.since.contains_key(name) {
                tracing::warn!("secrets that are kept elsewhere: {}", what.text());
                self.since.insert(name.clone(), now);
            }
        }
        let since = |name: &String| self.since.get(name).copied().unwrap_or(now);
        let troubles = wrong.iter().map(|(name, what)| (what.text(), since(name))).collect();
        engine.set_secret_troubles(troubles);
        let incident = |(name, what): (&String, &Wrong)| {
            let status = if what.lacking.is_empty() { Status::Warn } else { Status::Fail };
            let key: Arc<str> = format!("{KEY}{name}").into();
            (key, (status, what.text()))
        };
        let incidents: Wrongs = wrong.iter().map(incident).collect();
        let heard = own::tell(engine, KEY, &incidents, "it can be read again").await;
        if let Err(error) = &heard {
            tracing::error!(%error, "state of secret backends could not be reported to Nightbell's own monitor");
        }
        self.is_complete = heard.is_ok();
        self.wrong = Some(wrong);
    }
}
