//! How executions and tasks are shown.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use engine::{Handoff, Outcome, OutcomeStatus, TaskRunner};
use kernel::Json;
use kernel::definition::TaskDef;
use kernel::graph::TaskStatus;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::support::{Server, line, waiting};

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> =
        object.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn a_workflow_has_the_fields_of_the_protocol() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let id = server.start("orders", &json!({ "a": 1 })).await;
    server.complete("pack").await;
    let workflow = server.workflow(&id).await;
    let expected = [
        "createTime",
        "endTime",
        "failedReferenceTaskNames",
        "failedTaskNames",
        "history",
        "input",
        "lastRetriedTime",
        "output",
        "priority",
        "rateLimited",
        "startTime",
        "status",
        "taskToDomain",
        "tasks",
        "updateTime",
        "variables",
        "workflowDefinition",
        "workflowId",
        "workflowName",
        "workflowVersion",
    ];
    assert_eq!(keys(&workflow), expected);
    assert_eq!(workflow["status"], "COMPLETED");
    assert_eq!(workflow["output"], json!({ "done": true }));
    assert_eq!(workflow["failedReferenceTaskNames"], json!([]));
    assert_eq!(workflow["history"], json!([]));
    assert_eq!(workflow["taskToDomain"], json!({}));
    assert_eq!(workflow["lastRetriedTime"], 0);
    for time in ["createTime", "startTime", "updateTime", "endTime"] {
        let millis = workflow[time].as_i64().unwrap_or_else(|| panic!("{time} is not a number"));
        assert!(millis > 1_700_000_000_000, "{time} = {millis}");
    }
    assert_eq!(workflow["workflowDefinition"]["name"], "orders");
    let embedded = &workflow["workflowDefinition"]["tasks"][0]["taskDefinition"];
    assert_eq!(embedded["responseTimeoutSeconds"], 3600);
}

#[tokio::test]
async fn a_task_has_the_fields_of_the_protocol() {
    let server = Server::new().await;
    let policy = TaskDef {
        rate_limit_per_frequency: 5,
        rate_limit_frequency_in_seconds: 60,
        response_timeout_seconds: 30,
        isolation_group_id: Some("iso".to_owned()),
        ..TaskDef::named("pack")
    };
    server.register_task(policy).await;
    server.register(line("orders", &["pack"])).await;
    let id = server.start("orders", &json!({})).await;
    let waiting = server.workflow(&id).await["tasks"][0].clone();
    assert_eq!(waiting["status"], "SCHEDULED");
    for time in ["startTime", "endTime", "firstStartTime", "queueWaitTime"] {
        assert_eq!(waiting[time], 0, "{time}");
    }
    let taken = server.take("pack-iso").await;
    server.report(&taken, TaskStatus::Completed, &json!({ "n": 1.5 })).await;
    let task = server.workflow(&id).await["tasks"][0].clone();
    let expected = [
        "callbackAfterSeconds",
        "callbackFromWorker",
        "endTime",
        "executed",
        "executionMetadata",
        "firstStartTime",
        "inputData",
        "isolationGroupId",
        "iteration",
        "loopOverTask",
        "outputData",
        "pollCount",
        "queueWaitTime",
        "rateLimitFrequencyInSeconds",
        "rateLimitPerFrequency",
        "referenceTaskName",
        "responseTimeoutSeconds",
        "retried",
        "retryCount",
        "scheduledTime",
        "seq",
        "startDelayInSeconds",
        "startTime",
        "status",
        "subworkflowChanged",
        "taskDefName",
        "taskDefinition",
        "taskId",
        "taskType",
        "updateTime",
        "workerId",
        "workflowInstanceId",
        "workflowPriority",
        "workflowTask",
        "workflowType",
    ];
    assert_eq!(keys(&task), expected);
    assert_eq!(task["taskId"], taken.to_string());
    assert_eq!(task["taskType"], "pack");
    assert_eq!(task["taskDefName"], "pack");
    assert_eq!(task["status"], "COMPLETED");
    assert_eq!(task["outputData"], json!({ "n": 1.5 }));
    assert_eq!(task["pollCount"], 1);
    assert_eq!(task["workerId"], "tester");
    assert_eq!(task["seq"], 1);
    assert_eq!(task["executed"], true);
    assert_eq!(task["rateLimitPerFrequency"], 5);
    assert_eq!(task["rateLimitFrequencyInSeconds"], 60);
    assert_eq!(task["responseTimeoutSeconds"], 30);
    assert_eq!(task["workflowType"], "orders");
    assert_eq!(task["workflowTask"]["taskReferenceName"], "pack");
    assert_eq!(task["taskDefinition"]["name"], "pack");
}

