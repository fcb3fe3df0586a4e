//! The world of a monitor: one process that can die at any point, and what survives it.

use std::collections::{BTreeMap, VecDeque};

use kernel::alert::definition::Silence;
use kernel::alert::{Monitor, ProviderEvent};
use kernel::graph::{self, Message, Report, Start, StartMessage, TaskStatus, Verdict};
use kernel::{Effect, ExecutionId, Json, MachineKind, Record, Timestamp};
use serde_json::{Value, json};

use super::Tally;
use super::auditor::{Auditor, Cause, Commit};
use super::faults::Faults;
use super::file::{Catalog, MONITORS};
use super::host::{AnyInput, State};
use super::mutant::{Slip, Watcher};
use super::outside::{Answer, Outside, text};
use super::people;
use crate::auditor::{Objection, Sent};
use crate::process::{Decided, Memory};
use crate::random::Random;
use crate::store::{MessageKey, Outgoing, Row, Store, TaskKey};
use crate::world::{Failure, Outcome, Step};

/// Steps of a run while things go wrong.
const CHAOS_STEPS: usize = 320;
/// Steps after that within which everything must be told and over.
const CALM_STEPS: usize = 4000;
/// Midnight of a Thursday.
const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const MINUTE: i64 = 60_000;

pub(super) struct World<'k> {
    pub(super) now: Timestamp,
    pub(super) random: Random,
    faults: Faults,
    /// The one point at which the process dies, if it dies at no other.
    kill_at: Option<u64>,
    points: u64,
    deaths: u64,
    store: Store,
    /// Silences, as documents.
    pub(super) silences: Vec<Silence>,
    /// What receivers have told of what was done there.
    pub(super) heard: Vec<(ExecutionId, ProviderEvent)>,
    kernel: &'k dyn Watcher,
    catalog: Catalog,
    memory: Memory<State>,
    /// What the process has yet to do; a death wipes it out, too.
    chores: VecDeque<Chore>,
    jobs: Vec<Job>,
    pub(super) outside: Outside,
    auditor: Auditor,
    counts: BTreeMap<String, u64>,
    trace: Vec<String>,
    calm_since: Option<Timestamp>,
}

