//! Keys with roles on some things only, which try to see, steer and answer what belongs to others.

use std::time::Duration;

use axum::Router;
use axum::http::Method;
use engine::{Options, Rights};
use kernel::access::{Grant, Mode, Role};
use proto::history_event::EventType;
use proto::operation_action::OperationActionType;
use proto::operation_result::ResultType;
use proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use proto::work_item::Request as Work;
use proto::{
    CleanEntityStorageRequest, CreateInstanceRequest, CreateSubOrchestrationAction,
    CreateTaskHubRequest, DeleteTaskHubRequest, EntityBatchResult, GetEntityRequest,
    GetInstanceRequest, GetWorkItemsRequest, OperationAction, OperationResult, OrchestratorAction,
    OrchestratorRequest, OrchestratorResponse, PurgeInstancesRequest, QueryEntitiesRequest,
    QueryInstancesRequest, RaiseEventRequest, RestartInstanceRequest, SignalEntityRequest,
    StartNewOrchestrationAction, StreamInstanceHistoryRequest, TerminateRequest, WorkItem,
    orchestrator_action::OrchestratorActionType,
};
use serde_json::{Value, json};
use tonic::{Code, Request, Streaming};

use crate::support::{Answer, Server, line, send_through};

const PATIENCE: Duration = Duration::from_secs(30);
const BASE: &str = "/runtime/webhooks/durabletask";

type Client = TaskHubSidecarServiceClient<Router>;

/// A key with narrowed roles: `runner on hub=mine`.
async fn key(server: &Server, grants: &[&str]) -> String {
    let grants = grants.iter().map(|grant| {
        let (role, on) = grant.split_once(" on ").expect("a role on something");
        Grant::new(role.parse().expect("a role"), on.parse().expect("a selector"))
    });
    let grants = grants.collect::<Result<Vec<_>, _>>().expect("grants that are enforced");
    let rights = Rights { roles: Vec::new(), grants };
    let (engine, now) = (&server.engine, server.engine.now());
    let made = engine.access().create_key("tenant", rights, None, "test", now).await;
    made.expect("memory takes all").text.to_string()
}

async fn key_of_admin(server: &Server) -> String {
    let rights = Rights { roles: vec![Role::Admin], grants: Vec::new() };
    let now = server.engine.now();
    let made = server.engine.access().create_key("admin", rights, None, "test", now).await;
    made.expect("memory takes all").text.to_string()
}

async fn ask(server: &Server, method: Method, path: &str, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    server.send_with(method, path, &headers, body.to_string()).await
}

fn client(server: &Server) -> Client {
    TaskHubSidecarServiceClient::new(server.router())
}

fn of<T>(hub: &str, key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("taskhub", hub.parse().expect("a header"));
    let bearer = format!("Bearer {key}").parse().expect("a header");
    request.metadata_mut().insert("authorization", bearer);
    request
}

async fn start(client: &mut Client, hub: &str, key: &str, id: &str) -> Result<(), Code> {
    let (instance_id, name) = (id.to_owned(), "o".to_owned());
    let request = CreateInstanceRequest { instance_id, name, ..CreateInstanceRequest::default() };
    let started = client.start_instance(of(hub, key, request)).await;
    started.map(|_| ()).map_err(|status| status.code())
}

async fn next(items: &mut Streaming<WorkItem>) -> WorkItem {
    let item = tokio::time::timeout(PATIENCE, items.message()).await;
    item.expect("work comes soon").expect("the stream lives").expect("it goes on")
}

/// Two tenants' workflows, runs and hubs on a server that asks for keys from now on.
async fn shared() -> (Server, String, String) {
    let server = Server::new().await;
    server
        .register(json!([line("mine-flow", &["mine-task"]), line("victim-flow", &["victim-task"])]))
        .await;
    let mine = server.start("mine-flow", &json!({})).await;
    let victim = server.start("victim-flow", &json!({ "secret": "victim-data" })).await;
    let tags = json!([{ "key": "team", "value": "victim" }]);
    server.post("/api/metadata/workflow/victim-flow/tags", &tags).await.ok_text();
    server.until_queued("victim-task", 1).await;
    let path = format!("{BASE}/orchestrators/o/victim-instance?taskHub=victim");
    assert_eq!(server.post(&path, &json!("victim-data")).await.status, 202);
    (server.with(|settings| settings.auth = Mode::On), mine, victim)
}

