//! The JSON schemas of all files that people write, for their editors: served under `/schemas`, and
//! written by `nightbell editor-schemas`.

use std::sync::LazyLock;

use kernel::editor;
use serde_json::{Value, json};

/// Names of files, and what they hold.
static ALL: LazyLock<[(&str, String); 6]> = LazyLock::new(|| {
    let monitors = editor::monitors(&tasks::notify::settings_schema);
    [
        ("definitions.json", definitions()),
        ("workflow.json", editor::workflows()),
        ("taskdefs.json", editor::task_definitions()),
        ("schedules.json", editor::schedules()),
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

/// Of any JSON file of definitions: workflows and schedules, told apart as `--load` tells them. Event
/// handlers, triggers and status pages are let pass.
fn definitions() -> Value {
    let mut workflows = editor::workflows();
    let mut schedules = editor::schedules();
    let mut definitions = workflows["definitions"].take();
    if let (Some(all), Some(more)) =
        (definitions.as_object_mut(), schedules["definitions"].as_object_mut())
    {
        all.append(more);
    }
    let either = |keys: &[&str]| {
        let choices: Vec<Value> = keys.iter().map(|key| json!({ "required": [key] })).collect();
        json!({ "type": "object", "anyOf": choices })
    };
    definitions["definition"] = json!({
        "if": either(&["tasks"]),
        "then": editor::reference("workflow"),
        "else": {
            "if": either(&["startWorkflowRequest", "cronExpression", "cronSchedules"]),
            "then": editor::reference("schedule"),
            "else": { "type": "object" },
        },
    });
    let mut document = editor::document(
        "Nightbell: definitions",
        editor::one_or_list(&editor::reference("definition")),
        Vec::new(),
    );
    document["definitions"] = definitions;
    document
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use kernel::alert::definition::parse_yaml;
    use kernel::{Json, Scripts as _};
    use serde_json::Value;

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
        // Robopager's checklists have Robopager's format, and input is the user's.
        if !(is_json || is_yaml) || name.starts_with("input") || name == "checklist.yaml" {
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
        assert_eq!(seen.len(), 4, "not every kind of file was seen: {seen:?}");
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
    const FREE: [&str; 19] = [
        "inputParameters",
        "outputParameters",
        "inputTemplate",
        "input",
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
            // A trigger without its method is none; what no schema knows is let pass.
            if file.ends_with("triggers.json") {
                continue;
            }
            let mut wrong = Vec::new();
            misspelt(&value, "", &mut wrong);
            for (path, value) in wrong {
                let steps: Vec<&str> = path.split('/').skip(1).collect();
                let (_, above) = steps.split_last().expect("a step");
                let is_name = above.last().is_some_and(|it| NAMED.contains(it));
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
