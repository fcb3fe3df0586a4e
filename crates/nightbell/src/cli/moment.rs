//! Times: the server's notations in, RFC 3339 for programs and "12 s ago" for people out.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A time that the server may not have set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment(pub(super) Option<Timestamp>);

impl Moment {
    /// Reads milliseconds since 1970, or RFC 3339 text; zero means that nothing has happened yet.
    pub(super) fn of(value: &Value) -> Self {
        let instant = match value {
            Value::Number(number) => {
                number.as_i64().and_then(|millis| Timestamp::from_millisecond(millis).ok())
            }
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        Self(instant.filter(|instant| *instant != Timestamp::UNIX_EPOCH))
    }

    /// "12 s ago" or "in 3 min"; nothing if not set.
    pub(super) fn relative(self, now: Timestamp) -> String {
        let Some(instant) = self.0 else { return String::new() };
        let millis = now.as_millisecond() - instant.as_millisecond();
        match millis {
            0..1000 => "now".to_owned(),
            1000.. => format!("{} ago", span(millis)),
            _ => format!("in {}", span(-millis)),
        }
    }

    /// RFC 3339 with the relative form, for pages about one thing.
    pub(super) fn full(self, now: Timestamp) -> String {
        match self.rfc3339() {
            Some(text) => format!("{text} ({})", self.relative(now)),
            None => String::new(),
        }
    }

    /// RFC 3339 in UTC, to the millisecond.
    pub(super) fn rfc3339(self) -> Option<String> {
        self.0.map(|instant| format!("{instant:.3}"))
    }

    /// The time from here to `end`, or to `now` if that is not set; nothing if this is not set.
    pub(super) fn until(self, end: Self, now: Timestamp) -> String {
        let Some(start) = self.0 else { return String::new() };
        let end = end.0.unwrap_or(now);
        span(end.as_millisecond() - start.as_millisecond())
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self::of(&value))
    }
}

/// A length of time in its two largest units: `850 ms`, `12 s`, `3 min 20 s`, `2 d 4 h`.
pub(super) fn span(millis: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = millis / 1000;
    if seconds == 0 {
        return format!("{} ms", millis.max(0));
    }
    let first = UNITS.iter().position(|(size, _)| seconds >= *size).unwrap_or(UNITS.len() - 1);
    let (size, unit) = UNITS[first];
    let mut text = format!("{} {unit}", seconds / size);
    if let Some((smaller, unit)) = UNITS.get(first + 1) {
        let rest = seconds % size / smaller;
        if rest > 0 {
            let _ = write!(text, " {rest} {unit}");
        }
    }
    text
}

/// Names of times in the documents about workflows, tasks and queues.
const TIMES: [&str; 12] = [
    "startTime",
    "endTime",
    "createTime",
    "updateTime",
    "scheduledTime",
    "firstStartTime",
    "lastRetriedTime",
    "lastPollTime",
    "createdTime",
    "since",
    "until",
    "timestamp",
];

/// Writes the times of a document in RFC 3339, and leaves out those that are not set.
///
/// It goes down only where the server's own documents nest (lists, and the tasks of a workflow): an
/// input that happens to have an `endTime` is the user's and stays as it is, and so do definitions,
/// which must be accepted back.
pub(super) fn readable(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(readable),
        Value::Object(object) => {
            for name in TIMES {
                let Some(time) = object.get_mut(name) else { continue };
                match Moment::of(time).rfc3339() {
                    Some(text) => *time = text.into(),
                    None => _ = object.shift_remove(name),
                }
            }
            for nested in ["tasks", "results", "waiting", "history"] {
                if let Some(nested @ Value::Array(_)) = object.get_mut(nested) {
                    readable(nested);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lengths_show_two_units() {
        for (millis, text) in [
            (-5, "0 ms"),
            (850, "850 ms"),
            (12_900, "12 s"),
            (200_000, "3 min 20 s"),
            (3_600_000, "1 h"),
            (3_659_000, "1 h"),
            (187_200_000, "2 d 4 h"),
        ] {
            assert_eq!(span(millis), text);
        }
    }

    #[test]
    fn both_notations_of_the_server_are_read() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let ago = Moment::of(&json!("2026-03-01T11:59:48.000Z"));
        assert_eq!(ago.relative(now), "12 s ago");
        assert_eq!(
            Moment::of(&json!(now.as_millisecond() + 90_000)).relative(now),
            "in 1 min 30 s"
        );
        assert_eq!(Moment::of(&json!(0)), Moment(None));
        assert_eq!(Moment::of(&json!("1970-01-01T00:00:00.000Z")), Moment(None));
    }

    #[test]
    fn only_times_of_the_server_are_rewritten() {
        let mut run = json!({
            "createTime": 1_000, "endTime": 0, "input": {"endTime": 7},
            "tasks": [{"startTime": 2_000, "outputData": {"startTime": 9}}],
            "workflowDefinition": {"createTime": 5, "tasks": []},
        });
        readable(&mut run);
        let expected = json!({
            "createTime": "1970-01-01T00:00:01.000Z", "input": {"endTime": 7},
            "tasks": [{"startTime": "1970-01-01T00:00:02.000Z", "outputData": {"startTime": 9}}],
            "workflowDefinition": {"createTime": 5, "tasks": []},
        });
        assert_eq!(run, expected);
    }
}