#[tokio::test]
async fn a_retried_task_stays_in_the_list() {
    let server = Server::new().await;
    let policy = TaskDef { retry_count: 1, retry_delay_seconds: 0, ..TaskDef::named("pack") };
    server.register_task(policy).await;
    server.register(line("orders", &["pack"])).await;
    let id = server.start("orders", &json!({})).await;
    let first = server.take("pack").await;
    server.report(&first, TaskStatus::Failed, &json!({})).await;
    let tasks = server.workflow(&id).await["tasks"].clone();
    assert_eq!(tasks[0]["status"], "FAILED");
    assert_eq!(tasks[0]["retried"], true);
    assert_eq!(tasks[0]["executed"], false);
    assert_eq!(tasks[0]["reasonForIncompletion"], "it broke");
    assert_eq!(tasks[1]["retriedTaskId"], tasks[0]["taskId"]);
    assert_eq!(tasks[1]["retryCount"], 1);
    let second = server.take("pack").await;
    server.report(&second, TaskStatus::Failed, &json!({})).await;
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["status"], "FAILED");
    assert_eq!(workflow["failedReferenceTaskNames"], json!(["pack"]));
    assert_eq!(workflow["failedTaskNames"], json!(["pack"]));
    assert!(workflow["reasonForIncompletion"].as_str().is_some_and(|r| r.contains("it broke")));
    assert_eq!(workflow["tasks"][1]["firstStartTime"], workflow["tasks"][0]["startTime"]);
}

#[tokio::test]
async fn failed_tasks_are_named_once_the_workflow_has_ended() {
    let server = Server::new().await;
    for name in ["pack", "ship"] {
        let policy = TaskDef { retry_count: 1, retry_delay_seconds: 0, ..TaskDef::named(name) };
        server.register_task(policy).await;
    }
    let fail = async |queue: &str| {
        let task = server.take(queue).await;
        server.report(&task, TaskStatus::Failed, &json!({})).await;
    };
    let failed = async |id: &str| {
        let workflow = server.workflow(id).await;
        (workflow["failedReferenceTaskNames"].clone(), workflow["failedTaskNames"].clone())
    };

    // An attempt that was repeated counts too, but only at the end.
    let task = |name: &str, more: Value| {
        let mut task = json!({ "name": name, "taskReferenceName": format!("{name}_ref") });
        for (field, value) in more.as_object().expect("an object") {
            task[field] = value.clone();
        }
        task
    };
    let orders = json!({ "name": "orders", "version": 1, "tasks": [
        task("pack", json!({})), task("ship", json!({ "optional": true, "retryCount": 0 })),
    ]});
    server.register(orders).await;
    let id = server.start("orders", &json!({})).await;
    fail("pack").await;
    assert_eq!(failed(&id).await, (json!([]), json!([])), "it runs");
    server.complete("pack").await;
    fail("ship").await;
    server.until(&id, "COMPLETED").await;
    assert_eq!(failed(&id).await, (json!(["pack_ref"]), json!(["pack"])));

    // Of a loop the task in its body, and of a JOIN the name of its type.
    let joined = json!({ "name": "joined", "version": 1, "tasks": [
        { "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN", "forkTasks": [
            [task("pack", json!({ "permissive": true, "retryCount": 0 }))],
            [task("ship", json!({}))],
        ] },
        { "name": "j", "taskReferenceName": "j_ref", "type": "JOIN",
          "joinOn": ["pack_ref", "ship_ref"] },
    ]});
    let looping = json!({ "name": "looping", "version": 1, "tasks": [
        { "name": "l", "taskReferenceName": "l", "type": "DO_WHILE", "loopCondition": "false",
          "loopOver": [task("pack", json!({ "retryCount": 0 }))] },
    ]});
    server.register(json!([joined, looping])).await;
    let id = server.start("joined", &json!({})).await;
    fail("pack").await;
    server.complete("ship").await;
    server.until(&id, "FAILED").await;
    let names = (json!(["j_ref", "pack_ref"]), json!(["JOIN", "pack"]));
    assert_eq!(failed(&id).await, names);
    let id = server.start("looping", &json!({})).await;
    fail("pack").await;
    server.until(&id, "FAILED").await;
    assert_eq!(failed(&id).await, (json!(["pack_ref__1"]), json!(["pack"])));
}

