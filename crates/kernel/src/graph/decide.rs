//! The decisions of an execution: one match over the input, each arm a few lines.

use super::context::Context;
use super::control;
use super::draft::{Draft, End};
use super::event::{Event, Progressed, Started};
use super::execution::{Execution, Task};
use super::input::{Input, Message, Report, Start, Verdict};
use super::nodes::{pull, sub_workflow, wait};
use super::object::merged;
use super::plan::Kind;
use super::status::{Status, TaskStatus};
use super::{adoption, gate, schema, timing};
use crate::id::ExecutionId;
use crate::json::Json;
use crate::machine::{Decision, Effect, Machine, Rejected};
use crate::time::Timestamp;

impl Machine for Execution {
    type Input = Input;
    type Event = Event;
    type Context<'a> = Context<'a>;

    fn decide(&mut self, input: Input, context: &Context<'_>) -> Result<Decision<Event>, Rejected> {
        match input {
            Input::Start(start) => begin(self, *start, context),
            Input::Branch(branch) => control::branch(self, *branch, context),
            _ if !self.is_started() => {
                Err(Rejected::Unknown(format!("No such workflow found by id: {}", self.id)))
            }
            Input::Wake => wake(self, context),
            Input::Claim { sequence: gate::GATE_PLACE, .. } => gate::admit(self, context),
            Input::Claim { sequence, worker } => {
                let task = open_task(self, sequence)?;
                if task.status != TaskStatus::Scheduled || task.kind != Kind::Dispatched {
                    return Err(Rejected::Stale(format!("task {sequence} is not in a queue")));
                }
                let mut draft = Draft::new(self, context);
                draft.push(Event::Claimed { sequence, worker });
                draft.effect(Effect::Hold { sequence });
                Ok(draft.settle())
            }
            Input::Report(report) => take_report(self, *report, context),
            Input::Extend { sequence } => {
                open_task(self, sequence)?;
                let mut draft = Draft::new(self, context);
                let progressed = Progressed { sequence, ..Progressed::default() };
                draft.push(Event::Progressed(Box::new(progressed)));
                Ok(draft.settle())
            }
            Input::Message(message) => receive(self, message, context),
            Input::Post(post) => pull::post(self, &post, context),
            Input::Control(control) => control::act(self, control, context),
            Input::Batched(batched) => {
                let mut decision = control::act(self, batched.control, context)?;
                decision.effects.push(Effect::Record(batched.record));
                Ok(decision)
            }
        }
    }

    fn apply(&mut self, event: &Event) {
        Self::apply(self, event);
    }

    fn wake_at(&self) -> Option<Timestamp> {
        Self::wake_at(self)
    }
}

fn begin(
    state: &mut Execution,
    start: Start,
    context: &Context<'_>,
) -> Result<Decision<Event>, Rejected> {
    if state.is_started() {
        return Err(Rejected::Stale(format!("workflow {} exists already", state.id)));
    }
    if start.input.len() > context.limits.payload_max {
        return Err(Rejected::Invalid(format!(
            "the input of {} bytes exceeds the limit of {} bytes (payload_max)",
            start.input.len(),
            context.limits.payload_max
        )));
    }
    let input = start.plan.with_defaults(&start.input);
    if let Some(objection) = schema::input_objection(&start.plan, &input, context) {
        return Err(Rejected::Invalid(objection));
    }
    let started = Started {
        plan: start.plan.into(),
        input,
        correlation_id: start.correlation_id,
        priority: start.priority.min(99),
        task_to_domain: start.task_to_domain,
        parent: start.parent,
        event: start.event,
        created_by: start.created_by,
        acts_as: start.acts_as,
        idempotency_key: start.idempotency_key,
        traceparent: start.traceparent,
        restart: false,
        references: true,
    };
    let entry = gate::enter(&state.id, &started, context)?;
    let mut draft = Draft::new(state, context);
    draft.push(Event::Started(Box::new(started)));
    gate::record(&mut draft, entry);
    if let Some(asker) = start.asked_by {
        // What nobody waits for runs by itself, whatever becomes of the asker.
        let (to, message) = asker.told_of_run(draft.state, draft.state.parent.is_none());
        draft.send(to, message);
    }
    draft.walk_all();
    Ok(draft.settle())
}

