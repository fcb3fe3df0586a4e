//! The API of Durable Functions over executions of graphs.

use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Server, line, waiting};

const BASE: &str = "/runtime/webhooks/durabletask";

/// What came back, with its headers.
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text"))
    }
}

async fn call(server: &Server, request: Builder, body: &str) -> Reply {
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    let response = server.router().oneshot(request).await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let body =
        if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") };
    Reply { status, headers, body }
}

async fn ask(server: &Server, method: Method, path: &str, body: &str) -> Reply {
    let request = Request::builder().method(method).uri(format!("{BASE}{path}"));
    let request = request.header("host", "localhost:8080");
    call(server, request.header("content-type", "application/json"), body).await
}

async fn get(server: &Server, path: &str) -> Reply {
    ask(server, Method::GET, path, "").await
}

async fn post(server: &Server, path: &str, body: &str) -> Reply {
    ask(server, Method::POST, path, body).await
}

/// Starts an instance and answers its id.
async fn started(server: &Server, path: &str, input: &Value) -> String {
    let reply = post(server, &format!("/orchestrators/{path}"), &input.to_string()).await;
    assert_eq!(reply.status, 202, "{}", reply.body);
    reply.body["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_start_is_answered_with_links_to_the_callers_own_host() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let reply = post(&server, "/orchestrators/w/my-1", r#"{"a": 1}"#).await;
    assert_eq!(reply.status, 202);
    let base = format!("http://localhost:8080{BASE}/instances/my-1");
    let links = json!({
        "id": "my-1",
        "statusQueryGetUri": format!("{base}?taskHub=default"),
        "sendEventPostUri": format!("{base}/raiseEvent/{{eventName}}?taskHub=default"),
        "terminatePostUri": format!("{base}/terminate?reason={{text}}&taskHub=default"),
        "purgeHistoryDeleteUri": format!("{base}?taskHub=default"),
        "restartPostUri": format!("{base}/restart?taskHub=default"),
        "suspendPostUri": format!("{base}/suspend?reason={{text}}&taskHub=default"),
        "resumePostUri": format!("{base}/resume?reason={{text}}&taskHub=default"),
        "rewindPostUri": format!("{base}/rewind?reason={{text}}&taskHub=default"),
    });
    assert_eq!(reply.body, links);
    assert_eq!(reply.header("location"), format!("{base}?taskHub=default"));
    assert_eq!(reply.header("retry-after"), "10");
    assert_eq!(server.workflow("my-1").await["input"], json!({ "a": 1 }));

    // With what each link repeats, which is not the caller's key; the names of parameters in any
    // case.
    let uri = format!("{BASE}/orchestrators/w/a%20b?TASKHUB=h-b&connection=Storage&code=k%3D%3D");
    let request = Request::builder().method(Method::POST).uri(uri).header("host", "127.0.0.1:1");
    let reply = call(&server, request, "").await;
    assert_eq!(
        reply.body["statusQueryGetUri"],
        format!("http://127.0.0.1:1{BASE}/instances/a%20b?taskHub=h-b&connection=Storage")
    );
}

#[tokio::test]
async fn what_cannot_be_started_is_refused() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let cases = [
        ("/orchestrators/workflow:none", "{}", 400, "No such workflow found by name: none"),
        ("/orchestrators/w", "{", 400, "Invalid JSON content"),
        ("/orchestrators/w", "[1]", 400, "must be a JSON object"),
        ("/orchestrators/w?version=two", "{}", 400, "must be a whole number"),
        ("/orchestrators/w?version=9", "{}", 400, "version: 9"),
        ("/orchestrators/w/@x", "{}", 400, "begins with '@'"),
        ("/orchestrators/w/a%2Fb", "{}", 400, "contains '/'"),
        ("/orchestrators/w/a%23b", "{}", 400, "contains '#'"),
        ("/orchestrators/w/schedule:x", "{}", 400, "as those of other machines"),
        ("/orchestrators/w?taskHub=a:b", "{}", 400, "task hub's name"),
    ];
    for (path, body, status, message) in cases {
        let reply = post(&server, path, body).await;
        let told = reply.body["Message"].as_str().unwrap_or_default().to_owned();
        assert!(
            reply.status == status && told.contains(message),
            "{path}: {} {told}",
            reply.status
        );
        for member in ["ExceptionMessage", "ExceptionType", "StackTrace"] {
            assert!(reply.body[member].is_string(), "{}", reply.body);
        }
    }
    let long = "x".repeat(201);
    assert_eq!(post(&server, &format!("/orchestrators/w/{long}"), "").await.status, 400);
    assert_eq!(server.get("/api/workflow/search").await.ok()["totalHits"], 0);
}

