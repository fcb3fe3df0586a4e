//! What operators do to executions: hold, end, and change the past.
//!
//! Everything that changes the past ends in a walk from the root, which finds what is missing and
//! schedules it: no operation needs to know what every task type would have done next.

mod branch;
mod jump;
mod upgrade;

use std::sync::Arc;

use super::context::Context;
use super::draft::Draft;
use super::event::{Ended, Event, Parent, Progressed, Started};
use super::execution::{Execution, Task};
use super::input::{Amendment, Control, Message};
use super::plan::{Kind, NodeId, Owner, Plan};
use super::status::{Status, TaskStatus};
use super::{gate, schema};
use crate::json::Json;
use crate::machine::{Decision, Rejected};

pub(super) use branch::branch;

type Decided = Result<Decision<Event>, Rejected>;

pub(super) fn act(state: &mut Execution, control: Control, context: &Context<'_>) -> Decided {
    match control {
        Control::Pause => pause(state, context),
        Control::Resume => resume(state, context),
        Control::Terminate { reason, failure_workflow } => {
            terminate(state, reason, failure_workflow, context)
        }
        Control::Restart { plan, input, correlation_id } => {
            restart(state, plan, input, correlation_id, context)
        }
        Control::Retry { descend } => retry(state, descend, context),
        Control::Rerun { sequence, input, amendment } => {
            rerun(state, sequence, input, amendment, context)
        }
        Control::Amend(amendment) => {
            if !state.status.is_closed() {
                return Err(not_closed(state, "changed"));
            }
            let mut draft = Draft::new(state, context);
            amend(&mut draft, amendment);
            Ok(draft.settle())
        }
        Control::Jump { reference, input } => jump::jump(state, &reference, input, context),
        Control::Upgrade { plan, input, outputs } => {
            upgrade::upgrade(state, plan, input.as_ref(), &outputs, context)
        }
        Control::Skip { reference, input, output } => {
            skip(state, &reference, input, output, context)
        }
        Control::SetVariables { set } => {
            if state.status.is_closed() {
                return Err(closed(state));
            }
            let mut draft = Draft::new(state, context);
            draft.push(Event::Variables { set });
            Ok(draft.settle())
        }
        Control::ResetCallbacks => reset_callbacks(state, context),
    }
}

fn closed(state: &Execution) -> Rejected {
    let status = state.status.as_str();
    Rejected::Conflict(format!("workflow {} is {status}: it has ended", state.id))
}

fn not_closed(state: &Execution, done: &str) -> Rejected {
    let status = state.status.as_str();
    Rejected::Conflict(format!(
        "workflow {} is {status}: only a workflow that has ended can be {done}",
        state.id
    ))
}

fn nothing() -> Decision<Event> {
    Decision { events: Vec::new(), effects: Vec::new() }
}

fn pause(state: &mut Execution, context: &Context<'_>) -> Decided {
    match state.status {
        Status::Paused => Ok(nothing()),
        Status::Running => {
            let mut draft = Draft::new(state, context);
            draft.push(Event::Paused);
            Ok(draft.settle())
        }
        _ => Err(closed(state)),
    }
}

fn resume(state: &mut Execution, context: &Context<'_>) -> Decided {
    if state.status != Status::Paused {
        return Err(Rejected::Conflict(format!(
            "workflow {} is {}: only a paused workflow can be resumed",
            state.id,
            state.status.as_str()
        )));
    }
    let mut draft = Draft::new(state, context);
    draft.push(Event::Resumed);
    draft.walk_all();
    Ok(draft.settle())
}

pub(super) fn terminate(
    state: &mut Execution,
    reason: Option<Arc<str>>,
    failure_workflow: bool,
    context: &Context<'_>,
) -> Decided {
    let reason = reason.unwrap_or_else(|| "terminated by an operator".into());
    match state.status {
        Status::Completed => Err(closed(state)),
        Status::Terminated => Ok(nothing()),
        Status::Failed | Status::TimedOut => {
            let output = state.output.clone();
            let ended = Ended { status: Status::Terminated, output, reason: Some(reason) };
            let mut draft = Draft::new(state, context);
            draft.push(Event::Ended(Box::new(ended)));
            Ok(draft.settle())
        }
        Status::Running | Status::Paused => {
            let mut draft = Draft::new(state, context);
            if failure_workflow {
                draft.fail(Status::Terminated, reason);
            } else {
                draft.end(Status::Terminated, None, Some(reason));
            }
            Ok(draft.settle())
        }
    }
}

