//! What the orchestrators do: a list of steps, whose value anybody can work out beforehand.

use std::sync::Arc;

use kernel::Timestamp;
use kernel::durable::{
    Action, ActionKind, Call, Completion, EntityMessage, EntityOperation, Fact, HistoryEvent,
    LockRequest, Outcome, Tags, Unlock,
};
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// The one orchestrator; its input is its program.
pub(super) const ORCHESTRATOR: &str = "program";
/// The one activity.
pub(super) const ACTIVITY: &str = "work";
/// What an event carries.
pub(super) const EVENT_VALUE: i64 = 1000;
/// The event that programs wait for.
pub(super) const EVENT: &str = "go";
/// Entities.
pub(super) const ENTITIES: [&str; 2] = ["@counter@a", "@tank@b"];

/// One step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Step {
    /// Activities at once; their results count.
    Fan { from: i64, count: i64 },
    /// A while, in milliseconds.
    Timer(i64),
    /// An event; what it carries counts.
    Event,
    /// A child; its output counts.
    Child(Vec<Step>),
    /// An operation of an entity, for which nobody waits.
    Signal(String),
    /// Entities locked, each told twice, and unlocked.
    Section(Vec<String>),
    /// What follows is done by a life of its own.
    Again,
}

/// What an orchestrator is given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Program {
    /// What is to be done.
    pub(super) steps: Vec<Step>,
    /// What former lives came to.
    pub(super) total: i64,
    /// How many there were.
    pub(super) life: u32,
}

impl Program {
    /// A program from its beginning, as an input.
    pub(super) fn first(steps: &[Step]) -> String {
        Self { steps: steps.to_vec(), total: 0, life: 0 }.text()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("programs serialize")
    }
}

/// What an activity makes of its input.
pub(super) fn work(input: i64) -> i64 {
    input * 7 + 1
}

/// What a program must give.
pub(super) fn value(steps: &[Step]) -> i64 {
    let of = |step: &Step| match step {
        Step::Fan { from, count } => (*from..from + count).map(work).sum(),
        Step::Event => EVENT_VALUE,
        Step::Child(steps) => value(steps),
        Step::Timer(_) | Step::Signal(_) | Step::Section(_) | Step::Again => 0,
    };
    steps.iter().map(of).sum()
}

/// A program of a seed.
pub(super) fn drawn(random: &mut Random, depth: u32) -> Vec<Step> {
    let length = random.between(1, 4);
    let one = |_| match random.weighted(&[6, 3, 3, if depth > 0 { 4 } else { 0 }, 4, 3, 2]) {
        0 => Step::Fan { from: random.between(1, 50), count: random.between(1, 4) },
        1 => Step::Timer(random.between(0, 20_000)),
        2 => Step::Event,
        3 => Step::Child(drawn(random, depth - 1)),
        5 => {
            let first = usize::from(random.chance(50));
            let last = if random.chance(50) { ENTITIES.len() } else { first + 1 };
            Step::Section(ENTITIES[first..last].iter().map(|it| (*it).to_owned()).collect())
        }
        6 => Step::Again,
        _ => {
            let entity = random.pick(&ENTITIES).copied().unwrap_or(ENTITIES[0]);
            Step::Signal(entity.to_owned())
        }
    };
    (0..length).map(one).collect()
}

/// The first and the last word of a section in an entity's state.
pub(super) const WORDS: [&str; 2] = [":in>", ":out>"];

/// What an orchestrator wants, given its history.
pub(super) fn turn(instance: &str, history: &[HistoryEvent]) -> Result<Vec<Action>, String> {
    let input = history.iter().find_map(|event| match &event.fact {
        Fact::ExecutionStarted(started) => started.input.clone(),
        _ => None,
    });
    let input = input.ok_or("a history does not begin with a start")?;
    let program: Program = serde_json::from_str(&input).map_err(|error| error.to_string())?;
    let begins = history.iter().find(|event| event.fact == Fact::OrchestratorStarted);
    let begins = begins.ok_or("a history has no turn")?.at.millis();
    let Program { steps, total, life } = program;
    let actions = Vec::new();
    let mut run = Run { instance, begins, life, history, actions, next: 1, events: 0, total };
    for (at, step) in steps.iter().enumerate() {
        if matches!(step, Step::Again) {
            let steps = steps[at + 1..].to_vec();
            let next = Program { steps, total: run.total, life: life + 1 }.text();
            run.complete(Outcome::ContinuedAsNew, next);
            return Ok(run.actions);
        }
        if !run.step(step)? {
            return Ok(run.actions);
        }
    }
    let total = run.total.to_string();
    run.complete(Outcome::Completed, total);
    Ok(run.actions)
}

