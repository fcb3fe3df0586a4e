//! HTTP triggers: what may be one, and what comes of requests at them.

use axum::http::Method;
use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::{Server, send_through, waiting};

fn start(name: &str, path: &str) -> Value {
    json!({ "name": name, "method": "POST", "path": path, "start": { "name": "w" } })
}

async fn server() -> Server {
    let server = Server::new().await.with(|settings| settings.beyond_loopback = true);
    let variable = json!({ "name": "v", "taskReferenceName": "v", "type": "SET_VARIABLE",
        "inputParameters": { "job": { "at": "${workflow.input.a}" } } });
    let wait = json!({ "name": "wait", "taskReferenceName": "wait", "type": "WAIT" });
    server.register(json!({ "name": "w", "version": 1, "tasks": [variable, wait] })).await;
    server
}

async fn define(server: &Server, triggers: &Value) {
    server.post("/api/triggers", triggers).await.ok();
}

#[tokio::test]
async fn a_request_starts_a_run_with_what_it_says() {
    let server = server().await;
    let trigger = json!({ "name": "t", "method": "post", "path": "/jobs/{kind}/new",
        "start": {
            "name": "w", "version": 1,
            "instanceId": "${request.path.kind}-${request.query.n}",
            "correlationId": "${workflow.input.label}",
            "defaults": { "label": "none", "depth": 3, "extra": "x" },
            "input": { "a": "${request.body.a}", "kind": "${request.path.kind}",
                "agent": "${request.headers.x-agent}", "label": "${request.body.label}",
                "depth": "${request.body.depth}" },
        } });
    define(&server, &trigger).await;
    let headers = [("x-agent", "me"), ("host", "bell.local:80")];
    let body = json!({ "a": [1], "label": "red", "depth": null }).to_string();
    let reply = server.send_with(Method::POST, "/jobs/blue%20one/new?n=7", &headers, body).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    assert_eq!(reply.json()["id"], "blue one-7");
    let link = reply.json()["statusQueryGetUri"].as_str().expect("a link").to_owned();
    assert!(
        link.starts_with(
            "http://bell.local:80/runtime/webhooks/durabletask/instances/blue%20one-7?"
        )
    );
    let run = server.workflow("blue%20one-7").await;
    assert_eq!(
        run["input"],
        json!({ "label": "red", "depth": 3, "extra": "x", "a": [1], "kind": "blue one", "agent": "me" })
    );
    assert_eq!(run["correlationId"], "red");
    let reply = server.send(Method::POST, "/jobs/x/new?n=1", String::new()).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    assert_eq!(server.workflow("x-1").await["input"]["label"], "none");
    let twice = server.send(Method::POST, "/jobs/x/new?n=1", String::new()).await;
    assert_eq!(twice.status, 409, "{}", twice.text);
    server.send(Method::POST, "/jobs/x/new?n=2", "{".to_owned()).await.failed(400);
    let other = server.get("/jobs/x/new").await;
    assert!(other.failed(405).contains("GET is not supported"), "{}", other.text);
    server.get("/jobs/x").await.failed(404);
}

#[tokio::test]
async fn a_request_is_told_of_the_latest_run_of_a_label() {
    let server = server().await;
    define(
        &server,
        &json!([
            { "name": "new", "method": "POST", "path": "/jobs/{id}",
              "start": { "name": "w", "correlationId": "${request.path.id}" } },
            { "name": "state", "method": "GET", "path": "/jobs/{id}",
              "show": { "name": "w", "correlationId": "${request.path.id}",
                "body": { "id": "${request.path.id}", "at": "${workflow.variables.job.at}",
                    "status": "${workflow.status}", "waits": "${wait.status}",
                    "whole": "${workflow.variables}" } } },
            { "name": "by-id", "method": "GET", "path": "/runs/{id}",
              "show": { "name": "w", "instanceId": "${request.path.id}" } },
            { "name": "fixed", "method": "GET", "path": "/jobs/all",
              "show": { "name": "w", "correlationId": "7", "body": "fixed",
                "queryExpression": "." } },
        ]),
    )
    .await;
    server.post("/jobs/7", &json!({ "a": 1 })).await;
    let second = server.post("/jobs/7", &json!({ "a": 2 })).await.json();
    let id = second["id"].as_str().expect("an id");
    let told = server.get("/jobs/7").await.ok();
    let expected = json!({ "id": "7", "at": 2, "status": "RUNNING", "waits": "IN_PROGRESS",
        "whole": { "job": { "at": 2 } } });
    assert_eq!(told, expected);
    let told = server.get(&format!("/runs/{id}")).await.ok();
    assert_eq!((&told["instanceId"], &told["runtimeStatus"]), (&json!(id), &json!("Running")));
    assert_eq!(server.get("/jobs/all").await.ok(), "fixed");
    // A star is no pattern, and a run of another definition is another's.
    server.get("/jobs/*").await.failed(404);
    server.register(waiting("other")).await;
    let other = server.start("other", &json!({})).await;
    server.get(&format!("/runs/{other}")).await.failed(404);
}

