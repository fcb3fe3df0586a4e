//! What an answer means: taken, later perhaps, never, or nobody knows.

use std::time::Duration;

use serde_json::Value;

use super::bounds;

/// Longest pause that a service can ask for: a day.
const AFTER_MAX: Duration = Duration::from_hours(24);
/// Characters of a reason that are a service's own words.
const WORDS_MAX: usize = 300;

/// An answer, as far as its meaning depends on it.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The pause that a `Retry-After` header asks for.
    pub retry_after: Option<Duration>,
    /// The body as text.
    pub body: String,
}

/// What a receiver made of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It took the notification.
    Ok {
        /// What it calls what it made of it.
        reference: Option<String>,
    },
    /// It did not, but may later.
    Retry {
        /// How long it wants to be left alone.
        after: Option<Duration>,
        /// Why.
        reason: String,
        /// It is well, and only wants to be told less often.
        limited: bool,
    },
    /// It never will.
    Permanent {
        /// Why.
        reason: String,
    },
    /// It may have taken it or not. It is sent again: a page twice is better than none, and where
    /// there is a key of deduplication it is seen once.
    Ambiguous {
        /// Why nobody knows.
        reason: String,
    },
    /// It wants the same request with one member of its body changed.
    Moved {
        /// The member.
        member: &'static str,
        /// Its new value.
        to: Value,
    },
}

impl Verdict {
    /// Taken, under that name.
    pub(super) fn ok(reference: Option<String>) -> Self {
        Self::Ok { reference }
    }

    /// Not now.
    pub(super) fn retry(after: Option<Duration>, reason: impl Into<String>) -> Self {
        let after = after.map(|after| after.min(AFTER_MAX));
        Self::Retry { after, reason: reason.into(), limited: false }
    }

    /// Not so fast.
    pub(super) fn limited(after: Option<Duration>, reason: impl Into<String>) -> Self {
        let after = after.map(|after| after.min(AFTER_MAX));
        Self::Retry { after, reason: reason.into(), limited: true }
    }

    /// Never.
    pub(super) fn permanent(reason: impl Into<String>) -> Self {
        Self::Permanent { reason: reason.into() }
    }
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Status and the beginning of the body, for a reason.
    pub(super) fn words(&self) -> String {
        let body = self.body.split_whitespace().collect::<Vec<_>>().join(" ");
        if body.is_empty() {
            return format!("{} with no body", self.status);
        }
        format!("{}: {}", self.status, bounds::chars(&body, WORDS_MAX))
    }

    /// Whether the status is a success.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What a status that is no success says. A redirect is final: where notifications go is a
    /// setting, not an answer.
    pub(super) fn by_status(&self) -> Verdict {
        match self.status {
            200..300 => Verdict::Ambiguous { reason: format!("it answered {}", self.words()) },
            300..400 => Verdict::permanent(format!(
                "it answered {}, a redirect; the receiver's address must be the final one",
                self.status
            )),
            429 => Verdict::limited(self.retry_after, format!("it answered {}", self.words())),
            408 | 425 | 500.. => {
                Verdict::retry(self.retry_after, format!("it answered {}", self.words()))
            }
            _ => Verdict::permanent(format!("it answered {}", self.words())),
        }
    }
}

/// A member of a JSON answer as text, unless it is empty.
pub(super) fn text_at(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Seconds, perhaps a fraction of one, as a pause; rounded up to a millisecond.
pub(super) fn seconds(value: Option<&Value>) -> Option<Duration> {
    let seconds = value?.as_f64().filter(|seconds| (0.0..=86_400.0).contains(seconds))?;
    Some(Duration::from_millis((seconds * 1000.0).ceil() as u64))
}
