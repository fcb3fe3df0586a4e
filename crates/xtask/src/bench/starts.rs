//! Synchronous executions over HTTP on an empty store, on a filled one, and while the oldest are
//! removed from it: what is stored must not slow down what runs.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;

use super::figures::Samples;
use super::house::{self, Folder};
use super::server::Server;
use super::stored::{self, Filled, KEEP_ALL};
use crate::say;
use crate::wire::Wire;

/// Connections, each with one execution at a time.
const LANES: usize = 32;
/// How long executions are started before anything is timed.
const WARM: Duration = Duration::from_secs(1);
/// How long they are timed.
const TIMED: Duration = Duration::from_secs(6);
/// Workflows too many in the store from which is removed: enough for the whole time. In a smaller
/// store than twice that it is not measured.
const SURPLUS: usize = 200_000;
/// How long the server may take until it begins to remove.
const PATIENCE: Duration = Duration::from_secs(50);

/// Measures the three one after the other. The filled store is copied, so it stays as it is.
pub(super) async fn compare(filled: &Filled, samples: &mut Samples) -> anyhow::Result<()> {
    let empty = stored::empty().await?;
    let server = Server::start_with(&empty, &KEEP_ALL).await?;
    let bar = load("starts_empty", &server, samples).await?.rate;
    server.stop()?;

    let copy = Folder::copy(&filled.folder)?;
    let server = Server::start_with(&copy, &KEEP_ALL).await?;
    let rate = load("starts_filled", &server, samples).await?.rate;
    samples.take("starts_filled.share", rate / bar * 100.0);
    server.stop()?;

    if filled.facts.count < 2 * SURPLUS {
        say(&format!("removal is measured with {} workflows and more", 2 * SURPLUS));
        return Ok(());
    }
    let kept = filled.facts.count - SURPLUS;
    let server = Server::start_with(&copy, &["--retention-count", &kept.to_string()]).await?;
    let before = begins_to_remove(&server).await?;
    let begun = Instant::now();
    let load = load("starts_removing", &server, samples).await?;
    let after = stored_at(&server).await?;
    anyhow::ensure!(after > kept + LANES, "all were removed before the time was over");
    let removed = (before + load.started).saturating_sub(after) as f64;
    samples.take("starts_removing.removed", removed / begun.elapsed().as_secs_f64());
    samples.take("starts_removing.share", load.rate / bar * 100.0);
    server.stop()
}

/// Waits until the server removes, and says how many workflows are left.
async fn begins_to_remove(server: &Server) -> anyhow::Result<usize> {
    let begun = Instant::now();
    let found = stored_at(server).await?;
    loop {
        let left = stored_at(server).await?;
        if left < found {
            return Ok(left);
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "the server does not begin to remove");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many workflows the server has.
async fn stored_at(server: &Server) -> anyhow::Result<usize> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Found {
        total_hits: usize,
    }
    let mut wire = Wire::open(&server.address).await?;
    let (status, body) = wire.get("/api/workflow/search?size=1").await?;
    anyhow::ensure!(status == 200, "search: {status}");
    Ok(serde_json::from_slice::<Found>(&body)?.total_hits)
}

/// What came of a load.
struct Load {
    /// Executions a second.
    rate: f64,
    /// Those before that was timed, too.
    started: usize,
}

/// Runs executions, of which the time is taken after a while.
async fn load(part: &str, server: &Server, samples: &mut Samples) -> anyhow::Result<Load> {
    let warm = lanes(server, WARM).await?.len();
    let (cpu, begun) = (server.cpu_seconds(), Instant::now());
    let mut took = lanes(server, TIMED).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = (server.cpu_seconds() - cpu) * 1000.0 / took.len() as f64;
    let load = Load { rate: took.len() as f64 / seconds, started: warm + took.len() };
    took.sort_by(f64::total_cmp);
    samples.take_of(part, "rate", load.rate);
    samples.take_of(part, "p50", house::percentile(&took, 0.5));
    samples.take_of(part, "p99", house::percentile(&took, 0.99));
    samples.take_of(part, "cpu", cpu);
    samples.take_of(part, "mib", server.memory_mib().1);
    Ok(load)
}

/// Runs executions on all lanes for a while and says how many milliseconds each took.
async fn lanes(server: &Server, time: Duration) -> anyhow::Result<Vec<f64>> {
    let until = Instant::now() + time;
    let mut lanes = Vec::new();
    for lane in 0..LANES {
        let address = server.address.clone();
        lanes.push(tokio::spawn(async move {
            let (mut wire, mut took) = (Wire::open(&address).await?, Vec::new());
            let path = format!("/api/workflow/execute/orders-{}", lane % stored::NAMES);
            while Instant::now() < until {
                let body = format!(r#"{{"n":{},"customer":"c{lane}"}}"#, took.len());
                let begun = Instant::now();
                let (status, said) = wire.post(&path, body.as_bytes()).await?;
                took.push(begun.elapsed().as_secs_f64() * 1000.0);
                let said = String::from_utf8_lossy(&said);
                anyhow::ensure!(status == 200, "{path}: {status}: {said}");
            }
            anyhow::Ok(took)
        }));
    }
    let mut took = Vec::new();
    for lane in lanes {
        took.append(&mut lane.await?.context("an execution")?);
    }
    Ok(took)
}
