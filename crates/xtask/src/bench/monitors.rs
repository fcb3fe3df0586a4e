//! Thousands of monitors at a short interval: what they cost, and how late their checks start.
//!
//! Each monitor asks a small web server of ours. Its request arrives so long after the instant for
//! which the check was planned, as the server itself names it: that is how late the check started,
//! the way through the engine, the queue and the network included.
//!
//! Before anything is measured, every monitor has checked so often that as many old checks are
//! forgotten as new ones are made: what the disk grows by then is what stays.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::disk;
use super::figures::Samples;
use super::house::{self, Folder};
use super::server::Server;
use crate::wire::Wire;

/// Monitors, unless the variable `NIGHTBELL_BENCH_MONITORS` says otherwise.
const COUNT: usize = 2000;
/// Between two checks of one monitor.
const INTERVAL_SECONDS: u64 = 10;
/// How long it is measured, in whole intervals.
const MEASURED: Duration = Duration::from_secs(6 * INTERVAL_SECONDS);
/// Checks by hand of each monitor before, so that old ones are forgotten at the rate of new ones.
const WARMING: usize = kernel::alert::CHECKS_KEPT + 2;
/// Connections that ask for these.
const LANES: usize = 8;
/// How long a monitor may take to be free for one more check.
const PATIENCE: Duration = Duration::from_mins(1);

/// A request that arrived: from which monitor, and when, in milliseconds since 1970.
type Arrival = (usize, f64);

/// Runs the monitors for a while.
pub(super) async fn watch(samples: &mut Samples) -> anyhow::Result<()> {
    let count = std::env::var("NIGHTBELL_BENCH_MONITORS").ok();
    let count = count.map_or(Ok(COUNT), |count| count.parse())?;
    let (arrivals, mut arrived) = mpsc::unbounded_channel();
    let watched = serve(arrivals).await?;
    let folder = Folder::make()?;
    let file = folder.0.join("monitors.yaml");
    std::fs::write(&file, yaml(&watched, count))?;
    let load = ["--load", file.to_str().unwrap_or_default()];

    let server = Server::start_with(&folder, &load).await?;
    warm_up(&server, count).await?;
    disk::settled(&folder.store(), PATIENCE).await?;
    server.stop()?;
    let bytes = disk::used_bytes(&folder.store())?;

    let server = Server::start_with(&folder, &load).await?;
    // Past what was missed while it was away, and past what a start costs.
    tokio::time::sleep(Duration::from_secs(INTERVAL_SECONDS)).await;
    let planned = planned(&server).await?;
    anyhow::ensure!(planned.len() == count, "{} of {count} monitors are planned", planned.len());
    while arrived.try_recv().is_ok() {}
    let (cpu, written, begun) = (server.cpu_seconds(), server.written_mib(), Instant::now());
    tokio::time::sleep(MEASURED).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (cpu, written) = (server.cpu_seconds() - cpu, server.written_mib() - written);
    let (memory, _) = server.memory_mib();
    let late = lateness(&mut arrived, &planned);
    server.stop()?;
    let grown = disk::used_bytes(&folder.store())? - bytes;

    let checks = late.len() as f64;
    let expected = seconds / INTERVAL_SECONDS as f64 * count as f64;
    let hours = (seconds + INTERVAL_SECONDS as f64) / 3600.0;
    for (name, value) in [
        ("rate", checks / seconds),
        ("made", checks / expected * 100.0),
        ("cpu_share", cpu / seconds * 100.0),
        ("cpu", cpu * 1000.0 / checks),
        ("mib", memory),
        ("grown", grown / hours / 1_048_576.0),
        ("written", written / seconds * 3600.0 / 1024.0),
        ("kept", bytes / 1_048_576.0),
        ("p50", house::percentile(&late, 0.5)),
        ("p99", house::percentile(&late, 0.99)),
        ("max", house::percentile(&late, 1.0)),
    ] {
        samples.take_of("monitors", name, value);
    }
    Ok(())
}

