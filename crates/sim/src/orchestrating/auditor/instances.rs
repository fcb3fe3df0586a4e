//! What must come of whatever is said to an instance.

use std::collections::BTreeSet;
use std::sync::Arc;

use kernel::durable::instance::{Input, Start, TurnResult};
use kernel::durable::{
    Action, ActionKind, Completion, DETACHED_TAG, EntityMessage, ExecutionRewound,
    ExecutionStarted, Fact, FailureDetails, HistoryEvent, OrchestrationMessage, Outcome,
    ParentInstance, Status, WorkToken,
};
use kernel::graph::Message;
use kernel::{ExecutionId, Timestamp};

use super::super::clients::HUB;
use super::super::host::AnyInput;
use super::life::{Asked, Life, suspends};
use super::owed::Owed;
use super::{Auditor, HandOut, Objection, Section, Shown, Text, objection, wish};

type Letters = Vec<(ExecutionId, Owed)>;

/// What is taken, and what is not: `None` stands for refused.
type Taken = Option<Letters>;

impl Auditor {
    pub(super) fn said_to_instance(
        &mut self,
        now: Timestamp,
        id: &ExecutionId,
        input: &AnyInput,
        taken: bool,
        shown: &Shown,
    ) -> Result<Letters, Objection> {
        let must = match input {
            AnyInput::Wake => {
                self.woken(now, id);
                Some(Vec::new())
            }
            AnyInput::Instance(input) => self.input(now, id, input, shown),
            AnyInput::Message(Message::Durable(letter)) => self.letter(now, id, letter, shown),
            _ => None,
        };
        if must.is_some() != taken && !matches!(input, AnyInput::Wake) {
            let what = format!("taken: {taken}, and should be {}: {input:?}", must.is_some());
            return Err(objection(id, "who is heard", what));
        }
        self.judge(id, shown)?;
        Ok(must.unwrap_or_default())
    }

    /// It stands where it must.
    fn judge(&self, id: &ExecutionId, shown: &Shown) -> Result<(), Objection> {
        let Some(life) = self.lives.get(id) else {
            return match shown.status {
                None => Ok(()),
                Some(status) => Err(objection(id, "where it stands", format!("{status}"))),
            };
        };
        let must = Shown {
            status: Some(life.status),
            life: life.name.clone(),
            output: life.output.clone(),
            failed: life.failed,
            custom_status: life.custom_status.clone(),
            ..Shown::default()
        };
        if must != *shown {
            let law = if life.is_open() { "where it stands" } else { "what has ended stays so" };
            return Err(objection(id, law, format!("{shown:?}, and it must be {must:?}")));
        }
        Ok(())
    }

    fn woken(&mut self, now: Timestamp, id: &ExecutionId) {
        let Some(life) = self.lives.get_mut(id).filter(|life| life.is_open()) else { return };
        if life.start.scheduled_at.is_none_or(|at| at <= now) {
            life.due = true;
        }
        if !life.rewinding {
            life.fired_by = Some(now);
        }
    }

    fn input(&mut self, now: Timestamp, id: &ExecutionId, input: &Input, shown: &Shown) -> Taken {
        match input {
            Input::Start(start) => {
                let stands = self.lives.get(id).map(|life| life.status);
                if stands.is_some_and(|status| !start.replaces.contains(&status)) {
                    return None;
                }
                Some(self.begin(now, id, (**start).clone()))
            }
            Input::TurnCompleted(result) => self.turn(now, id, result, shown),
            Input::ActivityCompleted { token, result } => self.activity_done(id, token, result),
            Input::Raise { name, input } => {
                let (name, input) = (name.clone(), input.clone());
                self.happens(id, Fact::EventRaised { name, input })
            }
            Input::Suspend { reason } => {
                let life = self.lives.get(id).filter(|life| life.is_open())?;
                if life.is_suspended() {
                    return Some(Vec::new());
                }
                self.happens(id, Fact::ExecutionSuspended { input: reason.clone() })
            }
            Input::Resume { reason } => {
                let life = self.lives.get_mut(id).filter(|life| life.is_open())?;
                if life.held {
                    (life.held, life.status) = (false, Status::Running);
                    return Some(Vec::new());
                }
                if !life.is_suspended() {
                    return Some(Vec::new());
                }
                self.happens(id, Fact::ExecutionResumed { input: reason.clone() })
            }
            Input::Terminate { output, recurse, at_once } => {
                self.terminate(id, output, *recurse, *at_once)
            }
            Input::Rewind { .. } => {
                self.lives.get(id).filter(|life| life.status == Status::Failed)?;
                self.rewinding(now, id, None, shown)
            }
            Input::Restart { execution_id } => {
                let life = self.lives.get(id).filter(|life| !life.is_open())?;
                let start = Start {
                    execution_id: execution_id.clone(),
                    scheduled_at: None,
                    parent: None,
                    detached: false,
                    depth: 0,
                    ..life.start.clone()
                };
                Some(self.begin(now, id, start))
            }
            Input::Fail { .. } => {
                self.lives.get(id).filter(|life| life.is_open())?;
                Some(self.end(id, Status::Failed, None))
            }
            Input::Wake | Input::Message(_) => None,
        }
    }

