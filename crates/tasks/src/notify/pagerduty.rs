//! `PagerDuty`: the Events API v2, and v1 for keys that were made for it.
//!
//! One request for each member of a group, each under its own key. A repeated one is counted in the
//! alert that is open under the key, so sending again after a partial success harms nobody. A
//! reminder and an escalation are triggers of the same key: `PagerDuty` notes them in the alert, and
//! its own policy says whom that rings. Keys of v1 and v2 are not interchangeable.
//!
//! With `incident_key: hour` every hour has a key of its own, made of the monitor and the hour by
//! the clock of `tz`. What is over is then resolved under the key of each hour that it lasted.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use kernel::alert::NotificationEvent;
use serde_json::{Map, Value, json};

use super::accepts::{Accepts, Is, Proof};
use super::bounds;
use super::kind::{Call, Order};
use super::notification::Notification;
use super::settings::{Settings, is_open};
use super::verdict::{Answer, Verdict};

const BASE: &str = "https://events.pagerduty.com";
/// Documented for v2; v1 takes as much.
const SUMMARY_MAX: usize = 1024;
/// Not verified against the service itself; its ecosystem's documents agree.
const KEY_MAX: usize = 255;
/// Hours that are resolved one by one; what is older was somebody's long ago.
const HOURS_MAX: i64 = 72;
/// Bytes of details; an event of more than 512 kB is refused, so this leaves room for the rest.
const DETAILS_MAX: usize = 400_000;

pub(super) fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    if order.notification.event == NotificationEvent::Digest {
        // It opens alerts that somebody must close, and a digest is about those that are open.
        return Ok(Vec::new());
    }
    let first = is_v1(order.settings);
    let one = if first { v1 } else { v2 };
    let path = if first { "/generic/2010-04-15/create_event.json" } else { "/v2/enqueue" };
    let url = order.settings.address(BASE, path);
    let mut calls = Vec::new();
    for about in order.notification.each() {
        for key in keys(order, about)? {
            let key = bounds::key(&key, KEY_MAX);
            let body = one(order, about, &key)?;
            calls.push(Call::post(key, url.clone(), &body));
        }
    }
    Ok(calls)
}

pub(super) fn check(settings: Settings<'_>, problems: &mut Vec<String>) {
    let zone = settings.text("tz").filter(|zone| !is_open(zone));
    if zone.is_some_and(|zone| TimeZone::get(&zone).is_err()) {
        problems.push("`tz` must be a time zone such as Europe/Berlin".to_owned());
    }
}

/// The keys under which the service knows it: one, unless each hour has its own.
fn keys(order: &Order<'_>, about: &Notification) -> Result<Vec<String>, String> {
    let hourly = order.settings.text("incident_key").is_some_and(|it| it == "hour");
    let monitor = order.notification.text("monitor").filter(|_| hourly);
    let Some(monitor) = monitor else { return Ok(vec![order.key(about)?]) };
    let zone = match order.settings.text("tz") {
        Some(name) => TimeZone::get(&name).map_err(|error| format!("`tz`: {error}"))?,
        None => TimeZone::UTC,
    };
    let instant = |name: &str| {
        let text = about.text(name).or_else(|| order.notification.text(name));
        text.and_then(|text| text.parse::<Timestamp>().ok())
    };
    let now = Timestamp::from_millisecond(order.now_ms).map_err(|error| error.to_string())?;
    let last = instant("at").unwrap_or(now);
    let first = match action(about.event) {
        "trigger" => last,
        _ => instant("opened_at").or_else(|| instant("since")).unwrap_or(last),
    };
    let floor = last.saturating_sub(HOURS_MAX.hours()).unwrap_or(last);
    let mut keys: Vec<String> = Vec::new();
    let mut at = first.clamp(floor, last);
    loop {
        let hour = at.to_zoned(zone.clone()).strftime("%Y%m%d-%H");
        let key = format!("{monitor}{}-{hour}", about.text("key").unwrap_or_default());
        if !keys.contains(&key) {
            keys.push(key);
        }
        if at >= last {
            return Ok(keys);
        }
        at = at.saturating_add(1.hour()).unwrap_or(last).min(last);
    }
}

fn is_v1(settings: Settings<'_>) -> bool {
    settings.text("api").is_some_and(|api| api == "v1")
}

fn action(event: NotificationEvent) -> &'static str {
    use NotificationEvent::{Acknowledge, Digest, Escalation, Reminder, Resolve, Test, Trigger};
    match event {
        Acknowledge => "acknowledge",
        Resolve => "resolve",
        Trigger | Escalation | Reminder | Test | Digest => "trigger",
    }
}

