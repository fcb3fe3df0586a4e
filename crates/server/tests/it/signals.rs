//! Signals: the first task that waits for the outside is told, wherever it stands.

use serde_json::json;

use crate::support::{Server, line, waiting};

fn with_type(name: &str, task_type: &str) -> serde_json::Value {
    let wait = json!({ "name": "wait", "taskReferenceName": "wait", "type": task_type });
    json!({ "name": name, "version": 1, "tasks": [wait] })
}

#[tokio::test]
async fn every_type_that_waits_takes_a_signal() {
    let server = Server::new().await;
    for task_type in ["WAIT", "YIELD", "HUMAN"] {
        server.register(with_type(task_type, task_type)).await;
        let id = server.start(task_type, &json!({})).await;
        let path = format!("/api/tasks/{id}/COMPLETED/signal");
        server.post(&path, &json!({ "answer": 42 })).await.ok_text();
        let workflow = server.workflow(&id).await;
        assert_eq!(workflow["status"], "COMPLETED", "{task_type}");
        assert_eq!(workflow["tasks"][0]["taskType"], task_type);
        assert_eq!(workflow["output"], json!({ "answer": 42 }));
        server.post(&path, &json!({})).await.ok_text();
    }
}

#[tokio::test]
async fn a_signal_finds_the_task_in_a_sub_workflow_and_waits_for_what_follows() {
    let server = Server::new().await;
    let parent = json!({ "name": "parent", "version": 1, "tasks": [
        { "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
          "subWorkflowParam": { "name": "child" } },
        { "name": "last", "taskReferenceName": "last", "type": "YIELD" },
    ]});
    server.register(json!([parent, with_type("child", "YIELD")])).await;
    let query = "/api/workflow/execute/parent/1?waitForSeconds=30&returnStrategy=BLOCKING_WORKFLOW";
    let run = server.post(query, &json!({})).await.ok();
    let id = run["targetWorkflowId"].as_str().expect("an id").to_owned();
    assert_ne!(run["workflowId"], json!(id), "the child holds the parent up");
    let signal = format!(
        "/api/tasks/{id}/COMPLETED/signal/sync?returnStrategy=BLOCKING_TASK&timeoutMillis=30000"
    );
    let answer = server.post(&signal, &json!({ "from": "outside" })).await.ok();
    assert_eq!(answer["responseType"], "BLOCKING_TASK");
    assert_eq!(answer["referenceTaskName"], "last");
    assert_eq!(answer["signalTimeout"], false);
    assert_eq!(answer["targetWorkflowStatus"], "RUNNING");
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["tasks"][0]["outputData"]["from"], "outside");
    let end = format!("/api/tasks/{id}/FAILED_WITH_TERMINAL_ERROR/signal/sync");
    let answer = server.post(&end, &json!({})).await.ok();
    assert_eq!(answer["responseType"], "TARGET_WORKFLOW");
    assert_eq!(answer["status"], "FAILED");
    server.post(&end, &json!({})).await.failed(404);
}

#[tokio::test]
async fn a_signal_to_nothing_says_so() {
    let server = Server::new().await;
    server.register(json!([line("busy", &["a"]), waiting("w")])).await;
    server.post("/api/tasks/none/COMPLETED/signal", &json!({})).await.failed(404);
    server.post("/api/tasks/none/COMPLETED/signal/sync", &json!({})).await.failed(404);
    let busy = server.start("busy", &json!({})).await;
    server.post(&format!("/api/tasks/{busy}/COMPLETED/signal"), &json!({})).await.ok_text();
    server.post(&format!("/api/tasks/{busy}/COMPLETED/signal/sync"), &json!({})).await.failed(404);
    let waits = server.start("w", &json!({})).await;
    server.post(&format!("/api/tasks/{waits}/SOON/signal"), &json!({})).await.failed(400);
}

#[tokio::test]
async fn a_wait_with_an_end_gives_the_execution_back_if_its_author_says_so() {
    let server = Server::new().await;
    let wait = |name: &str, gives_back: bool| {
        json!({ "name": name, "version": 1, "tasks": [{
            "name": "wait", "taskReferenceName": "wait", "type": "WAIT",
            "inputParameters": { "duration": "1h", "yield": gives_back },
        }]})
    };
    server.register(json!([wait("yes", true), wait("no", false)])).await;
    let run = |name: &str| format!("/api/workflow/execute/{name}/1?waitForSeconds=1");
    assert_eq!(server.post(&run("yes"), &json!({})).await.ok()["signalTimeout"], false);
    assert_eq!(server.post(&run("no"), &json!({})).await.ok()["signalTimeout"], true);
}
