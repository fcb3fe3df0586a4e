//! What happens, as text: for whoever reads the trace of a failing seed, and for comparing states.

use std::fmt::Write as _;

use kernel::graph::{Event, Execution, Input};
use kernel::{Decision, Rejected, Timestamp};

/// Everything that an execution shows, as text.
pub(crate) fn dump(state: &Execution, now: Timestamp) -> String {
    if !state.is_started() {
        return "not begun".to_owned();
    }
    let mut text = format!(
        "{} {} {} {:?} {:?} {:?} {:?} {:?} {:?}\n",
        state.status.as_str(),
        state.output,
        state.variables,
        state.created_at,
        state.updated_at,
        state.ended_at,
        state.retried_at,
        state.reason,
        state.wake_at(),
    );
    for task in state.tasks() {
        let latest = state.latest(&task.reference).map(|latest| latest.sequence);
        writeln!(text, "{task:?} latest {latest:?}").expect("a string takes all");
    }
    writeln!(text, "{:?}", state.waiting(now)).expect("a string takes all");
    text
}

/// The name of an event as histories write it.
pub(crate) fn kind_of(event: &Event) -> String {
    match serde_json::to_value(event) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(members)) => {
            members.into_iter().next().map(|(name, _)| name).unwrap_or_default()
        }
        _ => String::new(),
    }
}

pub(crate) fn shown(decided: &Result<Decision<Event>, Rejected>) -> String {
    match decided {
        Ok(decision) => {
            let events = serde_json::to_string(&decision.events).expect("events serialize");
            format!("{events} {:?}", decision.effects)
        }
        Err(rejected) => format!("{rejected:?}"),
    }
}

pub(crate) fn short(input: &Input) -> String {
    match input {
        Input::Start(_) => "start".to_owned(),
        Input::Branch(branch) => format!("branch off {} at {}", branch.original.id, branch.at),
        Input::Wake => "wake".to_owned(),
        Input::Claim { sequence, .. } => format!("claim {sequence}"),
        Input::Report(report) => format!("report {} {:?}", report.sequence, report.verdict),
        Input::Extend { sequence } => format!("extend {sequence}"),
        Input::Message(message) => {
            format!("message {}", serde_json::to_string(message).unwrap_or_default())
        }
        Input::Post(post) => format!("post {}", post.id),
        Input::Control(control) => format!("control {control:?}").chars().take(120).collect(),
        Input::Batched(batched) => {
            format!("batched {:?}", batched.control).chars().take(120).collect()
        }
    }
}
