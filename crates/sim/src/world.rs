//! The simulated world: a clock that only the seed moves, one process that can die at any moment,
//! workers and operators who misbehave.
//!
//! It does with the kernel what the engine does: load, decide, commit, act. What it adds is doubt:
//! every commit goes to the auditor, and what is in memory is compared with what history folds to.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::definition::TaskDef;
use kernel::graph::{
    Asker, Context, Event, Execution, Input, Limits, Message, Report, Start, StartMessage,
    TaskStatus, Verdict,
};
use kernel::{Decision, Effect, ExecutionId, Json, Rejected, Timestamp};
use serde_json::json;

use crate::auditor::{Auditor, Commit, Objection, RowSeen, Sent};
use crate::fault::Faults;
use crate::mutant::Kernel;
use crate::operator;
use crate::process::Memory;
use crate::random::Random;
use crate::store::{MessageKey, Outgoing, Row, Store};
use crate::trace::{dump, kind_of, short, shown};
use crate::worker::Job;
use crate::workload::{BUILTIN, Catalog, WORKFLOWS};

/// Steps of a run while things go wrong.
const CHAOS_STEPS: usize = 260;
/// Steps after that within which everything must have come to its end.
const CALM_STEPS: usize = 6000;

/// A run that was found wanting.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What is wrong.
    pub objection: Objection,
    /// What happened before, one line each.
    pub trace: Vec<String>,
}

/// What a run has seen, to know that the seeds reach what they should.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Executions begun.
    pub executions: usize,
    /// Commits.
    pub commits: u64,
    /// Kinds of events, and how many of each.
    pub events: BTreeMap<String, u64>,
}

/// Runs one seed.
///
/// # Errors
/// What is wrong, and how it came to it.
pub fn run(seed: u64, kernel: &dyn Kernel) -> Result<Tally, Box<Failure>> {
    let mut world = World::new(seed, kernel);
    let result = world.live();
    let trace = std::mem::take(&mut world.trace);
    match result {
        Ok(()) => Ok(Tally {
            executions: world.store.executions.len(),
            commits: world.store.commits,
            events: world.tally,
        }),
        Err(objection) => Err(Box::new(Failure { seed, objection, trace })),
    }
}

/// A world and everything in it.
pub(crate) struct World<'k> {
    pub(crate) now: Timestamp,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    pub(crate) store: Store,
    kernel: &'k dyn Kernel,
    catalog: Catalog,
    limits: Limits,
    pub(crate) memory: Memory<Execution>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) late: Vec<(ExecutionId, Report)>,
    auditor: Auditor,
    tally: BTreeMap<String, u64>,
    trace: Vec<String>,
    pub(crate) calm: bool,
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Something was committed.
    Committed,
    /// Nothing was to be done.
    Idle,
    /// The kernel refused.
    Rejected,
    /// The process died; whoever asked does not know what came of it.
    Crashed,
}

pub(crate) type Step<T> = Result<T, Objection>;

impl<'k> World<'k> {
    fn new(seed: u64, kernel: &'k dyn Kernel) -> Self {
        let mut random = Random::new(seed);
        let catalog = Catalog::drawn(&mut random.split());
        let faults = Faults::drawn(&mut random.split());
        let steps_max = if random.chance(30) { random.between(1, 4) as u32 } else { 200 };
        Self {
            now: Timestamp::from_millis(1_000_000),
            random,
            faults,
            store: Store::default(),
            kernel,
            catalog,
            limits: Limits { steps_max, ..Limits::default() },
            memory: Memory::default(),
            jobs: Vec::new(),
            late: Vec::new(),
            auditor: Auditor::default(),
            tally: BTreeMap::new(),
            trace: Vec::new(),
            calm: false,
        }
    }

