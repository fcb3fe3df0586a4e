//! Reads cron expressions; what Spring refuses is refused here, with the field and a way out.

use super::{Cron, Days, OfMonth, OfWeek};

/// Why an expression cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CronError {
    /// What is wrong, naming field and value.
    pub message: String,
    /// What to write instead.
    pub hint: String,
    /// Where the offending part begins, in characters from 0.
    pub position: usize,
}

/// Longest expression, in bytes.
const LENGTH_MAX: usize = 1000;

const MACROS: [(&str, &str); 7] = [
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
    ("@monthly", "0 0 0 1 * *"),
    ("@weekly", "0 0 0 * * 0"),
    ("@daily", "0 0 0 * * *"),
    ("@midnight", "0 0 0 * * *"),
    ("@hourly", "0 0 * * * *"),
];

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

/// One kind of field: its name, bounds, and the names that stand for numbers from 1.
struct Kind {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const SECOND: Kind = Kind { name: "second", min: 0, max: 59, names: &[] };
const MINUTE: Kind = Kind { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Kind = Kind { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Kind = Kind { name: "day of month", min: 1, max: 31, names: &[] };
const MONTH: Kind = Kind { name: "month", min: 1, max: 12, names: &MONTHS };
const WEEKDAY: Kind = Kind { name: "day of week", min: 0, max: 7, names: &WEEKDAYS };

/// A field or a part of one as it is written, and where.
#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a str,
    at: usize,
    kind: &'static Kind,
}

impl Part<'_> {
    fn wrong(&self, what: impl std::fmt::Display, hint: impl Into<String>) -> CronError {
        let (name, at) = (self.kind.name, self.at);
        CronError {
            message: format!("{name} '{}' at character {at}: {what}", self.text),
            hint: hint.into(),
            position: at,
        }
    }

    fn range_hint(&self) -> String {
        let Kind { name, min, max, .. } = self.kind;
        format!("A {name} is a number from {min} to {max}, *, a-b, a/n, */n, or a list of these.")
    }
}

pub(super) fn six(text: &str) -> Result<Cron, CronError> {
    let text = expand(text);
    let fields = fields(text)?;
    let [second, minute, hour, day, month, weekday] = fields[..] else {
        let hint = match fields.len() {
            5 => format!("Put a field for the second in front: \"0 {}\".", text.trim()),
            7 => "There is no field for the year: leave out the last.".to_owned(),
            _ => "Write: second minute hour day-of-month month day-of-week.".to_owned(),
        };
        return Err(wrong_count(6, fields.len(), &hint));
    };
    let mut cron = calendar(minute, hour, day, month, weekday)?;
    cron.seconds = bits(part(second, &SECOND))?;
    Ok(cron)
}

pub(super) fn five(text: &str) -> Result<Cron, CronError> {
    let expanded = expand(text);
    if expanded.len() != text.trim().len() || expanded != text.trim() {
        return six(text);
    }
    let fields = fields(expanded)?;
    let [minute, hour, day, month, weekday] = fields[..] else {
        let hint = match fields.len() {
            6 => "There is no field for the second here: leave out the first.",
            _ => "Write: minute hour day-of-month month day-of-week.",
        };
        return Err(wrong_count(5, fields.len(), hint));
    };
    let mut cron = calendar(minute, hour, day, month, weekday)?;
    let restricted = |(text, _): (&str, usize)| !text.starts_with(['*', '?']);
    cron.days.either = restricted(day) && restricted(weekday);
    Ok(cron)
}

/// The expression that a macro stands for.
fn expand(text: &str) -> &str {
    let text = text.trim_ascii();
    let known = MACROS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map_or(text, |(_, meaning)| meaning)
}

/// Fields and where they begin.
fn fields(text: &str) -> Result<Vec<(&str, usize)>, CronError> {
    let whole = |message: String, hint: &str| CronError { message, hint: hint.into(), position: 0 };
    if text.is_empty() {
        let hint = "Write: second minute hour day-of-month month day-of-week.";
        return Err(whole("the cron expression is empty".to_owned(), hint));
    }
    if text.len() > LENGTH_MAX {
        let message = format!("the cron expression is longer than {LENGTH_MAX} bytes");
        return Err(whole(message, "Divide it into several."));
    }
    if text.starts_with('@') {
        let names: Vec<&str> = MACROS.iter().map(|(name, _)| *name).collect();
        let message = format!("'{text}' is not a known cron macro");
        return Err(whole(message, &format!("Known are {}.", names.join(", "))));
    }
    let mut found = Vec::new();
    let mut at = 0;
    for field in text.split([' ', '\t', '\n', '\r']) {
        if !field.is_empty() {
            found.push((field, at));
        }
        at += field.chars().count() + 1;
    }
    Ok(found)
}

fn wrong_count(wanted: usize, count: usize, hint: &str) -> CronError {
    let message = format!("a cron expression has {wanted} fields here, and this one has {count}");
    CronError { message, hint: hint.to_owned(), position: 0 }
}

fn part<'a>((text, at): (&'a str, usize), kind: &'static Kind) -> Part<'a> {
    Part { text, at, kind }
}

fn calendar(
    minute: (&str, usize),
    hour: (&str, usize),
    day: (&str, usize),
    month: (&str, usize),
    weekday: (&str, usize),
) -> Result<Cron, CronError> {
    Ok(Cron {
        seconds: 1,
        minutes: bits(part(minute, &MINUTE))?,
        hours: bits(part(hour, &HOUR))?,
        months: bits(part(month, &MONTH))?,
        days: Days {
            of_month: list(part(day, &DAY)).map(of_month).collect::<Result<_, _>>()?,
            of_week: list(part(weekday, &WEEKDAY)).map(of_week).collect::<Result<_, _>>()?,
            either: false,
        },
    })
}

