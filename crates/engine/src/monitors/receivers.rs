//! Whether receivers take what they are told: counted, logged, and an incident of Nightbell's own
//! while one does not, which is told to others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kernel::alert::{
    Input, NotificationEvent, OWN_MONITOR, Observation, RECEIVER_KEY, State, Status,
};
use kernel::{ExecutionId, Record, Rejected, Timestamp};
use parking_lot::Mutex;
use serde_json::Value;

use super::answers::Unheard;
use super::{ApplyError, TELL_AGAIN};
use crate::engine::{Engine, Error};
use crate::meter::AttemptOutcome;
use crate::search::{PAGE_MAX, RecordSearch};

/// Characters of a reason that are told.
const REASON_MAX: usize = 500;
/// Deliveries of the past that are looked through at a start.
const LOOKED_THROUGH_MAX: u64 = 2000;

/// What became of deliveries, and which receivers do not take any.
#[derive(Default)]
pub(crate) struct Receivers {
    broken: Mutex<BTreeMap<Arc<str>, Broken>>,
    pub(super) unheard: Mutex<Unheard>,
    /// Held while Nightbell's own monitor hears of a receiver, so that it hears the latest last.
    telling: tokio::sync::Mutex<()>,
}

/// A receiver that does not take what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Since when, as far as this process knows.
    pub since: Timestamp,
    /// Why, as it said last.
    pub reason: String,
    /// Deliveries that were given up since then.
    pub dead: u64,
}

impl Engine {
    /// The receivers that do not take what they are told, by name.
    pub fn broken_receivers(&self) -> BTreeMap<Arc<str>, Broken> {
        self.inner.receivers.broken.lock().clone()
    }

    /// A try of a delivery failed and is made again. `broken`: so often that its receiver is to be
    /// taken for broken.
    pub fn delivery_failed(&self, receiver: &str, reason: &str, broken: bool) {
        if broken {
            self.receiver_is_broken(receiver, reason, 0);
        }
    }

    /// An attempt to tell a receiver something took so long.
    pub fn delivery_tried(&self, how: AttemptOutcome, took: Duration) {
        self.inner.meters.deliveries[how as usize].observe(took);
    }

    /// How many receivers do not take what they are told.
    pub fn broken_count(&self) -> usize {
        self.inner.receivers.broken.lock().len()
    }

    /// Whether receivers are broken, of at most `most` of them: the broken ones first, then those
    /// that are defined, by name.
    pub fn receiver_states(&self, most: usize) -> Vec<(Arc<str>, bool)> {
        let mut states: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        states.extend(
            self.inner.receivers.broken.lock().keys().take(most).cloned().map(|it| (it, true)),
        );
        let sources = self.inner.monitors.sources.read();
        for name in sources.values().flat_map(|file| file.receivers.keys()) {
            if states.len() >= most {
                break;
            }
            states.entry(name.clone()).or_insert(false);
        }
        states.into_iter().collect()
    }

    /// A line of the ledger of deliveries is durable.
    pub(crate) fn delivery_recorded(&self, record: &Record) {
        let outcome = match (record.ledger, &*record.status) {
            ("delivery", "sent") => "sent",
            ("delivery", "dead") => "dead",
            _ => return,
        };
        let body = record.body.parse();
        let Some(receiver) = body["receiver"].as_str() else { return };
        if outcome == "sent" {
            let had_at = body["ended_at"].as_i64().map(Timestamp::from_millis);
            let meter = &self.inner.meters.notifications;
            meter.observe_since(record.at, had_at.unwrap_or_else(|| self.now()));
            if self.inner.receivers.broken.lock().remove(receiver).is_some() {
                tracing::info!(receiver, "receiver accepts notifications again");
                self.tell_of_receiver(receiver);
            }
            return;
        }
        let reason = body["reason"].as_str().unwrap_or("no reason was given");
        tracing::error!(
            receiver, delivery = %record.key, reason,
            "a notification was given up: once the receiver is put right, send it with `nightbell \
             receiver resend`"
        );
        // Who tests a receiver sees what came of it.
        if body["event"] != NotificationEvent::Test.as_str() {
            self.receiver_is_broken(receiver, reason, 1);
        }
    }

    fn receiver_is_broken(&self, receiver: &str, reason: &str, dead: u64) {
        let reason: String = reason.chars().take(REASON_MAX).collect();
        let now = self.now();
        {
            let mut broken = self.inner.receivers.broken.lock();
            let new = Broken { since: now, reason: String::new(), dead: 0 };
            let known = broken.entry(receiver.into()).or_insert(new);
            if known.reason == reason && dead == 0 {
                return;
            }
            known.reason = reason;
            known.dead += dead;
        }
        self.tell_of_receiver(receiver);
    }

    /// Forgets how receivers were that are not defined any more, with the incidents about them.
    pub(crate) fn forget_receivers(&self, gone: Vec<Arc<str>>) {
        for receiver in gone {
            if self.inner.receivers.broken.lock().remove(&receiver).is_some() {
                self.tell_of_receiver(&receiver);
            }
        }
    }

    /// Lets Nightbell's own monitor hear how a receiver is, in the background.
    fn tell_of_receiver(&self, receiver: &str) {
        let (engine, receiver) = (self.clone(), Arc::<str>::from(receiver));
        self.inner.tasks.spawn(async move {
            loop {
                match engine.tell_of_receiver_now(&receiver).await {
                    Ok(()) | Err(ApplyError::Engine(Error::Closing)) => return,
                    Err(error) if error.is_transient() && engine.pauses(TELL_AGAIN).await => {}
                    Err(error) => {
                        return tracing::error!(
                            %receiver, %error, "incident about a broken receiver could not be opened"
                        );
                    }
                }
            }
        });
    }

