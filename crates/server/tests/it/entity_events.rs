//! A worker for older backends over gRPC: its orchestrators speak to entities by events.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use prost::Message;
use proto::history_event::EventType;
use proto::operation_result::ResultType;
use proto::orchestrator_action::OrchestratorActionType;
use proto::work_item::Request as Work;
use proto::{
    CompleteOrchestrationAction, CompleteTaskResponse, CreateInstanceRequest,
    CreateInstanceResponse, EntityBatchResult, EventRaisedEvent, GetInstanceRequest,
    GetInstanceResponse, GetWorkItemsRequest, HistoryEvent, OperationResult,
    OperationResultFailure, OperationResultSuccess, OrchestrationInstance, OrchestrationState,
    OrchestrationStatus, OrchestratorAction, OrchestratorRequest, OrchestratorResponse,
    SendEventAction, TaskFailureDetails, WorkItem,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::Server;

/// How long work may take to come on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const CALL: &str = "11111111-1111-4111-8111-111111111111";
const LOCK: &str = "22222222-2222-4222-8222-222222222222";
const OTHER: &str = "33333333-3333-4333-8333-333333333333";
const A: &str = "@counter@a";
const B: &str = "@counter@b";

/// A message as it goes over the wire: five bytes before it say that it is plain, and how long.
fn framed(message: &impl Message) -> Body {
    let bytes = message.encode_to_vec();
    let mut frame = BytesMut::with_capacity(bytes.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(bytes.len()).expect("it is short"));
    frame.put_slice(&bytes);
    Body::from(frame.freeze())
}

async fn ask(server: &Server, method: &str, message: &impl Message) -> Body {
    let request = Request::post(format!("/TaskHubSidecarService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(framed(message))
        .expect("a request");
    let response = server.router().oneshot(request).await.expect("it answers");
    let failed = response.headers().get("grpc-message");
    assert!(failed.is_none(), "{method}: {failed:?}");
    response.into_body()
}

async fn call<T: Message + Default>(server: &Server, method: &str, message: &impl Message) -> T {
    Messages::new(ask(server, method, message).await).next().await
}

/// The messages of an answer, one after the other.
struct Messages {
    body: Body,
    read: BytesMut,
}

impl Messages {
    fn new(body: Body) -> Self {
        Self { body, read: BytesMut::new() }
    }

    async fn next<T: Message + Default>(&mut self) -> T {
        loop {
            if let Some(message) = self.whole() {
                return T::decode(message).expect("a message of this kind");
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.expect("it comes in time").expect("more comes").expect("it comes");
            self.read.extend_from_slice(&frame.into_data().expect("no end yet"));
        }
    }

    fn whole(&mut self) -> Option<Bytes> {
        let length = self.read.get(1..5).map(|mut length| length.get_u32() as usize)?;
        if self.read.len() < length + 5 {
            return None;
        }
        self.read.advance(5);
        Some(self.read.split_to(length).freeze())
    }
}

/// A worker that the test moves by hand.
struct Worker {
    server: Server,
    items: Messages,
}

impl Worker {
    async fn new() -> Self {
        let server = Server::new().await;
        let items = ask(&server, "GetWorkItems", &GetWorkItemsRequest::default()).await;
        Self { server, items: Messages::new(items) }
    }

    async fn next(&mut self) -> WorkItem {
        loop {
            let item: WorkItem = self.items.next().await;
            if !matches!(item.request, Some(Work::HealthPing(_))) {
                return item;
            }
        }
    }

    async fn start(&self, id: &str) {
        let request = CreateInstanceRequest {
            name: "old".to_owned(),
            instance_id: id.to_owned(),
            ..CreateInstanceRequest::default()
        };
        let started: CreateInstanceResponse = call(&self.server, "StartInstance", &request).await;
        assert_eq!(started.instance_id, id);
    }

    /// The next turn is of this instance, and is answered with these actions.
    async fn turn(
        &mut self,
        id: &str,
        actions: Vec<OrchestratorActionType>,
    ) -> OrchestratorRequest {
        let item = self.next().await;
        let Some(Work::OrchestratorRequest(turn)) = item.request else { panic!("{item:?}") };
        assert_eq!(turn.instance_id, id);
        let first = turn.past_events.iter().map(|event| event.event_id).max().unwrap_or(0).max(0);
        let actions = (first + 1..)
            .zip(actions)
            .map(|(id, action)| OrchestratorAction { id, orchestrator_action_type: Some(action) });
        let answer = OrchestratorResponse {
            instance_id: turn.instance_id.clone(),
            actions: actions.collect(),
            completion_token: item.completion_token,
            ..OrchestratorResponse::default()
        };
        let _: CompleteTaskResponse = call(&self.server, "CompleteOrchestratorTask", &answer).await;
        turn
    }

    /// The next batch is of this entity; each operation answers its name, or fails if it is `boom`.
    async fn batch(&mut self, entity: &str) -> Vec<HistoryEvent> {
        let item = self.next().await;
        let Some(Work::EntityRequestV2(batch)) = item.request else { panic!("{item:?}") };
        assert_eq!(batch.instance_id, entity);
        let results = batch.operation_requests.iter().map(|event| {
            let name = match &event.event_type {
                Some(EventType::EntityOperationCalled(it)) => &it.operation,
                Some(EventType::EntityOperationSignaled(it)) => &it.operation,
                other => panic!("{other:?}"),
            };
            let result = if name == "boom" {
                let failure_details = Some(TaskFailureDetails {
                    error_type: "Boom".to_owned(),
                    error_message: "it broke".to_owned(),
                    ..TaskFailureDetails::default()
                });
                let failed = OperationResultFailure { failure_details, ..Default::default() };
                ResultType::Failure(failed)
            } else {
                let result = Some(json!(name).to_string());
                ResultType::Success(OperationResultSuccess { result, ..Default::default() })
            };
            OperationResult { result_type: Some(result) }
        });
        let answer = EntityBatchResult {
            results: results.collect(),
            entity_state: Some("1".to_owned()),
            completion_token: item.completion_token,
            ..EntityBatchResult::default()
        };
        let _: CompleteTaskResponse = call(&self.server, "CompleteEntityTask", &answer).await;
        batch.operation_requests
    }

    async fn ended(&self, id: &str) -> OrchestrationState {
        let request =
            GetInstanceRequest { instance_id: id.to_owned(), get_inputs_and_outputs: true };
        let wait = call(&self.server, "WaitForInstanceCompletion", &request);
        let answer: GetInstanceResponse = wait.await;
        answer.orchestration_state.expect("it is there")
    }
}

fn send(entity: &str, name: &str, data: &Value) -> OrchestratorActionType {
    let instance = OrchestrationInstance { instance_id: entity.to_owned(), execution_id: None };
    OrchestratorActionType::SendEvent(SendEventAction {
        instance: Some(instance),
        name: name.to_owned(),
        data: Some(data.to_string()),
    })
}

fn complete() -> OrchestratorActionType {
    let mut end = CompleteOrchestrationAction::default();
    end.set_orchestration_status(OrchestrationStatus::Completed);
    OrchestratorActionType::CompleteOrchestration(end)
}

/// What the first news of a turn, an event, says under the name of a request.
fn heard(turn: &OrchestratorRequest, request: &str) -> Value {
    match &turn.new_events[1].event_type {
        Some(EventType::EventRaised(EventRaisedEvent { name, input: Some(input) })) => {
            assert_eq!(name, request);
            serde_json::from_str(input).expect("it carries JSON")
        }
        other => panic!("no event: {other:?}"),
    }
}

#[tokio::test]
async fn a_call_is_answered_by_an_event() {
    let mut worker = Worker::new().await;
    worker.start("i").await;
    let asked = json!({ "op": "get", "id": CALL, "parent": "i", "input": "5" });
    worker.turn("i", vec![send(A, "op", &asked)]).await;
    let operations = worker.batch(A).await;
    let Some(EventType::EntityOperationCalled(called)) = &operations[0].event_type else {
        panic!("{operations:?}")
    };
    assert_eq!((&*called.operation, called.input.as_deref()), ("get", Some("5")));
    assert_eq!((&*called.request_id, called.parent_instance_id.as_deref()), (CALL, Some("i")));
    let boom = json!({ "op": "boom", "id": OTHER, "parent": "i" });
    let turn = worker.turn("i", vec![send(A, "op", &boom)]).await;
    assert_eq!(heard(&turn, CALL), json!({ "result": "\"get\"" }));
    // What it wrote is what it reads again.
    let written = turn.past_events.last().and_then(|event| event.event_type.clone());
    let Some(EventType::EventSent(written)) = written else { panic!("{written:?}") };
    assert_eq!((&*written.instance_id, &*written.name), (A, "op"));
    assert_eq!(written.input, Some(asked.to_string()));
    worker.batch(A).await;
    let turn = worker.turn("i", vec![complete()]).await;
    let failed = heard(&turn, OTHER);
    assert_eq!(
        (&failed["exceptionType"], &failed["result"]),
        (&json!("Boom"), &json!("\"it broke\""))
    );
    assert_eq!(failed["failureDetails"]["ErrorMessage"], "it broke");
    assert_eq!(worker.ended("i").await.orchestration_status(), OrchestrationStatus::Completed);
}

#[tokio::test]
async fn locks_keep_others_out_until_they_are_given_back_or_their_holder_ends() {
    let mut worker = Worker::new().await;
    let lockset = json!([{ "name": "counter", "key": "a" }, { "name": "counter", "key": "b" }]);
    let lock = |id: &str| json!({ "op": null, "id": id, "lockset": lockset, "pos": 0 });
    worker.start("i").await;
    worker.turn("i", vec![send(A, "op", &lock(LOCK))]).await;
    let get = json!({ "op": "get", "id": CALL });
    let release = json!({ "id": LOCK, "parent": "i" });
    let steps =
        vec![send(B, "op", &get), send(A, "release", &release), send(B, "release", &release)];
    let turn = worker.turn("i", steps).await;
    assert_eq!(heard(&turn, LOCK), json!({ "result": "Lock Acquisition Completed" }));
    worker.batch(B).await;
    let turn = worker.turn("i", vec![complete()]).await;
    assert_eq!(heard(&turn, CALL), json!({ "result": "\"get\"" }));
    // The next one ends without giving back what it holds; the last waits for that.
    worker.start("j").await;
    worker.turn("j", vec![send(A, "op", &lock(OTHER))]).await;
    let item = worker.next().await;
    worker.start("k").await;
    let id = "44444444-4444-4444-8444-444444444444";
    worker.turn("k", vec![send(A, "op", &lock(id))]).await;
    let end = OrchestratorAction { id: 9, orchestrator_action_type: Some(complete()) };
    let answer = OrchestratorResponse {
        instance_id: "j".to_owned(),
        actions: vec![end],
        completion_token: item.completion_token,
        ..OrchestratorResponse::default()
    };
    let _: CompleteTaskResponse = call(&worker.server, "CompleteOrchestratorTask", &answer).await;
    let turn = worker.turn("k", vec![complete()]).await;
    assert_eq!(heard(&turn, id)["result"], "Lock Acquisition Completed");
}

#[tokio::test]
async fn nonsense_fails_the_instance_and_says_why() {
    let mut worker = Worker::new().await;
    for (number, (name, data, why)) in [
        ("op", json!({ "id": CALL }), "it has neither 'op' nor 'lockset'"),
        ("op", json!("{"), "what it carries cannot be read"),
        ("hello", json!({}), "its name is 'hello'"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("i{number}");
        worker.start(&id).await;
        worker.turn(&id, vec![send(A, name, &data), complete()]).await;
        let state = worker.ended(&id).await;
        assert_eq!(state.orchestration_status(), OrchestrationStatus::Failed);
        let failure = state.failure_details.expect("it says why");
        assert_eq!(failure.error_type, "InvalidEntityMessage");
        let words = failure.error_message;
        assert!(words.starts_with("action 1: ") && words.contains(why), "{words}");
    }
}

#[tokio::test]
async fn pages_tell_who_holds_the_lock_of_an_entity_and_what_waits_for_it() {
    let mut worker = Worker::new().await;
    let lockset = json!([{ "name": "counter", "key": "a" }]);
    let lock = |id: &str| json!({ "op": null, "id": id, "lockset": lockset, "pos": 0 });
    worker.start("j").await;
    worker.turn("j", vec![send(A, "op", &lock(LOCK))]).await;
    // Its next turn: it has the lock.
    let item = worker.next().await;
    worker.start("k").await;
    worker.turn("k", vec![send(A, "op", &lock(OTHER))]).await;
    let path = "/runtime/webhooks/durabletask/entities/counter/a?op=add";
    let told = worker.server.post(path, &json!(1)).await;
    assert_eq!(told.status.as_u16(), 202, "{}", told.text);
    let list = worker.server.get("/console/entities").await.text;
    let row = list.split("<tr>").find(|row| row.contains("/counter/a\"")).expect("it is listed");
    assert!(row.contains("title=\"instance:default:j\""), "{row}");
    assert!(row.contains("<td class=\"n\">2</td>"), "{row}");
    let page = worker.server.get("/console/entities/default/counter/a").await.text;
    assert!(page.contains("by <a class=\"id\"") && page.contains("instance:default:j"), "{page}");
    assert!(page.contains("the lock itself") && page.contains("instance:default:k"), "{page}");
    assert!(page.contains("<code>add</code>"), "{page}");
    drop(item);
}
