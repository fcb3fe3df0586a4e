//! Secrets where workflows meet others: orchestrations and their workers, monitors and their ledger.

use std::time::{Duration, Instant};

use prost::Message as _;
use proto::{
    CompleteOrchestrationAction, GetInstanceRequest, GetInstanceResponse, GetWorkItemsRequest,
    InstanceQuery, OrchestrationStatus, OrchestratorAction, OrchestratorResponse,
    QueryInstancesRequest, StreamInstanceHistoryRequest, WorkItem, orchestrator_action, work_item,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::attacks::wire::Grpc;
use crate::live::Live;
use crate::secret::{Echo, ROUTING, must_not_hold, put_secret};

/// How long anything may take here on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const GIVEN: &str = "giVen-pass-7733-q";

/// A workflow that tells an orchestration whatever it knows.
fn teller(url: &str) -> Value {
    json!([
        { "name": "echo", "taskReferenceName": "echo", "type": "HTTP", "inputParameters": {
            "http_request": { "uri": format!("{url}/echo"), "method": "POST",
                "headers": { "x-routing-key": "${workflow.secrets.ROUTING}" },
                "body": { "key": "${workflow.secrets.ROUTING}" } } } },
        { "name": "transform", "taskReferenceName": "transform", "type": "INLINE",
          "inputParameters": { "evaluatorType": "javascript",
            "given": "${workflow.input._secrets.password}", "expression": "'p=' + $.given" } },
        { "name": "told", "taskReferenceName": "told", "type": "SUB_WORKFLOW",
          "subWorkflowParam": { "name": "orchestration:told", "version": 1 },
          "inputParameters": {
            "named": "${workflow.secrets.ROUTING}",
            "echoed": "${echo.output.response.body}",
            "joined": "${transform.output.result}",
            "plain": "told",
            "_secrets": { "password": "${workflow.input._secrets.password}" } } },
    ])
}

/// The end of a turn, with this output.
fn end(token: &str, instance: &str, output: String) -> OrchestratorResponse {
    let complete = CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Completed.into(),
        result: Some(output),
        ..CompleteOrchestrationAction::default()
    };
    let kind = orchestrator_action::OrchestratorActionType::CompleteOrchestration(complete);
    let action = OrchestratorAction { id: 0, orchestrator_action_type: Some(kind) };
    OrchestratorResponse {
        instance_id: instance.to_owned(),
        completion_token: token.to_owned(),
        actions: vec![action],
        ..OrchestratorResponse::default()
    }
}

#[tokio::test]
async fn no_secret_is_found_in_answers_by_grpc() {
    let echo = Echo::default();
    let url = echo.start().await;
    let live = Live::start(&["--log-level", "trace"]).await;
    put_secret(&live, "ROUTING", ROUTING).await;
    live.define("teller", teller(&url)).await;
    let client = Grpc::new(&live);
    let mut items = client
        .stream(
            "GetWorkItems",
            &GetWorkItemsRequest {
                max_concurrent_orchestration_work_items: 1,
                ..GetWorkItemsRequest::default()
            },
        )
        .await;
    let input = json!({ "_secrets": { "password": GIVEN } });
    let id = live.begin("teller", &input).await;
    let values = [ROUTING, GIVEN];
    let turn = async {
        loop {
            let bytes = items.next().await;
            let item = WorkItem::decode(&*bytes).expect("an item");
            if let Some(work_item::Request::OrchestratorRequest(turn)) = item.request {
                return (bytes, item.completion_token, turn.instance_id);
            }
        }
    };
    let turn = tokio::time::timeout(PATIENCE, turn).await;
    let run = live.get(&format!("/api/workflow/{id}")).await;
    let (bytes, token, instance) = turn.unwrap_or_else(|_| panic!("no turn: {run}"));
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("told"), "the worker is told something: {text}");
    must_not_hold("the turn", &bytes, &values);

    let asked = GetInstanceRequest { instance_id: instance.clone(), get_inputs_and_outputs: true };
    let query = QueryInstancesRequest {
        query: Some(InstanceQuery { fetch_inputs_and_outputs: true, ..InstanceQuery::default() }),
    };
    let history = StreamInstanceHistoryRequest {
        instance_id: instance.clone(),
        ..StreamInstanceHistoryRequest::default()
    };
    // What the worker heard, it repeats.
    let output = json!({ "again": text }).to_string();
    let answered = client.call("CompleteOrchestratorTask", &end(&token, &instance, output)).await;
    assert_eq!(answered.status, None, "the turn ends");
    let ended = live.ended(&id, PATIENCE).await;
    assert_eq!(ended["status"], "COMPLETED", "{ended}");
    let found: GetInstanceResponse = client.call("GetInstance", &asked).await.message();
    assert!(found.exists, "{instance}");
    for (method, answer) in [
        ("GetInstance", client.call("GetInstance", &asked).await),
        ("WaitForInstanceCompletion", client.call("WaitForInstanceCompletion", &asked).await),
        ("QueryInstances", client.call("QueryInstances", &query).await),
        ("StreamInstanceHistory", client.call("StreamInstanceHistory", &history).await),
    ] {
        assert_eq!(answer.status, None, "{method}");
        assert!(answer.bytes.len() > 20, "{method} answers something");
        must_not_hold(method, &answer.bytes, &values);
    }
    must_not_hold("the run", ended.to_string().as_bytes(), &values);
    let log = live.log_text();
    assert!(log.contains("TRACE"), "it tells everything");
    must_not_hold("the log", log.as_bytes(), &values);
}

