//! Secrets where workflows meet others: orchestrations and their workers, monitors and their ledger; and what
//! people and programs prove themselves with.

use std::time::{Duration, Instant};

use prost::Message as _;
use proto::{
    CompleteOrchestrationAction, GetInstanceRequest, GetInstanceResponse, GetWorkItemsRequest,
    InstanceQuery, OrchestrationStatus, OrchestratorAction, OrchestratorResponse,
    QueryInstancesRequest, StreamInstanceHistoryRequest, WorkItem, orchestrator_action, work_item,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::access::Guarded;
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

/// What programs and people prove themselves with, good and bad, is in nothing that the server says or keeps.
#[tokio::test]
async fn no_key_token_cookie_or_password_is_found_anywhere() {
    const PASSWORD: &str = "correct horse 4417 battery";
    const WRONG: &str = "wrong donkey 5528 battery";
    let trace = ["--log-level", "trace"];
    let mut server = Guarded::start_with(&trace, &[]).await;
    let bootstrap = server.bootstrap();
    let (id, admin) = server.key(&bootstrap, "ann", &["admin"]).await;
    let (worker_id, worker) = server.key(&admin, "worker", &["worker"]).await;
    let user = json!({ "name": "bob", "roles": ["viewer"], "password": PASSWORD });
    server.send(Method::POST, "/api/access/users", &admin, &user).await;
    let token = server.live.post("/api/token", &json!({ "keyId": id, "keySecret": admin })).await;
    let login = json!({ "user": "bob", "password": PASSWORD });
    let login = server.live.post("/api/access/login", &login).await;
    let renewal = json!({ "renewal": login["renewal"] });
    let renewed = server.live.post("/api/access/renew", &renewal).await;
    let http = &server.live.http;
    let form = http.post(server.live.url("/console/login"));
    let form = form.json(&json!({ "name": "bob", "password": PASSWORD }));
    let signed_in = form.send().await.expect("it answers");
    let cookie = signed_in.headers()["set-cookie"].to_str().expect("text").to_owned();
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let session: Value = signed_in.json().await.expect("JSON");
    let (_, cookie_value) = cookie.split_once('=').expect("a pair");
    let shown = http.get(server.live.url("/console/session")).header("cookie", &cookie);
    assert_eq!(shown.send().await.expect("it answers").status(), 200);

    // Wrong ones, wherever one may be given; of a key only its secret is one.
    let almost = format!("{}00000000", &worker[..80]);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut errors = Vec::new();
    for (header, value) in [
        ("authorization", format!("Bearer {almost}")),
        ("x-authorization", format!("{}x", text(&token["token"]))),
        ("x-functions-key", almost.clone()),
        ("cookie", format!("{cookie}0")),
    ] {
        let asked = http.get(server.live.url("/api/access/keys")).header(header, value);
        let answer = asked.send().await.expect("it answers");
        assert_eq!(answer.status(), 401, "{header}");
        errors.push(answer.text().await.expect("text"));
    }
    for (path, body) in [
        ("/api/access/login", json!({ "user": "bob", "password": WRONG })),
        ("/api/access/renew", json!({ "renewal": format!("{}0", text(&login["renewal"])) })),
        ("/api/token", json!({ "keyId": worker_id, "keySecret": almost })),
        ("/console/login", json!({ "key": almost })),
        // No JSON: what is wrong with a body is told without the body.
        ("/api/access/login", json!([PASSWORD, WRONG])),
    ] {
        let (status, answer) = server.live.ask(Method::POST, path, body.to_string()).await;
        assert!((400..500).contains(&status), "{path}: {status} {answer}");
        errors.push(answer.to_string());
    }
    let durable = "/runtime/webhooks/durabletask/instances";
    let asked = http.get(server.live.url(&format!("{durable}?code={almost}")));
    errors.push(asked.send().await.expect("it answers").text().await.expect("text"));
    let asked = http.get(server.live.url(&format!("{durable}?code={admin}")));
    errors.push(asked.send().await.expect("it answers").text().await.expect("text"));

    let tokens = [text(&token["token"]), text(&login["token"]), text(&renewed["token"])];
    let proofs = tokens.map(|token| token.rsplit('.').next().expect("a proof").to_owned());
    let (renewal, csrf) = (text(&login["renewal"]), text(&session["csrf"]));
    let mut values = vec![&bootstrap[16..80], &admin[16..80], &worker[16..80]];
    values.extend([PASSWORD, WRONG, &renewal, &csrf, cookie_value]);
    values.extend(proofs.iter().map(String::as_str));
    for answer in &errors {
        must_not_hold("an answer", answer.as_bytes(), &values);
    }
    for path in [
        "/metrics",
        "/health",
        "/api/access/keys",
        "/api/access/users",
        "/api/access/groups",
        "/api/access/grants",
        "/api/access/check",
        "/api/access/anonymous",
        "/api/audit?after=0",
        "/api/token/userInfo",
        "/console/session",
        "/console/",
    ] {
        let asked = http.get(server.live.url(path)).bearer_auth(&admin);
        let answer = asked.send().await.expect("it answers");
        assert_eq!(answer.status(), 200, "{path}");
        must_not_hold(path, answer.text().await.expect("text").as_bytes(), &values);
    }
    // Whatever it would tell of a run, it tells.
    let task = json!([{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }]);
    let flow = json!({ "name": "flow", "version": 1, "schemaVersion": 2, "tasks": task });
    server.send(Method::POST, "/api/metadata/workflow", &admin, &flow).await;
    server.send(Method::POST, "/api/workflow/flow", &admin, &json!({})).await;
    let log = server.live.log_text();
    assert!(log.contains("bootstrap"), "it tells of keys: {log}");
    must_not_hold("the log", log.as_bytes(), &values);
    assert!(server.live.stop().await.success());
    for suffix in ["", "-wal"] {
        let mut path = server.live.store().into_os_string();
        path.push(suffix);
        if let Ok(bytes) = std::fs::read(&path) {
            must_not_hold(&path.to_string_lossy(), &bytes, &values);
        }
    }
}