#[tokio::test]
async fn what_timed_out_has_not_failed() {
    let server = Server::new().await;
    let hasty = |retry_count| TaskDef {
        retry_count,
        retry_delay_seconds: 0,
        timeout_seconds: 1,
        response_timeout_seconds: 1,
        ..TaskDef::named("pack")
    };
    server.register_task(hasty(1)).await;
    server
        .register(json!({ "name": "orders", "version": 1, "tasks": [
            { "name": "pack", "taskReferenceName": "pack_ref" }] }))
        .await;
    let id = server.start("orders", &json!({})).await;
    let task = server.take("pack").await;
    server.report(&task, TaskStatus::Failed, &json!({})).await;
    // Nobody hears of the second attempt again.
    server.take("pack").await;
    server.until(&id, "TIMED_OUT").await;
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["tasks"][1]["status"], "TIMED_OUT", "{workflow}");
    assert_eq!(workflow["failedReferenceTaskNames"], json!(["pack_ref"]), "the first attempt");

    server.register_task(hasty(0)).await;
    let id = server.start("orders", &json!({})).await;
    server.take("pack").await;
    server.until(&id, "TIMED_OUT").await;
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["tasks"][0]["status"], "TIMED_OUT", "{workflow}");
    let failed = (&workflow["failedReferenceTaskNames"], &workflow["failedTaskNames"]);
    assert_eq!(failed, (&json!([]), &json!([])));
}

#[tokio::test]
async fn a_switch_shows_its_case_and_its_whole_place() {
    let server = Server::new().await;
    let switch = |name: &str, cases: Value| {
        json!({ "name": name, "version": 1, "tasks": [{
            "name": "choose", "taskReferenceName": "choose", "type": "SWITCH",
            "evaluatorType": "value-param", "expression": "way",
            "inputParameters": { "way": "${workflow.input.way}" },
            "decisionCases": cases,
            "defaultCase": [{ "name": "w", "taskReferenceName": "other", "type": "WAIT" }],
        }]})
    };
    let left = json!([{ "name": "w", "taskReferenceName": "left", "type": "WAIT" }]);
    server.register(switch("s", json!({ "left": left, "none": [] }))).await;
    for (way, children) in [("left", json!("true")), ("else", json!("true")), ("none", json!(null))]
    {
        let id = server.start("s", &json!({ "way": way })).await;
        let task = server.workflow(&id).await["tasks"][0].clone();
        assert_eq!(task["taskType"], "SWITCH");
        assert_eq!(task["taskDefName"], "SWITCH");
        assert_eq!(task["inputData"]["way"], way);
        assert_eq!(task["inputData"]["case"], way);
        assert_eq!(task["inputData"]["hasChildren"], children, "{way}");
        assert_eq!(task["outputData"]["selectedCase"], way);
        let place = &task["workflowTask"]["decisionCases"]["left"][0];
        assert_eq!(place["taskReferenceName"], "left");
    }
}

