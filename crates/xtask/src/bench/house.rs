//! What a measurement needs: a runtime, an engine in a fresh folder, the process's own costs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use engine::{Engine, Handoff, Options, Outcome, OutcomeStatus, Parts, SystemClock, TaskRunner};
use kernel::graph::{Input, Start, Status};
use kernel::{ExecutionId, Form, Json, ScriptError, Scripts};
use serde_json::Value;
use tasks::javascript::JavaScript;
use tasks::jq::Jq;
use tokio_util::sync::CancellationToken;

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// The real script engines.
struct Engines(JavaScript, Jq);

impl Scripts for Engines {
    fn javascript(&self, source: &str, form: Form, input: &Json) -> Result<Json, ScriptError> {
        self.0.run(source, form, input)
    }
    fn jq(&self, program: &str, input: &Json) -> Result<Vec<Json>, ScriptError> {
        self.1.run(program, input)
    }
    fn check_javascript(&self, source: &str, form: Form) -> Result<(), ScriptError> {
        self.0.check(source, form)
    }
    fn check_jq(&self, program: &str) -> Result<(), ScriptError> {
        self.1.check(program)
    }
}

/// A built-in task that answers its input.
struct Echo;

#[async_trait]
impl TaskRunner for Echo {
    fn task_type(&self) -> &'static str {
        "ECHO"
    }
    async fn run(&self, task: Handoff, _: CancellationToken) -> Outcome {
        Outcome { status: OutcomeStatus::Completed, output: task.input, reason: None }
    }
}

struct NoValues;

impl engine::Values for NoValues {
    fn secret(&self, _: &str) -> Option<String> {
        None
    }
    fn environment(&self, _: &str) -> Option<String> {
        None
    }
}

/// A folder that goes away after use, unless it is to be kept.
pub(super) struct Folder(pub(super) PathBuf, bool);

impl Folder {
    pub(super) fn make() -> anyhow::Result<Self> {
        let at = jiff::Timestamp::now().as_nanosecond();
        let path = std::env::temp_dir().join(format!("nightbell-bench-{at}"));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path, false))
    }

    /// One that stays.
    pub(super) fn keep(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)?;
        Ok(Self(path.canonicalize()?, true))
    }

    /// One with a copy of the store in another, which no process has open.
    pub(super) fn copy(of: &Self) -> anyhow::Result<Self> {
        let copy = Self::make()?;
        std::fs::copy(of.store(), copy.store())?;
        // A server that had the store has sealed it with a key.
        let key = |folder: &Self| folder.0.join("bench.db.key");
        if key(of).exists() {
            std::fs::copy(key(of), key(&copy))?;
        }
        Ok(copy)
    }

    /// The file of the store in it.
    pub(super) fn store(&self) -> PathBuf {
        self.0.join("bench.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.1 {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// An engine over SQLite with full durability.
pub(super) async fn engine(folder: &Folder) -> anyhow::Result<Engine> {
    let store = store::Sqlite::open(folder.store(), &store::Options::default())?;
    let engine = Engine::open(Parts {
        store,
        clock: Arc::new(SystemClock),
        scripts: Arc::new(Engines(
            JavaScript::new(tasks::javascript::Limits::default()),
            Jq::new(tasks::jq::Limits::default()),
        )),
        runners: vec![Arc::new(Echo)],
        values: Arc::new(NoValues),
        describe: |_| Json::null(),
        options: Options::default(),
    })
    .await?;
    Ok(engine)
}

/// What starts the latest version of a workflow.
pub(super) fn start(engine: &Engine, name: &str, input: &Value) -> Box<Start> {
    Box::new(Start {
        plan: engine.definitions().plan(name, None).expect("it is registered"),
        input: input.into(),
        correlation_id: None,
        priority: 0,
        task_to_domain: None,
        parent: None,
        asked_by: None,
        event: None,
        created_by: None,
        acts_as: None,
        idempotency_key: None,
        traceparent: None,
    })
}

/// Runs one workflow until it is completed and says how many milliseconds it took.
pub(super) async fn complete(engine: &Engine, name: &str, input: &Value) -> anyhow::Result<f64> {
    complete_as(engine, &Engine::new_id(), start(engine, name, input)).await
}

/// The same under a given id.
pub(super) async fn complete_as(
    engine: &Engine,
    id: &ExecutionId,
    start: Box<Start>,
) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut changes = engine.watch(id);
    engine.step(id, Input::Start(start)).await?;
    let seen = changes.wait_for(|seen| seen.status.is_closed()).await?.status;
    anyhow::ensure!(seen == Status::Completed, "a workflow ended as {seen:?}");
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

/// Seconds of processor time that a process has used, to a hundredth.
pub(super) fn cpu_seconds(process: &str) -> f64 {
    let ticks = cpu_ticks(process);
    (ticks[0] + ticks[1]) / 100.0
}

/// The same of this process and of its children that have ended.
pub(super) fn cpu_seconds_with_children() -> f64 {
    cpu_ticks("self").iter().sum::<f64>() / 100.0
}

/// User and system time, then those of ended children.
fn cpu_ticks(process: &str) -> [f64; 4] {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    [ticks(11), ticks(12), ticks(13), ticks(14)]
}

/// The value below which a share of the sorted values lies.
pub(super) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let index = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Takes one of what is left, if there is any.
pub(super) fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
}
