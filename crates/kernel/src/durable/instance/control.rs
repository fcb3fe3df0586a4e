//! What operators and parents do to an instance: end, rewind, restart.

use std::sync::Arc;

use super::context::{Context, Start};
use super::decide::{begin_child, happened, is_open, unknown};
use super::draft::Draft;
use super::event::Event;
use super::state::Instance;
use crate::durable::Status;
use crate::durable::history::{
    ExecutionCompleted, ExecutionRewound, Fact, HistoryEvent, INBOUND, Outcome,
};
use crate::machine::{Decision, Rejected};

type Decided = Result<Decision<Event>, Rejected>;

/// Somebody wants it to end. The worker hears of it and ends it; one that a worker has never been
/// asked to run, that is held, or that is to end at once, ends here.
pub(super) fn terminate(
    state: &mut Instance,
    output: Option<Arc<str>>,
    recurse: bool,
    at_once: bool,
    context: &Context<'_>,
) -> Decided {
    is_open(state)?;
    let fact = Fact::ExecutionTerminated { input: output.clone(), recurse };
    if state.due && !at_once && !state.rewinding && !state.held {
        return happened(state, fact, context);
    }
    let mut draft = Draft::new(state, context);
    draft.receive(fact);
    let end = ExecutionCompleted { outcome: Outcome::Terminated, result: output, failure: None };
    draft.end(INBOUND, end);
    Ok(draft.finish())
}

/// Somebody suspends or resumes it. What changes nothing is not told to the worker: some SDKs fail
/// when they are resumed and were not suspended, and some never come back when they are suspended
/// twice.
pub(super) fn pause(
    state: &mut Instance,
    suspended: bool,
    fact: Fact,
    context: &Context<'_>,
) -> Decided {
    is_open(state)?;
    if state.is_suspended() == suspended {
        return Ok(Draft::new(state, context).finish());
    }
    happened(state, fact, context)
}

fn cannot_rewind(state: &Instance) -> Rejected {
    let (id, status) = (state.instance_id(), state.status);
    let message = format!(
        "orchestration instance '{id}' is {status}: only a failed one is allowed to be rewound"
    );
    Rejected::Conflict(message)
}

/// Somebody wants a failed instance to try again what failed.
pub(super) fn rewind(
    state: &mut Instance,
    reason: Option<Arc<str>>,
    context: &Context<'_>,
) -> Decided {
    if state.status != Status::Failed {
        return Err(cannot_rewind(state));
    }
    let rewound = ExecutionRewound { reason, ..ExecutionRewound::default() };
    Ok(begin_rewind(state, rewound, context))
}

fn begin_rewind(
    state: &mut Instance,
    rewound: ExecutionRewound,
    context: &Context<'_>,
) -> Decision<Event> {
    let begun = |event: &HistoryEvent| matches!(event.fact, Fact::ExecutionStarted(_));
    if !state.history.iter().any(begun) {
        return begin_instead(state, rewound, context);
    }
    let mut draft = Draft::new(state, context);
    let fact = Fact::ExecutionRewound(Box::new(rewound));
    let event = HistoryEvent::inbound(context.now, fact);
    draft.push(Event::Rewinding { event });
    draft.turn_over();
    draft.finish()
}

/// No worker has looked at it before it failed, so none can say what of its history stays: it begins
/// as if for the first time, with what it was told meanwhile.
fn begin_instead(
    state: &mut Instance,
    rewound: ExecutionRewound,
    context: &Context<'_>,
) -> Decision<Event> {
    let mut draft = Draft::new(state, context);
    let Some(mut start) = draft.state.start.clone() else { return draft.finish() };
    let seed = format!("{}/rewind/{}", start.execution_id, draft.state.turn);
    start.execution_id = super::turn::execution_id(&draft.state.instance_id(), &seed);
    if rewound.parent.is_some() {
        start.parent = rewound.parent;
    }
    let kept = draft.state.inbox.clone();
    draft.push(Event::Started { at: context.now, start });
    if !kept.is_empty() {
        draft.push(Event::Received { events: kept });
    }
    draft.turn_over();
    draft.finish()
}

