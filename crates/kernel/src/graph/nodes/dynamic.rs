//! DYNAMIC: a task whose name the input tells.

use std::sync::Arc;

use super::super::context::Context;
use super::super::plan::Node;
use super::super::schema;
use crate::definition::TaskDef;
use crate::json::Json;

/// The type that the task becomes, and the definition registered under that name.
pub(in super::super) fn resolve(
    node: &Node,
    input: &Json,
    context: &Context<'_>,
) -> Result<(Arc<str>, Option<Box<TaskDef>>), String> {
    let parameter = node.task.dynamic_task_name_param.as_deref().unwrap_or_default();
    let input = input.parse();
    let name = input.get(parameter).and_then(|name| name.as_str()).unwrap_or_default().trim();
    if name.is_empty() {
        return Err(format!(
            "DYNAMIC task '{}': the input '{parameter}' must name the task to run",
            node.reference
        ));
    }
    match context.world.task_def(name) {
        Some(policy) => {
            let mut policy = (*policy).clone();
            schema::resolve_task(&mut policy, &|name, version| context.world.schema(name, version));
            Ok((name.into(), Some(Box::new(policy))))
        }
        None if context.world.is_builtin(name) => Ok((name.into(), None)),
        None => Err(format!(
            "DYNAMIC task '{}' names '{name}', for which no task definition is registered",
            node.reference
        )),
    }
}
