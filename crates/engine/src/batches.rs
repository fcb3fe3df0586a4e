//! Batches: one act on many runs. A preview fixes which runs; from then on each is acted on once, one
//! batch after the other, also if the process ends in between.
//!
//! What was done to a run is a line of a ledger in the commit that did it ([`Batched`]). So whoever takes
//! a batch up again knows what of its portion was done, whatever was noted of its progress.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use kernel::access::Permission;
use kernel::graph::{Batched, Control, Input};
use kernel::{ExecutionId, Json, MachineKind, Record, Rejected, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::acting::ActsOn;
use crate::documents::Damaged;
use crate::engine::{Engine, Error};
use crate::question::{Question, RunKind};
use crate::queues::STUCK_RUNS_MAX;
use crate::search::{Counting, Filter, Mark, RecordSearch, Search, TextField, TimeField};
use crate::store::{Document, Store, StoreError};

/// Runs of one batch.
pub const BATCH_RUNS_MAX: usize = 10_000;
/// For how long a preview can be acted on, in milliseconds.
pub const PREVIEW_MILLIS: i64 = 5 * 60 * 1000;
/// Previews that are remembered; beyond, the oldest are forgotten.
const PREVIEWS_MAX: usize = 32;
/// Batches that are kept; beyond, the oldest that have ended are forgotten.
const BATCHES_MAX: usize = 100;
/// Refusals that a batch tells with their reasons.
const REFUSALS_MAX: usize = 200;
/// Runs that are acted on together, and then noted.
const PORTION: usize = 100;
/// Pause before a batch goes on after the store was away.
const AGAIN: Duration = Duration::from_secs(1);

/// The kind of the documents of batches, and what the kinds of those of their runs begin with.
const BATCH: &str = "batch";
/// The ledger of what was done, and what all its lines are about, so that there are never too many.
const LEDGER: &str = "batch";
const SUBJECT: &str = "batches";

/// What is done to each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchAct {
    /// Nothing more is scheduled.
    Pause,
    /// What was paused goes on.
    Resume,
    /// The failed tasks of what has ended are tried again, also those of its sub-workflows.
    Retry,
    /// What has ended begins anew under the same id.
    Restart,
    /// It ends now.
    Terminate,
}

impl BatchAct {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Pause, Self::Resume, Self::Retry, Self::Restart, Self::Terminate];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Restart => "restart",
            Self::Terminate => "terminate",
        }
    }

    /// The act of a word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.as_str() == word)
    }

    /// The runs that it fits.
    fn fits(self) -> Filter {
        let status = |words: &[&str]| {
            Filter::In(TextField::Status, words.iter().map(|it| (*it).to_owned()).collect())
        };
        match self {
            Self::Pause => status(&["RUNNING"]),
            Self::Resume => status(&["PAUSED"]),
            Self::Retry => status(&["FAILED", "TIMED_OUT", "TERMINATED"]),
            Self::Restart => Filter::Closed(true),
            Self::Terminate => Filter::Closed(false),
        }
    }

    /// Whether a run does it to its sub-workflows as well, or makes new ones: found beside their parent,
    /// they would do their work twice.
    const fn is_for_parents(self) -> bool {
        matches!(self, Self::Retry | Self::Restart)
    }

    fn control(self, reason: Option<Arc<str>>) -> Control {
        match self {
            Self::Pause => Control::Pause,
            Self::Resume => Control::Resume,
            // Sub-workflows are left out of the batch, so their failed tasks are tried by their parents.
            Self::Retry => Control::Retry { descend: true },
            Self::Restart => Control::Restart { plan: None, input: None, correlation_id: None },
            Self::Terminate => Control::Terminate { reason, failure_workflow: false },
        }
    }
}

/// What a batch would act on: exactly these, for five minutes, for whoever asked.
#[derive(Clone, Debug)]
pub struct BatchPreview {
    /// Stands for it, and becomes the id of the batch.
    pub id: Arc<str>,
    /// What would be done.
    pub act: BatchAct,
    /// The words by which the runs were found.
    pub find: Arc<str>,
    /// The runs, the oldest first.
    pub runs: Arc<[ExecutionId]>,
    /// Sub-workflows that were found and left out, as their parents take care of them: so many that end
    /// where the counting of a search does.
    pub left_out: u64,
    /// Until when it can be acted on.
    pub until: Timestamp,
    /// The principal who asked; `None` is the server itself.
    acts_as: Option<Arc<str>>,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// It goes on.
    Running,
    /// Every run was acted on, or refused it.
    Done,
    /// It was ended before.
    Stopped,
}

