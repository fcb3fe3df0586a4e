//! Interim expressions: plain paths only.
#![allow(missing_docs, reason = "interim")]
use crate::Json;
use serde_json::Value;

pub trait Scope {
    fn field(&self, root: &str, field: &str) -> Option<Json>;
    fn document(&self, root: &str) -> Option<Json>;
    fn bare(&self, name: &str) -> Option<Json>;
}
#[derive(Debug)]
pub struct Template(Value);

impl Template {
    pub fn compile(value: &Value) -> Self {
        Self(value.clone())
    }
    pub fn render(&self, scope: &dyn Scope) -> Json {
        Json::of(&render(&self.0, scope))
    }
}
fn render(value: &Value, scope: &dyn Scope) -> Value {
    match value {
        Value::Object(members) => {
            members.iter().map(|(k, v)| (k.clone(), render(v, scope))).collect()
        }
        Value::Array(items) => items.iter().map(|v| render(v, scope)).collect(),
        Value::String(text) => expand(text, scope),
        other => other.clone(),
    }
}
fn expand(text: &str, scope: &dyn Scope) -> Value {
    if let Some(inner) = text.strip_prefix("${").and_then(|t| t.strip_suffix('}'))
        && !inner.contains("${")
    {
        return read(inner, scope);
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else { break };
        match read(&rest[at + 2..at + end], scope) {
            Value::String(text) => out.push_str(&text),
            other => out.push_str(&other.to_string()),
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Value::String(out)
}
fn read(path: &str, scope: &dyn Scope) -> Value {
    let path = path.replace("['", ".").replace("']", "").replace('[', ".").replace(']', "");
    let mut parts = path.split('.');
    let root = parts.next().unwrap_or_default();
    let Some(field) = parts.next() else {
        return scope
            .bare(root)
            .or_else(|| scope.document(root))
            .map_or(Value::Null, |j| j.parse());
    };
    let mut value = scope.field(root, field).map_or(Value::Null, |j| j.parse());
    for part in parts {
        value = match value {
            Value::Object(mut o) => o.remove(part).unwrap_or(Value::Null),
            Value::Array(a) => {
                part.parse::<usize>().ok().and_then(|i| a.get(i).cloned()).unwrap_or(Value::Null)
            }
            _ => Value::Null,
        };
    }
    value
}
pub fn parse_duration(text: &str) -> Result<jiff::SignedDuration, String> {
    let span: jiff::Span = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|e| e.to_string())
}
pub fn parse_until(_: &str, _: &jiff::tz::TimeZone) -> Result<jiff::Timestamp, String> {
    Err("not yet".into())
}
pub fn resolve_secrets(input: &Json, _: &dyn Fn(&str) -> Option<String>) -> Json {
    input.clone()
}
