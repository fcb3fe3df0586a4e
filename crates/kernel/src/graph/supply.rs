//! What a new task is supplied with: its queue, its defaults, and the reason if that is too much.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::execution::Task;
use super::object::merged;
use super::scope::View;
use crate::definition::TaskDef;
use crate::expression::{Overrun, Template};
use crate::json::Json;

/// The queue that a task waits in.
pub(super) fn queue_of(task: &Task, policy: Option<&TaskDef>) -> Arc<str> {
    let mut queue = String::new();
    if let Some(domain) = &task.domain {
        queue.push_str(domain);
        queue.push(':');
    }
    queue.push_str(&task.task_type);
    let space = policy.and_then(|policy| policy.execution_name_space.as_deref());
    if let Some(space) = space.filter(|space| !space.is_empty()) {
        queue.push('@');
        queue.push_str(space);
    }
    let group = policy.and_then(|policy| policy.isolation_group_id.as_deref());
    if let Some(group) = group.filter(|group| !group.is_empty()) {
        queue.push('-');
        queue.push_str(group);
    }
    queue.into()
}

/// Why something is not made that would be too large, or too much work.
pub(super) fn overran(what: &str, overrun: Overrun) -> String {
    match overrun {
        Overrun::Size(limit) => format!(
            "the {what} of more than {limit} bytes exceeds the limit of {limit} bytes (payload_max)"
        ),
        Overrun::Work(_) => format!(
            "the {what} is too much work: {overrun}; name smaller values, or raise payload_max"
        ),
    }
}

/// Fills in the task definition's defaults: for what is absent, or written as null, resolved like
/// any parameter, for what resolved to null as they stand.
pub(super) fn with_template(
    input: &Json,
    policy: &TaskDef,
    view: &View<'_>,
    is_null_as_written: &dyn Fn(&str) -> bool,
) -> Result<Json, Overrun> {
    if policy.input_template.is_empty() {
        return Ok(input.clone());
    }
    let Value::Object(mut members) = input.parse() else { return Ok(input.clone()) };
    // All of them together, so that together they are bounded.
    let mut rendered = Map::new();
    for (name, default) in &policy.input_template {
        if members.get(name).is_some_and(|value| !value.is_null()) {
            continue;
        }
        if !members.contains_key(name) || is_null_as_written(name) {
            rendered.insert(name.clone(), default.clone());
        } else {
            members.insert(name.clone(), default.clone());
        }
    }
    let rendered = Template::compile(&Value::Object(rendered)).try_render(view)?;
    Ok(merged(&Json::of(&members), &rendered))
}
