//! What is defined and started from outside, and what people do in the end for those who wait for
//! them.

use std::collections::{BTreeMap, BTreeSet};

use engine::events::{EventMessage, EventName};
use engine::{AnyMachine, Error};
use kernel::alert::definition::File;
use kernel::alert::{Input as Watch, OWN_MONITOR};
use kernel::definition::IdempotencyStrategy;
use kernel::durable::instance;
use kernel::durable::instance::Start as InstanceStart;
use kernel::graph::{self, Control, Execution, Kind, Start, Status, TaskStatus, Verdict};
use kernel::schedule::{self, schedule_from_value};
use kernel::{ExecutionId, Json, MachineKind, Rejected};
use serde_json::{Value, json};

use super::auditor::{Auditor, TaskKey, objection};
use super::coders::HUB;
use super::program::{EVENT, EVENT_VALUE, ORCHESTRATOR, Program, Step};
use super::shadow::Shadow;
use super::world::{Life, State};
use super::{program, watching};
use crate::auditor::Objection;
use crate::random::Random;
use crate::trace::dump;
use crate::workload::WORKFLOWS;

/// The one schedule, and what it starts.
const SCHEDULE: &str = "beat";
pub(super) const TICK: &str = "tick";
/// What clients start under keys: each key once, however many ask.
const ONCE: &str = "once";
/// Clients that ask for a key, each until it is told twice which execution it is.
const ASKERS: usize = 2;
/// What is started on account of a message, and where messages come from.
pub(super) const ANSWER: &str = "answer";
const QUEUE: &str = "conductor:letters";
/// A workflow with a bug in a decision, and one with a bug in a runner.
const PANICS: [&str; 2] = ["panic_decision", "panic_runner"];
/// Milliseconds after calm has begun for which the schedule goes on.
const TICKS_ON: i64 = 60_000;

/// What is started, and how far that has come.
pub(super) struct Clients {
    pub(super) steps_max: u32,
    pub(super) cache_bytes: usize,
    /// Seconds after its end for which something is kept; 0 = for ever.
    pub(super) kept_for: u64,
    /// Milliseconds from the start in which everything goes wrong.
    pub(super) chaos_millis: i64,
    /// Executions: their definitions, and whether somebody was told that they have begun, or are left
    /// alone.
    roots: BTreeMap<ExecutionId, (&'static str, bool)>,
    /// What becomes of a firing while the one before has not ended.
    overlap: &'static str,
    pub(super) instances: BTreeMap<String, Root>,
    keys: BTreeMap<String, Keyed>,
    /// Messages to handlers, and whether whoever sent one was told that it is taken.
    messages: BTreeMap<String, bool>,
    /// Everything is defined.
    prepared: bool,
    schedule_is_over: bool,
    monitors_are_gone: bool,
    helped: u64,
    calm_for: i64,
    pub(super) signals: u64,
}

/// An orchestration.
pub(super) struct Root {
    pub(super) steps: Vec<Step>,
    /// Somebody wanted it to end.
    pub(super) is_terminated: bool,
    begun: bool,
}

/// A key, and what those who ask for it have been told.
#[derive(Default)]
struct Keyed {
    execution: Option<ExecutionId>,
    told: usize,
}

impl Clients {
    pub(super) fn drawn(random: &mut Random) -> Self {
        let steps_max = if random.chance(30) { random.between(1, 4) as u32 } else { 200 };
        let mut roots = BTreeMap::new();
        for number in 0..random.between(1, 3) {
            let name = random.pick(&WORKFLOWS[..2]).copied().unwrap_or(WORKFLOWS[0]);
            roots.insert(ExecutionId::new(format!("root-{number}")), (name, false));
        }
        let mut instances = BTreeMap::new();
        for number in 0..random.between(1, 2) {
            let steps = program::drawn(random, 2);
            let root = Root { steps, is_terminated: false, begun: false };
            instances.insert(format!("order-{number}"), root);
        }
        let keys = (0..random.between(1, 3)).map(|it| (format!("key-{it}"), Keyed::default()));
        let keys = keys.collect();
        let messages = (0..random.between(1, 5)).map(|it| (format!("message-{it}"), false));
        let messages = messages.collect();
        let overlaps = ["allow_all", "skip", "buffer_one", "terminate_other"];
        let overlap = random.pick(&overlaps).copied().unwrap_or("skip");
        Self {
            overlap,
            steps_max,
            cache_bytes: if random.chance(40) { 1 } else { 12 << 20 },
            kept_for: if random.chance(20) { random.between(20, 200) as u64 } else { 0 },
            chaos_millis: random.between(30, 150) * 1000,
            roots,
            instances,
            keys,
            messages,
            prepared: false,
            schedule_is_over: false,
            monitors_are_gone: false,
            helped: 0,
            calm_for: 0,
            signals: 0,
        }
    }

