//! Instants as programs write them: ISO 8601 in its many forms, seconds or milliseconds since 1970.

use jiff::civil::DateTime;
use kernel::Timestamp;
use kernel::cron::Zone;
use serde_json::Value;

/// Numbers from here on are milliseconds: as seconds they would be in the year 5138.
const MILLIS_FROM: f64 = 1e11;

/// Reads an instant; one without a zone is of `zone`. `None` for what is none.
pub(super) fn instant(value: &Value, zone: &Zone) -> Option<Timestamp> {
    match value {
        Value::Number(number) => number.as_f64().and_then(since_1970),
        Value::String(text) => written(text.trim(), zone),
        _ => None,
    }
}

fn since_1970(number: f64) -> Option<Timestamp> {
    let millis = if number.abs() >= MILLIS_FROM { number } else { number * 1000.0 };
    (millis.abs() < 1e15).then(|| Timestamp::from_millis(millis.round() as i64))
}

fn written(text: &str, zone: &Zone) -> Option<Timestamp> {
    if let Ok(number) = text.parse::<f64>() {
        return since_1970(number);
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.into());
    }
    let text = text.strip_suffix(" UTC").or_else(|| text.strip_suffix(" GMT")).unwrap_or(text);
    let local = text.parse::<DateTime>();
    // Only a date: its beginning.
    let local = local.ok().or_else(|| Some(text.parse::<jiff::civil::Date>().ok()?.into()))?;
    zone.instant(local)
}

/// A span in words: `25 min`, `2 h 5 min`, `3 d 1 h`; the sign is left to whoever says it.
pub(super) fn words(millis: i64) -> String {
    let minutes = millis.unsigned_abs() / 60_000;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match (days, hours, minutes) {
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}