#[tokio::test]
async fn a_trigger_can_answer_the_output() {
    let server = server().await;
    let noop = json!({ "name": "n", "taskReferenceName": "n", "type": "NOOP" });
    server
        .register(json!({ "name": "sum", "version": 1, "tasks": [noop],
            "outputParameters": { "n": "${workflow.input.n}" } }))
        .await;
    let trigger = json!({ "name": "t", "method": "POST", "path": "/sum",
        "start": { "name": "sum", "timeoutSeconds": 30 } });
    define(&server, &trigger).await;
    assert_eq!(server.post("/sum", &json!({ "n": 4 })).await.ok(), json!({ "n": 4 }));
    let gone = json!({ "name": "t", "method": "POST", "path": "/sum",
        "start": { "name": "nothing" } });
    define(&server, &gone).await;
    let told = server.post("/sum", &json!({})).await;
    assert!(told.failed(503).contains("No such workflow found by name: nothing"), "{}", told.text);
}

#[tokio::test]
async fn triggers_are_listed_replaced_and_deleted() {
    let server = server().await;
    define(&server, &json!([start("a", "/one"), start("b", "/b")])).await;
    let moved = start("a", "/c");
    define(&server, &moved).await;
    assert_eq!(server.get("/api/triggers").await.ok(), json!([moved, start("b", "/b")]));
    assert_eq!(server.get("/api/triggers/a").await.ok(), moved);
    server.post("/one", &json!({})).await.failed(404);
    assert_eq!(server.post("/c", &json!({})).await.status, 202);
    assert_eq!(server.delete("/api/triggers/a").await.status, 200);
    server.delete("/api/triggers/a").await.failed(404);
    server.get("/api/triggers/a").await.failed(404);
    server.post("/c", &json!({})).await.failed(404);
}

/// The codes and places of everything that is wrong.
fn told(answer: &crate::support::Answer) -> Vec<(String, String)> {
    answer.failed(400);
    let text = |flaw: &Value, member: &str| flaw[member].as_str().unwrap_or_default().to_owned();
    let flaws = answer.json()["validationErrors"].clone();
    let flaws = flaws.as_array().expect("what is wrong").iter();
    flaws.map(|flaw| (text(flaw, "pointer"), text(flaw, "code"))).collect()
}

