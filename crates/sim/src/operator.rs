//! People who pause, end and undo what runs, at the worst moments.

use kernel::ExecutionId;
use kernel::graph::{Amendment, Control, Execution, Input, Status};
use serde_json::json;

use crate::auditor::Objection;
use crate::random::Random;
use crate::world::World;

/// Something is done to some execution.
pub(crate) fn act(world: &mut World<'_>) -> Result<(), Objection> {
    let ids: Vec<ExecutionId> = world.store.executions.keys().cloned().collect();
    let Some(id) = world.random.pick(&ids).cloned() else { return Ok(()) };
    let mut random = world.random.split();
    let Some(control) = choose(world.state(&id)?, &mut random) else { return Ok(()) };
    world.step(&id, &Input::Control(control), None)?;
    Ok(())
}

/// What is done to an execution that stands so, if anything.
pub(crate) fn choose(state: &Execution, random: &mut Random) -> Option<Control> {
    if !state.is_started() {
        return None;
    }
    let closed = state.status.is_closed();
    let tasks: Vec<u32> = state.tasks().map(|task| task.sequence).collect();
    Some(match random.below(if closed { 6 } else { 9 }) {
        0 | 1 if closed => Control::Retry { descend: random.chance(50) },
        2 if closed => Control::Restart { plan: None, input: None, correlation_id: None },
        3 | 4 if closed => {
            let sequence = random.pick(&tasks).copied()?;
            let input = random.chance(20).then(|| kernel::Json::of(&json!({ "rerun": true })));
            let amendment = Amendment::default();
            Control::Rerun { sequence, input, amendment }
        }
        0 | 1 => Control::Pause,
        2 | 3 => Control::Resume,
        4 => {
            let failure_workflow = random.chance(30);
            Control::Terminate { reason: None, failure_workflow }
        }
        5 => Control::Terminate { reason: None, failure_workflow: false },
        6 => Control::ResetCallbacks,
        7 => Control::SetVariables { set: kernel::Json::of(&json!({ "by": "operator" })) },
        _ => {
            let plan = state.plan().clone();
            let names = references(&plan.text);
            let reference = random.pick(&names).cloned()?;
            Control::Skip { reference: reference.into(), input: None, output: None }
        }
    })
}

/// Reference names of places that can be passed over: those that start nothing else.
fn references(plan: &str) -> Vec<String> {
    fn collect(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                let text = |key: &str| members.get(key).and_then(|value| value.as_str());
                if let (Some(reference), Some(task_type)) =
                    (text("taskReferenceName"), text("type"))
                    && matches!(task_type, "SIMPLE" | "INLINE" | "WAIT" | "SUB_WORKFLOW" | "SWITCH")
                {
                    found.push(reference.to_owned());
                }
                members.iter().filter(|(key, _)| *key != "inputParameters").for_each(
                    |(_, value)| {
                        collect(value, found);
                    },
                );
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(plan).unwrap_or_default(), &mut found);
    found
}

/// A paused execution goes on.
pub(crate) fn resume(world: &mut World<'_>, id: &ExecutionId) -> Result<(), Objection> {
    if world.state(id)?.status == Status::Paused {
        world.step(id, &Input::Control(Control::Resume), None)?;
    }
    Ok(())
}
