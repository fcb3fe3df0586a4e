//! The port through which the engine remembers: what one commit holds, and what can be asked.
//!
//! One [`Commit`] changes one execution, whole or not at all. A store gathers the commits that
//! arrive together into one durable write (group commit); the caller of [`Store::commit`] resumes
//! only when its commit is on disk. `conformance` states what every store must do.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::{ExecutionId, Record, RowKind, Timestamp};

pub use crate::head::Head;
use crate::histogram::Histogram;
use crate::search::{Page, RecordPage, RecordSearch, Search, Spans};

/// A durable home of executions, definitions and logs.
#[async_trait]
pub trait Store: Send + Sync {
    /// Writes one change of one execution; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the execution is not at `commit.expect`: nothing is written,
    /// the caller loads and decides again. [`StoreError::Received`] if it is, but one of the messages in
    /// `commit.received` is no longer there: nothing is written, the caller drops that message.
    /// After [`StoreError::Unavailable`] the commit may or may not be there: load to find out.
    async fn commit(&self, commit: Commit) -> Result<(), StoreError>;

    /// The whole history of an execution, oldest first; `None` if there is none.
    async fn load(&self, id: &ExecutionId) -> Result<Option<Stored>, StoreError>;

    /// A pinned plan by its hash.
    async fn plan(&self, hash: &str) -> Result<Option<Arc<str>>, StoreError>;

    /// Executions whose `wake_at` is at or before `until`, soonest first, at most `limit`.
    async fn due(
        &self,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, ExecutionId)>, StoreError>;

    /// Every queue row, in no order: read once at start to rebuild the queues.
    async fn queued(&self) -> Result<Vec<QueueRow>, StoreError>;

    /// Messages committed but not yet received, oldest first, at most `limit`.
    async fn undelivered(&self, limit: usize) -> Result<Vec<Outgoing>, StoreError>;

    /// Drops a message that its receiver refused or that nobody will ever receive.
    async fn discard(&self, key: &MessageKey) -> Result<(), StoreError>;

    /// Writes lines of ledgers that no commit carries; one with the same ledger and key is
    /// replaced.
    async fn put_records(&self, records: Vec<Record>) -> Result<(), StoreError>;

    /// Lines of one ledger that match, in the order of their instants, paged.
    async fn records(&self, search: &RecordSearch) -> Result<RecordPage, StoreError>;

    /// Drops the oldest lines of each subject beyond `each_max` per ledger, of the audit ledger beyond
    /// [`AUDIT_FACTOR`] times as many; gives how many.
    async fn trim_records(&self, each_max: u64) -> Result<u64, StoreError>;

    /// Writes blocks of samples; one of the same monitor that begins at the same instant is
    /// replaced. Nobody waits for it.
    async fn put_samples(&self, blocks: Vec<SampleBlock>) -> Result<(), StoreError>;

