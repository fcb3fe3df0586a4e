//! The decisions of an entity.

use std::sync::Arc;

use uuid::Uuid;

use super::context::{BatchResult, Context, Input, Signal};
use super::event::{Batched, Event};
use super::state::{Entity, Lock, Operation, Queued};
use crate::durable::action::{EntityAction, OperationResult};
use crate::durable::history::{Call, EntityOperation, Fact, LockRequest};
use crate::durable::instance::{Start, life};
use crate::durable::message::{OrchestrationMessage, Origin};
use crate::durable::{FailureDetails, PORTION_MAX, TURN, WorkToken, message_size};
use crate::graph::Message;
use crate::id::ExecutionId;
use crate::machine::{Decision, Dispatch, Effect, Machine, Rejected};
use crate::time::Timestamp;

type Decided = Result<Decision<Event>, Rejected>;

impl Machine for Entity {
    type Input = Input;
    type Event = Event;
    type Context<'a> = Context<'a>;

    fn decide(&mut self, input: Input, context: &Context<'_>) -> Decided {
        let mut draft = Draft::new(self, context);
        match input {
            Input::Wake => draft.wake(),
            Input::Signal(signal) => draft.signal(signal)?,
            Input::Message(Message::Durable(letter)) => draft.read(*letter)?,
            Input::Message(_) => {
                let message = "an entity does not hear such messages".to_owned();
                return Err(Rejected::Invalid(message));
            }
            Input::BatchCompleted(result) => draft.complete(*result)?,
            Input::GiveUp { token, failure } => draft.give_up(&token, &failure)?,
            Input::Release { holder } => draft.release_all(&holder),
        }
        Ok(draft.finish())
    }

    fn apply(&mut self, event: &Event) {
        Self::apply(self, event);
    }

    fn wake_at(&self) -> Option<Timestamp> {
        Self::wake_at(self)
    }
}

struct Draft<'a> {
    state: &'a mut Entity,
    context: &'a Context<'a>,
    events: Vec<Event>,
    effects: Vec<Effect>,
    was_queued: bool,
    batch_over: bool,
}

impl<'a> Draft<'a> {
    fn new(state: &'a mut Entity, context: &'a Context<'a>) -> Self {
        let was_queued = state.wants_batch();
        let (events, effects) = (Vec::new(), Vec::new());
        Self { state, context, events, effects, was_queued, batch_over: false }
    }

    fn push(&mut self, event: Event) {
        self.state.apply(&event);
        self.events.push(event);
    }

    fn write(&mut self, to: ExecutionId, letter: OrchestrationMessage) {
        let message = Box::new(Message::Durable(Box::new(letter)));
        self.effects.push(Effect::Send { to, message });
    }

