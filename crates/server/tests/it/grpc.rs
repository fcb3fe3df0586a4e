//! The durable task protocol, called in process: lists, purges and work as the messages say it.

use std::time::Duration;

use prost::Message as _;
use proto::purge_instances_request::Request as Which;
use proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use proto::work_item::Request as Work;
use proto::{
    CreateInstanceRequest, EntityBatchResult, EntityQuery, GetInstanceRequest, GetWorkItemsRequest,
    InstanceBatch, InstanceQuery, ListInstanceIdsRequest, OperationResult, OperationResultSuccess,
    OrchestrationStatus, OrchestratorResponse, PurgeInstanceFilter, PurgeInstancesRequest,
    QueryEntitiesRequest, QueryInstancesRequest, RaiseEventRequest, SignalEntityRequest,
    SkipGracefulOrchestrationTerminationsRequest, WorkItem, WorkerCapability, operation_result,
};
use tonic::{Code, Request, Streaming};

use crate::support::Server;

/// How long work may take to come on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// What SDKs take in one message.
const MESSAGE_MAX: usize = 4 << 20;

type Client = TaskHubSidecarServiceClient<axum::Router>;

fn client(server: &Server) -> Client {
    TaskHubSidecarServiceClient::new(server.router())
}

async fn start(client: &mut Client, id: &str) {
    let name = "o".to_owned();
    let instance_id = id.to_owned();
    let request = CreateInstanceRequest { instance_id, name, ..CreateInstanceRequest::default() };
    client.start_instance(request).await.expect("it is started");
}

/// Starts instances and ends them.
async fn ended(client: &mut Client, ids: &[&str]) {
    for id in ids {
        start(client, id).await;
    }
    let instance_ids = ids.iter().map(|id| (*id).to_owned()).collect();
    let request = SkipGracefulOrchestrationTerminationsRequest {
        instance_batch: Some(InstanceBatch { instance_ids }),
        reason: None,
    };
    let left = client.skip_graceful_orchestration_terminations(request).await.expect("ended");
    assert_eq!(left.into_inner().unterminated_instance_ids, Vec::<String>::new());
}

async fn purge(client: &mut Client, which: Which) -> Result<i32, tonic::Status> {
    let request =
        PurgeInstancesRequest { request: Some(which), ..PurgeInstancesRequest::default() };
    Ok(client.purge_instances(request).await?.into_inner().deleted_instance_count)
}

async fn query(
    client: &mut Client,
    query: InstanceQuery,
) -> Result<(Vec<String>, Option<String>), tonic::Status> {
    let page = client.query_instances(QueryInstancesRequest { query: Some(query) }).await?;
    let page = page.into_inner();
    let ids = page.orchestration_state.into_iter().map(|one| one.instance_id).collect();
    Ok((ids, page.continuation_token))
}

#[tokio::test]
async fn pages_lose_nothing_when_what_they_showed_is_purged() {
    let server = Server::new().await;
    let mut client = client(&server);
    let all = ["a:1", "b", "c", "d", "e", "f", "g"];
    ended(&mut client, &all).await;
    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let wanted = InstanceQuery {
            runtime_status: vec![OrchestrationStatus::Terminated.into()],
            max_instance_count: 2,
            continuation_token: token,
            ..InstanceQuery::default()
        };
        let (page, next) = query(&mut client, wanted).await.expect("a page");
        assert!(!page.is_empty() || next.is_none(), "no page but the last is empty");
        for id in page {
            assert_eq!(purge(&mut client, Which::InstanceId(id.clone())).await.ok(), Some(1));
            seen.push(id);
        }
        token = next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, all, "the oldest first");

    ended(&mut client, &all).await;
    let (mut seen, mut key) = (Vec::new(), None);
    loop {
        let request = ListInstanceIdsRequest {
            page_size: 3,
            last_instance_key: key,
            ..ListInstanceIdsRequest::default()
        };
        let page = client.list_instance_ids(request).await.expect("a page").into_inner();
        for id in page.instance_ids {
            purge(&mut client, Which::InstanceId(id.clone())).await.expect("it is purged");
            seen.push(id);
        }
        key = page.last_instance_key;
        if key.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn pages_of_entities_lose_nothing_either() {
    let server = Server::new().await;
    let mut client = client(&server);
    let all = ["@a@1", "@a@2", "@b@1", "@c@ü", "@c@z"];
    for id in all {
        let (instance_id, name) = (id.to_owned(), "op".to_owned());
        let request = SignalEntityRequest { instance_id, name, ..SignalEntityRequest::default() };
        client.signal_entity(request).await.expect("it is told");
    }
    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let wanted = EntityQuery {
            include_transient: true,
            page_size: Some(2),
            continuation_token: token,
            ..EntityQuery::default()
        };
        let request = QueryEntitiesRequest { query: Some(wanted) };
        let page = client.query_entities(request).await.expect("a page").into_inner();
        for entity in page.entities {
            let id = entity.instance_id;
            purge(&mut client, Which::InstanceId(id.clone())).await.expect("it is purged");
            seen.push(id);
        }
        token = page.continuation_token;
        if token.is_none() {
            break;
        }
    }
    seen.sort_unstable();
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    assert_eq!(seen, sorted);
}

