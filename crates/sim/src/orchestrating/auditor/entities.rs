//! What the auditor knows of entities: operations once and in order, locks for one at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use kernel::durable::entity::{Batch, BatchResult, Input};
use kernel::durable::{EntityAction, EntityOperation, Fact, OperationResult, OrchestrationMessage};
use kernel::graph::Message;
use kernel::{ExecutionId, Timestamp};

use super::super::clients::HUB;
use super::super::host::AnyInput;
use super::owed::Owed;
use super::{Auditor, HandOut, Objection, Shown, Text, objection, wish};

type Found<T> = Result<T, (&'static str, String)>;

/// What is known of one entity.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// Operations that were taken and not done, as they came.
    waiting: Vec<Operation>,
    /// Requests that were taken, ever.
    seen: BTreeSet<Arc<str>>,
    state: Text,
    /// Batches that were answered.
    pub(super) batch: u64,
    /// What went out with the batch that is out.
    out: Vec<Arc<str>>,
    /// Who has it locked, as is shown.
    lock: Option<(ExecutionId, Arc<str>)>,
    /// Lock requests that came here, with their positions.
    wanted: BTreeSet<(Arc<str>, usize)>,
}

#[derive(Clone, Debug)]
struct Operation {
    asked: EntityOperation,
    answer: bool,
    sender: Option<ExecutionId>,
    /// It came before it was due.
    later: bool,
}

impl Notes {
    /// A batch goes out.
    pub(super) fn handed(&mut self, now: Timestamp, batch: &Batch) -> Found<()> {
        if batch.state != self.state {
            let what = format!("{:?} goes out, and {:?} was left", batch.state, self.state);
            return Err(("the state is what was left", what));
        }
        let mut left = self.waiting.clone();
        let mut out = Vec::new();
        for event in &batch.operations {
            let (Fact::EntityCalled(asked) | Fact::EntitySignaled(asked)) = &event.fact else {
                return Err(("operations are as asked for", format!("{event:?}")));
            };
            let called = matches!(event.fact, Fact::EntityCalled(_));
            let is_it = |it: &Operation| it.asked.request_id == asked.request_id;
            let Some(at) = left.iter().position(is_it) else {
                return Err(("operations are done once", format!("{asked:?} goes out")));
            };
            let operation = left.remove(at);
            if operation.asked != **asked || operation.answer != called {
                let what = format!("{asked:?}, and asked was {operation:?}");
                return Err(("operations are as asked for", what));
            }
            if asked.scheduled_at.is_some_and(|due| due > now) {
                return Err(("signals are never early", format!("{asked:?} at {now:?}")));
            }
            let earlier = |it: &Operation| !it.later && it.sender == operation.sender;
            if !operation.later && left[..at].iter().any(earlier) {
                let what = format!("{asked:?} overtakes another of its sender");
                return Err(("operations keep their order", what));
            }
            if let Some((holder, _)) = &self.lock
                && operation.sender.as_ref() != Some(holder)
            {
                return Err(("locks keep others out", format!("{asked:?} while {holder} has it")));
            }
            out.push(asked.request_id.clone());
        }
        if !out.starts_with(&self.out) {
            return Err(("a batch comes again", format!("{:?} was out, now {out:?}", self.out)));
        }
        self.out = out;
        Ok(())
    }

    pub(super) fn finish(&self) -> Found<()> {
        if let Some(operation) = self.waiting.first() {
            return Err(("operations are done", format!("{operation:?} was not")));
        }
        match &self.lock {
            Some(lock) => Err(("locks are given back", format!("{lock:?} has it still"))),
            None => Ok(()),
        }
    }

    fn take(&mut self, now: Timestamp, asked: EntityOperation, of: Operation) {
        self.seen.insert(asked.request_id.clone());
        let later = asked.scheduled_at.is_some_and(|due| due > now);
        self.waiting.push(Operation { asked, later, ..of });
    }
}