    fn letter(
        &mut self,
        now: Timestamp,
        id: &ExecutionId,
        letter: &OrchestrationMessage,
        shown: &Shown,
    ) -> Taken {
        match letter {
            OrchestrationMessage::Start(start) => {
                let stands = self.lives.get(id).map(|life| life.status);
                if stands.is_none_or(Status::is_closed) {
                    return Some(self.begin(now, id, (**start).clone()));
                }
                let parent = start.parent.as_ref().filter(|_| !start.detached);
                let Some(parent) = parent else {
                    // Nobody waits: that it is refused changes nothing.
                    return Some(Vec::new());
                };
                Some(vec![(
                    ExecutionId::instance(HUB, &parent.instance_id),
                    Owed::Ended { task: parent.task, child: id.local_name().into(), output: None },
                )])
            }
            OrchestrationMessage::Happened { fact, execution_id } => {
                let life = self.lives.get(id)?;
                if execution_id.as_ref().is_some_and(|name| !life.is_called(name)) {
                    return None;
                }
                if let Fact::EntityLockGranted { critical_section_id, .. } = &**fact
                    && (!life.locks.contains_key(critical_section_id)
                        || execution_id.as_ref() != Some(&life.name))
                {
                    return None;
                }
                if life.status == Status::Failed && is_entity_answer(fact) {
                    self.lives.get_mut(id)?.kept.push((**fact).clone());
                    return Some(Vec::new());
                }
                self.happens(id, (**fact).clone())
            }
            OrchestrationMessage::ChildEnded { parent, instance_id, result, failure } => {
                let life = self.lives.get_mut(id).filter(|life| life.is_open())?;
                let waits = matches!(life.asked.get(&parent.task), Some(Asked::Child { id, .. }) if id == instance_id);
                if !waits || !life.is_called(&parent.execution_id) {
                    return None;
                }
                life.asked.remove(&parent.task);
                let task = parent.task;
                self.happens(
                    id,
                    match failure {
                        Some(failure) => {
                            Fact::SubOrchestrationFailed { task, failure: failure.clone() }
                        }
                        None => Fact::SubOrchestrationCompleted { task, result: result.clone() },
                    },
                )
            }
            OrchestrationMessage::Terminate { reason, recurse, child_of } => {
                if let Some(parent) = child_of {
                    let life = self.lives.get(id).filter(|life| life.is_child_of(parent))?;
                    if *recurse && !life.is_open() {
                        return Some(ends_of_children(life));
                    }
                }
                self.terminate(id, reason, *recurse, false)
            }
            OrchestrationMessage::Rewind(rewound) => {
                self.rewind_for_parent(now, id, rewound, shown)
            }
            _ => None,
        }
    }

    /// Something must be new in the next turn.
    fn happens(&mut self, id: &ExecutionId, fact: Fact) -> Taken {
        let life = self.lives.get_mut(id).filter(|life| life.is_open())?;
        life.expected.push_back(fact);
        Some(Vec::new())
    }

    /// The name of a life, if none has had it before.
    fn fresh_name(&mut self, name: &Arc<str>) -> Arc<str> {
        if self.names.insert(name.clone()) {
            name.clone()
        } else {
            format!("a name of its own, not {name}").into()
        }
    }