/// The members of a list, each with its place.
fn list(field: Part<'_>) -> impl Iterator<Item = Part<'_>> {
    let mut at = field.at;
    field.text.split(',').map(move |text| {
        let part = Part { text, at, kind: field.kind };
        at += text.chars().count() + 1;
        part
    })
}

/// The set of numbers that a field names.
fn bits(field: Part<'_>) -> Result<u64, CronError> {
    list(field).try_fold(0, |bits, part| Ok(bits | set(part)?))
}

/// The set of numbers that one member of a list names.
fn set(part: Part<'_>) -> Result<u64, CronError> {
    let (range, step) = match part.text.split_once('/') {
        Some((range, step)) => {
            let step = digits(step).ok_or_else(|| {
                part.wrong("the step after '/' is not a number", part.range_hint())
            })?;
            if step == 0 {
                let hint = "*/5 is every fifth, 3/5 every fifth from 3 on.";
                return Err(part.wrong("the step must be 1 or more", hint));
            }
            (range, Some(step))
        }
        None => (part.text, None),
    };
    let whole = if part.kind.max == 7 { (1, 7) } else { (part.kind.min, part.kind.max) };
    let (least, most) = match range.split_once('-') {
        _ if range == "*" => whole,
        Some((least, most)) => {
            let (mut least, most) = (number(part, least)?, number(part, most)?);
            if part.kind.max == 7 && least == 7 {
                least = 0;
            }
            if least > most {
                let hint = format!("Write two ranges, joined by a comma: {least}-…,…-{most}.");
                return Err(part.wrong("the range ends before it begins", hint));
            }
            (least, most)
        }
        None => {
            let single = number(part, range)?;
            (single, if step.is_some() { whole.1 } else { single })
        }
    };
    let mut bits = 0;
    let mut value = least;
    while value <= most {
        bits |= 1 << value;
        value = value.saturating_add(step.unwrap_or(1));
    }
    // Sunday is 0 and 7.
    if part.kind.max == 7 && bits & 1 == 1 {
        bits = bits & !1 | 1 << 7;
    }
    Ok(bits)
}

fn number(part: Part<'_>, text: &str) -> Result<u32, CronError> {
    let Kind { min, max, names, .. } = *part.kind;
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    let value = named.map(|index| index as u32 + 1).or_else(|| digits(text));
    match value {
        Some(value) if (min..=max).contains(&value) => Ok(value),
        Some(value) => {
            Err(part.wrong(format!("{value} is not from {min} to {max}"), part.range_hint()))
        }
        None if text.is_empty() => Err(part.wrong("a number is missing", part.range_hint())),
        None if names.is_empty() => {
            Err(part.wrong(format!("'{text}' is not a number"), part.range_hint()))
        }
        None => {
            let what = format!("'{text}' is neither a number nor a name");
            Err(part.wrong(what, format!("Names are {}.", names.join(", "))))
        }
    }
}

fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn of_month(part: Part<'_>) -> Result<OfMonth, CronError> {
    const HINT: &str = "Last days are L, L-3 (three days before the last), LW (the last Monday to \
                        Friday); 15W is the Monday to Friday nearest to the 15th.";
    let text = part.text;
    if text == "?" {
        return set(Part { text: "*", ..part }).map(OfMonth::Bits);
    }
    if let Some(index) = text.rfind('L') {
        return match &text[index + 1..] {
            _ if index > 0 => Err(part.wrong("there is something before 'L'", HINT)),
            "" => Ok(OfMonth::BeforeLast(0)),
            "W" => Ok(OfMonth::LastWeekday),
            rest => match rest.strip_prefix('-').and_then(digits) {
                Some(0) => Err(part.wrong("the offset must be 1 or more", HINT)),
                Some(offset @ 1..=31) => Ok(OfMonth::BeforeLast(offset as u16)),
                Some(_) => Err(part.wrong("no month has so many days", HINT)),
                None => Err(part.wrong("the offset after 'L' is not a number", HINT)),
            },
        };
    }
    if let Some(index) = text.rfind('W') {
        if index == 0 {
            return Err(part.wrong("there is no day before 'W'", HINT));
        }
        if index != text.len() - 1 {
            return Err(part.wrong("there is something after 'W'", HINT));
        }
        return number(part, &text[..index]).map(|day| OfMonth::Nearest(day as i8));
    }
    set(part).map(OfMonth::Bits)
}

fn of_week(part: Part<'_>) -> Result<OfWeek, CronError> {
    const HINT: &str = "FRIL is the last Friday of the month, MON#2 the second Monday.";
    let upper = part.text.to_ascii_uppercase();
    let day = |text: &str| {
        let day = number(part, text)?;
        Ok(if day == 0 { 7 } else { day as i8 })
    };
    if upper == "?" {
        return set(Part { text: "*", ..part }).map(OfWeek::Bits);
    }
    if let Some(index) = upper.rfind('L') {
        if index != upper.len() - 1 {
            return Err(part.wrong("there is something after 'L'", HINT));
        }
        if index == 0 {
            return Err(part.wrong("there is no day of the week before 'L'", HINT));
        }
        return day(&upper[..index]).map(OfWeek::Last);
    }
    if let Some((weekday, nth)) = upper.rsplit_once('#') {
        if weekday.is_empty() {
            return Err(part.wrong("there is no day of the week before '#'", HINT));
        }
        return match digits(nth) {
            Some(nth @ 1..=5) => Ok(OfWeek::Nth(day(weekday)?, nth as i8)),
            Some(_) => Err(part.wrong("a month has one to five of each day", HINT)),
            None => Err(part.wrong("the number after '#' is missing", HINT)),
        };
    }
    set(part).map(OfWeek::Bits)
}
