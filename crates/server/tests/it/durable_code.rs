//! The API of Durable Functions over instances and entities of code, with a worker in process.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request};
use engine::durable::WorkItem;
use kernel::durable::entity::BatchResult;
use kernel::durable::instance::{TurnResult, Work};
use kernel::durable::{
    Action, ActionKind, EntityMessage, Fact, LockRequest, OperationResult, Outcome, TraceContext,
};
use serde_json::{Value, json};

use crate::code_worker::{BASE, Worker, call, end, is_turn};
use crate::support::waiting;

#[tokio::test]
async fn an_instance_of_code_is_started_followed_and_told_of_events() {
    let worker = Worker::new().await;
    let (status, links) = worker.post("/orchestrators/hello/one", "[1, 2]").await;
    assert_eq!((status, &links["id"]), (202, &json!("one")));
    let (status, pending) = worker.get("/instances/one?showHistory=true").await;
    assert_eq!((status, &pending["runtimeStatus"]), (202, &json!("Pending")));
    assert_eq!((&pending["name"], &pending["input"]), (&json!("hello"), &json!([1, 2])));
    assert!(pending.get("historyEvents").is_none(), "{pending}");

    let why = worker.server.get("/api/workflow/one/why").await.ok();
    assert_eq!(
        (&why["workflowId"], &why["status"]),
        (&json!("instance:default:one"), &json!("PENDING"))
    );
    assert_eq!(
        (&why["waiting"][0]["code"], &why["waiting"][0]["reference"]),
        (&json!("queued"), &json!("hello"))
    );
    worker.post("/orchestrators/hello/lone?taskHub=lone", "").await;
    let why = worker.server.get("/api/workflow/instance:lone:lone/why").await.ok();
    assert_eq!(why["waiting"][0]["reason"], "no worker attends the task hub 'lone'");
    worker.server.get("/api/workflow/lone/why").await.failed(404);

    worker.turn(vec![(0, call("say"))], Some(r#"{"step": 1}"#)).await;
    let (_, running) = worker.get("/instances/one?showHistory=true").await;
    assert_eq!(running["runtimeStatus"], "Running");
    assert_eq!(running["customStatus"], json!({ "step": 1 }));
    assert_eq!(running["historyEvents"][1]["EventType"], "TaskScheduled");
    worker.activity(Ok("\"Hello Tokyo\"")).await;
    worker.turn(Vec::new(), Some("plain words")).await;
    assert_eq!(worker.post("/instances/one/raiseEvent/Go", "{\"a\": 1}").await.0, 202);
    let new = worker.turn(vec![(1, end(Outcome::Completed, "{\"sum\":3}"))], None).await;
    let raised = new.iter().any(|event| {
        matches!(&event.fact, Fact::EventRaised { name, input }
            if **name == *"Go" && input.as_deref() == Some("{\"a\": 1}"))
    });
    assert!(raised, "{new:?}");

    let path = "/instances/one?showHistory=true&showHistoryOutput=true";
    let (status, mut done) = worker.get(path).await;
    assert_eq!((status, &done["runtimeStatus"]), (200, &json!("Completed")));
    assert_eq!((&done["output"], &done["customStatus"]), (&json!({ "sum": 3 }), &Value::Null));
    for event in done["historyEvents"].as_array_mut().expect("a list") {
        let event = event.as_object_mut().expect("an object");
        assert!(event.shift_remove("Timestamp").is_some_and(|at| at.is_string()));
        let scheduled = event.shift_remove("ScheduledTime").is_some();
        assert_eq!(scheduled, event["EventType"] == "TaskCompleted");
    }
    let expected = json!([
        { "EventType": "ExecutionStarted", "FunctionName": "hello", "Input": [1, 2] },
        { "EventType": "TaskCompleted", "FunctionName": "say", "Input": "Tokyo", "Result": "Hello Tokyo" },
        { "EventType": "EventRaised", "Name": "Go", "Input": { "a": 1 } },
        { "EventType": "ExecutionCompleted", "OrchestrationStatus": "Completed", "Result": { "sum": 3 } },
    ]);
    assert_eq!(done["historyEvents"], expected);
    assert_eq!(worker.post("/instances/one/raiseEvent/Go", "1").await.0, 410);
    // Other hubs know nothing of it.
    assert_eq!(worker.get("/instances/one?taskHub=other").await.0, 404);
    assert_eq!(worker.get("/instances/one?taskHub=a:b").await.0, 400);
}

#[tokio::test]
async fn an_instance_of_code_is_steered() {
    let worker = Worker::new().await;
    worker.post("/orchestrators/o/one", "").await;
    worker.turn(vec![(0, call("work"))], None).await;
    assert_eq!(worker.post("/orchestrators/o/one", "").await.0, 409);
    assert_eq!(worker.post("/instances/one/suspend?reason=lunch", "").await.0, 202);
    worker.activity(Err("broken")).await;
    worker.turn(Vec::new(), None).await;
    assert_eq!(worker.get("/instances/one").await.1["runtimeStatus"], "Suspended");
    assert_eq!(worker.post("/instances/one/suspend", "").await.0, 500);
    assert_eq!(worker.post("/instances/one/resume", "").await.0, 202);
    assert_eq!(worker.post("/instances/one/rewind", "").await.0, 412);
    assert_eq!(worker.ask(Method::DELETE, "/instances/one", "").await.0, 412);
    worker.turn(vec![(1, end(Outcome::Failed, ""))], None).await;
    let (status, failed) = worker.get("/instances/one").await;
    assert_eq!((status, &failed["runtimeStatus"]), (200, &json!("Failed")));
    assert_eq!(failed["output"], "ValueError: no luck");
    let asked = "/instances/one?returnInternalServerErrorOnFailure=true";
    assert_eq!(worker.get(asked).await.0, 500);
    assert_eq!(worker.post("/instances/one/rewind?reason=again", "").await.0, 202);
    assert_eq!(worker.get("/instances/one").await.1["runtimeStatus"], "Running");

    worker.post("/orchestrators/o/two", "7").await;
    assert_eq!(worker.post("/instances/two/terminate?reason=enough", "").await.0, 202);
    // A worker ends it; the rewind of the first is not its matter.
    for _ in 0..2 {
        let WorkItem::Instance(Work::Turn { token, instance_id, .. }) = worker.next(is_turn).await
        else {
            panic!("a turn was expected")
        };
        if *instance_id == *"two" {
            let kind = end(Outcome::Terminated, "\"enough\"");
            let result = TurnResult {
                token,
                actions: vec![Action { id: 0, kind }],
                custom_status: None,
                processed: None,
                trace: None,
            };
            worker.server.engine.complete_turn(result).await.expect("it is taken");
            break;
        }
        worker.server.engine.abandon(&token).await;
    }
    let (_, ended) = worker.get("/instances/two").await;
    assert_eq!(
        (&ended["runtimeStatus"], &ended["output"]),
        (&json!("Terminated"), &json!("enough"))
    );
    let (status, anew) = worker.post("/instances/two/restart", "").await;
    assert_eq!(status, 202);
    let anew = anew["id"].as_str().expect("an id").to_owned();
    assert_ne!(anew, "two");
    assert_eq!(worker.get(&format!("/instances/{anew}")).await.1["input"], 7);
    let same = "/instances/two/restart?restartWithNewInstanceId=false";
    assert_eq!(worker.post(same, "").await.1["id"], "two");
    assert_eq!(worker.post(same, "").await.0, 409);
}

#[tokio::test]
async fn what_no_worker_has_heard_of_can_be_taken_back() {
    let worker = Worker::new().await;
    worker.post("/orchestrators/o/one", "").await;
    let act = async |verb: &str| worker.post(&format!("/instances/one/{verb}"), "").await.0;
    assert_eq!(act("resume").await, 500);
    assert_eq!(act("suspend").await, 202);
    assert_eq!(act("suspend").await, 500);
    assert_eq!(act("resume").await, 202);
    assert_eq!(act("resume").await, 500);
    worker.turn(Vec::new(), None).await;
    assert_eq!(worker.get("/instances/one").await.1["runtimeStatus"], "Running");
}

#[tokio::test]
async fn lists_and_purges_see_both_dialects() {
    let worker = Worker::new().await;
    worker.server.register(waiting("graph")).await;
    for id in ["c-1", "c-2", "c-3"] {
        worker.post(&format!("/orchestrators/code/{id}"), "").await;
        worker.turn(vec![(0, end(Outcome::Completed, "1"))], None).await;
    }
    for id in ["g-1", "g-2"] {
        worker.post(&format!("/orchestrators/graph/{id}"), "").await;
    }
    let ids = |body: &Value| -> Vec<String> {
        let all = body.as_array().expect("a list").iter();
        all.map(|it| it["instanceId"].as_str().expect("an id").to_owned()).collect()
    };
    let all = worker.get("/instances").await.1;
    assert_eq!(ids(&all), ["c-3", "c-2", "c-1", "g-2", "g-1"]);
    for (query, count) in [
        ("runtimeStatus=Completed", 3),
        ("runtimeStatus=Running", 2),
        ("runtimeStatus=ContinuedAsNew", 0),
        ("instanceIdPrefix=c-", 3),
        ("taskHub=other", 2),
    ] {
        let found = worker.get(&format!("/instances?{query}")).await.1;
        assert_eq!(ids(&found).len(), count, "{query}: {found}");
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    for _ in 0..3 {
        let path = format!("{BASE}/instances?top=2");
        let request = Request::builder().uri(path);
        let request = request.header("x-ms-continuation-token", &token);
        let request = request.body(Body::empty()).expect("a request");
        let router = server::router(worker.server.api());
        let answer = tower::ServiceExt::oneshot(router, request).await.expect("an answer");
        token = answer.headers()["x-ms-continuation-token"].to_str().expect("a text").to_owned();
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body");
        seen.extend(ids(&serde_json::from_slice(&body.to_bytes()).expect("JSON")));
    }
    assert_eq!((seen, token.as_str()), (ids(&all), ""));

    // An id that one dialect uses is free for the other once its instance has ended.
    assert_eq!(worker.post("/orchestrators/code/g-1", "").await.0, 409);
    assert_eq!(worker.post("/orchestrators/graph/c-1", "{\"n\": 1}").await.0, 202);
    assert_eq!(worker.get("/instances/c-1").await.1["name"], "graph");
    assert_eq!(worker.ask(Method::DELETE, "/instances/c-2", "").await.0, 200);
    let purge = "/instances?createdTimeFrom=2020-01-01&runtimeStatus=Failed";
    assert_eq!(worker.ask(Method::DELETE, purge, "").await.0, 404);
    let purge = "/instances?createdTimeFrom=2020-01-01";
    let purged = worker.ask(Method::DELETE, purge, "").await;
    assert_eq!(purged, (200, json!({ "instancesDeleted": 1 })));
    assert_eq!(worker.get("/instances/c-3").await.0, 404);
}

#[tokio::test]
async fn entities_are_signalled_shown_and_listed() {
    let worker = Worker::new().await;
    assert_eq!(worker.get("/entities/Counter/a").await.0, 404);
    assert_eq!(worker.post("/entities/Counter/a?op=add", "5").await.0, 202);
    assert_eq!(worker.post("/entities/Counter/a?op=add", "{").await.0, 400);
    let batch = worker.batch().await;
    assert_eq!(&*batch.entity_id, "@counter@a");
    let Fact::EntitySignaled(operation) = &batch.operations[0].fact else {
        panic!("{:?}", batch.operations)
    };
    assert_eq!((&*operation.operation, operation.input.as_deref()), ("add", Some("5")));
    let done = |token, state: Option<&str>| BatchResult {
        token,
        results: vec![OperationResult::Done { result: None }],
        actions: Vec::new(),
        state: state.map(Into::into),
        failure: None,
    };
    worker.server.engine.complete_batch(done(batch.token, Some("{\"n\":5}"))).await.expect("taken");
    assert_eq!(worker.get("/entities/COUNTER/a").await, (200, json!({ "n": 5 })));
    let (_, mut all) = worker.get("/entities?fetchState=true").await;
    let at = all[0].as_object_mut().expect("one").shift_remove("lastOperationTime");
    assert!(at.is_some_and(|at| at.as_str().is_some_and(|at| at.ends_with('Z'))));
    assert_eq!(
        all,
        json!([{ "entityId": { "name": "counter", "key": "a" }, "state": { "n": 5 } }])
    );
    assert_eq!(worker.get("/entities/other").await.1, json!([]));
    let (_, named) = worker.get("/entities/Counter").await;
    assert!(named[0].get("state").is_none() && named[0]["entityId"]["key"] == "a", "{named}");
    assert_eq!(worker.get("/entities?lastOperationTimeTo=2020-01-01").await.1, json!([]));

    assert_eq!(worker.ask(Method::DELETE, "/entities/Counter/a", "").await.0, 202);
    let batch = worker.batch().await;
    worker.server.engine.complete_batch(done(batch.token, None)).await.expect("taken");
    assert_eq!(worker.get("/entities/Counter/a").await.0, 404);
    // However the address is written, the case of a key counts.
    let path = "/durabletask/Entities/Counter/Resume?op=add";
    let told = worker.server.send(Method::POST, path, "1".to_owned()).await;
    assert_eq!(told.status, 202);
    let batch = worker.batch().await;
    assert_eq!(&*batch.entity_id, "@counter@Resume");
    worker.server.engine.complete_batch(done(batch.token, None)).await.expect("taken");
    // An empty key, and words that are no JSON.
    let path = format!("{BASE}/entities/Log/$?op=say");
    let headers = [("content-type", "application/json")];
    let told =
        worker.server.send_with(Method::POST, &path, &headers[..0], "\"hi\"".to_owned()).await;
    assert_eq!(told.status, 202);
    let batch = worker.batch().await;
    assert_eq!(&*batch.entity_id, "@log@");
}

#[tokio::test]
async fn a_trigger_starts_an_orchestration_and_tells_of_it() {
    let worker = Worker::new().await;
    let triggers = json!([
        { "name": "new", "method": "POST", "path": "/jobs/{id}", "start": {
            "name": "orchestration:watch", "version": "2.0", "instanceId": "${request.path.id}",
            "input": { "job": "${request.body.job}" } } },
        { "name": "state", "method": "GET", "path": "/jobs/{id}", "show": {
            "name": "orchestration:watch", "instanceId": "${request.path.id}",
            "body": { "job": "${workflow.input.job}", "is": "${workflow.status}",
                "says": "${workflow.customStatus.step}" } } },
    ]);
    worker.server.post("/api/triggers", &triggers).await.ok();
    let begun = worker.server.post("/jobs/x", &json!({ "job": 9 })).await;
    assert_eq!(begun.status, 202, "{}", begun.text);
    worker.turn(vec![(0, call("look"))], Some("{\"step\":\"one\"}")).await;
    let told = worker.server.get("/jobs/x").await.ok();
    assert_eq!(told, json!({ "job": 9, "is": "Running", "says": "one" }));
    worker.server.get("/jobs/y").await.failed(404);
}

#[tokio::test]
async fn a_schedule_starts_an_orchestration() {
    let worker = Worker::new().await;
    let schedule = json!({ "name": "tick", "cronExpression": "0 0 0 1 1 *", "zoneId": "UTC",
        "startWorkflowRequest": { "name": "orchestration:tick", "input": { "n": 1 } } });
    worker.server.post("/api/scheduler/schedules", &schedule).await.ok();
    let path = "/api/scheduler/schedules/tick/trigger?by=test";
    let fired = worker.server.post(path, &json!({})).await.ok();
    let id = fired["workflowId"].as_str().expect("an id").to_owned();
    worker.turn(vec![(0, end(Outcome::Completed, "1"))], None).await;
    let (status, told) = worker.get(&format!("/instances/{id}")).await;
    assert_eq!((status, &told["name"]), (200, &json!("tick")));
    assert_eq!((&told["input"]["n"], &told["output"]), (&json!(1), &json!(1)));
}

/// The first reason why an instance waits.
async fn reason(worker: &Worker, id: &str) -> (String, String) {
    let why = worker.server.get(&format!("/api/workflow/{id}/why")).await.ok();
    let text = |name: &str| why["waiting"][0][name].as_str().expect("a text").to_owned();
    (text("code"), text("reason"))
}

#[tokio::test]
async fn why_names_the_version_that_no_worker_takes() {
    let worker = Worker::not_asked_again().await;
    worker.post("/orchestrators/o/two?version=2.0", "").await;
    let item = worker.next(is_turn).await;
    worker.server.engine.abandon(item.token()).await;
    let (code, words) = reason(&worker, "two").await;
    assert_eq!(code, "no-worker");
    for part in ["version 2.0", "gave it back", "once", "tester"] {
        assert!(words.contains(part), "{words}");
    }
    let unfinished = worker.server.get("/api/workers/unfinished?taskHub=default").await.ok();
    let found = &unfinished[0];
    assert_eq!((&found["kind"], &found["version"]), (&json!("orchestration"), &json!("2.0")));
    assert_eq!((&found["attempts"], &found["refusedByAll"]), (&json!(1), &json!(true)));
    assert_eq!((&found["instanceId"], &found["givenUp"]), (&json!("two"), &json!(false)));
    let other = worker.server.get("/api/workers/unfinished?taskHub=other").await.ok();
    assert_eq!(other, json!([]));
    let health = worker.server.get("/health").await.ok();
    assert_eq!(health["unfinishedWork"], json!({ "retrying": 0, "givenUp": 0 }));

    let worker = Worker::of_versions("o", &["1.0", "1.1"]).await;
    worker.post("/orchestrators/o/two?version=2.0", "").await;
    let (code, words) = reason(&worker, "two").await;
    assert_eq!(code, "no-worker");
    assert!(words.contains("version 2.0") && words.contains("1.0, 1.1"), "{words}");
}

#[tokio::test]
async fn why_names_the_lock_and_its_holder() {
    let worker = Worker::new().await;
    let lock = |section: &str| {
        ActionKind::SendEntityMessage(EntityMessage::LockRequested(Box::new(LockRequest {
            critical_section_id: section.into(),
            lock_set: vec!["@account@x".into()],
            position: 0,
            parent_instance_id: None,
        })))
    };
    for id in ["first", "second"] {
        worker.post(&format!("/orchestrators/o/{id}"), "").await;
        worker.turn(vec![(1, lock(id))], None).await;
        if id == "first" {
            // It is told that it has the lock.
            worker.turn(Vec::new(), None).await;
        }
    }
    let (code, words) = until_code(&worker, "second", "lock").await;
    assert_eq!(code, "lock");
    assert!(words.contains("@account@x") && words.contains("'first' holds"), "{words}");
}

/// The same, once it has this code: letters may be on their way.
async fn until_code(worker: &Worker, id: &str, wanted: &str) -> (String, String) {
    let begun = Instant::now();
    loop {
        let (code, words) = reason(worker, id).await;
        let is_wanted = code == wanted && words.contains("holds");
        if is_wanted || begun.elapsed() > Duration::from_mins(1) {
            return (code, words);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_entity_can_be_purged_and_may_have_an_empty_key() {
    let worker = Worker::new().await;
    for path in ["/entities/counter?op=add", "/entities/counter/a?op=add"] {
        assert_eq!(worker.post(path, "1").await.0, 202, "{path}");
    }
    assert_eq!(worker.ask(Method::DELETE, "/instances/@counter@nobody", "").await.0, 404);
    let (status, purged) = worker.ask(Method::DELETE, "/instances/@Counter@a", "").await;
    assert_eq!((status, purged), (200, json!({ "instancesDeleted": 1 })));
    assert_eq!(worker.ask(Method::DELETE, "/instances/@counter@a", "").await.0, 404);
    assert_eq!(&*worker.batch().await.entity_id, "@counter@");
}

#[tokio::test]
async fn bounds_in_time_may_be_written_the_american_way() {
    let worker = Worker::new().await;
    worker.post("/orchestrators/o/one", "").await;
    let found = async |bound: &str| {
        let (status, page) = worker.get(&format!("/instances?{bound}")).await;
        assert_eq!(status, 200, "{page}");
        page.as_array().expect("a list").len()
    };
    for past in ["11/22/2020", "11/22/2020%2013:45", "1/2/2020%2001:02:03%20PM"] {
        assert_eq!(found(&format!("createdTimeFrom={past}")).await, 1, "{past}");
        assert_eq!(found(&format!("createdTimeTo={past}")).await, 0, "{past}");
    }
    assert_eq!(found("createdTimeFrom=11/22/2999").await, 0);
}

#[tokio::test]
async fn a_head_tells_what_a_get_would() {
    let worker = Worker::new().await;
    worker.post("/orchestrators/o/one", "").await;
    for (path, status) in [("/instances/one", 202), ("/instances/two", 404), ("/instances", 200)] {
        let answer = worker.ask(Method::HEAD, path, "").await;
        assert_eq!(answer, (status, Value::Null), "{path}");
    }
}

/// What a worker reads of the span of whoever started an instance, by these headers.
async fn trace_of_start(id: &str, headers: &[(&str, &str)]) -> Option<TraceContext> {
    let worker = Worker::new().await;
    let path = format!("{BASE}/orchestrators/hello/{id}");
    let answer = worker.server.send_with(Method::POST, &path, headers, String::new()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let new = worker.turn(vec![(0, end(Outcome::Completed, "1"))], None).await;
    let begun = new.iter().find_map(|event| match &event.fact {
        Fact::ExecutionStarted(begun) => Some(begun.trace.clone()),
        _ => None,
    });
    begun.expect("the first turn says what was started")
}

#[tokio::test]
async fn a_start_over_http_is_part_of_its_callers_trace() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = trace_of_start(
        "one",
        &[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")],
    );
    let trace = trace.await.expect("the caller is known");
    assert_eq!((&*trace.parent, &*trace.span_id), (PARENT, "b7ad6b7169203331"));
    assert_eq!(trace.state.as_deref(), Some("a=1,b=2"));

    let long = format!("a={}", "x".repeat(512));
    let trace = trace_of_start("two", &[("traceparent", PARENT), ("tracestate", &long)]).await;
    assert_eq!(trace.expect("the caller is known").state, None, "it would be too long");
    for wrong in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
        let trace = trace_of_start("three", &[("traceparent", wrong), ("tracestate", "a=1")]).await;
        assert_eq!(trace, None, "{wrong}");
    }
}
