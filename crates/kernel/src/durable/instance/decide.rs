//! The decisions of an instance, but for those on a worker's turn.

use std::sync::Arc;

use super::context::{Context, Input, Start};
use super::draft::Draft;
use super::event::Event;
use super::state::{Instance, is_entity_answer};
use super::{control, turn};
use crate::durable::history::{Fact, FailureDetails, ParentInstance};
use crate::durable::message::OrchestrationMessage;
use crate::durable::{DELIVERABLE_MAX, Status, WorkToken};
use crate::graph::{self, Message};
use crate::id::ExecutionId;
use crate::machine::{Decision, Machine, Rejected};
use crate::time::Timestamp;

type Decided = Result<Decision<Event>, Rejected>;

impl Machine for Instance {
    type Input = Input;
    type Event = Event;
    type Context<'a> = Context<'a>;

    fn decide(&mut self, input: Input, context: &Context<'_>) -> Decided {
        let input = match input {
            Input::Start(start) => return begin(self, *start, context),
            Input::Message(message) => return hear(self, message, context),
            input => input,
        };
        if !self.has_begun() {
            return Err(unknown(self));
        }
        match input {
            Input::Wake => Ok(wake(self, context)),
            Input::TurnCompleted(result) => turn::complete(self, *result, context),
            Input::ActivityCompleted { token, result } => {
                activity_completed(self, &token, result, context)
            }
            Input::Raise { name, input } => {
                happened(self, Fact::EventRaised { name, input }, context)
            }
            Input::Suspend { reason } => {
                control::pause(self, true, Fact::ExecutionSuspended { input: reason }, context)
            }
            Input::Resume { reason } => {
                control::pause(self, false, Fact::ExecutionResumed { input: reason }, context)
            }
            Input::Terminate { output, recurse, at_once } => {
                control::terminate(self, output, recurse, at_once, context)
            }
            Input::Rewind { reason } => control::rewind(self, reason, context),
            Input::Restart { execution_id } => control::restart(self, execution_id, context),
            Input::Fail { failure } => {
                is_open(self)?;
                let mut draft = Draft::new(self, context);
                draft.fail(*failure);
                Ok(draft.finish())
            }
            Input::Start(_) | Input::Message(_) => Err(unknown(self)),
        }
    }

    fn apply(&mut self, event: &Event) {
        Self::apply(self, event);
    }

    fn wake_at(&self) -> Option<Timestamp> {
        Self::wake_at(self)
    }
}

pub(super) fn unknown(state: &Instance) -> Rejected {
    Rejected::Unknown(format!("no orchestration instance has the id '{}'", state.instance_id()))
}

pub(super) fn is_open(state: &Instance) -> Result<(), Rejected> {
    if !state.has_begun() {
        return Err(unknown(state));
    }
    if state.status.is_closed() {
        let (id, status) = (state.instance_id(), state.status);
        return Err(Rejected::Stale(format!("orchestration instance '{id}' has ended: {status}")));
    }
    Ok(())
}

fn begin(state: &mut Instance, start: Start, context: &Context<'_>) -> Decided {
    check_start(&start, context)?;
    if state.has_begun() && !start.replaces.contains(&state.status) {
        let (id, status) = (state.instance_id(), state.status);
        let message = format!("orchestration instance already exists: '{id}' is {status}");
        return Err(Rejected::Conflict(message));
    }
    let mut draft = Draft::new(state, context);
    if draft.state.is_open() {
        draft.fail(FailureDetails::new(
            "OrchestrationReplaced",
            "another instance with the same id was started in its place",
        ));
    }
    draft.begin(start);
    Ok(draft.finish())
}

fn check_start(start: &Start, context: &Context<'_>) -> Result<(), Rejected> {
    let runs = |status: &Status| !status.is_closed();
    if start.replaces.iter().any(runs) && !start.replaces.contains(&Status::Terminated) {
        let message = "Invalid reusable statuses: cannot exclude 'Terminated' while also allowing \
                       reuse of running instances";
        return Err(Rejected::Invalid(message.to_owned()));
    }
    if start.name.is_empty() {
        return Err(Rejected::Invalid("an orchestration needs a name".to_owned()));
    }
    let (length, max) = (start.input.as_deref().map_or(0, str::len), deliverable_max(context));
    if length > max {
        let message = format!("the input of {length} bytes is longer than {max} bytes");
        return Err(Rejected::Invalid(message));
    }
    Ok(())
}

/// Bytes of a payload that an orchestrator can be told: what it could never be sent is refused at
/// the door, and does not fail it later.
pub(super) fn deliverable_max(context: &Context<'_>) -> usize {
    context.limits.payload_max.min(DELIVERABLE_MAX)
}

/// Why an answer to an orchestrator is none, if it is too large to be told.
fn undeliverable(result: Option<&str>, context: &Context<'_>) -> Option<Box<FailureDetails>> {
    let (length, max) = (result.map_or(0, str::len), deliverable_max(context));
    (length > max).then(|| {
        let message = format!("the result of {length} bytes is longer than {max} bytes");
        let mut failure = FailureDetails::new("PayloadTooLarge", message);
        failure.non_retriable = true;
        Box::new(failure)
    })
}

