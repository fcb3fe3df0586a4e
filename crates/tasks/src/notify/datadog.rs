//! Datadog: an event in its stream.
//!
//! The stream groups events by a key but has no incidents: each delivery is one event, a recovery
//! too.

use kernel::alert::NotificationEvent;
use kernel::alert::definition::Severity;
use serde_json::json;

use super::accepts::{Accepts, Is, Proof};
use super::bounds;
use super::kind::{Call, Order};
use super::settings::Settings;
use super::wording::Wording;

const TITLE_MAX: usize = 100;
const TEXT_MAX: usize = 4000;
const KEY_MAX: usize = 100;
const TAG_MAX: usize = 200;

pub(super) fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    let settings = order.settings;
    let site = settings.text("site").unwrap_or_else(|| "datadoghq.com".to_owned());
    let url = settings.address(&format!("https://api.{site}"), "/api/v1/events");
    let notification = order.notification;
    let wording = Wording::of(order);
    let lines = bounds::lines(&wording.body(), TEXT_MAX, 2);
    let key = match &notification.dedup_key {
        Some(key) => key.as_str(),
        None => order.id,
    };
    let mut tags = settings.texts("tags");
    tags.push(format!("severity:{}", notification.severity.as_str()));
    tags.extend(notification.text("monitor").map(|monitor| format!("monitor:{monitor}")));
    tags.extend(notification.labels.iter().map(|(name, value)| format!("{name}:{value}")));
    let tags: Vec<String> = tags.iter().map(|tag| bounds::chars(tag, TAG_MAX)).collect();
    let mut event = json!({
        "title": bounds::chars(&wording.title, TITLE_MAX),
        "text": bounds::chars(&lines.join("\n"), TEXT_MAX),
        "alert_type": alert_type(notification.event, notification.severity),
        "aggregation_key": bounds::key(key, KEY_MAX),
        "tags": tags,
        "date_happened": order.now_ms / 1000,
    });
    if let Some(host) = settings.text("host") {
        event["host"] = host.into();
    }
    let call = Call::post("event", url, &event);
    Ok(vec![call.header("DD-API-KEY", settings.needed("key")?)])
}

fn alert_type(event: NotificationEvent, severity: Severity) -> &'static str {
    match (event, severity) {
        (NotificationEvent::Resolve, _) => "success",
        (
            NotificationEvent::Acknowledge | NotificationEvent::Test | NotificationEvent::Digest,
            _,
        )
        | (_, Severity::Info) => "info",
        (_, Severity::Warning) => "warning",
        (_, Severity::Error | Severity::Critical) => "error",
    }
}

pub(super) fn accepts(_: Settings<'_>) -> &'static Accepts {
    const fn ok(id: &'static [&'static str]) -> Proof {
        Proof::Json { member: "/status", is: Is::Text("ok"), names: id }
    }
    &const { Accepts { service: "Datadog", proofs: &[ok(&["/event/id_str"])] } }
}
