//! What covers executions of graphs and instances of code alike: search, metrics, waiting reasons.

use axum::http::Method;
use kernel::durable::Outcome;
use serde_json::{Value, json};

use crate::code_worker::{Worker, call, end};
use crate::support::line;

/// The ids that a search finds, in order.
async fn found(worker: &Worker, query: &str) -> Vec<String> {
    let found = worker.server.get(&format!("/api/workflow/search?{query}")).await.ok();
    let results = found["results"].as_array().expect("a list");
    assert_eq!(found["totalHits"], results.len(), "all fit on the page: {found}");
    results.iter().map(|found| found["workflowId"].as_str().expect("an id").to_owned()).collect()
}

/// One execution that waits for a worker, and three instances: `done`, `lost` and `open`.
async fn world() -> (Worker, String) {
    let worker = Worker::new().await;
    worker.server.register(line("orders", &["pack"])).await;
    let graph = worker.server.start("orders", &json!({ "n": 1 })).await;
    worker.post("/orchestrators/hello/done", "[1, 2]").await;
    worker.turn(vec![(0, end(Outcome::Completed, "{\"sum\":3}"))], None).await;
    worker.post("/orchestrators/hello/lost", "").await;
    worker.turn(vec![(0, end(Outcome::Failed, ""))], None).await;
    worker.post("/orchestrators/hello/open", "\"Tokyo\"").await;
    worker.turn(vec![(0, call("say"))], None).await;
    (worker, graph)
}

const OPEN: &str = "instance:default:open";
const DONE: &str = "instance:default:done";
const LOST: &str = "instance:default:lost";

#[tokio::test]
async fn searches_find_both_when_both_are_asked_for() {
    let (worker, graph) = world().await;
    let graph = graph.as_str();
    let cases: &[(&str, &[&str])] = &[
        // A client that knows workflows alone sees what it can steer.
        ("", &[graph]),
        ("classifier=workflow", &[graph]),
        ("classifier=orchestration", &[OPEN, LOST, DONE]),
        ("classifier=*", &[OPEN, LOST, DONE, graph]),
        ("classifier=workflow,orchestration", &[OPEN, LOST, DONE, graph]),
        ("classifier=agent", &[]),
        ("query=classifier!%3Dworkflow", &[OPEN, LOST, DONE]),
        ("classifier=workflow&query=classifier%3Dorchestration", &[]),
        // Statuses are those of executions.
        ("classifier=*&query=status%3DRUNNING", &[OPEN, graph]),
        ("classifier=*&query=status!%3DRUNNING", &[LOST, DONE]),
        ("classifier=*&query=status%20IN%20(FAILED,COMPLETED)", &[LOST, DONE]),
        ("classifier=*&query=workflowType%3Dhello%20AND%20status%3DCOMPLETED", &[DONE]),
        ("classifier=*&freeText=Tokyo", &[OPEN]),
        ("classifier=*&sort=startTime:ASC", &[graph, DONE, LOST, OPEN]),
    ];
    for (query, expected) in cases {
        let mut found = found(&worker, query).await;
        let mut expected: Vec<_> = expected.iter().map(|id| (*id).to_owned()).collect();
        // All may have begun within one millisecond, in which lists have no order of their own.
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{query}");
    }
    let page = worker.server.get("/api/workflow/search?classifier=*&start=1&size=2").await.ok();
    assert_eq!(
        (&page["totalHits"], page["results"].as_array().map(Vec::len)),
        (&json!(4), Some(2))
    );
}

#[tokio::test]
async fn suspended_and_pending_are_found_as_paused_and_running() {
    let worker = Worker::new().await;
    worker.post("/orchestrators/hello/one", "").await;
    assert_eq!(found(&worker, "classifier=*&query=status%3DRUNNING").await.len(), 1, "pending");
    worker.turn(vec![(0, call("say"))], None).await;
    worker.post("/instances/one/suspend", "").await;
    worker.turn(Vec::new(), None).await;
    assert_eq!(found(&worker, "classifier=*&query=status%3DPAUSED").await.len(), 1);
    assert_eq!(found(&worker, "classifier=*&query=status%3DRUNNING").await.len(), 0);
}

