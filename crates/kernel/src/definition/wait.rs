//! Recognises the literals of a WAIT task, so that a typing error is found at registration.
//!
//! Only the form is judged here; what instant or span a literal means is worked out when the task
//! is scheduled.

/// Whether text is a span such as `1d 2h 30 minutes`: units in falling order, each at most once.
pub(super) fn is_duration(text: &str) -> bool {
    const UNITS: [&[&str]; 4] = [
        &["days", "day", "d"],
        &["hours", "hour", "hrs", "hr", "h"],
        &["minutes", "minute", "mins", "min", "m"],
        &["seconds", "second", "secs", "sec", "s"],
    ];
    let text = text.to_ascii_lowercase();
    let mut rest = text.trim_start();
    for names in UNITS {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = &rest[..rest.len() - digits.len()];
        let unit = digits.trim_start();
        let name = names.iter().find(|name| unit.starts_with(**name));
        if let Some(name) = name
            && number.parse::<i32>().is_ok()
        {
            rest = unit[name.len()..].trim_start();
        }
    }
    rest.is_empty()
}

/// Whether text is a date, `yyyy-MM-dd`, with or without ` HH:mm`, with or without a zone after it.
pub(super) fn is_instant(text: &str) -> bool {
    let mut parts = text.trim().splitn(3, ' ');
    let date = parts.next().unwrap_or_default();
    let time = parts.next();
    let zone = parts.next();
    has_numbers(date, '-', 3)
        && time.is_none_or(|time| has_numbers(time, ':', 2))
        && zone.is_none_or(|zone| !zone.trim().is_empty())
}

fn has_numbers(text: &str, separator: char, count: usize) -> bool {
    let is_number = |part: &str| {
        (1..=9).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    text.split(separator).count() == count && text.split(separator).all(is_number)
}
