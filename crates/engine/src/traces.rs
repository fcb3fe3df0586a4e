//! Which ended runs are still to be exported as traces: a cursor over their ends, kept in the store, that
//! passes none that is being committed (decision 0065).

mod lives;
mod position;

use std::sync::Arc;
use std::time::Duration;

use kernel::graph::Execution;
use kernel::trace::{SpanId, TraceId, TraceParent};
use kernel::{ExecutionId, MachineKind, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::documents::Damaged;
use crate::engine::{Engine, Error};
use crate::health::Problem;
use crate::search::{Counting, Filter, Mark, Search, TextField, TimeField, like};
use crate::store::{Document, Store, StoreError};
pub(crate) use position::Ending;
use position::{Cursor, Position};

/// The kind and the name of the document with the cursor.
const CURSOR: (&str, &str) = ("trace", "cursor");
/// Ends are passed once they are so many milliseconds old: a decision that took a while is committed by
/// then, as a rule.
const SETTLED: i64 = 1000;
/// How far the cursor in the store may be behind while there is nothing to export.
const STORE_AFTER: i64 = 60_000;
/// How long what a collector has refused for good is told.
const TOLD: i64 = 10 * 60_000;

/// Which runs are exported, and where their traces are seen.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// Names of workflows and orchestrators, in which `*` stands for any run of characters; those that begin with `!` are
    /// left out. None = all.
    pub workflows: Vec<String>,
    /// The share of traces that is exported, from 0 to 1.
    pub share: f64,
    /// The address of a trace for people, with `{trace_id}` where its name belongs.
    pub url: Option<String>,
}

impl TraceOptions {
    /// Whether runs of a workflow are exported.
    fn has(&self, workflow: &str) -> bool {
        let (out, within) = self.names();
        let is_in = |names: &[String]| names.iter().any(|pattern| like(pattern, workflow));
        (within.is_empty() || is_in(&within)) && !is_in(&out)
    }

    /// The patterns that leave out, and those that take in.
    fn names(&self) -> (Vec<String>, Vec<String>) {
        let (mut out, mut within) = (Vec::new(), Vec::new());
        for pattern in &self.workflows {
            match pattern.strip_prefix('!') {
                Some(pattern) => out.push(pattern.to_owned()),
                None => within.push(pattern.clone()),
            }
        }
        (out, within)
    }

    fn filters(&self) -> impl Iterator<Item = Filter> {
        let (out, within) = self.names();
        let within = (!within.is_empty()).then_some(Filter::In(TextField::Name, within));
        let out = (!out.is_empty()).then_some(Filter::NotIn(TextField::Name, out));
        within.into_iter().chain(out)
    }
}

/// How the export goes, since start.
#[derive(Clone, Debug, Default)]
pub struct TraceFigures {
    /// Spans that the collector has taken.
    pub exported: u64,
    /// Spans that it has refused for good: of a request that it took, and whole ones.
    pub refused: u64,
    /// Requests by how they ended, taken and failed.
    pub requests: (u64, u64),
    /// The end of the first run that waits to be exported.
    pub oldest: Option<Timestamp>,
    /// Since when nothing is taken, and why.
    pub failing: Option<(Timestamp, String)>,
    /// What was last refused for good, and why.
    pub refusal: Option<(Timestamp, String)>,
}

/// What is known of the export.
pub(crate) struct Traces {
    options: TraceOptions,
    position: Mutex<Position>,
    /// Held while the cursor is written, so that a later one is not overwritten.
    writing: tokio::sync::Mutex<()>,
    ended: Notify,
    figures: Mutex<TraceFigures>,
}

/// A run that has ended and was not exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedRun {
    /// The run.
    pub id: ExecutionId,
    /// The name of its workflow, or of its orchestrator.
    pub workflow: Arc<str>,
    /// The run that waits for it.
    pub parent: Option<ExecutionId>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How many of its spans were exported before.
    pub exported: usize,
    /// It is passed without being exported.
    pub is_left_out: bool,
}

/// The first runs that are still to be exported, in the order of their ends.
#[derive(Clone, Debug)]
pub struct EndedRuns {
    /// The runs.
    pub runs: Vec<EndedRun>,
    /// There may be more.
    pub has_more: bool,
    /// Where the cursor stands when all of them have been exported.
    until: (Timestamp, ExecutionId),
    /// How often the cursor was set back before they were read.
    set_back: u64,
}

