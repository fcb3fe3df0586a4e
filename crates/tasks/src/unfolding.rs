//! How much work a JSON schema is: counted before it is compiled and used, as neither can be stopped.
//!
//! A schema whose parts refer twice to the next one doubles the work with each; forty such parts are
//! three thousand bytes. So the schema is gone through alone, as a compiler does that writes out what
//! is referred to, and beside the document, as a validator does; only counting, and no further than
//! to a bound.
//!
//! What a reference leads to depends on the `$id`s around it, and on the draft which of these count.
//! Where that is open, everything that it may lead to counts: too much is counted rather than too
//! little.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use reqwest::Url;
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
/// Keywords that say what a schema is called, and what references in it are relative to.
const IDS: [&str; 2] = ["$id", "id"];
/// What a schema is called that does not say.
const NAMELESS: &str = "json-schema:///";
/// Schemas that every validator knows.
const KNOWN: [&str; 2] = ["http://json-schema.org/", "https://json-schema.org/"];
/// What references at one place may be relative to, at most.
const BASES_MAX: usize = 64;

/// Keywords that refer to another schema.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// A schema, ready to be counted.
#[derive(Debug)]
pub(crate) struct Unfolding {
    /// Absent: nothing in it is referred to twice, so there is nothing to count. In the place of each
    /// reference stand the JSON pointers of all that it may lead to.
    schema: Option<Value>,
    /// A reference of which nobody knows where it leads.
    lost: Option<String>,
}

impl Unfolding {
    pub(crate) fn of(schema: &Value) -> Self {
        let mut names = Names::default();
        names.look(schema, &mut String::new(), &Scope::nameless());
        if names.references < 2 {
            return Self { schema: None, lost: None };
        }
        let mut linked = schema.clone();
        let mut links = Links { root: schema, names: &names, lost: None };
        links.link(&mut linked, &Scope::nameless());
        Self { lost: links.lost, schema: Some(linked) }
    }

    /// Says why nobody knows that a compiler gets to the end in reasonable time.
    ///
    /// # Errors
    /// It unfolds to too much; where a reference leads is unknown.
    pub(crate) fn is_compilable(&self) -> Result<(), String> {
        if let Some(lost) = &self.lost {
            return Err(format!("where its reference {lost:?} leads cannot be told: write #/…"));
        }
        let Some(schema) = &self.schema else { return Ok(()) };
        let mut count = Parts {
            references: Count { root: schema, left: PARTS_MAX },
            open: Vec::new(),
            recursive: HashSet::new(),
        };
        let few = count.visit(schema);
        few.ok_or_else(|| "its references unfold to too many parts".to_owned())
    }

    /// Whether a validator gets to the end in reasonable time.
    pub(crate) fn is_bounded(&self, document: &Value) -> bool {
        let Some(schema) = &self.schema else { return true };
        Count { root: schema, left: VISITS_MAX }.visit(schema, document, 0).is_some()
    }
}

/// What references at one place may be relative to: the `$id` of every schema around it, as which of
/// them counts differs between drafts.
#[derive(Clone)]
struct Scope {
    bases: Rc<[Url]>,
    /// There are too many, or one is no URI.
    is_unclear: bool,
}

impl Scope {
    fn nameless() -> Self {
        Self { bases: Url::parse(NAMELESS).into_iter().collect(), is_unclear: false }
    }

    /// The URIs that an object gives itself, and the scope of what is in it.
    fn of(&self, members: &Map<String, Value>) -> (Vec<Url>, Self) {
        let ids = IDS.iter().filter_map(|name| members.get(*name).and_then(Value::as_str));
        let (mut own, mut scope) = (Vec::new(), self.clone());
        for id in ids {
            let joined: Vec<Url> = self.bases.iter().filter_map(|it| it.join(id).ok()).collect();
            scope.is_unclear |= joined.is_empty();
            own.extend(joined);
        }
        if own.is_empty() {
            return (own, scope);
        }
        let within = own.iter().cloned().map(|mut uri| {
            uri.set_fragment(None);
            uri
        });
        let bases: BTreeSet<Url> = self.bases.iter().cloned().chain(within).collect();
        scope.is_unclear |= bases.len() > BASES_MAX;
        scope.bases = bases.into_iter().take(BASES_MAX).collect();
        (own, scope)
    }
}

/// The places of a schema that have a name.
#[derive(Default)]
struct Names {
    references: usize,
    /// Some schema in it says what it is called.
    has_ids: bool,
    /// By URI, and by URI with the fragment that is no pointer.
    places: HashMap<String, Vec<String>>,
    /// Those that a dynamic reference may lead to from anywhere, by fragment.
    dynamic: HashMap<String, Vec<String>>,
}

