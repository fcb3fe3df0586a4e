//! Reads the `duration` and `until` of a WAIT task.
//!
//! Conductor's `DateTimeUtils` takes spans such as `1d 2h 30m`, their units in falling order, and
//! local times with an optional zone. Both are taken here, and besides them units in any order,
//! seconds in a time, RFC 3339, zone names of the IANA database and plain offsets.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Why a text is not a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing in it.
    #[error("no duration; write one such as 1d 2h 30m 5s")]
    Empty,
    /// Something else than numbers, each with a unit.
    #[error("not a duration; write one such as 1d 2h 30m 5s")]
    Malformed,
    /// One unit twice.
    #[error("a unit occurs twice")]
    Repeated,
    /// More than about 68 years of one unit's count, as Conductor's, or beyond what can be held.
    #[error("a number is too large")]
    TooLong,
}

/// Why a text is not a point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UntilError {
    /// No known form.
    #[error("not a time; write yyyy-MM-dd HH:mm with or without a zone, yyyy-MM-dd, or RFC 3339")]
    Malformed,
    /// The zone is unknown.
    #[error("unknown time zone: {0}")]
    Zone(String),
    /// A day or time that no calendar has, or one that cannot be held.
    #[error("no such date or time")]
    Impossible,
}

const UNITS: [(&[&str], i64); 4] = [
    (&["d", "day", "days"], 86_400),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600),
    (&["m", "min", "mins", "minute", "minutes"], 60),
    (&["s", "sec", "secs", "second", "seconds"], 1),
];

/// Reads a span such as `1d 2h 30 minutes`: units in any order and letter case, each at most once.
pub fn parse_duration(text: &str) -> Result<SignedDuration, DurationError> {
    let text = text.trim().to_ascii_lowercase();
    let mut rest = text.as_str();
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut seconds: i64 = 0;
    let mut seen = [false; UNITS.len()];
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit());
        let (name, after) = split(after.trim_start(), |c| c.is_ascii_alphabetic());
        let unit = UNITS.iter().position(|(names, _)| names.contains(&name));
        let Some(unit) = unit.filter(|_| !number.is_empty()) else {
            return Err(DurationError::Malformed);
        };
        if std::mem::replace(&mut seen[unit], true) {
            return Err(DurationError::Repeated);
        }
        let number: i32 = number.parse().map_err(|_| DurationError::TooLong)?;
        // At most four numbers of 31 bits, times a day: far below 2⁶³.
        seconds += i64::from(number) * UNITS[unit].1;
        rest = after.trim_start();
    }
    Ok(SignedDuration::from_secs(seconds))
}

/// Splits off the characters at the start that `is_part` takes.
fn split(text: &str, is_part: fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()))
}

/// Reads `yyyy-MM-dd HH:mm z`, `yyyy-MM-dd HH:mm`, `yyyy-MM-dd` or RFC 3339; a time without a zone
/// is one in `zone`.
///
/// A local time that a clock change skips is taken as long after the gap's start; of one that
/// occurs twice, the first is meant.
pub fn parse_until(text: &str, zone: &TimeZone) -> Result<Timestamp, UntilError> {
    let text = text.trim();
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let mut parts = text.splitn(3, [' ', 'T']);
    let date = date(parts.next().unwrap_or_default())?;
    let time = parts.next().map_or(Ok(Time::midnight()), time)?;
    let zone = match parts.next().map(str::trim).filter(|name| !name.is_empty()) {
        None => zone.clone(),
        Some(name) => zone_named(name).ok_or_else(|| UntilError::Zone(name.to_owned()))?,
    };
    let local = DateTime::from_parts(date, time);
    let zoned = zone.to_ambiguous_zoned(local).compatible();
    zoned.map(|zoned| zoned.timestamp()).map_err(|_| UntilError::Impossible)
}

fn date(text: &str) -> Result<Date, UntilError> {
    let [year, month, day] = numbers(text, '-')?;
    Date::new(year, month as i8, day as i8).map_err(|_| UntilError::Impossible)
}

