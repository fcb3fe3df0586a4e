//! Instances of code: what workers run as orchestrators, by their names.
//!
//! Payloads are texts that workers wrote. They are shown as the JSON that they are, or else as texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Engine, Error};
use kernel::durable::instance::{Input, Instance, Start};
use kernel::durable::{Call, Fact, FailureDetails, Status, TraceContext};
use kernel::{ExecutionId, Json, Rejected};
use serde_json::json;

use super::refusal::Refusal;
use super::status::{HistoryEvent, RuntimeStatus, Standing, Wishes};
use crate::problem::Problem;

/// Whom a start comes from.
pub(super) struct From {
    /// As whom the instance acts.
    pub(super) acts_as: Option<Arc<str>>,
    /// The span of which it is part.
    pub(super) trace: Option<TraceContext>,
}

/// Starts an instance under an id of the caller's, or a new one; what has ended under that id gives
/// way to it.
///
/// # Errors
/// 409 if an instance of that id has not ended.
pub(super) async fn start(
    engine: &Engine,
    hub: &str,
    name: &str,
    version: Option<&str>,
    id: Option<&str>,
    input: &Json,
    from: From,
) -> Result<String, Problem> {
    let input = (!input.is_null()).then(|| Arc::from(input.text()));
    let start = Start {
        version: version.map(Arc::from),
        replaces: Start::closed_statuses(),
        acts_as: from.acts_as,
        trace: from.trace,
        ..Start::new(name, input, Engine::new_execution_id())
    };
    Ok(engine.start_instance(hub, id, start).await?.local_name().to_owned())
}

/// Frees an id for something of another dialect: what has ended under it is removed.
///
/// # Errors
/// 409 if it has not ended.
pub(super) async fn give_way(engine: &Engine, id: &ExecutionId) -> Result<(), Problem> {
    match engine.instance(id, |state| state.status).await? {
        None => Ok(()),
        Some(status) if status.is_closed() => {
            engine.purge_instance(id, false).await?;
            Ok(())
        }
        Some(status) => Err(Problem::conflict(format!(
            "An instance with ID '{}' exists already and is {status}.",
            id.local_name()
        ))),
    }
}

/// Where an instance stands.
pub(super) fn runtime_status(status: Status) -> RuntimeStatus {
    match status {
        Status::Pending => RuntimeStatus::Pending,
        Status::Running => RuntimeStatus::Running,
        Status::Suspended => RuntimeStatus::Suspended,
        Status::Completed => RuntimeStatus::Completed,
        Status::Failed => RuntimeStatus::Failed,
        Status::Canceled => RuntimeStatus::Canceled,
        Status::Terminated => RuntimeStatus::Terminated,
    }
}

/// A payload as JSON.
pub(crate) fn payload(text: Option<&Arc<str>>) -> Json {
    let Some(text) = text else { return Json::null() };
    Json::from_text(text.trim().to_owned()).unwrap_or_else(|_| Json::of(text))
}

/// An instance as it is shown.
pub(super) fn standing(state: &Instance, wishes: Wishes) -> Standing {
    let start = state.start.as_deref();
    let input = start.and_then(|start| start.input.as_ref()).filter(|_| wishes.input);
    let failure = state.failure.as_deref().map(told);
    Standing {
        name: start.map(|start| start.name.to_string()).unwrap_or_default(),
        instance_id: state.id.local_name().to_owned(),
        runtime_status: runtime_status(state.status),
        input: payload(input),
        custom_status: payload(state.custom_status.as_ref().filter(|text| !text.is_empty())),
        output: match (&state.output, failure) {
            (Some(output), _) => payload(Some(output)),
            (None, Some(failure)) => Json::of(&failure),
            (None, None) => Json::null(),
        },
        created_time: state.created_at,
        last_updated_time: state.updated_at,
        history_events: (wishes.history && state.status != Status::Pending)
            .then(|| history(state, wishes)),
        waiting: None,
    }
}