fn restart(
    state: &mut Execution,
    plan: Option<Arc<Plan>>,
    input: Option<Json>,
    correlation_id: Option<Arc<str>>,
    context: &Context<'_>,
) -> Decided {
    if !state.status.is_closed() {
        return Err(not_closed(state, "restarted"));
    }
    if state.status == Status::Completed && !state.plan().definition.restartable {
        return Err(Rejected::Forbidden(format!(
            "workflow {} is completed and its definition says restartable: false",
            state.id
        )));
    }
    let parent = state.parent.clone();
    let started = Started {
        plan: plan.unwrap_or_else(|| state.plan().clone()).into(),
        input: input.unwrap_or_else(|| state.input.clone()),
        correlation_id: correlation_id.or_else(|| state.correlation_id.clone()),
        priority: state.priority,
        task_to_domain: state.task_to_domain.clone(),
        parent: parent.clone(),
        event: state.event.clone(),
        created_by: state.created_by.clone(),
        acts_as: state.acts_as.clone(),
        idempotency_key: state.idempotency_key.clone(),
        traceparent: state.traceparent.clone(),
        restart: true,
        references: state.references(),
    };
    if let Some(plan) = &started.plan.plan
        && let Some(objection) = schema::input_objection(plan, &started.input, context)
    {
        return Err(Rejected::Invalid(objection));
    }
    let entry = gate::enter(&state.id, &started, context)?;
    let mut draft = Draft::new(state, context);
    draft.push(Event::Started(Box::new(started)));
    gate::record(&mut draft, entry);
    tell_parent(&mut draft, parent);
    draft.walk_all();
    Ok(draft.settle())
}

fn can_be_retried(state: &Execution) -> Result<(), Rejected> {
    if !state.status.is_closed() || state.status == Status::Completed {
        return Err(Rejected::Forbidden(format!(
            "workflow {} is {}: only a workflow that ended without completing can be retried",
            state.id,
            state.status.as_str()
        )));
    }
    // A workflow that took too long may have no failed task: it just gets its time again.
    let as_planned = state.tasks().any(has_ended_the_execution);
    let asks_for_it =
        |task: &Task| is_last_failure(task) && !(as_planned && is_stopped_container(task));
    if state.status != Status::TimedOut && !state.tasks().any(asks_for_it) {
        return Err(Rejected::Conflict(format!(
            "workflow {} has no failed task to retry: restart it instead",
            state.id
        )));
    }
    Ok(())
}

/// Tries everything again that failed or was stopped.
fn retry(state: &mut Execution, descend: bool, context: &Context<'_>) -> Decided {
    can_be_retried(state)?;
    let parent = state.parent.clone();
    let mut draft = Draft::new(state, context);
    tell_parent(&mut draft, parent);
    revive(&mut draft, descend);
    Ok(draft.settle())
}

fn revive(draft: &mut Draft<'_>, descend: bool) {
    draft.push(Event::Revived);
    try_again(draft, descend);
    draft.walk_all();
}

/// At the word of a parent that has begun to wait again. Where there is nothing to try again, the
/// parent must learn once more how this execution ended, or it would wait for ever.
pub(super) fn retry_for_parent(
    state: &mut Execution,
    asked: u32,
    context: &Context<'_>,
) -> Decided {
    if asked <= state.asked {
        return Err(Rejected::Stale("the parent has asked this before".to_owned()));
    }
    let (closed, can) = (state.status.is_closed(), can_be_retried(state).is_ok());
    let mut draft = Draft::new(state, context);
    draft.push(Event::Asked { asked });
    match (closed, can) {
        // A parent that has asked need not be told. Were it told, two children that fail at once
        // would have it revive itself and ask them again for ever.
        (true, true) => revive(&mut draft, true),
        (true, false) => draft.tell_parent_the_end(),
        (false, _) => {}
    }
    Ok(draft.settle())
}

