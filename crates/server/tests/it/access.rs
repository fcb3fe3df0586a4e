//! Access control: what each path and method needs, and what becomes of those who may not.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::access::{ChainCheck, Mode, Role};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{Answer, Server, line, send_through, waiting};

/// A server that asks for keys.
async fn guarded() -> Server {
    Server::new().await.with(|settings| settings.auth = Mode::On)
}

/// Makes a key for somebody of these roles.
async fn key(server: &Server, roles: &[Role]) -> String {
    let (engine, now) = (&server.engine, server.engine.now());
    let made = engine.access().create_key("tester", roles.to_vec(), None, "test", now).await;
    made.expect("memory takes all").text.to_string()
}

fn bearer(key: &str) -> [(&str, String); 1] {
    [("authorization", format!("Bearer {key}"))]
}

async fn ask(server: &Server, method: Method, path: &str, key: &str, body: &Value) -> Answer {
    let headers = bearer(key);
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, it)| (*name, it.as_str())).collect();
    server.send_with(method, path, &headers, body.to_string()).await
}

/// Every operation of the description with what it needs.
async fn operations(server: &Server) -> BTreeMap<String, String> {
    let document = server.get("/openapi.json").await.ok();
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let need = operation["x-permission"].as_str();
            let need =
                need.unwrap_or_else(|| panic!("{method} {path} says nothing of permissions"));
            operations.insert(format!("{} {path}", method.to_uppercase()), need.to_owned());
        }
    }
    operations
}

/// The methods of the service in the protocol's own description.
fn methods() -> Vec<&'static str> {
    let proto = include_str!("../../../proto/proto/durabletask.proto");
    let calls = proto.lines().filter_map(|line| line.trim().strip_prefix("rpc "));
    calls.filter_map(|call| call.split(['(', ' ']).next()).collect()
}

/// What the table says; `NIGHTBELL_BLESS=1` writes it anew, to be looked at before it is kept.
fn compare(found: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/permissions.txt");
    if std::env::var_os("NIGHTBELL_BLESS").is_some() {
        std::fs::write(path, found).expect("the table can be written");
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected, "the first line that differs from {path}");
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "lines of {path}");
}

/// How a request was refused, if it was.
fn verdict(answer: &Answer) -> char {
    // Pages for people say the same in other words.
    let is_page = answer.content_type.starts_with("text/html");
    match answer.status.as_u16() {
        401 if is_page => '?',
        403 if is_page => '-',
        401 => {
            assert_eq!(answer.json()["error"], "INVALID_TOKEN", "{}", answer.text);
            '?'
        }
        403 => {
            assert_eq!(answer.json()["error"], "FORBIDDEN", "{}", answer.text);
            '-'
        }
        _ => '+',
    }
}

const ASKING: [Option<Role>; 10] = [
    None,
    Some(Role::Viewer),
    Some(Role::Responder),
    Some(Role::Runner),
    Some(Role::Editor),
    Some(Role::Secrets),
    Some(Role::Worker),
    Some(Role::Metrics),
    Some(Role::Auditor),
    Some(Role::Admin),
];

/// Each operation and method, what it needs, and who passes: nobody, a viewer, a responder, a runner,
/// an editor, one for secrets, a worker, one for metrics, an auditor, an administrator.
#[tokio::test]
async fn every_path_and_method_lets_pass_whom_the_table_says() {
    let server = guarded().await;
    let mut keys = Vec::new();
    for role in ASKING {
        keys.push(match role {
            Some(role) => Some(key(&server, &[role]).await),
            None => None,
        });
    }
    let router = server::router(server.api());
    let mut table = String::new();
    for (operation, need) in operations(&server).await {
        let (method, path) = operation.split_once(' ').expect("a method and a path");
        // The names are none that exist. An id that is no number must be none.
        let mut address = path.replace("{version}", "1").replace("{count}", "1");
        while let (Some(begin), Some(end)) = (address.find('{'), address.find('}')) {
            address.replace_range(begin..=end, "nobody");
        }
        let mut passes = String::new();
        for key in &keys {
            let headers: Vec<(&str, String)> =
                key.iter().flat_map(|key| bearer(key).into_iter()).collect();
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(n, it)| (*n, it.as_str())).collect();
            let method: Method = method.parse().expect("a method");
            // What is no JSON is refused before anything happens, but after who asks was looked at.
            let body = "oops".to_owned();
            if address == "/console/feed" {
                passes.push(begun(&router, &address, &headers).await);
                continue;
            }
            let answer = send_through(router.clone(), method, &address, &headers, body).await;
            passes.push(verdict(&answer));
        }
        let _ = writeln!(table, "{passes} {need:<14} {operation}");
    }
    for method in methods() {
        let mut passes = String::new();
        for key in &keys {
            passes.push(called(&router, method, key.as_deref()).await);
        }
        let _ = writeln!(table, "{passes} {:<14} {method}", "gRPC");
    }
    compare(&table);
}

