//! Workflows of three steps that a remote worker does over HTTP: batch polls, one report per task.
//!
//! The number of a workflow travels in its payload, so that its end is known without asking the
//! server and without matching ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kernel::ExecutionId;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::disk::{self, History};
use super::figures::Samples;
use super::house::{self, Folder};
use super::payload;
use super::server::Server;
use crate::wire::Wire;

/// Workflows in flight under load.
const IN_FLIGHT: usize = 64;
/// Workflows one after the other, for the idle latency.
const IDLE: usize = 200;
/// Connections that start workflows.
const STARTERS: usize = 8;
/// Connections that report.
const REPORTERS: usize = 16;
/// How long the next workflow may be in ending.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `count` workflows under load whose input and steps carry `body` bytes each, after some one
/// by one.
pub(super) async fn three_steps(
    part: &str,
    count: usize,
    body: usize,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let folder = Folder::make()?;
    let server = Server::start(&folder).await?;
    let idle_mib = server.memory_mib().0;
    if part == "remote" {
        samples.take("cold.empty", server.cold_start_ms);
        samples.take_of(part, "idle_mib", idle_mib);
    }
    register(&server.address).await?;
    let mut fleet = Fleet::start(&server.address, IDLE, body);
    let mut wire = Wire::open(&server.address).await?;
    let mut idle = Vec::with_capacity(IDLE);
    for number in 0..IDLE {
        fleet.book.start(&mut wire, number).await?;
        idle.push(fleet.next_end().await?);
    }
    fleet.stop().await?;
    drop(wire);
    disk::tidied(&folder.store()).await?;
    server.stop()?;
    let bytes = disk::used_bytes(&folder.store())?;

    let server = Server::start(&folder).await?;
    let fleet = Fleet::start(&server.address, count, body);
    let (cpu, own) = (server.cpu_seconds(), house::cpu_seconds("self"));
    let begun = Instant::now();
    let (mut took, fleet) = load(fleet, &server.address, count).await?;
    let per_second = count as f64 / begun.elapsed().as_secs_f64();
    let (busy, own) = (server.cpu_seconds() - cpu, house::cpu_seconds("self") - own);
    let peak_mib = server.memory_mib().1;
    fleet.stop().await?;
    let id = any_id(&server).await?;
    server.stop()?;
    let fresh = disk::used_bytes(&folder.store())?;
    let server = Server::start(&folder).await?;
    let cpu = server.cpu_seconds();
    disk::tidied(&folder.store()).await?;
    let tidying = server.cpu_seconds() - cpu;
    server.stop()?;
    let tidy = disk::used_bytes(&folder.store())?;

    idle.sort_by(f64::total_cmp);
    took.sort_by(f64::total_cmp);
    let each = |sum: f64| sum / count as f64;
    for (name, value) in [
        ("rate", per_second),
        ("p50", house::percentile(&took, 0.5)),
        ("p99", house::percentile(&took, 0.99)),
        ("idle_p50", house::percentile(&idle, 0.5)),
        ("idle_p99", house::percentile(&idle, 0.99)),
        ("cpu", each(busy * 1000.0)),
        ("client_cpu", each(own * 1000.0)),
        ("tidy_cpu", each(tidying * 1000.0)),
        ("peak_mib", peak_mib),
        ("fresh_bytes", each(fresh - bytes)),
        ("bytes", each(tidy - bytes) - 4.0 * body as f64),
    ] {
        samples.take_of(part, name, value);
    }
    let store = store::Sqlite::open(folder.store(), &store::Options::default())?;
    let history = History::of(&*store, &id).await?;
    engine::store::Store::close(&*store).await?;
    history.weigh(part, per_second, samples)
}

/// Runs `count` workflows under load on a server at this address: how many per second.
pub(super) async fn rate(address: &str, count: usize) -> anyhow::Result<f64> {
    register(address).await?;
    let fleet = Fleet::start(address, count, 11);
    let begun = Instant::now();
    let (_, fleet) = load(fleet, address, count).await?;
    let per_second = count as f64 / begun.elapsed().as_secs_f64();
    fleet.stop().await?;
    Ok(per_second)
}

async fn register(address: &str) -> anyhow::Result<()> {
    let task = |reference: &str, from: &str| {
        json!({ "name": "bench_step", "taskReferenceName": reference, "type": "SIMPLE",
                "inputParameters": { "data": from } })
    };
    let definition = json!({ "name": "bench", "version": 1, "schemaVersion": 2, "tasks": [
        task("a", "${workflow.input.data}"), task("b", "${a.output.data}"),
        task("c", "${b.output.data}"),
    ], "outputParameters": { "done": true } });
    let tasks = json!([{ "name": "bench_step", "retryCount": 0, "responseTimeoutSeconds": 60,
        "timeoutSeconds": 600, "ownerEmail": "bench@example.com" }]);
    let mut wire = Wire::open(address).await?;
    for (path, body) in
        [("/api/metadata/taskdefs", tasks), ("/api/metadata/workflow?overwrite=true", definition)]
    {
        let (status, said) = wire.post(path, body.to_string().as_bytes()).await?;
        anyhow::ensure!(status < 300, "{path}: {status}: {}", String::from_utf8_lossy(&said));
    }
    Ok(())
}

