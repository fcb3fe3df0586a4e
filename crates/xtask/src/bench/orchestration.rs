//! Orchestrations of three chained activities over gRPC: with a native worker, which is all but free,
//! and with the official Python worker, which is what people have; beside them the Python package's
//! own server, which keeps everything in memory, under the same Python worker.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use proto::history_event::EventType;
use proto::orchestrator_action::OrchestratorActionType;
use proto::task_hub_sidecar_service_client::TaskHubSidecarServiceClient;
use proto::{
    ActivityRequest, ActivityResponse, CompleteOrchestrationAction, CreateInstanceRequest,
    GetWorkItemsRequest, HistoryEvent, OrchestrationStatus, OrchestratorAction,
    OrchestratorRequest, OrchestratorResponse, ScheduleTaskAction, work_item,
};
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::figures::Samples;
use super::house::{self, Folder};
use super::server::Server;
use crate::root;

/// Activities in a chain.
const STEPS: i32 = 3;
/// Orchestrations in flight under load.
const IN_FLIGHT: usize = 64;
/// Orchestrations one after the other, for the idle latency.
const IDLE: usize = 200;
/// Orchestrations under load with a Python worker, which does a hundred a second or so.
const PYTHON_COUNT: usize = 600;
/// Connections that report.
const REPORTERS: usize = 4;
/// How long the next orchestration may be in ending.
const PATIENCE: Duration = Duration::from_secs(30);

type Client = TaskHubSidecarServiceClient<Channel>;

/// Runs `count` orchestrations under load with a native worker, after some one by one.
pub(super) async fn native(count: usize, samples: &mut Samples) -> anyhow::Result<()> {
    let folder = Folder::make()?;
    let server = Server::start(&folder).await?;
    let mut fleet = Fleet::start(&server.address, IDLE + count).await?;
    let mut idle = Vec::with_capacity(IDLE);
    for number in 0..IDLE {
        fleet.book.start(&mut fleet.starter.clone(), number).await?;
        idle.push(fleet.next_end().await?);
    }
    let (cpu, own) = (server.cpu_seconds(), house::cpu_seconds("self"));
    let begun = Instant::now();
    let mut took = load(&mut fleet, IDLE, count).await?;
    let per_second = count as f64 / begun.elapsed().as_secs_f64();
    let (busy, own) = (server.cpu_seconds() - cpu, house::cpu_seconds("self") - own);
    let peak_mib = server.memory_mib().1;
    drop(fleet);
    server.stop()?;
    idle.sort_by(f64::total_cmp);
    took.sort_by(f64::total_cmp);
    let each = |sum: f64| sum * 1000.0 / count as f64;
    for (name, value) in [
        ("rate", per_second),
        ("p50", house::percentile(&took, 0.5)),
        ("p99", house::percentile(&took, 0.99)),
        ("idle_p50", house::percentile(&idle, 0.5)),
        ("idle_p99", house::percentile(&idle, 0.99)),
        ("cpu", each(busy)),
        ("client_cpu", each(own)),
        ("peak_mib", peak_mib),
    ] {
        samples.take_of("durable", name, value);
    }
    Ok(())
}

/// Runs the same with the Python worker, against the binary and against the package's own server.
pub(super) async fn python(samples: &mut Samples) -> anyhow::Result<()> {
    let python = interpreter()?;
    let folder = Folder::make()?;
    let server = Server::start(&folder).await?;
    let figures = drive(&python, &server.address).await?;
    server.stop()?;
    figures.sample("durable_python", samples);

    let address = "127.0.0.1:50079";
    let memory = Memory::start(&python, address)?;
    let figures = drive(&python, address).await?;
    drop(memory);
    figures.sample("durable_memory", samples);
    Ok(())
}

/// What the Python driver tells.
#[derive(Deserialize)]
struct Notified {
    rate: f64,
    idle_p50: f64,
    idle_p99: f64,
}

impl Notified {
    fn sample(&self, part: &str, samples: &mut Samples) {
        samples.take_of(part, "rate", self.rate);
        samples.take_of(part, "idle_p50", self.idle_p50);
        samples.take_of(part, "idle_p99", self.idle_p99);
    }
}

async fn drive(python: &Path, address: &str) -> anyhow::Result<Notified> {
    let mut command = tokio::process::Command::new(python);
    command.arg(script()).arg("drive").arg(address);
    command.arg(PYTHON_COUNT.to_string()).arg(IDLE.to_string());
    let output = command.kill_on_drop(true).output().await?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "the Python worker failed: {complaints}");
    serde_json::from_slice(&output.stdout).context("the Python worker's figures")
}

/// The package's own server as a process.
struct Memory(Child);

impl Memory {
    fn start(python: &Path, address: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(python);
        command.arg(script()).arg("serve").arg(address).stdout(Stdio::null()).stdin(Stdio::null());
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // It never ends by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn script() -> PathBuf {
    root().join("crates/xtask/src/bench/orchestration.py")
}

/// A Python that has the package: the one of the tests.
fn interpreter() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("NIGHTBELL_TEST_PYTHON").map(PathBuf::from);
    let built = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let built = built.unwrap_or_else(|| root().join("target")).join("test-python/bin/python");
    let python = named.unwrap_or(built);
    let there = python.exists();
    anyhow::ensure!(there, "{} is not there; cargo xtask test installs it", python.display());
    Ok(python)
}

