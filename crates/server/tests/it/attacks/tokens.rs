//! Completion tokens that were forged, altered or given to another task hub, answers that nobody
//! finishes, and messages that cannot be read.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request as HttpRequest;
use proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use proto::work_item::Request as Work;
use proto::{
    AbandonActivityTaskRequest, AbandonEntityTaskRequest, AbandonOrchestrationTaskRequest,
    ActivityResponse, CompleteOrchestrationAction, CreateInstanceRequest, EntityBatchResult,
    GetInstanceRequest, GetWorkItemsRequest, OrchestrationStatus, OrchestratorAction,
    OrchestratorResponse, ScheduleTaskAction, SignalEntityRequest, WorkItem,
    orchestrator_action::OrchestratorActionType,
};
use tonic::{Code, Request, Status, Streaming};
use tower::ServiceExt;

use crate::support::Server;

const PATIENCE: Duration = Duration::from_secs(30);

type Client = TaskHubSidecarServiceClient<Router>;

fn client(server: &Server) -> Client {
    TaskHubSidecarServiceClient::new(server.router())
}

/// A call that speaks for a task hub.
fn of<T>(hub: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("taskhub", hub.parse().expect("a header"));
    request
}

async fn attend(client: &mut Client, hub: &str) -> Streaming<WorkItem> {
    let request = of(hub, GetWorkItemsRequest::default());
    client.get_work_items(request).await.expect("a stream").into_inner()
}

async fn next(items: &mut Streaming<WorkItem>) -> WorkItem {
    let item = tokio::time::timeout(PATIENCE, items.message()).await;
    item.expect("work comes soon").expect("the stream lives").expect("it goes on")
}

async fn start(client: &mut Client, hub: &str, id: &str) {
    let (instance_id, name) = (id.to_owned(), "o".to_owned());
    let request = CreateInstanceRequest { instance_id, name, ..CreateInstanceRequest::default() };
    client.start_instance(of(hub, request)).await.expect("it is started");
}

fn ends(token: &str, output: &str) -> OrchestratorResponse {
    let end = CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Completed.into(),
        result: Some(output.to_owned()),
        ..CompleteOrchestrationAction::default()
    };
    let kind = OrchestratorActionType::CompleteOrchestration(end);
    OrchestratorResponse {
        completion_token: token.to_owned(),
        actions: vec![OrchestratorAction { id: 1, orchestrator_action_type: Some(kind) }],
        ..OrchestratorResponse::default()
    }
}

async fn output(client: &mut Client, hub: &str, id: &str) -> Option<String> {
    let request = GetInstanceRequest { instance_id: id.to_owned(), get_inputs_and_outputs: true };
    let found = client.get_instance(of(hub, request)).await.expect("an answer").into_inner();
    found.orchestration_state.expect("it is there").output
}

/// A turn, an activity and a batch that a worker of this hub was given.
async fn tokens(client: &mut Client, hub: &str) -> (Streaming<WorkItem>, [String; 3]) {
    let mut items = attend(client, hub).await;
    start(client, hub, "victim").await;
    let token = next(&mut items).await.completion_token;
    let task = ScheduleTaskAction { name: "act".to_owned(), ..ScheduleTaskAction::default() };
    let kind = Some(OrchestratorActionType::ScheduleTask(task));
    let answer = OrchestratorResponse {
        completion_token: token,
        actions: vec![OrchestratorAction { id: 1, orchestrator_action_type: kind }],
        ..OrchestratorResponse::default()
    };
    client.complete_orchestrator_task(of(hub, answer)).await.expect("it is taken");
    let activity = next(&mut items).await.completion_token;
    start(client, hub, "other").await;
    let turn = next(&mut items).await.completion_token;
    let signal = SignalEntityRequest {
        instance_id: "@counter@a".to_owned(),
        name: "add".to_owned(),
        ..SignalEntityRequest::default()
    };
    client.signal_entity(of(hub, signal)).await.expect("it is told");
    let batch = next(&mut items).await.completion_token;
    (items, [turn, activity, batch])
}

/// Says all that can be said with a token; every answer must be this.
async fn refused(client: &mut Client, hub: &str, token: &str, code: Code) {
    let given = || token.to_owned();
    let turn = client.complete_orchestrator_task(of(hub, ends(token, "\"forged\""))).await;
    let activity = ActivityResponse { completion_token: given(), ..ActivityResponse::default() };
    let activity = client.complete_activity_task(of(hub, activity)).await;
    let batch = EntityBatchResult { completion_token: given(), ..EntityBatchResult::default() };
    let batch = client.complete_entity_task(of(hub, batch)).await;
    let abandon = AbandonOrchestrationTaskRequest { completion_token: given() };
    let first = client.abandon_task_orchestrator_work_item(of(hub, abandon)).await;
    let abandon = AbandonActivityTaskRequest { completion_token: given() };
    let second = client.abandon_task_activity_work_item(of(hub, abandon)).await;
    let abandon = AbandonEntityTaskRequest { completion_token: given() };
    let third = client.abandon_task_entity_work_item(of(hub, abandon)).await;
    let answers: [Option<Status>; 6] =
        [turn.err(), activity.err(), batch.err(), first.err(), second.err(), third.err()];
    for (number, answer) in answers.into_iter().enumerate() {
        let status = answer.unwrap_or_else(|| panic!("answer {number} to '{token}' was taken"));
        assert_eq!(status.code(), code, "answer {number} to '{token}': {status}");
    }
}