/// Something goes into the inbox of an instance that has not ended.
pub(super) fn happened(state: &mut Instance, fact: Fact, context: &Context<'_>) -> Decided {
    is_open(state)?;
    has_room(state, &fact, context)?;
    let mut draft = Draft::new(state, context);
    draft.receive(fact);
    Ok(draft.finish())
}

fn has_room(state: &Instance, fact: &Fact, context: &Context<'_>) -> Result<(), Rejected> {
    let (payload, raised) = match fact {
        Fact::EventRaised { input, .. } => (input.as_deref(), true),
        Fact::ExecutionSuspended { input } | Fact::ExecutionResumed { input } => {
            (input.as_deref(), true)
        }
        _ => (None, false),
    };
    let (length, max) = (payload.map_or(0, str::len), deliverable_max(context));
    if length > max {
        let message = format!("the payload of {length} bytes is longer than {max} bytes");
        return Err(Rejected::Invalid(message));
    }
    // Answers always have room: each was asked for.
    let most = context.limits.tasks_max;
    if raised && state.inbox.len() >= most {
        return Err(Rejected::Full(format!("{most} events wait for a worker already")));
    }
    Ok(())
}

/// The clock moved.
fn wake(state: &mut Instance, context: &Context<'_>) -> Decision<Event> {
    let mut draft = Draft::new(state, context);
    if !draft.state.is_open() {
        return draft.finish();
    }
    let scheduled = draft.state.start.as_ref().and_then(|start| start.scheduled_at);
    if !draft.state.due && scheduled.is_none_or(|at| at <= context.now) {
        draft.push(Event::Due { at: context.now });
    }
    draft.fire_timers();
    draft.finish()
}

fn activity_completed(
    state: &mut Instance,
    token: &WorkToken,
    result: Result<Option<Arc<str>>, Box<FailureDetails>>,
    context: &Context<'_>,
) -> Decided {
    let WorkToken::Activity { execution_id, sequence, .. } = token else {
        return Err(Rejected::Invalid("the token is not that of an activity".to_owned()));
    };
    is_open(state)?;
    let known = *execution_id == state.execution_id() || state.formerly.contains(execution_id);
    let Some(activity) = state.activities.get(sequence).filter(|_| known) else {
        let message = format!("nobody waits for activity {sequence} any more");
        return Err(Rejected::Stale(message));
    };
    let task = activity.task;
    let fact = match result {
        Err(failure) => Fact::TaskFailed { task, failure },
        Ok(result) => match undeliverable(result.as_deref(), context) {
            Some(failure) => Fact::TaskFailed { task, failure },
            None => Fact::TaskCompleted { task, result },
        },
    };
    let mut draft = Draft::new(state, context);
    draft.effects.push(crate::machine::Effect::Withdraw { sequence: *sequence });
    draft.receive(fact);
    Ok(draft.finish())
}

/// Another machine says something.
fn hear(state: &mut Instance, message: Message, context: &Context<'_>) -> Decided {
    match message {
        Message::Durable(letter) => read(state, *letter, context),
        Message::Terminate { reason } => {
            let output = serde_json::to_string(&*reason).ok().map(Arc::from);
            control::terminate(state, output, true, false, context)
        }
        Message::Retry { asked, .. } => control::retry_for_caller(state, asked, context),
        Message::Started { sequence, child, instead, .. } => {
            let (task, _) = waits_for(state, sequence, child.as_ref())?;
            let mut draft = Draft::new(state, context);
            if let Some(instead) = instead.filter(|instead| !instead.adopted) {
                draft.push(Event::Child { task, id: instead.id });
            }
            Ok(draft.finish())
        }
        Message::Refused { sequence, reason, child, .. } => {
            let (task, _) = waits_for(state, sequence, child.as_ref())?;
            let failure = Box::new(FailureDetails::new("SubOrchestrationNotStarted", reason));
            happened(state, Fact::SubOrchestrationFailed { task, failure }, context)
        }
        Message::Ended { sequence, status, output, reason, child, .. } => {
            let (task, id) = waits_for(state, sequence, child.as_ref())?;
            let fact = if status == graph::Status::Completed {
                let result = Some(output.text().into());
                match undeliverable(Some(output.text()), context) {
                    Some(failure) => Fact::SubOrchestrationFailed { task, failure },
                    None => Fact::SubOrchestrationCompleted { task, result },
                }
            } else {
                let reason = reason.unwrap_or_else(|| "it gave no reason".into());
                let message = format!("workflow {id} ended as {}: {reason}", status.as_str());
                let failure = Box::new(FailureDetails::new("WorkflowFailed", message));
                Fact::SubOrchestrationFailed { task, failure }
            };
            happened(state, fact, context)
        }
        Message::Start(_)
        | Message::Revived { .. }
        | Message::Observed(_)
        | Message::Watch { .. } => {
            let message = "an orchestration instance does not hear such messages";
            Err(Rejected::Invalid(message.to_owned()))
        }
    }
}

