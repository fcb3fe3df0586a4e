//! Attacks on secrets: text from outside names one, by every way in; none may reach a worker as the
//! secret's value. What a definition's author wrote goes on to work.

use axum::http::Method;
use kernel::graph::TaskStatus;
use serde_json::{Value, json};

use crate::support::{Server, waiting};

/// The secret's value, which the attacks are after.
const VALUE: &str = "hunter2";
/// What the text from outside says.
const NAMED: &str = "x ${workflow.secrets.KEY} ${workflow.secrets.KEY.a} y";

/// A worker's task whose input is `said`.
fn told(said: &str) -> Value {
    json!({ "name": "sink", "taskReferenceName": "sink", "type": "SIMPLE",
        "inputParameters": { "said": said } })
}

fn flow(name: &str, tasks: &[Value]) -> Value {
    json!({ "name": name, "version": 1, "tasks": tasks })
}

/// The input with which the next task of the worker's type is handed out.
async fn handed(server: &Server) -> Value {
    server.get("/api/tasks/poll/sink?workerid=w&timeout=5000").await.ok()["inputData"].clone()
}

async fn stays_text(server: &Server, way: &str) {
    let given = handed(server).await;
    assert_eq!(given["said"], NAMED, "by {way}: {given}");
    assert!(!given.to_string().contains(VALUE), "by {way}: {given}");
}

#[tokio::test]
async fn an_input_a_report_a_message_or_a_variable_names_no_secret() {
    let server = Server::new().await;
    let work = json!({ "name": "work", "taskReferenceName": "work", "type": "SIMPLE" });
    let pull = json!({ "name": "pull", "taskReferenceName": "pull",
        "type": "PULL_WORKFLOW_MESSAGES", "inputParameters": { "batchSize": 1 } });
    let human = json!({ "name": "wait", "taskReferenceName": "wait", "type": "HUMAN" });
    let set = json!({ "name": "set", "taskReferenceName": "set", "type": "SET_VARIABLE",
        "inputParameters": { "v": "${work.output.v}" } });
    let inline = json!({ "name": "script", "taskReferenceName": "script", "type": "INLINE",
        "inputParameters": { "evaluatorType": "javascript",
            "expression": "\"x $\\u007bworkflow.secrets.KEY} ${workflow.input.a} y\"" } });
    server
        .register(json!([
            flow("input", &[told("${workflow.input.a}")]),
            flow("report", &[work.clone(), told("${work.output.v}")]),
            flow("message", &[pull, told("${pull.output.messages[0].payload.v}")]),
            flow("signal", &[human, told("${wait.output.v}")]),
            flow("variable", &[work, set, told("${workflow.variables.v}")]),
            flow(
                "nested",
                &[told("${${workflow.input.path}} ${workflow.secrets.${workflow.input.n}}")]
            ),
            flow("inline", &[inline, told("${script.output.result}")]),
        ]))
        .await;
    let input = json!({ "a": NAMED });
    server.start("input", &input).await;
    stays_text(&server, "input").await;

    for name in ["report", "variable"] {
        server.start(name, &json!({})).await;
        let task = server.take("work").await;
        server.report(&task, TaskStatus::Completed, &json!({ "v": NAMED })).await;
        stays_text(&server, name).await;
    }

    let id = server.start("message", &json!({})).await;
    server.post(&format!("/api/workflow/{id}/messages"), &json!({ "v": NAMED })).await.ok_text();
    stays_text(&server, "a message").await;

    let id = server.start("signal", &json!({})).await;
    let path = format!("/api/tasks/{id}/wait/COMPLETED");
    server.post(&path, &json!({ "v": NAMED })).await.ok_text();
    stays_text(&server, "an update").await;

    let input = json!({ "path": "workflow.secrets.KEY", "n": "KEY" });
    server.start("nested", &input).await;
    let given = handed(&server).await;
    assert!(!given.to_string().contains(VALUE), "by a nested expression: {given}");

    // The script's own text names no secret: it puts the name together.
    server.start("inline", &json!({ "a": "b" })).await;
    let given = handed(&server).await;
    assert_eq!(given["said"], "x ${workflow.secrets.KEY} b y", "{given}");
}

