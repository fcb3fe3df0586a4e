//! Reads members of the API's JSON, absent ones as nothing.

use kernel::Timestamp;
use serde_json::Value;

/// A text; empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A text that says something.
pub(crate) fn said<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    Some(text(value, name)).filter(|text| !text.is_empty())
}

/// A count; 0 if there is none.
pub(crate) fn count(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// An instant in milliseconds since 1970; 0 is none.
pub(crate) fn at(value: &Value, name: &str) -> Option<Timestamp> {
    let millis = value.get(name).and_then(Value::as_i64).filter(|millis| *millis != 0)?;
    Some(Timestamp::from_millis(millis))
}

/// The members of a list; none if there is no list.
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A value in a word: texts as they are, what is nothing as nothing.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The longest beginning of a text of at most so many characters, with a mark if there is more.
pub(crate) fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
