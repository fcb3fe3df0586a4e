//! Discord: an embed through a channel's webhook.
//!
//! Messages have names. A notification that bears the name of the one before it under `reference`
//! also changes the look of that first message; since a change rings nobody, it is told by a message
//! of its own as well.

use serde_json::{Value, json};

use super::accepts::{Accepts, Is, Proof};
use super::bounds;
use super::kind::{Call, Order};
use super::settings::Settings;
use super::slack::{calms, changes_first};
use super::verdict::{Answer, Verdict, seconds};
use super::wording::{Colour, Wording};

const CONTENT_MAX: usize = 2000;
const TITLE_MAX: usize = 256;
const DESCRIPTION_MAX: usize = 4096;
const FIELDS_MAX: usize = 25;
const NAME_MAX: usize = 256;
const VALUE_MAX: usize = 1024;
/// Characters of an embed in all.
const TOTAL_MAX: usize = 6000;

pub(super) fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    let settings = order.settings;
    let url = settings.needed("url")?;
    let (path, query) = url.split_once('?').unwrap_or((&url, ""));
    let path = path.trim_end_matches('/');
    let mut parameters: Vec<String> = query
        .split('&')
        .filter(|it| !it.is_empty() && !it.starts_with("wait="))
        .map(Into::into)
        .collect();
    parameters
        .extend(settings.text("thread").map(|id| format!("thread_id={}", bounds::encoded(&id))));
    let place = |path: &str, first: Option<&str>| {
        let all: Vec<&str> =
            first.into_iter().chain(parameters.iter().map(String::as_str)).collect();
        if all.is_empty() { path.to_owned() } else { format!("{path}?{}", all.join("&")) }
    };
    let mut message = message(order);
    let embeds = message["embeds"].clone();
    for name in ["username", "avatar_url"] {
        if let Some(value) = settings.text(name) {
            message[name] = value.into();
        }
    }
    let mut calls = vec![Call::post("message", place(path, Some("wait=true")), &message)];
    let before = order.notification.text("reference");
    if let Some(before) = before.filter(|_| changes_first(order.notification)) {
        let path = format!("{path}/messages/{}", bounds::encoded(&before));
        let update = json!({"embeds": embeds, "allowed_mentions": {"parse": []}});
        let mut call = Call::post("update", place(&path, None), &update);
        call.method = "PATCH";
        call.optional = true;
        calls.push(call);
    }
    Ok(calls)
}

fn message(order: &Order<'_>) -> Value {
    let wording = Wording::of(order);
    let title = bounds::utf16(&wording.title, TITLE_MAX);
    let mut room = TOTAL_MAX - TITLE_MAX;
    let mut fields = Vec::new();
    for (name, value) in wording.facts.iter().take(FIELDS_MAX) {
        let (name, value) = (bounds::utf16(name, NAME_MAX), bounds::utf16(value, VALUE_MAX));
        let size = name.encode_utf16().count() + value.encode_utf16().count();
        // Half of the room is for the text.
        if room - TOTAL_MAX / 2 < size {
            break;
        }
        room -= size;
        fields.push(json!({"name": name, "value": value, "inline": value.chars().count() < 40}));
    }
    let mut lines: Vec<String> = wording.heading.clone().into_iter().collect();
    lines.extend(wording.lines.iter().cloned());
    let room = room.min(DESCRIPTION_MAX);
    let text = bounds::utf16(&bounds::lines(&lines, room, 2).join("\n"), room);
    let mut embed = json!({
        "title": title,
        "color": Colour::of(order.notification).rgb(),
        "fields": fields,
    });
    if !text.is_empty() {
        embed["description"] = text.into();
    }
    let link = order.link(order.notification).or_else(|| order.notification.link());
    if let Some(link) = link {
        embed["url"] = link.into();
    }
    let mut message = json!({"embeds": [embed], "allowed_mentions": {"parse": []}});
    call_people(order, &mut message);
    message
}

/// Only those whom the settings name are called, whatever the texts say.
fn call_people(order: &Order<'_>, message: &mut Value) {
    let people = order.settings.texts("mention");
    if people.is_empty() || calms(order.notification.event) {
        return;
    }
    let (mut words, mut parse, mut roles, mut users) = (vec![], vec![], vec![], vec![]);
    for who in people {
        match who.trim_start_matches('@') {
            all @ ("everyone" | "here") => {
                words.push(format!("@{all}"));
                parse.push("everyone".to_owned());
            }
            role if role.starts_with('&') => {
                words.push(format!("<@{role}>"));
                roles.push(role.trim_start_matches('&').to_owned());
            }
            user => {
                words.push(format!("<@{user}>"));
                users.push(user.to_owned());
            }
        }
    }
    parse.dedup();
    message["content"] = bounds::utf16(&words.join(" "), CONTENT_MAX).into();
    message["allowed_mentions"] = json!({"parse": parse, "roles": roles, "users": users});
}

/// The message that it made, as `wait=true` asks for; 204 is what it answers without.
pub(super) fn accepts(_: Settings<'_>) -> &'static Accepts {
    const ID: Proof = Proof::Json { member: "/id", is: Is::Present, names: &["/id"] };
    &const { Accepts { service: "Discord", proofs: &[ID, Proof::Empty] } }
}

pub(super) fn refuses(_: Settings<'_>, answer: &Answer) -> Option<Verdict> {
    (answer.status == 429).then(|| {
        // The body is exact to the millisecond, the header rounds.
        let body = answer.json();
        let after = seconds(body.get("retry_after")).or(answer.retry_after);
        Verdict::limited(after, format!("Discord limits the rate: {}", answer.words()))
    })
}