/// How a stream without an end was refused, if it was.
async fn begun(router: &axum::Router, path: &str, headers: &[(&str, &str)]) -> char {
    let request =
        headers.iter().fold(Request::get(path), |it, (name, value)| it.header(*name, *value));
    let request = request.body(axum::body::Body::empty()).expect("a request");
    let answer = router.clone().oneshot(request).await.expect("handlers do not fail");
    match answer.status().as_u16() {
        401 => '?',
        403 => '-',
        _ => '+',
    }
}

/// How a call by gRPC was refused, if it was; the message is empty.
async fn called(router: &axum::Router, method: &str, key: Option<&str>) -> char {
    let path = format!("/TaskHubSidecarService/{method}");
    let bearer = key.map(|key| format!("Bearer {key}"));
    let mut headers = vec![("content-type", "application/grpc"), ("te", "trailers")];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    // Of a message of ten bytes only the length comes: it is refused before anything is done.
    let request = request.body(axum::body::Body::from(&b"\0\0\0\0\x0a"[..])).expect("a request");
    let response = tower::ServiceExt::oneshot(router.clone(), request).await.expect("an answer");
    let status = response.headers().get("grpc-status").map(|status| status.to_str().expect("text"));
    match status {
        Some("16") => '?',
        Some("7") => '-',
        _ => '+',
    }
}

#[tokio::test]
async fn a_method_that_nobody_knows_is_for_nobody() {
    let server = guarded().await;
    let admin = key(&server, &[Role::Admin]).await;
    let router = server::router(server.api());
    assert_eq!(called(&router, "Surprise", Some(&admin)).await, '-');
}

#[tokio::test]
async fn one_key_works_in_every_place_and_as_a_token() {
    let server = guarded().await;
    let viewer = key(&server, &[Role::Viewer]).await;
    let basic = format!("Basic {}", STANDARD.encode(format!("anybody:{viewer}")));
    let (bearer, id) = (format!("Bearer {viewer}"), &viewer[3..15]);
    let given = json!({ "keyId": id, "keySecret": viewer });
    let token = server.post("/api/token", &given).await.ok()["token"].as_str().unwrap().to_owned();
    for header in [
        ("authorization", bearer.as_str()),
        ("authorization", basic.as_str()),
        ("x-authorization", viewer.as_str()),
        ("x-authorization", token.as_str()),
        ("x-functions-key", viewer.as_str()),
    ] {
        let answer =
            server.send_with(Method::GET, "/api/metadata/workflow", &[header], String::new()).await;
        assert_eq!(answer.ok(), json!([]), "{header:?}");
    }
    // Clients of Durable Functions have it in the address, in any spelling of the path.
    for path in
        ["/runtime/webhooks/durabletask/instances", "/runtime/webhooks/DurableTask/Instances/"]
    {
        server.get(&format!("{path}?code={viewer}")).await.ok();
        server.get(path).await.failed(401);
        let answer = server.get(&format!("{path}?code={}", viewer.replace("nb_", "nc_"))).await;
        assert_eq!(answer.code(401), "invalid-token");
    }
    // In other addresses it would only end up in logs.
    server.get(&format!("/api/metadata/workflow?code={viewer}")).await.failed(401);
}

