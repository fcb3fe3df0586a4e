//! The inbox: a line in the ledger `inbox`, about the inbox's name, which `/api/receivers/NAME/inbox`, the
//! console and `nightbell receiver inbox` show.
//!
//! The line is named by the delivery, so that another attempt replaces it.

use engine::Engine;
use kernel::{Json, Record, Timestamp};
use serde_json::{Map, Value, json};

use super::bounds;
use super::deliver::Tally;
use super::kind::{Call, Order};
use super::notification::Notification;
use super::verdict::{Answer, Verdict};
use super::wording::Wording;

/// The ledger.
const LEDGER: &str = "inbox";
/// Bytes of a line's text.
const TEXT_MAX: usize = 16_000;

/// Puts the notification into the ledger.
pub(super) async fn put(order: &Order<'_>, engine: Option<&Engine>) -> Tally {
    let mut tally = Tally::default();
    let Some(engine) = engine else {
        tally.fails("the inbox needs an engine, which is stopping".to_owned());
        return tally;
    };
    let record = record(order, engine.now());
    let key = record.key.to_string();
    let verdict = match engine.store().put_records(vec![record]).await {
        Ok(()) => Verdict::ok(Some(key.clone())),
        Err(error) => Verdict::retry(None, format!("the inbox cannot be written: {error}")),
    };
    tally.add(&key, &Answer::default(), &verdict, false);
    tally
}

/// What is put there, as a request would say it: for tests.
pub(super) fn call(order: &Order<'_>) -> Call {
    let record = record(order, Timestamp::from_millis(order.now_ms));
    let mut call = Call::post(record.key.to_string(), "inbox:".to_owned(), &record.body.parse());
    call.method = "PUT";
    call
}

fn record(order: &Order<'_>, now: Timestamp) -> Record {
    let notification = order.notification;
    let key = bounds::hashed(&format!("{}/{}", order.id, order.receiver));
    let name = order.settings.text("name").unwrap_or_else(|| order.receiver.to_owned());
    let wording = Wording::of(order);
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    set("monitor", json!(notification.text("monitor")));
    set("event", notification.event.as_str().into());
    set("severity", notification.severity.as_str().into());
    set("title", bounds::bytes(&wording.title, TEXT_MAX).into());
    set("text", bounds::lines(&wording.body(), TEXT_MAX, 2).join("\n").into());
    set("dedup_key", json!(notification.dedup_key));
    set("delivery", json!(notification.text("delivery")));
    set("execution", json!(order.id.split('/').next()));
    let about: Vec<&str> = notification
        .each()
        .into_iter()
        .filter_map(|it: &Notification| it.raw.get("incident")?.as_str())
        .collect();
    set("incidents", json!(about));
    Record {
        ledger: LEDGER,
        key: key.into(),
        subject: bounds::chars(&name, 500).into(),
        at: now,
        status: notification.event.as_str().into(),
        body: Json::of(&body),
    }
}
