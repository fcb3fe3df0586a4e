//! The durable task protocol, called in process: streams of work, and starts whose id is taken.

use std::time::Duration;

use axum::Router;
use proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use proto::work_item::Request;
use proto::{
    CreateInstanceRequest, CreateOrchestrationAction, GetInstanceRequest, GetWorkItemsRequest,
    InstanceBatch, OrchestrationIdReusePolicy, OrchestrationStatus,
    SkipGracefulOrchestrationTerminationsRequest, WorkItem,
};
use tonic::{Code, Status, Streaming};

use crate::support::Server;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

type Client = TaskHubSidecarServiceClient<Router>;

fn client(server: &Server) -> Client {
    TaskHubSidecarServiceClient::new(server.router())
}

async fn work(client: &mut Client) -> Streaming<WorkItem> {
    let items = client.get_work_items(GetWorkItemsRequest::default()).await;
    items.expect("anybody may attend").into_inner()
}

async fn next(items: &mut Streaming<WorkItem>) -> WorkItem {
    let item = tokio::time::timeout(PATIENCE, items.message()).await;
    item.expect("something comes in time").expect("the stream lives").expect("it does not end")
}

/// The instance whose turn comes next, and the token of the turn.
async fn turn(items: &mut Streaming<WorkItem>) -> (String, String) {
    loop {
        let item = next(items).await;
        if let Some(Request::OrchestratorRequest(turn)) = item.request {
            return (turn.instance_id, item.completion_token);
        }
    }
}

async fn start(
    client: &mut Client,
    id: &str,
    input: &str,
    policy: Option<OrchestrationIdReusePolicy>,
) -> Result<String, Status> {
    let request = CreateInstanceRequest {
        instance_id: id.to_owned(),
        name: "orchestrator".to_owned(),
        input: Some(input.to_owned()),
        orchestration_id_reuse_policy: policy,
        ..CreateInstanceRequest::default()
    };
    Ok(client.start_instance(request).await?.into_inner().instance_id)
}

#[tokio::test]
async fn a_stream_says_that_it_lives_between_what_it_brings() {
    let server = Server::new().await.with_pings_every(Duration::from_millis(5));
    let mut client = client(&server);
    let mut items = work(&mut client).await;
    for id in ["one", "two"] {
        for _ in 0..3 {
            let item = next(&mut items).await;
            assert!(matches!(item.request, Some(Request::HealthPing(_))), "{item:?}");
            assert_eq!(item.completion_token, "");
        }
        start(&mut client, id, "1", None).await.unwrap();
        assert_eq!(turn(&mut items).await.0, id);
    }
}

#[tokio::test]
async fn a_stream_that_ends_gives_back_what_it_brought() {
    let mut client = client(&Server::new().await);
    start(&mut client, "one", "1", None).await.unwrap();
    let mut first = work(&mut client).await;
    let (_, token) = turn(&mut first).await;
    let mut second = work(&mut client).await;
    drop(first);
    let (id, again) = turn(&mut second).await;
    assert_eq!(id, "one");
    assert_ne!(token, "");
    assert_ne!(again, "");
}

#[tokio::test]
async fn an_id_that_is_taken_is_used_again_as_the_policy_says() {
    use CreateOrchestrationAction::{Error, Ignore, Terminate};
    use OrchestrationStatus::{Pending, Running, Terminated};
    let (again, stays) = (Ok("new"), Ok("old"));
    let (exists, invalid) = (Err(Code::AlreadyExists), Err(Code::InvalidArgument));
    // Whether the former has ended, what the client says, and whose input the instance then has.
    let cases = [
        (true, None, again),
        (false, None, exists),
        (true, Some((Error, vec![])), exists),
        (true, Some((Error, vec![Terminated])), again),
        (false, Some((Error, vec![Terminated])), exists),
        (false, Some((Error, vec![Pending, Terminated])), again),
        (false, Some((Error, vec![Pending])), invalid),
        // As clients of an older protocol ask.
        (false, Some((Ignore, vec![Running, Pending])), stays),
        (true, Some((Ignore, vec![Running, Terminated])), stays),
        (true, Some((Ignore, vec![Running, Pending])), exists),
        (false, Some((Terminate, vec![Running, Pending])), again),
        (false, Some((Terminate, vec![Running])), exists),
    ];
    let mut client = client(&Server::new().await);
    for (number, (has_ended, policy, expected)) in cases.into_iter().enumerate() {
        let (id, case) = (format!("case-{number}"), format!("{has_ended} {policy:?}"));
        start(&mut client, &id, "old", None).await.expect("the id is free");
        if has_ended {
            let instance_batch = Some(InstanceBatch { instance_ids: vec![id.clone()] });
            let end = SkipGracefulOrchestrationTerminationsRequest { instance_batch, reason: None };
            let left = client.skip_graceful_orchestration_terminations(end).await.unwrap();
            assert!(left.into_inner().unterminated_instance_ids.is_empty(), "{case}");
        }
        let policy = policy.map(|(action, listed)| OrchestrationIdReusePolicy {
            replaceable_status: listed.into_iter().map(i32::from).collect(),
            action: action.into(),
        });
        match (start(&mut client, &id, "new", policy).await, expected) {
            (Ok(started), Ok(_)) => assert_eq!(started, id, "{case}"),
            (Err(status), Err(code)) => {
                assert_eq!(status.code(), code, "{case}: {status:?}");
                let says = status.message().contains("orchestration instance already exists");
                assert_eq!(says, code == Code::AlreadyExists, "{case}: {status:?}");
            }
            (found, _) => panic!("{case}: {found:?}, not {expected:?}"),
        }
        let get = GetInstanceRequest { instance_id: id, get_inputs_and_outputs: true };
        let found = client.get_instance(get).await.unwrap().into_inner();
        let input = found.orchestration_state.and_then(|state| state.input);
        assert_eq!(input.as_deref(), Some(expected.unwrap_or("old")), "{case}");
    }
}