/// Starts many at a time; how many milliseconds each took.
async fn load(fleet: &mut Fleet, from: usize, count: usize) -> anyhow::Result<Vec<f64>> {
    let next = Arc::new(AtomicUsize::new(from));
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut starters = Vec::new();
    for _ in 0..8 {
        let (next, room, book) = (next.clone(), room.clone(), fleet.book.clone());
        let mut client = fleet.starter.clone();
        starters.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= from + count {
                    return anyhow::Ok(());
                }
                room.acquire().await?.forget();
                book.start(&mut client, number).await?;
            }
        }));
    }
    let mut took = Vec::with_capacity(count);
    while took.len() < count {
        took.push(fleet.next_end().await?);
        room.add_permits(1);
    }
    for starter in starters {
        starter.await??;
    }
    Ok(took)
}

/// When each orchestration was begun; its number is its id.
#[derive(Clone)]
struct Book {
    zero: Instant,
    begun: Arc<[AtomicU64]>,
}

impl Book {
    async fn start(&self, client: &mut Client, number: usize) -> anyhow::Result<()> {
        let now = self.zero.elapsed().as_nanos() as u64;
        self.begun[number].store(now, Ordering::Release);
        let request = CreateInstanceRequest {
            instance_id: number.to_string(),
            name: "chain".to_owned(),
            input: Some("\"hello world\"".to_owned()),
            ..CreateInstanceRequest::default()
        };
        client.start_instance(request).await?;
        Ok(())
    }

    /// How many milliseconds ago.
    fn since(&self, id: &str) -> f64 {
        let number: usize = id.parse().unwrap_or_default();
        let now = self.zero.elapsed().as_nanos() as u64;
        (now - self.begun[number].load(Ordering::Acquire)) as f64 / 1e6
    }
}

/// The worker: one connection takes work, several report.
struct Fleet {
    book: Book,
    starter: Client,
    ended: mpsc::UnboundedReceiver<f64>,
    work: JoinHandle<anyhow::Result<()>>,
}

impl Fleet {
    async fn start(address: &str, count: usize) -> anyhow::Result<Self> {
        let begun = (0..count).map(|_| AtomicU64::new(0)).collect();
        let book = Book { zero: Instant::now(), begun };
        let (done, ended) = mpsc::unbounded_channel();
        let mut reporters = Vec::new();
        for _ in 0..REPORTERS {
            reporters.push(connect(address).await?);
        }
        let worker = connect(address).await?;
        let work = tokio::spawn(take(worker, reporters, book.clone(), done));
        Ok(Self { book, starter: connect(address).await?, ended, work })
    }

    /// Waits for the next end: how many milliseconds that orchestration took.
    async fn next_end(&mut self) -> anyhow::Result<f64> {
        tokio::select! {
            biased;
            ended = tokio::time::timeout(PATIENCE, self.ended.recv()) => {
                ended.ok().flatten().context("an orchestration does not end")
            }
            failed = &mut self.work => {
                failed??;
                anyhow::bail!("the stream of work ended")
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn connect(address: &str) -> anyhow::Result<Client> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
    Ok(TaskHubSidecarServiceClient::new(endpoint.connect().await?))
}

async fn take(
    mut client: Client,
    reporters: Vec<Client>,
    book: Book,
    done: mpsc::UnboundedSender<f64>,
) -> anyhow::Result<()> {
    let mut items = client.get_work_items(GetWorkItemsRequest::default()).await?.into_inner();
    let mut taken = 0_usize;
    while let Some(item) = items.message().await? {
        taken += 1;
        let mut client = reporters[taken % REPORTERS].clone();
        let (book, done, token) = (book.clone(), done.clone(), item.completion_token);
        match item.request {
            Some(work_item::Request::OrchestratorRequest(request)) => {
                tokio::spawn(async move {
                    let id = request.instance_id.clone();
                    let (answer, is_end) = turn(request, token);
                    client.complete_orchestrator_task(answer).await?;
                    if is_end {
                        // Nobody listens any more once everything is measured.
                        let _ = done.send(book.since(&id));
                    }
                    anyhow::Ok(())
                });
            }
            Some(work_item::Request::ActivityRequest(request)) => {
                tokio::spawn(async move {
                    client.complete_activity_task(activity(request, token)).await
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Schedules the next activity of the chain, or ends it; whether it ended.
fn turn(request: OrchestratorRequest, token: String) -> (OrchestratorResponse, bool) {
    let is_result =
        |event: &&HistoryEvent| matches!(event.event_type, Some(EventType::TaskCompleted(_)));
    let mut events = request.past_events.iter().chain(&request.new_events);
    let last = events.rfind(is_result).and_then(|event| event.event_type.clone());
    let (done, result) = match last {
        Some(EventType::TaskCompleted(event)) => (event.task_scheduled_id, event.result),
        _ => (0, Some("\"hello world\"".to_owned())),
    };
    let kind = if done < STEPS {
        OrchestratorActionType::ScheduleTask(ScheduleTaskAction {
            name: "echo".to_owned(),
            input: result,
            ..ScheduleTaskAction::default()
        })
    } else {
        OrchestratorActionType::CompleteOrchestration(CompleteOrchestrationAction {
            orchestration_status: OrchestrationStatus::Completed.into(),
            result,
            ..CompleteOrchestrationAction::default()
        })
    };
    let action = OrchestratorAction { id: done + 1, orchestrator_action_type: Some(kind) };
    let response = OrchestratorResponse {
        instance_id: request.instance_id,
        actions: vec![action],
        completion_token: token,
        ..OrchestratorResponse::default()
    };
    (response, done >= STEPS)
}

fn activity(request: ActivityRequest, token: String) -> ActivityResponse {
    ActivityResponse {
        instance_id: request.orchestration_instance.unwrap_or_default().instance_id,
        task_id: request.task_id,
        result: request.input,
        completion_token: token,
        ..ActivityResponse::default()
    }
}
