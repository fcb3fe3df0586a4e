//! Replaces what differs between any two servers: ids, times, addresses, hosts' names.

use serde_json::{Map, Value, json};

use super::drive::{Tree, child_id};

/// What clients read of an execution.
const WORKFLOW_FIELDS: [&str; 14] = [
    "status",
    "output",
    "input",
    "variables",
    "reasonForIncompletion",
    "failedReferenceTaskNames",
    "failedTaskNames",
    "correlationId",
    "workflowVersion",
    "priority",
    "event",
    "taskToDomain",
    "externalInputPayloadStoragePath",
    "rateLimitKey",
];

/// What clients read of a task.
const TASK_FIELDS: [&str; 15] = [
    "taskType",
    "status",
    "inputData",
    "outputData",
    "reasonForIncompletion",
    "taskDefName",
    "retried",
    "executed",
    "iteration",
    "retryCount",
    "domain",
    "loopOverTask",
    "callbackAfterSeconds",
    "responseTimeoutSeconds",
    "subWorkflowId",
];

/// Numbers of these names are instants.
const INSTANTS: [&str; 12] = [
    "createTime",
    "startTime",
    "endTime",
    "updateTime",
    "scheduledTime",
    "firstStartTime",
    "created",
    "updated",
    "timestamp",
    "responseTimeInMillis",
    "lastRetriedTime",
    "queueWaitTime",
];

/// The ids of one execution, its children and their tasks, each with a name that both servers share.
#[derive(Default)]
pub(super) struct Names {
    pairs: Vec<(String, String)>,
}

impl Names {
    pub(super) fn of(tree: &Tree) -> Self {
        let mut names = Self::default();
        names.add(tree, "W");
        // A longer id first: one may begin with another.
        names.pairs.sort_by_key(|(id, _)| std::cmp::Reverse(id.len()));
        names
    }

    fn add(&mut self, tree: &Tree, name: &str) {
        if let Some(id) = tree.root["workflowId"].as_str() {
            self.pairs.push((id.to_owned(), format!("<{name}>")));
        }
        for task in tree.tasks() {
            let key = key(task);
            if let Some(id) = task["taskId"].as_str() {
                self.pairs.push((id.to_owned(), format!("<{name} {key}>")));
            }
            if let Some(child) = child_id(task).and_then(|id| tree.children.get(id)) {
                self.add(child, &format!("{name}/{key}"));
            }
        }
    }

    /// The same value with names in place of ids and without instants.
    pub(super) fn replaced(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => json!(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.replaced(item)).collect(),
            Value::Object(fields) => {
                let kept = fields.iter().filter(|(name, value)| {
                    !(INSTANTS.contains(&name.as_str()) && (value.is_number() || value.is_string()))
                });
                Value::Object(
                    kept.map(|(name, value)| (self.text(name), self.replaced(value))).collect(),
                )
            }
            // What a script took from the clock.
            Value::Number(number) if number.as_f64().is_some_and(|n| EPOCH.contains(&n)) => {
                json!("<time>")
            }
            other => other.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        let named = self.pairs.iter().fold(text.to_owned(), |text, (id, name)| {
            if text.contains(id.as_str()) { text.replace(id, name) } else { text }
        });
        without_times(&unnamed_ids(&named))
    }

    /// What is compared of an execution and its children.
    pub(super) fn shown(&self, tree: &Tree) -> Value {
        let mut shown = Map::new();
        for name in WORKFLOW_FIELDS {
            if let Some(value) = tree.root.get(name).filter(|value| !value.is_null()) {
                let mut value = self.replaced(value);
                // Sets: Conductor has no order in them.
                if name.starts_with("failed")
                    && let Some(names) = value.as_array_mut()
                {
                    names.sort_by_key(Value::to_string);
                }
                shown.insert(name.to_owned(), value);
            }
        }
        let mut tasks = Map::new();
        for task in tree.tasks() {
            let mut kept = Map::new();
            for name in TASK_FIELDS {
                if let Some(value) = task.get(name).filter(|value| !value.is_null()) {
                    kept.insert(name.to_owned(), self.replaced(value));
                }
            }
            if let Some(child) = child_id(task).and_then(|id| tree.children.get(id)) {
                kept.insert("child".to_owned(), self.shown(child));
            }
            let mut key = key(task);
            while tasks.contains_key(&key) {
                key.push('\'');
            }
            tasks.insert(key, Value::Object(kept));
        }
        shown.insert("tasks".to_owned(), Value::Object(tasks));
        Value::Object(shown)
    }
}

/// Milliseconds that are taken for an instant of these years.
const EPOCH: std::ops::Range<f64> = 1.7e12..2.0e12;

/// Replaces a text that is an instant as JavaScript writes it, or with fewer digits of the second or
/// more.
fn without_times(text: &str) -> String {
    const FORM: &str = "0000-00-00T00:00:00";
    let begins = text.bytes().zip(FORM.bytes()).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == form,
    });
    let rest = text.as_bytes().get(FORM.len()..).and_then(|rest| rest.strip_suffix(b"Z"));
    let fraction = |rest: &[u8]| match rest.split_first() {
        None => true,
        Some((dot, digits)) => *dot == b'.' && digits.iter().all(u8::is_ascii_digit),
    };
    let like = begins && rest.is_some_and(fraction);
    if like { "<time>".to_owned() } else { text.to_owned() }
}

/// What names a task on both servers: its reference name and attempt.
fn key(task: &Value) -> String {
    let reference = task["referenceTaskName"].as_str().unwrap_or_default();
    format!("{reference}#{}", task["retryCount"].as_u64().unwrap_or(0))
}

/// Replaces what has the form of a UUID and has no name: ids of events, of executions nobody waits for.
fn unnamed_ids(text: &str) -> String {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let bytes = text.as_bytes();
    let id_at = |start: usize| -> Option<usize> {
        let mut at = start;
        for (number, length) in GROUPS.iter().enumerate() {
            if number > 0 {
                (bytes.get(at) == Some(&b'-')).then_some(())?;
                at += 1;
            }
            let group = bytes.get(at..at + length)?;
            group.iter().all(u8::is_ascii_hexdigit).then_some(())?;
            at += length;
        }
        Some(at)
    };
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if let Some(end) = id_at(at) {
            shown.push_str("<id>");
            at = end;
            continue;
        }
        let next = text[at..].chars().next().map_or(1, char::len_utf8);
        shown.push_str(&text[at..at + next]);
        at += next;
    }
    shown
}
