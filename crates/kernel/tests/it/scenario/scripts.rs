//! A stand-in for the script engines: just enough of a language for conditions in scenarios.

use kernel::{Form, Json, ScriptError, ScriptErrorKind, Scripts, Violation};
use serde_json::{Value, json};

/// Knows JSON literals, paths from `$` (jq: `.`), `+ < > ==`, `throw TEXT`, `sleep`, `empty`.
pub(super) struct Small;

type Outcome = Result<Value, ScriptError>;
type Operator = fn(&Value, &Value) -> Value;

impl Scripts for Small {
    fn javascript(&self, source: &str, form: Form, input: &Json) -> Result<Json, ScriptError> {
        let source = match form {
            Form::Statements => source,
            Form::FunctionBody => source.strip_prefix("return ").unwrap_or("null"),
        };
        evaluate(source.trim().trim_end_matches(';'), &input.parse(), "$").map(Json::from)
    }

    fn jq(&self, program: &str, input: &Json) -> Result<Vec<Json>, ScriptError> {
        let parts = program.split(", ").filter(|part| *part != "empty");
        parts.map(|part| evaluate(part, &input.parse(), "").map(Json::from)).collect()
    }

    fn check_javascript(&self, _: &str, _: Form) -> Result<(), ScriptError> {
        Ok(())
    }

    fn check_jq(&self, _: &str) -> Result<(), ScriptError> {
        Ok(())
    }

    /// Knows `required` and the `type` of members.
    fn violations(&self, schema: &Json, document: &Json) -> Result<Vec<Violation>, ScriptError> {
        let (schema, document) = (schema.parse(), document.parse());
        if schema == json!({ "broken": true }) {
            return Err(error(ScriptErrorKind::Syntax, "it is broken"));
        }
        let names = |list: &Value| -> Vec<String> {
            let names = list.as_array().into_iter().flatten();
            names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let missing = names(&schema["required"]).into_iter().filter(|n| document.get(n).is_none());
        let mut found: Vec<Violation> = missing
            .map(|name| Violation { pointer: String::new(), message: format!("{name} is missing") })
            .collect();
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let Some(value) = document.get(name) else { continue };
            let fits = match member["type"].as_str() {
                Some("integer") => value.is_i64(),
                Some("string") => value.is_string(),
                _ => true,
            };
            if !fits {
                let message = format!("not of type {}", member["type"]);
                found.push(Violation { pointer: format!("/{name}"), message });
            }
        }
        Ok(found)
    }
}

fn error(kind: ScriptErrorKind, message: &str) -> ScriptError {
    ScriptError { kind, message: message.to_owned() }
}

fn evaluate(source: &str, input: &Value, root: &str) -> Outcome {
    let source = source.trim();
    if let Some(message) = source.strip_prefix("throw ") {
        return Err(error(ScriptErrorKind::Runtime, message));
    }
    if source == "sleep" {
        return Err(error(ScriptErrorKind::Timeout, "the script ran too long"));
    }
    let operators: [(&str, Operator); 4] = [
        (" == ", |a, b| json!(a == b)),
        (" < ", |a, b| json!(a.as_f64() < b.as_f64())),
        (" > ", |a, b| json!(a.as_f64() > b.as_f64())),
        (" + ", |a, b| json!(a.as_i64().unwrap_or(0) + b.as_i64().unwrap_or(0))),
    ];
    for (operator, apply) in operators {
        if let Some((left, right)) = source.split_once(operator) {
            let (left, right) = (evaluate(left, input, root)?, evaluate(right, input, root)?);
            return Ok(apply(&left, &right));
        }
    }
    if let Ok(literal) = serde_json::from_str(source) {
        return Ok(literal);
    }
    let path =
        source.strip_prefix(root).filter(|path| path.is_empty() || path.starts_with(['.', '[']));
    let Some(path) = path else {
        return Err(error(ScriptErrorKind::Syntax, &format!("cannot read '{source}'")));
    };
    let path = path.replace("['", ".").replace("']", "").replace('[', ".").replace(']', "");
    let mut value = input;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        value = match value {
            Value::Array(list) => part.parse::<usize>().ok().and_then(|at| list.get(at)),
            Value::Null => {
                let message = format!("cannot read '{part}' of null");
                return Err(error(ScriptErrorKind::Runtime, &message));
            }
            other => other.get(part),
        }
        .unwrap_or(&Value::Null);
    }
    Ok(value.clone())
}
