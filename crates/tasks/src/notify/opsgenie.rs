//! Opsgenie, and Jira Service Management, where it went: the same API at another address.
//!
//! One request for each member of a group, each under its own alias. The services answer 202 and do
//! the work afterwards; a repeated request counts up the alert that is open under the alias, so
//! sending again after a partial success harms nobody. Opsgenie's own address ends on 5 April 2027.

use kernel::alert::NotificationEvent;
use kernel::alert::definition::Severity;
use serde_json::{Map, Value, json};

use super::accepts::{Accepts, Is, Proof};
use super::bounds;
use super::kind::{Call, Order};
use super::notification::Notification;
use super::settings::{Settings, is_open, plain};
use super::webhook;

const MESSAGE_MAX: usize = 130;
const ALIAS_MAX: usize = 512;
const DESCRIPTION_MAX: usize = 15_000;
/// Characters of all details.
const DETAILS_MAX: usize = 8000;
const TAG_MAX: usize = 50;
const TAGS_MAX: usize = 20;

pub(super) fn check(settings: Settings<'_>, problems: &mut Vec<String>) {
    for (name, value) in settings.map("priorities").into_iter().flatten() {
        if !Severity::ALL.iter().any(|severity| severity.as_str() == name) {
            problems
                .push(format!("`priorities` maps info, warning, error and critical, not {name}"));
        }
        let value = plain(value).unwrap_or_default();
        if !is_open(&value) && !["P1", "P2", "P3", "P4", "P5"].contains(&value.as_str()) {
            problems.push(format!("`priorities.{name}` must be one of P1 to P5"));
        }
    }
}

pub(super) fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    if order.notification.event == NotificationEvent::Digest {
        // It opens alerts that somebody must close, and a digest is about those that are open.
        return Ok(Vec::new());
    }
    let base = match order.kind {
        "jsm" => "https://api.atlassian.com/jsm/ops/integration",
        _ => "https://api.opsgenie.com",
    };
    let url = order.settings.address(base, "/v2/alerts");
    let authorization = format!("GenieKey {}", order.settings.needed("key")?);
    let call = |about: &&Notification| {
        let alias = bounds::key(&order.key(about)?, ALIAS_MAX);
        let operation = match about.event {
            NotificationEvent::Acknowledge => Some("acknowledge"),
            NotificationEvent::Resolve => Some("close"),
            _ => None,
        };
        let (url, body) = match operation {
            Some(operation) => {
                let alias = bounds::encoded(&alias);
                (format!("{url}/{alias}/{operation}?identifierType=alias"), ending(order, about))
            }
            None => (url.clone(), alert(order, about, &alias)),
        };
        Ok(Call::post(alias, url, &body).header("Authorization", authorization.clone()))
    };
    order.notification.each().iter().map(call).collect()
}

fn source(order: &Order<'_>) -> String {
    let monitor = order.notification.text("monitor");
    order.settings.text("source").or(monitor).unwrap_or_else(|| "Nightbell".to_owned())
}

fn ending(order: &Order<'_>, about: &Notification) -> Value {
    let mut body = json!({"source": bounds::chars(&source(order), 100)});
    if let Some(who) = about.text("who") {
        body["user"] = bounds::chars(&who, 100).into();
    }
    let note = about.text("why").or_else(|| about.text("text"));
    if let Some(note) = note {
        body["note"] = bounds::chars(&note, 10_000).into();
    }
    body
}

fn alert(order: &Order<'_>, about: &Notification, alias: &str) -> Value {
    let settings = order.settings;
    let severity = about.severity.as_str();
    let own = settings.map("priorities").and_then(|map| plain(map.get(severity)?));
    let priority = own.unwrap_or_else(|| {
        match about.severity {
            Severity::Critical => "P1",
            Severity::Error => "P2",
            Severity::Warning => "P3",
            Severity::Info => "P5",
        }
        .to_owned()
    });
    let mut tags = settings.texts("tags");
    tags.extend(about.labels.iter().map(|(name, value)| format!("{name}:{value}")));
    let tags: Vec<String> =
        tags.iter().take(TAGS_MAX).map(|tag| bounds::chars(tag, TAG_MAX)).collect();
    let link = order.link(about).map(|link| format!("Look/ack: {link}"));
    let text = [about.text("text"), about.text("description"), link];
    let text: Vec<String> = text.into_iter().flatten().collect();
    let mut alert = json!({
        "message": bounds::chars(&about.title, MESSAGE_MAX),
        "alias": alias,
        "priority": priority,
        "source": bounds::chars(&source(order), 100),
        "tags": tags,
        "details": details(about),
    });
    let more = [
        (
            "description",
            (!text.is_empty()).then(|| bounds::chars(&text.join("\n\n"), DESCRIPTION_MAX)),
        ),
        ("entity", settings.text("entity").or_else(|| about.text("key"))),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            alert[name] = value.into();
        }
    }
    if let Some(responders) = settings.get("responders").filter(|it| it.is_array()) {
        alert["responders"] = webhook::tree_of(order, responders);
    }
    alert
}

/// Details are a map of texts.
fn details(about: &Notification) -> Map<String, Value> {
    let mut details = Map::new();
    let mut room = DETAILS_MAX;
    let mut add = |name: &str, value: String| {
        let size = name.chars().count() + value.chars().count();
        if size <= room {
            room -= size;
            details.insert(name.to_owned(), value.into());
        }
    };
    for name in ["severity", "value", "since", "runbook", "incident"] {
        if let Some(value) = about.text(name) {
            add(name, value);
        }
    }
    let attrs = about.raw.get("attrs").and_then(Value::as_object);
    for (name, value) in attrs.into_iter().flatten() {
        add(name, plain(value).unwrap_or_else(|| value.to_string()));
    }
    details
}

pub(super) fn accepts(_: Settings<'_>) -> &'static Accepts {
    const ID: Proof = Proof::Json { member: "/requestId", is: Is::Present, names: &["/requestId"] };
    &const { Accepts { service: "Opsgenie or Jira Service Management", proofs: &[ID] } }
}