/// The clock moved.
fn wake(state: &mut Execution, context: &Context<'_>) -> Result<Decision<Event>, Rejected> {
    if state.status.is_closed() {
        return Err(Rejected::Stale("the workflow has ended".to_owned()));
    }
    let now = context.now;
    let timeout = state.timeout_at().filter(|at| *at <= now);
    let expired = if state.status == Status::Paused { Vec::new() } else { state.expired(now) };
    let seconds = state.plan().definition.timeout_seconds;
    let mut draft = Draft::new(state, context);
    if timeout.is_some() {
        let reason = format!("the workflow took longer than timeoutSeconds ({seconds} s)");
        draft.fail(Status::TimedOut, reason);
        return Ok(draft.settle());
    }
    for sequence in expired {
        if draft.state.status != Status::Running {
            break;
        }
        look_at_clock(&mut draft, sequence);
    }
    Ok(draft.settle())
}

/// A task's timer has passed: its delay is over, its wait is over, or it took too long.
fn look_at_clock(draft: &mut Draft<'_>, sequence: u32) {
    let now = draft.context.now;
    let Some(task) = draft.state.task(sequence) else { return };
    if task.status.is_closed() {
        return;
    }
    if let Some(policy) = draft.state.policy_of(task)
        && let Some(timeout) = timing::passed(task, policy, now)
    {
        return draft.time_out(sequence, timeout);
    }
    if !task.begun && task.kind != Kind::Dispatched {
        if task.scheduled_at.plus_millis(task.delay) <= now {
            draft.begin(sequence);
            draft.continue_after(sequence);
        }
    } else if task.until.is_some_and(|until| until <= now) {
        wait::over(draft, sequence);
    }
}

fn open_task(state: &Execution, sequence: u32) -> Result<&Task, Rejected> {
    let id = || state.task_id(sequence);
    let task = state
        .task(sequence)
        .ok_or_else(|| Rejected::Unknown(format!("Task not found for taskId: {}", id())))?;
    if state.status.is_closed() || task.status.is_closed() {
        return Err(Rejected::Stale(format!(
            "task {} is {} in a workflow that is {}",
            id(),
            task.status.as_str(),
            state.status.as_str()
        )));
    }
    Ok(task)
}

fn take_report(
    state: &mut Execution,
    report: Report,
    context: &Context<'_>,
) -> Result<Decision<Event>, Rejected> {
    let sequence = report.sequence;
    let task = open_task(state, sequence)?;
    if task.kind == Kind::DoWhile {
        return Err(Rejected::Conflict(format!(
            "task {} is a loop: it ends by its condition",
            task.reference
        )));
    }
    if let Verdict::Done(status) = report.verdict
        && (!status.is_closed() || status == TaskStatus::Skipped)
    {
        return Err(Rejected::Invalid(format!("a task cannot end as {}", status.as_str())));
    }
    let queued = task.kind == Kind::Dispatched;
    let builtin = context.world.is_builtin(&task.task_type);
    let unclaimed = task.status == TaskStatus::Scheduled;
    let output = match (report.output, report.merge) {
        (Some(set), true) => Some(merged(&task.output, &set)),
        (output, _) => output,
    };
    let mut draft = Draft::new(state, context);
    let end = match report.verdict {
        Verdict::Done(status) => Some((status, 0)),
        Verdict::FailedFor { after } => Some((TaskStatus::Failed, after.max(0))),
        Verdict::Again { .. } | Verdict::Held => None,
    };
    if let Some((status, retry_after)) = end {
        let end = End { status, output, reason: report.reason };
        draft.close_as(sequence, end, |closed| {
            closed.retry_after = retry_after;
            closed.worker = report.worker;
            closed.started_at = report.started_at;
            closed.metadata = report.metadata;
        });
        draft.continue_after(sequence);
        return Ok(draft.settle());
    }
    let size = output.as_ref().map_or(0, Json::len);
    if size > context.limits.payload_max {
        let end = End::failed_terminally(draft.too_large("output", size));
        draft.close(sequence, end);
        draft.continue_after(sequence);
        return Ok(draft.settle());
    }
    let again = match report.verdict {
        Verdict::Again { after } if queued => Some(after.max(0)),
        _ => None,
    };
    if queued && unclaimed && (again.is_none() || builtin) {
        // Whoever reports that it holds a task holds it, claimed or not. A built-in task that is
        // over at once is not claimed either; its runs are counted and its time runs all the same.
        draft.push(Event::Claimed { sequence, worker: report.worker.clone() });
    }
    draft.push(Event::Progressed(Box::new(Progressed {
        sequence,
        output,
        callback_after: again,
        worker: report.worker,
        reason: report.reason,
        metadata: report.metadata,
    })));
    if again.is_some() {
        draft.dispatch(sequence, again == Some(0));
    } else if queued && builtin {
        // It waits for somebody outside: a new start of the server must not run it again.
        draft.effect(Effect::Withdraw { sequence });
    } else if queued {
        draft.effect(Effect::Hold { sequence });
    }
    Ok(draft.settle())
}

