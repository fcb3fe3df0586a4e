//! Workflows of three steps inside one process, no network: the engine and the store alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use engine::Engine;
use kernel::graph::{Input, Start, Status};
use serde_json::{Value, json};

use super::house::{self, Folder};

/// What the three steps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steps {
    /// INLINE: JavaScript at decision time; all three settle in one commit.
    Inline,
    /// A built-in task that is dispatched; every step is a commit of its own.
    Dispatched,
}

/// What a measurement gave.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "shown")]
pub(super) struct Measured {
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) idle_p50_ms: f64,
    pub(super) idle_p99_ms: f64,
    pub(super) cpu_ms: f64,
    pub(super) bytes: f64,
}

/// Workflows in flight under load.
const IN_FLIGHT: usize = 64;
/// Workflows one after the other, for the idle latency.
const IDLE: usize = 200;

pub(super) fn definition(steps: Steps) -> Value {
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
    json!({ "name": "three", "version": 1, "tasks": [
        step("a", "${workflow.input.n}"), step("b", "${a.output.result}"), step("c", "${b.output.result}"),
    ], "outputParameters": { "n": "${c.output.result}" } })
}

pub(super) async fn three_steps(steps: Steps, count: usize) -> anyhow::Result<Measured> {
    let folder = Folder::make()?;
    let engine = house::engine(&folder).await?;
    let definition = serde_json::from_value(definition(steps))?;
    engine.definitions().put_workflows(vec![definition]).await?;
    for _ in 0..20 {
        one(&engine).await?;
    }
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(one(&engine).await?);
    }
    idle.sort_by(f64::total_cmp);
    let (bytes, cpu, begun) = (folder.bytes(), house::cpu_seconds("self"), Instant::now());
    let left = Arc::new(AtomicUsize::new(count));
    let lanes = (0..IN_FLIGHT).map(|_| {
        let (engine, left) = (engine.clone(), left.clone());
        tokio::spawn(async move {
            let mut took = Vec::new();
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
            {
                took.push(one(&engine).await?);
            }
            anyhow::Ok(took)
        })
    });
    let mut took = Vec::new();
    for lane in lanes.collect::<Vec<_>>() {
        took.extend(lane.await??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = house::cpu_seconds("self") - cpu;
    engine.close().await?;
    took.sort_by(f64::total_cmp);
    Ok(Measured {
        per_second: count as f64 / seconds,
        p50_ms: house::percentile(&took, 0.5),
        p99_ms: house::percentile(&took, 0.99),
        idle_p50_ms: house::percentile(&idle, 0.5),
        idle_p99_ms: house::percentile(&idle, 0.99),
        cpu_ms: cpu * 1000.0 / count as f64,
        bytes: (folder.bytes() as f64 - bytes as f64) / count as f64,
    })
}

/// Runs one workflow to its end and says how many milliseconds it took.
async fn one(engine: &Engine) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let id = Engine::new_id();
    let mut changes = engine.watch(&id);
    let plan = engine.definitions().plan("three", None).expect("it is registered");
    let start = Start {
        plan,
        input: json!({ "n": 1 }).into(),
        correlation_id: None,
        priority: 0,
        task_to_domain: None,
        parent: None,
        asked_by: None,
        event: None,
        created_by: None,
        idempotency_key: None,
    };
    engine.step(&id, Input::Start(Box::new(start))).await?;
    let seen = changes.wait_for(|seen| seen.status.is_closed()).await?.status;
    anyhow::ensure!(seen == Status::Completed, "a workflow ended as {seen:?}");
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}
