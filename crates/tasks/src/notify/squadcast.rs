//! Squadcast: its incoming webhook.
//!
//! One request for each member of a group, each under its own `event_id`; a repeated one is the same
//! event, so sending again after a partial success harms nobody. The webhook opens and resolves; it
//! has no word for an acknowledgement, so none is sent.

use kernel::alert::NotificationEvent;
use serde_json::{Map, Value, json};

use super::accepts::{Accepts, Proof};
use super::bounds;
use super::kind::{Call, Order};
use super::notification::Notification;
use super::settings::Settings;

/// Bytes of a body that are the description. A body of more than 30 kB is answered with 413, and a
/// byte may need six in JSON.
const DESCRIPTION_MAX: usize = 3000;
const MESSAGE_MAX: usize = 500;
const TAGS_MAX: usize = 30;

pub(super) fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    let url = order.settings.needed("url")?;
    if matches!(
        order.notification.event,
        NotificationEvent::Acknowledge | NotificationEvent::Digest
    ) {
        return Ok(Vec::new());
    }
    let call = |about: &&Notification| {
        let key = bounds::key(&order.key(about)?, 255);
        let body = event(order, about, &key);
        Ok(Call::post(key, url.clone(), &body))
    };
    order.notification.each().iter().map(call).collect()
}

fn event(order: &Order<'_>, about: &Notification, key: &str) -> Value {
    let status = if about.is_resolved() { "resolve" } else { "trigger" };
    let link = order.link(about).map(|link| format!("Look/ack: {link}"));
    let texts = [about.text("text"), about.text("description"), about.text("runbook"), link];
    let texts: Vec<String> = texts.into_iter().flatten().collect();
    // Both texts must be there and must not be empty.
    let description = if texts.is_empty() { about.title.clone() } else { texts.join("\n\n") };
    let mut tags = Map::new();
    tags.insert("severity".to_owned(), about.severity.as_str().into());
    for (name, value) in &about.labels {
        tags.insert(bounds::bytes(name, 50), bounds::bytes(value, 100).into());
    }
    for (name, value) in order.settings.map("tags").into_iter().flatten() {
        tags.insert(name.clone(), value.clone());
    }
    let tags: Map<String, Value> = tags.into_iter().take(TAGS_MAX).collect();
    json!({
        "message": bounds::bytes(&about.title, MESSAGE_MAX),
        "description": bounds::bytes(&description, DESCRIPTION_MAX),
        "event_id": key,
        "status": status,
        "tags": tags,
    })
}

/// It documents no body.
pub(super) fn accepts(_: Settings<'_>) -> &'static Accepts {
    &Accepts { service: "Squadcast", proofs: &[Proof::NoPage] }
}