#[tokio::test]
async fn forks_and_joins_show_what_they_wait_for() {
    let server = Server::new().await;
    let branch =
        |reference: &str| json!({ "name": "w", "taskReferenceName": reference, "type": "WAIT" });
    server
        .register(json!({ "name": "f", "version": 1, "tasks": [
            { "name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN_DYNAMIC",
              "dynamicForkTasksParam": "list", "dynamicForkTasksInputParamName": "inputs",
              "inputParameters": {
                  "list": "${workflow.input.list}", "inputs": "${workflow.input.inputs}" } },
            { "name": "join", "taskReferenceName": "join", "type": "JOIN" },
        ]}))
        .await;
    let inputs = json!({ "b1": { "n": 1 } });
    let list = json!([branch("b1"), branch("b2")]);
    let id = server.start("f", &json!({ "list": list, "inputs": inputs })).await;
    let tasks = server.workflow(&id).await["tasks"].clone();
    let of_type = |name: &str| {
        let list = tasks.as_array().expect("a list");
        list.iter().find(|task| task["taskType"] == name).expect(name).clone()
    };
    let fork = of_type("FORK");
    assert_eq!(fork["inputData"]["forkedTasks"], json!(["b1", "b2"]));
    let branches = &fork["inputData"]["forkedTaskDefs"];
    assert_eq!(branches.as_array().map(Vec::len), Some(2));
    assert_eq!(branches[0]["taskReferenceName"], "b1");
    assert_eq!(branches[0]["type"], "WAIT");
    assert_eq!(branches[0]["inputParameters"], json!({ "n": 1 }));
    assert_eq!(branches[1]["inputParameters"], json!({}));
    assert_eq!(of_type("JOIN")["inputData"]["joinOn"], json!(["b1", "b2"]));
    assert_eq!(of_type("JOIN")["status"], "IN_PROGRESS");
}

#[tokio::test]
async fn an_exclusive_join_shows_what_it_takes_its_output_from() {
    let server = Server::new().await;
    let task = |name: &str| json!({ "name": name, "taskReferenceName": name, "type": "NOOP" });
    server
        .register(json!([{ "name": "w", "tasks": [
            { "name": "s", "taskReferenceName": "s", "type": "SWITCH", "evaluatorType": "value-param",
              "expression": "way", "inputParameters": { "way": "a" },
              "decisionCases": { "a": [task("a")] }, "defaultCase": [task("b")] },
            { "name": "join", "taskReferenceName": "join", "type": "EXCLUSIVE_JOIN",
              "joinOn": ["a"], "defaultExclusiveJoinTask": ["b"] },
        ] }]))
        .await;
    let id = server.start("w", &json!({})).await;
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["status"], "COMPLETED");
    let tasks = workflow["tasks"].as_array().expect("a list");
    let join = tasks.iter().find(|task| task["taskType"] == "EXCLUSIVE_JOIN").expect("the join");
    assert_eq!(
        (&join["inputData"]["joinOn"], &join["inputData"]["defaultExclusiveJoinTask"]),
        (&json!(["a"]), &json!(["b"]))
    );
}

#[tokio::test]
async fn tasks_in_loops_bear_their_iteration() {
    let server = Server::new().await;
    let fork = json!([
        { "name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": [
            [{ "name": "body", "taskReferenceName": "body", "type": "SIMPLE" }],
        ]},
        { "name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": ["body"] },
    ]);
    server
        .register(json!({ "name": "l", "version": 1, "tasks": [{
            "name": "loop", "taskReferenceName": "loop", "type": "DO_WHILE",
            "loopCondition": "true", "loopOver": fork,
        }]}))
        .await;
    let id = server.start("l", &json!({})).await;
    server.complete("body").await;
    let tasks = server.workflow(&id).await["tasks"].clone();
    let named = |reference: &str| {
        let list = tasks.as_array().expect("a list");
        list.iter().find(|task| task["referenceTaskName"] == reference).expect(reference).clone()
    };
    assert_eq!(named("loop")["iteration"], 2);
    assert_eq!(named("loop")["loopOverTask"], true);
    assert_eq!(named("loop")["workflowTask"]["loopOver"][0]["taskReferenceName"], "fork");
    assert_eq!(named("loop")["outputData"]["1"]["body"], json!({ "done": true }));
    for (reference, iteration) in [("body__1", 1), ("body__2", 2)] {
        assert_eq!(named(reference)["iteration"], iteration);
        assert_eq!(named(reference)["loopOverTask"], true);
        assert_eq!(named(reference)["workflowTask"]["taskReferenceName"], "body");
    }
    assert_eq!(named("join__1")["inputData"]["joinOn"], json!(["body"]));
}