    /// Blocks of a monitor that have checks in `[from, to)` or around it and begin after `after`, in
    /// their order, at most `limit`.
    async fn sample_blocks(
        &self,
        monitor: &str,
        between: (Timestamp, Timestamp),
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<SampleBlock>, StoreError>;

    /// The block of a monitor that begins last.
    async fn newest_samples(&self, monitor: &str) -> Result<Option<SampleBlock>, StoreError>;

    /// The monitors of which there are samples, by name.
    async fn sampled_monitors(&self) -> Result<Vec<Arc<str>>, StoreError>;

    /// Removes blocks that begin before `before` and, while all blocks together have more than
    /// `bytes_max` bytes, those that begin first; at most `limit`. Gives how many.
    async fn trim_samples(
        &self,
        before: Option<Timestamp>,
        bytes_max: Option<u64>,
        limit: u64,
    ) -> Result<u64, StoreError>;

    /// Removes blocks of a monitor, at most `limit`; gives how many.
    async fn forget_samples(&self, monitor: &str, limit: u64) -> Result<u64, StoreError>;

    /// Head rows that match, sorted and paged. Sees everything committed before the call; with
    /// free text it first waits until the text index has caught up to the call. It may be refused as
    /// [`StoreError::TooBroad`] if no index leads to what is asked and much is stored.
    async fn search(&self, search: &Search) -> Result<Page, StoreError>;

    /// How many head rows match, by name and status, in no order; `None` where
    /// [`Search::is_counted`] does not hold. A store that keeps no count of them counts the newest, as
    /// many as it can look through at once. It may be refused as [`StoreError::TooBroad`].
    async fn tally(&self, _: &Search) -> Result<Option<Tally>, StoreError> {
        Ok(None)
    }

    /// How many head rows that match were created in each of the spans, as a [`search`](Self::search)
    /// finds them; counted up to [`BEGUN_MAX`](crate::search::BEGUN_MAX) rows in all. It may be refused as
    /// [`StoreError::TooBroad`].
    async fn begun(&self, search: &Search, spans: Spans) -> Result<Vec<u64>, StoreError>;

    /// One head row.
    async fn head(&self, id: &ExecutionId) -> Result<Option<Head>, StoreError>;

    /// Head and brief of each of the executions, in their order; `None` for one that has no brief,
    /// as most have none.
    async fn briefs(&self, ids: &[ExecutionId]) -> Result<Vec<Option<(Head, String)>>, StoreError>;

    /// Removes one execution with its history, queue rows, logs, index entries and the messages
    /// to it; `false` if there was none. Plans that nothing else pins go with it. What it sent is
    /// still to be received: its parent may not have heard yet how it ended.
    async fn remove(&self, id: &ExecutionId) -> Result<bool, StoreError>;

    /// Removes those of the given executions that have ended and owe no message, all in one write,
    /// and gives the others back. One that is not there counts as removed.
    async fn remove_ended(&self, ids: Vec<ExecutionId>) -> Result<Vec<ExecutionId>, StoreError>;

    /// Removes finished executions beyond what `retention` keeps, first ended first, at most
    /// `limit` of them, and gives freed pages back to the file system. One that still owes a
    /// message stays until the message is received.
    async fn prune(
        &self,
        retention: &Retention,
        now: Timestamp,
        limit: usize,
    ) -> Result<Pruned, StoreError>;

    /// Inserts or replaces a document (a definition, a schedule, …).
    async fn put_document(&self, document: Document) -> Result<(), StoreError>;

    /// Inserts or replaces several documents in one transaction.
    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError>;

    /// Removes a document; `false` if there was none.
    async fn delete_document(
        &self,
        kind: &str,
        name: &str,
        version: u32,
    ) -> Result<bool, StoreError>;

    /// Every document of a kind, by name and version.
    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StoreError>;

    /// Documents of a kind whose names come after this one, by name, at most so many: for going through
    /// thousands of a kind that has no versions.
    async fn documents_after(
        &self,
        kind: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let mut documents = self.documents(kind).await?;
        documents.retain(|it| *it.name > *after);
        documents.truncate(limit);
        Ok(documents)
    }

    /// Adds log lines of a task. Lines beyond [`LOG_LINES_MAX`] per task drop the oldest; lines
    /// for an execution that is not there are dropped.
    async fn append_log(
        &self,
        execution: &ExecutionId,
        sequence: u32,
        lines: Vec<LogLine>,
    ) -> Result<(), StoreError>;

    /// Log lines of some tasks of an execution, in the order in which they were added.
    async fn log(
        &self,
        execution: &ExecutionId,
        sequences: &[u32],
        window: &LogWindow,
    ) -> Result<Vec<KeptLine>, StoreError>;

    /// Sizes and counters for `/metrics` and `doctor`.
    async fn statistics(&self) -> Result<Statistics, StoreError>;

    /// The room on the disk that it writes to, without asking anything but the file system; `None`
    /// if it has none of its own.
    fn space(&self) -> Option<Space> {
        None
    }

    /// How long its writes took since start; `None` if it does not measure that.
    fn write_times(&self) -> Option<&WriteTimes> {
        None
    }

    /// Whether this process may write now, as far as is known without asking; if not, the reason.
    ///
    /// # Errors
    /// Why it may not: another process owns the store, or nothing has confirmed lately that this
    /// one does.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    /// Writes what is pending, checkpoints and closes. Further calls answer
    /// [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}

/// The name and the status that rows have in common, and how many they are.
pub type Tallied = (Arc<str>, Arc<str>, u64);

/// How many head rows there are of each name and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// One for each name and status, in no order.
    pub counts: Vec<Tallied>,
    /// These are all that match; otherwise the newest of them, and there are more.
    pub is_exact: bool,
}

/// Log lines kept per task.
pub const LOG_LINES_MAX: usize = 1000;

/// One change of one execution; all of it is written or none.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The state after the change, as search and the waker see it.
    pub head: Head,
    /// The version that the decision was based on; 0 creates. The commit makes it `expect + 1`.
    pub expect: u64,
    /// The facts, one history row: the JSON text of a list of events.
    pub events: String,
    /// The facts begin with all that was before: earlier history rows are dropped.
    pub forget: bool,
    /// Plans that the events pin, `(hash, text)`; already stored ones are left alone.
    pub plans: Vec<(Arc<str>, Arc<str>)>,
    /// Changes of queue rows, applied in order.
    pub queue: Vec<QueueChange>,
    /// Messages owed to other executions. Their sequence numbers are unique per sender.
    pub send: Vec<Outgoing>,
    /// The messages that caused this change; they are deleted with it, so each is received once.
    pub received: Vec<MessageKey>,
    /// Lines for the ledgers; one with the same ledger and key is replaced.
    pub records: Vec<Record>,
    /// Nobody waits for it: some milliseconds may go by before it is durable, if that saves writes.
    pub deferrable: bool,
    /// Replaces the searchable free text, if it changed: everything that free text shall find
    /// but the id, which is always found. See [`words`](crate::search::words).
    pub text: Option<String>,
    /// Replaces the brief, if it changed; an empty one removes it. See [`Brief`](crate::Brief).
    pub brief: Option<String>,
}

