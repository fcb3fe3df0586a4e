//! The connections that read, and the plain questions asked on them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::store::{Head, MessageKey, Outgoing, StoreError, Stored};
use kernel::{ExecutionId, Timestamp};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::Semaphore;

use super::Options;
use super::archive::texts;
use super::fault::explain;
use super::key::Key;
use super::names::Words;
use super::rows;
use super::schema::open_reader;

/// Steps of `SQLite`'s machine between two looks at how many there were.
const STEPS: u64 = 100;

/// Counts what a connection does, and stops it where that is too much.
#[derive(Default)]
pub(super) struct Effort {
    /// Steps since the connection was lent, in hundreds.
    steps: AtomicU64,
    /// At most so many.
    most: AtomicU64,
}

impl Effort {
    /// Has a connection count.
    pub(super) fn watch(connection: &mut Connection) -> rusqlite::Result<Arc<Self>> {
        let effort = Arc::new(Self::default());
        let seen = effort.clone();
        let look = move || {
            let steps = seen.steps.fetch_add(1, Ordering::Relaxed);
            steps >= seen.most.load(Ordering::Relaxed)
        };
        connection.progress_handler(STEPS as i32, Some(look))?;
        Ok(effort)
    }
}

/// A connection, and what it is counted by.
pub(super) struct Reader {
    pub(super) connection: Connection,
    pub(super) effort: Arc<Effort>,
}

impl Reader {
    fn open(path: &Path, options: &Options) -> rusqlite::Result<Self> {
        let mut connection = open_reader(path, options)?;
        let effort = Effort::watch(&mut connection)?;
        Ok(Self { connection, effort })
    }
}

/// A few connections, lent to whoever reads.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
    /// Steps of all reads so far.
    steps: AtomicU64,
    /// As many permits as there are connections in `idle`.
    free: Semaphore,
    count: u32,
    words: Words,
}

impl Readers {
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        let count = options.readers.max(1);
        let open = || (0..count).map(|_| Reader::open(path, options)).collect::<Result<_, _>>();
        Ok(Self {
            path: path.to_owned(),
            idle: Mutex::new(open().map_err(|error| explain(&error, path))?),
            free: Semaphore::new(count),
            steps: AtomicU64::new(0),
            count: count as u32,
            words: Words::default(),
        })
    }

    /// Steps of `SQLite`'s machine that all reads took so far, to a hundred each.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Does `act` on a thread that may block, in one transaction, so that all its statements see
    /// the same state. It fails after `steps_max` steps.
    pub(super) async fn read<T: Send + 'static>(
        this: &Arc<Self>,
        steps_max: u64,
        act: impl FnOnce(&Connection, &Words) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        // The permit travels with the connection: a caller that is cancelled must not set it free
        // before the thread gives the connection back.
        let permit = this.free.acquire().await.map_err(|_| StoreError::Closed)?;
        permit.forget();
        let readers = this.clone();
        let work = move || {
            let connection = Lent::new(&readers, steps_max);
            let read = || {
                connection.prepare_cached("BEGIN")?.execute([])?;
                let outcome = act(&connection, &readers.words);
                connection.prepare_cached("COMMIT")?.execute([])?;
                outcome
            };
            read().map_err(|error| explain(&error, &readers.path))
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| StoreError::Unavailable(format!("a read was lost: {error}")))?
    }

    /// Waits for those who read, then closes the connections.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.free.acquire_many(self.count).await {
            all.forget();
        }
        self.free.close();
        self.idle.lock().clear();
    }
}

/// A connection on loan, given back when dropped, also by a panic.
struct Lent<'a> {
    reader: Option<Reader>,
    readers: &'a Readers,
}

impl<'a> Lent<'a> {
    fn new(readers: &'a Readers, steps_max: u64) -> Self {
        let reader = readers.idle.lock().pop();
        if let Some(Reader { effort, .. }) = &reader {
            effort.steps.store(0, Ordering::Relaxed);
            effort.most.store(steps_max / STEPS, Ordering::Relaxed);
        }
        Self { reader, readers }
    }
}

