//! The shared store: a `PostgreSQL` database, one connection that commits, one for chores, a few that
//! read.
//!
//! All commits go through the lane (`lane`), which writes everything that has queued in one
//! transaction and one round trip. Each transaction that writes locks a row of `fence` first
//! (`node`): a process that was declared dead has none and writes nothing more. Nothing is kept in
//! sessions, so that a pool may stand between.

mod batch;
pub(crate) mod copying;
mod fault;
mod keeping;
mod key;
mod lane;
mod line;
mod member;
mod node;
mod options;
mod prune;
mod readers;
mod schema;
mod search;
mod session;
mod tls;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use engine::search::{Page, RecordPage, RecordSearch, Search, Spans};
use engine::store::{
    Commit, Document, Head, KeptLine, LogLine, LogWindow, MessageKey, Outgoing, Pruned, QueueRow,
    Retention, SampleBlock, Statistics, Store, StoreError, Stored, Tally, WriteTimes,
};
use kernel::{ExecutionId, Record, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_postgres::Row;

use crate::text::distinct_words;
use batch::Prepared;
use fault::{Kind, explain};
use lane::{Job, Lane, Order};
use line::Line;
use node::{CHORES, COMMITS, EVICTED, Node};
use prune::Which;
use readers::Readers;
use schema::Identity;
use session::{Begin, Session, Statement};

pub use key::{PARTITIONS, partition};
pub use member::{Member, MemberNode};
pub use node::{BEATS, Gone, Succession};
pub use options::PostgresOptions;

/// Commits that may wait for the lane; further callers wait for a place.
const QUEUE_MAX: usize = 8192;
/// How long a search may look for its rows, and as long again to count them.
const SEARCH_MAX: Duration = Duration::from_secs(5);
/// Executions of a kind that are told apart by name and status, the newest.
const TALLIED_MAX: u64 = 100_000;
/// How long an answer to a chore may take.
const CHORE_MAX: Duration = Duration::from_secs(45);
/// How often a chore is tried that others are in the way of.
const AGAIN_MAX: u32 = 8;
/// So many executions are not counted anew for every question.
const COUNTING_DEAR: u64 = 20_000;
/// Counting may take this part of the time.
const COUNTING_SHARE: u32 = 20;

/// A store in a `PostgreSQL` database.
pub struct Postgres {
    options: PostgresOptions,
    schema: String,
    node: Arc<Node>,
    orders: mpsc::Sender<Order>,
    chores: tokio::sync::Mutex<Line>,
    readers: Arc<Readers>,
    beating: Arc<Mutex<Option<Session>>>,
    tasks: [AbortHandle; 2],
    writes: Arc<AtomicU64>,
    times: Arc<WriteTimes>,
    commits: AtomicU64,
    closed: AtomicBool,
    counted: Arc<Mutex<Option<Counted>>>,
    counting: Arc<AtomicBool>,
}

/// What was counted last.
#[derive(Clone, Copy)]
struct Counted {
    at: Instant,
    took: Duration,
    found: Statistics,
}

impl Postgres {
    /// Opens the store, makes its tables if there are none, and becomes its owner. If another server
    /// was killed, this waits until its lease is over, some seconds.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database cannot be reached or another server has the store;
    /// [`StoreError::Unfit`] if the database will not do, or is one of a later release.
    pub async fn open(options: &PostgresOptions) -> Result<Arc<Self>, StoreError> {
        Self::take_over(options, Succession::Patient).await
    }

    /// The same, in the place of another server, if that is due. If it was not, for the other one still
    /// lives, nothing that it still sends is written.
    ///
    /// # Errors
    /// As [`Postgres::open`].
    pub async fn take_over(
        options: &PostgresOptions,
        succession: Succession,
    ) -> Result<Arc<Self>, StoreError> {
        let session = Session::open(options).await?;
        let (node, beating, beat) = own(session, options, succession).await?;
        let schema = options.quoted_schema();
        let (orders, waiting) = mpsc::channel(QUEUE_MAX);
        let writes = Arc::new(AtomicU64::new(0));
        let times = Arc::<WriteTimes>::default();
        let lane = Lane {
            schema: schema.clone(),
            node: node.clone(),
            line: Line::new(options.clone(), node.clone()),
            orders: waiting,
            later: VecDeque::new(),
            writes: writes.clone(),
            times: times.clone(),
            gathered: tokio::time::Instant::now(),
        };
        let tasks = [tokio::spawn(lane.run()).abort_handle(), beat];
        Ok(Arc::new(Self {
            chores: tokio::sync::Mutex::new(Line::new(options.clone(), node.clone())),
            readers: Arc::new(Readers::new(options.clone())),
            options: options.clone(),
            schema,
            node,
            orders,
            beating,
            tasks,
            writes,
            times,
            commits: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            counted: Arc::default(),
            counting: Arc::default(),
        }))
    }

    /// Makes the tables if there are none, or brings them to this release's version, for which no
    /// server may be using them.
    ///
    /// # Errors
    /// As [`Postgres::open`]; that a server has the store is one only if its tables are of an earlier
    /// release.
    pub async fn init(options: &PostgresOptions) -> Result<(), StoreError> {
        let session = Session::open(options).await?;
        schema::look(&session).await?;
        if !schema::is_older(&session, options).await? {
            return schema::migrate(&session, options).await;
        }
        let (node, _, beat) = own(session, options, Succession::Patient).await?;
        beat.abort();
        let session = Session::open(options).await?;
        node::leave(&session, &options.quoted_schema(), &node).await;
        Ok(())
    }

    /// Whether another server has the store now. What cannot be told is no.
    pub async fn is_taken(options: &PostgresOptions) -> bool {
        let Ok(session) = Session::open(options).await else { return false };
        let holders = node::holders(&session, &options.quoted_schema()).await;
        holders.is_ok_and(|holders| holders.iter().any(|holder| holder.left > 0))
    }

    /// Returns once the store belongs to another server, or its database is another one than before,
    /// with the reason: what this process remembers may then be wrong, and it must be started anew.
    pub async fn lost(&self) -> String {
        self.node.lost().await
    }

    /// Which this server is among those of the store.
    pub fn incarnation(&self) -> i64 {
        self.node.incarnation
    }

    /// All servers that share the store.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database does not answer.
    pub async fn nodes(&self) -> Result<Vec<MemberNode>, StoreError> {
        let answers = self.readers.search(SEARCH_MAX, &[member::all(&self.schema)]).await?;
        Ok(answers.first().map_or(&[][..], Vec::as_slice).iter().map(member::of_row).collect())
    }

    /// Where it is, without user and password.
    pub fn options(&self) -> &PostgresOptions {
        &self.options
    }

    fn is_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Writes something that is no commit, in a transaction of its own; gives what each statement
    /// answered.
    async fn write(&self, statements: Vec<Statement<'_>>) -> Result<Vec<Vec<Row>>, StoreError> {
        self.write_by(Begin::Chore, statements).await
    }

    async fn write_by(
        &self,
        begin: Begin,
        statements: Vec<Statement<'_>>,
    ) -> Result<Vec<Vec<Row>>, StoreError> {
        self.is_open()?;
        let mut all = vec![self.node.fence(&self.schema, CHORES)];
        all.extend(statements);
        let mut line = self.chores.lock().await;
        let mut tries = 0;
        loop {
            let session = line.session().await?;
            let sent = session.transact(begin, &all);
            let Ok(outcome) = tokio::time::timeout(CHORE_MAX, sent).await else {
                line.drop_session();
                return Err(StoreError::Unavailable("PostgreSQL: no answer in time".to_owned()));
            };
            let failure = match outcome {
                Ok(mut rows) => {
                    self.writes.fetch_add(1, Ordering::Relaxed);
                    rows.remove(0);
                    return Ok(rows);
                }
                Err(failure) => failure,
            };
            match failure.kind() {
                Kind::Broken => line.drop_session(),
                Kind::Unmet if failure.at == 0 => self.node.lose(EVICTED),
                Kind::Again if tries < AGAIN_MAX => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(2 << tries)).await;
                    continue;
                }
                _ => {}
            }
            self.node.still_owns()?;
            return Err(explain(&failure.error));
        }
    }

    /// Waits for the end of what was given up while the database was away: what is read is to be what
    /// stays.
    async fn settle(&self) -> Result<(), StoreError> {
        if self.node.unsettled().is_none() {
            return Ok(());
        }
        self.is_open()?;
        let fence = [self.node.fence(&self.schema, COMMITS)];
        let mut line = self.chores.lock().await;
        // Another may have done it while this one waited.
        let Some(mark) = self.node.unsettled() else { return Ok(()) };
        let session = line.session().await?;
        let sent = session.transact(Begin::Write, &fence);
        match tokio::time::timeout(CHORE_MAX, sent).await {
            Ok(Ok(_)) => {
                self.node.settle(mark);
                Ok(())
            }
            Ok(Err(failure)) => {
                match failure.kind() {
                    Kind::Unmet => self.node.lose(EVICTED),
                    Kind::Again => {
                        node::end_own(session, &self.schema, &self.node, COMMITS).await;
                    }
                    _ => line.drop_session(),
                }
                Err(StoreError::Unavailable(fault::text(&failure.error)))
            }
            Err(_) => {
                line.drop_session();
                Err(StoreError::Unavailable("PostgreSQL: no answer in time".to_owned()))
            }
        }
    }

    /// Removes those of the keys that may go; gives the keys of those that went, and of those that
    /// stay.
    async fn remove_keys(
        &self,
        keys: &[Vec<u8>],
        which: Which,
    ) -> Result<(Vec<Vec<u8>>, Vec<Vec<u8>>), StoreError> {
        let (mut gone, mut left) = (Vec::new(), Vec::new());
        for piece in keys.chunks(prune::PIECE) {
            let statements = prune::remove(&self.schema, piece, which);
            let mut rows = self.write_by(Begin::Write, statements).await?;
            left.extend(rows.pop().map(|rows| prune::keys_of(&rows)).unwrap_or_default());
            gone.extend(rows.pop().map(|rows| prune::keys_of(&rows)).unwrap_or_default());
        }
        Ok((gone, left))
    }

    /// What is stored. While little is, it is counted anew; otherwise what was counted last is the
    /// answer, and it is counted again now and then.
    async fn counts(&self) -> Result<Statistics, StoreError> {
        let last = *self.counted.lock();
        if let Some(Counted { at, took, found }) = last
            && found.executions + found.instances + found.entities > COUNTING_DEAR
        {
            if at.elapsed() > took * COUNTING_SHARE && !self.counting.swap(true, Ordering::AcqRel) {
                drop(self.count());
            }
            return Ok(found);
        }
        self.count().await.map_err(|_| StoreError::Closed)?
    }

    /// Counts what is stored, also if nobody waits for it to the end.
    fn count(&self) -> JoinHandle<Result<Statistics, StoreError>> {
        let (readers, counted, counting) =
            (self.readers.clone(), self.counted.clone(), self.counting.clone());
        let questions = prune::counts(&self.schema);
        tokio::spawn(async move {
            let at = Instant::now();
            let found = match readers.search(CHORE_MAX, &questions).await {
                Ok(rows) => prune::statistics(&rows),
                Err(error) => Err(error),
            };
            counting.store(false, Ordering::Release);
            let found = found?;
            *counted.lock() = Some(Counted { at, took: at.elapsed(), found });
            Ok(found)
        })
    }

    /// Finds what retention does not keep, at most `limit`, and removes it.
    async fn prune_beyond(
        &self,
        questions: &[Statement<'static>],
        limit: usize,
    ) -> Result<(u64, bool), StoreError> {
        if questions.is_empty() {
            return Ok((0, false));
        }
        let answers = self.readers.search(CHORE_MAX, questions).await?;
        let found = prune::candidates(&answers, limit);
        let (gone, _) = self.remove_keys(&found.keys, Which::Finished).await?;
        Ok((gone.len() as u64, found.more))
    }
}