#[tokio::test]
async fn a_revoked_key_and_its_tokens_fail_at_the_next_request() {
    let server = guarded().await;
    let (admin, worker) = (key(&server, &[Role::Admin]).await, key(&server, &[Role::Worker]).await);
    let id = &worker[3..15];
    let given = json!({ "keyId": id, "keySecret": worker });
    let token = server.post("/api/token", &given).await.ok()["token"].as_str().unwrap().to_owned();
    let poll = "/api/tasks/poll/batch/t?count=1&timeout=0";
    for credential in [&worker, &token] {
        ask(&server, Method::GET, poll, credential, &json!(null)).await.ok();
    }
    let path = format!("/api/access/keys/{id}");
    let revoked = ask(&server, Method::DELETE, &path, &admin, &json!(null)).await.ok();
    assert_eq!((&revoked["status"], &revoked["keySecret"]), (&json!("REVOKED"), &json!(null)));
    for credential in [&worker, &token] {
        let answer = ask(&server, Method::GET, poll, credential, &json!(null)).await;
        assert_eq!(answer.code(401), "invalid-token");
        assert_eq!(answer.json()["error"], "INVALID_TOKEN");
    }
    assert_eq!(server.post("/api/token", &given).await.code(401), "invalid-token");
    // A restart does not bring it back, and administrators stay.
    let server = server.restarted().await.with(|settings| settings.auth = Mode::On);
    ask(&server, Method::GET, poll, &worker, &json!(null)).await.failed(401);
    let keys = ask(&server, Method::GET, "/api/access/keys", &admin, &json!(null)).await.ok();
    let keys = keys.as_array().expect("a list");
    let status = |of: &str| keys.iter().find(|key| key["keyId"] == of).map(|key| &key["status"]);
    assert_eq!(
        (status(&admin[3..15]), status(id)),
        (Some(&json!("VALID")), Some(&json!("REVOKED")))
    );
    assert!(!json!(keys).to_string().contains(&worker[16..80]), "no secret is listed");
    ask(&server, Method::DELETE, "/api/access/keys/none", &admin, &json!(null)).await.failed(404);
}

