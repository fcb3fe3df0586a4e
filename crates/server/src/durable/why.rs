//! Why an instance of code stands where it stands.

use std::sync::Arc;

use engine::Engine;
use engine::durable::{Service, Unfinished};
use kernel::durable::entity::Entity;
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
    let Some((status, reason, since, waits)) = engine.instance(id, look).await? else {
        return Ok(None);
    };
    let mut waiting = Vec::new();
    for wait in &waits {
        waiting.push(of(engine, id, wait, since).await?);
    }
    Ok(Some(Why { workflow_id: id.clone(), status, reason, waiting }))
}

async fn of(
    engine: &Engine,
    id: &ExecutionId,
    waiting: &Waiting,
    since: Timestamp,
) -> Result<Obstacle, Problem> {
    let reason = |reference: &str, task_type, code, reason: String| Obstacle {
        task_id: String::new(),
        reference: reference.to_owned(),
        task_type,
        code,
        reason,
        since,
        until: None,
    };
    Ok(match waiting {
        Waiting::Start(at) => Obstacle {
            until: Some(*at),
            ..reason("start", "START", "scheduled", format!("it is to begin at {at}"))
        },
        Waiting::Turn(queue) => {
            let (code, sentence, until) = served(engine, id, TURN, queue);
            Obstacle { until, ..reason(&queue.name, "ORCHESTRATION", code, sentence) }
        }
        Waiting::Activity { sequence, queue } => {
            let (code, sentence, until) = served(engine, id, *sequence, queue);
            let task_id = format!("{id}-{sequence}");
            Obstacle { task_id, until, ..reason(&queue.name, "ACTIVITY", code, sentence) }
        }
        Waiting::Timer { fire_at } => Obstacle {
            until: Some(*fire_at),
            ..reason("timer", "TIMER", "timer", format!("a timer fires at {fire_at}"))
        },
        Waiting::Child(child) => {
            let sentence = format!("waits for the instance {}", child.local_name());
            reason(child.local_name(), "SUB_ORCHESTRATION", "child", sentence)
        }
        Waiting::Answer { entity, operation } => {
            let why = entity_at_work(engine, id.hub(), entity).await?;
            let sentence = format!("waits until the entity {entity} has done '{operation}': {why}");
            reason(entity, "ENTITY", "entity", sentence)
        }
        Waiting::Lock { critical_section_id, entities } => {
            let (entity, sentence) = lock(engine, id, critical_section_id, entities).await?;
            reason(&entity, "ENTITY", "lock", sentence)
        }
        Waiting::Event => reason("event", "EVENT", "event", "waits for an event".to_owned()),
        Waiting::Resume => {
            let sentence = "is suspended until somebody resumes it".to_owned();
            reason("resume", "ORCHESTRATION", "suspended", sentence)
        }
    })
}

/// Why an entity has not answered yet.
async fn entity_at_work(engine: &Engine, hub: &str, entity: &str) -> Result<String, Problem> {
    let look = |it: &Entity| {
        let holder = it.lock.as_ref().map(|lock| lock.holder.local_name().to_owned());
        (it.id.clone(), it.wants_batch(), it.queue(), holder, it.backlog())
    };
    let Some((id, wants, queue, holder, backlog)) = engine.entity(hub, entity, look).await? else {
        return Ok("nothing is known of it".to_owned());
    };
    if wants {
        return Ok(served(engine, &id, TURN, &queue).1);
    }
    Ok(match holder {
        Some(holder) if backlog > 0 => {
            format!("it is locked by '{holder}', and {backlog} operations wait")
        }
        _ => "its answer is on the way".to_owned(),
    })
}

