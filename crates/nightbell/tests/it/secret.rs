//! Secrets end to end: used, transformed, echoed, logged and rotated by the real binary; then their
//! values are looked for everywhere they must not be.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Json, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};

use crate::live::Live;
use crate::stand_in::Nightbell;

/// Named by `${workflow.secrets.ROUTING}`; has signs that encodings escape.
pub(crate) const ROUTING: &str = "Rk-7f/3b+9 q\"Zw&x";
/// What the stand-in gives out as a refreshed token.
const FRESH: &str = "tok-Fresh-8c1Ae77";
/// What the stand-in issues, and an output filter keeps.
const ISSUED: &str = "Issued+by/echo=4407";
/// What a start is given under `_secrets`.
const GIVEN: &str = "giVen-pass-5521-x";
/// A value only named in a task definition.
const RUNTIME: &str = "rUntime-value-9931";

const PATIENCE: Duration = Duration::from_secs(30);

/// A service that says what it was told, in every way, and gives out tokens.
#[derive(Clone, Default)]
pub(crate) struct Echo {
    heard: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    pub(crate) async fn start(&self) -> String {
        let echo = self.clone();
        let answer = move |request: Request| {
            let echo = echo.clone();
            async move { echo.answer(request).await }
        };
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        url
    }

    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        let key = parts.headers.get("x-routing-key").map(|key| key.to_str().unwrap().to_owned());
        let key = key.unwrap_or_default();
        self.heard.lock().unwrap().push(format!("{} {key} {body}", parts.uri));
        if parts.uri.path() == "/issue" {
            return Json(json!({ "token": ISSUED, "expires": 3600 })).into_response();
        }
        if parts.uri.path() == "/refused" {
            let text = format!("no entry with {key}, {}", STANDARD.encode(&key));
            return (axum::http::StatusCode::FORBIDDEN, text).into_response();
        }
        Json(json!({
            "plain": key,
            "upper": key.to_uppercase(),
            "base64": STANDARD.encode(&key),
            "basic": STANDARD.encode(format!("user:{key}")),
            "hex": hex(&key),
            "body": body,
            "url": parts.uri.to_string(),
            "nested": { &key: [format!("<{key}>")] },
        }))
        .into_response()
    }

    pub(crate) fn heard(&self) -> String {
        self.heard.lock().unwrap().join("\n")
    }
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

/// What must not be found, in any case of its letters.
fn forbidden(value: &str) -> Vec<String> {
    let escaped = Value::from(value).to_string();
    let mut percent = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            percent.push(char::from(byte));
        } else {
            write!(percent, "%{byte:02X}").unwrap();
        }
    }
    let mut forms =
        vec![value.to_owned(), hex(value), escaped[1..escaped.len() - 1].to_owned(), percent];
    for lead in ["", "a", "ab"] {
        // The letters that do not depend on what stands around the value.
        for encoded in [
            STANDARD.encode(format!("{lead}{value}")),
            URL_SAFE_NO_PAD.encode(format!("{lead}{value}")),
        ] {
            let inner = encoded.trim_end_matches('=');
            let from = (lead.len() * 8_usize).div_ceil(6);
            forms.push(inner[from..inner.len() - 1].to_owned());
        }
    }
    forms.into_iter().map(|form| form.to_lowercase()).collect()
}

pub(crate) fn must_not_hold(what: &str, bytes: &[u8], values: &[&str]) {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    for value in values {
        for form in forbidden(value) {
            if let Some(at) = text.find(&form) {
                let from = text.floor_char_boundary(at.saturating_sub(200));
                let to = text.ceil_char_boundary((at + 300).min(text.len()));
                panic!("{what} holds {value} as {form}: …{}…", &text[from..to]);
            }
        }
    }
}

pub(crate) async fn put_secret(live: &Live, name: &str, value: &str) {
    let body = Value::from(value).to_string();
    let (status, answer) = live.ask(Method::PUT, &format!("/api/secrets/{name}"), body).await;
    assert_eq!(status, 200, "{answer}");
}

