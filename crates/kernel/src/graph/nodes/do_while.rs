//! DO_WHILE: a body again and again, as long as a condition holds or over a list.
//!
//! The loop's output is made of its body's outputs when somebody asks for it. Storing it with
//! every iteration would make a long loop cost the square of its length.

use serde::Deserialize;
use serde_json::Value;

use super::super::draft::{Draft, End};
use super::super::event::Event;
use super::super::execution::{Execution, Task};
use super::super::object::{ObjectText, merged};
use super::super::plan::{BlockId, Kind, Node};
use super::super::scope::View;
use super::{fork, switch};
use crate::expression::Template;
use crate::json::Json;
use crate::script::Form;

/// The list of a loop over items is kept as an input, so that each element can be found again.
pub(in super::super) fn shown_input(node: &Node, input: Json, view: &View<'_>) -> Json {
    match &node.task.items {
        None | Some(Value::Null) => input,
        Some(items) => {
            let list = Template::compile(items).render(view);
            merged(&input, &Json::of(&serde_json::json!({ "items": list.raw() })))
        }
    }
}

/// The list that a loop goes through; `None` for a loop by condition alone. What is no list counts
/// as a list of one, and nothing as an empty one.
pub(in super::super) fn items(node: &Node, input: &Json) -> Option<Vec<Json>> {
    let listed = node.task.items.as_ref().is_some_and(|items| !items.is_null());
    let written = || node.task.input_parameters.get("_items").is_some_and(|items| !items.is_null());
    if !listed && !written() {
        return None;
    }
    let Value::Object(mut input) = input.parse() else { return Some(Vec::new()) };
    Some(match input.remove(if listed { "items" } else { "_items" }) {
        Some(Value::Array(list)) => list.iter().map(Json::of).collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(other) => vec![Json::of(&other)],
    })
}

/// What a loop over a list adds to its output and to `$` of its condition.
pub(in super::super) fn position(task: &Task) -> Option<Json> {
    let index = task.iteration.checked_sub(1)?;
    let items = task.items.as_ref()?;
    let mut object = ObjectText::new();
    object.member("loopIndex", &index.to_string());
    if let Some(item) = items.get(index as usize) {
        object.member("loopItem", item.text());
    }
    Some(object.finish())
}

pub(in super::super) fn begin(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    if task.items.as_ref().is_some_and(|items| items.is_empty()) {
        return draft.close(sequence, End::done());
    }
    draft.push(Event::Begun { sequence, until: None });
    iterate(draft, sequence, 1, 0);
}

fn iterate(draft: &mut Draft<'_>, sequence: u32, iteration: u32, forget: u32) {
    draft.push(Event::Iterated { sequence, iteration, forget });
    revisit(draft, sequence);
}

/// Goes through the body of the present iteration.
pub(in super::super) fn revisit(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    if task.iteration > 0
        && let Some(body) = draft.state.node_of(task).blocks.first().copied()
    {
        let path = inside(task);
        draft.later(body, 0, path);
    }
}

fn inside(task: &Task) -> Vec<u32> {
    let mut path = task.path.clone();
    path.push(task.iteration);
    path
}

/// Looks whether an iteration is over, and what comes then.
pub(in super::super) fn look(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let body = draft.state.node_of(task).blocks.first().copied();
    let Some(body) = body.filter(|_| !task.status.is_closed() && task.iteration > 0) else {
        return;
    };
    if !is_over(draft.state, body, &inside(task)) {
        return;
    }
    // One more than asked for is kept while the loop runs: the new iteration may refer to it.
    let iteration = task.iteration;
    let forget = keep_last(task).map_or(0, |keep| iteration.saturating_sub(keep));
    // A worker may hold what an operator has reopened in an earlier iteration.
    let forget = if forget == 0 { 0 } else { forget.min(draft.state.closed_through(sequence)) };
    let end = match goes_on(draft, task) {
        Ok(true) if iteration < draft.context.limits.iterations_max => {
            return iterate(draft, sequence, iteration + 1, forget);
        }
        Ok(true) => End::failed_terminally(format!(
            "the loop has gone through {iteration} iterations, as many as one loop may \
             (loop_iterations_max)"
        )),
        Ok(false) => {
            if forget > 0 {
                draft.push(Event::Iterated { sequence, iteration, forget });
            }
            End::done()
        }
        Err(reason) => End::failed_terminally(reason),
    };
    draft.close(sequence, end);
    draft.continue_after(sequence);
}