impl Traces {
    /// Reads how far runs were exported. If nobody has begun yet, that begins now.
    pub(crate) async fn open(
        store: &dyn Store,
        damaged: &Damaged,
        options: Option<TraceOptions>,
        now: Timestamp,
    ) -> Result<Option<Self>, StoreError> {
        let Some(options) = options else { return Ok(None) };
        let documents = store.documents(CURSOR.0).await?;
        let found = documents.first().and_then(|document| damaged.read::<Cursor>(document));
        let cursor = if let Some(cursor) = found {
            cursor
        } else {
            let cursor = Cursor::before(now);
            store.put_document(document(&cursor)).await?;
            cursor
        };
        Ok(Some(Self {
            options,
            position: Mutex::new(Position::new(cursor)),
            writing: tokio::sync::Mutex::default(),
            ended: Notify::new(),
            figures: Mutex::default(),
        }))
    }

    /// Writes the cursor as it stands then.
    async fn write(&self, store: &dyn Store) -> Result<(), StoreError> {
        let _alone = self.writing.lock().await;
        let cursor = self.position.lock().cursor.clone();
        store.put_document(document(&cursor)).await?;
        self.position.lock().stored_at = cursor.at;
        Ok(())
    }

    fn sampled(&self, trace: TraceId) -> bool {
        trace.is_within(self.options.share)
    }
}

fn document(cursor: &Cursor) -> Document {
    let text = serde_json::to_string(cursor).expect("a cursor serializes to JSON").into();
    Document { kind: CURSOR.0.into(), name: CURSOR.1.into(), version: 0, text }
}

/// What a commit changes about the ends of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    /// When it ended.
    ended: Option<Timestamp>,
    /// When it had ended: it runs again, or has ended once more.
    undone: Option<Timestamp>,
}

impl Ends {
    /// What one more decision changes, before which it had ended then.
    pub(crate) fn add(&mut self, before: Option<Timestamp>, ended: Option<Timestamp>) {
        if before != ended {
            self.undone = self.undone.or(before);
            self.ended = ended;
        }
    }
}

impl Engine {
    /// Tells the cursor of an end that is about to be committed, so that it does not pass it before, and of
    /// one that is undone before it was exported. What is returned lives as long as the commit may still
    /// be written.
    pub(crate) async fn tell_traces(&self, id: &ExecutionId, ends: Ends) -> Option<Ending> {
        if ends.ended.is_none() && ends.undone.is_none() {
            return None;
        }
        let traces = self.inner.traces.as_ref()?;
        let (ending, is_set_back) = {
            let mut position = traces.position.lock();
            let undone = ends.undone.is_some_and(|undone| position.undo(id, undone));
            let ending = ends.ended.map(|at| position.begin(at));
            let (ending, is_set_back) = ending.unzip();
            (ending, undone || is_set_back == Some(true))
        };
        if is_set_back && let Err(error) = traces.write(&*self.inner.store).await {
            // The commit that follows goes to the same store.
            tracing::debug!(%id, %error, "cursor of the trace export could not be stored yet");
        }
        ending.map(|at| Ending::new(self, at))
    }

    /// An end is committed, or was not written.
    pub(crate) fn settle_end(&self, at: Timestamp) {
        if let Some(traces) = &self.inner.traces {
            traces.position.lock().end(at);
            traces.ended.notify_one();
        }
    }

    /// Which runs are exported; `None` if none are.
    pub fn trace_options(&self) -> Option<&TraceOptions> {
        self.inner.traces.as_ref().map(|traces| &traces.options)
    }

    /// How the export goes; `None` if there is none.
    pub fn trace_figures(&self) -> Option<TraceFigures> {
        self.inner.traces.as_ref().map(|traces| traces.figures.lock().clone())
    }

    /// Notes how the export goes.
    pub fn note_trace_figures(&self, note: impl FnOnce(&mut TraceFigures, Timestamp)) {
        if let Some(traces) = &self.inner.traces {
            note(&mut traces.figures.lock(), self.now());
        }
    }

    /// Waits until a run may have ended that is to be exported, at most so long; `false` once the engine
    /// stops.
    pub async fn wait_for_ended_runs(&self, most: Duration) -> bool {
        let Some(traces) = &self.inner.traces else { return false };
        tokio::select! {
            biased;
            () = self.inner.stop.cancelled() => false,
            () = traces.ended.notified() => {
                let settled = Duration::from_millis(SETTLED.unsigned_abs());
                self.pauses(settled).await
            }
            () = tokio::time::sleep(most) => true,
        }
    }