fn yaml(watched: &str, count: usize) -> String {
    let mut text = "receivers:\n  nobody: { ntfy: { url: \"http://127.0.0.1:9\", topic: t } }\n\
                    routes:\n  - { to: nobody }\nmonitors:\n"
        .to_owned();
    for number in 0..count {
        writeln!(
            text,
            "  m{number}: {{ http: \"http://{watched}/{number}\", every: {INTERVAL_SECONDS}s, \
             fail_after: 3 }}"
        )
        .expect("a text takes all");
    }
    text
}

/// A web server that is always well, and tells when it was asked.
async fn serve(arrivals: mpsc::UnboundedSender<Arrival>) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let arrivals = arrivals.clone();
            // A connection that breaks is one that the server has closed.
            tokio::spawn(async move { drop(answer(stream, arrivals).await) });
        }
    });
    Ok(address)
}

async fn answer(
    mut stream: TcpStream,
    arrivals: mpsc::UnboundedSender<Arrival>,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(2048);
    loop {
        while !buffer.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&buffer);
        let path = head.split(' ').nth(1).unwrap_or_default();
        if let Ok(number) = path.trim_start_matches('/').parse() {
            let now = jiff::Timestamp::now().as_microsecond() as f64 / 1000.0;
            // Between two measurements nobody listens.
            let _ = arrivals.send((number, now));
        }
        buffer.clear();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
    }
}

/// Every monitor checks so often that it forgets as many checks as it makes.
async fn warm_up(server: &Server, count: usize) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut lanes = Vec::new();
    for _ in 0..LANES {
        let (next, mut wire) = (next.clone(), Wire::open(&server.address).await?);
        lanes.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count * WARMING {
                    return anyhow::Ok(());
                }
                let path = format!("/api/monitors/m{}/check", number % count);
                let begun = Instant::now();
                loop {
                    let (status, said) = wire.post(&path, b"{}").await?;
                    // One that is loaded a moment later, or whose last check is running.
                    let wait = matches!(status, 404 | 409) && begun.elapsed() < PATIENCE;
                    if !wait {
                        let said = String::from_utf8_lossy(&said);
                        anyhow::ensure!(status < 300, "{path}: {status}: {said}");
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }));
    }
    for lane in lanes {
        lane.await??;
    }
    Ok(())
}

/// When each monitor is to check next, in milliseconds since 1970.
async fn planned(server: &Server) -> anyhow::Result<HashMap<usize, i64>> {
    #[derive(Deserialize)]
    struct Page {
        results: Vec<Monitor>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Monitor {
        name: String,
        next_check_at: Option<i64>,
    }
    let (mut found, mut start) = (HashMap::new(), 0);
    let mut wire = Wire::open(&server.address).await?;
    loop {
        let (status, body) = wire.get(&format!("/api/monitors?start={start}&size=200")).await?;
        anyhow::ensure!(status == 200, "monitors: {status}");
        let page: Page = serde_json::from_slice(&body)?;
        if page.results.is_empty() {
            return Ok(found);
        }
        start += page.results.len();
        for monitor in page.results {
            let number = monitor.name.strip_prefix('m').and_then(|number| number.parse().ok());
            found.extend(number.zip(monitor.next_check_at));
        }
    }
}

/// Milliseconds from the instant for which each check was planned to its request, in order.
fn lateness(
    arrived: &mut mpsc::UnboundedReceiver<Arrival>,
    planned: &HashMap<usize, i64>,
) -> Vec<f64> {
    let interval = INTERVAL_SECONDS as f64 * 1000.0;
    let mut late = Vec::new();
    while let Ok((number, at)) = arrived.try_recv() {
        if let Some(planned) = planned.get(&number) {
            late.push((at - *planned as f64).rem_euclid(interval));
        }
    }
    late.sort_by(f64::total_cmp);
    late
}
