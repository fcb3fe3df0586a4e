//! DYNAMIC: a task that becomes what its input names, a task of workers or one of the engine's types.

use std::sync::Arc;

use super::super::context::Context;
use super::super::plan::{Kind, Node};
use super::super::schema;
use crate::definition::TaskDef;
use crate::json::Json;

/// The type that the task becomes, and the definition registered under that name.
///
/// A name that nobody has registered is that of a task for workers, without retries and timeouts.
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
    let kind = Kind::of(name);
    if kind.is_control() || kind == Kind::Dynamic {
        return Err(format!(
            "DYNAMIC task '{}' names '{name}', a type that steers other tasks: it must stand in \
             the definition itself",
            node.reference
        ));
    }
    if kind != Kind::Dispatched {
        return Ok((name.into(), None));
    }
    let policy = context.world.task_def(name).map(|policy| {
        let mut policy = (*policy).clone();
        schema::resolve_task(&mut policy, &|name, version| context.world.schema(name, version));
        Box::new(policy)
    });
    Ok((name.into(), policy))
}

/// What a task does once it is scheduled, by what was resolved for a DYNAMIC one.
///
/// A recorded task definition means a task of workers, also under the name of an engine's type: so
/// did older builds run it, whose histories still fold.
pub(in super::super) fn kind_of(node: &Node, task_type: &str, policy: Option<&TaskDef>) -> Kind {
    match node.kind {
        Kind::Dynamic if policy.is_none() && !Kind::of(task_type).is_control() => {
            Kind::of(task_type)
        }
        Kind::Dynamic => Kind::Dispatched,
        kind => kind,
    }
}