    /// The first runs that have ended and were not exported, at most so many.
    ///
    /// # Errors
    /// The store's.
    pub async fn ended_runs(&self, most: u64) -> Result<EndedRuns, Error> {
        let nothing =
            |until, set_back| EndedRuns { runs: Vec::new(), has_more: false, until, set_back };
        let settled = self.now().plus_millis(-SETTLED);
        let Some(traces) = &self.inner.traces else {
            return Ok(nothing((settled, ExecutionId::new("")), 0));
        };
        let (cursor, horizon, set_back) = {
            let mut position = traces.position.lock();
            (position.cursor.clone(), position.read_to(settled), position.set_back)
        };
        let until = Cursor::before(horizon);
        let until = (until.at, until.id);
        if until.0 <= cursor.at {
            return Ok(nothing((cursor.at, cursor.id), set_back));
        }
        let mark = Mark {
            at: Some((TimeField::Ended, cursor.at)),
            id: cursor.id.clone(),
            descending: false,
        };
        let mut filters = vec![
            Filter::Closed(true),
            Filter::Before(TimeField::Ended, horizon),
            Filter::Past(mark),
        ];
        filters.extend(traces.options.filters());
        let mut search = Search {
            filters,
            sort: Mark::order(Some(TimeField::Ended), false),
            size: most,
            counting: Counting::Next,
            ..Search::default()
        };
        // One after the other: each goes by the index over the ends of its kind.
        let mut rows = self.inner.store.search(&search).await?.rows;
        search.machine = MachineKind::Instance;
        rows.extend(self.inner.store.search(&search).await?.rows);
        rows.sort_by(|a, b| (a.ended_at, &a.id).cmp(&(b.ended_at, &b.id)));
        rows.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        let last = rows.last().and_then(|head| Some((head.ended_at?, head.id.clone())));
        let has_more = rows.len() as u64 >= most;
        let until = last.filter(|_| has_more).unwrap_or(until);
        let position = traces.position.lock();
        let runs = rows.into_iter().filter_map(|head| {
            let ended_at = head.ended_at?;
            let exported = cursor.exported_of(&head.id, ended_at);
            let is_new = !position.has_passed(&head.id, ended_at);
            is_new.then_some(EndedRun {
                id: head.id,
                workflow: head.name,
                parent: head.parent,
                ended_at,
                exported,
                is_left_out: false,
            })
        });
        Ok(EndedRuns { runs: runs.collect(), has_more, until, set_back })
    }

    /// Notes durably how far runs are exported: the first `whole` of these, and so many spans of the one
    /// after them.
    ///
    /// # Errors
    /// The store's: they are exported once more, unless a later note is written.
    pub async fn note_exported(
        &self,
        page: &EndedRuns,
        whole: usize,
        part: usize,
    ) -> Result<(), StoreError> {
        let Some(traces) = &self.inner.traces else { return Ok(()) };
        let is_due = {
            let mut position = traces.position.lock();
            position.pass(page, whole, part);
            let behind = position.cursor.at.since(position.stored_at);
            let is_any = page.runs.iter().take(whole).any(|run| !run.is_left_out);
            is_any || part > 0 || behind >= STORE_AFTER
        };
        if is_due { traces.write(&*self.inner.store).await } else { Ok(()) }
    }

    /// From when on what a run did is exported with its end; `None` if nothing is: all that it did was
    /// exported with an earlier end.
    ///
    /// # Errors
    /// The store's.
    pub async fn exported_since(
        &self,
        id: &ExecutionId,
        ended_at: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        let Some(traces) = &self.inner.traces else { return Ok(None) };
        let look = |run: &Execution| (run.life(), run.created_at, run.retried_at);
        let Some((life, created_at, retried_at)) = self.read(id, look).await? else {
            return Ok(None);
        };
        if life == 0 {
            return Ok(Some(created_at));
        }
        // It has ended before, which is rare: its history tells what it did since.
        let Some(past) = self.past(id).await? else { return Ok(None) };
        let began_at = retried_at.unwrap_or(created_at);
        let lives = lives::of(&past.commits(0, usize::MAX)?, began_at);
        let unsent = traces.position.lock().cursor.unsent.get(id).copied();
        Ok(lives::since(&lives, ended_at, unsent.map(|unsent| unsent.first)))
    }

