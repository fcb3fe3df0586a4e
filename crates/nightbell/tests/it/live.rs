//! A real server: the binary in a folder of its own, on a free port, killed and started at will.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A server under test. Its store outlives it until the value is dropped.
pub(crate) struct Live {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    arguments: Vec<String>,
    /// It is the tour, which has a store of its own.
    tours: bool,
    pub(crate) http: reqwest::Client,
}

/// How long a server may take to answer after its start on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

impl Live {
    /// Starts a server over an empty store.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::started(false, arguments).await
    }

    /// Starts the tour.
    pub(crate) async fn tour() -> Self {
        Self::started(true, &[]).await
    }

    async fn started(tours: bool, arguments: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let http =
            reqwest::Client::builder().timeout(Duration::from_mins(1)).build().expect("a client");
        let mut live = Self { folder, port: free_port(), child: None, arguments, tours, http };
        live.launch().await;
        live
    }

    /// Starts the server again over the same store and port.
    pub(crate) async fn launch(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_nightbell"));
        command.arg(if self.tours { "dev" } else { "serve" });
        if !self.tours {
            command.args(["--store", &format!("sqlite:{}", self.store().display())]);
        }
        let child = command
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        self.child = Some(child);
        let begun = Instant::now();
        while self.http.get(self.url("/health")).send().await.is_err() {
            assert!(begun.elapsed() < START_MAX, "no answer; its log: {}", self.log_text());
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "it ended ({ended:?}); its log: {}", self.log_text());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills the server as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("nightbell.db")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// What the server has logged.
    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Asks and expects a good answer in JSON.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(self.url(path)).send().await.expect("it answers");
        json_of(path, answer).await
    }

    /// Posts JSON and expects a good answer: JSON, or text as a JSON string.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.http.post(self.url(path)).json(body).send().await.expect("it answers");
        json_of(path, answer).await
    }

    /// Asks anything; answers the status and the body, as JSON if it is that.
    pub(crate) async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, Value) {
        let request = self.http.request(method, self.url(path)).body(body);
        let answer = request.header("content-type", "application/json").send().await;
        let answer = answer.expect("it answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a whole answer");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Registers a workflow of these tasks.
    pub(crate) async fn define(&self, name: &str, tasks: Value) {
        let definition = json!({ "name": name, "version": 1, "schemaVersion": 2, "tasks": tasks });
        self.post("/api/metadata/workflow", &definition).await;
    }

    /// Starts a workflow and answers its id.
    pub(crate) async fn begin(&self, name: &str, input: &Value) -> String {
        let id = self.post(&format!("/api/workflow/{name}"), input).await;
        id.as_str().expect("an id").to_owned()
    }

    /// Polls for tasks as a worker does; `query` begins with their type.
    pub(crate) async fn poll(&self, query: &str) -> Vec<Value> {
        let tasks = self.get(&format!("/api/tasks/poll/batch/{query}")).await;
        tasks.as_array().expect("a list").clone()
    }

    /// Reports on a task as its worker.
    pub(crate) async fn report(&self, task: &Value, result: Value) {
        let mut result = result;
        result["taskId"] = task["taskId"].clone();
        result["workflowInstanceId"] = task["workflowInstanceId"].clone();
        self.post("/api/tasks", &result).await;
    }

    /// Tells the server to stop as a service manager does, and waits until it has.
    pub(crate) async fn stop(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let pid = child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(told.success());
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("it can be waited for") {
                return status;
            }
            if begun.elapsed() > START_MAX {
                child.kill().expect("it can be killed");
                panic!("it did not stop; its log: {}", self.log_text());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until a workflow has ended and answers it whole.
    pub(crate) async fn ended(&self, id: &str, patience: Duration) -> Value {
        let begun = Instant::now();
        loop {
            let workflow = self.get(&format!("/api/workflow/{id}?includeTasks=false")).await;
            let status = workflow["status"].as_str().unwrap_or_default();
            if status != "RUNNING" && status != "PAUSED" {
                return self.get(&format!("/api/workflow/{id}")).await;
            }
            if begun.elapsed() > patience {
                let why = self.get(&format!("/api/workflow/{id}/why")).await;
                panic!("{id} is still {status}: {why}; log: {}", self.log_text());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn json_of(path: &str, answer: reqwest::Response) -> Value {
    let status = answer.status();
    let text = answer.text().await.expect("a whole answer");
    assert!(status.is_success(), "{path}: {status}: {text}");
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