    /// A life begins, and another ends for it.
    fn begin(&mut self, now: Timestamp, id: &ExecutionId, start: Start) -> Letters {
        let runs = self.lives.get(id).is_some_and(Life::is_open);
        let owed = if runs { self.end(id, Status::Failed, None) } else { Vec::new() };
        let mut life = Life::new(self.serial(), start, now);
        life.name = self.fresh_name(&life.name);
        life.expected.push_back(first_fact(id, &life.start));
        self.lives.insert(id.clone(), life);
        owed
    }

    fn terminate(
        &mut self,
        id: &ExecutionId,
        output: &Text,
        recurse: bool,
        at_once: bool,
    ) -> Taken {
        let life = self.lives.get_mut(id).filter(|life| life.is_open())?;
        let fact = Fact::ExecutionTerminated { input: output.clone(), recurse };
        life.expected.push_back(fact);
        if life.due && !at_once && !life.rewinding && !life.held {
            return Some(Vec::new());
        }
        Some(self.end(id, Status::Terminated, output.clone()))
    }

    /// An instance ends.
    fn end(&mut self, id: &ExecutionId, status: Status, output: Text) -> Letters {
        let Some(life) = self.lives.get_mut(id) else { return Vec::new() };
        let mut owed = Vec::new();
        drop_locks(life, &mut owed);
        let recurses =
            |fact: &Fact| matches!(fact, Fact::ExecutionTerminated { recurse: true, .. });
        let facts = life.past.iter().chain(&life.inbox).map(|event| &event.fact);
        let recurse = facts.chain(&life.expected).any(recurses);
        if status == Status::Terminated && recurse {
            owed.extend(ends_of_children(life));
        }
        life.status = status;
        life.output = output;
        life.failed = status == Status::Failed;
        life.rewinding = false;
        let news = life.inbox.drain(..).map(|event| event.fact).chain(life.expected.drain(..));
        life.kept = news.filter(outlives_failure).collect();
        life.asked.clear();
        let locks = std::mem::take(&mut life.locks);
        let sections: Vec<Arc<str>> = locks.keys().map(|it| wish(it, &life.name)).collect();
        owed.extend(word_of_the_end(id, life));
        self.sections_over(&sections);
        owed
    }

    fn sections_over(&mut self, sections: &[Arc<str>]) {
        for section in sections {
            if let Some(section) = self.sections.get_mut(section) {
                section.over = true;
            }
        }
    }

    fn activity_done(
        &mut self,
        id: &ExecutionId,
        token: &WorkToken,
        result: &Result<Text, Box<FailureDetails>>,
    ) -> Taken {
        let Some(HandOut::Activity { serial, task, ask }) = self.handed.get(&token.to_string())
        else {
            return None;
        };
        let (serial, task, ask) = (*serial, *task, *ask);
        let life = self.lives.get_mut(id).filter(|life| life.is_open() && life.serial == serial)?;
        let waits =
            matches!(life.asked.get(&task), Some(Asked::Activity { ask: it, .. }) if *it == ask);
        if !waits {
            return None;
        }
        life.asked.remove(&task);
        self.happens(
            id,
            match result {
                Ok(result) => Fact::TaskCompleted { task, result: result.clone() },
                Err(failure) => Fact::TaskFailed { task, failure: failure.clone() },
            },
        )
    }