#[tokio::test]
async fn an_id_is_free_again_once_its_instance_has_ended() {
    let server = Server::new().await;
    server.register(json!([waiting("w"), line("other", &["t"])])).await;
    started(&server, "w/one", &json!({ "n": 1 })).await;
    let again = post(&server, "/orchestrators/other/one", "{}").await;
    assert_eq!(again.status, 409, "{}", again.body);
    assert_eq!(server.workflow("one").await["input"], json!({ "n": 1 }));
    assert_eq!(post(&server, "/instances/one/terminate?reason=enough", "").await.status, 202);
    // What cannot be started removes nothing.
    assert_eq!(post(&server, "/orchestrators/workflow:none/one", "{}").await.status, 400);
    assert_eq!(get(&server, "/instances/one").await.body["runtimeStatus"], "Terminated");
    started(&server, "other/one", &json!({ "n": 2 })).await;
    let standing = get(&server, "/instances/one").await.body;
    assert_eq!((&standing["name"], &standing["input"]), (&json!("other"), &json!({ "n": 2 })));
    assert_eq!(standing["runtimeStatus"], "Running");
}

#[tokio::test]
async fn a_status_tells_all_that_the_protocol_has() {
    let server = Server::new().await;
    let variable = json!({ "name": "v", "taskReferenceName": "v", "type": "SET_VARIABLE",
        "inputParameters": { "customStatus": { "step": 1 }, "other": 2 } });
    let task = json!({ "name": "work", "taskReferenceName": "work", "type": "SIMPLE" });
    let wait = json!({ "name": "wait", "taskReferenceName": "wait", "type": "WAIT" });
    let output = json!({ "done": "${work.output.done}" });
    server
        .register(json!({ "name": "w", "version": 1, "tasks": [variable, task, wait],
            "outputParameters": output }))
        .await;
    let id = started(&server, "w", &json!({ "n": 1 })).await;
    let reply = get(&server, &format!("/instances/{id}")).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.header("retry-after"), "5");
    let link = format!("http://localhost:8080{BASE}/instances/{id}?taskHub=default");
    assert_eq!(reply.header("location"), link);
    let members: Vec<&String> = reply.body.as_object().expect("an object").keys().collect();
    let expected = [
        "name",
        "instanceId",
        "runtimeStatus",
        "input",
        "customStatus",
        "output",
        "createdTime",
        "lastUpdatedTime",
    ];
    assert_eq!(members, expected);
    // Who follows the link sees what was asked for first.
    let query = "showInput=false&returnInternalServerErrorOnFailure=true";
    let followed = get(&server, &format!("/instances/{id}?{query}")).await;
    let wanted = format!("{link}&returnInternalServerErrorOnFailure=true&showInput=false");
    assert_eq!(followed.header("location"), wanted);
    let begun = post(&server, "/orchestrators/w?returnInternalServerErrorOnFailure=true", "").await;
    let location = begun.header("location");
    assert!(location.ends_with("&returnInternalServerErrorOnFailure=true"), "{location}");
    assert_eq!(begun.body["statusQueryGetUri"], location);
    assert_eq!(reply.body["input"], json!({ "n": 1 }));
    assert_eq!(reply.body["customStatus"], json!({ "step": 1 }));
    assert_eq!(reply.body["output"], Value::Null);
    let time = reply.body["createdTime"].as_str().expect("a time");
    assert!(time.len() == 20 && time.ends_with('Z') && !time.contains('.'), "{time}");
    let bare = get(&server, &format!("/instances/{id}?showInput=false")).await.body;
    assert_eq!(bare["input"], Value::Null);

    server.complete("work").await;
    let data = json!({ "by": "ann" }).to_string();
    assert_eq!(post(&server, &format!("/instances/{id}/raiseEvent/WAIT"), &data).await.status, 202);
    let path = format!("/instances/{id}?showHistory=true&showHistoryOutput=true&showInput=false");
    let reply = get(&server, &path).await;
    assert_eq!(reply.status, 200);
    assert_eq!((reply.header("location"), reply.header("retry-after")), ("", ""));
    assert_eq!(reply.body["runtimeStatus"], "Completed");
    assert_eq!(reply.body["output"], json!({ "done": true }));
    let mut events = reply.body["historyEvents"].clone();
    for event in events.as_array_mut().expect("a list") {
        for time in ["Timestamp", "ScheduledTime"] {
            if let Some(told) = event.as_object_mut().and_then(|event| event.shift_remove(time)) {
                assert!(told.as_str().is_some_and(|it| it.parse::<jiff::Timestamp>().is_ok()));
            }
        }
    }
    let expected = json!([
        { "EventType": "ExecutionStarted", "FunctionName": "w" },
        { "EventType": "TaskCompleted", "FunctionName": "work", "Result": { "done": true } },
        { "EventType": "EventRaised", "Name": "wait", "Result": { "by": "ann" } },
        { "EventType": "ExecutionCompleted", "OrchestrationStatus": "Completed",
          "Result": { "done": true } },
    ]);
    assert_eq!(events, expected);
    let plain = get(&server, &format!("/instances/{id}?showHistory=true")).await.body;
    let task = &plain["historyEvents"][1];
    assert!(task.get("Result").is_none() && task.get("Input").is_some(), "{task}");
    assert_eq!(get(&server, "/instances/none").await.status, 404);
}

