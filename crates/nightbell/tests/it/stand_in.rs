//! A server that gives scripted answers and keeps what it was asked.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What the server has been told to say, and what it has heard.
#[derive(Default)]
struct Script {
    answers: HashMap<String, VecDeque<(u16, String)>>,
    heard: Vec<String>,
    token: Option<String>,
}

/// A running server; it stops when it is dropped.
pub(crate) struct StandIn {
    script: Arc<Mutex<Script>>,
    address: std::net::SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl StandIn {
    /// A server that answers 404 to everything, in Conductor's words.
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let router = Router::new().fallback(answer).with_state(script.clone());
        let listener =
            runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { script, address, _runtime: runtime }
    }

    /// Scripts the answer to a request such as `GET /api/workflow/1`. The query may be left out.
    /// Several answers to one request are given in turn; the last one again and again.
    pub(crate) fn says(self, request: &str, status: u16, body: Value) -> Self {
        let body = match body {
            Value::String(text) => text,
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let mut script = self.script.lock().unwrap();
        script.answers.entry(request.to_owned()).or_default().push_back((status, body));
        drop(script);
        self
    }

    /// Scripts a refusal in Conductor's words.
    pub(crate) fn refuses(self, request: &str, status: u16, message: &str) -> Self {
        self.says(request, status, json!({ "status": status, "message": message }))
    }

    /// Every request so far: method, path, query, and the body if there was one.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.script.lock().unwrap().heard.clone()
    }

    /// The body of the request with this number, from 0.
    pub(crate) fn body(&self, number: usize) -> Value {
        let heard = self.heard();
        let body = heard[number].splitn(3, ' ').nth(2).expect("the request had a body");
        serde_json::from_str(body).unwrap()
    }

    /// The token of the last request.
    pub(crate) fn token(&self) -> Option<String> {
        self.script.lock().unwrap().token.clone()
    }

    /// Its address, as a user would write it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs the binary as a client of this server.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        Nightbell::new(arguments).env("NIGHTBELL_URL", &self.url()).run()
    }

    /// As [`StandIn::run`], with something on standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Outcome {
        Nightbell::new(arguments).env("NIGHTBELL_URL", &self.url()).input(input).run()
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    let full = format!("{} {}", parts.method, parts.uri);
    let short = format!("{} {}", parts.method, parts.uri.path());
    let token = parts.headers.get("x-authorization");
    let token = token.map(|value| value.to_str().unwrap().to_owned());
    let mut script = script.lock().unwrap();
    script.token = token;
    script.heard.push(if body.is_empty() { full.clone() } else { format!("{full} {body}") });
    let key = if script.answers.contains_key(&full) { full } else { short };
    let Some(answers) = script.answers.get_mut(&key) else {
        let message = format!("nothing is scripted for {key}");
        let body = json!({ "status": 404, "message": message }).to_string();
        return (StatusCode::NOT_FOUND, body).into_response();
    };
    let (status, body) =
        if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }.unwrap();
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

/// A run of the binary that is being put together, in an empty folder and environment.
pub(crate) struct Nightbell {
    command: Command,
    folder: PathBuf,
    input: String,
}

/// What a run of the binary has left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Nightbell {
    pub(crate) fn new(arguments: &[&str]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(crate::live::binary());
        command.args(arguments).env_clear().current_dir(&folder);
        Self { command, folder, input: String::new() }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn input(mut self, input: &str) -> Self {
        input.clone_into(&mut self.input);
        self
    }

    /// Puts a file into the folder.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn run(mut self) -> Outcome {
        use std::io::Write as _;
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        // The binary may end without reading it.
        let _ = child.stdin.take().unwrap().write_all(self.input.as_bytes());
        let output = child.wait_with_output().unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
        Outcome {
            code: output.status.code().expect("the binary was not killed"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Outcome {
    /// Asserts the exit code, and shows all if it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The lines of standard output with single spaces, so that tests do not count columns.
    pub(crate) fn lines(&self) -> Vec<String> {
        let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        self.stdout.lines().map(squeeze).collect()
    }
}
