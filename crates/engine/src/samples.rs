//! Samples: what checks answered, kept before it is judged, so that definitions can be tried on it
//! (decision 0041).
//!
//! A check costs no write of its own: its sample waits in memory until there are some, or a minute
//! is over, and is added to the monitor's latest block by a write for which nobody waits. What a
//! crash loses is filled from the executions of checks that are kept anyway, as far as they reach.

mod block;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kernel::alert::{Monitor, Sample, Sampled, Window};
use kernel::graph::Status;
use kernel::{ExecutionId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::engine::{Engine, Error};
use crate::store::SampleBlock;
use block::Builder;

/// How long a sample may wait to be written.
const FLUSH: Duration = Duration::from_mins(1);
/// Samples of one monitor that are written at once, without waiting longer.
const TOGETHER: usize = 16;
/// Bytes of samples that wait, of all monitors, from which on all are written at once.
const WAITING_BYTES: usize = 8 << 20;
/// Bytes beyond which samples are dropped: the store is away.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Pause after a write that failed.
const AGAIN: Duration = Duration::from_secs(5);
/// Monitors whose samples are written in one go.
const BATCH: usize = 32;
/// How often what is not kept is removed.
pub(crate) const SWEEP: Duration = Duration::from_mins(10);
/// Blocks removed in one write …
const REMOVE: u64 = 256;
/// … and writes of one sweep.
const SWEEP_WRITES_MAX: usize = 40;
/// Blocks read in one go.
const READ: usize = 16;

/// How much is kept of what checks answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleOptions {
    /// None older than this; `None` = of any age.
    pub age_max: Option<Duration>,
    /// Compressed bytes of all monitors; the oldest go. `None` = any number.
    pub bytes_max: Option<u64>,
}

impl Default for SampleOptions {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self { age_max: Some(Duration::from_secs(30 * DAY)), bytes_max: Some(512 << 20) }
    }
}

/// Samples that are not written yet.
#[derive(Default)]
pub(crate) struct Samples {
    waiting: Mutex<Waiting>,
    /// Some are to be written without waiting longer.
    full: Notify,
    /// The first one waits.
    some: Notify,
    /// Held while some are written, so that no monitor's are written by two.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    of: BTreeMap<Arc<str>, Vec<Sample>>,
    bytes: usize,
    dropped: u64,
}

/// Samples of a stretch of time.
#[derive(Clone, Debug, Default)]
pub struct SamplePage {
    /// In the order of their checks.
    pub samples: Vec<Sample>,
    /// There are more, later ones.
    pub more: bool,
}

fn size(sample: &Sample) -> usize {
    const REST: usize = 200;
    REST + match &sample.outcome {
        Sampled::Output(output) => output.len(),
        Sampled::Unknown(reason) => reason.len(),
        Sampled::TooLong(_) => 0,
    }
}

impl Samples {
    /// Takes a sample that is to be written before long.
    fn add(&self, monitor: &str, sample: Sample) {
        let mut waiting = self.waiting.lock();
        let bytes = size(&sample);
        if waiting.bytes + bytes > WAITING_BYTES_MAX {
            waiting.dropped += 1;
            return;
        }
        let first = waiting.of.is_empty();
        waiting.bytes += bytes;
        let all = waiting.bytes;
        let of = match waiting.of.get_mut(monitor) {
            Some(of) => of,
            None => waiting.of.entry(monitor.into()).or_default(),
        };
        of.push(sample);
        if of.len() >= TOGETHER || all >= WAITING_BYTES {
            self.full.notify_one();
        }
        if first {
            self.some.notify_one();
        }
    }

    /// Takes those of some monitors out: of all that have enough of them, or of any.
    fn take(&self, any: bool) -> Vec<(Arc<str>, Vec<Sample>)> {
        let mut waiting = self.waiting.lock();
        let any = any || waiting.bytes >= WAITING_BYTES;
        let ripe = waiting.of.iter().filter(|(_, of)| any || of.len() >= TOGETHER);
        let names: Vec<Arc<str>> = ripe.map(|(name, _)| name.clone()).take(BATCH).collect();
        let mut taken = Vec::with_capacity(names.len());
        for name in names {
            let of = waiting.of.remove(&name).unwrap_or_default();
            waiting.bytes -= of.iter().map(size).sum::<usize>();
            taken.push((name, of));
        }
        taken
    }

    /// Puts back what could not be written, before what has come since.
    fn put_back(&self, taken: Vec<(Arc<str>, Vec<Sample>)>) {
        let mut waiting = self.waiting.lock();
        for (name, mut of) in taken {
            let bytes = of.iter().map(size).sum::<usize>();
            if waiting.bytes + bytes > WAITING_BYTES_MAX {
                waiting.dropped += of.len() as u64;
                continue;
            }
            waiting.bytes += bytes;
            let later = waiting.of.entry(name).or_default();
            of.append(later);
            *later = of;
        }
    }

    fn forget(&self, monitor: &str) {
        let mut waiting = self.waiting.lock();
        if let Some(of) = waiting.of.remove(monitor) {
            waiting.bytes -= of.iter().map(size).sum::<usize>();
        }
    }
}

