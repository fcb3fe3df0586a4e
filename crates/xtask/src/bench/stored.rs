//! A store that holds a hundred thousand ended workflows, or as many as are asked for: how soon a
//! server on it answers, and how soon it finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use engine::Engine;
use kernel::graph::Input;
use serde::Deserialize;
use serde_json::json;

use super::disk;
use super::figures::Samples;
use super::house::{self, Folder};
use super::inprocess::{self, Steps};
use super::server::Server;
use crate::wire::Wire;

/// Workflows stored, unless others are asked for.
pub(super) const COUNT: usize = 100_000;
/// Started at the same time.
const LANES: usize = 64;
/// Every so many ends as failed.
const FAILED_EACH: usize = 100;
/// Definitions among which the others are spread.
const NAMES: usize = 10;
/// Workflows with the same word in their input.
const WITH_A_WORD: usize = 20;
/// Rows of a page.
const PAGE: u64 = 20;
/// Where the page begins that lies far behind the first; not behind the middle of a small store.
const DEEP: usize = 100_000;
/// Searches of each kind per round.
const SEARCHES: usize = 100;

/// The store, and what must be known to ask about it.
pub(super) struct Filled {
    folder: Folder,
    /// Workflows in it.
    count: usize,
    /// When one half was stored, in milliseconds since 1970.
    half_at: i64,
}

/// Fills a store in process, and leaves it tidy.
pub(super) async fn fill(count: usize, samples: &mut Samples) -> anyhow::Result<Filled> {
    let folder = Folder::make()?;
    let engine = house::engine(&folder).await?;
    let mut definitions = (0..NAMES)
        .map(|name| inprocess::definition(&format!("orders-{name}"), Steps::Inline))
        .collect::<Vec<_>>();
    definitions.push(json!({ "name": "refused", "version": 1, "tasks": [{
        "name": "end", "taskReferenceName": "end", "type": "TERMINATE",
        "inputParameters": { "terminationStatus": "FAILED", "terminationReason": "refused" },
    }] }));
    let definitions = definitions.into_iter().map(serde_json::from_value).collect::<Result<_, _>>();
    engine.definitions().put_workflows(definitions?).await?;
    let begun = Instant::now();
    start_from_to(&engine, 0, count / 2).await?;
    let half_at = jiff::Timestamp::now().as_millisecond();
    start_from_to(&engine, count / 2, count).await?;
    samples.take("stored.fill", count as f64 / begun.elapsed().as_secs_f64());
    disk::tidied(&folder.store()).await?;
    engine.close().await?;
    samples.take("stored.mib", disk::used_bytes(&folder.store())? / 1_048_576.0);
    Ok(Filled { folder, count, half_at })
}

async fn start_from_to(engine: &Engine, from: usize, to: usize) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(from));
    let mut lanes = Vec::new();
    for _ in 0..LANES {
        let (engine, next) = (engine.clone(), next.clone());
        lanes.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= to {
                    return anyhow::Ok(());
                }
                let name = if number.is_multiple_of(FAILED_EACH) {
                    "refused".to_owned()
                } else {
                    format!("orders-{}", number % NAMES)
                };
                let customer = format!("c{}", number / WITH_A_WORD);
                let input = json!({ "n": number, "customer": customer });
                let mut start = house::start(&engine, &name, &input);
                start.correlation_id = Some(format!("order-{number}").into());
                // INLINE and TERMINATE settle at once: it has ended when this returns.
                engine.step(&Engine::new_id(), Input::Start(start)).await?;
            }
        }));
    }
    for lane in lanes {
        lane.await??;
    }
    Ok(())
}

/// Starts the binary on the store and searches.
pub(super) async fn ask(filled: &Filled, samples: &mut Samples) -> anyhow::Result<()> {
    let server = Server::start(&filled.folder).await?;
    samples.take("cold.stored", server.cold_start_ms);
    let mut wire = Wire::open(&server.address).await?;
    let (count, half_at) = (filled.count, filled.half_at);
    // Numbers far apart, so that no page of the file is asked for twice in a row.
    let spread = |at: usize| at * 7919 % count;
    let named = |at: usize| {
        let name = at % NAMES;
        format!(
            "query=workflowType%20%3D%20%27orders-{name}%27%20AND%20startTime%20%3E%20{half_at}"
        )
    };
    let correlated = |at: usize| format!("query=correlationId%20%3D%20%27order-{}%27", spread(at));
    let text = |at: usize| format!("freeText=c{}", spread(at) / WITH_A_WORD);
    let status = |status: &'static str| move |_| format!("query=status%20%3D%20%27{status}%27");
    let deep = |_| format!("start={}&freeText=*", DEEP.min(count / 2));
    let failed = count / FAILED_EACH;
    // Of these not all are counted.
    let counted = (PAGE + engine::search::COUNTED_MAX) as usize;
    let least = (count / NAMES / 2).saturating_sub(failed + LANES).min(counted);
    let most = (count / NAMES / 2 + LANES).min(counted);
    time("search.failed", failed..=failed, status("FAILED"), &mut wire, samples).await?;
    let completed = count - failed..=count - failed;
    time("search.completed", completed, status("COMPLETED"), &mut wire, samples).await?;
    time("search.none", 0..=0, status("TERMINATED"), &mut wire, samples).await?;
    time("search.named", least..=most, named, &mut wire, samples).await?;
    time("search.correlation", 1..=1, correlated, &mut wire, samples).await?;
    time("search.text", WITH_A_WORD..=WITH_A_WORD, text, &mut wire, samples).await?;
    time("search.all", count..=count, |_| "freeText=*".to_owned(), &mut wire, samples).await?;
    time("search.deep", count..=count, deep, &mut wire, samples).await?;
    for (kind, path) in [("stored.health", "/health"), ("stored.metrics", "/metrics")] {
        let mut took = Vec::with_capacity(SEARCHES);
        for _ in 0..SEARCHES {
            let begun = Instant::now();
            let (status, _) = wire.get(path).await?;
            took.push(begun.elapsed().as_secs_f64() * 1000.0);
            anyhow::ensure!(status == 200, "{path}: {status}");
        }
        took.sort_by(f64::total_cmp);
        samples.take(kind, house::percentile(&took, 0.5));
    }
    samples.take("stored.rss", server.memory_mib().0);
    server.stop()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    total_hits: usize,
}

/// Times searches of one kind, each of which must find as many as `expected`.
async fn time(
    kind: &str,
    expected: std::ops::RangeInclusive<usize>,
    question: impl Fn(usize) -> String,
    wire: &mut Wire,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let mut took = Vec::with_capacity(SEARCHES);
    for at in 0..SEARCHES {
        let path = format!("/api/workflow/search?size={PAGE}&{}", question(at));
        let begun = Instant::now();
        let (status, body) = wire.get(&path).await?;
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
        anyhow::ensure!(status == 200, "{path}: {status}: {}", String::from_utf8_lossy(&body));
        let found = serde_json::from_slice::<Found>(&body)?.total_hits;
        anyhow::ensure!(expected.contains(&found), "{path}: {found} found, not {expected:?}");
    }
    took.sort_by(f64::total_cmp);
    samples.take_of(kind, "p50", house::percentile(&took, 0.5));
    samples.take_of(kind, "p99", house::percentile(&took, 0.99));
    Ok(())
}
