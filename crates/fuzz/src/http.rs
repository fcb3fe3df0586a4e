//! Readers behind the port: what comes is sent to a server in this process, which must not answer 500.

use std::cell::RefCell;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use engine::memory::Memory;
use engine::{Engine, Options, Parts, SystemClock, Values};
use http_body_util::BodyExt as _;
use kernel::access::Mode;
use kernel::definition::parse_workflows;
use kernel::{Form, Json, ScriptError, Scripts, Violation};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};
use server::{Api, Settings};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

/// Requests after which a new server is made, so that what was accepted is not kept for ever.
const REQUESTS: usize = 5_000;

/// Runs nothing: programs have targets of their own.
struct Nothing;

impl Scripts for Nothing {
    fn javascript(&self, _: &str, _: Form, _: &Json) -> Result<Json, ScriptError> {
        Ok(Json::null())
    }

    fn jq(&self, _: &str, input: &Json) -> Result<Vec<Json>, ScriptError> {
        Ok(vec![input.clone()])
    }

    fn check_javascript(&self, _: &str, _: Form) -> Result<(), ScriptError> {
        Ok(())
    }

    fn check_jq(&self, _: &str) -> Result<(), ScriptError> {
        Ok(())
    }

    fn violations(&self, _: &Json, _: &Json) -> Result<Vec<Violation>, ScriptError> {
        Ok(Vec::new())
    }
}

impl Values for Nothing {
    fn secret(&self, name: &str) -> Option<String> {
        (name == "KEY").then(|| "hunter2".to_owned())
    }

    fn environment(&self, _: &str) -> Option<String> {
        None
    }
}

/// A server without a socket.
struct Server {
    runtime: Runtime,
    router: Router,
    /// Webhooks by what verifies them.
    webhooks: Vec<(String, String)>,
    asked: usize,
}

impl Server {
    fn start(auth: Mode) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let parts = Parts {
            store: Arc::new(Memory::default()),
            clock: Arc::new(SystemClock),
            scripts: Arc::new(Nothing),
            runners: Vec::new(),
            values: Arc::new(Nothing),
            describe: server::rest::view::describe,
            options: Options { checks_principals: auth != Mode::Open, ..Options::default() },
        };
        let engine = runtime.block_on(Engine::open(parts)).expect("an empty store opens");
        let settings = Settings { auth, ..Settings::default() };
        let router = server::router(Api { engine, settings: Arc::new(settings) });
        let mut made = Self { runtime, router, webhooks: Vec::new(), asked: 0 };
        if auth == Mode::Open {
            made.prepare();
        }
        made
    }

    /// A workflow, and a webhook of each kind that starts it.
    fn prepare(&mut self) {
        let started = json!([{ "name": "started", "version": 1, "tasks": [
            { "name": "n", "taskReferenceName": "n", "type": "NOOP" }] }]);
        debug_assert!(parse_workflows(&started.to_string()).is_ok());
        self.post("/api/metadata/workflow", &started);
        for verifier in ["SIGNATURE_BASED", "SLACK_BASED", "STRIPE", "TWITTER", "HEADER_BASED"] {
            let hook = json!({ "name": format!("hook-{verifier}"), "verifier": verifier,
                "sourcePlatform": "Custom", "headers": { "source": "portal" },
                "secretValue": "${workflow.secrets.KEY}", "workflowsToStart": { "started": 1 } });
            let made = self.post("/api/metadata/webhook", &hook);
            let id = made["id"].as_str().unwrap_or_default().to_owned();
            assert!(!id.is_empty(), "no webhook of the kind {verifier}: {made}");
            self.webhooks.push((verifier.to_owned(), id));
        }
    }

    fn post(&mut self, path: &str, body: &Value) -> Value {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).expect("a request");
        let (_, body) = self.send(request);
        serde_json::from_slice(&body).unwrap_or_default()
    }

    fn send(&mut self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        self.asked += 1;
        let router = self.router.clone();
        self.runtime.block_on(async {
            let response = match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let status = response.status();
            // What streams does not end.
            let body = tokio::time::timeout(
                std::time::Duration::from_millis(20),
                response.into_body().collect(),
            );
            let body = body.await.ok().and_then(Result::ok);
            let bytes = body.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
            (status, bytes)
        })
    }
}