#[tokio::test]
async fn a_summary_of_an_instance_is_one_of_the_protocol() {
    let (worker, _) = world().await;
    let path = "/api/workflow/search?classifier=*&query=workflowId%3Dinstance:default:";
    let summary = worker.server.get(&format!("{path}done")).await.ok()["results"][0].clone();
    for (member, expected) in [
        ("workflowId", json!(DONE)),
        ("workflowType", json!("hello")),
        ("version", json!(1)),
        ("status", json!("COMPLETED")),
        ("classifier", json!("orchestration")),
        ("input", json!("[1, 2]")),
        ("output", json!("{\"sum\":3}")),
        ("failedReferenceTaskNames", json!("")),
        ("failedTaskNames", json!([])),
        ("priority", json!(0)),
        ("parentWorkflowId", json!("")),
    ] {
        assert_eq!(summary[member], expected, "{member} of {summary}");
    }
    assert!(summary["startTime"].is_string() && summary["endTime"].is_string(), "{summary}");
    let lost = worker.server.get(&format!("{path}lost")).await.ok()["results"][0].clone();
    assert_eq!(lost["reasonForIncompletion"], "ValueError: no luck");
    let whole = worker.server.get(&format!("{}done", path.replace("search", "search-v2"))).await;
    let whole = whole.ok()["results"][0].clone();
    assert_eq!(
        (&whole["input"], &whole["output"]),
        (&json!({ "input": [1, 2] }), &json!({ "sum": 3 }))
    );
    assert_eq!((&whole["tasks"], &whole["status"]), (&json!([]), &json!("COMPLETED")));
    assert!(whole["endTime"].as_i64().is_some_and(|at| at > 0), "{whole}");
}

#[tokio::test]
async fn metrics_and_health_count_both() {
    let (worker, _) = world().await;
    worker.ask(Method::POST, "/entities/counter/one?op=add", "1").await;
    let batch = worker.batch().await;
    assert_eq!(batch.operations.len(), 1);
    let text = worker.server.get("/metrics").await.text;
    let lines: Vec<&str> = text.lines().collect();
    for expected in [
        "nightbell_executions 1",
        "nightbell_executions_running 1",
        "nightbell_instances 3",
        "nightbell_instances_running 1",
        "nightbell_entities 1",
        "nightbell_workflows_started_total 4",
        "nightbell_workflows_completed_total 1",
        "nightbell_workflows_failed_total 1",
    ] {
        assert!(lines.contains(&expected), "{expected} in\n{text}");
    }
    let store = worker.server.get("/health").await.ok()["store"].clone();
    assert_eq!((&store["instances"], &store["instancesRunning"]), (&json!(3), &json!(1)));
}

#[tokio::test]
async fn what_nobody_can_run_says_why_at_every_place() {
    let (worker, graph) = world().await;
    let waiting_in = async |hub: &str, id: &str, whole: &str| -> Value {
        let path = format!("/instances/{id}?showWaiting=true&taskHub={hub}");
        let own = worker.get(&path).await.1["waiting"].clone();
        let why = worker.server.get(&format!("/api/workflow/{whole}/why")).await.ok();
        assert_eq!(why["waiting"], own, "both say the same");
        own[0].clone()
    };
    let waiting = async |id: &str| waiting_in("default", id, id).await;
    worker.post("/orchestrators/hello/lone?taskHub=lone", "").await;
    let lone = waiting_in("lone", "lone", "instance:lone:lone").await;
    assert_eq!(lone["code"], "no-worker");
    assert_eq!(lone["reason"], "no worker attends the task hub 'lone'");
    let open = waiting("open").await;
    assert_eq!((&open["taskType"], &open["reference"]), (&json!("ACTIVITY"), &json!("say")));
    assert_eq!(open["code"], "queued");
    let graph = waiting(&graph).await;
    assert_eq!(graph["reason"], "no worker has polled 'pack' since the server started");
    assert_eq!(waiting("done").await, Value::Null, "what has ended waits for nothing");
    // Nobody who did not ask is told.
    assert!(worker.get("/instances/open").await.1.get("waiting").is_none());
}

#[tokio::test]
async fn an_orchestrator_that_no_worker_takes_names_itself() {
    let worker = Worker::picky(&["known"]).await;
    worker.post("/orchestrators/unknown/one", "").await;
    let (_, shown) = worker.get("/instances/one?showWaiting=true").await;
    let waiting = &shown["waiting"][0];
    assert_eq!(waiting["code"], "no-worker");
    assert_eq!(
        waiting["reason"],
        "of 1 worker in the task hub 'default', none runs the orchestrator 'unknown'"
    );
}
