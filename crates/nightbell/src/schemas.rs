//! The JSON schemas of all files that people write, for their editors: served under `/schemas`, and
//! written by `nightbell editor-schemas`.

use std::sync::LazyLock;

use kernel::editor;
use serde_json::{Value, json};

/// Names of files, and what they hold.
static ALL: LazyLock<[(&str, String); 12]> = LazyLock::new(|| {
    let monitors = editor::monitors(&tasks::notify::settings_schema);
    [
        ("definitions.json", definitions()),
        ("workflow.json", editor::workflows()),
        ("taskdefs.json", editor::task_definitions()),
        ("schedules.json", editor::schedules()),
        ("event-handlers.json", editor::event_handlers()),
        ("triggers.json", server::triggers::schema()),
        ("status-pages.json", editor::status_pages()),
        ("webhooks.json", server::hooks::webhook_schema()),
        ("schemas.json", editor::schemas()),
        ("checklist.json", editor::checklists()),
        ("monitors.json", monitors),
        ("tests.json", crate::testing::schema()),
    ]
    .map(|(name, schema)| (name, format!("{schema:#}\n")))
});

/// All of them: names and texts.
pub(crate) fn all() -> &'static [(&'static str, String)] {
    &*ALL
}

/// The one of that name.
pub(crate) fn named(name: &str) -> Option<&'static str> {
    all().iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str())
}