    fn turn(
        &mut self,
        now: Timestamp,
        id: &ExecutionId,
        result: &TurnResult,
        shown: &Shown,
    ) -> Taken {
        let handed = self.handed.get(&result.token.to_string()).cloned();
        let Some(HandOut::Turn { serial, turn, taken, at }) = handed else { return None };
        let life = self.lives.get_mut(id)?;
        if !life.is_open() || life.serial != serial || life.turns != turn {
            return None;
        }
        life.turns += 1;
        if life.rewinding {
            return Some(self.rewound(id, result, shown));
        }
        life.past.push(HistoryEvent::inbound(at, Fact::OrchestratorStarted));
        if life.status == Status::Pending {
            life.status = Status::Running;
        }
        let processed = result.processed.map_or(taken, |count| count.saturating_sub(1).min(taken));
        for event in life.inbox.drain(..processed.min(life.inbox.len())) {
            match event.fact {
                Fact::ExecutionSuspended { .. } => life.status = Status::Suspended,
                Fact::ExecutionResumed { .. } => life.status = Status::Running,
                _ => {}
            }
            life.past.push(event);
        }
        life.custom_status = result.custom_status.clone().filter(|text| !text.is_empty());
        let ends = |action: &&Action| matches!(action.kind, ActionKind::Complete(_));
        let leaves_a_line = |action: &Action| {
            !matches!(action.kind, ActionKind::Complete(_) | ActionKind::Terminate { .. })
        };
        let is_new = |action: &&Action| !leaves_a_line(action) || !life.has_asked(action.id);
        let actions: Vec<Action> = result.actions.iter().filter(is_new).cloned().collect();
        if result.actions.iter().filter(ends).count() > 1 {
            return Some(self.end(id, Status::Failed, None));
        }
        Some(self.orders(now, id, &actions, shown))
    }

    /// A turn's actions are carried out.
    fn orders(
        &mut self,
        now: Timestamp,
        id: &ExecutionId,
        actions: &[Action],
        shown: &Shown,
    ) -> Letters {
        let mut owed = Vec::new();
        let mut end = None;
        for action in actions {
            match &action.kind {
                ActionKind::Complete(completion) => end = Some((**completion).clone()),
                kind => {
                    let line = self.order(id, action.id, kind, &mut owed);
                    let life = self.lives.get_mut(id).expect("it is alive");
                    life.past.extend(line.map(|fact| HistoryEvent {
                        id: action.id,
                        at: now,
                        fact,
                    }));
                }
            }
        }
        match end {
            None => {
                let life = self.lives.get_mut(id).expect("it is alive");
                life.fired_by = Some(now);
            }
            Some(completion) if completion.outcome == Outcome::ContinuedAsNew => {
                let life = &self.lives[id];
                let past = life.past.iter().chain(&life.inbox).map(|event| &event.fact);
                let end = past.chain(&life.expected).find_map(|fact| match fact {
                    Fact::ExecutionTerminated { input, .. } => Some(input.clone()),
                    _ => None,
                });
                match end {
                    Some(output) => owed.extend(self.end(id, Status::Terminated, output)),
                    None => self.continued(now, id, completion, shown, &mut owed),
                }
            }
            Some(Completion { outcome, result, .. }) => {
                owed.extend(self.end(id, Status::from(outcome), result));
            }
        }
        owed
    }

    /// One action: its line in the history, if it leaves one.
    fn order(
        &mut self,
        id: &ExecutionId,
        number: i32,
        kind: &ActionKind,
        owed: &mut Letters,
    ) -> Option<Fact> {
        self.asks += 1;
        let ask = self.asks;
        let me: Arc<str> = id.local_name().into();
        let life = self.lives.get_mut(id)?;
        match kind {
            ActionKind::ScheduleTask(call) => {
                life.asked.insert(number, Asked::Activity { ask, call: call.clone() });
                Some(Fact::TaskScheduled(call.clone()))
            }
            ActionKind::CreateTimer { fire_at } => {
                life.asked.insert(number, Asked::Timer { fire_at: *fire_at });
                Some(Fact::TimerCreated { fire_at: *fire_at })
            }
            ActionKind::CreateSubOrchestration { instance_id, call } => {
                let name: Arc<str> = match &**instance_id {
                    "" => format!("{me}:{number:04x}").into(),
                    _ => instance_id.clone(),
                };
                let detached = call.tags.contains_key(DETACHED_TAG);
                let start = Owed::Start {
                    name: call.name.clone(),
                    input: call.input.clone(),
                    parent: Some((me, number)),
                    detached,
                };
                owed.push((ExecutionId::instance(HUB, &name), start));
                if !detached {
                    let child = Asked::Child { id: name.clone(), call: call.clone() };
                    life.asked.insert(number, child);
                }
                let (instance_id, call) = (name, call.clone());
                Some(Fact::SubOrchestrationCreated { instance_id, call })
            }
            ActionKind::SendEvent { instance_id, name, input } => {
                let raised = Owed::Raised { name: name.clone(), input: input.clone() };
                owed.push((ExecutionId::instance(HUB, instance_id), raised));
                let (instance_id, name, input) = (instance_id.clone(), name.clone(), input.clone());
                Some(Fact::EventSent { instance_id, name, input, locks: None })
            }
            ActionKind::Terminate { instance_id, recurse, .. } => {
                let to = ExecutionId::instance(HUB, instance_id);
                owed.push((to, Owed::Terminate { recurse: *recurse }));
                None
            }
            ActionKind::SendEntityMessage(message) => Some(self.said_of_entity(id, message, owed)),
            // No worker of this world says it in the form of an event.
            ActionKind::SendEntityEvent { .. }
            | ActionKind::Complete(_)
            | ActionKind::Rewind { .. } => None,
        }
    }

