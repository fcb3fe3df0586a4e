//! Machines folded from what the store took, beside the engine: what anybody would find who opened
//! the store now.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::store::{Commit, Head};
use kernel::alert::Monitor;
use kernel::durable::entity::Entity;
use kernel::durable::instance::Instance;
use kernel::graph::{self, Execution, Plan};
use kernel::schedule::Schedule;
use kernel::{ExecutionId, Machine, MachineKind};
use serde::de::DeserializeOwned;

/// A machine of whatever kind.
#[derive(Debug)]
pub(super) enum State {
    Execution(Box<Execution>),
    Schedule(Box<Schedule>),
    Monitor(Box<Monitor>),
    Instance(Box<Instance>),
    Entity(Box<Entity>),
}

/// A machine and what lists know of it.
#[derive(Debug)]
pub(super) struct Shadow {
    pub(super) state: State,
    pub(super) head: Head,
    /// Commits.
    pub(super) version: u64,
}

/// Plans by hash.
pub(super) type Plans = BTreeMap<Arc<str>, Arc<Plan>>;

impl State {
    pub(super) fn new(id: &ExecutionId) -> Self {
        let id = id.clone();
        match id.machine() {
            MachineKind::Schedule => Self::Schedule(Box::new(Schedule::new(id))),
            MachineKind::Monitor => Self::Monitor(Box::new(Monitor::new(id))),
            MachineKind::Execution => Self::Execution(Box::new(Execution::new(id))),
            MachineKind::Instance => Self::Instance(Box::new(Instance::new(id))),
            MachineKind::Entity => Self::Entity(Box::new(Entity::new(id))),
        }
    }

    /// Folds one row of a history.
    pub(super) fn fold(&mut self, row: &str, plans: &Plans) -> Result<(), String> {
        match self {
            Self::Execution(state) => {
                let mut events: Vec<graph::Event> = parse(row)?;
                for event in &mut events {
                    if let Some(plan) = event.plan_mut() {
                        let known = plans.get(&plan.hash);
                        let known = known.ok_or("a history names a plan that is not stored")?;
                        plan.plan = Some(known.clone());
                    }
                    state.apply(event);
                }
            }
            Self::Schedule(state) => fold_into(&mut **state, row)?,
            Self::Monitor(state) => fold_into(&mut **state, row)?,
            Self::Instance(state) => fold_into(&mut **state, row)?,
            Self::Entity(state) => fold_into(&mut **state, row)?,
        }
        Ok(())
    }
}

impl Shadow {
    pub(super) fn new(commit: &Commit) -> Self {
        Self { state: State::new(&commit.head.id), head: commit.head.clone(), version: 0 }
    }

    pub(super) fn execution(&self) -> Option<&Execution> {
        match &self.state {
            State::Execution(state) => Some(state),
            _ => None,
        }
    }

    pub(super) fn monitor(&self) -> Option<&Monitor> {
        match &self.state {
            State::Monitor(state) => Some(state),
            _ => None,
        }
    }

    pub(super) fn instance(&self) -> Option<&Instance> {
        match &self.state {
            State::Instance(state) => Some(state),
            _ => None,
        }
    }

    pub(super) fn entity(&self) -> Option<&Entity> {
        match &self.state {
            State::Entity(state) => Some(state),
            _ => None,
        }
    }
}

fn fold_into<M>(state: &mut M, row: &str) -> Result<(), String>
where
    M: Machine,
    M::Event: DeserializeOwned,
{
    let events: Vec<M::Event> = parse(row)?;
    for event in &events {
        state.apply(event);
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(row: &str) -> Result<T, String> {
    serde_json::from_str(row).map_err(|error| format!("{error}: {row}"))
}
