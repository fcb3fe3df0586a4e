//! Kernels that are broken on purpose, to find out whether the auditor would notice.
//!
//! A mutant wraps the real kernel and falsifies what goes in or what comes out. The world folds a
//! mutant's state anew after every commit, so that a falsified history is also the truth.

use kernel::graph::{
    Closed, Context, Event, Execution, Input, Message, Status, TaskStatus, Verdict,
};
use kernel::{Decision, Effect, Form, Json, Machine, Rejected, ScriptError, Scripts, Timestamp};

use crate::scripts::SmallScripts;

/// What a world runs.
pub trait Kernel {
    /// Decides an input.
    ///
    /// # Errors
    /// As [`Machine::decide`].
    fn decide(
        &self,
        state: &mut Execution,
        input: Input,
        context: &Context<'_>,
    ) -> Result<Decision<Event>, Rejected> {
        state.decide(input, context)
    }

    /// When the execution is to look at the clock.
    fn wake_at(&self, state: &Execution) -> Option<Timestamp> {
        state.wake_at()
    }

    /// What runs its scripts.
    fn scripts(&self) -> &dyn Scripts {
        &SmallScripts
    }

    /// Whether its state must be folded anew after each commit.
    fn is_mutant(&self) -> bool {
        false
    }
}

/// The kernel as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Kernel for Real {}

/// One way to break a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A report on a task that has ended ends it again.
    StaleReportBelieved,
    /// Every retry calls itself the first.
    RetryUncounted,
    /// A retry begins at once.
    RetryDelayIgnored,
    /// A task with a start delay is handed out at once.
    DispatchedEarly,
    /// A JOIN ends with the first branch.
    JoinEndsEarly,
    /// A task that is too slow is left alone.
    TimeoutIgnored,
    /// The clock is looked at as if it were five seconds later.
    TimeoutEarly,
    /// Nobody is told to look at the clock.
    WakeForgotten,
    /// Now and then a task is not put into its queue.
    DispatchLost,
    /// A message is sent twice, as two messages.
    MessageTwice,
    /// A parent is not told of its child's end.
    ParentNotTold,
    /// The children of an ended execution are left running.
    ChildrenForgotten,
    /// A task that has ended stays in its queue.
    WithdrawForgotten,
    /// A task is claimed without its row being held.
    HoldForgotten,
    /// What is paused goes on.
    PauseIgnored,
    /// A loop goes round once more.
    LoopOnceMore,
    /// A SWITCH takes another case.
    WrongCase,
    /// An optional task that failed counts as completed.
    ErrorsHidden,
    /// A failure that no retry can mend is tried again.
    TerminalErrorRetried,
    /// Open tasks are not closed when the execution ends.
    EndsWithOpenTasks,
    /// The first task that completes ends the execution.
    EndsTooSoon,
    /// The last branch of a fork is not started.
    BranchForgotten,
    /// A failed execution calls itself completed.
    FailureCompletes,
    /// The failure workflow is not started.
    FailureWorkflowForgotten,
    /// A WAIT ends as soon as it begins.
    WaitOver,
    /// A loop forgets all iterations but the last, whatever its author wants kept.
    ForgetsTooMuch,
    /// A task that is held is given to a second worker.
    ClaimedTwice,
    /// What one commit left over is never done.
    RestForgotten,
    /// A parent is not told that its child runs again.
    RevivalNotTold,
    /// What was paused stays where it was.
    ResumeForgotten,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::StaleReportBelieved,
        Self::RetryUncounted,
        Self::RetryDelayIgnored,
        Self::DispatchedEarly,
        Self::JoinEndsEarly,
        Self::TimeoutIgnored,
        Self::TimeoutEarly,
        Self::WakeForgotten,
        Self::DispatchLost,
        Self::MessageTwice,
        Self::ParentNotTold,
        Self::ChildrenForgotten,
        Self::WithdrawForgotten,
        Self::HoldForgotten,
        Self::PauseIgnored,
        Self::LoopOnceMore,
        Self::WrongCase,
        Self::ErrorsHidden,
        Self::TerminalErrorRetried,
        Self::EndsWithOpenTasks,
        Self::EndsTooSoon,
        Self::BranchForgotten,
        Self::FailureCompletes,
        Self::FailureWorkflowForgotten,
        Self::WaitOver,
        Self::ForgetsTooMuch,
        Self::ClaimedTwice,
        Self::RestForgotten,
        Self::RevivalNotTold,
        Self::ResumeForgotten,
    ];
}