#[tokio::test]
async fn keys_that_expire_say_so() {
    let server = guarded().await;
    let (engine, now) = (&server.engine, server.engine.now());
    let soon = now.plus_millis(50);
    let made =
        engine.access().create_key("brief", vec![Role::Viewer], Some(soon), "test", now).await;
    let text = made.expect("memory takes all").text.to_string();
    while engine.now() < soon {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let answer = ask(&server, Method::GET, "/api/metadata/workflow", &text, &json!(null)).await;
    assert_eq!(answer.code(401), "expired-token");
    assert_eq!(answer.json()["error"], "EXPIRED_TOKEN");
    let past = engine.access().create_key("late", vec![Role::Viewer], Some(now), "test", now).await;
    assert!(past.is_err());
}

#[tokio::test]
async fn forged_credentials_are_refused() {
    let server = guarded().await;
    let other = guarded().await;
    let (ours, theirs) = (key(&server, &[Role::Admin]).await, key(&other, &[Role::Admin]).await);
    let given = json!({ "keyId": &theirs[3..15], "keySecret": theirs });
    let token = other.post("/api/token", &given).await.ok()["token"].as_str().unwrap().to_owned();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let claims = token.split('.').nth(1).expect("three parts");
    // The id of a key that counts, with the secret of another.
    let mut mixed = theirs.clone();
    mixed.replace_range(3..15, &ours[3..15]);
    let mut flipped = ours.clone();
    flipped.replace_range(20..21, if &ours[20..21] == "0" { "1" } else { "0" });
    for forged in [
        theirs.as_str(),
        token.as_str(),
        &format!("{none}.{claims}."),
        &mixed,
        &flipped,
        &ours[..88],
        "nb_",
        "null",
        "\u{1f511}",
    ] {
        let answer = ask(&server, Method::GET, "/api/access/keys", forged, &json!(null)).await;
        assert_eq!(answer.code(401), "invalid-token", "{forged}");
        assert!(answer.headers.contains_key("www-authenticate"));
    }
    let wrong = json!({ "keyId": &theirs[3..15], "keySecret": ours });
    assert_eq!(server.post("/api/token", &wrong).await.code(401), "invalid-token");
    server.post("/api/token", &json!({ "keyId": "x" })).await.failed(400);
    ask(&server, Method::GET, "/api/access/keys", &ours, &json!(null)).await.ok();
}

#[tokio::test]
async fn nobody_gets_more_than_their_role() {
    let server = guarded().await;
    server.register(json!([waiting("w")])).await;
    let admin = key(&server, &[Role::Admin]).await;
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Admin) {
        let key = key(&server, &[role]).await;
        let wanted = json!({ "name": "more", "roles": ["admin"] });
        let answer = ask(&server, Method::POST, "/api/access/keys", &key, &wanted).await;
        assert_eq!(answer.code(403), "forbidden", "{role}");
        assert_eq!(answer.json()["error"], "FORBIDDEN");
    }
    // A definition that comes along may name secrets: only those may bring one who may write it.
    let (runner, editor) =
        (key(&server, &[Role::Runner]).await, key(&server, &[Role::Editor]).await);
    let inline = json!({ "name": "mine", "workflowDef": waiting("mine") });
    for (path, body) in
        [("/api/workflow", &inline), ("/api/workflow/execute/mine/1?waitForSeconds=1", &inline)]
    {
        let answer = ask(&server, Method::POST, path, &runner, body).await;
        assert_eq!(answer.code(403), "forbidden", "{path}");
        assert!(
            ask(&server, Method::POST, path, &editor, body).await.status.is_success(),
            "{path}"
        );
    }
    let body = json!({ "name": "w", "createdBy": "somebody else" });
    let id = ask(&server, Method::POST, "/api/workflow", &runner, &body).await.ok_text();
    let path = format!("/api/workflow/{id}");
    let shown = ask(&server, Method::GET, &path, &runner, &json!(null)).await.ok();
    let by = format!("tester (key:{})", &runner[3..15]);
    assert_eq!(shown["createdBy"], by, "the one who asks wins over what is said");
    // What is not enforced is not accepted, and what is misspelt is no role.
    for (wanted, code) in [
        (
            json!({ "name": "n", "roles": ["viewer"], "on": ["name=etl-*"] }),
            "selector-not-enforced",
        ),
        (json!({ "name": "n", "roles": ["root"] }), "bad-request"),
        (json!({ "name": "n", "roles": [] }), "bad-request"),
        (json!({ "name": "", "roles": ["viewer"] }), "bad-request"),
        (json!({ "name": "n", "roles": ["viewer"], "role": "admin" }), "wrong-type"),
    ] {
        let answer = ask(&server, Method::POST, "/api/access/keys", &admin, &wanted).await;
        assert_eq!(answer.code(400), code, "{wanted}");
    }
}

#[tokio::test]
async fn a_worker_polls_and_reports_and_does_nothing_else() {
    let server = guarded().await;
    server.register(json!([line("w", &["t"])])).await;
    let (worker, runner) =
        (key(&server, &[Role::Worker]).await, key(&server, &[Role::Runner]).await);
    let id = ask(&server, Method::POST, "/api/workflow/w", &runner, &json!({})).await.ok_text();
    let poll = "/api/tasks/poll/t";
    ask(&server, Method::GET, poll, &runner, &json!(null)).await.failed(403);
    let task = ask(&server, Method::GET, poll, &worker, &json!(null)).await.ok();
    let report = json!({
        "taskId": task["taskId"], "workflowInstanceId": id, "status": "COMPLETED", "outputData": {},
    });
    let path = format!("/api/workflow/{id}");
    ask(&server, Method::GET, &path, &worker, &json!(null)).await.failed(403);
    assert!(ask(&server, Method::POST, "/api/tasks", &worker, &report).await.status.is_success());
    let shown = ask(&server, Method::GET, &path, &runner, &json!(null)).await.ok();
    assert_eq!(shown["status"], "COMPLETED");
}

