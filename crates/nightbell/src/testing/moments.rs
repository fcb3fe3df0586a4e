//! Instants and spans of tests: `+5m30s` from the start, `2027-03-27T00:00+01:00`, `2027-03-27`.

use std::fmt::Write as _;

use jiff::civil;
use kernel::Timestamp;
use kernel::alert::definition::parse_span;

/// An instant as a test writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Milliseconds after the start.
    After(i64),
    /// By the calendar.
    At(Timestamp),
}

impl When {
    /// Reads an instant; without an offset it is UTC.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(span) = text.strip_prefix('+') {
            return parse_span(span).map(Self::After);
        }
        instant(text).map(Self::At)
    }

    /// The instant, in a test that begins at `start`.
    pub(super) fn from(self, start: Timestamp) -> Timestamp {
        match self {
            Self::After(span) => start.plus_millis(span),
            Self::At(instant) => instant,
        }
    }
}

/// Reads an instant of the calendar; without an offset it is UTC.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(instant.into());
    }
    let civil = text.parse::<civil::DateTime>().ok();
    let civil = civil.or_else(|| text.parse::<civil::Date>().ok().map(civil::DateTime::from));
    let zoned = civil.and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC).ok());
    zoned.map(|zoned| zoned.timestamp().into()).ok_or_else(|| {
        format!(
            "{text:?} is no instant; write one such as +10m, 2027-03-27T09:30Z or \
             2027-03-27T09:30+01:00"
        )
    })
}

/// A span in words, to the millisecond: `2d3h`, `5m30s`, `0s`.
pub(super) fn span(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let mut left = millis.unsigned_abs();
    let mut text = String::new();
    for (unit, size) in
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)]
    {
        let count = left / size;
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
            left %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { format!("{sign}{text}") }
}

/// An instant relative to the start, as tests write it.
pub(super) fn relative(at: Timestamp, start: Timestamp) -> String {
    let millis = at.since(start);
    if millis < 0 { span(millis) } else { format!("+{}", span(millis)) }
}

/// Instants that tests compare are the same if they are less than this apart: the machinery between
/// a cause and its effect takes milliseconds in virtual time, too.
const TOLERANCE: i64 = 1_000;

/// Whether two instants are the same for a test.
pub(super) fn same(one: Timestamp, other: Timestamp) -> bool {
    one.since(other).abs() < TOLERANCE
}

/// A bound on a duration: `< 3d`, `>= 5m`, or `2h`, to the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Took {
    text: String,
    order: &'static str,
    span: i64,
}

impl Took {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let orders = ["<=", ">=", "<", ">", "="];
        let order = orders.into_iter().find(|order| text.starts_with(order));
        let span = parse_span(&text[order.map_or(0, str::len)..])?;
        Ok(Self { text: text.to_owned(), order: order.unwrap_or("="), span })
    }

    /// Whether a duration in milliseconds fits.
    pub(super) fn fits(&self, millis: i64) -> bool {
        match self.order {
            "<" => millis < self.span,
            "<=" => millis <= self.span,
            ">" => millis > self.span,
            ">=" => millis >= self.span,
            _ => (millis - self.span).abs() < TOLERANCE,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::{Took, When, instant, relative, span};

    #[test]
    fn instants_are_read_with_and_without_offset() {
        let oslo = instant("2027-03-27T00:00+01:00").expect("an instant");
        assert_eq!(oslo, instant("2027-03-26T23:00Z").expect("an instant"));
        assert_eq!(instant("2027-03-27"), instant("2027-03-27T00:00Z"));
        assert_eq!(When::parse("+5m30s").expect("an instant"), When::After(330_000));
        assert!(When::parse("tomorrow").is_err());
    }

    #[test]
    fn spans_read_as_people_write_them() {
        let start = instant("2027-03-27").expect("an instant");
        assert_eq!(span(183_600_000), "2d3h");
        assert_eq!(relative(start.plus_millis(330_000), start), "+5m30s");
        assert_eq!(relative(start, start), "+0s");
    }

    #[test]
    fn bounds_on_durations_hold_or_do_not() {
        let fits = |bound: &str, millis| Took::parse(bound).expect("a bound").fits(millis);
        assert!(fits("< 3d", 200_000_000) && !fits("< 3d", 259_200_000));
        assert!(fits("2s", 2_003) && !fits("2s", 3_500));
        assert!(fits(">= 5m", 300_000) && !fits("> 5m", 300_000));
    }
}
