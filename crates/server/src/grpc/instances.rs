//! What clients ask of one instance: start, look, wait, steer.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::{Engine, Error};
use futures_util::FutureExt;
use kernel::durable::instance::{Input, Start};
use kernel::durable::{Status as Stands, TraceContext};
use kernel::{ExecutionId, Rejected};
use proto::{
    CreateInstanceRequest, CreateOrchestrationAction, GetInstanceRequest, GetInstanceResponse,
    OrchestrationIdReusePolicy,
};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::convert::{state, tags, text, time, trace, version};
use super::status;

/// The span of a caller, by the metadata `traceparent` that clients with tracing send; `None` if it names none.
pub(super) fn caller(metadata: &MetadataMap) -> Option<TraceContext> {
    let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok());
    TraceContext::of_caller(text("traceparent")?, text("tracestate"))
}

/// Starts an instance; answers its id. What the request says of the caller's span counts before `caller`.
pub(super) async fn start(
    engine: &Engine,
    hub: &str,
    request: CreateInstanceRequest,
    caller: Option<TraceContext>,
    acts_as: Option<Arc<str>>,
) -> Result<String, Status> {
    let policy = request.orchestration_id_reuse_policy.as_ref();
    let ignored = policy.map(ignored).unwrap_or_default();
    let scheduled_at = request.scheduled_start_timestamp.as_ref().map(time::not_before);
    let given = request.execution_id.filter(|id| is_execution_id(id));
    let start = Start {
        version: version(request.version),
        // A start that is due already is no scheduled one: some SDKs always name the epoch.
        scheduled_at: scheduled_at.filter(|at| *at > engine.now()),
        tags: tags(request.tags),
        trace: trace(request.parent_trace_context).or(caller),
        // SDKs that restart an instance by themselves name no policy.
        replaces: policy.map_or_else(Start::closed_statuses, replaced),
        acts_as,
        ..Start::new(
            &request.name,
            text(request.input),
            given.map_or_else(Engine::new_execution_id, Into::into),
        )
    };
    match engine.start_instance(hub, Some(&request.instance_id), start).await {
        Ok(id) => Ok(id.local_name().to_owned()),
        Err(Error::Rejected(Rejected::Conflict(words))) => {
            let id = ExecutionId::instance(hub, &request.instance_id);
            let stands = engine.instance(&id, |instance| instance.status).await;
            let stands = stands.map_err(status::of)?;
            if stands.is_some_and(|stands| ignored.contains(&stands)) {
                return Ok(request.instance_id);
            }
            Err(Status::already_exists(words))
        }
        Err(error) => Err(status::of(error)),
    }
}

/// Where an instance of the same id may stand to be replaced.
fn replaced(policy: &OrchestrationIdReusePolicy) -> BTreeSet<Stands> {
    let mut listed: BTreeSet<Stands> = policy.replaceable_status().map(state::status).collect();
    match policy.action() {
        CreateOrchestrationAction::Error => {}
        CreateOrchestrationAction::Ignore => listed.clear(),
        // Older clients need not list what the one in their way becomes as it is ended.
        CreateOrchestrationAction::Terminate => {
            listed.insert(Stands::Terminated);
        }
    }
    listed
}

/// Where an instance of the same id may stand for the start to be left out, as older clients ask.
fn ignored(policy: &OrchestrationIdReusePolicy) -> Vec<Stands> {
    if policy.action() != CreateOrchestrationAction::Ignore {
        return Vec::new();
    }
    policy.replaceable_status().map(state::status).collect()
}

/// Whether it names a life as those of the server do: 32 hexadecimal digits.
fn is_execution_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Looks at an instance.
pub(super) async fn get(
    engine: &Engine,
    hub: &str,
    request: &GetInstanceRequest,
) -> Result<GetInstanceResponse, Status> {
    let id = ExecutionId::instance(hub, &request.instance_id);
    let payloads = request.get_inputs_and_outputs;
    let found = engine.instance(&id, |instance| state::instance(instance, payloads)).await;
    Ok(shown(found.map_err(status::of)?.flatten()))
}

/// Waits until an instance stands as wanted, for as long as the caller does.
pub(super) async fn wait(
    engine: &Engine,
    hub: &str,
    request: &GetInstanceRequest,
    wanted: fn(Stands) -> bool,
) -> Result<GetInstanceResponse, Status> {
    let id = ExecutionId::instance(hub, &request.instance_id);
    let payloads = request.get_inputs_and_outputs;
    let look = |instance: &kernel::durable::instance::Instance| {
        wanted(instance.status).then(|| state::instance(instance, payloads))
    };
    let found = engine.wait_instance(&id, look).await.map_err(status::of)?;
    if found.is_none() && engine.stopped().now_or_never().is_some() {
        return Err(status::closing());
    }
    Ok(shown(found.flatten()))
}

fn shown(state: Option<proto::OrchestrationState>) -> GetInstanceResponse {
    GetInstanceResponse { exists: state.is_some(), orchestration_state: state }
}

/// Tells an instance something. What has ended does not hear it, which is no failure.
pub(super) async fn tell(
    engine: &Engine,
    hub: &str,
    instance_id: &str,
    input: Input,
) -> Result<(), Status> {
    match engine.step(&ExecutionId::instance(hub, instance_id), input).await {
        Ok(()) | Err(Error::Rejected(Rejected::Stale(_))) => Ok(()),
        Err(error) => Err(status::of(error)),
    }
}

/// Lets a failed instance try again what failed.
pub(super) async fn rewind(
    engine: &Engine,
    hub: &str,
    instance_id: &str,
    reason: Option<String>,
) -> Result<(), Status> {
    let input = Input::Rewind { reason: text(reason) };
    let id = ExecutionId::instance(hub, instance_id);
    engine.step(&id, input).await.map_err(status::of)
}

/// Starts again what an instance does; answers the id.
pub(super) async fn restart(
    engine: &Engine,
    hub: &str,
    instance_id: &str,
    with_new_id: bool,
    acts_as: Option<Arc<str>>,
) -> Result<String, Status> {
    let id = ExecutionId::instance(hub, instance_id);
    let restarted = engine.restart_instance(&id, with_new_id, acts_as).await.map_err(status::of)?;
    Ok(restarted.local_name().to_owned())
}