/// The parent was rewound and waits for this child again.
pub(super) fn rewind_for_parent(
    state: &mut Instance,
    rewound: ExecutionRewound,
    context: &Context<'_>,
) -> Decided {
    if !state.is_child_rewound_by(&rewound) {
        // It was purged, or another has its id: what the parent knows of it is enough to make it
        // anew, unless that other goes on.
        let start = recreated(&rewound, context).ok_or_else(|| unknown(state))?;
        return begin_child(state, start, context);
    }
    match state.status {
        Status::Failed => Ok(begin_rewind(state, rewound, context)),
        status if status.is_closed() => {
            // It ended while nobody listened.
            let mut draft = Draft::new(state, context);
            draft.tell_the_end();
            Ok(draft.finish())
        }
        status => Err(Rejected::Stale(format!("the child goes on by itself: {status}"))),
    }
}

fn recreated(rewound: &ExecutionRewound, context: &Context<'_>) -> Option<Start> {
    let parent = rewound.parent.clone()?;
    let seed = format!("{}/{}/{}", parent.execution_id, parent.task, context.now.millis());
    let execution_id = super::turn::execution_id(&parent.instance_id, &seed);
    let mut start = Start::new(rewound.name.as_deref()?, rewound.input.clone(), execution_id);
    start.version.clone_from(&rewound.version);
    start.tags.clone_from(&rewound.tags);
    start.trace.clone_from(&rewound.trace);
    start.parent = Some(parent);
    start.replaces = Start::closed_statuses();
    start.acts_as.clone_from(&rewound.acts_as);
    Some(start)
}

/// The task of a graph that waits for it asks it to try again.
pub(super) fn retry_for_caller(state: &mut Instance, asked: u32, context: &Context<'_>) -> Decided {
    if !state.has_begun() {
        return Err(unknown(state));
    }
    if state.status == Status::Failed {
        let rewound = ExecutionRewound {
            reason: Some("the workflow that waits for it was retried".into()),
            ..ExecutionRewound::default()
        };
        let mut decision = begin_rewind(state, rewound, context);
        let event = Event::Retried { asked };
        state.apply(&event);
        decision.events.push(event);
        return Ok(decision);
    }
    let closed = state.status.is_closed();
    let mut draft = Draft::new(state, context);
    draft.push(Event::Retried { asked });
    if closed {
        draft.tell_the_end();
    }
    Ok(draft.finish())
}

/// Begins anew under the same id, with the same name, version, input and labels.
pub(super) fn restart(
    state: &mut Instance,
    execution_id: Arc<str>,
    context: &Context<'_>,
) -> Decided {
    let Some(start) = state.start.as_deref() else { return Err(unknown(state)) };
    if !state.status.is_closed() {
        let (id, status) = (state.instance_id(), state.status);
        let message = format!(
            "orchestration instance '{id}' is {status}: it can be restarted under the same id \
             once it has ended"
        );
        return Err(Rejected::Conflict(message));
    }
    let start = again(start, execution_id);
    let mut draft = Draft::new(state, context);
    draft.begin(start);
    Ok(draft.finish())
}

/// The start of another instance that does the same.
pub(super) fn again(start: &Start, execution_id: Arc<str>) -> Start {
    Start {
        execution_id,
        scheduled_at: None,
        parent: None,
        detached: false,
        depth: 0,
        caller: None,
        replaces: std::collections::BTreeSet::new(),
        ..start.clone()
    }
}

impl Start {
    /// The start of another instance that does the same, by itself.
    #[must_use]
    pub fn again(&self, execution_id: Arc<str>) -> Self {
        again(self, execution_id)
    }
}