#[tokio::test]
async fn a_token_counts_in_its_own_task_hub_alone() {
    let server = Server::new().await;
    let mut client = client(&server);
    let (_items, given) = tokens(&mut client, "hub-b").await;
    for token in &given {
        refused(&mut client, "hub-a", token, Code::PermissionDenied).await;
        refused(&mut client, "default", token, Code::PermissionDenied).await;
    }
    let answer = of("hub-b", ends(&given[0], "\"mine\""));
    client.complete_orchestrator_task(answer).await.expect("it is taken");
    assert_eq!(output(&mut client, "hub-b", "other").await.as_deref(), Some("\"mine\""));
}

#[tokio::test]
async fn a_forged_token_counts_nowhere() {
    let server = Server::new().await;
    let mut client = client(&server);
    let (_items, given) = tokens(&mut client, "hub").await;
    let stranger = Server::new().await;
    let mut strange = self::client(&stranger);
    let (_others, foreign) = tokens(&mut strange, "hub").await;
    for (mine, other) in given.iter().zip(&foreign) {
        let (proof, text) = mine.split_once('.').expect("a proof and a text");
        let (wrong, _) = other.split_once('.').expect("a proof and a text");
        let forged = [
            // As the engine writes it, and as builds before this one handed it out.
            text.to_owned(),
            format!(".{text}"),
            format!("{wrong}.{text}"),
            format!("{}.{text}", &proof[..proof.len() - 2]),
            format!("{proof}.{}", text.replace("victim", "other").replace("counter", "tank")),
            format!("{proof}.{text}0"),
            other.clone(),
            "x".repeat(100_000),
        ];
        for token in forged.iter().filter(|token| *token != mine) {
            refused(&mut client, "hub", token, Code::InvalidArgument).await;
        }
    }
    assert_eq!(output(&mut client, "hub", "other").await, None);
}

#[tokio::test]
async fn unfinished_answers_are_kept_for_turns_that_are_out_alone() {
    let server = Server::new().await;
    let mut client = client(&server);
    let mut items = attend(&mut client, "hub").await;
    start(&mut client, "hub", "i").await;
    let token = next(&mut items).await.completion_token;
    let chunk = |index, is_partial| OrchestratorResponse {
        is_partial,
        chunk_index: Some(index),
        ..ends(&token, "\"done\"")
    };
    let mut forged = chunk(0, true);
    forged.completion_token = "t.life.0.1.0.instance:hub:i".to_owned();
    let status = client.complete_orchestrator_task(of("hub", forged)).await.expect_err("forged");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    client.complete_orchestrator_task(of("hub", chunk(0, true))).await.expect("it is kept");
    // Its worker goes away, and what it has begun to say is worth nothing.
    drop(items);
    let mut items = attend(&mut client, "hub").await;
    let again = next(&mut items).await;
    assert!(matches!(again.request, Some(Work::OrchestratorRequest(_))));
    let status = client.complete_orchestrator_task(of("hub", chunk(1, false))).await;
    assert_eq!(status.expect_err("the begin is gone").code(), Code::InvalidArgument);
    let status = client.complete_orchestrator_task(of("hub", chunk(0, true))).await;
    let late = again.completion_token != token;
    assert_eq!(status.is_err(), late, "only what is out under this very token is kept");
    let answer = of("hub", ends(&again.completion_token, "\"done\""));
    client.complete_orchestrator_task(answer).await.expect("it is taken");
    assert_eq!(output(&mut client, "hub", "i").await.as_deref(), Some("\"done\""));
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_the_senders_fault() {
    let server = Server::new().await;
    for garbage in [&b"\xff\xff\xff"[..], b"\x0a\xff\x01", b"\x0b"] {
        let mut body = vec![0, 0, 0, 0, u8::try_from(garbage.len()).expect("short")];
        body.extend_from_slice(garbage);
        let request = HttpRequest::post("/TaskHubSidecarService/StartInstance")
            .header("content-type", "application/grpc")
            .body(Body::from(body))
            .expect("a request");
        let response = server.router().oneshot(request).await.expect("an answer");
        let status = response.headers().get("grpc-status").expect("a status at once");
        assert_eq!(status, &(Code::InvalidArgument as i32).to_string(), "{garbage:?}");
    }
}
