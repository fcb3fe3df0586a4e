//! `GET_WORKFLOW`: another execution as the task's output, in the form in which the API shows it.

use async_trait::async_trait;
use engine::{ActsOn, Handoff, Outcome, Requirement, TaskRunner, WeakEngine};
use indexmap::IndexMap;
use kernel::Json;
use kernel::access::Permission;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::{Served, Trouble, execution_id, unknown};
use crate::input::{Members, completed};

/// Runs tasks of type `GET_WORKFLOW`.
#[derive(Default)]
pub struct GetWorkflow(Served);

const TYPE: &str = "GET_WORKFLOW";

#[async_trait]
impl TaskRunner for GetWorkflow {
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
        self.get(&task).await.map_or_else(|trouble| trouble.outcome(TYPE), completed)
    }
}

impl GetWorkflow {
    async fn get(&self, task: &Handoff) -> Result<Json, Trouble> {
        let input = Members::of(&task.input)?;
        let id = execution_id(&input.required("id")?)?;
        let include_tasks = input.flag("includeTasks", false)?;
        let (engine, own) = (self.0.engine()?, execution_id(&task.execution_id)?);
        engine.must_be_allowed(&own, Permission::Read, ActsOn::Run(&id)).await?;
        let shown = engine.describe(&id).await?.ok_or_else(|| unknown(&id))?;
        Ok(if include_tasks { shown } else { without_tasks(shown) })
    }
}

/// Everything else stays as it was written: numbers keep their digits, objects their order.
fn without_tasks(shown: Json) -> Json {
    match serde_json::from_str::<IndexMap<String, &RawValue>>(shown.text()) {
        Ok(mut members) => {
            members.shift_remove("tasks");
            Json::of(&members)
        }
        Err(_) => shown,
    }
}
