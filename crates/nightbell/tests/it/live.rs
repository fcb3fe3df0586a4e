//! A real server: the binary in a folder of its own, on a free port, killed and started at will.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A server under test. Its store outlives it until the value is dropped.
pub(crate) struct Live {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    command: &'static str,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    /// Open files: those it is allowed at first, and those it may ask for.
    files: Option<(u64, u64)>,
    pub(crate) http: reqwest::Client,
}

/// How long a server may take to answer after its start on a busy machine, whose disk may be busy
/// writing what was just built.
const START_MAX: Duration = Duration::from_mins(2);
/// How long one question may take that is only to find out whether the server answers.
const PROBE_MAX: Duration = Duration::from_secs(5);
/// Ports that the system gives to nobody by itself (its own range begins above): while a server is
/// down, neither a stand-in nor a client's connection may come by its port.
const PORTS: std::ops::Range<u16> = 10_240..32_768;

/// The binary under test: the one built with the tests, or the one that `NIGHTBELL_TEST_BINARY` names.
pub(crate) fn binary() -> PathBuf {
    let named = std::env::var_os("NIGHTBELL_TEST_BINARY").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_nightbell").into())
}

/// The subcommand of the tour.
const TOUR: &str = "dev";

impl Live {
    /// Starts a server over an empty store.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::start_as("serve", arguments, &[]).await
    }

    /// Starts the tour.
    pub(crate) async fn tour() -> Self {
        Self::start_as(TOUR, &[], &[]).await
    }

    /// As [`Live::start`], by a subcommand that serves, with variables in its environment.
    pub(crate) async fn start_as(
        command: &'static str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let http =
            reqwest::Client::builder().timeout(Duration::from_mins(1)).build().expect("a client");
        let variables = variables.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned()));
        let variables = variables.collect();
        let port = free_port();
        let child = None;
        let files = None;
        let mut live = Self { folder, port, child, command, arguments, variables, files, http };
        live.launch().await;
        live
    }

    /// A server whose open files are limited: softly at first, and however often it asks.
    pub(crate) async fn start_limited(soft: u64, hard: u64) -> Self {
        let mut live = Self::start(&[]).await;
        live.stop().await;
        std::fs::remove_file(live.log()).expect("there is a log");
        live.files = Some((soft, hard));
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
        let mut command = match self.files {
            None => Command::new(binary()),
            Some((soft, hard)) => {
                let script =
                    format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(script).arg(binary());
                shell
            }
        };
        if self.command != TOUR {
            // The tour has a store of its own.
            command.env("NIGHTBELL_STORE", format!("sqlite:{}", self.store().display()));
        }
        let child = command
            .arg(self.command)
            .env("NIGHTBELL_LISTEN", format!("127.0.0.1:{}", self.port))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        self.child = Some(child);
        let begun = Instant::now();
        while let Err(error) = self.probe().await {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "it ended ({ended:?}); its log: {}", self.log_text());
            assert!(
                begun.elapsed() < START_MAX,
                "no answer: {error:?}; what it does: {}; its log: {}",
                self.what_it_does(),
                self.log_text()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// As [`Live::launch`], with other arguments from now on.
    pub(crate) async fn launch_with(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self.launch().await;
    }

    async fn probe(&self) -> reqwest::Result<()> {
        let asked = self.http.get(self.url("/health")).timeout(PROBE_MAX);
        asked.send().await.map(drop)
    }

    /// The state of the server's threads, and where in the system each of them waits.
    fn what_it_does(&self) -> String {
        let Some(child) = &self.child else { return "nothing".to_owned() };
        let threads = std::fs::read_dir(format!("/proc/{}/task", child.id()));
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let told = threads.into_iter().flatten().flatten().map(|thread| {
            let (name, stat) = (read(thread.path().join("comm")), read(thread.path().join("stat")));
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
            let waits = read(thread.path().join("wchan"));
            format!("{} {} {waits}", name.trim(), state.unwrap_or('?'))
        });
        told.collect::<Vec<_>>().join(", ")
    }

    /// Adds to what the server is told when it is launched the next time.
    pub(crate) fn tell(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
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

    /// Where the server runs.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
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

    /// Registers a workflow whose input must fit a schema.
    pub(crate) async fn define_checked(&self, name: &str, schema: &Value, tasks: Value) {
        let schema = json!({ "name": name, "version": 1, "type": "JSON", "data": schema });
        let definition = json!({ "name": name, "version": 1, "schemaVersion": 2, "tasks": tasks,
            "inputSchema": schema });
        self.post("/api/metadata/workflow", &definition).await;
    }

    /// Starts a workflow and answers its id.
    pub(crate) async fn begin(&self, name: &str, input: &Value) -> String {
        let id = self.post(&format!("/api/workflow/{name}"), input).await;
        id.as_str().expect("an id").to_owned()
    }

    /// Starts a workflow without tasks of anybody, and sees it end: others are served.
    pub(crate) async fn begin_small(&self) {
        self.define("small", json!([{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }]))
            .await;
        let id = self.begin("small", &json!({})).await;
        let run = self.ended(&id, START_MAX).await;
        assert_eq!(run["status"], "COMPLETED", "{run}");
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

    /// Tells the server to read its files again.
    pub(crate) fn hang_up(&self) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let told = Command::new("kill").args(["-HUP", &pid]).status().expect("kill runs");
        assert!(told.success());
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
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

/// A port of [`PORTS`] that is free now.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Other processes of tests begin elsewhere.
    let start = std::process::id().wrapping_mul(977);
    for _ in 0..count {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = PORTS.start + offset as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