#[tokio::test]
async fn all_mistakes_are_told_at_once_and_nothing_is_kept() {
    let server = server().await;
    define(&server, &start("present", "/taken/{id}")).await;
    let cases = [
        (json!(7), vec![("", "wrong-type")]),
        (
            json!({ "nmae": "x", "method": "BREW", "path": "/api/workflow/x",
                "start": { "version": -1, "input": 7, "timeoutSeconds": -1, "reply": "no",
                    "instanceId": "${request.path.id}", "correlationId": "${request.cookie}",
                    "defaults": { "a": "${workflow.input.a}", "b": "${x..}" } } }),
            vec![
                ("/nmae", "unknown-member"),
                ("/name", "name-missing"),
                ("/method", "method-unknown"),
                ("/path", "path-not-fit"),
                ("/start/reply", "unknown-member"),
                ("/start/name", "name-missing"),
                ("/start/version", "wrong-type"),
                ("/start/timeoutSeconds", "wrong-type"),
                ("/start/instanceId", "expression-unknown"),
                ("/start/correlationId", "expression-unknown"),
                ("/start/defaults", "expression-unknown"),
                ("/start/defaults", "expression-unknown"),
                ("/start/input", "wrong-type"),
            ],
        ),
        (json!({ "name": "x", "method": "GET", "path": "/x" }), vec![("", "action-missing")]),
        (
            json!({ "name": "x", "method": "GET", "path": "/x", "start": { "name": "w" } }),
            vec![("/method", "method-not-fit")],
        ),
        (
            json!({ "name": "x", "method": "GET", "path": "/x",
                "show": { "name": "w", "queryExpression": "oops" } }),
            vec![("/show", "run-missing"), ("/show/queryExpression", "script-invalid")],
        ),
        (
            json!({ "name": "x", "method": "GET", "path": "/x", "show": { "name": "w",
                "instanceId": "a", "correlationId": "b", "body": "${request.file}" } }),
            vec![("/show/body", "expression-unknown"), ("/show/correlationId", "run-twice")],
        ),
        (json!([start("x", "/taken/{other}")]), vec![("/path", "path-taken")]),
        (
            json!([start("x", "/x"), start("x", "/y"), start("z", "/x")]),
            vec![("/1/name", "name-taken"), ("/2/path", "path-taken")],
        ),
    ];
    for (document, expected) in cases {
        let answer = server.post("/api/triggers", &document).await;
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(place, code)| ((*place).to_owned(), (*code).to_owned()))
            .collect();
        assert_eq!(told(&answer), expected, "{}", answer.text);
    }
    server.send(Method::POST, "/api/triggers", "{".to_owned()).await.failed(400);
    assert_eq!(server.get("/api/triggers").await.ok(), json!([start("present", "/taken/{id}")]));
    // Another method at the same path is another trigger.
    let beside = json!({ "name": "beside", "method": "GET", "path": "/taken/{id}",
        "show": { "name": "w", "instanceId": "${request.path.id}" } });
    define(&server, &beside).await;
}

/// A server that knows a secret by which callers of triggers are known.
async fn with_secret() -> Server {
    let server = Server::with_secrets(vec![("HOOK", "a secret")]).await;
    let wait = json!({ "name": "wait", "taskReferenceName": "wait", "type": "WAIT" });
    server.register(json!({ "name": "w", "version": 1, "tasks": [wait] })).await;
    server
}

#[tokio::test]
async fn a_trigger_asks_for_a_name_and_a_password_also_without_access_control() {
    let server = with_secret().await;
    let mut trigger = start("t", "/jobs");
    trigger["auth"] = "basic".into();
    trigger["user"] = "grafana".into();
    trigger["secret"] = "${workflow.secrets.HOOK}".into();
    trigger["start"]["input"] = json!({ "said": "${request.headers.authorization}" });
    define(&server, &trigger).await;
    let call = async |given: &str| {
        let given = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(given));
        server.send_with(Method::POST, "/jobs", &[("authorization", &given)], String::new()).await
    };
    let refused = server.send(Method::POST, "/jobs", String::new()).await;
    assert_eq!(refused.code(401), "unverified");
    assert!(refused.headers["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    for wrong in ["grafana:another", "other:a secret", "grafana:a secret "] {
        assert_eq!(call(wrong).await.code(401), "unverified", "{wrong}");
    }
    assert_eq!(call("a secret").await.code(401), "unverified", "no name");
    let begun = call("grafana:a secret").await;
    assert_eq!(begun.status, 202, "{}", begun.text);
    let id = begun.json()["id"].as_str().expect("an id").to_owned();
    // The password is nothing for the workflow.
    assert_eq!(server.workflow(&id).await["input"], json!({}));
    // Without its secret the trigger lets nobody in.
    trigger["secret"] = "${workflow.secrets.GONE}".into();
    define(&server, &trigger).await;
    assert_eq!(call("grafana:").await.code(503), "trigger-unusable");
}

