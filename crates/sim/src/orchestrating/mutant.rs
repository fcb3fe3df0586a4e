//! Kernels and engines that are broken on purpose, to find out whether the auditor would notice.

use kernel::durable::entity::{self, Entity};
use kernel::durable::instance::{self, Instance, Start};
use kernel::durable::{
    ExecutionCompleted, Fact, HistoryEvent, OrchestrationMessage, Outcome, Status, TURN, WorkToken,
};
use kernel::graph::Message;
use kernel::{Decision, Effect, Machine, Rejected, Timestamp};

/// What a world runs.
pub trait Keeper {
    /// Decides an input for an instance.
    ///
    /// # Errors
    /// As [`Machine::decide`].
    fn instance(
        &self,
        state: &mut Instance,
        input: instance::Input,
        context: &instance::Context<'_>,
    ) -> Result<Decision<instance::Event>, Rejected> {
        Machine::decide(state, input, context)
    }

    /// Decides an input for an entity.
    ///
    /// # Errors
    /// As [`Machine::decide`].
    fn entity(
        &self,
        state: &mut Entity,
        input: entity::Input,
        context: &entity::Context<'_>,
    ) -> Result<Decision<entity::Event>, Rejected> {
        Machine::decide(state, input, context)
    }

    /// When an instance is to look at the clock.
    fn wake_instance(&self, state: &Instance) -> Option<Timestamp> {
        state.wake_at()
    }

    /// When an entity is to look at the clock.
    fn wake_entity(&self, state: &Entity) -> Option<Timestamp> {
        state.wake_at()
    }

    /// What the engine around them does wrong.
    fn slip(&self) -> Option<Slip> {
        None
    }

    /// Whether a state must be folded anew after each commit.
    fn is_mutant(&self) -> bool {
        false
    }
}

/// Instances and entities as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Keeper for Real {}

/// What an engine may do wrong when it dies, or hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slip {
    /// Messages are kept in memory only.
    OutboxInMemory,
    /// Messages are written before the facts that they follow from, and apart from them.
    OutboxFirst,
    /// A message is deleted only after its receiver's commit.
    MessageTwice,
    /// The queues are kept in memory only.
    QueuesInMemory,
    /// Nobody is woken any more after a death.
    TimersForgotten,
}