#[tokio::test]
async fn a_failure_is_a_500_only_for_who_asks_and_can_be_rewound() {
    let server = Server::new().await;
    server.register(line("w", &["t"])).await;
    let id = started(&server, "w", &json!({})).await;
    let rewind = format!("/instances/{id}/rewind?reason=again");
    assert_eq!(post(&server, &rewind, "").await.status, 412);
    server.fail("t").await;
    server.until(&id, "FAILED").await;
    let path = format!("/instances/{id}");
    let reply = get(&server, &path).await;
    assert_eq!((reply.status, &reply.body["runtimeStatus"]), (200, &json!("Failed")));
    assert!(
        reply.body["output"].as_str().is_some_and(|it| it.contains("it broke")),
        "{}",
        reply.body
    );
    let asked = format!("{path}?returnInternalServerErrorOnFailure=true");
    assert_eq!(get(&server, &asked).await.status, 500);
    assert_eq!(post(&server, &format!("{path}/raiseEvent/x"), "1").await.status, 410);
    assert_eq!(post(&server, &rewind, "").await.status, 202);
    server.complete("t").await;
    server.until(&id, "COMPLETED").await;
    assert_eq!(post(&server, &rewind, "").await.status, 410);
    assert_eq!(post(&server, "/instances/none/rewind", "").await.status, 404);
}

#[tokio::test]
async fn instances_are_suspended_resumed_and_ended() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    let id = started(&server, "w", &json!({})).await;
    let act = async |verb: &str| post(&server, &format!("/instances/{id}/{verb}"), "").await;
    let wrong = act("resume").await;
    assert_eq!(wrong.status, 500);
    assert_eq!(wrong.body["Message"], "Something went wrong while processing your request");
    assert_eq!(act("suspend?reason=lunch").await.status, 202);
    let suspended = get(&server, &format!("/instances/{id}")).await;
    assert_eq!((suspended.status, &suspended.body["runtimeStatus"]), (202, &json!("Suspended")));
    assert_eq!(act("suspend").await.status, 500);
    assert_eq!(act("resume").await.status, 202);
    assert_eq!(act("terminate?reason=enough").await.status, 202);
    let ended = get(&server, &format!("/instances/{id}")).await;
    assert_eq!((ended.status, &ended.body["runtimeStatus"]), (200, &json!("Terminated")));
    assert_eq!(ended.body["output"], "enough");
    for verb in ["terminate", "suspend", "resume"] {
        assert_eq!(act(verb).await.status, 410, "{verb}");
        assert_eq!(post(&server, &format!("/instances/none/{verb}"), "").await.status, 404);
    }
}