    /// Whether an earlier end of a run was undone before it was exported, so that all that the run did is
    /// exported with the next.
    pub fn has_unsent_end(&self, id: &ExecutionId) -> bool {
        let traces = self.inner.traces.as_ref();
        traces.is_some_and(|traces| traces.position.lock().cursor.unsent.contains_key(id))
    }

    /// The trace of a run: that of the run from which all came, as far as it is known. `parent` is whoever
    /// waits for it.
    ///
    /// # Errors
    /// The store's.
    pub async fn trace_of(
        &self,
        id: &ExecutionId,
        parent: Option<&ExecutionId>,
    ) -> Result<TraceId, Error> {
        let is_run = |id: &&ExecutionId| {
            matches!(id.machine(), MachineKind::Execution | MachineKind::Instance)
        };
        let Some(parent) = parent.filter(is_run) else { return Ok(TraceId::of(id)) };
        let line = match self.line_of(parent).await {
            Ok(line) => line,
            Err(error) if error.is_transient() || matches!(error, Error::Closing) => {
                return Err(error);
            }
            // What cannot be read keeps nobody below it from being exported.
            Err(_) => vec![parent.clone()],
        };
        Ok(TraceId::of(line.iter().rfind(is_run).unwrap_or(id)))
    }

    /// The trace of a run and whether it is exported, if its workflow is.
    ///
    /// # Errors
    /// The store's.
    pub async fn exported_trace(
        &self,
        id: &ExecutionId,
        workflow: &str,
        parent: Option<&ExecutionId>,
    ) -> Result<Option<(TraceId, bool)>, Error> {
        let Some(traces) = &self.inner.traces else { return Ok(None) };
        if !traces.options.has(workflow) {
            return Ok(None);
        }
        let trace = self.trace_of(id, parent).await?;
        Ok(Some((trace, traces.sampled(trace))))
    }

    /// How a task names its span to whomever it calls.
    pub(crate) async fn traceparent_of(
        &self,
        id: &ExecutionId,
        sequence: u32,
    ) -> Result<Option<String>, Error> {
        if self.inner.traces.is_none() {
            return Ok(None);
        }
        let look = |run: &Execution| {
            let parent = run.parent.as_ref().map(|parent| parent.execution.clone());
            (run.plan().definition.name.clone(), parent, run.life())
        };
        let Some((workflow, parent, life)) = self.read(id, look).await? else { return Ok(None) };
        let trace = self.exported_trace(id, &workflow, parent.as_ref()).await?;
        Ok(trace.map(|(trace, sampled)| {
            let span = SpanId::of_task(id, life, sequence);
            TraceParent { trace, span, sampled }.to_string()
        }))
    }

    /// Where people see the trace of a run, if it is exported and the configuration says where traces are.
    ///
    /// # Errors
    /// The store's.
    pub async fn trace_url(&self, id: &ExecutionId) -> Result<Option<String>, Error> {
        let Some(url) = self.trace_options().and_then(|options| options.url.clone()) else {
            return Ok(None);
        };
        let look = |run: &Execution| {
            let parent = run.parent.as_ref().map(|parent| parent.execution.clone());
            (run.plan().definition.name.clone(), parent)
        };
        let Some((workflow, parent)) = self.read(id, look).await? else { return Ok(None) };
        let trace = self.exported_trace(id, &workflow, parent.as_ref()).await?;
        let shown = trace.filter(|(_, sampled)| *sampled);
        Ok(shown.map(|(trace, _)| url.replace("{trace_id}", &trace.to_string())))
    }

    /// What is wrong with the export, if something is.
    pub(crate) fn trace_warnings(&self) -> Vec<Problem> {
        let Some(figures) = self.trace_figures() else { return Vec::new() };
        let problem = |since, reason| Problem { code: "traces", since: Some(since), reason };
        let failing = figures.failing.map(|(since, why)| {
            problem(since, format!("traces are not exported, and wait in the store: {why}"))
        });
        let now = self.now();
        let refusal = figures.refusal.filter(|(at, _)| now.since(*at) < TOLD).map(|(at, why)| {
            problem(at, format!("spans were refused, and are not sent again: {why}"))
        });
        failing.into_iter().chain(refusal).collect()
    }
}