/// A workflow that does with its secrets whatever can be done with them.
fn tasks(url: &str) -> Value {
    let call = |reference: &str, path: &str, request: Value| {
        let mut request = request;
        request["uri"] = format!("{url}{path}").into();
        request["method"] = "POST".into();
        json!({ "name": reference, "taskReferenceName": reference, "type": "HTTP",
                "optional": true, "inputParameters": { "http_request": request } })
    };
    let routed = json!({
        "headers": { "x-routing-key": "${workflow.secrets.ROUTING}" },
        "body": { "key": "${workflow.secrets.ROUTING}", "text": "k=${workflow.secrets.ROUTING};" },
    });
    json!([
        call("echo", "/echo?key=${workflow.secrets.ROUTING}", routed.clone()),
        call("refused", "/refused", routed),
        { "name": "unreachable", "taskReferenceName": "unreachable", "type": "HTTP",
          "optional": true, "inputParameters": { "http_request": {
            "uri": "http://127.0.0.1:1/?key=${workflow.secrets.ROUTING}", "method": "GET" } } },
        { "name": "transform", "taskReferenceName": "transform", "type": "INLINE",
          "inputParameters": {
            "evaluatorType": "javascript",
            "secret": "${workflow.secrets.ROUTING}",
            "given": "${workflow.input._secrets.password}",
            "expression": "({ upper: $.secret.toUpperCase(), joined: 'p=' + $.given, \
                              reversed: $.given.split('').reverse().join('') })" } },
        { "name": "handed", "taskReferenceName": "handed", "type": "SIMPLE",
          "inputParameters": {
            "key": "${workflow.secrets.ROUTING}",
            "password": "${workflow.input._secrets.password}",
            "pin": "${workflow.input._secrets.pin}",
            "joined": "${transform.output.result.joined}!",
            "variables": "${workflow.secrets.MISSING}" } },
        { "name": "keep", "taskReferenceName": "keep", "type": "UPDATE_SECRET",
          "inputParameters": { "_secrets": {
            "secretKey": "FRESH", "secretValue": "${handed.output._secrets.token}" } } },
        call("used", "/used", json!({
            "headers": { "x-routing-key": "${workflow.secrets.FRESH}" },
            "body": { "direct": "Bearer ${handed.output._secrets.token}" } })),
        { "name": "issue", "taskReferenceName": "issue", "type": "HTTP",
          "inputParameters": {
            "http_request": { "uri": format!("{url}/issue"), "method": "POST" },
            "outputFilter": { "_secrets": { "token": "$${self.output.response.body.token}" } } } },
        { "name": "rotate", "taskReferenceName": "rotate", "type": "UPDATE_SECRET",
          "inputParameters": { "_secrets": {
            "secretKey": "ISSUED", "secretValue": "${issue.output._secrets.token}" } } },
        call("rotated", "/rotated", json!({
            "headers": { "x-routing-key": "${workflow.secrets.ISSUED}" } })),
        { "name": "child", "taskReferenceName": "child", "type": "SUB_WORKFLOW",
          "inputParameters": { "_secrets": { "inherited": "${handed.output._secrets.token}" } },
          "subWorkflowParam": { "name": "child", "version": 1 } },
    ])
}