#[tokio::test]
async fn tasks_and_definitions_that_are_data_name_no_secret() {
    let server = Server::new().await;
    let work = json!({ "name": "work", "taskReferenceName": "work", "type": "SIMPLE" });
    let fork = json!({ "name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN_DYNAMIC",
        "inputParameters": { "tasks": "${work.output.tasks}", "inputs": {} },
        "dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs" });
    let join = json!({ "name": "join", "taskReferenceName": "join", "type": "JOIN" });
    let child = json!({ "name": "child", "taskReferenceName": "child", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "made", "workflowDefinition": "${workflow.input.definition}" } });
    let detached = json!({ "name": "start", "taskReferenceName": "start", "type": "START_WORKFLOW",
        "inputParameters": { "startWorkflow": {
            "name": "made", "workflowDef": "${workflow.input.definition}" } } });
    server
        .register(json!([
            flow("forks", &[work, fork, join]),
            flow("child", &[child]),
            flow("detached", &[detached]),
        ]))
        .await;
    let mut made = flow("made", &[told(NAMED)]);
    made["secretsInData"] = json!(["KEY"]);

    server.start("forks", &json!({})).await;
    let task = server.take("work").await;
    server.report(&task, TaskStatus::Completed, &json!({ "tasks": [told(NAMED)] })).await;
    stays_text(&server, "a dynamic fork").await;

    // A branch that is a sub-workflow brings its own definition.
    server.start("forks", &json!({})).await;
    let task = server.take("work").await;
    let branch = json!({ "name": "b", "taskReferenceName": "b", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "made", "workflowDefinition": made } });
    server.report(&task, TaskStatus::Completed, &json!({ "tasks": [branch] })).await;
    stays_text(&server, "a definition in a dynamic fork").await;

    for name in ["child", "detached"] {
        server.start(name, &json!({ "definition": made })).await;
        stays_text(&server, name).await;
        // Nor one that is inside the definition.
        let inner = json!({ "name": "i", "taskReferenceName": "i", "type": "SUB_WORKFLOW",
            "subWorkflowParam": { "name": "made", "workflowDefinition": made } });
        server.start(name, &json!({ "definition": flow("outer", &[inner]) })).await;
        stays_text(&server, "a definition in a definition").await;
    }
}

