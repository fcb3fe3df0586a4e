//! Executions of workflows, as the engine hosts them.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::graph::{Event, Execution, Input, Plan, Status};
use kernel::{ExecutionId, Json, Machine, MachineKind, Rejected, Timestamp};

use super::{AnyInput, Decided, DecisionContext, DurableMachine, parse, row, whole};
use crate::brief::{self, Brief};
use crate::definitions::Definitions;
use crate::head;
use crate::store::{Head, StoreError};

/// Bytes of a definition times bytes of a state beyond which its expressions may take long: each
/// may go through all of the state.
const EXPRESSIONS_MAX: usize = 1 << 30;

impl From<Input> for AnyInput {
    fn from(input: Input) -> Self {
        Self::Execution(Box::new(input))
    }
}

#[async_trait]
impl DurableMachine for Execution {
    fn exists(&self) -> bool {
        self.is_started()
    }

    fn is_open(&self) -> bool {
        self.is_started() && !self.status.is_closed()
    }

    fn status(&self) -> Status {
        self.status
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        self.wake_at()
    }

    fn head(&self, version: u64) -> Head {
        head::of(self, version)
    }

    fn decide_any(
        &mut self,
        input: AnyInput,
        context: &DecisionContext<'_>,
    ) -> Result<Decided, Rejected> {
        let input = match input {
            AnyInput::Wake => Input::Wake,
            AnyInput::Message(message) => Input::Message(message),
            AnyInput::Execution(input) => *input,
            other => return Err(other.misdirected(&self.id)),
        };
        let decision = self.decide(input, context.context)?;
        Ok(Decided {
            plans: plans_of(&decision.events),
            text: head::text(self, &decision.events),
            is_news: brief::is_changed(&decision.events),
            events: row(&decision.events),
            effects: decision.effects,
        })
    }

    async fn fold(&mut self, row: &str, definitions: &Definitions) -> Result<(), StoreError> {
        let mut events: Vec<Event> = parse(row, &self.id)?;
        for event in &mut events {
            if let Some(plan) = event.plan_mut() {
                plan.plan = Some(definitions.pinned(&plan.hash).await?);
            }
            self.apply(event);
        }
        Ok(())
    }

    fn snapshot_row(&self) -> String {
        whole(self.snapshot())
    }

    fn has_row(&self, number: u32) -> bool {
        self.task(number).is_some_and(|task| !task.status.is_closed())
    }

    fn rows(&self) -> Vec<u32> {
        self.open_tasks().map(|task| task.sequence).collect()
    }

    fn waits_for_end(&self) -> Option<ExecutionId> {
        self.parent.as_ref().map(|parent| parent.execution.clone())
    }

    fn is_deferrable(&self) -> bool {
        let is_monitor = |id: &ExecutionId| id.machine() == MachineKind::Monitor;
        self.parent.as_ref().is_some_and(|parent| is_monitor(&parent.execution))
    }

    fn is_run(&self) -> bool {
        true
    }

    fn end(&self) -> Option<bool> {
        self.status.is_closed().then_some(self.status == Status::Completed)
    }

    fn may_evaluate(&self, input: &AnyInput, bytes: usize) -> bool {
        let takes_long = |plan: &Plan, bytes: usize| {
            plan.evaluates || plan.text.len().saturating_mul(bytes) > EXPRESSIONS_MAX
        };
        let starts = match input {
            AnyInput::Execution(input) => match &**input {
                Input::Start(start) => Some((&start.plan, start.input.len())),
                Input::Branch(branch) => {
                    let plan = branch.plan.as_ref().unwrap_or_else(|| branch.original.plan());
                    let tasks = branch.original.tasks().map(|task| task.output.len());
                    Some((plan, branch.original.input.len() + tasks.sum::<usize>()))
                }
                // These lead to nothing else, unless something was put off.
                Input::Claim { .. } | Input::Extend { .. } if !self.has_yielded() => return false,
                input if input.ends() => return false,
                _ => None,
            },
            _ => None,
        };
        match starts {
            Some((plan, bytes)) => takes_long(plan, bytes),
            None => self.is_started() && takes_long(self.plan(), bytes),
        }
    }

    fn keeps_history(&self) -> bool {
        self.plan().definition.keep_history
    }

    fn brief(&self) -> Option<String> {
        Some(Json::of(&Brief::of(self)).text().to_owned())
    }
}

fn plans_of(events: &[Event]) -> Vec<(Arc<str>, Arc<str>)> {
    events
        .iter()
        .filter_map(|event| event.plan()?.plan.as_ref())
        .map(|plan: &Arc<Plan>| (plan.hash.clone(), plan.text.clone()))
        .collect()
}