#[tokio::test]
async fn parents_and_children_name_each_other() {
    let server = Server::new().await;
    let parent = json!({ "name": "parent", "version": 1, "tasks": [{
        "name": "sub", "taskReferenceName": "sub", "type": "SUB_WORKFLOW",
        "subWorkflowParam": { "name": "child", "version": 1 },
        "inputParameters": { "x": "${workflow.input.x}" },
    }]});
    server.register(json!([parent, line("child", &["work"])])).await;
    let id = server.start("parent", &json!({ "x": 5 })).await;
    let taken = server.take("work").await;
    let task = server.workflow(&id).await["tasks"][0].clone();
    assert_eq!(task["subWorkflowId"], taken.execution.as_str());
    assert_eq!(task["status"], "IN_PROGRESS");
    let child = server.workflow(taken.execution.as_str()).await;
    assert_eq!(child["parentWorkflowId"], id);
    assert_eq!(child["parentWorkflowTaskId"], task["taskId"]);
    assert_eq!(child["input"], json!({ "x": 5 }));
    server.report(&taken, TaskStatus::Completed, &json!({ "y": 6 })).await;
    server.until(&id, "COMPLETED").await;
    let task = server.workflow(&id).await["tasks"][0].clone();
    assert_eq!(task["outputData"]["y"], 6);
    assert_eq!(task["outputData"]["subWorkflowId"], child["workflowId"]);
}

#[tokio::test]
async fn a_child_that_could_not_be_started_is_not_named() {
    let server = Server::new().await;
    let sub = |reference: &str, optional: bool| {
        json!({ "name": "sub", "taskReferenceName": reference, "type": "SUB_WORKFLOW",
            "optional": optional, "subWorkflowParam": { "name": "${workflow.input.none}" },
            "inputParameters": {} })
    };
    let parent = json!({ "name": "parent", "version": 1, "tasks": [
        sub("passed", true), sub("failed", false)] });
    server.register(json!([parent])).await;
    let id = server.start("parent", &json!({ "none": "nothing_of_this_name" })).await;
    server.until(&id, "FAILED").await;
    let tasks = server.workflow(&id).await["tasks"].clone();
    for (at, status) in ["COMPLETED_WITH_ERRORS", "FAILED"].into_iter().enumerate() {
        assert_eq!(tasks[at]["status"], status);
        assert!(tasks[at].get("subWorkflowId").is_none_or(Value::is_null), "{}", tasks[at]);
        assert_eq!(tasks[at]["outputData"], json!({}));
    }
}

/// A built-in task that runs until it is let go.
struct Held {
    begun: Arc<Semaphore>,
    go: Arc<Semaphore>,
}

impl TaskRunner for Held {
    fn task_type(&self) -> &'static str {
        "HELD"
    }

    fn run<'life, 'run>(
        &'life self,
        _: Handoff,
        _: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'run>>
    where
        'life: 'run,
        Self: 'run,
    {
        self.begun.add_permits(1);
        let go = self.go.clone();
        Box::pin(async move {
            let _permit = go.acquire().await;
            let output = Json::of(&json!({ "held": true }));
            Outcome { status: OutcomeStatus::Completed, output, reason: None }
        })
    }
}

