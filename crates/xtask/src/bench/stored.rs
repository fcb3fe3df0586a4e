//! A store that holds a hundred thousand ended workflows, or as many as are asked for: how soon a
//! server on it answers, how soon it finds, and how it starts others meanwhile.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use engine::Engine;
use kernel::graph::Input;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::disk;
use super::figures::Samples;
use super::house::{self, Folder};
use super::inprocess::{self, Steps};
use super::server::Server;
use super::starts;
use crate::say;
use crate::wire::Wire;

/// Workflows stored, unless others are asked for.
pub(super) const COUNT: usize = 100_000;
/// Started at the same time.
const LANES: usize = 64;
/// Every so many ends as failed.
const FAILED_EACH: usize = 100;
/// Definitions among which the others are spread.
pub(super) const NAMES: usize = 10;
/// Workflows with the same word in their input.
const WITH_A_WORD: usize = 20;
/// Rows of a page.
const PAGE: u64 = 20;
/// Where the page begins that lies far behind the first; not behind the middle of a small store.
const DEEP: usize = 100_000;
/// Searches of each kind per round.
const SEARCHES: usize = 100;
/// Searches of a kind that are slow are fewer, so that these take no longer.
const SEARCHING: Duration = Duration::from_secs(3);
/// Workflows of a name that few have, evenly among the others.
const RARE: usize = 20;
/// Workflows of a name that only the oldest have.
const BYGONE: usize = 2_000;
/// The newest workflows, whose tasks are searched.
const RECENT: usize = 2_000;
/// Where a filled store that is kept says what must be known about it.
const FACTS: &str = "filled.json";

/// What is asked for of this part.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// Workflows to store; [`COUNT`] unless others are asked for.
    pub(super) count: Option<usize>,
    /// Where the filled store is kept, and taken from if it is there already.
    pub(super) kept: Option<PathBuf>,
}

impl Wish {
    /// Reads what stands behind `stored:`, a number and perhaps a folder: `1000000:/var/tmp/filled`.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let (count, kept) = match text.split_once(':') {
            Some((count, folder)) => (count, Some(PathBuf::from(folder))),
            None => (text, None),
        };
        let count = count.parse().context("behind 'stored:' stands a number of workflows")?;
        anyhow::ensure!(count >= LEAST, "behind 'stored:' stands a number from {LEAST}");
        Ok(Self { count: Some(count), kept })
    }
}

/// With fewer workflows the searches do not find what they expect.
const LEAST: usize = 20_000;

/// The store, and what must be known to ask about it.
pub(super) struct Filled {
    pub(super) folder: Folder,
    pub(super) facts: Facts,
}

/// What must be known about a filled store.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// Workflows in it.
    pub(super) count: usize,
    /// When one half was stored, in milliseconds since 1970.
    half_at: i64,
    /// When all but [`RECENT`] were stored.
    recent_at: i64,
}

/// Fills a store in process and leaves it tidy, or takes the one that is kept.
pub(super) async fn fill(wish: &Wish, samples: &mut Samples) -> anyhow::Result<Filled> {
    let count = wish.count.unwrap_or(COUNT);
    let filled = match &wish.kept {
        Some(kept) if kept.join(FACTS).exists() => {
            let facts: Facts = serde_json::from_slice(&std::fs::read(kept.join(FACTS))?)?;
            let folder = kept.display();
            anyhow::ensure!(facts.count == count, "{folder} holds {} workflows", facts.count);
            Filled { folder: Folder::keep(kept)?, facts }
        }
        kept => {
            let folder = kept.as_deref().map_or_else(Folder::make, Folder::keep)?;
            anyhow::ensure!(!folder.store().exists(), "{} is half filled", folder.0.display());
            let facts = fill_in_process(count, &folder, samples).await?;
            std::fs::write(folder.0.join(FACTS), serde_json::to_vec(&facts)?)?;
            Filled { folder, facts }
        }
    };
    samples.take("stored.mib", disk::used_bytes(&filled.folder.store())? / 1_048_576.0);
    Ok(filled)
}

/// A store that has the same definitions and no workflows.
pub(super) async fn empty() -> anyhow::Result<Folder> {
    let folder = Folder::make()?;
    let engine = house::engine(&folder).await?;
    define(&engine).await?;
    engine.close().await?;
    Ok(folder)
}