/// A schema, the name of what it is of in its definitions, and the members by which `--load` tells it.
type Kind = (Value, &'static str, &'static [&'static str]);

/// Of any JSON file of definitions, told apart as `--load` tells them.
fn definitions() -> Value {
    let kinds: [Kind; 7] = [
        (editor::workflows(), "workflow", &["tasks"]),
        (
            editor::schedules(),
            "schedule",
            &["startWorkflowRequest", "cronExpression", "cronSchedules"],
        ),
        (editor::event_handlers(), "eventHandler", &["actions"]),
        (editor::status_pages(), "statusPage", &["groups"]),
        (server::triggers::schema(), "trigger", &["method", "path"]),
        (server::hooks::webhook_schema(), "webhook", &["verifier"]),
        (editor::schemas(), "schema", &["data", "externalRef"]),
    ];
    let mut definitions = serde_json::Map::new();
    // What is none of them is read as a workflow, and refused as one.
    let mut definition = editor::reference("workflow");
    for (mut schema, name, keys) in kinds.into_iter().rev() {
        if let Value::Object(of_kind) = schema["definitions"].take() {
            definitions.extend(of_kind);
        }
        let told: Vec<Value> = keys.iter().map(|key| json!({ "required": [key] })).collect();
        definition = json!({
            "if": { "type": "object", "anyOf": told },
            "then": editor::reference(name),
            "else": definition,
        });
    }
    definitions.insert("definition".to_owned(), definition);
    let mut document = editor::document(
        "Nightbell: definitions",
        editor::one_or_list(&editor::reference("definition")),
        Vec::new(),
    );
    document["definitions"] = definitions.into();
    document
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use kernel::alert::definition::parse_yaml;
    use kernel::{Json, Scripts as _};
    use serde_json::{Value, json};

    use crate::load::is_tests;
    use crate::scripts::Engines;

    fn violations(schema: &str, document: &Value) -> Vec<String> {
        let engines =
            Engines::new(tasks::javascript::Limits::default(), tasks::jq::Limits::default());
        let schema: Value =
            serde_json::from_str(super::named(schema).expect("a schema")).expect("JSON");
        let found = engines.violations(&Json::of(&schema), &Json::of(document));
        found.expect("the schema is valid").iter().map(ToString::to_string).collect()
    }

    fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { files_below(&path, found) } else { found.push(path) }
        }
    }

    /// The schema of a file of the examples, and what is in the file; none for what has no schema.
    fn document(path: &Path) -> Option<(&'static str, Value)> {
        let name = path.file_name()?.to_str()?;
        let is_json = path.extension().is_some_and(|it| it == "json");
        let is_yaml = path.extension().is_some_and(|it| it == "yaml");
        // Input is the user's.
        if !(is_json || is_yaml) || name.starts_with("input") {
            return None;
        }
        let text = std::fs::read_to_string(path).expect("a text");
        let value: Value = if is_json {
            serde_json::from_str(&text).expect("JSON")
        } else {
            parse_yaml(&text).expect("YAML").json()
        };
        let schema = match name {
            _ if is_tests(path) => "tests.json",
            "taskdefs.json" => "taskdefs.json",
            "checklist.yaml" => "checklist.json",
            _ if is_yaml => "monitors.json",
            _ => "definitions.json",
        };
        Some((schema, value))
    }

    fn examples() -> Vec<(PathBuf, &'static str, Value)> {
        let mut files = Vec::new();
        files_below(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples")), &mut files);
        let found = files.into_iter().filter_map(|file| {
            let (schema, value) = document(&file)?;
            Some((file, schema, value))
        });
        found.collect()
    }

    #[test]
    fn every_example_fits_its_schema() {
        let mut seen = std::collections::BTreeSet::new();
        for (file, schema, value) in examples() {
            let found = violations(schema, &value);
            assert!(found.is_empty(), "{}: {found:#?}", file.display());
            seen.insert(schema);
        }
        assert_eq!(seen.len(), 5, "not every kind of file was seen: {seen:?}");
    }

    /// Kinds of definitions of which no example has a file.
    #[test]
    fn handlers_and_status_pages_are_told_apart_and_known() {
        let handler = json!({ "name": "h", "event": "conductor:x", "active": true, "actions": [
            { "action": "start_workflow", "start_workflow": { "name": "w", "input": { "a": 1 } } } ] });
        let page = json!({ "name": "shop", "title": "Shop", "public": true, "zone": null, "groups": [
            { "title": "Web", "components": [{ "label": "Orders", "monitor": "web" }] } ] });
        let hook = json!({ "name": "pay", "id": "pay", "verifier": "SIGNATURE_BASED",
            "secretValue": "${workflow.secrets.PAY}", "workflowsToStart": { "orders": 1 } });
        let schema = json!({ "name": "order", "version": 1, "type": "JSON", "data": {} });
        for (schema, value) in [
            ("event-handlers.json", handler),
            ("status-pages.json", page),
            ("webhooks.json", hook),
            ("schemas.json", schema),
        ] {
            for schema in [schema, "definitions.json"] {
                assert_eq!(violations(schema, &value), Vec::<String>::new(), "{schema}");
                let mut wrong = Vec::new();
                misspelt(&value, "", &mut wrong);
                let is_free = |path: &str| path.contains("/input/") || path.contains("ToStart/");
                for (path, wrong) in wrong.into_iter().filter(|(path, _)| !is_free(path)) {
                    assert!(!violations(schema, &wrong).is_empty(), "{schema}: {path}");
                }
            }
        }
    }

    /// Every map of a document, misspelt in one key.
    fn misspelt(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(members) => {
                for (name, inner) in members {
                    let mut other: serde_json::Map<String, Value> = serde_json::Map::new();
                    for (key, it) in members {
                        let key = if key == name { format!("{key}x") } else { key.clone() };
                        other.insert(key, it.clone());
                    }
                    found.push((format!("{path}/{name}"), other.into()));
                    let mut deeper = Vec::new();
                    misspelt(inner, &format!("{path}/{name}"), &mut deeper);
                    for (path, inner) in deeper {
                        let mut other = members.clone();
                        other.insert(name.clone(), inner);
                        found.push((path, other.into()));
                    }
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    let mut deeper = Vec::new();
                    misspelt(item, &format!("{path}/{at}"), &mut deeper);
                    for (path, inner) in deeper {
                        let mut other = items.clone();
                        other[at] = inner;
                        found.push((path, other.into()));
                    }
                }
            }
            _ => {}
        }
    }

    /// Below these anything may stand: names and content of users.
    const FREE: [&str; 20] = [
        "inputParameters",
        "outputParameters",
        "inputTemplate",
        "input",
        "defaults",
        "metadata",
        "body",
        "headers",
        "mocks",
        "output",
        "exactly",
        "inputs",
        "series",
        "feed",
        "labels",
        "match",
        "variables",
        "decisionCases",
        "sources",
        "params",
    ];
    /// The keys of these are names that users give.
    const NAMED: [&str; 6] =
        ["monitors", "receivers", "people", "rotations", "ping_keys", "display"];

    #[test]
    fn a_misspelt_key_does_not_fit() {
        let mut tried = 0;
        for (file, schema, value) in examples() {
            let mut wrong = Vec::new();
            misspelt(&value, "", &mut wrong);
            for (path, value) in wrong {
                let steps: Vec<&str> = path.split('/').skip(1).collect();
                let (_, above) = steps.split_last().expect("a step");
                let is_check = schema == "checklist.json" && above.is_empty();
                let is_name = is_check || above.last().is_some_and(|it| NAMED.contains(it));
                let is_free = above.iter().any(|it| FREE.contains(it));
                if is_name || is_free {
                    continue;
                }
                tried += 1;
                // A definition that is not told by its key any more is one of another kind.
                let kind = ["tasks", "startWorkflowRequest", "cronExpression"];
                if above.iter().all(|it| it.parse::<usize>().is_ok())
                    && kind.contains(steps.last().expect("a step"))
                {
                    continue;
                }
                let found = violations(schema, &value);
                assert!(!found.is_empty(), "{}: {path} is misspelt, and it fits", file.display());
            }
        }
        assert!(tried > 150, "only {tried} keys were misspelt");
    }
}