#[tokio::test]
async fn a_webhook_a_trigger_and_an_event_name_no_secret() {
    let server = Server::new().await;
    server.register(flow("input", &[told("${workflow.input.a}")])).await;

    let hook = json!({ "name": "hook", "verifier": "HEADER_BASED", "sourcePlatform": "Custom",
        "headers": { "source": "portal" }, "workflowsToStart": { "input": 1 } });
    let made = server.post("/api/metadata/webhook", &hook).await.ok();
    let path = format!("/webhook/{}", made["id"].as_str().expect("an id"));
    let body = json!({ "a": NAMED }).to_string();
    let answer = server.send_with(Method::POST, &path, &[("source", "portal")], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    stays_text(&server, "a webhook").await;

    // As a form, whose fields are taken apart by the server.
    let braces = NAMED.replace('{', "%7B").replace('}', "%7D");
    let form = format!("b=1&a={}", braces.replace(' ', "+"));
    let headers = [("source", "portal"), ("content-type", "application/x-www-form-urlencoded")];
    let answer = server.send_with(Method::POST, &path, &headers, form).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    stays_text(&server, "a form").await;

    let trigger = json!({ "name": "t", "method": "POST", "path": "/jobs/{what}",
        "start": { "name": "input",
            "input": { "a": "${request.path.what}" } } });
    server.post("/api/triggers", &trigger).await.ok();
    let path =
        format!("/jobs/{}", NAMED.replace(' ', "%20").replace('{', "%7B").replace('}', "%7D"));
    let answer = server.post(&path, &json!({})).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    stays_text(&server, "a trigger's path").await;

    let handler = json!({ "name": "h", "event": "conductor:sender:e", "active": true,
        "actions": [{ "action": "start_workflow",
            "start_workflow": { "name": "input", "input": { "a": "${v}" } } }] });
    server.post("/api/event", &handler).await.ok_text();
    let event = json!({ "v": NAMED });
    server
        .engine
        .publish_event(engine::events::EventMessage {
            event: engine::events::EventName::parse("conductor:sender:e").expect("a name"),
            id: "1".to_owned(),
            payload: event.to_string(),
        })
        .await
        .expect("memory takes it");
    stays_text(&server, "an event").await;
}

#[tokio::test]
async fn a_reference_that_was_seen_cannot_be_changed_to_another_secret() {
    let server = Server::with_secrets(vec![("OTHER", "swordfish")]).await;
    let work = json!({ "name": "work", "taskReferenceName": "work", "type": "SIMPLE" });
    server.register(flow("report", &[work, told("${work.output.v}")])).await;
    let authors = server.engine.refer("report", &kernel::Json::of(&"${workflow.secrets.KEY}"));
    let authors: String = serde_json::from_str(authors.text()).expect("a text");
    assert!(authors.starts_with("ref:v1:"), "{authors}");
    let content = kernel::expression::SecretReference::content("report", "OTHER");
    let read = kernel::expression::SecretReference::read(&authors).expect("it is one");
    let forged = kernel::expression::SecretReference::write(&read.mac, &content);
    server.start("report", &json!({})).await;
    let task = server.take("work").await;
    server.report(&task, TaskStatus::Completed, &json!({ "v": forged })).await;
    let given = handed(&server).await;
    assert!(!given.to_string().contains("swordfish"), "{given}");
    // People are shown what an author would have written.
    let shown = server.get("/api/metadata/workflow/report").await.ok().to_string();
    assert!(!shown.contains("ref:v1:"), "{shown}");
}

#[tokio::test]
async fn authors_pass_secrets_on_from_every_place_where_they_write() {
    let server = Server::new().await;
    let by_input = |name: &str| {
        json!({ "name": name, "taskReferenceName": name, "type": "SUB_WORKFLOW",
            "inputParameters": { "a": "k=${workflow.secrets.KEY}" },
            "subWorkflowParam": { "name": "input", "version": 1 } })
    };
    let inline = json!({ "name": "inline", "taskReferenceName": "inline", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "own", "workflowDefinition":
            flow("own", &[told("k=${workflow.secrets.KEY}")]) } });
    let detached = json!({ "name": "start", "taskReferenceName": "start", "type": "START_WORKFLOW",
        "inputParameters": { "startWorkflow": { "name": "input",
            "input": { "a": "k=${workflow.secrets.KEY}" } } } });
    let fork = json!({ "name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN_DYNAMIC",
        "inputParameters": { "tasks": [told("k=${workflow.secrets.KEY}")], "inputs": {} },
        "dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs" });
    let join = json!({ "name": "join", "taskReferenceName": "join", "type": "JOIN" });
    let mut variables = flow("variables", &[told("${workflow.variables.v}")]);
    variables["variables"] = json!({ "v": "k=${workflow.secrets.KEY}" });
    let mut defaults = flow("defaults", &[told("${workflow.input.a}")]);
    defaults["inputTemplate"] = json!({ "a": "k=${workflow.secrets.KEY}" });
    let mut open = flow("open", &[told("${workflow.input.a}")]);
    open["secretsInData"] = json!(["KEY"]);
    let scripted = json!({ "name": "script", "taskReferenceName": "script", "type": "INLINE",
        "inputParameters": { "evaluatorType": "javascript",
            "expression": "\"k=${workflow.secrets.KEY}\"" } });
    server
        .register(json!([
            flow("input", &[told("${workflow.input.a}")]),
            flow("parent", &[by_input("c")]),
            flow("inline", &[inline]),
            flow("detached", &[detached]),
            flow("forks", &[fork, join]),
            flow("scripted", &[scripted, told("${script.output.result}")]),
            variables,
            defaults,
            open,
            waiting("wait"),
        ]))
        .await;
    for name in ["parent", "inline", "detached", "forks", "variables", "defaults", "scripted"] {
        let id = server.start(name, &json!({})).await;
        let given = handed(&server).await;
        assert_eq!(given["said"], format!("k={VALUE}"), "{name}: {given}");
        let shown = server.workflow(&id).await.to_string();
        assert!(!shown.contains(VALUE) && !shown.contains("ref:v1:"), "{name}: {shown}");
    }
    // Conductor's way is a word of the definition, for the secrets that it lists.
    server.start("open", &json!({ "a": "k=${workflow.secrets.KEY}" })).await;
    assert_eq!(handed(&server).await["said"], format!("k={VALUE}"));
    // A definition that comes with its start is its sender's text.
    let sent = json!({ "name": "sent", "workflowDef":
        flow("sent", &[told("k=${workflow.secrets.KEY}")]) });
    server.post("/api/workflow", &sent).await.ok_text();
    assert_eq!(handed(&server).await["said"], format!("k={VALUE}"));

    // So are the documents of schedules and event handlers.
    let schedule = json!({ "name": "s", "cronExpression": "0 0 0 1 1 *",
        "startWorkflowRequest": { "name": "input",
            "input": { "a": "k=${workflow.secrets.KEY}" } } });
    server.post("/api/scheduler/schedules", &schedule).await.ok();
    server.post("/api/scheduler/schedules/s/trigger", &json!({})).await;
    assert_eq!(handed(&server).await["said"], format!("k={VALUE}"), "a schedule");
    let shown = server.get("/api/scheduler/schedules/s").await.ok();
    assert_eq!(shown["startWorkflowRequest"]["input"]["a"], "k=${workflow.secrets.KEY}");

    let handler = json!({ "name": "h", "event": "conductor:sender:e", "active": true,
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": "input",
            "input": { "a": "k=${workflow.secrets.KEY}" } } }] });
    server.post("/api/event", &handler).await.ok_text();
    server
        .engine
        .publish_event(engine::events::EventMessage {
            event: engine::events::EventName::parse("conductor:sender:e").expect("a name"),
            id: "1".to_owned(),
            payload: "{}".to_owned(),
        })
        .await
        .expect("memory takes it");
    assert_eq!(handed(&server).await["said"], format!("k={VALUE}"), "an event handler");
}