/// A failure in a sentence.
pub(crate) fn told(failure: &FailureDetails) -> String {
    match (&*failure.error_type, &*failure.message) {
        ("", message) => message.to_owned(),
        (kind, message) => format!("{kind}: {message}"),
    }
}

/// What the orchestrator asked for, until its answer is met.
struct Asked<'a> {
    at: kernel::Timestamp,
    call: Option<&'a Call>,
}

/// The history of an instance: what was asked for and what came of it are one event.
fn history(state: &Instance, wishes: Wishes) -> Vec<HistoryEvent> {
    let facts = state.history.iter().chain(&state.inbox);
    let mut asked: BTreeMap<i32, Asked<'_>> = BTreeMap::new();
    let mut open: BTreeMap<i32, usize> = BTreeMap::new();
    let mut shown: Vec<Option<HistoryEvent>> = Vec::new();
    for event in facts {
        let answered = match &event.fact {
            Fact::TaskScheduled(call) | Fact::SubOrchestrationCreated { call, .. } => {
                asked.insert(event.id, Asked { at: event.at, call: Some(&**call) });
                open.insert(event.id, shown.len());
                None
            }
            Fact::TimerCreated { .. } => {
                asked.insert(event.id, Asked { at: event.at, call: None });
                open.insert(event.id, shown.len());
                None
            }
            Fact::TaskCompleted { task, .. }
            | Fact::TaskFailed { task, .. }
            | Fact::SubOrchestrationCompleted { task, .. }
            | Fact::SubOrchestrationFailed { task, .. }
            | Fact::TimerFired { timer: task, .. } => {
                if let Some(at) = open.remove(task) {
                    shown[at] = None;
                }
                asked.get(task)
            }
            _ => None,
        };
        shown.push(of_event(event, answered, wishes));
    }
    shown.into_iter().flatten().collect()
}