#[tokio::test]
async fn an_event_ends_the_task_of_its_name_or_waits_in_the_inbox() {
    let server = Server::new().await;
    let task =
        |name: &str, kind: &str| json!({ "name": name, "taskReferenceName": name, "type": kind });
    let tasks =
        [task("Approval", "HUMAN"), task("pull", "PULL_WORKFLOW_MESSAGES"), task("last", "WAIT")];
    server.register(json!({ "name": "w", "version": 1, "tasks": tasks })).await;
    let id = started(&server, "w", &json!({})).await;
    let raise = async |event: &str, body: &str| {
        post(&server, &format!("/instances/{id}/raiseEvent/{event}"), body).await.status
    };
    // Nobody waits for this one: a task that takes messages finds it.
    assert_eq!(raise("Note", "[1, 2]").await, 202);
    assert_eq!(raise("approval", "{").await, 400);
    assert_eq!(raise("approval", "true").await, 202);
    let workflow = server.workflow(&id).await;
    assert_eq!(workflow["tasks"][0]["outputData"], json!({ "value": true }));
    let taken = &workflow["tasks"][1]["outputData"]["messages"][0]["payload"];
    assert_eq!(*taken, json!({ "event": "Note", "data": [1, 2] }));
    let request = Request::builder().method(Method::POST);
    let request = request.uri(format!("{BASE}/instances/{id}/raiseEvent/last"));
    let reply = call(&server, request.header("content-type", "text/plain"), "x").await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.body["Message"], "Only application/json request content is supported");
    assert_eq!(raise("last", "").await, 202);
    server.until(&id, "COMPLETED").await;
    assert_eq!(raise("last", "").await, 410);
    assert_eq!(post(&server, "/instances/none/raiseEvent/x", "1").await.status, 404);
}

#[tokio::test]
async fn a_list_is_filtered_and_paged() {
    let server = Server::new().await;
    server.register(json!([waiting("w"), line("done", &[])])).await;
    let noop = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    server.register(json!({ "name": "done", "version": 1, "tasks": [noop] })).await;
    for number in 0..5 {
        started(&server, &format!("w/a-{number}"), &json!({ "n": number })).await;
    }
    started(&server, "done/b-0", &json!({})).await;
    let ids = |body: &Value| -> Vec<String> {
        let all = body.as_array().expect("a list").iter();
        all.map(|it| it["instanceId"].as_str().expect("an id").to_owned()).collect()
    };
    let all = get(&server, "/instances").await;
    assert_eq!((all.status, all.body.as_array().map(Vec::len)), (200, Some(6)));
    assert!(all.headers.contains_key("x-ms-continuation-token"));
    assert_eq!(all.header("x-ms-continuation-token"), "");
    let cases = [
        ("?runtimeStatus=Running", 5),
        ("?runtimeStatus=completed,Failed", 1),
        ("?runtimeStatus=Completed&runtimeStatus=Running", 6),
        ("?runtimeStatus=Nonsense", 6),
        ("?runtimeStatus=Canceled", 0),
        ("?instanceIdPrefix=a-", 5),
        ("?instanceIdPrefix=*", 0),
        ("?createdTimeFrom=2020-01-01T00:00:00Z", 6),
        ("?createdTimeFrom=2020-01-01", 6),
        ("?createdTimeTo=2020-01-01T00:00:00.000000", 0),
        ("?createdTimeTo=nonsense", 6),
    ];
    for (query, count) in cases {
        let found = get(&server, &format!("/instances{query}")).await.body;
        assert_eq!(ids(&found).len(), count, "{query}: {found}");
    }
    let bare = get(&server, "/instances?showInput=false&instanceIdPrefix=a-1").await.body;
    assert_eq!(bare[0]["input"], Value::Null);

    let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = Request::builder().uri(format!("{BASE}/instances?top=2&instanceIdPrefix=a-"));
        let reply = call(&server, request.header("x-ms-continuation-token", &token), "").await;
        seen.extend(ids(&reply.body));
        pages += 1;
        token = reply.header("x-ms-continuation-token").to_owned();
        if token.is_empty() {
            break;
        }
        // What is created meanwhile moves nothing.
        started(&server, &format!("w/a-later-{pages}"), &json!({})).await;
    }
    seen.retain(|id| !id.contains("later"));
    assert_eq!(
        (seen, pages),
        (vec!["a-4", "a-3", "a-2", "a-1", "a-0"].into_iter().map(str::to_owned).collect(), 3)
    );
    let request = Request::builder().uri(format!("{BASE}/instances"));
    let reply = call(&server, request.header("x-ms-continuation-token", "mine"), "").await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn only_what_has_ended_is_purged() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    for id in ["a", "b", "c"] {
        started(&server, &format!("w/{id}"), &json!({})).await;
    }
    let purge = async |path: &str| ask(&server, Method::DELETE, path, "").await;
    assert_eq!(purge("/instances/a").await.status, 412);
    assert_eq!(purge("/instances/none").await.status, 404);
    assert_eq!(purge("/instances").await.status, 400);
    assert_eq!(purge("/instances?createdTimeFrom=2020-01-01T00:00:00Z").await.status, 404);
    for id in ["a", "b"] {
        post(&server, &format!("/instances/{id}/terminate"), "").await;
    }
    let one = purge("/instances/a").await;
    assert_eq!((one.status, one.body), (200, json!({ "instancesDeleted": 1 })));
    assert_eq!(get(&server, "/instances/a").await.status, 404);
    let query = "/instances?createdTimeFrom=2020-01-01T00:00:00Z&runtimeStatus=Completed";
    assert_eq!(purge(query).await.status, 404);
    let rest = purge("/instances?createdTimeFrom=2020-01-01T00:00:00Z").await;
    assert_eq!((rest.status, rest.body), (200, json!({ "instancesDeleted": 1 })));
    assert_eq!(get(&server, "/instances/c").await.status, 202);
}