impl Engine {
    /// Takes what checks of a monitor answered, once that is committed.
    pub(crate) fn keep_samples(&self, id: &ExecutionId, samples: Vec<Sample>) {
        if self.inner.options.samples.is_some() {
            for sample in samples {
                self.inner.samples.add(id.name(), sample);
            }
        }
    }

    /// Writes samples: those of a monitor once there are some, all others each minute.
    pub(crate) fn run_sampler(&self) {
        if self.inner.options.samples.is_none() {
            return;
        }
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let stop = &engine.inner.stop;
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = engine.inner.samples.some.notified() => {}
                }
                // Those that come meanwhile go with it; what is full goes at once.
                let minute = tokio::time::sleep(FLUSH);
                tokio::pin!(minute);
                loop {
                    let all = tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        () = &mut minute => true,
                        () = engine.inner.samples.full.notified() => false,
                    };
                    if let Err(error) = engine.write_samples(all).await {
                        tracing::warn!(%error, "samples of checks could not be written");
                        tokio::select! {
                            biased;
                            () = stop.cancelled() => return,
                            () = tokio::time::sleep(AGAIN) => {}
                        }
                        engine.inner.samples.some.notify_one();
                        break;
                    }
                    if all {
                        break;
                    }
                }
            }
        });
    }

    /// Removes samples beyond what is kept, from time to time.
    pub(crate) fn run_sample_sweeper(&self) {
        // Where nothing is kept, what was kept before goes.
        let nothing = SampleOptions { age_max: None, bytes_max: Some(0) };
        let options = self.inner.options.samples.unwrap_or(nothing);
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = engine.inner.stop.cancelled() => return,
                    () = tokio::time::sleep(SWEEP) => {}
                }
                if let Err(error) = engine.sweep_samples(options).await {
                    tracing::warn!(%error, "samples of checks could not be removed");
                }
            }
        });
    }

    /// Writes what waits; if not all of it, that of monitors that have enough.
    ///
    /// # Errors
    /// The store's; what was not written waits again.
    pub(crate) async fn write_samples(&self, all: bool) -> Result<(), Error> {
        let samples = &self.inner.samples;
        let _alone = samples.writing.lock().await;
        loop {
            let taken = samples.take(all);
            if taken.is_empty() {
                let dropped = std::mem::take(&mut samples.waiting.lock().dropped);
                if dropped > 0 {
                    tracing::warn!(
                        dropped,
                        "samples of checks dropped while the store was unavailable"
                    );
                }
                return Ok(());
            }
            if let Err(error) = self.write_taken(&taken).await {
                samples.put_back(taken);
                return Err(error);
            }
        }
    }

    async fn write_taken(&self, taken: &[(Arc<str>, Vec<Sample>)]) -> Result<(), Error> {
        let mut blocks = Vec::new();
        for (name, of) in taken {
            self.blocks_of(name, of, &mut blocks).await?;
        }
        self.inner.store.put_samples(blocks).await?;
        Ok(())
    }

    /// The blocks of a monitor that change by these samples.
    async fn blocks_of(
        &self,
        name: &Arc<str>,
        of: &[Sample],
        blocks: &mut Vec<SampleBlock>,
    ) -> Result<(), Error> {
        let latest = self.inner.store.newest_samples(name).await?;
        // A damaged block is left as it is; a new one begins.
        let latest = latest.and_then(|block| Builder::resume(&block).ok());
        let known = latest.as_ref().and_then(|it| it.last().cloned());
        let mut builder = latest.unwrap_or_else(|| Builder::new(name.clone()));
        let lost = match (known, of.first()) {
            (Some(known), Some(first)) => self.lost_between(name, &known, first).await?,
            _ => Vec::new(),
        };
        for sample in lost.into_iter().chain(of.iter().cloned()) {
            if builder.last().is_some_and(|last| *last == sample) {
                // It was written, and only the answer was lost.
                continue;
            }
            if !builder.has_room_for(&sample) {
                blocks.extend(builder.finish());
                builder = Builder::new(name.clone());
            }
            builder.push(sample);
        }
        blocks.extend(builder.finish());
        Ok(())
    }

    /// What a crash lost between two samples, as far as the executions of these checks are kept.
    async fn lost_between(
        &self,
        name: &str,
        known: &Sample,
        next: &Sample,
    ) -> Result<Vec<Sample>, Error> {
        let lost = next.number.saturating_sub(known.number).saturating_sub(1);
        if lost == 0 || next.started_at < known.started_at {
            return Ok(Vec::new());
        }
        let Some(kept) = self.monitor(name, |it| kept_checks(it, next.sequence)).await? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        let mut number = next.number;
        for sequence in kept.into_iter().rev().take(usize::try_from(lost).unwrap_or(usize::MAX)) {
            number -= 1;
            let Some(sample) = self.sample_of(name, sequence, number).await? else { break };
            if sample.started_at <= known.started_at {
                break;
            }
            found.push(sample);
        }
        found.reverse();
        Ok(found)
    }

    /// The sample of a check whose execution is kept.
    async fn sample_of(
        &self,
        name: &str,
        sequence: u32,
        number: u64,
    ) -> Result<Option<Sample>, Error> {
        let id = ExecutionId::monitor(name).derive("check", sequence);
        let ran = self.read(&id, |it| {
            let failed = it.reason.as_deref().unwrap_or("the check failed").to_owned();
            let done = it.status == Status::Completed;
            let ended_at = it.ended_at?;
            Some((it.input.parse(), it.output.clone(), (!done).then_some(failed), ended_at))
        });
        let Some((input, output, failed, ended_at)) = ran.await?.flatten() else { return Ok(None) };
        let instant = |name: &str| input["window"][name].as_i64().map(Timestamp::from_millis);
        let Some((from, to)) = instant("from_ms").zip(instant("to_ms")) else { return Ok(None) };
        let result = failed.as_deref().map_or(Ok(&output), Err);
        let Some(outcome) =
            self.monitor(name, |it| Some(Sampled::of(result, &it.spec.as_ref()?.monitor))).await?
        else {
            return Ok(None);
        };
        let version = input["version"].as_str().unwrap_or_default();
        Ok(outcome.map(|outcome| Sample {
            number,
            sequence,
            // Its span ends when it starts.
            started_at: to,
            ended_at,
            window: Window { from, to },
            version: version.get(..8).unwrap_or(version).into(),
            outcome,
        }))
    }

    async fn sweep_samples(&self, options: SampleOptions) -> Result<(), Error> {
        let store = &self.inner.store;
        for name in store.sampled_monitors().await? {
            // One that a crash kept from losing its samples loses them now.
            match self.monitor(&name, |_| ()).await {
                // It is there, and must not keep anything from the others.
                Ok(Some(())) | Err(Error::Quarantined { .. }) => {}
                Ok(None) => self.forget_samples(&name).await?,
                Err(error) => return Err(error),
            }
        }
        let age = options.age_max.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let before = age.map(|age| self.now().plus_millis(age.saturating_neg() - block::SPAN_MAX));
        for _ in 0..SWEEP_WRITES_MAX {
            if store.trim_samples(before, options.bytes_max, REMOVE).await? < REMOVE {
                break;
            }
        }
        Ok(())
    }

    /// Removes all samples of a monitor.
    ///
    /// # Errors
    /// The store's.
    async fn forget_samples(&self, name: &str) -> Result<(), Error> {
        let _alone = self.inner.samples.writing.lock().await;
        self.inner.samples.forget(name);
        while self.inner.store.forget_samples(name, REMOVE).await? == REMOVE {}
        Ok(())
    }

    /// Removes all samples of a monitor that is watched no more, before long.
    pub(crate) fn drop_samples(&self, id: &ExecutionId) {
        if self.inner.options.samples.is_none() {
            return;
        }
        let (engine, name) = (self.clone(), id.name().to_owned());
        self.inner.tasks.spawn(async move {
            if let Err(error) = engine.forget_samples(&name).await {
                tracing::debug!(%error, "samples of a removed monitor could not be deleted yet");
            }
        });
    }

    /// What checks of a monitor answered that started in `[from, to)`, at most `limit` of them and not
    /// many more than `bytes_max` bytes. Of those that started at `from`, only those with a number
    /// greater than `after`: so a page goes on where the last one ended. What waits to be written is
    /// written first.
    ///
    /// # Errors
    /// The store's.
    pub async fn samples(
        &self,
        monitor: &str,
        (from, to): (Timestamp, Timestamp),
        after: u64,
        (limit, bytes_max): (usize, usize),
    ) -> Result<SamplePage, Error> {
        self.write_samples(true).await?;
        let mut page = SamplePage::default();
        let (mut bytes, mut seen) = (0, None);
        loop {
            let store = &self.inner.store;
            let blocks = store.sample_blocks(monitor, (from, to), seen, READ).await?;
            for block in &blocks {
                for sample in block::read(block)? {
                    let at = sample.started_at;
                    if at < from || at >= to || (at == from && sample.number <= after) {
                        continue;
                    }
                    if page.samples.len() >= limit || bytes >= bytes_max {
                        page.more = true;
                        return Ok(page);
                    }
                    bytes += size(&sample);
                    page.samples.push(sample);
                }
            }
            match blocks.last() {
                Some(last) if blocks.len() == READ => seen = Some(last.first_at),
                _ => return Ok(page),
            }
        }
    }
}

/// The checks before this one whose executions are kept and of which none is missing in between.
fn kept_checks(monitor: &Monitor, next: u32) -> Vec<u32> {
    let oldest = monitor.answered.front().copied().unwrap_or_default();
    let failed = monitor.failed.iter().map(|(sequence, _)| *sequence);
    let mut kept: Vec<u32> = monitor.answered.iter().copied().chain(failed).collect();
    kept.retain(|sequence| *sequence < next && *sequence >= oldest);
    kept.sort_unstable();
    kept
}
