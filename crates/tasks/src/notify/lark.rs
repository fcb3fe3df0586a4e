//! Lark and Feishu: a group's custom bot, signed, as `post`, `text` or `card`; or an app that sends to a
//! chat, whose cards tell this server of buttons.
//!
//! An app signs in before each message: its token lives two hours at most, and asking again gives the same.
//! A custom bot answers errors with status 200, so only `code` (or `StatusCode` of older answers) says
//! whether a message arrived. There is no key of deduplication: one message per delivery, and a
//! recovery is a message of its own.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kernel::alert::NotificationEvent;
use ring::hmac;
use serde_json::{Value, json};

use super::accepts::{Accepts, Is, Proof};
use super::bounds;
use super::kind::{Call, Order};
use super::settings::Settings;
use super::verdict::{Answer, Verdict};
use super::wording::{Colour, Wording};

/// Bytes of lines in one message. A body of more than 20 kB is said to be refused, which is not
/// verified; the rest is for what stands around the lines.
const LINES_MAX: usize = 16_000;
/// The same of an app's: a body of 30 kB, in which the content is a text within a text, so that a quotation
/// mark takes twice what is counted here.
const APP_LINES_MAX: usize = 12_000;

fn lines_max(order: &Order<'_>) -> usize {
    if order.settings.has("app_id") { APP_LINES_MAX } else { LINES_MAX }
}

/// What is wrong with a `sign` that is empty.
const UNSIGNED: &str = "`sign` is empty: without its secret the message would go out unsigned";

pub(super) fn check(settings: Settings<'_>, problems: &mut Vec<String>) {
    if settings.has("sign") && settings.text("sign").is_none() {
        problems.push(UNSIGNED.to_owned());
    }
    let of_app = ["app_secret", "chat", "webhook_secret"];
    if settings.has("app_id") {
        for name in ["app_secret", "chat"].into_iter().filter(|name| !settings.has(name)) {
            problems.push(format!("an app (`app_id`) needs `{name}`"));
        }
        for name in ["url", "token", "sign"].into_iter().filter(|name| settings.has(name)) {
            problems
                .push(format!("`{name}` is of a group's bot, and `app_id` of an app: not both"));
        }
    } else {
        for name in of_app.into_iter().filter(|name| settings.has(name)) {
            problems.push(format!("`{name}` is of an app, and there is no `app_id`"));
        }
    }
    if hears(settings) && !(settings.flag("ack") == Some(true) && is_card(settings)) {
        problems.push("`webhook_secret` is for `ack: yes` with `style: card`".to_owned());
    }
}

/// Whether the app tells this server of buttons.
fn hears(settings: Settings<'_>) -> bool {
    settings.has("webhook_secret")
}

pub(super) fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    let settings = order.settings;
    let base = match order.kind {
        "feishu" => "https://open.feishu.cn",
        _ => "https://open.larksuite.com",
    };
    if settings.has("app_id") {
        return of_app(order, base);
    }
    let url = match settings.text("url") {
        Some(url) => url,
        None => {
            settings.below(base, &format!("/open-apis/bot/v2/hook/{}", settings.needed("token")?))
        }
    };
    let mut message = message(order);
    if settings.has("sign") {
        // A bot that is to be signed for must not be told unsigned.
        let secret = settings.text("sign").ok_or(UNSIGNED)?;
        let timestamp = (order.now_ms / 1000).to_string();
        message["sign"] = signature(&timestamp, &secret).into();
        message["timestamp"] = timestamp.into();
    }
    Ok(vec![Call::post("message", url, &message)])
}

/// A message as a group's bot takes it.
fn message(order: &Order<'_>) -> Value {
    let wording = Wording::of(order);
    match order.settings.text("style").as_deref() {
        Some("text") => text(order, &wording),
        _ if is_card(order.settings) => card(order, &wording),
        _ => post(order, &wording),
    }
}