    fn said_of_entity(
        &mut self,
        id: &ExecutionId,
        message: &EntityMessage,
        owed: &mut Letters,
    ) -> Fact {
        let entity = |target: &Option<Arc<str>>| {
            ExecutionId::entity(HUB, target.as_deref().unwrap_or_default())
        };
        match message {
            EntityMessage::Signaled(asked) => {
                let letter = Owed::Operate { input: asked.input.clone(), answer: false };
                owed.push((entity(&asked.target), letter));
                Fact::EntitySignaled(asked.clone())
            }
            EntityMessage::Called(asked) => {
                let letter = Owed::Operate { input: asked.input.clone(), answer: true };
                owed.push((entity(&asked.target), letter));
                Fact::EntityCalled(asked.clone())
            }
            EntityMessage::LockRequested(request) => {
                let section = request.critical_section_id.clone();
                let entities = request.lock_set.clone();
                let set: BTreeSet<Arc<str>> = entities.iter().cloned().collect();
                if let Some(life) = self.lives.get_mut(id) {
                    life.locks.insert(section.clone(), set);
                }
                let known = Section { entities, holder: id.clone(), over: false };
                let life = self.lives.get(id).map(|life| life.name.clone()).unwrap_or_default();
                self.sections.insert(wish(&section, &life), known);
                let to = entity(&request.lock_set.first().cloned());
                owed.push((to, Owed::Lock { section, position: 0 }));
                Fact::EntityLockRequested(request.clone())
            }
            EntityMessage::UnlockSent(unlock) => {
                let section = unlock.critical_section_id.clone();
                if let Some(life) = self.lives.get_mut(id)
                    && let Some(held) = life.locks.get_mut(&section)
                {
                    unlock.target.as_ref().map(|target| held.remove(target));
                    if held.is_empty() {
                        life.locks.remove(&section);
                    }
                }
                let life = self.lives.get(id).map(|life| life.name.clone()).unwrap_or_default();
                self.sections_over(&[wish(&section, &life)]);
                owed.push((entity(&unlock.target), Owed::Unlock { section }));
                Fact::EntityUnlockSent(unlock.clone())
            }
        }
    }

    /// It begins anew with another input.
    fn continued(
        &mut self,
        now: Timestamp,
        id: &ExecutionId,
        completion: Completion,
        shown: &Shown,
        owed: &mut Letters,
    ) {
        let (serial, name) = (self.serial(), self.fresh_name(&shown.life));
        let Some(life) = self.lives.get_mut(id) else { return };
        drop_locks(life, owed);
        let locks = std::mem::take(&mut life.locks);
        let sections: Vec<Arc<str>> = locks.keys().map(|it| wish(it, &life.name)).collect();
        let mut start = life.start.clone();
        start.execution_id = name;
        start.input = completion.result;
        start.scheduled_at = None;
        let mut next = Life::new(serial, start, now);
        next.held = life.is_suspended();
        next.status = if next.held { Status::Suspended } else { Status::Running };
        next.turns = life.turns;
        next.custom_status.clone_from(&life.custom_status);
        next.expected.push_back(first_fact(id, &next.start));
        let carried = completion.carryover.into_iter().map(|event| event.fact);
        next.expected.extend(carried.filter(|fact| matches!(fact, Fact::EventRaised { .. })));
        // Answers to the life before would be taken for answers to this one.
        let rest = life.inbox.drain(..).map(|event| event.fact).chain(life.expected.drain(..));
        let pauses = |fact: &Fact| {
            matches!(fact, Fact::ExecutionSuspended { .. } | Fact::ExecutionResumed { .. })
        };
        next.expected.extend(rest.filter(|fact| is_from_outside(fact) && !pauses(fact)));
        *life = next;
        self.sections_over(&sections);
    }