/// One way to break an instance, an entity, or the engine around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The engine is wrong.
    Shell(Slip),
    /// The answer to a turn that is over counts.
    StaleTurnBelieved,
    /// A late result of an activity counts for another that bears its number now.
    StaleActivityBelieved,
    /// What an entity answers to a life before is news to this one.
    AnswerForAnotherLife,
    /// A child's end is believed whoever asked for it.
    ChildEndUnchecked,
    /// A raised event is lost.
    EventLost,
    /// A raised event comes twice.
    EventTwice,
    /// Two that are new change places.
    NewsReordered,
    /// What came while a turn was out is lost when the instance begins anew.
    EventsLostWhenContinued,
    /// What an orchestrator takes along is lost.
    CarryoverForgotten,
    /// The next life bears the name of the last.
    LifeKeepsItsName,
    /// A life that continues does not answer its parent.
    ParentForgotten,
    /// All that was handed out counts as looked at.
    ProcessedIgnored,
    /// The last that was looked at comes again.
    NewsTwice,
    /// A turn's lines stand in another order.
    HistoryReordered,
    /// A line of a turn is missing from the history.
    LineLost,
    /// What an orchestrator shows is not replaced.
    CustomStatusKept,
    /// The output is lost.
    OutputLost,
    /// A pause is not noticed.
    SuspendIgnored,
    /// What a worker asks for again is done again.
    RepeatsBelieved,
    /// Timers fire five seconds early.
    TimerEarly,
    /// Nobody is told to look at the clock.
    WakeForgotten,
    /// An instance begins before it is due.
    StartsEarly,
    /// One that runs is replaced, whatever its starter wants.
    ReplacesAnything,
    /// What has ended is ended again.
    EndsTwice,
    /// Now and then an activity is not put into its queue.
    DispatchLost,
    /// After a turn that leaves something new, no other is offered.
    NextTurnForgotten,
    /// Activities of what has ended stay in their queues.
    WithdrawForgotten,
    /// A parent is not told of its child's end.
    ParentNotTold,
    /// A detached child answers.
    DetachedAnswers,
    /// Children outlive a parent that is ended with them.
    RecursionForgotten,
    /// One that is ended takes whoever bears a child's id with it.
    RecursionHitsAnyone,
    /// Who ends keeps its locks.
    LocksKept,
    /// What a rewind has to do again is not put into its queue.
    RewindDispatchLost,
    /// Children do not hear of a rewind.
    RewindNotPassedOn,
    /// A restart forgets the input.
    RestartWithoutInput,
    /// An operation is lost.
    OperationLost,
    /// A request that comes twice is done twice.
    RequestTwice,
    /// Operations go out in another order.
    OperationsReordered,
    /// The last operation of a batch comes again.
    OperationAgain,
    /// A late answer to a batch counts.
    StaleBatchBelieved,
    /// What an operation left is lost.
    StateLost,
    /// A caller is not answered.
    CallerNotAnswered,
    /// A caller is answered twice.
    CallerAnsweredTwice,
    /// A signal is done before its instant.
    SignalEarly,
    /// A lock is granted when the first entity has it.
    LockGrantedEarly,
    /// Anybody can take a lock back.
    AnybodyUnlocks,
    /// A lock keeps nobody out.
    LockKeepsNobodyOut,
    /// The word of a lock given back goes no further than the first entity.
    ReleaseNotPassedOn,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 53] = [
        Self::Shell(Slip::OutboxInMemory),
        Self::Shell(Slip::OutboxFirst),
        Self::Shell(Slip::MessageTwice),
        Self::Shell(Slip::QueuesInMemory),
        Self::Shell(Slip::TimersForgotten),
        Self::StaleTurnBelieved,
        Self::StaleActivityBelieved,
        Self::AnswerForAnotherLife,
        Self::ChildEndUnchecked,
        Self::EventLost,
        Self::EventTwice,
        Self::NewsReordered,
        Self::EventsLostWhenContinued,
        Self::CarryoverForgotten,
        Self::LifeKeepsItsName,
        Self::ParentForgotten,
        Self::ProcessedIgnored,
        Self::NewsTwice,
        Self::HistoryReordered,
        Self::LineLost,
        Self::CustomStatusKept,
        Self::OutputLost,
        Self::SuspendIgnored,
        Self::RepeatsBelieved,
        Self::TimerEarly,
        Self::WakeForgotten,
        Self::StartsEarly,
        Self::ReplacesAnything,
        Self::EndsTwice,
        Self::DispatchLost,
        Self::NextTurnForgotten,
        Self::WithdrawForgotten,
        Self::ParentNotTold,
        Self::DetachedAnswers,
        Self::RecursionForgotten,
        Self::RecursionHitsAnyone,
        Self::LocksKept,
        Self::RewindDispatchLost,
        Self::RewindNotPassedOn,
        Self::RestartWithoutInput,
        Self::OperationLost,
        Self::RequestTwice,
        Self::OperationsReordered,
        Self::OperationAgain,
        Self::StaleBatchBelieved,
        Self::StateLost,
        Self::CallerNotAnswered,
        Self::CallerAnsweredTwice,
        Self::SignalEarly,
        Self::LockGrantedEarly,
        Self::AnybodyUnlocks,
        Self::LockKeepsNobodyOut,
        Self::ReleaseNotPassedOn,
    ];
}

impl Keeper for Mutant {
    fn instance(
        &self,
        state: &mut Instance,
        input: instance::Input,
        context: &instance::Context<'_>,
    ) -> Result<Decision<instance::Event>, Rejected> {
        let before = state.clone();
        if *self == Self::EndsTwice
            && before.status.is_closed()
            && let instance::Input::Terminate { output, .. } = &input
        {
            let (outcome, result) = (Outcome::Terminated, output.clone());
            let end = Box::new(ExecutionCompleted { outcome, result, failure: None });
            let events = vec![instance::Event::Ended { id: -1, at: context.now, end }];
            return Ok(Decision { events, effects: Vec::new() });
        }
        let rewinds = before.rewinding;
        let input = self.falsify_input(&before, input);
        let now = match (self, &input) {
            (Self::TimerEarly, instance::Input::Wake) => context.now.plus_seconds(5),
            _ => context.now,
        };
        let context = instance::Context { now, ..*context };
        let mut decision = Machine::decide(state, input, &context)?;
        self.falsify(&before, &mut decision.events, context.now);
        self.falsify_effects(&mut decision.effects, rewinds);
        Ok(decision)
    }