    /// What is still to be said.
    pub(super) fn unsettled(
        &self,
        auditor: &Auditor,
        quarantined: &BTreeSet<ExecutionId>,
    ) -> Option<String> {
        // A start that is left alone before it was written keeps its message waiting.
        let unwritten = quarantined.iter().any(|id| !auditor.machines.contains_key(id));
        let answered = |id: &String| auditor.answers.contains_key(id) || unwritten;
        let waits = |(id, taken): &(&String, &bool)| !**taken || !answered(id);
        if let Some((id, _)) = self.messages.iter().find(waits) {
            return Some(format!("{id} is not answered"));
        }
        let (starts, ends) = (self.roots.values().all(|(_, begun)| *begun), self.schedule_is_over);
        let keyed = self.keys.values().all(|it| it.told >= ASKERS);
        let all = starts && keyed && self.instances.values().all(|root| root.begun);
        (!all || !ends || !self.monitors_are_gone).then(|| "a client has more to say".to_owned())
    }
}

/// Defines everything, again and again until it is taken.
pub(super) async fn prepare(life: &Life) {
    loop {
        if life.world.state.lock().clients.prepared {
            return;
        }
        match life.define().await {
            Ok(()) => life.world.state.lock().clients.prepared = true,
            Err(error) => {
                life.world.say(|| format!("not everything is defined: {error}"));
                life.pause(100, 1_000).await;
            }
        }
    }
}

/// Clients start what they want started.
pub(super) fn begin(life: &Life) {
    let (roots, instances): (Vec<ExecutionId>, Vec<String>) = {
        let clients = &mut life.world.state.lock().clients;
        if life.world.panics {
            for (number, name) in PANICS.into_iter().enumerate() {
                let id = ExecutionId::new(format!("panic-{number}"));
                clients.roots.entry(id).or_insert((name, false));
            }
        }
        let roots = clients.roots.iter().filter(|(_, (_, begun))| !begun);
        let roots = roots.map(|(id, _)| id.clone()).collect();
        let instances = clients.instances.iter().filter(|(_, root)| !root.begun);
        (roots, instances.map(|(name, _)| name.clone()).collect())
    };
    for id in roots {
        let life = life.clone();
        tokio::spawn(async move { life.start(id).await });
    }
    let messages: Vec<String> = {
        let clients = &life.world.state.lock().clients;
        let waiting = clients.messages.iter().filter(|(_, taken)| !**taken);
        waiting.map(|(id, _)| id.clone()).collect()
    };
    for message in messages {
        let life = life.clone();
        tokio::spawn(async move { life.send(message).await });
    }
    let keys: Vec<String> = life.world.state.lock().clients.keys.keys().cloned().collect();
    for key in keys.into_iter().flat_map(|key| vec![key; ASKERS]) {
        let life = life.clone();
        tokio::spawn(async move { life.start_once(&key).await });
    }
    for name in instances {
        let life = life.clone();
        tokio::spawn(async move { life.start_instance(name).await });
    }
}

impl Life {
    async fn define(&self) -> Result<(), String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let catalog = &self.world.catalog;
        let definitions = self.engine.definitions();
        let tasks = catalog.tasks.values().map(|task| (**task).clone()).collect();
        definitions.put_tasks(tasks).await.map_err(|error| said(&error))?;
        let mut workflows: Vec<_> =
            catalog.workflows.values().map(|plan| plan.definition.clone()).collect();
        for definition in others() {
            let definition = serde_json::from_value(definition).map_err(|error| said(&error))?;
            workflows.push(definition);
        }
        definitions.put_workflows(workflows).await.map_err(|error| said(&error))?;
        let file = self.world.state.lock().outside.file();
        if let Err(error) = self.engine.apply_monitors("sim", file).await {
            // People go on without a monitor that is left alone: they cannot change it.
            let is_monitor = |id: &ExecutionId| id.machine() == MachineKind::Monitor;
            if !self.engine.quarantined().iter().any(|(id, _)| is_monitor(id)) {
                return Err(said(&error));
            }
        }
        let handler = json!({
            "name": "answers", "event": QUEUE, "active": true,
            "actions": [{ "action": "start_workflow", "start_workflow": {
                "name": ANSWER, "version": 1, "correlationId": "${id}",
            } }],
        });
        let handler = serde_json::from_value(handler).map_err(|error| said(&error))?;
        self.engine.put_event_handlers(vec![handler]).await.map_err(|error| said(&error))?;
        let overlap = self.world.state.lock().clients.overlap;
        let spec = json!({
            "name": SCHEDULE, "cronExpression": "*/15 * * * * *", "overlap": overlap,
            "startWorkflowRequest": { "name": TICK, "version": 1 },
        });
        let spec = schedule_from_value(&spec).map_err(|problems| format!("{problems:?}"))?;
        let input = schedule::Input::Define(Box::new(spec));
        match self.engine.step(&ExecutionId::schedule(SCHEDULE), input).await {
            Ok(()) | Err(Error::Quarantined { .. }) => Ok(()),
            Err(error) => Err(said(&error)),
        }
    }