    fn live(&mut self) -> Step<()> {
        let roots = self.random.between(1, 3);
        for root in 0..roots {
            self.start_root(root)?;
        }
        for _ in 0..CHAOS_STEPS {
            if !self.act()? {
                break;
            }
        }
        self.calm_down()?;
        for _ in 0..CALM_STEPS {
            if !self.act()? {
                return self.look_back();
            }
        }
        Err(Objection::new("", "liveness", "the world does not come to rest"))
    }

    fn start_root(&mut self, root: i64) -> Step<()> {
        let name = self.random.pick(&WORKFLOWS[..2]).copied().unwrap_or(WORKFLOWS[0]);
        let plan = self.catalog.workflows[name].clone();
        let id = ExecutionId::new(format!("root-{root}"));
        self.auditor.root(id.as_str());
        let start = Start {
            plan,
            input: Json::of(&json!({ "n": root })),
            correlation_id: None,
            priority: 0,
            task_to_domain: None,
            parent: None,
            asked_by: None,
            event: None,
            created_by: None,
            acts_as: None,
            idempotency_key: None,
            traceparent: None,
        };
        while self.step(&id, &Input::Start(Box::new(start.clone())), None)? == Outcome::Crashed {}
        Ok(())
    }

    /// No more faults: what was held up arrives, what is paused goes on.
    fn calm_down(&mut self) -> Step<()> {
        self.say(|| "calm".to_owned());
        self.calm = true;
        self.faults = Faults::none();
        for (id, report) in std::mem::take(&mut self.late) {
            self.step(&id, &Input::Report(Box::new(report)), None)?;
        }
        let ids: Vec<ExecutionId> = self.store.executions.keys().cloned().collect();
        for id in ids {
            operator::resume(self, &id)?;
        }
        Ok(())
    }

    /// One thing happens. `false` if nothing can happen any more.
    fn act(&mut self) -> Step<bool> {
        if self.random.chance(self.faults.operator) {
            operator::act(self)?;
        }
        if self.random.chance(self.faults.clock_jump) {
            let millis = self.random.between(1, 40_000);
            self.advance(self.now.plus_millis(millis));
        }
        let due = self.memory.due(self.now);
        let senders: Vec<ExecutionId> = self.memory.deliveries.keys().cloned().collect();
        let ready = self.memory.ready(&self.store, self.now);
        let weights = [
            3 * u32::from(!due.is_empty()),
            4 * u32::from(!senders.is_empty()),
            4 * u32::from(!ready.is_empty()),
            4 * u32::from(!self.jobs.is_empty()),
            2 * u32::from(!self.late.is_empty()),
            u32::from(!self.calm),
        ];
        if weights.iter().sum::<u32>() == 0 {
            return self.pass_time();
        }
        match self.random.weighted(&weights) {
            0 => self.wake(&due)?,
            1 => self.deliver(&senders)?,
            2 => self.claim(&ready)?,
            3 => self.work()?,
            4 => self.late_report()?,
            _ => return self.pass_time(),
        }
        Ok(true)
    }

    /// The clock goes on to the next instant at which something may happen; if there is none, the
    /// people outside do what is waited for.
    fn pass_time(&mut self) -> Step<bool> {
        let ready = self.store.rows.values().filter(|row| !row.held).map(|row| row.ready_at);
        let next = self.memory.wake_at.values().copied().chain(ready).filter(|at| *at > self.now);
        let next = next.min();
        if let Some(at) = next.filter(|_| self.calm || self.random.chance(80)) {
            let lateness = if self.random.chance(30) { self.random.between(0, 700) } else { 0 };
            self.advance(at.plus_millis(lateness));
            return Ok(true);
        }
        let awaited = self.awaited();
        if let Some(key) = self.random.pick(&awaited).cloned() {
            self.report(&key, None, Verdict::Done(TaskStatus::Completed))?;
            return Ok(true);
        }
        Ok(!self.calm)
    }

    fn advance(&mut self, to: Timestamp) {
        self.now = to;
        self.say(|| format!("clock {to}"));
    }

