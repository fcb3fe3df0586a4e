//! `TERMINATE_WORKFLOW`: ends other executions.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use engine::{ActsOn, Engine, Error, Handoff, Outcome, Requirement, TaskRunner, WeakEngine};
use kernel::access::Permission;
use kernel::graph::{Control, Input};
use kernel::{ExecutionId, Json, Rejected};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Served, Trouble, execution_id};
use crate::input::{Members, completed, failed_with};

/// Runs tasks of type `TERMINATE_WORKFLOW`.
///
/// Every workflow named is tried, whatever becomes of the others. One that has been terminated
/// before counts as terminated, so the work may be done twice. If some could not be (unknown ids,
/// workflows that completed first), the task fails and says which in `output.notTerminated`.
#[derive(Default)]
pub struct TerminateWorkflow(Served);

const TYPE: &str = "TERMINATE_WORKFLOW";
/// Workflows that one task may name.
const IDS_MAX: usize = 1000;

#[async_trait]
impl TaskRunner for TerminateWorkflow {
    fn task_type(&self) -> &'static str {
        TYPE
    }

    fn takes_secrets(&self) -> bool {
        false
    }

    fn attach(&self, engine: WeakEngine) {
        self.0.attach(engine);
    }

    fn requires(&self) -> Requirement {
        Requirement::EachThing
    }

    async fn run(&self, task: Handoff, _cancelled: CancellationToken) -> Outcome {
        self.terminate(&task).await.unwrap_or_else(|trouble| trouble.outcome(TYPE))
    }
}

impl TerminateWorkflow {
    async fn terminate(&self, task: &Handoff) -> Result<Outcome, Trouble> {
        let input = Members::of(&task.input)?;
        let mut ids = input.texts("workflowId")?;
        if ids.is_empty() {
            return Err(Trouble::Lasting("`workflowId` names no workflow".to_owned()));
        }
        if ids.len() > IDS_MAX {
            let count = ids.len();
            return Err(Trouble::Lasting(format!(
                "`workflowId` names {count} workflows; one task ends at most {IDS_MAX}"
            )));
        }
        let reason = input.text("terminationReason")?.unwrap_or_else(|| {
            format!("terminated by task {} of workflow {}", task.reference, task.execution_id)
        });
        let failure_workflow = input.flag("triggerFailureWorkflow", false)?;
        // Its own workflow last: that ends this task too.
        ids.sort_by_key(|id| *id == task.execution_id);
        let engine = self.0.engine()?;
        let end = Control::Terminate { reason: Some(Arc::from(reason)), failure_workflow };
        let own = execution_id(&task.execution_id)?;
        let (mut terminated, mut refused) = (Vec::new(), BTreeMap::new());
        for text in ids {
            match end_one(&engine, &own, &execution_id(&text)?, &end).await {
                Ok(()) => terminated.push(text),
                Err(Trouble::Lasting(reason)) => _ = refused.insert(text, reason),
                Err(passing @ Trouble::Passing(_)) => return Err(passing),
            }
        }
        if refused.is_empty() {
            return Ok(completed(Json::of(&json!({ "terminatedWorkflows": terminated }))));
        }
        let reasons: Vec<&str> = refused.values().map(String::as_str).collect();
        let reason = format!("{TYPE}: {}", reasons.join("; "));
        let output = json!({ "terminatedWorkflows": terminated, "notTerminated": refused });
        Ok(failed_with(Json::of(&output), reason))
    }
}

/// Ends one, if the principal of the workflow that asks may.
async fn end_one(
    engine: &Engine,
    by: &ExecutionId,
    id: &ExecutionId,
    end: &Control,
) -> Result<(), Trouble> {
    engine.must_be_allowed(by, Permission::Run, ActsOn::Run(id)).await?;
    match engine.step(id, Input::Control(end.clone())).await {
        Ok(()) | Err(Error::Rejected(Rejected::Stale(_))) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