#[tokio::test]
async fn h8_a_key_for_one_hub_does_nothing_in_another_by_grpc() {
    let (server, _, _) = shared().await;
    let all = ["editor on hub=mine*", "worker on hub=mine*"];
    let key = key(&server, &all).await;
    let mut client = client(&server);
    assert_eq!(start(&mut client, "mine", &key, "a").await, Ok(()));
    assert_eq!(start(&mut client, "mine2", &key, "a").await, Ok(()));
    assert_eq!(start(&mut client, "default", &key, "a").await, Err(Code::PermissionDenied));
    // A name that would be taken apart as another hub's.
    assert_eq!(start(&mut client, "mine:x", &key, "a").await, Err(Code::PermissionDenied));
    macro_rules! refused {
        ($($method:ident($message:expr)),* $(,)?) => {$(
            let status = client.$method(of("victim", &key, $message)).await.expect_err("a foreign hub");
            assert_eq!(status.code(), Code::PermissionDenied, "{}: {status}", stringify!($method));
            assert!(!status.message().contains("victim-"), "{status}");
        )*};
    }
    let id = || "victim-instance".to_owned();
    refused!(
        start_instance(CreateInstanceRequest {
            instance_id: id(),
            name: "o".to_owned(),
            ..Default::default()
        }),
        get_instance(GetInstanceRequest { instance_id: id(), get_inputs_and_outputs: true }),
        wait_for_instance_completion(GetInstanceRequest {
            instance_id: id(),
            ..Default::default()
        }),
        raise_event(RaiseEventRequest { instance_id: id(), name: "e".to_owned(), input: None }),
        terminate_instance(TerminateRequest { instance_id: id(), ..Default::default() }),
        query_instances(QueryInstancesRequest::default()),
        purge_instances(PurgeInstancesRequest::default()),
        get_work_items(GetWorkItemsRequest::default()),
        stream_instance_history(StreamInstanceHistoryRequest {
            instance_id: id(),
            ..Default::default()
        }),
        signal_entity(SignalEntityRequest {
            instance_id: "@e@k".to_owned(),
            name: "op".to_owned(),
            ..Default::default()
        }),
        get_entity(GetEntityRequest { instance_id: "@e@k".to_owned(), include_state: true }),
        query_entities(QueryEntitiesRequest::default()),
        clean_entity_storage(CleanEntityStorageRequest::default()),
        create_task_hub(CreateTaskHubRequest { recreate_if_exists: true }),
        delete_task_hub(DeleteTaskHubRequest::default()),
    );
    // Its own hub, too, is emptied by administrators alone.
    let status = client.delete_task_hub(of("mine", &key, DeleteTaskHubRequest::default())).await;
    assert_eq!(status.expect_err("no administrator").code(), Code::PermissionDenied);
}

#[tokio::test]
async fn h8_a_completion_token_of_another_hub_counts_for_nobody_else() {
    let (server, _, _) = shared().await;
    let victims = key(&server, &["worker on hub=victim"]).await;
    let mine = key(&server, &["worker on hub=mine"]).await;
    let mut client = client(&server);
    let attending = of("victim", &victims, GetWorkItemsRequest::default());
    let mut items = client.get_work_items(attending).await.expect("a stream").into_inner();
    let item = next(&mut items).await;
    assert!(matches!(item.request, Some(Work::OrchestratorRequest(_))));
    let answer = || OrchestratorResponse {
        instance_id: "victim-instance".to_owned(),
        completion_token: item.completion_token.clone(),
        ..OrchestratorResponse::default()
    };
    for hub in ["mine", "victim"] {
        let status = client.complete_orchestrator_task(of(hub, &mine, answer())).await;
        assert_eq!(status.expect_err("forged").code(), Code::PermissionDenied, "{hub}");
    }
    let taken = client.complete_orchestrator_task(of("victim", &victims, answer())).await;
    taken.expect("its own worker answers");
}

