//! An orchestration as spans: one for each activity, child and timer of its last life, and one for the
//! instance. Payloads are in none of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::durable::instance::Instance;
use kernel::durable::{Fact, FailureDetails, Status};
use kernel::trace::{SpanId, TraceId, TraceParent};
use kernel::{ExecutionId, Timestamp};
use proto::otlp::{Span, SpanKind};

use super::spans::{self, NAME_MAX, cut, failed, text};

/// What there is to say about an instance beside the instance itself.
pub(super) struct About {
    /// Its trace.
    pub(super) trace: TraceId,
    /// The span of whatever waits for it.
    pub(super) parent: Option<SpanId>,
    /// Nothing that its history tells of was exported before, as with the end before a rewind.
    pub(super) is_all: bool,
}

/// The spans of an instance from a number on, at most so many, and whether these are its last.
pub(super) fn of(state: &Instance, about: &About, from: usize, most: usize) -> (Vec<Span>, bool) {
    let of_step = |step: &Step<'_>| step.span(state, about);
    let mut found: Vec<Span> =
        steps(state, about).iter().skip(from).take(most).map(of_step).collect();
    let is_whole = found.len() < most;
    if is_whole {
        found.push(of_instance(state, about));
    }
    (found, is_whole)
}

/// The span of what an orchestrator asked for, by the number of the action.
pub(super) fn of_action(state: &Instance, action: u32) -> SpanId {
    SpanId::of_action(&state.id, &life(state), action)
}

/// The name of the present life: another one after a restart, a rewind or a continue-as-new.
fn life(state: &Instance) -> Arc<str> {
    state.start.as_ref().map(|start| start.execution_id.clone()).unwrap_or_default()
}

/// What waits for an instance, if something does, and by what number: that of an action of another one, or
/// that of a task of a workflow.
pub(super) fn waiting(state: &Instance) -> Option<(ExecutionId, u32)> {
    let start = state.start.as_deref()?;
    let number = match &start.parent {
        Some(parent) => parent.task.unsigned_abs(),
        None => start.caller.as_ref()?.by.sequence,
    };
    Some((state.parent()?, number))
}

/// What an orchestrator asked for, and how it ended.
struct Step<'a> {
    action: i32,
    kind: &'static str,
    name: &'a str,
    child: Option<&'a str>,
    began: Timestamp,
    ended: Option<(Timestamp, Option<&'a FailureDetails>)>,
}

/// What is exported with the instance, in the order in which it was asked for. A timer that did not fire has
/// told nobody anything, and is left out.
fn steps<'a>(state: &'a Instance, about: &About) -> Vec<Step<'a>> {
    let (mut steps, mut places) = (Vec::new(), BTreeMap::new());
    let mut since = None;
    for event in state.history.iter().chain(&state.inbox) {
        let began = event.at;
        let mut asked = |kind, name, child| {
            places.insert(event.id, steps.len());
            steps.push(Step { action: event.id, kind, name, child, began, ended: None });
        };
        let (action, failure) = match &event.fact {
            Fact::TaskScheduled(call) => {
                asked("ACTIVITY", &*call.name, None);
                continue;
            }
            Fact::SubOrchestrationCreated { instance_id, call } => {
                asked("SUB_ORCHESTRATION", &*call.name, Some(&**instance_id));
                continue;
            }
            Fact::TimerCreated { .. } => {
                asked("TIMER", "timer", None);
                continue;
            }
            Fact::ExecutionRewound(_) => {
                since = Some(event.at).filter(|_| !about.is_all);
                continue;
            }
            Fact::TaskCompleted { task, .. }
            | Fact::SubOrchestrationCompleted { task, .. }
            | Fact::TimerFired { timer: task, .. } => (task, None),
            Fact::TaskFailed { task, failure } | Fact::SubOrchestrationFailed { task, failure } => {
                (task, Some(&**failure))
            }
            _ => continue,
        };
        let step: Option<&mut Step<'_>> = places.get(action).and_then(|at| steps.get_mut(*at));
        if let Some(step) = step.filter(|step| step.ended.is_none()) {
            step.ended = Some((event.at, failure));
        }
    }
    let has = |step: &Step<'_>| match step.ended {
        Some((at, _)) => since.is_none_or(|since| at >= since),
        None => step.kind != "TIMER",
    };
    steps.retain(has);
    steps
}

