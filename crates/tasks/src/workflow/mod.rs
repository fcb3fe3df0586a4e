//! Tasks that act on the server they run in: look at executions, end them, report on their tasks.

mod get;
mod query;
mod terminate;
mod update;

use std::sync::{Arc, OnceLock};

use engine::{Engine, Outcome, TaskRunner, WeakEngine};
use kernel::ExecutionId;

use crate::http;
use crate::input::{Wrong, failed, failed_for_good};

pub use get::GetWorkflow;
pub use query::QueryProcessor;
pub use terminate::TerminateWorkflow;
pub use update::UpdateTask;

/// What tasks that look at executions may be told from outside.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where people reach this server, without a slash at the end: `https://bell.example.org`.
    /// Links in outputs begin with it; empty makes them relative.
    pub base_url: String,
    /// The Prometheus server that `METRICS` questions go to: `http://prometheus:9090`.
    pub prometheus_url: Option<String>,
}

/// One runner per task type of this folder.
pub(crate) fn runners(settings: &Settings, client: &http::Client) -> Vec<Arc<dyn TaskRunner>> {
    vec![
        Arc::new(QueryProcessor::new(settings.clone(), client.clone())),
        Arc::new(GetWorkflow::default()),
        Arc::new(TerminateWorkflow::default()),
        Arc::new(UpdateTask::default()),
    ]
}

/// The engine that a runner was attached to.
#[derive(Default)]
struct Served(OnceLock<WeakEngine>);

impl Served {
    /// The first engine stays: a runner serves one.
    fn attach(&self, engine: WeakEngine) {
        self.0.get_or_init(|| engine);
    }

    fn engine(&self) -> Result<Engine, Trouble> {
        let engine = self.0.get().and_then(WeakEngine::upgrade);
        engine.ok_or_else(|| Trouble::Passing("the engine is not there".to_owned()))
    }
}

/// Why one of these tasks did not do as asked.
#[derive(Debug)]
enum Trouble {
    /// Another attempt may do better.
    Passing(String),
    /// Every attempt would fail.
    Lasting(String),
}

impl Trouble {
    fn outcome(self, task_type: &str) -> Outcome {
        match self {
            Self::Passing(reason) => failed(format!("{task_type}: {reason}")),
            Self::Lasting(reason) => failed_for_good(format!("{task_type}: {reason}")),
        }
    }
}

impl From<Wrong> for Trouble {
    fn from(wrong: Wrong) -> Self {
        Self::Lasting(wrong.0)
    }
}

impl From<engine::Error> for Trouble {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Rejected(rejected) => Self::Lasting(rejected.to_string()),
            other => Self::Passing(other.to_string()),
        }
    }
}

impl From<engine::store::StoreError> for Trouble {
    fn from(error: engine::store::StoreError) -> Self {
        Self::Passing(error.to_string())
    }
}

/// Reads an id; one that is too long names nothing.
fn execution_id(text: &str) -> Result<ExecutionId, Trouble> {
    if text.len() > ExecutionId::LENGTH_MAX {
        return Err(Trouble::Lasting(format!(
            "an id of {} bytes names no workflow: they have at most {}",
            text.len(),
            ExecutionId::LENGTH_MAX
        )));
    }
    Ok(ExecutionId::new(text))
}

fn unknown(id: &ExecutionId) -> Trouble {
    Trouble::Lasting(format!("there is no workflow with the id {id}"))
}
