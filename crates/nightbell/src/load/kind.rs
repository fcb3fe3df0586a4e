//! What kind of file lies in a loaded folder, told from its name and its sections.

use std::path::Path;

use kernel::alert::definition::parse_yaml;

use super::FILE_MAX;

/// Sections of a file of monitors.
pub(super) const SECTIONS: [&str; 9] = [
    "sources",
    "receivers",
    "routes",
    "monitors",
    "silences",
    "maintenance",
    "people",
    "rotations",
    "ping_keys",
];

/// Whether a file that is found in a folder is one of monitors: other YAML may lie there too.
pub(super) fn is_found_monitors(path: &Path) -> bool {
    if !is_yaml(path) || std::fs::metadata(path).is_ok_and(|it| it.len() > FILE_MAX) {
        return false;
    }
    let Ok(text) = std::fs::read(path) else { return true };
    let text = String::from_utf8_lossy(&text);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let of_checklist = |line: &str| {
        let line = line.trim_start().strip_prefix("type:").unwrap_or_default();
        matches!(line.trim().trim_matches(['"', '\'']), "email" | "batchy")
    };
    let begins = |line: &str| {
        let (quote, line) = match line.chars().next() {
            Some(quote @ ('"' | '\'')) => (Some(quote), &line[1..]),
            _ => (None, line),
        };
        SECTIONS.iter().any(|it| {
            let rest = line.strip_prefix(it);
            let rest = rest.and_then(|it| quote.map_or(Some(it), |quote| it.strip_prefix(quote)));
            rest.is_some_and(|it| it.trim_start_matches(' ').starts_with(':'))
        })
    };
    // All in braces, as JSON is.
    if text.trim_start().starts_with('{') {
        return parse_yaml(text).is_ok_and(|it| match it.json() {
            serde_json::Value::Object(root) => SECTIONS.iter().any(|it| root.contains_key(*it)),
            _ => false,
        });
    }
    // Other YAML has overrides, too: those of rotations speak of one.
    let stands_in =
        text.lines().any(|it| it.starts_with("overrides:")) && text.contains("rotation:");
    stands_in || text.lines().any(|line| begins(line) || of_checklist(line))
}

/// Whether a file's name is one of tests, which lie beside what they test.
pub(crate) fn is_tests(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let endings = [".test.yaml", ".test.yml", ".test.json"];
    !name.starts_with('.') && endings.iter().any(|ending| name.ends_with(ending))
}

/// Whether a file's name is one of YAML, and not hidden.
pub(super) fn is_yaml(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.extension().is_some_and(|it| it == "yaml" || it == "yml")
        && !name.starts_with('.')
        && !is_tests(path)
}

/// Whether a JSON text is a file of monitors: an object with one of its sections, and no workflow.
pub(super) fn is_monitors_json(text: &str) -> bool {
    let Ok(serde_json::Value::Object(root)) = serde_json::from_str(text) else { return false };
    let has = |section: &&str| root.contains_key(*section);
    SECTIONS.iter().chain(&["overrides"]).any(has) && !root.contains_key("tasks")
}
