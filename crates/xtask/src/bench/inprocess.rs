//! Workflows of three steps inside one process, no network: the engine and the store alone.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use engine::Engine;
use serde_json::{Value, json};

use super::disk::{self, History};
use super::figures::Samples;
use super::house::{self, Folder};

/// What the three steps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steps {
    /// INLINE: JavaScript at decision time; all three settle in one commit.
    Inline,
    /// A built-in task that is dispatched; every step is a commit of its own.
    Dispatched,
}

/// Workflows in flight under load.
const IN_FLIGHT: usize = 64;
/// Workflows one after the other, for the idle latency.
const IDLE: usize = 200;
/// Workflows before anything is timed.
const WARM: usize = 20;

/// A number goes in, and through every step.
pub(super) fn definition(name: &str, steps: Steps) -> Value {
    let step = |reference: &str, from: &str| match steps {
        Steps::Inline => json!({
            "name": reference, "taskReferenceName": reference, "type": "INLINE",
            "inputParameters": { "evaluatorType": "javascript", "n": from, "expression": "$.n + 1" },
        }),
        Steps::Dispatched => json!({
            "name": reference, "taskReferenceName": reference, "type": "ECHO",
            "inputParameters": { "result": from },
        }),
    };
    json!({ "name": name, "version": 1, "tasks": [
        step("a", "${workflow.input.n}"), step("b", "${a.output.result}"), step("c", "${b.output.result}"),
    ], "outputParameters": { "n": "${c.output.result}" } })
}

/// Bytes that the number takes in the input, three outputs and the workflow's output.
const PAYLOAD: f64 = 5.0 * 8.0;

/// Runs `count` workflows under load, after some one by one.
pub(super) async fn three_steps(
    part: &str,
    steps: Steps,
    count: usize,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let folder = Folder::make()?;
    idle(part, steps, &folder, samples).await?;
    let bytes = disk::used_bytes(&folder.store())?;

    let engine = house::engine(&folder).await?;
    let (cpu, begun) = (house::cpu_seconds("self"), Instant::now());
    let mut took = load(&engine, count).await?;
    let per_second = count as f64 / begun.elapsed().as_secs_f64();
    let busy = house::cpu_seconds("self") - cpu;
    engine.close().await?;
    let fresh = disk::used_bytes(&folder.store())?;
    let engine = house::engine(&folder).await?;
    let cpu = house::cpu_seconds("self");
    disk::tidied(&folder.store()).await?;
    let tidying = house::cpu_seconds("self") - cpu;
    let id = Engine::new_id();
    house::complete_as(&engine, &id, house::start(&engine, "three", &input())).await?;
    let history = History::of(&**engine.store(), &id).await?;
    engine.close().await?;
    let tidy = disk::used_bytes(&folder.store())?;

    took.sort_by(f64::total_cmp);
    let each = |sum: f64| sum / count as f64;
    for (name, value) in [
        ("rate", per_second),
        ("p50", house::percentile(&took, 0.5)),
        ("p99", house::percentile(&took, 0.99)),
        ("cpu", each(busy * 1000.0)),
        ("tidy_cpu", each(tidying * 1000.0)),
        ("fresh_bytes", each(fresh - bytes)),
        ("bytes", each(tidy - bytes) - PAYLOAD),
    ] {
        samples.take_of(part, name, value);
    }
    history.weigh(part, per_second, samples)
}

/// One after the other, in a new store, which is tidy afterwards.
async fn idle(
    part: &str,
    steps: Steps,
    folder: &Folder,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let engine = house::engine(folder).await?;
    let definition = serde_json::from_value(definition("three", steps))?;
    engine.definitions().put_workflows(vec![definition]).await?;
    for _ in 0..WARM {
        house::complete(&engine, "three", &input()).await?;
    }
    let mut took = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        took.push(house::complete(&engine, "three", &input()).await?);
    }
    disk::tidied(&folder.store()).await?;
    engine.close().await?;
    took.sort_by(f64::total_cmp);
    samples.take_of(part, "idle_p50", house::percentile(&took, 0.5));
    samples.take_of(part, "idle_p99", house::percentile(&took, 0.99));
    Ok(())
}

/// Many at a time; how many milliseconds each took.
async fn load(engine: &Engine, count: usize) -> anyhow::Result<Vec<f64>> {
    let left = Arc::new(AtomicUsize::new(count));
    let lanes = (0..IN_FLIGHT).map(|_| {
        let (engine, left) = (engine.clone(), left.clone());
        tokio::spawn(async move {
            let mut took = Vec::new();
            while house::take_one(&left) {
                took.push(house::complete(&engine, "three", &input()).await?);
            }
            anyhow::Ok(took)
        })
    });
    let mut took = Vec::with_capacity(count);
    for lane in lanes.collect::<Vec<_>>() {
        took.extend(lane.await??);
    }
    Ok(took)
}

fn input() -> Value {
    json!({ "n": 10_000_000 })
}