#[tokio::test]
async fn a_purge_removes_no_more_than_was_meant() {
    let server = Server::new().await;
    let noop = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    server.register(json!({ "name": "done", "version": 1, "tasks": [noop] })).await;
    for id in ["a-1", "a-2", "b-1"] {
        started(&server, &format!("done/{id}"), &json!({})).await;
    }
    let purge = async |query: &str| {
        let path = format!("/instances?createdTimeFrom=2020-01-01&{query}");
        ask(&server, Method::DELETE, &path, "").await
    };
    for (query, status) in [
        ("createdTimeTo=tomorrow", 400),
        ("runtimeStatus=Complete", 400),
        ("runtimeStatus=Completed,Done", 400),
        ("createdTimeTo=2021-01-01+00:00:00", 404),
        ("createdTimeTo=2021-01-01T00:00:00%2B02:00", 404),
        ("createdTimeTo=2021-01-01T00:00:00+02:00", 404),
        ("instanceIdPrefix=*", 404),
    ] {
        let refused = purge(query).await;
        assert_eq!(refused.status, status, "{query}: {}", refused.body);
    }
    let said = purge("runtimeStatus=Complete").await.body["Message"].clone();
    assert_eq!(said, "'Complete' cannot be read as 'runtimeStatus'.");
    let some = purge("instanceIdPrefix=a-").await;
    assert_eq!((some.status, some.body), (200, json!({ "instancesDeleted": 2 })));
    assert_eq!(get(&server, "/instances/b-1").await.status, 200);
}

#[tokio::test]
async fn pages_lose_nothing_when_what_they_showed_is_purged() {
    let server = Server::new().await;
    let noop = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    server.register(json!({ "name": "done", "version": 1, "tasks": [noop] })).await;
    for number in 0..9 {
        started(&server, &format!("done/%C3%BC%20{number}"), &json!({})).await;
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let request =
            Request::builder().uri(format!("{BASE}/instances?top=2&runtimeStatus=Completed"));
        let reply = call(&server, request.header("x-ms-continuation-token", &token), "").await;
        for one in reply.body.as_array().expect("a list") {
            let id = one["instanceId"].as_str().expect("an id").to_owned();
            let path = format!("/instances/{}", id.replace('ü', "%C3%BC").replace(' ', "%20"));
            assert_eq!(ask(&server, Method::DELETE, &path, "").await.status, 200);
            seen.push(id);
        }
        token = reply.header("x-ms-continuation-token").to_owned();
        if token.is_empty() {
            break;
        }
    }
    seen.sort_unstable();
    let all: Vec<String> = (0..9).map(|number| format!("ü {number}")).collect();
    assert_eq!(seen, all);
}

#[tokio::test]
async fn what_failed_says_why_whatever_its_output_would_have_been() {
    let server = Server::new().await;
    let task = json!({ "name": "t", "taskReferenceName": "t", "type": "SIMPLE" });
    let end = json!({ "name": "e", "taskReferenceName": "e", "type": "TERMINATE",
        "inputParameters": { "terminationStatus": "FAILED", "terminationReason": "no luck",
            "workflowOutput": { "tried": 3 } } });
    let output = json!({ "n": "${workflow.input.n}", "done": "${t.output.done}" });
    server
        .register(json!([
            { "name": "half", "version": 1, "tasks": [task], "outputParameters": output },
            { "name": "told", "version": 1, "tasks": [end] },
        ]))
        .await;
    let half = started(&server, "half", &json!({ "n": 1 })).await;
    server.fail("t").await;
    server.until(&half, "FAILED").await;
    let shown = get(&server, &format!("/instances/{half}")).await.body;
    assert!(shown["output"].as_str().is_some_and(|it| it.contains("it broke")), "{shown}");
    let ended = started(&server, "half", &json!({ "n": 1 })).await;
    post(&server, &format!("/instances/{ended}/terminate?reason=enough"), "").await;
    assert_eq!(get(&server, &format!("/instances/{ended}")).await.body["output"], "enough");
    let told = started(&server, "told", &json!({})).await;
    let shown = get(&server, &format!("/instances/{told}")).await.body;
    assert_eq!(shown["output"], json!({ "tried": 3 }));
}

