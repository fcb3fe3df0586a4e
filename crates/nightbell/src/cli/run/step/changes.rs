//! What differs between a run as it stood after one commit and after another one.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::output::{clean, cut};

/// What is compared of a run, beside its tasks, and how it is called.
const RUN: [(&str, &str); 6] = [
    ("status", "status"),
    ("reasonForIncompletion", "reason"),
    ("workflowVersion", "version"),
    ("input", "input"),
    ("variables", "variables"),
    ("output", "output"),
];
/// What is compared of a task, and how it is called. Its times change with its status.
const TASK: [(&str, &str); 7] = [
    ("status", "status"),
    ("reasonForIncompletion", "reason"),
    ("workerId", "worker"),
    ("subWorkflowId", "subWorkflowId"),
    ("callbackAfterSeconds", "callbackAfterSeconds"),
    ("inputData", "input"),
    ("outputData", "output"),
];

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    /// The task, `ring` or `ring#2` for its second attempt; none if it is of the run itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) task: Option<String>,
    /// What of it, as a path: `output.n`; empty if the task itself came or went.
    #[serde(skip_serializing_if = "String::is_empty")]
    path: String,
    /// How it was; null if there was nothing.
    before: Value,
    /// How it is; null if there is nothing.
    after: Value,
}

/// What became of a run between two of its states; before its first one there is nothing.
pub(super) fn between(before: &Value, after: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    let (was, is) = (tasks(before), tasks(after));
    for (_, task) in was.iter().filter(|(id, _)| !is.contains_key(*id)) {
        changes.push(Change::of_task(task, String::new(), summary(task), Value::Null));
    }
    for (id, task) in &is {
        match was.get(id) {
            None => {
                changes.push(Change::of_task(task, String::new(), Value::Null, summary(task)));
            }
            Some(earlier) => members(&TASK, earlier, task, &mut |path, before, after| {
                changes.push(Change::of_task(task, path, before, after));
            }),
        }
    }
    members(&RUN, before, after, &mut |path, before, after| {
        changes.push(Change { task: None, path, before, after });
    });
    changes
}

/// The tasks of a run by their ids, in their order.
fn tasks(run: &Value) -> Map<String, Value> {
    let tasks = run["tasks"].as_array().into_iter().flatten();
    tasks
        .map(|task| (task["taskId"].as_str().unwrap_or_default().to_owned(), task.clone()))
        .collect()
}

/// A task as its author calls it, with the number of its attempt if it is not the first.
pub(super) fn name_of(task: &Value) -> String {
    let reference = task["referenceTaskName"].as_str().unwrap_or_default();
    match task["retryCount"].as_u64() {
        None | Some(0) => reference.to_owned(),
        Some(retries) => format!("{reference}#{}", retries + 1),
    }
}

/// What there is to say of a task that is new, or gone.
fn summary(task: &Value) -> Value {
    let mut said = Map::new();
    for (member, name) in TASK {
        let value = &task[member];
        if !is_nothing(value) {
            said.insert(name.to_owned(), value.clone());
        }
    }
    said.into()
}

/// Tells which of these members differ between two objects.
fn members(
    names: &[(&str, &str)],
    before: &Value,
    after: &Value,
    tell: &mut impl FnMut(String, Value, Value),
) {
    for (member, name) in names {
        let (before, after) = (&before[*member], &after[*member]);
        // Within a payload nothing, zero and an empty text are three things.
        if !(is_nothing(before) && is_nothing(after)) {
            deeper(name, before, after, tell);
        }
    }
}

/// Goes down objects, and lists of the same length, to what differs.
fn deeper(path: &str, before: &Value, after: &Value, tell: &mut impl FnMut(String, Value, Value)) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(was), Value::Object(is)) if !was.is_empty() && !is.is_empty() => {
            for (name, before) in was {
                let after = is.get(name).unwrap_or(&Value::Null);
                deeper(&format!("{path}.{name}"), before, after, tell);
            }
            for (name, after) in is.iter().filter(|(name, _)| !was.contains_key(*name)) {
                deeper(&format!("{path}.{name}"), &Value::Null, after, tell);
            }
        }
        (Value::Array(was), Value::Array(is)) if was.len() == is.len() => {
            for (number, (before, after)) in was.iter().zip(is).enumerate() {
                deeper(&format!("{path}[{number}]"), before, after, tell);
            }
        }
        _ => tell(path.to_owned(), before.clone(), after.clone()),
    }
}

/// Whether a member says nothing: the protocol writes some as empty, and some as zero.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Array(_) => false,
    }
}

impl Change {
    fn of_task(task: &Value, path: String, before: Value, after: Value) -> Self {
        Self { task: Some(name_of(task)), path, before, after }
    }