#[tokio::test]
async fn h8_a_key_for_one_hub_does_nothing_in_another_by_http() {
    let (server, mine, victim) = shared().await;
    let key = key(&server, &["editor on hub=mine"]).await;
    let started = ask(
        &server,
        Method::POST,
        &format!("{BASE}/orchestrators/o/own?taskHub=mine"),
        &key,
        &json!(1),
    )
    .await;
    assert_eq!(started.status, 202, "{}", started.text);
    let listed =
        ask(&server, Method::GET, &format!("{BASE}/instances?taskHub=mine"), &key, &json!(null))
            .await
            .ok();
    let ids: Vec<&str> = listed
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|it| it["instanceId"].as_str())
        .collect();
    // Runs of workflows belong to no hub, and are not in the list either.
    assert_eq!(ids, ["own"]);
    for (method, path) in [
        (Method::GET, "instances?taskHub=victim"),
        (Method::GET, "instances"),
        (Method::GET, "instances/victim-instance?taskHub=victim"),
        (Method::POST, "instances/victim-instance/raiseEvent/e?taskHub=victim"),
        (Method::POST, "instances/victim-instance/terminate?taskHub=victim"),
        (Method::POST, "instances/victim-instance/suspend?taskHub=victim"),
        (Method::POST, "instances/victim-instance/restart?taskHub=victim"),
        (Method::DELETE, "instances/victim-instance?taskHub=victim"),
        (Method::DELETE, "instances?taskHub=victim&createdTimeFrom=2000-01-01"),
        (Method::POST, "orchestrators/o?taskHub=victim"),
        // The name brings the hub with it.
        (Method::POST, "orchestrators/orchestration:victim%2Fo?taskHub=mine"),
        (Method::GET, "entities?taskHub=victim"),
        (Method::GET, "entities/e/k?taskHub=victim"),
        (Method::POST, "entities/e/k?op=x&taskHub=victim"),
    ] {
        let answer = ask(&server, method.clone(), &format!("{BASE}/{path}"), &key, &json!(1)).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text);
        // A client that does not know this word takes its token for expired, and asks for another.
        assert_eq!(answer.json()["error"], "FORBIDDEN", "{method} {path}: {}", answer.text);
        assert!(!answer.text.contains("victim-data"), "{path}");
    }
    // Runs of workflows are not there for it, under no spelling of the path.
    for run in [&mine, &victim] {
        for (method, path) in [
            (Method::GET, format!("{BASE}/instances/{run}?taskHub=mine")),
            (Method::GET, format!("{BASE}/Instances/{run}/?taskHub=mine")),
            (Method::POST, format!("{BASE}/instances/{run}/terminate?taskHub=mine")),
            (Method::DELETE, format!("{BASE}/instances/{run}?taskHub=mine")),
        ] {
            let answer = ask(&server, method, &path, &key, &json!(null)).await;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text);
        }
    }
    let purge = format!("{BASE}/instances?taskHub=mine&createdTimeFrom=2000-01-01");
    assert_eq!(ask(&server, Method::DELETE, &purge, &key, &json!(null)).await.status, 404);
    assert_eq!(
        server
            .engine
            .read(&kernel::ExecutionId::new(victim.as_str()), |_| ())
            .await
            .expect("memory"),
        Some(())
    );
    // Starting a workflow, too, takes a role on it.
    let path = format!("{BASE}/orchestrators/workflow:victim-flow?taskHub=mine");
    let answer = ask(&server, Method::POST, &path, &key, &json!({})).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
}

/// An orchestrator runs in its hub, but may ask for workflows, which belong to none.
#[tokio::test]
async fn h8_an_orchestrator_starts_no_workflow_that_its_worker_may_not_start() {
    let (server, _, _) = shared().await;
    let key = key(
        &server,
        &["worker on hub=mine", "runner on hub=mine", "runner on kind=workflow,name=mine-*"],
    )
    .await;
    let mut client = client(&server);
    for (id, flow, allowed) in
        [("bad", "workflow:victim-flow", false), ("good", "workflow:mine-flow", true)]
    {
        start(&mut client, "mine", &key, id).await.expect("it is started");
        let mut items = client
            .get_work_items(of("mine", &key, GetWorkItemsRequest::default()))
            .await
            .expect("a stream")
            .into_inner();
        let item = loop {
            let item = next(&mut items).await;
            if matches!(&item.request, Some(Work::OrchestratorRequest(it)) if it.instance_id == id)
            {
                break item;
            }
        };
        let child = CreateSubOrchestrationAction { name: flow.to_owned(), ..Default::default() };
        let kind = OrchestratorActionType::CreateSubOrchestration(child);
        let answer = OrchestratorResponse {
            instance_id: id.to_owned(),
            completion_token: item.completion_token.clone(),
            actions: vec![OrchestratorAction { id: 1, orchestrator_action_type: Some(kind) }],
            ..OrchestratorResponse::default()
        };
        let told = client.complete_orchestrator_task(of("mine", &key, answer)).await;
        assert_eq!(
            told.map(|_| ()).map_err(|it| it.code()),
            if allowed { Ok(()) } else { Err(Code::PermissionDenied) }
        );
        let end = TerminateRequest { instance_id: id.to_owned(), ..Default::default() };
        client.terminate_instance(of("mine", &key, end)).await.expect("its own instance");
    }
}