#[tokio::test]
async fn no_secret_is_found_where_it_must_not_be() {
    let echo = Echo::default();
    let url = echo.start().await;
    let mut live = Live::start(&["--log-level", "trace"]).await;
    put_secret(&live, "ROUTING", ROUTING).await;
    put_secret(&live, "RUNTIME", RUNTIME).await;
    let definition = json!({ "name": "handed", "runtimeMetadata": ["RUNTIME", "ROUTING"],
        "retryCount": 0, "timeoutSeconds": 0, "responseTimeoutSeconds": 60 });
    live.post("/api/metadata/taskdefs", &json!([definition])).await;
    let inner = json!([{ "name": "last", "taskReferenceName": "last", "type": "HTTP",
        "inputParameters": { "http_request": { "uri": format!("{url}/last"), "method": "POST",
            "body": { "child": "${workflow.input._secrets.inherited}" } } } }]);
    live.define("child", inner).await;
    live.define("everything", tasks(&url)).await;
    let input = json!({ "_secrets": { "password": GIVEN, "pin": 90_817_263 }, "n": 1 });
    let id = live.begin("everything", &input).await;

    let task = loop {
        if let Some(task) = live.poll("handed?timeout=1000").await.pop() {
            break task;
        }
    };
    let given = &task["inputData"];
    assert_eq!(given["key"], ROUTING, "a worker is handed the value");
    assert_eq!(given["password"], GIVEN);
    assert_eq!(given["pin"], 90_817_263);
    assert_eq!(given["joined"], format!("p={GIVEN}!"), "a sealed value survives a script");
    assert_eq!(given["variables"], Value::Null);
    assert_eq!(task["runtimeMetadata"]["RUNTIME"], RUNTIME);

    // The value changes while the worker holds the task; what it was handed is masked all the same.
    put_secret(&live, "RUNTIME", "another-value-000").await;
    let log_path = format!("/api/tasks/{}/log", task["taskId"].as_str().unwrap());
    let line = format!("calling with {ROUTING} and {}", STANDARD.encode(format!("{GIVEN}:")));
    assert_eq!(live.ask(Method::POST, &log_path, line).await.0, 200);
    let report = json!({
        "status": "COMPLETED",
        "outputData": {
            "_secrets": { "token": FRESH },
            "beside": format!("the token is {FRESH}"),
            "echo": [ROUTING, GIVEN.to_uppercase(), { GIVEN: RUNTIME }],
            "pin": 90_817_263,
            "basic": STANDARD.encode(format!("{GIVEN}:{ROUTING}")),
        },
        "reasonForIncompletion": format!("used {RUNTIME}"),
        "logs": [{ "log": format!("again {RUNTIME}, {ROUTING}"), "createdTime": 0 }],
    });
    live.report(&task, report).await;
    let ended = live.ended(&id, PATIENCE).await;
    assert_eq!(ended["status"], "COMPLETED", "{ended}");

    // What was to be handed on was handed on, in clear.
    let heard = echo.heard();
    for expected in [
        format!("/used {FRESH} {{\"direct\":\"Bearer {FRESH}\"}}"),
        format!("{{\"child\":\"{FRESH}\"}}"),
        format!("/refused {ROUTING}"),
        format!("/rotated {ISSUED}"),
    ] {
        assert!(heard.contains(&expected), "{expected} is missing in {heard}");
    }
    let by_name = |name: &str| {
        let tasks = ended["tasks"].as_array().unwrap().iter();
        tasks.clone().find(|task| task["referenceTaskName"] == name).unwrap().clone()
    };
    let echoed = &by_name("echo")["outputData"]["response"]["body"];
    for member in ["plain", "upper", "base64", "hex"] {
        assert!(echoed[member].as_str().unwrap().contains("***"), "{member}: {echoed}");
    }
    assert_eq!(by_name("handed")["outputData"]["_secrets"], "***");
    assert_eq!(by_name("handed")["outputData"]["beside"], "the token is ***");
    assert_eq!(by_name("keep")["outputData"], json!({}));
    assert_eq!(by_name("unreachable")["status"], "COMPLETED_WITH_ERRORS");
    assert_eq!(ended["input"]["_secrets"], "***");

    let values = [ROUTING, FRESH, ISSUED, GIVEN, RUNTIME, "90817263"];
    let child = by_name("child")["subWorkflowId"].as_str().unwrap().to_owned();
    let mut answers = vec![
        format!("/api/workflow/{id}"),
        format!("/api/workflow/{child}"),
        format!("/api/workflow/{id}/status?includeOutput=true&includeVariables=true"),
        format!("/api/workflow/{id}/tasks"),
        format!("/api/workflow/{id}/why"),
        log_path,
        "/api/secrets".to_owned(),
        "/api/secrets-v2".to_owned(),
        "/api/secrets/v2".to_owned(),
        "/api/environment".to_owned(),
        "/api/metadata/workflow".to_owned(),
        "/api/metadata/taskdefs".to_owned(),
        "/api/workflow/search?query=workflowType='everything'".to_owned(),
        "/api/workflow/search-v2?query=workflowType='everything'".to_owned(),
        "/api/tasks/search?query=workflowType='everything'".to_owned(),
        "/api/tasks/search-v2?query=workflowType='everything'".to_owned(),
        "/health".to_owned(),
        "/metrics".to_owned(),
    ];
    for task in ended["tasks"].as_array().unwrap() {
        answers.push(format!("/api/tasks/{}", task["taskId"].as_str().unwrap()));
    }
    for path in answers {
        let (status, answer) = live.ask(Method::GET, &path, "").await;
        assert_eq!(status, 200, "{path}: {answer}");
        must_not_hold(&path, answer.to_string().as_bytes(), &values);
        assert!(!answer.to_string().contains("sealed:v1:"), "{path}: {answer}");
    }
    for name in ["ROUTING", "FRESH", "ISSUED"] {
        let (status, answer) = live.ask(Method::GET, &format!("/api/secrets/{name}"), "").await;
        assert_eq!(status, 403, "{answer}");
        assert_eq!(live.get(&format!("/api/secrets/{name}/exists")).await, json!(true));
    }
    let found = live.get(&format!("/api/workflow/search?freeText={FRESH}")).await;
    assert_eq!(found["totalHits"], 0, "{found}");

    // On disk, while it runs, after a crash, and after an orderly end.
    let look = |live: &Live| {
        for suffix in ["", "-wal", "-shm", ".key"] {
            let mut path = live.store().into_os_string();
            path.push(suffix);
            if let Ok(bytes) = std::fs::read(&path) {
                must_not_hold(&path.to_string_lossy(), &bytes, &values);
            }
        }
        must_not_hold("the log", live.log_text().as_bytes(), &values);
    };
    look(&live);
    live.kill();
    live.launch().await;
    look(&live);
    let id = live.begin("everything", &input).await;
    let task = loop {
        if let Some(task) = live.poll("handed?timeout=1000").await.pop() {
            break task;
        }
    };
    assert_eq!(task["inputData"]["key"], ROUTING, "secrets outlive the process");
    live.report(&task, json!({ "status": "FAILED", "reasonForIncompletion": GIVEN })).await;
    let failed = live.ended(&id, PATIENCE).await;
    assert_eq!(failed["status"], "FAILED", "{failed}");
    must_not_hold("the failed workflow", failed.to_string().as_bytes(), &values);
    assert!(live.stop().await.success());
    look(&live);
}

