//! Acknowledging from a message: a token in it names one delivery, and whoever gives it back takes care
//! of what the message told.
//!
//! A token is `fingerprint of an incident · its number · number of the delivery · MAC` in base64url: 54
//! characters, as a button of Telegram's takes 64 bytes. What was told, to whom and when stands in the
//! ledger of deliveries. For the monitor, what is done by a token was done when its message was sent:
//! so each message counts once, and a request that is repeated, or replayed, is stale.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kernel::alert::{Input, ProviderAction, ProviderEvent};
use kernel::{ExecutionId, Rejected, Timestamp};
use serde_json::Value;
use sha2::Sha256;

use crate::engine::{Engine, Error};
use crate::search::RecordSearch;

/// What the key of the MACs is derived for.
const PURPOSE: &str = "acknowledging from messages";
/// Bytes of a fingerprint.
const FINGERPRINT: usize = 16;
/// Bytes before the MAC: fingerprint, number of the incident, number of the delivery.
const NAMED: usize = FINGERPRINT + 4 + 4;
/// Bytes of the MAC.
const MAC: usize = 16;
/// Milliseconds for which a message can be answered in any case.
const VALID: i64 = 24 * 3_600_000;
/// Milliseconds for which one can be answered that told of something that is still open, so that what rang
/// on a Friday night can be acknowledged on Monday.
const VALID_WHILE_OPEN: i64 = 7 * VALID;
/// Kinds of receivers that reach one person, who knows what they did.
const PERSONAL: [&str; 1] = ["twilio"];

/// The message that a token belongs to.
#[derive(Clone, Debug)]
pub struct AckMessage {
    /// The monitor that told of something.
    pub monitor: Arc<str>,
    /// To whom.
    pub receiver: Arc<str>,
    /// What, in a line.
    pub title: String,
    /// The ids of the incidents that it told of.
    pub incidents: Vec<Arc<str>>,
    /// When it was sent first.
    pub sent_at: Timestamp,
}

/// What came of a token.
#[derive(Clone, Debug)]
pub struct Acked {
    /// The message.
    pub message: AckMessage,
    /// How many of its incidents are acknowledged by this.
    pub taken: usize,
    /// Why another is not.
    pub why: Option<String>,
}

/// Why nothing comes of a token.
#[derive(Debug, thiserror::Error)]
pub enum AckError {
    /// It is none of this server's, or the ledger has forgotten its message.
    #[error("this does not belong to any message of this server")]
    Unknown,
    /// Its message is too old.
    #[error(
        "a message can be answered for a day, and for a week while an incident that it told of is open: \
         this one cannot any more"
    )]
    Expired,
    /// The store, or the server as a whole.
    #[error(transparent)]
    Engine(#[from] Error),
}

impl Engine {
    /// The token for a message about this notification; `None` for one that is about no incident.
    pub fn ack_token(&self, notification: &Value) -> Option<String> {
        let first = notification.pointer("/group/members/0").unwrap_or(notification);
        let (fingerprint, number) = first["incident"].as_str()?.rsplit_once('-')?;
        let fingerprint = u128::from_str_radix(fingerprint, 16).ok()?;
        let (_, sequence) = notification["delivery"].as_str()?.rsplit_once('/')?;
        let (number, sequence): (u32, u32) = (number.parse().ok()?, sequence.parse().ok()?);
        let mut named = fingerprint.to_be_bytes().to_vec();
        named.extend(number.to_be_bytes());
        named.extend(sequence.to_be_bytes());
        let mac = self.ack_mac(&named).finalize().into_bytes();
        named.extend(mac.iter().take(MAC));
        Some(URL_SAFE_NO_PAD.encode(named))
    }

    fn ack_mac(&self, named: &[u8]) -> Hmac<Sha256> {
        let key = self.vault().derive_key(PURPOSE);
        let mac = Hmac::<Sha256>::new_from_slice(&*key).expect("a MAC takes keys of any length");
        mac.chain_update(named)
    }

