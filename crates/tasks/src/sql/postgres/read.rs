//! Values of PostgreSQL, from the binary form in which it sends them.

use std::fmt::Write as _;

use postgres_protocol::types as wire;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Kind, Type};

use super::super::{Error, value};

/// One column of a row.
pub(super) fn column(row: &Row, at: usize) -> Result<Value, Error> {
    let Raw(raw) = row
        .try_get::<_, Raw<'_>>(at)
        .map_err(|error| Error::Failed(format!("PostgreSQL: {error}")))?;
    let Some(raw) = raw else { return Ok(Value::Null) };
    json(row.columns()[at].type_(), raw).map_err(|why| Error::Invalid(why.to_string()))
}

/// Whatever a column holds, as it came.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Problem> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Problem> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

type Problem = Box<dyn std::error::Error + Sync + Send>;

fn json(of: &Type, raw: &[u8]) -> Result<Value, Problem> {
    match of.kind() {
        Kind::Domain(inner) => return json(inner, raw),
        Kind::Enum(_) => return Ok(wire::text_from_sql(raw)?.into()),
        Kind::Array(inner) => return array(inner, raw),
        _ => {}
    }
    Ok(match *of {
        Type::BOOL => wire::bool_from_sql(raw)?.into(),
        Type::INT2 => wire::int2_from_sql(raw)?.into(),
        Type::INT4 => wire::int4_from_sql(raw)?.into(),
        Type::INT8 => value::whole(wire::int8_from_sql(raw)?.into()),
        Type::OID => wire::oid_from_sql(raw)?.into(),
        Type::FLOAT4 => value::double(short(wire::float4_from_sql(raw)?)),
        Type::FLOAT8 => value::double(wire::float8_from_sql(raw)?),
        Type::NUMERIC => value::decimal(&numeric(raw)?),
        Type::JSON => serde_json::from_slice(raw)?,
        Type::JSONB => serde_json::from_slice(raw.get(1..).unwrap_or_default())?,
        Type::BYTEA => value::bytes(raw),
        Type::UUID => uuid(raw)?.into(),
        Type::TIMESTAMPTZ => {
            timestamp(of, raw, |raw| Ok(jiff::Timestamp::from_sql(of, raw)?.to_string()))?
        }
        Type::TIMESTAMP => {
            timestamp(of, raw, |raw| Ok(jiff::civil::DateTime::from_sql(of, raw)?.to_string()))?
        }
        Type::DATE => {
            let days = wire::int4_from_sql(raw)?;
            match days {
                i32::MAX => "infinity".into(),
                i32::MIN => "-infinity".into(),
                _ => jiff::civil::Date::from_sql(of, raw)?.to_string().into(),
            }
        }
        Type::TIME => jiff::civil::Time::from_sql(of, raw)?.to_string().into(),
        Type::INTERVAL => interval(raw)?.into(),
        Type::INET | Type::CIDR => {
            let inet = wire::inet_from_sql(raw)?;
            let full = if inet.addr().is_ipv4() { 32 } else { 128 };
            let whole = *of == Type::INET && inet.netmask() == full;
            let mask = if whole { String::new() } else { format!("/{}", inet.netmask()) };
            format!("{}{mask}", inet.addr()).into()
        }
        Type::CHAR => String::from_utf8_lossy(raw).trim_end_matches('\0').into(),
        Type::VOID => Value::Null,
        _ if <&str as FromSql<'_>>::accepts(of) => wire::text_from_sql(raw)?.into(),
        _ => {
            let reason = "has a type that has no form in JSON";
            return Err(
                format!("{reason} ({of}): cast it in the statement, as in column::text").into()
            );
        }
    })
}