impl Auditor {
    pub(super) fn said_to_entity(
        &mut self,
        now: Timestamp,
        id: &ExecutionId,
        input: &AnyInput,
        taken: bool,
        shown: &Shown,
    ) -> Result<Vec<(ExecutionId, Owed)>, Objection> {
        let mut owed = Vec::new();
        let must = match input {
            AnyInput::Entity(input) => match &**input {
                Input::Signal(signal) => {
                    let notes = self.entities.entry(id.clone()).or_default();
                    let fresh = !notes.seen.contains(&signal.request_id);
                    if fresh {
                        let asked = EntityOperation {
                            request_id: signal.request_id.clone(),
                            operation: signal.operation.clone(),
                            scheduled_at: signal.scheduled_at,
                            input: signal.input.clone(),
                            parent_instance_id: None,
                            parent_execution_id: None,
                            target: None,
                        };
                        let of = Operation {
                            asked: asked.clone(),
                            answer: false,
                            sender: None,
                            later: false,
                        };
                        notes.take(now, asked, of);
                    }
                    fresh
                }
                Input::BatchCompleted(result) => self.batch_answered(id, result, &mut owed),
                _ => taken,
            },
            AnyInput::Message(Message::Durable(letter)) => {
                self.entities.entry(id.clone()).or_default();
                self.letter_to_entity(now, id, letter, &mut owed)
            }
            _ => taken,
        };
        if must != taken {
            let what = format!("taken: {taken}, and should be {must}: {input:?}");
            return Err(objection(id, "who is heard", what));
        }
        self.locks_move(id, shown, &mut owed)?;
        let notes = self.entities.entry(id.clone()).or_default();
        if notes.state != shown.state {
            let what = format!("it shows {:?}, and {:?} was left", shown.state, notes.state);
            return Err(objection(id, "the state is what was left", what));
        }
        Ok(owed)
    }

    fn letter_to_entity(
        &mut self,
        now: Timestamp,
        id: &ExecutionId,
        letter: &OrchestrationMessage,
        owed: &mut Vec<(ExecutionId, Owed)>,
    ) -> bool {
        let Some(notes) = self.entities.get_mut(id) else { return false };
        match letter {
            OrchestrationMessage::Operate { operation, answer, from } => {
                if notes.seen.contains(&operation.request_id) {
                    return false;
                }
                let of = Operation {
                    asked: (**operation).clone(),
                    answer: *answer,
                    sender: from.sender.clone(),
                    later: false,
                };
                notes.take(now, (**operation).clone(), of);
            }
            OrchestrationMessage::Lock { request, from } => {
                let life = from.execution_id.as_deref().unwrap_or_default();
                let wanted = wish(&request.critical_section_id, life);
                notes.wanted.insert((wanted, request.position));
            }
            OrchestrationMessage::Unlock { critical_section_id, holder } => {
                self.given_back(id, critical_section_id, holder, None, owed);
            }
            OrchestrationMessage::Release { critical_section_id, holder, execution_id } => {
                self.given_back(id, critical_section_id, holder, execution_id.as_ref(), owed);
            }
            _ => return false,
        }
        true
    }

    /// A lock is given back, or a wish dropped; the word goes where the wish has gone.
    fn given_back(
        &mut self,
        id: &ExecutionId,
        section: &Arc<str>,
        holder: &ExecutionId,
        life: Option<&Arc<str>>,
        owed: &mut Vec<(ExecutionId, Owed)>,
    ) {
        let Some(notes) = self.entities.get_mut(id) else { return };
        let is_it = |wanted: &Arc<str>| match life {
            Some(life) => *wanted == wish(section, life),
            None => wanted.starts_with(&format!("{section}@")),
        };
        let has_it = notes.lock.as_ref().filter(|(by, wanted)| by == holder && is_it(wanted));
        if let Some((_, has)) = has_it
            && let Some((_, position)) = notes.wanted.iter().find(|(it, _)| it == has)
            && let Some(known) = self.sections.get(has)
            && let Some(next) = known.entities.get(position + 1)
        {
            let to = ExecutionId::entity(HUB, next);
            owed.push((to, Owed::Release { section: section.clone() }));
        }
        notes.wanted.retain(|(it, _)| !is_it(it));
    }