    async fn start(&self, id: ExecutionId) {
        self.world.state.lock().auditor.root(&id);
        loop {
            self.pause(0, 4_000).await;
            let name = self.world.state.lock().clients.roots[&id].0;
            let Some(start) = self.start_of(name, None) else { continue };
            let begun = self.engine.begin_at(&id, start).await;
            self.world.say(|| format!("start of {id}: {begun:?}"));
            let has_begun = matches!(begun, Ok(()) | Err(Error::Rejected(Rejected::Stale(_))));
            if !has_begun && !is_left_alone(&begun) {
                continue;
            }
            if let Some(root) = self.world.state.lock().clients.roots.get_mut(&id) {
                root.1 = true;
            }
            if has_begun {
                self.world.judge(|state, _| state.auditor.begun(&id));
            }
            return;
        }
    }

    fn start_of(&self, name: &str, key: Option<&str>) -> Option<Start> {
        Some(Start {
            plan: self.engine.definitions().plan(name, None)?,
            input: Json::of(&json!({ "n": 1 })),
            correlation_id: None,
            priority: 0,
            task_to_domain: None,
            parent: None,
            asked_by: None,
            event: None,
            created_by: None,
            acts_as: None,
            idempotency_key: key.map(Into::into),
            traceparent: None,
        })
    }

    /// A client starts something under a key, until it knows what bears the key.
    async fn start_once(&self, key: &str) {
        loop {
            self.pause(0, 6_000).await;
            if self.world.state.lock().clients.keys[key].told >= ASKERS {
                return;
            }
            let Some(start) = self.start_of(ONCE, Some(key)) else { continue };
            let begun = self.engine.begin(start, Some(IdempotencyStrategy::ReturnExisting)).await;
            self.world.say(|| format!("start of {key}: {begun:?}"));
            if is_left_alone(&begun) {
                let mut state = self.world.state.lock();
                state.clients.keys.get_mut(key).expect("it is one of ours").told += 1;
                continue;
            }
            let Ok(begun) = begun else { continue };
            self.world.count("a key was asked for");
            self.world.judge(|state, _| {
                let id = begun.id();
                state.auditor.begun(id)?;
                let Some(keyed) = state.clients.keys.get_mut(key) else { return Ok(()) };
                keyed.told += 1;
                let known = keyed.execution.get_or_insert_with(|| id.clone());
                if known == id {
                    return Ok(());
                }
                let what = format!("{key} is {known}, and then this");
                Err(objection(id, "a key starts once", what))
            });
        }
    }

