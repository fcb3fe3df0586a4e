//! The embedded store: one `SQLite` file, one thread that writes, a few connections that read.
//!
//! All that changes the file goes through the writer, which commits everything that has queued
//! with one sync (`writer`). Readers see the last commit and never wait for the writer. A lock
//! beside the file keeps a second process away, since two writers would each believe their own
//! memory.

mod archive;
mod backup;
mod checkpoint;
mod commit;
pub(crate) mod copying;
mod documents;
mod fault;
mod key;
mod maintenance;
mod named;
mod names;
mod plan;
mod prune;
mod read;
mod records;
mod rows;
mod samples;
mod schema;
mod search;
mod tally;
mod writer;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use engine::search::{Page, RecordPage, RecordSearch, Search, Spans};
use engine::store::{
    self, Commit, Document, Head, KeptLine, LogLine, LogWindow, MessageKey, Outgoing, Pruned,
    QueueRow, Retention, SampleBlock, Space, Statistics, Store, StoreError, Stored, WriteTimes,
};
use kernel::{ExecutionId, Record, Timestamp};
use parking_lot::Mutex;
use rusqlite::{Connection, params};
use tokio::sync::{Semaphore, oneshot};

use crate::text::distinct_words;
use checkpoint::Checkpoints;
use fault::JobError;
use key::Key;
use maintenance::Chores;
use names::{Numbers, Words};
use read::Readers;
use tally::Tally;
use writer::{Work, WriteContext, Writer, WriterCommand};

/// Pieces of work that may wait for the writer; further callers wait for a place.
const QUEUE_MAX: usize = 8192;

/// How the store uses the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What a commit survives once it is acknowledged.
    pub durability: Durability,
    /// Memory for pages of the writing connection, in bytes.
    pub write_cache_bytes: u64,
    /// Memory for pages of each reading connection, in bytes.
    pub read_cache_bytes: u64,
    /// Connections that read at the same time, at least 1.
    pub readers: usize,
    /// Writes that would grow the file beyond this many bytes are refused, so that the disk keeps
    /// room for others. `None`: no bound but the disk.
    pub size_max_bytes: Option<u64>,
    /// How long nothing has been written before the store tidies up: indexes texts, compresses
    /// the histories of ended executions, gives room back.
    pub tidy_after: Duration,
    /// Steps of `SQLite`'s machine after which a search is refused. A row that is passed over takes
    /// about ten, a row that is looked at some thirty.
    pub search_steps_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::PowerLoss,
            write_cache_bytes: 12 * 1024 * 1024,
            read_cache_bytes: 2 * 1024 * 1024,
            readers: 2,
            size_max_bytes: None,
            tidy_after: Duration::from_millis(200),
            search_steps_max: 100_000_000,
        }
    }
}

/// What an acknowledged commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The power going off.
    PowerLoss,
    /// The process being killed. The last commits before a power loss may be gone; what is left
    /// is sound.
    ProcessCrash,
}