    /// A failed instance is to try again: its next turn shows all, and a rewind.
    fn rewinding(
        &mut self,
        now: Timestamp,
        id: &ExecutionId,
        parent: Option<&ParentInstance>,
        shown: &Shown,
    ) -> Taken {
        let life = self.lives.get_mut(id)?;
        let kept = std::mem::take(&mut life.kept);
        let begun = |event: &HistoryEvent| matches!(event.fact, Fact::ExecutionStarted(_));
        if !life.past.iter().any(begun) {
            // Nobody has seen anything of it: it begins as if for the first time.
            let mut start = life.start.clone();
            start.execution_id = shown.life.clone();
            start.parent = parent.cloned().or(start.parent);
            let owed = self.begin(now, id, start);
            self.lives.get_mut(id)?.expected.extend(kept);
            return Some(owed);
        }
        life.expected.extend(kept);
        life.status = Status::Running;
        (life.output, life.failed, life.rewinding) = (None, false, true);
        life.turns += 1;
        Some(Vec::new())
    }

    fn rewind_for_parent(
        &mut self,
        now: Timestamp,
        id: &ExecutionId,
        rewound: &ExecutionRewound,
        shown: &Shown,
    ) -> Taken {
        let parent = rewound.parent.clone()?;
        let same_life =
            |name: &Arc<str>| *name == parent.execution_id || rewound.formerly.contains(name);
        let mine = self.lives.get(id).is_some_and(|life| {
            let known = life.start.parent.as_ref();
            known.is_some_and(|it| same_life(&it.execution_id)) && life.is_child_of(&parent)
        });
        let stands = self.lives.get(id).map(|life| life.status);
        match stands {
            Some(Status::Failed) if mine => self.rewinding(now, id, Some(&parent), shown),
            Some(status) if mine && status.is_closed() => {
                let life = self.lives.get(id)?;
                Some(word_of_the_end(id, life).into_iter().collect())
            }
            Some(_) if mine => None,
            // Another bears its name, and goes on: the parent cannot have its child again.
            Some(status) if !status.is_closed() => Some(vec![(
                ExecutionId::instance(HUB, &parent.instance_id),
                Owed::Ended { task: parent.task, child: id.local_name().into(), output: None },
            )]),
            // It was purged, or another had its name: it is made anew.
            _ => {
                // Any name will do that no life has had.
                let name = shown.life.clone();
                let mut start = Start::new(rewound.name.as_deref()?, rewound.input.clone(), name);
                start.tags.clone_from(&rewound.tags);
                start.parent = Some(parent);
                Some(self.begin(now, id, start))
            }
        }
    }