#[tokio::test]
async fn a_task_that_updates_a_secret_says_what_is_missing() {
    let live = Live::start(&[]).await;
    let cases = [
        (json!({ "secretKey": "A" }), "needs 'secretValue' under '_secrets'"),
        (json!({ "secretValue": "unnamed-value" }), "needs 'secretKey' under '_secrets'"),
        (json!({ "secretKey": "", "secretValue": "unnamed-value" }), "needs 'secretKey'"),
        (json!({ "secretKey": "not/a name", "secretValue": "unnamed-value" }), "letters, digits"),
        (json!(null), "needs 'secretKey'"),
    ];
    for (number, (secrets, why)) in cases.into_iter().enumerate() {
        let keep = json!({ "name": "keep", "taskReferenceName": "keep", "type": "UPDATE_SECRET",
                           "inputParameters": { "_secrets": secrets } });
        let name = format!("keep-{number}");
        live.define(&name, json!([keep])).await;
        let id = live.begin(&name, &json!({})).await;
        let ended = live.ended(&id, PATIENCE).await;
        assert_eq!(ended["status"], "FAILED", "{ended}");
        let task = &ended["tasks"][0];
        assert_eq!(task["status"], "FAILED_WITH_TERMINAL_ERROR");
        let reason = task["reasonForIncompletion"].as_str().unwrap();
        assert!(reason.contains(why), "{why}: {reason}");
        assert!(!task["inputData"].to_string().contains("unnamed-value"), "{task}");
    }
    let document = json!({ "secretKey": "DOCUMENT", "secretValue": { "user": "neo" } });
    let keep = json!({ "name": "keep", "taskReferenceName": "keep", "type": "UPDATE_SECRET",
                       "inputParameters": { "_secrets": document } });
    live.define("keep", json!([keep])).await;
    let id = live.begin("keep", &json!({})).await;
    assert_eq!(live.ended(&id, PATIENCE).await["status"], "COMPLETED");
    assert_eq!(live.get("/api/secrets").await, json!(["DOCUMENT"]));
}

