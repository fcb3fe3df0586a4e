//! Exports ended runs as traces to a collector, one request after the other, from the cursor that the engine
//! keeps (decision 0065): nothing waits in memory but the request that is on its way.

mod collector;
mod instances;
mod spans;

use std::time::Duration;

use engine::{EndedRun, EndedRuns, Engine, Error, TraceOptions};
use kernel::durable::instance::Instance;
use kernel::graph::Execution;
use kernel::trace::{SpanId, TraceId};
use kernel::{ExecutionId, MachineKind};
use proto::otlp::Span;
use tasks::http;
use tokio::task::JoinHandle;

use crate::config::Config;
use collector::{Answer, Collector};
use spans::About;

/// Spans in one request.
const PORTION: usize = 512;
/// Runs that are looked for in one go.
const PAGE: u64 = 256;
/// How often runs are looked for though none is known to have ended.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// The first pause before a request is sent again; it doubles up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// Requests in a row over which the collector may fail before they count as refused.
const BROKEN_MAX: u32 = 5;
/// The longest pause that a collector may ask for.
const ASKED_MAX: Duration = Duration::from_hours(1);

/// Which runs are exported, by the configuration.
pub(crate) fn options(config: &Config) -> Option<TraceOptions> {
    config.otlp_endpoint.as_ref().map(|_| TraceOptions {
        workflows: config.otlp_workflows.0.clone(),
        share: config.otlp_sample.0,
        url: config.trace_url.as_ref().map(|url| url.0.clone()),
    })
}

/// Exports runs for as long as the engine lives, if the configuration names a collector. What is returned
/// ends soon after the engine is told to stop, with the answer to the request that is on its way.
///
/// # Errors
/// The client for calls cannot be made.
pub(crate) fn export(
    engine: &Engine,
    config: &Config,
    calls: http::Settings,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Some(collector) = Collector::of(config, engine, calls)? else { return Ok(None) };
    let exporter =
        Exporter { engine: engine.clone(), collector, portion: PORTION, failures: 0, broken: 0 };
    Ok(Some(tokio::spawn(exporter.run())))
}

struct Exporter {
    engine: Engine,
    collector: Collector,
    /// Spans in the next request: fewer after one that was refused, until that span is found which is.
    portion: usize,
    /// Requests that were not taken since one was.
    failures: u32,
    /// Those among them over which the collector failed.
    broken: u32,
}

/// Spans of the first runs of a page.
struct Batch {
    spans: Vec<Span>,
    /// Runs whose last span is among them, or that have none to export.
    whole: usize,
    /// Of the run after them, so many are exported with it.
    part: usize,
}

