//! Puts secrets in the place of `${workflow.secrets.NAME}` when an input is handed to a worker.
//!
//! Until then the expression is plain text everywhere: in stored inputs, in scripts, in outputs.
//! Only the strings that mention a secret are rewritten; all else is passed on byte for byte. As in
//! Conductor, the text counts wherever it came from: who may start a workflow may name a secret in
//! its input and have it handed to the worker.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::java;
use super::path::Path;
use crate::json::Json;

const PREFIX: &str = "${workflow.secrets.";

/// How deep an input is searched; far deeper than the engine's parser goes.
const DEPTH_MAX: usize = 128;

/// Whether `${workflow.secrets.` stands anywhere in the text.
pub fn mentions_secret(input: &Json) -> bool {
    mentions(input.text())
}

/// Replaces `${workflow.secrets.NAME}` and `${workflow.secrets.NAME.path}` in all string values.
///
/// A string that is nothing but one becomes its value, or `null` if there is none; with a path the
/// secret is read as JSON and the part keeps its type. In a longer text a missing one is empty.
pub fn resolve_secrets(input: &Json, lookup: &dyn Fn(&str) -> Option<String>) -> Json {
    if !mentions_secret(input) {
        return input.clone();
    }
    Json::of(&Resolving { raw: input.raw(), lookup, depth: 0 })
}

fn mentions(text: &str) -> bool {
    text.contains(PREFIX) || (text.contains("\\u00") && ascii_unescaped(text).contains(PREFIX))
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

struct Resolving<'a> {
    raw: &'a RawValue,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
}

impl Serialize for Resolving<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.raw.get();
        if !mentions(text) || self.depth > DEPTH_MAX {
            return self.raw.serialize(serializer);
        }
        let inner = |raw| Resolving { raw, lookup: self.lookup, depth: self.depth + 1 };
        match text.as_bytes().first() {
            Some(b'"') => match serde_json::from_str::<Cow<'_, str>>(text) {
                Ok(string) => match resolve(&string, self.lookup) {
                    Some(resolved) => resolved.serialize(serializer),
                    None => self.raw.serialize(serializer),
                },
                Err(_) => self.raw.serialize(serializer),
            },
            Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
                Ok(items) => {
                    let mut list = serializer.serialize_seq(Some(items.len()))?;
                    for item in items {
                        list.serialize_element(&inner(item))?;
                    }
                    list.end()
                }
                Err(_) => self.raw.serialize(serializer),
            },
            Some(b'{') => match serde_json::from_str::<Members<'_>>(text) {
                Ok(Members(members)) => {
                    let mut map = serializer.serialize_map(Some(members.len()))?;
                    for (key, value) in members {
                        map.serialize_entry(&key, &inner(value))?;
                    }
                    map.end()
                }
                Err(_) => self.raw.serialize(serializer),
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

/// The value of a string with secrets in it; `None` if there are none.
fn resolve(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Option<Json> {
    let (start, mut reference, mut end) = next(text, 0)?;
    if start == 0 && end == text.len() {
        return Some(value(reference, lookup).unwrap_or_else(Json::null));
    }
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..start]);
    loop {
        if let Some(value) = value(reference, lookup).filter(|value| !value.is_null()) {
            java::write_raw(value.raw(), &mut out);
        }
        let Some((next_start, next_reference, next_end)) = next(text, end) else { break };
        out.push_str(&text[end..next_start]);
        (reference, end) = (next_reference, next_end);
    }
    out.push_str(&text[end..]);
    Some(Json::of(&out))
}

/// The first reference from `from` on: where it begins, `NAME[.path]`, and where it ends.
fn next(text: &str, from: usize) -> Option<(usize, &str, usize)> {
    let mut at = from;
    loop {
        let start = at + text[at..].find(PREFIX)?;
        let inner = start + PREFIX.len();
        let length = text[inner..].find('}')?;
        if length > 0 {
            return Some((start, &text[inner..inner + length], inner + length + 1));
        }
        at = inner;
    }
}

fn value(reference: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Option<Json> {
    let Some((name, path)) = reference.split_once('.') else {
        return lookup(reference).map(|secret| Json::of(&secret));
    };
    let document = Json::from_text(lookup(name)?).ok()?;
    Some(Path::compile(path).ok()?.read_text(&document))
}