impl BatchState {
    /// Its word, in capitals as those of runs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Done => "COMPLETED",
            Self::Stopped => "STOPPED",
        }
    }
}

/// A run that was not acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The run.
    pub run: ExecutionId,
    /// Why.
    pub why: Arc<str>,
}

/// A batch and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id; later ones sort after earlier ones.
    pub id: Arc<str>,
    /// What is done.
    pub act: BatchAct,
    /// The words by which the runs were found.
    pub find: Arc<str>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// Who began it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
    /// The principal who began it; absent = the server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_as: Option<Arc<str>>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Where it stands.
    pub state: BatchState,
    /// Who stopped it, or what did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<Arc<str>>,
    /// Runs in all.
    pub runs: usize,
    /// Runs whose turn has been, from the first on.
    pub passed: usize,
    /// Of these, those that were acted on.
    pub done: usize,
    /// The first that were not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
}

impl Batch {
    /// Runs that were not acted on when it was their turn.
    pub fn refused(&self) -> usize {
        self.passed.saturating_sub(self.done)
    }

    fn end(&mut self, state: BatchState, by: Option<Arc<str>>, now: Timestamp) {
        if self.state == BatchState::Running {
            (self.state, self.stopped_by, self.ended_at) = (state, by, Some(now));
        }
    }
}

/// Batches and previews of this process.
#[derive(Default)]
pub(crate) struct Batches {
    known: Mutex<BTreeMap<Arc<str>, Batch>>,
    previews: Mutex<VecDeque<BatchPreview>>,
    /// Held while a batch changes, from what is known to what is stored.
    changing: tokio::sync::Mutex<()>,
    begun: Notify,
}

impl Batches {
    /// Reads what an earlier process has left.
    pub(crate) async fn open(store: &dyn Store, damaged: &Damaged) -> Result<Self, StoreError> {
        let documents = store.documents(BATCH).await?;
        let batches = documents.iter().filter_map(|it| damaged.read::<Batch>(it));
        let known = batches.map(|batch| (batch.id.clone(), batch)).collect();
        Ok(Self { known: Mutex::new(known), ..Self::default() })
    }

    fn running(&self) -> Option<Arc<str>> {
        let known = self.known.lock();
        known.values().find(|it| it.state == BatchState::Running).map(|it| it.id.clone())
    }
}

/// The document of a batch.
fn document(batch: &Batch) -> Document {
    let text = serde_json::to_string(batch).expect("a batch serializes to JSON").into();
    Document { kind: BATCH.into(), name: batch.id.clone(), version: 0, text }
}

/// The kind of the one document with the runs of a batch: they never change, and are many.
fn kind_of_runs(id: &str) -> String {
    format!("{BATCH}:{id}")
}

fn unknown(id: &str) -> Error {
    let shown: String = id.chars().take(100).collect();
    Rejected::Unknown(format!("there is no batch {shown}")).into()
}