#[tokio::test]
async fn a_built_in_task_that_runs_is_in_progress_before_that_is_recorded() {
    let (begun, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let runner = Held { begun: begun.clone(), go: go.clone() };
    let server = Server::with_runners(vec![Arc::new(runner)]).await;
    let held = json!({ "name": "held", "taskReferenceName": "held", "type": "HELD" });
    server.register(json!({ "name": "h", "version": 1, "tasks": [held] })).await;
    let id = server.start("h", &json!({})).await;
    begun.acquire().await.expect("it is not closed").forget();
    let task = server.workflow(&id).await["tasks"][0].clone();
    assert_eq!(task["status"], "IN_PROGRESS");
    assert!(task["startTime"].as_i64().is_some_and(|millis| millis > 0));
    let path = format!("/api/workflow/{id}/tasks?status=IN_PROGRESS");
    assert_eq!(server.get(&path).await.ok()["totalHits"], 1);
    go.add_permits(1);
    server.until(&id, "COMPLETED").await;
    assert_eq!(server.workflow(&id).await["output"], json!({ "held": true }));
}

#[tokio::test]
async fn tasks_are_left_out_on_request() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let id = server.start("orders", &json!({})).await;
    for flag in ["false", "False"] {
        let path = format!("/api/workflow/{id}?includeTasks={flag}&summarize=true");
        assert_eq!(server.get(&path).await.ok()["tasks"], json!([]));
    }
    let path = format!("/api/workflow/{id}?includeTasks=maybe");
    let message = server.get(&path).await.failed(400);
    assert!(message.contains("true or false"), "{message}");
}

#[tokio::test]
async fn a_status_is_short_and_shows_more_on_request() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let request = json!({ "name": "w", "correlationId": "c" });
    let id = server.post("/api/workflow", &request).await.ok_text();
    let short = server.get(&format!("/api/workflow/{id}/status")).await.ok();
    assert_eq!(short, json!({ "workflowId": id, "correlationId": "c", "status": "RUNNING" }));
    let path = format!("/api/workflow/{id}/status?includeOutput=true&includeVariables=true");
    let long = server.get(&path).await.ok();
    assert_eq!((&long["output"], &long["variables"]), (&json!({}), &json!({})));
}

#[tokio::test]
async fn tasks_are_listed_by_page_and_status() {
    let server = Server::new().await;
    server.register(line("three", &["a", "b", "c"])).await;
    let id = server.start("three", &json!({})).await;
    server.complete("a").await;
    server.complete("b").await;
    let list = async |query: &str| {
        let found = server.get(&format!("/api/workflow/{id}/tasks{query}")).await.ok();
        let names = found["results"].as_array().expect("a list").iter();
        let names: Vec<String> =
            names.map(|task| task["referenceTaskName"].as_str().expect("text").into()).collect();
        (found["totalHits"].as_u64().expect("a number"), names.join(""))
    };
    assert_eq!(list("").await, (3, "abc".to_owned()));
    assert_eq!(list("?start=1&count=1").await, (3, "b".to_owned()));
    assert_eq!(list("?start=9").await, (3, String::new()));
    assert_eq!(list("?status=completed").await, (2, "ab".to_owned()));
    assert_eq!(list("?status=COMPLETED&status=SCHEDULED").await, (3, "abc".to_owned()));
    assert_eq!(list("?status=FAILED,SCHEDULED").await, (1, "c".to_owned()));
    server.get(&format!("/api/workflow/{id}/tasks?status=WRONG")).await.failed(400);
    server.get(&format!("/api/workflow/{id}/tasks?start=-1")).await.failed(400);
}

#[tokio::test]
async fn tasks_are_listed_without_their_payloads_on_request() {
    let server = Server::new().await;
    server.register(line("three", &["a", "b", "c"])).await;
    let id = server.start("three", &json!({ "rows": "x".repeat(10_000) })).await;
    let slice = async |query: &str| {
        server.get(&format!("/api/workflow/{id}/tasks{query}")).await.ok()["results"][0].clone()
    };
    let (whole, bare) = (slice("").await, slice("?payloads=false").await);
    assert_eq!(slice("?payloads=true").await, whole);
    let mut expected = whole.as_object().expect("a task").clone();
    for left_out in ["inputData", "outputData", "workflowTask", "taskDefinition"] {
        assert!(expected.remove(left_out).is_some(), "{left_out} is in {whole}");
    }
    assert_eq!(bare, Value::from(expected));
    let message = server.get(&format!("/api/workflow/{id}/tasks?payloads=some")).await.failed(400);
    assert!(message.contains("true or false"), "{message}");
}

