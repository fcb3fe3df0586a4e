//! Entities, as the engine hosts them.

use async_trait::async_trait;
use kernel::durable::TURN;
use kernel::durable::entity::{self, Entity};
use kernel::graph::Status;
use kernel::{Machine, Rejected, Timestamp};

use super::{AnyInput, Decided, DecisionContext, DurableMachine, parse, row, whole};
use crate::definitions::Definitions;
use crate::head;
use crate::store::{Head, StoreError};

impl From<entity::Input> for AnyInput {
    fn from(input: entity::Input) -> Self {
        Self::Entity(Box::new(input))
    }
}

#[async_trait]
impl DurableMachine for Entity {
    fn exists(&self) -> bool {
        self.has_begun()
    }

    fn is_open(&self) -> bool {
        self.has_begun() && !self.is_empty()
    }

    fn status(&self) -> Status {
        Status::Running
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.wake_at()
    }

    fn head(&self, version: u64) -> Head {
        head::of_entity(self, version)
    }

    fn decide_any(
        &mut self,
        input: AnyInput,
        context: &DecisionContext<'_>,
    ) -> Result<Decided, Rejected> {
        let input = match input {
            AnyInput::Wake => entity::Input::Wake,
            AnyInput::Message(message) => entity::Input::Message(message),
            AnyInput::Entity(input) => *input,
            other => return Err(other.misdirected(&self.id)),
        };
        let fresh = !self.has_begun();
        let context = entity::Context { now: context.context.now, limits: context.context.limits };
        let decision = self.decide(input, &context)?;
        Ok(Decided {
            plans: Vec::new(),
            text: fresh.then(|| self.entity_id().to_string()),
            events: row(&decision.events),
            is_news: false,
            effects: decision.effects,
        })
    }

    async fn fold(&mut self, row: &str, _: &Definitions) -> Result<(), StoreError> {
        let events: Vec<entity::Event> = parse(row, &self.id)?;
        for event in &events {
            self.apply(event);
        }
        Ok(())
    }

    fn snapshot_row(&self) -> String {
        whole(self.snapshot())
    }

    fn has_row(&self, number: u32) -> bool {
        self.is_queued(number)
    }

    fn rows(&self) -> Vec<u32> {
        vec![TURN]
    }
}
