//! Executions of graphs as instances: any registered definition is started, watched and steered
//! through this API.
//!
//! | here | of an execution |
//! |---|---|
//! | `runtimeStatus` | RUNNING: Running, or Pending while it waits for a place at its rate limit; PAUSED: Suspended; FAILED and `TIMED_OUT`: Failed |
//! | `customStatus` | its variable `customStatus`, which `SET_VARIABLE` tasks write |
//! | `output` | its output; of one that failed or was ended, the reason, unless a TERMINATE task wrote one |
//! | an event | ends the WAIT, HUMAN or YIELD task of that reference name, or is left in the inbox |
//! | rewind | tries its failed tasks again, those of sub-workflows too |
//! | a task hub | all see all executions |

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use engine::search::{Filter, TextField};
use engine::{Engine, Error};
use kernel::graph::{
    Awaits, Control, Execution, Input, Kind, Post, Report, Start, Status, Task, TaskStatus, Verdict,
};
use kernel::{ExecutionId, Json, Rejected, Timestamp};
use serde_json::json;

use super::refusal::Refusal;
use super::status::{HistoryEvent, RuntimeStatus, Standing, Wishes};
use crate::problem::Problem;
use crate::rest::workflow::{StartRequest, begin, begin_as, checked_aside};

/// The variable that is shown as `customStatus`.
const CUSTOM_STATUS: &str = "customStatus";

/// Starts an execution under an id of the caller's, or a new one. What has ended under that id
/// gives way to it.
///
/// # Errors
/// 409 if an execution of that id has not ended; what is wrong with the start.
pub(super) async fn start(
    engine: &Engine,
    request: StartRequest,
    id: Option<ExecutionId>,
) -> Result<ExecutionId, Problem> {
    let Some(id) = id else { return begin(engine, request).await };
    // Everything is looked at before anything is removed.
    let (request, _) = checked_aside(engine, request).await?;
    give_way(engine, &id).await?;
    match begin_as(engine, request, &id).await {
        // Somebody else was quicker.
        Err(problem) if problem.status == StatusCode::CONFLICT => Err(taken(&id, Status::Running)),
        result => result.map(|()| id),
    }
}

/// Frees an id: what has ended under it is removed.
///
/// # Errors
/// 409 if it has not ended.
pub(super) async fn give_way(engine: &Engine, id: &ExecutionId) -> Result<(), Problem> {
    match engine.read(id, |state| state.status).await? {
        None => Ok(()),
        Some(status) if status.is_closed() => {
            engine.remove(id).await?;
            Ok(())
        }
        Some(status) => Err(taken(id, status)),
    }
}

fn taken(id: &ExecutionId, status: Status) -> Problem {
    let status = status.as_str();
    Problem::conflict(format!("An instance with ID '{id}' exists already and is {status}."))
}

/// Where an execution stands.
pub(super) fn runtime_status(state: &Execution) -> RuntimeStatus {
    match state.status {
        Status::Running if state.is_held_back() => RuntimeStatus::Pending,
        Status::Running => RuntimeStatus::Running,
        Status::Paused => RuntimeStatus::Suspended,
        Status::Completed => RuntimeStatus::Completed,
        Status::Failed | Status::TimedOut => RuntimeStatus::Failed,
        Status::Terminated => RuntimeStatus::Terminated,
    }
}

/// What an execution tells of itself while it runs.
pub(crate) fn custom_status(state: &Execution) -> Json {
    let variables = state.shown(&state.variables);
    let members: BTreeMap<String, Json> =
        serde_json::from_str(variables.text()).unwrap_or_default();
    members.get(CUSTOM_STATUS).cloned().unwrap_or_else(Json::null)
}

/// What came of an execution; `null` while it runs.
pub(super) fn output(state: &Execution) -> Json {
    if !state.status.is_closed() {
        return Json::null();
    }
    let output = state.shown(&state.output);
    match &state.reason {
        Some(reason) if state.status != Status::Completed && !is_meant(state, &output) => {
            Json::of(reason)
        }
        _ => output,
    }
}

/// Whether the output of what did not complete was written for that: by a TERMINATE task. Other
/// outputs are what was there when it was ended half-way, and say nothing of why.
fn is_meant(state: &Execution, output: &Json) -> bool {
    let members: Option<BTreeMap<String, Json>> = serde_json::from_str(output.text()).ok();
    let says = members.is_none_or(|members| !members.values().all(Json::is_null));
    says && state.tasks().any(|task| task.kind == Kind::Terminate)
}