    fn entity(
        &self,
        state: &mut Entity,
        input: entity::Input,
        context: &entity::Context<'_>,
    ) -> Result<Decision<entity::Event>, Rejected> {
        let input = self.falsify_entity_input(state, input);
        let before = state.clone();
        let mut decision = Machine::decide(state, input, context)?;
        self.falsify_entity(&before, &mut decision);
        Ok(decision)
    }

    fn wake_instance(&self, state: &Instance) -> Option<Timestamp> {
        let at = state.wake_at();
        match self {
            Self::WakeForgotten => None,
            Self::TimerEarly => at.map(|at| at.plus_seconds(-5)),
            _ => at,
        }
    }

    fn slip(&self) -> Option<Slip> {
        match self {
            Self::Shell(slip) => Some(*slip),
            _ => None,
        }
    }

    fn is_mutant(&self) -> bool {
        true
    }
}

impl Mutant {
    /// What goes into an instance, falsified.
    fn falsify_input(self, state: &Instance, input: instance::Input) -> instance::Input {
        use instance::Input;
        match (self, input) {
            (Self::StaleTurnBelieved, Input::TurnCompleted(mut result)) => {
                if let WorkToken::Turn { execution_id, turn, taken, .. } = &mut result.token {
                    (*execution_id, *turn) = (state.execution_id(), state.turn);
                    *taken = (*taken).min(state.inbox.len());
                }
                Input::TurnCompleted(result)
            }
            (Self::RepeatsBelieved, Input::TurnCompleted(mut result)) => {
                let used = |id: i32| state.history.iter().any(|line| line.id == id);
                for action in &mut result.actions {
                    if used(action.id) {
                        action.id += 1000;
                    }
                }
                Input::TurnCompleted(result)
            }
            (Self::StaleActivityBelieved, Input::ActivityCompleted { mut token, result }) => {
                if let WorkToken::Activity { execution_id, sequence, .. } = &mut token {
                    *execution_id = state.execution_id();
                    if let Some(other) = state.queued().into_iter().find(|it| *it != TURN) {
                        *sequence = other;
                    }
                }
                Input::ActivityCompleted { token, result }
            }
            (Self::RestartWithoutInput, Input::Restart { execution_id }) => {
                let Some(start) = state.start.as_ref() else {
                    return Input::Restart { execution_id };
                };
                let mut start = start.again(execution_id);
                start.input = None;
                start.replaces = Start::closed_statuses();
                Input::Start(Box::new(start))
            }
            (_, Input::Start(mut start)) => {
                match self {
                    Self::StartsEarly => start.scheduled_at = None,
                    Self::ReplacesAnything => start.replaces = Status::ALL.into_iter().collect(),
                    _ => {}
                }
                Input::Start(start)
            }
            (_, Input::Message(Message::Durable(letter))) => {
                Input::Message(Message::Durable(Box::new(self.falsify_letter(*letter))))
            }
            (_, input) => input,
        }
    }

    fn falsify_letter(self, letter: OrchestrationMessage) -> OrchestrationMessage {
        match (self, letter) {
            (Self::AnswerForAnotherLife, OrchestrationMessage::Happened { fact, .. }) => {
                OrchestrationMessage::Happened { fact, execution_id: None }
            }
            (
                Self::ChildEndUnchecked,
                OrchestrationMessage::ChildEnded { parent, result, failure, .. },
            ) => {
                let task = parent.task;
                let fact = Box::new(match failure {
                    Some(failure) => Fact::SubOrchestrationFailed { task, failure },
                    None => Fact::SubOrchestrationCompleted { task, result },
                });
                OrchestrationMessage::Happened { fact, execution_id: None }
            }
            (Self::DetachedAnswers, OrchestrationMessage::Start(mut start)) => {
                start.detached = false;
                OrchestrationMessage::Start(start)
            }
            (
                Self::RecursionHitsAnyone,
                OrchestrationMessage::Terminate { reason, recurse, .. },
            ) => OrchestrationMessage::Terminate { reason, recurse, child_of: None },
            (_, letter) => letter,
        }
    }

