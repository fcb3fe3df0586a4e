//! Microsoft Teams: an Adaptive Card to a workflow's address, or to a connector of old.
//!
//! Old connectors answer with status 200 and tell of a failure in the text. There is no key of
//! deduplication: a recovery is a message of its own.

use serde_json::{Value, json};

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
    if let Some(link) = order.notification.link() {
        card["actions"] = json!([{"type": "Action.OpenUrl", "title": "Runbook", "url": link}]);
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

pub(super) fn judge(_: Settings<'_>, answer: &Answer) -> Verdict {
    if !answer.is_success() {
        return answer.by_status(|_| None);
    }
    // 202 is what workflows answer, without a text; connectors of old say 1.
    let Some(status) = told_status(&answer.body) else {
        let failed = answer.body.to_ascii_lowercase().contains("delivery failed");
        return if failed {
            Verdict::permanent(format!("Teams did not take it: {}", answer.words()))
        } else {
            Verdict::ok(None)
        };
    };
    let told = Answer { status, ..answer.clone() };
    match told.by_status(|_| None) {
        Verdict::Retry { after, .. } => {
            Verdict::retry(after, format!("Teams said within a 200: {}", answer.words()))
        }
        _ => Verdict::permanent(format!("Teams said within a 200: {}", answer.words())),
    }
}

/// The status that a text tells of: `… returned HTTP error 429 with …`.
fn told_status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("HTTP error ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