/// An execution that the server knows.
async fn any_id(server: &Server) -> anyhow::Result<ExecutionId> {
    #[derive(Deserialize)]
    struct Found {
        results: Vec<Summary>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Summary {
        workflow_id: String,
    }
    let mut wire = Wire::open(&server.address).await?;
    let (status, body) = wire.get("/api/workflow/search?start=0&size=1").await?;
    anyhow::ensure!(status == 200, "search: {status}");
    let found: Found = serde_json::from_slice(&body)?;
    let first = found.results.into_iter().next();
    Ok(ExecutionId::new(first.map(|found| found.workflow_id).unwrap_or_default()))
}

/// Starts many at a time; how many milliseconds each took.
async fn load(mut fleet: Fleet, address: &str, count: usize) -> anyhow::Result<(Vec<f64>, Fleet)> {
    let next = Arc::new(AtomicUsize::new(0));
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut starters = Vec::new();
    for _ in 0..STARTERS {
        let (next, room) = (next.clone(), room.clone());
        let (mut wire, book) = (Wire::open(address).await?, fleet.book.clone());
        starters.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(());
                }
                room.acquire().await?.forget();
                book.start(&mut wire, number).await?;
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
    Ok((took, fleet))
}

/// When each workflow was begun.
#[derive(Clone)]
struct Book {
    zero: Instant,
    begun: Arc<[AtomicU64]>,
    body: usize,
}

impl Book {
    async fn start(&self, wire: &mut Wire, number: usize) -> anyhow::Result<()> {
        let data = payload::text(number, 0, self.body);
        let body = json!({ "name": "bench", "version": 1, "input": { "data": data } });
        let body = body.to_string();
        let now = self.zero.elapsed().as_nanos() as u64;
        self.begun[number].store(now, Ordering::Release);
        let (status, said) = wire.post("/api/workflow", body.as_bytes()).await?;
        anyhow::ensure!(status == 200, "start: {status}: {}", String::from_utf8_lossy(&said));
        Ok(())
    }

    /// How many milliseconds ago.
    fn since(&self, number: usize) -> f64 {
        let now = self.zero.elapsed().as_nanos() as u64;
        (now - self.begun[number].load(Ordering::Acquire)) as f64 / 1e6
    }
}

/// What the worker needs of a task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Polled {
    task_id: String,
    workflow_instance_id: String,
    reference_task_name: String,
    input_data: Data,
}

#[derive(Deserialize)]
struct Data {
    data: String,
}

/// The worker: one connection polls, several report.
struct Fleet {
    book: Book,
    stop: Arc<AtomicBool>,
    ended: mpsc::UnboundedReceiver<f64>,
    handles: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Fleet {
    fn start(address: &str, count: usize, body: usize) -> Self {
        let begun = (0..count).map(|_| AtomicU64::new(0)).collect();
        let book = Book { zero: Instant::now(), begun, body };
        let stop = Arc::new(AtomicBool::new(false));
        let (done, ended) = mpsc::unbounded_channel();
        let (tasks, taken) = mpsc::channel(4096);
        let taken = Arc::new(Mutex::new(taken));
        let mut handles = vec![tokio::spawn(poll(address.to_owned(), tasks, stop.clone()))];
        for _ in 0..REPORTERS {
            let work = report(address.to_owned(), taken.clone(), book.clone(), done.clone());
            handles.push(tokio::spawn(work));
        }
        Self { book, stop, ended, handles }
    }

    /// Waits for the next end: how many milliseconds that workflow took.
    async fn next_end(&mut self) -> anyhow::Result<f64> {
        match tokio::time::timeout(PATIENCE, self.ended.recv()).await {
            Ok(Some(millis)) => Ok(millis),
            _ => anyhow::bail!("a workflow does not end"),
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Release);
        for handle in self.handles {
            handle.await??;
        }
        Ok(())
    }
}

async fn poll(
    address: String,
    tasks: mpsc::Sender<Polled>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let mut wire = Wire::open(&address).await?;
    let path = "/api/tasks/poll/batch/bench_step?count=64&timeout=500&workerid=bench";
    while !stop.load(Ordering::Acquire) {
        let (status, body) = wire.get(path).await?;
        let polled: Vec<Polled> = match status {
            200 => serde_json::from_slice(&body)?,
            204 => Vec::new(),
            _ => anyhow::bail!("poll: {status}: {}", String::from_utf8_lossy(&body)),
        };
        for task in polled {
            tasks.send(task).await?;
        }
    }
    Ok(())
}

async fn report(
    address: String,
    taken: Arc<Mutex<mpsc::Receiver<Polled>>>,
    book: Book,
    done: mpsc::UnboundedSender<f64>,
) -> anyhow::Result<()> {
    let mut wire = Wire::open(&address).await?;
    loop {
        let Some(task) = taken.lock().await.recv().await else { return Ok(()) };
        let number = payload::number(&task.input_data.data).unwrap_or_default();
        let step = usize::from(*task.reference_task_name.as_bytes().last().unwrap_or(&0));
        let body = json!({ "taskId": task.task_id, "status": "COMPLETED",
            "workflowInstanceId": task.workflow_instance_id,
            "outputData": { "data": payload::text(number, step, book.body) } });
        let (status, said) = wire.post("/api/tasks", body.to_string().as_bytes()).await?;
        anyhow::ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&said));
        if task.reference_task_name == "c" {
            // Nobody listens any more once everything is measured.
            let _ = done.send(book.since(number));
        }
    }
}
