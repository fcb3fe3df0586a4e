//! What a message says, as conditions and expressions see it.

use kernel::Json;
use kernel::expression::Scope;
use serde_json::Value;

/// A message's content: JSON, or a plain text.
pub(super) struct Payload {
    plain: Value,
    expanded: Value,
}

impl Payload {
    pub(super) fn new(text: &str) -> Self {
        let plain: Value =
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        let mut expanded = plain.clone();
        expand(&mut expanded, LEVELS_MAX);
        Self { plain, expanded }
    }

    /// The content; expanded, texts in it that are JSON themselves count as what they hold.
    pub(super) fn view(&self, expanded: bool) -> View<'_> {
        View(if expanded { &self.expanded } else { &self.plain })
    }
}

/// Levels of texts in texts in objects that are looked into.
const LEVELS_MAX: usize = 64;

/// Replaces texts that hold an object or a list by it, also within what was just read.
fn expand(value: &mut Value, levels: usize) {
    let Some(levels) = levels.checked_sub(1) else { return };
    match value {
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            if let Ok(inner) = serde_json::from_str(text) {
                *value = inner;
                expand(value, levels);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| expand(item, levels)),
        Value::Object(members) => members.values_mut().for_each(|item| expand(item, levels)),
        _ => {}
    }
}

/// A message as `${…}` sees it: its members are the roots.
#[derive(Clone, Copy)]
pub(super) struct View<'a>(&'a Value);

impl View<'_> {
    pub(super) fn json(&self) -> Json {
        Json::of(self.0)
    }

    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

impl Scope for View<'_> {
    fn field(&self, root: &str, field: &str) -> Option<Json> {
        self.0.get(root)?.get(field).map(Json::of)
    }

    fn document(&self, root: &str) -> Option<Json> {
        self.0.get(root).map(Json::of)
    }

    fn bare(&self, name: &str) -> Option<Json> {
        self.document(name)
    }

    fn environment(&self, name: &str) -> Option<Json> {
        self.0.get("workflow")?.get("env")?.get(name).map(Json::of)
    }

    fn everything(&self) -> Option<Json> {
        Some(self.json())
    }
}
