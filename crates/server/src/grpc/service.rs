//! The methods of the service, each handed to the file that knows it.

use engine::Engine;
use kernel::durable::instance::Input;
use proto::task_hub_sidecar_service_server::TaskHubSidecarService;
use proto::{
    AbandonActivityTaskRequest, AbandonActivityTaskResponse, AbandonEntityTaskRequest,
    AbandonEntityTaskResponse, AbandonOrchestrationTaskRequest, AbandonOrchestrationTaskResponse,
    ActivityResponse, CleanEntityStorageRequest, CleanEntityStorageResponse, CompleteTaskResponse,
    CreateInstanceRequest, CreateInstanceResponse, CreateTaskHubRequest, CreateTaskHubResponse,
    DeleteTaskHubRequest, DeleteTaskHubResponse, EntityBatchResult, GetEntityRequest,
    GetEntityResponse, GetInstanceRequest, GetInstanceResponse, GetWorkItemsRequest,
    ListInstanceIdsRequest, ListInstanceIdsResponse, OrchestratorResponse, PurgeInstancesRequest,
    PurgeInstancesResponse, QueryEntitiesRequest, QueryEntitiesResponse, QueryInstancesRequest,
    QueryInstancesResponse, RaiseEventRequest, RaiseEventResponse, RestartInstanceRequest,
    RestartInstanceResponse, ResumeRequest, ResumeResponse, RewindInstanceRequest,
    RewindInstanceResponse, SignalEntityRequest, SignalEntityResponse,
    SkipGracefulOrchestrationTerminationsRequest, SkipGracefulOrchestrationTerminationsResponse,
    StreamInstanceHistoryRequest, SuspendRequest, SuspendResponse, TerminateRequest,
    TerminateResponse,
};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, async_trait};

use crate::access::{About, Actor, Scope, Why};
use crate::room::Weight;

use super::chunks::Chunks;
use super::completions::CompletionContext;
use super::convert::text;
use super::tokens::Tokens;
use super::{
    caller, completions, entities, histories, instances, listing, removal, status, stream,
};

/// The service over an engine.
pub(super) struct Sidecar {
    engine: Engine,
    ping_every: Duration,
    tokens: Arc<Tokens>,
    chunks: Arc<Chunks>,
}

impl Sidecar {
    pub(super) fn new(engine: Engine, ping_every: Duration) -> Self {
        let tokens = Arc::new(Tokens::new(&engine));
        Self { engine, ping_every, tokens, chunks: Arc::default() }
    }

    /// What a worker of this hub answers is read with.
    fn context<'a>(&'a self, hub: &'a str, scope: &'a Scope) -> CompletionContext<'a> {
        let Self { engine, tokens, chunks, .. } = self;
        CompletionContext { engine, tokens, chunks, hub, scope }
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// The hub of a call, and what it says.
fn open<T>(request: Request<T>) -> (Arc<str>, T) {
    (caller::hub(request.metadata()), request.into_inner())
}

/// What the caller may reach.
fn scope<T>(request: &Request<T>) -> Scope {
    request.extensions().get::<Scope>().cloned().unwrap_or_default()
}

/// As whom what the call starts acts.
fn acts_as<T>(request: &Request<T>) -> Option<Arc<str>> {
    Actor::of(request.extensions()).acts_as()
}

#[expect(clippy::unnecessary_wraps, reason = "every method answers so")]
fn ok<T>(answer: T) -> Answer<T> {
    Ok(Response::new(answer))
}

/// The answer to what was done about an instance, which the audit ledger names.
#[expect(clippy::unnecessary_wraps, reason = "every method answers so")]
fn done<T>(answer: T, instance_id: String) -> Answer<T> {
    let mut answer = Response::new(answer);
    answer.extensions_mut().insert(About(instance_id.into()));
    Ok(answer)
}

/// An answer that may be large: it is kept as it is until the connection has room for it.
#[expect(clippy::unnecessary_wraps, reason = "every method answers so")]
fn large<T: prost::Message>(answer: T) -> Answer<T> {
    let weight = Weight(answer.encoded_len());
    let mut answer = Response::new(answer);
    answer.extensions_mut().insert(weight);
    Ok(answer)
}

#[async_trait]
impl TaskHubSidecarService for Sidecar {
    type GetWorkItemsStream = stream::WorkItems;
    type StreamInstanceHistoryStream = histories::Chunks;

    async fn hello(&self, _: Request<()>) -> Answer<()> {
        ok(())
    }

