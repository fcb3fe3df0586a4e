//! The world of Durable Task workers: one process that can die at any point, and what survives it.

use std::collections::BTreeMap;

use kernel::durable::OrchestrationMessage;
use kernel::graph::Message;
use kernel::{Effect, ExecutionId, MachineKind, Timestamp};

use super::auditor::{Auditor, Seen, Shown};
use super::faults::Faults;
use super::host::{AnyInput, State};
use super::mutant::{Keeper, Slip};
use super::program::Catalog;
use super::workers::Job;
use super::{Tally, clients};
use crate::auditor::Objection;
use crate::process::{Decided, Memory};
use crate::random::Random;
use crate::store::{MessageKey, Outgoing, Row, Store};
use crate::world::{Failure, Outcome, Step};

/// Steps of a run while things go wrong.
const CHAOS_STEPS: usize = 320;
/// Steps after that within which everything must have come to its end.
const CALM_STEPS: usize = 20_000;
/// When the story begins.
const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

pub(super) struct World<'k> {
    pub(super) now: Timestamp,
    pub(super) random: Random,
    pub(super) faults: Faults,
    kill_at: Option<u64>,
    points: u64,
    deaths: u64,
    pub(super) store: Store,
    keeper: &'k dyn Keeper,
    pub(super) catalog: Catalog,
    pub(super) memory: Memory<State>,
    pub(super) jobs: Vec<Job>,
    pub(super) auditor: Auditor,
    counts: BTreeMap<String, u64>,
    trace: Vec<String>,
    pub(super) calm: bool,
    numbers: u64,
}

impl<'k> World<'k> {
    pub(super) fn new(seed: u64, keeper: &'k dyn Keeper, kill_at: Option<u64>) -> Self {
        let mut random = Random::new(seed);
        let catalog = Catalog::drawn(&mut random.split());
        let mut faults = Faults::drawn(&mut random.split());
        if kill_at.is_some() {
            faults.death = 0;
        }
        Self {
            now: START,
            random,
            faults,
            kill_at,
            points: 0,
            deaths: 0,
            store: Store::default(),
            keeper,
            catalog,
            memory: Memory::default(),
            jobs: Vec::new(),
            auditor: Auditor::default(),
            counts: BTreeMap::new(),
            trace: Vec::new(),
            calm: false,
            numbers: 0,
        }
    }

    pub(super) fn run(mut self, seed: u64) -> Result<Tally, Box<Failure>> {
        match self.live() {
            Ok(()) => Ok(Tally { points: self.points, deaths: self.deaths, counts: self.counts }),
            Err(objection) => Err(Box::new(Failure { seed, objection, trace: self.trace })),
        }
    }

    fn live(&mut self) -> Step<()> {
        for _ in 0..2 {
            clients::start(self)?;
        }
        for _ in 0..CHAOS_STEPS {
            self.act()?;
        }
        self.say(|| "calm".to_owned());
        self.calm = true;
        self.faults = Faults::calm();
        for _ in 0..CALM_STEPS {
            if !self.act()? {
                return self.auditor.finish();
            }
        }
        Err(Objection::new("", "liveness", "the world does not come to rest"))
    }