/// The next turn of an instance.
async fn turn_of(client: &mut Client, key: &str, id: &str) -> (OrchestratorRequest, String) {
    let attending = of("mine", key, GetWorkItemsRequest::default());
    let mut items = client.get_work_items(attending).await.expect("a stream").into_inner();
    loop {
        let item = next(&mut items).await;
        if let Some(Work::OrchestratorRequest(it)) = item.request
            && it.instance_id == id
        {
            return (it, item.completion_token);
        }
    }
}

/// Lets an instance ask for a child in its next turn.
async fn ask_for_child(client: &mut Client, key: &str, id: &str, child: (&str, &str, &Value)) {
    let (_, completion_token) = turn_of(client, key, id).await;
    let (name, instance_id, input) = child;
    let child = CreateSubOrchestrationAction {
        name: name.to_owned(),
        instance_id: instance_id.to_owned(),
        input: Some(input.to_string()),
        ..Default::default()
    };
    let kind = OrchestratorActionType::CreateSubOrchestration(child);
    let answer = OrchestratorResponse {
        instance_id: id.to_owned(),
        completion_token,
        actions: vec![OrchestratorAction { id: 1, orchestrator_action_type: Some(kind) }],
        ..OrchestratorResponse::default()
    };
    client.complete_orchestrator_task(of("mine", key, answer)).await.expect("it is taken");
}

/// Lets an instance start `mine-any`, which starts the workflow that its input names, and answers why it
/// failed.
async fn reach_by(client: &mut Client, key: &str, id: &str) -> String {
    let input = json!({ "name": "victim-flow" });
    ask_for_child(client, key, id, ("workflow:mine-any", "", &input)).await;
    let (turn, _) = turn_of(client, key, id).await;
    let failure = turn.new_events.iter().find_map(|event| match &event.event_type {
        Some(EventType::SubOrchestrationInstanceFailed(it)) => it.failure_details.as_ref(),
        _ => None,
    });
    failure.expect("the child has failed").error_message.clone()
}

/// What a worker may have its orchestrators start is checked by its name; what that starts in turn is
/// checked against whoever started the orchestration, however it began.
#[tokio::test]
async fn h8_what_an_orchestration_starts_acts_as_its_starter() {
    let server =
        Server::with_options(Options { checks_principals: true, ..Options::default() }).await;
    let any = json!({ "name": "mine-any", "version": 1, "tasks": [{
        "name": "t", "taskReferenceName": "t", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "${workflow.input.name}" },
    }] });
    server.register(json!([line("victim-flow", &["victim-task"]), any])).await;
    let server = server.with(|settings| settings.auth = Mode::On);
    let grants =
        ["worker on hub=mine", "runner on hub=mine", "runner on kind=workflow,name=mine-*"];
    let (mallory, admin) = (key(&server, &grants).await, key_of_admin(&server).await);
    let mut client = client(&server);
    let refused = |why: &str, how: &str| {
        assert!(why.contains("FORBIDDEN") && why.contains("tenant"), "{how}: {why}");
    };

    start(&mut client, "mine", &mallory, "by-grpc").await.expect("its own hub");
    refused(&reach_by(&mut client, &mallory, "by-grpc").await, "started by gRPC");

    let path = format!("{BASE}/orchestrators/o/by-http?taskHub=mine");
    let begun = ask(&server, Method::POST, &path, &mallory, &json!(1)).await;
    assert_eq!(begun.status, 202, "{}", begun.text);
    refused(&reach_by(&mut client, &mallory, "by-http").await, "started by HTTP");

    start(&mut client, "mine", &mallory, "parent").await.expect("its own hub");
    ask_for_child(&mut client, &mallory, "parent", ("o", "child", &json!(1))).await;
    refused(&reach_by(&mut client, &mallory, "child").await, "started by an orchestration");

    let signal = SignalEntityRequest {
        instance_id: "@e@k".to_owned(),
        name: "go".to_owned(),
        ..Default::default()
    };
    client.signal_entity(of("mine", &mallory, signal)).await.expect("its own hub");
    let attending = of("mine", &mallory, GetWorkItemsRequest::default());
    let mut items = client.get_work_items(attending).await.expect("a stream").into_inner();
    let token = loop {
        let item = next(&mut items).await;
        if matches!(item.request, Some(Work::EntityRequest(_) | Work::EntityRequestV2(_))) {
            break item.completion_token;
        }
    };
    drop(items);
    let begin = StartNewOrchestrationAction {
        instance_id: "by-entity".to_owned(),
        name: "o".to_owned(),
        ..Default::default()
    };
    let done = OperationResult {
        result_type: Some(ResultType::Success(proto::OperationResultSuccess::default())),
    };
    let kind = Some(OperationActionType::StartNewOrchestration(begin));
    let batch = EntityBatchResult {
        results: vec![done],
        actions: vec![OperationAction { id: 1, operation_action_type: kind }],
        completion_token: token,
        ..Default::default()
    };
    client.complete_entity_task(of("mine", &mallory, batch)).await.expect("it is taken");
    refused(&reach_by(&mut client, &mallory, "by-entity").await, "started by an entity");

    // What somebody else began, it may begin again, but as itself.
    start(&mut client, "mine", &admin, "theirs").await.expect("they may do all");
    let again = RestartInstanceRequest {
        instance_id: "theirs".to_owned(),
        restart_with_new_instance_id: true,
    };
    let again = client.restart_instance(of("mine", &mallory, again)).await.expect("its own hub");
    let again = again.into_inner().instance_id;
    refused(&reach_by(&mut client, &mallory, &again).await, "started again");

    let victims = "/api/workflow/search?query=workflowType%3Dvictim-flow";
    let found = ask(&server, Method::GET, victims, &admin, &json!(null)).await.ok();
    assert_eq!(found["totalHits"], 0, "{found}");
}