    async fn start_instance(
        &self,
        request: Request<CreateInstanceRequest>,
    ) -> Answer<CreateInstanceResponse> {
        let caller = instances::caller(request.metadata());
        let acts_as = acts_as(&request);
        let (hub, request) = open(request);
        let instance_id = instances::start(&self.engine, &hub, request, caller, acts_as).await?;
        ok(CreateInstanceResponse { instance_id })
    }

    async fn get_instance(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Answer<GetInstanceResponse> {
        let (hub, request) = open(request);
        large(instances::get(&self.engine, &hub, &request).await?)
    }

    async fn rewind_instance(
        &self,
        request: Request<RewindInstanceRequest>,
    ) -> Answer<RewindInstanceResponse> {
        Why::of(request.extensions()).note(request.get_ref().reason.as_deref());
        let (hub, request) = open(request);
        instances::rewind(&self.engine, &hub, &request.instance_id, request.reason).await?;
        done(RewindInstanceResponse {}, request.instance_id)
    }

    async fn restart_instance(
        &self,
        request: Request<RestartInstanceRequest>,
    ) -> Answer<RestartInstanceResponse> {
        let acts_as = acts_as(&request);
        let (hub, request) = open(request);
        let (id, with_new_id) = (&request.instance_id, request.restart_with_new_instance_id);
        let instance_id = instances::restart(&self.engine, &hub, id, with_new_id, acts_as).await?;
        done(RestartInstanceResponse { instance_id }, request.instance_id)
    }

    async fn wait_for_instance_start(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Answer<GetInstanceResponse> {
        let (hub, request) = open(request);
        let begun = |status| status != kernel::durable::Status::Pending;
        large(instances::wait(&self.engine, &hub, &request, begun).await?)
    }

    async fn wait_for_instance_completion(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Answer<GetInstanceResponse> {
        let (hub, request) = open(request);
        let ended = kernel::durable::Status::is_closed;
        large(instances::wait(&self.engine, &hub, &request, ended).await?)
    }

    async fn raise_event(&self, request: Request<RaiseEventRequest>) -> Answer<RaiseEventResponse> {
        let (hub, request) = open(request);
        let input = Input::Raise { name: request.name.into(), input: text(request.input) };
        instances::tell(&self.engine, &hub, &request.instance_id, input).await?;
        ok(RaiseEventResponse {})
    }

    async fn terminate_instance(
        &self,
        request: Request<TerminateRequest>,
    ) -> Answer<TerminateResponse> {
        let (hub, request) = open(request);
        let (output, recurse) = (text(request.output), request.recursive);
        let input = Input::Terminate { output, recurse, at_once: false };
        instances::tell(&self.engine, &hub, &request.instance_id, input).await?;
        done(TerminateResponse {}, request.instance_id)
    }

    async fn suspend_instance(&self, request: Request<SuspendRequest>) -> Answer<SuspendResponse> {
        Why::of(request.extensions()).note(request.get_ref().reason.as_deref());
        let (hub, request) = open(request);
        let input = Input::Suspend { reason: text(request.reason) };
        instances::tell(&self.engine, &hub, &request.instance_id, input).await?;
        done(SuspendResponse {}, request.instance_id)
    }

    async fn resume_instance(&self, request: Request<ResumeRequest>) -> Answer<ResumeResponse> {
        Why::of(request.extensions()).note(request.get_ref().reason.as_deref());
        let (hub, request) = open(request);
        let input = Input::Resume { reason: text(request.reason) };
        instances::tell(&self.engine, &hub, &request.instance_id, input).await?;
        done(ResumeResponse {}, request.instance_id)
    }

    async fn query_instances(
        &self,
        request: Request<QueryInstancesRequest>,
    ) -> Answer<QueryInstancesResponse> {
        let (hub, request) = open(request);
        large(listing::instances(&self.engine, &hub, request.query.unwrap_or_default()).await?)
    }

    async fn list_instance_ids(
        &self,
        request: Request<ListInstanceIdsRequest>,
    ) -> Answer<ListInstanceIdsResponse> {
        let (hub, request) = open(request);
        large(listing::ids(&self.engine, &hub, request).await?)
    }

    async fn purge_instances(
        &self,
        request: Request<PurgeInstancesRequest>,
    ) -> Answer<PurgeInstancesResponse> {
        let (hub, request) = open(request);
        ok(removal::purge(&self.engine, &hub, request).await?)
    }

    async fn get_work_items(
        &self,
        request: Request<GetWorkItemsRequest>,
    ) -> Answer<Self::GetWorkItemsStream> {
        let (tokens, chunks) = (self.tokens.clone(), self.chunks.clone());
        let feeder = stream::Feeder { engine: self.engine.clone(), tokens, chunks };
        ok(stream::open(feeder, self.ping_every, request)?)
    }

    async fn complete_activity_task(
        &self,
        request: Request<ActivityResponse>,
    ) -> Answer<CompleteTaskResponse> {
        let scope = scope(&request);
        let (hub, answer) = open(request);
        completions::activity(self.context(&hub, &scope), answer).await?;
        ok(CompleteTaskResponse {})
    }

    async fn complete_orchestrator_task(
        &self,
        request: Request<OrchestratorResponse>,
    ) -> Answer<CompleteTaskResponse> {
        let scope = scope(&request);
        let (hub, answer) = open(request);
        completions::turn(self.context(&hub, &scope), answer).await?;
        ok(CompleteTaskResponse {})
    }

    async fn complete_entity_task(
        &self,
        request: Request<EntityBatchResult>,
    ) -> Answer<CompleteTaskResponse> {
        let scope = scope(&request);
        let (hub, answer) = open(request);
        completions::batch(self.context(&hub, &scope), answer).await?;
        ok(CompleteTaskResponse {})
    }

    async fn stream_instance_history(
        &self,
        request: Request<StreamInstanceHistoryRequest>,
    ) -> Answer<Self::StreamInstanceHistoryStream> {
        let (hub, request) = open(request);
        ok(histories::stream(&self.engine, &hub, &request).await?)
    }

    async fn create_task_hub(
        &self,
        request: Request<CreateTaskHubRequest>,
    ) -> Answer<CreateTaskHubResponse> {
        // A hub is there as soon as somebody names it.
        let (hub, request) = open(request);
        if request.recreate_if_exists {
            self.engine.clear_hub(&hub).await.map_err(status::of)?;
        }
        ok(CreateTaskHubResponse {})
    }

    async fn delete_task_hub(
        &self,
        request: Request<DeleteTaskHubRequest>,
    ) -> Answer<DeleteTaskHubResponse> {
        let (hub, _) = open(request);
        self.engine.clear_hub(&hub).await.map_err(status::of)?;
        ok(DeleteTaskHubResponse {})
    }

    async fn signal_entity(
        &self,
        request: Request<SignalEntityRequest>,
    ) -> Answer<SignalEntityResponse> {
        let acts_as = acts_as(&request);
        let (hub, request) = open(request);
        entities::signal(&self.engine, &hub, request, acts_as).await?;
        ok(SignalEntityResponse {})
    }

    async fn get_entity(&self, request: Request<GetEntityRequest>) -> Answer<GetEntityResponse> {
        let (hub, request) = open(request);
        large(entities::get(&self.engine, &hub, &request).await?)
    }

    async fn query_entities(
        &self,
        request: Request<QueryEntitiesRequest>,
    ) -> Answer<QueryEntitiesResponse> {
        let (hub, request) = open(request);
        large(listing::entities(&self.engine, &hub, request.query.unwrap_or_default()).await?)
    }

    async fn clean_entity_storage(
        &self,
        request: Request<CleanEntityStorageRequest>,
    ) -> Answer<CleanEntityStorageResponse> {
        let (hub, request) = open(request);
        ok(entities::clean(&self.engine, &hub, &request).await?)
    }

    async fn abandon_task_activity_work_item(
        &self,
        request: Request<AbandonActivityTaskRequest>,
    ) -> Answer<AbandonActivityTaskResponse> {
        let scope = scope(&request);
        let (hub, request) = open(request);
        completions::abandon(self.context(&hub, &scope), &request.completion_token).await?;
        ok(AbandonActivityTaskResponse {})
    }

    async fn abandon_task_orchestrator_work_item(
        &self,
        request: Request<AbandonOrchestrationTaskRequest>,
    ) -> Answer<AbandonOrchestrationTaskResponse> {
        let scope = scope(&request);
        let (hub, request) = open(request);
        completions::abandon(self.context(&hub, &scope), &request.completion_token).await?;
        ok(AbandonOrchestrationTaskResponse {})
    }

    async fn abandon_task_entity_work_item(
        &self,
        request: Request<AbandonEntityTaskRequest>,
    ) -> Answer<AbandonEntityTaskResponse> {
        let scope = scope(&request);
        let (hub, request) = open(request);
        completions::abandon(self.context(&hub, &scope), &request.completion_token).await?;
        ok(AbandonEntityTaskResponse {})
    }

    async fn skip_graceful_orchestration_terminations(
        &self,
        request: Request<SkipGracefulOrchestrationTerminationsRequest>,
    ) -> Answer<SkipGracefulOrchestrationTerminationsResponse> {
        let (hub, request) = open(request);
        let unterminated_instance_ids = removal::end_at_once(&self.engine, &hub, request).await?;
        ok(SkipGracefulOrchestrationTerminationsResponse { unterminated_instance_ids })
    }
}
