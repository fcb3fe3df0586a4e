//! ntfy: a push message to a topic, as JSON to the server's root.
//!
//! `topic` may be the whole address of a topic. There is no key of deduplication: a recovery is a
//! message of its own.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kernel::alert::NotificationEvent;
use kernel::alert::definition::Severity;
use serde_json::{Value, json};

use super::accepts::{Accepts, Is, Proof};
use super::bounds;
use super::kind::{Call, Order};
use super::settings::{Settings, is_open, plain};
use super::verdict::{Answer, Verdict};
use super::wording::Wording;

const BASE: &str = "https://ntfy.sh";
/// Bytes; a longer message would arrive as an attachment, a longer title not at all.
const MESSAGE_MAX: usize = 4096;
const TITLE_MAX: usize = 1024;
/// Bytes of all tags with the commas between them.
const TAGS_MAX: usize = 512;

pub(super) fn check(settings: Settings<'_>, problems: &mut Vec<String>) {
    if settings.text("user").is_some() != settings.text("password").is_some() {
        problems.push("ntfy needs `user` and `password` together".to_owned());
    }
    let topic = settings.text("topic").filter(|topic| !is_open(topic));
    if topic.is_some_and(|topic| !topic.contains("://") && !is_topic(&topic)) {
        problems.push("`topic` may hold letters, digits, _ and -, 64 at most".to_owned());
    }
    for (name, value) in settings.map("priorities").into_iter().flatten() {
        if !Severity::ALL.iter().any(|severity| severity.as_str() == name) {
            problems
                .push(format!("`priorities` maps info, warning, error and critical, not {name}"));
        }
        if priority(value).is_none() {
            problems.push(format!("`priorities.{name}` must be a number from 1 to 5"));
        }
    }
}

fn is_topic(topic: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    (1..=64).contains(&topic.len()) && topic.chars().all(known)
}

fn priority(value: &Value) -> Option<u8> {
    plain(value)?.parse().ok().filter(|priority| (1..=5).contains(priority))
}

pub(super) fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    let settings = order.settings;
    let topic = settings.needed("topic")?;
    let (url, topic) = match topic.rsplit_once('/') {
        Some((base, topic)) if base.contains("://") => (format!("{base}/"), topic.to_owned()),
        _ => (settings.address(BASE, "/"), topic),
    };
    let notification = order.notification;
    let wording = Wording::of(order);
    let text = bounds::lines(&wording.body(), MESSAGE_MAX, 2).join("\n");
    let text = if text.is_empty() { notification.title.clone() } else { text };
    let own = settings
        .map("priorities")
        .and_then(|map| priority(map.get(notification.severity.as_str())?));
    let mut message = json!({
        "topic": topic,
        "title": bounds::bytes(&wording.title, TITLE_MAX),
        "message": bounds::bytes(&text, MESSAGE_MAX),
        "priority": match notification.event {
            NotificationEvent::Acknowledge => 2,
            NotificationEvent::Resolve | NotificationEvent::Test | NotificationEvent::Digest => 3,
            _ => own.unwrap_or(match notification.severity {
                Severity::Critical => 5,
                Severity::Error => 4,
                Severity::Warning => 3,
                Severity::Info => 2,
            }),
        },
        "tags": tags(order),
    });
    let runbook = notification.link();
    let runbook = runbook.map(|url| json!({"action": "view", "label": "Runbook", "url": url}));
    let acknowledge = order.ack_link().map(|url| {
        json!({"action": "http", "label": "Acknowledge", "url": url, "method": "POST", "clear": true})
    });
    let actions: Vec<Value> = acknowledge.into_iter().chain(runbook).collect();
    if !actions.is_empty() {
        message["actions"] = actions.into();
    }
    if let Some(click) = settings.text("click").or_else(|| order.link(notification)) {
        message["click"] = click.into();
    }
    let call = Call::post("message", url, &message);
    Ok(vec![match (settings.text("token"), settings.text("user")) {
        (Some(token), _) => call.header("Authorization", format!("Bearer {token}")),
        (None, Some(user)) => {
            let pair = format!("{user}:{}", settings.needed("password")?);
            call.header("Authorization", format!("Basic {}", BASE64_STANDARD.encode(pair)))
        }
        (None, None) => call,
    }])
}

/// The first becomes a picture beside the title.
fn tags(order: &Order<'_>) -> Vec<String> {
    let picture = match (order.notification.event, order.notification.severity) {
        (NotificationEvent::Resolve, _) => "white_check_mark",
        (NotificationEvent::Acknowledge, _) => "eyes",
        (NotificationEvent::Test, _) => "test_tube",
        (NotificationEvent::Digest, _) => "clipboard",
        (_, Severity::Critical | Severity::Error) => "rotating_light",
        (_, Severity::Warning) => "warning",
        (_, Severity::Info) => "information_source",
    };
    let mut tags = vec![picture.to_owned()];
    let mut room = TAGS_MAX - picture.len();
    for tag in order.settings.texts("tags") {
        if tag.len() < room {
            room -= tag.len() + 1;
            tags.push(tag);
        }
    }
    tags
}

pub(super) fn accepts(_: Settings<'_>) -> &'static Accepts {
    const ID: Proof = Proof::Json { member: "/id", is: Is::Present, names: &["/id"] };
    &const { Accepts { service: "ntfy", proofs: &[ID] } }
}

pub(super) fn refuses(_: Settings<'_>, answer: &Answer) -> Option<Verdict> {
    match answer.json().get("code").and_then(Value::as_u64)? {
        40057 => Some(Verdict::permanent(format!("the title is too long ({})", answer.words()))),
        40058 => Some(Verdict::permanent(format!("the tags are too long ({})", answer.words()))),
        _ => None,
    }
}