/// A store in one `SQLite` file.
pub struct Sqlite {
    path: PathBuf,
    door: Sender<WriterCommand>,
    room: Arc<Semaphore>,
    readers: Arc<Readers>,
    writes: Arc<AtomicU64>,
    times: Arc<WriteTimes>,
    commits: AtomicU64,
    search_steps_max: u64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Sqlite {
    /// Opens the file, or creates it. Blocks for a few milliseconds.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if another process has it open or the file system refuses;
    /// [`StoreError::Corrupt`] if it is not a store or is one of a later release.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Arc<Self>, StoreError> {
        let path = path.as_ref().to_owned();
        let lock = lock(&path)?;
        let connection = schema::open_writer(&path, options)?;
        let readers = Arc::new(Readers::open(&path, options)?);
        let writes = Arc::new(AtomicU64::new(0));
        let times = Arc::<WriteTimes>::default();
        let (door, commands) = channel();
        let named =
            named::Progress::read(&connection).map_err(|error| fault::explain(&error, &path))?;
        let chores = Chores::at_start(Checkpoints::start(&path)?, named, options.tidy_after);
        let writer = Writer {
            desk: WriteContext {
                connection,
                numbers: Numbers::default(),
                tally: Tally::default(),
                chores,
            },
            door: commands,
            path: path.clone(),
            lock,
            writes: writes.clone(),
            times: times.clone(),
            gathered: Instant::now(),
            complained: None,
        };
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| fault::io("no thread to write", &path, &error))?;
        let room = Arc::new(Semaphore::new(QUEUE_MAX));
        let commits = AtomicU64::new(0);
        let writer = Mutex::new(Some(writer));
        let search_steps_max = options.search_steps_max;
        let this =
            Self { path, door, room, readers, writes, times, commits, search_steps_max, writer };
        Ok(Arc::new(this))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Copies the store as it stands now to another file, which must not be there; answers its bytes. Whoever
    /// reads and writes goes on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the file is there, or the file system refuses; nothing is left of it then.
    pub async fn back_up(&self, to: PathBuf) -> Result<u64, StoreError> {
        let path = self.path.clone();
        let done = tokio::task::spawn_blocking(move || backup::copy(&path, &to)).await;
        done.map_err(|error| StoreError::Unavailable(format!("a backup was lost: {error}")))?
    }

    /// How much all reads so far took, in steps of `SQLite`'s machine, to a hundred each. It tells
    /// whether a question costs by what is stored, which no clock can.
    pub fn read_steps(&self) -> u64 {
        self.readers.steps()
    }

