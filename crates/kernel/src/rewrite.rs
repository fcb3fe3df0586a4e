//! Changes strings, numbers and keys inside a JSON text and passes all else on byte for byte.
//!
//! What fills secrets in, seals them and masks them all walk a payload in this way: a part of the
//! text that is of no concern is copied without being parsed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json::Json;

/// How deep a text is searched; twice as far as the engine's parser goes.
const DEPTH_MAX: usize = 256;

/// A place where a text may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf<'a> {
    /// A string, unescaped.
    Text(&'a str),
    /// A number as it is written.
    Number(&'a str),
    /// The name of a member; only a string may take its place.
    Name(&'a str),
    /// What cannot be taken apart, as JSON: what stands too deep, a string that is not Unicode.
    Deep(&'a str),
}

/// How to change a text.
pub struct Rewrite<'a> {
    /// Whether anything in this part of the text may need a change. It is asked at every level.
    pub concerns: &'a dyn Fn(&str) -> bool,
    /// All leaves below members of this name are marked, and every such part is of concern.
    pub mark: Option<&'a str>,
    /// What takes the place of a leaf, told whether it is marked; `None` leaves it as it is.
    pub replace: &'a dyn Fn(Leaf<'_>, bool) -> Option<Json>,
}

impl Rewrite<'_> {
    /// The text with its leaves replaced; the very same one if it is of no concern.
    pub fn apply(&self, json: &Json) -> Json {
        if !(self.concerns)(json.text()) {
            return json.clone();
        }
        Json::of(&Part { raw: json.raw(), rewrite: self, marked: false, depth: 0 })
    }
}

impl fmt::Debug for Rewrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewrite").field("mark", &self.mark).finish_non_exhaustive()
    }
}

/// Whether an ASCII text stands anywhere in a JSON text, plain or with `\u00..` escapes.
pub fn mentions(json: &str, what: &str) -> bool {
    json.contains(what) || (json.contains("\\u00") && ascii_unescaped(json).contains(what))
}

/// The text with its `\u00..` resolved, wherever they stand: good enough to find what a writer has
/// escaped, not to read it.
fn ascii_unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\u00") {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 4..at + 6).and_then(|code| u8::from_str_radix(code, 16).ok());
        out.push(code.map_or('\\', char::from));
        rest = &rest[if code.is_some() { at + 6 } else { at + 1 }..];
    }
    out.push_str(rest);
    out
}

struct Part<'a> {
    raw: &'a RawValue,
    rewrite: &'a Rewrite<'a>,
    marked: bool,
    depth: usize,
}

impl Part<'_> {
    fn leaf<S: Serializer>(&self, leaf: Leaf<'_>, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.rewrite.replace)(leaf, self.marked) {
            Some(json) => json.serialize(serializer),
            None => self.raw.serialize(serializer),
        }
    }

    fn name(&self, name: String) -> String {
        match (self.rewrite.replace)(Leaf::Name(&name), self.marked) {
            Some(json) => serde_json::from_str(json.text()).unwrap_or(name),
            None => name,
        }
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.raw.get();
        if !self.marked && !(self.rewrite.concerns)(text) {
            return self.raw.serialize(serializer);
        }
        if self.depth > DEPTH_MAX {
            return self.leaf(Leaf::Deep(text), serializer);
        }
        let inner = |raw, marked| Part {
            raw,
            rewrite: self.rewrite,
            marked: self.marked || marked,
            depth: self.depth + 1,
        };
        match text.as_bytes().first() {
            Some(b'"') => match serde_json::from_str::<Cow<'_, str>>(text) {
                Ok(string) => self.leaf(Leaf::Text(&string), serializer),
                // A lone surrogate, which Rust's strings cannot hold.
                Err(_) => self.leaf(Leaf::Deep(text), serializer),
            },
            Some(b'-' | b'0'..=b'9') => self.leaf(Leaf::Number(text), serializer),
            Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
                Ok(items) => {
                    let mut list = serializer.serialize_seq(Some(items.len()))?;
                    for item in items {
                        list.serialize_element(&inner(item, false))?;
                    }
                    list.end()
                }
                Err(_) => self.leaf(Leaf::Deep(text), serializer),
            },
            Some(b'{') => match serde_json::from_str::<Members<'_>>(text) {
                Ok(Members(members)) => {
                    let mut map = serializer.serialize_map(Some(members.len()))?;
                    for (name, value) in members {
                        let marked = self.rewrite.mark == Some(name.as_str());
                        map.serialize_entry(&self.name(name), &inner(value, marked))?;
                    }
                    map.end()
                }
                Err(_) => self.leaf(Leaf::Deep(text), serializer),
            },
            _ => self.raw.serialize(serializer),
        }
    }
}

/// The members of an object in the order of the text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        from.deserialize_map(Reader)
    }
}