#[tokio::test]
async fn executions_are_found_by_correlation_id() {
    let server = Server::new().await;
    server.register(json!([line("orders", &["pack"]), waiting("w")])).await;
    let start = async |name: &str, label: &str| {
        let request = json!({ "name": name, "correlationId": label });
        server.post("/api/workflow", &request).await.ok_text()
    };
    let done = start("orders", "c1").await;
    server.complete("pack").await;
    let running = start("orders", "c1").await;
    start("w", "c1").await;
    let second = start("orders", "c2").await;
    let ids = |list: &Value| {
        let list = list.as_array().expect("a list").iter();
        list.map(|w| w["workflowId"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let found = server.get("/api/workflow/orders/correlated/c1").await.ok();
    assert_eq!(ids(&found), std::slice::from_ref(&running));
    assert_eq!(found[0]["tasks"], json!([]));
    let path = "/api/workflow/orders/correlated/c1?includeClosed=true&includeTasks=true";
    let found = server.get(path).await.ok();
    assert_eq!(ids(&found), [running.clone(), done]);
    assert_eq!(found[0]["tasks"][0]["taskType"], "pack");
    assert_eq!(server.get("/api/workflow/orders/correlated/*").await.ok(), json!([]));

    let labels = json!(["c1", "c2", "c3"]);
    let found = server.post("/api/workflow/orders/correlated", &labels).await.ok();
    assert_eq!(ids(&found["c1"]), [running]);
    assert_eq!(ids(&found["c2"]), [second]);
    assert_eq!(found["c3"], json!([]));
}

#[tokio::test]
async fn running_executions_are_listed_by_name_and_version() {
    let server = Server::new().await;
    let mut newer = line("orders", &["pack"]);
    newer["version"] = json!(2);
    server.register(json!([line("orders", &["pack"]), newer])).await;
    let first = server.post("/api/workflow/orders?version=1", &json!({})).await.ok_text();
    server.complete("pack").await;
    let running = server.post("/api/workflow/orders?version=1", &json!({})).await.ok_text();
    let second = server.post("/api/workflow/orders?version=2", &json!({})).await.ok_text();
    let list = async |query: &str| server.get(&format!("/api/workflow/running/{query}")).await.ok();
    assert_eq!(list("orders").await, json!([running]));
    assert_eq!(list("orders?version=2").await, json!([second]));
    assert_eq!(list("none").await, json!([]));
    let until = "orders?version=1&startTime=1&endTime=9999999999999";
    assert_eq!(list(until).await, json!([running, first]));
    let before = "orders?version=1&startTime=1&endTime=2";
    assert_eq!(list(before).await, json!([]));
}

#[tokio::test]
async fn what_is_not_there_is_404_in_the_protocols_words() {
    let server = Server::new().await;
    for path in ["", "/status", "/tasks", "/why"] {
        let message = server.get(&format!("/api/workflow/nowhere{path}")).await.failed(404);
        assert_eq!(message, "No such workflow found by id: nowhere");
    }
    let long = "x".repeat(300);
    server.get(&format!("/api/workflow/{long}")).await.failed(404);
}

#[tokio::test]
async fn external_storage_is_refused_clearly() {
    let server = Server::new().await;
    for path in ["externalstoragelocation", "external-storage-location"] {
        let path = format!("/api/workflow/{path}?path=x&operation=WRITE&payloadType=y");
        let message = server.get(&path).await.failed(400);
        assert!(message.contains("not supported"), "{message}");
    }
}

#[tokio::test]
async fn every_path_is_described_with_names_of_its_own() {
    let description = Server::new().await.get("/openapi.json").await.ok();
    let paths = description["paths"].as_object().expect("paths");
    let mut operations = BTreeSet::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("operations") {
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{method} {path} has no summary");
            let name = operation["operationId"].as_str().expect("an operation has a name");
            assert!(operations.insert(name), "{method} {path}: another operation is named {name}");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let mut names: Vec<&str> =
                parameters.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{method} {path}: {parameters:?}");
        }
    }
    assert!(paths.contains_key("/api/workflow/{id}"));
}

#[tokio::test]
async fn a_sub_workflow_that_a_fork_makes_shows_its_version() {
    let server = Server::new().await;
    let mut newer = line("child", &["a"]);
    newer["version"] = json!(7);
    let parent = json!({
        "name": "parent", "version": 1, "tasks": [
            { "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN_DYNAMIC",
              "dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs",
              "inputParameters": {
                "tasks": [{ "name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW",
                    "subWorkflowParam": { "name": "child" } }],
                "inputs": { "s": { "n": 1 } } } },
            { "name": "j", "taskReferenceName": "j", "type": "JOIN" },
        ],
    });
    server.register(json!([line("child", &["a"]), newer, parent])).await;
    let id = server.start("parent", &json!({})).await;
    server.complete("a").await;
    server.until(&id, "COMPLETED").await;
    let tasks = server.workflow(&id).await["tasks"].clone();
    let tasks = tasks.as_array().expect("a list");
    let shown = tasks.iter().find(|task| task["referenceTaskName"] == "s").expect("it is there");
    assert_eq!(shown["inputData"]["subWorkflowVersion"], 7);
    assert_eq!(shown["inputData"]["workflowInput"]["n"], 1);
}

#[tokio::test]
async fn a_switch_that_a_fork_makes_shows_that_its_case_has_tasks() {
    let server = Server::new().await;
    let branch = |reference: &str, case: &str| {
        json!({ "name": reference, "taskReferenceName": reference, "type": "SWITCH",
            "evaluatorType": "value-param", "expression": "v", "inputParameters": { "v": case },
            "decisionCases": { "x": [{ "name": "a", "taskReferenceName": format!("{reference}_a"),
                "type": "SIMPLE" }], "y": [] } })
    };
    let parent = json!({ "name": "parent", "version": 1, "tasks": [
        { "name": "f", "taskReferenceName": "f", "type": "FORK_JOIN_DYNAMIC",
          "dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs",
          "inputParameters": { "tasks": [branch("s", "x"), branch("t", "y")], "inputs": {} } },
        { "name": "j", "taskReferenceName": "j", "type": "JOIN" },
    ] });
    server.register(json!([parent])).await;
    let id = server.start("parent", &json!({})).await;
    server.complete("a").await;
    server.until(&id, "COMPLETED").await;
    let tasks = server.workflow(&id).await["tasks"].clone();
    let tasks = tasks.as_array().expect("a list");
    let shown = |reference: &str| {
        let found = tasks.iter().find(|task| task["referenceTaskName"] == reference);
        found.expect("it is there")["inputData"].get("hasChildren").cloned()
    };
    assert_eq!(shown("s"), Some(json!("true")));
    assert_eq!(shown("t"), None, "nothing is to run");
}

#[tokio::test]
async fn every_task_shows_a_definition() {
    let server = Server::new().await;
    let wait = json!({ "name": "w", "version": 1, "tasks": [
        { "name": "nap", "taskReferenceName": "n", "type": "WAIT" },
    ] });
    server.register(wait).await;
    let id = server.start("w", &json!({})).await;
    let task = server.workflow(&id).await["tasks"][0].clone();
    assert_eq!(task["taskDefinition"]["name"], "nap");
    assert_eq!(task["taskDefinition"]["retryCount"], 0);
    assert_eq!(task["taskDefinition"]["responseTimeoutSeconds"], 0);
    assert_eq!(task["workflowTask"]["taskDefinition"], task["taskDefinition"]);
    assert_eq!(task["responseTimeoutSeconds"], 0, "nobody is waited for");
}