/// Whoever guesses has to wait, from how many addresses it may be; other triggers are not concerned.
#[tokio::test]
async fn passwords_of_a_trigger_are_guessed_slowly() {
    let server = with_secret().await;
    for (name, path) in [("t", "/jobs"), ("other", "/others")] {
        let mut trigger = start(name, path);
        trigger["auth"] = "basic".into();
        trigger["user"] = "grafana".into();
        trigger["secret"] = "${workflow.secrets.HOOK}".into();
        define(&server, &trigger).await;
    }
    let router = server.router();
    let call = async |path: &str, given: &str| {
        let given = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(given));
        let headers = [("authorization", &*given)];
        send_through(router.clone(), Method::POST, path, &headers, String::new()).await
    };
    for _ in 0..20 {
        let asked = send_through(router.clone(), Method::POST, "/jobs", &[], String::new()).await;
        assert_eq!(asked.code(401), "unverified", "who sends no password guesses nothing");
    }
    for at in 0..5 {
        let wrong = format!("grafana:{at}");
        assert_eq!(call("/jobs", &wrong).await.code(401), "unverified", "{wrong}");
    }
    for given in ["grafana:6", "grafana:a secret"] {
        let refused = call("/jobs", given).await;
        assert_eq!(refused.code(429), "too-many-logins", "it is not looked at: {given}");
        assert!(refused.headers.contains_key("retry-after"));
    }
    assert_eq!(call("/others", "grafana:a secret").await.status, 202);
}

/// Where GitHub puts its signatures, and many others.
const HUB: &str = "x-hub-signature-256";

#[tokio::test]
async fn a_trigger_asks_for_a_signature_of_the_body() {
    let server = with_secret().await;
    let mut trigger = start("t", "/jobs");
    trigger["auth"] = "signature".into();
    trigger["secret"] = "${workflow.secrets.HOOK}".into();
    trigger["start"]["instanceId"] = "job-${request.body.n}".into();
    define(&server, &trigger).await;
    let signed = |body: &str, secret: &str| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let code = ring::hmac::sign(&key, body.as_bytes());
        let hex = code.as_ref().iter().map(|byte| format!("{byte:02x}"));
        format!("sha256={}", hex.collect::<String>())
    };
    let call = async |header: &str, code: &str, body: &str| {
        server.send_with(Method::POST, "/jobs", &[(header, code)], body.to_owned()).await
    };
    let body = r#"{"n":1}"#;
    let code = signed(body, "a secret");
    server.send(Method::POST, "/jobs", body.to_owned()).await.failed(401);
    assert_eq!(call(HUB, &code, r#"{"n":2}"#).await.code(403), "unverified");
    assert_eq!(call(HUB, &signed(body, "another"), body).await.code(403), "unverified");
    assert_eq!(call(HUB, &code, body).await.status, 202);
    // The same once more starts nothing.
    assert_eq!(call(HUB, &code, body).await.status, 409);
    trigger["header"] = "x-own".into();
    define(&server, &trigger).await;
    let body = r#"{"n":2}"#;
    let code = signed(body, "a secret");
    call(HUB, &code, body).await.failed(401);
    assert_eq!(call("x-own", &code, body).await.status, 202);
}

#[tokio::test]
async fn what_is_wrong_with_how_a_trigger_asks_is_told() {
    let server = with_secret().await;
    let reference = "${workflow.secrets.HOOK}";
    let wrong = [
        (json!({ "auth": "maybe" }), "auth-unknown"),
        (json!({ "auth": 7 }), "auth-unknown"),
        (json!({ "auth": "basic", "secret": reference }), "user-missing"),
        (json!({ "auth": "basic", "user": "a:b", "secret": reference }), "user-missing"),
        (json!({ "auth": "basic", "user": "a" }), "secret-missing"),
        (json!({ "auth": "basic", "user": "a", "secret": "hunter2" }), "secret-missing"),
        (json!({ "auth": "signature", "secret": reference, "user": "a" }), "auth-not-fit"),
        (json!({ "auth": "signature", "secret": reference, "header": "a b" }), "header-unusable"),
        (
            json!({ "auth": "signature", "secret": reference, "verifier": "HEADER_BASED" }),
            "verifier-unknown",
        ),
        (json!({ "secret": reference }), "auth-not-fit"),
    ];
    for (members, code) in wrong {
        let mut trigger = start("t", "/jobs");
        let more = members.as_object().expect("an object").clone();
        trigger.as_object_mut().expect("an object").extend(more);
        let refused = server.post("/api/triggers", &trigger).await;
        refused.failed(400);
        assert!(refused.text.contains(code), "{members}: {}", refused.text);
        assert!(!refused.text.contains("hunter2"), "{}", refused.text);
    }
    let show = json!({ "name": "s", "method": "GET", "path": "/s", "auth": "signature",
        "secret": reference, "show": { "name": "w", "instanceId": "a" } });
    let refused = server.post("/api/triggers", &show).await;
    assert!(refused.text.contains("auth-not-fit"), "{}", refused.text);
}