/// A child that a task waits for no more has nothing to say about the task.
fn is_its_child(
    state: &Execution,
    sequence: u32,
    child: Option<&ExecutionId>,
) -> Result<(), Rejected> {
    let waits_for = state.task(sequence).and_then(|task| task.child.as_ref());
    if child.is_none() || child == waits_for {
        return Ok(());
    }
    let id = state.task_id(sequence);
    Err(Rejected::Stale(format!("task {id} waits for another child by now")))
}

/// Another execution said something.
fn receive(
    state: &mut Execution,
    message: Message,
    context: &Context<'_>,
) -> Result<Decision<Event>, Rejected> {
    let sequence = match &message {
        Message::Start(_) => {
            return Err(Rejected::Invalid("a start is given with its plan".to_owned()));
        }
        Message::Durable(_) => {
            return Err(Rejected::Invalid("a workflow is no orchestration instance".to_owned()));
        }
        Message::Observed(_) => {
            return Err(Rejected::Invalid("a workflow is no monitor".to_owned()));
        }
        Message::Revived { sequence, child } => {
            is_its_child(state, *sequence, child.as_ref())?;
            return control::child_revived(state, *sequence, context);
        }
        Message::Terminate { reason } => {
            return control::terminate(state, Some(reason.clone()), false, context);
        }
        Message::Retry { asked, .. } => return control::retry_for_parent(state, *asked, context),
        Message::Ended { sequence, child, asked, .. } => {
            is_its_child(state, *sequence, child.as_ref())?;
            if state.task(*sequence).is_some_and(|task| task.asked != *asked) {
                let id = state.task_id(*sequence);
                let reason = format!("the child of task {id} has been asked to try again since");
                return Err(Rejected::Stale(reason));
            }
            *sequence
        }
        Message::Watch { asker, to_the_end } => {
            return Ok(adoption::watch(state, asker.clone(), *to_the_end, context));
        }
        Message::Started { sequence, child, instead, .. } => {
            let waits = is_its_child(state, *sequence, child.as_ref());
            if let Err(stale) = waits.and_then(|()| open_task(state, *sequence).map(|_| ())) {
                return adoption::came_late(state, instead.as_ref(), stale, context);
            }
            *sequence
        }
        Message::Refused { sequence, child, .. } => {
            is_its_child(state, *sequence, child.as_ref())?;
            *sequence
        }
    };
    open_task(state, sequence)?;
    let mut draft = Draft::new(state, context);
    match message {
        Message::Refused { reason, for_good, .. } => {
            sub_workflow::refused(&mut draft, sequence, reason, for_good);
        }
        Message::Ended { status, output, reason, .. } => {
            sub_workflow::ended(&mut draft, sequence, status, &output, reason.as_deref());
        }
        Message::Started { instead, version, .. } => {
            sub_workflow::started(&mut draft, sequence, instead, version);
        }
        _ => {}
    }
    Ok(draft.settle())
}
