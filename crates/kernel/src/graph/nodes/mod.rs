//! One file per task type that decides; this one says which begins how.

pub(super) mod do_while;
pub(super) mod dynamic;
mod event;
pub(super) mod failure;
pub(super) mod fork;
pub(super) mod join;
pub(super) mod pull;
pub(super) mod script;
pub(super) mod sub_workflow;
pub(super) mod switch;
mod terminate;
mod variables;
pub(super) mod wait;
pub(super) mod webhook;

pub(super) use do_while::{items as loop_items, position as loop_position};

use std::sync::Arc;

use super::draft::{Draft, End};
use super::event::Event;
use super::plan::{Kind, Node};
use super::scope::View;
use crate::json::Json;

/// Begins a task that the engine itself decides.
pub(super) fn begin(draft: &mut Draft<'_>, sequence: u32, kind: Kind) {
    match kind {
        Kind::Inline => script::inline(draft, sequence),
        Kind::Lambda => script::lambda(draft, sequence),
        Kind::Jq => script::jq(draft, sequence),
        Kind::Switch | Kind::Decision => switch::begin(draft, sequence),
        Kind::Fork => fork::begin(draft, sequence),
        Kind::DynamicFork => fork::begin_dynamic(draft, sequence),
        Kind::Join | Kind::ExclusiveJoin => join::begin(draft, sequence),
        Kind::DoWhile => do_while::begin(draft, sequence),
        Kind::SubWorkflow => sub_workflow::begin(draft, sequence),
        Kind::StartWorkflow => sub_workflow::begin_detached(draft, sequence),
        Kind::SetVariable => variables::begin(draft, sequence),
        Kind::Terminate => terminate::begin(draft, sequence),
        Kind::Wait => wait::begin(draft, sequence),
        Kind::Human | Kind::Yield => draft.push(Event::Begun { sequence, until: None }),
        Kind::Webhook => webhook::begin(draft, sequence),
        Kind::Pull => pull::begin(draft, sequence),
        Kind::Noop => draft.close(sequence, End::done()),
        Kind::Dispatched | Kind::Dynamic => draft.dispatch(sequence, false),
    }
}

/// The type that a task shows at run time.
pub(super) fn task_type_of(node: &Node) -> Arc<str> {
    match (node.kind, node.task.task_type.as_str()) {
        (Kind::Fork | Kind::DynamicFork, _) => "FORK".into(),
        (_, "SIMPLE" | "") => node.name.clone(),
        (_, other) => other.into(),
    }
}

/// The input as it is stored and shown: resolved parameters, with what some types add to them.
pub(super) fn shown_input(node: &Node, input: Json, view: &View<'_>) -> Json {
    match node.kind {
        Kind::SubWorkflow => sub_workflow::shown_input(node, &input, view),
        Kind::DoWhile => do_while::shown_input(node, input, view),
        Kind::Dispatched if node.task.task_type == "EVENT" => {
            event::shown_input(node, &input, view)
        }
        _ => input,
    }
}
