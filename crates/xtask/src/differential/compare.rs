//! Finds where two transcripts differ.

use serde_json::Value;

/// One place where the servers differ.
pub(super) struct Difference {
    /// The path without names of this case: what rules match.
    pub(super) at: String,
    /// The path as it is in the transcripts.
    pub(super) path: String,
    pub(super) conductor: String,
    pub(super) nightbell: String,
}

/// In place of a value that one side does not have.
const ABSENT: &str = "absent";

/// All differences; none if a client could not tell the servers apart.
pub(super) fn transcripts(conductor: &Value, nightbell: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(conductor, nightbell, "", "", &mut found);
    found
}

fn walk(theirs: &Value, ours: &Value, at: &str, path: &str, found: &mut Vec<Difference>) {
    match (theirs, ours) {
        (Value::Object(left), Value::Object(right)) => {
            let more = right.keys().filter(|name| !left.contains_key(*name));
            for name in left.keys().chain(more) {
                let kind = [left.get(name), right.get(name)]
                    .into_iter()
                    .flatten()
                    .find_map(|value| value.get("taskType").and_then(Value::as_str));
                let step = general(at, name, kind);
                let (at, path) = (format!("{at}/{step}"), format!("{path}/{name}"));
                match (left.get(name), right.get(name)) {
                    (Some(left), Some(right)) => walk(left, right, &at, &path, found),
                    (left, right) => found.push(difference(left, right, at, path)),
                }
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (number, (left, right)) in left.iter().zip(right).enumerate() {
                walk(left, right, &format!("{at}/*"), &format!("{path}/{number}"), found);
            }
        }
        _ if same(theirs, ours) => {}
        _ => found.push(difference(Some(theirs), Some(ours), at.to_owned(), path.to_owned())),
    }
}

/// Equal but for how a number is written.
fn same(left: &Value, right: &Value) -> bool {
    left == right || left.as_f64().is_some_and(|number| right.as_f64() == Some(number))
}

fn difference(left: Option<&Value>, right: Option<&Value>, at: String, path: String) -> Difference {
    let shown = |value: Option<&Value>| value.map_or(ABSENT.to_owned(), Value::to_string);
    Difference { at, path, conductor: shown(left), nightbell: shown(right) }
}

/// A step of a path without what only this case has: a task is called by its type, a step of the
/// transcript by its kind.
fn general(at: &str, name: &str, kind: Option<&str>) -> String {
    if let Some(kind) = kind {
        return format!("task {}", if kind.starts_with("d_") { "SIMPLE" } else { kind });
    }
    if at.is_empty() {
        let mut words = name.split(' ');
        let first = words.next().unwrap_or_default();
        return match first {
            "operator" => format!("operator {}", words.next().unwrap_or_default()),
            "step" | "definition" => first.to_owned(),
            "at" => "end".to_owned(),
            _ => name.to_owned(),
        };
    }
    name.to_owned()
}
