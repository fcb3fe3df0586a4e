//! How much work a JSON schema is: counted before it is compiled and used, as neither can be stopped.
//!
//! A schema whose parts refer twice to the next one doubles the work with each; forty such parts are
//! three thousand bytes. So the schema is gone through alone, as a compiler does that writes out what
//! is referred to, and beside the document, as a validator does; only counting, and no further than
//! to a bound.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

/// Looks of a validator at a part of a document, by one part of a schema, that are allowed.
const VISITS_MAX: u64 = 2_000_000;
/// Parts of a schema, with all that is referred to written out, that are allowed.
const PARTS_MAX: u64 = 100_000;
/// How deep schemas may apply to one another at the same place.
const DEPTH_MAX: usize = 200;

/// Keywords whose schema applies to the same place.
const SAME: [&str; 5] = ["not", "if", "then", "else", "extends"];
/// Keywords with a list of schemas that apply to the same place.
const ALL_SAME: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords with schemas by name, of which any may apply to the same place.
const NAMED_SAME: [&str; 2] = ["dependentSchemas", "dependencies"];
/// Keywords whose schema applies to what is inside.
const INSIDE: [&str; 8] = [
    "items",
    "additionalItems",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "prefixItems",
];
/// Keywords that refer to another schema.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// A schema, ready to be counted.
#[derive(Debug)]
pub(crate) struct Unfolding {
    /// Absent: nothing in it is referred to twice, so there is nothing to count.
    schema: Option<(Value, HashMap<String, String>)>,
}

impl Unfolding {
    pub(crate) fn of(schema: &Value) -> Self {
        let mut references = 0;
        let mut anchors = HashMap::new();
        look(schema, &mut String::new(), &mut references, &mut anchors);
        Self { schema: (references > 1).then(|| (schema.clone(), anchors)) }
    }

    /// Whether a compiler gets to the end in reasonable time.
    pub(crate) fn is_compilable(&self) -> bool {
        let Some((schema, anchors)) = &self.schema else { return true };
        let mut count = Parts {
            references: Count { root: schema, anchors, left: PARTS_MAX },
            open: Vec::new(),
            recursive: HashSet::new(),
        };
        count.visit(schema).is_some()
    }

    /// Whether a validator gets to the end in reasonable time.
    pub(crate) fn is_bounded(&self, document: &Value) -> bool {
        let Some((schema, anchors)) = &self.schema else { return true };
        let mut count = Count { root: schema, anchors, left: VISITS_MAX };
        count.visit(schema, document, 0).is_some()
    }
}

/// Finds all references and the places that have a name.
fn look(
    schema: &Value,
    at: &mut String,
    references: &mut usize,
    anchors: &mut HashMap<String, String>,
) {
    let length = at.len();
    match schema {
        Value::Object(members) => {
            *references += REFERENCES.iter().filter(|name| members.contains_key(**name)).count();
            for name in ["$anchor", "$dynamicAnchor", "$id", "id"] {
                if let Some(Value::String(anchor)) = members.get(name) {
                    anchors.insert(anchor.trim_start_matches('#').to_owned(), at.clone());
                }
            }
            for (name, inner) in members {
                at.push('/');
                at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                look(inner, at, references, anchors);
                at.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                at.push('/');
                at.push_str(&index.to_string());
                look(inner, at, references, anchors);
                at.truncate(length);
            }
        }
        _ => {}
    }
}

struct Count<'s> {
    root: &'s Value,
    anchors: &'s HashMap<String, String>,
    left: u64,
}

/// Counts the parts of a schema with all references written out, but those of a part to itself.
struct Parts<'s> {
    references: Count<'s>,
    /// What is being written out.
    open: Vec<*const Value>,
    /// What refers to itself, in whatever way: is written out once.
    recursive: HashSet<*const Value>,
}

impl<'s> Parts<'s> {
    /// `None`: there are too many.
    fn visit(&mut self, schema: &'s Value) -> Option<()> {
        self.references.left = self.references.left.checked_sub(1)?;
        match schema {
            Value::Array(items) => items.iter().try_for_each(|item| self.visit(item)),
            Value::Object(members) => members.iter().try_for_each(|(name, inner)| {
                match inner {
                    Value::String(reference) if REFERENCES.contains(&name.as_str()) => {
                        self.refer(reference)
                    }
                    // Written out where they are referred to.
                    _ if matches!(name.as_str(), "$defs" | "definitions") => Some(()),
                    inner => self.visit(inner),
                }
            }),
            _ => Some(()),
        }
    }

