//! The schema of a file of monitors for editors.
//!
//! Kinds and their settings come from the tables by which they are read; the other keys are written
//! here, and the test below holds them against those that the readers ask for.

use serde_json::{Map, Value, json};

use super::Severity;
use super::checklist::{OF_CHECK, OF_TYPE};
use super::kinds::{KINDS, KindRule, RECEIVERS, Shape};
use crate::editor::{
    document, list, nullable_record as record, reference, span, table, text, texts, whole, word,
};

/// The schema of Robopager's checklists.
pub fn checklists() -> Value {
    let of = |name: &'static str| match name {
        "senders" | "subjects" => (name, texts()),
        _ => (name, text()),
    };
    let check = OF_TYPE.iter().rev().fold(json!({ "required": ["type"] }), |others, it| {
        let (kind, keys, needed) = it;
        let keys = OF_CHECK.iter().chain(*keys).copied().map(of);
        let is_it = json!({ "required": ["type"], "properties": { "type": { "const": kind } } });
        json!({ "if": is_it, "then": record(keys, needed), "else": others })
    });
    // Anything else is no type of a check.
    let types: Vec<&str> = OF_TYPE.iter().map(|(kind, ..)| *kind).collect();
    let check = json!({ "allOf": [{ "properties": { "type": word(&types) } }, check] });
    document("Nightbell: checklist", table(&reference("check")), vec![("check", check)])
}

/// Of a file of monitors. `receiver` says which settings a kind of receiver has, if that is known.
pub fn monitors(receiver: &dyn Fn(&str) -> Option<Value>) -> Value {
    let sections = [
        ("sources", table(&json!({ "type": ["string", "object"] }))),
        ("receivers", table(&reference("receiver"))),
        ("routes", list(&reference("route"))),
        ("monitors", table(&reference("monitor"))),
        ("silences", list(&reference("silence"))),
        ("maintenance", list(&reference("silence"))),
        ("people", table(&reference("person"))),
        ("rotations", table(&reference("rotation"))),
        ("overrides", list(&reference("override"))),
        ("ping_keys", table(&ping_key())),
    ];
    let mut root = record(sections, &[]);
    // The author's own, such as anchors.
    root["patternProperties"] = json!({ "^x-": {} });
    let definitions = vec![
        ("receiver", receivers(receiver)),
        ("route", route()),
        ("step", step()),
        ("match", matchers()),
        ("monitor", monitor()),
        ("onError", record([("after", whole()), ("severity", severity())], &[])),
        ("silence", silence()),
        ("person", person()),
        ("rotation", rotation()),
        ("override", stand_in()),
    ];
    document("Nightbell: monitors", root, definitions)
}

/// In any case; editors complete the usual one.
fn severity() -> Value {
    let names = Severity::ALL.map(Severity::as_str);
    let any_case = names.map(|name| {
        let letter = |it: char| format!("[{}{it}]", it.to_ascii_uppercase());
        name.chars().map(letter).collect::<String>()
    });
    let pattern = format!("^({})$", any_case.join("|"));
    json!({ "anyOf": [word(&names), { "type": "string", "pattern": pattern }] })
}

fn receivers(settings: &dyn Fn(&str) -> Option<Value>) -> Value {
    let common = [("fallback", text()), ("fallback_after", span()), ("rate", text())];
    let kinds = RECEIVERS.iter().map(|(kind, _)| {
        let settings = settings(kind).unwrap_or_else(|| json!({ "type": "object" }));
        // Alone, or a list: the setting that is meant most often.
        let short =
            json!({ "type": ["string", "number", "boolean", "array", "null"], "items": text() });
        (*kind, json!({ "if": { "type": "object" }, "then": settings, "else": short }))
    });
    record(common.into_iter().chain(kinds), &[])
}

fn route() -> Value {
    let keys = [
        ("match", reference("match")),
        ("steps", list(&reference("step"))),
        ("to", texts()),
        ("remind", span()),
        ("ack_expires", span()),
        ("group_by", texts()),
        ("group_order", texts()),
        ("display", table(&text())),
        ("wait", span()),
        ("fallback_after", span()),
        ("hours", texts()),
        ("tz", text()),
    ];
    record(keys, &[])
}