type Owned = (Arc<Node>, Arc<Mutex<Option<Session>>>, AbortHandle);

/// Becomes the owner of the store, which has the tables of this release then, and keeps the lease.
/// Tables of an earlier release change only once nobody else uses them.
async fn own(
    session: Session,
    options: &PostgresOptions,
    succession: Succession,
) -> Result<Owned, StoreError> {
    let identity = schema::look(&session).await?;
    let is_older = schema::is_older(&session, options).await?;
    if !is_older {
        schema::migrate(&session, options).await?;
    }
    if !is_older {
        return join(session, options, &identity, succession).await;
    }
    // That may take longer than the lease lasts.
    let (node, beating, beat) =
        join(Session::open(options).await?, options, &identity, succession).await?;
    if let Err(error) = schema::migrate(&session, options).await {
        beat.abort();
        node::leave(&session, &options.quoted_schema(), &node).await;
        return Err(error);
    }
    Ok((node, beating, beat))
}

/// Becomes the owner of the store, whatever its tables, and keeps the lease.
async fn join(
    session: Session,
    options: &PostgresOptions,
    identity: &Identity,
    succession: Succession,
) -> Result<Owned, StoreError> {
    let node = node::join(&session, options, identity, succession).await?;
    let beating = Arc::<Mutex<Option<Session>>>::default();
    let beat = node::beat(node.clone(), options.clone(), beating.clone());
    beating.lock().replace(session);
    Ok((node, beating, tokio::spawn(beat).abort_handle()))
}