    fn refer(&mut self, reference: &str) -> Option<()> {
        let Some(target) = self.references.target(reference) else { return Some(()) };
        let place = std::ptr::from_ref(target);
        if self.recursive.contains(&place) {
            return Some(());
        }
        if let Some(at) = self.open.iter().position(|open| *open == place) {
            self.recursive.extend(&self.open[at..]);
            return Some(());
        }
        if self.open.len() > DEPTH_MAX {
            return None;
        }
        self.open.push(place);
        let result = self.visit(target);
        self.open.pop();
        result
    }
}

impl<'s> Count<'s> {
    /// `None`: there is too much.
    fn visit(&mut self, schema: &'s Value, document: &Value, depth: usize) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let Value::Object(keywords) = schema else { return Some(()) };
        if depth > DEPTH_MAX {
            return None;
        }
        for name in REFERENCES {
            if let Some(Value::String(reference)) = keywords.get(name)
                && let Some(target) = self.target(reference)
            {
                self.visit(target, document, depth + 1)?;
            }
        }
        for name in SAME {
            if let Some(inner) = keywords.get(name) {
                self.visit(inner, document, depth + 1)?;
            }
        }
        for name in ALL_SAME {
            for inner in keywords.get(name).and_then(Value::as_array).into_iter().flatten() {
                self.visit(inner, document, depth + 1)?;
            }
        }
        for name in NAMED_SAME {
            for inner in keywords.get(name).and_then(Value::as_object).into_iter().flatten() {
                self.visit(inner.1, document, depth + 1)?;
            }
        }
        match document {
            Value::Object(members) => self.members(keywords, members),
            Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
                for inner in INSIDE.iter().filter_map(|name| keywords.get(*name)) {
                    match inner {
                        Value::Array(tuple) => {
                            tuple
                                .get(index)
                                .map_or(Some(()), |inner| self.visit(inner, item, 0))?;
                        }
                        inner => self.visit(inner, item, 0)?,
                    }
                }
                Some(())
            }),
            _ => Some(()),
        }
    }

    fn members(
        &mut self,
        keywords: &'s Map<String, Value>,
        members: &Map<String, Value>,
    ) -> Option<()> {
        for (name, item) in members {
            if let Some(inner) = keywords.get("properties").and_then(|inner| inner.get(name)) {
                self.visit(inner, item, 0)?;
            }
            let patterns = keywords.get("patternProperties").and_then(Value::as_object);
            for (_, inner) in patterns.into_iter().flatten() {
                self.visit(inner, item, 0)?;
            }
            for inner in INSIDE.iter().filter_map(|name| keywords.get(*name)) {
                self.visit(inner, item, 0)?;
            }
        }
        Some(())
    }

    /// What a reference leads to; what is not found here is left to the validator.
    fn target(&self, reference: &str) -> Option<&'s Value> {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let base = match base {
            "" => "",
            base => self.anchors.get(base)?,
        };
        let pointer = match fragment {
            "" => base.to_owned(),
            pointer if pointer.starts_with('/') => format!("{base}{}", decoded(pointer)),
            anchor => self.anchors.get(anchor)?.clone(),
        };
        self.root.pointer(&pointer)
    }
}

/// A fragment without its percent signs.
fn decoded(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let [byte, after @ ..] = rest {
        let hex = |digit: u8| (digit as char).to_digit(16);
        match (byte, after) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0);
                bytes.push(u8::try_from(value).unwrap_or(b'%'));
                rest = after;
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_that_describe_trees_are_bounded() {
        let schema = json!({
            "$defs": {
                "node": {
                    "properties": {
                        "left": {"$ref": "#/$defs/node"},
                        "right": {"$ref": "#/$defs/node"},
                        "next": {"$ref": "#node"},
                    },
                    "$anchor": "node",
                },
            },
            "$ref": "#/$defs/node",
        });
        let mut document = json!({});
        for _ in 0..12 {
            document = json!({"left": document, "right": document, "next": {}});
        }
        assert!(Unfolding::of(&schema).is_bounded(&document));
    }

    #[test]
    fn what_doubles_with_each_level_of_the_document_is_not() {
        let twice = json!([{"$ref": "#"}, {"$ref": "#"}]);
        let schema = json!({"properties": {"a": {"allOf": twice}}});
        let mut document = json!({});
        for _ in 0..60 {
            document = json!({"a": document});
        }
        assert!(!Unfolding::of(&schema).is_bounded(&document));
    }
}
