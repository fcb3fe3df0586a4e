//! Orchestration instances, as the engine hosts them.

use async_trait::async_trait;
use kernel::durable;
use kernel::durable::instance::{self, Instance};
use kernel::graph::Status;
use kernel::{ExecutionId, Machine, Rejected, Timestamp};

use super::{AnyInput, Decided, DecisionContext, DurableMachine, parse, row, whole};
use crate::definitions::Definitions;
use crate::head;
use crate::store::{Head, StoreError};

impl From<instance::Input> for AnyInput {
    fn from(input: instance::Input) -> Self {
        Self::Instance(Box::new(input))
    }
}

#[async_trait]
impl DurableMachine for Instance {
    fn exists(&self) -> bool {
        self.has_begun()
    }

    fn is_open(&self) -> bool {
        Instance::is_open(self)
    }

    fn status(&self) -> Status {
        self.status.of_execution()
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.wake_at()
    }

    fn head(&self, version: u64) -> Head {
        head::of_instance(self, version)
    }

    fn decide_any(
        &mut self,
        input: AnyInput,
        context: &DecisionContext<'_>,
    ) -> Result<Decided, Rejected> {
        let input = match input {
            AnyInput::Wake => instance::Input::Wake,
            AnyInput::Message(message) => instance::Input::Message(message),
            AnyInput::Instance(input) => *input,
            other => return Err(other.misdirected(&self.id)),
        };
        let context =
            instance::Context { now: context.context.now, limits: context.context.limits };
        let decision = self.decide(input, &context)?;
        let changed = |event: &instance::Event| {
            matches!(event, instance::Event::Started { .. } | instance::Event::Ended { .. })
        };
        Ok(Decided {
            plans: Vec::new(),
            text: decision.events.iter().any(changed).then(|| head::instance_text(self)),
            events: row(&decision.events),
            is_news: false,
            effects: decision.effects,
        })
    }

    async fn fold(&mut self, row: &str, _: &Definitions) -> Result<(), StoreError> {
        let events: Vec<instance::Event> = parse(row, &self.id)?;
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
        self.queued()
    }

    fn waits_for_end(&self) -> Option<ExecutionId> {
        self.parent()
    }

    fn is_run(&self) -> bool {
        true
    }

    fn end(&self) -> Option<bool> {
        self.status.is_closed().then_some(self.status == durable::Status::Completed)
    }
}