#[tokio::test]
async fn health_tells_strangers_whether_and_no_more() {
    let server = guarded().await;
    let viewer = key(&server, &[Role::Viewer]).await;
    for path in ["/health", "/api/health"] {
        assert_eq!(server.get(path).await.ok(), json!({ "healthy": true, "status": "healthy" }));
        let wrong = ask(&server, Method::GET, path, "nb_wrong", &json!(null)).await;
        assert_eq!(wrong.ok(), json!({ "healthy": true, "status": "healthy" }));
        let seen = ask(&server, Method::GET, path, &viewer, &json!(null)).await.ok();
        assert!(seen["store"].is_object() && seen["version"].is_string(), "{seen}");
    }
    let open = Server::new().await;
    assert!(open.get("/health").await.ok()["store"].is_object());
}

#[tokio::test]
async fn credentials_that_are_offered_count_if_they_are_sent() {
    let server = Server::new().await.with(|settings| settings.auth = Mode::Offered);
    let (admin, viewer) = (key(&server, &[Role::Admin]).await, key(&server, &[Role::Viewer]).await);
    let router = server::router(server.api());
    let send = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        send_through(router.clone(), method, path, headers, String::new()).await
    };
    send(Method::GET, "/api/metadata/workflow", &[("user-agent", "old-client/1")]).await.ok();
    send(Method::GET, "/api/metadata/workflow", &[("x-authorization", "nb_wrong")])
        .await
        .failed(401);
    send(Method::GET, "/api/access/keys", &[("x-authorization", &viewer)]).await.failed(403);
    let seen =
        send(Method::GET, "/api/access/anonymous", &[("x-authorization", &admin)]).await.ok();
    assert_eq!(seen, json!([{ "client": "? old-client/1", "calls": 1 }]));
    let given = json!({ "keyId": &viewer[3..15], "keySecret": viewer });
    server.post("/api/token", &given).await.ok();
}

#[tokio::test]
async fn an_open_server_gives_no_tokens_and_minds_no_credentials() {
    let server = Server::new().await;
    for path in ["/api/token", "/token"] {
        let answer = server.post(path, &json!({ "keyId": "a", "keySecret": "b" })).await;
        assert_eq!(answer.code(404), "not-found");
    }
    let headers = [("x-authorization", "whatever"), ("authorization", "Bearer x")];
    server.send_with(Method::GET, "/api/metadata/workflow", &headers, String::new()).await.ok();
    let who = server.get("/api/token/userInfo").await.ok();
    assert_eq!((&who["id"], &who["authenticationEnabled"]), (&json!("anonymous"), &json!(false)));
}

#[tokio::test]
async fn the_bootstrap_key_ends_when_an_administrator_comes_in() {
    let server = guarded().await;
    let access = server.engine.access();
    let made = access.bootstrap_key(None, server.engine.now()).await.expect("memory takes all");
    let first = made.expect("there is no administrator").text.to_string();
    // Found again it stays; lost, another takes its place.
    let again = access.bootstrap_key(Some(&first), server.engine.now()).await;
    assert!(again.expect("memory takes all").is_none());
    let made = access.bootstrap_key(None, server.engine.now()).await.expect("memory takes all");
    let second = made.expect("the file was lost").text.to_string();
    let keys = "/api/access/keys";
    ask(&server, Method::GET, keys, &first, &json!(null)).await.failed(401);

    let wanted = json!({ "name": "ann", "roles": ["admin"] });
    let admin = ask(&server, Method::POST, keys, &second, &wanted).await.ok();
    let admin = admin["keySecret"].as_str().expect("a key").to_owned();
    // Until she has come in, it counts.
    ask(&server, Method::GET, keys, &second, &json!(null)).await.ok();
    ask(&server, Method::GET, keys, &admin, &json!(null)).await.ok();
    let gone = async {
        while access.has_bootstrap() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), gone).await.expect("it ends");
    ask(&server, Method::GET, keys, &second, &json!(null)).await.failed(401);
    let none = access.bootstrap_key(None, server.engine.now()).await.expect("memory takes all");
    assert!(none.is_none(), "there is an administrator");
}

