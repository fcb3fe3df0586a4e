//! Many messages as one, when a receiver is told more than it can take one by one.

use serde_json::{Value, json};

use super::bounds;
use super::kind::Order;
use super::pace::count_words;
use super::wording::{Wording, sounds, word};

/// Bytes of JSON of one line: with [`super::pace::FOLD_MAX`] of them a summary fits into every chat.
const LINE_MAX: usize = 120;

/// Settings by which a receiver words messages about one thing; they do not fit a summary.
pub(super) const OWN_WORDS: [&str; 4] = ["title", "heading", "line", "subject"];

/// Between the word by which a message is recognised and the rest of its line.
const BREAK: &str = ": ";

/// What a message says, in a line.
pub(super) fn line(order: &Order<'_>) -> String {
    let own = Wording::of(order).title;
    let word = word(order.notification);
    let said = own.strip_prefix(&word).map_or(&*own, |rest| rest.trim_start_matches([':', ' ']));
    let mut length = LINE_MAX;
    loop {
        let line = bounds::bytes(&format!("{word}{BREAK}{said}"), length);
        if bounds::json_size(&line) <= LINE_MAX || length < 20 {
            return line;
        }
        length -= 10;
    }
}

/// The notification that tells several messages, each in a line, as one group.
pub(super) fn of(order: &Order<'_>, lines: &[String]) -> Value {
    let words = lines.iter().map(|line| line.split_once(BREAK).map_or("", |(word, _)| word));
    let wrong = |word: &str| !["RESOLVED", "ACKNOWLEDGED", "TEST"].contains(&word);
    let bad = sounds(order.notification.event) || words.clone().any(wrong);
    let severity = ["CRITICAL", "ERROR", "WARNING"]
        .into_iter()
        .find(|severity| words.clone().any(|word| word.contains(severity)))
        .unwrap_or("INFO");
    let title = format!("{} messages at once: {}", lines.len(), count_words(words));
    let member = |line: &String| json!({ "title": line });
    json!({
        "event": if bad { "trigger" } else { "resolve" },
        "severity": severity.to_lowercase(),
        "title": title,
        "group": { "key": "", "display": "", "members": lines.iter().map(member).collect::<Vec<_>>() },
    })
}