async fn define(engine: &Engine) -> anyhow::Result<()> {
    let mut definitions = (0..NAMES)
        .map(|name| format!("orders-{name}"))
        .chain(["rare".to_owned(), "bygone".to_owned()])
        .map(|name| inprocess::definition(&name, Steps::Inline))
        .collect::<Vec<_>>();
    definitions.push(json!({ "name": "refused", "version": 1, "tasks": [{
        "name": "end", "taskReferenceName": "end", "type": "TERMINATE",
        "inputParameters": { "terminationStatus": "FAILED", "terminationReason": "refused" },
    }] }));
    let definitions = definitions.into_iter().map(serde_json::from_value).collect::<Result<_, _>>();
    engine.definitions().put_workflows(definitions?).await?;
    Ok(())
}

async fn fill_in_process(
    count: usize,
    folder: &Folder,
    samples: &mut Samples,
) -> anyhow::Result<Facts> {
    let engine = house::engine(folder).await?;
    define(&engine).await?;
    let now = || jiff::Timestamp::now().as_millisecond();
    let begun = Instant::now();
    start_from_to(&engine, 0..count / 2, count).await?;
    let half_at = now();
    start_from_to(&engine, count / 2..count - RECENT, count).await?;
    let recent_at = now();
    start_from_to(&engine, count - RECENT..count, count).await?;
    samples.take("stored.fill", count as f64 / begun.elapsed().as_secs_f64());
    disk::tidied_all(&folder.store(), count).await?;
    engine.close().await?;
    Ok(Facts { count, half_at, recent_at })
}

/// The definition of the workflow of a number, among `count`.
fn name_of(number: usize, count: usize) -> String {
    if number < BYGONE {
        "bygone".to_owned()
    } else if number.is_multiple_of(FAILED_EACH) {
        "refused".to_owned()
    } else if number % (count / RARE) == count / RARE - 1 {
        "rare".to_owned()
    } else {
        format!("orders-{}", number % NAMES)
    }
}