#[tokio::test]
async fn queries_mean_what_they_say() {
    let server = Server::new().await;
    let mut client = client(&server);
    ended(&mut client, &["far", "f*r", "near"]).await;
    let begins = |prefix: &str| InstanceQuery {
        instance_id_prefix: Some(prefix.to_owned()),
        ..InstanceQuery::default()
    };
    for (prefix, found) in [("f*", vec!["f*r"]), ("*", vec![]), ("f", vec!["far", "f*r"])] {
        let (mut ids, _) = query(&mut client, begins(prefix)).await.expect("a page");
        ids.sort_unstable_by_key(|id| std::cmp::Reverse(id.clone()));
        assert_eq!(ids, found, "{prefix}");
    }
    // A status that there is not is no wish for all.
    let wanted = InstanceQuery { runtime_status: vec![77], ..InstanceQuery::default() };
    let refused = query(&mut client, wanted).await.expect_err("it is refused");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let filter = PurgeInstanceFilter { runtime_status: vec![77], ..PurgeInstanceFilter::default() };
    let refused = purge(&mut client, Which::PurgeInstanceFilter(filter)).await;
    assert_eq!(refused.expect_err("it is refused").code(), Code::InvalidArgument);
    for token in ["mine", "mine:x", "99999999999999999999:x"] {
        let continuation_token = Some(token.to_owned());
        let wanted = InstanceQuery { continuation_token, ..InstanceQuery::default() };
        let refused = query(&mut client, wanted).await.expect_err(token);
        assert_eq!(refused.code(), Code::InvalidArgument, "{token}");
    }
    let (ids, token) = query(&mut client, InstanceQuery::default()).await.expect("a page");
    assert_eq!((ids.len(), token), (3, None));
}

#[tokio::test]
async fn a_worker_of_a_hub_that_cannot_be_is_told_so() {
    let server = Server::new().await;
    let mut request = Request::new(GetWorkItemsRequest::default());
    request.metadata_mut().insert("taskhub", "a b".parse().expect("a header"));
    let refused = client(&server).get_work_items(request).await.expect_err("it is refused");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("'a b' cannot be the name of a task hub"), "{refused}");
}

/// A worker whose histories come in a stream of their own.
async fn attend(client: &mut Client) -> Streaming<WorkItem> {
    let request = GetWorkItemsRequest {
        capabilities: vec![WorkerCapability::HistoryStreaming.into()],
        ..GetWorkItemsRequest::default()
    };
    client.get_work_items(request).await.expect("a stream").into_inner()
}

async fn next(items: &mut Streaming<WorkItem>) -> WorkItem {
    let item = tokio::time::timeout(PATIENCE, items.message()).await;
    let item = item.expect("work comes soon").expect("the stream lives").expect("it goes on");
    assert!(item.encoded_len() <= MESSAGE_MAX, "{} bytes", item.encoded_len());
    item
}

#[tokio::test]
async fn what_waits_for_a_worker_never_exceeds_a_message() {
    let server = Server::new().await;
    let mut client = client(&server);
    start(&mut client, "i").await;
    let payload = "x".repeat(900_000);
    for number in 0..8 {
        let request = RaiseEventRequest {
            instance_id: "i".to_owned(),
            name: format!("event {number}"),
            input: Some(payload.clone()),
        };
        client.raise_event(request).await.expect("it is told");
    }
    for _ in 0..8 {
        let request = SignalEntityRequest {
            instance_id: "@list@k".to_owned(),
            name: "add".to_owned(),
            input: Some(payload.clone()),
            ..SignalEntityRequest::default()
        };
        client.signal_entity(request).await.expect("it is told");
    }
    let mut items = attend(&mut client).await;
    let (mut events, mut operations) = (0, 0);
    while events < 8 || operations < 8 {
        let item = next(&mut items).await;
        let completion_token = item.completion_token;
        match item.request.expect("work") {
            Work::OrchestratorRequest(turn) => {
                let is_event = |event: &&proto::HistoryEvent| {
                    matches!(
                        event.event_type,
                        Some(proto::history_event::EventType::EventRaised(_))
                    )
                };
                events += turn.new_events.iter().filter(is_event).count();
                let answer = OrchestratorResponse {
                    instance_id: turn.instance_id,
                    completion_token,
                    ..OrchestratorResponse::default()
                };
                client.complete_orchestrator_task(answer).await.expect("it is taken");
            }
            Work::EntityRequestV2(batch) => {
                operations += batch.operation_requests.len();
                let success = OperationResultSuccess::default();
                let result_type = Some(operation_result::ResultType::Success(success));
                let results = vec![OperationResult { result_type }; batch.operation_requests.len()];
                let answer = EntityBatchResult {
                    completion_token,
                    results,
                    entity_state: Some("1".to_owned()),
                    ..EntityBatchResult::default()
                };
                client.complete_entity_task(answer).await.expect("it is taken");
            }
            other => panic!("{other:?}"),
        }
    }
    let request = GetInstanceRequest { instance_id: "i".to_owned(), get_inputs_and_outputs: true };
    let state = client.get_instance(request).await.expect("it is there").into_inner();
    let status = state.orchestration_state.expect("it is there").orchestration_status;
    assert_eq!(status, i32::from(OrchestrationStatus::Running));
}

