//! Thousands of alerts that fire and are sent again each minute, as Prometheus does: what that costs.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use super::figures::Samples;
use super::house::{self, Folder};
use super::server::Server;
use crate::wire::Wire;

/// Alerts, unless the variable `NIGHTBELL_BENCH_ALERTS` says otherwise.
const COUNT: usize = 10_000;
/// Alerts in one request of Prometheus.
const BATCH: usize = 64;
/// Between two times that an alert is sent.
const AGAIN: Duration = Duration::from_mins(1);
/// How often they are sent again while it is measured: a lease is prolonged each second or third time.
const ROUNDS: usize = 4;
/// Until when an alert holds, from when it is sent.
const LEASE_SECONDS: i64 = 240;
const KEY: &str = "k-bench-0123456789abcdef";

/// Lets alerts fire, and sends them again and again.
pub(super) async fn fire(samples: &mut Samples) -> anyhow::Result<()> {
    let count = std::env::var("NIGHTBELL_BENCH_ALERTS").ok();
    let count = count.map_or(Ok(COUNT), |count| count.parse())?;
    let folder = Folder::make()?;
    let file = folder.0.join("monitors.yaml");
    std::fs::write(
        &file,
        format!(
            "receivers:\n  nobody: {{ ntfy: {{ url: \"http://127.0.0.1:9\", topic: t }} }}\n\
             routes:\n  - {{ to: nobody, group_by: [alertname], wait: 1h }}\n\
             monitors:\n  prom: {{ alerts: {{ key: {KEY} }} }}\n"
        ),
    )?;
    let server =
        Server::start_with(&folder, &["--load", file.to_str().unwrap_or_default()]).await?;
    let mut wire = Wire::open(&server.address).await?;
    wait_for(&mut wire).await?;

    let (cpu, begun) = (server.cpu_seconds(), Instant::now());
    send(&mut wire, count, &mut Vec::new()).await?;
    samples.take_of("alerts", "first", begun.elapsed().as_secs_f64() * 1000.0);
    samples.take_of("alerts", "first_cpu", (server.cpu_seconds() - cpu) * 1e6 / count as f64);

    let (cpu, written, begun) = (server.cpu_seconds(), server.written_mib(), Instant::now());
    let mut took = Vec::new();
    for round in 1..=ROUNDS {
        send(&mut wire, count, &mut took).await?;
        let next = AGAIN * u32::try_from(round)?;
        tokio::time::sleep(next.saturating_sub(begun.elapsed())).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let (cpu, written) = (server.cpu_seconds() - cpu, server.written_mib() - written);
    took.sort_by(f64::total_cmp);
    let (memory, _) = server.memory_mib();
    ensure!(firing(&mut wire).await? == count, "some alerts do not fire");
    server.stop()?;
    for (name, value) in [
        ("cpu_share", cpu / seconds * 100.0),
        ("written", written / seconds * 3600.0 / 1024.0),
        ("mib", memory),
        ("p50", house::percentile(&took, 0.5)),
        ("p99", house::percentile(&took, 0.99)),
    ] {
        samples.take_of("alerts", name, value);
    }
    Ok(())
}

/// Waits until the monitor is there.
async fn wait_for(wire: &mut Wire) -> anyhow::Result<()> {
    let begun = Instant::now();
    while wire.get("/api/monitors/prom").await?.0 != 200 {
        ensure!(begun.elapsed() < Duration::from_mins(1), "the monitor is not there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Sends all alerts once; how long each request took, in milliseconds.
async fn send(wire: &mut Wire, count: usize, took: &mut Vec<f64>) -> anyhow::Result<()> {
    let path = format!("/inbound/{KEY}/api/v2/alerts");
    let until = jiff::Timestamp::now().as_second() + LEASE_SECONDS;
    let until = jiff::Timestamp::from_second(until)?.to_string();
    for first in (0..count).step_by(BATCH) {
        let batch = first..(first + BATCH).min(count);
        let alerts: Value = batch.map(|number| alert(number, &until)).collect();
        let begun = Instant::now();
        let (status, said) = wire.post(&path, alerts.to_string().as_bytes()).await?;
        ensure!(status == 200, "{path}: {status}: {}", String::from_utf8_lossy(&said));
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(())
}

/// One alert: a rule over many instances, with a text that changes with its value.
fn alert(number: usize, until: &str) -> Value {
    let value = jiff::Timestamp::now().as_millisecond() % 100;
    json!({
        "labels": {
            "alertname": format!("Rule{}", number % 20), "instance": format!("host-{number}:9100"),
            "job": "node", "severity": "warning", "cluster": "eu-1", "namespace": "shop",
        },
        "annotations": {
            "summary": format!("host-{number} is at {value} %"),
            "runbook_url": "https://runbooks.example.com/rule",
        },
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": until,
        "generatorURL": "http://prometheus:9090/graph?g0.expr=up&g0.tab=1",
    })
}

/// How many alerts fire.
async fn firing(wire: &mut Wire) -> anyhow::Result<usize> {
    let (status, body) = wire.get("/api/monitors/prom").await?;
    ensure!(status == 200, "the monitor: {status}");
    let shown: Value = serde_json::from_slice(&body)?;
    let count = shown["openIncidentCount"].as_u64().and_then(|it| usize::try_from(it).ok());
    Ok(count.unwrap_or_default())
}
