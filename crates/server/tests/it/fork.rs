//! Forks: new executions that go on from a task of another one.

use serde_json::{Value, json};

use crate::support::{Server, line};

async fn ended(server: &Server) -> String {
    let mut two = line("two", &["a", "b"]);
    two["tasks"][1]["inputParameters"] = json!({ "x": "${a.output.x}" });
    server.register(two).await;
    let id = server.start("two", &json!({ "n": 1 })).await;
    server.complete("a").await;
    server.complete("b").await;
    server.until(&id, "COMPLETED").await;
    id
}

#[tokio::test]
async fn a_fork_goes_on_and_the_original_stays() {
    let server = Server::new().await;
    let id = ended(&server).await;
    let original = server.workflow(&id).await;
    let path = format!("/api/workflow/{id}/fork");
    let asked = json!({ "at": "b", "set": { "a.output.x": 7 }, "createdBy": "ann" });

    let mut dry = asked.clone();
    dry["dryRun"] = json!(true);
    let told = server.post(&path, &dry).await.ok();
    assert_eq!(told.get("workflowId"), None, "a dry run begins nothing");
    assert_eq!(told["doneAgain"][0]["referenceTaskName"], "b");
    assert_eq!(server.get(&format!("/api/workflow/{id}/forks")).await.ok(), json!([]));

    let answer = server.post(&path, &asked).await.ok();
    let fork = answer["workflowId"].as_str().expect("an id").to_owned();
    assert_ne!(fork, id);
    let shown = server.workflow(&fork).await;
    assert_eq!(shown["branchedFrom"]["workflowId"], json!(id));
    assert_eq!(shown["branchedFrom"]["at"], "b");
    assert_eq!(shown["tasks"][1]["inputData"], json!({ "x": 7 }));
    server.complete("b").await;
    server.until(&fork, "COMPLETED").await;

    // What has ended is no longer in memory: both are folded from their histories.
    assert_eq!(server.workflow(&id).await, original, "the original is untouched");
    assert_eq!(server.workflow(&fork).await["createdBy"], "ann");
    let forks = server.get(&format!("/api/workflow/{id}/forks")).await.ok();
    assert_eq!(forks[0]["workflowId"], json!(fork));
    assert_eq!((&forks[0]["at"], &forks[0]["status"]), (&json!("b"), &json!("COMPLETED")));
    let why = server.get(&format!("/api/workflow/{id}/why")).await.ok();
    assert_eq!(why["forks"][0]["workflowId"], json!(fork));
    let why = server.get(&format!("/api/workflow/{fork}/why")).await.ok();
    assert_eq!(why["branchedFrom"]["workflowId"], json!(id));
}

#[tokio::test]
async fn a_request_that_comes_again_makes_one_fork() {
    let server = Server::new().await;
    let id = ended(&server).await;
    let path = format!("/api/workflow/{id}/fork");
    let asked = json!({ "at": "b", "idempotencyKey": "k" });
    let first = server.post(&path, &asked).await.ok();
    let second = server.post(&path, &asked).await.ok();
    assert_eq!(first["workflowId"], second["workflowId"]);
    assert_eq!((&first["existing"], &second["existing"]), (&json!(false), &json!(true)));
    let other = server.post(&path, &json!({ "at": "b", "idempotencyKey": "l" })).await.ok();
    assert_ne!(first["workflowId"], other["workflowId"]);
    let forks = server.get(&format!("/api/workflow/{id}/forks")).await.ok();
    assert_eq!(forks.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_running_execution_is_forked_with_another_version_that_fits() {
    let server = Server::new().await;
    server.register(line("flow", &["a", "b"])).await;
    let id = server.start("flow", &json!({})).await;
    server.complete("a").await;
    let mut next = line("flow", &["a", "b", "c"]);
    next["version"] = json!(2);
    server.register(next).await;
    let mut unfit = line("flow", &["a", "other"]);
    unfit["version"] = json!(3);
    server.register(unfit).await;
    let path = format!("/api/workflow/{id}/fork");
    let message = server.post(&path, &json!({ "at": "b", "version": 3 })).await.failed(409);
    assert!(message.contains("no task 'b'"), "{message}");
    server.post(&path, &json!({ "at": "b", "version": 9 })).await.failed(404);
    server.post(&path, &json!({ "at": "z" })).await.failed(400);
    server.post(&path, &json!({ "at": "" })).await.failed(400);
    server.post(&path, &json!({ "at": "b", "set": { "z.output.x": 1 } })).await.failed(400);
    server.post("/api/workflow/none/fork", &json!({ "at": "b" })).await.failed(404);
    let fork = server.post(&path, &json!({ "at": "b", "version": 2 })).await.ok();
    let fork = fork["workflowId"].as_str().expect("an id").to_owned();
    server.complete("b").await;
    server.complete("b").await;
    server.complete("c").await;
    server.until(&fork, "COMPLETED").await;
    server.until(&id, "COMPLETED").await;
    let of = |workflow: &Value| workflow["tasks"].as_array().map(Vec::len);
    assert_eq!(of(&server.workflow(&fork).await), Some(3));
    assert_eq!(of(&server.workflow(&id).await), Some(2));
}