/// An execution as stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Number of commits.
    pub version: u64,
    /// One JSON text per commit since the last that forgot, as given in [`Commit::events`], oldest
    /// first.
    pub history: Vec<String>,
}

/// A change of the queues.
#[derive(Clone, Debug)]
pub enum QueueChange {
    /// Adds a row, or replaces the row of the same task.
    Put(QueueRow),
    /// Removes a row of this machine, if there is one.
    Remove {
        /// What it stands for.
        kind: RowKind,
    },
}

impl QueueChange {
    /// What the row stands for.
    pub fn kind(&self) -> RowKind {
        match self {
            Self::Put(row) => row.kind,
            Self::Remove { kind } => *kind,
        }
    }
}

/// A task that waits for a worker or is held by one, or something else that waits like one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRow {
    /// Its execution.
    pub execution: ExecutionId,
    /// What it stands for there.
    pub kind: RowKind,
    /// The queue: task name, with `domain:` before it if it has one.
    pub queue: Arc<str>,
    /// The task definition's name, under which limits count.
    pub name: Arc<str>,
    /// 0 to 99; higher goes first.
    pub priority: u8,
    /// Not to be handed out before.
    pub ready_at: Timestamp,
    /// Held by a worker: counts against limits, is not handed out.
    pub held: bool,
    /// How many tasks of this name may be held at once; 0 = any number.
    pub concurrent_max: u32,
    /// How many may be handed out per window; 0 = any number.
    pub rate_max: u32,
    /// The window in seconds.
    pub rate_window_seconds: u32,
}

/// A message on its way from one execution to another.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Sender and number: receiving is deduplicated by it.
    pub key: MessageKey,
    /// The receiver.
    pub to: ExecutionId,
    /// The message as JSON text.
    pub body: String,
}

/// Names a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey {
    /// Who sent it.
    pub sender: ExecutionId,
    /// Its number among all that this sender sent.
    pub sequence: u64,
}

/// The audit ledger, whose lines are all about one subject: itself.
pub const AUDIT: &str = "audit";
/// How many times as many lines of it are kept as of other ledgers for each subject.
pub const AUDIT_FACTOR: u64 = 50;

/// Samples of consecutive checks of one monitor; what is in it is the engine's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleBlock {
    /// The monitor's name.
    pub subject: Arc<str>,
    /// When its first check started: with the monitor, this names the block.
    pub first_at: Timestamp,
    /// When its last check started.
    pub last_at: Timestamp,
    /// The number of its last check.
    pub last: u64,
    /// How many checks it has.
    pub checks: u32,
    /// The checks, compressed.
    pub data: Vec<u8>,
}

