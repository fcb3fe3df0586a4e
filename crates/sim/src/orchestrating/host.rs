//! Instances and entities behind one face, as the engine hosts them.

use kernel::durable::entity::{self, Entity};
use kernel::durable::instance::{self, Instance};
use kernel::graph::{Limits, Message};
use kernel::{ExecutionId, MachineKind, Rejected, Timestamp};

use super::mutant::Keeper;
use crate::process::Decided;
use crate::store::Store;

/// One machine, in whatever state.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Instance(Box<Instance>),
    Entity(Box<Entity>),
}

/// What the world says to a machine.
#[derive(Clone, Debug)]
pub(super) enum AnyInput {
    Wake,
    Message(Message),
    Instance(Box<instance::Input>),
    Entity(Box<entity::Input>),
}

impl From<instance::Input> for AnyInput {
    fn from(input: instance::Input) -> Self {
        Self::Instance(Box::new(input))
    }
}

impl From<entity::Input> for AnyInput {
    fn from(input: entity::Input) -> Self {
        Self::Entity(Box::new(input))
    }
}

impl State {
    /// What history comes to.
    pub(super) fn fold(store: &Store, id: &ExecutionId) -> Result<Self, String> {
        Ok(match id.machine() {
            MachineKind::Entity => {
                Self::Entity(Box::new(store.fold_into(id, Entity::new(id.clone()))?))
            }
            _ => Self::Instance(Box::new(store.fold_into(id, Instance::new(id.clone()))?)),
        })
    }

    pub(super) fn decide(
        &mut self,
        input: AnyInput,
        now: Timestamp,
        keeper: &dyn Keeper,
    ) -> Result<Decided, Rejected> {
        let strange = || Rejected::Unknown("no such machine".to_owned());
        let limits = &Limits::default();
        match self {
            Self::Instance(state) => {
                let input = match input {
                    AnyInput::Wake => instance::Input::Wake,
                    AnyInput::Message(message) => instance::Input::Message(message),
                    AnyInput::Instance(input) => *input,
                    AnyInput::Entity(_) => return Err(strange()),
                };
                let context = instance::Context { now, limits };
                let decision = keeper.instance(state, input, &context)?;
                Ok(Decided::of(&decision.events, decision.effects))
            }
            Self::Entity(state) => {
                let input = match input {
                    AnyInput::Wake => entity::Input::Wake,
                    AnyInput::Message(message) => entity::Input::Message(message),
                    AnyInput::Entity(input) => *input,
                    AnyInput::Instance(_) => return Err(strange()),
                };
                let context = entity::Context { now, limits };
                let decision = keeper.entity(state, input, &context)?;
                Ok(Decided::of(&decision.events, decision.effects))
            }
        }
    }

    pub(super) fn wake_at(&self, keeper: &dyn Keeper) -> Option<Timestamp> {
        match self {
            Self::Instance(state) => keeper.wake_instance(state),
            Self::Entity(state) => keeper.wake_entity(state),
        }
    }

    pub(super) fn instance(&self) -> Option<&Instance> {
        match self {
            Self::Instance(state) => Some(state),
            Self::Entity(_) => None,
        }
    }

    /// Everything as one history row.
    pub(super) fn snapshot(&self) -> String {
        let row = match self {
            Self::Instance(state) => serde_json::to_string(&[state.snapshot()]),
            Self::Entity(state) => serde_json::to_string(&[state.snapshot()]),
        };
        row.expect("a state serializes")
    }
}