    /// The message that a token belongs to; changes nothing.
    ///
    /// # Errors
    /// There is none, or it is too old.
    pub async fn ack_message(&self, token: &str) -> Result<AckMessage, AckError> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| AckError::Unknown)?;
        let (named, mac) = bytes.split_at_checked(NAMED).ok_or(AckError::Unknown)?;
        if mac.len() != MAC || self.ack_mac(named).verify_truncated_left(mac).is_err() {
            return Err(AckError::Unknown);
        }
        let number =
            |bytes: &[u8]| bytes.iter().fold(0_u128, |it, byte| it << 8 | u128::from(*byte));
        let (fingerprint, numbers) = named.split_at(FINGERPRINT);
        let (incident, delivery) = numbers.split_at(numbers.len() / 2);
        let incident = format!("{:032x}-{}", number(fingerprint), number(incident));
        let search =
            RecordSearch { keys: vec![incident], size: 1, ..RecordSearch::newest("incident") };
        let told = self.ledger_line(&search).await?.ok_or(AckError::Unknown)?;
        let line = format!("{}/{}", told.subject, number(delivery));
        let search = RecordSearch { keys: vec![line], size: 1, ..RecordSearch::newest("delivery") };
        let delivery = self.ledger_line(&search).await?.ok_or(AckError::Unknown)?;
        let body = delivery.body.parse();
        let texts = body["incidents"].as_array().into_iter().flatten();
        let incidents: Vec<Arc<str>> = texts.filter_map(Value::as_str).map(Arc::from).collect();
        let age = self.now().since(delivery.at);
        let is_valid = age <= VALID
            || age <= VALID_WHILE_OPEN && self.is_any_open(&told.subject, &incidents).await?;
        if !is_valid {
            return Err(AckError::Expired);
        }
        Ok(AckMessage {
            monitor: told.subject,
            receiver: body["receiver"].as_str().ok_or(AckError::Unknown)?.into(),
            title: body["title"].as_str().unwrap_or_default().to_owned(),
            incidents,
            sent_at: delivery.at,
        })
    }

    async fn is_any_open(&self, monitor: &str, incidents: &[Arc<str>]) -> Result<bool, Error> {
        let is_open = |hosted: &crate::machine::AnyMachine| {
            let monitor = hosted.monitor()?;
            let mut known = incidents.iter().filter_map(|id| monitor.incident(id));
            Some(known.any(|incident| incident.state.is_open()))
        };
        let found = self.look(&ExecutionId::monitor(monitor), is_open).await?;
        Ok(found.flatten().unwrap_or(false))
    }

    async fn ledger_line(&self, search: &RecordSearch) -> Result<Option<kernel::Record>, Error> {
        Ok(self.store().records(search).await?.rows.into_iter().next())
    }

    /// Acknowledges what the message of a token told. `who` did it; without a name, those on call whom
    /// the receiver reaches.
    ///
    /// # Errors
    /// The token counts for nothing, or the store cannot.
    pub async fn acknowledge_by_token(
        &self,
        token: &str,
        who: Option<Arc<str>>,
    ) -> Result<Acked, AckError> {
        let message = self.ack_message(token).await?;
        let monitor = ExecutionId::monitor(&message.monitor);
        let kind = self.defined_receiver(&message.receiver).map(|it| it.kind);
        let told_there = kind.is_none_or(|kind| !PERSONAL.contains(&&*kind));
        let (mut taken, mut why) = (0, None);
        for incident in &message.incidents {
            let who = match &who {
                Some(who) => Some(who.clone()),
                None => self.people_told(&monitor, incident, &message.receiver).await?,
            };
            let heard = ProviderEvent {
                incident: incident.clone(),
                receiver: message.receiver.clone(),
                deed: ProviderAction::Acknowledge,
                who,
                why: Some("from its message".into()),
                at: message.sent_at,
                told_there,
            };
            match self.step(&monitor, Input::ProviderEvent(heard)).await {
                Ok(()) => taken += 1,
                Err(Error::Rejected(rejected @ (Rejected::Stale(_) | Rejected::Unknown(_)))) => {
                    why = Some(rejected.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let receiver = &*message.receiver;
        tracing::info!(
            receiver,
            monitor = &*message.monitor,
            taken,
            "action from a notification link or button"
        );
        Ok(Acked { message, taken, why })
    }

    /// The people on call whom a receiver reached with an incident.
    async fn people_told(
        &self,
        monitor: &ExecutionId,
        incident: &str,
        receiver: &str,
    ) -> Result<Option<Arc<str>>, Error> {
        let people = |hosted: &crate::machine::AnyMachine| {
            let told = hosted.monitor()?.incident(incident)?.told.get(receiver)?;
            (!told.people.is_empty()).then(|| told.people.join(", ").into())
        };
        Ok(self.look(monitor, people).await?.flatten())
    }
}