    /// What an instance decides, falsified.
    fn falsify(self, before: &Instance, events: &mut Vec<instance::Event>, now: Timestamp) {
        use instance::Event;
        let raised = |event: &HistoryEvent| matches!(event.fact, Fact::EventRaised { .. });
        for event in events.iter_mut() {
            match (self, event) {
                (Self::EventLost, Event::Received { events }) => events.retain(|it| !raised(it)),
                (Self::EventTwice, Event::Received { events }) => {
                    let again: Vec<_> = events.iter().filter(|it| raised(it)).cloned().collect();
                    events.extend(again);
                }
                (Self::SuspendIgnored, Event::Received { events }) => {
                    events.retain(|it| !matches!(it.fact, Fact::ExecutionSuspended { .. }));
                }
                (Self::CarryoverForgotten, Event::Continued(next)) => next.carryover.clear(),
                (Self::LifeKeepsItsName, Event::Continued(next)) => {
                    next.execution_id = before.execution_id();
                }
                (Self::ProcessedIgnored, Event::Turned(turned)) => {
                    turned.processed = before.inbox.len();
                }
                (Self::NewsTwice, Event::Turned(turned)) => {
                    turned.processed = turned.processed.saturating_sub(1);
                }
                (Self::HistoryReordered, Event::Turned(turned)) => turned.events.reverse(),
                (Self::LineLost, Event::Turned(turned)) => {
                    turned.events.retain(|it| !matches!(it.fact, Fact::EventSent { .. }));
                }
                (Self::CustomStatusKept, Event::Turned(turned))
                    if before.custom_status.is_some() =>
                {
                    turned.custom_status.clone_from(&before.custom_status);
                }
                (Self::OutputLost, Event::Ended { end, .. }) => end.result = None,
                _ => {}
            }
        }
        let continues = events.iter().any(|event| matches!(event, Event::Continued(_)));
        let receives = events.iter().any(|event| matches!(event, Event::Received { .. }));
        let falsifies = match self {
            Self::EventsLostWhenContinued | Self::ParentForgotten => continues,
            Self::NewsReordered => receives,
            _ => false,
        };
        if !falsifies {
            return;
        }
        let mut after = before.clone();
        for event in events.iter() {
            after.apply(event);
        }
        match self {
            Self::NewsReordered if after.inbox.len() > 2 => after.inbox.swap(1, 2),
            Self::EventsLostWhenContinued => after.inbox.retain(|event| event.at == now),
            Self::ParentForgotten => {
                after.start.as_mut().into_iter().for_each(|start| start.parent = None);
            }
            _ => return,
        }
        events.push(after.snapshot());
    }

    /// What an instance sends and hands out, falsified.
    fn falsify_effects(self, effects: &mut Vec<Effect>, rewinds: bool) {
        let dispatches = |effect: &Effect, turn: bool| matches!(effect, Effect::Dispatch(it) if (it.sequence == TURN) == turn);
        let withdraws =
            |effect: &Effect| matches!(effect, Effect::Withdraw { sequence } if *sequence != TURN);
        match self {
            Self::DispatchLost => {
                effects.retain(|it| !matches!(it, Effect::Dispatch(it) if it.sequence != TURN && it.sequence.is_multiple_of(3)));
            }
            Self::NextTurnForgotten if effects.len() == 1 => {
                effects.retain(|it| !dispatches(it, true));
            }
            Self::WithdrawForgotten if effects.iter().filter(|it| withdraws(it)).count() > 1 => {
                effects.retain(|it| !withdraws(it));
            }
            Self::RewindDispatchLost if rewinds => effects.retain(|it| !dispatches(it, false)),
            Self::ParentNotTold => {
                drop_letters(effects, |it| matches!(it, OrchestrationMessage::ChildEnded { .. }));
            }
            Self::RecursionForgotten => {
                drop_letters(effects, |it| {
                    matches!(it, OrchestrationMessage::Terminate { recurse: true, .. })
                });
            }
            Self::LocksKept => {
                drop_letters(effects, |it| matches!(it, OrchestrationMessage::Release { .. }));
            }
            Self::RewindNotPassedOn => {
                drop_letters(effects, |it| matches!(it, OrchestrationMessage::Rewind(_)));
            }
            _ => {}
        }
    }

