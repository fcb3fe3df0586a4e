//! Why an instance of code stands where it stands.

use engine::Engine;
use engine::durable::Service;
use kernel::durable::instance::{Instance, Waiting};
use kernel::durable::{DEFAULT_HUB, MACHINE_ID_MAX, Status, TURN, WorkKind, WorkQueue};
use kernel::{ExecutionId, Json, MachineKind, Timestamp};
use serde::Serialize;

use super::Subject;
use crate::problem::Problem;
use crate::rest::why::why as of_graph;

/// One reason, in the shape of those of executions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Obstacle {
    task_id: String,
    reference: String,
    task_type: &'static str,
    code: &'static str,
    reason: String,
    since: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

/// Where an instance stands, and everything that it waits for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Why {
    workflow_id: ExecutionId,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    waiting: Vec<Obstacle>,
}

/// Says what an instance waits for, in sentences; `None` if there is none. It is named by its whole
/// id, or by that within the default hub.
pub(crate) async fn why(engine: &Engine, id: &str) -> Result<Option<Json>, Problem> {
    if id.is_empty() || id.len() > MACHINE_ID_MAX {
        return Ok(None);
    }
    let whole = ExecutionId::new(id);
    let id = match whole.machine() {
        MachineKind::Instance => whole,
        _ => ExecutionId::instance(DEFAULT_HUB, id),
    };
    Ok(of_code(engine, &id).await?.map(|why| Json::of(&why)))
}

/// What an instance, or an execution as one, waits for.
pub(super) async fn waiting(engine: &Engine, subject: &Subject) -> Result<Json, Problem> {
    Ok(match subject {
        Subject::Code(id) => Json::of(&of_code(engine, id).await?.map(|why| why.waiting)),
        Subject::Graph(id) => Json::of(&of_graph(engine, id.as_str()).await?.waiting),
    })
}

async fn of_code(engine: &Engine, id: &ExecutionId) -> Result<Option<Why>, Problem> {
    let look = |state: &Instance| {
        let failure = state.failure.as_ref().map(|failure| failure.message.to_string());
        (state.status, failure, state.updated_at, state.waiting())
    };
    let found = engine.instance(id, look).await?;
    Ok(found.map(|(status, reason, since, waiting)| {
        let waiting = waiting.iter().map(|waiting| of(engine, id, waiting, since)).collect();
        Why { workflow_id: id.clone(), status, reason, waiting }
    }))
}

fn of(engine: &Engine, id: &ExecutionId, waiting: &Waiting, since: Timestamp) -> Obstacle {
    let reason = |reference: &str, task_type, code, reason: String| Obstacle {
        task_id: String::new(),
        reference: reference.to_owned(),
        task_type,
        code,
        reason,
        since,
        until: None,
    };
    match waiting {
        Waiting::Start(at) => Obstacle {
            until: Some(*at),
            ..reason("start", "START", "scheduled", format!("it is to begin at {at}"))
        },
        Waiting::Turn(queue) => {
            let (code, sentence) = served(&engine.service(id, TURN, queue), queue);
            reason(&queue.name, "ORCHESTRATION", code, sentence)
        }
        Waiting::Activity { sequence, queue } => {
            let (code, sentence) = served(&engine.service(id, *sequence, queue), queue);
            let task_id = format!("{id}-{sequence}");
            Obstacle { task_id, ..reason(&queue.name, "ACTIVITY", code, sentence) }
        }
        Waiting::Timer { fire_at } => Obstacle {
            until: Some(*fire_at),
            ..reason("timer", "TIMER", "timer", format!("a timer fires at {fire_at}"))
        },
        Waiting::Child(child) => {
            let sentence = format!("waits for the instance {}", child.local_name());
            reason(child.local_name(), "SUB_ORCHESTRATION", "child", sentence)
        }
        Waiting::Event => {
            let sentence = "waits for an event or an entity".to_owned();
            reason("event", "EVENT", "event", sentence)
        }
        Waiting::Resume => {
            let sentence = "is suspended until somebody resumes it".to_owned();
            reason("resume", "ORCHESTRATION", "suspended", sentence)
        }
    }
}

fn served(service: &Service, queue: &WorkQueue) -> (&'static str, String) {
    let (hub, name) = (&queue.hub, &queue.name);
    let kind = match queue.kind {
        WorkKind::Orchestration => "orchestrator",
        WorkKind::Activity => "activity",
        WorkKind::Entity => "entity",
    };
    let version = queue.version.as_deref();
    let version = version.map_or_else(String::new, |version| format!(", version {version}"));
    match service {
        Service::Out { worker, since } => {
            ("in-progress", format!("the worker '{worker}' has it since {since}"))
        }
        Service::NoWorker => ("no-worker", format!("no worker attends the task hub '{hub}'")),
        Service::NotTaken { workers } => (
            "no-worker",
            format!(
                "of {workers} workers in the task hub '{hub}', none runs the {kind} '{name}'{version}"
            ),
        ),
        Service::Busy { workers } => (
            "busy",
            format!("all {workers} workers that run the {kind} '{name}' have as much as they take"),
        ),
        Service::Soon => ("queued", format!("the {kind} '{name}' is about to be handed out")),
    }
}