/// Takes the next turn and answers it.
async fn take_turn(
    client: &mut Client,
    items: &mut Streaming<WorkItem>,
    custom_status: Option<String>,
    output: Option<String>,
) -> proto::OrchestratorRequest {
    let item = next(items).await;
    let Some(Work::OrchestratorRequest(turn)) = item.request else { panic!("no turn") };
    let end = output.map(|result| proto::OrchestratorAction {
        id: 1,
        orchestrator_action_type: Some(
            proto::orchestrator_action::OrchestratorActionType::CompleteOrchestration(
                proto::CompleteOrchestrationAction {
                    orchestration_status: OrchestrationStatus::Completed.into(),
                    result: Some(result),
                    ..proto::CompleteOrchestrationAction::default()
                },
            ),
        ),
    });
    let answer = OrchestratorResponse {
        completion_token: item.completion_token,
        actions: end.into_iter().collect(),
        custom_status,
        ..OrchestratorResponse::default()
    };
    client.complete_orchestrator_task(answer).await.expect("it is taken");
    turn
}

#[tokio::test]
async fn an_instance_that_is_larger_than_a_message_hides_no_other() {
    let server = Server::new().await;
    let mut client = client(&server);
    let large = |letter: &str| letter.repeat(3 << 20);
    let mut items = attend(&mut client).await;
    for id in ["large", "small"] {
        let input = Some(if id == "large" { large("i") } else { "1".to_owned() });
        let (instance_id, name) = (id.to_owned(), "o".to_owned());
        let request =
            CreateInstanceRequest { instance_id, name, input, ..CreateInstanceRequest::default() };
        client.start_instance(request).await.expect("it is started");
        let (custom, output) = match id {
            "large" => (Some(large("c")), large("o")),
            _ => (None, "2".to_owned()),
        };
        take_turn(&mut client, &mut items, custom, Some(output)).await;
    }
    let wanted = InstanceQuery { fetch_inputs_and_outputs: true, ..InstanceQuery::default() };
    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let query = InstanceQuery { continuation_token: token, ..wanted.clone() };
        let page = client.query_instances(QueryInstancesRequest { query: Some(query) }).await;
        let page = page.expect("a page").into_inner();
        assert!(page.encoded_len() <= MESSAGE_MAX, "{} bytes", page.encoded_len());
        seen.extend(page.orchestration_state);
        token = page.continuation_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 2);
    let state = &seen[0];
    assert_eq!(state.output.as_ref().map(String::len), Some(3 << 20), "the output is whole");
    for (what, payload) in [("input", &state.input), ("custom status", &state.custom_status)] {
        let words: String = serde_json::from_str(payload.as_deref().unwrap()).expect("JSON");
        assert!(words.contains(&format!("the {what} of 3145728 bytes is left out")), "{words}");
    }
    let request =
        GetInstanceRequest { instance_id: "large".to_owned(), get_inputs_and_outputs: true };
    for answer in [
        client.get_instance(request.clone()).await,
        client.wait_for_instance_completion(request).await,
    ] {
        let answer = answer.expect("an answer").into_inner();
        assert_eq!(answer.orchestration_state.as_ref(), Some(state));
    }
}

#[tokio::test]
async fn whoever_waits_may_come_before_the_instance() {
    let server = Server::new().await;
    let mut client = client(&server);
    let mut items = attend(&mut client).await;
    let mut waiter = self::client(&server);
    let request = GetInstanceRequest { instance_id: "i".to_owned(), get_inputs_and_outputs: true };
    let waits = waiter.wait_for_instance_completion(request);
    let work = async {
        start(&mut client, "i").await;
        take_turn(&mut client, &mut items, None, Some("7".to_owned())).await
    };
    let (ended, turn) = tokio::time::timeout(PATIENCE, async { tokio::join!(waits, work) })
        .await
        .expect("it ends soon");
    let ended = ended.expect("an answer").into_inner().orchestration_state.expect("it is there");
    assert_eq!(ended.output.as_deref(), Some("7"));
    let numbers: Vec<i32> = turn.new_events.iter().map(|event| event.event_id).collect();
    assert_eq!(numbers, [-1, -1], "what no action made bears no number");
    let request = proto::StreamInstanceHistoryRequest {
        instance_id: "i".to_owned(),
        ..proto::StreamInstanceHistoryRequest::default()
    };
    let mut history = client.stream_instance_history(request).await.expect("it is").into_inner();
    let chunk = history.message().await.expect("a chunk").expect("one at least");
    let numbers: Vec<i32> = chunk.events.iter().map(|event| event.event_id).collect();
    assert_eq!(numbers, [-1, 0, 1], "a client sees the event that begins it as number 0");
}