/// `HH:mm`, or `HH:mm:ss`.
fn time(text: &str) -> Result<Time, UntilError> {
    let [hour, minute, second] = match text.matches(':').count() {
        1 => {
            let [hour, minute] = numbers(text, ':')?;
            [hour, minute, 0]
        }
        _ => numbers(text, ':')?,
    };
    Time::new(hour as i8, minute as i8, second as i8, 0).map_err(|_| UntilError::Impossible)
}

/// Exactly `N` numbers of at most four digits.
fn numbers<const N: usize>(text: &str, separator: char) -> Result<[i16; N], UntilError> {
    let number = |part: &str| {
        let valid = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i16>().ok().filter(|_| valid)
    };
    let numbers: Option<Vec<i16>> = text.split(separator).map(number).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or(UntilError::Malformed)
}

/// A zone by abbreviation, which is a fixed offset as in Java's `z`, by offset or by IANA name.
fn zone_named(name: &str) -> Option<TimeZone> {
    let upper = name.to_ascii_uppercase();
    if let Some((_, minutes)) = ABBREVIATIONS.iter().find(|(known, _)| *known == upper) {
        return fixed(*minutes);
    }
    let offset = upper.strip_prefix("GMT").or_else(|| upper.strip_prefix("UTC")).unwrap_or(&upper);
    if let Some(sign) = offset.chars().next().filter(|c| matches!(c, '+' | '-')) {
        let minutes = offset_minutes(&offset[1..])?;
        return fixed(if sign == '-' { -minutes } else { minutes });
    }
    TimeZone::get(name).ok()
}

/// `5`, `05`, `0530` or `05:30`.
fn offset_minutes(text: &str) -> Option<i32> {
    let (hours, minutes) = match text.split_once(':') {
        Some(parts) => parts,
        None if text.len() == 4 && text.is_ascii() => text.split_at(2),
        None => (text, "0"),
    };
    let number = |part: &str| {
        let valid = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i32>().ok().filter(|_| valid)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 18 && minutes < 60).then_some(hours * 60 + minutes)
}

fn fixed(minutes: i32) -> Option<TimeZone> {
    Offset::from_seconds(minutes * 60).ok().map(TimeZone::fixed)
}

/// Abbreviations and their offsets from UTC in minutes; where one has several meanings, the one
/// that Java's display names give in English comes first (CST: America, IST: India).
const ABBREVIATIONS: [(&str, i32); 52] = [
    ("Z", 0),
    ("UT", 0),
    ("UTC", 0),
    ("GMT", 0),
    ("WET", 0),
    ("WEST", 60),
    ("BST", 60),
    ("CET", 60),
    ("MET", 60),
    ("WAT", 60),
    ("CEST", 120),
    ("MEST", 120),
    ("EET", 120),
    ("CAT", 120),
    ("SAST", 120),
    ("EEST", 180),
    ("MSK", 180),
    ("EAT", 180),
    ("TRT", 180),
    ("IRST", 210),
    ("GST", 240),
    ("PKT", 300),
    ("IST", 330),
    ("NPT", 345),
    ("ICT", 420),
    ("WIB", 420),
    ("SGT", 480),
    ("HKT", 480),
    ("AWST", 480),
    ("JST", 540),
    ("KST", 540),
    ("ACST", 570),
    ("AEST", 600),
    ("ACDT", 630),
    ("AEDT", 660),
    ("NZST", 720),
    ("NZDT", 780),
    ("BRT", -180),
    ("ART", -180),
    ("EDT", -240),
    ("EST", -300),
    ("CDT", -300),
    ("CST", -360),
    ("MDT", -360),
    ("MST", -420),
    ("PDT", -420),
    ("PST", -480),
    ("AKDT", -480),
    ("AKST", -540),
    ("HST", -600),
    ("AST", -240),
    ("ADT", -180),
];
