//! Tasks that act on the engine they run in.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod acting;
mod query;

use engine::Engine;
use kernel::graph::Status;
use serde_json::{Value, json};
use tasks::registry::{Settings, runners};

use crate::flows::{ended, open, register, run, stands, start};

async fn house() -> Engine {
    house_with(Settings::default()).await
}

async fn house_with(mut settings: Settings) -> Engine {
    settings.http.environment_proxy = false;
    let engine = open(runners(&settings).unwrap()).await;
    register(&engine, "waits", json!([{ "ref": "w", "type": "WAIT" }])).await;
    engine
}

/// Runs a task that must complete, and answers its output.
async fn completes(engine: &Engine, task_type: &str, input: Value) -> Value {
    let (status, output, reason) = run(engine, task_type, input).await;
    assert_eq!(status, Status::Completed, "{reason}");
    output
}

/// Runs a task that must fail, and answers why.
async fn fails(engine: &Engine, task_type: &str, input: Value) -> String {
    let (status, output, reason) = run(engine, task_type, input).await;
    assert_eq!(status, Status::Failed, "{output}");
    reason
}

#[tokio::test]
async fn get_shows_another_workflow() {
    let engine = house().await;
    let id = start(&engine, "waits", json!({})).await;
    let without = completes(&engine, "GET_WORKFLOW", json!({ "id": id })).await;
    assert_eq!(without, json!({ "status": "RUNNING", "workflowId": id }));
    for flag in [json!(true), json!("true")] {
        let input = json!({ "id": id, "includeTasks": flag });
        let whole = completes(&engine, "GET_WORKFLOW", input).await;
        assert_eq!(whole["tasks"], json!(["w"]));
    }
    for (input, why) in [
        (json!({}), "`id` is missing"),
        (json!({ "id": "nowhere" }), "no workflow with the id nowhere"),
        (json!({ "id": "x".repeat(5000) }), "names no workflow"),
        (json!({ "id": id, "includeTasks": "perhaps" }), "`includeTasks` must be true or false"),
    ] {
        let reason = fails(&engine, "GET_WORKFLOW", input).await;
        assert!(reason.contains(why), "{reason}");
    }
}

#[tokio::test]
async fn terminate_ends_what_it_names() {
    let engine = house().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(start(&engine, "waits", json!({})).await);
    }
    let input = json!({ "workflowId": ids[0], "terminationReason": "not needed" });
    let output = completes(&engine, "TERMINATE_WORKFLOW", input).await;
    assert_eq!(output, json!({ "terminatedWorkflows": [ids[0]] }));
    let (status, _, reason) = stands(&engine, &ids[0]).await;
    assert_eq!((status, &*reason), (Status::Terminated, "not needed"));

    // Lists in lists, as a template makes them; one that was terminated before counts.
    let input = json!({ "workflowId": [[ids[0], ids[1]], ids[2]] });
    let output = completes(&engine, "TERMINATE_WORKFLOW", input).await;
    assert_eq!(output["terminatedWorkflows"], json!([ids[0], ids[1], ids[2]]));

    // What can be ended is, whatever else is named.
    let input = json!({ "workflowId": ["nowhere", ids[3]] });
    let reason = fails(&engine, "TERMINATE_WORKFLOW", input).await;
    assert!(reason.contains("nowhere"), "{reason}");
    assert_eq!(stands(&engine, &ids[3]).await.0, Status::Terminated);

    for input in [json!({}), json!({ "workflowId": [] }), json!({ "workflowId": [{}] })] {
        let reason = fails(&engine, "TERMINATE_WORKFLOW", input).await;
        assert!(reason.contains("`workflowId`"), "{reason}");
    }
}

#[tokio::test]
async fn terminate_can_end_its_own_workflow_after_the_others() {
    let engine = house().await;
    let other = start(&engine, "waits", json!({})).await;
    let ids = json!(["${workflow.workflowId}", other]);
    let (status, ..) = run(&engine, "TERMINATE_WORKFLOW", json!({ "workflowId": ids })).await;
    assert_eq!(status, Status::Terminated);
    assert_eq!(stands(&engine, &other).await.0, Status::Terminated);
}

#[tokio::test]
async fn update_reports_on_a_waiting_task() {
    let engine = house().await;
    register(
        &engine,
        "two",
        json!([{ "ref": "w", "type": "WAIT" }, { "ref": "h", "type": "HUMAN" }]),
    )
    .await;
    let id = start(&engine, "two", json!({})).await;
    let input = json!({
        "taskStatus": "COMPLETED", "workflowId": id, "taskRefName": "w", "taskOutput": { "a": 1 },
    });
    let output = completes(&engine, "UPDATE_TASK", input).await;
    assert_eq!(output, json!({ "updatedTaskId": format!("{id}-1"), "taskOutput": { "a": 1 } }));
    let input = json!({ "taskStatus": "failed", "taskId": format!("{id}-2"),
        "reasonForIncompletion": "no" });
    completes(&engine, "UPDATE_TASK", input).await;
    let (status, _, reason) = ended(&engine, &id).await;
    assert_eq!(status, Status::Failed);
    assert!(reason.contains("'no'"), "{reason}");

    let by = |reference: &str| json!({ "taskStatus": "COMPLETED", "workflowId": id, "taskRefName": reference });
    for (input, why) in [
        (json!({ "taskId": "x" }), "`taskStatus` is missing"),
        (json!({ "taskStatus": "DONE", "taskId": "x" }), "not 'DONE'"),
        (json!({ "taskStatus": "COMPLETED" }), "`taskId` is missing"),
        (json!({ "taskStatus": "COMPLETED", "taskId": "x" }), "no task with the id x"),
        (json!({ "taskStatus": "COMPLETED", "taskId": format!("{id}-9") }), "no task with the id"),
        (by("w"), "is COMPLETED in a workflow that is FAILED"),
        (by("z"), "has not reached a task of reference name z"),
        (
            json!({ "taskStatus": "COMPLETED", "taskId": "x", "taskOutput": 7 }),
            "`taskOutput` must be an object",
        ),
    ] {
        let reason = fails(&engine, "UPDATE_TASK", input).await;
        assert!(reason.contains(why), "{reason} should say {why}");
    }
}

#[tokio::test]
async fn a_second_run_of_an_update_sees_the_first() {
    use engine::{Handoff, OutcomeStatus, TaskRunner};
    use kernel::Json;
    let settings = Settings::default();
    let runners = runners(&settings).unwrap();
    let engine = open(runners.clone()).await;
    register(&engine, "waits", json!([{ "ref": "w", "type": "WAIT" }])).await;
    let id = start(&engine, "waits", json!({})).await;
    let update = runners.iter().find(|runner| runner.task_type() == "UPDATE_TASK").unwrap();
    let input = json!({ "taskStatus": "COMPLETED", "workflowId": id, "taskRefName": "w" });
    let run = |task: &str| {
        let handoff = Handoff {
            task_id: task.to_owned(),
            execution_id: "elsewhere".to_owned(),
            reference: "u".to_owned(),
            input: Json::of(&input),
            attempt: 0,
            async_complete: false,
            runs: 0,
            traceparent: None,
        };
        TaskRunner::run(&**update, handoff, tokio_util::sync::CancellationToken::new())
    };
    assert_eq!(run("elsewhere-1").await.status, OutcomeStatus::Completed);
    assert_eq!(run("elsewhere-1").await.status, OutcomeStatus::Completed);
    assert_eq!(run("elsewhere-2").await.status, OutcomeStatus::FailedTerminally);
}