    /// Somebody sends a message until it is taken, and now and then once more.
    async fn send(&self, id: String) {
        loop {
            self.pause(0, 20_000).await;
            let event = EventName::parse(QUEUE).expect("a queue has a kind");
            let payload = json!({ "id": id }).to_string();
            let message = EventMessage { event, id: id.clone(), payload };
            let taken = self.engine.receive_event(message).await;
            self.world.say(|| format!("{id} is sent: {taken:?}"));
            if matches!(taken, Ok(true)) {
                self.world.count("a message was taken");
                let state = &mut *self.world.state.lock();
                state.clients.messages.insert(id.clone(), true);
                if !state.random.chance(30) {
                    return;
                }
            }
        }
    }

    async fn start_instance(&self, name: String) {
        let id = ExecutionId::instance(HUB, &name);
        loop {
            self.pause(0, 8_000).await;
            let steps = {
                let state = self.world.state.lock();
                Program::first(&state.clients.instances[&name].steps)
            };
            let input = Some(steps.into());
            let execution_id = format!("{:032x}", name.len()).into();
            let start = InstanceStart::new(ORCHESTRATOR, input, execution_id);
            let begun = self.engine.start_instance(HUB, Some(&name), start).await;
            self.world.say(|| format!("start of {id}: {begun:?}"));
            let has_begun = matches!(begun, Ok(_) | Err(Error::Rejected(_)));
            if !has_begun && !is_left_alone(&begun) {
                continue;
            }
            if let Some(root) = self.world.state.lock().clients.instances.get_mut(&name) {
                root.begun = true;
            }
            if has_begun {
                self.world.judge(|state, _| state.auditor.begun(&id));
            }
            return;
        }
    }

    /// Says something to an execution; it may be too late.
    pub(super) async fn control(&self, id: &ExecutionId, control: Control) {
        let shown: String = format!("{control:?}").chars().take(60).collect();
        let done = self.engine.step(id, graph::Input::Control(control)).await;
        self.world.say(|| format!("{id} {shown}: {done:?}"));
        if done.is_ok() {
            self.world.count("an operator was heard");
        }
    }

    pub(super) async fn tell_instance(&self, id: &ExecutionId, input: instance::Input) -> bool {
        let shown: String = format!("{input:?}").chars().take(60).collect();
        let done = self.engine.step(id, input).await;
        self.world.say(|| format!("{id} {shown}: {done:?}"));
        done.is_ok()
    }

    pub(super) async fn raise(&self, id: &ExecutionId) {
        let input = Some(EVENT_VALUE.to_string().into());
        self.tell_instance(id, instance::Input::Raise { name: EVENT.into(), input }).await;
    }

    /// Whoever waits for people gets what it waits for.
    async fn help_all(&self, raises: bool) {
        let (paused, awaited, instances) = {
            let state = self.world.state.lock();
            let (mut paused, mut awaited, mut instances) = (Vec::new(), Vec::new(), Vec::new());
            for (id, shadow) in &state.auditor.machines {
                if let Some(execution) = shadow.execution() {
                    if execution.is_started() && execution.status == Status::Paused {
                        paused.push(id.clone());
                    }
                    let waits =
                        waits_for_people(execution, |key| state.auditor.rows.contains_key(key));
                    awaited.extend(waits);
                }
                if let Some(instance) = shadow.instance().filter(|it| it.is_open()) {
                    instances.push((id.clone(), instance.is_suspended()));
                }
            }
            (paused, awaited, instances)
        };
        for id in paused {
            self.control(&id, Control::Resume).await;
        }
        for key in awaited {
            if self.engine.running_since(&key.0, key.1).is_none() {
                let status = TaskStatus::Completed;
                let report = graph::Report {
                    sequence: key.1,
                    verdict: Verdict::Done(status),
                    output: Some(Json::of(&json!({ "said": status.as_str() }))),
                    merge: false,
                    reason: None,
                    started_at: None,
                    worker: None,
                    metadata: None,
                };
                self.report(&key, &report).await;
            }
        }
        for (id, suspended) in instances {
            if suspended {
                self.tell_instance(&id, instance::Input::Resume { reason: None }).await;
            } else if raises {
                self.raise(&id).await;
            }
        }
    }