impl Engine {
    /// Finds the runs that an act would change, as they are now. Changes nothing.
    ///
    /// # Errors
    /// [`Rejected::Invalid`] if the words are not understood, or find nothing that the act fits, or more
    /// than [`BATCH_RUNS_MAX`], or more than are known of a queue; the store's.
    pub async fn preview_batch(
        &self,
        act: BatchAct,
        find: &str,
        acts_as: Option<Arc<str>>,
    ) -> Result<BatchPreview, Error> {
        let mut question = Question::read(find, self.now())?;
        let word = act.as_str();
        if question.resolve(&self.queues().stuck(self.now())) {
            let message = format!(
                "more than {STUCK_RUNS_MAX} runs are stuck in one queue, and only these are known: \
                 find them by status: or name: instead, or act on fewer queues"
            );
            return Err(Rejected::Invalid(message).into());
        }
        if question.kind == Some(RunKind::Orchestration) {
            let message = "a batch acts on runs of workflows, and kind:orchestration finds none";
            return Err(Rejected::Invalid(message.to_owned()).into());
        }
        let mut search = question.search_of_people(&question.statuses);
        search.beside = None;
        search.filters.push(act.fits());
        let mut left_out = 0;
        if act.is_for_parents() {
            let all = Search { size: 1, ..search.clone() };
            left_out = self.inner.store.search(&all).await?.total;
            search.filters.push(Filter::TopLevel);
        }
        let mut runs = self.found(search).await?;
        left_out = left_out.saturating_sub(runs.len() as u64);
        if runs.is_empty() {
            let below = match left_out {
                0 => String::new(),
                _ => format!(
                    ", as the {left_out} that are found are sub-workflows: find their parents"
                ),
            };
            let message = format!("nothing that is found can be changed so: {word}{below}");
            return Err(Rejected::Invalid(message).into());
        }
        if runs.len() > BATCH_RUNS_MAX {
            let message = format!(
                "more than {BATCH_RUNS_MAX} runs are found that can be changed so ({word}): narrow the search"
            );
            return Err(Rejected::Invalid(message).into());
        }
        runs.reverse();
        let preview = BatchPreview {
            id: Self::new_id().as_str().into(),
            act,
            find: find.trim().into(),
            runs: runs.into(),
            left_out,
            until: self.now().plus_millis(PREVIEW_MILLIS),
            acts_as,
        };
        let mut previews = self.inner.batches.previews.lock();
        if previews.len() >= PREVIEWS_MAX {
            previews.pop_front();
        }
        previews.push_back(preview.clone());
        Ok(preview)
    }

    /// Everything that a search finds, the newest first, up to one more than a batch may have.
    async fn found(&self, mut search: Search) -> Result<Vec<ExecutionId>, StoreError> {
        search.sort = Mark::order(Some(TimeField::Created), true);
        search.counting = Counting::Next;
        search.size = 2_000;
        let mut found: Vec<ExecutionId> = Vec::new();
        loop {
            let rows = self.inner.store.search(&search).await?.rows;
            let last = rows.last().map(|last| (last.created_at, last.id.clone()));
            let is_whole = (rows.len() as u64) < search.size;
            found.extend(rows.into_iter().map(|head| head.id));
            let Some((at, id)) = last.filter(|_| !is_whole && found.len() <= BATCH_RUNS_MAX) else {
                return Ok(found);
            };
            search.filters.retain(|filter| !matches!(filter, Filter::Past(_)));
            let mark = Mark { at: Some((TimeField::Created, at)), id, descending: true };
            search.filters.push(Filter::Past(mark));
        }
    }

    /// Begins what was previewed; durable when this returns. Once more for the same preview answers the
    /// batch that there is.
    ///
    /// # Errors
    /// [`Rejected::Conflict`] if it was not previewed in the last five minutes by the same principal; the
    /// store's.
    pub async fn begin_batch(
        &self,
        preview: &str,
        reason: Option<Arc<str>>,
        by: Option<Arc<str>>,
        acts_as: Option<Arc<str>>,
    ) -> Result<Batch, Error> {
        let (engine, preview) = (self.clone(), preview.to_owned());
        // Whoever asked may go away meanwhile.
        let beginning = async move { engine.begin_previewed(&preview, reason, by, acts_as).await };
        tokio::spawn(beginning).await.map_err(|_| Error::Closing)?
    }

    async fn begin_previewed(
        &self,
        preview: &str,
        reason: Option<Arc<str>>,
        by: Option<Arc<str>>,
        acts_as: Option<Arc<str>>,
    ) -> Result<Batch, Error> {
        let batches = &self.inner.batches;
        // From the look whether it has begun until it has: of two at once, the second sees the first.
        let _alone = batches.changing.lock().await;
        if let Some(batch) = self.batch(preview).filter(|batch| batch.acts_as == acts_as) {
            return Ok(batch);
        }
        let now = self.now();
        let is_it = |it: &BatchPreview| *it.id == *preview && it.acts_as == acts_as;
        let found = {
            let previews = batches.previews.lock();
            previews.iter().find(|it| is_it(it) && now <= it.until).cloned()
        };
        let Some(found) = found else {
            let message = "this was not previewed in the last five minutes, so nothing was changed";
            return Err(Rejected::Conflict(message.to_owned()).into());
        };
        let batch = Batch {
            id: found.id.clone(),
            act: found.act,
            find: found.find.clone(),
            reason,
            by,
            acts_as: acts_as.clone(),
            created_at: now,
            ended_at: None,
            state: BatchState::Running,
            stopped_by: None,
            runs: found.runs.len(),
            passed: 0,
            done: 0,
            refusals: Vec::new(),
        };
        let text = serde_json::to_string(&*found.runs).expect("ids serialize to JSON").into();
        let kind = kind_of_runs(&batch.id).into();
        let runs = Document { kind, name: batch.id.clone(), version: 0, text };
        self.inner.store.put_documents(vec![runs, document(&batch)]).await?;
        // Only now: whoever was told that the store was away may try again.
        batches.previews.lock().retain(|it| !is_it(it));
        batches.known.lock().insert(batch.id.clone(), batch.clone());
        batches.begun.notify_one();
        if let Err(error) = self.forget_old_batches().await {
            tracing::warn!(%error, "old batches could not be removed; retried when the next batch begins");
        }
        Ok(batch)
    }

