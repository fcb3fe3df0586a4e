//! Testing workflows with given answers.

use serde_json::{Value, json};

use crate::support::{Server, line, waiting};

async fn test(server: &Server, request: &Value) -> Value {
    let answer = server.post("/api/workflow/test", request).await.ok();
    assert_eq!(server.get("/api/workflow/search").await.ok()["totalHits"], 0, "nothing is kept");
    let queues = server.get("/api/tasks/queue/all").await.ok();
    assert_eq!(queues, json!({}), "nothing is queued");
    answer
}

#[tokio::test]
async fn retries_take_the_answers_in_order() {
    let server = Server::new().await;
    let mut flow = line("flow", &["a", "b"]);
    flow["tasks"][1]["inputParameters"] = json!({ "from": "${a.output.x}" });
    server.register(flow).await;
    let request = json!({ "name": "flow", "version": 1, "input": { "i": 1 }, "taskRefToMockOutput": {
        "a": [{ "status": "FAILED", "output": {} }, { "output": { "x": 5 } }],
        "b": [{ "status": "IN_PROGRESS", "output": {} },
              { "output": { "y": 6 }, "executionTime": 1500, "queueWaitTime": 500 }],
    }});
    let workflow = test(&server, &request).await;
    assert_eq!(workflow["status"], "COMPLETED", "{workflow}");
    assert_eq!(workflow["output"], json!({ "y": 6 }));
    assert_eq!(workflow["input"], json!({ "i": 1 }));
    let tasks = workflow["tasks"].as_array().expect("tasks");
    assert_eq!(tasks.len(), 3);
    assert_eq!((&tasks[0]["status"], &tasks[1]["retryCount"]), (&json!("FAILED"), &json!(1)));
    assert_eq!(tasks[2]["inputData"], json!({ "from": 5 }));
    let elapsed = |task: &Value| {
        task["endTime"].as_i64().expect("a time") - task["scheduledTime"].as_i64().expect("a time")
    };
    assert!(elapsed(&tasks[2]) >= 2000, "{}", tasks[2]);
}

#[tokio::test]
async fn what_has_no_answer_stops_the_test_there() {
    let server = Server::new().await;
    let mut flow = line("flow", &["a", "b"]);
    flow["timeoutSeconds"] = json!(60);
    flow["timeoutPolicy"] = json!("TIME_OUT_WF");
    server.register(flow).await;
    let request = json!({ "name": "flow", "taskRefToMockOutput": { "a": [{ "output": {} }] } });
    let workflow = test(&server, &request).await;
    assert_eq!(workflow["status"], "RUNNING");
    assert_eq!(workflow["tasks"][1]["status"], "SCHEDULED");
    let run = server.post("/api/workflow/test/sync?requestId=r", &request).await.ok();
    assert_eq!((&run["signalTimeout"], &run["requestId"]), (&json!(true), &json!("r")));
    assert_eq!(run["targetWorkflowStatus"], "RUNNING");
    assert_eq!((&workflow["waitsFor"], &run["waitsFor"]), (&json!(["b"]), &json!(["b"])));
}

#[tokio::test]
async fn a_mock_that_no_task_can_take_is_refused_with_the_names_that_there_are() {
    let server = Server::new().await;
    let branch = json!({ "name": "way", "taskReferenceName": "way", "type": "SWITCH",
        "evaluatorType": "value-param", "expression": "x", "inputParameters": { "x": "1" },
        "decisionCases": { "2": [line("flow", &["never"])["tasks"][0]] } });
    let mut flow = line("flow", &["fetch"]);
    flow["tasks"].as_array_mut().expect("tasks").push(branch);
    server.register(flow).await;
    let mocks = |name: &str| {
        json!({ "name": "flow", "taskRefToMockOutput": { "fetch": [{ "output": {} }],
            (name): [{ "output": {} }] } })
    };
    let refused = server.post("/api/workflow/test", &mocks("fetsch")).await;
    refused.failed(400);
    let message = refused.json()["message"].as_str().expect("a message").to_owned();
    assert_eq!(message, "there is no task 'fetsch' to mock; there are fetch, never, way");
    // What another branch or iteration would take is no mistake.
    for name in ["never", "fetch__2"] {
        assert_eq!(test(&server, &mocks(name)).await["status"], "COMPLETED", "{name}");
    }
}

#[tokio::test]
async fn a_slow_answer_times_out() {
    let server = Server::new().await;
    let mut flow = line("flow", &["a"]);
    flow["tasks"][0]["taskDefinition"] = json!({ "name": "a", "retryCount": 0,
        "timeoutSeconds": 10, "responseTimeoutSeconds": 5, "timeoutPolicy": "TIME_OUT_WF" });
    let request = json!({ "name": "flow", "workflowDef": flow,
        "taskRefToMockOutput": { "a": [{ "output": {}, "executionTime": 60000 }] } });
    let workflow = test(&server, &request).await;
    assert_eq!(workflow["tasks"][0]["status"], "TIMED_OUT", "{workflow}");
    assert_eq!(workflow["status"], "TIMED_OUT");
}

#[tokio::test]
async fn waits_signals_and_sub_workflows_are_answered() {
    let server = Server::new().await;
    let sub = |reference: &str| {
        json!({ "name": reference, "taskReferenceName": reference, "type": "SUB_WORKFLOW",
            "subWorkflowParam": { "name": "child" } })
    };
    let timer = json!({ "name": "timer", "taskReferenceName": "timer", "type": "WAIT",
        "inputParameters": { "duration": "3 days" } });
    let mut parent = waiting("parent");
    let tasks = parent["tasks"].as_array_mut().expect("tasks");
    tasks.extend([timer, sub("real"), sub("mocked")]);
    server.register(json!([parent, line("child", &["a"])])).await;
    let request = json!({ "name": "parent",
        "taskRefToMockOutput": {
            "wait": [{ "output": { "said": "go" } }],
            "mocked": [{ "output": { "child": "never began" } }],
        },
        "subWorkflowTestRequest": { "real": { "name": "child",
            "taskRefToMockOutput": { "a": [{ "output": { "child": "ran" } }] } } },
    });
    let workflow = test(&server, &request).await;
    assert_eq!(workflow["status"], "COMPLETED", "{workflow}");
    let output = |index: usize| workflow["tasks"][index]["outputData"].clone();
    assert_eq!(output(0), json!({ "said": "go" }));
    assert_eq!(output(2)["child"], "ran");
    assert_eq!(output(3), json!({ "child": "never began" }));
    let days = workflow["endTime"].as_i64().zip(workflow["startTime"].as_i64());
    assert!(days.is_some_and(|(end, start)| end - start >= 3 * 86_400_000), "{workflow}");
}

#[tokio::test]
async fn a_test_with_a_fault_is_refused() {
    let server = Server::new().await;
    server.register(line("flow", &["a"])).await;
    let faults = [
        (json!({ "name": "none" }), 404),
        (json!([]), 400),
        (json!({ "name": "flow", "taskRefToMockOutput": { "a": [{ "status": "GREAT" }] } }), 400),
        (json!({ "name": "flow", "taskRefToMockOutput": { "a": [{ "output": [1] }] } }), 400),
        (json!({ "name": "flow", "taskRefToMockOutput": { "a": [{ "executionTime": -1 }] } }), 400),
    ];
    for (request, status) in faults {
        server.post("/api/workflow/test", &request).await.failed(status);
    }
}
