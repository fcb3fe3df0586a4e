//! Filters over time: seconds since 1970 and jq's "broken down time" arrays, always in UTC.
//!
//! The zone of the machine never matters: a workflow must not depend on where it runs.

use jaq_core::native::Fun;
use jiff::civil::DateTime;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::{Timestamp, Zoned, tz};

use super::{Data, plain, with_one};
use crate::jq::value::{ValR, Value, fail};

pub(super) fn all() -> [Fun<Data>; 5] {
    [
        plain!("now", |_| Ok(Value::Float(now()))),
        plain!("gmtime", |x: Value| gmtime(&x)),
        plain!("mktime", |x: Value| mktime(&x)),
        with_one!("strftime", |x: Value, format: Value| strftime(&x, &format)),
        with_one!("strptime", |x: Value, format: Value| strptime(&x, &format)),
    ]
}

/// The present instant in seconds; to the microsecond by the machine's clock.
fn now() -> f64 {
    match crate::clock::stood_in() {
        Some(now) => now.millis() as f64 / 1e3,
        None => Timestamp::now().as_microsecond() as f64 / 1e6,
    }
}

fn instant(seconds: f64) -> ValR<Timestamp> {
    Timestamp::from_microsecond((seconds * 1e6).floor() as i64)
        .map_err(|_| fail("time is out of range"))
}

fn gmtime(x: &Value) -> ValR {
    let seconds = x.as_f64().ok_or_else(|| fail("gmtime() requires a number"))?;
    let time = instant(seconds)?.to_zoned(tz::TimeZone::UTC).datetime();
    Ok(broken_down(time, seconds.rem_euclid(1.0)))
}

fn broken_down(time: DateTime, fraction: f64) -> Value {
    let fields = [
        i64::from(time.year()),
        i64::from(time.month()) - 1,
        time.day().into(),
        time.hour().into(),
        time.minute().into(),
        time.second().into(),
        time.weekday().to_sunday_zero_offset().into(),
        i64::from(time.day_of_year()) - 1,
    ];
    let fields = fields.into_iter().enumerate();
    fields
        .map(|(at, field)| match at {
            5 if fraction != 0.0 => Value::number(field as f64 + fraction),
            _ => Value::Int(field),
        })
        .collect()
}

/// What a broken down time stands for; fields beyond their range are an error.
fn civil(x: &Value, filter: &str) -> ValR<DateTime> {
    let wrong = || fail(format_args!("{filter} requires parsed datetime inputs"));
    let Value::Array(fields) = x else {
        return Err(wrong());
    };
    let fields: Option<Vec<f64>> = fields.iter().take(6).map(Value::as_f64).collect();
    let Some([year, month, day, hour, minute, second]) = fields.as_deref() else {
        return Err(wrong());
    };
    let small = |field: f64| field.floor() as i8;
    DateTime::new(
        *year as i16,
        small(month + 1.0),
        small(*day),
        small(*hour),
        small(*minute),
        small(*second),
        0,
    )
    .map_err(|e| fail(format_args!("invalid broken down time: {e}")))
}

fn to_zoned(time: DateTime) -> ValR<Zoned> {
    time.to_zoned(tz::TimeZone::UTC).map_err(|_| fail("time is out of range"))
}

fn mktime(x: &Value) -> ValR {
    let time = to_zoned(civil(x, "mktime")?)?;
    Ok(Value::Int(time.timestamp().as_second()))
}

fn strftime(x: &Value, format: &Value) -> ValR {
    let Some(format) = format.as_str() else {
        return Err(fail("strftime/1 requires a string format"));
    };
    let time = match x.as_f64() {
        Some(seconds) => instant(seconds)?.to_zoned(tz::TimeZone::UTC),
        None => to_zoned(civil(x, "strftime/1")?)?,
    };
    strtime::format(format, &time)
        .map(Value::string)
        .map_err(|e| fail(format_args!("strftime/1: {e}")))
}

fn strptime(x: &Value, format: &Value) -> ValR {
    let (Some(text), Some(format)) = (x.as_str(), format.as_str()) else {
        let x = x.described();
        return Err(fail(format_args!("strptime/1 requires string inputs and arguments, not {x}")));
    };
    let mismatch = || {
        let (text, format) = (Value::string(text), Value::string(format));
        fail(format_args!("date {text} does not match format {format}"))
    };
    let mut parsed = BrokenDownTime::parse(format, text).map_err(|_| mismatch())?;
    // A format may name the date alone: then it is midnight.
    if parsed.hour().is_none() {
        for set in
            [BrokenDownTime::set_hour, BrokenDownTime::set_minute, BrokenDownTime::set_second]
        {
            set(&mut parsed, Some(0)).map_err(|_| mismatch())?;
        }
    }
    let time = parsed.to_datetime().map_err(|_| mismatch())?;
    Ok(broken_down(time, 0.0))
}
