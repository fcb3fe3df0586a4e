//! People who pause, end, undo, acknowledge and silence, at the worst moments; clients who signal.

use std::sync::Arc;

use kernel::alert::Input as Watch;
use kernel::alert::definition::Silence;
use kernel::durable::entity::Signal;
use kernel::durable::instance;
use kernel::schedule;
use kernel::{ExecutionId, MachineKind};
use serde_json::json;

use super::coders::HUB;
use super::operators::TICK;
use super::program::ENTITIES;
use super::watching::MONITORS;
use super::world::Life;
use crate::operator;
use crate::workload::{FAILURE_WORKFLOW, WORKFLOWS};

/// Signals that clients send, at most.
const SIGNALS_MAX: u64 = 20;

/// Everybody goes about their business.
pub(super) fn begin(life: &Life) {
    for what in 0..2 {
        let life = life.clone();
        tokio::spawn(async move {
            while !life.is_calm() {
                life.pause(300, 8_000).await;
                if what == 0 { life.act().await } else { life.act_on_code().await }
            }
        });
    }
}

impl Life {
    /// Draws a number below a bound.
    fn below(&self, bound: usize) -> usize {
        self.world.state.lock().random.below(bound)
    }

    async fn act(&self) {
        match self.below(11) {
            0..4 => self.operate().await,
            4 | 5 => {
                let change = {
                    let state = &mut *self.world.state.lock();
                    if state.calm {
                        return;
                    }
                    state.outside.change(&mut state.random)
                };
                self.world.say(|| change);
            }
            6 => self.silence().await,
            7 => self.tell_schedule().await,
            10 => self.remove().await,
            _ => self.tell_monitor().await,
        }
    }

    /// Somebody does something to some execution.
    async fn operate(&self) {
        let chosen = {
            let state = &mut *self.world.state.lock();
            let runs = state.auditor.machines.iter().filter(|(_, it)| {
                WORKFLOWS.contains(&&*it.head.name) || &*it.head.name == FAILURE_WORKFLOW
            });
            let runs: Vec<&ExecutionId> = runs.map(|(id, _)| id).collect();
            let Some(id) = state.random.pick(&runs).map(|id| (*id).clone()) else { return };
            let execution = state.auditor.machines.get(&id).and_then(|it| it.execution());
            let Some(execution) = execution else { return };
            operator::choose(execution, &mut state.random).map(|control| (id, control))
        };
        if let Some((id, control)) = chosen.filter(|_| !self.is_calm()) {
            self.control(&id, control).await;
        }
    }

    /// Somebody clears away what a schedule has started and what has ended.
    async fn remove(&self) {
        let chosen = {
            let state = &mut *self.world.state.lock();
            let runs = state.auditor.machines.iter();
            let runs = runs.filter(|(_, it)| &*it.head.name == TICK && it.head.closed);
            let runs: Vec<&ExecutionId> = runs.map(|(id, _)| id).collect();
            state.random.pick(&runs).map(|id| (*id).clone())
        };
        let Some(id) = chosen else { return };
        let done = self.engine.remove(&id).await;
        self.world.say(|| format!("{id} is cleared away: {done:?}"));
        if matches!(done, Ok(true)) {
            self.world.count("an execution was removed");
            self.world.judge(|state, _| state.auditor.is_gone(&id));
        }
    }

    async fn silence(&self) {
        let now = self.world.now();
        let (name, millis, gone) = {
            let random = &mut self.world.state.lock().random;
            (format!("s-{}", random.below(2)), random.between(1_000, 60_000), random.chance(40))
        };
        if gone {
            let done = self.engine.delete_silence(&name).await;
            return self.world.say(|| format!("{name} is taken back: {done:?}"));
        }
        let silence = json!({ "id": name, "matchers": [],
            "when": { "once": { "from": now, "to": now.plus_millis(millis) } } });
        let silence: Silence = serde_json::from_value(silence).expect("a silence");
        let done = self.engine.put_silence(silence).await;
        self.world.say(|| format!("{name} for {millis}: {:?}", done.map_err(|it| it.to_string())));
    }