    async fn forget_old_batches(&self) -> Result<(), StoreError> {
        let batches = &self.inner.batches;
        let old: Vec<Arc<str>> = {
            let known = batches.known.lock();
            let beyond = known.len().saturating_sub(BATCHES_MAX);
            let ended = known.values().filter(|it| it.state != BatchState::Running);
            ended.take(beyond).map(|it| it.id.clone()).collect()
        };
        for id in old {
            self.inner.store.delete_document(&kind_of_runs(&id), &id, 0).await?;
            self.inner.store.delete_document(BATCH, &id, 0).await?;
            batches.known.lock().remove(&id);
        }
        Ok(())
    }

    /// The batches that are kept, the newest first.
    pub fn batches(&self) -> Vec<Batch> {
        self.inner.batches.known.lock().values().rev().cloned().collect()
    }

    /// A batch by its id.
    pub fn batch(&self, id: &str) -> Option<Batch> {
        self.inner.batches.known.lock().get(id).cloned()
    }

    /// The runs of a batch, in the order of their turns.
    ///
    /// # Errors
    /// [`Rejected::Unknown`] if there is no such batch; the store's.
    pub async fn batch_runs(&self, id: &str) -> Result<Vec<ExecutionId>, Error> {
        let found = self.inner.store.documents(&kind_of_runs(id)).await?;
        let found = found.first().ok_or_else(|| unknown(id))?;
        let damaged = |error| StoreError::Corrupt(format!("the runs of batch {id}: {error}"));
        Ok(serde_json::from_str(&found.text).map_err(damaged)?)
    }

    /// Ends a batch before it is through; what was done stays done.
    ///
    /// # Errors
    /// [`Rejected::Unknown`] if there is none, [`Rejected::Conflict`] if it has ended; the store's.
    pub async fn stop_batch(&self, id: &str, by: Option<Arc<str>>) -> Result<Batch, Error> {
        let before = self.batch(id).ok_or_else(|| unknown(id))?;
        if before.state != BatchState::Running {
            let state = before.state.as_str();
            return Err(Rejected::Conflict(format!("the batch has ended: {state}")).into());
        }
        let (engine, now) = (self.clone(), self.now());
        let by = by.or_else(|| Some("somebody".into()));
        let stopping = async move {
            let stop = |batch: &mut Batch| batch.end(BatchState::Stopped, by, now);
            engine.change_batch(&before.id, stop).await
        };
        let stopped = tokio::spawn(stopping).await.map_err(|_| Error::Closing)??;
        stopped.ok_or_else(|| unknown(id))
    }

    /// Changes a batch, first in the store.
    async fn change_batch(
        &self,
        id: &str,
        change: impl FnOnce(&mut Batch),
    ) -> Result<Option<Batch>, StoreError> {
        let _alone = self.inner.batches.changing.lock().await;
        let Some(mut batch) = self.batch(id) else { return Ok(None) };
        change(&mut batch);
        self.inner.store.put_document(document(&batch)).await?;
        self.inner.batches.known.lock().insert(batch.id.clone(), batch.clone());
        // It is no machine; to whoever looks at runs it is one more that has changed.
        self.feed().note(&ExecutionId::new(batch.id.clone()), batch.passed as u64);
        Ok(Some(batch))
    }

