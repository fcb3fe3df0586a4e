//! A webhook of one's own: the notification as JSON, or a body written in the settings.
//!
//! A body is rendered on its tree, text by text, and only then written as JSON: no quote in a title
//! can break it or smuggle a member in. A text that is one name alone becomes the value itself,
//! with its type. Requests bear an `Idempotency-Key`, the same over attempts, and with a `secret`
//! the signature of the Standard Webhooks specification.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use serde_json::{Map, Value, json};

use super::accepts::{Accepts, Is, Proof, is_page};
use super::bounds;
use super::kind::{Call, Order};
use super::settings::{Settings, is_open, plain};
use super::verdict::{Answer, Verdict};
use super::wording::{is_known, render, value_of};

/// How a secret says that it is written in base64.
const BASE64_SECRET: &str = "whsec_";

pub(super) fn check(settings: Settings<'_>, problems: &mut Vec<String>) {
    if settings.text("user").is_some() != settings.text("password").is_some() {
        problems.push("webhook needs `user` and `password` together".to_owned());
    }
    for (name, value) in settings.map("headers").into_iter().flatten() {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            problems.push(format!("`headers` has {name:?}, which is no name of a header"));
        }
        match plain(value) {
            None => problems.push(format!("`headers.{name}` must be a text")),
            Some(text) if text.chars().any(char::is_control) => {
                problems.push(format!("`headers.{name}` holds a control character"));
            }
            Some(_) => {}
        }
    }
    let text = settings.get("body").is_some_and(Value::is_string);
    if text && content_type(settings).is_some_and(|media| media.contains("json")) {
        let why = "`body` must be a map to be sent as JSON: spliced into a text, a quote in a \
                   title would break it";
        problems.push(why.to_owned());
    }
    if settings.text("secret").is_none_or(|secret| !is_open(&secret)) {
        problems.extend(secret(settings).err());
    }
}

fn content_type(settings: Settings<'_>) -> Option<String> {
    let mut headers = settings.map("headers")?.iter();
    let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-type"))?;
    Some(plain(value)?.to_ascii_lowercase())
}

/// The secret's bytes, if there is one.
fn secret(settings: Settings<'_>) -> Result<Option<Vec<u8>>, String> {
    let Some(secret) = settings.text("secret") else { return Ok(None) };
    let Some(encoded) = secret.strip_prefix(BASE64_SECRET) else {
        return Ok(Some(secret.into_bytes()));
    };
    let broken = |_| "`secret` begins with whsec_ but goes on with no base64".to_owned();
    BASE64_STANDARD.decode(encoded).map(Some).map_err(broken)
}

pub(super) fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    let settings = order.settings;
    let (body, media) = match settings.get("body") {
        Some(Value::String(text)) => {
            (render(order, order.notification, text), Some("text/plain; charset=utf-8"))
        }
        Some(tree) => (tree_of(order, tree).to_string(), None),
        None => (whole(order).to_string(), None),
    };
    let id = bounds::hashed(&format!("{}/{}", order.id, order.receiver));
    let mut call = Call::post("message", settings.needed("url")?, &Value::Null);
    call.method = match settings.text("method").as_deref() {
        Some("PUT") => "PUT",
        Some("PATCH") => "PATCH",
        _ => "POST",
    };
    call = call.header("Idempotency-Key", id.clone());
    if let Some(secret) = secret(settings)? {
        let timestamp = order.now_ms / 1000;
        let signed = format!("{id}.{timestamp}.{body}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let signature = BASE64_STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
        call = call
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", format!("v1,{signature}"));
    }
    if let Some(bearer) = settings.text("bearer") {
        call = call.header("Authorization", format!("Bearer {bearer}"));
    } else if let Some(user) = settings.text("user") {
        let pair = format!("{user}:{}", settings.needed("password")?);
        call = call.header("Authorization", format!("Basic {}", BASE64_STANDARD.encode(pair)));
    }
    if content_type(settings).is_none()
        && let Some(media) = media
    {
        call = call.header("Content-Type", media);
    }
    for (name, value) in settings.map("headers").into_iter().flatten() {
        call = call.header(name, plain(value).unwrap_or_default());
    }
    call.body = body;
    Ok(vec![call])
}

/// The notification as it is, with what a hand-written one left out.
fn whole(order: &Order<'_>) -> Value {
    let notification = order.notification;
    let mut whole = notification.raw.clone();
    whole.insert("event".to_owned(), notification.event.as_str().into());
    whole.insert("severity".to_owned(), notification.severity.as_str().into());
    whole.insert("title".to_owned(), notification.title.clone().into());
    whole.insert("receiver".to_owned(), json!(order.receiver));
    if let Some(link) = order.link(notification) {
        whole.insert("link".to_owned(), link.into());
    }
    Value::Object(whole)
}

pub(super) fn tree_of(order: &Order<'_>, tree: &Value) -> Value {
    match tree {
        Value::String(text) => match alone(text) {
            Some(name) => match value_of(order, order.notification, name) {
                None if !is_known(order.notification, name) => text.clone().into(),
                value => value.unwrap_or_default(),
            },
            None => render(order, order.notification, text).into(),
        },
        Value::Array(items) => items.iter().map(|item| tree_of(order, item)).collect(),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| (name.clone(), tree_of(order, value));
            Value::Object(members.iter().map(member).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// The name that a text consists of: `{{ value }}`, without filters.
fn alone(text: &str) -> Option<&str> {
    let name = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let plain = |c: char| c.is_alphanumeric() || "_.-".contains(c);
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// What it answers is its author's own: whatever [`refuses`] lets pass.
pub(super) fn accepts(_: Settings<'_>) -> &'static Accepts {
    const NAMED: Proof = Proof::Json { member: "/id", is: Is::Present, names: &["/id"] };
    &const { Accepts { service: "the webhook", proofs: &[NAMED, Proof::Any] } }
}

/// `expect` says what a success must hold. Without it a page of HTML is nobody's word: proxies and
/// captive portals answer so.
pub(super) fn refuses(settings: Settings<'_>, answer: &Answer) -> Option<Verdict> {
    if !answer.is_success() {
        return None;
    }
    let reason = match settings.text("expect") {
        Some(expected) if answer.body.contains(&expected) => return None,
        Some(expected) => format!("the answer does not hold {expected:?} (`expect`)"),
        None if !is_page(&answer.body) => return None,
        None => {
            "this is not the webhook's answer but a page of HTML, as a proxy gives; if it is its \
                 own, let `expect` name a text that it holds"
                .to_owned()
        }
    };
    Some(Verdict::Ambiguous { reason: format!("{reason}: {}", answer.words()) })
}
