//! The durable task protocol: the `TaskHubSidecarService` over gRPC, on the port of all the rest.
//!
//! Clients start instances, steer them and look at them; workers hold a stream of work items open
//! and answer each item with a call of its own. Task hubs keep instances apart; callers who name
//! none share one. The paths are those of the protocol, which has no package:
//! `/TaskHubSidecarService/METHOD`.

mod caller;
mod chunks;
mod completions;
mod convert;
mod entities;
mod histories;
mod instances;
mod items;
mod listing;
mod removal;
mod service;
mod status;
mod stream;
mod tokens;
pub(crate) mod workers;

use axum::Router;
use std::sync::Arc;

use axum::http::HeaderMap;
use kernel::access::{Need, Permission, Resource};
use proto::task_hub_sidecar_service_server::TaskHubSidecarServiceServer;

use crate::access::{Required, Scope};
use crate::problem::Problem;
use crate::{Api, Shared};
use service::Sidecar;

/// The path of all methods.
pub(crate) const METHODS: &str = "/TaskHubSidecarService/{method}";

/// How many times the largest request of the other protocols a message may be: a turn's answer
/// carries many payloads, and each is weighed by itself later.
const MESSAGE_FACTOR: usize = 4;

/// The routes of the service, for the router of everything else.
pub(crate) fn routes(api: &Api) -> Router<Shared> {
    let bytes_max = api.settings.body_max.saturating_mul(MESSAGE_FACTOR);
    let sidecar = Sidecar::new(api.engine.clone(), api.settings.ping_every);
    let server = TaskHubSidecarServiceServer::new(sidecar).max_decoding_message_size(bytes_max);
    Router::new().route_service(METHODS, server)
}

/// What a call of a method needs, by the path of the call; `None` for what is no method of the service,
/// which nobody may call.
pub(crate) fn required(path: &str) -> Option<Required> {
    let (_, method) = path.rsplit_once('/')?;
    let need = match method {
        "Hello" => Need::Anyone,
        "CreateTaskHub" | "DeleteTaskHub" => Permission::Admin.into(),
        _ => in_hub(method)?.within(&[Resource::Hub]),
    };
    Some(Required { need, is_written: is_written(method) })
}

/// Whether the audit ledger tells of a method: of what people do about instances, and of what removes
/// something.
fn is_written(method: &str) -> bool {
    matches!(
        method,
        "TerminateInstance"
            | "SuspendInstance"
            | "ResumeInstance"
            | "RewindInstance"
            | "RestartInstance"
            | "PurgeInstances"
            | "CleanEntityStorage"
            | "CreateTaskHub"
            | "DeleteTaskHub"
    )
}

/// The task hub that the metadata of a call names.
pub(crate) fn hub_of(headers: &HeaderMap) -> Arc<str> {
    caller::hub(&tonic::metadata::MetadataMap::from_headers(headers.clone()))
}

/// Checks that the hub of a call is within reach: every method is about things of one hub only.
///
/// # Errors
/// 403 if it is not.
pub(crate) fn check_hub(headers: &HeaderMap, scope: &Scope) -> Result<(), Problem> {
    if scope.is_all() { Ok(()) } else { scope.must_cover_hub(&hub_of(headers)) }
}

/// What a method needs on its hub.
fn in_hub(method: &str) -> Option<Need> {
    Some(match method {
        "GetInstance"
        | "WaitForInstanceStart"
        | "WaitForInstanceCompletion"
        | "QueryInstances"
        | "ListInstanceIds"
        | "GetEntity"
        | "QueryEntities" => Permission::Read.into(),
        // Workers read long histories by it.
        "StreamInstanceHistory" => Permission::Read | Permission::Work,
        "StartInstance"
        | "RewindInstance"
        | "RestartInstance"
        | "RaiseEvent"
        | "TerminateInstance"
        | "SuspendInstance"
        | "ResumeInstance"
        | "SignalEntity"
        | "SkipGracefulOrchestrationTerminations" => Permission::Run.into(),
        "GetWorkItems"
        | "CompleteActivityTask"
        | "CompleteOrchestratorTask"
        | "CompleteEntityTask"
        | "AbandonTaskActivityWorkItem"
        | "AbandonTaskOrchestratorWorkItem"
        | "AbandonTaskEntityWorkItem" => Permission::Work.into(),
        "PurgeInstances" | "CleanEntityStorage" => Permission::Edit.into(),
        _ => return None,
    })
}
