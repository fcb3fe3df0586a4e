//! Microsoft Teams: an Adaptive Card to a workflow's address, or to a connector of old.
//!
//! Old connectors answer with status 200 and tell of a failure in the text. There is no key of
//! deduplication: a recovery is a message of its own.

use serde_json::{Value, json};

use super::accepts::{Accepts, Proof};
use super::bounds;
use super::kind::{Call, Order};
use super::settings::Settings;
use super::verdict::{Answer, Verdict};
use super::wording::{Colour, Wording};

/// Bytes of lines and of facts in one card. A message of more than 28 kB is said to be refused,
/// which is not verified; the rest is for the card around them.
const LINES_MAX: usize = 16_000;
const FACTS_MAX: usize = 7000;

pub(super) fn build(order: &Order<'_>) -> Result<Vec<Call>, String> {
    let url = order.settings.needed("url")?;
    let attachment = json!({
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": null,
        "content": card(order, &Wording::of(order)),
    });
    let message = json!({"type": "message", "attachments": [attachment]});
    Ok(vec![Call::post("message", url, &message)])
}

fn card(order: &Order<'_>, wording: &Wording) -> Value {
    let colour = match Colour::of(order.notification) {
        Colour::Red => "attention",
        Colour::Orange => "warning",
        Colour::Blue => "accent",
        Colour::Green => "good",
        Colour::Grey => "default",
    };
    let mut body = vec![json!({
        "type": "TextBlock", "text": literal(&wording.title), "weight": "bolder", "size": "medium",
        "color": colour, "wrap": true,
    })];
    let mut lines: Vec<String> = wording.heading.clone().into_iter().collect();
    lines.extend(wording.lines.iter().cloned());
    let lines: Vec<String> = lines.iter().map(|line| literal(line)).collect();
    for line in bounds::lines(&lines, LINES_MAX, 70) {
        body.push(json!({"type": "TextBlock", "text": line, "wrap": true, "spacing": "small"}));
    }
    let mut room = FACTS_MAX;
    let mut facts = Vec::new();
    for (name, value) in &wording.facts {
        let (name, value) = (literal(name), literal(value));
        let cost = bounds::json_size(&name) + bounds::json_size(&value) + 25;
        if cost <= room {
            room -= cost;
            facts.push(json!({"title": name, "value": value}));
        }
    }
    if !facts.is_empty() {
        body.push(json!({"type": "FactSet", "facts": facts}));
    }
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
    });
    let open =
        |title: &str, url: String| json!({"type": "Action.OpenUrl", "title": title, "url": url});
    let acknowledge = order.ack_link().map(|url| open("Acknowledge", url));
    let runbook = order.notification.link().map(|url| open("Runbook", url));
    let actions: Vec<Value> = acknowledge.into_iter().chain(runbook).collect();
    if !actions.is_empty() {
        card["actions"] = actions.into();
    }
    card
}

/// Cards read a little Markdown, in which a name such as `a_b_c` would lose its underscores.
fn literal(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if "\\*_[]`".contains(c) {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

/// 202 is what workflows answer, without a text or with what their author made them say; connectors
/// of old say 1.
pub(super) fn accepts(_: Settings<'_>) -> &'static Accepts {
    &Accepts { service: "Teams", proofs: &[Proof::Empty, Proof::Text("1"), Proof::NoPage] }
}

pub(super) fn refuses(_: Settings<'_>, answer: &Answer) -> Option<Verdict> {
    if !answer.is_success() {
        return None;
    }
    let words = answer.words();
    let Some(status) = told_status(&answer.body) else {
        let failed = answer.body.to_ascii_lowercase().contains("delivery failed");
        return failed.then(|| Verdict::permanent(format!("Teams did not take it: {words}")));
    };
    let reason = format!("Teams said within a 200: {words}");
    let told = Answer { status, ..answer.clone() };
    Some(match told.by_status() {
        Verdict::Retry { after, limited, .. } => Verdict::Retry { after, reason, limited },
        _ => Verdict::permanent(reason),
    })
}

/// The status that a text tells of: `… returned HTTP error 429 with …`.
fn told_status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("HTTP error ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