/// The same by an app, to a chat in which it is: the content is a text, and `uuid` keeps a message that
/// comes again within an hour from being shown twice.
fn of_app(order: &Order<'_>, base: &str) -> Result<Vec<Call>, String> {
    let settings = order.settings;
    let message = message(order);
    let kind = message["msg_type"].as_str().unwrap_or_default();
    let content = match kind {
        "interactive" => &message["card"],
        "post" => &message["content"]["post"],
        _ => &message["content"],
    };
    let body = json!({
        "receive_id": settings.needed("chat")?,
        "msg_type": kind,
        "content": content.to_string(),
        "uuid": bounds::hashed(order.id),
    });
    let path = "/open-apis/im/v1/messages?receive_id_type=chat_id";
    let mut call = Call::post("message", settings.below(base, path), &body);
    let path = "/open-apis/auth/v3/tenant_access_token/internal";
    let app = json!({
        "app_id": settings.needed("app_id")?, "app_secret": settings.needed("app_secret")?,
    });
    let sign_in = Call::post("sign_in", settings.below(base, path), &app);
    call.sign_in = Some((Box::new(sign_in), "tenant_access_token"));
    Ok(vec![call])
}

/// Whether messages are cards, which have buttons.
pub(super) fn is_card(settings: Settings<'_>) -> bool {
    settings.text("style").as_deref() == Some("card")
}

/// The signature of a moment: the text to be signed is the key, and what is signed is empty.
fn signature(timestamp: &str, secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{timestamp}\n{secret}").as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, b""))
}

/// Who is called: `all`, or ids of users. Nobody is called when it is over.
fn mentioned(order: &Order<'_>) -> Vec<String> {
    use NotificationEvent::{Acknowledge, Resolve};
    match order.notification.event {
        Acknowledge | Resolve => Vec::new(),
        _ => order.settings.texts("mention"),
    }
}

fn locale(order: &Order<'_>) -> String {
    let default = if order.kind == "feishu" { "zh_cn" } else { "en_us" };
    order.settings.text("locale").unwrap_or_else(|| default.to_owned())
}

/// A title, and one paragraph for each line.
fn post(order: &Order<'_>, wording: &Wording) -> Value {
    let paragraph = |line: &String| json!([{"tag": "text", "text": line}]);
    let mut lines: Vec<Value> =
        bounds::lines(&wording.body(), lines_max(order), 32).iter().map(paragraph).collect();
    let people: Vec<Value> =
        mentioned(order).iter().map(|id| json!({"tag": "at", "user_id": id})).collect();
    if !people.is_empty() {
        lines.push(people.into());
    }
    let content = json!({"title": wording.title, "content": lines});
    json!({"msg_type": "post", "content": {"post": {locale(order): content}}})
}

fn text(order: &Order<'_>, wording: &Wording) -> Value {
    let mut lines = vec![wording.title.clone()];
    lines.extend(bounds::lines(&wording.body(), lines_max(order), 2));
    // What came from outside must not call anybody.
    let mut text = lines.join("\n").replace("<at", "<\u{200b}at");
    for id in mentioned(order) {
        let id: String = id.chars().filter(|c| !"\"<>".contains(*c)).collect();
        text.extend([" <at user_id=\"", &id, "\"></at>"]);
    }
    json!({"msg_type": "text", "content": {"text": text}})
}