#[tokio::test]
async fn triggers_take_a_key_unless_they_say_otherwise() {
    let server = guarded().await;
    server.register(json!([waiting("w")])).await;
    let (editor, runner) =
        (key(&server, &[Role::Editor]).await, key(&server, &[Role::Runner]).await);
    let viewer = key(&server, &[Role::Viewer]).await;
    let trigger = |path: &str, auth: Option<&str>| {
        let mut trigger = json!({
            "name": path.trim_start_matches('/'), "method": "POST", "path": path,
            "start": { "name": "w", "input": { "said": "${request.headers.authorization}" } },
        });
        if let Some(auth) = auth {
            trigger["auth"] = auth.into();
        }
        trigger
    };
    let triggers = json!([
        trigger("/asks", None),
        trigger("/keyed", Some("key")),
        trigger("/open", Some("none"))
    ]);
    ask(&server, Method::POST, "/api/triggers", &editor, &triggers).await.ok();
    let wrong = json!(trigger("/wrong", Some("password")));
    let answer = ask(&server, Method::POST, "/api/triggers", &editor, &wrong).await;
    assert_eq!(answer.json()["validationErrors"][0]["code"], "auth-unknown");
    for path in ["/asks", "/keyed"] {
        assert_eq!(server.post(path, &json!({})).await.code(401), "invalid-token");
        ask(&server, Method::POST, path, &viewer, &json!({})).await.failed(403);
        ask(&server, Method::POST, path, "nb_wrong", &json!({})).await.failed(401);
        let begun = ask(&server, Method::POST, path, &runner, &json!({})).await;
        assert_eq!(begun.status, 202);
        let id = begun.json()["id"].as_str().expect("an id").to_owned();
        let path = format!("/api/workflow/{id}");
        let shown = ask(&server, Method::GET, &path, &runner, &json!(null)).await;
        assert!(
            !shown.text.contains(&runner[16..80]),
            "no workflow learns the key: {}",
            shown.text
        );
    }
    assert_eq!(server.post("/open", &json!({})).await.status, 202);
    // What an open trigger is sent is its own.
    assert_eq!(ask(&server, Method::POST, "/open", "theirs", &json!({})).await.status, 202);
}

/// What the lines of the ledger say, oldest first.
async fn ledger(server: &Server, key: &str) -> Vec<Value> {
    let lines = ask(server, Method::GET, "/api/audit?after=0", key, &json!(null)).await.ok();
    let mut check = ChainCheck::default();
    let lines = lines.as_array().expect("a list").iter().map(|line| {
        let text = |name: &str| line[name].as_str().expect("a text").to_owned();
        let (said, number) = (text("line"), line["number"].as_u64().expect("a number"));
        check.take(number, &text("before"), &said, &text("hash")).expect("the chain holds");
        serde_json::from_str(&said).expect("a line is JSON")
    });
    lines.collect()
}