fn step() -> Value {
    let unless = word(&["acked", "acknowledged"]);
    let keys = [
        ("to", texts()),
        ("unless", unless),
        ("after", span()),
        ("hours", texts()),
        ("tz", text()),
    ];
    record(keys, &["to"])
}

fn matchers() -> Value {
    let not = record([("not", texts())], &["not"]);
    table(&json!({ "if": { "type": "object" }, "then": not, "else": texts() }))
}

fn silence() -> Value {
    let keys = [
        ("name", text()),
        ("match", reference("match")),
        ("by", text()),
        ("comment", text()),
        ("tz", text()),
        ("from", text()),
        ("to", text()),
        ("for", span()),
        ("hours", text()),
    ];
    record(keys, &[])
}

fn person() -> Value {
    let step = record([("to", texts()), ("after", span())], &["to"]);
    let contact = json!({ "if": { "type": "object" }, "then": step, "else": text() });
    let contacts =
        json!({ "if": { "type": "array" }, "then": { "items": contact }, "else": contact });
    let person = record([("contact", contacts.clone())], &["contact"]);
    json!({ "if": { "type": "object" }, "then": person, "else": contacts })
}

fn rotation() -> Value {
    let layer = [
        ("people", texts()),
        ("every", span()),
        ("from", text()),
        ("handover", text()),
        ("active", texts()),
        ("count", word(&["active", "all"])),
    ];
    let layer = record(layer, &["people"]);
    let follow = word(&["stay", "digest", "move"]);
    let keys = [
        ("tz", text()),
        ("layers", list(&layer)),
        ("ics", text()),
        ("names", table(&text())),
        ("else", texts()),
        ("follow", follow),
    ];
    record(keys, &[])
}

fn ping_key() -> Value {
    let keys = [("key", text()), ("create", reference("monitor")), ("limit", whole())];
    json!({ "if": { "type": "object" }, "then": record(keys, &["key"]), "else": text() })
}

fn stand_in() -> Value {
    let keys =
        [("rotation", text()), ("who", texts()), ("tz", text()), ("from", text()), ("to", text())];
    record(keys, &["rotation", "who", "from", "to"])
}

fn monitor() -> Value {
    let window = record([("lookback", span()), ("catch_up", span())], &[]);
    let flap = record([("changes", whole()), ("within", span()), ("settle", span())], &[]);
    let common = [
        ("every", span()),
        ("cron", text()),
        ("at", text()),
        ("until", text()),
        ("tz", text()),
        ("active", texts()),
        ("window", window),
        ("per", texts()),
        ("labels", table(&text())),
        ("fail_when", text()),
        ("warn_when", text()),
        ("severity", severity()),
        ("fail_after", whole()),
        ("for", span()),
        ("recover_after", whole()),
        ("missing", whole()),
        ("resolve", record([("quiet_for", span())], &[])),
        ("flap", flap),
        ("depends_on", texts()),
        ("witness", texts()),
        ("on_error", reference("onError")),
        ("on_missed", reference("onError")),
        ("remind", span()),
        ("to", texts()),
        ("to_after", span()),
        ("rings_from", severity()),
        ("summary", text()),
        ("description", text()),
        ("runbook", text()),
        ("unit", text()),
        ("timeout", span()),
        ("budget", record([("pages", whole()), ("per", span())], &["pages", "per"])),
        ("keep", texts()),
        ("history", json!({ "enum": ["on", "off", true, false] })),
    ];
    let mut keys: Map<String, Value> =
        common.into_iter().map(|(name, of)| (name.to_owned(), of)).collect();
    for rule in &KINDS {
        keys.insert(rule.name.to_owned(), kind(rule));
        for name in rule.beside {
            let shape = rule.settings.iter().find(|(known, _)| known == name);
            keys.entry(*name).or_insert_with(|| shape.map_or(json!({}), |(_, it)| setting(*it)));
        }
    }
    record(keys, &[])
}

fn kind(rule: &KindRule) -> Value {
    let settings = rule.settings.iter().map(|(name, shape)| (*name, setting(*shape)));
    json!({ "if": { "type": "object" }, "then": record(settings, &[]), "else": text() })
}