struct Run<'a> {
    instance: &'a str,
    /// When the first turn of this life began.
    begins: i64,
    /// Lives before this one.
    life: u32,
    history: &'a [HistoryEvent],
    actions: Vec<Action>,
    next: i32,
    events: usize,
    total: i64,
}

/// What became of something that was asked for.
enum Answer {
    Open,
    Failed,
    Done(i64),
}

impl Run<'_> {
    /// Ends this life, with what it leaves to the next one.
    fn complete(&mut self, outcome: Outcome, result: String) {
        let raised = |event: &&HistoryEvent| matches!(event.fact, Fact::EventRaised { .. });
        let unheard = self.history.iter().filter(raised).skip(self.events);
        let carryover = match outcome {
            Outcome::ContinuedAsNew => unheard.cloned().collect(),
            _ => Vec::new(),
        };
        let completion = Completion {
            outcome,
            result: Some(result.into()),
            failure: None,
            new_version: None,
            carryover,
            tags: Tags::new(),
        };
        let kind = ActionKind::Complete(Box::new(completion));
        self.actions.push(Action { id: self.next, kind });
    }

    /// A name that no other request bears, of this instance or another, and that each replay gives.
    /// SDKs make such names of the history's time, too: a child of another life of the parent has
    /// the id of the one before, and begins at another time.
    fn name(&self) -> String {
        let Self { instance, begins, life, next, .. } = self;
        format!("{instance}/{begins}/{life}/{next}")
    }

    /// Entities are locked, hear a first and a last word, and are unlocked.
    fn section(&mut self, entities: &[String]) -> Result<bool, String> {
        let name: Arc<str> = self.name().into();
        let lock = || LockRequest {
            critical_section_id: name.clone(),
            lock_set: entities.iter().map(|it| it.as_str().into()).collect(),
            position: 0,
            parent_instance_id: None,
        };
        self.ask(|_, _| {
            ActionKind::SendEntityMessage(EntityMessage::LockRequested(Box::new(lock())))
        })?;
        let is_granted = |event: &HistoryEvent| matches!(&event.fact, Fact::EntityLockGranted { critical_section_id, .. } if *critical_section_id == name);
        if !self.history.iter().any(is_granted) {
            return Ok(false);
        }
        for word in WORDS {
            let mut all = true;
            for entity in entities {
                let request = format!("{name}{word}{entity}");
                let mark = format!("<{name}{word}");
                let call = Box::new(operation(&request, mark, entity));
                self.ask(|_, _| ActionKind::SendEntityMessage(EntityMessage::Called(call)))?;
                all &= self.is_done(&request)?;
            }
            if !all {
                return Ok(false);
            }
        }
        for entity in entities {
            let unlock = Unlock {
                critical_section_id: name.clone(),
                parent_instance_id: None,
                target: Some(entity.as_str().into()),
            };
            let unlock = EntityMessage::UnlockSent(Box::new(unlock));
            self.ask(|_, _| ActionKind::SendEntityMessage(unlock))?;
        }
        Ok(true)
    }

    /// Whether an entity has answered.
    fn is_done(&self, request: &str) -> Result<bool, String> {
        for event in self.history {
            match &event.fact {
                Fact::EntityOperationCompleted { request_id, .. } if **request_id == *request => {
                    return Ok(true);
                }
                Fact::EntityOperationFailed { request_id, .. } if **request_id == *request => {
                    return Err(format!("{request} failed"));
                }
                _ => {}
            }
        }
        Ok(false)
    }

    /// Asks for something, unless it was asked for before; what became of it.
    fn ask(&mut self, kind: impl FnOnce(i32, Timestamp) -> ActionKind) -> Result<Answer, String> {
        let id = self.next;
        self.next += 1;
        if !self.history.iter().any(|event| event.id == id) {
            let now = self.history.iter().rev().find(|it| it.fact == Fact::OrchestratorStarted);
            let now = now.ok_or("a turn has no time")?.at;
            self.actions.push(Action { id, kind: kind(id, now) });
            return Ok(Answer::Open);
        }
        for event in self.history {
            match &event.fact {
                Fact::TaskCompleted { task, result }
                | Fact::SubOrchestrationCompleted { task, result }
                    if *task == id =>
                {
                    let number = result.as_deref().and_then(|it| it.parse().ok());
                    return number.map(Answer::Done).ok_or_else(|| format!("{result:?} came"));
                }
                Fact::TaskFailed { task, .. } | Fact::SubOrchestrationFailed { task, .. }
                    if *task == id =>
                {
                    return Ok(Answer::Failed);
                }
                Fact::TimerFired { timer, .. } if *timer == id => return Ok(Answer::Done(0)),
                _ => {}
            }
        }
        Ok(Answer::Open)
    }

    /// Goes on to the end of a step; `false` if that is still to come.
    fn step(&mut self, step: &Step) -> Result<bool, String> {
        match step {
            Step::Fan { from, count } => self.fan((*from..from + count).collect()),
            Step::Timer(millis) => {
                let timer = |_, now: Timestamp| ActionKind::CreateTimer {
                    fire_at: now.plus_millis(*millis),
                };
                Ok(matches!(self.ask(timer)?, Answer::Done(_)))
            }
            Step::Event => {
                let nth = self.events;
                self.events += 1;
                let mut came = self.history.iter().filter_map(|event| match &event.fact {
                    Fact::EventRaised { name, input } if name.eq_ignore_ascii_case(EVENT) => {
                        Some(input.clone())
                    }
                    _ => None,
                });
                let Some(input) = came.nth(nth) else { return Ok(false) };
                let number = input.as_deref().and_then(|it| it.parse::<i64>().ok());
                self.total += number.ok_or_else(|| format!("{input:?} came"))?;
                Ok(true)
            }
            Step::Child(steps) => self.child(steps),
            Step::Signal(entity) => {
                let name = self.name();
                let signal = Box::new(operation(&name, format!("<{name}>"), entity));
                self.ask(|_, _| ActionKind::SendEntityMessage(EntityMessage::Signaled(signal)))?;
                Ok(true)
            }
            Step::Section(entities) => self.section(entities),
            Step::Again => Err("a life goes on after its end".to_owned()),
        }
    }

    /// Activities at once; those that failed are asked for again when all have answered.
    fn fan(&mut self, mut inputs: Vec<i64>) -> Result<bool, String> {
        while !inputs.is_empty() {
            let (mut failed, mut all) = (Vec::new(), true);
            for input in inputs {
                let call = |_, _| {
                    let call = Call::new(ACTIVITY, Some(input.to_string().into()));
                    ActionKind::ScheduleTask(Box::new(call))
                };
                match self.ask(call)? {
                    Answer::Open => all = false,
                    Answer::Failed => failed.push(input),
                    Answer::Done(number) => self.total += number,
                }
            }
            if !all {
                return Ok(false);
            }
            inputs = failed;
        }
        Ok(true)
    }

    fn child(&mut self, steps: &[Step]) -> Result<bool, String> {
        let input = Program::first(steps);
        let call = |_, _| ActionKind::CreateSubOrchestration {
            instance_id: "".into(),
            call: Box::new(Call::new(ORCHESTRATOR, Some(input.into()))),
        };
        match self.ask(call)? {
            Answer::Open => Ok(false),
            Answer::Failed => Err("a child failed".to_owned()),
            Answer::Done(number) => {
                self.total += number;
                Ok(true)
            }
        }
    }
}

fn operation(request: &str, mark: String, entity: &str) -> EntityOperation {
    EntityOperation {
        request_id: request.into(),
        operation: "add".into(),
        scheduled_at: None,
        input: Some(mark.into()),
        parent_instance_id: None,
        parent_execution_id: None,
        target: Some(entity.into()),
    }
}