    /// Executions that are left alone are ended by somebody: others wait for them.
    async fn end_quarantined(&self) {
        let ids: Vec<ExecutionId> = {
            let state = self.world.state.lock();
            let open = state.quarantined.iter().filter(|id| {
                let machine = state.auditor.machines.get(*id);
                machine.is_some_and(|it| it.execution().is_some() && !it.head.closed)
            });
            open.cloned().collect()
        };
        for id in ids {
            let end = Control::Terminate { reason: None, failure_workflow: false };
            self.control(&id, end).await;
        }
    }

    /// Incidents of Nightbell's own monitor that nothing ends by itself: somebody has looked at them.
    async fn resolve_own(&self) {
        let id = ExecutionId::monitor(OWN_MONITOR);
        let open: Vec<_> = {
            let state = self.world.state.lock();
            let monitor = state.auditor.machines.get(&id).and_then(|it| it.monitor());
            let incidents = monitor.map(|it| it.incidents.values()).into_iter().flatten();
            incidents.filter(|it| it.state.is_open()).map(|it| it.key.clone()).collect()
        };
        for incident in open {
            let input = Watch::Resolve { incident, who: "ann".into(), why: None };
            let done = self.engine.step(&id, input).await;
            self.world.say(|| format!("{id} is seen to: {done:?}"));
        }
    }

    async fn end_schedule(&self) {
        let id = ExecutionId::schedule(SCHEDULE);
        let done = self.engine.step(&id, schedule::Input::Delete).await;
        self.world.say(|| format!("{id} is deleted: {done:?}"));
        if matches!(done, Ok(()) | Err(Error::Rejected(_) | Error::Quarantined { .. })) {
            self.world.state.lock().clients.schedule_is_over = true;
        }
    }

    async fn end_monitors(&self) {
        let applied = self.engine.apply_monitors("sim", File::default()).await;
        self.world.say(|| format!("nothing is watched any more: {applied:?}"));
        let quarantined = !self.world.state.lock().quarantined.is_empty();
        if applied.is_ok() || quarantined {
            self.world.state.lock().clients.monitors_are_gone = true;
        }
    }
}

/// Whether what somebody wants to start is left alone until somebody removes it. That is an answer, but
/// not that it has begun: the server may have ended again and again before the start was written.
fn is_left_alone<T>(begun: &Result<T, Error>) -> bool {
    matches!(begun, Err(Error::Quarantined { .. }))
}

/// Tasks that only somebody outside can end.
fn waits_for_people(execution: &Execution, has_row: impl Fn(&TaskKey) -> bool) -> Vec<TaskKey> {
    if !execution.is_started() || execution.status != Status::Running {
        return Vec::new();
    }
    let key = |task: &graph::Task| (execution.id.clone(), task.sequence);
    let waits = |task: &&graph::Task| match task.kind {
        Kind::Human | Kind::Wait => task.begun && task.until.is_none(),
        Kind::Dispatched => task.status == TaskStatus::InProgress && !has_row(&key(task)),
        _ => false,
    };
    execution.open_tasks().filter(waits).map(key).collect()
}

