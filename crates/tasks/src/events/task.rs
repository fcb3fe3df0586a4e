//! The EVENT task: publishes its input as a message, and completes once somebody else has it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use engine::events::{Broker, BrokerError, EventMessage, EventName, PublishError};
use engine::{Engine, Handoff, Outcome, OutcomeStatus, Requirement, TaskRunner, WeakEngine};
use kernel::access::Permission;
use kernel::graph::Execution;
use kernel::{ExecutionId, Json, TaskId, Timestamp};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{Settings, SetupError, brokers};
use crate::http;

/// Pause before a message is offered again to a broker that is away.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a broker may be away before the task fails, in milliseconds.
const PATIENCE_MILLIS: i64 = 60_000;

/// Runs EVENT tasks; brings the brokers into the engine that it is attached to.
pub struct EventTask {
    brokers: Vec<Arc<dyn Broker>>,
    engine: OnceLock<WeakEngine>,
}

impl EventTask {
    /// With the brokers that are configured; those that are reached by HTTP use the client.
    ///
    /// # Errors
    /// An address that makes no sense.
    pub fn new(settings: &Settings, client: &http::Client) -> Result<Self, SetupError> {
        Ok(Self::with_brokers(brokers(settings, client)?))
    }

    /// With these brokers.
    pub fn with_brokers(brokers: Vec<Arc<dyn Broker>>) -> Self {
        Self { brokers, engine: OnceLock::new() }
    }
}

#[async_trait]
impl TaskRunner for EventTask {
    fn task_type(&self) -> &'static str {
        "EVENT"
    }

    /// What an event says is stored with whoever hears it.
    fn takes_secrets(&self) -> bool {
        false
    }

    fn attach(&self, weak: WeakEngine) {
        for broker in &self.brokers {
            broker.attach(weak.clone());
        }
        if let Some(engine) = weak.upgrade() {
            engine.attach_brokers(&self.brokers);
        }
        // Set once; a second engine would be a mistake in the wiring.
        let _ = self.engine.set(weak);
    }

    fn requires(&self) -> Requirement {
        Requirement::Everything(Permission::Run)
    }

    async fn run(&self, task: Handoff, _: CancellationToken) -> Outcome {
        let Some(engine) = self.engine.get().and_then(WeakEngine::upgrade) else {
            return failed(Json::empty_object(), "the server is stopping".to_owned());
        };
        match publish(&engine, &task).await {
            Ok(outcome) => outcome,
            Err(error) => failed(Json::empty_object(), error.to_string()),
        }
    }
}

fn failed(output: Json, reason: String) -> Outcome {
    Outcome { status: OutcomeStatus::Failed, output, reason: Some(reason) }
}

/// What a message tells of the execution that sends it.
struct Sender {
    name: Arc<str>,
    about: Map<String, Value>,
    since: Timestamp,
}

async fn publish(engine: &Engine, task: &Handoff) -> Result<Outcome, engine::Error> {
    let id = ExecutionId::new(task.execution_id.as_str());
    let sequence = TaskId::parse(&task.task_id).map_or(0, |task| task.sequence);
    let Some(sender) = engine.read(&id, |state| sender(state, sequence)).await? else {
        return Ok(failed(Json::empty_object(), "the workflow is gone".to_owned()));
    };
    let Value::Object(mut payload) = task.input.parse() else {
        return Ok(failed(Json::empty_object(), "the input is not an object".to_owned()));
    };
    let sink = payload.get("sink").and_then(Value::as_str).unwrap_or_default().to_owned();
    payload.extend(sender.about);
    let event = match event_of(&sink, &sender.name, &task.reference) {
        Ok(event) => event,
        Err(reason) => return Ok(failed(Json::of(&payload), reason)),
    };
    payload.insert("event_produced".to_owned(), event.to_string().into());
    let payload = Json::of(&payload);
    let message =
        EventMessage { event, id: task.task_id.clone(), payload: payload.text().to_owned() };
    let status = match engine.publish_event_of(&id, message).await {
        Ok(()) if task.async_complete => OutcomeStatus::InProgress { again_after: None },
        Ok(()) => OutcomeStatus::Completed,
        Err(PublishError::Store(error)) => return Err(error.into()),
        Err(PublishError::Broker(error @ BrokerError::Invalid(_))) => {
            return Ok(failed(payload, format!("Error loading queue:{sink}, error: {error}")));
        }
        Err(PublishError::Broker(error)) => {
            let reason = Some(format!("the message could not be published to {sink}: {error}"));
            let waited = engine.now().millis() - sender.since.millis();
            let status = if waited < PATIENCE_MILLIS {
                OutcomeStatus::InProgress { again_after: Some(AGAIN) }
            } else {
                OutcomeStatus::Failed
            };
            return Ok(Outcome { status, output: payload, reason });
        }
    };
    Ok(Outcome { status, output: payload, reason: None })
}

fn sender(state: &Execution, sequence: u32) -> Sender {
    let definition = &state.plan().definition;
    let about = [
        ("workflowInstanceId", Value::from(state.id.as_str())),
        ("workflowType", definition.name.as_str().into()),
        ("workflowVersion", definition.version.into()),
        ("correlationId", state.correlation_id.as_deref().into()),
        ("taskToDomain", state.task_to_domain.clone().unwrap_or_default().parse()),
    ];
    let task = state.task(sequence);
    Sender {
        name: definition.name.as_str().into(),
        about: about.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        since: task.map_or(state.created_at, |task| task.started_at.unwrap_or(task.scheduled_at)),
    }
}

/// Where a sink leads. What stays in the house is told apart by workflow.
fn event_of(sink: &str, workflow: &str, reference: &str) -> Result<EventName, String> {
    let event = match sink.split_once(':') {
        None if sink == "conductor" => format!("conductor:{workflow}:{reference}"),
        Some(("conductor", rest)) => format!("conductor:{workflow}:{rest}"),
        _ => sink.to_owned(),
    };
    EventName::parse(&event).ok_or_else(|| {
        format!("Invalid / Unsupported sink specified: {sink}; write conductor, or type:queue")
    })
}