impl Step<'_> {
    fn span(&self, state: &Instance, about: &About) -> Span {
        let (ended, status, failure) = match self.ended {
            Some((at, None)) => (Some(at), "COMPLETED", None),
            Some((at, Some(failure))) => (Some(at), "FAILED", Some(told(failure))),
            // It was left to itself when the instance ended.
            None => (state.ended_at, "CANCELED", None),
        };
        let mut attributes = vec![
            text("nightbell.task.id", &format!("{}/{}", state.id, self.action)),
            text("nightbell.task.name", self.name),
            text("nightbell.task.type", self.kind),
            text("nightbell.task.status", status),
            text("nightbell.workflow.id", state.id.as_str()),
        ];
        attributes.extend(self.child.map(|child| text("nightbell.task.child", child)));
        Span {
            trace_id: about.trace.bytes().to_vec(),
            span_id: of_action(state, self.action.unsigned_abs()).bytes().to_vec(),
            parent_span_id: SpanId::of_instance(&state.id, &life(state)).bytes().to_vec(),
            name: cut(named(self.name), NAME_MAX).to_owned(),
            kind: SpanKind::Internal.into(),
            ..spans::span(self.began, ended, attributes, failure.as_deref().map(failed))
        }
    }
}

fn of_instance(state: &Instance, about: &About) -> Span {
    let name = state.start.as_ref().map(|start| start.name.clone()).unwrap_or_default();
    let mut attributes = vec![
        text("nightbell.workflow.id", state.id.as_str()),
        text("nightbell.workflow.name", &name),
        text("nightbell.workflow.status", state.status.as_str()),
        text("nightbell.workflow.type", "ORCHESTRATION"),
    ];
    let start = state.start.as_deref();
    let version = start.and_then(|start| start.version.as_deref());
    attributes.extend(version.map(|version| text("nightbell.workflow.version", version)));
    let parent = state.parent();
    attributes.extend(parent.map(|parent| text("nightbell.workflow.parent", parent.as_str())));
    let caller = start.and_then(|start| start.trace.as_ref());
    let caller = caller.and_then(|trace| TraceParent::parse(&trace.parent));
    let began = state.history.iter().chain(&state.inbox).find_map(|event| {
        let begins = matches!(event.fact, Fact::ExecutionStarted(_));
        begins.then_some(event.at)
    });
    let why = match state.status {
        Status::Completed => None,
        _ => Some(state.failure.as_deref().map_or_else(|| state.status.as_str().to_owned(), told)),
    };
    Span {
        trace_id: about.trace.bytes().to_vec(),
        span_id: SpanId::of_instance(&state.id, &life(state)).bytes().to_vec(),
        parent_span_id: about.parent.map(|span| span.bytes().to_vec()).unwrap_or_default(),
        name: cut(named(&name), NAME_MAX).to_owned(),
        kind: SpanKind::Internal.into(),
        links: caller.map(spans::to_caller).into_iter().collect(),
        ..spans::span(
            began.unwrap_or(state.created_at),
            state.ended_at,
            attributes,
            why.as_deref().map(failed),
        )
    }
}

/// No span is without a name; workers may give none.
fn named(name: &str) -> &str {
    if name.is_empty() { "?" } else { name }
}

fn told(failure: &FailureDetails) -> String {
    match (&*failure.error_type, &*failure.message) {
        ("", message) => message.to_owned(),
        (kind, message) => format!("{kind}: {message}"),
    }
}
