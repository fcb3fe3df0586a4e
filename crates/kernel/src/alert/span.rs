//! Durations, shares and rates as people write them: `5m`, `1h30m`, `400s`, `80%`, `5/s`.

use serde::{Deserialize, Serialize};

/// So many messages in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Messages, at least one …
    pub count: u32,
    /// … in so many milliseconds, at least one.
    pub per: i64,
}

/// Milliseconds in each unit.
const UNITS: [(&str, i64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 7 * 86_400_000),
];

/// The longest duration: ten years.
const SPAN_MAX: i64 = 3653 * 86_400_000;

/// Reads a duration such as `5m`, `400s`, `1h 30m` or `1.5h` as milliseconds; a bare number is
/// seconds.
///
/// # Errors
/// What is wrong with it.
pub fn parse_span(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no duration; write one such as 30s, 5m or 1h30m");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        let after = rest[end..].trim_start();
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let name = after[..unit_end].to_ascii_lowercase();
        let unit = match name.as_str() {
            "" if total == 0.0 && after.is_empty() => 1000,
            name => UNITS.iter().find(|(known, _)| *known == name).ok_or_else(wrong)?.1,
        };
        total += number * unit as f64;
        rest = after[unit_end..].trim_start();
    }
    if total > SPAN_MAX as f64 {
        return Err(format!("{text:?} is longer than ten years"));
    }
    Ok(total.round() as i64)
}

/// Reads `80%` or `0.8` as a share of one.
///
/// # Errors
/// What is wrong with it.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is no share; write one such as 80%");
    let text_of = text.trim();
    let share = match text_of.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map_err(|_| wrong())? / 100.0,
        None => text_of.parse::<f64>().map_err(|_| wrong())?,
    };
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err(wrong()) }
}

/// Reads `5/s`, `100/m` or `1/10s` as a rate.
///
/// # Errors
/// What is wrong with it.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    const COUNT_MAX: u32 = 10_000;
    let wrong = || format!("{text:?} is no rate; write messages and time, such as 5/s or 100/m");
    let (count, per) = text.split_once('/').ok_or_else(wrong)?;
    let count: u32 = count.trim().parse().map_err(|_| wrong())?;
    let per = per.trim();
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
        parse_span(per).map_err(|_| wrong())?
    } else {
        parse_span(&format!("1{}", per.strip_suffix("in").unwrap_or(per))).map_err(|_| wrong())?
    };
    if !(1..=COUNT_MAX).contains(&count) || per < 1 {
        return Err(format!("{text:?}: a rate is 1 to {COUNT_MAX} messages in some time"));
    }
    Ok(Rate { count, per })
}

/// A duration out of a text or a number of another unit, for checklists.
pub(crate) fn scaled(text: &str, unit: &str) -> Result<i64, String> {
    match text.parse::<u32>() {
        Ok(number) => parse_span(&format!("{number}{unit}")),
        Err(_) => parse_span(text),
    }
}