/// A card with a coloured head. Its texts are plain, so that nothing in them is markup.
fn card(order: &Order<'_>, wording: &Wording) -> Value {
    let plain = |text: &str| json!({"tag": "plain_text", "content": text});
    let mut elements = Vec::new();
    let mut lines: Vec<String> = wording.heading.clone().into_iter().collect();
    lines.extend(wording.lines.iter().cloned());
    let lines = bounds::lines(&lines, lines_max(order) / 2, 2);
    if !lines.is_empty() {
        elements.push(json!({"tag": "div", "text": plain(&lines.join("\n"))}));
    }
    let mut room = lines_max(order) / 2;
    let mut fields = Vec::new();
    for (name, value) in &wording.facts {
        let field = format!("{name}\n{value}");
        let cost = bounds::json_size(&field) + 80;
        if cost <= room {
            room -= cost;
            fields.push(json!({"is_short": value.chars().count() < 40, "text": plain(&field)}));
        }
    }
    if !fields.is_empty() {
        elements.push(json!({"tag": "div", "fields": fields}));
    }
    let people: Vec<String> = mentioned(order)
        .iter()
        .map(|id| id.chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect())
        .map(|id: String| format!("<at id={id}></at>"))
        .collect();
    if !people.is_empty() {
        let text = json!({"tag": "lark_md", "content": people.join(" ")});
        elements.push(json!({"tag": "div", "text": text}));
    }
    let button = |look: &str, text: &str, url: String| json!({"tag": "button", "type": look, "text": plain(text), "url": url});
    // What a card of a group's bot tells nobody of, a page does.
    let by_page = || order.ack_link().map(|url| button("primary", "Acknowledge", url));
    // One of an app comes back by `/hooks/RECEIVER`.
    let by_app = order.ack_token().filter(|_| hears(order.settings)).map(|token| {
        json!({
            "tag": "button", "type": "primary", "text": plain("Acknowledge"),
            "value": { "nightbell_ack": token },
        })
    });
    let acknowledge = by_app.or_else(by_page);
    let runbook = order.notification.link().map(|url| button("default", "Runbook", url));
    let buttons: Vec<Value> = acknowledge.into_iter().chain(runbook).collect();
    if !buttons.is_empty() {
        elements.push(json!({"tag": "action", "actions": buttons}));
    }
    // There is no key at the bot: this one is for people who look for an earlier message.
    if let Some(key) = &order.notification.dedup_key {
        elements.push(json!({"tag": "note", "elements": [plain(key)]}));
    }
    let template = match Colour::of(order.notification) {
        Colour::Red => "red",
        Colour::Orange => "orange",
        Colour::Blue => "blue",
        Colour::Green => "green",
        Colour::Grey => "grey",
    };
    json!({
        "msg_type": "interactive",
        "card": {
            "config": {"wide_screen_mode": true},
            "header": {"title": plain(&wording.title), "template": template},
            "elements": elements,
        },
    })
}

/// `code`, or `StatusCode` of older answers.
pub(super) fn accepts(_: Settings<'_>) -> &'static Accepts {
    const fn zero(member: &'static str) -> Proof {
        Proof::Json { member, is: Is::Number(0), names: &["/data/message_id"] }
    }
    &const { Accepts { service: "a Lark or Feishu bot", proofs: &[zero("/code"), zero("/StatusCode")] } }
}

/// The bot answers errors with status 200.
pub(super) fn refuses(_: Settings<'_>, answer: &Answer) -> Option<Verdict> {
    let body = answer.json();
    let code = body.get("code").or_else(|| body.get("StatusCode")).and_then(Value::as_i64)?;
    let said = answer.words();
    let limited = || {
        Verdict::limited(answer.retry_after, format!("the bot's rate limit is reached ({said})"))
    };
    Some(match code {
        0 => return None,
        11232 => limited(),
        9499 if said.to_ascii_lowercase().contains("too many request") => limited(),
        10003 | 10014 | 10015 => Verdict::permanent(format!(
            "it does not know the app: check `app_id` and `app_secret` ({said})"
        )),
        230_001 | 230_002 | 230_006 | 230_013 => Verdict::permanent(format!(
            "the app cannot send to the chat: is it a bot, and a member of `chat`? ({said})"
        )),
        230_020 | 99_991_400 => limited(),
        9499 => Verdict::permanent(format!("the bot cannot read the message ({said})")),
        19001 => Verdict::permanent(format!("there is no such bot: check the URL ({said})")),
        19002 => Verdict::permanent(format!("the bot refuses the message ({said})")),
        19021 => Verdict::permanent(format!(
            "the signature is wrong, or this machine's clock is off by more than an hour: check \
             `sign` ({said})"
        )),
        19022 => Verdict::permanent(format!(
            "this machine's address is not among those that the bot accepts ({said})"
        )),
        19024 => Verdict::permanent(format!(
            "the message holds none of the bot's keywords: put one into `title` ({said})"
        )),
        _ if matches!(answer.status, 408 | 425 | 429 | 500..) => {
            Verdict::retry(answer.retry_after, format!("it answered {said}"))
        }
        _ => Verdict::permanent(format!("the bot refuses the message ({said})")),
    })
}
