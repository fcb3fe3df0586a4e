//! An API over an empty store, and the calls that tests make.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use engine::memory::Memory;
use engine::store::Store;
use engine::{Clock, Engine, Options, Parts, PollRequest, SystemClock, TaskRunner, Values};
use http_body_util::BodyExt;
use kernel::definition::{TaskDef, parse_workflows};
use kernel::graph::{Report, TaskStatus, Verdict};
use kernel::{Form, Json, ScriptError, ScriptErrorKind, Scripts, TaskId, Violation};
use serde_json::{Value, json};
use server::{Api, Settings};
use tower::ServiceExt;

/// Scripts whose source is the JSON that they answer; `oops` does not parse.
struct Echo;

impl Scripts for Echo {
    fn javascript(&self, source: &str, _: Form, _: &Json) -> Result<Json, ScriptError> {
        Json::from_text(source.to_owned()).map_err(|error| ScriptError {
            kind: ScriptErrorKind::Runtime,
            message: error.to_string(),
        })
    }

    fn jq(&self, _: &str, input: &Json) -> Result<Vec<Json>, ScriptError> {
        Ok(vec![input.clone()])
    }

    fn check_javascript(&self, source: &str, _: Form) -> Result<(), ScriptError> {
        self.check_jq(source)
    }

    fn check_jq(&self, program: &str) -> Result<(), ScriptError> {
        // Tests run on the thread that serves, which libtest names after the test.
        let thread = std::thread::current();
        let serves = thread.name().is_none_or(|name| name == "main" || name.contains("::"));
        if program.contains("aside") && serves {
            let message = format!("compiled on the thread that serves: {:?}", thread.name());
            return Err(ScriptError { kind: ScriptErrorKind::Syntax, message });
        }
        if program.contains("oops") {
            let message = "unexpected oops".to_owned();
            return Err(ScriptError { kind: ScriptErrorKind::Syntax, message });
        }
        Ok(())
    }

    /// Knows `required` alone.
    fn violations(&self, schema: &Json, document: &Json) -> Result<Vec<Violation>, ScriptError> {
        let (schema, document) = (schema.parse(), document.parse());
        let required = schema["required"].as_array().into_iter().flatten();
        let missing =
            required.filter_map(Value::as_str).filter(|name| document.get(name).is_none());
        let told = missing.map(|name| format!("{name} is missing"));
        Ok(told.map(|message| Violation { pointer: String::new(), message }).collect())
    }
}

/// One secret and one value for anybody, and further secrets; asking for `PANIC` is a bug.
struct FewValues(Vec<(&'static str, &'static str)>);

impl Values for FewValues {
    fn secret(&self, name: &str) -> Option<String> {
        assert_ne!(name, "PANIC", "a bug for the sake of a test");
        let mut known = self.0.iter().chain(&[("KEY", "hunter2")]);
        known.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn environment(&self, name: &str) -> Option<String> {
        (name == "REGION").then(|| "north".to_owned())
    }
}

/// A server without a socket.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    settings: Settings,
    /// Made when it is first asked, since to make one costs more than most requests.
    router: OnceLock<axum::Router>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error} in the answer {:?}", self.text))
    }

    /// The body of an answer with status 200.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    /// The text of an answer with status 200.
    pub(crate) fn ok_text(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.text.clone()
    }

    /// The stable code of a failure with this status.
    pub(crate) fn code(&self, status: u16) -> String {
        self.failed(status);
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The message of a failure with this status, whose body has the protocol's shape.
    pub(crate) fn failed(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        let body = self.json();
        assert_eq!(body["status"], json!(status), "{body}");
        assert!(body["retryable"].is_boolean(), "{body}");
        assert!(body["code"].is_string(), "{body}");
        body["message"].as_str().expect("a failure has a message").to_owned()
    }
}

impl Server {
    pub(crate) async fn new() -> Self {
        Self::with_runners(Vec::new()).await
    }

    /// A server that knows these secrets beside the usual one.
    pub(crate) async fn with_secrets(secrets: Vec<(&'static str, &'static str)>) -> Self {
        Self::made_of(Vec::new(), secrets).await
    }