    fn batch_answered(
        &mut self,
        id: &ExecutionId,
        result: &BatchResult,
        owed: &mut Vec<(ExecutionId, Owed)>,
    ) -> bool {
        let handed = self.handed.get(&result.token.to_string()).cloned();
        let (Some(HandOut::Batch { batch, count }), Some(notes)) =
            (handed, self.entities.get_mut(id))
        else {
            return false;
        };
        if batch != notes.batch || result.results.len() > count {
            return false;
        }
        notes.batch += 1;
        notes.state.clone_from(&result.state);
        for (request, result) in std::mem::take(&mut notes.out).into_iter().zip(&result.results) {
            let is_it = |it: &Operation| it.asked.request_id == request;
            let Some(at) = notes.waiting.iter().position(is_it) else { continue };
            let operation = notes.waiting.remove(at);
            if let Some(to) = operation.sender.filter(|_| operation.answer) {
                let done = match result {
                    OperationResult::Done { result } => Some(result.clone()),
                    OperationResult::Failed { .. } => None,
                };
                owed.push((to, Owed::Answer { request, done }));
            }
        }
        for action in &result.actions {
            match action {
                EntityAction::Signal { entity, input, .. } => {
                    let to = ExecutionId::entity(HUB, entity);
                    owed.push((to, Owed::Operate { input: input.clone(), answer: false }));
                }
                EntityAction::Start { instance_id, call, .. } => {
                    let (name, input) = (call.name.clone(), call.input.clone());
                    let start = Owed::Start { name, input, parent: None, detached: false };
                    owed.push((ExecutionId::instance(HUB, instance_id), start));
                }
            }
        }
        true
    }

    /// Judges who has an entity locked now.
    fn locks_move(
        &mut self,
        id: &ExecutionId,
        shown: &Shown,
        owed: &mut Vec<(ExecutionId, Owed)>,
    ) -> Result<(), Objection> {
        let notes = self.entities.entry(id.clone()).or_default();
        if notes.lock == shown.lock {
            return Ok(());
        }
        let before = std::mem::replace(&mut notes.lock, shown.lock.clone());
        if let Some((holder, section)) = before
            && !self.sections.get(&section).is_some_and(|it| it.over)
        {
            let what = format!("{section} of {holder} is not over, and has it no more");
            return Err(objection(id, "locks last", what));
        }
        let Some((holder, section)) = &shown.lock else { return Ok(()) };
        let notes = self.entities.entry(id.clone()).or_default();
        let position = notes.wanted.iter().find(|(it, _)| it == section).map(|it| it.1);
        let known = self.sections.get(section).filter(|it| it.holder == *holder);
        let (Some(known), Some(position)) = (known, position) else {
            let what = format!("{holder} has it by {section}, and did not ask");
            return Err(objection(id, "locks are asked for", what));
        };
        let plain: Arc<str> = section.rsplit_once('@').map_or("", |(plain, _)| plain).into();
        if let Some(next) = known.entities.get(position + 1) {
            let letter = Owed::Lock { section: plain, position: position + 1 };
            owed.push((ExecutionId::entity(HUB, next), letter));
        } else {
            let section = section.clone();
            owed.push((holder.clone(), Owed::Granted { section: plain }));
            for entity in &known.entities {
                let at = ExecutionId::entity(HUB, entity);
                let lock = self.entities.get(&at).and_then(|it| it.lock.clone());
                let over = known.over;
                if !over && lock.as_ref().map(|it| &it.1) != Some(&section) {
                    let what = format!("{section} is granted, and {entity} has {lock:?}");
                    return Err(objection(id, "locks are for all", what));
                }
            }
        }
        Ok(())
    }
}