    fn wake(&mut self) {
        let at = self.context.now;
        let due = |operation: &Operation| operation.operation.scheduled_at.is_none_or(|t| t <= at);
        let scheduled = self.state.scheduled.iter();
        let mut due: Vec<(Timestamp, u64)> = scheduled
            .filter(|(_, operation)| due(operation))
            .map(|(number, it)| (it.operation.scheduled_at.unwrap_or(at), *number))
            .collect();
        due.sort_unstable();
        for (_, number) in due {
            self.push(Event::Due { at, number });
        }
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Rejected> {
        let Signal { request_id, operation, input, scheduled_at, acts_as } = signal;
        let operation = Box::new(EntityOperation {
            request_id,
            operation,
            scheduled_at,
            input,
            parent_instance_id: None,
            parent_execution_id: None,
            target: None,
        });
        self.operate(operation, false, Origin { acts_as, ..Origin::CLIENT })
    }

    fn operate(
        &mut self,
        operation: Box<EntityOperation>,
        answer: bool,
        from: Origin,
    ) -> Result<(), Rejected> {
        let id = &operation.request_id;
        if !id.is_empty() && self.state.seen.contains(id) {
            return Err(Rejected::Stale(format!("request {id} was taken before")));
        }
        let input = operation.input.as_deref().map_or(0, str::len);
        let whole = message_size::of_operation(&operation);
        for (what, length, max) in
            [("input", input, self.context.limits.payload_max), ("operation", whole, PORTION_MAX)]
        {
            if length > max {
                let message = format!("the {what} of {length} bytes is longer than {max} bytes");
                return Err(Rejected::Invalid(message));
            }
        }
        let most = self.context.limits.tasks_max;
        if self.state.backlog() >= most {
            return Err(Rejected::Full(format!("{most} operations wait for the entity already")));
        }
        let at = self.context.now;
        let operation = Operation { at, operation, answer, from };
        self.push(Event::Came { at, item: Queued::Operation(operation) });
        Ok(())
    }

    fn read(&mut self, letter: OrchestrationMessage) -> Result<(), Rejected> {
        let at = self.context.now;
        match letter {
            OrchestrationMessage::Operate { operation, answer, from } => {
                let (to, request) = (from.clone(), operation.request_id.clone());
                match self.operate(operation, answer, from) {
                    Err(Rejected::Invalid(reason) | Rejected::Full(reason)) if answer => {
                        self.refuse(&to, request, &reason);
                        Ok(())
                    }
                    result => result,
                }
            }
            OrchestrationMessage::Lock { request, from } => {
                let Some(holder) = from.sender else {
                    return Err(Rejected::Invalid("a client cannot lock an entity".to_owned()));
                };
                let Origin { execution_id, as_event, .. } = from;
                let lock = Lock { holder, request: *request, execution_id, as_event };
                self.push(Event::Came { at, item: Queued::Lock(lock) });
                Ok(())
            }
            OrchestrationMessage::Unlock { critical_section_id, holder } => {
                self.release(&critical_section_id, &holder, None);
                Ok(())
            }
            OrchestrationMessage::Release { critical_section_id, holder, execution_id } => {
                self.release(&critical_section_id, &holder, execution_id);
                Ok(())
            }
            _ => Err(Rejected::Invalid("an entity is no orchestration instance".to_owned())),
        }
    }

    /// Gives a lock back, or drops the wish for it. The word follows the lock request to where it
    /// went on to, so that no entity is locked by one that is no more.
    fn release(
        &mut self,
        critical_section_id: &Arc<str>,
        holder: &ExecutionId,
        execution_id: Option<Arc<str>>,
    ) {
        let at = self.context.now;
        let is_it = |lock: &Lock| {
            lock.request.critical_section_id == *critical_section_id
                && lock.holder == *holder
                && (execution_id.is_none() || lock.execution_id == execution_id)
        };
        if let Some(lock) = self.state.lock.clone().filter(is_it) {
            self.push(Event::Unlocked { at });
            if let Some((_, next)) = lock.request.next() {
                let to = ExecutionId::entity(self.state.id.hub(), next);
                let (critical_section_id, holder) = (critical_section_id.clone(), holder.clone());
                let execution_id = lock.execution_id;
                self.write(
                    to,
                    OrchestrationMessage::Release { critical_section_id, holder, execution_id },
                );
            }
            return;
        }
        let waits = |item: &Queued| matches!(item, Queued::Lock(lock) if is_it(lock));
        if self.state.waiting.iter().any(waits) {
            let critical_section_id = critical_section_id.clone();
            self.push(Event::Withdrawn { at, critical_section_id, execution_id });
        }
    }

    fn release_all(&mut self, holder: &ExecutionId) {
        let mut sections: Vec<Arc<str>> = Vec::new();
        let mut note = |lock: &Lock| {
            if lock.holder == *holder {
                sections.push(lock.request.critical_section_id.clone());
            }
        };
        if let Some(lock) = &self.state.lock {
            note(lock);
        }
        for item in &self.state.waiting {
            if let Queued::Lock(lock) = item {
                note(lock);
            }
        }
        for section in sections {
            self.release(&section, holder, None);
        }
    }

    /// A worker's answer to a batch.
    fn complete(&mut self, result: BatchResult) -> Result<(), Rejected> {
        let taken = self.current(&result.token)?;
        let BatchResult { results, actions, state, failure, .. } = result;
        self.batch_over = true;
        if let Some(failure) = failure {
            let message = format!("the batch failed and comes again: {}", failure.message);
            return Err(Rejected::Full(message));
        }
        if results.len() > taken {
            let message = format!("{} results for {taken} operations", results.len());
            return Err(Rejected::Invalid(message));
        }
        let at = self.context.now;
        let done: Vec<Operation> = self.state.ready.iter().take(results.len()).cloned().collect();
        let batch = self.state.batch;
        let acts_as = self.state.acts_as().cloned();
        let length = state.as_deref().map_or(0, str::len);
        let max = self.context.limits.payload_max.min(PORTION_MAX);
        if length > max {
            // No worker could be sent it again. The same batch would come to the same, so it has
            // failed: the entity stays as it was and goes on with what comes next.
            let state = self.state.state.clone();
            self.push(Event::Batched(Box::new(Batched { at, done: results.len(), state })));
            let reason = format!("the state of {length} bytes is longer than {max} bytes");
            for operation in done.iter().filter(|operation| operation.answer) {
                self.refuse(&operation.from, operation.operation.request_id.clone(), &reason);
            }
            return Ok(());
        }
        self.push(Event::Batched(Box::new(Batched { at, done: results.len(), state })));
        for (operation, result) in done.into_iter().zip(results) {
            if operation.answer {
                self.answer(&operation, result);
            }
        }
        for (number, action) in actions.into_iter().enumerate() {
            self.act(action, acts_as.clone(), batch, number);
        }
        Ok(())
    }

    /// The operations that were handed out fail.
    fn give_up(&mut self, token: &WorkToken, failure: &FailureDetails) -> Result<(), Rejected> {
        let taken = self.current(token)?;
        self.batch_over = true;
        let given_up: Vec<Operation> = self.state.ready.iter().take(taken).cloned().collect();
        let (at, state) = (self.context.now, self.state.state.clone());
        self.push(Event::Batched(Box::new(Batched { at, done: taken, state })));
        for operation in given_up.into_iter().filter(|operation| operation.answer) {
            let failure = Box::new(failure.clone());
            self.answer(&operation, OperationResult::Failed { failure });
        }
        Ok(())
    }

    fn current(&self, token: &WorkToken) -> Result<usize, Rejected> {
        let WorkToken::Batch { born, batch, taken, .. } = token else {
            return Err(Rejected::Invalid("the token is not that of a batch".to_owned()));
        };
        let holds = self.state.born == Some(*born)
            && self.state.batch == *batch
            && *taken <= self.state.ready.len()
            && *taken > 0;
        if !holds {
            let id = self.state.entity_id();
            let message = format!(
                "the completion token is not that of the current batch of entity '{id}': the \
                 batch was completed, or the entity began anew"
            );
            return Err(Rejected::Stale(message));
        }
        Ok(*taken)
    }

    fn answer(&mut self, operation: &Operation, result: OperationResult) {
        let request_id = operation.operation.request_id.clone();
        let as_event = operation.from.as_event;
        let max = self.context.limits.payload_max;
        let fact = match result {
            OperationResult::Done { result: Some(result) } if result.len() > max => {
                let reason =
                    format!("the result of {} bytes is longer than {max} bytes", result.len());
                return self.refuse(&operation.from, request_id, &reason);
            }
            OperationResult::Done { result } => {
                Fact::EntityOperationCompleted { request_id, output: result, as_event }
            }
            OperationResult::Failed { failure } => {
                Fact::EntityOperationFailed { request_id, failure, as_event }
            }
        };
        self.reply(&operation.from, fact);
    }

    fn refuse(&mut self, to: &Origin, request_id: Arc<str>, reason: &str) {
        let failure = FailureDetails::new("EntityOperationRefused", reason);
        let (failure, as_event) = (Box::new(failure), to.as_event);
        self.reply(to, Fact::EntityOperationFailed { request_id, failure, as_event });
    }

    fn reply(&mut self, to: &Origin, fact: Fact) {
        if let Some(sender) = to.sender.clone() {
            let execution_id = to.execution_id.clone();
            let fact = Box::new(fact);
            self.write(sender, OrchestrationMessage::Happened { fact, execution_id });
        }
    }

    /// What an operation asks for.
    fn act(&mut self, action: EntityAction, acts_as: Option<Arc<str>>, batch: u64, number: usize) {
        let me = self.state.id.clone();
        match action {
            EntityAction::Signal { entity, operation, input, scheduled_at } => {
                let request_id = guid(&me, batch, number);
                let operation = Box::new(EntityOperation {
                    request_id,
                    operation,
                    scheduled_at,
                    input,
                    parent_instance_id: None,
                    parent_execution_id: None,
                    target: None,
                });
                let from = Origin { sender: Some(me.clone()), acts_as, ..Origin::CLIENT };
                let to = ExecutionId::entity(me.hub(), &entity);
                self.write(to, OrchestrationMessage::Operate { operation, answer: false, from });
            }
            EntityAction::Start { instance_id, call, scheduled_at } => {
                let Call { name, version, input, tags, trace } = *call;
                let seed = format!("{batch}/{number}");
                let id =
                    if instance_id.is_empty() { life(me.as_str(), &seed) } else { instance_id };
                let to = ExecutionId::instance(me.hub(), &id);
                let life = life(&id, &format!("{me}/{seed}"));
                let start = Start {
                    version,
                    tags,
                    trace,
                    scheduled_at,
                    replaces: Start::closed_statuses(),
                    acts_as,
                    ..Start::new(&name, input, life)
                };
                self.write(to, OrchestrationMessage::Start(Box::new(start)));
            }
        }
    }

    /// Hands on what may go on now, until all stands still.
    fn settle(&mut self) {
        let at = self.context.now;
        loop {
            if self.state.is_held_up() {
                self.push(Event::Released { at });
            } else if let Some(lock) = self.state.next_lock().cloned() {
                self.push(Event::Locked { at, lock: lock.clone() });
                self.pass_on(&lock);
            } else {
                return;
            }
        }
    }

    /// The lock request goes on to the next entity; the last one tells whoever asked.
    fn pass_on(&mut self, lock: &Lock) {
        let Lock { holder, execution_id, as_event, .. } = lock.clone();
        let from = Origin { sender: Some(holder), execution_id, as_event, acts_as: None };
        if let Some((position, next)) = lock.request.next() {
            let to = ExecutionId::entity(self.state.id.hub(), next);
            let request = Box::new(LockRequest { position, ..lock.request.clone() });
            return self.write(to, OrchestrationMessage::Lock { request, from });
        }
        let critical_section_id = lock.request.critical_section_id.clone();
        self.reply(&from, Fact::EntityLockGranted { critical_section_id, as_event });
    }

    fn finish(mut self) -> Decision<Event> {
        self.settle();
        let wants = self.state.wants_batch();
        if wants && (!self.was_queued || self.batch_over) {
            let queue: Arc<str> = self.state.queue().to_string().into();
            self.effects.push(Effect::Dispatch(Dispatch {
                sequence: TURN,
                name: queue.clone(),
                queue,
                priority: 0,
                ready_at: self.context.now,
                concurrent_max: 0,
                rate_max: 0,
                rate_window_seconds: 1,
            }));
        } else if !wants && self.was_queued {
            self.effects.push(Effect::Withdraw { sequence: TURN });
        }
        Decision { events: self.events, effects: self.effects }
    }
}

/// A GUID that follows from what is known.
fn guid(entity: &ExecutionId, batch: u64, number: usize) -> Arc<str> {
    let name = format!("{entity}/{batch}/{number}");
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string().into()
}