#[tokio::test]
async fn the_key_is_made_once_and_guarded() {
    let mut live = Live::start(&[]).await;
    let mut key = live.store().into_os_string();
    key.push(".key");
    let key = std::path::PathBuf::from(key);
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    put_secret(&live, "A", "kept-in-the-vault").await;
    assert!(live.stop().await.success());

    let store = format!("sqlite:{}", live.store().display());
    let refused = |arguments: &[&str], variable: Option<(&str, &str)>, why: &str| {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0", "--store", &store];
        all.extend(arguments);
        let mut command = Nightbell::new(&all);
        if let Some((name, value)) = variable {
            command = command.env(name, value);
        }
        let outcome = command.run();
        assert_ne!(outcome.code, 0);
        assert!(outcome.stderr.contains(why), "{why}: {}", outcome.stderr);
    };
    let other = STANDARD.encode([7; 32]);
    let wrong = "is not the one that the store was sealed with";
    refused(&[], Some(("NIGHTBELL_SECRET_KEY", &other)), wrong);
    refused(&[], Some(("NIGHTBELL_SECRET_KEY", "c2hvcnQ=")), "holds 5 bytes");
    let missing = "cannot read the key file";
    refused(&["--secret-key-file", "nowhere.key"], None, missing);
    let kept = std::fs::read_to_string(&key).unwrap();

    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    refused(&[], None, "can be read by others");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&key, "scribble").unwrap();
    refused(&[], None, "malformed");
    std::fs::remove_file(&key).unwrap();
    refused(&[], None, "is missing");
    assert!(!key.exists(), "no other key takes its place");

    std::fs::write(&key, kept).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    live.launch().await;
    assert_eq!(live.get("/api/secrets").await, json!(["A"]));
}

#[tokio::test]
async fn the_command_line_stores_lists_and_deletes() {
    let live = Live::start(&[]).await;
    let url = live.url("");
    let run = |arguments: &[&str], input: &str| {
        Nightbell::new(arguments).env("NIGHTBELL_URL", &url).input(input).run()
    };
    let put = run(&["secret", "put", "TOKEN", "-f", "-"], "s3cr3t-of-cli\n");
    assert_eq!(put.code, 0, "{put:?}");
    assert!(!format!("{put:?}").contains("s3cr3t"));
    assert_eq!(run(&["secret", "list", "--json"], "").stdout.trim().lines().count(), 7);
    assert!(run(&["secret", "list"], "").stdout.contains("TOKEN"));
    assert_eq!(run(&["secret", "exists", "TOKEN"], "").stdout, "yes\n");
    assert_eq!(run(&["secret", "put", "TOKEN"], "").code, 2, "nobody to ask");
    assert_eq!(run(&["secret", "put", "TOKEN", "-f", "-"], "\n").code, 2, "an empty value");
    assert_eq!(run(&["secret", "put", "BAD NAME", "-f", "-"], "x").code, 1);
    assert_eq!(run(&["secret", "delete", "TOKEN"], "").code, 2, "not without being asked");
    assert_eq!(run(&["secret", "delete", "TOKEN", "--yes"], "").code, 0);
    assert_eq!(run(&["secret", "delete", "TOKEN", "--yes"], "").code, 3);
    assert_eq!(run(&["secret", "exists", "TOKEN"], "").code, 3);
}
