//! Slack: an incoming webhook, or a bot's token and a channel.
//!
//! With a token, messages have names (`channel:ts`). A notification that bears the name of the one
//! before it under `reference` is answered in its thread, and an acknowledgement or recovery also
//! changes the look of that first message. A webhook knows no earlier messages.

use kernel::alert::NotificationEvent;
use serde_json::{Value, json};

use super::accepts::{Accepts, Is, Proof};
use super::bounds;
use super::kind::{Call, Order};
use super::notification::Notification;
use super::settings::{Settings, is_open};
use super::verdict::{Answer, Verdict, text_at};
use super::wording::{Colour, Wording};

const BASE: &str = "https://slack.com/api";
/// Characters of a section's text.
const SECTION_MAX: usize = 3000;
/// Fields of a section, and the characters of each.
const FIELDS_MAX: usize = 10;
const FIELD_MAX: usize = 2000;

pub(super) fn check(settings: Settings<'_>, problems: &mut Vec<String>) {
    let token = settings.text("token").filter(|token| !is_open(token));
    if settings.text("token").is_some() && settings.text("channel").is_none() {
        problems.push("slack with a `token` needs a `channel`".to_owned());
    }
    if token.is_some_and(|token| !token.starts_with("xox")) {
        problems.push("`token` is no token of a Slack bot: those begin with xoxb-".to_owned());
    }
    if settings.flag("ack") != Some(true) && hears(settings) {
        problems.push("`webhook_secret` of slack is for `ack: yes`, which is not there".to_owned());
    }
    if settings.text("url").is_some() && settings.text("token").is_some() {
        problems.push("slack takes a `url` or a `token`, not both".to_owned());
    }
}

/// Whether Slack tells this server of buttons.
pub(super) fn hears(settings: Settings<'_>) -> bool {
    settings.has("webhook_secret")
}

pub(super) fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    let settings = order.settings;
    let mut message = message(order);
    for name in ["username", "icon_emoji"] {
        if let Some(value) = settings.text(name) {
            message[name] = value.into();
        }
    }
    let Some(token) = settings.text("token") else {
        return Ok(vec![Call::post("message", settings.needed("url")?, &message)]);
    };
    let call = |key: &str, method: &str, body: &Value| {
        Call::post(key, settings.below(BASE, &format!("/{method}")), body)
            .header("Authorization", format!("Bearer {token}"))
            .header("Content-Type", "application/json; charset=utf-8")
    };
    message["channel"] = settings.needed("channel")?.into();
    let before = order.notification.text("reference");
    let before = before.as_deref().and_then(|it| it.split_once(':'));
    let Some((channel, ts)) = before else {
        return Ok(vec![call("message", "chat.postMessage", &message)]);
    };
    let mut reply = message.clone();
    reply["channel"] = channel.into();
    reply["thread_ts"] = ts.into();
    let quiet = matches!(order.notification.event, NotificationEvent::Acknowledge);
    reply["reply_broadcast"] = (!quiet).into();
    let mut calls = vec![call("message", "chat.postMessage", &reply)];
    if changes_first(order.notification) {
        let mut update = message;
        update["channel"] = channel.into();
        update["ts"] = ts.into();
        let mut call = call("update", "chat.update", &update);
        call.optional = true;
        calls.push(call);
    }
    Ok(calls)
}

/// Whether the message that told of it first should look different from now on: not while something
/// of the group that it told of is still wrong.
pub(super) fn changes_first(notification: &Notification) -> bool {
    let open = notification.named("group.open_count").and_then(Value::as_u64).unwrap_or(0);
    calms(notification.event) && open == 0
}

/// Whether nobody needs to be called.
pub(super) fn calms(event: NotificationEvent) -> bool {
    matches!(event, NotificationEvent::Acknowledge | NotificationEvent::Resolve)
}

fn message(order: &Order<'_>) -> Value {
    let wording = Wording::of(order);
    let mut text = format!("*{}*", escaped(&wording.title));
    if !calms(order.notification.event) {
        for who in order.settings.texts("mention") {
            text.push(' ');
            text.push_str(&mention(&who));
        }
    }
    let mut lines: Vec<String> =
        wording.heading.iter().map(|it| format!("*{}*", escaped(it))).collect();
    lines.extend(wording.lines.iter().map(|line| escaped(line)));
    let lines = bounds::lines(&lines, SECTION_MAX, 2);
    let mut blocks = Vec::new();
    if !lines.is_empty() {
        let text = bounds::chars(&lines.join("\n"), SECTION_MAX);
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": text}}));
    }
    let field = |(name, value): &(String, String)| {
        let text = format!("*{}*\n{}", escaped(name), escaped(value));
        json!({"type": "mrkdwn", "text": bounds::chars(&text, FIELD_MAX)})
    };
    for fields in wording.facts.chunks(FIELDS_MAX) {
        let fields: Vec<Value> = fields.iter().map(field).collect();
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    if let Some(token) = order.ack_token().filter(|_| hears(order.settings)) {
        let label = json!({"type": "plain_text", "text": "Acknowledge"});
        let button = json!({"type": "button", "action_id": "nightbell_ack", "style": "primary",
            "text": label, "value": token});
        blocks.push(json!({"type": "actions", "elements": [button]}));
    }
    let mut message = json!({"text": text});
    if !blocks.is_empty() {
        let colour = format!("#{:06X}", Colour::of(order.notification).rgb());
        let fallback = escaped(&wording.title);
        message["attachments"] = json!([{"color": colour, "fallback": fallback, "blocks": blocks}]);
    }
    message
}

/// The three characters that mean something in a message; without them nothing calls anybody.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// `here`, `channel` and `everyone`, `S…` for a group of users, otherwise a user's id.
fn mention(who: &str) -> String {
    let who = escaped(who.trim_start_matches('@'));
    match who.as_str() {
        "here" | "channel" | "everyone" => format!("<!{who}>"),
        group if group.starts_with('S') => format!("<!subteam^{group}>"),
        user => format!("<@{user}>"),
    }
}

pub(super) fn accepts(settings: Settings<'_>) -> &'static Accepts {
    const HOOK: Accepts = Accepts { service: "a Slack webhook", proofs: &[Proof::Text("ok")] };
    const METHOD: Accepts = Accepts {
        service: "Slack",
        proofs: &[Proof::Json { member: "/ok", is: Is::True, names: &["/channel", "/ts"] }],
    };
    if settings.text("token").is_some() { &METHOD } else { &HOOK }
}

/// Methods answer most errors with status 200.
pub(super) fn refuses(settings: Settings<'_>, answer: &Answer) -> Option<Verdict> {
    settings.text("token")?;
    let body = answer.json();
    if body.get("ok").and_then(Value::as_bool) != Some(false) {
        return None;
    }
    let error = text_at(&body, "/error")?;
    let reason = format!("Slack says {error}");
    Some(match error.as_str() {
        "ratelimited" | "rate_limited" => Verdict::limited(answer.retry_after, reason),
        "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "team_added_to_org" => Verdict::retry(answer.retry_after, reason),
        _ => Verdict::permanent(reason),
    })
}