/// An event as it is shown; `None` for those that only workers need.
fn of_event(
    event: &kernel::durable::HistoryEvent,
    asked: Option<&Asked<'_>>,
    wishes: Wishes,
) -> Option<HistoryEvent> {
    let at = |event_type| HistoryEvent::at(event.at, event_type);
    let input = |text: &Option<Arc<str>>| wishes.input.then(|| payload(text.as_ref()));
    let result = |text: &Option<Arc<str>>| wishes.history_output.then(|| payload(text.as_ref()));
    let call_of = |call: &Call| (Some(call.name.to_string()), input(&call.input));
    let (function_name, asked_input) =
        asked.and_then(|asked| asked.call).map(call_of).unwrap_or_default();
    let answer = |event_type| HistoryEvent {
        function_name,
        input: asked_input,
        scheduled_time: asked.map(|asked| asked.at),
        ..at(event_type)
    };
    let scheduled = |event_type, call: &Call| {
        let (function_name, input) = call_of(call);
        HistoryEvent { function_name, input, ..at(event_type) }
    };
    let named =
        |event_type, name: &str| HistoryEvent { name: Some(name.to_owned()), ..at(event_type) };
    Some(match &event.fact {
        Fact::OrchestratorStarted => return None,
        Fact::ExecutionStarted(started) => HistoryEvent {
            function_name: Some(started.name.to_string()),
            input: input(&started.input),
            ..at("ExecutionStarted")
        },
        Fact::ExecutionCompleted(completed) => HistoryEvent {
            orchestration_status: Some(runtime_status(completed.outcome.into()).as_str()),
            result: result(&completed.result),
            reason: completed.failure.as_deref().map(told),
            ..at("ExecutionCompleted")
        },
        Fact::ExecutionTerminated { input: given, .. } => {
            HistoryEvent { input: input(given), ..at("ExecutionTerminated") }
        }
        Fact::ExecutionSuspended { input: reason } => HistoryEvent {
            reason: reason.as_deref().map(str::to_owned),
            ..at("ExecutionSuspended")
        },
        Fact::ExecutionResumed { input: reason } => {
            HistoryEvent { reason: reason.as_deref().map(str::to_owned), ..at("ExecutionResumed") }
        }
        Fact::ExecutionRewound(_) => at("ExecutionRewound"),
        Fact::TaskScheduled(call) => scheduled("TaskScheduled", call),
        Fact::TaskCompleted { result: given, .. } => {
            HistoryEvent { result: result(given), ..answer("TaskCompleted") }
        }
        Fact::TaskFailed { failure, .. } => {
            HistoryEvent { reason: Some(told(failure)), ..answer("TaskFailed") }
        }
        Fact::SubOrchestrationCreated { call, .. } => {
            scheduled("SubOrchestrationInstanceCreated", call)
        }
        Fact::SubOrchestrationCompleted { result: given, .. } => {
            HistoryEvent { result: result(given), ..answer("SubOrchestrationInstanceCompleted") }
        }
        Fact::SubOrchestrationFailed { failure, .. } => {
            HistoryEvent { reason: Some(told(failure)), ..answer("SubOrchestrationInstanceFailed") }
        }
        Fact::TimerCreated { fire_at } => {
            HistoryEvent { fire_at: Some(*fire_at), ..at("TimerCreated") }
        }
        Fact::TimerFired { fire_at, .. } => {
            HistoryEvent { fire_at: Some(*fire_at), ..answer("TimerFired") }
        }
        Fact::EventSent { name, input: given, .. } => {
            HistoryEvent { input: input(given), ..named("EventSent", name) }
        }
        Fact::EventRaised { name, input: given } => {
            HistoryEvent { input: input(given), ..named("EventRaised", name) }
        }
        Fact::EntitySignaled(operation) => named("EntityOperationSignaled", &operation.operation),
        Fact::EntityCalled(operation) => named("EntityOperationCalled", &operation.operation),
        Fact::EntityLockRequested(_) => at("EntityLockRequested"),
        Fact::EntityLockGranted { .. } => at("EntityLockGranted"),
        Fact::EntityUnlockSent(_) => at("EntityUnlockSent"),
        Fact::EntityOperationCompleted { output, .. } => {
            HistoryEvent { result: result(output), ..at("EntityOperationCompleted") }
        }
        Fact::EntityOperationFailed { failure, .. } => {
            HistoryEvent { reason: Some(told(failure)), ..at("EntityOperationFailed") }
        }
    })
}

/// Tells an instance of something.
///
/// # Errors
/// 410 if it has ended meanwhile; 500 for what does not fit where it stands.
pub(super) async fn act(engine: &Engine, id: &ExecutionId, input: Input) -> Result<(), Refusal> {
    match engine.step(id, input).await {
        Err(Error::Rejected(Rejected::Stale(why))) => {
            Err(Refusal::new(axum::http::StatusCode::GONE, why))
        }
        Err(Error::Rejected(Rejected::Conflict(why) | Rejected::Forbidden(why))) => {
            Err(Refusal::wrong(why))
        }
        result => result.map_err(Refusal::from),
    }
}

/// What raises an event.
pub(super) fn raise(event: &str, data: &Json) -> Input {
    Input::Raise { name: event.into(), input: Some(data.text().into()) }
}

/// What ends an instance, and what it has started and waits for.
pub(super) fn terminate(reason: Option<Arc<str>>) -> Input {
    // A payload, which workers and clients read as JSON.
    let output = reason.map(|reason| json!(reason).to_string().into());
    Input::Terminate { output, recurse: true, at_once: false }
}

/// The statuses that stand for these of the protocol.
pub(super) fn statuses(wanted: &[RuntimeStatus]) -> Vec<Status> {
    let all = Status::ALL.into_iter();
    all.filter(|status| wanted.contains(&runtime_status(*status))).collect()
}