#[tokio::test]
async fn an_instance_is_restarted_under_a_new_id_or_its_own() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    started(&server, "w/one", &json!({ "n": 1 })).await;
    let anew = post(&server, "/instances/one/restart", "").await;
    assert_eq!(anew.status, 202);
    let other = anew.body["id"].as_str().expect("an id").to_owned();
    assert_ne!(other, "one");
    assert_eq!(server.workflow(&other).await["input"], json!({ "n": 1 }));
    let same = "/instances/one/restart?restartWithNewInstanceId=false";
    assert_eq!(post(&server, same, "").await.status, 409);
    post(&server, "/instances/one/terminate", "").await;
    let reply = post(&server, same, "").await;
    assert_eq!((reply.status, &reply.body["id"]), (202, &json!("one")));
    assert_eq!(get(&server, "/instances/one").await.body["runtimeStatus"], "Running");
    assert_eq!(post(&server, "/instances/none/restart", "").await.status, 400);
}

#[tokio::test]
async fn a_start_can_wait_for_what_comes_of_it() {
    let server = Server::new().await;
    let noop = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    let end = json!({ "name": "t", "taskReferenceName": "t", "type": "TERMINATE",
        "inputParameters": { "terminationStatus": "FAILED", "terminationReason": "no luck" } });
    server
        .register(json!([
            { "name": "quick", "version": 1, "tasks": [noop],
              "outputParameters": { "n": "${workflow.input.n}" } },
            { "name": "broken", "version": 1, "tasks": [end] },
            waiting("slow"),
        ]))
        .await;
    let quick =
        post(&server, "/orchestrators/quick?timeout=30&pollingInterval=1", r#"{"n":7}"#).await;
    assert_eq!((quick.status, quick.body), (200, json!({ "n": 7 })));
    let slow = post(&server, "/orchestrators/slow?timeout=0.01", "").await;
    assert_eq!(slow.status, 202);
    assert!(slow.body["statusQueryGetUri"].is_string(), "{}", slow.body);
    let broken = post(&server, "/orchestrators/broken?timeout=30", "").await;
    assert_eq!((broken.status, &broken.body["runtimeStatus"]), (200, &json!("Failed")));
    let query = "/orchestrators/broken?timeout=30&returnInternalServerErrorOnFailure=true";
    assert_eq!(post(&server, query, "").await.status, 500);
}

#[tokio::test]
async fn addresses_are_found_however_they_are_written() {
    let server = Server::new().await;
    server.register(waiting("w")).await;
    started(&server, "w/Terminate", &json!({})).await;
    let paths = [
        "/Runtime/WebHooks/DurableTask/Instances/Terminate",
        "/runtime/webhooks/durabletask/instances/Terminate/",
        "/durabletask/instances/Terminate?taskHub=x",
        "/admin/extensions/DurableTaskExtension/INSTANCES/Terminate",
    ];
    for path in paths {
        let reply = call(&server, Request::builder().uri(path), "").await;
        assert_eq!((reply.status, &reply.body["instanceId"]), (202, &json!("Terminate")), "{path}");
    }
    let list = call(&server, Request::builder().uri("/durabletask/instances/?top=1"), "").await;
    assert_eq!(list.body.as_array().map(Vec::len), Some(1));
    let path = "/durabletask/instances/Terminate/raiseevent/wait";
    let raise = Request::builder().method(Method::POST).uri(path);
    let reply = call(&server, raise.header("content-type", "application/json"), "{}").await;
    assert_eq!(reply.status, 202);
    assert_eq!(post(&server, "/makeprimary", "").await.status, 200);
    // To this protocol, a method that does not fit is a path that is not there.
    assert_eq!(ask(&server, Method::PUT, "/instances/Terminate", "").await.status, 404);
    assert_eq!(get(&server, "/nothing").await.status, 404);
    assert_eq!(call(&server, Request::builder().uri("/durabletask/none"), "").await.status, 404);
    assert_eq!(server.get("/nowhere").await.status, StatusCode::NOT_FOUND);
}