    pub(crate) async fn with_runners(runners: Vec<Arc<dyn TaskRunner>>) -> Self {
        Self::made_of(runners, Vec::new()).await
    }

    /// A server whose engine has other options.
    pub(crate) async fn with_options(options: Options) -> Self {
        Self::opened(Arc::new(Memory::default()), Vec::new(), Vec::new(), options).await
    }

    async fn made_of(
        runners: Vec<Arc<dyn TaskRunner>>,
        secrets: Vec<(&'static str, &'static str)>,
    ) -> Self {
        Self::over(Arc::new(Memory::default()), runners, secrets).await
    }

    /// A server over this store.
    pub(crate) async fn with_store(store: Arc<dyn Store>) -> Self {
        Self::over(store, Vec::new(), Vec::new()).await
    }

    /// A server whose clock is this one.
    pub(crate) async fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let store = Arc::new(Memory::default());
        Self::opened_at(clock, store, Vec::new(), Vec::new(), Options::default()).await
    }

    /// A server that is started anew over the store of this one.
    pub(crate) async fn restarted(&self) -> Self {
        self.restarted_with(Options::default()).await
    }

    /// The same, with other options: those with the key of this one open what it has sealed.
    pub(crate) async fn restarted_with(&self, options: Options) -> Self {
        Self::opened(self.engine.store().clone(), Vec::new(), Vec::new(), options).await
    }

    async fn over(
        store: Arc<dyn Store>,
        runners: Vec<Arc<dyn TaskRunner>>,
        secrets: Vec<(&'static str, &'static str)>,
    ) -> Self {
        Self::opened(store, runners, secrets, Options::default()).await
    }

    async fn opened(
        store: Arc<dyn Store>,
        runners: Vec<Arc<dyn TaskRunner>>,
        secrets: Vec<(&'static str, &'static str)>,
        options: Options,
    ) -> Self {
        Self::opened_at(Arc::new(SystemClock), store, runners, secrets, options).await
    }

    async fn opened_at(
        clock: Arc<dyn Clock>,
        store: Arc<dyn Store>,
        runners: Vec<Arc<dyn TaskRunner>>,
        secrets: Vec<(&'static str, &'static str)>,
        options: Options,
    ) -> Self {
        let parts = Parts {
            store,
            clock,
            scripts: Arc::new(Echo),
            runners,
            values: Arc::new(FewValues(secrets)),
            describe: server::rest::view::describe,
            options,
        };
        let engine = Engine::open(parts).await.expect("the store can be read");
        Self { engine, settings: Settings::default(), router: OnceLock::new() }
    }

    pub(crate) fn with_body_max(self, body_max: usize) -> Self {
        self.with(|settings| settings.body_max = body_max)
    }

    pub(crate) fn with_pings_every(self, ping_every: Duration) -> Self {
        self.with(|settings| settings.ping_every = ping_every)
    }

    /// As the settings of the protocols are changed by this; before anything is asked.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self.router = OnceLock::new();
        self
    }

    /// The same for every request: it keeps what it knows from one to the next.
    pub(crate) fn router(&self) -> axum::Router {
        self.router.get_or_init(|| server::router(self.api())).clone()
    }

    pub(crate) fn api(&self) -> Api {
        Api { engine: self.engine.clone(), settings: Arc::new(self.settings.clone()) }
    }

    /// Waits until a worker waits for tasks of this type.
    pub(crate) async fn until_polled(&self, task_type: &str) {
        let polled = async {
            while self.engine.queues().polls(Some(task_type)).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), polled).await.expect("a poll arrives");
    }

    /// Waits until so many tasks of this type wait for a worker.
    pub(crate) async fn until_queued(&self, task_type: &str, count: u64) {
        let is_there = || {
            let states = self.engine.queues().states();
            states.iter().any(|state| &*state.name == task_type && state.waiting == count)
        };
        let queued = async {
            while !is_there() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), queued).await.expect("tasks are queued");
    }

    pub(crate) async fn register(&self, workflows: Value) {
        let definitions = parse_workflows(&workflows.to_string()).expect("the shape is right");
        self.engine.definitions().put_workflows(definitions).await.expect("memory takes all");
    }

    pub(crate) async fn register_task(&self, definition: TaskDef) {
        self.engine.definitions().put_tasks(vec![definition]).await.expect("memory takes all");
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: String) -> Answer {
        self.send_with(method, path, &[], body).await
    }

    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        send_through(self.router(), method, path, headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, String::new()).await
    }

    pub(crate) async fn put(&self, path: &str) -> Answer {
        self.send(Method::PUT, path, String::new()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, String::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body.to_string()).await
    }

    /// Starts a registered workflow and answers its id.
    pub(crate) async fn start(&self, name: &str, input: &Value) -> String {
        self.post(&format!("/api/workflow/{name}"), input).await.ok_text()
    }

    pub(crate) async fn workflow(&self, id: &str) -> Value {
        self.get(&format!("/api/workflow/{id}")).await.ok()
    }

    /// Takes the next task of a queue; there must be one soon.
    pub(crate) async fn take(&self, queue: &str) -> TaskId {
        let request = PollRequest {
            queue: queue.into(),
            worker: Some("tester".into()),
            count: 1,
            wait: Duration::from_secs(30),
        };
        let mut taken = self.engine.poll(request).await.expect("memory answers");
        taken.pop().unwrap_or_else(|| panic!("nothing came into queue '{queue}'"))
    }

    pub(crate) async fn report(&self, task: &TaskId, status: TaskStatus, output: &Value) {
        let report = Report {
            sequence: task.sequence,
            verdict: Verdict::Done(status),
            output: Some(output.into()),
            merge: false,
            reason: status.is_failure().then(|| "it broke".into()),
            worker: Some("tester".into()),
            started_at: None,
            metadata: None,
        };
        self.engine.report(&task.execution, report).await.expect("the task is there");
    }

    /// Does the next task of a queue.
    pub(crate) async fn complete(&self, queue: &str) {
        let task = self.take(queue).await;
        self.report(&task, TaskStatus::Completed, &json!({ "done": true })).await;
    }

    /// Lets the next task of a queue fail for good.
    pub(crate) async fn fail(&self, queue: &str) {
        let task = self.take(queue).await;
        self.report(&task, TaskStatus::FailedWithTerminalError, &json!({})).await;
    }

    /// Waits until an execution has this status.
    pub(crate) async fn until(&self, id: &str, status: &str) {
        let id = kernel::ExecutionId::new(id);
        let mut watch = self.engine.watch(&id);
        let reached = async {
            loop {
                let now = self.engine.read(&id, |state| state.status.as_str()).await;
                if now.expect("memory answers") == Some(status) {
                    return;
                }
                watch.changed().await.expect("the engine lives");
            }
        };
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, reached).await.expect("the status is reached in time");
    }
}