    /// Works batches off, one after the other.
    pub(crate) fn run_batches(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                let more = async {
                    let Some(id) = engine.inner.batches.running() else {
                        return engine.inner.batches.begun.notified().await;
                    };
                    if let Err(error) = engine.work_on_batch(&id).await {
                        tracing::warn!(batch = %id, %error, "batch delayed; it is continued later");
                        tokio::time::sleep(AGAIN).await;
                    }
                };
                tokio::select! {
                    biased;
                    () = engine.inner.stop.cancelled() => return,
                    () = more => {}
                }
            }
        });
    }

    async fn work_on_batch(&self, id: &str) -> Result<(), Error> {
        let runs = match self.batch_runs(id).await {
            Ok(runs) => runs,
            Err(error) if error.is_transient() || matches!(error, Error::Closing) => {
                return Err(error);
            }
            Err(error) => return self.give_up_batch(id, error.to_string().into()).await,
        };
        while let Some(batch) = self.batch(id).filter(|it| it.state == BatchState::Running) {
            let allowed =
                self.must_allow(batch.acts_as.as_deref(), Permission::Run, ActsOn::Everything);
            match allowed.await {
                Err(Error::Rejected(why)) => {
                    return self.give_up_batch(id, why.to_string().into()).await;
                }
                allowed => allowed?,
            }
            let left = runs.get(batch.passed..).unwrap_or_default();
            let portion = &left[..left.len().min(PORTION)];
            let (results, failed) = self.act_on(&batch, portion).await?;
            let (is_last, now) = (results.len() == left.len(), self.now());
            let pass = |batch: &mut Batch| {
                batch.passed += results.len();
                batch.done += results.iter().filter(|it| it.is_none()).count();
                let room = REFUSALS_MAX.saturating_sub(batch.refusals.len());
                batch.refusals.extend(results.into_iter().flatten().take(room));
                if is_last {
                    batch.end(BatchState::Done, None, now);
                }
            };
            self.change_batch(id, pass).await?;
            // What was done before is noted first: the batch may be stopped before it is tried again.
            failed.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    async fn give_up_batch(&self, id: &str, why: Arc<str>) -> Result<(), Error> {
        tracing::warn!(batch = %id, %why, "batch stopped");
        let now = self.now();
        let stop = |batch: &mut Batch| batch.end(BatchState::Stopped, Some(why), now);
        self.change_batch(id, stop).await?;
        Ok(())
    }

    /// Acts on those of a portion that were not acted on, and tells of each, from the first on, whether it
    /// has refused: of all, or of those before the first that could not be reached, with the reason.
    async fn act_on(
        &self,
        batch: &Batch,
        portion: &[ExecutionId],
    ) -> Result<(Vec<Option<Refusal>>, Option<Error>), Error> {
        let key = |run: &ExecutionId| format!("{}/{run}", batch.id);
        let search = RecordSearch {
            keys: portion.iter().map(key).collect(),
            size: PORTION as u64,
            ..RecordSearch::newest(LEDGER)
        };
        let done = self.inner.store.records(&search).await?.rows;
        let done: BTreeSet<Arc<str>> = done.into_iter().map(|line| line.key).collect();
        let (now, done) = (self.now(), &done);
        let acts = portion.iter().map(|run| async move {
            if done.contains(key(run).as_str()) {
                return (run, Ok(()));
            }
            let record = Record {
                ledger: LEDGER,
                key: key(run).into(),
                subject: SUBJECT.into(),
                at: now,
                status: "DONE".into(),
                body: Json::of(&serde_json::json!({ "act": batch.act.as_str() })),
            };
            let control = batch.act.control(batch.reason.clone());
            let result = match run.machine() {
                MachineKind::Execution => {
                    self.step(run, Input::Batched(Box::new(Batched { control, record }))).await
                }
                _ => Err(Rejected::Unknown(format!("{run} is no run of a workflow")).into()),
            };
            (run, result)
        });
        let mut results = Vec::new();
        for (run, result) in join_all(acts).await {
            match result {
                Ok(()) => results.push(None),
                Err(error) if error.is_transient() || matches!(error, Error::Closing) => {
                    return Ok((results, Some(error)));
                }
                Err(error) => {
                    let why = error.to_string().into();
                    results.push(Some(Refusal { run: run.clone(), why }));
                }
            }
        }
        Ok((results, None))
    }
}
