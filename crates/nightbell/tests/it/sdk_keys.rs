//! Official SDKs and tools with a key, unmodified, against the real binary with access control: they work,
//! outlive the end of their tokens, and end with their keys.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::access::Guarded;
use crate::clock;
use crate::observability::Prometheus;
use crate::sdks::{JAVA, NODE_MODULES, PYTHON, prepared};
use crate::service::find;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A command that is told where the server is, and which key it has.
fn told(mut command: Command, server: &Guarded, (id, key): (&str, &str)) -> Command {
    command.env("CONDUCTOR_SERVER_URL", server.live.url("/api"));
    command.env("ENDPOINT", format!("127.0.0.1:{}", server.live.port()));
    command.env("CONDUCTOR_AUTH_KEY", id).env("CONDUCTOR_AUTH_SECRET", key);
    // Its own folder stays as it is checked in.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// What the SDKs' drives need.
const ROLES: [&str; 3] = ["editor", "worker", "secrets"];

/// The whole drive of each script, with a key of the roles that it needs.
async fn work_with_a_key(interpreter: OsString, roles: &[&str], scripts: &[&str]) {
    let server = Guarded::start().await;
    let (_, admin) = server.key(&server.bootstrap(), "ann", &["admin"]).await;
    let (id, key) = server.key(&admin, "sdk", roles).await;
    for script in scripts {
        let mut command = told(Command::new(&interpreter), &server, (&id, &key));
        command.arg(file(script));
        let ran = tokio::task::spawn_blocking(move || command.output());
        let output = ran.await.expect("the thread ends").expect("the interpreter runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        let log = server.live.log_text();
        assert!(output.status.success(), "{script}\n{said}\n{complained}\n{log}");
        assert!(said.contains("all checks passed"), "{script}\n{said}\n{complained}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdks_work_with_a_key() {
    let Some(python) = prepared(PYTHON) else { return };
    let scripts = ["python/sdk.py", "python/durable_key.py", "python/functions_key.py"];
    work_with_a_key(python, &ROLES, &scripts).await;
}

/// Its client of applications, users, groups and authorizations.
#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_administers_access_in_its_own_words() {
    let Some(python) = prepared(PYTHON) else { return };
    work_with_a_key(python, &["admin"], &["python/authorization.py"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdks_work_with_a_key() {
    if prepared(NODE_MODULES).is_none() {
        return;
    }
    work_with_a_key("node".into(), &ROLES, &["javascript/sdk.mjs", "javascript/durable_key.mjs"])
        .await;
}

/// The worker of each SDK that is installed, by its language.
fn workers() -> Vec<(&'static str, Command)> {
    let mut workers = Vec::new();
    if let Some(python) = prepared(PYTHON) {
        let mut command = Command::new(python);
        command.arg(file("python/auth.py"));
        workers.push(("python", command));
    }
    if prepared(NODE_MODULES).is_some() {
        let mut command = Command::new("node");
        command.arg(file("javascript/auth.mjs"));
        workers.push(("javascript", command));
    }
    if let Some(folder) = prepared(JAVA) {
        let folder = PathBuf::from(folder);
        let home = std::env::var_os("JAVA_HOME").map(PathBuf::from);
        let java = home.map_or_else(|| "java".into(), |home| home.join("bin/java"));
        let mut command = Command::new(java);
        let path = format!("{}:{}", folder.display(), folder.join("*").display());
        command.args(["-XX:TieredStopAtLevel=1", "-cp", &path, "Auth"]);
        workers.push(("java", command));
    }
    workers
}

/// A worker that goes away when nobody holds its standard input any more.
struct Worker {
    language: &'static str,
    /// The id of its key.
    key: String,
    child: Child,
    input: Option<ChildStdin>,
}

impl Worker {
    fn start(language: &'static str, mut command: Command, key: String) -> Self {
        let task = format!("{language}-step");
        command.env("TASK_TYPE", task).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let input = child.stdin.take();
        Self { language, key, child, input }
    }

    async fn end(mut self) {
        drop(self.input.take());
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "the worker in {} goes on", self.language);
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Of one that has ended already nothing is left to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a run of a workflow with one task for the workers in a language.
async fn begin(server: &Guarded, key: &str, language: &str) -> String {
    let run =
        server.send(Method::POST, &format!("/api/workflow/{language}"), key, &json!({})).await;
    run.as_str().expect("an id").to_owned()
}

async fn status(server: &Guarded, key: &str, run: &str) -> String {
    let path = format!("/api/workflow/{run}?includeTasks=false");
    let run = server.send(Method::GET, &path, key, &Value::Null).await;
    run["status"].as_str().unwrap_or_default().to_owned()
}

async fn until_completed(server: &Guarded, key: &str, language: &str, run: &str) {
    let begun = Instant::now();
    loop {
        match status(server, key, run).await.as_str() {
            "COMPLETED" => return,
            "RUNNING" => {}
            other => panic!("{language}: {run} is {other}"),
        }
        let log = || server.live.log_text();
        assert!(begun.elapsed() < PATIENCE, "the worker in {language} does not work: {}", log());
        tokio::time::sleep(LOOK).await;
    }
}

/// How many times workers were refused when they polled.
async fn refused(server: &Guarded, key: &str) -> f64 {
    let asked = server.live.http.get(server.live.url("/metrics")).bearer_auth(key);
    let text = asked.send().await.unwrap().text().await.unwrap();
    let is_refusal = |line: &&str| {
        let parts = ["nightbell_http_requests_total", "/api/tasks/poll/", "\"4xx\""];
        parts.iter().all(|part| line.contains(part))
    };
    let refusals = text.lines().filter(is_refusal);
    refusals.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Tokens live an hour, and workers for months: each SDK asks for another token when its own has ended.
/// When the key is revoked, they get nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn workers_outlive_their_tokens_and_end_with_their_keys() {
    let Some(library) = clock::library() else { return };
    let commands = workers();
    if commands.is_empty() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    clock::set(&offset, "+0");
    let server = Guarded::start_with(&[], &clock::variables(&library, &offset)).await;
    let (admin_id, admin) = server.key(&server.bootstrap(), "ann", &["admin"]).await;
    let given = json!({ "keyId": admin_id, "keySecret": admin });
    let token = server.live.post("/api/token", &given).await["token"].clone();
    let token = token.as_str().expect("a token");
    assert_eq!(server.ask("x-authorization", token, "/api/metadata/workflow").await.0, 200);

    let mut workers = Vec::new();
    for (language, command) in commands {
        let task = format!("{language}-step");
        let tasks = json!([{ "name": task, "taskReferenceName": "s", "type": "SIMPLE" }]);
        let flow = json!({ "name": language, "version": 1, "schemaVersion": 2, "tasks": tasks });
        server.send(Method::POST, "/api/metadata/workflow", &admin, &flow).await;
        let (id, key) = server.key(&admin, language, &["worker"]).await;
        let command = told(command, &server, (&id, &key));
        workers.push(Worker::start(language, command, id));
    }
    for worker in &workers {
        let run = begin(&server, &admin, worker.language).await;
        until_completed(&server, &admin, worker.language, &run).await;
    }

    let before = refused(&server, &admin).await;
    clock::set(&offset, "+61m");
    clock::until_told(&server.live, "the clock was set forward").await;
    let (code, answer) = server.ask("x-authorization", token, "/api/metadata/workflow").await;
    assert_eq!((code, &answer["error"]), (401, &json!("EXPIRED_TOKEN")));
    // So is each of the workers, which poll several times a second.
    let begun = Instant::now();
    while refused(&server, &admin).await < before + workers.len() as f64 {
        assert!(begun.elapsed() < PATIENCE, "a worker's token lives on");
        tokio::time::sleep(LOOK).await;
    }
    for worker in &workers {
        let run = begin(&server, &admin, worker.language).await;
        until_completed(&server, &admin, worker.language, &run).await;
    }

    for worker in workers {
        let path = format!("/api/access/keys/{}", worker.key);
        let before = refused(&server, &admin).await;
        server.send(Method::DELETE, &path, &admin, &Value::Null).await;
        // It is refused when it next asks, though its token would live on.
        let begun = Instant::now();
        while refused(&server, &admin).await <= before {
            assert!(begun.elapsed() < PATIENCE, "nothing of {} was refused", worker.language);
            tokio::time::sleep(LOOK).await;
        }
        let run = begin(&server, &admin, worker.language).await;
        let before = refused(&server, &admin).await;
        let patience = Instant::now();
        // An SDK may give up for good; one that goes on is refused again.
        while refused(&server, &admin).await <= before
            && patience.elapsed() < Duration::from_secs(2)
        {
            assert_eq!(status(&server, &admin, &run).await, "RUNNING", "{}", worker.language);
            tokio::time::sleep(LOOK).await;
        }
        assert_eq!(status(&server, &admin, &run).await, "RUNNING", "{}", worker.language);
        worker.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_reads_metrics_with_a_key() {
    let Some(program) = find("/usr/bin/prometheus", "prometheus") else { return };
    let server = Guarded::start().await;
    let (_, key) = server.key(&server.bootstrap(), "prometheus", &["metrics"]).await;
    let targets = json!([{ "targets": [format!("127.0.0.1:{}", server.live.port())] }]);
    let jobs = json!([
        { "job_name": "bearer", "static_configs": targets,
            "authorization": { "type": "Bearer", "credentials": key } },
        { "job_name": "basic", "static_configs": targets,
            "basic_auth": { "username": "any", "password": key } },
        { "job_name": "nothing", "static_configs": targets },
    ]);
    let prometheus = Prometheus::start(program, server.live.http.clone(), &jobs).await;
    let read = |found: &Value| {
        let targets = found["activeTargets"].as_array()?;
        let of = |job: &str| targets.iter().find(|it| it["labels"]["job"] == job);
        let (bearer, basic, nothing) = (of("bearer")?, of("basic")?, of("nothing")?);
        let all = [bearer, basic, nothing];
        if all.iter().any(|it| it["health"] == "unknown") {
            return None;
        }
        assert_eq!([&bearer["health"], &basic["health"]], ["up", "up"], "{found:#}");
        let why = nothing["lastError"].as_str().unwrap_or_default();
        assert!(nothing["health"] == "down" && why.contains("401"), "{nothing:#}");
        Some(())
    };
    prometheus.until("/api/v1/targets", &[], read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_curl_takes_a_key_in_each_place() {
    let Some(program) = find("/usr/bin/curl", "curl") else { return };
    let server = Guarded::start().await;
    let (_, key) = server.key(&server.bootstrap(), "viewer", &["viewer"]).await;
    let url = server.live.url("/api/metadata/workflow");
    let status = async |option: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]).args(option).arg(&url);
        let ran = tokio::task::spawn_blocking(move || command.output());
        let output = ran.await.expect("the thread ends").expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (bearer, own) = (format!("Authorization: Bearer {key}"), format!("X-Authorization: {key}"));
    let password = format!("any:{key}");
    for option in [["-H", &*bearer], ["-H", &own], ["-u", &password], ["--oauth2-bearer", &key]] {
        assert_eq!(status(&option).await, "200", "{}", option[0]);
    }
    for option in [&["-u", "any:wrong"][..], &["-H", "X-Authorization: nb_wrong"], &[]] {
        assert_eq!(status(option).await, "401", "{option:?}");
    }
}
