//! A thousand WAITs a second: how long after its instant each is over, and on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel::graph::Input;
use serde_json::json;

use super::figures::Samples;
use super::house::{self, Folder};

/// WAITs, due a millisecond apart.
const COUNT: usize = 10_000;
/// Milliseconds for setting them all before the first is due.
const LEAD: i64 = 6_000;
/// Starts at the same time.
const LANES: usize = 64;

pub(super) async fn waits(samples: &mut Samples) -> anyhow::Result<()> {
    let folder = Folder::make()?;
    let engine = house::engine(&folder).await?;
    let definition = json!({ "name": "wait", "version": 1, "tasks": [{
        "name": "wait", "taskReferenceName": "wait", "type": "WAIT",
        "inputParameters": { "until": "${workflow.input.until}" },
    }] });
    engine.definitions().put_workflows(vec![serde_json::from_value(definition)?]).await?;
    let first = jiff::Timestamp::now().as_millisecond() + LEAD;
    let next = Arc::new(AtomicUsize::new(0));
    let mut lanes = Vec::new();
    for _ in 0..LANES {
        let (engine, next) = (engine.clone(), next.clone());
        lanes.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= COUNT {
                    return anyhow::Ok(seen);
                }
                let due = jiff::Timestamp::from_millisecond(first + number as i64)?;
                let id = engine::Engine::new_id();
                let mut changes = engine.watch(&id);
                let input = json!({ "until": due.to_string() });
                engine.step(&id, Input::Start(house::start(&engine, "wait", &input))).await?;
                seen.push(tokio::spawn(async move {
                    changes.wait_for(|seen| seen.status.is_closed()).await?;
                    let late = jiff::Timestamp::now().as_microsecond() - due.as_microsecond();
                    anyhow::Ok(late as f64 / 1000.0)
                }));
            }
        }));
    }
    let mut watched = Vec::with_capacity(COUNT);
    for lane in lanes {
        watched.extend(lane.await??);
    }
    let set = jiff::Timestamp::now().as_millisecond();
    anyhow::ensure!(set < first, "the machine was too slow to set the timers in time");
    let cpu = house::cpu_seconds("self");
    let mut late = Vec::with_capacity(COUNT);
    for one in watched {
        late.push(one.await??);
    }
    let cpu = house::cpu_seconds("self") - cpu;
    engine.close().await?;
    late.sort_by(f64::total_cmp);
    samples.take("timers.p50", house::percentile(&late, 0.5));
    samples.take("timers.p99", house::percentile(&late, 0.99));
    samples.take("timers.max", house::percentile(&late, 1.0));
    samples.take("timers.cpu", cpu * 1000.0 / COUNT as f64);
    Ok(())
}
