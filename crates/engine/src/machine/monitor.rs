//! Monitors, as the engine hosts them.

use async_trait::async_trait;
use kernel::alert::{self, Monitor};
use kernel::graph::Status;
use kernel::{Machine, Rejected, Timestamp};

use super::{AnyInput, Decided, DecisionContext, DurableMachine, parse, row, whole};
use crate::board::Board;
use crate::definitions::Definitions;
use crate::head;
use crate::store::{Head, StoreError};

impl From<alert::Input> for AnyInput {
    fn from(input: alert::Input) -> Self {
        Self::Monitor(input)
    }
}

#[async_trait]
impl DurableMachine for Monitor {
    fn exists(&self) -> bool {
        self.spec.is_some()
    }

    fn is_open(&self) -> bool {
        !head::is_over(self)
    }

    fn status(&self) -> Status {
        if self.removed { Status::Terminated } else { Status::Running }
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.wake_at()
    }

    fn head(&self, version: u64) -> Head {
        head::of_monitor(self, version)
    }

    fn decide_any(
        &mut self,
        input: AnyInput,
        context: &DecisionContext<'_>,
    ) -> Result<Decided, Rejected> {
        let input = match input {
            AnyInput::Wake => alert::Input::Wake,
            AnyInput::Message(message) => alert::Input::Message(message),
            AnyInput::Monitor(input) => input,
            other => return Err(other.misdirected(&self.id)),
        };
        let context = alert::Context {
            now: context.context.now,
            asks_parents: true,
            listening_since: Some((context.listening_since)()),
        };
        let decision = self.decide(input, &context)?;
        let defined = |event: &alert::Event| matches!(event, alert::Event::Defined(_));
        Ok(Decided {
            plans: Vec::new(),
            text: decision.events.iter().any(defined).then(|| head::monitor_text(self)),
            events: row(&decision.events),
            is_news: false,
            effects: decision.effects,
        })
    }

    async fn fold(&mut self, row: &str, _: &Definitions) -> Result<(), StoreError> {
        let events: Vec<alert::Event> = parse(row, &self.id)?;
        for event in &events {
            self.apply(event);
        }
        Ok(())
    }

    fn snapshot_row(&self) -> String {
        whole(self.snapshot())
    }

    fn is_deferrable(&self) -> bool {
        true
    }

    /// Executions end; a monitor never does, and is small. With thousands of them, each checked every
    /// few seconds, what they are folded from must stay small too, or neither memory nor disk has
    /// room for it.
    fn snapshot_bytes_min(&self) -> usize {
        4 << 10
    }

    fn note(&self, board: &Board) {
        board.note_monitor(self);
    }
}