    /// The worker has said what of a failed history stays.
    fn rewound(&mut self, id: &ExecutionId, result: &TurnResult, shown: &Shown) -> Letters {
        let history = result.actions.iter().find_map(|action| match &action.kind {
            ActionKind::Rewind { history } => Some(history.clone()),
            _ => None,
        });
        let Some(history) = history else { return self.end(id, Status::Failed, None) };
        let mut owed = Vec::new();
        let Some(life) = self.lives.get_mut(id) else { return owed };
        life.rewinding = false;
        life.inbox.clear();
        life.asked.clear();
        for event in &history {
            self.asks += 1;
            let ask = self.asks;
            match &event.fact {
                Fact::ExecutionStarted(started) => life.start.parent.clone_from(&started.parent),
                Fact::TaskScheduled(call) => {
                    life.asked.insert(event.id, Asked::Activity { ask, call: call.clone() });
                }
                Fact::TimerCreated { fire_at } => {
                    life.asked.insert(event.id, Asked::Timer { fire_at: *fire_at });
                }
                Fact::SubOrchestrationCreated { instance_id, call }
                    if !call.tags.contains_key(DETACHED_TAG) =>
                {
                    let child = Asked::Child { id: instance_id.clone(), call: call.clone() };
                    life.asked.insert(event.id, child);
                }
                Fact::TaskCompleted { task, .. }
                | Fact::TaskFailed { task, .. }
                | Fact::SubOrchestrationCompleted { task, .. }
                | Fact::SubOrchestrationFailed { task, .. }
                | Fact::TimerFired { timer: task, .. } => {
                    life.asked.remove(task);
                }
                Fact::EntityLockRequested(request) => {
                    // The wish was dropped when it failed; one that was granted is not taken back.
                    let section = request.critical_section_id.clone();
                    let grants = |event: &HistoryEvent| matches!(&event.fact, Fact::EntityLockGranted { critical_section_id, .. } if *critical_section_id == section);
                    if !history.iter().any(grants) {
                        let first = request.lock_set.first().map_or("", |entity| entity);
                        let letter = Owed::Lock { section: section.clone(), position: 0 };
                        owed.push((ExecutionId::entity(HUB, first), letter));
                        let set = request.lock_set.iter().cloned().collect();
                        life.locks.insert(section.clone(), set);
                        let entities = request.lock_set.clone();
                        let known = Section { entities, holder: id.clone(), over: false };
                        self.sections.insert(wish(&section, &shown.life), known);
                    }
                }
                _ => {}
            }
        }
        for (task, asked) in &life.asked {
            if let Asked::Child { id, .. } = asked {
                owed.push((ExecutionId::instance(HUB, id), Owed::Rewind { task: *task }));
            }
        }
        if suspends(false, history.iter().map(|event| &event.fact)) {
            life.status = Status::Suspended;
        }
        life.past = history;
        // Any name will do that no life has had.
        let name = self.fresh_name(&shown.life);
        if let Some(life) = self.lives.get_mut(id) {
            let before = std::mem::replace(&mut life.name, name);
            life.formerly.push(before);
        }
        owed
    }
}

/// What the first turn shows first.
fn first_fact(id: &ExecutionId, start: &Start) -> Fact {
    Fact::ExecutionStarted(Box::new(ExecutionStarted {
        name: start.name.clone(),
        version: start.version.clone(),
        input: start.input.clone(),
        instance_id: id.local_name().into(),
        execution_id: start.execution_id.clone(),
        parent: start.parent.clone(),
        scheduled_at: start.scheduled_at,
        trace: start.trace.clone(),
        tags: start.tags.clone(),
    }))
}

/// What is said from outside, and belongs to whichever life there is.
fn is_from_outside(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::EventRaised { .. }
            | Fact::ExecutionSuspended { .. }
            | Fact::ExecutionResumed { .. }
            | Fact::ExecutionTerminated { .. }
    )
}

fn is_entity_answer(fact: &Fact) -> bool {
    matches!(fact, Fact::EntityOperationCompleted { .. } | Fact::EntityOperationFailed { .. })
}

/// What nobody says again to one that is rewound; what was under way is done again.
fn outlives_failure(fact: &Fact) -> bool {
    let ends = matches!(fact, Fact::ExecutionTerminated { .. });
    is_entity_answer(fact) || (is_from_outside(fact) && !ends)
}

/// What a life that is ended with its children owes them, those that have ended among them.
fn ends_of_children(life: &Life) -> Letters {
    let end = |event: &HistoryEvent| match &event.fact {
        Fact::SubOrchestrationCreated { instance_id, call }
            if !call.tags.contains_key(DETACHED_TAG) =>
        {
            let to = ExecutionId::instance(HUB, instance_id);
            Some((to, Owed::Terminate { recurse: true }))
        }
        _ => None,
    };
    life.past.iter().filter_map(end).collect()
}

fn drop_locks(life: &Life, owed: &mut Letters) {
    for (section, entities) in &life.locks {
        for entity in entities {
            let to = ExecutionId::entity(HUB, entity);
            owed.push((to, Owed::Release { section: section.clone() }));
        }
    }
}

/// Whoever waits for a child learns how it ended.
fn word_of_the_end(id: &ExecutionId, life: &Life) -> Option<(ExecutionId, Owed)> {
    let parent = life.start.parent.as_ref().filter(|_| !life.start.detached)?;
    let output = (life.status == Status::Completed).then(|| life.output.clone());
    let ended = Owed::Ended { task: parent.task, child: id.local_name().into(), output };
    Some((ExecutionId::instance(HUB, &parent.instance_id), ended))
}