    /// The change on a line that is no wider than this.
    pub(super) fn line(&self, width: usize) -> String {
        // Each side gets its share, so that a long value hides neither what was nor what is.
        let share =
            width.saturating_sub(self.task.as_ref().map_or(0, String::len) + 16).max(24) / 2;
        let value = |value: &Value| match value {
            Value::String(text) => cut(&clean(text), share),
            other => cut(&clean(&other.to_string()), share),
        };
        cut(&clean(&self.told(value)), width)
    }

    fn told(&self, value: impl Fn(&Value) -> String) -> String {
        let task = self.task.as_deref().unwrap_or("run");
        if self.path.is_empty() {
            let (sign, of) =
                if self.before.is_null() { ('+', &self.after) } else { ('-', &self.before) };
            let of = of.as_object().into_iter().flatten();
            let of: Vec<String> = of.map(|(name, it)| format!("{name} {}", value(it))).collect();
            return format!("{sign} {task}  {}", of.join("  "));
        }
        let path = &self.path;
        let is_member = !path.contains(['.', '[']);
        if self.before.is_null() || (is_member && is_nothing(&self.before)) {
            return format!("~ {task}  {path} = {}", value(&self.after));
        }
        format!("~ {task}  {path}: {} → {}", value(&self.before), value(&self.after))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task(id: &str, retries: u32, status: &str, output: &Value) -> Value {
        json!({
            "taskId": id, "referenceTaskName": "ring", "retryCount": retries, "status": status,
            "inputData": { "n": 3 }, "outputData": output, "updateTime": id.len(),
        })
    }

    fn told(before: &Value, after: &Value) -> Vec<String> {
        between(before, after).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_commit_is_told_by_what_it_changed() {
        let begun = json!({ "status": "RUNNING", "input": { "a": 1 }, "tasks": [], "output": {} });
        assert_eq!(
            told(&Value::Null, &begun),
            ["~ run  status = RUNNING", r#"~ run  input = {"a":1}"#]
        );
        let mut scheduled = begun.clone();
        scheduled["tasks"] = json!([task("t1", 0, "SCHEDULED", &json!({}))]);
        assert_eq!(told(&begun, &scheduled), [r#"+ ring  status SCHEDULED  input {"n":3}"#]);
        assert_eq!(told(&scheduled, &begun), [r#"- ring  status SCHEDULED  input {"n":3}"#]);
        let mut retried = scheduled.clone();
        retried["variables"] = json!({ "seen": [1, 2] });
        retried["tasks"] = json!([
            task("t1", 0, "FAILED", &json!({ "who": { "name": "ann" } })),
            task("t2", 1, "SCHEDULED", &json!({})),
        ]);
        let expected = [
            "~ ring  status: SCHEDULED → FAILED",
            r#"~ ring  output = {"who":{"name":"ann"}}"#,
            r#"+ ring#2  status SCHEDULED  input {"n":3}"#,
            r#"~ run  variables = {"seen":[1,2]}"#,
        ];
        assert_eq!(told(&scheduled, &retried), expected);
        let mut later = retried.clone();
        later["variables"]["seen"][1] = 5.into();
        later["tasks"][0]["outputData"]["who"]["name"] = "bo".into();
        later["tasks"][0]["updateTime"] = 99.into();
        let expected = ["~ ring  output.who.name: ann → bo", "~ run  variables.seen[1]: 2 → 5"];
        assert_eq!(told(&retried, &later), expected);
        assert_eq!(told(&later, &later), Vec::<String>::new());
        // A payload says what it says; members of the protocol are written as empty or not at all.
        let of = |input: &Value| json!({ "status": "RUNNING", "input": input, "tasks": [] });
        let (was, is) =
            (of(&json!({ "a": 0, "b": "", "c": {} })), of(&json!({ "a": null, "b": 0, "c": "" })));
        let expected =
            ["~ run  input.a: 0 → null", "~ run  input.b:  → 0", "~ run  input.c: {} → "];
        assert_eq!(told(&was, &is), expected);
        assert_eq!(told(&of(&json!({})), &of(&Value::Null)), Vec::<String>::new());
    }

    #[test]
    fn a_line_shows_both_sides_of_long_values_and_steers_no_terminal() {
        let of = |text: &str| json!({ "status": "RUNNING", "output": { "text": text } });
        let (before, after) = (of(&"a".repeat(500)), of(&format!("\x1b[2J{}", "b".repeat(500))));
        let line = between(&before, &after)[0].line(80);
        assert!(line.chars().count() <= 80, "{line}");
        assert!(line.contains("aaa… → ") && line.contains("bbb…"), "{line}");
        assert!(!line.contains('\x1b'), "{line}");
    }
}