    fn wake(&mut self, due: &[ExecutionId]) -> Step<()> {
        let Some(id) = self.random.pick(due).cloned() else { return Ok(()) };
        self.memory.wake_at.remove(&id);
        let outcome = self.step(&id, &Input::Wake, None)?;
        if outcome == Outcome::Crashed {
            return Ok(());
        }
        let kernel = self.kernel;
        let wake_at = kernel.wake_at(self.state(&id)?);
        if let Some(at) = wake_at {
            self.memory.wake_at.insert(id.clone(), at);
        }
        self.auditor.looked(id.as_str(), self.now, outcome == Outcome::Committed, wake_at)
    }

    fn deliver(&mut self, receivers: &[ExecutionId]) -> Step<()> {
        let Some(to) = self.random.pick(receivers).cloned() else { return Ok(()) };
        let Some(key) = self.memory.next_message(&to) else { return Ok(()) };
        let outcome = match self.store.outbox.get(&key).cloned() {
            // It was received already: the store says so, nobody decides.
            None => Outcome::Idle,
            Some(outgoing) => self.receive(&key, &outgoing)?,
        };
        if outcome == Outcome::Crashed {
            return Ok(());
        }
        self.store.outbox.remove(&key);
        self.memory.delivered(&to);
        Ok(())
    }

    fn receive(&mut self, key: &MessageKey, outgoing: &Outgoing) -> Step<Outcome> {
        let message: Message = serde_json::from_str(&outgoing.body)
            .map_err(|error| Objection::new("", "messages parse", error.to_string()))?;
        self.say(|| format!("deliver to {}: {}", outgoing.to, outgoing.body));
        let Message::Start(start) = message else {
            return self.step(&outgoing.to, &Input::Message(message), Some(key));
        };
        let asked_by = start.asked_by.clone();
        if let Some(start) = self.start_of(*start, &outgoing.to) {
            return self.step(&outgoing.to, &Input::Start(Box::new(start)), Some(key));
        }
        let Some(by) = asked_by else { return Ok(Outcome::Idle) };
        let asker = Asker { by, child: outgoing.to.clone() };
        let (asker, refused) = asker.refusal("no such workflow");
        self.step(&asker, &Input::Message(refused), Some(key))
    }

    fn start_of(&self, message: StartMessage, to: &ExecutionId) -> Option<Start> {
        let plan = self.catalog.workflows.get(&*message.name)?.clone();
        Some(Start {
            plan,
            input: message.input,
            correlation_id: message.correlation_id,
            priority: message.priority,
            task_to_domain: message.task_to_domain,
            parent: message.parent,
            asked_by: message.asked_by.map(|by| Asker { by, child: to.clone() }),
            event: message.event,
            created_by: message.created_by,
            acts_as: message.acts_as,
            idempotency_key: None,
            traceparent: None,
        })
    }

    /// The state of an execution, from memory or folded.
    pub(crate) fn state(&mut self, id: &ExecutionId) -> Step<&Execution> {
        self.load(id)?;
        Ok(&self.memory.states[id])
    }

    fn load(&mut self, id: &ExecutionId) -> Step<()> {
        if !self.memory.states.contains_key(id) {
            let state = self.fold(id)?;
            self.memory.states.insert(id.clone(), state);
        }
        Ok(())
    }

    fn fold(&mut self, id: &ExecutionId) -> Step<Execution> {
        let folded = self.store.fold(id);
        folded.map_err(|what| Objection::new(id.as_str(), "history folds", what))
    }