#[tokio::test]
async fn a_stream_of_work_ends_when_its_hub_is_taken_away() {
    let (server, _, _) = shared().await;
    let key = key(&server, &["worker on hub=mine", "worker on hub=other"]).await;
    let mut client = client(&server);
    let mut attend = async |hub: &str| {
        client
            .get_work_items(of(hub, &key, GetWorkItemsRequest::default()))
            .await
            .expect("a stream")
            .into_inner()
    };
    let (mut mine, _other) = (attend("mine").await, attend("other").await);
    let less =
        Grant::new("worker".parse().expect("a role"), "hub=mine".parse().expect("a selector"));
    let less = Rights { roles: Vec::new(), grants: vec![less.expect("a grant")] };
    let now = server.engine.now();
    server.engine.access().withdraw(&key[3..15], less, now).await.expect("it is taken away");
    let ended =
        tokio::time::timeout(PATIENCE, async { while let Ok(Some(_)) = mine.message().await {} });
    ended.await.expect("the stream ends");
    attend("other").await;
}

#[tokio::test]
async fn a_worker_takes_and_reports_the_types_alone_that_it_was_granted() {
    let (server, _, _) = shared().await;
    let victims = key(&server, &["worker on task=victim-task"]).await;
    let mine = key(&server, &["worker on task=mine-*", "worker on task=x,domain=eu"]).await;
    let poll = |path: &str| format!("/api/tasks/poll/{path}");
    for path in [
        "victim-task",
        "batch/victim-task?count=5",
        "x",
        "x?domain=us",
        "mine-task:x",
        // What a queue is named may be taken apart in several ways.
        "victim-task?domain=mine-a",
        "mine-a?domain=a:b",
        "eu:x",
        "WAIT",
        "HUMAN",
    ] {
        let answer = ask(&server, Method::GET, &poll(path), &mine, &json!(null)).await;
        assert_eq!(answer.code(403), "forbidden", "{path}");
    }
    let empty =
        ask(&server, Method::GET, &poll("x?domain=eu&timeout=0"), &mine, &json!(null)).await;
    assert_eq!(empty.status, 204);
    let task = ask(&server, Method::GET, &poll("victim-task"), &victims, &json!(null)).await.ok();
    let (id, run) = (task["taskId"].as_str().expect("an id"), &task["workflowInstanceId"]);
    let report = |task: &str, run: &Value| json!({ "taskId": task, "workflowInstanceId": run, "status": "COMPLETED" });
    let nobody = format!("{}-1", uuid::Uuid::new_v4());
    for path in ["/api/tasks", "/api/tasks/update-v2"] {
        let foreign = ask(&server, Method::POST, path, &mine, &report(id, run)).await;
        let missing = ask(&server, Method::POST, path, &mine, &report(&nobody, run)).await;
        // Whether there is such a task cannot be told.
        let told = |answer: &Answer, id: &str| (answer.status, answer.text.replace(id, "ID"));
        assert_eq!(foreign.status, 404, "{}", foreign.text);
        let (mut foreign, mut missing) = (told(&foreign, id), told(&missing, &nobody));
        for told in [&mut foreign, &mut missing] {
            let mut body: Value = serde_json::from_str(&told.1).expect("JSON");
            body.as_object_mut()
                .expect("an object")
                .retain(|name, _| name == "message" || name == "error");
            told.1 = body.to_string();
        }
        assert_eq!(foreign, missing);
    }
    let log = format!("/api/tasks/{id}/log");
    ask(&server, Method::POST, &log, &mine, &json!("forged")).await.failed(404);
    ask(&server, Method::POST, &log, &victims, &json!("true")).await.ok_text();
    // Its own task, but as one of an execution that it may not ask about.
    let own = ask(&server, Method::GET, &poll("mine-task"), &mine, &json!(null)).await.ok();
    let own_id = own["taskId"].as_str().expect("an id");
    for run in [run.clone(), json!(uuid::Uuid::new_v4().to_string())] {
        let answer = ask(&server, Method::POST, "/api/tasks", &mine, &report(own_id, &run)).await;
        assert_eq!(answer.status, 404, "{}", answer.text);
    }
    ask(&server, Method::POST, "/api/tasks", &mine, &report(own_id, &own["workflowInstanceId"]))
        .await
        .ok_text();
    ask(&server, Method::POST, "/api/tasks", &victims, &report(id, run)).await.ok_text();
}