    async fn tell_schedule(&self) {
        let input = match self.below(4) {
            0 => schedule::Input::Pause { reason: None },
            1 | 2 => schedule::Input::Resume,
            _ => schedule::Input::Trigger { by: None },
        };
        let shown = format!("{input:?}");
        let done = self.engine.step(&ExecutionId::schedule("beat"), input).await;
        self.world.say(|| format!("schedule {shown}: {done:?}"));
    }

    async fn tell_monitor(&self) {
        let (name, _) = MONITORS[self.below(MONITORS.len())];
        let id = ExecutionId::monitor(name);
        let open: Vec<Arc<str>> = {
            let state = self.world.state.lock();
            let monitor = state.auditor.machines.get(&id).and_then(|it| it.monitor());
            let incidents = monitor.map(|it| it.incidents.values()).into_iter().flatten();
            incidents.filter(|it| it.state.is_open()).map(|it| it.key.clone()).collect()
        };
        let who: Arc<str> = "ann".into();
        let until = self.world.now().plus_millis(20_000);
        let choice = self.below(4);
        let incident = open.first().cloned();
        let input = match (choice, incident) {
            (0, Some(incident)) => {
                Watch::Acknowledge { incident, who, why: None, until_clear: false }
            }
            (1, Some(incident)) => Watch::Snooze { incident, until, who, why: None },
            (2, Some(incident)) => Watch::Resolve { incident, who, why: None },
            _ => Watch::Check { who: Some(who) },
        };
        let shown = format!("{input:?}");
        let done = self.engine.step(&id, input).await;
        self.world.say(|| format!("{id} {shown}: {done:?}"));
    }

    /// Somebody does something about orchestrations and entities.
    async fn act_on_code(&self) {
        if self.below(3) > 0 {
            return self.signal().await;
        }
        let (instances, roots) = {
            let state = self.world.state.lock();
            let of_code = |id: &&ExecutionId| id.machine() == MachineKind::Instance;
            let instances: Vec<ExecutionId> =
                state.auditor.machines.keys().filter(of_code).cloned().collect();
            let roots: Vec<String> = state.clients.instances.keys().cloned().collect();
            (instances, roots)
        };
        if instances.is_empty() {
            return;
        }
        let id = instances[self.below(instances.len())].clone();
        match self.below(12) {
            0..3 => {
                self.tell_instance(&id, instance::Input::Suspend { reason: None }).await;
            }
            3..6 => {
                self.tell_instance(&id, instance::Input::Resume { reason: None }).await;
            }
            6 => {
                let name = roots[self.below(roots.len())].clone();
                if let Some(root) = self.world.state.lock().clients.instances.get_mut(&name) {
                    root.is_terminated = true;
                }
                let id = ExecutionId::instance(HUB, &name);
                let at_once = self.below(2) == 0;
                let input = instance::Input::Terminate { output: None, recurse: true, at_once };
                self.tell_instance(&id, input).await;
            }
            _ => self.raise(&id).await,
        }
    }

    /// A client signals an entity, and repeats itself until it knows that it was heard.
    async fn signal(&self) {
        let number = {
            let clients = &mut self.world.state.lock().clients;
            clients.signals += 1;
            clients.signals
        };
        if number > SIGNALS_MAX {
            return;
        }
        let entity = ENTITIES[self.below(ENTITIES.len())];
        let mark = format!("<client/{number}>");
        let later = self.below(3) == 0;
        let signal = Signal {
            request_id: format!("client-{number}").into(),
            operation: "add".into(),
            input: Some(mark.as_str().into()),
            scheduled_at: later.then(|| self.world.now().plus_millis(5_000)),
            acts_as: None,
        };
        self.world.state.lock().coders.marks(entity, mark.clone(), false);
        let mut times = 1 + usize::from(self.below(3) == 0);
        for _ in 0..10 {
            let heard = self.engine.signal_entity(HUB, entity, signal.clone()).await;
            self.world.say(|| format!("{entity} is signalled {mark}: {heard:?}"));
            if heard.is_ok() {
                self.world.state.lock().coders.marks(entity, mark.clone(), true);
                self.world.count("a signal was taken");
                times -= 1;
                if times == 0 {
                    return;
                }
            }
            self.pause(100, 2_000).await;
        }
    }
}