fn setting(shape: Shape) -> Value {
    match shape {
        Shape::Text | Shape::Share | Shape::Clock | Shape::Condition => text(),
        Shape::Texts => texts(),
        Shape::Span => span(),
        Shape::Int => whole(),
        Shape::Flag => json!({ "enum": [true, false, "yes", "no", "on", "off"] }),
        Shape::Map => json!({ "type": "object" }),
        Shape::Any => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Write as _;

    use serde_json::Value;

    use super::super::reader::KNOWN;
    use super::super::{ChecklistOptions, load};
    use super::{KINDS, monitors};

    /// A file in which every kind of map occurs.
    fn everything() -> String {
        let mut text = "\
receivers:
  noc: { slack: { url: x } }
routes:
- { match: { team: { not: x } }, steps: [{ to: noc }] }
silences:
- { match: { team: data }, hours: \"Sat 02:00-04:00\" }
people:
  ann: { contact: [{ to: noc }] }
rotations:
  primary: { layers: [{ people: ann }] }
overrides:
- { rotation: primary, who: ann, from: 2026-12-24T09:00:00Z, to: 2026-12-25T09:00:00Z }
ping_keys:
  jobs: { key: x }
monitors:
"
        .to_owned();
        for rule in &KINDS {
            let name = rule.name;
            let _ = writeln!(
                text,
                "  of-{name}: {{ {name}: {{}}, window: {{}}, resolve: {{}}, flap: {{}}, \
                 on_error: {{}}, on_missed: {{}}, budget: {{}} }}"
            );
        }
        text
    }

    /// The part of a schema that says what may stand at a path of a file.
    fn at<'a>(schema: &'a Value, path: &str) -> (String, &'a Value) {
        let (mut place, mut node) = (String::new(), schema);
        let steps = path.replace('[', ".[");
        for step in steps.split('.').filter(|it| !it.is_empty()) {
            node = resolved(schema, node, &mut place);
            node = if step.starts_with('[') {
                place.push_str("[]");
                &resolved(schema, node, &mut place)["items"]
            } else if let Some(known) = node["properties"].get(step) {
                let _ = write!(place, ".{step}");
                known
            } else {
                place.push_str(".*");
                &node["additionalProperties"]
            };
        }
        let node = resolved(schema, node, &mut place);
        (place, node)
    }

    /// Behind references and choices: what a map may be.
    fn resolved<'a>(schema: &'a Value, node: &'a Value, place: &mut String) -> &'a Value {
        if let Some(name) = node["$ref"].as_str().and_then(|it| it.strip_prefix("#/definitions/")) {
            name.clone_into(place);
            return resolved(schema, &schema["definitions"][name], place);
        }
        // Of one or a list, one; of nothing or something, that; of a map or its short form, the map.
        let is_map = node["if"]["type"] == "object";
        let branch = if is_map { "then" } else { "else" };
        if node[branch].is_null() { node } else { resolved(schema, &node[branch], place) }
    }

    #[test]
    fn the_schema_knows_the_keys_that_readers_ask_for_and_no_others() {
        KNOWN.with_borrow_mut(BTreeMap::clear);
        let _ = load(&everything(), &ChecklistOptions::default());
        let schema = monitors(&|_| None);
        let mut asked: BTreeMap<String, (BTreeSet<String>, &Value)> = BTreeMap::new();
        for (path, known) in KNOWN.with_borrow(BTreeMap::clone) {
            let (place, node) = at(&schema, &path);
            let keys = &mut asked.entry(place).or_insert_with(|| (BTreeSet::new(), node)).0;
            keys.extend(known.into_iter().map(str::to_owned));
        }
        for (place, (asked, node)) in &asked {
            let keys = node["properties"].as_object();
            let said: BTreeSet<String> =
                keys.into_iter().flatten().map(|it| it.0.clone()).collect();
            assert_eq!(said, *asked, "at {place:?}: the schema (left) and the reader (right)");
        }
        let checked: Vec<&str> = asked.keys().map(String::as_str).collect();
        for of in [
            "", "monitor", "receiver", "route", "step", "silence", "person", "rotation",
            "override", "onError",
        ] {
            assert!(checked.contains(&of), "no map at {of:?} was read; there were {checked:?}");
        }
        // All kinds' settings, a window, resolve and flap.
        assert!(checked.len() > 10 + KINDS.len() + 2, "{checked:?}");
    }
}