/// A definition of worker tasks, one after the other, each with its name as reference.
pub(crate) fn line(name: &str, tasks: &[&str]) -> Value {
    let tasks: Vec<Value> = tasks
        .iter()
        .map(|task| json!({ "name": task, "taskReferenceName": task, "type": "SIMPLE" }))
        .collect();
    json!({ "name": name, "version": 1, "tasks": tasks })
}

/// A definition that does nothing but wait for a signal.
pub(crate) fn waiting(name: &str) -> Value {
    let wait = json!({ "name": "wait", "taskReferenceName": "wait", "type": "WAIT" });
    json!({ "name": name, "version": 1, "tasks": [wait] })
}

/// Sends a request through a router. One that is cloned keeps what it knows from one request to the
/// next, as a server does.
pub(crate) async fn send_through(
    router: axum::Router,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if headers.iter().all(|(name, _)| *name != "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body)).expect("the path is a path");
    let response = router.oneshot(request).await.expect("handlers do not fail");
    let status = response.status();
    let content_type = response.headers().get("content-type");
    let content_type =
        content_type.map_or_else(String::new, |t| t.to_str().unwrap_or("?").to_owned());
    let headers = response.headers().clone();
    let body = response.into_body().collect().await.expect("a body in memory").to_bytes();
    let text = String::from_utf8(body.to_vec()).expect("answers are UTF-8");
    Answer { status, content_type, headers, text }
}
