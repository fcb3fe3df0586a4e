//! Cuts a sub-document out of JSON text without building a tree.
//!
//! One pass: what the path does not name is skipped by the parser, what it names is borrowed.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Token;

/// The part of `document` that names and indexes lead to; of a repeated name, the last.
///
/// Answers `None` where a tree would: a missing name, an index out of range, the wrong type.
pub(super) fn pluck<'a>(document: &'a RawValue, tokens: &[Token]) -> Option<&'a RawValue> {
    if tokens.is_empty() {
        return Some(document);
    }
    Seek(tokens).deserialize(&mut serde_json::Deserializer::from_str(document.get())).ok()?
}

/// Walks down the remaining tokens.
struct Seek<'p>(&'p [Token]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            [] => <&RawValue>::deserialize(from).map(Some),
            // Counted from the end, so the length must be known first.
            [Token::Index(index), rest @ ..] if *index < 0 => {
                let list = <&RawValue>::deserialize(from)?;
                let length = length(list).unwrap_or_default();
                let index = length.checked_sub(index.unsigned_abs() as usize);
                let Some(index) = index.and_then(|index| i32::try_from(index).ok()) else {
                    return Ok(None);
                };
                let tokens: Vec<_> =
                    std::iter::once(Token::Index(index)).chain(rest.iter().cloned()).collect();
                Ok(pluck(list, &tokens))
            }
            _ => from.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (name, rest) = match self.0 {
            [Token::Key(name), rest @ ..] => (Some(name.as_str()), rest),
            _ => (None, self.0),
        };
        let mut found = None;
        while let Some(hit) = map.next_key_seed(Is(name))? {
            if hit {
                found = map.next_value_seed(Seek(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (index, rest) = match self.0 {
            [Token::Index(index), rest @ ..] => (usize::try_from(*index).ok(), rest),
            _ => (None, self.0),
        };
        let mut at = 0;
        let mut found = None;
        loop {
            if Some(at) == index {
                match list.next_element_seed(Seek(rest))? {
                    Some(value) => found = value,
                    None => break,
                }
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
            at += 1;
        }
        Ok(found)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Compares a key without keeping it.
struct Is<'p>(Option<&'p str>);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(self.0 == Some(key))
    }
}

/// How many elements an array's text has; `None` for anything else.
fn length(list: &RawValue) -> Option<usize> {
    serde_json::from_str::<Vec<IgnoredAny>>(list.get()).ok().map(|items| items.len())
}