    /// A number that was never given.
    pub(super) fn unique(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    /// One thing happens. `false` if nothing is left to happen.
    fn act(&mut self) -> Step<bool> {
        let due = self.memory.due(self.now);
        let ready = self.memory.ready(&self.store, self.now);
        let weights = [
            3 * u32::from(!due.is_empty()),
            5 * u32::from(!self.memory.deliveries.is_empty()),
            5 * u32::from(!ready.is_empty()),
            6 * u32::from(!self.jobs.is_empty()),
            if self.calm { 0 } else { 2 },
            u32::from(!self.calm),
        ];
        if weights.iter().sum::<u32>() == 0 {
            return if self.pass_time() { Ok(true) } else { clients::help(self) };
        }
        match self.random.weighted(&weights) {
            0 => self.wake(&due)?,
            1 => self.deliver()?,
            2 => self.hand_out(&ready)?,
            3 => self.work()?,
            4 => clients::act(self)?,
            _ => {
                self.pass_time();
            }
        }
        Ok(true)
    }

    /// The clock goes on to the next instant at which something may happen, if there is one.
    fn pass_time(&mut self) -> bool {
        let next = self.memory.wake_at.values().copied().filter(|at| *at > self.now).min();
        let Some(next) = next else {
            self.now = self.now.plus_millis(1);
            return false;
        };
        let late = if self.random.chance(self.faults.late) { 4000 } else { 0 };
        self.now = next.plus_millis(self.random.between(0, late));
        self.say(|| format!("clock {}", next.millis()));
        true
    }

    fn wake(&mut self, due: &[ExecutionId]) -> Step<()> {
        let Some(id) = self.random.pick(due).cloned() else { return Ok(()) };
        self.memory.wake_at.remove(&id);
        if self.step(&id, &AnyInput::Wake, None)? == Outcome::Crashed {
            return Ok(());
        }
        let keeper = self.keeper;
        let wake_at = self.load(&id)?.wake_at(keeper);
        if wake_at.is_some_and(|at| at <= self.now) {
            let what = "it was woken, and wants to be woken for the same again";
            return Err(Objection::new(id.as_str(), "timers fire", what));
        }
        self.memory.wake(&id, wake_at);
        Ok(())
    }

    fn deliver(&mut self) -> Step<()> {
        let receivers: Vec<ExecutionId> = self.memory.deliveries.keys().cloned().collect();
        let Some(to) = self.random.pick(&receivers).cloned() else { return Ok(()) };
        let Some(key) = self.memory.next_message(&to) else { return Ok(()) };
        if let Some(outgoing) = self.store.outbox.get(&key).cloned()
            && self.receive(&key, &outgoing)? == Outcome::Crashed
        {
            return Ok(());
        }
        self.store.outbox.remove(&key);
        self.memory.delivered(&to);
        Ok(())
    }

    fn receive(&mut self, key: &MessageKey, outgoing: &Outgoing) -> Step<Outcome> {
        let message: Message = serde_json::from_str(&outgoing.body)
            .map_err(|error| Objection::new("", "messages parse", error.to_string()))?;
        self.step(&outgoing.to, &AnyInput::Message(message), Some(key))
    }

    /// Load, decide, commit, act: with a death possible on both sides of the commit.
    pub(super) fn step(
        &mut self,
        id: &ExecutionId,
        input: &AnyInput,
        received: Option<&MessageKey>,
    ) -> Step<Outcome> {
        self.load(id)?;
        if self.dies_behind_messages(id, input)? || self.dies("before a commit") {
            return Ok(Outcome::Crashed);
        }
        let Some(mut state) = self.memory.states.remove(id) else { return Ok(Outcome::Crashed) };
        let mut decided = state.decide(input.clone(), self.now, self.keeper);
        if self.random.chance(self.faults.conflict) {
            let mut other = self.fold(id)?;
            let again = other.decide(input.clone(), self.now, self.keeper);
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
        let decided = match decided {
            Ok(decided) => decided,
            Err(rejected) => {
                self.say(|| format!("{id} {} rejected: {rejected}", short(input)));
                self.compare(id, &state)?;
                self.report(id, input, received, false, &state)?;
                self.memory.states.insert(id.clone(), state);
                return Ok(Outcome::Rejected);
            }
        };
        if decided.is_empty {
            self.say(|| format!("{id} {} changes nothing", short(input)));
            self.report(id, input, received, true, &state)?;
            self.memory.states.insert(id.clone(), state);
            return Ok(Outcome::Idle);
        }
        self.commit(id, state, input, decided, received)?;
        if self.dies("after a commit") {
            return Ok(Outcome::Crashed);
        }
        if self.random.chance(self.faults.forget) {
            self.memory.states.remove(id);
        }
        Ok(Outcome::Committed)
    }

    /// An engine that writes messages first, and dies before it writes anything else.
    fn dies_behind_messages(&mut self, id: &ExecutionId, input: &AnyInput) -> Step<bool> {
        if self.keeper.slip() != Some(Slip::OutboxFirst) {
            return Ok(false);
        }
        let before = self.store.outbox.clone();
        let mut state = self.fold(id)?;
        let version = self.store.executions.get(id).map_or(1, |stored| stored.version + 1);
        if let Ok(decided) = state.decide(input.clone(), self.now, self.keeper) {
            self.settle(id, version, decided.effects);
        }
        let died = self.dies("before a commit, but behind its messages");
        if !died {
            self.store.outbox = before;
        }
        Ok(died)
    }

    fn commit(
        &mut self,
        id: &ExecutionId,
        mut state: State,
        input: &AnyInput,
        decided: Decided,
        received: Option<&MessageKey>,
    ) -> Step<()> {
        self.say(|| format!("{id} {} => {}", short(input), decided.events));
        for name in names_of(&decided.events) {
            *self.counts.entry(name).or_default() += 1;
        }
        let stored = self.store.executions.entry(id.clone()).or_default();
        stored.history.push(decided.events);
        stored.version += 1;
        let version = stored.version;
        if self.keeper.is_mutant() {
            state = self.fold(id)?;
        }
        let wake_at = state.wake_at(self.keeper);
        let snapshot = self.random.chance(self.faults.snapshot).then(|| state.snapshot());
        if let Some(stored) = self.store.executions.get_mut(id) {
            stored.wake_at = wake_at;
            if let Some(snapshot) = snapshot {
                stored.history = vec![snapshot];
            }
        }
        self.store.commits += 1;
        let body = received.and_then(|key| self.store.outbox.get(key)).map(|it| it.body.clone());
        if let Some(key) = received.filter(|_| self.keeper.slip() != Some(Slip::MessageTwice)) {
            self.store.outbox.remove(key);
        }
        let sent = self.settle(id, version, decided.effects);
        self.memory.wake(id, wake_at);
        self.compare(id, &state)?;
        let seen = Seen { now: self.now, id, input, received: body, taken: true, sent };
        self.auditor.said(seen, &Shown::of(&state))?;
        self.memory.states.insert(id.clone(), state);
        Ok(())
    }

    /// The auditor hears of what changed nothing.
    fn report(
        &mut self,
        id: &ExecutionId,
        input: &AnyInput,
        received: Option<&MessageKey>,
        taken: bool,
        state: &State,
    ) -> Step<()> {
        let body = received.and_then(|key| self.store.outbox.get(key)).map(|it| it.body.clone());
        let seen = Seen { now: self.now, id, input, received: body, taken, sent: Vec::new() };
        self.auditor.said(seen, &Shown::of(state))
    }

    /// What the effects of a decision write beside its events, within the same commit.
    fn settle(
        &mut self,
        id: &ExecutionId,
        version: u64,
        effects: Vec<Effect>,
    ) -> Vec<(ExecutionId, OrchestrationMessage)> {
        let mut sent = Vec::new();
        for effect in effects {
            match effect {
                Effect::Dispatch(dispatch) => {
                    let key = (id.clone(), dispatch.sequence);
                    let (queue, ready_at) = (dispatch.queue, dispatch.ready_at);
                    self.memory.taken.remove(&key);
                    self.store.rows.insert(key, Row { queue, ready_at, held: false });
                }
                Effect::Withdraw { sequence } => {
                    let key = (id.clone(), sequence);
                    self.memory.taken.remove(&key);
                    self.store.rows.remove(&key);
                }
                Effect::Send { to, message } => {
                    let body = serde_json::to_string(&message).expect("messages serialize");
                    let key = self.store.send((id, version), sent.len(), &to, body);
                    self.memory.post(to.clone(), key);
                    if let Message::Durable(letter) = *message {
                        sent.push((to, *letter));
                    }
                }
                _ => {}
            }
        }
        sent
    }

    /// Whether the process dies here.
    pub(super) fn dies(&mut self, when: &str) -> bool {
        self.points += 1;
        let dies = match self.kill_at {
            Some(point) => point == self.points,
            None => !self.calm && self.random.chance(self.faults.death),
        };
        if dies {
            self.say(|| format!("death {when}"));
            self.die();
        }
        dies
    }

    /// The process dies, and a new one finds only what was committed. Workers live on, and answer
    /// the new one.
    fn die(&mut self) {
        self.deaths += 1;
        match self.keeper.slip() {
            Some(Slip::OutboxInMemory) => self.store.outbox.clear(),
            Some(Slip::QueuesInMemory) => self.store.rows.clear(),
            _ => {}
        }
        self.memory = Memory::found(&self.store);
        if self.keeper.slip() == Some(Slip::TimersForgotten) {
            self.memory.wake_at.clear();
        }
    }

    /// Removes an instance that has ended.
    pub(super) fn purge(&mut self, id: &ExecutionId) {
        self.say(|| format!("{id} is purged"));
        self.store.executions.remove(id);
        self.memory.states.remove(id);
        self.memory.wake_at.remove(id);
        self.auditor.purged(id);
    }

    /// Instances that there are.
    pub(super) fn instances(&self) -> Vec<ExecutionId> {
        let ids = self.store.executions.keys();
        ids.filter(|id| id.machine() == MachineKind::Instance).cloned().collect()
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
        let folded = State::fold(&self.store, id);
        folded.map_err(|what| Objection::new(id.as_str(), "history folds", what))
    }

    /// What is in memory must be what history folds to.
    fn compare(&mut self, id: &ExecutionId, state: &State) -> Step<()> {
        if !self.random.chance(15) {
            return Ok(());
        }
        let folded = self.fold(id)?;
        if *state == folded {
            return Ok(());
        }
        let what = format!("memory has\n{state:?}\nhistory has\n{folded:?}");
        Err(Objection::new(id.as_str(), "fold(history) = state", what))
    }

    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        self.trace.push(line());
    }
}

/// The names of the facts in a row of a history.
fn names_of(row: &str) -> impl Iterator<Item = String> {
    let facts: Vec<serde_json::Map<String, _>> = serde_json::from_str(row).unwrap_or_default();
    facts.into_iter().flat_map(|fact| fact.into_iter().map(|(name, _)| name))
}

fn short(input: &AnyInput) -> String {
    let text = match input {
        AnyInput::Wake => return "wake".to_owned(),
        AnyInput::Message(message) => serde_json::to_string(message).unwrap_or_default(),
        AnyInput::Instance(input) => format!("{input:?}"),
        AnyInput::Entity(input) => format!("{input:?}"),
    };
    text.chars().take(600).collect()
}
