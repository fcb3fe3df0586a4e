//! Values from and to JSON text, with numbers written the way jq writes them.

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::value::{Map, Str, Value};

/// Reads one JSON document.
pub(super) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Reader(&mut Keys::default()).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Writes a value as JSON text.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// Appends a value as JSON text. `nan` has none and becomes null, infinities the largest number.
pub(super) fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(i) => push(out, format_args!("{i}")),
        Value::Unsigned(u) => push(out, format_args!("{u}")),
        Value::Float(f) => write_float(*f, out),
        Value::String(s) => write_string(s, out),
        Value::Array(a) => {
            out.push('[');
            for (at, item) in a.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(o) => {
            out.push('{');
            for (at, (key, value)) in o.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

fn push(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String never fails");
}

/// Shortest digits that read back the same; an exponent only where plain digits grow too long.
fn write_float(f: f64, out: &mut String) {
    if f.is_nan() {
        return out.push_str("null");
    }
    let f = f.clamp(f64::MIN, f64::MAX);
    let scientific = format!("{f:e}");
    let (digits, exponent) =
        scientific.split_once('e').expect("scientific notation has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a small integer");
    let count = digits.bytes().filter(u8::is_ascii_digit).count() as i32;
    if exponent < -5 || exponent >= count + 15 {
        let sign = if exponent < 0 { '-' } else { '+' };
        push(out, format_args!("{digits}e{sign}{:02}", exponent.abs()));
    } else if f.fract() == 0.0 && exponent < 15 {
        // Written as a float by its author: stays one.
        push(out, format_args!("{f:.1}"));
    } else {
        push(out, format_args!("{f}"));
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..0x20 | 0x7f => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        if escape.is_empty() {
            push(out, format_args!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// Reads a number as JSON writes it, tolerating leading zeros and a bare point as jq does.
pub(super) fn number(text: &str) -> Option<Value> {
    if let Ok(i) = text.parse() {
        return Some(Value::Int(i));
    }
    if let Ok(u) = text.parse() {
        return Some(Value::Unsigned(u));
    }
    // Rust also reads words: inf, infinity, nan.
    let digits = text.bytes().any(|b| b.is_ascii_digit());
    let numeric = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
    if digits && text.bytes().all(numeric) && !text.starts_with('+') {
        text.parse().ok().map(Value::Float)
    } else {
        None
    }
}

/// 2⁵³, up to which an `f64` counts by ones.
const WHOLE: f64 = 9_007_199_254_740_992.0;
/// 2⁶⁴.
const MAX_64: f64 = 18_446_744_073_709_551_616.0;

/// For results: never fails, and differs from [`write`] only in how large floats are spelled.
impl Value {
    /// For messages: the type and the beginning of the value, as in `array ([1,2])`.
    pub(super) fn described(&self) -> String {
        /// Characters of the value shown.
        const SHOWN: usize = 40;
        let text = text(self);
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{} ({}...)", self.type_name(), &text[..end]),
            None => format!("{} ({text})", self.type_name()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(self))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(i) => serializer.serialize_i64(*i),
            Value::Unsigned(u) => serializer.serialize_u64(*u),
            Value::Float(f) if f.is_nan() => serializer.serialize_unit(),
            // Whole and beyond 2⁵³, so calculated: plain digits while they fit 64 bits.
            Value::Float(f) if f.fract() == 0.0 && (WHOLE..MAX_64).contains(f) => {
                serializer.serialize_u64(*f as u64)
            }
            Value::Float(f) => serializer.serialize_f64(f.clamp(f64::MIN, f64::MAX)),
            Value::String(s) => serializer.serialize_str(s),
            Value::Array(a) => serializer.collect_seq(a.iter()),
            Value::Object(o) => {
                serializer.collect_map(o.iter().map(|(key, value)| (&**key, value)))
            }
        }
    }
}

/// The keys of the document being read: the objects of a list share theirs.
#[derive(Default)]
struct Keys(HashSet<Str>);

impl Keys {
    /// Different keys worth remembering; more are a table, not a record.
    const MAX: usize = 256;

    fn share(&mut self, key: &str) -> Str {
        if let Some(known) = self.0.get(key) {
            return known.clone();
        }
        let key = Str::from(key);
        if self.0.len() < Self::MAX {
            self.0.insert(key.clone());
        }
        key
    }
}

struct Reader<'k>(&'k mut Keys);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A key on its way into the shared keys.
struct KeyReader<'k>(&'k mut Keys);

impl<'de> DeserializeSeed<'de> for KeyReader<'_> {
    type Value = Str;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Str, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyReader<'_> {
    type Value = Str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Str, E> {
        Ok(self.0.share(key))
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E>(self, i: i64) -> Result<Value, E> {
        Ok(Value::Int(i))
    }

    fn visit_u64<E>(self, u: u64) -> Result<Value, E> {
        Ok(i64::try_from(u).map_or(Value::Unsigned(u), Value::Int))
    }

    fn visit_f64<E>(self, f: f64) -> Result<Value, E> {
        Ok(Value::Float(f))
    }

    fn visit_str<E>(self, s: &str) -> Result<Value, E> {
        Ok(Value::String(Str::from(s)))
    }

    fn visit_string<E>(self, s: String) -> Result<Value, E> {
        Ok(Value::String(Str::new(s)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Reader(self.0))? {
            items.push(item);
        }
        Ok(Value::array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = map.next_key_seed(KeyReader(self.0))? {
            let value = map.next_value_seed(Reader(self.0))?;
            members.insert(key, value);
        }
        Ok(Value::object(members))
    }
}
