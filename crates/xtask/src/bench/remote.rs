//! Workflows of three steps that a remote worker does over HTTP: batch polls, one report per task.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use super::house::{self, Folder};
use super::server::Server;
use super::wire::Wire;

/// What a measurement gave.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) idle_p50_ms: f64,
    pub(super) idle_p99_ms: f64,
    pub(super) cpu_ms: f64,
    pub(super) bytes: f64,
    pub(super) idle_mib: f64,
    pub(super) peak_mib: f64,
    pub(super) cold_start_ms: f64,
}

/// Workflows in flight under load.
const IN_FLIGHT: usize = 64;
/// Workflows one after the other, for the idle latency.
const IDLE: usize = 200;
/// Connections that report.
const REPORTERS: usize = 16;

/// What the worker needs of a task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Polled {
    task_id: String,
    workflow_instance_id: String,
    reference_task_name: String,
}

type Waiting = Arc<Mutex<BTreeMap<String, Instant>>>;

/// Runs `count` workflows whose steps carry `body` bytes each.
pub(super) async fn three_steps(count: usize, body: usize) -> anyhow::Result<Measured> {
    let folder = Folder::make()?;
    let server = Server::start(&folder).await?;
    let mut measured =
        Measured { cold_start_ms: server.cold_start_ms, ..Measured::default() };
    let mut wire = Wire::open(&server.address).await?;
    register(&mut wire).await?;
    measured.idle_mib = server.memory_mib().0;

    let payload = "x".repeat(body);
    let waiting = Waiting::default();
    let (done, mut ended) = mpsc::unbounded_channel::<f64>();
    let stop = Arc::new(AtomicBool::new(false));
    let workers = start_workers(&server, &waiting, &done, &stop, &payload);

    let mut idle = Vec::new();
    for _ in 0..IDLE {
        start(&mut wire, &waiting, &payload).await?;
        idle.push(ended.recv().await.unwrap_or(f64::NAN));
    }
    idle.sort_by(f64::total_cmp);

    let (bytes, cpu, begun) = (folder.bytes(), server.cpu_seconds(), Instant::now());
    let left = Arc::new(AtomicUsize::new(count));
    let room = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
    let mut starters = Vec::new();
    for _ in 0..8 {
        let (address, left, room) = (server.address.clone(), left.clone(), room.clone());
        let (waiting, payload) = (waiting.clone(), payload.clone());
        starters.push(tokio::spawn(async move {
            let mut wire = Wire::open(&address).await?;
            while take_one(&left) {
                room.acquire().await?.forget();
                start(&mut wire, &waiting, &payload).await?;
            }
            anyhow::Ok(())
        }));
    }
    let mut took = Vec::with_capacity(count);
    while took.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(60), ended.recv()).await?;
        took.push(next.unwrap_or(f64::NAN));
        room.add_permits(1);
    }
    let seconds = begun.elapsed().as_secs_f64();
    measured.cpu_ms = (server.cpu_seconds() - cpu) * 1000.0 / count as f64;
    measured.peak_mib = server.memory_mib().1;
    for starter in starters {
        starter.await??;
    }
    stop.store(true, Ordering::Release);
    for worker in workers {
        worker.await??;
    }
    server.stop()?;
    took.sort_by(f64::total_cmp);
    measured.per_second = count as f64 / seconds;
    measured.p50_ms = house::percentile(&took, 0.5);
    measured.p99_ms = house::percentile(&took, 0.99);
    measured.idle_p50_ms = house::percentile(&idle, 0.5);
    measured.idle_p99_ms = house::percentile(&idle, 0.99);
    measured.bytes = (folder.bytes() as f64 - bytes as f64) / count as f64;
    Ok(measured)
}

fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
}

async fn register(wire: &mut Wire) -> anyhow::Result<()> {
    let task = |reference: &str, from: &str| {
        json!({ "name": "bench_step", "taskReferenceName": reference, "type": "SIMPLE",
                "inputParameters": { "data": from } })
    };
    let definition = json!({ "name": "bench", "version": 1, "schemaVersion": 2, "tasks": [
        task("a", "${workflow.input.data}"), task("b", "${a.output.data}"),
        task("c", "${b.output.data}"),
    ], "outputParameters": { "data": "${c.output.data}" } });
    let tasks = json!([{ "name": "bench_step", "retryCount": 0, "responseTimeoutSeconds": 60 }]);
    for (path, body) in
        [("/api/metadata/taskdefs", tasks), ("/api/metadata/workflow", definition)]
    {
        let (status, said) = wire.post(path, body.to_string().as_bytes()).await?;
        anyhow::ensure!(status < 300, "{path}: {status}: {}", String::from_utf8_lossy(&said));
    }
    Ok(())
}

async fn start(wire: &mut Wire, waiting: &Waiting, payload: &str) -> anyhow::Result<()> {
    let body = json!({ "name": "bench", "version": 1, "input": { "data": payload } });
    let begun = Instant::now();
    // Held until the id is known, so that a quick end finds its begin.
    let mut waiting = waiting.lock().await;
    let (status, id) = wire.post("/api/workflow", body.to_string().as_bytes()).await?;
    anyhow::ensure!(status == 200, "start: {status}");
    waiting.insert(String::from_utf8(id)?, begun);
    Ok(())
}

/// One connection polls; several report.
fn start_workers(
    server: &Server,
    waiting: &Waiting,
    done: &mpsc::UnboundedSender<f64>,
    stop: &Arc<AtomicBool>,
    payload: &str,
) -> Vec<tokio::task::JoinHandle<anyhow::Result<()>>> {
    let (tasks, taken) = mpsc::channel::<Polled>(4096);
    let taken = Arc::new(Mutex::new(taken));
    let mut handles = Vec::new();
    let (address, stop) = (server.address.clone(), stop.clone());
    handles.push(tokio::spawn(async move {
        let mut wire = Wire::open(&address).await?;
        let path = "/api/tasks/poll/batch/bench_step?count=64&timeout=500&workerid=bench";
        while !stop.load(Ordering::Acquire) {
            let (_, body) = wire.get(path).await?;
            let polled: Vec<Polled> = serde_json::from_slice(&body)?;
            for task in polled {
                tasks.send(task).await?;
            }
        }
        anyhow::Ok(())
    }));
    for _ in 0..REPORTERS {
        let (address, taken, waiting) = (server.address.clone(), taken.clone(), waiting.clone());
        let (done, payload) = (done.clone(), Value::from(payload));
        handles.push(tokio::spawn(async move {
            let mut wire = Wire::open(&address).await?;
            loop {
                let Some(task) = taken.lock().await.recv().await else { return anyhow::Ok(()) };
                let body = json!({ "taskId": task.task_id, "status": "COMPLETED",
                    "workflowInstanceId": task.workflow_instance_id,
                    "outputData": { "data": payload } });
                let (status, said) =
                    wire.post("/api/tasks", body.to_string().as_bytes()).await?;
                anyhow::ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&said));
                if task.reference_task_name == "c" {
                    let begun = waiting.lock().await.remove(&task.workflow_instance_id);
                    let took = begun.map_or(f64::NAN, |begun| begun.elapsed().as_secs_f64());
                    // Nobody listens any more once everything is measured.
                    let _ = done.send(took * 1000.0);
                }
            }
        }));
    }
    handles
}