/// An execution as an instance.
pub(super) fn standing(state: &Execution, wishes: Wishes) -> Standing {
    let input = || state.shown(&state.input);
    Standing {
        name: state.plan().definition.name.clone(),
        instance_id: state.id.to_string(),
        runtime_status: runtime_status(state),
        input: if wishes.input { input() } else { Json::null() },
        custom_status: custom_status(state),
        output: output(state),
        created_time: state.created_at,
        last_updated_time: state.updated_at,
        history_events: wishes.history.then(|| history(state, wishes)),
        waiting: None,
    }
}

/// The history of an execution: its begin, what its tasks came to, its end.
fn history(state: &Execution, wishes: Wishes) -> Vec<HistoryEvent> {
    let begun = HistoryEvent {
        function_name: Some(state.plan().definition.name.clone()),
        input: wishes.input.then(|| state.shown(&state.input)),
        ..HistoryEvent::at(state.created_at, "ExecutionStarted")
    };
    let mut events = vec![begun];
    // What control flow decides leaves no event of its own.
    let mut tasks: Vec<&Task> = state.tasks().filter(|task| is_told(task)).collect();
    tasks.sort_by_key(|task| (task.ended_at.unwrap_or(Timestamp::MAX), task.sequence));
    events.extend(tasks.into_iter().map(|task| of_task(state, task, wishes)));
    if let Some(ended_at) = state.ended_at.filter(|_| state.status.is_closed()) {
        events.push(HistoryEvent {
            orchestration_status: Some(runtime_status(state).as_str()),
            result: wishes.history_output.then(|| output(state)),
            ..HistoryEvent::at(ended_at, "ExecutionCompleted")
        });
    }
    events
}

fn is_told(task: &Task) -> bool {
    matches!(
        task.kind,
        Kind::Dispatched
            | Kind::Inline
            | Kind::Lambda
            | Kind::Jq
            | Kind::SubWorkflow
            | Kind::StartWorkflow
            | Kind::Wait
            | Kind::Human
            | Kind::Yield
            | Kind::Webhook
    )
}

fn of_task(state: &Execution, task: &Task, wishes: Wishes) -> HistoryEvent {
    let ended_at = task.ended_at.filter(|_| task.status.is_closed());
    let event_type = match (task.kind, ended_at) {
        (Kind::Wait, None) if task.until.is_some() => "TimerCreated",
        (Kind::Wait, Some(_)) if task.until.is_some() => "TimerFired",
        (kind, None) if kind.awaits() == Awaits::Signal => "EventAwaited",
        (kind, Some(_)) if kind.awaits() == Awaits::Signal => "EventRaised",
        (Kind::SubWorkflow, None) => "SubOrchestrationInstanceCreated",
        (Kind::SubWorkflow, Some(_)) if task.status.is_success() => {
            "SubOrchestrationInstanceCompleted"
        }
        (Kind::SubWorkflow, Some(_)) => "SubOrchestrationInstanceFailed",
        (_, None) => "TaskScheduled",
        (_, Some(_)) if task.status.is_success() => "TaskCompleted",
        (_, Some(_)) => "TaskFailed",
    };
    let is_event = matches!(event_type, "EventRaised" | "EventAwaited");
    let is_timer = matches!(event_type, "TimerFired" | "TimerCreated");
    let shows_output = wishes.history_output && ended_at.is_some() && !is_timer;
    HistoryEvent {
        function_name: (!is_event && !is_timer).then(|| task.name.to_string()),
        name: is_event.then(|| task.reference.to_string()),
        input: (wishes.input && !is_event && !is_timer).then(|| state.shown(&task.input)),
        result: shows_output.then(|| state.shown(&state.output_of(task))),
        reason: task.reason.as_ref().filter(|_| task.status.is_failure()).map(ToString::to_string),
        fire_at: task.until.filter(|_| is_timer),
        scheduled_time: ended_at.map(|_| task.scheduled_at),
        ..HistoryEvent::at(ended_at.unwrap_or(task.scheduled_at), event_type)
    }
}

/// What a client means whose words were written as JSON twice: a text that is an object, or nothing,
/// is taken for that. Workflows have no other use for such a text.
pub(super) fn meant(data: Json) -> Json {
    let Ok(text) = serde_json::from_str::<String>(data.text()) else { return data };
    match Json::from_text(text.trim().to_owned()) {
        Ok(inner) if inner.is_object() || inner.is_null() => inner,
        _ => data,
    }
}

