//! Filters over strings, and the `@formats`.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};
use jaq_core::native::Fun;

use super::{Data, plain, with_one};
use crate::jq::arithmetic;
use crate::jq::json;
use crate::jq::value::{Str, ValR, Value, allow, fail, step};

pub(super) fn all() -> Vec<Fun<Data>> {
    vec![
        plain!("tojson", |x: Value| Ok(Value::string(json::text(&x)))),
        plain!("fromjson", fromjson),
        plain!("tonumber", tonumber),
        plain!("ascii_downcase", |x| map_text(&x, str::to_ascii_lowercase)),
        plain!("ascii_upcase", |x| map_text(&x, str::to_ascii_uppercase)),
        plain!("explode", explode),
        plain!("implode", implode),
        plain!("utf8bytelength", utf8bytelength),
        plain!("trim", |x| trim(&x, str::trim)),
        plain!("ltrim", |x| trim(&x, str::trim_start)),
        plain!("rtrim", |x| trim(&x, str::trim_end)),
        with_one!("ltrimstr", |x, fix| strip(x, &fix, |s, fix| s.strip_prefix(fix))),
        with_one!("rtrimstr", |x, fix| strip(x, &fix, |s, fix| s.strip_suffix(fix))),
        with_one!("startswith", |x, fix| touches(&x, &fix, "startswith", |s, fix| s
            .starts_with(fix))),
        with_one!("endswith", |x, fix| touches(&x, &fix, "endswith", |s, fix| s.ends_with(fix))),
        with_one!("split", split),
        with_one!("join", join),
        plain!("@csv", |x| row(&x, "csv", ',', csv_cell)),
        plain!("@tsv", |x| row(&x, "tsv", '\t', tsv_cell)),
        plain!("@sh", shell),
        plain!("@html", |x| escape(&x, html)),
        plain!("@uri", |x| escape(&x, uri)),
        plain!("@base64", |x| Ok(Value::string(general_purpose::STANDARD.encode(shown(&x))))),
        plain!("@base64d", base64_decode),
    ]
}

fn fromjson(x: Value) -> ValR {
    let Value::String(text) = &x else {
        return Err(fail(format_args!("{} cannot be parsed as JSON", x.described())));
    };
    // What jq itself may have written for a number that is none.
    if text.trim() == "nan" {
        return Ok(Value::Float(f64::NAN));
    }
    // What is parsed is some times larger than its text.
    allow(text.len())?;
    let value = json::parse(text)
        .map_err(|e| fail(format_args!("{e} (while parsing {})", x.described())))?;
    step().map(|()| value)
}

fn tonumber(x: Value) -> ValR {
    let parsed = match &x {
        Value::Int(_) | Value::Unsigned(_) | Value::Float(_) => return Ok(x),
        Value::String(text) => json::number(text.trim()),
        _ => None,
    };
    parsed.ok_or_else(|| fail(format_args!("{} cannot be parsed as a number", x.described())))
}

fn text_of<'a>(x: &'a Value, deed: &str) -> ValR<&'a str> {
    x.as_str().ok_or_else(|| fail(format_args!("{deed} input must be a string")))
}

fn map_text(x: &Value, f: fn(&str) -> String) -> ValR {
    Ok(Value::string(f(text_of(x, "explode")?)))
}

fn explode(x: Value) -> ValR {
    let text = text_of(&x, "explode")?;
    Ok(text.chars().map(|c| Value::Int(c as i64)).collect())
}

fn implode(x: Value) -> ValR {
    let Value::Array(points) = x else {
        return Err(fail("implode input must be an array"));
    };
    let character = |point: &Value| match point {
        Value::Int(i) => u32::try_from(*i).ok().and_then(char::from_u32),
        _ => None,
    };
    let text: Option<String> = points.iter().map(character).collect();
    text.map(Value::string).ok_or_else(|| fail("Unicode codepoint must be a valid number"))
}

fn utf8bytelength(x: Value) -> ValR {
    match &x {
        Value::String(text) => Ok(Value::from(text.len())),
        other => {
            Err(fail(format_args!("{} only strings have UTF-8 byte length", other.described())))
        }
    }
}

fn trim(x: &Value, f: fn(&str) -> &str) -> ValR {
    match x.as_str() {
        Some(text) => Ok(Value::string(f(text))),
        None => Err(fail(format_args!("{} cannot be trimmed", x.described()))),
    }
}

/// Removes a prefix or suffix; anything but two strings stays as it is.
fn strip(x: Value, fix: &Value, f: for<'a> fn(&'a str, &str) -> Option<&'a str>) -> ValR {
    let stripped = match (&x, fix) {
        (Value::String(text), Value::String(fix)) => f(text, fix).map(Value::string),
        _ => None,
    };
    Ok(stripped.unwrap_or(x))
}