/// Definitions beside those of the catalog.
fn others() -> Vec<Value> {
    let task = |name: &str, kind: &str, input: Value| json!({ "name": name, "taskReferenceName": name, "type": kind, "inputParameters": input });
    let workflow = |name: &str, tasks: Vec<Value>| json!({ "name": name, "version": 1, "tasks": tasks, "ownerEmail": "sim@example.org" });
    let bug = task("bug", "INLINE", json!({ "expression": "panic" }));
    vec![
        workflow(ONCE, vec![task("mark", "INLINE", json!({ "expression": "const:x" }))]),
        workflow(ANSWER, vec![task("mark", "INLINE", json!({ "expression": "const:x" }))]),
        workflow(TICK, vec![task("mark", "INLINE", json!({ "expression": "const:x" }))]),
        workflow(PANICS[0], vec![task("work_0", "SIMPLE", json!({})), bug]),
        workflow(PANICS[1], vec![task("panic_http", "HTTP", json!({ "uri": "http://h/" }))]),
    ]
}

/// However many asked for a key, it began once.
pub(super) fn finish(state: &State) -> Result<(), Objection> {
    let twice = state.auditor.answers.iter().find(|(_, times)| **times != 1);
    if let Some((message, times)) = twice {
        let what = format!("{times} began on account of {message}");
        return Err(Objection::new(ANSWER, "a message is answered once", what));
    }
    let bears = |it: &&Shadow| &*it.head.name == ONCE;
    let begun = state.auditor.machines.values().filter(bears).count();
    // What is not kept is known by what was told.
    if begun == state.clients.keys.len() || state.clients.kept_for > 0 {
        return Ok(());
    }
    let what = format!("{begun} began for {} keys", state.clients.keys.len());
    Err(Objection::new(ONCE, "a key starts once", what))
}

/// It is calm: what waits for people gets what it waits for; then what has no end is ended.
pub(super) async fn help(life: &Life) {
    let (helped, schedule_is_over, monitors_are_gone) = {
        let clients = &mut life.world.state.lock().clients;
        clients.helped += 1;
        clients.calm_for += 5_000;
        (clients.helped, clients.schedule_is_over, clients.monitors_are_gone)
    };
    life.help_all(helped % 3 == 0).await;
    life.end_quarantined().await;
    if helped % 24 == 0 {
        life.resolve_own().await;
    }
    if !schedule_is_over && life.world.state.lock().clients.calm_for > TICKS_ON {
        life.end_schedule().await;
    }
    let settled = watching::unsettled(&life.world.state.lock()).is_none();
    if schedule_is_over && settled && !monitors_are_gone {
        life.end_monitors().await;
    }
}

/// What the engine has in memory is what the store's histories fold to.
pub(super) async fn compare(life: &Life) {
    let ids: Vec<ExecutionId> = {
        let state = life.world.state.lock();
        let ids = state.auditor.machines.keys();
        ids.filter(|id| !state.quarantined.contains(*id)).cloned().collect()
    };
    let now = life.world.now();
    for id in ids {
        let look = |hosted: &AnyMachine| match hosted {
            AnyMachine::Execution(state) => dump(state, now),
            other => format!("{other:?}"),
        };
        let live = match life.engine.look(&id, look).await {
            Ok(live) => live.unwrap_or_default(),
            Err(error) => format!("{error}"),
        };
        life.world.judge(|state, _| {
            use super::shadow::State as Folded;
            let stored = match state.auditor.machines.get(&id).map(|it| &it.state) {
                Some(Folded::Execution(state)) => dump(state, now),
                Some(other) => format!("{other:?}"),
                None => return Ok(()),
            };
            if live == stored {
                return Ok(());
            }
            let what = format!("memory has\n{live}\nhistory has\n{stored}");
            Err(objection(&id, "fold(history) = state", what))
        });
    }
    let left = life.engine.queues().states();
    let left = left.iter().find(|queue| queue.waiting + queue.held > 0);
    if let Some(queue) = left.filter(|_| life.world.state.lock().quarantined.is_empty()) {
        let what = format!("{queue:?} is in memory, and no such task is open");
        life.world.object(Objection::new(&queue.name, "queues are what is stored", what));
    }
}