async fn start_from_to(
    engine: &Engine,
    numbers: std::ops::Range<usize>,
    count: usize,
) -> anyhow::Result<()> {
    let std::ops::Range { start: from, end: to } = numbers;
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
                let name = name_of(number, count);
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

/// Starts the binary on the store, searches, and starts workflows.
pub(super) async fn ask(filled: &Filled, samples: &mut Samples) -> anyhow::Result<()> {
    // Nothing is removed while it is searched.
    let server = Server::start_with(&filled.folder, &KEEP_ALL).await?;
    samples.take("cold.stored", server.cold_start_ms);
    let mut asker = Asker { wire: Wire::open(&server.address).await?, server: &server, samples };
    search(&mut asker, filled.facts).await?;
    search_tasks(&mut asker, filled.facts).await?;
    for (kind, path) in [("stored.health", "/health"), ("stored.metrics", "/metrics")] {
        asker.time(kind, |_| path.to_owned(), |_| Ok(())).await?;
    }
    samples.take("stored.rss", server.memory_mib().0);
    server.stop()?;
    starts::compare(filled, samples).await
}

/// Keeps the server from removing anything.
pub(super) const KEEP_ALL: [&str; 2] = ["--retention-count", "off"];

/// Searches workflows in every way that has a figure.
async fn search(asker: &mut Asker<'_>, facts: Facts) -> anyhow::Result<()> {
    let Facts { count, half_at, .. } = facts;
    // Numbers far apart, so that no page of the file is asked for twice in a row.
    let spread = |at: usize| at * 7919 % count;
    let named = |at: usize| {
        let name = at % NAMES;
        format!(
            "query=workflowType%20%3D%20%27orders-{name}%27%20AND%20startTime%20%3E%20{half_at}"
        )
    };
    let typed = |name: &'static str| move |_| format!("query=workflowType%20%3D%20%27{name}%27");
    let correlated = |at: usize| format!("query=correlationId%20%3D%20%27order-{}%27", spread(at));
    let text = |at: usize| format!("freeText=c{}", spread(at) / WITH_A_WORD);
    let status = |status: &'static str| move |_| format!("query=status%20%3D%20%27{status}%27");
    let deep = |_| format!("start={}&freeText=*", DEEP.min(count / 2));
    let failed = (BYGONE..count).filter(|number| number.is_multiple_of(FAILED_EACH)).count();
    let rare = (0..count).filter(|number| name_of(*number, count) == "rare").count();
    // Of these not all are counted.
    let counted = (PAGE + engine::search::COUNTED_MAX) as usize;
    let least = (count / NAMES / 2).saturating_sub(failed + LANES + RARE).min(counted);
    let most = (count / NAMES / 2 + LANES).min(counted);
    let common = count / NAMES - failed - BYGONE - RARE..=count / NAMES;
    let completed = count - failed..=count - failed;
    asker.find("search.all", count..=count, |_| "freeText=*".to_owned()).await?;
    asker.find("search.failed", failed..=failed, status("FAILED")).await?;
    asker.find("search.completed", completed, status("COMPLETED")).await?;
    asker.find("search.none", 0..=0, status("TERMINATED")).await?;
    asker.find("search.typed", common, typed("orders-3")).await?;
    asker.find("search.rare", rare..=rare, typed("rare")).await?;
    asker.find("search.bygone", BYGONE..=BYGONE, typed("bygone")).await?;
    asker.find("search.named", least..=most, named).await?;
    asker.find("search.correlation", 1..=1, correlated).await?;
    asker.find("search.text", WITH_A_WORD..=WITH_A_WORD, text).await?;
    asker.find("search.deep", count..=count, deep).await
}

/// Searches tasks: of the newest workflows, and of all, which a server may refuse.
async fn search_tasks(asker: &mut Asker<'_>, facts: Facts) -> anyhow::Result<()> {
    let recent = format!("startTime%20%3E%20{}", facts.recent_at);
    let tasks = |query: String| move |_| format!("/api/tasks/search?size={PAGE}&query={query}");
    asker.time("tasks.recent", tasks(recent), full_page).await?;
    let all = "taskType%20%3D%20%27INLINE%27".to_owned();
    let (status, _) = asker.wire.get(&tasks(all.clone())(0)).await?;
    if status == 400 {
        say("a search for tasks of all workflows is refused");
        return Ok(());
    }
    asker.time("tasks.all", tasks(all), full_page).await
}

fn full_page(body: &[u8]) -> anyhow::Result<()> {
    let found: Found = serde_json::from_slice(body)?;
    let shown = found.results.len();
    anyhow::ensure!(shown as u64 == PAGE, "{shown} rows on the page, not {PAGE}");
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    total_hits: usize,
    results: Vec<serde_json::Value>,
}

/// Asks one server over one connection.
struct Asker<'a> {
    server: &'a Server,
    wire: Wire,
    samples: &'a mut Samples,
}

impl Asker<'_> {
    /// Times searches of one kind, each of which must find as many as `expected`.
    async fn find(
        &mut self,
        kind: &str,
        expected: RangeInclusive<usize>,
        question: impl Fn(usize) -> String,
    ) -> anyhow::Result<()> {
        let path = |at| format!("/api/workflow/search?size={PAGE}&{}", question(at));
        let check = |body: &[u8]| {
            let found = serde_json::from_slice::<Found>(body)?.total_hits;
            anyhow::ensure!(expected.contains(&found), "{found} found, not {expected:?}");
            Ok(())
        };
        self.time(kind, path, check).await
    }

    /// Times requests of one kind, and the server's processor time for each.
    async fn time(
        &mut self,
        kind: &str,
        path: impl Fn(usize) -> String,
        check: impl Fn(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (begun, cpu) = (Instant::now(), self.server.cpu_seconds());
        let mut took = Vec::with_capacity(SEARCHES);
        while took.len() < SEARCHES && (took.len() < 5 || begun.elapsed() < SEARCHING) {
            let path = path(took.len());
            let asked = Instant::now();
            let (status, body) = self.wire.get(&path).await?;
            took.push(asked.elapsed().as_secs_f64() * 1000.0);
            anyhow::ensure!(status == 200, "{path}: {status}: {}", String::from_utf8_lossy(&body));
            check(&body).with_context(|| path)?;
        }
        let cpu = (self.server.cpu_seconds() - cpu) * 1000.0 / took.len() as f64;
        took.sort_by(f64::total_cmp);
        self.samples.take_of(kind, "p50", house::percentile(&took, 0.5));
        self.samples.take_of(kind, "p99", house::percentile(&took, 0.99));
        self.samples.take_of(kind, "cpu", cpu);
        Ok(())
    }
}
