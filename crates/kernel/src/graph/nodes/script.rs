//! INLINE, LAMBDA and JSON_JQ_TRANSFORM: data shaped by a script within the decision.
//!
//! The result is recorded in the task's output and never computed again.

use serde::Deserialize;
use serde_json::Value;

use super::super::draft::{Draft, End};
use super::super::object::ObjectText;
use crate::json::Json;
use crate::script::{Form, ScriptError, ScriptErrorKind};

/// The members of an input that these types read; the rest is the script's own.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    expression: Option<Value>,
    script_expression: Option<Value>,
    evaluator_type: Option<String>,
    query_expression: Option<Value>,
}

fn parameters(input: &Json) -> Parameters {
    serde_json::from_str(input.text()).unwrap_or_default()
}

/// A script given as text; a value that an expression put in its place is taken as its text.
fn source(value: Option<Value>) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::String(text) => Some(text).filter(|text| !text.trim().is_empty()),
        other => Some(other.to_string()),
    }
}

/// Whether an evaluator's name means JavaScript.
pub(super) fn is_javascript(evaluator: &str) -> bool {
    matches!(evaluator, "" | "javascript" | "graaljs")
}

pub(super) fn inline(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let (input, node) = (task.input.clone(), draft.state.node_of(task));
    let given = parameters(&input);
    let evaluator = given.evaluator_type.or_else(|| node.task.evaluator_type.clone());
    let evaluator = evaluator.as_deref().unwrap_or_default();
    let expression = source(given.expression).or_else(|| node.task.expression.clone());
    let end = match expression {
        None => End::failed_terminally("INLINE needs an 'expression' among its inputParameters"),
        Some(key) if evaluator == "value-param" => {
            let value = input.parse().get(&key).map_or_else(Json::null, Json::of);
            End::completed(result(&value))
        }
        Some(source) if is_javascript(evaluator) => {
            match draft.context.scripts.javascript(&source, Form::Statements, &input) {
                Ok(value) => End::completed(result(&value)),
                Err(error) => failed(&error, true),
            }
        }
        Some(_) => End::failed_terminally(format!(
            "unknown evaluatorType '{evaluator}': use 'javascript', 'graaljs' or 'value-param'"
        )),
    };
    draft.close(sequence, end);
}

pub(super) fn lambda(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let (input, node) = (task.input.clone(), draft.state.node_of(task));
    let script = source(parameters(&input).script_expression)
        .or_else(|| node.task.script_expression.clone());
    let end = match script {
        None => End::failed("LAMBDA needs a 'scriptExpression' among its inputParameters"),
        Some(source) => {
            match draft.context.scripts.javascript(&source, Form::FunctionBody, &input) {
                Ok(value) => End::completed(result(&value)),
                Err(error) => failed(&error, false),
            }
        }
    };
    draft.close(sequence, end);
}

pub(super) fn jq(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let input = task.input.clone();
    let end = match source(parameters(&input).query_expression) {
        None => {
            End::failed("JSON_JQ_TRANSFORM needs a 'queryExpression' among its inputParameters")
        }
        Some(program) => match draft.context.scripts.jq(&program, &input) {
            Ok(outputs) => {
                let mut object = ObjectText::new();
                let first = outputs.first().cloned().unwrap_or_else(Json::null);
                object.member("result", first.text());
                object.member("resultList", Json::of(&outputs).text());
                End::completed(object.finish())
            }
            Err(error) => failed(&error, false),
        },
    };
    draft.close(sequence, end);
}

fn result(value: &Json) -> Json {
    let mut object = ObjectText::new();
    object.member("result", value.text());
    object.finish()
}

/// A script that ran out of time may do better next time; any other error will come again, and
/// INLINE says so by its status.
fn failed(error: &ScriptError, for_good: bool) -> End {
    let mut object = ObjectText::new();
    object.member("error", Json::of(&error.message).text());
    let end = if for_good && error.kind != ScriptErrorKind::Timeout {
        End::failed_terminally(error.message.as_str())
    } else {
        End::failed(error.message.as_str())
    };
    End { output: Some(object.finish()), ..end }
}
