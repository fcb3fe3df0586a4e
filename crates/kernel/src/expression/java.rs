//! Writes values as Java's `toString` does, which is what an expression inside a text becomes.
//!
//! Definitions build texts, URLs and script sources from `${…}`; they expect `{a=1}` and `[1, 2]`
//! where a map or list stands in a text, and `1.0E10` for a large double.

use std::fmt::Write;

use serde_json::value::RawValue;
use serde_json::{Number, Value};

/// Appends what Java prints for a JSON text.
pub(super) fn write_raw(raw: &RawValue, out: &mut String) {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => match serde_json::from_str::<std::borrow::Cow<'_, str>>(text) {
            Ok(string) => out.push_str(&string),
            // A lone surrogate, which Rust's strings cannot hold.
            Err(_) => out.push_str(text.trim_matches('"')),
        },
        Some(b'{' | b'[') => match serde_json::from_str::<Value>(text) {
            Ok(value) => write_value(&value, out),
            // Nested too deep, or a number out of range.
            Err(_) => out.push_str(text),
        },
        Some(b'-' | b'0'..=b'9') => write_number(text, out),
        _ => out.push_str(text),
    }
}

/// What Java prints for a value.
pub(crate) fn text(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

/// Appends what Java prints for a value.
pub(super) fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(&number.to_string(), out),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, item)) in members.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                out.push_str(key);
                out.push('=');
                write_value(item, out);
            }
            out.push('}');
        }
    }
}

/// What Java prints for a number.
pub(super) fn number(number: &Number) -> String {
    let mut out = String::new();
    write_number(&number.to_string(), &mut out);
    out
}

/// A number's JSON text: an integer of any size stays as written, the rest is a double.
fn write_number(text: &str, out: &mut String) {
    if !text.contains(['.', 'e', 'E']) {
        out.push_str(if text == "-0" { "0" } else { text });
        return;
    }
    match text.parse() {
        Ok(double) => write_double(double, out),
        Err(_) => out.push_str(text),
    }
}

/// `Double.toString`: plain from a thousandth up to ten million, else with an exponent; always
/// with a digit behind the point.
fn write_double(double: f64, out: &mut String) {
    if double.is_infinite() {
        out.push_str(if double > 0.0 { "Infinity" } else { "-Infinity" });
        return;
    }
    let size = double.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        write!(out, "{double:?}").expect("writing to a string cannot fail");
        return;
    }
    let scientific = format!("{double:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    out.push_str(digits);
    if !digits.contains('.') {
        out.push_str(".0");
    }
    out.push('E');
    out.push_str(exponent);
}
