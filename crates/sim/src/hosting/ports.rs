//! What the engine asks of the world: scripts, values; and the runners of built-in tasks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Handoff, Outcome, OutcomeStatus, TaskRunner, Values};
use kernel::{ExecutionId, Form, Json, ScriptError, Scripts, TaskId};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::world::World;
use crate::scripts::SmallScripts;
use crate::workload::BUILTIN;

/// The small language, with one more word: `panic` is a bug.
pub(super) struct SimScripts;

impl Scripts for SimScripts {
    fn javascript(&self, source: &str, form: Form, input: &Json) -> Result<Json, ScriptError> {
        assert!(source != "panic", "a bug in a decision");
        SmallScripts.javascript(source, form, input)
    }

    fn jq(&self, program: &str, input: &Json) -> Result<Vec<Json>, ScriptError> {
        SmallScripts.jq(program, input)
    }

    fn check_javascript(&self, _: &str, _: Form) -> Result<(), ScriptError> {
        Ok(())
    }

    fn check_jq(&self, _: &str) -> Result<(), ScriptError> {
        Ok(())
    }
}

/// There is nothing.
pub(super) struct NoValues;

impl Values for NoValues {
    fn secret(&self, _: &str) -> Option<String> {
        None
    }

    fn environment(&self, _: &str) -> Option<String> {
        None
    }
}

/// Milliseconds for which a runner that hangs says nothing, unless it is cancelled.
pub(super) const HANGS: u64 = 200_000;

/// The one built-in task of users' workflows.
pub(super) struct Calls(pub(super) Arc<World>);

#[async_trait]
impl TaskRunner for Calls {
    fn task_type(&self) -> &'static str {
        BUILTIN
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        assert!(!task.reference.starts_with("panic"), "a bug in a runner");
        self.0.judge(|state, _| state.auditor.begins(key_of(&task)));
        let (millis, choice, hangs, after) = {
            let mut state = self.0.state.lock();
            let fails = state.faults.work_fails;
            let calm = state.calm;
            let random = &mut state.random;
            let choice = match random.chance(fails) {
                _ if calm => 0,
                false => [0, 0, 0, 0, 0, 3][random.below(6)],
                true => 1 + random.below(4),
            };
            let hangs = !calm && random.chance(3);
            (random.between(0, 400), choice, hangs, random.between(1, 6) as u64)
        };
        self.0.count("a built-in task ran");
        let millis = if hangs { HANGS } else { millis as u64 };
        let _ = tokio::time::timeout(Duration::from_millis(millis), cancelled.cancelled()).await;
        let again = Some(Duration::from_secs(after));
        let (status, said) = match choice {
            0 => (OutcomeStatus::Completed, "COMPLETED"),
            1 => (OutcomeStatus::Failed, "FAILED"),
            2 => (OutcomeStatus::FailedTerminally, "FAILED_WITH_TERMINAL_ERROR"),
            3 => (OutcomeStatus::InProgress { again_after: again }, "IN_PROGRESS"),
            _ => (OutcomeStatus::InProgress { again_after: None }, "IN_PROGRESS"),
        };
        self.0.say(|| format!("{} ran: {said}", task.task_id));
        Outcome { status, output: Json::of(&json!({ "said": said })), reason: None }
    }
}

/// The execution and number of a task that is run; `None` if no execution has it, as of the alarm.
pub(super) fn key_of(task: &Handoff) -> Option<(ExecutionId, u32)> {
    let id =
        TaskId::parse(&task.task_id).filter(|it| *it.execution.as_str() == task.execution_id)?;
    Some((id.execution, id.sequence))
}