impl std::ops::Deref for Lent<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        let reader = self.reader.as_ref();
        &reader.expect("a permit is held for each connection that is out").connection
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            let steps = reader.effort.steps.load(Ordering::Relaxed).saturating_mul(STEPS);
            self.readers.steps.fetch_add(steps, Ordering::Relaxed);
            // The end of the transaction is not to be stopped.
            reader.effort.most.store(u64::MAX, Ordering::Relaxed);
            if !reader.connection.is_autocommit() {
                // After a failure in between. Nothing was written, so nothing can be lost.
                let _ = reader.connection.execute_batch("ROLLBACK");
            }
            self.readers.idle.lock().push(reader);
            self.readers.free.add_permits(1);
        }
    }
}

/// The history of an execution, and how many commits of it were forgotten.
pub(super) fn load(connection: &Connection, key: &Key) -> rusqlite::Result<Option<(Stored, u64)>> {
    let found = connection
        .prepare_cached("SELECT id, version, forgotten FROM execution WHERE key = ?1")?
        .query_row([key], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64))
        })
        .optional()?;
    let Some((id, version, forgotten)) = found else { return Ok(None) };
    Ok(Some((Stored { version, history: texts(connection, id)? }, forgotten)))
}

/// A plan's text.
pub(super) fn plan(connection: &Connection, hash: &str) -> rusqlite::Result<Option<Arc<str>>> {
    connection
        .prepare_cached("SELECT text FROM plan WHERE hash = ?1")?
        .query_row([hash], |row| row.get(0))
        .optional()
}

/// Executions to be woken, soonest first.
pub(super) fn due(
    connection: &Connection,
    until: Timestamp,
    limit: usize,
) -> rusqlite::Result<Vec<(Timestamp, ExecutionId)>> {
    let mut query = connection.prepare_cached(
        "SELECT wake_at, key FROM execution WHERE wake_at <= ?1 ORDER BY wake_at, id LIMIT ?2",
    )?;
    let rows = query.query_map(params![until.millis(), bounded(limit)], |row| {
        Ok((Timestamp::from_millis(row.get(0)?), row.get::<_, Key>(1)?.into_id()))
    })?;
    rows.collect()
}

/// Messages not yet received, oldest first.
pub(super) fn undelivered(
    connection: &Connection,
    limit: usize,
) -> rusqlite::Result<Vec<Outgoing>> {
    let mut query = connection.prepare_cached(
        "SELECT sender, sequence, receiver, body FROM message ORDER BY id LIMIT ?1",
    )?;
    let rows = query.query_map([bounded(limit)], |row| {
        let sender = row.get::<_, Key>(0)?.into_id();
        let sequence = row.get::<_, i64>(1)? as u64;
        Ok(Outgoing {
            key: MessageKey { sender, sequence },
            to: row.get::<_, Key>(2)?.into_id(),
            body: row.get(3)?,
        })
    })?;
    rows.collect()
}

/// One head row.
pub(super) fn head(
    connection: &Connection,
    words: &Words,
    key: &Key,
) -> rusqlite::Result<Option<Head>> {
    connection
        .prepare_cached(&format!("SELECT {} FROM execution e WHERE e.key = ?1", rows::HEAD))?
        .query_row([key], |row| rows::head(row, connection, words))
        .optional()
}

/// One head row with its brief, if it has one.
pub(super) fn brief(
    connection: &Connection,
    words: &Words,
    key: &Key,
) -> rusqlite::Result<Option<(Head, String)>> {
    let sql = format!(
        "SELECT {}, b.text FROM execution e JOIN brief b ON b.execution = e.id WHERE e.key = ?1",
        rows::HEAD
    );
    connection
        .prepare_cached(&sql)?
        .query_row([key], |row| Ok((rows::head(row, connection, words)?, row.get("text")?)))
        .optional()
}

fn bounded(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