/// Waits until the ledger has so many lines: those about how something ended come later.
async fn until_lines(server: &Server, key: &str, count: usize) -> Vec<Value> {
    let there = async {
        loop {
            let lines = ledger(server, key).await;
            if lines.len() >= count {
                return lines;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), there).await.expect("the lines come")
}

#[tokio::test]
async fn changes_refusals_and_logins_are_in_the_ledger() {
    let server = guarded().await;
    let (editor, auditor) =
        (key(&server, &[Role::Editor]).await, key(&server, &[Role::Auditor]).await);
    let path = "/api/environment/REGION2";
    ask(&server, Method::PUT, path, &editor, &json!("north")).await.ok_text();
    until_lines(&server, &auditor, 2).await;
    let refused = ask(&server, Method::PUT, path, &auditor, &json!("south")).await;
    refused.failed(403);
    until_lines(&server, &auditor, 3).await;
    ask(&server, Method::DELETE, "/api/triggers/none", &editor, &json!(null)).await.failed(404);
    until_lines(&server, &auditor, 5).await;
    let given = json!({ "keyId": &editor[3..15], "keySecret": editor });
    server.post("/api/token", &given).await.ok();
    // Reads and starts leave no line.
    ask(&server, Method::GET, path, &editor, &json!(null)).await;
    ask(&server, Method::POST, "/api/workflow/none", &editor, &json!({})).await.failed(404);
    let lines = until_lines(&server, &auditor, 6).await;
    let shown: Vec<String> = lines
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default();
            let (act, of) = (text("act"), line["of"].to_string());
            format!("{act} {} {} {of}", text("outcome"), line["status"])
        })
        .collect();
    let expected = [
        "PUT /api/environment/{key} begun null null",
        "outcome ok 200 1",
        "PUT /api/environment/{key} refused 403 null",
        "DELETE /api/triggers/{name} begun null null",
        "outcome failed 404 4",
        "login ok null null",
    ];
    assert_eq!(shown, expected);
    assert_eq!(lines[0]["who"], format!("key:{}", &editor[3..15]));
    assert_eq!((&lines[0]["object"], &lines[2]["object"]), (&json!(path), &json!("")));
    assert!(!json!(lines).to_string().contains("north"), "no payload is written");
    // Who may change things may not read it, and the other way round.
    ask(&server, Method::GET, "/api/audit", &editor, &json!(null)).await.failed(403);
    until_lines(&server, &auditor, 7).await;
    // It goes on after a restart, in one chain.
    let server = server.restarted().await.with(|settings| settings.auth = Mode::On);
    ask(&server, Method::PUT, path, &editor, &json!("east")).await.ok_text();
    let lines = until_lines(&server, &auditor, 9).await;
    assert_eq!((&lines[7]["number"], &lines[8]["of"]), (&json!(8), &json!(8)));
    let newest = ask(&server, Method::GET, "/api/audit?size=1", &auditor, &json!(null)).await.ok();
    assert_eq!(newest[0]["number"], 9);
}

#[tokio::test]
async fn the_same_refusal_is_counted_and_changes_share_a_write() {
    let server = guarded().await;
    let (viewer, auditor) =
        (key(&server, &[Role::Viewer]).await, key(&server, &[Role::Auditor]).await);
    let editor = key(&server, &[Role::Editor]).await;
    let router = server::router(server.api());
    let headers = bearer(&viewer);
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, it)| (*name, it.as_str())).collect();
    for number in 0..50 {
        let path = format!("/api/environment/N{number}");
        let answer =
            send_through(router.clone(), Method::PUT, &path, &headers, "\"x\"".to_owned()).await;
        answer.failed(403);
    }
    until_lines(&server, &auditor, 1).await;
    let path = |number: usize| format!("/api/environment/E{number}");
    let puts = (0..20).map(|number| {
        let (server, editor) = (&server, &editor);
        async move { ask(server, Method::PUT, &path(number), editor, &json!("x")).await.ok_text() }
    });
    futures_util::future::join_all(puts).await;
    let lines = until_lines(&server, &auditor, 41).await;
    assert_eq!(lines.len(), 41, "one refusal, and two lines for each change");
}

#[tokio::test]
async fn the_stream_of_a_worker_ends_with_its_key() {
    let server = guarded().await;
    let (worker, admin) = (key(&server, &[Role::Worker]).await, key(&server, &[Role::Admin]).await);
    let request = Request::post("/TaskHubSidecarService/GetWorkItems")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {worker}"))
        .body(axum::body::Body::from(&[0_u8; 5][..]))
        .expect("a request");
    let router = server::router(server.api());
    let response = tower::ServiceExt::oneshot(router, request).await.expect("an answer");
    assert!(!response.headers().contains_key("grpc-status"), "the stream is open");
    let collected = tokio::spawn(http_body_util::BodyExt::collect(response.into_body()));
    // Another key makes no difference to it.
    let path = |key: &str| format!("/api/access/keys/{}", &key[3..15]);
    let other = key(&server, &[Role::Worker]).await;
    ask(&server, Method::DELETE, &path(&other), &admin, &json!(null)).await.ok();
    assert!(!collected.is_finished());
    ask(&server, Method::DELETE, &path(&worker), &admin, &json!(null)).await.ok();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), collected).await;
    let ended = ended.expect("it ends").expect("no panic").expect("a body");
    let trailers = ended.trailers().expect("a status");
    assert_eq!(trailers["grpc-status"], "16", "unauthenticated: {trailers:?}");
}
