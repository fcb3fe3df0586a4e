//! Checks that every `${…}` in a definition begins with something that exists.
//!
//! Only the first segment is judged, and only where it can be known: a root that is itself computed
//! (`${${…}.output}`) or that a dynamic fork may bring to life later is let pass.

use std::collections::BTreeSet;

use serde_json::Value;

use super::problem::{Problem, Problems, join, nearest};

/// What expressions may refer to.
pub(super) struct References<'a> {
    names: BTreeSet<&'a str>,
    /// Whether tasks that nobody has written down may appear at run time.
    open: bool,
}

impl<'a> References<'a> {
    pub(super) fn new(names: BTreeSet<&'a str>, open: bool) -> Self {
        Self { names, open }
    }

    /// Whether unknown names must be let pass.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether this is a reference name of the workflow, with or without a loop's suffix.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
            || name.split_once("__").is_some_and(|(base, iteration)| {
                !iteration.is_empty()
                    && iteration.bytes().all(|byte| byte.is_ascii_digit())
                    && self.names.contains(base)
            })
    }

    /// What to do about an unknown reference name.
    pub(super) fn hint(&self, name: &str) -> String {
        if let Some(known) = nearest(name, self.names.iter().copied()) {
            return format!("Did you mean {known}?");
        }
        format!("Add a task whose taskReferenceName is {name}, or refer to one that exists.")
    }
}

/// Checks the expressions in a value and in all values below it.
///
/// `lenient` lets unknown names pass where a dynamic fork may provide them.
pub(super) fn check_value(
    value: &Value,
    pointer: &str,
    lenient: bool,
    references: &References<'_>,
    problems: &mut Problems,
) {
    match value {
        Value::String(text) => check_text(text, pointer, lenient, references, problems),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let pointer = format!("{pointer}/{index}");
                check_value(item, &pointer, lenient, references, problems);
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                // A definition handed on as data has references of its own.
                if !matches!(key.as_str(), "workflowDef" | "workflowDefinition") {
                    check_value(value, &join(pointer, key), lenient, references, problems);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Checks the expressions in one text.
pub(super) fn check_text(
    text: &str,
    pointer: &str,
    lenient: bool,
    references: &References<'_>,
    problems: &mut Problems,
) {
    for inner in expressions(text) {
        let Some(problem) = judge(inner, lenient, references, problems.is_full()) else { continue };
        let (code, message, hint) = problem;
        let problem = Problem::new(pointer, code, message, hint).with_value(text);
        problems.push(problem.at_word(root(inner).unwrap_or(inner)));
    }
}

fn judge(
    inner: &str,
    lenient: bool,
    references: &References<'_>,
    without_hint: bool,
) -> Option<(&'static str, String, String)> {
    let path = inner.trim();
    if path.is_empty() {
        let hint =
            "Name what to insert, as in ${workflow.input.x}, or write $${} to mean the text.";
        return Some((
            "expression-empty",
            "an expression is empty: ${}".to_owned(),
            hint.to_owned(),
        ));
    }
    let root = root(path)?;
    if root == "workflow"
        || references.contains(root)
        || (lenient && references.is_open())
        || (root.len() == path.len() && is_environment_name(root))
    {
        return None;
    }
    let message = format!(
        "missing reference: ${{{path}}} begins with {root}, which is neither workflow nor the \
         taskReferenceName of a task in this workflow"
    );
    let hint = match () {
        () if without_hint => String::new(),
        () if root.chars().any(|c| c.is_whitespace() || "()?+*/=\"'`".contains(c)) => {
            "This looks like code: join texts with + in place of a template literal, or write $${ \
             to keep ${ as it is."
                .to_owned()
        }
        () => references.hint(root),
    };
    Some(("unknown-reference", message, hint))
}

/// The first segment of a path, unless it is computed or a wildcard.
fn root(path: &str) -> Option<&str> {
    let path = path.strip_prefix("$.").unwrap_or(path);
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let root = path[..end].trim();
    (!root.is_empty() && root != "*" && root != "$" && !root.contains("${")).then_some(root)
}

/// Whether a bare name may be one that the server's environment provides.
fn is_environment_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What stands between `${` and its `}`, innermost first; escaped (`$${`) and open ones are text.
pub(super) fn expressions(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut open: Vec<(usize, bool)> = Vec::new();
    let mut index = 0;
    while index < bytes.len() {
        if bytes[index] == b'$' && bytes.get(index + 1) == Some(&b'{') {
            let escaped = index > 0 && bytes[index - 1] == b'$';
            let inherited = open.last().is_some_and(|(_, escaped)| *escaped);
            open.push((index + 2, escaped || inherited));
            index += 2;
            continue;
        }
        if bytes[index] == b'}'
            && let Some((start, escaped)) = open.pop()
            && !escaped
        {
            found.push(&text[start..index]);
        }
        index += 1;
    }
    found
}