impl Names {
    /// Finds all references and the places that have a name.
    fn look(&mut self, schema: &Value, at: &mut String, scope: &Scope) {
        let length = at.len();
        match schema {
            Value::Object(members) => {
                let (own, scope) = scope.of(members);
                self.has_ids |= !own.is_empty() || scope.is_unclear;
                if at.is_empty() {
                    scope.bases.iter().for_each(|base| self.name(base.as_str(), at));
                }
                for mut uri in own {
                    if let Some(anchor) = uri.fragment().map(decoded) {
                        uri.set_fragment(None);
                        if !anchor.is_empty() {
                            self.name(&format!("{uri}#{anchor}"), at);
                            continue;
                        }
                    }
                    self.name(uri.as_str(), at);
                }
                for name in ["$anchor", "$dynamicAnchor"] {
                    if let Some(Value::String(anchor)) = members.get(name) {
                        for base in &*scope.bases {
                            self.name(&format!("{base}#{anchor}"), at);
                        }
                    }
                }
                if let Some(Value::String(anchor)) = members.get("$dynamicAnchor") {
                    self.dynamic.entry(anchor.clone()).or_default().push(at.clone());
                }
                if members.get("$recursiveAnchor") == Some(&Value::Bool(true)) {
                    self.dynamic.entry(String::new()).or_default().push(at.clone());
                }
                self.references +=
                    REFERENCES.iter().filter(|name| members.contains_key(**name)).count();
                for (name, inner) in members {
                    at.push('/');
                    at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                    self.look(inner, at, &scope);
                    at.truncate(length);
                }
            }
            Value::Array(items) => {
                for (index, inner) in items.iter().enumerate() {
                    at.push('/');
                    at.push_str(&index.to_string());
                    self.look(inner, at, scope);
                    at.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn name(&mut self, name: &str, at: &str) {
        let places = self.places.entry(name.to_owned()).or_default();
        if places.last().is_none_or(|last| last != at) {
            places.push(at.to_owned());
        }
    }
}

/// Replaces references by what they lead to.
struct Links<'s> {
    root: &'s Value,
    names: &'s Names,
    lost: Option<String>,
}

impl Links<'_> {
    fn link(&mut self, schema: &mut Value, scope: &Scope) {
        match schema {
            Value::Object(members) => {
                let (_, scope) = scope.of(members);
                for (name, inner) in members {
                    match inner {
                        Value::String(reference) if REFERENCES.contains(&name.as_str()) => {
                            let is_dynamic = name != "$ref";
                            let targets = self.targets(reference, &scope, is_dynamic);
                            // Without names there is one way only to understand a reference; the
                            // validator says what is wrong with it.
                            let is_lost = targets.is_empty() && self.names.has_ids;
                            if is_lost && !self.is_known(reference, &scope) {
                                self.lost.get_or_insert_with(|| reference.clone());
                            }
                            *inner = targets.into_iter().collect();
                        }
                        inner => self.link(inner, &scope),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.link(item, scope)),
            _ => {}
        }
    }

    /// The pointers of all that a reference may lead to.
    fn targets(&self, reference: &str, scope: &Scope, is_dynamic: bool) -> BTreeSet<String> {
        let (uri, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let fragment = decoded(fragment);
        let mut found = BTreeSet::new();
        for base in &*scope.bases {
            let joined = if uri.is_empty() { Ok(base.clone()) } else { base.join(uri) };
            let Ok(joined) = joined else { continue };
            let (name, pointer) = match &*fragment {
                "" => (joined.to_string(), ""),
                pointer if pointer.starts_with('/') => (joined.to_string(), pointer),
                anchor => (format!("{joined}#{anchor}"), ""),
            };
            let places = self.names.places.get(&name).into_iter().flatten();
            found.extend(places.map(|place| format!("{place}{pointer}")));
        }
        if is_dynamic {
            found.extend(self.names.dynamic.get(&fragment).into_iter().flatten().cloned());
        }
        found.retain(|pointer| self.root.pointer(pointer).is_some());
        if scope.is_unclear { BTreeSet::new() } else { found }
    }

    /// Whether a reference leads to a schema that comes with the validator.
    fn is_known(&self, reference: &str, scope: &Scope) -> bool {
        let is_known = |uri: &str| KNOWN.iter().any(|known| uri.starts_with(known));
        let joined = |base: &Url| base.join(reference).is_ok_and(|uri| is_known(uri.as_str()));
        // What is written with escapes may be compared in another way by the validator.
        let is_plain = !self.names.places.keys().any(|name| name.contains('%'));
        is_plain && !scope.is_unclear && (is_known(reference) || scope.bases.iter().any(joined))
    }
}

struct Count<'s> {
    root: &'s Value,
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
                    Value::Array(targets) if REFERENCES.contains(&name.as_str()) => {
                        targets.iter().try_for_each(|target| self.refer(target))
                    }
                    // Written out where they are referred to.
                    _ if matches!(name.as_str(), "$defs" | "definitions") => Some(()),
                    inner => self.visit(inner),
                }
            }),
            _ => Some(()),
        }
    }

    fn refer(&mut self, target: &Value) -> Option<()> {
        let Some(target) = self.references.target(target) else { return Some(()) };
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
            for target in keywords.get(name).and_then(Value::as_array).into_iter().flatten() {
                if let Some(target) = self.target(target) {
                    self.visit(target, document, depth + 1)?;
                }
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

    /// What stands at a pointer that a reference was replaced by.
    fn target(&self, pointer: &Value) -> Option<&'s Value> {
        self.root.pointer(pointer.as_str()?)
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