impl Exporter {
    async fn run(mut self) {
        loop {
            match self.export_some().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%error, "runs to be exported could not be read; retrying");
                    self.failures += 1;
                    if !self.pause(None).await {
                        return;
                    }
                }
            }
            if !self.engine.wait_for_ended_runs(LOOK_AGAIN).await {
                return;
            }
        }
    }

    /// Exports the first runs that wait; `false` if none do, or the engine stops.
    async fn export_some(&mut self) -> Result<bool, Error> {
        let mut page = self.engine.ended_runs(PAGE).await?;
        let batch = self.gather(&mut page).await?;
        let first = page.runs.iter().find(|run| !run.is_left_out).map(|run| run.ended_at);
        self.engine.note_trace_figures(|figures, _| figures.oldest = first);
        let count = batch.spans.len();
        let is_done = count == 0 || self.send(&page, batch.spans).await;
        if is_done {
            let noted = self.engine.note_exported(&page, batch.whole, batch.part).await;
            if let Err(error) = noted {
                // It is noted with the next one; after a crash they are sent again.
                tracing::debug!(%error, "cursor of the trace export could not be stored");
            }
        }
        let is_more = page.has_more || batch.whole < page.runs.len() || !is_done;
        if !is_more {
            self.engine.note_trace_figures(|figures, _| figures.oldest = None);
        }
        Ok(is_more && !self.is_stopping())
    }

    /// The spans of the first runs, so many as one request takes.
    async fn gather(&self, page: &mut EndedRuns) -> Result<Batch, Error> {
        let mut batch = Batch { spans: Vec::new(), whole: 0, part: 0 };
        for run in &mut page.runs {
            let room = self.portion.saturating_sub(batch.spans.len());
            if room == 0 {
                break;
            }
            match self.spans_of(run, room).await? {
                None => run.is_left_out = true,
                Some((spans, is_whole)) => {
                    let exported = run.exported + spans.len();
                    batch.spans.extend(spans);
                    if !is_whole {
                        batch.part = exported;
                        break;
                    }
                }
            }
            batch.whole += 1;
        }
        Ok(batch)
    }

    /// The next spans of a run, and whether they are its last; `None` if it is not to be exported.
    async fn spans_of(
        &self,
        found: &EndedRun,
        most: usize,
    ) -> Result<Option<(Vec<Span>, bool)>, Error> {
        let parent = found.parent.as_ref();
        let trace = self.engine.exported_trace(&found.id, &found.workflow, parent).await?;
        let Some((trace, true)) = trace else { return Ok(None) };
        if found.id.machine() == MachineKind::Instance {
            return self.spans_of_instance(found, trace, most).await;
        }
        let told = readable(self.engine.read(&found.id, spans::origin_of).await)?;
        let (origin, parent) = told.unwrap_or_default();
        let forked_from = match origin {
            None => None,
            Some(origin) => {
                let look = |run: &Execution| {
                    (run.parent.as_ref().map(|it| it.execution.clone()), run.life())
                };
                let told = readable(self.engine.read(&origin, look).await)?;
                let (parent, life) = told.unwrap_or_default();
                let trace = self.engine.trace_of(&origin, parent.as_ref()).await?;
                Some((trace, SpanId::of_run(&origin, life)))
            }
        };
        let since = self.engine.exported_since(&found.id, found.ended_at).await;
        let since = readable(since)?;
        let Some(since) = since else { return Ok(None) };
        let parent = match parent {
            None => None,
            Some(parent) => self.span_of_waiting(&parent.execution, parent.sequence).await?,
        };
        let about = About { trace, since, parent, forked_from };
        let look = |run: &Execution| {
            let is_that = run.status.is_closed() && run.ended_at == Some(found.ended_at);
            is_that.then(|| spans::of(run, &about, found.exported, most))
        };
        Ok(readable(self.engine.read(&found.id, look).await)?.flatten())
    }

    /// The same of an orchestration.
    async fn spans_of_instance(
        &self,
        found: &EndedRun,
        trace: TraceId,
        most: usize,
    ) -> Result<Option<(Vec<Span>, bool)>, Error> {
        let waiting = self.engine.instance(&found.id, instances::waiting).await;
        let parent = match readable(waiting)?.flatten() {
            None => None,
            Some((waiting, number)) => self.span_of_waiting(&waiting, number).await?,
        };
        let is_all = self.engine.has_unsent_end(&found.id);
        let about = instances::About { trace, parent, is_all };
        let look = |state: &Instance| {
            let is_that = state.ended_at == Some(found.ended_at);
            is_that.then(|| instances::of(state, &about, found.exported, most))
        };
        Ok(readable(self.engine.instance(&found.id, look).await)?.flatten())
    }

    /// The span of a task or an action, by its number, of what waits for a run; `None` if nothing that is
    /// exported does.
    async fn span_of_waiting(
        &self,
        id: &ExecutionId,
        number: u32,
    ) -> Result<Option<SpanId>, Error> {
        match id.machine() {
            MachineKind::Execution => {
                let life = readable(self.engine.read(id, Execution::life).await)?;
                Ok(Some(SpanId::of_task(id, life.unwrap_or_default(), number)))
            }
            MachineKind::Instance => {
                let look = |state: &Instance| instances::of_action(state, number);
                readable(self.engine.instance(id, look).await)
            }
            _ => Ok(None),
        }
    }

    /// Sends spans; whether they need not be sent again.
    async fn send(&mut self, page: &EndedRuns, spans: Vec<Span>) -> bool {
        let count = spans.len();
        let answer = self.collector.send(spans).await;
        match self.bounded(answer) {
            Answer::Taken { refused, why } => {
                self.portion = (self.portion * 2).min(PORTION);
                (self.failures, self.broken) = (0, 0);
                self.engine.note_trace_figures(|figures, now| {
                    figures.requests.0 += 1;
                    figures.exported += (count as u64).saturating_sub(refused);
                    figures.refused += refused;
                    if figures.failing.take().is_some() {
                        tracing::info!("trace export works again");
                    }
                    if refused > 0 {
                        figures.refusal = Some((now, format!("{refused} spans: {why}")));
                    }
                });
                if refused > 0 || !why.is_empty() {
                    tracing::warn!(refused, %why, "collector accepted a request partially or with a warning");
                }
                true
            }
            Answer::Refused { why } if count > 1 => {
                // One of them is the cause; the others are not lost with it.
                self.portion = (count / 2).max(1);
                self.engine.note_trace_figures(|figures, _| {
                    figures.requests.1 += 1;
                    figures.failing = None;
                });
                tracing::debug!(%why, count, "collector refused a request; it is divided");
                false
            }
            Answer::Refused { why } => {
                let run = page.runs.iter().find(|run| !run.is_left_out).map(|run| &run.id);
                tracing::warn!(run = ?run, %why, "span dropped: it cannot be exported");
                self.engine.note_trace_figures(|figures, now| {
                    figures.requests.1 += 1;
                    figures.refused += 1;
                    figures.failing = None;
                    figures.refusal = Some((now, why));
                });
                // A collector that refuses one after the other is likely to be no collector.
                self.failures += 1;
                if self.failures > 1 {
                    self.pause(None).await;
                }
                true
            }
            Answer::Later { after, why, .. } => {
                self.failures += 1;
                self.engine.note_trace_figures(|figures, now| {
                    figures.requests.1 += 1;
                    if figures.failing.is_none() {
                        tracing::warn!(%why, "trace export failed; ended runs wait in the store");
                    }
                    let since = figures.failing.as_ref().map_or(now, |(since, _)| *since);
                    figures.failing = Some((since, why));
                });
                self.pause(after).await;
                false
            }
        }
    }

    /// A request over which the collector fails each time does not keep all later ones from being exported: it
    /// counts as refused in the end, and is divided until the span is found over which it fails.
    fn bounded(&mut self, answer: Answer) -> Answer {
        let Answer::Later { is_broken: true, why, after } = answer else { return answer };
        self.broken = self.broken.saturating_add(1);
        if self.broken >= BROKEN_MAX {
            return Answer::Refused { why };
        }
        Answer::Later { after, why, is_broken: true }
    }

    /// Waits before the next request, for as long as the collector asks for or longer with each failure;
    /// `false` once the engine stops.
    async fn pause(&self, asked: Option<Duration>) -> bool {
        let doubled = PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(6));
        let pause = asked.map_or(doubled.min(PAUSE_MAX), |asked| asked.clamp(PAUSE, ASKED_MAX));
        tokio::select! {
            biased;
            () = self.engine.stopped() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    fn is_stopping(&self) -> bool {
        self.engine.ready().is_err()
    }
}

/// What was read of a run. One that cannot be read before somebody has mended it does not keep the others
/// from being exported.
fn readable<R>(read: Result<Option<R>, Error>) -> Result<Option<R>, Error> {
    match read {
        Err(error) if error.is_transient() || matches!(error, Error::Closing) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "run dropped from trace export: it could not be read");
            Ok(None)
        }
        read => read,
    }
}
