//! The audit ledger: what people do about runs and schedules, and why; what is written without access
//! control; what open pages are told of; what is found in it.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use engine::{AuditEntry, AuditSearch};
use http_body_util::BodyExt as _;
use kernel::access::{Mode, Role};
use ring::signature::{ED25519, UnparsedPublicKey};
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

/// Who, by what proof, what, on what, and a hash of what was sent, from which nobody can tell what it was.
#[tokio::test]
async fn lines_say_by_what_proof_and_have_a_hash_of_the_change() {
    let (server, router, key) = house(Mode::On).await;
    let given = json!({ "keyId": key[3..15], "keySecret": key }).to_string();
    let json = ("content-type", "application/json");
    let token = send_through(router.clone(), Method::POST, "/api/token", &[json], given).await;
    let token = token.ok()["token"].as_str().expect("a token").to_owned();
    let (bearer, path) = (format!("Bearer {key}"), "/api/secrets/DB");
    let by_key = ("authorization", bearer.as_str());
    let by_token = ("x-authorization", token.as_str());
    for (credential, body) in
        [(by_key, "\"hunter2\""), (by_token, "\"hunter2\""), (by_token, "\"hunter3\"")]
    {
        let headers = [credential, json];
        send_through(router.clone(), Method::PUT, path, &headers, body.to_owned()).await.ok_text();
    }
    let removed =
        send_through(router.clone(), Method::DELETE, path, &[by_key], String::new()).await;
    removed.ok_text();
    let grants = "/api/access/grants?key=0123456789ab&role=viewer";
    send_through(router, Method::DELETE, grants, &[by_key], String::new()).await.failed(404);
    let lines = until_lines(&server, 11).await;
    let login = lines.iter().find(|it| it["act"] == "login").expect("somebody came in");
    assert_eq!((&login["proof"], &login["name"]), (&json!("key"), &json!("ann")));
    let outcomes: Vec<&Value> = lines.iter().filter(|it| it["act"] == "outcome").collect();
    let [first, same, other, removal, narrowed] = &outcomes[..] else { panic!("{lines:?}") };
    for (line, proof) in [(first, "key"), (same, "token"), (other, "token"), (removal, "key")] {
        assert_eq!((&line["proof"], &line["name"]), (&json!(proof), &json!("ann")), "{line}");
        let begun = &lines.iter().find(|it| it["number"] == line["of"]).expect("it begun");
        assert_eq!((&begun["proof"], &begun["object"]), (&line["proof"], &json!(path)), "{begun}");
        for field in ["number", "at", "who", "act", "object", "outcome", "status"] {
            assert!(!line[field].is_null(), "{field}: {line}");
        }
    }
    let hash = first["change"].as_str().expect("something was sent");
    assert_eq!(same["change"], hash, "the same was sent");
    assert!(other["change"].is_string() && other["change"] != hash, "something else was sent");
    assert_eq!(removal["change"], Value::Null, "nothing was sent");
    assert!(narrowed["change"].is_string(), "a query says what to change, too");
    let plain = ring::digest::digest(&ring::digest::SHA256, b"\"hunter2\"");
    let digits = plain.as_ref().iter().map(|byte| format!("{byte:02x}"));
    let plain = digits.collect::<Vec<_>>().concat();
    assert!(hash.len() == plain.len() && hash != plain, "whoever reads it could try passwords");
}

/// Which secrets were used is told once, by whom and for whom; what was not named is not told of.
#[tokio::test]
async fn the_use_of_a_secret_is_told_once_an_hour() {
    let (server, router, key) = house(Mode::On).await;
    let load = json!({ "name": "load", "taskReferenceName": "first", "type": "SIMPLE",
        "inputParameters": { "token": "x ${workflow.secrets.KEY}" } });
    server.register(json!({ "name": "flow", "version": 1, "tasks": [load] })).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let ask = async |method, path: &str, body: &str| {
        send_through(router.clone(), method, path, &headers, body.to_owned()).await
    };
    let (mut runs, poll) = (Vec::new(), "/api/tasks/poll/batch/load?count=1&timeout=0");
    for _ in 0..2 {
        runs.push(ask(Method::POST, "/api/workflow/flow", "{}").await.ok_text());
        let taken = ask(Method::GET, poll, "").await.ok();
        assert_eq!(taken[0]["inputData"]["token"], "x hunter2", "{taken}");
    }
    // What is written comes in its order: this is after all that there is of those.
    ask(Method::PUT, "/api/secrets/OTHER", "s").await.ok_text();
    let lines = until_lines(&server, 3).await;
    let used: Vec<_> = lines.iter().filter(|it| it["act"] == "use-secret").collect();
    let [used] = &used[..] else { panic!("{lines:?}") };
    let expected = format!("KEY for a worker of load, by flow/first of {}", runs[0]);
    assert_eq!(used["object"], expected);
    assert!(used["who"].as_str().is_some_and(|who| who.starts_with("key:")), "{used}");
    assert!(!json!(lines).to_string().contains("hunter2"));
}

#[tokio::test]
async fn the_head_of_the_ledger_is_signed() {
    let (server, router, key) = house(Mode::On).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    let secret = send_through(router.clone(), Method::PUT, "/api/secrets/A", &headers, "s".into());
    secret.await.ok_text();
    let head = until_lines(&server, 2).await.len();
    let signing = tokio::spawn(server::ledger::sign_hourly(server.engine.clone()));
    let lines = until_lines(&server, head + 1).await;
    signing.abort();
    let line = lines.last().expect("a line");
    let kept = server.engine.audit().after(head as u64 - 1).await.expect("memory answers");
    let object = line["object"].as_str().expect("a text");
    assert_eq!((&line["act"], object), (&json!("sign"), &*format!("{head} {}", kept[0].hash)));
    let told = send_through(router, Method::GET, "/api/audit/key", &headers, String::new()).await;
    let pem = told.ok()["publicKey"].as_str().expect("a text").to_owned();
    let text: String = pem.lines().filter(|line| !line.contains("---")).collect();
    let decode = |text: &str| BASE64_STANDARD.decode(text).expect("base64");
    let (bytes, signature) = (decode(&text), decode(line["signature"].as_str().expect("one")));
    let public = UnparsedPublicKey::new(&ED25519, &bytes[bytes.len() - 32..]);
    public.verify(object.as_bytes(), &signature).expect("it is the server's");
    public.verify(format!("{object}0").as_bytes(), &signature).expect_err("of this text alone");
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
