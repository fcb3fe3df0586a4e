//! Twilio: a text message (SMS), or a phone call that reads the message out and takes a key as an
//! acknowledgement.
//!
//! There is no key of deduplication: an attempt of which nobody knows the end is made again, so that
//! a phone may ring twice, and a recovery is a message of its own. Twilio answers 201 as soon as it has
//! queued something; whether the phone rang, it tells nobody here.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kernel::alert::NotificationEvent;
use serde_json::Value;

use super::accepts::{Accepts, Is, Proof};
use super::bounds;
use super::kind::{Call, Judge, Kind, Order, Way};
use super::pace::Pace;
use super::settings::Settings;
use super::settings::Shape::{Address, OneOf, Text};
use super::settings::is_open;
use super::verdict::{Answer, Verdict};
use super::wording::{ACK, HEADING, LINE, TITLE, Wording, sounds};

const BASE: &str = "https://api.twilio.com";
/// Characters of a text message. Twilio takes 1600; each 70 to 153 of them are paid for.
const TEXT_MAX: usize = 480;
/// Characters that are read out, twice: about a minute.
const SPOKEN_MAX: usize = 500;

/// This kind of receiver.
pub(super) const KIND: Kind = Kind {
    name: "twilio",
    needs: &[&["account"], &["token"], &["from"], &["to"]],
    settings: &[
        ("account", Text),
        ("token", Text),
        ("from", Text),
        ("to", Text),
        ("by", OneOf(&["sms", "call"])),
        ("language", Text),
        ("voice", Text),
        ("base_url", Address),
        ACK,
        TITLE,
        HEADING,
        LINE,
    ],
    check,
    pace: Pace::new(1, 1, 3).folding(),
    way: Way::Calls { build, judge: Judge { accepts, refuses } },
};

fn check(settings: Settings<'_>, problems: &mut Vec<String>) {
    let written = |name: &str| settings.text(name).filter(|text| !is_open(text));
    if written("account").is_some_and(|account| !is_sid(&account, "AC")) {
        problems
            .push("`account` is the SID of an account: AC and 32 hexadecimal digits".to_owned());
    }
    if written("to").is_some_and(|to| !is_number(&to)) {
        problems.push("`to` must be a number such as +4791234567 (E.164)".to_owned());
    }
    let Some(from) = written("from") else { return };
    if calls(settings) && !is_number(&from) {
        problems.push("`from` must be a number such as +4791234567 (E.164) to call".to_owned());
    } else if !is_number(&from) && !is_sender(&from) {
        problems.push(
            "`from` must be a number such as +4791234567, a short code, the SID of a messaging \
             service (MG…), or a name of at most 11 letters and digits"
                .to_owned(),
        );
    }
}

fn calls(settings: Settings<'_>) -> bool {
    settings.text("by").as_deref() == Some("call")
}

/// Whether a text is a number in E.164.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_sid(text: &str, prefix: &str) -> bool {
    let rest = text.strip_prefix(prefix).unwrap_or_default();
    rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether texts can come from it, though it is no number.
fn is_sender(text: &str) -> bool {
    let is_short = (3..=8).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    let is_name = text.len() <= 11
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b' ')
        && text.bytes().any(|it| it.is_ascii_alphabetic());
    is_sid(text, "MG") || is_short || is_name
}

fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    let settings = order.settings;
    let (account, token) = (settings.needed("account")?, settings.needed("token")?);
    let (from, to) = (settings.needed("from")?, settings.needed("to")?);
    let event = order.notification.event;
    let by_call = calls(settings);
    if by_call && !sounds(event) && event != NotificationEvent::Test {
        // Nobody wants to be called because there is nothing to do any more.
        return Ok(Vec::new());
    }
    let (resource, content) = if by_call {
        ("Calls", ("Twiml", twiml(order)))
    } else {
        ("Messages", ("Body", text(order)))
    };
    let sender = if is_sid(&from, "MG") { "MessagingServiceSid" } else { "From" };
    let fields = [("To", to), (sender, from), content];
    let form: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", bounds::encoded(value))).collect();
    let path = format!("/2010-04-01/Accounts/{}/{resource}.json", bounds::encoded(&account));
    let pair = BASE64_STANDARD.encode(format!("{account}:{token}"));
    let mut call = Call::post("message", settings.below(BASE, &path), &Value::Null)
        .header("Authorization", format!("Basic {pair}"))
        .header("Content-Type", "application/x-www-form-urlencoded");
    call.body = form.join("&");
    Ok(vec![call])
}