#[tokio::test]
async fn another_tenants_runs_are_in_no_search_total_or_error() {
    let (server, mine, victim) = shared().await;
    let by_name = key(&server, &["runner on kind=workflow,name=mine-*"]).await;
    let by_tag = key(&server, &["viewer on kind=workflow,tag=team=victim"]).await;
    let search = async |key: &str, query: &str| {
        let path = format!("/api/workflow/search?{query}");
        let found = ask(&server, Method::GET, &path, key, &json!(null)).await.ok();
        let rows = found["results"].as_array().expect("rows").iter();
        let ids: Vec<String> =
            rows.map(|it| it["workflowId"].as_str().expect("an id").to_owned()).collect();
        (found["totalHits"].as_u64().expect("a total"), ids)
    };
    let only = |id: &str| (1, vec![id.to_owned()]);
    for query in [
        "",
        "freeText=*",
        "query=status=RUNNING",
        "size=1",
        "query=workflowType%20IN%20(mine-flow,victim-flow)",
    ] {
        assert_eq!(search(&by_name, query).await, only(&mine), "{query}");
        assert_eq!(search(&by_tag, query).await, only(&victim), "{query}");
    }
    for query in [
        "query=workflowType=victim-flow",
        "freeText=victim-data",
        &format!("query=workflowId={victim}"),
    ] {
        assert_eq!(search(&by_name, query).await, (0, Vec::new()), "{query}");
    }
    let path = "/api/workflow/search?classifier=orchestration";
    assert_eq!(
        ask(&server, Method::GET, path, &by_name, &json!(null)).await.code(403),
        "forbidden"
    );
    // One run and one definition, seen and steered.
    let missing = uuid::Uuid::new_v4().to_string();
    for (method, path) in [
        (Method::GET, "/api/workflow/ID"),
        (Method::GET, "/api/workflow/ID/status"),
        (Method::GET, "/api/workflow/ID/tasks"),
        (Method::GET, "/api/workflow/ID/why"),
        (Method::PUT, "/api/workflow/ID/pause"),
        (Method::PUT, "/api/workflow/ID/resume"),
        (Method::DELETE, "/api/workflow/ID"),
        (Method::POST, "/api/workflow/ID/retry"),
        (Method::POST, "/api/workflow/ID/restart"),
        (Method::POST, "/api/workflow/ID/resetcallbacks"),
    ] {
        let foreign =
            ask(&server, method.clone(), &path.replace("ID", &victim), &by_name, &json!(null))
                .await;
        let unknown =
            ask(&server, method.clone(), &path.replace("ID", &missing), &by_name, &json!(null))
                .await;
        assert_eq!(
            (foreign.status.as_u16(), unknown.status.as_u16()),
            (404, 404),
            "{method} {path}"
        );
        let message = |answer: &Answer, id: &str| {
            answer.json()["message"].as_str().expect("words").replace(id, "ID")
        };
        assert_eq!(message(&foreign, &victim), message(&unknown, &missing), "{method} {path}");
    }
    for path in ["/api/workflow/victim-flow", "/api/workflow/start/victim-flow/1"] {
        ask(&server, Method::POST, path, &by_name, &json!({})).await.failed(404);
        ask(&server, Method::POST, path, &by_tag, &json!({})).await.failed(403);
    }
    ask(&server, Method::POST, "/api/workflow", &by_name, &json!({ "name": "victim-flow" }))
        .await
        .failed(404);
    // What is brought along is a definition of one's own making, under whatever name.
    let inline = json!({ "name": "mine-flow", "workflowDef": line("mine-flow", &["victim-task"]) });
    ask(&server, Method::POST, "/api/workflow", &by_name, &inline).await.failed(403);
    ask(&server, Method::GET, "/api/metadata/workflow/victim-flow", &by_name, &json!(null))
        .await
        .failed(404);
    ask(&server, Method::GET, "/api/metadata/workflow/mine-flow", &by_name, &json!(null))
        .await
        .ok();
    // And what is its own goes on as before.
    ask(&server, Method::PUT, &format!("/api/workflow/{mine}/pause"), &by_name, &json!(null))
        .await
        .ok_text();
    ask(&server, Method::POST, "/api/workflow/mine-flow", &by_name, &json!({})).await.ok_text();
    ask(&server, Method::GET, &format!("/api/workflow/{victim}"), &by_tag, &json!(null)).await.ok();
    ask(&server, Method::DELETE, &format!("/api/workflow/{victim}"), &by_tag, &json!(null))
        .await
        .failed(403);
}