fn v2(order: &Order<'_>, about: &Notification, key: &str) -> Result<Value, String> {
    let settings = order.settings;
    let mut event = json!({
        "routing_key": settings.needed("key")?,
        "event_action": action(about.event),
        "dedup_key": key,
    });
    if action(about.event) != "trigger" {
        return Ok(event);
    }
    let monitor = order.notification.text("monitor");
    let source = settings.text("source").or(monitor).unwrap_or_else(|| "nightbell".to_owned());
    let mut payload = json!({
        "summary": bounds::chars(&about.title, SUMMARY_MAX),
        "source": source,
        "severity": about.severity.as_str(),
        "custom_details": details(about),
    });
    let group = order.notification.group.as_ref().map(|group| group.display.clone());
    let more = [
        ("timestamp", about.text("since")),
        ("component", settings.text("component").or_else(|| about.text("key"))),
        ("group", group),
        ("class", settings.text("class").or_else(|| order.notification.text("kind"))),
    ];
    for (name, value) in more {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            payload[name] = bounds::chars(&value, KEY_MAX).into();
        }
    }
    event["payload"] = payload;
    event["client"] = client(settings).into();
    if let Some(url) = settings.text("client_url").or_else(|| order.link(about)) {
        event["client_url"] = url.into();
    }
    let link = |(text, link): (&str, String)| json!({"href": link, "text": text});
    let links: Vec<Value> = links(order, about).into_iter().map(link).collect();
    if !links.is_empty() {
        event["links"] = links.into();
    }
    Ok(event)
}

fn v1(order: &Order<'_>, about: &Notification, key: &str) -> Result<Value, String> {
    let settings = order.settings;
    let mut event = json!({
        "service_key": settings.needed("key")?,
        "event_type": action(about.event),
        "incident_key": key,
        "description": bounds::chars(&about.title, SUMMARY_MAX),
        "details": details(about),
    });
    if action(about.event) == "trigger" {
        event["client"] = client(settings).into();
        if let Some(url) = settings.text("client_url").or_else(|| order.link(about)) {
            event["client_url"] = url.into();
        }
        let link =
            |(text, link): (&str, String)| json!({"type": "link", "href": link, "text": text});
        let links: Vec<Value> = links(order, about).into_iter().map(link).collect();
        if !links.is_empty() {
            event["contexts"] = links.into();
        }
    }
    Ok(event)
}

/// Where to read on.
fn links(order: &Order<'_>, about: &Notification) -> Vec<(&'static str, String)> {
    let runbook = about.link().map(|link| ("Runbook", link));
    let look = order.link(about).map(|link| ("Look and acknowledge", link));
    runbook.into_iter().chain(look).collect()
}

fn client(settings: Settings<'_>) -> String {
    settings.text("client").unwrap_or_else(|| "Nightbell".to_owned())
}

/// What else is known, an object; too much of it is left out, the summary must arrive.
fn details(about: &Notification) -> Value {
    let names = [
        "text",
        "description",
        "key",
        "status",
        "value",
        "labels",
        "attrs",
        "since",
        "runbook",
        "who",
        "why",
        "incident",
        "provenance",
    ];
    let known = |name: &str| Some((name.to_owned(), about.raw.get(name)?.clone()));
    let mut details: Map<String, Value> =
        names.into_iter().filter_map(known).filter(|(_, value)| !value.is_null()).collect();
    for name in ["attrs", "provenance", "labels", "description", "value"] {
        if Value::Object(details.clone()).to_string().len() <= DETAILS_MAX {
            break;
        }
        if details.contains_key(name) {
            details.insert(name.to_owned(), "left out: too large".into());
        }
    }
    if let Some(Value::String(text)) = details.get_mut("text") {
        *text = bounds::bytes(text, DETAILS_MAX / 2);
    }
    Value::Object(details)
}

/// Both versions say the same of an event that they take: v2 with 202, v1 with 200.
pub(super) fn accepts(settings: Settings<'_>) -> &'static Accepts {
    const fn named(names: &'static [&'static str]) -> Proof {
        Proof::Json { member: "/status", is: Is::Text("success"), names }
    }
    const V1: Accepts = Accepts { service: "PagerDuty", proofs: &[named(&["/incident_key"])] };
    const V2: Accepts = Accepts { service: "PagerDuty", proofs: &[named(&["/dedup_key"])] };
    if is_v1(settings) { &V1 } else { &V2 }
}

pub(super) fn refuses(settings: Settings<'_>, answer: &Answer) -> Option<Verdict> {
    // Documented for v1 only: too many calls.
    if is_v1(settings) && answer.status == 403 {
        let reason = format!("PagerDuty is limiting the rate of calls: {}", answer.words());
        return Some(Verdict::limited(answer.retry_after, reason));
    }
    let told = answer.json().get("status").and_then(Value::as_str).map(str::to_owned);
    (answer.is_success() && told.is_some_and(|told| told != "success"))
        .then(|| Verdict::permanent(format!("PagerDuty did not take it: {}", answer.words())))
}
