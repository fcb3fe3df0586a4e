//! Upgrading: a running execution obeys another version of its definition from where it stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::context::Context;
use super::super::draft::Draft;
use super::super::event::Event;
use super::super::execution::Execution;
use super::super::object::merged;
use super::super::plan::{BlockId, Plan};
use super::jump::pass_until;
use super::{Decided, closed};
use crate::json::Json;
use crate::machine::Rejected;

pub(super) fn upgrade(
    state: &mut Execution,
    plan: Arc<Plan>,
    input: Option<&Json>,
    outputs: &BTreeMap<Arc<str>, Json>,
    context: &Context<'_>,
) -> Decided {
    if state.status.is_closed() {
        return Err(closed(state));
    }
    let (present, next) = (&state.plan().definition.name, &plan.definition.name);
    if present != next {
        return Err(Rejected::Invalid(format!(
            "workflow {} is a '{present}' and cannot become a '{next}'",
            state.id
        )));
    }
    if let Some(unknown) = outputs.keys().find(|name| plan.node_named(name).is_none()) {
        return Err(Rejected::Invalid(format!(
            "version {} of '{next}' has no task '{unknown}' to give an output to",
            plan.definition.version
        )));
    }
    state.check_upgrade(&plan).map_err(Rejected::Conflict)?;
    let input = input.map(|set| merged(&state.input, set));
    if let Some(input) = &input
        && input.len() > context.limits.payload_max
    {
        let limit = context.limits.payload_max;
        return Err(Rejected::Invalid(format!(
            "the input would be {} bytes, more than the limit of {limit} (payload_max)",
            input.len()
        )));
    }
    let mut draft = Draft::new(state, context);
    obey(&mut draft, plan, input, outputs);
    draft.walk_all();
    Ok(draft.settle())
}

/// Puts a plan that fits under the state; what is new in it before where the flow has come is
/// skipped.
pub(super) fn obey(
    draft: &mut Draft<'_>,
    plan: Arc<Plan>,
    input: Option<Json>,
    outputs: &BTreeMap<Arc<str>, Json>,
) {
    draft.push(Event::Upgraded { plan: plan.into() });
    if input.is_some() {
        draft.push(Event::Amended { input, correlation_id: None });
    }
    for (block, (path, index)) in fronts(draft.state) {
        pass_until(draft, block, index, &path, outputs);
    }
}

/// How far the flow has come in each block: the place of the last task, in the latest iteration.
fn fronts(state: &Execution) -> BTreeMap<BlockId, (Vec<u32>, usize)> {
    let mut fronts: BTreeMap<BlockId, (Vec<u32>, usize)> = BTreeMap::new();
    for task in state.tasks() {
        let node = state.node_of(task);
        let here = (task.path.clone(), node.index);
        let front = fronts.entry(node.block).or_insert_with(|| here.clone());
        if here > *front {
            *front = here;
        }
    }
    fronts
}