/// What the engine does behind the commits; at each start it looks through all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Chore {
    Define(&'static str),
    Silences(&'static str),
    /// Tells those that depend on a monitor whether it is down.
    Dependents(&'static str),
    Forget(ExecutionId),
}

/// A task in the hands of a runner.
struct Job {
    key: TaskKey,
    input: Value,
    answer: Option<Answer>,
    hangs: bool,
}

impl<'k> World<'k> {
    pub(super) fn new(seed: u64, kernel: &'k dyn Watcher, kill_at: Option<u64>) -> Self {
        let mut random = Random::new(seed);
        let catalog = Catalog::drawn(&mut random.split());
        let mut faults = Faults::drawn(&mut random.split());
        if kill_at.is_some() {
            (faults.death, faults.outage) = (0, 0);
        }
        let auditor = Auditor::new(&catalog.rules);
        Self {
            now: START.plus_millis(random.between(0, 3_600_000)),
            random,
            faults,
            kill_at,
            points: 0,
            deaths: 0,
            store: Store::default(),
            silences: Vec::new(),
            heard: Vec::new(),
            kernel,
            catalog,
            memory: Memory::default(),
            chores: VecDeque::new(),
            jobs: Vec::new(),
            outside: Outside::new(),
            auditor,
            counts: BTreeMap::new(),
            trace: Vec::new(),
            calm_since: None,
        }
    }

    pub(super) fn run(mut self, seed: u64) -> Result<Tally, Box<Failure>> {
        match self.live() {
            Ok(()) => Ok(Tally { points: self.points, deaths: self.deaths, counts: self.counts }),
            Err(objection) => Err(Box::new(Failure { seed, objection, trace: self.trace })),
        }
    }

    fn live(&mut self) -> Step<()> {
        self.start();
        for _ in 0..CHAOS_STEPS {
            self.act()?;
        }
        self.say(|| "calm".to_owned());
        self.calm_since = Some(self.now);
        self.outside.calm_down();
        self.silences.clear();
        self.tell_silences();
        for _ in 0..CALM_STEPS {
            if self.is_at_rest() {
                return self.look_back();
            }
            self.act()?;
        }
        let what = self.unsettled().unwrap_or_default();
        Err(Objection::new("", "liveness", format!("this does not come to rest: {what}")))
    }

    /// Nothing is owed, under way or open, and everything was looked at since calm began.
    fn is_at_rest(&self) -> bool {
        self.unsettled().is_none()
    }

    fn unsettled(&self) -> Option<String> {
        let since = self.calm_since?.millis();
        if let Some(outgoing) = self.store.outbox.values().next() {
            return Some(format!("a message to {}", outgoing.to));
        }
        if let Some(key) = self.store.rows.keys().next() {
            return Some(format!("task {key:?}"));
        }
        if let Some(chore) = self.chores.front() {
            return Some(format!("{chore:?}"));
        }
        self.auditor.unsettled(since)
    }

    fn look_back(&self) -> Step<()> {
        self.auditor.finish(&self.outside.ringing)
    }

    /// One thing happens.
    fn act(&mut self) -> Step<()> {
        let calm = self.calm_since.is_some();
        if !calm && self.random.chance(self.faults.outage) {
            let millis = self.random.between(1, 180) * MINUTE;
            self.say(|| "an outage".to_owned());
            self.now = self.now.plus_millis(millis);
            self.die();
        }
        if self.chores.is_empty() {
            self.auditor.all_is_told(&self.silences, self.now)?;
        }
        let due = self.memory.due(self.now);
        let ready = self.memory.ready(&self.store, self.now);
        let busy: Vec<usize> = (0..self.jobs.len()).filter(|at| !self.jobs[*at].hangs).collect();
        let weights = [
            3 * u32::from(!due.is_empty()),
            4 * u32::from(!self.memory.deliveries.is_empty()),
            4 * u32::from(!ready.is_empty()),
            5 * u32::from(!busy.is_empty()),
            3 * u32::from(!self.chores.is_empty()),
            if calm { 0 } else { 2 },
            u32::from(!calm),
            u32::from(!calm),
        ];
        if weights.iter().sum::<u32>() == 0 {
            self.pass_time();
            return Ok(());
        }
        match self.random.weighted(&weights) {
            0 => self.wake(&due),
            1 => self.deliver(),
            2 => self.take(&ready),
            3 => self.work(&busy),
            4 => self.do_chore(),
            5 => {
                let change = self.outside.change(&mut self.random);
                self.say(|| change);
                Ok(())
            }
            6 => people::act(self),
            _ => {
                self.pass_time();
                Ok(())
            }
        }
    }

    /// The clock goes on to the next instant at which something may happen.
    fn pass_time(&mut self) {
        let ready = self.store.rows.values().map(|row| row.ready_at);
        let next = self.memory.wake_at.values().copied().chain(ready);
        let Some(next) = next.filter(|at| *at > self.now).min() else { return };
        let late = if self.random.chance(self.faults.late) { 4 * MINUTE } else { 0 };
        self.now = next.plus_millis(self.random.between(0, late));
        self.say(|| format!("clock {}", next.millis()));
    }

    fn wake(&mut self, due: &[ExecutionId]) -> Step<()> {
        let Some(id) = self.random.pick(due).cloned() else { return Ok(()) };
        self.memory.wake_at.remove(&id);
        if self.step(&id, &AnyInput::Wake, None)? == Outcome::Crashed {
            return Ok(());
        }
        let kernel = self.kernel;
        let wake_at = self.load(&id)?.wake_at(kernel);
        if let Some(at) = wake_at {
            let floor = at.max(self.now.plus_millis(1));
            self.memory.wake_at.insert(id.clone(), floor);
        }
        match id.machine() {
            MachineKind::Monitor => self.auditor.looked(&id, self.now, wake_at),
            _ => Ok(()),
        }
    }

    fn deliver(&mut self) -> Step<()> {
        let receivers: Vec<ExecutionId> = self.memory.deliveries.keys().cloned().collect();
        let Some(to) = self.random.pick(&receivers).cloned() else { return Ok(()) };
        let Some(key) = self.memory.next_message(&to) else { return Ok(()) };
        if let Some(outgoing) = self.outgoing(&key)
            && self.receive(&key, &outgoing)? == Outcome::Crashed
        {
            return Ok(());
        }
        self.store.outbox.remove(&key);
        self.memory.delivered(&to);
        Ok(())
    }

    fn outgoing(&self, key: &MessageKey) -> Option<Outgoing> {
        self.store.outbox.get(key).cloned()
    }

    fn receive(&mut self, key: &MessageKey, outgoing: &Outgoing) -> Step<Outcome> {
        let message: Message = serde_json::from_str(&outgoing.body)
            .map_err(|error| Objection::new("", "messages parse", error.to_string()))?;
        let input = match message {
            Message::Start(start) => match self.start_of(*start) {
                Some(start) => AnyInput::Execution(Box::new(graph::Input::Start(Box::new(start)))),
                None => return Ok(Outcome::Idle),
            },
            message => AnyInput::Message(message),
        };
        self.step(&outgoing.to, &input, Some(key))
    }

    fn start_of(&self, message: StartMessage) -> Option<Start> {
        let plan = self.catalog.plans.get(&*message.name)?.clone();
        Some(Start {
            plan,
            input: message.input,
            correlation_id: message.correlation_id,
            priority: message.priority,
            task_to_domain: None,
            parent: message.parent,
            asked_by: None,
            event: None,
            created_by: message.created_by,
            acts_as: message.acts_as,
            idempotency_key: None,
            traceparent: None,
        })
    }

    /// A task is handed over to its runner.
    fn take(&mut self, ready: &[TaskKey]) -> Step<()> {
        let Some(key) = self.random.pick(ready).cloned() else { return Ok(()) };
        if self.dies("before a task is handed over") {
            return Ok(());
        }
        self.memory.taken.insert(key.clone());
        let state = self.load(&key.0)?.execution();
        let task = state.filter(|it| !it.status.is_closed()).and_then(|it| it.task(key.1));
        let Some(task) = task.filter(|task| !task.status.is_closed()) else {
            let what = format!("task {} stands in a queue, but cannot be run", key.1);
            return Err(Objection::new(key.0.as_str(), "rows are tasks", what));
        };
        let input = task.input.parse();
        self.jobs.push(Job { key, input, answer: None, hangs: false });
        Ok(())
    }

    /// A runner acts on the world outside, or reports what came of it.
    fn work(&mut self, busy: &[usize]) -> Step<()> {
        let Some(at) = self.random.pick(busy).copied() else { return Ok(()) };
        if self.jobs[at].answer.is_some() {
            return self.report(at);
        }
        let input = self.jobs[at].input.clone();
        let receiver = text(&input["receiver"]);
        let answer = if receiver.is_empty() {
            self.outside.look(&text(&input["monitor"]))
        } else {
            let notification = &input["notification"];
            let (taken, answer) = self.outside.tell(&receiver, notification, &mut self.random);
            self.say(|| format!("{receiver} is told {notification}: taken {taken}, {answer:?}"));
            if taken {
                *self
                    .counts
                    .entry(format!("taken {}", text(&notification["event"])))
                    .or_default() += 1;
                self.auditor.taken(&receiver, notification)?;
            }
            answer
        };
        if self.dies("when a runner has acted") {
            return Ok(());
        }
        let key = self.jobs[at].key.clone();
        self.jobs[at].hangs = answer.is_none();
        let slow = answer.is_none() || self.random.chance(20);
        self.jobs[at].answer = answer;
        if slow {
            let claim = graph::Input::Claim { sequence: key.1, worker: None };
            self.step(&key.0, &AnyInput::Execution(Box::new(claim)), None)?;
        }
        Ok(())
    }

    fn report(&mut self, at: usize) -> Step<()> {
        let job = &self.jobs[at];
        let (key, answer) = (job.key.clone(), job.answer.clone());
        let (verdict, output) = match answer {
            Some(Answer::Output(output)) => (Verdict::Done(TaskStatus::Completed), output),
            Some(Answer::Failed { terminal: true, .. }) => {
                (Verdict::Done(TaskStatus::FailedWithTerminalError), json!({}))
            }
            Some(Answer::Failed { after: Some(after), .. }) => {
                (Verdict::FailedFor { after }, json!({}))
            }
            Some(Answer::Again { after }) => (Verdict::Again { after }, json!({})),
            _ => (Verdict::Done(TaskStatus::Failed), json!({})),
        };
        let report = Report {
            sequence: key.1,
            verdict,
            output: Some(Json::from(output)),
            merge: false,
            reason: None,
            worker: None,
            started_at: Some(self.now),
            metadata: None,
        };
        let report = AnyInput::Execution(Box::new(graph::Input::Report(Box::new(report))));
        if self.step(&key.0, &report, None)? != Outcome::Crashed {
            self.jobs.retain(|job| job.key != key);
        }
        Ok(())
    }

    /// Load, decide, commit, act: with a death possible on both sides of the commit.
    pub(super) fn step(
        &mut self,
        id: &ExecutionId,
        input: &AnyInput,
        received: Option<&MessageKey>,
    ) -> Step<Outcome> {
        self.load(id)?;
        if self.dies_with_outbox_first(id, input)? || self.dies("before a commit") {
            return Ok(Outcome::Crashed);
        }
        let Some(mut state) = self.memory.states.remove(id) else { return Ok(Outcome::Crashed) };
        let was_down = state.monitor().map(Monitor::is_down);
        let mut decided = state.decide(input.clone(), self.now, self.kernel);
        if self.random.chance(self.faults.conflict) {
            let mut other = self.fold(id)?;
            let again = other.decide(input.clone(), self.now, self.kernel);
            let shown = |decided: &Result<Decided, _>| match decided {
                Ok(decided) => decided.shown(),
                Err(rejected) => format!("{rejected:?}"),
            };
            if shown(&again) != shown(&decided) {
                let what = format!("{}\n  then {}", shown(&decided), shown(&again));
                return Err(Objection::new(id.as_str(), "deciding twice is equal", what));
            }
            (state, decided) = (other, again);
        }
        let cause = Cause::of(input);
        let decided = match decided {
            Ok(decided) => decided,
            Err(rejected) => {
                self.say(|| format!("{id} {cause:?} rejected: {rejected}"));
                self.memory.states.insert(id.clone(), state);
                return Ok(Outcome::Rejected);
            }
        };
        if decided.is_empty {
            self.memory.states.insert(id.clone(), state);
            return match id.machine() {
                MachineKind::Monitor => {
                    self.auditor.idle(id, &cause)?;
                    Ok(Outcome::Idle)
                }
                _ => Ok(Outcome::Idle),
            };
        }
        self.commit(id, state, &cause, decided, received)?;
        if self.died_after_commit(id, was_down)? {
            Ok(Outcome::Crashed)
        } else {
            Ok(Outcome::Committed)
        }
    }

    /// An engine that writes messages first, and dies before it writes anything else.
    fn dies_with_outbox_first(&mut self, id: &ExecutionId, input: &AnyInput) -> Step<bool> {
        if self.kernel.slip() != Some(Slip::OutboxFirst) {
            return Ok(false);
        }
        let before = self.store.outbox.clone();
        let mut state = self.fold(id)?;
        let version = self.store.executions.get(id).map_or(1, |stored| stored.version + 1);
        if let Ok(decided) = state.decide(input.clone(), self.now, self.kernel) {
            self.settle_effects(id, &state, version, decided.effects);
        }
        let died = self.dies("before a commit, but behind its messages");
        if !died {
            self.store.outbox = before;
        }
        Ok(died)
    }

    /// Writes what was decided, and lets the auditor see it.
    fn commit(
        &mut self,
        id: &ExecutionId,
        mut state: State,
        cause: &Cause,
        decided: Decided,
        received: Option<&MessageKey>,
    ) -> Step<()> {
        self.say(|| format!("{id} {cause:?} => {}", decided.events));
        for (hash, text) in decided.plans {
            self.store.plans.insert(hash, text);
        }
        let stored = self.store.executions.entry(id.clone()).or_default();
        stored.history.push(decided.events.clone());
        stored.version += 1;
        let version = stored.version;
        if self.kernel.is_mutant() {
            state = self.fold(id)?;
        }
        let wake_at = state.wake_at(self.kernel);
        let snapshot = state.monitor().filter(|_| self.random.chance(self.faults.snapshot));
        let snapshot = snapshot.map(|it| serde_json::to_string(&[it.snapshot()]));
        if let Some(stored) = self.store.executions.get_mut(id) {
            stored.wake_at = wake_at;
            if let Some(Ok(snapshot)) = snapshot {
                stored.history = vec![snapshot];
            }
        }
        self.store.commits += 1;
        if let Some(key) = received {
            self.store.outbox.remove(key);
        }
        let (sent, records) = self.settle_effects(id, &state, version, decided.effects);
        self.compare(id, &state)?;
        self.memory.states.insert(id.clone(), state);
        if id.machine() != MachineKind::Monitor {
            return Ok(());
        }
        let events: Vec<Value> = serde_json::from_str(&decided.events)
            .map_err(|error| Objection::new(id.as_str(), "events parse", error.to_string()))?;
        for event in &events {
            let name = event.as_object().and_then(|it| it.keys().next().map(String::as_str));
            let name = name.or(event.as_str()).unwrap_or_default().to_owned();
            if event["moved"]["o"].is_number() {
                *self.counts.entry("heard".to_owned()).or_default() += 1;
            }
            if event["delivered"]["p"] == true {
                *self.counts.entry("perhaps taken".to_owned()).or_default() += 1;
            }
            *self.counts.entry(name).or_default() += 1;
        }
        let now = self.now;
        let commit = Commit { id, now, cause, events: &events, sent, records, wake_at };
        self.auditor.committed(&commit)
    }

    /// What becomes visible once a commit is durable, unless the process dies first.
    fn died_after_commit(&mut self, id: &ExecutionId, was_down: Option<bool>) -> Step<bool> {
        if self.dies("after a commit") {
            return Ok(true);
        }
        let kernel = self.kernel;
        let state = self.load(id)?;
        let (wake_at, is_down) = (state.wake_at(kernel), state.monitor().map(Monitor::is_down));
        self.memory.wake(id, wake_at);
        let name = MONITORS.iter().map(|(name, _)| *name).find(|name| *name == id.name());
        if let Some(name) = name.filter(|_| is_down != was_down) {
            self.chores.push_back(Chore::Dependents(name));
        }
        if self.random.chance(self.faults.forget) {
            self.memory.states.remove(id);
        }
        Ok(false)
    }

    /// What the effects of a decision write beside its events, within the same commit.
    fn settle_effects(
        &mut self,
        id: &ExecutionId,
        state: &State,
        version: u64,
        effects: Vec<Effect>,
    ) -> (Vec<Sent>, Vec<Record>) {
        let (mut sent, mut records) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Dispatch(dispatch) => {
                    let task = state.execution().and_then(|it| it.task(dispatch.sequence));
                    if task.is_some_and(|task| !task.status.is_closed()) {
                        let key = (id.clone(), dispatch.sequence);
                        let (queue, ready_at) = (dispatch.queue, dispatch.ready_at);
                        self.memory.taken.remove(&key);
                        self.store.rows.insert(key, Row { queue, ready_at, held: false });
                    }
                }
                Effect::Withdraw { sequence } => {
                    let key = (id.clone(), sequence);
                    self.memory.taken.remove(&key);
                    self.store.rows.remove(&key);
                    // The runner is told to stop; what it still answers is not heard.
                    self.jobs.retain(|job| job.key != key || job.answer.is_some());
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
                    self.memory.post(to, key);
                }
                Effect::Record(record) => records.push(record),
                Effect::Forget(execution) => {
                    self.chores.push_back(Chore::Forget(execution));
                }
                Effect::Publish(_) | Effect::Reuse(_) | Effect::Sample(_) | Effect::Admit(_) => {}
            }
        }
        (sent, records)
    }

    /// Whether the process dies here.
    fn dies(&mut self, when: &str) -> bool {
        self.points += 1;
        let dies = match self.kill_at {
            Some(point) => point == self.points,
            None => self.calm_since.is_none() && self.random.chance(self.faults.death),
        };
        if dies {
            self.say(|| format!("death {when}"));
            self.die();
        }
        dies
    }

    /// The process dies, and a new one finds only what was committed.
    fn die(&mut self) {
        self.deaths += 1;
        self.chores.clear();
        self.jobs.clear();
        let slip = self.kernel.slip();
        if slip == Some(Slip::OutboxInMemory) {
            self.store.outbox.clear();
        }
        for row in self.store.rows.values_mut() {
            row.held = false;
        }
        self.memory = Memory::found(&self.store);
        if slip == Some(Slip::TimersForgotten) {
            self.memory.wake_at.clear();
        }
        self.start();
    }

    /// Everything that may have been cut short is looked through.
    fn start(&mut self) {
        let names = MONITORS.map(|(name, _)| name);
        let slip = self.kernel.slip();
        let chores = &mut self.chores;
        chores.extend(names.map(Chore::Define));
        if slip != Some(Slip::SilencesForgotten) {
            chores.extend(names.map(Chore::Silences));
        }
        if slip != Some(Slip::DependentsForgotten) {
            chores.extend(names.map(Chore::Dependents));
        }
    }

    pub(super) fn tell_silences(&mut self) {
        self.chores.extend(MONITORS.map(|(name, _)| Chore::Silences(name)));
    }

    fn do_chore(&mut self) -> Step<()> {
        let Some(chore) = self.chores.pop_front() else { return Ok(()) };
        let inputs: Vec<(ExecutionId, kernel::alert::Input)> = match chore {
            Chore::Define(name) => {
                let spec = self.catalog.specs.iter().find(|spec| *spec.monitor.name == *name);
                let Some(spec) = spec.cloned() else { return Ok(()) };
                let id = ExecutionId::monitor(name);
                let known = self.load(&id)?.monitor().and_then(|it| it.spec.clone());
                if known.as_deref() == Some(&spec) {
                    return Ok(());
                }
                vec![(id, kernel::alert::Input::Define(Box::new(spec)))]
            }
            Chore::Silences(name) => {
                let now = self.now;
                let own = self.silences.iter().filter(|it| !it.when.is_over(now));
                let own: Vec<Silence> = own.cloned().collect();
                let id = ExecutionId::monitor(name);
                if self.load(&id)?.monitor().is_some_and(|it| it.silences == own) {
                    return Ok(());
                }
                vec![(id, kernel::alert::Input::Silences(own))]
            }
            Chore::Dependents(name) => {
                let id = ExecutionId::monitor(name);
                let state = self.load(&id)?;
                let Some(monitor) = state.monitor() else { return Ok(()) };
                let down = monitor.is_down();
                let dependents = monitor.spec.as_ref().map(|it| it.dependents.clone());
                let parent = |to: std::sync::Arc<str>| {
                    let monitor = name.into();
                    let input = kernel::alert::Input::Parent { monitor, down, failing: down };
                    (ExecutionId::monitor(&to), input)
                };
                dependents.unwrap_or_default().into_iter().map(parent).collect()
            }
            Chore::Forget(id) => {
                self.store.executions.remove(&id);
                self.memory.states.remove(&id);
                self.memory.wake_at.remove(&id);
                return Ok(());
            }
        };
        for (id, input) in inputs {
            if self.step(&id, &AnyInput::Monitor(input), None)? == Outcome::Crashed {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The state of a machine, from memory or folded.
    pub(super) fn load(&mut self, id: &ExecutionId) -> Step<&State> {
        if !self.memory.states.contains_key(id) {
            let state = self.fold(id)?;
            self.memory.states.insert(id.clone(), state);
        }
        Ok(&self.memory.states[id])
    }

    fn fold(&mut self, id: &ExecutionId) -> Step<State> {
        let folded = State::fold(&mut self.store, id);
        folded.map_err(|what| Objection::new(id.as_str(), "history folds", what))
    }

    /// What is in memory must be what history folds to.
    fn compare(&mut self, id: &ExecutionId, state: &State) -> Step<()> {
        if !self.random.chance(15) {
            return Ok(());
        }
        let (live, folded) = (state.dump(self.now), self.fold(id)?.dump(self.now));
        if live == folded {
            return Ok(());
        }
        let what = format!("memory has\n{live}\nhistory has\n{folded}");
        Err(Objection::new(id.as_str(), "fold(history) = state", what))
    }

    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        self.trace.push(line());
    }
}