impl Kernel for Mutant {
    fn decide(
        &self,
        state: &mut Execution,
        input: Input,
        context: &Context<'_>,
    ) -> Result<Decision<Event>, Rejected> {
        let now = context.now;
        let stale = stale_report(*self, state, &input);
        if let Some(sequence) = stale {
            let closed = closed(sequence, TaskStatus::Completed);
            let events = vec![Event::At(now), closed];
            return Ok(Decision { events, effects: Vec::new() });
        }
        let second = second_claim(*self, state, &input);
        if let Some(sequence) = second {
            let claimed = Event::Claimed { sequence, worker: Some("second".into()) };
            let events = vec![Event::At(now), claimed];
            return Ok(Decision { events, effects: Vec::new() });
        }
        let mut context = *context;
        if *self == Self::TimeoutEarly && matches!(input, Input::Wake) {
            context.now = now.plus_seconds(5);
        }
        if *self == Self::PauseIgnored && state.status == Status::Paused {
            state.status = Status::Running;
        }
        let mut decision = state.decide(self.input(input), &context)?;
        if context.now != now {
            decision.events.iter_mut().for_each(|event| {
                if let Event::At(at) = event {
                    *at = now;
                }
            });
        }
        self.falsify(state, &mut decision, now);
        Ok(decision)
    }

    fn wake_at(&self, state: &Execution) -> Option<Timestamp> {
        match self {
            Self::WakeForgotten => None,
            _ => state.wake_at(),
        }
    }

    fn scripts(&self) -> &dyn Scripts {
        match self {
            Self::LoopOnceMore => &FalseScripts { once_more: true },
            Self::WrongCase => &FalseScripts { once_more: false },
            _ => &SmallScripts,
        }
    }

    fn is_mutant(&self) -> bool {
        true
    }
}

fn stale_report(mutant: Mutant, state: &Execution, input: &Input) -> Option<u32> {
    let Input::Report(report) = input else { return None };
    let task = state.task(report.sequence)?;
    let believed = mutant == Mutant::StaleReportBelieved;
    let stale = task.status.is_closed() && state.status == Status::Running;
    let done = matches!(report.verdict, Verdict::Done(_));
    (believed && stale && done).then_some(report.sequence)
}

fn second_claim(mutant: Mutant, state: &Execution, input: &Input) -> Option<u32> {
    let Input::Claim { sequence, .. } = input else { return None };
    let held = state.task(*sequence)?.status == TaskStatus::InProgress;
    (mutant == Mutant::ClaimedTwice && held).then_some(*sequence)
}

fn closed(sequence: u32, status: TaskStatus) -> Event {
    Event::Closed(Box::new(Closed {
        sequence,
        status,
        output: None,
        reason: None,
        started_at: None,
        worker: None,
        metadata: None,
        retry_after: 0,
    }))
}

impl Mutant {
    fn input(self, input: Input) -> Input {
        match input {
            Input::Report(mut report) if self == Self::TerminalErrorRetried => {
                if report.verdict == Verdict::Done(TaskStatus::FailedWithTerminalError) {
                    report.verdict = Verdict::Done(TaskStatus::Failed);
                }
                Input::Report(report)
            }
            input => input,
        }
    }

    fn falsify(self, state: &Execution, decision: &mut Decision<Event>, now: Timestamp) {
        let Decision { events, effects } = decision;
        match self {
            Self::RetryUncounted => each_scheduled(events, |scheduled| {
                scheduled.attempt = scheduled.attempt.min(1);
            }),
            Self::RetryDelayIgnored => each_scheduled(events, |scheduled| {
                if scheduled.retries > 0 {
                    scheduled.delay = 0;
                }
            }),
            Self::DispatchedEarly => effects.iter_mut().for_each(|effect| {
                if let Effect::Dispatch(dispatch) = effect {
                    dispatch.ready_at = now;
                }
            }),
            Self::JoinEndsEarly => {
                let branch_ended = events.iter().any(|event| matches!(event, Event::Closed(_)));
                let join = state.open_tasks().find(|task| !task.join_on.is_empty());
                if let Some(join) = join.filter(|_| branch_ended) {
                    events.push(closed(join.sequence, TaskStatus::Completed));
                }
            }
            Self::TimeoutIgnored => {
                let timed_out = |event: &Event| matches!(event, Event::Closed(closed) if closed.status == TaskStatus::TimedOut);
                if events.iter().any(timed_out) {
                    events.clear();
                    effects.clear();
                }
            }
            Self::DispatchLost => {
                let lost = |effect: &Effect| matches!(effect, Effect::Dispatch(dispatch) if dispatch.sequence % 5 == 0);
                effects.retain(|effect| !lost(effect));
            }
            Self::MessageTwice => {
                let sends = effects.iter().filter(|effect| matches!(effect, Effect::Send { .. }));
                let again: Vec<Effect> = sends.cloned().collect();
                effects.extend(again);
            }
            Self::ParentNotTold => unsent(effects, |m| matches!(m, Message::Ended { .. })),
            Self::ChildrenForgotten => unsent(effects, |m| matches!(m, Message::Terminate { .. })),
            Self::FailureWorkflowForgotten => {
                unsent(
                    effects,
                    |m| matches!(m, Message::Start(start) if start.failure_of.is_some()),
                );
            }
            Self::RevivalNotTold => unsent(effects, |m| matches!(m, Message::Revived { .. })),
            Self::ForgetsTooMuch => events.iter_mut().for_each(|event| {
                if let Event::Iterated { iteration, forget, .. } = event {
                    *forget = iteration.saturating_sub(1);
                }
            }),
            Self::RestForgotten => events.retain(|event| !matches!(event, Event::Yielded)),
            Self::ResumeForgotten if events.iter().any(|event| matches!(event, Event::Resumed)) => {
                events.retain(|event| matches!(event, Event::At(_) | Event::Resumed));
                effects.clear();
            }
            Self::WithdrawForgotten => {
                effects.retain(|effect| !matches!(effect, Effect::Withdraw { .. }));
            }
            Self::HoldForgotten => {
                effects.retain(|effect| !matches!(effect, Effect::Hold { .. }));
            }
            Self::ErrorsHidden => each_closed(events, |closed| {
                if closed.status == TaskStatus::CompletedWithErrors {
                    closed.status = TaskStatus::Completed;
                }
            }),
            Self::EndsWithOpenTasks => {
                let ends = events.iter().any(|event| matches!(event, Event::Ended(_)));
                let stopped = |event: &Event| matches!(event, Event::Closed(closed) if closed.status == TaskStatus::Canceled);
                if ends {
                    events.retain(|event| !stopped(event));
                }
            }
            Self::EndsTooSoon => {
                let completed = |event: &Event| matches!(event, Event::Closed(closed) if closed.status == TaskStatus::Completed);
                if events.iter().any(completed) && !state.status.is_closed() {
                    let open: Vec<u32> = state.open_tasks().map(|task| task.sequence).collect();
                    events.extend(open.into_iter().map(|s| closed(s, TaskStatus::Canceled)));
                    events.push(ended());
                    effects.retain(|effect| matches!(effect, Effect::Withdraw { .. }));
                }
            }
            Self::BranchForgotten => {
                let forked = events.iter().any(|event| {
                    matches!(event, Event::Scheduled(scheduled) if &*scheduled.task_type == "FORK")
                });
                if forked {
                    forget_branch(state, events, effects);
                }
            }
            Self::FailureCompletes => events.iter_mut().for_each(|event| {
                if let Event::Ended(ended) = event
                    && ended.status == Status::Failed
                {
                    ended.status = Status::Completed;
                }
            }),
            Self::WaitOver => {
                let begun = events.iter().find_map(|event| match event {
                    Event::Begun { sequence, until: Some(_) } => Some(*sequence),
                    _ => None,
                });
                let open = begun.filter(|sequence| {
                    state.task(*sequence).is_some_and(|task| !task.status.is_closed())
                });
                events.extend(open.map(|sequence| closed(sequence, TaskStatus::Completed)));
            }
            _ => {}
        }
    }
}

