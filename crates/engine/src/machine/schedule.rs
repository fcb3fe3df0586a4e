//! Schedules, as the engine hosts them.

use async_trait::async_trait;
use kernel::graph::Status;
use kernel::schedule::{self, Schedule};
use kernel::{Machine, Rejected, Timestamp};

use super::{AnyInput, Decided, DecisionContext, DurableMachine, parse, row, whole};
use crate::board::Board;
use crate::definitions::Definitions;
use crate::head;
use crate::store::{Head, StoreError};

impl From<schedule::Input> for AnyInput {
    fn from(input: schedule::Input) -> Self {
        Self::Schedule(input)
    }
}

#[async_trait]
impl DurableMachine for Schedule {
    fn exists(&self) -> bool {
        self.has_begun()
    }

    fn is_open(&self) -> bool {
        self.is_defined() || !self.open.is_empty()
    }

    fn status(&self) -> Status {
        Schedule::status(self)
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.wake_at()
    }

    fn head(&self, version: u64) -> Head {
        head::of_schedule(self, version)
    }

    fn decide_any(
        &mut self,
        input: AnyInput,
        context: &DecisionContext<'_>,
    ) -> Result<Decided, Rejected> {
        let input = match input {
            AnyInput::Wake => schedule::Input::Wake,
            AnyInput::Message(message) => schedule::Input::Message(message),
            AnyInput::Schedule(input) => input,
            other => return Err(other.misdirected(&self.id)),
        };
        let context = schedule::Context { now: context.context.now, limits: context.schedules };
        let decision = self.decide(input, &context)?;
        let defined = |event: &schedule::Event| matches!(event, schedule::Event::Defined { .. });
        Ok(Decided {
            plans: Vec::new(),
            text: decision.events.iter().any(defined).then(|| head::schedule_text(self)),
            events: row(&decision.events),
            is_news: false,
            effects: decision.effects,
        })
    }

    async fn fold(&mut self, row: &str, _: &Definitions) -> Result<(), StoreError> {
        let events: Vec<schedule::Event> = parse(row, &self.id)?;
        for event in &events {
            self.apply(event);
        }
        Ok(())
    }

    fn snapshot_row(&self) -> String {
        whole(self.snapshot())
    }

    fn authors_inputs(&self) -> bool {
        true
    }

    fn note(&self, board: &Board) {
        board.note_schedule(self);
    }
}
