//! What a search of incidents asks of the API: the words that people type, and what links have chosen.

use std::fmt::Write as _;

use crate::Failure;
use crate::value::cut;
use crate::visit::{Pairs, encoded};

/// The conditions that there are.
const CONDITIONS: [&str; 6] = ["severity", "label", "receiver", "monitor", "state", "silenced"];

/// Words of one search.
const WORDS_MAX: usize = 50;

/// What the words of a search ask of the API: those with a colon are conditions, others text.
///
/// # Errors
/// A condition is not known or has no value, or there are too many words.
fn conditions(words: &str) -> Result<String, Failure> {
    let (mut query, mut text) = (String::new(), Vec::new());
    if words.split_whitespace().nth(WORDS_MAX).is_some() {
        return Err(Failure::wrong(format!("There are more than {WORDS_MAX} words"))
            .with_hint("Search with fewer."));
    }
    for word in words.split_whitespace() {
        let condition = word.split_once(':').filter(|(name, value)| {
            let is_known = CONDITIONS.contains(name);
            (is_known || !value.is_empty()) && name.chars().all(|c| c.is_ascii_lowercase())
        });
        let Some((name, value)) = condition else {
            text.push(word);
            continue;
        };
        if value.split(',').all(str::is_empty) {
            return Err(Failure::wrong(format!("'{}' has no value", cut(word, 60))).with_hint(
                "Without one it would find everything: name a value behind the colon.",
            ));
        }
        let value = match (name, value) {
            ("severity" | "label" | "receiver" | "monitor" | "state", value) => value,
            ("silenced", "yes") => "true",
            ("silenced", "no") => "false",
            _ => {
                return Err(Failure::wrong(format!("There is no condition '{}'", cut(word, 60))).with_hint(
                    "There are severity:, label:team=data, receiver:, monitor:, state:, silenced:yes and silenced:no; \
                     other words are searched in monitor, key, text and labels.",
                ));
            }
        };
        let _ = write!(query, "&{name}={}", encoded(value));
    }
    if !text.is_empty() {
        let _ = write!(query, "&text={}", encoded(&text.join(" ")));
    }
    Ok(query)
}

/// The question to the API that a search of the console stands for.
///
/// # Errors
/// As [`conditions`].
pub(crate) fn question(asked: &Pairs) -> Result<String, Failure> {
    let words = asked.get("q").unwrap_or_default();
    let mut query = conditions(words)?;
    for name in ["state", "monitor"] {
        // What stands in the words counts more than what a link has chosen.
        if let Some(value) = asked.get(name).filter(|_| !query.contains(&format!("&{name}="))) {
            let _ = write!(query, "&{name}={}", encoded(value));
        }
    }
    Ok(format!("/api/incidents?{}", query.trim_start_matches('&')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_a_colon_are_conditions_and_others_are_text() {
        let asks = |query: &str| question(&Pairs::parse(query));
        let all = asks("q=severity:critical+label:team%3Ddata+disk+full+silenced:no&state=open");
        let all = all.expect("it is understood");
        assert_eq!(
            all,
            "/api/incidents?severity=critical&label=team%3Ddata&silenced=false&text=disk%20full&state=open"
        );
        let state = asks("q=state:all&state=open").expect("it is understood");
        assert_eq!(state, "/api/incidents?state=all");
        assert!(asks("q=colour:red").is_err());
        assert!(asks("q=silenced:perhaps").is_err());
        assert_eq!(asks("q=02:15").expect("a time is text"), "/api/incidents?text=02%3A15");
    }
}
