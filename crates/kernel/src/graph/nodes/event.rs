//! EVENT: what the task that publishes a message shows as its input.

use crate::expression::evaluate;
use crate::graph::object::ObjectText;
use crate::graph::plan::Node;
use crate::graph::scope::View;
use crate::json::Json;

/// The parameters, with the sink that the author wrote beside them and whether somebody else will
/// complete the task.
pub(super) fn shown_input(node: &Node, input: &Json, view: &View<'_>) -> Json {
    let mut object = ObjectText::new();
    let members = input.parse();
    let members = members.as_object().into_iter().flatten();
    for (name, value) in members.filter(|(name, _)| !is_ours(name)) {
        object.member(name, Json::of(value).text());
    }
    if let Some(sink) = &node.task.sink {
        object.member("sink", evaluate(sink, view).text());
    }
    object.member("asyncComplete", Json::of(&node.task.async_complete).text());
    object.finish()
}

fn is_ours(name: &str) -> bool {
    matches!(name, "sink" | "asyncComplete")
}