/// Waits until an answer is as it is to be.
async fn until(live: &Live, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = live.get(path).await;
        if is_so(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{path}: {answer}; {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn no_secret_is_found_in_the_ledger_of_incidents() {
    let echo = Echo::default();
    let url = echo.start().await;
    let mut live = Live::start(&["--log-level", "trace"]).await;
    put_secret(&live, "ROUTING", ROUTING).await;
    let file = json!({
        "receivers": { "hook": { "webhook": {
            "url": format!("{url}/refused"),
            "headers": { "x-routing-key": "${secret:ROUTING}" } } } },
        "routes": [{ "to": "hook" }],
        "monitors": {
            "refused": { "every": "24h", "http": { "url": format!("{url}/refused"),
                "headers": { "x-routing-key": "${secret:ROUTING}" } } },
            "rows": { "every": "24h", "http": { "url": format!("{url}/echo?key=${{secret:ROUTING}}"),
                "headers": { "x-routing-key": "${secret:ROUTING}" }, "rows": "$" } },
        },
    });
    let (status, answer) = live.ask(Method::PUT, "/api/monitors", file.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    for monitor in ["refused", "rows"] {
        live.post(&format!("/api/monitors/{monitor}/check"), &json!({})).await;
    }
    let incidents =
        until(&live, "/api/incidents", |page| page["totalHits"].as_u64() >= Some(2)).await;
    until(&live, "/api/deliveries", |page| {
        let sent = page["results"].as_array().into_iter().flatten();
        sent.filter(|one| one["reason"].is_string()).count() > 0
    })
    .await;
    let heard = echo.heard();
    assert!(heard.contains(&format!("/refused {ROUTING}")), "it was sent: {heard}");
    let mut answers: Vec<String> = [
        "/api/incidents",
        "/api/incidents?state=all",
        "/api/deliveries",
        "/api/monitors",
        "/api/receivers",
        "/api/monitors/refused",
        "/api/monitors/refused/checks",
        "/api/monitors/refused/history",
        "/api/monitors/rows/checks",
        "/api/monitors/rows/history",
        "/health",
        "/metrics",
        "/api/workflow/search?classifier=*",
        "/api/tasks/search",
    ]
    .map(str::to_owned)
    .to_vec();
    for incident in incidents["results"].as_array().unwrap() {
        let id = incident["id"].as_str().unwrap();
        answers.extend([format!("/api/incidents/{id}"), format!("/api/incidents/{id}/explain")]);
    }
    for path in answers {
        let (status, answer) = live.ask(Method::GET, &path, "").await;
        assert_eq!(status, 200, "{path}: {answer}");
        must_not_hold(&path, answer.to_string().as_bytes(), &[ROUTING]);
    }
    must_not_hold("the log", live.log_text().as_bytes(), &[ROUTING]);
    assert!(live.stop().await.success());
    for suffix in ["", "-wal"] {
        let mut path = live.store().into_os_string();
        path.push(suffix);
        if let Ok(bytes) = std::fs::read(&path) {
            must_not_hold(&path.to_string_lossy(), &bytes, &[ROUTING]);
        }
    }
}