    /// Load, decide, commit, act: with everything that may go wrong in between.
    pub(crate) fn step(
        &mut self,
        id: &ExecutionId,
        input: &Input,
        received: Option<&MessageKey>,
    ) -> Step<Outcome> {
        self.load(id)?;
        if self.random.chance(self.faults.crash_before_commit) {
            self.say(|| format!("crash before the commit of {id} {}", short(input)));
            self.recover();
            return Ok(Outcome::Crashed);
        }
        let Some(mut state) = self.memory.states.remove(id) else { return Ok(Outcome::Crashed) };
        let mut decided = self.decide(&mut state, input);
        if self.random.chance(self.faults.conflict) {
            let (mut other, before) = (self.fold(id)?, shown(&decided));
            decided = self.decide(&mut other, input);
            if shown(&decided) != before {
                let what = format!("{before}\n  then {}", shown(&decided));
                return Err(Objection::new(id.as_str(), "deciding twice is equal", what));
            }
            state = other;
        }
        let decision = match decided {
            Ok(decision) => decision,
            Err(rejected) => {
                self.say(|| format!("{id} {} rejected: {rejected}", short(input)));
                self.compare(id, &state)?;
                self.memory.states.insert(id.clone(), state);
                return Ok(Outcome::Rejected);
            }
        };
        if decision.events.is_empty() && decision.effects.is_empty() {
            self.say(|| format!("{id} {} changes nothing", short(input)));
            self.compare(id, &state)?;
            self.memory.states.insert(id.clone(), state);
            return Ok(Outcome::Idle);
        }
        self.commit(id, state, input, decision, received)
    }

    fn decide(
        &mut self,
        state: &mut Execution,
        input: &Input,
    ) -> Result<Decision<Event>, Rejected> {
        let knowledge = Knowledge(&self.catalog);
        let scripts = self.kernel.scripts();
        let context = Context { now: self.now, scripts, world: &knowledge, limits: &self.limits };
        self.kernel.decide(state, input.clone(), &context)
    }

    fn commit(
        &mut self,
        id: &ExecutionId,
        mut state: Execution,
        input: &Input,
        decision: Decision<Event>,
        received: Option<&MessageKey>,
    ) -> Step<Outcome> {
        let text = serde_json::to_string(&decision.events).expect("events serialize to JSON");
        self.say(|| format!("{id} {} => {text}", short(input)));
        for event in &decision.events {
            *self.tally.entry(kind_of(event)).or_default() += 1;
            if let Event::Started(started) = event
                && let Some(plan) = &started.plan.plan
            {
                self.store.plans.insert(plan.hash.clone(), plan.text.clone());
                self.auditor.plan(&plan.hash, &plan.text);
            }
        }
        let stored = self.store.executions.entry(id.clone()).or_default();
        stored.history.push(text.clone());
        stored.version += 1;
        let version = stored.version;
        if self.kernel.is_mutant() {
            state = self.fold(id)?;
        }
        let wake_at = self.kernel.wake_at(&state);
        if let Some(stored) = self.store.executions.get_mut(id) {
            stored.wake_at = wake_at;
        }
        self.store.commits += 1;
        if let Some(key) = received {
            self.store.outbox.remove(key);
        }
        let (sent, keys) = self.settle_effects(id, &state, version, decision.effects);
        let rows = self.store.rows.range((id.clone(), 0)..=(id.clone(), u32::MAX));
        let rows = rows.map(|((_, sequence), row)| {
            (
                *sequence,
                RowSeen { ready_at: row.ready_at, held: row.held, queue: row.queue.to_string() },
            )
        });
        let tasks = state.tasks().map(|task| (task.sequence, task.status.as_str())).collect();
        let seen =
            Commit { tasks, id: id.as_str(), events: &text, sent, rows: rows.collect(), wake_at };
        self.auditor.committed(&seen)?;
        if self.random.chance(self.faults.crash_after_commit) {
            self.say(|| "crash after the commit".to_owned());
            self.recover();
            return Ok(Outcome::Crashed);
        }
        for (to, key) in keys {
            self.memory.post(to, key);
        }
        self.memory.wake(id, wake_at);
        self.compare(id, &state)?;
        if !self.random.chance(self.faults.forget) {
            self.memory.states.insert(id.clone(), state);
        }
        Ok(Outcome::Committed)
    }