/// A short float with the digits it has, not those of the double nearest to it.
fn short(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

fn timestamp(
    of: &Type,
    raw: &[u8],
    text: impl FnOnce(&[u8]) -> Result<String, Problem>,
) -> Result<Value, Problem> {
    match wire::timestamp_from_sql(raw)? {
        i64::MAX => Ok("infinity".into()),
        i64::MIN => Ok("-infinity".into()),
        _ => text(raw).map(Value::String).map_err(|error| format!("{of}: {error}").into()),
    }
}

fn uuid(raw: &[u8]) -> Result<String, Problem> {
    let hex = format!("{:032x}", u128::from_be_bytes(wire::uuid_from_sql(raw)?));
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}

/// Lists of lists as deep as the array has dimensions.
fn array(inner: &Type, raw: &[u8]) -> Result<Value, Problem> {
    use fallible_iterator::FallibleIterator;
    let array = wire::array_from_sql(raw)?;
    let mut sizes = Vec::new();
    let mut dimensions = array.dimensions();
    while let Some(dimension) = dimensions.next()? {
        sizes.push(usize::try_from(dimension.len)?);
    }
    let mut items = Vec::new();
    let mut values = array.values();
    while let Some(item) = values.next()? {
        items.push(item.map_or(Ok(Value::Null), |raw| json(inner, raw))?);
    }
    for size in sizes.iter().skip(1).rev() {
        items = items.chunks((*size).max(1)).map(|chunk| Value::Array(chunk.to_vec())).collect();
    }
    Ok(Value::Array(items))
}

/// The decimal text of a number that comes as digits to the base 10,000.
fn numeric(raw: &[u8]) -> Result<String, Problem> {
    let mut words = raw.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let mut word = || words.next().ok_or("a number was cut off");
    let (_, weight, sign, scale) = (word()?, word()? as i16, word()?, usize::from(word()?));
    match sign {
        0xC000 => return Ok("NaN".to_owned()),
        0xD000 => return Ok("Infinity".to_owned()),
        0xF000 => return Ok("-Infinity".to_owned()),
        _ => {}
    }
    let digits: Vec<u16> = words.collect();
    let digit =
        |at: i32| usize::try_from(at).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
    let weight = i32::from(weight);
    let mut before = String::new();
    for at in 0..=weight {
        write!(before, "{:04}", digit(at))?;
    }
    let mut text = before.trim_start_matches('0').to_owned();
    if text.is_empty() {
        text.push('0');
    }
    if scale > 0 {
        let mut after = String::new();
        for place in 0..scale.div_ceil(4) as i32 {
            write!(after, "{:04}", digit(weight + 1 + place))?;
        }
        text.push('.');
        text.push_str(&after[..scale]);
    }
    Ok(if sign == 0x4000 { format!("-{text}") } else { text })
}

/// ISO 8601: `P1Y2M3DT4H5M6.5S`. The parts keep their own signs, as months and days have no fixed
/// length.
fn interval(raw: &[u8]) -> Result<String, Problem> {
    let (Some(micros), Some(days), Some(months)) = (raw.get(..8), raw.get(8..12), raw.get(12..16))
    else {
        return Err("an interval was cut off".into());
    };
    let micros = i64::from_be_bytes(micros.try_into()?);
    let days = i32::from_be_bytes(days.try_into()?);
    let months = i32::from_be_bytes(months.try_into()?);
    let mut text = "P".to_owned();
    let part = |text: &mut String, number: i64, unit: char| {
        if number != 0 {
            write!(text, "{number}{unit}").expect("writing to a string cannot fail");
        }
    };
    part(&mut text, (months / 12).into(), 'Y');
    part(&mut text, (months % 12).into(), 'M');
    part(&mut text, days.into(), 'D');
    if micros != 0 || text == "P" {
        text.push('T');
        part(&mut text, micros / 3_600_000_000, 'H');
        part(&mut text, micros / 60_000_000 % 60, 'M');
        let rest = micros % 60_000_000;
        if rest != 0 || text.ends_with('T') {
            let sign = if rest < 0 { "-" } else { "" };
            let seconds = format!("{sign}{}.{:06}", rest.abs() / 1_000_000, rest.abs() % 1_000_000);
            text.push_str(seconds.trim_end_matches('0').trim_end_matches('.'));
            text.push('S');
        }
    }
    Ok(text)
}