    /// Has the writer do something in its next transaction; durable when it returns. `act` may
    /// be called again if a transaction fails. `bytes` is roughly what it writes.
    async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        act: impl FnMut(&mut WriteContext) -> Result<T, JobError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_with(bytes, false, act).await
    }

    /// The same; if `deferrable`, nobody waits for it.
    async fn write_with<T: Send + 'static>(
        &self,
        bytes: usize,
        deferrable: bool,
        act: impl FnMut(&mut WriteContext) -> Result<T, JobError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = self.room.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let work = Work { act, bytes, deferrable, outcome: None, reply, _place: place };
        self.door.send(WriterCommand::Work(Box::new(work))).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Reads from one state of the file, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Connection, &Words) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        Readers::read(&self.readers, u64::MAX, act).await
    }

    /// Waits until all texts are indexed that were committed before the call.
    async fn index_texts(&self) -> Result<(), StoreError> {
        let last = self
            .read(|connection, _| {
                let mut last = connection.prepare_cached("SELECT max(execution) FROM pending")?;
                last.query_row([], |row| row.get::<_, Option<i64>>(0))
            })
            .await?;
        let Some(last) = last else { return Ok(()) };
        let mut done = Some(0);
        while let Some(after) = done {
            done = self
                .write(0, move |desk| Ok(maintenance::index(&desk.connection, after, last, 256)?))
                .await?;
        }
        Ok(())
    }

    /// Removes the candidates piece by piece.
    async fn remove_finished(&self, rows: &[i64]) -> Result<u64, StoreError> {
        let (mut removed, mut left) = (0, rows);
        while !left.is_empty() {
            let piece = left[..left.len().min(prune::PIECE)].to_vec();
            let (seen, gone) =
                self.write(0, move |desk| Ok(prune::remove_finished(desk, &piece)?)).await?;
            removed += gone;
            left = &left[seen..];
        }
        Ok(removed)
    }

    /// Gives freed room back to the file system.
    async fn shrink(&self) -> Result<(), StoreError> {
        self.write(0, |desk| {
            desk.chores.shrink = true;
            Ok(())
        })
        .await?;
        // The writer shrinks between two transactions; the next one comes after it.
        self.write(0, |_| Ok(())).await
    }

    fn bytes(&self) -> u64 {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        length(&self.path) + length(&beside(&self.path, "-wal"))
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let bytes = commit.events.len() + length(&commit.text) + length(&commit.brief);
        let words = commit.text.as_deref().map(distinct_words);
        self.write_with(bytes, commit.deferrable, move |desk| {
            commit::write(desk, &commit, words.as_deref())
        })
        .await?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn load(&self, id: &ExecutionId) -> Result<Option<Stored>, StoreError> {
        let key = Key::of(id);
        let stored = self.read(move |connection, _| read::load(connection, &key)).await?;
        match stored {
            Some((stored, forgotten))
                if stored.history.len() as u64 + forgotten != stored.version =>
            {
                let (found, wanted) = (stored.history.len(), stored.version - forgotten);
                Err(StoreError::Corrupt(format!("{id} has {found} of {wanted} commits")))
            }
            stored => Ok(stored.map(|(stored, _)| stored)),
        }
    }

    async fn plan(&self, hash: &str) -> Result<Option<Arc<str>>, StoreError> {
        let hash = hash.to_owned();
        self.read(move |connection, _| read::plan(connection, &hash)).await
    }

    async fn due(
        &self,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, ExecutionId)>, StoreError> {
        self.read(move |connection, _| read::due(connection, until, limit)).await
    }

    async fn queued(&self) -> Result<Vec<QueueRow>, StoreError> {
        self.read(rows::queued).await
    }

    async fn undelivered(&self, limit: usize) -> Result<Vec<Outgoing>, StoreError> {
        self.read(move |connection, _| read::undelivered(connection, limit)).await
    }

    async fn discard(&self, key: &MessageKey) -> Result<(), StoreError> {
        let (sender, sequence) = (Key::of(&key.sender), key.sequence as i64);
        self.write(0, move |desk| {
            desk.connection
                .prepare_cached("DELETE FROM message WHERE sender = ?1 AND sequence = ?2")?
                .execute(params![sender, sequence])?;
            Ok(())
        })
        .await
    }

    async fn put_records(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let bytes = records.iter().map(|record| record.body.len()).sum();
        self.write(bytes, move |desk| Ok(records::put(desk, &records)?)).await
    }

    async fn records(&self, search: &RecordSearch) -> Result<RecordPage, StoreError> {
        let search = search.clone();
        self.read(move |connection, words| records::search(connection, words, &search)).await
    }

    async fn trim_records(&self, each_max: u64) -> Result<u64, StoreError> {
        let mut trimmed = 0;
        loop {
            let piece = self
                .write(0, move |desk| Ok(records::trim_piece(&desk.connection, each_max)?))
                .await?;
            trimmed += piece;
            if piece == 0 {
                return Ok(trimmed);
            }
        }
    }

    async fn put_samples(&self, blocks: Vec<SampleBlock>) -> Result<(), StoreError> {
        let bytes = blocks.iter().map(|block| block.data.len()).sum();
        let act = move |desk: &mut WriteContext| Ok(samples::put(desk, &blocks)?);
        self.write_with(bytes, true, act).await
    }

    async fn sample_blocks(
        &self,
        monitor: &str,
        between: (Timestamp, Timestamp),
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<SampleBlock>, StoreError> {
        let monitor = monitor.to_owned();
        self.read(move |connection, words| {
            samples::between(connection, words, &monitor, between, after, limit)
        })
        .await
    }

    async fn newest_samples(&self, monitor: &str) -> Result<Option<SampleBlock>, StoreError> {
        let monitor = monitor.to_owned();
        self.read(move |connection, words| samples::newest(connection, words, &monitor)).await
    }

    async fn sampled_monitors(&self) -> Result<Vec<Arc<str>>, StoreError> {
        self.read(|connection, _| samples::monitors(connection)).await
    }

    async fn trim_samples(
        &self,
        before: Option<Timestamp>,
        bytes_max: Option<u64>,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let act = move |desk: &mut WriteContext| {
            Ok(samples::trim(&desk.connection, before, bytes_max, limit)?)
        };
        self.write_with(0, true, act).await
    }

    async fn forget_samples(&self, monitor: &str, limit: u64) -> Result<u64, StoreError> {
        let monitor = monitor.to_owned();
        let act =
            move |desk: &mut WriteContext| Ok(samples::forget(&desk.connection, &monitor, limit)?);
        self.write_with(0, true, act).await
    }

    async fn search(&self, search: &Search) -> Result<Page, StoreError> {
        if search.free_text.is_some() {
            self.index_texts().await?;
        }
        let search = search.clone();
        let find = move |connection: &Connection, words: &Words| {
            search::search(connection, words, &search)
        };
        Readers::read(&self.readers, self.search_steps_max, find).await
    }

    async fn tally(&self, search: &Search) -> Result<Option<store::Tally>, StoreError> {
        if !search.is_counted() {
            return Ok(None);
        }
        let search = search.clone();
        let counts = self.read(move |connection, words| plan::tallied(connection, words, &search));
        Ok(Some(store::Tally { counts: counts.await?, is_exact: true }))
    }

    async fn begun(&self, search: &Search, spans: Spans) -> Result<Vec<u64>, StoreError> {
        if search.free_text.is_some() {
            self.index_texts().await?;
        }
        let search = search.clone();
        let count =
            move |connection: &Connection, _: &Words| search::begun(connection, &search, &spans);
        Readers::read(&self.readers, self.search_steps_max, count).await
    }

    async fn head(&self, id: &ExecutionId) -> Result<Option<Head>, StoreError> {
        let key = Key::of(id);
        self.read(move |connection, words| read::head(connection, words, &key)).await
    }

    async fn briefs(&self, ids: &[ExecutionId]) -> Result<Vec<Option<(Head, String)>>, StoreError> {
        let keys: Vec<Key> = ids.iter().map(Key::of).collect();
        self.read(move |connection, words| {
            keys.iter().map(|key| read::brief(connection, words, key)).collect()
        })
        .await
    }

    async fn remove(&self, id: &ExecutionId) -> Result<bool, StoreError> {
        let key = Key::of(id);
        self.write(0, move |desk| Ok(prune::remove(desk, &key)?)).await
    }

    async fn remove_ended(&self, ids: Vec<ExecutionId>) -> Result<Vec<ExecutionId>, StoreError> {
        let act = move |desk: &mut WriteContext| Ok(prune::remove_ended(desk, &ids)?);
        self.write_with(0, true, act).await
    }

    async fn prune(
        &self,
        retention: &Retention,
        now: Timestamp,
        limit: usize,
    ) -> Result<Pruned, StoreError> {
        let before = self.bytes();
        let asked = retention.clone();
        let found =
            self.read(move |connection, _| prune::beyond(connection, &asked, now, limit)).await?;
        let mut pruned = Pruned { more: found.more, ..Pruned::default() };
        pruned.executions = self.remove_finished(&found.rows).await?;
        let most = retention.disk_max_bytes;
        // Otherwise what comes fills the room that is free, and the writer gives back more than
        // that takes when it is idle.
        if most != 0 && before > most {
            self.shrink().await?;
        }
        let excess = self.bytes().saturating_sub(most);
        if most != 0 && excess > 0 && !pruned.more {
            let left = limit - found.rows.len();
            let found =
                self.read(move |connection, _| prune::to_free(connection, excess, left)).await?;
            pruned.executions += self.remove_finished(&found.rows).await?;
            self.shrink().await?;
            pruned.more = found.more && self.bytes() > most;
        }
        pruned.bytes = before.saturating_sub(self.bytes());
        Ok(pruned)
    }

    async fn put_document(&self, document: Document) -> Result<(), StoreError> {
        self.put_documents(vec![document]).await
    }

    async fn put_documents(&self, documents: Vec<Document>) -> Result<(), StoreError> {
        let bytes = documents.iter().map(|document| document.text.len()).sum();
        self.write(bytes, move |desk| Ok(documents::put(&desk.connection, &documents)?)).await
    }

    async fn delete_document(
        &self,
        kind: &str,
        name: &str,
        version: u32,
    ) -> Result<bool, StoreError> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.write(0, move |desk| Ok(documents::delete(&desk.connection, &kind, &name, version)?))
            .await
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StoreError> {
        let kind = kind.to_owned();
        self.read(move |connection, _| documents::of_kind(connection, &kind)).await
    }

    async fn documents_after(
        &self,
        kind: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let (kind, after) = (kind.to_owned(), after.to_owned());
        self.read(move |connection, _| documents::after(connection, &kind, &after, limit)).await
    }

    async fn append_log(
        &self,
        execution: &ExecutionId,
        sequence: u32,
        lines: Vec<LogLine>,
    ) -> Result<(), StoreError> {
        let key = Key::of(execution);
        let bytes = lines.iter().map(|line| line.text.len()).sum();
        self.write(bytes, move |desk| {
            Ok(documents::append_log(&desk.connection, &key, sequence, &lines)?)
        })
        .await
    }

    async fn log(
        &self,
        execution: &ExecutionId,
        sequences: &[u32],
        window: &LogWindow,
    ) -> Result<Vec<KeptLine>, StoreError> {
        let (key, sequences, window) = (Key::of(execution), sequences.to_vec(), window.clone());
        self.read(move |connection, _| documents::log(connection, &key, &sequences, &window)).await
    }

    async fn statistics(&self) -> Result<Statistics, StoreError> {
        let counts = self.read(|connection, _| tally::statistics(connection)).await?;
        Ok(Statistics {
            bytes: self.bytes(),
            writes: self.writes.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            ..counts
        })
    }

    fn space(&self) -> Option<Space> {
        let disk = rustix::fs::statvfs(&self.path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Some(Space { free: bytes(disk.f_bavail), size: bytes(disk.f_blocks) })
    }

    fn write_times(&self) -> Option<&WriteTimes> {
        Some(&self.times)
    }

    async fn close(&self) -> Result<(), StoreError> {
        // Readers first: the log can only be emptied when nobody reads from it.
        self.readers.close().await;
        let (reply, answer) = oneshot::channel();
        if self.door.send(WriterCommand::Close(reply)).is_err() {
            return Ok(());
        }
        self.room.close();
        answer.await.unwrap_or(Ok(()))
    }
}

impl Drop for Sqlite {
    /// Closes in an orderly way if nobody did, so that the file can be opened again at once.
    fn drop(&mut self) {
        let (reply, _) = oneshot::channel();
        // Fails if it is closed already.
        let _ = self.door.send(WriterCommand::Close(reply));
        if let Some(writer) = self.writer.lock().take() {
            // A panic there has been reported by the panic itself.
            let _ = writer.join();
        }
    }
}

/// The file that stands beside `path` with `suffix` at its name's end.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether another process has the file now. What cannot be told is no.
pub fn is_taken(path: &Path) -> bool {
    let lock = File::open(beside(path, ".lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Takes the lock that lets one process write the file.
fn lock(path: &Path) -> Result<File, StoreError> {
    let beside = beside(path, ".lock");
    let file = private(&beside).map_err(|error| fault::io("cannot create", &beside, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable(format!(
            "{} is in use by another process (which holds {})",
            path.display(),
            beside.display()
        ))),
        Err(TryLockError::Error(error)) => Err(fault::io("cannot lock", &beside, &error)),
    }
}

/// Opens a file for its owner alone, whatever the umask; makes it if it is not there.
fn private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Takes from everybody but the owner and the group what they may do with a store that a former
/// build made; the group's rights are left as the operator's choice.
fn keep_others_out(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let files = ["-wal", "-shm", ".lock"].map(|suffix| beside(path, suffix));
    for file in std::iter::once(path).chain(files.iter().map(AsRef::as_ref)) {
        let Ok(found) = std::fs::metadata(file) else { continue };
        let mode = found.permissions().mode();
        let others = mode & 0o007;
        if others == 0 {
            continue;
        }
        let closed = std::fs::Permissions::from_mode(mode & 0o7770);
        match std::fs::set_permissions(file, closed) {
            Ok(()) => {
                tracing::warn!(file = %file.display(), "store file was readable by every user; access restricted");
            }
            Err(error) => tracing::warn!(
                file = %file.display(), %error,
                "store file is readable by every user and its mode could not be changed: run `chmod o-rwx` on it"
            ),
        }
    }
}