    /// What the effects of a decision write beside its events, within the same commit.
    fn settle_effects(
        &mut self,
        id: &ExecutionId,
        state: &Execution,
        version: u64,
        effects: Vec<Effect>,
    ) -> (Vec<Sent>, Vec<(ExecutionId, MessageKey)>) {
        let (mut sent, mut keys) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Dispatch(dispatch) => {
                    let key = (id.clone(), dispatch.sequence);
                    let open = state.task(dispatch.sequence).is_some_and(|t| !t.status.is_closed());
                    if open {
                        let (queue, ready_at) = (dispatch.queue, dispatch.ready_at);
                        self.memory.taken.remove(&key);
                        self.store.rows.insert(key, Row { queue, ready_at, held: false });
                    }
                }
                Effect::Withdraw { sequence } => {
                    self.memory.taken.remove(&(id.clone(), sequence));
                    self.store.rows.remove(&(id.clone(), sequence));
                }
                Effect::Hold { sequence } => {
                    if let Some(row) = self.store.rows.get_mut(&(id.clone(), sequence)) {
                        row.held = true;
                    }
                }
                Effect::Send { to, message } => {
                    let body = serde_json::to_string(&message).expect("messages serialize");
                    let key = self.store.send((id, version), sent.len(), &to, body.clone());
                    sent.push(Sent { to: to.to_string(), body });
                    keys.push((to, key));
                }
                // Ledgers are written, never read: nothing here depends on them.
                Effect::Record(_)
                | Effect::Publish(_)
                | Effect::Reuse(_)
                | Effect::Forget(_)
                | Effect::Sample(_)
                | Effect::Admit(_) => {}
            }
        }
        (sent, keys)
    }

    /// A new process finds only what was committed.
    fn recover(&mut self) {
        self.memory = Memory::found(&self.store);
        self.jobs.retain(|job| job.worker.is_some());
        for row in self.store.rows.values_mut() {
            // Whatever the former process ran itself runs no more.
            if &*row.queue == BUILTIN {
                row.held = false;
            }
        }
    }

    /// What is in memory must be what history folds to.
    fn compare(&mut self, id: &ExecutionId, state: &Execution) -> Step<()> {
        let closed = state.is_started() && state.status.is_closed();
        if !self.random.chance(12) && !closed {
            return Ok(());
        }
        let folded = self.fold(id)?;
        let (now, live, folded) = (self.now, dump(state, self.now), dump(&folded, self.now));
        if live == folded {
            return Ok(());
        }
        let what = format!("at {now} memory has\n{live}\nhistory has\n{folded}");
        Err(Objection::new(id.as_str(), "fold(history) = state", what))
    }

    fn look_back(&mut self) -> Step<()> {
        if let Some((key, outgoing)) = self.store.outbox.iter().next() {
            let what = format!("message {key:?} never arrived: {}", outgoing.body);
            return Err(Objection::new(outgoing.to.as_str(), "messages arrive", what));
        }
        if let Some((id, sequence)) = self.store.rows.keys().next() {
            let what = format!("task {sequence} is still in its queue");
            return Err(Objection::new(id.as_str(), "rows are tasks", what));
        }
        self.auditor.finish()
    }

    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        self.trace.push(line());
    }
}

/// What decisions may know of the simulated world.
struct Knowledge<'a>(&'a Catalog);

impl kernel::graph::World for Knowledge<'_> {
    fn task_def(&self, name: &str) -> Option<Arc<TaskDef>> {
        self.0.tasks.get(name).cloned()
    }

    fn is_builtin(&self, task_type: &str) -> bool {
        task_type == BUILTIN
    }

    fn polled_lately(&self, _: &str) -> bool {
        false
    }

    fn environment(&self, _: &str) -> Option<String> {
        None
    }
}
