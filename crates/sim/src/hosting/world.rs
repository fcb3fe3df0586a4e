//! One life after the other: the process, those outside, and the end of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::memory::Memory;
use engine::stage::{VirtualClock, in_virtual_time};
use engine::store::{Commit, Retention};
use engine::vault::Key;
use engine::{Engine, Options, Parts, TaskRunner};
use kernel::graph::Limits;
use kernel::{ExecutionId, Json, Timestamp};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::auditor::Auditor;
use super::coders::Coders;
use super::faults::Faults;
use super::operators::Clients;
use super::ports::{Calls, NoValues, SimScripts};
use super::store::{COMMITS_MAX, Faulty};
use super::watching::{Looks, Outside, Tells};
use super::workers::Jobs;
use super::{Tally, coders, operators, people, watching, workers};
use crate::auditor::Objection;
use crate::random::Random;
use crate::workload::Catalog;
use crate::world::Failure;

/// A Thursday.
const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// Milliseconds after calm has begun within which everything must come to its end.
const CALM_MILLIS: i64 = 3_600_000;
/// Lives that end by the store's not letting the engine open, at most.
const LIVES_MAX: u64 = 400;

/// Everything but the process.
pub(super) struct World {
    pub(super) memory: Arc<Memory>,
    pub(super) clock: VirtualClock,
    pub(super) catalog: Catalog,
    pub(super) panics: bool,
    pub(super) state: Mutex<State>,
}

/// What changes.
pub(super) struct State {
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) calm: bool,
    /// Until then no call of the store goes through.
    pub(super) down_until: Timestamp,
    /// Until then every commit conflicts.
    pub(super) rival_until: Timestamp,
    pub(super) auditor: Auditor,
    pub(super) outside: Outside,
    pub(super) jobs: Jobs,
    pub(super) coders: Coders,
    pub(super) clients: Clients,
    /// Left alone after a bug, or after the process ended on them again and again.
    pub(super) quarantined: BTreeSet<ExecutionId>,
    life: CancellationToken,
    objection: Option<Objection>,
    over: bool,
    lives: u64,
    counts: BTreeMap<String, u64>,
    trace: Vec<String>,
    story: u64,
}

/// A process, as those outside know it.
#[derive(Clone)]
pub(super) struct Life {
    pub(super) world: Arc<World>,
    pub(super) engine: Engine,
}

pub(super) fn run(seed: u64, panics: bool) -> Result<Tally, Box<Failure>> {
    let world = Arc::new(World::new(seed, panics));
    while world.goes_on() {
        world.live();
    }
    let state = &mut *world.state.lock();
    match state.objection.take() {
        Some(objection) => {
            let trace = std::mem::take(&mut state.trace);
            Err(Box::new(Failure { seed, objection, trace }))
        }
        None => Ok(Tally {
            lives: state.lives,
            commits: state.auditor.commits,
            story: state.story,
            counts: std::mem::take(&mut state.counts),
        }),
    }
}

