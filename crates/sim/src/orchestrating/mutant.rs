//! Kernels and engines that are broken on purpose, to find out whether the auditor would notice.

use kernel::durable::entity::{self, Entity};
use kernel::durable::instance::{self, Instance};
use kernel::{Decision, Machine, Rejected, Timestamp};

/// What a world runs.
pub trait Keeper {
    /// Decides an input for an instance.
    ///
    /// # Errors
    /// As [`Machine::decide`].
    fn instance(
        &self,
        state: &mut Instance,
        input: instance::Input,
        context: &instance::Context<'_>,
    ) -> Result<Decision<instance::Event>, Rejected> {
        Machine::decide(state, input, context)
    }

    /// Decides an input for an entity.
    ///
    /// # Errors
    /// As [`Machine::decide`].
    fn entity(
        &self,
        state: &mut Entity,
        input: entity::Input,
        context: &entity::Context<'_>,
    ) -> Result<Decision<entity::Event>, Rejected> {
        Machine::decide(state, input, context)
    }

    /// When an instance is to look at the clock.
    fn wake_instance(&self, state: &Instance) -> Option<Timestamp> {
        state.wake_at()
    }

    /// When an entity is to look at the clock.
    fn wake_entity(&self, state: &Entity) -> Option<Timestamp> {
        state.wake_at()
    }

    /// What the engine around them does wrong.
    fn slip(&self) -> Option<Slip> {
        None
    }

    /// Whether a state must be folded anew after each commit.
    fn is_mutant(&self) -> bool {
        false
    }
}

/// Instances and entities as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Keeper for Real {}

/// What an engine may do wrong when it dies, or hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slip {
    /// Messages are kept in memory only.
    OutboxInMemory,
    /// Messages are written before the facts that they follow from, and apart from them.
    OutboxFirst,
    /// A message is deleted only after its receiver's commit.
    MessageTwice,
    /// The queues are kept in memory only.
    QueuesInMemory,
    /// Nobody is woken any more after a death.
    TimersForgotten,
}
