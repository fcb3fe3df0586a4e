//! Events: what handlers make of messages, once and through a restart.

use std::sync::Arc;

use engine::Engine;
use engine::events::{EventMessage, EventName};
use engine::memory::Memory;
use engine::search::RecordSearch;
use kernel::ExecutionId;
use kernel::graph::Status;
use serde_json::{Value, json};

use crate::house::{ended, open, poll, register, start};

async fn handle(engine: &Engine, handler: Value) {
    let handler = serde_json::from_value(handler).expect("the test writes a handler");
    engine.put_event_handlers(vec![handler]).await.expect("the store takes it");
}

fn message(event: &str, id: &str, payload: &Value) -> EventMessage {
    EventMessage {
        event: EventName::parse(event).expect("the test writes type:queue"),
        id: id.to_owned(),
        payload: payload.to_string(),
    }
}

/// The ledger's lines, once `count` of them have ended.
async fn handlings(engine: &Engine, count: usize) -> Vec<(String, Value)> {
    let wait = async {
        loop {
            let page = engine.store().records(&RecordSearch::newest("event")).await;
            let rows = page.expect("the store answers").rows;
            let ended = rows.iter().filter(|row| &*row.status != "IN_PROGRESS").count();
            if ended >= count {
                let shown = |row: &kernel::Record| (row.status.to_string(), row.body.parse());
                return rows.iter().map(shown).collect();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("they end in time")
}

fn started(handlings: &[(String, Value)]) -> ExecutionId {
    let (status, body) = &handlings[0];
    assert_eq!(status, "COMPLETED", "{body}");
    ExecutionId::new(body["output"]["workflowId"].as_str().expect("a workflow was started"))
}

const ECHO: &str = "echo";

async fn echo(engine: &Engine) {
    let definition = json!({
        "name": ECHO, "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "e", "taskReferenceName": "e", "type": "ECHO",
            "inputParameters": { "seen": "${workflow.input}" } }],
    });
    register(engine, definition).await;
}

#[tokio::test]
async fn a_message_starts_a_workflow_once() {
    let engine = open(Arc::new(Memory::default())).await;
    echo(&engine).await;
    let handler = json!({
        "name": "h", "event": "conductor:w:e", "active": true, "condition": "true",
        "actions": [{
            "action": "start_workflow", "expandInlineJSON": true,
            "start_workflow": {
                "name": ECHO, "correlationId": "${order.id}",
                "input": { "id": "${order.id}", "all": "${order}", "text": "no ${order.id}" },
            },
        }],
    });
    handle(&engine, handler).await;
    let payload = json!({ "order": "{\"id\": 7}" });
    for _ in 0..3 {
        let heeded = engine.receive_event(message("conductor:w:e", "m1", &payload)).await;
        assert!(heeded.expect("the store takes it"));
    }
    let lines = handlings(&engine, 1).await;
    let id = started(&lines);
    let (status, output) = ended(&engine, &id).await;
    assert_eq!(status, Status::Completed);
    let seen = json!({
        "id": 7, "all": { "id": 7 }, "text": "no 7",
        "conductor.event.messageId": "m1", "conductor.event.name": "conductor:w:e",
    });
    assert_eq!(output["seen"], seen);
    let head = engine.store().head(&id).await.expect("the store answers").expect("it is there");
    assert_eq!(head.event.as_deref(), Some("conductor:w:e"));
    assert_eq!(head.correlation_id.as_deref(), Some("7"));
    assert_eq!(handlings(&engine, 1).await.len(), 1);
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn a_false_condition_skips_and_another_handler_goes_on() {
    let engine = open(Arc::new(Memory::default())).await;
    echo(&engine).await;
    let handler = |name: &str, condition: &str, active: bool| {
        json!({
            "name": name, "event": "conductor:q", "active": active, "condition": condition,
            "actions": [{ "action": "start_workflow", "start_workflow": { "name": ECHO } }],
        })
    };
    handle(&engine, handler("no", "false", true)).await;
    handle(&engine, handler("asleep", "true", false)).await;
    handle(&engine, handler("text", "\"yes\"", true)).await;
    handle(&engine, handler("yes", "3", true)).await;
    engine.receive_event(message("conductor:q", "m", &json!({}))).await.expect("it is taken");
    let mut lines = handlings(&engine, 3).await;
    lines.sort_by_key(|(status, _)| status.clone());
    let statuses: Vec<&str> = lines.iter().map(|(status, _)| &**status).collect();
    assert_eq!(statuses, ["COMPLETED", "SKIPPED", "SKIPPED"]);
    let other = engine.receive_event(message("conductor:other", "m", &json!({}))).await;
    assert!(!other.expect("the store answers"), "no handler subscribes to it");
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn tasks_end_by_reference_and_by_id() {
    let engine = open(Arc::new(Memory::default())).await;
    let definition = json!({
        "name": "waits", "version": 1, "schemaVersion": 2,
        "tasks": [
            { "name": "a", "taskReferenceName": "a", "type": "SIMPLE" },
            { "name": "b", "taskReferenceName": "b", "type": "SIMPLE", "retryCount": 0 },
        ],
    });
    register(&engine, definition).await;
    let action = |kind: &str, details: Value| json!({ "action": kind, kind: details });
    let handler = json!({
        "name": "done", "event": "conductor:done", "active": true,
        "actions": [action("complete_task", json!({
            "workflowId": "${w}", "taskRefName": "a", "output": { "n": "${n}" },
        }))],
    });
    handle(&engine, handler).await;
    let handler = json!({
        "name": "broken", "event": "conductor:broken", "active": true,
        "actions": [action("fail_task", json!({
            "taskId": "${t}", "reasonForIncompletion": "because ${why}",
        }))],
    });
    handle(&engine, handler).await;
    let id = start(&engine, "waits", json!({})).await;
    let payload = json!({ "w": id, "n": 5 });
    engine.receive_event(message("conductor:done", "1", &payload)).await.expect("it is taken");
    let task = poll(&engine, "b").await;
    let output = engine.read(&id, |state| state.latest("a").map(|task| task.output.parse())).await;
    let output = output.expect("the store answers").flatten().expect("a has ended");
    assert_eq!(output["n"], json!(5));
    assert_eq!(output["conductor.event.messageId"], json!("1"));
    let payload = json!({ "t": task.to_string(), "why": "of rain" });
    engine.receive_event(message("conductor:broken", "2", &payload)).await.expect("it is taken");
    let (status, _) = ended(&engine, &id).await;
    assert_eq!(status, Status::Failed);
    let reason = engine.read(&id, |state| state.latest("b").and_then(|task| task.reason.clone()));
    let reason = reason.await.expect("the store answers").flatten();
    assert_eq!(reason.as_deref(), Some("because of rain"));
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn workflows_are_changed_and_ended() {
    let engine = open(Arc::new(Memory::default())).await;
    let definition = json!({
        "name": "waits", "version": 1, "schemaVersion": 2, "variables": { "list": [1] },
        "tasks": [{ "name": "a", "taskReferenceName": "a", "type": "SIMPLE" }],
    });
    register(&engine, definition).await;
    let handler = json!({
        "name": "h", "event": "conductor:q", "active": true,
        "actions": [
            { "action": "update_workflow_variables", "update_workflow_variables": {
                "workflowId": "${w}", "appendArray": true,
                "variables": { "list": ["${n}"], "x": "${n}" } } },
            { "action": "terminate_workflow", "terminate_workflow": {
                "workflowId": "${w}", "terminationReason": "enough of ${n}" } },
        ],
    });
    handle(&engine, handler).await;
    let id = start(&engine, "waits", json!({})).await;
    let payload = json!({ "w": id, "n": 2 });
    engine.receive_event(message("conductor:q", "1", &payload)).await.expect("it is taken");
    let (status, _) = ended(&engine, &id).await;
    assert_eq!(status, Status::Terminated);
    let look = |state: &kernel::graph::Execution| (state.variables.parse(), state.reason.clone());
    let (variables, reason) = engine.read(&id, look).await.expect("it answers").expect("it is");
    assert_eq!(variables, json!({ "list": [1, 2], "x": 2 }));
    assert_eq!(reason.as_deref(), Some("enough of 2"));
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn what_cannot_be_done_is_told_at_last() {
    let engine = open(Arc::new(Memory::default())).await;
    let handler = json!({
        "name": "h", "event": "conductor:q", "active": true,
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": "nowhere" } }],
    });
    handle(&engine, handler).await;
    engine.receive_event(message("conductor:q", "1", &json!({}))).await.expect("it is taken");
    let lines = handlings(&engine, 1).await;
    assert_eq!(lines[0].0, "FAILED");
    assert_eq!(lines[0].1["output"]["exception"], "No such workflow found by name: nowhere");
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn a_message_outlives_the_process() {
    let store = Arc::new(Memory::default());
    let engine = open(store.clone()).await;
    let handler = json!({
        "name": "h", "event": "conductor:q", "active": true,
        "actions": [{ "action": "start_workflow", "start_workflow": { "name": ECHO } }],
    });
    handle(&engine, handler).await;
    // The workflow is unknown, so the message is tried again and again; meanwhile the server stops.
    engine.receive_event(message("conductor:q", "1", &json!({}))).await.expect("it is taken");
    engine.stop();
    let engine = open(store).await;
    echo(&engine).await;
    let id = started(&handlings(&engine, 1).await);
    assert_eq!(ended(&engine, &id).await.0, Status::Completed);
    engine.close().await.expect("it closes");
}

#[tokio::test]
async fn a_queue_of_updates_ends_the_task_that_a_message_names() {
    let engine = open(Arc::new(Memory::default())).await;
    let definition = json!({
        "name": "waits", "version": 1, "schemaVersion": 2,
        "tasks": [{ "name": "w", "taskReferenceName": "w", "type": "WAIT" }],
    });
    register(&engine, definition).await;
    assert!(engine.listen_for_updates("conductor:updates_"));
    assert!(!engine.listen_for_updates("nothing"));
    for (reference, queue, status) in [
        (Some("w"), "conductor:updates_COMPLETED", Status::Completed),
        (None, "conductor:updates_FAILED", Status::Failed),
    ] {
        let id = start(&engine, "waits", json!({})).await;
        let external = json!({ "workflowId": id, "taskRefName": reference }).to_string();
        let payload = json!({ "externalId": external, "more": 1 });
        let taken = engine.receive_event(message(queue, id.as_str(), &payload)).await;
        assert!(taken.expect("the store takes it"));
        assert_eq!(ended(&engine, &id).await.0, status);
        let output = engine.read(&id, |state| state.latest("w").map(|t| t.output.parse())).await;
        assert_eq!(output.expect("it answers").flatten().expect("it ended")["more"], json!(1));
    }
    engine.close().await.expect("it closes");
}