/// Title and text, without the facts that a chat has room for; the link is never cut.
fn text(order: &Order<'_>) -> String {
    let link = order.ack_link().or_else(|| order.link(order.notification));
    let link = link.map(|link| format!("\n{link}")).unwrap_or_default();
    let room = TEXT_MAX.saturating_sub(link.chars().count()).max(160);
    format!("{}{link}", bounds::chars(&words(order).join("\n"), room))
}

fn words(order: &Order<'_>) -> Vec<String> {
    let wording = Wording::of(order);
    let mut words = vec![wording.title];
    words.extend(wording.heading);
    words.extend(wording.lines);
    words
}

/// What the phone says, and where a pressed key is told.
fn twiml(order: &Order<'_>) -> String {
    let mut manner = String::new();
    for name in ["language", "voice"] {
        if let Some(value) = order.settings.text(name) {
            let value = escaped(&bounds::chars(&value, 60));
            manner.extend([" ", name, "=\"", &value, "\""]);
        }
    }
    let spoken = escaped(&bounds::chars(&words(order).join(". "), SPOKEN_MAX));
    match answer_url(order) {
        Some(url) => format!(
            "<Response><Gather numDigits=\"1\" timeout=\"10\" method=\"POST\" action=\"{}\">\
             <Say loop=\"2\"{manner}>{spoken}. Press 1 to acknowledge.</Say></Gather>\
             <Say{manner}>No key was pressed. It stays open.</Say></Response>",
            escaped(&url)
        ),
        None => format!("<Response><Say loop=\"2\"{manner}>{spoken}</Say></Response>"),
    }
}

/// Where Twilio tells of the key: signed, and so at the address of webhooks.
fn answer_url(order: &Order<'_>) -> Option<String> {
    let link = order.ack_link()?;
    let (server, token) = link.rsplit_once("/a/")?;
    Some(format!("{server}/hooks/{}?ack={token}", bounds::encoded(order.receiver)))
}

/// A text within XML. Control characters have no place in it.
fn escaped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
        out
    })
}

fn accepts(_: Settings<'_>) -> &'static Accepts {
    const SID: Proof = Proof::Json { member: "/sid", is: Is::Present, names: &["/sid"] };
    &const { Accepts { service: "Twilio", proofs: &[SID] } }
}

/// Twilio's codes say more than its statuses.
fn refuses(_: Settings<'_>, answer: &Answer) -> Option<Verdict> {
    let code = answer.json().get("code").and_then(Value::as_u64)?;
    let said = answer.words();
    Some(match code {
        // Too many requests, calls under way, or messages of a sender.
        20429 | 10004 | 14107 => {
            Verdict::limited(answer.retry_after, format!("Twilio limits the rate: {said}"))
        }
        20003 => Verdict::permanent(format!("check `account` and `token` ({said})")),
        21211 | 21214 | 21217 | 21614 => {
            Verdict::permanent(format!("`to` is no number that can be reached ({said})"))
        }
        21210 | 21212 | 21603 | 21606 | 21659 => {
            Verdict::permanent(format!("`from` is no sender of this account ({said})"))
        }
        21215 | 21408 => {
            Verdict::permanent(format!("the account may not reach this country ({said})"))
        }
        21610 => Verdict::permanent(format!(
            "whoever has this number wants no messages; START as an answer allows them again ({said})"
        )),
        _ => return None,
    })
}
