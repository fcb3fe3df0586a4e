//! Reads scalars as generously as Jackson does, so that documents which Conductor takes, we take.
//!
//! A `null` for a primitive is that primitive's zero, numbers and booleans may be written as text,
//! text may be written as a number, and fractions are cut off. The rules stand here once, over
//! [`Value`]; both the shape check and the serde implementations use them.

use serde_json::Value;

/// Whether a boxed scalar is left out: `null` or empty text.
pub(super) fn is_absent(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// Reads a truth value; `null` and empty text are `false`, numbers are true unless zero.
pub(super) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Null => Some(false),
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_f64().map(|number| number != 0.0),
        Value::String(text) => match text.trim() {
            "" | "false" | "False" | "FALSE" => Some(false),
            "true" | "True" | "TRUE" => Some(true),
            _ => None,
        },
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads a 64-bit integer; `null` and empty text are 0, a fraction is cut off.
pub(super) fn long(value: &Value) -> Option<i64> {
    match value {
        Value::Null => Some(0),
        Value::Number(number) => number.as_i64().or_else(|| truncate(number.as_f64()?)),
        Value::String(text) => match text.trim() {
            "" => Some(0),
            digits => digits.parse().ok(),
        },
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads a 32-bit integer by the rules of [`long`].
pub(super) fn int(value: &Value) -> Option<i32> {
    long(value).and_then(|number| i32::try_from(number).ok())
}

/// Reads text; a number or truth value is taken as it is written. `null` is not text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads a member of an enumeration, by name or by index.
pub(super) fn index_of(value: &Value, names: &[&str]) -> Option<usize> {
    match value {
        Value::String(text) => names.iter().position(|name| name == text),
        Value::Number(number) => {
            let index = usize::try_from(number.as_u64()?).ok()?;
            (index < names.len()).then_some(index)
        }
        _ => None,
    }
}

/// Whether text is one whole `${…}` expression, as far as Conductor looks.
pub(super) fn is_expression(text: &str) -> bool {
    text.starts_with("${") && text.ends_with('}')
}

/// Cuts the fraction off, unless the rest does not fit.
fn truncate(number: f64) -> Option<i64> {
    // 2^63 is exact in f64; everything below it fits after truncation.
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    (-BOUND..BOUND).contains(&number).then_some(number as i64)
}

/// The same rules in the form that `#[serde(deserialize_with)]` takes.
pub(super) mod with {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::{Deserialize, Deserializer};
    use serde_json::Value;

    fn read<'de, D: Deserializer<'de>, T>(
        deserializer: D,
        expected: &str,
        convert: fn(&Value) -> Option<T>,
    ) -> Result<T, D::Error> {
        let value = Value::deserialize(deserializer)?;
        convert(&value)
            .ok_or_else(|| D::Error::custom(format_args!("expected {expected}, got {value}")))
    }

    pub(crate) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
        read(deserializer, "true or false", super::boolean)
    }

    pub(crate) fn int<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        read(deserializer, "a 32-bit integer", super::int)
    }

    pub(crate) fn long<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        read(deserializer, "an integer", super::long)
    }

    /// Text where the declared default is empty text; `null` is the same.
    pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        optional_text(deserializer).map(Option::unwrap_or_default)
    }

    pub(crate) fn optional_text<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<String>, D::Error> {
        read(deserializer, "text", |value| match value {
            Value::Null => Some(None),
            _ => super::text(value).map(Some),
        })
    }

    /// A boxed number, for which `null` and empty text mean absent rather than 0.
    pub(crate) fn optional_int<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<i32>, D::Error> {
        read(deserializer, "a 32-bit integer", |value| {
            if super::is_absent(value) { Some(None) } else { super::int(value).map(Some) }
        })
    }

    pub(crate) fn optional_boolean<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<bool>, D::Error> {
        read(deserializer, "true or false", |value| {
            if super::is_absent(value) { Some(None) } else { super::boolean(value).map(Some) }
        })
    }

    pub(crate) fn texts<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<String>, D::Error> {
        read(deserializer, "a list of texts", |value| match value {
            Value::Null => Some(Vec::new()),
            Value::Array(items) => items.iter().map(super::text).collect(),
            _ => None,
        })
    }

    /// A collection, for which `null` means empty.
    pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: DeserializeOwned + Default,
    {
        Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
    }
}
