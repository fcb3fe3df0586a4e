//! JSON objects put together from parts, without parsing what is only passed on.

use serde_json::{Map, Value};

use crate::json::Json;

/// An object with the members of `set` put over those of `base`.
pub(super) fn merged(base: &Json, set: &Json) -> Json {
    let mut members = match base.parse() {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    if let Value::Object(set) = set.parse() {
        for (name, value) in set {
            members.insert(name, value);
        }
    }
    Json::of(&members)
}

/// Writes an object of texts that are JSON already.
pub(super) struct ObjectText(String);

impl ObjectText {
    pub(super) fn new() -> Self {
        Self(String::from("{"))
    }

    pub(super) fn member(&mut self, name: &str, json: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(Json::of(&name).text());
        self.0.push(':');
        self.0.push_str(json);
    }

    /// Adds the members of another object whose names are not among `taken`: they come otherwise.
    pub(super) fn members_besides(&mut self, object: &Json, taken: &[&str]) {
        if !taken.iter().any(|name| object.text().contains(name)) {
            return self.members_of(object);
        }
        if let Value::Object(members) = object.parse() {
            for (name, value) in members.iter().filter(|(name, _)| !taken.contains(&name.as_str()))
            {
                self.member(name, Json::of(value).text());
            }
        }
    }

    /// Adds the members of another object.
    pub(super) fn members_of(&mut self, object: &Json) {
        if object.is_object() && !object.is_empty_object() {
            let inner = object.text().trim();
            if self.0.len() > 1 {
                self.0.push(',');
            }
            self.0.push_str(&inner[1..inner.len() - 1]);
        }
    }

    pub(super) fn finish(mut self) -> Json {
        self.0.push('}');
        Json::from_text(self.0).expect("members are JSON")
    }
}