/// The child that a message about the action `sequence` speaks of, if it is still waited for.
fn waits_for(
    state: &Instance,
    sequence: u32,
    child: Option<&ExecutionId>,
) -> Result<(i32, ExecutionId), Rejected> {
    is_open(state)?;
    let task = i32::try_from(sequence).unwrap_or(-1);
    let known = state.children.get(&task).filter(|known| child.is_none_or(|id| id == *known));
    known.map(|id| (task, id.clone())).ok_or_else(|| {
        Rejected::Stale(format!("nobody waits for the child of action {sequence} any more"))
    })
}

fn read(state: &mut Instance, letter: OrchestrationMessage, context: &Context<'_>) -> Decided {
    match letter {
        OrchestrationMessage::Start(start) => begin_child(state, *start, context),
        OrchestrationMessage::Happened { fact, execution_id } => {
            if let Fact::EntityLockGranted { critical_section_id, .. } = &*fact {
                waits_for_lock(state, critical_section_id, execution_id.as_ref())?;
            }
            let other = execution_id
                .filter(|id| *id != state.execution_id() && !state.formerly.contains(id));
            if other.is_some() {
                let message = "it is meant for another life of the instance";
                return Err(Rejected::Stale(message.to_owned()));
            }
            if state.status == Status::Failed && is_entity_answer(&fact) {
                // Should it be rewound, it waits for this, and nobody says it twice.
                let mut draft = Draft::new(state, context);
                draft.receive(*fact);
                return Ok(draft.finish());
            }
            happened(state, *fact, context)
        }
        OrchestrationMessage::ChildEnded { parent, instance_id, result, failure } => {
            child_ended(state, &parent, &instance_id, result, failure, context)
        }
        OrchestrationMessage::Terminate { reason, recurse, child_of } => {
            let by_parent = child_of.is_some();
            if child_of.is_some_and(|parent| !state.is_child_of(&parent)) {
                let message = "another instance bears the id of the child that is to end";
                return Err(Rejected::Stale(message.to_owned()));
            }
            if recurse && by_parent && state.status.is_closed() {
                let mut draft = Draft::new(state, context);
                draft.end_children(reason.as_ref());
                return Ok(draft.finish());
            }
            control::terminate(state, reason, recurse, false, context)
        }
        OrchestrationMessage::Rewind(rewound) => {
            control::rewind_for_parent(state, *rewound, context)
        }
        OrchestrationMessage::Operate { .. }
        | OrchestrationMessage::Lock { .. }
        | OrchestrationMessage::Unlock { .. }
        | OrchestrationMessage::Release { .. } => {
            Err(Rejected::Invalid("an orchestration instance is no entity".to_owned()))
        }
    }
}

/// Whether this very life still wants a lock: what a life before it was granted was taken back.
fn waits_for_lock(
    state: &Instance,
    section: &Arc<str>,
    execution_id: Option<&Arc<str>>,
) -> Result<(), Rejected> {
    is_open(state)?;
    let mine = execution_id.is_none_or(|id| *id == state.execution_id());
    if !mine || !state.locks.contains_key(section) {
        return Err(Rejected::Stale(format!("nobody waits for the lock {section} any more")));
    }
    Ok(())
}

/// A parent starts this one. What has ended makes room: a retry uses the same id.
pub(super) fn begin_child(state: &mut Instance, start: Start, context: &Context<'_>) -> Decided {
    let parent = start.parent.clone().filter(|_| !start.detached);
    let id = state.instance_id();
    let refused = match begin(state, start, context) {
        Err(Rejected::Conflict(reason) | Rejected::Invalid(reason)) => reason,
        result => return result,
    };
    let mut draft = Draft::new(state, context);
    if let Some(parent) = parent {
        let to = ExecutionId::instance(draft.state.hub(), &parent.instance_id);
        let failure = Some(Box::new(FailureDetails::new("SubOrchestrationNotStarted", refused)));
        let letter =
            OrchestrationMessage::ChildEnded { parent, instance_id: id, result: None, failure };
        draft.write(to, letter);
    }
    Ok(draft.finish())
}

fn child_ended(
    state: &mut Instance,
    parent: &ParentInstance,
    instance_id: &str,
    result: Option<Arc<str>>,
    failure: Option<Box<FailureDetails>>,
    context: &Context<'_>,
) -> Decided {
    is_open(state)?;
    let id = &parent.execution_id;
    let mine = *id == state.execution_id() || state.formerly.contains(id);
    let child = ExecutionId::instance(state.hub(), instance_id);
    if !mine || state.children.get(&parent.task) != Some(&child) {
        let message = format!("nobody waits for the child '{instance_id}' any more");
        return Err(Rejected::Stale(message));
    }
    let task = parent.task;
    let fact = match failure.or_else(|| undeliverable(result.as_deref(), context)) {
        Some(failure) => Fact::SubOrchestrationFailed { task, failure },
        None => Fact::SubOrchestrationCompleted { task, result },
    };
    happened(state, fact, context)
}