impl World {
    fn new(seed: u64, panics: bool) -> Self {
        let mut random = Random::new(seed);
        let catalog = Catalog::drawn(&mut random.split());
        let faults = Faults::drawn(&mut random.split());
        let clients = Clients::drawn(&mut random.split());
        let outside = Outside::drawn(&mut random.split());
        let state = State {
            random,
            faults,
            calm: false,
            down_until: Timestamp::default(),
            rival_until: Timestamp::default(),
            auditor: Auditor::default(),
            outside,
            jobs: Jobs::default(),
            coders: Coders::default(),
            clients,
            quarantined: BTreeSet::new(),
            life: CancellationToken::new(),
            objection: None,
            over: false,
            lives: 0,
            counts: BTreeMap::new(),
            trace: Vec::new(),
            story: 0xcbf2_9ce4_8422_2325,
        };
        Self {
            memory: Arc::new(Memory::new()),
            clock: VirtualClock::new(START),
            catalog,
            panics,
            state: Mutex::new(state),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        engine::Clock::now(&self.clock)
    }

    /// Something has happened.
    pub(super) fn say(&self, line: impl FnOnce() -> String) {
        let line = format!("{} {}", self.now(), line());
        let mut state = self.state.lock();
        for byte in line.bytes() {
            state.story = (state.story ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        state.trace.push(line);
    }

    pub(super) fn count(&self, what: &str) {
        *self.state.lock().counts.entry(what.to_owned()).or_default() += 1;
    }

    /// Something was seen that may be wrong.
    pub(super) fn judge(&self, look: impl FnOnce(&mut State, Timestamp) -> Result<(), Objection>) {
        let now = self.now();
        let judged = look(&mut self.state.lock(), now);
        if let Err(objection) = judged {
            self.object(objection);
        }
    }

    /// Something is wrong: everything ends.
    pub(super) fn object(&self, objection: Objection) {
        self.say(|| format!("objection: {objection}"));
        let mut state = self.state.lock();
        state.objection.get_or_insert(objection);
        state.life.cancel();
    }

    /// The process ends, here and now.
    pub(super) fn die(&self, when: &str) {
        self.say(|| format!("death {when}"));
        self.state.lock().life.cancel();
    }

    /// The store took a commit.
    pub(super) fn committed(&self, commit: &Commit) {
        let head = &commit.head;
        self.say(|| format!("{} {}: {}", head.id, head.version, commit.events));
        self.count(&format!("commit of {:?}", head.id.machine()));
        self.judge(|state, _| {
            state.auditor.committed(commit)?;
            watching::committed(state, commit);
            if state.auditor.commits > COMMITS_MAX {
                let what = format!("there are {COMMITS_MAX} commits and no end");
                return Err(Objection::new("", "liveness", what));
            }
            Ok(())
        });
    }

    fn goes_on(&self) -> bool {
        let state = self.state.lock();
        state.objection.is_none() && !state.over
    }

    /// One process, from its start to its end.
    fn live(self: &Arc<Self>) {
        let life = CancellationToken::new();
        {
            let mut state = self.state.lock();
            state.lives += 1;
            state.life = life.clone();
            if state.lives > LIVES_MAX {
                let what = format!("there were {LIVES_MAX} lives");
                state.objection = Some(Objection::new("", "liveness", what));
                return;
            }
        }
        self.memory.open_again();
        in_virtual_time(async {
            self.clock.begin();
            tokio::select! {
                biased;
                () = life.cancelled() => {}
                () = self.clone().conduct() => {}
            }
            let pause = self.state.lock().random.between(1, 20_000);
            self.clock.end(pause);
        });
    }

    fn parts(self: &Arc<Self>) -> Parts {
        let runners: Vec<Arc<dyn TaskRunner>> = vec![
            Arc::new(Calls(self.clone())),
            Arc::new(Looks(self.clone())),
            Arc::new(Tells(self.clone())),
        ];
        let (steps_max, cache_bytes, age_max_seconds) = {
            let clients = &self.state.lock().clients;
            (clients.steps_max, clients.cache_bytes, clients.kept_for)
        };
        let options = Options {
            limits: Limits { steps_max, ..Limits::default() },
            key: Some(Key::new([7; 32])),
            leases: coders::leases(),
            evaluation: engine::evaluation::Options { threads: 0, ..Default::default() },
            cache_bytes,
            retention: Retention { count_max: 0, age_max_seconds, disk_max_bytes: 0 },
            ..Options::default()
        };
        Parts {
            store: Arc::new(Faulty { memory: self.memory.clone(), world: self.clone() }),
            clock: Arc::new(Follows(self.clone())),
            scripts: Arc::new(SimScripts),
            runners,
            values: Arc::new(NoValues),
            describe: |execution| Json::of(&json!({ "workflowId": execution.id })),
            options,
        }
    }

    /// Opens the engine, lets everybody outside at it, and waits for the end of this life.
    async fn conduct(self: Arc<Self>) {
        let ends = START.plus_millis(self.state.lock().clients.chaos_millis);
        if self.now() > ends && !self.state.lock().calm {
            self.say(|| "calm".to_owned());
            self.calm_down();
        }
        let engine = match Engine::open(self.parts()).await {
            Ok(engine) => engine,
            Err(error) if self.state.lock().calm => {
                return self.object(Objection::new("", "it opens", error.to_string()));
            }
            Err(error) => return self.say(|| format!("it does not open: {error}")),
        };
        self.say(|| "it is open".to_owned());
        let life = Life { world: self.clone(), engine };
        operators::prepare(&life).await;
        workers::begin(&life);
        coders::begin(&life);
        people::begin(&life);
        operators::begin(&life);
        life.watch().await;
    }

    /// No more faults.
    fn calm_down(&self) {
        let mut state = self.state.lock();
        state.calm = true;
        state.faults = Faults::none();
        state.down_until = Timestamp::default();
        state.rival_until = Timestamp::default();
    }
}

/// The clock as a port: all processes have the same.
struct Follows(Arc<World>);

impl engine::Clock for Follows {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Life {
    pub(super) async fn pause(&self, low: i64, high: i64) {
        let millis = self.world.state.lock().random.between(low, high);
        tokio::time::sleep(Duration::from_millis(millis as u64)).await;
    }

    pub(super) fn is_calm(&self) -> bool {
        self.world.state.lock().calm
    }

    /// So many times in a hundred, and never once it is calm.
    pub(super) fn chance(&self, of: impl FnOnce(&Faults) -> u32) -> bool {
        let mut state = self.world.state.lock();
        let percent = of(&state.faults);
        !state.calm && state.random.chance(percent)
    }

    /// Waits through the time in which everything goes wrong, then for the end of everything.
    async fn watch(&self) {
        let ends = self.world.state.lock().clients.chaos_millis;
        let ends = START.plus_millis(ends);
        if !self.is_calm() {
            let left = ends.since(self.world.now()).max(0);
            let deadly = self.world.state.lock().faults.death > 0;
            let (dies, after) = {
                let random = &mut self.world.state.lock().random;
                (deadly && random.chance(60), random.between(1, 60_000))
            };
            if dies && after < left {
                tokio::time::sleep(Duration::from_millis(after as u64)).await;
                return self.world.die("at some instant");
            }
            tokio::time::sleep(Duration::from_millis(left as u64)).await;
            self.world.say(|| "calm".to_owned());
            self.world.calm_down();
            if self.world.state.lock().random.chance(50) {
                return;
            }
        }
        self.settle(ends.plus_millis(CALM_MILLIS)).await;
    }

    /// Waits until nothing is left to be done.
    async fn settle(&self, deadline: Timestamp) {
        // What was held up by faults gets the time to be done.
        tokio::time::sleep(Duration::from_secs(30)).await;
        self.look_at_dependents().await;
        self.world.state.lock().outside.calm_down();
        loop {
            self.note_quarantine();
            operators::help(self).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            self.world.judge(|state, now| state.auditor.on_time(now, &state.quarantined));
            let unsettled = self.unsettled();
            let Some(unsettled) = unsettled else { break };
            if self.world.now() > deadline {
                let objection = Objection::new("", "liveness", unsettled);
                return self.world.object(objection);
            }
        }
        self.look_back().await;
    }

    /// Nothing goes wrong any more, and all is still as it was outside: what depends on something must
    /// know by now how that is.
    async fn look_at_dependents(&self) {
        self.note_quarantine();
        let misled = || watching::misled(&self.world.state.lock());
        let mut seen = misled();
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            // What has changed just now is heard in a moment.
            seen = seen.filter(|before| misled().as_ref() == Some(before));
        }
        if let Some(what) = seen {
            self.world.object(Objection::new("", "dependents hear of changes", what));
        }
    }

    fn unsettled(&self) -> Option<String> {
        let state = self.world.state.lock();
        let clients = || state.clients.unsettled(&state.auditor, &state.quarantined);
        if let Some(what) = watching::unsettled(&state).or_else(clients) {
            return Some(what);
        }
        state.auditor.unsettled(&state.quarantined)
    }

    /// The engine says whom it leaves alone; who is left alone for no reason is an objection.
    fn note_quarantine(&self) {
        for (id, reason) in self.engine.quarantined() {
            let known = !self.world.state.lock().quarantined.insert(id.clone());
            if known {
                continue;
            }
            self.world.say(|| format!("{id} is quarantined: {reason}"));
            self.world.count("an execution was quarantined");
            let ends = reason.contains("ended abnormally");
            let wanted = self.world.panics && id.as_str().starts_with("panic-");
            if !ends && !wanted {
                self.world.object(Objection::new(id.as_str(), "nothing panics", reason));
            }
        }
    }

    /// Everything is over: was it right?
    async fn look_back(&self) {
        self.world.say(|| "over".to_owned());
        self.world.judge(|state, _| {
            // What was left alone after too many ends owes something; the bugs that were asked for do not.
            let all = state.quarantined.iter().all(|id| id.as_str().starts_with("panic-"));
            state.auditor.finish(&state.quarantined)?;
            if all {
                coders::finish(state)?;
                operators::finish(state)?;
                watching::finish(state)?;
            }
            Ok(())
        });
        operators::compare(self).await;
        if let Err(error) = self.engine.close().await {
            self.world.object(Objection::new("", "it closes", error.to_string()));
        }
        self.world.state.lock().over = true;
    }
}