#[async_trait]
impl Store for Postgres {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        self.is_open()?;
        self.node.still_owns()?;
        let words = commit.text.as_deref().map(distinct_words);
        let (reply, answer) = oneshot::channel();
        let job = Job { prepared: Prepared { commit, words }, reply };
        let sent = self.orders.send(Order::Commit(Box::new(job))).await;
        sent.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)??;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn load(&self, id: &ExecutionId) -> Result<Option<Stored>, StoreError> {
        self.settle().await?;
        self.readers.load(id).await
    }

    async fn plan(&self, hash: &str) -> Result<Option<Arc<str>>, StoreError> {
        self.readers.plan(hash).await
    }

    async fn due(
        &self,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, ExecutionId)>, StoreError> {
        self.readers.due(until, limit).await
    }

    async fn queued(&self) -> Result<Vec<QueueRow>, StoreError> {
        self.readers.queued().await
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Outgoing>, StoreError> {
        self.readers.undelivered(limit).await
    }

    async fn discard(&self, key: &MessageKey) -> Result<(), StoreError> {
        self.write(vec![keeping::discard(&self.schema, key)]).await.map(|_| ())
    }

    async fn put_records(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let records: Vec<&Record> = records.iter().collect();
        let statement = batch::records_of(&self.schema, &records);
        self.write(statement.into_iter().collect()).await.map(|_| ())
    }

    async fn records(&self, search: &RecordSearch) -> Result<RecordPage, StoreError> {
        let statements = keeping::records(&self.schema, search);
        let answers = self.readers.search(SEARCH_MAX, &statements).await?;
        keeping::record_page(search.ledger, &answers)
    }

    async fn trim_records(&self, each_max: u64) -> Result<u64, StoreError> {
        let mut trimmed = 0;
        loop {
            let rows = self.write(vec![keeping::trim_records(&self.schema, each_max)]).await?;
            match count_of(&rows) {
                0 => return Ok(trimmed),
                piece => trimmed += piece,
            }
        }
    }

    async fn put_samples(&self, blocks: Vec<SampleBlock>) -> Result<(), StoreError> {
        self.write(vec![keeping::put_samples(&self.schema, &blocks)]).await.map(|_| ())
    }

    async fn sample_blocks(
        &self,
        monitor: &str,
        between: (Timestamp, Timestamp),
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<SampleBlock>, StoreError> {
        self.readers.sample_blocks(monitor, between, after, limit).await
    }

    async fn newest_samples(&self, monitor: &str) -> Result<Option<SampleBlock>, StoreError> {
        self.readers.newest_samples(monitor).await
    }

    async fn sampled_monitors(&self) -> Result<Vec<Arc<str>>, StoreError> {
        self.readers.sampled_monitors().await
    }

    async fn trim_samples(
        &self,
        before: Option<Timestamp>,
        bytes_max: Option<u64>,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let trim = keeping::trim_samples(&self.schema, before, bytes_max, limit);
        self.write(vec![trim]).await.map(|rows| count_of(&rows))
    }

    async fn forget_samples(&self, monitor: &str, limit: u64) -> Result<u64, StoreError> {
        let forget = keeping::forget_samples(&self.schema, monitor, limit);
        self.write(vec![forget]).await.map(|rows| count_of(&rows))
    }

    async fn search(&self, search: &Search) -> Result<Page, StoreError> {
        let asked = search::Asked::of(&self.schema, search);
        let answers = self.readers.search(SEARCH_MAX, &[asked.page(), asked.count()]).await?;
        let [rows, count] = answers.as_slice() else { return Err(StoreError::Closed) };
        let rows = rows.iter().map(readers::head).collect::<Result<Vec<_>, _>>()?;
        let counted = count.first().map_or(0, |row| row.get::<_, i64>(0)) as u64;
        Ok(Page { total: asked.total_of(rows.len() as u64).unwrap_or(counted), rows })
    }

    async fn tally(&self, search: &Search) -> Result<Option<Tally>, StoreError> {
        if !search.is_counted() {
            return Ok(None);
        }
        let asked = search::Asked::of(&self.schema, search);
        let answers = self.readers.search(SEARCH_MAX, &[asked.tally(TALLIED_MAX)]).await?;
        Ok(Some(search::tally(answers.first().map_or(&[][..], Vec::as_slice), TALLIED_MAX)))
    }

    async fn begun(&self, search: &Search, spans: Spans) -> Result<Vec<u64>, StoreError> {
        let mut search = search.clone();
        search.filters.extend(spans.filters());
        let asked = search::Asked::of(&self.schema, &search);
        let answers = self.readers.search(SEARCH_MAX, &[asked.begun(&spans)]).await?;
        let rows = answers.first().map_or(&[][..], Vec::as_slice).iter();
        Ok(spans.sum(rows.map(|row| (row.get(0), row.get::<_, i64>(1) as u64))))
    }

    async fn head(&self, id: &ExecutionId) -> Result<Option<Head>, StoreError> {
        self.readers.head(id).await
    }

    async fn briefs(&self, ids: &[ExecutionId]) -> Result<Vec<Option<(Head, String)>>, StoreError> {
        self.readers.briefs(ids).await
    }

    async fn remove(&self, id: &ExecutionId) -> Result<bool, StoreError> {
        let (gone, _) = self.remove_keys(&[key::key(id)], Which::All).await?;
        Ok(!gone.is_empty())
    }

    async fn remove_ended(&self, ids: Vec<ExecutionId>) -> Result<Vec<ExecutionId>, StoreError> {
        let keys: Vec<_> = ids.iter().map(key::key).collect();
        let (_, left) = self.remove_keys(&keys, Which::Settled).await?;
        Ok(prune::among(ids, &left))
    }

    async fn prune(
        &self,
        retention: &Retention,
        now: Timestamp,
        limit: usize,
    ) -> Result<Pruned, StoreError> {
        let questions = prune::beyond(&self.schema, retention, now, limit);
        let (executions, more) = self.prune_beyond(&questions, limit).await?;
        let mut pruned = Pruned { executions, more, bytes: 0 };
        let most = retention.disk_max_bytes;
        if most == 0 || more {
            return Ok(pruned);
        }
        let before = self.counts().await?;
        let excess = before.bytes.saturating_sub(most);
        if excess > 0 {
            let count = before.executions + before.instances + before.entities;
            let each = (before.bytes / count.max(1)).max(1);
            let left = limit.saturating_sub(pruned.executions as usize) as u64;
            let needed = (excess / each + 1).min(left);
            let ended = prune::first_ended(&self.schema, i64::MAX, &(needed + 1).to_string());
            let (gone, more) = self.prune_beyond(&[ended], needed as usize).await?;
            // However long counting takes: what was removed must be seen.
            let after = self.count().await.map_err(|_| StoreError::Closed)??.bytes;
            pruned.executions += gone;
            pruned.more = more && gone > 0 && after > most;
            pruned.bytes = before.bytes.saturating_sub(after);
        }
        Ok(pruned)
    }

    async fn put_document(&self, document: Document) -> Result<(), StoreError> {
        self.put_documents(vec![document]).await
    }

    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        let put = keeping::put_documents(&self.schema, &documents);
        self.write(vec![put, keeping::revise(&self.schema)]).await.map(|_| ())
    }

    async fn delete_document(
        &self,
        kind: &str,
        name: &str,
        version: u32,
    ) -> Result<bool, StoreError> {
        let delete = keeping::delete_document(&self.schema, kind, name, version);
        let rows = self.write(vec![delete, keeping::revise(&self.schema)]).await?;
        Ok(rows.first().is_some_and(|rows| !rows.is_empty()))
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StoreError> {
        self.readers.documents(kind).await
    }

    async fn documents_after(
        &self,
        kind: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.readers.documents_after(kind, after, limit).await
    }

    async fn append_log(
        &self,
        execution: &ExecutionId,
        sequence: u32,
        lines: Vec<LogLine>,
    ) -> Result<(), StoreError> {
        let append = keeping::append_log(&self.schema, execution, sequence, &lines);
        self.write(append.into()).await.map(|_| ())
    }

    async fn log(
        &self,
        execution: &ExecutionId,
        sequences: &[u32],
        window: &LogWindow,
    ) -> Result<Vec<KeptLine>, StoreError> {
        self.readers.log(execution, sequences, window).await
    }

    async fn statistics(&self) -> Result<Statistics, StoreError> {
        Ok(Statistics {
            writes: self.writes.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            ..self.counts().await?
        })
    }

    fn write_times(&self) -> Option<&WriteTimes> {
        Some(&self.times)
    }

    fn ready(&self) -> Result<(), String> {
        self.node.doubt().map_or(Ok(()), Err)
    }

    async fn close(&self) -> Result<(), StoreError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.node.begin_closing();
        let (reply, done) = oneshot::channel();
        if self.orders.send(Order::Close(reply)).await.is_ok() {
            // Fails if the lane is gone, and then nothing is to be waited for.
            let _ = done.await;
        }
        self.readers.close();
        let mut line = self.chores.lock().await;
        for task in &self.tasks {
            task.abort();
        }
        self.beating.lock().take();
        if self.node.still_owns().is_ok()
            && let Ok(session) = line.session().await
        {
            node::leave(session, &self.schema, &self.node).await;
        }
        line.drop_session();
        Ok(())
    }
}

impl Drop for Postgres {
    /// Ends what runs for it. If nobody closed it the lease runs out by itself.
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The number that the last statement answered.
fn count_of(rows: &[Vec<Row>]) -> u64 {
    rows.last().and_then(|rows| rows.first()).map_or(0, |row| row.get::<_, i64>(0)) as u64
}