fn touches(x: &Value, fix: &Value, name: &str, f: fn(&str, &str) -> bool) -> ValR {
    match (x.as_str(), fix.as_str()) {
        (Some(text), Some(fix)) => Ok(Value::Bool(f(text, fix))),
        _ => Err(fail(format_args!("{name}() requires string inputs"))),
    }
}

fn split(x: Value, separator: Value) -> ValR {
    match (x.as_str(), separator.as_str()) {
        (Some(text), Some(separator)) => Ok(arithmetic::split(text, separator)),
        _ => Err(fail("split input and separator must be strings")),
    }
}

/// Nulls join as nothing, and null itself joins to nothing, as old definitions expect.
fn join(x: Value, separator: Value) -> ValR {
    let items: Vec<Value> = match x {
        Value::Null => Vec::new(),
        Value::Array(a) => a.take(),
        Value::Object(o) => o.take().into_values().collect(),
        other => {
            let other = other.described();
            return Err(fail(format_args!("Cannot iterate over {other}")));
        }
    };
    let mut joined = Str::from("");
    for (at, item) in items.iter().enumerate() {
        step()?;
        if at > 0 {
            match &separator {
                Value::Null => {}
                Value::String(separator) => joined.push_str(separator)?,
                other => return Err(not_joinable(&joined, other)),
            }
        }
        match item {
            Value::Null => {}
            Value::String(text) => joined.push_str(text)?,
            Value::Array(_) | Value::Object(_) => return Err(not_joinable(&joined, item)),
            number_or_bool => joined.push_str(&json::text(number_or_bool))?,
        }
    }
    Ok(Value::String(joined))
}

fn not_joinable(joined: &Str, item: &Value) -> crate::jq::value::Error {
    let joined = Value::String(joined.clone()).described();
    let item = item.described();
    fail(format_args!("{joined} and {item} cannot be added"))
}

/// A string as it is, anything else as JSON.
fn shown(x: &Value) -> String {
    x.as_str().map_or_else(|| json::text(x), str::to_owned)
}

fn escape(x: &Value, character: fn(char, &mut String)) -> ValR {
    let text = shown(x);
    allow(text.len())?;
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| character(c, &mut out));
    Ok(Value::string(out))
}

fn html(c: char, out: &mut String) {
    match c {
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '&' => out.push_str("&amp;"),
        '\'' => out.push_str("&#39;"),
        '"' => out.push_str("&quot;"),
        c => out.push(c),
    }
}

fn uri(c: char, out: &mut String) {
    if c.is_ascii_alphanumeric() || "-_.~".contains(c) {
        out.push(c);
        return;
    }
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        write!(out, "%{byte:02X}").expect("writing to a String never fails");
    }
}

type Cell = fn(&Value, &mut String) -> bool;

fn row(x: &Value, format: &str, separator: char, cell: Cell) -> ValR {
    let Value::Array(cells) = x else {
        return Err(fail(format_args!(
            "{} cannot be {format}-formatted, only array",
            x.described()
        )));
    };
    let mut out = String::new();
    for (at, x) in cells.iter().enumerate() {
        if at > 0 {
            out.push(separator);
        }
        if !cell(x, &mut out) {
            return Err(fail(format_args!("{} is not valid in a {format} row", x.described())));
        }
        allow(out.len())?;
    }
    Ok(Value::string(out))
}

fn csv_cell(x: &Value, out: &mut String) -> bool {
    match x {
        Value::Null => {}
        Value::String(text) => {
            out.push('"');
            out.push_str(&text.replace('"', "\"\""));
            out.push('"');
        }
        Value::Array(_) | Value::Object(_) => return false,
        number_or_bool => json::write(number_or_bool, out),
    }
    true
}

fn tsv_cell(x: &Value, out: &mut String) -> bool {
    match x {
        Value::Null => {}
        Value::String(text) => text.chars().for_each(|c| match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }),
        Value::Array(_) | Value::Object(_) => return false,
        number_or_bool => json::write(number_or_bool, out),
    }
    true
}

fn shell(x: Value) -> ValR {
    let one = std::slice::from_ref(&x);
    let words = match &x {
        Value::Array(words) => words,
        _ => one,
    };
    let mut out = String::new();
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        match word {
            Value::String(text) => {
                out.push('\'');
                out.push_str(&text.replace('\'', "'\\''"));
                out.push('\'');
            }
            Value::Array(_) | Value::Object(_) => {
                return Err(fail(format_args!(
                    "{} can not be escaped for shell",
                    word.described()
                )));
            }
            plain => json::write(plain, &mut out),
        }
        allow(out.len())?;
    }
    Ok(Value::string(out))
}

/// Padding is optional; bytes that are no UTF-8 are replaced.
fn base64_decode(x: Value) -> ValR {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let text = shown(&x);
    let bytes = LENIENT
        .decode(text.trim())
        .map_err(|_| fail(format_args!("{} is not valid base64 data", x.described())))?;
    Ok(Value::string(String::from_utf8_lossy(&bytes)))
}