fn is_last_failure(task: &Task) -> bool {
    task.status.is_failure() && !task.retried
}

/// A TERMINATE completes with the execution, and what was open then was stopped as planned.
fn has_ended_the_execution(task: &Task) -> bool {
    task.kind == Kind::Terminate && task.status == TaskStatus::Completed
}

/// What only holds others and was stopped with the execution: it has nothing of its own to try
/// again. (After an operator's terminate between two tasks of a loop it is where that goes on.)
fn is_stopped_container(task: &Task) -> bool {
    let container = matches!(task.kind, Kind::Join | Kind::ExclusiveJoin | Kind::DoWhile);
    container && task.status == TaskStatus::Canceled
}

fn try_again(draft: &mut Draft<'_>, descend: bool) {
    let failed: Vec<(u32, Kind)> = draft
        .state
        .tasks()
        .filter(|task| is_last_failure(task))
        .map(|task| (task.sequence, task.kind))
        .collect();
    for (sequence, kind) in failed {
        // What is tried again may fail at once, and end the execution.
        if draft.state.status != Status::Running {
            return;
        }
        // An earlier one that was set back has taken with it what the flow had reached after it.
        let Some(task) = draft.state.task(sequence) else { continue };
        let child = task.own_child().filter(|_| task.child_started).cloned();
        match (kind, child) {
            (Kind::Join | Kind::ExclusiveJoin | Kind::DoWhile, _) => {
                draft.push(Event::Reopened { sequence, asked: 0 });
            }
            (Kind::SubWorkflow, Some(child)) if descend => {
                let asked = draft.state.task(sequence).map_or(0, |task| task.asked) + 1;
                draft.push(Event::Reopened { sequence, asked });
                draft.send(child, Message::Retry { asked, sequence: Some(sequence) });
            }
            _ => draft.retry_now(sequence),
        }
    }
}

/// What waited beside the child that failed was stopped without a failure of its own: it waits
/// again as the task that it was, not as another attempt.
fn set_back_cancelled(draft: &mut Draft<'_>) {
    let cancelled: Vec<u32> = draft
        .state
        .tasks()
        .filter(|task| task.status == TaskStatus::Canceled && !task.retried)
        .filter(|task| task.kind == Kind::Dispatched)
        .map(|task| task.sequence)
        .collect();
    for sequence in cancelled {
        draft.push(Event::Rewound { sequence, input: None, fresh: false, alone: true });
        draft.begin(sequence);
    }
}

/// The execution that waits for this one must run again too.
fn tell_parent(draft: &mut Draft<'_>, parent: Option<Parent>) {
    if let Some(parent) = parent {
        let child = Some(draft.state.id.clone());
        draft.send(parent.execution, Message::Revived { sequence: parent.sequence, child });
    }
}

/// A child runs again: its task waits again, and so does everything around it.
pub(super) fn child_revived(
    state: &mut Execution,
    sequence: u32,
    context: &Context<'_>,
) -> Decided {
    let waits = state.task(sequence).is_some_and(|task| {
        let counts = task.kind == Kind::SubWorkflow && !state.node_of(task).task.optional;
        let passed = match state.status {
            // The flow is about to go on.
            Status::Running => true,
            Status::Paused => !task.status.is_failure(),
            _ => false,
        };
        let waits = counts && !passed && task.status.is_closed() && !task.retried;
        // What failed behind it would be tried again beside it.
        waits && !state.has_failed_behind(task)
    });
    if !waits {
        return Err(Rejected::Stale(format!(
            "task {} has no need to wait for its child again",
            state.task_id(sequence)
        )));
    }
    let revive = state.status.is_closed();
    let parent = state.parent.clone();
    let mut draft = Draft::new(state, context);
    if revive {
        draft.push(Event::Revived);
        tell_parent(&mut draft, parent);
    }
    draft.push(Event::Reopened { sequence, asked: 0 });
    if revive {
        // Its siblings run on where they were, too: their children are not started anew.
        set_back_cancelled(&mut draft);
        try_again(&mut draft, true);
    }
    draft.walk_all();
    Ok(draft.settle())
}

