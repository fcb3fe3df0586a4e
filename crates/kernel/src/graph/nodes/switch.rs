//! SWITCH, and its deprecated form DECISION: one of several blocks, by a value.

use serde_json::Value;

use super::super::draft::{Draft, End, Flow};
use super::super::execution::{Execution, Task};
use super::super::plan::{BlockId, Kind};
use super::script::is_javascript;
use crate::expression::java_text;
use crate::json::Json;
use crate::script::Form;

pub(in super::super) fn begin(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let output = |value: String, kind: Kind| match kind {
        Kind::Decision => serde_json::json!({ "caseOutput": [value] }),
        _ => serde_json::json!({ "evaluationResult": [value], "selectedCase": value }),
    };
    let end = match evaluate(draft, task) {
        Ok(value) => End::completed(output(value, task.kind).into()),
        Err(reason) => End::failed(reason),
    };
    draft.close(sequence, end);
}

/// The value that picks the case, as text.
fn evaluate(draft: &Draft<'_>, task: &Task) -> Result<String, String> {
    let node = &draft.state.node_of(task).task;
    let parameter = |key: &str| text_of(task.input.parse().get(key));
    let script = |source: &str| {
        draft
            .context
            .scripts
            .javascript(source, Form::Statements, &task.input)
            .map(|value| text_of(Some(&value.parse())))
            .map_err(|error| format!("the expression that picks the case failed: {error}"))
    };
    if task.kind == Kind::Decision {
        return match (&node.case_expression, &node.case_value_param) {
            (Some(source), _) if !source.trim().is_empty() => script(source),
            (_, Some(key)) => Ok(parameter(key)),
            _ => Err("DECISION needs a caseValueParam or a caseExpression".to_owned()),
        };
    }
    let expression = node.expression.as_deref().unwrap_or_default();
    match node.evaluator_type.as_deref().unwrap_or_default() {
        "value-param" => Ok(parameter(expression)),
        evaluator if is_javascript(evaluator) => script(expression),
        other => Err(format!(
            "unknown evaluatorType '{other}': use 'javascript', 'graaljs' or 'value-param'"
        )),
    }
}

/// As the protocol compares case names: everything by the text that Java has for it (a list is
/// `[1, 2]`, a map `{a=1}`), what is missing as `null`.
fn text_of(value: Option<&Value>) -> String {
    value.map_or_else(|| "null".to_owned(), java_text)
}

/// Goes into the chosen block; what follows the SWITCH comes after the block's end.
pub(in super::super) fn enter(draft: &mut Draft<'_>, sequence: u32) -> Flow {
    let Some(task) = draft.state.task(sequence) else { return Flow::Stops };
    let path = task.path.clone();
    match chosen(draft.state, task) {
        Some(block) => {
            draft.later(block, 0, path);
            Flow::Stops
        }
        None => Flow::Passes,
    }
}

/// The block that an ended SWITCH chose; `None` if nothing is to run.
pub(in super::super) fn chosen(state: &Execution, task: &Task) -> Option<BlockId> {
    let node = state.node_of(task);
    let value = case_of(&task.output)?;
    let named = node.task.decision_cases.keys().position(|name| name == value);
    let is_empty = |block: &BlockId| state.block(*block).nodes.is_empty();
    let default = || node.blocks.last().copied();
    let block = match named {
        // DECISION takes the default for a case that is written but empty; SWITCH runs nothing.
        Some(index) if task.kind == Kind::Decision => {
            node.blocks.get(index).copied().filter(|block| !is_empty(block)).or_else(default)
        }
        Some(index) => node.blocks.get(index).copied(),
        None => default(),
    };
    block.filter(|block| !is_empty(block))
}

impl Execution {
    /// Whether an ended SWITCH or DECISION chose a case, or its default, that has tasks.
    pub fn has_chosen_tasks(&self, task: &Task) -> bool {
        chosen(self, task).is_some()
    }
}

/// The value that picked the case, from a task's output.
pub(in super::super) fn case_of(output: &Json) -> Option<String> {
    let output = output.parse();
    let case = output.get("selectedCase").or_else(|| output.get("caseOutput")?.get(0));
    case.and_then(Value::as_str).map(str::to_owned)
}
