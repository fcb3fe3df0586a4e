//! What the tasks of a run were answered, out of the run as the server shows it: answers for tests and
//! for replays.

use kernel::graph::{Awaits, Kind};
use serde_json::{Map, Value};

/// What somebody outside answered a task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recorded {
    /// The reference name of the task, with the number of its iteration.
    pub(crate) reference: String,
    /// The task ends by a signal: of a person, a webhook, another run.
    pub(crate) signalled: bool,
    /// What was answered.
    pub(crate) end: End,
    /// Milliseconds from its start to its end.
    pub(crate) took: i64,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// With an output.
    Output(Map<String, Value>),
    /// It failed, with an output, and why; `terminal: …` for good.
    Failed(String, Map<String, Value>),
    /// It was not answered: it timed out, or was given up.
    Never,
}

/// The answers of all tasks of a run, in the order in which they were scheduled.
pub(crate) fn answers(run: &Value) -> Vec<Recorded> {
    run["tasks"].as_array().into_iter().flatten().filter_map(answer).collect()
}

/// Whether tasks of a type act outside the run, so that they are answered from there.
pub(crate) fn acts_outside(task_type: &str) -> bool {
    Kind::of(task_type).awaits() != Awaits::Engine && !task_type.is_empty()
}

/// The answer of a task; `None` if nobody outside gives one, or has not yet.
fn answer(task: &Value) -> Option<Recorded> {
    let kind = text_of(&task["taskType"]);
    let input = &task["inputData"];
    if !acts_outside(kind)
        || kind == "WAIT" && (input.get("duration").is_some() || input.get("until").is_some())
    {
        return None;
    }
    let reason = text_of(&task["reasonForIncompletion"]);
    let output = || task["outputData"].as_object().cloned().unwrap_or_default();
    let end = match text_of(&task["status"]) {
        "COMPLETED" | "SKIPPED" => End::Output(output()),
        // An optional task that failed, which the engine makes of it again.
        "FAILED" | "COMPLETED_WITH_ERRORS" => End::Failed(reason.to_owned(), output()),
        "FAILED_WITH_TERMINAL_ERROR" => End::Failed(format!("terminal: {reason}"), output()),
        "TIMED_OUT" | "CANCELED" => End::Never,
        _ => return None,
    };
    let took = millis(task, "endTime").zip(millis(task, "startTime"));
    Some(Recorded {
        reference: text_of(&task["referenceTaskName"]).to_owned(),
        signalled: Kind::of(kind).awaits() == Awaits::Signal,
        end,
        took: took.map_or(0, |(end, start)| end - start).max(0),
    })
}

/// When a run began, in milliseconds.
pub(crate) fn begun(run: &Value) -> Option<i64> {
    millis(run, "createTime").or_else(|| millis(run, "startTime"))
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A time in milliseconds, as the server writes it; 0 is none.
fn millis(value: &Value, name: &str) -> Option<i64> {
    let value = &value[name];
    let parsed =
        || value.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    value.as_i64().or_else(parsed).filter(|at| *at > 0)
}