    async fn tell_of_receiver_now(&self, receiver: &Arc<str>) -> Result<(), ApplyError> {
        let _alone = self.inner.receivers.telling.lock().await;
        let key: Arc<str> = format!("{RECEIVER_KEY}{receiver}").into();
        let broken = self.inner.receivers.broken.lock().get(receiver).cloned();
        if let Some(broken) = broken {
            let text = words(receiver, &broken);
            let seen = Observation { key, ..Observation::of(Status::Fail, text) };
            return self.observe_own(seen).await;
        }
        let is_open = |it: &kernel::alert::Monitor| {
            it.incidents.get(&key).is_some_and(|it| it.state != State::Resolved)
        };
        if self.monitor(OWN_MONITOR, is_open).await? == Some(true) {
            let text = if self.defined_receiver(receiver).is_some() {
                format!("{receiver} takes notifications again")
            } else {
                format!("{receiver} is not defined any more")
            };
            let seen = Observation { key: key.clone(), ..Observation::of(Status::Ok, text) };
            self.observe_own(seen).await?;
        }
        Ok(())
    }

    /// Finds out from the ledger how receivers were before the start, and makes up for what nobody
    /// was told of.
    pub(crate) async fn resume_receivers(&self) -> Result<(), ApplyError> {
        let search = RecordSearch {
            statuses: vec!["sent".to_owned(), "dead".to_owned()],
            size: LOOKED_THROUGH_MAX,
            ..RecordSearch::newest("delivery")
        };
        let mut last: BTreeMap<Arc<str>, (i64, Option<String>)> = BTreeMap::new();
        for line in self.inner.store.records(&search).await?.rows {
            let body = line.body.parse();
            let Some(receiver) = body["receiver"].as_str() else { continue };
            let ended = body["ended_at"].as_i64().unwrap_or_default();
            let dead = *line.status == *"dead" && body["event"] != "test";
            let reason = dead.then(|| body["reason"].as_str().unwrap_or_default().to_owned());
            let known = last.entry(receiver.into()).or_insert((i64::MIN, None));
            if ended > known.0 {
                *known = (ended, reason);
            }
        }
        let defined = self.monitors_file().receivers;
        let now = self.now();
        for (receiver, (ended, reason)) in last {
            if let Some(reason) = reason.filter(|_| defined.contains_key(&receiver)) {
                let since = Timestamp::from_millis(ended).min(now);
                let broken = Broken { since, reason, dead: 1 };
                self.inner.receivers.broken.lock().entry(receiver).or_insert(broken);
            }
        }
        let open = |it: &kernel::alert::Monitor| -> Vec<Arc<str>> {
            let keys = it.incidents.values().filter(|it| it.state != State::Resolved);
            keys.filter_map(|it| Some(it.key.strip_prefix(RECEIVER_KEY)?.into())).collect()
        };
        let mut concerned = self.monitor(OWN_MONITOR, open).await?.unwrap_or_default();
        let broken = self.broken_receivers();
        concerned.extend(
            broken.keys().filter(|it| !concerned.contains(it)).cloned().collect::<Vec<_>>(),
        );
        for receiver in concerned {
            self.tell_of_receiver_now(&receiver).await?;
        }
        Ok(())
    }

    /// Sends what was given up to a receiver again, as far as it still matters: pages of what is
    /// open, and ends that it has not heard. How many monitors had something to send.
    ///
    /// # Errors
    /// The store's.
    pub async fn resend_to(&self, receiver: &str, who: Option<&str>) -> Result<usize, Error> {
        let mut monitors: Vec<Arc<str>> = Vec::new();
        let mut search = RecordSearch {
            statuses: vec!["dead".to_owned()],
            size: PAGE_MAX,
            ..RecordSearch::newest("delivery")
        };
        loop {
            let page = self.inner.store.records(&search).await?;
            let of_receiver =
                page.rows.iter().filter(|it| is_text(&it.body.parse()["receiver"], receiver));
            monitors.extend(of_receiver.map(|line| line.subject.clone()));
            search.start += page.rows.len() as u64;
            if page.rows.is_empty() || search.start >= page.total {
                break;
            }
        }
        monitors.sort();
        monitors.dedup();
        let mut sent = 0;
        for monitor in monitors {
            let input = Input::Resend {
                incident: None,
                receiver: Some(receiver.into()),
                who: who.map(Into::into),
            };
            match self.step(&ExecutionId::monitor(&monitor), input).await {
                Ok(()) => sent += 1,
                Err(Error::Rejected(Rejected::Stale(_) | Rejected::Unknown(_))) => {}
                Err(error @ Error::Quarantined { .. }) => {
                    tracing::warn!(%monitor, %error, "notifications could not be resent");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}

fn is_text(value: &Value, text: &str) -> bool {
    value.as_str() == Some(text)
}

/// What is wrong with a receiver.
fn words(receiver: &str, broken: &Broken) -> String {
    let Broken { since, reason, dead } = broken;
    let given_up = match dead {
        0 => String::new(),
        1 => ". A notification was given up".to_owned(),
        dead => format!(". {dead} notifications were given up"),
    };
    let resend = match dead {
        0 => String::new(),
        _ => format!(
            "; once {receiver} is put right, send what still matters: nightbell receiver resend \
             {receiver}"
        ),
    };
    format!("{receiver} takes no notifications since {since}: {reason}{given_up}{resend}")
}
