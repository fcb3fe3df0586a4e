//! A decision about an instance in the making.

use std::sync::Arc;

use super::context::{Context, Start};
use super::event::Event;
use super::state::{Instance, failed};
use crate::durable::history::{
    ExecutionCompleted, Fact, FailureDetails, HistoryEvent, INBOUND, Outcome,
};
use crate::durable::message::OrchestrationMessage;
use crate::durable::queue::WorkQueue;
use crate::durable::{Status, TURN};
use crate::graph::{Asker, Message};
use crate::id::ExecutionId;
use crate::json::Json;
use crate::machine::{Decision, Dispatch, Effect};
use crate::time::Timestamp;

pub(super) struct Draft<'a> {
    pub(super) state: &'a mut Instance,
    pub(super) context: &'a Context<'a>,
    events: Vec<Event>,
    pub(super) effects: Vec<Effect>,
    /// A turn stood in the queues when the decision began.
    was_queued: bool,
    /// What stands there, if anything, is not what it was.
    turn_changed: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(state: &'a mut Instance, context: &'a Context<'a>) -> Self {
        let was_queued = state.wants_turn();
        Self {
            state,
            context,
            events: Vec::new(),
            effects: Vec::new(),
            was_queued,
            turn_changed: false,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.context.now
    }

    pub(super) fn push(&mut self, event: Event) {
        self.state.apply(&event);
        self.events.push(event);
    }

    /// Something from outside goes into the inbox.
    pub(super) fn receive(&mut self, fact: Fact) {
        let event = HistoryEvent::inbound(self.now(), fact);
        self.push(Event::Received { events: vec![event] });
    }

    pub(super) fn send(&mut self, to: ExecutionId, message: Message) {
        self.effects.push(Effect::Send { to, message: Box::new(message) });
    }

    pub(super) fn write(&mut self, to: ExecutionId, letter: OrchestrationMessage) {
        self.send(to, Message::Durable(Box::new(letter)));
    }

    /// The turn that was out has been answered, or is void.
    pub(super) fn turn_over(&mut self) {
        self.turn_changed = true;
    }

    /// Timers that are due fire.
    pub(super) fn fire_timers(&mut self) {
        let now = self.now();
        let fired = |(fire_at, timer): &(Timestamp, i32)| {
            HistoryEvent::inbound(now, Fact::TimerFired { fire_at: *fire_at, timer: *timer })
        };
        let due: Vec<HistoryEvent> =
            self.state.timers.iter().take_while(|(at, _)| *at <= now).map(fired).collect();
        if !due.is_empty() {
            self.push(Event::Received { events: due });
        }
    }

    /// Hands an activity that the state knows to the queues.
    pub(super) fn dispatch_activity(&mut self, sequence: u32) {
        if let Some(queue) = self.state.activity_queue(sequence) {
            self.dispatch(sequence, &queue);
        }
    }

    fn dispatch(&mut self, sequence: u32, queue: &WorkQueue) {
        let queue: Arc<str> = queue.to_string().into();
        self.effects.push(Effect::Dispatch(Dispatch {
            sequence,
            name: queue.clone(),
            queue,
            priority: 0,
            ready_at: self.now(),
            concurrent_max: 0,
            rate_max: 0,
            rate_window_seconds: 1,
        }));
    }

    /// A life begins in the place of whatever there was.
    pub(super) fn begin(&mut self, start: Start) {
        self.withdraw_activities();
        self.turn_over();
        let at = self.now();
        if let Some(caller) = &start.caller {
            let asker = Asker { by: caller.by.clone(), child: caller.child.clone() };
            let (to, message) = asker.told_of(&self.state.id, false);
            self.send(to, message);
        }
        self.push(Event::Started { at, start: Box::new(start) });
    }

    pub(super) fn withdraw_activities(&mut self) {
        let sequences: Vec<u32> = self.state.activities.keys().copied().collect();
        let withdraw = |sequence| Effect::Withdraw { sequence };
        self.effects.extend(sequences.into_iter().map(withdraw));
    }

    /// Entities that it has locked, or asked to lock, are free again.
    pub(super) fn release_locks(&mut self) {
        let holder = self.state.id.clone();
        for (critical_section_id, entities) in self.state.locks.clone() {
            for entity in entities {
                let to = ExecutionId::entity(holder.hub(), &entity);
                let critical_section_id = critical_section_id.clone();
                let holder = holder.clone();
                let execution_id = Some(self.state.execution_id());
                self.write(
                    to,
                    OrchestrationMessage::Release { critical_section_id, holder, execution_id },
                );
            }
        }
    }

    /// The server ends it as failed.
    pub(super) fn fail(&mut self, failure: FailureDetails) {
        let failure = Some(Box::new(failure));
        let end = ExecutionCompleted { outcome: Outcome::Failed, result: None, failure };
        self.end(INBOUND, end);
    }

    /// It ends.
    pub(super) fn end(&mut self, id: i32, end: ExecutionCompleted) {
        self.withdraw_activities();
        self.release_locks();
        self.turn_over();
        let recurses = |event: &HistoryEvent| {
            matches!(event.fact, Fact::ExecutionTerminated { recurse: true, .. })
        };
        let terminated = end.outcome == Outcome::Terminated;
        let recurse = self.state.history.iter().chain(&self.state.inbox).any(recurses);
        if terminated && recurse {
            self.end_children(end.result.as_ref());
        }
        let at = self.now();
        self.push(Event::Ended { id, at, end: Box::new(end) });
        self.tell_the_end();
    }

    /// Its children are to end. One that has ended passes it on to its own, which may still run.
    pub(super) fn end_children(&mut self, reason: Option<&Arc<str>>) {
        let Some(start) = self.state.start.clone() else { return };
        for (task, child) in self.state.own_children() {
            if child.machine() == crate::id::MachineKind::Instance {
                let child_of = Some(self.state.as_parent(&start, task));
                let letter = OrchestrationMessage::Terminate {
                    reason: reason.cloned(),
                    recurse: true,
                    child_of,
                };
                self.write(child, letter);
            } else if self.state.children.contains_key(&task) {
                let reason = format!("orchestration {} was terminated", self.state.instance_id());
                self.send(child, Message::Terminate { reason: reason.into() });
            }
        }
    }

    /// Whoever waits for it learns how it ended.
    pub(super) fn tell_the_end(&mut self) {
        let Some(start) = self.state.start.clone() else { return };
        if let Some(parent) = start.parent.filter(|_| !start.detached) {
            let letter = self.word_of_the_end(parent);
            let hub = self.state.hub().to_owned();
            let OrchestrationMessage::ChildEnded { parent, .. } = &letter else { return };
            let to = ExecutionId::instance(&hub, &parent.instance_id);
            self.write(to, letter);
        }
        if let Some(caller) = start.caller.filter(|caller| caller.waits) {
            let message = Message::Ended {
                sequence: caller.by.sequence,
                status: self.state.status.of_execution(),
                output: output_of(self.state.output.as_deref()),
                reason: self.reason(),
                child: Some(self.state.id.clone()),
                asked: caller.asked,
            };
            self.send(caller.by.execution, message);
        }
    }

    fn word_of_the_end(&self, parent: crate::durable::ParentInstance) -> OrchestrationMessage {
        let state = &*self.state;
        let outcome = match state.status {
            Status::Completed => Outcome::Completed,
            _ => Outcome::Failed,
        };
        let failure = failed(outcome).then(|| {
            state.failure.clone().unwrap_or_else(|| {
                let (id, how) = (state.instance_id(), state.status.as_str().to_lowercase());
                let because = state.output.as_deref();
                let because = because.map_or(String::new(), |output| format!(": {output}"));
                let message = format!("orchestration {id} was {how}{because}");
                Box::new(FailureDetails::new("OrchestrationEnded", message))
            })
        });
        OrchestrationMessage::ChildEnded {
            parent,
            instance_id: state.instance_id(),
            result: state.output.clone().filter(|_| failure.is_none()),
            failure,
        }
    }

    fn reason(&self) -> Option<Arc<str>> {
        let state = &*self.state;
        match (&state.failure, state.status) {
            (Some(failure), _) => Some(failure.message.clone()),
            (None, Status::Completed) => None,
            (None, _) => state.output.clone(),
        }
    }

    /// Takes what was decided, with what the queues have to know of the next turn.
    pub(super) fn finish(mut self) -> Decision<Event> {
        let wants = self.state.wants_turn();
        if wants && (!self.was_queued || self.turn_changed) {
            let queue = self.state.turn_queue();
            self.dispatch(TURN, &queue);
        } else if !wants && self.was_queued {
            self.effects.push(Effect::Withdraw { sequence: TURN });
        }
        Decision { events: self.events, effects: self.effects }
    }
}

/// What an instance gives back, as a graph task's output: an object as it is, all else under
/// `result`.
fn output_of(output: Option<&str>) -> Json {
    let Some(text) = output else { return Json::empty_object() };
    match Json::from_text(text.to_owned()) {
        Ok(json) if json.is_object() => json,
        Ok(json) => Json::of(&serde_json::json!({ "result": json.parse() })),
        Err(_) => Json::of(&serde_json::json!({ "result": text })),
    }
}
