//! How the body of an answer becomes a value in the task's output.
//!
//! The rules are Conductor's: objects and lists are JSON, numbers become doubles, booleans, null
//! and JSON strings become text, and whatever is not one JSON document is text as it stands.
//! Objects and lists keep their text, so nothing is reordered or rounded on the way through.

use std::fmt;

use ::http::HeaderValue;
use kernel::Json;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Deepest nesting taken as JSON; readers of JSON, ours among them, commonly stop at 128, and the
/// body will be nested in an output in a task in an execution.
const DEPTH_MAX: usize = 100;

/// The value of a body; null if there is none.
pub(super) fn value(bytes: &[u8], content_type: Option<&HeaderValue>) -> Json {
    if bytes.is_empty() {
        return Json::null();
    }
    let text = text(bytes, content_type);
    let document = text.strip_prefix('\u{feff}').unwrap_or(&text).trim();
    structured(document).or_else(|| scalar(document)).unwrap_or_else(|| Json::of(&text))
}

fn text(bytes: &[u8], content_type: Option<&HeaderValue>) -> String {
    let media = content_type.and_then(|value| value.to_str().ok());
    let media = media.unwrap_or_default().to_ascii_lowercase();
    let charset = media.split_once("charset=").map_or("", |(_, rest)| rest);
    let charset = charset.trim_start_matches('"');
    if charset.starts_with("iso-8859-1") || charset.starts_with("latin1") {
        return bytes.iter().copied().map(char::from).collect();
    }
    String::from_utf8_lossy(bytes).into_owned()
}

fn structured(text: &str) -> Option<Json> {
    if !text.starts_with(['{', '[']) {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    Shape { depth: 0 }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Json::from_text(text.to_owned()).ok()
}

fn scalar(text: &str) -> Option<Json> {
    match serde_json::from_str(text).ok()? {
        Value::Number(_) => {
            let number: f64 = text.parse().ok()?;
            number.is_finite().then(|| Json::of(&number))
        }
        Value::String(text) => Some(Json::of(&text)),
        Value::Bool(_) | Value::Null => Some(Json::of(&text)),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// Walks a document without keeping it, to learn whether a later reader will be able to: not too
/// deep, and no number beyond a double.
struct Shape {
    depth: usize,
}

impl Shape {
    fn below<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Shape {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.below()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_key_seed(Self { depth: 0 })?.is_some() {
            members.next_value_seed(self.below()?)?;
        }
        Ok(())
    }
}