/// Every operation that there is, asked with every narrowed role on things of one's own: none shows
/// anything that belongs to another.
#[tokio::test]
async fn no_operation_shows_a_narrowed_key_anothers_things() {
    let (server, _, victim) = shared().await;
    let mut grants = Vec::new();
    for role in ["viewer", "runner", "editor", "worker"] {
        grants.push(format!("{role} on hub=mine"));
    }
    for role in ["viewer", "runner"] {
        grants.push(format!("{role} on kind=workflow,name=mine-*"));
    }
    grants.push("worker on task=mine-*".to_owned());
    let key = key(&server, &grants.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let document = server.get("/openapi.json").await.ok();
    let router = server::router(server.api());
    let bearer = format!("Bearer {key}");
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            if matches!(operation["x-permission"].as_str(), Some("public" | "proof")) {
                continue;
            }
            // Names of things that the other tenant has, in every place.
            for (id, name) in [(victim.as_str(), "victim-flow"), ("victim-instance", "victim-task")]
            {
                let mut address = path.replace("{version}", "1").replace("{count}", "1");
                for place in ["{id}", "{workflowId}", "{taskId}"] {
                    address = address.replace(place, id);
                }
                while let (Some(begin), Some(end)) = (address.find('{'), address.find('}')) {
                    address.replace_range(begin..=end, name);
                }
                let method: Method = method.to_uppercase().parse().expect("a method");
                let headers = [("authorization", bearer.as_str())];
                let body = json!({ "name": name, "taskHub": "victim" }).to_string();
                let answer =
                    send_through(router.clone(), method.clone(), &address, &headers, body).await;
                let others = answer.text.replace(&address, "").replace(id, "").replace(name, "");
                assert!(!others.contains("victim-"), "{method} {address}: {}", answer.text);
                let is_refused = answer.status.is_client_error();
                let is_list = answer.status.is_success() && !address.contains("victim");
                let harmless = ["/userInfo", "/roles", "/session", "/logout"];
                let is_open = harmless.iter().any(|end| address.ends_with(end));
                assert!(
                    is_refused || is_list || is_open,
                    "{method} {address}: {} {}",
                    answer.status,
                    answer.text
                );
                asked += 1;
            }
        }
    }
    assert!(asked > 300, "{asked}");
}

#[tokio::test]
async fn headers_name_a_hub_once() {
    let (server, _, _) = shared().await;
    let key = key(&server, &["runner on hub=mine"]).await;
    // The first of two counts, and both protocols' names of the header are looked at in one order.
    let mut client = client(&server);
    let mut request = of("mine", &key, QueryInstancesRequest::default());
    request.metadata_mut().append("taskhub", "victim".parse().expect("a header"));
    request.metadata_mut().insert("durable-taskhub", "victim".parse().expect("a header"));
    let found = client.query_instances(request).await.expect("its own hub").into_inner();
    assert_eq!(found.orchestration_state.len(), 0);
}