/// Tells an execution of an event: a task that waits for it takes it, or the inbox does.
///
/// # Errors
/// 410 if the execution has ended meanwhile; 409 if it is suspended and no task waits for the event;
/// 429 if the inbox is full.
pub(super) async fn raise(
    engine: &Engine,
    id: &ExecutionId,
    event: &str,
    data: Json,
) -> Result<(), Refusal> {
    let data = meant(data);
    while let Some(sequence) = engine.read(id, |state| awaiting(state, event)).await?.flatten() {
        let output = match &data {
            data if data.is_object() => data.clone(),
            data if data.is_null() => Json::empty_object(),
            data => Json::of(&json!({ "value": data.raw() })),
        };
        let report = Report {
            sequence,
            verdict: Verdict::Done(TaskStatus::Completed),
            output: Some(output),
            merge: true,
            reason: None,
            worker: None,
            started_at: None,
            metadata: None,
        };
        match engine.step(id, Input::Report(Box::new(report))).await {
            // Ended meanwhile; another may wait for the same.
            Err(Error::Rejected(Rejected::Stale(_))) => {}
            result => return result.map_err(Refusal::from),
        }
    }
    let payload = Json::of(&json!({ "event": event, "data": data.raw() }));
    let post = Post { id: Engine::new_id().as_str().into(), payload };
    match engine.step(id, Input::Post(post)).await {
        Err(error @ Error::Rejected(Rejected::Conflict(_) | Rejected::Stale(_))) => {
            match engine.read(id, runtime_status).await? {
                Some(status) if status.is_closed() => {
                    Err(Refusal::gone(id.as_str(), status.as_str()))
                }
                _ => Err(error.into()),
            }
        }
        result => result.map_err(Refusal::from),
    }
}

/// The task that an event ends.
fn awaiting(state: &Execution, event: &str) -> Option<u32> {
    let waits =
        |task: &&Task| matches!(task.kind, Kind::Wait | Kind::Human | Kind::Yield) && task.begun;
    let named = |task: &&Task| {
        task.reference.eq_ignore_ascii_case(event)
            || state.node_of(task).reference.eq_ignore_ascii_case(event)
    };
    state.open_tasks().filter(waits).find(named).map(|task| task.sequence)
}

/// What can be done to an execution.
pub(super) async fn act(
    engine: &Engine,
    id: &ExecutionId,
    control: Control,
) -> Result<(), Refusal> {
    match engine.step(id, Input::Control(control)).await {
        // It is not in a state for this, which the protocol has no word for.
        Err(Error::Rejected(Rejected::Conflict(why) | Rejected::Forbidden(why))) => {
            Err(Refusal::wrong(why))
        }
        result => result.map_err(Refusal::from),
    }
}

/// Starts what an execution was started with, under another id; answers that.
pub(super) async fn start_again(
    engine: &Engine,
    id: &ExecutionId,
    acts_as: Option<Arc<str>>,
) -> Result<Option<ExecutionId>, Refusal> {
    let look = |state: &Execution| Start {
        plan: state.plan().clone(),
        input: state.input.clone(),
        correlation_id: state.correlation_id.clone(),
        priority: state.priority,
        task_to_domain: state.task_to_domain.clone(),
        parent: None,
        asked_by: None,
        event: None,
        created_by: state.created_by.clone(),
        acts_as,
        idempotency_key: None,
        traceparent: None,
    };
    let Some(start) = engine.read(id, look).await? else { return Ok(None) };
    Ok(Some(engine.begin(start, None).await?.id().clone()))
}

/// The statuses that stand for these of the protocol.
pub(super) fn statuses(wanted: &[RuntimeStatus]) -> Filter {
    let words = Status::ALL.into_iter().filter(|status| {
        let shown: &[RuntimeStatus] = match status {
            // Which of the two, only the execution itself tells.
            Status::Running => &[RuntimeStatus::Running, RuntimeStatus::Pending],
            Status::Paused => &[RuntimeStatus::Suspended],
            Status::Completed => &[RuntimeStatus::Completed],
            Status::Failed | Status::TimedOut => &[RuntimeStatus::Failed],
            Status::Terminated => &[RuntimeStatus::Terminated],
        };
        wanted.iter().any(|wanted| shown.contains(wanted))
    });
    Filter::In(TextField::Status, words.map(|status| status.as_str().to_owned()).collect())
}

/// The reason of a control operation.
pub(super) fn reason(text: Option<&str>) -> Option<Arc<str>> {
    text.filter(|text| !text.is_empty()).map(Arc::from)
}
