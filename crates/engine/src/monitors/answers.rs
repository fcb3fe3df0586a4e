//! Whether this server hears what people answer to messages: where it asks for that itself and is
//! refused, acknowledgements are lost without anybody noticing. So that is an incident of Nightbell's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::Timestamp;
use kernel::alert::{Monitor, OWN_MONITOR, Observation, State, Status};

use super::ApplyError;
use crate::engine::Engine;

/// Before the name of the receiver in the key of such an incident.
const ANSWERS_KEY: &str = "answers:";
/// Characters of a reason that are told.
const REASON_MAX: usize = 500;

/// Receivers whose answers are not heard: since when, and why.
pub(crate) type Unheard = BTreeMap<Arc<str>, (Timestamp, String)>;

impl Engine {
    /// The receivers whose answers are not heard: since when, and why.
    pub(crate) fn unheard_answers(&self) -> Unheard {
        self.inner.receivers.unheard.lock().clone()
    }

    /// Answers to messages of a receiver cannot be asked for, again and again.
    ///
    /// # Errors
    /// The incident cannot be opened; it is to be said again.
    pub async fn answers_are_unheard(
        &self,
        receiver: &str,
        reason: &str,
    ) -> Result<(), ApplyError> {
        let reason: String = reason.chars().take(REASON_MAX).collect();
        let known = self.inner.receivers.unheard.lock().get(receiver).cloned();
        if known.as_ref().is_some_and(|(_, known)| *known == reason) {
            return Ok(());
        }
        let since = known.map_or_else(|| self.now(), |(since, _)| since);
        let text = format!(
            "acknowledging from messages of {receiver} does nothing since {since}: {reason}"
        );
        self.observe_own(observation(receiver, Status::Fail, text)).await?;
        self.inner.receivers.unheard.lock().insert(receiver.into(), (since, reason));
        Ok(())
    }

    /// Answers to messages of a receiver are heard, or are asked for no more.
    ///
    /// # Errors
    /// The incident cannot be closed; it is to be said again.
    pub async fn answers_are_heard(&self, receiver: &str) -> Result<(), ApplyError> {
        let key = format!("{ANSWERS_KEY}{receiver}");
        // It may have been opened before this server started.
        let is_open = |monitor: &Monitor| {
            monitor.incidents.get(&*key).is_some_and(|it| it.state != State::Resolved)
        };
        if self.monitor(OWN_MONITOR, is_open).await? == Some(true) {
            let text = format!("answers to messages of {receiver} are heard again");
            self.observe_own(observation(receiver, Status::Ok, text)).await?;
        }
        self.inner.receivers.unheard.lock().remove(receiver);
        Ok(())
    }
}

fn observation(receiver: &str, status: Status, text: String) -> Observation {
    let key = format!("{ANSWERS_KEY}{receiver}").into();
    Observation { key, ..Observation::of(status, text) }
}