/// The entity at which a request for locks stands, and who is before it.
async fn lock(
    engine: &Engine,
    id: &ExecutionId,
    section: &str,
    entities: &[Arc<str>],
) -> Result<(String, String), Problem> {
    for entity in entities {
        let look = |it: &Entity| {
            let holder = it.lock.as_ref();
            let mine = holder.is_some_and(|lock| *lock.request.critical_section_id == *section);
            let holder = holder.map(|lock| lock.holder.local_name().to_owned());
            (mine, holder, it.locks_before(section), it.wants_batch())
        };
        let found = engine.entity(id.hub(), entity, look).await?;
        match found {
            Some((true, ..)) => {}
            Some((_, Some(holder), Some(before), _)) => {
                let others = match before {
                    0 => String::new(),
                    1 => ", and one other waits before it".to_owned(),
                    count => format!(", and {count} others wait before it"),
                };
                let sentence =
                    format!("waits for the lock on {entity}, which '{holder}' holds{others}");
                return Ok((entity.to_string(), sentence));
            }
            Some((_, None, Some(_), true)) => {
                let why = entity_at_work(engine, id.hub(), entity).await?;
                let sentence = format!(
                    "waits for the lock on {entity}, which has operations to do first: {why}"
                );
                return Ok((entity.to_string(), sentence));
            }
            _ => {
                let sentence = format!("waits for the lock on {entity}: the request is on its way");
                return Ok((entity.to_string(), sentence));
            }
        }
    }
    let first = entities.first().map(ToString::to_string).unwrap_or_default();
    let all = entities.join(", ");
    Ok((first, format!("waits for the locks on {all}: they are granted, and it is being told")))
}

/// Why a piece of work in the queues is not being done, and when it is offered again.
fn served(
    engine: &Engine,
    id: &ExecutionId,
    sequence: u32,
    queue: &WorkQueue,
) -> (&'static str, String, Option<Timestamp>) {
    let service = engine.service(id, sequence, queue);
    let tried = engine.attempts_at(id, sequence);
    let (hub, what) = (&queue.hub, named(queue));
    let (code, sentence) = match (&service, &tried) {
        (Service::Out { worker, since }, _) => {
            ("in-progress", format!("the worker '{worker}' has it since {since}"))
        }
        (Service::NoWorker, _) => ("no-worker", format!("no worker attends the task hub '{hub}'")),
        (Service::NotTaken { workers, versions }, _) => {
            let others = match versions.as_slice() {
                [] => String::new(),
                versions => format!("; they run the versions {}", shown(versions)),
            };
            let workers = counted(*workers);
            let sentence =
                format!("of {workers} in the task hub '{hub}', none runs {what}{others}");
            ("no-worker", sentence)
        }
        (Service::Busy { workers }, _) => {
            let workers = counted(*workers);
            ("busy", format!("{workers} run {what} and have as much as they take"))
        }
        (Service::Soon, Some(tried)) if tried.refused_by_all => {
            let sentence = format!("no connected worker takes {what}: each of them gave it back");
            ("no-worker", sentence)
        }
        (Service::Soon, Some(_)) => ("retrying", format!("{what} waits for another attempt")),
        (Service::Soon, None) => ("queued", format!("{what} is about to be handed out")),
    };
    let Some(tried) = tried else { return (code, sentence, None) };
    let Unfinished { attempts, reason, worker, next_at, .. } = tried;
    let times = if attempts == 1 { "once".to_owned() } else { format!("{attempts} times") };
    let sentence =
        format!("{sentence}; it was tried {times} without success, last by '{worker}': {reason}");
    (code, sentence, next_at.filter(|_| matches!(service, Service::Soon)))
}

/// What stands in a queue, in words.
fn named(queue: &WorkQueue) -> String {
    let kind = match queue.kind {
        WorkKind::Orchestration => "orchestrator",
        WorkKind::Activity => "activity",
        WorkKind::Entity => "entity",
    };
    let version = queue.version.as_deref();
    let version = version.map_or_else(String::new, |version| format!(", version {version}"));
    format!("the {kind} '{}'{version}", queue.name)
}

fn counted(workers: usize) -> String {
    if workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") }
}

fn shown(versions: &[Arc<str>]) -> String {
    let word = |version: &Arc<str>| match &**version {
        "" => "none".to_owned(),
        version => version.to_owned(),
    };
    versions.iter().map(word).collect::<Vec<_>>().join(", ")
}