#[tokio::test]
async fn grants_are_given_listed_and_taken_by_administrators() {
    let (server, _, victim) = shared().await;
    let (engine, now) = (&server.engine, server.engine.now());
    let admin = engine.access().create_key("admin", vec![Role::Admin], None, "test", now).await;
    let admin = admin.expect("memory takes all").text.to_string();
    let made = json!({ "name": "etl", "roles": ["worker"], "on": ["hub=sales", "task=load*"] });
    let made = ask(&server, Method::POST, "/api/access/keys", &admin, &made).await.ok();
    assert_eq!(
        made["grants"],
        json!([{ "role": "worker", "on": "hub=sales" }, { "role": "worker", "on": "task=load*" }])
    );
    assert_eq!(made["roles"], json!([]));
    let (id, text) =
        (made["keyId"].as_str().expect("an id"), made["keySecret"].as_str().expect("a key"));
    for refused in [
        json!({ "name": "n", "roles": ["viewer"], "on": ["name=etl-*"] }),
        json!({ "name": "n", "roles": ["metrics"], "on": ["hub=sales"] }),
        json!({ "name": "n", "roles": ["worker", "metrics"], "on": ["hub=sales"] }),
        json!({ "name": "n", "roles": ["editor"], "on": ["kind=workflow,name=etl-*"] }),
        json!({ "name": "n", "roles": ["worker"], "on": ["task=load", "kind=workflow,name=a"] }),
    ] {
        let answer = ask(&server, Method::POST, "/api/access/keys", &admin, &refused).await;
        assert_eq!(answer.code(400), "selector-not-enforced", "{refused}");
    }
    let run = format!("/api/workflow/{victim}");
    ask(&server, Method::GET, &run, text, &json!(null)).await.failed(403);
    let more = json!({ "key": id, "roles": ["viewer"], "on": ["kind=workflow,name=victim-*"] });
    let held = ask(&server, Method::POST, "/api/access/grants", &admin, &more).await.ok();
    assert_eq!(held.as_array().map(Vec::len), Some(3));
    ask(&server, Method::GET, &run, text, &json!(null)).await.ok();
    // Nobody grants themselves anything.
    ask(&server, Method::POST, "/api/access/grants", text, &more).await.failed(403);
    let less =
        format!("/api/access/grants?key={id}&role=viewer&on=kind%3Dworkflow,name%3Dvictim-*");
    ask(&server, Method::DELETE, &less, &admin, &json!(null)).await.ok();
    ask(&server, Method::DELETE, &less, &admin, &json!(null)).await.failed(404);
    ask(&server, Method::GET, &run, text, &json!(null)).await.failed(403);
    // After a restart they are what they were.
    let server = server.restarted().await.with(|settings| settings.auth = Mode::On);
    let path = format!("/api/access/grants?key={id}");
    let listed = ask(&server, Method::GET, &path, &admin, &json!(null)).await.ok();
    assert_eq!(
        listed
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| it["on"].as_str().expect("text"))
            .collect::<Vec<_>>(),
        ["hub=sales", "task=load*"]
    );
}

#[tokio::test]
async fn an_explanation_says_which_grant_decides() {
    let (server, _, _) = shared().await;
    let (engine, now) = (&server.engine, server.engine.now());
    let admin = engine.access().create_key("admin", vec![Role::Admin], None, "test", now).await;
    let admin = admin.expect("memory takes all").text.to_string();
    let key =
        key(&server, &["worker on hub=mine*", "viewer on kind=workflow,tag=team=victim"]).await;
    let id = &key[3..15];
    let explain = async |query: &str| {
        let path = format!("/api/access/explain?key={id}&{query}");
        ask(&server, Method::GET, &path, &admin, &json!(null)).await
    };
    for (query, grant) in [
        ("permission=work&on=hub%3Dmine2", json!("worker on hub=mine*")),
        ("permission=read&on=hub%3Dmine2", json!(null)),
        ("permission=work&on=hub%3Dvictim", json!(null)),
        ("permission=work", json!(null)),
        (
            "permission=read&on=kind%3Dworkflow,name%3Dvictim-flow",
            json!("viewer on kind=workflow,tag=team=victim"),
        ),
        ("permission=read&on=kind%3Dworkflow,name%3Dmine-flow", json!(null)),
    ] {
        let told = explain(query).await.ok();
        assert_eq!(
            (&told["grant"], &told["allowed"]),
            (&grant, &json!(!grant.is_null())),
            "{query}: {told}"
        );
    }
    for wrong in ["permission=fly", "permission=read&on=hub%3Dmine*", "permission=read&on=name%3Da"]
    {
        explain(wrong).await.failed(400);
    }
    ask(&server, Method::GET, "/api/access/explain?key=none&permission=read", &admin, &json!(null))
        .await
        .failed(404);
    ask(
        &server,
        Method::GET,
        &format!("/api/access/explain?key={id}&permission=read"),
        &key,
        &json!(null),
    )
    .await
    .failed(403);
    engine.access().revoke_key(id, "test", now).await.expect("it is there");
    let told = explain("permission=work&on=hub%3Dmine2").await.ok();
    assert_eq!((&told["allowed"], &told["reason"]), (&json!(false), &json!("the key was revoked")));
    ask(&server, Method::GET, "/api/access/check", &key, &json!(null)).await.failed(401);
    let found = ask(&server, Method::GET, "/api/access/check", &admin, &json!(null)).await.ok();
    let codes: Vec<&str> =
        found.as_array().expect("a list").iter().filter_map(|it| it["code"].as_str()).collect();
    assert_eq!(codes, ["admin-without-end"]);
}