/// Sends a request, and looks at its answer.
fn feed(auth: Mode, make: impl FnOnce(&Server) -> Option<Request<Body>>) {
    thread_local! {
        static OPEN: RefCell<Option<Server>> = const { RefCell::new(None) };
        static GUARDED: RefCell<Option<Server>> = const { RefCell::new(None) };
    }
    let kept = if auth == Mode::Open { &OPEN } else { &GUARDED };
    kept.with_borrow_mut(|kept| {
        let server = match kept {
            Some(server) if server.asked < REQUESTS => server,
            other => other.insert(Server::start(auth)),
        };
        let Some(request) = make(server) else { return };
        let shown = format!("{} {}", request.method(), request.uri());
        let (status, body) = server.send(request);
        let body = String::from_utf8_lossy(&body);
        assert!(
            status != StatusCode::INTERNAL_SERVER_ERROR,
            "{shown} is answered with 500: {body}"
        );
        assert!(auth == Mode::Open || status != StatusCode::OK, "{shown} lets anybody in: {body}");
    });
}

pub(crate) fn body(bytes: &[u8]) {
    const PATHS: [(Method, &str); 8] = [
        (Method::PUT, "/api/metadata/workflow"),
        (Method::POST, "/api/workflow"),
        (Method::POST, "/api/tasks"),
        (Method::POST, "/api/metadata/taskdefs"),
        (Method::POST, "/api/event"),
        (Method::POST, "/api/scheduler/schedules"),
        (Method::POST, "/api/workflow/test"),
        (Method::POST, "/api/metadata/workflow/validate"),
    ];
    let Some((first, rest)) = bytes.split_first() else { return };
    let (method, path) = &PATHS[usize::from(*first) % PATHS.len()];
    feed(Mode::Open, |_| {
        let request = Request::builder().method(method).uri(*path);
        let request = request.header("content-type", "application/json");
        request.body(Body::from(rest.to_vec())).ok()
    });
}

pub(crate) fn path(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from(bytes) else { return };
    feed(Mode::Open, |_| Request::get(uri.path_and_query()?.as_str()).body(Body::empty()).ok());
}

pub(crate) fn search(bytes: &[u8]) {
    let text = percent_encode(bytes, NON_ALPHANUMERIC).to_string();
    for path in [
        format!("/api/workflow/search?query={text}"),
        format!("/api/workflow/search?freeText={text}"),
        format!("/console/runs?q={text}"),
    ] {
        feed(Mode::Open, |_| Request::get(&path).body(Body::empty()).ok());
    }
}

/// The verifier, headers, and the body, a line each.
pub(crate) fn webhook(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let verifier = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut headers = Vec::new();
    let mut body: Vec<u8> = Vec::new();
    for line in lines {
        let header = line.split_first().and_then(|_| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::try_from(&line[..colon]).ok()?;
            Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
        });
        match header {
            Some(header) if body.is_empty() => headers.push(header),
            _ => {
                body.extend_from_slice(line);
                body.push(b'\n');
            }
        }
    }
    feed(Mode::Open, |server| {
        let known = server.webhooks.iter().find(|(known, _)| *known == verifier);
        let (_, id) = known.or(server.webhooks.first())?;
        let mut request = Request::post(format!("/webhook/{id}")).body(Body::from(body)).ok()?;
        for (name, value) in headers {
            request.headers_mut().append(name, value);
        }
        Some(request)
    });
}

pub(crate) fn token(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    for name in ["authorization", "x-authorization", "x-functions-key", "cookie"] {
        feed(Mode::On, |_| {
            let request = Request::get("/api/metadata/workflow").header(name, value.clone());
            request.body(Body::empty()).ok()
        });
    }
}

pub(crate) fn grpc(bytes: &[u8]) {
    const METHODS: [&str; 8] = [
        "StartInstance",
        "GetInstance",
        "RaiseEvent",
        "TerminateInstance",
        "QueryInstances",
        "CompleteOrchestratorTask",
        "CompleteActivityTask",
        "SignalEntity",
    ];
    let Some((first, rest)) = bytes.split_first() else { return };
    let method = METHODS[usize::from(*first) % METHODS.len()];
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(rest.len()).unwrap_or_default().to_be_bytes());
    framed.extend_from_slice(rest);
    feed(Mode::Open, |_| {
        let request = Request::post(format!("/TaskHubSidecarService/{method}"));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        request.body(Body::from(framed)).ok()
    });
}
