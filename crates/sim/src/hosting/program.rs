//! What the orchestrators do: a list of steps, whose value anybody can work out beforehand.

use kernel::Timestamp;
use kernel::durable::{
    Action, ActionKind, Call, Completion, EntityMessage, EntityOperation, Fact, HistoryEvent,
    Outcome, Tags,
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
        Step::Timer(_) | Step::Signal(_) => 0,
    };
    steps.iter().map(of).sum()
}

/// A program of a seed.
pub(super) fn drawn(random: &mut Random, depth: u32) -> Vec<Step> {
    let length = random.between(1, 4);
    let one = |_| match random.weighted(&[6, 3, 3, if depth > 0 { 4 } else { 0 }, 4]) {
        0 => Step::Fan { from: random.between(1, 50), count: random.between(1, 4) },
        1 => Step::Timer(random.between(0, 20_000)),
        2 => Step::Event,
        3 => Step::Child(drawn(random, depth - 1)),
        _ => {
            let entity = random.pick(&ENTITIES).copied().unwrap_or(ENTITIES[0]);
            Step::Signal(entity.to_owned())
        }
    };
    (0..length).map(one).collect()
}

/// The name under which an instance's signal is found in an entity's state.
pub(super) fn mark(instance: &str, id: i32) -> String {
    format!("<{instance}/{id}>")
}

/// What an orchestrator wants, given its history.
pub(super) fn turn(instance: &str, history: &[HistoryEvent]) -> Result<Vec<Action>, String> {
    let input = history.iter().find_map(|event| match &event.fact {
        Fact::ExecutionStarted(started) => started.input.clone(),
        _ => None,
    });
    let input = input.ok_or("a history does not begin with a start")?;
    let steps: Vec<Step> = serde_json::from_str(&input).map_err(|error| error.to_string())?;
    let mut run = Run { instance, history, actions: Vec::new(), next: 1, events: 0, total: 0 };
    for step in &steps {
        if !run.step(step)? {
            return Ok(run.actions);
        }
    }
    let id = run.next;
    let completion = Completion {
        outcome: Outcome::Completed,
        result: Some(run.total.to_string().into()),
        failure: None,
        new_version: None,
        carryover: Vec::new(),
        tags: Tags::new(),
    };
    run.actions.push(Action { id, kind: ActionKind::Complete(Box::new(completion)) });
    Ok(run.actions)
}

struct Run<'a> {
    instance: &'a str,
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
                let instance = self.instance;
                let signal = |id, _| {
                    let operation = EntityOperation {
                        request_id: format!("{instance}/{id}").into(),
                        operation: "add".into(),
                        scheduled_at: None,
                        input: Some(mark(instance, id).into()),
                        parent_instance_id: None,
                        parent_execution_id: None,
                        target: Some(entity.as_str().into()),
                    };
                    ActionKind::SendEntityMessage(EntityMessage::Signaled(Box::new(operation)))
                };
                self.ask(signal)?;
                Ok(true)
            }
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
        let input = serde_json::to_string(steps).map_err(|error| error.to_string())?;
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
