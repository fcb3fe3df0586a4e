//! Reads the members of a JSON object leniently and without building a tree.
//!
//! Inputs come from templates, where a number easily arrives as text and the other way round, so
//! each reader takes what can only be meant one way and names the member in every complaint. Values
//! stay text: a body must go out exactly as it was written.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::problem::{Code, Problem};

/// The members of one object, in order, their values unparsed.
pub(crate) struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The members of `text`, or nothing if it is not an object.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Every member that is not null, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        let members = self.0.iter().map(|(name, value)| (name.as_str(), *value));
        members.filter(|(_, value)| value.get() != "null")
    }

    /// The member of that name unless it is null; the last one if it is repeated.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().rev().find(|(member, _)| member == name)?;
        (value.get() != "null").then_some(*value)
    }

    /// A string, or a number or boolean as its text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match scalar(value) {
            Some(text) => Ok(Some(text)),
            None => Err(wrong(name, "a string")),
        }
    }

    /// A boolean, also as text.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.text(name)?.as_deref().map(str::trim) {
            None | Some("") => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(wrong(name, "true or false")),
        }
    }

    /// A count, also as text or written as `3000.0`.
    pub(crate) fn count(&self, name: &str) -> Result<Option<u32>, Problem> {
        self.get(name)
            .map(|value| count(value).ok_or_else(|| wrong(name, "a whole number from 0 up")))
            .transpose()
    }

    /// A time limit in milliseconds, where 0 means none.
    pub(crate) fn limit(&self, name: &str, default: Duration) -> Result<Option<Duration>, Problem> {
        Ok(match self.count(name)? {
            None => Some(default),
            Some(0) => None,
            Some(ms) => Some(Duration::from_millis(ms.into())),
        })
    }
}

/// A string, number or boolean as text; absent for objects, lists and null.
pub(crate) fn scalar(value: &RawValue) -> Option<String> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(text.to_owned()),
    }
}

/// A whole number that fits, given as a number or as text.
pub(crate) fn count(value: &RawValue) -> Option<u32> {
    let number: f64 = scalar(value)?.trim().parse().ok()?;
    let fits = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    fits.then_some(number as u32)
}

/// The items of a list, or the value itself as the only one.
pub(crate) fn items(value: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(value.get()).unwrap_or_else(|_| vec![value])
}

/// The complaint about a member of the wrong kind.
pub(crate) fn wrong(name: &str, expected: &str) -> Problem {
    Problem::new(Code::InvalidInput, format!("The input's `{name}` must be {expected}"))
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Self)
    }
}
