//! The audit ledger: what people do about runs and schedules, and why; what is written without access
//! control; what open pages are told of; what is found in it.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use engine::{AuditEntry, AuditSearch};
use http_body_util::BodyExt as _;
use kernel::access::{Mode, Role};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::console::hidden;
use crate::support::{Server, send_through, waiting};

/// A server that asks for keys, or does not, and the key of somebody who may do everything.
async fn house(mode: Mode) -> (Server, Router, String) {
    let server = Server::new().await.with(|settings| settings.auth = mode);
    let (engine, now) = (&server.engine, server.engine.now());
    let made = engine.access().create_key("ann", vec![Role::Admin], None, "test", now).await;
    let key = made.expect("memory takes all").text.to_string();
    let router = server::router(server.api());
    (server, router, key)
}

/// What the lines say, oldest first.
async fn lines(server: &Server) -> Vec<Value> {
    let found = server.engine.audit().after(0).await.expect("memory answers");
    found.iter().map(|it| serde_json::from_str(&it.line).expect("JSON")).collect()
}

/// Waits for so many lines: outcomes come after answers.
async fn until_lines(server: &Server, count: usize) -> Vec<Value> {
    let there = async {
        loop {
            let lines = lines(server).await;
            if lines.len() >= count {
                return lines;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), there).await.expect("the lines come")
}

/// What people do, each with what the ledger says of why.
fn acts(run: &str) -> Vec<(Method, String, Value, Option<&'static str>)> {
    let act = |method: Method, path: &str, body: Value, why| (method, path.to_owned(), body, why);
    let of_run = |path: &str| format!("/api/workflow/{run}{path}");
    let (put, post, get, delete) = (Method::PUT, Method::POST, Method::GET, Method::DELETE);
    let durable = |path: &str| format!("/runtime/webhooks/durabletask/instances/{path}");
    vec![
        (put.clone(), of_run("/pause"), json!(null), None),
        (put.clone(), of_run("/resume"), json!(null), None),
        (put.clone(), of_run("/skiptask/w"), json!({}), None),
        (post.clone(), of_run("/rerun"), json!({}), None),
        (post.clone(), of_run("/restart"), json!(null), None),
        (post.clone(), of_run("/retry"), json!(null), None),
        (post.clone(), of_run("/jump/w"), json!({}), None),
        (post.clone(), of_run("/variables"), json!({ "reason": "a payload" }), None),
        (delete, of_run("?reason=too%20slow"), json!(null), Some("too slow")),
        act(put.clone(), "/api/workflow/bulk/pause", json!([run]), None),
        act(post.clone(), "/api/workflow/bulk/terminate?reason=over", json!([run]), Some("over")),
        act(
            post.clone(),
            "/api/batches",
            json!({ "preview": "none", "reason": "drill" }),
            Some("drill"),
        ),
        act(
            put,
            "/api/scheduler/schedules/nightly/pause?reason=holiday",
            json!(null),
            Some("holiday"),
        ),
        act(get.clone(), "/api/scheduler/schedules/nightly/resume", json!(null), None),
        act(get, "/api/scheduler/admin/pause?reason=moving", json!(null), Some("moving")),
        (post.clone(), durable("i/terminate?reason=done%21"), json!(null), Some("done!")),
        (post.clone(), durable("i/rewind?reason=again"), json!(null), Some("again")),
        act(post, "/api/incidents/none/acknowledge", json!({ "why": "seen it" }), Some("seen it")),
    ]
}

#[tokio::test]
async fn what_people_do_about_runs_and_schedules_is_written_and_why() {
    let (server, router, key) = house(Mode::On).await;
    server.register(waiting("flow")).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let (start, input) = ("/api/workflow/flow", "{}".to_owned());
    let run = send_through(router.clone(), Method::POST, start, &headers, input).await.ok_text();
    let acts = acts(&run);
    for (count, (method, path, body, why)) in acts.iter().enumerate() {
        let answer =
            send_through(router.clone(), method.clone(), path, &headers, body.to_string()).await;
        let lines = until_lines(&server, 2 * count + 2).await;
        let [.., begun, outcome] = &lines[..] else { panic!("{lines:?}") };
        let bare = path.split('?').next();
        assert_eq!((&begun["outcome"], begun["object"].as_str()), (&json!("begun"), bare));
        assert_eq!(begun["name"], "ann", "{path}");
        assert_eq!(outcome["of"], begun["number"], "{path}: {lines:?}");
        assert_eq!(outcome["status"], answer.status.as_u16(), "{path}");
        assert_eq!(outcome["why"].as_str(), *why, "{path}: {outcome}");
    }
    // Starts, polls, reports and signals are not: there may be thousands a second.
    let before = 2 * acts.len();
    let task = json!({ "workflowInstanceId": run, "taskId": "none", "status": "COMPLETED" });
    for (method, path, body) in [
        (Method::POST, "/api/workflow/flow", json!({})),
        (Method::GET, "/api/tasks/poll/batch/t?count=1&timeout=0", json!(null)),
        (Method::POST, "/api/tasks", task),
        (Method::POST, "/runtime/webhooks/durabletask/instances/i/raiseEvent/e", json!({})),
        (Method::GET, "/api/workflow/search", json!(null)),
        (Method::POST, "/api/batches/preview", json!({})),
    ] {
        send_through(router.clone(), method, path, &headers, body.to_string()).await;
    }
    // One that is written comes after all that would have been.
    let path = "/api/scheduler/admin/resume";
    send_through(router, Method::GET, path, &headers, String::new()).await.ok_text();
    let lines = until_lines(&server, before + 2).await;
    assert_eq!(lines[before]["act"], "GET /api/scheduler/admin/resume", "{:?}", lines[before]);
    assert!(!json!(lines).to_string().contains("a payload"), "no payload is written");
}

#[tokio::test]
async fn instances_over_grpc_are_named_with_why() {
    use proto::SuspendRequest;
    use proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;

    let (server, router, _) = house(Mode::Open).await;
    let mut client = TaskHubSidecarServiceClient::new(router);
    let start = proto::CreateInstanceRequest {
        instance_id: "i-7".to_owned(),
        name: "o".to_owned(),
        ..proto::CreateInstanceRequest::default()
    };
    client.start_instance(start).await.expect("it is started");
    let reason = Some("lunch".to_owned());
    let suspend = SuspendRequest { instance_id: "i-7".to_owned(), reason };
    client.suspend_instance(suspend).await.expect("it is suspended");
    let lines = until_lines(&server, 2).await;
    assert_eq!(lines.len(), 2, "a start is not written: {lines:?}");
    assert_eq!((&lines[1]["outcome"], &lines[1]["why"]), (&json!("ok"), &json!("lunch")));
    let object = lines[1]["object"].as_str().expect("a text");
    assert!(object.contains("SuspendInstance") && object.ends_with("i-7"), "{object}");
}

#[tokio::test]
async fn without_access_control_the_same_is_written_as_anonymous() {
    let (server, router, _) = house(Mode::Open).await;
    let path = "/api/environment/ZONE";
    let put = send_through(router.clone(), Method::PUT, path, &[], "\"north\"".to_owned()).await;
    put.ok_text();
    send_through(router.clone(), Method::GET, path, &[], String::new()).await;
    send_through(router, Method::POST, "/api/workflow/none", &[], "{}".to_owned()).await;
    let lines = until_lines(&server, 2).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!((&lines[0]["who"], &lines[0]["object"]), (&json!("anonymous"), &json!(path)));
    assert_eq!((&lines[1]["outcome"], &lines[1]["of"]), (&json!("ok"), &json!(1)));
}

#[tokio::test]
async fn open_pages_are_told_of_changes_that_no_machine_makes() {
    let (server, router, _) = house(Mode::Open).await;
    let request = Request::get("/console/feed?topics=change").body(Body::empty());
    let answer = router.clone().oneshot(request.expect("a request")).await.expect("an answer");
    let mut stream = answer.into_body();
    let mut piece = async || {
        let frame = tokio::time::timeout(std::time::Duration::from_secs(30), stream.frame()).await;
        let frame = frame.expect("it comes").expect("it goes on").expect("no failure");
        String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text")
    };
    assert!(piece().await.starts_with("retry: "));
    // What is refused changes nothing, and a run is no change of this kind.
    let path = "/api/triggers/none";
    send_through(router.clone(), Method::DELETE, path, &[], String::new()).await.failed(404);
    until_lines(&server, 2).await;
    server.register(waiting("flow")).await;
    server.start("flow", &json!({})).await;
    let path = "/api/secrets/TOKEN";
    let put = send_through(router, Method::PUT, path, &[], "\"value\"".to_owned()).await;
    assert!(put.status.is_success(), "{}", put.text);
    let told = piece().await;
    assert!(told.contains("\"topic\":\"change\"") && told.contains("\"id\":null"), "{told}");
    assert!(told.contains("\"version\":4"), "it names the line of the outcome: {told}");
    assert!(!told.contains("TOKEN"), "what was changed is not told: {told}");
}

#[tokio::test]
async fn lines_are_found_by_what_they_are_about_and_when() {
    let (server, router, _) = house(Mode::Open).await;
    for number in 0..4 {
        let path = format!("/api/environment/KEY{}", number % 2);
        send_through(router.clone(), Method::PUT, &path, &[], "\"x\"".to_owned()).await.ok_text();
        until_lines(&server, 2 * number + 2).await;
    }
    let numbers = async |query: &str| {
        let path = format!("/api/audit?{query}");
        let found = send_through(router.clone(), Method::GET, &path, &[], String::new()).await.ok();
        let found = found.as_array().expect("a list").clone();
        found.iter().map(|it| it["number"].as_u64().expect("a number")).collect::<Vec<_>>()
    };
    assert_eq!(numbers("object=KEY1").await, [8, 7, 4, 3], "with their outcomes");
    assert_eq!(numbers("object=KEY1&size=2").await, [8, 7]);
    assert_eq!(numbers("object=nothing").await, Vec::<u64>::new());
    assert_eq!(numbers("size=3").await, [8, 7, 6]);
    let all = lines(&server).await;
    let at = |index: usize| all[index]["at"].as_i64().expect("a time");
    let wanted = |from: i64, to: i64| {
        let within = |it: &&Value| (from..to).contains(&it["at"].as_i64().unwrap_or_default());
        let mut numbers: Vec<u64> =
            all.iter().filter(within).filter_map(|it| it["number"].as_u64()).collect();
        numbers.reverse();
        numbers
    };
    for (from, to) in [(at(0), at(7) + 1), (at(4), at(7) + 1), (at(0), at(0)), (0, at(4))] {
        assert_eq!(numbers(&format!("from={from}&to={to}")).await, wanted(from, to));
    }
    for wrong in ["from=soon", "after=0&object=x"] {
        let path = format!("/api/audit?{wrong}");
        send_through(router.clone(), Method::GET, &path, &[], String::new()).await.failed(400);
    }
    let none = AuditSearch { size: 0, ..AuditSearch::default() };
    let page = server.engine.audit().newest(&none).await.expect("memory answers");
    assert!(page.lines.is_empty());
}

#[tokio::test]
async fn a_search_goes_on_where_the_one_before_has_ended() {
    let (server, router, _) = house(Mode::Open).await;
    let (audit, now) = (server.engine.audit(), server.engine.now());
    let write = async |act: &str, object: &str, of: Option<u64>| {
        let (act, object, outcome) = (act.to_owned(), object.to_owned(), "begun".to_owned());
        let entry = AuditEntry { act, object, outcome, of, ..AuditEntry::default() };
        audit.write(entry, now).await.expect("memory takes all")
    };
    // More lie between what was begun and its outcome than are looked at in one go.
    let begun = write("PUT", "/needle", None).await;
    for _ in 0..10_100 {
        write("PUT", "/hay", None).await;
    }
    let outcome = write("outcome", "PUT", Some(begun)).await;
    let (mut found, mut asked, mut query) = (Vec::new(), 0, "object=needle".to_owned());
    loop {
        let path = format!("/api/audit?{query}");
        let answer = send_through(router.clone(), Method::GET, &path, &[], String::new()).await;
        let lines = answer.ok();
        found.extend(lines.as_array().into_iter().flatten().filter_map(|it| it["number"].as_u64()));
        asked += 1;
        let Some(next) = answer.headers.get("x-next-before") else { break };
        query = format!("object=needle&before={}", next.to_str().expect("a number"));
    }
    assert_eq!((found, asked), (vec![outcome, begun], 2));
}

/// Without access control a name proves nothing, and is better than none.
#[tokio::test]
async fn whoever_says_their_name_at_the_console_is_written_by_it() {
    let (server, router, _) = house(Mode::Open).await;
    server.register(waiting("flow")).await;
    let run = server.start("flow", &json!({})).await;
    let headers = [
        ("cookie", "nightbell-name=Ida"),
        ("host", "localhost:8080"),
        ("origin", "http://localhost:8080"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let page = send_through(router.clone(), Method::GET, "/console/name", &headers, String::new());
    let page = page.await.ok_text();
    let form = format!("act=pause&id={run}&csrf={}", hidden(&page, "csrf"));
    let done = send_through(router, Method::POST, "/console/act", &headers, form).await;
    assert_eq!(done.status, 303, "{}", done.text);
    let lines = until_lines(&server, 2).await;
    for line in &lines {
        assert_eq!(
            (&line["who"], &line["name"]),
            (&json!("anonymous"), &json!("Ida")),
            "{lines:?}"
        );
    }
}
