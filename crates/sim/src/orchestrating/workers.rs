//! Durable Task workers: they take what the queues have, replay, run and answer, and not always well.

use std::collections::BTreeSet;
use std::sync::Arc;

use kernel::durable::entity::{self, Batch, BatchResult};
use kernel::durable::instance::{Input, TurnResult, Work};
use kernel::durable::{
    Action, ActionKind, Call, Completion, EntityAction, Fact, FailureDetails, HistoryEvent,
    OperationResult, Outcome as End, Tags, WorkToken,
};
use kernel::{MachineKind, Timestamp};

use super::host::{AnyInput, State};
use super::program::ENTITIES;
use super::replay::replay;
use super::world::World;
use crate::auditor::Objection;
use crate::store::TaskKey;
use crate::world::{Outcome, Step};

/// Work in the hands of a worker.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) key: TaskKey,
    given: Given,
    /// Another may have the same by now.
    slow: bool,
}

#[derive(Clone)]
enum Given {
    Work(Box<Work>),
    Batch(Box<Batch>),
}

impl World<'_> {
    /// A row of the queues goes to a worker.
    pub(super) fn hand_out(&mut self, ready: &[TaskKey]) -> Step<()> {
        let Some(key) = self.random.pick(ready).cloned() else { return Ok(()) };
        if self.dies("before work is handed out") {
            return Ok(());
        }
        let now = self.now;
        let given = match self.load(&key.0)? {
            State::Instance(state) => {
                state.work(key.1, now).map(|work| Given::Work(Box::new(work)))
            }
            State::Entity(state) => state.work().map(|batch| Given::Batch(Box::new(batch))),
        };
        let Some(given) = given else {
            let what = format!("row {} stands in a queue, and there is no such work", key.1);
            return Err(Objection::new(key.0.as_str(), "rows are work", what));
        };
        self.memory.taken.insert(key.clone());
        match &given {
            Given::Work(work) => self.auditor.handed(now, &key.0, work)?,
            Given::Batch(batch) => self.auditor.handed_batch(now, &key.0, batch)?,
        }
        self.say(|| format!("{} hands out {}", key.0, key.1));
        self.jobs.push(Job { key, given, slow: false });
        Ok(())
    }

    /// A worker does something.
    pub(super) fn work(&mut self) -> Step<()> {
        let at = self.random.below(self.jobs.len());
        let job = self.jobs[at].clone();
        if self.random.chance(self.faults.worker_dies) {
            self.count("a worker died");
            self.lay_down(at);
            return Ok(());
        }
        if !job.slow && self.random.chance(self.faults.slow) {
            self.jobs[at].slow = true;
            self.memory.taken.remove(&job.key);
            return Ok(());
        }
        if self.random.chance(self.faults.nonsense) {
            let input = self.forged(&job);
            self.count("a forged token");
            self.step(&job.key.0, &input, None)?;
            return Ok(());
        }
        let answer = match &job.given {
            Given::Work(work) => self.answer(&job, work)?,
            Given::Batch(batch) => self.answer_batch(batch),
        };
        match self.step(&job.key.0, &answer, None)? {
            Outcome::Rejected => self.count("an answer came too late"),
            Outcome::Committed | Outcome::Idle => {}
            // It does not know whether it was heard.
            Outcome::Crashed if self.random.chance(60) => return Ok(()),
            Outcome::Crashed => {}
        }
        if !self.random.chance(self.faults.twice) {
            self.lay_down_job(&job);
        }
        Ok(())
    }

    fn lay_down_job(&mut self, job: &Job) {
        let is_it = |other: &Job| other.key == job.key && other.token() == job.token();
        if let Some(at) = self.jobs.iter().position(is_it) {
            self.lay_down(at);
        }
    }

    /// A worker has nothing to do with a job any more: if nobody else has it, it is offered again.
    fn lay_down(&mut self, at: usize) {
        let job = self.jobs.remove(at);
        if !self.jobs.iter().any(|other| other.key == job.key && !other.slow) {
            self.memory.taken.remove(&job.key);
        }
    }

    fn answer(&mut self, job: &Job, work: &Work) -> Step<AnyInput> {
        let unique = self.unique();
        match work {
            Work::Activity { token, .. } => {
                let token = token.clone();
                let text = format!("r{unique}");
                let result = if self.random.chance(self.faults.fails) {
                    self.count("an activity failed");
                    Err(Box::new(FailureDetails::new("Failed", text)))
                } else {
                    Ok(Some(text.into()))
                };
                Ok(Input::ActivityCompleted { token, result }.into())
            }
            Work::Turn { token, past, new, .. } => {
                let rewinds = new.len() == 2 && matches!(new[1].fact, Fact::ExecutionRewound(_));
                let (actions, place, processed) = if rewinds {
                    (self.rewind(past, new, unique), None, None)
                } else if self.random.chance(self.faults.nonsense / 3) {
                    self.count("an answer that contradicts itself");
                    (contradiction(), None, None)
                } else {
                    let most = new.len() - 1;
                    let partly = most > 0 && self.random.chance(self.faults.partly);
                    let seen =
                        if partly { self.random.between(1, most as i64) as usize } else { most };
                    let replayed = replay(&self.catalog, past, &new[..=seen], unique);
                    let replayed = replayed.map_err(|what| {
                        Objection::new(job.key.0.as_str(), "histories can be replayed", what)
                    })?;
                    let processed = partly.then_some(seen + 1);
                    let mut actions = replayed.actions;
                    if !replayed.asked.is_empty() && self.random.chance(self.faults.repeats) {
                        self.count("a worker asked again");
                        actions.extend(replayed.asked);
                    }
                    (actions, Some(replayed.place.into()), processed)
                };
                let token = token.clone();
                let custom_status: Option<Arc<str>> = place;
                let result = TurnResult { token, actions, custom_status, processed, trace: None };
                Ok(Input::TurnCompleted(Box::new(result)).into())
            }
        }
    }

    /// What an SDK makes of a failed history: what failed goes, and the end.
    fn rewind(&mut self, past: &[HistoryEvent], new: &[HistoryEvent], unique: u64) -> Vec<Action> {
        if self.random.chance(self.faults.nonsense) {
            self.count("a worker that cannot rewind");
            return Vec::new();
        }
        let failed: BTreeSet<i32> = past
            .iter()
            .filter_map(|event| match event.fact {
                Fact::TaskFailed { task, .. } => Some(task),
                _ => None,
            })
            .collect();
        let parent = match &new[1].fact {
            Fact::ExecutionRewound(rewound) => rewound.parent_execution_id.clone(),
            _ => None,
        };
        let keep = |event: &&HistoryEvent| match &event.fact {
            Fact::TaskScheduled(_) => !failed.contains(&event.id),
            Fact::TaskFailed { .. }
            | Fact::SubOrchestrationFailed { .. }
            | Fact::ExecutionCompleted(_) => false,
            _ => true,
        };
        let mut history: Vec<HistoryEvent> = past.iter().chain(new).filter(keep).cloned().collect();
        let keeps_its_name = self.random.chance(30);
        for event in &mut history {
            if let Fact::ExecutionStarted(started) = &mut event.fact {
                if !keeps_its_name {
                    started.execution_id = format!("rewound-{unique}").into();
                }
                if let (Some(of), Some(parent)) = (started.parent.as_mut(), &parent) {
                    of.execution_id = parent.clone();
                }
            }
        }
        vec![Action { id: -1, kind: ActionKind::Rewind { history } }]
    }

    fn answer_batch(&mut self, batch: &Batch) -> AnyInput {
        let most = batch.operations.len();
        let partly = self.random.chance(self.faults.partly);
        let count = if partly { self.random.between(1, most as i64) as usize } else { most };
        let unique = self.unique();
        let mut results = Vec::new();
        for number in 0..count {
            let text = format!("a{unique}.{number}");
            results.push(if self.random.chance(self.faults.fails) {
                self.count("an operation failed");
                OperationResult::Failed { failure: Box::new(FailureDetails::new("Failed", text)) }
            } else {
                OperationResult::Done { result: Some(text.into()) }
            });
        }
        let mut actions = Vec::new();
        if !self.calm && self.random.chance(12) {
            let entity = self.random.pick(&ENTITIES).copied().unwrap_or(ENTITIES[0]).into();
            let scheduled_at = self.random.chance(40).then(|| self.now.plus_seconds(5));
            let input = Some(format!("e{unique}").into());
            let operation = "add".into();
            actions.push(EntityAction::Signal { entity, operation, input, scheduled_at });
        }
        if !self.calm && self.random.chance(4) {
            let call = Box::new(Call::new("orchestrator-4", Some(format!("g0.e{unique}").into())));
            let shared = self.random.chance(50);
            let instance_id =
                if shared { "shared-0".into() } else { format!("spawned-{unique}").into() };
            actions.push(EntityAction::Start { instance_id, call, scheduled_at: None });
        }
        let state = (!self.random.chance(10)).then(|| format!("s{unique}").into());
        let token = batch.token.clone();
        let result = BatchResult { token, results, actions, state, failure: None };
        entity::Input::BatchCompleted(Box::new(result)).into()
    }

    /// The answer of one who was never asked.
    fn forged(&mut self, job: &Job) -> AnyInput {
        let how = self.random.below(4);
        let mut token = job.token().clone();
        match &mut token {
            WorkToken::Turn { execution_id, turn, taken, at, .. } => match how {
                0 => *execution_id = "00000000000000000000000000000bad".into(),
                1 => *turn += 1000,
                2 => *taken += 500,
                _ => *at = Timestamp::from_millis(at.millis() + 86_400_000),
            },
            WorkToken::Activity { execution_id, sequence, .. } => match how {
                0 => *execution_id = "00000000000000000000000000000bad".into(),
                _ => *sequence += 1000,
            },
            WorkToken::Batch { born, batch, taken, .. } => match how {
                0 => *born = born.plus_millis(-1),
                1 => *batch += 1000,
                _ => *taken += 500,
            },
        }
        if job.key.0.machine() == MachineKind::Entity {
            let (results, actions) = (Vec::new(), Vec::new());
            let state = Some("forged".into());
            let result = BatchResult { token, results, actions, state, failure: None };
            return entity::Input::BatchCompleted(Box::new(result)).into();
        }
        let as_activity = matches!(token, WorkToken::Activity { .. }) != self.random.chance(10);
        if as_activity {
            let result = Ok(Some("forged".into()));
            return Input::ActivityCompleted { token, result }.into();
        }
        let (actions, custom_status) = (Vec::new(), Some("forged".into()));
        let result = TurnResult { token, actions, custom_status, processed: None, trace: None };
        Input::TurnCompleted(Box::new(result)).into()
    }
}

impl Job {
    fn token(&self) -> &WorkToken {
        match &self.given {
            Given::Work(work) => match &**work {
                Work::Turn { token, .. } | Work::Activity { token, .. } => token,
            },
            Given::Batch(batch) => &batch.token,
        }
    }
}

/// Actions that no orchestrator can mean: it ends twice.
fn contradiction() -> Vec<Action> {
    let end = |id| {
        let completion = Completion {
            outcome: End::Completed,
            result: Some("nonsense".into()),
            failure: None,
            new_version: None,
            carryover: Vec::new(),
            tags: Tags::new(),
        };
        Action { id, kind: ActionKind::Complete(Box::new(completion)) }
    };
    vec![end(9001), end(9002)]
}