fn ended() -> Event {
    Event::Ended(Box::new(kernel::graph::Ended {
        status: Status::Completed,
        output: Json::empty_object(),
        reason: None,
    }))
}

/// Takes back the last task that was scheduled by a worker's name, as if it had never been.
fn forget_branch(state: &Execution, events: &mut Vec<Event>, effects: &mut Vec<Effect>) {
    let last = events.iter().rev().find_map(|event| match event {
        Event::Scheduled(scheduled) => Some(scheduled.sequence),
        _ => None,
    });
    let simple = last.filter(|sequence| {
        let task = state.task(*sequence);
        task.is_some_and(|task| task.kind == kernel::graph::Kind::Dispatched)
    });
    let Some(forgotten) = simple else { return };
    events.retain(
        |event| !matches!(event, Event::Scheduled(scheduled) if scheduled.sequence == forgotten),
    );
    effects.retain(
        |effect| !matches!(effect, Effect::Dispatch(dispatch) if dispatch.sequence == forgotten),
    );
}

fn each_scheduled(events: &mut [Event], change: impl Fn(&mut kernel::graph::Scheduled)) {
    for event in events {
        if let Event::Scheduled(scheduled) = event {
            change(scheduled);
        }
    }
}

fn each_closed(events: &mut [Event], change: impl Fn(&mut Closed)) {
    for event in events {
        if let Event::Closed(closed) = event {
            change(closed);
        }
    }
}

fn unsent(effects: &mut Vec<Effect>, which: impl Fn(&Message) -> bool) {
    effects.retain(|effect| !matches!(effect, Effect::Send { message, .. } if which(message)));
}

/// Scripts that lie about loops, or about cases.
struct FalseScripts {
    once_more: bool,
}

impl Scripts for FalseScripts {
    fn javascript(&self, source: &str, form: Form, input: &Json) -> Result<Json, ScriptError> {
        if let Some((reference, bound)) = source.split_once(".iteration<")
            && let Ok(bound) = bound.parse::<u32>()
            && self.once_more
        {
            let source = format!("{reference}.iteration<{}", bound + 1);
            return SmallScripts.javascript(&source, form, input);
        }
        if source.starts_with("const:") && !self.once_more {
            return Ok(Json::of(&"b"));
        }
        SmallScripts.javascript(source, form, input)
    }

    fn jq(&self, program: &str, input: &Json) -> Result<Vec<Json>, ScriptError> {
        SmallScripts.jq(program, input)
    }

    fn check_javascript(&self, _: &str, _: Form) -> Result<(), ScriptError> {
        Ok(())
    }

    fn check_jq(&self, _: &str) -> Result<(), ScriptError> {
        Ok(())
    }
}