    /// What goes into an entity, falsified.
    fn falsify_entity_input(self, state: &Entity, input: entity::Input) -> entity::Input {
        use entity::Input;
        match (self, input) {
            (Self::RequestTwice, Input::Signal(mut signal)) => {
                signal.request_id = format!("{}/{}", signal.request_id, state.backlog()).into();
                Input::Signal(signal)
            }
            (Self::SignalEarly, Input::Signal(mut signal)) => {
                signal.scheduled_at = None;
                Input::Signal(signal)
            }
            (Self::StaleBatchBelieved, Input::BatchCompleted(mut result)) => {
                if let WorkToken::Batch { batch, taken, .. } = &mut result.token {
                    *batch = state.batch;
                    let ready = state.work().map_or(0, |batch| batch.operations.len());
                    *taken = (*taken).min(ready);
                    result.results.truncate(*taken);
                }
                Input::BatchCompleted(result)
            }
            (Self::AnybodyUnlocks, Input::Message(Message::Durable(letter))) => {
                let mut letter = *letter;
                if let (
                    OrchestrationMessage::Release { critical_section_id, holder, execution_id },
                    Some(lock),
                ) = (&mut letter, &state.lock)
                {
                    *execution_id = None;
                    *critical_section_id = lock.request.critical_section_id.clone();
                    *holder = lock.holder.clone();
                }
                Input::Message(Message::Durable(Box::new(letter)))
            }
            (Self::LockKeepsNobodyOut, Input::Message(Message::Durable(letter))) => {
                let mut letter = *letter;
                if let (OrchestrationMessage::Operate { from, .. }, Some(lock)) =
                    (&mut letter, &state.lock)
                {
                    from.sender = Some(lock.holder.clone());
                }
                Input::Message(Message::Durable(Box::new(letter)))
            }
            (_, input) => input,
        }
    }

    /// What an entity decides, falsified.
    fn falsify_entity(self, before: &Entity, decision: &mut Decision<entity::Event>) {
        use entity::{Event, Queued};
        let Decision { events, effects } = decision;
        let answers =
            |letter: &OrchestrationMessage| matches!(letter, OrchestrationMessage::Happened { .. });
        match self {
            Self::OperationLost if before.backlog() > 1 => {
                let came =
                    |event: &Event| matches!(event, Event::Came { item: Queued::Operation(_), .. });
                events.retain(|event| !came(event));
            }
            Self::OperationsReordered => {
                let mut after = before.clone();
                for event in events.iter() {
                    after.apply(event);
                }
                let mut value = serde_json::to_value(&after).expect("a state serializes");
                if let Some(ready) = value["ready"].as_array_mut().filter(|it| it.len() > 1) {
                    ready.reverse();
                    let after: Entity = serde_json::from_value(value).expect("it was one");
                    events.push(after.snapshot());
                }
            }
            Self::OperationAgain => events.iter_mut().for_each(|event| {
                if let Event::Batched(batched) = event {
                    batched.done = batched.done.saturating_sub(1);
                }
            }),
            Self::StateLost => events.iter_mut().for_each(|event| {
                if let Event::Batched(batched) = event {
                    batched.state.clone_from(&before.state);
                }
            }),
            Self::CallerNotAnswered => drop_letters(effects, answers),
            Self::CallerAnsweredTwice => {
                let again: Vec<Effect> = letters(effects, answers).cloned().collect();
                effects.extend(again);
            }
            Self::LockGrantedEarly => effects.iter_mut().for_each(|effect| {
                let Effect::Send { to, message } = effect else { return };
                let Message::Durable(letter) = &mut **message else { return };
                if let OrchestrationMessage::Lock { request, from } = &**letter
                    && let Some(holder) = from.sender.clone()
                {
                    let critical_section_id = request.critical_section_id.clone();
                    let fact =
                        Box::new(Fact::EntityLockGranted { critical_section_id, as_event: false });
                    let execution_id = from.execution_id.clone();
                    *to = holder;
                    **letter = OrchestrationMessage::Happened { fact, execution_id };
                }
            }),
            Self::ReleaseNotPassedOn => {
                drop_letters(effects, |it| matches!(it, OrchestrationMessage::Release { .. }));
            }
            _ => {}
        }
    }
}

fn is_letter(effect: &Effect, wanted: impl Fn(&OrchestrationMessage) -> bool) -> bool {
    let Effect::Send { message, .. } = effect else { return false };
    matches!(&**message, Message::Durable(letter) if wanted(letter))
}

fn drop_letters(effects: &mut Vec<Effect>, wanted: impl Fn(&OrchestrationMessage) -> bool) {
    effects.retain(|effect| !is_letter(effect, &wanted));
}

fn letters(
    effects: &[Effect],
    wanted: impl Fn(&OrchestrationMessage) -> bool,
) -> impl Iterator<Item = &Effect> {
    effects.iter().filter(move |effect| is_letter(effect, &wanted))
}
