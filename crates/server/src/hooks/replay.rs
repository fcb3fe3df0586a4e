//! Deliveries that have come before: a signature proves who wrote a payload, not that it is new.
//!
//! What identifies a delivery is signed itself: the provider's id of the event in the payload, or
//! else the whole text that was signed. Ids in headers, such as `X-GitHub-Delivery`, are not: whoever
//! sends a recorded delivery again can change them.

use std::collections::HashSet;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use engine::Engine;
use engine::search::RecordSearch;
use kernel::{Json, Record};
use parking_lot::Mutex;
use ring::digest;
use serde_json::{Value, json};

use super::Webhook;
use super::verify::Verifier;
use crate::problem::Problem;

/// The ledger of deliveries. It keeps some thousand of each webhook, whatever their age, and so long a
/// delivery counts as known, unless its webhook wants it forgotten sooner.
const LEDGER: &str = "webhook-delivery";
/// After how long a webhook may want a delivery forgotten, at most; providers give up trying again
/// before that.
pub(super) const WINDOW_SECONDS_MAX: u32 = 24 * 3600;

/// The deliveries that are being taken at this moment.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<Mutex<HashSet<String>>>);

/// A delivery that is being taken, and that nobody else takes meanwhile.
#[derive(Debug)]
pub(super) struct Taking {
    key: String,
    under_way: UnderWay,
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.under_way.0.lock().remove(&self.key);
    }
}

/// What is known of a delivery that has come.
#[derive(Debug)]
pub(super) enum Arrival {
    /// It is new. Whoever has taken it remembers it.
    New(Taking),
    /// It came before, as the event of this id.
    Seen(String),
    /// Nobody can tell: nothing about it is signed, or its webhook does not want to know.
    Unknowable,
}

/// Tells whether a verified delivery has come before.
///
/// # Errors
/// 409 if it is being taken at this moment; the store's.
pub(super) async fn judge(
    engine: &Engine,
    under_way: &UnderWay,
    hook: &Webhook,
    (headers, body, payload): (&HeaderMap, &[u8], &Value),
) -> Result<Arrival, Problem> {
    let window = hook.replay_window_seconds;
    let name = name(hook.verifier, headers, body, payload).filter(|_| window != Some(0));
    let Some(name) = name else {
        return Ok(Arrival::Unknowable);
    };
    let key = format!("{}/{name}", hook.id);
    if !under_way.0.lock().insert(key.clone()) {
        let message = "this delivery is being taken at this moment";
        return Err(Problem::new(StatusCode::CONFLICT, "conflict", message)
            .with_hint("Send it again if the first attempt fails."));
    }
    let taking = Taking { key, under_way: under_way.clone() };
    let search = RecordSearch {
        keys: vec![taking.key.clone()],
        after: window.map(|seconds| engine.now().plus_seconds(-i64::from(seconds))),
        size: 1,
        ..RecordSearch::newest(LEDGER)
    };
    let found = engine.store().records(&search).await?.rows.into_iter().next();
    Ok(match found {
        None => Arrival::New(taking),
        Some(record) => {
            let body = record.body.parse();
            Arrival::Seen(body["eventId"].as_str().unwrap_or_default().to_owned())
        }
    })
}

/// What is to be written of a delivery that was taken.
pub(super) fn record(engine: &Engine, hook: &Webhook, taking: &Taking, event_id: &str) -> Record {
    Record {
        ledger: LEDGER,
        key: taking.key.as_str().into(),
        subject: hook.id.as_str().into(),
        at: engine.now(),
        status: "TAKEN".into(),
        body: Json::of(&json!({ "eventId": event_id })),
    }
}

/// Names a delivery by what is signed of it; `None` if nothing is.
fn name(verifier: Verifier, headers: &HeaderMap, body: &[u8], payload: &Value) -> Option<String> {
    let id = |member: &str| payload.get(member).and_then(Value::as_str).filter(|id| !id.is_empty());
    // A provider that tries again signs with a new time, and gives the event the same id.
    let event = match verifier {
        Verifier::HeaderBased => return None,
        Verifier::SlackBased => id("event_id"),
        Verifier::Stripe => id("id"),
        _ => None,
    };
    let mut hash = digest::Context::new(&digest::SHA256);
    if let Some(event) = event {
        hash.update(b"event ");
        hash.update(event.as_bytes());
    } else {
        hash.update(b"text ");
        let time = verifier.time_header().and_then(|header| headers.get(header));
        hash.update(time.map(|time| time.as_bytes().trim_ascii()).unwrap_or_default());
        hash.update(b" ");
        hash.update(body);
    }
    let hash = hash.finish();
    let (name, _) = hash.as_ref().split_first_chunk()?;
    Some(format!("{:032x}", u128::from_be_bytes(*name)))
}