/// A definition or another document that is kept whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it is: `workflow`, `task`, …
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its version; 0 where a kind has none.
    pub version: u32,
    /// The document, JSON.
    pub text: Arc<str>,
}

/// One line of a task's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// The line.
    pub text: String,
}

/// Which lines of a log are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogWindow {
    /// Only so many, the last of those that the rest lets pass; absent = all.
    pub tail: Option<usize>,
    /// Only lines that were added before the one of this number.
    pub before: Option<u64>,
    /// Only lines with this text in them; the case of ASCII letters does not matter.
    pub find: Option<String>,
}

impl LogWindow {
    /// Everything that is kept.
    pub const ALL: Self = Self { tail: None, before: None, find: None };

    /// Whether a text has what is looked for.
    pub fn finds(&self, text: &str) -> bool {
        let lower = |text: &str| text.to_ascii_lowercase();
        self.find.as_ref().is_none_or(|find| lower(text).contains(&lower(find)))
    }
}

/// A line of a log as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLine {
    /// Its number in the store, which grows with each line that is added. A copy of the store gives
    /// others.
    pub number: u64,
    /// The task that it is of.
    pub sequence: u32,
    /// What was written.
    pub line: LogLine,
}

/// How much of what is finished is kept. Running executions are never removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most this many finished executions; 0 = any number.
    pub count_max: u64,
    /// None that ended longer ago than this many seconds; 0 = for ever.
    pub age_max_seconds: u64,
    /// The store's file shall not grow beyond this many bytes; 0 = any size. Only finished
    /// executions are removed to get there.
    pub disk_max_bytes: u64,
}

impl Retention {
    /// The earliest end that its age limit keeps, at the time `now`; `None` if it has none.
    pub fn oldest(&self, now: Timestamp) -> Option<Timestamp> {
        let seconds = i64::try_from(self.age_max_seconds).unwrap_or(i64::MAX);
        (seconds != 0).then(|| now.plus_millis(seconds.saturating_mul(-1000)))
    }
}

/// What a prune did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Executions removed.
    pub executions: u64,
    /// Bytes given back to the file system.
    pub bytes: u64,
    /// More could be removed: call again.
    pub more: bool,
}

/// The room on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that may still be written.
    pub free: u64,
    /// Bytes in all.
    pub size: u64,
}

/// How long writes of a store took.
#[derive(Debug)]
pub struct WriteTimes {
    /// Transactions, from their first statement until they were durable.
    pub transactions: Histogram,
    /// Of these the end: what was changed is appended to the log, and the log is synced.
    pub syncs: Histogram,
}

impl Default for WriteTimes {
    fn default() -> Self {
        Self { transactions: Histogram::of_writes(), syncs: Histogram::of_writes() }
    }
}

/// Sizes and counters of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// All executions of graphs.
    pub executions: u64,
    /// Those not finished.
    pub running: u64,
    /// All instances of code.
    pub instances: u64,
    /// Those that stand as what has not ended.
    pub instances_running: u64,
    /// All entities, also those that hold nothing now.
    pub entities: u64,
    /// Bytes in the store's files.
    pub bytes: u64,
    /// Durable writes since start.
    pub writes: u64,
    /// Commits since start; `commits / writes` is how well they were grouped.
    pub commits: u64,
}

/// Why the store did not do as asked, divided by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the execution first: load and decide again.
    #[error("the execution changed meanwhile")]
    Conflict,
    /// The message that caused the change was received before: drop it.
    #[error("the message was received before")]
    Received,
    /// The store cannot write or read now (disk full, database away): try again later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What is stored does not make sense: stop touching this execution.
    #[error("the store holds damaged data: {0}")]
    Corrupt(String),
    /// The store, or the database it is in, will not do for this release; nothing in it is damaged.
    #[error("{0}")]
    Unfit(String),
    /// A search would have to look through more than the store allows: ask for less.
    #[error("the search would have to look through too many rows")]
    TooBroad,
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}