/// Goes back to a task: what the flow reached after it is forgotten, the task begins anew, and the
/// walk finds what follows. Other branches stay, but for what failed there.
fn rerun(
    state: &mut Execution,
    sequence: u32,
    input: Option<Json>,
    amendment: Amendment,
    context: &Context<'_>,
) -> Decided {
    if !state.status.is_closed() {
        return Err(not_closed(state, "rerun"));
    }
    let Some(task) = state.task(sequence) else {
        return Err(Rejected::Invalid(format!(
            "no task {} to rerun from",
            state.task_id(sequence)
        )));
    };
    if !state.is_reached(task) {
        return Err(Rejected::Conflict(format!(
            "task '{}' was skipped before workflow {} came to it: rerun from a task that it has \
             reached, or retry it",
            task.reference, state.id
        )));
    }
    let parent = state.parent.clone();
    let mut draft = Draft::new(state, context);
    amend(&mut draft, amendment);
    draft.push(Event::Revived);
    draft.push(Event::Rewound { sequence, input, fresh: false, alone: false });
    tell_parent(&mut draft, parent);
    if let Some(task) = draft.state.task(sequence) {
        let (node, path) = (task.node, task.path.clone());
        reopen_around(&mut draft, node, path);
    }
    try_again(&mut draft, false);
    if draft.state.status == Status::Running {
        draft.begin(sequence);
        draft.continue_after(sequence);
    }
    draft.walk_all();
    Ok(draft.settle())
}

fn amend(draft: &mut Draft<'_>, amendment: Amendment) {
    if !amendment.is_empty() {
        let Amendment { input, correlation_id } = amendment;
        draft.push(Event::Amended { input, correlation_id });
    }
}

/// The loops around a place are again in the iteration that the place belongs to.
fn reopen_around(draft: &mut Draft<'_>, mut node: NodeId, mut path: Vec<u32>) {
    loop {
        let block = draft.state.node(node).block;
        match draft.state.block(block).owner {
            Owner::Root => return,
            Owner::Case(owner) | Owner::Branch(owner) => node = owner,
            Owner::Body(owner) => {
                let Some(iteration) = path.pop() else { return };
                if let Some(task) = draft.state.attempt_at(owner, &path) {
                    let sequence = task.sequence;
                    draft.push(Event::Reopened { sequence, asked: 0 });
                    draft.push(Event::Iterated { sequence, iteration, forget: 0 });
                }
                node = owner;
            }
        }
    }
}

/// Writes a task into the record that never runs, so that the flow passes it.
fn skip(
    state: &mut Execution,
    reference: &str,
    input: Option<Json>,
    output: Option<Json>,
    context: &Context<'_>,
) -> Decided {
    if state.status != Status::Running {
        return Err(Rejected::Conflict(format!(
            "workflow {} is {}: tasks can be skipped only while it is RUNNING",
            state.id,
            state.status.as_str()
        )));
    }
    let Some(node_id) = state.node_named(reference) else {
        return Err(Rejected::Invalid(format!(
            "workflow {} has no task with the reference name '{reference}'",
            state.id
        )));
    };
    if state.latest(reference).is_some() {
        return Err(Rejected::Conflict(format!(
            "task '{reference}' has been scheduled already and cannot be skipped"
        )));
    }
    let node = state.node(node_id);
    if node.depth > 0 {
        return Err(Rejected::Invalid(format!(
            "task '{reference}' stands in a loop and cannot be skipped"
        )));
    }
    let mut draft = Draft::new(state, context);
    jump::pass(&mut draft, node_id, &[], input, output);
    Ok(draft.settle())
}

/// Tasks that wait for their call-back are handed out now.
fn reset_callbacks(state: &mut Execution, context: &Context<'_>) -> Decided {
    if state.status.is_closed() {
        return Err(closed(state));
    }
    let waiting: Vec<u32> = state
        .open_tasks()
        .filter(|task| task.status == TaskStatus::Scheduled && task.callback_after > 0)
        .map(|task| task.sequence)
        .collect();
    let mut draft = Draft::new(state, context);
    for sequence in waiting {
        let callback_after = Some(0);
        let progressed = Progressed { sequence, callback_after, ..Progressed::default() };
        draft.push(Event::Progressed(Box::new(progressed)));
        draft.dispatch(sequence, true);
    }
    Ok(draft.settle())
}
