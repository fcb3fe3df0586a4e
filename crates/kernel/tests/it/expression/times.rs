//! WAIT's `duration` and `until`.

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use kernel::expression::{DurationError, UntilError, parse_duration, parse_until};

#[test]
fn spans_are_numbers_with_units() {
    const DAY: i64 = 86_400;
    for (text, seconds) in [
        ("1d 2h 3m 4s", DAY + 2 * 3600 + 3 * 60 + 4),
        ("1d2h3m4s", DAY + 2 * 3600 + 3 * 60 + 4),
        ("1 day 2 hours 3 minutes 4 seconds", DAY + 2 * 3600 + 3 * 60 + 4),
        ("2 DAYS 1 Hr 5 mins 6 Secs", 2 * DAY + 3600 + 5 * 60 + 6),
        ("  90s ", 90),
        ("0s", 0),
        ("10 minute", 600),
        ("5m 1h", 3900),
        ("2147483647 d", 2_147_483_647 * DAY),
    ] {
        assert_eq!(parse_duration(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
    }
    for (text, error) in [
        ("", DurationError::Empty),
        ("  ", DurationError::Empty),
        ("5", DurationError::Malformed),
        ("m", DurationError::Malformed),
        ("-5m", DurationError::Malformed),
        ("5x", DurationError::Malformed),
        ("5 m x", DurationError::Malformed),
        ("1.5h", DurationError::Malformed),
        ("PT5M", DurationError::Malformed),
        ("5m 5m", DurationError::Repeated),
        ("99999999999s", DurationError::TooLong),
    ] {
        assert_eq!(parse_duration(text), Err(error), "{text}");
    }
}

#[test]
fn times_are_local_unless_they_name_a_zone() {
    let oslo = TimeZone::get("Europe/Oslo").unwrap();
    for (text, instant) in [
        ("2026-04-11 10:00", "2026-04-11T08:00:00Z"),
        ("2026-01-11 10:00", "2026-01-11T09:00:00Z"),
        ("2026-04-11", "2026-04-10T22:00:00Z"),
        ("2026-4-1 9:05", "2026-04-01T07:05:00Z"),
        ("2026-04-11 10:00:30", "2026-04-11T08:00:30Z"),
        ("2026-04-11T10:00", "2026-04-11T08:00:00Z"),
        ("2026-04-11 10:00 GMT", "2026-04-11T10:00:00Z"),
        ("2026-04-11 10:00 utc", "2026-04-11T10:00:00Z"),
        ("2026-07-11 10:00 PST", "2026-07-11T18:00:00Z"),
        ("2026-07-11 10:00 PDT", "2026-07-11T17:00:00Z"),
        ("2026-07-11 10:00 EST", "2026-07-11T15:00:00Z"),
        ("2026-07-11 10:00 CET", "2026-07-11T09:00:00Z"),
        ("2026-04-11 10:00 IST", "2026-04-11T04:30:00Z"),
        ("2026-04-11 10:00 America/New_York", "2026-04-11T14:00:00Z"),
        ("2026-04-11 10:00 +02:00", "2026-04-11T08:00:00Z"),
        ("2026-04-11 10:00 -0330", "2026-04-11T13:30:00Z"),
        ("2026-04-11 10:00 GMT+05:30", "2026-04-11T04:30:00Z"),
        ("2026-04-11 10:00 UTC-8", "2026-04-11T18:00:00Z"),
        ("2026-04-11T10:00:00Z", "2026-04-11T10:00:00Z"),
        ("2026-04-11T10:00:00.250+02:00", "2026-04-11T08:00:00.25Z"),
        // Skipped by the clock, and passed twice.
        ("2026-03-29 02:30", "2026-03-29T01:30:00Z"),
        ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
    ] {
        let expected = instant.parse().unwrap();
        assert_eq!(parse_until(text, &oslo), Ok(expected), "{text}");
    }
    for (text, error) in [
        ("", UntilError::Malformed),
        ("tomorrow", UntilError::Malformed),
        ("10:00", UntilError::Malformed),
        ("2026-04", UntilError::Malformed),
        ("2026-04-11 10", UntilError::Malformed),
        ("2026-02-30 10:00", UntilError::Impossible),
        ("2026-04-11 25:00", UntilError::Impossible),
        ("2026-04-999 10:00", UntilError::Impossible),
        ("9999-12-31 23:59 HST", UntilError::Impossible),
        ("2026-04-11 10:00 XYZ", UntilError::Zone("XYZ".to_owned())),
        ("2026-04-11 10:00 +99", UntilError::Zone("+99".to_owned())),
    ] {
        assert_eq!(parse_until(text, &oslo), Err(error), "{text}");
    }
}
