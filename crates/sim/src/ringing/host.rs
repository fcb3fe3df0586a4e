//! Monitors and executions behind one face, as the engine hosts them.

use std::sync::Arc;

use kernel::alert::{self, Monitor};
use kernel::definition::TaskDef;
use kernel::graph::{self, Context, Execution, Limits, Message};
use kernel::{ExecutionId, Machine, MachineKind, Rejected, Timestamp};

use super::mutant::Watcher;
use crate::process::Decided;
use crate::scripts::SmallScripts;
use crate::store::Store;
use crate::trace::dump;

/// One machine, in whatever state.
pub(super) enum State {
    Monitor(Box<Monitor>),
    Execution(Box<Execution>),
}

/// What the world says to a machine.
#[derive(Clone)]
pub(super) enum AnyInput {
    Wake,
    Message(Message),
    Monitor(alert::Input),
    Execution(Box<graph::Input>),
}

impl State {
    /// What history comes to.
    pub(super) fn fold(store: &mut Store, id: &ExecutionId) -> Result<Self, String> {
        Ok(match id.machine() {
            MachineKind::Monitor => {
                Self::Monitor(Box::new(store.fold_into(id, Monitor::new(id.clone()))?))
            }
            _ => Self::Execution(Box::new(store.fold(id)?)),
        })
    }

    pub(super) fn decide(
        &mut self,
        input: AnyInput,
        now: Timestamp,
        kernel: &dyn Watcher,
    ) -> Result<Decided, Rejected> {
        let strange = || Rejected::Unknown("no such machine".to_owned());
        match self {
            Self::Monitor(state) => {
                let input = match input {
                    AnyInput::Wake => alert::Input::Wake,
                    AnyInput::Message(message) => alert::Input::Message(message),
                    AnyInput::Monitor(input) => input,
                    AnyInput::Execution(_) => return Err(strange()),
                };
                let decision = kernel.decide(
                    state,
                    input,
                    &alert::Context { now, asks_parents: false, listening_since: None },
                )?;
                Ok(Decided::of(&decision.events, decision.effects))
            }
            Self::Execution(state) => {
                let input = match input {
                    AnyInput::Wake => graph::Input::Wake,
                    AnyInput::Message(message) => graph::Input::Message(message),
                    AnyInput::Execution(input) => *input,
                    AnyInput::Monitor(_) => return Err(strange()),
                };
                let limits = Limits::default();
                let context =
                    Context { now, scripts: &SmallScripts, world: &Knowledge, limits: &limits };
                let decision = state.decide(input, &context)?;
                let plans = decision.events.iter().filter_map(|event| match event {
                    graph::Event::Started(started) => started.plan.plan.as_ref(),
                    _ => None,
                });
                let plans = plans.map(|plan| (plan.hash.clone(), plan.text.clone())).collect();
                Ok(Decided { plans, ..Decided::of(&decision.events, decision.effects) })
            }
        }
    }

    pub(super) fn wake_at(&self, kernel: &dyn Watcher) -> Option<Timestamp> {
        match self {
            Self::Monitor(state) => kernel.wake_at(state),
            Self::Execution(state) => state.wake_at(),
        }
    }

    pub(super) fn monitor(&self) -> Option<&Monitor> {
        match self {
            Self::Monitor(state) => Some(state),
            Self::Execution(_) => None,
        }
    }

    pub(super) fn execution(&self) -> Option<&Execution> {
        match self {
            Self::Monitor(_) => None,
            Self::Execution(state) => Some(state),
        }
    }

    /// Everything that it shows, to be compared.
    pub(super) fn dump(&self, now: Timestamp) -> String {
        match self {
            Self::Monitor(state) => serde_json::to_string(state).expect("a state serializes"),
            Self::Execution(state) => dump(state, now),
        }
    }
}

/// What decisions may know of the simulated world.
struct Knowledge;

impl graph::World for Knowledge {
    fn task_def(&self, _: &str) -> Option<Arc<TaskDef>> {
        None
    }

    fn is_builtin(&self, task_type: &str) -> bool {
        task_type == "NOTIFY" || task_type.starts_with("CHECK_")
    }

    fn polled_lately(&self, _: &str) -> bool {
        false
    }

    fn environment(&self, _: &str) -> Option<String> {
        None
    }
}