/// Whether everything that this pass through a block started has ended.
fn is_over(state: &Execution, block: BlockId, path: &[u32]) -> bool {
    state.block(block).nodes.iter().all(|node| {
        let Some(task) = state.attempt_at(*node, path) else { return false };
        if !task.status.is_closed() {
            return false;
        }
        match task.kind {
            Kind::Switch | Kind::Decision => {
                switch::chosen(state, task).is_none_or(|block| is_over(state, block, path))
            }
            Kind::Fork | Kind::DynamicFork => fork::branches_of(state, task.sequence)
                .into_iter()
                .all(|block| is_over(state, block, path)),
            _ => true,
        }
    })
}

fn keep_last(task: &Task) -> Option<u32> {
    #[derive(Deserialize)]
    struct Input {
        #[serde(rename = "keepLastN")]
        keep: Option<Value>,
    }
    // Every iteration asks. The list of a loop is in its input, too: a long one is not to be read as often
    // as it has elements.
    let text = task.input.text();
    let input: Input = text.contains("keepLastN").then(|| serde_json::from_str(text).ok())??;
    let keep = input.keep?;
    let number = keep.as_u64().or_else(|| keep.as_str()?.trim().parse().ok())?;
    u32::try_from(number).ok().filter(|keep| *keep > 0)
}

/// Whether there is to be another iteration.
fn goes_on(draft: &Draft<'_>, task: &Task) -> Result<bool, String> {
    let node = draft.state.node_of(task);
    if task.items.as_ref().is_some_and(|items| task.iteration as usize >= items.len()) {
        return Ok(false);
    }
    let condition = node.task.loop_condition.as_deref().unwrap_or_default();
    if condition.trim().is_empty() {
        return Ok(task.items.is_some());
    }
    let input = condition_input(draft, task, condition);
    let answer = draft
        .context
        .scripts
        .javascript(condition, Form::Statements, &input)
        .map_err(|error| format!("the loop condition failed: {error}"))?;
    // As the protocol has it: true, or a number above zero; a text is never true.
    Ok(match answer.parse() {
        Value::Bool(answer) => answer,
        Value::Number(number) => number.as_f64().is_some_and(|number| number > 0.0),
        _ => false,
    })
}

/// `$` of a loop condition: the loop's parameters as they resolve now, its own output under its
/// reference name, and the latest output of each body task under its. What the condition's text does not
/// mention is left out.
fn condition_input(draft: &Draft<'_>, task: &Task, condition: &str) -> Json {
    let state = &*draft.state;
    let node = state.node_of(task);
    let view = View::new(state, draft.context, Some(task.sequence));
    let mut object = ObjectText::new();
    object.members_of(&node.input.render(&view));
    if let Some(position) = position(task) {
        object.members_of(&position);
    }
    if condition.contains(&*node.reference) {
        let output = if asks_only_for_iteration(condition, &node.reference) {
            Json::of(&serde_json::json!({ "iteration": task.iteration }))
        } else {
            state.output_of(task)
        };
        object.member(&node.reference, output.text());
    }
    let path = inside(task);
    for body in state.body_nodes(node) {
        let reference = &state.node(body).reference;
        if condition.contains(&**reference)
            && let Some(inner) = state.attempt_at(body, &path).or_else(|| state.latest(reference))
        {
            object.member(reference, state.output_of(inner).text());
        }
    }
    object.finish()
}

/// Whether every mention of the loop in its condition reads just the number of the iteration: then
/// its whole output, which grows with every iteration, need not be made.
fn asks_only_for_iteration(condition: &str, reference: &str) -> bool {
    condition.match_indices(reference).all(|(at, _)| {
        let rest = condition[at + reference.len()..].trim_start_matches(['\'', '"', ']', ' ']);
        [".iteration", "['iteration']", "[\"iteration\"]", ".get('iteration')"]
            .iter()
            .any(|member| rest.starts_with(member))
    })
}
