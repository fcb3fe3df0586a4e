//! Mattermost: an incoming webhook.
//!
//! Messages are made as for Slack, in Markdown. Who is called stands in the text alone: what comes
//! from outside loses its markup and calls nobody. A webhook knows no earlier messages.

use serde_json::{Value, json};

use super::accepts::{Accepts, Proof};
use super::bounds;
use super::kind::{Call, Judge, Kind, Order, Way};
use super::pace::Pace;
use super::settings::Settings;
use super::settings::Shape::{Address, Text, Texts};
use super::slack::calms;
use super::verdict::{Answer, Verdict};
use super::wording::{ACK, Colour, HEADING, LINE, TITLE, Wording};

/// Bytes of an attachment's text. Servers take far more, people read less.
const TEXT_MAX: usize = 8000;
/// Values up to this length stand side by side.
const SHORT: usize = 40;

/// This kind of receiver.
pub(super) const KIND: Kind = Kind {
    name: "mattermost",
    needs: &[&["url"]],
    settings: &[
        ("url", Address),
        ("channel", Text),
        ("username", Text),
        ("icon_emoji", Text),
        ("icon_url", Address),
        ("mention", Texts),
        ACK,
        TITLE,
        HEADING,
        LINE,
    ],
    check: |_, _| {},
    pace: Pace::new(1, 1, 5).folding(),
    way: Way::Calls { build, judge: Judge { accepts, refuses } },
};

fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    let mut message = message(order);
    for name in ["channel", "username", "icon_emoji", "icon_url"] {
        if let Some(value) = order.settings.text(name) {
            message[name] = value.into();
        }
    }
    Ok(vec![Call::post("message", order.settings.needed("url")?, &message)])
}

fn message(order: &Order<'_>) -> Value {
    let wording = Wording::of(order);
    let mut text = format!("**{}**", literal(&wording.title));
    if !calms(order.notification.event) {
        for who in order.settings.texts("mention") {
            text.push_str(" @");
            text.push_str(who.trim_start_matches('@'));
        }
    }
    let heading = wording.heading.iter().map(|it| format!("**{}**", literal(it)));
    let lines: Vec<String> = heading.chain(wording.lines.iter().map(|it| literal(it))).collect();
    let field = |(name, value): &(String, String)| {
        let short = value.chars().count() < SHORT;
        json!({"title": literal(name), "value": literal(value), "short": short})
    };
    let fields: Vec<Value> = wording.facts.iter().map(field).collect();
    let mut message = json!({"text": text});
    if !lines.is_empty() || !fields.is_empty() {
        message["attachments"] = json!([{
            "color": format!("#{:06X}", Colour::of(order.notification).rgb()),
            "fallback": silent(&wording.title),
            "text": bounds::lines(&lines, TEXT_MAX, 2).join("\n"),
            "fields": fields,
        }]);
    }
    message
}

/// A text without markup, but for addresses, which stay links.
fn literal(text: &str) -> String {
    let plain = |word: &str| {
        let is_address = word.starts_with("https://") || word.starts_with("http://");
        if is_address && !word.contains(['\\', '`', '*', '[', ']', '(', ')', '<', '>', '|', '@']) {
            return word.to_owned();
        }
        word.chars().fold(String::new(), |mut out, c| {
            if "\\`*_[]<>|~#".contains(c) {
                out.push('\\');
            }
            out.push(c);
            out
        })
    };
    silent(&text.split(' ').map(plain).collect::<Vec<_>>().join(" "))
}

/// A text that calls nobody: there is no escape for the sign that does, so it is parted from its
/// name by a space of no width.
fn silent(text: &str) -> String {
    text.replace('@', "@\u{200b}")
}

fn accepts(_: Settings<'_>) -> &'static Accepts {
    &Accepts { service: "Mattermost", proofs: &[Proof::Text("ok")] }
}

/// 501 is what a server answers whose webhooks are switched off; no attempt will change that.
fn refuses(_: Settings<'_>, answer: &Answer) -> Option<Verdict> {
    (answer.status == 501)
        .then(|| Verdict::permanent(format!("it answered {}, webhooks are off", answer.words())))
}
