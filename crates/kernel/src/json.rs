//! JSON kept as its text, so that a payload passes through the engine without being parsed.
//!
//! A parsed tree costs about ten times its text in memory; most payloads are only ever stored and
//! handed on. [`Json::parse`] makes the tree where an expression or a script really needs it.

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// One valid JSON document as text; cheap to clone.
#[derive(Clone)]
pub struct Json(Arc<RawValue>);

impl Json {
    /// Takes text that must be one valid JSON document.
    ///
    /// # Errors
    /// What is wrong with the text, with line and column.
    pub fn from_text(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(|raw| Self(raw.into()))
    }

    /// Writes any serializable value as JSON.
    ///
    /// Only for types that always serialize: string keys, no failing `Serialize`.
    pub fn of(value: &impl Serialize) -> Self {
        let raw = serde_json::value::to_raw_value(value).expect("the type serializes to JSON");
        Self(raw.into())
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The borrowed raw form, for embedding in another document without copying.
    pub fn raw(&self) -> &RawValue {
        &self.0
    }

    /// Parses the text into a tree.
    pub fn parse(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_else(|_| {
            // The text was validated on entry; only a number beyond f64 (1e400) gets here.
            Value::Null
        })
    }

    /// `null`.
    pub fn null() -> Self {
        static NULL: LazyLock<Json> = LazyLock::new(|| Json::of(&Value::Null));
        NULL.clone()
    }

    /// `{}`.
    pub fn empty_object() -> Self {
        static EMPTY: LazyLock<Json> =
            LazyLock::new(|| Json::of(&serde_json::Map::<String, Value>::new()));
        EMPTY.clone()
    }

    /// Whether this is an object without members.
    pub fn is_empty_object(&self) -> bool {
        let text = self.text();
        text.starts_with('{') && text[1..].trim_start().starts_with('}')
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        self.text() == "null"
    }

    /// Whether this is an object.
    pub fn is_object(&self) -> bool {
        self.text().starts_with('{')
    }

    /// Length of the text in bytes: what payload limits count.
    pub fn len(&self) -> usize {
        self.text().len()
    }

    /// Never true: a JSON document has at least one character.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl Default for Json {
    fn default() -> Self {
        Self::empty_object()
    }
}

impl From<Box<RawValue>> for Json {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw.into())
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        Self::of(value)
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self::of(&value)
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Json {}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(raw.into()))
    }
}
